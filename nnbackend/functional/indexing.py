"""Selection by index, as rules: slices, rows, elements along an axis, and sorting.

What selects once scatters back: where an element was taken several times, its gradients add up, in a fixed order.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, host, namespace, plain
from nnbackend.functional.rules import normalize_axis, zeros
from nnbackend.typing import Array, Backward, Shape

__all__ = ["getitem", "scatter_add", "sort", "take", "take_along_axis"]


class _Cut(NamedTuple):
    """What an index does to one axis: keep `length` elements from `start` on, every `step`-th, perhaps reversed."""

    start: int
    length: int
    step: int
    flipped: bool
    dropped: bool  # an integer: the axis is lost


def getitem(x: Array, key: Any) -> Array:
    r"""Select with ``x[key]``; the gradient is put back in place, with zeros around it.

    Parameters
    ----------
    x : array of any shape
        What to select from.
    key : int, slice, Ellipsis, None, integer array, or tuple of these
        Integer arrays must stand for one axis beside full slices, or index every axis; shapes are static, so there
        are no boolean masks.

    Returns
    -------
    array
        As the standard defines it; axes that the key leaves out are kept whole.

    Raises
    ------
    IndexError
        If the key does not fit the shape.
    TypeError
        If the key holds booleans, lists or other things.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.Tensor(nn.get_backend("numpy").xp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    >>> x[0, ::-1]
    Tensor([3. 2. 1.])
    """
    parts = [_checked(part) for part in (key if isinstance(key, tuple) else (key,))]
    if any(hasattr(part, "shape") for part in parts):
        return _by_arrays(x, _whole_key(parts, x.ndim))
    return _getitem(x, key=tuple(parts))


def _checked(part: Any) -> Any:
    """Return one part of a key: a Python integer, slice, Ellipsis, None, or an integer array."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    part = plain(part)
    if isinstance(part, bool) or "bool" in str(getattr(part, "dtype", "")):
        raise TypeError(
            "A boolean mask gives a shape that depends on values. Use functional.where(mask, x, 0.0) instead."
        )
    if isinstance(part, (list, float)) or "float" in str(getattr(part, "dtype", "")):
        raise TypeError(f"An index is an integer, a slice or an integer array, got {type(part).__name__}.")
    on_host = getattr(part, "shape", None) == () and backend_of(part) is host()
    return operator.index(part) if on_host or not hasattr(part, "shape") else part


def _by_arrays(x: Any, parts: list[Any]) -> Any:
    """Index by integer arrays: along one axis, or every axis at once; negative ones count from the end."""
    arrays = [place for place, part in enumerate(parts) if hasattr(part, "shape")]
    others = [part for part in parts if not hasattr(part, "shape")]
    if len(arrays) == 1 and all(part is None or isinstance(part, slice) for part in others):
        place, whole = arrays[0], slice(None)
        if any(part != whole for part in others):
            x = getitem(x, tuple(whole if index == place else part for index, part in enumerate(parts)))
        return take(x, _flat_indices([parts[place]], x.shape[place : place + 1]), axis=place)
    if all(isinstance(part, int) for part in others):
        flat = namespace(x).reshape(x, (-1,))
        return take(flat, _flat_indices(parts, x.shape), axis=0)
    raise IndexError(
        "Integer arrays index one axis beside slices, or every axis at once. Select in two steps: "
        "functional.take(x[...], indices, axis=...)."
    )


def _flat_indices(parts: Sequence[Any], shape: Shape) -> Any:
    """Return where the elements that indices name lie in the flat array."""
    backend = next(backend_of(part) for part in parts if hasattr(part, "shape"))
    flat: Any = 0
    with backend.scope():
        for part, size in zip(parts, shape, strict=True):
            number = part % size if isinstance(part, int) else _from_the_start(part, size)
            flat = number if isinstance(flat, int) and flat == 0 else flat * size + number
    return flat


def _from_the_start(indices: Any, length: int) -> Any:
    """Return integer indices as int64 numbers from the start; negative ones count from the end."""
    xp = backend_of(indices).xp
    indices = xp.astype(indices, xp.int64, copy=False)
    return xp.where(indices < 0, indices + length, indices)


def _whole_key(parts: Sequence[Any], ndim: int) -> list[Any]:
    """Put full slices for Ellipsis and for axes left out."""
    named = sum(part is not None and part is not Ellipsis for part in parts)
    if named > ndim:
        raise IndexError(f"{named} indices were given for an array of {ndim} dimensions.")
    dots = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError("An index has at most one Ellipsis.")
    place = dots[0] if dots else len(parts)
    return [*parts[:place], *[slice(None)] * (ndim - named), *parts[place + 1 :]]


def _cut(part: Any, size: int, axis: int) -> _Cut:
    if isinstance(part, slice):
        start, stop, step = part.indices(size)
        count = len(range(start, stop, step))
        if step < 0:
            return _Cut(start + (count - 1) * step if count else 0, count, -step, True, False)
        return _Cut(start, count, step, False, False)
    if not -size <= part < size:
        raise IndexError(f"The index {part} is out of range for axis {axis} of length {size}.")
    return _Cut(part % size, 1, 1, False, True)


@differentiable
def _getitem(x: Array, *, key: tuple[Any, ...]) -> tuple[Array, Backward]:
    whole = _whole_key(key, x.ndim)
    sizes = iter(enumerate(x.shape))
    cuts = [None if part is None else _cut(part, size, axis) for part, (axis, size) in _paired(whole, sizes)]
    kept = [cut for cut in cuts if cut is not None]
    before = tuple(x.shape)
    if x.ndim == 0:
        y = x
    else:
        y = x[
            tuple(
                slice(c.start, c.start + (c.length - 1) * c.step + 1 if c.length else c.start, c.step)
                for c in kept
            )
        ]
    flipped = tuple(axis for axis, cut in enumerate(kept) if cut.flipped)
    if flipped:
        y = namespace(y).flip(y, axis=flipped)
    counts = tuple(cut.length for cut in kept)
    shape = tuple(1 if cut is None else cut.length for cut in cuts if cut is None or not cut.dropped)
    if shape != counts:
        y = namespace(y).reshape(y, shape)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        dx = xp.reshape(dy, counts) if shape != counts else dy
        if flipped:
            dx = xp.flip(dx, axis=flipped)
        for axis, (cut, size) in enumerate(zip(kept, before, strict=True)):
            dx = _spread(dx, axis, size, cut.start, cut.step)
        return (dx,)

    return y, backward


def _paired(whole: list[Any], sizes: Any) -> Any:
    """Pair each part of a key with its axis; None, a new axis, has none."""
    return [(part, (0, 0) if part is None else next(sizes)) for part in whole]


def _spread(dy: Any, axis: int, size: int, start: int, step: int) -> Any:
    """Put elements along an axis at start, start + step, ... of `size` places, with zeros elsewhere."""
    xp = namespace(dy)
    shape = tuple(dy.shape)
    count = shape[axis]

    def gap(length: int) -> Any:
        return zeros((*shape[:axis], length, *shape[axis + 1 :]), dy)

    if count == 0:
        return gap(size)
    if step > 1 and count > 1:
        wide = (*shape[:axis], count, step - 1, *shape[axis + 1 :])
        pieces = [xp.expand_dims(dy, axis=axis + 1), zeros(wide, dy)]
        dy = xp.reshape(xp.concat(pieces, axis=axis + 1), (*shape[:axis], count * step, *shape[axis + 1 :]))
        used = (count - 1) * step + 1
        dy = dy[(slice(None),) * axis + (slice(0, used), ...)]
    else:
        used = count
    after = size - start - used
    pieces = [gap(start)] * (start > 0) + [dy] + [gap(after)] * (after > 0)
    return xp.concat(pieces, axis=axis) if len(pieces) > 1 else dy


@differentiable
def take(x: Array, indices: Array, *, axis: int | None = None) -> tuple[Array, Backward]:
    r"""Select along one axis by integer indices.

    .. math:: y_i = x_{j_i}, \qquad \frac{\partial L}{\partial x_j} = \sum_{i: j_i = j} \frac{\partial L}{\partial y_i}

    Parameters
    ----------
    x : array of shape (..., n, ...)
        What to select from.
    indices : integer array of any shape
        Between -n and n - 1, negative ones from the end; elements may be taken several times.
    axis : int, optional
        The axis; needed unless `x` has one dimension.

    Returns
    -------
    array
        Shaped like `x`, with the axes of `indices` in place of `axis`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.take(xp.asarray([1.0, 2.0, 3.0]), xp.asarray([2, 0, 2]))
    array([3., 1., 3.])
    """
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"take needs an axis for an array of {x.ndim} dimensions.")
        axis = 0
    axis = normalize_axis(axis, x.ndim)
    before, length = tuple(x.shape), x.shape[axis]
    indices = _from_the_start(plain(indices), length)
    kept = tuple(indices.shape)
    xp = namespace(x)
    flat = backend_of(indices).xp.reshape(indices, (-1,))
    y = xp.take(x, flat, axis=axis)
    if len(kept) != 1:
        y = xp.reshape(y, (*before[:axis], *kept, *before[axis + 1 :]))

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        if len(kept) != 1:
            dy = xp.reshape(dy, (*before[:axis], math.prod(kept), *before[axis + 1 :]))
        dx = scatter_add(xp.moveaxis(dy, axis, 0) if axis else dy, flat, length=length)
        return (xp.moveaxis(dx, 0, axis) if axis else dx), None

    return y, backward


