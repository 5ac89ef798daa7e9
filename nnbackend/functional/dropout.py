"""Dropout: some inputs are left out, and the others are scaled up so that the mean stays."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.functional._rules import unbroadcast
from nnbackend.typing import Array, Backward

__all__ = ["dropout"]


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
    if not 0 <= rate < 1:
        raise ValueError(f"dropout expects 0 <= rate < 1, got {rate}.")
    if "bool" not in str(mask.dtype):
        raise TypeError(f"dropout expects a boolean mask, got {mask.dtype}.")
    rate = float(rate)
    back = unbroadcast(x)
    return _dropout(x, mask, rate=rate), lambda dy, needs: (back(_dropout(dy, mask, rate=rate)), None)


_dropout.is_value_of(dropout)
