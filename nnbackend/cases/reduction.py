"""Sums and their kin."""

from __future__ import annotations

from nnbackend.cases.base import Case, real

__all__ = ["CASES"]

_REAL = real(4, 5)
_LOGITS = real(6, 10, low=-8.0, high=8.0)

CASES = (
    Case("cumulative_sum", (_REAL,), {"axis": 1}),
    Case("logsumexp", (_LOGITS,), {"axis": 1}),
    Case("max", (_REAL,), {"axis": 1}),
    Case("mean", (_REAL,), {"axis": 0}),
    Case("min", (_REAL,), {"axis": 1}),
    Case("prod", (_REAL,), {"axis": 1}),
    Case("std", (_REAL,), {"axis": 1}),
    Case("sum", (real(40, 50),), {"axis": 1}),
    Case("var", (_REAL,), {"axis": 1}),
)
