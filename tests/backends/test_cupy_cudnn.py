"""Convolution by cuDNN without a GPU: a package that is a fake carries out what is described, on host memory."""

from __future__ import annotations

import inspect
import itertools
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
import nnbackend.backend
from nnbackend.backend import BackendUnavailableError
from nnbackend.functional import convolution as generic
from nnbackend.precision import use_matmul_precision
from nnbackend_cupy import CupyBackend, availability, cudnn
from nnbackend_cupy.cudnn import Convolution, Cudnn
from tests.backends.cublas_on_cpu import from_bfloat16, to_bfloat16
from tests.backends.cudnn_on_cpu import CudnnOnCpu, NotSupportedError

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
if availability.probe().devices:
    pytest.skip("there is a GPU", allow_module_level=True)

from nnbackend_cupy import convolution, cudnn_convolution, cudnn_launch, graphs  # noqa: E402
from nnbackend_cupy.options import Options, in_force  # noqa: E402
from tests.backends.cupy_on_cpu import contents as _bytes  # noqa: E402
from tests.backends.cupy_on_cpu import fake  # noqa: E402

_STREAM = 77


def contents(array: Any) -> np.ndarray:
    """View an array's memory in its own dtype, which NumPy's interface has no word for if it is bfloat16."""
    return _bytes(array).view(array.dtype)


