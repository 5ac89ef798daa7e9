"""Optimizers: update rules as elementwise programs, their state as arrays."""

from __future__ import annotations

from nnbackend.backend import nearest
from nnbackend.config import snake_case
from nnbackend.optimizers.adam import Adam
from nnbackend.optimizers.base import Optimizer
from nnbackend.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "get"]

_BY_NAME: dict[str, type[Optimizer]] = {snake_case(cls.__name__): cls for cls in (Adam, SGD)}


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
    if isinstance(which, type):
        raise TypeError(
            f"Expected an optimizer, got the class {which.__name__}. Make one: {which.__name__}()."
        )
    if isinstance(which, str) and which.lower() in _BY_NAME:
        return _BY_NAME[which.lower()]()  # type: ignore[call-arg]
    raise ValueError(
        f"Unknown optimizer {which!r}; the known ones are {', '.join(_BY_NAME)}.{nearest(str(which), _BY_NAME)}"
    )
