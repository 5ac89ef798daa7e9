"""The cases of agreement: every rule and every layer on fixed inputs, a file for each topic."""

from __future__ import annotations

import importlib
import pkgutil

from nnbackend.cases.base import Case, Input, LayerCase

__all__ = ["CASES", "Case", "Input", "LayerCase"]

_TOPICS = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "base")

#: Every rule and every layer at least once.
CASES: tuple[Case | LayerCase, ...] = tuple(
    case for topic in _TOPICS for case in importlib.import_module(f"{__name__}.{topic}").CASES
)
