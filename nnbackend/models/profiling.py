"""Where a training step spends its time: forward and backward, layer by layer."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.autodiff import metering
from nnbackend.backend import Backend, backend_of, is_array, namespace, plain
from nnbackend.data import Batch
from nnbackend.layers.base import Layer, current_layer
from nnbackend.models.probing import probe
from nnbackend.models.summary import table
from nnbackend.typing import Backward

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["LayerProfile", "Profile", "profile_of"]


@dataclass(frozen=True)
class LayerProfile:
    """What one layer takes, apart from the layers inside it.

    Attributes
    ----------
    path : str
        The path of the layer; ``"loss"`` for what no layer computes: the loss and penalties.
    kind : str
        The name of its class.
    forward, backward : float
        Seconds.
    forward_bytes, backward_bytes : int
        The size of the arrays that its rules make: results, which the tape keeps until they are gone back through,
        and gradients. Views of others do not count, nor do arrays that live within a rule alone.
    """

    path: str
    kind: str
    forward: float
    backward: float
    forward_bytes: int
    backward_bytes: int


@dataclass(frozen=True)
class Profile:
    """What each layer of a model takes.

    Attributes
    ----------
    layers : tuple of LayerProfile
        In the order of `Model.summary`; those that compute nothing themselves are left out.
    samples : int
        Of the batch.
    backend : str
        Where it was measured.
    """

    layers: tuple[LayerProfile, ...]
    samples: int
    backend: str

    @property
    def forward(self) -> float:
        """Seconds of the forward pass."""
        return sum(layer.forward for layer in self.layers)

    @property
    def backward(self) -> float:
        """Seconds of the backward pass."""
        return sum(layer.backward for layer in self.layers)

    def lines(self) -> Iterator[str]:  # numpydoc ignore=YD01
        """Yield the lines of a table."""
        total = LayerProfile(
            "all",
            "",
            self.forward,
            self.backward,
            sum(layer.forward_bytes for layer in self.layers),
            sum(layer.backward_bytes for layer in self.layers),
        )
        seconds = self.forward + self.backward
        rows: list[tuple[str, ...]] = [
            (
                layer.path,
                layer.kind,
                f"{1e3 * layer.forward:.3f}",
                f"{1e3 * layer.backward:.3f}",
                f"{(layer.forward + layer.backward) / seconds:.0%}",
                f"{layer.forward_bytes / 2**20:.2f}",
                f"{layer.backward_bytes / 2**20:.2f}",
            )
            for layer in [*self.layers, total]
        ]
        yield f"{self.samples} samples on {self.backend}, uncompiled; the optimizer's update is not in it"
        header = ("Layer", "Type", "Forward ms", "Backward ms", "Share", "Forward MiB", "Backward MiB")
        yield from table(rows, header)


class _Watch:
    """A stopwatch: the time since the last reading goes to the layer that has just computed."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.forward: Counter[Layer | None] = Counter()
        self.backward: Counter[Layer | None] = Counter()
        self.forward_bytes: Counter[Layer | None] = Counter()
        self.backward_bytes: Counter[Layer | None] = Counter()
        self.last = self._now()

    def _now(self) -> float:
        self.backend.synchronize()
        return time.perf_counter()

    def read(self, seconds: Counter[Layer | None], layer: Layer | None) -> None:
        now = self._now()
        seconds[layer] += now - self.last  # type: ignore[assignment]
        self.last = now

    def run_rule(
        self, run: Callable[[], tuple[Any, Backward]], arguments: Sequence[Any]
    ) -> tuple[Any, Backward]:
        """Run a rule, and let its ``backward`` be measured in its turn."""
        layer = current_layer()
        value, backward = run()
        self.read(self.forward, layer)
        self.forward_bytes[layer] += _fresh_bytes(value, arguments)
        self.last = self._now()  # counting is not the layer's work

        def measured(dy: Any, needs: tuple[bool, ...]) -> Any:
            gradients = backward(dy, needs)
            self.read(self.backward, layer)
            self.backward_bytes[layer] += _fresh_bytes(gradients, tree.leaves(dy))
            self.last = self._now()
            return gradients

        return value, measured

    def end_layer(self, layer: Layer, path: str, inputs: tuple[Any, ...], output: Any) -> None:
        """Give a layer the time since its last rule."""
        self.read(self.forward, layer)


def _fresh_bytes(made: Any, given: Sequence[Any]) -> int:
    """Return the bytes of arrays, without those that share the memory of what was given."""
    there = {backend_of(array).memory(array) for array in given if is_array(array)}
    total = 0
    for array in filter(is_array, map(plain, tree.leaves(made))):
        memory = backend_of(array).memory(array)
        if memory not in there:
            there.add(memory)
            total += math.prod(array.shape) * _bits(array) // 8
    return total


def _bits(array: Any) -> int:
    """Return how many bits an element takes."""
    xp, dtype = namespace(array), array.dtype
    if hasattr(dtype, "itemsize"):  # where NumPy's functions know no bfloat16, its dtype tells this
        return 8 * int(dtype.itemsize)
    if xp.isdtype(dtype, "bool"):
        return 8
    limits = xp.finfo if xp.isdtype(dtype, "real floating") else xp.iinfo
    bits: int = limits(dtype).bits
    return bits


def profile_of(model: Model, x: Any, y: Any, repeats: int) -> Profile:
    """Measure a model on one batch, `repeats` times after one that does not count."""
    data = model._checked("profile", model._dataset("profile", x, y), False)
    batch = Batch(data.x, data.y, data.weight)
    watches = []
    for _ in range(repeats + 1):
        watch = _Watch(model.backend)
        with metering(watch.run_rule):
            probe(model, batch, watch.end_layer)
        watch.read(watch.backward, None)  # the end of the walk: handing over the gradients
        watches.append(watch)
    del watches[0]
    layers = [layer for layer in model.family() if watches[0].forward[layer]]
    rows = []
    for layer in [*layers, None]:
        if layer is model and not watches[0].forward_bytes[layer] and len(layers) > 1:
            continue
        rows.append(
            LayerProfile(
                "loss" if layer is None else layer.path or model.name,
                "" if layer is None else type(layer).__name__,
                statistics.median(watch.forward[layer] for watch in watches),
                statistics.median(watch.backward[layer] for watch in watches),
                watches[0].forward_bytes[layer],
                watches[0].backward_bytes[layer],
            )
        )
    return Profile(tuple(rows), tree.leaves(data.x)[0].shape[0], model.backend.name)
