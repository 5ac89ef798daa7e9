"""Optimizers: update rules as elementwise programs, their state as arrays; and schedules of learning rates."""

from __future__ import annotations

from collections.abc import Callable

from nnbackend.config import find
from nnbackend.optimizers import schedules
from nnbackend.optimizers.adafactor import Adafactor
from nnbackend.optimizers.adam import Adam, Adamax, AdamW, Nadam, RAdam
from nnbackend.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from nnbackend.optimizers.base import Optimizer
from nnbackend.optimizers.lamb import LAMB
from nnbackend.optimizers.lbfgs import LBFGS, Minimum
from nnbackend.optimizers.lion import Lion
from nnbackend.optimizers.muon import Muon
from nnbackend.optimizers.sgd import SGD

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Minimum",
    "Muon",
    "Nadam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "get",
    "schedules",
]

_CLASSES: tuple[type[Optimizer], ...] = (
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    LAMB,
    Lion,
    Muon,
    Nadam,
    RAdam,
    RMSprop,
    SGD,
)
_BY_NAME: dict[str, Callable[[], Optimizer]] = {cls.__name__.lower(): cls for cls in _CLASSES} | {
    "amsgrad": lambda: Adam(amsgrad=True)
}


def get(which: object) -> Optimizer:
    """Return an optimizer by its name, such as ``"adam"``, or the one given.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class, or `LBFGS`, which takes no steps of single batches.
    """
    if isinstance(which, Optimizer):
        return which
    if isinstance(which, LBFGS):
        raise TypeError(
            "LBFGS looks at all samples many times in a step, so it is no optimizer for fit: compile the model with "
            "another one, and call model.minimize(x, y, LBFGS())."
        )
    return find("optimizer", which, _BY_NAME)()
