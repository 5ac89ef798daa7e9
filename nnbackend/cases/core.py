"""Layers of the core: dense, dropout, flatten, activation."""

from __future__ import annotations

from nnbackend.cases.base import LayerCase, real
from nnbackend.layers import Activation, Dense, Dropout, Flatten

__all__ = ["CASES"]

CASES = (
    LayerCase(lambda: Dense(3), (real(4, 5),)),
    LayerCase(lambda: Dense(3, "tanh", use_bias=False), (real(2, 3, 5),), "of sequences"),
    LayerCase(lambda: Activation("sigmoid"), (real(4, 5),)),
    LayerCase(lambda: Dropout(0.4), (real(4, 5),), "training", training=True),
    LayerCase(lambda: Dropout(0.4), (real(4, 5),)),
    LayerCase(lambda: Flatten(), (real(2, 3, 4),)),
)
