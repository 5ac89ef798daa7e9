"""Pooling: windows taken one by one, PyTorch's answers, ties, NaN, edges and memory."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

SPACES = {1: (7,), 2: (7, 6), 3: (4, 5, 6)}


def windows(space, size, stride, padding):
    """The slices of all windows, as the definition has them."""
    along = []
    for length in space:
        if padding == "valid":
            starts = range(0, length - size + 1, stride)
        else:
            count = math.ceil(length / stride)
            before = max((count - 1) * stride + size - length, 0) // 2
            starts = range(-before, -before + count * stride, stride)
        along.append([slice(max(start, 0), min(start + size, length)) for start in starts])
    return itertools.product(*along), tuple(map(len, along))


def one_by_one(x, dy, size, stride, padding, kind):
    """Value and gradient of pooling, window by window."""
    taken, counts = windows(x.shape[1:-1], size, stride, padding)
    y = np.empty((x.shape[0], *counts, x.shape[-1]), x.dtype)
    dx = np.zeros_like(x)
    for place, window in zip(np.ndindex(*counts), taken, strict=True):
        for n, c in np.ndindex(x.shape[0], x.shape[-1]):
            block = x[(n, *window, c)]
            here, gradient = (n, *place, c), dx[(n, *window, c)]
            if kind == "average_pool":
                y[here] = block.mean()
                gradient += dy[here] / block.size
            else:
                nan = np.isnan(block)
                first = np.argmax(nan if nan.any() else block == block.max())
                y[here] = block.flat[first]
                gradient[np.unravel_index(first, block.shape)] += dy[here]
    return y, dx


def output_shape(x, size, stride, padding):
    return (x.shape[0], *windows(x.shape[1:-1], size, stride, padding)[1], x.shape[-1])


def both(function, x, dy, put, dtype="float64"):
    value, pullback = nn.vjp(function, put(x, dtype))
    return nn.to_numpy(value), nn.to_numpy(pullback(put(dy, dtype))[0])


@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2), (2, 3), (4, 3)])
@pytest.mark.parametrize("ndim", [1, 2])
def test_pooling_is_its_definition_window_by_window(
    kind, padding, size, stride, ndim, put, rng, backend, dtype
):
    if backend.name == "jax" and (ndim, size) != (2, 3):
        pytest.skip("each operation is compiled on its own here: minutes")
    x = rng.integers(0, 4, size=(2, *SPACES[ndim], 2)).astype(dtype)  # full of equal maxima
    dy = rng.normal(size=output_shape(x, size, stride, padding)).astype(dtype)

    def function(x):
        return getattr(fn, kind)(x, pool_size=size, strides=stride, padding=padding)

    y, dx = both(function, x, dy, put, dtype)
    expected_y, expected_dx = one_by_one(x, dy, size, stride, padding, kind)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(y, expected_y, rtol=tolerance)
    np.testing.assert_allclose(dx, expected_dx, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_nan_and_infinities_are_elements_like_others(padding, put, rng):
    x = rng.integers(0, 3, size=(1, 6, 6, 1)).astype("float64")
    x[0, 1, 2, 0] = x[0, 1, 4, 0] = x[0, 3, 1, 0] = np.nan
    x[0, 4:, 4:, 0] = -np.inf
    x[0, :2, :2, 0] = -np.inf
    x[0, 5, 0, 0] = np.inf
    dy = rng.normal(size=output_shape(x, 3, 1, padding))
    y, dx = both(lambda x: fn.max_pool(x, pool_size=3, strides=1, padding=padding), x, dy, put)
    expected_y, expected_dx = one_by_one(x, dy, 3, 1, padding, "max_pool")
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-13, atol=1e-15)


def test_of_equal_maxima_the_first_gets_the_gradient(put):
    ones = np.ones((1, 4, 4, 1))
    whole = [
        lambda x: fn.max_pool(x, pool_size=4),
        lambda x: fn.adaptive_max_pool(x, output_size=1),
        lambda x: fn.global_max_pool(x, keepdims=True),
    ]
    first = np.zeros((1, 4, 4, 1))
    first[0, 0, 0, 0] = 1.0
    for function in whole:
        np.testing.assert_array_equal(both(function, ones, np.ones((1, 1, 1, 1)), put)[1], first)
    ones[0, 0, :, 0] = [0.0, 0.0, 1.0, 1.0]  # the first row comes before the first column
    first = np.zeros((1, 4, 4, 1))
    first[0, 0, 2, 0] = 1.0
    for function in whole:
        np.testing.assert_array_equal(both(function, ones, np.ones((1, 1, 1, 1)), put)[1], first)


def test_global_maximum_takes_the_first_nan(put):
    x = np.zeros((1, 5, 1))
    x[0, [2, 4], 0] = np.nan
    y, dx = both(fn.global_max_pool, x, np.ones((1, 1)), put)
    assert np.isnan(y).all()
    np.testing.assert_array_equal(dx[0, :, 0], [0.0, 0.0, 1.0, 0.0, 0.0])


def test_the_mean_over_the_edge_counts_real_elements_only(put):
    x = put(np.ones((1, 5, 5, 1)))
    y = fn.average_pool(x, pool_size=3, strides=2, padding="same")
    np.testing.assert_allclose(nn.to_numpy(y), np.ones((1, 3, 3, 1)), rtol=1e-15)


def test_a_mask_leaves_steps_out_whatever_they_hold(put):
    x = np.asarray([[[1.0], [3.0], [np.nan]], [[5.0], [np.inf], [np.nan]], [[1.0], [2.0], [3.0]]])
    mask = put(np.asarray([[True, True, False], [True, False, False], [False, False, False]]))
    y, dx = both(lambda x: fn.global_average_pool(x, mask), x, np.ones((3, 1)), put)
    np.testing.assert_array_equal(y, [[2.0], [5.0], [0.0]])
    np.testing.assert_array_equal(dx[..., 0], [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_a_mean_of_many_large_numbers_is_right_to_the_last_place(put, rng):
    x = (rng.normal(size=(1, 300, 300, 2)) + 1e4).astype("float32")
    y = nn.to_numpy(fn.global_average_pool(put(x, "float32")))
    np.testing.assert_allclose(y, x.astype("float64").mean(axis=(1, 2)), rtol=2.0**-24)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2), (2, 3)])
def test_pooling_is_pytorch_s(ndim, size, stride, put, rng, dtype):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, *SPACES[ndim], 3)).astype(dtype)
    for ours, theirs in (("max_pool", f"max_pool{ndim}d"), ("average_pool", f"avg_pool{ndim}d")):
        compare(
            torch,
            lambda x, ours=ours: getattr(fn, ours)(x, pool_size=size, strides=stride),
            lambda x, theirs=theirs: getattr(torch.nn.functional, theirs)(x, size, stride),
            *(x, rng, put, dtype),
        )


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_adaptive_pooling_is_pytorch_s(ndim, size, put, rng, dtype):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, *SPACES[ndim], 3)).astype(dtype)
    for ours, theirs in (("max", f"adaptive_max_pool{ndim}d"), ("average", f"adaptive_avg_pool{ndim}d")):
        compare(
            torch,
            lambda x, ours=ours: getattr(fn, f"adaptive_{ours}_pool")(x, output_size=size),
            lambda x, theirs=theirs: getattr(torch.nn.functional, theirs)(x, size),
            *(x, rng, put, dtype),
        )


def compare(torch, ours, theirs, x, rng, put, dtype):
    given = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    output = theirs(given)
    dy = rng.normal(size=tuple(output.shape)).astype(dtype)
    output.backward(torch.tensor(dy))
    y, dx = both(ours, x, np.ascontiguousarray(np.moveaxis(dy, 1, -1)), put, dtype)
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(np.moveaxis(y, -1, 1), output.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.moveaxis(dx, -1, 1), given.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(("length", "count"), [(7, 3), (7, 5), (5, 5), (6, 3), (3, 8), (1, 4), (13, 6)])
def test_adaptive_windows_are_their_definition(kind, length, count, put, rng, backend):
    if backend.name == "jax" and length != 13:
        pytest.skip("each operation is compiled on its own here: minutes")
    x = rng.integers(0, 3, size=(2, length, 2)).astype("float64")
    dy = rng.normal(size=(2, count, 2))
    expected_y, expected_dx = np.empty_like(dy), np.zeros_like(x)
    for i in range(count):
        window = slice(i * length // count, -(-(i + 1) * length // count))
        block = x[:, window]
        for n, c in np.ndindex(2, 2):
            if kind == "average":
                expected_y[n, i, c] = block[n, :, c].mean()
                expected_dx[n, window, c] += dy[n, i, c] / block.shape[1]
            else:
                expected_y[n, i, c] = block[n, :, c].max()
                expected_dx[n, window.start + block[n, :, c].argmax(), c] += dy[n, i, c]
    y, dx = both(lambda x: getattr(fn, f"adaptive_{kind}_pool")(x, output_size=count), x, dy, put)
    np.testing.assert_allclose(y, expected_y, rtol=1e-14)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("shape", [(0, 4, 4, 2), (2, 4, 4, 0)])
def test_empty_batches_give_empty_outputs(shape, put):
    x = put(np.zeros(shape))
    for function in (
        lambda x: fn.max_pool(x, pool_size=2),
        lambda x: fn.average_pool(x, pool_size=3, strides=2, padding="same"),
        lambda x: fn.adaptive_max_pool(x, output_size=2),
        lambda x: fn.adaptive_average_pool(x, output_size=(3, 3)),
    ):
        value, pullback = nn.vjp(function, x)
        assert value.shape[0] == shape[0]
        assert value.shape[-1] == shape[-1]
        assert pullback(value)[0].shape == shape


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: fn.max_pool(x, pool_size=5),
            ValueError,
            r"hold a window of \(5, 5\) with padding 'valid'",
        ),
        (lambda x: fn.max_pool(x, pool_size=2, padding="full"), ValueError, "'valid' or 'same', got 'full'"),
        (lambda x: fn.max_pool(x, pool_size=0), ValueError, "pool_size of at least 1, got 0"),
        (lambda x: fn.average_pool(x, pool_size=2.5), TypeError, "pool_size to hold whole numbers, got 2.5"),
        (lambda x: fn.average_pool(x, pool_size=True), TypeError, "pool_size to hold whole numbers"),
        (
            lambda x: fn.average_pool(x, pool_size=2, strides=(1, 1, 1)),
            ValueError,
            "one strides for all axes",
        ),
        (lambda x: fn.adaptive_max_pool(x, output_size=(2,)), ValueError, "one output_size for all axes"),
        (lambda x: fn.max_pool(x[0, :, 0, :], pool_size=2), ValueError, r"x of shape \(n, ..., c\)"),
        (lambda x: fn.global_max_pool(x[:, :0, ...]), ValueError, "axes of space that are not empty"),
        (lambda x: fn.adaptive_average_pool(x[:, :0, ...], output_size=1), ValueError, "not empty"),
        (
            lambda x: fn.global_average_pool(x, fn.isnan(x[0, ...])),
            ValueError,
            r"a mask of shape \(2, 4, 4\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message, put):
    with pytest.raises(error, match=message):
        call(put(np.zeros((2, 4, 4, 3))))


@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
def test_no_copies_of_windows_are_kept(kind, put, backend):
    if backend.name != "numpy":
        pytest.skip("memory is measured by Python's allocator")
    x = put(np.random.default_rng(0).normal(size=(4, 64, 64, 16)))
    getattr(fn, kind)(x, pool_size=5, strides=1)  # a thread's workspaces live on from call to call
    tracemalloc.start()
    try:
        y, pullback = nn.vjp(lambda x: getattr(fn, kind)(x, pool_size=5, strides=1), x)
        kept = tracemalloc.get_traced_memory()[0]
        assert kept < 1.1 * y.nbytes  # x is not ours
        tracemalloc.reset_peak()
        pullback(y)
        assert tracemalloc.get_traced_memory()[1] - kept < 16 * x.nbytes
    finally:
        tracemalloc.stop()
