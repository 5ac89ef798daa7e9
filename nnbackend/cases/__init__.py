"""The cases of agreement: every rule and every layer on fixed inputs, a file for each topic."""

from __future__ import annotations

from nnbackend.cases import (
    activations,
    core,
    dropout,
    elementary,
    indexing,
    linear,
    losses,
    reduction,
    shaping,
)
from nnbackend.cases.base import Case, Input, LayerCase

__all__ = ["CASES", "Case", "Input", "LayerCase"]

#: Every rule and every layer at least once.
CASES: tuple[Case | LayerCase, ...] = (
    *activations.CASES,
    *core.CASES,
    *dropout.CASES,
    *elementary.CASES,
    *indexing.CASES,
    *linear.CASES,
    *losses.CASES,
    *reduction.CASES,
    *shaping.CASES,
)
