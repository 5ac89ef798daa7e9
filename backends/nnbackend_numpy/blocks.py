"""Elementwise programs on NumPy: block by block, so that intermediate results stay in cache.

Plain NumPy makes a fresh array for every operation of an expression; large ones cost more in page faults and memory
traffic than in arithmetic. Here each operation writes into a small buffer that the next one finds in cache, and the
last one into the result. The operations and their order are those of the expression, so the bits are the same. (A
rowwise program sees each row in one piece: its sums are those of the expression on C-contiguous arrays.)
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from nnbackend.elementwise import HALVES, REDUCTIONS, Instruction, Operand, Program, Value
from nnbackend_numpy.shortcuts import Call
from nnbackend_numpy.threads import allowed, spread
from nnbackend_numpy.workspaces import aligned

__all__ = [
    "Buffers",
    "Evaluator",
    "Sweep",
    "function_of",
    "is_large",
    "is_zero",
    "names_of",
    "operation_calls",
    "reduces",
    "reduction",
    "select",
    "selection",
]

#: Gives memory for intermediate results, by number, for a dtype and a count of elements.
Buffers: TypeAlias = Callable[[int, Any, int], np.ndarray[Any, Any]]
#: Where blocks start, and what makes the calls of some of them.
Sweep: TypeAlias = tuple[range, Callable[[Iterable[int]], Iterator[Call]]]

# Both are the best powers of two for whole training steps: dense networks of 16 to 512 units with Adam on one thread of
# an AMD EPYC (Zen 4, 1 MiB of second-level cache); medians of process time, the variants interleaved. With 2**14 a step
# takes 0.57 to 0.83 of its time with 2**17 where weights lie between the two (784 x 32: 492 to 603 us, 784 x 128: 839
# to 1460 us), and at most 1.03 elsewhere. What costs is not arithmetic: the temporaries of the whole expression are
# given back to the system and faulted in again on every step.
#: Elements from which a program goes in blocks.
THRESHOLD = 1 << 14
#: Elements of a block: 256 KiB of float32. Twice as many were 2 % faster there, but are too many for smaller caches;
#: half as many were 5 % slower.
BLOCK = 1 << 16

#: Elements of a block where blocks are spread over threads, which wait for each other to make the calls of a block.
SPREAD = 1 << 17

#: Bytes of a result from which two pages more do not matter.
LARGE = 1 << 18

#: Blocks times instructions from which a program is spread over threads: a third of a millisecond of work.
WORTH_SPREADING = 16


@dataclass(frozen=True)
class _Step:
    """One instruction, ready to run: the function, where its operands are and where its result goes."""

    function: Callable[..., Any]
    operands: tuple[int, ...]  # indices into the block's values; constants follow the values
    result: int
    buffer: int  # the number of its buffer, or -1 - k to write into output k
    dtype: Any
    reduces: bool


@dataclass(frozen=True)
class _Plan:
    """A program for arguments of given dtypes."""

    steps: tuple[_Step, ...]
    constants: tuple[Any, ...]
    outputs: tuple[tuple[int, Any], ...]  # value and dtype of each
    copied: tuple[int, ...]  # outputs that no step writes directly
    rowwise: bool
    thin: frozenset[int]  # values of one element for each row; in an elementwise program, of one element
    per_row_sums: bool  # whether it reduces over rows


class Evaluator:
    """Runs programs; a plan for each set of dtypes is kept with the program."""

    #: Elements from which a step that is recorded takes a program as one, rather than operation by operation.
    recorded_from = THRESHOLD

    def __init__(self) -> None:
        self._local = threading.local()

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        if not is_large(arguments):
            return self._plain(program, arguments, donate)
        return self.blocked(program, [np.asarray(a) for a in arguments], donate, BLOCK)

    def goes_in_blocks(self, program: Program, arguments: Sequence[Any]) -> bool:
        """Tell whether `run` takes these arguments block by block, rather than by the expression itself."""
        if not is_large(arguments, self.recorded_from):
            return False
        arrays = [np.asarray(a) for a in arguments]
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        plan = self._plan(program, arrays, (), shape)
        return plan is not None and _all_of_shape(program, arrays, shape)

    def takes_in_place(self, program: Program, arguments: Sequence[np.ndarray[Any, Any]]) -> bool:
        """Tell whether `calls` reads these arguments where they are, rather than copies of them."""
        lead = np.broadcast_shapes(*(a.shape for a in arguments))[:-1]
        return not program.rowwise or all(
            a.flags.c_contiguous and (a.shape[:-1] == lead or math.prod(a.shape[:-1]) == 1) for a in arguments
        )

    @staticmethod
    def spreads(program: Program, size: int) -> bool:
        """Tell whether `blocked` takes a program of so many elements to several threads."""
        return _is_worth_spreading(program, size // BLOCK) and allowed() > 1

    @staticmethod
    def _plain(program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        if program.rowwise:  # so that sums do not depend on the size or the memory order
            arguments = [np.asarray(a, order="C") if isinstance(a, np.ndarray) else a for a in arguments]
        result = program.plain(*arguments)
        if not donate:
            return result
        outputs = list(result) if isinstance(result, tuple) else [result]
        for index, output in enumerate(outputs):
            if any(output is argument for argument in arguments):  # its memory may go to another output
                outputs[index] = np.array(output)
        for index, source in enumerate(donate):
            target: Any = None if source is None else arguments[source]
            if hasattr(outputs[index], "shape") and _fits(target, outputs[index].shape, outputs[index].dtype):
                target[...] = outputs[index]
                outputs[index] = target
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]

    def blocked(
        self,
        program: Program,
        arguments: list[np.ndarray[Any, Any]],
        donate: Sequence[int | None],
        block: int = BLOCK,
        into: Sequence[np.ndarray[Any, Any] | None] = (),
    ) -> Any:
        """Evaluate in blocks of about `block` elements, whatever the size.

        `into` may give the memory of each result, an array in C order that shares none with the arguments.
        """
        size = math.prod(np.broadcast_shapes(*(a.shape for a in arguments)))
        spreads = Evaluator.spreads(program, size)  # whatever a compiler's calls do by themselves
        found = self._prepared(program, arguments, donate, SPREAD if spreads else block, into, self._buffer)
        if found is None:
            return self._plain(program, arguments, donate)
        results, starts, sweep = found

        def work(some: Iterable[int]) -> None:
            for function, operands in sweep(some):
                function(*operands)

        if spreads:
            spread(starts, work)
        else:
            work(starts)
        return results[0] if len(results) == 1 else tuple(results)

    def calls(
        self,
        program: Program,
        arguments: list[np.ndarray[Any, Any]],
        donate: Sequence[int | None],
        block: int,
        into: Sequence[np.ndarray[Any, Any] | None],
        buffer: Buffers,
    ) -> tuple[list[np.ndarray[Any, Any]], Iterator[Call]] | None:
        """Return the results of a program, and the calls that write them; None where only the expression will do.

        The calls may be made again whenever the arguments have changed in their place, if they are read there
        (`takes_in_place`).
        """
        found = self._prepared(program, arguments, donate, block, into, buffer)
        if found is None:
            return None
        results, starts, sweep = found
        return results, sweep(starts)

    def _prepared(
        self,
        program: Program,
        arguments: list[np.ndarray[Any, Any]],
        donate: Sequence[int | None],
        block: int,
        into: Sequence[np.ndarray[Any, Any] | None],
        buffer: Buffers,
    ) -> tuple[list[np.ndarray[Any, Any]], range, Callable[[Iterable[int]], Iterator[Call]]] | None:
        """Return the results of a program, where its blocks start, and what makes the calls of some of them."""
        shape = np.broadcast_shapes(*(a.shape for a in arguments))
        donate = _undisturbed(arguments, donate)
        plan = self._plan(program, arguments, donate, shape)
        if plan is None or not _all_of_shape(program, arguments, shape):
            return None
        results = self._results(plan, arguments, donate, shape, into)
        return results, *self._sweep(program, plan, arguments, results, donate, block, buffer)

    def _sweep(
        self,
        program: Program,
        plan: _Plan,
        arguments: list[np.ndarray[Any, Any]],
        results: list[np.ndarray[Any, Any]],
        donate: Sequence[int | None],
        block: int,
        buffer: Buffers,
    ) -> Sweep:
        """Return where blocks start, and what makes the calls that write them into the results.

        A result is memory of its own, or that of the donated argument.
        """
        shape = np.broadcast_shapes(*(a.shape for a in arguments))
        targets = results
        if program.rowwise:
            length, width = math.prod(shape[:-1]), shape[-1] if shape else 1
            views = [_rows(a, shape) for a in arguments]
            targets = [r.reshape(length, r.shape[-1] if r.shape else 1) for r in results]
            rows, inner = max(1, block // max(width, 1)), None
        elif all(a.size == 1 or (a.shape == shape and a.flags.c_contiguous) for a in arguments):
            views = [a.reshape(-1) for a in arguments]
            targets = [r.reshape(-1) for r in results]
            length, width, rows, inner = math.prod(shape), 1, block, None
        else:
            views = [a.reshape((1,) * (len(shape) - a.ndim) + a.shape) for a in arguments]
            length, width, inner = shape[0], math.prod(shape[1:]), shape[1:]
            rows = max(1, block // max(width, 1))
        sweep = functools.partial(_sweep, plan, views, targets, length, width, rows, inner, buffer)
        return range(0, length, rows), sweep

    def _plan(
        self,
        program: Program,
        arguments: list[np.ndarray[Any, Any]],
        donate: Sequence[int | None],
        shape: tuple[int, ...],
    ) -> _Plan | None:
        """Return the plan for these arguments, or None where only the expression itself will do."""
        thin: tuple[int, ...] = ()
        if program.rowwise and shape and shape[-1] != 1:
            thin = tuple(i for i, a in enumerate(arguments) if a.ndim == 0 or a.shape[-1] == 1)
        elif not program.rowwise and math.prod(shape) != 1:
            thin = tuple(i for i, a in enumerate(arguments) if a.size == 1)
        dtypes = names_of(arguments)
        donate = tuple(donate)

        def make() -> _Plan | None:
            try:
                return _make_plan(program, dtypes, donate, thin)
            except TypeError:  # dtypes that the standard does not let meet, but NumPy does
                return None

        plan: _Plan | None = program.keep(("numpy", dtypes, donate, thin), make)
        return plan

    @staticmethod
    def _results(
        plan: _Plan,
        arguments: list[np.ndarray[Any, Any]],
        donate: Sequence[int | None],
        shape: tuple[int, ...],
        into: Sequence[np.ndarray[Any, Any] | None],
    ) -> list[np.ndarray[Any, Any]]:
        results = []
        for index, (value, dtype) in enumerate(plan.outputs):
            source = donate[index] if index < len(donate) else None
            wanted = (*shape[:-1], 1) if plan.rowwise and value in plan.thin else shape
            target: Any = None if source is None else arguments[source]
            passed_on = (
                value < len(arguments) and value != source
            )  # an argument as it came may be overwritten
            fits = not passed_on and _fits(target, wanted, dtype) and target.flags.c_contiguous
            made = into[index] if index < len(into) else None
            results.append(target if fits else _memory(wanted, dtype, index) if made is None else made)
        return results

    def _buffer(self, number: int, dtype: Any, elements: int) -> np.ndarray[Any, Any]:
        """Return this thread's buffer of that number, which lives on from call to call."""
        buffers: dict[int, np.ndarray[Any, Any]] = self._local.__dict__.setdefault("buffers", {})
        needed = elements * dtype.itemsize
        if number not in buffers or buffers[number].size < needed:
            buffers[number] = aligned(needed, number)
        return buffers[number][:needed].view(dtype)


