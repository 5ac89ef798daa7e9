"""Functions that make arrays of several or of numbers on the host, such that a CUDA graph can hold them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import array_api_compat.cupy
import cupy
import numpy as np

from nnbackend.typing import Namespace
from nnbackend_cupy.graphs import Scope, bring, scope
from nnbackend_cupy.moving import FEW, move

__all__ = ["FUNCTIONS"]

compat: Namespace = array_api_compat.cupy


def _asarray(obj: Any, /, **options: Any) -> Any:
    """Return what CuPy does; lists and host arrays are constants of a graph."""
    if isinstance(obj, (cupy.ndarray, bool, int, float, complex, np.generic)):
        return compat.asarray(obj, **options)
    if _holds_device_arrays(obj):
        return compat.asarray(obj, **options)
    return bring(obj, lambda values: compat.asarray(values, **options))


def _holds_device_arrays(obj: Any) -> bool:
    if isinstance(obj, (list, tuple)):
        return any(map(_holds_device_arrays, obj))
    return isinstance(obj, cupy.ndarray)


def _concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Any:
    """Return what CuPy does; in a graph without the table of addresses that CuPy sends from the host for many arrays.

    Pieces of one array of the state, such as an optimizer joins, are the whole there.
    """
    present = scope()
    if present is None:
        return compat.concat(arrays, axis=axis)
    arrays = [array.reshape(-1) for array in arrays] if axis is None else list(arrays)
    axis = 0 if axis is None else axis
    if axis == 0 and _are_pieces(arrays, present):
        return cupy.ndarray((sum(array.size for array in arrays),), arrays[0].dtype, arrays[0].data)
    return _joined(arrays, axis)


def _are_pieces(arrays: Sequence[Any], present: Scope) -> bool:
    """Tell whether flat arrays follow one another in memory of the state."""
    first = arrays[0]
    if id(first.data.mem) not in present.blocks:
        return False
    alike = all(
        array.ndim == 1
        and array.flags.c_contiguous
        and array.dtype == first.dtype
        and array.data.mem is first.data.mem
        for array in arrays
    )
    return alike and all(
        one.data.ptr + one.nbytes == other.data.ptr for one, other in itertools.pairwise(arrays)
    )


def _joined(arrays: Sequence[Any], axis: int) -> Any:
    """Copy arrays to their places: small ones that lie in one piece by one kernel, others one by one."""
    axis = axis % arrays[0].ndim
    lengths = [array.shape[axis] for array in arrays]
    first = arrays[0].shape
    if any(a.shape[:axis] + a.shape[axis + 1 :] != first[:axis] + first[axis + 1 :] for a in arrays):
        return compat.concat(arrays, axis=axis)  # its own error
    shape = (*first[:axis], sum(lengths), *first[axis + 1 :])
    joined = cupy.empty(shape, cupy.result_type(*arrays))
    start, pieces = 0, []
    for array, length in zip(arrays, lengths, strict=True):
        part = joined[(slice(None),) * axis + (slice(start, start + length),)]
        dense = part.flags.c_contiguous and array.flags.c_contiguous and array.dtype == joined.dtype
        if dense and array.nbytes <= FEW:
            pieces.append((part.data.ptr, array.data.ptr, array.nbytes))
        else:
            part[...] = array
        start += length
    move(pieces)
    return joined


def _stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Any:
    """Return what CuPy does; in a graph as `concat` does."""
    if scope() is None:
        return compat.stack(arrays, axis=axis)
    place = axis % (arrays[0].ndim + 1)
    return _joined([cupy.expand_dims(array, place) for array in arrays], place)


#: By their names in the array API standard.
FUNCTIONS = {"asarray": _asarray, "concat": _concat, "stack": _stack}
