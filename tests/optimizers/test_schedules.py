"""Schedules: against PyTorch's where the formula is the same, by their properties, and inside of a step."""

import math

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.optimizers import schedules

#: One of each kind, with all its options in use.
SCHEDULES = {
    "constant": lambda: schedules.Constant(0.3),
    "inverse time": lambda: schedules.InverseTimeDecay(0.3, 10, 0.5),
    "inverse time stairs": lambda: schedules.InverseTimeDecay(0.3, 10, 0.5, staircase=True),
    "exponential": lambda: schedules.ExponentialDecay(0.3, 10, 0.5),
    "exponential stairs": lambda: schedules.ExponentialDecay(0.3, 10, 0.5, staircase=True),
    "step": lambda: schedules.StepDecay(0.3, 7, 0.5),
    "piecewise": lambda: schedules.PiecewiseConstantDecay([5, 12], [0.3, 0.2, 0.05]),
    "polynomial": lambda: schedules.PolynomialDecay(0.3, 20, 0.01, power=2.0),
    "polynomial cycle": lambda: schedules.PolynomialDecay(0.3, 8, 0.01, cycle=True),
    "cosine": lambda: schedules.CosineDecay(0.3, 20, alpha=0.1),
    "restarts": lambda: schedules.CosineDecayRestarts(0.3, 4, t_mul=3.0, m_mul=0.8, alpha=0.05),
    "equal restarts": lambda: schedules.CosineDecayRestarts(0.3, 4, t_mul=1.0),
    "warm-up": lambda: schedules.LinearWarmup(schedules.CosineDecay(0.3, 20), 6, start=0.01),
    "warm-up of a number": lambda: schedules.LinearWarmup(0.3, 6),
    "one cycle": lambda: schedules.OneCycle(0.3, 30),
    "one cycle in lines": lambda: schedules.OneCycle(
        0.3, 30, 0.4, anneal_strategy="linear", three_phase=True
    ),
    "cyclic": lambda: schedules.Cyclic(0.01, 0.3, 4),
    "cyclic halves": lambda: schedules.Cyclic(0.01, 0.3, 4, 6, mode="triangular2"),
    "cyclic shrinking": lambda: schedules.Cyclic(0.01, 0.3, 4, mode="exp_range", gamma=0.95),
    "noam": lambda: schedules.Noam(64, warmup_steps=8, factor=2.0),
}
each = pytest.mark.parametrize("name", SCHEDULES)


def test_every_schedule_is_in_the_table():
    classes = {getattr(schedules, name) for name in schedules.__all__} - {schedules.Schedule}
    assert {type(make()) for make in SCHEDULES.values()} == classes


@each
def test_an_array_of_steps_gives_the_rates_of_each(backend, put, name):
    schedule = SCHEDULES[name]()
    expected = [schedule(step) for step in range(40)]
    rates = nn.to_numpy(schedule(put(np.arange(40))))
    assert rates.dtype == "float64"
    np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=1e-17)
    assert all(type(rate) is float and rate >= 0.0 for rate in expected)


@each
def test_a_schedule_is_made_again_from_its_description(name):
    schedule = SCHEDULES[name]()
    again = nn.config.restore(nn.config.describe(schedule))
    assert type(again) is type(schedule)
    assert [again(step) for step in range(40)] == [schedule(step) for step in range(40)]


@each
def test_the_rate_of_each_step_is_that_of_the_schedule_in_one_compiled_step(backend, name):
    schedule = SCHEDULES[name]()
    optimizer = nn.optimizers.SGD(schedule)

    def step(state, batch):
        parameters, inner = optimizer.update({"w": batch}, state["inner"], {"w": state["w"]})
        return {"w": parameters["w"], "inner": inner}, inner["learning_rate"]

    w = backend.from_host([0.0], "float64")
    compiled, state = backend.compile(step), {"w": w, "inner": optimizer.init({"w": w})}
    one, before = backend.from_host([1.0], "float64"), 0.0
    for number in range(12):
        assert optimizer.current_learning_rate(state["inner"]) == pytest.approx(schedule(number), rel=1e-12)
        state, rate = compiled(state, one)
        now = float(nn.to_numpy(state["w"])[0])
        assert before - now == pytest.approx(schedule(number), rel=1e-9, abs=1e-16)
        assert float(nn.to_numpy(rate)) == pytest.approx(schedule(number), rel=1e-12)
        before = now
    assert getattr(compiled, "count", 1) == 1


