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

from collections.abc import Callable
from typing import Any

from nnbackend.config import find, snake_case
from nnbackend.losses import classification, margins, regression, structure
from nnbackend.losses.base import FunctionLoss, Loss, combine_weights, weighted_mean
from nnbackend.losses.classification import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    NegativeLogLikelihood,
    SparseCategoricalCrossentropy,
)
from nnbackend.losses.margins import (
    CategoricalHinge,
    Circle,
    Contrastive,
    Hinge,
    SquaredHinge,
    Triplet,
)
from nnbackend.losses.regression import (
    CosineSimilarity,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
)
from nnbackend.losses.structure import (
    CTC,
    Dice,
    Tversky,
)

__all__ = [
    "BY_NAME",
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "Contrastive",
    "CosineSimilarity",
    "Dice",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "NegativeLogLikelihood",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Triplet",
    "Tversky",
    "combine_weights",
    "get",
    "weighted_mean",
]

#: The losses by their names in lower case.
BY_NAME: dict[str, Callable[[], Loss]] = {
    snake_case(name): getattr(module, name)
    for module in (classification, margins, regression, structure)
    for name in module.__all__
}
BY_NAME |= {
    "bce": classification.BinaryCrossentropy,
    "kld": regression.KLDivergence,
    "logcosh": regression.LogCosh,
    "mae": regression.MeanAbsoluteError,
    "mape": regression.MeanAbsolutePercentageError,
    "mse": regression.MeanSquaredError,
    "msle": regression.MeanSquaredLogarithmicError,
    "nll": classification.NegativeLogLikelihood,
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
    return find("loss", which, BY_NAME)()
