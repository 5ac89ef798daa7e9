"""Activation functions that multiply their input by a gate between 0 and 1, and gated linear units."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.functional.activations import _sigmoid, softplus
from nnbackend.functional.rectifiers import _hard_sigmoid
from nnbackend.functional.rules import normalize_axis
from nnbackend.functional.special import _erfc, is_single
from nnbackend.typing import Array, Backward

__all__ = ["gelu", "glu", "hard_silu", "mish", "silu"]

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_TANH_SCALE = 2.0 * math.sqrt(2.0 / math.pi)
_TANH_CUBIC = 0.044715


@elementwise
def _gelu(x: Array, *, single: bool) -> Any:
    share = 0.5 * _erfc(-_ROOT_HALF * x, single=single)
    return x * share, share


@elementwise
def _gelu_gradient(x: Array, share: Array, dy: Array) -> Any:
    return dy * (share + x * (_DENSITY * namespace(dy).exp(-0.5 * x * x)))


@elementwise
def _gelu_tanh(x: Array) -> Any:
    return x * _sigmoid(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))


@elementwise
def _gelu_tanh_gradient(x: Array, dy: Array) -> Any:
    s = _sigmoid(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    slope = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBIC * x * x)
    return dy * (s + x * slope * (s * (1.0 - s)))


@differentiable
def gelu(x: Array, *, approximate: bool = False) -> tuple[Array, Backward]:
    r"""Gaussian error linear unit: the input times the share of a normal distribution below it.

    .. math:: y = x\, \Phi(x) = \frac x2 \operatorname{erfc}\left(-\frac{x}{\sqrt 2}\right), \qquad
              y' = \Phi(x) + \frac{x}{\sqrt{2\pi}}\, e^{-x^2/2}

    The approximation by a tangent is, with the logistic function :math:`\sigma`,

    .. math:: y = \frac x2 (1 + \tanh u) = x\, \sigma(2u), \qquad u = \sqrt{\tfrac 2\pi}\, (x + 0.044715\, x^3), \qquad
              y' = \sigma(2u) + 2 x u' \sigma(2u) (1 - \sigma(2u))

    Parameters
    ----------
    x : array of any shape
        Floating.
    approximate : bool
        Whether to take the approximation; PyTorch's ``approximate="tanh"``.

    Returns
    -------
    array of the shape of `x`
        With the digits of small values, below zero, kept: 1 + erf, which other libraries take, rounds them away.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", 2016, arXiv:1606.08415.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.gelu(nn.get_backend("numpy").xp.asarray([-1e4, -10.0, 1.0]))
    array([-0.00000000e+00, -7.61985302e-23,  8.41344746e-01])
    """
    if approximate:
        return _gelu_tanh(x), lambda dy, needs: (_gelu_tanh_gradient(x, dy),)
    y, share = _gelu(x, single=is_single(x))
    return y, lambda dy, needs: (_gelu_gradient(x, share, dy),)


@elementwise
def _silu(x: Array) -> Any:
    return x * _sigmoid(x)


@elementwise
def _silu_gradient(x: Array, dy: Array) -> Any:
    s = _sigmoid(x)
    return dy * (s * (1.0 + x * (1.0 - s)))


@differentiable
def silu(x: Array) -> tuple[Array, Backward]:
    r"""Sigmoid linear unit, also called swish.

    .. math:: y = x\, \sigma(x), \qquad y' = \sigma(x) \left(1 + x (1 - \sigma(x))\right), \qquad
              \sigma(x) = \frac{1}{1 + e^{-x}}

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", Neural Networks 107 (2018), arXiv:1702.03118.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.silu(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 1e4]))
    array([   -0.,     0., 10000.])
    """
    return _silu(x), lambda dy, needs: (_silu_gradient(x, dy),)


@elementwise
def _soft_gate(x: Array) -> Any:
    """Return tanh(softplus(x)), by one exponential and without cancellation."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    squared = e * e
    n = xp.where(x >= 0, 1.0 + 2.0 * e, squared + 2.0 * e)  # (1 + e^x)^2 - 1, times e^-2x where x is positive
    return n / (n + xp.where(x >= 0, 2.0 * squared, 2.0))


