"""Penalties on weights and on the outputs of layers, added to the loss."""

from __future__ import annotations

import math
from typing import Any

from nnbackend import functional
from nnbackend.backend import backend_of, namespace, nearest, plain
from nnbackend.config import Configurable, find

__all__ = ["L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "get"]


class Regularizer(Configurable):
    """A penalty on a weight, or on what a layer computes; subclasses give it in ``__call__`` as a 0-d array."""

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


class OrthogonalRegularizer(Regularizer):
    r"""How far rows, or columns, are from being at right angles: the mean of the absolute cosines between them.

    .. math::
        \frac{\lambda}{p} \sum_{i < j} |\hat w_i \cdot \hat w_j|, \qquad
        \hat w_i = w_i / \lVert w_i \rVert, \quad p = n (n - 1) / 2

    The gradient follows from that of the cosines; where two are at right angles it is 0.

    Parameters
    ----------
    factor : float
        :math:`\lambda`, not negative.
    mode : {"rows", "columns"}
        What is to be at right angles. A kernel ``(..., in, out)`` is a matrix of ``out`` columns: "columns" are the
        weights of each output.

    Raises
    ------
    ValueError
        If `factor` is negative, `mode` neither of these, or a weight has fewer than two axes.

    Notes
    -----
    As in Keras, which takes matrices only. One row, or column, alone has no penalty.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> penalty = nn.regularizers.OrthogonalRegularizer(1.0, "columns")
    >>> float(penalty(xp.eye(3))), float(penalty(xp.ones((3, 3)))).__round__(6)
    (0.0, 1.0)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if factor < 0.0:
            raise ValueError(f"OrthogonalRegularizer expects a factor that is not negative, got {factor}.")
        if mode not in ("rows", "columns"):
            raise ValueError(
                f"OrthogonalRegularizer knows the modes rows and columns, got {mode!r}."
                f"{nearest(mode, ('rows', 'columns'))}"
            )
        self.factor = float(factor)
        self.mode = mode

    def __call__(self, weight: Any) -> Any:
        """Return the penalty of `weight`, a 0-d array."""
        shape = tuple(weight.shape)
        if len(shape) < 2:
            raise ValueError(
                f"OrthogonalRegularizer expects a weight of two or more axes, got shape {shape}."
            )
        with backend_of(plain(weight)).scope():
            matrix = functional.reshape(weight, (math.prod(shape[:-1]), shape[-1]))
            if self.mode == "columns":
                matrix = functional.matrix_transpose(matrix)
            size = functional.sum(functional.square(matrix), axis=1, keepdims=True)
            unit = matrix / functional.sqrt(functional.maximum(size, _SMALLEST))
            cosines = functional.abs(functional.matmul(unit, functional.matrix_transpose(unit)))
            count = matrix.shape[0]
            array = plain(cosines)
            xp = namespace(array)
            others = 1.0 - xp.eye(count, dtype=array.dtype, device=backend_of(array).device(array))
            return functional.sum(cosines * others) * (self.factor / max(count * (count - 1), 1))


#: Rows shorter than its root are not stretched to length one: they have hardly a direction.
_SMALLEST = 1e-12

_BY_NAME: dict[str, type[Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}


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
