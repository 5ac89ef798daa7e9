"""The CUDA sources under ``cuda/``, made ready to compile: for a dtype, and for the lengths of a layer.

Nothing here imports CuPy or needs a GPU. Lengths are constants of a source, so that what divides by them costs little;
that of the batch never is, since the last one is smaller.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files

from nnbackend.elementwise import HALVES
from nnbackend_cupy.kernels import C_TYPES, PREAMBLE

__all__ = ["DTYPES", "THREADS", "axes", "source"]

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

#: Threads of a block of these kernels, one for each element.
THREADS = 256


@functools.cache
def _text(topic: str) -> str:
    return files(__package__).joinpath("cuda", f"{topic}.cu").read_text("utf-8")


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
        f"#define LOAD(x) {f'nn_load_{dtype}(x)' if half else '((Value)(x))'}",
        f"#define STORE(x) {f'nn_store_{dtype}(x)' if half else '((Stored)(x))'}",
        *(f"#define {name} {number}" for name, number in constants.items()),
    ]
    return PREAMBLE + "\n".join(lines) + "\n" + _text(topic)


def axes(name: str, lengths: Sequence[int], missing: int = 1) -> dict[str, int]:
    """Name the lengths of up to three axes of space; those that are missing come first."""
    whole = [missing] * (3 - len(lengths)) + list(lengths)
    return {f"{name}_{axis}": length for axis, length in enumerate(whole)}
