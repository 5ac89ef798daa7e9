"""Arithmetic and elementary functions: the array API standard's, as rules."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.functional.activations import sigmoid
from nnbackend.functional.rules import common_namespace, unbroadcast
from nnbackend.typing import Array, Backward

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "clip",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "exp",
    "expm1",
    "hypot",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "positive",
    "pow",
    "reciprocal",
    "remainder",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "where",
]

_NAN = float("nan")


@differentiable
def add(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Add:  :math:`y = a + b`, with :math:`\partial y/\partial a = \partial y/\partial b = 1`."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return first(dy) if needs[0] else None, second(dy) if needs[1] else None

    return x1 + x2, backward


@differentiable
def subtract(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Subtract:  :math:`y = a - b`, with :math:`\partial y/\partial a = 1, \partial y/\partial b = -1`."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return first(dy) if needs[0] else None, second(-dy) if needs[1] else None

    return x1 - x2, backward


@differentiable
def multiply(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Multiply:  :math:`y = a b`, with :math:`\partial y/\partial a = b, \partial y/\partial b = a`."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return first(dy * x2) if needs[0] else None, second(dy * x1) if needs[1] else None

    return x1 * x2, backward


@differentiable
def divide(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Divide:  :math:`y = a/b`, with :math:`\partial y/\partial a = 1/b, \partial y/\partial b = -y/b`."""
    y = x1 / x2
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        step = dy / x2
        return first(step) if needs[0] else None, second(-step * y) if needs[1] else None

    return y, backward


