"""Activation functions made of straight and exponential pieces: rectifiers, hard versions, shrinkages.

At a kink, where two pieces meet, the derivative is that of the flatter or outer piece, as PyTorch has it; each
function says which.
"""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.functional.rules import unbroadcast
from nnbackend.typing import Array, Backward

__all__ = [
    "celu",
    "elu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_tanh",
    "leaky_relu",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "soft_shrink",
    "tanh_shrink",
    "threshold",
]

#: The fixed point of mean 0 and variance 1 of Klambauer et al.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@elementwise
def _relu(x: Array) -> Any:
    return namespace(x).maximum(x, 0.0)


@elementwise
def _relu_gradient(y: Array, dy: Array) -> Any:
    return namespace(dy).where(y <= 0, 0.0, dy)


@elementwise
def _bent(x: Array, *, negative_slope: float, max_value: float, threshold: float) -> Any:
    xp = namespace(x)
    below = negative_slope * (x - threshold) if negative_slope else 0.0
    y = xp.where(x <= threshold, below, x)
    return y if max_value == math.inf else xp.minimum(y, max_value)


@elementwise
def _bent_gradient(x: Array, dy: Array, *, negative_slope: float, max_value: float, threshold: float) -> Any:
    xp = namespace(dy)
    below = negative_slope * dy if negative_slope else 0.0
    slope = xp.where(x <= threshold, below, dy)
    return slope if max_value == math.inf else xp.where(x >= max_value, 0.0, slope)


