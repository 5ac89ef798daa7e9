"""Metrics of scores at all thresholds: the areas under curves, and points on them.

They are NaN where they are not defined, of one class alone, and where a score is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnbackend import functional
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
from nnbackend.metrics.confusion import check_columns, columns_of, require_probabilities
from nnbackend.typing import Shape, Tree

__all__ = [
    "AUC",
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "average_precision",
    "roc_auc",
]


class _Curve(Metric):
    """Weighted counts of true and untrue samples between neighbouring thresholds."""

    def __init__(
        self,
        num_thresholds: int = 200,
        name: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(name)
        if thresholds is None:
            require_whole(f"The metric {self.name}", "num_thresholds", num_thresholds, 2)
            inner = [number / (num_thresholds - 1) for number in range(1, num_thresholds - 1)]
        else:
            inner = sorted(float(number) for number in thresholds)
            if any(not 0.0 <= number <= 1.0 for number in inner):
                raise ValueError(
                    f"The metric {self.name} expects thresholds from 0 to 1, got {thresholds!r}."
                )
        #: What parts the scores, beside one threshold below 0 and one above 1.
        self.inner_thresholds = tuple(inner)
        self.multi_label = multi_label
        self._columns: int | None = None

    def build(self, output_shape: Shape) -> None:
        """Take note of how many labels there are."""
        self._columns = output_shape[-1] if output_shape else 1

    def init(self, backend: Backend) -> Tree:
        """Return counts of zero."""
        columns = self._columns if self.multi_label else 1
        if columns is None:
            raise ValueError(f"The metric {self.name} needs build(output_shape) before init.")
        zeros = host().xp.zeros((len(self.inner_thresholds) + 1, columns))
        return {name: backend.from_host(zeros, "float64") for name in ("true", "untrue")}

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Count the batch's scores."""
        xp = namespace(y_pred)
        targets, outputs, steps = columns_of(y_true, y_pred)
        rows, columns = outputs.shape
        scores = xp.astype(probabilities_of(outputs, logits if columns > 1 else bool(logits)), xp.float64)
        device = backend_of(y_pred).device(y_pred)
        edges = xp.asarray(list(self.inner_thresholds), dtype=xp.float64, device=device)
        between = xp.reshape(xp.searchsorted(edges, xp.reshape(scores, (-1,)), side="left"), (rows, columns))
        places = xp.astype(between, xp.int64)
        kept = columns if self.multi_label else 1
        if self.multi_label:
            places = places * columns + xp.arange(columns, dtype=xp.int64, device=device)
        of_rows = row_weights(steps, weight, y_pred)
        weights = xp.broadcast_to(xp.expand_dims(of_rows, axis=1), (rows, columns))
        pair = xp.stack([xp.where(targets, weights, 0.0), xp.where(targets, 0.0, weights)], axis=-1)
        cells = len(self.inner_thresholds) + 1
        counts = functional.scatter_add(
            xp.reshape(pair, (-1, 2)), xp.reshape(places, (-1,)), length=cells * kept
        )
        counts = xp.reshape(counts, (cells, kept, 2)) + nan_of_rows(outputs, of_rows)
        return {"true": state["true"] + counts[:, :, 0], "untrue": state["untrue"] + counts[:, :, 1]}

    def check_outputs(self, y_true: Any, y_pred: Any, weight: Any | None) -> None:
        """Refuse targets that do not fit, and what is no probability."""
        self.check_targets(y_true, tuple(y_pred.shape[1:]))
        _, outputs, steps = columns_of(y_true, y_pred)
        require_probabilities(f"The metric {self.name}", outputs, row_weights(steps, weight, y_pred))

    def _counts(self, state: Tree) -> tuple[Any, Any, Any, Any]:
        """Return true and false positives, false and true negatives at each threshold, from the lowest."""
        xp = host().xp
        true, untrue = (xp.asarray(to_numpy(state[name])) for name in ("true", "untrue"))
        end = xp.zeros((1, true.shape[1]))
        above = [
            xp.concat([xp.flip(xp.cumulative_sum(xp.flip(c, axis=0), axis=0), axis=0), end])
            for c in (true, untrue)
        ]
        return above[0], above[1], above[0][:1, ...] - above[0], above[1][:1, ...] - above[1]

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are neither shaped like the outputs nor labels."""
        check_columns(f"The metric {self.name}", y, output_shape)


class AUC(_Curve):
    r"""Area under the ROC curve, or under that of precision over recall.

    Parameters
    ----------
    num_thresholds : int
        How many thresholds part the probabilities evenly, those below 0 and above 1 among them.
    curve : {"ROC", "PR"}
        True over false positive rate, or precision over recall.
    summation_method : {"interpolation", "minoring", "majoring"}
        Between thresholds: straight lines of the ROC curve and, for precision, the interpolation of Davis and
        Goadrich; or the lesser, or the greater of both ends.
    name : str, optional
        Its name in tables.
    thresholds : sequence of float, optional
        Thresholds of one's own, instead of `num_thresholds`.
    multi_label : bool
        Whether to measure each output on its own and take the mean, instead of all outputs together.

    Notes
    -----
    *How exact it is.* The state is a histogram, so that batches of any size add up to the same result, exactly that
    of Keras. Between two thresholds the ROC curve is taken as straight, which is wrong by no more than half of the
    rectangle that the curve passes through, so that

    .. math:: |AUC - AUC_{exact}| \le \frac12 \sum_b \frac{p_b}{P} \frac{n_b}{N} \le \frac12

    with the true :math:`p_b` and untrue :math:`n_b` between thresholds; `error_bound` gives it. It is small where the
    scores are spread over many thresholds, and as large as 1/2 where all lie between two of them, such as those of a
    network that has hardly been trained, or logits, which are passed through sigmoid and crowd near 0 and 1. More
    thresholds make it smaller, also thresholds of one's own where the scores lie.

    *The exact area* needs all scores: ``nn.metrics.roc_auc(y, model.predict(x))``, and `average_precision` for
    precision over recall.

    *Where it is not defined* it is NaN: the ROC curve where all or none is true, precision over recall where none is.
    Keras gives 0 there, scikit-learn NaN with a warning. With `multi_label` such labels are left out of the mean, and
    it is NaN where that leaves none.

    References
    ----------
    Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006. DOI 10.1145/1143844.1143874.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.AUC()(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.4, 0.35, 0.8]))
    0.75

    All scores lie between two thresholds, so that it cannot tell them apart; the exact area can:

    >>> y, scores = xp.asarray([0, 0, 1, 1]), xp.asarray([0.5001, 0.5003, 0.5002, 0.5004])
    >>> nn.metrics.AUC()(y, scores), nn.metrics.roc_auc(y, scores)
    (0.5, 0.75)
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(num_thresholds, name, thresholds, multi_label)
        if curve not in ("ROC", "PR"):
            raise ValueError(f"The metric {self.name} expects curve to be 'ROC' or 'PR', got {curve!r}.")
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                f"The metric {self.name} expects summation_method to be 'interpolation', 'minoring' or 'majoring', got "
                f"{summation_method!r}."
            )
        self.curve = curve
        self.summation_method = summation_method

    def result(self, state: Tree) -> float:
        """Return the area so far, the mean over the labels for which it is defined, or nan where there are none."""
        hits, alarms, misses, passes = self._counts(state)
        defined = hits[0, :] != 0.0
        if self.curve == "ROC":
            defined = defined & (alarms[0, :] != 0.0)
        return _mean_of(self._areas(hits, alarms, misses, passes), defined)

    def _areas(self, hits: Any, alarms: Any, misses: Any, passes: Any) -> Any:
        """Return the area of each label."""
        xp = host().xp
        recall = ratio(hits, hits + misses, 0.0)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated_precision(hits, alarms, misses)
        if self.curve == "ROC":
            x, y = ratio(alarms, alarms + passes, 0.0), recall
        else:
            x, y = recall, ratio(hits, hits + alarms, 0.0)
        left, right = y[:-1, ...], y[1:, ...]
        heights = {
            "interpolation": (left + right) / 2.0,
            "minoring": xp.minimum(left, right),
            "majoring": xp.maximum(left, right),
        }[self.summation_method]
        return xp.sum((x[:-1, ...] - x[1:, ...]) * heights, axis=0)

    def error_bound(self, state: Tree) -> float:
        """Return how far the area under the ROC curve can be from that of all scores, by straight lines.

        It is nan where the area is.
        """
        xp = host().xp
        true, untrue = (xp.asarray(to_numpy(state[name])) for name in ("true", "untrue"))
        pairs = xp.sum(true, axis=0) * xp.sum(untrue, axis=0)
        return _mean_of(ratio(xp.sum(true * untrue, axis=0), 2.0 * pairs, 0.0), pairs != 0.0)


