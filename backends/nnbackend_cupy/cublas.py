"""Matrix products by cuBLASLt, called through its C interface.

CuPy's own product cannot be captured in a CUDA graph, copies the operands of stacks of matrices, and knows neither
their 16-bit dtypes nor TF32. This handle is thin: a `Product` says in words of row-major matrices what is multiplied,
a plan is made of it once, and `CublasLt.multiply` launches the plan. Launching waits for nothing and allocates nothing.

Nothing here imports CuPy or needs a GPU: memory is known by its addresses, and the library is an argument.

The library counts rows first, so a row-major matrix is its transposed one to it. Hence the operands change places,
:math:`C^T = B^T A^T`, and a bias that is added to every row of C belongs to the rows of what the library computes.

A bias is added on the way. Its gradient can be summed on the way, too: the product x^T dy that gives the gradient of
the weights reads dy anyway, and sums its columns beside (``BGRADA``, A being the library's first factor, which is our
second). That saves a launch and a pass over dy; the order of the sum is the library's. What it saves in time was not
measured, so that it is done only where it is asked for.

The library's activations are not used. ``RELU_BIAS`` would save a launch and two passes over y, but ``max(x, 0)`` is
all that the header says of it, so that NaN may become 0; ours keeps it. ``DRELU`` reads a mask of bits that only
``RELU_AUX_BIAS`` writes, and its product belongs to the layer above, whose rule knows nothing of the activation below.
``GELU`` is the approximation by tanh.

Every call gives the same bits on the same GPU: an algorithm is chosen once for a product, and among those that split
a sum only such are let in as add their parts up in a workspace, in the type they are computed in.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any, NamedTuple

from nnbackend.precision import MatmulPrecision

__all__ = ["DTYPES", "CublasLt", "Matrix", "Product", "load"]

#: dtype -> cudaDataType_t
DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}

#: Bytes of workspace: what NVIDIA recommends for Hopper, and more than enough elsewhere.
WORKSPACE = 32 << 20
#: Algorithms that are asked for at a time; the library lists the fastest first.
_CANDIDATES = 8
#: Addresses are at best said to be multiples of this: no kernel loads more at a time, and with what is said of two
#: addresses the algorithm may differ, so that bits would depend on where an array happened to be allocated.
ALIGNMENT = 16

# From cublas_api.h and cublasLt.h; a test compares them where the headers are installed.
CUBLAS_STATUS_SUCCESS = 0
CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_COMPUTE_32F = 68
CUBLAS_COMPUTE_64F = 70
CUBLAS_COMPUTE_32F_FAST_16BF = 75
CUBLAS_COMPUTE_32F_FAST_TF32 = 77
CUBLASLT_MATMUL_DESC_TRANSA = 3
CUBLASLT_MATMUL_DESC_TRANSB = 4
CUBLASLT_MATMUL_DESC_EPILOGUE = 7
CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8
CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT = 5
CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6
CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1
CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2
CUBLASLT_EPILOGUE_BIAS = 4
CUBLASLT_EPILOGUE_BGRADA = 256

#: What float32 may be multiplied in, the best first: the next one where the GPU has no such product.
_FLOAT32: dict[MatmulPrecision, tuple[int, ...]] = {
    "highest": (CUBLAS_COMPUTE_32F,),
    "high": (CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F),
    "medium": (CUBLAS_COMPUTE_32F_FAST_16BF, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F),
}


class Matrix(NamedTuple):
    """How a row-major matrix, or a stack of them, lies in memory.

    Attributes
    ----------
    leading : int
        Elements from one row to the next; of a transposed one, from one column to the next.
    apart : int
        Elements from one matrix of the stack to the next; 0 where all are the same.
    transposed : bool
        Whether columns lie in one piece instead of rows.
    alignment : int
        What the address is a multiple of, in bytes; a power of two.
    """

    leading: int
    apart: int = 0
    transposed: bool = False
    alignment: int = ALIGNMENT


class Product(NamedTuple):
    """One product of two matrices, (rows, summed) and (summed, columns), or a stack of such.

    Attributes
    ----------
    rows, columns, summed : int
        The lengths, all above 0.
    batch : int
        How many there are in the stack.
    first, second, out : Matrix
        Where the factors lie, and where the product goes; the product is not transposed.
    dtype : str
        The dtype of all three.
    precision : {"highest", "high", "medium"}
        How float32 is multiplied.
    bias : bool
        Whether a row of numbers is added to every row of the product; it is aligned like `out`, at least.
    sums : bool
        Whether the columns of the second factor are summed as well, into a row that is aligned like `out`, at least.
        Not both.
    """

    rows: int
    columns: int
    summed: int
    batch: int
    first: Matrix
    second: Matrix
    out: Matrix
    dtype: str
    precision: MatmulPrecision = "highest"
    bias: bool = False
    sums: bool = False


class Algorithm(ctypes.Structure):
    """``cublasLtMatmulAlgo_t``: opaque."""

    _fields_ = (("data", c_uint64 * 8),)


class HeuristicResult(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``: an algorithm, and what it needs."""

    _fields_ = (
        ("algo", Algorithm),
        ("workspace_size", c_size_t),
        ("state", c_int),
        ("waves_count", c_float),
        ("reserved", c_int * 4),
    )


