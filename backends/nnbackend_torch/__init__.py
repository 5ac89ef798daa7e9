"""PyTorch, on a CPU or an accelerator: its tensors as arrays, without its autograd."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from nnbackend.backend import Availability, Backend, host, installed_version, namespace
from nnbackend.precision import get_matmul_precision
from nnbackend.typing import Array, Backward, Device

__all__ = ["TorchBackend"]

_BIT_PATTERNS = {"bfloat16": "int16"}


class TorchBackend(Backend):
    """Tensors of PyTorch.

    Compiled steps run under ``torch.no_grad``, since the tape of `nnbackend` does the work of PyTorch's. Outside a
    step rules are plain PyTorch operations: a tensor of one's own that requires grad is followed by PyTorch's
    autograd as well. Pass ``tensor.detach()`` where that is not wanted.

    PyTorch's own precision of float32 products is that of `nnbackend.set_matmul_precision` while rules and steps run,
    and what it was before in between. Its finer settings, ``torch.backends.cuda.matmul.fp32_precision`` and the like,
    are left to who uses them.

    Parameters
    ----------
    device : str
        Where arrays are made: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    """

    name: ClassVar[str] = "torch"
    install: ClassVar[str] = 'pip install "nnbackend[torch]"'
    roots: ClassVar[frozenset[str]] = frozenset({"torch"})
    dtypes: ClassVar[tuple[str, ...]] = ("float16", "bfloat16", "float32", "float64")
    scoped: bool = True

    def __init__(self, device: str = "cpu") -> None:
        import array_api_compat.torch as xp
        import torch

        self.xp = xp
        self._torch = torch
        self._device = torch.device(device)
        self.native_rules = {"scatter_add": self._scatter_add}
        self.native_functions = {"erf": torch.special.erf, "erfc": torch.special.erfc}

    @classmethod
    def probe(cls) -> Availability:
        version = installed_version("torch")
        if version is None:
            return Availability(False, "PyTorch is not installed.")
        devices, memory = _devices()
        return Availability(True, version=version, devices=devices, memory=memory)

    def owns(self, value: object) -> bool:
        return isinstance(value, self._torch.Tensor)

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        if dtype in _BIT_PATTERNS:  # NumPy may not know the dtype: PyTorch makes it
            copied = self._of_numpy(host().from_host(array)).to(getattr(self._torch, dtype))
        else:
            copied = self._of_numpy(host().from_host(array, dtype))
        moved: Array = copied.to(self._device)
        return moved

    def _of_numpy(self, array: Any) -> Any:
        if array.dtype.name in _BIT_PATTERNS:
            bits = self._torch.from_numpy(array.view(_BIT_PATTERNS[array.dtype.name]))
            return bits.view(getattr(self._torch, array.dtype.name))
        return self._torch.from_numpy(array)

    def to_host(self, array: Array) -> Any:
        tensor: Any = array
        name = str(tensor.dtype).removeprefix("torch.")
        if name not in _BIT_PATTERNS:
            return host().from_host(tensor.numpy(force=True))
        ml_dtypes: Any = importlib.import_module("ml_dtypes")  # NumPy's dtypes for such bits
        bits = tensor.detach().view(getattr(self._torch, _BIT_PATTERNS[name]))
        words: Any = host().from_host(bits.numpy(force=True))
        return words.view(getattr(ml_dtypes, name))

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        """Draw the words on the host and move them.

        A key or step on a GPU is read first, which waits for the device: a step that draws is not free of
        synchronisation with PyTorch on CUDA.
        """
        if self.owns(key):
            key = self.to_host(key)
        words = host().random_words(count, bits, key=key, step=int(step), stream=stream, call=call)
        # PyTorch has no arithmetic on unsigned integers
        signed = words.view("int64") if bits == 64 else words  # type: ignore[attr-defined]
        return self.from_host(signed, "int64")

    def _scatter_add(self, x: Any, indices: Any, *, length: int) -> tuple[Any, Backward]:
        """Add up in float64, in the order of the rows; on a GPU by sorting, since atomic additions have no order."""
        torch = self._torch
        indices = indices.to(torch.int64)
        indices = torch.where(indices < 0, indices + length, indices)
        wide = x.to(torch.float64) if x.is_floating_point() else x
        sums = wide.new_zeros((length, *x.shape[1:]))
        if x.device.type == "cpu":
            sums = sums.index_add(0, indices, wide)
        else:
            sums = sums.index_put((indices,), wide, accumulate=True)

        def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
            return namespace(dy).take(dy, indices, axis=0), None

        return sums.to(x.dtype), backward

    def scope(self) -> AbstractContextManager[Any]:
        wanted = get_matmul_precision()
        try:
            present = self._torch.get_float32_matmul_precision()
        except RuntimeError:  # its finer settings say otherwise than this one
            return nullcontext()
        return nullcontext() if present == wanted else self._precise(present, wanted)

    @contextlib.contextmanager
    def _precise(self, before: str, within: str) -> Iterator[None]:
        self._torch.set_float32_matmul_precision(within)
        try:
            yield
        finally:
            self._torch.set_float32_matmul_precision(before)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def without_autograd(*arguments: Any) -> Any:
            with self._torch.no_grad(), self.scope():
                return step(*arguments)

        return without_autograd

    def uncompiled(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return self.compile(step)  # which keeps PyTorch's own tape out, and runs the step as it is

    def memory(self, array: Any) -> object:
        spread = any(step == 0 and size > 1 for step, size in zip(array.stride(), array.shape, strict=True))
        return None if spread else array.untyped_storage().data_ptr()

    def device(self, array: Array) -> Device:
        return array.device  # type: ignore[attr-defined]

    def synchronize(self) -> None:
        if self._device.type != "cpu":
            self._torch.accelerator.synchronize(self._device)

    def memory_in_use(self) -> int | None:
        return int(self._torch.cuda.memory_allocated(self._device)) if self._device.type == "cuda" else None


def _devices() -> tuple[tuple[str, ...], str]:
    """Return PyTorch's devices and their memory in words, as far as they are known without importing it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return (), ""
    devices, memory = ["cpu"], []
    try:
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            devices.append(f"cuda:{number} ({properties.name})")
            memory.append(f"{properties.total_memory / 2**30:.1f} GiB")
    except Exception as error:  # a driver that does not answer is no reason to fail
        devices.append(f"cuda: {error}")
    return tuple(devices), ", ".join(memory)
