"""Elementwise mathematics as a program, not a sequence of passes over memory.

A function marked `elementwise` is ordinary array API code. It is run once on symbols, which gives a short
straight-line `Program`; each backend evaluates that program its own way: NumPy in blocks that stay in cache or, where
it is asked to, as machine code, CuPy as one generated kernel, any other library by the original function. A function
marked `rowwise` may also take the sum, mean, maximum and minimum over the last axis.

The program's arithmetic is the function's own: on NumPy the results are equal to the last bit. Arguments of 16 bits
are computed with in float32, and results rounded once, at the end, to the dtype that they have in the standard.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from nnbackend.arguments import parameters_of
from nnbackend.backend import Backend, StandIn, backend_of, is_array
from nnbackend.typing import Array, Scalar

__all__ = [
    "ARITHMETIC_OPERATORS",
    "COMPARISONS",
    "COMPARISON_OPERATORS",
    "HALVES",
    "LOGICAL",
    "LOGICAL_OPERATORS",
    "OPERATIONS",
    "REDUCTIONS",
    "Elementwise",
    "Instruction",
    "Operand",
    "Program",
    "Value",
    "dtype_name",
    "elementwise",
    "is_half",
    "promote",
    "rowwise",
]

#: Python's operators, by the middle of their methods' names, and the standard's functions that they stand for.
ARITHMETIC_OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide"}
COMPARISON_OPERATORS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
LOGICAL_OPERATORS = {"and": "logical_and", "or": "logical_or", "xor": "logical_xor"}


@dataclass(frozen=True, slots=True)
class Value:
    """The place of a value in a program: an argument first, then one for each instruction."""

    index: int


Operand: TypeAlias = Value | bool | int | float


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation; its operands are earlier values or Python constants.

    Attributes
    ----------
    operation : str
        A name of the array API standard (``"exp"``, ``"where"``, ...), or one of `REDUCTIONS`.
    operands : tuple of Value or scalar
        Its arguments.
    """

    operation: str
    operands: tuple[Operand, ...]


#: Operations by what they take and give; only these three give booleans.
COMPARISONS = frozenset(COMPARISON_OPERATORS.values())
LOGICAL = frozenset(LOGICAL_OPERATORS.values()) | {"logical_not"}
_TESTS = frozenset({"isnan", "isinf", "isfinite"})
_UNARY = frozenset(
    "abs ceil cos cosh exp expm1 floor log log1p negative positive reciprocal round sign sin sinh sqrt square "
    "tan tanh trunc".split()
)
_BINARY = frozenset("add subtract multiply divide pow maximum minimum atan2 copysign hypot".split())
#: What the standard defines for floating numbers only.
_FLOATING = frozenset(
    "atan2 copysign cos cosh divide exp expm1 hypot log log1p mean reciprocal sin sinh sqrt tan tanh".split()
)
OPERATIONS = COMPARISONS | LOGICAL | _TESTS | _UNARY | _BINARY | {"where"}
#: Over the last axis, which is kept with length one; only in `rowwise` programs.
REDUCTIONS = frozenset({"sum", "mean", "max", "min"})

#: How many programs a function keeps, and how many compiled forms a program: more than any network needs, and an end
#: to what a static argument that is new each time would fill.
KEPT = 256

_RANK = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
#: Floating dtypes of 16 bits, which are computed with in float32.
HALVES = ("float16", "bfloat16")
#: Neither of the two holds the other's numbers: they meet in a third.
_MEET = {frozenset({"uint8", "int8"}): "int16", frozenset(HALVES): "float32"}


def promote(*dtypes: str) -> str:
    """Return the dtype, by name, in which operands of these dtypes meet.

    Raises
    ------
    TypeError
        If booleans, integers and floating numbers are mixed, which the standard leaves undefined.
    """
    kinds = {_kind(dtype) for dtype in dtypes}
    if len(kinds) > 1:
        raise TypeError(
            f"An elementwise program cannot mix the dtypes {', '.join(sorted(set(dtypes)))}. Cast them before, or "
            "choose between booleans with xp.where."
        )
    widest = max(dtypes, key=_RANK.index)
    neighbours = frozenset(dtype for dtype in dtypes if _RANK.index(dtype) >= _RANK.index(widest) - 1)
    return _MEET.get(neighbours, widest)


