"""Muon."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.adam import adam_update, corrected
from nnbackend.optimizers.base import NOTHING, Now, Optimizer
from nnbackend.optimizers.schedules import Schedule
from nnbackend.optimizers.sgd import sgd_update
from nnbackend.typing import Shape

__all__ = ["Muon", "orthogonalized"]

#: Coefficients of the quintic that draws singular values to between 0.7 and 1.2 in five turns.
COEFFICIENTS = (3.4445, -4.775, 2.0315)


@elementwise
def nesterov_direction(gradient: Any, momentum: Any, *, beta: float, nesterov: bool) -> Any:
    """M := mu m + (1 - mu) g;  u = m, or with Nesterov's look ahead  mu m + (1 - mu) g."""
    momentum = beta * momentum + (1.0 - beta) * gradient
    ahead = beta * momentum + (1.0 - beta) * gradient if nesterov else momentum
    return ahead, momentum


@elementwise
def weighted_sum(one: Any, other: Any, *, first: float, second: float) -> Any:
    """S = a x + b y."""
    return first * one + second * other


def orthogonalized(matrix: Any, steps: int = 5, epsilon: float = 1e-7) -> Any:
    r"""Return nearly  :math:`U V^T`  of the singular value decomposition  :math:`U S V^T`, by Newton and Schulz.

    Parameters
    ----------
    matrix : array of shape (n, m)
        The matrix.
    steps : int
        How many turns of  :math:`X := a X + (b A + c A^2) X`,  :math:`A = X X^T`.
    epsilon : float
        The least norm that the matrix is divided by.

    Returns
    -------
    array of shape (n, m)
        Its singular values are about 1, those of directions that hardly occur are less.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nearly = orthogonalized(xp.asarray([[3.0, 0.0], [0.0, 2.0]]))
    >>> bool((abs(nearly - xp.eye(2)) < 0.35).all())
    True
    """
    xp = namespace(matrix)
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = xp.matrix_transpose(matrix) if tall else matrix
    x = x / xp.maximum(xp.sqrt(xp.sum(x * x)), epsilon)
    for _ in range(steps):
        square = xp.matmul(x, xp.matrix_transpose(x))
        polynomial = weighted_sum(square, xp.matmul(square, square), first=b, second=c)
        x = weighted_sum(x, xp.matmul(polynomial, x), first=a, second=1.0)
    return xp.matrix_transpose(x) if tall else x


class Muon(Optimizer):
    r"""Momentum whose step is made orthogonal: all directions of a matrix are learned at one speed.

    For kernels, with  :math:`O(u) \approx U V^T`  where  :math:`u = U S V^T`:

    .. math::
        m := \mu m + (1 - \mu) g, \qquad u = \mu m + (1 - \mu) g, \qquad
        w := w - \eta_i \sqrt{\max(1, n_{out} / n_{in})}\; O(u)

    Vectors and what `exclude` names, usually the embedding and the last layer, are trained by `Adam`.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`.
    momentum : float
        :math:`\mu`, from 0 to below 1.
    nesterov : bool
        Whether to look ahead; otherwise  :math:`u = m`.
    newton_schulz_steps : int
        How often the matrix is drawn nearer to an orthogonal one.
    exclude : str, sequence of str, or callable
        Which kernels are trained by Adam, too: regular expressions searched for in their paths, or a registered
        function of a path.
    adam_learning_rate : float, optional
        The learning rate of Adam; with a schedule it changes in the same ratio. Without it :math:`\eta`.
    adam_beta_1, adam_beta_2, epsilon : float
        Those of Adam; epsilon is also the least norm that a kernel's step is divided by.
    match_rms : bool
        Whether the factor is  :math:`0.2 \sqrt{\max(n_{in}, n_{out})}`  instead, with which steps are as long as
        Adam's, so that one learning rate does for both.
    **options
        ``decay``, ``weight_decay``, ``clipnorm`` and the like; see `Optimizer`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    A kernel of more than two axes (..., in, out) is taken as a matrix of ``out`` columns. PyTorch's ``Muon`` takes
    matrices alone and multiplies them in bfloat16, here they are multiplied in the parameter's dtype; its weight decay
    is 0.1.

    References
    ----------
    K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/

    J. Liu et al., "Muon is scalable for LLM training", 2025, https://arxiv.org/abs/2502.16982 (`match_rms`)

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, w = nn.optimizers.Muon(0.1), {"w": xp.zeros((2, 2))}
    >>> w, state = optimizer.update({"w": xp.asarray([[3.0, 0.0], [0.0, 2.0]])}, optimizer.init(w), w)
    >>> bool(abs(w["w"] + 0.1 * xp.eye(2)).max() < 0.035)
    True
    """

    slots = ("first_moment", "second_moment")
    elementwise = False

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        momentum: float = 0.95,
        nesterov: bool = True,
        newton_schulz_steps: int = 5,
        *,
        exclude: str | Sequence[str] | Callable[[str], bool] = (),
        adam_learning_rate: float | None = None,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        epsilon: float = 1e-7,
        match_rms: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = self._fraction("momentum", momentum)
        self.nesterov = bool(nesterov)
        self.newton_schulz_steps = self._count("newton_schulz_steps", newton_schulz_steps) or 1
        self._excluded = self._which("exclude", exclude)
        first = learning_rate(0) if isinstance(learning_rate, Schedule) else float(learning_rate)
        self.adam_learning_rate = (
            None
            if adam_learning_rate is None
            else self._not_negative("adam_learning_rate", adam_learning_rate)
        )
        #: Adam's learning rate in units of that of the kernels.
        self.adam_ratio = (
            1.0 if adam_learning_rate is None or not first else float(adam_learning_rate) / first
        )
        self.adam_beta_1 = self._fraction("adam_beta_1", adam_beta_1)
        self.adam_beta_2 = self._fraction("adam_beta_2", adam_beta_2)
        self.epsilon = self._positive("epsilon", epsilon)
        self.match_rms = bool(match_rms)

    def slot_shape(self, slot: str, path: str, shape: Shape) -> Shape:
        """Return the shape of a moment; the kernels have no second one."""
        by_muon = len(shape) > 1 and not self._excluded(path)
        return NOTHING if slot == "second_moment" and by_muon else shape

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return the learning rate, and size and epsilon of Adam's step."""
        return (
            now.rate,
            *corrected(
                now.rate * self.adam_ratio,
                now.step,
                beta_1=self.adam_beta_1,
                beta_2=self.adam_beta_2,
                epsilon=self.epsilon,
            ),
        )

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and moments."""
        first, second = slots
        rate, *of_adam = scalars
        if second.shape == parameter.shape:
            updated: tuple[Any, ...] = adam_update(
                parameter,
                gradient,
                first,
                second,
                *of_adam,
                donate=(0, 2, 3) if donate else (),
                beta_1=self.adam_beta_1,
                beta_2=self.adam_beta_2,
            )
            return updated
        xp = namespace(parameter)
        ahead, first = nesterov_direction(
            gradient, first, donate=(None, 1) if donate else (), beta=self.momentum, nesterov=self.nesterov
        )
        rows, columns = math.prod(parameter.shape[:-1]), parameter.shape[-1]
        step = orthogonalized(xp.reshape(ahead, (rows, columns)), self.newton_schulz_steps, self.epsilon)
        factor = (
            0.2 * math.sqrt(max(rows, columns))
            if self.match_rms
            else math.sqrt(max(1.0, columns / max(rows, 1)))
        )
        new = sgd_update(
            parameter, xp.reshape(step, parameter.shape), rate * factor, donate=(0,) if donate else ()
        )
        return new, first, second
