"""Matrix products."""

from __future__ import annotations

from nnbackend.cases.base import Case, real

__all__ = ["CASES"]

_ROW = real(5)

CASES = (
    Case("dense", (real(3, 4, 16), real(16, 8), real(8))),
    Case("matmul", (real(2, 4, 16), real(16, 3))),
    Case("outer", (_ROW, real(3))),
    Case("tensordot", (real(3, 4, 5), real(5, 4, 2)), {"axes": ((2, 1), (0, 1))}),
    Case("vecdot", (real(4, 16), real(16))),
)
