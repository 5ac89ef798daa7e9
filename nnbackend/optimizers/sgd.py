"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Now, Optimizer
from nnbackend.optimizers.schedules import Schedule

__all__ = ["SGD"]


@elementwise
def sgd_update(parameter: Any, gradient: Any, rate: Any) -> Any:
    """W := w - lr g."""
    return parameter - rate * gradient


@elementwise
def momentum_update(
    parameter: Any, gradient: Any, velocity: Any, rate: Any, *, momentum: float, nesterov: bool
) -> Any:
    """V := mu v - lr g;  w := w + v, or with Nesterov's look ahead  w + mu v - lr g."""
    step = rate * gradient
    velocity = momentum * velocity - step
    change = momentum * velocity - step if nesterov else velocity
    return parameter + change, velocity


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    .. math:: v := \mu v - (1 - \tau) \eta_i g, \qquad w := w + v

    or, with `nesterov`,  :math:`w := w + \mu v - \eta_i g`. Without momentum  :math:`w := w - \eta_i g`.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    momentum : float
        :math:`\mu`, from 0 to below 1.
    nesterov : bool
        Whether to look ahead.
    dampening : float
        :math:`\tau`, from 0 to below 1: the part of a gradient that the velocity does not take. The first velocity
        takes all of it, as in PyTorch.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range, `nesterov` is asked for without momentum or with dampening, or dampening
        without momentum.

    Notes
    -----
    As in Keras and in "Neural Networks from Scratch", the learning rate is inside the velocity; PyTorch multiplies
    the velocity by it afterwards, which differs once the rate changes. Keras has no dampening.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and momentum in deep
    learning", ICML 2013.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer = nn.optimizers.SGD(0.1, momentum=0.9)
    >>> w = {"w": xp.asarray([1.0])}
    >>> state = optimizer.init(w)
    >>> for _ in range(2):
    ...     w, state = optimizer.update({"w": xp.asarray([1.0])}, state, w)
    >>> w["w"]
    array([0.71])
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        dampening: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = self._fraction("momentum", momentum)
        self.nesterov = bool(nesterov)
        self.dampening = self._fraction("dampening", dampening)
        if self.nesterov and not self.momentum:
            raise ValueError(
                "SGD expects momentum above 0 with nesterov=True, got 0. Give momentum=0.9, say."
            )
        if self.dampening and (self.nesterov or not self.momentum):
            raise ValueError(
                "SGD expects dampening with momentum, and without nesterov, got "
                f"momentum={momentum} and nesterov={nesterov}."
            )
        self.slots = ("velocity",) if self.momentum else ()

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return the learning rate, dampened from the second step on."""
        if not self.dampening:
            return (now.rate,)
        xp = namespace(now.step)
        return (now.rate * (1.0 - self.dampening * xp.astype(now.step > 0.0, xp.float64)),)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and velocity."""
        if not slots:
            return (sgd_update(parameter, gradient, *scalars, donate=(0,) if donate else ()),)
        updated: tuple[Any, ...] = momentum_update(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2) if donate else (),
            momentum=self.momentum,
            nesterov=self.nesterov,
        )
        return updated
