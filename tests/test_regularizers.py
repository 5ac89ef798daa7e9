"""Penalties and their gradients."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import regularizers

W = np.array([[1.5, -2.0], [0.0, 0.5]])


@pytest.mark.parametrize(
    ("which", "value", "slope"),
    [
        (regularizers.L1(0.1), 0.4, 0.1 * np.sign(W)),
        (regularizers.L2(0.1), 0.65, 0.2 * W),
        (regularizers.L1L2(0.1, 0.01), 0.465, 0.1 * np.sign(W) + 0.02 * W),
        (regularizers.get("l1"), 0.04, 0.01 * np.sign(W)),
        (regularizers.get("l2"), 0.065, 0.02 * W),
    ],
)
def test_penalties_and_slopes_are_those_of_the_formula(put, which, value, slope):
    w = put(W)
    assert float(nn.to_numpy(which(w))) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(nn.to_numpy(nn.grad(which)(w)), slope, rtol=1e-12)


def test_a_penalty_of_nothing_is_zero(put):
    assert float(regularizers.L1L2()(put(W))) == 0.0


def test_penalties_are_added_once_for_a_shared_layer(backend):
    dense = nn.Dense(2, use_bias=False, kernel_initializer="ones", kernel_regularizer=regularizers.L2(0.5))
    model = nn.Sequential([dense, dense], backend=backend)
    model.compile("sgd", "mse")
    assert model.evaluate(np.zeros((1, 2)), np.zeros((1, 2)))["loss"] == 2.0


def test_penalties_of_ones_own_and_on_any_weight_are_added(backend):
    class Shrink(regularizers.Regularizer):
        def __call__(self, weight):
            return 3.0 * nn.functional.sum(weight)

    class Layer(nn.Layer):
        def build(self, input_shape):
            self.w = self.add_weight("w", input_shape, "ones", regularizer=Shrink())

        def forward(self, x):
            return x * self.w

    model = nn.Sequential([Layer()], backend=backend)
    model.compile("sgd", "mse")
    assert model.evaluate(np.zeros((1, 2)), np.zeros((1, 2)))["loss"] == 6.0


@pytest.mark.parametrize("arguments", [{"l1": -1.0}, {"l2": -1.0}])
def test_negative_factors_are_refused(arguments):
    with pytest.raises(ValueError, match="expects factors that are not negative"):
        regularizers.L1L2(**arguments)


def test_none_is_no_penalty():
    assert regularizers.get(None) is None
