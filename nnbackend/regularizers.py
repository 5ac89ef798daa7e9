"""Penalties on weights, added to the loss."""

from __future__ import annotations

from typing import Any

from nnbackend import functional
from nnbackend.backend import backend_of, plain
from nnbackend.config import Configurable, find

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get"]


class Regularizer(Configurable):
    """A penalty on a weight; subclasses give it in ``__call__`` as a 0-d array."""

    def __call__(self, weight: Any) -> Any:
        """Return the penalty of `weight`."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(weight).")


class L1L2(Regularizer):
    r"""Sum of absolute values and of squares,  :math:`\lambda_1 \sum |w| + \lambda_2 \sum w^2`.

    The gradient is :math:`\lambda_1 \operatorname{sign} w + 2 \lambda_2 w` (0 at 0). There is no factor 1/2, as in
    Keras; PyTorch's ``weight_decay`` of :math:`2\lambda_2` is the same for SGD.

    Parameters
    ----------
    l1, l2 : float
        :math:`\lambda_1` and :math:`\lambda_2`, not negative.

    Raises
    ------
    ValueError
        If a factor is negative.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        if l1 < 0.0 or l2 < 0.0:
            raise ValueError(
                f"{type(self).__name__} expects factors that are not negative, got l1={l1}, l2={l2}."
            )
        self.l1 = float(l1)
        self.l2 = float(l2)

    def __call__(self, weight: Any) -> Any:
        """Return the penalty of `weight`, a 0-d array."""
        penalty: Any = 0.0
        with backend_of(plain(weight)).scope():
            if self.l1:
                penalty = penalty + self.l1 * functional.sum(functional.abs(weight))
            if self.l2:
                penalty = penalty + self.l2 * functional.sum(functional.square(weight))
        return penalty


class L1(L1L2):
    r"""Sum of absolute values,  :math:`\lambda \sum |w|`: draws weights to exactly zero."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    r"""Sum of squares,  :math:`\lambda \sum w^2`: keeps weights small."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


_BY_NAME: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1_l2": L1L2}


def get(which: str | Regularizer | None) -> Regularizer | None:
    """Return a regularizer by its name (``"l1"``, ``"l2"``), the one given, or None for None.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if which is None or isinstance(which, Regularizer):
        return which
    return find("regularizer", which, _BY_NAME)()
