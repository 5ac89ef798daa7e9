"""Calls on arrays of one element as arithmetic on NumPy's numbers.

A step counts, corrects biases and adds up metrics on arrays without axes. A universal function takes about a
microsecond to find out what it was given; the operators of NumPy's numbers take a tenth of that for the same bits.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnbackend_numpy.recording import Form, Operation, astype
from nnbackend_numpy.shortcuts import Call

__all__ = ["brought_together", "chained"]

#: Operators of floating numbers that compute what universal functions do, to the last bit.
_OPERATORS: dict[Any, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.negative: operator.neg,
}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_INTEGER = np.dtype(np.int64)
#: What a counter is advanced by at most: operators of integers warn where arrays wrap around without a word.
_COUNTED = 1 << 31


def brought_together(operations: Sequence[Operation], forms: Sequence[Form]) -> list[Operation]:
    """Return operations in an order in which those on arrays of one element follow each other where they can.

    They wait until another one reads a result of theirs. Then all are done that can be.
    """
    waiting = [op for op in operations if _makes_number(op, forms)]
    put_off = {id(op) for op in waiting}
    unmade = {place for op in operations for place in op.results}
    ordered: list[Operation] = []

    def do(op: Operation) -> None:
        ordered.append(op)
        unmade.difference_update(op.results)

    def do_numbers() -> None:
        for op in waiting[:]:
            if unmade.isdisjoint(op.reads()):
                do(op)
                waiting.remove(op)

    for op in operations:
        if id(op) in put_off:
            continue
        if not unmade.isdisjoint(op.reads()):
            do_numbers()
        do(op)
    do_numbers()
    return ordered


def _makes_number(op: Operation, forms: Sequence[Form]) -> bool:
    if op.kind != "call" or not (
        op.function is astype or (isinstance(op.function, np.ufunc) and not op.options)
    ):
        return False
    return all(
        math.prod(forms[place].shape) == 1 for place in (*op.reads(), *op.results) if place is not None
    )


def chained(calls: Sequence[Call]) -> list[Call]:
    """Return calls that do the same, with those on arrays of one element that follow each other as one."""
    made: list[Call] = []
    for on_numbers, run in itertools.groupby(calls, _is_on_numbers):
        several = [*run]
        made += [(_Chain(several), [])] if on_numbers and len(several) > 1 else several
    return made


def _is_on_numbers(call: Call) -> bool:
    """Tell whether a call computes one number from others of its dtype, or casts one."""
    function, operands = call
    if function is np.copyto:
        target, source, *casting = operands
        return (
            casting in ([], ["unsafe"])
            and _is_number(target, _FLOATS)
            and _is_number(source, (*_FLOATS, _INTEGER))
        )
    if not isinstance(function, np.ufunc) or function.signature is not None or function.nout != 1:
        return False
    *given, out = operands
    if function.nin not in (1, 2) or len(given) != function.nin:
        return False
    if function is np.add and _is_number(out, (_INTEGER,)):
        counter, step = given
        return _is_number(counter, (_INTEGER,)) and type(step) is int and abs(step) < _COUNTED
    return _is_number(out, _FLOATS) and all(
        type(operand) in (int, float) or _is_number(operand, (out.dtype,)) for operand in given
    )


def _is_number(operand: Any, dtypes: Sequence[Any]) -> bool:
    return isinstance(operand, np.ndarray) and operand.size == 1 and operand.dtype in dtypes


class _Chain:
    """A run of such calls: what they read first, the operations, and what is written at the end.

    Values are numbered: constants, what is read, the results of the operations.
    """

    __slots__ = ("_constants", "_operations", "_readers", "_written")

    def __init__(self, calls: list[Call]) -> None:
        steps = [_step(*call) for call in calls]
        constants: dict[Any, Any] = {}
        readers: dict[Any, Callable[[tuple[()]], Any]] = {}
        written: dict[Any, Any] = {}
        for _, given, out in steps:
            for operand in given:
                key = _key(operand, out.dtype)
                if not isinstance(operand, np.ndarray):
                    constants[key] = out.dtype.type(operand)
                elif _stays(operand):
                    constants[key] = operand.reshape(())[()]
                elif key not in written:
                    readers[key] = operand.reshape(()).__getitem__
            written[_key(out)] = out.reshape(())
        place = {key: number for number, key in enumerate([*constants, *readers])}
        self._constants, self._readers = [*constants.values()], [*readers.values()]
        self._operations: list[tuple[Callable[..., Any], int, int | None]] = []
        for number, (function, given, out) in enumerate(steps, start=len(place)):
            first, *others = (place[_key(operand, out.dtype)] for operand in given)
            self._operations.append((function, first, others[0] if others else None))
            place[_key(out)] = number
        self._written = [(array, place[key]) for key, array in written.items()]

    def __call__(self) -> None:
        values = [*self._constants, *[read(()) for read in self._readers]]
        for function, first, second in self._operations:
            one = values[first]
            values.append(function(one) if second is None else function(one, values[second]))
        for array, place in self._written:
            array[()] = values[place]


def _stays(array: Any) -> bool:
    """Tell whether nobody can write to an array's memory; a view may be for reading alone where its base is not."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def _step(function: Any, operands: Sequence[Any]) -> tuple[Callable[..., Any], list[Any], Any]:
    """Return a function of numbers, what it is given, and the array that its result goes to."""
    if function is np.copyto:
        target, source = operands[:2]
        return functools.partial(_cast, target.reshape(())), [source], target
    *given, out = operands
    return _OPERATORS.get(function, function), given, out


def _cast(target: Any, number: Any) -> Any:
    """Return a number in the dtype of an array, which it is written to: its constructor takes three times as long."""
    target[()] = number
    return target[()]


def _key(operand: Any, dtype: Any = None) -> Any:
    """Return what tells operands apart: of an array its place, of a number also the dtype that it is taken in."""
    if isinstance(operand, np.ndarray):
        return operand.ctypes.data
    return dtype, type(operand), repr(operand)
