"""Chapter 9, backpropagation: one neuron by hand, then layers, then softmax together with its loss.

python examples/nnfs/chapter_09.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import begin, put, show

import nnbackend as nn
from nnbackend.nnfs import (
    Activation_ReLU,
    Activation_Softmax,
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Layer_Dense,
    Loss_CategoricalCrossentropy,
    spiral_data,
)


def one_neuron() -> bool:
    """Step down the output of a neuron with ReLU, its gradient taken by hand and by the classes."""
    x, w, b = [1.0, -2.0, 3.0], [-0.5, -1.0, 1.5], 0.5
    z = sum(value * weight for value, weight in zip(x, w, strict=True)) + b
    dz = 1.0 if z > 0 else 0.0  # ReLU's slope; times that of the product, which is the other factor
    dw, dx, db = [dz * value for value in x], [dz * weight for weight in w], dz
    print(f"One neuron: output {max(z, 0.0)}, gradients dw {dw}, dx {dx}, db {db}")
    moved = [weight - 0.01 * slope for weight, slope in zip(w, dw, strict=True)]
    after = sum(value * weight for value, weight in zip(x, moved, strict=True)) + b - 0.01 * db
    print(f"A hundredth of the gradient taken off, the output is {max(after, 0.0):.4f}")

    dense, relu = Layer_Dense(3, 1), Activation_ReLU()
    dense.set_parameters(put([[weight] for weight in w]), put([[b]]))
    dense.forward(put([x]))
    relu.forward(dense.output)
    relu.backward(put([[1.0]]))
    dense.backward(relu.dinputs)
    return bool(
        np.allclose(nn.to_numpy(dense.dweights)[:, 0], dw)
        and np.allclose(nn.to_numpy(dense.dinputs)[0], dx)
        and np.allclose(nn.to_numpy(dense.dbiases), db)
        and after < z
    )


def softmax_and_loss() -> bool:
    """Compare the gradient of both together with that of one after the other."""
    outputs, targets = put([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]]), [0, 1, 1]
    together = Activation_Softmax_Loss_CategoricalCrossentropy()
    together.backward(outputs, targets)
    softmax, loss = Activation_Softmax(), Loss_CategoricalCrossentropy()
    softmax.output = outputs
    loss.backward(outputs, targets)
    softmax.backward(loss.dinputs)
    show("Gradient of softmax and loss together", together.dinputs)
    show("Gradient of one after the other", softmax.dinputs)
    return np.allclose(nn.to_numpy(together.dinputs), nn.to_numpy(softmax.dinputs), atol=1e-6)


def main(argv: Sequence[str] | None = None) -> int:
    """Go from one neuron to the gradients of a network."""
    begin(__doc__, argv)
    good = one_neuron()
    good = softmax_and_loss() and good

    X, y = spiral_data(samples=100, classes=3)
    dense1, activation1, dense2 = Layer_Dense(2, 3), Activation_ReLU(), Layer_Dense(3, 3)
    loss_activation = Activation_Softmax_Loss_CategoricalCrossentropy()
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    print("loss:", loss_activation.forward(dense2.output, y))
    loss_activation.backward(loss_activation.output, y)
    dense2.backward(loss_activation.dinputs)
    activation1.backward(dense2.dinputs)
    dense1.backward(activation1.dinputs)
    for name in ("dweights", "dbiases"):
        show(f"dense1.{name}", getattr(dense1, name))
        show(f"dense2.{name}", getattr(dense2, name))

    def whole(w1, w2):
        hidden = nn.functional.relu(nn.functional.matmul(X, w1) + dense1.biases)
        logits = nn.functional.matmul(hidden, w2) + dense2.biases
        labels = nn.functional.astype(y, "int64")
        return nn.functional.mean(nn.functional.sparse_softmax_crossentropy(logits, labels))

    slopes = nn.grad(whole, argnums=(0, 1))(dense1.weights, dense2.weights)
    same = all(
        np.allclose(nn.to_numpy(layer.dweights), nn.to_numpy(slope), rtol=1e-3, atol=1e-8)
        for layer, slope in zip((dense1, dense2), slopes, strict=True)
    )
    print(f"The library's gradient of the whole network is the same: {'yes' if same else 'no'}")
    return 0 if good and same else 1


if __name__ == "__main__":
    sys.exit(main())
