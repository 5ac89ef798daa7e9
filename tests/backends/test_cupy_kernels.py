"""The sources that run on a GPU, checked without one.

They are compiled for real architectures where nvcc or NVRTC is present, and their arithmetic is run on the CPU: the
same text, compiled by g++ with a header that stands in for CUDA, threads and barriers included.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise, rowwise
from nnbackend_cupy import kernels
from tests.backends.cuda_programs import (
    CASES,
    ELEMENTWISE,
    FULL,
    ROWWISE,
    UNKNOWN,
    Case,
    assert_within,
    expected_results,
    momentum,
    random_values,
    row_arguments,
    whole_numbers,
)

ARCHITECTURES = ("sm_80", "sm_90")
HEADER = Path(__file__).with_name("cuda_on_cpu.h")

pytestmark = pytest.mark.xdist_group("kernels")  # they share what is costly to make


@dataclass(frozen=True)
class Kernel:
    """A whole kernel: its source, its name there, and its parameters."""

    name: str
    code: str
    parameters: tuple[str, ...]
    arguments: tuple[int, ...]


def _kernel(case: Case) -> Kernel:
    """Return the case's kernel, under a name of its own."""
    name = "k_" + case.name
    if case.program.rowwise:
        source = kernels.rowwise_source(case.program, case.dtypes, case.kinds, case.outputs)
        return Kernel(
            name, source.code.replace(source.name + "(", name + "("), source.parameters, source.arguments
        )
    body = kernels.elementwise_source(case.program, case.dtypes, case.outputs)
    # the loop that CuPy's ElementwiseKernel puts around the operation, parameters being references as there
    inputs = [f"const {ctype}* _raw_{variable}" for _, ctype, variable in body.inputs]
    outputs = [f"{ctype}* _raw_{variable}" for _, ctype, variable in body.outputs]
    references = [f"const {ctype}& {variable} = _raw_{variable}[i];" for _, ctype, variable in body.inputs]
    references += [f"{ctype}& {variable} = _raw_{variable}[i];" for _, ctype, variable in body.outputs]
    parameters = (*inputs, *outputs, "const long long size")
    code = (
        f'extern "C" __global__ void {name}({", ".join(parameters)}) {{\n'
        "    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;\n"
        "    for (; i < size; i += (long long)blockDim.x * gridDim.x) {\n        "
        + "\n        ".join([*references, *body.operation.split("\n")])
        + "\n    }\n}\n"
    )
    return Kernel(name, code, parameters, body.arguments)


PHILOX = Kernel(
    kernels.PHILOX_NAME,
    kernels.PHILOX_SOURCE,
    tuple(
        parameter.strip()
        for parameter in kernels.PHILOX_SOURCE.partition("(")[2].partition(")")[0].split(",")
    ),
    (),
)
KERNELS = {case.name: _kernel(case) for case in CASES}
PREAMBLE = kernels.RowwiseSource("", (), (), "").preamble


def _translation_unit() -> str:
    others = (PHILOX.code, *kernels.MOVE_SOURCES.values())
    return PREAMBLE + "\n".join([*(kernel.code for kernel in KERNELS.values()), *others])


