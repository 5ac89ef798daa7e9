"""Comparisons, tests, rounding and searches: the standard's functions that have no gradient."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import namespace
from nnbackend.functional.rules import common_namespace, dtype_of, without_gradient
from nnbackend.typing import Array, Axis, DType, Scalar

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "ceil",
    "count_nonzero",
    "equal",
    "floor",
    "floor_divide",
    "full_like",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "ones_like",
    "round",
    "searchsorted",
    "sign",
    "signbit",
    "trunc",
    "zeros_like",
]


@without_gradient
def equal(x1: Array, x2: Array) -> Array:
    """Where :math:`a = b`."""
    return common_namespace(x1, x2).equal(x1, x2)


@without_gradient
def not_equal(x1: Array, x2: Array) -> Array:
    r"""Where :math:`a \ne b`."""
    return common_namespace(x1, x2).not_equal(x1, x2)


@without_gradient
def less(x1: Array, x2: Array) -> Array:
    """Where :math:`a < b`."""
    return common_namespace(x1, x2).less(x1, x2)


@without_gradient
def less_equal(x1: Array, x2: Array) -> Array:
    r"""Where :math:`a \le b`."""
    return common_namespace(x1, x2).less_equal(x1, x2)


@without_gradient
def greater(x1: Array, x2: Array) -> Array:
    """Where :math:`a > b`."""
    return common_namespace(x1, x2).greater(x1, x2)


@without_gradient
def greater_equal(x1: Array, x2: Array) -> Array:
    r"""Where :math:`a \ge b`."""
    return common_namespace(x1, x2).greater_equal(x1, x2)


@without_gradient
def logical_and(x1: Array, x2: Array) -> Array:
    r"""Where :math:`a \wedge b`; booleans."""
    return common_namespace(x1, x2).logical_and(x1, x2)


@without_gradient
def logical_or(x1: Array, x2: Array) -> Array:
    r"""Where :math:`a \vee b`; booleans."""
    return common_namespace(x1, x2).logical_or(x1, x2)


@without_gradient
def logical_xor(x1: Array, x2: Array) -> Array:
    r"""Where :math:`a \ne b`; booleans."""
    return common_namespace(x1, x2).logical_xor(x1, x2)


@without_gradient
def logical_not(x: Array) -> Array:
    r"""Where :math:`\neg x`; booleans."""
    return namespace(x).logical_not(x)


@without_gradient
def isnan(x: Array) -> Array:
    """Where `x` is not a number."""
    return namespace(x).isnan(x)


@without_gradient
def isinf(x: Array) -> Array:
    r"""Where :math:`x = \pm\infty`."""
    return namespace(x).isinf(x)


@without_gradient
def isfinite(x: Array) -> Array:
    """Where `x` is a number and not infinite."""
    return namespace(x).isfinite(x)


@without_gradient
def signbit(x: Array) -> Array:
    """Where the sign bit of `x` is set: negative numbers and -0."""
    return namespace(x).signbit(x)


@without_gradient
def sign(x: Array) -> Array:
    """Sign: -1, 0 or 1; its derivative is 0 wherever it has one."""
    return namespace(x).sign(x)


@without_gradient
def floor(x: Array) -> Array:
    r"""Largest integer :math:`\le x`; its derivative is 0 wherever it has one."""
    return namespace(x).floor(x)


@without_gradient
def ceil(x: Array) -> Array:
    r"""Smallest integer :math:`\ge x`; its derivative is 0 wherever it has one."""
    return namespace(x).ceil(x)


@without_gradient
def trunc(x: Array) -> Array:
    """Nearest integer towards 0; its derivative is 0 wherever it has one."""
    return namespace(x).trunc(x)


@without_gradient
def round(x: Array) -> Array:
    """Nearest integer, the even one of two; its derivative is 0 wherever it has one."""
    return namespace(x).round(x)


@without_gradient
def floor_divide(x1: Array, x2: Array) -> Array:
    r""":math:`\lfloor a/b \rfloor`; its derivatives are 0 wherever it has them."""
    return common_namespace(x1, x2).floor_divide(x1, x2)


@without_gradient
def all(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether all elements are true."""
    return namespace(x).all(x, axis=axis, keepdims=keepdims)


@without_gradient
def any(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether any element is true."""
    return namespace(x).any(x, axis=axis, keepdims=keepdims)


@without_gradient
def count_nonzero(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Count the elements that are not zero or false."""
    return namespace(x).count_nonzero(x, axis=axis, keepdims=keepdims)


@without_gradient
def argmax(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the largest element, of the first among equals."""
    return namespace(x).argmax(x, axis=axis, keepdims=keepdims)


@without_gradient
def argmin(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the smallest element, of the first among equals."""
    return namespace(x).argmin(x, axis=axis, keepdims=keepdims)


@without_gradient
def argsort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Find the indices that sort `x`."""
    return namespace(x).argsort(x, axis=axis, descending=descending, stable=stable)


@without_gradient
def searchsorted(x1: Array, x2: Array, *, side: str = "left") -> Array:
    """Find the indices at which the elements of `x2` would keep the sorted `x1` in order."""
    return namespace(x1).searchsorted(x1, x2, side=side)


@without_gradient
def zeros_like(x: Array, *, dtype: DType | str | None = None) -> Array:
    """Zeros in the shape, dtype and place of `x`."""
    return namespace(x).zeros_like(x, dtype=_kind(dtype, x))


@without_gradient
def ones_like(x: Array, *, dtype: DType | str | None = None) -> Array:
    """Ones in the shape, dtype and place of `x`."""
    return namespace(x).ones_like(x, dtype=_kind(dtype, x))


@without_gradient
def full_like(x: Array, fill_value: Scalar, *, dtype: DType | str | None = None) -> Array:
    """One number everywhere, in the shape, dtype and place of `x`."""
    return namespace(x).full_like(x, fill_value, dtype=_kind(dtype, x))


def _kind(dtype: Any, like: Any) -> Any:
    return None if dtype is None else dtype_of(dtype, like)
