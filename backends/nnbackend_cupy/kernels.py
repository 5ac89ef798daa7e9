"""CUDA source for elementwise and rowwise programs, for copies of many pieces, and for the random stream.

Nothing here imports CuPy or needs a GPU: the sources are plain text that the tests compile and run anywhere.

A value is computed in the type its dtype names; float16 and bfloat16 are computed in float32 and rounded only where
they are stored. Constants are rounded from double precision once. The kernels are compiled without contraction into
fused multiply-adds (`OPTIONS`), so that sums, products, quotients and square roots have the bits that NumPy gives them;
exponentials and their like agree to a few units in the last place. CuPy adds ``-ftz=true`` behind these options, so
that float32 and bfloat16 numbers too small to be normal, below 1.2e-38, count as zeros.

A rowwise program runs as one kernel in which a group of threads shares a row. It passes over the row once for each
reduction that has to wait for another, computing the straight-line parts anew in each pass. A thread adds up every
``blockDim.x``-th element and the threads' partial results meet in a binary tree; the number of threads follows from
the length of the row alone (`row_threads`), so the order of a sum, and with it every bit, is the same in every run
and on every device. Sums are taken in float32 for float32 and the 16-bit dtypes, in float64 for float64.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from nnbackend.elementwise import (
    COMPARISONS,
    HALVES,
    LOGICAL,
    OPERATIONS,
    REDUCTIONS,
    Instruction,
    Operand,
    Program,
    Value,
    promote,
)

__all__ = [
    "C_TYPES",
    "MOVE_PIECES",
    "MOVE_SOURCES",
    "MOVE_THREADS",
    "OPTIONS",
    "PHILOX_NAME",
    "PHILOX_SOURCE",
    "PHILOX_THREADS",
    "PREAMBLE",
    "CType",
    "ElementwiseSource",
    "Kind",
    "RowwiseSource",
    "broadcast",
    "classify",
    "elementwise_source",
    "move_name",
    "output_dtype",
    "output_groups",
    "per_row_outputs",
    "row_threads",
    "rowwise_source",
]

#: What the compiler is told: round after every operation, as NumPy does.
OPTIONS = ("--fmad=false",)

#: Threads of the largest block of a rowwise kernel, which is as large as CUDA allows.
_MOST_THREADS = 1024

#: How an argument of a rowwise program varies: over rows and columns, with the row, with the column, not at all.
Kind: TypeAlias = Literal["full", "row", "column", "scalar"]
Shape: TypeAlias = tuple[int, ...]


class CType(NamedTuple):
    """What a dtype is in CUDA.

    Attributes
    ----------
    passed : str
        The dtype CuPy passes it as.
    stored, computed : str
        The C types that it has in memory and that it is computed in.
    """

    passed: str
    stored: str
    computed: str


#: By the dtype's name.
C_TYPES = {
    "bool": CType("bool", "bool", "bool"),
    "uint8": CType("uint8", "unsigned char", "unsigned char"),
    "int8": CType("int8", "signed char", "signed char"),
    "int16": CType("int16", "short", "short"),
    "int32": CType("int32", "int", "int"),
    "int64": CType("int64", "long long", "long long"),
    "float16": CType("uint16", "unsigned short", "float"),
    "bfloat16": CType("uint16", "unsigned short", "float"),
    "float32": CType("float32", "float", "float"),
    "float64": CType("float64", "double", "double"),
}
#: C type -> the least value it holds
_LOWEST = {
    "unsigned char": "0",
    "signed char": "-128",
    "short": "-32768",
    "int": "(-2147483647 - 1)",
    "long long": "(-9223372036854775807LL - 1)",
    "float": "-nn_infinity<float>()",
    "double": "-nn_infinity<double>()",
}
_HIGHEST = {
    "unsigned char": "255",
    "signed char": "127",
    "short": "32767",
    "int": "2147483647",
    "long long": "9223372036854775807LL",
    "float": "nn_infinity<float>()",
    "double": "nn_infinity<double>()",
}
_INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "logical_and": "&&",
    "logical_or": "||",
    "logical_xor": "!=",
}
#: Operation -> function of the C library, to which float32 adds an f.
_LIBRARY = {
    **{name: name for name in "ceil cos cosh exp expm1 floor log log1p sin sinh sqrt tan tanh trunc".split()},
    **{name: name for name in "atan2 copysign hypot pow".split()},
    "abs": "fabs",
    "round": "rint",
}
#: Operations that stay within the integers.
_ON_INTEGERS = (
    frozenset(
        "abs add ceil floor maximum minimum multiply negative positive round sign square subtract trunc where".split()
    )
    | COMPARISONS
)
_WHOLE = frozenset({"ceil", "floor", "round", "trunc", "positive"})

#: Functions that the generated sources use; self-contained, so that no header is needed to compile them.
PREAMBLE = r"""
template <typename T> __device__ __forceinline__ T nn_infinity();
template <> __device__ __forceinline__ float nn_infinity<float>() { return __int_as_float(0x7f800000); }
template <> __device__ __forceinline__ double nn_infinity<double>() {
    return __longlong_as_double(0x7ff0000000000000LL);
}
template <typename T> __device__ __forceinline__ T nn_nan() { return nn_infinity<T>() - nn_infinity<T>(); }

