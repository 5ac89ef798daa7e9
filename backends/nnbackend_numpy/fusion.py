"""Elementwise programs on NumPy with a compiler: what can be compiled goes over memory once.

A program is cut into *kernels*, each a run of instructions that becomes machine code, and single operations that stay
NumPy's: sums over rows, and functions such as ``exp`` that libraries round in ways of their own. A program that is one
kernel, as the optimizers' are, goes over the arrays once; others go in blocks that stay in cache, as without a
compiler. Both kinds of operations give NumPy's bits, so that the compiler changes no result.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnbackend.elementwise import REDUCTIONS, Instruction, Operand, Program, Value
from nnbackend_numpy.blocks import (
    Buffers,
    Evaluator,
    Sweep,
    function_of,
    is_large,
    names_of,
    operation_calls,
)
from nnbackend_numpy.numba_compiler import Parameter, can_compile, compile_kernel
from nnbackend_numpy.shortcuts import Call
from nnbackend_numpy.threads import spread

__all__ = ["CompilingEvaluator"]

Array = np.ndarray[Any, Any]

#: Elements from which an array that comes outside of recorded steps goes to kernels: below, telling them where it lies
#: takes as long as they save (an update of Adam and four activations, float32: 1.0 to 1.45 times NumPy's own time at
#: 2**14, 0.5 to 1.02 at 2**16; Intel Xeon, 2.5 GHz).
COMPILED_FROM = 1 << 16
#: Elements that a kernel goes over in one call where it runs by itself: a piece of work for one of several threads.
PIECE = 1 << 18


@dataclass(frozen=True)
class _Part:
    """Instructions that are compiled together, or one that is NumPy's; each with the number of its result."""

    instructions: tuple[tuple[int, Instruction], ...]
    compiled: bool

    @property
    def results(self) -> list[int]:
        """The values that it defines."""
        return [result for result, _ in self.instructions]

    @property
    def reads(self) -> list[int]:
        """The values from before it that it reads, each once."""
        operands = [o.index for _, instruction in self.instructions for o in _values(instruction.operands)]
        return [index for index in dict.fromkeys(operands) if index not in self.results]


@dataclass(frozen=True)
class _Layout:
    """A program for arguments of given dtypes and shapes.

    Attributes
    ----------
    parts : tuple of _Part
        In the order in which they run.
    functions : tuple of callable
        For each part the kernel, or NumPy's function.
    parameters : tuple of tuple of Parameter
        Of each kernel.
    known : tuple of str
        The dtype of every value.
    varies : tuple of (bool, bool)
        Of every value, whether it varies from row to row, and along a row.
    direct : dict of int to int
        The values that are written straight into an output, and which.
    buffers : dict of int to int
        The buffers of the other values that one part writes and another one reads.
    copied : tuple of int
        The outputs that no part writes.
    whole_rows : bool
        Whether rows may not be cut, since they are summed.
    """

    parts: tuple[_Part, ...]
    functions: tuple[Callable[..., Any], ...]
    parameters: tuple[tuple[Parameter, ...], ...]
    known: tuple[str, ...]
    varies: tuple[tuple[bool, bool], ...]
    direct: dict[int, int]
    buffers: dict[int, int]
    copied: tuple[int, ...]
    whole_rows: bool

    @property
    def is_one_kernel(self) -> bool:
        """Whether nothing is kept from part to part, so that there is no need for blocks."""
        return len(self.parts) == 1 and self.parts[0].compiled and not self.copied


class _Table(bytes):
    """What a kernel is told of its parameters; it holds the arrays that it speaks of, so that they live as long."""

    arrays: tuple[Any, ...]


