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


def test_truncated_normal_numbers_are_those_of_the_distribution():
    values = draw(initializers.TruncatedNormal(1.0, 0.5))
    assert np.abs(values - 1.0).max() <= 1.0
    assert values.mean() == pytest.approx(1.0, abs=0.01)
    assert values.std() == pytest.approx(0.5 * 0.87962566103423978, rel=0.01)


@pytest.mark.parametrize("shape", [(8, 8), (20, 7), (7, 20), (3, 3, 2, 5), (2, 1, 2, 9), (1, 1)])
def test_orthogonal_matrices_are_orthogonal(shape):
    w = draw(initializers.Orthogonal(gain=3.0), shape).reshape(-1, shape[-1])
    small = w if w.shape[0] < w.shape[1] else w.T
    np.testing.assert_allclose(small @ small.T, 9.0 * np.eye(len(small)), atol=1e-13)
    assert draw("orthogonal", shape).shape == shape


def test_orthogonal_matrices_are_drawn_evenly():
    """Haar measure: traces have mean 0 and variance 1, and both determinants come equally often."""
    drawn = [draw("orthogonal", (3, 3), path=f"{number}") for number in range(400)]
    traces = np.array([np.trace(w) for w in drawn])
    assert traces.mean() == pytest.approx(0.0, abs=0.2)
    assert traces.var() == pytest.approx(1.0, abs=0.2)
    assert abs(np.mean([np.linalg.det(w) for w in drawn])) < 0.2


def test_orthogonal_weights_keep_signals_through_100_linear_layers():
    x = start = Stream(0, "x").normal((16, 64), dtype="float64")
    for number in range(100):
        x = x @ draw("orthogonal", (64, 64), path=f"{number}")
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.linalg.norm(start, axis=1), rtol=1e-11)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_the_identity_is_the_identity(shape, dtype):
    values = draw(initializers.Identity(2.0), shape, dtype)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, 2.0 * np.eye(*shape))


def test_the_identity_of_a_convolution_stands_in_its_middle():
    values = draw("identity", (3, 5, 2, 2))
    np.testing.assert_array_equal(values[1, 2], np.eye(2))
    assert values.sum() == 2.0


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.0, 0), (0.7, 7), (0.75, 8), (1.0, 10)])
def test_sparse_weights_have_as_many_zeros_for_each_output(sparsity, zeros):
    values = draw(initializers.Sparse(sparsity, 0.1), (10, 400))
    np.testing.assert_array_equal((values == 0.0).sum(axis=0), np.full(400, zeros))
    if zeros < 10:
        assert values[values != 0.0].std() == pytest.approx(0.1, rel=0.1)
        shares = (values == 0.0).mean(axis=1)  # every connection is dropped equally often
        np.testing.assert_allclose(shares, zeros / 10, atol=0.1)


@pytest.mark.parametrize("name", ["orthogonal", "truncated_normal", "sparse"])
def test_further_float32_values_are_those_of_float64_rounded(name):
    np.testing.assert_array_equal(draw(name, (30, 20), "float32"), draw(name, (30, 20)).astype("float32"))


@pytest.mark.parametrize("name", ["orthogonal", "identity", "sparse"])
def test_matrices_need_two_axes(name):
    with pytest.raises(ValueError, match=r"expects a weight with axes \(..., in, out\), got shape \(3,\)"):
        draw(name, (3,))


def test_a_sparsity_above_one_is_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        initializers.Sparse(1.5)


@pytest.mark.parametrize("name", ["orthogonal", "truncated_normal", "sparse", "identity"])
def test_further_first_values_are_the_same_on_every_backend(backend, name):
    layer = nn.Dense(4, kernel_initializer=name, dtype="float64")
    nn.Sequential([layer], backend=backend, seed=0).build((6,))
    np.testing.assert_array_equal(layer.kernel.numpy(), draw(name, (6, 4), path="dense/kernel"))
