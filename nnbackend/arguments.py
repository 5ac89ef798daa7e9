"""What arguments must be, said in one wording."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from nnbackend.backend import nearest

__all__ = ["named_arguments", "positive_integer", "shown"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def named_arguments(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a method refuse arguments that it has not in words that name the one that was probably meant.

    Examples
    --------
    >>> @named_arguments
    ... def fit(x, *, epochs=1):
    ...     return epochs
    >>> fit(None, epoch=3)
    Traceback (most recent call last):
        ...
    TypeError: fit has no argument 'epoch'. Did you mean 'epochs'?
    """
    known = {name: None for name in inspect.signature(method).parameters if name != "self"}

    @functools.wraps(method)
    def wrapped(*arguments: _P.args, **options: _P.kwargs) -> _R:
        if not known.keys() >= options.keys():
            name = next(name for name in options if name not in known)
            cure = nearest(name, known) or f" Its arguments are {', '.join(known)}."
            raise TypeError(f"{method.__name__} has no argument {name!r}.{cure}")
        return method(*arguments, **options)

    return wrapped


def positive_integer(owner: str, name: str, value: Any) -> int:
    """Return `value` as a whole number above zero.

    Raises
    ------
    TypeError, ValueError
        If it is none; the message names the owner and the argument.
    """
    try:
        number = operator.index(value)
        if isinstance(value, bool):
            raise TypeError
    except TypeError:
        raise TypeError(f"{owner} expects {name} to be a whole number, got {value!r}.") from None
    if number < 1:
        raise ValueError(f"{owner} expects {name} to be at least 1, got {number}.")
    return number


def shown(sample_shape: Sequence[object]) -> str:
    """Return a sample's shape as users know it, with n for the axis of samples."""
    return f"({', '.join(['n', *map(str, sample_shape)])})" if sample_shape else "(n,)"
