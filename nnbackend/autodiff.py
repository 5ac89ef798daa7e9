r"""Derivatives: rules, the tape that wires them together, and the functions that pull gradients back.

A *rule* is a function on arrays that returns its value and the function that pulls a gradient back through it::

    @differentiable
    def exp(x):
        y = namespace(x).exp(x)

        def backward(dy, needs):
            return (dy * y,)

        return y, backward

Given plain arrays a rule returns plain arrays. Given a `Tensor` it leaves a `_Node` on the tape: which rule ran,
where its arguments came from, and its ``backward``. `vjp` walks the nodes from the last to the first, adds up what
arrives at each, and frees it.

Derivatives nest: each gradient computation has a tape of a higher level, and a rule that runs on the inner tape
computes with the tensors of the outer one, so that ``grad(grad(f))`` is right because every rule's ``backward`` is
made of rules.
"""

from __future__ import annotations

import functools
import heapq
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias, overload

from nnbackend import tree
from nnbackend.arguments import parameters_of
from nnbackend.backend import Backend, StandIn, backend_of, is_array, plain
from nnbackend.elementwise import (
    ARITHMETIC_OPERATORS,
    COMPARISON_OPERATORS,
    HALVES,
    LOGICAL_OPERATORS,
    dtype_name,
    is_half,
    promote,
)
from nnbackend.typing import Backward, DType, Namespace, Shape, Tree

__all__ = [
    "Deferred",
    "GradientError",
    "Reference",
    "Rule",
    "Tensor",
    "counting_multiply_adds",
    "differentiable",
    "grad",
    "is_floating",
    "maker_of",
    "metering",
    "no_grad",
    "value_and_grad",
    "vjp",
    "watch",
]


class GradientError(RuntimeError):
    """A derivative that was asked for cannot be given, or is not what a rule says it is."""


_recording: ContextVar[bool] = ContextVar("nnbackend_recording", default=True)
_levels = itertools.count(1)


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording: within the block, results are constants to any gradient around it.

    Examples
    --------
    >>> import nnbackend as nn
    >>> def f(x):
    ...     with nn.no_grad():
    ...         weight = x * 2.0
    ...     return nn.functional.sum(weight * x)
    >>> nn.grad(f)(nn.get_backend("numpy").xp.ones(2))
    array([2., 2.])
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class _Tape:
    """One gradient computation. Inner ones have higher levels; serial numbers order its nodes."""

    __slots__ = ("closed", "level", "serial")

    def __init__(self) -> None:
        self.level = next(_levels)
        self.serial = itertools.count()
        self.closed = False


class _Node:
    """One rule's use: what pulls gradients back through it, and where they go."""

    __slots__ = (
        "backward",
        "cotangents",
        "needs",
        "outputs",
        "parents",
        "rule",
        "serial",
        "shapes",
        "watchers",
    )

    def __init__(
        self,
        tape: _Tape,
        rule: str,
        backward: Backward | None,
        parents: tuple[tuple[_Node, int] | None, ...],
        outputs: tuple[Any, ...] | None,
        shapes: tuple[Shape, ...],
    ) -> None:
        self.serial = next(tape.serial)
        self.rule = rule
        self.backward = backward
        self.parents = parents
        self.needs = tuple(parent is not None for parent in parents)
        self.outputs = outputs  # for a rule of several outputs: what makes the zeros of those unused
        self.shapes = shapes  # of its outputs: what their gradients must have
        self.cotangents: dict[int, Any] = {}
        self.watchers: tuple[tuple[int, Callable[[Any], None]], ...] = ()

    def receive(self, index: int, cotangent: Any) -> None:
        present = self.cotangents.get(index)
        self.cotangents[index] = cotangent if present is None else present + cotangent

    def collect(self) -> Any:
        """Return what arrived, in the form that ``backward`` takes it."""
        for index, heard in self.watchers:
            if index in self.cotangents:
                heard(plain(self.cotangents[index]))
        if self.outputs is None:
            return self.cotangents.pop(0)
        return tuple(
            self.cotangents.pop(index) if index in self.cotangents else zeros()
            for index, zeros in enumerate(self.outputs)
        )

    def free(self) -> None:
        self.backward = None
        self.parents = ()
        self.outputs = None
        self.cotangents = {}
        self.watchers = ()


_namespace: Namespace = None


def set_namespace(module: Namespace) -> None:
    """Name the module that holds the rules behind the operators; `nnbackend.functional` calls this once."""
    global _namespace
    _namespace = module


