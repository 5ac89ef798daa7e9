"""Batch normalisation in blocks that stay in cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import nnbackend.functional.normalization as generic
from nnbackend.typing import Backward
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["standardize"]

#: Elements of a block: a few of them should stay in the second level of cache.
BLOCK = 1 << 16
#: Elements of a line, of as many positions as fit: NumPy is slow at broadcasting a short last axis.
LINE = 1 << 10

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
    """Standardise float32 over all axes but the last, in three passes over x and none over anything as large.

    The sums are those of the generic rule: rows of ones times what is left of x after a shift, in float32 within a
    block and in float64 over blocks, so that a mean of ten thousand costs no digits.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    over_positions = sorted(a % x.ndim for a in axes) == list(range(x.ndim - 1)) if x.ndim > 1 else False
    if not (over_positions and mask is None and x.size and _plain(x, gamma, beta)):
        return generic.standardize.function(x, gamma, beta, mask, axis=axis, epsilon=epsilon)
    lines = _Lines(np.ascontiguousarray(x))
    count = float(x.size // x.shape[-1])
    start = lines.means_of_first()
    exact = start + lines.sums(start) / count
    mean = exact.astype(x.dtype)
    rest = exact - mean
    variance = lines.squares(mean) / count - rest**2
    factor = 1.0 / np.sqrt(variance + epsilon)
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


class _Lines:
    """An array (..., channels) as lines of a few positions each, gone over in blocks of lines."""

    def __init__(self, x: Floats) -> None:
        self._shape, self._channels = x.shape, x.shape[-1]
        positions = x.size // self._channels
        together = math.gcd(positions, 1 << max(LINE // self._channels, 1).bit_length() - 1)
        self._x = x.reshape(-1, together * self._channels)

    def _blocks(self) -> Iterator[tuple[slice, Floats, Floats]]:
        """Yield the lines of each block, memory of their size, and as many ones."""
        count, width = self._x.shape
        step = min(count, max(1, BLOCK // width))
        memory = _workspaces.array("block", (step, width), self._x.dtype)
        ones = np.ones(step, self._x.dtype)
        for start in range(0, count, step):
            lines = slice(start, min(start + step, count))
            yield lines, memory[: lines.stop - start], ones[: lines.stop - start]

    def _drawn_out(self, statistic: Floats) -> Floats:
        """Repeat one number for each channel along a line."""
        return np.tile(statistic.astype(self._x.dtype), self._x.shape[1] // self._channels)

    def _by_channel(self, sums: Floats) -> Floats:
        return sums.reshape(-1, self._channels).sum(axis=0)

    def means_of_first(self) -> Floats:
        """Return the means of the first block, a shift that makes the sums of all small; of the dtype of x."""
        lines, _, _ = next(self._blocks())
        rows = self._x[lines].reshape(-1, self._channels)
        return rows.mean(axis=0, dtype=np.float64).astype(self._x.dtype)

    def sums(self, shift: Floats) -> Floats:
        """Sum x - shift over positions."""
        shift, total = self._drawn_out(shift), np.zeros(self._x.shape[1])
        for lines, left, ones in self._blocks():
            np.subtract(self._x[lines], shift, out=left)
            total += ones @ left
        return self._by_channel(total)

    def squares(self, mean: Floats) -> Floats:
        """Sum (x - mean)^2 over positions."""
        mean, total = self._drawn_out(mean), np.zeros(self._x.shape[1])
        for lines, left, ones in self._blocks():
            np.subtract(self._x[lines], mean, out=left)
            total += ones @ np.square(left, out=left)
        return self._by_channel(total)

    def scaled(self, mean: Floats, scale: Floats, offset: Floats) -> Floats:
        """Return (x - mean) scale + offset."""
        mean, scale, offset = map(self._drawn_out, (mean, scale, offset))
        y = np.empty_like(self._x)
        for lines, _, _ in self._blocks():
            out = y[lines]
            np.subtract(self._x[lines], mean, out=out)
            np.multiply(out, scale, out=out)
            np.add(out, offset, out=out)
        return y.reshape(self._shape)

    def products(self, dy: Floats, mean: Floats) -> tuple[Floats, Floats]:
        """Sum dy and dy (x - mean) over positions."""
        dy, mean = dy.reshape(self._x.shape), self._drawn_out(mean)
        total, along = np.zeros(self._x.shape[1]), np.zeros(self._x.shape[1])
        for lines, left, ones in self._blocks():
            np.subtract(self._x[lines], mean, out=left)
            np.multiply(left, dy[lines], out=left)
            total += ones @ dy[lines]
            along += ones @ left
        return self._by_channel(total), self._by_channel(along)

    def combined(self, dy: Floats, mean: Floats, scale: Floats, by_x: Floats, constant: Floats) -> Floats:
        """Return dy scale + (x - mean) by_x + constant."""
        dy, dx = dy.reshape(self._x.shape), np.empty_like(self._x)
        mean, scale, by_x, constant = map(self._drawn_out, (mean, scale, by_x, constant))
        for lines, left, _ in self._blocks():
            out = dx[lines]
            np.subtract(self._x[lines], mean, out=left)
            np.multiply(left, by_x, out=left)
            np.add(left, constant, out=left)
            np.multiply(dy[lines], scale, out=out)
            np.add(out, left, out=out)
        return dx.reshape(self._shape)
