"""Embedding: a vector for each of a set of things that are known by number."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.functional.indexing import scatter_add
from nnbackend.typing import Array, Backward

__all__ = ["embedding"]


@differentiable
def embedding(indices: Array, table: Array) -> tuple[Array, Backward]:
    r"""Rows of a table by their numbers.

    .. math:: y_{i} = T_{j_i}, \qquad
              \frac{\partial L}{\partial T_j} = \sum_{i: j_i = j} \frac{\partial L}{\partial y_i}

    Parameters
    ----------
    indices : integer array of shape (...)
        j, from 0 to v - 1.
    table : array of shape (v, d)
        T; floating.

    Returns
    -------
    array of shape (..., d)
        The rows.

    Raises
    ------
    IndexError
        On NumPy, if an index is not from 0 to v - 1.
    TypeError
        If `indices` are not integers.
    ValueError
        If `table` is not a matrix, or has no row.

    Notes
    -----
    An index that is no row's number, also a negative one, is refused on NumPy. On other backends a look at the values
    would wait for the device, and is not possible inside a compiled step: there its row is NaN, which the loss shows,
    and its gradient goes nowhere. (Elsewhere libraries clip such an index, count it from the end, or read beside the
    table.)

    The gradients of a row that is taken several times add up in a fixed order; see `scatter_add`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.embedding(xp.asarray([2, 0]), xp.asarray([[1.0], [2.0], [3.0]]))
    array([[3.],
           [1.]])
    """
    indices = plain(indices)
    if "int" not in str(indices.dtype):
        raise TypeError(f"embedding expects integer indices, got {indices.dtype}. Cast them with astype.")
    if table.ndim != 2 or not table.shape[0]:
        raise ValueError(
            f"embedding expects a table of shape (v, d) with v above 0, got {tuple(table.shape)}."
        )
    backend = backend_of(indices)
    own, (count, width) = backend.xp, table.shape
    shape = tuple(indices.shape)
    flat = own.reshape(own.astype(indices, own.int64, copy=False), (math.prod(shape),))
    there = own.logical_and(flat >= 0, flat < count)
    rows = own.where(there, flat, own.zeros_like(flat))
    found = own.expand_dims(there, axis=1)
    xp = namespace(table)
    y = xp.where(found, xp.take(table, rows, axis=0), float("nan"))

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        flat_dy = xp.where(found, xp.reshape(dy, (math.prod(shape), width)), 0.0)
        return None, scatter_add(flat_dy, rows, length=count)

    return xp.reshape(y, (*shape, width)), backward
