"""Matrix products: values against NumPy's over all shapes that fit, and what does not fit."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((2, 0), (0, 3)),
]


def close(found, expected):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shapes", SHAPES)
def test_matmul_is_numpy_s(shapes, put, rng):
    a, b = (rng.normal(size=shape) for shape in shapes)
    close(fn.matmul(put(a), put(b)), a @ b)
    nn.gradcheck(fn.matmul, put(a), put(b), projections=1)


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        (((2, 3), (3, 4)), 1),
        (((2, 3), (2, 3)), 2),
        (((2, 3), (4,)), 0),
        (((2, 3, 4), (4, 5, 2)), ((2, 0), (0, 2))),
        (((2, 3, 4), (4, 3, 5)), ((1, -1), (1, 0))),
        (((2, 3, 4, 5), (5, 2, 4, 6)), ((0, 3, 2), (1, 0, 2))),
    ],
)
def test_tensordot_is_numpy_s(shapes, axes, put, rng):
    a, b = (rng.normal(size=shape) for shape in shapes)
    close(fn.tensordot(put(a), put(b), axes=axes), np.tensordot(a, b, axes=axes))
    nn.gradcheck(lambda a, b: fn.tensordot(a, b, axes=axes), put(a), put(b), projections=1)


@pytest.mark.parametrize(
    ("shapes", "axis"), [(((4,), (4,)), -1), (((3, 4), (4,)), -1), (((4, 1, 2), (4, 3, 2)), -3)]
)
def test_vecdot_is_numpy_s(shapes, axis, put, rng):
    a, b = (rng.normal(size=shape) for shape in shapes)
    close(fn.vecdot(put(a), put(b), axis=axis), np.vecdot(a, b, axis=axis))
    nn.gradcheck(lambda a, b: fn.vecdot(a, b, axis=axis), put(a), put(b), projections=1)


def test_outer_is_numpy_s(put, rng):
    a, b = rng.normal(size=3), rng.normal(size=4)
    close(fn.outer(put(a), put(b)), np.outer(a, b))
    with pytest.raises(ValueError, match=r"outer expects two vectors, got \(1, 1\) and \(1,\)"):
        fn.outer(put([[1.0]]), put([1.0]))


@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (0,), (2, 0)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_dense_is_x_times_w_plus_b(lead, with_bias, put, rng):
    x, w, b = rng.normal(size=(*lead, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)
    arrays = [put(x), put(w), *([put(b)] if with_bias else [])]
    close(fn.dense(*arrays), x @ w + b * with_bias)
    nn.gradcheck(fn.dense, *arrays, projections=1)


def test_dense_computes_no_gradient_that_nobody_needs(put, monkeypatch):
    x, w = put(np.ones((2, 3))), put(np.ones((3, 4)))
    seen = []
    rule = fn.dense.function

    def watched(*arguments):
        value, backward = rule(*arguments)

        def counted(dy, needs):
            found = backward(dy, needs)
            seen.append([part is not None for part in found])
            return found

        return value, counted

    monkeypatch.setattr(fn.dense, "function", watched)
    nn.grad(lambda w: fn.sum(fn.dense(x, w)))(w)
    assert seen == [[False, True, False]]


def test_dense_says_which_shapes_do_not_fit(put):
    with pytest.raises(ValueError, match=r"dense expects x of shape \(..., n\).*got \(2, 3\) and \(4, 5\)"):
        fn.dense(put(np.ones((2, 3))), put(np.ones((4, 5))))
    with pytest.raises(ValueError, match=r"dense expects a bias of shape \(5,\), got \(4,\)"):
        fn.dense(put(np.ones((2, 3))), put(np.ones((3, 5))), put(np.ones(4)))


@pytest.mark.parametrize("single", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3)])
def test_dense_gives_each_argument_a_gradient_of_its_dtype(single, shape, put, rng, backend):
    if backend.name == "torch":
        pytest.skip("PyTorch multiplies matrices of one dtype only")
    arrays = [rng.normal(size=size) for size in (shape, (3, 5), 5)]
    arguments = [put(a, "float32" if i == single else "float64") for i, a in enumerate(arrays)]
    gradients = nn.grad(lambda *a: fn.sum(fn.dense(*a)), argnums=(0, 1, 2))(*arguments)
    for gradient, argument in zip(gradients, arguments, strict=True):
        assert (gradient.dtype, tuple(gradient.shape)) == (argument.dtype, tuple(argument.shape))
