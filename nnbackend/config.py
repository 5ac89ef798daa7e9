"""How objects are described in a saved model: by the registered name of their class and how they were made.

Nothing here runs code on load: a description names a class or function that is registered in the running program,
and the arguments to make it with.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeVar

from nnbackend.backend import nearest
from nnbackend.lazy import import_package, offered
from nnbackend.typing import Json

__all__ = ["Configurable", "describe", "find", "register", "restore", "snake_case"]

_T = TypeVar("_T")
_objects: dict[str, Any] = {}
_names: dict[int, str] = {}
_shared: ContextVar[dict[Any, Any] | None] = ContextVar("nnbackend_described", default=None)
_custom: ContextVar[Mapping[str, Any]] = ContextVar("nnbackend_custom_objects", default={})  # noqa: B039 - read only


def register(package: str = "custom", *, name: str | None = None) -> Callable[[_T], _T]:
    """Register a class or function of one's own, so that models that use it can be saved and loaded.

    Parameters
    ----------
    package : str
        Whose it is; keeps equal names of different packages apart. This library's own are not for others.
    name : str, optional
        Its name in files; the class's or function's own without it.

    Returns
    -------
    callable
        A decorator that returns what it is given.

    Raises
    ------
    ValueError
        If another object has that name already, or `package` is one of this library's own.

    Examples
    --------
    >>> import nnbackend as nn
    >>> @nn.register("my_package")
    ... class Scale(nn.Layer):
    ...     def build(self, input_shape):
    ...         self.scale = self.add_weight("scale", (input_shape[-1],), "ones")
    ...
    ...     def forward(self, x):
    ...         return x * self.scale
    """

    def decorate(thing: _T) -> _T:
        if _is_ours(package) and not _is_ours(getattr(thing, "__module__", None) or ""):
            raise ValueError(
                f"The package {package!r} is this library's own, which registers its classes when they are first used. "
                "Choose a name of yours, such as that of your package or project."
            )
        key = f"{package}>{name or thing.__name__}"  # type: ignore[attr-defined]
        present = _objects.get(key)
        again = present is not None and _origin(present) == _origin(thing)
        if present is not None and present is not thing and not again:  # a cell run again replaces its class
            raise ValueError(
                f"{key!r} is registered already, for {present!r}. Choose another name= or package."
            )
        _objects[key] = thing
        _names[id(thing)] = key
        return thing

    return decorate


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "nnbackend"


def _origin(thing: Any) -> tuple[Any, Any]:
    return getattr(thing, "__module__", None), getattr(thing, "__qualname__", thing)


def find(kind: str, which: Any, table: Mapping[str, _T]) -> _T:
    """Return what a name stands for; capitals make no difference.

    Parameters
    ----------
    kind : str
        What is looked for, such as ``"loss"``, for messages.
    which : str
        The name.
    table : mapping of str to object
        What is known, by names in lower case.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if isinstance(which, type):
        article = "an" if kind[0] in "aeiou" else "a"
        raise TypeError(
            f"Expected {article} {kind}, got the class {which.__name__}. Make one: {which.__name__}()."
        )
    if isinstance(which, str) and which.lower() in table:
        return table[which.lower()]
    raise ValueError(
        f"Unknown {kind} {which!r}; the known ones are {', '.join(table)}.{nearest(str(which), table)}"
    )


def snake_case(name: str) -> str:
    """Return a class name as the field writes its instances: ``LayerNormalization`` -> ``layer_normalization``."""
    pieces = []
    for index, letter in enumerate(name):
        before, after = name[index - 1 : index], name[index + 1 : index + 2]
        # a digit belongs to the word before it, and so does the D of 2D
        starts = before.islower() or (after.islower() and before.isupper())
        starts = starts or (before.isdigit() and (after.islower() or after.isdigit()))
        if letter.isupper() and starts:
            pieces.append("_")
        pieces.append(letter.lower())
    return "".join(pieces).strip("_")


