"""What a case is: a rule or a layer on fixed inputs, on which every backend must compute the same."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from nnbackend import functional, tree
from nnbackend.autodiff import Tensor, is_floating, vjp
from nnbackend.backend import Backend, backend_of, host, use_backend
from nnbackend.config import describe
from nnbackend.layers.base import Binding, Layer
from nnbackend.policies import portable
from nnbackend.random import Stream
from nnbackend.typing import Array, Shape, Tree

__all__ = ["Case", "Input", "LayerCase", "flag", "real", "whole"]


#: The files of `nnbackend.functional` whose rules are compared in 16 bits, too.
HALF_TOPICS = frozenset(
    "activations attention convolution crossentropy einsum embedding gates linear normalization pooling recurrent "
    "reduction".split()
)


class Input(NamedTuple):
    """An argument of a case: uniform reals, whole numbers, or booleans (``kind`` is "real", "whole" or "flag")."""

    kind: str
    shape: Shape
    low: float = 0.0
    high: float = 1.0

    def draw(self, path: str) -> Any:
        """Return the host array that this stands for: float32, int64 or bool."""
        stream = Stream(0, f"agreement/{path}")
        if self.kind == "whole":
            return stream.integers(self.shape, int(self.high))
        if self.kind == "flag":
            return stream.keep(self.shape, 0.5)
        return stream.uniform(self.shape, self.low, self.high)


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> Input:
    """Reals between `low` and `high`."""
    return Input("real", shape, low, high)


def whole(*shape: int, below: int) -> Input:
    """Whole numbers from 0 to `below` - 1."""
    return Input("whole", shape, 0.0, below)


def flag(*shape: int) -> Input:
    """Booleans, half of them true."""
    return Input("flag", shape)


@dataclass(frozen=True)
class Case:
    """A rule on fixed inputs.

    Attributes
    ----------
    rule : str
        Its name in `nnbackend.functional`.
    inputs : tuple of Input
        Its array arguments.
    options : mapping
        Its static arguments; under the key ``"key"`` of getitem, the index.
    variant : str
        What tells it from the rule's other cases.
    bound : float
        The error allowed, in units in the last place of the largest element; the same for value and gradients.
    exceptions : mapping of (str, str) to float
        The bound for a backend and dtype whose library is known to be off, with the reason beside it.
    listed : bool
        Whether the function takes its arrays as one list.
    """

    rule: str
    inputs: tuple[Input, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    bound: float = 8.0
    exceptions: Mapping[tuple[str, str], float] = field(default_factory=dict)
    listed: bool = False

    @property
    def name(self) -> str:
        """The rule's name and the variant."""
        return f"{self.rule} {self.variant}".strip()

    @property
    def definition(self) -> str:
        """A digest of what is computed; the bound is no part of it."""
        text = repr((self.rule, self.inputs, sorted(self.options.items()), self.listed))
        return hashlib.sha256(text.encode()).hexdigest()

    def arguments(self) -> list[Any]:
        """Return the host arrays of its inputs."""
        return [given.draw(f"{self.name}/{index}") for index, given in enumerate(self.inputs)]

    def function(self, *arrays: Any) -> Any:
        """Call the rule."""
        rule: Callable[..., Any] = getattr(functional, self.rule)
        return rule(list(arrays), **self.options) if self.listed else rule(*arrays, **self.options)

    @property
    def topic(self) -> str:
        """The file of `nnbackend.functional` that its rule stands in."""
        module: str = getattr(functional, self.rule).__module__
        return module.rpartition(".")[2]

    @property
    def halves(self) -> bool:
        """Whether it is compared in 16 bits, too: a rule that layers compute by in these, as it is commonly called.

        Bare elementary functions and what moves elements about are left out, since they round once, and variants,
        since every case is a program to compile for some backends.
        """
        return self.topic in HALF_TOPICS and not self.variant

    def compute(self, backend: Backend, dtype: str, rounded: str = "") -> dict[str, Any]:
        """Return value and gradients as host arrays, by name, computed as one compiled step.

        Given one of 16 bits as `rounded`, the inputs and the gradients that are pulled back are rounded to it first.
        """
        arrays = _put(self.inputs, self.arguments(), backend, dtype, rounded)

        def step(state: Any, batch: Any) -> Any:
            value, pullback = vjp(self.function, *batch)
            gradients = pullback(_cotangents(self.name, value, rounded))
            return state, (value, [gradient for gradient in gradients if gradient is not None])

        _, (value, gradients) = backend.compile(step)((), tuple(arrays))
        return _numbered("value", value, backend) | _numbered("gradient", gradients, backend)


