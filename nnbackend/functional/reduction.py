"""Sums, means, products and extremes over axes, as rules."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import is_half
from nnbackend.functional.rules import (
    added_up,
    dtype_of,
    normalize_axes,
    normalize_axis,
    reduced_size,
    restore_axes,
    zeros,
)
from nnbackend.typing import Array, Axis, Backward, DType

__all__ = ["cumulative_sum", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var"]


@differentiable
def sum(
    x: Array, *, axis: Axis = None, dtype: DType | str | None = None, keepdims: bool = False
) -> tuple[Array, Backward]:
    r"""Sum:  :math:`y = \sum_i x_i`, with :math:`\partial y/\partial x_i = 1`."""
    xp = namespace(x)
    axes = normalize_axes(axis, x.ndim)
    shape, kind = x.shape, x.dtype
    wanted = None if dtype is None else dtype_of(dtype, x)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        spread = xp.broadcast_to(restore_axes(dy, shape, axes, keepdims), shape)
        return (spread if spread.dtype == kind else xp.astype(spread, kind),)

    if is_half(x) and (wanted is None or wanted == x.dtype):
        return added_up(x, axis, keepdims=keepdims), backward
    return xp.sum(x, axis=axis, keepdims=keepdims, dtype=wanted), backward


@differentiable(wide=True)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Mean:  :math:`y = \frac1n \sum_i x_i`, with :math:`\partial y/\partial x_i = 1/n`."""
    axes = normalize_axes(axis, x.ndim)
    shape = x.shape
    count = reduced_size(shape, axes)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        share = restore_axes(dy / count if count else dy, shape, axes, keepdims)
        return (namespace(share).broadcast_to(share, shape),)

    return namespace(x).mean(x, axis=axis, keepdims=keepdims), backward


