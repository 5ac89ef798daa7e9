"""What first values and activations are chosen for: signals that neither die nor explode through a hundred layers."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.random import Stream

DEPTH, WIDTH, SAMPLES = 100, 256, 32


@pytest.fixture(autouse=True)
def on_numpy(backend):
    if backend.name != "numpy":
        pytest.skip("a property of the mathematics, which is the same everywhere")


def through_the_layers(rng, initializer, activation, depth=DEPTH, width=WIDTH):
    """Normal inputs after so many layers without biases."""
    x = rng.normal(size=(SAMPLES, width))
    for layer in range(depth):
        kernel = initializer((width, width), Stream(0, f"layer_{layer}/kernel"), "float64")
        x = activation(fn.matmul(x, kernel))
    return x


def test_selu_keeps_mean_and_variance(rng):
    y = through_the_layers(rng, nn.initializers.get("lecun_normal"), fn.selu, width=128)
    assert y.mean() == pytest.approx(0.0, abs=0.1)
    assert y.var() == pytest.approx(1.0, abs=0.2)


def test_selu_is_drawn_to_its_fixed_point(rng):
    """From four times the variance and a mean of one, as Klambauer et al. prove."""
    x = 2.0 * rng.normal(size=(SAMPLES, WIDTH)) + 1.0
    for layer in range(20):
        kernel = nn.initializers.get("lecun_normal")(
            (WIDTH, WIDTH), Stream(0, f"layer_{layer}/kernel"), "float64"
        )
        x = fn.selu(fn.matmul(x, kernel))
    assert x.mean() == pytest.approx(0.0, abs=0.1)
    assert x.var() == pytest.approx(1.0, abs=0.25)


def test_he_keeps_the_second_moment_through_relu(rng):
    """Glorot's values, made for linear layers, lose a half at each rectifier."""
    y = through_the_layers(rng, nn.initializers.get("he_uniform"), fn.relu)
    assert np.log(np.mean(y**2)) / DEPTH == pytest.approx(0.0, abs=0.05)
    glorot = through_the_layers(rng, nn.initializers.get("glorot_uniform"), fn.relu, depth=30)
    assert np.log(np.mean(glorot**2)) / 30 == pytest.approx(-np.log(2.0), abs=0.1)


def test_plain_uniform_values_shrink_the_second_moment_by_three_per_linear_layer(rng):
    bound = WIDTH**-0.5
    plain = nn.initializers.RandomUniform(-bound, bound)
    y = through_the_layers(rng, plain, fn.linear)
    assert np.log(np.mean(y**2)) / DEPTH == pytest.approx(-np.log(3.0), rel=0.03)
