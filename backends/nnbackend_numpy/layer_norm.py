"""Layer normalisation in blocks of rows that stay in cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import nnbackend.functional.normalization as generic
from nnbackend.typing import Backward
from nnbackend_numpy import normalization
from nnbackend_numpy.recording import native_where
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["along_rows", "standardize", "takes"]

#: Elements of a block: four of them, as are read and written at a time, fit into a second level of cache of 1 MiB.
BLOCK = 1 << 16
#: Elements from which rows are gone over here.
SMALLEST = 1 << 14
#: Columns up to which the sums of a row are taken in one go, and from which a row is worth a call of BLAS.
WIDEST, NARROWEST = 1 << 12, 8
#: How much larger squares may be than those around the mean: two bits of the variance.
SPREAD = 4.0
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]


def takes(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    mask: Any = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> bool:
    """Tell whether there is a better way than the generic rule."""
    if not along_rows(x, mask, axis):
        return True
    width = x.shape[-1]
    parameters = [parameter for parameter in (gamma, beta) if parameter is not None]
    return (
        x.dtype in _FLOATS
        and x.size >= SMALLEST
        and NARROWEST <= width <= WIDEST
        and all(p.dtype == x.dtype and p.size == width == p.shape[-1] for p in parameters if p.ndim)
        and all(0 < parameter.ndim <= x.ndim for parameter in parameters)
    )


def along_rows(x: Any, mask: Any, axis: int | tuple[int, ...]) -> bool:
    """Tell whether it is the last axis alone that is standardised over."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return mask is None and x.ndim > 1 and axes in ((-1,), (x.ndim - 1,))