def _sweep(
    plan: _Plan,
    arguments: list[np.ndarray[Any, Any]],
    results: list[np.ndarray[Any, Any]],
    length: int,
    width: int,
    block: int,
    inner: tuple[int, ...] | None,
    buffer: Buffers,
    starts: Iterable[int],
) -> Iterator[Call]:
    """Yield the calls that run the plan over those blocks of the first axis that begin at `starts`."""
    for start in starts:
        stop = min(start + block, length)
        part = [a if a.shape[0] == 1 and length != 1 else a[start:stop] for a in arguments]
        if plan.per_row_sums:
            part = [np.asarray(a, order="C") for a in part]
        values: list[Any] = [*part, *(None for _ in plan.steps), *plan.constants]
        for step in plan.steps:
            if step.buffer < 0:
                out = results[-1 - step.buffer][start:stop]
            else:
                rows = stop - start
                if step.result in plan.thin:
                    shape: tuple[int, ...] = (rows, 1) if plan.rowwise else (1,) * results[0].ndim
                elif inner is not None:
                    shape = (rows, *inner)
                else:
                    shape = (rows,) if results[0].ndim == 1 else (rows, width)
                memory = buffer(step.buffer, step.dtype, block * width)
                out = memory[: math.prod(shape)].reshape(shape)
            operands = [values[index] for index in step.operands]
            if step.reduces:
                # a row of its own is summed once, for all rows
                target = out if operands[0].shape[0] == out.shape[0] else out[:1]
                yield from operation_calls(step.function, operands, target)
                if target is not out:
                    yield np.copyto, [out, target]
            else:
                yield from operation_calls(step.function, operands, out)
            values[step.result] = out
        for index in plan.copied:
            yield np.copyto, [results[index][start:stop], values[plan.outputs[index][0]]]


