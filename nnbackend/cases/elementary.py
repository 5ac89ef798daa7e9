"""Elementary functions."""

from __future__ import annotations

from nnbackend.cases.base import Case, flag, real

__all__ = ["CASES"]

_REAL = real(4, 5)
_POSITIVE = real(4, 5, low=0.1, high=3.0)
_INSIDE = real(4, 5, low=-0.9, high=0.9)
_ROW = real(5)
_POSITIVE_ROW = real(5, low=0.5, high=2.0)

#: XLA's log1p in float64 (JAX 0.10.2), and atanh by it, is off by up to 65 units between -0.5 and -0.1.
_XLA_LOG1P = {("jax", "float64"): 80.0}

CASES = (
    Case("abs", (_REAL,)),
    Case("acos", (_INSIDE,)),
    Case("acosh", (real(4, 5, low=1.2, high=4.0),)),
    Case("add", (_REAL, _ROW)),
    Case("asin", (_INSIDE,)),
    Case("asinh", (_REAL,)),
    Case("atan", (_REAL,)),
    Case("atan2", (_REAL, _ROW)),
    Case("atanh", (_INSIDE,), exceptions=_XLA_LOG1P),
    Case("clip", (_REAL, real(5, low=-1.5, high=-0.5), real(5, low=0.5, high=1.5))),
    Case("copysign", (_REAL, _ROW)),
    Case("cos", (_REAL,)),
    Case("cosh", (_REAL,)),
    Case("divide", (_REAL, _POSITIVE_ROW)),
    Case("exp", (_REAL,)),
    Case("expm1", (_REAL,)),
    Case("hypot", (_REAL, _ROW)),
    Case("log", (_POSITIVE,)),
    Case("log10", (_POSITIVE,)),
    Case("log1p", (_POSITIVE,)),
    Case("log1p", (_INSIDE,), variant="negative", exceptions=_XLA_LOG1P),
    Case("log2", (_POSITIVE,)),
    Case("logaddexp", (_REAL, _ROW)),
    Case("maximum", (_REAL, _ROW)),
    Case("minimum", (_REAL, _ROW)),
    Case("multiply", (_REAL, _ROW)),
    Case("negative", (_REAL,)),
    Case("positive", (_REAL,)),
    Case("pow", (_POSITIVE, _ROW)),
    Case("reciprocal", (_POSITIVE,)),
    Case("remainder", (_REAL, _POSITIVE_ROW)),
    Case("sin", (_REAL,)),
    Case("sinh", (_REAL,)),
    Case("sqrt", (_POSITIVE,)),
    Case("square", (_REAL,)),
    Case("subtract", (_REAL, _ROW)),
    Case("tan", (_INSIDE,)),
    Case("tanh", (_REAL,)),
    Case("where", (flag(4, 5), _REAL, _ROW)),
)