class _Pool:
    """Stands for CuPy's allocator: it gives memory at addresses like a pool's, and notes what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], str]] = []
        self.held: list[np.ndarray] = []

    def empty(self, shape: Any, dtype: Any) -> Any:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = np.dtype(dtype)
        self.asked.append((shape, dtype.name))
        count = int(np.prod(shape))
        memory = np.empty(count * dtype.itemsize + 256, np.uint8)
        start = -memory.ctypes.data % 256
        self.held.append(memory)
        host = memory[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
        host.view(np.uint8)[...] = 0xAA  # what nobody writes is wrong
        return fake(host)

    def zeros(self, shape: Any, dtype: Any) -> Any:
        made = self.empty(shape, dtype)
        contents(made)[...] = 0
        return made

    def given(self, values: np.ndarray) -> Any:
        made = self.empty(values.shape, values.dtype)
        contents(made)[...] = values
        return made


@pytest.fixture
def library() -> CudnnOnCpu:
    return CudnnOnCpu()


@pytest.fixture
def pool() -> _Pool:
    return _Pool()


@pytest.fixture
def backend(library: CudnnOnCpu, pool: _Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[CupyBackend]:
    """A backend that convolves by the fake; it is in force."""
    monkeypatch.setattr(cudnn, "load", lambda *option: library)
    monkeypatch.setattr(cudnn_launch, "place", lambda: (0, _STREAM))
    own = Cudnn(library)
    monkeypatch.setattr(cudnn_launch, "handle", lambda device: own)

    def copyto(target: Any, source: Any) -> None:
        contents(target)[...] = contents(source)

    def add(first: Any, second: Any, out: Any) -> Any:
        np.add(contents(first), contents(second), out=contents(out))
        return out

    for name, function in {
        "empty": pool.empty,
        "zeros": pool.zeros,
        "copyto": copyto,
        "add": add,
        "copy": lambda a: pool.given(contents(a)),
        "ascontiguousarray": lambda a: a if a.flags.c_contiguous else pool.given(contents(a)),
    }.items():
        monkeypatch.setattr(cupy, name, function)
    monkeypatch.setitem(nnbackend.backend._instances, ("cupy", ()), CupyBackend())
    made = CupyBackend(convolution="cudnn")
    with nn.use_backend(made):
        yield made
    nnbackend.backend._by_type.pop(cupy.ndarray, None)
    nnbackend.backend._namespaces.pop(cupy.ndarray, None)


#: space, taps, channels in and out, options
_CASES = {
    "plain": ((6, 7), (3, 2), (3, 4), {}),
    "one tap": ((5, 9), (1, 1), (3, 6), {}),
    "one tap strided": ((9, 17), (1, 1), (4, 6), {"strides": 2}),
    "same": ((6, 5), (3, 3), (2, 3), {"padding": "same"}),
    "same of even taps": ((6, 5), (2, 4), (2, 3), {"padding": "same"}),
    "same and strided": ((8, 7), (3, 3), (3, 4), {"padding": "same", "strides": 2}),
    "padded and strided with a rest": ((8, 9), (3, 3), (3, 4), {"padding": 1, "strides": 2}),
    "wider before": ((6, 5), (3, 2), (2, 3), {"padding": ((2, 0), (3, 1)), "strides": (1, 3)}),
    "wider after": ((6, 5), (3, 2), (2, 3), {"padding": ((0, 2), (1, 3)), "strides": (2, 1)}),
    "dilated": ((9, 11), (3, 2), (2, 5), {"dilation_rate": (2, 3), "padding": ((2, 0), (1, 3))}),
    "strides beyond the kernel": ((12, 11), (2, 1), (3, 2), {"strides": (3, 2)}),
    "groups": ((6, 9), (3, 3), (4, 6), {"groups": 2, "strides": (1, 2)}),
    "a channel in each group": ((6, 5), (3, 3), (4, 8), {"groups": 4, "padding": "same"}),
    "signal": ((20,), (5,), (3, 4), {"padding": "causal", "strides": 2}),
    "volume": ((4, 5, 6), (2, 3, 2), (3, 2), {"padding": 1, "strides": (1, 2, 1)}),
}  # fmt: skip
_TOLERANCE = {"float16": 2e-3, "float32": 2e-7}


def _arranged(name: str, dtype: str, rng: np.random.Generator) -> tuple[Any, dict[str, np.ndarray]]:
    """Return a plan, and arrays for it."""
    space, taps, (width, made), options = _CASES[name]
    plan = generic.geometry("conv", space, taps, **{"strides": 1, **options})
    shapes = {
        "x": (3, *space, width),
        "w": (*taps, width // plan.groups, made),
        "dy": (3, *plan.output, made),
        "b": (made,),
        "c": (width,),
    }
    return plan, {key: rng.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}


_RULES = (
    (convolution.conv, generic._conv, ("x", "w", "b")),
    (convolution.conv_transpose, generic._conv_transpose, ("dy", "w", "c")),
    (convolution.conv_kernel_gradient, generic._conv_kernel_gradient, ("x", "dy")),
)


@pytest.mark.parametrize("lopsided", [True, False])
@pytest.mark.parametrize("dtype", list(_TOLERANCE))
@pytest.mark.parametrize("name", list(_CASES))
def test_what_is_described_is_the_generic_rule(
    name: str,
    dtype: str,
    lopsided: bool,
    backend: CupyBackend,
    library: CudnnOnCpu,
    pool: _Pool,
    rng: np.random.Generator,
) -> None:
    library.lopsided = lopsided
    plan, given = _arranged(name, dtype, rng)
    for count, (native, rule, names) in enumerate(_RULES, start=1):
        value, _ = native(*(pool.given(given[key]) for key in names), plan=plan)
        wanted, _ = rule.function(*(given[key].astype(np.float64) for key in names), plan=plan)
        assert len(library.runs) == count
        assert value.flags.c_contiguous
        assert contents(value).dtype == dtype
        scale = max(1.0, float(np.max(np.abs(wanted))))
        np.testing.assert_allclose(contents(value), wanted, rtol=0, atol=_TOLERANCE[dtype] * scale)


def test_bfloat16_is_described_as_what_it_is(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    plan, given = _arranged("same and strided", "float32", rng)
    x, kernel = (to_bfloat16(given[key]) for key in ("x", "w"))
    y, _ = convolution.conv(pool.given(x.view(bfloat16)), pool.given(kernel.view(bfloat16)), plan=plan)
    wanted, _ = generic._conv.function(*(from_bfloat16(a).astype(np.float64) for a in (x, kernel)), plan=plan)
    np.testing.assert_array_equal(contents(y).view(np.uint16), to_bfloat16(wanted))
    assert library.graphs[-1].tensors[0].data_type == "BFLOAT16"


def test_only_what_no_plan_pads_is_laid_out_with_zeros(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    laid: list[tuple[int, ...]] = []
    monkeypatch.setattr(cupy, "zeros", lambda shape, dtype: laid.append(shape) or pool.zeros(shape, dtype))

    def convolve(name: str, lopsided: bool) -> None:
        library.lopsided = lopsided
        plan, given = _arranged(name, "float32", rng)
        convolution.conv(pool.given(given["x"]), pool.given(given["w"]), plan=plan)

    for name in ("plain", "same", "padded and strided with a rest", "one tap strided"):
        convolve(name, lopsided=False)
    convolve("wider before", lopsided=True)
    assert laid == []
    convolve("same and strided", lopsided=False)  # 8 by 7: one zero after the eight
    assert laid == [(3, 9, 7, 3)]


@pytest.mark.parametrize(
    ("n", "low", "high", "stride", "expected"),
    [
        (8, 1, 1, 1, [(8, 0, 1, 1)]),
        (8, 0, 1, 2, [(8, 0, 0, 1), (9, 0, 0, 0)]),
        (8, 1, 0, 2, [(8, 0, 1, 1)]),  # a zero more after it is beyond the last window
        (8, 2, 0, 2, [(8, 0, 2, 1), (9, 1, 1, 1)]),
        (8, 0, -1, 2, [(8, 0, 0, 0)]),
        (8, 0, -2, 2, []),
        (8, 3, 5, 1, [(8, 0, 3, 5), (10, 0, 3, 3)]),
    ],
)
def test_borders_are_made_alike_where_they_can_be(
    n: int, low: int, high: int, stride: int, expected: list[tuple[int, ...]]
) -> None:
    taps = (n + low + high - 1) % stride + 1  # so many that the last window ends where it should
    output = (n + low + high - taps) // stride + 1
    plan = generic.Geometry((n,), (output,), (taps,), (stride,), (1,), (low,), 1)
    assert plan.after == (high,)
    frames = cudnn_convolution._frames(plan)
    assert [(f.size[0], f.start[0], f.before[0], f.after[0]) for f in frames] == expected


def test_the_way_back_is_made_of_native_rules(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    plan, given = _arranged("same and strided", "float32", rng)
    x, kernel, dy = (pool.given(given[key]) for key in ("x", "w", "dy"))
    _, backward = convolution.conv(x, kernel, plan=plan)
    dx, dkernel, _ = backward(dy, (True, True, False))
    assert [graph.operation["kind"] for graph in library.graphs] == ["fprop", "dgrad", "wgrad"]
    _, way_back = generic._conv.function(given["x"], given["w"], plan=plan)
    for actual, wanted in zip((dx, dkernel), way_back(given["dy"], (True, True, False)), strict=False):
        np.testing.assert_allclose(contents(actual), wanted, rtol=1e-5, atol=1e-5)


# Plans

_PLAN = Convolution("value", 2, 4, 6, 1, (5, 5), (3, 3), (3, 3), (1, 1), (1, 1), (0, 0), (0, 0), "float32")


def test_a_graph_is_built_once_for_what_it_depends_on(library: CudnnOnCpu) -> None:
    own = Cudnn(library)
    others = [
        _PLAN._replace(kind="input"), _PLAN._replace(kind="kernel"), _PLAN._replace(samples=3),
        _PLAN._replace(width=8), _PLAN._replace(made=8), _PLAN._replace(groups=2),
        _PLAN._replace(size=(6, 5), output=(4, 3)), _PLAN._replace(taps=(2, 3), output=(4, 3)),
        _PLAN._replace(strides=(2, 1), output=(2, 3)), _PLAN._replace(dilation=(2, 1), output=(1, 3)),
        _PLAN._replace(before=(1, 0), output=(4, 3)), _PLAN._replace(after=(1, 0), output=(4, 3)),
        _PLAN._replace(dtype="float16"), _PLAN._replace(precision="high"),
    ]  # fmt: skip
    plans = [own.plan(each) for each in (_PLAN, *others)]
    assert len(library.graphs) == len(plans) == len({id(plan) for plan in plans})
    assert [own.plan(each) for each in (_PLAN, *others)] == plans
    assert len(library.graphs) == len(plans)


def test_the_plans_that_were_used_last_are_kept(library: CudnnOnCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "KEPT", 2)
    own = Cudnn(library)
    for samples in (1, 2, 1, 3, 1):
        own.plan(_PLAN._replace(samples=samples))
    assert len(library.graphs) == 3
    own.plan(_PLAN._replace(samples=2))
    assert len(library.graphs) == 4


@pytest.mark.parametrize(
    ("dtype", "precision", "chosen"),
    [
        ("float32", "highest", set()),
        ("float32", "high", {"TENSOR_CORE"}),
        ("float32", "medium", {"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}),
        ("float16", "highest", {"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}),
    ],
)
def test_plans_are_as_exact_as_is_asked_for(
    dtype: str, precision: Any, chosen: set[str], library: CudnnOnCpu
) -> None:
    own = Cudnn(library)
    plan = own.plan(_PLAN._replace(dtype=dtype, precision=precision))
    assert plan is not None
    assert plan.graph.chosen == chosen


@pytest.mark.parametrize(
    "note",
    ["NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION", "FFT", "WINOGRAD", "WINOGRAD_TILE_4x4",
     "WINOGRAD_TILE_6x6", "WINOGRAD_TILE_13x13"],
)  # fmt: skip
def test_plans_that_add_up_otherwise_are_refused(note: str, library: CudnnOnCpu) -> None:
    library.plans = [{note}]
    assert Cudnn(library).plan(_PLAN._replace(dtype="float16")) is None
    library.plans = [{note}, {"TENSOR_CORE"}]
    plan = Cudnn(library).plan(_PLAN._replace(dtype="float16"))
    assert plan is not None
    assert plan.graph.chosen == {"TENSOR_CORE"}


def test_how_exactly_matrices_are_multiplied_is_part_of_the_plan(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    plan, given = _arranged("plain", "float32", rng)
    x, kernel = pool.given(given["x"]), pool.given(given["w"])
    for precision in ("highest", "high", "highest"):
        with use_matmul_precision(precision):
            convolution.conv(x, kernel, plan=plan)
    assert [run["chosen"] for run in library.runs] == [set(), {"TENSOR_CORE"}, set()]
    assert len(library.graphs) == 2


def _falls_back(
    plan: Any, arrays: tuple[Any, ...], library: CudnnOnCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Assert that a convolution is left to rows, whose first step is taken for all of them."""
    reached: list[str] = []

    def rows(*arguments: Any) -> Any:
        reached.append("rows")
        raise LookupError("rows were made")

    monkeypatch.setattr(convolution, "_Rows", rows)
    runs = len(library.runs)
    with pytest.raises(LookupError, match="rows were made"):
        convolution.conv(*arrays, plan=plan)
    assert reached == ["rows"]
    assert len(library.runs) == runs


