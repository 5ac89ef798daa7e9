"""EinsumDense and Bilinear: NumPy's and PyTorch's answers, and equations that do not fit."""

import numpy as np
import pytest

import nnbackend as nn


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "shape", "kernel", "bias"),
    [
        ("ab,bc->ac", 4, None, (3,), (3, 4), None),
        ("abc,cd->abd", (None, 4), "d", (5, 3), (3, 4), (4,)),
        ("abc,cde->abde", (None, 2, 4), "de", (5, 3), (3, 2, 4), (2, 4)),
        ("abc,cde->abde", (None, 2, 4), "d", (5, 3), (3, 2, 4), (2, 1)),
        ("abcd,cde->abe", (None, 4), "be", (5, 2, 3), (2, 3, 4), (5, 4)),
        ("abc,bd->adc", (4, 3), "d", (5, 3), (5, 4), (4, 1)),
        ("...x,xy->...y", 4, "y", (5, 2, 3), (3, 4), (4,)),
        ("...x,xy->...y", (None, None, 4), "y", (5, 2, 3), (3, 4), (4,)),
        ("...xz,xyz->...yz", (4, None), "yz", (2, 3), (2, 4, 3), (4, 3)),
    ],
)
def test_einsum_dense_is_numpy_s_sum(equation, output_shape, bias_axes, shape, kernel, bias, put, rng):
    layer = nn.EinsumDense(equation, output_shape, "tanh", bias_axes, dtype="float64")
    expected_shape = layer.compute_output_shape(shape)
    x = rng.normal(size=(6, *shape))
    layer(put(x))
    assert layer.kernel.shape == kernel
    assert (None if layer.bias is None else layer.bias.shape) == bias
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    expected = np.einsum(equation, x, layer.kernel.numpy())
    expected = np.tanh(expected if bias is None else expected + layer.bias.numpy())
    assert expected_shape == expected.shape[1:]
    np.testing.assert_allclose(nn.to_numpy(layer(put(x))), expected, atol=1e-13)


def test_einsum_dense_of_a_matrix_is_dense(put, rng):
    x = put(rng.normal(size=(2, 5, 3)))
    dense = nn.Dense(4, dtype="float64")
    dense(x)
    layer = nn.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d", dtype="float64")
    layer(x)
    layer.set_weights(dense.get_weights())
    np.testing.assert_allclose(nn.to_numpy(layer(x)), nn.to_numpy(dense(x)), atol=1e-14)


@pytest.mark.parametrize(
    ("equation", "output_shape", "shape", "words"),
    [
        ("ab,bc", 4, (3,), "expects an equation such as"),
        ("ab,bc->ca", 4, (3,), "expects an equation such as"),
        ("ab,ac->c", 4, (3,), "expects an equation such as"),
        ("ab,bcd->ac", 4, (3,), "expects an equation such as"),
        ("...b,bc->ac", 4, (3,), "expects an equation such as"),
        ("abb,bc->ac", 4, (3, 3), "expects an equation such as"),
        ("ab,bc->ac", 4, (3, 3), r"expects inputs of 2 axes .* got shape \(n, 3, 3\)"),
        ("ab,bc->ac", (4, 4), (3,), "expects an output_shape of 1 numbers"),
        ("ab,bc->ac", (None,), (3,), "needs the length of the axis 'c'"),
        ("abc,cd->abd", (7, 4), (5, 3), "an axis 'b' of length 7, got an input"),
        ("...xy,yz->...xz", 4, (), "got an input of shape"),
    ],
)
def test_equations_that_do_not_fit_are_refused(equation, output_shape, shape, words):
    with pytest.raises(ValueError, match=words):
        nn.EinsumDense(equation, output_shape).compute_output_shape(shape)


def test_bias_axes_are_axes_of_the_output():
    with pytest.raises(ValueError, match="bias_axes among 'c', got 'b'"):
        nn.EinsumDense("ab,bc->ac", 4, bias_axes="b").compute_output_shape((3,))


def test_another_input_than_it_was_built_for_is_refused_by_name(put):
    layer = nn.EinsumDense("abc,cd->abd", (None, 4), name="wide")
    layer(put(np.ones((2, 5, 3))))
    assert layer(put(np.ones((2, 7, 3)))).shape == (2, 7, 4)
    with pytest.raises(
        ValueError, match=r"'wide' .* kernel of shape \(3, 4\), got an input of shape \(n, 5, 2\)"
    ):
        layer(put(np.ones((2, 5, 2))))


def test_einsum_dense_counts_its_multiply_adds(backend):
    from nnbackend.autodiff import counting_multiply_adds

    counts = []
    layer = nn.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de")
    with counting_multiply_adds(counts.append):
        layer(backend.from_host(np.ones((1, 5, 3)), "float32"))
    assert sum(counts) == 5 * 3 * 2 * 4


@pytest.mark.parametrize("shape", [(4,), (2, 3), (0,), (1,)], ids=str)
def test_bilinear_is_pytorch_s(shape, put, rng, dtype, backend):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Bilinear(2, 5, 3, dtype=getattr(torch, dtype))
    layer = nn.Bilinear(3, dtype=dtype)
    x, z = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 5))
    with nn.use_backend(backend):
        layer.build((*shape[1:], 2), (*shape[1:], 5))
    layer.set_weights([theirs.weight.detach().numpy().transpose(1, 2, 0), theirs.bias.detach().numpy()])
    a, b = (torch.tensor(v.astype(dtype), requires_grad=True) for v in (x, z))
    output = theirs(a, b)
    dy = rng.normal(size=tuple(output.shape))
    output.backward(torch.tensor(dy.astype(dtype)))

    def run(x, z, kernel, bias):
        binding = nn.layers.base.Binding(
            {id(layer.kernel): kernel, id(layer.bias): bias}, (0, 0), 0, layer.kernel.backend
        )
        with binding.bound():
            return layer(x, z)

    weights = [put(w, dtype) for w in layer.get_weights()]
    value, pullback = nn.vjp(run, put(x, dtype), put(z, dtype), *weights)
    tolerance = {"atol": 1e-5 if dtype == "float32" else 1e-12}
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), **tolerance)
    expected = [a.grad, b.grad, theirs.weight.grad.permute(1, 2, 0), theirs.bias.grad]
    for gradient, their in zip(pullback(put(dy, dtype)), expected, strict=True):
        np.testing.assert_allclose(nn.to_numpy(gradient), their.numpy(), **tolerance)


def test_bilinear_refuses_inputs_that_do_not_belong_together(put):
    x, z = put(np.ones((4, 3, 2))), put(np.ones((4, 3, 5)))
    layer = nn.Bilinear(3)
    for wrong in ((x,), (x, put(np.ones((4, 2, 5)))), (x, put(np.ones((4, 5))))):
        with pytest.raises(ValueError, match="'bilinear' expects two inputs of shapes"):
            layer(*wrong)
    layer(x, z)
    with pytest.raises(ValueError, match=r"shapes \(n, ..., 2\) and \(n, ..., 5\)"):
        layer(z, x)
    with pytest.raises(ValueError, match="expects two inputs"):
        nn.Bilinear(3).compute_output_shape((3, 2))
