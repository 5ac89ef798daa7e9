"""array-api-strict: a stand-in for a GPU that refuses whatever the array API standard does not promise.

Its arrays live on a device that is not the CPU, and its compiled steps raise where the host would wait for the
device. It is slow: a tool for tests.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar

from nnbackend.backend import Availability, Backend, host, installed_version
from nnbackend.philox import philox_words
from nnbackend.typing import Array, Device

__all__ = ["HostTransferError", "StrictBackend"]

_TRANSFERS = (
    "__bool__",
    "__complex__",
    "__dlpack__",
    "__float__",
    "__index__",
    "__int__",
    "__iter__",
    "to_device",
)
_inside_step: ContextVar[bool] = ContextVar("nnbackend_strict_step", default=False)


class HostTransferError(RuntimeError):
    """Inside a compiled step an array on the device was looked at from the host, which would have to wait."""


class StrictBackend(Backend):
    """Arrays of array-api-strict.

    Parameters
    ----------
    device : str
        One of its devices: ``"device1"``, ``"device2"``, ``"no_x64"``, ... or ``"CPU_DEVICE"``, where steps are
        not guarded.
    """

    name: ClassVar[str] = "strict"
    install: ClassVar[str] = "pip install array-api-strict"
    roots: ClassVar[frozenset[str]] = frozenset({"array_api_strict"})
    multiplies_stacks: ClassVar[bool] = True

    def __init__(self, device: str = "device1") -> None:
        import array_api_strict as xp

        self.xp = xp
        self._host_device = xp.Device("CPU_DEVICE")
        self._device = xp.Device(device)
        self._type = type(xp.asarray(0.0))

    @classmethod
    def probe(cls) -> Availability:
        version = installed_version("array_api_strict")
        if version is None:
            return Availability(False, "array-api-strict is not installed.")
        return Availability(True, version=version, devices=("device1 (pretended)",))

    def owns(self, value: object) -> bool:
        return isinstance(value, self._type)

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        copied: Array = self.xp.asarray(host().from_host(array, dtype), device=self._device)
        return copied

    def to_host(self, array: Array) -> Any:
        return host().from_host(array.to_device(self._host_device))  # type: ignore[attr-defined]

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        if not (self.owns(key) or self.owns(step)):
            words = host().random_words(count, bits, key=key, step=step, stream=stream, call=call)
            return self.from_host(words)
        return philox_words(
            self.xp, count, bits, key=key, step=step, stream=stream, call=call, device=self._device
        )

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the step under a guard: it raises `HostTransferError` where the host would wait for the device."""
        _install_guard()

        @functools.wraps(step)
        def guarded(*arguments: Any) -> Any:
            token = _inside_step.set(True)
            try:
                return step(*arguments)
            finally:
                _inside_step.reset(token)

        return guarded

    def memory(self, array: Array) -> object:
        return host().memory(array._array)  # type: ignore[attr-defined]

    def device(self, array: Array) -> Device:
        return array.device  # type: ignore[attr-defined]


@functools.cache
def _install_guard() -> None:
    """Let the methods that bring values to the host ask first whether a step is running."""
    import array_api_strict as xp

    array_type, host_device = type(xp.asarray(0.0)), xp.Device("CPU_DEVICE")
    for name in _TRANSFERS:
        setattr(array_type, name, _guarded(name, getattr(array_type, name), host_device))


def _guarded(name: str, method: Callable[..., Any], host_device: Any) -> Callable[..., Any]:
    @functools.wraps(method)
    def ask_first(array: Any, *arguments: Any, **options: Any) -> Any:
        if _inside_step.get() and array.device != host_device:
            stays = name == "to_device" and arguments and arguments[0] == array.device
            if not stays:
                raise HostTransferError(
                    f"{name} of an array on {array.device} inside a compiled step, at {_caller()}: the host would "
                    "wait for the device. Choose with where() and keep numbers in 0-d arrays, or compute the value "
                    "before the step."
                )
        return method(array, *arguments, **options)

    return ask_first


def _caller() -> str:
    """Return the file and line that asked, outside the array library and this file."""
    own = (os.path.dirname(__file__), os.path.dirname(sys.modules["array_api_strict"].__file__ or ""))
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
