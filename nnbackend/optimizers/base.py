"""What optimizers share: state as arrays, the learning rate, the treatment of gradients, the walk over parameters."""

from __future__ import annotations

import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from nnbackend import tree
from nnbackend.backend import Backend, backend_of, namespace, nearest
from nnbackend.config import Configurable
from nnbackend.elementwise import elementwise
from nnbackend.optimizers.schedules import Schedule
from nnbackend.placement import copy_of
from nnbackend.typing import Array, Shape, Tree

__all__ = ["Now", "Optimizer", "correction", "norm"]

#: Which parameters: patterns that are searched for in their paths, or a registered function of a path.
Which: TypeAlias = str | Sequence[str] | Callable[[str], bool]

_CURE = "Take the gradient of the same tree, and the state that init or the step before gave for it."

#: The shape of a slot that a parameter does without.
NOTHING: Shape = (0,)


@elementwise
def clipped(gradient: Any, *, limit: float) -> Any:
    """G := min(max(g, -c), c)."""
    xp = namespace(gradient)
    return xp.minimum(xp.maximum(gradient, -limit), limit)


@elementwise
def decayed(gradient: Any, parameter: Any, *, decay: float) -> Any:
    """G := g + lambda w."""
    return gradient + decay * parameter


@elementwise
def rescaled(array: Any, factor: Any) -> Any:
    """X := s x."""
    return array * factor


@elementwise
def added(total: Any, gradient: Any) -> Any:
    """S := s + g."""
    return total + gradient


@elementwise
def divided(total: Any, *, divisor: float) -> Any:
    """G := s / n."""
    return total / divisor


@elementwise
def chosen(condition: Any, new: Any, old: Any) -> Any:
    """Take the new where the condition holds, else the old."""
    return namespace(new).where(condition, new, old)


@elementwise
def averaged(average: Any, parameter: Any, momentum: Any) -> Any:
    """Move the average:  a := beta a + (1 - beta) w."""
    return momentum * average + (1.0 - momentum) * parameter


