"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend import functional
from nnbackend.config import find, register

__all__ = ["get"]

_BY_NAME: dict[str, Callable[..., Any]] = {
    name: register("nnbackend", name=name)(getattr(functional, name))
    for name in ("linear", "relu", "sigmoid", "tanh", "softmax", "log_softmax", "step")
}


def get(which: str | Callable[..., Any] | None) -> Callable[..., Any]:
    """Return an activation by its name, such as ``"relu"``; a function as it is; the identity for None.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if which is None:
        return _BY_NAME["linear"]
    if callable(which) and not isinstance(which, type):
        return which
    return find("activation", which, _BY_NAME)
