r"""Errors of single numbers: squared, absolute, relative, and those between them; means over the last axis.

An error is written once, for one number; its mean over the last axis and its derivatives are made of that.
"""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import Rule, differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import Elementwise, elementwise, rowwise
from nnbackend.functional.losses._shared import EPSILON, _column, _per_sample, _targets_like
from nnbackend.functional.rules import floating_like, like, unbroadcast
from nnbackend.typing import Array, Backward

__all__ = [
    "absolute_error",
    "contrastive",
    "hinge",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "squared_error",
    "squared_hinge",
]

_LN_2 = math.log(2.0)


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


def _mean(terms: Any) -> Any:
    return namespace(terms).mean(terms, axis=-1, keepdims=True)


def _mean_error(
    name: str,
    value: Elementwise,
    slope: Elementwise,
    predictions: Array,
    targets: Array,
    target_slope: Elementwise | None = None,
    **static: Any,
) -> tuple[Array, Backward]:
    """Return the mean of an error over the last axis and its backward.

    The slopes are the derivatives of one element's error, by prediction and by target, times dy; an error of the
    difference alone needs the first only.
    """
    t = _targets_like(name, predictions, targets)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        share = _column(dy) / predictions.shape[-1]
        dpredictions: Any = None
        dtargets: Any = None
        if needs[0] or target_slope is None:
            dpredictions = slope(predictions, t, share, **static)
        if needs[1]:
            dt = -dpredictions if target_slope is None else target_slope(predictions, t, share, **static)
            dtargets = like(dt, targets)
        return dpredictions if needs[0] else None, dtargets

    return _per_sample(value(predictions, t, **static)), backward


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

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.squared_error(xp.asarray([1.0, 2.0]), xp.asarray([1.0, 5.0]))
    array([0., 9.])
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

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.absolute_error(xp.asarray([1.0, 2.0]), xp.asarray([1.0, 5.0]))
    array([0., 3.])
    """
    return _error(_absolute_error, _absolute_error_gradient, predictions, targets)


@rowwise
def _mean_squared_error(predictions: Array, targets: Array) -> Any:
    return _mean(_squared_error(predictions, targets))


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
    return _mean(_absolute_error(predictions, targets))


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


@elementwise
def _percentage_error(predictions: Array, targets: Array) -> Any:
    xp = namespace(predictions)
    return 100.0 * xp.abs(predictions - targets) / xp.maximum(xp.abs(targets), EPSILON)


@elementwise
def _percentage_error_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return 100.0 * dy * xp.sign(predictions - targets) / xp.maximum(xp.abs(targets), EPSILON)


@elementwise
def _percentage_error_target_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    size = xp.maximum(xp.abs(targets), EPSILON)
    by_size = xp.where(size > EPSILON, xp.abs(predictions - targets) * xp.sign(targets) / size, 0.0)
    return -100.0 * dy * (xp.sign(predictions - targets) + by_size) / size


@rowwise
def _mean_absolute_percentage_error(predictions: Array, targets: Array) -> Any:
    return _mean(_percentage_error(predictions, targets))


@differentiable
def mean_absolute_percentage_error(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Mean over the last axis of the absolute error in percent of the target.

    .. math:: L = \frac{100}{k} \sum_j \frac{|y_j - t_j|}{\max(|t_j|, \epsilon)}, \qquad
              \frac{\partial L}{\partial y_j} = \frac{100}{k}
              \frac{\operatorname{sign}(y_j - t_j)}{\max(|t_j|, \epsilon)}

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

    Notes
    -----
    :math:`\epsilon = 10^{-7}`, as in Keras. scikit-learn gives a share, not percent.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.mean_absolute_percentage_error(xp.asarray([[1.0, 3.0]]), xp.asarray([[2.0, 4.0]]))
    array([37.5])
    """
    return _mean_error(
        "mean_absolute_percentage_error",
        _mean_absolute_percentage_error,
        _percentage_error_gradient,
        predictions,
        targets,
        _percentage_error_target_gradient,
    )


@elementwise
def _logarithmic_difference(predictions: Array, targets: Array) -> Any:
    xp = namespace(predictions)
    return xp.log1p(xp.maximum(predictions, 0.0)) - xp.log1p(xp.maximum(targets, 0.0))