@differentiable
def pow(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Raise to a power:  :math:`y = a^b`, with :math:`y_a = b a^{b-1}` and :math:`y_b = y \ln a`
    (0 at a = 0, NaN below).
    """
    y = x1**x2
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        base = exponent = None
        if needs[0]:
            vanishes = x2 == 0  # the derivative of a^0 is 0 at a = 0 too
            if isinstance(vanishes, bool):
                slope = dy * 0.0 if vanishes else dy * (x2 * x1 ** (x2 - 1))
            else:
                slope = xp.where(vanishes, 0.0, dy * (x2 * x1 ** (xp.where(vanishes, 1.0, x2) - 1.0)))
            base = first(slope)
        if needs[1]:
            a = x1 if hasattr(x1, "dtype") else xp.full_like(y, x1)
            positive = a > 0
            # below zero a^b is real at whole b only, so that it has no derivative there
            defined = xp.where(positive, xp.ones_like(a), xp.where(a == 0, xp.zeros_like(a), _NAN))
            exponent = second(dy * y * xp.log(xp.where(positive, a, 1.0)) * defined)
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
def positive(x: Array) -> tuple[Array, Backward]:
    r"""Leave as it is:  :math:`y = x`, with :math:`y' = 1`."""
    return namespace(x).positive(x), lambda dy, needs: (dy,)


@differentiable
def exp(x: Array) -> tuple[Array, Backward]:
    r"""Exponential:  :math:`y = e^x`, with :math:`y' = y`."""
    y = namespace(x).exp(x)
    return y, lambda dy, needs: (dy * y,)


@differentiable
def expm1(x: Array) -> tuple[Array, Backward]:
    r"""Exponential less one:  :math:`y = e^x - 1`, with :math:`y' = y + 1`."""
    y = namespace(x).expm1(x)
    return y, lambda dy, needs: (dy * (y + 1.0),)


@differentiable
def log(x: Array) -> tuple[Array, Backward]:
    r"""Natural logarithm:  :math:`y = \ln x`, with :math:`y' = 1/x`."""
    return namespace(x).log(x), lambda dy, needs: (dy / x,)


@differentiable
def log1p(x: Array) -> tuple[Array, Backward]:
    r"""Logarithm of one more:  :math:`y = \ln(1 + x)`, with :math:`y' = 1/(1 + x)`."""
    return namespace(x).log1p(x), lambda dy, needs: (dy / (1.0 + x),)


@differentiable
def log2(x: Array) -> tuple[Array, Backward]:
    r"""Binary logarithm:  :math:`y = \log_2 x`, with :math:`y' = 1/(x \ln 2)`."""
    return namespace(x).log2(x), lambda dy, needs: (dy / (x * math.log(2.0)),)


@differentiable
def log10(x: Array) -> tuple[Array, Backward]:
    r"""Decimal logarithm:  :math:`y = \log_{10} x`, with :math:`y' = 1/(x \ln 10)`."""
    return namespace(x).log10(x), lambda dy, needs: (dy / (x * math.log(10.0)),)


@differentiable
def sqrt(x: Array) -> tuple[Array, Backward]:
    r"""Square root:  :math:`y = \sqrt x`, with :math:`y' = 1/(2y)`."""
    y = namespace(x).sqrt(x)
    return y, lambda dy, needs: (0.5 * dy / y,)


@differentiable
def square(x: Array) -> tuple[Array, Backward]:
    r"""Square:  :math:`y = x^2`, with :math:`y' = 2x`."""
    return namespace(x).square(x), lambda dy, needs: (2.0 * dy * x,)


@differentiable
def reciprocal(x: Array) -> tuple[Array, Backward]:
    r"""Reciprocal:  :math:`y = 1/x`, with :math:`y' = -y^2`."""
    y = namespace(x).reciprocal(x)
    return y, lambda dy, needs: (-dy * (y * y),)


@differentiable
def sin(x: Array) -> tuple[Array, Backward]:
    r"""Sine:  :math:`y = \sin x`, with :math:`y' = \cos x`."""
    return namespace(x).sin(x), lambda dy, needs: (dy * namespace(dy).cos(x),)


@differentiable
def cos(x: Array) -> tuple[Array, Backward]:
    r"""Cosine:  :math:`y = \cos x`, with :math:`y' = -\sin x`."""
    return namespace(x).cos(x), lambda dy, needs: (-dy * namespace(dy).sin(x),)


@differentiable
def tan(x: Array) -> tuple[Array, Backward]:
    r"""Tangent:  :math:`y = \tan x`, with :math:`y' = 1 + y^2`."""
    y = namespace(x).tan(x)
    return y, lambda dy, needs: (dy * (1.0 + y * y),)


@differentiable
def asin(x: Array) -> tuple[Array, Backward]:
    r"""Inverse sine:  :math:`y = \arcsin x`, with :math:`y' = 1/\sqrt{1 - x^2}`."""
    return namespace(x).asin(x), lambda dy, needs: (dy / namespace(dy).sqrt(1.0 - x * x),)


@differentiable
def acos(x: Array) -> tuple[Array, Backward]:
    r"""Inverse cosine:  :math:`y = \arccos x`, with :math:`y' = -1/\sqrt{1 - x^2}`."""
    return namespace(x).acos(x), lambda dy, needs: (-dy / namespace(dy).sqrt(1.0 - x * x),)


@differentiable
def atan(x: Array) -> tuple[Array, Backward]:
    r"""Inverse tangent:  :math:`y = \arctan x`, with :math:`y' = 1/(1 + x^2)`."""
    return namespace(x).atan(x), lambda dy, needs: (dy / (1.0 + x * x),)


@differentiable
def sinh(x: Array) -> tuple[Array, Backward]:
    r"""Hyperbolic sine:  :math:`y = \sinh x`, with :math:`y' = \cosh x`."""
    return namespace(x).sinh(x), lambda dy, needs: (dy * namespace(dy).cosh(x),)


@differentiable
def cosh(x: Array) -> tuple[Array, Backward]:
    r"""Hyperbolic cosine:  :math:`y = \cosh x`, with :math:`y' = \sinh x`."""
    return namespace(x).cosh(x), lambda dy, needs: (dy * namespace(dy).sinh(x),)


@elementwise
def _tanh_gradient(y: Array, dy: Array) -> Any:
    return dy * (1.0 - y * y)


@differentiable
def tanh(x: Array) -> tuple[Array, Backward]:
    r"""Hyperbolic tangent:  :math:`y = \tanh x`, with :math:`y' = 1 - y^2`."""
    y = namespace(x).tanh(x)
    return y, lambda dy, needs: (_tanh_gradient(y, dy),)


@differentiable
def asinh(x: Array) -> tuple[Array, Backward]:
    r"""Inverse hyperbolic sine:  :math:`y = \operatorname{arsinh} x`, with :math:`y' = 1/\sqrt{x^2 + 1}`."""
    return namespace(x).asinh(x), lambda dy, needs: (dy / namespace(dy).sqrt(x * x + 1.0),)


@differentiable
def acosh(x: Array) -> tuple[Array, Backward]:
    r"""Inverse hyperbolic cosine:  :math:`y = \operatorname{arcosh} x`, with :math:`y' = 1/\sqrt{x^2 - 1}`."""
    return namespace(x).acosh(x), lambda dy, needs: (dy / namespace(dy).sqrt(x * x - 1.0),)


@differentiable
def atanh(x: Array) -> tuple[Array, Backward]:
    r"""Inverse hyperbolic tangent:  :math:`y = \operatorname{artanh} x`, with :math:`y' = 1/(1 - x^2)`."""
    return namespace(x).atanh(x), lambda dy, needs: (dy / (1.0 - x * x),)


@differentiable
def remainder(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Remainder with the sign of the divisor:  :math:`y = a - b \lfloor a/b \rfloor`, with
    :math:`y_a = 1, y_b = -\lfloor a/b \rfloor`.
    """
    first, second = unbroadcast(x1), unbroadcast(x2)
    y = common_namespace(x1, x2).remainder(x1, x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        return first(dy) if needs[0] else None, second(-dy * xp.floor_divide(x1, x2)) if needs[1] else None

    return y, backward


@differentiable
def atan2(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Angle of a point:  :math:`y = \arctan(a/b)` in its quadrant, with :math:`y_a = b/r^2, y_b = -a/r^2` and
    :math:`r^2 = a^2 + b^2`.
    """
    first, second = unbroadcast(x1), unbroadcast(x2)
    y = common_namespace(x1, x2).atan2(x1, x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        slope = dy / (x1 * x1 + x2 * x2)
        return first(slope * x2) if needs[0] else None, second(-slope * x1) if needs[1] else None

    return y, backward


@differentiable
def hypot(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Length of the hypotenuse:  :math:`y = \sqrt{a^2 + b^2}`, with :math:`y_a = a/y, y_b = b/y`."""
    first, second = unbroadcast(x1), unbroadcast(x2)
    y = common_namespace(x1, x2).hypot(x1, x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return first(dy * (x1 / y)) if needs[0] else None, second(dy * (x2 / y)) if needs[1] else None

    return y, backward


@differentiable
def copysign(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Size of one with the sign of the other:  :math:`y = |a| \operatorname{sign} b`, with
    :math:`y_a = \operatorname{sign} a \operatorname{sign} b, y_b = 0`.
    """
    first, second = unbroadcast(x1), unbroadcast(x2)
    y = common_namespace(x1, x2).copysign(x1, x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        size = first(xp.copysign(xp.ones_like(dy), x2) * xp.sign(x1) * dy) if needs[0] else None
        return size, second(xp.zeros_like(dy)) if needs[1] else None

    return y, backward


@differentiable
def logaddexp(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Soft maximum of two:  :math:`y = \ln(e^a + e^b)`, with :math:`y_a = \sigma(a - b), y_b = \sigma(b - a)`."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (
            first(dy * sigmoid(x1 - x2)) if needs[0] else None,
            second(dy * sigmoid(x2 - x1)) if needs[1] else None,
        )

    return common_namespace(x1, x2).logaddexp(x1, x2), backward


@differentiable
def maximum(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Larger of two:  :math:`y = \max(a, b)`; the gradient goes to the larger, to the first of equals."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        chosen = x1 >= x2
        return (
            first(xp.where(chosen, dy, 0.0)) if needs[0] else None,
            second(xp.where(chosen, 0.0, dy)) if needs[1] else None,
        )

    return common_namespace(x1, x2).maximum(x1, x2), backward


@differentiable
def minimum(x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Smaller of two:  :math:`y = \min(a, b)`; the gradient goes to the smaller, to the first of equals."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        chosen = x1 <= x2
        return (
            first(xp.where(chosen, dy, 0.0)) if needs[0] else None,
            second(xp.where(chosen, 0.0, dy)) if needs[1] else None,
        )

    return common_namespace(x1, x2).minimum(x1, x2), backward


@differentiable
def clip(x: Array, min: Array | None = None, max: Array | None = None) -> tuple[Array, Backward]:
    r"""Bound below and above:  :math:`y = \min(\max(x, a), b)`.

    The gradient goes to `x` where it is within the bounds, ends included, otherwise to the bound.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.clip(nn.get_backend("numpy").xp.asarray([-1.0, 0.5, 2.0]), 0.0, 1.0)
    array([0. , 0.5, 1. ])
    """
    backs = unbroadcast(x), unbroadcast(min), unbroadcast(max)
    xp = namespace(x)
    y = x if min is None else xp.maximum(x, min)
    y = y if max is None else xp.minimum(y, max)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        inside = dy if max is None else xp.where((x if min is None else xp.maximum(x, min)) <= max, dy, 0.0)
        within = inside if min is None else xp.where(x >= min, inside, 0.0)
        parts = within, inside - within, dy - inside
        return tuple(
            back(part) if need else None for back, part, need in zip(backs, parts, needs, strict=True)
        )

    return y, backward


@differentiable
def where(condition: Array, x1: Array, x2: Array) -> tuple[Array, Backward]:
    r"""Choose:  :math:`y = a` where the condition holds, else :math:`b`; the gradient goes the same way."""
    first, second = unbroadcast(x1), unbroadcast(x2)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        return (
            None,
            first(xp.where(condition, dy, 0.0)) if needs[1] else None,
            second(xp.where(condition, 0.0, dy)) if needs[2] else None,
        )

    return namespace(condition).where(condition, x1, x2), backward
