"""Rules of which NumPy has a better version than the array API standard can say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnbackend.backend import namespace
from nnbackend.typing import Backward
from nnbackend_numpy.attention import scaled_dot_product_attention
from nnbackend_numpy.grouped import conv, conv_kernel_gradient, conv_transpose
from nnbackend_numpy.layer_norm import standardize
from nnbackend_numpy.pooling import adaptive_average_pool, average_pool, max_pool
from nnbackend_numpy.recurrent import lstm

__all__ = ["NATIVE_RULES", "compiled_by_numba", "scatter_add"]

#: Elements that are added up at a time, in rows of as many columns: 4 MiB of them in float32. Fewer are up to three
#: times slower at 33 thousand rows of 128 columns, all of them at once up to 1.4 times.
BLOCK = 1 << 20


def scatter_add(
    x: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], *, length: int
) -> tuple[np.ndarray[Any, Any], Backward]:
    """Add rows up in float64, in their order, and round once.

    Each row that occurs is one bin of a weighted histogram. On one thread that takes 0.6 to 4 ms for 2 to 4 thousand
    rows of 64 to 128 columns: as ``np.add.at`` on flat indices in the mean, whose sums in float32 are off by a
    hundred units where an index occurs thousands of times, and 5 times faster than the generic rule.
    """
    indices = np.asarray(indices).astype(np.int64, copy=False)
    indices = np.where(indices < 0, indices + length, indices)
    if indices.size and not 0 <= indices.min() <= indices.max() < length:
        raise IndexError(
            f"scatter_add expects indices from {-length} to {length - 1}, got one outside. Check them where they are "
            "made."
        )

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return namespace(dy).take(dy, indices, axis=0), None

    rest = x.shape[1:]
    columns = math.prod(rest)
    sums = np.zeros((length, columns), x.dtype)
    if not x.size:
        return sums.reshape((length, *rest)), backward
    if not np.issubdtype(x.dtype, np.floating):
        np.add.at(sums, indices, x.reshape(-1, columns))
        return sums.reshape((length, *rest)), backward
    rows = x.reshape(-1, columns)
    found, bins = np.unique(indices, return_inverse=True)
    step = max(1, min(columns, BLOCK // len(rows)))
    for start in range(0, columns, step):
        part = rows[:, start : start + step]
        width = part.shape[1]
        places = (bins[:, np.newaxis] * width + np.arange(width)).reshape(-1)
        totals = np.bincount(places, weights=part.reshape(-1), minlength=len(found) * width)
        sums[found, start : start + width] = totals.reshape(len(found), width)
    return sums.reshape((length, *rest)), backward


def embedding(
    indices: np.ndarray[Any, Any], table: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], Backward]:
    """Take rows of a table, and refuse indices that are no row's number, since here they can be looked at."""
    if not np.issubdtype(np.asarray(indices).dtype, np.integer):
        raise TypeError(f"embedding expects integer indices, got {indices.dtype}. Cast them with astype.")
    if table.ndim != 2 or not len(table):
        raise ValueError(f"embedding expects a table of shape (v, d) with v above 0, got {table.shape}.")
    flat, (count, width) = np.asarray(indices).reshape(-1), table.shape
    if flat.size and not 0 <= flat.min() <= flat.max() < count:
        wrong = flat[np.argmax((flat < 0) | (flat >= count))]
        raise IndexError(
            f"embedding expects indices from 0 to {count - 1}, got {wrong}. Make the table larger, or check how "
            "the data are numbered."
        )

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        rows = namespace(dy).reshape(dy, (flat.size, width))
        if isinstance(rows, np.ndarray):
            return None, scatter_add(rows, flat, length=count)[0]
        return None, namespace(dy).scatter_add(rows, flat, length=count)  # a tensor's namespace has the rules

    return np.take(table, flat, axis=0).reshape((*indices.shape, width)), backward


NATIVE_RULES: Mapping[str, Callable[..., Any]] = {
    "adaptive_average_pool": adaptive_average_pool,
    "average_pool": average_pool,
    "conv": conv,
    "conv_kernel_gradient": conv_kernel_gradient,
    "conv_transpose": conv_transpose,
    "embedding": embedding,
    "lstm": lstm,
    "max_pool": max_pool,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "scatter_add": scatter_add,
    "standardize": standardize,
}


def compiled_by_numba() -> Mapping[str, Callable[..., Any]]:
    """Return the rules that Numba compiles, in the place of those above, to the same bits; Numba is imported here."""
    from nnbackend_numpy import numba_normalization, numba_pooling

    return {"max_pool": numba_pooling.max_pool, "standardize": numba_normalization.standardize}
