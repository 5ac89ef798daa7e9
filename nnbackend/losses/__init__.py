"""Losses: what training makes small.

A loss has a value for each sample; that of a batch is their mean, weighted by the samples' weights. A cross-entropy
that is not told ``from_logits`` looks at what made the output: after softmax or sigmoid it takes that function's
input, which is exact where probabilities have run into 0 or 1; anything else is taken for logits.

Called by hand on an array, a cross-entropy cannot see what made it and takes it for **logits**, as PyTorch does; Keras
takes it for probabilities, and so do the metrics here. ``from_logits=False`` says that they are probabilities. Where
an array looks like them and `from_logits` is not given, a warning says so.

>>> import nnbackend as nn
>>> y, probabilities = (
...     nn.get_backend("numpy").xp.asarray([1]),
...     nn.get_backend("numpy").xp.asarray([[0.25, 0.75]]),
... )
>>> loss = nn.losses.SparseCategoricalCrossentropy(from_logits=False)
>>> round(float(loss(y, probabilities)), 6)
0.287682
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbackend.config import find, snake_case
from nnbackend.lazy import lazily, offered
from nnbackend.losses.base import FunctionLoss as FunctionLoss
from nnbackend.losses.base import Loss as Loss

if TYPE_CHECKING:
    from nnbackend.losses.base import combine_weights as combine_weights
    from nnbackend.losses.base import weighted_mean as weighted_mean
    from nnbackend.losses.classification import *
    from nnbackend.losses.margins import *
    from nnbackend.losses.regression import *
    from nnbackend.losses.structure import *

_CLASSES = {
    "classification": [
        "BinaryCrossentropy",
        "BinaryFocalCrossentropy",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
        "CategoricalGeneralizedCrossEntropy",
        "NegativeLogLikelihood",
        "SparseCategoricalCrossentropy",
    ],
    "margins": ["CategoricalHinge", "Circle", "Contrastive", "Hinge", "SquaredHinge", "Triplet"],
    "regression": [
        "CosineSimilarity",
        "Huber",
        "KLDivergence",
        "LogCosh",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredError",
        "MeanSquaredLogarithmicError",
        "Poisson",
    ],
    "structure": ["CTC", "Dice", "Tversky"],
}
_BASE = ["FunctionLoss", "Loss", "combine_weights", "weighted_mean"]

lazily(__name__, {"base": _BASE} | _CLASSES, others=["get"])

#: The losses' classes by their names in lower case.
BY_NAME: dict[str, str] = {snake_case(name): name for names in _CLASSES.values() for name in names} | {
    "bce": "BinaryCrossentropy",
    "kld": "KLDivergence",
    "logcosh": "LogCosh",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "mse": "MeanSquaredError",
    "msle": "MeanSquaredLogarithmicError",
    "nll": "NegativeLogLikelihood",
}


def get(which: Any) -> Loss:
    """Return a loss by its name, such as ``"mean_squared_error"``; a Loss as it is; a function as a loss.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.losses.get("mse")
    MeanSquaredError()
    """
    if isinstance(which, Loss):
        return which
    if callable(which) and not isinstance(which, type):
        return FunctionLoss(which)
    made: Loss = offered(__name__, find("loss", which, BY_NAME))()
    return made
