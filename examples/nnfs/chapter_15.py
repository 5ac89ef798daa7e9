"""Chapter 15, dropout: neurons that cannot rely on their neighbours.

python examples/nnfs/chapter_15.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import Classifier, begin, put, show, verdict

import nnbackend as nn
from nnbackend.nnfs import Layer_Dropout, Optimizer_Adam, spiral_data


def main(argv: Sequence[str] | None = None) -> int:
    """Show what dropout does to numbers, then train with it."""
    options = begin(__doc__, argv)
    epochs, neurons = (100, 64) if options.quick else (10_000, 512)
    dropout, ones = Layer_Dropout(0.2), put([[1.0] * 10])
    dropout.forward(ones, training=True)
    show("Ten ones after dropout of a fifth", dropout.output)
    means = []
    for _ in range(200 if options.quick else 2000):
        dropout.forward(ones, training=True)
        means.append(float(np.mean(nn.to_numpy(dropout.output))))
    print(f"Their mean over many draws: {np.mean(means):.3f}; the scale makes up for what is dropped\n")

    X, y = spiral_data(samples=100, classes=3)
    network = Classifier(2, neurons, 3, penalty=5e-4, dropout=0.1)
    network.train(X, y, Optimizer_Adam(learning_rate=0.05, decay=5e-5), epochs, print_every=epochs // 4)
    tested = network.test(*spiral_data(samples=100, classes=3))
    return verdict("Test accuracy", tested, 0.45 if options.quick else 0.7)


if __name__ == "__main__":
    sys.exit(main())
