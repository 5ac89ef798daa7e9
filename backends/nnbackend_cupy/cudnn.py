"""Convolutions and attention by cuDNN, called through NVIDIA's package nvidia-cudnn-frontend.

This handle is thin: a `Convolution` says in words of arrays with channels last what is computed, an `Attention` in
words of arrays with any strides; a plan is made of it once, and `Cudnn.run` launches the plan. Launching waits for
nothing and allocates nothing.

Nothing here imports CuPy or needs a GPU: memory is known by its addresses, and the library is an argument.

For convolutions the library names axes in the order samples, channels, space, and has strides say how they lie; for
kernels the order is channels out, channels in, taps. All their arrays have their channels last in memory: this is the
layout of its fast kernels. So a kernel is laid anew as (out, taps, in).

Every call gives the same bits on the same GPU, unless the work says otherwise: the plan is chosen by the library's
heuristics, not by a clock, and none is let in that calls itself nondeterministic. Nor is any that does not add up the
products that a convolution is made of (FFT, Winograd), or does so in 16 bits. Whether tensor cores multiply float32 is
what `nnbackend.precision` says.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from nnbackend.backend import BackendUnavailableError, installed_version
from nnbackend.precision import MatmulPrecision
from nnbackend.typing import Shape

__all__ = ["ALIGNMENT", "DTYPES", "Attention", "Convolution", "Cudnn", "Plan", "load"]

#: dtype -> its name in the library
DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
#: Addresses must be multiples of this many bytes.
ALIGNMENT = 16
#: Plans that are kept, the latest used; ever new shapes must not fill the memory with them.
KEPT = 512
#: Bytes of workspace that a plan of a convolution may ask for.
WORKSPACE = 1 << 30
#: The same for attention, whose way back is deterministic by laying out a matrix as large as the scores, in 16 bits.
ATTENTION_WORKSPACE = 8 << 30

#: Notes of plans that are never used.
_REFUSED = (
    "REDUCED_PRECISION_REDUCTION",
    "FFT",
    "WINOGRAD",
    "WINOGRAD_TILE_4x4",
    "WINOGRAD_TILE_6x6",
    "WINOGRAD_TILE_13x13",
)
#: The note of plans that are used where the user does not ask for the same bits each time.
_ANY_ORDER = ("NONDETERMINISTIC",)
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
    deterministic : bool
        Whether only plans are let in that give the same bits each time.
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
    deterministic: bool = True


class Attention(NamedTuple):
    """Scaled dot-product attention or its derivatives, without keeping the scores.

    Attributes
    ----------
    kind : {"value", "gradients"}
        What is computed: the output and, in float32, the logarithm of each query's sum of exponentials, of query, key
        and value; or the gradients of these three, of the three, the output, its gradient and the logarithms.
    samples, heads, groups, queries, keys, width, made : int
        How many samples, heads of the query, heads of key and value, positions that ask and that answer, and numbers
        that are multiplied and that are answered.
    steps : tuple of tuple of int
        How many elements apart neighbours are along samples, heads, positions and numbers: of the query, the key and
        the value, and then of the output's gradient. What is computed lies in one piece, positions before heads.
    causal : bool
        Whether query i sees the keys 0 to i only.
    scale : float
        What scores are multiplied by.
    dtype : {"float16", "bfloat16"}
        The dtype of all but the logarithms; everything is added up in float32.
    deterministic : bool
        Whether only plans are let in that give the same bits each time.
    bias : tuple of int, optional
        The shape of what is added to the scores, (samples, heads, queries, keys) with ones where it is the same for
        all; an array of float32 in one piece, the last of those that are read.
    """

    kind: Literal["value", "gradients"]
    samples: int
    heads: int
    groups: int
    queries: int
    keys: int
    width: int
    made: int
    steps: tuple[Shape, ...]
    causal: bool
    scale: float
    dtype: str
    deterministic: bool = True
    bias: Shape | None = None


Work: TypeAlias = Convolution | Attention


@dataclass(frozen=True)
class Plan:
    """Work made ready: the library's graph of it, and the bytes of workspace that it needs."""

    work: Work
    graph: Any
    workspace: int


