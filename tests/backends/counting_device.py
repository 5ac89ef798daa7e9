"""A device that counts: CuPy's face over NumPy, on which the CuPy backend itself runs as it does on a GPU.

Nothing of CuPy is needed, and all of `nnbackend_cupy` is the real thing. What a GPU would be given to do is done by
NumPy and noted by name: kernels, products, copies. What a GPU would be waited for is noted as well. A function of
CuPy's is noted once, though some launch several kernels.

It takes CuPy's place in a process of its own: ``python -m tests.backends.counting_device`` prints what was noted.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

#: What was noted since it was last emptied.
noted: list[str] = []
#: What was captured, a list for each graph.
graphs: list[list[str]] = []


def note(what: str) -> None:
    noted.append(what)


def _plain(node: Any) -> Any:
    if isinstance(node, (list, tuple)):
        parts = [_plain(each) for each in node]
        return type(node)(*parts) if hasattr(node, "_fields") else type(node)(parts)
    return node.view(np.ndarray) if isinstance(node, ndarray) else node


def _lifted(node: Any) -> Any:
    if isinstance(node, (list, tuple)):
        parts = [_lifted(each) for each in node]
        return type(node)(*parts) if hasattr(node, "_fields") else type(node)(parts)
    return np.asarray(node).view(ndarray) if isinstance(node, (np.ndarray, np.generic)) else node


def _arrays(node: Any) -> Iterator[np.ndarray]:
    if isinstance(node, (list, tuple)):
        for each in node:
            yield from _arrays(each)
    elif isinstance(node, np.ndarray):
        yield node


def _done(name: str, result: Any, given: Any, out: Any = None) -> Any:
    """Note what made a result, unless the result is a view of what was given."""
    sources = list(_arrays(given))
    made = [array for array in _arrays(result) if not any(np.may_share_memory(array, s) for s in sources)]
    if made or out is not None or isinstance(result, np.generic):
        note(name)
    return _lifted(result)


class _Memory:
    """An allocation; arrays that were cut out of one have the same."""

    known: dict[int, _Memory] = {}  # noqa: RUF012 - for the whole process, which is short

    def __init__(self, root: np.ndarray) -> None:
        self.root = root  # held, so that no other array gets its identity

    @classmethod
    def of(cls, array: np.ndarray) -> _Memory:
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        return cls.known.setdefault(id(root), cls(root))


class _Pointer:
    device_id = 0

    def __init__(self, mem: _Memory, ptr: int) -> None:
        self.mem, self.ptr = mem, ptr

    def copy_from_device_async(self, source: _Pointer, count: int) -> None:
        note("copy")
        ctypes.memmove(self.ptr, source.ptr, count)


def _allocated(size: int) -> _Pointer:
    memory = np.zeros(size + 256, np.uint8)
    return _Pointer(_Memory.of(memory), -(-memory.ctypes.data // 256) * 256)


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """An array "on the device"."""

    __module__ = "cupy"
    __array_priority__ = 100

    def __new__(
        cls, shape: Any, dtype: Any = float, memptr: _Pointer | None = None, strides: Any = None
    ) -> ndarray:
        memptr = memptr or _allocated(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        offset = memptr.ptr - memptr.mem.root.ctypes.data
        return np.ndarray.__new__(cls, shape, dtype, memptr.mem.root.data, offset, strides)

    @property
    def data(self) -> Any:
        return _Pointer(_Memory.of(self), self.ctypes.data)

    @property
    def device(self) -> Any:
        return _Device()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if out is not None:
            options["out"] = _plain(out)
        result = getattr(ufunc, method)(*_plain(inputs), **options)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        lifted = _done(name, result, inputs, out)
        return lifted if out is None else out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        out = options.pop("out", None)
        given = {name: _plain(value) for name, value in options.items()}
        if out is not None:
            given["out"] = _plain(out)
        result = function(*_plain(arguments), **given)
        if function is np.empty_like:
            return _lifted(result)
        lifted = _done(function.__name__, result, (arguments, list(options.values())), out)
        return lifted if out is None else out

    def __getitem__(self, key: Any) -> Any:
        return _done("getitem", self.view(np.ndarray)[_plain(key)], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        note("setitem")
        self.view(np.ndarray)[_plain(key)] = _plain(value)

    def fill(self, value: Any) -> None:
        note("fill")
        self.view(np.ndarray).fill(value)

    def get(self) -> np.ndarray:
        note("WAITS: get")
        return np.array(self.view(np.ndarray))


def _method(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *arguments: Any, **options: Any) -> Any:
        return _done(name, getattr(self.view(np.ndarray), name)(*_plain(arguments), **options), self)

    return method


def _waiting(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *arguments: Any) -> Any:
        note(f"WAITS: {name}")
        return getattr(self.view(np.ndarray), name)(*arguments)

    return method


for _name in (
    "all any argmax argmin argsort astype clip conj copy cumsum flatten max mean min nonzero prod ravel repeat "
    "reshape round sort squeeze std sum swapaxes take transpose var view".split()
):
    if _name != "view":
        setattr(ndarray, _name, _method(_name))
for _name in ("__bool__", "__float__", "__int__", "__index__", "item", "tolist"):
    setattr(ndarray, _name, _waiting(_name))


class _Device:
    """The one device, which is always the current one."""

    def __init__(self, number: Any = 0) -> None:
        self.id = 0

    def __enter__(self) -> _Device:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Device)

    def __hash__(self) -> int:
        return 0

    def synchronize(self) -> None:
        note("WAITS: synchronize")


class _Stream:
    """A stream; what is captured on one is noted apart."""

    ptr = 0

    def __init__(self, non_blocking: bool = False) -> None:
        self._before: list[str] = []

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def begin_capture(self) -> None:
        self._before = list(noted)
        noted.clear()

    def end_capture(self) -> Any:
        graphs.append(list(noted))
        noted[:] = self._before
        return SimpleNamespace(launch=lambda: note("graph"))

    def synchronize(self) -> None:
        note("WAITS: stream.synchronize")

    def wait_event(self, event: Any) -> None:
        return None


class _Kernel:
    """A kernel by its name. It computes nothing, but for the one that copies."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> None:
        note(self.name)
        if self.name.startswith("nn_move_"):
            *numbers, _ = arguments[2]
            for target, source, count in zip(*(numbers[i::3] for i in range(3)), strict=True):
                ctypes.memmove(int(target), int(source), int(count) * int(self.name[len("nn_move_") :]))


