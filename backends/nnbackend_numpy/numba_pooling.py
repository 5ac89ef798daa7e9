"""Maxima of windows that tile the input, compiled by Numba: once over memory each way, to the bits of NumPy's calls.

The loops go over windows, their elements and lines of channels, which LLVM takes several at a time; where windows are
is worked out once for each shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from nnbackend.typing import Backward, Shape
from nnbackend_numpy import pooling
from nnbackend_numpy.pooling import Floats

__all__ = ["max_pool"]


def max_pool(
    x: Floats,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Floats, Backward]:
    """Take maxima of windows that neither overlap nor reach over the edges; others are left to the generic rule."""
    return pooling.maxima(x, pool_size, strides, padding, _largest, _claim)


def _largest(x: Floats, sizes: Sequence[int], y: Floats) -> None:
    x = np.ascontiguousarray(x)
    _maxima(*_rows(x, y), *_windows(x.shape, y.shape, tuple(sizes)))


def _claim(x: Floats, y: Floats, dy: Floats, sizes: Sequence[int], dx: Floats) -> None:
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    left = np.empty(x.shape[-1], dy.dtype)
    _gradients(*_rows(x, y, dy, dx), left, *_windows(x.shape, y.shape, tuple(sizes)))


def _rows(*arrays: Floats) -> list[Floats]:
    return [array.reshape(-1, array.shape[-1]) for array in arrays]


@functools.lru_cache(maxsize=64)
def _windows(shape: Shape, made: Shape, sizes: tuple[int, ...]) -> tuple[Floats, Floats, int, int]:
    """Return where windows are in the rows of x.

    How far their elements are from the first one, where the first windows of lines are, how many windows a line has,
    and how far they are apart.
    """
    elements = np.indices(sizes).reshape(len(sizes), -1)
    places: Floats = np.asarray(np.ravel_multi_index(tuple(elements), shape[1:-1]))
    lines = np.arange(math.prod(shape[:-2])).reshape(shape[:-2]) * shape[-2]
    every = (slice(0, count * size, size) for count, size in zip(made[1:-2], sizes[:-1], strict=True))
    return places, lines[(slice(None), *every)].reshape(-1), made[-2], sizes[-1]


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _maxima(x: Any, y: Any, places: Any, lines: Any, width: int, step: int) -> None:
    """Write the largest element of each window, or NaN where it has one."""
    channels = x.shape[1]
    for row in range(y.shape[0]):
        corner = lines[row // width] + row % width * step
        for c in range(channels):
            y[row, c] = x[corner, c]
        for tap in range(1, len(places)):
            place = corner + places[tap]
            for c in range(channels):
                value, most = x[place, c], y[row, c]
                y[row, c] = value if value > most or value != value else most


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _gradients(
    x: Any, y: Any, dy: Any, dx: Any, left: Any, places: Any, lines: Any, width: int, step: int
) -> None:
    """Give each window's gradient to the first of its equal maxima, or its first NaN."""
    channels, last = x.shape[1], len(places) - 1
    for row in range(y.shape[0]):
        corner = lines[row // width] + row % width * step
        for c in range(channels):
            left[c] = dy[row, c]
        for tap in range(last):
            place = corner + places[tap]
            for c in range(channels):
                value, rest = x[place, c], left[c]
                hit = value == y[row, c] or value != value
                dx[place, c] = rest if hit else 0.0
                left[c] = 0.0 if hit else rest
        place = corner + places[last]
        for c in range(channels):
            dx[place, c] = left[c]
