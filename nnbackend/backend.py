"""Which array library holds the data.

A *backend* is what `nnbackend` knows of one array library: a narrow class, `Backend`, with only what the array
API standard lacks. The built-in ones stand in a table below and live in packages of their own, imported when
they are asked for; other people's join through the entry-point group ``nnbackend.backends``.

The backend of a model is chosen by, in this order: its ``backend=`` argument, ``with use_backend(...)``,
`set_backend`, the environment variable ``NNBACKEND``, and NumPy. Functions on arrays follow their arrays.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import array_api_compat

from nnbackend.philox import philox_words
from nnbackend.typing import Array, Device, DType, Namespace

if TYPE_CHECKING:
    from nnbackend.elementwise import Program

__all__ = [
    "Availability",
    "Backend",
    "BackendUnavailableError",
    "StandIn",
    "available_backends",
    "backend_of",
    "chosen",
    "device",
    "get_backend",
    "host",
    "installed_version",
    "is_array",
    "known_dtypes",
    "namespace",
    "nearest",
    "plain",
    "probe_backends",
    "set_backend",
    "to_numpy",
    "use_backend",
]


class StandIn:
    """Stands for an array and belongs to no library itself: a tensor, a parameter, a symbol of a trace."""

    __slots__ = ()


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for cannot run here; the message carries the reason and the cure."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run on this machine, and what it would run on.

    Attributes
    ----------
    available : bool
        True where arrays can be made and computed with.
    reason : str
        Why not, in words; empty where `available`.
    version : str
        The version of the array library; empty where it is not installed.
    devices : sequence of str
        The devices found, each in words.
    memory : str
        Memory of the devices in words, where the library tells.
    """

    available: bool
    reason: str = ""
    version: str = ""
    devices: Sequence[str] = ()
    memory: str = ""