@dataclass(frozen=True)
class Now:
    """What holds at a step for some parameters, as 0-d float64 arrays.

    Attributes
    ----------
    rate : array
        Their learning rate.
    step : array
        How many updates came before.
    decay : float
        Their weight decay, for optimizers that apply it themselves.
    memory : mapping of str to array
        What the optimizer remembers beside the slots.
    """

    rate: Any
    step: Any
    decay: float = 0.0
    memory: Mapping[str, Any] = field(default_factory=dict)


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

    At each step it takes the gradients, accumulates them, clips them, adds the coupled weight decay, takes off the
    decoupled one, updates, lets the constraints speak, and averages, as far as it is asked to.

    Parameters
    ----------
    learning_rate : float or Schedule
        :math:`\eta`; a number may be set as an attribute, and takes effect at the next step.
    decay : float
        :math:`\kappa` in  :math:`\eta_i = \eta / (1 + \kappa i)`; step :math:`i` counts from 0.
    weight_decay : float
        :math:`\lambda`, which draws weights to zero at every step.
    decoupled_weight_decay : bool
        Whether the weights themselves decay,  :math:`w := (1 - \eta_i \lambda) w`  before the update, as in Keras and
        in AdamW; otherwise the gradient gets another term,  :math:`g := g + \lambda w`, as with PyTorch's
        ``weight_decay`` outside of AdamW. The penalty `nnbackend.regularizers.L2` of :math:`\lambda/2` is the latter
        before clipping.
    exclude_from_weight_decay : str, sequence of str, or callable
        Which parameters do not decay: regular expressions searched for in their paths, such as ``["bias", "norm"]``,
        or a registered function of a path.
    clipnorm : float, optional
        The gradient of each parameter is shortened to at most this norm.
    clipvalue : float, optional
        Each element of a gradient is limited to this absolute value.
    global_clipnorm : float, optional
        All gradients together are shortened to at most this norm. Only one of the three can be given.
    gradient_accumulation_steps : int, optional
        The mean of so many gradients makes one update: batches of `n` samples, `k` times, count as one of `k n`.
    use_ema : bool
        Whether the exponential moving average of the weights is kept beside them; see `averages` and
        `nnbackend.Model.averaged_weights`.
    ema_momentum : float
        :math:`\beta` in  :math:`a := \beta a + (1 - \beta) w`; the first average is the first updated weight.
    ema_overwrite_frequency : int, optional
        After every so many updates the weights are replaced by their average.
    learning_rate_multipliers : mapping of str to float, optional
        Factors of the learning rate for parameters whose path matches, such as ``{"encoder/": 0.1}``; those of all
        patterns that are found are multiplied. A factor of 0 freezes; ``layer.trainable = False`` saves the work as
        well.
    **unknown
        Refused, with the option that was probably meant.

    Raises
    ------
    ValueError
        If a number is out of its range, or two ways of clipping are asked for.
    TypeError
        If a number is none, or there is no such option.

    Warns
    -----
    UserWarning
        When the parameters are first met, if a pattern of paths is found in none of them.

    Notes
    -----
    Keras puts the moving average in the place of the weights at the end of training; here the weights are left, so
    that training can go on from them.
    """

    #: Names of the arrays that the rule keeps for each parameter.
    slots: tuple[str, ...] = ()
    #: Numbers that the rule keeps beside the slots, and their first values.
    remembered: Mapping[str, float] = {}
    #: Whether the rule treats each element alike, so that parameters can be put together.
    elementwise = True
    #: Whether the rule applies decoupled weight decay itself (`Now.decay`).
    decays_itself = False

    def __init__(
        self,
        learning_rate: float | Schedule,
        decay: float = 0.0,
        *,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        exclude_from_weight_decay: Which = (),
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        gradient_accumulation_steps: int | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        learning_rate_multipliers: Mapping[str, float] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(_no_such_option(type(self), next(iter(unknown))))
        #: The patterns of each option that goes by paths.
        self._patterns: dict[str, list[re.Pattern[str]]] = {}
        self._learning_rate = self._checked_rate(learning_rate)
        self.decay = self._not_negative("decay", decay)
        self.weight_decay = self._not_negative("weight_decay", weight_decay)
        self.decoupled_weight_decay = bool(decoupled_weight_decay)
        self._not_decayed = self._which("exclude_from_weight_decay", exclude_from_weight_decay)
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [name for name, value in limits.items() if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__} clips in one way, got {' and '.join(given)}. Choose one of them."
            )
        for name, value in limits.items():
            setattr(self, name, None if value is None else self._positive(name, value))
        self.gradient_accumulation_steps = self._count(
            "gradient_accumulation_steps", gradient_accumulation_steps
        )
        self.use_ema = bool(use_ema)
        self.ema_momentum = self._fraction("ema_momentum", ema_momentum)
        self.ema_overwrite_frequency = self._count("ema_overwrite_frequency", ema_overwrite_frequency)
        multipliers = {} if learning_rate_multipliers is None else dict(learning_rate_multipliers)
        self._multipliers = [
            (re.compile(pattern), self._not_negative("learning_rate_multipliers", factor))
            for pattern, factor in multipliers.items()
        ]
        self._patterns["learning_rate_multipliers"] = [pattern for pattern, _ in self._multipliers]

    # The learning rate

    @property
    def learning_rate(self) -> Any:
        r"""The learning rate :math:`\eta`, a number before decay, or the schedule."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float | Schedule) -> None:
        new = self._checked_rate(value)
        if new is not self._learning_rate and (
            isinstance(new, Schedule) or isinstance(self._learning_rate, Schedule)
        ):
            raise TypeError(
                f"{type(self).__name__} keeps its schedule, or its having none: it is part of the compiled step. Make "
                "another optimizer, and compile the model with it."
            )
        self._learning_rate = new

    def _checked_rate(self, value: float | Schedule) -> float | Schedule:
        return value if isinstance(value, Schedule) else self._not_negative("learning_rate", value)

    def learning_rate_array(self, backend: Backend) -> Array:
        """Return the learning rate, or the first one of a schedule, as the state holds it."""
        rate = self._learning_rate
        return backend.from_host(rate(0) if isinstance(rate, Schedule) else rate, "float64")

    def current_learning_rate(self, state: Tree) -> float:
        """Return the learning rate of the step that a state is before; this waits for the device."""
        backend = backend_of(state["step"])
        with backend.scope():
            rate = self._rate(state, backend.xp.astype(state["step"], backend.xp.float64))
        return float(backend.to_host(rate))

    def _rate(self, state: Tree, step: Any) -> Any:
        r"""Return :math:`\eta_i` as a 0-d float64 array."""
        rate = (
            self._learning_rate(step) if isinstance(self._learning_rate, Schedule) else state["learning_rate"]
        )
        return rate / (1.0 + self.decay * step) if self.decay else rate

    # Arguments

    def _number(self, name: str, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{type(self).__name__} expects {name} to be a number, got {value!r}.") from None

    def _not_negative(self, name: str, value: float) -> float:
        number = self._number(name, value)
        if not 0.0 <= number < math.inf:
            raise ValueError(
                f"{type(self).__name__} expects {name} to be zero or more, and finite, got {value}."
            )
        return number

    def _positive(self, name: str, value: float) -> float:
        number = self._number(name, value)
        if not 0.0 < number < math.inf:
            raise ValueError(f"{type(self).__name__} expects {name} above zero, and finite, got {value}.")
        return number

    def _fraction(self, name: str, value: float) -> float:
        number = self._number(name, value)
        if not 0.0 <= number < 1.0:
            raise ValueError(f"{type(self).__name__} expects {name} from 0 to below 1, got {value}.")
        return number

    def _count(self, name: str, value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{type(self).__name__} expects {name} to be a whole number of 1 or more, got {value!r}."
            )
        return int(value)

    def _which(self, name: str, which: Which) -> Callable[[str], bool]:
        """Return a function that tells from its path whether a parameter is meant."""
        if callable(which):
            return which
        patterns = [which] if isinstance(which, str) else list(which)
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise TypeError(
                f"{type(self).__name__} expects {name} to be patterns of paths or a function of a path, got {which!r}."
            )
        self._patterns[name] = found = [re.compile(pattern) for pattern in patterns]
        return functools.partial(_is_found_in, found)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an optimizer like this one as it is now."""
        return super().get_config() | {"learning_rate": self.learning_rate}

    # State

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The names of all arrays kept for each parameter: the rule's, the sum of gradients and the average."""
        accumulates = ("accumulated",) if self.gradient_accumulation_steps else ()
        return (*self.slots, *accumulates, *(("average",) if self.use_ema else ()))

    def slot_shape(self, slot: str, path: str, shape: Shape) -> Shape:
        """Return the shape of a slot of the rule, given path and shape of the parameter."""
        return shape

    def first_value(self, slot: str) -> float:
        """Return what a slot of the rule is filled with at first."""
        return 0.0

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
            ``step`` (0-d int64), ``learning_rate`` (0-d float64) and ``slots``; what else the options need.

        Warns
        -----
        UserWarning
            If a pattern of paths among the options is found in no path of these parameters.
        """
        self.warn_of_unmatched(_paths(tree.flatten(parameters)[1]))
        return self.first_state(parameters, backend)

    def warn_of_unmatched(self, paths: Iterable[str]) -> None:
        """Warn of each pattern among the options that is found in none of these paths: it does nothing."""
        known = list(paths)
        names = {name for path in known for name in path.split("/")}
        for option, patterns in self._patterns.items():
            if option == "exclude_from_weight_decay" and not self.weight_decay:
                continue
            for pattern in patterns:
                if any(pattern.search(path) for path in known):
                    continue
                more = f" and {len(known) - 20} more" if len(known) > 20 else ""
                warnings.warn(
                    f"{type(self).__name__} got {option} with {pattern.pattern!r}, which is found in no path of a "
                    f"parameter, so it does nothing. The paths are {', '.join(known[:20])}{more}."
                    f"{nearest(pattern.pattern, names)} Correct it, or leave it out.",
                    UserWarning,
                    stacklevel=3,
                )

    def first_state(self, parameters: Tree, backend: Backend | None = None) -> Tree:
        """Return the state before the first step as `init` does, for some of all parameters: patterns may miss."""
        flat, structure = tree.flatten(parameters)
        if not flat:
            raise ValueError(f"{type(self).__name__} has nothing to train: the tree of parameters is empty.")
        backend = backend or backend_of(flat[0])
        slots = {
            slot: [
                self._first_slot(slot, path, parameter)
                for path, parameter in zip(_paths(structure), flat, strict=True)
            ]
            for slot in self.slot_names
        }
        state = {
            "step": backend.from_host(0, "int64"),
            "learning_rate": self.learning_rate_array(backend),
            "slots": {slot: tree.unflatten(structure, arrays) for slot, arrays in slots.items()},
        }
        if self.remembered:
            state["memory"] = {
                name: backend.from_host(value, "float64") for name, value in self.remembered.items()
            }
        if self.gradient_accumulation_steps:
            state["waiting"] = backend.from_host(0, "int64")
        return state

    def _first_slot(self, slot: str, path: str, parameter: Array) -> Array:
        if slot == "average":
            return copy_of(parameter)
        backend = backend_of(parameter)
        shape = self.slot_shape(slot, path, tuple(parameter.shape)) if slot in self.slots else parameter.shape
        value = self.first_value(slot) if slot in self.slots else 0.0
        with backend.scope():
            return backend.full_like(parameter, value, shape)

    def averages(self, state: Tree) -> Tree:
        """Return copies of the moving averages of the weights.

        Raises
        ------
        ValueError
            If the optimizer was made without ``use_ema=True``.
        """
        if not self.use_ema:
            raise ValueError(f"{type(self).__name__} keeps no averages: make it with use_ema=True.")
        return tree.map(copy_of, state["slots"]["average"])

    # Steps

    def update(
        self,
        gradients: Tree,
        state: Tree,
        parameters: Tree,
        *,
        donate: bool = False,
        constrain: Callable[[Tree], Tree] | None = None,
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
        constrain : callable, optional
            Brings a tree of updated parameters back to where they must stay.

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
        held = self._check(flat, structure, gradients, state)
        slopes = held.pop("gradients")
        totals = held.pop("accumulated", None)
        before = {name: value for name, value in state.items() if name not in ("slots", "waiting")}
        before |= {"parameters": flat, "slots": held}
        backend = backend_of(flat[0])
        with backend.scope():
            if totals is None:
                after = self._stepped(before, slopes, structure, donate, constrain)
            else:
                after, totals, waiting = self._accumulated(
                    before, slopes, totals, state["waiting"], structure, constrain
                )
                after["slots"]["accumulated"] = totals
                after["waiting"] = waiting
        new_flat = after.pop("parameters")
        after["slots"] = {slot: tree.unflatten(structure, arrays) for slot, arrays in after["slots"].items()}
        return tree.unflatten(structure, new_flat), after

    def _accumulated(
        self,
        before: dict[str, Any],
        slopes: list[Any],
        totals: list[Any],
        waiting: Any,
        structure: Tree,
        constrain: Callable[[Tree], Tree] | None,
    ) -> tuple[dict[str, Any], list[Any], Any]:
        """Add up gradients; where there are enough of them, take a step by their mean."""
        count = self.gradient_accumulation_steps
        assert count is not None
        totals = [added(total, slope) for total, slope in zip(totals, slopes, strict=True)]
        waiting = waiting + 1
        ready = waiting == count
        means = [divided(total, divisor=float(count)) for total in totals]
        after = self._stepped(before, means, structure, False, constrain)
        after = tree.map(lambda new, old: chosen(ready, new, old), after, before)
        xp = namespace(waiting)
        totals = [chosen(ready, xp.zeros_like(total), total) for total in totals]
        return after, totals, xp.where(ready, xp.zeros_like(waiting), waiting)

    def _stepped(
        self,
        before: dict[str, Any],
        slopes: list[Any],
        structure: Tree,
        donate: bool,
        constrain: Callable[[Tree], Tree] | None,
    ) -> dict[str, Any]:
        """Return what a step makes of parameters, slots and counters; trees are lists of leaves here."""
        flat, held = before["parameters"], dict(before["slots"])
        average = held.pop("average", None)
        xp = namespace(before["step"])
        step = xp.astype(before["step"], xp.float64)
        after = {**before, "step": before["step"] + 1}
        if isinstance(self._learning_rate, Schedule):
            after["learning_rate"] = self._learning_rate(step)
        if self.remembered:
            after["memory"] = self.remember(before["memory"], step)
        now = Now(self._rate(before, step), step, memory=after.get("memory", {}))
        columns = [held[slot] for slot in self.slots]
        new, *new_columns = self._walk(flat, self._clip(slopes), columns, structure, now, donate)
        if constrain is not None:
            new = tree.leaves(constrain(tree.unflatten(structure, new)))
        after["slots"] = dict(zip(self.slots, new_columns, strict=True))
        if average is not None:
            new, after["slots"]["average"] = self._average(new, average, before["step"], donate)
        after["parameters"] = new
        return after

    def _check(self, flat: list[Any], structure: Tree, gradients: Tree, state: Tree) -> dict[str, list[Any]]:
        """Return the leaves of gradients and slots, once they fit the parameters."""
        if set(state["slots"]) != set(self.slot_names):
            raise ValueError(
                f"{type(self).__name__}.update expects a state with the slots {list(self.slot_names)}, got "
                f"{sorted(state['slots'])}. Make one with init(parameters)."
            )
        shapes = [tuple(parameter.shape) for parameter in flat]
        leaves = {"gradients": self._along(structure, shapes, gradients, "gradients")}
        own = type(self).slot_shape is not Optimizer.slot_shape
        paths = list(_paths(structure)) if own else []
        for slot in self.slot_names:
            expected = shapes
            if own and slot in self.slots:
                expected = [
                    self.slot_shape(slot, path, shape) for path, shape in zip(paths, shapes, strict=True)
                ]
            leaves[slot] = self._along(structure, expected, state["slots"][slot], f"the slot {slot!r}")
        return leaves

    def _along(self, structure: Tree, expected: list[Shape], other: Tree, what: str) -> list[Any]:
        """Return the leaves of a tree that must be like that of the parameters, array for array."""
        leaves, its_structure = tree.flatten(other)
        wants = f"{type(self).__name__}.update expects {what}"
        if its_structure != structure:
            raise ValueError(
                f"{wants} structured as the parameters, {_outline(structure)}, got {_outline(its_structure)}. {_CURE}"
            )
        shapes = [tuple(leaf.shape) for leaf in leaves]
        if shapes != expected:
            number = next(n for n, (a, b) in enumerate(zip(shapes, expected, strict=True)) if a != b)
            raise ValueError(
                f"{wants} shaped as the parameters, got {shapes[number]} for array {number} of shape "
                f"{expected[number]}. {_CURE}"
            )
        return leaves

    def _clip(self, gradients: list[Any]) -> list[Any]:
        """Shorten gradients as the options say."""
        limits = ((name, getattr(self, name)) for name in ("clipnorm", "clipvalue", "global_clipnorm"))
        way, limit = next((pair for pair in limits if pair[1] is not None), ("", None))
        if limit is None:
            return gradients
        if way == "clipvalue":
            return [clipped(gradient, limit=limit) for gradient in gradients]
        xp = namespace(gradients[0])
        norms = [norm(gradient) for gradient in gradients]
        if way == "global_clipnorm":
            squares = norms[0] * norms[0]
            for length in norms[1:]:
                squares = squares + length * length
            norms = [xp.sqrt(squares)] * len(gradients)
        return [
            rescaled(gradient, xp.astype(limit / xp.maximum(length, limit), gradient.dtype))
            for gradient, length in zip(gradients, norms, strict=True)
        ]

    def _average(
        self, parameters: list[Any], averages: list[Any], number: Any, donate: bool
    ) -> tuple[list[Any], list[Any]]:
        """Move the averages towards the new parameters, and write them over those where it is their turn."""
        xp = namespace(number)
        momentum = xp.astype(number > 0, xp.float64) * self.ema_momentum
        averages = [
            averaged(average, new, xp.astype(momentum, new.dtype), donate=(0,) if donate else ())
            for average, new in zip(averages, parameters, strict=True)
        ]
        if self.ema_overwrite_frequency is None:
            return parameters, averages
        turn = (number + 1) % self.ema_overwrite_frequency == 0
        return [chosen(turn, a, new) for a, new in zip(averages, parameters, strict=True)], averages

    # The walk over the parameters

    def _walk(
        self,
        flat: list[Any],
        slopes: list[Any],
        columns: list[list[Any]],
        structure: Tree,
        now: Now,
        donate: bool,
    ) -> list[list[Any]]:
        """Return the lists of new parameters and of each slot: those with the same options are treated alike."""
        new = [list(flat), *map(list, columns)]
        joins_in_place = backend_of(flat[0]).joins_in_place
        for (kind, factor, decays), members in self._groups(flat, structure).items():
            xp = namespace(now.rate)
            rate = now.rate if factor == 1.0 else now.rate * factor
            decay = self.weight_decay if decays else 0.0
            coupled = not self.decoupled_weight_decay
            here = Now(rate, now.step, 0.0 if coupled else decay, now.memory)
            scalars = tuple(xp.astype(scalar, kind) for scalar in self.scalars(here))
            shrinks = bool(decay) and not coupled and not self.decays_itself
            kept = xp.astype(1.0 - rate * decay, kind) if shrinks else None
            for places in self._packed(flat, members):
                together = len(places) > 1
                parameter, slope, *held = (
                    _joined([array[place] for place in places]) if together else array[places[0]]
                    for array in (flat, slopes, *columns)
                )
                donated = donate and (joins_in_place or not together)
                if decay and coupled:
                    slope = decayed(slope, parameter, decay=decay)
                if kept is not None:
                    parameter = rescaled(parameter, kept, donate=(0,) if donated else ())
                results = self.update_parameter(parameter, slope, tuple(held), scalars, donated)
                for column, result in zip(new, results, strict=True):
                    pieces = _parted(result, [flat[place] for place in places]) if together else [result]
                    for place, piece in zip(places, pieces, strict=True):
                        column[place] = piece
        return new

    def _groups(self, flat: list[Any], structure: Tree) -> dict[tuple[Any, float, bool], list[int]]:
        """Return the places of the parameters by dtype, factor of the learning rate and whether they decay."""
        groups: dict[tuple[Any, float, bool], list[int]] = {}
        plain = not self._multipliers and not self.weight_decay
        paths = [""] * len(flat) if plain else _paths(structure)
        for place, (path, parameter) in enumerate(zip(paths, flat, strict=True)):
            key = (parameter.dtype, 1.0, False) if plain else (parameter.dtype, *self._options(path))
            groups.setdefault(key, []).append(place)
        return groups

    def _options(self, path: str) -> tuple[float, bool]:
        """Return the factor of the learning rate of a parameter, and whether its weights decay."""
        factor = math.prod(factor for pattern, factor in self._multipliers if pattern.search(path))
        return factor, self.weight_decay > 0.0 and not self._not_decayed(path)

    def _packed(self, flat: list[Any], members: list[int]) -> Iterator[list[int]]:
        """Yield the places to be updated together: all small ones, and each of the others alone."""
        small: list[int] = []
        if self.elementwise and backend_of(flat[0]).writable:
            most = backend_of(flat[0]).joins_below
            small = [place for place in members if math.prod(flat[place].shape) < most]
        if len(small) > 1:
            yield small
            members = [place for place in members if place not in set(small)]
        yield from ([place] for place in members)

    # What subclasses define

    def remember(self, memory: Mapping[str, Any], step: Any) -> dict[str, Any]:
        """Return the new numbers kept beside the slots, 0-d float64 arrays under the names of `remembered`."""
        return dict(memory)

    def scalars(self, now: Now) -> tuple[Any, ...]:
        """Return the 0-d float64 arrays that `update_parameter` gets, in the parameter's dtype."""
        return (now.rate,)

    def update_parameter(
        self, parameter: Any, gradient: Any, slots: tuple[Any, ...], scalars: tuple[Any, ...], donate: bool
    ) -> tuple[Any, ...]:
        """Return the new parameter and its new slots."""
        raise NotImplementedError(f"{type(self).__name__} must define update_parameter.")


def correction(beta: float, step: Any) -> Any:
    r"""Return  :math:`1 - \beta^{i+1}`  as  :math:`-\mathrm{expm1}((i + 1) \ln \beta)`."""
    if beta == 0.0:
        return namespace(step).ones_like(step)
    return _correction(step, log_beta=math.log(beta))


@elementwise
def _correction(step: Any, *, log_beta: float) -> Any:
    return -namespace(step).expm1((step + 1.0) * log_beta)


def norm(array: Any) -> Any:
    """Return the Euclidean norm as a 0-d float64 array; computed in float64, where squares do not overflow."""
    xp = namespace(array)
    wide = xp.astype(array, xp.float64)
    return xp.sqrt(xp.sum(wide * wide))


def _joined(arrays: list[Any]) -> Any:
    xp = namespace(arrays[0])
    return xp.concat([array if len(array.shape) == 1 else xp.reshape(array, (-1,)) for array in arrays])


def _parted(array: Any, like: list[Any]) -> Iterator[Any]:
    """Yield the pieces of a flat array, shaped as the arrays that were joined."""
    xp = namespace(array)
    start = 0
    for other in like:
        shape = other.shape
        stop = start + math.prod(shape)
        piece = array[start:stop]
        yield piece if len(shape) == 1 else xp.reshape(piece, shape)
        start = stop


def _paths(node: Tree, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the leaves of a tree, in the order of `tree.flatten`: ``"a/0"``."""
    if isinstance(node, (dict, list, tuple)):
        keys: Iterable[Any] = sorted(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            yield from _paths(node[key], f"{prefix}/{key}" if prefix else str(key))
    elif node is not None:
        yield prefix


#: What other libraries call an option.
_ELSEWHERE = {
    "lr": "learning_rate",
    "alpha": "learning_rate",
    "eps": "epsilon",
    "betas": "beta_1",
    "wd": "weight_decay",
}


def _is_found_in(patterns: Sequence[re.Pattern[str]], path: str) -> bool:
    """Tell whether one of the patterns is found in a path."""
    return any(pattern.search(path) for pattern in patterns)


def _no_such_option(kind: type[Optimizer], name: str) -> str:
    """Say that an optimizer has no such option, and which was probably meant."""
    known: list[str] = []
    for cls in kind.__mro__:  # options that a class passes on are those of the class it extends
        parameters = inspect.signature(cls).parameters if "__init__" in vars(cls) else {}
        known += [p.name for p in parameters.values() if p.kind is not p.VAR_KEYWORD and p.name not in known]
        if parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    meant = _ELSEWHERE.get(name)
    hint = f" Did you mean {meant!r}?" if meant in known else nearest(name, known)
    return f"{kind.__name__} has no option {name!r}; it has {', '.join(known)}.{hint}"


def _outline(structure: Tree) -> str:
    """Show the structure of a tree in short."""
    shown = str(structure)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."
