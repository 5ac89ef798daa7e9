"""The spiral of "Neural Networks from Scratch": three arms that no straight line can tell apart.

    python examples/spiral.py --backend numpy

Trains on one drawing of the spiral, tests on another, and paints which arm the network sees where.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import OUTPUT, make_parser, parse, verdict

import nnbackend as nn

COLORS = ["#0072b2", "#d55e00", "#009e73"]  # told apart by colour-blind eyes, too


class EveryHundred(nn.callbacks.Callback):
    """Prints a line now and then: an epoch is a single step here, too short for a line of its own."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Print."""
        if (epoch + 1) % 100 == 0:
            print(f"Epoch {epoch + 1:4}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.1%}")


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Sequential:
    """Return a network for two coordinates and three arms; the penalty on its weights keeps the borders smooth."""
    penalty = nn.regularizers.L2(3e-4)
    return nn.Sequential(
        [
            nn.Dense(64, activation="relu", kernel_regularizer=penalty),
            nn.Dense(64, activation="relu", kernel_regularizer=penalty),
            nn.Dense(3, activation="softmax"),
        ],
        backend=backend,
        seed=seed,
    )


def paint(model: nn.Sequential, x: np.ndarray, arm: np.ndarray, title: str, path: Path) -> None:
    """Write a picture: the points, on the region in which the network sees each arm."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.colors import to_rgb

    axis = np.linspace(-1.15, 1.15, 460)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    probabilities = model.predict(grid.reshape(-1, 2)).reshape(*grid.shape[:2], 3)
    colors = np.array([to_rgb(color) for color in COLORS])
    # paler where the network is less sure: each region mixes the arms' colours by their probabilities
    regions = 1.0 - 0.45 * (1.0 - probabilities @ colors)

    figure, axes = pyplot.subplots(figsize=(7, 7.8), layout="constrained")
    axes.imshow(regions, extent=(-1.15, 1.15, -1.15, 1.15), origin="lower", interpolation="bilinear")
    for number in range(3):  # a border runs where an arm is as probable as the best of the others
        lead = probabilities[..., number] - np.delete(probabilities, number, axis=-1).max(axis=-1)
        axes.contour(axis, axis, lead, levels=[0.0], colors="white", linewidths=1.2)
    for number, color in enumerate(COLORS):
        axes.scatter(
            *x[arm == number].T,
            s=26,
            color=color,
            edgecolor="white",
            linewidth=0.6,
            label=f"arm {number + 1}",
        )
    axes.set(title=title, xlabel="first coordinate", ylabel="second coordinate")
    figure.legend(
        loc="outside lower center",
        ncols=3,
        title="Each arm's points, and the region that the network gives it",
    )
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, test and paint."""
    options = parse(make_parser(__doc__, epochs=600, quick_epochs=200), argv)
    x, arm = nn.datasets.spiral_data(100, 3, random=0)  # the book's own points
    x_test, arm_test = nn.datasets.spiral_data(100, 3, random=1)

    model = make_model(options.backend, options.seed)
    model.compile(
        nn.optimizers.Adam(0.02, decay=0.005), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(x, arm, epochs=options.epochs, batch_size=len(x), callbacks=[EveryHundred()], verbose=0)

    accuracy = model.evaluate(x_test, arm_test)["accuracy"]
    try:
        path = OUTPUT / "spiral.png"
        paint(model, x, arm, f"The spiral after {options.epochs} epochs", path)
        print(f"Picture: {path}")
    except ImportError:
        print('For a picture, install matplotlib: pip install "nnbackend[plot]"')
    return verdict(f"Accuracy on another spiral, on {model.backend}", accuracy, 0.8)


if __name__ == "__main__":
    sys.exit(main())
