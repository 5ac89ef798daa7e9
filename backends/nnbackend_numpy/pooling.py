"""Means of windows, and maxima of windows that tile the input, a few images at a time."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import nnbackend.functional.pooling as generic
from nnbackend.functional.pooling import _Sliding
from nnbackend.typing import Backward, Shape
from nnbackend_numpy.leases import fresh
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["adaptive_average_pool", "average_pool", "max_pool", "maxima"]

#: Bytes of input at a time; with what is made of it, it should stay in the second level of cache.
PIECE = 512 << 10

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]


def max_pool(
    x: Floats,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Floats, Backward]:
    """Take maxima of windows that neither overlap nor reach over the edges; others are left to the generic rule."""
    return maxima(x, pool_size, strides, padding, _largest, _claim)


def maxima(
    x: Floats,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None,
    padding: str,
    largest: Callable[..., None],
    claim: Callable[..., None],
) -> tuple[Floats, Backward]:
    """Compute `max_pool` with what takes maxima of some images, and what brings gradients to where they came from.

    Parameters
    ----------
    x, pool_size, strides, padding
        The arguments of the rule.
    largest : callable
        Writes the maxima of images x of windows of some sizes: ``largest(x, sizes, y)``.
    claim : callable
        Writes the gradients of these images: ``claim(x, y, dy, sizes, dx)``; where no window lies, dx is zero already.
    """
    space = generic._space("max_pool", tuple(x.shape))
    windows = generic._sliding("max_pool", space, pool_size, strides, padding)
    tiles = all(w.stride == w.size and w.before == 0 and w.count * w.size <= w.length for w in windows)
    if not (tiles and x.size and x.dtype in (np.float32, np.float64)):
        return generic.max_pool.function(x, pool_size=pool_size, strides=strides, padding=padding)
    sizes = [w.size for w in windows]
    pieces = _pieces(x.shape, x.dtype)
    y = fresh((len(x), *(w.count for w in windows), x.shape[-1]), x.dtype, 1)

    def take(some: Iterable[slice]) -> None:
        for piece in some:
            largest(x[piece], sizes, y[piece])

    spread(pieces, take)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not isinstance(dy, np.ndarray) or dy.dtype != x.dtype:
            rule = generic.max_pool.function(x, pool_size=pool_size, strides=strides, padding=padding)
            way_back: tuple[Any, ...] = rule[1](dy, needs)
            return way_back
        covered = all(w.count * w.size == w.length for w in windows)
        dx = fresh(x.shape, x.dtype, 2) if covered else np.zeros(x.shape, x.dtype)

        def give(some: Iterable[slice]) -> None:
            for piece in some:
                claim(x[piece], y[piece], dy[piece], sizes, dx[piece])

        spread(pieces, give)
        return (dx,)

    return y, backward


def average_pool(
    x: Floats,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Floats, Backward]:
    """Take means of windows, which may overlap and reach over the edges."""
    space = generic._space("average_pool", tuple(x.shape))
    return _average_over(x, generic._sliding("average_pool", space, pool_size, strides, padding))


def adaptive_average_pool(x: Floats, *, output_size: int | Sequence[int]) -> tuple[Floats, Backward]:
    """Take means of windows of one length; where their lengths differ, the generic rule does."""
    windows = generic._adaptive("adaptive_average_pool", tuple(x.shape), output_size)
    alike = [window for window in windows if isinstance(window, _Sliding)]
    return _average_over(x, alike) if len(alike) == len(windows) else generic._average_over(x, windows)


def _average_over(x: Floats, windows: Sequence[_Sliding]) -> tuple[Floats, Backward]:
    """Return the mean of the elements of each window, and the way back."""
    if not (x.size and x.dtype in (np.float32, np.float64)):
        return generic._average_over(x, windows)
    shape, dtype = x.shape, x.dtype
    pieces, counts = _pieces(shape, dtype), _counts(x, windows)
    y = fresh((len(x), *(w.count for w in windows), shape[-1]), dtype, 1)

    def take(some: Iterable[slice]) -> None:
        for piece in some:
            _add_up(x[piece], windows, y[piece])
            np.divide(y[piece], counts, out=y[piece])

    spread(pieces, take)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not isinstance(dy, np.ndarray) or dy.dtype != dtype:
            # it depends on the input's shape alone
            way_back: tuple[Any, ...] = generic._average_over(np.zeros(shape, dtype), windows)[1](dy, needs)
            return way_back
        dx = fresh(shape, dtype, 2)

        def give(some: Iterable[slice]) -> None:
            for piece in some:
                share = _workspaces.array("share", dy[piece].shape, dtype)
                _give_back(np.divide(dy[piece], counts, out=share), windows, dx[piece])

        spread(pieces, give)
        return (dx,)

    return y, backward


def _pieces(shape: Shape, dtype: Any) -> list[slice]:
    """Cut images into pieces of about PIECE bytes, by their shape alone."""
    together = max(1, PIECE // (math.prod(shape[1:]) * dtype.itemsize))
    return [slice(start, start + together) for start in range(0, shape[0], together)]


def _counts(x: Floats, windows: Sequence[_Sliding]) -> Any:
    """Return how many elements each window has: one number, or one for each element of an image of means."""
    counts: Any = 1.0
    for axis, window in enumerate(windows, start=1):
        counts = counts * window.counts(x, axis, x.ndim)
    if isinstance(counts, float):
        return counts
    # along channels as well: NumPy is slow at broadcasting a last axis
    return np.ascontiguousarray(np.broadcast_to(counts, (1, *(w.count for w in windows), x.shape[-1])))


def _met(window: _Sliding, axis: int, tap: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the keys of the windows whose element `tap` lies inside, and of these elements."""
    first = max(0, -(-(window.before - tap) // window.stride))
    end = max(first, min(window.count, (window.length - 1 + window.before - tap) // window.stride + 1))
    start = first * window.stride + tap - window.before
    stop = start + (end - first - 1) * window.stride + 1 if end > first else start
    whole = (slice(None),) * axis
    return (*whole, slice(first, end)), (*whole, slice(start, stop, window.stride))


def _add_up(x: Floats, windows: Sequence[_Sliding], y: Floats) -> None:
    """Write the sum of each window into y, along the first axis of space first, whose lines are long."""
    for axis, window in enumerate(windows, start=1):
        shape = (*x.shape[:axis], window.count, *x.shape[axis + 1 :])
        out = y if axis == len(windows) else _workspaces.array(f"stage {axis}", shape, x.dtype)
        met = [_met(window, axis, tap) for tap in range(window.size)]
        all_windows = [elements for some, elements in met if some[axis] == slice(0, window.count)]
        if len(all_windows) > 1:
            np.add(x[all_windows[0]], x[all_windows[1]], out=out)
            left = [(some, elements) for some, elements in met if elements not in all_windows[:2]]
        else:
            out[...] = 0.0
            left = met
        for some, elements in left:
            np.add(out[some], x[elements], out=out[some])
        x = out


def _give_back(share: Floats, windows: Sequence[_Sliding], dx: Floats) -> None:
    """Add up in each element of dx the shares of the windows that it lies in, along the last axis of space first."""
    for axis in range(len(windows), 0, -1):
        window = windows[axis - 1]
        shape = (*share.shape[:axis], window.length, *share.shape[axis + 1 :])
        out = dx if axis == 1 else _workspaces.array(f"stage {axis}", shape, dx.dtype)
        reached = window.count * window.stride - window.before if window.size >= window.stride else 0
        if reached < window.length:
            out[...] = 0.0  # where none of the first taps lies
        for tap in range(window.size):
            some, elements = _met(window, axis, tap)
            if tap < window.stride:  # these are the first ones that come to their elements
                out[elements] = share[some]
            else:
                np.add(out[elements], share[some], out=out[elements])
        share = out


def _along(axis: int, counts: Sequence[int], sizes: Sequence[int], tap: int) -> tuple[slice, ...]:
    """Return the key of one element of every window along an axis of space."""
    last = tap + (counts[axis] - 1) * sizes[axis] + 1
    return (*(slice(None),) * (axis + 1), slice(tap, last, sizes[axis]))


@functools.lru_cache(maxsize=64)
def _places(counts: Shape, sizes: Shape) -> list[tuple[slice, ...]]:
    """Return the keys of the elements of all windows, the first ones first."""
    return [
        (slice(None), *(_along(axis, counts, sizes, number)[-1] for axis, number in enumerate(tap)))
        for tap in itertools.product(*map(range, sizes))
    ]


def _largest(x: Floats, sizes: Sequence[int], y: Floats) -> None:
    """Write the largest element of each window into y, along one axis after the other.

    The last axis comes last, when there is least to do: elements of windows lie apart along it, and runs are short.
    """
    counts = y.shape[1:-1]
    for axis in range(len(sizes)):
        taps = [x[_along(axis, counts, sizes, tap)] for tap in range(sizes[axis])]
        last = axis == len(sizes) - 1
        out = y if last else _workspaces.array(f"stage {axis}", taps[0].shape, x.dtype)
        np.maximum(taps[0], taps[-1], out=out)
        for tap in taps[1:-1]:
            np.maximum(out, tap, out=out)
        x = out


def _claim(x: Floats, y: Floats, dy: Floats, sizes: Sequence[int], dx: Floats) -> None:
    """Give each window's gradient to the first of its equal maxima, or its first NaN.

    It is done on the bits, since a product with zero would not be zero for an infinite gradient, and choosing element
    by element takes several times as long.
    """
    places = _places(y.shape[1:-1], tuple(sizes))
    broken = bool(np.isnan(y.max()))
    hits = _workspaces.array("hits", (len(places), *dy.shape), np.bool_)
    for place, hit in zip(places[:-1], hits, strict=False):
        np.equal(x[place], y, out=hit)
        if broken:
            hit |= np.isnan(x[place])
    hits[-1] = True  # of what no other one takes
    for before, hit in itertools.pairwise(hits[:-1]):
        np.logical_or(before, hit, out=hit)
    for before, hit in reversed(list(itertools.pairwise(hits))):
        np.greater(hit, before, out=hit)
    bits = np.dtype(f"u{x.dtype.itemsize}")
    dx, dy = dx.view(bits), dy.view(bits)
    for place, hit in zip(places, hits, strict=True):
        np.multiply(dy, hit, out=dx[place])
