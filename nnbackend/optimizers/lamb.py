"""LAMB."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Now, Optimizer, correction, norm
from nnbackend.optimizers.schedules import Schedule
from nnbackend.optimizers.sgd import sgd_update

__all__ = ["LAMB"]


@elementwise
def lamb_direction(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    correction_1: Any,
    correction_2: Any,
    decay: Any,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> Any:
    """Moments of Adam;  u = (m/c1) / (sqrt(v/c2) + epsilon) + lambda w."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * (gradient * gradient)
    step = (first / correction_1) / (xp.sqrt(second / correction_2) + epsilon)
    return step + decay * parameter, first, second


class LAMB(Optimizer):
    r"""Adam whose step has, in each parameter, the length of the parameter itself: for very large batches.

    With the moments of `Adam`:

    .. math::
        u = \hat m / (\sqrt{\hat v} + \varepsilon) + \lambda w, \qquad
        w := w - \eta_i\, \frac{\lVert w \rVert}{\lVert u \rVert}\, u

    where the ratio is 1 if one of the norms is 0.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    beta_1, beta_2 : float
        As of `Adam`.
    epsilon : float
        :math:`\varepsilon`, outside of the root, on the corrected moment.
    **options
        ``decay``, ``weight_decay`` (the :math:`\lambda` above), ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The paper lets a function bound the norm of the weights; it is left out, as in Keras and in the authors' code. Norms
    are computed in float64. With ``decoupled_weight_decay=False`` the decay goes into the gradient.

    References
    ----------
    Y. You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020,
    https://arxiv.org/abs/1904.00962, algorithm 2

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.LAMB(0.1), {"w": xp.asarray([3.0, 4.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([7.0, 0.0])}, optimizer.init(w), w)
    >>> w["w"].round(6)
    array([2.5, 4. ])
    """

    slots = ("first_moment", "second_moment")
    elementwise = False
    decays_itself = True

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)
        self.epsilon = self._not_negative("epsilon", epsilon)

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return learning rate, bias corrections and weight decay."""
        return (
            now.rate,
            correction(self.beta_1, now.step),
            correction(self.beta_2, now.step),
            namespace(now.step).ones_like(now.step) * now.decay,
        )

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        rate, *others = scalars
        direction, first, second = lamb_direction(
            parameter,
            gradient,
            *slots,
            *others,
            donate=(None, 2, 3) if donate else (),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )
        xp = namespace(parameter)
        size, length = norm(parameter), norm(direction)
        usual = xp.logical_and(size > 0.0, length > 0.0)
        ratio = xp.where(usual, size / xp.where(usual, length, xp.ones_like(length)), xp.ones_like(size))
        new = sgd_update(
            parameter,
            direction,
            rate * xp.astype(ratio, parameter.dtype),
            donate=(0,) if donate else (),
        )
        return new, first, second
