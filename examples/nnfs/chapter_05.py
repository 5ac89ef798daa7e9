"""Chapter 5, the error of a network: cross-entropy by hand, by the class for losses, and the accuracy.

python examples/nnfs/chapter_05.py --backend numpy
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from _book import begin, put

from nnbackend.nnfs import (
    Accuracy_Categorical,
    Activation_ReLU,
    Activation_Softmax,
    Layer_Dense,
    Loss_CategoricalCrossentropy,
    spiral_data,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure three answers, then an untrained network."""
    begin(__doc__, argv)
    probabilities, classes = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], [0, 1, 2]
    losses = [-math.log(row[label]) for row, label in zip(probabilities, classes, strict=True)]
    print(f"The surprise at each right class: {', '.join(f'{loss:.4f}' for loss in losses)}")
    loss_function = Loss_CategoricalCrossentropy()
    one_hot = [[1.0 if label == column else 0.0 for column in range(3)] for label in classes]
    print(f"Their mean, from classes:      {loss_function.calculate(put(probabilities), classes):.4f}")
    print(f"Their mean, from one-hot rows: {loss_function.calculate(put(probabilities), put(one_hot)):.4f}")
    wrong = loss_function.calculate(put([[0.0, 1.0]]), [0])
    print(f"A probability of 0 for what is right costs {wrong:.2f}, not infinity: it is taken for 1e-7")

    X, y = spiral_data(samples=100, classes=3)
    dense1, activation1 = Layer_Dense(2, 3), Activation_ReLU()
    dense2, activation2 = Layer_Dense(3, 3), Activation_Softmax()
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    activation2.forward(dense2.output)
    loss = loss_function.calculate(activation2.output, y)
    print("loss:", loss)
    print("acc:", Accuracy_Categorical().calculate(activation2.predictions(activation2.output), y))
    return 0 if abs(loss - 1.0986104) < 1e-6 else 1  # what the book prints


if __name__ == "__main__":
    sys.exit(main())
