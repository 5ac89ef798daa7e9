"""Selection: values against NumPy's for all kinds of keys, and gradients that add up where they came from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

import nnbackend as nn
from nnbackend import functional as fn

KEYS = [0, -1, (1, 2), (..., 0), slice(1, None), (slice(None, None, 2), slice(4, 0, -3)), (None, 0, ..., None),
        (slice(5, 2),), (slice(None), slice(-3, -1)), (slice(1, 3), 2, slice(None, None, -1)), (), ...]  # fmt: skip


def scattered(x, key, dy):
    """The gradient of x[key], by NumPy's assignment."""
    dx = np.zeros_like(x)
    np.add.at(dx, key, dy)
    return dx


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_basic_keys_are_numpy_s(key, put, rng):
    x = rng.normal(size=(4, 5, 3))
    value, pullback = nn.vjp(lambda t: t[key], put(x))
    np.testing.assert_array_equal(nn.to_numpy(value), x[key])
    dy = rng.normal(size=x[key].shape)
    np.testing.assert_array_equal(nn.to_numpy(pullback(put(dy))[0]), scattered(x, key, dy))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_any_basic_key_is_numpy_s(data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=0, max_size=3).map(tuple))
    key = data.draw(basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    x = np.arange(float(np.prod(shape, dtype=int))).reshape(shape)
    value, pullback = nn.vjp(lambda t: t[key], x)
    np.testing.assert_array_equal(value, x[key])
    dy = np.ones_like(x[key]) + np.arange(x[key].size).reshape(x[key].shape)
    np.testing.assert_array_equal(pullback(np.asarray(dy))[0], scattered(x, key, dy))


def test_keys_with_index_arrays_are_numpy_s(put, rng):
    x = rng.normal(size=(4, 5, 3))
    i, j, k = np.asarray([0, 3, 0]), np.asarray([4, -1, 4]), np.asarray([2, 1, 2])
    grid = np.asarray([[0, 2], [2, 2]])
    pi, pj, pk, pgrid = map(put, (i, j, k, grid))
    for ours, numpy_s in [
        (pi, i), ((slice(None), pi), (slice(None), i)), ((..., pk), (..., k)), (pgrid, grid),
        ((slice(1, 3), pi), (slice(1, 3), i)), ((pi, pj, pk), (i, j, k)), ((pi, 2, pk), (i, 2, k)),
        ((pi, slice(None, None, 2)), (i, slice(None, None, 2))),
    ]:  # fmt: skip
        value, pullback = nn.vjp(lambda t, key=ours: t[key], put(x))
        np.testing.assert_array_equal(nn.to_numpy(value), x[numpy_s])
        dy = rng.normal(size=x[numpy_s].shape)
        np.testing.assert_allclose(nn.to_numpy(pullback(put(dy))[0]), scattered(x, numpy_s, dy), rtol=1e-14)


def test_an_index_on_the_device_stays_there(put, backend):
    """A 0-d array may name the place, also inside a compiled step, where its value is not known."""
    step = backend.compile(
        lambda state, batch: (state, nn.grad(lambda x: fn.sum(x[batch[1]] ** 2))(batch[0]))
    )
    _, gradient = step((), (put([[1.0, 2.0], [3.0, 4.0]]), put(np.asarray(-1))))
    np.testing.assert_array_equal(nn.to_numpy(gradient), [[0.0, 0.0], [6.0, 8.0]])


def test_negative_index_arrays_send_the_gradient_where_they_took(put):
    gradient = nn.grad(lambda x: fn.sum(x[put([-1, 0, -1])]))(put([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(nn.to_numpy(gradient), [1.0, 0.0, 2.0])


def test_index_tensors_are_indices(put):
    x, i = nn.Tensor(put([1.0, 2.0, 3.0])), nn.Tensor(put([2, 0]))
    np.testing.assert_array_equal(nn.to_numpy(x[i]), [3.0, 1.0])


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (7, IndexError, "index 7 is out of range for axis 0 of length 4"),
        ((0, 0, 0), IndexError, "3 indices were given for an array of 2 dimensions"),
        ((..., ...), IndexError, "at most one Ellipsis"),
        ([0, 1], TypeError, "integer, a slice or an integer array, got list"),
        (1.0, TypeError, "got float"),
        (True, TypeError, "boolean mask"),
    ],
)
def test_wrong_keys_are_refused_in_words(key, error, words, put):
    with pytest.raises(error, match=words):
        nn.Tensor(put(np.ones((4, 3))))[key]


def test_masks_and_mixed_arrays_are_refused_with_the_cure(put):
    x = nn.Tensor(put(np.ones((4, 3, 2))))
    with pytest.raises(TypeError, match=r"functional.where\(mask, x, 0.0\)"):
        x[x > 0]
    with pytest.raises(IndexError, match="Select in two steps"):
        x[put([0]), put([1])]
    with pytest.raises(TypeError, match="cannot be assigned to in place"):
        x[0] = 1.0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_adds_up_the_gradients_of_what_it_took_twice(axis, put, rng):
    x = rng.normal(size=(3, 4, 5))
    indices = np.asarray([2, 0, 2, 2])
    value, pullback = nn.vjp(lambda t: fn.take(t, put(indices), axis=axis), put(x))
    np.testing.assert_array_equal(nn.to_numpy(value), np.take(x, indices, axis=axis))
    dy = rng.normal(size=value.shape)
    expected = np.zeros_like(x)
    np.add.at(np.moveaxis(expected, axis, 0), indices, np.moveaxis(dy, axis, 0))
    np.testing.assert_allclose(nn.to_numpy(pullback(put(dy))[0]), expected, rtol=1e-14)


def test_take_by_a_matrix_of_indices(put, rng):
    x, indices = rng.normal(size=(5, 2)), np.asarray([[0, 4], [4, 4], [1, 0]])
    np.testing.assert_array_equal(nn.to_numpy(fn.take(put(x), put(indices), axis=0)), x[indices])
    nn.gradcheck(lambda t: fn.take(t, put(indices), axis=0), put(x))


def test_take_needs_an_axis_of_matrices(put):
    with pytest.raises(ValueError, match="take needs an axis for an array of 2 dimensions"):
        fn.take(put(np.ones((2, 2))), put([0]))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis_is_numpy_s(axis, put, rng):
    x = rng.normal(size=(3, 4, 2))
    shape = list(x.shape)
    shape[axis] = 5
    indices = rng.integers(0, x.shape[axis], shape)
    value = fn.take_along_axis(put(x), put(indices), axis=axis)
    np.testing.assert_array_equal(nn.to_numpy(value), np.take_along_axis(x, indices, axis))
    nn.gradcheck(lambda t: fn.take_along_axis(t, put(indices), axis=axis), put(x), projections=1)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 5), max_size=20), st.integers(6, 8))
