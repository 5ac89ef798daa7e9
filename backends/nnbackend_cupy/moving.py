"""Many small copies on the device by one kernel, where a copy for each would be a node of a CUDA graph for each.

A graph of a small network's step is bound by its nodes: one that joins twelve gradients, or writes nine numbers of the
new state over the old ones, takes longer to begin than to do. What is copied, from where and to where are arguments of
the kernel, so that no table of addresses is brought from the host.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import cupy
import numpy as np

from nnbackend_cupy.kernels import MOVE_PIECES, MOVE_SOURCES, MOVE_THREADS, OPTIONS, move_name

__all__ = ["FEW", "move", "prepare"]

#: Bytes up to which a piece goes with others; a larger one is worth a copy of its own.
FEW = 1 << 20
#: Words that a thread copies at most before there is another block.
_WORDS = 4


@functools.cache
def _kernel(device: int, unit: int) -> Any:
    return cupy.RawKernel(MOVE_SOURCES[unit], move_name(unit), options=OPTIONS)


def prepare() -> None:
    """Load the kernels onto the current device: before a stream is captured, which may not load code."""
    _load(cupy.cuda.runtime.getDevice())


@functools.cache
def _load(device: int) -> None:
    """Launch each kernel once, to copy nothing."""
    nothing = [np.uint64(0), np.uint64(0), np.int64(0)] * MOVE_PIECES
    for unit in MOVE_SOURCES:
        _kernel(device, unit)((1,), (1,), (*nothing, np.int64(1)))


def move(pieces: Iterable[tuple[int, int, int]]) -> None:
    """Copy pieces of memory of the current device, which do not overlap, on the current stream.

    Parameters
    ----------
    pieces : iterable of (int, int, int)
        Of each the address it goes to, the one it comes from, and its bytes.
    """
    waiting = iter([piece for piece in pieces if piece[2]])
    while some := list(itertools.islice(waiting, MOVE_PIECES)):
        _launch(some)


def _launch(pieces: Sequence[tuple[int, int, int]]) -> None:
    together = functools.reduce(math.gcd, itertools.chain.from_iterable(pieces))
    unit = math.gcd(together, max(MOVE_SOURCES))
    words = max(count for _, _, count in pieces) // unit
    blocks = math.ceil(words / (MOVE_THREADS * _WORDS))
    numbers: list[Any] = []
    for target, source, count in pieces:
        numbers += [np.uint64(target), np.uint64(source), np.int64(count // unit)]
    numbers += [np.uint64(0), np.uint64(0), np.int64(0)] * (MOVE_PIECES - len(pieces))
    kernel = _kernel(cupy.cuda.runtime.getDevice(), unit)
    kernel((len(pieces) * blocks,), (MOVE_THREADS,), (*numbers, np.int64(blocks)))
