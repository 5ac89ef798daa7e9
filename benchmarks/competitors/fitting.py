"""The loop of a fit, for libraries that leave it to their users: shuffled epochs, and the loss on what was kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Run


def fits(
    case: Case,
    train: Callable[[Any, Any], object],
    measure: Callable[[Any, Any], Any],
    place: Callable[[Any], Any] = lambda array: array,
) -> Run:
    """Let `train` take a step on each batch of host arrays, and `measure` return the mean loss of a batch.

    `place` brings what is kept for validation to where it is measured, once.
    """
    kept, batch = case.validation, case.batch
    x, y = case.x[:-kept], case.y[:-kept]
    held = [
        (place(case.x[begin : begin + batch]), place(case.y[begin : begin + batch]))
        for begin in range(len(x), len(case.x), batch)
    ]
    rng = np.random.default_rng(0)

    def run(steps: int) -> float:
        for _ in range(steps * case.epochs):
            order = rng.permutation(len(x))
            for begin in range(0, len(x), batch):
                rows = order[begin : begin + batch]
                train(x[rows], y[rows])
            total = sum(float(measure(some, targets)) * len(targets) for some, targets in held)
        return total / kept

    return run
