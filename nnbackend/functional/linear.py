"""Matrix products and the affine map of a dense layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional.rules import like, normalize_axes, sum_of_rows
from nnbackend.typing import Array, Backward

__all__ = ["dense", "matmul", "outer", "tensordot", "vecdot"]


def _matmul_multiply_adds(x1: Any, x2: Any) -> int:
    left = x1.shape if len(x1.shape) > 1 else (1, *x1.shape)
    right = x2.shape if len(x2.shape) > 1 else (*x2.shape, 1)
    stacks = [
        max(pair) for pair in itertools.zip_longest(reversed(left[:-2]), reversed(right[:-2]), fillvalue=1)
    ]
    return math.prod(stacks) * left[-2] * left[-1] * right[-1]


@differentiable(multiply_adds=_matmul_multiply_adds)
def matmul(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Matrix product of the last two axes.

    .. math:: Y = A B, \qquad
              \partial L/\partial A = \partial L/\partial Y\, B^\top, \qquad
              \partial L/\partial B = A^\top\, \partial L/\partial Y

    Parameters
    ----------
    x1 : array of shape (..., n, k), (n, k) or (k,)
        The left factor; floating.
    x2 : array of shape (..., k, m), (k, m) or (k,)
        The right factor; leading axes broadcast.

    Returns
    -------
    array of shape (..., n, m)
        Without the axis n or m where a factor is a vector.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.matmul(xp.asarray([[1.0, 2.0]]), xp.asarray([[3.0], [4.0]]))
    array([[11.]])
    """

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        a = xp.expand_dims(x1, axis=0) if x1.ndim == 1 else x1
        b = xp.expand_dims(x2, axis=1) if x2.ndim == 1 else x2
        if x1.ndim == 1:
            dy = xp.expand_dims(dy, axis=dy.ndim if x2.ndim == 1 else dy.ndim - 1)
        if x2.ndim == 1:
            dy = xp.expand_dims(dy, axis=dy.ndim)
        left = right = None
        if needs[0]:
            left = xp.reshape(like(xp.matmul(dy, b.mT), a), x1.shape)
        if needs[1]:
            right = xp.reshape(like(xp.matmul(a.mT, dy), b), x2.shape)
        return left, right

    return namespace(x1).matmul(x1, x2), backward


@differentiable(multiply_adds=lambda x, kernel, bias=None: math.prod(x.shape) * kernel.shape[1])
def dense(x: Array, kernel: Array, bias: Array | None = None) -> tuple[Array, Backward]:
    r"""Affine map of the last axis, the heart of a dense layer.

    .. math:: y = x W + b, \qquad
              \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} W^\top, \quad
              \frac{\partial L}{\partial W} = x^\top \frac{\partial L}{\partial y}, \quad
              \frac{\partial L}{\partial b} = \sum \frac{\partial L}{\partial y}

    Parameters
    ----------
    x : array of shape (..., n)
        The input; floating.
    kernel : array of shape (n, m)
        The weights W, in Keras's order (in, out).
    bias : array of shape (m,), optional
        The offset b.

    Returns
    -------
    array of shape (..., m)
        In the dtype of `x` and `kernel`.

    Raises
    ------
    ValueError
        If the last axis of `x` is not the first of `kernel`, or `bias` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.dense(xp.asarray([[1.0, 2.0]]), xp.asarray([[3.0], [4.0]]), xp.asarray([0.5]))
    array([[11.5]])
    """
    if kernel.ndim != 2 or x.ndim == 0 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"dense expects x of shape (..., n) and a kernel of shape (n, m), got {tuple(x.shape)} and "
            f"{tuple(kernel.shape)}."
        )
    if bias is not None and tuple(bias.shape) != (kernel.shape[1],):
        raise ValueError(f"dense expects a bias of shape {(kernel.shape[1],)}, got {tuple(bias.shape)}.")
    xp = namespace(x)
    # one product of two matrices: libraries do it best, and the gradient of W is one as well
    rows = x if x.ndim == 2 else xp.reshape(x, (-1, x.shape[-1]))
    y = xp.matmul(rows, kernel)
    if bias is not None:
        y = y + bias
    if x.ndim != 2:
        y = xp.reshape(y, (*x.shape[:-1], kernel.shape[1]))

    return y, dense_backward(x, rows, kernel, bias)


