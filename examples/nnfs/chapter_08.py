"""Chapter 8, gradients: partial derivatives, the gradient that they make up, and the chain rule.

python examples/nnfs/chapter_08.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _book import begin

import nnbackend as nn


def main(argv: Sequence[str] | None = None) -> int:
    """Differentiate by hand and by the library, and compare."""
    backend = begin(__doc__, argv).backend
    at = [1.5, -2.0, 0.5]
    cases: dict[str, tuple[Callable[..., Any], list[float]]] = {
        "sum        x + y + z": (lambda x, y, z: x + y + z, [1.0, 1.0, 1.0]),
        "product    x y z": (lambda x, y, z: x * y * z, [at[1] * at[2], at[0] * at[2], at[0] * at[1]]),
        "maximum    max(x, y), z left out": (
            lambda x, y, z: nn.functional.maximum(x, y) + 0.0 * z,
            [1.0, 0.0, 0.0],
        ),
        "chain      (2 x y^2 + z)^3": (
            lambda x, y, z: (2.0 * x * y**2 + z) ** 3,
            # outer slope 3 u^2 at u = 12.5, times the inner slopes 2 y^2, 4 x y and 1
            [3 * 12.5**2 * 8.0, 3 * 12.5**2 * -12.0, 3 * 12.5**2],
        ),
    }
    good = True
    print(f"Partial derivatives at x, y, z = {at}:")
    for name, (f, by_hand) in cases.items():
        point = [backend.from_host(value, "float64") for value in at]
        gradient = [float(nn.to_numpy(slope)) for slope in nn.grad(f, argnums=(0, 1, 2))(*point)]
        print(f"  {name:34} by hand {by_hand}, by the library {gradient}")
        good = good and np.allclose(gradient, by_hand)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
