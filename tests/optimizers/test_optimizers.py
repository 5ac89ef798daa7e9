"""Optimizers: their formulas, against PyTorch and against the losses that the book's code computes."""

import hashlib
import math

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.optimizers.adam import corrected
from nnbackend.optimizers.base import correction

OPTIMIZERS = {
    "sgd": lambda: nn.optimizers.SGD(0.1),
    "sgd decay": lambda: nn.optimizers.SGD(0.1, decay=0.01),
    "momentum": lambda: nn.optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: nn.optimizers.SGD(0.05, momentum=0.9, nesterov=True, decay=0.01),
    "dampened": lambda: nn.optimizers.SGD(0.05, momentum=0.9, dampening=0.3),
    "adagrad": lambda: nn.optimizers.Adagrad(0.5),
    "adagrad filled": lambda: nn.optimizers.Adagrad(0.5, 0.1, 1e-3, decay=0.001),
    "rmsprop": lambda: nn.optimizers.RMSprop(0.01),
    "rmsprop momentum": lambda: nn.optimizers.RMSprop(0.01, 0.95, momentum=0.8, epsilon=1e-3),
    "rmsprop centered": lambda: nn.optimizers.RMSprop(0.01, epsilon=1e-2, centered=True),
    "rmsprop both": lambda: nn.optimizers.RMSprop(0.005, 0.95, 0.5, 1e-2, centered=True),
    "adadelta": lambda: nn.optimizers.Adadelta(rho=0.9, epsilon=1e-3),
    "adam": lambda: nn.optimizers.Adam(0.1),
    "adam decay": lambda: nn.optimizers.Adam(0.2, beta_1=0.8, beta_2=0.99, epsilon=1e-3, decay=0.01),
    "adam without memory": lambda: nn.optimizers.Adam(0.02, beta_1=0.0, beta_2=0.5),
    "amsgrad": lambda: nn.optimizers.Adam(0.1, amsgrad=True),
    "adamw": lambda: nn.optimizers.AdamW(0.1, weight_decay=1e-3),
    "adamw amsgrad": lambda: nn.optimizers.AdamW(0.1, weight_decay=1e-3, amsgrad=True),
    "adamax": lambda: nn.optimizers.Adamax(0.1, epsilon=1e-3),
    "nadam": lambda: nn.optimizers.Nadam(0.05),
    "radam": lambda: nn.optimizers.RAdam(0.1, beta_2=0.9),
    "lion": lambda: nn.optimizers.Lion(0.02),
    "lamb": lambda: nn.optimizers.LAMB(0.01, weight_decay=1e-3),
    "adafactor": lambda: nn.optimizers.Adafactor(0.1),
    "adafactor absolute": lambda: nn.optimizers.Adafactor(0.01, relative_step=False),
    "muon": lambda: nn.optimizers.Muon(0.02, weight_decay=1e-3),
    "muon excluded": lambda: nn.optimizers.Muon(0.02, exclude=["a"], adam_learning_rate=0.05),
    "muon matched": lambda: nn.optimizers.Muon(0.02, nesterov=False, match_rms=True),
}
each = pytest.mark.parametrize("name", OPTIMIZERS)


def start(put, dtype):
    return {"a": put([[1.0, -2.0], [0.5, 3.0]], dtype), "b": [put([-1.0], dtype)]}


def slope(put, number, dtype):
    """Gradients that differ from step to step."""
    return {
        "a": put(np.sin([[1.0 + number, 2.0], [3.0, 4.0 * number]]), dtype),
        "b": [put([0.1 * number - 0.3], dtype)],
    }


def run(name, put, dtype, steps=6, donate=False):
    """Return parameters after each step."""
    optimizer, parameters = OPTIMIZERS[name](), start(put, dtype)
    if donate:
        parameters = {"a": writable(parameters["a"]), "b": [writable(parameters["b"][0])]}
    state, seen = optimizer.init(parameters), []
    for number in range(steps):
        parameters, state = optimizer.update(slope(put, number, dtype), state, parameters, donate=donate)
        seen.append([nn.to_numpy(parameters["a"]), nn.to_numpy(parameters["b"][0])])
    return seen, parameters, state


