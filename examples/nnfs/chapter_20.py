"""Chapter 20, model evaluation: ask a trained model again, on any data, in batches or at once.

python examples/nnfs/chapter_20.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _book import Images, begin, share_right, verdict


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and evaluate on the training and the test data."""
    options = begin(__doc__, argv, images=True)
    images = Images(options.data, options.quick)
    model = images.model(64 if options.quick else 128)
    model.train(images.X, images.y, epochs=3 if options.quick else 10, batch_size=128, print_every=1000)
    print("\nOn the test data, in batches and at once:")
    model.evaluate(images.X_test, images.y_test, batch_size=128)
    model.evaluate(images.X_test, images.y_test)
    print("On the training data:")
    model.evaluate(images.X, images.y, batch_size=128)
    reached = share_right(model, images.X_test, images.y_test)
    return verdict("Test accuracy", reached, 0.7 if options.quick else 0.85)


if __name__ == "__main__":
    sys.exit(main())
