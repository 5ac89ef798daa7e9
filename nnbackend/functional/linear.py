"""Matrix products and the affine map of a dense layer."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional._rules import like
from nnbackend.typing import Array, Backward

__all__ = ["dense", "matmul"]


@differentiable
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


@differentiable
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

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        flat = dy if dy.ndim == 2 else xp.reshape(dy, (-1, dy.shape[-1]))
        dx = dkernel = dbias = None
        if needs[0]:
            dx = xp.matmul(flat, kernel.T)
            dx = dx if x.ndim == 2 else xp.reshape(dx, x.shape)
        if needs[1]:
            dkernel = xp.matmul(rows.T, flat)
        if needs[2]:
            dbias = xp.sum(flat, axis=0)
        return dx, dkernel, dbias

    return y, backward
