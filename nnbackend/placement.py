"""Where arrays lie: a library may have several devices, and a backend makes its arrays on one of them."""

from __future__ import annotations

import functools

from nnbackend.backend import Backend, backend_of
from nnbackend.typing import Array, Device

__all__ = ["copy_of", "is_at_home"]


@functools.lru_cache(maxsize=64)
def _home(backend: Backend) -> Device:
    """Return the device that a backend brings arrays to."""
    return backend.device(backend.from_host(0, "int64"))


def is_at_home(array: Array, backend: Backend) -> bool:
    """Tell whether an array lies where this backend makes its own: in its library, on its device.

    An array alone does not tell which instance of its library's backend it belongs to: `backend_of` answers with
    that of the default device.
    """
    if not backend.owns(array):
        return False
    device = backend.device(array)
    return device is None or device == _home(backend)  # None: a value that a compiler stands in for


def copy_of(array: Array) -> Array:
    """Return a copy of an array, on its device."""
    backend = backend_of(array)
    with backend.scope():
        return backend.copy(array)
