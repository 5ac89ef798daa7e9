"""Machine code for runs of elementwise instructions: one pass over memory, compiled by Numba.

Only operations whose result IEEE 754 defines to the last bit are compiled: sums, products, quotients, roots,
comparisons, choices. Nothing is reordered or contracted (no fast-math, no fused multiply-add), so that the code gives
the bits of NumPy, operation by operation. What libraries may round in ways of their own, such as ``exp``, is left to
NumPy, and so are sums.

The code is built by instructions in LLVM's form, through Numba's `intrinsic`; no text is evaluated.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nnbackend.elementwise import COMPARISONS, LOGICAL, Instruction, Operand, Value, promote

__all__ = ["Kernel", "Parameter", "can_compile", "compile_kernel"]

#: What runs over a rectangle of elements: the addresses and distances of rows of its parameters, then rows and columns.
Kernel = Callable[[bytes, int, int], None]

_INDEX = ir.IntType(64)
_TYPES: dict[str, Any] = {
    "bool": ir.IntType(1),
    **{f"{sign}int{bits}": ir.IntType(bits) for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}
_FLOATS = frozenset({"float32", "float64"})
_ON_INTEGERS = frozenset({"add", "subtract", "multiply", "maximum", "minimum", "where"}) | COMPARISONS
_ORDERED = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_INTRINSICS = {
    "abs": "fabs",
    "ceil": "ceil",
    "floor": "floor",
    "trunc": "trunc",
    "round": "rint",
    "sqrt": "sqrt",
    "copysign": "copysign",
}
_ARITHMETIC = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv"}
_ON_BITS = {"logical_and": "and_", "logical_or": "or_", "logical_xor": "xor"}


@dataclass(frozen=True)
class Parameter:
    """An array that a kernel reads, writes, or both, at the same place.

    Attributes
    ----------
    reads, writes : int or None
        The value that is there before, and the one that is there afterwards.
    dtype : str
        Its elements' dtype.
    varies : bool
        Whether it has elements along a row, rather than one for each row.
    """

    reads: int | None
    writes: int | None
    dtype: str
    varies: bool


def can_compile(instruction: Instruction, known: Sequence[str]) -> bool:
    """Tell whether an instruction can be compiled to the bits of NumPy, given the dtypes of all values before it."""
    operation = instruction.operation
    meeting = _meeting(instruction, known)
    if any(
        isinstance(operand, Value) and known[operand.index] not in _TYPES for operand in instruction.operands
    ):
        return False
    if operation in LOGICAL:
        return True
    if not all(_is_exact(operand, meeting) for operand in _branches(instruction)):
        return False
    if meeting in _FLOATS:
        return operation == "where" or operation in _FLOATING
    return operation == "where" if meeting == "bool" else meeting in _TYPES and operation in _ON_INTEGERS


def _branches(instruction: Instruction) -> tuple[Operand, ...]:
    """Return the operands that meet in one dtype: all but the condition of a choice."""
    return instruction.operands[1:] if instruction.operation == "where" else instruction.operands


def _meeting(instruction: Instruction, known: Sequence[str]) -> str:
    """Return the dtype in which the operands of an instruction meet."""
    branches = _branches(instruction)
    names = [known[operand.index] for operand in branches if isinstance(operand, Value)]
    if names:
        return promote(*names)
    return "float64" if any(isinstance(operand, float) for operand in branches) else "bool"


def _is_exact(operand: Operand, dtype: str) -> bool:
    """Tell whether an operand is a value, or a number that this dtype can take in."""
    if isinstance(operand, Value):
        return True
    if dtype in _FLOATS:
        return not math.isfinite(operand) or abs(operand) <= float(np.finfo(dtype).max)
    if dtype == "bool":
        return isinstance(operand, bool)
    limits = np.iinfo(dtype)
    return type(operand) is int and limits.min <= operand <= limits.max


def compile_kernel(
    name: str,
    instructions: Sequence[tuple[int, Instruction]],
    known: Sequence[str],
    parameters: Sequence[Parameter],
) -> Kernel:
    """Compile instructions to one loop over rows and columns.

    Parameters
    ----------
    name : str
        What the machine code is called.
    instructions : sequence of (int, Instruction)
        Each with the number of its result; they read results before them and parameters.
    known : sequence of str
        The dtype of every value.
    parameters : sequence of Parameter
        In the order of the addresses; no two share memory of which one is written.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def run(typing: Any, table: Any, rows: Any, columns: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            function = _function(builder.module, name, instructions, known, parameters)
            kinds = [*(p.type for p in function.args[: len(parameters)]), *(_INDEX for _ in parameters)]
            words = builder.inttoptr(arguments[0], _INDEX.as_pointer())
            given = [_entry(builder, words, number, kind) for number, kind in enumerate(kinds)]
            builder.call(function, [*given, *arguments[1:]])
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp), generate

    def program(table, rows, columns):  # type: ignore[no-untyped-def]
        run(table, rows, columns)

    code = numba.cfunc(types.void(types.intp, types.intp, types.intp))(program)
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_ssize_t, ctypes.c_ssize_t)
    kernel = prototype(code.address)
    kernel.code = code  # type: ignore[attr-defined]  # lives as long
    return kernel


