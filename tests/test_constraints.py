"""Constraints: what they do to weights, and that training keeps to them."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import constraints

W = np.array([[3.0, 0.3, 0.0, -1.0], [4.0, 0.4, 0.0, 0.5]])


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (constraints.MaxNorm(1.0), W * [0.2, 1.0, 1.0, 1 / np.sqrt(1.25)]),
        (constraints.get("max_norm"), W * [0.4, 1.0, 1.0, 1.0]),
        (constraints.MaxNorm(1.0, axis=1), W / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), 1)),
        (constraints.MaxNorm(1.0, axis=(0, 1)), W / np.linalg.norm(W)),
        (constraints.MaxNorm(0.0), 0.0 * W),
        (constraints.MinMaxNorm(1.0, 2.0), W * [0.4, 2.0, 1.0, 1.0]),
        (constraints.MinMaxNorm(1.0, 2.0, rate=0.5), W * [0.7, 1.5, 1.0, 1.0]),
        (constraints.UnitNorm(), W * [0.2, 2.0, 1.0, 1 / np.sqrt(1.25)]),
        (constraints.get("non_neg"), np.maximum(W, 0.0)),
    ],
)
def test_weights_are_brought_back_as_the_formula_says(put, dtype, which, expected):
    new = nn.to_numpy(which(put(W, dtype)))
    assert new.dtype == dtype
    np.testing.assert_allclose(new, expected, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize(
    "which", [constraints.MaxNorm(5.0), constraints.MinMaxNorm(0.0, 5.0, rate=0.5), constraints.NonNeg()]
)
def test_weights_within_keep_their_bits(put, dtype, which):
    w = np.abs(np.random.default_rng(0).normal(size=(7, 5))).astype(dtype)
    np.testing.assert_array_equal(nn.to_numpy(which(put(w, dtype))), w)


@pytest.mark.parametrize("which", [constraints.MaxNorm(2.0), constraints.UnitNorm(), constraints.NonNeg()])
def test_twice_is_once(put, which):
    w = np.random.default_rng(1).normal(size=(6, 4)) * 3
    once = which(put(w))
    np.testing.assert_allclose(nn.to_numpy(which(once)), nn.to_numpy(once), rtol=1e-15)


def test_a_convolutions_kernel_has_one_norm_for_each_output(put):
    w = np.random.default_rng(2).normal(size=(3, 3, 2, 4))
    new = nn.to_numpy(constraints.UnitNorm(axis=(0, 1, 2))(put(w)))
    np.testing.assert_allclose(np.sqrt((new**2).sum(axis=(0, 1, 2))), np.ones(4), rtol=1e-14)


def test_training_keeps_to_them_and_moves_the_rest(backend):
    x = np.random.default_rng(0).normal(size=(32, 3))
    layer = nn.Dense(
        2, kernel_constraint=constraints.MaxNorm(0.5), bias_constraint="non_neg", bias_initializer="ones"
    )
    model = nn.Sequential([layer], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.5), "mse")
    model.fit(x, -3.0 + 5.0 * x[:, :2], epochs=5, batch_size=16, verbose=0)
    norms = np.linalg.norm(layer.kernel.numpy(), axis=0)
    np.testing.assert_allclose(norms, 0.5, rtol=1e-6)
    np.testing.assert_array_equal(layer.bias.numpy(), 0.0)


def test_a_model_with_constraints_is_loaded_with_them(tmp_path):
    model = nn.Sequential(
        [nn.Dense(2, kernel_constraint=constraints.MinMaxNorm(0.5, 1.5, axis=[0, 1]))], seed=0
    )
    model.build((3,))
    model.save(tmp_path / "model.safetensors")
    loaded = nn.load_model(tmp_path / "model.safetensors")
    assert repr(loaded.layers[0].kernel.constraint) == repr(model.layers[0].kernel.constraint)
    assert loaded.layers[0].kernel.constraint.axis == (0, 1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: constraints.MaxNorm(-1.0), ValueError, "MaxNorm expects max_value to be zero or more"),
        (lambda: constraints.MinMaxNorm(2.0, 1.0), ValueError, "min_value up to max_value"),
        (lambda: constraints.MinMaxNorm(rate=0.0), ValueError, "a rate above 0"),
        (lambda: constraints.UnitNorm("rows"), TypeError, "expects axis to be a whole number"),
        (lambda: constraints.get("maxnorm"), ValueError, "Did you mean 'max_norm'"),
        (lambda: constraints.get(constraints.NonNeg), TypeError, r"Make one: NonNeg\(\)"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
