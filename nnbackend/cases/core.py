"""Layers of the core: dense."""

from __future__ import annotations

from nnbackend import activations
from nnbackend.cases.base import LayerCase, real
from nnbackend.layers import Dense, LeakyReLU

__all__ = ["CASES"]

CASES = (
    LayerCase(lambda: Dense(3), (real(4, 5),)),
    LayerCase(lambda: Dense(3, "tanh", use_bias=False), (real(2, 3, 5),), "of sequences"),
    LayerCase(lambda: Dense(3, LeakyReLU(0.1)), (real(4, 5),), "with a layer as activation"),
    LayerCase(
        lambda: Dense(3, activations.get("elu", alpha=0.5)), (real(4, 5),), "with an activation with options"
    ),
)
