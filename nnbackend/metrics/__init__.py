"""Metrics: what is reported beside the loss, exact over batches of any size.

A metric's state is a tree of float64 arrays on the device; it is part of the training state, so that counting
needs no transfer to the host. `Metric.result` is read when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nnbackend import losses
from nnbackend.config import find, snake_case
from nnbackend.lazy import lazily, offered
from nnbackend.losses import Loss
from nnbackend.metrics.base import FunctionMetric as FunctionMetric
from nnbackend.metrics.base import LossMetric as LossMetric
from nnbackend.metrics.base import Metric as Metric

if TYPE_CHECKING:
    from nnbackend.metrics.accuracy import *
    from nnbackend.metrics.base import Mean as Mean
    from nnbackend.metrics.base import MeanMetric as MeanMetric
    from nnbackend.metrics.base import Sum as Sum
    from nnbackend.metrics.confusion import *
    from nnbackend.metrics.curves import *
    from nnbackend.metrics.matrix import *
    from nnbackend.metrics.regression import *

_HOMES = {
    "accuracy": [
        "Accuracy",
        "BinaryAccuracy",
        "CategoricalAccuracy",
        "SparseCategoricalAccuracy",
        "SparseTopKCategoricalAccuracy",
        "TopKCategoricalAccuracy",
    ],
    "base": ["FunctionMetric", "LossMetric", "Mean", "MeanMetric", "Metric", "Sum"],
    "confusion": [
        "F1Score",
        "FBetaScore",
        "FalseNegatives",
        "FalsePositives",
        "Precision",
        "Recall",
        "TrueNegatives",
        "TruePositives",
    ],
    "curves": [
        "AUC",
        "PrecisionAtRecall",
        "RecallAtPrecision",
        "SensitivityAtSpecificity",
        "SpecificityAtSensitivity",
        "average_precision",
        "roc_auc",
    ],
    "matrix": [
        "BinaryIoU",
        "CohenKappa",
        "ConfusionMatrix",
        "IoU",
        "MatthewsCorrelation",
        "MeanIoU",
        "OneHotIoU",
        "OneHotMeanIoU",
    ],
    "regression": [
        "BinaryCrossentropy",
        "CategoricalCrossentropy",
        "CategoricalHinge",
        "CosineSimilarity",
        "Hinge",
        "KLDivergence",
        "LogCoshError",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredError",
        "MeanSquaredLogarithmicError",
        "Perplexity",
        "Poisson",
        "R2Score",
        "RegressionAccuracy",
        "RootMeanSquaredError",
        "SparseCategoricalCrossentropy",
        "SquaredHinge",
    ],
}

lazily(__name__, _HOMES, others=["get"])

#: Functions, what metrics are made of, and metrics that cannot be made without an argument.
_WITHOUT_NAME = {
    *_HOMES["base"],
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "RegressionAccuracy",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "average_precision",
    "roc_auc",
}

_BY_NAME = {
    snake_case(name.replace("IoU", "Iou").replace("FBeta", "Fbeta")): name
    for names in _HOMES.values()
    for name in names
    if name not in _WITHOUT_NAME
} | {
    "acc": "Accuracy",
    "f1": "F1Score",
    "bce": "BinaryCrossentropy",
    "kld": "KLDivergence",
    "logcosh": "LogCoshError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "mean": "Mean",
    "mse": "MeanSquaredError",
    "msle": "MeanSquaredLogarithmicError",
    "rmse": "RootMeanSquaredError",
    "sum": "Sum",
}
#: The class of each name; a loss, which is a metric under its own name, has none.
_KNOWN: dict[str, str | None] = dict.fromkeys(losses.BY_NAME) | _BY_NAME


def get(which: str | Metric | Loss | Callable[..., Any]) -> Metric:
    """Return a metric by its name, such as ``"accuracy"``; a Metric as it is; a loss or a function as a metric.

    Every loss is a metric under its own name, too.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.metrics.get("rmse").name, nn.metrics.get(nn.losses.Huber(delta=0.5)).name
    ('rmse', 'huber')
    """
    if isinstance(which, Metric):
        return which
    if isinstance(which, Loss):
        return LossMetric(which)
    if callable(which) and not isinstance(which, type):
        return FunctionMetric(which)
    name, found = str(which), find("metric", which, _KNOWN)
    if found is None:
        return LossMetric(losses.get(name), name)
    made: Metric = offered(__name__, found)(name=name)
    return made
