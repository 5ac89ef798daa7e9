"""Chapter 12, validation: choose how many neurons without looking at the test data, by folds of the training data.

python examples/nnfs/chapter_12.py --backend numpy
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from _book import Classifier, begin, verdict

import nnbackend as nn
from nnbackend.nnfs import Optimizer_Adam, spiral_data


def silently(network: Classifier, X: Any, y: Any, epochs: int) -> None:
    """Train without printed lines."""
    with contextlib.redirect_stdout(io.StringIO()):
        network.train(X, y, Optimizer_Adam(learning_rate=0.05, decay=5e-5), epochs, print_every=epochs)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare widths on folds, then test the chosen one once."""
    options = begin(__doc__, argv)
    epochs, count = (60, 3) if options.quick else (2000, 5)
    X, y = (nn.to_numpy(array) for array in spiral_data(samples=100, classes=3))
    folds = np.array_split(np.random.permutation(len(X)), count)
    means = {}
    for neurons in (2, 16, 64):
        accuracies = []
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(X)), fold)
            network = Classifier(2, neurons, 3)
            silently(network, X[rest], y[rest], epochs)
            accuracies.append(network.forward(X[fold], y[fold], training=False)[0])
        means[neurons] = float(np.mean(accuracies))
        print(
            f"{neurons:3} neurons: accuracy on each fold {np.round(accuracies, 2)}, mean {means[neurons]:.3f}"
        )
    best = max(means, key=means.__getitem__)
    print(f"Chosen: {best} neurons. Trained again on all of the training data:")
    network = Classifier(2, best, 3)
    silently(network, X, y, epochs)
    tested = network.test(*spiral_data(samples=100, classes=3))
    return verdict("Test accuracy", tested, 0.45 if options.quick else 0.7)


if __name__ == "__main__":
    sys.exit(main())
