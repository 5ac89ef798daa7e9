"""Whether gradients are right: rules against central differences."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from nnbackend import tree
from nnbackend.autodiff import GradientError, is_floating, refuse_references, vjp
from nnbackend.backend import backend_of, host, is_array, plain, to_numpy
from nnbackend.random import Stream
from nnbackend.typing import Tree

__all__ = ["gradcheck"]

#: Sums smaller than this are compared as if they were as large: differences carry rounding errors of that order.
SMALLEST = 1e-3


def gradcheck(
    f: Callable[..., Any],
    *arguments: Tree,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    projections: int = 3,
    seed: int = 0,
    **options: Any,
) -> None:
    r"""Compare a function's gradients with central differences, in random directions.

    With random cotangents :math:`u` and a random direction :math:`d` of unit length per element, it compares
    :math:`\langle J^\top u, d\rangle` from the rules with
    :math:`\langle u, f(x + h d) - f(x - h d)\rangle / 2h`, for each argument on its own.

    Parameters
    ----------
    f : callable
        A rule or any function of trees of arrays.
    *arguments : tree of array
        Where to compare: float64 arrays of any backend; integer and boolean arrays are held fixed. Keep away from
        points where `f` has no derivative.
    step : float
        The step :math:`h`.
    tolerance : float
        The error allowed, relative to the larger of the two and to the size of the terms they are sums of.
    projections : int
        How many random directions.
    seed : int
        Seed of the directions.
    **options
        Static arguments, passed on to `f`.

    Raises
    ------
    GradientError
        If the two differ, or a gradient has not the shape of its argument.
    TypeError
        If a floating argument is not float64.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.gradcheck(nn.functional.tanh, xp.asarray([0.3, -1.2]))
    """
    flat, structure = tree.flatten(tuple(arguments))
    refuse_references(flat)
    flat = [plain(leaf) for leaf in flat]
    floating = _floating_arguments(flat)
    backend = backend_of(flat[floating[0]])
    name = getattr(f, "__name__", type(f).__name__)

    def evaluate(*values: Any) -> Any:
        return f(*values, **options)

    for number in range(projections):
        draw = functools.partial(_direction, seed, number)
        value, pullback = vjp(evaluate, *tree.unflatten(structure, flat))
        outputs, output_structure = tree.flatten(value)
        weights = [draw(f"output/{k}", y) if is_floating(y) else None for k, y in enumerate(outputs)]
        seeds = [y if w is None else backend.from_host(w) for w, y in zip(weights, outputs, strict=True)]
        gradients = tree.leaves(pullback(tree.unflatten(output_structure, seeds)))
        for gradient, index in zip(gradients, floating, strict=True):
            argument = flat[index]
            line = draw(f"argument/{index}", argument)

            def moved(by: float, index: int = index, line: Any = line) -> list[Any]:
                values = list(flat)
                values[index] = backend.from_host(to_numpy(flat[index]) + by * line)
                return tree.leaves(evaluate(*tree.unflatten(structure, values)))

            terms = [
                weight * (to_numpy(ahead) - to_numpy(behind)) / (2 * step)
                for weight, ahead, behind in zip(weights, moved(step), moved(-step), strict=True)
                if weight is not None
            ]
            _compare(f"{name}: the gradient of argument {index}", to_numpy(gradient) * line, terms, tolerance)


def _floating_arguments(flat: list[Any]) -> list[int]:
    """Return which of the arguments have gradients; they must be float64."""
    floating = [index for index, leaf in enumerate(flat) if is_array(leaf) and is_floating(leaf)]
    if not floating:
        raise TypeError("gradcheck needs at least one floating array among the arguments.")
    for index in floating:
        if not str(flat[index].dtype).endswith("float64"):
            raise TypeError(
                f"gradcheck compares in float64, got an argument of {flat[index].dtype}. Central differences drown in "
                "rounding otherwise: cast it with astype."
            )
    return floating


def _direction(seed: int, number: int, label: str, like: Any) -> Any:
    """Draw a random host array of the shape of `like`."""
    return Stream(seed, f"gradcheck/{label}", step=number).normal(tuple(like.shape), dtype="float64")


def _compare(what: str, products: Any, terms: list[Any], tolerance: float) -> None:
    """Compare the sum of `products`, from the rules, with that of `terms`, from differences."""
    xp = host().xp
    analytic = float(xp.sum(products))
    numeric = sum(float(xp.sum(term)) for term in terms)
    sizes = (sum(_norm(term) for term in terms), _norm(products))
    error = abs(analytic - numeric) / max(*sizes, SMALLEST)
    if not error <= tolerance:
        raise GradientError(
            f"{what} is {analytic:.12g} along a random direction, central differences give {numeric:.12g}; the error "
            f"{error:.2g} passes {tolerance:.2g}. Check its backward, or move the arguments away from points without "
            "a derivative."
        )


def _norm(values: Any) -> float:
    xp = host().xp
    return float(xp.sum(xp.square(values))) ** 0.5