class Backend(ABC):
    """What the library must know of an array library beyond the array API standard.

    Subclasses state `name`, `install` and `roots`, and import their library in ``__init__``, never before:
    `probe` answers without raising on a machine where the library is missing or has no device.
    """

    #: The word users write: ``backend="cupy"``.
    name: ClassVar[str]
    #: The line that brings the library.
    install: ClassVar[str]
    #: Top-level modules whose classes are this library's arrays.
    roots: ClassVar[frozenset[str]]
    #: The library's namespace in the array API standard.
    xp: Namespace
    #: The floating dtypes that it computes in, by name.
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")
    #: Rules for which the library's own version is simply better, by the generic rule's name.
    native_rules: Mapping[str, Callable[..., Any]] = {}
    #: Rules that it computes in float32 where arguments have 16 bits, by name, beside those that ask for it themselves
    #: (`nnbackend.autodiff.differentiable`): where the library's own version is slow, or adds up in 16 bits.
    wide_rules: frozenset[str] = frozenset()
    #: Parameters with fewer elements are updated together where arrays are writable (not on JAX, whose compiler joins
    #: them by itself): they are copied into one buffer that lives within the step, and what comes out is cut into views
    #: of it. (A step that NumPy replays keeps them in one buffer, and copies nothing: `nnbackend_numpy.replay`.) A
    #: program costs 7 us on NumPy however small its arrays are, and a kernel on a GPU. Measured on NumPy without a
    #: replay, Adam: an update of a network 2-64-64-3 takes 0.75 of the time that it takes one by one, one of ten layers
    #: of 32 units 0.5.
    joins_below: ClassVar[int] = 1 << 13
    #: Whether the buffer is what was joined, in a compiled step, so that the memory of a state that is given up is that
    #: of the buffer.
    joins_in_place: ClassVar[bool] = False
    #: Functions of one array, such as ``erf``, that the library has and the standard lacks, by name; an elementwise
    #: function that says it may be one of them is replaced by it (`nnbackend.elementwise.Elementwise.may_be`).
    native_functions: Mapping[str, Callable[[Any], Any]] = {}

    @classmethod
    @abstractmethod
    def probe(cls) -> Availability:
        """Tell whether this backend can run here; never raises, never hangs."""

    @abstractmethod
    def owns(self, value: object) -> bool:
        """Tell whether `value` is an array of this library."""

    @abstractmethod
    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        """Copy a NumPy array (or what NumPy makes one of) to this backend's device, as `dtype`."""

    @abstractmethod
    def to_host(self, array: Array) -> Any:
        """Copy an array to the host as a NumPy array."""

    @abstractmethod
    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        """Draw `count` words of 32 or 64 bits from the Philox stream that `nnbackend.random` defines.

        Parameters
        ----------
        count : int
            How many words.
        bits : {32, 64}
            Their width. The result is uint32 or uint64, or int64 where the library lacks unsigned arithmetic
            (32-bit words as they are, 64-bit words as two's complement).
        key : array of shape (2,), int64, or pair of int
            The two halves of the 128-bit seed, low half first.
        step : 0-d integer array, or int
            The training step or epoch.
        stream, call : int
            The rest of the counter.
        """

    def dtype(self, name: str) -> DType:
        """Return the library's dtype of that name."""
        return getattr(self.xp, name)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Make ``step(state, batch) -> (state, metrics)`` fast; the state passed in is given up.

        What the step does besides, such as to print, may happen in some of its calls only.

        What is returned may have a method ``prepared(given)``, for steps without state that take pairs ``(given, x)``,
        as ``step({}, (given, x))``. It returns None, or a function of an array `x` that returns the leaves of the
        step's second result, in memory of their own, or None where the step is to be taken with all its arguments.
        """
        return step

    def uncompiled(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step that runs as the Python it is written in, every time, in the state that `compile` gives it."""

        def run(*arguments: Any) -> Any:
            with self.scope():
                return step(*arguments)

        return run

    def overflowing(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step, compiled or not, in which numbers may pass the largest of their dtype without a warning."""
        return step

    #: Whether a step may as well be run as it is, where it is not to be compiled.
    runs_uncompiled: ClassVar[bool] = True

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        """Evaluate an elementwise or rowwise program.

        ``donate[i]`` names the argument whose memory output ``i`` may overwrite, or is None.
        """
        return program.plain(*arguments)

    def scope(self) -> AbstractContextManager[Any]:
        """Enter the state in which this library computes with the dtypes it is given."""
        return nullcontext()

    #: True where `scope` does something, so that others need not enter it.
    scoped: bool = False

    def device(self, array: Array) -> Device:
        """Return the device of `array`, fit for the ``device=`` of creation functions."""
        return array_api_compat.device(array)

    #: Whether products of many matrices cut out of one array are fast as they are; else their rows are copied into one.
    multiplies_stacks: ClassVar[bool] = False

    #: Whether the sums over the rows of a matrix are faster as a product with ones.
    sums_by_products: ClassVar[bool] = False

    #: Whether arrays may be written to in place, so that who gets one must have it alone.
    writable: ClassVar[bool] = True

    def memory(self, array: Array) -> object:
        """Return what an array has in common with those that share its memory; None where it is not to be written.

        None stands for read-only arrays and for views in which elements share a place. The answer holds for as long
        as the arrays live. Without a better one of the library, an array shares its memory with itself alone.
        """
        return id(array)

    def copy(self, array: Array) -> Array:
        """Return a copy of an array, on its device."""
        copied: Array = self.xp.asarray(array, copy=True, device=self.device(array))
        return copied

    def full_like(self, array: Array, value: float, shape: Sequence[int]) -> Array:
        """Return an array of `shape` filled with `value`, of the dtype and on the device of `array`."""
        filled: Array = self.xp.full(tuple(shape), value, dtype=array.dtype, device=self.device(array))
        return filled

    def holds(self, count: int) -> bool:
        """Tell whether data of so many bytes had better lie on the device as a whole, rather than come in batches."""
        return True

    def sender(self) -> Callable[[Sequence[Any]], list[Array]]:
        """Return what brings the arrays of a batch from the host to the device; what is there stays as it is.

        A library whose device computes while the host goes on lets a batch travel meanwhile.
        """
        return lambda arrays: [array if self.owns(array) else self.from_host(array) for array in arrays]

    def synchronize(self) -> None:
        """Wait until the device has done what it was told."""

    def memory_in_use(self) -> int | None:
        """Return the bytes that arrays of this library hold, or None where it cannot tell."""
        return None

    def memory_report(self) -> str:
        """Return in words how the device's memory is used now; empty where the library does not tell."""
        return ""

    def __copy__(self) -> Self:
        """Return itself: it is what this process knows of a library, and stands there once."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself."""
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"The backend {self.name!r} is not pickled: it is what this process knows of a library. Send the name, and "
            f"ask for it there: nn.get_backend({self.name!r})."
        )

    def __repr__(self) -> str:
        return f"<{self.name} backend>"

    def __str__(self) -> str:
        return self.name


