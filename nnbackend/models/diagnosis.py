"""Finding out where numbers of a training step stopped being finite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.autodiff import Tensor, is_floating, watch
from nnbackend.backend import Backend, plain
from nnbackend.data import Batch
from nnbackend.data.arrays import named_parts
from nnbackend.layers import Layer
from nnbackend.models.probing import probe

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["NotFinite", "all_finite", "first_not_finite", "state_is_finite"]


@dataclass(frozen=True)
class NotFinite:
    """Where NaN or infinite numbers came up first in a training step.

    Attributes
    ----------
    kind : {"data", "weights", "activations", "loss", "gradients", "update"}
        What they are: those of the data or weights that the step began with; the output of a layer; the loss; the
        gradient with respect to a layer's output or a weight; or a weight, or the optimizer's state, after the update.
    where : str
        The path of the layer or weight, or the name of the data.
    layer : str
        The path of the layer; empty where it is none.
    """

    kind: str
    where: str
    layer: str = ""

    def __str__(self) -> str:
        words = {
            "data": f"the data: {self.where} holds NaN or infinite values. Remove or fill them",
            "weights": f"the weight {self.where!r}, before the step was taken",
            "activations": f"the output of {self.where}. Look at what it computes, and at the size of its inputs",
            "loss": "the loss, from outputs that are finite. Look at what it computes, and at the targets",
            "gradients": f"the gradient of {self.where}, from a loss that is finite. Clip gradients, or look at "
            "functions whose slope has no bound, such as sqrt at 0",
            "update": f"{self.where} after the update, from gradients that are finite. Take a smaller learning rate",
        }
        return words[self.kind]


def all_finite(backend: Backend, arrays: Iterable[Any]) -> bool:
    """Tell whether arrays have finite numbers alone; this waits for the device once."""
    with backend.scope():
        xp = backend.xp
        flags = [xp.all(xp.isfinite(array)) for array in arrays if is_floating(array)]
        return not flags or bool(backend.to_host(xp.all(xp.stack(flags))))


def state_is_finite(model: Model, loss: Any) -> bool:
    """Tell whether weights, the optimizer's state and a loss, on the device or on the host, are finite."""
    arrays = [handle._array for handle in model._handles.values()]
    slots = {} if model._training.optimizer is None else model._training.optimizer
    loss = loss if model.backend.owns(loss) else model.backend.from_host(loss)
    return all_finite(model.backend, [*arrays, *tree.leaves(slots), loss])


def first_not_finite(model: Model, batch: Batch) -> NotFinite | None:
    """Take a training step layer by layer, without compiling it, and tell where it stops being finite.

    The model is left with the new weights.

    Parameters
    ----------
    model : Model
        With the weights and the random state from before the step.
    batch : Batch
        What the step is taken on.

    Returns
    -------
    NotFinite or None
        The first in the order of computation; None where all is finite.
    """
    backend = model.backend
    for part, name in zip(batch, ("x", "y", "sample_weight"), strict=True):
        for name_of_part, array in named_parts(part, name):
            if array is not None and not all_finite(backend, [array]):
                return NotFinite("data", name_of_part)
    for path, handle in model._handles.items():
        if not all_finite(backend, [handle._array]):
            return NotFinite("weights", path, _owner(path))
    with backend.scope():
        return _forward_and_back(model, batch) or _update(model, batch)


def _owner(path: str) -> str:
    """Return the path of the layer that a weight stands in."""
    return path.rpartition("/")[0]


def _forward_and_back(model: Model, batch: Batch) -> NotFinite | None:
    """Look at all outputs in the order of computation, then at all gradients in theirs."""
    backward: list[NotFinite] = []
    forward: list[NotFinite] = []

    def observe(layer: Layer, path: str, inputs: tuple[Any, ...], output: Any) -> None:
        name = f"{type(layer).__name__} {path!r}" if path else "the model"
        for y in tree.leaves(output):
            if isinstance(y, Tensor) and is_floating(plain(y)):
                if not all_finite(model.backend, [plain(y)]):
                    forward.append(NotFinite("activations", name, path))
                watch(y, partial(hear, NotFinite("gradients", f"the output of {name}", path)))

    def hear(finding: NotFinite, gradient: Any) -> None:
        if not all_finite(model.backend, [gradient]):
            backward.append(finding)

    found = probe(model, batch, observe)
    if forward:
        return forward[0]
    if not all_finite(model.backend, [plain(found.loss)]):
        return NotFinite("loss", "loss")
    for path, gradient in reversed(found.gradients.items()):
        if not all_finite(model.backend, [gradient]):
            backward.append(NotFinite("gradients", f"the weight {path!r}", _owner(path)))
    return backward[0] if backward else None


def _update(model: Model, batch: Batch) -> NotFinite | None:
    model._train(batch, model._no_metrics())
    for path, handle in model._handles.items():
        if not all_finite(model.backend, [handle._array]):
            return NotFinite("update", f"the weight {path!r}", _owner(path))
    slots = {} if model._training.optimizer is None else model._training.optimizer["slots"]
    for name, slot in slots.items():
        for path, array in slot.items():
            if not all_finite(model.backend, [array]):
                return NotFinite("update", f"the optimizer's {name} of {path!r}", _owner(path))
    return None