@dataclass(frozen=True)
class LayerCase:
    """A layer on fixed inputs.

    Its weights are their first values plus uniform numbers between -0.3 and 0.3, so that zeros and ones hide nothing.

    Attributes
    ----------
    make : callable
        Makes the layer, with nothing built.
    inputs : tuple of Input
        The arrays that it is called on.
    variant : str
        What tells it from the layer's other cases.
    training : bool
        Whether it is called as in training.
    mask : Input, optional
        Its ``mask=``.
    bound : float
        The error allowed, in units in the last place of the largest element; the same for all that comes out.
    exceptions : mapping of (str, str) to float
        The bound for a backend and dtype whose library is known to be off, with the reason beside it.
    listed : bool
        Whether the layer takes its arrays as one list.
    fixed_batch : bool
        Whether it takes batches of one size only.
    smooth : bool
        Whether differences can check its gradients at these inputs; false where it rounds, or the numbers are huge.
    vanishing : tuple of str
        Paths of weights whose gradient is zero but for rounding, which has no relative error: it is not recorded.
    """

    make: Callable[[], Layer]
    inputs: tuple[Input, ...]
    variant: str = ""
    training: bool = False
    mask: Input | None = None
    bound: float = 16.0
    exceptions: Mapping[tuple[str, str], float] = field(default_factory=dict)
    listed: bool = False
    smooth: bool = True
    fixed_batch: bool = False
    vanishing: tuple[str, ...] = ()

    #: No layer is: a test holds them all to their rules (`tests/layers/test_policies.py`).
    halves: ClassVar[bool] = False

    @functools.cached_property
    def _description(self) -> str:
        return json.dumps(describe(self.make()), sort_keys=True)

    @functools.cached_property
    def kind(self) -> type[Layer]:
        """The layer's class."""
        return type(self.make())

    @property
    def name(self) -> str:
        """The class's name and the variant."""
        return f"layers.{self.kind.__name__} {self.variant}".strip()

    @property
    def topic(self) -> str:
        """The file of `nnbackend.layers` that the layer stands in."""
        return f"layers.{self.kind.__module__.rpartition('.')[2]}"

    @property
    def definition(self) -> str:
        """A digest of what is computed; the bound is no part of it."""
        text = repr((self._description, self.inputs, self.training, self.mask, self.listed))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def all_inputs(self) -> tuple[Input, ...]:
        """The inputs, and the mask if there is one."""
        return self.inputs if self.mask is None else (*self.inputs, self.mask)

    @property
    def sample_shapes(self) -> list[Shape]:
        """The shapes of its inputs without the axis of samples."""
        return [given.shape[1:] for given in self.inputs]

    def arguments(self) -> list[Any]:
        """Return the host arrays of its inputs, with the mask last."""
        return [given.draw(f"{self.name}/{index}") for index, given in enumerate(self.all_inputs)]

    def build(self, backend: Backend, dtype: str) -> Layer:
        """Return the layer with its first weights, on a backend."""
        layer = self.make()
        layer.dtype = dtype
        with use_backend(backend):
            if self.listed:
                layer.build(self.sample_shapes)
            else:
                layer.build(*self.sample_shapes)
        return layer

    def weights(self) -> dict[str, Any]:
        """Return host arrays for the layer's weights, by path: float32, or as they are where they are not real."""
        values = {}
        for path, parameter, _ in self.build(backend_of(self.arguments()[0]), "float32").named_parameters():
            value = parameter.numpy()
            if is_floating(value):
                value = value + Stream(0, f"agreement/{self.name}/{path}").uniform(value.shape, -0.3, 0.3)
            values[path] = value
        return values

    def call(self, layer: Layer, *arrays: Any) -> Any:
        """Call the layer on its arrays, the mask last."""
        inputs = arrays if self.mask is None else arrays[:-1]
        options = {} if self.mask is None else {"mask": arrays[-1]}
        if self.listed:
            return layer(list(inputs), training=self.training, **options)
        return layer(*inputs, training=self.training, **options)

    def function(self, layer: Layer, backend: Backend) -> Callable[..., Any]:
        """Return the function of a tree of weights and the arrays: its outputs, and the new statistics."""
        handles = {path: parameter for path, parameter, _ in layer.named_parameters()}

        def run(weights: Mapping[str, Any], *arrays: Any) -> tuple[Any, dict[str, Any]]:
            binding = Binding({id(handles[path]): w for path, w in weights.items()}, 0, 0, backend)
            with binding.bound():
                value = self.call(layer, *(a if isinstance(a, Tensor) else Tensor(a) for a in arrays))
            assigned = {
                path: binding.assigned[id(handle)]
                for path, handle in handles.items()
                if id(handle) in binding.assigned
            }
            return value, assigned

        return run

    def put_weights(self, backend: Backend, dtype: str) -> dict[str, Array]:
        """Return `weights` on a backend."""
        return {
            path: backend.from_host(w, dtype if is_floating(w) else None)
            for path, w in self.weights().items()
        }

    def compute(self, backend: Backend, dtype: str) -> dict[str, Any]:
        """Return outputs, gradients and new statistics as host arrays, by name, computed as one compiled step."""
        layer = self.build(backend, dtype)
        run = self.function(layer, backend)
        trained = {path for path, _, trains in layer.named_parameters() if trains}
        weights = self.put_weights(backend, dtype)
        arrays = _put(self.all_inputs, self.arguments(), backend, dtype)

        def step(state: Any, batch: Any) -> Any:
            given, inputs = batch
            fixed = {path: w for path, w in given.items() if path not in trained}

            def of(trainable: Tree, *inputs: Any) -> Any:
                value, assigned = run({**trainable, **fixed}, *inputs)
                return tuple(tree.flatten(value)[0]), assigned

            trainable = {path: w for path, w in given.items() if path in trained}
            value, pullback, assigned = vjp(of, trainable, *inputs, has_aux=True)
            by_weight, *by_input = pullback(_cotangents(self.name, value))
            return state, (value, by_weight, [g for g in by_input if g is not None], assigned)

        _, (value, by_weight, by_input, assigned) = backend.compile(step)((), (weights, tuple(arrays)))
        found = _numbered("value", value, backend) | _numbered("gradient", by_input, backend)
        found |= {
            f"gradient {path}": backend.to_host(g)
            for path, g in by_weight.items()
            if path not in self.vanishing
        }
        return found | {f"new {path}": backend.to_host(a) for path, a in assigned.items()}