class _StandardBackend(Backend):
    """Any other library whose arrays carry ``__array_namespace__``: the plain mathematics runs on it."""

    name = "standard"
    install = ""
    roots = frozenset()

    def __init__(self, array: Any) -> None:
        self.xp = array_api_compat.array_namespace(array)
        self._type = type(array)

    @classmethod
    def probe(cls) -> Availability:
        return Availability(True)

    def owns(self, value: object) -> bool:
        return isinstance(value, self._type)

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        result: Array = self.xp.asarray(host().from_host(array, dtype), copy=True)
        return result

    def to_host(self, array: Array) -> Any:
        return host().from_host(host().xp.from_dlpack(array))

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        if not (self.owns(key) or self.owns(step)):
            return self.from_host(
                host().random_words(count, bits, key=key, step=step, stream=stream, call=call)
            )
        where = array_api_compat.device(key if self.owns(key) else step)
        return philox_words(self.xp, count, bits, key=key, step=step, stream=stream, call=call, device=where)


#: name -> "module:class". A backend of one's own joins by an entry point of the same form.
_BUILT_IN = {
    "numpy": "nnbackend_numpy:NumpyBackend",
    "cupy": "nnbackend_cupy:CupyBackend",
    "torch": "nnbackend_torch:TorchBackend",
    "jax": "nnbackend_jax:JaxBackend",
    "strict": "nnbackend_strict:StrictBackend",
}
ENTRY_POINT_GROUP = "nnbackend.backends"
ENVIRONMENT_VARIABLE = "NNBACKEND"

_instances: dict[tuple[str, tuple[tuple[str, type, Any], ...]], Backend] = {}
_by_type: dict[type, Backend] = {}
_chosen: Backend | None = None
_scoped: ContextVar[Backend | None] = ContextVar("nnbackend_use_backend", default=None)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, whatever its capitals, or an empty string."""
    import difflib  # for messages only

    words = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), list(words), n=1)
    return f" Did you mean {words[found[0]]!r}?" if found else ""


def installed_version(module: str) -> str | None:
    """Return the version of an installed top-level module without importing it; None where it is missing.

    For the `Backend.probe` of a library: it never raises. An empty string means that no version is known.
    """
    from importlib.metadata import PackageNotFoundError, version  # slow to import: at first use

    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if found is None or found.origin is None:  # a mere folder of that name
        return None
    try:
        return version(module)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(module), "__version__", ""))


def _foreign() -> dict[str, Any]:
    """Other people's backends: the entry points, which are looked up at first use."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _class_of(name: str) -> type[Backend]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
        return found
    foreign = _foreign()
    if name in foreign:
        try:
            loaded: type[Backend] = foreign[name].load()
        except Exception as error:  # whatever may be wrong in somebody else's package
            raise BackendUnavailableError(
                f"The backend {name!r} is installed but cannot be loaded: {type(error).__name__}: {error}. Cure: "
                "update or uninstall the package that brings it."
            ) from error
        return loaded
    known = [*_BUILT_IN, *foreign]
    raise ValueError(
        f"Unknown backend {name!r}; the known ones are {', '.join(known)}.{nearest(name, known)}"
    )


