"""Layers that change the form of what passes."""

from __future__ import annotations

from nnbackend import functional
from nnbackend.cases.base import LayerCase, real
from nnbackend.layers import Flatten, Identity, Lambda, Permute, RepeatVector, Reshape

__all__ = ["CASES"]

_REAL = real(2, 3, 4)

CASES = (
    LayerCase(lambda: Flatten(), (_REAL,)),
    LayerCase(lambda: Identity(), (_REAL,)),
    LayerCase(lambda: Lambda(functional.elu, {"alpha": 0.5}), (_REAL,)),
    LayerCase(lambda: Lambda(functional.glu), (_REAL,), "of another shape"),
    LayerCase(lambda: Permute((3, 1, 2)), (real(2, 3, 4, 5),)),
    LayerCase(lambda: RepeatVector(3), (real(2, 4),)),
    LayerCase(lambda: Reshape((6, 2)), (_REAL,)),
    LayerCase(lambda: Reshape((2, -1, 3)), (_REAL,), "with a length left open"),
)
