"""Maxima of windows that tile the input, a few images at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import nnbackend.functional.pooling as generic
from nnbackend.typing import Backward
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["max_pool"]

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
    space = generic._space("max_pool", tuple(x.shape))
    windows = generic._sliding("max_pool", space, pool_size, strides, padding)
    tiles = all(w.stride == w.size and w.before == 0 and w.count * w.size <= w.length for w in windows)
    if not (tiles and x.size and x.dtype in (np.float32, np.float64)):
        return generic.max_pool.function(x, pool_size=pool_size, strides=strides, padding=padding)
    sizes = [w.size for w in windows]
    together = max(1, PIECE * len(x) // x.nbytes)
    pieces = [slice(start, start + together) for start in range(0, len(x), together)]
    y = np.empty((len(x), *(w.count for w in windows), x.shape[-1]), x.dtype)

    def take(some: Iterable[slice]) -> None:
        for piece in some:
            _largest(x[piece], sizes, y[piece])

    spread(pieces, take)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not isinstance(dy, np.ndarray) or dy.dtype != x.dtype:
            rule = generic.max_pool.function(x, pool_size=pool_size, strides=strides, padding=padding)
            way_back: tuple[Any, ...] = rule[1](dy, needs)
            return way_back
        covered = all(w.count * w.size == w.length for w in windows)
        dx = np.empty(x.shape, x.dtype) if covered else np.zeros(x.shape, x.dtype)

        def give(some: Iterable[slice]) -> None:
            for piece in some:
                _claim(x[piece], y[piece], dy[piece], sizes, dx[piece])

        spread(pieces, give)
        return (dx,)

    return y, backward


def _along(axis: int, counts: Sequence[int], sizes: Sequence[int], tap: int) -> tuple[slice, ...]:
    """Return the key of one element of every window along an axis of space."""
    last = tap + (counts[axis] - 1) * sizes[axis] + 1
    return (*(slice(None),) * (axis + 1), slice(tap, last, sizes[axis]))


def _largest(x: Floats, sizes: Sequence[int], y: Floats) -> None:
    """Write the largest element of each window into y, along one axis after the other, the last one first."""
    counts = y.shape[1:-1]
    for axis in reversed(range(len(sizes))):
        taps = [x[_along(axis, counts, sizes, tap)] for tap in range(sizes[axis])]
        out = y if axis == 0 else _workspaces.array(f"stage {axis}", taps[0].shape, x.dtype)
        np.maximum(taps[0], taps[-1], out=out)
        for tap in taps[1:-1]:
            np.maximum(out, tap, out=out)
        x = out


def _claim(x: Floats, y: Floats, dy: Floats, sizes: Sequence[int], dx: Floats) -> None:
    """Give each window's gradient to the first of its equal maxima, or its first NaN.

    It is done on the bits, since a product with zero would not be zero for an infinite gradient, and choosing element
    by element takes several times as long.
    """
    bits = np.dtype(f"u{x.dtype.itemsize}")
    left = _workspaces.array("left", dy.shape, dy.dtype)
    left[...] = dy
    left = left.view(bits)
    hit = _workspaces.array("hit", dy.shape, np.bool_)
    broken = bool(np.isnan(y).any())
    counts = y.shape[1:-1]
    *places, last = (
        tuple(_along(axis, counts, sizes, number)[-1] for axis, number in enumerate(tap))
        for tap in itertools.product(*map(range, sizes))
    )
    for place in places:
        tap, gradient = x[(slice(None), *place)], dx.view(bits)[(slice(None), *place)]
        np.equal(tap, y, out=hit)
        if broken:
            hit |= np.isnan(tap)
        np.multiply(left, hit, out=gradient)
        np.bitwise_xor(left, gradient, out=left)
    dx.view(bits)[(slice(None), *last)] = left
