"""Chapter 21, saving and loading: the parameters alone, and the whole model, in files that hold data and no code.

python examples/nnfs/chapter_21.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import _book
import numpy as np
from _book import Images, begin

import nnbackend as nn
from nnbackend.nnfs import Model

OUTPUT = _book.OUTPUT


def main(argv: Sequence[str] | None = None) -> int:
    """Train, save, load, and compare."""
    options = begin(__doc__, argv, images=True)
    images = Images(options.data, options.quick)
    neurons = 64 if options.quick else 128
    model = images.model(neurons)
    model.train(images.X, images.y, epochs=3 if options.quick else 10, batch_size=128, print_every=1000)
    expected = nn.to_numpy(model.predict(images.X_test))
    print("\nThe trained model:")
    model.evaluate(images.X_test, images.y_test)

    other = images.model(neurons)
    print("Another, as it was made:")
    other.evaluate(images.X_test, images.y_test)
    other.set_parameters(model.get_parameters())
    print("The other, given the parameters of the first:")
    other.evaluate(images.X_test, images.y_test)
    same = np.array_equal(nn.to_numpy(other.predict(images.X_test)), expected)

    OUTPUT.mkdir(exist_ok=True)
    model.save_parameters(OUTPUT / "pictures.parms")
    third = images.model(neurons)
    third.load_parameters(OUTPUT / "pictures.parms")
    print("A third, its parameters from a file:")
    third.evaluate(images.X_test, images.y_test)
    same = same and np.array_equal(nn.to_numpy(third.predict(images.X_test)), expected)

    model.save(OUTPUT / "pictures.model")
    loaded = Model.load(OUTPUT / "pictures.model")
    print("A fourth, all of it from a file:")
    loaded.evaluate(images.X_test, images.y_test)
    same = same and np.array_equal(nn.to_numpy(loaded.predict(images.X_test)), expected)
    print(
        f"It would go on with step {loaded.optimizer.iterations}, at lr {loaded.optimizer.current_learning_rate}"
    )
    print(f"All predict the same: {'yes' if same else 'no'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