@differentiable
def relu(
    x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> tuple[Array, Backward]:
    r"""Rectified linear unit.

    .. math:: y = \max(x, 0), \qquad y' = 1 \text{ for } x > 0, \text{ else } 0

    and with all its options, for slope s, upper bound b and threshold t,

    .. math:: y = \min(b,\; x \text{ for } x > t, \text{ else } s (x - t)), \qquad
              y' = s \text{ for } x \le t, \quad 1 \text{ for } t < x < b, \quad 0 \text{ for } x \ge b

    Parameters
    ----------
    x : array of any shape
        Floating.
    negative_slope : float
        The slope s below the threshold; not negative.
    max_value : float, optional
        The largest value b; at least the threshold.
    threshold : float
        From where on the input passes.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Raises
    ------
    ValueError
        If `negative_slope` is negative or `max_value` below `threshold`.

    Notes
    -----
    The derivative at 0 is taken as 0, as PyTorch and TensorFlow do; at the threshold it is the slope, at the upper
    bound 0. Keras documents that x passes at the threshold itself, but computes that it passes above, as here.

    References
    ----------
    V. Nair and G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([-1.0, 2.0, 9.0])
    >>> nn.functional.relu(x)
    array([0., 2., 9.])
    >>> nn.functional.relu(x, negative_slope=0.5, max_value=4.0)
    array([-0.5,  2. ,  4. ])
    """
    if negative_slope == 0.0 and max_value is None and threshold == 0.0:
        y = _relu(x)
        return y, lambda dy, needs: (_relu_gradient(y, dy),)
    if not negative_slope >= 0.0:
        raise ValueError(f"relu expects negative_slope to be at least 0, got {negative_slope}.")
    if max_value is not None and not max_value >= threshold:
        raise ValueError(f"relu expects max_value to be at least the threshold {threshold}, got {max_value}.")
    pieces: dict[str, Any] = {
        "negative_slope": float(negative_slope),
        "max_value": math.inf if max_value is None else float(max_value),
        "threshold": float(threshold),
    }
    return _bent(x, **pieces), lambda dy, needs: (_bent_gradient(x, dy, **pieces),)


def relu6(x: Array) -> Array:
    r"""Rectified linear unit that ends at six:  :math:`y = \min(\max(x, 0), 6)`, with :math:`y' = 1` for
    :math:`0 < x < 6`, else 0.

    References
    ----------
    A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.relu6(nn.get_backend("numpy").xp.asarray([-1.0, 2.0, 9.0]))
    array([0., 2., 6.])
    """
    y: Array = relu(x, max_value=6.0)
    return y


def leaky_relu(x: Array, *, negative_slope: float = 0.2) -> Array:
    r"""Rectified linear unit that leaks:  :math:`y = x` for :math:`x > 0`, else :math:`s x`, with :math:`y' = 1` and
    :math:`s`.

    Parameters
    ----------
    x : array of any shape
        Floating.
    negative_slope : float
        The slope s below zero, and at zero.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Raises
    ------
    ValueError
        If `negative_slope` is negative.

    Notes
    -----
    The slope is 0.2 without a word, as in Keras's function; Keras's layer takes 0.3 and PyTorch 0.01.

    References
    ----------
    A. L. Maas, A. Y. Hannun and A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.leaky_relu(nn.get_backend("numpy").xp.asarray([-1.0, 2.0]), negative_slope=0.5)
    array([-0.5,  2. ])
    """
    y: Array = relu(x, negative_slope=negative_slope)
    return y


@elementwise
def _threshold(x: Array, *, threshold: float, default_value: float) -> Any:
    return namespace(x).where(x <= threshold, default_value, x)


@elementwise
def _threshold_gradient(x: Array, dy: Array, *, threshold: float) -> Any:
    return namespace(dy).where(x <= threshold, 0.0, dy)


@differentiable
def threshold(x: Array, *, threshold: float = 0.0, default_value: float = 0.0) -> tuple[Array, Backward]:
    r"""Replace what does not pass a threshold:  :math:`y = x` for :math:`x > t`, else :math:`v`, with :math:`y' = 1`
    and 0.

    Parameters
    ----------
    x : array of any shape
        Floating.
    threshold : float
        The threshold t; at it the value is v and the derivative 0.
    default_value : float
        The value v of what does not pass; PyTorch calls it ``value``.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.threshold(
    ...     nn.get_backend("numpy").xp.asarray([0.5, 2.0]), threshold=1.0, default_value=-1.0
    ... )
    array([-1.,  2.])
    """
    t, v = float(threshold), float(default_value)
    return (
        _threshold(x, threshold=t, default_value=v),
        lambda dy, needs: (_threshold_gradient(x, dy, threshold=t),),
    )


@elementwise
def _prelu(x: Array, alpha: Array) -> Any:
    return namespace(x).where(x > 0, x, alpha * x)


@elementwise
def _prelu_gradient(x: Array, alpha: Array, dy: Array) -> Any:
    return namespace(dy).where(x > 0, dy, alpha * dy)


@elementwise
def _prelu_alpha_gradient(x: Array, dy: Array) -> Any:
    return namespace(dy).where(x > 0, 0.0, x * dy)


@differentiable
def prelu(x: Array, alpha: Array) -> tuple[Array, Backward]:
    r"""Rectified linear unit whose slopes below zero are learned.

    .. math:: y = x \text{ for } x > 0, \text{ else } \alpha x, \qquad
              \frac{\partial y}{\partial x} = 1 \text{ or } \alpha, \quad
              \frac{\partial y}{\partial \alpha} = 0 \text{ or } x

    Parameters
    ----------
    x : array of any shape
        Floating.
    alpha : array whose shape broadcasts to that of `x`
        The slopes.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Notes
    -----
    The derivative at 0 is :math:`\alpha`.

    References
    ----------
    K. He et al., "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.prelu(xp.asarray([[-2.0, -2.0], [1.0, 3.0]]), xp.asarray([0.5, 0.25]))
    array([[-1. , -0.5],
           [ 1. ,  3. ]])
    """
    first, second = unbroadcast(x), unbroadcast(alpha)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (
            first(_prelu_gradient(x, alpha, dy)) if needs[0] else None,
            second(_prelu_alpha_gradient(x, dy)) if needs[1] else None,
        )

    return _prelu(x, alpha), backward


@elementwise
def _exponential_unit(x: Array, *, scale: float, alpha: float, rate: float) -> Any:
    xp = namespace(x)
    low = (scale * alpha) * xp.expm1(rate * xp.minimum(x, 0.0))
    return xp.where(x > 0, scale * x, low)


@elementwise
def _exponential_unit_gradient(x: Array, dy: Array, *, scale: float, alpha: float, rate: float) -> Any:
    xp = namespace(dy)
    low = (scale * alpha * rate) * xp.exp(rate * xp.minimum(x, 0.0))
    return dy * xp.where(x > 0, scale, low)


def _exponential(x: Array, scale: float, alpha: float, rate: float) -> tuple[Array, Backward]:
    pieces: dict[str, Any] = {"scale": scale, "alpha": alpha, "rate": rate}
    return (
        _exponential_unit(x, **pieces),
        lambda dy, needs: (_exponential_unit_gradient(x, dy, **pieces),),
    )


@differentiable
def elu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Backward]:
    r"""Exponential linear unit.

    .. math:: y = x \text{ for } x > 0, \text{ else } \alpha (e^x - 1), \qquad
              y' = 1 \text{ or } \alpha e^x

    Parameters
    ----------
    x : array of any shape
        Floating.
    alpha : float
        Minus the limit far below zero.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Notes
    -----
    The derivative at 0 is :math:`\alpha`.

    References
    ----------
    D.-A. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network learning by exponential linear
    units", ICLR 2016, arXiv:1511.07289.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.elu(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 2.0]), alpha=0.5)
    array([-0.5,  0. ,  2. ])
    """
    return _exponential(x, 1.0, float(alpha), 1.0)