class Operators(StandIn):
    """The array API standard's operators and properties, by way of the rules of `nnbackend.functional`."""

    __slots__ = ()
    __array_priority__ = 1000  # CuPy leaves mixed operations to the methods below
    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Take over NumPy's operators with an array on the left; refuse its functions, which know no gradients."""
        rule = _RULES_OF_UFUNCS.get(ufunc.__name__)
        if rule is not None and method == "__call__" and not options:
            return getattr(_namespace, rule)(*inputs)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if "out" in options:
            raise TypeError(
                f"NumPy's {name} would put a {type(self).__name__} in an array, where its gradient would be lost. Make "
                "a new one: a = a + x in place of a += x."
            )
        same = f".{name}" if hasattr(_namespace, name) else ""
        raise TypeError(
            f"NumPy's {name} does not take a {type(self).__name__}, since its gradient would be lost. Use "
            f"nn.functional{same}, or in code for every library xp = x.__array_namespace__() and its functions."
        )

    def __nnbackend_value__(self) -> Any:
        raise NotImplementedError  # pragma: no cover - every subclass holds a value

    @staticmethod
    def __nnbackend_constant__(value: Any) -> Any:
        """Return an array as a constant tensor, since not every library's operators leave room for ours."""
        return Tensor(value) if is_array(value) else value

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return _namespace

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} is not converted to an array on its own, since its gradient would be lost. "
            "Use nn.to_numpy(x) for a copy on the host, or functions of nnbackend.functional to compute with it."
        )

    @property
    def shape(self) -> Shape:
        return tuple(self.__nnbackend_value__().shape)

    @property
    def dtype(self) -> DType:
        return self.__nnbackend_value__().dtype

    @property
    def device(self) -> Any:
        array = plain(self)
        return backend_of(array).device(array)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return functools.reduce(lambda a, b: a * b, self.shape, 1)

    @property
    def T(self) -> Any:  # noqa: N802 - the standard's name
        return _namespace.matrix_transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802 - the standard's name
        return _namespace.matrix_transpose(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array.")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[(index, ...)]

    def __getitem__(self, key: Any) -> Any:
        return _namespace.getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(
            "A tensor cannot be assigned to in place, since earlier results may need its values. "
            "Build a new one with functional.where or functional.concat."
        )

    def __pow__(self, other: Any) -> Any:
        square = type(other) in (int, float) and other == 2
        return _namespace.square(self) if square else _namespace.pow(self, other)

    def __pos__(self) -> Any:
        return self

    def __bool__(self) -> bool:
        return bool(self._number("bool"))

    def __float__(self) -> float:
        return float(self._number("float"))

    def __int__(self) -> int:
        return int(self._number("int"))

    def _number(self, kind: str) -> Any:
        return self.__nnbackend_value__()


_ARITHMETIC = ARITHMETIC_OPERATORS | {
    "matmul": "matmul",
    "floordiv": "floor_divide",
    "mod": "remainder",
}


#: The rule of each operator, by the name of the function that NumPy's operator calls.
_RULES_OF_UFUNCS = {rule: rule for rule in (_ARITHMETIC | COMPARISON_OPERATORS).values()} | {
    "power": "pow",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
}


def _binary(name: str, reflected: bool) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        function = getattr(_namespace, name)
        return function(other, self) if reflected else function(self, other)

    return method


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda self: getattr(_namespace, name)(self)


for _name, _function in (_ARITHMETIC | LOGICAL_OPERATORS).items():
    setattr(Operators, f"__{_name}__", _binary(_function, reflected=False))
    setattr(Operators, f"__r{_name}__", _binary(_function, reflected=True))
for _name, _function in COMPARISON_OPERATORS.items():
    setattr(Operators, f"__{_name}__", _binary(_function, reflected=False))
setattr(Operators, "__rpow__", _binary("pow", reflected=True))
setattr(Operators, "__neg__", _unary("negative"))
setattr(Operators, "__abs__", _unary("abs"))
setattr(Operators, "__invert__", _unary("logical_not"))


class Tensor(Operators):
    """An array that remembers how it was computed.

    Tensors are made by `grad`, `value_and_grad` and `vjp`, which hand them to the function they differentiate. One
    made by hand is a constant: it has all operators and records nothing.

    Parameters
    ----------
    value : array
        The array inside.

    Attributes
    ----------
    value : array
        The array inside, of the library it came from; inside a nested gradient a tensor of the outer one.
    origin : tuple of (str, tuple, dict), or None
        For a result of a rule that says so (softmax and sigmoid do): the rule's name, its arguments and its static
        options with their defaults, so that a loss can take the numerically stable form.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Tensor(xp.asarray([1.0, 2.0])) * 3.0
    Tensor([3. 6.])
    """

    __slots__ = ("__weakref__", "_index", "_node", "_tape", "origin", "value")

    def __init__(self, value: Any) -> None:
        if not isinstance(value, Operators) and not is_array(value):
            raise TypeError(
                f"Tensor expects an array, got {type(value).__name__}. Make an array first, for instance with "
                "numpy.asarray."
            )
        self.value = value.__nnbackend_value__() if isinstance(value, Reference) else value
        self._tape: _Tape | None = None
        self._node: _Node | None = None
        self._index = 0
        self.origin: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None

    def __nnbackend_value__(self) -> Any:
        return self.value

    @property
    def constant(self) -> bool:
        """Whether it belongs to no gradient computation."""
        return self._tape is None

    def detach(self) -> Tensor:
        """Return the same values as a constant, to which no gradient flows: that of no level, however they nest."""
        return Tensor(plain(self))

    def _number(self, kind: str) -> Any:
        if self._tape is not None and not self._tape.closed:
            raise TypeError(
                f"{kind}() of a tensor that is being differentiated would lose its gradient. Use "
                f"{kind}(x.detach()) where that is meant."
            )
        return self.value

    def __repr__(self) -> str:
        return f"Tensor({plain(self)})"


def watch(tensor: Tensor, heard: Callable[[Any], None]) -> None:
    """Tell `heard` the gradient that arrives at a tensor, once it is complete; nothing that is computed changes.

    Parameters
    ----------
    tensor : Tensor
        A result within a function that is being differentiated. Constants and the function's own arguments have no
        gradient on its way through them, so nothing is told of them.
    heard : callable
        Gets the gradient, a plain array that it may read and not keep or write to. It is not called where no gradient
        arrives.

    Examples
    --------
    >>> import nnbackend as nn
    >>> from nnbackend.autodiff import watch
    >>> def f(x):
    ...     y = x * 2.0
    ...     watch(y, lambda gradient: print("arrives:", gradient))
    ...     return nn.functional.sum(y * y)
    >>> nn.grad(f)(nn.get_backend("numpy").xp.asarray([1.0, 3.0]))
    arrives: [ 4. 12.]
    array([ 8., 24.])
    """
    if tensor._node is not None:
        tensor._node.watchers += ((tensor._index, heard),)


def maker_of(tensor: Tensor) -> str | None:
    """Return the name of the rule that a tensor is a result of; None for constants and arguments."""
    return None if tensor._node is None or tensor._node.backward is None else tensor._node.rule


class Reference(Operators):
    """Something that stands for a value that may change, such as a layer's parameter; rules read it when they run."""

    __slots__ = ()

    @property
    def no_gradient(self) -> str:
        """Why no gradient is taken with respect to it, and what to do."""
        return f"No gradient is taken with respect to a {type(self).__name__}. Take the value that it stands for."


class Deferred(Operators):
    """Something that stands for a value which is not known yet, such as an input of a graph.

    A rule that is given one does not run: it hands itself over, to be run when the value is known.
    """

    __slots__ = ()

    def __nnbackend_defer__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """Return what stands for the result of a function of it."""
        raise NotImplementedError  # pragma: no cover - every subclass says how


def _in_place(self: Reference, other: Any) -> NoReturn:
    raise TypeError(
        f"A {type(self).__name__} is not changed by an operator in place such as +=, which would put a tensor where "
        "the layer keeps it. Give it a new value with assign: self.w.assign(self.w + change)."
    )


for _name in (*_ARITHMETIC, *LOGICAL_OPERATORS, "pow"):
    setattr(Reference, f"__i{_name}__", _in_place)


def _track(value: Any, tape: _Tape, node: _Node, index: int = 0) -> Tensor:
    tensor = Tensor.__new__(Tensor)
    tensor.value = value
    tensor._tape = tape
    tensor._node = node
    tensor._index = index
    tensor.origin = None
    return tensor


@functools.lru_cache(maxsize=256)
def _kind(library: str, dtype: DType) -> str:
    name = str(dtype)  # `library` is compared first: dtypes of two of them are not to be
    return "floating" if "float" in name else "complex" if "complex" in name else "other"


def _kind_of(value: Any) -> str:
    dtype = plain(value).dtype
    return _kind(type(dtype).__module__, dtype)


def is_floating(value: Any) -> bool:
    """Tell whether an array's elements are floating numbers, in any library."""
    return _kind_of(value) == "floating"


_counted: ContextVar[Callable[[int], None] | None] = ContextVar("nnbackend_counted", default=None)


@contextmanager
def counting_multiply_adds(count: Callable[[int], None]) -> Iterator[None]:
    """Tell `count` how many products with an addition each rule takes that runs on arrays within the block."""
    token = _counted.set(count)
    try:
        yield
    finally:
        _counted.reset(token)


#: Stands around a rule's run: gets what runs it and the arrays it runs on, and returns value and ``backward``.
Meter: TypeAlias = Callable[[Callable[[], tuple[Any, Backward]], Sequence[Any]], tuple[Any, Backward]]

_meter: ContextVar[Meter | None] = ContextVar("nnbackend_meter", default=None)


@contextmanager
def metering(meter: Meter) -> Iterator[None]:
    """Let `meter` run each rule that computes with tensors within the block, so that it can take its time."""
    token = _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(token)


class Rule:
    """A differentiable function of arrays; see `differentiable`."""

    def __init__(
        self,
        function: Callable[..., Any],
        remember: bool = False,
        multiply_adds: Callable[..., int] | None = None,
        wide: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name: str = function.__name__.strip("_")
        self.remember = remember
        self.multiply_adds = multiply_adds
        self.wide = wide
        takes = parameters_of(function)
        self.variadic, self.arrays, self.static = bool(takes.more), takes.positional, takes.named

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Rule:
        """Return itself, as for any function: what is looked up by a rule is found by its copy."""
        return self

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the rule: recorded where an argument is a tensor, plainly where all are arrays."""
        if not self.variadic and (options or len(arguments) != len(self.arrays)):
            arguments, options = self._bind(arguments, options)
        for argument in arguments:
            if isinstance(argument, Operators):
                break
        else:
            return self._run(arguments, options)[0]
        arguments = tuple(a.__nnbackend_value__() if isinstance(a, Reference) else a for a in arguments)
        if any(isinstance(argument, Tensor) for argument in arguments):
            return self._apply(arguments, options)
        for argument in arguments:
            if isinstance(argument, Deferred):
                return argument.__nnbackend_defer__(self, arguments, options)
        return self._run(arguments, options)[0]

    def _bind(
        self, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put array arguments given by name, and the defaults of those not given, in their places."""
        bound = list(arguments[: len(self.arrays)])
        options = dict(options)
        surplus = arguments[
            len(self.arrays) :
        ]  # static arguments by position, as the standard's reshape(x, shape)
        if len(surplus) > len(self.static):
            raise TypeError(
                f"{self.name} takes {len(self.arrays)} array arguments ({', '.join(self.arrays)}) and "
                f"{len(self.static)} static ones, got {len(arguments)}."
            )
        for name, value in zip(self.static, surplus, strict=False):
            if name in options:
                raise TypeError(f"{self.name} got the argument {name!r} twice.")
            options[name] = value
        for name, default in itertools.islice(self.arrays.items(), len(arguments), None):
            value = options.pop(name, default)
            if value is inspect.Parameter.empty:
                raise TypeError(f"{self.name} is missing the argument {name!r}.")
            bound.append(value)
        return tuple(bound), options

    def _backend(self, arguments: Sequence[Any]) -> Backend:
        backend: Backend | None = None
        for argument in arguments:
            if is_array(argument):
                found = backend_of(argument)
                if backend is not None and found is not backend:
                    raise TypeError(
                        f"{self.name} got arrays of two libraries, {backend.name} and {found.name}. Move one "
                        "first: backend.from_host(nn.to_numpy(x))."
                    )
                backend = found
        if backend is None:
            kinds = ", ".join(type(argument).__name__ for argument in arguments) or "nothing"
            raise TypeError(f"{self.name} expects at least one array, got {kinds}.")
        return backend

    def _run(self, arguments: Sequence[Any], options: dict[str, Any]) -> tuple[Any, Backward]:
        """Run the rule on plain arrays: the library's own version, or the mathematics itself."""
        backend = self._backend(arguments)
        if self.multiply_adds is not None:
            count = _counted.get()
            if count is not None:
                count(self.multiply_adds(*arguments, **options))
        function = backend.native_rules.get(self.name, self.function)
        if self.wide or self.name in backend.wide_rules:
            function = self._widening(function, arguments)
        if not backend.scoped:
            return _outcome(self, function(*arguments, **options))
        with backend.scope():  # the pullback enters it once for all its rules
            return _outcome(self, function(*arguments, **options))

    def _widening(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any]:
        """Return the function, or where an argument has 16 bits one that computes in float32 and rounds at the end."""
        halves = any(isinstance(a, Operators) or is_array(a) for a in arguments if is_half(a))
        return functools.partial(_in_float32, self, function) if halves else function

    def _apply(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run the rule on tensors, and record it on the innermost tape that they belong to."""
        tape = None
        if _recording.get():
            values = tuple(_without_constants(argument) for argument in arguments)
            tape = self._innermost(values)
        else:
            values = tuple(plain(argument) for argument in arguments)
        inner = tuple(v.value if isinstance(v, Tensor) and v._tape is tape else v for v in values)
        if any(isinstance(argument, Tensor) for argument in inner):  # tensors of an outer gradient
            inner = tuple(Tensor(v) if not isinstance(v, Tensor) and is_array(v) else v for v in inner)
            function = self._widening(self.function, inner) if self.wide else self.function
            with _scope_of(inner):
                value, backward = _outcome(self, function(*inner, **options))
        else:
            meter = _meter.get()
            value, backward = (
                self._run(inner, options)
                if meter is None
                else meter(functools.partial(self._run, inner, options), inner)
            )
        if tape is None:
            result = tree.map(_constant, value)
        else:
            result = self._record(tape, value, backward, values)
        if self.remember:
            result.origin = (self.name, arguments, self.static | options)
        return result

    def _innermost(self, values: tuple[Any, ...]) -> _Tape | None:
        innermost: _Tape | None = None
        for value in values:
            if not isinstance(value, Tensor):
                continue
            tape = value._tape
            assert tape is not None  # constants were taken away
            if tape.closed:
                raise GradientError(
                    f"{self.name} got a tensor of a gradient computation that has ended. Keep tensor.detach(), or "
                    "return it from the function with has_aux=True."
                )
            if innermost is None or tape.level > innermost.level:
                innermost = tape
        return innermost

    def _record(self, tape: _Tape, value: Any, backward: Backward, values: tuple[Any, ...]) -> Any:
        parents = tuple(
            (v._node, v._index) if isinstance(v, Tensor) and v._tape is tape and v._node is not None else None
            for v in values
        )
        if not isinstance(value, tuple):
            if not self._has_gradient(value):
                return _constant(value)
            node = _Node(tape, self.name, backward, parents, None, (tuple(value.shape),))
            return _track(value, tape, node)
        zeros, shapes = tuple(map(_zeros_of, value)), tuple(tuple(part.shape) for part in value)
        node = _Node(tape, self.name, backward, parents, zeros, shapes)
        parts = (
            _track(part, tape, node, index) if self._has_gradient(part) else _constant(part)
            for index, part in enumerate(value)
        )
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)

    def _has_gradient(self, value: Any) -> bool:
        kind = _kind_of(value)
        if kind == "complex":
            raise GradientError(
                f"{self.name} gives {plain(value).dtype} while it is being differentiated; gradients are those of real "
                "floating numbers. Compute with real and imaginary parts, or with x.detach() where no gradient is "
                "meant."
            )
        return kind == "floating"


def _without_constants(argument: Any) -> Any:
    """Read references and take constants out of their tensors: an array, or a tensor of some tape, is left."""
    while isinstance(argument, Reference) or (isinstance(argument, Tensor) and argument._tape is None):
        argument = argument.__nnbackend_value__()
    return argument


def _constant(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)


def _zeros_of(value: Any) -> Callable[[], Any]:
    """Return what makes zeros like `value`, without keeping `value` itself; a tensor's are a tensor."""
    array = plain(value)
    backend = backend_of(array)
    shape, dtype, device = array.shape, array.dtype, backend.device(array)
    tensor = isinstance(value, Tensor)

    def zeros() -> Any:
        with backend.scope():
            made = backend.xp.zeros(shape, dtype=dtype, device=device)
        return Tensor(made) if tensor else made

    return zeros


@overload
def differentiable(function: Callable[..., Any], /, *, remember: bool = False) -> Rule: ...
@overload
def differentiable(
    function: None = None,
    /,
    *,
    remember: bool = False,
    multiply_adds: Callable[..., int] | None = None,
    wide: bool = False,
) -> Callable[[Callable[..., Any]], Rule]: ...
def differentiable(
    function: Callable[..., Any] | None = None,
    /,
    *,
    remember: bool = False,
    multiply_adds: Callable[..., int] | None = None,
    wide: bool = False,
) -> Rule | Callable[[Callable[..., Any]], Rule]:
    """Mark a function of arrays as a rule: it returns its value and the function that pulls gradients back.

    Positional parameters are arrays (or None, or Python numbers, which have no gradient); parameters after ``*``
    are static, such as axes. The function returns ``(value, backward)``. ``backward(dy, needs)`` gets the gradient
    of the value and, for each array argument, whether its gradient is wanted; it answers with a tuple in the
    arguments' order, None where not wanted. A rule of several outputs returns a tuple of values and gets a tuple
    of gradients. Namespaces come from the arrays: ``xp = namespace(x)``.

    Parameters
    ----------
    function : callable
        The rule.
    remember : bool
        Keep the rule's name, arguments and options at ``origin`` of the tensor it makes.
    multiply_adds : callable, optional
        Returns how many products with an addition the value takes, for the rule's own arguments; it looks at their
        shapes only. `counting_multiply_adds` adds them up.
    wide : bool
        Whether arguments of 16 bits are computed with in float32, and value and gradients rounded at the end: for sums
        of many terms and of squares, whose largest number in float16 is 65504. Backends add rules of their own
        (`nnbackend.backend.Backend.wide_rules`).

    Returns
    -------
    Rule
        Called like the function, it returns the value alone.

    Examples
    --------
    >>> import nnbackend as nn
    >>> from nnbackend.backend import namespace
    >>> @nn.differentiable
    ... def cube(x):
    ...     def backward(dy, needs):
    ...         return (3.0 * x * x * dy,)
    ...
    ...     return x * x * x, backward
    >>> x = nn.get_backend("numpy").xp.asarray([1.0, 2.0])
    >>> cube(x)
    array([1., 8.])
    >>> nn.grad(lambda x: nn.functional.sum(cube(x)))(x)
    array([ 3., 12.])
    """
    if function is None:
        return lambda function: Rule(function, remember, multiply_adds, wide)
    return Rule(function, remember, multiply_adds, wide)


def _in_float32(
    rule: Rule, function: Callable[..., Any], *arguments: Any, **options: Any
) -> tuple[Any, Backward]:
    """Run a rule in float32 on arguments of which some have 16 bits; the value has the dtype in which they meet."""
    if options.get("dtype") is not None:  # the caller says in which
        return _outcome(rule, function(*arguments, **options))
    kinds = [dtype_name(a) if hasattr(a, "dtype") else "" for a in arguments]
    meeting = promote(*(kind for kind in kinds if "float" in kind))
    value, pull = _outcome(rule, function(*map(_wide, arguments), **options))

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        gradients = pull(tree.map(_wide, dy), needs)
        return tuple(
            None if gradient is None else _rounded(gradient, kind)
            for gradient, kind in zip(gradients, kinds, strict=True)
        )

    return tree.map(lambda part: _rounded(part, meeting), value), backward


def _wide(argument: Any) -> Any:
    return _as(argument, "float32") if is_half(argument) else argument


def _rounded(result: Any, kind: str) -> Any:
    """Round what was computed in float32 to 16 bits."""
    return _as(result, kind) if kind in HALVES and dtype_name(result) == "float32" else result


def _as(array: Any, kind: str) -> Any:
    xp = array.__array_namespace__() if isinstance(array, Operators) else backend_of(array).xp
    return xp.astype(array, backend_of(plain(array)).dtype(kind))


def _outcome(rule: Rule, result: Any) -> tuple[Any, Backward]:
    """Return what a rule's function returned, if it is what a rule returns."""
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise TypeError(
            f"The rule {rule.name} must return its value and its backward, a function (dy, needs) of gradients; it "
            f"returned {type(result).__name__}."
        )
    return result


def _pull_back(tape: _Tape, results: Sequence[Any], cotangents: Sequence[Any]) -> None:
    """Send cotangents from results to leaves: the latest node first, each freed once its gradient went on."""
    waiting: list[tuple[int, _Node]] = []
    seen: set[int] = set()

    def send(node: _Node, index: int, cotangent: Any) -> None:
        node.receive(index, cotangent)
        if node.backward is not None and node.serial not in seen:
            seen.add(node.serial)
            heapq.heappush(waiting, (-node.serial, node))

    for result, cotangent in zip(results, cotangents, strict=True):
        if isinstance(result, Tensor) and result._tape is tape and result._node is not None:
            send(result._node, result._index, cotangent)
    while waiting:
        _, node = heapq.heappop(waiting)
        assert node.backward is not None
        gradients = node.backward(node.collect(), node.needs)
        if len(gradients) != len(node.parents):
            raise GradientError(
                f"The backward of {node.rule} answered with {len(gradients)} gradients for its "
                f"{len(node.parents)} array arguments. Answer one for each, None where it is not needed."
            )
        for parent, gradient in zip(node.parents, gradients, strict=True):
            if parent is None:
                continue
            if gradient is None:
                raise GradientError(
                    f"The backward of {node.rule} answered None for an argument whose gradient is needed. Return "
                    "zeros where the derivative is zero."
                )
            source, index = parent
            came = tuple(gradient.shape) if hasattr(gradient, "shape") else "none"
            if came != source.shapes[index]:
                raise GradientError(
                    f"The backward of {node.rule} answered a gradient of shape {came} for an argument of shape "
                    f"{source.shapes[index]}. Sum it over the axes that were broadcast."
                )
            send(source, index, gradient)
        node.free()


def vjp(f: Callable[..., Any], *arguments: Tree, has_aux: bool = False) -> tuple[Any, ...]:
    """Evaluate a function and return what pulls gradients back through it (the vector-Jacobian product).

    Parameters
    ----------
    f : callable
        Takes trees of arrays, returns a tree of arrays (and, with `has_aux`, a second tree that is passed on).
    *arguments : tree of array
        Where to evaluate it. Floating arrays get gradients; integer and boolean ones have none.
    has_aux : bool
        Whether `f` returns ``(value, auxiliary)``.

    Returns
    -------
    value : tree of array
        ``f(*arguments)``.
    pullback : callable
        Takes a tree of gradients like `value`, returns one tree of gradients for each argument (None at arrays
        that are not floating). It may be called once, since it frees what it has used. Its gradients are arrays of
        their own, which share no memory with each other or with what came in.
    auxiliary : tree, only with `has_aux`
        What `f` returned beside its value.

    Raises
    ------
    GradientError
        If the pullback is called a second time, or `f` computes complex numbers from what is differentiated.
    TypeError, ValueError
        If an argument is complex or a layer's `Parameter`, or what the pullback is given does not match `value` in
        structure, shape or dtype.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> value, pullback = nn.vjp(nn.functional.exp, xp.zeros(2))
    >>> pullback(xp.asarray([1.0, 2.0]))
    (array([1., 2.]),)
    """
    tape = _Tape()
    flat, structure = tree.flatten(tuple(arguments))
    refuse_references(flat)
    leaves = [_without_constants(leaf) for leaf in flat]
    if not leaves:
        raise TypeError("A gradient needs at least one array to be taken with respect to, got an empty tree.")
    tracked = [
        _track(leaf, tape, _Node(tape, "argument", None, (), None, (tuple(leaf.shape),)))
        if (isinstance(leaf, Tensor) or is_array(leaf)) and is_floating(leaf)
        else leaf
        for leaf in leaves
    ]
    for leaf in leaves:
        if is_array(plain(leaf)) and _kind_of(leaf) == "complex":
            raise TypeError(
                f"A gradient is taken with respect to real floating arrays, got one of {plain(leaf).dtype}. Pass its "
                "real and imaginary parts as two arrays."
            )
    with _recorded():
        outcome = f(*tree.unflatten(structure, tracked))
    if has_aux:
        if not isinstance(outcome, tuple) or len(outcome) != 2:
            raise TypeError("With has_aux=True the function must return a pair (value, auxiliary).")
        outcome, auxiliary = outcome
    results, result_structure = tree.flatten(outcome)
    value = tree.unflatten(result_structure, [_strip(result, tape) for result in results])
    nodes = [t._node if isinstance(t, Tensor) and t._tape is tape else None for t in tracked]

    def pullback(cotangents: Tree) -> tuple[Tree, ...]:
        nonlocal results
        if tape.closed:
            raise GradientError(
                "This pullback was called before: its tape is freed. Call nn.vjp again, or pass all gradients at once."
            )
        given = _matched(cotangents, value)
        seeds = [
            Tensor(seed) if isinstance(_strip(result, tape), Tensor) and is_array(seed) else seed
            for seed, result in zip(given, results, strict=True)
        ]
        try:
            with _scope_of(leaves):
                _pull_back(tape, results, seeds)
                gradients = [
                    None
                    if node is None
                    else node.cotangents[0]
                    if 0 in node.cotangents
                    else _zeros_of(leaf)()
                    for node, leaf in zip(nodes, leaves, strict=True)
                ]
                gradients = _of_their_own(gradients, (*leaves, *given))
        finally:
            tape.closed = True
            results = []
        answer: tuple[Tree, ...] = tree.unflatten(structure, gradients)
        return answer

    if has_aux:
        return value, pullback, tree.map(lambda leaf: _strip(leaf, tape), auxiliary)
    return value, pullback


def refuse_references(leaves: Sequence[Any]) -> None:
    """Refuse handles to differentiate by: what they stand for is read elsewhere, so gradients would be zeros."""
    for leaf in leaves:
        if isinstance(leaf, Reference):
            raise TypeError(leaf.no_gradient)


def _matched(cotangents: Tree, value: Tree) -> list[Any]:
    """Check that the gradients handed to a pullback are those of its value, and return them in order."""
    results, structure = tree.flatten(value)
    try:
        given = tree.leaves(tree.map(lambda _, cotangent: (cotangent,), structure, cotangents))
    except ValueError as error:
        raise ValueError(
            f"A pullback expects a tree of gradients like the value of the function. {error}"
        ) from None
    if len(given) != len(results):
        raise ValueError(
            f"A pullback expects one array for each of the {len(results)} arrays of the value, got {len(given)}. Pass "
            "zeros where no gradient comes in."
        )
    for number, (cotangent, result) in enumerate(zip(given, results, strict=True)):
        if _is_differentiable(result):
            _check_cotangent(cotangent, result, f"The gradient of output {number} that a pullback was given")
    return given


def _check_cotangent(cotangent: Any, result: Any, what: str) -> None:
    if not isinstance(cotangent, Operators) and not is_array(cotangent):
        raise TypeError(
            f"{what} is to be an array of shape {tuple(result.shape)}, got {type(cotangent).__name__}. Make an array "
            "of it, of the value's library."
        )
    if tuple(cotangent.shape) != tuple(result.shape):
        raise ValueError(
            f"{what} is to have the output's shape {tuple(result.shape)}, got {tuple(cotangent.shape)}. Broadcast or "
            "reshape it."
        )
    alike = backend_of(plain(cotangent)) is backend_of(plain(result))
    if alike and cotangent.dtype != result.dtype:  # another library's is refused by the rules
        raise TypeError(
            f"{what} is to have the output's dtype {result.dtype}, got {cotangent.dtype}. Cast it with astype."
        )


def _is_differentiable(value: Any) -> bool:
    return (isinstance(value, Operators) or is_array(value)) and is_floating(value)


def _of_their_own(gradients: list[Any], held: Sequence[Any]) -> list[Any]:
    """Copy gradients that lie in memory already given out, or that cannot be written to; most are left as they are.

    A rule may pass a gradient on as it came, or spread one over a view, so that without this a caller who changes a
    gradient in place might change another one, or an array of their own.
    """
    taken = set()
    for array in held:
        if is_array(array := plain(array)):
            taken.add(backend_of(array).memory(array))
    answer = []
    for gradient in gradients:
        if gradient is not None and not isinstance(gradient, Tensor):
            backend = backend_of(gradient)
            memory = backend.memory(gradient)
            if backend.writable and (memory is None or memory in taken):
                gradient = backend.copy(gradient)
                memory = backend.memory(gradient)
            taken.add(memory)
        answer.append(gradient)
    return answer


def _scope_of(values: Sequence[Any]) -> AbstractContextManager[Any]:
    """Return the state in which the library of these values computes."""
    for value in values:
        if is_array(array := plain(value)):
            return backend_of(array).scope()
    return nullcontext()


@contextmanager
def _recorded() -> Iterator[None]:
    """Record, whatever the surroundings: a gradient asked for inside `no_grad` is still a gradient."""
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)


def _strip(value: Any, tape: _Tape) -> Any:
    """Take a result out of its tape; a constant tensor becomes its array."""
    value = _without_constants(value)
    return _without_constants(value.value) if isinstance(value, Tensor) and value._tape is tape else value


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes a scalar function's value and its gradient.

    Parameters
    ----------
    f : callable
        Takes arrays or trees of arrays (dicts, lists, named tuples), returns one number as a 0-d array.
    argnums : int or sequence of int
        With respect to which positional arguments.
    has_aux : bool
        Whether `f` returns ``(value, auxiliary)``; the auxiliary tree is passed on without a gradient.

    Returns
    -------
    callable
        Like `f`, returning ``(value, gradient)``, or ``((value, auxiliary), gradient)``. The gradient has the
        structure of the argument; for several `argnums` it is a tuple of such.

    Raises
    ------
    TypeError
        If the value is not a 0-d floating array, an argument has no floating array or a layer's `Parameter`, or
        `argnums` names one twice. For a model's parameters see `Model.apply`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> def loss(parameters, x):
    ...     return nn.functional.mean((x @ parameters["w"]) ** 2)
    >>> value, gradient = nn.value_and_grad(loss)({"w": xp.asarray([1.0, 2.0])}, xp.ones((3, 2)))
    >>> float(value), gradient
    (9.0, {'w': array([6., 6.])})
    """
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(f)
    def with_gradient(*arguments: Any, **options: Any) -> Any:
        for number in chosen:
            if not -len(arguments) <= number < len(arguments):
                raise TypeError(
                    f"argnums names argument {number}, but the call has {len(arguments)} positional ones."
                )
            if sum(other % len(arguments) == number % len(arguments) for other in chosen) > 1:
                raise TypeError(
                    f"argnums {chosen} names argument {number % len(arguments)} twice. Name each argument once."
                )
            for leaf in tree.leaves(arguments[number]):
                if not (isinstance(leaf, Operators) or is_array(leaf)) or not is_floating(leaf):
                    kind = getattr(leaf, "dtype", type(leaf).__name__)
                    raise TypeError(
                        f"A gradient is taken with respect to floating arrays, got {kind} in argument {number}. "
                        "Make it a floating array, or leave it out of argnums."
                    )

        def of_chosen(*values: Any) -> Any:
            full = list(arguments)
            for number, value in zip(chosen, values, strict=True):
                full[number] = value
            return f(*full, **options)

        value, pullback, *auxiliary = vjp(of_chosen, *(arguments[n] for n in chosen), has_aux=has_aux)
        if not (isinstance(value, Tensor) or is_array(value)) or value.shape != () or not is_floating(value):
            came = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
            raise TypeError(
                f"The gradient is that of one floating number, a 0-d array; the function returned {came}. Reduce it "
                "with functional.sum or functional.mean, or use nn.vjp."
            )
        gradients = pullback(_one_like(value))
        gradient = gradients[0] if isinstance(argnums, int) else gradients
        return ((value, auxiliary[0]) if has_aux else value), gradient

    return with_gradient


def _one_like(value: Any) -> Any:
    array = plain(value)
    backend = backend_of(array)
    with backend.scope():
        return backend.xp.ones((), dtype=array.dtype, device=backend.device(array))


def grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes a scalar function's gradient.

    Parameters and errors are those of `value_and_grad`; the result is the gradient alone, or, with `has_aux`, the
    pair ``(gradient, auxiliary)``. Gradients nest: ``grad(grad(f))`` is the second derivative.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> cube = lambda x: nn.functional.sum(x * x * x)
    >>> nn.grad(cube)(xp.asarray([1.0, 2.0]))
    array([ 3., 12.])
    >>> nn.grad(lambda x: nn.functional.sum(nn.grad(cube)(x)))(xp.asarray([1.0, 2.0]))
    array([ 6., 12.])
    """
    both = value_and_grad(f, argnums, has_aux=has_aux)

    @functools.wraps(f)
    def gradient_of(*arguments: Any, **options: Any) -> Any:
        value, gradient = both(*arguments, **options)
        return (gradient, value[1]) if has_aux else gradient

    return gradient_of
