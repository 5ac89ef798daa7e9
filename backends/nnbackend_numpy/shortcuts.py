"""Calls of NumPy that take less time than others and give the same bits."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Call", "shortcut", "shortcut_of_others", "shortcuts"]

#: A function and what it is called with.
Call: TypeAlias = tuple[Callable[..., Any], Sequence[Any]]

#: A number that arrays are compared with is repeated so often: the repetitions stay in the first level of cache.
REPEATED = 1 << 12
#: Elements up to which it is repeated for each of them: NumPy needs no iterator then, which takes it 1 us to make.
REPEATED_FOR_ALL = 1 << 13
#: Bytes of a product up to which ``dot`` takes less time than ``matmul``: it fills its result with zeros first, on one
#: thread, so that 4096 x 128 take 1.03 of the time, and 1.24 on two threads.
SMALL_PRODUCT = 1 << 16
#: Columns up to which a reduction along rows goes by columns, and rows from which it pays.
FEW_COLUMNS = 4
MANY_ROWS = 32
#: What the sum of a row begins with: 0.0 or -0.0.
_BEGIN = np.add.reduce(np.array([[-0.0, -0.0]], np.float32), -1)[0]
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def shortcuts(function: Callable[..., Any], operands: list[Any]) -> list[Call]:
    """Return calls that do the same: what `shortcut` returns, several that take less time, or none."""
    if function is np.copyto and len(operands) == 2 and _are_one(*operands):
        return []
    by_columns = _by_columns(function, operands)
    return [shortcut(function, operands)] if by_columns is None else by_columns


def shortcut(function: Callable[..., Any], operands: list[Any]) -> Call:
    """Return a call that does the same, faster where there is a way, on arrays that stay where they are.

    A number of Python's is made an array once, not in every call (a third of the 1.3 us of an operation on arrays of
    one element). ``maximum`` and ``minimum`` go through two arrays three times as fast as through an array and a
    number. An array's own ``dot`` takes 0.8 us less than ``matmul`` to find the same routine of BLAS, 0.3 of them since
    nobody asks whether the operands bring a function of their own. Arrays of one shape need no iterator, of which
    making one is half of a call on ten elements.
    """
    if function is np.matmul and _is_plain_product(*operands):
        first, *others = operands
        return first.dot, others
    if isinstance(function, functools.partial) and function.func in (np.maximum, np.minimum):
        return _extremum(function, operands)
    if function is np.copyto and len(operands) == 2 and type(operands[1]) in (int, float):
        return operands[0].fill, operands[1:]
    if isinstance(function, np.ufunc) and function.signature is None:
        operands = _without_numbers(operands)
        # NumPy's power has shorter ways for what it takes for one exponent, with other last bits
        return function, operands if function is np.power else _of_one_shape(operands)
    return function, operands


def shortcut_of_others(function: Callable[..., Any], alike: list[Any]) -> Callable[..., Any]:
    """Return a function that does the same, maybe faster, on other arrays in every call, which lie as these do."""
    return np.dot if function is np.matmul and _is_plain_product(*alike) else function


def _is_plain_product(*matrices: Any) -> bool:
    """Tell whether a small product of two matrices, or a row and one, and its memory are such as BLAS takes."""
    *factors, out = matrices
    return (
        all(isinstance(matrix, np.ndarray) and matrix.dtype == out.dtype for matrix in factors)
        and out.dtype in _FLOATS
        and (factors[0].ndim, factors[1].ndim) in ((2, 2), (1, 2))
        and 0 < out.nbytes <= SMALL_PRODUCT
        and all(matrix.size for matrix in factors)
        and all(matrix.flags.c_contiguous or matrix.flags.f_contiguous for matrix in factors)
        and bool(out.flags.c_contiguous)
    )


def _without_numbers(operands: list[Any]) -> list[Any]:
    """Make Python's numbers arrays of the dtype that they are taken for beside arrays of one dtype.

    Beside integers, only those that arrays are compared with: others count, which `nnbackend_numpy.chains` does.
    """
    *given, out = operands
    dtypes = {operand.dtype for operand in given if hasattr(operand, "dtype")}
    if len(dtypes) != 1:
        return operands
    (dtype,) = dtypes
    numbers = [operand for operand in given if type(operand) in (int, float)]
    if dtype == np.int64 and getattr(out, "dtype", None) == np.bool_:
        if not all(type(number) is int and abs(number) < 1 << 63 for number in numbers):
            return operands
    elif dtype not in _FLOATS:
        return operands
    return [_constant(operand, dtype) if type(operand) in (int, float) else operand for operand in operands]


def _of_one_shape(operands: list[Any]) -> list[Any]:
    """View arrays that are alike but for axes of length one as flat ones, and those of one element as numbers."""
    out = operands[-1]
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if not isinstance(out, np.ndarray) or all(array.shape in ((), out.shape) for array in arrays):
        return operands
    if not all(array.size == 1 or (array.size == out.size and array.flags.c_contiguous) for array in arrays):
        return operands
    shapes = {1: (), out.size: (out.size,)}
    return [o.reshape(shapes[o.size]) if isinstance(o, np.ndarray) else o for o in operands]


def _constant(number: float, dtype: Any) -> Any:
    """Make a number an array, which nobody writes to."""
    array = np.array(number, dtype)
    array.flags.writeable = False
    return array


def _extremum(function: functools.partial[Any], operands: list[Any]) -> Call:
    """Compare an array with an array that repeats a number, rather than with the number."""
    out = function.keywords["out"]
    array, number = operands
    if (
        type(number) not in (int, float)
        or getattr(array, "dtype", None) != out.dtype
        or out.dtype not in _FLOATS
        or array.shape != out.shape
        or not (array.flags.c_contiguous and out.flags.c_contiguous)
    ):
        return function, operands
    bits = np.array(number, out.dtype).tobytes()
    if out.size <= REPEATED_FOR_ALL:
        repeated = _repeated(bits, out.dtype, out.size)
        return functools.partial(function.func, out=out.reshape(-1)), [array.reshape(-1), repeated]
    width = next((width for width in range(REPEATED, REPEATED // 16, -1) if out.size % width == 0), None)
    if width is None:
        return function, operands
    rows, target = array.reshape(-1, width), out.reshape(-1, width)
    return functools.partial(function.func, out=target), [rows, _repeated(bits, out.dtype, width)]


@functools.lru_cache(maxsize=64)
def _repeated(number: bytes, dtype: Any, count: int) -> Any:
    return np.frombuffer(number * count, dtype)


def _are_one(target: Any, source: Any) -> bool:
    """Tell whether two arrays are the same elements in the same memory."""
    return (
        isinstance(source, np.ndarray)
        and target.dtype == source.dtype
        and target.shape == source.shape
        and target.strides == source.strides
        and target.ctypes.data == source.ctypes.data
    )


def _by_columns(function: Any, operands: list[Any]) -> list[Call] | None:
    """Return calls that reduce rows of a few elements column by column; None where that is another order or slower.

    NumPy takes up each row by itself, 20 to 80 ns for three elements. It goes through fewer than eight from the first
    to the last one, and so do the columns.
    """
    reduced = _REDUCED.get(function) if isinstance(function, types.BuiltinMethodType) else None
    if reduced is None:  # compiled functions, among others, cannot be looked up
        return None
    x, axis, dtype, out, _ = operands
    if (
        not isinstance(x, np.ndarray)
        or x.ndim < 2
        or axis not in (-1, x.ndim - 1)
        or dtype is not None
        or x.dtype not in _FLOATS
        or x.dtype != out.dtype
        or not 2 <= x.shape[-1] <= FEW_COLUMNS
        or out.size < MANY_ROWS
        or not out.flags.c_contiguous
    ):
        return None
    target = out.reshape(x.shape[:-1])
    first, *rest = (x[..., column] for column in range(x.shape[-1]))
    if reduced is np.add:
        return [
            (np.add, [one, other, target])
            for one, other in [(first, _constant(_BEGIN, x.dtype)), *((target, column) for column in rest)]
        ]
    write = functools.partial(reduced, out=target)
    return [(write, [one, column]) for one, column in zip([first, *[target] * len(rest)], rest, strict=False)]


#: Reductions that go through fewer than eight elements in their order.
_REDUCED: dict[Any, Any] = {function.reduce: function for function in (np.add, np.maximum, np.minimum)}