@dataclass(frozen=True)
class Plan:
    """A product made ready: descriptors of the library, an algorithm, and the two factors that it scales by."""

    product: Product
    operation: c_void_p
    first: c_void_p
    second: c_void_p
    out: c_void_p
    algorithm: Algorithm
    one: Any
    zero: Any
    lock: threading.Lock  # the bias's address is part of the operation


#: function -> types of its arguments; all return a status
_SIGNATURES: dict[str, list[Any]] = {
    "cublasLtCreate": [c_void_p],
    "cublasLtMatmulDescCreate": [c_void_p, c_int, c_int],
    "cublasLtMatmulDescDestroy": [c_void_p],
    "cublasLtMatmulDescSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatrixLayoutCreate": [c_void_p, c_int, c_uint64, c_uint64, c_int64],
    "cublasLtMatrixLayoutDestroy": [c_void_p],
    "cublasLtMatrixLayoutSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatmulPreferenceCreate": [c_void_p],
    "cublasLtMatmulPreferenceDestroy": [c_void_p],
    "cublasLtMatmulPreferenceSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatmulAlgoGetHeuristic": [c_void_p] * 7 + [c_int, c_void_p, c_void_p],
    "cublasLtMatmul": [c_void_p] * 14 + [c_size_t, c_void_p],
}


def load() -> Any:
    """Load the library that CuPy itself would, from NVIDIA's wheels, a conda environment or a toolkit.

    Returns
    -------
    ctypes.CDLL
        With the types of the functions that are used here.

    Raises
    ------
    ImportError
        If there is none; with the line that brings it.
    """
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    try:
        found = load_nvidia_dynamic_lib("cublasLt")
    except (DynamicLibNotFoundError, RuntimeError, OSError) as error:
        raise ImportError(
            f"cuBLASLt, which multiplies matrices, was not found: {str(error).strip().partition(chr(10))[0]} "
            'Cure: pip install "nnbackend[cuda13]", or [cuda12] for an older driver.'
        ) from error
    assert found.abs_path is not None
    library = ctypes.CDLL(found.abs_path)
    for name, types in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, c_int
    library.cublasLtGetStatusString.argtypes = [c_int]
    library.cublasLtGetStatusString.restype = ctypes.c_char_p
    return library


