"""Thinc, with its own operations for NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc.api import Adam, Linear, Relu, chain

from benchmarks.case import Case, Run
from benchmarks.competitors.fitting import fits


def _network(case: Case) -> Any:
    shapes = [kernel.shape for kernel, _ in case.layers]
    hidden = [Relu(nO=units, nI=features) for features, units in shapes[:-1]]
    model = chain(*hidden, Linear(nO=shapes[-1][1], nI=shapes[-1][0]))
    model.initialize()
    for layer, (kernel, bias) in zip(model.layers, case.layers, strict=True):
        layer.set_param("W", np.ascontiguousarray(kernel.T))
        layer.set_param("b", bias.copy())
    return model


def _optimizer(case: Case) -> Adam:
    given = case.optimizer
    return Adam(
        given["learning_rate"],
        beta1=given["beta_1"],
        beta2=given["beta_2"],
        eps=given["epsilon"],
        L2=0.0,
        grad_clip=0.0,
        use_averages=False,
    )


def _cross_entropy(probabilities: Any, y: Any) -> float:
    return float(-np.mean(np.log(probabilities[np.arange(len(y)), y])))


def _train(model: Any, optimizer: Adam, x: Any, y: Any) -> float:
    logits, backprop = model.begin_update(x)
    probabilities = model.ops.softmax(logits)  # its own cross-entropy takes these
    loss = _cross_entropy(probabilities, y)
    probabilities[np.arange(len(y)), y] -= 1.0
    backprop(probabilities / len(y))
    model.finish_update(optimizer)
    return loss


def mlp(case: Case) -> Run:
    model, optimizer = _network(case), _optimizer(case)

    def run(steps: int) -> float:
        for _ in range(steps):
            loss = _train(model, optimizer, case.x, case.y)
        return loss

    return run


def fit(case: Case) -> Run:
    model, optimizer = _network(case), _optimizer(case)

    def measure(x: Any, y: Any) -> float:
        return _cross_entropy(model.ops.softmax(model.predict(x)), y)

    return fits(case, lambda x, y: _train(model, optimizer, x, y), measure)


def inference(case: Case) -> Run:
    model = _network(case)

    def run(steps: int) -> float:
        for _ in range(steps):
            output = model.predict(case.x)
        return float(output[0, 0] - output[0, 1])

    return run


KINDS = {"mlp": mlp, "inference": inference, "fit": fit}
