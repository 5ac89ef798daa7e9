"""The values of the rules of convolution, on arrays: sums over the taps of products of two matrices.

Each tap adds the product of the positions that it sees, as (rows, in), and its weights, as (in, out); where channels
are few, the taps are gathered into one product. What each rule is stands in `nnbackend.functional.convolution`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from nnbackend.backend import backend_of, namespace
from nnbackend.functional.convolution_geometry import Geometry
from nnbackend.functional.resampling import surrounded
from nnbackend.functional.rules import zeros
from nnbackend.typing import Shape

__all__ = [
    "SHORT",
    "THIN",
    "correlate",
    "gathers_taps",
    "meet",
    "over_positions",
    "phases",
    "spread",
    "tap_offsets",
]

#: This many channels or fewer make thin products. Measured on one thread of an AMD EPYC (Zen 4) with 3x3 kernels, taps
#: gathered into one product against one at a time: 1 channel to 32 is 28 times faster, 3 to 32 3.5 times, 8 to 16 as
#: fast, and 16 to 32 takes 1.3 times as long.
THIN = 8
#: Shorter last axes are laid out as rows of one product: a stack takes one product for each line.
SHORT = 4


def over_positions(dy: Any) -> Any:
    """Sum over all axes but the channels, axis by axis, which keeps the rounding errors of long sums small."""
    while dy.ndim > 1:
        dy = namespace(dy).sum(dy, axis=0)
    return dy


# The values of the rules, on arrays


def correlate(x: Any, kernel: Any, bias: Any, plan: Geometry) -> Any:
    """Convolve: every output position adds up what its window holds."""
    layout, multiplier = _layout(plan, x.shape[-1], kernel.shape[-1])
    source, weights = _grouped(_repeated(x, multiplier), layout), _weights(kernel, layout)
    if all(step == 1 for step in plan.strides):
        shifts = [
            tuple(f - p for f, p in zip(offset, plan.before, strict=True)) for offset in tap_offsets(plan)
        ]
        y = _shifted(source, shifts, weights, plan.output)
    else:
        y = _over_taps(
            _pad(source, plan.before, plan.after), tap_offsets(plan), weights, plan.output, plan.strides
        )
    return _plus(_ungrouped(y, layout), bias)


def spread(dy: Any, kernel: Any, bias: Any, plan: Geometry) -> Any:
    """Convolve transposed: every position adds up what comes from the windows that it was part of.

    With strides s, positions of one remainder modulo s along each axis meet the same taps of the kernel. Each of
    these phases is a convolution without strides of its own, and the result interleaves them.
    """
    xp = namespace(dy)
    layout, multiplier = _layout(plan, kernel.shape[-2] * plan.groups, kernel.shape[-1])
    source, weights = _grouped(dy, layout), _weights(kernel, layout)
    if weights[0].ndim > 1:
        weights = [xp.matrix_transpose(matrix) for matrix in weights]
    counts = tuple(-(-n // s) for n, s in zip(plan.size, plan.strides, strict=True))
    parts: list[Any] = []
    for _, taps, shifts in phases(plan):
        parts.append(_shifted(source, shifts, [weights[tap] for tap in taps], counts) if taps else None)
    made = next(part for part in parts if part is not None)
    parts = [zeros(tuple(made.shape), made) if part is None else part for part in parts]
    return _plus(_joined(_ungrouped(_interleave(parts, plan), layout), multiplier), bias)


def meet(x: Any, dy: Any, plan: Geometry) -> Any:
    """Compute the kernel's gradient: for every tap, what it saw with the gradients of where that went."""
    xp = namespace(x)
    width, made = x.shape[-1] // plan.groups, dy.shape[-1]
    layout, multiplier = _layout(plan, x.shape[-1], made)
    source = _pad(_grouped(_repeated(x, multiplier), layout), plan.before, plan.after)
    if layout.groups == 0:
        sums = [
            over_positions(_window(source, offset, plan.output, plan.strides) * dy)
            for offset in tap_offsets(plan)
        ]
        return xp.reshape(xp.stack(sums), (*plan.kernel, width, made))
    rows = _rows(_grouped(dy, layout), layout.groups)
    gathers = gathers_taps(plan.taps, width, made // plan.groups)
    planes = _planes(source, layout.groups) if gathers else None
    together = _together(plan.taps, width, made // plan.groups) if gathers else 1
    parts = []
    for some in _batched(tap_offsets(plan), together):
        if gathers:
            seen = _gathered(planes, some, plan.output, plan.strides, layout.groups)
        else:
            seen = _rows(_window(source, some[0], plan.output, plan.strides), layout.groups)
            seen = xp.matrix_transpose(seen)
        product = xp.matmul(seen, rows)  # ([groups,] taps in, out)
        parts.append(xp.reshape(product, (*product.shape[:-2], len(some), width, product.shape[-1])))
    stacked = xp.concat(parts, axis=parts[0].ndim - 3) if len(parts) > 1 else parts[0]
    if plan.groups > 1:
        stacked = xp.permute_dims(stacked, (1, 2, 0, 3))
    return xp.reshape(stacked, (*plan.kernel, width, made))


def _plus(y: Any, bias: Any) -> Any:
    if bias is None:
        return y
    if bias.dtype == y.dtype:
        y += bias  # this function's own memory
        return y
    return y + bias


# How channels lie in memory


def _layout(plan: Geometry, width: int, made: int) -> tuple[Geometry, int]:
    """Return how channels are laid out, and how often each that comes in is repeated first.

    Groups of one channel each have numbers for matrices, and stay where they are: a plan of 0 groups says so. Where m
    channels are made of one, it is repeated as often, so that again one comes of one.
    """
    if plan.groups > 1 and width == plan.groups:
        return plan._replace(groups=0), made // width
    return plan, 1


def _repeated(x: Any, multiplier: int) -> Any:
    if multiplier == 1:
        return x
    xp = namespace(x)
    copies = xp.broadcast_to(xp.expand_dims(x, axis=x.ndim), (*x.shape, multiplier))
    return xp.reshape(copies, (*x.shape[:-1], x.shape[-1] * multiplier))


def _joined(y: Any, multiplier: int) -> Any:
    """Add up the channels that came of one; undoes `_repeated` as gradients do."""
    if multiplier == 1:
        return y
    xp = namespace(y)
    return xp.sum(xp.reshape(y, (*y.shape[:-1], y.shape[-1] // multiplier, multiplier)), axis=y.ndim)


def _grouped(x: Any, layout: Geometry) -> Any:
    """Put groups of channels first, (groups, n, ..., channels of one); without groups nothing is done."""
    if layout.groups <= 1:
        return x
    xp = namespace(x)
    split = xp.reshape(x, (*x.shape[:-1], layout.groups, x.shape[-1] // layout.groups))
    last = split.ndim - 1
    return xp.permute_dims(split, (last - 1, *range(last - 1), last))


def _ungrouped(y: Any, layout: Geometry) -> Any:
    """Undo `_grouped`."""
    if layout.groups <= 1:
        return y
    xp = namespace(y)
    last = y.ndim - 1
    y = xp.permute_dims(y, (*range(1, last), 0, last))
    return xp.reshape(y, (*y.shape[:-2], y.shape[-2] * y.shape[-1]))


def _rows(x: Any, groups: int) -> Any:
    """Lay all positions out as rows, (positions, channels), behind the groups where there are any."""
    lead = x.shape[:1] if groups > 1 else ()
    return namespace(x).reshape(x, (*lead, math.prod(x.shape[len(lead) : -1]), x.shape[-1]))


def _weights(kernel: Any, layout: Geometry) -> list[Any]:
    """Return the weights of each tap: ([groups,] in, out), or of each channel one number, (channels,)."""
    xp = namespace(kernel)
    width, made = kernel.shape[-2:]
    if layout.groups == 0:
        flat = xp.reshape(kernel, (layout.taps, made))
    else:
        flat = xp.reshape(kernel, (layout.taps, width, made))
    if layout.groups > 1:
        flat = xp.reshape(flat, (layout.taps, width, layout.groups, made // layout.groups))
        flat = xp.permute_dims(flat, (0, 2, 1, 3))
    rest = (slice(None),) * (flat.ndim - 1)
    return [flat[(tap, *rest)] for tap in range(layout.taps)]


def _multiply(seen: Any, weights: Any, in_one_piece: bool) -> Any:
    """Multiply what is seen, ([groups,] n, ..., in), by ([groups,] in, out), or each channel by its own number."""
    if weights.ndim == 1:
        return seen * weights
    xp = namespace(seen)
    groups = weights.shape[0] if weights.ndim == 3 else 1
    # rows in one piece make one product; what is cut out would have to be copied, and a product of each line need not
    if in_one_piece or seen.shape[-2] < SHORT or not backend_of(seen).multiplies_stacks:
        product = xp.matmul(_rows(seen, groups), weights)
        return xp.reshape(product, (*seen.shape[:-1], weights.shape[-1]))
    if groups > 1:
        weights = xp.reshape(weights, (groups, *(1,) * (seen.ndim - 3), *weights.shape[1:]))
    return xp.matmul(seen, weights)


# Taps and windows


def tap_offsets(plan: Geometry) -> list[Shape]:
    """Return where the window of the first output position meets each tap, the last axis running fastest."""
    steps = (range(0, k * d, d) for k, d in zip(plan.kernel, plan.dilation, strict=True))
    return list(itertools.product(*steps))


def _number(tap: Sequence[int], kernel: Shape) -> int:
    """Return where a tap stands among all, the last axis running fastest."""
    number = 0
    for index, count in zip(tap, kernel, strict=True):
        number = number * count + index
    return number


def phases(plan: Geometry) -> list[tuple[Shape, list[int], list[Shape]]]:
    """Return for each remainder of positions modulo the strides which taps meet them, and by which shifts.

    Along an axis, position s q + r meets tap t of the window o where s o + d t - p = s q + r, that is,
    o = q + (r + p - d t) / s, where that is whole. The second number is the shift.
    """
    axes = [
        [[(t, (r + p - d * t) // s) for t in range(k) if (r + p - d * t) % s == 0] for r in range(s)]
        for k, s, d, p in zip(plan.kernel, plan.strides, plan.dilation, plan.before, strict=True)
    ]
    found = []
    for remainder in itertools.product(*map(range, plan.strides)):
        met = list(itertools.product(*(axis[r] for axis, r in zip(axes, remainder, strict=True))))
        taps = [_number([tap for tap, _ in each], plan.kernel) for each in met]
        found.append((remainder, taps, [tuple(shift for _, shift in each) for each in met]))
    return found


def _interleave(parts: list[Any], plan: Geometry) -> Any:
    """Put phases together: position s q + r is position q of phase r, along every axis of space."""
    first = parts[0]
    if len(parts) == 1:
        return first
    xp = namespace(first)
    ndim = len(plan.size)
    lead = first.ndim - ndim - 1
    joined = xp.reshape(xp.stack(parts), (*plan.strides, *first.shape))
    pairs = itertools.chain.from_iterable((ndim + lead + axis, axis) for axis in range(ndim))
    joined = xp.permute_dims(joined, (*range(ndim, ndim + lead), *pairs, joined.ndim - 1))
    full = tuple(count * stride for count, stride in zip(first.shape[lead:-1], plan.strides, strict=True))
    joined = xp.reshape(joined, (*first.shape[:lead], *full, first.shape[-1]))
    if full == plan.size:
        return joined
    return joined[(slice(None),) * lead + tuple(slice(0, n) for n in plan.size) + (slice(None),)]


def _pad(x: Any, before: Shape, after: Shape) -> Any:
    """Put zeros around the axes of space; where a width is negative, cut off as much."""
    lead = [(0, 0)] * (x.ndim - 1 - len(before))
    return surrounded(x, [*lead, *zip(before, after, strict=True), (0, 0)])


def _window(source: Any, offset: Shape, counts: Shape, strides: Shape) -> Any:
    """Return what one tap sees: positions offset, offset + stride, ... of the axes of space."""
    lead = source.ndim - 1 - len(offset)
    if counts == tuple(source.shape[lead:-1]):
        return source
    return source[(..., *_slices(offset, counts, strides), slice(None))]


def _slices(offset: Shape, counts: Shape, strides: Shape) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + (count - 1) * step + 1, step)
        for start, count, step in zip(offset, counts, strides, strict=True)
    )


def gathers_taps(taps: int, width: int, made: int) -> bool:
    """Tell whether taps are gathered into one product: where few channels come in, and no fewer go out."""
    return taps > 1 and 0 < width <= THIN and width <= made


def _together(taps: int, width: int, made: int) -> int:
    """Return how many taps go into one product, when channels of this width lie side by side.

    They take at most twice as much as input and output together, so that memory stays in proportion.
    """
    most = max(2 * (width + made) // max(width, 1), 1)
    return -(-taps // -(-taps // most))  # products of about equal width


def _planes(source: Any, groups: int) -> Any:
    """Put channels before positions, ([groups,] channels, n, ...), so that windows are cut out line by line."""
    xp = namespace(source)
    lead = tuple(source.shape[:1]) if groups > 1 else ()
    space = tuple(source.shape[len(lead) : -1])
    whole = (slice(None),) * (source.ndim - 1)
    flat = [
        xp.reshape(source[(*whole, channel)], (*lead, 1, math.prod(space)))
        for channel in range(source.shape[-1])
    ]
    return xp.reshape(xp.concat(flat, axis=len(lead)), (*lead, source.shape[-1], *space))


def _gathered(planes: Any, offsets: Sequence[Shape], counts: Shape, strides: Shape, groups: int) -> Any:
    """Return what several taps see of planes, as rows of all positions: ([groups,] taps channels, positions)."""
    xp = namespace(planes)
    lead = tuple(planes.shape[:1]) if groups > 1 else ()
    windows = [planes[(..., *_slices(offset, counts, strides))] for offset in offsets]
    joined = xp.concat(windows, axis=len(lead))
    return xp.reshape(joined, (*lead, joined.shape[len(lead)], math.prod(joined.shape[len(lead) + 1 :])))


def _batched(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    return [items[start : start + count] for start in range(0, len(items), count)]


def _shifted(source: Any, shifts: Sequence[Shape], weights: Sequence[Any], counts: Shape) -> Any:
    r"""Sum over taps without strides,  :math:`y_q = \sum_t x_{q + f_t} W_t`, where x is zero beyond its borders.

    Either each tap looks at the padded input, or what each makes of the input is put where it belongs. The second is
    for few channels that come out, when the products of several taps are one, and for an input much smaller than the
    output, most of whose padding would be multiplied in vain.
    """
    space = tuple(source.shape[source.ndim - 1 - len(counts) : -1])
    if weights[0].ndim > 1:
        width, made = weights[0].shape[-2:]
        if made < THIN < width or 2 * math.prod(space) <= math.prod(counts):
            return _placed(source, shifts, weights, counts)
    before = tuple(-min(axis) for axis in zip(*shifts, strict=True))
    after = tuple(
        count + max(axis) - length
        for count, axis, length in zip(counts, zip(*shifts, strict=True), space, strict=True)
    )
    offsets = [tuple(f + low for f, low in zip(shift, before, strict=True)) for shift in shifts]
    return _over_taps(_pad(source, before, after), offsets, weights, counts, (1,) * len(counts))


def _placed(source: Any, shifts: Sequence[Shape], weights: Sequence[Any], counts: Shape) -> Any:
    """Multiply the input by several taps at once, and add the products up, each moved by its shift."""
    xp = namespace(source)
    made = weights[0].shape[-1]
    space = tuple(source.shape[source.ndim - 1 - len(counts) : -1])
    together = _together(len(shifts), made, weights[0].shape[-2])
    total: Any = None
    for some, matrices in zip(_batched(shifts, together), _batched(weights, together), strict=True):
        matrix = xp.concat(list(matrices), axis=matrices[0].ndim - 1) if len(matrices) > 1 else matrices[0]
        products = _multiply(source, matrix, in_one_piece=True)
        for number, shift in enumerate(some):
            own = slice(number * made, (number + 1) * made)
            product = products[(slice(None),) * (products.ndim - 1) + (own,)]
            after = tuple(count + f - n for count, f, n in zip(counts, shift, space, strict=True))
            product = _pad(product, tuple(-f for f in shift), after)
            total = product if total is None else total + product
    return total


def _over_taps(
    source: Any, offsets: Sequence[Shape], weights: Sequence[Any], counts: Shape, strides: Shape
) -> Any:
    r"""Sum over taps of what each sees times its weights,  :math:`y_o = \sum_t x_{s o + f_t} W_t`."""
    if weights[0].ndim > 1 and gathers_taps(len(offsets), *weights[0].shape[-2:]):
        return _over_gathered_taps(source, offsets, weights, counts, strides)
    total: Any = None
    for offset, matrix in zip(offsets, weights, strict=True):
        seen = _window(source, offset, counts, strides)
        product = _multiply(seen, matrix, in_one_piece=seen is source)
        if total is None:
            total = product
        else:
            total += product  # this function's own memory
    return total


def _over_gathered_taps(
    source: Any, offsets: Sequence[Shape], weights: Sequence[Any], counts: Shape, strides: Shape
) -> Any:
    """Compute the same sum with one product for several taps."""
    xp = namespace(source)
    groups = weights[0].shape[0] if weights[0].ndim == 3 else 1
    together = _together(len(offsets), *weights[0].shape[-2:])
    planes = _planes(source, groups)
    total: Any = None
    for some, matrices in zip(_batched(offsets, together), _batched(weights, together), strict=True):
        seen = _gathered(planes, some, counts, strides, groups)
        matrix = xp.concat(list(matrices), axis=matrices[0].ndim - 2)
        product = xp.matmul(xp.matrix_transpose(seen), matrix)
        if total is None:
            total = product
        else:
            total += product  # this function's own memory
    lead = source.ndim - 1 - len(counts)
    return xp.reshape(total, (*source.shape[:lead], *counts, total.shape[-1]))