def get_backend(which: str | Backend | None = None, /, **options: Any) -> Backend:
    """Return a backend: the one named, or the one in force.

    Parameters
    ----------
    which : str or Backend, optional
        A name such as ``"cupy"``. Without it, the backend that `use_backend`, `set_backend`, the environment
        variable ``NNBACKEND`` or, failing all, the default ``"numpy"`` chose.
    **options
        Passed on to the backend, for instance ``device="cuda:0"``, or on NumPy ``compiler="numba"``.

    Returns
    -------
    Backend
        Its ``name`` is the word it is asked for by.

    Raises
    ------
    ValueError
        If no backend has that name; the nearest known one is named.
    TypeError
        If the backend has no option of that name; the message names those that it takes.
    BackendUnavailableError
        If it cannot run here; the message says why and carries the ``pip install`` line.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.get_backend("numpy").name
    'numpy'
    """
    if isinstance(which, Backend):
        if options:
            raise TypeError(
                f"Options ({', '.join(options)}) go with a backend's name; {which!r} is made already."
            )
        return which
    if which is None:
        current = chosen()
        if current is not None and not options:
            return current
        which = current.name if current is not None else _of_the_environment()
    elif not isinstance(which, str):
        raise TypeError(f"A backend is a name or a Backend, got {type(which).__name__}.")
    # with types: True and 1.0 equal 1, but are no number of threads
    key = (which, tuple((name, type(options[name]), options[name]) for name in sorted(options)))
    if key not in _instances:
        cls = _class_of(which)
        found = cls.probe()
        if not found.available:
            raise BackendUnavailableError(
                f"The backend {which!r} is not available: {found.reason} Cure: {cls.install}"
            )
        _check_options(which, cls, options)
        try:
            backend = cls(**options)
        except ImportError as error:
            raise BackendUnavailableError(
                f"The backend {which!r} is installed but cannot be imported: {error}. Cure: {cls.install}"
            ) from error
        _instances.setdefault(key, backend)  # another thread may have been faster
    return _instances[key]


def _of_the_environment() -> str:
    """Return the name that the environment gives, or NumPy's."""
    name = os.environ.get(ENVIRONMENT_VARIABLE) or "numpy"
    known = [*_BUILT_IN, *_foreign()] if name not in _BUILT_IN else [name]
    if name not in known:
        raise ValueError(
            f"The environment variable {ENVIRONMENT_VARIABLE} names the unknown backend {name!r}; the known ones are "
            f"{', '.join(known)}.{nearest(name, known)} Unset it for NumPy."
        )
    return name


def _check_options(name: str, cls: type[Backend], options: Mapping[str, Any]) -> None:
    """Refuse options that a backend does not take."""
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            known = f"it takes {', '.join(parameters)}" if parameters else "it takes none"
            cure = nearest(option, parameters)
            if option == "device":
                having = [
                    each for each in _BUILT_IN if "device" in inspect.signature(_class_of(each)).parameters
                ]
                cure = f" It has one device; those that choose theirs are {', '.join(having)}."
            raise TypeError(f"The backend {name!r} has no option {option!r}; {known}.{cure}")


def chosen() -> Backend | None:
    """Return the backend that `use_backend` or `set_backend` chose; None where neither did."""
    return _scoped.get() or _chosen


def set_backend(which: str | Backend, /, **options: Any) -> Backend:
    """Choose the backend for all models made from here on that do not name one themselves.

    Parameters and errors are those of `get_backend`.
    """
    global _chosen
    _chosen = get_backend(which, **options)
    return _chosen


@contextlib.contextmanager
def use_backend(which: str | Backend, /, **options: Any) -> Iterator[Backend]:
    """Choose the backend within a ``with`` block; parameters and errors are those of `get_backend`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> with nn.use_backend("numpy") as backend:
    ...     nn.get_backend() is backend
    True
    """
    backend = get_backend(which, **options)
    token = _scoped.set(backend)
    try:
        yield backend
    finally:
        _scoped.reset(token)


