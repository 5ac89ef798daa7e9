"""NumPy: the backend that is always there, and the host of all the others."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from nnbackend.backend import (
    Availability,
    Backend,
    BackendUnavailableError,
    chosen,
    installed_version,
    nearest,
    use_backend,
)
from nnbackend.elementwise import Program
from nnbackend.typing import Array, Device

if TYPE_CHECKING:
    from nnbackend_numpy.blocks import Evaluator

__all__ = ["NumpyBackend"]


class NumpyBackend(Backend):
    """Arrays of NumPy, on the CPU.

    Parameters
    ----------
    threads : int, optional
        How many threads steps of models use, in BLAS and in work that comes in pieces: convolution, pooling, batch
        norm and large elementwise programs. A recorded step with convolutions spreads pieces, while BLAS has one; one
        without, but with large matrix products, leaves them to BLAS. The bits of work in pieces do not depend on the
        number; those of BLAS's products may, since it adds up in other parts on another. Without the option, and
        outside of steps, as many as BLAS has, which ``OPENBLAS_NUM_THREADS`` says.
    compiler : {"numba"}, optional
        What compiles elementwise programs, batch norm and maxima of windows that tile; without it they run as calls of
        NumPy. It changes no result.

    Raises
    ------
    TypeError
        If the number of threads is no whole number.
    ValueError
        If it is not from 1 to 256, or no compiler has that name.
    BackendUnavailableError
        If what the option needs is not installed, or cannot be imported.

    Notes
    -----
    An array of NumPy's does not tell which instance of this class it belongs to. Steps of a model run with the options
    of the model's backend, and all else with those of the backend in force (`nnbackend.get_backend`) where that is one
    of NumPy, otherwise without options.
    """

    name: ClassVar[str] = "numpy"
    install: ClassVar[str] = "pip install numpy"
    roots: ClassVar[frozenset[str]] = frozenset({"numpy", "nnbackend_numpy"})
    dtypes: ClassVar[tuple[str, ...]] = ("float16", "float32", "float64")
    multiplies_stacks: ClassVar[bool] = True
    wide_rules = frozenset(  # NumPy's own products in float16 are a hundred times slower than those of BLAS in float32
        "matmul dense tensordot vecdot einsum conv conv_transpose conv_kernel_gradient scaled_dot_product_attention "
        "additive_attention simple_rnn lstm gru".split()
    )
    sums_by_products: ClassVar[bool] = True
    scoped: bool = False

    def __init__(self, threads: int | None = None, *, compiler: str | None = None) -> None:
        import array_api_compat.numpy as xp
        import numpy

        from nnbackend_numpy import compiled, recording, rules
        from nnbackend_numpy import threads as spreading

        self.xp = xp
        self._numpy = numpy
        self._spreading = spreading
        self._threads = None if threads is None else spreading.check(threads)
        self.compiler = compiler
        self.scoped = threads is not None or compiler is not None
        self._evaluator = _evaluator(compiler)
        own = rules.NATIVE_RULES if compiler is None else {**rules.NATIVE_RULES, **rules.compiled_by_numba()}
        self._rules = {name: recording.recordable(rule) for name, rule in own.items()}
        self._philox = numpy.random.Philox
        self._compiled, self._recording = compiled, recording
        self._arrays = (numpy.ndarray, numpy.generic, recording.Recorded)
        self.native_rules = {name: self._as_in_force(name, rule) for name, rule in rules.NATIVE_RULES.items()}

    @classmethod
    def probe(cls) -> Availability:
        import os
        import platform

        import numpy

        processor = f"CPU, {os.cpu_count()} cores ({platform.machine()})"
        return Availability(True, version=numpy.__version__, devices=(processor,), memory=_memory())

    def owns(self, value: object) -> bool:
        return isinstance(value, self._arrays)

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        copied = self._numpy.array(array, dtype=dtype, order="C", copy=True)
        native: Array = copied if copied.dtype.isnative else copied.astype(copied.dtype.newbyteorder("="))
        return native

    def to_host(self, array: Array) -> Any:
        return self._numpy.array(array)

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        recording = self._recording.recording_of((key, step))
        if recording is not None:
            options = {"stream": stream, "call": call}
            return recording.call(self._words, (count, bits, key, step), options)
        return self._words(count, bits, key, step, stream=stream, call=call)

    def _words(self, count: int, bits: int, key: Any, step: Any, *, stream: int, call: int) -> Any:
        np = self._numpy
        key = np.asarray(key, dtype=np.uint64) if isinstance(key, tuple) else np.asarray(key).view(np.uint64)
        counter = np.asarray([0, int(step), stream, call], dtype=np.uint64)
        generator = self._philox(key=key, counter=counter)
        words = generator.random_raw((count * bits + 63) // 64)
        if bits == 64:
            return words
        halves: Array = words.astype("<u8", copy=False).view("<u4")[:count]
        return halves

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = self._compiled.CompiledStep(self.uncompiled(step), self._evaluator)
        return compiled if self._threads is None else self._spreading.Limited(compiled, self._threads)

    def uncompiled(self, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def run(*arguments: Any) -> Any:
            with self._in_force():
                return step(*arguments)

        return run

    def scope(self) -> AbstractContextManager[Any]:
        return self._in_force() if self.scoped else nullcontext()

    @contextlib.contextmanager
    def _in_force(self) -> Iterator[None]:
        limits = nullcontext() if self._threads is None else self._spreading.limited(self._threads)
        with use_backend(self), limits:
            yield

    def _with_options(self) -> NumpyBackend:
        """Return the instance whose options hold: `backend_of` tells an array's class, and so none with options."""
        current = None if self.compiler else chosen()
        return current if isinstance(current, NumpyBackend) else self

    def _as_in_force(self, name: str, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Return a rule that is the one of the instance whose options hold where it is called."""

        @functools.wraps(rule)
        def run(*arguments: Any, **options: Any) -> Any:
            return self._with_options()._rules[name](*arguments, **options)

        return run

    def overflowing(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(self._quietly, step)

    def _quietly(self, step: Callable[..., Any], *arguments: Any) -> Any:
        with self._numpy.errstate(over="ignore", invalid="ignore"):
            return step(*arguments)

    def copy(self, array: Array) -> Array:
        recording = self._recording.recording_of((array,))
        if recording is not None:
            return recording.call(self._recording.copied, (array,), {})
        return self._numpy.array(array)

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        recording = self._recording.recording_of(arguments)
        evaluator = self._with_options()._evaluator
        if recording is not None:
            return recording.program(program, arguments, evaluator)
        return evaluator.run(program, arguments, donate)

    def memory(self, array: Any) -> object:
        if isinstance(array, self._recording.Recorded):
            array = array.value
        steps = array.strides
        if not array.flags.writeable:
            return None
        if 0 in steps and any(not step and size > 1 for step, size in zip(steps, array.shape, strict=True)):
            return None
        while array.base is not None and isinstance(array.base, self._numpy.ndarray):
            array = array.base
        return id(array if array.base is None else array.base)

    def device(self, array: Array) -> Device:
        return "cpu"

    def __repr__(self) -> str:
        options = {"threads": self._threads, "compiler": self.compiler}
        given = [f", {name}={value!r}" for name, value in options.items() if value is not None]
        return f"<numpy backend{''.join(given)}>"


def _evaluator(compiler: str | None) -> Evaluator:
    """Return what runs programs, with or without a compiler."""
    from nnbackend_numpy.blocks import Evaluator

    if compiler is None:
        return Evaluator()
    if compiler != "numba":
        raise ValueError(
            f"The NumPy backend knows one compiler, 'numba', got {compiler!r}.{nearest(str(compiler), ['numba'])}"
        )
    if installed_version("numba") is None:
        raise BackendUnavailableError(
            'The compiler "numba" is not installed. Cure: pip install "nnbackend[numba]"'
        )
    try:
        from nnbackend_numpy.fusion import CompilingEvaluator
    except ImportError as error:
        raise BackendUnavailableError(
            f'The compiler "numba" is installed but cannot be imported: {error}. Cure: pip install --upgrade '
            '"nnbackend[numba]"'
        ) from error
    return CompilingEvaluator()


def _memory() -> str:
    """Return the machine's memory in words, where the system tells."""
    import os

    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f"{total / 2**30:.1f} GiB"