@differentiable(wide=True)
def var(
    x: Array, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> tuple[Array, Backward]:
    r"""Variance.

    .. math:: y = \frac{1}{n - c} \sum_i (x_i - \bar x)^2, \qquad
              \frac{\partial y}{\partial x_i} = \frac{2 (x_i - \bar x)}{n - c}

    Parameters
    ----------
    x : array of any shape
        Floating.
    axis : int, tuple of int or None
        Over which axes; all without it.
    correction : float
        The degrees of freedom c to take off: 0 for the variance of the elements, 1 for the unbiased estimate.
    keepdims : bool
        Keep the reduced axes with length one.

    Returns
    -------
    array
        Without the reduced axes, unless kept.

    Examples
    --------
    >>> import nnbackend as nn
    >>> float(nn.functional.var(nn.get_backend("numpy").xp.asarray([1.0, 3.0])))
    1.0
    """
    centred, freedom, axes = _centred(x, axis, correction)
    xp = namespace(x)
    y = xp.sum(xp.square(centred), axis=axes, keepdims=keepdims) / freedom
    shape = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (restore_axes(dy, shape, axes, keepdims) * (2.0 / freedom) * centred,)

    return y, backward


@differentiable(wide=True)
def std(
    x: Array, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> tuple[Array, Backward]:
    r"""Deviation, the square root of `var`.

    .. math:: y = \sqrt{\frac{1}{n - c} \sum_i (x_i - \bar x)^2}, \qquad
              \frac{\partial y}{\partial x_i} = \frac{x_i - \bar x}{(n - c)\, y} \quad (0 \text{ at } y = 0)

    Parameters
    ----------
    x : array of any shape
        Floating.
    axis : int, tuple of int or None
        Over which axes; all without it.
    correction : float
        The degrees of freedom c to take off.
    keepdims : bool
        Keep the reduced axes with length one.

    Returns
    -------
    array
        Without the reduced axes, unless kept.

    Examples
    --------
    >>> import nnbackend as nn
    >>> float(nn.functional.std(nn.get_backend("numpy").xp.asarray([1.0, 3.0])))
    1.0
    """
    centred, freedom, axes = _centred(x, axis, correction)
    xp = namespace(x)
    y = xp.sqrt(xp.sum(xp.square(centred), axis=axes, keepdims=keepdims) / freedom)
    shape = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        slope = xp.where(y == 0, 0.0, dy / xp.where(y == 0, 1.0, y))
        return (restore_axes(slope, shape, axes, keepdims) * (1.0 / freedom) * centred,)

    return y, backward


def _centred(x: Any, axis: Axis, correction: float) -> tuple[Any, float, tuple[int, ...]]:
    """Return the deviations from the mean, the degrees of freedom, and the axes."""
    axes = normalize_axes(axis, x.ndim)
    freedom = reduced_size(x.shape, axes) - correction
    if freedom <= 0:
        raise ValueError(
            f"The variance of {reduced_size(x.shape, axes)} elements with correction {correction} does not exist."
        )
    return x - namespace(x).mean(x, axis=axes, keepdims=True), freedom, axes


@differentiable
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Largest element:  :math:`y = \max_i x_i`; the gradient is shared evenly among equal maxima."""
    axes = normalize_axes(axis, x.ndim)
    y = namespace(x).max(x, axis=axis, keepdims=keepdims)
    return y, lambda dy, needs: (_share(x, y, dy, axes, keepdims),)


@differentiable
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Smallest element:  :math:`y = \min_i x_i`; the gradient is shared evenly among equal minima."""
    axes = normalize_axes(axis, x.ndim)
    y = namespace(x).min(x, axis=axis, keepdims=keepdims)
    return y, lambda dy, needs: (_share(x, y, dy, axes, keepdims),)


def _share(x: Any, y: Any, dy: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Share a gradient evenly among the elements that are the extreme."""
    xp = namespace(dy)
    hit = xp.astype(x == restore_axes(y, x.shape, axes, keepdims), dy.dtype)
    return restore_axes(dy, x.shape, axes, keepdims) / xp.sum(hit, axis=axes, keepdims=True) * hit


@differentiable(wide=True)
def prod(
    x: Array, *, axis: Axis = None, dtype: DType | str | None = None, keepdims: bool = False
) -> tuple[Array, Backward]:
    r"""Product:  :math:`y = \prod_i x_i`, with :math:`\partial y/\partial x_i = \prod_{j \ne i} x_j`.

    The products of the others are computed without division, so that zeros are no exception.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([2.0, 0.0, 3.0])
    >>> nn.grad(nn.functional.prod)(x)
    array([0., 6., 0.])
    """
    axes = normalize_axes(axis, x.ndim)
    shape, kind = x.shape, x.dtype
    count = reduced_size(shape, axes)
    wanted = None if dtype is None else dtype_of(dtype, x)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        rows = xp.moveaxis(x, axes, tuple(range(-len(axes), 0))) if axes else x
        moved = rows.shape
        rows = xp.reshape(rows, (*moved[: len(moved) - len(axes)], count))
        others = _products_before(xp, rows) * xp.flip(_products_before(xp, xp.flip(rows, axis=-1)), axis=-1)
        others = xp.reshape(others, moved)
        others = xp.moveaxis(others, tuple(range(-len(axes), 0)), axes) if axes else others
        dx = restore_axes(dy, shape, axes, keepdims) * others
        return (dx if dx.dtype == kind else xp.astype(dx, kind),)

    return namespace(x).prod(x, axis=axis, keepdims=keepdims, dtype=wanted), backward


def _products_before(xp: Any, x: Any) -> Any:
    """Return along the last axis the products of all elements before each, by doubling."""
    lead, count = tuple(x.shape[:-1]), x.shape[-1]

    def shifted(values: Any, by: int) -> Any:
        return xp.concat([zeros((*lead, by), x) + 1.0, values[..., : count - by]], axis=-1)

    if count == 0:
        return x
    products, by = shifted(x, 1), 1
    while by < count:
        products = products * shifted(products, by)
        by *= 2
    return products


@differentiable(wide=True)
def cumulative_sum(
    x: Array, *, axis: int | None = None, dtype: DType | str | None = None, include_initial: bool = False
) -> tuple[Array, Backward]:
    r"""Sum step by step:  :math:`y_i = \sum_{j \le i} x_j`, with
    :math:`\partial L/\partial x_j = \sum_{i \ge j} \partial L/\partial y_i`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.cumulative_sum(nn.get_backend("numpy").xp.asarray([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    if axis is None and x.ndim != 1:
        raise ValueError(f"cumulative_sum needs an axis for an array of {x.ndim} dimensions.")
    axis = normalize_axis(0 if axis is None else axis, x.ndim)
    kind = x.dtype
    wanted = None if dtype is None else dtype_of(dtype, x)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        if include_initial:
            dy = dy[((slice(None),) * axis + (slice(1, None), ...))]
        dx = xp.flip(xp.cumulative_sum(xp.flip(dy, axis=axis), axis=axis), axis=axis)
        return (dx if dx.dtype == kind else xp.astype(dx, kind),)

    return namespace(x).cumulative_sum(x, axis=axis, dtype=wanted, include_initial=include_initial), backward


@differentiable(wide=True)
def logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Logarithm of a sum of exponentials, the soft maximum.

    .. math:: y = m + \ln \sum_i e^{x_i - m}, \quad m = \max_i x_i, \qquad
              \frac{\partial y}{\partial x_i} = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}

    Parameters
    ----------
    x : array of any shape
        Floating.
    axis : int, tuple of int or None
        Over which axes; all without it.
    keepdims : bool
        Keep the reduced axes with length one.

    Returns
    -------
    array
        Finite for finite `x` of any size.

    Examples
    --------
    >>> import nnbackend as nn
    >>> float(nn.functional.logsumexp(nn.get_backend("numpy").xp.asarray([1e4, -1e4])))
    10000.0
    """
    xp = namespace(x)
    axes = normalize_axes(axis, x.ndim)
    shape = x.shape
    m = xp.max(x, axis=axes, keepdims=True)
    m = xp.where(xp.isfinite(m), m, 0.0)
    total = xp.sum(xp.exp(x - m), axis=axes, keepdims=True)
    wide = m + xp.log(total)
    y = wide if keepdims else xp.squeeze(wide, axis=axes)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (restore_axes(dy, shape, axes, keepdims) / total * namespace(dy).exp(x - m),)

    return y, backward
