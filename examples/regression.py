"""Regression: how far diabetes advances within a year, foretold from ten measurements of a patient.

    python examples/regression.py --backend numpy

The data come with scikit-learn: 442 patients, from B. Efron and others, "Least angle regression", 2004. They are few
and noisy: a straight line is hard to beat here, and stands beside the network for comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _common import load, make_parser, parse, standardize, verdict

import nnbackend as nn


def make_model(backend: nn.backend.Backend, seed: int) -> nn.Sequential:
    """Return a network for ten measurements and one number."""
    return nn.Sequential(
        [nn.Dense(64, activation="relu"), nn.Dropout(0.5), nn.Dense(1)], backend=backend, seed=seed
    )


def r_squared(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Return the share of the variance that is explained: 1 is perfect, 0 as good as the mean."""
    return 1.0 - float(np.mean((y_true - y_pred) ** 2) / np.var(y_true))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and compare with a straight line."""
    options = parse(make_parser(__doc__, epochs=50, quick_epochs=20), argv)
    x_train, x_test, y_train, y_test = load("diabetes", stratify=False)
    x_train, x_test = standardize(x_train, x_test)
    y_train, y_test = standardize(y_train, y_test)

    model = make_model(options.backend, options.seed)
    model.compile(nn.optimizers.Adam(0.001), loss="mean_squared_error", metrics=["mae"])
    model.fit(x_train, y_train, epochs=options.epochs, batch_size=32)

    from sklearn.linear_model import LinearRegression

    line = LinearRegression().fit(x_train, y_train)
    print(f"R2 of a straight line: {r_squared(y_test, line.predict(x_test)):.3f}")
    r2 = r_squared(y_test, model.predict(x_test)[:, 0])
    return verdict(f"R2 of the network on {model.backend}", r2, 0.25 if options.quick else 0.3, ".3f")


if __name__ == "__main__":
    sys.exit(main())
