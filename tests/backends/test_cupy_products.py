"""Products of CuPy arrays without CuPy: which matrices are described, and what cuBLASLt is told of them."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbackend_cupy import cublas, products
from nnbackend_cupy.cublas import CublasLt, Matrix, Product
from tests.backends.cublas_on_cpu import CublasLtOnCpu, from_bfloat16, to_bfloat16


def _allocate(size: int) -> Any:
    memory = np.empty(size + 256, np.uint8)
    return SimpleNamespace(ptr=-(-memory.ctypes.data // 256) * 256, memory=memory)


@pytest.fixture
def library() -> CublasLtOnCpu:
    return CublasLtOnCpu()


@pytest.fixture
def handle(library: CublasLtOnCpu) -> CublasLt:
    return CublasLt(library, _allocate)


def _laid(array: np.ndarray) -> products.Laid:
    return products.Laid(array.shape, tuple(step // array.itemsize for step in array.strides))


def _multiply(
    handle: CublasLt, first: np.ndarray, second: np.ndarray, out: np.ndarray, dtype: str = "", **options: Any
) -> int:
    """Multiply as the CuPy backend does, and return how many products were launched."""
    found = products.arrange(_laid(first), _laid(second), _laid(out))
    if not isinstance(found, products.Arrangement):
        lead = out.shape[:-2]
        first, second = (
            np.ascontiguousarray(np.broadcast_to(array, (*lead, *array.shape[-2:]))) if copied else array
            for array, copied in zip((first, second), found, strict=True)
        )
        return 100 + _multiply(handle, first, second, out, dtype, **options)
    bias = options.pop("bias", None)
    matrices = (m._replace(alignment=first.itemsize) for m in (found.first, found.second, found.out))
    sizes = found.rows, found.columns, found.summed, found.batch
    product = Product(*sizes, *matrices, dtype=dtype or first.dtype.name, bias=bias is not None, **options)
    plan = handle.plan(product)
    assert plan is not None
    for places in found.offsets:
        at = [
            array.ctypes.data + place * array.itemsize
            for array, place in zip((first, second, out), places, strict=True)
        ]
        handle.multiply(plan, *at, stream=0, bias=0 if bias is None else bias.ctypes.data)
    return len(found.offsets)


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


#: what it is -> both factors, and how many products they take; 100 more where one had to be copied
def _layouts(rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    heads = _random(rng, 3, 7, 2, 5)  # (n, t, heads, d)
    return {
        "two matrices": (_random(rng, 4, 3), _random(rng, 3, 5), 1),
        "transposed": (_random(rng, 3, 4).T, _random(rng, 5, 3).T, 1),
        "the first transposed": (_random(rng, 3, 4).T, _random(rng, 3, 5), 1),
        "the second transposed": (_random(rng, 4, 3), _random(rng, 5, 3).T, 1),
        "columns of wider ones": (_random(rng, 4, 9)[:, 2:5], _random(rng, 3, 11)[:, 4:9], 1),
        "rows and columns of taller ones": (_random(rng, 9, 9)[2:6, :3].T, _random(rng, 9, 9)[5:, 1:], 1),
        "every other row": (_random(rng, 8, 3)[::2], _random(rng, 6, 5)[::2], 1),
        "every other column": (_random(rng, 4, 6)[:, ::2], _random(rng, 3, 5), 101),
        "backwards": (_random(rng, 4, 3)[::-1], _random(rng, 3, 5), 101),
        "one row": (_random(rng, 1, 3), _random(rng, 3, 5), 1),
        "one column": (_random(rng, 4, 3), _random(rng, 3, 1), 1),
        "one column of many": (_random(rng, 4, 9)[:, 4:5], _random(rng, 1, 5), 1),
        "one row, cut lengthways": (_random(rng, 3, 9)[:, 4:5].T, _random(rng, 3, 5), 1),
        "one number": (_random(rng, 1, 9), _random(rng, 9, 1), 1),
        "outer": (_random(rng, 4, 1), _random(rng, 1, 5), 1),
        "repeated rows": (np.broadcast_to(_random(rng, 3), (4, 3)), _random(rng, 3, 5), 101),
        "a stack": (_random(rng, 6, 4, 3), _random(rng, 6, 3, 5), 1),
        "a stack of stacks": (_random(rng, 2, 3, 4, 3), _random(rng, 2, 3, 3, 5), 1),
        "a stack transposed": (_random(rng, 6, 3, 4).swapaxes(1, 2), _random(rng, 6, 5, 3).swapaxes(1, 2), 1),
        "a stack times a matrix": (_random(rng, 2, 6, 4, 3), _random(rng, 3, 5), 1),
        "a stack times one of a stack": (_random(rng, 2, 6, 4, 3), _random(rng, 1, 1, 3, 5), 1),
        "a matrix times a stack": (_random(rng, 4, 3), _random(rng, 2, 6, 3, 5), 1),
        "a cut stack times a matrix": (_random(rng, 6, 9, 3)[:, 2:6], _random(rng, 3, 5), 1),
        "a stack of rows times a matrix": (_random(rng, 6, 1, 3), _random(rng, 3, 5), 1),
        "stacks that broadcast both ways": (_random(rng, 2, 1, 4, 3), _random(rng, 6, 3, 5), 2),
        "heads": (heads.transpose(0, 2, 1, 3), heads.transpose(0, 2, 3, 1), 2),
        "heads of many": (
            _random(rng, 9, 7, 10, 5).transpose(0, 2, 1, 3),
            _random(rng, 9, 7, 10, 5).transpose(0, 2, 3, 1),
            101,
        ),
        "shares and values of heads": (_random(rng, 3, 2, 4, 7), heads.transpose(0, 2, 1, 3), 2),
        "a stack cut out of one": (_random(rng, 6, 9, 8)[1:4, 2:6, 5:], _random(rng, 3, 3, 5), 1),
    }  # fmt: skip


_NAMES = list(_layouts(np.random.default_rng(0)))


@pytest.mark.parametrize("name", _NAMES)
def test_factors_are_multiplied_where_they_lie(name: str, handle: CublasLt, rng: np.random.Generator) -> None:
    first, second, launches = _layouts(rng)[name]
    shape = products.stacked_shape(first.shape, second.shape)
    assert shape == np.matmul(first, second).shape
    out = np.full(shape, np.nan, np.float32)
    assert _multiply(handle, first, second, out) == launches
    wanted = np.matmul(first.astype(np.float64), second.astype(np.float64))
    np.testing.assert_allclose(out, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", _NAMES)
def test_a_product_is_written_between_what_lies_around_it(
    name: str, handle: CublasLt, rng: np.random.Generator
) -> None:
    first, second, _ = _layouts(rng)[name]
    *lead, rows, columns = products.stacked_shape(first.shape, second.shape)
    around = np.full((rows, *lead, columns + 3), 7, np.float32)
    out = np.moveaxis(around, 0, -2)[..., 1:-2]
    _multiply(handle, first, second, out)
    np.testing.assert_allclose(out, np.matmul(first, second), rtol=1e-4, atol=1e-5)
    assert (around[..., :1] == 7).all()
    assert (around[..., -2:] == 7).all()


@pytest.mark.parametrize(
    "first",
    [np.ones((6, 4, 3)), np.ones((6, 2, 3))[:, :1], np.ones((2, 3, 4, 3))[:, :, :, :2]],
    ids=lambda a: str(a.shape),
)
def test_a_stack_times_one_matrix_is_one_product_of_many_rows(first: np.ndarray) -> None:
    second = _laid(np.ones((first.shape[-1], 5)))
    out = products.contiguous(products.stacked_shape(first.shape, second.shape))
    found = products.arrange(_laid(first), second, out)
    assert isinstance(found, products.Arrangement)
    assert (found.rows, found.batch) == (first.size // first.shape[-1], 1)


@st.composite
def _strided(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """An array of this shape with any axes in any order, cut out of a larger one, perhaps repeated or backwards."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
    shared = [draw(st.sampled_from([False, False, False, True])) for _ in shape]
    larger = [
        1 if same else abs(step) * size + draw(st.integers(0, 2))
        for size, step, same in zip(shape, steps, shared, strict=True)
    ]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    array = rng.standard_normal([larger[axis] for axis in order]).transpose(np.argsort(order))
    keys = tuple(
        slice(None) if same else slice(None, size * step, step) if step > 0 else slice(-1, -size - 1, -1)
        for size, step, same in zip(shape, steps, shared, strict=True)
    )
    return np.broadcast_to(array[keys], shape)


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_any_strides_give_the_product(data: st.DataObject) -> None:
    lead = data.draw(st.lists(st.integers(1, 4), max_size=3))
    rows, summed, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    first, second = (
        data.draw(_strided((*_thinned(data, lead), *matrix)))
        for matrix in ((rows, summed), (summed, columns))
    )
    out = np.full(products.stacked_shape(first.shape, second.shape), np.nan)
    _multiply(CublasLt(CublasLtOnCpu(), _allocate), first, second, out)
    np.testing.assert_allclose(out, np.matmul(first, second), rtol=1e-12, atol=1e-12)


