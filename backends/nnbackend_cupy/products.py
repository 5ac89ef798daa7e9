"""How products of arrays become products of matrices that lie where they lie.

Arrays are known here by shapes and strides alone, so that nothing needs CuPy or a GPU. A transposed matrix, a slice
and a stack cut out of one array are described, not copied: one axis of each matrix must lie in one piece, and the
stack must have one stride. A factor that is the same in the whole stack has the stride 0, and where only the first
varies, its stack is laid out as rows of one product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from nnbackend.typing import Shape
from nnbackend_cupy.cublas import Matrix

__all__ = ["Arrangement", "Laid", "arrange", "contiguous", "matrix_of", "stacked_shape"]

#: Products of a stack with several strides that are launched one after the other, before it is copied into one.
LAUNCHES = 8


class Laid(NamedTuple):
    """An array's shape, and its strides in elements."""

    shape: Shape
    strides: Shape


class Arrangement(NamedTuple):
    """A product of arrays as products of matrices.

    Attributes
    ----------
    rows, columns, summed, batch : int
        Lengths of each product and of its stack.
    first, second, out : Matrix
        Where the factors and the product lie, but for their alignment.
    offsets : tuple of (int, int, int)
        Where each product starts in the two factors and in the result, in elements.
    """

    rows: int
    columns: int
    summed: int
    batch: int
    first: Matrix
    second: Matrix
    out: Matrix
    offsets: tuple[tuple[int, int, int], ...]


#: An axis of a stack: its length, and the strides of both factors and the result along it.
_Axis: TypeAlias = tuple[int, int, int, int]


def contiguous(shape: Sequence[int]) -> Laid:
    """Lay an array out row by row, in one piece."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return Laid(tuple(shape), tuple(strides))


def stacked_shape(first: Shape, second: Shape) -> Shape:
    """Return the shape of a product of two arrays of two axes or more.

    Raises
    ------
    ValueError
        If the matrices do not fit each other, or the stacks do not broadcast.
    """
    longest = max(len(first), len(second)) - 2
    stack = [(1,) * (longest + 2 - len(shape)) + tuple(shape[:-2]) for shape in (first, second)]
    fits = all(a == b or 1 in (a, b) for a, b in zip(*stack, strict=True))
    if not fits or first[-1] != second[-2]:
        raise ValueError(
            f"matmul expects shapes (..., n, k) and (..., k, m) whose leading axes broadcast, got {tuple(first)} and "
            f"{tuple(second)}."
        )
    lead = tuple(b if a == 1 else a for a, b in zip(*stack, strict=True))
    return (*lead, first[-2], second[-1])


def matrix_of(rows: int, columns: int, down: int, along: int) -> Matrix | None:
    """Describe a matrix by its strides from row to row and from column to column; None where it must be copied."""
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return Matrix(columns if rows == 1 else down)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return Matrix(rows if columns == 1 else along, transposed=True)
    return None


def arrange(first: Laid, second: Laid, out: Laid) -> Arrangement | tuple[bool, bool]:
    """Say which products of matrices make ``out = first @ second``, none of whose axes is empty.

    Returns
    -------
    Arrangement or pair of bool
        The products, or else which of the factors must be laid out anew, in one piece and over the whole stack.

    Raises
    ------
    ValueError
        If `out` is not row by row in memory.
    """
    (*_, rows, summed), (*_, columns) = first.shape, second.shape
    spread = zip(out.shape[:-2], _spread(first, out), _spread(second, out), out.strides[:-2], strict=True)
    axes = _folded(list(spread))
    down, down_out = first.strides[-2], out.strides[-2]
    # one product of many rows, where the second factor is the same for all of them
    while axes and axes[-1][2] == 0:
        size, step, _, step_out = axes[-1]
        joined, joined_out = _joined(size, step, rows, down), _joined(size, step_out, rows, down_out)
        if joined is None or joined_out is None:
            break
        rows, down, down_out = rows * size, joined, joined_out
        axes.pop()
    left = matrix_of(rows, summed, down, first.strides[-1])
    right = matrix_of(summed, columns, *second.strides[-2:])
    if (out.strides[-1] != 1 and columns > 1) or (down_out < columns and rows > 1):
        raise ValueError(f"A product is written row by row, which strides of {out.strides} are not.")
    made = Matrix(columns if rows == 1 else down_out)
    negative = [any(step < 0 for step in laid.strides) for laid in (first, second)]
    broken = left is None or negative[0], right is None or negative[1]
    if any(broken):
        return broken
    assert left is not None
    assert right is not None
    longest = max(range(len(axes)), key=lambda axis: axes[axis][0], default=0)
    batch, *steps = axes.pop(longest) if axes else (1, 0, 0, 0)
    if math.prod(size for size, *_ in axes) > LAUNCHES:
        scattered = tuple(len(_folded(_own(laid, out))) > 1 for laid in (first, second))
        if any(scattered):
            return scattered[0], scattered[1]
    return Arrangement(
        rows,
        columns,
        summed,
        batch,
        left._replace(apart=steps[0]),
        right._replace(apart=steps[1]),
        made._replace(apart=steps[2]),
        tuple(_offsets(axes)),
    )


def _spread(laid: Laid, out: Laid) -> Shape:
    """Return a factor's strides along the axes of the stack: 0 where it is the same."""
    missing = len(out.shape) - len(laid.shape)
    own = zip(laid.shape[:-2], laid.strides[:-2], strict=True)
    return (0,) * missing + tuple(0 if size == 1 else step for size, step in own)


def _own(laid: Laid, out: Laid) -> list[_Axis]:
    """Return the axes of the stack as one factor has them."""
    return [(size, step, 0, 0) for size, step in zip(out.shape[:-2], _spread(laid, out), strict=True)]


def _joined(outer: int, outer_step: int, inner: int, inner_step: int) -> int | None:
    """Return the stride of two axes as one, or None where they have none in common."""
    if inner == 1:
        return outer_step
    return inner_step if outer == 1 or outer_step == inner * inner_step else None


def _folded(axes: Sequence[_Axis]) -> list[_Axis]:
    """Join neighbouring axes of a stack wherever both factors and the result have one stride for them."""
    found: list[_Axis] = []
    for axis in axes:
        size, *steps = axis
        if size == 1:
            continue
        if found and all(outer == size * inner for outer, inner in zip(found[-1][1:], steps, strict=True)):
            axis = (found.pop()[0] * size, *axis[1:])
        found.append(axis)
    return found


def _offsets(axes: Sequence[_Axis]) -> list[tuple[int, int, int]]:
    """Return where the products start that are launched one by one."""
    places = [(0, 0, 0)]
    for size, *steps in axes:
        places = [
            (a + i * steps[0], b + i * steps[1], c + i * steps[2]) for a, b, c in places for i in range(size)
        ]
    return places
