"""Adam."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Optimizer

__all__ = ["Adam"]


@elementwise
def adam_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    rate: Any,
    correction_1: Any,
    correction_2: Any,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> Any:
    """M := b1 m + (1 - b1) g;  v := b2 v + (1 - b2) g^2;  w := w - lr (m/c1) / (sqrt(v/c2) + epsilon)."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * (gradient * gradient)
    step = rate * (first / correction_1) / (xp.sqrt(second / correction_2) + epsilon)
    return parameter - step, first, second


class Adam(Optimizer):
    r"""Adam: steps of a size that each parameter's own gradients set.

    .. math::
        m &:= \beta_1 m + (1 - \beta_1) g, & \hat m &= m / (1 - \beta_1^{i+1}) \\
        v &:= \beta_2 v + (1 - \beta_2) g^2, & \hat v &= v / (1 - \beta_2^{i+1}) \\
        w &:= w - \eta_i\, \hat m / (\sqrt{\hat v} + \varepsilon), & \eta_i &= \eta / (1 + \kappa i)

    Parameters
    ----------
    learning_rate : float
        :math:`\eta`.
    beta_1, beta_2 : float
        :math:`\beta_1` and :math:`\beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, outside of the root, on the corrected moment.
    decay : float
        :math:`\kappa`; step :math:`i` counts from 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Epsilon is 1e-7 as in Keras and the book; PyTorch has 1e-8 at the same place, while Keras adds it to the
    uncorrected root. The corrections are computed as :math:`-\mathrm{expm1}((i + 1) \ln \beta)` in double precision,
    since :math:`1 - \beta^t` loses five digits in float32.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, https://arxiv.org/abs/1412.6980

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Adam(0.1), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 6)
    0.9
    """

    slots = ("first_moment", "second_moment")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)
        self.epsilon = self._not_negative("epsilon", epsilon)

    def scalars(self, rate: Any, step: Any) -> tuple[Any, ...]:
        """Return learning rate and bias corrections."""
        return rate, _correction(self.beta_1, step), _correction(self.beta_2, step)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        updated: tuple[Any, ...] = adam_update(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2, 3) if donate else (),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )
        return updated


def _correction(beta: float, step: Any) -> Any:
    xp = namespace(step)
    if beta == 0.0:
        return xp.ones_like(step)
    return -xp.expm1((step + 1.0) * math.log(beta))
