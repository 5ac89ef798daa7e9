"""JAX: training steps are compiled by XLA."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from nnbackend.backend import Availability, Backend, host, installed_version, namespace
from nnbackend.elementwise import Program
from nnbackend.philox import philox_words
from nnbackend.precision import get_matmul_precision
from nnbackend.typing import Array, Backward, Device

__all__ = ["CompiledStep", "JaxBackend"]

#: JAX's words for the precisions of `nnbackend.set_matmul_precision`; its own "medium" is called by what it uses.
_PRECISIONS = {"highest": "highest", "high": "high", "medium": "bfloat16"}


class JaxBackend(Backend):
    """Arrays of JAX, and the tracers that stand for them under ``jax.jit``.

    Everything runs inside ``jax.enable_x64(True)``, which holds for this thread and this operation only: float64
    means float64, and the user's own setting is as it was. The same goes for the precision of matrix products
    (`nnbackend.set_matmul_precision`): JAX compiles a function once for each.

    Parameters
    ----------
    device : str, optional
        A platform, ``"cpu"`` or ``"gpu"``, or one of its devices, ``"gpu:1"``. Without it, JAX's default.
    """

    name: ClassVar[str] = "jax"
    install: ClassVar[str] = 'pip install "nnbackend[jax]"'
    roots: ClassVar[frozenset[str]] = frozenset({"jax", "jaxlib"})
    dtypes: ClassVar[tuple[str, ...]] = ("float16", "bfloat16", "float32", "float64")
    scoped: bool = True
    writable: ClassVar[bool] = False
    runs_uncompiled: ClassVar[bool] = False  # op by op it takes ages

    def __init__(self, device: str | None = None) -> None:
        import jax
        import jax.numpy as xp
        from jax.scipy import special

        self.xp = xp
        self.native_functions = {"erf": special.erf}  # its erfc is off by hundreds of units far out
        self._jax = jax
        self._device = None if device is None else _find_device(jax, device)
        self._scans: dict[Any, Callable[..., Any]] = {}
        self.native_rules = {"scan": self._scan}
        if jax.default_backend() == "cpu":  # elsewhere the order of a scatter's additions is not fixed
            self.native_rules |= {"scatter_add": self._scatter_add}

    @classmethod
    def probe(cls) -> Availability:
        version = installed_version("jax")
        if version is None:
            return Availability(False, "JAX is not installed.")
        if installed_version("jaxlib") is None:
            return Availability(False, "jaxlib, the compiled part of JAX, is not installed.", version)
        return Availability(True, version=version, devices=_devices())

    def owns(self, value: object) -> bool:
        return isinstance(value, self._jax.Array)  # a tracer is one as well

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        precision = _PRECISIONS[get_matmul_precision()]
        with self._jax.enable_x64(True), self._jax.default_matmul_precision(precision):
            yield

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        with self.scope():
            copied: Array = self._jax.device_put(
                host().from_host(array, dtype), self._device, may_alias=False
            )
        return copied

    def to_host(self, array: Array) -> Any:
        return host().from_host(array)

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        if not any(isinstance(value, self._jax.core.Tracer) for value in (key, step)):
            words = host().random_words(count, bits, key=key, step=step, stream=stream, call=call)
            return self.from_host(words)
        with self.scope():
            return philox_words(
                self.xp, count, bits, key=key, step=step, stream=stream, call=call, repeat=self._repeat
            )

    def _repeat(self, times: int, body: Callable[[Any], Any], state: Any) -> Any:
        # XLA fuses rounds written one after the other into one kernel that computes them again for each result
        return self._jax.lax.fori_loop(0, times, lambda _, present: body(present), state)

    def _scan(
        self,
        step: Callable[..., Any],
        states: Any,
        sequences: Any,
        constants: Any = (),
        *,
        reverse: bool = False,
    ) -> Any:
        # unrolled, a loop over a hundred steps takes minutes to compile; here a step is compiled once
        jax = self._jax

        def scan(states: Any, sequences: Any, constants: Any) -> Any:
            states, outputs = jax.lax.scan(
                lambda states, inputs: step(states, inputs, constants),
                states,
                _with_axis(jax, sequences, 1, 0),
                reverse=reverse,
            )
            return states, _with_axis(jax, outputs, 0, 1)

        if isinstance(step, types.FunctionType) and "<locals>" not in step.__qualname__:  # it will come again
            scan = self._scans.setdefault((step, reverse), jax.jit(scan))
        with self.scope():
            return scan(states, sequences, constants)

    def compile(self, step: Callable[..., Any]) -> CompiledStep:
        return CompiledStep(self, step)

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        compiled = program.keep(self, lambda: self._jax.jit(program.plain))
        with self.scope():
            return compiled(*arguments)

    def _scatter_add(self, x: Any, indices: Any, *, length: int) -> tuple[Any, Backward]:
        """Add up in float64, in the order of the rows."""
        xp = self.xp
        indices = xp.astype(indices, xp.int64)
        indices = xp.where(indices < 0, indices + length, indices)
        indices = xp.where(indices < 0, length, indices)  # JAX would count it from the end once more
        wide = xp.astype(x, xp.float64) if xp.isdtype(x.dtype, "real floating") else x
        sums = xp.zeros((length, *x.shape[1:]), dtype=wide.dtype).at[indices].add(wide, mode="drop")

        def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
            return namespace(dy).take(dy, indices, axis=0), None

        return xp.astype(sums, x.dtype), backward

    def device(self, array: Array) -> Device:
        """Return the device of `array`; None, which is the default device, for a tracer."""
        return None if isinstance(array, self._jax.core.Tracer) else array.device  # type: ignore[attr-defined]

    def full_like(self, array: Array, value: float, shape: Sequence[int]) -> Array:
        # given a device, JAX would commit the array to it, also where `array` is not committed
        filled: Array = self.xp.full_like(array, value, shape=tuple(shape))
        return filled

    def synchronize(self) -> None:
        self._jax.block_until_ready(self._jax.live_arrays())

    def memory_in_use(self) -> int | None:
        return sum(int(array.nbytes) for array in self._jax.live_arrays())


class CompiledStep:
    """A step under ``jax.jit``; the buffers of the state passed in are reused, so it is given up."""

    def __init__(self, backend: JaxBackend, step: Callable[..., Any]) -> None:
        functools.update_wrapper(self, step)
        self._backend = backend
        self._compiled = backend._jax.jit(step, donate_argnums=0)

    @property
    def count(self) -> int:
        """How often the step was compiled: once for each set of shapes and dtypes.

        XLA's compilations are counted, not JAX's traces: one trace is compiled again where arrays lie otherwise.
        """
        return int(self._compiled._cache_size())

    def __call__(self, state: Any, *rest: Any) -> Any:
        with self._backend.scope():
            return self._compiled(*_on_one_device(self._backend._jax, (state, *rest)))


def _on_one_device(jax: Any, arguments: Any) -> Any:
    """Commit all arrays to the device that some are committed to, where JAX would compute with them anyway.

    What is committed is part of what JAX compiles a function for. Arrays from the host are not, where no device was
    chosen, and all that a step returns is as soon as one of its arguments was: the second step, and the first of an
    epoch, would be compiled anew.
    """
    arrays = [leaf for leaf in jax.tree.leaves(arguments) if _is_concrete(jax, leaf)]
    committed = [array for array in arrays if array.committed]
    if len(committed) in (0, len(arrays)):
        return arguments
    device, *others = set().union(*(array.devices() for array in committed))
    if others:  # laid out over several: for JAX to decide
        return arguments
    return jax.tree.map(
        lambda leaf: jax.device_put(leaf, device) if _is_loose(jax, leaf) else leaf, arguments
    )


def _is_concrete(jax: Any, value: object) -> bool:
    return isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)


def _is_loose(jax: Any, value: Any) -> bool:
    return _is_concrete(jax, value) and not value.committed


def _with_axis(jax: Any, tree: Any, source: int, destination: int) -> Any:
    """Move an axis of every array of a tree."""
    return jax.tree.map(lambda array: jax.numpy.moveaxis(array, source, destination), tree)


def _find_device(jax: Any, name: str) -> Any:
    platform, _, number = name.partition(":")
    devices = jax.devices(platform)
    if number and (not number.isdecimal() or int(number) >= len(devices)):
        raise ValueError(f"JAX has no device {name!r}; it has {', '.join(map(str, devices))}.")
    return devices[int(number or 0)]


def _devices() -> tuple[str, ...]:
    """Return JAX's devices in words, as far as they are known without importing it."""
    jax = sys.modules.get("jax")
    if jax is None:
        return ()
    try:
        return tuple(f"{device} ({device.device_kind})" for device in jax.devices())
    except Exception as error:  # JAX that does not start is no reason to fail
        return (str(error),)
