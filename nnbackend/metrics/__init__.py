"""Metrics: what is reported beside the loss, exact over batches of any size.

A metric's state is a tree of float64 arrays on the device; it is part of the training state, so that counting
needs no transfer to the host. `Metric.result` is read when somebody looks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from nnbackend import losses
from nnbackend.config import find, snake_case
from nnbackend.losses import Loss
from nnbackend.metrics import accuracy, confusion, curves, matrix, regression
from nnbackend.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from nnbackend.metrics.base import FunctionMetric, LossMetric, Mean, MeanMetric, Metric, Sum
from nnbackend.metrics.confusion import (
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from nnbackend.metrics.curves import (
    AUC,
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    average_precision,
    roc_auc,
)
from nnbackend.metrics.matrix import (
    BinaryIoU,
    CohenKappa,
    ConfusionMatrix,
    IoU,
    MatthewsCorrelation,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
)
from nnbackend.metrics.regression import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Perplexity,
    Poisson,
    R2Score,
    RegressionAccuracy,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CohenKappa",
    "ConfusionMatrix",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "FunctionMetric",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "LossMetric",
    "MatthewsCorrelation",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetric",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "Perplexity",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RegressionAccuracy",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "average_precision",
    "get",
    "roc_auc",
]

#: Metrics that cannot be made without an argument.
_WITH_ARGUMENTS = {
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "RegressionAccuracy",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
}

_BY_NAME: dict[str, Callable[..., Metric]] = {
    snake_case(name.replace("IoU", "Iou").replace("FBeta", "Fbeta")): getattr(module, name)
    for module in (accuracy, confusion, curves, matrix, regression)
    for name in module.__all__
    if name not in _WITH_ARGUMENTS and isinstance(getattr(module, name), type)
}
_BY_NAME |= {
    "acc": accuracy.Accuracy,
    "f1": confusion.F1Score,
    "bce": regression.BinaryCrossentropy,
    "kld": regression.KLDivergence,
    "logcosh": regression.LogCoshError,
    "mae": regression.MeanAbsoluteError,
    "mape": regression.MeanAbsolutePercentageError,
    "mean": Mean,
    "mse": regression.MeanSquaredError,
    "msle": regression.MeanSquaredLogarithmicError,
    "rmse": regression.RootMeanSquaredError,
    "sum": Sum,
}


def _of_loss(made: Callable[[], Loss], name: str) -> Metric:
    return LossMetric(made(), name)


_BY_NAME = {name: functools.partial(_of_loss, made) for name, made in losses.BY_NAME.items()} | _BY_NAME


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
    return find("metric", which, _BY_NAME)(name=which)