def probe_backends() -> dict[str, tuple[type[Backend], Availability]]:
    """Ask every known backend whether it can run here."""
    found: dict[str, tuple[type[Backend], Availability]] = {}
    for name in [*_BUILT_IN, *_foreign()]:
        try:
            cls = _class_of(name)
        except BackendUnavailableError as error:
            found[name] = (_StandardBackend, Availability(False, str(error)))
        else:
            found[name] = (cls, cls.probe())
    return found


def known_dtypes() -> dict[str, tuple[str, ...]]:
    """Return the floating dtypes of each known backend, by its name; whether it can run here is not asked.

    Examples
    --------
    >>> from nnbackend.backend import known_dtypes
    >>> known_dtypes()["numpy"]
    ('float16', 'float32', 'float64')
    """
    found = {}
    for name in [*_BUILT_IN, *_foreign()]:
        try:
            found[name] = _class_of(name).dtypes
        except BackendUnavailableError:
            continue
    return found


def available_backends() -> list[str]:
    """Return the names of the backends that can run on this machine, NumPy first."""
    return [name for name, (_, found) in probe_backends().items() if found.available]


def host() -> Backend:
    """Return the NumPy backend, through which all work on the host goes."""
    return get_backend("numpy")


def backend_of(array: object) -> Backend:
    """Return the backend whose library holds `array`.

    Raises
    ------
    TypeError
        If `array` is of no library that speaks the array API standard.
    """
    try:
        return _by_type[type(array)]
    except KeyError:
        return _by_type.setdefault(type(array), _find_backend(array))


def _find_backend(array: object) -> Backend:
    if isinstance(array, StandIn):
        raise TypeError(
            f"Expected an array, got {type(array).__name__}, which stands for one. Take the array inside: plain(x)."
        )
    roots = {cls.__module__.partition(".")[0] for cls in type(array).__mro__}
    for name in itertools.chain(_BUILT_IN, _foreign()):
        try:
            cls = _class_of(name)
        except BackendUnavailableError:  # somebody else's, and broken: no reason to fail here
            continue
        if roots & cls.roots and (backend := get_backend(name)).owns(array):
            return backend
    if hasattr(array, "__array_namespace__") and not isinstance(array, type):
        return _StandardBackend(array)
    raise TypeError(
        f"Expected an array of a library that speaks the array API standard, got {type(array).__name__}. "
        "Make one first, for instance with numpy.asarray."
    )


def is_array(value: object) -> bool:
    """Tell whether `value` is an array of some library (a number or a list is not)."""
    if type(value) in _by_type:
        return True
    if type(value) in _NOT_ARRAYS or isinstance(value, StandIn):
        return False
    try:
        backend_of(value)
    except TypeError:
        return False
    return True


_NOT_ARRAYS = frozenset({type(None), bool, int, float, complex, str, bytes, list, tuple, dict})
_namespaces: dict[type, Namespace] = {}


def namespace(array: Any) -> Namespace:
    """Return the array API namespace of `array`: its library's, or `nnbackend.functional` for a Tensor.

    The same function is the first line of every rule; it costs one dictionary look-up.
    """
    try:
        return _namespaces[type(array)]
    except KeyError:
        if isinstance(array, StandIn):  # a symbol's namespace belongs to its trace, so no type is remembered
            return array.__array_namespace__()  # type: ignore[attr-defined]
        found = _namespaces[type(array)] = backend_of(array).xp
        return found


def plain(array: Any) -> Any:
    """Return the array inside a tensor or parameter; an array is returned as it is."""
    while hasattr(array, "__nnbackend_value__"):
        array = array.__nnbackend_value__()
    return array


def device(array: Any) -> Device:
    """Return the device of `array`, fit for the ``device=`` of creation functions."""
    array = plain(array)
    return backend_of(array).device(array)


def to_numpy(array: Any) -> Any:
    """Return any array, tensor or parameter as a NumPy array on the host (a copy).

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.to_numpy(nn.Tensor(nn.get_backend("numpy").xp.ones(2)))
    array([1., 1.])
    """
    array = plain(array)
    return backend_of(array).to_host(array)
