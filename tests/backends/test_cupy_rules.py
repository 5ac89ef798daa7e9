"""CuPy's native rules without a GPU: their kernels run on the CPU, and their products by a library that is a fake."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
import nnbackend.backend
from nnbackend import agreement
from nnbackend import functional as fn
from nnbackend.backend import namespace
from nnbackend.functional import convolution as generic_convolution
from nnbackend.functional import normalization as generic_normalization
from nnbackend.precision import use_matmul_precision
from nnbackend_cupy import CupyBackend, availability
from tests.backends.cublas_on_cpu import CublasLtOnCpu

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
if availability.probe().devices:
    pytest.skip("there is a GPU", allow_module_level=True)
if shutil.which("g++") is None:
    pytest.skip("g++ is not installed", allow_module_level=True)

from nnbackend_cupy import convolution, cublas, matmul, normalization, pooling, programs, raw, scatter  # noqa: E402
from tests.backends.cupy_on_cpu import KernelOnCpu, contents, fake  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def library() -> CublasLtOnCpu:
    return CublasLtOnCpu()


@pytest.fixture(autouse=True)
def on_cpu(folder: Path, library: CublasLtOnCpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CuPy backend with its kernels, its products and its memory on the CPU."""
    monkeypatch.setitem(nnbackend.backend._instances, ("cupy", ()), CupyBackend())
    monkeypatch.setattr(KernelOnCpu, "folder", folder)
    monkeypatch.setattr(raw, "_compiled", {})
    monkeypatch.setattr(programs, "THREADS", 32)
    monkeypatch.setattr(scatter, "TILE", 8)
    monkeypatch.setattr(scatter, "CHUNK", 4)
    monkeypatch.setattr(matmul, "_launches", {})
    monkeypatch.setattr(matmul, "place", lambda: (0, 0))
    handle = cublas.CublasLt(library, _allocate)
    monkeypatch.setattr(matmul, "handle", lambda device: handle)
    for name, function in {
        "RawKernel": KernelOnCpu,
        "empty": lambda shape, dtype: fake(np.empty(shape, dtype)),
        "zeros": lambda shape, dtype: fake(np.zeros(shape, dtype)),
        "ones": lambda shape, dtype: fake(np.ones(shape, dtype)),
        "ascontiguousarray": lambda a: a if a.flags.c_contiguous else fake(np.ascontiguousarray(contents(a))),
        "add": _add,
    }.items():
        monkeypatch.setattr(cupy, name, function)
    yield
    nnbackend.backend._by_type.pop(cupy.ndarray, None)
    nnbackend.backend._namespaces.pop(cupy.ndarray, None)