def _thinned(data: st.DataObject, lead: list[int]) -> list[int]:
    """Leave leading axes out, or make them 1, so that they have to be broadcast."""
    start = data.draw(st.integers(0, len(lead)))
    return [data.draw(st.sampled_from([1, size, size])) for size in lead[start:]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_dtype_is_rounded_once(dtype: str, handle: CublasLt, rng: np.random.Generator) -> None:
    first, second, bias = rng.standard_normal((5, 9)), rng.standard_normal((9, 4)), rng.standard_normal(4)
    if dtype == "bfloat16":
        stored = [to_bfloat16(array) for array in (first, second, bias)]
        first, second, bias = (from_bfloat16(array).astype(np.float64) for array in stored)
        wanted: np.ndarray = to_bfloat16(first @ second + bias)
    else:
        stored = [array.astype(dtype) for array in (first, second, bias)]
        first, second, bias = (array.astype(np.float64) for array in stored)
        wanted = (first @ second + bias).astype(dtype)
    out = np.zeros((5, 4), stored[0].dtype)
    _multiply(handle, stored[0], stored[1], out, dtype, bias=stored[2])
    np.testing.assert_array_equal(out, wanted)


def test_a_bias_belongs_to_the_columns_of_the_product(handle: CublasLt, rng: np.random.Generator) -> None:
    first, second, bias = rng.standard_normal((2, 5, 3)), rng.standard_normal((3, 4)), rng.standard_normal(4)
    out = np.zeros((2, 5, 4))
    _multiply(handle, first, second, out, bias=bias)
    np.testing.assert_allclose(out, first @ second + bias, rtol=1e-12, atol=1e-12)


_SQUARE = Product(4, 4, 4, 1, Matrix(4), Matrix(4), Matrix(4), "float32")


@pytest.mark.parametrize(
    ("precision", "refused", "computed_in"),
    [
        ("highest", (), 68),
        ("high", (), 77),
        ("high", (77,), 68),
        ("medium", (), 75),
        ("medium", (75,), 77),
        ("medium", (75, 77), 68),
    ],
)
def test_float32_is_multiplied_as_exactly_as_is_asked_for(
    precision: Any, refused: tuple[int, ...], computed_in: int, handle: CublasLt, library: CublasLtOnCpu
) -> None:
    library.refused = set(refused)
    assert handle.plan(_SQUARE._replace(precision=precision)) is not None
    assert library.asked[-1]["compute"] == computed_in
    library.refused = set()
    for dtype, compute in {"float64": 70, "float16": 68, "bfloat16": 68}.items():
        handle.plan(_SQUARE._replace(precision=precision, dtype=dtype))
        assert library.asked[-1]["compute"] == compute


def test_what_no_algorithm_does_has_no_plan(handle: CublasLt, library: CublasLtOnCpu) -> None:
    library.refused = {cublas.CUBLASLT_EPILOGUE_BIAS}
    assert handle.plan(_SQUARE._replace(bias=True)) is None
    assert handle.plan(_SQUARE) is not None


def test_only_sums_of_one_order_are_let_in(handle: CublasLt, library: CublasLtOnCpu) -> None:
    handle.plan(_SQUARE)
    assert library.asked[-1]["reduction"] == cublas.CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
    assert library.asked[-1]["workspace"] == cublas.WORKSPACE


def test_a_plan_is_made_once(handle: CublasLt, library: CublasLtOnCpu) -> None:
    assert handle.plan(_SQUARE) is handle.plan(_SQUARE)
    assert len(library.asked) == 1
    handle.plan(_SQUARE._replace(first=Matrix(4, alignment=4)))
    assert len(library.asked) == 2
    assert library.asked[-1]["B"] == 4  # the first factor is the library's second


def test_each_stream_has_a_workspace_of_its_own_that_stays(handle: CublasLt) -> None:
    first = handle.reserve(1)
    assert handle.reserve(2) != first
    assert handle.reserve(1) == first


def test_a_failure_names_the_function_and_the_product(
    handle: CublasLt, library: CublasLtOnCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = handle.plan(_SQUARE)
    assert plan is not None
    monkeypatch.setattr(library, "cublasLtMatmul", lambda *arguments: 13)
    with pytest.raises(RuntimeError, match=r"cublasLtMatmul failed for Product\(rows=4.*\(status 13\)"):
        handle.multiply(plan, 256, 256, 256, stream=0)


@pytest.mark.parametrize(
    ("first", "second"), [((2, 3), (4, 2)), ((2, 2, 3), (3, 3, 2)), ((5, 2, 3), (4, 1, 2, 3))]
)
def test_shapes_that_do_not_fit_are_named(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    words = rf"matmul expects shapes .* got {re.escape(str(first))} and {re.escape(str(second))}"
    with pytest.raises(ValueError, match=words):
        products.stacked_shape(first, second)


def test_a_product_cannot_be_written_column_by_column() -> None:
    matrix = products.contiguous((4, 4))
    with pytest.raises(ValueError, match="row by row"):
        products.arrange(matrix, matrix, products.Laid((4, 4), (1, 4)))


def _headers() -> list[Path]:
    """Return the headers of cuBLAS and CUDA that are installed, from NVIDIA's wheels or a toolkit."""
    found = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (found.submodule_search_locations or [])] if found else []
    places = [*(path for root in roots for path in root.glob("*/include")), Path("/usr/local/cuda/include")]
    return [place / name for place in places for name in ("cublasLt.h", "cublas_api.h", "library_types.h")]


def test_the_constants_are_those_of_the_headers() -> None:
    text = "".join(path.read_text() for path in _headers() if path.is_file())
    if "CUBLASLT_EPILOGUE_BIAS" not in text:
        pytest.skip("the headers of cuBLAS are not installed")
    names = {name: 0 for name in vars(cublas) if name.startswith("CUBLAS")}
    for name in names:
        line = re.search(rf"^\s*{name} = ([^,/]+),", text, re.MULTILINE)
        if line is None:
            assert name.startswith("CUBLAS_OP_")
            continue
        value = line[1].strip()
        parts = value.strip("()").split(" | ") if "|" in value else [value]
        numbers = [getattr(cublas, part) if part.startswith("CUBLAS") else int(part, 0) for part in parts]
        assert getattr(cublas, name) == sum(numbers), name
    for dtype, name in {"float16": "16F", "bfloat16": "16BF", "float32": "32F", "float64": "64F"}.items():
        line = re.search(rf"CUDA_R_{name}\s*=\s*(\d+)", text)
        assert line is None or cublas.DTYPES[dtype] == int(line[1])


def test_the_library_takes_the_descriptors_and_gives_them_back() -> None:
    """Descriptors are made on the host, so that the real library can be asked without a GPU."""
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed")
    try:
        library = cublas.load()
    except ImportError:
        pytest.skip("cuBLASLt is not installed")
    handle = CublasLt.__new__(CublasLt)
    handle._library = library
    product = _SQUARE._replace(columns=7, batch=3, second=Matrix(9, 5, True), dtype="bfloat16")
    layout = handle._layout(product, product.second, product.columns, product.summed)
    read = {}
    unsigned, length, number = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32
    kinds = (unsigned, number, length, length, ctypes.c_int64, number, ctypes.c_int64)
    for attribute, kind in enumerate(kinds):
        value, written = kind(), ctypes.c_size_t()
        status = library.cublasLtMatrixLayoutGetAttribute(
            layout,
            attribute,
            ctypes.byref(value),
            ctypes.c_size_t(ctypes.sizeof(value)),
            ctypes.byref(written),
        )
        assert (status, written.value) == (0, ctypes.sizeof(value))
        read[attribute] = value.value
    assert read == {0: 14, 1: 0, 2: 4, 3: 7, 4: 9, 5: 3, 6: 5}
    operation = ctypes.c_void_p()
    handle._call("cublasLtMatmulDescCreate", ctypes.byref(operation), cublas.CUBLAS_COMPUTE_32F_FAST_TF32, 0)
    for attribute, value in (
        (cublas.CUBLASLT_MATMUL_DESC_TRANSA, ctypes.c_int32(1)),
        (cublas.CUBLASLT_MATMUL_DESC_EPILOGUE, ctypes.c_uint32(cublas.CUBLASLT_EPILOGUE_BIAS)),
        (cublas.CUBLASLT_MATMUL_DESC_BIAS_POINTER, ctypes.c_void_p(256)),
    ):
        handle._set(operation, "MatmulDesc", attribute, value)
    wishes = ctypes.c_void_p()
    handle._call("cublasLtMatmulPreferenceCreate", ctypes.byref(wishes))
    handle._set(
        wishes, "MatmulPreference", cublas.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, ctypes.c_uint64(1)
    )
    handle._set(
        wishes, "MatmulPreference", cublas.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, ctypes.c_uint32(2)
    )
    assert ctypes.sizeof(cublas.HeuristicResult) == 64 + 8 + 4 + 4 + 16
