"""Plans of cuDNN for the current device, launched on the current stream."""

from __future__ import annotations

import functools
from typing import Any

import cupy

from nnbackend_cupy import cudnn
from nnbackend_cupy.cudnn import Cudnn, Plan, Work
from nnbackend_cupy.matmul import place

__all__ = ["handle", "launch", "plan"]


@functools.cache
def handle(device: int) -> Cudnn:
    """Return the handle for a device, which is the current one."""
    return Cudnn(cudnn.load())


def plan(*ways: Work) -> Plan | None:
    """Return a plan for the first of several ways to do the same work that has one on the current device."""
    device, _ = place()
    return handle(device).plan(*ways)


def launch(ready: Plan, *arrays: Any) -> None:
    """Launch a plan on the current stream for arrays in its order, with a workspace from CuPy's allocator."""
    device, stream = place()
    # the pool gives the workspace to nobody but this stream until the work is done
    memory = cupy.empty(ready.workspace, cupy.uint8) if ready.workspace else None
    handle(device).run(
        ready,
        *(array.data.ptr for array in arrays),
        workspace=None if memory is None else memory.data.ptr,
        stream=stream,
    )
