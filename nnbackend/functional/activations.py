"""Activation functions that bound, smooth or normalise, and their derivatives; each one pass over memory."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.functional.rules import normalize_axis, without_gradient
from nnbackend.typing import Array, Backward

__all__ = [
    "linear",
    "log_sigmoid",
    "log_softmax",
    "sigmoid",
    "softmax",
    "softmin",
    "softplus",
    "softsign",
    "step",
]


def linear(x: Array) -> Array:
    r"""Identity:  :math:`y = x`, with :math:`y' = 1`; the activation of a layer without one.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.linear(nn.get_backend("numpy").xp.asarray([-1.0, 2.0]))
    array([-1.,  2.])
    """
    return x


@elementwise
def _step(x: Array) -> Any:
    xp = namespace(x)
    return xp.maximum(xp.sign(x), 0.0)


@without_gradient
def step(x: Array) -> Array:
    r"""Heaviside's step:  :math:`y = 1` for :math:`x > 0`, else 0, with :math:`y' = 0`.

    Since its derivative vanishes nothing below it learns: it is for perceptrons and for looking at.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.step(nn.get_backend("numpy").xp.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    """
    y: Array = _step(x)
    return y


@elementwise
def _sigmoid(x: Array) -> Any:
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))  # never overflows
    return xp.where(x >= 0, 1.0, e) / (1.0 + e)


@elementwise
def _sigmoid_gradient(y: Array, dy: Array) -> Any:
    return dy * (y * (1.0 - y))


@differentiable(remember=True)
def sigmoid(x: Array) -> tuple[Array, Backward]:
    r"""Logistic function.

    .. math:: y = \frac{1}{1 + e^{-x}}, \qquad y' = y (1 - y)

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        Between 0 and 1.

    Notes
    -----
    With :math:`e = e^{-|x|}` it is :math:`1/(1+e)` for :math:`x \ge 0` and :math:`e/(1+e)` below, which neither
    overflows nor loses the digits of small results.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.sigmoid(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    y = _sigmoid(x)
    return y, lambda dy, needs: (_sigmoid_gradient(y, dy),)


@elementwise
def _softplus(x: Array) -> Any:
    xp = namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


@elementwise
def _softplus_gradient(x: Array, dy: Array) -> Any:
    return dy * _sigmoid(x)


@differentiable
def softplus(x: Array) -> tuple[Array, Backward]:
    r"""Smooth rectifier.

    .. math:: y = \ln(1 + e^x) = \max(x, 0) + \ln(1 + e^{-|x|}), \qquad y' = \frac{1}{1 + e^{-x}}

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        Not negative; far below zero :math:`e^x` to the last digits, far above `x` itself.

    Notes
    -----
    PyTorch returns `x` itself above a threshold of 20, an error of 2e-9 there.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.softplus(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 1e4]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+04])
    """
    return _softplus(x), lambda dy, needs: (_softplus_gradient(x, dy),)


@elementwise
def _log_sigmoid(x: Array) -> Any:
    return -_softplus(-x)


@elementwise
def _log_sigmoid_gradient(x: Array, dy: Array) -> Any:
    return dy * _sigmoid(-x)


@differentiable
def log_sigmoid(x: Array) -> tuple[Array, Backward]:
    r"""Logarithm of the logistic function.

    .. math:: y = \ln \frac{1}{1 + e^{-x}} = -\mathrm{softplus}(-x), \qquad y' = \frac{1}{1 + e^x}

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        Not positive; finite where the sigmoid itself would be rounded to zero.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.log_sigmoid(nn.get_backend("numpy").xp.asarray([-1e4, 0.0]))
    array([-1.00000000e+04, -6.93147181e-01])
    """
    return _log_sigmoid(x), lambda dy, needs: (_log_sigmoid_gradient(x, dy),)


@elementwise
def _softsign(x: Array) -> Any:
    return x / (1.0 + namespace(x).abs(x))


@elementwise
def _softsign_gradient(x: Array, dy: Array) -> Any:
    slope = 1.0 / (1.0 + namespace(dy).abs(x))
    return dy * slope * slope


@differentiable
def softsign(x: Array) -> tuple[Array, Backward]:
    r"""Sign that bends slowly.

    .. math:: y = \frac{x}{1 + |x|}, \qquad y' = \frac{1}{(1 + |x|)^2}

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        Between -1 and 1.

    References
    ----------
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.softsign(nn.get_backend("numpy").xp.asarray([-3.0, 0.0, 1.0]))
    array([-0.75,  0.  ,  0.5 ])
    """
    return _softsign(x), lambda dy, needs: (_softsign_gradient(x, dy),)


@rowwise
def _softmax(x: Array) -> Any:
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


@rowwise
def _softmax_gradient(y: Array, dy: Array) -> Any:
    return y * (dy - namespace(dy).sum(dy * y, axis=-1, keepdims=True))


@differentiable(remember=True)
def softmax(x: Array, *, axis: int = -1) -> tuple[Array, Backward]:
    r"""Probabilities from logits.

    .. math:: y_i = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}, \quad m = \max_j x_j, \qquad
              \frac{\partial L}{\partial x_i} = y_i \left(\frac{\partial L}{\partial y_i}
              - \sum_j \frac{\partial L}{\partial y_j} y_j\right)

    Parameters
    ----------
    x : array of shape (..., k)
        The logits; floating.
    axis : int
        The axis of the classes.

    Returns
    -------
    array of the shape of `x`
        Non-negative, with sum 1 along `axis`.

    Notes
    -----
    Subtracting the maximum changes nothing but that no exponential overflows.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.softmax(nn.get_backend("numpy").xp.asarray([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    y = _softmax(_classes_last(x, axis))
    return (
        _classes_back(y, axis),
        lambda dy, needs: (_classes_back(_softmax_gradient(y, _classes_last(dy, axis)), axis),),
    )


@rowwise
def _softmin(x: Array) -> Any:
    return _softmax(-x)


@rowwise
def _softmin_gradient(y: Array, dy: Array) -> Any:
    return _softmax_gradient(y, -dy)


@differentiable
def softmin(x: Array, *, axis: int = -1) -> tuple[Array, Backward]:
    r"""Probabilities that are larger where `x` is smaller: the softmax of -x.

    .. math:: y_i = \frac{e^{-x_i}}{\sum_j e^{-x_j}}, \qquad
              \frac{\partial L}{\partial x_i} = -y_i \left(\frac{\partial L}{\partial y_i}
              - \sum_j \frac{\partial L}{\partial y_j} y_j\right)

    Parameters
    ----------
    x : array of shape (..., k)
        Floating, such as distances or energies.
    axis : int
        The axis along which the sum is 1.

    Returns
    -------
    array of the shape of `x`
        Non-negative, with sum 1 along `axis`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.softmin(nn.get_backend("numpy").xp.asarray([[2.0, 2.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    y = _softmin(_classes_last(x, axis))
    return (
        _classes_back(y, axis),
        lambda dy, needs: (_classes_back(_softmin_gradient(y, _classes_last(dy, axis)), axis),),
    )


@rowwise
def _log_softmax(x: Array) -> Any:
    xp = namespace(x)
    z = x - xp.max(x, axis=-1, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))


@rowwise
def _log_softmax_gradient(y: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return dy - xp.exp(y) * xp.sum(dy, axis=-1, keepdims=True)


@differentiable
def log_softmax(x: Array, *, axis: int = -1) -> tuple[Array, Backward]:
    r"""Logarithms of the probabilities that `softmax` gives.

    .. math:: y_i = x_i - m - \ln \sum_j e^{x_j - m}, \quad m = \max_j x_j, \qquad
              \frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y_i}
              - e^{y_i} \sum_j \frac{\partial L}{\partial y_j}

    Parameters
    ----------
    x : array of shape (..., k)
        The logits; floating.
    axis : int
        The axis of the classes.

    Returns
    -------
    array of the shape of `x`
        At most 0, finite for finite logits.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.log_softmax(nn.get_backend("numpy").xp.asarray([1e4, -1e4]))
    array([     0., -20000.])
    """
    y = _log_softmax(_classes_last(x, axis))
    return (
        _classes_back(y, axis),
        lambda dy, needs: (_classes_back(_log_softmax_gradient(y, _classes_last(dy, axis)), axis),),
    )


def _classes_last(x: Any, axis: int) -> Any:
    """Move the axis of the classes to the end, where rowwise programs reduce."""
    return x if normalize_axis(axis, x.ndim) == x.ndim - 1 else namespace(x).moveaxis(x, axis, -1)


def _classes_back(x: Any, axis: int) -> Any:
    return x if normalize_axis(axis, x.ndim) == x.ndim - 1 else namespace(x).moveaxis(x, -1, axis)


_sigmoid.is_value_of(sigmoid)
_softplus.is_value_of(softplus)
_log_sigmoid.is_value_of(log_sigmoid)
_softmax.is_value_of(softmax)
_softmin.is_value_of(softmin)
_log_softmax.is_value_of(log_softmax)
