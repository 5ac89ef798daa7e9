"""L-BFGS: a loop on the host with a line search, for small problems whose gradient is exact."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnbackend import tree
from nnbackend.backend import Backend, backend_of
from nnbackend.config import Configurable, find
from nnbackend.typing import Tree

__all__ = ["LBFGS", "Minimum"]


@dataclass(frozen=True)
class Minimum:
    """Where a search ended.

    Attributes
    ----------
    parameters : tree of array
        The best ones found.
    value : float
        The function there.
    gradient : float
        The largest absolute value of its gradient there.
    iterations : int
        How many steps were taken.
    evaluations : int
        How often the function was computed.
    converged : bool
        Whether a tolerance was reached.
    message : str
        Why it ended, in words.
    """

    parameters: Tree
    value: float
    gradient: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


@dataclass(frozen=True)
class _Point:
    """The function at a step along the line: step, value, gradient and slope along the line."""

    step: float
    value: float
    gradient: Any
    slope: float


class LBFGS(Configurable):
    r"""Quasi-Newton steps from the last few gradients, each as long as a line search finds good.

    The direction is  :math:`p = -H g`, where :math:`H` follows from the last `m` pairs
    :math:`s = w_{k+1} - w_k`,  :math:`y = g_{k+1} - g_k`  by the two-loop recursion, beginning with
    :math:`\frac{s \cdot y}{y \cdot y} I`. The step :math:`\alpha` fulfils the strong Wolfe conditions

    .. math::
        f(w + \alpha p) \le f(w) + c_1 \alpha\, g \cdot p, \qquad |g(w + \alpha p) \cdot p| \le c_2 |g \cdot p|

    with :math:`c_1 = 10^{-4}` and :math:`c_2 = 0.9`.

    Parameters
    ----------
    learning_rate : float
        The first step that is tried, or the step itself without a line search. The very first is shortened to
        :math:`\min(1, 1 / \lVert g \rVert_1)` of it.
    max_iterations : int
        How many steps are taken at most.
    history_size : int
        :math:`m`.
    line_search : {"strong_wolfe", "none"}
        How the length of a step is found.
    gradient_tolerance : float
        It has converged where no element of the gradient is larger.
    change_tolerance : float
        It has converged where value and parameters change by less.
    max_evaluations : int, optional
        How often the function is computed before another step is begun; any number without it.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Without a line search the steps are those of PyTorch's ``LBFGS``; with one they are its up to where within the
    bracket the next point is tried. It waits for the device at each evaluation, and needs the whole function, not that
    of a batch: a model is trained by it with `nnbackend.Model.minimize`. In float32 the search ends where rounding
    hides what a step gains; use float64.

    References
    ----------
    J. Nocedal and S. Wright, "Numerical optimization", 2nd edition 2006, algorithms 7.4, 7.5, 3.5 and 3.6.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.functional
    >>> def rosenbrock(w):
    ...     return (1.0 - w["x"]) ** 2 + 100.0 * (w["y"] - w["x"] ** 2) ** 2
    >>> zero = nn.get_backend("numpy").from_host(0.0)
    >>> found = nn.optimizers.LBFGS().minimize(nn.value_and_grad(rosenbrock), {"x": zero, "y": zero})
    >>> found.converged, round(float(found.parameters["x"]), 6), round(float(found.parameters["y"]), 6)
    (True, 1.0, 1.0)
    """

    def __init__(
        self,
        learning_rate: float = 1.0,
        max_iterations: int = 1000,
        history_size: int = 10,
        line_search: str = "strong_wolfe",
        *,
        gradient_tolerance: float = 1e-7,
        change_tolerance: float = 1e-12,
        max_evaluations: int | None = None,
    ) -> None:
        for name, number in (
            ("learning_rate", learning_rate),
            ("max_iterations", max_iterations),
            ("history_size", history_size),
            ("max_evaluations", 1 if max_evaluations is None else max_evaluations),
        ):
            if not 0 < number < math.inf:
                raise ValueError(f"LBFGS expects {name} above zero, got {number}.")
        for name, number in (
            ("gradient_tolerance", gradient_tolerance),
            ("change_tolerance", change_tolerance),
        ):
            if not 0.0 <= number < math.inf:
                raise ValueError(f"LBFGS expects {name} of zero or more, got {number}.")
        self.learning_rate = float(learning_rate)
        self.max_iterations = max_iterations
        self.history_size = history_size
        self.searches = find("line search", line_search, {"strong_wolfe": True, "none": False})
        self.gradient_tolerance = float(gradient_tolerance)
        self.change_tolerance = float(change_tolerance)
        self.max_evaluations = math.inf if max_evaluations is None else max_evaluations

    def minimize(
        self,
        function: Callable[[Tree], tuple[Any, Tree]],
        parameters: Tree,
        callback: Callable[[int, float], None] | None = None,
    ) -> Minimum:
        """Look for a minimum.

        Parameters
        ----------
        function : callable
            Takes parameters, returns its value and its gradient, such as ``nn.value_and_grad(f)``.
        parameters : tree of array
            Where to begin; all of one dtype.
        callback : callable, optional
            Is told the number of each step and the value after it.

        Returns
        -------
        Minimum
            The best point found, and how the search ended.

        Raises
        ------
        ValueError
            If there is nothing to change, dtypes differ, or the function is not finite at the beginning.
        """
        leaves, structure = tree.flatten(parameters)
        if not leaves:
            raise ValueError("LBFGS has nothing to change: the tree of parameters is empty.")
        if any(leaf.dtype != leaves[0].dtype for leaf in leaves):
            raise ValueError("LBFGS expects parameters of one dtype. Cast them before.")
        backend = backend_of(leaves[0])
        with backend.scope():
            return _Search(self, backend, function, leaves, structure).run(callback)


class _Search:
    """One search: the function on flat vectors, and what is remembered of it."""

    def __init__(
        self,
        options: LBFGS,
        backend: Backend,
        function: Callable[[Tree], tuple[Any, Tree]],
        leaves: list[Any],
        structure: Tree,
    ) -> None:
        self.options = options
        self.backend = backend
        self.xp = backend.xp
        self.function = function
        self.structure = structure
        self.shapes = [tuple(leaf.shape) for leaf in leaves]
        self.start = self._flat(leaves)
        self.evaluations = 0

    def _flat(self, leaves: list[Any]) -> Any:
        return self.xp.concat([self.xp.reshape(leaf, (-1,)) for leaf in leaves])

    def _tree(self, w: Any) -> Tree:
        pieces, start = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            pieces.append(self.xp.asarray(self.xp.reshape(w[start : start + size], shape), copy=True))
            start += size
        return tree.unflatten(self.structure, pieces)

    def _number(self, value: Any) -> float:
        return float(self.backend.to_host(value))

    def _dot(self, a: Any, b: Any) -> float:
        return self._number(self.xp.sum(a * b, dtype=self.xp.float64))

    def _largest(self, a: Any) -> float:
        return self._number(self.xp.max(self.xp.abs(a))) if a.shape[0] else 0.0

    def evaluate(self, w: Any) -> tuple[float, Any]:
        """Return value and gradient; what is not finite counts as infinitely high."""
        self.evaluations += 1
        value, gradients = self.function(self._tree(w))
        number = self._number(value)
        return number if math.isfinite(number) else math.inf, self._flat(tree.leaves(gradients))

    def at(self, w: Any, direction: Any, step: float) -> _Point:
        """Return the function at a step along a line."""
        value, gradient = self.evaluate(w + step * direction)
        slope = self._dot(gradient, direction) if math.isfinite(value) else math.inf
        return _Point(step, value if math.isfinite(slope) else math.inf, gradient, slope)

    def direction(self, gradient: Any, pairs: deque[tuple[Any, Any, float]]) -> Any:
        """Return  -H g  by the two-loop recursion."""
        q = -gradient
        shares = []
        for s, y, product in reversed(pairs):
            share = self._dot(s, q) / product
            shares.append(share)
            q = q - share * y
        if pairs:
            _, y, product = pairs[-1]
            q = q * (product / self._dot(y, y))
        for (s, y, product), share in zip(pairs, reversed(shares), strict=True):
            q = q + (share - self._dot(y, q) / product) * s
        return q

    def run(self, callback: Callable[[int, float], None] | None) -> Minimum:
        """Take steps until one of the tolerances or limits is reached."""
        options = self.options
        w = self.start
        value, gradient = self.evaluate(w)
        if not math.isfinite(value):
            raise ValueError("LBFGS expects a finite value at the parameters it begins with.")
        pairs: deque[tuple[Any, Any, float]] = deque(maxlen=options.history_size)
        number, converged, message = 0, False, f"{options.max_iterations} steps were taken"
        while number < options.max_iterations:
            if self._largest(gradient) <= options.gradient_tolerance:
                converged, message = True, "the gradient is small enough"
                break
            if self.evaluations >= options.max_evaluations:
                message = f"the function was computed {self.evaluations} times"
                break
            direction = self.direction(gradient, pairs)
            slope = self._dot(gradient, direction)
            if slope >= 0.0:  # rounding has spoilt what is remembered
                if not pairs:
                    message = "no direction leads down"
                    break
                pairs.clear()
                continue
            length = self._number(self.xp.sum(self.xp.abs(gradient)))
            first = options.learning_rate * (1.0 if pairs else min(1.0, 1.0 / length))
            point = (
                self.search(w, direction, _Point(0.0, value, gradient, slope), first)
                if options.searches
                else self.at(w, direction, first)
            )
            if not math.isfinite(point.value) or (options.searches and point.step == 0.0):
                if pairs:
                    pairs.clear()  # once more, along the gradient itself
                    continue
                message = "no step along the direction gains anything that the dtype can tell"
                break
            number += 1
            s, y = point.step * direction, point.gradient - gradient
            product = self._dot(s, y)
            if product > 1e-16 * self._dot(y, y):  # otherwise the curvature along s is not positive
                pairs.append((s, y, product))
            change = abs(point.value - value)
            w, value, gradient = w + s, point.value, point.gradient
            if callback is not None:
                callback(number, value)
            if change < options.change_tolerance and self._largest(s) <= options.change_tolerance:
                converged, message = True, "value and parameters change no more"
                break
        return Minimum(
            self._tree(w), value, self._largest(gradient), number, self.evaluations, converged, message
        )

    def search(self, w: Any, direction: Any, start: _Point, first: float) -> _Point:
        """Return a point that fulfils the strong Wolfe conditions, or the lowest one seen."""
        before, step = start, first
        for number in range(25):
            point = self.at(w, direction, step)
            if self._too_high(start, point) or (number and point.value >= before.value):
                return self._zoom(w, direction, start, before, point)
            if abs(point.slope) <= -0.9 * start.slope:
                return point
            if point.slope >= 0.0:
                return self._zoom(w, direction, start, point, before)
            farther = _cubic_minimum(before, point)
            before, step = point, min(max(farther, 1.1 * step), 10.0 * step)
        return before

    def _too_high(self, start: _Point, point: _Point) -> bool:
        return point.value > start.value + 1e-4 * point.step * start.slope

    def _zoom(self, w: Any, direction: Any, start: _Point, low: _Point, high: _Point) -> _Point:
        """Narrow a bracket whose lower end `low` falls towards `high`."""
        for _ in range(25):
            left, right = sorted((low.step, high.step))
            width = right - left
            if width * self._largest(direction) <= 1e-16 * (1.0 + self._largest(w)):
                break
            step = _cubic_minimum(low, high)
            if not left + 0.1 * width <= step <= right - 0.1 * width:
                step = 0.5 * (left + right)
            point = self.at(w, direction, step)
            if self._too_high(start, point) or point.value >= low.value:
                high = point
                continue
            if abs(point.slope) <= -0.9 * start.slope:
                return point
            if point.slope * (high.step - low.step) >= 0.0:
                high = low
            low = point
        return low


def _cubic_minimum(a: _Point, b: _Point) -> float:
    """Return where the cubic through two points with these values and slopes is lowest, or their middle."""
    middle = 0.5 * (a.step + b.step)
    if not (math.isfinite(a.value) and math.isfinite(b.value)) or a.step == b.step:
        return middle
    d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0.0:
        return middle
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    below = b.slope - a.slope + 2.0 * d2
    if below == 0.0:
        return middle
    found = b.step - (b.step - a.step) * (b.slope + d2 - d1) / below
    return found if math.isfinite(found) else middle
