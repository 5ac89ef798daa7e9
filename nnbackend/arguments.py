"""What arguments must be, said in one wording."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from nnbackend.backend import nearest

__all__ = ["Parameters", "named_arguments", "parameters_of", "positive_integer", "shown"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Parameters(NamedTuple):
    """What a function takes; a parameter without a default has ``inspect.Parameter.empty`` in its place."""

    positional: dict[str, Any]
    named: dict[str, Any]
    takes_more: bool  # has *arguments
    takes_any_name: bool  # has **options

    @property
    def names(self) -> list[str]:
        """All that have a name of their own."""
        return [*self.positional, *self.named]


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Return what a function takes, as `inspect.signature` finds it, in a fraction of its time.

    Hundreds of functions are asked while the library is imported.

    Examples
    --------
    >>> def scale(x, factor=2.0, *, out): ...
    >>> parameters_of(scale).positional["factor"], list(parameters_of(scale).named)
    (2.0, ['out'])
    """
    empty = inspect.Parameter.empty
    plain = inspect.unwrap(function, stop=_is_said)
    if type(plain) is not FunctionType or _is_said(plain):
        found = inspect.signature(function).parameters.values()
        return Parameters(
            {p.name: p.default for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)},
            {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY},
            any(p.kind is p.VAR_POSITIONAL for p in found),
            any(p.kind is p.VAR_KEYWORD for p in found),
        )
    code = plain.__code__
    count, end = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    defaults = plain.__defaults__ or ()
    given = plain.__kwdefaults__ or {}
    return Parameters(
        dict(zip(code.co_varnames[:count], (empty,) * (count - len(defaults)) + defaults, strict=True)),
        {name: given.get(name, empty) for name in code.co_varnames[count:end]},
        bool(code.co_flags & inspect.CO_VARARGS),
        bool(code.co_flags & inspect.CO_VARKEYWORDS),
    )


def _is_said(function: Callable[..., Any]) -> bool:
    return hasattr(function, "__signature__")


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
    known = {name: None for name in parameters_of(method).names if name != "self"}

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
