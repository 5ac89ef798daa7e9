"""Losses of outputs as a whole: regions and sequences."""

from __future__ import annotations

from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.losses.base import Loss, check_same_shape
from nnbackend.losses.classification import _Crossentropy
from nnbackend.typing import Shape

__all__ = ["CTC", "Dice", "Tversky"]

_MEAN = "mean_with_sample_weight"


class Tversky(Loss):
    r"""One minus the Tversky index of predicted and true regions,
    :math:`1 - I / (I + \alpha F_p + \beta F_n)`  with  :math:`I = \sum p t`.

    Parameters
    ----------
    alpha, beta : float
        How much false positives and false negatives weigh.
    axis : int or tuple of int, optional
        What to sum over; all axes but that of the samples without it. With the last axis left out there is a loss
        for each class, of which the mean is taken.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    Outputs are probabilities. There is one index for each sample, its sums over all other axes, classes among them,
    and the loss of a batch is the mean over samples: each counts alike, however large its regions, and sample weights
    apply. Keras's ``Tversky()`` has one index for the whole batch, ``axis=None`` there meaning all axes: large regions
    count more, and sample weights cannot apply. ``axis=(1, 2)`` means the same here and there, an index for each sample
    and class of images; the axes of Keras's default, the batch among them, are ``axis=(0, 1, ..., d)`` here. Keras's
    `alpha` weighs what the paper calls false negatives, its `beta` the false positives.

    References
    ----------
    Salehi, Erdogmus and Gholipour, Tversky loss function for image segmentation, 2017. arXiv 1706.05721.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.Tversky(alpha=1.0, beta=1.0)
    >>> round(float(loss(xp.asarray([[1.0, 0.0, 0.0]]), xp.asarray([[1.0, 1.0, 0.0]]))), 6)
    0.5
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        axis: int | tuple[int, ...] | None = None,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(name, reduction)
        self.alpha = alpha
        self.beta = beta
        self.axis = axis

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, or of each class of each sample."""
        return functional.tversky(y_pred, y_true, alpha=self.alpha, beta=self.beta, axis=self.axis)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(self.label, y, output_shape)


class Dice(Tversky):
    r"""Dice loss of predicted and true regions,  :math:`1 - 2 \sum p t / (\sum p + \sum t)`.

    Parameters
    ----------
    axis : int or tuple of int, optional
        What to sum over; all axes but that of the samples without it. With the last axis left out there is a loss
        for each class, of which the mean is taken.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    Outputs are probabilities. There is one score for each sample, its sums over all other axes, classes among them,
    and the loss of a batch is the mean over samples: each counts alike, however large its regions, and sample weights
    apply. Keras's ``Dice()`` has one score for the whole batch, ``axis=None`` there meaning all axes: large regions
    count more, and sample weights cannot apply. ``axis=(1, 2)`` means the same here and there, a score for each sample
    and class of images; Keras's default is ``axis=(0, 1, 2, 3)`` here.

    References
    ----------
    Milletari, Navab and Ahmadi, V-Net, 2016. arXiv 1606.04797. There the terms below are squared.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.Dice()(xp.asarray([[1.0, 0.0, 0.0]]), xp.asarray([[1.0, 1.0, 0.0]]))), 6)
    0.333333
    """

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = None,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(axis=axis, name=name, reduction=reduction)


class CTC(_Crossentropy):  # numpydoc ignore=PR02
    r"""Connectionist temporal classification: label sequences that are shorter than the outputs and not aligned.

    Outputs are of shape (n, t, k), the blank among the k classes; targets are whole-number labels of shape (n, m),
    padded at the end with the blank. The formula stands at `functional.ctc`.

    Parameters
    ----------
    blank : int
        The class that stands for no label, and pads targets; -1 for the last.
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    A sample weight of shape (n, t), such as an output's mask, gives the length of each sample's outputs: how many
    steps weigh more than 0, those at the end being padding; the sample weighs as much as its heaviest step. A sample
    whose labels do not fit into its steps has an infinite loss, with a gradient of zero. Keras takes logits, and 0 as
    the blank and the padding.

    References
    ----------
    Graves et al., Connectionist temporal classification, 2006. DOI 10.1145/1143844.1143891.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.CTC()(xp.asarray([[1, 0]]), xp.zeros((1, 2, 3)))), 6)
    1.098612
    """

    def __init__(
        self,
        blank: int = 0,
        from_logits: bool | None = None,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, name, reduction)
        self.blank = blank

    def _log_probabilities(self, y_pred: Any) -> Any:
        logits = self.logits(y_pred)
        if logits is not None:
            return functional.log_softmax(logits)
        return functional.log(functional.maximum(y_pred, functional.EPSILON))

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        return functional.ctc(self._log_probabilities(y_pred), plain(y_true), blank=self.blank)

    def weighted_values(self, y_true: Any, y_pred: Any, weights: Any | None) -> tuple[Any, Any | None]:
        """Return the losses and their weights; weights of steps say how long the outputs are."""
        if weights is None or len(weights.shape) < 2:
            return self.per_sample(y_true, y_pred), weights
        xp = namespace(weights)
        lengths = xp.sum(xp.astype(weights > 0, xp.int64), axis=1)
        values = functional.ctc(self._log_probabilities(y_pred), plain(y_true), lengths, blank=self.blank)
        return values, self.weights(y_true, weights)

    def weights(self, y_true: Any, weights: Any | None) -> Any | None:
        """Return the weight of each sample, that of its heaviest step."""
        if weights is None or len(weights.shape) < 2:
            return weights
        return namespace(weights).max(weights, axis=1)

    def cast_targets(self, y: Any, like: Any) -> Any:
        """Return labels of shape (n, m)."""
        xp = namespace(y)
        return xp.astype(y, xp.int64) if "float" in str(y.dtype) else y

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse labels of the wrong shape, out of range, or too many for the steps of the outputs."""
        if len(output_shape) != 2 or len(y.shape) != 2:
            raise ValueError(
                f"{self.label} expects outputs of shape (n, t, k) and labels of shape (n, m), got outputs of "
                f"{shown(output_shape)} and targets of {tuple(y.shape)}."
            )
        times, classes = output_shape
        if not -classes <= self.blank < classes:
            raise ValueError(
                f"{self.label} expects the blank to be one of the {classes} classes, got {self.blank}."
            )
        array = plain(y)
        backend = backend_of(array)
        if 0 in array.shape:
            return
        with backend.scope():
            xp = backend.xp
            labels = xp.astype(array, xp.int64)
            low, high = int(xp.min(labels)), int(xp.max(labels))
            most = int(xp.max(xp.sum(xp.astype(labels != self.blank % classes, xp.int64), axis=1)))
        if low < 0 or high >= classes:
            raise ValueError(
                f"{self.label} expects labels from 0 to {classes - 1}, got labels from {low} to {high}. Pad with the "
                f"blank, {self.blank % classes}."
            )
        if most > times:
            raise ValueError(
                f"{self.label} expects no more labels than the outputs have steps, {times}, got {most}. Make the "
                "outputs longer, or the label sequences shorter."
            )
