"""Metrics of right and wrong decisions: precision, recall and what is made of them; NaN where an output is NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackend.arguments import shown
from nnbackend.backend import Backend, backend_of, host, namespace, plain, to_numpy
from nnbackend.metrics.base import (
    Logits,
    Metric,
    nan_of_rows,
    probabilities_of,
    ratio,
    require_whole,
    row_weights,
)
from nnbackend.typing import Shape, Tree

__all__ = [
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "Recall",
    "TrueNegatives",
    "TruePositives",
]

#: How far a probability that was rounded may lie outside of 0 to 1.
_ROUNDING = 1e-3

_AVERAGES = (None, "micro", "macro", "weighted")


def columns_of(y_true: Any, y_pred: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """Return targets and outputs as columns, one for each class, and the shape of the steps that became rows.

    Targets shaped like the outputs become booleans, above one half; whole-number labels become one-hot rows.
    """
    xp = namespace(y_pred)
    if len(y_pred.shape) == 1:
        y_pred = xp.expand_dims(y_pred, axis=-1)
    steps, classes = tuple(y_pred.shape[:-1]), y_pred.shape[-1]
    outputs = xp.reshape(y_pred, (-1, classes))
    if classes > 1 and tuple(y_true.shape) != (*steps, classes):
        labels = xp.reshape(xp.astype(y_true, xp.int64), (-1, 1))
        numbers = xp.arange(classes, dtype=xp.int64, device=backend_of(y_pred).device(y_pred))
        return labels == numbers, outputs, steps
    targets = xp.reshape(y_true, (-1, classes))
    if "bool" not in str(targets.dtype):
        targets = targets > (0.5 if "float" in str(targets.dtype) else 0)
    return targets, outputs, steps


def check_columns(owner: str, y: Any, output_shape: Shape) -> None:
    """Refuse targets that are neither shaped like the outputs, from 0 to 1, nor one label for each row of them."""
    shape, whole = tuple(y.shape[1:]), tuple(output_shape)
    rows = whole[:-1]
    single = not whole or whole[-1] == 1
    if shape in (whole, rows) or (not single and shape == (*rows, 1)):
        if "bool" not in str(y.dtype) and 0 not in y.shape:
            of_labels = not single and shape != whole
            _check_range(owner, y, whole[-1] if of_labels else None)
        return
    raise ValueError(
        f"{owner} expects targets shaped like the outputs, {shown(whole)}, or whole-number labels of shape "
        f"{shown(rows)}, got {tuple(y.shape)}."
    )


def _check_range(owner: str, y: Any, classes: int | None) -> None:
    """Refuse targets that are not from 0 to 1, or labels of no class; negative ones are nobody's, as for accuracies."""
    array = plain(y)
    backend = backend_of(array)
    with backend.scope():
        xp = backend.xp
        low, high = float(xp.min(array)), float(xp.max(array))
        whole = "float" not in str(array.dtype) or bool(xp.all(xp.floor(array) == array))
    if classes is None:
        if low < 0.0 or high > 1.0:
            cure = (
                " For labels -1 and 1 use (y + 1) / 2."
                if low == -1.0
                else " For several classes give the last layer one unit for each."
            )
            raise ValueError(
                f"{owner} expects targets from 0 to 1, got values from {low:g} to {high:g}.{cure}"
            )
        return
    if not whole:
        raise ValueError(f"{owner} expects whole-number labels, got fractions in {array.dtype}.")
    if high >= classes:
        raise ValueError(
            f"{owner} expects labels from 0 to {classes - 1}, since the outputs have {classes} classes, got labels "
            f"from {low:g} to {high:g}. Number the classes from 0, or give the last layer {int(high) + 1} units."
        )


def require_probabilities(owner: str, outputs: Any, weights: Any) -> None:
    """Refuse rows of outputs that are no probabilities, where they have weight; NaN is not looked at."""
    if "float" not in str(outputs.dtype):
        return
    xp = namespace(outputs)
    counted = xp.where(xp.expand_dims(weights != 0.0, axis=-1), outputs, 0.5)
    if bool(xp.any((counted < -_ROUNDING) | (counted > 1.0 + _ROUNDING))):
        raise ValueError(
            f"{owner} expects probabilities, got outputs below 0 or above 1. Logits become probabilities by "
            "nn.functional.sigmoid, or softmax for classes; for scores of any scale there is nn.metrics.roc_auc."
        )


