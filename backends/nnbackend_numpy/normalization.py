"""Batch normalisation in blocks that stay in cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import nnbackend.functional.normalization as generic
from nnbackend.typing import Backward
from nnbackend_numpy.leases import fresh
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["Lines", "standardize", "standardized"]

#: Elements of a block: a few of them should stay in the second level of cache.
BLOCK = 1 << 16
#: Elements of a line, of as many positions as fit: NumPy is slow at broadcasting a short last axis.
LINE = 1 << 10
#: How much larger squares around a shift may be than around the mean: two bits of the variance.
SPREAD = 4.0
#: How many deviations a mean may be away from zero to be left in x: one bit of the result.
NEAR = 2.0

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]


def standardize(
    x: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
    mask: Floats | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> tuple[tuple[Floats, Floats, Floats], Backward]:
    """Standardise float32 over all axes but the last, as calls of NumPy on lines."""
    return standardized(x, gamma, beta, mask, axis=axis, epsilon=epsilon, lines_of=Lines)


def standardized(
    x: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
    mask: Floats | None = None,
    *,
    axis: int | tuple[int, ...],
    epsilon: float,
    lines_of: Callable[[Floats], Lines],
) -> tuple[tuple[Floats, Floats, Floats], Backward]:
    """Standardise float32 over all axes but the last, in two passes over x forwards and two backwards.

    The sums are those of the generic rule: rows of ones times what is left of x after a shift, in float32 within a
    block and in float64 over blocks, so that a mean of ten thousand costs no digits. The shift is the mean of the first
    block, or zero where that is small; where it is far from the mean of all, a third pass takes the sums again. A mean
    that is small beside the deviation is not taken from each element, but from the offset that is added to it.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    over_positions = sorted(a % x.ndim for a in axes) == list(range(x.ndim - 1)) if x.ndim > 1 else False
    if not (over_positions and mask is None and x.size and _plain(x, gamma, beta)):
        return generic.standardize.function(x, gamma, beta, mask, axis=axis, epsilon=epsilon)
    lines = lines_of(np.ascontiguousarray(x))
    count = float(x.size // x.shape[-1])
    exact, square, variance = _moments(lines, lines.shift_of_first(), count)
    if _far(square, variance):  # the first block told little of the others
        exact, square, variance = _moments(lines, exact.astype(x.dtype), count)
    factor = 1.0 / np.sqrt(variance + epsilon)
    mean = None if (np.abs(exact) * factor <= NEAR).all() else exact.astype(x.dtype)
    rest = exact if mean is None else exact - mean
    scale = factor if gamma is None else factor * gamma.reshape(-1)
    y = lines.scaled(mean, scale, (0.0 if beta is None else beta.reshape(-1)) - rest * scale)

    def backward(gradients: tuple[Any, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, by_mean, by_variance = gradients
        if not all(isinstance(gradient, np.ndarray) and gradient.dtype == x.dtype for gradient in gradients):
            rule = generic.standardize.function(x, gamma, beta, mask, axis=axis, epsilon=epsilon)
            way_back: tuple[Any, ...] = rule[1](gradients, needs)
            return way_back
        dy = np.ascontiguousarray(dy)
        total, with_x = lines.products(dy, mean)
        along = (with_x - rest * total) * factor  # the sum of dy z
        dgamma = along.astype(x.dtype).reshape(gamma.shape) if needs[1] and gamma is not None else None
        dbeta = total.astype(x.dtype).reshape(beta.shape) if needs[2] and beta is not None else None
        if not needs[0]:
            return None, dgamma, dbeta, None
        by_x = (by_variance.reshape(-1) * 2.0 - factor * scale * along) / count
        constant = (by_mean.reshape(-1) - scale * total) / count - by_x * rest
        return lines.combined(dy, mean, scale, by_x, constant), dgamma, dbeta, None

    kept = (*(1,) * (x.ndim - 1), x.shape[-1])
    return (y, exact.astype(x.dtype).reshape(kept), variance.astype(x.dtype).reshape(kept)), backward


def _moments(lines: Lines, shift: Floats | None, count: float) -> tuple[Floats, Floats, Floats]:
    """Return the mean of x, that of (x - shift)^2, and the variance, in float64."""
    moved, square, variance = _of_sums(*lines.moments(shift), count)
    return (moved if shift is None else shift + moved), square, variance


def _of_sums(total: Floats, squares: Floats, count: float) -> tuple[Floats, Floats, Floats]:
    """Return the mean, that of the squares, and the variance of so many numbers."""
    mean, square = total / count, squares / count
    return mean, square, np.maximum(square - mean**2, 0.0)


def _far(square: Floats, variance: Floats) -> bool:
    """Tell whether squares are so much larger than the variance that digits of it are lost, or all of them."""
    return bool(((square > SPREAD * variance) | np.isinf(square)).any())


def _plain(x: Floats, *parameters: Floats | None) -> bool:
    """Tell whether all are float32, and parameters have one number for each channel."""
    given = [parameter for parameter in parameters if parameter is not None]
    shapes = {
        math.prod(parameter.shape) == parameter.shape[-1] == x.shape[-1]
        for parameter in given
        if parameter.ndim
    }
    fit = shapes <= {True} and all(0 < parameter.ndim <= x.ndim for parameter in given)
    return fit and all(array.dtype == np.float32 for array in (x, *given))


class Lines:
    """An array (..., channels) as lines of a few positions each, gone over in blocks of lines."""

    def __init__(self, x: Floats) -> None:
        self._shape, self._channels = x.shape, x.shape[-1]
        positions = x.size // self._channels
        together = math.gcd(positions, 1 << max(LINE // self._channels, 1).bit_length() - 1)
        self._x = x.reshape(-1, together * self._channels)

        count, width = self._x.shape
        step = min(count, max(1, BLOCK // width))
        self._step, self._starts = step, range(0, count, step)
        self._ones = np.ones(step, self._x.dtype)

    def _each(self, work: Callable[[slice, Floats], None]) -> None:
        """Work on the lines of each block, with memory of their size."""

        def some(starts: Iterable[int]) -> None:
            memory = _workspaces.array("block", (self._step, self._x.shape[1]), self._x.dtype)
            for start in starts:
                lines = slice(start, min(start + self._step, len(self._x)))
                work(lines, memory[: lines.stop - start])

        spread(self._starts, some)

    def _totals(self, work: Callable[[slice, Floats, Floats, Floats], None]) -> tuple[Floats, Floats]:
        """Return two sums for each channel; `work` writes those of the columns of a block."""
        parts = np.empty((2, len(self._starts), self._x.shape[1]), self._x.dtype)

        def block(lines: slice, memory: Floats) -> None:
            work(lines, memory, *parts[:, lines.start // self._step])

        self._each(block)
        first, second = (np.add.reduce(part, axis=0, dtype=np.float64) for part in parts)
        return self._by_channel(first), self._by_channel(second)

    def _add_up(self, rows: Floats, out: Floats) -> None:
        np.matmul(self._ones[: len(rows)], rows, out=out)

    def _less(self, lines: slice, center: Floats | None, out: Floats) -> Floats:
        """Return lines of x less a center, in the memory given unless it is zero."""
        return self._x[lines] if center is None else np.subtract(self._x[lines], center, out=out)

    def _drawn_out(self, statistic: Floats) -> Floats:
        """Repeat one number for each channel along a line."""
        return np.tile(statistic.astype(self._x.dtype), self._x.shape[1] // self._channels)

    def _center(self, center: Floats | None) -> Floats | None:
        return None if center is None else self._drawn_out(center)

    def _by_channel(self, sums: Floats) -> Floats:
        return sums.reshape(-1, self._channels).sum(axis=0)

    def shift_of_first(self) -> Floats | None:
        """Return the means of the first block, a shift that makes the sums of all small; None if they are already."""
        rows = self._x[: self._step]
        sums = np.empty((2, rows.shape[1]), rows.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # these are then not small
            self._add_moments(rows, _workspaces.array("block", rows.shape, rows.dtype), *sums)
            total, squares = map(self._by_channel, sums.astype(np.float64))
            _, square, variance = _of_sums(total, squares, rows.size / self._channels)
            if not _far(square, variance):
                return None
        means: Floats = rows.reshape(-1, self._channels).mean(axis=0, dtype=np.float64)
        return means.astype(rows.dtype)

    def moments(self, shift: Floats | None) -> tuple[Floats, Floats]:
        """Sum x - shift and its squares over positions."""
        center = self._center(shift)

        def work(lines: slice, left: Floats, total: Floats, squares: Floats) -> None:
            self._add_moments(self._less(lines, center, left), left, total, squares)

        return self._totals(work)

    def _add_moments(self, rows: Floats, memory: Floats, total: Floats, squares: Floats) -> None:
        self._add_up(rows, total)
        self._add_up(np.square(rows, out=memory), squares)

    def scaled(self, mean: Floats | None, scale: Floats, offset: Floats) -> Floats:
        """Return (x - mean) scale + offset."""
        center, scale, offset = self._center(mean), self._drawn_out(scale), self._drawn_out(offset)
        y = fresh(self._x.shape, self._x.dtype, 1)

        def work(lines: slice, left: Floats) -> None:
            out = y[lines]
            np.multiply(self._less(lines, center, out), scale, out=out)
            np.add(out, offset, out=out)

        self._each(work)
        return y.reshape(self._shape)

    def products(self, dy: Floats, mean: Floats | None) -> tuple[Floats, Floats]:
        """Sum dy and dy (x - mean) over positions."""
        dy, center = dy.reshape(self._x.shape), self._center(mean)

        def work(lines: slice, left: Floats, total: Floats, along: Floats) -> None:
            np.multiply(self._less(lines, center, left), dy[lines], out=left)
            self._add_up(dy[lines], total)
            self._add_up(left, along)

        return self._totals(work)

    def combined(
        self, dy: Floats, mean: Floats | None, scale: Floats, by_x: Floats, constant: Floats
    ) -> Floats:
        """Return dy scale + (x - mean) by_x + constant."""
        dy, center = dy.reshape(self._x.shape), self._center(mean)
        dx = fresh(self._x.shape, self._x.dtype, 2)
        scale, by_x, constant = map(self._drawn_out, (scale, by_x, constant))

        def work(lines: slice, left: Floats) -> None:
            out = dx[lines]
            np.multiply(self._less(lines, center, left), by_x, out=left)
            np.add(left, constant, out=left)
            np.multiply(dy[lines], scale, out=out)
            np.add(out, left, out=out)

        self._each(work)
        return dx.reshape(self._shape)