def _entry(builder: Any, words: Any, number: int, kind: Any) -> Any:
    word = builder.load(builder.gep(words, [ir.Constant(_INDEX, number)]))
    return word if kind == _INDEX else builder.inttoptr(word, kind)


def _function(
    module: Any,
    name: str,
    instructions: Sequence[tuple[int, Instruction]],
    known: Sequence[str],
    parameters: Sequence[Parameter],
) -> Any:
    """Build the loops as a function of pointers, of which the optimizer is told that they lead apart."""
    pointers = [_in_memory(p.dtype).as_pointer() for p in parameters]
    shape = ir.FunctionType(ir.VoidType(), [*pointers, *(_INDEX for _ in parameters), _INDEX, _INDEX])
    function = ir.Function(module, shape, f"{name}_elements")
    function.linkage = "internal"
    for argument in function.args[: len(parameters)]:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block())
    count = len(parameters)
    starts, steps, (rows, columns) = function.args[:count], function.args[count:-2], function.args[-2:]
    varying = _varying(instructions, parameters)
    with cgutils.for_range(builder, rows) as row:
        places = [builder.gep(p, [builder.mul(row.index, s)]) for p, s in zip(starts, steps, strict=True)]
        values: dict[int, Any] = {}
        _emit(builder, instructions, known, parameters, places, values, lambda v: v not in varying)
        with cgutils.for_range(builder, columns) as column:
            places = [builder.gep(place, [column.index]) for place in places]
            _emit(builder, instructions, known, parameters, places, values, varying.__contains__)
    builder.ret_void()
    return function


def _varying(instructions: Sequence[tuple[int, Instruction]], parameters: Sequence[Parameter]) -> set[int]:
    """Return the values that vary along a row."""
    varying = {p.reads for p in parameters if p.reads is not None and p.varies}
    for result, instruction in instructions:
        if any(isinstance(o, Value) and o.index in varying for o in instruction.operands):
            varying.add(result)
    return varying


def _emit(
    builder: Any,
    instructions: Sequence[tuple[int, Instruction]],
    known: Sequence[str],
    parameters: Sequence[Parameter],
    places: Sequence[Any],
    values: dict[int, Any],
    here: Callable[[int], bool],
) -> None:
    """Read, compute and write the values that belong here: in the loop over a row, or before it."""
    for parameter, place in zip(parameters, places, strict=True):
        if parameter.reads is not None and here(parameter.reads):
            loaded = builder.load(place)
            values[parameter.reads] = (
                builder.icmp_unsigned("!=", loaded, loaded.type(0)) if parameter.dtype == "bool" else loaded
            )
    for result, instruction in instructions:
        if here(result):
            values[result] = _value(builder, instruction, known, values)
    for parameter, place in zip(parameters, places, strict=True):
        if parameter.writes is not None and here(parameter.writes):
            value = values[parameter.writes]
            builder.store(builder.zext(value, ir.IntType(8)) if parameter.dtype == "bool" else value, place)


def _in_memory(dtype: str) -> Any:
    return ir.IntType(8) if dtype == "bool" else _TYPES[dtype]


