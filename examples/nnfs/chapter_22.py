"""Chapter 22, prediction: what a model says about pictures, and about one that comes in another size and dark on white.

python examples/nnfs/chapter_22.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import Images, begin, verdict

import nnbackend as nn


def photograph(images: Images, row: np.ndarray) -> np.ndarray:
    """Return a picture as a camera would bring it: four times as large, dark on a white ground."""
    pixels = np.round((row.reshape(images.shape) + 1.0) / 2.0 * 255.0)
    return 255.0 - np.kron(pixels, np.ones((4, 4)))


def prepare(images: Images, picture: np.ndarray) -> np.ndarray:
    """Shrink a picture to the size that the model was trained on, invert and scale it."""
    height, width = images.shape
    small = picture.reshape(height, 4, width, 4).mean(axis=(1, 3))
    return images.prepare((255.0 - small)[np.newaxis] / 255.0 * images.brightest)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, predict, and predict from a photograph."""
    options = begin(__doc__, argv, images=True)
    images = Images(options.data, options.quick)
    model = images.model(64 if options.quick else 128)
    model.train(images.X, images.y, epochs=3 if options.quick else 10, batch_size=128, print_every=1000)

    confidences = model.predict(images.X_test[:5])
    predictions = nn.to_numpy(model.output_layer_activation.predictions(confidences))
    print()
    for truth, said, row in zip(images.y_test[:5], predictions, nn.to_numpy(confidences), strict=True):
        print(f"{images.names[said]} (sure by {row[said]:.0%}), is {images.names[truth]}")

    picture = photograph(images, images.X_test[0])
    print(f"A photograph of {picture.shape[1]} by {picture.shape[0]}, dark on white:")
    as_it_is = picture[::4, ::4].reshape(1, -1).astype(np.float32) / 127.5 - 1.0
    for how, data in (("only shrunk", as_it_is), ("shrunk and inverted", prepare(images, picture))):
        said = int(nn.to_numpy(model.output_layer_activation.predictions(model.predict(data)))[0])
        print(f"  {how}: {images.names[said]}")
    same = said == predictions[0]
    print(f"Prepared as the training data were, it is read as the original: {'yes' if same else 'no'}")
    all_said = nn.to_numpy(model.output_layer_activation.predictions(model.predict(images.X_test)))
    status = verdict(
        "Test accuracy", float(np.mean(all_said == images.y_test)), 0.7 if options.quick else 0.85
    )
    return status if same else 1


if __name__ == "__main__":
    sys.exit(main())