def writable(array):
    return array.copy() if isinstance(array, np.ndarray) else array


@each
def test_steps_are_those_of_the_formula(put, name):
    seen, _, state = run(name, put, "float64")
    for part in range(2):
        expected = by_formula(OPTIMIZERS[name](), part)
        for step, values in enumerate(expected):
            np.testing.assert_allclose(seen[step][part], values, rtol=1e-12, atol=1e-14)
    assert int(nn.to_numpy(state["step"])) == 6


def by_formula(optimizer, part):
    """The papers' equations in NumPy, one step after the other."""

    def host(values, dtype):
        return np.asarray(values, dtype)

    pick = [lambda tree: tree["a"], lambda tree: tree["b"][0]][part]
    w = pick(start(host, "float64"))
    rule = FORMULAS[type(optimizer)]
    if isinstance(optimizer, nn.optimizers.Muon) and (w.ndim < 2 or optimizer._excluded("a")):
        rule = adam
    memory = {}
    for i in range(6):
        g = pick(slope(host, i, "float64"))
        rate = optimizer.learning_rate / (1 + optimizer.decay * i)
        w = rule(optimizer, w, g, rate, i + 1, memory)
        yield w


def ema(memory, name, beta, value):
    memory[name] = beta * memory.get(name, 0.0) + (1 - beta) * value
    return memory[name]


def sgd(o, w, g, rate, t, memory):
    share = 1.0 if t == 1 else 1.0 - o.dampening
    v = memory["v"] = o.momentum * memory.get("v", 0.0) - share * rate * g
    return w + (o.momentum * v - rate * g if o.nesterov else v)


def adagrad(o, w, g, rate, t, memory):
    total = memory["s"] = memory.get("s", o.initial_accumulator_value) + g**2
    return w - rate * g / (np.sqrt(total) + o.epsilon)


def rmsprop(o, w, g, rate, t, memory):
    v = ema(memory, "v", o.rho, g**2)
    if o.centered:
        v = v - ema(memory, "a", o.rho, g) ** 2
    u = memory["u"] = o.momentum * memory.get("u", 0.0) - rate * g / (np.sqrt(v) + o.epsilon)
    return w + u


def adadelta(o, w, g, rate, t, memory):
    v = ema(memory, "v", o.rho, g**2)
    delta = np.sqrt(memory.get("x", 0.0) + o.epsilon) / np.sqrt(v + o.epsilon) * g
    ema(memory, "x", o.rho, delta**2)
    return w - rate * delta


def adam(o, w, g, rate, t, memory):
    if isinstance(o, nn.optimizers.Muon):
        beta_1, beta_2, rate, amsgrad = o.adam_beta_1, o.adam_beta_2, o.adam_learning_rate or rate, False
        w = w * (1 - o.learning_rate * o.weight_decay)
    else:
        beta_1, beta_2, amsgrad = o.beta_1, o.beta_2, o.amsgrad
        w = w * (1 - rate * o.weight_decay)
    m, v = ema(memory, "m", beta_1, g), ema(memory, "v", beta_2, g**2)
    if amsgrad:
        v = memory["u"] = np.maximum(memory.get("u", 0.0), v)
    return w - rate * m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + o.epsilon)


def adamax(o, w, g, rate, t, memory):
    m = ema(memory, "m", o.beta_1, g)
    u = memory["u"] = np.maximum(o.beta_2 * memory.get("u", 0.0), np.abs(g) + o.epsilon)
    return w - rate / (1 - o.beta_1**t) * m / u


def nadam(o, w, g, rate, t, memory):
    def mu(t):
        return o.beta_1 * (1 - 0.5 * 0.96 ** (t * o.momentum_decay))

    product = memory["product"] = memory.get("product", 1.0) * mu(t)
    m, v = ema(memory, "m", o.beta_1, g), ema(memory, "v", o.beta_2, g**2)
    m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    return w - rate * m_hat / (np.sqrt(v / (1 - o.beta_2**t)) + o.epsilon)


