"""Losses of margins: hinges, and embeddings of which pairs are near or far."""

from __future__ import annotations

from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.backend import namespace, plain
from nnbackend.functional.losses import errors
from nnbackend.losses.base import Loss, check_classes, check_same_shape
from nnbackend.losses.regression import _OfNumbers
from nnbackend.typing import Shape

__all__ = ["CategoricalHinge", "Circle", "Contrastive", "Hinge", "SquaredHinge", "Triplet"]

_MEAN = "mean_with_sample_weight"


class Hinge(_OfNumbers):
    r"""Hinge loss, mean over the last axis,  :math:`\frac1k \sum_j \max(1 - y_j \hat y_j, 0)`.

    Notes
    -----
    Targets are -1 and 1; 0 is taken for -1, so that 0 and 1 serve as well. Outputs are scores without a bound.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.Hinge()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.5], [1.0]])))
    1.25
    """

    rule = errors.hinge

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        return super().per_sample(
            functional.where(y_true == 0, functional.full_like(y_true, -1), y_true), y_pred
        )


class SquaredHinge(Hinge):
    r"""Squared hinge loss, mean over the last axis,  :math:`\frac1k \sum_j \max(1 - y_j \hat y_j, 0)^2`.

    Notes
    -----
    Targets are -1 and 1; 0 is taken for -1, so that 0 and 1 serve as well. Outputs are scores without a bound.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.SquaredHinge()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.5], [1.0]])))
    2.125
    """

    rule = errors.squared_hinge


class CategoricalHinge(Loss):
    r"""Hinge loss of several classes,  :math:`\max(1 + \max_j (1 - t_j) \hat y_j - \sum_j t_j \hat y_j, 0)`.

    Notes
    -----
    Targets are one-hot; outputs are scores without a bound.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.CategoricalHinge()(xp.asarray([[0.0, 1.0]]), xp.asarray([[2.0, 0.5]])))
    2.5
    """

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        return functional.categorical_hinge(y_pred, y_true)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one row per output."""
        check_classes(self.label, output_shape, "hinge")
        check_same_shape(self.label, y, output_shape)


class Contrastive(_OfNumbers):
    r"""Contrastive loss of pairs, mean over the last axis,  :math:`t d^2 + (1 - t) \max(m - d, 0)^2`.

    Outputs are distances d, targets 1 for a pair of one class and 0 for others.

    Parameters
    ----------
    margin : float
        From which distance m on pairs of two classes cost nothing.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    References
    ----------
    Hadsell, Chopra and LeCun, Dimensionality reduction by learning an invariant mapping, 2006. DOI
    10.1109/CVPR.2006.100.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.Contrastive()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.5], [0.5]])))
    0.25
    """

    rule = errors.contrastive

    def __init__(self, margin: float = 1.0, name: str | None = None, reduction: str | None = _MEAN) -> None:
        super().__init__(name, reduction)
        self.margin = margin

    def options(self) -> dict[str, float]:
        """Return the margin."""
        return {"margin": self.margin}


class _OfEmbeddings(Loss):
    """What losses share that compare the samples of a batch with each other, by their labels."""

    def among(self, embeddings: Any, labels: Any, present: Any | None) -> Any:
        """Return the loss of each sample of a batch, compared with those that are present."""
        raise NotImplementedError(f"{type(self).__name__} must define among(embeddings, labels, present).")

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        return self.among(y_pred, plain(y_true), None)

    def weighted_values(self, y_true: Any, y_pred: Any, weights: Any | None) -> tuple[Any, Any | None]:
        """Return the losses and their weights; samples of weight 0 are compared with none."""
        weights = self.weights(y_true, weights)
        if weights is None or tuple(weights.shape) != tuple(y_pred.shape[:1]):
            return self.per_sample(y_true, y_pred), weights
        return self.among(y_pred, plain(y_true), plain(weights) != 0.0), weights

    def cast_targets(self, y: Any, like: Any) -> Any:
        """Return labels of shape (n,)."""
        if len(y.shape) == 2 and y.shape[-1] == 1:
            y = namespace(y).squeeze(y, axis=-1)
        xp = namespace(y)
        return xp.astype(y, xp.int64) if "float" in str(y.dtype) else y

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse what is not one label for one row of outputs."""
        if len(output_shape) != 1 or tuple(y.shape[1:]) not in ((), (1,)):
            raise ValueError(
                f"{self.label} expects outputs of shape (n, k), an embedding of each sample, and labels of shape (n,), "
                f"got outputs of {shown(output_shape)} and targets of {tuple(y.shape)}."
            )


class Triplet(_OfEmbeddings):
    r"""Triplet loss of each sample with the farthest of its class and the nearest of the others in the batch.

    :math:`L_i = \max(\max_{l_j = l_i} \|x_i - x_j\| - \min_{l_j \ne l_i} \|x_i - x_j\| + m, 0)`. Outputs are
    embeddings x, targets the whole-number class l of each. For triplets of one's own there is `functional.triplet`.

    Parameters
    ----------
    margin : float
        By how much m the others shall be farther.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    Samples that are alone in their class have a loss of 0: batches should hold several of each class. A sample of
    weight 0 is as if it were not there: no other is compared with it.

    References
    ----------
    Hermans, Beyer and Leibe, In defense of the triplet loss for person re-identification, 2017. arXiv 1703.07737.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x, labels = xp.asarray([[0.0], [2.0], [5.0], [7.0]]), xp.asarray([0, 0, 1, 1])
    >>> float(nn.losses.Triplet(margin=2.0)(labels, x))
    0.5
    """

    def __init__(self, margin: float = 1.0, name: str | None = None, reduction: str | None = _MEAN) -> None:
        super().__init__(name, reduction)
        self.margin = margin

    def among(self, embeddings: Any, labels: Any, present: Any | None) -> Any:
        """Return the loss of each sample."""
        return functional.hardest_triplet(embeddings, labels, present, margin=self.margin)


class Circle(_OfEmbeddings):
    r"""Circle loss of each sample of a batch: similarities within classes and between them, each at its own pace.

    Outputs are embeddings of length 1 (the last layer normalises them), targets the whole-number class of each. The
    formula stands at `functional.circle`.

    Parameters
    ----------
    gamma : float
        The scale.
    margin : float
        How much the similarities may miss 1 and 0.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    A sample of weight 0 is as if it were not there: no other is compared with it.

    References
    ----------
    Sun et al., Circle loss: a unified perspective of pair similarity optimization, 2020. arXiv 2002.10857.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x, labels = xp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), xp.asarray([0, 0, 1])
    >>> round(float(nn.losses.Circle(gamma=1.0)(labels, x)), 6)
    0.363929
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(name, reduction)
        self.gamma = gamma
        self.margin = margin

    def among(self, embeddings: Any, labels: Any, present: Any | None) -> Any:
        """Return the loss of each sample."""
        return functional.circle(embeddings, labels, present, gamma=self.gamma, margin=self.margin)
