"""The CUDA sources under ``cuda/``, made ready to compile: for a dtype, and for the lengths of a layer.

Nothing here imports CuPy or needs a GPU. Lengths are constants of a source, so that what divides by them costs little;
that of the batch never is, since the last one is smaller. All kernels of a file are compiled together, so that a file
holds what is used together.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from nnbackend.elementwise import HALVES
from nnbackend_cupy.kernels import C_TYPES, PREAMBLE

__all__ = ["ATOMIC", "DTYPES", "THREADS", "axes", "source"]

#: What long sums are taken in, and whole numbers computed in; 16-bit floating numbers in what they are computed in.
_LONG = {"float32": "double", "float64": "double", "int32": "long long", "int64": "long long"}
#: dtype -> the C type in memory, the one it is computed in, the one that long sums are taken in
DTYPES = {
    dtype: (
        C_TYPES[dtype].stored,
        _LONG[dtype] if "int" in dtype else C_TYPES[dtype].computed,
        _LONG.get(dtype, C_TYPES[dtype].computed),
    )
    for dtype in (*HALVES, *_LONG)
}

#: dtype -> the dtype in which atomics add it up, where that is another
ATOMIC = {"float16": "float32", "bfloat16": "float32"}

#: Sums by atomics. There is no instruction for signed integers of 64 bits; those for unsigned ones have the same bits.
_ATOMICS = """
template <typename T> __device__ __forceinline__ void nn_add_atomic(T* sum, T value) { atomicAdd(sum, value); }
template <> __device__ __forceinline__ void nn_add_atomic<long long>(long long* sum, long long value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(sum), (unsigned long long)value);
}
"""

#: Threads of a block of these kernels, one for each element.
THREADS = 256


@functools.cache
def _text(name: str) -> str:
    """Return a file, with those that it includes in their places."""
    text = files(__package__).joinpath("cuda", name).read_text("utf-8")
    return re.sub(r'#include "(\w+\.cuh)"\n', lambda found: _text(found[1]), text)


def source(topic: str, dtype: str, constants: Mapping[str, int]) -> str:
    """Return the source of a topic's kernels.

    Parameters
    ----------
    topic : str
        The file's name, without its ending.
    dtype : str
        One of `DTYPES`.
    constants : mapping of str to int
        What the file says it wants to be told.
    """
    stored, value, total = DTYPES[dtype]
    half = dtype in HALVES
    lines = [
        f"typedef {stored} Stored;",
        f"typedef {value} Value;",
        f"typedef {total} Sum;",
        f"typedef {DTYPES[ATOMIC.get(dtype, dtype)][0]} Total;",
        f"#define LOAD(x) {f'nn_load_{dtype}(x)' if half else '((Value)(x))'}",
        f"#define STORE(x) {f'nn_store_{dtype}(x)' if half else '((Stored)(x))'}",
        *(f"#define {name} {number}" for name, number in constants.items()),
    ]
    return PREAMBLE + _ATOMICS + "\n".join(lines) + "\n" + _text(f"{topic}.cu")


def axes(name: str, lengths: Sequence[int], missing: int = 1) -> dict[str, int]:
    """Name the lengths of up to three axes of space; those that are missing come first."""
    whole = [missing] * (3 - len(lengths)) + list(lengths)
    return {f"{name}_{axis}": length for axis, length in enumerate(whole)}
