r"""Losses: how far predictions are from targets, one number for each sample.

Predictions come first, targets second. The last axis holds the classes or outputs and is reduced; means over
samples are left to the caller. Losses of probabilities bound them below by :data:`EPSILON`, so that a logarithm stays
finite; their derivative is that of the bounded expression, zero below the bound. Losses of logits need no bound, are
exact for logits of any size and never lose their gradient: prefer them.
"""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.elementwise import Elementwise, elementwise, rowwise
from nnbackend.functional._rules import floating_like, like, unbroadcast
from nnbackend.functional.activations import _log_softmax, _sigmoid, _softmax
from nnbackend.typing import Array, Backward

__all__ = [
    "EPSILON",
    "absolute_error",
    "binary_crossentropy",
    "categorical_crossentropy",
    "mean_absolute_error",
    "mean_squared_error",
    "sigmoid_binary_crossentropy",
    "softmax_crossentropy",
    "sparse_categorical_crossentropy",
    "sparse_softmax_crossentropy",
    "squared_error",
]

#: The least probability that a loss takes the logarithm of.
EPSILON = 1e-7
_NAN = float("nan")


def _targets_like(name: str, predictions: Any, targets: Any) -> Any:
    """Check that targets have the shape of predictions, and give them their dtype."""
    if tuple(predictions.shape) != tuple(targets.shape) or predictions.ndim == 0:
        raise ValueError(
            f"{name} expects predictions and targets of one shape (..., k), got {tuple(predictions.shape)} and "
            f"{tuple(targets.shape)}."
        )
    return floating_like(targets, predictions)


def _labels_like(name: str, predictions: Any, labels: Any) -> tuple[Any, Any]:
    """Check labels; return them with a last axis of length one, and the numbers of the classes."""
    if predictions.ndim == 0 or tuple(labels.shape) != tuple(predictions.shape[:-1]):
        raise ValueError(
            f"{name} expects predictions of shape (..., k) and labels of shape (...), got {tuple(predictions.shape)} "
            f"and {tuple(labels.shape)}."
        )
    labels = plain(labels)
    if "float" in str(labels.dtype):
        raise TypeError(
            f"{name} expects integer labels, got {labels.dtype}. Cast them, or pass one-hot targets."
        )
    backend = backend_of(labels)
    xp = backend.xp
    with backend.scope():
        column = xp.expand_dims(xp.astype(labels, xp.int64), axis=-1)
        return column, xp.arange(predictions.shape[-1], dtype=xp.int64, device=backend.device(labels))


def _per_sample(column: Any) -> Any:
    """Drop the last axis, which a rowwise program has reduced to length one."""
    return namespace(column).reshape(column, tuple(column.shape[:-1]))


def _column(dy: Any) -> Any:
    return namespace(dy).expand_dims(dy, axis=-1)


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


def _error(
    value: Elementwise, slope: Elementwise, predictions: Array, targets: Array
) -> tuple[Array, Backward]:
    """Return an error of each element and its backward; `slope` is its derivative by the predictions, times dy."""
    t = floating_like(targets, predictions)
    first, second = unbroadcast(predictions), unbroadcast(targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dpredictions = slope(predictions, t, dy)
        return first(dpredictions) if needs[0] else None, second(-dpredictions) if needs[1] else None

    return value(predictions, t), backward


def _mean_error(
    name: str, value: Elementwise, slope: Elementwise, predictions: Array, targets: Array
) -> tuple[Array, Backward]:
    """Return the mean of an error over the last axis and its backward; `slope` is that of one element."""
    t = _targets_like(name, predictions, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dpredictions = slope(predictions, t, _column(dy) / predictions.shape[-1])
        return dpredictions if needs[0] else None, like(-dpredictions, targets) if needs[1] else None

    return _per_sample(value(predictions, t)), backward


@elementwise
def _squared_error(predictions: Array, targets: Array) -> Any:
    return namespace(predictions).square(predictions - targets)


@elementwise
def _squared_error_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return 2.0 * dy * (predictions - targets)


@differentiable
def squared_error(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Squared error:  :math:`e = (y - t)^2`, with :math:`e_y = 2(y - t)` and :math:`e_t = -e_y`.

    Predictions and targets broadcast; targets of any real dtype are cast to that of the predictions.
    """
    return _error(_squared_error, _squared_error_gradient, predictions, targets)


@elementwise
def _absolute_error(predictions: Array, targets: Array) -> Any:
    return namespace(predictions).abs(predictions - targets)


@elementwise
def _absolute_error_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return dy * namespace(dy).sign(predictions - targets)


@differentiable
def absolute_error(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Absolute error:  :math:`e = |y - t|`, with :math:`e_y = \operatorname{sign}(y - t)` and :math:`e_t = -e_y`.

    Predictions and targets broadcast; targets of any real dtype are cast to that of the predictions.
    """
    return _error(_absolute_error, _absolute_error_gradient, predictions, targets)


@rowwise
def _mean_squared_error(predictions: Array, targets: Array) -> Any:
    xp = namespace(predictions)
    return xp.mean(xp.square(predictions - targets), axis=-1, keepdims=True)


@differentiable
def mean_squared_error(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Mean over the last axis of the squared error.

    .. math:: L = \frac1k \sum_j (y_j - t_j)^2, \qquad \frac{\partial L}{\partial y_j} = \frac2k (y_j - t_j)
              = -\frac{\partial L}{\partial t_j}

    Parameters
    ----------
    predictions : array of shape (..., k)
        Predictions y; floating.
    targets : array of shape (..., k)
        Targets t; of any real dtype.

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
    >>> nn.functional.mean_squared_error(xp.asarray([[1.0, 2.0]]), xp.asarray([[1.0, 4.0]]))
    array([2.])
    """
    return _mean_error(
        "mean_squared_error", _mean_squared_error, _squared_error_gradient, predictions, targets
    )


@rowwise
def _mean_absolute_error(predictions: Array, targets: Array) -> Any:
    xp = namespace(predictions)
    return xp.mean(xp.abs(predictions - targets), axis=-1, keepdims=True)


@differentiable
def mean_absolute_error(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Mean over the last axis of the absolute error.

    .. math:: L = \frac1k \sum_j |y_j - t_j|, \qquad
              \frac{\partial L}{\partial y_j} = \frac1k \operatorname{sign}(y_j - t_j)
              = -\frac{\partial L}{\partial t_j}

    Parameters
    ----------
    predictions : array of shape (..., k)
        Predictions y; floating.
    targets : array of shape (..., k)
        Targets t; of any real dtype.

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
    >>> nn.functional.mean_absolute_error(xp.asarray([[1.0, 2.0]]), xp.asarray([[1.0, 4.0]]))
    array([1.])
    """
    return _mean_error(
        "mean_absolute_error", _mean_absolute_error, _absolute_error_gradient, predictions, targets
    )


# at t = 0 and z = 0 the bodies choose between expressions, so tensors take the rules
_softmax_crossentropy.is_value_of(lambda logits, targets: _column(softmax_crossentropy(logits, targets)))
_sigmoid_binary_crossentropy.is_value_of(
    lambda logits, targets: _column(sigmoid_binary_crossentropy(logits, targets))
)