@differentiable
def take_along_axis(x: Array, indices: Array, *, axis: int = -1) -> tuple[Array, Backward]:
    r"""Select along one axis by indices of their own for each row.

    .. math:: y_{ri} = x_{r\,j_{ri}}, \qquad
              \frac{\partial L}{\partial x_{rj}} = \sum_{i: j_{ri} = j} \frac{\partial L}{\partial y_{ri}}

    Parameters
    ----------
    x : array of shape (..., n, ...)
        What to select from.
    indices : integer array of shape (..., m, ...)
        Between -n and n - 1, negative ones from the end; in the other axes of the lengths of `x`.
    axis : int
        The axis.

    Returns
    -------
    array of the shape of `indices`
        The selected elements.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.take_along_axis(xp.asarray([[1.0, 2.0], [3.0, 4.0]]), xp.asarray([[1], [0]]))
    array([[2.],
           [3.]])
    """
    axis = normalize_axis(axis, x.ndim)
    shape = tuple(x.shape)
    length = shape[axis]
    indices = _from_the_start(plain(indices), length)
    y = namespace(x).take_along_axis(x, indices, axis=axis)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        backend = backend_of(indices)
        own = backend.xp
        columns = own.moveaxis(indices, axis, -1)
        rows, last = math.prod(columns.shape[:-1]), (*shape[:axis], *shape[axis + 1 :], length)
        numbers = own.arange(rows, dtype=columns.dtype, device=backend.device(columns))
        flat = own.reshape(columns, (rows, -1)) + own.expand_dims(numbers * length, axis=1)
        spread = scatter_add(
            xp.reshape(xp.moveaxis(dy, axis, -1), (-1,)), own.reshape(flat, (-1,)), length=rows * length
        )
        return xp.moveaxis(xp.reshape(spread, last), -1, axis), None

    return y, backward