class _Pool:
    def __init__(self, allocator: Any = None) -> None:
        self.malloc = allocator or _allocated

    def free_bytes(self) -> int:
        return 1 << 30

    def get_limit(self) -> int:
        return 0


class _Pinned(bytearray):
    """Pinned memory of CuPy's usual pool."""

    @property
    def mem(self) -> Any:
        return SimpleNamespace(pool=lambda: _pinned_pool)


_pinned_pool = _Pool(_Pinned)
_pinned: list[Callable[[int], Any]] = [_pinned_pool.malloc]


def _event(disable_timing: bool = True) -> Any:
    return SimpleNamespace(record=lambda stream: None, synchronize=lambda: note("WAITS: event"))


def _creation(name: str) -> Callable[..., Any]:
    """Return one of NumPy's functions as CuPy's."""
    function = getattr(np, name)

    def create(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if isinstance(result, (np.ndarray, np.generic)) and not isinstance(result, ndarray):
            from_host = name in ("asarray", "array", "ascontiguousarray")
            if from_host:
                _pinned[-1](result.nbytes)  # as CuPy takes it from there
            if name not in ("empty", "broadcast_to"):
                note("from host" if from_host else name)
            pointer = ndarray(result.shape, result.dtype)
            np.copyto(pointer.view(np.ndarray), result)
            return pointer
        return result

    create.__name__ = name
    return create


def _asarray(obj: Any, dtype: Any = None, order: Any = None, **options: Any) -> Any:
    if isinstance(obj, ndarray):
        return obj if dtype is None or obj.dtype == dtype else obj.astype(dtype)
    return _creation("asarray")(_plain(obj), dtype=dtype)


def _array(obj: Any, dtype: Any = None, copy: bool = True, **options: Any) -> Any:
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype) if copy else _asarray(obj, dtype)
    return _creation("asarray")(_plain(obj), dtype=dtype)


