"""Convolution in pieces that stay in cache: the sums of `nnbackend.functional.convolution`, in another order.

A piece is a few images, or some lines of a large one, with the borders that its windows reach into. Each of the three
rules goes over the pieces, and in each over the taps. What a tap saw is made again wherever it is needed, in memory
that is used again and again, so nothing is kept and nothing but the result is allocated. Which pieces there are
depends on shapes alone, and they are added up in their order, so the same call gives the same bits, on any number of
threads (`nnbackend_numpy.threads`). Where fewer digits will do, 3x3 taps go by `nnbackend_numpy.winograd`.

What has no faster form here is computed by the generic rules: mixed dtypes, and a few channels made of many. Groups go
by `nnbackend_numpy.grouped`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

import nnbackend.functional.convolution as generic
from nnbackend.functional.convolution import Geometry
from nnbackend.precision import get_matmul_precision
from nnbackend.typing import Backward, Shape
from nnbackend_numpy import winograd
from nnbackend_numpy.leases import fresh
from nnbackend_numpy.pieces import Floats, Piece, Pieces, Seen, Sum, Taps
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["conv", "conv_kernel_gradient", "conv_transpose"]

#: Bytes of input, output and gathered taps that are worked on at a time; they should stay in the second level of cache.
PIECE = 1 << 20
#: The same where the taps' weights are large: a product rearranges them each time, which many positions have to repay.
LARGE_PIECE = 4 << 20
#: Elements of one tap's weights above which all taps are gathered into one product, as below so many positions a line.
HEAVY, SHORT = 1 << 14, 8
#: Multiply-adds of a product up to which BLAS does not lay its operands out anew, which few columns do not repay:
#: OpenBLAS has kernels of their own for a million and fewer, with AVX-512.
SMALL = 1_000_000
#: Rows of such a product at most, if so many positions or a part of them divide all that lie one behind the other.
ROWS = 144
#: Elements that rows with a one beside them begin apart, a multiple of which they are: cache lines of float32.
LINE = 16
#: Channels from which on the kernel's gradient, where it is HEAVY, takes taps one at a time, not those along its last
#: axis together.
WIDE = 48
#: Bytes of a product's smaller operand, or of both in a product of gradients, that stay in the first level of cache.
NEAR = 32 << 10
#: Sums of a kernel's gradient that are taken apart from each other, so that as many threads have work.
RUNS = 16

_workspaces = Workspaces()

#: Writes the sums of a piece into the output's positions.
Way = Callable[[Piece, Floats], None]
#: Makes the products of what some taps after the other see of a piece, transposed, and gradients.
Crossing = Callable[[Piece, Floats], Iterator[Floats]]


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
    weights = np.ascontiguousarray(kernel.reshape(plan.taps, made, width).transpose(0, 2, 1))
    y = _evaluate(transposed(plan), x, weights, bias)
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
    y = fresh((len(x), *whole.output, made), x.dtype)
    if not y.size:
        return y
    if get_matmul_precision() != "highest" and winograd.serves(whole, x, weights):
        return winograd.evaluate(whole, x, weights, bias)
    thin = generic.gathers_taps(taps, width, made)
    heavy = width * made > HEAVY or whole.output[-1] < SHORT * whole.parts[0].every[-1]
    beside = len({offset[-1] for part in whole.parts for offset in part.offsets})
    near = beside * width * made * x.itemsize <= NEAR
    by_lines = len(whole.output) > 1 < beside and near and not (thin or heavy)
    gathered = taps * width if thin or heavy else made + beside * width if by_lines else 0
    line = math.prod(whole.output[1:]) * (2 * made + gathered) * x.itemsize
    pieces = Pieces(whole, x, line, LARGE_PIECE if heavy and not thin else PIECE, planes=thin)
    within = by_lines and len(whole.parts) == 1  # the bias is made with the products
    offsets = (
        None if bias is None or within else np.tile(bias, (whole.output[-1], 1))
    )  # those of a line at a time

    def work(some: Iterable[Piece]) -> None:
        seen = pieces.seen()
        sums: list[tuple[Floats, Way]] = []
        for part in whole.parts:
            out = y[(slice(None), *(slice(r, None, e) for r, e in zip(part.first, part.every, strict=True)))]
            if not part.numbers:
                sums.append((out, _nothing))
                continue
            own = weights[part.numbers]
            if by_lines:
                sums.append((out, _by_lines(seen, part, own, bias if within else None)))
                continue
            way = _by_planes if thin else _by_rows if heavy else _tap_by_tap
            sums.append((out, way(seen, part, own)))
        for piece in some:
            seen.look_at(piece)
            for target, add_up in sums:
                out = target[piece]
                if out.size:
                    add_up(piece, out)
                    if offsets is not None:
                        out += offsets[: out.shape[-2]]

    spread(pieces.all, work)
    return y


def _nothing(piece: Piece, out: Floats) -> None:
    """Add up what no tap meets."""
    out[...] = 0.0


def _tap_by_tap(seen: Seen, part: Taps, weights: Floats) -> Way:
    """Add up what each tap makes of what it sees, a product of matrices for each line."""
    windows, matrices = seen.windows(part), list(weights)
    ndim = seen.ndim
    flat = [windows[tap] for tap in np.ndindex(windows.shape[: windows.ndim - ndim])]

    def add_up(piece: Piece, out: Floats) -> None:
        region = seen.region(piece, out.shape[1])
        _add_up([window[region] for window in flat], matrices, out)

    return add_up


def _by_lines(seen: Seen, part: Taps, weights: Floats, bias: Floats | None) -> Way:
    """Lay what taps along the last axis see side by side, once for all others, which are added up.

    The bias is one more row of the first ones' weights, for a one beside what they see.
    """
    made = weights.shape[-1]
    beside = _Beside(seen, part, lambda width: min(ROWS, SMALL // (width * made)), one=bias is not None)
    matrices = list(weights.reshape(-1, beside.width, made))
    if bias is not None:
        matrices[0] = np.concatenate([matrices[0], bias[np.newaxis]])

    def add_up(piece: Piece, out: Floats) -> None:
        lines = beside.lines(piece, out)
        _add_up(lines, matrices, out.reshape(*lines[0].shape[:-1], made))

    return add_up


class _Beside:
    """What taps along the last axis see of a piece, side by side, in memory of one thread.

    Parameters
    ----------
    seen : Seen
        The input.
    part : Taps
        The taps.
    rows : callable
        Tells how many positions a product may have for this width.
    one : bool
        Whether there is a one beside what the first taps of the other axes see.

    Attributes
    ----------
    width : int
        How many numbers lie side by side.
    """

    def __init__(self, seen: Seen, part: Taps, rows: Callable[[int], int], *, one: bool = False) -> None:
        self._seen, self._view, self._one = seen, seen.beside(part), one
        self._last = max(offset[0] for offset in part.offsets)
        self._places = list(dict.fromkeys(offset[:-1] for offset in part.offsets))
        self.width = self._view.shape[-2] * self._view.shape[-1]
        self._rows = rows(self.width)
        self._known: dict[Shape, tuple[Floats, Floats | None, list[Floats]]] = {}

    def lines(self, piece: Piece, out: Floats) -> list[Floats]:
        """Return what is seen of the lines of `out`, (n, ..., lines, positions, width), by each tap of the other axes.

        Where lines lie one behind the other, they are cut anew, to as many positions as a product may have.
        """
        if out.shape not in self._known:
            view = self._view[self._seen.reach(piece, out.shape[1], self._last)]
            apart = -(-(self.width + 1) // LINE) * LINE if self._one else self.width
            rows = _workspaces.array("beside", (*view.shape[:-2], apart), view.dtype)
            if self._one:
                rows[..., self.width] = 1.0
            memory = rows[..., : self.width].reshape(view.shape)
            self._known[out.shape] = memory, None if self._seen.moves else view, self._views(rows, out)
        memory, source, lines = self._known[out.shape]
        if source is None:
            source = self._view[self._seen.reach(piece, out.shape[1], self._last)]
        memory[...] = source
        return lines

    def _views(self, rows: Floats, out: Floats) -> list[Floats]:
        counts, steps = out.shape[1:-2], self._seen.strides
        views = []
        for number, place in enumerate(self._places):
            lines = (slice(f, f + (c - 1) * s + 1, s) for f, c, s in zip(place, counts, steps, strict=False))
            width = self.width + (self._one and not number)
            views.append(rows[(slice(None), *lines)][..., :width])
        *lead, count, positions, _ = out.shape
        if steps[-2] > 1 or out.strides[-3] != positions * out.strides[-2]:
            return views
        cut = _cut(count * positions, positions, self._rows)
        shape = (*lead, count * positions // cut, cut)
        return [view.reshape(*shape, view.shape[-1]) for view in views]


def _cut(count: int, line: int, most: int) -> int:
    """Return how many of `count` positions a product has: as many up to `most` as divide them, or those of a line."""
    cut = next(number for number in range(max(most, 1), 0, -1) if count % number == 0)
    return line if cut < min(line, most // 4) else cut


def _add_up(seen: list[Floats], weights: list[Floats], out: Floats) -> None:
    """Add up the products of what is seen with its weights."""
    np.matmul(seen[0], weights[0], out=out)
    if len(seen) > 1:
        product = _workspaces.array("product", out.shape, out.dtype)
        for some, matrix in zip(seen[1:], weights[1:], strict=True):
            np.matmul(some, matrix, out=product)
            np.add(out, product, out=out)


def _by_rows(seen: Seen, part: Taps, weights: Floats) -> Way:
    """Gather what all taps see as rows of one product, for weights that are too large for many of them."""
    rows = _as_rows(seen.windows(part), seen.ndim)

    def add_up(piece: Piece, out: Floats) -> None:
        some = _copied(rows[seen.region(piece, out.shape[1])])
        _multiply(some.reshape(-1, weights.shape[0] * weights.shape[1]), weights, out)

    return add_up


def _by_planes(seen: Seen, part: Taps, weights: Floats) -> Way:
    """Gather what all taps see channel by channel, in runs of positions where those of channels would be short."""
    planes = _as_planes(seen.windows(part), seen.ndim)
    before = (slice(None),) * (planes.ndim - seen.ndim + 1)

    def add_up(piece: Piece, out: Floats) -> None:
        some = _copied(planes[(*before, *seen.region(piece, out.shape[1]))])
        _multiply(some.reshape(weights.shape[0] * weights.shape[1], -1).T, weights, out)

    return add_up


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
    by_lines = not thin and len(plan.kernel) > 1 and width * plan.kernel[-1] * made < HEAVY
    gathered = width * (
        plan.taps if thin else plan.kernel[-1] if by_lines else math.prod(plan.kernel[alone:])
    )
    together = plan.taps * width if by_lines else gathered  # rows of the kernel's matrix that a product makes
    line = math.prod(plan.output[1:]) * (made + gathered) * x.itemsize
    pieces = Pieces(whole, x, line, LARGE_PIECE if gathered * made >= HEAVY else PIECE, planes=thin)
    runs = _runs(len(pieces.all), (x.size + dy.size) // (plan.taps * width * made))
    totals = np.zeros((len(runs), plan.taps, width, made), x.dtype)

    def work(some: Iterable[int]) -> None:
        seen = pieces.seen()
        part = whole.parts[0]
        if thin:
            crossed = _planes_crossed(seen, part)
        elif by_lines:
            crossed = _lines_crossed(seen, part, made)
        else:
            crossed = _rows_crossed(seen, part, list(np.ndindex(plan.kernel[:alone])))
        for run in some:
            for piece in pieces.all[runs[run]]:
                seen.look_at(piece)
                products = crossed(piece, dy[piece])
                for own, product in zip(totals[run].reshape(-1, together, made), products, strict=True):
                    own += product

    spread(range(len(runs)), work)
    total = totals[0] if len(runs) == 1 else np.add.reduce(totals, axis=0)
    return total.reshape(*plan.kernel, width, made)


def _runs(pieces: int, most: int) -> list[slice]:
    """Divide pieces, in their order, into at most as many runs as `most`, and RUNS, of about equal length."""
    count = max(1, min(pieces, most, RUNS))
    ends = [pieces * number // count for number in range(count + 1)]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def _planes_crossed(seen: Seen, part: Taps) -> Crossing:
    """Multiply what all taps see, channel by channel, by gradients."""
    planes = _as_planes(seen.windows(part), seen.ndim)
    before = (slice(None),) * (planes.ndim - seen.ndim + 1)

    def crossed(piece: Piece, gradients: Floats) -> Iterator[Floats]:
        some = _copied(planes[(*before, *seen.region(piece, gradients.shape[1]))])
        columns, (line, made) = len(part.numbers) * some.shape[-seen.ndim], gradients.shape[-2:]
        cut = _cut(gradients.size // made, line, _near(columns, made, some.itemsize))
        rows = some.reshape(columns, -1, cut).transpose(1, 2, 0)
        yield _products(rows, gradients.reshape(-1, cut, made))

    return crossed


def _lines_crossed(seen: Seen, part: Taps, made: int) -> Crossing:
    """Multiply what the taps along the last axis see side by side by gradients, for all of the others."""
    beside = _Beside(seen, part, lambda width: min(ROWS, SMALL // (width * made)))
    known: dict[Shape, tuple[Shape, Floats, list[tuple[Floats, Floats]]]] = {}

    def crossed(piece: Piece, gradients: Floats) -> Iterator[Floats]:
        lines = beside.lines(piece, gradients)
        if gradients.shape not in known:
            *lead, positions, width = lines[0].shape
            products = _workspaces.array("product", (len(lines), *lead, width, made), gradients.dtype)
            pairs = list(zip((rows.swapaxes(-1, -2) for rows in lines), products, strict=True))
            flat = products.reshape(len(lines), -1, width, made)
            known[gradients.shape] = (*lead, positions, made), flat, pairs
        shape, products, pairs = known[gradients.shape]
        gradients = gradients.reshape(shape)
        for columns, product in pairs:
            np.matmul(columns, gradients, out=product)
        yield np.add.reduce(products, axis=1).reshape(-1, made)

    return crossed


def _rows_crossed(seen: Seen, part: Taps, alone: list[Shape]) -> Crossing:
    """Multiply what the taps see that are not taken alone by gradients, for each of those that are."""
    windows = seen.windows(part)
    views = [_as_rows(windows[tap], seen.ndim) for tap in alone]

    def crossed(piece: Piece, gradients: Floats) -> Iterator[Floats]:
        region = seen.region(piece, gradients.shape[1])
        for view in views:
            columns = math.prod(view.shape[seen.ndim - 1 :])
            yield _crossed(_copied(view[region]).reshape(-1, columns), gradients)

    return crossed


def _crossed(rows: Floats, gradients: Floats) -> Floats:
    """Multiply what taps see, transposed, by gradients, in products of a size that BLAS does fast."""
    made = gradients.shape[-1]
    positions, columns = rows.shape
    line = gradients.shape[-2]
    lines = positions // line
    most = lines if columns * made >= HEAVY else min(_near(columns, made, rows.itemsize) // line, lines)
    together = max((count for count in range(1, most + 1) if lines % count == 0), default=1)
    shape = lines // together, together * line
    return _products(rows.reshape(*shape, columns), gradients.reshape(*shape, made))


def _near(columns: int, made: int, itemsize: int) -> int:
    """Return how many rows a product of gradients has for both of its operands to stay in the first level of cache."""
    return max(64, NEAR // ((columns + made) * itemsize))


def _products(rows: Floats, gradients: Floats) -> Floats:
    """Add up the products of matrices of rows, transposed, and of gradients."""
    shape = (*rows.shape[:-2], rows.shape[-1], gradients.shape[-1])
    products = _workspaces.array("product", shape, rows.dtype)
    np.matmul(rows.swapaxes(-1, -2), gradients, out=products)
    products = products.reshape(-1, *shape[-2:])
    return products[0] if len(products) == 1 else np.add.reduce(products, axis=0)


# The convolution itself, and the transposed one, as sums


def _whole(plan: Geometry) -> Sum:
    """Return the convolution itself as a sum of one part."""
    ones = (1,) * len(plan.size)
    part = Taps((0,) * len(ones), ones, list(range(plan.taps)), generic.tap_offsets(plan))
    return Sum(plan.size, plan.output, plan.strides, plan.before, [part])


def transposed(plan: Geometry) -> Sum:
    """Return the transposed convolution as a sum without strides, of one part for each phase of the positions."""
    phases = [phase for phase in generic.phases(plan) if all(map(int.__lt__, phase[0], plan.size))]
    shifts = [shift for _, _, own in phases for shift in own] or [(0,) * len(plan.size)]
    before = tuple(-min(axis) for axis in zip(*shifts, strict=True))
    parts = [
        Taps(first, plan.strides, taps, [tuple(map(sum, zip(f, before, strict=True))) for f in own])
        for first, taps, own in phases
    ]
    return Sum(plan.output, plan.size, (1,) * len(plan.size), before, parts)
