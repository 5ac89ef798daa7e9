"""The options of the backend that say how its rules compute, and which of them hold.

An array of CuPy's does not tell which instance of the backend it belongs to, so that rules ask which one is in force.
Nothing here imports CuPy.
"""

from __future__ import annotations

from typing import NamedTuple

from nnbackend.backend import chosen

__all__ = ["Options", "in_force"]


class Options(NamedTuple):
    """What holds for rules, and with it for graphs that are captured of them.

    Attributes
    ----------
    convolution, attention : {"cudnn"}, optional
        What convolves and what attends.
    deterministic : bool
        Whether sums have one order.
    bias_gradient : {"product"}, optional
        What sums the gradients of biases.
    """

    convolution: str | None = None
    attention: str | None = None
    deterministic: bool = True
    bias_gradient: str | None = None


def in_force() -> Options:
    """Return those of the backend that `nnbackend.use_backend` or `set_backend` chose, if it is CuPy's."""
    found = getattr(chosen(), "options", None)
    return found if isinstance(found, Options) else Options()
