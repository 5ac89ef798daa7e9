"""Optimizers: update rules as elementwise programs, their state as arrays."""

from __future__ import annotations

from collections.abc import Callable

from nnbackend.config import find, snake_case
from nnbackend.optimizers.adam import Adam
from nnbackend.optimizers.base import Optimizer
from nnbackend.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "get"]

_BY_NAME: dict[str, Callable[[], Optimizer]] = {snake_case(cls.__name__): cls for cls in (Adam, SGD)}


def get(which: object) -> Optimizer:
    """Return an optimizer by its name, such as ``"adam"``, or the one given.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if isinstance(which, Optimizer):
        return which
    return find("optimizer", which, _BY_NAME)()