def _mean_of(values: Any, defined: Any) -> float:
    """Return the mean of the values that are defined, nan if none is."""
    xp = host().xp
    kept = values[defined]
    return float(xp.mean(kept)) if kept.shape[0] else math.nan


def _interpolated_precision(hits: Any, alarms: Any, misses: Any) -> Any:
    """Return the area under precision over recall, where hits and alarms grow in proportion between thresholds."""
    xp = host().xp
    said = hits + alarms
    found = hits[:-1, ...] - hits[1:, ...]
    slope = ratio(found, said[:-1, ...] - said[1:, ...], 0.0)
    intercept = hits[1:, ...] - slope * said[1:, ...]
    both = (said[:-1, ...] > 0.0) & (said[1:, ...] > 0.0)
    growth = xp.where(both, ratio(said[:-1, ...], said[1:, ...], 1.0), 1.0)
    area = slope * (found + intercept * xp.log(growth))
    return xp.sum(ratio(area, hits[1:, ...] + misses[1:, ...], 0.0), axis=0)


class _PointOnCurve(_Curve):
    """The best of one rate among the thresholds at which another reaches a value."""

    #: The name of the other rate.
    other = ""

    def __init__(self, wanted: float, num_thresholds: int, name: str | None) -> None:
        super().__init__(num_thresholds, name)
        if not 0.0 <= wanted <= 1.0:
            raise ValueError(f"The metric {self.name} expects {self.other} from 0 to 1, got {wanted!r}.")
        self._wanted = wanted

    #: Whether the rates need untrue samples, beside true ones.
    needs_untrue = False

    def rates(self, hits: Any, alarms: Any, misses: Any, passes: Any) -> tuple[Any, Any]:
        """Return the rate that is measured and the one that is to reach a value, at each threshold."""
        raise NotImplementedError(f"{type(self).__name__} must define rates.")

    def result(self, state: Tree) -> float:
        """Return the best rate so far, 0 where no threshold reaches the value, nan where a class was not seen."""
        hits, alarms, misses, passes = self._counts(state)
        seen = float(hits[0, 0]), float(alarms[0, 0]) if self.needs_untrue else 1.0
        if any(weight == 0.0 or math.isnan(weight) for weight in seen):
            return math.nan
        measured, other = self.rates(hits, alarms, misses, passes)
        xp = host().xp
        return float(xp.max(xp.where(other >= self._wanted, measured, 0.0)))


