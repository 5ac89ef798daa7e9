"""Shapes, joining and reordering, as rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional.rules import dtype_of, normalize_axes, normalize_axis, sum_to
from nnbackend.typing import Array, Backward, DType, Shape

__all__ = [
    "astype",
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "tril",
    "triu",
    "unstack",
]


@differentiable
def astype(x: Array, *, dtype: DType | str, copy: bool = True) -> tuple[Array, Backward]:
    """Cast to a dtype; the gradient is cast back. A dtype may be given by name.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.astype(nn.get_backend("numpy").xp.asarray([1.5]), "float32").dtype
    dtype('float32')
    """
    before = x.dtype

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).astype(dy, before),)

    return namespace(x).astype(x, dtype_of(dtype, x), copy=copy), backward


@differentiable
def reshape(x: Array, *, shape: Shape) -> tuple[Array, Backward]:
    """Give the same elements another shape; the gradient takes the old one back."""
    before = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).reshape(dy, before),)

    return namespace(x).reshape(x, shape), backward


@differentiable
def expand_dims(x: Array, *, axis: int = 0) -> tuple[Array, Backward]:
    """Insert an axis of length one; the gradient loses it."""
    before = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).reshape(dy, before),)

    return namespace(x).expand_dims(x, axis=axis), backward


@differentiable
def squeeze(x: Array, *, axis: int | tuple[int, ...]) -> tuple[Array, Backward]:
    """Remove axes of length one; the gradient has them again."""
    before = x.shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).reshape(dy, before),)

    return namespace(x).squeeze(x, axis=axis), backward


@differentiable
def broadcast_to(x: Array, *, shape: Shape) -> tuple[Array, Backward]:
    """Repeat along new axes and axes of length one; the gradient is summed over them."""
    before, dtype = x.shape, x.dtype
    return namespace(x).broadcast_to(x, shape), lambda dy, needs: (sum_to(dy, before, dtype),)


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Broadcast arrays against each other; each gradient is summed over what was repeated."""
    shape: list[int] = []
    for array in arrays:
        lead = [1] * (len(array.shape) - len(shape)) + shape
        own = [1] * (len(shape) - len(array.shape)) + list(array.shape)
        shape = [b if a == 1 else a for a, b in zip(lead, own, strict=True)]
    return tuple(broadcast_to(array, shape=tuple(shape)) for array in arrays)


@differentiable
def permute_dims(x: Array, *, axes: tuple[int, ...]) -> tuple[Array, Backward]:
    """Reorder the axes; the gradient's are put back."""
    axes = tuple(axis % x.ndim for axis in axes)
    inverse = tuple(axes.index(axis) for axis in range(len(axes)))
    return namespace(x).permute_dims(x, axes), lambda dy, needs: (namespace(dy).permute_dims(dy, inverse),)


def moveaxis(x: Array, source: int | tuple[int, ...], destination: int | tuple[int, ...], /) -> Array:
    """Move axes to other places, the others keeping their order; the gradient's are moved back."""
    sources, destinations = normalize_axes(source, x.ndim), normalize_axes(destination, x.ndim)
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for place, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(place, axis)
    moved: Array = permute_dims(x, axes=tuple(order))
    return moved


@differentiable
def matrix_transpose(x: Array) -> tuple[Array, Backward]:
    """Swap the last two axes; the gradient's are swapped back."""
    return x.mT, lambda dy, needs: (dy.mT,)


@differentiable
def flip(x: Array, *, axis: int | tuple[int, ...] | None = None) -> tuple[Array, Backward]:
    """Reverse the order along axes; the gradient is flipped back."""
    return namespace(x).flip(x, axis=axis), lambda dy, needs: (namespace(dy).flip(dy, axis=axis),)


@differentiable
def roll(
    x: Array, *, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None
) -> tuple[Array, Backward]:
    """Shift elements along axes, around the ends; the gradient is rolled back."""
    back = -shift if isinstance(shift, int) else tuple(-step for step in shift)
    return namespace(x).roll(x, shift, axis=axis), lambda dy, needs: (
        namespace(dy).roll(dy, back, axis=axis),
    )


@differentiable
def tril(x: Array, *, k: int = 0) -> tuple[Array, Backward]:
    """Keep the lower triangle, with `k` diagonals above the main one; so does the gradient."""
    return namespace(x).tril(x, k=k), lambda dy, needs: (namespace(dy).tril(dy, k=k),)


@differentiable
def triu(x: Array, *, k: int = 0) -> tuple[Array, Backward]:
    """Keep the upper triangle, from the `k`-th diagonal on; so does the gradient."""
    return namespace(x).triu(x, k=k), lambda dy, needs: (namespace(dy).triu(dy, k=k),)


