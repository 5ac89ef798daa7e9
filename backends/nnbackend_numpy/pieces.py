"""Pieces of a sum over taps: a few images, or some lines of a large one, with the borders that windows reach into.

Which pieces there are depends on shapes alone. Each thread puts the padded input of its present piece into memory of
its own, which the next piece overwrites.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnbackend.typing import Shape
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["Floats", "Piece", "Pieces", "Region", "Seen", "Sum", "Taps"]

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]
#: Some images, and some lines of each.
Piece = tuple[slice, slice]
#: Where these are in the memory of what is seen.
Region = tuple[slice, slice]


class Taps(NamedTuple):
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


class Sum(NamedTuple):
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
    parts: list[Taps]

    def counts(self, part: Taps) -> Shape:
        """How many positions a part has along each axis."""
        return tuple(-(-(n - r) // e) for n, r, e in zip(self.output, part.first, part.every, strict=True))

    def padded(self, lines: int) -> Shape:
        """Lengths of the axes of space of the padded input of so many lines of positions."""
        most = [lines, *[max(axis) for axis in zip(*map(self.counts, self.parts), strict=True)][1:]]
        met = [offset for part in self.parts for offset in part.offsets] or [(0,) * len(most)]
        reach = [max(axis) for axis in zip(*met, strict=True)]
        return tuple((count - 1) * s + f + 1 for count, s, f in zip(most, self.strides, reach, strict=True))


class Pieces:
    """Pieces of the positions: some images, or some lines of one along the first axis of space.

    Parameters
    ----------
    whole : Sum
        What is computed.
    x : array of shape (n, ..., c)
        The input.
    line : int
        How many bytes one line of positions takes besides the input it sees.
    budget : int
        How many bytes a piece may have.
    planes : bool
        Whether channels come before positions in the memory of what is seen.

    Attributes
    ----------
    all : list of Piece
        In their order.
    images, lines : int
        How many images and lines of positions a piece has, but for the last ones.
    most : int
        How many lines there are.
    """

    def __init__(self, whole: Sum, x: Floats, line: int, budget: int, *, planes: bool = False) -> None:
        self.whole, self.x, self.planes = whole, x, planes
        lines = max(whole.counts(part)[0] for part in whole.parts)
        padded = whole.padded(lines)
        image = lines * line + math.prod(padded) * x.shape[-1] * x.itemsize
        self.images = max(1, min(budget // image, len(x)))
        self.lines = -(-lines // -(-image // budget)) if image > budget else lines
        self.most = lines
        bare = x.flags.c_contiguous and not any(whole.before) and (not planes or x.shape[-1] == 1)
        #: Whether nothing is padded, so that what is seen stays where it is.
        self.bare = bare and all(z <= n for z, n in zip(padded, whole.size, strict=True))
        self.all: list[Piece] = [
            (slice(start, min(start + self.images, len(x))), slice(first, min(first + self.lines, lines)))
            for start in range(0, len(x), self.images)
            for first in range(0, lines, self.lines)
        ]

    def seen(self) -> Seen:
        """Return memory of this thread for what one piece after the other sees."""
        return Seen(self)


class Seen:
    """The padded input that one piece sees, in memory of one thread."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self._seen = pieces, pieces.x
        self._frames: dict[tuple[int, int], _Frame] = {}
        #: Axes of the input, and how far windows are apart.
        self.ndim, self.strides = pieces.x.ndim, pieces.whole.strides
        if not pieces.bare:
            shape, width = (pieces.images, *pieces.whole.padded(pieces.lines)), pieces.x.shape[-1]
            order = (width, *shape) if pieces.planes else (*shape, width)
            seen = _workspaces.array("padded", order, pieces.x.dtype)
            seen[...] = 0.0
            self._seen = np.moveaxis(seen, 0, -1) if pieces.planes else seen

    @property
    def moves(self) -> bool:
        """Whether what a piece sees lies elsewhere for each: in the input itself, of which nothing is padded."""
        return self._pieces.bare

    def windows(self, part: Taps) -> Floats:
        """View what each tap of a part sees, whatever the piece; `region` says where."""
        pieces = self._pieces
        first, *rest = pieces.whole.counts(part)
        counts = (first if pieces.bare else min(first, pieces.lines), *rest)
        return part.windows(self._seen, counts, pieces.whole.strides)

    def look_at(self, piece: Piece) -> None:
        """Bring what a piece sees to where `windows` looks."""
        if self._pieces.bare:
            return
        images, lines = piece
        key = images.stop - images.start, lines.start
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = _framed(self._pieces.whole, *key, self._seen)
        if self._pieces.lines < self._pieces.most:  # else the border is what it was from the beginning
            for edge in frame.edges:
                edge[...] = 0.0
        frame.inside[...] = self._pieces.x[(images, *frame.taken)]

    def beside(self, part: Taps) -> Floats:
        """View what the taps along the last axis see side by side: (n, lines..., positions, taps, channels)."""
        whole = self._pieces.whole
        taps = list(dict.fromkeys(offset[-1] for offset in part.offsets))
        apart = (taps[-1] - taps[0]) // max(len(taps) - 1, 1)
        positions = whole.counts(part)[-1]
        corner = self._seen[..., taps[0] :, :]
        *steps, step, channel = corner.strides
        return as_strided(
            corner,
            (*corner.shape[:-2], positions, len(taps), corner.shape[-1]),
            (*steps, step * whole.strides[-1], step * apart, channel),
            writeable=False,
        )

    def reach(self, piece: Piece, count: int, last: int) -> Region:
        """Return where the lines are that the first `count` lines of a piece reach with taps as far as `last`."""
        whole, (images, lines) = self._pieces.whole, piece
        first = 0
        if self._pieces.bare:
            first = lines.start * whole.strides[0]
        else:
            images = slice(0, images.stop - images.start)
        return images, slice(first, first + (count - 1) * whole.strides[0] + last + 1)

    def region(self, piece: Piece, count: int) -> Region:
        """Return where the first `count` lines of a piece are in the windows of a part."""
        images, lines = piece
        if self._pieces.bare:
            return images, slice(lines.start, lines.start + count)
        return slice(0, images.stop - images.start), slice(0, count)


class _Frame(NamedTuple):
    """Where the memory of the padded input has images, which part of them, and the lines of zeros around it."""

    inside: Floats
    taken: tuple[slice, ...]
    edges: tuple[Floats, Floats]


def _framed(whole: Sum, images: int, first: int, seen: Floats) -> _Frame:
    """Return what is put where for so many images, from one line of positions on."""
    taken, placed = [], [slice(0, images)]
    for axis, (size, before) in enumerate(zip(whole.size, whole.before, strict=True)):
        origin = (0 if axis else first * whole.strides[0]) - before
        low = max(origin, 0)
        high = max(min(origin + seen.shape[axis + 1], size), low)
        taken.append(slice(low, high))
        placed.append(slice(low - origin, high - origin))
    edges = seen[:, : placed[1].start], seen[:, placed[1].stop :]
    return _Frame(seen[tuple(placed)], tuple(taken), edges)
