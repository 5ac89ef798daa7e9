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

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nnbackend.autodiff import Operators, Rule, differentiable
from nnbackend.backend import backend_of, namespace, nearest
from nnbackend.functional.resampling import surrounded
from nnbackend.functional.rules import borders, composed, like, sizes, zeros
from nnbackend.functional.shaping import reshape
from nnbackend.typing import Array, Backward, Shape

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

#: How wide the border is: by name, the same on every side, or (before, after) for each axis of space.
Padding = str | int | Sequence[int | Sequence[int]]


class Geometry(NamedTuple):
    """Where each tap of a kernel falls: output position o and tap t meet input position s o + d t - p.

    Attributes
    ----------
    size, output : tuple of int
        Lengths of the axes of space of the input and of the output.
    kernel, strides, dilation, before : tuple of int
        Taps, s, d and p along each of these axes.
    groups : int
        Into how many parts, convolved on their own, the channels are divided.
    """

    size: Shape
    output: Shape
    kernel: Shape
    strides: Shape
    dilation: Shape
    before: Shape
    groups: int

    @property
    def after(self) -> Shape:
        """How far the last window reaches beyond the input along each axis; negative where it falls short."""
        return tuple(
            (o - 1) * s + (k - 1) * d + 1 - p - n
            for n, o, k, s, d, p in zip(
                self.size, self.output, self.kernel, self.strides, self.dilation, self.before, strict=True
            )
        )

    @property
    def taps(self) -> int:
        """How many taps a kernel has."""
        return math.prod(self.kernel)


# What arguments mean


def _named(owner: str, padding: Any, known: Sequence[str]) -> str | None:
    """Return the padding's name in lower case, or None where it is given in numbers."""
    if not isinstance(padding, str):
        return None
    if padding.lower() not in known:
        words = ", ".join(repr(word) for word in known)
        raise ValueError(
            f"{owner} expects padding to be {words} or widths in numbers, got {padding!r}."
            f"{nearest(padding, known)}"
        )
    return padding.lower()


def check_padding(owner: str, padding: Any, ndim: int, known: Sequence[str]) -> None:
    """Refuse what is no padding for that many axes of space.

    Raises
    ------
    TypeError, ValueError
        If it is neither one of the known names nor widths in numbers.
    """
    if _named(owner, padding, known) is None:
        borders(owner, "padding", padding, ndim)


def paddings(ndim: int) -> tuple[str, ...]:
    """Return the names of padding that a convolution of that many axes of space knows."""
    return ("valid", "same", "causal") if ndim == 1 else ("valid", "same")