def _launcher(kernel: Kernel) -> str:
    """Return a C function that launches a kernel on the CPU with its arguments as untyped pointers."""
    types = [parameter.rpartition(" ")[0] for parameter in kernel.parameters]
    values = ", ".join(f"*({kind.replace('const long', 'long')}*)given[{i}]" for i, kind in enumerate(types))
    return (
        f'extern "C" void run_{kernel.name}(unsigned blocks, unsigned columns, unsigned rows, void** given) {{\n'
        f"    launch(blocks, columns, rows, [=] {{ {kernel.name}({values}); }});\n}}\n"
    )


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """All kernels, compiled for the CPU: call with a kernel, its launch and its arguments."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("kernels")
    launchers = "\n".join(_launcher(kernel) for kernel in (*KERNELS.values(), PHILOX))
    (folder / "all.cpp").write_text(f'#include "{HEADER}"\n' + _translation_unit() + launchers)
    flags = [
        "-std=c++20",
        "-O1",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
        "-w",
        "-shared",
        "-fPIC",
        "-pthread",
    ]
    built = subprocess.run(
        [compiler, *flags, str(folder / "all.cpp"), "-o", str(folder / "all.so")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[:4000]
    library = ctypes.CDLL(str(folder / "all.so"))

    def launch(kernel: Kernel, blocks: int, block: tuple[int, int], arguments: Sequence[Any]) -> None:
        held = [
            ctypes.c_void_p(a.ctypes.data)
            if isinstance(a, np.ndarray)
            else ctypes.c_ulonglong(int(a or 0) % 2**64)
            for a in arguments
        ]
        assert len(held) == len(kernel.parameters)
        given = (ctypes.c_void_p * len(held))(*(ctypes.addressof(value) for value in held))
        library[f"run_{kernel.name}"](blocks, *block, given)

    return launch


def _allocate(case: Case, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    dtypes = [kernels.output_dtype(case.program, case.dtypes, number) for number in case.outputs]
    return [np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]


def _cases(cases: Sequence[Case], rowwise: bool) -> Any:
    chosen = [case for case in cases if case.program.rowwise == rowwise]
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


@_cases(CASES, rowwise=False)
def test_elementwise_kernel_computes_what_the_plain_expression_does(
    case: Case, on_cpu: Callable[..., None], rng: np.random.Generator
) -> None:
    arguments = [random_values(dtype, (1000,), rng) for dtype in case.dtypes]
    if case.name.startswith("adam"):
        arguments[3:] = [np.abs(a) for a in arguments[3:]]
    outputs = _allocate(case, [(1000,)] * len(case.outputs))
    kernel = KERNELS[case.name]
    on_cpu(kernel, 3, (64, 1), [*(arguments[i] for i in kernel.arguments), *outputs, 1000])
    expected = expected_results(case, arguments)
    exact = case.name.startswith(("momentum", "relu", "dropout", "adam")) and "float16" not in case.name
    for actual, wanted in zip(outputs, expected, strict=True):
        assert_within(actual, wanted, units=0 if exact else 8, scale=4.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_elementwise_kernel_treats_nan_and_infinity_as_numpy_does(
    dtype: str, on_cpu: Callable[..., None]
) -> None:
    (case,) = [case for case in ELEMENTWISE if case.name == f"extremes_{dtype}"]
    special = np.asarray([np.nan, np.inf, -np.inf, 0.0, 1.5, -2.0, 6e-8], dtype)
    x, y = (a.reshape(-1).copy() for a in np.meshgrid(special, special))
    outputs = _allocate(case, [x.shape] * len(case.outputs))
    on_cpu(KERNELS[case.name], 1, (64, 1), [x, y, *outputs, x.size])
    for actual, wanted in zip(outputs, expected_results(case, [x, y]), strict=True):
        np.testing.assert_array_equal(actual, np.broadcast_to(wanted, actual.shape))


def test_outputs_may_take_over_the_memory_of_arguments(
    on_cpu: Callable[..., None], rng: np.random.Generator
) -> None:
    (case,) = [case for case in ELEMENTWISE if case.name == "adam_float32"]
    p, g, m, v, rate, correction = (np.abs(random_values("float32", (257,), rng)) for _ in range(6))
    expected = expected_results(case, [p, g, m, v, rate, correction])
    # parameters and slots in place, and the second moment where the gradient was
    on_cpu(KERNELS[case.name], 2, (32, 1), [p, g, m, v, rate, correction, p, m, g, 257])
    for actual, wanted in zip((p, m, g), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def _run_rows(
    case: Case, on_cpu: Callable[..., None], arguments: Sequence[np.ndarray], rows: int, width: int
) -> list[np.ndarray]:
    thin = kernels.per_row_outputs(case.program, case.kinds)
    outputs = _allocate(case, [(rows, 1 if number in thin else width) for number in case.outputs])
    kernel = KERNELS[case.name]
    block = kernels.row_threads(width)
    given = [np.ascontiguousarray(arguments[i]) for i in kernel.arguments]
    on_cpu(kernel, -(-rows // block[1]), block, [*given, *outputs, rows, width])
    return outputs


@pytest.mark.parametrize(("rows", "width"), [(5, 10), (3, 300), (2, 33)])
@_cases(CASES, rowwise=True)
def test_rowwise_kernel_computes_what_the_plain_expression_does(
    case: Case, rows: int, width: int, on_cpu: Callable[..., None], rng: np.random.Generator
) -> None:
    arguments = row_arguments(case, rows, width, rng)
    outputs = _run_rows(case, on_cpu, arguments, rows, width)
    for actual, wanted in zip(outputs, expected_results(case, arguments), strict=True):
        assert_within(actual, wanted, units=16, scale=4.0)


def test_rowwise_kernel_spreads_nan_over_its_row_only(
    on_cpu: Callable[..., None], rng: np.random.Generator
) -> None:
    (case,) = [case for case in ROWWISE if case.name == "softmax_float32"]
    x = rng.standard_normal((4, 40)).astype(np.float32)
    x[2, 17] = np.nan
    (y,) = _run_rows(case, on_cpu, [x], 4, 40)
    assert np.isnan(y).all(axis=-1).tolist() == [False, False, True, False]


def test_the_order_of_a_sum_follows_from_the_width_alone(
    on_cpu: Callable[..., None], rng: np.random.Generator
) -> None:
    (case,) = [case for case in ROWWISE if case.name == "softmax_float32"]
    x = rng.standard_normal((9, 100)).astype(np.float32)
    (together,) = _run_rows(case, on_cpu, [x], 9, 100)
    alone = [_run_rows(case, on_cpu, [x[i : i + 1]], 1, 100)[0] for i in range(9)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def _words(on_cpu: Callable[..., None], count: int, bits: int, *state: Any) -> np.ndarray:
    words = np.zeros(count + 8, np.uint32 if bits == 32 else np.uint64)
    halves = count * bits // 32
    on_cpu(PHILOX, -(-halves // 256), (32, 1), [words, halves, *state])
    assert not words[count:].any()  # nothing is written beyond the end
    return words[:count]


_LARGE = 2**64 - 1


@pytest.mark.parametrize(
    ("key", "step", "stream", "call"),
    [
        ((0, 0), 0, 0, 0),
        ((1, 2), 3, 4, 5),
        ((_LARGE, _LARGE), _LARGE, _LARGE, _LARGE),
        ((2**63, 7), 2**40, 2**63, 1),
    ],
)
@pytest.mark.parametrize("count", [1, 4, 5, 8, 15, 1027])
@pytest.mark.parametrize("bits", [32, 64])
def test_philox_kernel_draws_the_words_of_numpy(
    key: tuple[int, int],
    step: int,
    stream: int,
    call: int,
    count: int,
    bits: int,
    on_cpu: Callable[..., None],
) -> None:
    generator = np.random.Philox(
        key=np.asarray(key, np.uint64), counter=np.asarray([0, step, stream, call], np.uint64)
    )
    expected = generator.random_raw(count)
    if bits == 32:
        expected = expected.astype("<u8").view("<u4")[:count]
    by_value = _words(on_cpu, count, bits, None, *key, None, step, stream, call)
    np.testing.assert_array_equal(by_value, expected)
    keys, steps = np.asarray(key, np.uint64).view(np.int64), np.asarray(step, np.uint64).view(np.int64)
    by_pointer = _words(on_cpu, count, bits, keys, 0, 0, steps, 0, stream, call)
    np.testing.assert_array_equal(by_pointer, expected)


def test_halves_are_rounded_to_nearest_even(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    code = f'#include "{HEADER}"\n{kernels.PREAMBLE}\n' + "\n".join(
        f'extern "C" unsigned short store_{kind}(float v) {{ return nn_store_{kind}(v); }}\n'
        f'extern "C" float load_{kind}(unsigned short v) {{ return nn_load_{kind}(v); }}'
        for kind in ("float16", "bfloat16")
    )
    (tmp_path / "halves.cpp").write_text(code)
    command = [compiler, "-std=c++20", "-shared", "-fPIC", "-w", str(tmp_path / "halves.cpp")]
    subprocess.run([*command, "-o", str(tmp_path / "halves.so")], check=True)
    library = ctypes.CDLL(str(tmp_path / "halves.so"))
    for kind in ("float16", "bfloat16"):
        store, load = getattr(library, f"store_{kind}"), getattr(library, f"load_{kind}")
        store.argtypes, store.restype = [ctypes.c_float], ctypes.c_ushort
        load.argtypes, load.restype = [ctypes.c_ushort], ctypes.c_float
    values = [0.0, -1.5, 1.0 + 2**-11, 1.0 + 3 * 2**-11, 65519.0, 65520.0, 6e-8, float("inf")]
    with np.errstate(over="ignore"):
        rounded = np.asarray(values).astype(np.float16)
    for value, half in zip(values, rounded, strict=True):
        assert library.store_float16(value) == int(half.view(np.uint16))
        assert library.load_float16(library.store_float16(value)) == float(half)
    # bfloat16 keeps the upper half of a float32: a tie goes to the even one of the two neighbours
    for value, bits in [(1.0, 0x3F80), (1.0 + 2**-8, 0x3F80), (1.0 + 3 * 2**-8, 0x3F82), (-2.5, 0xC020)]:
        assert library.store_bfloat16(value) == bits
    assert library.load_bfloat16(0x3FC0) == 1.5
    assert np.isnan(library.load_bfloat16(library.store_bfloat16(float("nan"))))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_for_a_real_architecture_with_nvcc(architecture: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    (tmp_path / "all.cu").write_text(_translation_unit())
    command = [nvcc, "-cubin", f"-arch={architecture}", *kernels.OPTIONS, "-o", str(tmp_path / "all.cubin")]
    built = subprocess.run([*command, str(tmp_path / "all.cu")], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:4000]


@rowwise
def _many_sums(x):
    xp = namespace(x)
    product = x
    for total in [xp.sum(x * float(number), axis=-1, keepdims=True) for number in range(48)]:
        product = product * total
    return product


def test_a_long_program_leaves_registers_for_the_largest_block(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    source = kernels.rowwise_source(_many_sums.program(), ("float64",), (FULL,), (0,))
    (tmp_path / "long.cu").write_text(source.preamble + source.code)
    command = [nvcc, "-cubin", "-arch=sm_90", "-Xptxas", "-v", "-o", str(tmp_path / "long.cubin")]
    built = subprocess.run([*command, str(tmp_path / "long.cu")], capture_output=True, text=True, check=True)
    (registers,) = re.findall(r"Used (\d+) registers", built.stderr)
    columns, rows = kernels.row_threads(1_000_000)
    assert int(registers) * columns * rows <= 65_536


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_for_a_real_architecture_with_nvrtc(architecture: str) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy, through which NVRTC is called, is not installed")
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"NVRTC is not installed: {error}")
    nvrtc = cupy.cuda.nvrtc
    program = nvrtc.createProgram(_translation_unit(), "all.cu", (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture={architecture}", *kernels.OPTIONS))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program)[:4000])
    assert len(nvrtc.getCUBIN(program)) > 1000


def test_every_program_of_the_library_is_among_the_cases() -> None:
    assert not UNKNOWN, f"add their static arguments to LIBRARY_ARGUMENTS: {', '.join(UNKNOWN)}"


def test_a_program_that_shares_a_name_with_a_helper_compiles_under_another() -> None:
    @elementwise
    def add(x, y):
        return x + y

    assert kernels.elementwise_source(add.program(), ("float32", "float32"), (0,)).name == "program_add"


def test_arguments_that_no_output_needs_are_not_read() -> None:
    program = momentum.program(rate=0.1, momentum=0.9)
    source = kernels.elementwise_source(program, ("float32",) * 3, (1,))
    assert source.arguments == (1, 2)
    assert "x0" not in source.operation


def test_constants_are_rounded_to_the_type_they_meet() -> None:
    @elementwise
    def shifted(x):
        return x * 0.1 - float("inf")

    single = kernels.elementwise_source(shifted.program(), ("float32",), (0,)).operation
    assert f"{float(np.float32(0.1))!r}f" in single
    assert "nn_infinity<float>()" in single
    assert "0.1;" in kernels.elementwise_source(shifted.program(), ("float64",), (0,)).operation


@pytest.mark.parametrize(
    ("function", "dtypes", "complaint"),
    [
        (lambda x: namespace(x).exp(x), ("int32",), "exp is not defined on int32"),
        (lambda x: x / 2, ("int64",), "divide is not defined on int64"),
        (lambda x, y: x & y, ("int64", "int64"), "logical_and is not defined on int64"),
        (lambda x, y: x < y, ("bool", "bool"), "less is not defined on bool"),
    ],
)
def test_an_operation_without_meaning_on_a_dtype_is_refused(
    function: Callable[..., Any], dtypes: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(TypeError, match=complaint):
        kernels.elementwise_source(elementwise(function).program(), dtypes, (0,))


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_a_sum_of_small_integers_is_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match="sum is not defined"):
        kernels.rowwise_source(whole_numbers.program(), (dtype,), (FULL,), (0, 1))


@pytest.mark.parametrize(
    ("shape", "width", "kind"),
    [
        ((4, 3), 3, "full"),
        ((2, 4, 3), 3, "full"),
        ((4, 1), 3, "row"),
        ((4, 1), 1, "row"),
        ((3,), 3, "column"),
        ((1, 3), 3, "column"),
        ((), 3, "scalar"),
        ((1, 1), 3, "scalar"),
        ((1,), 1, "scalar"),
    ],
)
def test_arguments_are_classified_by_how_they_vary(shape: tuple[int, ...], width: int, kind: str) -> None:
    assert kernels.classify(shape, width) == kind


def test_outputs_have_the_shapes_of_what_they_are_made_of() -> None:
    @elementwise
    def several(x, y, z):
        return x + y, z * 2.0, x - z

    groups = kernels.output_groups(several.program(), [(3, 1), (4,), ()])
    assert groups == [((3, 4), (0,)), ((), (1,)), ((3, 1), (2,))]


def test_shapes_that_do_not_broadcast_are_named() -> None:
    assert kernels.broadcast([(3, 1), (), (4,)]) == (3, 4)
    assert kernels.broadcast([(0,), (1,)]) == (0,)
    with pytest.raises(ValueError, match=r"\(3,\), \(4,\) do not broadcast"):
        kernels.broadcast([(3,), (4,)])


@pytest.mark.parametrize("width", [1, 2, 10, 32, 33, 129, 1024, 50_257])
def test_a_row_is_shared_by_a_power_of_two_of_threads(width: int) -> None:
    columns, rows = kernels.row_threads(width)
    assert columns & (columns - 1) == 0
    assert 1 <= columns * rows <= 1024
    assert columns * rows >= 128 or columns >= 32
