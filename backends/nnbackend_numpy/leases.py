"""Memory that native rules keep from the way there to the way back, and then lend again."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from nnbackend_numpy.workspaces import aligned

__all__ = ["Lease", "Lender", "lender"]

#: Bytes of memory that waits to be lent again; what comes back beyond them goes back to the system.
WAITING = 1 << 26


class Lender:
    """Lends memory, and the same again once it came back: fresh pages cost more than what is computed in them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[np.ndarray[Any, Any]] = []

    def lend(self, shape: tuple[int, ...], dtype: Any) -> Lease:
        """Return memory for an array, which is given back when the lease is collected."""
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            fitting = (n for n, piece in enumerate(self._free) if needed <= piece.size <= 2 * needed)
            number = next(fitting, None)
            memory = None if number is None else self._free.pop(number)
        return Lease(self, aligned(needed) if memory is None else memory, shape, dtype)

    def take_back(self, memory: np.ndarray[Any, Any]) -> None:
        """Keep memory that nobody uses any more, in the place of what has waited longest."""
        with self._lock:
            self._free.append(memory)
            while sum(piece.size for piece in self._free) > WAITING:
                self._free.pop(0)


class Lease:
    """An array in memory that is lent.

    Attributes
    ----------
    array : numpy.ndarray
        The array; neither it nor a view of it may outlive the lease.
    """

    __slots__ = ("_lender", "_memory", "array")

    def __init__(
        self, lender: Lender, memory: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: Any
    ) -> None:
        self._lender, self._memory = lender, memory
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        self.array = memory[:needed].view(dtype).reshape(shape)

    def __del__(self) -> None:
        self._lender.take_back(self._memory)


#: Lends what all rules keep.
lender = Lender()
