"""What the rules share: undoing broadcasts, and shapes of reductions."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.backend import namespace
from nnbackend.typing import Array, Axis, DType, Shape

__all__ = ["like", "normalize_axes", "reduced_size", "restore_axes", "sum_to"]


def sum_to(gradient: Any, shape: Shape, dtype: DType) -> Any:
    """Sum a gradient over the axes along which an argument of this shape was broadcast, and cast it back."""
    xp = namespace(gradient)
    if tuple(gradient.shape) != tuple(shape):
        lead = len(gradient.shape) - len(shape)
        axes = tuple(range(lead)) + tuple(
            axis + lead for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis + lead] != 1
        )
        gradient = xp.sum(gradient, axis=axes, keepdims=True, dtype=gradient.dtype) if axes else gradient
        gradient = xp.reshape(gradient, tuple(shape))
    return gradient if gradient.dtype == dtype else xp.astype(gradient, dtype)


def like(gradient: Any, argument: Any) -> Any:
    """Sum a gradient to the shape and dtype of the argument that it belongs to."""
    return sum_to(gradient, argument.shape, argument.dtype)


def normalize_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return axes as a tuple of non-negative numbers; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for number in axes:
        if not -ndim <= number < ndim:
            raise ValueError(f"The axis {number} does not exist in an array of {ndim} dimensions.")
    return tuple(number % ndim for number in axes)


def reduced_size(shape: Shape, axes: tuple[int, ...]) -> int:
    """Return how many elements a reduction over `axes` takes together."""
    return math.prod(shape[axis] for axis in axes)


def restore_axes(reduced: Any, shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Put back, with length one, the axes that a reduction took away."""
    if keepdims:
        return reduced
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    result: Array = namespace(reduced).reshape(reduced, kept)
    return result