class PrecisionAtRecall(_PointOnCurve):
    """The best precision among the thresholds at which the recall is at least so much.

    Parameters
    ----------
    recall : float
        How much, from 0 to 1.
    num_thresholds : int
        How many thresholds part the probabilities evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.PrecisionAtRecall(0.5)(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.6, 0.5, 0.8]))
    1.0
    """

    other = "recall"

    def __init__(self, recall: float, num_thresholds: int = 200, name: str | None = None) -> None:
        super().__init__(recall, num_thresholds, name)

    def rates(self, hits: Any, alarms: Any, misses: Any, passes: Any) -> tuple[Any, Any]:
        """Return precision and recall."""
        return ratio(hits, hits + alarms, 0.0), ratio(hits, hits + misses, 0.0)


class RecallAtPrecision(_PointOnCurve):
    """The best recall among the thresholds at which the precision is at least so much.

    Parameters
    ----------
    precision : float
        How much, from 0 to 1.
    num_thresholds : int
        How many thresholds part the probabilities evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.RecallAtPrecision(0.5)(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.6, 0.5, 0.8]))
    1.0
    """

    other = "precision"

    def __init__(self, precision: float, num_thresholds: int = 200, name: str | None = None) -> None:
        super().__init__(precision, num_thresholds, name)

    def rates(self, hits: Any, alarms: Any, misses: Any, passes: Any) -> tuple[Any, Any]:
        """Return recall and precision."""
        return ratio(hits, hits + misses, 0.0), ratio(hits, hits + alarms, 0.0)


class SensitivityAtSpecificity(_PointOnCurve):
    """The best sensitivity among the thresholds at which the specificity is at least so much.

    Parameters
    ----------
    specificity : float
        How much, from 0 to 1.
    num_thresholds : int
        How many thresholds part the probabilities evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.SensitivityAtSpecificity(0.5)(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.6, 0.5, 0.8]))
    1.0
    """

    other = "specificity"
    needs_untrue = True

    def __init__(self, specificity: float, num_thresholds: int = 200, name: str | None = None) -> None:
        super().__init__(specificity, num_thresholds, name)

    def rates(self, hits: Any, alarms: Any, misses: Any, passes: Any) -> tuple[Any, Any]:
        """Return sensitivity and specificity."""
        return ratio(hits, hits + misses, 0.0), ratio(passes, passes + alarms, 0.0)


