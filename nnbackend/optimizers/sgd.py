"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Optimizer

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

    .. math:: \eta_i = \eta / (1 + \kappa i), \qquad v := \mu v - \eta_i g, \qquad w := w + v

    or, with `nesterov`,  :math:`w := w + \mu v - \eta_i g`. Without momentum  :math:`w := w - \eta_i g`.

    Parameters
    ----------
    learning_rate : float
        :math:`\eta`.
    momentum : float
        :math:`\mu`, from 0 to below 1.
    nesterov : bool
        Whether to look ahead.
    decay : float
        :math:`\kappa`; step :math:`i` counts from 0.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `nesterov` is asked for without momentum.

    Notes
    -----
    As in Keras and in "Neural Networks from Scratch", the learning rate is inside the velocity; PyTorch multiplies
    the velocity by it afterwards, which differs once the rate changes.

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
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.momentum = self._fraction("momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError(
                "SGD expects momentum above 0 with nesterov=True, got 0. Give momentum=0.9, say."
            )
        self.slots = ("velocity",) if self.momentum else ()

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
