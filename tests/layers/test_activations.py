"""Activations as layers, by name, and with options."""

import json

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.config import describe, restore

BY_NAME = """
celu elu gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid log_softmax mish relu relu6
selu sigmoid silu soft_shrink softmax softmin softplus softsign step tanh tanh_shrink threshold
""".split()


def again(thing):
    """What a saved model would hold, read again."""
    return restore(json.loads(json.dumps(describe(thing))))


@pytest.mark.parametrize("name", BY_NAME)
def test_activation_layers_are_their_functions(put, name):
    x = put(np.array([[-1.0, 0.0, 2.0, 7.0]]))
    layer = nn.Activation(name, dtype="float64")
    expected = nn.to_numpy(getattr(fn, name)(x))
    np.testing.assert_array_equal(nn.to_numpy(layer(x)), expected)
    assert layer.compute_output_shape((4,)) == expected.shape[1:]
    np.testing.assert_array_equal(nn.to_numpy(again(layer)(x)), expected)


def test_names_that_others_use_stand_for_the_same_functions():
    assert nn.activations.get("swish") is fn.silu
    assert nn.activations.get("hard_swish") is fn.hard_silu
    assert nn.activations.get("ReLU") is fn.relu
    assert nn.activations.get(None) is fn.linear


def test_an_activation_with_options_is_saved_with_them(put):
    x = put(np.array([[-2.0, 3.0]]))
    for layer in (
        nn.Activation("leaky_relu", negative_slope=0.5, name="leaky"),
        nn.Dense(2, nn.activations.get("elu", alpha=0.5)),
        nn.Dense(2, activation=nn.LeakyReLU(0.5)),
        nn.Activation(nn.activations.get("threshold", threshold=1.0, default_value=-1.0)),
    ):
        made = again(layer)
        assert describe(made) == describe(layer)
        np.testing.assert_array_equal(nn.to_numpy(made(x)), nn.to_numpy(layer(x)))
    np.testing.assert_array_equal(
        nn.to_numpy(nn.Activation("leaky_relu", negative_slope=0.5)(x)), [[-1.0, 3.0]]
    )


def test_an_option_that_a_function_does_not_have_is_refused():
    with pytest.raises(TypeError, match=r"leaky_relu has no option 'slope'; it has negative_slope"):
        nn.Activation("leaky_relu", slope=0.5)
    with pytest.raises(TypeError, match=r"tanh has no option 'alpha'; it has none"):
        nn.activations.get("tanh", alpha=0.5)


def test_an_activation_of_ones_own_may_have_another_shape(put):
    def pairs(x):
        return fn.reshape(x, (x.shape[0], -1, 2))

    layer = nn.Activation(pairs)
    assert layer.compute_output_shape((6,)) == (3, 2)
    assert layer(put(np.ones((1, 6)))).shape == (1, 3, 2)