class CompilingEvaluator(Evaluator):
    """Runs programs with their exact parts compiled, at the first call for each set of dtypes."""

    recorded_from = 2

    def __init__(self) -> None:
        super().__init__()
        self._by_calls = Evaluator()

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        if is_large(arguments, COMPILED_FROM):
            return super().run(program, arguments, donate)
        return self._by_calls.run(program, arguments, donate)

    @staticmethod
    def spreads(program: Program, size: int) -> bool:
        """Leave it to the calls: one that runs a whole program spreads its pieces by itself."""
        return False

    def takes_in_place(self, program: Program, arguments: Sequence[Array]) -> bool:
        compiled = any(part.compiled for part in _parts_of(program, arguments))
        return (compiled and _in_rows(arguments, program) is not None) or super().takes_in_place(
            program, arguments
        )

    def _sweep(
        self,
        program: Program,
        plan: Any,
        arguments: list[Array],
        results: list[Array],
        donate: Sequence[int | None],
        block: int,
        buffer: Buffers,
    ) -> Sweep:
        over = tuple(
            source if source is not None and results[output] is arguments[source] else None
            for output, source in enumerate(donate)
        )
        views = _in_rows(arguments, program)
        if views is None or not any(part.compiled for part in _parts_of(program, arguments)):
            return super()._sweep(program, plan, arguments, results, donate, block, buffer)
        layout = _layout_of(program, arguments, views, over)
        rows, columns = np.broadcast_shapes(*(view.shape for view in views))
        targets = [r.reshape(rows, r.shape[-1] if program.rowwise else columns) for r in results]
        blocks = _Blocks(layout, program, views, targets, (rows, columns), buffer)
        if not layout.is_one_kernel:
            places = blocks.places(block)
            return range(len(places)), lambda starts: blocks.calls(places[start] for start in starts)
        pieces = list(blocks.calls(blocks.places(PIECE)))
        return range(1), lambda _: iter(pieces if len(pieces) == 1 else [(_spread, [pieces])])


# Views in rows


def _in_rows(arrays: Sequence[Array], program: Program) -> list[Array] | None:
    """View arrays that broadcast against each other as rows and columns, or as one of either; None if that cannot be.

    The rows are as long as can be; those of a rowwise program are the last axis.
    """
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    if 0 in shape or not all(a.dtype.isnative and a.flags.aligned for a in arrays):
        return None
    if not program.rowwise and all(
        a.size == 1 or (a.shape == shape and a.flags.c_contiguous) for a in arrays
    ):
        return [a.reshape(1, -1) for a in arrays]
    padded = [a.reshape((1,) * (len(shape) - a.ndim) + a.shape) for a in arrays]
    for split in [max(len(shape) - 1, 0)] if program.rowwise else range(max(len(shape), 1)):
        views = [_view_at(a, shape, split) for a in padded]
        found = [view for view in views if view is not None]
        if len(found) == len(views):
            # NumPy sums rows in another order where they do not lie one after the other
            summed = _sums_rows(program) and any(v.shape[1] > 1 and not v.flags.c_contiguous for v in found)
            return None if summed else found
    return None


def _view_at(array: Array, shape: tuple[int, ...], split: int) -> Array | None:
    """View an array as rows of the axes from `split` on, if its elements lie evenly along both directions."""
    sizes: list[int] = []
    for axes in (slice(None, split), slice(split, None)):
        size = math.prod(array.shape[axes])
        if array.shape[axes] != shape[axes] and size != 1:
            return None
        if not _is_even(array.shape[axes], array.strides[axes]):
            return None
        sizes.append(size)
    view = array.reshape(*sizes)
    along_rows = sizes[1] == 1 or view.strides[1] == array.itemsize
    return view if along_rows and view.strides[0] % array.itemsize == 0 else None


