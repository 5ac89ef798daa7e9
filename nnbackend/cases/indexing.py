"""Indexing."""

from __future__ import annotations

from nnbackend.cases.base import Case, real, whole

__all__ = ["CASES"]

_REAL = real(4, 5)

CASES = (
    Case("getitem", (_REAL,), {"key": (slice(None, None, -2), None, 1)}),
    Case("getitem", (_REAL,), {"key": (Ellipsis, slice(1, 5, 3))}, "strided"),
    Case("scatter_add", (real(12, 3), whole(12, below=5)), {"length": 6}),
    Case("sort", (_REAL,)),
    Case("take", (_REAL, whole(7, below=4)), {"axis": 0}),
    Case("take_along_axis", (_REAL, whole(4, 7, below=5)), {"axis": 1}),
)
