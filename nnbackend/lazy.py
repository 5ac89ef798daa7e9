"""Packages that import a module of theirs when one of its names is first asked for.

A program uses a few of the library's two hundred modules, and only those it pays for. What a package offers, and where
that is defined, is written once, in a table in its ``__init__``::

    lazily(__name__, {"core": ["Dense"], "merging": ["Add", "Concatenate"]})
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["all_offered", "lazily", "offered"]


class _Lazy(ModuleType):
    """A package whose names are looked up in the table that `lazily` was given, and whose modules by their names."""

    _homes: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        if name in self._homes:
            value = getattr(import_module(f"{self.__name__}.{self._homes[name]}"), name)
        elif name.isidentifier() and not name.startswith("_") and find_spec(full):
            value = import_module(full)
        else:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Bind a name; importing a module does not take one that the package offers, such as that of a function."""
        if not (isinstance(value, ModuleType) and name in self._homes):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__all__})


def _in_order(name: str) -> tuple[bool, str]:
    return not name.isupper(), name


def lazily(package: str, names: Mapping[str, Iterable[str]], others: Iterable[str] = ()) -> None:
    """Let a package that is being imported offer names which are imported at first use, and set its ``__all__``.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    names : mapping of str to iterable of str
        For each of its modules the names that the package offers from it.
    others : iterable of str
        What it offers besides: its own functions, and modules themselves, which are imported at first use, too.
    """
    homes = {name: module for module, offers in names.items() for name in offers}
    made = sys.modules[package]
    vars(made).update(_homes=homes, __all__=sorted([*homes, *others], key=_in_order))
    made.__class__ = _Lazy
    for name in homes.keys() & vars(made).keys():
        if isinstance(vars(made)[name], ModuleType):  # imported before
            delattr(made, name)


def offered(package: str, name: str) -> Any:
    """Return what a lazy package offers under a name, or None; no package is imported for it.

    Examples
    --------
    >>> import nnbackend.layers
    >>> offered("nnbackend.layers", "Dense").__name__
    'Dense'
    """
    made = sys.modules.get(package)
    return getattr(made, name) if isinstance(made, _Lazy) and name in made._homes else None


def all_offered() -> Iterator[tuple[str, str]]:
    """Give the lazy packages that were imported, each with every name in its table."""
    for package, made in list(sys.modules.items()):
        if isinstance(made, _Lazy):
            yield from ((package, name) for name in made._homes)
