"""A small residual network on the handwritten digits: a graph with branches that meet again.

    python examples/resnet.py --backend numpy

Each block adds to its input what two convolutions make of it, so that gradients reach the first layer unhindered
(K. He et al., "Deep residual learning for image recognition", 2015). Batch normalisation stands after each
convolution. The scans are moved by up to one pixel while training, since a digit stays what it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _common import load, make_parser, parse, verdict

import nnbackend as nn


def convolution(x: Any, filters: int, strides: int = 1, size: int = 3) -> Any:
    """Convolve without a bias, which the normalisation would take away, and normalise."""
    made = nn.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )
    return nn.BatchNormalization(momentum=0.9)(made(x))


def block(x: Any, filters: int, strides: int = 1) -> Any:
    """Add to `x` what two convolutions make of it; where the shape changes, `x` goes through one of its own."""
    made = nn.functional.relu(convolution(x, filters, strides))
    made = convolution(made, filters)
    same = strides == 1 and x.shape[-1] == filters
    return nn.functional.relu(made + (x if same else convolution(x, filters, strides, size=1)))


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Model:
    """Return a network of three residual blocks."""
    x = nn.Input((8, 8, 1))
    y = nn.functional.relu(convolution(x, 16))
    y = block(y, 16)
    y = block(y, 32, strides=2)
    y = block(y, 64, strides=2)
    y = nn.Dense(10)(nn.GlobalAveragePooling2D()(y))
    return nn.Model(x, y, backend=backend, seed=seed)


def moved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each scan by up to one pixel in each direction; what comes in is blank."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=x.min())
    down, right = rng.integers(0, 3, (2, len(x), 1))
    rows, columns = down + np.arange(8), right + np.arange(8)
    return wide[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


def main(argv: Sequence[str] | None = None) -> int:
    """Train on scans moved anew in every epoch, and test."""
    options = parse(make_parser(__doc__, epochs=30, quick_epochs=4), argv)
    x_train, x_test, y_train, y_test = load("digits", stratify=True)
    x_train, x_test = (x.reshape(-1, 8, 8, 1) / 8.0 - 1.0 for x in (x_train, x_test))
    model = make_model(options.backend, options.seed)
    steps = options.epochs * -(-len(x_train) // 64)
    rate = nn.optimizers.schedules.CosineDecay(0.05, decay_steps=steps)
    model.compile(
        nn.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.summary()
    rng, start = np.random.default_rng(options.seed), time.perf_counter()
    for epoch in range(options.epochs):
        x = moved(x_train, rng) if not options.quick else x_train
        numbers = model.fit(x, y_train, batch_size=64, verbose=0).history
        if epoch % 5 == 4 or epoch + 1 == options.epochs:
            print(
                f"epoch {epoch + 1:3}  loss {numbers['loss'][-1]:.4f}  accuracy {numbers['accuracy'][-1]:.2%}"
            )
    print(f"Trained in {time.perf_counter() - start:.1f} seconds")
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    return verdict(f"Test accuracy on {options.backend}", accuracy, 0.9 if options.quick else 0.985, ".2%")


if __name__ == "__main__":
    sys.exit(main())
