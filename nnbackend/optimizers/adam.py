"""Adam and its family: AdamW, AMSGrad, Adamax, Nadam and RAdam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.base import Now, Optimizer, correction
from nnbackend.optimizers.schedules import Schedule

__all__ = ["Adam", "AdamW", "Adamax", "Nadam", "RAdam"]


def corrected(rate: Any, step: Any, *, beta_1: float, beta_2: float, epsilon: float) -> tuple[Any, Any]:
    r"""Return what stands before :math:`m` and beside the root where Adam's corrections are drawn out of both.

    .. math::
        \eta\, \frac{m / c_1}{\sqrt{v / c_2} + \varepsilon}
        = \frac{\eta \sqrt{c_2} / c_1}{\sqrt v + \varepsilon \sqrt{c_2}}\, m

    so that nothing is corrected element by element, as the paper proposes at the end of its section 2.
    """
    found: tuple[Any, Any] = _corrected(
        rate, step, log_beta_1=_log(beta_1), log_beta_2=_log(beta_2), epsilon=epsilon
    )
    return found


@elementwise
def _corrected(rate: Any, step: Any, *, log_beta_1: float, log_beta_2: float, epsilon: float) -> Any:
    xp = namespace(rate)
    number = step + 1.0
    root = xp.sqrt(-xp.expm1(number * log_beta_2))
    return rate * root / -xp.expm1(number * log_beta_1), root * epsilon


def _log(beta: float) -> float:
    return math.log(beta) if beta else -1e9  # of which any multiple has an expm1 of -1


@elementwise
def adam_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    size: Any,
    epsilon: Any,
    *,
    beta_1: float,
    beta_2: float,
) -> Any:
    """M := b1 m + (1 - b1) g;  v := b2 v + (1 - b2) g^2;  w := w - size / (sqrt(v) + epsilon) m."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * (gradient * gradient)
    return parameter - size / (xp.sqrt(second) + epsilon) * first, first, second