// the first argument where it is NaN, as in NumPy
template <typename T> __device__ __forceinline__ T nn_maximum(T a, T b) { return (a >= b || a != a) ? a : b; }
template <typename T> __device__ __forceinline__ T nn_minimum(T a, T b) { return (a <= b || a != a) ? a : b; }
template <typename T> __device__ __forceinline__ T nn_add(T a, T b) { return a + b; }
template <typename T> __device__ __forceinline__ T nn_sign(T a) {
    return a > T(0) ? T(1) : a < T(0) ? T(-1) : a == T(0) ? T(0) : a;
}
template <typename T> __device__ __forceinline__ bool nn_isfinite(T a) { return a - a == T(0); }
template <typename T> __device__ __forceinline__ bool nn_isinf(T a) { return a == a && !nn_isfinite(a); }

__device__ __forceinline__ float nn_load_float16(unsigned short bits) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    _Float16 value;
    __builtin_memcpy(&value, &bits, 2);
    return (float)value;
#endif
}
__device__ __forceinline__ unsigned short nn_store_float16(float value) {
    unsigned short bits;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    const _Float16 rounded = (_Float16)value;
    __builtin_memcpy(&bits, &rounded, 2);
#endif
    return bits;
}
__device__ __forceinline__ float nn_load_bfloat16(unsigned short bits) {
    return __int_as_float((int)((unsigned int)bits << 16));
}
__device__ __forceinline__ unsigned short nn_store_bfloat16(float value) {
    const unsigned int bits = (unsigned int)__float_as_int(value);
    if (value != value) return (unsigned short)((bits >> 16) | 0x40u);
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);  // to nearest, ties to even
}
"""

_REDUCE = r"""
// Combine the values of the threads that share a row, always in the same order; every one of them gets the result.
template <typename T> __device__ __forceinline__ T nn_combine(T value, T (*combine)(T, T), unsigned char* memory) {
    T* shared = reinterpret_cast<T*>(memory);
    const unsigned int own = threadIdx.y * blockDim.x + threadIdx.x;
    shared[own] = value;
    __syncthreads();
    for (unsigned int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[own] = combine(shared[own], shared[own + half]);
        __syncthreads();
    }
    const T result = shared[own - threadIdx.x];
    __syncthreads();
    return result;
}
"""


@dataclass(frozen=True)
class ElementwiseSource:
    """An elementwise program as CuPy's ``ElementwiseKernel`` wants it.

    Attributes
    ----------
    name : str
        The kernel's name.
    arguments : tuple of int
        The program's arguments that it reads; in the source they are ``x0``, ``x1``, ..., by their numbers.
    inputs, outputs : tuple of (str, str, str)
        The parameters: dtype as passed, C type in memory, name.
    operation : str
        What happens to one element.
    """

    name: str
    arguments: tuple[int, ...]
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    operation: str


@dataclass(frozen=True)
class RowwiseSource:
    """A rowwise program as a whole kernel.

    Attributes
    ----------
    name : str
        The kernel's name.
    arguments : tuple of int
        The program's arguments that it reads.
    parameters : tuple of str
        The kernel's parameters in C: a pointer for each argument and each output, then rows and width.
    code : str
        The kernel, without `preamble`.
    preamble : str
        What comes before it.
    """

    name: str
    arguments: tuple[int, ...]
    parameters: tuple[str, ...]
    code: str
    preamble: str = PREAMBLE + _REDUCE


def broadcast(shapes: Iterable[Shape]) -> Shape:
    """Return the shape that these shapes broadcast to.

    Raises
    ------
    ValueError
        If they do not.
    """
    shapes = list(shapes)
    length = max((len(shape) for shape in shapes), default=0)
    result = [1] * length
    for shape in shapes:
        for axis, size in enumerate(shape, start=length - len(shape)):
            if size == 1 or size == result[axis]:
                continue
            if result[axis] != 1:
                raise ValueError(
                    f"The shapes {', '.join(map(str, shapes))} do not broadcast against each other."
                )
            result[axis] = size
    return tuple(result)


def output_groups(program: Program, shapes: Sequence[Shape]) -> list[tuple[Shape, tuple[int, ...]]]:
    """Group a program's outputs by the shape that the arguments they are made of broadcast to.

    Nearly always there is one group. A constant output has the shape of all arguments together.
    """
    groups: dict[Shape, list[int]] = {}
    for number, of in enumerate(program.sources):
        groups.setdefault(broadcast(shapes[i] for i in (of or range(program.arity))), []).append(number)
    return [(shape, tuple(numbers)) for shape, numbers in groups.items()]


def output_dtype(program: Program, dtypes: Sequence[str], number: int) -> str:
    """Return the dtype of an output; a constant has that of the first argument."""
    operand = program.outputs[number]
    return program.dtypes(dtypes)[operand.index] if isinstance(operand, Value) else dtypes[0]


def classify(shape: Shape, width: int) -> Kind:
    """Tell how an argument of this shape varies in a rowwise program over rows of `width` elements."""
    thin = width == 1 or not shape or shape[-1] == 1
    if math.prod(shape[:-1]) == 1:
        return "scalar" if thin else "column"
    return "row" if thin else "full"


def row_threads(width: int) -> tuple[int, int]:
    """Return the block of a rowwise kernel: how many threads share a row, and how many rows share a block."""
    if width <= 32:
        columns = _power_of_two(width)
    else:
        columns = min(_MOST_THREADS, max(32, _power_of_two((width + 3) // 4)))
    return columns, max(1, 128 // columns)


def _power_of_two(number: int) -> int:
    """Return the least power of two that is not below `number`."""
    return 1 << max(0, (number - 1).bit_length())


def elementwise_source(program: Program, dtypes: Sequence[str], outputs: Sequence[int]) -> ElementwiseSource:
    """Generate the kernel that computes these outputs of an elementwise program.

    Parameters
    ----------
    program : Program
        An elementwise program.
    dtypes : sequence of str
        The dtypes of its arguments, by name.
    outputs : sequence of int
        Which of its outputs.

    Raises
    ------
    TypeError
        If an operation is not defined on its operands' dtypes.
    """
    body = _Body(program, dtypes)
    needed = body.needed(program.outputs[number] for number in outputs)
    arguments = tuple(index for index in range(program.arity) if index in needed)
    # every argument is read before anything is written, since an output may lie in an argument's memory
    lines = [body.load(index, f"x{index}") for index in arguments]
    lines += [body.define(index) for index in sorted(needed) if index >= program.arity]
    lines += [f"y{number} = {body.stored(number)};" for number in outputs]
    inputs = tuple((*C_TYPES[dtypes[index]][:2], f"x{index}") for index in arguments)
    results = tuple((*C_TYPES[body.output_dtype(number)][:2], f"y{number}") for number in outputs)
    return ElementwiseSource(_identifier(program.name), arguments, inputs, results, "\n".join(lines))


def per_row_outputs(program: Program, kinds: Sequence[Kind]) -> frozenset[int]:
    """Return which outputs of a rowwise program have one element for each row."""
    fixed = _fixed(program, kinds)
    return frozenset(
        number
        for number, operand in enumerate(program.outputs)
        if isinstance(operand, Value) and operand.index in fixed
    )


def _fixed(program: Program, kinds: Sequence[Kind]) -> dict[int, int]:
    """Return the values that do not vary along a row, each with the pass after which it is known."""
    return program.per_row(index for index, kind in enumerate(kinds) if kind in ("row", "scalar"))


def rowwise_source(
    program: Program, dtypes: Sequence[str], kinds: Sequence[Kind], outputs: Sequence[int]
) -> RowwiseSource:
    """Generate the kernel that computes these outputs of a rowwise program.

    Parameters
    ----------
    program : Program
        A rowwise program.
    dtypes : sequence of str
        The dtypes of its arguments, by name.
    kinds : sequence of Kind
        How each argument varies.
    outputs : sequence of int
        Which of its outputs.

    Raises
    ------
    TypeError
        If an operation is not defined on its operands' dtypes.
    """
    body = _Body(program, dtypes)
    fixed = _fixed(program, kinds)
    wanted = [program.outputs[number] for number in outputs]
    needed = body.needed(wanted)
    arguments = tuple(index for index in range(program.arity) if index in needed)
    thin = per_row_outputs(program, kinds)

    def reduces(index: int) -> bool:
        """Tell whether a value is a reduction over more than one element."""
        instruction = body.instruction(index)
        (operand, *_) = instruction.operands
        return (
            instruction.operation in REDUCTIONS and isinstance(operand, Value) and operand.index not in fixed
        )

    def loop(targets: Iterable[Operand], guard: str = "") -> list[str]:
        """Open a loop over the row that computes the targets from arguments and from what is known per row."""
        inside = sorted(body.needed(targets, stop=frozenset(fixed)) - set(fixed))
        lines = [f"{guard}for (long long j = threadIdx.x; j < width; j += blockDim.x) {{"]
        for index in inside:
            place = "j" if index < program.arity and kinds[index] == "column" else "row * width + j"
            if index < program.arity:
                lines.append("    " + body.load(index, f"x{index}[{place}]"))
            else:
                lines.append("    " + body.define(index))
        return lines

    def known_after(level: int) -> list[str]:
        """Compute what follows, per row, from the reductions of a pass."""
        indices = [
            i
            for i in sorted(needed & set(fixed))
            if i >= program.arity and fixed[i] == level and not reduces(i)
        ]
        return [body.define(index) for index in indices]

    lines = [
        "const long long own = (long long)blockIdx.x * blockDim.y + threadIdx.y;",
        "const long long row = own < rows ? own : rows - 1;  // idle threads follow the last row, for the barriers",
    ]
    reductions = [index for index in sorted(needed) if index >= program.arity and reduces(index)]
    if reductions:
        lines.append("__shared__ __align__(8) unsigned char memory[8 * 1024];")
    for index in arguments:
        if index in fixed:
            lines.append(body.load(index, f"x{index}[{'row' if kinds[index] == 'row' else '0'}]"))
    lines += known_after(0)
    for level in sorted({fixed[index] for index in reductions}):
        current = [index for index in reductions if fixed[index] == level]
        lines += [f"{body.ctype(index)} p{index} = {body.identity(index)};" for index in current]
        lines += loop(body.instruction(index).operands[0] for index in current)
        lines += [
            f"    p{index} = {body.combine(index)}(p{index}, {body.reduced(index)});" for index in current
        ]
        lines.append("}")
        for index in current:
            ctype = body.ctype(index)
            result = f"nn_combine<{ctype}>(p{index}, {body.combine(index)}<{ctype}>, memory)"
            if body.instruction(index).operation == "mean":
                result += f" / ({ctype})width"
            lines.append(f"const {ctype} v{index} = {result};")
        lines += known_after(level)
    wide = [number for number in outputs if number not in thin]
    if wide:
        lines += loop((program.outputs[number] for number in wide), guard="if (own < rows) ")
        lines += [f"    y{number}[row * width + j] = {body.stored(number)};" for number in wide]
        lines.append("}")
    if per_row := [number for number in outputs if number in thin]:
        lines.append(
            "__syncthreads();  // an output may lie in the memory of an argument that others still read"
        )
        lines.append("if (own < rows && threadIdx.x == 0) {")
        lines += [f"    y{number}[row] = {body.stored(number)};" for number in per_row]
        lines.append("}")
    parameters = (
        *(f"const {C_TYPES[dtypes[index]].stored}* x{index}" for index in arguments),
        *(f"{C_TYPES[body.output_dtype(number)].stored}* y{number}" for number in outputs),
        "const long long rows",
        "const long long width",
    )
    name = _identifier(program.name)
    text = "\n".join("    " + line for line in lines)
    # the largest block has 64 registers for each thread; a long program takes more unless it is told
    bounds = f"__launch_bounds__({_MOST_THREADS}, 1)"
    code = f'extern "C" {bounds} __global__ void {name}({", ".join(parameters)}) {{\n{text}\n}}\n'
    return RowwiseSource(name, arguments, parameters, code)


def _identifier(name: str) -> str:
    return "program_" + re.sub(r"\W", "_", name)


class _Body:
    """Writes the instructions of a program in C, for arguments of given dtypes.

    Argument ``i`` is the variable ``a{i}``, the value of instruction ``i`` the variable ``v{i}``.
    """

    def __init__(self, program: Program, dtypes: Sequence[str]) -> None:
        self.program = program
        self.dtypes = program.dtypes(dtypes)

    def instruction(self, index: int) -> Instruction:
        return self.program.instructions[index - self.program.arity]

    def ctype(self, index: int) -> str:
        return C_TYPES[self.dtypes[index]].computed

    def needed(self, targets: Iterable[Operand], stop: frozenset[int] = frozenset()) -> set[int]:
        """Return the values from which the targets are computed, themselves included; those in `stop` are at hand."""
        found: set[int] = set()
        pending = [operand.index for operand in targets if isinstance(operand, Value)]
        while pending:
            index = pending.pop()
            if index in found:
                continue
            found.add(index)
            if index >= self.program.arity and index not in stop:
                operands = self.instruction(index).operands
                pending += [operand.index for operand in operands if isinstance(operand, Value)]
        return found

    def load(self, index: int, place: str) -> str:
        dtype = self.dtypes[index]
        value = f"nn_load_{dtype}({place})" if dtype in HALVES else place
        return f"const {self.ctype(index)} a{index} = {value};"

    def define(self, index: int) -> str:
        return f"const {self.ctype(index)} v{index} = {self._expression(index)};"

    def output_dtype(self, number: int) -> str:
        operand = self.program.outputs[number]
        return self.dtypes[operand.index if isinstance(operand, Value) else 0]

    def stored(self, number: int) -> str:
        """Return an output as it is written to memory."""
        dtype = self.output_dtype(number)
        value = self._operand(self.program.outputs[number], C_TYPES[dtype].computed)
        return f"nn_store_{dtype}({value})" if dtype in HALVES else value

    def identity(self, index: int) -> str:
        """Return what a reduction starts from."""
        operation, ctype, dtype = self.instruction(index).operation, self.ctype(index), self.dtypes[index]
        if operation in ("sum", "mean") and ctype not in ("float", "double", "long long"):
            raise self._refusal(operation, dtype)
        if operation == "mean" and ctype == "long long":
            raise self._refusal(operation, dtype)
        return {"max": _LOWEST[ctype], "min": _HIGHEST[ctype]}.get(operation, "0")

    def combine(self, index: int) -> str:
        """Return the function by which a reduction combines two values."""
        return {"max": "nn_maximum", "min": "nn_minimum"}.get(self.instruction(index).operation, "nn_add")

    def reduced(self, index: int) -> str:
        return self._operand(self.instruction(index).operands[0], self.ctype(index))

    def _operand(self, operand: Operand, ctype: str) -> str:
        """Write an operand in the type in which it is used."""
        if not isinstance(operand, Value):
            return _constant(operand, ctype)
        name = f"{'a' if operand.index < self.program.arity else 'v'}{operand.index}"
        return name if self.ctype(operand.index) == ctype else f"({ctype}){name}"

    def _refusal(self, operation: str, dtype: str) -> TypeError:
        return TypeError(
            f"{self.program.name}: {operation} is not defined on {dtype} here. Cast the array before."
        )

    def _expression(self, index: int) -> str:
        operation, operands = self.instruction(index).operation, self.instruction(index).operands
        if operation in REDUCTIONS:  # over the one element of a value that does not vary along the row
            return self._operand(operands[0], self.ctype(index))
        if operation == "where":
            condition = self._operand(operands[0], "bool")
            chosen, otherwise = (self._operand(operand, self.ctype(index)) for operand in operands[1:])
            return f"{condition} ? {chosen} : {otherwise}"
        names = [self.dtypes[operand.index] for operand in operands if isinstance(operand, Value)]
        dtype = promote(*names) if names else self.dtypes[index]
        ctype = C_TYPES[dtype].computed
        self._check(operation, dtype)
        return self._written(operation, ctype, [self._operand(operand, ctype) for operand in operands])

    def _check(self, operation: str, dtype: str) -> None:
        if operation not in OPERATIONS:
            raise NotImplementedError(f"{self.program.name}: no CUDA source is known for {operation}.")
        if operation in LOGICAL:
            allowed = dtype == "bool"
        elif dtype == "bool":
            allowed = operation in ("equal", "not_equal")
        else:
            allowed = "float" in dtype or operation in _ON_INTEGERS
        if not allowed:
            raise self._refusal(operation, dtype)

    @staticmethod
    def _written(operation: str, ctype: str, operands: list[str]) -> str:
        first = operands[0]
        floating = ctype in ("float", "double")
        if operation in _INFIX:
            text = f"{first} {_INFIX[operation]} {operands[1]}"
        elif operation in ("maximum", "minimum"):
            text = f"nn_{operation}<{ctype}>({first}, {operands[1]})"
        elif operation == "sign":
            text = f"nn_sign<{ctype}>({first})"
        elif operation == "logical_not":
            text = f"!{first}"
        elif operation == "negative":
            text = f"-{first}"
        elif operation == "square":
            text = f"{first} * {first}"
        elif operation == "reciprocal":
            text = f"{_constant(1.0, ctype)} / {first}"
        elif operation == "isnan":
            text = f"{first} != {first}"
        elif operation in ("isinf", "isfinite"):
            text = f"nn_{operation}<{ctype}>({first})"
        elif operation == "positive" or (operation in _WHOLE and not floating):
            text = first
        elif operation == "abs" and not floating:
            text = f"{first} < 0 ? -{first} : {first}"
        else:
            text = f"{_LIBRARY[operation]}{'f' if ctype == 'float' else ''}({', '.join(operands)})"
        if floating or ctype == "bool" or operation in COMPARISONS:
            return text
        return f"({ctype})({text})"  # small integers are computed as int in C and wrap where they are kept


def _constant(value: bool | int | float, ctype: str) -> str:
    """Write a Python number as a literal of a C type."""
    if ctype == "bool":
        return "true" if value else "false"
    if ctype not in ("float", "double"):
        number = int(value)
        text = (
            _LOWEST["long long"]
            if number == -(2**63)
            else f"{number}LL"
            if ctype == "long long"
            else str(number)
        )
        return f"({text})" if number < 0 else text
    real = _to_float32(float(value)) if ctype == "float" else float(value)
    if math.isnan(real):
        return f"nn_nan<{ctype}>()"
    if math.isinf(real):
        return f"{'-' if real < 0 else ''}nn_infinity<{ctype}>()"
    text = f"{real!r}{'f' if ctype == 'float' else ''}"
    return f"({text})" if math.copysign(1.0, real) < 0 else text


def _to_float32(value: float) -> float:
    """Round to float32, to infinity where it overflows."""
    try:
        rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


#: Pieces of memory that one launch of a copying kernel takes, and threads of its blocks.
MOVE_PIECES = 16
MOVE_THREADS = 256


def move_name(unit: int) -> str:
    """Return the name of the kernel that copies words of so many bytes."""
    return f"nn_move_{unit}"


def _move(unit: int, word: str) -> str:
    """Write the kernel that copies pieces made of words: `blocks` blocks for each, one piece after the other."""
    pieces = range(MOVE_PIECES)
    parameters = ", ".join(
        f"{word}* target_{i}, const {word}* source_{i}, const long long count_{i}" for i in pieces
    )
    cases = "\n".join(
        f"        case {i}: target = target_{i}; source = source_{i}; count = count_{i}; break;"
        for i in pieces
    )
    return f"""