def _memory(shape: tuple[int, ...], dtype: Any, number: int) -> np.ndarray[Any, Any]:
    """Return memory for the `number`-th result; for a large one such that a replay can go on in it without a copy."""
    count = math.prod(shape) * dtype.itemsize
    if count < LARGE:
        return np.empty(shape, dtype)
    return aligned(count, number).view(dtype).reshape(shape)


def _is_worth_spreading(program: Program, blocks: int) -> bool:
    return blocks * len(program.instructions) >= WORTH_SPREADING


def names_of(arguments: Sequence[np.ndarray[Any, Any]]) -> tuple[str, ...]:
    """Return the dtypes of arrays by name."""
    return tuple(_name(a.dtype) for a in arguments)


@functools.lru_cache(maxsize=64)
def _name(dtype: Any) -> str:  # which takes NumPy some microseconds
    name: str = dtype.name
    return name


def operation_calls(function: Any, operands: list[Any], out: np.ndarray[Any, Any]) -> list[Call]:
    """Return the calls that write the result of one operation into `out`; for sums, of each row."""
    if function is np.where:
        return selection(operands[0], operands[1], operands[2], out)
    if function in _OVER_ROWS:
        return reduction(function, operands[0], -1, out, True)
    if function in (np.maximum, np.minimum):  # which want it by name
        return [(functools.partial(function, out=out), operands)]
    return [(function, [*operands, out])]


