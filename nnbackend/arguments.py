"""What arguments must be, said in one wording."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from itertools import islice
from types import FunctionType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from nnbackend.backend import nearest

__all__ = ["Parameters", "named_arguments", "parameters_of", "positive_integer", "shown"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Parameters(NamedTuple):
    """What a function takes; a parameter without a default has ``inspect.Parameter.empty`` in its place."""

    positional: dict[str, Any]
    more: tuple[str, ...]  # the name of *arguments, if there are any
    named: dict[str, Any]
    others: tuple[str, ...]  # that of **options

    @property
    def names(self) -> list[str]:
        """The names of all, in their order."""
        return [*self.positional, *self.more, *self.named, *self.others]


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Return what a function takes, as `inspect.signature` finds it, in a fraction of its time.

    Every rule, layer and elementwise function is asked while its module is imported.

    Raises
    ------
    TypeError, ValueError
        As of `inspect.signature`, of what is not callable, or is written in C and does not tell.

    Examples
    --------
    >>> def scale(x, factor=2.0, *, out): ...
    >>> parameters_of(scale).positional["factor"], list(parameters_of(scale).named)
    (2.0, ['out'])
    """
    plain = inspect.unwrap(function, stop=_tells)
    if _tells(plain):
        found = inspect.signature(function).parameters.values()
        return Parameters(
            {p.name: p.default for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)},
            tuple(p.name for p in found if p.kind is p.VAR_POSITIONAL),
            {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY},
            tuple(p.name for p in found if p.kind is p.VAR_KEYWORD),
        )
    code = plain.__code__
    empty = inspect.Parameter.empty
    defaults, named_defaults = plain.__defaults__ or (), plain.__kwdefaults__ or {}
    names = iter(code.co_varnames)
    positional = [*islice(names, code.co_argcount)]
    named = [*islice(names, code.co_kwonlyargcount)]
    return Parameters(
        dict(zip(positional, (empty,) * (len(positional) - len(defaults)) + defaults, strict=True)),
        tuple(islice(names, bool(code.co_flags & inspect.CO_VARARGS))),
        {name: named_defaults.get(name, empty) for name in named},
        tuple(islice(names, bool(code.co_flags & inspect.CO_VARKEYWORDS))),
    )


#: Attributes of a function that tell `inspect.signature` otherwise than its code.
_TELLING = frozenset({"__signature__", "__text_signature__", "_partialmethod", "__partialmethod__"})


def _tells(function: Callable[..., Any]) -> bool:
    """Tell whether something else than code says what a function takes."""
    return type(function) is not FunctionType or not vars(function).keys().isdisjoint(_TELLING)


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
    takes = parameters_of(method)
    known = {name: None for name in (*takes.positional, *takes.named) if name != "self"}

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