class Configurable:
    """An object that is described by its class and the arguments it was made with.

    The arguments of ``__init__`` are remembered when an object is made, so subclasses need no code for saving. An
    attribute that has the name of an argument and is set later is told in the place of that argument.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    #: Whether its ``__init__`` has come to its end: what is set from then on was set by who uses it.
    _made: bool = False
    #: The arguments that were set anew since it was made.
    _set_since: Mapping[str, Any] = {}
    #: Whether the steps of a model are made of it.
    _in_use: bool = False
    #: Attributes that a copy does without.
    _not_copied: ClassVar[frozenset[str]] = frozenset({"_in_use"})

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Remember the arguments."""
        cls._require_places(arguments, options)
        made = super().__new__(cls)
        made._arguments = (arguments, options)
        return made

    @classmethod
    def _require_places(cls, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """Refuse arguments that ``__init__``, which may be that of a private class, has no place for."""
        if not arguments and not options:  # a copy is made without any
            return
        signature = _signature_of(cls.__init__)
        kind = inspect.Parameter
        places = list(signature.parameters.values())[1:]
        if all(place.kind is not kind.VAR_KEYWORD for place in places):
            known = {place.name for place in places}
            cls._refuse_unknown([name for name in options if name not in known], known)
        try:
            signature.bind(None, *arguments, **options)
        except TypeError as error:
            variable = (kind.VAR_KEYWORD, kind.VAR_POSITIONAL)
            names = ", ".join(place.name for place in places if place.kind not in variable)
            raise TypeError(
                f"{cls.__name__}: {error}. Its arguments are {names or 'those of its bases'}."
            ) from None

    @classmethod
    def _refuse_unknown(cls, unknown: Iterable[str], known: Iterable[str]) -> None:
        """Refuse arguments that the class has not; `known` are those that it may have been meant to get."""
        for argument in unknown:
            raise TypeError(f"{cls.__name__} has no argument {argument!r}.{nearest(argument, sorted(known))}")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _making(cls.__init__)  # type: ignore[method-assign]
        if _is_ours(cls.__module__) and not cls.__name__.startswith("_"):
            register(".".join(cls.__module__.split(".")[:2]))(
                cls
            )  # a loss and a metric may have the same name

    def put_to_use(self) -> None:
        """Let the options stay what they are from here on: compiled steps have read them, and files tell them."""
        vars(self)["_in_use"] = True
        for value in vars(self).values():
            if isinstance(value, Configurable) and not value._in_use:
                value.put_to_use()

    def __setattr__(self, name: str, value: Any) -> None:
        if (self._in_use or (self._made and name in vars(self))) and self._is_option(name):
            old = getattr(self, name, None)
            simple = isinstance(value, (bool, float, int, str))
            if value is not old and not (simple and value == old):
                self._set_option(name, old, value)
        super().__setattr__(name, value)

    def _is_option(self, name: str) -> bool:
        """Tell whether an attribute is an argument that it was made with, so that to set it is to ask for another."""
        return name in _options_of(type(self))  # type: ignore[arg-type]

    def _set_option(self, name: str, old: Any, value: Any) -> None:
        """Take note that an option was set; where something relies on the old one, refuse.

        Raises
        ------
        TypeError
            If compiled steps have read the option, or the class cannot be made with it.
        """
        kind = type(self).__name__
        if self._in_use:
            raise TypeError(
                f"{kind} keeps {name}={old!r}: a compiled model has read it. Make another {kind} "
                f"with {name}={value!r}, and compile the model with it; the weights stay."
            )
        known = arguments_of(type(self))  # type: ignore[arg-type]
        if name not in known:
            raise TypeError(
                f"{kind} keeps {name}={old!r}, which is no argument of its own, so that files could not tell another. "
                f"Make another {kind}; its arguments are {', '.join(sorted(known))}."
            )
        vars(self)["_set_since"] = {**self._set_since, name: value}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy of it and of all that it holds; no compiled step has read the options of the copy."""
        made = object.__new__(type(self))
        memo[id(self)] = made
        for name, value in vars(self).items():
            if name not in self._not_copied:
                vars(made)[name] = copy.deepcopy(value, memo)
        return made

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an object like this one as it is now."""
        arguments, options = self._arguments
        bound = inspect.signature(type(self)).bind(*arguments, **options)
        config: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                config.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                raise TypeError(
                    f"{type(self).__name__} takes *{name}, which get_config cannot name. Give it a get_config of its "
                    "own, or take a list instead."
                )
            else:
                config[name] = value
        return config | dict(self._set_since)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an object from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({inside})"


@functools.lru_cache(maxsize=1024)
def _signature_of(make: Callable[..., None]) -> inspect.Signature:
    return inspect.signature(make)


@functools.cache
def _options_of(cls: type[Any]) -> frozenset[str]:
    """Return the names of the arguments of a class and its bases, without those that are properties."""
    names = {
        name
        for base in cls.__mro__
        if base is not object and "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters
    }
    return frozenset(name for name in names if not isinstance(getattr(cls, name, None), property))


@functools.cache
def arguments_of(cls: type[Any]) -> frozenset[str]:
    """Return the names of the arguments that a class can be made with, those that it hands on to its bases included."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        found.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return frozenset(found)


def _making(make: Callable[..., None]) -> Callable[..., None]:
    """Make the ``__init__`` of a class, where it is the outermost, end with the note that the object is made."""

    @functools.wraps(make)
    def __init__(self: Configurable, *arguments: Any, **options: Any) -> None:  # noqa: N807 - it stands for one
        make(self, *arguments, **options)
        if type(self).__init__ is __init__:
            vars(self)["_made"] = True

    return __init__


def describe(thing: Any) -> Json:
    """Describe an object in JSON; one that stands twice is described once.

    Raises
    ------
    TypeError
        If a class or function is not registered; the message carries the cure.
    """
    outermost = _shared.get() is None
    token = _shared.set({}) if outermost else None
    try:
        return _describe(thing)
    finally:
        if token is not None:
            _shared.reset(token)


def _describe(thing: Any) -> Json:
    if thing is None or isinstance(thing, (bool, str)):
        return thing
    if isinstance(thing, numbers.Integral):  # a library's whole number as well
        return int(thing)
    if isinstance(thing, numbers.Real):
        return float(thing) if math.isfinite(thing) else {"float": repr(float(thing))}
    if isinstance(thing, list):
        return [_describe(item) for item in thing]
    if isinstance(thing, tuple):
        return {"tuple": [_describe(item) for item in thing]}
    if isinstance(thing, slice):
        return {"slice": [_describe(part) for part in (thing.start, thing.stop, thing.step)]}
    if thing is Ellipsis:
        return {"ellipsis": True}
    if isinstance(thing, dict):
        if not all(isinstance(key, str) for key in thing):
            raise TypeError("A saved model holds dicts with text keys only.")
        return {"dict": {key: _describe(value) for key, value in thing.items()}}
    if isinstance(thing, Configurable):
        seen = _shared.get()
        assert seen is not None
        if id(thing) in seen:
            return {"shared": seen[id(thing)][0]}
        number = len(seen)
        seen[id(thing)] = (number, thing)
        config = {key: _describe(value) for key, value in thing.get_config().items()}
        return {"class": _name_of(type(thing)), "config": config, "number": number}
    if callable(thing):
        return {"function": _name_of(thing)}
    raise TypeError(
        f"A saved model cannot hold a {type(thing).__name__}. Use numbers, text, lists, dicts, and objects of "
        "registered classes as arguments of layers."
    )


def _name_of(thing: Any) -> str:
    if id(thing) in _names and _objects.get(_names[id(thing)]) is thing:
        return _names[id(thing)]
    name = getattr(thing, "__qualname__", type(thing).__name__)
    raise TypeError(
        f"{name!r} is not registered, so a model that uses it could not be loaded. Put "
        f'@nn.register("your_package") above its definition; a lambda needs to become a named function.'
    )


@contextmanager
def _with_custom(custom: Mapping[str, Any] | None) -> Any:
    token = _custom.set(custom or {})
    shared = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(shared)
        _custom.reset(token)


def restore(description: Json, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Make the object that `describe` described.

    Parameters
    ----------
    description : JSON
        What `describe` returned.
    custom_objects : mapping of str to class or function, optional
        Objects that are not registered, by their registered or their own name.

    Raises
    ------
    ValueError
        If a name is not registered here.
    """
    with _with_custom(custom_objects):
        return _restore(description)


def _restore(description: Any) -> Any:
    if isinstance(description, list):
        return [_restore(item) for item in description]
    if not isinstance(description, dict):
        return description
    if "float" in description:
        return float(description["float"])
    if "tuple" in description:
        return tuple(_restore(item) for item in description["tuple"])
    if "slice" in description:
        return slice(*(_restore(part) for part in description["slice"]))
    if "ellipsis" in description:
        return Ellipsis
    if "dict" in description:
        return {key: _restore(value) for key, value in description["dict"].items()}
    if "function" in description:
        return _look_up(description["function"])
    seen = _shared.get()
    assert seen is not None
    if "shared" in description:
        return seen[description["shared"]]
    cls = _look_up(description["class"])
    made = cls.from_config({key: _restore(value) for key, value in description["config"].items()})
    seen[description["number"]] = made
    return made


def _look_up(key: str) -> Any:
    custom = _custom.get()
    short = key.rpartition(">")[2]
    for name in (key, short):
        if name in custom:
            return custom[name]
    package = key.rpartition(">")[0]
    offered(package, short)  # a class of this library's registers itself when it is imported
    if key not in _objects:
        import_package("nnbackend.activations" if package == "nnbackend" else package)
    if key in _objects:
        return _objects[key]
    raise ValueError(
        f"The model uses {key!r}, which is not registered here.{nearest(key, _objects)} Import the module that "
        f'registers it, or pass custom_objects={{"{short}": ...}}.'
    )
