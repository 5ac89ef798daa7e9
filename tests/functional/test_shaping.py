"""Shapes, joining and reordering: values against NumPy's, and gradients that come back in place."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

#: function -> the same with NumPy; each on an array of shape (2, 1, 3)
SAME = {
    "reshape": (lambda x: fn.reshape(x, (3, 2)), lambda x: np.reshape(x, (3, 2))),
    "reshape unknown": (lambda x: fn.reshape(x, (-1,)), np.ravel),
    "expand_dims": (lambda x: fn.expand_dims(x, axis=-1), lambda x: np.expand_dims(x, -1)),
    "squeeze": (lambda x: fn.squeeze(x, axis=1), lambda x: np.squeeze(x, 1)),
    "broadcast_to": (lambda x: fn.broadcast_to(x, (4, 2, 5, 3)), lambda x: np.broadcast_to(x, (4, 2, 5, 3))),
    "permute_dims": (lambda x: fn.permute_dims(x, (2, 0, -2)), lambda x: np.transpose(x, (2, 0, 1))),
    "moveaxis": (lambda x: fn.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1)),
    "moveaxis several": (lambda x: fn.moveaxis(x, (0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0))),
    "matrix_transpose": (fn.matrix_transpose, lambda x: np.swapaxes(x, -1, -2)),
    "flip": (fn.flip, np.flip),
    "flip axes": (lambda x: fn.flip(x, axis=(0, 2)), lambda x: np.flip(x, (0, 2))),
    "roll": (lambda x: fn.roll(x, 4), lambda x: np.roll(x, 4)),
    "roll axes": (lambda x: fn.roll(x, (1, -2), axis=(0, 2)), lambda x: np.roll(x, (1, -2), (0, 2))),
    "repeat": (lambda x: fn.repeat(x, 2), lambda x: np.repeat(x, 2)),
    "repeat axis": (lambda x: fn.repeat(x, 3, axis=-1), lambda x: np.repeat(x, 3, -1)),
    "tile": (lambda x: fn.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3))),
    "tile wider": (lambda x: fn.tile(x, (2, 1, 2, 1)), lambda x: np.tile(x, (2, 1, 2, 1))),
    "tril": (lambda x: fn.tril(x, k=1), lambda x: np.tril(x, 1)),
    "triu": (lambda x: fn.triu(x, k=1), lambda x: np.triu(x, 1)),
    "concat": (lambda x: fn.concat([x, x * 2.0, x], axis=-1), lambda x: np.concatenate([x, x * 2, x], -1)),
    "concat flat": (
        lambda x: fn.concat([x, x[0, ...]], axis=None),
        lambda x: np.concatenate([x, x[0]], None),
    ),
    "stack": (lambda x: fn.stack((x, x * 2.0), axis=-1), lambda x: np.stack((x, x * 2), -1)),
    "unstack": (lambda x: fn.unstack(x, axis=2)[1], lambda x: x[..., 1]),
    "broadcast_arrays": (
        lambda x: fn.broadcast_arrays(x, x[0, 0, :])[1],
        lambda x: np.broadcast_arrays(x, x[0, 0])[1],
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_shapes_are_numpy_s(name, put, rng, backend):
    ours, numpy_s = SAME[name]
    x = rng.normal(size=(2, 1, 3))
    np.testing.assert_array_equal(nn.to_numpy(ours(nn.Tensor(put(x)))), numpy_s(x))
    nn.gradcheck(lambda x: ours(x if isinstance(x, nn.Tensor) else nn.Tensor(x)), put(x), projections=1)


@pytest.mark.parametrize("shape", [(0, 3), (0,)])
def test_empty_arrays_keep_their_shapes(shape, put):
    x = put(np.zeros(shape))
    for function in (
        fn.flip,
        lambda x: fn.concat([x, x]),
        lambda x: fn.stack([x, x]),
        lambda x: fn.reshape(x, (-1, 1)),
    ):
        value, pullback = nn.vjp(function, x)
        assert tuple(pullback(value)[0].shape) == shape


def test_joined_tensors_get_their_own_parts_of_the_gradient(put):
    a, b = put([1.0]), put([2.0, 3.0])
    weights = put([10.0, 20.0, 30.0])
    gradients = nn.grad(lambda a, b: fn.sum(fn.concat([a, b]) * weights), argnums=(0, 1))(a, b)
    np.testing.assert_array_equal(nn.to_numpy(gradients[0]), [10.0])
    np.testing.assert_array_equal(nn.to_numpy(gradients[1]), [20.0, 30.0])


@pytest.mark.parametrize("join", [fn.concat, fn.stack])
def test_joined_arrays_of_two_dtypes_get_gradients_in_their_own(join, put):
    _, pullback = nn.vjp(lambda a, b: fn.sum(join([a, b])), put([1.0], "float32"), put([2.0], "float64"))
    one = put(np.asarray(1.0), "float64")
    kinds = [str(nn.to_numpy(gradient).dtype) for gradient in pullback(one)]
    assert kinds == ["float32", "float64"]


def test_an_unused_slice_of_unstack_has_gradient_zero(put):
    gradient = nn.grad(lambda x: fn.sum(fn.unstack(x)[0]))(put([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(nn.to_numpy(gradient), [[1.0, 1.0], [0.0, 0.0]])


def test_an_unused_slice_in_a_nested_gradient(put):
    def inner(x):
        return nn.grad(lambda y: fn.sum(fn.unstack(y * x)[0] ** 3))(x)

    gradient = nn.grad(lambda x: fn.sum(inner(x)))(put([[2.0], [5.0]]))
    np.testing.assert_allclose(nn.to_numpy(gradient), [[240.0], [0.0]])  # (3 x^5)'
