"""Sums, means, products and extremes: values against NumPy's, ties, zeros and empty arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend import functional as fn

AXES = [None, 0, -1, (0, 2), (1,), ()]
NAMES = ["sum", "mean", "max", "min", "prod", "var", "std", "logsumexp"]


def close(found, expected):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=1e-12, atol=1e-14)


def reference(name):
    return (lambda x, **o: np.log(np.sum(np.exp(x), **o))) if name == "logsumexp" else getattr(np, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", AXES[:-1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_are_numpy_s(name, axis, keepdims, put, rng, backend):
    x = rng.normal(size=(2, 3, 4))
    close(
        getattr(fn, name)(put(x), axis=axis, keepdims=keepdims),
        reference(name)(x, axis=axis, keepdims=keepdims),
    )
    if backend.name != "jax" or axis == (0, 2):
        nn.gradcheck(lambda x: getattr(fn, name)(x, axis=axis, keepdims=keepdims), put(x), projections=1)


@pytest.mark.parametrize("name", ["sum", "mean", "var"])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 1)])
def test_axes_of_length_one(name, shape, put, rng):
    x = rng.normal(size=shape)
    value, pullback = nn.vjp(lambda x: getattr(fn, name)(x, axis=-1), put(x))
    close(value, getattr(np, name)(x, axis=-1))
    assert tuple(pullback(value)[0].shape) == shape


def test_sums_of_nothing(put):
    empty = put(np.zeros((0, 3)))
    close(fn.sum(empty), 0.0)
    close(fn.prod(empty, axis=0), [1.0, 1.0, 1.0])
    assert tuple(nn.grad(fn.sum)(empty).shape) == (0, 3)
    assert tuple(nn.grad(fn.prod)(empty).shape) == (0, 3)


def test_sum_takes_a_dtype_and_casts_the_gradient_back(put, backend):
    x = put([1.0, 2.0], "float32")
    value, pullback = nn.vjp(lambda x: fn.sum(x, dtype="float64"), x)
    assert value.dtype == backend.xp.float64
    assert pullback(value)[0].dtype == backend.xp.float32


@pytest.mark.parametrize("name", ["max", "min"])
def test_equal_extremes_share_the_gradient_evenly(name, put):
    x = put([[1.0, 1.0, 1.0], [2.0, 5.0, 3.0]])
    gradient = nn.grad(lambda x: fn.sum(getattr(fn, name)(x, axis=1)))(x)
    close(nn.to_numpy(gradient)[0], [1 / 3] * 3)
    close(np.sum(nn.to_numpy(gradient)), 2.0)


@pytest.mark.parametrize(
    "values", [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 4.0], [0.0], [0.0, 0.0, 0.0, 1.0]]
)
def test_products_with_zeros_have_right_first_and_second_derivatives(values, put):
    nn.gradcheck(fn.prod, put(values))
    nn.gradcheck(nn.grad(fn.prod), put(values))


def test_the_deviation_of_equal_numbers_has_gradient_zero(put):
    close(nn.grad(fn.std)(put([2.0, 2.0, 2.0])), [0.0, 0.0, 0.0])


def test_correction_is_taken_off_the_count(put, rng):
    x = rng.normal(size=(3, 4))
    close(fn.var(put(x), axis=1, correction=1), np.var(x, axis=1, ddof=1))
    close(fn.std(put(x), correction=1), np.std(x, ddof=1))
    with pytest.raises(ValueError, match="variance of 1 elements with correction 1 does not exist"):
        fn.var(put([1.0]), correction=1)


def test_logsumexp_is_stable_and_lets_masked_logits_out(put):
    close(fn.logsumexp(put([1e4, 1e4])), 1e4 + np.log(2.0))
    close(fn.logsumexp(put([-np.inf, 0.0])), 0.0)
    close(fn.logsumexp(put([np.inf, 0.0])), np.inf)
    close(nn.grad(fn.logsumexp)(put([-np.inf, 0.0, 0.0])), [0.0, 0.5, 0.5])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.booleans(), st.integers(0, 1))
def test_cumulative_sums_are_numpy_s(count, initial, axis):
    x = np.arange(1.0, 1.0 + 3 * count).reshape((3, count) if axis else (count, 3))
    made = fn.cumulative_sum(x, axis=axis, include_initial=initial)
    np.testing.assert_allclose(made, np.cumulative_sum(x, axis=axis, include_initial=initial))
    nn.gradcheck(lambda x: fn.cumulative_sum(x, axis=axis, include_initial=initial), x, projections=1)


def test_wrong_axes_are_refused_in_words(put):
    with pytest.raises(ValueError, match="axis 2 does not exist in an array of 2 dimensions"):
        fn.sum(put(np.ones((2, 2))), axis=2)
    with pytest.raises(ValueError, match="needs an axis for an array of 2 dimensions"):
        fn.cumulative_sum(put(np.ones((2, 2))))
