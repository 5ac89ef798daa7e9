"""Learning rates that change with the step: array code on the step counter, part of the training step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnbackend.backend import backend_of, host, is_array, namespace, nearest
from nnbackend.config import Configurable
from nnbackend.elementwise import elementwise

__all__ = [
    "Constant",
    "CosineDecay",
    "CosineDecayRestarts",
    "Cyclic",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LinearWarmup",
    "Noam",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Schedule",
    "StepDecay",
]


class Schedule(Configurable):
    r"""A learning rate  :math:`\eta_i`  for each step :math:`i`, counted from 0; subclasses give it in `rate`.

    Every optimizer takes one in the place of a number. Called on a step, or on an array of steps, it answers with the
    learning rates, so that they can be looked at and plotted.

    Examples
    --------
    >>> import nnbackend as nn
    >>> schedule = nn.optimizers.schedules.CosineDecay(0.1, decay_steps=1000)
    >>> schedule(0), schedule(500), schedule(2000)
    (0.1, 0.05, 0.0)
    >>> optimizer = nn.optimizers.Adam(schedule)

    One of one's own:

    >>> @nn.register("my_package")
    ... class SquareRoot(nn.optimizers.schedules.Schedule):
    ...     def rate(self, step):
    ...         return 0.1 / (step + 1.0) ** 0.5
    >>> SquareRoot()(3)
    0.05
    """

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step.

        Parameters
        ----------
        step : int or array
            The step, or steps of any shape.

        Returns
        -------
        float or array
            A number for a number, a float64 array for an array.
        """
        if not is_array(step):
            return float(self(host().from_host(step, "float64")))
        backend = backend_of(step)
        with backend.scope():
            return self.rate(backend.xp.astype(step, backend.xp.float64))

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps; no Python branch on them."""
        raise NotImplementedError(f"{type(self).__name__} must define rate(step).")

    def _at_least(self, name: str, value: float, least: float = 0.0) -> float:
        number = float(value)
        if not least <= number < math.inf:
            raise ValueError(
                f"{type(self).__name__} expects {name} to be {least:g} or more, and finite, got {value}."
            )
        return number

    def _steps(self, name: str, value: float) -> float:
        """Return a number of steps, which is above zero."""
        number = float(value)
        if not 0.0 < number < math.inf:
            raise ValueError(f"{type(self).__name__} expects {name} above zero, and finite, got {value}.")
        return number

    def _one_of(self, name: str, value: str, known: Sequence[str]) -> str:
        if value not in known:
            raise ValueError(
                f"{type(self).__name__} expects {name} to be one of {', '.join(known)}, got {value!r}."
                f"{nearest(value, known)}"
            )
        return value


class Constant(Schedule):
    r"""The same at every step,  :math:`\eta_i = \eta`: to put a warm-up in front of.

    Parameters
    ----------
    learning_rate : float
        :math:`\eta`.

    Examples
    --------
    >>> Constant(0.1)(1000)
    0.1
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = self._at_least("learning_rate", learning_rate)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return namespace(step).ones_like(step) * self.learning_rate


@elementwise
def inverse_time(step: Any, *, initial: float, steps: float, factor: float, staircase: bool) -> Any:
    """Eta / (1 + kappa i / n)."""
    through = step / steps
    return initial / (1.0 + factor * (namespace(step).floor(through) if staircase else through))