#: PyTorch's own: ours, theirs by class and arguments after an optimizer of learning rate 0.3, and how many steps agree.
ORACLES = {
    "constant": (lambda: schedules.Constant(0.3), "ConstantLR", {"factor": 1.0}, 40),
    "exponential": (lambda: schedules.ExponentialDecay(0.3, 1, 0.9), "ExponentialLR", {"gamma": 0.9}, 40),
    "step": (lambda: schedules.StepDecay(0.3, 7, 0.5), "StepLR", {"step_size": 7, "gamma": 0.5}, 40),
    "piecewise": (
        lambda: schedules.PiecewiseConstantDecay([4, 11], [0.3, 0.03, 0.003]),
        "MultiStepLR",
        {"milestones": [5, 12]},
        40,
    ),
    "polynomial": (
        lambda: schedules.PolynomialDecay(0.3, 20, 0.0, power=2.0),
        "PolynomialLR",
        {"total_iters": 20, "power": 2.0},
        40,
    ),
    "cosine": (
        lambda: schedules.CosineDecay(0.3, 20, alpha=0.1),
        "CosineAnnealingLR",
        {"T_max": 20, "eta_min": 0.03},
        21,
    ),
    "restarts": (
        lambda: schedules.CosineDecayRestarts(0.3, 4, t_mul=2.0),
        "CosineAnnealingWarmRestarts",
        {"T_0": 4, "T_mult": 2},
        70,
    ),
    "equal restarts": (
        lambda: schedules.CosineDecayRestarts(0.3, 5, t_mul=1.0),
        "CosineAnnealingWarmRestarts",
        {"T_0": 5},
        40,
    ),
    "warm-up": (
        lambda: schedules.LinearWarmup(0.3, 8, start=0.075),
        "LinearLR",
        {"start_factor": 0.25, "total_iters": 8},
        40,
    ),
    "one cycle": (lambda: schedules.OneCycle(0.5, 30), "OneCycleLR", {"max_lr": 0.5, "total_steps": 30}, 30),
    "one cycle in three lines": (
        lambda: schedules.OneCycle(0.5, 30, 0.4, 10.0, 100.0, "linear", True),
        "OneCycleLR",
        {
            "max_lr": 0.5,
            "total_steps": 30,
            "pct_start": 0.4,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
            "anneal_strategy": "linear",
            "three_phase": True,
        },
        30,
    ),
    "cyclic": (
        lambda: schedules.Cyclic(0.01, 0.3, 4),
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "cycle_momentum": False},
        40,
    ),
    "cyclic halves": (
        lambda: schedules.Cyclic(0.01, 0.3, 4, 6, mode="triangular2"),
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.3,
            "step_size_up": 4,
            "step_size_down": 6,
            "mode": "triangular2",
            "cycle_momentum": False,
        },
        40,
    ),
    "cyclic shrinking": (
        lambda: schedules.Cyclic(0.01, 0.3, 4, mode="exp_range", gamma=0.95),
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.3,
            "step_size_up": 4,
            "mode": "exp_range",
            "gamma": 0.95,
            "cycle_momentum": False,
        },
        40,
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_rates_are_pytorchs(backend, name):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own scheduler: two backends are enough")
    torch = pytest.importorskip("torch")
    ours, kind, options, steps = ORACLES[name]
    schedule = ours()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    oracle = getattr(torch.optim.lr_scheduler, kind)(optimizer, **options)
    for step in range(steps):
        assert schedule(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-10, abs=1e-15)
        optimizer.step()
        if step < steps - 1:
            oracle.step()


