"""The cases of agreement: every rule and every layer on fixed inputs, a file for each topic."""

from __future__ import annotations

from nnbackend.cases import (
    activations,
    convolution,
    attention,
    core,
    elementary,
    indexing,
    linear,
    losses,
    normalization,
    pooling,
    recurrent,
    merging,
    noise,
    reduction,
    resampling,
    shaping,
    structure,
)
from nnbackend.cases.base import Case, Input, LayerCase

__all__ = ["CASES", "Case", "Input", "LayerCase"]

#: Every rule and every layer at least once.
CASES: tuple[Case | LayerCase, ...] = (
    *activations.CASES,
    *convolution.CASES,
    *attention.CASES,
    *core.CASES,
    *elementary.CASES,
    *indexing.CASES,
    *linear.CASES,
    *losses.CASES,
    *normalization.CASES,
    *pooling.CASES,
    *recurrent.CASES,
    *merging.CASES,
    *noise.CASES,
    *reduction.CASES,
    *resampling.CASES,
    *shaping.CASES,
    *structure.CASES,
)
