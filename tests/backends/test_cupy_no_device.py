"""What a machine sees that has CuPy and no GPU: words instead of crashes, and dispatch on arrays in host memory."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
import nnbackend.backend
from nnbackend.backend import (
    Availability,
    Backend,
    BackendUnavailableError,
    backend_of,
    device,
    host,
    is_array,
    namespace,
)
from nnbackend.elementwise import elementwise, rowwise
from nnbackend_cupy import CupyBackend, availability, kernels

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
if availability.probe().devices:
    pytest.skip("there is a GPU", allow_module_level=True)

from tests.backends.cupy_on_cpu import KernelOnCpu  # noqa: E402 (it needs CuPy)
from tests.backends.cupy_on_cpu import contents as _contents  # noqa: E402
from tests.backends.cupy_on_cpu import fake as _fake  # noqa: E402


@pytest.fixture
def cupy_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The CuPy backend made without asking for a device, and found by dispatch."""
    backend = CupyBackend()
    monkeypatch.setitem(nnbackend.backend._instances, ("cupy", ()), backend)
    yield backend
    nnbackend.backend._by_type.pop(cupy.ndarray, None)
    nnbackend.backend._namespaces.pop(cupy.ndarray, None)


def test_asking_for_cupy_says_that_there_is_no_driver_and_how_to_install_it() -> None:
    words = r"The backend 'cupy' is not available: CuPy [\d.]+ is installed, but .*\(cudaError\w+\).*"
    with pytest.raises(BackendUnavailableError, match=words + r'Cure: pip install "nnbackend\[cuda1[23]\]"'):
        nn.get_backend("cupy")


def test_the_probe_answers_at_once_when_asked_again() -> None:
    CupyBackend.probe()
    start = time.perf_counter()
    found = CupyBackend.probe()
    assert time.perf_counter() - start < 0.1
    assert not found.available
    assert found.version == cupy.__version__
    assert list(found.devices) == []


def test_cupy_is_not_among_the_available_backends() -> None:
    assert "cupy" not in nn.available_backends()
    assert "numpy" in nn.available_backends()


@pytest.mark.parametrize(
    ("error", "driver", "built_for", "words"),
    [
        ("cudaErrorInsufficientDriver: ...", availability.Driver(), 13, "there is no NVIDIA driver"),
        (
            "cudaErrorInsufficientDriver: ...",
            availability.Driver((12, 8)),
            13,
            "built for CUDA 13.*supports CUDA 12.8",
        ),
        ("cudaErrorInsufficientDriver: ...", availability.Driver((12, 8)), 13, "remove cupy-cuda13x"),
        (
            "cudaErrorInsufficientDriver: ...",
            availability.Driver((11, 4)),
            12,
            r"\. Update the driver: https",
        ),
        ("cudaErrorNoDevice: ...", availability.Driver((13, 0)), 13, "the NVIDIA driver finds no GPU"),
        ("cudaErrorSystemNotReady: later", availability.Driver((13, 0)), 13, "the GPU cannot be used.*later"),
    ],
)
def test_the_reason_is_given_in_words(
    error: str, driver: availability.Driver, built_for: int, words: str
) -> None:
    reason = availability.explain("14.2.0", error, driver, built_for)
    assert reason.startswith("CuPy 14.2.0 is installed, but ")
    assert error.partition(":")[0] in reason
    with pytest.raises(RuntimeError, match=words):
        raise RuntimeError(reason)


@pytest.mark.parametrize(("cuda", "extra"), [((0, 0), "cuda13"), ((12, 4), "cuda12"), ((13, 1), "cuda13")])
def test_the_install_line_fits_the_driver(cuda: tuple[int, int], extra: str) -> None:
    assert availability.install_line(availability.Driver(cuda)) == f'pip install "nnbackend[{extra}]"'


def _runtime(count: int) -> Any:
    properties = {"name": b"NVIDIA H200", "major": 9, "minor": 0, "totalGlobalMem": 140 * 2**30}
    return SimpleNamespace(
        getDeviceCount=lambda: count,
        getDeviceProperties=lambda index: properties,
        CUDARuntimeError=cupy.cuda.runtime.CUDARuntimeError,
    )


def _probe_with(monkeypatch: pytest.MonkeyPatch, count: int, missing: list[str]) -> Availability:
    monkeypatch.setattr(cupy.cuda, "runtime", _runtime(count))
    monkeypatch.setattr(availability, "missing_libraries", lambda: missing)
    monkeypatch.setattr(availability, "driver", lambda: availability.Driver((13, 0)))
    return availability._probe()


