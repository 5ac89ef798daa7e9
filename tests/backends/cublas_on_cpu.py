"""cuBLASLt's C functions, carried out to the letter on the CPU: what is described is what is read and written."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np

from nnbackend_cupy.cublas import HeuristicResult

#: cudaDataType_t -> (what lies in memory, what it is computed in)
_DTYPES = {
    0: (np.float32, np.float64),
    1: (np.float64, np.float64),
    2: (np.float16, np.float64),
    14: (np.uint16, np.float64),  # bfloat16, as bits
}
_NOT_SUPPORTED, _INVALID = 15, 7

#: attribute -> (its meaning, the bytes it takes), as the header says
_OPERATION = {3: ("transa", 4), 4: ("transb", 4), 7: ("epilogue", 4), 8: ("bias", 8)}
_LAYOUT = {5: ("batch", 4), 6: ("apart", 8)}
_WISHES = {1: ("workspace", 8), 3: ("reduction", 4), 5: ("A", 4), 6: ("B", 4), 7: ("C", 4), 8: ("D", 4)}


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class CublasLtOnCpu:
    """The library. What a real one might refuse can be put into `refused`: epilogues and compute types."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.asked: list[dict[str, Any]] = []
        self.launched: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._made: dict[int, dict[str, Any]] = {}
        self._algorithms: dict[int, dict[str, Any]] = {}

    def _make(self, reference: Any, **what: Any) -> int:
        number = next(self._numbers)
        self._made[number] = what
        reference._obj.value = number
        return 0

    def _set(
        self, known: dict[int, tuple[str, int]], made: Any, attribute: int, reference: Any, size: int
    ) -> int:
        name, expected = known[attribute]
        assert size == expected == ctypes.sizeof(reference._obj), name
        self._made[made.value][name] = reference._obj.value
        return 0

    def cublasLtCreate(self, handle: Any) -> int:
        return self._make(handle, kind="handle")

    def cublasLtGetStatusString(self, status: int) -> bytes:
        return f"status {status}".encode()

    def cublasLtMatmulDescCreate(self, operation: Any, compute: int, scale: int) -> int:
        return self._make(operation, compute=compute, scale=scale, transa=0, transb=0, epilogue=1, bias=0)

    def cublasLtMatmulDescSetAttribute(self, *arguments: Any) -> int:
        return self._set(_OPERATION, *arguments)

    def cublasLtMatrixLayoutCreate(
        self, layout: Any, dtype: int, rows: int, columns: int, leading: int
    ) -> int:
        if leading < rows or min(rows, columns) < 1:
            return _INVALID
        return self._make(layout, dtype=dtype, rows=rows, columns=columns, leading=leading, batch=1, apart=0)

    def cublasLtMatrixLayoutSetAttribute(self, *arguments: Any) -> int:
        return self._set(_LAYOUT, *arguments)

    def cublasLtMatmulPreferenceCreate(self, wishes: Any) -> int:
        return self._make(wishes, workspace=0, reduction=7, A=256, B=256, C=256, D=256)

    def cublasLtMatmulPreferenceSetAttribute(self, *arguments: Any) -> int:
        return self._set(_WISHES, *arguments)

    def _destroy(self, made: Any) -> int:
        del self._made[made.value]
        return 0

    def cublasLtMatmulPreferenceDestroy(self, wishes: Any) -> int:
        return self._destroy(wishes)

    def cublasLtMatmulDescDestroy(self, operation: Any) -> int:
        return self._destroy(operation)

    def cublasLtMatrixLayoutDestroy(self, layout: Any) -> int:
        return self._destroy(layout)

    def cublasLtMatmulAlgoGetHeuristic(
        self, handle: Any, operation: Any, a: Any, b: Any, c: Any, d: Any, wishes: Any, asked: int,
        results: Any, found: Any,
    ) -> int:  # fmt: skip
        assert self._made[handle.value] == {"kind": "handle"}
        wanted, question = self._made[operation.value], dict(self._made[wishes.value])
        self.asked.append(wanted | question)
        if {wanted["epilogue"], wanted["compute"]} & self.refused:
            return _NOT_SUPPORTED
        a, b, c, d = (self._made[layout.value] for layout in (a, b, c, d))
        rows, summed = (a["columns"], a["rows"]) if wanted["transa"] else (a["rows"], a["columns"])
        again, columns = (b["columns"], b["rows"]) if wanted["transb"] else (b["rows"], b["columns"])
        if not (summed == again and c == d and (d["rows"], d["columns"]) == (rows, columns)):
            return _INVALID
        if len({each["batch"] for each in (a, b, d)}) > 1 or len({each["dtype"] for each in (a, b, d)}) > 1:
            return _INVALID
        if d["batch"] > 1 and d["apart"] == 0:
            return _INVALID  # all would be written to one place
        number = next(self._numbers)
        # what is aligned like this pointer will do, says the header
        self._algorithms[number] = question | {"bias": wanted["bias"] & -wanted["bias"]}
        assert isinstance(results[0], HeuristicResult)
        assert asked == len(results)
        results[0].state = _NOT_SUPPORTED  # a real one lists such, too
        results[1].state, results[1].workspace_size = 0, question["workspace"]
        results[1].algo.data[0] = number
        found._obj.value = 2
        return 0

    def cublasLtMatmul(
        self, handle: Any, operation: Any, alpha: Any, a: int, a_layout: Any, b: int, b_layout: Any, beta: Any,
        c: int, c_layout: Any, d: int, d_layout: Any, algorithm: Any, workspace: int, size: int, stream: int,
    ) -> int:  # fmt: skip
        wanted, wishes = self._made[operation.value], self._algorithms[algorithm._obj.data[0]]
        factor = ctypes.c_double if wanted["scale"] == 1 else ctypes.c_float
        assert isinstance(alpha._obj, factor)
        assert (alpha._obj.value, beta._obj.value) == (1.0, 0.0)
        assert workspace % 256 == 0
        assert wanted["epilogue"] in (1, 4, 256)
        assert size >= wishes["workspace"]
        for name, address in {"A": a, "B": b, "C": c, "D": d}.items():
            assert address % wishes[name] == 0, "less aligned than was said"
        layouts = [self._made[layout.value] for layout in (a_layout, b_layout, d_layout)]
        self.launched.append(wanted | {"batch": layouts[0]["batch"], "stream": stream})
        left, right, out = (_stack(at, of) for at, of in zip((a, b, d), layouts, strict=True))
        left, right = _values(left, layouts[0]), _values(right, layouts[1])
        left = left.swapaxes(1, 2) if wanted["transa"] else left
        right = right.swapaxes(1, 2) if wanted["transb"] else right
        product = left @ right
        if wanted["epilogue"] == 4:
            assert wanted["bias"] % wishes["bias"] == 0, "a bias less aligned than was said"
            one = {"dtype": layouts[2]["dtype"], "rows": out.shape[1], "columns": 1, "batch": 1, "apart": 0}
            bias = _values(_stack(wanted["bias"], one | {"leading": out.shape[1]}), one)
            product = product + bias
        if wanted["epilogue"] == 256:  # the sums of the first factor over what the product sums over
            assert wanted["bias"] % wishes["bias"] == 0, "sums less aligned than was said"
            one = {"dtype": layouts[2]["dtype"], "rows": out.shape[1], "columns": 1, "batch": 1, "apart": 0}
            sums = left.sum(axis=2)[0][:, None]
            place = _stack(wanted["bias"], one | {"leading": out.shape[1]})
            place[...] = to_bfloat16(sums) if layouts[2]["dtype"] == 14 else sums
        out[...] = to_bfloat16(product) if layouts[2]["dtype"] == 14 else product
        return 0


def _stack(address: int, layout: dict[str, Any]) -> np.ndarray:
    """View matrices (batch, rows, columns), counted column by column."""
    dtype = np.dtype(_DTYPES[layout["dtype"]][0])
    rows, columns, leading = layout["rows"], layout["columns"], layout["leading"]
    length = (layout["batch"] - 1) * layout["apart"] + (columns - 1) * leading + rows
    memory = np.frombuffer((ctypes.c_char * (length * dtype.itemsize)).from_address(address), dtype)
    steps = (layout["apart"], 1, leading)
    return np.lib.stride_tricks.as_strided(
        memory, (layout["batch"], rows, columns), tuple(step * dtype.itemsize for step in steps)
    )


def _values(stack: np.ndarray, layout: dict[str, Any]) -> np.ndarray:
    values = from_bfloat16(stack) if layout["dtype"] == 14 else stack
    return values.astype(_DTYPES[layout["dtype"]][1])
