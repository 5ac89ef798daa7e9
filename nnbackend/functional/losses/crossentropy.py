r"""Cross-entropies and their kin: how probabilities, or the logits behind them, miss the classes.

Losses of probabilities bound them below by :data:`EPSILON`, so that a logarithm stays finite; their derivative is
that of the bounded expression, zero below the bound. Losses of logits need no bound, are exact for logits of any size
and never lose their gradient: prefer them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.functional.activations import _log_softmax, _sigmoid, _softmax, log_softmax, sigmoid
from nnbackend.functional.elementary import expm1, log, maximum, where
from nnbackend.functional.losses._shared import (
    EPSILON,
    _column,
    _labels_like,
    _per_sample,
    _targets_like,
    _vector,
)
from nnbackend.functional.reduction import mean
from nnbackend.functional.reduction import sum as sum_over
from nnbackend.functional.rules import composed, like
from nnbackend.typing import Array, Backward

__all__ = [
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "generalized_crossentropy",
    "kl_divergence",
    "negative_log_likelihood",
    "sigmoid_binary_crossentropy",
    "sigmoid_focal_crossentropy",
    "softmax_crossentropy",
    "softmax_focal_crossentropy",
    "sparse_categorical_crossentropy",
    "sparse_softmax_crossentropy",
]

_NAN = float("nan")
#: What keeps powers of zero, and their derivatives, finite: far below any float32 that matters.
_TINY = 1e-30


@rowwise
def _softmax_crossentropy(logits: Array, targets: Array) -> Any:
    xp = namespace(logits)
    z = logits - xp.max(logits, axis=-1, keepdims=True)
    surprise = xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True)) - z
    return xp.sum(targets * xp.where(targets == 0, 0.0, surprise), axis=-1, keepdims=True)  # 0 ln 0 = 0


@rowwise
def _softmax_crossentropy_gradient(logits: Array, targets: Array, dy: Array) -> Any:
    return dy * (_softmax(logits) * namespace(dy).sum(targets, axis=-1, keepdims=True) - targets)


@differentiable
def softmax_crossentropy(logits: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Cross-entropy of class probabilities, from logits.

    .. math:: L = -\sum_j t_j \ln p_j, \quad p = \operatorname{softmax}(z), \qquad
              \frac{\partial L}{\partial z_j} = p_j \sum_i t_i - t_j, \quad
              \frac{\partial L}{\partial t_j} = -\ln p_j

    Parameters
    ----------
    logits : array of shape (..., k)
        Predictions z before softmax; floating.
    targets : array of shape (..., k)
        Probabilities t, such as one-hot rows; of any real, integer or boolean dtype.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> logits, targets = xp.asarray([[1e4, 0.0], [1e4, 0.0]]), xp.asarray([[1, 0], [0, 1]])
    >>> nn.functional.softmax_crossentropy(logits, targets)
    array([    0., 10000.])
    """
    t = _targets_like("softmax_crossentropy", logits, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        column = _column(dy)
        return (
            _softmax_crossentropy_gradient(logits, t, column) if needs[0] else None,
            like(-column * _log_softmax(logits), targets) if needs[1] else None,
        )

    return _per_sample(_softmax_crossentropy(logits, t)), backward


@rowwise
def _sparse_softmax_crossentropy(logits: Array, labels: Array, classes: Array, *, count: int) -> Any:
    xp = namespace(logits)
    z = logits - xp.max(logits, axis=-1, keepdims=True)
    chosen = xp.sum(xp.where(classes == labels, z, 0.0), axis=-1, keepdims=True)
    loss = xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True)) - chosen
    return xp.where((labels >= 0) & (labels < count), loss, _NAN)


@rowwise
def _sparse_softmax_crossentropy_gradient(
    logits: Array, labels: Array, classes: Array, dy: Array, *, count: int
) -> Any:
    xp = namespace(dy)
    p = _softmax(logits)
    slope = dy * xp.where(classes == labels, p - 1.0, p)
    return xp.where((labels >= 0) & (labels < count), slope, _NAN)


