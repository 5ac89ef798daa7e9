"""Tag the words of sentences with a bidirectional LSTM, where a word's part of speech depends on what follows.

    python examples/tagger.py --backend numpy

The sentences come from a small grammar in which every word but the article may be an adjective, a noun or a verb, as
"light", "present" and "mean" may be in English:

    sentence -> phrase verb phrase | phrase verb        phrase -> article adjective* noun

After an article, any number of adjectives comes before the noun; which word the noun is shows only at the next verb
or at the end. So reading from the left alone cannot tell, and a network that reads both ways can. Sentences have
different lengths: shorter ones are filled up with zeros, which `Embedding(mask_zero=True)` leaves out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
from _common import make_parser, parse, verdict

import nnbackend as nn

ARTICLE, ADJECTIVE, NOUN, VERB = range(4)
FILLING, THE = 0, 1
WORDS = 30
LENGTH = 16


def phrase(rng: np.random.Generator) -> list[int]:
    """Return the tags of an article, up to four adjectives and a noun."""
    return [ARTICLE, *[ADJECTIVE] * int(rng.integers(0, 5)), NOUN]


def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return words and tags of sentences, each of shape (count, LENGTH)."""
    x, y = np.zeros((count, LENGTH), dtype="int64"), np.zeros((count, LENGTH), dtype="int64")
    for words, tags in zip(x, y, strict=True):
        found = [*phrase(rng), VERB]
        if rng.random() < 0.5:
            found += phrase(rng)
        tags[: len(found)] = found
        words[: len(found)] = rng.integers(2, WORDS, len(found))
        words[: len(found)][np.asarray(found) == ARTICLE] = THE
    return x, y


def make_model(backend: nn.backend.Backend, seed: int, *, both_ways: bool) -> nn.Sequential:
    """Return a tagger that reads both ways, or from the left alone."""
    reader = nn.LSTM(32, return_sequences=True)
    return nn.Sequential(
        [
            nn.Input((LENGTH,)),
            nn.Embedding(WORDS, 16, mask_zero=True),
            nn.Bidirectional(reader) if both_ways else reader,
            nn.Dense(4),
        ],
        backend=backend,
        seed=seed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train both taggers, and test them on other sentences."""
    options = parse(make_parser(__doc__, epochs=6, quick_epochs=3), argv)
    rng = np.random.default_rng(options.seed)
    train, test = draw(rng, 2000), draw(rng, 500)
    reached = {}
    for both_ways in (False, True):
        model = make_model(options.backend, options.seed, both_ways=both_ways)
        model.compile(nn.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        if both_ways:
            model.summary()
        start = time.perf_counter()
        model.fit(*train, epochs=options.epochs, batch_size=64, verbose=0)
        reached[both_ways] = model.evaluate(*test)["accuracy"]
        how = "both ways" if both_ways else "from the left alone"
        seconds = time.perf_counter() - start
        print(f"Reading {how}: {reached[both_ways]:.2%} of the words tagged right, {seconds:.1f} seconds")
    return verdict(
        f"Test accuracy on {options.backend}", reached[True], 0.95 if options.quick else 0.99, ".2%"
    )


if __name__ == "__main__":
    sys.exit(main())
