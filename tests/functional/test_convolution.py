"""Convolutions: PyTorch's answers, paddings worked by hand, what each is to the others, memory and errors."""

import gc
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.autodiff import Rule, counting_multiply_adds


def channels_first(array):
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def torch_kernel(kernel):
    """(..., in, out) to PyTorch's (out, in, ...); transposed, (..., out, in) to its (in, out, ...)."""
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


def from_torch_kernel(kernel):
    return np.moveaxis(kernel, (0, 1), (-1, -2))


def tolerances(dtype):
    return {"rtol": 2e-4, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-11}


def numbers(rng, *shapes, dtype="float64"):
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def with_gradients(function, arrays, weight, put, dtype):
    """The value and the gradients of its sum with weights."""
    value, pullback = nn.vjp(function, *(put(array, dtype) for array in arrays))
    return [nn.to_numpy(part) for part in (value, *pullback(put(weight, dtype)))]


def torch_with_gradients(torch, function, x, kernel, bias, weight):
    """The same from PyTorch, channels last again; `weight` makes the cotangent of an output of its shape."""
    leaves = [torch.tensor(a, requires_grad=True) for a in (channels_first(x), torch_kernel(kernel), bias)]
    y = function(*leaves)
    seed = weight(tuple(np.moveaxis(np.empty(tuple(y.shape)), 1, -1).shape))
    y.backward(torch.tensor(channels_first(seed)))
    dx, dkernel, dbias = (leaf.grad.numpy() for leaf in leaves)
    answer = [
        np.moveaxis(y.detach().numpy(), 1, -1),
        np.moveaxis(dx, 1, -1),
        from_torch_kernel(dkernel),
        dbias,
    ]
    return answer, seed


