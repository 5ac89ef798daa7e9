"""CUDA graphs by CuPy: what `nnbackend_cupy.capture` needs of a GPU."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import cupy
import numpy as np

from nnbackend.precision import get_matmul_precision
from nnbackend_cupy import matmul, moving
from nnbackend_cupy.capture import NotCapturableError
from nnbackend_cupy.options import in_force

__all__ = ["CudaRecorder", "Scope", "bring", "scope"]

T = TypeVar("T")

_HOST_COPY = "numbers are brought from the host in it, other than by xp.asarray and Backend.from_host"


class Scope:
    """What a thread is capturing.

    Attributes
    ----------
    blocks : set
        The allocations in which the state lies.
    kept : list of array
        Constants, which must live as long as the graph.
    """

    def __init__(self, state: Sequence[Any]) -> None:
        self.blocks = {id(array.data.mem) for array in state}
        self.kept: list[Any] = []


class _Thread(threading.local):
    """What a thread is doing."""

    scope: Scope | None = None
    constants: list[bytes] | None = None
    aside: bool = False


_present = _Thread()


def scope() -> Scope | None:
    """Return what this thread is capturing, if it is."""
    return _present.scope


def bring(host: Any, copy: Callable[[Any], Any]) -> Any:
    """Return ``copy(host)``, an array on the device of numbers on the host.

    In a step that is captured they are constants: they are brought at once, aside of what is captured.
    """
    if _present.constants is not None:
        array = np.asarray(host)
        described = f"{array.dtype} {array.shape} ".encode()
        _present.constants.append(hashlib.blake2b(described + array.tobytes()).digest())
    if _present.scope is None:
        return copy(host)
    stream = cupy.cuda.Stream(non_blocking=True)
    _present.aside = True
    try:
        with stream:
            array = copy(host)
            stream.synchronize()
    finally:
        _present.aside = False
    _present.scope.kept.append(array)
    return array


@contextmanager
def _without_host_copies() -> Iterator[None]:
    """Refuse copies from the host: the memory that they come from would be another's when the graph is launched.

    CuPy tells nobody which allocator is in force. Its usual one is recognised by its memory; another one is left alone.
    """
    pool = cupy.get_default_pinned_memory_pool()
    owner = getattr(cupy.cuda.alloc_pinned_memory(1).mem, "pool", None)
    if owner is None or owner() is not pool:
        yield
        return

    def guard(size: int) -> Any:
        if _present.scope is not None and not _present.aside:
            raise NotCapturableError(_HOST_COPY)
        return pool.malloc(size)

    cupy.cuda.set_pinned_memory_allocator(guard)
    try:
        yield
    finally:
        cupy.cuda.set_pinned_memory_allocator(pool.malloc)


class CudaGraph:
    """A captured graph, with what it reads and writes."""

    def __init__(self, graph: Any, held: tuple[Any, ...]) -> None:
        self._graph, self._held = graph, held

    def launch(self) -> None:
        """Do the work on the current stream."""
        self._graph.launch()


class CudaRecorder:
    """Captures the work of one step, on whichever device its arrays are.

    Its graphs share a memory pool of their own, since a step runs once at a time: what one graph needs for a while, the
    next one may have. The pool takes its memory from CuPy's default pool, whose limit therefore holds.
    """

    def __init__(self) -> None:
        self._pool = cupy.cuda.MemoryPool(cupy.get_default_memory_pool().malloc)
        self._streams: dict[int, Any] = {}

    def form(self, array: Any) -> Hashable | None:
        """Return device, dtype, shape and strides of an array that fills a stretch of memory."""
        if not isinstance(array, cupy.ndarray):
            return None
        shape, dtype = array.shape, array.dtype
        layout = _layout(shape, array.strides, dtype.itemsize)
        return None if layout is None else (array.data.device_id, dtype, shape, layout)

    def extent(self, array: Any) -> tuple[int, int]:
        """Return the addresses at which a dense array begins and ends."""
        begin = array.data.ptr
        return begin, begin + array.nbytes

    def block(self, array: Any) -> Hashable:
        """Return the identity of the allocation."""
        return id(array.data.mem)

    def empty_like(self, array: Any) -> Any:
        """Return an array of the same strides, from the allocator in force."""
        memory = cupy.cuda.alloc(array.nbytes)
        return cupy.ndarray(array.shape, array.dtype, memory, array.strides)

    def copy(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Copy bytes; neighbours that go to neighbours go together, and in a graph small runs of them by one kernel."""
        runs = list(_runs(pairs))
        small = [run for run in runs if run[2] <= moving.FEW] if self.capturing else []
        if len(small) > 1:
            moving.move((target.ptr, source.ptr, count) for target, source, count in small)
            runs = [run for run in runs if run[2] > moving.FEW]
        for target, source, count in runs:
            target.copy_from_device_async(source, count)

    def on(self, array: Any) -> AbstractContextManager[Any]:
        """Make the device of an array the current one."""
        device: AbstractContextManager[Any] = cupy.cuda.Device(array.data.device_id)
        return device

    @property
    def capturing(self) -> bool:
        """Whether this thread is capturing."""
        return _present.scope is not None

    def choices(self) -> Hashable:
        """Return how exactly matrices are multiplied, and the options by which rules compute."""
        return get_matmul_precision(), in_force()

    @contextmanager
    def watch(self) -> Iterator[list[bytes]]:
        """Return a list that gets a digest of all numbers that this thread brings to the device."""
        seen: list[bytes] = []
        before, _present.constants = _present.constants, seen
        try:
            yield seen
        finally:
            _present.constants = before

    def capture(self, work: Callable[[], T], state: Sequence[Any]) -> tuple[T, CudaGraph]:
        """Capture work on a stream of its own; the current device must be that of the arrays.

        Constants are brought while this is going on, not in order with earlier work: memory that they are given may
        have been another graph's that is still at work, so that this is waited for once.
        """
        number = cupy.cuda.runtime.getDevice()
        cupy.cuda.get_current_stream().synchronize()
        stream = self._streams.pop(number, None) or cupy.cuda.Stream(non_blocking=True)
        found = Scope(state)
        with cupy.cuda.using_allocator(self._pool.malloc), _without_host_copies(), stream:
            matmul.prepare()  # the workspace of this stream
            moving.prepare()
            stream.begin_capture()
            _present.scope = found
            try:
                outcome = work()
            except BaseException:
                _present.scope = None
                _end(stream)
                raise
            _present.scope = None
            graph = stream.end_capture()
        self._streams[number] = stream  # one whose capture has failed is used no more
        return outcome, CudaGraph(graph, (self._pool, found.kept, outcome))