def test_relu_with_all_its_options(put):
    x = put(np.array([[-2.0, 0.5, 1.0, 1.5, 9.0]]))
    y = nn.ReLU(max_value=6.0, negative_slope=0.1, threshold=1.0, dtype="float64")(x)
    np.testing.assert_allclose(nn.to_numpy(y), [[-0.3, -0.05, 0.0, 1.5, 6.0]], rtol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ReLU(max_value=-1.0), "ReLU expects max_value to be at least 0, got -1.0"),
        (lambda: nn.ReLU(negative_slope=-1.0), "ReLU expects negative_slope to be at least 0, got -1.0"),
        (lambda: nn.ReLU(1.0, threshold=2.0), "max_value to be at least the threshold 2.0, got 1.0"),
        (lambda: nn.LeakyReLU(-0.1), "LeakyReLU expects negative_slope to be at least 0, got -0.1"),
        (lambda: nn.PReLU(shared_axes=[0]), "PReLU cannot work along axis 0, the axis of samples"),
        (lambda: nn.Softmax(0), "Softmax cannot work along axis 0, the axis of samples"),
        (lambda: nn.GLU(0), "GLU cannot work along axis 0, the axis of samples"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_softmax_axis_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match=r"Softmax expects axis to be a whole number, got 1.5"):
        nn.Softmax(1.5)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.GLU(), (3,), r"GLU 'glu' expects inputs whose axis -1 has an even length, got \(n, 3\)"),
        (nn.GLU(2), (4,), r"GLU 'glu' expects inputs that have an axis 2 besides .* got shape \(n, 4\)"),
        (nn.Softmax(2), (3,), r"Softmax 'softmax' expects inputs that have an axis 2 .* got shape \(n, 3\)"),
        (nn.PReLU(shared_axes=3), (3, 4), r"PReLU 'p_re_lu' expects inputs that have an axis 3"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_layers_name(layer, shape, message, put):
    with pytest.raises(ValueError, match=message):
        layer.compute_output_shape(shape)
    with pytest.raises(ValueError, match=message):
        layer.build(shape)
    with pytest.raises(ValueError, match=message):
        layer(put(np.ones((2, *shape))))


def test_the_slopes_of_prelu_have_the_shape_of_a_sample_but_where_they_are_shared(put, rng):
    layer = nn.PReLU(nn.initializers.Constant(0.25), shared_axes=(1, 2), dtype="float64")
    x = rng.normal(size=(2, 3, 4, 5))
    y = nn.to_numpy(layer(put(x)))
    assert layer.alpha.shape == (1, 1, 5)
    np.testing.assert_allclose(y, np.where(x > 0, x, 0.25 * x))
    assert layer(put(rng.normal(size=(2, 7, 1, 5)))).shape == (2, 7, 1, 5)
    with pytest.raises(ValueError, match=r"was built for inputs of shape \(n, 3, 4, 5\), got \(n, 3, 4, 6\)"):
        layer(put(np.ones((2, 3, 4, 6))))


def test_what_a_mask_excludes_has_no_share_of_a_softmax(put, rng):
    x = rng.normal(size=(3, 5))
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    layer = nn.Softmax(dtype="float64")
    y = nn.to_numpy(layer(put(x), mask=put(mask)))
    shares = np.exp(x) * mask
    expected = shares / np.where(mask.any(-1, keepdims=True), shares.sum(-1, keepdims=True), 1.0)
    np.testing.assert_allclose(y, expected, rtol=1e-14)
    gradient = nn.grad(lambda x: fn.sum(layer(x, mask=put(mask)) ** 2))(put(x))
    assert (nn.to_numpy(gradient)[~mask] == 0.0).all()


def test_a_softmax_over_steps_takes_the_mask_of_a_sequence(put, rng):
    x, mask = rng.normal(size=(2, 4, 3)), np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    y = nn.to_numpy(nn.Softmax(axis=1, dtype="float64")(put(x), mask=put(mask)))
    np.testing.assert_allclose(y.sum(axis=1), np.ones((2, 3)), rtol=1e-14)
    assert (y[0, 2:] == 0.0).all()


def test_a_masked_softmax_shares_the_function_s_numbers(put, rng):
    """Logits below what stands in for a masked one elsewhere keep their shares; numbers are masks, too."""
    x = np.array([[-2e38, -2e38, 1.0], [0.0, 1.0, 2.0]])
    mask = np.array([[1, 1, 0], [2, 0, 1]])
    layer = nn.Softmax(dtype="float64")
    y = layer(put(x), mask=put(mask != 0))
    np.testing.assert_array_equal(nn.to_numpy(y), nn.to_numpy(fn.masked_softmax(put(x), put(mask != 0))))
    np.testing.assert_array_equal(nn.to_numpy(y)[0], [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x), mask=put(mask))), nn.to_numpy(y))
    low = put([[-np.inf, -np.inf, 1.0]])
    np.testing.assert_array_equal(nn.to_numpy(layer(low, mask=put(mask[:1] != 0))), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 4, 4), (2, 4, 3, 1)], ids=str)
def test_a_softmax_refuses_a_mask_that_does_not_fit(shape, put):
    x, mask = put(np.ones((2, 4, 3))), put(np.ones(shape, bool))
    given = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    words = rf"Softmax 'softmax' expects a mask of .* input of shape \(2, 4, 3\), got \({given}\)"
    with pytest.raises(ValueError, match=words):
        nn.Softmax()(x, mask=mask)


def test_prelu_is_pytorch_s(put, rng, dtype):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 4, 3)).astype(dtype)
    layer = nn.PReLU(nn.initializers.Constant(0.25), shared_axes=1, dtype=dtype)
    theirs = torch.nn.PReLU(3, init=0.25, dtype=getattr(torch, dtype))
    given = torch.tensor(x, requires_grad=True)
    output = theirs(given.transpose(1, 2)).transpose(1, 2)
    output.square().sum().backward()
    np.testing.assert_allclose(nn.to_numpy(layer(put(x, dtype))), output.detach().numpy(), rtol=1e-6)
    gradient = nn.grad(lambda x: fn.sum(layer(x) ** 2))(put(x, dtype))
    np.testing.assert_allclose(nn.to_numpy(gradient), given.grad.numpy(), rtol=1e-5)
