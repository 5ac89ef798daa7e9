"""Chapter 16, binary logistic regression: one output that says yes or no, with sigmoid and its cross-entropy.

python examples/nnfs/chapter_16.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _book import begin, verdict

import nnbackend as nn
from nnbackend.nnfs import (
    Accuracy_Categorical,
    Activation_ReLU,
    Activation_Sigmoid,
    Layer_Dense,
    Loss_BinaryCrossentropy,
    Optimizer_Adam,
    spiral_data,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Tell two arms apart."""
    options = begin(__doc__, argv)
    epochs, rate = (120, 0.02) if options.quick else (10_000, 0.001)
    X, y = spiral_data(samples=100, classes=2)
    y = nn.functional.reshape(y, (-1, 1))  # a column: a target for each output
    dense1 = Layer_Dense(2, 64, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4)
    activation1, dense2, activation2 = Activation_ReLU(), Layer_Dense(64, 1), Activation_Sigmoid()
    loss_function, accuracy_function = Loss_BinaryCrossentropy(), Accuracy_Categorical(binary=True)
    optimizer = Optimizer_Adam(learning_rate=rate, decay=5e-7)

    def forward(X, y):
        dense1.forward(X)
        activation1.forward(dense1.output)
        dense2.forward(activation1.output)
        activation2.forward(dense2.output)
        data_loss = loss_function.calculate(activation2.output, y)
        return data_loss, accuracy_function.calculate(activation2.predictions(activation2.output), y)

    for epoch in range(epochs + 1):
        data_loss, accuracy = forward(X, y)
        penalty = loss_function.regularization_loss(dense1) + loss_function.regularization_loss(dense2)
        if not epoch % (epochs // 4):
            print(
                f"epoch: {epoch}, acc: {accuracy:.3f}, loss: {data_loss + penalty:.3f} (data_loss: {data_loss:.3f}, "
                f"reg_loss: {penalty:.3f}), lr: {optimizer.current_learning_rate}"
            )
        loss_function.backward(activation2.output, y)
        activation2.backward(loss_function.dinputs)
        dense2.backward(activation2.dinputs)
        activation1.backward(dense2.dinputs)
        dense1.backward(activation1.dinputs)
        optimizer.pre_update_params()
        optimizer.update_params(dense1)
        optimizer.update_params(dense2)
        optimizer.post_update_params()

    X_test, y_test = spiral_data(samples=100, classes=2)
    loss, accuracy = forward(X_test, nn.functional.reshape(y_test, (-1, 1)))
    print(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")
    return verdict("Test accuracy", accuracy, 0.6 if options.quick else 0.85)


if __name__ == "__main__":
    sys.exit(main())