def _put(
    inputs: Sequence[Input], arrays: Sequence[Any], backend: Backend, dtype: str, rounded: str = ""
) -> list[Any]:
    """Move the host arrays of inputs to a backend, reals in this dtype."""
    return [
        backend.from_host(in_16_bits(array, rounded), dtype)
        if given.kind == "real"
        else backend.from_host(array)
        for given, array in zip(inputs, arrays, strict=True)
    ]


def in_16_bits(array: Any, dtype: str) -> Any:
    """Return a float32 host array whose elements are rounded to float16 or bfloat16; as it is without a dtype."""
    xp = host().xp
    if dtype == "float16":
        return xp.astype(xp.astype(array, xp.float16), xp.float32)
    if dtype == "bfloat16":  # the upper half of the bits, rounded to even; NumPy has no such dtype
        bits = array.view(xp.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(xp.float32)
    return array


def _cotangents(name: str, value: Any, rounded: str = "") -> Any:
    """Return the gradients that are pulled back: uniform numbers, the same on every machine."""
    if isinstance(value, tuple):
        return tuple(_cotangent(name, index, part, rounded) for index, part in enumerate(value))
    return _cotangent(name, 0, value, rounded)


def _cotangent(name: str, index: int, value: Any, rounded: str) -> Any:
    stream = Stream(0, f"agreement/{name}/cotangent{index}")
    drawn = in_16_bits(stream.uniform(tuple(value.shape), -1.0, 1.0), rounded)
    return functional.astype(backend_of(value).from_host(drawn), value.dtype)


def _numbered(kind: str, arrays: Any, backend: Backend) -> dict[str, Any]:
    several = arrays if isinstance(arrays, (tuple, list)) else (arrays,)
    return {f"{kind}{index}": backend.to_host(portable(array)) for index, array in enumerate(several)}
