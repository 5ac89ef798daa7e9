"""CuPy: NVIDIA GPUs.

Elementwise and rowwise programs run as generated kernels (`nnbackend_cupy.kernels`), random words come from a kernel of
the same bits as NumPy's, products of matrices from cuBLASLt (`nnbackend_cupy.cublas`), and compiled steps are captured
as CUDA graphs (`nnbackend_cupy.capture`): what a step does waits for nothing on the device.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

from nnbackend.backend import Availability, Backend, nearest, use_backend
from nnbackend.elementwise import Program
from nnbackend.typing import Array, Device, DType
from nnbackend_cupy import cudnn, kernels
from nnbackend_cupy.availability import driver, install_line, probe
from nnbackend_cupy.capture import CapturedStep, NotCapturableError
from nnbackend_cupy.memory import MemoryUse, bytes_of, device_number
from nnbackend_cupy.options import Options
from nnbackend_cupy.transfers import Feeder

__all__ = ["CupyBackend"]


class CupyBackend(Backend):
    """Arrays of CuPy, on an NVIDIA GPU.

    Parameters
    ----------
    device : int or str, optional
        The GPU on which arrays are made and steps are taken: ``1`` or ``"cuda:1"``. Without it, CUDA's current device.
        Functions on arrays of another device than the current one are called within ``with backend.scope():``.
    memory_limit : int, float or str, optional
        How much of the device's memory CuPy's pool may hold: bytes, words such as ``"8 GiB"``, or a fraction of all of
        it between 0 and 1. It holds for all that uses CuPy on this device in this process.
    data_on_device : float
        A data set of arrays in memory is brought to the device as a whole if it takes at most this fraction of the
        memory that is free; otherwise batch by batch, while the step before is computed. The batches are the same.
    convolution : {"cudnn"}, optional
        What convolves. Without it, convolutions are products of matrices; with "cudnn", NVIDIA's library computes those
        for which it has a deterministic plan, in float32, float16 and bfloat16. The last bits of the two differ, so it
        is used where it is asked for, never because it happens to be installed.
    attention : {"cudnn"}, optional
        What computes `nnbackend.functional.scaled_dot_product_attention`. Without it, products of matrices; with
        "cudnn", NVIDIA's library, which keeps no scores, by deterministic plans: in float16 and bfloat16, causal or
        not, with a mask and a bias or without, for heads of multiples of 8 numbers, without dropout and returned
        scores; the gradient of a bias is not among what it computes. The last bits differ here, too.
    deterministic : bool
        Whether the same call gives the same bits each time. With False, sums are taken by atomic additions where that
        is the shorter way, in the order in which their terms happen to come: the gradients of embeddings and of all
        else that selects by index, and those of maxima of windows that overlap; and cuDNN may use plans of that kind,
        whose way back of attention then lays out no scores. Results differ from run to run in the last bits.
    bias_gradient : {"product"}, optional
        What sums the gradient of a dense layer's bias. Without it, a kernel of its own; with "product", the product
        that gives the gradient of the weights, where cuBLASLt has an algorithm for both. The last bits differ.

    Raises
    ------
    ValueError
        If there is no such device, a number is none of these, or nothing that convolves, attends or sums has that name.
    TypeError
        If `deterministic` is no bool.
    BackendUnavailableError
        If cuDNN is asked for and is not installed.

    Notes
    -----
    An array of CuPy's does not tell which instance of this class it belongs to. Steps of a model run with the
    `convolution`, `attention`, `deterministic` and `bias_gradient` of the model's backend where one of them is not the
    default, and all else with those of the backend in force (`nnbackend.get_backend`).

    Atomics add 16-bit floating numbers up in float32 and float32 in float32, where sums in order take float64. Sums of
    whole numbers have the same bits in any order.
    """

    name: ClassVar[str] = "cupy"
    install: ClassVar[str] = 'pip install "nnbackend[cuda13]"'
    roots: ClassVar[frozenset[str]] = frozenset({"cupy"})
    dtypes: ClassVar[tuple[str, ...]] = ("float16", "bfloat16", "float32", "float64")
    #: In a graph the state is joined where it lies and gradients by one kernel, which moves 8 bytes for an element of
    #: float32: for a larger parameter more than beginning another kernel costs. (Reckoned, not measured.)
    joins_below: ClassVar[int] = 1 << 18
    joins_in_place: ClassVar[bool] = True

    def __init__(
        self,
        device: int | str | None = None,
        memory_limit: float | str | None = None,
        data_on_device: float = 0.5,
        convolution: str | None = None,
        attention: str | None = None,
        deterministic: bool = True,
        bias_gradient: str | None = None,
    ) -> None:
        import cupy
        import numpy

        from nnbackend_cupy import graphs, lanes
        from nnbackend_cupy.launch import Evaluator
        from nnbackend_cupy.namespace import xp
        from nnbackend_cupy.rules import NATIVE_RULES

        self.xp = xp
        self._cupy = cupy
        self._numpy = numpy
        self._graphs, self._lanes = graphs, lanes
        self._evaluator = Evaluator()
        self.native_rules = NATIVE_RULES
        self._philox = cupy.RawKernel(kernels.PHILOX_SOURCE, kernels.PHILOX_NAME, options=kernels.OPTIONS)
        self._number = None if device is None else device_number(device, self.probe().devices)
        self.options = Options(convolution, attention, deterministic, bias_gradient)
        self._chooses = self.options != Options()
        self.scoped = self._number is not None or self._chooses
        _check_library("convolution", "convolves", convolution)
        _check_library("attention", "attends", attention)
        if not isinstance(deterministic, bool):
            raise TypeError(
                f"The cupy backend expects deterministic as True or False, got {deterministic!r}."
            )
        if bias_gradient not in (None, "product"):
            raise ValueError(
                f"The cupy backend sums gradients of biases with 'product' or without a word, got {bias_gradient!r}."
            )
        if not 0.0 <= data_on_device <= 1.0:
            raise ValueError(
                f"The cupy backend expects data_on_device as a fraction from 0 to 1, got {data_on_device!r}."
            )
        self._share = float(data_on_device)
        self._peak = 0
        if memory_limit is not None:
            with self._on_device():
                limit = bytes_of(memory_limit, cupy.cuda.runtime.memGetInfo()[1])
                cupy.get_default_memory_pool().set_limit(size=limit)

    @classmethod
    def probe(cls) -> Availability:
        found = probe()
        cls.install = install_line(driver())
        return found

    def owns(self, value: object) -> bool:
        return isinstance(value, self._cupy.ndarray)

    def scope(self) -> AbstractContextManager[Any]:
        """Make this backend's device the current one, and its options those that hold."""
        return self._in_force() if self._chooses else self._on_device()

    @contextmanager
    def _in_force(self) -> Iterator[None]:
        with use_backend(self), self._on_device():
            yield

    def _on_device(self) -> AbstractContextManager[Any]:
        if self._number is None:
            return nullcontext()
        device: AbstractContextManager[Any] = self._cupy.cuda.Device(self._number)
        return device

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the step, captured as a CUDA graph for each set of shapes (`nnbackend_cupy.capture`)."""
        captured = CapturedStep(step, self._graphs.CudaRecorder)
        return self.uncompiled(captured) if self.scoped else captured

    def from_host(self, array: Any, dtype: str | None = None) -> Array:
        kind = self.dtype(dtype) if dtype is not None else None
        host = self._numpy.asarray(array, dtype=kind, order="C")  # cast before it travels
        with self._on_device():
            copied: Array = self._graphs.bring(host, self._cupy.asarray)
        return copied

    def to_host(self, array: Any) -> Any:
        if self._graphs.scope() is not None:
            raise NotCapturableError("an array is copied to the host in it")
        with self._cupy.cuda.Device(array.data.device_id):
            return self._cupy.asnumpy(array)

    def random_words(self, count: int, bits: int, *, key: Any, step: Any, stream: int, call: int) -> Array:
        with self._on_device():
            return self._random_words(count, bits, key, step, stream, call)

    def _random_words(self, count: int, bits: int, key: Any, step: Any, stream: int, call: int) -> Array:
        cupy, np = self._cupy, self._numpy
        words: Array = cupy.empty(count, dtype=cupy.uint32 if bits == 32 else cupy.uint64)
        halves = count * bits // 32
        if halves == 0:
            return words
        keys, steps = np.uint64(0), np.uint64(0)  # no pointers: the numbers come with the call
        key_0 = key_1 = number = np.uint64(0)
        if isinstance(key, cupy.ndarray):
            keys = cupy.ascontiguousarray(key)
        else:
            key_0, key_1 = (np.uint64(int(half) % 2**64) for half in key)
        if isinstance(step, cupy.ndarray):
            steps = step.astype(cupy.int64, copy=False)
        else:
            number = np.uint64(int(step) % 2**64)
        blocks = math.ceil(halves / 8 / kernels.PHILOX_THREADS)
        arguments = (
            words,
            np.int64(halves),
            keys,
            key_0,
            key_1,
            steps,
            number,
            np.uint64(stream),
            np.uint64(call),
        )
        self._philox((blocks,), (kernels.PHILOX_THREADS,), arguments)
        return words

    def dtype(self, name: str) -> DType:
        if name == "bfloat16":  # NumPy and CuPy know it by way of another package
            return self._numpy.dtype(_ml_dtypes().bfloat16)
        return super().dtype(name)

    def run(self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None]) -> Any:
        return self._evaluator.run(program, arguments, donate)

    def memory(self, array: Any) -> object:
        spread = any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape, strict=True))
        return None if spread else id(array.data.mem)

    def device(self, array: Any) -> Device:
        return array.device

    def holds(self, count: int) -> bool:
        pool = self._cupy.get_default_memory_pool()
        with self._on_device():
            free = self._cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
            if pool.get_limit():
                free = min(free, pool.get_limit() - pool.used_bytes())
        return count <= self._share * free

    def sender(self) -> Callable[[Sequence[Any]], list[Array]]:
        """Return what brings batches to the device, each beside the step before (`nnbackend_cupy.transfers`)."""
        with self._on_device():
            feeder = Feeder(self._lanes.CudaLanes())

        def send(arrays: Sequence[Any]) -> list[Array]:
            host = [array for array in arrays if not self.owns(array)]
            with self._on_device():
                brought = iter(feeder(host) if host else ())
            return [array if self.owns(array) else next(brought) for array in arrays]

        return send

    def synchronize(self) -> None:
        with self._on_device():
            self._cupy.cuda.Device().synchronize()

    def memory_in_use(self) -> int:
        """Return the bytes that arrays and graphs hold on this backend's device."""
        with self._on_device():
            return int(self._cupy.get_default_memory_pool().used_bytes())

    def memory_use(self) -> MemoryUse:
        """Return how much memory of the device is used, by CuPy's pool and in all."""
        pool = self._cupy.get_default_memory_pool()
        with self._on_device():
            free, total = self._cupy.cuda.runtime.memGetInfo()
            held = int(pool.total_bytes())
            self._peak = max(self._peak, held)
            return MemoryUse(int(pool.used_bytes()), held, self._peak, int(pool.get_limit()), free, total)

    def memory_report(self) -> str:
        return str(self.memory_use())

    def release_memory(self) -> None:
        """Give back to the device and the host what the pools hold and nobody uses."""
        self.memory_use()  # the peak so far
        with self._on_device():
            self._cupy.get_default_memory_pool().free_all_blocks()
        self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def __repr__(self) -> str:
        usual = Options()._asdict()
        given = (
            f", {name}={value!r}" for name, value in self.options._asdict().items() if value != usual[name]
        )
        return f"<cupy backend{''.join(given)}>"


def _ml_dtypes() -> Any:
    """Return the package with NumPy's dtypes for bfloat16, which CuPy computes with."""
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        raise ImportError("bfloat16 on CuPy needs ml_dtypes. Cure: pip install ml_dtypes") from None


def _check_library(option: str, deed: str, named: str | None) -> None:
    """Refuse what does not do that work here, before there is any."""
    if named is None:
        return
    if named != "cudnn":
        raise ValueError(
            f"The cupy backend knows one library that {deed}, 'cudnn', got {named!r}.{nearest(str(named), ['cudnn'])}"
        )
    cudnn.load(option)
