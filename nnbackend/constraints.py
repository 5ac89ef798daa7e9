"""What weights must keep to: projections, applied in the training step after each update."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from nnbackend.backend import backend_of, namespace, plain
from nnbackend.config import Configurable, find

__all__ = ["Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "get"]


class Constraint(Configurable):
    """A set that a weight must stay in; subclasses bring a weight back to it in ``__call__``.

    A constraint is part of the training step: array code without Python branches on values. A weight that is in the
    set already is left as it is, to the last bit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> @nn.register("my_package")
    ... class AtMostOne(nn.constraints.Constraint):
    ...     def __call__(self, weight):
    ...         return nn.functional.minimum(weight, 1.0)
    >>> layer = nn.Dense(2, kernel_constraint=AtMostOne())
    """

    def __call__(self, weight: Any) -> Any:
        """Return the weight, brought back to what is allowed."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(weight).")


class _Norm(Constraint):
    """A constraint on the Euclidean norms of a weight along some of its axes."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        try:
            self.axis = tuple(map(operator.index, axis if isinstance(axis, Sequence) else (axis,)))
        except TypeError:
            raise TypeError(
                f"{type(self).__name__} expects axis to be a whole number or several, got {axis!r}."
            ) from None

    def _limit(self, name: str, value: float) -> float:
        number = float(value)
        if not 0.0 <= number < float("inf"):
            raise ValueError(f"{type(self).__name__} expects {name} to be zero or more, got {value}.")
        return number

    def __call__(self, weight: Any) -> Any:
        """Return the weight, brought back to what is allowed."""
        with backend_of(plain(weight)).scope():
            xp = namespace(weight)
            norm = xp.sqrt(xp.sum(weight * weight, axis=self.axis, keepdims=True))
            wanted = self._wanted(xp, norm)
            # zeros have no direction to be stretched in
            factor = wanted / xp.where(norm > 0.0, norm, xp.ones_like(norm))
            kept = xp.logical_or(wanted == norm, norm == 0.0)
            return weight * xp.where(kept, xp.ones_like(norm), factor)

    def _wanted(self, xp: Any, norm: Any) -> Any:
        raise NotImplementedError


class MaxNorm(_Norm):
    r"""Norms of at most  :math:`m`:  :math:`w := w \min(1, m / \lVert w \rVert)`.

    Parameters
    ----------
    max_value : float
        :math:`m`.
    axis : int or sequence of int
        The axes that a norm is taken over: 0 for the kernel (in, out) of `Dense` is the norm of each output's weights;
        (0, 1, 2) the same for a convolution's (h, w, in, out).

    Raises
    ------
    ValueError
        If `max_value` is negative.

    Notes
    -----
    Keras adds 1e-7 to the norm it divides by, so that weights at the border shrink a little at each step; here they
    stay as they are.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.constraints.MaxNorm(1.0)(nn.get_backend("numpy").xp.asarray([[3.0, 0.3], [4.0, 0.4]]))
    array([[0.6, 0.3],
           [0.8, 0.4]])
    """

    def __init__(self, max_value: float = 2.0, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)
        self.max_value = self._limit("max_value", max_value)

    def _wanted(self, xp: Any, norm: Any) -> Any:
        return xp.minimum(norm, self.max_value)


class MinMaxNorm(_Norm):
    r"""Norms between two bounds:  :math:`w := w\,(r \operatorname{clip}(n, a, b) + (1 - r) n) / n` for a norm n.

    Parameters
    ----------
    min_value, max_value : float
        :math:`a` and :math:`b`.
    rate : float
        :math:`r`, above 0 and up to 1: the share of the way back that is gone at each step.
    axis : int or sequence of int
        As of `MaxNorm`.

    Raises
    ------
    ValueError
        If a bound is negative, the first is above the second, or `rate` is not above 0 and up to 1.

    Notes
    -----
    A norm of zero stays zero: there is no direction to stretch it in.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.constraints.MinMaxNorm(1.0, 2.0)(nn.get_backend("numpy").xp.asarray([[3.0, 0.3], [4.0, 0.4]]))
    array([[1.2, 0.6],
           [1.6, 0.8]])
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(axis)
        self.min_value = self._limit("min_value", min_value)
        self.max_value = self._limit("max_value", max_value)
        if self.min_value > self.max_value:
            raise ValueError(
                f"MinMaxNorm expects min_value up to max_value, got {min_value} and {max_value}."
            )
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"MinMaxNorm expects a rate above 0 and up to 1, got {rate}.")
        self.rate = float(rate)

    def _wanted(self, xp: Any, norm: Any) -> Any:
        within = xp.minimum(xp.maximum(norm, self.min_value), self.max_value)
        return within if self.rate == 1.0 else norm + self.rate * (within - norm)


class UnitNorm(_Norm):
    r"""Norms of one:  :math:`w := w / \lVert w \rVert`; zeros stay zeros.

    Parameters
    ----------
    axis : int or sequence of int
        As of `MaxNorm`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.constraints.UnitNorm()(nn.get_backend("numpy").xp.asarray([[3.0, 0.0], [4.0, 0.0]]))
    array([[0.6, 0. ],
           [0.8, 0. ]])
    """

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)

    def _wanted(self, xp: Any, norm: Any) -> Any:
        return xp.ones_like(norm)


class NonNeg(Constraint):
    r"""No negative weights:  :math:`w := \max(w, 0)`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.constraints.NonNeg()(nn.get_backend("numpy").xp.asarray([-1.0, 2.0]))
    array([0., 2.])
    """

    def __call__(self, weight: Any) -> Any:
        """Return the weight, with zeros for what is negative."""
        with backend_of(plain(weight)).scope():
            xp = namespace(weight)
            return xp.maximum(weight, xp.zeros_like(weight))


_BY_NAME: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}


def get(which: str | Constraint | None) -> Constraint | None:
    """Return a constraint by its name, such as ``"non_neg"``, the one given, or None for None.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if which is None or isinstance(which, Constraint):
        return which
    return find("constraint", which, _BY_NAME)()
