"""scikit-learn's multi-layer perceptron."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

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
        shuffle=case.kind == "fit",
        random_state=0,
    )
    classes = np.arange(case.sizes[-1])
    model.partial_fit(case.x[: case.batch], case.y[: case.batch], classes=classes)  # makes the weights
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
    """Predict probabilities, which is all it gives."""
    model = _network(case)

    def run(steps: int) -> float:
        for _ in range(steps):
            output = model.predict_proba(case.x)
        return float(np.log(output[0, 0] / output[0, 1]))

    return run


def fit(case: Case) -> Run:
    model, kept, batch = _network(case), case.validation, case.batch
    x, y, x_val, y_val = case.x[:-kept], case.y[:-kept], case.x[-kept:], case.y[-kept:]

    def run(steps: int) -> float:
        for _ in range(steps * case.epochs):
            model.partial_fit(x, y)  # one epoch
            total = 0.0
            for begin in range(0, kept, batch):
                probabilities = model.predict_proba(x_val[begin : begin + batch])
                chosen = probabilities[np.arange(len(probabilities)), y_val[begin : begin + batch]]
                total -= float(np.sum(np.log(chosen)))
        return total / kept

    return run


KINDS = {"mlp": mlp, "inference": inference, "fit": fit}