def _is_even(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Tell whether one step leads from each element to the next one, in the order of the axes."""
    steps = [(n, step) for n, step in zip(shape, strides, strict=True) if n != 1]
    return all(step == n * next_step for (_, step), (n, next_step) in itertools.pairwise(steps))


# Layout


def _parts_of(program: Program, arguments: Sequence[Array]) -> tuple[_Part, ...]:
    """Return the parts of a program for arguments of these dtypes, which are kept with it."""
    dtypes = names_of(arguments)
    parts: tuple[_Part, ...] = program.keep(
        ("numba", dtypes), lambda: _parts(program, program.dtypes(dtypes))
    )
    return parts


def _layout_of(
    program: Program, arguments: Sequence[Array], views: Sequence[Array], over: tuple[int | None, ...]
) -> _Layout:
    """Return the layout for these arguments, which is kept with the program."""
    dtypes = names_of(arguments)
    varies = tuple((view.shape[0] != 1, view.shape[1] != 1) for view in views)
    parts = _parts_of(program, arguments)
    layout: _Layout = program.keep(
        ("numba", dtypes, varies, over),
        lambda: _lay_out(program, parts, program.dtypes(dtypes), varies, over),
    )
    return layout


def _lay_out(
    program: Program,
    parts: tuple[_Part, ...],
    known: tuple[str, ...],
    given: tuple[tuple[bool, bool], ...],
    over: tuple[int | None, ...],
) -> _Layout:
    varies = _varies(program, given)
    direct = _direct(program, parts, over)
    buffers = _buffers(program, parts, direct)
    parameters = tuple(
        _parameters(part, known, varies, direct, buffers, over) if part.compiled else () for part in parts
    )
    return _Layout(
        parts=parts,
        functions=tuple(
            _function(program, part, known, taken) for part, taken in zip(parts, parameters, strict=True)
        ),
        parameters=parameters,
        known=known,
        varies=varies,
        direct=direct,
        buffers=buffers,
        # an output that is an argument as it came is copied before another output takes over its memory
        copied=tuple(
            sorted(
                (k for k, o in enumerate(program.outputs) if direct.get(_index(o)) != k),
                key=lambda k: _index(program.outputs[k]) >= program.arity,
            )
        ),
        whole_rows=_sums_rows(program),
    )


def _sums_rows(program: Program) -> bool:
    return any(instruction.operation in REDUCTIONS for instruction in program.instructions)


def _values(operands: Sequence[Operand]) -> list[Value]:
    return [operand for operand in operands if isinstance(operand, Value)]


def _index(operand: Operand) -> int:
    return operand.index if isinstance(operand, Value) else -1


def _parts(program: Program, known: Sequence[str]) -> tuple[_Part, ...]:
    """Cut a program into parts: what is compiled waits for as few of NumPy's operations as can be.

    Phases alternate, even ones are compiled; an instruction stands in the first phase that has all it reads.
    """
    wanted = {o.index for o in _values(program.outputs)}
    numbered = list(enumerate(program.instructions, start=program.arity))
    for result, instruction in reversed(numbered):
        if result in wanted:
            wanted.update(o.index for o in _values(instruction.operands))
    numbered = [(result, instruction) for result, instruction in numbered if result in wanted]
    phase = dict.fromkeys(range(program.arity), 0)
    for result, instruction in numbered:
        first = max((phase[o.index] for o in _values(instruction.operands)), default=0)
        is_numpys = not can_compile(instruction, known)
        phase[result] = first + (first % 2 != is_numpys)
    _delay(program, numbered, phase)
    phases: dict[int, list[tuple[int, Instruction]]] = {}
    for result, instruction in numbered:
        phases.setdefault(phase[result], []).append((result, instruction))
    parts: list[_Part] = []
    for number in sorted(phases):
        if number % 2 == 0:
            parts.append(_Part(tuple(phases[number]), compiled=True))
        else:
            parts += [_Part((each,), compiled=False) for each in phases[number]]
    if len(parts) == 1:
        return tuple(parts)
    return tuple(_Part(p.instructions, p.compiled and not _is_one_call(p.instructions)) for p in parts)


def _is_one_call(instructions: Sequence[tuple[int, Instruction]]) -> bool:
    """Tell whether instructions are one that NumPy does as well, in one call over a block."""
    return len(instructions) == 1 and instructions[0][1].operation != "where"


def _delay(program: Program, numbered: Sequence[tuple[int, Instruction]], phase: dict[int, int]) -> None:
    """Let what is compiled from arguments alone wait for the kernel that needs it, so that it need not be kept."""
    needed: dict[int, int] = {o.index: 0 for o in _values(program.outputs)}
    for result, instruction in reversed(numbered):
        alone = all(o.index < program.arity for o in _values(instruction.operands))
        if phase[result] == 0 and alone and needed[result] % 2 == 0:
            phase[result] = max(needed[result], 0)
        for operand in _values(instruction.operands):
            needed[operand.index] = min(needed.get(operand.index, phase[result]), phase[result])


def _varies(program: Program, given: Sequence[tuple[bool, bool]]) -> tuple[tuple[bool, bool], ...]:
    """Return for every value whether it varies from row to row, and along a row."""
    varies = list(given)
    for instruction in program.instructions:
        operands = [varies[o.index] for o in _values(instruction.operands)]
        along = any(row for _, row in operands) and instruction.operation not in REDUCTIONS
        varies.append((any(rows for rows, _ in operands), along))
    return tuple(varies)


def _direct(program: Program, parts: Sequence[_Part], over: Sequence[int | None]) -> dict[int, int]:
    """Return value -> output, for the values that are written straight into their output.

    An output that takes over an argument's memory is written there only where that argument is read no more.
    """
    makers = {result: number for number, part in enumerate(parts) for result in part.results}
    last = {index: number for number, part in enumerate(parts) for index in part.reads}
    outputs = {o.index for o in _values(program.outputs)}
    direct: dict[int, int] = {}
    for output, operand in enumerate(program.outputs):
        index = _index(operand)
        if index not in makers or index in direct:
            continue
        source = over[output] if output < len(over) else None
        if source is not None:
            at_once = parts[makers[index]].compiled  # each element is read before it is written
            if source in outputs or last.get(source, -1) > makers[index] - (not at_once):
                continue
        direct[index] = output
    return direct


def _buffers(program: Program, parts: Sequence[_Part], direct: dict[int, int]) -> dict[int, int]:
    """Give a buffer to each value that is kept for a later part or copied; it is free again after its last use."""
    last = {index: number for number, part in enumerate(parts) for index in part.reads}
    last |= {o.index: len(parts) for o in _values(program.outputs)}
    free: list[int] = []
    chosen: dict[int, int] = {}
    for number, part in enumerate(parts):
        for result in part.results:
            if result in direct or result not in last:
                continue
            chosen[result] = free.pop() if free else len(set(chosen.values()))
        free += [chosen[index] for index in part.reads if index in chosen and last[index] == number]
    return chosen


def _parameters(
    part: _Part,
    known: Sequence[str],
    varies: Sequence[tuple[bool, bool]],
    direct: dict[int, int],
    buffers: dict[int, int],
    over: Sequence[int | None],
) -> tuple[Parameter, ...]:
    """Return what a kernel reads and writes; an output in the place of an argument is one parameter with it."""
    written = {
        over[direct[result]] if result in direct and direct[result] < len(over) else None: result
        for result in part.results
        if result in direct
    }
    parameters = [
        Parameter(index, written.get(index), known[index], varies[index][1]) for index in part.reads
    ]
    merged = {parameter.writes for parameter in parameters}
    parameters += [
        Parameter(None, result, known[result], varies[result][1])
        for result in part.results
        if (result in direct or result in buffers) and result not in merged
    ]
    return tuple(parameters)


def _function(
    program: Program, part: _Part, known: Sequence[str], parameters: Sequence[Parameter]
) -> Callable[..., Any]:
    if part.compiled:
        return compile_kernel(program.name, part.instructions, known, parameters)
    ((result, instruction),) = part.instructions
    return function_of(instruction.operation, known[result])


# Running


class _Area:
    """An array of rows, of which blocks are taken; what does not vary along an axis is the same in each."""

    __slots__ = ("array", "column", "row", "start")

    def __init__(self, array: Array) -> None:
        self.array = array
        self.start = array.ctypes.data
        self.row, self.column = (s if n != 1 else 0 for s, n in zip(array.strides, array.shape, strict=True))

    def block(self, rows: slice, columns: slice) -> Array:
        """Return the part of a block."""
        return self.array[rows if self.row else slice(None), columns if self.column else slice(None)]

    def address(self, rows: slice, columns: slice) -> int:
        """Return where the part of a block begins."""
        place: int = self.start + rows.start * self.row + columns.start * self.column
        return place


class _Block:
    """One block of a program's values: arguments and outputs are parts of theirs, the others have buffers."""

    def __init__(
        self,
        layout: _Layout,
        areas: dict[int, _Area],
        rows: slice,
        columns: slice,
        elements: int,
        buffer: Buffers,
    ) -> None:
        self._layout, self._areas, self._rows, self._columns = layout, areas, rows, columns
        self._elements, self._buffer = elements, buffer
        self._own: dict[int, _Area] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns it has."""
        return self._rows.stop - self._rows.start, self._columns.stop - self._columns.start

    def place(self, value: int) -> tuple[_Area, slice, slice]:
        """Return where a value lies."""
        if value in self._areas:
            return self._areas[value], self._rows, self._columns
        rows, columns = self.shape
        if value not in self._own:
            by_row, along = self._layout.varies[value]
            form = rows if by_row else 1, columns if along else 1
            dtype = np.dtype(self._layout.known[value])
            memory = self._buffer(self._layout.buffers[value], dtype, self._elements)
            self._own[value] = _Area(memory[: math.prod(form)].reshape(form))
        return self._own[value], slice(0, rows), slice(0, columns)

    def array(self, operand: Operand) -> Any:
        """Return an operand's part of the block."""
        if not isinstance(operand, Value):
            return operand
        area, rows, columns = self.place(operand.index)
        return area.block(rows, columns)

    def table(self, parameters: Sequence[Parameter]) -> _Table:
        """Return what a kernel is told: where its parameters begin, and how far apart their rows are."""
        places = [self.place(_place_of(parameter)) for parameter in parameters]
        starts = [area.address(rows, columns) for area, rows, columns in places]
        steps = [area.row // area.array.itemsize for area, _, _ in places]
        table = _Table(struct.pack(f"{2 * len(places)}q", *starts, *steps))
        table.arrays = tuple(area.array for area, _, _ in places)
        return table


def _place_of(parameter: Parameter) -> int:
    index = parameter.writes if parameter.reads is None else parameter.reads
    assert index is not None
    return index


class _Blocks:
    """A program over blocks of its arguments."""

    def __init__(
        self,
        layout: _Layout,
        program: Program,
        views: Sequence[Array],
        targets: Sequence[Array],
        shape: tuple[int, int],
        buffer: Buffers,
    ) -> None:
        self._layout, self._program, self._shape, self._buffer = layout, program, shape, buffer
        self._results = [_Area(target) for target in targets]
        self._areas = {index: _Area(view) for index, view in enumerate(views)}
        self._areas |= {value: self._results[output] for value, output in layout.direct.items()}
        self._elements = 0

    def places(self, block: int) -> list[tuple[slice, slice]]:
        """Return the rows and columns of blocks of about `block` elements."""
        height, width = min(self._shape[0], max(1, block // max(self._shape[1], 1))), self._shape[1]
        if height == 1 and not self._layout.whole_rows:
            width = min(block, width)
        self._elements = height * width
        columns = list(_pieces(self._shape[1], width))
        return [(rows, some) for rows in _pieces(self._shape[0], height) for some in columns]

    def calls(self, places: Iterable[tuple[slice, slice]]) -> Iterator[Call]:
        """Yield the calls that run the program over blocks."""
        layout = self._layout
        for rows, columns in places:
            values = _Block(layout, self._areas, rows, columns, self._elements, self._buffer)
            for part in zip(layout.parts, layout.functions, layout.parameters, strict=True):
                yield from _calls_of(values, *part)
            for output in layout.copied:
                target = self._results[output].block(rows, columns)
                yield np.copyto, [target, values.array(self._program.outputs[output])]


def _spread(calls: Sequence[Call]) -> None:
    """Make calls that write to places of their own, in as many threads as are allowed."""
    spread(calls, _call_each)


def _call_each(calls: Iterable[Call]) -> None:
    for function, operands in calls:
        function(*operands)


def _pieces(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, max(size, 1)))


def _calls_of(
    values: _Block, part: _Part, function: Callable[..., Any], parameters: Sequence[Parameter]
) -> list[Call]:
    """Return the calls of one part."""
    if part.compiled:
        return [(function, [values.table(parameters), *values.shape])]
    ((result, instruction),) = part.instructions
    operands = [values.array(operand) for operand in instruction.operands]
    return operation_calls(function, operands, values.array(Value(result)))