@differentiable
def scatter_add(x: Array, indices: Array, *, length: int) -> tuple[Array, Backward]:
    r"""Add rows up at the places that indices name; what `take` along the first axis does, transposed.

    .. math:: y_j = \sum_{i: j_i = j} x_i, \qquad
              \frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y_{j_i}}

    Parameters
    ----------
    x : array of shape (n, ...)
        The rows to add up.
    indices : integer array of shape (n,)
        Where each row goes, from 0 to `length` - 1; negative ones count from the end.
    length : int
        How many sums there are.

    Returns
    -------
    array of shape (length, ...)
        Zero where no row goes.

    Notes
    -----
    The rows are sorted by index and added within each run of equal ones by doubling: log2(n) passes, no cancellation,
    and the same order of additions every time.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.scatter_add(xp.asarray([1.0, 2.0, 3.0]), xp.asarray([2, 0, 2]), length=3)
    array([2., 0., 4.])
    """
    indices = _from_the_start(plain(indices), length)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return take(dy, indices, axis=0), None

    count, rest = x.shape[0], tuple(x.shape[1:])
    if count == 0 or length == 0:
        empty = zeros((length, *rest), x)
        return empty, backward
    xp, backend = namespace(x), backend_of(indices)
    own = backend.xp
    order = own.argsort(indices, stable=True)
    keys = own.take(indices, order, axis=0)
    sums = xp.take(x, order, axis=0)
    shift = 1
    while shift < count:  # sums[i] covers the last `shift` rows of its run up to i
        same = own.reshape(keys[shift:] == keys[:-shift], (count - shift,) + (1,) * len(rest))
        earlier = xp.where(same, sums[: count - shift, ...], 0.0)
        sums = xp.concat([sums[:shift, ...], sums[shift:, ...] + earlier], axis=0)
        shift *= 2
    places = own.arange(length, dtype=indices.dtype, device=backend.device(indices))
    ends = own.searchsorted(keys, places, side="right")  # the last row of each run, counted from 1
    found = ends > own.searchsorted(keys, places, side="left")
    last = own.where(found, ends - 1, own.zeros_like(ends))
    total = xp.take(sums, last, axis=0)
    return xp.where(own.reshape(found, (length,) + (1,) * len(rest)), total, 0.0), backward


def sort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Sort along an axis; the gradient goes back to where the elements came from.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.sort(nn.get_backend("numpy").xp.asarray([3.0, 1.0, 2.0]))
    array([1., 2., 3.])
    """
    values = plain(x)
    backend = backend_of(values)
    with backend.scope():
        order = backend.xp.argsort(values, axis=axis, descending=descending, stable=stable)
    result: Array = take_along_axis(x, order, axis=axis)
    return result
