"""Optimizers: update rules as elementwise programs, their state as arrays; and schedules of learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.config import find
from nnbackend.lazy import lazily, offered
from nnbackend.optimizers.base import Optimizer as Optimizer

if TYPE_CHECKING:
    from nnbackend.optimizers import schedules as schedules
    from nnbackend.optimizers.adafactor import *
    from nnbackend.optimizers.adam import *
    from nnbackend.optimizers.adaptive import *
    from nnbackend.optimizers.lamb import *
    from nnbackend.optimizers.lbfgs import *
    from nnbackend.optimizers.lion import *
    from nnbackend.optimizers.muon import Muon as Muon
    from nnbackend.optimizers.sgd import *

_CLASSES = {
    "adafactor": ["Adafactor"],
    "adam": ["Adam", "AdamW", "Adamax", "Nadam", "RAdam"],
    "adaptive": ["Adadelta", "Adagrad", "RMSprop"],
    "lamb": ["LAMB"],
    "lion": ["Lion"],
    "muon": ["Muon"],
    "sgd": ["SGD"],
}
_OTHERS = {"base": ["Optimizer"], "lbfgs": ["LBFGS", "Minimum"]}

lazily(__name__, _CLASSES | _OTHERS, others=["get", "schedules"])

#: How each name makes an optimizer: its class, and arguments.
_BY_NAME: dict[str, tuple[str, dict[str, object]]] = {
    name.lower(): (name, {}) for name in sorted(name for names in _CLASSES.values() for name in names)
}
_BY_NAME["amsgrad"] = ("Adam", {"amsgrad": True})


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
    if not isinstance(which, str):
        from nnbackend.optimizers.lbfgs import LBFGS

        if isinstance(which, LBFGS):
            raise TypeError(
                "LBFGS looks at all samples many times in a step, so it is no optimizer for fit: compile the model "
                "with another one, and call model.minimize(x, y, LBFGS())."
            )
    name, options = find("optimizer", which, _BY_NAME)
    made: Optimizer = offered(__name__, name)(**options)
    return made
