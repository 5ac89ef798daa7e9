"""Borders and finer grids: NumPy's and PyTorch's answers, and what both leave alone."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


@pytest.mark.parametrize(
    ("padding", "value"), [(((1, 2), (0, 3)), 0.0), ((1, (0, 2)), -1.5), ((0, 0), 1.0), (((2, 0), 1), 0.0)]
)
def test_padding_is_numpys(padding, value, put, rng, dtype):
    x = rng.normal(size=(3, 4)).astype(dtype)
    pairs = [(width, width) if isinstance(width, int) else width for width in padding]
    expected = np.pad(x, pairs, constant_values=value)
    y = nn.to_numpy(fn.pad(put(x, dtype), padding=padding, value=value))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


def test_the_border_takes_no_gradient(put, rng):
    (seed,) = [rng.normal(size=(6, 4))]
    _, pullback = nn.vjp(lambda x: fn.pad(x, padding=((1, 2), 0), value=3.0), put(np.ones((3, 4))))
    np.testing.assert_array_equal(nn.to_numpy(pullback(put(seed))[0]), seed[1:4])


@pytest.mark.parametrize("size", [1, 2, (3, 2), (1, 4), (5, 1)])
@pytest.mark.parametrize(("ours", "theirs"), [("nearest", "nearest"), ("linear", "bilinear")])
def test_upsampling_is_pytorchs(ours, theirs, size, put, rng, dtype):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 3, 4, 2)).astype(dtype)
    leaf = torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1)), requires_grad=True)
    factors = (size, size) if isinstance(size, int) else size
    options = {} if theirs == "nearest" else {"align_corners": False}
    y = torch.nn.functional.interpolate(leaf, scale_factor=tuple(map(float, factors)), mode=theirs, **options)
    seed = rng.normal(size=tuple(y.shape)).astype(dtype)
    y.backward(torch.tensor(seed))
    value, pullback = nn.vjp(lambda x: fn.upsample(x, size=size, interpolation=ours), put(x, dtype))
    (dx,) = pullback(put(np.ascontiguousarray(np.moveaxis(seed, 1, -1)), dtype))
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(np.moveaxis(nn.to_numpy(value), -1, 1), y.detach().numpy(), **tolerance)
    np.testing.assert_allclose(np.moveaxis(nn.to_numpy(dx), -1, 1), leaf.grad.numpy(), **tolerance)


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("shape", [(2, 3, 1), (1, 2, 3, 2), (2, 1, 3, 2, 1), (0, 2, 3, 2), (2, 0, 3)])
def test_a_constant_stays_constant_in_any_number_of_dimensions(interpolation, shape, put):
    y = nn.to_numpy(fn.upsample(put(np.full(shape, 2.5)), size=3, interpolation=interpolation))
    assert y.shape == (shape[0], *(3 * n for n in shape[1:-1]), shape[-1])
    np.testing.assert_array_equal(y, np.full(y.shape, 2.5))


def test_linear_interpolation_meets_a_straight_line_between_the_end_centres(put):
    x = put(np.arange(5.0).reshape(1, 5, 1))
    y = nn.to_numpy(fn.upsample(x, size=4, interpolation="linear"))[0, :, 0]
    np.testing.assert_allclose(y, np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0.0, 4.0), rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fn.pad(x, padding=(1, 1)), "a pair .* for each of the 3 axes"),
        (lambda x: fn.pad(x, padding=(1, -1, 0)), "padding to be at least 0, got -1"),
        (lambda x: fn.upsample(x, size=0), "size to be at least 1, got 0"),
        (lambda x: fn.upsample(x, size=(2, 2)), "a whole number or 1 of them"),
        (lambda x: fn.upsample(x[0, ...], size=2), r"an array of shape \(n, ..., channels\)"),
        (lambda x: fn.upsample(x, size=2, interpolation="linar"), "got 'linar'. Did you mean 'linear'?"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, put):
    with pytest.raises(ValueError, match=message):
        call(put(np.ones((1, 4, 2))))