@elementwise
def amsgrad_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    largest: Any,
    size: Any,
    epsilon: Any,
    *,
    beta_1: float,
    beta_2: float,
) -> Any:
    """Moments of Adam;  u := max(u, v);  w := w - size / (sqrt(u) + epsilon) m."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * (gradient * gradient)
    largest = xp.maximum(largest, second)
    return parameter - size / (xp.sqrt(largest) + epsilon) * first, first, second, largest


@elementwise
def adamw_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    size: Any,
    epsilon: Any,
    kept: Any,
    *,
    beta_1: float,
    beta_2: float,
) -> Any:
    """W := (1 - lr lambda) w, then Adam: one pass over memory."""
    return adam_update(
        parameter * kept,
        gradient,
        first,
        second,
        size,
        epsilon,
        beta_1=beta_1,
        beta_2=beta_2,
    )


class Adam(Optimizer):
    r"""Adam: steps of a size that each parameter's own gradients set.

    .. math::
        m &:= \beta_1 m + (1 - \beta_1) g, & \hat m &= m / (1 - \beta_1^{i+1}) \\
        v &:= \beta_2 v + (1 - \beta_2) g^2, & \hat v &= v / (1 - \beta_2^{i+1}) \\
        w &:= w - \eta_i\, \hat m / (\sqrt{\hat v} + \varepsilon)

    With `amsgrad`,  :math:`v`  in the last line is the largest one so far.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    beta_1, beta_2 : float
        :math:`\beta_1` and :math:`\beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, outside of the root, on the corrected moment.
    amsgrad : bool
        Whether the second moment may not fall, so that the steps of AMSGrad do not grow again.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Epsilon is 1e-7 as in Keras and the book; PyTorch has 1e-8 at the same place, while Keras adds it to the
    uncorrected root. The corrections are computed as :math:`-\mathrm{expm1}((i + 1) \ln \beta)` in double precision,
    since :math:`1 - \beta^t` loses five digits in float32, and drawn out of both moments, so that they cost no pass
    over memory. AMSGrad takes the largest of the uncorrected moments, as Keras and PyTorch do.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, https://arxiv.org/abs/1412.6980

    S. Reddi, S. Kale and S. Kumar, "On the convergence of Adam and beyond", 2018, https://arxiv.org/abs/1904.09237

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Adam(0.1), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 6)
    0.9
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)
        self.epsilon = self._not_negative("epsilon", epsilon)
        self.amsgrad = bool(amsgrad)
        self.slots = ("first_moment", "second_moment", *(("largest_moment",) if self.amsgrad else ()))

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return size and epsilon of the step, with the bias corrections in them."""
        return corrected(now.rate, now.step, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        update = amsgrad_update if self.amsgrad else adam_update
        updated: tuple[Any, ...] = update(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2, 3, 4)[: len(slots) + 1] if donate else (),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
        )
        return updated


class AdamW(Adam):
    r"""Adam with decoupled weight decay:  :math:`w := (1 - \eta_i \lambda) w`, then the step of `Adam`.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    weight_decay : float
        :math:`\lambda`.
    beta_1, beta_2 : float
        As of `Adam`.
    epsilon : float
        As of `Adam`.
    amsgrad : bool
        As of `Adam`.
    **options
        ``decay``, ``exclude_from_weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The decay is 0.004 as in Keras; PyTorch has 0.01. The weights decay before the step, as in both; the paper does it
    at once, and without :math:`\eta`, so that its :math:`\lambda` is our :math:`\eta \lambda`. Biases and the scales of
    normalization are usually left alone: ``exclude_from_weight_decay=["bias", "gamma", "beta"]``, of which a model
    without normalization needs ``["bias"]`` alone.

    References
    ----------
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", 2019, https://arxiv.org/abs/1711.05101

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.AdamW(0.1, weight_decay=0.5), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([0.0])}, optimizer.init(w), w)
    >>> w["w"]
    array([0.95])
    """

    decays_itself = True

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        options["weight_decay"] = weight_decay
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad=amsgrad, **options)
        self.decays_itself = not self.amsgrad  # which is too seldom used for a program of its own
        if not self.decoupled_weight_decay:
            raise ValueError(
                "AdamW decouples the weight decay; Adam with decoupled_weight_decay=False does not."
            )

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return size and epsilon of the step, and what weight decay leaves."""
        shared = super().scalars(now)
        return (*shared, 1.0 - now.rate * now.decay) if self.decays_itself else shared

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        if not self.decays_itself:
            return super().update_parameter(parameter, gradient, slots, scalars, donate)
        updated: tuple[Any, ...] = adamw_update(
            parameter,
            gradient,
            *slots,
            *scalars,
            donate=(0, 2, 3) if donate else (),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
        )
        return updated


@elementwise
def adamax_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    largest: Any,
    rate: Any,
    correction_1: Any,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> Any:
    """M := b1 m + (1 - b1) g;  u := max(b2 u, |g| + epsilon);  w := w - lr (m/c1) / u."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    largest = xp.maximum(beta_2 * largest, xp.abs(gradient) + epsilon)
    return parameter - rate * (first / correction_1) / largest, first, largest


class Adamax(Optimizer):
    r"""Adam with the largest gradient, which fades, in the place of the root of the second moment.

    .. math::
        m := \beta_1 m + (1 - \beta_1) g, \qquad u := \max(\beta_2 u, |g| + \varepsilon), \qquad
        w := w - \frac{\eta_i}{1 - \beta_1^{i+1}}\, m / u

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    beta_1, beta_2 : float
        :math:`\beta_1` and :math:`\beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, inside of the maximum.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The paper has no epsilon; it stands where PyTorch has it, so that :math:`u` is not zero. Keras adds it to :math:`u`
    outside of the maximum.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, https://arxiv.org/abs/1412.6980,
    section 7.1

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Adamax(0.1), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 6)
    0.9
    """

    slots = ("first_moment", "largest_gradient")

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
        """Return learning rate and bias correction."""
        return now.rate, correction(self.beta_1, now.step)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and its slots."""
        updated: tuple[Any, ...] = adamax_update(
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


@elementwise
def nadam_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    rate: Any,
    share_of_gradient: Any,
    share_of_first: Any,
    correction_2: Any,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> Any:
    """Moments of Adam;  w := w - lr (a g + b m) / (sqrt(v/c2) + epsilon)."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * (gradient * gradient)
    ahead = share_of_gradient * gradient + share_of_first * first
    return parameter - rate * ahead / (xp.sqrt(second / correction_2) + epsilon), first, second


class Nadam(Optimizer):
    r"""Adam that looks ahead as Nesterov does, with a momentum  :math:`\mu_t`  that grows to :math:`\beta_1`.

    With  :math:`t = i + 1`,  :math:`\mu_t = \beta_1 (1 - \tfrac12\, 0.96^{t \psi})`  and
    :math:`M_t = \mu_1 \cdots \mu_t`:

    .. math::
        m &:= \beta_1 m + (1 - \beta_1) g, \qquad v := \beta_2 v + (1 - \beta_2) g^2, \\
        \hat m &= \frac{1 - \mu_t}{1 - M_t}\, g + \frac{\mu_{t+1}}{1 - M_{t+1}}\, m, \qquad
        w := w - \eta_i\, \hat m / (\sqrt{v / (1 - \beta_2^t)} + \varepsilon)

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    beta_1, beta_2 : float
        :math:`\beta_1` and :math:`\beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, outside of the root, on the corrected moment.
    momentum_decay : float
        :math:`\psi`.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    PyTorch's ``NAdam`` with epsilon 1e-8. Keras has :math:`\psi = 1`, and epsilon 1e-7 at the same place.

    References
    ----------
    T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Nadam(0.1), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> bool(w["w"][0] < 0.9)
    True
    """

    slots = ("first_moment", "second_moment")
    remembered: Mapping[str, float] = {"momentum_product": 1.0}

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        momentum_decay: float = 0.004,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)
        self.epsilon = self._not_negative("epsilon", epsilon)
        self.momentum_decay = self._not_negative("momentum_decay", momentum_decay)

    def _momentum(self, number: Any) -> Any:
        return self.beta_1 * (1.0 - 0.5 * 0.96 ** (number * self.momentum_decay))

    def remember(self, memory: Mapping[str, Any], step: Any) -> dict[str, Any]:
        """Return the product of the momenta up to this step."""
        return {"momentum_product": memory["momentum_product"] * self._momentum(step + 1.0)}

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return learning rate, the shares of gradient and first moment, and the correction of the second."""
        present, following = self._momentum(now.step + 1.0), self._momentum(now.step + 2.0)
        product = now.memory["momentum_product"]
        return (
            now.rate,
            (1.0 - present) / (1.0 - product),
            following / (1.0 - product * following),
            correction(self.beta_2, now.step),
        )

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        updated: tuple[Any, ...] = nadam_update(
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


@elementwise
def radam_update(
    parameter: Any,
    gradient: Any,
    first: Any,
    second: Any,
    rate: Any,
    correction_1: Any,
    correction_2: Any,
    rectifier: Any,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> Any:
    """Moments of Adam;  w := w - lr (m/c1) r / (sqrt(v/c2) + epsilon), or w - lr (m/c1) while r = 0."""
    xp = namespace(parameter)
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * (gradient * gradient)
    adapted = rectifier / (xp.sqrt(second / correction_2) + epsilon)
    step = rate * (first / correction_1) * xp.where(rectifier > 0.0, adapted, 1.0)
    return parameter - step, first, second


class RAdam(Optimizer):
    r"""Adam whose steps are made smaller while the second moment is still uncertain: a warm-up of its own.

    With  :math:`t = i + 1`,  :math:`\rho_\infty = 2 / (1 - \beta_2) - 1`  and
    :math:`\rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)`, and the moments of `Adam`:

    .. math::
        w &:= w - \eta_i\, r_t\, \hat m / (\sqrt{\hat v} + \varepsilon), \qquad
        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}
        & \rho_t &> 5 \\
        w &:= w - \eta_i\, \hat m & \rho_t &\le 5

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    beta_1, beta_2 : float
        :math:`\beta_1` and :math:`\beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\varepsilon`, outside of the root, on the corrected moment.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The paper begins to adapt where :math:`\rho_t > 4`; 5 is the authors' later choice, and PyTorch's. PyTorch adds
    epsilon, 1e-8, to the uncorrected root. Where :math:`\beta_2` is so small that :math:`\rho_\infty \le 5`, it never
    adapts.

    References
    ----------
    L. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, https://arxiv.org/abs/1908.03265

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.RAdam(0.1), {"w": xp.asarray([1.0])}
    >>> w, state = optimizer.update({"w": xp.asarray([5.0])}, optimizer.init(w), w)
    >>> round(float(w["w"][0]), 6)
    0.5
    """

    slots = ("first_moment", "second_moment")

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
        """Return learning rate, bias corrections and the rectifier, 0 while nothing adapts."""
        xp = namespace(now.step)
        correction_2 = correction(self.beta_2, now.step)
        number = now.step + 1.0
        longest = 2.0 / (1.0 - self.beta_2) - 1.0
        length = longest - 2.0 * number * (1.0 - correction_2) / correction_2
        # below 5 the root may be of a negative number, which is not used
        safe = xp.maximum(length, 5.0)
        scale = longest / max((longest - 4.0) * (longest - 2.0), 1e-30)
        root = xp.sqrt((safe - 4.0) * (safe - 2.0) / safe * scale)
        rectifier = xp.where(length > 5.0, root, xp.zeros_like(root))
        return now.rate, correction(self.beta_1, now.step), correction_2, rectifier

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        updated: tuple[Any, ...] = radam_update(
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