def geometry(
    owner: str,
    size: Shape,
    kernel: Shape,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
) -> Geometry:
    """Return what a convolution's options mean for an input of this size.

    Parameters
    ----------
    owner : str
        Whose they are, for messages.
    size, kernel : tuple of int
        Lengths of the axes of space of the input, and taps of the kernel along them.
    strides, padding, dilation_rate, groups
        As in `conv`.

    Returns
    -------
    Geometry
        With the size of the output.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it should be, or the kernel does not fit into the padded input.
    """
    ndim = len(kernel)
    strides = sizes(owner, "strides", strides, ndim)
    dilation = sizes(owner, "dilation_rate", dilation_rate, ndim)
    name = _named(owner, padding, paddings(ndim))
    pairs = borders(owner, "padding", padding, ndim) if name is None else None
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    before, output = [], []
    for axis, (n, r, s) in enumerate(zip(size, reach, strides, strict=True)):
        if pairs is not None:
            low, total = pairs[axis][0], sum(pairs[axis])
        elif name == "causal":
            low = total = r - 1
        elif name == "same":
            total = max((-(-n // s) - 1) * s + r - n, 0)
            low = total // 2
        else:
            low = total = 0
        before.append(low)
        output.append((n + total - r) // s + 1)
    if min(output, default=1) < 1 or min(size, default=1) < 1:
        widened = f" (with its dilation, {reach})" if reach != kernel else ""
        raise ValueError(
            f"{owner} has a kernel of {kernel}{widened}, which does not fit into an input of {size} with "
            f"padding={padding!r}: the output would be empty. Make the kernel smaller, or pad with padding='same'."
        )
    return Geometry(tuple(size), tuple(output), tuple(kernel), strides, dilation, tuple(before), groups)


def transposed_geometry(
    owner: str,
    size: Shape,
    kernel: Shape,
    strides: Any = 1,
    padding: Padding = "valid",
    output_padding: Any = None,
    dilation_rate: Any = 1,
    groups: int = 1,
) -> Geometry:
    """Return the geometry of the convolution that a transposed one is the transpose of.

    Parameters
    ----------
    owner : str
        Whose the options are, for messages.
    size, kernel : tuple of int
        Lengths of the axes of space of the transposed convolution's input, and taps of the kernel along them.
    strides, padding, output_padding, dilation_rate, groups
        As in `conv_transpose`.

    Returns
    -------
    Geometry
        Its ``output`` is `size`, and its ``size`` that of the transposed convolution's output.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it should be, or the output would be empty.
    """
    ndim = len(kernel)
    strides = sizes(owner, "strides", strides, ndim)
    dilation = sizes(owner, "dilation_rate", dilation_rate, ndim)
    extra = None if output_padding is None else sizes(owner, "output_padding", output_padding, ndim, least=0)
    if extra is not None and any(more >= s for more, s in zip(extra, strides, strict=True)):
        raise ValueError(
            f"{owner} expects output_padding to be smaller than strides, got {output_padding!r} and {strides}."
        )
    name = _named(owner, padding, ("valid", "same"))
    pairs = borders(owner, "padding", padding, ndim) if name is None else None
    before, made = [], []
    for axis, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilation, strict=True)):
        reach = (k - 1) * d + 1
        full = (n - 1) * s + reach
        if pairs is not None:
            low, length = pairs[axis][0], full - sum(pairs[axis]) + (extra[axis] if extra else 0)
        elif name == "valid":
            low, length = 0, full + (max(s - reach, 0) if extra is None else extra[axis])
        else:
            length = n * s if extra is None else (n - 1) * s + reach % 2 + extra[axis]
            low = max(full - length, 0) // 2
        before.append(low)
        made.append(length)
    if min(made, default=1) < 1 or min(size, default=1) < 1:
        raise ValueError(
            f"{owner} with a kernel of {kernel} would make an empty output of an input of {size} with "
            f"padding={padding!r}. Pad less."
        )
    return Geometry(tuple(made), tuple(size), tuple(kernel), strides, dilation, tuple(before), groups)


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


#: This many channels or fewer make thin products. Measured on one thread of an AMD EPYC (Zen 4) with 3x3 kernels, taps
#: gathered into one product against one at a time: 1 channel to 32 is 28 times faster, 3 to 32 3.5 times, 8 to 16 as
#: fast, and 16 to 32 takes 1.3 times as long.
THIN = 8
#: Shorter last axes are laid out as rows of one product: a stack takes one product for each line.
SHORT = 4


@differentiable(multiply_adds=_cost)
def _conv(x: Array, kernel: Array, bias: Array | None = None, *, plan: Geometry) -> tuple[Array, Backward]:
    return _value(_conv, _correlate, x, kernel, bias, plan=plan), conv_backward(x, kernel, bias, plan)


def conv_backward(x: Any, kernel: Any, bias: Any, plan: Geometry) -> Backward:
    """Return the way back of a convolution, however its value was computed."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = dkernel = dbias = None
        if needs[0]:
            dx = like(_conv_transpose(dy, kernel, plan=plan), x)
        if needs[1]:
            dkernel = like(_conv_kernel_gradient(x, dy, plan=plan), kernel)
        if needs[2]:
            dbias = like(_over_positions(dy), bias)
        return dx, dkernel, dbias

    return backward


@differentiable(multiply_adds=_cost)
def _conv_transpose(
    x: Array, kernel: Array, bias: Array | None = None, *, plan: Geometry
) -> tuple[Array, Backward]:
    value = _value(_conv_transpose, _spread, x, kernel, bias, plan=plan)
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
            dbias = like(_over_positions(dy), bias)
        return dx, dkernel, dbias

    return backward


def _kernel_cost(x: Any, dy: Any, *, plan: Geometry) -> int:
    positions = x.shape[0] * math.prod(plan.output)
    return positions * plan.taps * (x.shape[-1] // plan.groups) * dy.shape[-1]


@differentiable(multiply_adds=_kernel_cost)
def _conv_kernel_gradient(x: Array, dy: Array, *, plan: Geometry) -> tuple[Array, Backward]:
    value = _value(_conv_kernel_gradient, _meet, x, dy, plan=plan)
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


def _over_positions(dy: Any) -> Any:
    """Sum over all axes but the channels, axis by axis, which keeps the rounding errors of long sums small."""
    while dy.ndim > 1:
        dy = namespace(dy).sum(dy, axis=0)
    return dy


# Their values, on arrays


def _correlate(x: Any, kernel: Any, bias: Any, plan: Geometry) -> Any:
    """Convolve: every output position adds up what its window holds."""
    layout, multiplier = _layout(plan, x.shape[-1], kernel.shape[-1])
    source, weights = _grouped(_repeated(x, multiplier), layout), _weights(kernel, layout)
    if all(step == 1 for step in plan.strides):
        shifts = [
            tuple(f - p for f, p in zip(offset, plan.before, strict=True)) for offset in tap_offsets(plan)
        ]
        y = _shifted(source, shifts, weights, plan.output)
    else:
        y = _over_taps(
            _pad(source, plan.before, plan.after), tap_offsets(plan), weights, plan.output, plan.strides
        )
    return _plus(_ungrouped(y, layout), bias)


def _spread(dy: Any, kernel: Any, bias: Any, plan: Geometry) -> Any:
    """Convolve transposed: every position adds up what comes from the windows that it was part of.

    With strides s, positions of one remainder modulo s along each axis meet the same taps of the kernel. Each of
    these phases is a convolution without strides of its own, and the result interleaves them.
    """
    xp = namespace(dy)
    layout, multiplier = _layout(plan, kernel.shape[-2] * plan.groups, kernel.shape[-1])
    source, weights = _grouped(dy, layout), _weights(kernel, layout)
    if weights[0].ndim > 1:
        weights = [xp.matrix_transpose(matrix) for matrix in weights]
    counts = tuple(-(-n // s) for n, s in zip(plan.size, plan.strides, strict=True))
    parts: list[Any] = []
    for _, taps, shifts in phases(plan):
        parts.append(_shifted(source, shifts, [weights[tap] for tap in taps], counts) if taps else None)
    made = next(part for part in parts if part is not None)
    parts = [zeros(tuple(made.shape), made) if part is None else part for part in parts]
    return _plus(_joined(_ungrouped(_interleave(parts, plan), layout), multiplier), bias)


def _meet(x: Any, dy: Any, plan: Geometry) -> Any:
    """Compute the kernel's gradient: for every tap, what it saw with the gradients of where that went."""
    xp = namespace(x)
    width, made = x.shape[-1] // plan.groups, dy.shape[-1]
    layout, multiplier = _layout(plan, x.shape[-1], made)
    source = _pad(_grouped(_repeated(x, multiplier), layout), plan.before, plan.after)
    if layout.groups == 0:
        sums = [
            _over_positions(_window(source, offset, plan.output, plan.strides) * dy)
            for offset in tap_offsets(plan)
        ]
        return xp.reshape(xp.stack(sums), (*plan.kernel, width, made))
    rows = _rows(_grouped(dy, layout), layout.groups)
    gathers = gathers_taps(plan.taps, width, made // plan.groups)
    planes = _planes(source, layout.groups) if gathers else None
    together = _together(plan.taps, width, made // plan.groups) if gathers else 1
    parts = []
    for some in _batched(tap_offsets(plan), together):
        if gathers:
            seen = _gathered(planes, some, plan.output, plan.strides, layout.groups)
        else:
            seen = _rows(_window(source, some[0], plan.output, plan.strides), layout.groups)
            seen = xp.matrix_transpose(seen)
        product = xp.matmul(seen, rows)  # ([groups,] taps in, out)
        parts.append(xp.reshape(product, (*product.shape[:-2], len(some), width, product.shape[-1])))
    stacked = xp.concat(parts, axis=parts[0].ndim - 3) if len(parts) > 1 else parts[0]
    if plan.groups > 1:
        stacked = xp.permute_dims(stacked, (1, 2, 0, 3))
    return xp.reshape(stacked, (*plan.kernel, width, made))


def _plus(y: Any, bias: Any) -> Any:
    if bias is None:
        return y
    if bias.dtype == y.dtype:
        y += bias  # this function's own memory
        return y
    return y + bias


# How channels lie in memory


def _layout(plan: Geometry, width: int, made: int) -> tuple[Geometry, int]:
    """Return how channels are laid out, and how often each that comes in is repeated first.

    Groups of one channel each have numbers for matrices, and stay where they are: a plan of 0 groups says so. Where m
    channels are made of one, it is repeated as often, so that again one comes of one.
    """
    if plan.groups > 1 and width == plan.groups:
        return plan._replace(groups=0), made // width
    return plan, 1


def _repeated(x: Any, multiplier: int) -> Any:
    if multiplier == 1:
        return x
    xp = namespace(x)
    copies = xp.broadcast_to(xp.expand_dims(x, axis=x.ndim), (*x.shape, multiplier))
    return xp.reshape(copies, (*x.shape[:-1], x.shape[-1] * multiplier))


def _joined(y: Any, multiplier: int) -> Any:
    """Add up the channels that came of one; undoes `_repeated` as gradients do."""
    if multiplier == 1:
        return y
    xp = namespace(y)
    return xp.sum(xp.reshape(y, (*y.shape[:-1], y.shape[-1] // multiplier, multiplier)), axis=y.ndim)


def _grouped(x: Any, layout: Geometry) -> Any:
    """Put groups of channels first, (groups, n, ..., channels of one); without groups nothing is done."""
    if layout.groups <= 1:
        return x
    xp = namespace(x)
    split = xp.reshape(x, (*x.shape[:-1], layout.groups, x.shape[-1] // layout.groups))
    last = split.ndim - 1
    return xp.permute_dims(split, (last - 1, *range(last - 1), last))


def _ungrouped(y: Any, layout: Geometry) -> Any:
    """Undo `_grouped`."""
    if layout.groups <= 1:
        return y
    xp = namespace(y)
    last = y.ndim - 1
    y = xp.permute_dims(y, (*range(1, last), 0, last))
    return xp.reshape(y, (*y.shape[:-2], y.shape[-2] * y.shape[-1]))


def _rows(x: Any, groups: int) -> Any:
    """Lay all positions out as rows, (positions, channels), behind the groups where there are any."""
    lead = x.shape[:1] if groups > 1 else ()
    return namespace(x).reshape(x, (*lead, math.prod(x.shape[len(lead) : -1]), x.shape[-1]))


def _weights(kernel: Any, layout: Geometry) -> list[Any]:
    """Return the weights of each tap: ([groups,] in, out), or of each channel one number, (channels,)."""
    xp = namespace(kernel)
    width, made = kernel.shape[-2:]
    if layout.groups == 0:
        flat = xp.reshape(kernel, (layout.taps, made))
    else:
        flat = xp.reshape(kernel, (layout.taps, width, made))
    if layout.groups > 1:
        flat = xp.reshape(flat, (layout.taps, width, layout.groups, made // layout.groups))
        flat = xp.permute_dims(flat, (0, 2, 1, 3))
    rest = (slice(None),) * (flat.ndim - 1)
    return [flat[(tap, *rest)] for tap in range(layout.taps)]


def _multiply(seen: Any, weights: Any, in_one_piece: bool) -> Any:
    """Multiply what is seen, ([groups,] n, ..., in), by ([groups,] in, out), or each channel by its own number."""
    if weights.ndim == 1:
        return seen * weights
    xp = namespace(seen)
    groups = weights.shape[0] if weights.ndim == 3 else 1
    # rows in one piece make one product; what is cut out would have to be copied, and a product of each line need not
    if in_one_piece or seen.shape[-2] < SHORT or not backend_of(seen).multiplies_stacks:
        product = xp.matmul(_rows(seen, groups), weights)
        return xp.reshape(product, (*seen.shape[:-1], weights.shape[-1]))
    if groups > 1:
        weights = xp.reshape(weights, (groups, *(1,) * (seen.ndim - 3), *weights.shape[1:]))
    return xp.matmul(seen, weights)


# Taps and windows


def tap_offsets(plan: Geometry) -> list[Shape]:
    """Return where the window of the first output position meets each tap, the last axis running fastest."""
    steps = (range(0, k * d, d) for k, d in zip(plan.kernel, plan.dilation, strict=True))
    return list(itertools.product(*steps))


def _number(tap: Sequence[int], kernel: Shape) -> int:
    """Return where a tap stands among all, the last axis running fastest."""
    number = 0
    for index, count in zip(tap, kernel, strict=True):
        number = number * count + index
    return number


def phases(plan: Geometry) -> list[tuple[Shape, list[int], list[Shape]]]:
    """Return for each remainder of positions modulo the strides which taps meet them, and by which shifts.

    Along an axis, position s q + r meets tap t of the window o where s o + d t - p = s q + r, that is,
    o = q + (r + p - d t) / s, where that is whole. The second number is the shift.
    """
    axes = [
        [[(t, (r + p - d * t) // s) for t in range(k) if (r + p - d * t) % s == 0] for r in range(s)]
        for k, s, d, p in zip(plan.kernel, plan.strides, plan.dilation, plan.before, strict=True)
    ]
    found = []
    for remainder in itertools.product(*map(range, plan.strides)):
        met = list(itertools.product(*(axis[r] for axis, r in zip(axes, remainder, strict=True))))
        taps = [_number([tap for tap, _ in each], plan.kernel) for each in met]
        found.append((remainder, taps, [tuple(shift for _, shift in each) for each in met]))
    return found


def _interleave(parts: list[Any], plan: Geometry) -> Any:
    """Put phases together: position s q + r is position q of phase r, along every axis of space."""
    first = parts[0]
    if len(parts) == 1:
        return first
    xp = namespace(first)
    ndim = len(plan.size)
    lead = first.ndim - ndim - 1
    joined = xp.reshape(xp.stack(parts), (*plan.strides, *first.shape))
    pairs = itertools.chain.from_iterable((ndim + lead + axis, axis) for axis in range(ndim))
    joined = xp.permute_dims(joined, (*range(ndim, ndim + lead), *pairs, joined.ndim - 1))
    full = tuple(count * stride for count, stride in zip(first.shape[lead:-1], plan.strides, strict=True))
    joined = xp.reshape(joined, (*first.shape[:lead], *full, first.shape[-1]))
    if full == plan.size:
        return joined
    return joined[(slice(None),) * lead + tuple(slice(0, n) for n in plan.size) + (slice(None),)]


def _pad(x: Any, before: Shape, after: Shape) -> Any:
    """Put zeros around the axes of space; where a width is negative, cut off as much."""
    lead = [(0, 0)] * (x.ndim - 1 - len(before))
    return surrounded(x, [*lead, *zip(before, after, strict=True), (0, 0)])


def _window(source: Any, offset: Shape, counts: Shape, strides: Shape) -> Any:
    """Return what one tap sees: positions offset, offset + stride, ... of the axes of space."""
    lead = source.ndim - 1 - len(offset)
    if counts == tuple(source.shape[lead:-1]):
        return source
    return source[(..., *_slices(offset, counts, strides), slice(None))]


def _slices(offset: Shape, counts: Shape, strides: Shape) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + (count - 1) * step + 1, step)
        for start, count, step in zip(offset, counts, strides, strict=True)
    )


def gathers_taps(taps: int, width: int, made: int) -> bool:
    """Tell whether taps are gathered into one product: where few channels come in, and no fewer go out."""
    return taps > 1 and 0 < width <= THIN and width <= made


def _together(taps: int, width: int, made: int) -> int:
    """Return how many taps go into one product, when channels of this width lie side by side.

    They take at most twice as much as input and output together, so that memory stays in proportion.
    """
    most = max(2 * (width + made) // max(width, 1), 1)
    return -(-taps // -(-taps // most))  # products of about equal width


def _planes(source: Any, groups: int) -> Any:
    """Put channels before positions, ([groups,] channels, n, ...), so that windows are cut out line by line."""
    xp = namespace(source)
    lead = tuple(source.shape[:1]) if groups > 1 else ()
    space = tuple(source.shape[len(lead) : -1])
    whole = (slice(None),) * (source.ndim - 1)
    flat = [
        xp.reshape(source[(*whole, channel)], (*lead, 1, math.prod(space)))
        for channel in range(source.shape[-1])
    ]
    return xp.reshape(xp.concat(flat, axis=len(lead)), (*lead, source.shape[-1], *space))


def _gathered(planes: Any, offsets: Sequence[Shape], counts: Shape, strides: Shape, groups: int) -> Any:
    """Return what several taps see of planes, as rows of all positions: ([groups,] taps channels, positions)."""
    xp = namespace(planes)
    lead = tuple(planes.shape[:1]) if groups > 1 else ()
    windows = [planes[(..., *_slices(offset, counts, strides))] for offset in offsets]
    joined = xp.concat(windows, axis=len(lead))
    return xp.reshape(joined, (*lead, joined.shape[len(lead)], math.prod(joined.shape[len(lead) + 1 :])))


def _batched(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    return [items[start : start + count] for start in range(0, len(items), count)]


def _shifted(source: Any, shifts: Sequence[Shape], weights: Sequence[Any], counts: Shape) -> Any:
    r"""Sum over taps without strides,  :math:`y_q = \sum_t x_{q + f_t} W_t`, where x is zero beyond its borders.

    Either each tap looks at the padded input, or what each makes of the input is put where it belongs. The second is
    for few channels that come out, when the products of several taps are one, and for an input much smaller than the
    output, most of whose padding would be multiplied in vain.
    """
    space = tuple(source.shape[source.ndim - 1 - len(counts) : -1])
    if weights[0].ndim > 1:
        width, made = weights[0].shape[-2:]
        if made < THIN < width or 2 * math.prod(space) <= math.prod(counts):
            return _placed(source, shifts, weights, counts)
    before = tuple(-min(axis) for axis in zip(*shifts, strict=True))
    after = tuple(
        count + max(axis) - length
        for count, axis, length in zip(counts, zip(*shifts, strict=True), space, strict=True)
    )
    offsets = [tuple(f + low for f, low in zip(shift, before, strict=True)) for shift in shifts]
    return _over_taps(_pad(source, before, after), offsets, weights, counts, (1,) * len(counts))


def _placed(source: Any, shifts: Sequence[Shape], weights: Sequence[Any], counts: Shape) -> Any:
    """Multiply the input by several taps at once, and add the products up, each moved by its shift."""
    xp = namespace(source)
    made = weights[0].shape[-1]
    space = tuple(source.shape[source.ndim - 1 - len(counts) : -1])
    together = _together(len(shifts), made, weights[0].shape[-2])
    total: Any = None
    for some, matrices in zip(_batched(shifts, together), _batched(weights, together), strict=True):
        matrix = xp.concat(list(matrices), axis=matrices[0].ndim - 1) if len(matrices) > 1 else matrices[0]
        products = _multiply(source, matrix, in_one_piece=True)
        for number, shift in enumerate(some):
            own = slice(number * made, (number + 1) * made)
            product = products[(slice(None),) * (products.ndim - 1) + (own,)]
            after = tuple(count + f - n for count, f, n in zip(counts, shift, space, strict=True))
            product = _pad(product, tuple(-f for f in shift), after)
            total = product if total is None else total + product
    return total


def _over_taps(
    source: Any, offsets: Sequence[Shape], weights: Sequence[Any], counts: Shape, strides: Shape
) -> Any:
    r"""Sum over taps of what each sees times its weights,  :math:`y_o = \sum_t x_{s o + f_t} W_t`."""
    if weights[0].ndim > 1 and gathers_taps(len(offsets), *weights[0].shape[-2:]):
        return _over_gathered_taps(source, offsets, weights, counts, strides)
    total: Any = None
    for offset, matrix in zip(offsets, weights, strict=True):
        seen = _window(source, offset, counts, strides)
        product = _multiply(seen, matrix, in_one_piece=seen is source)
        if total is None:
            total = product
        else:
            total += product  # this function's own memory
    return total


def _over_gathered_taps(
    source: Any, offsets: Sequence[Shape], weights: Sequence[Any], counts: Shape, strides: Shape
) -> Any:
    """Compute the same sum with one product for several taps."""
    xp = namespace(source)
    groups = weights[0].shape[0] if weights[0].ndim == 3 else 1
    together = _together(len(offsets), *weights[0].shape[-2:])
    planes = _planes(source, groups)
    total: Any = None
    for some, matrices in zip(_batched(offsets, together), _batched(weights, together), strict=True):
        seen = _gathered(planes, some, counts, strides, groups)
        matrix = xp.concat(list(matrices), axis=matrices[0].ndim - 2)
        product = xp.matmul(xp.matrix_transpose(seen), matrix)
        if total is None:
            total = product
        else:
            total += product  # this function's own memory
    lead = source.ndim - 1 - len(counts)
    return xp.reshape(total, (*source.shape[:lead], *counts, total.shape[-1]))