def _value(builder: Any, instruction: Instruction, known: Sequence[str], values: Mapping[int, Any]) -> Any:
    """Compute one instruction on one element."""
    operation = instruction.operation
    meeting = "bool" if operation in LOGICAL else _meeting(instruction, known)
    take = functools.partial(_operand, builder, known, values)
    operands = [take(operand, meeting) for operand in _branches(instruction)]
    if operation == "where":
        return builder.select(take(instruction.operands[0], "bool"), *operands)
    if operation == "logical_not":
        return builder.not_(*operands)
    if operation in _ON_BITS:
        return getattr(builder, _ON_BITS[operation])(*operands)
    if meeting in _FLOATS:
        return _FLOATING[operation](builder, *operands)
    if operation in COMPARISONS:
        return _compare(builder, operation, meeting, *operands)
    if operation in ("maximum", "minimum"):
        comparison = "greater" if operation == "maximum" else "less"
        return builder.select(_compare(builder, comparison, meeting, *operands), *operands)
    return getattr(builder, {"add": "add", "subtract": "sub", "multiply": "mul"}[operation])(*operands)


def _operand(
    builder: Any, known: Sequence[str], values: Mapping[int, Any], operand: Operand, dtype: str
) -> Any:
    """Return an operand in the dtype in which it meets the others; numbers are rounded to it once."""
    kind = _TYPES[dtype]
    if not isinstance(operand, Value):
        return ir.Constant(kind, float(np.dtype(dtype).type(operand)) if dtype in _FLOATS else int(operand))
    value, own = values[operand.index], known[operand.index]
    if own == dtype:
        return value
    if dtype in _FLOATS:
        return builder.fpext(value, kind)
    return builder.zext(value, kind) if own.startswith("u") else builder.sext(value, kind)


def _compare(builder: Any, operation: str, dtype: str, x: Any, y: Any) -> Any:
    if dtype in _FLOATS:  # a NaN is unlike all numbers
        compare = builder.fcmp_unordered if operation == "not_equal" else builder.fcmp_ordered
        return compare(_ORDERED[operation], x, y)
    signed = builder.icmp_unsigned if dtype.startswith("u") else builder.icmp_signed
    return signed(_ORDERED[operation], x, y)


def _call(builder: Any, name: str, *operands: Any) -> Any:
    kind = operands[0].type
    form = ir.FunctionType(kind, [kind] * len(operands))
    return builder.call(builder.module.declare_intrinsic(f"llvm.{name}", [kind], form), operands)


def _extreme(comparison: str, builder: Any, x: Any, y: Any) -> Any:
    """Return the one of the two that compares so, or a NaN if one is among them."""
    chosen = builder.or_(builder.fcmp_ordered(comparison, x, y), builder.fcmp_unordered("uno", x, x))
    return builder.select(chosen, x, y)


def _sign(builder: Any, x: Any) -> Any:
    """Return 1, -1 or 0, and of NaN itself."""
    zero, one = x.type(0.0), x.type(1.0)
    found = builder.select(builder.fcmp_ordered("==", x, zero), zero, x)
    found = builder.select(builder.fcmp_ordered("<", x, zero), x.type(-1.0), found)
    return builder.select(builder.fcmp_ordered(">", x, zero), one, found)


def _compared_with_infinity(comparison: str, builder: Any, x: Any) -> Any:
    return builder.fcmp_ordered(comparison, _call(builder, "fabs", x), x.type(math.inf))


def _arithmetic(method: str, builder: Any, x: Any, y: Any) -> Any:
    return getattr(builder, method)(x, y)


def _intrinsic(name: str, builder: Any, *operands: Any) -> Any:
    return _call(builder, name, *operands)


def _comparison(operation: str, builder: Any, x: Any, y: Any) -> Any:
    return _compare(builder, operation, "float64", x, y)


#: Operations on floating numbers: functions of a builder and the operands.
_FLOATING: dict[str, Callable[..., Any]] = {
    **{name: functools.partial(_arithmetic, method) for name, method in _ARITHMETIC.items()},
    **{name: functools.partial(_intrinsic, known) for name, known in _INTRINSICS.items()},
    **{name: functools.partial(_comparison, name) for name in COMPARISONS},
    "maximum": functools.partial(_extreme, ">"),
    "minimum": functools.partial(_extreme, "<"),
    "isnan": lambda builder, x: builder.fcmp_unordered("uno", x, x),
    "isinf": functools.partial(_compared_with_infinity, "=="),
    "isfinite": functools.partial(_compared_with_infinity, "<"),
    "negative": lambda builder, x: builder.fneg(x),
    "positive": lambda builder, x: x,
    "reciprocal": lambda builder, x: builder.fdiv(x.type(1.0), x),
    "sign": _sign,
    "square": lambda builder, x: builder.fmul(x, x),
}
