"""scikit-learn's multi-layer perceptron."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils._testing import ignore_warnings

from benchmarks.case import Case, Run


def _network(case: Case) -> Any:
    given = case.optimizer
    hidden = tuple(len(bias) for _, bias in case.layers[:-1])
    model = MLPClassifier(
        hidden,
        alpha=0.0,
        batch_size=case.batch,
        learning_rate_init=given["learning_rate"],
        beta_1=given["beta_1"],
        beta_2=given["beta_2"],
        epsilon=given["epsilon"],
        max_iter=case.epochs,
        random_state=0,
        shuffle=case.kind == "fit",
        n_iter_no_change=case.epochs + 1,
    )
    classes = np.arange(case.sizes[-1])
    model.partial_fit(case.x[: case.batch], case.y[: case.batch], classes)  # makes the weights
    for (kernel, bias), coefficients, intercepts in zip(
        case.layers, model.coefs_, model.intercepts_, strict=True
    ):
        coefficients[...], intercepts[...] = kernel, bias
    del model._optimizer  # so that the next step is its first
    return model


def mlp(case: Case) -> Run:
    model = _network(case)

    def run(steps: int) -> float:
        for _ in range(steps):
            model.partial_fit(case.x, case.y)
        return float(model.loss_)

    return run


def inference(case: Case) -> Run:
    """It has no logits to give; the difference to the mean of their logarithms is a logit's, up to one constant."""
    model = _network(case)
    kernel, bias = case.layers[-1]

    def run(steps: int) -> float:
        for _ in range(steps):
            output = model.predict_proba(case.x)
        return float(output[0, 0])

    return run


KINDS = {"mlp": mlp, "inference": inference}
