"""Thirty layers deep: where gradients vanish, and how initial weights keep them alive.

    python examples/gradients.py --backend numpy

Trains three networks that differ in nothing but activation and first weights, lets `nn.callbacks.GradientMonitor` say
what is wrong with which layers, and paints the size of the gradient layer by layer.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from _common import OUTPUT, make_parser, parse, verdict

import nnbackend as nn

DEPTH, WIDTH = 30, 64
#: name -> activation, first weights
NETWORKS = {
    "tanh, too small weights": ("tanh", nn.initializers.RandomNormal(stddev=0.05)),
    "tanh, Glorot's weights": ("tanh", nn.initializers.GlorotUniform()),
    "ReLU, He's weights": ("relu", nn.initializers.HeNormal()),
}


def make_model(
    activation: str, initializer: nn.initializers.Initializer, options: Namespace
) -> nn.Sequential:
    """Return a deep network for two coordinates and two classes."""
    hidden = [
        nn.Dense(WIDTH, activation=activation, kernel_initializer=initializer, name=f"hidden_{number}")
        for number in range(1, DEPTH + 1)
    ]
    last = nn.Dense(2, activation="softmax", name="last")
    return nn.Sequential([*hidden, last], backend=options.backend, seed=options.seed)


def paint(monitors: dict[str, nn.callbacks.GradientMonitor], path: Path) -> None:
    """Write a picture: the gradient of each layer, before the first step and before the last epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 5), layout="constrained")
    panels = figure.subplots(1, len(monitors), sharey=True)
    for axes, (name, monitor) in zip(panels, monitors.items(), strict=True):
        nn.plotting.gradient_flow(monitor, ax=axes)
        axes.set_title(name)
        if axes is not panels[0]:
            axes.set_ylabel("")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, diagnose and paint."""
    options = parse(make_parser(__doc__, epochs=30, quick_epochs=4), argv)
    x, y = nn.datasets.moons(400, noise=0.15, seed=0)

    monitors = {}
    for name, (activation, initializer) in NETWORKS.items():
        model = make_model(activation, initializer, options)
        model.compile(nn.optimizers.SGD(0.02, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
        monitor = nn.callbacks.GradientMonitor()
        history = model.fit(x, y, epochs=options.epochs, callbacks=[monitor], verbose=0).history
        monitors[name] = monitor
        print(f"{name}: accuracy {history['accuracy'][-1]:.1%} after {options.epochs} epochs")
        for finding in monitor.findings(epoch=0):
            print(f"  {finding.kind}: {finding.text}")
        if not monitor.findings(epoch=0):
            print("  Its gradients reach every layer.")
    print()
    print(monitors["tanh, too small weights"].report(epoch=0))

    try:
        path = OUTPUT / "gradients.png"
        paint(monitors, path)
        print(f"Picture: {path}")
    except ImportError:
        print('For a picture, install matplotlib: pip install "nnbackend[plot]"')
    found = [[finding.kind for finding in monitor.findings(epoch=0)] for monitor in monitors.values()]
    right = [kinds == expected for kinds, expected in zip(found, (["vanishing"], [], []), strict=True)]
    return verdict(f"Networks judged rightly, on {options.backend}", sum(right) / len(right), 1.0)


if __name__ == "__main__":
    sys.exit(main())
