"""Convolutions by cuDNN, called through NVIDIA's package nvidia-cudnn-frontend.

This handle is thin: a `Convolution` says in words of arrays with channels last what is computed, a plan is made of it
once, and `Cudnn.run` launches the plan. Launching waits for nothing and allocates nothing.

Nothing here imports CuPy or needs a GPU: memory is known by its addresses, and the library is an argument.

The library names axes in the order samples, channels, space, and has strides say how they lie; for kernels the order is
channels out, channels in, taps. All arrays here have their channels last in memory: this is the layout of its fast
kernels. So a kernel is laid anew as (out, taps, in).

Every call gives the same bits on the same GPU: the plan is chosen by the library's heuristics, not by a clock, and none
is let in that calls itself nondeterministic. Nor is any that does not add up the products that a convolution is made
of (FFT, Winograd), or does so in 16 bits. Whether tensor cores multiply float32 is what `nnbackend.precision` says.
"""

from __future__ import annotations

import importlib
import logging
import threading
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from nnbackend.backend import BackendUnavailableError, installed_version
from nnbackend.precision import MatmulPrecision
from nnbackend.typing import Shape

__all__ = ["ALIGNMENT", "DTYPES", "Convolution", "Cudnn", "Plan", "load"]

#: dtype -> its name in the library
DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
#: Addresses must be multiples of this many bytes.
ALIGNMENT = 16
#: Plans that are kept, the latest used; ever new shapes must not fill the memory with them.
KEPT = 512
#: Bytes of workspace that a plan may ask for.
WORKSPACE = 1 << 30

#: Notes of plans that are never used.
_REFUSED = (
    "NONDETERMINISTIC",
    "REDUCED_PRECISION_REDUCTION",
    "FFT",
    "WINOGRAD",
    "WINOGRAD_TILE_4x4",
    "WINOGRAD_TILE_6x6",
    "WINOGRAD_TILE_13x13",
)
#: Notes of plans for float32 that are not used either: TF32 is "high", and rounding to 16 bits first "medium".
_INEXACT: dict[MatmulPrecision, tuple[str, ...]] = {
    "highest": ("TENSOR_CORE", "DOWN_CONVERT_INPUTS"),
    "high": ("DOWN_CONVERT_INPUTS",),
    "medium": (),
}
_FIRST, _SECOND, _OUT = 1, 2, 3
_CURE = 'Cure: pip install "nnbackend[cuda13,cudnn]"; for CUDA 12, pip install nvidia-cudnn-frontend nvidia-cudnn-cu12.'

_log = logging.getLogger("nnbackend.cupy")


class Convolution(NamedTuple):
    """One convolution or one of its derivatives, with two or three axes of space.

    Attributes
    ----------
    kind : {"value", "input", "kernel"}
        What is computed: the output, of the input and the kernel; the input's gradient, of the output's and the kernel;
        or the kernel's gradient, of the input and the output's gradient.
    samples, width, made, groups : int
        How many samples, channels of the input, channels of the output, and groups.
    size, output, taps, strides, dilation, before, after : tuple of int
        Lengths of the input, the output and the kernel along the axes of space, how far apart windows and taps are, and
        how wide the border of zeros is before and after the input.
    dtype : {"float32", "float16", "bfloat16"}
        The dtype of all three arrays; products are added up in float32.
    precision : {"highest", "high", "medium"}
        How float32 is multiplied.
    """

    kind: Literal["value", "input", "kernel"]
    samples: int
    width: int
    made: int
    groups: int
    size: Shape
    output: Shape
    taps: Shape
    strides: Shape
    dilation: Shape
    before: Shape
    after: Shape
    dtype: str
    precision: MatmulPrecision = "highest"


@dataclass(frozen=True)
class Plan:
    """A convolution made ready: the library's graph of it, and the bytes of workspace that it needs."""

    convolution: Convolution
    graph: Any
    workspace: int


def load() -> Any:
    """Import the package, and let it look for the library.

    Returns
    -------
    module
        The package ``cudnn``.

    Raises
    ------
    BackendUnavailableError
        If either is missing; with the line that brings both.
    """
    if installed_version("cudnn") is None:
        raise BackendUnavailableError(f'convolution="cudnn" needs nvidia-cudnn-frontend. {_CURE}')
    try:
        library = importlib.import_module("cudnn")
        library.backend_version()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        words = str(error).strip().partition("\n")[0].rstrip(".")
        raise BackendUnavailableError(
            f'convolution="cudnn" needs cuDNN, which nvidia-cudnn-frontend cannot use: {words}. {_CURE}'
        ) from error
    return library


