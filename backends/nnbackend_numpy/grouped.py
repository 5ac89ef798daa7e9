"""Convolution of channels in groups: each channel on its own, or a few groups at a time.

Channels on their own have no products of matrices. What the taps see of a piece (`nnbackend_numpy.pieces`) lies in
rows of (positions x channels), and one sum of products over taps goes through them: a row of the output stays in the
first level of cache from its first tap to its last.

Groups of several channels are convolved a few at a time as one dense kernel, whose weights between groups are zero:
BLAS takes less time for some multiply-adds too many than for many thin products. Only as many are put together as fill
its products.

The sums are those of `nnbackend.functional.convolution` in another order. Pieces and runs depend on shapes alone, so
that the bits do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

import nnbackend.functional.convolution as generic
from nnbackend.functional.convolution import Geometry
from nnbackend.typing import Backward
from nnbackend_numpy import convolution
from nnbackend_numpy.pieces import Floats, Piece, Pieces, Seen, Sum, Taps
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["conv", "conv_kernel_gradient", "conv_transpose"]

#: Bytes of input and output that are worked on at a time; they should stay in the second level of cache.
PIECE = 1 << 20
#: Channels, on the wider side, that groups are put together to: with fewer, BLAS takes its time for calls and rows that
#: are too short.
TOGETHER = 32

_workspaces = Workspaces()


def conv(x: Floats, kernel: Floats, bias: Floats | None = None, *, plan: Geometry) -> tuple[Floats, Backward]:
    """Convolve groups of channels; without groups, and in mixed dtypes, as `nnbackend_numpy.convolution` does."""
    if not _fits(plan, *kernel.shape[-2:], x, kernel, bias):
        return convolution.conv(x, kernel, bias, plan=plan)
    if x.shape[-1] == plan.groups:
        whole = convolution._whole(plan)
        made = [
            _evaluate(whole, x, weights, None if bias is None else bias[own])
            for own, weights in _of_each(plan, kernel)
        ]
        y = (
            made[0]
            if len(made) == 1
            else np.stack(made, axis=-1).reshape(*made[0].shape[:-1], kernel.shape[-1])
        )
        return y, generic.conv_backward(x, kernel, bias, plan)
    y = np.empty((len(x), *plan.output, kernel.shape[-1]), x.dtype)
    for block, (taken, wanted), weights in _blocks(plan, kernel):
        offset = None if bias is None else bias[wanted]
        y[..., wanted] = convolution.conv(x[..., taken], weights, offset, plan=block)[0]
    return y, generic.conv_backward(x, kernel, bias, plan)


def conv_transpose(
    x: Floats, kernel: Floats, bias: Floats | None = None, *, plan: Geometry
) -> tuple[Floats, Backward]:
    """Convolve groups of channels transposed."""
    if not _fits(plan, *kernel.shape[-2:], x, kernel, bias):
        return convolution.conv_transpose(x, kernel, bias, plan=plan)
    width = kernel.shape[-2] * plan.groups
    if width == plan.groups:
        whole = convolution.transposed(plan)
        sums = [
            _evaluate(whole, x[..., own], weights, None if number else bias)
            for number, (own, weights) in enumerate(_of_each(plan, kernel))
        ]
        y = functools.reduce(np.add, sums)
        return y, generic.conv_transpose_backward(x, kernel, bias, plan)
    y = np.empty((len(x), *plan.size, width), x.dtype)
    for block, (wanted, taken), weights in _blocks(plan, kernel):
        offset = None if bias is None else bias[wanted]
        y[..., wanted] = convolution.conv_transpose(x[..., taken], weights, offset, plan=block)[0]
    return y, generic.conv_transpose_backward(x, kernel, bias, plan)


def conv_kernel_gradient(x: Floats, dy: Floats, *, plan: Geometry) -> tuple[Floats, Backward]:
    """Sum what each tap saw of its group, times the gradients of where that went."""
    width, made = x.shape[-1] // plan.groups, dy.shape[-1] // plan.groups
    if not _fits(plan, width, dy.shape[-1], x, dy):
        return convolution.conv_kernel_gradient(x, dy, plan=plan)
    gradient = np.empty((*plan.kernel, width, dy.shape[-1]), x.dtype)
    if width == 1:
        for first in range(made):
            own = slice(first, None, made)
            sums = _meet(convolution._whole(plan), x, dy[..., own])
            gradient[..., 0, own] = sums.reshape(*plan.kernel, plan.groups)
    else:
        block, together = plan._replace(groups=1), _together(plan.groups, width, made)
        for number in range(plan.groups // together):
            taken, wanted = _columns(number, together, width), _columns(number, together, made)
            dense = convolution.conv_kernel_gradient(x[..., taken], dy[..., wanted], plan=block)[0]
            apart = dense.reshape(*plan.kernel, together, width, together, made)
            diagonal = np.diagonal(apart, axis1=-4, axis2=-2)  # (taps..., width, made, together)
            diagonal = np.moveaxis(diagonal, -1, -2)
            gradient[..., wanted] = diagonal.reshape(*plan.kernel, width, together * made)
    return gradient, generic.conv_kernel_gradient_backward(x, dy, plan)


def _fits(plan: Geometry, width: int, made: int, *arrays: Floats | None) -> bool:
    """Tell whether there are groups, of one dtype, that are not better left to the generic rule.

    It multiplies by all groups at once, and positions of all lines, which is as fast for one tap, and for strides where
    a group fills products of its own.
    """
    dtypes = {array.dtype for array in arrays if array is not None}
    if not (plan.groups > 1 and len(dtypes) == 1 and dtypes.pop() in (np.float32, np.float64)):
        return False
    full = max(width, made // plan.groups) >= TOGETHER
    return width == 1 or not (plan.taps == 1 or (full and any(step > 1 for step in plan.strides)))


# Groups of several channels


def _together(groups: int, width: int, made: int) -> int:
    """Return how many groups are convolved at once: the fewest that fill products, of those that divide all."""
    enough = -(-TOGETHER // max(width, made, 1))
    return next(
        count for count in range(1, groups + 1) if groups % count == 0 and count >= min(enough, groups)
    )


def _columns(number: int, together: int, channels: int) -> slice:
    """Return the channels of the groups that are convolved at once, `channels` of each."""
    return slice(number * together * channels, (number + 1) * together * channels)


def _blocks(plan: Geometry, kernel: Floats) -> Iterator[tuple[Geometry, tuple[slice, slice], Floats]]:
    """Yield for the groups that are convolved at once a plan without groups, the channels on both sides, and weights.

    Their kernel is dense, with zeros between the groups.
    """
    width, made = kernel.shape[-2], kernel.shape[-1] // plan.groups
    together = _together(plan.groups, width, made)
    for number in range(plan.groups // together):
        sides = _columns(number, together, width), _columns(number, together, made)
        dense = np.zeros((*plan.kernel, together, width, together, made), kernel.dtype)
        own = kernel[..., sides[1]].reshape(*plan.kernel, width, together, made)
        for group in range(together):
            dense[..., group, :, group, :] = own[..., group, :]
        yield plan._replace(groups=1), sides, dense.reshape(*plan.kernel, together * width, together * made)


# Channels on their own


def _of_each(plan: Geometry, kernel: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield the kernels of each channel one after the other: which channels they make, and weights (taps, channels)."""
    made = kernel.shape[-1] // plan.groups
    for first in range(made):
        own = slice(first, None, made)
        yield own, np.ascontiguousarray(kernel[..., 0, own]).reshape(plan.taps, plan.groups)


