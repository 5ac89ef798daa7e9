"""Shapes."""

from __future__ import annotations

from nnbackend.cases.base import Case, real

__all__ = ["CASES"]

_REAL = real(4, 5)
_ROW = real(5)

CASES = (
    Case("astype", (_REAL,), {"dtype": "float32"}),
    Case("broadcast_to", (_ROW,), {"shape": (4, 5)}),
    Case("concat", (_REAL, real(4, 2)), {"axis": 1}, listed=True),
    Case("expand_dims", (_REAL,), {"axis": 1}),
    Case("flip", (_REAL,), {"axis": 1}),
    Case("matrix_transpose", (_REAL,)),
    Case("permute_dims", (real(2, 3, 4),), {"axes": (2, 0, 1)}),
    Case("repeat", (_REAL,), {"repeats": 3, "axis": 1}),
    Case("reshape", (_REAL,), {"shape": (2, 10)}),
    Case("roll", (_REAL,), {"shift": 2, "axis": 1}),
    Case("squeeze", (real(4, 1, 5),), {"axis": 1}),
    Case("stack", (_REAL, _REAL), {"axis": 1}, listed=True),
    Case("tile", (_REAL,), {"repetitions": (2, 3)}),
    Case("tril", (_REAL,)),
    Case("triu", (_REAL,), {"k": 1}),
    Case("unstack", (_REAL,), {"axis": 1}),
)
