"""Optimizers that divide by the size of past gradients: Adagrad, RMSprop and Adadelta."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Optimizer
from nnbackend.optimizers.schedules import Schedule

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


@elementwise
def adagrad_update(parameter: Any, gradient: Any, total: Any, rate: Any, *, epsilon: float) -> Any:
    """S := s + g^2;  w := w - lr g / (sqrt(s) + epsilon)."""
    total = total + gradient * gradient
    return parameter - rate * gradient / (namespace(parameter).sqrt(total) + epsilon), total


class Adagrad(Optimizer):
    r"""Steps that get smaller the more a parameter has moved: for sparse features.

    .. math:: s := s + g^2, \qquad w := w - \eta_i\, g / (\sqrt s + \varepsilon)

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    initial_accumulator_value : float
        The first :math:`s`.
    epsilon : float
        :math:`\varepsilon`, outside of the root.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The first :math:`s` is 0, as in the paper, the book and PyTorch, whose epsilon is 1e-10 at the same place; Keras
    begins with 0.1, and has epsilon inside of the root. The learning rate is Keras's 0.001; PyTorch has 0.01, the
    book 1.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    JMLR 12, 2011.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Adagrad(0.1), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 6)
    0.9
    """

    slots = ("accumulator",)

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = self._not_negative(
            "initial_accumulator_value", initial_accumulator_value
        )
        self.epsilon = self._not_negative("epsilon", epsilon)

    def first_value(self, slot: str) -> float:
        """Return what a slot is filled with at first."""
        return self.initial_accumulator_value

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and sum."""
        updated: tuple[Any, ...] = adagrad_update(
            parameter, gradient, *slots, *scalars, donate=(0, 2) if donate else (), epsilon=self.epsilon
        )
        return updated


@elementwise
def rmsprop_update(
    parameter: Any, gradient: Any, second: Any, rate: Any, *, rho: float, epsilon: float
) -> Any:
    """V := rho v + (1 - rho) g^2;  w := w - lr g / (sqrt(v) + epsilon)."""
    second = rho * second + (1.0 - rho) * (gradient * gradient)
    return parameter - rate * gradient / (namespace(parameter).sqrt(second) + epsilon), second


@elementwise
def rmsprop_momentum_update(
    parameter: Any,
    gradient: Any,
    second: Any,
    velocity: Any,
    rate: Any,
    *,
    rho: float,
    epsilon: float,
    momentum: float,
) -> Any:
    """V := rho v + (1 - rho) g^2;  u := mu u - lr g / (sqrt(v) + epsilon);  w := w + u."""
    second = rho * second + (1.0 - rho) * (gradient * gradient)
    step = rate * gradient / (namespace(parameter).sqrt(second) + epsilon)
    velocity = momentum * velocity - step
    return parameter + velocity, second, velocity


def _centered(gradient: Any, second: Any, mean: Any, rho: float, epsilon: float) -> tuple[Any, Any, Any]:
    """Return the new moments and the deviation; rounding may leave a variance below zero."""
    xp = namespace(gradient)
    second = rho * second + (1.0 - rho) * (gradient * gradient)
    mean = rho * mean + (1.0 - rho) * gradient
    return second, mean, xp.sqrt(xp.maximum(second - mean * mean, 0.0)) + epsilon


@elementwise
def rmsprop_centered_update(
    parameter: Any, gradient: Any, second: Any, mean: Any, rate: Any, *, rho: float, epsilon: float
) -> Any:
    """Moments v and a;  w := w - lr g / (sqrt(v - a^2) + epsilon)."""
    second, mean, deviation = _centered(gradient, second, mean, rho, epsilon)
    return parameter - rate * gradient / deviation, second, mean


@elementwise
def rmsprop_centered_momentum_update(
    parameter: Any,
    gradient: Any,
    second: Any,
    mean: Any,
    velocity: Any,
    rate: Any,
    *,
    rho: float,
    epsilon: float,
    momentum: float,
) -> Any:
    """Moments v and a;  u := mu u - lr g / (sqrt(v - a^2) + epsilon);  w := w + u."""
    second, mean, deviation = _centered(gradient, second, mean, rho, epsilon)
    velocity = momentum * velocity - rate * gradient / deviation
    return parameter + velocity, second, mean, velocity


