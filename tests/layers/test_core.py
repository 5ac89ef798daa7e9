"""Dense."""

import numpy as np

import nnbackend as nn


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