def radam(o, w, g, rate, t, memory):
    m, v = ema(memory, "m", o.beta_1, g), ema(memory, "v", o.beta_2, g**2)
    m_hat, v_hat = m / (1 - o.beta_1**t), v / (1 - o.beta_2**t)
    longest = 2 / (1 - o.beta_2) - 1
    length = longest - 2 * t * o.beta_2**t / (1 - o.beta_2**t)
    if length <= 5:
        return w - rate * m_hat
    r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return w - rate * r * m_hat / (np.sqrt(v_hat) + o.epsilon)


def lion(o, w, g, rate, t, memory):
    m = memory.get("m", np.zeros_like(g))
    c = o.beta_1 * m + (1 - o.beta_1) * g
    memory["m"] = o.beta_2 * m + (1 - o.beta_2) * g
    return w - rate * (np.sign(c) + o.weight_decay * w)


def lamb(o, w, g, rate, t, memory):
    m, v = ema(memory, "m", o.beta_1, g), ema(memory, "v", o.beta_2, g**2)
    r = m / (1 - o.beta_1**t) / (np.sqrt(v / (1 - o.beta_2**t)) + o.epsilon)
    u = r + o.weight_decay * w
    return w - rate * np.linalg.norm(w) / np.linalg.norm(u) * u


def adafactor(o, w, g, rate, t, memory):
    def rms(x):
        return np.sqrt(np.mean(x**2))

    beta = 1 - t**o.beta_2_decay
    squares = g**2 + o.epsilon_1
    if w.ndim == 2:
        r, c = ema(memory, "r", beta, squares.mean(axis=1)), ema(memory, "c", beta, squares.mean(axis=0))
        v = np.outer(r, c) / r.mean()
    else:
        v = ema(memory, "v", beta, squares)
    u = g / np.sqrt(v)
    u = u / max(1.0, rms(u) / o.clip_threshold)
    rho = min(rate, 1 / math.sqrt(t)) if o.relative_step else rate
    return w - max(o.epsilon_2, rms(w)) * rho * u


def muon(o, w, g, rate, t, memory):
    m = ema(memory, "m", o.momentum, g)
    u = o.momentum * m + (1 - o.momentum) * g if o.nesterov else m
    x = u / np.linalg.norm(u)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    inputs, outputs = w.shape
    factor = 0.2 * math.sqrt(max(w.shape)) if o.match_rms else math.sqrt(max(1, outputs / inputs))
    return w * (1 - rate * o.weight_decay) - rate * factor * x


FORMULAS = {
    nn.optimizers.SGD: sgd,
    nn.optimizers.Adagrad: adagrad,
    nn.optimizers.RMSprop: rmsprop,
    nn.optimizers.Adadelta: adadelta,
    nn.optimizers.Adam: adam,
    nn.optimizers.AdamW: adam,
    nn.optimizers.Adamax: adamax,
    nn.optimizers.Nadam: nadam,
    nn.optimizers.RAdam: radam,
    nn.optimizers.Lion: lion,
    nn.optimizers.LAMB: lamb,
    nn.optimizers.Adafactor: adafactor,
    nn.optimizers.Muon: muon,
}


def test_every_optimizer_is_in_the_table():
    classes = {
        value
        for value in (getattr(nn.optimizers, name) for name in nn.optimizers.__all__)
        if isinstance(value, type) and issubclass(value, nn.optimizers.Optimizer)
    }
    assert {type(make()) for make in OPTIMIZERS.values()} == classes - {nn.optimizers.Optimizer}
    assert set(FORMULAS) == classes - {nn.optimizers.Optimizer}


@each
def test_dtypes_are_kept_and_the_arguments_left_alone(put, name, dtype):
    _, parameters, state = run(name, put, dtype, steps=2)
    slots = [leaf for slot in state["slots"].values() for leaf in (slot["a"], slot["b"][0])]
    for leaf in [parameters["a"], parameters["b"][0], *slots]:
        assert str(nn.to_numpy(leaf).dtype) == dtype
    assert str(nn.to_numpy(state["step"]).dtype) == "int64"
    assert str(nn.to_numpy(state["learning_rate"]).dtype) == "float64"
    before = start(put, dtype)
    optimizer = OPTIMIZERS[name]()
    optimizer.update(slope(put, 1, dtype), optimizer.init(before), before)
    np.testing.assert_array_equal(nn.to_numpy(before["a"]), nn.to_numpy(start(put, dtype)["a"]))


