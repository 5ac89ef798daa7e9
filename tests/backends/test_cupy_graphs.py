"""Capturing and memory with CuPy, as far as no GPU is needed: on arrays in host memory, with streams that note."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

import nnbackend as nn  # noqa: E402 - needs nothing of CuPy, but the tests do
from nnbackend.backend import Availability, Backend  # noqa: E402
from nnbackend_cupy import CupyBackend, availability, graphs, kernels, moving  # noqa: E402
from nnbackend_cupy.capture import CapturedStep, NotCapturableError  # noqa: E402
from nnbackend_cupy.graphs import CudaRecorder, Scope  # noqa: E402
from nnbackend_cupy.lanes import CudaLanes  # noqa: E402
from nnbackend_cupy.memory import MemoryUse, bytes_of, device_number  # noqa: E402
from nnbackend_cupy.namespace import xp  # noqa: E402
from nnbackend_cupy.options import in_force  # noqa: E402
from nnbackend_cupy.transfers import Feeder  # noqa: E402
from tests.backends.cupy_on_cpu import KernelOnCpu  # noqa: E402
from tests.backends.test_cupy_no_device import _contents, _fake, cupy_backend  # noqa: E402, F401


def _recorder() -> CudaRecorder:
    recorder = CudaRecorder.__new__(CudaRecorder)  # a pool asks for the device
    recorder._pool, recorder._streams = SimpleNamespace(malloc=_allocate), {}
    return recorder


def _allocate(size: int) -> Any:
    held = np.zeros(max(size, 1), np.uint8)
    return cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(held.ctypes.data, size, held, device_id=0), 0)


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CuPy find memory on the host, and copy there."""
    monkeypatch.setattr(cupy.cuda, "alloc", _allocate)
    monkeypatch.setattr(cupy, "empty", lambda shape, dtype: _fake(np.zeros(shape, dtype)))


class _Pointer:
    """Stands for a pointer to device memory: notes what is copied."""

    def __init__(self, ptr: int, mem: object, noted: list[Any]) -> None:
        self.ptr, self.mem, self._noted = ptr, mem, noted

    def copy_from_device_async(self, source: Any, count: int) -> None:
        self._noted.append((self.ptr, source.ptr, count))


def _array(ptr: int, count: int, mem: object, noted: list[Any]) -> Any:
    return SimpleNamespace(data=_Pointer(ptr, mem, noted), nbytes=count)


def test_the_form_of_an_array_says_device_dtype_shape_and_strides() -> None:
    recorder, host = _recorder(), np.zeros((2, 3, 4), np.float32)
    array = _fake(host)
    assert recorder.form(array) == (0, np.float32, (2, 3, 4), (48, 16, 4))
    assert recorder.form(array.transpose(2, 0, 1)) == (0, np.float32, (4, 2, 3), (4, 48, 16))
    assert recorder.form(array[:1]) == (0, np.float32, (1, 3, 4), (0, 16, 4))
    assert recorder.form(_fake(np.zeros((), np.int64))) == (0, np.int64, (), ())
    assert recorder.form(_fake(np.zeros((0, 3)))) == (0, np.float64, (0, 3), (0, 0))
    assert recorder.form(array[:, ::2]) is None
    assert recorder.form(cupy.broadcast_to(array[:1], (5, 3, 4))) is None
    assert recorder.form(np.zeros(3)) is None
    assert recorder.form(3.0) is None
    assert recorder.form(array[::-1]) is None


def test_a_buffer_has_the_strides_of_the_array(on_host: None) -> None:
    recorder, array = _recorder(), _fake(np.zeros((2, 3, 4), np.float32)).transpose(2, 0, 1)
    made = recorder.empty_like(array)
    assert recorder.form(made) == recorder.form(array)
    begin, end = recorder.extent(made)
    assert end - begin == array.nbytes
    assert recorder.block(made) != recorder.block(array)
    assert recorder.block(array[0]) == recorder.block(array)


