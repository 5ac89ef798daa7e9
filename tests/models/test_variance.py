"""Layer-sequential unit variance: each layer's output has variance 1 on the data."""

from __future__ import annotations

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.layers.base import observing

X = (5.0 * np.sin(np.arange(600.0) ** 1.5) + 1.0).reshape(100, 6).astype("float32")


def variances(model, x):
    """Measure the linear outputs of Dense layers by hand, from their inputs and weights."""
    found = {}

    def see(layer, path, inputs, output):
        if isinstance(layer, nn.Dense):
            h = nn.to_numpy(inputs[0].value)
            found[path] = np.var(h.astype("float64") @ layer.kernel.numpy() + layer.bias.numpy())

    with observing(see):
        model(model.backend.from_host(x))
    return found


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", None])
def test_every_layer_has_unit_variance_before_its_activation(backend, activation):
    layers = [nn.Dense(width, activation=activation, kernel_initializer="ones") for width in (8, 5, 7, 3)]
    model = nn.Sequential(layers, backend=backend, seed=0)
    reported = nn.lsuv(model, X, tolerance=0.01)
    measured = variances(model, X)
    assert list(reported) == ["dense", "dense_1", "dense_2", "dense_3"]
    for path, variance in reported.items():
        assert variance == pytest.approx(1.0, abs=0.01)
        assert measured[path] == pytest.approx(variance, rel=1e-4)


def test_kernels_are_orthogonal_up_to_their_scale(light):
    model = nn.Sequential([nn.Dense(4), nn.Dense(4)], backend=light, seed=0)
    nn.lsuv(model, X)
    for kernel in model.get_weights()[::2]:
        gram = kernel.T @ kernel
        np.testing.assert_allclose(gram / gram[0, 0], np.eye(4), atol=1e-5)


def test_kernels_that_are_there_can_be_scaled_alone(light):
    model = nn.Sequential([nn.Dense(4)], backend=light, seed=0)
    model.build((6,))
    before = model.get_weights()[0]
    nn.lsuv(model, X, orthogonal=False)
    ratio = model.get_weights()[0] / before
    np.testing.assert_allclose(ratio, np.full_like(ratio, ratio[0, 0]), rtol=1e-5)


def test_convolutions_count_and_biases_and_frozen_layers_are_left(backend):
    x = np.sin(np.arange(4 * 6 * 6 * 2.0)).reshape(4, 6, 6, 2)
    frozen = nn.Dense(3, name="frozen", trainable=False)
    layers = [nn.Conv2D(3, 3, activation="relu", bias_initializer="ones"), nn.Flatten(), frozen, nn.Dense(2)]
    model = nn.Sequential(layers, backend=backend, seed=0)
    model.build((6, 6, 2))
    before = frozen.get_weights()[0]
    assert list(nn.lsuv(model, x)) == ["conv2d", "dense"]
    np.testing.assert_array_equal(frozen.get_weights()[0], before)
    np.testing.assert_array_equal(layers[0].get_weights()[1], np.ones(3))


def test_training_gives_what_the_new_weights_do_and_no_step_is_out_of_date(light):
    model = nn.Sequential([nn.Dense(4, activation="tanh"), nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    model.predict(X)
    nn.lsuv(model, X)
    same = nn.Sequential([nn.Dense(4, activation="tanh"), nn.Dense(1)], backend=light, seed=0)
    same.build((6,))
    same.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(X), same.predict(X))


def test_the_callback_sets_weights_before_the_first_step_alone(light):
    model = nn.Sequential([nn.Dense(4, activation="tanh"), nn.Dense(1)], backend=light, seed=0)
    model.compile(nn.optimizers.SGD(0.0), "mse")
    start = nn.callbacks.LSUV(X)
    model.fit(X, X[:, :1], verbose=0, callbacks=[start])
    assert start.variances.keys() == {"dense", "dense_1"}
    assert variances(model, X)["dense"] == pytest.approx(1.0, abs=0.1)
    model.fit(X, X[:, :1], verbose=0, callbacks=[start])
    assert start.variances == {}


def test_what_cannot_be_scaled_is_said(light):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    with pytest.raises(ValueError, match=r"outputs of Dense 'dense' that differ and are finite; .* 0.0"):
        nn.lsuv(model, np.zeros((4, 6)))
    with pytest.raises(ValueError, match="found no layer with a kernel to set"):
        nn.lsuv(nn.Sequential([nn.ReLU()], backend=light), X)
    with pytest.raises(ValueError, match="a tolerance above zero"):
        nn.lsuv(model, X, tolerance=0.0)