def dtype_name(array: Any) -> str:
    """Return the name of an array's dtype, whatever its library."""
    return str(array.dtype).rpartition(".")[2]


#: Whether dtypes have 16 bits: a table for each class of them, since those of two libraries are not to be compared.
_KNOWN: dict[type, dict[Any, bool]] = {}


def is_half(value: Any) -> bool:
    """Tell whether this is an array of float16 or bfloat16, of any library."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return False
    try:
        return _KNOWN[type(dtype)][dtype]
    except KeyError:
        return _KNOWN.setdefault(type(dtype), {}).setdefault(dtype, dtype_name(value) in HALVES)


def _kind(dtype: str) -> str:
    if dtype not in _RANK:
        raise TypeError(f"An elementwise program takes {', '.join(_RANK)}, got {dtype}.")
    return "bool" if dtype == "bool" else "float" if "float" in dtype else "integer"


@dataclass(frozen=True)
class Program:
    """A straight-line program in single assignment form.

    Attributes
    ----------
    name : str
        The name of the function it was traced from.
    arity : int
        How many arrays it takes; they are the values 0 to ``arity - 1``.
    instructions : tuple of Instruction
        Instruction ``i`` defines the value ``arity + i``.
    outputs : tuple of Value or scalar
        The results.
    function : callable
        The original function with its static arguments filled in.
    rowwise : bool
        Whether it may reduce over the last axis.
    """

    name: str
    arity: int
    instructions: tuple[Instruction, ...]
    outputs: tuple[Operand, ...]
    function: Callable[..., Any] = field(compare=False)
    rowwise: bool = False
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def plain(self, *arguments: Any) -> Any:
        """Evaluate the original function on arrays; what has 16 bits is computed in float32 and rounded at the end."""
        for argument in arguments:
            if is_half(argument):
                return self._widened(arguments)
        return self.function(*arguments)

    def _widened(self, arguments: Sequence[Any]) -> Any:
        arrays = [argument for argument in arguments if hasattr(argument, "dtype")]
        backend = backend_of(arrays[0])
        xp = backend.xp
        given = tuple(
            dtype_name(argument) if hasattr(argument, "dtype") else "float32" for argument in arguments
        )
        wanted = self._output_dtypes(given)
        result = self.function(*(xp.astype(a, xp.float32) if is_half(a) else a for a in arguments))
        several = isinstance(result, tuple)
        rounded = tuple(
            part if kind not in HALVES else xp.astype(part, backend.dtype(kind))
            for part, kind in zip(result if several else (result,), wanted, strict=True)
        )
        return rounded if several else rounded[0]

    def _output_dtypes(self, given: tuple[str, ...]) -> list[str | None]:
        """Return the dtype of each result, None for a constant, given those of the arguments."""
        known = self.dtypes(given)
        return [known[output.index] if isinstance(output, Value) else None for output in self.outputs]

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` made for this key, which is kept for as long as the program lives.

        Backends keep what they compile here, under keys that begin with themselves: it goes when the program goes. At
        most `KEPT` things are kept; then it is begun anew.
        """
        try:
            return self._kept[key]
        except KeyError:
            made = make()
        if len(self._kept) >= KEPT:
            self._kept.clear()
        return self._kept.setdefault(key, made)

    def per_row(self, thin: Iterable[int]) -> dict[int, int]:
        """Return the values of a rowwise program that do not vary along a row.

        Parameters
        ----------
        thin : iterable of int
            The arguments that do not.

        Returns
        -------
        dict of int to int
            Each of those values, with how many reductions one after the other it has to wait for.
        """
        fixed = dict.fromkeys(thin, 0)
        level = dict.fromkeys(range(self.arity), 0)
        for index, instruction in enumerate(self.instructions, start=self.arity):
            operands = [operand.index for operand in instruction.operands if isinstance(operand, Value)]
            level[index] = max((level[i] for i in operands), default=0)
            if all(i in fixed for i in operands):
                fixed[index] = level[index]
            elif instruction.operation in REDUCTIONS:
                level[index] += 1
                fixed[index] = level[index]
        return fixed

    @functools.cached_property
    def sources(self) -> tuple[frozenset[int], ...]:
        """For each output, the arguments that its value and shape depend on."""
        known = [frozenset({index}) for index in range(self.arity)]
        for instruction in self.instructions:
            used = (known[o.index] for o in instruction.operands if isinstance(o, Value))
            known.append(frozenset().union(*used))
        return tuple(known[o.index] if isinstance(o, Value) else frozenset() for o in self.outputs)

    def dtypes(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the dtype of every value, by name, given those of the arguments.

        Raises
        ------
        TypeError
            If an instruction would mix kinds, or does mathematics on booleans.
        """
        known = list(arguments)
        for instruction in self.instructions:
            known.append(self._dtype(instruction, known))
        return tuple(known)

    def _dtype(self, instruction: Instruction, known: list[str]) -> str:
        operation, operands = instruction.operation, instruction.operands
        branches = operands[1:] if operation == "where" else operands
        names = [known[operand.index] for operand in branches if isinstance(operand, Value)]
        constants = [operand for operand in branches if not isinstance(operand, Value)]
        if not names:
            names = ["float64" if isinstance(c, float) else "bool" for c in constants]
        dtype = promote(*names)
        if dtype != "bool" and any(isinstance(constant, bool) for constant in constants):
            raise TypeError(f"{self.name}: {operation} mixes {dtype} and a Python bool.")
        widened = operation == "sum" and dtype != "int64"  # libraries sum small integers in wider ones
        kind = _kind(dtype)
        if (
            (operation in LOGICAL and kind != "bool")
            or (operation in _FLOATING and kind == "integer")
            or (widened and kind == "integer")
        ):
            raise TypeError(
                f"{self.name}: {operation} is not defined on {dtype} here. Cast the array before."
            )
        if operation in COMPARISONS | LOGICAL | _TESTS:
            return "bool"
        if dtype == "bool" and operation != "where":
            raise TypeError(
                f"{self.name}: {operation} takes numbers, got booleans. Use xp.where(condition, a, b) instead of "
                "arithmetic on the condition."
            )
        if kind == "integer" and any(isinstance(constant, float) for constant in constants):
            raise TypeError(
                f"{self.name}: {operation} mixes {dtype} and a Python float. Cast the array before."
            )
        return dtype


class _Symbol(StandIn):
    """Stands for an array while a function is traced."""

    __slots__ = ("index", "trace")
    __array_ufunc__ = None
    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __init__(self, trace: _Trace, index: int) -> None:
        self.trace = trace
        self.index = index

    def __array_namespace__(self, *, api_version: str | None = None) -> _Trace:
        return self.trace

    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(
            f"{self.trace.name}: {what} inside an elementwise function. The function is run once on symbols, so it "
            "cannot look at values: use xp.where(condition, a, b) to choose between them."
        )

    def __bool__(self) -> bool:
        self._refuse("a Python branch on an array's value (if, while, and, or, not)")

    def __float__(self) -> float:
        self._refuse("float() of an array")

    def __int__(self) -> int:
        self._refuse("int() of an array")

    def __index__(self) -> int:
        self._refuse("an array used as an index")

    def __iter__(self) -> NoReturn:
        self._refuse("iteration over an array")

    def __getitem__(self, key: Any) -> NoReturn:
        self._refuse("indexing")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self._refuse("assignment to elements")

    def __pow__(self, exponent: Any) -> Any:
        # libraries compute these two powers as what they are, and so do the evaluators
        special = {2: "square", 0.5: "sqrt"}.get(exponent) if type(exponent) in (int, float) else None
        return self.trace.record(special, self) if special else self.trace.record("pow", self, exponent)


def _in_place(self: _Symbol, other: Any) -> NoReturn:
    raise TypeError(
        f"{self.trace.name}: an assignment such as x += y would overwrite the caller's array. Write x = x + y."
    )


def _operator(operation: str, reflected: bool = False) -> Callable[[Any, Any], Any]:
    def method(self: _Symbol, other: Any) -> Any:
        return (
            self.trace.record(operation, other, self)
            if reflected
            else self.trace.record(operation, self, other)
        )

    return method


for _name, _operation in ARITHMETIC_OPERATORS.items():
    setattr(_Symbol, f"__{_name}__", _operator(_operation))
    setattr(_Symbol, f"__r{_name}__", _operator(_operation, reflected=True))
    setattr(_Symbol, f"__i{_name}__", _in_place)
for _name, _operation in (COMPARISON_OPERATORS | LOGICAL_OPERATORS).items():
    setattr(_Symbol, f"__{_name}__", _operator(_operation))
setattr(_Symbol, "__rpow__", _operator("pow", reflected=True))
setattr(_Symbol, "__neg__", lambda self: self.trace.record("negative", self))
setattr(_Symbol, "__pos__", lambda self: self)
setattr(_Symbol, "__abs__", lambda self: self.trace.record("abs", self))
setattr(_Symbol, "__invert__", lambda self: self.trace.record("logical_not", self))


class _Trace:
    """Records what a function does to its symbols; to the function it is the array namespace."""

    def __init__(self, name: str, arity: int, rowwise: bool) -> None:
        self.name = name
        self.rowwise = rowwise
        self.arity = arity
        self.instructions: list[Instruction] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in OPERATIONS:
            return lambda *operands: self.record(name, *operands)
        if name in REDUCTIONS:
            return functools.partial(self._reduce, name)
        raise AttributeError(
            f"{self.name}: an elementwise function cannot use xp.{name}. It takes the elementwise functions of the "
            "standard and, marked @rowwise, sum, mean, max and min over the last axis."
        )

    def record(self, operation: str, *operands: Any) -> _Symbol:
        instruction = Instruction(operation, tuple(self._operand(operand) for operand in operands))
        # a constant 1, 1.0 or True is a different constant though Python calls them equal
        key = (operation, *map(_identity, instruction.operands))
        if key not in self._known:
            self._known[key] = self.arity + len(self.instructions)
            self.instructions.append(instruction)
        return _Symbol(self, self._known[key])

    def _reduce(self, operation: str, x: _Symbol, *, axis: int = 0, keepdims: bool = False) -> _Symbol:
        if not self.rowwise:
            raise TypeError(f"{self.name}: xp.{operation} needs the function to be marked @rowwise.")
        if axis != -1 or not keepdims:
            raise TypeError(f"{self.name}: a rowwise program reduces with axis=-1, keepdims=True only.")
        return self.record(operation, x)

    def _operand(self, operand: Any) -> Operand:
        if isinstance(operand, _Symbol):
            return Value(operand.index)
        if type(operand) in (bool, int, float):
            constant: Operand = operand
            return constant
        raise TypeError(
            f"{self.name}: expected an argument of the function or a Python number, got "
            f"{type(operand).__name__}. Pass arrays as arguments; convert other numbers with float()."
        )


def _identity(value: Operand) -> tuple[type, Any]:
    """Return what tells constants apart that Python calls equal: 1, 1.0 and True, 0.0 and -0.0."""
    return type(value), value or repr(value)


class Elementwise:
    """An elementwise or rowwise function; see `elementwise` and `rowwise`."""

    def __init__(self, function: Callable[..., Any], rowwise: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.rowwise = rowwise
        self.name: str = function.__name__.strip("_")
        self._programs: dict[tuple[Any, ...], Program] = {}
        self._rule: Callable[..., Any] | None = None
        self._native: str | None = None
        takes = parameters_of(function)
        self.arity = len(takes.positional) + len(takes.more)

    def __deepcopy__(self, memo: dict[int, Any]) -> Elementwise:
        """Return itself, as for any function."""
        return self

    def program(self, **static: Scalar) -> Program:
        """Return the program for these static arguments; each set is traced once, while `KEPT` of them suffice."""
        key = tuple((name, _identity(value)) for name, value in sorted(static.items()))
        try:
            return self._programs[key]
        except KeyError:
            program = self._trace(static)
        if len(self._programs) >= KEPT:
            self._programs.clear()
        return self._programs.setdefault(key, program)

    def is_value_of(self, rule: Callable[..., Any]) -> None:
        """Say that this function computes the value of `rule`, so that tensors are given to `rule`.

        A body may choose between expressions whose derivatives are not those of the function (at the seam of a
        ``where``, at the kink of an ``abs``); the rule's own backward is right there too, at every order.
        """
        self._rule = rule

    def may_be(self, native: str) -> None:
        """Say that a library which has a function of one array under this name may use its own.

        Backends list theirs in `nnbackend.backend.Backend.native_functions`. Within another elementwise function it
        is the library's own as well, wherever the body is run on arrays.
        """
        self._native = native

    def _trace(self, static: dict[str, Scalar]) -> Program:
        trace = _Trace(self.name, self.arity, self.rowwise)
        result = self.function(*(_Symbol(trace, index) for index in range(self.arity)), **static)
        results = result if isinstance(result, tuple) else (result,)
        outputs = tuple(trace._operand(value) for value in results)
        plain = functools.partial(self.function, **static) if static else self.function
        return Program(self.name, self.arity, tuple(trace.instructions), outputs, plain, self.rowwise)

    def __call__(self, *arrays: Array, donate: Sequence[int | None] = (), **static: Scalar) -> Any:
        """Evaluate the function on arrays that broadcast against each other.

        Parameters
        ----------
        *arrays : array
            Its array arguments, all of one library.
        donate : sequence of int or None
            For each output the argument whose memory it may take over, where memory can be written.
        **static : bool, int or float
            Its static arguments.
        """
        array: Any
        for array in arrays:
            if isinstance(array, _Symbol):
                return self.function(*arrays, **static)
            if isinstance(array, StandIn):  # a tensor: the operations are rules
                constant = array.__nnbackend_constant__  # type: ignore[attr-defined]
                return (self._rule or self.function)(*map(constant, arrays), **static)
        for array in arrays:
            if is_array(array):
                backend = backend_of(array)
                if self._native is not None and self._native in backend.native_functions:
                    return self._run_native(backend, arrays)
                if not backend.scoped:
                    return backend.run(self.program(**static), arrays, donate)
                with backend.scope():
                    return backend.run(self.program(**static), arrays, donate)
        raise TypeError(f"{self.name} expects arrays, got {', '.join(type(a).__name__ for a in arrays)}.")

    def _run_native(self, backend: Backend, arrays: Sequence[Array]) -> Any:
        assert self._native is not None
        with backend.scope():
            return backend.native_functions[self._native](*arrays)


def elementwise(function: Callable[..., Any]) -> Elementwise:
    """Mark a function of arrays as elementwise: one pass over memory on every backend.

    The body is ordinary array API code. Parameters after ``*`` are static Python numbers: they may steer the body,
    and expressions of them are computed once, in double precision. Arguments broadcast against each other.

    The body must depend on its arguments alone. Where it reads a variable around it, such as a global, the value at
    the time of the trace is part of the program for good, while a backend that evaluates the body itself (NumPy does
    on small arrays) would see a later one. Pass what may change as a static argument, or as a 0-d array where it
    changes often: each new static value is a new program to trace and compile.

    Parameters
    ----------
    function : callable
        Takes arrays, returns an array or a tuple of arrays.

    Returns
    -------
    Elementwise
        Called like the function.

    Raises
    ------
    TypeError
        At the first call, if the body branches on an array's value or uses what is not elementwise.

    Examples
    --------
    >>> from nnbackend.backend import host, namespace
    >>> @elementwise
    ... def leaky(x, *, slope):
    ...     xp = namespace(x)
    ...     return xp.where(x > 0, x, slope * x)
    >>> leaky(host().xp.asarray([-1.0, 2.0]), slope=0.5)
    array([-0.5,  2. ])
    """
    return Elementwise(function)


def rowwise(function: Callable[..., Any]) -> Elementwise:
    """Mark a function as elementwise that also takes sum, mean, max or min over the last axis, kept.

    Examples
    --------
    >>> from nnbackend.backend import host, namespace
    >>> @rowwise
    ... def centred(x):
    ...     return x - namespace(x).mean(x, axis=-1, keepdims=True)
    >>> centred(host().xp.asarray([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """
    return Elementwise(function, rowwise=True)