class CublasLt:
    """The library's handle for one device, with its plans and its workspaces.

    Parameters
    ----------
    library : ctypes.CDLL
        As `load` gives it.
    allocate : callable
        Returns memory of so many bytes on this device, an object with its address at ``ptr``. It is called once for
        each stream, since work on two streams may overlap, and what it gives is kept.
    """

    def __init__(self, library: Any, allocate: Callable[[int], Any]) -> None:
        self._library, self._allocate = library, allocate
        self._plans: dict[Product, Plan | None] = {}
        self._workspaces: dict[int, Any] = {}
        self._handle = c_void_p()
        self._call("cublasLtCreate", byref(self._handle))

    def reserve(self, stream: int) -> int:
        """Return the address of a stream's workspace, which is allocated at first use."""
        if stream not in self._workspaces:
            self._workspaces[stream] = self._allocate(WORKSPACE)
        address: int = self._workspaces[stream].ptr
        return address

    def plan(self, product: Product) -> Plan | None:
        """Return a plan for a product, or None where the library has no algorithm that does all of it at once."""
        if product not in self._plans:
            self._plans[product] = self._planned(product)
        return self._plans[product]

    def multiply(self, plan: Plan, first: int, second: int, out: int, *, stream: int, bias: int = 0) -> None:
        """Launch a product of the matrices at these addresses; `bias` is that of the bias, or of the sums."""
        workspace = self.reserve(stream)
        with plan.lock:
            if plan.product.bias or plan.product.sums:
                self._set(plan.operation, "MatmulDesc", CUBLASLT_MATMUL_DESC_BIAS_POINTER, c_void_p(bias))
            status = self._library.cublasLtMatmul(
                self._handle, plan.operation,
                byref(plan.one), second, plan.second, first, plan.first,
                byref(plan.zero), out, plan.out, out, plan.out,
                byref(plan.algorithm), workspace, WORKSPACE, stream,
            )  # fmt: skip
        if status != CUBLAS_STATUS_SUCCESS:
            raise self._failure("cublasLtMatmul", status, plan.product)

    def _planned(self, product: Product) -> Plan | None:
        kinds = {"float32": _FLOAT32[product.precision], "float64": (CUBLAS_COMPUTE_64F,)}
        for compute in kinds.get(product.dtype, (CUBLAS_COMPUTE_32F,)):
            plan = self._attempted(product, compute)
            if plan is not None:
                return plan
        return None

    def _attempted(self, product: Product, compute: int) -> Plan | None:
        double = product.dtype == "float64"
        operation = c_void_p()
        scale = DTYPES["float64" if double else "float32"]
        self._call("cublasLtMatmulDescCreate", byref(operation), compute, scale)
        for attribute, matrix in (
            (CUBLASLT_MATMUL_DESC_TRANSA, product.second),
            (CUBLASLT_MATMUL_DESC_TRANSB, product.first),
        ):
            way = c_int32(CUBLAS_OP_T if matrix.transposed else CUBLAS_OP_N)
            self._set(operation, "MatmulDesc", attribute, way)
        if product.bias or product.sums:
            epilogue = c_uint32(CUBLASLT_EPILOGUE_BIAS if product.bias else CUBLASLT_EPILOGUE_BGRADA)
            self._set(operation, "MatmulDesc", CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)
            # which one it is changes; an algorithm is chosen by what this address is a multiple of
            aligned = c_void_p(product.out.alignment)
            self._set(operation, "MatmulDesc", CUBLASLT_MATMUL_DESC_BIAS_POINTER, aligned)
        layouts = [
            self._layout(product, matrix, rows, columns)
            for matrix, rows, columns in (
                (product.second, product.columns, product.summed),
                (product.first, product.summed, product.rows),
                (product.out, product.columns, product.rows),
            )
        ]
        algorithm = self._algorithm(product, operation, *layouts)
        if algorithm is None:
            for layout in layouts:
                self._call("cublasLtMatrixLayoutDestroy", layout)
            self._call("cublasLtMatmulDescDestroy", operation)
            return None
        second, first, out = layouts
        number = c_double if double else c_float
        return Plan(
            product, operation, first, second, out, algorithm, number(1.0), number(0.0), threading.Lock()
        )

    def _layout(self, product: Product, matrix: Matrix, rows: int, columns: int) -> c_void_p:
        """Describe a matrix that comes out as (rows, columns), counted column by column."""
        layout = c_void_p()
        lengths = (columns, rows) if matrix.transposed else (rows, columns)
        self._call(
            "cublasLtMatrixLayoutCreate", byref(layout), DTYPES[product.dtype], *lengths, matrix.leading
        )
        if product.batch > 1:
            count, apart = c_int32(product.batch), c_int64(matrix.apart)
            self._set(layout, "MatrixLayout", CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count)
            self._set(layout, "MatrixLayout", CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, apart)
        return layout

    def _algorithm(
        self, product: Product, operation: c_void_p, second: c_void_p, first: c_void_p, out: c_void_p
    ) -> Algorithm | None:
        """Ask for the fastest algorithm that is deterministic and content with the workspace."""
        wishes = c_void_p()
        self._call("cublasLtMatmulPreferenceCreate", byref(wishes))
        for attribute, value in (
            (CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, c_uint64(WORKSPACE)),
            (CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, c_uint32(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, c_uint32(product.second.alignment)),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, c_uint32(product.first.alignment)),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c_uint32(product.out.alignment)),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c_uint32(product.out.alignment)),
        ):
            self._set(wishes, "MatmulPreference", attribute, value)
        found = (HeuristicResult * _CANDIDATES)()
        count = c_int()
        status = self._library.cublasLtMatmulAlgoGetHeuristic(
            self._handle, operation, second, first, out, out, wishes, _CANDIDATES, found, byref(count)
        )
        self._call("cublasLtMatmulPreferenceDestroy", wishes)
        if status != CUBLAS_STATUS_SUCCESS:  # mostly "not supported"
            return None
        for result in found[: count.value]:
            if result.state == CUBLAS_STATUS_SUCCESS and result.workspace_size <= WORKSPACE:
                return Algorithm.from_buffer_copy(result.algo)
        return None

    def _set(self, target: c_void_p, kind: str, attribute: int, value: Any) -> None:
        self._call(f"cublasLt{kind}SetAttribute", target, attribute, byref(value), ctypes.sizeof(value))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != CUBLAS_STATUS_SUCCESS:
            raise self._failure(name, status)

    def _failure(self, name: str, status: int, product: Product | None = None) -> RuntimeError:
        words = self._library.cublasLtGetStatusString(status)
        where = "" if product is None else f" for {product}"
        return RuntimeError(f"{name} failed{where}: {words.decode()} (status {status}).")
