"""The package ``cudnn`` on the CPU: a graph of one operation, carried out on host memory as it is described."""

from __future__ import annotations

import ctypes
import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.backends.cublas_on_cpu import from_bfloat16, to_bfloat16

_MEMORY = {"FLOAT": np.float32, "HALF": np.float16, "BFLOAT16": np.uint16}
_NOTES = (
    "DOWN_CONVERT_INPUTS FFT NONDETERMINISTIC REDUCED_PRECISION_REDUCTION STRICT_NAN_PROP TENSOR_CORE WINOGRAD "
    "WINOGRAD_TILE_13x13 WINOGRAD_TILE_4x4 WINOGRAD_TILE_6x6"
)


class NotSupportedError(Exception):
    """Stands for ``cudnnGraphNotSupportedError``."""


class _Tensor:
    """A description of an array; setters return it, as the package's do."""

    def __init__(self, dim: Any, stride: Any, data_type: Any, name: str, uid: int | None) -> None:
        self.dim, self.stride, self.data_type, self.name, self.uid = dim, stride, data_type, name, uid
        self.output = False

    def _set(self, name: str, value: Any) -> _Tensor:
        setattr(self, name, value)
        return self

    def set_output(self, value: bool) -> _Tensor:
        return self._set("output", value)

    def set_data_type(self, value: Any) -> _Tensor:
        return self._set("data_type", value)

    def set_dim(self, value: list[int]) -> _Tensor:
        return self._set("dim", list(value))

    def set_stride(self, value: list[int]) -> _Tensor:
        return self._set("stride", list(value))

    def set_uid(self, value: int) -> _Tensor:
        return self._set("uid", value)

    def at(self, address: int) -> np.ndarray:
        """View the memory at an address as this tensor."""
        dtype = np.dtype(_MEMORY[self.data_type])
        length = 1 + sum((count - 1) * step for count, step in zip(self.dim, self.stride, strict=True))
        memory = np.frombuffer((ctypes.c_char * (length * dtype.itemsize)).from_address(address), dtype)
        steps = tuple(step * dtype.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(memory, tuple(self.dim), steps)

    def values(self, address: int) -> np.ndarray:
        seen = self.at(address)
        return (from_bfloat16(seen) if self.data_type == "BFLOAT16" else seen).astype(np.float64)

    def put(self, address: int, made: np.ndarray) -> None:
        self.at(address)[...] = to_bfloat16(made) if self.data_type == "BFLOAT16" else made


class CudnnOnCpu:
    """The package. What it knows of a plan's notes is `notes`; a graph all of whose plans are deselected has none."""

    cudnnGraphNotSupportedError = NotSupportedError  # noqa: N815 (the package's name)

    def __init__(self) -> None:
        self.data_type = SimpleNamespace(**{name: name for name in ("FLOAT", "HALF", "BFLOAT16")})
        self.numerical_note = SimpleNamespace(**{name: name for name in _NOTES.split()})
        self.heur_mode = SimpleNamespace(A="A", FALLBACK="FALLBACK")
        #: the notes of each plan that the heuristics list, the fastest first
        self.plans: list[set[str]] = [{"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}, {"TENSOR_CORE"}, set()]
        self.refused: Exception | None = None
        #: whether some plan pads the two sides of an axis differently
        self.lopsided = True
        self.workspace = 256
        self.engine: Any = None
        self.graphs: list[_Graph] = []
        self.runs: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)

    def backend_version(self) -> int:
        return 92800

    def create_handle(self) -> Any:
        return SimpleNamespace(number=next(self._numbers), stream=0)

    def set_stream(self, handle: Any, stream: int) -> None:
        handle.stream = stream

    def pygraph(self, **options: Any) -> _Graph:
        made = _Graph(self, **options)
        self.graphs.append(made)
        return made


class _Graph:
    """One operation; its methods must be called in the package's order."""

    def __init__(
        self, library: CudnnOnCpu, io_data_type: Any, intermediate_data_type: Any, compute_data_type: Any, handle: Any
    ) -> None:  # fmt: skip
        assert (intermediate_data_type, compute_data_type) == ("FLOAT", "FLOAT")
        self.library, self.handle = library, handle
        self.tensors: list[_Tensor] = []
        self.operation: dict[str, Any] = {}
        self.deselected: set[str] = set()
        self.limit: int | None = None
        self.chosen: set[str] | None = None
        self.selected_engine = library.engine
        self._stage = "made"

    def _step(self, before: str, after: str) -> None:
        assert self._stage == before, f"{after} after {self._stage}"
        self._stage = after

    def tensor(self, dim: list[int], stride: list[int], data_type: Any, name: str, uid: int) -> _Tensor:
        self.tensors.append(_Tensor(dim, stride, data_type, name, uid))
        return self.tensors[-1]

    def _operate(self, kind: str, first: _Tensor, second: _Tensor, **options: Any) -> _Tensor:
        assert not self.operation
        assert options.pop("compute_data_type") == "FLOAT"
        out = _Tensor(None, None, None, "", None)
        self.operation = {"kind": kind, "first": first, "second": second, "out": out} | options
        return out

    def conv_fprop(self, image: _Tensor, weight: _Tensor, **options: Any) -> _Tensor:
        return self._operate("fprop", image, weight, **options)

    def conv_dgrad(self, loss: _Tensor, filter: _Tensor, **options: Any) -> _Tensor:
        return self._operate("dgrad", loss, filter, **options)

    def conv_wgrad(self, image: _Tensor, loss: _Tensor, **options: Any) -> _Tensor:
        return self._operate("wgrad", image, loss, **options)

    def _attend(self, kind: str, results: int, **given: Any) -> list[_Tensor]:
        assert not self.operation
        assert given.pop("compute_data_type") == "FLOAT"
        operands = {name: given.pop(name) for name in list(given) if isinstance(given[name], _Tensor)}
        made = [_Tensor(None, None, None, "", None) for _ in range(results)]
        self.operation = {"kind": kind, "operands": operands, "results": made} | given
        return made

    def sdpa(
        self, q: _Tensor, k: _Tensor, v: _Tensor, *, attn_scale: float, use_causal_mask: bool, generate_stats: bool,
        compute_data_type: Any, bias: _Tensor | None = None,
    ) -> list[_Tensor]:  # fmt: skip
        assert generate_stats
        return self._attend(
            "sdpa", 2, q=q, k=k, v=v, bias=bias, scale=attn_scale, causal=use_causal_mask,
            compute_data_type=compute_data_type,
        )  # fmt: skip

    def sdpa_backward(
        self, q: _Tensor, k: _Tensor, v: _Tensor, o: _Tensor, dO: _Tensor, stats: _Tensor, *, attn_scale: float,
        use_causal_mask: bool, use_deterministic_algorithm: bool, compute_data_type: Any,
        bias: _Tensor | None = None,
    ) -> list[_Tensor]:  # fmt: skip
        return self._attend(
            "sdpa_backward", 3, q=q, k=k, v=v, o=o, dO=dO, stats=stats, bias=bias, scale=attn_scale,
            causal=use_causal_mask, deterministic=use_deterministic_algorithm, compute_data_type=compute_data_type,
        )  # fmt: skip

    def _check_attention(self) -> None:
        operands, made = self.operation["operands"], self.operation["results"]
        q, k, v = (operands[name] for name in "qkv")
        (n, heads, queries, d), (_, groups, keys, _), width = q.dim, k.dim, v.dim[3]
        assert (k.dim, v.dim[:3]) == ([n, groups, keys, d], [n, groups, keys])
        assert not heads % groups
        assert not d % 8
        assert not width % 8
        out, row = [n, heads, queries, width], [n, heads, queries, 1]
        for name, dim in {"o": out, "dO": out, "stats": row}.items():
            assert name not in operands or operands[name].dim == dim
        expected = [q.dim, k.dim, v.dim] if "stats" in operands else [out, row]
        for tensor, dim in zip(made, expected, strict=True):
            assert tensor.output
            assert tensor.dim == dim
        if bias := operands.get("bias"):
            whole = [n, heads, queries, keys]
            assert all(own in (1, count) for own, count in zip(bias.dim, whole, strict=True))
            assert bias.dim[3] == keys
            assert bias.stride == [math.prod(bias.dim[axis + 1 :]) for axis in range(4)]
        for name, tensor in (*operands.items(), *(("made", tensor) for tensor in made)):
            assert tensor.stride[3] == 1
            if tensor.dim != row and name != "bias":
                assert tensor.data_type in ("HALF", "BFLOAT16")
                assert all(step > 0 and step % 8 == 0 for step in tensor.stride[:3])
            else:
                assert tensor.data_type == "FLOAT"

    def validate(self) -> None:
        self._step("made", "valid")
        if "operands" in self.operation:
            self._check_attention()
            return
        given = self.operation
        image, weight, result = self._roles()
        space = len(image.dim) - 2
        assert space in (2, 3)
        assert given["out"].output
        for tensor in (image, weight, result):
            assert len(tensor.dim) == len(tensor.stride) == space + 2
            assert tensor.stride[1] == 1  # channels last
        groups, rest = divmod(image.dim[1], weight.dim[1])
        assert not rest
        assert weight.dim[0] % groups == 0
        assert (image.dim[0], weight.dim[0]) == (result.dim[0], result.dim[1])
        padding = given["pre_padding"], given["post_padding"]
        assert min(map(min, padding)) >= 0
        for axis in range(space):
            reach = (weight.dim[axis + 2] - 1) * given["dilation"][axis] + 1
            room = image.dim[axis + 2] + sum(sides[axis] for sides in padding) - reach
            assert room // given["stride"][axis] + 1 == result.dim[axis + 2]

    def _roles(self) -> tuple[_Tensor, _Tensor, _Tensor]:
        """Return image, weight and result."""
        first, second, out = (self.operation[name] for name in ("first", "second", "out"))
        if self.operation["kind"] == "fprop":
            return first, second, out
        return (out, second, first) if self.operation["kind"] == "dgrad" else (first, out, second)

    def build_operation_graph(self) -> None:
        self._step("valid", "graph")

    def create_execution_plans(self, heuristics: list[Any]) -> None:
        self._step("graph", "plans")
        assert heuristics == ["A", "FALLBACK"]
        if self.library.refused is not None:
            raise self.library.refused

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        self.deselected.update(notes)

    def deselect_workspace_greater_than(self, workspace_limit: int) -> None:
        self.limit = workspace_limit

    def check_support(self) -> None:
        self._step("plans", "supported")
        left = [notes for notes in self.library.plans if not notes & self.deselected]
        if (
            self.operation.get("pre_padding") != self.operation.get("post_padding")
            and not self.library.lopsided
        ):
            left = []
        if not left or (self.limit is not None and self.library.workspace > self.limit):
            raise NotSupportedError("No execution plans support the graph.\nPlan at index 0: ...")
        self.chosen = left[0]

    def build_plans(self) -> None:
        self._step("supported", "built")

    def get_workspace_size(self) -> int:
        assert self._stage == "built"
        return self.library.workspace

    def execute(self, tensor_dict: dict[int, int], workspace: int | None, handle: Any) -> None:
        addresses = tensor_dict
        assert self._stage == "built"
        assert handle is self.handle
        assert (workspace is None) == (self.library.workspace == 0)
        results = self.operation.get("results") or [self.operation["out"]]
        assert set(addresses) == {t.uid for t in (*self.tensors, *results)}
        assert all(type(address) is int and address % 16 == 0 for address in addresses.values())
        self.library.runs.append({"stream": handle.stream, "workspace": workspace, "chosen": self.chosen})
        given = self.operation
        if "operands" in given:
            operands = {name: each.values(addresses[each.uid]) for name, each in given["operands"].items()}
            for tensor, part in zip(
                results, _attended(operands, given["scale"], given["causal"]), strict=True
            ):
                tensor.put(addresses[tensor.uid], part)
            return
        first, second = (given[name].values(addresses[given[name].uid]) for name in ("first", "second"))
        out = given["out"]
        made = np.zeros(out.dim)
        padding = list(zip(given["pre_padding"], given["post_padding"], strict=True))
        compute = {"fprop": _fprop, "dgrad": _dgrad, "wgrad": _wgrad}[given["kind"]]
        compute(first, second, made, padding, given["stride"], given["dilation"])
        out.put(addresses[out.uid], made)


def _seen(image: np.ndarray, shape: Any, tap: Any, stride: Any, dilation: Any) -> np.ndarray:
    """View the positions of a padded image (n, c, space) that one tap meets."""
    cuts = tuple(
        slice(t * d, t * d + (count - 1) * s + 1, s)
        for t, d, s, count in zip(tap, dilation, stride, shape, strict=True)
    )
    return image[(slice(None), slice(None), *cuts)]


def _padded(image: np.ndarray, padding: Any) -> np.ndarray:
    return np.pad(image, [(0, 0), (0, 0), *padding])


def _fprop(
    image: np.ndarray, weight: np.ndarray, out: np.ndarray, padding: Any, stride: Any, dilation: Any
) -> None:
    wide, (made, width), taps = _padded(image, padding), weight.shape[:2], weight.shape[2:]
    groups, each = image.shape[1] // width, made * width // image.shape[1]
    for tap in np.ndindex(*taps):
        seen = _seen(wide, out.shape[2:], tap, stride, dilation)
        for group in range(groups):
            own = slice(group * each, (group + 1) * each)
            part = seen[:, group * width : (group + 1) * width]
            out[:, own] += np.einsum("nc...,kc->nk...", part, weight[(own, slice(None), *tap)])


def _dgrad(
    loss: np.ndarray, weight: np.ndarray, out: np.ndarray, padding: Any, stride: Any, dilation: Any
) -> None:
    wide, (made, width), taps = _padded(out, padding), weight.shape[:2], weight.shape[2:]
    groups, each = out.shape[1] // width, made * width // out.shape[1]
    for tap in np.ndindex(*taps):
        seen = _seen(wide, loss.shape[2:], tap, stride, dilation)
        for group in range(groups):
            own = slice(group * each, (group + 1) * each)
            part = seen[:, group * width : (group + 1) * width]
            part += np.einsum("nk...,kc->nc...", loss[:, own], weight[(own, slice(None), *tap)])
    inner = tuple(slice(low, low + count) for (low, _), count in zip(padding, out.shape[2:], strict=True))
    out[...] = wide[(slice(None), slice(None), *inner)]


def _wgrad(
    image: np.ndarray, loss: np.ndarray, out: np.ndarray, padding: Any, stride: Any, dilation: Any
) -> None:
    wide, (made, width), taps = _padded(image, padding), out.shape[:2], out.shape[2:]
    groups, each = image.shape[1] // width, made * width // image.shape[1]
    for tap in np.ndindex(*taps):
        seen = _seen(wide, loss.shape[2:], tap, stride, dilation)
        for group in range(groups):
            own = slice(group * each, (group + 1) * each)
            part = seen[:, group * width : (group + 1) * width]
            lines, slopes = (a.reshape((*a.shape[:2], -1)) for a in (part, loss[:, own]))
            out[(own, slice(None), *tap)] = np.einsum("ncp,nkp->kc", lines, slopes)


def _attended(operands: dict[str, np.ndarray], scale: float, causal: bool) -> tuple[np.ndarray, ...]:
    """Return the output and the logarithms of (n, heads, t, d) and alike; given the output's gradient, gradients."""
    q, k, v = (operands[name] for name in "qkv")
    groups, each = k.shape[1], q.shape[1] // k.shape[1]
    keys, values = (np.repeat(array, each, axis=1) for array in (k, v))
    scores = scale * np.einsum("nhtd,nhsd->nhts", q, keys)
    scores += operands.get("bias", 0.0)
    if causal:
        scores[..., np.triu(np.ones(scores.shape[2:], bool), 1)] = -np.inf
    if "stats" not in operands:
        assert np.min(np.max(scores, axis=-1)) > -1e4  # far from zero, a device's float32 would not do
        logarithms = np.log(np.sum(np.exp(scores), axis=-1, keepdims=True))
        return np.einsum("nhts,nhsv->nhtv", np.exp(scores - logarithms), values), logarithms
    shares, slope = np.exp(scores - operands["stats"]), operands["dO"]
    mean = np.sum(slope * operands["o"], axis=-1, keepdims=True)
    inner = scale * shares * (np.einsum("nhtv,nhsv->nhts", slope, values) - mean)
    by_key, by_value = np.einsum("nhts,nhtd->nhsd", inner, q), np.einsum("nhts,nhtv->nhsv", shares, slope)
    together = (
        part.reshape((len(q), groups, each, *part.shape[2:])).sum(axis=2) for part in (by_key, by_value)
    )
    return np.einsum("nhts,nhsd->nhtd", inner, keys), *together
