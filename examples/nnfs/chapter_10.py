"""Chapter 10, optimizers: the same network from the same weights, trained on the spiral by each.

python examples/nnfs/chapter_10.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from _book import Classifier, begin, verdict

from nnbackend import nnfs
from nnbackend.nnfs import Optimizer_Adagrad, Optimizer_Adam, Optimizer_RMSprop, Optimizer_SGD, spiral_data

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD": lambda: Optimizer_SGD(),
    "SGD, its rate decaying": lambda: Optimizer_SGD(decay=1e-3),
    "SGD with momentum": lambda: Optimizer_SGD(decay=1e-3, momentum=0.9),
    "Adagrad": lambda: Optimizer_Adagrad(decay=1e-4),
    "RMSprop": lambda: Optimizer_RMSprop(learning_rate=0.02, decay=1e-5, rho=0.999),
    "Adam": lambda: Optimizer_Adam(learning_rate=0.05, decay=5e-7),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train with each optimizer, and compare."""
    options = begin(__doc__, argv)
    epochs = 60 if options.quick else 10_000
    reached = {}
    for name, make in OPTIMIZERS.items():
        print(f"\n{name}")
        nnfs.init(backend=options.backend)  # the same data and weights each time
        X, y = spiral_data(samples=100, classes=3)
        network = Classifier(2, 64, 3)
        network.train(X, y, make(), epochs, print_every=epochs // 3)
        reached[name] = network.forward(X, y, training=False)[:2]
    print(f"\nAfter {epochs} epochs:")
    for name, (accuracy, loss) in reached.items():
        print(f"  {name:24} acc: {accuracy:.3f}, loss: {loss:.3f}")
    return verdict("Accuracy with Adam", reached["Adam"][0], 0.5 if options.quick else 0.9)


if __name__ == "__main__":
    sys.exit(main())