extern "C" __global__ void {move_name(unit)}({parameters}, const long long blocks) {{
    {word}* target = nullptr;
    const {word}* source = nullptr;
    long long count = 0;
    switch (blockIdx.x / blocks) {{
{cases}
    }}
    const long long first = (blockIdx.x % blocks) * blockDim.x + threadIdx.x;
    for (long long i = first; i < count; i += blocks * blockDim.x) target[i] = source[i];
}}
"""


#: Bytes of a word -> the kernel that copies such words.
MOVE_SOURCES = {
    unit: _move(unit, word)
    for unit, word in {
        1: "unsigned char",
        2: "unsigned short",
        4: "unsigned int",
        8: "unsigned long long",
    }.items()
}

PHILOX_NAME = "nn_philox"
#: Threads of a block of the random kernel; each makes one block of four 64-bit words.
PHILOX_THREADS = 256
#: The stream that `nnbackend.random` defines. Key and step are read from the device's memory where pointers are
#: given, so that drawing waits for nothing. Words of 64 bits lie in memory low half first, hence one kernel for both
#: widths. The counter's lowest word starts at zero, so counting blocks never carries into the next.
PHILOX_SOURCE = r"""
extern "C" __global__ void nn_philox(
    unsigned int* words, const long long count, const unsigned long long* keys, unsigned long long key_0,
    unsigned long long key_1, const long long* steps, const unsigned long long step, const unsigned long long stream,
    const unsigned long long call
) {
    const long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long first = 8 * block;
    if (first >= count) return;
    if (keys) {
        key_0 = keys[0];
        key_1 = keys[1];
    }
    unsigned long long c0 = (unsigned long long)block + 1;  // the counter is incremented before each block
    unsigned long long c1 = steps ? (unsigned long long)steps[0] : step;
    unsigned long long c2 = stream;
    unsigned long long c3 = call;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long high_0 = __umul64hi(0xD2E7470EE14C6C93ULL, c0);
        const unsigned long long low_0 = 0xD2E7470EE14C6C93ULL * c0;
        const unsigned long long high_1 = __umul64hi(0xCA5A826395121157ULL, c2);
        const unsigned long long low_1 = 0xCA5A826395121157ULL * c2;
        c0 = high_1 ^ c1 ^ key_0;
        c1 = low_1;
        c2 = high_0 ^ c3 ^ key_1;
        c3 = low_0;
        key_0 += 0x9E3779B97F4A7C15ULL;
        key_1 += 0xBB67AE8584CAA73BULL;
    }
    if (first + 8 <= count) {
        ulonglong2* out = reinterpret_cast<ulonglong2*>(words + first);
        out[0] = make_ulonglong2(c0, c1);
        out[1] = make_ulonglong2(c2, c3);
        return;
    }
    const unsigned long long values[4] = {c0, c1, c2, c3};
    for (int half = 0; first + half < count; ++half)
        words[first + half] = (unsigned int)(values[half / 2] >> (half % 2 * 32));
}
"""
