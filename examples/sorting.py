"""A transformer that sorts digits: a decoder that writes one digit after the other, as language models write words.

    python examples/sorting.py --backend numpy

It reads eight digits and a mark, and continues with the same digits in order. Each position attends to itself and to
those before it (A. Vaswani et al., "Attention is all you need", 2017). It is trained to name the next symbol at every
place of the answer, and tested by letting it write: an answer counts when all eight digits are right. No sequence of
the test was seen in training.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
from _common import make_parser, parse, verdict

import nnbackend as nn

DIGITS = 8
MARK = 10
LENGTH = 2 * DIGITS


def draw(rng: np.random.Generator, count: int, *, test: bool) -> np.ndarray:
    """Return digits of shape (count, DIGITS); by a check sum, a fifth of all sequences belong to the test alone."""
    found = rng.integers(0, 10, (3 * count if not test else 8 * count, DIGITS))
    weighed = (found * np.arange(1, DIGITS + 1)).sum(axis=1) % 5 == 0
    return found[weighed == test][:count]


def as_text(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is read, what is to be said at each place, and which places count: those of the answer."""
    mark = np.full((len(digits), 1), MARK)
    text = np.concatenate([digits, mark, np.sort(digits, axis=1)], axis=1)
    weights = np.zeros((len(digits), LENGTH), dtype="float32")
    weights[:, DIGITS:] = 1
    return text[:, :-1], text[:, 1:], weights


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Sequential:
    """Return a decoder of two blocks."""
    return nn.Sequential(
        [
            nn.Input((LENGTH,), dtype="int64"),
            nn.TokenAndPositionEmbedding(11, LENGTH, 64),
            nn.TransformerDecoder(128, 4, normalize_first=True),
            nn.TransformerDecoder(128, 4, normalize_first=True),
            nn.LayerNormalization(),
            nn.Dense(11),
        ],
        backend=backend,
        seed=seed,
    )


def write(model: nn.Model, digits: np.ndarray) -> np.ndarray:
    """Let the model write the answer, digit by digit; what it has not written yet it cannot see."""
    text = np.zeros((len(digits), LENGTH), dtype="int64")
    text[:, :DIGITS], text[:, DIGITS] = digits, MARK
    answer = []
    for place in range(DIGITS, LENGTH):
        answer.append(model.predict(text, batch_size=500)[:, place].argmax(axis=-1))
        if place + 1 < LENGTH:
            text[:, place + 1] = answer[-1]
    return np.stack(answer, axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Train on fresh sequences in every epoch, and let the model sort others."""
    options = parse(make_parser(__doc__, epochs=30, quick_epochs=4), argv)
    model = make_model(options.backend, options.seed)
    steps = 50 * options.epochs
    rate = nn.optimizers.schedules.CosineDecay(0.003, decay_steps=steps)
    model.compile(nn.optimizers.Adam(rate, global_clipnorm=1.0), loss="sparse_categorical_crossentropy")
    model.summary()
    rng = np.random.default_rng(options.seed)
    start = time.perf_counter()
    for epoch in range(options.epochs):
        x, y, weights = as_text(draw(rng, 50 * 64, test=False))
        loss = model.fit(x, y, batch_size=64, sample_weight=weights, verbose=0).history["loss"][0]
        if epoch % 5 == 4:
            print(f"{50 * (epoch + 1):5} steps  loss {loss:.5f}  {time.perf_counter() - start:.0f} seconds")
    digits = draw(rng, 1000, test=True)
    written = write(model, digits)
    right = (written == np.sort(digits, axis=1)).all(axis=1).mean()
    for row, answer in zip(digits[:3], written, strict=False):
        print(f"{''.join(map(str, row))} -> {''.join(map(str, answer))}")
    if options.quick:
        right = (written == np.sort(digits, axis=1)).mean()
        return verdict(f"Digits in their right places on {options.backend}", right, 0.9, ".2%")
    return verdict(f"Unseen sequences sorted exactly on {options.backend}", right, 0.99, ".2%")


if __name__ == "__main__":
    sys.exit(main())
