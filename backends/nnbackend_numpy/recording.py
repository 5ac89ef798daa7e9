"""A step of training as a list of NumPy calls: run it once on arrays that write down what is done to them.

A `Recorded` array holds true values and has NumPy's own protocols, ``__array_ufunc__`` and ``__array_function__``, so
that the rules, the tape and the optimizers run on it. What they call is kept, in order, as the `Operation` list of a
`Recording`; `nnbackend_numpy.replay` runs that list again, without the Python between the calls and in memory that it
has laid out before. Whoever asks a recorded array for its value (a branch, ``float``) cannot be recorded, as under any
compiler: `NotRecordableError` says so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnbackend.backend import StandIn
from nnbackend.elementwise import ARITHMETIC_OPERATORS, COMPARISON_OPERATORS, LOGICAL_OPERATORS, Program
from nnbackend_numpy.blocks import Evaluator

__all__ = [
    "Form",
    "NotRecordableError",
    "Operation",
    "Place",
    "Recorded",
    "Recording",
    "apart",
    "astype",
    "copied",
    "in_rows",
    "map_nested",
    "native_where",
    "recordable",
    "recording_of",
    "walk",
]


class NotRecordableError(TypeError):
    """A step that looks at values, or does what a list of calls cannot say; it runs as it is written instead."""


class Place(int):
    """Where a value stands in a recording: its number there."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What holds of a value in every run."""

    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    number: bool  # a number of NumPy's instead of an array without axes

    @classmethod
    def of(cls, value: Any) -> Form:
        """Return the form of an array or a number of NumPy's."""
        return cls(value.shape, value.dtype, value.strides, not isinstance(value, np.ndarray))

    @property
    def size(self) -> int:
        """How many bytes its elements take."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    @property
    def contiguous(self) -> bool:
        """Whether its elements fill one stretch of memory, in the order of the axes."""
        expected = self.dtype.itemsize
        for step, count in zip(reversed(self.strides), reversed(self.shape), strict=True):
            if count != 1:
                if step != expected:
                    return False
                expected *= count
        return True

    @property
    def dense(self) -> bool:
        """Whether its elements fill one stretch of memory, in some order of the axes."""
        expected = self.dtype.itemsize
        for step, count in sorted(zip(self.strides, self.shape, strict=True)):
            if count != 1:
                if step != expected:
                    return False
                expected *= count
        return True


@dataclass(slots=True)
class Operation:
    """One call.

    Attributes
    ----------
    kind : {"call", "view", "program", "rule", "backward"}
        An ordinary function; one whose result is a view of its first argument; an elementwise program; a native rule;
        the pullback that a native rule has left.
    function : callable
        What is called; the program for a program, and for a pullback the operation of its rule.
    arguments, options
        What with; a `Place` stands for each recorded array.
    results : tuple of Place or None
        What comes out; None for a gradient that nobody needs.
    """

    kind: str
    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    results: tuple[Place | None, ...] = ()

    def reads(self) -> list[Place]:
        """Return the places of what it reads, in order."""
        found: list[Place] = []
        walk((self.arguments, list(self.options.values())), found.append)
        return found


@dataclass
class Recording:
    """The calls of one run of a step; it holds no arrays but the constants among their arguments.

    Attributes
    ----------
    forms : list of Form
        What stands at each place.
    operations : list of Operation
        In the order of the run.
    """

    forms: list[Form] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    #: Whether the run is over. What was kept of it is an array like others then.
    closed: bool = False

    def says_the_same(self, other: Recording, mine: Sequence[Any], theirs: Sequence[Any]) -> bool:
        """Tell whether another recording, with its outputs, has the same calls with the same constants."""
        if self.forms != other.forms or len(self.operations) != len(other.operations):
            return False
        numbers = {id(op): number for one in (self, other) for number, op in enumerate(one.operations)}
        for first, second in zip(self.operations, other.operations, strict=True):
            functions = first.function, second.function
            if first.kind == "backward":
                functions = numbers[id(first.function)], numbers[id(second.function)]
            ours, yours = (
                (op.kind, function, op.arguments, op.options, op.results)
                for op, function in zip((first, second), functions, strict=True)
            )
            if not _same(ours, yours):
                return False
        return _same(list(mine), list(theirs))

    def new(self, value: Any) -> Recorded:
        """Give a value a place."""
        self.forms.append(Form.of(value))
        return Recorded(self, value, Place(len(self.forms) - 1))

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a function of NumPy, and write it down."""
        if self.closed:
            return function(*_values(arguments), **_values(options))
        _refuse_what_no_list_can_say(function, arguments, options)
        given, named = _protected(arguments), _protected(options)
        result = function(*given, **named)
        if isinstance(result, (tuple, list)) and function is not np.shape:
            parts = [
                self._keep(functools.partial(_item, function, index), arguments, options, given, part)
                for index, part in enumerate(result)
            ]
            return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        return self._keep(function, arguments, options, given, result)

    def _keep(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        given: Sequence[Any],
        result: Any,
    ) -> Any:
        if function in _OF_SHAPES or isinstance(result, (np.dtype, type)):
            return result  # a shape, a dtype, zeros: the same in every run
        if not isinstance(result, (np.ndarray, np.generic)):
            raise NotRecordableError(f"a value was asked for with {getattr(function, '__name__', function)}")
        source = given[0] if given else None
        if isinstance(result, np.ndarray):  # numbers are no places of memory: there is but one True
            if any(result is a for a, b in zip(given, arguments, strict=True) if not isinstance(b, Recorded)):
                raise NotRecordableError("an array was written to in place")
            if result is source and isinstance(arguments[0], Recorded):
                return arguments[0]
        viewed = (
            isinstance(source, np.ndarray) and isinstance(result, np.ndarray) and _is_view(result, source)
        )
        if viewed and _has_recorded((arguments[1:], options)):
            raise NotRecordableError("a part of an array was taken whose place depends on a value")
        made = self.new(result)
        kind = "view" if viewed and isinstance(arguments[0], Recorded) else "call"
        self.operations.append(Operation(kind, function, _places(arguments), _places(options), (made.place,)))
        return made

    def program(self, program: Program, arguments: Sequence[Any], evaluator: Evaluator) -> Any:
        """Run an elementwise program: as one call where it goes in blocks, else as the calls of its expression."""
        given = _values(tuple(arguments))
        if not evaluator.goes_in_blocks(program, given):
            if program.rowwise:  # as the evaluator does
                arguments = [
                    self.call(in_rows, (a,), {}) if isinstance(a, Recorded) else a for a in arguments
                ]
            return program.plain(*arguments)
        result = evaluator.run(program, given, ())
        parts = result if isinstance(result, tuple) else (result,)
        made = tuple(self.new(part) for part in parts)
        places = tuple(part.place for part in made)
        self.operations.append(Operation("program", program, _places(tuple(arguments)), {}, places))
        return made if isinstance(result, tuple) else made[0]

    def rule(self, rule: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run a native rule as one call, and its pullback as another."""
        given = _values(arguments)
        value, pull = rule(*given, **options)
        parts = value if isinstance(value, tuple) else (value,)
        made = tuple(self.new(apart(part, given)) for part in parts)
        operation = Operation("rule", rule, _places(arguments), options, tuple(part.place for part in made))
        self.operations.append(operation)

        def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
            held = (*given, *(dy if isinstance(dy, tuple) else (dy,)))
            gradients = pull(_values(dy), needs)
            kept = tuple(None if part is None else self.new(apart(part, _values(held))) for part in gradients)
            places = tuple(None if part is None else part.place for part in kept)
            self.operations.append(Operation("backward", operation, (_places(dy), needs), {}, places))
            return kept

        return (type(value)(made) if isinstance(value, tuple) else made[0]), backward


def recordable(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Let a native rule be recorded: it gets true arrays, and appears in the recording as one call."""
    takes: Callable[..., bool] | None = getattr(rule, "takes", None)

    @functools.wraps(rule)
    def run(*arguments: Any, **options: Any) -> Any:
        if takes is not None and not takes(*arguments, **options):
            return rule.generic(*arguments, **options)  # type: ignore[attr-defined]
        recording = recording_of(arguments)
        return rule(*arguments, **options) if recording is None else recording.rule(rule, arguments, options)

    return run


def native_where(
    takes: Callable[..., bool], generic: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Leave a native rule's arguments to the generic rule, which is recorded call by call, unless `takes` is true."""

    def mark(rule: Callable[..., Any]) -> Callable[..., Any]:
        rule.takes, rule.generic = takes, generic  # type: ignore[attr-defined]
        return rule

    return mark


def recording_of(arguments: Sequence[Any]) -> Recording | None:
    """Return the recording that one of these arrays belongs to, or None."""
    return next((argument.recording for argument in arguments if type(argument) is Recorded), None)


def _refusal(what: str) -> Callable[..., Any]:
    def method(self: Recorded, *arguments: Any, **options: Any) -> Any:
        if self.recording.closed:
            return getattr(self.value, what)(*arguments, **options)
        raise NotRecordableError(f"a value was asked for with {what}")

    return method


def _operator(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: Recorded, other: Any) -> Any:
        if isinstance(other, StandIn):  # a tensor, whose rules take recorded arrays
            return NotImplemented
        arguments = (other, self) if reflected else (self, other)
        return self.recording.call(function, arguments, {})

    return method


class Recorded:
    """An array of NumPy that writes down what is done to it.

    Attributes
    ----------
    recording : Recording
        Where.
    value : numpy.ndarray or numpy.generic
        The array itself.
    place : Place
        Its place in the recording.
    """

    __slots__ = ("place", "recording", "value")
    __hash__ = object.__hash__

    def __init__(self, recording: Recording, value: Any, place: Place) -> None:
        self.recording = recording
        self.value = value
        self.place = place

    def __array_ufunc__(self, ufunc: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if any(isinstance(argument, StandIn) for argument in arguments):
            return NotImplemented
        if method == "at":
            raise NotRecordableError("an array was written to in place")
        return self.recording.call(
            getattr(ufunc, method) if method != "__call__" else ufunc, arguments, options
        )

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        return self.recording.call(function, arguments, options)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        import array_api_compat.numpy as xp

        return xp

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self.recording.call(astype, (self, dtype), {"copy": copy})

    def __getitem__(self, key: Any) -> Any:
        for part in key if isinstance(key, tuple) else (key,):
            if type(part) is Recorded and part.dtype == np.bool_:
                raise NotRecordableError("the shape of the part that a mask chooses depends on values")
        return self.recording.call(_getitem, (self, key), {})

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def size(self) -> int:
        return int(self.value.size)

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def T(self) -> Any:  # noqa: N802 - the standard's name
        return self.recording.call(_transposed, (self,), {})

    @property
    def mT(self) -> Any:  # noqa: N802 - the standard's name
        return self.recording.call(np.matrix_transpose, (self,), {})

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return iter([self[index] for index in range(len(self))])

    def __repr__(self) -> str:
        return f"Recorded({self.value!r})"


#: Functions that look at the shapes and dtypes of their arguments only.
_OF_SHAPES = frozenset({np.zeros_like, np.ones_like, np.shape, np.ndim, np.size, np.result_type, np.can_cast})


#: Functions that write into an array that they are given.
_IN_PLACE = frozenset({np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal})
#: Functions whose results have a shape that depends on values.
_OF_VALUES = frozenset(
    getattr(np, name)
    for name in "nonzero flatnonzero argwhere unique unique_all unique_counts unique_inverse unique_values extract "
    "compress trim_zeros bincount setdiff1d union1d intersect1d setxor1d".split()
)


def _refuse_what_no_list_can_say(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Raise where a call writes into its arguments, or gives another shape in another run."""
    if function in _IN_PLACE or options.get("out") is not None:
        raise NotRecordableError("an array was written to in place")
    if (
        function in _OF_VALUES
        or (function is np.where and len(arguments) == 1)
        or (function in (np.repeat, np.delete) and _has_recorded((arguments[1:], options)))
    ):
        raise NotRecordableError(f"the shape of what {function.__name__} returns depends on values")


def _has_recorded(node: Any) -> bool:
    """Tell whether there are recorded arrays in nested lists, tuples, dicts and slices."""
    found: list[Place] = []
    walk(_places(node), found.append)
    return bool(found)


def _power(base: Any, exponent: Any) -> Any:
    """Raise to a power as NumPy's own operator does; numbers, which are arrays here, by the rules for numbers."""
    base, exponent = (x[()] if isinstance(x, np.ndarray) and not x.ndim else x for x in (base, exponent))
    return base**exponent


def copied(x: Any) -> Any:
    """Return a copy of an array."""
    return np.array(x)


def apart(array: Any, others: Sequence[Any]) -> Any:
    """Return an array, as a copy if it lies in the memory of others: that is given away once they are read no more."""
    shared = any(isinstance(other, np.ndarray) and np.may_share_memory(array, other) for other in others)
    return np.array(array) if shared else array


def in_rows(x: Any) -> Any:
    """Return an array whose rows lie one after the other."""
    return np.asarray(x, order="C")


_OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, function) for name, function in ARITHMETIC_OPERATORS.items()},
    **{
        name: getattr(np, function.replace("logical", "bitwise"))
        for name, function in LOGICAL_OPERATORS.items()
    },
    "matmul": np.matmul,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
    "pow": _power,
}
for _name, _function in _OPERATORS.items():
    setattr(Recorded, f"__{_name}__", _operator(_function))
    setattr(Recorded, f"__r{_name}__", _operator(_function, reflected=True))
for _name, _comparison in COMPARISON_OPERATORS.items():
    setattr(Recorded, f"__{_name}__", _operator(getattr(np, _comparison)))
for _name, _unary in {
    "neg": np.negative,
    "abs": np.absolute,
    "invert": np.invert,
    "pos": np.positive,
}.items():
    setattr(Recorded, f"__{_name}__", lambda self, unary=_unary: self.recording.call(unary, (self,), {}))
for _name in _OPERATORS:
    setattr(Recorded, f"__i{_name}__", _refusal(f"__i{_name}__"))
for _name in ("bool", "float", "int", "complex", "index", "array", "dlpack", "setitem", "contains"):
    setattr(Recorded, f"__{_name}__", _refusal(f"__{_name}__"))


def astype(x: Any, dtype: Any, *, copy: bool = True) -> Any:
    """Return an array in another dtype."""
    return x.astype(dtype, copy=copy)


def _getitem(x: Any, key: Any) -> Any:
    return x[key]


def _transposed(x: Any) -> Any:
    return x.T


def _item(function: Callable[..., Any], index: int, *arguments: Any, **options: Any) -> Any:
    return function(*arguments, **options)[index]


def _is_view(result: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> bool:
    """Tell whether a result lies in the memory of a source, as views do."""
    return result.size > 0 and np.may_share_memory(result, source)


def map_nested(node: Any, leaf: Callable[[Any], Any]) -> Any:
    """Apply a function to what stands in nested lists, tuples, dicts and slices."""
    if isinstance(node, (list, tuple)):
        children = [map_nested(child, leaf) for child in node]
        return type(node)(*children) if hasattr(node, "_fields") else type(node)(children)
    if isinstance(node, dict):
        return {key: map_nested(child, leaf) for key, child in node.items()}
    if isinstance(node, slice):
        return slice(leaf(node.start), leaf(node.stop), leaf(node.step))
    return leaf(node)


def walk(node: Any, found: Callable[[Place], Any]) -> None:
    """Tell `found` each place in nested lists, tuples, dicts and slices."""
    if isinstance(node, Place):
        found(node)
    elif isinstance(node, (list, tuple)):
        for child in node:
            walk(child, found)
    elif isinstance(node, dict):
        walk(list(node.values()), found)
    elif isinstance(node, slice):
        walk((node.start, node.stop, node.step), found)


def _values(node: Any) -> Any:
    return map_nested(node, lambda leaf: leaf.value if type(leaf) is Recorded else leaf)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two arguments mean the same in every run."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, slice):
        return _same((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if isinstance(one, functools.partial):
        return _same((one.func, one.args, one.keywords), (other.func, other.args, other.keywords))
    if isinstance(one, (np.ndarray, np.generic)):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and (one is other or one.tobytes() == other.tobytes())
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)
    return one is other or bool(one == other)


def _protected(node: Any) -> Any:
    """Return arguments with views that cannot be written to, so that NumPy refuses who would write there."""

    def value(leaf: Any) -> Any:
        if type(leaf) is not Recorded:
            return leaf
        if not isinstance(leaf.value, np.ndarray):
            return leaf.value
        view = leaf.value.view()
        view.flags.writeable = False
        return view

    return map_nested(node, value)


def _places(node: Any) -> Any:
    return map_nested(node, lambda leaf: leaf.place if type(leaf) is Recorded else leaf)
