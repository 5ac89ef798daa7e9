"""Convolution by cuDNN where the user asks for it: ``nn.set_backend("cupy", convolution="cudnn")``.

Its sums have another order than those of products of matrices, and so other last bits. Which of the two is used is
therefore never a matter of what happens to be installed.

A border may be wider on one side of an axis than on the other, as with "same" and strides. Not every kernel of the
library takes that; where none does, the input is laid out with the zeros that are too many on one side.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cupy

from nnbackend.functional.convolution import Geometry
from nnbackend.precision import get_matmul_precision
from nnbackend.typing import Shape
from nnbackend_cupy import cudnn, cudnn_launch
from nnbackend_cupy.cudnn import Convolution, Work
from nnbackend_cupy.options import in_force

__all__ = ["convolved", "input_gradient", "kernel_gradient"]


def convolved(x: Any, kernel: Any, plan: Geometry) -> Any:
    """Return the convolution without a bias; None where cuDNN is not asked for or has no plan."""
    job = _job("value", plan, x, kernel, width=x.shape[-1], made=kernel.shape[-1])
    if job is None:
        return None
    y = cupy.empty((len(x), *plan.output, kernel.shape[-1]), x.dtype)
    job.run(job.frame.around(_ready(x)), _weights(kernel), y)
    return y


def input_gradient(dy: Any, kernel: Any, plan: Geometry) -> Any:
    """Return the transposed convolution without a bias; None where cuDNN is not asked for or has no plan."""
    width = kernel.shape[-2] * plan.groups
    job = _job("input", plan, dy, kernel, width=width, made=kernel.shape[-1])
    if job is None:
        return None
    dx = cupy.empty((len(dy), *job.frame.size, width), dy.dtype)
    job.run(_ready(dy), _weights(kernel), dx)
    return job.frame.within(dx)


def kernel_gradient(x: Any, dy: Any, plan: Geometry) -> Any:
    """Return the gradient of the kernel; None where cuDNN is not asked for or has no plan."""
    width, made = x.shape[-1] // plan.groups, dy.shape[-1]
    job = _job("kernel", plan, x, dy, width=x.shape[-1], made=made)
    if job is None:
        return None
    gradient = cupy.empty((made, *plan.kernel, width), x.dtype)
    job.run(job.frame.around(_ready(x)), _ready(dy), gradient)
    return cupy.ascontiguousarray(gradient.transpose((*range(1, gradient.ndim), 0)))


class _Frame(NamedTuple):
    """How an input is given to the library: perhaps with some zeros around it already.

    Attributes
    ----------
    size : tuple of int
        Lengths of the axes of space with these zeros.
    start, inner : tuple of int
        Where the input itself begins in it, and its lengths.
    before, after : tuple of int
        What is still to pad.
    """

    size: Shape
    start: Shape
    inner: Shape
    before: Shape
    after: Shape

    def around(self, x: Any) -> Any:
        """Lay an input out with its zeros."""
        if self.size == self.inner:
            return x
        wide = cupy.zeros((len(x), *self.size, x.shape[-1]), x.dtype)
        cupy.copyto(self._view(wide), x)
        return wide

    def within(self, wide: Any) -> Any:
        """Cut the input's own part out."""
        return wide if self.size == self.inner else cupy.ascontiguousarray(self._view(wide))

    def _view(self, wide: Any) -> Any:
        cuts = (slice(low, low + count) for low, count in zip(self.start, self.inner, strict=True))
        return wide[(slice(None), *cuts)]


class _Job(NamedTuple):
    """A plan, and how the input lies in it."""

    plan: cudnn.Plan
    frame: _Frame

    def run(self, first: Any, second: Any, out: Any) -> None:
        cudnn_launch.launch(self.plan, first, second, out)


def _job(
    kind: Literal["value", "input", "kernel"],
    plan: Geometry,
    first: Any,
    second: Any,
    *,
    width: int,
    made: int,
) -> _Job | None:
    dtype, options = first.dtype.name, in_force()
    if options.convolution != "cudnn" or dtype not in cudnn.DTYPES or second.dtype != first.dtype:
        return None
    if len(plan.kernel) > 3 or not (first.size and second.size):
        return None
    exact = get_matmul_precision() if dtype == "float32" else "highest"
    flat = (1,) * (2 - len(plan.kernel))  # a signal is an image of one line
    none = (0,) * len(flat)
    frames = _frames(plan)
    ways: list[Work] = [
        Convolution(
            kind, len(first), width, made, plan.groups,
            flat + frame.size, flat + plan.output, flat + plan.kernel, flat + plan.strides, flat + plan.dilation,
            none + frame.before, none + frame.after, dtype, exact, options.deterministic,
        )
        for frame in frames
    ]  # fmt: skip
    found = cudnn_launch.plan(*ways)
    return None if found is None else _Job(found, frames[ways.index(found.work)])


def _frames(plan: Geometry) -> list[_Frame]:
    """Return how an input may be given, the best first; none where more of it is seen by no window than a stride.

    With strides s, up to s - 1 zeros more after the input change no output, nor do as many of its last positions. So
    borders are made alike on both sides where they can be.
    """
    low = plan.before
    least = tuple(max(high, 0) for high in plan.after)
    most = tuple(high + s - 1 for high, s in zip(plan.after, plan.strides, strict=True))
    if min(*low, *most, 0) < 0:
        return []
    high = tuple(min(max(b, few), many) for b, few, many in zip(low, least, most, strict=True))
    asked = _Frame(plan.size, (0,) * len(low), plan.size, low, high)
    if low == high:
        return [asked]
    alike = tuple(map(min, low, high))
    start = tuple(b - a for b, a in zip(low, alike, strict=True))
    size = tuple(b + n + h - 2 * a for b, n, h, a in zip(low, plan.size, high, alike, strict=True))
    return [asked, _Frame(size, start, plan.size, alike, alike)]


def _weights(kernel: Any) -> Any:
    """Lay a kernel (taps, in, out) anew as (out, taps, in)."""
    last = kernel.ndim - 1
    return _ready(kernel.transpose((last, *range(last))))


def _ready(array: Any) -> Any:
    """Return an array in one piece, at an address that cuDNN takes."""
    whole = cupy.ascontiguousarray(array)
    return cupy.copy(whole) if whole.data.ptr % cudnn.ALIGNMENT else whole