#: space, kernel, channels in and out, options of both
CONVOLUTIONS = {
    "1d": ((9,), (3,), (4, 5), {}),
    "1d strided that does not divide": ((10,), (4,), (3, 2), {"strides": 3}),
    "1d padded and dilated": ((11,), (3,), (2, 4), {"padding": 2, "dilation_rate": 3}),
    "1d one channel": ((12,), (5,), (1, 1), {}),
    "2d": ((5, 6), (3, 3), (3, 4), {}),
    "2d many channels": ((6, 7), (3, 2), (9, 10), {"padding": 1}),
    "2d of few to one": ((6, 6), (5, 5), (2, 1), {"padding": 2}),
    "2d pointwise": ((4, 5), (1, 1), (3, 6), {}),
    "2d pointwise strided": ((5, 5), (1, 1), (3, 2), {"strides": 2}),
    "2d pointwise padded": ((3, 4), (1, 1), (3, 2), {"padding": 1}),
    "2d as large as the input": ((4, 3), (4, 3), (5, 2), {}),
    "2d strided": ((7, 8), (3, 2), (10, 3), {"strides": (2, 3), "padding": (1, 0)}),
    "2d strides beyond the kernel": ((9, 8), (2, 1), (3, 4), {"strides": (3, 4)}),
    "2d strided and dilated": (
        (11, 12),
        (3, 2),
        (2, 3),
        {"strides": 2, "dilation_rate": (2, 3), "padding": 3},
    ),
    "2d dilation and strides of one factor": (
        (9, 9),
        (3, 3),
        (2, 2),
        {"strides": 2, "dilation_rate": 4, "padding": 4},
    ),
    "2d groups": ((5, 5), (3, 3), (4, 6), {"groups": 2, "padding": 1}),
    "2d wide groups": ((5, 9), (3, 2), (18, 4), {"groups": 2, "strides": (2, 1)}),
    "2d depthwise": ((6, 5), (3, 3), (4, 4), {"groups": 4, "strides": 2, "padding": 1}),
    "2d depthwise multiplied": ((6, 5), (3, 2), (3, 6), {"groups": 3, "dilation_rate": 2}),
    "3d": ((4, 5, 3), (2, 3, 2), (3, 2), {"padding": (1, 0, 1)}),
    "3d strided groups": ((5, 4, 5), (2, 2, 3), (2, 4), {"groups": 2, "strides": (2, 1, 3), "padding": 1}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_pytorchs(name, put, rng, dtype):
    torch = pytest.importorskip("torch")
    space, kernel_size, (width, made), options = CONVOLUTIONS[name]
    x, kernel, bias = numbers(
        rng, (2, *space, width), (*kernel_size, width // options.get("groups", 1), made), (made,), dtype=dtype
    )
    theirs = {"strides": "stride", "dilation_rate": "dilation"}
    given = {theirs.get(key, key): value for key, value in options.items()}
    function = getattr(torch.nn.functional, f"conv{len(space)}d")
    expected, weight = torch_with_gradients(
        torch,
        lambda *a: function(*a, **given),
        x,
        kernel,
        bias,
        lambda shape: rng.normal(size=shape).astype(dtype),
    )
    ours = getattr(fn, f"conv{len(space)}d")
    found = with_gradients(lambda *a: ours(*a, **options), [x, kernel, bias], weight, put, dtype)
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other, **tolerances(dtype))


TRANSPOSED = {
    "1d": ((5,), (3,), (4, 5), {}),
    "1d strided": ((4,), (4,), (3, 2), {"strides": 3, "padding": 1, "output_padding": 2}),
    "1d dilated": ((4,), (3,), (2, 3), {"padding": 2, "dilation_rate": 3}),
    "2d": ((3, 4), (3, 3), (3, 4), {"padding": 1}),
    "2d many channels": ((3, 4), (3, 2), (9, 10), {}),
    "2d strided": ((3, 4), (3, 2), (2, 5), {"strides": (2, 3), "output_padding": (1, 2), "padding": (1, 0)}),
    "2d strides beyond the kernel": ((3, 4), (2, 1), (3, 4), {"strides": (3, 4), "output_padding": (0, 3)}),
    "2d strided and dilated": ((4, 3), (3, 2), (2, 3), {"strides": 2, "dilation_rate": (2, 3), "padding": 1}),
    "2d cut to the middle": ((4, 5), (5, 5), (2, 1), {"padding": 3}),
    "2d groups": ((3, 3), (3, 3), (4, 6), {"groups": 2, "strides": 2}),
    "2d depthwise": ((3, 4), (3, 3), (4, 4), {"groups": 4, "strides": 2, "padding": 1}),
    "2d depthwise that joins": ((3, 4), (2, 3), (6, 3), {"groups": 3}),
    "3d": (
        (2, 3, 2),
        (2, 3, 2),
        (3, 2),
        {"strides": (2, 1, 2), "padding": (1, 0, 0), "output_padding": (1, 0, 1)},
    ),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions_are_pytorchs(name, put, rng, dtype):
    torch = pytest.importorskip("torch")
    space, kernel_size, (width, made), options = TRANSPOSED[name]
    x, kernel, bias = numbers(
        rng, (2, *space, width), (*kernel_size, made // options.get("groups", 1), width), (made,), dtype=dtype
    )
    theirs = {"strides": "stride", "dilation_rate": "dilation"}
    given = {theirs.get(key, key): value for key, value in options.items()}
    function = getattr(torch.nn.functional, f"conv_transpose{len(space)}d")
    expected, weight = torch_with_gradients(
        torch,
        lambda *a: function(*a, **given),
        x,
        kernel,
        bias,
        lambda shape: rng.normal(size=shape).astype(dtype),
    )
    options = {"padding": 0, "output_padding": 0} | options
    found = with_gradients(lambda *a: fn.conv_transpose(*a, **options), [x, kernel, bias], weight, put, dtype)
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other, **tolerances(dtype))


def by_definition(x, kernel, plan):
    """The sum in the docstring, term by term: positions and taps."""
    n, *size, _ = x.shape
    pads, strides, dilation = plan
    padded = np.pad(x, [(0, 0), *pads, (0, 0)])
    counts = [
        (length + sum(pad) - (k - 1) * d - 1) // s + 1
        for length, pad, k, s, d in zip(size, pads, kernel.shape, strides, dilation, strict=False)
    ]
    y = np.zeros((n, *counts, kernel.shape[-1]))
    for o in np.ndindex(*counts):
        for t in np.ndindex(*kernel.shape[:-2]):
            at = tuple(i * s + j * d for i, s, j, d in zip(o, strides, t, dilation, strict=True))
            y[(slice(None), *o)] += padded[(slice(None), *at)] @ kernel[t]
    return y


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pads"),
    [
        # TensorFlow's rule: as much as the last window needs, the odd position after the input
        (5, 3, 1, 1, (1, 1)),
        (5, 2, 1, 1, (0, 1)),
        (5, 3, 2, 1, (1, 1)),
        (6, 3, 2, 1, (0, 1)),
        (7, 4, 2, 1, (1, 2)),
        (8, 4, 2, 1, (1, 1)),
        (7, 2, 3, 1, (0, 1)),
        (9, 2, 3, 1, (0, 0)),  # windows end before the input does
        (224, 7, 2, 1, (2, 3)),
        (6, 3, 1, 2, (2, 2)),
        (6, 3, 2, 2, (1, 2)),
        (3, 5, 2, 1, (2, 2)),
    ],
)
def test_same_pads_as_worked_by_hand(size, kernel, stride, dilation, pads, put, rng):
    x, w = numbers(rng, (1, size, 2), (kernel, 2, 1))
    y = nn.to_numpy(fn.conv1d(put(x), put(w), strides=stride, padding="same", dilation_rate=dilation))
    assert y.shape == (1, math.ceil(size / stride), 1)
    np.testing.assert_allclose(y, by_definition(x, w, ([pads], [stride], [dilation])), rtol=1e-12, atol=1e-12)


def test_same_pads_each_axis_by_itself(put, rng):
    x, w = numbers(rng, (2, 6, 7, 2), (3, 4, 2, 3))
    y = fn.conv2d(put(x), put(w), strides=2, padding="same")
    expected = by_definition(x, w, ([(0, 1), (1, 2)], (2, 2), (1, 1)))
    np.testing.assert_allclose(nn.to_numpy(y), expected, rtol=1e-12, atol=1e-12)


def test_borders_may_differ_on_every_side(put, rng):
    x, w = numbers(rng, (2, 4, 5, 2), (3, 2, 2, 3))
    y = fn.conv2d(put(x), put(w), padding=((2, 0), (1, 3)), strides=(1, 2))
    expected = by_definition(x, w, ([(2, 0), (1, 3)], (1, 2), (1, 1)))
    np.testing.assert_allclose(nn.to_numpy(y), expected, rtol=1e-12, atol=1e-12)
    one = fn.conv1d(put(x[:, 0]), put(w[0]), padding=(3, 1))
    np.testing.assert_allclose(
        nn.to_numpy(one), by_definition(x[:, 0], w[0], ([(3, 1)], [1], [1])), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_a_causal_convolution_sees_nothing_of_the_future(stride, dilation, put, rng):
    x, w = numbers(rng, (1, 9, 2), (3, 2, 1))

    def convolve(x):
        return nn.to_numpy(
            fn.conv1d(put(x), put(w), padding="causal", strides=stride, dilation_rate=dilation)
        )

    y = convolve(x)
    assert y.shape[1] == math.ceil(9 / stride)
    later = x.copy()
    later[:, 5:] += 1.0
    known = -(-5 // stride)  # outputs at positions 0, s, 2 s, ... before 5
    np.testing.assert_array_equal(convolve(later)[:, :known], y[:, :known])
    expected = by_definition(x, w, ([((3 - 1) * dilation, 0)], [stride], [dilation]))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@st.composite
def geometries(draw):
    """Any input, kernel and options in one or two dimensions that make an output."""
    ndim, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    width, made = groups * draw(st.integers(1, 10)), groups * draw(st.integers(1, 10))
    axes = []
    for _ in range(ndim):
        k, s, d = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
        low, high = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        shortest = max((k - 1) * d + 1 - low - high, 1)
        axes.append((draw(st.integers(shortest, shortest + 6)), k, s, d, (low, high)))
    return groups, width, made, list(zip(*axes, strict=True))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(geometries())
def test_any_geometry_is_the_sum_of_its_definition(case):
    groups, width, made, (space, kernel_size, strides, dilation, pads) = case
    rng = np.random.default_rng(1)
    x, w = numbers(rng, (2, *space, width), (*kernel_size, width // groups, made))
    options = {"strides": strides, "dilation_rate": dilation, "padding": pads, "groups": groups}
    y, pullback = nn.vjp(lambda x, w: fn.conv(x, w, **options), x, w)
    parts = zip(np.split(x, groups, axis=-1), np.split(w, groups, axis=-1), strict=True)
    expected = [by_definition(some, kernel, (pads, strides, dilation)) for some, kernel in parts]
    np.testing.assert_allclose(y, np.concatenate(expected, axis=-1), rtol=1e-11, atol=1e-11)
    # the sum is linear in each, so that the value tells both gradients along any direction
    dy, other_x, other_w = numbers(rng, y.shape, x.shape, w.shape)
    dx, dw = pullback(dy)
    assert np.sum(dx * other_x) == pytest.approx(np.sum(fn.conv(other_x, w, **options) * dy), abs=1e-9)
    assert np.sum(dw * other_w) == pytest.approx(np.sum(fn.conv(x, other_w, **options) * dy), abs=1e-9)


OPTIONS = [
    {},
    {"strides": 2},
    {"padding": "same", "strides": (2, 3)},
    {"padding": ((0, 2), (1, 0)), "dilation_rate": 2},
    {"padding": "same", "strides": 2, "dilation_rate": 2, "groups": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_three_rules_are_one_sum_seen_from_three_sides(options, put, rng):
    groups = options.get("groups", 1)
    x, w = numbers(rng, (2, 7, 8, 4), (3, 2, 4 // groups, 6))
    y, pullback = nn.vjp(lambda x, w: fn.conv(x, w, **options), put(x), put(w))
    (dy,) = numbers(rng, tuple(y.shape))
    total = np.sum(nn.to_numpy(y) * dy)
    dx, dw = (nn.to_numpy(part) for part in pullback(put(dy)))
    assert np.sum(dx * x) == pytest.approx(total)  # linear in each
    assert np.sum(dw * w) == pytest.approx(total)
    gradient = fn.conv_kernel_gradient(put(x), put(dy), kernel_size=(3, 2), **options)
    np.testing.assert_array_equal(nn.to_numpy(gradient), dw)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(6, 3, 2), (6, 4, 2), (6, 2, 3), (5, 5, 1), (8, 3, 4)]
)
def test_a_transposed_convolution_is_the_gradient_of_the_convolution(padding, size, kernel, stride, put, rng):
    (w,) = numbers(rng, (kernel, 2, 3))
    x = put(np.zeros((1, size, 2)))
    y, pullback = nn.vjp(lambda x: fn.conv(x, put(w), strides=stride, padding=padding), x)
    (dy,) = numbers(rng, tuple(y.shape))
    (expected,) = pullback(put(dy))
    found = nn.to_numpy(fn.conv_transpose(put(dy), put(w), strides=stride, padding=padding))
    both = min(size, found.shape[1])  # lengths between two multiples of the stride give one output
    np.testing.assert_allclose(found[:, :both], nn.to_numpy(expected)[:, :both], rtol=1e-12, atol=1e-12)
    if padding == "same" and size % stride == 0:
        assert found.shape[1] == size


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding", "extra", "length"),
    [
        # Keras 3: lengths for an input of 5
        (3, 2, 1, "valid", None, 11),
        (2, 3, 1, "valid", None, 15),
        (3, 2, 1, "valid", 1, 12),
        (3, 2, 1, "same", None, 10),
        (3, 2, 1, "same", 0, 9),
        (3, 2, 1, "same", 1, 10),
        (4, 2, 1, "same", None, 10),
        (4, 2, 1, "same", 1, 9),
        (3, 1, 2, "valid", None, 9),
        (3, 1, 2, "same", None, 5),
    ],
)
def test_transposed_lengths_are_keras(kernel, stride, dilation, padding, extra, length, put):
    x, w = put(np.ones((1, 5, 1))), put(np.ones((kernel, 1, 1)))
    options = {"strides": stride, "dilation_rate": dilation, "padding": padding, "output_padding": extra}
    assert fn.conv_transpose(x, w, **options).shape == (1, length, 1)


def test_depthwise_convolves_each_channel_on_its_own(put, rng):
    x, w, b = numbers(rng, (2, 6, 5, 3), (3, 2, 3, 2), (6,))
    options = {"strides": (2, 1), "padding": "same"}
    y = nn.to_numpy(fn.depthwise_conv(put(x), put(w), put(b), **options))
    for channel in range(3):
        alone = fn.conv2d(put(x[..., channel : channel + 1]), put(w[:, :, channel : channel + 1]), **options)
        part = slice(2 * channel, 2 * channel + 2)
        np.testing.assert_allclose(y[..., part], nn.to_numpy(alone) + b[part], rtol=1e-12)


def test_separable_is_depthwise_then_pointwise(put, rng):
    x, d, p, b = numbers(rng, (2, 6, 5, 3), (3, 2, 3, 2), (1, 1, 6, 4), (4,))
    y = fn.separable_conv(put(x), put(d), put(p), put(b), strides=2, padding="same")
    between = nn.to_numpy(fn.depthwise_conv(put(x), put(d), strides=2, padding="same"))
    np.testing.assert_allclose(nn.to_numpy(y), between @ p[0, 0] + b, rtol=1e-12)


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"strides": (2, 1), "padding": 1}, {"dilation_rate": 2, "padding": (1, 2)}]
)
def test_depthwise_and_separable_convolutions_are_pytorchs(multiplier, options, put, rng, dtype):
    torch = pytest.importorskip("torch")
    arrays = numbers(rng, (2, 7, 6, 2), (3, 2, 2, multiplier), (1, 1, 2 * multiplier, 5), (5,), dtype=dtype)
    theirs = {"strides": "stride", "dilation_rate": "dilation"}
    given = {theirs.get(key, key): value for key, value in options.items()}
    x, d, p, b = leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    wide = d.permute(2, 3, 0, 1).reshape(2 * multiplier, 1, 3, 2)  # PyTorch's layout of a kernel of groups
    between = torch.nn.functional.conv2d(x.movedim(-1, 1), wide, groups=2, **given)
    y = torch.nn.functional.conv2d(between, p.permute(3, 2, 0, 1), b).movedim(1, -1)
    (weight,) = numbers(rng, tuple(y.shape), dtype=dtype)
    y.backward(torch.tensor(weight))
    found = with_gradients(lambda *a: fn.separable_conv(*a, **options), arrays, weight, put, dtype)
    for mine, other in zip(found, [y.detach(), *(leaf.grad for leaf in leaves)], strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other.numpy(), **tolerances(dtype))
    depthwise = nn.to_numpy(fn.depthwise_conv(put(arrays[0], dtype), put(arrays[1], dtype), **options))
    np.testing.assert_allclose(depthwise, between.detach().movedim(1, -1).numpy(), **tolerances(dtype))


def test_one_channel_made_into_many_is_no_depthwise_convolution(put, rng):
    """A single channel is one group: the two ways to write it agree."""
    x, w = numbers(rng, (2, 5, 5, 1), (3, 3, 1, 4))
    np.testing.assert_allclose(
        nn.to_numpy(fn.depthwise_conv(put(x), put(w))), nn.to_numpy(fn.conv2d(put(x), put(w))), rtol=1e-13
    )


def test_a_shift_of_the_input_shifts_the_output(put, rng):
    x, w = numbers(rng, (1, 12, 3), (4, 3, 2))
    y, moved = (nn.to_numpy(fn.conv1d(put(a), put(w))) for a in (x, np.roll(x, 2, axis=1)))
    np.testing.assert_allclose(moved[:, 2:], y[:, :-2], rtol=1e-13)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"strides": 2, "groups": 2}, {"groups": 4}])
def test_an_empty_batch_gives_an_empty_output_and_a_zero_gradient(options, put):
    x, w, b = np.zeros((0, 5, 5, 4)), np.ones((3, 3, 4 // options.get("groups", 1), 4)), np.ones(4)
    y, pullback = nn.vjp(lambda *a: fn.conv2d(*a, **options), put(x), put(w), put(b))
    assert y.shape[0] == 0
    dx, dw, db = (nn.to_numpy(part) for part in pullback(y))
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dw, np.zeros_like(w))
    np.testing.assert_array_equal(db, np.zeros(4))


def test_a_gradient_of_a_gradient_runs_by_the_rules_and_not_by_their_taps(put, rng, monkeypatch):
    """Otherwise a second derivative would keep what each tap saw."""
    x, w = numbers(rng, (1, 5, 5, 2), (3, 3, 2, 2))
    recorded = []
    record = Rule._record

    def noting(self, *arguments):
        recorded.append(self.name)
        return record(self, *arguments)

    monkeypatch.setattr(Rule, "_record", noting)
    nn.grad(lambda w: fn.sum(nn.grad(lambda x: fn.sum(fn.conv(x, w) ** 2))(put(x)) ** 2))(put(w))
    assert "matmul" not in recorded
    assert {"conv", "conv_transpose"} <= set(recorded)


def test_multiply_adds_are_counted_per_window_tap_and_channel(put):
    counts = []
    with counting_multiply_adds(counts.append):
        x, w = put(np.ones((2, 8, 8, 4))), put(np.ones((3, 3, 4, 6)))
        fn.conv2d(x, w)
        fn.conv2d(x, put(np.ones((3, 3, 2, 6))), groups=2, padding="same", strides=2)
        fn.depthwise_conv(x, put(np.ones((3, 3, 4, 2))))
        fn.conv_transpose(x, put(np.ones((2, 2, 5, 4))), strides=2)
        fn.conv_kernel_gradient(x, put(np.ones((2, 6, 6, 6))), kernel_size=3)
    assert counts == [2 * 36 * 9 * 24, 2 * 16 * 9 * 12, 2 * 36 * 9 * 8, 2 * 64 * 4 * 20, 2 * 36 * 9 * 24]


def kept_bytes(root):
    """The bytes of all arrays that something holds on to, each piece of memory once."""
    seen, pieces, waiting = set(), {}, [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing) is type(sys):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            pieces[id(thing)] = thing.nbytes
        elif callable(thing) and hasattr(thing, "__closure__"):  # what is global is not kept by it
            waiting += [cell.cell_contents for cell in thing.__closure__ or () if cell is not None]
        else:
            waiting += gc.get_referents(thing)
    return sum(pieces.values())


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((4, 16, 16, 16), (3, 3, 16, 16), {"padding": "same"}),
        ((4, 16, 16, 1), (3, 3, 1, 16), {"padding": "same"}),
        ((4, 16, 16, 16), (3, 3, 8, 16), {"padding": "same", "groups": 2}),
        ((4, 16, 16, 16), (3, 3, 1, 16), {"padding": "same", "groups": 16}),
    ],
)
def test_a_convolution_keeps_its_input_and_kernel_alone(shape, kernel, options, rng):
    """Nine copies for a kernel of nine taps would be the obvious way."""
    x, w = numbers(rng, shape, kernel, dtype="float32")
    y, pullback = nn.vjp(lambda x, w: fn.conv2d(x, w, **options), x, w)
    assert (
        kept_bytes(pullback) == x.nbytes + w.nbytes + y.nbytes
    )  # a pullback holds the value that it belongs to