@differentiable
def sparse_softmax_crossentropy(logits: Array, labels: Array) -> tuple[Array, Backward]:
    r"""Cross-entropy of integer labels, from logits.

    .. math:: L = -\ln p_l, \quad p = \operatorname{softmax}(z), \qquad
              \frac{\partial L}{\partial z_j} = p_j - [j = l]

    Parameters
    ----------
    logits : array of shape (..., k)
        Predictions z before softmax; floating.
    labels : integer array of shape (...)
        The true classes l, from 0 to k - 1.

    Returns
    -------
    array of shape (...)
        The loss of each sample; NaN, with a gradient of NaN, where a label is out of range.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the labels are floating.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.sparse_softmax_crossentropy(xp.asarray([[1e4, 0.0], [1e4, 0.0]]), xp.asarray([1, 2]))
    array([10000.,    nan])
    """
    column, classes = _labels_like("sparse_softmax_crossentropy", logits, labels)
    count = logits.shape[-1]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return _sparse_softmax_crossentropy_gradient(logits, column, classes, _column(dy), count=count), None

    return _per_sample(_sparse_softmax_crossentropy(logits, column, classes, count=count)), backward


@rowwise
def _categorical_crossentropy(probabilities: Array, targets: Array) -> Any:
    xp = namespace(probabilities)
    return xp.sum(-targets * xp.log(xp.maximum(probabilities, EPSILON)), axis=-1, keepdims=True)