@pytest.mark.parametrize("t_mul", [1.5, 2.0, 3.0, 7.0])
def test_restarts_begin_on_the_step_they_are_due(t_mul):
    schedule = schedules.CosineDecayRestarts(1.0, 8, t_mul=t_mul)
    start, length = 0.0, 8.0
    for _ in range(8):
        if start.is_integer():
            assert schedule(int(start)) == pytest.approx(1.0, abs=1e-6)
        start, length = start + length, length * t_mul


def test_the_highest_rate_of_noam_is_that_of_the_paper():
    schedule = schedules.Noam(512)
    rates = [schedule(step) for step in range(3990, 4010)]
    assert max(rates) == rates[9] == pytest.approx(512**-0.5 * 4000**-0.5, rel=1e-12)


def test_the_decay_of_every_optimizer_is_the_inverse_of_time(put):
    def train(optimizer):
        parameters = {"w": put([1.0])}
        state = optimizer.init(parameters)
        for _ in range(5):
            parameters, state = optimizer.update({"w": put([1.0])}, state, parameters)
        return float(nn.to_numpy(parameters["w"])[0])

    scheduled = train(nn.optimizers.SGD(schedules.InverseTimeDecay(0.1, 1, 0.5)))
    assert train(nn.optimizers.SGD(0.1, decay=0.5)) == pytest.approx(scheduled, rel=1e-14)


def test_a_model_trains_with_a_schedule_and_goes_on_from_a_file(backend, tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    y = x @ np.array([[1.0], [2.0], [-1.0]], "float32")

    def make():
        model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
        schedule = schedules.LinearWarmup(schedules.CosineDecay(0.1, 30), 4)
        model.compile(nn.optimizers.Adam(schedule), "mse")
        return model

    whole = make()
    whole.fit(x, y, epochs=4, batch_size=16, verbose=0)
    half = make()
    half.fit(x, y, epochs=2, batch_size=16, verbose=0)
    half.save(tmp_path / "half.safetensors")
    loaded = nn.load_model(tmp_path / "half.safetensors", backend=backend)
    loaded.fit(x, y, epochs=4, initial_epoch=2, batch_size=16, verbose=0)
    for a, b in zip(whole.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_schedule_is_not_exchanged_under_a_compiled_step():
    optimizer = nn.optimizers.Adam(schedules.Constant(0.1))
    with pytest.raises(TypeError, match="keeps its schedule, or its having none"):
        optimizer.learning_rate = 0.2
    with pytest.raises(TypeError, match="keeps its schedule, or its having none"):
        nn.optimizers.Adam(0.1).learning_rate = schedules.Constant(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.CosineDecay(-0.1, 10), "expects initial_learning_rate to be 0 or more"),
        (lambda: schedules.CosineDecay(0.1, 0), "expects decay_steps above zero"),
        (lambda: schedules.StepDecay(0.1, 10, 0.0), "expects factor above zero"),
        (lambda: schedules.PiecewiseConstantDecay([1], [0.1]), "one value more than boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.1, 0.1]), "boundaries that increase"),
        (lambda: schedules.CosineDecayRestarts(0.1, 10, t_mul=0.5), "expects t_mul to be 1 or more"),
        (lambda: schedules.OneCycle(0.1, 100, pct_start=1.0), "above 0 and below 1"),
        (lambda: schedules.OneCycle(0.1, 2), "has no step to go up or down in"),
        (lambda: schedules.OneCycle(0.1, 100, anneal_strategy="cosine"), "one of cos, linear"),
        (lambda: schedules.Cyclic(0.1, 0.2, mode="triangle"), "Did you mean 'triangular'"),
        (lambda: schedules.Noam(0), "expects d_model above zero"),
        (lambda: schedules.LinearWarmup(math.inf, 3), "learning_rate to be 0 or more, and finite"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
