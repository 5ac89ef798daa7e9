"""Convolution as one product of matrices: what all taps see is laid out as rows, by one kernel.

Rows are made for as many samples at a time as fit into `PIECE`; which these are depends on shapes alone. The transposed
convolution multiplies first and adds the taps up then, in their order. What is not done by that, groups of one channel
and more than three axes of space, is left to the generic rules. Where the user asks for cuDNN, it comes first.
"""

from __future__ import annotations

import math
from typing import Any

import cupy

import nnbackend.functional.convolution as generic
from nnbackend.functional.convolution import Geometry
from nnbackend.typing import Backward
from nnbackend_cupy import cudnn_convolution, programs
from nnbackend_cupy.matmul import multiplies, product
from nnbackend_cupy.raw import sweep

__all__ = ["conv", "conv_kernel_gradient", "conv_transpose"]

#: Bytes of rows that are made at a time.
PIECE = 512 << 20
#: Bytes that the length of a row is a multiple of.
_ALIGNED = 16


def conv(x: Any, kernel: Any, bias: Any = None, *, plan: Geometry) -> tuple[Any, Backward]:
    """Lay out what the taps see, and multiply; without groups the bias is added on the way."""
    y = cudnn_convolution.convolved(x, kernel, plan)
    if y is not None:
        return _biased(y, bias), generic.conv_backward(x, kernel, bias, plan)
    if not _fits(plan, kernel.shape[-2], x, kernel, bias):
        return generic._conv.function(x, kernel, bias, plan=plan)
    rows = _Rows(plan, kernel.shape[-2], x.dtype)
    y = cupy.empty((len(x), *plan.output, kernel.shape[-1]), x.dtype)
    given, weights = cupy.ascontiguousarray(x), rows.weights(kernel)
    fused = bias if plan.groups == 1 else None
    for some in rows.pieces(len(x)):
        product(rows.seen(given[some]), weights, bias=fused, out=_by_group(y[some], plan.groups))
    return _biased(y, bias if fused is None else None), generic.conv_backward(x, kernel, bias, plan)


def conv_transpose(x: Any, kernel: Any, bias: Any = None, *, plan: Geometry) -> tuple[Any, Backward]:
    """Multiply every position by all taps, and add up what belongs together."""
    y = cudnn_convolution.input_gradient(x, kernel, plan)
    if y is not None:
        return _biased(y, bias), generic.conv_transpose_backward(x, kernel, bias, plan)
    if not _fits(plan, kernel.shape[-2], x, kernel, bias):
        return generic._conv_transpose.function(x, kernel, bias, plan=plan)
    rows = _Rows(plan, kernel.shape[-2], x.dtype)
    y = cupy.empty((len(x), *plan.size, kernel.shape[-2] * plan.groups), x.dtype)
    given, weights = cupy.ascontiguousarray(x), rows.weights(kernel).swapaxes(-1, -2)
    for some in rows.pieces(len(x)):
        rows.spread(_by_group(given[some], plan.groups), weights, y[some])
    return _biased(y, bias), generic.conv_transpose_backward(x, kernel, bias, plan)


def conv_kernel_gradient(x: Any, dy: Any, *, plan: Geometry) -> tuple[Any, Backward]:
    """Multiply what the taps saw by the gradients of where that went."""
    gradient = cudnn_convolution.kernel_gradient(x, dy, plan)
    if gradient is not None:
        return gradient, generic.conv_kernel_gradient_backward(x, dy, plan)
    width, made = x.shape[-1] // plan.groups, dy.shape[-1]
    if not _fits(plan, width, x, dy):
        return generic._conv_kernel_gradient.function(x, dy, plan=plan)
    rows = _Rows(plan, width, x.dtype)
    given, slopes = cupy.ascontiguousarray(x), cupy.ascontiguousarray(dy)
    total: Any = None
    for some in rows.pieces(len(x)):
        part = product(rows.seen(given[some]).swapaxes(-1, -2), _by_group(slopes[some], plan.groups))
        total = part if total is None else cupy.add(total, part, out=total)
    if plan.groups > 1:  # (groups, taps in, out) -> (taps in, groups, out)
        total = cupy.ascontiguousarray(total.transpose((1, 0, 2)))
    gradient = total.reshape((*plan.kernel, width, made))
    return gradient, generic.conv_kernel_gradient_backward(x, dy, plan)