@elementwise
def _squared_logarithmic_error_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    slope = 2.0 * dy * _logarithmic_difference(predictions, targets) / (1.0 + xp.maximum(predictions, 0.0))
    return xp.where(predictions < 0, 0.0, slope)


@elementwise
def _squared_logarithmic_error_target_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return _squared_logarithmic_error_gradient(targets, predictions, dy)


@rowwise
def _mean_squared_logarithmic_error(predictions: Array, targets: Array) -> Any:
    return _mean(namespace(predictions).square(_logarithmic_difference(predictions, targets)))


@differentiable
def mean_squared_logarithmic_error(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Mean over the last axis of the squared difference of logarithms, for numbers that grow by factors.

    .. math:: L = \frac1k \sum_j d_j^2, \quad d_j = \ln(1 + \max(y_j, 0)) - \ln(1 + \max(t_j, 0)), \qquad
              \frac{\partial L}{\partial y_j} = \frac2k \frac{d_j}{1 + y_j} \text{ for } y_j \ge 0,
              \text{ else } 0

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

    Notes
    -----
    Keras bounds y and t at :math:`10^{-7}` instead of 0; scikit-learn takes negative numbers above -1 as they are.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.mean_squared_logarithmic_error(xp.asarray([[0.0]]), xp.asarray([[1.0]]))
    array([0.48045301])
    """
    return _mean_error(
        "mean_squared_logarithmic_error",
        _mean_squared_logarithmic_error,
        _squared_logarithmic_error_gradient,
        predictions,
        targets,
        _squared_logarithmic_error_target_gradient,
    )


@elementwise
def _huber_error(predictions: Array, targets: Array, *, delta: float) -> Any:
    xp = namespace(predictions)
    size = xp.abs(predictions - targets)
    inner = xp.minimum(size, delta)  # no square of what is large
    return inner * (size - 0.5 * inner)


@elementwise
def _huber_gradient(predictions: Array, targets: Array, dy: Array, *, delta: float) -> Any:
    xp = namespace(dy)
    return dy * xp.maximum(xp.minimum(predictions - targets, delta), -delta)


@rowwise
def _huber(predictions: Array, targets: Array, *, delta: float) -> Any:
    return _mean(_huber_error(predictions, targets, delta=delta))


@differentiable
def huber(predictions: Array, targets: Array, *, delta: float = 1.0) -> tuple[Array, Backward]:
    r"""Huber loss, squared near the target and linear beyond; the mean over the last axis.

    .. math:: L = \frac1k \sum_j m_j \left(|d_j| - \tfrac12 m_j\right), \quad d_j = y_j - t_j, \quad
              m_j = \min(|d_j|, \delta), \qquad
              \frac{\partial L}{\partial y_j} = \frac1k \max(\min(d_j, \delta), -\delta)

    Parameters
    ----------
    predictions : array of shape (..., k)
        Predictions y; floating.
    targets : array of shape (..., k)
        Targets t; of any real dtype.
    delta : float
        Where the square ends.

    Returns
    -------
    array of shape (...)
        The loss of each sample.

    Raises
    ------
    ValueError
        If the shapes differ, or delta is not positive.

    References
    ----------
    Huber, Robust estimation of a location parameter, 1964. DOI 10.1214/aoms/1177703732.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.huber(xp.asarray([[0.5], [3.0]]), xp.asarray([[0.0], [0.0]]))
    array([0.125, 2.5  ])
    """
    if not delta > 0.0:
        raise ValueError(f"huber expects delta above 0, got {delta!r}.")
    return _mean_error("huber", _huber, _huber_gradient, predictions, targets, delta=float(delta))


@elementwise
def _log_cosh_error(predictions: Array, targets: Array) -> Any:
    xp = namespace(predictions)
    size = xp.abs(predictions - targets)
    near = xp.log1p(2.0 * xp.square(xp.sinh(0.5 * xp.minimum(size, 1.0))))
    return xp.where(size < 1.0, near, size + xp.log1p(xp.exp(-2.0 * size)) - _LN_2)


@elementwise
def _log_cosh_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return dy * namespace(dy).tanh(predictions - targets)


@rowwise
def _log_cosh(predictions: Array, targets: Array) -> Any:
    return _mean(_log_cosh_error(predictions, targets))


@differentiable
def log_cosh(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Logarithm of the hyperbolic cosine of the difference; the mean over the last axis.

    .. math:: L = \frac1k \sum_j \ln \cosh(y_j - t_j), \qquad
              \frac{\partial L}{\partial y_j} = \frac1k \tanh(y_j - t_j)

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

    Notes
    -----
    With d = y - t it is :math:`\ln(1 + 2 \sinh^2(d/2))` for \|d\| < 1, which keeps the digits of small results, and
    :math:`|d| + \ln(1 + e^{-2|d|}) - \ln 2` beyond, which does not overflow.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.log_cosh(xp.asarray([[1e-8], [1e4]]), xp.asarray([[0.0], [0.0]]))
    array([5.00000000e-17, 9.99930685e+03])
    """
    return _mean_error("log_cosh", _log_cosh, _log_cosh_gradient, predictions, targets)


@elementwise
def _poisson_error(predictions: Array, targets: Array) -> Any:
    xp = namespace(predictions)
    return predictions - targets * xp.log(xp.maximum(predictions, EPSILON))


@elementwise
def _poisson_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return dy * (1.0 - xp.where(predictions < EPSILON, 0.0, targets / xp.maximum(predictions, EPSILON)))


@elementwise
def _poisson_target_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return -dy * xp.log(xp.maximum(predictions, EPSILON))


@rowwise
def _poisson(predictions: Array, targets: Array) -> Any:
    return _mean(_poisson_error(predictions, targets))


@differentiable
def poisson(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Negative log-likelihood of counts, up to a constant; the mean over the last axis.

    .. math:: L = \frac1k \sum_j y_j - t_j \ln \max(y_j, \epsilon), \qquad
              \frac{\partial L}{\partial y_j} = \frac1k \left(1 - \frac{t_j}{y_j}\right),

    with the quotient replaced by 0 where y is below :math:`\epsilon`.

    Parameters
    ----------
    predictions : array of shape (..., k)
        Expected counts y; floating.
    targets : array of shape (..., k)
        Counts t; of any real dtype.

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
    :math:`\epsilon = 10^{-7}`. Keras and PyTorch add it to y, within the logarithm.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.poisson(xp.asarray([[1.0, 2.0]]), xp.asarray([[3, 0]]))
    array([1.5])
    """
    return _mean_error("poisson", _poisson, _poisson_gradient, predictions, targets, _poisson_target_gradient)


@elementwise
def _hinge_error(predictions: Array, targets: Array) -> Any:
    return namespace(predictions).maximum(1.0 - targets * predictions, 0.0)


@elementwise
def _hinge_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return namespace(dy).where(targets * predictions < 1.0, -dy * targets, 0.0)


@elementwise
def _hinge_target_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return _hinge_gradient(targets, predictions, dy)


@rowwise
def _hinge(predictions: Array, targets: Array) -> Any:
    return _mean(_hinge_error(predictions, targets))


@differentiable
def hinge(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Hinge loss of a margin classifier; the mean over the last axis.

    .. math:: L = \frac1k \sum_j \max(1 - t_j y_j, 0), \qquad
              \frac{\partial L}{\partial y_j} = -\frac{t_j}{k} \text{ for } t_j y_j < 1, \text{ else } 0

    Parameters
    ----------
    predictions : array of shape (..., k)
        Scores y, not probabilities; floating.
    targets : array of shape (..., k)
        -1 or 1; of any real dtype.

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
    >>> nn.functional.hinge(xp.asarray([[0.5], [2.0], [2.0]]), xp.asarray([[1], [1], [-1]]))
    array([0.5, 0. , 3. ])
    """
    return _mean_error("hinge", _hinge, _hinge_gradient, predictions, targets, _hinge_target_gradient)


@elementwise
def _squared_hinge_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return -2.0 * dy * targets * _hinge_error(predictions, targets)


@elementwise
def _squared_hinge_target_gradient(predictions: Array, targets: Array, dy: Array) -> Any:
    return _squared_hinge_gradient(targets, predictions, dy)


@rowwise
def _squared_hinge(predictions: Array, targets: Array) -> Any:
    return _mean(namespace(predictions).square(_hinge_error(predictions, targets)))


@differentiable
def squared_hinge(predictions: Array, targets: Array) -> tuple[Array, Backward]:
    r"""Squared hinge loss; the mean over the last axis.

    .. math:: L = \frac1k \sum_j \max(1 - t_j y_j, 0)^2, \qquad
              \frac{\partial L}{\partial y_j} = -\frac{2 t_j}{k} \max(1 - t_j y_j, 0)

    Parameters
    ----------
    predictions : array of shape (..., k)
        Scores y, not probabilities; floating.
    targets : array of shape (..., k)
        -1 or 1; of any real dtype.

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
    >>> nn.functional.squared_hinge(xp.asarray([[0.5], [2.0], [2.0]]), xp.asarray([[1], [1], [-1]]))
    array([0.25, 0.  , 9.  ])
    """
    return _mean_error(
        "squared_hinge",
        _squared_hinge,
        _squared_hinge_gradient,
        predictions,
        targets,
        _squared_hinge_target_gradient,
    )


@elementwise
def _contrastive_error(distances: Array, targets: Array, *, margin: float) -> Any:
    xp = namespace(distances)
    near = xp.maximum(margin - distances, 0.0)
    return targets * xp.square(distances) + (1.0 - targets) * xp.square(near)


@elementwise
def _contrastive_gradient(distances: Array, targets: Array, dy: Array, *, margin: float) -> Any:
    near = namespace(dy).maximum(margin - distances, 0.0)
    return 2.0 * dy * (targets * distances - (1.0 - targets) * near)


@elementwise
def _contrastive_target_gradient(distances: Array, targets: Array, dy: Array, *, margin: float) -> Any:
    xp = namespace(dy)
    return dy * (xp.square(distances) - xp.square(xp.maximum(margin - distances, 0.0)))


@rowwise
def _contrastive(distances: Array, targets: Array, *, margin: float) -> Any:
    return _mean(_contrastive_error(distances, targets, margin=margin))


@differentiable
def contrastive(distances: Array, targets: Array, *, margin: float = 1.0) -> tuple[Array, Backward]:
    r"""Contrastive loss of pairs: equal ones are pulled together, others pushed apart up to a margin.

    .. math:: L = \frac1k \sum_j t_j d_j^2 + (1 - t_j) \max(m - d_j, 0)^2, \qquad
              \frac{\partial L}{\partial d_j} = \frac2k \left(t_j d_j - (1 - t_j) \max(m - d_j, 0)\right)

    Parameters
    ----------
    distances : array of shape (..., k)
        The distance d of each pair, zero or more; floating. Mostly k is 1.
    targets : array of shape (..., k)
        1 for a pair of one class, 0 for others; of any real, integer or boolean dtype.
    margin : float
        From which distance m on pairs of two classes cost nothing.

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
    Hadsell, Chopra and LeCun, Dimensionality reduction by learning an invariant mapping, 2006. DOI
    10.1109/CVPR.2006.100. There Y = 1 - t, and each term has a factor 1/2.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.contrastive(xp.asarray([[0.5], [0.5], [2.0]]), xp.asarray([[1], [0], [0]]))
    array([0.25, 0.25, 0.  ])
    """
    return _mean_error(
        "contrastive",
        _contrastive,
        _contrastive_gradient,
        distances,
        targets,
        _contrastive_target_gradient,
        margin=float(margin),
    )


def _hide_kinks(value: Elementwise, rule: Rule) -> None:
    """Give tensors the rule: the body's own derivative is not the loss's where it chooses between expressions."""
    value.is_value_of(lambda predictions, targets, **static: _column(rule(predictions, targets, **static)))


_hide_kinks(_mean_absolute_percentage_error, mean_absolute_percentage_error)
_hide_kinks(_mean_squared_logarithmic_error, mean_squared_logarithmic_error)
_hide_kinks(_huber, huber)
_hide_kinks(_log_cosh, log_cosh)
_hide_kinks(_poisson, poisson)
_hide_kinks(_hinge, hinge)
_hide_kinks(_squared_hinge, squared_hinge)
_hide_kinks(_contrastive, contrastive)
