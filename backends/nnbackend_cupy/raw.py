"""Kernels from the CUDA sources of `nnbackend_cupy.programs`: compiled at first use, launched without waiting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cupy
import numpy as np

from nnbackend_cupy import kernels, programs

__all__ = ["launch", "rounded", "sweep"]

_compiled: dict[tuple[Any, ...], Any] = {}


def launch(
    topic: str,
    name: str,
    dtype: str,
    constants: Mapping[str, int],
    blocks: int,
    threads: int,
    *arguments: Any,
) -> None:
    """Launch one kernel of a topic; whole numbers among the arguments are passed in 64 bits."""
    key = (topic, name, dtype, tuple(constants.items()))
    if key not in _compiled:
        code = programs.source(topic, dtype, constants)
        _compiled[key] = cupy.RawKernel(code, name, options=kernels.OPTIONS)
    passed = tuple(np.int64(each) if isinstance(each, int) else each for each in arguments)
    _compiled[key]((blocks,), (threads,), passed)


def sweep(
    topic: str, name: str, dtype: str, constants: Mapping[str, int], size: int, *arguments: Any
) -> None:
    """Launch one kernel with a thread for each of `size` elements."""
    blocks = math.ceil(size / programs.THREADS)
    launch(topic, name, dtype, constants, blocks, programs.THREADS, *arguments)


def rounded(sums: Any, dtype: Any) -> Any:
    """Return what atomics have added up, in the dtype of the array."""
    if sums.dtype == dtype:
        return sums
    found = cupy.empty(sums.shape, dtype)
    sweep("rounding", "nn_round", dtype.name, {}, sums.size, sums, found, sums.size)
    return found
