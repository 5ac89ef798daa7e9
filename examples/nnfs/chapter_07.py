"""Chapter 7, derivatives: slopes between two points, closer and closer, and the tangent that they tend to.

python examples/nnfs/chapter_07.py --backend numpy
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _book import begin

import nnbackend as nn


def main(argv: Sequence[str] | None = None) -> int:
    """Take the slope of a parabola at 2 in three ways."""
    backend = begin(__doc__, argv).backend

    def f(x: float) -> float:
        return 3.0 * x**2 - x

    print("The slope of 3x^2 - x between 2 and 2 + h:")
    for h in (1.0, 0.1, 0.01, 0.0001):
        print(f"  h = {h:<7} {(f(2.0 + h) - f(2.0)) / h:.6f}")
    central = (f(2.0 + 1e-4) - f(2.0 - 1e-4)) / 2e-4
    print(f"Between 2 - h and 2 + h, h = 0.0001: {central:.6f}")

    exact = float(nn.to_numpy(nn.grad(f)(backend.from_host(2.0, "float64"))))
    print(f"By the rules of derivatives, 6x - 1: {exact:.6f}")
    print(f"The tangent there: y = {exact:g} x {f(2.0) - exact * 2.0:+g}")
    for x in (1.9, 2.0, 2.1):
        print(f"  at {x}: the parabola {f(x):.3f}, the tangent {f(2.0) + exact * (x - 2.0):.3f}")
    return 0 if abs(exact - 11.0) < 1e-12 and abs(central - exact) < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
