r"""Losses of embeddings and of margins between classes: what belongs together is near, the rest is not."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace, plain
from nnbackend.elementwise import rowwise
from nnbackend.functional.elementary import logaddexp, maximum, sqrt, square, where
from nnbackend.functional.linear import matmul
from nnbackend.functional.logic import any as any_of
from nnbackend.functional.losses._shared import (
    _column,
    _count_up,
    _per_sample,
    _targets_like,
    _whole_numbers,
)
from nnbackend.functional.reduction import logsumexp, mean
from nnbackend.functional.reduction import max as largest
from nnbackend.functional.reduction import min as smallest
from nnbackend.functional.reduction import sum as sum_over
from nnbackend.functional.rules import composed, like
from nnbackend.functional.shaping import expand_dims, matrix_transpose
from nnbackend.typing import Array, Backward

__all__ = ["categorical_hinge", "circle", "cosine_similarity", "hardest_triplet", "triplet"]

#: Farther than any distance, and yet far from overflow in float32.
_FAR = 1e30


@composed
def categorical_hinge(predictions: Array, targets: Array) -> Array:
    r"""Hinge loss of several classes: the true one shall lead by 1.

    .. math:: L = \max\left(1 + \max_j (1 - t_j) y_j - \sum_j t_j y_j,\ 0\right)

    Its derivatives are those of the rules that it is made of.

    Parameters
    ----------
    predictions : array of shape (..., k)
        Scores y, not probabilities; floating.
    targets : array of shape (..., k)
        One-hot rows t; of any real, integer or boolean dtype.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    As in Keras the true class takes part in the inner maximum with a score of 0.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.categorical_hinge(xp.asarray([[2.0, 0.5], [2.0, 0.5]]), xp.asarray([[1, 0], [0, 1]]))
    array([0. , 2.5])
    """
    t = _targets_like("categorical_hinge", predictions, targets)
    others = largest((1.0 - t) * predictions, axis=-1)
    return maximum(1.0 + others - sum_over(t * predictions, axis=-1), 0.0)


@rowwise
def _direction(x: Array) -> Any:
    """Return a row divided by its length, and one over the length; zeros for a row of zeros."""
    xp = namespace(x)
    size = xp.max(
        xp.abs(x), axis=-1, keepdims=True
    )  # squares of what is divided by it neither over- nor underflow
    scaled = x / xp.where(size == 0.0, 1.0, size)
    total = xp.sum(xp.square(scaled), axis=-1, keepdims=True)
    length = xp.sqrt(xp.where(size == 0.0, 1.0, total))
    return scaled / length, xp.where(size == 0.0, 0.0, 1.0 / (length * xp.where(size == 0.0, 1.0, size)))


@rowwise
def _cosine_similarity(predictions: Array, targets: Array) -> Any:
    y, t = _direction(predictions)[0], _direction(targets)[0]
    return namespace(predictions).sum(y * t, axis=-1, keepdims=True)


@rowwise
def _cosine_similarity_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    y, inverse = _direction(predictions)
    t, _ = _direction(targets)
    return dy * inverse * (t - y * namespace(dy).sum(y * t, axis=-1, keepdims=True))


@differentiable(wide=True)
def cosine_similarity(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Cosine of the angle between predictions and targets, over the last axis.

    .. math:: s = \hat y \cdot \hat t, \quad \hat y = \frac{y}{\|y\|}, \quad \hat t = \frac{t}{\|t\|}, \qquad
              \frac{\partial s}{\partial y} = \frac{\hat t - s\, \hat y}{\|y\|}, \quad
              \frac{\partial s}{\partial t} = \frac{\hat y - s\, \hat t}{\|t\|}

    Parameters
    ----------
    predictions : array of shape (..., k)
        Predictions y; floating.
    targets : array of shape (..., k)
        Targets t; of any real dtype.

    Returns
    -------
    array of shape (...)
        Between -1 and 1; 0, with derivatives of 0, where a row is all zeros.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Rows are scaled before they are squared, so lengths need no bound: rows of any size that a number can have are
    right. Keras bounds the lengths below by :math:`10^{-6}`, PyTorch by :math:`10^{-8}`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.cosine_similarity(
    ...     xp.asarray([[1.0, 0.0], [3.0, 4.0]]), xp.asarray([[0.0, 2.0], [3.0, 4.0]])
    ... )
    array([0., 1.])
    """
    t = _targets_like("cosine_similarity", predictions, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        column = _column(dy)
        return (
            _cosine_similarity_gradient(predictions, t, column) if needs[0] else None,
            like(_cosine_similarity_gradient(t, predictions, column), targets) if needs[1] else None,
        )

    return _per_sample(_cosine_similarity(predictions, t)), backward


def _distance(a: Any, b: Any) -> Any:
    """Return Euclidean distances over the last axis; where two points are one, the derivative is taken as 0."""
    return _root(sum_over(square(a - b), axis=-1))


def _root(squares: Any) -> Any:
    """Return square roots whose derivative at 0 is 0."""
    together = squares <= 0.0
    return where(together, 0.0, sqrt(where(together, 1.0, squares)))


@composed
def triplet(anchors: Array, positives: Array, negatives: Array, *, margin: float = 1.0) -> Array:
    r"""Triplet loss: an anchor is nearer to a sample of its class than to one of another, by a margin.

    .. math:: L = \max(\|a - p\| - \|a - n\| + m,\ 0)

    Its derivatives are those of the rules that it is made of; that of a distance of 0 is taken as 0.

    Parameters
    ----------
    anchors, positives, negatives : array of shape (..., k)
        Embeddings a, p of the same class, and n of another; floating.
    margin : float
        By how much.

    Returns
    -------
    array of shape (...)
        The loss of each triplet.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Schroff, Kalenichenko and Philbin, FaceNet, 2015. arXiv 1503.03832. There distances are squared.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> a, p, n = xp.asarray([[0.0, 0.0]]), xp.asarray([[0.0, 2.0]]), xp.asarray([[1.5, 0.0]])
    >>> nn.functional.triplet(a, p, n)
    array([1.5])
    """
    _targets_like("triplet", anchors, positives)
    _targets_like("triplet", anchors, negatives)
    return maximum(_distance(anchors, positives) - _distance(anchors, negatives) + margin, 0.0)


def _pairs(name: str, embeddings: Any, labels: Any, present: Any | None) -> tuple[Any, Any, Any]:
    """Return the embeddings that are there and, for each pair, whether it is of one class, and whether of two."""
    if embeddings.ndim != 2 or tuple(labels.shape) != tuple(embeddings.shape[:1]):
        raise ValueError(
            f"{name} expects embeddings of shape (n, k) and labels of shape (n,), got {tuple(embeddings.shape)} and "
            f"{tuple(labels.shape)}."
        )
    numbers = _whole_numbers(name, labels)
    places = _count_up(embeddings.shape[0], numbers)
    same = expand_dims(numbers, axis=1) == expand_dims(numbers, axis=0)
    itself = expand_dims(places, axis=1) == expand_dims(places, axis=0)
    if present is None:
        return embeddings, same & ~itself, ~same
    there = plain(present)
    if tuple(there.shape) != tuple(labels.shape) or "bool" not in str(there.dtype):
        raise ValueError(
            f"{name} expects present to be booleans of shape {tuple(labels.shape)}, got {there.dtype} of "
            f"{tuple(there.shape)}."
        )
    pair = expand_dims(there, axis=1) & expand_dims(there, axis=0)
    embeddings = where(expand_dims(there, axis=1), embeddings, 0.0)  # be they NaN: they reach no gradient
    return embeddings, same & ~itself & pair, ~same & pair


@composed
def hardest_triplet(
    embeddings: Array, labels: Array, present: Array | None = None, *, margin: float = 1.0
) -> Array:
    r"""Triplet loss of each sample of a batch with the farthest of its class and the nearest of the others.

    .. math:: L_i = \max\left(\max_{j: l_j = l_i} \|x_i - x_j\| - \min_{j: l_j \ne l_i} \|x_i - x_j\| + m,\ 0\right)

    Its derivatives are those of the rules that it is made of; that of a distance of 0 is taken as 0.

    Parameters
    ----------
    embeddings : array of shape (n, k)
        The batch x; floating.
    labels : integer array of shape (n,)
        The class l of each sample.
    present : boolean array of shape (n,), optional
        Which samples take part; the others have a loss of 0 and are compared with none. All without it.
    margin : float
        By how much the others shall be farther.

    Returns
    -------
    array of shape (n,)
        0 for a sample that is alone in its class, or all of whose batch is of its class.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the labels are floating.

    Notes
    -----
    Squared distances are :math:`\|x_i\|^2 + \|x_j\|^2 - 2 x_i \cdot x_j` with the mean of the batch taken off, so
    that the memory needed is n times n.

    References
    ----------
    Hermans, Beyer and Leibe, In defense of the triplet loss for person re-identification, 2017. arXiv 1703.07737.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x, labels = xp.asarray([[0.0], [2.0], [5.0]]), xp.asarray([0, 0, 1])
    >>> nn.functional.hardest_triplet(x, labels, margin=4.0)
    array([1., 3., 0.])
    """
    embeddings, positive, negative = _pairs("hardest_triplet", embeddings, labels, present)
    x = embeddings - mean(embeddings, axis=0, keepdims=True)
    squares = sum_over(square(x), axis=1)
    products = matmul(x, matrix_transpose(x))
    distances = _root(expand_dims(squares, axis=1) + expand_dims(squares, axis=0) - 2.0 * products)
    farthest = largest(where(positive, distances, 0.0), axis=1)
    nearest = smallest(where(negative, distances, _FAR), axis=1)
    both = any_of(positive, axis=1) & any_of(negative, axis=1)
    return where(both, maximum(farthest - nearest + margin, 0.0), 0.0)


@composed
def circle(
    embeddings: Array,
    labels: Array,
    present: Array | None = None,
    *,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Array:
    r"""Circle loss of each sample of a batch: similarities within classes and between them, each at its own pace.

    .. math:: L_i = \ln\left(1 + \sum_{j \in P_i} e^{-\gamma \max(m + d_{ij}, 0)(m - d_{ij})}
              \sum_{j \in N_i} e^{\gamma \max(1 + m - d_{ij}, 0)(1 - m - d_{ij})}\right), \quad
              d_{ij} = \max(1 - x_i \cdot x_j, 0)

    where :math:`P_i` are the other samples of its class and :math:`N_i` those of other classes. The derivatives are
    those of the rules that it is made of.

    Parameters
    ----------
    embeddings : array of shape (n, k)
        The batch x, rows of length 1; floating.
    labels : integer array of shape (n,)
        The class of each sample.
    present : boolean array of shape (n,), optional
        Which samples take part; the others have a loss of 0 and are compared with none. All without it.
    gamma : float
        The scale.
    margin : float
        How much m the similarities may miss 1 and 0.

    Returns
    -------
    array of shape (n,)
        0 for a sample that is alone in its class, or all of whose batch is of its class.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the labels are floating.

    Notes
    -----
    Keras takes the mean of a batch over the samples whose loss is not 0.

    References
    ----------
    Sun et al., Circle loss: a unified perspective of pair similarity optimization, 2020. arXiv 2002.10857.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x, labels = xp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), xp.asarray([0, 0, 1])
    >>> nn.functional.circle(x, labels, gamma=1.0).round(6)
    array([0.545893, 0.545893, 0.      ])
    """
    embeddings, positive, negative = _pairs("circle", embeddings, labels, present)
    d = maximum(1.0 - matmul(embeddings, matrix_transpose(embeddings)), 0.0)
    within = -gamma * maximum(margin + d, 0.0) * (margin - d)
    between = gamma * maximum(1.0 + margin - d, 0.0) * (1.0 - margin - d)
    total = logsumexp(where(positive, within, -_FAR), axis=1) + logsumexp(
        where(negative, between, -_FAR), axis=1
    )
    return logaddexp(total, 0.0 * total)
