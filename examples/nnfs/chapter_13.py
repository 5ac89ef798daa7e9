"""Chapter 13, training data: the same points in three scales, and what a network makes of each.

python examples/nnfs/chapter_13.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import Classifier, begin, verdict

import nnbackend as nn
from nnbackend import nnfs
from nnbackend.nnfs import Optimizer_Adam, spiral_data


def main(argv: Sequence[str] | None = None) -> int:
    """Train on data as they came, between -1 and 1, and standardised."""
    options = begin(__doc__, argv)
    epochs = 100 if options.quick else 3000
    X, y = (nn.to_numpy(array) for array in spiral_data(samples=100, classes=3))
    raw = 127.5 + 127.5 * X * np.asarray([1.0, 0.02])  # like pixels from 0 to 255; the second hardly varies
    low, high = raw.min(axis=0), raw.max(axis=0)
    scales = {
        "as they came": raw,
        "from -1 to 1": 2.0 * (raw - low) / (high - low) - 1.0,
        "mean 0, deviation 1": (raw - raw.mean(axis=0)) / raw.std(axis=0),
    }
    reached = {}
    for name, data in scales.items():
        print(f"\n{name}: from {data.min():.1f} to {data.max():.1f}")
        nnfs.init(backend=options.backend)
        network = Classifier(2, 64, 3)
        network.train(
            data, y, Optimizer_Adam(learning_rate=0.05, decay=5e-5), epochs, print_every=epochs // 2
        )
        reached[name] = network.forward(data, y, training=False)[0]
    print(f"\nAfter {epochs} epochs: {', '.join(f'{name} {acc:.3f}' for name, acc in reached.items())}")
    print("What is done to the training data must be done to all later data, with the same numbers.")
    return verdict(
        "Accuracy on standardised data", reached["mean 0, deviation 1"], 0.55 if options.quick else 0.8
    )


if __name__ == "__main__":
    sys.exit(main())
