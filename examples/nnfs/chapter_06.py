"""Chapter 6, why training needs a direction: a random search finds clouds, and gets lost on the spiral.

python examples/nnfs/chapter_06.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from _book import begin, verdict

from nnbackend import nnfs
from nnbackend.nnfs import (
    Accuracy_Categorical,
    Activation_ReLU,
    Activation_Softmax,
    Layer_Dense,
    Loss_CategoricalCrossentropy,
    spiral_data,
    vertical_data,
)


def search(X: Any, y: Any, tries: int, *, tweak: bool) -> float:
    """Try random weights, new ones each time or the best so far moved a little; return the best loss's accuracy."""
    dense1, activation1 = Layer_Dense(2, 3), Activation_ReLU()
    dense2, activation2 = Layer_Dense(3, 3), Activation_Softmax()
    loss_function, accuracy_function = Loss_CategoricalCrossentropy(), Accuracy_Categorical()
    lowest, shown, best_accuracy = float("inf"), float("inf"), 0.0
    best = [(layer.weights, layer.biases) for layer in (dense1, dense2)]
    for iteration in range(tries):
        for layer, (weights, biases) in zip((dense1, dense2), best, strict=True):
            step = 0.05 * nnfs.randn(*weights.shape), 0.05 * nnfs.randn(*biases.shape)
            layer.weights = weights + step[0] if tweak else step[0]
            layer.biases = biases + step[1] if tweak else step[1]
        dense1.forward(X)
        activation1.forward(dense1.output)
        dense2.forward(activation1.output)
        activation2.forward(dense2.output)
        loss = loss_function.calculate(activation2.output, y)
        if loss < lowest:
            accuracy = accuracy_function.calculate(activation2.predictions(activation2.output), y)
            if loss < 0.9 * shown:
                print(f"  at try {iteration}: loss {loss:.4f}, accuracy {accuracy:.3f}")
                shown = loss
            best = [(layer.weights, layer.biases) for layer in (dense1, dense2)]
            lowest, best_accuracy = loss, accuracy
    print(f"  after {tries} tries: loss {lowest:.4f}, accuracy {best_accuracy:.3f}")
    return best_accuracy


def main(argv: Sequence[str] | None = None) -> int:
    """Search three times."""
    options = begin(__doc__, argv)
    tries = 250 if options.quick else 10_000
    X, y = vertical_data(samples=100, classes=3)
    print("Clouds, new weights each time:")
    search(X, y, tries, tweak=False)
    print("Clouds, the best weights moved a little:")
    clouds = search(X, y, tries, tweak=True)
    X, y = spiral_data(samples=100, classes=3)
    print("The spiral, the best weights moved a little:")
    search(X, y, tries, tweak=True)
    return verdict("Accuracy on the clouds", clouds, 0.6 if options.quick else 0.85)


if __name__ == "__main__":
    sys.exit(main())
