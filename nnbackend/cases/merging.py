"""Layers of several inputs."""

from __future__ import annotations

from nnbackend.cases.base import LayerCase, real
from nnbackend.layers import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)

__all__ = ["CASES"]

_TWO = (real(3, 4, 2), real(3, 4, 2))
_BROADCAST = (real(3, 4, 2), real(3, 2), real(3, 4, 1))

CASES = (
    LayerCase(lambda: Add(), _TWO, listed=True),
    LayerCase(lambda: Add(), _BROADCAST, "broadcast", listed=True),
    LayerCase(lambda: Average(), _BROADCAST, listed=True),
    LayerCase(lambda: Concatenate(), (real(3, 4, 2), real(3, 4, 5)), listed=True),
    LayerCase(lambda: Concatenate(1), (real(3, 1, 2), real(3, 4, 2), real(3, 2, 2)), "axis 1", listed=True),
    LayerCase(lambda: Dot(1), (real(3, 5), real(3, 5)), listed=True),
    LayerCase(lambda: Dot((2, 1)), (real(3, 4, 5), real(3, 5, 2)), "axes (2, 1)", listed=True),
    LayerCase(lambda: Dot((1, -1)), (real(3, 4, 2), real(3, 2, 5, 4)), "axes (1, -1)", listed=True),
    LayerCase(lambda: Dot(-1, normalize=True), _TWO, "normalised", listed=True),
    LayerCase(lambda: Maximum(), _BROADCAST, listed=True),
    LayerCase(lambda: Minimum(), _BROADCAST, listed=True),
    LayerCase(lambda: Multiply(), _BROADCAST, listed=True),
    LayerCase(lambda: Subtract(), _TWO, listed=True),
)