@pytest.mark.parametrize(("width", "made"), [(32, 32), (3, 16), (1, 8)])
def test_temporary_memory_is_in_proportion_to_input_and_output(width, made, rng):
    import tracemalloc

    x, w = numbers(rng, (8, 16, 16, width), (3, 3, width, made), dtype="float32")
    y, pullback = nn.vjp(lambda x, w: fn.conv2d(x, w, padding="same"), x, w)
    size = x.nbytes + y.nbytes
    tracemalloc.start()
    try:
        fn.conv2d(x, w, padding="same")
        forward = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        pullback(y)
        backward = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert forward < 5 * size
    assert backward < 5 * size


def test_sums_over_many_positions_are_accurate(put):
    """In float32 a running sum of a million ones and a bit loses its digits."""
    x, w = np.full((64, 64, 256, 1), 1.1, "float32"), np.ones((1, 1, 1, 1), "float32")
    _, pullback = nn.vjp(fn.conv2d, put(x), put(w), put(np.zeros(1, "float32")))
    _, _, bias = pullback(put(x))
    assert float(nn.to_numpy(bias)[0]) == pytest.approx(x.size * float(np.float32(1.1)), rel=2e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: fn.conv2d(x[0, ...], w), r"conv2d expects an input of shape \(n, ..., channels\)"),
        (lambda x, w: fn.conv1d(x, w), "1 of space; got"),
        (lambda x, w: fn.conv(x, w[..., :1, :]), "an input of 2 channels and a kernel for 1"),
        (lambda x, w: fn.conv(x, w, groups=2), "divide the channels without rest, got 2 and 3"),
        (lambda x, w: fn.conv(x, w, w[0, 0, ...]), r"a bias of shape \(3,\), got \(2, 3\)"),
        (lambda x, w: fn.conv(x, w, strides=0), "strides to be at least 1, got 0"),
        (lambda x, w: fn.conv(x, w, strides=(1, 2, 3)), r"a whole number or 2 of them, got \(1, 2, 3\)"),
        (lambda x, w: fn.conv(x, w, padding="sane"), "got 'sane'. Did you mean 'same'?"),
        (lambda x, w: fn.conv(x, w, padding="causal"), "expects padding to be 'valid', 'same' or widths"),
        (lambda x, w: fn.conv(x, w, padding=-1), "padding to be at least 0, got -1"),
        (lambda x, w: fn.conv(x, w, padding=(1, 2, 3)), r"for each of the 2 axes of space"),
        (lambda x, w: fn.conv(x, w, dilation_rate=9), r"with its dilation, \(19, 19\)\), which does not fit"),
        (
            lambda x, w: fn.conv(x[:, :2, ...], w),
            r"a kernel of \(3, 3\), which does not fit into an input of \(2, 5\)",
        ),
        (lambda x, w: fn.conv_transpose(x, w), "an input of 2 channels and a kernel for 3"),
        (
            lambda x, w: fn.conv_transpose(x, w.mT, strides=2, output_padding=2),
            r"output_padding to be smaller than strides, got 2 and \(2, 2\)",
        ),
        (lambda x, w: fn.conv_transpose(x, w.mT, padding=9), "would make an empty output"),
        (
            lambda x, w: fn.conv_transpose(x, w.mT, padding="causal"),
            "expects padding to be 'valid', 'same' or",
        ),
        (lambda x, w: fn.depthwise_conv(x, w[:, :, :1, :]), "an input of 2 channels and a kernel for 1"),
        (lambda x, w: fn.separable_conv(x, w, w), "a pointwise_kernel of one tap"),
        (lambda x, w: fn.conv_kernel_gradient(x, x, kernel_size=3), r"a gradient of shape \(1, 3, 3, m\)"),
        (
            lambda x, w: fn.conv_kernel_gradient(x, x[0, ...], kernel_size=3),
            "an input and a gradient of shape",
        ),
        (lambda x, w: fn.conv(x, w[:0, ...]), "a kernel of at least one tap"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, put):
    x, w = put(np.ones((1, 5, 5, 2))), put(np.ones((3, 3, 2, 3)))
    with pytest.raises(ValueError, match=message):
        call(x, w)


@pytest.mark.parametrize("option", [{"strides": 1.5}, {"dilation_rate": True}, {"padding": (1.0, 1.0)}])
def test_options_are_whole_numbers(option, put):
    with pytest.raises(TypeError, match=f"{next(iter(option))} to be whole numbers"):
        fn.conv(put(np.ones((1, 5, 5, 2))), put(np.ones((3, 3, 2, 3))), **option)
