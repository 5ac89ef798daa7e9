"""Shapes, selection and joining, as rules."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional._rules import sum_to
from nnbackend.typing import Array, Backward, Shape

__all__ = [
    "broadcast_to",
    "concat",
    "expand_dims",
    "matrix_transpose",
    "permute_dims",
    "reshape",
]


@differentiable
def reshape(x: Array, *, shape: Shape) -> tuple[Array, Backward]:
    """Give the same elements another shape; the gradient takes the old one back."""
    before = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).reshape(dy, before),)

    return namespace(x).reshape(x, shape), backward


@differentiable
def expand_dims(x: Array, *, axis: int) -> tuple[Array, Backward]:
    """Insert an axis of length one; the gradient loses it."""
    before = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).reshape(dy, before),)

    return namespace(x).expand_dims(x, axis=axis), backward


@differentiable
def broadcast_to(x: Array, *, shape: Shape) -> tuple[Array, Backward]:
    """Repeat along new axes and axes of length one; the gradient is summed over them."""
    before, dtype = x.shape, x.dtype
    return namespace(x).broadcast_to(x, shape), lambda dy, needs: (sum_to(dy, before, dtype),)


@differentiable
def permute_dims(x: Array, *, axes: tuple[int, ...]) -> tuple[Array, Backward]:
    """Reorder the axes; the gradient's are put back."""
    axes = tuple(axis % x.ndim for axis in axes)
    inverse = tuple(axes.index(axis) for axis in range(len(axes)))
    return namespace(x).permute_dims(x, axes), lambda dy, needs: (namespace(dy).permute_dims(dy, inverse),)


@differentiable
def matrix_transpose(x: Array) -> tuple[Array, Backward]:
    """Swap the last two axes; the gradient's are swapped back."""
    return x.mT, lambda dy, needs: (dy.mT,)


@differentiable
def _concat(*arrays: Array, axis: int = 0) -> tuple[Array, Backward]:
    axis = axis % arrays[0].ndim
    ends = list(itertools.accumulate(array.shape[axis] for array in arrays))

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        lead = (slice(None),) * axis
        starts = [0, *ends[:-1]]
        return tuple(
            dy[(*lead, slice(start, end), ...)] if wanted else None
            for start, end, wanted in zip(starts, ends, needs, strict=True)
        )

    return namespace(arrays[0]).concat(list(arrays), axis=axis), backward


def concat(arrays: Sequence[Array], *, axis: int = 0) -> Array:
    """Join arrays along an axis; the gradient is cut at the seams."""
    joined: Array = _concat(*arrays, axis=axis)
    return joined