@elementwise
def _mish(x: Array) -> Any:
    return x * _soft_gate(x)


@elementwise
def _mish_gradient(x: Array, dy: Array) -> Any:
    t = _soft_gate(x)
    return dy * (t + x * (_sigmoid(x) * (1.0 - t * t)))


@differentiable
def mish(x: Array) -> tuple[Array, Backward]:
    r"""Self-regularised gate.

    .. math:: y = x\, t, \qquad t = \tanh(\ln(1 + e^x)) = \frac{e^{2x} + 2 e^x}{e^{2x} + 2 e^x + 2}, \qquad
              y' = t + x\, (1 - t^2)\, \sigma(x)

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    References
    ----------
    D. Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020, arXiv:1908.08681.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.mish(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 1.0]))
    array([-0.        ,  0.        ,  0.86509839])
    """
    return _mish(x), lambda dy, needs: (_mish_gradient(x, dy),)


@elementwise
def _hard_silu(x: Array) -> Any:
    return x * _hard_sigmoid(x)


@elementwise
def _hard_silu_gradient(x: Array, dy: Array) -> Any:
    xp = namespace(dy)
    return xp.where(x <= -3.0, 0.0, xp.where(x >= 3.0, dy, dy * (x / 3.0 + 0.5)))


@differentiable
def hard_silu(x: Array) -> tuple[Array, Backward]:
    r"""Sigmoid linear unit of straight pieces, also called hard swish.

    .. math:: y = x\, \frac{\min(\max(x + 3, 0), 6)}{6}, \qquad
              y' = 0 \text{ for } x \le -3, \quad \frac x3 + \frac 12 \text{ between}, \quad 1 \text{ for } x \ge 3

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.

    References
    ----------
    A. Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.hard_silu(nn.get_backend("numpy").xp.asarray([-4.0, 1.5, 4.0]))
    array([-0.   ,  1.125,  4.   ])
    """
    return _hard_silu(x), lambda dy, needs: (_hard_silu_gradient(x, dy),)


@elementwise
def _glu(a: Array, b: Array) -> Any:
    return a * _sigmoid(b)


@elementwise
def _glu_gradient(a: Array, b: Array, dy: Array) -> Any:
    s = _sigmoid(b)
    return dy * s, dy * a * (s * (1.0 - s))


@differentiable
def glu(x: Array, *, axis: int = -1) -> tuple[Array, Backward]:
    r"""Gated linear unit: the first half of an axis, gated by the second.

    .. math:: y = a\, \sigma(b), \quad x = [a, b], \qquad
              \frac{\partial y}{\partial a} = \sigma(b), \quad
              \frac{\partial y}{\partial b} = a\, \sigma(b) (1 - \sigma(b))

    Parameters
    ----------
    x : array of shape (..., 2k, ...)
        Floating.
    axis : int
        The axis that is halved.

    Returns
    -------
    array of shape (..., k, ...)
        Half as long along `axis`.

    Raises
    ------
    ValueError
        If the length of the axis is odd.

    References
    ----------
    Y. N. Dauphin et al., "Language modeling with gated convolutional networks", ICML 2017, arXiv:1612.08083.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.glu(nn.get_backend("numpy").xp.asarray([[1.0, 2.0, 0.0, 1e4]]))
    array([[0.5, 2. ]])
    """
    axis = normalize_axis(axis, x.ndim)
    half, odd = divmod(x.shape[axis], 2)
    if odd:
        raise ValueError(
            f"glu halves axis {axis}, whose length must be even, got shape {tuple(x.shape)}. Make the layer before it "
            "twice as wide as the output."
        )
    before = (slice(None),) * axis
    a, b = x[(*before, slice(None, half), ...)], x[(*before, slice(half, None), ...)]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return (namespace(dy).concat(list(_glu_gradient(a, b, dy)), axis=axis),)

    return _glu(a, b), backward


def _gate_of_tensors(x: Any) -> Any:
    return namespace(x).tanh(softplus(x))


_soft_gate.is_value_of(_gate_of_tensors)  # under a gradient, which the kink of |x| would spoil at 0
_hard_silu.is_value_of(hard_silu)
