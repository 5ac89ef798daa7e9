"""Layers that disturb their input, and dropout with given masks."""

from __future__ import annotations

from nnbackend.cases.base import Case, LayerCase, flag, real
from nnbackend.layers import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)

__all__ = ["CASES"]

_REAL = real(4, 5)

CASES: tuple[Case | LayerCase, ...] = (
    Case("alpha_dropout", (_REAL, flag(4, 5)), {"rate": 0.3}),
    Case("dropout", (_REAL, flag(4, 5)), {"rate": 0.3}),
    LayerCase(lambda: AlphaDropout(0.3), (_REAL,)),
    LayerCase(lambda: AlphaDropout(0.3), (_REAL,), "training", training=True),
    LayerCase(lambda: AlphaDropout(0.3, (None, 1, None)), (real(2, 3, 4),), "in rows", training=True),
    LayerCase(lambda: Dropout(0.4), (_REAL,)),
    LayerCase(lambda: Dropout(0.4), (_REAL,), "training", training=True),
    LayerCase(lambda: Dropout(0.4, noise_shape=(None, 1, 4)), (real(2, 3, 4),), "in rows", training=True),
    LayerCase(lambda: GaussianDropout(0.3), (_REAL,)),
    LayerCase(lambda: GaussianDropout(0.3), (_REAL,), "training", training=True),
    LayerCase(lambda: GaussianNoise(0.5), (_REAL,)),
    LayerCase(lambda: GaussianNoise(0.5), (_REAL,), "training", training=True),
    LayerCase(lambda: SpatialDropout1D(0.4), (real(2, 3, 5),), "training", training=True),
    LayerCase(lambda: SpatialDropout2D(0.4), (real(2, 3, 2, 5),), "training", training=True),
    LayerCase(lambda: SpatialDropout3D(0.4), (real(2, 3, 2, 2, 5),), "training", training=True),
)
