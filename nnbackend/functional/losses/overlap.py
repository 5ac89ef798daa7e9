r"""Losses of overlap, for outputs that mark regions."""

from __future__ import annotations

from nnbackend.functional.losses._shared import EPSILON, _targets_like
from nnbackend.functional.reduction import sum as sum_over
from nnbackend.functional.rules import composed, normalize_axes
from nnbackend.typing import Array

__all__ = ["tversky"]


@composed
def tversky(
    predictions: Array,
    targets: Array,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    axis: int | tuple[int, ...] | None = None,
) -> Array:
    r"""One minus the Tversky index of predicted and true regions.

    .. math:: L = 1 - \frac{I}{I + \alpha F_p + \beta F_n + \epsilon}, \quad I = \sum p t, \quad
              F_p = \sum p (1 - t), \quad F_n = \sum (1 - p) t

    With :math:`\alpha = \beta = \tfrac12` it is the Dice loss :math:`1 - 2 I / (\sum p + \sum t)`, with
    :math:`\alpha = \beta = 1` the Jaccard loss. The derivatives are those of the rules that it is made of.

    Parameters
    ----------
    predictions : array of shape (n, ...)
        Probabilities p; floating.
    targets : array of shape (n, ...)
        The regions t, 0 and 1; of any real, integer or boolean dtype.
    alpha, beta : float
        How much false positives and false negatives weigh.
    axis : int or tuple of int, optional
        What to sum over; all but the first axis without it.

    Returns
    -------
    array of shape (n, ...)
        Without the axes that were summed over.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    :math:`\epsilon = 10^{-7}`. Keras sums over the batch as well unless it is told the axes, and its `alpha` weighs
    what the paper calls false negatives, its `beta` the false positives.

    References
    ----------
    Salehi, Erdogmus and Gholipour, Tversky loss function for image segmentation, 2017. arXiv 1706.05721.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.tversky(xp.asarray([[1.0, 1.0, 0.0]]), xp.asarray([[1, 0, 0]])).round(6)
    array([0.333333])
    """
    t = _targets_like("tversky", predictions, targets)
    axes = tuple(range(1, predictions.ndim)) if axis is None else normalize_axes(axis, predictions.ndim)
    if not axes:
        raise ValueError(f"tversky expects predictions of shape (n, ...), got {tuple(predictions.shape)}.")
    both = sum_over(predictions * t, axis=axes)
    false_positives = sum_over(predictions * (1.0 - t), axis=axes)
    false_negatives = sum_over((1.0 - predictions) * t, axis=axes)
    return 1.0 - both / (both + alpha * false_positives + beta * false_negatives + EPSILON)
