"""The learning-rate range test: which learning rates a model learns with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnbackend.arguments import positive_integer
from nnbackend.data import Batch, Feed
from nnbackend.models.state import Snapshot
from nnbackend.optimizers import Optimizer

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["RateRange", "lr_find"]


@dataclass(frozen=True)
class RateRange:
    r"""What `lr_find` found.

    Attributes
    ----------
    rates : list of float
        The learning rates, rising.
    losses : list of float
        The loss of the batch that each step was taken on, before the step.
    smoothed : list of float
        Their moving averages.
    diverged : bool
        Whether it ended because the loss rose without bound.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    diverged: bool

    @property
    def at_minimum(self) -> float:
        """The learning rate at the least smoothed loss, on the verge of diverging; a tenth of it is safe."""
        return self.rates[self._least()]

    @property
    def suggestion(self) -> float:
        """The learning rate at which the smoothed loss falls fastest over the rate's logarithm, before its minimum.

        The fall is measured over a tenth of the sweep, and after its first tenth, where rates are too small to move
        anything and all differences are those of batches; where the minimum comes sooner, it is a tenth of its rate.
        """
        reach = max(1, len(self.rates) // 20)
        places = range(max(reach, len(self.rates) // 10), self._least() - reach + 1)
        if not places:
            return self.at_minimum / 10
        slopes = [
            (self.smoothed[i + reach] - self.smoothed[i - reach])
            / math.log(self.rates[i + reach] / self.rates[i - reach])
            for i in places
        ]
        return self.rates[places[slopes.index(min(slopes))]]

    def _least(self) -> int:
        return self.smoothed.index(min(self.smoothed))

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the learning rate, with the suggestion; see `nnbackend.plotting.learning_rate_range`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure without it.

        Returns
        -------
        matplotlib.axes.Axes
            What it was drawn on.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from nnbackend.plotting import learning_rate_range

        return learning_rate_range(self, ax=ax)


def lr_find(
    model: Model,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    *,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    start: float = 1e-7,
    stop: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    divergence: float = 4.0,
) -> RateRange:
    r"""Try learning rates from small to large, one for each training step, and return the losses.

    .. math:: \eta_i = \eta_0 (\eta_1 / \eta_0)^{i / (n - 1)}, \qquad
        m_i = \beta m_{i-1} + (1 - \beta) \ell_i, \quad \bar\ell_i = m_i / (1 - \beta^{i+1})

    The loss stays as it is while the rate is too small, falls where the model learns, and rises without bound where the
    rate is too large. Afterwards weights, statistics, the optimizer's state and the random state are exactly as they
    were: no training has taken place.

    Parameters
    ----------
    model : Model
        A compiled model. If its optimizer has a schedule, numbers stand in for it here.
    x, y, batch_size, sample_weight, class_weight
        Data as of `Model.fit`; they are gone through as often as is needed. Of an iterator that can be read only once,
        what is used is gone.
    start, stop : float
        :math:`\eta_0` and :math:`\eta_1`.
    steps : int
        :math:`n`, at most.
    smoothing : float
        :math:`\beta`.
    divergence : float
        It ends when the smoothed loss is above its minimum by so many times the distance from the first loss to the
        minimum (or by so many times the size of the minimum, where nothing was learnt), or is not finite.

    Returns
    -------
    RateRange
        Rates, losses, a suggestion and a plot.

    Raises
    ------
    ValueError
        If a number is out of its range.
    RuntimeError
        If the model was not compiled.

    References
    ----------
    L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017, https://arxiv.org/abs/1506.01186

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> found = nn.lr_find(model, x, [[1.0], [3.0], [5.0], [7.0]], batch_size=4)
    >>> found.diverged, 0.001 < found.suggestion < 0.5
    (True, True)
    """
    positive_integer("lr_find", "steps", steps)
    if not 0.0 < start < stop < math.inf:
        raise ValueError(f"lr_find expects 0 < start < stop, got start={start} and stop={stop}.")
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"lr_find expects smoothing from 0 to below 1, got {smoothing}.")
    if not divergence > 0.0:
        raise ValueError(f"lr_find expects divergence above zero, got {divergence}.")
    _, optimizer = model._require_compiled("lr_find")
    feed, _ = model._feed(
        (x, y, sample_weight),
        batch_size,
        shuffle=True,
        steps=None,
        share=0.0,
        validation_size=1,
        validation_steps=None,
        class_weight=class_weight,
        finite=False,
    )
    before, position = Snapshot(model), feed.state()
    compiled, compiled_at = model._compiled, model._compiled_at
    ratio = (stop / start) ** (1.0 / max(1, steps - 1))
    try:
        model._compiled = {}
        model.optimizer = _with_number(optimizer, start)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # numbers run over in the end, as they are meant to
            return _sweep(
                model, _endless(feed), [start * ratio**i for i in range(steps)], smoothing, divergence
            )
    finally:
        model.optimizer = optimizer
        model._compiled = compiled if model._compiled_at == compiled_at else {}
        before.restore()
        if feed.positionable:
            feed.restore(position)


def _with_number(optimizer: Optimizer, rate: float) -> Optimizer:
    """Return an optimizer like this one with a number for a learning rate, and without decay."""
    config = {name: value for name, value in optimizer.get_config().items() if name != "decay"}
    return type(optimizer).from_config({**config, "learning_rate": rate})


def _endless(feed: Feed) -> Iterator[Batch]:
    while True:
        yield from feed


def _sweep(
    model: Model, batches: Iterator[Batch], rates: list[float], smoothing: float, divergence: float
) -> RateRange:
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    for i, (rate, batch) in enumerate(zip(rates, batches, strict=False)):
        assert model.optimizer is not None
        model.optimizer.learning_rate = rate
        loss = model._numbers(model._train(batch, model._no_metrics()))["loss"]
        average = smoothing * average + (1.0 - smoothing) * loss
        corrected = average / (1.0 - smoothing ** (i + 1))
        if not math.isfinite(corrected):
            diverged = True
            break
        losses.append(loss)
        smoothed.append(corrected)
        least = min(smoothed)
        if corrected - least > divergence * max(smoothed[0] - least, abs(least)):
            diverged = True
            break
    if not losses:
        raise ValueError(
            "lr_find expects a loss that is finite at first. Look at the data, and at the weights; "
            "nn.callbacks.TerminateOnNaN says in which layer it is lost."
        )
    return RateRange(rates[: len(losses)], losses, smoothed, diverged)
