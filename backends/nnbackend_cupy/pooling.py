"""Maxima and means of windows, one kernel each way.

The largest element's place in its window is kept, so that the way back is a gather: each element adds up, in one order,
what comes from the windows that chose it. Where windows overlap and the user asks for no order
(``deterministic=False``), each window adds what it gives to the one element that it chose, by atomics: an addition for
each window instead of a look at every window for each element. For means nothing is gained by that, since a window
gives to all of its elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cupy

import nnbackend.functional.pooling as generic
from nnbackend.typing import Backward
from nnbackend_cupy import programs
from nnbackend_cupy.options import in_force
from nnbackend_cupy.raw import rounded, sweep

__all__ = ["average_pool", "max_pool"]

#: Elements of a window whose places 16 bits can tell apart.
_MOST = 1 << 16


def max_pool(
    x: Any,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Any, Backward]:
    """Take the largest element of each window, and remember which it was."""
    plan = _planned("max_pool", x, pool_size, strides, padding)

    def rule() -> tuple[Any, Backward]:
        return generic.max_pool.function(x, pool_size=pool_size, strides=strides, padding=padding)

    if plan is None:
        return rule()
    constants, counts = plan
    dtype, channels = x.dtype.name, x.shape[-1]
    overlap = any(constants[f"WINDOW_{axis}"] > constants[f"STRIDE_{axis}"] for axis in range(3))
    y = cupy.empty((len(x), *counts, channels), x.dtype)
    chosen = cupy.empty(y.shape, cupy.uint16)
    given = cupy.ascontiguousarray(x)
    sweep("max_pooling", "nn_max_pool", dtype, constants, y.size, given, y, chosen, y.size, channels)

    def back(dy: Any) -> Any:
        if overlap and not in_force().deterministic:
            dx = cupy.zeros(x.shape, programs.ATOMIC.get(dtype, x.dtype))
            name = "nn_max_pool_gradient_atomic"
            sweep("max_pooling_atomic", name, dtype, constants, y.size, dy, chosen, dx, y.size, channels)
            return rounded(dx, x.dtype)
        dx = cupy.empty(x.shape, x.dtype)
        sweep(
            "max_pooling", "nn_max_pool_gradient", dtype, constants, x.size, dy, chosen, dx, x.size, channels
        )
        return dx

    return y, _backward(x, back, rule)


def average_pool(
    x: Any,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Any, Backward]:
    """Take the mean of each window."""
    plan = _planned("average_pool", x, pool_size, strides, padding)

    def rule() -> tuple[Any, Backward]:
        return generic.average_pool.function(x, pool_size=pool_size, strides=strides, padding=padding)

    if plan is None:
        return rule()
    constants, counts = plan
    dtype, channels = x.dtype.name, x.shape[-1]
    y = cupy.empty((len(x), *counts, channels), x.dtype)
    sweep(
        "average_pooling",
        "nn_average_pool",
        dtype,
        constants,
        y.size,
        cupy.ascontiguousarray(x),
        y,
        y.size,
        channels,
    )

    def back(dy: Any) -> Any:
        dx = cupy.empty(x.shape, x.dtype)
        sweep(
            "average_pooling", "nn_average_pool_gradient", dtype, constants, x.size, dy, dx, x.size, channels
        )
        return dx

    return y, _backward(x, back, rule)


def _planned(
    owner: str, x: Any, pool_size: Any, strides: Any, padding: str
) -> tuple[dict[str, int], tuple[int, ...]] | None:
    """Return what the kernels are told of the windows, and how many there are; None for what they do not do."""
    space = generic._space(owner, tuple(x.shape))
    windows = generic._sliding(owner, space, pool_size, strides, padding)
    counts = tuple(window.count for window in windows)
    few = math.prod(window.size for window in windows) <= _MOST
    floating = x.dtype.name in programs.DTYPES and x.dtype.kind != "i"
    if not (len(space) <= 3 and few and floating and x.size and math.prod(counts)):
        return None
    constants = {
        **programs.axes("SIZE", space),
        **programs.axes("COUNT", counts),
        **programs.axes("WINDOW", [window.size for window in windows]),
        **programs.axes("STRIDE", [window.stride for window in windows]),
        **programs.axes("BEFORE", [window.before for window in windows], missing=0),
    }
    return constants, counts


def _backward(x: Any, back: Callable[[Any], Any], rule: Callable[[], tuple[Any, Backward]]) -> Backward:
    """Return a way back by a kernel, and by the generic rule where gradients are tensors or of another dtype."""

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not isinstance(dy, cupy.ndarray) or dy.dtype != x.dtype:
            way_back: tuple[Any, ...] = rule()[1](dy, needs)
            return way_back
        return (back(cupy.ascontiguousarray(dy)),)

    return backward
