"""Rows taken and added up by index: the embedding and the gradient of everything that selects.

The sums have one order, so the same call gives the same bits: rows are sorted by index and added up run by run, float32
in float64. Where the user gives that up (``deterministic=False``), one kernel adds all rows by atomics, and the last
bits differ from run to run. Nothing waits for the device.
"""

from __future__ import annotations

import math
from typing import Any

import cupy

from nnbackend.backend import namespace
from nnbackend.functional.embedding import embedding as generic_embedding
from nnbackend.functional.indexing import scatter_add as generic_scatter_add
from nnbackend.typing import Backward
from nnbackend_cupy import programs
from nnbackend_cupy.options import in_force
from nnbackend_cupy.raw import launch, rounded, sweep

__all__ = ["embedding", "scatter_add"]

#: Keys that are sorted together before runs are merged, by as many threads; 1024 at most.
TILE = 512
#: Sorted rows that one thread adds up.
CHUNK = 128
#: Keys hold an index and a place in 32 bits each.
_MOST = 2**31 - 1


def scatter_add(x: Any, indices: Any, *, length: int) -> tuple[Any, Backward]:
    """Add rows up in the order in which they came, within pieces of runs and then over the pieces."""
    fits = x.dtype.name in programs.DTYPES and max(len(x), length) <= _MOST and x.size and length
    if not fits:
        return generic_scatter_add.function(x, indices, length=length)
    places = indices.astype(cupy.int64, copy=False)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        from_the_start = cupy.where(places < 0, places + length, places)
        return namespace(dy).take(dy, from_the_start, axis=0), None

    return _sums(x, places, length, wraps=True), backward


def embedding(indices: Any, table: Any) -> tuple[Any, Backward]:
    """Take rows of a table, NaN for a number that is no row's, in one pass."""
    fits = "int" in indices.dtype.name and table.ndim == 2 and table.size and indices.size
    fits = fits and table.dtype.name in programs.DTYPES and table.dtype.kind != "i"
    if not (fits and max(indices.size, len(table)) <= _MOST):
        return generic_embedding.function(indices, table)
    count, width = table.shape
    flat = cupy.ascontiguousarray(indices.reshape((-1,)).astype(cupy.int64, copy=False))
    y = cupy.empty((flat.size, width), table.dtype)
    rows = cupy.ascontiguousarray(table)
    sweep("embedding", "nn_take_rows", table.dtype.name, {}, y.size, flat, rows, y, y.size, width, count)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not isinstance(dy, cupy.ndarray) or dy.dtype != table.dtype:
            way_back: tuple[Any, ...] = generic_embedding.function(indices, table)[1](dy, needs)
            return way_back
        return None, _sums(dy.reshape((flat.size, width)), flat, count, wraps=False)

    return y.reshape((*indices.shape, width)), backward


def _sums(x: Any, indices: Any, length: int, *, wraps: bool) -> Any:
    """Add up the rows of each index; what is no index goes nowhere."""
    add = _sums_in_order if in_force().deterministic else _sums_by_atomics
    return add(cupy.ascontiguousarray(x), cupy.ascontiguousarray(indices), length, wraps)


def _sums_by_atomics(rows: Any, indices: Any, length: int, wraps: bool) -> Any:
    """Add rows up as they come."""
    dtype, columns = rows.dtype.name, math.prod(rows.shape[1:])
    sums = cupy.zeros((length, *rows.shape[1:]), programs.ATOMIC.get(dtype, rows.dtype))
    sweep(
        "scatter_atomic", "nn_add_rows_atomic", dtype, {}, rows.size,
        indices, rows, sums, rows.size, columns, length, int(wraps),
    )  # fmt: skip
    return rounded(sums, rows.dtype)


def _sums_in_order(rows: Any, indices: Any, length: int, wraps: bool) -> Any:
    """Add rows up in the order in which they came."""
    count, rest = len(rows), rows.shape[1:]
    columns, dtype, constants = math.prod(rest), rows.dtype.name, {"CHUNK": CHUNK}
    keys = _sorted(indices, length, wraps)
    starts = cupy.empty((length + 1,), cupy.int64)
    sweep("sorting", "nn_run_starts", "int64", {}, length + 1, keys, starts, count, length)
    sums = cupy.empty((length, *rest), rows.dtype)
    chunks = math.ceil(count / CHUNK)
    wide = {"float16": cupy.float32, "bfloat16": cupy.float32, "int32": cupy.int64, "int64": cupy.int64}
    parts = cupy.empty((2 * chunks, columns), wide.get(dtype, cupy.float64))
    threads = min(programs.THREADS, max(32, 1 << (columns - 1).bit_length()))
    blocks = chunks * math.ceil(columns / threads)
    launch(
        "scatter", "nn_sum_chunks", dtype, constants, blocks, threads,
        rows, keys, starts, sums, parts, count, columns, length,
    )  # fmt: skip
    sweep("scatter", "nn_sum_parts", dtype, constants, sums.size, starts, parts, sums, columns, sums.size)
    return sums


def _sorted(indices: Any, length: int, wraps: bool) -> Any:
    """Return keys of indices and their places in ascending order; CuPy's own sort waits for the device."""
    count = len(indices)
    keys, spare = cupy.empty((count,), cupy.uint64), cupy.empty((count,), cupy.uint64)
    blocks = math.ceil(count / TILE)
    launch("sorting", "nn_sort_tiles", "int64", {}, blocks, TILE, indices, keys, count, length, int(wraps))
    width = TILE
    while width < count:
        sweep("sorting", "nn_merge_runs", "int64", {}, count, keys, spare, count, width)
        keys, spare = spare, keys
        width *= 2
    return keys
