"""Dropout with a given mask: some inputs are left out, and the others changed so that the mean stays."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.functional.rectifiers import SELU_ALPHA, SELU_SCALE
from nnbackend.functional.rules import unbroadcast
from nnbackend.typing import Array, Backward

__all__ = ["alpha_dropout", "dropout"]


@elementwise
def _dropout(x: Array, mask: Array, *, rate: float) -> Any:
    return namespace(x).where(mask, x * (1.0 / (1.0 - rate)), 0.0)


@differentiable
def dropout(x: Array, mask: Array, *, rate: float) -> tuple[Array, Backward]:
    r"""Inverted dropout with a given mask.

    .. math:: y = \frac{x\, m}{1 - p}, \qquad \frac{\partial y}{\partial x} = \frac{m}{1 - p}

    Parameters
    ----------
    x : array of any shape
        Floating.
    mask : boolean array whose shape broadcasts to that of `x`
        Where to keep; `nnbackend.random.Stream.keep` draws one.
    rate : float
        The probability p with which elements were dropped; at least 0, below 1.

    Returns
    -------
    array of the shape of `x`
        Zero where dropped.

    Raises
    ------
    ValueError
        If `rate` is not at least 0 and below 1.
    TypeError
        If `mask` is not boolean.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.dropout(xp.asarray([1.0, 2.0]), xp.asarray([True, False]), rate=0.5)
    array([2., 0.])
    """
    rate = _checked("dropout", mask, rate)
    back = unbroadcast(x)
    return _dropout(x, mask, rate=rate), lambda dy, needs: (back(_dropout(dy, mask, rate=rate)), None)


def _checked(owner: str, mask: Array, rate: float) -> float:
    if not 0 <= rate < 1:
        raise ValueError(f"{owner} expects 0 <= rate < 1, got {rate}.")
    if "bool" not in str(mask.dtype):
        raise TypeError(f"{owner} expects a boolean mask, got {mask.dtype}.")
    return float(rate)


#: What SELU gives far below zero: what dropped elements become.
_ALPHA = -SELU_SCALE * SELU_ALPHA


@elementwise
def _alpha_dropout(x: Array, mask: Array, *, scale: float, shift: float) -> Any:
    return scale * namespace(x).where(mask, x, _ALPHA) + shift


@elementwise
def _alpha_dropout_gradient(dy: Array, mask: Array, *, scale: float) -> Any:
    return namespace(dy).where(mask, scale * dy, 0.0)


@differentiable
def alpha_dropout(x: Array, mask: Array, *, rate: float) -> tuple[Array, Backward]:
    r"""Dropout for SELU, with a given mask: inputs of mean 0 and variance 1 keep both.

    .. math:: y = a\, (x\, m + \alpha' (1 - m)) + b, \qquad
              a = \left((1 - p)(1 + p\, \alpha'^2)\right)^{-1/2}, \quad b = -a\, p\, \alpha', \qquad
              \frac{\partial y}{\partial x} = a\, m

    with :math:`\alpha' = -\lambda\alpha = -1.7581`, what SELU gives far below zero.

    Parameters
    ----------
    x : array of any shape
        Floating.
    mask : boolean array whose shape broadcasts to that of `x`
        Where to keep; `nnbackend.random.Stream.keep` draws one.
    rate : float
        The probability p with which elements were dropped; at least 0, below 1.

    Returns
    -------
    array of the shape of `x`
        :math:`a \alpha' + b` where dropped.

    Raises
    ------
    ValueError
        If `rate` is not at least 0 and below 1.
    TypeError
        If `mask` is not boolean.

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.alpha_dropout(xp.asarray([1.0, 2.0]), xp.asarray([True, False]), rate=0.5)
    array([ 1.66559883, -0.77919393])
    """
    rate = _checked("alpha_dropout", mask, rate)
    scale = ((1.0 - rate) * (1.0 + rate * _ALPHA**2)) ** -0.5
    shift = -scale * rate * _ALPHA
    back = unbroadcast(x)
    return (
        _alpha_dropout(x, mask, scale=scale, shift=shift),
        lambda dy, needs: (back(_alpha_dropout_gradient(dy, mask, scale=scale)), None),
    )


_dropout.is_value_of(dropout)