def dense_backward(x: Any, rows: Any, kernel: Any, bias: Any) -> Backward:
    """Return the way back of an affine map, however its value was computed; `rows` is `x` with two axes."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        flat = dy if dy.ndim == 2 else xp.reshape(dy, (-1, dy.shape[-1]))
        dx = dkernel = dbias = None
        if needs[0]:
            dx = xp.matmul(flat, kernel.T)
            dx = like(dx if x.ndim == 2 else xp.reshape(dx, x.shape), x)
        if needs[1]:
            dkernel = like(xp.matmul(rows.T, flat), kernel)
        if needs[2]:
            dbias = like(sum_of_rows(flat), bias)
        return dx, dkernel, dbias

    return backward


def _tensordot_multiply_adds(x1: Any, x2: Any, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> int:
    summed = range(axes) if isinstance(axes, int) else axes[1]
    return math.prod(x1.shape) * math.prod(x2.shape) // max(1, math.prod(x2.shape[axis] for axis in summed))


@differentiable(multiply_adds=_tensordot_multiply_adds)
def tensordot(
    x1: Array, x2: Array, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> tuple[Array, Backward]:
    r"""Contract axes of one array with axes of another.

    .. math:: Y_{ij} = \sum_k A_{ik} B_{kj}, \qquad
              \partial L/\partial A = \partial L/\partial Y\, B^\top, \qquad
              \partial L/\partial B = A^\top\, \partial L/\partial Y

    with i, j and k standing for the axes of the first that are kept, those of the second, and those contracted.

    Parameters
    ----------
    x1, x2 : array
        The factors; floating.
    axes : int, or pair of sequences of int
        How many of the last axes of `x1` meet the first of `x2`, or which axes of each, in order.

    Returns
    -------
    array
        The axes of `x1` that are kept, then those of `x2`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.tensordot(xp.ones((2, 3)), xp.ones((3, 2)), axes=1)
    array([[3., 3.],
           [3., 3.]])
    """
    if isinstance(axes, int):
        axes = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    summed1, summed2 = normalize_axes(tuple(axes[0]), x1.ndim), normalize_axes(tuple(axes[1]), x2.ndim)
    kept1 = tuple(axis for axis in range(x1.ndim) if axis not in summed1)
    kept2 = tuple(axis for axis in range(x2.ndim) if axis not in summed2)
    order1, order2 = kept1 + summed1, kept2 + summed2

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        n, m = len(kept1), len(kept2)
        dx1 = dx2 = None
        if needs[0]:
            spread = xp.tensordot(dy, x2, axes=(tuple(range(n, n + m)), kept2))
            # its contracted axes come in the order of the second factor
            back = kept1 + tuple(axis for _, axis in sorted(zip(summed2, summed1, strict=True)))
            dx1 = like(xp.permute_dims(spread, tuple(back.index(axis) for axis in range(len(order1)))), x1)
        if needs[1]:
            spread = xp.tensordot(dy, x1, axes=(tuple(range(n)), kept1))
            back = kept2 + tuple(axis for _, axis in sorted(zip(summed1, summed2, strict=True)))
            dx2 = like(xp.permute_dims(spread, tuple(back.index(axis) for axis in range(len(order2)))), x2)
        return dx1, dx2

    return namespace(x1).tensordot(x1, x2, axes=(summed1, summed2)), backward


@differentiable(multiply_adds=lambda x1, x2, *, axis=-1: max(math.prod(x1.shape), math.prod(x2.shape)))
def vecdot(x1: Array, x2: Array, *, axis: int = -1) -> tuple[Array, Backward]:
    r"""Inner products along an axis:  :math:`y = \sum_i a_i b_i`, with :math:`y_{a_i} = b_i` and :math:`y_{b_i} = a_i`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.functional.vecdot(xp.asarray([1.0, 2.0]), xp.asarray([3.0, 4.0])))
    11.0
    """
    if not -min(x1.ndim, x2.ndim) <= axis <= -1:
        raise ValueError(f"vecdot counts its axis from the end of both arrays, from -1 on, got {axis}.")

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        wide = xp.expand_dims(dy, axis=dy.ndim + 1 + axis)
        return like(wide * x2, x1) if needs[0] else None, like(wide * x1, x2) if needs[1] else None

    return namespace(x1).vecdot(x1, x2, axis=axis), backward


def outer(x1: Array, x2: Array) -> Array:
    r"""Outer product of two vectors:  :math:`Y_{ij} = a_i b_j`, with its gradients those of the product.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.outer(xp.asarray([1.0, 2.0]), xp.asarray([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer expects two vectors, got {tuple(x1.shape)} and {tuple(x2.shape)}.")
    product: Array = tensordot(x1, x2, axes=0)
    return product
