"""The adding problem: add two numbers that stand anywhere in a long sequence, with an LSTM or a GRU.

    python examples/adding.py --cell lstm --backend numpy

Each step of a sequence has a random number and a mark. Two steps are marked, one in each half; the target is the sum
of their numbers. Who always answers 1 is off by 1/6 = 0.167 on average (squared), and so is a network that cannot
carry a number over dozens of steps (S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997).

The LSTM's forget gates begin with biases for memories of 1 to T steps, and its input gates with their opposites
(C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", 2018). Without them it stays at 0.167 for long.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
from _common import make_parser, parse

import nnbackend as nn


@nn.register("examples")
class Chrono(nn.initializers.Initializer):
    """Biases of an LSTM's gates i, f, c, o: log(u) for f, -log(u) for i, 0 for the rest; u uniform from 1 to T - 1.

    A forget gate that is open to 1 - 1/u remembers for about u steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(
        self, shape: tuple[int, ...], stream: nn.random.Stream, dtype: str = "float32"
    ) -> np.ndarray:
        """Return the biases, of shape (4 units,)."""
        units = shape[0] // 4
        bias = np.zeros(shape, dtype)
        bias[units : 2 * units] = np.log(stream.uniform((units,), 1.0, self.steps - 1.0))
        bias[:units] = -bias[units : 2 * units]
        return bias


def draw(rng: np.random.Generator, samples: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of shape (samples, length, 2), numbers and marks, and the sums of shape (samples, 1)."""
    numbers = rng.uniform(size=(samples, length))
    marks = np.zeros((samples, length))
    rows, half = np.arange(samples), length // 2
    marks[rows, rng.integers(0, half, samples)] = 1
    marks[rows, rng.integers(half, length, samples)] = 1
    x = np.stack([numbers, marks], axis=-1).astype("float32")
    return x, (numbers * marks).sum(axis=1, keepdims=True).astype("float32")


def make_layer(cell: str, length: int) -> nn.Layer:
    """Return a recurrent layer of 32 units."""
    if cell == "gru":
        return nn.GRU(32)
    return nn.LSTM(32, bias_initializer=Chrono(length), unit_forget_bias=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Train on fresh sequences in every epoch, and test on others."""
    parser = make_parser(__doc__, epochs=40, quick_epochs=15)
    parser.add_argument("--cell", choices=["gru", "lstm"], default="lstm", help="the layer (default: lstm)")
    parser.add_argument("--length", type=int, help="steps of a sequence (default: 100, or 20 with --quick)")
    options = parse(parser, argv)
    length = options.length or (20 if options.quick else 100)
    model = nn.Sequential(
        [nn.Input((length, 2)), make_layer(options.cell, length), nn.Dense(1)],
        backend=options.backend,
        seed=options.seed,
    )
    model.compile(nn.optimizers.Adam(0.01, global_clipnorm=1.0), loss="mean_squared_error")
    model.summary()
    rng = np.random.default_rng(options.seed)
    x_test, y_test = draw(rng, 1000, length)
    print(f"Always answering 1 is off by {np.mean((y_test - 1) ** 2):.3f}")
    start = time.perf_counter()
    for epoch in range(options.epochs):
        loss = model.fit(*draw(rng, 1600, length), batch_size=32, verbose=0).history["loss"][0]
        if epoch % 5 == 4:
            print(f"{50 * (epoch + 1):5} steps  loss {loss:.5f}  {time.perf_counter() - start:.0f} seconds")
    error = model.evaluate(x_test, y_test, batch_size=500)["loss"]
    goal = 0.05 if options.quick else 0.01
    print(f"Mean squared error at length {length} on {model.backend}: {error:.5f} (below {goal} expected)")
    return 0 if error < goal else 1


if __name__ == "__main__":
    sys.exit(main())