def _ascontiguousarray(array: Any, dtype: Any = None) -> Any:
    return array if array.flags.c_contiguous else array.copy()


def _module() -> types.ModuleType:
    """Return what takes CuPy's place."""
    module = types.ModuleType("cupy")
    for name in np.__all__:
        found = getattr(np, name)
        ours = callable(found) and not isinstance(found, (type, np.ufunc))
        setattr(module, name, _creation(name) if ours else found)
    cuda = types.ModuleType("cupy.cuda")
    stream = _Stream()
    vars(cuda).update(
        Device=_Device, Stream=_Stream, Event=_event, MemoryPool=_Pool, MemoryPointer=lambda mem, offset: mem,
        Memory=_allocated, alloc=_allocated, get_current_stream=lambda: stream,
        UnownedMemory=lambda ptr, size, owner, device_id: _Pointer(_Memory.of(owner[1].mem.root), ptr),
        using_allocator=lambda allocator: contextlib.nullcontext(),
        alloc_pinned_memory=lambda size: _pinned[-1](size), set_pinned_memory_allocator=_pinned.append,
        runtime=SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 1, memGetInfo=lambda: (1 << 33, 1 << 34)),
    )  # fmt: skip
    vars(module).update(
        ndarray=ndarray, asarray=_asarray, array=_array, ascontiguousarray=_ascontiguousarray, cuda=cuda,
        asnumpy=lambda array: array.get(), get_default_memory_pool=_Pool,
        get_default_pinned_memory_pool=lambda: _pinned_pool,
        ElementwiseKernel=lambda inputs, outputs, operation, name, **options: _Kernel(name),
        RawKernel=lambda code, name, **options: _Kernel(name),
        linalg=np.linalg, fft=np.fft, __version__="14.2.0",
    )  # fmt: skip
    module.__all__ = [*np.__all__, "ndarray", "cuda"]
    return module


def install() -> Any:
    """Take CuPy's place, and return the CuPy backend; its kernels' values are those of the plain expressions."""
    module = _module()
    device = types.ModuleType("cupy.cuda.device")
    device.Device = _Device  # type: ignore[attr-defined]
    sys.modules.update({"cupy": module, "cupy.cuda": module.cuda, "cupy.cuda.device": device})
    sys.modules.update({"cupy.linalg": np.linalg, "cupy.fft": np.fft})
    import nnbackend.backend
    from nnbackend.backend import host
    from nnbackend_cupy import CupyBackend, cublas, launch
    from tests.backends.cublas_on_cpu import CublasLtOnCpu

    class Library(CublasLtOnCpu):
        def cublasLtMatmul(self, *arguments: Any) -> int:
            note("matmul")
            return super().cublasLtMatmul(*arguments)

    class Evaluator(launch.Evaluator):
        def run(self, program: Any, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
            if not all(isinstance(argument, ndarray) for argument in arguments):
                return super().run(program, arguments, donate)
            with np.errstate(all="ignore"):
                values = program.function(*(np.array(argument.view(np.ndarray)) for argument in arguments))
            results = super().run(program, arguments, donate)
            pairs = zip(results, values, strict=True) if isinstance(results, tuple) else [(results, values)]
            for result, value in pairs:
                np.copyto(result.view(np.ndarray), value)
            return results

    class Counting(CupyBackend):
        def _random_words(self, count: int, bits: int, key: Any, step: Any, stream: int, call: int) -> Any:
            words = super()._random_words(count, bits, key, step, stream, call)
            drawn = tuple(int(half) % 2**64 for half in _plain(key)), int(_plain(step))
            made = host().random_words(count, bits, key=drawn[0], step=drawn[1], stream=stream, call=call)
            np.copyto(words.view(np.ndarray), made)
            return words

    launch.Evaluator = Evaluator  # type: ignore[misc]
    library = Library()
    cublas.load = lambda: library  # type: ignore[assignment]
    backend = Counting()
    nnbackend.backend._instances["cupy", ()] = backend
    nnbackend.backend._by_type[ndarray] = backend
    nnbackend.backend._namespaces[ndarray] = backend.xp
    return backend
