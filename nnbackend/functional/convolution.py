r"""Convolution in any number of dimensions, channels last, and what its derivatives are.

A convolution is linear in the input and in the kernel. With an output's gradient it makes one number,

.. math:: T(x, W, \bar y) = \sum_{n, o, t, i, j} x_{n,\, s o + d t - p,\, i}\; W_{t, i, j}\; \bar y_{n, o, j}

with strides s, dilation d and padding p, where x outside of its borders is zero. Its three partial derivatives are
the three rules here: the convolution (with respect to :math:`\bar y`), the transposed convolution (with respect to
x) and the gradient of the kernel (with respect to W). So each is the others' derivative, to any order.

Each adds up, over the taps t of the kernel, products of two matrices: the positions that a tap sees, as (rows, in),
and the tap's weights, as (in, out). Nothing but the arguments is kept for the derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from nnbackend.autodiff import Operators, Rule, differentiable
from nnbackend.functional.convolution_geometry import Geometry as Geometry  # read from this module, too
from nnbackend.functional.convolution_geometry import Padding as Padding
from nnbackend.functional.convolution_geometry import check_padding as check_padding
from nnbackend.functional.convolution_geometry import geometry as geometry
from nnbackend.functional.convolution_geometry import paddings as paddings
from nnbackend.functional.convolution_geometry import transposed_geometry as transposed_geometry
from nnbackend.functional.convolution_sums import THIN as THIN
from nnbackend.functional.convolution_sums import correlate, meet, over_positions, spread
from nnbackend.functional.convolution_sums import gathers_taps as gathers_taps
from nnbackend.functional.convolution_sums import phases as phases
from nnbackend.functional.convolution_sums import tap_offsets as tap_offsets
from nnbackend.functional.rules import composed, like, sizes
from nnbackend.functional.shaping import reshape
from nnbackend.typing import Array, Backward

__all__ = [
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_kernel_gradient",
    "conv_transpose",
    "depthwise_conv",
    "separable_conv",
]

# The face


@composed
def conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    r"""Convolution over as many axes of space as the kernel has, channels last.

    .. math:: y_{n, o, j} = b_j + \sum_{t, i} x_{n,\, s o + d t - p,\, i}\; W_{t, i, j}

    with strides s, dilation d, and p positions of zeros before the input. As everywhere in neural networks the kernel
    is not flipped: this is what mathematicians call a correlation. Its derivatives are `conv_transpose` of the
    gradient, with the same kernel, and `conv_kernel_gradient`, and the bias gets the sum over all positions.

    Parameters
    ----------
    x : array of shape (n, h, w, ..., c)
        The input; floating.
    kernel : array of shape (kh, kw, ..., c / groups, m)
        The weights W, in Keras's order (..., in, out).
    bias : array of shape (m,), optional
        The offset b.
    strides : int or sequence of int
        How far apart windows are, along all axes of space or each.
    padding : {"valid", "same", "causal"}, int, or sequence of int or of pairs of int
        "valid" pads nothing. "same" pads so that the output has length :math:`\lceil h / s \rceil`, the odd position
        going after the input. "causal", with one axis, pads before the input alone, so that nothing comes from the
        future. Numbers are the widths of the border: on every side, for each axis, or as (before, after) for each.
    dilation_rate : int or sequence of int
        How far apart the taps of the kernel are.
    groups : int
        Into how many parts the channels are divided, which are convolved each with its own part of the kernel.

    Returns
    -------
    array of shape (n, h', w', ..., m)
        With :math:`h' = \lfloor (h + p + p' - d (k - 1) - 1) / s \rfloor + 1`, p' being the padding after the input.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or the kernel does not fit into the padded input.
    TypeError
        If an option is no whole number.

    Notes
    -----
    "same" is TensorFlow's and Keras's: with strides above 1 its two sides differ, and depend on the input's length.
    PyTorch has it without strides only; its ``padding=1`` is 1 here as well. Keras refuses strides together with
    dilation, which is defined like anything else and is allowed here.

    Nothing but the arguments is kept for the derivatives. Taps are added up one at a time, or gathered where channels
    are few, so that no more than a small multiple of input and output is ever in memory.

    References
    ----------
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
    https://arxiv.org/abs/1603.07285

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x = xp.reshape(xp.arange(5.0), (1, 5, 1))
    >>> nn.functional.conv(x, xp.ones((3, 1, 1)), padding="same")[0, :, 0]
    array([1., 3., 6., 9., 7.])
    """
    return _convolve("conv", x, kernel, bias, strides, padding, dilation_rate, groups)


def _convolve(
    owner: str,
    x: Array,
    kernel: Array,
    bias: Array | None,
    strides: Any,
    padding: Any,
    dilation_rate: Any,
    groups: int,
    ndim: int | None = None,
) -> Array:
    ndim = kernel.ndim - 2 if ndim is None else ndim
    _check_ranks(owner, x, kernel, ndim)
    groups = _check_groups(owner, groups, kernel.shape[-1])
    if x.shape[-1] != kernel.shape[-2] * groups:
        divided = f" in {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{owner} got an input of {x.shape[-1]} channels and a kernel for {kernel.shape[-2] * groups}{divided}, "
            f"of shapes {tuple(x.shape)} and {tuple(kernel.shape)}. A kernel has the shape (..., in / groups, out)."
        )
    _check_bias(owner, bias, kernel.shape[-1])
    plan = geometry(
        owner, tuple(x.shape[1:-1]), tuple(kernel.shape[:-2]), strides, padding, dilation_rate, groups
    )
    y: Array = _conv(x, kernel, bias, plan=plan)
    return y


def _check_ranks(owner: str, x: Array, kernel: Array, ndim: int) -> None:
    if ndim < 1 or kernel.ndim != ndim + 2 or x.ndim != ndim + 2:
        raise ValueError(
            f"{owner} expects an input of shape (n, ..., channels) and a kernel with the same axes of space and two "
            f"of channels{f', {ndim} of space' if ndim > 0 else ''}; got {tuple(x.shape)} and {tuple(kernel.shape)}."
        )
    if 0 in kernel.shape[:-2]:
        raise ValueError(f"{owner} expects a kernel of at least one tap, got shape {tuple(kernel.shape)}.")


def _check_groups(owner: str, groups: int, *channels: int) -> int:
    (groups,) = sizes(owner, "groups", groups, 1)
    if any(count % groups for count in channels):
        raise ValueError(
            f"{owner} expects groups to divide the channels without rest, got {groups} and "
            f"{' and '.join(map(str, channels))}."
        )
    return groups


def _check_bias(owner: str, bias: Array | None, made: int) -> None:
    if bias is not None and tuple(bias.shape) != (made,):
        raise ValueError(f"{owner} expects a bias of shape {(made,)}, got {tuple(bias.shape)}.")


@composed
def conv1d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """Convolution along time: `conv` of an input (n, t, c) with a kernel (k, c / groups, m).

    Parameters, errors and derivatives are those of `conv`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.conv1d(xp.ones((1, 4, 1)), xp.ones((2, 1, 1)), padding="causal")[0, :, 0]
    array([1., 2., 2., 2.])
    """
    return _convolve("conv1d", x, kernel, bias, strides, padding, dilation_rate, groups, 1)


@composed
def conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """Convolution of images: `conv` of an input (n, h, w, c) with a kernel (kh, kw, c / groups, m).

    Parameters, errors and derivatives are those of `conv`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.conv2d(xp.ones((1, 28, 28, 3)), xp.ones((5, 5, 3, 8)), strides=2).shape
    (1, 12, 12, 8)
    """
    return _convolve("conv2d", x, kernel, bias, strides, padding, dilation_rate, groups, 2)


@composed
def conv3d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """Convolution of volumes: `conv` of an input (n, d, h, w, c) with a kernel (kd, kh, kw, c / groups, m).

    Parameters, errors and derivatives are those of `conv`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.conv3d(xp.ones((1, 4, 4, 4, 2)), xp.ones((3, 3, 3, 2, 1))).shape
    (1, 2, 2, 2, 1)
    """
    return _convolve("conv3d", x, kernel, bias, strides, padding, dilation_rate, groups, 3)


@composed
def conv_transpose(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    output_padding: int | Sequence[int] | None = None,
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    r"""Transposed convolution: the gradient of a `conv` with respect to its input, as an operation of its own.

    .. math:: y_{n, q, i} = b_i + \sum_{o, t:\, s o + d t - p = q} \; \sum_j x_{n, o, j}\; W_{t, i, j}

    It leads from the output's shape of a convolution back to the input's, so it enlarges by the strides s. Its
    derivatives are the `conv` of the gradient with the same kernel, and `conv_kernel_gradient`.

    Parameters
    ----------
    x : array of shape (n, h, w, ..., c)
        The input; floating.
    kernel : array of shape (kh, kw, ..., m / groups, c)
        The weights W, in Keras's order (..., out, in): the kernel of the convolution that this is the transpose of.
    bias : array of shape (m,), optional
        The offset b.
    strides : int or sequence of int
        By how much the output is longer than the input.
    padding : {"valid", "same"}, int, or sequence of int or of pairs of int
        What the convolution pads, and this one hence cuts off. "valid" cuts nothing off, "same" makes the output s
        times as long as the input. Numbers are widths, as in `conv`.
    output_padding : int or sequence of int, optional
        How much longer than the shortest the output is: several lengths of an input make one length of a
        convolution's output. Smaller than the strides.
    dilation_rate : int or sequence of int
        How far apart the taps of the kernel are.
    groups : int
        Into how many parts the channels are divided.

    Returns
    -------
    array of shape (n, h', w', ..., m)
        With the kernel's reach :math:`r = d (k - 1) + 1` and the output padding a, h' is :math:`(h - 1) s + r + a`
        for "valid" and :math:`(h - 1) s + (r \bmod 2) + a` for "same"; without a, :math:`(h - 1) s + \max(r, s)`
        and :math:`h s`. With widths p and p' it is :math:`(h - 1) s + r - p - p' + a`.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, `output_padding` is not below the strides, or the output would be empty.
    TypeError
        If an option is no whole number.

    Notes
    -----
    Lengths are Keras's, also where `output_padding` is not given; PyTorch's is 0 then, as for widths here. Keras
    refuses strides together with dilation, which is allowed here.

    References
    ----------
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
    https://arxiv.org/abs/1603.07285

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x = xp.reshape(xp.asarray([1.0, 2.0]), (1, 2, 1))
    >>> nn.functional.conv_transpose(x, xp.ones((3, 1, 1)), strides=2)[0, :, 0]
    array([1., 1., 3., 2., 2.])
    """
    owner = "conv_transpose"
    _check_ranks(owner, x, kernel, kernel.ndim - 2)
    groups = _check_groups(owner, groups, kernel.shape[-1])
    if x.shape[-1] != kernel.shape[-1]:
        raise ValueError(
            f"{owner} got an input of {x.shape[-1]} channels and a kernel for {kernel.shape[-1]}, of shapes "
            f"{tuple(x.shape)} and {tuple(kernel.shape)}. A transposed kernel has the shape (..., out / groups, in)."
        )
    _check_bias(owner, bias, kernel.shape[-2] * groups)
    plan = transposed_geometry(
        owner,
        tuple(x.shape[1:-1]),
        tuple(kernel.shape[:-2]),
        strides,
        padding,
        output_padding,
        dilation_rate,
        groups,
    )
    y: Array = _conv_transpose(x, kernel, bias, plan=plan)
    return y


@composed
def conv_kernel_gradient(
    x: Array,
    dy: Array,
    *,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    r"""Gradient of a `conv` with respect to its kernel.

    .. math:: \frac{\partial L}{\partial W_{t, i, j}} =
              \sum_{n, o} x_{n,\, s o + d t - p,\, i}\; \frac{\partial L}{\partial y_{n, o, j}}

    It is linear in both, so its own derivatives are a `conv_transpose` and a `conv` with what comes in
    for a kernel. Derivatives of any order are made of the three.

    Parameters
    ----------
    x : array of shape (n, h, w, ..., c)
        The convolution's input; floating.
    dy : array of shape (n, h', w', ..., m)
        The gradient of its output.
    kernel_size : int or sequence of int
        How many taps the kernel has along each axis of space.
    strides, padding, dilation_rate, groups
        Those of the convolution.

    Returns
    -------
    array of shape (kh, kw, ..., c / groups, m)
        The gradient of the kernel.

    Raises
    ------
    ValueError
        If `dy` does not have the shape of the convolution's output.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x = xp.reshape(xp.arange(4.0), (1, 4, 1))
    >>> nn.functional.conv_kernel_gradient(x, xp.ones((1, 3, 1)), kernel_size=2)[:, 0, 0]
    array([3., 6.])
    """
    owner = "conv_kernel_gradient"
    if x.ndim < 3 or dy.ndim != x.ndim:
        raise ValueError(
            f"{owner} expects an input and a gradient of shape (n, ..., channels), got {tuple(x.shape)} and "
            f"{tuple(dy.shape)}."
        )
    kernel = sizes(owner, "kernel_size", kernel_size, x.ndim - 2)
    groups = _check_groups(owner, groups, x.shape[-1], dy.shape[-1])
    plan = geometry(owner, tuple(x.shape[1:-1]), kernel, strides, padding, dilation_rate, groups)
    wanted = (x.shape[0], *plan.output)
    if tuple(dy.shape[:-1]) != wanted:
        raise ValueError(
            f"{owner} expects a gradient of shape ({', '.join(map(str, wanted))}, m) for an input of shape "
            f"{tuple(x.shape)}, got {tuple(dy.shape)}."
        )
    gradient: Array = _conv_kernel_gradient(x, dy, plan=plan)
    return gradient


@composed
def depthwise_conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
) -> Array:
    r"""Convolution of each channel on its own, with m kernels of its own.

    .. math:: y_{n, o, m i + q} = b_{m i + q} + \sum_t x_{n,\, s o + d t - p,\, i}\; W_{t, i, q}

    It is a `conv` with as many groups as channels, and so are its derivatives.

    Parameters
    ----------
    x : array of shape (n, h, w, ..., c)
        The input; floating.
    kernel : array of shape (kh, kw, ..., c, m)
        The weights W, in Keras's order (..., in, multiplier).
    bias : array of shape (c m,), optional
        The offset b.
    strides, padding, dilation_rate
        As in `conv`.

    Returns
    -------
    array of shape (n, h', w', ..., c m)
        The m channels made of one lie together.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or the kernel does not fit into the padded input.

    Notes
    -----
    PyTorch's kernel for this is that of a convolution with ``groups=c``, of shape (c m, 1, kh, kw).

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x = xp.reshape(xp.arange(6.0), (1, 3, 2))
    >>> nn.functional.depthwise_conv(x, xp.ones((2, 2, 1)))
    array([[[2., 4.],
            [6., 8.]]])
    """
    owner = "depthwise_conv"
    _check_ranks(owner, x, kernel, kernel.ndim - 2)
    channels, multiplier = kernel.shape[-2:]
    if x.shape[-1] != channels:
        raise ValueError(
            f"{owner} got an input of {x.shape[-1]} channels and a kernel for {channels}, of shapes {tuple(x.shape)} "
            f"and {tuple(kernel.shape)}. A depthwise kernel has the shape (..., in, multiplier)."
        )
    wide = reshape(kernel, (*kernel.shape[:-2], 1, channels * multiplier))
    return _convolve(owner, x, wide, bias, strides, padding, dilation_rate, channels)


@composed
def separable_conv(
    x: Array,
    depthwise_kernel: Array,
    pointwise_kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation_rate: int | Sequence[int] = 1,
) -> Array:
    r"""Convolution in two steps: each channel in space, then the channels at each position.

    .. math:: y = \operatorname{depthwise}(x, D)\, P + b

    Parameters
    ----------
    x : array of shape (n, h, w, ..., c)
        The input; floating.
    depthwise_kernel : array of shape (kh, kw, ..., c, q)
        D, as in `depthwise_conv`.
    pointwise_kernel : array of shape (1, 1, ..., c q, m)
        P, the kernel of a `conv` of one tap.
    bias : array of shape (m,), optional
        The offset b.
    strides, padding, dilation_rate
        Those of the first step, as in `conv`.

    Returns
    -------
    array of shape (n, h', w', ..., m)
        Its derivatives are those of the two steps.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or `pointwise_kernel` has more than one tap.

    References
    ----------
    F. Chollet, "Xception: deep learning with depthwise separable convolutions", 2016,
    https://arxiv.org/abs/1610.02357

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.separable_conv(xp.ones((1, 3, 2)), xp.ones((2, 2, 1)), xp.ones((1, 2, 3)))
    array([[[4., 4., 4.],
            [4., 4., 4.]]])
    """
    if any(count != 1 for count in pointwise_kernel.shape[:-2]):
        raise ValueError(
            "separable_conv expects a pointwise_kernel of one tap, of shape (1, ..., in, out), got "
            f"{tuple(pointwise_kernel.shape)}."
        )
    between = depthwise_conv(
        x, depthwise_kernel, strides=strides, padding=padding, dilation_rate=dilation_rate
    )
    return _convolve("separable_conv", between, pointwise_kernel, bias, 1, "valid", 1, 1)


# The rules


def _value(rule: Rule, compute: Callable[..., Any], *arrays: Any, plan: Geometry) -> Any:
    """Compute a rule's value; inside a gradient of a gradient it is a value of that rule to the outer one."""
    if any(isinstance(array, Operators) for array in arrays):
        return rule(*arrays, plan=plan)
    return compute(*arrays, plan)


def _cost(x: Any, kernel: Any, bias: Any = None, *, plan: Geometry) -> int:
    """Every tap of every window, or in the transposed convolution of every input position, meets every weight."""
    return x.shape[0] * math.prod(plan.output) * math.prod(kernel.shape)


@differentiable(multiply_adds=_cost)
def _conv(x: Array, kernel: Array, bias: Array | None = None, *, plan: Geometry) -> tuple[Array, Backward]:
    return _value(_conv, correlate, x, kernel, bias, plan=plan), conv_backward(x, kernel, bias, plan)


def conv_backward(x: Any, kernel: Any, bias: Any, plan: Geometry) -> Backward:
    """Return the way back of a convolution, however its value was computed."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = dkernel = dbias = None
        if needs[0]:
            dx = like(_conv_transpose(dy, kernel, plan=plan), x)
        if needs[1]:
            dkernel = like(_conv_kernel_gradient(x, dy, plan=plan), kernel)
        if needs[2]:
            dbias = like(over_positions(dy), bias)
        return dx, dkernel, dbias

    return backward


@differentiable(multiply_adds=_cost)
def _conv_transpose(
    x: Array, kernel: Array, bias: Array | None = None, *, plan: Geometry
) -> tuple[Array, Backward]:
    value = _value(_conv_transpose, spread, x, kernel, bias, plan=plan)
    return value, conv_transpose_backward(x, kernel, bias, plan)


def conv_transpose_backward(x: Any, kernel: Any, bias: Any, plan: Geometry) -> Backward:
    """Return the way back of a transposed convolution, however its value was computed."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = dkernel = dbias = None
        if needs[0]:
            dx = like(_conv(dy, kernel, plan=plan), x)
        if needs[1]:
            dkernel = like(_conv_kernel_gradient(dy, x, plan=plan), kernel)
        if needs[2]:
            dbias = like(over_positions(dy), bias)
        return dx, dkernel, dbias

    return backward


def _kernel_cost(x: Any, dy: Any, *, plan: Geometry) -> int:
    positions = x.shape[0] * math.prod(plan.output)
    return positions * plan.taps * (x.shape[-1] // plan.groups) * dy.shape[-1]


@differentiable(multiply_adds=_kernel_cost)
def _conv_kernel_gradient(x: Array, dy: Array, *, plan: Geometry) -> tuple[Array, Backward]:
    value = _value(_conv_kernel_gradient, meet, x, dy, plan=plan)
    return value, conv_kernel_gradient_backward(x, dy, plan)


def conv_kernel_gradient_backward(x: Any, dy: Any, plan: Geometry) -> Backward:
    """Return the way back of a kernel's gradient, however its value was computed."""

    def backward(weights: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = ddy = None
        if needs[0]:
            dx = like(_conv_transpose(dy, weights, plan=plan), x)
        if needs[1]:
            ddy = like(_conv(x, weights, plan=plan), dy)
        return dx, ddy

    return backward
