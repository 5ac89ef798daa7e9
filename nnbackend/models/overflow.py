"""Saying what is the matter where training does not get on: no weight at all, or numbers that float16 has not."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.autodiff import is_floating
from nnbackend.backend import to_numpy
from nnbackend.data import Batch
from nnbackend.models.diagnosis import first_not_finite
from nnbackend.models.state import Snapshot

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["LARGEST", "warn_of_overflow", "warn_of_weights"]

#: The largest number of float16.
LARGEST = 65504.0


def warn_of_weights(owner: str, loss: Any, measured: Any) -> None:
    """Warn where a loss is NaN because all samples weighed nothing.

    Parameters
    ----------
    owner : str
        Whose numbers these are.
    loss : float
        What is reported.
    measured : tree of array
        The sums behind it.
    """
    if math.isnan(loss) and float(to_numpy(measured["loss"]["weight"])) == 0.0:
        warnings.warn(
            f"{owner}: every sample has weight 0, by sample_weight, class_weight, masks or labels to ignore, so that "
            "there is nothing to learn from and the loss is NaN. Look at the weights.",
            RuntimeWarning,
            stacklevel=4,
        )


def warn_of_overflow(model: Model, when: str, loss: float, batch: Batch) -> bool:
    """Warn where steps in float16 change nothing since numbers pass the largest, and tell whether they do.

    Such are steps whose loss is not finite, and those whose gradients are not although the loss is scaled by no more
    than it may be at least. The scale, two numbers, is read from the device; only where there is something to say the
    last step is taken once more, layer by layer, and forgotten again.

    Parameters
    ----------
    model : Model
        One that scales its loss.
    when : str
        What the loss is of, for the message.
    loss : float
        The loss that is reported.
    batch : Batch
        The last that was trained on.

    Returns
    -------
    bool
        Whether there was something to say.
    """
    scale = model._training.loss_scale
    if scale is None:
        return False
    value, good = float(to_numpy(scale["scale"])), int(to_numpy(scale["good_steps"]))
    if math.isfinite(loss) and (good or value > model.loss_scaling.least):
        return False
    what = (
        f"its gradients are not finite even with a loss scale of {value:g}"
        if math.isfinite(loss)
        else f"the loss of {when} is {loss}"
    )
    warnings.warn(
        f"{type(model).__name__} {model.path!r} computes in float16, whose largest number is {LARGEST:.0f}, and "
        f"{what}. Steps with numbers past it change nothing but halve the loss scale. {_cure(model, batch)}",
        RuntimeWarning,
        stacklevel=4,
    )
    return True


def _cure(model: Model, batch: Batch) -> str:
    """Say where the last batch passes the largest number, and what to do."""
    most = _largest(model, batch.x)
    if LARGEST < most < math.inf:
        return f"Inputs reach {most:g}: bring them to about 1, as nn.data.Standardizer and nn.data.scale_images do."
    before = Snapshot(model)
    found = model.backend.overflowing(lambda: first_not_finite(model, batch))()
    before.restore()
    if found is not None and found.kind == "data":
        return f"The first are in {found}."
    where = "" if found is None else _WHERE[found.kind].format(found.where)
    return (
        f"{where}Make inputs and targets smaller, give the layer dtype='float32', or the model dtype='mixed_bfloat16' "
        "or 'float32'."
    )


#: Where numbers that are not finite came up first in the last batch.
_WHERE = {
    "weights": "In the last batch the first are in the weight {!r}. ",
    "activations": "In the last batch the first are in the output of {}. ",
    "loss": "In the last batch the first is the loss itself. ",
    "gradients": "In the last batch the first are in the gradient of {}. ",
    "update": "In the last batch the first are in {}. ",
}


def _largest(model: Model, x: Any) -> float:
    """Return the largest absolute value among the inputs; NaN where one is."""
    with model.backend.scope():
        xp = model.backend.xp
        found = [float(to_numpy(xp.max(xp.abs(part)))) for part in tree.leaves(x) if is_floating(part)]
    return max(found, default=0.0)
