r"""Convolution of 3x3 taps by Winograd's minimal filtering F(4x4, 3x3).

A tile of 4x4 positions sees 6x6 of the padded input. With three matrices A, B and G,

.. math:: Y = A^\top \Big[ \sum_i (B^\top X_i B) \odot (G W_i G^\top) \Big] A

over the channels i that come in: 36 products of matrices instead of 144 for each tile. The matrices evaluate and
interpolate polynomials (Toom and Cook) at five points and infinity. Here these are 0, :math:`\pm\sqrt{1/2}` and
:math:`\pm\sqrt 2`, so that powers and differences stay near one: the greatest error is a fourth to a sixth of that with
0, 1, -1, 2, -2, the points of most libraries. In numbers, relative to the largest output and for normally distributed
inputs and weights:

========  =======  ========  =============
channels  direct   here      usual points
========  =======  ========  =============
32        1.6e-7   1.2e-6    5.2e-6
64        2.3e-7   1.5e-6    7.5e-6
256       3.6e-7   2.8e-6    1.7e-5
========  =======  ========  =============

Each transform of both axes is one product with a Kronecker product of 36 or 16 rows, over the tiles of a piece that
stays in cache.

References
----------
A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, https://arxiv.org/abs/1509.09308
B. Barabasz, A. Anderson, K. M. Soodhalter and D. Gregg, "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks", 2018, https://arxiv.org/abs/1803.10986
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable

import numpy as np

from nnbackend_numpy.pieces import Floats, Piece, Pieces, Sum, Taps
from nnbackend_numpy.threads import spread
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["evaluate", "serves"]

#: Positions of a tile along an axis, taps of the kernel, and what a tile sees.
TILE, TAPS = 4, 3
SEEN = TILE + TAPS - 1
#: Fewer channels make the transforms too large a part.
NARROW = 32
#: Up to this part of the direct sum's multiplications it is faster, with the copies that it takes. On one thread, with
#: 3x3 kernels and images of 28x28, it takes 0.95 of the time with 32 channels and 0.68 with 64.
WORTH = 0.66
#: Bytes of what a piece sees, transformed or not, and makes of it.
PIECE = 1 << 20
#: Tiles that a piece has at least: a product rearranges the weights each time, which they have to repay.
TILES = 64

_workspaces = Workspaces()


def serves(whole: Sum, x: Floats, weights: Floats) -> bool:
    """Tell whether a sum over taps is one of 3x3 neighbours, in float32, and large enough to be faster here."""
    _, width, made = weights.shape
    if x.dtype != np.float32 or min(width, made) < NARROW or len(whole.parts) != 1 or len(whole.output) != 2:
        return False
    (part,) = whole.parts
    square = set(itertools.product(range(TAPS), repeat=2))
    if whole.strides != (1, 1) or part.every != (1, 1) or {*part.offsets} != square:
        return False
    transforms = SEEN**4 * width + SEEN**2 * TILE**2 * made
    tiles = math.prod(_tiles(whole))
    return tiles * (transforms + SEEN**2 * width * made) < WORTH * math.prod(whole.output) * weights.size


def evaluate(whole: Sum, x: Floats, weights: Floats, bias: Floats | None) -> Floats:
    """Compute the sum; `weights` has the shape (taps, in, out)."""
    _, width, made = weights.shape
    (part,) = whole.parts
    order = sorted(range(len(part.offsets)), key=part.offsets.__getitem__)
    own = weights[[part.numbers[index] for index in order]]
    analysis, expansion, synthesis = _transforms()
    kernel = (expansion @ own.reshape(TAPS**2, -1)).reshape(SEEN**2, width, made)
    y = np.empty((len(x), *whole.output, made), x.dtype)

    tiles = _tiles(whole)
    windows = Taps((0, 0), (1, 1), list(range(SEEN**2)), list(itertools.product(range(SEEN), repeat=2)))
    sight = Sum(whole.size, tiles, (TILE, TILE), whole.before, [windows])
    tile = SEEN**2 * (2 * width + made) * x.itemsize
    pieces = Pieces(sight, x, tiles[1] * tile, max(PIECE, TILES * (tile + SEEN**2 * width * x.itemsize)))
    offsets = None if bias is None else np.tile(bias, tiles[1])  # those of a line of tiles

    def work(some: Iterable[Piece]) -> None:
        seen = pieces.seen()
        every = seen.windows(windows)
        for piece in some:
            images, lines = piece
            seen.look_at(piece)
            inputs = every[(slice(None), slice(None), *seen.region(piece, lines.stop - lines.start))]
            shape = inputs.shape[2:-1]
            count = math.prod(shape)
            gathered = _workspaces.array("gathered", inputs.shape, x.dtype)
            gathered[...] = inputs
            points = _workspaces.array("points", (SEEN**2, count * width), x.dtype)
            np.matmul(analysis, gathered.reshape(SEEN**2, -1), out=points)
            products = _workspaces.array("gathered", (SEEN**2, count, made), x.dtype)
            np.matmul(points.reshape(SEEN**2, count, width), kernel, out=products)
            sums = _workspaces.array("points", (TILE**2, count * made), x.dtype)
            np.matmul(synthesis, products.reshape(SEEN**2, -1), out=sums)
            if offsets is not None:
                each = sums.reshape(-1, offsets.size)
                each += offsets
            _put(sums.reshape(TILE, TILE, *shape, made), y[images, lines.start * TILE : lines.stop * TILE])

    spread(pieces.all, work)
    return y


def _tiles(whole: Sum) -> tuple[int, int]:
    """Return how many tiles cover the output along each axis."""
    rows, columns = whole.output
    return -(-rows // TILE), -(-columns // TILE)


def _put(tiles: Floats, out: Floats) -> None:
    """Lay tiles, (4, 4, n, rows, columns, channels), side by side; what reaches beyond the output is left out."""
    _, _, count, rows, columns, made = tiles.shape
    if out.shape[1:3] == (rows * TILE, columns * TILE):
        whole = out.reshape(count, rows, TILE, columns, TILE, made)
        whole[...] = tiles.transpose(2, 3, 0, 4, 1, 5)
        return
    for row, column in itertools.product(range(TILE), repeat=2):
        target = out[:, row::TILE, column::TILE]
        target[...] = tiles[row, column, :, : target.shape[1], : target.shape[2]]


@functools.cache
def _transforms() -> tuple[Floats, Floats, Floats]:
    """Return the Kronecker products of B^T, G and A^T with themselves."""
    analysis, expansion, synthesis = _matrices()
    doubled = (np.kron(matrix, matrix).astype(np.float32) for matrix in (analysis, expansion, synthesis))
    one, two, three = doubled
    return one, two, three


def _matrices() -> tuple[Floats, Floats, Floats]:
    r"""Return B^T, G and A^T in float64.

    With the points a_j and :math:`N_j = \prod_{l \ne j} (a_j - a_l)`, row j of G is :math:`a_j^k / N_j`, column j of
    A^T is :math:`a_j^i`, and row j of B^T has the coefficients of :math:`\prod_{l \ne j} (z - a_l)`. Infinity stands
    for the highest power, and for the polynomial of all points.
    """
    points = np.asarray([0.0, 0.5**0.5, -(0.5**0.5), 2.0**0.5, -(2.0**0.5)])
    analysis, expansion = np.zeros((SEEN, SEEN)), np.zeros((SEEN, TAPS))
    synthesis = np.zeros((TILE, SEEN))
    for index, point in enumerate(points):
        others = np.delete(points, index)
        analysis[index, :-1] = np.poly(others)[::-1]
        expansion[index] = point ** np.arange(TAPS) / np.prod(point - others)
        synthesis[:, index] = point ** np.arange(TILE)
    analysis[-1] = np.poly(points)[::-1]
    expansion[-1, -1] = synthesis[-1, -1] = 1.0
    return analysis, expansion, synthesis