def _biased(y: Any, bias: Any) -> Any:
    """Add a bias, if there is one, to what nobody else has yet."""
    return y if bias is None else cupy.add(y, bias, out=y)


def _fits(plan: Geometry, width: int, *arrays: Any) -> bool:
    """Tell whether rows are the way: in one dtype that can be multiplied, and with more than a channel in a group."""
    given = [array for array in arrays if array is not None]
    thin = plan.groups > 1 and width == 1
    return len(plan.kernel) <= 3 and not thin and multiplies(*given) and all(a.size for a in given)


def _by_group(x: Any, groups: int) -> Any:
    """View channels last as (positions, channels), or of groups as (groups, positions, channels of one)."""
    if groups == 1:
        return x.reshape((-1, x.shape[-1]))
    return x.reshape((-1, groups, x.shape[-1] // groups)).transpose((1, 0, 2))


class _Rows:
    """What the taps of a kernel see, a row for each position of the output and each group.

    Parameters
    ----------
    plan : Geometry
        Where the taps fall.
    width : int
        Channels that one group sees.
    dtype : dtype
        That of the input.
    """

    def __init__(self, plan: Geometry, width: int, dtype: Any) -> None:
        self._plan, self._dtype = plan, dtype
        self._columns = plan.taps * width
        few = _ALIGNED // dtype.itemsize
        self._length = math.ceil(self._columns / few) * few
        # one tap that falls on every position sees the input as it is
        self._whole = plan.taps == 1 and plan.size == plan.output and set(plan.strides) == {1}
        self._whole = self._whole and not any(plan.before)
        self._constants = {
            **programs.axes("SIZE", plan.size),
            **programs.axes("COUNT", plan.output),
            **programs.axes("KERNEL", plan.kernel),
            **programs.axes("STRIDE", plan.strides),
            **programs.axes("DILATION", plan.dilation),
            **programs.axes("BEFORE", plan.before, missing=0),
            "GROUPS": plan.groups,
            "WIDTH": width,
            "ROW": self._length,
        }

    def pieces(self, samples: int) -> list[slice]:
        """Return which samples are worked on together."""
        one = math.prod(self._plan.output) * self._plan.groups * self._length * self._dtype.itemsize
        together = samples if self._whole else max(1, PIECE // one)
        return [slice(start, start + together) for start in range(0, samples, together)]

    def weights(self, kernel: Any) -> Any:
        """View a kernel as (taps in, out), or of groups as (groups, taps in, out)."""
        return _by_group(kernel.reshape((self._columns, -1)), self._plan.groups)

    def seen(self, x: Any) -> Any:
        """Return what the taps see, as (positions, taps in), or of groups as (groups, positions, taps in)."""
        if self._whole:
            return _by_group(x, self._plan.groups)
        memory, rows = self._made(len(x))
        sweep(
            "convolution",
            "nn_gather_taps",
            x.dtype.name,
            self._constants,
            memory.size,
            x,
            memory,
            memory.size,
        )
        return rows

    def spread(self, x: Any, weights: Any, y: Any) -> None:
        """Write into y what each of its positions gets of the products of x with all taps."""
        if self._whole:
            product(x, weights, out=_by_group(y, self._plan.groups))
            return
        memory, rows = self._made(len(y))
        product(x, weights, out=rows)
        sweep("convolution", "nn_add_taps_up", y.dtype.name, self._constants, y.size, memory, y, y.size)

    def _made(self, samples: int) -> tuple[Any, Any]:
        """Return memory for rows, and the part of it that taps fill."""
        positions, groups = samples * math.prod(self._plan.output), self._plan.groups
        memory = cupy.empty((positions, groups, self._length), self._dtype)
        rows = memory[:, :, : self._columns]
        return memory, rows[:, 0] if groups == 1 else rows.transpose((1, 0, 2))
