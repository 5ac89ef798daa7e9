"""Chapter 19, a real dataset: read pictures, shuffle, scale and flatten them, and train in batches.

python examples/nnfs/chapter_19.py --backend numpy
python examples/nnfs/chapter_19.py --data fashion_mnist
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import Images, begin, share_right, verdict


def main(argv: Sequence[str] | None = None) -> int:
    """Train a model on pictures."""
    options = begin(__doc__, argv, images=True)
    images = Images(options.data, options.quick)
    print(f"{len(images.X):,} pictures of {images.shape} to train on, {len(images.X_test):,} to test on")
    print(
        f"Of each class: {np.bincount(images.y).tolist()}; numbers from {images.X.min():g} to {images.X.max():g}"
    )
    print(f"The first classes after shuffling: {images.y[:15].tolist()}")
    model = images.model(64 if options.quick else 128)
    model.train(
        images.X,
        images.y,
        validation_data=(images.X_test, images.y_test),
        epochs=3 if options.quick else 10,
        batch_size=128,
        print_every=100,
    )
    reached = share_right(model, images.X_test, images.y_test)
    return verdict("Test accuracy", reached, 0.7 if options.quick else 0.85)


if __name__ == "__main__":
    sys.exit(main())
