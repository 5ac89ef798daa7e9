"""A convolutional network on the handwritten digits, in the manner of LeNet.

    python examples/lenet.py --backend numpy

Two layers of convolution and pooling find strokes and their junctions wherever they lie, and two dense layers read
them (Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998). The data come with
scikit-learn: 1,797 scans of 8 by 8 pixels. A stratified fifth of them is kept for the test. With --seeds 3 it trains
three networks, and the median counts.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

from _common import load, make_parser, parse, verdict

import nnbackend as nn


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Sequential:
    """Return a network of two convolutions for 8 by 8 pixels and 10 digits."""
    return nn.Sequential(
        [
            nn.Input((8, 8, 1)),
            nn.Conv2D(32, 3, padding="same", activation="relu", kernel_initializer="he_normal"),
            nn.MaxPooling2D(2),
            nn.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer="he_normal"),
            nn.MaxPooling2D(2),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Dense(128, activation="relu", kernel_initializer="he_normal"),
            nn.Dropout(0.4),
            nn.Dense(10),
        ],
        backend=backend,
        seed=seed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train and test, once for each seed."""
    parser = make_parser(__doc__, epochs=40, quick_epochs=6)
    parser.add_argument("--seeds", type=int, default=1, help="how many networks, from --seed on (default: 1)")
    options = parse(parser, argv)
    x_train, x_test, y_train, y_test = load("digits", stratify=True)
    x_train, x_test = (x.reshape(-1, 8, 8, 1) / 8.0 - 1.0 for x in (x_train, x_test))
    reached = []
    for seed in range(options.seed, options.seed + options.seeds):
        model = make_model(options.backend, seed)
        model.compile(
            nn.optimizers.Adam(0.002, decay=0.002),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        if seed == options.seed:
            model.summary()
        start = time.perf_counter()
        model.fit(x_train, y_train, epochs=options.epochs, batch_size=64, verbose=0)
        reached.append(model.evaluate(x_test, y_test)["accuracy"])
        seconds = time.perf_counter() - start
        print(f"seed {seed}: {reached[-1]:.2%} of the test scans after {seconds:.1f} seconds")
    what = "Test accuracy" if options.seeds == 1 else f"Median test accuracy of {options.seeds} seeds"
    return verdict(
        f"{what} on {options.backend}", statistics.median(reached), 0.95 if options.quick else 0.985, ".2%"
    )


if __name__ == "__main__":
    sys.exit(main())
