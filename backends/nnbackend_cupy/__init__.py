"""CuPy: NVIDIA GPUs.

Arrays live on CUDA's current device; to use another, set ``CUDA_VISIBLE_DEVICES``. Elementwise and rowwise programs
run as generated kernels (`nnbackend_cupy.kernels`), random words come from a kernel of the same bits as NumPy's.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from nnbackend.backend import Availability, Backend
from nnbackend.elementwise import Program
from nnbackend.typing import Array, Device, DType
from nnbackend_cupy import kernels
from nnbackend_cupy.availability import driver, install_line, probe

__all__ = ["CupyBackend"]


class CupyBackend(Backend):
    """Arrays of CuPy, on an NVIDIA GPU."""

    name: ClassVar[str] = "cupy"
    install: ClassVar[str] = 'pip install "nnbackend[cuda13]"'
    roots: ClassVar[frozenset[str]] = frozenset({"cupy"})
    dtypes: ClassVar[tuple[str, ...]] = ("float16", "bfloat16", "float32", "float64")

    def __init__(self) -> None:
        import array_api_compat.cupy as xp
        import cupy
        import numpy

        from nnbackend_cupy.launch import Evaluator

        self.xp = xp
        self._cupy = cupy
        self._numpy = numpy
        self._evaluator = Evaluator()
        self._philox = cupy.RawKernel(kernels.PHILOX_SOURCE, kernels.PHILOX_NAME, options=kernels.OPTIONS)

    @classmethod
    def probe(cls) -> Availability:
        found = probe()
        cls.install = install_line(driver())
        return found

    def owns(self, value: object) -> bool:
        return isinstance(value, self._cupy.ndarray)

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        kind = self.dtype(dtype) if dtype is not None else None
        host = self._numpy.asarray(array, dtype=kind, order="C")  # cast before it travels
        copied: Array = self._cupy.asarray(host)
        return copied

    def to_host(self, array: Any) -> Any:
        return self._cupy.asnumpy(array)

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        cupy, np = self._cupy, self._numpy
        words: Array = cupy.empty(count, dtype=cupy.uint32 if bits == 32 else cupy.uint64)
        halves = count * bits // 32
        if halves == 0:
            return words
        keys, steps = np.uint64(0), np.uint64(0)  # no pointers: the numbers come with the call
        key_0 = key_1 = number = np.uint64(0)
        if isinstance(key, cupy.ndarray):
            keys = cupy.ascontiguousarray(key)
        else:
            key_0, key_1 = (np.uint64(int(half) % 2**64) for half in key)
        if isinstance(step, cupy.ndarray):
            steps = step.astype(cupy.int64, copy=False)
        else:
            number = np.uint64(int(step) % 2**64)
        blocks = math.ceil(halves / 8 / kernels.PHILOX_THREADS)
        arguments = (
            words,
            np.int64(halves),
            keys,
            key_0,
            key_1,
            steps,
            number,
            np.uint64(stream),
            np.uint64(call),
        )
        self._philox((blocks,), (kernels.PHILOX_THREADS,), arguments)
        return words

    def dtype(self, name: str) -> DType:
        if name == "bfloat16":  # NumPy and CuPy know it by way of another package
            return self._numpy.dtype(_ml_dtypes().bfloat16)
        return super().dtype(name)

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        return self._evaluator.run(program, arguments, donate)

    def memory(self, array: Any) -> object:
        spread = any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape, strict=True))
        return None if spread else id(array.data.mem)

    def device(self, array: Any) -> Device:
        return array.device

    def synchronize(self) -> None:
        self._cupy.cuda.Device().synchronize()

    def memory_in_use(self) -> int:
        return int(self._cupy.get_default_memory_pool().used_bytes())


def _ml_dtypes() -> Any:
    """Return the package with NumPy's dtypes for bfloat16, which CuPy computes with."""
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        raise ImportError("bfloat16 on CuPy needs ml_dtypes. Cure: pip install ml_dtypes") from None
