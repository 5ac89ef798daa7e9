"""Convolution in pieces that stay in cache: the sums of `nnbackend.functional.convolution`, in another order.

A piece is a few images, or some lines of a large one, with the borders that its windows reach into. Each of the three
rules goes over the pieces, and in each over the taps. What a tap saw is made again wherever it is needed, in memory
that is used again and again, so nothing is kept and nothing but the result is allocated. Which pieces there are
depends on shapes alone, and they are added up in their order, so the same call gives the same bits, on any number of
threads (`nnbackend_numpy.threads`). Where fewer digits will do, 3x3 taps go by `nnbackend_numpy.winograd`.

What has no faster form here is computed by the generic rules: groups, mixed dtypes, and a few channels made of many.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np

import nnbackend.functional.convolution as generic
from nnbackend.functional.convolution import Geometry
from nnbackend.precision import get_matmul_precision
from nnbackend.typing import Backward
from nnbackend_numpy import winograd
from nnbackend_numpy.pieces import Floats, Piece, Pieces, Region, Sum, Taps
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["conv", "conv_kernel_gradient", "conv_transpose"]

#: Bytes of input, output and gathered taps that are worked on at a time; they should stay in the second level of cache.
PIECE = 768 << 10
#: The same where the taps' weights are large: a product rearranges them each time, which many positions have to repay.
LARGE_PIECE = 4 << 20
#: Elements of one tap's weights above which all taps are gathered into one product, as below so many positions a line.
HEAVY, SHORT = 1 << 14, 8
#: Channels from which on the kernel's gradient takes taps one at a time, and not those along its last axis together.
WIDE = 48
#: Bytes of both operands of a product of gradients; they should stay in the first level of cache.
NEAR = 32 << 10
#: Sums of a kernel's gradient that are taken apart from each other, so that as many threads have work.
RUNS = 16

_workspaces = Workspaces()


def conv(x: Floats, kernel: Floats, bias: Floats | None = None, *, plan: Geometry) -> tuple[Floats, Backward]:
    """Convolve piece by piece, each with its bias while it is in cache."""
    if not _fits(plan, x, kernel, bias) or _thins(plan, *kernel.shape[-2:]):
        return generic._conv.function(x, kernel, bias, plan=plan)
    weights = np.ascontiguousarray(kernel).reshape(plan.taps, *kernel.shape[-2:])
    return _evaluate(_whole(plan), x, weights, bias), generic.conv_backward(x, kernel, bias, plan)


def conv_transpose(
    x: Floats, kernel: Floats, bias: Floats | None = None, *, plan: Geometry
) -> tuple[Floats, Backward]:
    """Convolve transposed: a convolution without strides for each phase of the positions."""
    width, made = kernel.shape[-1], kernel.shape[-2]
    if not _fits(plan, x, kernel, bias) or _thins(plan, width, made):
        return generic._conv_transpose.function(x, kernel, bias, plan=plan)
    phases = [phase for phase in generic.phases(plan) if all(map(int.__lt__, phase[0], plan.size))]
    shifts = [shift for _, _, own in phases for shift in own] or [(0,) * len(plan.size)]
    before = tuple(-min(axis) for axis in zip(*shifts, strict=True))
    parts = [
        Taps(first, plan.strides, taps, [tuple(map(sum, zip(f, before, strict=True))) for f in own])
        for first, taps, own in phases
    ]
    ones = (1,) * len(plan.size)
    weights = np.ascontiguousarray(kernel.reshape(plan.taps, made, width).transpose(0, 2, 1))
    y = _evaluate(Sum(plan.output, plan.size, ones, before, parts), x, weights, bias)
    return y, generic.conv_transpose_backward(x, kernel, bias, plan)


def conv_kernel_gradient(x: Floats, dy: Floats, *, plan: Geometry) -> tuple[Floats, Backward]:
    """Sum over pieces of what each tap saw, times the gradient of where that went."""
    pointwise = plan.taps == 1 and plan.size == plan.output  # one product, which is best left whole
    if pointwise or not _fits(plan, x, dy):
        return generic._conv_kernel_gradient.function(x, dy, plan=plan)
    return _meet(x, np.ascontiguousarray(dy), plan), generic.conv_kernel_gradient_backward(x, dy, plan)


def _fits(plan: Geometry, *arrays: Floats | None) -> bool:
    """Tell whether the pieces here compute this: without groups, in one dtype that BLAS knows."""
    dtypes = {array.dtype for array in arrays if array is not None}
    return plan.groups == 1 and len(dtypes) == 1 and dtypes.pop() in (np.float32, np.float64)


def _thins(plan: Geometry, width: int, made: int) -> bool:
    """Tell whether few channels are made of many, when the generic rule multiplies by several taps at once."""
    return plan.taps > 1 and made < generic.THIN < width


# The sum over taps


def _evaluate(whole: Sum, x: Floats, weights: Floats, bias: Floats | None) -> Floats:
    """Compute a sum over taps piece by piece; `weights` has the shape (taps, in, out)."""
    taps, width, made = weights.shape
    y = np.empty((len(x), *whole.output, made), x.dtype)
    if not y.size:
        return y
    if get_matmul_precision() != "highest" and winograd.serves(whole, x, weights):
        return winograd.evaluate(whole, x, weights, bias)
    thin = generic.gathers_taps(taps, width, made)
    heavy = width * made > HEAVY or whole.output[-1] < SHORT * whole.parts[0].every[-1]
    gathered = taps * width if thin or heavy else 0
    line = math.prod(whole.output[1:]) * (2 * made + gathered) * x.itemsize
    pieces = Pieces(whole, x, line, LARGE_PIECE if heavy and not thin else PIECE, planes=thin)
    offsets = None if bias is None else np.tile(bias, (whole.output[-1], 1))  # those of a line at a time

    def work(some: Iterable[Piece]) -> None:
        seen = pieces.seen()
        sums: list[tuple[Floats, Callable[[Region, Floats], None]]] = []
        for part in whole.parts:
            out = y[(slice(None), *(slice(r, None, e) for r, e in zip(part.first, part.every, strict=True)))]
            if not part.numbers:
                sums.append((out, _nothing))
                continue
            own = weights[part.numbers]
            windows = seen.windows(part)
            if thin:
                sums.append((out, functools.partial(_by_planes, _as_planes(windows, out.ndim), own)))
            elif heavy:
                sums.append((out, functools.partial(_by_rows, _as_rows(windows, out.ndim), own)))
            else:
                flat = [windows[tap] for tap in np.ndindex(windows.shape[: windows.ndim - out.ndim])]
                sums.append((out, functools.partial(_tap_by_tap, flat, list(own))))
        for piece in some:
            seen.look_at(piece)
            for target, add_up in sums:
                out = target[piece]
                if out.size:
                    add_up(seen.region(piece, out.shape[1]), out)
                    if offsets is not None:
                        out += offsets[: out.shape[-2]]

    spread(pieces.all, work)
    return y


def _nothing(region: Region, out: Floats) -> None:
    """Add up what no tap meets."""
    out[...] = 0.0


def _tap_by_tap(windows: list[Floats], weights: list[Floats], region: Region, out: Floats) -> None:
    """Add up what each tap makes of what it sees, a product of matrices for each line."""
    np.matmul(windows[0][region], weights[0], out=out)
    if len(windows) > 1:
        product = _workspaces.array("product", out.shape, out.dtype)
        for seen, matrix in zip(windows[1:], weights[1:], strict=True):
            np.matmul(seen[region], matrix, out=product)
            np.add(out, product, out=out)


def _by_rows(windows: Floats, weights: Floats, region: Region, out: Floats) -> None:
    """Gather what all taps see as rows of one product, for weights that are too large for many of them."""
    _multiply(_copied(windows[region]).reshape(-1, weights.shape[0] * weights.shape[1]), weights, out)


def _by_planes(windows: Floats, weights: Floats, region: Region, out: Floats) -> None:
    """Gather what all taps see channel by channel, in runs of positions where those of channels would be short."""
    some = windows[(*(slice(None),) * (windows.ndim - out.ndim + 1), *region)]
    _multiply(_copied(some).reshape(weights.shape[0] * weights.shape[1], -1).T, weights, out)


def _multiply(gathered: Floats, weights: Floats, out: Floats) -> None:
    """Write the product of gathered positions and the weights of their taps, (taps, in, out), into `out`."""
    made = weights.shape[-1]
    in_place = out.flags.c_contiguous
    product = out if in_place else _workspaces.array("product", out.shape, out.dtype)
    np.matmul(gathered, weights.reshape(-1, made), out=product.reshape(-1, made))
    if not in_place:
        out[...] = product


def _as_rows(windows: Floats, ndim: int) -> Floats:
    """View what all taps see side by side: (n, positions..., taps..., channels)."""
    taps = windows.ndim - ndim
    return np.moveaxis(windows, range(taps), range(-taps - 1, -1))


def _as_planes(windows: Floats, ndim: int) -> Floats:
    """View what all taps see of each channel one below the other: (taps..., channels, n, positions...)."""
    return np.moveaxis(windows, -1, windows.ndim - ndim)


def _copied(view: Floats) -> Floats:
    """Copy a view into memory in one piece, unless it is."""
    if view.flags.c_contiguous:
        return view
    copy = _workspaces.array("gathered", view.shape, view.dtype)
    copy[...] = view
    return copy


# The kernel's gradient


def _meet(x: Floats, dy: Floats, plan: Geometry) -> Floats:
    """Add up the products of what several taps saw and the gradients of where that went.

    Piece after piece is added up in a few runs, and then the runs in their order, so that a run is one thread's work.
    """
    width, made = x.shape[-1], dy.shape[-1]
    if not (x.size and dy.size):
        return np.zeros((*plan.kernel, width, made), x.dtype)
    whole = _whole(plan)
    thin = generic.gathers_taps(plan.taps, width, made)
    alone = len(plan.kernel) - (width < WIDE)  # along these axes the kernel's taps are taken one at a time
    gathered = width * (plan.taps if thin else math.prod(plan.kernel[alone:]))
    line = math.prod(plan.output[1:]) * (made + gathered) * x.itemsize
    pieces = Pieces(whole, x, line, LARGE_PIECE if gathered * made >= HEAVY else PIECE, planes=thin)
    runs = _runs(len(pieces.all), (x.size + dy.size) // (plan.taps * width * made))
    totals = np.zeros((len(runs), plan.taps, width, made), x.dtype)

    def work(some: Iterable[int]) -> None:
        seen = pieces.seen()
        windows = seen.windows(whole.parts[0])
        if thin:
            views = [_as_planes(windows, x.ndim)]
        else:
            views = [_as_rows(windows[tap], x.ndim) for tap in np.ndindex(plan.kernel[:alone])]
        for run in some:
            sums = list(totals[run].reshape(len(views), -1, made))
            for piece in pieces.all[runs[run]]:
                seen.look_at(piece)
                gradients = dy[piece]
                region = seen.region(piece, gradients.shape[1])
                for view, own in zip(views, sums, strict=True):
                    if thin:
                        taken = view[(*(slice(None),) * (windows.ndim - x.ndim + 1), *region)]
                        own += _copied(taken).reshape(len(own), -1) @ gradients.reshape(-1, made)
                    else:
                        own += _crossed(_copied(view[region]).reshape(-1, len(own)), gradients)

    spread(range(len(runs)), work)
    total = totals[0] if len(runs) == 1 else np.add.reduce(totals, axis=0)
    return total.reshape(*plan.kernel, width, made)


def _runs(pieces: int, most: int) -> list[slice]:
    """Divide pieces, in their order, into at most as many runs as `most`, and RUNS, of about equal length."""
    count = max(1, min(pieces, most, RUNS))
    ends = [pieces * number // count for number in range(count + 1)]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def _crossed(rows: Floats, gradients: Floats) -> Floats:
    """Multiply what taps see, transposed, by gradients, in products of a size that BLAS does fast."""
    made = gradients.shape[-1]
    positions, columns = rows.shape
    line = gradients.shape[-2]
    lines = positions // line
    most = lines
    if columns * made < HEAVY:
        most = max(64, NEAR // ((columns + made) * rows.itemsize)) // line
    together = max((count for count in range(1, min(most, lines) + 1) if lines % count == 0), default=1)
    blocks = lines // together
    products = _workspaces.array("product", (blocks, columns, made), rows.dtype)
    left = rows.reshape(blocks, together * line, columns).transpose(0, 2, 1)
    np.matmul(left, gradients.reshape(blocks, together * line, made), out=products)
    return products[0] if blocks == 1 else np.add.reduce(products, axis=0)


# The convolution itself as a sum


def _whole(plan: Geometry) -> Sum:
    """Return the convolution itself as a sum of one part."""
    ones = (1,) * len(plan.size)
    part = Taps((0,) * len(ones), ones, list(range(plan.taps)), generic.tap_offsets(plan))
    return Sum(plan.size, plan.output, plan.strides, plan.before, [part])
