"""Chapter 14, L1 and L2: penalties keep weights small, so that less is learnt by heart.

python examples/nnfs/chapter_14.py --backend numpy
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
    """Train without and with a penalty, and test both."""
    options = begin(__doc__, argv)
    epochs, neurons = (100, 64) if options.quick else (10_000, 512)
    tested = {}
    for penalty in (0.0, 5e-4):
        print(f"\nPenalty {penalty} on the squares of the first layer's weights and biases")
        nnfs.init(backend=options.backend)
        X, y = spiral_data(samples=100, classes=3)
        network = Classifier(2, neurons, 3, penalty=penalty)
        optimizer = Optimizer_Adam(learning_rate=0.02, decay=5e-7)
        network.train(X, y, optimizer, epochs, print_every=epochs // 2)
        tested[penalty] = network.test(*spiral_data(samples=100, classes=3))
        size = float(np.mean(nn.to_numpy(network.dense1.weights) ** 2))
        print(f"mean square of the first layer's weights: {size:.4f}")
    return verdict("Test accuracy with the penalty", tested[5e-4], 0.45 if options.quick else 0.75)


if __name__ == "__main__":
    sys.exit(main())