@each
def test_donated_memory_gives_the_same_numbers(put, name, dtype):
    kept, *_ = run(name, put, dtype)
    donated, *_ = run(name, put, dtype, donate=True)
    for a, b in zip(kept, donated, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


INPUTS = np.random.default_rng(0).normal(size=(20, 3))
#: The table of problems that every optimizer solves at once: name -> first weights and a loss whose minimum is 0.
PROBLEMS = {
    "bowl": [[2.0, 0.5]],
    "least squares": [[0.0, 0.5], [0.5, 0.0], [0.0, 0.0]],
    "factors": [[0.3, 1.2], [1.0, 0.2]],
    "vector": [1.5, 0.5, -0.5],
}


def losses_of(parameters, constants):
    """Return the loss of each problem."""
    xp = nn.functional
    product = parameters["factors"] @ parameters["factors"]
    return {
        "bowl": xp.sum(xp.square(parameters["bowl"] * constants["scale"] - constants["centre"])),
        "least squares": xp.mean(
            xp.square(xp.matmul(constants["x"], parameters["least squares"]) - constants["y"])
        ),
        "factors": xp.sum(xp.square(product - constants["square"])),
        "vector": xp.sum(xp.log(xp.cosh(parameters["vector"] - constants["place"]))),
    }


CONSTANTS = {
    "scale": [[1.0, 2.0]],
    "centre": [[1.0, -2.0]],
    "x": INPUTS,
    "y": INPUTS @ [[0.5, 1.0], [0.2, -0.5], [-1.0, 0.3]],
    "square": [[1.0, 0.5], [0.5, 1.0]],
    "place": [0.5, -0.5, 1.0],
}
#: Optimizers as they are used: with a rate that falls to 0.
SOLVERS = {
    "sgd": lambda rate: nn.optimizers.SGD(rate(0.15)),
    "momentum": lambda rate: nn.optimizers.SGD(rate(0.05), momentum=0.9),
    "nesterov": lambda rate: nn.optimizers.SGD(rate(0.05), momentum=0.9, nesterov=True),
    "dampened": lambda rate: nn.optimizers.SGD(rate(0.2), momentum=0.8, dampening=0.5),
    "adagrad": lambda rate: nn.optimizers.Adagrad(rate(0.5)),
    "rmsprop": lambda rate: nn.optimizers.RMSprop(rate(0.05)),
    "rmsprop momentum": lambda rate: nn.optimizers.RMSprop(rate(0.02), momentum=0.8),
    "rmsprop centered": lambda rate: nn.optimizers.RMSprop(rate(0.02), epsilon=1e-3, centered=True),
    "adadelta": lambda rate: nn.optimizers.Adadelta(rate(1.0), rho=0.9, epsilon=1e-3),
    "adam": lambda rate: nn.optimizers.Adam(rate(0.1)),
    "amsgrad": lambda rate: nn.optimizers.Adam(rate(0.1), amsgrad=True),
    "adamw": lambda rate: nn.optimizers.AdamW(rate(0.1), weight_decay=1e-3),
    "adamax": lambda rate: nn.optimizers.Adamax(rate(0.1)),
    "nadam": lambda rate: nn.optimizers.Nadam(rate(0.1)),
    "radam": lambda rate: nn.optimizers.RAdam(rate(0.1)),
    "lion": lambda rate: nn.optimizers.Lion(rate(0.05)),
    "lamb": lambda rate: nn.optimizers.LAMB(rate(0.1)),
    "adafactor": lambda rate: nn.optimizers.Adafactor(rate(0.1), relative_step=False),
    "muon": lambda rate: nn.optimizers.Muon(rate(0.1)),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_it_solves_every_problem_of_the_table_in_one_compiled_step(backend, name):
    steps = 200
    optimizer = SOLVERS[name](lambda rate: nn.optimizers.schedules.CosineDecay(rate, steps))
    constants = {key: backend.from_host(value, "float64") for key, value in CONSTANTS.items()}

    def objective(parameters):
        values = losses_of(parameters, constants)
        return sum(values.values()), values

    def step(state, batch):
        (_, values), gradients = nn.value_and_grad(objective, has_aux=True)(state["w"])
        parameters, slots = optimizer.update(gradients, state["slots"], state["w"], donate=True)
        return {"w": parameters, "slots": slots}, values

    parameters = {key: backend.from_host(value, "float64") for key, value in PROBLEMS.items()}
    compiled, state = backend.compile(step), {"w": parameters, "slots": optimizer.init(parameters)}
    seen = []
    for _ in range(steps):
        state, values = compiled(state, None)
        seen.append({key: float(nn.to_numpy(value)) for key, value in values.items()})
    for problem in PROBLEMS:
        assert seen[-1][problem] < 0.01 * seen[0][problem], (problem, seen[0], seen[-1])
    assert getattr(compiled, "count", 1) == 1  # of compilations


def test_adams_first_step_has_the_length_of_the_learning_rate(put, dtype):
    sizes = np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])
    for epsilon, gradients in ((0.0, np.concatenate([sizes, -sizes])), (1e-7, sizes[2:])):
        optimizer = nn.optimizers.Adam(0.01, epsilon=epsilon)
        parameters = {"w": put(np.zeros(len(gradients)), dtype)}
        new, _ = optimizer.update({"w": put(gradients, dtype)}, optimizer.init(parameters), parameters)
        np.testing.assert_allclose(nn.to_numpy(new["w"]), -0.01 * np.sign(gradients), rtol=1e-6)


