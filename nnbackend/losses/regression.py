"""Losses of numbers: how far outputs are from targets of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from nnbackend.functional.losses import crossentropy, embeddings, errors
from nnbackend.losses.base import Loss, as_columns, check_same_shape
from nnbackend.typing import Scalar, Shape

__all__ = [
    "CosineSimilarity",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
]


class _OfNumbers(Loss):
    """What losses share that compare outputs with targets of the same shape, by a rule for each row."""

    #: The rule that gives the loss of each row, from outputs and targets.
    rule: ClassVar[Callable[..., Any]]

    def options(self) -> Mapping[str, Scalar]:
        """Return the rule's static arguments."""
        return {}

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        return type(self).rule(as_columns(y_pred), as_columns(y_true), **self.options())

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(self.label, y, output_shape)


class MeanSquaredError(_OfNumbers):
    r"""Mean squared error over the last axis,  :math:`\frac1k \sum_j (\hat y_j - y_j)^2`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.MeanSquaredError()(xp.asarray([[0.0], [2.0]]), xp.asarray([[1.0], [2.0]])))
    0.5
    """

    rule = errors.mean_squared_error


class MeanAbsoluteError(_OfNumbers):
    r"""Mean absolute error over the last axis,  :math:`\frac1k \sum_j |\hat y_j - y_j|`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.MeanAbsoluteError()(xp.asarray([[0.0], [2.0]]), xp.asarray([[1.0], [2.0]])))
    0.5
    """

    rule = errors.mean_absolute_error


class MeanAbsolutePercentageError(_OfNumbers):
    r"""Mean error over the last axis in percent of the target,  :math:`\frac{100}k \sum_j |\hat y_j - y_j| / |y_j|`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.MeanAbsolutePercentageError()(xp.asarray([[2.0], [4.0]]), xp.asarray([[1.0], [3.0]])))
    37.5
    """

    rule = errors.mean_absolute_percentage_error


class MeanSquaredLogarithmicError(_OfNumbers):
    r"""Mean squared difference of logarithms over the last axis,
    :math:`\frac1k \sum_j (\ln(1 + \hat y_j) - \ln(1 + y_j))^2`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.MeanSquaredLogarithmicError()(xp.asarray([[1.0]]), xp.asarray([[0.0]]))), 6)
    0.480453
    """

    rule = errors.mean_squared_logarithmic_error


class LogCosh(_OfNumbers):
    r"""Logarithm of the hyperbolic cosine of the error, mean over the last axis,
    :math:`\frac1k \sum_j \ln \cosh(\hat y_j - y_j)`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.LogCosh()(xp.asarray([[0.0]]), xp.asarray([[1.0]]))), 6)
    0.433781
    """

    rule = errors.log_cosh


class Poisson(_OfNumbers):
    r"""Likelihood of counts, mean over the last axis,  :math:`\frac1k \sum_j \hat y_j - y_j \ln \hat y_j`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.Poisson()(xp.asarray([[3.0]]), xp.asarray([[1.0]])))
    1.0
    """

    rule = errors.poisson


class KLDivergence(_OfNumbers):
    r"""Kullback-Leibler divergence of target probabilities from predicted ones,  :math:`\sum_j t_j \ln(t_j / p_j)`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.KLDivergence()(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.5, 0.5]]))), 6)
    0.693147
    """

    rule = crossentropy.kl_divergence


class Huber(_OfNumbers):
    r"""Squared error near the target and linear beyond, mean over the last axis:  :math:`\frac12 d^2` for
    :math:`|d| \le \delta`, else  :math:`\delta (|d| - \frac12 \delta)`.

    Parameters
    ----------
    delta : float
        Where the square ends.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.Huber()(xp.asarray([[0.0], [0.0]]), xp.asarray([[1.0], [3.0]])))
    1.5
    """

    rule = errors.huber

    def __init__(
        self, delta: float = 1.0, name: str | None = None, reduction: str | None = "mean_with_sample_weight"
    ) -> None:
        super().__init__(name, reduction)
        if not delta > 0.0:
            raise ValueError(f"{self.label} expects delta above 0, got {delta!r}.")
        self.delta = delta

    def options(self) -> Mapping[str, Scalar]:
        """Return delta."""
        return {"delta": self.delta}


class CosineSimilarity(_OfNumbers):
    r"""Negative cosine of the angle between outputs and targets, over the last axis.

    Notes
    -----
    From -1 for the same direction to 1 for the opposite one, as in Keras; 0 where a row is all zeros.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.CosineSimilarity()(xp.asarray([[3.0, 4.0]]), xp.asarray([[6.0, 8.0]])))
    -1.0
    """

    rule = embeddings.cosine_similarity

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the negative cosine of each row."""
        return -super().per_sample(y_true, y_pred)
