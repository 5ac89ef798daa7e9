"""Optimizers: their formulas, against PyTorch and against the losses that the book's code computes."""

import hashlib
import math

import numpy as np
import pytest

import nnbackend as nn

OPTIMIZERS = {
    "sgd": lambda: nn.optimizers.SGD(0.1),
    "sgd decay": lambda: nn.optimizers.SGD(0.1, decay=0.01),
    "momentum": lambda: nn.optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: nn.optimizers.SGD(0.05, momentum=0.9, nesterov=True, decay=0.01),
    "adam": lambda: nn.optimizers.Adam(0.1),
    "adam decay": lambda: nn.optimizers.Adam(0.2, beta_1=0.8, beta_2=0.99, epsilon=1e-3, decay=0.01),
    "adam without memory": lambda: nn.optimizers.Adam(0.02, beta_1=0.0, beta_2=0.5),
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
    v = m = np.zeros_like(w)
    for i in range(6):
        g = pick(slope(host, i, "float64"))
        rate = optimizer.learning_rate / (1 + optimizer.decay * i)
        if isinstance(optimizer, nn.optimizers.SGD):
            v = optimizer.momentum * v - rate * g
            w = w + (optimizer.momentum * v - rate * g if optimizer.nesterov else v)
        else:
            m = optimizer.beta_1 * m + (1 - optimizer.beta_1) * g
            v = optimizer.beta_2 * v + (1 - optimizer.beta_2) * g**2
            m_hat, v_hat = m / (1 - optimizer.beta_1 ** (i + 1)), v / (1 - optimizer.beta_2 ** (i + 1))
            w = w - rate * m_hat / (np.sqrt(v_hat) + optimizer.epsilon)
        yield w


@each
def test_dtypes_are_kept_and_the_arguments_left_alone(put, name, dtype):
    _, parameters, state = run(name, put, dtype, steps=2)
    for leaf in [parameters["a"], parameters["b"][0], *(s["a"] for s in state["slots"].values())]:
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


@each
def test_it_finds_the_minimum_of_a_bowl_in_one_compiled_step(backend, name):
    optimizer = OPTIMIZERS[name]()
    scale = backend.from_host([1.0, 3.0], "float64")

    def bowl(parameters):
        return nn.functional.sum(nn.functional.square(parameters["w"] - 1.0) * scale)

    def step(state, batch):
        value, gradients = nn.value_and_grad(bowl)(state["w"])
        parameters, slots = optimizer.update(gradients, state["slots"], state["w"])
        return {"w": parameters, "slots": slots}, value

    parameters = {"w": backend.from_host([4.0, -2.0], "float64")}
    compiled, state = backend.compile(step), {"w": parameters, "slots": optimizer.init(parameters)}
    for _ in range(300):
        state, _ = compiled(state, None)
    np.testing.assert_allclose(nn.to_numpy(state["w"]["w"]), [1.0, 1.0], atol=0.02)
    assert getattr(compiled, "count", 1) == 1  # of compilations


def test_adams_first_step_has_the_length_of_the_learning_rate(put, dtype):
    sizes = np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])
    for epsilon, gradients in ((0.0, np.concatenate([sizes, -sizes])), (1e-7, sizes[2:])):
        optimizer = nn.optimizers.Adam(0.01, epsilon=epsilon)
        parameters = {"w": put(np.zeros(len(gradients)), dtype)}
        new, _ = optimizer.update({"w": put(gradients, dtype)}, optimizer.init(parameters), parameters)
        np.testing.assert_allclose(nn.to_numpy(new["w"]), -0.01 * np.sign(gradients), rtol=1e-6)


def test_bias_corrections_are_exact(backend, put):
    optimizer = nn.optimizers.Adam()
    step = put(np.float64(2.0))
    with backend.scope():
        _, first, second = optimizer.scalars(step, step)
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


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: nn.optimizers.SGD(0.1), ("SGD", {"lr": 0.1})),
        (lambda: nn.optimizers.SGD(0.1, momentum=0.9), ("SGD", {"lr": 0.1, "momentum": 0.9})),
        (
            lambda: nn.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
            ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ),
        (lambda: nn.optimizers.Adam(0.1, epsilon=1e-8), ("Adam", {"lr": 0.1, "eps": 1e-8})),
        (
            lambda: nn.optimizers.Adam(0.1, 0.7, 0.95, 1e-3),
            ("Adam", {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3}),
        ),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adam betas"],
)
def test_steps_are_pytorchs(backend, put, ours, theirs):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own optimizer: two backends are enough")
    torch = pytest.importorskip("torch")
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    kind, options = theirs
    oracle = getattr(torch.optim, kind)([weight], **options)
    optimizer, parameters = ours(), {"w": put(weight.detach().numpy())}
    state = optimizer.init(parameters)
    for number in range(20):
        gradient = slope(lambda values, dtype: np.asarray(values, dtype), number, "float64")["a"]
        weight.grad = torch.from_numpy(gradient)
        oracle.step()
        parameters, state = optimizer.update({"w": put(gradient)}, state, parameters)
        np.testing.assert_allclose(
            nn.to_numpy(parameters["w"]), weight.detach().numpy(), rtol=1e-11, atol=1e-14
        )


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
    ids=["sgd", "decay 1e-2", "decay 1e-3", "momentum 0.5", "momentum 0.9", "adam 0.02", "adam 0.05"],
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
    seen = model.fit(x, y, epochs=101, batch_size=300, shuffle=False, verbose=0).history["loss"]
    assert [seen[epoch] for epoch in (0, 1, 10, 50, 100)] == pytest.approx(losses, rel=1e-8)


@each
@pytest.mark.parametrize("wrong", ["renamed", "nested", "shape", "slots"])
def test_gradients_and_slots_that_are_not_those_of_the_parameters_are_refused(put, name, wrong):
    optimizer, parameters = OPTIMIZERS[name](), {"w": put(np.ones(2))}
    state, gradients = optimizer.init(parameters), {"w": put(np.ones(2))}
    kind = type(optimizer).__name__
    if wrong == "renamed":
        gradients, message = (
            {"v": gradients["w"]},
            rf"{kind}.update expects gradients structured as.*'w'.*got .*'v'",
        )
    elif wrong == "nested":
        gradients, message = {"w": [gradients["w"]]}, "expects gradients structured as the parameters"
    elif wrong == "shape":
        gradients = {"w": put(np.ones((3, 2)))}
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