def load(option: str = "convolution") -> Any:
    """Import the package, and let it look for the library.

    Parameters
    ----------
    option : str
        Which option of the backend asks for it.

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
        raise BackendUnavailableError(f'{option}="cudnn" needs nvidia-cudnn-frontend. {_CURE}')
    try:
        library = importlib.import_module("cudnn")
        library.backend_version()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        words = str(error).strip().partition("\n")[0].rstrip(".")
        raise BackendUnavailableError(
            f'{option}="cudnn" needs cuDNN, which nvidia-cudnn-frontend cannot use: {words}. {_CURE}'
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
        self._plans: dict[Work, Plan | str] = {}  # or the reason why there is none
        self._lock = threading.RLock()  # a handle has one stream at a time

    def plan(self, *ways: Work) -> Plan | None:
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

    def _kept(self, way: Work) -> Plan | str:
        """Return the plan that was made before, or make one, and let go of the one that was used longest ago."""
        found = self._plans.pop(way, None)
        if found is None:
            found = self._planned(way)
        self._plans[way] = found
        if len(self._plans) > KEPT:
            del self._plans[next(iter(self._plans))]
        return found

    def run(self, plan: Plan, *addresses: int, workspace: int | None, stream: int) -> None:
        """Launch a plan for the arrays at these addresses, in the order in which its kind names them, results last."""
        with self._lock:
            self._library.set_stream(handle=self._handle, stream=stream)
            plan.graph.execute(dict(enumerate(addresses, start=1)), workspace, handle=self._handle)

    def _planned(self, way: Work) -> Plan | str:
        refusals = (self._library.cudnnGraphNotSupportedError, RuntimeError, ValueError, NotImplementedError)
        try:
            return self._built(way)
        except refusals as error:
            words = str(error).strip().partition("\n")[0].rstrip(".")
            return words or type(error).__name__

    def _built(self, work: Work) -> Plan:
        library = self._library
        graph = library.pygraph(
            io_data_type=getattr(library.data_type, DTYPES[work.dtype]),
            intermediate_data_type=library.data_type.FLOAT,
            compute_data_type=library.data_type.FLOAT,
            handle=self._handle,
        )
        refused = _REFUSED + (_ANY_ORDER if work.deterministic else ())
        if isinstance(work, Attention):
            self._attend(graph, work)
            limit = ATTENTION_WORKSPACE
        else:
            self._describe(graph, work)
            limit = WORKSPACE
            refused += _INEXACT[work.precision] if work.dtype == "float32" else ()
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
        graph.deselect_numeric_notes([getattr(library.numerical_note, note) for note in refused])
        graph.deselect_workspace_greater_than(limit)
        graph.check_support()
        graph.build_plans()
        if graph.selected_engine is not None:
            raise NotImplementedError(
                f"the package would run {graph.selected_engine.name}, not a kernel of cuDNN"
            )
        return Plan(work, graph, int(graph.get_workspace_size()))

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

    def _attend(self, graph: Any, attention: Attention) -> None:
        """Write attention, or its way back, into the graph."""
        given, kinds = attention, self._library.data_type
        n, dtype = given.samples, getattr(kinds, DTYPES[given.dtype])
        shapes = {
            "q": (n, given.heads, given.queries, given.width),
            "k": (n, given.groups, given.keys, given.width),
            "v": (n, given.groups, given.keys, given.made),
            "dO": (n, given.heads, given.queries, given.made),
        }
        shapes["o"] = shapes["dO"]
        logarithms = [n, given.heads, given.queries, 1]
        back = given.kind == "gradients"
        steps = dict(zip(("q", "k", "v", "dO"), given.steps, strict=False)) | {
            "o": _in_one_piece(shapes["o"])
        }
        names = ("q", "k", "v", "o", "dO") if back else ("q", "k", "v")
        floats = {"stats": tuple(logarithms)} if back else {}
        if given.bias is not None:
            floats["bias"] = given.bias
        operands = {
            name: graph.tensor(
                dim=list(shapes[name]), stride=list(steps[name]), data_type=dtype, name=name, uid=uid
            )
            for uid, name in enumerate(names, start=1)
        }
        for name, shape in floats.items():
            operands[name] = graph.tensor(
                dim=list(shape),
                stride=_in_rows(shape),
                data_type=kinds.FLOAT,
                name=name,
                uid=len(operands) + 1,
            )
        uid = len(operands) + 1
        options = {
            "attn_scale": given.scale,
            "use_causal_mask": given.causal,
            "compute_data_type": kinds.FLOAT,
        }
        if back:
            made = graph.sdpa_backward(**operands, use_deterministic_algorithm=given.deterministic, **options)
            results = [shapes[name] for name in ("q", "k", "v")]
        else:
            *made, stats = graph.sdpa(**operands, generate_stats=True, **options)
            stats.set_output(True).set_data_type(kinds.FLOAT).set_uid(uid + 1)
            stats.set_dim(logarithms).set_stride(_in_rows(logarithms))
            results = [shapes["o"]]
        for number, (result, shape) in enumerate(zip(made, results, strict=True), start=uid):
            result.set_output(True).set_data_type(dtype).set_dim(list(shape)).set_stride(_in_one_piece(shape))
            result.set_uid(number)


def _in_rows(shape: Sequence[int]) -> list[int]:
    """Return strides of four axes that lie in their order."""
    return [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1]


def _in_one_piece(shape: Shape) -> list[int]:
    """Return strides of axes (samples, heads, positions, numbers) that lie as (samples, positions, heads, numbers)."""
    _, heads, positions, numbers = shape
    return [positions * heads * numbers, numbers, heads * numbers, 1]


def _channels_last(samples: int, channels: int, space: Shape) -> tuple[list[int], list[int]]:
    """Return lengths and strides of axes (samples, channels, space) that lie as (samples, space, channels)."""
    steps, step = [], channels
    for length in reversed(space):
        steps.append(step)
        step *= length
    return [samples, channels, *space], [step, 1, *reversed(steps)]
