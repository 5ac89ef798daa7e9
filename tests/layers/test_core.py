"""Dense, Activation, Flatten and Dropout."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.random import Stream


def test_dense_is_an_affine_map_on_the_last_axis(put, dtype, rng):
    x = rng.normal(size=(2, 5, 3))
    layer = nn.Dense(4, bias_initializer=nn.initializers.Constant(0.5), dtype=dtype)
    y = layer(put(x))
    assert str(nn.to_numpy(y).dtype) == dtype
    expected = x @ layer.kernel.numpy() + 0.5
    np.testing.assert_allclose(
        nn.to_numpy(y), expected, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-6
    )


def test_dense_applies_its_activation(put, rng):
    x = rng.normal(size=(4, 3))
    layer = nn.Dense(2, activation="relu", dtype="float64")
    y = nn.to_numpy(layer(put(x)))
    np.testing.assert_allclose(y, np.maximum(x @ layer.kernel.numpy(), 0.0), rtol=1e-12)


def test_dense_without_bias_has_a_kernel_alone(put):
    layer = nn.Dense(2, use_bias=False)
    layer(put(np.ones((1, 3))))
    assert layer.bias is None
    assert [w.shape for w in layer.get_weights()] == [(3, 2)]
    assert layer.count_params() == 6


def test_a_gradient_flows_through_a_layer(put, rng):
    x = rng.normal(size=(4, 3))
    layer = nn.Dense(2, activation="tanh", dtype="float64")
    gradient = nn.grad(lambda x: nn.functional.sum(layer(x)))(put(x))
    w = layer.kernel.numpy()
    np.testing.assert_allclose(nn.to_numpy(gradient), (1 - np.tanh(x @ w) ** 2) @ w.T, rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "relu", "sigmoid", "tanh", "softmax", "log_softmax", "step"])
def test_activation_layers_are_their_functions(put, name):
    x = put(np.array([[-1.0, 0.0, 2.0]]))
    layer = nn.Activation(name, dtype="float64")
    expected = getattr(nn.functional, name)(x)
    np.testing.assert_array_equal(nn.to_numpy(layer(x)), nn.to_numpy(expected))


@pytest.mark.parametrize(("shape", "flat"), [((2, 3, 4), (2, 12)), ((2, 3), (2, 3)), ((2,), (2, 1))])
def test_flatten_lays_each_sample_out_in_one_row(put, shape, flat):
    x = np.arange(float(np.prod(shape))).reshape(shape)
    layer = nn.Flatten()
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x))), x.reshape(flat))
    assert layer.compute_output_shape(shape[1:]) == flat[1:]


def test_dropout_drops_its_share_and_keeps_the_mean(put):
    x = put(np.ones((100, 100)))
    y = nn.to_numpy(nn.Dropout(0.25)(x, training=True))
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert y.mean() == pytest.approx(1.0, abs=0.03)


def test_dropouts_mask_is_that_of_its_stream(put):
    x = put(np.ones((4, 5)))
    layer = nn.Dropout(0.5)
    for call in range(2):  # outside of a model each call is a step of its own
        kept = Stream(0, "dropout/mask", step=call).keep((4, 5), 0.5)
        np.testing.assert_array_equal(nn.to_numpy(layer(x, training=True)) != 0, kept)


def test_dropout_outside_of_training_and_of_nothing_passes_its_input(put):
    x = put(np.ones((4, 5)))
    np.testing.assert_array_equal(nn.to_numpy(nn.Dropout(0.5)(x)), np.ones((4, 5)))
    np.testing.assert_array_equal(nn.to_numpy(nn.Dropout(0.0)(x, training=True)), np.ones((4, 5)))


@pytest.mark.parametrize(
    ("layer", "shape", "output"),
    [
        (lambda: nn.Dense(4), (5, 3), (5, 4)),
        (lambda: nn.Dropout(0.5), (5, 3), (5, 3)),
        (lambda: nn.Activation("relu"), (5, 3), (5, 3)),
        (lambda: nn.Flatten(), (5, 3), (15,)),
    ],
)
def test_output_shapes_are_known_without_data(backend, layer, shape, output):
    with nn.use_backend(backend):
        assert layer().compute_output_shape(shape) == output