class InverseTimeDecay(Schedule):
    r"""Slower with time,  :math:`\eta_i = \eta / (1 + \kappa\, i / n)`.

    Parameters
    ----------
    initial_learning_rate : float
        :math:`\eta`.
    decay_steps : float
        :math:`n`.
    decay_rate : float
        :math:`\kappa`. With `decay_steps` 1 it is the argument `decay` of every optimizer.
    staircase : bool
        Whether :math:`i / n` is rounded down, so that the rate changes every :math:`n` steps.

    Raises
    ------
    ValueError
        If a number is negative, or `decay_steps` is not positive.

    Examples
    --------
    >>> InverseTimeDecay(1.0, 1, 0.5)(2)
    0.5
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate = self._at_least("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.decay_rate = self._at_least("decay_rate", decay_rate)
        self.staircase = bool(staircase)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return inverse_time(
            step,
            initial=self.initial_learning_rate,
            steps=self.decay_steps,
            factor=self.decay_rate,
            staircase=self.staircase,
        )


@elementwise
def exponential(step: Any, *, initial: float, steps: float, log_factor: float, staircase: bool) -> Any:
    """Eta gamma^(i / n), as exp of the logarithm."""
    xp = namespace(step)
    through = step / steps
    return initial * xp.exp(log_factor * (xp.floor(through) if staircase else through))


class ExponentialDecay(Schedule):
    r"""By the same factor in equal times,  :math:`\eta_i = \eta\, \gamma^{i / n}`.

    Parameters
    ----------
    initial_learning_rate : float
        :math:`\eta`.
    decay_steps : float
        :math:`n`.
    decay_rate : float
        :math:`\gamma`, above zero.
    staircase : bool
        Whether :math:`i / n` is rounded down, so that the rate changes every :math:`n` steps.

    Raises
    ------
    ValueError
        If `decay_steps` or `decay_rate` is not positive.

    Notes
    -----
    PyTorch's ``ExponentialLR`` has `decay_steps` 1.

    Examples
    --------
    >>> ExponentialDecay(1.0, 10, 0.25)(5)
    0.5
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate = self._at_least("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.decay_rate = self._steps("decay_rate", decay_rate)
        self.staircase = bool(staircase)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return exponential(
            step,
            initial=self.initial_learning_rate,
            steps=self.decay_steps,
            log_factor=math.log(self.decay_rate),
            staircase=self.staircase,
        )


class StepDecay(ExponentialDecay):
    r"""By a factor every so many steps,  :math:`\eta_i = \eta\, \gamma^{\lfloor i / n \rfloor}`.

    Parameters
    ----------
    initial_learning_rate : float
        :math:`\eta`.
    step_size : int
        :math:`n`.
    factor : float
        :math:`\gamma`, above zero.

    Raises
    ------
    ValueError
        If `step_size` or `factor` is not positive.

    Notes
    -----
    PyTorch's ``StepLR``.

    Examples
    --------
    >>> StepDecay(1.0, step_size=30, factor=0.5)(60)
    0.25
    """

    def __init__(self, initial_learning_rate: float, step_size: float, factor: float = 0.1) -> None:
        self.step_size = self._steps("step_size", step_size)
        self.factor = self._steps("factor", factor)
        super().__init__(initial_learning_rate, step_size, factor, staircase=True)


@elementwise
def beyond(step: Any, present: Any, *, boundary: float, value: float) -> Any:
    """Take another value after a boundary."""
    return namespace(step).where(step > boundary, value, present)


class PiecewiseConstantDecay(Schedule):
    r"""One rate up to each boundary:  :math:`\eta_i = \eta_k` for  :math:`b_{k-1} < i \le b_k`.

    Parameters
    ----------
    boundaries : sequence of int
        :math:`b_k`, increasing.
    values : sequence of float
        :math:`\eta_k`, one more than boundaries.

    Raises
    ------
    ValueError
        If their numbers do not fit, boundaries do not increase, or a rate is negative.

    Notes
    -----
    As in Keras, a boundary still belongs to the rate before it, so that the first rate holds for ``b + 1`` steps.
    PyTorch's ``MultiStepLR`` changes one step earlier.

    Examples
    --------
    >>> schedule = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> schedule(10), schedule(11), schedule(21)
    (1.0, 0.5, 0.1)
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        self.boundaries = [float(boundary) for boundary in boundaries]
        self.values = [self._at_least("values", value) for value in values]
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"PiecewiseConstantDecay expects one value more than boundaries, got {len(self.values)} and "
                f"{len(self.boundaries)}."
            )
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(
                f"PiecewiseConstantDecay expects boundaries that increase, got {list(boundaries)}."
            )

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        present = namespace(step).ones_like(step) * self.values[0]
        for boundary, value in zip(self.boundaries, self.values[1:], strict=True):
            present = beyond(step, present, boundary=boundary, value=value)
        return present


@elementwise
def polynomial(step: Any, *, initial: float, end: float, steps: float, power: float, cycle: bool) -> Any:
    """(Eta - eta_end) (1 - min(i / n, 1))^p + eta_end, on a longer n in each cycle."""
    xp = namespace(step)
    through = step / steps
    part = through / xp.maximum(xp.ceil(through), 1.0) if cycle else xp.minimum(through, 1.0)
    left = 1.0 - part
    return (initial - end) * (left if power == 1.0 else left**power) + end


class PolynomialDecay(Schedule):
    r"""Down along a power,  :math:`\eta_i = (\eta - \eta_e) (1 - \min(i / n, 1))^p + \eta_e`.

    Parameters
    ----------
    initial_learning_rate : float
        :math:`\eta`.
    decay_steps : float
        :math:`n`.
    end_learning_rate : float
        :math:`\eta_e`.
    power : float
        :math:`p`; 1 is a straight line.
    cycle : bool
        Whether :math:`n` grows to the next multiple of `decay_steps` when it is reached, so that the rate jumps up
        and comes down again.

    Raises
    ------
    ValueError
        If a number is negative, or `decay_steps` or `power` is not positive.

    Notes
    -----
    PyTorch's ``PolynomialLR`` ends at 0.

    Examples
    --------
    >>> PolynomialDecay(1.0, 100, end_learning_rate=0.0)(25)
    0.75
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial_learning_rate = self._at_least("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.end_learning_rate = self._at_least("end_learning_rate", end_learning_rate)
        self.power = self._steps("power", power)
        self.cycle = bool(cycle)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return polynomial(
            step,
            initial=self.initial_learning_rate,
            end=self.end_learning_rate,
            steps=self.decay_steps,
            power=self.power,
            cycle=self.cycle,
        )


def _cosine(xp: Any, part: Any) -> Any:
    """(1 + cos(pi p)) / 2: from 1 at 0 to 0 at 1."""
    return 0.5 * (1.0 + xp.cos(math.pi * part))


@elementwise
def cosine(step: Any, *, initial: float, steps: float, alpha: float) -> Any:
    """Eta ((1 - alpha) (1 + cos(pi min(i / n, 1))) / 2 + alpha)."""
    xp = namespace(step)
    return initial * ((1.0 - alpha) * _cosine(xp, xp.minimum(step / steps, 1.0)) + alpha)


class CosineDecay(Schedule):
    r"""Down along half a cosine, to a share of the first rate.

    .. math:: \eta_i = \eta \left((1 - \alpha) \frac{1 + \cos(\pi \min(i/n, 1))}{2} + \alpha\right)

    Parameters
    ----------
    initial_learning_rate : float
        :math:`\eta`.
    decay_steps : float
        :math:`n`.
    alpha : float
        The share of :math:`\eta` that is left at the end.

    Raises
    ------
    ValueError
        If a number is negative, or `decay_steps` is not positive.

    Notes
    -----
    Keras's warm-up arguments are `LinearWarmup` here. PyTorch's ``CosineAnnealingLR`` goes up again after the end.

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017,
    https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> CosineDecay(0.1, 100)(50)
    0.05
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float, alpha: float = 0.0) -> None:
        self.initial_learning_rate = self._at_least("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.alpha = self._at_least("alpha", alpha)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return cosine(step, initial=self.initial_learning_rate, steps=self.decay_steps, alpha=self.alpha)


@elementwise
def cosine_restarts(
    step: Any, *, initial: float, steps: float, t_mul: float, m_mul: float, alpha: float
) -> Any:
    """Half a cosine again and again: run k takes n t^k steps and begins at eta m^k."""
    xp = namespace(step)
    through = step / steps
    if t_mul == 1.0:
        number = xp.floor(through)
        part = through - number
    else:
        # a restart falls on a whole number, which the quotient of logarithms may miss by a rounding
        number = xp.floor(xp.log(1.0 + through * (t_mul - 1.0)) / math.log(t_mul) + 1e-9)
        length = xp.exp(number * math.log(t_mul))
        part = xp.maximum((through - (length - 1.0) / (t_mul - 1.0)) / length, 0.0)
    height = xp.exp(number * math.log(m_mul))
    return initial * ((1.0 - alpha) * height * _cosine(xp, part) + alpha)


class CosineDecayRestarts(Schedule):
    r"""Half a cosine again and again: the run :math:`k` takes  :math:`n t^k`  steps and begins at  :math:`\eta m^k`.

    .. math:: \eta_i = \eta \left((1 - \alpha)\, m^k\, \frac{1 + \cos(\pi p)}{2} + \alpha\right)

    where :math:`p` is the part of the run that is over.

    Parameters
    ----------
    initial_learning_rate : float
        :math:`\eta`.
    first_decay_steps : float
        :math:`n`.
    t_mul : float
        :math:`t`, 1 or more.
    m_mul : float
        :math:`m`, above zero.
    alpha : float
        The share of :math:`\eta` at the end of a run.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Notes
    -----
    PyTorch's ``CosineAnnealingWarmRestarts`` has `m_mul` 1, and `t_mul` 1 without a word.

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017,
    https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> schedule = CosineDecayRestarts(1.0, 10, m_mul=0.5)
    >>> schedule(0), schedule(10), schedule(30)
    (1.0, 0.5, 0.25)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.initial_learning_rate = self._at_least("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = self._steps("first_decay_steps", first_decay_steps)
        self.t_mul = self._at_least("t_mul", t_mul, 1.0)
        self.m_mul = self._steps("m_mul", m_mul)
        self.alpha = self._at_least("alpha", alpha)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return cosine_restarts(
            step,
            initial=self.initial_learning_rate,
            steps=self.first_decay_steps,
            t_mul=self.t_mul,
            m_mul=self.m_mul,
            alpha=self.alpha,
        )


@elementwise
def warmed_up(step: Any, after: Any, *, steps: float, start: float, end: float) -> Any:
    """Go along a straight line over n steps, then on with what comes after."""
    return namespace(step).where(step < steps, start + (end - start) * (step / steps), after)


class LinearWarmup(Schedule):
    r"""A straight line up, in front of any schedule.

    .. math:: \eta_i = s + (\eta'_0 - s)\, i / n \quad (i < n), \qquad \eta_i = \eta'_{i - n} \quad (i \ge n)

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta'`, what comes after it.
    warmup_steps : int
        :math:`n`.
    start : float
        :math:`s`, the learning rate of step 0.

    Raises
    ------
    ValueError
        If `warmup_steps` is not positive, or a rate is negative.

    References
    ----------
    P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017,
    https://arxiv.org/abs/1706.02677

    Examples
    --------
    >>> schedule = LinearWarmup(CosineDecay(0.1, decay_steps=90), warmup_steps=10)
    >>> schedule(0), schedule(5), schedule(10), schedule(100)
    (0.0, 0.05, 0.1, 0.0)
    """

    def __init__(self, learning_rate: float | Schedule, warmup_steps: int, start: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.after = learning_rate if isinstance(learning_rate, Schedule) else Constant(learning_rate)
        self.warmup_steps = self._steps("warmup_steps", warmup_steps)
        self.start = self._at_least("start", start)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        after = self.after(namespace(step).maximum(step - self.warmup_steps, 0.0))
        return warmed_up(step, after, steps=self.warmup_steps, start=self.start, end=self.after(0))


@elementwise
def annealed(step: Any, *, begin: float, end: float, start: float, stop: float, straight: bool) -> Any:
    """From one rate to another, along a line or half a cosine."""
    xp = namespace(step)
    part = xp.minimum(xp.maximum((step - begin) / (end - begin), 0.0), 1.0)
    return start + (stop - start) * part if straight else stop + (start - stop) * _cosine(xp, part)


class OneCycle(Schedule):
    r"""Up once and down again, to far below the start.

    From  :math:`\eta_{max} / d`  to  :math:`\eta_{max}`  over the first share of the steps, then down to
    :math:`\eta_{max} / (d f)` at the last one, along half cosines or straight lines.

    Parameters
    ----------
    max_learning_rate : float
        :math:`\eta_{max}`.
    total_steps : int
        How many steps there are, 2 or more.
    pct_start : float
        The share of them that goes up, above 0 and below 1.
    div_factor : float
        :math:`d`.
    final_div_factor : float
        :math:`f`.
    anneal_strategy : {"cos", "linear"}
        Along what.
    three_phase : bool
        Whether the way down is as long as that up and ends where it began, and a third phase goes on to the end.

    Raises
    ------
    ValueError
        If a number is out of its range, or `anneal_strategy` is neither of these.

    Notes
    -----
    PyTorch's ``OneCycleLR``, without its cycle of momentum.

    References
    ----------
    L. Smith and N. Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018, https://arxiv.org/abs/1708.07120

    Examples
    --------
    >>> schedule = OneCycle(1.0, total_steps=101)
    >>> round(schedule(0), 3), round(schedule(29), 3), schedule(100)
    (0.04, 1.0, 4e-06)
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal_strategy: str = "cos",
        three_phase: bool = False,
    ) -> None:
        self.max_learning_rate = self._at_least("max_learning_rate", max_learning_rate)
        self.total_steps = self._at_least("total_steps", total_steps, 2.0)
        if not 0.0 < pct_start < 1.0:
            raise ValueError(f"OneCycle expects pct_start above 0 and below 1, got {pct_start}.")
        self.pct_start = float(pct_start)
        self.div_factor = self._steps("div_factor", div_factor)
        self.final_div_factor = self._steps("final_div_factor", final_div_factor)
        self.anneal_strategy = self._one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.three_phase = bool(three_phase)
        top = self.pct_start * self.total_steps - 1.0
        if top <= 0.0 or (self.three_phase and 2.0 * top + 1.0 >= self.total_steps):
            raise ValueError(
                f"OneCycle with {total_steps} steps and pct_start {pct_start} has no step to go up or down in. "
                "Take more steps, or another pct_start."
            )

    def _phases(self) -> list[tuple[float, float, float]]:
        """Return the last step of each phase with the rates that it begins and ends with."""
        top, high = self.pct_start * self.total_steps - 1.0, self.max_learning_rate
        first, last = high / self.div_factor, high / self.div_factor / self.final_div_factor
        end = self.total_steps - 1.0
        if not self.three_phase:
            return [(top, first, high), (end, high, last)]
        back = 2.0 * self.pct_start * self.total_steps - 2.0
        return [(top, first, high), (back, high, first), (end, first, last)]

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        xp = namespace(step)
        result, begin = None, 0.0
        for end, start, stop in self._phases():
            phase = annealed(
                step, begin=begin, end=end, start=start, stop=stop, straight=self.anneal_strategy == "linear"
            )
            result = phase if result is None else xp.where(step > begin, phase, result)
            begin = end
        return result


@elementwise
def cyclic(
    step: Any, *, low: float, high: float, up: float, down: float, halves: bool, log_gamma: float
) -> Any:
    """Up and down along straight lines, less high in each cycle or with each step."""
    xp = namespace(step)
    number = xp.floor(step / (up + down) + 1e-12)  # 0.1 + 0.2 steps are no more than 0.3
    within = step - number * (up + down)
    part = xp.where(within <= up, within / up, 1.0 - (within - up) / down)
    height = xp.maximum(part, 0.0) * (high - low)
    if halves:
        height = height * xp.exp(number * -math.log(2.0))
    if log_gamma:
        height = height * xp.exp(step * log_gamma)
    return low + height


class Cyclic(Schedule):
    r"""Up and down between two rates along straight lines, again and again.

    Parameters
    ----------
    base_learning_rate, max_learning_rate : float
        The two rates.
    step_size_up : int
        How many steps a rise takes.
    step_size_down : int, optional
        How many steps a fall takes; as many as the rise without it.
    mode : {"triangular", "triangular2", "exp_range"}
        Whether all cycles are equally high, each is half as high as that before, or the height shrinks as
        :math:`\gamma^i`.
    gamma : float
        :math:`\gamma`, above zero.

    Raises
    ------
    ValueError
        If a number is out of its range, or `mode` is none of these.

    Notes
    -----
    PyTorch's ``CyclicLR``, without its cycle of momentum.

    References
    ----------
    L. Smith, "Cyclical learning rates for training neural networks", 2017, https://arxiv.org/abs/1506.01186

    Examples
    --------
    >>> schedule = Cyclic(0.0, 1.0, step_size_up=4)
    >>> schedule(2), schedule(4), schedule(8), schedule(12)
    (0.5, 1.0, 0.0, 1.0)
    """

    def __init__(
        self,
        base_learning_rate: float,
        max_learning_rate: float,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
    ) -> None:
        self.base_learning_rate = self._at_least("base_learning_rate", base_learning_rate)
        self.max_learning_rate = self._at_least("max_learning_rate", max_learning_rate)
        self.step_size_up = self._steps("step_size_up", step_size_up)
        self.step_size_down = (
            None if step_size_down is None else self._steps("step_size_down", step_size_down)
        )
        self.mode = self._one_of("mode", mode, ("triangular", "triangular2", "exp_range"))
        self.gamma = self._steps("gamma", gamma)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return cyclic(
            step,
            low=self.base_learning_rate,
            high=self.max_learning_rate,
            up=self.step_size_up,
            down=self.step_size_up if self.step_size_down is None else self.step_size_down,
            halves=self.mode == "triangular2",
            log_gamma=math.log(self.gamma) if self.mode == "exp_range" else 0.0,
        )


@elementwise
def noam(step: Any, *, scale: float, warmup: float) -> Any:
    """F d^(-1/2) min(t^(-1/2), t n^(-3/2)) with t = i + 1."""
    xp = namespace(step)
    number = step + 1.0
    return scale * xp.minimum(1.0 / xp.sqrt(number), number * warmup**-1.5)


class Noam(Schedule):
    r"""The Transformer's: up along a line, down with the root of the step.

    .. math:: \eta_i = f\, d^{-1/2} \min(t^{-1/2}, t\, n^{-3/2}), \qquad t = i + 1

    It begins at 1, so that the first step is not lost.

    Parameters
    ----------
    d_model : int
        :math:`d`, the width of the model.
    warmup_steps : int
        :math:`n`.
    factor : float
        :math:`f`.

    Raises
    ------
    ValueError
        If a number is not positive.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762, section 5.3

    Examples
    --------
    >>> schedule = Noam(512, warmup_steps=4000)
    >>> round(schedule(3999), 6), schedule(3999) > schedule(4000)
    (0.000699, True)
    """

    def __init__(self, d_model: int, warmup_steps: int = 4000, factor: float = 1.0) -> None:
        self.d_model = self._steps("d_model", d_model)
        self.warmup_steps = self._steps("warmup_steps", warmup_steps)
        self.factor = self._steps("factor", factor)

    def rate(self, step: Any) -> Any:
        """Return the learning rates of a float64 array of steps."""
        return noam(step, scale=self.factor * self.d_model**-0.5, warmup=self.warmup_steps)