def _allocate(size: int) -> Any:
    memory = np.empty(size + 256, np.uint8)
    return SimpleNamespace(ptr=-(-memory.ctypes.data // 256) * 256, memory=memory)


def _add(first: Any, second: Any, out: Any) -> Any:
    np.add(contents(first), contents(second), out=contents(out))
    return out


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of kernels, as they are launched."""
    names: list[str] = []

    def launch(topic: str, name: str, *rest: Any) -> None:
        names.append(name)
        _LAUNCH(topic, name, *rest)

    monkeypatch.setattr(raw, "launch", launch)
    monkeypatch.setattr(scatter, "launch", launch)
    return names


_LAUNCH = raw.launch


_TOLERANCE = {"float16": 4e-3, "float32": 2e-6, "float64": 1e-13}
_dtypes = pytest.mark.parametrize("dtype", list(_TOLERANCE))


def _close(actual: Any, wanted: np.ndarray, dtype: str) -> None:
    values = contents(actual)
    assert values.dtype == dtype
    assert values.shape == wanted.shape
    scale = max(1.0, float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0)))
    np.testing.assert_allclose(values, wanted, rtol=0, atol=_TOLERANCE[dtype] * scale)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def test_native_rules_are_called_like_the_generic_ones() -> None:
    rules = agreement.rules()
    for name, native in nn.get_backend("cupy").native_rules.items():
        if name in rules:  # else it is a part of other rules, tested with them
            generic = inspect.signature(rules[name].function).parameters
            given = inspect.signature(native).parameters
            assert [(p.name, p.kind, p.default) for p in given.values()] == [
                (p.name, p.kind, p.default) for p in generic.values()
            ], name


# Normalisation


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is one number for each channel be computed by NumPy."""
    made = generic_normalization._shares

    def on_host(by_mean: Any, by_variance: Any, width: int) -> tuple[Any, Any]:
        first, second = made(contents(by_mean), contents(by_variance), width)
        return fake(first), fake(second)

    monkeypatch.setattr(generic_normalization, "_shares", on_host)


@pytest.mark.parametrize("given", [(), ((5,),), ((5,), (5,)), ((1, 1, 5), (1, 5))], ids=str)
@pytest.mark.parametrize("lead", [(4, 9), (1, 1), (10, 13)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels_are_standardised_as_rows(
    lead: tuple[int, ...],
    given: tuple[tuple[int, ...], ...],
    dtype: str,
    shares: None,
    rng: np.random.Generator,
) -> None:
    shape = (*lead, 5)
    x = (rng.standard_normal(shape) + 3).astype(dtype)
    parameters = [rng.standard_normal(size).astype(dtype) for size in given]
    slopes = [rng.standard_normal(size).astype(dtype) for size in (shape, (1, 1, 5), (1, 1, 5))]
    needs = (True, len(given) > 0, len(given) > 1, False)
    found, backward = normalization.standardize(fake(x), *map(fake, parameters), axis=(1, 0), epsilon=0.1)
    wanted, pull = generic_normalization.standardize.function(
        _wide(x), *map(_wide, parameters), axis=(0, 1), epsilon=0.1
    )
    for actual, exact in zip(found, wanted, strict=True):
        assert actual.flags.c_contiguous
        _close(actual, exact, dtype)
    gradients = backward(tuple(map(fake, slopes)), needs)
    for actual, exact in zip(gradients, pull(tuple(map(_wide, slopes)), needs), strict=True):
        assert (actual is None) is (exact is None)
        if actual is not None:
            _close(actual, exact, dtype)


def test_channels_far_from_zero_keep_their_digits(rng: np.random.Generator) -> None:
    x = (rng.standard_normal((500, 3)) + 1e4).astype("float32")
    (y, mean, _), _ = normalization.standardize(fake(x), axis=0, epsilon=0.0)
    exact = _wide(x)
    np.testing.assert_allclose(contents(mean)[0], exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(
        contents(y), (exact - exact.mean(axis=0)) / exact.std(axis=0), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((normalization.LONGEST + 1, 2), {"axis": 0}),
        ((4, normalization.MOST // 4 + 1), {"axis": 0}),
        ((4, 5, 3), {"axis": (0, 2)}),
        ((4, 5, 3), {"axis": (0, 0)}),
        ((4, 3), {"axis": 1}),
        ((0, 3), {"axis": 0}),
        ((4, 3), {"axis": 0, "mask": np.ones((4, 1), bool)}),
        ((4, 3), {"axis": 0, "gamma": np.ones((4, 3), "float32")}),
        ((4, 3), {"axis": 0, "gamma": np.ones((1,), "float32")}),
        ((4, 3), {"axis": 0, "beta": np.ones((3,), "float64")}),
    ],
    ids=["long channels", "many numbers", "other axes", "twice", "rows", "none", "mask", "of all", "one", "dtype"],
)  # fmt: skip
def test_what_is_no_row_for_each_channel_is_left_to_the_rule(
    shape: tuple[int, ...], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []
    monkeypatch.setattr(
        generic_normalization.standardize, "function", lambda *given, **rest: came.append(given)
    )
    given = {name: fake(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    x = fake(np.ones(shape, "float32"))
    normalization.standardize(x, **given)
    assert len(came) == 1
    assert came[0][0] is x


# Products


def test_the_namespace_has_these_products_and_all_the_rest_of_cupy() -> None:
    xp = nn.get_backend("cupy").xp
    assert (xp.matmul, xp.tensordot, xp.vecdot) == (matmul.matmul, matmul.tensordot, matmul.vecdot)
    assert xp.__array_api_version__
    assert xp.linalg.qr
    assert namespace(fake(np.ones(3))) is xp


@pytest.mark.parametrize(
    ("first", "second"),
    [((4, 3), (3, 5)), ((3,), (3, 5)), ((4, 3), (3,)), ((3,), (3,)), ((2, 1, 4, 3), (6, 3, 5)), ((3,), (2, 3, 5))],
    ids=str,
)  # fmt: skip
@_dtypes
def test_matmul_takes_what_the_standard_does(
    first: tuple[int, ...], second: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> None:
    x, y = (rng.standard_normal(shape).astype(dtype) for shape in (first, second))
    product = namespace(fake(x)).matmul(fake(x), fake(y))
    _close(product, np.matmul(_wide(x), _wide(y)), dtype)


def test_a_transposed_or_cut_factor_is_not_copied(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = rng.standard_normal((7, 9)), rng.standard_normal((8, 7))
    monkeypatch.setattr(cupy, "ascontiguousarray", lambda array: pytest.fail("a factor was copied"))
    _close(matmul.matmul(fake(x)[:, 1:5].T, fake(y).T), x[:, 1:5].T @ y.T, "float64")


def test_a_factor_that_lies_in_no_order_is_copied(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((7, 10)), rng.standard_normal((5, 8))
    _close(matmul.matmul(fake(x)[::-1, ::2], fake(y)), x[::-1, ::2] @ y, "float64")


def test_a_product_is_launched_by_what_was_found_out_before(
    library: CublasLtOnCpu, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = rng.standard_normal((5, 5))
    factor = fake(x)
    monkeypatch.setattr(cupy, "empty", lambda shape, dtype: out)
    out = fake(np.empty((5, 5)))
    matmul.matmul(factor, factor)
    monkeypatch.setattr(matmul, "_prepared", lambda *arguments: pytest.fail("it was found out again"))
    _close(matmul.matmul(factor, factor), x @ x, "float64")
    assert len(library.launched) == 2


@pytest.mark.parametrize(("precision", "compute"), [("highest", 68), ("high", 77), ("medium", 75)])
def test_float32_is_multiplied_in_the_precision_in_force(
    precision: Any, compute: int, library: CublasLtOnCpu
) -> None:
    x = fake(np.eye(4, dtype=np.float32))
    matmul.matmul(x, x)
    with use_matmul_precision(precision):
        matmul.matmul(x, x)
    assert [launched["compute"] for launched in library.launched] == [68, compute]


def test_a_workspace_can_be_had_before_a_stream_is_captured(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    matmul.prepare()
    monkeypatch.setattr(matmul.handle(0), "_allocate", lambda size: pytest.fail("memory was allocated"))
    x = rng.standard_normal((4, 4))
    _close(matmul.matmul(fake(x), fake(x)), x @ x, "float64")


@pytest.mark.parametrize(
    ("first", "second", "axes"),
    [
        ((2, 3, 4), (4, 3, 5), ((2, 1), (0, 1))),
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3, 4), (4,), 1),
        ((2, 3), (2, 3), ((0, 1), (0, 1))),
        ((2, 3, 4), (5, 3), ((-2,), (-1,))),
    ],
)
def test_tensordot_is_one_product(
    first: tuple[int, ...], second: tuple[int, ...], axes: Any, library: CublasLtOnCpu, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    x, y = rng.standard_normal(first), rng.standard_normal(second)
    arrays = [_Reshaping(fake(array)) for array in (x, y)]
    monkeypatch.setattr(matmul, "matmul", lambda a, b: _Reshaping(_MATMUL(a.array, b.array)))
    product = matmul.tensordot(*arrays, axes=axes)
    _close(product.array, np.asarray(np.tensordot(x, y, axes)), "float64")
    assert len(library.launched) == 1


_MATMUL = matmul.matmul


class _Reshaping:
    """A CuPy array over host memory that can be reshaped though it has to be copied."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.ndim = array, array.shape, array.ndim

    def transpose(self, order: tuple[int, ...]) -> _Reshaping:
        return _Reshaping(self.array.transpose(order))

    def reshape(self, shape: tuple[int, ...]) -> _Reshaping:
        return _Reshaping(fake(np.array(contents(self.array).reshape(shape), order="C")))


@_dtypes
def test_vecdot_is_one_pass_over_both(dtype: str, library: CublasLtOnCpu, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((3, 4, 5)).astype(dtype), rng.standard_normal((4, 5)).astype(dtype)
    _close(matmul.vecdot(fake(x), fake(y)), np.vecdot(_wide(x), _wide(y)), dtype)
    assert not library.launched


@pytest.mark.parametrize("refused", [(), (cublas.CUBLASLT_EPILOGUE_BIAS,)], ids=["fused", "afterwards"])
@pytest.mark.parametrize("shape", [(7, 3), (2, 5, 3), (3,)], ids=str)
@_dtypes
def test_dense_is_the_generic_rule(
    shape: tuple[int, ...], refused: tuple[int, ...], dtype: str, library: CublasLtOnCpu, rng: np.random.Generator
) -> None:  # fmt: skip
    library.refused = set(refused)
    x, kernel, bias = (rng.standard_normal(size).astype(dtype) for size in (shape, (3, 4), (4,)))
    y, backward = matmul.dense(fake(x), fake(kernel), fake(bias))
    _close(y, _wide(x) @ _wide(kernel) + _wide(bias), dtype)
    assert (library.launched[-1]["epilogue"] == cublas.CUBLASLT_EPILOGUE_BIAS) is not refused
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx, dkernel, _ = backward(fake(dy), (True, True, False))
    rows, slopes = _wide(x).reshape(-1, 3), _wide(dy).reshape(-1, 4)
    _close(dx, (slopes @ _wide(kernel).T).reshape(shape), dtype)
    _close(dkernel, rows.T @ slopes, dtype)


@pytest.mark.parametrize("shape", [(7, 3), (2, 5, 3), (1, 3), (4, 1, 3)], ids=str)
@_dtypes
def test_the_gradient_of_a_bias_is_summed_on_the_way_where_that_is_asked_for(
    shape: tuple[int, ...], dtype: str, library: CublasLtOnCpu, rng: np.random.Generator
) -> None:
    x, kernel, bias = (rng.standard_normal(size).astype(dtype) for size in (shape, (3, 4), (4,)))
    y, backward = matmul.dense(fake(x), fake(kernel), fake(bias))
    dy = rng.standard_normal(y.shape).astype(dtype)
    library.launched.clear()
    with nn.use_backend(CupyBackend(bias_gradient="product")):
        dx, dkernel, dbias = backward(fake(dy), (True, True, True))
        assert backward(fake(dy), (False, True, True))[0] is None
    assert [each["epilogue"] for each in library.launched[:2]] == [cublas.CUBLASLT_EPILOGUE_BGRADA, 1]
    rows, slopes = _wide(x).reshape(-1, 3), _wide(dy).reshape(-1, 4)
    _close(dx, (slopes @ _wide(kernel).T).reshape(shape), dtype)
    _close(dkernel, rows.T @ slopes, dtype)
    _close(dbias, slopes.sum(axis=0), dtype)


def test_sums_of_another_order_are_left_alone_without_being_asked_for(
    library: CublasLtOnCpu, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel, bias, dy = (rng.standard_normal(size) for size in ((7, 3), (3, 4), 4, (7, 4)))
    _, backward = matmul.dense(fake(x), fake(kernel), fake(bias))
    monkeypatch.setattr(
        matmul, "product_and_sums", lambda *factors: pytest.fail("they were summed on the way")
    )
    backward(fake(dy), (True, True, False))
    with nn.use_backend(CupyBackend(bias_gradient="product")):
        backward(fake(dy), (True, True, False))  # nor where nobody wants them


def test_what_no_algorithm_sums_on_the_way_is_left_to_the_rule(
    library: CublasLtOnCpu, rng: np.random.Generator
) -> None:
    first, second = fake(rng.standard_normal((3, 7))), fake(rng.standard_normal((7, 4)))
    library.refused = {cublas.CUBLASLT_EPILOGUE_BGRADA}
    assert matmul.product_and_sums(first, second) is None
    library.refused = set()
    assert matmul.product_and_sums(first, cupy.broadcast_to(second[:1], (7, 4))) is None
    assert matmul.product_and_sums(first[:, :0], second[:0]) is None


def test_what_sums_gradients_of_biases_is_checked() -> None:
    with pytest.raises(
        ValueError, match="sums gradients of biases with 'product' or without a word, got 'cublas'"
    ):
        CupyBackend(bias_gradient="cublas")
    assert repr(CupyBackend(bias_gradient="product")) == "<cupy backend, bias_gradient='product'>"


def test_a_bias_may_lie_anywhere(library: CublasLtOnCpu, rng: np.random.Generator) -> None:
    x, kernel, parameters = (rng.standard_normal(size) for size in ((7, 3), (3, 4), 20))
    for start in range(4):
        y, _ = matmul.dense(fake(x), fake(kernel), fake(parameters)[start : start + 4])
        _close(y, x @ kernel + parameters[start : start + 4], "float64")


# Selection


def _added_up(x: np.ndarray, indices: np.ndarray, length: int) -> np.ndarray:
    wanted = np.zeros((length, *x.shape[1:]))
    for row, index in zip(_wide(x), indices, strict=True):
        if -length <= index < length:
            wanted[index] += row
    return wanted


@pytest.mark.parametrize("count", [1, 4, 7, 8, 9, 31, 100, 257])
@pytest.mark.parametrize("length", [1, 3, 60])
@_dtypes
def test_rows_are_added_up_by_index(count: int, length: int, dtype: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((count, 5)).astype(dtype)
    indices = rng.integers(-length, length, count)
    sums, _ = scatter.scatter_add(fake(x), fake(indices), length=length)
    _close(sums, _added_up(x, indices, length), dtype)
    again, _ = scatter.scatter_add(fake(x), fake(indices), length=length)
    np.testing.assert_array_equal(contents(sums), contents(again))


@pytest.mark.parametrize("shape", [(40,), (40, 2, 33), (40, 70)], ids=str)
def test_rows_of_any_shape_are_added_up(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, indices = rng.standard_normal(shape), rng.integers(0, 7, 40)
    _close(scatter.scatter_add(fake(x), fake(indices), length=9)[0], _added_up(x, indices, 9), "float64")


def test_rows_that_go_nowhere_are_left_out(rng: np.random.Generator) -> None:
    x, indices = rng.standard_normal((30, 2)), rng.integers(-9, 9, 30)
    _close(scatter.scatter_add(fake(x), fake(indices), length=4)[0], _added_up(x, indices, 4), "float64")


def test_float32_is_added_up_in_float64(rng: np.random.Generator) -> None:
    x, indices = rng.standard_normal((20000, 1)).astype(np.float32) + np.float32(1), np.zeros(20000, np.int64)
    sums, _ = scatter.scatter_add(fake(x), fake(indices), length=1)
    np.testing.assert_allclose(contents(sums)[0], _wide(x).sum(axis=0), rtol=1e-7)


def test_whole_numbers_are_added_up_exactly() -> None:
    x, indices = np.asarray([2**60 + 1, 3, 1]), np.asarray([1, 0, 1])
    sums, _ = scatter.scatter_add(fake(x), fake(indices), length=3)
    np.testing.assert_array_equal(contents(sums), [3, 2**60 + 2, 0])


def test_many_rows_are_sorted_as_numpy_does(rng: np.random.Generator) -> None:
    indices = rng.integers(0, 50, 1000)
    keys = contents(scatter._sorted(fake(indices), 50, True))
    order = np.argsort(indices, kind="stable")
    np.testing.assert_array_equal(keys >> 32, indices[order])
    np.testing.assert_array_equal(keys & 0xFFFFFFFF, order)


@_dtypes
def test_embedding_is_the_generic_rule(dtype: str, rng: np.random.Generator) -> None:
    indices, table = rng.integers(-2, 8, (4, 9)), rng.standard_normal((6, 5)).astype(dtype)
    y, backward = scatter.embedding(fake(indices), fake(table))
    wanted, way_back = fn.embedding.function(indices, table)
    np.testing.assert_array_equal(contents(y), wanted)
    dy = rng.standard_normal((4, 9, 5)).astype(dtype)
    none, gradient = backward(fake(dy), (False, True))
    assert none is None
    _close(gradient, _wide(way_back(dy, (False, True))[1]), dtype)


_BY_ATOMICS = ["nn_add_rows_atomic"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_rows_are_added_up_by_atomics_where_they_are_asked_for(
    dtype: str, launched: list[str], rng: np.random.Generator
) -> None:
    """Terms are whole numbers, so that sums have the same bits in any order."""
    x, indices = rng.integers(-9, 9, (257, 2, 5)).astype(dtype), rng.integers(-70, 70, 257)
    with nn.use_backend(CupyBackend(deterministic=False)):
        sums, _ = scatter.scatter_add(fake(x), fake(indices), length=60)
    assert launched == (_BY_ATOMICS if dtype != "float16" else [*_BY_ATOMICS, "nn_round"])
    np.testing.assert_array_equal(contents(sums), _added_up(x, indices, 60))
    assert contents(sums).dtype == dtype
    scatter.scatter_add(fake(x), fake(indices), length=60)
    assert "nn_sum_chunks" in launched


def test_sums_by_atomics_of_many_threads_lose_nothing(rng: np.random.Generator) -> None:
    x, indices = np.ones((5000, 1)), np.zeros(5000, np.int64)
    with nn.use_backend(CupyBackend(deterministic=False)):
        sums, _ = scatter.scatter_add(fake(x), fake(indices), length=1)
    np.testing.assert_array_equal(contents(sums), [[5000.0]])


def test_atomics_add_16_bits_up_in_32() -> None:
    x, indices = np.ones((4097, 1), np.float16), np.zeros(4097, np.int64)
    with nn.use_backend(CupyBackend(deterministic=False)):
        sums, _ = scatter.scatter_add(fake(x), fake(indices), length=1)
    assert contents(sums)[0, 0] == 4096  # rounded once; float16 itself stays at 2048


def test_the_gradient_of_an_embedding_takes_atomics_where_they_are_asked_for(
    launched: list[str], rng: np.random.Generator
) -> None:
    indices, table = rng.integers(-2, 8, (4, 9)), rng.standard_normal((6, 5))
    _, backward = scatter.embedding(fake(indices), fake(table))
    dy = rng.integers(-9, 9, (4, 9, 5)).astype(np.float64)
    with nn.use_backend(CupyBackend(deterministic=False)):
        _, gradient = backward(fake(dy), (False, True))
    assert launched == ["nn_take_rows", *_BY_ATOMICS]
    _, way_back = fn.embedding.function(indices, table)
    np.testing.assert_array_equal(contents(gradient), way_back(dy, (False, True))[1])


# Pooling

_WINDOWS = [
    ((6, 8), {"pool_size": 2}),
    ((7, 8), {"pool_size": (3, 2)}),
    ((9,), {"pool_size": 4}),
    ((4, 6, 4), {"pool_size": (2, 3, 1)}),
    ((7, 7), {"pool_size": 3, "strides": 2}),
    ((7, 6), {"pool_size": 3, "strides": 1, "padding": "same"}),
    ((7, 7), {"pool_size": 2, "strides": 3}),
    ((7, 5), {"pool_size": 4, "strides": 3, "padding": "same"}),
]


def _in_dtypes(names: str, cases: list[Any]) -> Any:
    """Run all cases in one dtype, and the last one in each of the others."""
    chosen = [(*case, "float32") for case in cases] + [
        (*cases[-1], dtype) for dtype in ("float16", "float64")
    ]
    return pytest.mark.parametrize((*names.split(), "dtype"), chosen, ids=str)


@_in_dtypes("space options", _WINDOWS)
def test_maxima_are_those_of_the_generic_rule(
    space: tuple[int, ...], options: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 3, (2, *space, 3)).astype(dtype)  # full of ties
    x[0, 1, ..., 0] = np.nan
    x[-1, -1, ..., -1] = -np.inf
    y, backward = pooling.max_pool(fake(x), **options)
    wanted, way_back = fn.max_pool.function(x, **options)
    np.testing.assert_array_equal(contents(y), wanted)
    dy = rng.integers(-9, 9, wanted.shape).astype(dtype)  # sums are exact in every order
    (dx,) = backward(fake(dy), (True,))
    np.testing.assert_array_equal(contents(dx), way_back(dy, (True,))[0])
    assert contents(dx).dtype == dtype


@_in_dtypes("space options", _WINDOWS)
def test_gradients_of_maxima_take_atomics_where_windows_overlap_and_they_are_asked_for(
    space: tuple[int, ...], options: dict[str, Any], dtype: str, launched: list[str], rng: np.random.Generator
) -> None:
    x = rng.integers(0, 3, (2, *space, 3)).astype(dtype)
    _, backward = pooling.max_pool(fake(x), **options)
    wanted, way_back = fn.max_pool.function(x, **options)
    dy = rng.integers(-9, 9, wanted.shape).astype(dtype)
    launched.clear()
    with nn.use_backend(CupyBackend(deterministic=False)):
        (dx,) = backward(fake(dy), (True,))
    np.testing.assert_array_equal(contents(dx), way_back(dy, (True,))[0])
    assert contents(dx).dtype == dtype
    apart = options.get("strides") in (None, 3) and options["pool_size"] != 4
    rounding = ["nn_round"] if dtype == "float16" else []
    own = "nn_max_pool_gradient"
    assert launched == ([own] if apart or len(space) == 1 else [f"{own}_atomic", *rounding])


@_in_dtypes("space options", _WINDOWS)
def test_means_are_those_of_the_generic_rule(
    space: tuple[int, ...], options: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, *space, 3)).astype(dtype)
    y, backward = pooling.average_pool(fake(x), **options)
    wanted, way_back = fn.average_pool.function(_wide(x), **options)
    _close(y, wanted, dtype)
    dy = rng.standard_normal(wanted.shape).astype(dtype)
    _close(backward(fake(dy), (True,))[0], way_back(_wide(dy), (True,))[0], dtype)


# Convolution

#: space, kernel, channels in and out, options
_CONVOLUTIONS = {
    "one tap": ((5, 9), (1, 1), (3, 6), {}),
    "one tap strided": ((9, 17), (1, 1), (4, 6), {"strides": 2}),
    "one channel": ((9, 8), (3, 2), (1, 4), {"padding": "same"}),
    "strided": ((9, 8), (3, 2), (3, 4), {"strides": 2, "padding": 1}),
    "dilated": ((9, 11), (3, 2), (2, 5), {"dilation_rate": (2, 3), "padding": ((2, 0), (1, 3))}),
    "strides beyond the kernel": ((12, 11), (2, 1), (3, 2), {"strides": (3, 2)}),
    "groups": ((6, 9), (3, 3), (4, 6), {"groups": 2, "strides": (1, 2)}),
    "groups of one tap": ((6, 5), (1, 1), (4, 6), {"groups": 2}),
    "signal": ((20,), (5,), (3, 4), {"padding": "causal", "strides": 2}),
    "volume": ((4, 5, 6), (2, 3, 2), (3, 2), {"padding": 1, "strides": (1, 2, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("piece", [1, 512 << 20])
@_in_dtypes("name", [(name,) for name in _CONVOLUTIONS])
def test_convolutions_are_those_of_the_generic_rules(
    name: str, dtype: str, piece: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "PIECE", piece)
    space, taps, (width, made), options = _CONVOLUTIONS[name]
    groups = options.get("groups", 1)
    kernel = (*taps, width // groups, made)
    settings = (options.get(key, default) for key, default in
                (("strides", 1), ("padding", "valid"), ("dilation_rate", 1), ("groups", 1)))  # fmt: skip
    plan = generic_convolution.geometry("conv", space, taps, *settings)
    dtypes = {
        "x": (3, *space, width),
        "w": kernel,
        "dy": (3, *plan.output, made),
        "b": (made,),
        "c": (width,),
    }
    given = {key: rng.standard_normal(shape).astype(dtype) for key, shape in dtypes.items()}
    there, wide = {k: fake(v) for k, v in given.items()}, {k: _wide(v) for k, v in given.items()}
    for native, generic, arguments in (
        (convolution.conv, generic_convolution._conv, "xwb"),
        (convolution.conv_transpose, generic_convolution._conv_transpose, ("dy", "w", "c")),
        (convolution.conv_kernel_gradient, generic_convolution._conv_kernel_gradient, ("x", "dy")),
    ):
        value, _ = native(*(there[key] for key in arguments), plan=plan)
        wanted, _ = generic.function(*(wide[key] for key in arguments), plan=plan)
        _close(value, wanted, dtype)


def test_a_convolution_of_one_tap_lays_nothing_out(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "sweep", lambda *arguments: pytest.fail("rows were laid out"))
    x, kernel = rng.standard_normal((2, 4, 4, 3)), rng.standard_normal((1, 1, 3, 5))
    plan = generic_convolution.geometry("conv", (4, 4), (1, 1))
    y, _ = convolution.conv(fake(x), fake(kernel), plan=plan)
    _close(y, x @ kernel[0, 0], "float64")


def test_the_way_back_of_a_convolution_is_made_of_native_rules(rng: np.random.Generator) -> None:
    x, kernel = rng.standard_normal((2, 5, 4, 3)), rng.standard_normal((3, 2, 3, 5))
    plan = generic_convolution.geometry("conv", (5, 4), (3, 2), 2, "same")
    y, backward = convolution.conv(fake(x), fake(kernel), plan=plan)
    dy = rng.standard_normal(y.shape)
    dx, dkernel, _ = backward(fake(dy), (True, True, False))
    _, way_back = generic_convolution._conv.function(x, kernel, plan=plan)
    for actual, wanted in zip((dx, dkernel), way_back(dy, (True, True, False)), strict=False):
        _close(actual, wanted, "float64")
