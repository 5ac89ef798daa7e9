"""Packages that import a module of theirs when one of its names is first asked for.

A program uses a few of the library's two hundred modules, and pays for those alone. What a package offers, and where
that is made, is written once, in a table in its ``__init__``::

    lazily(__name__, {"core": ["Dense"], "merging": ["Add", "Concatenate"]})

The environment variable ``EAGER_IMPORT`` has all of it imported with the library: for programs that fork while another
thread may be importing, since the child would wait for that thread's lock, and for tests that put mocks in place of
names which modules imported later would take.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["all_offered", "import_all", "lazily", "offered"]


def lazily(package: str, names: Mapping[str, Iterable[str]], others: Iterable[str] = ()) -> None:
    """Let a package that is being imported offer names which are imported at first use, and set its ``__all__``.

    A name that a module shares with a function in it is to be bound to the function in the ``__init__``: importing a
    module binds its name in the package, once.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    names : mapping of str to iterable of str
        For each of its modules the names that the package offers from it.
    others : iterable of str
        What it offers besides: its own functions, and modules themselves, which are imported at first use, too.
    """
    homes = {name: f"{package}.{module}" for module, offers in names.items() for name in offers}
    made = sys.modules[package]

    def __getattr__(name: str) -> Any:  # noqa: N807 - Python's name for it
        if name in homes:
            value = getattr(import_module(homes[name]), name)
            if _is_made_in(homes[name], name, value):  # nobody put it there for a while, as tests do
                vars(made)[name] = value
            return value
        if name.isidentifier() and not name.startswith("_") and find_spec(f"{package}.{name}"):
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=made)

    def __dir__() -> list[str]:  # noqa: N807
        own = (name for name in vars(made) if name.startswith("__"))
        return sorted({*own, *vars(made)["__all__"], *_modules_of(made)})

    offers = sorted([*homes, *others], key=lambda name: (not name.isupper(), name))
    vars(made).update(__all__=offers, __getattr__=__getattr__, __dir__=__dir__, _homes=homes)
    if "." not in package and os.environ.get("EAGER_IMPORT"):
        _import_what_is_offered(made)


def _is_made_in(module: str, name: str, value: Any) -> bool:
    return getattr(value, "__module__", None) == module and getattr(value, "__name__", None) == name


def _modules_of(package: ModuleType) -> Iterator[str]:
    return (info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))


def _import_what_is_offered(package: ModuleType) -> None:
    for name in vars(package)["__all__"]:
        value = getattr(package, name)
        if isinstance(value, ModuleType) and "__all__" in vars(value):
            _import_what_is_offered(value)


def offered(package: str, name: str) -> Any:
    """Return what a lazy package offers under a name, or None; no package is imported for it.

    Examples
    --------
    >>> import nnbackend.layers
    >>> offered("nnbackend.layers", "Dense").__name__
    'Dense'
    """
    made = sys.modules.get(package)
    return getattr(made, name) if name in getattr(made, "_homes", {}) else None


def all_offered() -> Iterator[tuple[str, str]]:
    """Give the lazy packages that were imported, each with every name in its table."""
    for package, made in list(sys.modules.items()):
        if package.partition(".")[0] == __name__.partition(".")[0]:
            yield from ((package, name) for name in vars(made).get("_homes", ()))


@functools.cache
def import_all(package: ModuleType) -> tuple[ModuleType, ...]:
    """Import every module of a package and of the packages inside it, and return them."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return tuple(import_module(info.name) for info in found)