def test_neighbours_that_go_to_neighbours_are_copied_together() -> None:
    noted: list[Any] = []
    here, there, other = object(), object(), object()

    def at(ptr: int, mem: object, count: int = 8) -> Any:
        return _array(ptr, count, mem, noted)

    pairs = [
        (at(116, here), at(516, there)),
        (at(100, here), at(500, there)),
        (at(108, here), at(508, there)),
        (at(124, here, 0), at(524, there, 0)),
        (at(124, here), at(524, other)),  # by chance beside them
        (at(132, here), at(900, other)),
    ]
    _recorder().copy(pairs)
    assert noted == [(100, 500, 24), (124, 524, 8), (132, 900, 8)]
    noted.clear()
    _recorder().copy([])
    _recorder().copy([(at(0, here, 0), at(0, here, 0))])
    assert noted == []


class _Stream:
    """Stands for a stream of CuPy's."""

    made: list[_Stream] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, non_blocking: bool = False) -> None:
        self.calls: list[Any] = []
        self.ptr = 0
        self.fails = False
        _Stream.made.append(self)

    def __enter__(self) -> _Stream:
        self.calls.append("enter")
        return self

    def __exit__(self, *error: object) -> None:
        self.calls.append("exit")

    def begin_capture(self) -> None:
        self.calls.append("begin")

    def end_capture(self) -> Any:
        self.calls.append("end")
        if self.fails:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        return SimpleNamespace(launch=lambda: self.calls.append("launch"))

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def wait_event(self, event: Any) -> None:
        self.calls.append(("wait", event))


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_Stream]]:
    """Let CuPy make streams that note what is asked of them."""
    _Stream.made.clear()

    @contextlib.contextmanager
    def using(allocator: Any) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(cupy.cuda, "alloc", allocator)
            yield

    pool = SimpleNamespace()
    pool.malloc = lambda size: SimpleNamespace(mem=SimpleNamespace(pool=lambda: pool))
    allocators = [pool.malloc]
    monkeypatch.setattr(cupy, "get_default_pinned_memory_pool", lambda: pool)
    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", lambda size: allocators[-1](size))
    monkeypatch.setattr(cupy.cuda, "set_pinned_memory_allocator", allocators.append)
    monkeypatch.setattr(cupy.cuda, "Stream", _Stream)
    monkeypatch.setattr(graphs.moving, "prepare", lambda: None)
    monkeypatch.setattr(graphs.matmul, "prepare", lambda: _Stream.made[-1].calls.append("prepare"))
    monkeypatch.setattr(cupy.cuda, "using_allocator", using)
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 0)
    computing = _Stream()
    _Stream.made.clear()
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: computing)
    yield _Stream.made
    assert allocators[-1] is pool.malloc
    assert graphs.scope() is None


def test_work_is_captured_on_a_stream_and_in_memory_of_its_own(streams: list[_Stream]) -> None:
    recorder, state = _recorder(), [_fake(np.zeros(3))]

    def work() -> str:
        assert recorder.capturing
        assert cupy.cuda.alloc is recorder._pool.malloc
        assert streams[0].calls == ["enter", "prepare", "begin"]
        return "outcome"

    outcome, graph = recorder.capture(work, state)
    assert outcome == "outcome"
    assert not recorder.capturing
    graph.launch()
    assert streams[0].calls == ["enter", "prepare", "begin", "end", "exit", "launch"]
    recorder.capture(lambda: None, state)
    assert len(streams) == 1  # whose free memory the next graph finds


def test_earlier_work_is_over_before_constants_are_brought(streams: list[_Stream]) -> None:
    def work() -> None:
        assert cupy.cuda.get_current_stream().calls == ["synchronize"]

    _recorder().capture(work, [])
    assert "synchronize" not in streams[0].calls


