"""Copies beside computing, by CuPy: what `nnbackend_cupy.transfers` needs of a GPU."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from nnbackend_cupy.transfers import Lease

__all__ = ["CudaLanes"]


class CudaLanes:
    """The current device, with a stream for copies; computing is what the current stream does."""

    def __init__(self) -> None:
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def reserve(self, size: int) -> tuple[Any, Any]:
        """Return pinned memory as an array of bytes, and memory of the device."""
        pinned = cupy.cuda.alloc_pinned_memory(size)
        return np.frombuffer(pinned, np.uint8, size), cupy.cuda.alloc(size)

    def mark(self) -> Any:
        """Return an event on the current stream."""
        return _recorded(cupy.cuda.get_current_stream())

    def send(self, source: Any, target: Any, size: int, after: Any) -> Any:
        """Copy on the other stream."""
        self._stream.wait_event(after)
        target.copy_from_host_async(source.ctypes.data, size, self._stream)
        return _recorded(self._stream)

    def join(self, event: Any) -> None:
        """Let the current stream wait."""
        cupy.cuda.get_current_stream().wait_event(event)

    def wait(self, event: Any) -> None:
        """Let the host wait."""
        event.synchronize()

    def array(self, target: Any, offset: int, shape: tuple[int, ...], dtype: Any, lease: Lease) -> Any:
        """Return an array that keeps the lease and the memory."""
        size = max(1, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        memory = cupy.cuda.UnownedMemory(target.ptr + offset, size, (lease, target), target.device_id)
        return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))


def _recorded(stream: Any) -> Any:
    event = cupy.cuda.Event(disable_timing=True)
    event.record(stream)
    return event