@differentiable
def celu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Backward]:
    r"""Exponential linear unit without a kink, whatever its limit.

    .. math:: y = x \text{ for } x > 0, \text{ else } \alpha (e^{x/\alpha} - 1), \qquad
              y' = 1 \text{ or } e^{x/\alpha}

    Parameters
    ----------
    x : array of any shape
        Floating.
    alpha : float
        Minus the limit far below zero; positive.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Raises
    ------
    ValueError
        If `alpha` is not positive.

    References
    ----------
    J. T. Barron, "Continuously differentiable exponential linear units", 2017, arXiv:1704.07483.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.celu(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 2.0]), alpha=0.5)
    array([-0.5,  0. ,  2. ])
    """
    if not alpha > 0.0:
        raise ValueError(f"celu expects alpha to be positive, got {alpha}.")
    return _exponential(x, 1.0, float(alpha), 1.0 / float(alpha))


@differentiable
def selu(x: Array) -> tuple[Array, Backward]:
    r"""Exponential linear unit that draws activations to mean 0 and variance 1.

    .. math:: y = \lambda x \text{ for } x > 0, \text{ else } \lambda \alpha (e^x - 1), \qquad
              y' = \lambda \text{ or } \lambda \alpha e^x, \qquad \lambda = 1.0507, \; \alpha = 1.6733

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Notes
    -----
    With weights of mean 0 and variance 1/n (``"lecun_normal"``) mean 0 and variance 1 are a fixed point that attracts,
    through any number of layers. Drop with `nnbackend.AlphaDropout`, which keeps both. The derivative at 0 is
    :math:`\lambda\alpha`.

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.selu(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 1.0]))
    array([-1.75809934,  0.        ,  1.05070099])
    """
    return _exponential(x, SELU_SCALE, SELU_ALPHA, 1.0)


@elementwise
def _hard_tanh(x: Array) -> Any:
    xp = namespace(x)
    return xp.maximum(xp.minimum(x, 1.0), -1.0)


@elementwise
def _within(x: Array, dy: Array, *, bound: float, slope: float) -> Any:
    xp = namespace(dy)
    return xp.where(xp.abs(x) >= bound, 0.0, dy * slope)


@differentiable
def hard_tanh(x: Array) -> tuple[Array, Backward]:
    r"""Hyperbolic tangent of straight pieces:  :math:`y = \max(-1, \min(x, 1))`, with :math:`y' = 1` for
    :math:`|x| < 1`, else 0.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.hard_tanh(nn.get_backend("numpy").xp.asarray([-3.0, 0.5, 3.0]))
    array([-1. ,  0.5,  1. ])
    """
    return _hard_tanh(x), lambda dy, needs: (_within(x, dy, bound=1.0, slope=1.0),)


@elementwise
def _hard_sigmoid(x: Array) -> Any:
    xp = namespace(x)
    return xp.maximum(xp.minimum(x + 3.0, 6.0), 0.0) / 6.0


@differentiable
def hard_sigmoid(x: Array) -> tuple[Array, Backward]:
    r"""Logistic function of straight pieces:  :math:`y = \min(\max(x + 3, 0), 6)/6`, with :math:`y' = 1/6` for
    :math:`|x| < 3`, else 0.

    Notes
    -----
    As in Keras 3 and PyTorch; Keras 2 had the slope 0.2.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.hard_sigmoid(nn.get_backend("numpy").xp.asarray([-4.0, 0.0, 1.5, 4.0]))
    array([0.  , 0.5 , 0.75, 1.  ])
    """
    return _hard_sigmoid(x), lambda dy, needs: (_within(x, dy, bound=3.0, slope=1.0 / 6.0),)


