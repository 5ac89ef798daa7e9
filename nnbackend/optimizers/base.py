"""What optimizers share: state as arrays, the learning rate, the walk over parameters."""

from __future__ import annotations

import math
from typing import Any

from nnbackend import tree
from nnbackend.backend import Backend, backend_of, namespace
from nnbackend.config import Configurable
from nnbackend.typing import Array, DType, Tree

__all__ = ["Optimizer"]

_CURE = "Take the gradient of the same tree, and the state that init or the step before gave for it."


class Optimizer(Configurable):
    r"""A rule that changes parameters by their gradients; subclasses give its slots and its update.

    The state is a tree of arrays: the step counter :math:`i` (from 0), the learning rate, and for each slot a tree
    like the parameters. It works with a model, and without:

    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> optimizer, parameters = nn.optimizers.SGD(0.5), {"w": xp.asarray([1.0])}
    >>> state = optimizer.init(parameters)
    >>> parameters, state = optimizer.update({"w": xp.asarray([1.0])}, state, parameters)
    >>> parameters
    {'w': array([0.5])}

    Parameters
    ----------
    learning_rate : float
        :math:`\eta`; setting the attribute takes effect at the next step.
    decay : float
        :math:`\kappa` in  :math:`\eta_i = \eta / (1 + \kappa i)`.

    Raises
    ------
    ValueError
        If one of them is negative or not a number.
    """

    #: Names of the arrays kept for each parameter.
    slots: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, decay: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.decay = self._not_negative("decay", decay)

    @property
    def learning_rate(self) -> float:
        r"""The learning rate :math:`\eta`, before decay."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = self._not_negative("learning_rate", value)

    def _not_negative(self, name: str, value: float) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{type(self).__name__} expects {name} to be a number, got {value!r}.") from None
        if not 0.0 <= number < math.inf:
            raise ValueError(
                f"{type(self).__name__} expects {name} to be zero or more, and finite, got {value}."
            )
        return number

    def _fraction(self, name: str, value: float) -> float:
        number = float(value)
        if not 0.0 <= number < 1.0:
            raise ValueError(f"{type(self).__name__} expects {name} from 0 to below 1, got {value}.")
        return number

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an optimizer like this one as it is now."""
        return super().get_config() | {"learning_rate": self.learning_rate}

    def init(self, parameters: Tree, backend: Backend | None = None) -> Tree:
        """Return the state before the first step.

        Parameters
        ----------
        parameters : tree of array
            What is going to be trained.
        backend : Backend, optional
            Where the parameters are, for a device other than their library's default.

        Returns
        -------
        dict
            ``step`` (0-d int64), ``learning_rate`` (0-d float64) and ``slots``.
        """
        leaves = tree.leaves(parameters)
        if not leaves:
            raise ValueError(f"{type(self).__name__} has nothing to train: the tree of parameters is empty.")
        backend = backend or backend_of(leaves[0])
        return {
            "step": backend.from_host(0, "int64"),
            "learning_rate": self.learning_rate_array(backend),
            "slots": {slot: tree.map(_zeros_like, parameters) for slot in self.slots},
        }

    def learning_rate_array(self, backend: Backend) -> Array:
        """Return the learning rate as the state holds it."""
        return backend.from_host(self.learning_rate, "float64")

    def update(
        self, gradients: Tree, state: Tree, parameters: Tree, *, donate: bool = False
    ) -> tuple[Tree, Tree]:
        """Take one step; array code without Python branches on values, fit for a compiled step.

        Parameters
        ----------
        gradients : tree of array
            One for each parameter.
        state : tree of array
            From `init` or the step before.
        parameters : tree of array
            What is trained.
        donate : bool
            Whether the memory of `state` and `parameters` may be taken over; they must not be used again then.

        Returns
        -------
        parameters : tree of array
            The new ones.
        state : tree of array
            The new one.

        Raises
        ------
        ValueError
            If gradients or slots have not the names, the nesting and the shapes of the parameters.
        """
        flat, structure = tree.flatten(parameters)
        along = [self._along(flat, structure, gradients, "gradients")]
        if set(state["slots"]) != set(self.slots):
            raise ValueError(
                f"{type(self).__name__}.update expects a state with the slots {list(self.slots)}, got "
                f"{sorted(state['slots'])}. Make one with init(parameters)."
            )
        along += [
            self._along(flat, structure, state["slots"][slot], f"the slot {slot!r}") for slot in self.slots
        ]
        backend = backend_of(flat[0])
        with backend.scope():
            xp = backend.xp
            step = xp.astype(state["step"], xp.float64)
            rate = state["learning_rate"]
            if self.decay:
                rate = rate / (1.0 + self.decay * step)
            scalars = self.scalars(rate, step)
            cast: dict[DType, tuple[Any, ...]] = {}
            results: list[tuple[Any, ...]] = []
            for parameter, gradient, *held in zip(flat, *along, strict=True):
                kind = parameter.dtype
                if kind not in cast:
                    cast[kind] = tuple(xp.astype(scalar, kind) for scalar in scalars)
                results.append(self.update_parameter(parameter, gradient, tuple(held), cast[kind], donate))
            new_step = state["step"] + 1
        columns = list(zip(*results, strict=True))
        new_state = {
            "step": new_step,
            "learning_rate": state["learning_rate"],
            "slots": {
                slot: tree.unflatten(structure, list(column))
                for slot, column in zip(self.slots, columns[1:], strict=True)
            },
        }
        return tree.unflatten(structure, list(columns[0])), new_state

    def _wants(self, what: str) -> str:
        return f"{type(self).__name__}.update expects {what}"

    def _along(self, flat: list[Any], structure: Tree, other: Tree, what: str) -> list[Any]:
        """Return the leaves of a tree that must be like that of the parameters, array for array."""
        leaves, its_structure = tree.flatten(other)
        if its_structure != structure:
            raise ValueError(
                f"{self._wants(what)} structured as the parameters, {_outline(structure)}, got "
                f"{_outline(its_structure)}. {_CURE}"
            )
        if (shapes := [leaf.shape for leaf in leaves]) != (
            expected := [parameter.shape for parameter in flat]
        ):
            number = next(n for n, (a, b) in enumerate(zip(shapes, expected, strict=True)) if a != b)
            raise ValueError(
                f"{self._wants(what)} shaped as the parameters, got {tuple(shapes[number])} for array {number} of "
                f"shape {tuple(expected[number])}. {_CURE}"
            )
        return leaves

    def scalars(self, rate: Any, step: Any) -> tuple[Any, ...]:
        """Return the 0-d float64 arrays that `update_parameter` gets, in the parameter's dtype."""
        return (rate,)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and its new slots."""
        raise NotImplementedError(f"{type(self).__name__} must define update_parameter.")


def _outline(structure: Tree) -> str:
    """Show the structure of a tree in short."""
    shown = str(structure)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _zeros_like(parameter: Array) -> Array:
    backend = backend_of(parameter)
    with backend.scope():
        zeros: Array = namespace(parameter).zeros_like(parameter)
        return zeros
