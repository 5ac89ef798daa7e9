"""The adding problem: add two numbers that stand anywhere in a long sequence, with an LSTM or a GRU.

    python examples/adding.py --cell lstm --backend numpy

Each step of a sequence has a random number and a mark. Two steps are marked, one in each half; the target is the sum
of their numbers. Who always answers 1 is off by 1/6 = 0.167 on average (squared), and so is a network that cannot
carry a number over dozens of steps (S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
from _common import make_parser, parse

import nnbackend as nn

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


def draw(rng: np.random.Generator, samples: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of shape (samples, length, 2), numbers and marks, and the sums of shape (samples, 1)."""
    numbers = rng.uniform(size=(samples, length))
    marks = np.zeros((samples, length))
    rows, half = np.arange(samples), length // 2
    marks[rows, rng.integers(0, half, samples)] = 1
    marks[rows, rng.integers(half, length, samples)] = 1
    x = np.stack([numbers, marks], axis=-1).astype("float32")
    return x, (numbers * marks).sum(axis=1, keepdims=True).astype("float32")


def main(argv: Sequence[str] | None = None) -> int:
    """Train on fresh sequences in every epoch, and test on others."""
    parser = make_parser(__doc__, epochs=60, quick_epochs=12)
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm", help="the layer (default: lstm)")
    parser.add_argument("--length", type=int, help="steps of a sequence (default: 100, or 30 with --quick)")
    options = parse(parser, argv)
    length = options.length or (30 if options.quick else 100)
    model = nn.Sequential(
        [nn.Input((length, 2)), CELLS[options.cell](64, name=options.cell), nn.Dense(1)],
        backend=options.backend,
        seed=options.seed,
    )
    model.compile(nn.optimizers.Adam(0.003), loss="mean_squared_error")
    model.summary()
    rng = np.random.default_rng(options.seed)
    x_test, y_test = draw(rng, 2000, length)
    print(f"Always answering 1 is off by {np.mean((y_test - 1) ** 2):.3f}")
    start = time.perf_counter()
    for epoch in range(options.epochs):
        history = model.fit(*draw(rng, 2000, length), batch_size=50, verbose=0)
        if epoch % 5 == 4:
            tested = model.evaluate(x_test, y_test, batch_size=500)["loss"]
            print(
                f"epoch {epoch + 1:3}  loss {history.history['loss'][-1]:.5f}  test {tested:.5f}  {time.perf_counter() - start:.0f}s",
                flush=True,
            )
    print(f"Trained in {time.perf_counter() - start:.0f} seconds")
    error = model.evaluate(x_test, y_test, batch_size=500)["loss"]
    goal = 0.05 if options.quick else 0.01
    print(f"Mean squared error at length {length} on {model.backend}: {error:.5f} (below {goal} expected)")
    return 0 if error < goal else 1


if __name__ == "__main__":
    sys.exit(main())