@elementwise
def _hard_shrink(x: Array, *, threshold: float) -> Any:
    xp = namespace(x)
    return xp.where(xp.abs(x) <= threshold, 0.0, x)


@elementwise
def _soft_shrink(x: Array, *, threshold: float) -> Any:
    xp = namespace(x)
    return x - xp.maximum(xp.minimum(x, threshold), -threshold)


@elementwise
def _shrink_gradient(x: Array, dy: Array, *, threshold: float) -> Any:
    xp = namespace(dy)
    return xp.where(xp.abs(x) <= threshold, 0.0, dy)


def _checked_threshold(owner: str, threshold: float) -> float:
    if not threshold >= 0.0:
        raise ValueError(f"{owner} expects threshold to be at least 0, got {threshold}.")
    return float(threshold)


@differentiable
def hard_shrink(x: Array, *, threshold: float = 0.5) -> tuple[Array, Backward]:
    r"""Zero what is small:  :math:`y = x` for :math:`|x| > \lambda`, else 0, with :math:`y' = 1` and 0.

    Parameters
    ----------
    x : array of any shape
        Floating.
    threshold : float
        The size :math:`\lambda` up to which, itself included, values become zero; PyTorch calls it ``lambd``.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Raises
    ------
    ValueError
        If `threshold` is negative.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.hard_shrink(nn.get_backend("numpy").xp.asarray([-2.0, 0.5, 2.0]))
    array([-2.,  0.,  2.])
    """
    size = _checked_threshold("hard_shrink", threshold)
    return _hard_shrink(x, threshold=size), lambda dy, needs: (_shrink_gradient(x, dy, threshold=size),)


@differentiable
def soft_shrink(x: Array, *, threshold: float = 0.5) -> tuple[Array, Backward]:
    r"""Bring all values closer to zero:  :math:`y = \operatorname{sign}(x) \max(|x| - \lambda, 0)`, with
    :math:`y' = 1` for :math:`|x| > \lambda`, else 0.

    Parameters
    ----------
    x : array of any shape
        Floating.
    threshold : float
        How much closer, :math:`\lambda`; PyTorch calls it ``lambd``.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    Raises
    ------
    ValueError
        If `threshold` is negative.

    Notes
    -----
    It is the proximal operator of :math:`\lambda |x|`, the step by which iterative methods find sparse solutions.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.soft_shrink(nn.get_backend("numpy").xp.asarray([-2.0, 0.5, 2.0]))
    array([-1.5,  0. ,  1.5])
    """
    size = _checked_threshold("soft_shrink", threshold)
    return _soft_shrink(x, threshold=size), lambda dy, needs: (_shrink_gradient(x, dy, threshold=size),)


@elementwise
def _tanh_shrink(x: Array) -> Any:
    xp = namespace(x)
    z = xp.square(xp.minimum(xp.abs(x), 1.0))
    rest = z / 17.0
    for odd in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):  # tanh x = x / (1 + x^2 / (3 + x^2 / (5 + ...)))
        rest = z / (odd + rest)
    return xp.where(z < 1.0, x * (rest / (1.0 + rest)), x - xp.tanh(x))


@elementwise
def _tanh_shrink_gradient(x: Array, dy: Array) -> Any:
    t = namespace(dy).tanh(x)
    return dy * (t * t)


@differentiable
def tanh_shrink(x: Array) -> tuple[Array, Backward]:
    r"""Hyperbolic tangent's distance from its argument:  :math:`y = x - \tanh x`, with :math:`y' = \tanh^2 x`.

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        About :math:`x^3/3` near zero, with all its digits: there the difference, in which other libraries lose them,
        is the tail of Lambert's continued fraction of the tangent.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.tanh_shrink(nn.get_backend("numpy").xp.asarray([-1e4, 1e-8, 3.0]))
    array([-9.99900000e+03,  3.33333333e-25,  2.00494525e+00])
    """
    return _tanh_shrink(x), lambda dy, needs: (_tanh_shrink_gradient(x, dy),)


_relu.is_value_of(relu)
_hard_tanh.is_value_of(hard_tanh)
_hard_sigmoid.is_value_of(hard_sigmoid)
_hard_shrink.is_value_of(hard_shrink)
_soft_shrink.is_value_of(soft_shrink)
_threshold.is_value_of(threshold)
_prelu.is_value_of(prelu)
_tanh_shrink.is_value_of(tanh_shrink)
