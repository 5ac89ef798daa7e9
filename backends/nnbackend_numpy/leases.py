"""Memory that is lent, and the same again once it came back: fresh pages cost more than what is computed in them."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from nnbackend_numpy.workspaces import PAGE, STAGGER, aligned

__all__ = ["Lease", "Lender", "fresh", "lender"]

#: Bytes of memory that waits to be lent again; what comes back beyond them goes back to the system.
WAITING = 1 << 26
#: Bytes from which results are lent and aligned, when a page more and 8 us are little.
LARGE = 1 << 18


class Lender:
    """Lends memory for what native rules keep from the way there to the way back, and for their results.

    It has no lock: memory comes back wherever the garbage collector comes by, an interruption there would leave it
    locked for ever, and so would a fork. Each operation on the dictionary is one that threads do one after the other.
    """

    def __init__(self) -> None:
        self._free: dict[int, np.ndarray[Any, Any]] = {}

    def lend(self, shape: tuple[int, ...], dtype: Any) -> Lease:
        """Return memory for an array, which is given back when the lease is collected."""
        return Lease(self, self._taken(math.prod(shape) * np.dtype(dtype).itemsize), shape, dtype)

    def lend_array(self, shape: tuple[int, ...], dtype: Any, number: int = 0) -> np.ndarray[Any, Any]:
        """Return an array whose memory is given back when nothing refers to it, nor to a view of it.

        It begins at the `number`-th of the places within a page that lie apart (`workspaces.aligned`).
        """
        dtype, start = np.dtype(dtype), number * STAGGER % PAGE
        memory = self._taken(math.prod(shape) * dtype.itemsize + PAGE)
        array = np.frombuffer(memory.data, dtype, math.prod(shape), start)  # which views have as their base
        weakref.finalize(array, self.take_back, memory).atexit = False
        return array.reshape(shape)

    def take_back(self, memory: np.ndarray[Any, Any]) -> None:
        """Keep memory that nobody uses any more, in the place of what has waited longest."""
        self._free[id(memory)] = memory
        waiting = list(self._free.values())
        beyond = sum(piece.size for piece in waiting) - WAITING
        for piece in waiting:
            if beyond <= 0:
                break
            self._free.pop(id(piece), None)
            beyond -= piece.size

    def _taken(self, needed: int) -> np.ndarray[Any, Any]:
        """Return memory that is long enough: of what waits, the shortest piece, if that is not much too long."""
        fitting = [piece for piece in list(self._free.values()) if needed <= piece.size <= 2 * needed]
        for piece in sorted(fitting, key=len):
            if self._free.pop(id(piece), None) is not None:  # nobody else has taken it meanwhile
                return piece
        return aligned(needed)


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


#: Lends what all rules keep and return.
lender = Lender()


def fresh(shape: tuple[int, ...], dtype: Any, number: int = 0) -> np.ndarray[Any, Any]:
    """Return memory of whatever it holds for a result; where that is large, aligned memory that is lent.

    NumPy's own large arrays begin 16 bytes behind a line of the cache, so that each of the widest writes goes to two.
    The allocator of the system gives what becomes free back to it again and again, and zeroed pages come instead.
    """
    dtype = np.dtype(dtype)
    if math.prod(shape) * dtype.itemsize < LARGE:
        return np.empty(shape, dtype)
    return lender.lend_array(shape, dtype, number)
