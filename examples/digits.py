"""Handwritten digits: train a network on real scans, and let it read others that it has never seen.

    python examples/digits.py --backend numpy

The data come with scikit-learn: 1,797 scans of 8 by 8 pixels, collected by E. Alpaydin and C. Kaynak in 1998. A fifth
of them is kept for the test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from _common import OUTPUT, load, make_parser, parse, verdict

import nnbackend as nn


class FirstLoss(nn.callbacks.Callback):
    """Keeps the loss of the first batch: weights and data are the same everywhere, so it must be, too."""

    value: float | None = None

    def on_batch_end(self, batch: int, logs: Callable[[], dict[str, float]]) -> None:
        """Look once."""
        if self.value is None:
            self.value = logs()["loss"]


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Sequential:
    """Return a network of two hidden layers for 64 pixels and 10 digits."""
    return nn.Sequential(
        [
            nn.Dense(256, activation="relu", kernel_initializer="he_normal"),
            nn.Dropout(0.4),
            nn.Dense(256, activation="relu", kernel_initializer="he_normal"),
            nn.Dropout(0.4),
            nn.Dense(10, activation="softmax"),
        ],
        backend=backend,
        seed=seed,
    )


def confusion_table(written: np.ndarray, read: np.ndarray) -> str:
    """Return a table of how often each digit was read as which."""
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (written, read), 1)
    header = "written   read as" + "".join(f"{digit:4}" for digit in range(10))
    rows = (
        f"{digit:7}          " + "".join(f"{count or '.':>4}" for count in row)
        for digit, row in enumerate(counts)
    )
    return "\n".join([header, *rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Train, test, save, and reload on NumPy."""
    options = parse(make_parser(__doc__, epochs=40, quick_epochs=10), argv)
    x_train, x_test, y_train, y_test = load("digits", stratify=True)
    mean, scale = x_train.mean(axis=0), x_train.std()  # one scale for all: some pixels are always blank
    x_train, x_test = (x_train - mean) / scale, (x_test - mean) / scale

    model = make_model(options.backend, options.seed)
    model.compile(
        nn.optimizers.Adam(0.003, decay=0.004), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.build((64,))
    model.summary()

    print(f"\nTraining on {len(x_train):,} scans, seed {options.seed}")
    first, start = FirstLoss(), time.perf_counter()
    model.fit(x_train, y_train, epochs=options.epochs, batch_size=64, callbacks=[first])
    print(
        f"Trained in {time.perf_counter() - start:.1f} seconds; the loss of the first batch was {first.value:.8f}"
    )

    probabilities = model.predict(x_test)
    read = probabilities.argmax(axis=1)
    print(f"\n{confusion_table(y_test, read)}\n")

    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "digits.safetensors"
    model.save(path)
    again = nn.load_model(path, backend="numpy").predict(x_test)
    same = int((again.argmax(axis=1) == read).sum())
    print(f"Saved as {path.name}; reloaded on numpy it reads {same} of {len(read)} test scans the same,")
    print(f"and no probability differs by more than {np.abs(again - probabilities).max():.1e}")

    status = verdict(
        f"Test accuracy on {model.backend}", (read == y_test).mean(), 0.94 if options.quick else 0.97
    )
    return status if same == len(read) else 1


if __name__ == "__main__":
    sys.exit(main())
