"""Thinc, with its own operations for NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc.api import Adam, Linear, Relu, chain

from benchmarks.case import Case, Run


def _network(case: Case) -> Any:
    parts = []
    for number, (kernel, bias) in enumerate(case.layers):
        make = Linear if number == len(case.layers) - 1 else Relu
        layer = make(nO=kernel.shape[1], nI=kernel.shape[0])
        layer.initialize()
        layer.set_param("W", np.ascontiguousarray(kernel.T))
        layer.set_param("b", bias.copy())
        parts.append(layer)
    model = chain(*parts)
    model.initialize()
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
        return float(output[0, 0])

    return run


KINDS = {"mlp": mlp, "inference": inference}
