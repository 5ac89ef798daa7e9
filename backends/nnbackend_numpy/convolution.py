"""Convolution in pieces that stay in cache: the sums of `nnbackend.functional.convolution`, in another order.

A piece is a few images, or some lines of a large one, with the borders that its windows reach into. Each of the three
rules goes over the pieces, and in each over the taps. What a tap saw is made again wherever it is needed, in memory
that is used again and again, so nothing is kept and nothing but the result is allocated. Which pieces there are
depends on shapes alone, and they are added up in their order, so the same call gives the same bits.

What has no faster form here is computed by the generic rules: groups, mixed dtypes, and a few channels made of many.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

import nnbackend.functional.convolution as generic
from nnbackend.functional.convolution import Geometry
from nnbackend.typing import Backward, Shape
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

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]
#: Some images, and some lines of each.
Region = tuple[slice, slice]


class _Taps(NamedTuple):
    """Which taps make some positions of the output, and where in the padded input their first windows meet them.

    Attributes
    ----------
    first, every : tuple of int
        The positions: the first one, and how far they are apart, along each axis of space.
    numbers : list of int
        The taps, the last axis of the kernel running fastest.
    offsets : list of tuple of int
        Their places in the padded input, evenly apart along each axis.
    """

    first: Shape
    every: Shape
    numbers: list[int]
    offsets: list[Shape]

    def windows(self, seen: Floats, counts: Shape, strides: Shape) -> Floats:
        """View what each tap sees of the padded input: (taps along each axis..., n, positions..., channels)."""
        places = [list(dict.fromkeys(axis)) for axis in zip(*self.offsets, strict=True)]
        corner = seen[(slice(None), *(slice(place[0], None) for place in places))]
        sample, *steps, channel = seen.strides
        apart = [(place[-1] - place[0]) // max(len(place) - 1, 1) for place in places]
        return as_strided(
            corner,
            (*map(len, places), len(seen), *counts, seen.shape[-1]),
            (
                *map(operator.mul, apart, steps),
                sample,
                *map(operator.mul, strides, steps),
                channel,
            ),
            writeable=False,
        )


class _Sum(NamedTuple):
    """A sum over taps, y_o = sum_t z_{s o + f_t} W_t, for each part of the positions; z is the padded input.

    Attributes
    ----------
    size, output, strides : tuple of int
        Lengths of the axes of space of the input and of the output, and s.
    before : tuple of int
        How wide the border is; negative where as much is cut off.
    parts : list
        The taps of each part of the positions.
    """

    size: Shape
    output: Shape
    strides: Shape
    before: Shape
    parts: list[_Taps]

    def counts(self, part: _Taps) -> Shape:
        """How many positions a part has along each axis."""
        return tuple(-(-(n - r) // e) for n, r, e in zip(self.output, part.first, part.every, strict=True))

    def padded(self, lines: int) -> Shape:
        """Lengths of the axes of space of the padded input of so many lines of positions."""
        most = [lines, *[max(axis) for axis in zip(*map(self.counts, self.parts), strict=True)][1:]]
        met = [offset for part in self.parts for offset in part.offsets] or [(0,) * len(most)]
        reach = [max(axis) for axis in zip(*met, strict=True)]
        return tuple((count - 1) * s + f + 1 for count, s, f in zip(most, self.strides, reach, strict=True))


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
        _Taps(first, plan.strides, taps, [tuple(map(sum, zip(f, before, strict=True))) for f in own])
        for first, taps, own in phases
    ]
    ones = (1,) * len(plan.size)
    weights = np.ascontiguousarray(kernel.reshape(plan.taps, made, width).transpose(0, 2, 1))
    y = _evaluate(_Sum(plan.output, plan.size, ones, before, parts), x, weights, bias)
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


def _evaluate(whole: _Sum, x: Floats, weights: Floats, bias: Floats | None) -> Floats:
    """Compute a sum over taps piece by piece; `weights` has the shape (taps, in, out)."""
    taps, width, made = weights.shape
    y = np.empty((len(x), *whole.output, made), x.dtype)
    if not y.size:
        return y
    thin = generic.gathers_taps(taps, width, made)
    heavy = width * made > HEAVY or whole.output[-1] < SHORT * whole.parts[0].every[-1]
    gathered = taps * width if thin or heavy else 0
    line = math.prod(whole.output[1:]) * (2 * made + gathered) * x.itemsize
    pieces = _Pieces(whole, x, line, LARGE_PIECE if heavy and not thin else PIECE, planes=thin)
    sums: list[tuple[Floats, Callable[[Region, Floats], None]]] = []
    for part in whole.parts:
        out = y[(slice(None), *(slice(r, None, e) for r, e in zip(part.first, part.every, strict=True)))]
        if not part.numbers:
            out[...] = 0.0 if bias is None else bias
            continue
        own = weights[part.numbers]
        windows = pieces.windows(part)
        if thin:
            sums.append((out, functools.partial(_by_planes, _as_planes(windows, out.ndim), own)))
        elif heavy:
            sums.append((out, functools.partial(_by_rows, _as_rows(windows, out.ndim), own)))
        else:
            flat = [windows[tap] for tap in np.ndindex(windows.shape[: windows.ndim - out.ndim])]
            sums.append((out, functools.partial(_tap_by_tap, flat, list(own))))
    offsets = None if bias is None else np.tile(bias, (whole.output[-1], 1))  # those of a line at a time
    for images, lines in pieces:
        for target, add_up in sums:
            out = target[images, lines]
            if out.size:
                add_up(pieces.region(images, lines.start, out.shape[1]), out)
                if offsets is not None:
                    out += offsets[: out.shape[-2]]
    return y


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
    """Add up, piece by piece, the products of what several taps saw and the gradients of where that went."""
    width, made = x.shape[-1], dy.shape[-1]
    total = np.zeros((plan.taps, width, made), x.dtype)
    if x.size and dy.size:
        whole = _whole(plan)
        thin = generic.gathers_taps(plan.taps, width, made)
        alone = len(plan.kernel) - (
            width < WIDE
        )  # along these axes the kernel's taps are taken one at a time
        gathered = width * (plan.taps if thin else math.prod(plan.kernel[alone:]))
        line = math.prod(plan.output[1:]) * (made + gathered) * x.itemsize
        pieces = _Pieces(whole, x, line, LARGE_PIECE if gathered * made >= HEAVY else PIECE, planes=thin)
        windows = pieces.windows(whole.parts[0])
        if thin:
            seen = [_as_planes(windows, x.ndim)]
        else:
            seen = [_as_rows(windows[tap], x.ndim) for tap in np.ndindex(plan.kernel[:alone])]
        sums = list(total.reshape(len(seen), -1, made))
        for images, lines in pieces:
            gradients = dy[images, lines]
            region = pieces.region(images, lines.start, gradients.shape[1])
            for some, own in zip(seen, sums, strict=True):
                if thin:
                    some = some[(*(slice(None),) * (windows.ndim - x.ndim + 1), *region)]
                    own += _copied(some).reshape(len(own), -1) @ gradients.reshape(-1, made)
                else:
                    own += _crossed(_copied(some[region]).reshape(-1, len(own)), gradients)
    return total.reshape(*plan.kernel, width, made)


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


# Pieces


def _whole(plan: Geometry) -> _Sum:
    """Return the convolution itself as a sum of one part."""
    ones = (1,) * len(plan.size)
    part = _Taps((0,) * len(ones), ones, list(range(plan.taps)), generic.tap_offsets(plan))
    return _Sum(plan.size, plan.output, plan.strides, plan.before, [part])


class _Pieces:
    """Pieces of the positions: some images, or some lines of one along the first axis of space.

    Going over them puts the padded input that each one sees into memory, which the next one overwrites; where nothing
    is padded it stays where it is.

    Parameters
    ----------
    whole : _Sum
        What is computed.
    x : array of shape (n, ..., c)
        The input.
    line : int
        How many bytes one line of positions takes besides the input it sees.
    budget : int
        How many bytes a piece may have.
    planes : bool
        Whether channels come before positions in the memory of what is seen.
    """

    def __init__(self, whole: _Sum, x: Floats, line: int, budget: int, *, planes: bool) -> None:
        self._whole, self._x = whole, x
        self._lines = max(whole.counts(part)[0] for part in whole.parts)
        padded = whole.padded(self._lines)
        image = self._lines * line + math.prod(padded) * x.shape[-1] * x.itemsize
        self._images = max(1, min(budget // image, len(x)))
        self._step = -(-self._lines // -(-image // budget)) if image > budget else self._lines
        bare = x.flags.c_contiguous and not any(whole.before) and (not planes or x.shape[-1] == 1)
        self._bare = bare and all(z <= n for z, n in zip(padded, whole.size, strict=True))
        self._seen = x
        if not self._bare:
            shape, width = (self._images, *whole.padded(self._step)), x.shape[-1]
            seen = _workspaces.array("padded", (width, *shape) if planes else (*shape, width), x.dtype)
            seen[...] = 0.0
            self._seen = np.moveaxis(seen, 0, -1) if planes else seen

    def windows(self, part: _Taps) -> Floats:
        """View what each tap of a part sees, whatever the piece; `region` says where."""
        first, *rest = self._whole.counts(part)
        counts = (first if self._bare else min(first, self._step), *rest)
        return part.windows(self._seen, counts, self._whole.strides)

    def region(self, images: slice, first: int, count: int) -> Region:
        """Return where so many lines of the present piece are in the windows of a part."""
        if self._bare:
            return images, slice(first, first + count)
        return slice(0, images.stop - images.start), slice(0, count)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        for start in range(0, len(self._x), self._images):
            images = slice(start, min(start + self._images, len(self._x)))
            for first in range(0, self._lines, self._step):
                if not self._bare:
                    _pad(self._whole, self._x[images], first * self._whole.strides[0], self._seen)
                yield images, slice(first, min(first + self._step, self._lines))


def _pad(whole: _Sum, x: Floats, low: int, seen: Floats) -> None:
    """Copy images into memory that has zeros around them; from line `low` of the padded input on."""
    taken, placed = [slice(None)], [slice(0, len(x))]
    for axis, (size, before) in enumerate(zip(whole.size, whole.before, strict=True)):
        origin = (0 if axis else low) - before
        first = max(origin, 0)
        last = max(min(origin + seen.shape[axis + 1], size), first)
        taken.append(slice(first, last))
        placed.append(slice(first - origin, last - origin))
    seen[:, : placed[1].start] = 0.0
    seen[:, placed[1].stop :] = 0.0
    seen[tuple(placed)] = x[tuple(taken)]