def _end(stream: Any) -> None:
    """End a capture that has failed; what CUDA thinks of it was told already."""
    try:
        stream.end_capture()
    except RuntimeError:
        return


def _runs(pairs: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, int]]:
    """Yield targets, sources and bytes, with those joined that follow one another on both sides."""
    ordered = sorted(pairs, key=lambda pair: pair[0].data.ptr) if len(pairs) > 1 else pairs
    first: tuple[Any, Any] | None = None
    count = 0
    for target, source in ordered:
        to, origin = target.data, source.data
        follows = (
            first is not None
            and (to.ptr, origin.ptr) == (first[0].ptr + count, first[1].ptr + count)
            and to.mem is first[0].mem
            and origin.mem is first[1].mem
        )
        if first is not None and not follows:
            if count:
                yield *first, count
            first, count = None, 0
        if first is None:
            first = (to, origin)
        count += target.nbytes
    if first is not None and count:
        yield *first, count


@functools.lru_cache(maxsize=4096)
def _layout(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, ...] | None:
    """Return strides, 0 where an axis has no next element; None unless elements fill one stretch of memory."""
    if 0 in shape:
        return (0,) * len(shape)
    expected = itemsize
    for step, count in sorted((step, count) for step, count in zip(strides, shape, strict=True) if count > 1):
        if step != expected:
            return None
        expected *= count
    return tuple(step if count > 1 else 0 for step, count in zip(strides, shape, strict=True))