class Cudnn:
    """The library's handle for one device, with its plans.

    Parameters
    ----------
    library : module
        As `load` gives it. The handle is of the device that is the current one.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle = library.create_handle()
        self._plans: dict[Convolution, Plan | str] = {}  # or the reason why there is none
        self._lock = threading.RLock()  # a handle has one stream at a time

    def plan(self, *ways: Convolution) -> Plan | None:
        """Return a plan for the first of several ways to do the same work that has one.

        None where the library has none that is let in; the reason is logged once.
        """
        with self._lock:
            known = all(way in self._plans for way in ways)
            found: Plan | str = ""
            for way in ways:
                found = self._kept(way)
                if isinstance(found, Plan):
                    return found
            if ways and not known:
                words = "cuDNN has no plan for %s; it runs as products of matrices: %s."
                _log.info(words, ways[0], found)
        return None

    def _kept(self, way: Convolution) -> Plan | str:
        """Return the plan that was made before, or make one, and let go of the one that was used longest ago."""
        found = self._plans.pop(way, None)
        if found is None:
            found = self._planned(way)
        self._plans[way] = found
        if len(self._plans) > KEPT:
            del self._plans[next(iter(self._plans))]
        return found

    def run(
        self, plan: Plan, first: int, second: int, out: int, *, workspace: int | None, stream: int
    ) -> None:
        """Launch a plan for the arrays at these addresses, in the order in which its kind names them."""
        with self._lock:
            self._library.set_stream(handle=self._handle, stream=stream)
            addresses = {_FIRST: first, _SECOND: second, _OUT: out}
            plan.graph.execute(addresses, workspace, handle=self._handle)

    def _planned(self, way: Convolution) -> Plan | str:
        refusals = (self._library.cudnnGraphNotSupportedError, RuntimeError, ValueError, NotImplementedError)
        try:
            return self._built(way)
        except refusals as error:
            words = str(error).strip().partition("\n")[0].rstrip(".")
            return words or type(error).__name__

    def _built(self, convolution: Convolution) -> Plan:
        library = self._library
        graph = library.pygraph(
            io_data_type=getattr(library.data_type, DTYPES[convolution.dtype]),
            intermediate_data_type=library.data_type.FLOAT,
            compute_data_type=library.data_type.FLOAT,
            handle=self._handle,
        )
        self._describe(graph, convolution)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
        notes = _REFUSED + (_INEXACT[convolution.precision] if convolution.dtype == "float32" else ())
        graph.deselect_numeric_notes([getattr(library.numerical_note, note) for note in notes])
        graph.deselect_workspace_greater_than(WORKSPACE)
        graph.check_support()
        graph.build_plans()
        if graph.selected_engine is not None:
            raise NotImplementedError(
                f"the package would run {graph.selected_engine.name}, not a kernel of cuDNN"
            )
        return Plan(convolution, graph, int(graph.get_workspace_size()))

    def _describe(self, graph: Any, convolution: Convolution) -> None:
        """Write the operation into the graph."""
        given = convolution
        image = _channels_last(given.samples, given.width, given.size)
        weights = _channels_last(given.made, given.width // given.groups, given.taps)
        result = _channels_last(given.samples, given.made, given.output)
        operation, first, second, out = {
            "value": (graph.conv_fprop, ("image", image), ("weight", weights), result),
            "input": (graph.conv_dgrad, ("loss", result), ("filter", weights), image),
            "kernel": (graph.conv_wgrad, ("image", image), ("loss", result), weights),
        }[given.kind]
        dtype = getattr(self._library.data_type, DTYPES[given.dtype])
        operands = {
            name: graph.tensor(dim=dim, stride=stride, data_type=dtype, name=name, uid=uid)
            for uid, (name, (dim, stride)) in ((_FIRST, first), (_SECOND, second))
        }
        made = operation(
            **operands,
            pre_padding=list(given.before),
            post_padding=list(given.after),
            stride=list(given.strides),
            dilation=list(given.dilation),
            compute_data_type=self._library.data_type.FLOAT,
        )
        dim, stride = out
        made.set_output(True).set_data_type(dtype).set_dim(dim).set_stride(stride).set_uid(_OUT)


def _channels_last(samples: int, channels: int, space: Shape) -> tuple[list[int], list[int]]:
    """Return lengths and strides of axes (samples, channels, space) that lie as (samples, space, channels)."""
    steps, step = [], channels
    for length in reversed(space):
        steps.append(step)
        step *= length
    return [samples, channels, *space], [step, 1, *reversed(steps)]
