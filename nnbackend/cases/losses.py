"""Losses."""

from __future__ import annotations

from nnbackend.cases.base import Case, real, whole

__all__ = ["CASES"]

_REAL = real(4, 5)
_LOGITS = real(6, 10, low=-8.0, high=8.0)
_LARGE = real(6, 10, low=-1e4, high=1e4)
_SHARE = real(6, 10, low=0.01, high=0.99)
_LABELS = whole(6, below=10)

CASES = (
    Case("absolute_error", (_REAL, _REAL)),
    Case("binary_crossentropy", (_SHARE, _SHARE)),
    Case("categorical_crossentropy", (_SHARE, _SHARE)),
    Case("mean_absolute_error", (_REAL, _REAL)),
    Case("mean_squared_error", (_REAL, _REAL)),
    Case("sigmoid_binary_crossentropy", (_LOGITS, _SHARE)),
    Case("sigmoid_binary_crossentropy", (_LARGE, _SHARE), variant="large"),
    Case("softmax_crossentropy", (_LOGITS, _SHARE)),
    Case("softmax_crossentropy", (_LARGE, _SHARE), variant="large"),
    Case("sparse_categorical_crossentropy", (_SHARE, _LABELS)),
    Case("sparse_softmax_crossentropy", (_LOGITS, _LABELS)),
    Case("sparse_softmax_crossentropy", (_LARGE, _LABELS), variant="large"),
    Case("squared_error", (_REAL, _REAL)),
)