def largest(outputs: Any, k: int) -> Any:
    """Return which of the outputs in a row are its k largest; of equal ones the first."""
    xp = namespace(outputs)
    order = xp.argsort(outputs, axis=-1, descending=True, stable=True)
    return xp.argsort(order, axis=-1, stable=True) < k


class _Decisions(Metric):
    """Weighted counts of right and wrong decisions, for each threshold and class."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        average: str | None = "micro",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if average not in _AVERAGES:
            raise ValueError(
                f"The metric {self.name} expects average to be 'micro', 'macro', 'weighted' or None, got {average!r}."
            )
        self.thresholds = (
            thresholds if isinstance(thresholds, (int, float, type(None))) else tuple(thresholds)
        )
        for threshold in self._thresholds(0.5):
            if not 0.0 <= threshold <= 1.0:
                raise ValueError(f"The metric {self.name} expects thresholds from 0 to 1, got {threshold!r}.")
        if top_k is not None:
            require_whole(f"The metric {self.name}", "top_k", top_k, 1)
        if top_k is not None and thresholds is not None:
            raise ValueError(f"The metric {self.name} takes either thresholds or top_k.")
        self.top_k = top_k
        self.class_id = class_id
        self.average = average
        self._columns: int | None = None

    def _thresholds(self, usual: float) -> tuple[float, ...]:
        if self.thresholds is None:
            return (usual,)
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def build(self, output_shape: Shape) -> None:
        """Take note of how many classes there are."""
        self._columns = output_shape[-1] if output_shape else 1
        if self.class_id is not None and not 0 <= self.class_id < self._columns:
            raise ValueError(
                f"The metric {self.name} expects class_id to be one of {self._columns} classes, got {self.class_id}."
            )

    def init(self, backend: Backend) -> Tree:
        """Return counts of zero."""
        columns: int | None = self._columns
        if self.average == "micro" or self.class_id is not None:
            columns = 1
        if columns is None:
            raise ValueError(f"The metric {self.name} needs build(output_shape) before init.")
        zeros = host().xp.zeros((len(self._thresholds(0.5)), columns))
        return {
            name: backend.from_host(zeros, "float64")
            for name in ("true_positives", "false_positives", "false_negatives", "true_negatives")
        }

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Count the batch's decisions."""
        xp = namespace(y_pred)
        targets, outputs, steps = columns_of(y_true, y_pred)
        of_rows = row_weights(steps, weight, y_pred)
        unknown, weights = nan_of_rows(outputs, of_rows), xp.expand_dims(of_rows, axis=1)
        decided = self._decide(outputs, tuple(y_true.shape) != tuple(y_pred.shape), logits)
        if self.class_id is not None:
            targets = targets[:, self.class_id : self.class_id + 1]
            decided = [each[:, self.class_id : self.class_id + 1] for each in decided]
        outcomes = {
            "true_positives": [each & targets for each in decided],
            "false_positives": [each & ~targets for each in decided],
            "false_negatives": [~each & targets for each in decided],
            "true_negatives": [~each & ~targets for each in decided],
        }
        micro = self.average == "micro"

        def count(flags: Any) -> Any:
            sums = xp.sum(xp.where(flags, weights, 0.0), axis=0)
            return xp.reshape(xp.sum(sums), (1,)) if micro else sums

        return {
            name: state[name] + xp.stack([count(flags) for flags in each], axis=0) + unknown
            for name, each in outcomes.items()
        }

    def _decide(self, outputs: Any, of_labels: bool, logits: Logits) -> list[Any]:
        """Return for each threshold which outputs say yes."""
        several = outputs.shape[-1] > 1
        if self.top_k is not None:
            return [largest(outputs, self.top_k)]
        if self._by_the_largest(several, of_labels):
            return [largest(outputs, 1)]
        if "float" not in str(outputs.dtype):  # said already: 0 and 1
            outputs = namespace(outputs).astype(outputs, namespace(outputs).float64)
        probabilities = probabilities_of(outputs, logits if several else bool(logits))
        return [probabilities > threshold for threshold in self._thresholds(0.5)]

    def _by_the_largest(self, several: bool, of_labels: bool) -> bool:
        """Tell whether the largest of several outputs says yes, whatever its size."""
        return self.thresholds is None and several and (of_labels or self._takes_largest)

    def check_outputs(self, y_true: Any, y_pred: Any, weight: Any | None) -> None:
        """Refuse targets that do not fit, and what is no probability and is compared with a threshold."""
        self.check_targets(y_true, tuple(y_pred.shape[1:]))
        _, outputs, steps = columns_of(y_true, y_pred)
        of_labels = tuple(y_true.shape) != tuple(y_pred.shape)
        if self.top_k is None and not self._by_the_largest(outputs.shape[-1] > 1, of_labels):
            require_probabilities(f"The metric {self.name}", outputs, row_weights(steps, weight, y_pred))

    #: Whether the largest of several outputs is the decision for one-hot targets as well.
    _takes_largest = False

    def score(self, true_positives: Any, false_positives: Any, false_negatives: Any) -> Any:
        """Return what is measured of counts on the host."""
        raise NotImplementedError(f"{type(self).__name__} must define score.")

    def result(self, state: Tree) -> Any:
        """Return the score so far: a float, or an array of thresholds, of classes, or of both."""
        xp = host().xp
        names = ("true_positives", "false_positives", "false_negatives")
        counts = [xp.asarray(to_numpy(state[name])) for name in names]
        score = xp.asarray(self.score(*counts))
        if self.average == "macro":
            score = xp.mean(score, axis=-1)
        elif self.average == "weighted":
            support = counts[0] + counts[2]
            score = xp.asarray(ratio(xp.sum(score * support, axis=-1), xp.sum(support, axis=-1), 0.0))
        elif score.shape[-1] == 1:
            score = score[..., 0]
        if not isinstance(self.thresholds, tuple):
            score = score[0, ...]
        return score if score.ndim else float(score)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are neither shaped like the outputs nor labels."""
        check_columns(f"The metric {self.name}", y, output_shape)


class Precision(_Decisions):  # numpydoc ignore=PR02
    r"""Share of yeses that are right,  :math:`\frac{TP}{TP + FP}`  (0 where there is no yes).

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        Probabilities above it mean yes; several give an array of results. Without it 0.5, or 0 for logits; where
        targets are whole-number labels of several classes, the largest output means yes and the others no.
    top_k : int, optional
        Instead of a threshold: the k largest outputs of a row mean yes.
    class_id : int, optional
        Measure this class alone.
    average : {"micro", "macro", "weighted"} or None
        Over classes: count all decisions together as Keras does, take the mean of the classes' scores, or that
        weighted by how often each class is true; with None the result is an array with one for each class.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Precision()(xp.asarray([1, 0, 1, 0, 1]), xp.asarray([0.9, 0.8, 0.7, 0.1, 0.6]))
    0.75
    """

    def score(self, true_positives: Any, false_positives: Any, false_negatives: Any) -> Any:
        """Return the precision."""
        return ratio(true_positives, true_positives + false_positives, 0.0)


class Recall(_Decisions):  # numpydoc ignore=PR02
    r"""Share of what is true that was found,  :math:`\frac{TP}{TP + FN}`  (0 where nothing is true).

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        Probabilities above it mean yes; several give an array of results. Without it 0.5, or 0 for logits; where
        targets are whole-number labels of several classes, the largest output means yes and the others no.
    top_k : int, optional
        Instead of a threshold: the k largest outputs of a row mean yes.
    class_id : int, optional
        Measure this class alone.
    average : {"micro", "macro", "weighted"} or None
        Over classes: count all decisions together as Keras does, take the mean of the classes' scores, or that
        weighted by how often each class is true; with None the result is an array with one for each class.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Recall()(xp.asarray([1, 0, 1, 1, 1]), xp.asarray([0.9, 0.8, 0.7, 0.1, 0.6]))
    0.75
    """

    def score(self, true_positives: Any, false_positives: Any, false_negatives: Any) -> Any:
        """Return the recall."""
        return ratio(true_positives, true_positives + false_negatives, 0.0)


class FBetaScore(_Decisions):
    r"""Weighted harmonic mean of precision and recall,
    :math:`F_\beta = \frac{(1 + \beta^2)\, TP}{(1 + \beta^2)\, TP + \beta^2\, FN + FP}`
    (0 where nothing is true or said).

    Parameters
    ----------
    average : {"micro", "macro", "weighted"} or None
        Over classes: count all decisions together, take the mean of the classes' scores, or that weighted by how
        often each class is true; with None the result is an array with one for each class.
    beta : float
        How many times as much recall matters as precision.
    threshold : float, optional
        Probabilities above it mean yes. Without it the largest of several outputs does, and of one output 0.5, or 0
        for logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> outputs = xp.asarray([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    >>> nn.metrics.FBetaScore()(xp.asarray([0, 1, 1]), outputs).round(6)
    array([0.666667, 0.666667])
    """

    _takes_largest = True

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(threshold, average=average, name=name or "fbeta_score")
        if not beta > 0.0:
            raise ValueError(f"The metric {self.name} expects beta above 0, got {beta!r}.")
        self.beta = beta

    def score(self, true_positives: Any, false_positives: Any, false_negatives: Any) -> Any:
        """Return the F score."""
        square = self.beta**2
        found = (1.0 + square) * true_positives
        return ratio(found, found + square * false_negatives + false_positives, 0.0)


class F1Score(FBetaScore):
    r"""Harmonic mean of precision and recall,  :math:`F_1 = \frac{2\, TP}{2\, TP + FN + FP}`.

    Parameters
    ----------
    average : {"micro", "macro", "weighted"} or None
        Over classes, as of `FBetaScore`.
    threshold : float, optional
        Probabilities above it mean yes. Without it the largest of several outputs does, and of one output 0.5, or 0
        for logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.F1Score()(xp.asarray([1, 0, 1, 0]), xp.asarray([0.9, 0.1, 0.7, 0.1]))
    1.0
    """

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str | None = None
    ) -> None:
        super().__init__(average, 1.0, threshold, name or "f1_score")


class _Count(_Decisions):
    """The number of decisions of one outcome."""

    #: Which count.
    outcome = ""

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None) -> None:
        super().__init__(thresholds, name=name)

    def result(self, state: Tree) -> Any:
        """Return the weighted count so far; an array for several thresholds."""
        counts = host().xp.asarray(to_numpy(state[self.outcome]))[:, 0]
        return counts if isinstance(self.thresholds, tuple) else float(counts[0])


class TruePositives(_Count):  # numpydoc ignore=PR02
    """How many yeses are right, by weight.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        Probabilities above it mean yes; several give an array of results. Without it 0.5, or 0 for logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.TruePositives()(
    ...     xp.asarray([1, 1, 1, 0, 0, 0, 0]), xp.asarray([0.9, 0.8, 0.1, 0.9, 0.1, 0.1, 0.2])
    ... )
    2.0
    """

    outcome = "true_positives"


class FalsePositives(_Count):  # numpydoc ignore=PR02
    """How many yeses are wrong, by weight.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        Probabilities above it mean yes; several give an array of results. Without it 0.5, or 0 for logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.FalsePositives()(
    ...     xp.asarray([1, 1, 1, 0, 0, 0, 0]), xp.asarray([0.9, 0.8, 0.1, 0.9, 0.1, 0.1, 0.2])
    ... )
    1.0
    """

    outcome = "false_positives"


class TrueNegatives(_Count):  # numpydoc ignore=PR02
    """How many noes are right, by weight.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        Probabilities above it mean yes; several give an array of results. Without it 0.5, or 0 for logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.TrueNegatives()(
    ...     xp.asarray([1, 1, 1, 0, 0, 0, 0]), xp.asarray([0.9, 0.8, 0.1, 0.9, 0.1, 0.1, 0.2])
    ... )
    3.0
    """

    outcome = "true_negatives"


class FalseNegatives(_Count):  # numpydoc ignore=PR02
    """How many noes are wrong, by weight.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        Probabilities above it mean yes; several give an array of results. Without it 0.5, or 0 for logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.FalseNegatives()(
    ...     xp.asarray([1, 1, 1, 0, 0, 0, 0]), xp.asarray([0.9, 0.8, 0.1, 0.9, 0.1, 0.1, 0.2])
    ... )
    1.0
    """

    outcome = "false_negatives"
