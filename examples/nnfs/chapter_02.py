"""Chapter 2, coding the first neurons: sums of products, by hand, in a loop, and as products of matrices.

python examples/nnfs/chapter_02.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import begin, put, show

import nnbackend as nn

INPUTS = [0.5, -1.0, 2.0]
WEIGHTS = [[0.1, 0.4, -0.2], [1.0, -0.5, 0.25]]
BIASES = [1.0, -0.5]
BATCH = [INPUTS, [1.5, 0.0, -1.0], [-2.0, 1.0, 0.5]]


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the same neurons in four ways."""
    begin(__doc__, argv)
    one = INPUTS[0] * WEIGHTS[0][0] + INPUTS[1] * WEIGHTS[0][1] + INPUTS[2] * WEIGHTS[0][2] + BIASES[0]
    print(f"One neuron, written out: {one:.3f}")

    layer = []
    for weights, bias in zip(WEIGHTS, BIASES, strict=True):
        total = bias
        for value, weight in zip(INPUTS, weights, strict=True):
            total += value * weight
        layer.append(total)
    print(f"Two neurons, in a loop: {', '.join(f'{total:.3f}' for total in layer)}")

    product = nn.functional.matmul(put(WEIGHTS), put(INPUTS)) + put(BIASES)
    show("Two neurons, as a product of a matrix and a vector", product)

    # a batch has a row for each sample; for its product the weights are turned over, a column for each neuron
    batch = nn.functional.dense(put(BATCH), put(WEIGHTS).T, put(BIASES))
    show("Two neurons for each of three samples", batch)
    same = np.allclose(layer, nn.to_numpy(product)) and np.allclose(layer, nn.to_numpy(batch)[0])
    print(f"All ways give the same: {'yes' if same else 'no'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
