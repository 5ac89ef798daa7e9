"""Metrics of numbers: errors, explained variance, and losses as metrics."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nnbackend import functional, losses
from nnbackend.backend import Backend, host, is_array, namespace, to_numpy
from nnbackend.config import snake_case
from nnbackend.losses.base import Loss, as_columns, check_same_shape, match_targets
from nnbackend.metrics.base import Logits, LossMetric, MeanMetric, Metric, row_weights, where_known
from nnbackend.typing import Shape, Tree

__all__ = [
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
]


class _OfLoss(LossMetric):
    """A loss as a metric, under its own name."""

    #: The loss.
    made_of: ClassVar[type[Loss]]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(self.made_of(), name or snake_case(type(self).__name__))


class MeanSquaredError(_OfLoss):
    r"""Mean squared error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanSquaredError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    2.0
    """

    made_of = losses.MeanSquaredError


class MeanAbsoluteError(_OfLoss):
    r"""Mean absolute error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanAbsoluteError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    1.0
    """

    made_of = losses.MeanAbsoluteError


class MeanAbsolutePercentageError(_OfLoss):
    r"""Mean absolute error in percent of the target.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanAbsolutePercentageError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    50.0
    """

    made_of = losses.MeanAbsolutePercentageError


class MeanSquaredLogarithmicError(_OfLoss):
    r"""Mean squared difference of logarithms,  :math:`(\ln(1 + \hat y) - \ln(1 + y))^2`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.MeanSquaredLogarithmicError()(xp.asarray([[1.0]]), xp.asarray([[0.0]])), 6)
    0.480453
    """

    made_of = losses.MeanSquaredLogarithmicError


class LogCoshError(_OfLoss):
    r"""Mean logarithm of the hyperbolic cosine of the error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.LogCoshError()(xp.asarray([[0.0]]), xp.asarray([[1.0]])), 6)
    0.433781
    """

    made_of = losses.LogCosh


class Poisson(_OfLoss):
    r"""Mean likelihood of counts,  :math:`\hat y - y \ln \hat y`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Poisson()(xp.asarray([[3.0]]), xp.asarray([[1.0]]))
    1.0
    """

    made_of = losses.Poisson


class KLDivergence(_OfLoss):
    r"""Mean Kullback-Leibler divergence of target probabilities from predicted ones.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.KLDivergence()(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.5, 0.5]])), 6)
    0.693147
    """

    made_of = losses.KLDivergence


class Hinge(_OfLoss):
    r"""Mean hinge loss, of targets -1 and 1 or 0 and 1.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Hinge()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.5], [1.0]]))
    1.25
    """

    made_of = losses.Hinge


class SquaredHinge(_OfLoss):
    r"""Mean squared hinge loss, of targets -1 and 1 or 0 and 1.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.SquaredHinge()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.5], [1.0]]))
    2.125
    """

    made_of = losses.SquaredHinge


class CategoricalHinge(_OfLoss):
    r"""Mean hinge loss of several classes, of one-hot targets.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.CategoricalHinge()(xp.asarray([[0.0, 1.0]]), xp.asarray([[2.0, 0.5]]))
    2.5
    """

    made_of = losses.CategoricalHinge


class BinaryCrossentropy(LossMetric):
    r"""Mean cross-entropy of yes-or-no targets.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it as the loss of the training takes them, and
        probabilities where there is none.
    label_smoothing : float
        The share of each target that is spread evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.BinaryCrossentropy()(xp.asarray([[1.0]]), xp.asarray([[0.5]])), 6)
    0.693147
    """

    def __init__(
        self,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
    ) -> None:
        loss = losses.BinaryCrossentropy(from_logits, label_smoothing=label_smoothing)
        super().__init__(loss, name)


class CategoricalCrossentropy(LossMetric):
    r"""Mean cross-entropy of one-hot targets or target probabilities.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it as the loss of the training takes them, and
        probabilities where there is none.
    label_smoothing : float
        The share of each target that is spread evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.CategoricalCrossentropy()(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.5, 0.5]])), 6)
    0.693147
    """

    def __init__(
        self,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
    ) -> None:
        loss = losses.CategoricalCrossentropy(from_logits, label_smoothing=label_smoothing)
        super().__init__(loss, name)


class SparseCategoricalCrossentropy(LossMetric):
    r"""Mean cross-entropy of whole-number labels.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it as the loss of the training takes them, and
        probabilities where there is none.
    ignore_class : int, optional
        Targets with this label do not count.
    label_smoothing : float
        The share of each target that is spread evenly.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.SparseCategoricalCrossentropy()(xp.asarray([1]), xp.asarray([[0.5, 0.5]])), 6)
    0.693147
    """

    def __init__(
        self,
        from_logits: bool | None = None,
        ignore_class: int | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
    ) -> None:
        loss = losses.SparseCategoricalCrossentropy(
            from_logits, ignore_class, label_smoothing=label_smoothing
        )
        super().__init__(loss, name)


class Perplexity(LossMetric):
    r"""Exponential of the mean cross-entropy,  :math:`e^{-\frac1n \sum_i \ln p_i}`: among how many it is unsure.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it as the loss of the training takes them, and
        probabilities where there is none.
    ignore_class : int, optional
        Targets with this label do not count, such as padding.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.Perplexity()(xp.asarray([1, 0]), xp.asarray([[0.5, 0.5], [0.5, 0.5]])), 6)
    2.0
    """

    def __init__(
        self, from_logits: bool | None = None, ignore_class: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(
            losses.SparseCategoricalCrossentropy(from_logits, ignore_class), name or "perplexity"
        )

    def result(self, state: Tree) -> float:
        """Return the perplexity so far, or nan before any sample."""
        entropy: float = super().result(state)
        return math.exp(entropy) if not entropy > _LARGEST_EXPONENT else math.inf


#: Above it e^x is no float64.
_LARGEST_EXPONENT = 709.0


class RootMeanSquaredError(MeanSquaredError):
    r"""Root of the mean squared error of all numbers.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.RootMeanSquaredError()(xp.asarray([[1.0], [2.0], [3.0], [4.0]]), xp.zeros((4, 1))) ** 2
    7.5
    """

    def result(self, state: Tree) -> float:
        """Return the root so far, or nan before any sample."""
        return math.sqrt(super().result(state))


class CosineSimilarity(MeanMetric):
    r"""Mean cosine of the angle between outputs and targets, over the last axis.

    Notes
    -----
    1 for the same direction: the loss of this name is its negative, as in Keras. It is 0 where a row is all zeros.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.CosineSimilarity()(xp.asarray([[3.0, 4.0]]), xp.asarray([[6.0, 8.0]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return the cosine of each row."""
        return functional.cosine_similarity(as_columns(y_pred), as_columns(match_targets(y_true, y_pred)))

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(f"The metric {self.name}", y, output_shape)


class RegressionAccuracy(MeanMetric):
    r"""Share of outputs that are within a given distance of the target,  :math:`|\hat y - y| < \delta`.

    Parameters
    ----------
    precision : float
        The distance :math:`\delta`; see `of`.
    name : str, optional
        Its name in tables.

    Notes
    -----
    That of the book: Kinsley and Kukieła, Neural Networks from Scratch in Python, 2020, chapter 17, where the
    distance is a 250th of the standard deviation of the training targets.

    Examples
    --------
    >>> import nnbackend as nn
    >>> y, outputs = [[0.0], [1.0], [2.0]], [[0.001], [1.001], [2.5]]
    >>> xp = nn.get_backend("numpy").xp
    >>> metric = nn.metrics.RegressionAccuracy.of(y)
    >>> round(metric(xp.asarray(y), xp.asarray(outputs)), 6)
    0.666667
    """

    def __init__(self, precision: float, name: str | None = None) -> None:
        super().__init__(name)
        if not precision > 0.0:
            raise ValueError(f"The metric {self.name} expects a precision above 0, got {precision!r}.")
        self.precision = float(precision)

    @classmethod
    def of(cls, y: Any, share: float = 1 / 250, name: str | None = None) -> RegressionAccuracy:
        """Return the metric whose precision is a share of the standard deviation of these training targets."""
        xp = host().xp
        targets = host().from_host(to_numpy(y) if is_array(y) else y, "float64")
        return cls(float(xp.std(targets)) * share, name)

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where an output is near enough."""
        xp = namespace(y_pred)
        near = xp.abs(y_pred - match_targets(y_true, y_pred)) < self.precision
        return where_known(xp.astype(near, xp.float64), y_pred)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(f"The metric {self.name}", y, output_shape)


class R2Score(Metric):
    r"""Coefficient of determination,
    :math:`R^2 = 1 - \frac{\sum_i w_i (y_i - \hat y_i)^2}{\sum_i w_i (y_i - \bar y)^2}`.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average"} or None
        What becomes of several outputs: their mean, their mean weighted by the variance of the targets, or None: an
        array with one for each.
    num_regressors : int
        With p above 0 the adjusted score,  :math:`1 - (1 - R^2) \frac{n - 1}{n - p - 1}`  of n samples.
    name : str, optional
        Its name in tables.

    Notes
    -----
    Targets that do not vary give 1 where all outputs are right, else 0, as in scikit-learn. The mean of the targets
    and the sum of their squared distances from it are carried on from batch to batch by Chan's update, so that
    nothing cancels where the mean is far from 0.

    References
    ----------
    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.R2Score()(xp.asarray([[1.0], [2.0], [3.0]]), xp.asarray([[1.0], [2.0], [4.0]]))
    0.5
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                f"The metric {self.name} expects class_aggregation to be 'uniform_average', "
                f"'variance_weighted_average' or None, got {class_aggregation!r}."
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self._columns: int | None = None

    def build(self, output_shape: Shape) -> None:
        """Take note of how many outputs there are."""
        self._columns = output_shape[-1] if output_shape else 1

    def init(self, backend: Backend) -> Tree:
        """Return the state before any sample."""
        if self._columns is None:
            raise ValueError(f"The metric {self.name} needs build(output_shape) before init.")
        zeros = host().xp.zeros((self._columns,))
        return {
            "weight": backend.from_host(0.0, "float64"),
            "mean": backend.from_host(zeros, "float64"),
            "spread": backend.from_host(zeros, "float64"),
            "residual": backend.from_host(zeros, "float64"),
            "count": backend.from_host(0.0, "float64"),
        }

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Add the batch."""
        xp = namespace(y_pred)
        outputs = as_columns(y_pred)
        steps, columns = tuple(outputs.shape[:-1]), outputs.shape[-1]
        targets = xp.astype(as_columns(match_targets(y_true, y_pred)), xp.float64)
        targets = xp.reshape(targets, (-1, columns))
        outputs = xp.reshape(xp.astype(outputs, xp.float64), (-1, columns))
        weights = xp.expand_dims(row_weights(steps, weight, y_pred), axis=1)
        targets, outputs = (xp.where(weights == 0.0, 0.0, values) for values in (targets, outputs))
        batch = xp.sum(weights)
        share = xp.where(batch > 0.0, batch, 1.0)
        mean = xp.sum(weights * targets, axis=0) / share
        spread = xp.sum(weights * xp.square(targets - mean), axis=0)
        total = state["weight"] + batch
        part = batch / xp.where(total > 0.0, total, 1.0)
        step = mean - state["mean"]
        return {
            "weight": total,
            "mean": state["mean"] + step * part,
            "spread": state["spread"] + spread + xp.square(step) * part * state["weight"],
            "residual": state["residual"] + xp.sum(weights * xp.square(targets - outputs), axis=0),
            "count": state["count"] + xp.sum(xp.astype(weights > 0.0, xp.float64)),
        }

    def result(self, state: Tree) -> Any:
        """Return the score so far, or nan before any sample."""
        xp = host().xp
        residual, spread, count = (to_numpy(state[name]) for name in ("residual", "spread", "count"))
        if float(count) == 0.0:
            return math.nan
        constant = spread == 0.0
        score = 1.0 - residual / xp.where(constant, 1.0, spread)
        score = xp.where(constant, xp.where(residual == 0.0, 1.0, 0.0), score)
        if self.class_aggregation == "uniform_average":
            score = xp.mean(score)
        elif self.class_aggregation is not None:
            total = float(xp.sum(spread))
            score = xp.sum(score * spread) / total if total else xp.mean(score)
        freedom = float(count) - self.num_regressors - 1.0
        if self.num_regressors and freedom > 0.0:
            score = 1.0 - (1.0 - score) * (float(count) - 1.0) / freedom
        return score if self.class_aggregation is None else float(score)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(f"The metric {self.name}", y, output_shape)
