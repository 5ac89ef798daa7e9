"""Activations."""

from __future__ import annotations

from nnbackend.cases.base import Case, real

__all__ = ["CASES"]

_REAL = real(4, 5)
_LOGITS = real(6, 10, low=-8.0, high=8.0)
_LARGE = real(6, 10, low=-1e4, high=1e4)

CASES = (
    Case("log_softmax", (_LOGITS,)),
    Case("log_softmax", (_LARGE,), variant="large"),
    Case("relu", (_REAL,)),
    Case("sigmoid", (_LOGITS,)),
    Case("sigmoid", (real(20, 50, low=-100.0, high=100.0),), variant="wide"),
    Case("softmax", (_LOGITS,)),
    Case("softmax", (_LOGITS,), {"axis": 0}, "axis 0"),
    Case("softmax", (_LARGE,), variant="large"),
)
