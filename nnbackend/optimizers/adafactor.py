"""Adafactor."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import NOTHING, Now, Optimizer
from nnbackend.optimizers.schedules import Schedule
from nnbackend.optimizers.sgd import sgd_update
from nnbackend.typing import Shape

__all__ = ["Adafactor"]


@elementwise
def floored_square(gradient: Any, *, epsilon: float) -> Any:
    """G = g^2 + epsilon."""
    return gradient * gradient + epsilon


@elementwise
def moved_mean(mean: Any, value: Any, share: Any) -> Any:
    """R := r + s (x - r)."""
    return mean + share * (value - mean)


@elementwise
def factored_direction(gradient: Any, row: Any, column: Any, mean: Any) -> Any:
    """U = g / sqrt(r / mean(r)) / sqrt(c): the product of two small means would be too small for float32."""
    xp = namespace(gradient)
    return gradient / xp.sqrt(row / mean) / xp.sqrt(column)


@elementwise
def adafactor_direction(gradient: Any, second: Any) -> Any:
    """U = g / sqrt(v)."""
    return gradient / namespace(gradient).sqrt(second)


class Adafactor(Optimizer):
    r"""Adam without a first moment, whose second one is kept as means of rows and columns: r + c numbers, not r c.

    With  :math:`t = i + 1`,  :math:`s_t = t^{\gamma}`  and  :math:`G = g^2 + \varepsilon_1`, for a matrix

    .. math::
        R := R + s_t (\operatorname{mean}_{rows} G - R), \qquad
        C := C + s_t (\operatorname{mean}_{columns} G - C), \qquad
        V = R C / \operatorname{mean} R

    and for a vector  :math:`V := V + s_t (G - V)`; then

    .. math::
        u = g / \sqrt V, \qquad
        w := w - \max(\varepsilon_2, \operatorname{rms} w)\, \rho_t\, \frac{u}{\max(1, \operatorname{rms}(u) / d)}

    with  :math:`\rho_t = \min(\eta_i, 1/\sqrt t)`, or  :math:`\eta_i`  without `relative_step`.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`, relative to the size of the parameter.
    beta_2_decay : float
        :math:`\gamma`, from -1 to 0.
    epsilon_1 : float
        :math:`\varepsilon_1`, added to the squares.
    epsilon_2 : float
        :math:`\varepsilon_2`, the least size of a parameter.
    clip_threshold : float
        :math:`d`.
    relative_step : bool
        Whether the rate falls as :math:`1/\sqrt t` once that is below :math:`\eta`.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    As in the paper and Keras, whose arguments these are. The last two axes of an array of more are the rows and
    columns. PyTorch bounds :math:`V` by epsilon from below instead, takes a larger one (that of the dtype), and has the
    learning rate 0.01. Here as there and in Keras, :math:`s_t = t^\gamma` makes the first :math:`V` that of the
    first gradient.

    References
    ----------
    N. Shazeer and M. Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018,
    https://arxiv.org/abs/1804.04235

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Adafactor(0.1), {"w": xp.ones((3, 4))}
    >>> state = optimizer.init(w)
    >>> {name: slot["w"].shape for name, slot in state["slots"].items()}
    {'row': (3,), 'column': (4,)}
    >>> w, state = optimizer.update({"w": xp.ones((3, 4))}, state, w)
    >>> round(float(w["w"][0, 0]), 6)
    0.9
    """

    slots = ("row", "column")
    elementwise = False

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        if not -1.0 <= beta_2_decay <= 0.0:
            raise ValueError(f"Adafactor expects beta_2_decay from -1 to 0, got {beta_2_decay}.")
        self.beta_2_decay = float(beta_2_decay)
        self.epsilon_1 = self._not_negative("epsilon_1", epsilon_1)
        self.epsilon_2 = self._not_negative("epsilon_2", epsilon_2)
        self.clip_threshold = self._positive("clip_threshold", clip_threshold)
        self.relative_step = bool(relative_step)

    def slot_shape(self, slot: str, path: str, shape: Shape) -> Shape:
        """Return the shape of the means of rows or columns; a vector is its own row."""
        if len(shape) < 2:
            return shape if slot == "row" else NOTHING
        return shape[:-1] if slot == "row" else (*shape[:-2], shape[-1])

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return the relative learning rate and the share of the new squares."""
        xp = namespace(now.step)
        number = now.step + 1.0
        rate = xp.minimum(now.rate, 1.0 / xp.sqrt(number)) if self.relative_step else now.rate
        return rate, xp.exp(self.beta_2_decay * xp.log(number))

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and the means of rows and columns."""
        xp = namespace(parameter)
        (row, column), (rate, share) = slots, scalars
        squares = floored_square(gradient, epsilon=self.epsilon_1)
        if len(parameter.shape) < 2:
            row = moved_mean(row, squares, share)
            step = adafactor_direction(gradient, row)
        else:
            row = moved_mean(row, xp.mean(squares, axis=-1), share)
            column = moved_mean(column, xp.mean(squares, axis=-2), share)
            mean = xp.mean(row, axis=-1, keepdims=True)
            step = factored_direction(
                gradient,
                xp.expand_dims(row, axis=-1),
                xp.expand_dims(column, axis=-2),
                xp.expand_dims(mean, axis=-1),
            )
        size = xp.maximum(_root_mean_square(parameter), self.epsilon_2)
        too_long = xp.maximum(_root_mean_square(step) / self.clip_threshold, 1.0)
        new = sgd_update(parameter, step, rate * size / too_long, donate=(0,) if donate else ())
        return new, row, column


def _root_mean_square(array: Any) -> Any:
    xp = namespace(array)
    return xp.sqrt(xp.sum(floored_square(array, epsilon=0.0)) / max(math.prod(array.shape), 1))