class SpecificityAtSensitivity(_PointOnCurve):
    """The best specificity among the thresholds at which the sensitivity is at least so much.

    Parameters
    ----------
    sensitivity : float
        How much, from 0 to 1.
    num_thresholds : int
        How many thresholds part the probabilities evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.SpecificityAtSensitivity(0.5)(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.6, 0.5, 0.8]))
    1.0
    """

    other = "sensitivity"
    needs_untrue = True

    def __init__(self, sensitivity: float, num_thresholds: int = 200, name: str | None = None) -> None:
        super().__init__(sensitivity, num_thresholds, name)

    def rates(self, hits: Any, alarms: Any, misses: Any, passes: Any) -> tuple[Any, Any]:
        """Return specificity and sensitivity."""
        return ratio(passes, passes + alarms, 0.0), ratio(hits, hits + misses, 0.0)


def _ranked(y_true: Any, y_score: Any, sample_weight: Any | None) -> tuple[Any, Any, Any]:
    """Return scores in order, and the cumulated weight of true and untrue samples below each place."""
    xp = host().xp
    truth = xp.reshape(xp.asarray(to_numpy(plain(y_true))), (-1,)) > 0.5
    scores = xp.reshape(xp.astype(xp.asarray(to_numpy(plain(y_score))), xp.float64), (-1,))
    if truth.shape != scores.shape:
        raise ValueError(f"Expected one score for each target, got {scores.shape[0]} for {truth.shape[0]}.")
    if sample_weight is None:
        weights = xp.ones(scores.shape, dtype=xp.float64)
    else:
        weights = xp.reshape(xp.astype(xp.asarray(to_numpy(plain(sample_weight))), xp.float64), (-1,))
        if weights.shape != scores.shape:
            raise ValueError(
                f"Expected one weight for each score, got {weights.shape[0]} for {scores.shape[0]}."
            )
    if bool(xp.any(xp.isnan(scores) & (weights != 0.0))):
        weights = xp.full_like(weights, math.nan)
    order = xp.argsort(scores, stable=True)
    weights, truth = weights[order], truth[order]
    start = xp.zeros((1,))
    below = [
        xp.concat([start, xp.cumulative_sum(xp.where(truth == kind, weights, 0.0))]) for kind in (True, False)
    ]
    return scores[order], below[0], below[1]


def roc_auc(y_true: Any, y_score: Any, sample_weight: Any | None = None) -> float:
    r"""Exact area under the ROC curve: how often a true sample has a higher score than an untrue one.

    .. math:: \frac{\sum_{i, j} w_i w_j \left([s_i > s_j] + \tfrac12 [s_i = s_j]\right)}{\sum_{i, j} w_i w_j}

    over all true samples i and untrue samples j.

    Parameters
    ----------
    y_true : array of shape (n,)
        1 where true, else 0.
    y_score : array of shape (n,)
        Scores of any scale: probabilities or logits.
    sample_weight : array of shape (n,), optional
        The weight of each sample.

    Returns
    -------
    float
        NaN where all or none is true, or a score is NaN.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.roc_auc(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    xp = host().xp
    scores, true, untrue = _ranked(y_true, y_score, sample_weight)
    low, high = (xp.searchsorted(scores, scores, side=side) for side in ("left", "right"))
    wins = xp.sum((true[1:] - true[:-1]) * (untrue[low] + untrue[high]) / 2.0)
    pairs = float(true[-1] * untrue[-1])
    return float(wins) / pairs if pairs else math.nan


def average_precision(y_true: Any, y_score: Any, sample_weight: Any | None = None) -> float:
    r"""Exact average precision: the mean, over true samples, of the precision at their score.

    .. math:: \frac{1}{\sum_i w_i} \sum_i w_i P(s_i), \quad P(s) = \frac{\text{true with a score of at least } s}
              {\text{all with a score of at least } s}

    over all true samples i: the area under precision over recall by steps.

    Parameters
    ----------
    y_true : array of shape (n,)
        1 where true, else 0.
    y_score : array of shape (n,)
        Scores of any scale: probabilities or logits.
    sample_weight : array of shape (n,), optional
        The weight of each sample.

    Returns
    -------
    float
        NaN where none is true, or a score is NaN.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.average_precision(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.4, 0.35, 0.8])), 6)
    0.833333
    """
    xp = host().xp
    scores, true, untrue = _ranked(y_true, y_score, sample_weight)
    low = xp.searchsorted(scores, scores, side="left")
    hits, alarms = true[-1] - true[low], untrue[-1] - untrue[low]
    total = float(true[-1])
    return (
        float(xp.sum((true[1:] - true[:-1]) * ratio(hits, hits + alarms, 0.0))) / total if total else math.nan
    )