def test_bias_corrections_are_exact(backend, put):
    step = put(np.float64(2.0))
    with backend.scope():
        first, second = correction(0.9, step), correction(0.999, step)
    assert float(nn.to_numpy(first)) == pytest.approx(1 - 0.9**3, rel=1e-14)
    assert float(nn.to_numpy(second)) == pytest.approx(-math.expm1(3 * math.log(0.999)), rel=1e-15)


def test_the_learning_rate_decays_as_the_book_prints_it():
    optimizer = nn.optimizers.Adam(0.05, decay=5e-7)
    assert optimizer.learning_rate / (1 + optimizer.decay * 10_000) == pytest.approx(
        0.04975126853296942, rel=1e-6
    )
    assert optimizer.learning_rate / (1 + optimizer.decay * 9_999) == pytest.approx(
        0.04975126853296942, rel=1e-15
    )


def test_a_changed_learning_rate_is_part_of_the_description():
    optimizer = nn.optimizers.SGD(0.1, momentum=0.5)
    optimizer.learning_rate = 0.2
    assert repr(optimizer) == "SGD(learning_rate=0.2, momentum=0.5)"
    with pytest.raises(ValueError, match="zero or more"):
        optimizer.learning_rate = -1.0


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="Adam has nothing to train"):
        nn.optimizers.Adam().init({})


def test_names_are_those_of_the_classes():
    assert isinstance(nn.optimizers.get("sgd"), nn.optimizers.SGD)
    assert isinstance(nn.optimizers.get("Adam"), nn.optimizers.Adam)
    assert isinstance(nn.optimizers.get("rmsprop"), nn.optimizers.RMSprop)
    assert nn.optimizers.get("amsgrad").amsgrad


