"""First values: their distributions, and that they come from the host's stream alone."""

import math

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import initializers
from nnbackend.random import Stream

SHAPE = (200, 300)


def draw(which, shape=SHAPE, dtype="float64", path="dense/kernel"):
    return initializers.get(which)(shape, Stream(0, path), dtype)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / 500),
        ("glorot_normal", 2 / 500),
        ("he_uniform", 2 / 200),
        ("he_normal", 2 / 200),
        ("lecun_uniform", 1 / 200),
        ("lecun_normal", 1 / 200),
        ("normal", 0.05**2),
        ("random_normal", 0.05**2),
        ("uniform", 0.1**2 / 12),
        ("random_uniform", 0.1**2 / 12),
        ("variance_scaling", 1 / 200),
    ],
)
def test_mean_and_variance_are_those_of_the_distribution(name, variance):
    values = draw(name)
    assert values.mean() == pytest.approx(0.0, abs=5 * math.sqrt(variance / values.size))
    assert values.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    ("name", "limit"), [("glorot_uniform", 6 / 500), ("he_uniform", 6 / 200), ("lecun_uniform", 3 / 200)]
)
def test_uniform_numbers_fill_their_interval(name, limit):
    values = draw(name)
    assert -math.sqrt(limit) <= values.min() < -0.999 * math.sqrt(limit)
    assert 0.999 * math.sqrt(limit) < values.max() < math.sqrt(limit)


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "lecun_normal"])
def test_normal_numbers_are_cut_off_at_two_deviations(name):
    values = draw(name)
    deviation = values.std() / 0.87962566103423978
    assert np.abs(values).max() == pytest.approx(2 * deviation, rel=0.02)


def test_untruncated_normal_numbers_have_tails():
    values = draw(initializers.VarianceScaling(distribution="untruncated_normal"))
    assert np.abs(values).max() > 3.5 * values.std()


@pytest.mark.parametrize(
    ("which", "value"), [("zeros", 0.0), ("ones", 1.0), (initializers.Constant(-2.5), -2.5)]
)
def test_constants_are_constant(which, value, dtype):
    values = draw(which, (2, 3), dtype)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, np.full((2, 3), value))


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "normal", "uniform"])
def test_float32_values_are_those_of_float64_rounded(name):
    narrow = draw(name, dtype="float32")
    assert narrow.dtype == "float32"
    np.testing.assert_array_equal(narrow, draw(name).astype("float32"))


def test_values_depend_on_the_path_and_nothing_else():
    np.testing.assert_array_equal(draw("he_normal"), draw("he_normal"))
    assert not np.array_equal(draw("he_normal"), draw("he_normal", path="dense_1/kernel"))


@pytest.mark.parametrize(
    ("shape", "fans"), [((), (1, 1)), ((7,), (7, 7)), ((3, 4), (3, 4)), ((5, 2, 3, 4), (30, 40))]
)
def test_fans_count_what_a_weight_joins(shape, fans):
    assert initializers.fans(shape) == fans


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "expects a positive scale"),
        ((1.0, "fan_on"), "Did you mean 'fan_in'"),
        ((1.0, "fan_in", "unifrom"), "Did you mean 'uniform'"),
    ],
)
def test_variance_scaling_refuses_what_it_does_not_know(arguments, message):
    with pytest.raises(ValueError, match=message):
        initializers.VarianceScaling(*arguments)


@pytest.mark.parametrize(("name", "keeps"), [("he_normal", True), ("lecun_normal", False)])
def test_he_keeps_the_size_of_signals_through_relu_layers(name, keeps):
    x = Stream(0, "x").normal((64, 128), dtype="float64")
    for number in range(30):
        x = np.maximum(x @ draw(name, (128, 128), path=f"{number}"), 0.0)
    moment = (x**2).mean()
    assert bool(0.2 < moment < 5.0) is keeps


@pytest.mark.parametrize(
    ("name", "pinned"), [("glorot_uniform", 0.015852174690296428), ("he_normal", 0.927701220716462)]
)
def test_first_values_are_pinned(backend, name, pinned):
    layer = nn.Dense(2, kernel_initializer=name, dtype="float64")
    nn.Sequential([layer], backend=backend, seed=0).build((3,))
    assert layer.kernel.numpy()[0, 0] == pytest.approx(pinned, rel=1e-14)
