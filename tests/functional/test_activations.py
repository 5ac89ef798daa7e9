"""Activations: their formulas, their limits, and PyTorch's answers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend import functional as fn

FORMULAS = {
    "celu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "gelu": lambda x: x / 2 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)),
    "hard_shrink": lambda x: x * (np.abs(x) > 0.5),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "linear": lambda x: x,
    "log_sigmoid": lambda x: -np.log(1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "softmin": lambda x: np.exp(-x) / np.sum(np.exp(-x), axis=-1, keepdims=True),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "threshold": lambda x: x * (x > 0),
    "step": lambda x: (x > 0) * 1.0,
    "relu": lambda x: x * (x > 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True),
    "log_softmax": lambda x: x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True)),
}
NAMES = sorted(set(FORMULAS) - {"linear", "step"} | {"tanh"})
NORMALISING = ("softmax", "softmin", "log_softmax")


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
    x = put([[1e4, -1e4, 0.0, 5e3, 100.0, -100.0, 1.0]], dtype)
    value, pullback = nn.vjp(getattr(fn, name), x)
    assert np.isfinite(nn.to_numpy(value)).all()
    assert np.isfinite(nn.to_numpy(pullback(value)[0])).all()


def test_large_inputs_of_the_approximate_gelu_and_of_gates_give_finite_values_and_gradients(put, dtype):
    x = put([[1e4, -1e4, -1e4, 0.0, 1e4, -1e4, 1e4, 100.0]], dtype)
    for function in (fn.glu, lambda x: fn.gelu(x, approximate=True)):
        value, pullback = nn.vjp(function, x)
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


@pytest.mark.parametrize(
    ("name", "options", "point", "slope"),
    [
        ("relu", {}, 0.0, 0.0),
        ("relu", {"negative_slope": 0.1, "threshold": 1.0}, 1.0, 0.1),
        ("relu", {"max_value": 2.0}, 2.0, 0.0),
        ("relu6", {}, 0.0, 0.0),
        ("relu6", {}, 6.0, 0.0),
        ("leaky_relu", {}, 0.0, 0.2),
        ("elu", {"alpha": 0.5}, 0.0, 0.5),
        ("celu", {"alpha": 0.5}, 0.0, 1.0),
        ("selu", {}, 0.0, 1.0507009873554805 * 1.6732632423543772),
        ("hard_tanh", {}, -1.0, 0.0),
        ("hard_tanh", {}, 1.0, 0.0),
        ("hard_sigmoid", {}, 3.0, 0.0),
        ("hard_silu", {}, -3.0, 0.0),
        ("hard_silu", {}, 3.0, 1.0),
        ("hard_shrink", {}, 0.5, 0.0),
        ("soft_shrink", {}, -0.5, 0.0),
        ("threshold", {"threshold": 1.0}, 1.0, 0.0),
        ("sigmoid", {}, 0.0, 0.25),
        ("tanh", {}, 0.0, 1.0),
        ("linear", {}, 0.0, 1.0),
        ("step", {}, 0.0, 0.0),
        ("silu", {}, 0.0, 0.5),
        ("gelu", {}, 0.0, 0.5),
        ("gelu", {"approximate": True}, 0.0, 0.5),
        ("mish", {}, 0.0, 0.6),
        ("softplus", {}, 0.0, 0.5),
        ("log_sigmoid", {}, 0.0, 0.5),
        ("softsign", {}, 0.0, 1.0),
        ("tanh_shrink", {}, 0.0, 0.0),
    ],
)
def test_slopes_at_zero_and_at_kinks(name, options, point, slope, put):
    gradient = nn.grad(lambda x: fn.sum(getattr(fn, name)(x, **options) + 0.0 * x))(put([point]))
    assert float(nn.to_numpy(gradient)[0]) == pytest.approx(slope, abs=1e-15)


def test_second_derivatives_at_the_seams_of_smooth_functions(put):
    def second(function):
        return lambda x: nn.grad(lambda y: fn.sum(nn.grad(lambda z: fn.sum(function(z)))(y)))(x)

    zero = put([0.0])
    density = 1 / math.sqrt(2 * math.pi)
    # mish: x t'' + 2 t' with t' = (1 - t^2) / 2, t = 0.6
    for name, expected in [
        ("softplus", 0.25),
        ("log_sigmoid", -0.25),
        ("silu", 0.5),
        ("gelu", 2 * density),
        ("mish", 0.64),
    ]:
        found = float(nn.to_numpy(second(getattr(fn, name))(zero))[0])
        assert found == pytest.approx(expected, rel=1e-13), name


def test_small_results_keep_their_digits(put):
    x = np.array([-5.0, -20.0])
    np.testing.assert_allclose(nn.to_numpy(fn.gelu(put(x))), FORMULAS["gelu"](x), rtol=1e-13)
    np.testing.assert_allclose(nn.to_numpy(fn.softplus(put(3 * x))), np.log1p(np.exp(3 * x)), rtol=1e-14)
    np.testing.assert_allclose(nn.to_numpy(fn.mish(put(2 * x))), 2 * x * np.exp(2 * x), rtol=1e-4)
    approximate = nn.to_numpy(fn.gelu(put([-5.0]), approximate=True))
    u = math.sqrt(2 / math.pi) * (-5.0 + 0.044715 * -125.0)
    np.testing.assert_allclose(approximate, [-5.0 * math.exp(2 * u) / (1 + math.exp(2 * u))], rtol=1e-13)
    z = np.array([1e-6, 0.1, 0.5, 0.9, 0.999, 1.001, 3.0])
    odd = sum(c * z ** (2 * k + 3) for k, c in enumerate((1 / 3, -2 / 15, 17 / 315, -62 / 2835)))
    np.testing.assert_allclose(nn.to_numpy(fn.tanh_shrink(put(z)))[:1], odd[:1], rtol=1e-14)
    np.testing.assert_allclose(nn.to_numpy(fn.tanh_shrink(put(z)))[1:], (z - np.tanh(z))[1:], rtol=5e-13)


def test_small_results_keep_their_digits_in_single_precision(put):
    x = np.array([-5.0, -3.0], "float32")
    expected = FORMULAS["gelu"](x.astype("float64"))
    np.testing.assert_allclose(nn.to_numpy(fn.gelu(put(x, "float32"))), expected, rtol=1e-5)


def test_every_option_of_relu(put):
    x = np.array([-2.0, 0.5, 1.0, 1.5, 9.0])
    y = fn.relu(put(x), negative_slope=0.1, max_value=6.0, threshold=1.0)
    np.testing.assert_allclose(nn.to_numpy(y), [-0.3, -0.05, 0.0, 1.5, 6.0], rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fn.relu(x, negative_slope=-0.1), "negative_slope to be at least 0, got -0.1"),
        (lambda x: fn.relu(x, max_value=-1.0), "max_value to be at least the threshold 0.0, got -1.0"),
        (lambda x: fn.celu(x, alpha=0.0), "alpha to be positive, got 0.0"),
        (lambda x: fn.hard_shrink(x, threshold=-1.0), "threshold to be at least 0, got -1.0"),
        (lambda x: fn.soft_shrink(x, threshold=-1.0), "threshold to be at least 0, got -1.0"),
        (fn.glu, r"length must be even, got shape \(3,\)"),
    ],
)
def test_impossible_options_are_refused(call, message, put):
    with pytest.raises(ValueError, match=message):
        call(put([1.0, 2.0, 3.0]))


def test_a_gated_unit_halves_any_axis(put, rng):
    x = rng.normal(size=(2, 4, 3))
    y = nn.to_numpy(fn.glu(put(x), axis=1))
    np.testing.assert_allclose(y, x[:, :2] / (1 + np.exp(-x[:, 2:])), rtol=1e-14)


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


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(["relu", "gelu", "silu", "softplus", "hard_silu"]), st.floats(-1e4, 1e4))
def test_what_a_rectifier_takes_away_is_what_it_gives_to_the_other_sign(name, value):
    x = np.asarray([value])
    both = getattr(fn, name)(x) - getattr(fn, name)(-x)
    np.testing.assert_allclose(both, x, rtol=1e-14, atol=1e-15)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(-1e4, 1e4), st.floats(0, 10))
def test_shrinkage_and_what_it_takes_add_up(value, size):
    x = np.asarray([value])
    taken = x - fn.soft_shrink(x, threshold=size)
    np.testing.assert_allclose(taken, np.clip(x, -size, size), atol=1e-11)
    kept = fn.hard_shrink(x, threshold=size)
    assert float(kept[0]) in (0.0, value)


def test_equal_logits_give_equal_probabilities(put):
    np.testing.assert_allclose(nn.to_numpy(fn.softmax(put([7.0] * 4))), [0.25] * 4)


@pytest.mark.parametrize("name", NORMALISING)
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


#: The functions of torch.nn.functional that do the same, with the options that make them do it.
PYTORCH = {
    "celu": ("celu", {}, {}),
    "celu alpha": ("celu", {"alpha": 0.5}, {"alpha": 0.5}),
    "elu": ("elu", {}, {}),
    "elu alpha": ("elu", {"alpha": 0.5}, {"alpha": 0.5}),
    "gelu": ("gelu", {}, {}),
    "gelu approximate": ("gelu", {"approximate": True}, {"approximate": "tanh"}),
    "glu": ("glu", {"axis": -1}, {"dim": -1}),
    "hard_shrink": ("hardshrink", {"threshold": 0.25}, {"lambd": 0.25}),
    "hard_sigmoid": ("hardsigmoid", {}, {}),
    "hard_silu": ("hardswish", {}, {}),
    "hard_tanh": ("hardtanh", {}, {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.1}, {"negative_slope": 0.1}),
    "log_sigmoid": ("logsigmoid", {}, {}),
    "log_softmax": ("log_softmax", {}, {"dim": -1}),
    "mish": ("mish", {}, {}),
    "relu": ("relu", {}, {}),
    "relu6": ("relu6", {}, {}),
    "selu": ("selu", {}, {}),
    "sigmoid": ("sigmoid", {}, {}),
    "silu": ("silu", {}, {}),
    "soft_shrink": ("softshrink", {"threshold": 0.25}, {"lambd": 0.25}),
    "softmax": ("softmax", {}, {"dim": -1}),
    "softmin": ("softmin", {}, {"dim": -1}),
    "softplus": ("softplus", {}, {"threshold": 50}),
    "softsign": ("softsign", {}, {}),
    "tanh": ("tanh", {}, {}),
    "tanh_shrink": ("tanhshrink", {}, {}),
    "threshold": (
        "threshold",
        {"threshold": 0.25, "default_value": -1.0},
        {"threshold": 0.25, "value": -1.0},
    ),
}
#: Among the points that all are compared on; PyTorch's derivatives there are ours, too.
KINKS = [0.0, -1.0, 1.0, 0.25, -0.25, 6.0, 3.0, -3.0]


@pytest.mark.parametrize("name", PYTORCH)
def test_values_and_gradients_are_pytorch_s(name, put, rng, dtype):
    torch = pytest.importorskip("torch")
    theirs_is, our_options, their_options = PYTORCH[name]
    points = [*KINKS, 30.0, -30.0, *rng.normal(size=14) * 3]
    x = np.reshape(points, (4, 6)).astype(dtype)
    theirs = torch.tensor(x, requires_grad=True)
    output = getattr(torch.nn.functional, theirs_is)(theirs, **their_options)
    dy = rng.normal(size=tuple(output.shape)).astype(dtype)
    output.backward(torch.tensor(dy))
    rule = getattr(fn, name.partition(" ")[0])
    value, pullback = nn.vjp(lambda x: rule(x, **our_options), put(x, dtype))
    rtol, atol = (1e-12, 1e-14) if dtype == "float64" else (2e-6, 1e-6)
    if name == "hard_sigmoid":
        rtol = 1e-7  # the sixth in PyTorch's derivative is a float32
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), rtol=rtol, atol=atol)
    np.testing.assert_allclose(
        nn.to_numpy(pullback(put(dy, dtype))[0]), theirs.grad.numpy(), rtol=rtol, atol=atol
    )


def test_prelu_is_pytorch_s(put, rng, dtype):
    torch = pytest.importorskip("torch")
    x, alpha = rng.normal(size=(4, 5)).astype(dtype), rng.uniform(0.1, 0.4, 5).astype(dtype)
    x[0, 0] = 0.0
    dy = rng.normal(size=(4, 5)).astype(dtype)
    theirs = [torch.tensor(value, requires_grad=True) for value in (x, alpha)]
    output = torch.nn.functional.prelu(*theirs)
    output.backward(torch.tensor(dy))
    value, pullback = nn.vjp(fn.prelu, put(x, dtype), put(alpha, dtype))
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), rtol=tolerance, atol=tolerance)
    for ours, their in zip(pullback(put(dy, dtype)), theirs, strict=True):
        np.testing.assert_allclose(nn.to_numpy(ours), their.grad.numpy(), rtol=tolerance, atol=tolerance)
