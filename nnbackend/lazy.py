"""Packages that import a module of theirs when one of its names is first asked for.

A program uses a few of the library's two hundred modules, and pays for those alone. What a package offers, and where
that is made, is written once, in a table in its ``__init__``::

    lazily(__name__, {"core": ["Dense"], "merging": ["Add", "Concatenate"]})

With the environment variable ``EAGER_IMPORT`` set, to anything, ``import nnbackend`` imports them all: for programs
that fork while another thread may be importing, whose child would wait for that thread's lock, and for tests that put
something in the place of names which modules imported meanwhile would take. The array library is imported with its
backend, by `nnbackend.get_backend`.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["import_all", "import_package", "lazily", "offered"]


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

    Raises
    ------
    ValueError
        If a name stands in the table twice.
    """
    homes: dict[str, str] = {}
    for module, offers in names.items():
        table = _table_of(f"{package}.{module}")
        for name in offers:
            if name in homes:
                raise ValueError(
                    f"{package} offers {name!r} twice, from {homes[name]} and from {module}. Keep one."
                )
            homes[name] = table.get(name, f"{package}.{module}")
    made = sys.modules[package]
    modules = functools.cache(lambda: frozenset(_modules_of(made)))

    def __getattr__(name: str) -> Any:  # noqa: N807 - Python's name for it
        if name in homes:
            value = getattr(import_module(homes[name]), name)
            if _is_made_in(homes[name], name, value):  # nobody put it there for a while, as tests do
                vars(made)[name] = value
            return value
        if name in modules():
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=made)

    def __dir__() -> list[str]:  # noqa: N807
        own = (name for name in vars(made) if name.startswith("__"))
        return sorted({*own, *vars(made)["__all__"], *modules()})

    in_order = sorted([*homes, *others], key=lambda name: (not name.isupper(), name))
    vars(made).update(__all__=in_order, __getattr__=__getattr__, __dir__=__dir__, _homes=homes)
    if "." not in package and os.environ.get("EAGER_IMPORT"):
        import_all(made)


def offered(package: str, name: str) -> Any:
    """Return what a lazy package offers under a name, or None; no package is imported for it.

    Examples
    --------
    >>> import nnbackend.layers
    >>> offered("nnbackend.layers", "Dense").__name__
    'Dense'
    """
    return getattr(sys.modules[package], name) if name in _table_of(package) else None


def import_package(name: str) -> None:
    """Import a room of this library, and every module in it; any other name is left alone."""
    library, _, room = name.partition(".")
    if library == __name__.partition(".")[0] and room in _modules_of(sys.modules[library]):
        made = import_module(name)
        if hasattr(made, "__path__"):
            import_all(made)


@functools.cache
def import_all(package: ModuleType) -> tuple[ModuleType, ...]:
    """Import every module of a package and of the packages inside it, and return them."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return tuple(import_module(info.name) for info in found if not info.name.endswith(".__main__"))


def _table_of(package: str) -> dict[str, str]:
    """Return the module of each name that a package offers; nothing for one that was not imported or is not lazy."""
    table: dict[str, str] = getattr(sys.modules.get(package), "__dict__", {}).get("_homes", {})
    return table


def _modules_of(package: ModuleType) -> list[str]:
    return [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]


def _is_made_in(module: str, name: str, value: Any) -> bool:
    """Tell whether a value was made in a module under this name, by its code and not by a wrapper from elsewhere."""
    library = module.partition(".")[0]
    if isinstance(value, FunctionType) and value.__globals__.get("__name__", "").partition(".")[0] != library:
        return False
    return getattr(value, "__module__", None) == module and getattr(value, "__name__", None) == name
