"""A device without a GPU: an array library over NumPy whose work can be captured, and is done when it is launched.

While a thread captures, nothing is computed: results are memory full of rubbish that the graph will fill, values cannot
be read, and what a graph needed for a while is rubbish again before each launch.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import array_api_compat.numpy as compat
import numpy as np

import nnbackend.backend
from nnbackend.backend import Availability, Backend, StandIn, host
from nnbackend.elementwise import ARITHMETIC_OPERATORS, COMPARISON_OPERATORS, LOGICAL_OPERATORS
from nnbackend.precision import get_matmul_precision
from nnbackend_cupy.capture import CapturedStep

__all__ = ["FakeArray", "FakeBackend", "FakeRecorder", "installed"]


class Machine:
    """What the device is doing."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] | None = None
        self.temporaries: list[np.ndarray] = []
        self.constants: list[bytes] | None = None
        self.launches = 0
        self.runs = 0  # calls that were computed at once

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute at once, or put it on the list."""
        given, named = _plain(arguments), _plain(options)
        with np.errstate(all="ignore"):
            result = function(*given, **named)  # while capturing, of rubbish: for shapes and dtypes
        self.runs += self.work is None
        if isinstance(result, (tuple, list)) and result and isinstance(result[0], (np.ndarray, np.generic)):
            parts = [
                self._made(lambda *a, i=index, **o: function(*a, **o)[i], given, named, part)
                for index, part in enumerate(result)
            ]
            return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        return self._made(function, given, named, result)

    def _made(self, function: Any, given: Any, named: Any, result: Any) -> Any:
        if not isinstance(result, (np.ndarray, np.generic)):
            return result
        array = np.asarray(result)
        sources = [leaf for leaf in _leaves((given, named)) if isinstance(leaf, np.ndarray)]
        if self.work is None or any(np.may_share_memory(array, source) for source in sources):
            return FakeArray(array)
        out = _rubbish(array)
        self.temporaries.append(out)
        self.work.append(lambda: np.copyto(out, function(*given, **named)))
        return FakeArray(out)

    def bring(self, array: np.ndarray) -> FakeArray:
        if self.constants is not None:
            self.constants.append(hashlib.blake2b(array.tobytes()).digest())
        return FakeArray(array)

    def read(self, what: str) -> None:
        if self.work is not None:
            raise RuntimeError(f"the current stream is capturing, so {what} is disallowed.\nIt waits.")


machine = Machine()


def _rubbish(like: np.ndarray, whole: int = 0) -> np.ndarray:
    """Return memory that nobody has written to; whole numbers are small, since they may be looked at as indices."""
    made = np.empty_like(like)
    made.reshape(-1).view(np.uint8)[...] = 0xA5 if made.dtype.kind == "f" else 1
    if made.dtype.kind in "iu":
        made[...] = whole
    return made


def _map(node: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(node, (list, tuple)):
        return type(node)(_map(child, leaf) for child in node)
    if isinstance(node, dict):
        return {key: _map(child, leaf) for key, child in node.items()}
    if isinstance(node, slice):
        return slice(leaf(node.start), leaf(node.stop), leaf(node.step))
    return leaf(node)


def _plain(node: Any) -> Any:
    return _map(node, lambda leaf: leaf.host if isinstance(leaf, FakeArray) else leaf)


def _leaves(node: Any) -> list[Any]:
    found: list[Any] = []
    _map(node, found.append)
    return found


class FakeArray:
    """An array on the device."""

    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(self, array: np.ndarray) -> None:
        self.host = array

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return xp

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    device = property(lambda self: "cpu")
    T = property(lambda self: FakeArray(self.host.T))
    mT = property(lambda self: FakeArray(self.host.mT))  # noqa: N815 - the standard's name

    def copy(self) -> Any:
        return machine.call(np.array, (self,), {})

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, key: Any) -> Any:
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, FakeArray) and part.dtype == np.bool_:
                machine.read("a mask")
        return machine.call(lambda x, k: x[k], (self, key), {})


def _operator(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: FakeArray, other: Any) -> Any:
        if isinstance(other, StandIn):
            return NotImplemented
        return machine.call(function, (other, self) if reflected else (self, other), {})

    return method


_OPERATORS = {name: getattr(np, function) for name, function in ARITHMETIC_OPERATORS.items()}
_OPERATORS |= {n: getattr(np, f.replace("logical", "bitwise")) for n, f in LOGICAL_OPERATORS.items()}
_OPERATORS |= {"matmul": np.matmul, "floordiv": np.floor_divide, "mod": np.remainder}
_OPERATORS |= {"lshift": np.left_shift, "rshift": np.right_shift, "pow": lambda x, y: x**y}
for _name, _function in _OPERATORS.items():
    setattr(FakeArray, f"__{_name}__", _operator(_function))
    setattr(FakeArray, f"__r{_name}__", _operator(_function, reflected=True))
for _name, _function in COMPARISON_OPERATORS.items():
    setattr(FakeArray, f"__{_name}__", _operator(getattr(np, _function)))
for _name, _function in {"neg": np.negative, "abs": np.absolute, "invert": np.invert}.items():
    setattr(FakeArray, f"__{_name}__", lambda self, f=_function: machine.call(f, (self,), {}))


def _reader(what: str) -> Callable[[FakeArray], Any]:
    def method(self: FakeArray) -> Any:
        machine.read(what)
        return getattr(self.host, what)()

    return method


for _name in ("bool", "float", "int", "index"):
    setattr(FakeArray, f"__{_name}__", _reader(f"__{_name}__"))


class _Namespace(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        found = getattr(compat, name)
        if not callable(found) or isinstance(found, type):
            return found

        def function(*arguments: Any, **options: Any) -> Any:
            return machine.call(found, arguments, options)

        return function

    @staticmethod
    def asarray(obj: Any, /, *, copy: bool | None = None, **options: Any) -> Any:
        if isinstance(obj, FakeArray):
            return machine.call(np.array, (obj,), options) if copy else obj
        return machine.bring(np.array(obj, dtype=options.get("dtype")))


xp = _Namespace("fake")


class FakeGraph:
    """A list of calls."""

    def __init__(self, work: list[Callable[[], None]], recorder: FakeRecorder) -> None:
        self._work, self._recorder = work, recorder

    def launch(self) -> None:
        assert machine.work is None
        machine.launches += 1
        for array in self._recorder.temporaries:
            array[...] = _rubbish(array, 1)
        for call in self._work:
            call()


class FakeRecorder:
    """Captures what is done to fake arrays."""

    def __init__(self) -> None:
        self.temporaries: list[np.ndarray] = []
        self.captures = 0
        self.copies = 0

    def form(self, array: Any) -> Any:
        if not isinstance(array, FakeArray) or not (array.host.flags.forc or array.size <= 1):
            return None
        return array.dtype, array.shape, array.host.strides

    def extent(self, array: Any) -> tuple[int, int]:
        begin = array.host.ctypes.data
        return begin, begin + array.host.nbytes

    def block(self, array: Any) -> Any:
        base = array.host
        while isinstance(base.base, np.ndarray):
            base = base.base
        return id(base)

    def empty_like(self, array: Any) -> Any:
        made = _rubbish(array.host)
        if machine.work is not None:
            self.temporaries.append(made)
        return FakeArray(made)

    def copy(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        for target, source in pairs:
            assert not np.shares_memory(target.host, source.host)
            self.copies += machine.work is None
            if machine.work is None:
                np.copyto(target.host, source.host)
            else:
                machine.work.append(lambda t=target.host, s=source.host: np.copyto(t, s))

    def on(self, array: Any) -> Any:
        return nullcontext()

    @property
    def capturing(self) -> bool:
        return machine.work is not None

    def choices(self) -> Any:
        return get_matmul_precision()

    @contextmanager
    def watch(self) -> Iterator[list[bytes]]:
        before, machine.constants = machine.constants, []
        try:
            yield machine.constants
        finally:
            machine.constants = before

    def capture(self, work: Callable[[], Any], state: Sequence[Any]) -> Any:
        self.captures += 1
        machine.work, machine.temporaries = [], []
        try:
            outcome = work()
            graph = FakeGraph(machine.work, self)
            self.temporaries += machine.temporaries
        finally:
            machine.work = None
        return outcome, graph


class FakeBackend(Backend):
    """The fake device as a backend."""

    name = "fake"
    install = ""
    roots = frozenset({"tests"})

    def __init__(self, captures: bool = True) -> None:
        self.xp = xp
        self._captures = captures
        self.recorders: list[FakeRecorder] = []

    @classmethod
    def probe(cls) -> Availability:
        return Availability(True)

    def owns(self, value: object) -> bool:
        return isinstance(value, FakeArray)

    def from_host(self, array: Any, dtype: str | None = None) -> Any:
        return machine.bring(np.array(array, dtype=dtype, order="C"))

    def to_host(self, array: Any) -> Any:
        machine.read("a copy to the host")
        return np.array(array.host)

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Any:
        def words(key: Any, step: Any) -> Any:
            key = tuple(int(half) % 2**64 for half in key)
            step = int(step) % 2**64  # rubbish, perhaps
            return host().random_words(count, bits, key=key, step=step, stream=stream, call=call)

        return machine.call(words, (key, step), {})

    def run(self, program: Any, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        results = machine.call(program.plain, tuple(arguments), {})
        parts = list(results) if isinstance(results, tuple) else [results]
        taken = set()
        for number, source in enumerate(donate[: len(parts)]):
            if source is None or source in taken or not isinstance(arguments[source], FakeArray):
                continue
            target, part = arguments[source].host, parts[number].host
            if (target.shape, target.dtype) != (part.shape, part.dtype):
                continue
            taken.add(source)
            self._write(target, part)
            parts[number] = arguments[source]
        return tuple(parts) if isinstance(results, tuple) else parts[0]

    @staticmethod
    def _write(target: np.ndarray, part: np.ndarray) -> None:
        if machine.work is None:
            np.copyto(target, part)
        else:
            machine.work.append(lambda: np.copyto(target, part))

    def compile(self, step: Callable[..., Any]) -> Any:
        return CapturedStep(step, self._recorder) if self._captures else step

    def _recorder(self) -> FakeRecorder:
        self.recorders.append(FakeRecorder())
        return self.recorders[-1]

    def copy(self, array: Any) -> Any:
        return machine.call(np.array, (array,), {})

    def memory(self, array: Any) -> object:
        return FakeRecorder().block(array)

    def device(self, array: Any) -> Any:
        return "cpu"


@contextmanager
def installed(captures: bool = True) -> Iterator[FakeBackend]:
    """Let fake arrays be dispatched to a fake backend."""
    backend = FakeBackend(captures)
    nnbackend.backend._by_type[FakeArray] = backend
    nnbackend.backend._namespaces[FakeArray] = xp
    machine.__init__()
    try:
        yield backend
    finally:
        nnbackend.backend._by_type.pop(FakeArray, None)
        nnbackend.backend._namespaces.pop(FakeArray, None)