@differentiable
def repeat(x: Array, *, repeats: int, axis: int | None = None) -> tuple[Array, Backward]:
    """Repeat each element along an axis (along the flat array without one); the gradients of its copies add up.

    The number of repeats is a Python integer, so that shapes stay static.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.repeat(nn.get_backend("numpy").xp.asarray([1.0, 2.0]), 2)
    array([1., 1., 2., 2.])
    """
    before = tuple(x.shape)
    kept = (math.prod(before),) if axis is None else before
    place = 0 if axis is None else normalize_axis(axis, x.ndim)
    split = (*kept[: place + 1], repeats, *kept[place + 1 :])
    joined = (*kept[:place], kept[place] * repeats, *kept[place + 1 :])
    xp = namespace(x)
    copies = xp.broadcast_to(xp.reshape(x, (*kept[: place + 1], 1, *kept[place + 1 :])), split)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        return (xp.reshape(xp.sum(xp.reshape(dy, split), axis=place + 1), before),)

    return xp.reshape(copies, joined), backward


@differentiable
def tile(x: Array, *, repetitions: tuple[int, ...]) -> tuple[Array, Backward]:
    """Repeat the whole array along each axis; the gradients of its copies add up.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.tile(nn.get_backend("numpy").xp.asarray([1.0, 2.0]), (2, 2))
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]])
    """
    before = tuple(x.shape)
    ndim = max(len(before), len(repetitions))
    shape = (1,) * (ndim - len(before)) + before
    counts = (1,) * (ndim - len(repetitions)) + tuple(repetitions)
    single = tuple(itertools.chain.from_iterable((1, size) for size in shape))
    split = tuple(itertools.chain.from_iterable(zip(counts, shape, strict=True)))
    xp = namespace(x)
    copies = xp.broadcast_to(xp.reshape(x, single), split)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        return (xp.reshape(xp.sum(xp.reshape(dy, split), axis=tuple(range(0, 2 * ndim, 2))), before),)

    return xp.reshape(copies, tuple(a * b for a, b in zip(counts, shape, strict=True))), backward


def _cast(gradient: Array, dtype: DType) -> Array:
    return sum_to(gradient, gradient.shape, dtype)


@differentiable
def _concat(*arrays: Array, axis: int = 0) -> tuple[Array, Backward]:
    axis = axis % arrays[0].ndim
    ends = list(itertools.accumulate(array.shape[axis] for array in arrays))
    dtypes = [array.dtype for array in arrays]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        lead = (slice(None),) * axis
        starts = [0, *ends[:-1]]
        return tuple(
            _cast(dy[(*lead, slice(start, end), ...)], dtype) if wanted else None
            for start, end, dtype, wanted in zip(starts, ends, dtypes, needs, strict=True)
        )

    return namespace(arrays[0]).concat(list(arrays), axis=axis), backward


def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
    """Join arrays along an axis, flat ones without it; the gradient is cut at the seams.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.concat([xp.ones(1), xp.zeros(2)])
    array([1., 0., 0.])
    """
    if axis is None:
        arrays, axis = [reshape(array, shape=(-1,)) for array in arrays], 0
    joined: Array = _concat(*arrays, axis=axis)
    return joined


@differentiable
def _stack(*arrays: Array, axis: int = 0) -> tuple[Array, Backward]:
    axis = axis % (arrays[0].ndim + 1)
    dtypes = [array.dtype for array in arrays]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        lead = (slice(None),) * axis
        return tuple(
            _cast(dy[(*lead, index, ...)], dtype) if wanted else None
            for index, (dtype, wanted) in enumerate(zip(dtypes, needs, strict=True))
        )

    return namespace(arrays[0]).stack(list(arrays), axis=axis), backward


def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    """Join arrays along a new axis; each gets its slice of the gradient.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.stack([xp.ones(2), xp.zeros(2)], axis=1)
    array([[1., 0.],
           [1., 0.]])
    """
    joined: Array = _stack(*arrays, axis=axis)
    return joined


@differentiable
def unstack(x: Array, *, axis: int = 0) -> tuple[tuple[Array, ...], Backward]:
    """Cut into the slices along an axis, which is lost; their gradients are stacked.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.unstack(nn.get_backend("numpy").xp.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    (array([1., 3.]), array([2., 4.]))
    """

    def backward(dy: tuple[Array, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        first = next((part for part in dy if hasattr(part, "__nnbackend_value__")), dy[0])
        return (namespace(first).stack(list(dy), axis=axis),)

    return tuple(namespace(x).unstack(x, axis=axis)), backward
