"""Sums, means and extremes over axes, as rules."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional._rules import normalize_axes, reduced_size, restore_axes
from nnbackend.typing import Array, Axis, Backward

__all__ = ["max", "mean", "sum"]


@differentiable
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> tuple[Array, Backward]:
    r"""Sum:  :math:`y = \sum_i x_i`, with :math:`\partial y/\partial x_i = 1`."""
    xp = namespace(x)
    axes = normalize_axes(axis, x.ndim)
    shape, kind = x.shape, x.dtype

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        spread = xp.broadcast_to(restore_axes(dy, shape, axes, keepdims), shape)
        return (spread if spread.dtype == kind else xp.astype(spread, kind),)

    return xp.sum(x, axis=axis, keepdims=keepdims, dtype=dtype), backward


@differentiable
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Mean:  :math:`y = \frac1n \sum_i x_i`, with :math:`\partial y/\partial x_i = 1/n`."""
    axes = normalize_axes(axis, x.ndim)
    shape = x.shape
    count = reduced_size(shape, axes)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        share = restore_axes(dy / count, shape, axes, keepdims)
        return (namespace(share).broadcast_to(share, shape),)

    return namespace(x).mean(x, axis=axis, keepdims=keepdims), backward


@differentiable
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Largest element; the gradient is shared evenly among equal maxima."""
    xp = namespace(x)
    axes = normalize_axes(axis, x.ndim)
    y = xp.max(x, axis=axis, keepdims=keepdims)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        hit = xp.astype(x == restore_axes(y, x.shape, axes, keepdims), x.dtype)
        share = restore_axes(dy, x.shape, axes, keepdims) / xp.sum(hit, axis=axes, keepdims=True)
        return (hit * share,)

    return y, backward
