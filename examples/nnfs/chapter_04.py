"""Chapter 4, activation functions: step, sigmoid, ReLU and softmax, and a network that is made of them.

python examples/nnfs/chapter_04.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import begin, put, show

import nnbackend as nn
from nnbackend.nnfs import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    spiral_data,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Show the functions, then what an untrained network says."""
    begin(__doc__, argv)
    x = put([[-2.0, -0.5, 0.0, 0.5, 2.0]])
    show("Inputs", x)
    show("Step", nn.functional.step(x))
    for activation in (Activation_Linear(), Activation_Sigmoid(), Activation_ReLU(), Activation_Softmax()):
        activation.forward(x)
        show(type(activation).__name__, activation.output)

    shifted = Activation_Softmax()
    shifted.forward(x - 1000.0)
    print("Softmax of the inputs less 1000 is the same: what counts are differences, and nothing overflows.")
    same = np.allclose(nn.to_numpy(shifted.output), nn.to_numpy(activation.output), atol=1e-4)

    X, _ = spiral_data(samples=100, classes=3)
    dense1, activation1 = Layer_Dense(2, 3), Activation_ReLU()
    dense2, activation2 = Layer_Dense(3, 3), Activation_Softmax()
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    activation2.forward(dense2.output)
    output = nn.to_numpy(activation2.output)
    show("An untrained network finds each class as probable as the others", output[:5])
    return 0 if same and np.allclose(output, 1 / 3, atol=1e-3) else 1


if __name__ == "__main__":
    sys.exit(main())
