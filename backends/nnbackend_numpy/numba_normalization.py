"""Batch normalisation, of which what is done to each element is compiled by Numba: the programs of the generic rule.

Sums are those of `nnbackend_numpy.normalization`, and the programs have the bits of NumPy's calls, so the results are
the same to the last bit.
"""

from __future__ import annotations

import numpy as np

import nnbackend.functional.normalization as generic
from nnbackend.elementwise import Elementwise
from nnbackend.typing import Backward
from nnbackend_numpy import fusion, layer_norm, normalization
from nnbackend_numpy.fusion import CompilingEvaluator
from nnbackend_numpy.normalization import Floats, Lines
from nnbackend_numpy.recording import native_where

__all__ = ["standardize"]

_evaluator = CompilingEvaluator()


@native_where(layer_norm.takes, generic.standardize.function)
def standardize(
    x: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
    mask: Floats | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> tuple[tuple[Floats, Floats, Floats], Backward]:
    """Standardise float32 over all axes but the last; along rows as without Numba."""
    if layer_norm.along_rows(x, mask, axis):
        return layer_norm.standardize(x, gamma, beta, mask, axis=axis, epsilon=epsilon)
    return normalization.standardized(
        x, gamma, beta, mask, axis=axis, epsilon=epsilon, lines_of=_CompiledLines
    )


class _CompiledLines(Lines):
    """Lines that are gone over once to be scaled, and once to be combined with gradients, if there are enough."""

    def scaled(self, mean: Floats | None, scale: Floats, offset: Floats) -> Floats:
        if self._x.size < fusion.COMPILED_FROM:
            return super().scaled(mean, scale, offset)
        center = np.zeros_like(scale) if mean is None else mean
        return self._run(generic._scaled, self._x, *map(self._drawn_out, (center, scale, offset)))

    def combined(
        self, dy: Floats, mean: Floats | None, scale: Floats, by_x: Floats, constant: Floats
    ) -> Floats:
        if self._x.size < fusion.COMPILED_FROM:
            return super().combined(dy, mean, scale, by_x, constant)
        left = self._x if mean is None else self._x - self._drawn_out(mean)
        rows = map(self._drawn_out, (scale, by_x, constant))
        return self._run(generic._combined, dy.reshape(self._x.shape), left, *rows)

    def _run(self, function: Elementwise, *arrays: Floats) -> Floats:
        y: Floats = _evaluator.run(function.program(), arrays, ())
        return y.reshape(self._shape)
