"""What ``init`` sets for all that follows: the backend, the dtype, the products, and the random numbers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from nnbackend import functional
from nnbackend.backend import Backend, get_backend, host, is_array, plain, to_numpy
from nnbackend.placement import is_at_home

__all__ = ["Settings", "init", "randn"]


@dataclass(frozen=True)
class Settings:
    """How the book's programs compute.

    Attributes
    ----------
    backend : Backend or None
        Where new arrays are made; None for the one that `nnbackend.get_backend` names.
    dtype : {"float32", "float64"}
        Of new weights and of numbers that have no floating dtype.
    wide_products : bool
        Whether matrix products of float32 are computed in float64 and rounded once.
    random : numpy.random.RandomState, or None
        A private generator; None for NumPy's global one.
    """

    backend: Backend | None = None
    dtype: str = "float64"
    wide_products: bool = False
    random: Any = None


_settings = Settings()


def init(
    dot_precision_workaround: bool = True,
    default_dtype: str | None = "float32",
    random_seed: int | None = 0,
    *,
    backend: str | Backend | None = None,
    private: bool = False,
) -> None:
    """Set what the book's ``nnfs.init()`` sets, and where to compute.

    Parameters
    ----------
    dot_precision_workaround : bool
        Whether matrix products of float32 arrays are computed in float64 and rounded once: then every machine gets
        the same digits. GPUs made for games are slow at that.
    default_dtype : {"float32", "float64"}, optional
        The dtype of new weights and data; None is float64, NumPy's own.
    random_seed : int, optional
        The seed; None leaves the random numbers where they are.
    backend : str or Backend, optional
        Where to compute; without it the backend in force, see `nnbackend.get_backend`.
    private : bool
        Whether random numbers come from a generator of its own instead of NumPy's global one.

    Raises
    ------
    ValueError
        If the dtype or the backend is unknown.
    nnbackend.BackendUnavailableError
        If the backend cannot run here.

    Notes
    -----
    The book draws from NumPy's global generator of old, first the data, then the weights of each layer, in the order
    of the lines, and its programs call ``numpy.random`` themselves in between. So that they get the book's numbers, the
    same generator is seeded and drawn from here; with `private` nothing global is touched. Without a call of `init`
    weights are float64 and nothing is seeded, as in the book's first chapters. Unlike the book's, it replaces no
    function of NumPy.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> nnfs.Layer_Dense(2, 2).weights
    array([[0.01764052, 0.00400157],
           [0.00978738, 0.02240893]], dtype=float32)
    """
    global _settings
    default_dtype = "float64" if default_dtype is None else default_dtype
    if default_dtype not in ("float32", "float64"):
        raise ValueError(f"nnfs.init expects default_dtype float32 or float64, got {default_dtype!r}.")
    chosen = None if backend is None else get_backend(backend)
    random = None
    if private:
        from nnbackend.datasets.book import legacy_random

        same = random_seed is None and _settings.random is not None
        random = _settings.random if same else legacy_random(random_seed or 0)
    elif random_seed is not None:
        generator().seed(random_seed)
    _settings = Settings(chosen, default_dtype, bool(dot_precision_workaround), random)


def current() -> Settings:
    """Return the settings in force."""
    return _settings


@contextlib.contextmanager
def changed(**changes: Any) -> Iterator[None]:
    """Change settings within a ``with`` block."""
    global _settings
    before = _settings
    _settings = replace(before, **changes)
    try:
        yield
    finally:
        _settings = before


def generator() -> Any:
    """Return the source of random numbers: the private generator, or the functions of NumPy's global one."""
    if _settings.random is not None:
        return _settings.random
    import numpy

    return numpy.random


def chosen_backend() -> Backend:
    """Return where new arrays are made."""
    return _settings.backend or get_backend()


def randn(*shape: int) -> Any:
    """Draw from the normal distribution, in the book's order, as an array of the backend in force.

    Parameters
    ----------
    *shape : int
        The length of each axis.

    Returns
    -------
    array
        In the dtype that `init` set.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> nnfs.randn(2, 2)
    array([[1.7640524, 0.4001572],
           [0.978738 , 2.2408931]], dtype=float32)
    """
    # rounded first, as the book's patched randn: what it is multiplied with meets rounded numbers
    return chosen_backend().from_host(generator().randn(*shape), _settings.dtype)


def place(values: Any, backend: Backend | None = None) -> Any:
    """Return values as an array: of `backend`, or as they are where none is asked for and they are an array."""
    values = plain(values)
    if is_array(values):
        if backend is None or is_at_home(values, backend):
            return values
        values = to_numpy(values)
    target = backend or chosen_backend()
    return target.from_host(values if is_array(values) else host().from_host(values))


def real(values: Any, backend: Backend | None = None, dtype: str | None = None) -> Any:
    """Return values as `place` does, as floating numbers: of `dtype`, or of the default where they are not floating."""
    array = place(values, backend)
    if dtype is None:
        if "float" in dtype_name(array) and is_array(plain(values)):
            return array
        dtype = _settings.dtype
    return array if dtype_name(array) == dtype else functional.astype(array, dtype)


def dtype_name(array: Any) -> str:
    """Return the name of an array's dtype: ``float32`` for ``torch.float32``."""
    dtype = array.dtype
    return _name(type(dtype).__module__, dtype)


@functools.lru_cache(maxsize=256)
def _name(library: str, dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]  # `library` is compared first: dtypes of two of them are not to be


def number(array: Any) -> Any:
    """Return a 0-d array as a number of NumPy on the host, which prints with the digits that its dtype has."""
    return to_numpy(array)[()]
