"""Chapter 17, regression: one output that is a number, here the sine of the input.

python examples/nnfs/chapter_17.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import begin, verdict

import nnbackend as nn
from nnbackend import nnfs
from nnbackend.nnfs import (
    Accuracy_Regression,
    Activation_Linear,
    Activation_ReLU,
    Layer_Dense,
    Loss_MeanSquaredError,
    Optimizer_Adam,
    sine_data,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit a sine."""
    options = begin(__doc__, argv)
    epochs = 120 if options.quick else 10_000
    X, y = sine_data()
    layers = [
        Layer_Dense(1, 64),
        Activation_ReLU(),
        Layer_Dense(64, 64),
        Activation_ReLU(),
        Layer_Dense(64, 1),
        Activation_Linear(),
    ]
    # weights of 0.01 leave so little of the input after three layers that nothing is learnt for long: larger ones
    for layer, scale in ((layers[0], 1.0), (layers[2], 0.1), (layers[4], 0.1)):
        layer.weights = scale * nnfs.randn(*layer.weights.shape)
    loss_function, accuracy_function = Loss_MeanSquaredError(), Accuracy_Regression()
    accuracy_function.init(y)
    print(f"A prediction counts as right within {accuracy_function.precision:.4f} of its target")
    optimizer = Optimizer_Adam(learning_rate=0.005, decay=1e-3)
    for epoch in range(epochs + 1):
        output = X
        for layer in layers:
            layer.forward(output)
            output = layer.output
        loss = loss_function.calculate(output, y)
        accuracy = accuracy_function.calculate(output, y)
        if not epoch % (epochs // 4):
            print(
                f"epoch: {epoch}, acc: {accuracy:.3f}, loss: {loss:.5f}, lr: {optimizer.current_learning_rate}"
            )
        loss_function.backward(output, y)
        gradient = loss_function.dinputs
        for layer in reversed(layers):
            layer.backward(gradient)
            gradient = layer.dinputs
        optimizer.pre_update_params()
        for layer in layers[::2]:
            optimizer.update_params(layer)
        optimizer.post_update_params()
    fit = nn.to_numpy(output)[::125, 0]
    print("x       " + "".join(f"{x:8.3f}" for x in nn.to_numpy(X)[::125, 0]))
    print("sine    " + "".join(f"{value:8.3f}" for value in nn.to_numpy(y)[::125, 0]))
    print("network " + "".join(f"{value:8.3f}" for value in fit))
    explained = 1.0 - float(loss) / float(np.var(nn.to_numpy(y)))
    return verdict("Share of the variance explained", explained, 0.5 if options.quick else 0.999)


if __name__ == "__main__":
    sys.exit(main())
