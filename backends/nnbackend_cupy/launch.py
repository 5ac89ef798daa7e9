"""Elementwise and rowwise programs on CuPy: one generated kernel each, compiled at first use.

Calling a program waits for nothing: it launches its kernel on the current stream and returns the arrays that the
kernel will fill. An output takes over the memory of a donated argument where dtype and shape are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cupy
import numpy as np

from nnbackend.elementwise import HALVES, Program
from nnbackend_cupy import kernels
from nnbackend_cupy.kernels import Kind, Shape

__all__ = ["Evaluator"]

#: Plans kept for a program; a plan is small, but ever new shapes must not fill the memory with them.
_PLANS = 1024


@dataclass(frozen=True)
class _Launch:
    """One kernel of a program, for arguments of given dtypes and shapes.

    Attributes
    ----------
    kernel : callable
        CuPy's kernel.
    arguments, outputs : tuple of int
        Which arguments it reads and which outputs it writes.
    shapes, dtypes : tuple
        The shape and dtype of each of those outputs.
    halves : bool
        Whether 16-bit floating numbers are among them all.
    lead : tuple of int or None
        The shape of the rows of a rowwise kernel; None for an elementwise one.
    grid, block, sizes : tuple
        How a rowwise kernel is launched, and its rows and width.
    """

    kernel: Callable[..., Any]
    arguments: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[Any, ...]
    halves: bool
    lead: Shape | None = None
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    sizes: tuple[Any, ...] = ()


class Evaluator:
    """Runs programs; kernels and plans are kept with the program that they were made for."""

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        """Evaluate a program; where an argument is a Python number, or nothing is to do, by its plain expression."""
        if not all(isinstance(argument, cupy.ndarray) for argument in arguments):
            return program.plain(*arguments)
        if program.rowwise:
            arguments = _thinned(program, arguments)
        plans: dict[Any, list[_Launch]] = program.keep((self, "plans"), dict)
        key = tuple((argument.dtype, argument.shape) for argument in arguments)
        if key not in plans:
            if len(plans) >= _PLANS:
                plans.clear()
            plans[key] = self._plan(program, arguments)
        launches = plans[key]
        if not launches:
            return program.plain(*arguments)
        # of several kernels none may overwrite what the next one reads
        given = donate if len(launches) == 1 else ()
        results: list[Any] = [None] * len(program.outputs)
        for launch in launches:
            self._launch(launch, arguments, given, results)
        return results[0] if len(results) == 1 else tuple(results)

    def _plan(self, program: Program, arguments: Sequence[Any]) -> list[_Launch]:
        shapes = [argument.shape for argument in arguments]
        whole = kernels.broadcast(shapes)
        if program.rowwise and (not whole or math.prod(whole) == 0):
            return []  # no row to reduce, or an empty one: the library's own answer or error
        groups = kernels.output_groups(program, shapes)
        make = self._rowwise if program.rowwise else self._elementwise
        return [make(program, arguments, shape, outputs) for shape, outputs in groups]

    def _elementwise(
        self, program: Program, arguments: Sequence[Any], shape: Shape, outputs: tuple[int, ...]
    ) -> _Launch:
        names = tuple(argument.dtype.name for argument in arguments)

        def compiled() -> tuple[Any, Any]:
            source = kernels.elementwise_source(program, names, outputs)
            kernel = cupy.ElementwiseKernel(
                ", ".join(f"{dtype} {name}" for dtype, _, name in source.inputs),
                ", ".join(f"{dtype} {name}" for dtype, _, name in source.outputs),
                source.operation,
                source.name,
                preamble=kernels.PREAMBLE,
                options=kernels.OPTIONS,
            )
            return source, kernel

        source, kernel = program.keep((self, names, outputs), compiled)
        dtypes = _output_dtypes(program, arguments, outputs)
        halves = _has_halves(arguments)
        return _Launch(kernel, source.arguments, outputs, (shape,) * len(outputs), dtypes, halves)

    def _rowwise(
        self, program: Program, arguments: Sequence[Any], shape: Shape, outputs: tuple[int, ...]
    ) -> _Launch:
        names = tuple(argument.dtype.name for argument in arguments)
        width = shape[-1] if shape else 1
        kinds: tuple[Kind, ...] = tuple(kernels.classify(argument.shape, width) for argument in arguments)

        def compiled() -> tuple[Any, Any]:
            source = kernels.rowwise_source(program, names, kinds, outputs)
            code = source.preamble + source.code
            return source, cupy.RawKernel(code, source.name, options=kernels.OPTIONS)

        source, kernel = program.keep((self, names, kinds, outputs), compiled)
        thin = kernels.per_row_outputs(program, kinds)
        shapes = tuple((*shape[:-1], 1) if number in thin and shape else shape for number in outputs)
        rows = math.prod(shape[:-1])
        columns, lines = kernels.row_threads(width)
        return _Launch(
            kernel,
            source.arguments,
            outputs,
            shapes,
            _output_dtypes(program, arguments, outputs),
            _has_halves(arguments),
            lead=shape[:-1],
            grid=(math.ceil(rows / lines),),
            block=(columns, lines),
            sizes=(np.int64(rows), np.int64(width)),
        )

    @staticmethod
    def _launch(
        launch: _Launch, arguments: Sequence[Any], donate: Sequence[int | None], results: list[Any]
    ) -> None:
        taken: set[int] = set()
        for number, shape, dtype in zip(launch.outputs, launch.shapes, launch.dtypes, strict=True):
            source = donate[number] if number < len(donate) else None
            if source is not None and source not in taken and _fits(arguments[source], shape, dtype):
                taken.add(source)
                results[number] = arguments[source]
            else:
                results[number] = cupy.empty(shape, dtype)
        inputs = [arguments[index] for index in launch.arguments]
        outputs = [results[number] for number in launch.outputs]
        if launch.halves:
            inputs, outputs = [_bits(array) for array in inputs], [_bits(array) for array in outputs]
        if launch.lead is None:
            launch.kernel(*inputs, *outputs)
        else:
            inputs = [_rows(array, launch.lead) for array in inputs]
            launch.kernel(launch.grid, launch.block, (*inputs, *outputs, *launch.sizes))


def _thinned(program: Program, arguments: Sequence[Any]) -> Sequence[Any]:
    """Take one number in place of one for each row that are all the same, such as the gradient of a mean.

    A kernel over rows would have them laid out first. The results' shapes must not depend on it.
    """
    repeats = [a.size > 1 and a.shape[-1] == 1 and not any(a.strides[:-1]) for a in arguments]
    if not any(repeats):
        return arguments
    thinned = [
        cupy.ndarray((1,) * a.ndim, a.dtype, a.data) if again else a
        for a, again in zip(arguments, repeats, strict=True)
    ]
    before, after = (
        kernels.output_groups(program, [a.shape for a in given]) for given in (arguments, thinned)
    )
    return thinned if before == after else arguments


def _output_dtypes(program: Program, arguments: Sequence[Any], outputs: Sequence[int]) -> tuple[Any, ...]:
    """Return the dtypes of outputs, as objects that some argument may have brought along (bfloat16 has no name)."""
    names = [argument.dtype.name for argument in arguments]
    brought = {argument.dtype.name: argument.dtype for argument in arguments}
    found = [kernels.output_dtype(program, names, number) for number in outputs]
    return tuple(brought[name] if name in brought else np.dtype(name) for name in found)


def _has_halves(arguments: Sequence[Any]) -> bool:
    return any(argument.dtype.name in HALVES for argument in arguments)


def _fits(target: Any, shape: Shape, dtype: Any) -> bool:
    return target.shape == shape and target.dtype == dtype and bool(target.flags.c_contiguous)


def _bits(array: Any) -> Any:
    """View 16-bit floating numbers as integers: the kernels convert them themselves."""
    return array.view(np.uint16) if array.dtype.name in HALVES else array


def _rows(array: Any, lead: Shape) -> Any:
    """Lay out an argument so that a row, or an element for each row, follows the other."""
    if math.prod(array.shape[:-1]) != 1 and array.shape[:-1] != lead:
        array = cupy.broadcast_to(array, (*lead, array.shape[-1]))
    return cupy.ascontiguousarray(array)