def _lifted(whole: Sum) -> Sum:
    """Give what has one axis of space a second one before it, of length one."""
    if len(whole.size) > 1:
        return whole
    parts = [Taps((0, *p.first), (1, *p.every), p.numbers, [(0, *f) for f in p.offsets]) for p in whole.parts]
    return Sum((1, *whole.size), (1, *whole.output), (1, *whole.strides), (0, *whole.before), parts)


def _pieces(whole: Sum, x: Floats) -> Pieces:
    """Cut the positions into pieces, of what is seen, what is copied of it, and what it makes."""
    copied = max(len({offset[-1] for offset in part.offsets}) for part in whole.parts)
    line = math.prod(whole.output[1:]) * x.shape[-1] * (1 + copied * (whole.strides[-1] > 1)) * x.itemsize
    return Pieces(whole, x, line, PIECE)


def _evaluate(whole: Sum, x: Floats, weights: Floats, bias: Floats | None) -> Floats:
    """Compute a sum over taps, each channel of which is multiplied by its own number; `weights` is (taps, channels)."""
    shape = (len(x), *whole.output, x.shape[-1])
    whole = _lifted(whole)
    y = np.empty((len(x), *whole.output, x.shape[-1]), x.dtype)
    if not y.size:
        return y.reshape(shape)
    pieces = _pieces(whole, x.reshape(len(x), *whole.size, x.shape[-1]))

    def work(some: Iterable[Piece]) -> None:
        seen = pieces.seen()
        sums = []
        for part in whole.parts:
            target = y[
                (slice(None), *(slice(r, None, e) for r, e in zip(part.first, part.every, strict=True)))
            ]
            rows = _Rows(seen, part) if part.numbers else None
            sums.append((target, rows, _drawn_out(weights[part.numbers], part, target.shape[-2])))
        offsets = None if bias is None else np.tile(bias, whole.output[-1])
        for piece in some:
            seen.look_at(piece)
            for target, rows, factors in sums:
                out = target[piece]
                if out.size:
                    _add_up(rows, piece, factors, out)
                    if offsets is not None:
                        out += offsets[: math.prod(out.shape[-2:])].reshape(out.shape[-2:])

    spread(pieces.all, work)
    return y.reshape(shape)


