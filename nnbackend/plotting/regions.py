"""Pictures of what a classifier says: where in the plane, and how often which class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackend.backend import host
from nnbackend.plotting.figure import axes_for, color_of, host_array

__all__ = ["confusion_matrix", "decision_regions"]

#: Up to how many classes the cells of a confusion matrix have room for their numbers.
_ROOM = 20


def confusion_matrix(
    matrix: Any, labels: Sequence[str] | None = None, *, normalize: bool = False, ax: Any = None
) -> Any:
    """Draw how often each class was taken for each.

    Parameters
    ----------
    matrix : array of shape (k, k)
        True classes in rows, predicted ones in columns, as `nnbackend.metrics.ConfusionMatrix` counts them.
    labels : sequence of str, optional
        The names of the classes; their numbers without it.
    normalize : bool
        Whether to write shares of each true class into the cells, rather than what the matrix holds.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        Cells are the darker, the larger their share of the true class.

    Raises
    ------
    ValueError
        If the matrix is not square, or there are other labels than one for each class.

    Examples
    --------
    >>> import nnbackend as nn
    >>> ax = nn.plotting.confusion_matrix([[8, 2], [1, 9]], ["cat", "dog"])
    >>> [cell.get_text() for cell in ax.texts]
    ['8', '2', '1', '9']
    """
    counts = host_array(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"confusion_matrix expects a matrix of shape (k, k), got {tuple(counts.shape)}.")
    count = counts.shape[0]
    names = [str(number) for number in range(count)] if labels is None else [str(label) for label in labels]
    if len(names) != count:
        raise ValueError(f"confusion_matrix expects {count} labels, one for each class, got {len(names)}.")
    xp = host().xp
    totals = xp.sum(counts, axis=1, keepdims=True)
    shares = counts / xp.where(totals > 0, totals, xp.ones_like(totals))
    size = max(4.4, min(10.0, 1.8 + 0.55 * count))
    ax = axes_for(ax, size + 1.4, size)
    image = ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ax.figure.colorbar(image, ax=ax, label="share of the true class")
    if count <= _ROOM:
        shown = shares if normalize else counts
        for row in range(count):
            for column in range(count):
                ax.text(
                    column,
                    row,
                    _cell(float(shown[row, column])),
                    ha="center",
                    va="center",
                    fontsize=10 if count <= 10 else 7,
                    color="white" if shares[row, column] > 0.55 else "black",
                )
    every = -(-count // 40)
    long = count > _ROOM or max(map(len, names)) > 4
    ax.set_xticks(
        range(0, count, every), names[::every], rotation=45 if long else 0, ha="right" if long else "center"
    )
    ax.set_yticks(range(0, count, every), names[::every])
    if long:
        for label in ax.get_xticklabels():
            label.set_rotation_mode("anchor")
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def _cell(value: float) -> str:
    """Write a count as it is, and a share or a weighted count with two digits behind the point."""
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}"


def decision_regions(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    labels: Sequence[str] | None = None,
    threshold: float = 0.5,
    resolution: int = 200,
    ax: Any = None,
) -> Any:
    """Draw which class a model sees where in the plane, and the samples on top.

    Parameters
    ----------
    model : Model
        Its inputs are of shape (n, 2); its outputs are one number for each class, or a single one for two classes.
    x : array of shape (n, 2)
        Samples; they say which part of the plane is drawn.
    y : array of shape (n,), (n, 1) or (n, k), optional
        Their classes: labels, or one-hot; points are grey without it.
    labels : sequence of str, optional
        The names of the classes; their numbers without it.
    threshold : float
        Of a single output, what is above it means the second class; 0 for logits.
    resolution : int
        Points along each side of the picture at which the model is asked.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        Colours are paler where the model is less sure, if its outputs are probabilities; borders are white lines.

    Raises
    ------
    ValueError
        If the samples are not pairs of numbers, or there are too few labels.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(3, activation="softmax")], seed=0)
    >>> ax = nn.plotting.decision_regions(
    ...     model, [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 2], resolution=20
    ... )
    >>> ax.images[0].get_array().shape
    (20, 20, 3)
    """
    points = host_array(x)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"decision_regions expects samples of shape (n, 2), got {tuple(points.shape)}.")
    xp = host().xp
    low, high = xp.min(points, axis=0), xp.max(points, axis=0)
    room = xp.where(high > low, 0.08 * (high - low), xp.ones_like(high))
    across, up = (xp.linspace(float(low[i] - room[i]), float(high[i] + room[i]), resolution) for i in (0, 1))
    grid = xp.reshape(xp.stack(xp.meshgrid(across, up), axis=-1), (-1, 2))
    scores = _scores(host_array(model.predict(xp.astype(grid, points.dtype))), threshold)
    count = scores.shape[1]
    classes = None if y is None else _classes(host_array(y), count)
    if classes is not None:
        count = max(count, int(xp.max(classes)) + 1)
    names = [str(number) for number in range(count)] if labels is None else [str(label) for label in labels]
    if len(names) < count:
        raise ValueError(f"decision_regions expects {count} labels, one for each class, got {len(names)}.")

    ax = axes_for(ax, 6.4, 5.4)
    scores = xp.reshape(scores, (resolution, resolution, -1))
    from matplotlib.colors import to_rgb

    palette = host().from_host([to_rgb(color_of(number)) for number in range(scores.shape[-1])])
    extent = (float(across[0]), float(across[-1]), float(up[0]), float(up[-1]))
    ax.imshow(
        1.0 - 0.5 * (1.0 - _sureness(scores) @ palette),
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )
    best = xp.max(scores, axis=-1)
    for number in range(scores.shape[-1]):
        of_class = scores[..., number]
        if not (float(xp.min(best - of_class)) == 0.0 and float(xp.max(best - of_class)) > 0.0):
            continue  # it is best nowhere, or everywhere
        others = xp.max(xp.where(xp.arange(scores.shape[-1]) == number, -xp.inf, scores), axis=-1)
        ax.contour(across, up, of_class - others, levels=[0.0], colors="white", linewidths=1.2)
    if classes is None:
        ax.scatter(points[:, 0], points[:, 1], s=16, color="#555555", edgecolor="white", linewidth=0.5)
    else:
        for number in range(count):
            here = classes == number
            ax.scatter(
                points[here, 0],
                points[here, 1],
                s=20,
                color=color_of(number),
                edgecolor="white",
                linewidth=0.5,
                label=names[number],
            )
        ax.legend(title="class", loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="first input", ylabel="second input")
    return ax


def _scores(output: Any, threshold: float) -> Any:
    """Return a score for each class; of a single output, how far it is below and above the threshold."""
    xp = host().xp
    flat = xp.reshape(xp.astype(output, xp.float64), (output.shape[0], -1))
    if flat.shape[1] > 1:
        return flat
    if threshold == 0.5 and float(xp.min(flat)) >= 0.0 and float(xp.max(flat)) <= 1.0:
        return xp.concat([1.0 - flat, flat], axis=1)
    above = 1.0 / (1.0 + xp.exp(-xp.clip(flat - threshold, -50.0, 50.0)))
    return xp.concat([1.0 - above, above], axis=1)


def _sureness(scores: Any) -> Any:
    """Return how much each class colours a place: its probability, or all for the best where they are none."""
    xp = host().xp
    probabilities = (
        float(xp.min(scores)) >= 0.0 and float(xp.max(xp.abs(xp.sum(scores, axis=-1) - 1.0))) < 1e-3
    )
    if probabilities:
        return scores
    best = xp.expand_dims(xp.argmax(scores, axis=-1), axis=-1)
    return xp.astype(best == xp.arange(scores.shape[-1]), xp.float64)


def _classes(y: Any, count: int) -> Any:
    """Return labels of targets that are labels or one-hot."""
    xp = host().xp
    if y.ndim == 2 and y.shape[1] > 1 and y.shape[1] == count:
        return xp.argmax(y, axis=1)
    return xp.astype(xp.reshape(y, (-1,)), xp.int64)