def test_scatter_add_is_numpy_s_add_at(indices, length):
    indices = np.asarray(indices, dtype=np.int64)
    x = 1.0 + np.arange(2.0 * len(indices)).reshape(len(indices), 2)
    expected = np.zeros((length, 2))
    np.add.at(expected, indices, x)
    np.testing.assert_array_equal(fn.scatter_add(x, indices, length=length), expected)


def test_scatter_add_loses_no_digits_to_cancellation(put):
    rows = put([1e8, 1.0, -1e8, 1.0], "float32")
    np.testing.assert_array_equal(nn.to_numpy(fn.scatter_add(rows, put([0, 1, 0, 1]), length=2)), [0.0, 2.0])


@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_numpy_s_and_sends_the_gradient_back(descending, put, rng):
    x = rng.permutation(12.0 * 1).astype(float).reshape(3, 4) if False else rng.normal(size=(3, 4))
    expected = np.sort(x, axis=0)[::-1] if descending else np.sort(x, axis=0)
    np.testing.assert_array_equal(nn.to_numpy(fn.sort(put(x), axis=0, descending=descending)), expected)
    nn.gradcheck(lambda t: fn.sort(t, axis=0, descending=descending), put(x), projections=1)


@pytest.mark.parametrize("kind", ["int8", "int64"])
def test_negative_indices_count_from_the_end_in_gradients_too(kind, put):
    x, weights, indices = put([1.0, 2.0, 3.0]), put([1.0, 2.0, 3.0]), put([-1, 0, -1], kind)
    for select in (
        fn.take,
        fn.take_along_axis,
        lambda x, i: nn.Tensor(x)[i] if not isinstance(x, nn.Tensor) else x[i],
    ):
        np.testing.assert_array_equal(nn.to_numpy(select(x, indices)), [3.0, 1.0, 3.0])
        gradient = nn.grad(lambda x, select=select: fn.sum(select(x, indices) * weights))(x)
        np.testing.assert_array_equal(nn.to_numpy(gradient), [2.0, 0.0, 4.0])
    np.testing.assert_array_equal(nn.to_numpy(fn.scatter_add(x, indices, length=3)), [2.0, 0.0, 4.0])


def test_small_integers_index_long_axes(put):
    x, indices = put(np.arange(300.0)), put([-1, 100], "int8")
    np.testing.assert_array_equal(nn.to_numpy(fn.take(x, indices)), [299.0, 100.0])
    np.testing.assert_array_equal(nn.to_numpy(fn.getitem(x, indices)), [299.0, 100.0])