@pytest.mark.parametrize("error", [ValueError("of the step"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails", [False, True])
def test_a_capture_that_fails_is_ended_and_its_stream_is_left(
    error: BaseException, fails: bool, streams: list[_Stream]
) -> None:
    recorder = _recorder()

    def work() -> None:
        streams[0].fails = fails
        raise error

    with pytest.raises(type(error)):
        recorder.capture(work, [])
    assert streams[0].calls == ["enter", "prepare", "begin", "end", "exit"]
    assert not recorder.capturing
    recorder.capture(lambda: None, [])
    assert len(streams) == 2


def test_a_capture_that_was_broken_meanwhile_raises_what_cuda_says(streams: list[_Stream]) -> None:
    def work() -> None:
        streams[0].fails = True

    recorder = _recorder()
    with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureInvalidated"):
        recorder.capture(work, [])
    assert not recorder.capturing


def test_copies_from_the_host_are_refused_while_capturing(streams: list[_Stream]) -> None:
    def elsewhere() -> None:
        found.append(cupy.cuda.alloc_pinned_memory(8))

    def work() -> None:
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
        with pytest.raises(NotCapturableError, match="numbers are brought from the host in it"):
            cupy.cuda.alloc_pinned_memory(8)

    found: list[Any] = []
    _recorder().capture(work, [])
    assert len(found) == 1  # other threads may


def test_constants_are_brought_aside_and_kept_with_the_graph(streams: list[_Stream]) -> None:
    recorder = _recorder()

    def copy(values: Any) -> Any:
        cupy.cuda.alloc_pinned_memory(8)
        return _fake(np.asarray(values, np.float64))

    def work() -> Any:
        array = graphs.bring([1.0, 2.0], copy)
        assert streams[1].calls == ["enter", "synchronize", "exit"]
        assert "synchronize" not in streams[0].calls
        return array

    with recorder.watch() as seen:
        outcome, graph = recorder.capture(work, [])
    with recorder.watch() as again:
        graphs.bring([1.0, 2.0], copy)
        graphs.bring([1.0, 3.0], copy)
        graphs.bring(np.ones((2, 1)), copy)
    assert any(outcome is kept for kept in graph._held[1])
    assert seen == again[:1]
    assert len(set(again)) == 3


def test_what_is_copied_to_the_host_cannot_be_captured(
    streams: list[_Stream],
    cupy_backend: Backend,  # noqa: F811 - a fixture
) -> None:
    array = _fake(np.zeros(3))
    with pytest.raises(NotCapturableError, match="an array is copied to the host in it"):
        _recorder().capture(lambda: cupy_backend.to_host(array), [])


def _within(state: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs._present, "scope", Scope(state), raising=False)


def test_pieces_of_the_state_are_joined_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    host = np.arange(12.0)
    whole, other = _fake(host), _fake(np.zeros(2))
    pieces = [whole[:2], whole[2:3], whole[3:].reshape(3, 3).reshape(-1)]
    _within([whole], monkeypatch)
    joined = xp.concat(pieces)
    assert joined.data.ptr == whole.data.ptr
    assert joined.shape == (12,)
    np.testing.assert_array_equal(_contents(joined), host)
    taken: list[Any] = []
    monkeypatch.setattr("nnbackend_cupy.joining._joined", lambda arrays, axis: taken.append(len(arrays)))
    xp.concat([pieces[1], pieces[0]])
    xp.concat([pieces[0], pieces[2]])
    xp.concat([other[:1], other[1:]])  # neighbours, but nothing of the state
    xp.concat([whole[:2], whole[2:4].view(np.int64)])
    xp.concat([whole[:4].reshape(2, 2), whole[4:6].reshape(1, 2)])
    assert taken == [2] * 5


class _Target(cupy.ndarray):
    """An array whose elements can be set without a device."""

    def __setitem__(self, key: Any, array: Any) -> None:
        assert not self.flags.c_contiguous or self.dtype != array.dtype  # else a kernel does it
        _contents(self)[key] = _contents(array)


def _target(shape: tuple[int, ...], dtype: Any) -> Any:
    return _Target(shape, dtype, _allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Any]:
    """Compile the kernels that copy for the CPU; return a list that gets the grid of each launch."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    launches: list[Any] = []

    class Noting(KernelOnCpu):
        def __call__(self, grid: Any, *arguments: Any) -> None:
            launches.append(grid)
            super().__call__(grid, *arguments)

    monkeypatch.setattr(KernelOnCpu, "folder", folder)
    monkeypatch.setattr(cupy, "RawKernel", Noting)
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 0)
    monkeypatch.setattr(moving, "MOVE_THREADS", 8)
    moving._kernel.cache_clear()
    return launches


@pytest.mark.parametrize(
    ("axis", "launches"), [(0, 1), (1, 0), (-1, 0), (None, 1)], ids=["rows", "columns", "last", "flat"]
)
def test_many_arrays_are_joined_while_capturing_by_one_kernel_where_they_lie_in_one_piece(
    axis: int | None, launches: int, monkeypatch: pytest.MonkeyPatch, moves: list[Any]
) -> None:
    arrays = [np.full((2, 2), float(number), np.float32) for number in range(12)]
    monkeypatch.setattr(cupy, "empty", _target)
    _within([], monkeypatch)
    for mixed in (False, True):
        if mixed:
            arrays[3] = arrays[3].astype(np.float64)
        moves.clear()
        joined = _contents(xp.concat([_fake(array) for array in arrays], axis=axis))
        wanted = np.concatenate(arrays, axis=axis)
        np.testing.assert_array_equal(joined, wanted)
        assert joined.dtype == wanted.dtype
        assert len(moves) == launches
        if axis is not None:
            stacked = _contents(xp.stack([_fake(array) for array in arrays], axis=axis))
            np.testing.assert_array_equal(stacked, np.stack(arrays, axis=axis))


@pytest.mark.parametrize(
    ("counts", "offset", "name"),
    [
        ([8, 800, 16], 0, "nn_move_8"),
        ([4, 12, 400], 4, "nn_move_4"),
        ([6, 2], 2, "nn_move_2"),
        ([1, 77, 0, 3], 1, "nn_move_1"),
    ],
)
def test_pieces_of_memory_are_copied_by_one_kernel_of_the_widest_words(
    counts: list[int],
    offset: int,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    moves: list[Any],
    rng: np.random.Generator,
) -> None:
    names: list[str] = []
    named = moving.move_name
    monkeypatch.setattr(moving, "move_name", lambda unit: names.append(named(unit)) or named(unit))
    sources = [np.frombuffer(rng.bytes(1024), np.uint8) for _ in counts]
    targets = [np.zeros(1024, np.uint8) for _ in counts]
    assert not any((array.ctypes.data) % 8 for array in (*sources, *targets))
    moving.move(
        (t.ctypes.data + offset, s.ctypes.data + offset, n)
        for t, s, n in zip(targets, sources, counts, strict=True)
    )
    for target, source, count in zip(targets, sources, counts, strict=True):
        np.testing.assert_array_equal(target[offset : offset + count], source[offset : offset + count])
        assert not target[:offset].any()
        assert not target[offset + count :].any()
    assert (len(moves), names) == (1, [name])


def test_the_kernels_that_copy_are_loaded_once_for_a_device(moves: list[Any]) -> None:
    moving._load.cache_clear()
    moving.prepare()
    assert len(moves) == len(kernels.MOVE_SOURCES)
    moving.prepare()
    assert len(moves) == len(kernels.MOVE_SOURCES)
    moving._load.cache_clear()


def test_more_pieces_than_a_kernel_takes_are_copied_by_several(
    moves: list[Any], rng: np.random.Generator
) -> None:
    source, target = rng.standard_normal(40), np.zeros(40)
    moving.move((target.ctypes.data + 8 * i, source.ctypes.data + 8 * i, 8) for i in range(40))
    np.testing.assert_array_equal(target, source)
    assert len(moves) == 3
    moving.move([])
    assert len(moves) == 3


def test_small_arrays_are_copied_by_one_kernel_while_capturing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: list[Any] = []
    moved: list[Any] = []
    monkeypatch.setattr(moving, "move", lambda pieces: moved.extend(pieces))
    pairs = [
        (_array(100 * n, count, object(), noted), _array(5000 + 100 * n, count, object(), noted))
        for n, count in enumerate((8, 4, moving.FEW + 8))
    ]
    _within([], monkeypatch)
    _recorder().copy(pairs)
    assert moved == [(0, 5000, 8), (100, 5100, 4)]
    assert noted == [(200, 5200, moving.FEW + 8)]
    moved.clear()
    _recorder().copy(pairs[:1])
    assert (moved, noted[1:]) == ([], [(0, 5000, 8)])


def test_the_namespace_is_that_of_cupy() -> None:
    import array_api_compat.cupy as compat

    assert xp.__name__ == compat.__name__
    changed = {name for name in vars(compat) if getattr(xp, name) is not getattr(compat, name)}
    assert changed >= {"asarray", "concat", "stack"}


def test_compiled_steps_are_captured_steps(cupy_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(graphs, "CudaRecorder", _recorder)

    def train_step(state: Any) -> Any:
        return state

    compiled = cupy_backend.compile(train_step)
    assert isinstance(compiled, CapturedStep)
    assert compiled.__name__ == "train_step"


# Memory and devices


@pytest.mark.parametrize(
    ("amount", "size"),
    [
        ("8 GiB", 8 * 2**30),
        ("8GiB", 8 * 2**30),
        ("1.5 gb", 1_500_000_000),
        ("500 MB", 500_000_000),
        ("4096", 4096),
        (4096, 4096),
        (1, 1),
        (0.5, 500),
        (1.0, 1000),
        (np.float64(0.25), 250),
    ],
)
def test_a_limit_may_be_given_in_bytes_words_or_as_a_fraction(amount: Any, size: int) -> None:
    assert bytes_of(amount, 1000) == size


@pytest.mark.parametrize("amount", ["much", "8 Gb/s", "-1", -1, 0, 0.0, True, None, "", float("nan"), "GiB"])
def test_what_is_no_amount_of_memory_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match="expects memory_limit in bytes, in words such as '8 GiB', or as a"):
        bytes_of(amount, 1000)


@pytest.mark.parametrize(("device", "number"), [(0, 0), (1, 1), ("cuda:1", 1), ("cuda", 0), ("1", 1)])
def test_a_device_has_a_number(device: Any, number: int) -> None:
    assert device_number(device, ["cuda:0 A", "cuda:1 B"]) == number


@pytest.mark.parametrize("device", [2, -1, "cuda:2", "gpu", "cuda:x", True, 1.0])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    with pytest.raises(ValueError, match="CuPy has no device .*; it has cuda:0 A, cuda:1 B. Ask for one by"):
        device_number(device, ["cuda:0 A", "cuda:1 B"])


class _Device:
    """Stands for CuPy's device: notes which one is current."""

    stack: list[int] = [0]  # noqa: RUF012

    def __init__(self, number: int) -> None:
        self.id = number

    def __enter__(self) -> None:
        _Device.stack.append(self.id)

    def __exit__(self, *error: object) -> None:
        _Device.stack.pop()


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Let CuPy have two devices, with 1000 bytes each, and a pool."""
    found = Availability(True, devices=("cuda:0 A", "cuda:1 B"))
    monkeypatch.setattr("nnbackend_cupy.probe", lambda: found)
    monkeypatch.setattr(cupy.cuda, "Device", _Device)
    monkeypatch.setattr(cupy.cuda.runtime, "memGetInfo", lambda: (600, 1000))
    pool = SimpleNamespace(limits={}, held=300, used=100)
    pool.set_limit = lambda size: pool.limits.update({_Device.stack[-1]: size})
    pool.get_limit = lambda: pool.limits.get(_Device.stack[-1], 0)
    pool.total_bytes, pool.used_bytes = lambda: pool.held, lambda: pool.used
    pool.free_bytes = lambda: pool.held - pool.used
    pool.free_all_blocks = lambda: setattr(pool, "held", pool.used)
    monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: pool)
    monkeypatch.setattr(cupy, "get_default_pinned_memory_pool", lambda: pool)
    return pool


def test_a_backend_works_on_its_device(two_devices: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "CudaRecorder", _recorder)
    seen: list[int] = []
    monkeypatch.setattr(cupy, "asarray", lambda host: seen.append(_Device.stack[-1]))
    backend = CupyBackend(device="cuda:1")
    assert backend.scoped
    assert not CupyBackend().scoped
    backend.from_host([1.0])
    for run in (backend.compile, backend.uncompiled):
        run(lambda state: seen.append(_Device.stack[-1]))({})
    monkeypatch.setattr(cupy, "empty", lambda *a, **k: seen.append(_Device.stack[-1]) or _fake(np.zeros(0)))
    backend.random_words(0, 32, key=(0, 0), step=0, stream=0, call=0)
    CupyBackend().from_host([1.0])
    assert seen == [1, 1, 1, 1, 0]
    assert _Device.stack == [0]
    with pytest.raises(ValueError, match="CuPy has no device 5; it has cuda:0 A, cuda:1 B"):
        CupyBackend(device=5)


def test_a_limit_holds_for_its_device(two_devices: SimpleNamespace) -> None:
    CupyBackend(device=1, memory_limit=0.25)
    assert two_devices.limits == {1: 250}
    CupyBackend(memory_limit="2 KiB")
    assert two_devices.limits == {0: 2048, 1: 250}


def test_memory_is_reported_and_given_back(two_devices: SimpleNamespace) -> None:
    backend = CupyBackend(device=1, memory_limit=900)
    assert backend.memory_use() == MemoryUse(in_use=100, held=300, peak=300, limit=900, free=600, total=1000)
    assert backend.memory_in_use() == 100
    two_devices.held = 800
    backend.release_memory()
    assert backend.memory_use() == MemoryUse(100, 100, 800, 900, 600, 1000)
    use = MemoryUse(5 * 2**20, 2**30, 3 * 2**29, 0, 70 * 2**30, 80 * 2**30)
    assert str(use) == "80.0 GiB, 70.0 GiB free; pool: 5.0 MiB in use, 1.0 GiB held, 1.5 GiB at most"
    assert str(use._replace(limit=2**30)).endswith(", limit 1.0 GiB")


def test_a_data_set_goes_to_the_device_if_there_is_room(two_devices: SimpleNamespace) -> None:
    backend = CupyBackend()
    assert backend.holds(400)  # half of 600 that are free, and 200 that the pool keeps
    assert not backend.holds(401)
    assert CupyBackend(data_on_device=1.0).holds(800)
    assert not CupyBackend(data_on_device=0.0).holds(1)
    assert CupyBackend(data_on_device=0.0).holds(0)
    limited = CupyBackend(memory_limit=300)
    assert limited.holds(100)
    assert not limited.holds(101)
    with pytest.raises(ValueError, match="expects data_on_device as a fraction from 0 to 1, got 2"):
        CupyBackend(data_on_device=2)


def test_an_order_of_sums_is_given_up_for_one_backend_alone(cupy_backend: Backend) -> None:  # noqa: F811
    backend, recorder = CupyBackend(deterministic=False), graphs.CudaRecorder()
    choices = recorder.choices()
    assert (in_force().deterministic, backend.scoped, CupyBackend().scoped) == (True, True, False)
    with backend.scope():
        assert not in_force().deterministic
        assert recorder.choices() != choices  # graphs of the one are not used for the other
    assert recorder.choices() == choices
    assert repr(backend) == "<cupy backend, deterministic=False>"
    with pytest.raises(TypeError, match="expects deterministic as True or False, got 'no'"):
        CupyBackend(deterministic="no")  # type: ignore[arg-type]


def test_batches_travel_by_cupy(streams: list[_Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def __init__(self, disable_timing: bool) -> None:
            assert disable_timing

        def record(self, stream: Any) -> None:
            stream.calls.append("record")

        def synchronize(self) -> None:
            computing.calls.append("host waits")

    class Memory:
        def __init__(self, pointer: Any) -> None:
            self.pointer, self.ptr, self.device_id = pointer, pointer.ptr, 0

        def copy_from_host_async(self, source: int, size: int, stream: Any) -> None:
            stream.calls.append("copy")
            ctypes.memmove(self.ptr, source, size)

    computing = _Stream()
    monkeypatch.setattr(cupy.cuda, "Event", Event)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: computing)
    monkeypatch.setattr(cupy.cuda, "alloc", lambda size: Memory(_allocate(size)))
    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", bytearray)
    feeder = Feeder(CudaLanes())
    batch = [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.asarray([3, 1]), np.zeros((0, 2))]
    for _ in range(5):
        for sent, array in zip(feeder(batch), batch, strict=True):
            np.testing.assert_array_equal(_contents(sent), array) if array.size else None
            assert (sent.shape, sent.dtype) == (array.shape, array.dtype)
        sent = None
    copying = streams[1]
    assert copying.calls[1::3] == ["copy"] * 5
    assert copying.calls[2::3] == ["record"] * 5
    assert computing.calls.count("host waits") == 3  # from the third batch on in memory used before


# A driver that hangs


def test_a_driver_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = tmp_path / "cuda.c"
    source.write_text(
        "#include <unistd.h>\n"
        "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }\n"
        "int cuInit(unsigned f) { for (;;) sleep(100); }\n"
    )
    library = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    program = (
        "from nnbackend_cupy import availability\n"
        "availability.PATIENCE = 0.2\n"
        "import nnbackend as nn\n"
        "assert 'cupy' not in nn.available_backends()\n"
        "try:\n"
        "    nn.get_backend('cupy', device=1)\n"
        "except nn.BackendUnavailableError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(
        filter(None, [str(tmp_path), os.environ.get("LD_LIBRARY_PATH")])
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,  # else it hangs
    )
    assert "the NVIDIA driver did not answer within" in done.stdout
    assert nn.__name__ == "nnbackend"
    assert availability.PATIENCE == 30.0
