"""Borders and finer grids: padding, and upsampling by repetition or linear interpolation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace, nearest
from nnbackend.functional.elementary import add, multiply
from nnbackend.functional.indexing import getitem
from nnbackend.functional.rules import composed, sizes, zeros
from nnbackend.functional.shaping import broadcast_to, concat, reshape, stack
from nnbackend.typing import Array, Backward

__all__ = ["pad", "upsample"]

INTERPOLATIONS = ("nearest", "linear")


@differentiable
def pad(x: Array, *, padding: Sequence[int | Sequence[int]], value: float = 0.0) -> tuple[Array, Backward]:
    r"""Put a border around an array.

    .. math:: y_{i + p} = x_i, \qquad
              \frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y_{i + p}}

    and y is `value` elsewhere.

    Parameters
    ----------
    x : array of any shape
        Floating.
    padding : sequence of int or of pairs of int
        For each axis how many elements to put on both sides, or (before, after).
    value : float
        What the border is made of.

    Returns
    -------
    array
        Longer than `x` by the border.

    Raises
    ------
    ValueError
        If there is not one width or pair for each axis, or one is negative.
    TypeError
        If a width is no whole number.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.pad(nn.get_backend("numpy").xp.asarray([1.0, 2.0]), [(1, 2)])
    array([0., 1., 2., 0., 0.])
    """
    if not isinstance(padding, (list, tuple)) or len(padding) != x.ndim:
        raise ValueError(
            f"pad expects a width or a pair (before, after) for each of the {x.ndim} axes, got {padding!r}."
        )
    widths = [sizes("pad", "padding", each, 2, least=0) for each in padding]
    inside = tuple(slice(low, low + n) for (low, _), n in zip(widths, x.shape, strict=True))
    return surrounded(x, widths, value), lambda dy, needs: (dy[inside],)


def surrounded(x: Any, widths: Sequence[Sequence[int]], value: float = 0.0) -> Any:
    """Put a border around an array; where a width is negative, cut off as much instead.

    Parameters
    ----------
    x : array
        What to surround.
    widths : sequence of pairs of int
        For each axis, what is put before and after.
    value : float
        What the border is made of.

    Returns
    -------
    array
        The array itself where there is nothing to do.
    """
    xp = namespace(x)
    widths = [tuple(pair) for pair in widths]
    if any(low < 0 or high < 0 for low, high in widths):
        cuts = [_cut(n, low, high) for n, (low, high) in zip(x.shape, widths, strict=True)]
        x = x[tuple(inside for inside, _ in cuts)]
        widths = [left for _, left in cuts]
    for axis, (low, high) in reversed(list(enumerate(widths))):
        if low > 0 or high > 0:
            before, after = (_border(x, axis, width, value) for width in (low, high))
            x = xp.concat([piece for piece in (before, x, after) if piece is not None], axis=axis)
    return x


def _cut(length: int, low: int, high: int) -> tuple[slice, tuple[int, int]]:
    """Return what negative widths leave of an axis, and the widths still to be put around it."""
    start, stop = max(-low, 0), length - max(-high, 0)
    if start >= stop:  # all of it is cut off, and perhaps a part of the other border
        return slice(0, 0), (length + low + high, 0)
    return slice(start, stop), (max(low, 0), max(high, 0))


def _border(x: Any, axis: int, width: int, value: float) -> Any:
    if width <= 0:
        return None
    border = zeros((*x.shape[:axis], width, *x.shape[axis + 1 :]), x)
    return border + value if value else border


@composed
def upsample(x: Array, *, size: int | Sequence[int], interpolation: str = "nearest") -> Array:
    r"""Make the grid of an array of shape (n, h, w, ..., c) finer by whole factors.

    The centre of fine cell q lies at :math:`u = (q + 1/2) / s - 1/2` of the coarse grid. "nearest" takes the value of
    the coarse cell that it lies in, :math:`y_q = x_{\lfloor q / s \rfloor}`; "linear" interpolates between the centres
    around it, along one axis after the other:

    .. math:: y_q = (1 - f)\, x_{\lfloor u \rfloor} + f\, x_{\lfloor u \rfloor + 1}, \qquad f = u - \lfloor u \rfloor

    where x goes on beyond its ends as it ends. A gradient is spread back with the same weights.

    Parameters
    ----------
    x : array of shape (n, h, w, ..., c)
        With any number of axes of space; floating.
    size : int or sequence of int
        The factors s, one for all axes of space or one for each.
    interpolation : {"nearest", "linear"}
        How values between are made.

    Returns
    -------
    array of shape (n, h s, w s, ..., c)
        In the dtype of `x`.

    Raises
    ------
    ValueError
        If `x` has no axis of space, a factor is below 1, or `interpolation` is unknown.
    TypeError
        If a factor is no whole number.

    Notes
    -----
    Linear interpolation is that of Keras, TensorFlow and PyTorch with half-pixel centres (``align_corners=False``).

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x = xp.reshape(xp.asarray([0.0, 4.0]), (1, 2, 1))
    >>> nn.functional.upsample(x, size=2)[0, :, 0]
    array([0., 0., 4., 4.])
    >>> nn.functional.upsample(x, size=2, interpolation="linear")[0, :, 0]
    array([0., 1., 3., 4.])
    """
    if x.ndim < 3:
        raise ValueError(f"upsample expects an array of shape (n, ..., channels), got {tuple(x.shape)}.")
    factors = sizes("upsample", "size", size, x.ndim - 2)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"upsample expects interpolation to be 'nearest' or 'linear', got {interpolation!r}."
            f"{nearest(str(interpolation), INTERPOLATIONS)}"
        )
    if interpolation == "nearest":
        return _repeated(x, factors)
    for axis, factor in enumerate(factors, 1):
        if factor > 1 and x.shape[axis] > 0:
            x = _interpolated(x, axis, factor)
    return x


def _repeated(x: Any, factors: Sequence[int]) -> Any:
    """Repeat every element along the axes of space, in one copy."""
    n, *space, channels = x.shape
    single = tuple(itertools.chain.from_iterable((length, 1) for length in space))
    split = tuple(itertools.chain.from_iterable(zip(space, factors, strict=True)))
    longer = tuple(length * factor for length, factor in zip(space, factors, strict=True))
    copies = broadcast_to(reshape(x, (n, *single, channels)), (n, *split, channels))
    return reshape(copies, (n, *longer, channels))


def _interpolated(x: Any, axis: int, factor: int) -> Any:
    """Interpolate along one axis: each of the `factor` fine cells within a coarse one has weights of its own."""

    def part(start: int | None, stop: int | None) -> Any:
        return getitem(x, (*(slice(None),) * axis, slice(start, stop), ...))

    before = concat([part(0, 1), part(0, -1)], axis=axis)
    after = concat([part(1, None), part(-1, None)], axis=axis)
    fine = []
    for index in range(factor):
        away = (index + 0.5) / factor - 0.5  # from the centre of the coarse cell
        neighbour = after if away > 0 else before
        fine.append(add(multiply(x, 1.0 - abs(away)), multiply(neighbour, abs(away))) if away else x)
    longer = (*x.shape[:axis], x.shape[axis] * factor, *x.shape[axis + 1 :])
    return reshape(stack(fine, axis=axis + 1), longer)
