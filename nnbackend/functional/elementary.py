"""Arithmetic and elementary functions: the array API standard's, as rules."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional._rules import like
from nnbackend.typing import Array, Backward

__all__ = [
    "abs",
    "add",
    "divide",
    "exp",
    "log",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "pow",
    "sqrt",
    "square",
    "subtract",
    "tanh",
    "where",
]


@differentiable
def add(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Add:  :math:`y = a + b`, with :math:`\partial y/\partial a = \partial y/\partial b = 1`."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return like(dy, x1) if needs[0] else None, like(dy, x2) if needs[1] else None

    return x1 + x2, backward


@differentiable
def subtract(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Subtract:  :math:`y = a - b`, with :math:`\partial y/\partial a = 1, \partial y/\partial b = -1`."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return like(dy, x1) if needs[0] else None, like(-dy, x2) if needs[1] else None

    return x1 - x2, backward


@differentiable
def multiply(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Multiply:  :math:`y = a b`, with :math:`\partial y/\partial a = b, \partial y/\partial b = a`."""

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return like(dy * x2, x1) if needs[0] else None, like(dy * x1, x2) if needs[1] else None

    return x1 * x2, backward


@differentiable
def divide(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Divide:  :math:`y = a/b`, with :math:`\partial y/\partial a = 1/b, \partial y/\partial b = -y/b`."""
    y = x1 / x2

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        step = dy / x2
        return like(step, x1) if needs[0] else None, like(-step * y, x2) if needs[1] else None

    return y, backward


@differentiable
def pow(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Raise to a power:  :math:`y = a^b`, with :math:`y_a = b a^{b-1}` and :math:`y_b = y \ln a` (0 at a = 0)."""
    y = x1**x2

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        base = exponent = None
        if needs[0]:
            base = like(dy * x2 * x1 ** (x2 - 1), x1)
        if needs[1]:
            a = x1 if hasattr(x1, "dtype") else xp.full_like(y, x1)
            positive = a > 0
            exponent = like(xp.where(positive, dy * y * xp.log(xp.where(positive, a, 1.0)), 0.0), x2)
        return base, exponent

    return y, backward


@differentiable
def negative(x: Array) -> tuple[Array, Backward]:
    r"""Negate:  :math:`y = -x`, with :math:`y' = -1`."""
    return -x, lambda dy, needs: (-dy,)


@differentiable
def abs(x: Array) -> tuple[Array, Backward]:
    r"""Absolute value:  :math:`y = |x|`, with :math:`y' = \operatorname{sign} x` (0 at 0)."""
    xp = namespace(x)
    return xp.abs(x), lambda dy, needs: (dy * xp.sign(x),)


@differentiable
def exp(x: Array) -> tuple[Array, Backward]:
    r"""Exponential:  :math:`y = e^x`, with :math:`y' = y`."""
    y = namespace(x).exp(x)
    return y, lambda dy, needs: (dy * y,)


@differentiable
def log(x: Array) -> tuple[Array, Backward]:
    r"""Natural logarithm:  :math:`y = \ln x`, with :math:`y' = 1/x`."""
    return namespace(x).log(x), lambda dy, needs: (dy / x,)


@differentiable
def sqrt(x: Array) -> tuple[Array, Backward]:
    r"""Square root:  :math:`y = \sqrt x`, with :math:`y' = 1/(2y)`."""
    y = namespace(x).sqrt(x)
    return y, lambda dy, needs: (0.5 * dy / y,)


@differentiable
def square(x: Array) -> tuple[Array, Backward]:
    r"""Square:  :math:`y = x^2`, with :math:`y' = 2x`."""
    return x * x, lambda dy, needs: (2.0 * dy * x,)


@differentiable
def tanh(x: Array) -> tuple[Array, Backward]:
    r"""Hyperbolic tangent:  :math:`y = \tanh x`, with :math:`y' = 1 - y^2`."""
    y = namespace(x).tanh(x)
    return y, lambda dy, needs: (dy * (1.0 - y * y),)


@differentiable
def maximum(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Larger of two:  :math:`y = \max(a, b)`; the gradient goes to the larger, to the first of equals."""
    xp = namespace(x1)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        first = x1 >= x2
        return (
            like(xp.where(first, dy, 0.0), x1) if needs[0] else None,
            like(xp.where(first, 0.0, dy), x2) if needs[1] else None,
        )

    return xp.maximum(x1, x2), backward


@differentiable
def minimum(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Smaller of two:  :math:`y = \min(a, b)`; the gradient goes to the smaller, to the first of equals."""
    xp = namespace(x1)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        first = x1 <= x2
        return (
            like(xp.where(first, dy, 0.0), x1) if needs[0] else None,
            like(xp.where(first, 0.0, dy), x2) if needs[1] else None,
        )

    return xp.minimum(x1, x2), backward


@differentiable
def where(condition: Array, x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Choose:  :math:`y = a` where the condition holds, else :math:`b`; the gradient goes the same way."""
    xp = namespace(condition)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (
            None,
            like(xp.where(condition, dy, 0.0), x1) if needs[1] else None,
            like(xp.where(condition, 0.0, dy), x2) if needs[2] else None,
        )

    return xp.where(condition, x1, x2), backward
