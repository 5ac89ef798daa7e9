"""Chapter 3, adding layers: what one layer gives is what the next one gets; then the spiral, and a class for layers.

python examples/nnfs/chapter_03.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from _book import begin, put, show

import nnbackend as nn
from nnbackend.nnfs import Layer_Dense, spiral_data

#: Two rows that the book prints.
PRINTED = {
    1: [-1.0475188e-04, 1.1395361e-04, -4.7983500e-05],
    4: [-5.7707680e-04, 7.1401405e-04, -8.9430439e-05],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Chain two layers, then pass the spiral through one of the class."""
    begin(__doc__, argv)
    X = put([[1.0, -2.0], [0.5, 3.0]])
    first = nn.functional.dense(X, put([[0.2, -0.4, 0.6], [0.1, 0.3, -0.5]]), put([1.0, 0.0, -1.0]))
    second = nn.functional.dense(first, put([[1.0], [-1.0], [0.5]]), put([0.25]))
    show("The first layer's output", first)
    show("The second layer's output, made of it", second)

    X, y = spiral_data(samples=100, classes=3)
    classes, counts = np.unique(nn.to_numpy(y), return_counts=True)
    print(
        f"The spiral: {X.shape[0]} points, {dict(zip(classes.tolist(), counts.tolist(), strict=True))} of each class"
    )
    dense1 = Layer_Dense(2, 3)
    dense1.forward(X)
    output = nn.to_numpy(dense1.output)
    show("A dense layer's output for the first five points", output[:5])
    same = all(np.allclose(output[row], numbers, rtol=1e-6, atol=0.0) for row, numbers in PRINTED.items())
    print(f"These are the book's numbers: {'yes' if same else 'no'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
