"""Activations: their formulas, their limits, and PyTorch's answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend import functional as fn

NAMES = ["relu", "sigmoid", "tanh", "softmax", "log_softmax"]
FORMULAS = {
    "linear": lambda x: x,
    "step": lambda x: (x > 0) * 1.0,
    "relu": lambda x: x * (x > 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True),
    "log_softmax": lambda x: x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True)),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(3, 5), (5,), (2, 3, 1), (0, 4)])
def test_activations_are_their_formulas(name, shape, put, rng, dtype, backend):
    x = rng.normal(size=shape).astype(dtype)
    y = getattr(fn, name)(put(x, dtype))
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(
        nn.to_numpy(y), FORMULAS[name](x.astype("float64")), rtol=tolerance, atol=tolerance
    )
    assert y.dtype == getattr(backend.xp, dtype)


@pytest.mark.parametrize("name", NAMES)
def test_large_inputs_give_finite_values_and_gradients(name, put, dtype):
    x = put([[1e4, -1e4, 0.0, 5e3]], dtype)
    value, pullback = nn.vjp(getattr(fn, name), x)
    assert np.isfinite(nn.to_numpy(value)).all()
    assert np.isfinite(nn.to_numpy(pullback(value)[0])).all()


@pytest.mark.parametrize("name", [*NAMES, "step"])
def test_nan_stays_nan(name, put):
    assert np.isnan(nn.to_numpy(getattr(fn, name)(put([[float("nan"), 1.0]]))[0, 0, ...])).all()


def test_values_at_the_ends(put):
    np.testing.assert_array_equal(nn.to_numpy(fn.sigmoid(put([-1e4, 0.0, 1e4]))), [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(nn.to_numpy(fn.softmax(put([1e4, -1e4]))), [1.0, 0.0])
    np.testing.assert_array_equal(nn.to_numpy(fn.log_softmax(put([1e4, -1e4]))), [0.0, -2e4])
    np.testing.assert_array_equal(nn.to_numpy(fn.step(put([-1.0, 0.0, 1.0]))), [0.0, 0.0, 1.0])


def test_sigmoid_keeps_the_digits_of_small_results(put):
    np.testing.assert_allclose(
        nn.to_numpy(fn.sigmoid(put([-50.0, -500.0]))), np.exp([-50.0, -500.0]), rtol=1e-13
    )


def test_slopes_at_zero(put):
    zero = put([0.0])
    for name, slope in [("relu", 0.0), ("sigmoid", 0.25), ("tanh", 1.0), ("linear", 1.0), ("step", 0.0)]:
        gradient = nn.grad(lambda x, name=name: fn.sum(getattr(fn, name)(x) + 0.0 * x))(zero)
        assert float(nn.to_numpy(gradient)[0]) == slope, name


def test_sigmoid_is_differentiated_rightly_at_zero_however_often(put):
    def outer(x):  # the value of the inner sigmoid is differentiated by the outer gradient
        return fn.sum(nn.grad(lambda y: fn.sum(fn.sigmoid(y) ** 3))(x))

    s = 0.5
    slope = 6 * s * (s * (1 - s)) ** 2 + 3 * s**2 * s * (1 - s) * (1 - 2 * s)
    assert float(nn.to_numpy(nn.grad(outer)(put([0.0])))[0]) == pytest.approx(slope, rel=1e-14)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=6), st.integers(-1000, 1000))
def test_a_shift_of_the_logits_changes_nothing(logits, shift):
    x = np.asarray(logits)
    np.testing.assert_allclose(fn.softmax(x), fn.softmax(x + float(shift)), rtol=1e-10)
    assert float(np.sum(fn.softmax(x))) == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(np.exp(fn.log_softmax(x)), fn.softmax(x), rtol=1e-12)


def test_equal_logits_give_equal_probabilities(put):
    np.testing.assert_allclose(nn.to_numpy(fn.softmax(put([7.0] * 4))), [0.25] * 4)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_classes_may_lie_on_any_axis(name, axis, put, rng):
    x = rng.normal(size=(3, 4, 2))
    y = getattr(fn, name)(put(x), axis=axis)
    expected = np.moveaxis(FORMULAS[name](np.moveaxis(x, axis, -1)), -1, axis)
    np.testing.assert_allclose(nn.to_numpy(y), expected, rtol=1e-13)
    nn.gradcheck(lambda x: getattr(fn, name)(x, axis=axis), put(x), projections=1)


def test_a_missing_axis_is_refused(put):
    with pytest.raises(ValueError, match="axis 1 does not exist in an array of 1 dimensions"):
        fn.softmax(put([1.0]), axis=1)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_probabilities_remember_their_logits(name, put):
    seen = []

    def f(x):
        logits = 2.0 * x
        y = getattr(fn, name)(logits)
        seen.append((y.origin, logits))
        return fn.sum(y)

    nn.grad(f)(put([1.0, 2.0]))
    (rule, arguments, options), logits = seen[0]
    assert rule == name
    assert arguments[0] is logits
    assert options == ({"axis": -1} if name == "softmax" else {})


def test_softmax_remembers_its_axis(put):
    logits = nn.Tensor(put([[1.0, 2.0]]))
    assert fn.softmax(logits, axis=0).origin == ("softmax", (logits,), {"axis": 0})
    assert fn.softmax(logits, 0).origin[2] == {"axis": 0}


def test_blocks_give_the_same_bits_as_one_pass(rng):
    x = rng.normal(size=(300, 1000)).astype("float32")  # above the size from which NumPy works in blocks
    for name in NAMES:
        whole = getattr(fn, name)(x)
        np.testing.assert_array_equal(whole[:5], getattr(fn, name)(np.ascontiguousarray(x[:5])))


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_pytorch_s(name, put, rng):
    torch = pytest.importorskip("torch")
    x, dy = rng.normal(size=(4, 6)) * 3, rng.normal(size=(4, 6))
    theirs = torch.tensor(x, requires_grad=True)
    function = getattr(torch, name)
    output = function(theirs, dim=-1) if "softmax" in name else function(theirs)
    output.backward(torch.tensor(dy))
    value, pullback = nn.vjp(getattr(fn, name), put(x))
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(nn.to_numpy(pullback(put(dy))[0]), theirs.grad.numpy(), rtol=1e-12, atol=1e-14)
