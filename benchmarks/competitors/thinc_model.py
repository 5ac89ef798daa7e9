"""Thinc, with its own operations for NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc.api import Adam, Linear, Relu, chain

from benchmarks.case import Case, Run


def _network(case: Case) -> Any:
    shapes = [kernel.shape for kernel, _ in case.layers]
    hidden = [Relu(nO=units, nI=features) for features, units in shapes[:-1]]
    model = chain(*hidden, Linear(nO=shapes[-1][1], nI=shapes[-1][0]))
    model.initialize()
    for layer, (kernel, bias) in zip(model.layers, case.layers, strict=True):
        layer.set_param("W", np.ascontiguousarray(kernel.T))
        layer.set_param("b", bias.copy())
    return model


def mlp(case: Case) -> Run:
    model, given, samples = _network(case), case.optimizer, len(case.x)
    optimizer = Adam(
        given["learning_rate"],
        beta1=given["beta_1"],
        beta2=given["beta_2"],
        eps=given["epsilon"],
        L2=0.0,
        grad_clip=0.0,
        use_averages=False,
    )
    rows = np.arange(samples)

    def run(steps: int) -> float:
        for _ in range(steps):
            logits, backprop = model.begin_update(case.x)
            probabilities = model.ops.softmax(logits)  # its cross-entropy takes these
            loss = -np.mean(np.log(probabilities[rows, case.y]))
            probabilities[rows, case.y] -= 1.0
            backprop(probabilities / samples)
            model.finish_update(optimizer)
        return float(loss)

    return run


def inference(case: Case) -> Run:
    model = _network(case)

    def run(steps: int) -> float:
        for _ in range(steps):
            output = model.predict(case.x)
        return float(output[0, 0] - output[0, 1])

    return run


KINDS = {"mlp": mlp, "inference": inference}