@native_where(takes, generic.standardize.function)
def standardize(
    x: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
    mask: Floats | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> tuple[tuple[Floats, Floats, Floats], Backward]:
    """Standardise along rows, with sums as products and without arrays of one number for each row between.

    Sums along a row are products of BLAS with ones or gamma. What NumPy would spread from one number for each row, in a
    call of its inner loop for each, comes as products of two columns with two rows: y is x times one of them plus
    another. Rows whose mean is large beside their deviation are centred first, as in the generic rule, so that a mean
    of ten thousand costs no digits.
    """
    if not along_rows(x, mask, axis):
        return normalization.standardize(x, gamma, beta, mask, axis=axis, epsilon=epsilon)
    rows = _Rows(x, gamma, beta, float(epsilon))

    def backward(gradients: tuple[Any, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not all(isinstance(gradient, np.ndarray) and gradient.dtype == x.dtype for gradient in gradients):
            rule = generic.standardize.function(x, gamma, beta, mask, axis=axis, epsilon=epsilon)
            way_back: tuple[Any, ...] = rule[1](gradients, needs)
            return way_back
        dx, dgamma, dbeta = rows.gradients(*gradients)
        return (
            dx if needs[0] else None,
            dgamma.reshape(gamma.shape) if needs[1] and gamma is not None else None,
            dbeta.reshape(beta.shape) if needs[2] and beta is not None else None,
            None,
        )

    return rows.standardized(), backward


class _Rows:
    """An array of rows, each of which is standardised; what is known of each is kept for the way back."""

    def __init__(self, x: Floats, gamma: Floats | None, beta: Floats | None, epsilon: float) -> None:
        self._shape, width = x.shape, x.shape[-1]
        self._x = np.ascontiguousarray(x).reshape(-1, width)
        self._gamma = np.ones(width, x.dtype) if gamma is None else gamma.reshape(-1)
        self._epsilon = epsilon
        count = len(self._x)
        self._shift: Floats | None = None  # taken from every row, where a mean is large
        self._centre, self._r = np.empty((2, count), x.dtype)
        self._step = min(count, max(1, BLOCK // width))
        self._starts = range(0, count, self._step)
        self._share = np.full(width, 1.0 / width, x.dtype)
        nothing = np.zeros(width, x.dtype)
        self._alone = np.stack([self._gamma, nothing])  # what a column is spread with, and with a second one
        self._affine = np.stack([self._gamma, nothing if beta is None else beta.reshape(-1)])
        self._plain = np.stack([np.ones(width, x.dtype), nothing])

    def _scratch(self, name: str, *shape: int) -> Floats:
        return _workspaces.array(name, shape, self._x.dtype)

    def standardized(self) -> tuple[Floats, Floats, Floats]:
        """Return y, mean and variance."""
        y, count = np.empty_like(self._x), len(self._x)
        mean, variance = np.empty((2, count), y.dtype)
        shift = np.zeros(count, y.dtype)

        def work(starts: Iterable[int]) -> None:
            for start in starts:
                rows = slice(start, min(start + self._step, count))
                x, out = self._x[rows], y[rows]
                centre, square = mean[rows], self._scratch("square", len(x))
                self._moments(x, centre, square, variance[rows], out)
                if not (square <= SPREAD * variance[rows]).all():
                    shift[rows] = centre
                    x = np.subtract(x, shift[rows, np.newaxis], out=self._scratch("centred", *x.shape))
                    self._moments(x, centre, square, variance[rows], out)
                r = np.divide(1.0, np.sqrt(variance[rows] + self._epsilon), out=self._r[rows])
                self._centre[rows] = centre
                pair, factor = self._scratch("pair", len(x), 2), self._scratch("factor", *x.shape)
                pair[:, 0], pair[:, 1] = r, 0.0
                np.multiply(x, np.matmul(pair, self._alone, out=factor), out=out)
                np.multiply(centre, -r, out=pair[:, 0])
                pair[:, 1] = 1.0
                np.add(out, np.matmul(pair, self._affine, out=factor), out=out)
                np.add(centre, shift[rows], out=centre)

        spread(self._starts, work)
        if shift.any():
            self._shift = shift
        kept = (*self._shape[:-1], 1)
        return y.reshape(self._shape), mean.reshape(kept), variance.reshape(kept)

    def _moments(self, x: Floats, mean: Floats, square: Floats, variance: Floats, memory: Floats) -> None:
        """Write the mean of each row, of its squares, and its variance."""
        np.dot(x, self._share, out=mean)
        np.dot(np.square(x, out=memory), self._share, out=square)
        np.maximum(np.subtract(square, mean * mean, out=variance), 0.0, out=variance)

    def gradients(self, dy: Floats, by_mean: Floats, by_variance: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the gradients of x, gamma and beta.

        With g = gamma dy, a and b the means of g and g z, and z = (x - mean) r, that of x is r (g - a - z b), which is
        dy (r gamma) + x p + q with one p and one q for each row.
        """
        dy, dx, width = (
            np.ascontiguousarray(dy).reshape(self._x.shape),
            np.empty_like(self._x),
            self._x.shape[1],
        )
        by_mean, by_variance = by_mean.reshape(-1) / width, by_variance.reshape(-1) * (2.0 / width)
        weights = self._gamma * self._share
        parts = np.empty((len(self._starts), 3, width), dx.dtype)

        def work(starts: Iterable[int]) -> None:
            for start in starts:
                rows = slice(start, min(start + self._step, len(dx)))
                x, slope, out = self._x[rows], dy[rows], dx[rows]
                if self._shift is not None:
                    centred = self._scratch("centred", *x.shape)
                    x = np.subtract(x, self._shift[rows, np.newaxis], out=centred)
                centre, r = self._centre[rows], self._r[rows]
                product = np.multiply(slope, x, out=self._scratch("product", *x.shape))
                part = parts[start // self._step]
                np.dot(r, product, out=part[0])
                columns = self._scratch("columns", 2, len(x))
                np.multiply(centre, r, out=columns[0])
                columns[1] = 1.0
                np.matmul(columns, slope, out=part[1:])
                a = np.dot(slope, weights)
                b = (np.dot(product, weights) - centre * a) * r
                pair, factor = self._scratch("pair", len(x), 2), self._scratch("factor", *x.shape)
                pair[:, 0], pair[:, 1] = r, 0.0
                np.multiply(slope, np.matmul(pair, self._alone, out=factor), out=out)
                p = by_variance[rows] - r * r * b
                pair[:, 0] = p
                np.multiply(x, np.matmul(pair, self._plain, out=factor), out=product)
                np.add(out, product, out=out)
                pair[:, 0] = by_mean[rows] - r * a - p * centre
                np.add(out, np.matmul(pair, self._plain, out=factor), out=out)

        spread(self._starts, work)
        along, with_mean, total = parts.sum(axis=0, dtype=np.float64)
        dgamma, dbeta = (along - with_mean).astype(dx.dtype), total.astype(dx.dtype)
        return dx.reshape(self._shape), dgamma, dbeta
