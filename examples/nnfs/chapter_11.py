"""Chapter 11, testing: a network that has learnt its points by heart meets new ones.

python examples/nnfs/chapter_11.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _book import Classifier, begin, verdict

from nnbackend.nnfs import Optimizer_Adam, spiral_data


def main(argv: Sequence[str] | None = None) -> int:
    """Train on one spiral and test on another."""
    options = begin(__doc__, argv)
    epochs = 200 if options.quick else 10_000
    X, y = spiral_data(samples=100, classes=3)
    network = Classifier(2, 64, 3)
    network.train(X, y, Optimizer_Adam(learning_rate=0.05, decay=5e-7), epochs, print_every=epochs // 4)
    trained, loss, _ = network.forward(X, y, training=False)
    X_test, y_test = spiral_data(samples=100, classes=3)
    tested = network.test(X_test, y_test)
    print(
        f"On the points it was trained on: acc {trained:.3f}, loss {loss:.3f}. The gap is what it learnt by heart."
    )
    return verdict("Test accuracy", tested, 0.55 if options.quick else 0.7)


if __name__ == "__main__":
    sys.exit(main())
