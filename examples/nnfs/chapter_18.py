"""Chapter 18, the model object: the last chapters' three networks, each in a dozen lines.

python examples/nnfs/chapter_18.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from _book import begin, verdict

import nnbackend as nn
from nnbackend.nnfs import (
    Accuracy_Categorical,
    Accuracy_Regression,
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    Layer_Dropout,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanSquaredError,
    Model,
    Optimizer_Adam,
    sine_data,
    spiral_data,
)


def make(layers: Sequence[Any], loss: Any, optimizer: Any, accuracy: Any) -> Model:
    """Return a finalized model."""
    model = Model()
    for layer in layers:
        model.add(layer)
    model.set(loss=loss, optimizer=optimizer, accuracy=accuracy)
    model.finalize()
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Train a model for numbers, one for yes or no, and one for classes."""
    options = begin(__doc__, argv)
    epochs, width = (60, 64) if options.quick else (10_000, 512)

    print("A sine:")
    X, y = sine_data()
    hidden = [Layer_Dense(1, 64), Activation_ReLU(), Layer_Dense(64, 64), Activation_ReLU()]
    optimizer = Optimizer_Adam(learning_rate=0.005, decay=1e-3)
    model = make(
        [*hidden, Layer_Dense(64, 1), Activation_Linear()],
        Loss_MeanSquaredError(),
        optimizer,
        Accuracy_Regression(),
    )
    model.train(X, y, epochs=epochs, print_every=epochs // 3)

    print("Two arms:")
    X, y = spiral_data(samples=100, classes=2)
    X_test, y_test = spiral_data(samples=100, classes=2)
    y, y_test = (nn.functional.reshape(column, (-1, 1)) for column in (y, y_test))
    hidden = [Layer_Dense(2, 64, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4), Activation_ReLU()]
    model = make(
        [*hidden, Layer_Dense(64, 1), Activation_Sigmoid()],
        Loss_BinaryCrossentropy(),
        Optimizer_Adam(decay=5e-7),
        Accuracy_Categorical(binary=True),
    )
    model.train(X, y, validation_data=(X_test, y_test), epochs=epochs, print_every=epochs // 3)

    print("Three arms:")
    X, y = spiral_data(samples=1000, classes=3)
    X_test, y_test = spiral_data(samples=100, classes=3)
    hidden = [Layer_Dense(2, width, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4), Activation_ReLU()]
    model = make(
        [*hidden, Layer_Dropout(0.1), Layer_Dense(width, 3), Activation_Softmax()],
        Loss_CategoricalCrossentropy(),
        Optimizer_Adam(learning_rate=0.05, decay=5e-5),
        Accuracy_Categorical(),
    )
    model.train(X, y, validation_data=(X_test, y_test), epochs=epochs, print_every=epochs // 3)
    return verdict("Test accuracy", model.accuracy.calculate_accumulated(), 0.45 if options.quick else 0.75)


if __name__ == "__main__":
    sys.exit(main())
