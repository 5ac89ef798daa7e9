"""Two classes: whether a tumour of the breast is benign, judged from thirty measurements of its cells.

    python examples/binary.py --backend numpy

The data come with scikit-learn: 569 tumours, from W. N. Street, W. H. Wolberg and O. L. Mangasarian, 1993.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _common import load, make_parser, parse, standardize, verdict

import nnbackend as nn


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Sequential:
    """Return a network for thirty measurements and the probability of one answer."""
    return nn.Sequential(
        [nn.Dense(32, activation="relu"), nn.Dropout(0.5), nn.Dense(1, activation="sigmoid")],
        backend=backend,
        seed=seed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train, test, and count both kinds of error."""
    options = parse(make_parser(__doc__, epochs=40, quick_epochs=20), argv)
    x_train, x_test, y_train, y_test = load("breast_cancer", stratify=True)
    x_train, x_test = standardize(x_train, x_test)

    model = make_model(options.backend, options.seed)
    model.compile(nn.optimizers.Adam(0.001), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=options.epochs, batch_size=32)

    benign = model.predict(x_test)[:, 0] > 0.5
    print(f"Benign taken for malignant: {int((~benign & (y_test == 1)).sum())} of {int((y_test == 1).sum())}")
    print(f"Malignant taken for benign: {int((benign & (y_test == 0)).sum())} of {int((y_test == 0).sum())}")
    accuracy = float((benign == y_test).mean())
    return verdict(f"Test accuracy on {model.backend}", accuracy, 0.9 if options.quick else 0.95)


if __name__ == "__main__":
    sys.exit(main())