@pytest.mark.parametrize(
    "error",
    [
        NotSupportedError("No valid engine configs for ConvFwd.\nmore"),
        RuntimeError("CUDNN_STATUS_NOT_SUPPORTED"),
        ValueError("Bad stride"),
        NotImplementedError(""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_has_no_plan_is_left_to_rows_with_one_reason(
    error: Exception,
    backend: CupyBackend,
    library: CudnnOnCpu,
    pool: _Pool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    library.refused = error
    plan, given = _arranged("plain", "float32", rng)
    arrays = pool.given(given["x"]), pool.given(given["w"])
    for _ in range(2):
        _falls_back(plan, arrays, library, monkeypatch)
    assert len(library.graphs) == 1
    assert len(caplog.records) == 1
    words = caplog.records[0].getMessage()
    assert words.startswith("cuDNN has no plan for Convolution(kind='value', samples=3, ")
    reason = str(error).partition("\n")[0].rstrip(".") or "NotImplementedError"
    assert words.endswith(f"; it runs as products of matrices: {reason}.")


def test_a_reason_is_given_where_no_way_has_a_plan_alone(
    library: CudnnOnCpu, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    ways = [_PLAN._replace(after=(1, 1), output=(4, 4)), _PLAN._replace(size=(6, 6), output=(4, 4))]
    library.lopsided = False
    plan = Cudnn(library).plan(*ways)
    assert plan is not None
    assert plan.work == ways[1]
    assert caplog.records == []
    library.refused = RuntimeError("none at all")
    own = Cudnn(library)
    assert [own.plan(*ways), own.plan(*ways)] == [None, None]
    assert len(caplog.records) == 1


def test_float64_is_left_to_rows(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan, given = _arranged("plain", "float64", rng)
    _falls_back(plan, (pool.given(given["x"]), pool.given(given["w"])), library, monkeypatch)
    assert library.graphs == []


def test_more_than_three_axes_and_empty_arrays_are_left_alone(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool
) -> None:
    wide = generic.geometry("conv", (3, 3, 3, 3), (2, 2, 2, 2))
    x, kernel = (pool.given(np.ones(shape, np.float32)) for shape in ((1, 3, 3, 3, 3, 2), (2, 2, 2, 2, 2, 1)))
    assert cudnn_convolution.convolved(x, kernel, wide) is None
    plan = generic.geometry("conv", (3, 3), (2, 2))
    x, kernel = (pool.given(np.ones(shape, np.float32)) for shape in ((0, 3, 3, 2), (2, 2, 2, 1)))
    assert cudnn_convolution.convolved(x, kernel, plan) is None
    assert library.graphs == []


def test_a_kernel_that_is_not_cudnns_is_refused(
    library: CudnnOnCpu, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    library.engine = SimpleNamespace(name="frost_conv")
    assert Cudnn(library).plan(_PLAN) is None
    assert "frost_conv" in caplog.text


def test_a_workspace_has_a_limit(library: CudnnOnCpu) -> None:
    library.workspace = cudnn.WORKSPACE
    assert Cudnn(library).plan(_PLAN) is not None
    library.workspace += 1
    assert Cudnn(library).plan(_PLAN) is None


# Launches


def test_all_memory_comes_from_cupys_allocator_and_work_goes_to_its_stream(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    plan, given = _arranged("plain", "float32", rng)
    x, kernel = pool.given(given["x"]), pool.given(given["w"])
    for count in (1, 2):
        pool.asked.clear()
        y, _ = convolution.conv(x, kernel, plan=plan)
        assert (library.workspace,) in [shape for shape, dtype in pool.asked if dtype == "uint8"]
        assert (y.shape, "float32") in pool.asked
        extents = [(memory.ctypes.data, memory.ctypes.data + memory.nbytes) for memory in pool.held]
        assert any(begin <= library.runs[-1]["workspace"] < end for begin, end in extents)
        assert library.runs[-1]["stream"] == _STREAM
        assert len(library.graphs) == 1, count


def test_a_plan_without_workspace_is_given_none(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    library.workspace = 0
    plan, given = _arranged("plain", "float32", rng)
    convolution.conv(pool.given(given["x"]), pool.given(given["w"]), plan=plan)
    assert library.runs[-1]["workspace"] is None


def test_arrays_may_lie_anywhere(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    plan, given = _arranged("plain", "float32", rng)
    wanted, _ = generic._conv.function(given["x"], given["w"], plan=plan)
    x, kernel = given["x"], pool.given(given["w"])
    shifted = pool.given(np.concatenate([np.zeros(1, np.float32), x.ravel()]))[1:].reshape(x.shape)
    turned = pool.given(np.ascontiguousarray(x.swapaxes(1, 2))).swapaxes(1, 2)
    for there in (shifted, turned):
        y, _ = convolution.conv(there, kernel, plan=plan)
        np.testing.assert_allclose(contents(y), wanted, rtol=1e-5, atol=1e-5)
    assert len(library.graphs) == 1


# The choice


def test_it_is_used_where_it_is_asked_for_alone(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    plan, given = _arranged("plain", "float32", rng)
    x, kernel = pool.given(given["x"]), pool.given(given["w"])
    plain = nn.get_backend("cupy")
    assert backend.options == Options(convolution="cudnn")
    recorder = graphs.CudaRecorder()
    choices = recorder.choices()
    with nn.use_backend(plain):
        assert in_force().convolution is None
        assert cudnn_convolution.convolved(x, kernel, plan) is None
        assert recorder.choices() != choices  # graphs of the one are not used for the other
        with backend.scope():
            assert in_force().convolution == "cudnn"
            assert recorder.choices() == choices
    with nn.use_backend("numpy"):
        assert cudnn_convolution.convolved(x, kernel, plan) is None
    assert library.graphs == []
    assert cudnn_convolution.convolved(x, kernel, plan) is not None


def test_steps_run_with_the_option_of_their_backend(backend: CupyBackend) -> None:
    found: list[str | None] = []

    def step(state: Any) -> Any:
        found.append(in_force().convolution)
        return state

    with nn.use_backend("numpy"):
        backend.compile(step)({})
        backend.uncompiled(step)({})
        nn.get_backend("cupy").uncompiled(step)({})
    assert found == ["cudnn", "cudnn", None]


def test_the_option_is_shown_and_another_word_refused(backend: CupyBackend) -> None:
    assert repr(backend) == "<cupy backend, convolution='cudnn'>"
    assert repr(nn.get_backend("cupy")) == "<cupy backend>"
    with pytest.raises(
        ValueError, match=r"knows one library that convolves, 'cudnn', got 'cuDNN'\. Did you mean"
    ):
        CupyBackend(convolution="cuDNN")


_LINE = (
    r'Cure: pip install "nnbackend\[cuda13,cudnn\]"; for CUDA 12, pip install nvidia-cudnn-frontend '
    "nvidia-cudnn-cu12"
)


def test_what_is_missing_is_named_with_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "installed_version", lambda module: None)
    words = 'convolution="cudnn" needs nvidia-cudnn-frontend. ' + _LINE
    with pytest.raises(BackendUnavailableError, match=words):
        CupyBackend(convolution="cudnn")

    def no_library() -> int:
        raise RuntimeError("Unable to find symbol cudnnGetVersion")

    monkeypatch.setattr(cudnn, "installed_version", lambda module: "1.32.0")
    monkeypatch.setitem(sys.modules, "cudnn", SimpleNamespace(backend_version=no_library))
    words = "cannot use: Unable to find symbol cudnnGetVersion. " + _LINE
    with pytest.raises(BackendUnavailableError, match=words):
        CupyBackend(convolution="cudnn")


# The package itself


def test_the_package_has_what_is_called() -> None:
    package = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    library = CudnnOnCpu()
    for words in ("data_type", "numerical_note", "heur_mode"):
        for name in vars(getattr(library, words)):
            assert hasattr(getattr(package, words), name), name
    assert issubclass(package.cudnnGraphNotSupportedError, Exception)
    for name in ("create_handle", "set_stream", "backend_version"):
        assert callable(getattr(package, name))
    own = library.pygraph(
        io_data_type="FLOAT", intermediate_data_type="FLOAT", compute_data_type="FLOAT", handle=None
    )
    methods = [name for name, _ in inspect.getmembers(type(own), callable) if not name.startswith("_")]
    for name in methods:
        theirs = inspect.signature(getattr(package.pygraph, name)).parameters
        free = any(each.kind is each.VAR_KEYWORD for each in theirs.values())
        ours = inspect.signature(getattr(own, name)).parameters
        assert free or set(ours) <= set(theirs), name
    assert set(inspect.signature(type(own)).parameters) - {"library"} <= set(
        inspect.signature(package.pygraph).parameters
    )


def test_the_package_takes_the_graphs_as_they_are_described() -> None:
    package = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    for kind, (dtype, sizes) in itertools.product(
        ("value", "input", "kernel"), {"float32": (5, 6), "bfloat16": (4, 5, 6)}.items()
    ):
        space = len(sizes)
        job = Convolution(
            kind, 2, 4, 6, 2, sizes, tuple((n + 3 - 3) // 2 + 1 for n in sizes), (2,) * space,
            (2,) * space, (2,) * space, (1,) * space, (2,) * space, dtype,
        )  # fmt: skip
        own = object.__new__(Cudnn)
        own._library = package
        graph = package.pygraph(
            io_data_type=getattr(package.data_type, cudnn.DTYPES[dtype]),
            intermediate_data_type=package.data_type.FLOAT,
            compute_data_type=package.data_type.FLOAT,
        )
        own._describe(graph, job)
        (node,) = graph.nodes
        (out,) = node.outputs.values()
        expected = {"value": (2, 6, *job.output), "input": (2, 4, *sizes), "kernel": (6, 2, *job.taps)}[kind]
        assert (tuple(out.dim), out.uid, out.is_virtual) == (expected, 3, False)
        assert [tensor.uid for tensor in node.inputs.values()] == [1, 2]
        assert (node.params["pre_padding"], node.params["post_padding"]) == ([1] * space, [2] * space)
        assert node.params["stride"] == node.params["dilation"] == [2] * space
