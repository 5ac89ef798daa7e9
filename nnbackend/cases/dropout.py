"""Dropout."""

from __future__ import annotations

from nnbackend.cases.base import Case, flag, real

__all__ = ["CASES"]

_REAL = real(4, 5)

CASES = (Case("dropout", (_REAL, flag(4, 5)), {"rate": 0.3}),)
