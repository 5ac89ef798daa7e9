"""A look inside a model: one forward and backward pass that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nnbackend.data import Batch
from nnbackend.layers.base import Observer, observing
from nnbackend.models.steps import make_objective_step
from nnbackend.typing import Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["Probe", "probe"]


class Probe(NamedTuple):
    """What a pass gives: the loss with all penalties, and its gradient by the paths of the trained parameters."""

    loss: Any
    gradients: Tree


def probe(model: Model, batch: Batch, observer: Observer) -> Probe:
    """Run a model on a batch as its next training step would, layer by layer and uncompiled, and change nothing.

    Parameters
    ----------
    model : Model
        Compiled, and built for such batches.
    batch : Batch
        Arrays of the model's backend, as a training step gets them.
    observer : callable
        Hears of each call of a layer; see `nnbackend.layers.base.observing`.

    Returns
    -------
    Probe
        Loss and gradients.

    Notes
    -----
    Dropout draws the masks of the step that follows; running statistics, the random counter and the optimizer's state
    are left as they are.
    """
    objective, _ = model._require_compiled("probe")
    given = {"trainable": {}, "fixed": {}, **model._training.start_random(model.seed, model.backend)}
    for path, parameter, around in model._placed:
        trains = parameter.trainable and all(layer.trainable for layer in around)
        given["trainable" if trains else "fixed"][path] = parameter._array
    step = make_objective_step(model, model._handles, objective)
    with model.backend.scope(), observing(observer):
        _, (loss, gradients) = step({}, (given, batch))
    return Probe(loss, gradients)