def is_large(arguments: Sequence[Any], size_from: int = THRESHOLD) -> bool:
    """Tell whether these are arrays of NumPy's, the largest of which has at least so many elements."""
    size = max((a.size for a in arguments if isinstance(a, np.ndarray)), default=1)
    return size >= size_from and all(isinstance(a, (np.ndarray, np.generic)) for a in arguments)


def _fits(target: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    return (
        isinstance(target, np.ndarray)
        and target.shape == tuple(shape)
        and target.dtype == dtype
        and target.flags.writeable
    )


def _undisturbed(arguments: Sequence[Any], donate: Sequence[int | None]) -> tuple[int | None, ...]:
    """Leave out the donations of memory that another argument shares, since it may be read later."""
    return tuple(
        None
        if source is None
        or any(np.may_share_memory(arguments[source], a) for i, a in enumerate(arguments) if i != source)
        else source
        for source in donate
    )


def _all_of_shape(program: Program, arguments: Sequence[Any], shape: tuple[int, ...]) -> bool:
    """Tell whether every output of the expression has the shape that all arguments broadcast to."""
    if all(a.shape == shape for a in arguments):
        return all(program.sources)
    if not program.rowwise:
        return all(
            used and np.broadcast_shapes(*(arguments[i].shape for i in used)) == shape
            for used in program.sources
        )
    # sums take the last axis away, so only the others can be compared; a row of their own has the full width
    return all(
        used and np.broadcast_shapes(*(arguments[i].shape[:-1] for i in used)) == shape[:-1]
        for used in program.sources
    )


def _rows(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """View an argument as (rows, width), (rows, 1), (1, width) or (1, 1); copy it only where it must be."""
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    lead = array.shape[:-1]
    last = array.shape[-1] if array.shape else 1
    if math.prod(lead) == 1:
        return array.reshape(1, last)
    if lead != shape[:-1]:
        array = np.broadcast_to(array, (*shape[:-1], last))
    return array.reshape(math.prod(shape[:-1]), last)


_OVER_ROWS = frozenset(getattr(np, name) for name in REDUCTIONS)


def function_of(operation: str, dtype: str) -> Callable[..., Any]:
    """Return NumPy's function for an operation whose result has this dtype."""
    if operation in ("ceil", "floor", "round", "trunc") and "int" in dtype:
        return np.positive
    found: Callable[..., Any] = getattr(np, "rint" if operation == "round" else operation)
    return found


def _make_plan(
    program: Program, dtypes: tuple[str, ...], donate: Sequence[int | None], thin: tuple[int, ...]
) -> _Plan:
    """Lay out a program for arguments of these dtypes; `thin` names those of one element for each row."""
    if any(dtype in HALVES for dtype in dtypes):
        raise TypeError("What has 16 bits is computed with in float32.")
    known = program.dtypes(dtypes)
    last_use = _last_uses(program)
    narrow = frozenset(program.per_row(thin))
    direct = _direct_outputs(program, last_use, donate)
    direct |= _on_the_way(program, known, narrow, last_use, direct, donate)
    buffers = _buffers(program, known, narrow, last_use, frozenset(direct))
    constants: list[Any] = []

    def place(operand: Operand) -> int:
        if isinstance(operand, Value):
            return operand.index
        constants.append(operand)
        return program.arity + len(program.instructions) + len(constants) - 1

    steps = tuple(
        _Step(
            function=function_of(instruction.operation, known[result]),
            operands=tuple(place(operand) for operand in instruction.operands),
            result=result,
            buffer=-1 - direct[result] if result in direct else buffers[result],
            dtype=np.dtype(known[result]),
            reduces=instruction.operation in REDUCTIONS,
        )
        for result, instruction in enumerate(program.instructions, start=program.arity)
    )
    outputs = tuple(
        (place(operand), np.dtype(known[operand.index] if isinstance(operand, Value) else dtypes[0]))
        for operand in program.outputs
    )
    # an output that is an argument as it came is copied before another output takes over its memory
    copied = sorted(
        (number for number, (index, _) in enumerate(outputs) if direct.get(index) != number),
        key=lambda number: outputs[number][0] >= program.arity,
    )
    return _Plan(
        steps=steps,
        constants=tuple(constants),
        outputs=outputs,
        copied=tuple(copied),
        rowwise=program.rowwise,
        thin=narrow,
        per_row_sums=any(step.reduces for step in steps),
    )


def _last_uses(program: Program) -> dict[int, int]:
    """Return for each value the position of the last instruction that reads it; results are held to the end."""
    last_use: dict[int, int] = {}
    for position, instruction in enumerate(program.instructions):
        last_use |= {operand.index: position for operand in _values(instruction.operands)}
    return last_use | {operand.index: len(program.instructions) for operand in _values(program.outputs)}


def _values(operands: Iterable[Operand]) -> list[Value]:
    """Return the operands that are values, each once."""
    return [operand for operand in dict.fromkeys(operands) if isinstance(operand, Value)]


def _buffers(
    program: Program,
    known: Sequence[str],
    per_row: frozenset[int],
    last_use: dict[int, int],
    direct: frozenset[int],
) -> dict[int, int]:
    """Give each value that is not written `direct` into its output a buffer, free again after the value's last use."""
    free: dict[bool, list[int]] = {True: [], False: []}  # what is short would take up a long one
    held: dict[int, int] = {}
    chosen: dict[int, int] = {}
    count = 0
    for position, instruction in enumerate(program.instructions):
        result = program.arity + position
        finished = [
            v.index
            for v in _values(instruction.operands)
            if last_use[v.index] == position and v.index in held
        ]
        if result not in direct:
            alike = [
                i for i in finished if known[i] == known[result] and (i in per_row) == (result in per_row)
            ]
            if alike and not _writes_early(instruction):
                chosen[result] = held.pop(alike[0])
            elif free[result in per_row]:
                chosen[result] = free[result in per_row].pop()
            else:
                chosen[result] = count
                count += 1
            if result in last_use:
                held[result] = chosen[result]
            else:
                free[result in per_row].append(chosen[result])
        for index in finished:
            if index in held:
                free[index in per_row].append(held.pop(index))
    return chosen


def select(condition: Any, chosen: Any, otherwise: Any, out: np.ndarray[Any, Any]) -> None:
    """Write into `out`, which is none of the operands, what `np.where` gives."""
    for function, operands in selection(condition, chosen, otherwise, out):
        function(*operands)


def selection(condition: Any, chosen: Any, otherwise: Any, out: np.ndarray[Any, Any]) -> list[Call]:
    """Return the calls that write into `out`, which is none of the operands, what `np.where` gives.

    It is done on the bits: other ^ ((chosen ^ other) * condition), or other & (condition - 1) if 0.0 is chosen, since
    products of integers and conditions are slower than casts. NumPy's own loops branch on each element, which takes
    about ten times as long where the condition is not to be foreseen.
    """
    words = f"u{out.dtype.itemsize}"
    first, second = (np.asarray(value, out.dtype).view(words) for value in (chosen, otherwise))
    bits = out.view(words)
    if is_zero(otherwise):  # the bits of 0.0 are none
        return [(np.multiply, [first, condition, bits])]
    if is_zero(chosen):
        return [
            (np.copyto, [bits, condition]),
            (np.subtract, [bits, np.array(1, words), bits]),
            (np.bitwise_and, [bits, second, bits]),
        ]
    return [
        (np.bitwise_xor, [first, second, bits]),
        (np.multiply, [bits, condition, bits]),
        (np.bitwise_xor, [bits, second, bits]),
    ]


def is_zero(value: Any) -> bool:
    """Tell whether a value is a Python number, which stays what it is, and 0.0 but not -0.0."""
    return isinstance(value, (int, float)) and not value and math.copysign(1.0, value) > 0.0


#: Universal functions by the reductions that repeat them.
_REPEATED: dict[Any, Any] = {
    np.sum: np.add,
    np.prod: np.multiply,
    np.max: np.maximum,
    np.amax: np.maximum,
    np.min: np.minimum,
    np.amin: np.minimum,
}


def reduces(function: Any, dtype: Any) -> bool:
    """Tell whether `reduction` knows a function whose result has this dtype."""
    return function in _REPEATED or (function is np.mean and dtype in (np.float32, np.float64))


def reduction(
    function: Any, x: Any, axis: Any, out: Any, keepdims: bool, *, dtype: Any = None, count: int = 0
) -> list[Call]:
    """Return the calls with which `np.sum` and the like write into `out`, without the Python around them.

    Parameters
    ----------
    function : callable
        One that `reduces` knows.
    x : array
        What is reduced; anything that stands for an array, if `count` is given.
    axis, out, keepdims, dtype
        As of the function; a mean takes no dtype.
    count : int
        How many elements each result is made of.
    """
    if function in _REPEATED:
        return [(_REPEATED[function].reduce, [x, axis, dtype, out, keepdims])]
    divisor = np.array(count or x.size // max(1, out.size), out.dtype)
    return [(np.add.reduce, [x, axis, None, out, keepdims]), (np.true_divide, [out, divisor, out])]


def _writes_early(instruction: Instruction) -> bool:
    """Tell whether an instruction may not write over its operands.

    Some write into the result before they have read them all. NumPy's power (2.4) gives a single element other last
    bits there: it takes the exponent for one number then, for which it has shorter ways.
    """
    return instruction.operation in ("pow", "where") or instruction.operation in REDUCTIONS


def _direct_outputs(
    program: Program, last_use: dict[int, int], donate: Sequence[int | None]
) -> dict[int, int]:
    """Return value -> output, for the values that are written straight into their output.

    An output that takes over an argument's memory is written there only once that argument is read no more.
    """
    outputs = {operand.index for operand in _values(program.outputs)}
    direct: dict[int, int] = {}
    for number, operand in enumerate(program.outputs):
        index = operand.index if isinstance(operand, Value) else -1
        position = index - program.arity
        if position < 0 or index in direct:
            continue
        source = donate[number] if number < len(donate) else None
        if source is not None:
            overlaps = _writes_early(program.instructions[position])
            if source in outputs or last_use.get(source, -1) > position - overlaps:
                continue
        direct[index] = number
    return direct


def _on_the_way(
    program: Program,
    known: Sequence[str],
    per_row: frozenset[int],
    last_use: dict[int, int],
    direct: dict[int, int],
    donate: Sequence[int | None],
) -> dict[int, int]:
    """Return value -> output, for intermediate results that an output is made of and that its memory can hold.

    Each of them is a buffer less, and what is written is in cache once it is written for the last time.
    """
    found: dict[int, int] = {}
    for result, number in direct.items():
        source = donate[number] if number < len(donate) else None
        position = result - program.arity
        while not _writes_early(program.instructions[position]):
            before = [
                value.index - program.arity
                for value in _values(program.instructions[position].operands)
                if value.index >= program.arity
                and value.index not in direct
                and value.index not in found
                and last_use[value.index] == position
                and known[value.index] == known[result]
                and (value.index in per_row) == (result in per_row)
            ]
            if not before:
                break
            position = before[0]
            overlaps = _writes_early(program.instructions[position])
            if source is not None and last_use.get(source, -1) > position - overlaps:
                break
            found[program.arity + position] = number
    return found