def test_missing_cuda_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _probe_with(monkeypatch, 1, ["nvrtc", "cublas"])
    assert not found.available
    assert "CUDA libraries are missing: nvrtc, cublas." in found.reason


def test_devices_are_listed_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _probe_with(monkeypatch, 2, [])
    assert found.available
    assert list(found.devices) == [f"cuda:{i} NVIDIA H200 (compute capability 9.0)" for i in range(2)]
    assert found.memory == "140.0 GiB, 140.0 GiB"


def test_libraries_that_cupy_cannot_load_are_missing() -> None:
    missing = availability.missing_libraries()
    nvrtc = importlib.util.find_spec("nvidia") is not None and "nvrtc" not in missing
    assert ("nvrtc" in missing) != nvrtc
    assert set(missing) <= {"nvrtc", "cublas"}


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    library = SimpleNamespace(cuDriverGetVersion=lambda version: 0, cuInit=lambda flags: release.wait(30))
    monkeypatch.setattr(availability.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(availability, "PATIENCE", 0.05)
    found = availability.driver.__wrapped__()
    release.set()
    assert not found.answered
    monkeypatch.setattr(availability, "driver", lambda: found)
    assert "the NVIDIA driver did not answer within" in availability._probe().reason


def test_a_broken_installation_is_told_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Availability:
        raise OSError("libfoo.so: cannot open")

    monkeypatch.setattr(availability, "_probe", broken)
    found = availability.probe.__wrapped__()
    assert not found.available
    assert found.reason == "CuPy could not be asked: OSError: libfoo.so: cannot open."


def run(code: str) -> int:
    """Return the exit status of a program in a fresh interpreter that finds what this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode


def test_importing_nnbackend_does_not_import_cupy() -> None:
    code = "import sys, nnbackend; nnbackend.get_backend('numpy'); sys.exit('cupy' in sys.modules)"
    assert run(code) == 0


def test_generating_sources_does_not_import_cupy() -> None:
    code = "import sys, nnbackend_cupy.kernels; sys.exit('cupy' in sys.modules)"
    assert run(code) == 0


def test_an_array_whose_backend_cannot_run_here_raises_the_reason() -> None:
    nnbackend.backend._by_type.pop(cupy.ndarray, None)
    with pytest.raises(BackendUnavailableError, match="is not available: CuPy"):
        backend_of(_fake(np.ones(3, np.float32)))


def test_arrays_in_host_memory_are_dispatched_to_cupy(cupy_backend: Backend) -> None:
    array = _fake(np.ones((2, 3), np.float32))
    assert is_array(array)
    assert cupy_backend.owns(array)
    assert not cupy_backend.owns(np.ones(3))
    assert backend_of(array) is cupy_backend
    assert namespace(array) is cupy_backend.xp
    assert namespace(array).__name__ == "array_api_compat.cupy"
    assert device(array) == cupy_backend.device(array)
    assert backend_of(np.ones(3)).name == "numpy"


def test_views_of_cupy_arrays_move_no_data(cupy_backend: Backend) -> None:
    host = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array = _fake(host)
    xp = namespace(array)
    assert array.strides == host.strides
    for view, expected in [
        (xp.reshape(array, (6, 4)), host.reshape(6, 4)),
        (xp.permute_dims(array, (2, 0, 1)), host.transpose(2, 0, 1)),
        (array.T, host.T),
        (xp.expand_dims(array, axis=1), host[:, None]),
        (array[:, 0, ...], host[:, 0]),
    ]:
        assert view.data.ptr == host.ctypes.data
        assert view.shape == expected.shape
        np.testing.assert_array_equal(_contents(view), expected)


def test_cupy_arrays_do_not_become_numpy_arrays_by_themselves(cupy_backend: Backend) -> None:
    array = _fake(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        np.asarray(array)
    with pytest.raises(TypeError):
        cupy_backend.from_host(array)


class _Recorder:
    """Stands for CuPy's kernels: remembers how they are made and called."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.called: list[tuple[Any, ...]] = []

    def __call__(self, *description: Any, **options: Any) -> Callable[..., None]:
        self.made.append((*description, options))
        return lambda *arguments: self.called.append(arguments)


@pytest.fixture
def recorder(cupy_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    """Kernels that record their calls, and an allocator in host memory."""
    found = _Recorder()
    monkeypatch.setattr(cupy, "ElementwiseKernel", found)
    monkeypatch.setattr(cupy, "RawKernel", found)
    monkeypatch.setattr(cupy, "empty", lambda shape, dtype: _fake(np.zeros(shape, dtype)))
    monkeypatch.setattr(cupy, "ascontiguousarray", lambda array: array)
    return found


@elementwise
def _update(p, g, rate):
    return p - rate * g, g * 0.0


@rowwise
def _centred(x, weight):
    xp = namespace(x)
    mean = xp.mean(x, axis=-1, keepdims=True)
    return (x - mean) * weight, mean


def _ones(*shape: int, dtype: str = "float32") -> Any:
    return _fake(np.ones(shape, dtype))


def test_an_elementwise_program_becomes_one_kernel_that_is_kept(recorder: _Recorder) -> None:
    for _ in range(2):
        p, q = _update(_ones(4, 3), _ones(4, 3), _ones())
    assert (p.shape, q.shape) == ((4, 3), (4, 3))
    ((inputs, outputs, operation, name, options),) = recorder.made
    assert inputs == "float32 x0, float32 x1, float32 x2"
    assert outputs == "float32 y0, float32 y1"
    assert operation.splitlines()[0] == "const float a0 = x0;"
    assert name == "program_update"
    assert options["options"] == kernels.OPTIONS
    assert len(recorder.called) == 2


def test_donated_arguments_are_written_in_place_where_they_fit(recorder: _Recorder) -> None:
    p, g, rate = _ones(5), _ones(5), _ones()
    new, rest = _update(p, g, rate, donate=(0, 2))
    assert new is p
    assert rest is not rate
    assert recorder.called[0][3] is p
    first, second = _update(p, g, rate, donate=(0, 0))
    assert first is p
    assert second is not p


def test_outputs_of_different_shapes_come_from_kernels_of_their_own(recorder: _Recorder) -> None:
    @elementwise
    def both(x, y):
        return x + y, y * 2.0

    x, y = _ones(3, 4), _ones(4)
    total, double = both(x, y, donate=(None, 1))
    assert (total.shape, double.shape) == ((3, 4), (4,))
    assert double is not y  # the other kernel may still have to read it
    assert len(recorder.made) == 2


def test_16_bit_floating_numbers_are_passed_as_their_bits(recorder: _Recorder) -> None:
    p = _ones(5, dtype="float16")
    new, _ = _update(p, _ones(5, dtype="float16"), _ones(dtype="float16"), donate=(0, None))
    assert new is p
    assert recorder.made[0][0] == "uint16 x0, uint16 x1, uint16 x2"
    assert recorder.called[0][3].dtype == np.uint16
    assert recorder.called[0][3].data.ptr == p.data.ptr


def test_a_rowwise_program_is_launched_over_its_rows(recorder: _Recorder) -> None:
    result, mean = _centred(_ones(6, 5, 300), _ones(300))
    assert (result.shape, mean.shape) == ((6, 5, 300), (6, 5, 1))
    ((code, name, options),) = recorder.made
    assert name == "program_centred"
    assert f"__global__ void {name}(" in code
    assert options["options"] == kernels.OPTIONS
    grid, block, arguments = recorder.called[0]
    assert block == (128, 1)
    assert grid == (30,)
    assert [int(size) for size in arguments[-2:]] == [30, 300]


def test_an_empty_row_is_left_to_the_plain_expression(
    recorder: _Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    program = _centred.program()
    plain = lambda *arguments: seen.append(arguments) or "plain"  # noqa: E731
    monkeypatch.setitem(_centred._programs, (), dataclasses.replace(program, function=plain))
    assert _centred(_ones(0, 3), _ones(3)) == "plain"
    assert _centred(_ones(2, 3), 1.0) == "plain"
    assert not recorder.made


def test_drawing_reads_key_and_step_on_the_device(recorder: _Recorder) -> None:
    backend = CupyBackend()
    key, step = _fake(np.asarray([5, -1], np.int64)), _fake(np.asarray(7, np.int64))
    words = backend.random_words(1001, 32, key=key, step=step, stream=2**64 - 1, call=3)
    assert (words.shape, words.dtype) == ((1001,), np.uint32)
    grid, block, arguments = recorder.called[0]
    assert grid == (1,)
    assert block == (kernels.PHILOX_THREADS,)
    assert arguments[0] is words
    assert arguments[2] is key
    assert arguments[5] is step
    assert [int(arguments[i]) for i in (1, 7, 8)] == [1001, 2**64 - 1, 3]


def test_drawing_takes_key_and_step_as_numbers(recorder: _Recorder) -> None:
    backend = CupyBackend()
    words = backend.random_words(9000, 64, key=(2**64 - 1, 4), step=-1, stream=1, call=0)
    assert (words.shape, words.dtype) == ((9000,), np.uint64)
    grid, _, arguments = recorder.called[0]
    assert grid == (9,)
    assert [int(value) for value in arguments[1:]] == [18000, 0, 2**64 - 1, 4, 0, 2**64 - 1, 1, 0]
    assert backend.random_words(0, 32, key=(0, 0), step=0, stream=0, call=0).shape == (0,)
    assert len(recorder.called) == 1


@pytest.fixture
def _kernels_on_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let CuPy compile whole kernels and find memory on the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    monkeypatch.setattr(KernelOnCpu, "folder", tmp_path)
    monkeypatch.setattr(cupy, "RawKernel", KernelOnCpu)
    monkeypatch.setattr(cupy, "empty", lambda shape, dtype: _fake(np.empty(shape, dtype)))
    monkeypatch.setattr(cupy, "ascontiguousarray", lambda a: _fake(np.ascontiguousarray(_contents(a))))


@pytest.fixture
def on_cpu(_kernels_on_cpu: None, cupy_backend: Backend) -> Backend:
    """The CuPy backend with its whole kernels and its memory on the CPU."""
    return cupy_backend


@rowwise
def _attention(scores, mask, bias, scale):
    xp = namespace(scores)
    scores = xp.where(mask, scores * scale + bias, -1e9)
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    total = xp.sum(e, axis=-1, keepdims=True)
    return e / total, total, bias * 2.0


@rowwise
def _weighted(scores, weight):
    xp = namespace(scores)
    return scores * weight, xp.sum(scores * weight, axis=-1, keepdims=True)


@rowwise
def _total(weight):
    return namespace(weight).sum(weight, axis=-1, keepdims=True)


def test_a_rowwise_program_runs_on_arguments_of_every_shape(
    on_cpu: Backend, rng: np.random.Generator
) -> None:
    scores = rng.standard_normal((50, 2, 3, 4))
    mask, bias, scale = rng.random((4, 1, 1, 50)) < 0.8, rng.standard_normal((2, 1)), np.asarray(0.5)
    results = _attention(_fake(scores).T, _fake(mask), _fake(bias), _fake(scale))
    for actual, wanted in zip(results, _attention.function(scores.T, mask, bias, scale), strict=True):
        assert actual.shape == wanted.shape
        np.testing.assert_allclose(_contents(actual), wanted, rtol=1e-13)


@pytest.mark.parametrize(("width", "laid_out"), [(1, (1, 1)), (6, (5, 6))])
def test_a_number_for_each_row_that_is_the_same_for_all_is_read_where_it_is(
    width: int, laid_out: Any, on_cpu: Backend, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, one, shapes = rng.standard_normal((5, 6)), np.asarray([[0.25]]), []
    copied = cupy.ascontiguousarray
    monkeypatch.setattr(cupy, "ascontiguousarray", lambda a: shapes.append(a.shape) or copied(a))
    spread = cupy.broadcast_to(_fake(one), (5, width))
    results = _weighted(_fake(scores), spread)
    for actual, expected in zip(results, _weighted.function(scores, np.full((5, width), 0.25)), strict=True):
        np.testing.assert_allclose(_contents(actual), expected, rtol=1e-13)
    assert shapes == [(5, 6), laid_out]
    alone = _total(spread)  # its shape is that of the result
    np.testing.assert_allclose(_contents(alone), np.full((5, 1), 0.25 * width))


def test_a_rowwise_program_takes_over_donated_memory(on_cpu: Backend, rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((7, 40)).astype(np.float16), np.ones(40, np.float16)
    wanted = _centred.function(x.astype(np.float32), weight.astype(np.float32))[0].astype(np.float16)
    held, spare = _fake(x), _fake(np.ones((7, 1), np.float16))
    result, mean = on_cpu.run(_centred.program(), (held, _fake(weight)), (0, None))
    assert result is held
    assert mean.shape == spare.shape
    np.testing.assert_allclose(_contents(result), wanted, atol=2e-3)


@pytest.mark.parametrize("bits", [32, 64])
def test_words_drawn_with_key_and_step_on_the_device_are_those_of_the_host(
    bits: int, on_cpu: Backend
) -> None:
    key, step = np.asarray([5, -1], np.int64), np.asarray(7, np.int64)
    drawn = on_cpu.random_words(2050, bits, key=_fake(key), step=_fake(step), stream=2**64 - 1, call=3)
    wanted = host().random_words(2050, bits, key=(5, 2**64 - 1), step=7, stream=2**64 - 1, call=3)
    np.testing.assert_array_equal(_contents(drawn), wanted)