ORACLES = {
    "sgd": (lambda: nn.optimizers.SGD(0.1), "SGD", {"lr": 0.1}),
    "momentum": (lambda: nn.optimizers.SGD(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        lambda: nn.optimizers.SGD(0.1, 0.9, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "dampened": (
        lambda: nn.optimizers.SGD(0.1, 0.9, dampening=0.3),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    ),
    "coupled decay": (
        lambda: nn.optimizers.SGD(0.1, 0.9, weight_decay=0.05, decoupled_weight_decay=False),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05},
    ),
    "adagrad": (
        lambda: nn.optimizers.Adagrad(0.1, 0.2, 1e-3, decay=0.01),
        "Adagrad",
        {"lr": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-3, "lr_decay": 0.01},
    ),
    "rmsprop": (
        lambda: nn.optimizers.RMSprop(0.1, epsilon=1e-3),
        "RMSprop",
        {"lr": 0.1, "alpha": 0.9, "eps": 1e-3},
    ),
    "rmsprop both": (
        lambda: nn.optimizers.RMSprop(0.1, 0.8, 0.9, 1e-3, centered=True),
        "RMSprop",
        {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, "momentum": 0.9, "centered": True},
    ),
    "adadelta": (
        lambda: nn.optimizers.Adadelta(0.5, 0.9, 1e-6),
        "Adadelta",
        {"lr": 0.5, "rho": 0.9, "eps": 1e-6},
    ),
    "adam": (lambda: nn.optimizers.Adam(0.1, epsilon=1e-8), "Adam", {"lr": 0.1, "eps": 1e-8}),
    "adam betas": (
        lambda: nn.optimizers.Adam(0.1, 0.7, 0.95, 1e-3),
        "Adam",
        {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3},
    ),
    "adam coupled": (
        lambda: nn.optimizers.Adam(0.1, weight_decay=0.05, decoupled_weight_decay=False),
        "Adam",
        {"lr": 0.1, "eps": 1e-7, "weight_decay": 0.05},
    ),
    "amsgrad": (
        lambda: nn.optimizers.Adam(0.1, 0.7, 0.8, 1e-3, amsgrad=True),
        "Adam",
        {"lr": 0.1, "betas": (0.7, 0.8), "eps": 1e-3, "amsgrad": True},
    ),
    "adamw": (
        lambda: nn.optimizers.AdamW(0.1, 0.05, epsilon=1e-3),
        "AdamW",
        {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.05},
    ),
    "adamax": (lambda: nn.optimizers.Adamax(0.1, epsilon=1e-3), "Adamax", {"lr": 0.1, "eps": 1e-3}),
    "nadam": (lambda: nn.optimizers.Nadam(0.1, epsilon=1e-3), "NAdam", {"lr": 0.1, "eps": 1e-3}),
    "nadam decoupled": (
        lambda: nn.optimizers.Nadam(0.1, momentum_decay=0.1, weight_decay=0.05),
        "NAdam",
        {
            "lr": 0.1,
            "eps": 1e-7,
            "momentum_decay": 0.1,
            "weight_decay": 0.05,
            "decoupled_weight_decay": True,
        },
    ),
    # PyTorch adds epsilon to the uncorrected root
    "radam": (
        lambda: nn.optimizers.RAdam(0.1, 0.9, 0.9, epsilon=1e-14),
        "RAdam",
        {"lr": 0.1, "betas": (0.9, 0.9), "eps": 1e-14},
    ),
    "adafactor": (
        lambda: nn.optimizers.Adafactor(0.3, epsilon_1=0.0),
        "Adafactor",
        {"lr": 0.3, "eps": (1e-30, 1e-3)},
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_steps_are_pytorchs(backend, put, name):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own optimizer: two backends are enough")
    torch = pytest.importorskip("torch")
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    ours, kind, options = ORACLES[name]
    oracle = getattr(torch.optim, kind)([weight], **options)
    optimizer, parameters = ours(), {"w": put(weight.detach().numpy())}
    state = optimizer.init(parameters)
    for number in range(20):
        gradient = slope(lambda values, dtype: np.asarray(values, dtype), number, "float64")["a"]
        weight.grad = torch.from_numpy(gradient)
        oracle.step()
        parameters, state = optimizer.update({"w": put(gradient)}, state, parameters)
        rtol = 1e-6 if kind == "NAdam" else 1e-11  # it keeps the product of its momenta in float32
        np.testing.assert_allclose(
            nn.to_numpy(parameters["w"]), weight.detach().numpy(), rtol=rtol, atol=1e-14
        )


@pytest.mark.parametrize(("shape", "matched"), [((4, 7), False), ((7, 4), False), ((7, 4), True)])
def test_muons_steps_are_pytorchs_but_for_bfloat16(backend, put, shape, matched):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own optimizer: two backends are enough")
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    start = random.normal(size=shape)
    weight = torch.tensor(start.T.copy(), requires_grad=True)  # PyTorch's weights are (out, in)
    oracle = torch.optim.Muon(
        [weight],
        lr=0.1,
        weight_decay=0.01,
        adjust_lr_fn="match_rms_adamw" if matched else "original",
    )
    optimizer, parameters = nn.optimizers.Muon(0.1, weight_decay=0.01, match_rms=matched), {"w": put(start)}
    state = optimizer.init(parameters)
    for _ in range(3):
        gradient = random.normal(size=shape)
        weight.grad = torch.tensor(gradient.T.copy())
        oracle.step()
        parameters, state = optimizer.update({"w": put(gradient)}, state, parameters)
    moved = nn.to_numpy(parameters["w"]) - start
    np.testing.assert_allclose(moved, weight.detach().numpy().T - start, atol=0.02 * np.abs(moved).max())


def spiral(random, points, classes, dtype):
    """The data set of "Neural Networks from Scratch", from its own random stream."""
    x = np.zeros((points * classes, 2), dtype)
    y = np.zeros(points * classes, dtype="uint8")
    for number in range(classes):
        rows = slice(points * number, points * (number + 1))
        r = np.linspace(0.0, 1, points)
        t = np.linspace(number * 4, (number + 1) * 4, points) + random.randn(points).astype(dtype) * 0.2
        x[rows] = np.c_[r * np.sin(t * 2.5), r * np.cos(t * 2.5)]
        y[rows] = number
    return x, y


def test_the_spiral_has_the_bits_of_the_book():
    x, _ = spiral(np.random.RandomState(0), 100, 3, "float32")
    digest = "ce93f1d0d63e477e04d5e149c49fa550a73cb87f5404c6e9977bf5c90a383e5e"
    assert hashlib.sha256(x.tobytes()).hexdigest() == digest


#: Losses in float64 at epochs 0, 1, 10, 50 and 100 of the book's chapter 10, as its own code prints them.
GOLDEN = [
    (
        lambda: nn.optimizers.SGD(1.0),
        [1.0985942613, 1.0985744533, 1.0984524501, 1.0970588357, 1.0869206255],
    ),
    (
        lambda: nn.optimizers.SGD(1.0, decay=1e-2),
        [1.0985942613, 1.0985744533, 1.0984586001, 1.0976440213, 1.0945835223],
    ),
    (
        lambda: nn.optimizers.SGD(1.0, decay=1e-3),
        [1.0985942613, 1.0985744533, 1.0984530397, 1.0971483623, 1.0882050448],
    ),
    (
        lambda: nn.optimizers.SGD(1.0, 0.5, decay=1e-3),
        [1.0985942613, 1.0985744533, 1.0983489603, 1.0894281746, 1.0776474683],
    ),
    (
        lambda: nn.optimizers.SGD(1.0, 0.9, decay=1e-3),
        [1.0985942613, 1.0985744533, 1.0979965111, 1.0761854879, 1.0534933345],
    ),
    (
        lambda: nn.optimizers.Adagrad(1.0, decay=1e-4),
        [1.0985942613, 6.2611998315, 1.1330458013, 1.0463970153, 1.0119316735],
    ),
    (
        lambda: nn.optimizers.RMSprop(0.001, decay=1e-4),
        [1.0985942613, 1.0984418862, 1.0967060571, 1.0857246008, 1.0774559649],
    ),
    (
        lambda: nn.optimizers.RMSprop(0.02, rho=0.999, decay=1e-5),
        [1.0985942613, 2.8221136098, 1.2318288815, 1.0435975567, 1.0157384320],
    ),
    (
        lambda: nn.optimizers.Adam(0.02, decay=1e-5),
        [1.0985942613, 1.0977643891, 1.0790051161, 0.9792097358, 0.7689432799],
    ),
    (
        lambda: nn.optimizers.Adam(0.05, decay=5e-7),
        [1.0985942613, 1.0962066829, 1.0687317649, 0.8706493071, 0.6750893277],
    ),
]


@pytest.mark.parametrize(
    ("optimizer", "losses"),
    GOLDEN,
    ids=[
        "sgd",
        "decay 1e-2",
        "decay 1e-3",
        "momentum 0.5",
        "momentum 0.9",
        "adagrad",
        "rmsprop",
        "rmsprop 0.999",
        "adam 0.02",
        "adam 0.05",
    ],
)
def test_the_books_runs_are_reproduced(backend, optimizer, losses):
    random = np.random.RandomState(0)
    x, y = spiral(random, 100, 3, "float64")
    layers = [nn.Dense(64, activation="relu"), nn.Dense(3)]
    model = nn.Sequential(layers, backend=backend, dtype="float64")
    model.compile(optimizer(), "sparse_categorical_crossentropy")
    model.build((2,))
    kernels = [0.01 * random.randn(2, 64), 0.01 * random.randn(64, 3)]
    model.set_weights([kernels[0], np.zeros(64), kernels[1], np.zeros(3)])
    seen = []
    for epoch in range(101):
        if epoch in (0, 1, 10, 50, 100):  # the book clips what it takes the logarithm of
            logits = model.predict(x)
            chances = np.exp(logits - logits.max(axis=1, keepdims=True))
            right = (chances / chances.sum(axis=1, keepdims=True))[np.arange(300), y]
            seen.append(-np.log(np.clip(right, 1e-7, 1 - 1e-7)).mean())
        model.train_on_batch(x, y)
    assert seen == pytest.approx(losses, rel=1e-8)


@each
@pytest.mark.parametrize("wrong", ["renamed", "nested", "shape", "slots"])
def test_gradients_and_slots_that_are_not_those_of_the_parameters_are_refused(put, name, wrong):
    optimizer, parameters = OPTIMIZERS[name](), {"a": put(np.ones(2))}
    state, gradients = optimizer.init(parameters), {"a": put(np.ones(2))}
    kind = type(optimizer).__name__
    if wrong == "renamed":
        gradients, message = (
            {"v": gradients["a"]},
            rf"{kind}.update expects gradients structured as.*'a'.*got .*'v'",
        )
    elif wrong == "nested":
        gradients, message = {"a": [gradients["a"]]}, "expects gradients structured as the parameters"
    elif wrong == "shape":
        gradients = {"a": put(np.ones((3, 2)))}
        message = r"expects gradients shaped as the parameters, got \(3, 2\) for array 0 of shape \(2,\)"
    else:
        state, message = {**state, "slots": {"other": parameters}}, "expects a state with the slots"
    with pytest.raises(ValueError, match=message):
        optimizer.update(gradients, state, parameters)


def test_a_state_of_other_parameters_is_refused(put):
    optimizer = nn.optimizers.Adam()
    parameters = {"w": put(np.ones(2))}
    for others in (
        {"v": put(np.ones(2))},
        {"w": put(np.ones(3))},
        {"w": put(np.ones(2)), "v": put(np.ones(2))},
    ):
        with pytest.raises(ValueError, match="Adam.update expects the slot 'first_moment' (struc|shap)"):
            optimizer.update(parameters, optimizer.init(others), parameters)


@pytest.mark.parametrize("beta_1", [0.0, 0.9])
@pytest.mark.parametrize("beta_2", [0.0, 0.999])
@pytest.mark.parametrize("step", [0.0, 1.0, 999.0, 1e12])
def test_adam_s_corrections_before_and_beside_the_root(backend, put, beta_1, beta_2, step):
    rate, now = put(0.01, "float64"), put(step, "float64")
    with backend.scope():
        size, epsilon = corrected(rate, now, beta_1=beta_1, beta_2=beta_2, epsilon=1e-7)
    root = math.sqrt(1.0 - beta_2 ** (step + 1.0))
    assert float(nn.to_numpy(size)) == pytest.approx(0.01 * root / (1.0 - beta_1 ** (step + 1.0)), rel=1e-12)
    assert float(nn.to_numpy(epsilon)) == pytest.approx(1e-7 * root, rel=1e-12)
