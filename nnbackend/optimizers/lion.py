"""Lion."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Optimizer
from nnbackend.optimizers.schedules import Schedule

__all__ = ["Lion"]


@elementwise
def lion_update(
    parameter: Any, gradient: Any, momentum: Any, rate: Any, *, beta_1: float, beta_2: float
) -> Any:
    """W := w - lr sign(b1 m + (1 - b1) g);  m := b2 m + (1 - b2) g."""
    direction = namespace(parameter).sign(beta_1 * momentum + (1.0 - beta_1) * gradient)
    return parameter - rate * direction, beta_2 * momentum + (1.0 - beta_2) * gradient


class Lion(Optimizer):
    r"""Steps of one length everywhere, in the direction of a sign; one slot where Adam has two.

    .. math::
        w := w - \eta_i \operatorname{sign}(\beta_1 m + (1 - \beta_1) g), \qquad m := \beta_2 m + (1 - \beta_2) g

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`, three to ten times smaller than Adam's.
    beta_1, beta_2 : float
        :math:`\beta_1` and :math:`\beta_2`, from 0 to below 1.
    **options
        ``decay``, ``weight_decay`` (three to ten times larger than AdamW's), ``clipnorm`` and the like; see
        `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    As in the paper and in Keras, whose learning rate is 0.001; the paper has 0.0001. There is no epsilon. Where the
    sum is zero, nothing moves.

    References
    ----------
    X. Chen et al., "Symbolic discovery of optimization algorithms", 2023, https://arxiv.org/abs/2302.06675,
    algorithm 2

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Lion(0.25), {"w": xp.asarray([1.0, 1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0, -0.1])}, optimizer.init(w), w)
    >>> w["w"]
    array([0.75, 1.25])
    """

    slots = ("momentum",)

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and momentum."""
        updated: tuple[Any, ...] = lion_update(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2) if donate else (),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
        )
        return updated