def _drawn_out(weights: Floats, part: Taps, positions: int) -> Floats:
    """Repeat the weights of each tap along a row: (taps along each axis..., positions x channels)."""
    counts = [len(set(axis)) for axis in zip(*part.offsets, strict=True)]
    return np.tile(weights, (1, positions)).reshape(*counts, -1)


def _add_up(rows: _Rows | None, piece: Piece, factors: Floats, out: Floats) -> None:
    """Write the sums of what all taps see times their weights."""
    if rows is None:
        out[...] = 0.0
        return
    direct = out.strides[-2] == out.shape[-1] * out.itemsize
    sums = out if direct else _workspaces.array("sums", out.shape, out.dtype)
    seen = rows.windows(piece, out.shape[1:-2])
    _sum_of_products(seen, factors, sums.reshape(*out.shape[:-2], -1))
    if not direct:
        out[...] = sums


def _sum_of_products(seen: Floats, factors: Floats, out: Floats) -> None:
    taps = list(range(factors.ndim - 1))
    positions = list(range(len(taps), seen.ndim))
    np.einsum(seen, [*taps, *positions], factors, [*taps, positions[-1]], positions, out=out)


class _Rows:
    """What the taps see of a piece, as rows of (positions x channels).

    Parameters
    ----------
    seen : Seen
        The input, of at least two axes of space.
    part : Taps
        The taps.
    """

    def __init__(self, seen: Seen, part: Taps) -> None:
        self._seen = seen
        self._view = np.moveaxis(seen.beside(part), -2, 0)  # (taps, n, lines..., positions, channels)
        *_, step, channel = self._view.strides
        self._adjacent = step == self._view.shape[-1] * channel and channel == self._view.itemsize
        self._places = [list(dict.fromkeys(axis)) for axis in zip(*part.offsets, strict=True)][:-1]

    def windows(self, piece: Piece, counts: tuple[int, ...]) -> Floats:
        """Return what the taps see of a piece of so many lines: (taps along each axis..., n, lines..., row)."""
        rows = self._rows(
            self._view[(slice(None), *self._seen.reach(piece, counts[0], max(self._places[0])))]
        )
        corner = rows[(slice(None), slice(None), *(slice(place[0], None) for place in self._places))]
        taps, samples, *lines, element = corner.strides
        apart = [(place[-1] - place[0]) // max(len(place) - 1, 1) for place in self._places]
        return as_strided(
            corner,
            (*map(len, self._places), rows.shape[0], rows.shape[1], *counts, rows.shape[-1]),
            (
                *(a * step for a, step in zip(apart, lines, strict=True)),
                taps,
                samples,
                *(s * step for s, step in zip(self._seen.strides, lines, strict=False)),
                element,
            ),
            writeable=False,
        )

    def _rows(self, view: Floats) -> Floats:
        """Lay positions and channels out in one axis; positions that are not side by side are copied there."""
        if not self._adjacent:
            copy = _workspaces.array("rows", view.shape, view.dtype)
            copy[...] = view
            view = copy
        return view.reshape(*view.shape[:-2], -1)


def _meet(whole: Sum, x: Floats, dy: Floats) -> Floats:
    """Add up the products of what each tap saw and the gradients of where that went: (taps, channels)."""
    whole = _lifted(whole)
    part, channels = whole.parts[0], x.shape[-1]
    taps = len(part.numbers)
    if not (x.size and dy.size):
        return np.zeros((taps, channels), x.dtype)
    x = x.reshape(len(x), *whole.size, channels)
    dy = np.ascontiguousarray(dy).reshape(len(x), *whole.output, channels)
    pieces = _pieces(whole, x)
    width = whole.output[-1] * channels
    runs = convolution._runs(len(pieces.all), (x.size + dy.size) // (taps * width))
    totals = np.zeros((len(runs), taps, width), x.dtype)

    def work(some: Iterable[int]) -> None:
        seen = pieces.seen()
        rows = _Rows(seen, part)
        for run in some:
            for piece in pieces.all[runs[run]]:
                seen.look_at(piece)
                gradients = dy[piece]
                windows = rows.windows(piece, gradients.shape[1:-2])
                totals[run] += _products(windows, gradients).reshape(taps, width)

    spread(range(len(runs)), work)
    total = np.add.reduce(totals, axis=0)
    return np.add.reduce(total.reshape(taps, whole.output[-1], channels), axis=1)


def _products(seen: Floats, gradients: Floats) -> Any:
    """Add up over lines what each tap sees times gradients: (taps along each axis..., row)."""
    gradients = gradients.reshape(*gradients.shape[:-2], -1)
    taps = list(range(seen.ndim - gradients.ndim))
    positions = list(range(len(taps), seen.ndim))
    return np.einsum(seen, [*taps, *positions], gradients, positions, [*taps, positions[-1]])
