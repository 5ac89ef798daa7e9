"""Attention image by image, so that the scores of its heads stay in cache, in few passes over them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

import nnbackend.functional.attention as generic
from nnbackend.typing import Backward
from nnbackend_numpy.leases import Lease, lender
from nnbackend_numpy.recording import native_where
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["scaled_dot_product_attention"]

#: Scores from which they are worked on here, and how many of one sample may be: they should stay in cache.
SMALLEST, LARGEST = 1 << 14, 1 << 19
#: Sums of exponentials of a row between which they are taken as they are, with nothing taken from the scores before:
#: their products with gradients are as far from overflow as from underflow.
LEAST, MOST = math.exp(-16.0), math.exp(16.0)
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]


def _takes(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    bias: Any = None,
    dropout_mask: Any = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    chunk_size: int | None = None,
    return_scores: bool = False,
) -> bool:
    """Tell whether there is a better way than the generic rule."""
    arrays = query, key, value
    if not all(array.ndim == 4 and array.dtype == query.dtype in _FLOATS for array in arrays):
        return False
    if bias is not None or dropout_mask is not None or chunk_size is not None or return_scores:
        return False
    (n, t, heads, d), (_, s, groups, _), width = query.shape, key.shape, value.shape[3]
    scores, given = n * heads * t * s, n * heads * (t + s) * (d + width)
    if heads != groups or min(d, width) < 2 or not SMALLEST <= scores <= generic.KEPT * given:
        return False
    fits = key.shape == (n, s, heads, d) and value.shape == (n, s, heads, width)
    return fits and heads * t * s <= LARGEST and _can_mask(mask, (n, heads, t, s))


def _can_mask(mask: Any, shape: tuple[int, ...]) -> bool:
    if mask is None:
        return True
    fits = mask.ndim == 4 and all(own in (1, all_) for own, all_ in zip(mask.shape, shape, strict=True))
    return fits and mask.dtype == np.bool_


@native_where(_takes, generic.scaled_dot_product_attention.function)
def scaled_dot_product_attention(
    query: Floats,
    key: Floats,
    value: Floats,
    mask: np.ndarray[Any, Any] | None = None,
    bias: Floats | None = None,
    dropout_mask: np.ndarray[Any, Any] | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    chunk_size: int | None = None,
    return_scores: bool = False,
) -> tuple[Floats, Backward]:
    """Attend, sample by sample.

    Exponentials of the scores are kept as they are, and what they are multiplied by is divided by their sums instead,
    which is a fraction of the scores. Where these sums are neither large nor small nothing was to be taken from the
    scores before; else the largest of the row is. The gradient of a row of scores needs the sum of the products of
    probabilities and their gradients: it is that of the products of the output and its gradient.
    """
    factor = float(query.shape[3]) ** -0.5 if scale is None else float(scale)
    attention = _Attention(query, key, value, mask, causal, factor)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not (isinstance(dy, np.ndarray) and dy.dtype == query.dtype):
            options = {"causal": causal, "scale": scale}
            rule = generic.scaled_dot_product_attention.function(query, key, value, mask, **options)
            way_back: tuple[Any, ...] = rule[1](dy, needs)
            return way_back
        return *attention.gradients(dy, needs), None, None, None

    return attention.attended(), backward


def _heads_first(x: Floats) -> Floats:
    """View what one sample has, (t, heads, d), head by head."""
    return x.transpose(1, 0, 2)


class _Attention:
    """Attention of given queries to given keys and values; exponentials and sums are kept for the way back."""

    def __init__(
        self, query: Floats, key: Floats, value: Floats, mask: Any, causal: bool, factor: float
    ) -> None:
        self._query, self._key, self._value = (np.ascontiguousarray(x) for x in (query, key, value))
        self._mask, self._factor = mask, factor
        n, t, heads, _ = query.shape
        s = key.shape[1]
        self._until = np.tri(t, s, dtype=query.dtype) if causal else None
        self._lease: Lease = lender.lend((n, heads, t, s), query.dtype)
        self._weights = self._lease.array
        self._shares = np.empty((n, t, heads), query.dtype)  # one over the sum of each row
        self._out = np.empty((n, t, heads, value.shape[3]), query.dtype)

    def _scratch(self, name: str, *shape: int) -> Floats:
        return _workspaces.array(name, shape, self._query.dtype)

    def _spread_over(self, columns: Floats, width: int) -> Floats:
        """Repeat each number of a column along a row: a product is faster than NumPy's broadcasting of short rows."""
        pairs = self._scratch("pairs", *columns.shape, 2)
        pairs[..., 0], pairs[..., 1] = columns, 0.0
        ones = np.zeros((2, width), columns.dtype)
        ones[0] = 1.0
        found = self._scratch("spread", columns.size, width)
        np.matmul(pairs.reshape(-1, 2), ones, out=found)
        return found.reshape(*columns.shape, width)

    def attended(self) -> Floats:
        """Return the means of the values."""
        out = self._out

        def work(samples: Iterable[int]) -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                for i in samples:
                    weights = self._weights[i]
                    self._score(i, weights)
                    np.exp(weights, out=weights)
                    for allowed in self._allowed(i):
                        np.multiply(weights, allowed, out=weights)
                    total = self._totals(weights)
                    if not ((total >= LEAST) & (total <= MOST)).all():
                        self._score(i, weights)
                        total = self._shifted(i, weights)
                    shares = np.divide(1.0, total.T, out=self._shares[i])
                    np.matmul(weights, _heads_first(self._value[i]), out=_heads_first(out[i]))
                    np.multiply(out[i], self._spread_over(shares, out.shape[3]), out=out[i])

        spread(range(len(out)), work)
        return out

    def _score(self, i: int, out: Floats) -> None:
        query = np.multiply(self._query[i], self._factor, out=self._scratch("query", *self._query.shape[1:]))
        np.matmul(_heads_first(query), _heads_first(self._key[i]).mT, out=out)

    def _allowed(self, i: int) -> list[Floats]:
        """Return what exponentials are multiplied by: one where a key may be seen, else zero."""
        factors = [] if self._until is None else [self._until]
        if self._mask is not None:
            factors.append(self._mask[i if len(self._mask) > 1 else 0].astype(self._query.dtype))
        return factors

    def _totals(self, weights: Floats) -> Floats:
        heads, t, s = weights.shape
        ones = np.ones(s, weights.dtype)
        return np.dot(weights.reshape(-1, s), ones).reshape(heads, t)

    def _shifted(self, i: int, scores: Floats) -> Floats:
        """Turn scores into exponentials of what is below the largest of the row; return their sums."""
        for allowed in self._allowed(i):
            np.copyto(scores, -np.inf, where=allowed == 0)
        highest = scores.max(axis=2, keepdims=True)
        highest[highest == -np.inf] = 0.0
        np.exp(np.subtract(scores, highest, out=scores), out=scores)
        total = self._totals(scores)
        total[total == 0] = 1.0  # where nothing is allowed
        return total

    def gradients(self, dy: Floats, needs: tuple[bool, ...]) -> tuple[Floats | None, ...]:
        """Return the gradients of query, key and value that are needed."""
        dy = np.ascontiguousarray(dy)
        dquery, dkey, dvalue = (
            np.empty_like(array) if needed else None
            for array, needed in zip((self._query, self._key, self._value), needs, strict=False)
        )
        width, s = dy.shape[3], self._key.shape[1]
        ones = np.ones(width, dy.dtype)

        def work(samples: Iterable[int]) -> None:
            for i in samples:
                weights, shares = self._weights[i], self._shares[i]
                product = self._scratch("product", *dy.shape[1:])
                np.multiply(dy[i], self._out[i], out=product)
                along = np.dot(product.reshape(-1, width), ones).reshape(shares.shape) * shares
                np.multiply(dy[i], self._spread_over(shares, width), out=product)
                slope = _heads_first(product)
                if dvalue is not None:
                    np.matmul(weights.mT, slope, out=_heads_first(dvalue[i]))
                if dquery is None and dkey is None:
                    continue
                scores = self._scratch("scores", *weights.shape)
                np.matmul(slope, _heads_first(self._value[i]).mT, out=scores)
                np.subtract(scores, self._spread_over(along.T, s), out=scores)
                np.multiply(scores, weights, out=scores)
                for gradient, factors, other in ((dquery, scores, self._key), (dkey, scores.mT, self._query)):
                    if gradient is not None:
                        np.matmul(factors, _heads_first(other[i]), out=_heads_first(gradient[i]))
                        np.multiply(gradient[i], self._factor, out=gradient[i])

        spread(range(len(dy)), work)
        return dquery, dkey, dvalue
