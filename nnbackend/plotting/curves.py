"""Curves: over the epochs, over the steps, over the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnbackend.backend import host
from nnbackend.optimizers import Optimizer
from nnbackend.plotting.figure import axes_for, color_of, host_array, new_figure, several_axes

if TYPE_CHECKING:
    from nnbackend.callbacks import GradientMonitor
    from nnbackend.models.rates import RateRange

__all__ = ["gradient_flow", "history", "learning_rate", "learning_rate_range", "monitor"]

#: How often a number may stand at the axis of epochs before only a line is drawn.
_FEW = 30


def history(history: Any, names: str | Sequence[str] | None = None, *, ax: Any = None) -> list[Any]:
    """Draw how loss and metrics went over the epochs, in training and in validation.

    Parameters
    ----------
    history : History, or mapping of str to sequence
        What `Model.fit` returned, or its ``history``.
    names : str or sequence of str, optional
        Which numbers, without ``val_``; all that are single numbers without it.
    ax : matplotlib.axes.Axes or sequence of them, optional
        Where to draw, one for each number; a new figure without it.

    Returns
    -------
    list of matplotlib.axes.Axes
        One for each number.

    Raises
    ------
    ValueError
        If a name is unknown, or there are other axes than one for each number.

    Examples
    --------
    >>> import nnbackend as nn
    >>> run = {"loss": [0.9, 0.4, 0.2], "val_loss": [1.0, 0.6, 0.5], "accuracy": [0.5, 0.8, 0.9]}
    >>> [ax.get_ylabel() for ax in nn.plotting.history(run)]
    ['loss', 'accuracy']
    """
    lists: Mapping[str, Any] = getattr(history, "history", history)
    single = {
        name: values
        for name, values in lists.items()
        if not any(getattr(value, "shape", ()) for value in values)
    }
    known = [name for name in single if not (name.startswith("val_") and name[4:] in single)]
    chosen = known if names is None else [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in single:
            raise ValueError(f"The history has no single numbers named {name!r}; it has {', '.join(known)}.")
    drawn = several_axes(ax, len(chosen), "history")
    for axes, name in zip(drawn, chosen, strict=True):
        epochs = getattr(history, "epoch", None) or range(len(single[name]))
        few = len(single[name]) <= _FEW
        for number, (label, key) in enumerate((("training", name), ("validation", f"val_{name}"))):
            if key in single:
                axes.plot(
                    [epoch + 1 for epoch in epochs],
                    [float(value) for value in single[key]],
                    color=color_of(number),
                    marker="o" if few else None,
                    markersize=3.5,
                    linestyle="-" if number == 0 else "--",
                    label=label,
                )
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return drawn


def learning_rate(schedules: Any, steps: int, *, ax: Any = None) -> Any:
    """Draw the learning rate that schedules give, step by step.

    Parameters
    ----------
    schedules : Schedule, Optimizer, callable or float, or mapping of str to these
        One, or several by the names that the legend shall have.
    steps : int
        How many steps to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        With one line for each schedule.

    Raises
    ------
    ValueError
        If there is no step to draw.

    Examples
    --------
    >>> import nnbackend as nn
    >>> cosine = nn.optimizers.schedules.CosineDecay(0.1, decay_steps=100)
    >>> ax = nn.plotting.learning_rate({"cosine": cosine, "constant": 0.05}, steps=100)
    >>> len(ax.lines)
    2
    """
    if steps < 1:
        raise ValueError(f"learning_rate expects steps above zero, got {steps}.")
    named = schedules if isinstance(schedules, Mapping) else {"": schedules}
    ax = axes_for(ax)
    numbers = host().xp.arange(steps)
    for number, (name, schedule) in enumerate(named.items()):
        ax.plot(numbers, _rates(schedule, numbers), color=color_of(number), label=name)
    ax.set(xlabel="step", ylabel="learning rate")
    ax.set_ylim(bottom=0.0)
    ax.grid(alpha=0.3)
    if isinstance(schedules, Mapping):  # above the picture, which the curves fill from corner to corner
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)
    return ax


def _rates(schedule: Any, steps: Any) -> Any:
    """Return the learning rates of these steps."""
    if isinstance(schedule, Optimizer):
        optimizer = schedule
        schedule = optimizer.learning_rate
        if not callable(schedule) and optimizer.decay:
            return [schedule / (1.0 + optimizer.decay * step) for step in steps.tolist()]
    function: Callable[[Any], Any] = schedule if callable(schedule) else lambda step: float(schedule)
    try:
        rates = host_array(function(steps))
    except (TypeError, ValueError):  # a function of one step only
        rates = None
    if rates is None or tuple(rates.shape) != tuple(steps.shape):
        rates = [float(function(step)) for step in steps.tolist()]
    return rates


def learning_rate_range(found: RateRange, *, ax: Any = None) -> Any:
    """Draw the loss against a learning rate that was raised step by step, and the learning rate that is suggested.

    Parameters
    ----------
    found : RateRange
        What `nnbackend.lr_find` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        With the losses of the batches and their moving average; the axis of learning rates is logarithmic.

    References
    ----------
    Smith, Cyclical Learning Rates for Training Neural Networks, 2017, arXiv:1506.01186.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> found = nn.lr_find(model, [[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]], batch_size=3)
    >>> nn.plotting.learning_rate_range(found).get_xscale()
    'log'
    """
    ax = axes_for(ax)
    ax.plot(found.rates, found.losses, color="0.75", linewidth=1.0, label="loss of each batch")
    ax.plot(found.rates, found.smoothed, color=color_of(0), label="smoothed")
    ax.axvline(
        found.suggestion, color=color_of(1), linestyle="--", label=f"suggested: {found.suggestion:.2g}"
    )
    finite = [float(loss) for loss in found.smoothed if math.isfinite(loss)]
    if finite:  # where the loss runs away the curve leaves the picture, or nothing else could be seen in it
        low, high = min(finite), finite[0]
        room = (high - low) or abs(high) or 1.0
        ax.set_ylim(low - 0.15 * room, high + 0.4 * room)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left")
    return ax


#: measure -> what the axis says, and whether it is logarithmic
_MEASURES = {
    "gradient_norm": ("norm of the gradient at the output", True),
    "gradient_spread": ("spread of the gradient at the output", True),
    "activation_norm": ("norm of the output", True),
    "activation_spread": ("spread of the output", True),
    "update_ratio": ("update / weight", True),
    "dead": ("share of dead units", False),
    "saturated": ("share of saturated outputs", False),
}
_MARKS = {
    "vanishing": ("v", 0),
    "exploding": ("^", 1),
    "dying": ("X", 3),
    "saturated": ("s", 4),
    "not finite": ("*", 7),
}


def gradient_flow(
    monitor: GradientMonitor,
    measure: str = "gradient_norm",
    *,
    epochs: Sequence[int] | None = None,
    ax: Any = None,
) -> Any:
    """Draw what a `GradientMonitor` measured, layer by layer from the input to the loss.

    Parameters
    ----------
    monitor : GradientMonitor
        After training.
    measure : str
        One of the measures in its ``history``: ``"gradient_norm"``, ``"activation_norm"``, ``"update_ratio"``, ...
    epochs : sequence of int, optional
        Which epochs, from 0; the first and the last one looked at without it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        One line for each epoch; layers with a finding in the last of them are marked.

    Raises
    ------
    ValueError
        If the measure is unknown, or an epoch was not looked at.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(8, activation="tanh"), nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> monitor = nn.callbacks.GradientMonitor()
    >>> _ = model.fit([[0.0], [1.0]], [0.0, 1.0], epochs=3, callbacks=[monitor], verbose=0)
    >>> ax = nn.plotting.gradient_flow(monitor)
    >>> ax.get_yscale(), [label.get_text() for label in ax.get_xticklabels()]
    ('log', ['dense', 'dense_1'])
    """
    if measure not in _MEASURES:
        raise ValueError(
            f"gradient_flow expects measure to be one of {', '.join(_MEASURES)}, got {measure!r}."
        )
    monitor.findings()  # refuses one that has seen nothing
    chosen = list(dict.fromkeys((monitor.epoch[0], monitor.epoch[-1]))) if epochs is None else list(epochs)
    layers = list(monitor.history)
    ax = axes_for(ax, max(6.4, min(14.0, 2.0 + 0.32 * len(layers))), 4.6)
    words, logarithmic = _MEASURES[measure]
    places = list(range(len(layers)))
    drawn: list[float | None] = []
    for number, epoch in enumerate(chosen):
        at = monitor.index(epoch)
        drawn = [_drawable(monitor.history[layer][measure][at], logarithmic) for layer in layers]
        last = number == len(chosen) - 1
        ax.plot(
            places,
            [math.nan if value is None else value for value in drawn],
            color=color_of(0),
            alpha=1.0 if last else 0.35 + 0.3 * number / len(chosen),
            linestyle="-" if last else ":",
            marker="o",
            markersize=3,
            label=f"epoch {epoch + 1}",
        )
    _mark(ax, monitor, chosen[-1], layers, drawn)
    if logarithmic:
        ax.set_yscale("log")
        _at_least_two_decades(ax)
    else:
        ax.set_ylim(-0.03, 1.03)
    _name_layers(ax, layers)
    ax.set(xlabel="layer, from input to loss", ylabel=words)
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    return ax


def _at_least_two_decades(ax: Any) -> None:
    """Keep what is nearly the same for all layers from looking as if it were not."""
    low, high = ax.get_ylim()
    if high < 100.0 * low:
        middle = math.sqrt(low * high)
        ax.set_ylim(middle / 10.0, middle * 10.0)


def _drawable(value: float | None, logarithmic: bool) -> float | None:
    """Return a number that has a place in the picture; none is where a logarithm would be of zero."""
    return None if value is None or not math.isfinite(value) or (logarithmic and value <= 0.0) else value


def _mark(
    ax: Any, monitor: GradientMonitor, epoch: int, layers: Sequence[str], drawn: Sequence[float | None]
) -> None:
    """Mark the layers with a finding on their line, or at the foot of the picture where they have no point on it."""
    kinds = dict.fromkeys(finding.kind for finding in monitor.findings(epoch))
    for size, kind in zip(
        (10, 6, 4, 3, 2), kinds, strict=False
    ):  # smaller ones on larger: a layer may have several
        marker, color = _MARKS[kind]
        troubled = [
            layers.index(path)
            for finding in monitor.findings(epoch)
            if finding.kind == kind
            for path in finding.layers
        ]
        for on_line in (True, False):
            at = [place for place in troubled if (drawn[place] is not None) == on_line]
            if not at:
                continue
            ax.plot(
                at,
                [drawn[place] if on_line else 0.03 for place in at],
                transform=ax.transData if on_line else ax.get_xaxis_transform(),
                linestyle="",
                marker=marker,
                markersize=size,
                color=color_of(color),
                markeredgecolor="white",
                markeredgewidth=0.5,
                label=kind if on_line or all(drawn[place] is None for place in troubled) else None,
                zorder=3,
            )


def _name_layers(ax: Any, layers: Sequence[str]) -> None:
    """Write the layers' names under the axis, only every so many where there is no room for all."""
    every = -(-len(layers) // 40)
    ax.set_xticks(
        list(range(0, len(layers), every)),
        list(layers)[::every],
        rotation=90 if len(layers) > 6 or max(map(len, layers)) > 10 else 0,
        fontsize="small",
    )
    ax.set_xlim(-0.6, len(layers) - 0.4)


def monitor(monitor: GradientMonitor, *, epochs: Sequence[int] | None = None) -> Any:
    """Draw all that a `GradientMonitor` measured: gradients, outputs, updates, and dead and saturated shares.

    Parameters
    ----------
    monitor : GradientMonitor
        After training.
    epochs : sequence of int, optional
        Which epochs, from 0; the first and the last one looked at without it.

    Returns
    -------
    matplotlib.figure.Figure
        Of one picture for each.

    Raises
    ------
    ValueError
        If an epoch was not looked at.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(8, activation="tanh"), nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> watcher = nn.callbacks.GradientMonitor()
    >>> _ = model.fit([[0.0], [1.0]], [0.0, 1.0], callbacks=[watcher], verbose=0)
    >>> len(nn.plotting.monitor(watcher).axes)
    4
    """
    measured = ["gradient_norm", "activation_spread", "update_ratio"]
    measured += [
        measure
        for measure in ("dead", "saturated")
        if any(value is not None for lists in monitor.history.values() for value in lists[measure])
    ]
    figure = new_figure(max(7.0, min(14.0, 2.5 + 0.32 * len(monitor.history))), 2.7 * len(measured) + 1.0)
    rows = figure.subplots(len(measured), 1, sharex=True, squeeze=False)[:, 0]
    for axes, measure in zip(rows, measured, strict=True):
        gradient_flow(monitor, measure, epochs=epochs, ax=axes)
        if axes is not rows[-1]:
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
        if axes is not rows[0]:
            axes.get_legend().remove()
    return figure
