"""What the examples share: their options, scikit-learn's bundled data, and the last line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import nnbackend as nn

OUTPUT = Path(__file__).resolve().parent / "output"


def make_parser(description: str | None, *, epochs: int, quick_epochs: int) -> argparse.ArgumentParser:
    """Return a parser of the options that every example has; see `parse`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="numpy, cupy, torch, jax or strict; without it NNBACKEND, or numpy",
    )
    parser.add_argument("--seed", type=int, default=0, help="for weights, shuffles and dropout (default: 0)")
    parser.add_argument(
        "--epochs", type=int, help=f"passes over the data (default: {epochs}, or {quick_epochs} with --quick)"
    )
    parser.add_argument("--quick", action="store_true", help="train briefly and ask for less")
    parser.set_defaults(full_epochs=epochs, quick_epochs=quick_epochs)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options; `backend` is the backend itself, `epochs` always a number."""
    options = parser.parse_args(argv)
    try:
        options.backend = nn.get_backend(options.backend)
    except (nn.BackendUnavailableError, ValueError) as error:
        parser.error(str(error))
    if options.epochs is None:
        options.epochs = options.quick_epochs if options.quick else options.full_epochs
    return options


def load(name: str, *, stratify: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ``x_train, x_test, y_train, y_test`` of one of scikit-learn's bundled data sets.

    A random fifth, always the same one, is kept for the test; `stratify` gives both parts the same share of each class.
    """
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ImportError:
        sys.exit('This example needs scikit-learn. Install it: pip install "nnbackend[examples]"')
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, random_state=0, stratify=y if stratify else None
    )
    return x_train, x_test, y_train, y_test


def standardize(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale both by the mean and the deviation of the first; the test must not be looked at."""
    scaler = nn.data.Standardizer().fit(train)
    return scaler.transform(train), scaler.transform(test)


def verdict(what: str, reached: float, goal: float, show: str = ".1%") -> int:
    """Print what was reached and what was asked for; return the exit status."""
    print(f"{what}: {reached:{show}} (at least {goal:{show}} expected)")
    return 0 if reached >= goal else 1