class RMSprop(Optimizer):
    r"""Steps divided by the root of the mean square of recent gradients.

    .. math::
        v := \rho v + (1 - \rho) g^2, \qquad u := \mu u - \eta_i\, g / (\sqrt v + \varepsilon), \qquad w := w + u

    With `centered` the mean  :math:`a := \rho a + (1 - \rho) g`  is kept as well, and  :math:`v - a^2`, the variance,
    stands under the root.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    rho : float
        :math:`\rho`, from 0 to below 1.
    momentum : float
        :math:`\mu`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, outside of the root.
    centered : bool
        Whether to divide by the deviation.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Epsilon stands where the book and PyTorch (1e-8; its :math:`\rho` is called alpha and is 0.99) have it; Keras has
    it inside of the root. The learning rate is inside the velocity, as in Keras; PyTorch multiplies by it afterwards,
    which differs once the rate changes.

    References
    ----------
    T. Tieleman and G. Hinton, "Lecture 6.5: RMSProp", Coursera, 2012. A. Graves, "Generating sequences with recurrent
    neural networks", 2013, https://arxiv.org/abs/1308.0850 (centered)

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.RMSprop(0.1, rho=0.75), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 6)
    0.8
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = self._fraction("rho", rho)
        self.momentum = self._fraction("momentum", momentum)
        self.epsilon = self._not_negative("epsilon", epsilon)
        self.centered = bool(centered)
        self.slots = (
            "second_moment",
            *(("mean",) if self.centered else ()),
            *(("velocity",) if self.momentum else ()),
        )

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and its slots."""
        plain, moving = (
            (rmsprop_centered_update, rmsprop_centered_momentum_update)
            if self.centered
            else (rmsprop_update, rmsprop_momentum_update)
        )
        static = {"rho": self.rho, "epsilon": self.epsilon}
        if self.momentum:
            static["momentum"] = self.momentum
        updated: tuple[Any, ...] = (moving if self.momentum else plain)(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2, 3, 4)[: len(slots) + 1] if donate else (),
            **static,
        )
        return updated


@elementwise
def adadelta_update(
    parameter: Any, gradient: Any, second: Any, change: Any, rate: Any, *, rho: float, epsilon: float
) -> Any:
    """V := rho v + (1 - rho) g^2;  d = sqrt((x + e) / (v + e)) g;  x := rho x + (1 - rho) d^2;  w := w - lr d."""
    xp = namespace(parameter)
    second = rho * second + (1.0 - rho) * (gradient * gradient)
    delta = xp.sqrt(change + epsilon) / xp.sqrt(second + epsilon) * gradient
    change = rho * change + (1.0 - rho) * (delta * delta)
    return parameter - rate * delta, second, change


class Adadelta(Optimizer):
    r"""Steps as large as recent steps were, so that no learning rate needs to be found.

    .. math::
        v := \rho v + (1 - \rho) g^2, \qquad
        \delta = \frac{\sqrt{x + \varepsilon}}{\sqrt{v + \varepsilon}}\, g, \qquad
        x := \rho x + (1 - \rho) \delta^2, \qquad w := w - \eta_i\, \delta

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`; 1 in the paper.
    rho : float
        :math:`\rho`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, inside of both roots; the first steps are as long as its root.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Keras has the learning rate 0.001, with which it hardly moves; PyTorch has 1, :math:`\rho` 0.9 and epsilon 1e-6.

    References
    ----------
    M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, https://arxiv.org/abs/1212.5701

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Adadelta(rho=0.75, epsilon=0.01), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 3)
    0.8
    """

    slots = ("second_moment", "change")

    def __init__(
        self,
        learning_rate: float | Schedule = 1.0,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = self._fraction("rho", rho)
        self.epsilon = self._not_negative("epsilon", epsilon)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and its slots."""
        updated: tuple[Any, ...] = adadelta_update(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2, 3) if donate else (),
            rho=self.rho,
            epsilon=self.epsilon,
        )
        return updated