@elementwise
def _categorical_crossentropy_gradient(probabilities: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return xp.where(probabilities < EPSILON, 0.0, -dy * targets / xp.maximum(probabilities, EPSILON))


@differentiable
def categorical_crossentropy(probabilities: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Cross-entropy of class probabilities.

    .. math:: L = -\sum_j t_j \ln \max(p_j, \epsilon), \qquad
              \frac{\partial L}{\partial p_j} = -\frac{t_j}{p_j} \text{ for } p_j \ge \epsilon, \text{ else } 0

    Parameters
    ----------
    probabilities : array of shape (..., k)
        Predictions p, such as the output of softmax; floating.
    targets : array of shape (..., k)
        Probabilities t, such as one-hot rows; of any real, integer or boolean dtype.

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
    :math:`\epsilon = 10^{-7}`. Keras also divides the probabilities by their sum, which softmax has done already.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.categorical_crossentropy(xp.asarray([[0.25, 0.75]]), xp.asarray([[0.0, 1.0]]))
    array([0.28768207])
    """
    t = _targets_like("categorical_crossentropy", probabilities, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        column = _column(dy)
        dprobabilities = dtargets = None
        if needs[0]:
            dprobabilities = _categorical_crossentropy_gradient(probabilities, t, column)
        if needs[1]:
            xp = namespace(column)
            dtargets = like(-column * xp.log(xp.maximum(probabilities, EPSILON)), targets)
        return dprobabilities, dtargets

    return _per_sample(_categorical_crossentropy(probabilities, t)), backward


@rowwise
def _sparse_categorical_crossentropy(
    probabilities: Array, labels: Array, classes: Array, *, count: int
) -> Any:
    xp = namespace(probabilities)
    bounded = xp.where(classes == labels, xp.maximum(probabilities, EPSILON), 1.0)
    loss = -xp.sum(xp.log(bounded), axis=-1, keepdims=True)
    return xp.where((labels >= 0) & (labels < count), loss, _NAN)


@elementwise
def _sparse_categorical_crossentropy_gradient(
    probabilities: Array, labels: Array, classes: Array, dy: Array, *, count: int
) -> Any:
    xp = namespace(dy)
    slope = -dy / xp.maximum(probabilities, EPSILON)
    slope = xp.where((classes != labels) | (probabilities < EPSILON), 0.0, slope)
    return xp.where((labels >= 0) & (labels < count), slope, _NAN)


@differentiable
def sparse_categorical_crossentropy(probabilities: Array, labels: Array) -> tuple[Array, Backward]:
    r"""Cross-entropy of integer labels.

    .. math:: L = -\ln \max(p_l, \epsilon), \qquad
              \frac{\partial L}{\partial p_j} = -\frac{[j = l]}{p_j} \text{ for } p_j \ge \epsilon, \text{ else } 0

    Parameters
    ----------
    probabilities : array of shape (..., k)
        Predictions p, such as the output of softmax; floating.
    labels : integer array of shape (...)
        The true classes l, from 0 to k - 1.

    Returns
    -------
    array of shape (...)
        The loss of each sample; NaN, with a gradient of NaN, where a label is out of range.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the labels are floating.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.sparse_categorical_crossentropy(xp.asarray([[0.25, 0.75]]), xp.asarray([1]))
    array([0.28768207])
    """
    column, classes = _labels_like("sparse_categorical_crossentropy", probabilities, labels)
    count = probabilities.shape[-1]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (
            _sparse_categorical_crossentropy_gradient(
                probabilities, column, classes, _column(dy), count=count
            ),
            None,
        )

    return _per_sample(
        _sparse_categorical_crossentropy(probabilities, column, classes, count=count)
    ), backward


@rowwise
def _binary_crossentropy(probabilities: Array, targets: Array) -> Any:
    xp = namespace(probabilities)
    p, q = xp.maximum(probabilities, EPSILON), xp.maximum(1.0 - probabilities, EPSILON)
    return -xp.mean(targets * xp.log(p) + (1.0 - targets) * xp.log(q), axis=-1, keepdims=True)


@elementwise
def _binary_crossentropy_gradient(probabilities: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    p, q = probabilities, 1.0 - probabilities
    yes = xp.where(p < EPSILON, 0.0, targets / xp.maximum(p, EPSILON))
    no = xp.where(q < EPSILON, 0.0, (1.0 - targets) / xp.maximum(q, EPSILON))
    return dy * (no - yes)


@differentiable
def binary_crossentropy(probabilities: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Cross-entropy of yes-or-no targets, the mean over the last axis.

    .. math:: L = -\frac1k \sum_j t_j \ln \max(p_j, \epsilon) + (1 - t_j) \ln \max(1 - p_j, \epsilon), \qquad
              \frac{\partial L}{\partial p_j} = \frac1k \left(\frac{1 - t_j}{1 - p_j} - \frac{t_j}{p_j}\right)

    with a quotient replaced by 0 where its denominator is below :math:`\epsilon`.

    Parameters
    ----------
    probabilities : array of shape (..., k)
        Predictions p, such as the output of sigmoid; floating.
    targets : array of shape (..., k)
        Probabilities t, mostly 0 and 1; of any real, integer or boolean dtype.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.binary_crossentropy(xp.asarray([[0.25], [0.75]]), xp.asarray([[0], [1]]))
    array([0.28768207, 0.28768207])
    """
    t = _targets_like("binary_crossentropy", probabilities, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        share = _column(dy) / probabilities.shape[-1]
        dprobabilities = dtargets = None
        if needs[0]:
            dprobabilities = _binary_crossentropy_gradient(probabilities, t, share)
        if needs[1]:
            xp = namespace(share)
            p, q = xp.maximum(probabilities, EPSILON), xp.maximum(1.0 - probabilities, EPSILON)
            dtargets = like(share * (xp.log(q) - xp.log(p)), targets)
        return dprobabilities, dtargets

    return _per_sample(_binary_crossentropy(probabilities, t)), backward


@rowwise
def _sigmoid_binary_crossentropy(logits: Array, targets: Array) -> Any:
    xp = namespace(logits)
    terms = xp.maximum(logits, 0.0) - logits * targets + xp.log1p(xp.exp(-xp.abs(logits)))
    return xp.mean(terms, axis=-1, keepdims=True)


@elementwise
def _sigmoid_binary_crossentropy_gradient(logits: Array, targets: Array, dy: Array) -> Any:
    return dy * (_sigmoid(logits) - targets)


@differentiable
def sigmoid_binary_crossentropy(logits: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Cross-entropy of yes-or-no targets from logits, the mean over the last axis.

    .. math:: L = \frac1k \sum_j \max(z_j, 0) - z_j t_j + \ln(1 + e^{-|z_j|}), \qquad
              \frac{\partial L}{\partial z_j} = \frac{\sigma(z_j) - t_j}{k}, \quad
              \frac{\partial L}{\partial t_j} = -\frac{z_j}{k}

    Parameters
    ----------
    logits : array of shape (..., k)
        Predictions z before sigmoid; floating.
    targets : array of shape (..., k)
        Probabilities t, mostly 0 and 1; of any real, integer or boolean dtype.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.sigmoid_binary_crossentropy(xp.asarray([[-1e4], [-1e4]]), xp.asarray([[0], [1]]))
    array([    0., 10000.])
    """
    t = _targets_like("sigmoid_binary_crossentropy", logits, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        share = _column(dy) / logits.shape[-1]
        return (
            _sigmoid_binary_crossentropy_gradient(logits, t, share) if needs[0] else None,
            like(-share * logits, targets) if needs[1] else None,
        )

    return _per_sample(_sigmoid_binary_crossentropy(logits, t)), backward


@rowwise
def _kl_divergence(probabilities: Array, targets: Array) -> Any:
    xp = namespace(probabilities)
    ratio = xp.where(targets > 0, targets, 1.0) / xp.maximum(probabilities, EPSILON)
    return xp.sum(xp.where(targets > 0, targets * xp.log(ratio), 0.0), axis=-1, keepdims=True)  # 0 ln 0 = 0


@elementwise
def _kl_divergence_target_gradient(probabilities: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return dy * (1.0 + xp.log(xp.maximum(targets, EPSILON) / xp.maximum(probabilities, EPSILON)))


@differentiable
def kl_divergence(probabilities: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Kullback-Leibler divergence of the targets' distribution from the predicted one.

    .. math:: L = \sum_j t_j \ln \frac{t_j}{\max(p_j, \epsilon)}, \qquad
              \frac{\partial L}{\partial p_j} = -\frac{t_j}{p_j} \text{ for } p_j \ge \epsilon, \text{ else } 0,
              \quad \frac{\partial L}{\partial t_j} = 1 + \ln \frac{\max(t_j, \epsilon)}{\max(p_j, \epsilon)}

    Parameters
    ----------
    probabilities : array of shape (..., k)
        Predictions p, such as the output of softmax; floating.
    targets : array of shape (..., k)
        Probabilities t; of any real, integer or boolean dtype.

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
    :math:`\epsilon = 10^{-7}`, and a target of 0 contributes nothing. Keras bounds the targets below as well.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.kl_divergence(xp.asarray([[0.5, 0.5]]), xp.asarray([[0.0, 1.0]]))
    array([0.69314718])
    """
    t = _targets_like("kl_divergence", probabilities, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        column = _column(dy)
        return (
            _categorical_crossentropy_gradient(probabilities, t, column) if needs[0] else None,
            like(_kl_divergence_target_gradient(probabilities, t, column), targets) if needs[1] else None,
        )

    return _per_sample(_kl_divergence(probabilities, t)), backward


@rowwise
def _negative_log_likelihood(log_probabilities: Array, labels: Array, classes: Array, *, count: int) -> Any:
    xp = namespace(log_probabilities)
    loss = -xp.sum(xp.where(classes == labels, log_probabilities, 0.0), axis=-1, keepdims=True)
    return xp.where((labels >= 0) & (labels < count), loss, _NAN)


@elementwise
def _negative_log_likelihood_gradient(labels: Array, classes: Array, dy: Array, *, count: int) -> Any:
    xp = namespace(dy)
    slope = xp.where(classes == labels, -dy, 0.0)
    return xp.where((labels >= 0) & (labels < count), slope, _NAN)


@differentiable
def negative_log_likelihood(log_probabilities: Array, labels: Array) -> tuple[Array, Backward]:
    r"""Negative logarithm of the probability of the label, where outputs are logarithms already.

    .. math:: L = -z_l, \qquad \frac{\partial L}{\partial z_j} = -[j = l]

    Parameters
    ----------
    log_probabilities : array of shape (..., k)
        Predictions z, such as the output of log_softmax; floating.
    labels : integer array of shape (...)
        The true classes l, from 0 to k - 1.

    Returns
    -------
    array of shape (...)
        The loss of each sample; NaN, with a gradient of NaN, where a label is out of range.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the labels are floating.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.negative_log_likelihood(xp.asarray([[-0.5, -1.0]]), xp.asarray([1]))
    array([1.])
    """
    column, classes = _labels_like("negative_log_likelihood", log_probabilities, labels)
    count = log_probabilities.shape[-1]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return _negative_log_likelihood_gradient(column, classes, _column(dy), count=count), None

    return _per_sample(_negative_log_likelihood(log_probabilities, column, classes, count=count)), backward


def _focal(surprise: Any, miss: Any, targets: Any, gamma: float, alpha: float | None) -> Any:
    r"""Return the mean of :math:`\alpha_t\, q^\gamma s` over the last axis, with surprise s and miss q."""
    terms = maximum(miss, _TINY) ** gamma * surprise
    if alpha is not None:
        terms = terms * (targets * alpha + (1.0 - targets) * (1.0 - alpha))
    return mean(terms, axis=-1)


@composed
def sigmoid_focal_crossentropy(
    logits: Array, targets: Array, *, gamma: float = 2.0, alpha: float | None = None
) -> Array:
    r"""Binary cross-entropy from logits that looks away from what is right already; the mean over the last axis.

    .. math:: L = \frac1k \sum_j \alpha_j\, q_j^\gamma\, b_j, \qquad q = t \sigma(-z) + (1 - t) \sigma(z), \quad
              b = -t \ln \sigma(z) - (1 - t) \ln \sigma(-z)

    where :math:`\alpha_j = t_j \alpha + (1 - t_j)(1 - \alpha)`, or 1 without `alpha`. The derivatives are those of
    the rules that it is made of, `sigmoid` and `sigmoid_binary_crossentropy`.

    Parameters
    ----------
    logits : array of shape (..., k)
        Predictions z before sigmoid; floating.
    targets : array of shape (..., k)
        Probabilities t, mostly 0 and 1; of any real, integer or boolean dtype.
    gamma : float
        How much it looks away; 0 gives the cross-entropy.
    alpha : float, optional
        The weight of targets of 1; those of 0 weigh 1 - alpha.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Lin et al., Focal loss for dense object detection, 2017. arXiv 1708.02002.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.sigmoid_focal_crossentropy(xp.asarray([[0.0], [1e4]]), xp.asarray([[1], [1]]))
    array([0.1732868, 0.       ])
    """
    t = _targets_like("sigmoid_focal_crossentropy", logits, targets)
    surprise = sigmoid_binary_crossentropy(_column(logits), _column(t))
    miss = t * sigmoid(-logits) + (1.0 - t) * sigmoid(logits)
    return _focal(surprise, miss, t, gamma, alpha)


@composed
def binary_focal_crossentropy(
    probabilities: Array, targets: Array, *, gamma: float = 2.0, alpha: float | None = None
) -> Array:
    r"""Binary cross-entropy that looks away from what is right already; the mean over the last axis.

    .. math:: L = \frac1k \sum_j \alpha_j\, q_j^\gamma\, b_j, \qquad q = t (1 - p) + (1 - t) p

    with the `binary_crossentropy` b of each number and :math:`\alpha` as in `sigmoid_focal_crossentropy`.

    Parameters
    ----------
    probabilities : array of shape (..., k)
        Predictions p, such as the output of sigmoid; floating.
    targets : array of shape (..., k)
        Probabilities t, mostly 0 and 1; of any real, integer or boolean dtype.
    gamma : float
        How much it looks away; 0 gives the cross-entropy.
    alpha : float, optional
        The weight of targets of 1; those of 0 weigh 1 - alpha.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.binary_focal_crossentropy(xp.asarray([[0.5]]), xp.asarray([[1]]))
    array([0.1732868])
    """
    t = _targets_like("binary_focal_crossentropy", probabilities, targets)
    surprise = binary_crossentropy(_column(probabilities), _column(t))
    miss = t * (1.0 - probabilities) + (1.0 - t) * probabilities
    return _focal(surprise, miss, t, gamma, alpha)


def _categorical_focal(log_p: Any, targets: Any, gamma: float, alpha: float | Sequence[float]) -> Any:
    """Return the focal loss of logarithms of probabilities, for targets of their shape."""
    surprise = where(targets == 0.0, 0.0, -log_p)  # 0 ln 0 = 0
    terms = maximum(-expm1(log_p), _TINY) ** gamma * targets * surprise
    if isinstance(alpha, (int, float)):
        return alpha * sum_over(terms, axis=-1)
    factors = tuple(float(number) for number in alpha)
    if len(factors) != log_p.shape[-1]:
        raise ValueError(f"Expected one alpha for each of {log_p.shape[-1]} classes, got {len(factors)}.")
    return sum_over(terms * _vector(factors, log_p), axis=-1)


@composed
def softmax_focal_crossentropy(
    logits: Array, targets: Array, *, gamma: float = 2.0, alpha: float | Sequence[float] = 0.25
) -> Array:
    r"""Cross-entropy from logits that looks away from what is right already.

    .. math:: L = -\sum_j \alpha_j (1 - p_j)^\gamma\, t_j \ln p_j, \quad p = \operatorname{softmax}(z)

    The derivatives are those of the rules that it is made of.

    Parameters
    ----------
    logits : array of shape (..., k)
        Predictions z before softmax; floating.
    targets : array of shape (..., k)
        Probabilities t, such as one-hot rows; of any real, integer or boolean dtype.
    gamma : float
        How much it looks away; with 0 and an alpha of 1 it is the cross-entropy.
    alpha : float or sequence of float
        The weight of all classes, or one for each.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ, or there is not one alpha for each class.

    References
    ----------
    Lin et al., Focal loss for dense object detection, 2017. arXiv 1708.02002.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> logits, targets = xp.asarray([[0.0, 0.0], [1e4, 0.0]]), xp.asarray([[0, 1], [0, 1]])
    >>> nn.functional.softmax_focal_crossentropy(logits, targets, alpha=1.0)
    array([1.73286795e-01, 1.00000000e+04])
    """
    t = _targets_like("softmax_focal_crossentropy", logits, targets)
    return _categorical_focal(log_softmax(logits), t, gamma, alpha)


@composed
def categorical_focal_crossentropy(
    probabilities: Array, targets: Array, *, gamma: float = 2.0, alpha: float | Sequence[float] = 0.25
) -> Array:
    r"""Cross-entropy that looks away from what is right already.

    .. math:: L = -\sum_j \alpha_j (1 - p_j)^\gamma\, t_j \ln \max(p_j, \epsilon)

    Parameters
    ----------
    probabilities : array of shape (..., k)
        Predictions p, such as the output of softmax; floating.
    targets : array of shape (..., k)
        Probabilities t, such as one-hot rows; of any real, integer or boolean dtype.
    gamma : float
        How much it looks away; with 0 and an alpha of 1 it is the cross-entropy.
    alpha : float or sequence of float
        The weight of all classes, or one for each.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ, or there is not one alpha for each class.

    Notes
    -----
    Keras also divides the probabilities by their sum, which softmax has done already.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.categorical_focal_crossentropy(
    ...     xp.asarray([[0.5, 0.5]]), xp.asarray([[0, 1]]), alpha=1.0
    ... )
    array([0.1732868])
    """
    t = _targets_like("categorical_focal_crossentropy", probabilities, targets)
    return _categorical_focal(log(maximum(probabilities, EPSILON)), t, gamma, alpha)


@composed
def generalized_crossentropy(crossentropy: Array, *, q: float = 0.5) -> Array:
    r"""Bound a cross-entropy so that wrong labels cost no more than 1/q.

    .. math:: L_q = \frac{1 - p^q}{q} = -\frac{\operatorname{expm1}(-q L)}{q}, \qquad
              \frac{\partial L_q}{\partial L} = e^{-q L}

    where :math:`L = -\ln p` is the cross-entropy of the label. For q towards 0 it is L itself; for q = 1 it is 1 - p,
    half the absolute error.

    Parameters
    ----------
    crossentropy : array of any shape
        Cross-entropies L of whole-number labels.
    q : float
        Between 0 and 1, 0 not included.

    Returns
    -------
    array of the shape of `crossentropy`
        Between 0 and 1/q.

    Raises
    ------
    ValueError
        If `q` is out of range.

    References
    ----------
    Zhang and Sabuncu, Generalized cross entropy loss for training deep neural networks with noisy labels, 2018. arXiv
    1805.07836.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> logits, labels = xp.asarray([[0.0, 0.0], [0.0, 1e4]]), xp.asarray([0, 0])
    >>> nn.functional.generalized_crossentropy(nn.functional.sparse_softmax_crossentropy(logits, labels))
    array([0.58578644, 2.        ])
    """
    if not 0.0 < q <= 1.0:
        raise ValueError(f"generalized_crossentropy expects q above 0 and at most 1, got {q!r}.")
    return expm1(-q * crossentropy) / -q


# at t = 0 and z = 0 the bodies choose between expressions, so tensors take the rules
_softmax_crossentropy.is_value_of(lambda logits, targets: _column(softmax_crossentropy(logits, targets)))
_sigmoid_binary_crossentropy.is_value_of(
    lambda logits, targets: _column(sigmoid_binary_crossentropy(logits, targets))
)
_kl_divergence.is_value_of(lambda probabilities, targets: _column(kl_divergence(probabilities, targets)))
