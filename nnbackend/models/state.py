"""What training goes on from, beside the parameters: the optimizer's state and the key and counter of randomness."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.backend import Backend, backend_of, host, to_numpy
from nnbackend.layers.base import Parameter
from nnbackend.optimizers import Optimizer
from nnbackend.placement import copy_of
from nnbackend.policies import LossScale
from nnbackend.random import key_words
from nnbackend.typing import Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["Last", "Snapshot", "TrainingState"]

_array_of = operator.attrgetter("_array")


class Last:
    """What the last training step left, for one that goes on from it.

    Parameters
    ----------
    step : callable
        The step, whose ``again(state, part, exchanged, batch)`` goes on from what it returned last.
    at : int
        What `nnbackend.layers.base.changes` was before.
    state : dict of tree of array
        What the step returned.
    trained, fixed : mapping of str to Parameter
        The parameters, by path.

    Attributes
    ----------
    again : callable
        That of the step.
    parameters, arrays : list
        All parameters, and the arrays that they hold.
    random : dict of str to array
        The random streams.
    """

    def __init__(
        self,
        step: Any,
        at: int,
        state: Tree,
        trained: Mapping[str, Parameter],
        fixed: Mapping[str, Parameter],
    ) -> None:
        self.step, self.again, self.at = step, step.again, at
        self.state = state
        self.parameters = [trained[path] for path in state["trainable"]]
        self.parameters += [fixed[path] for path in state["fixed"]]
        self.arrays = _parameters_of(state)
        self.random: dict[str, Any] | None = None


def _parameters_of(state: Tree) -> list[Any]:
    """Return the arrays of the parameters in a step's state."""
    return [*state["trainable"].values(), *state["fixed"].values()]


class TrainingState:
    """The part of a training step's state that no parameter holds.

    What is to be changed in it is put in the place of the old; no dict is changed in place, since a step may go on
    from the very state that the last one returned.

    Attributes
    ----------
    optimizer : tree of array, or None
        The optimizer's state, also for parameters that are frozen now; None before the first step.
    random : dict of str to array, or None
        ``seed`` and ``step`` of the random streams; None before the first use.
    loss_scale : dict of str to array, or None
        The state of `nnbackend.LossScale`; None before the first step and where the loss is not scaled.
    """

    def __init__(self) -> None:
        self.optimizer: Tree = None
        self.loss_scale: dict[str, Any] | None = None
        self.random: dict[str, Any] | None = None
        self._rate: float | None = None
        self._last: Last | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingState:
        """Return copies of all of it, on the device."""
        made = TrainingState()
        made.optimizer, made.random, made.loss_scale = tree.map(
            copy_of, [self.optimizer, self.random, self.loss_scale]
        )
        made._rate = self._rate
        memo[id(self)] = made
        return made

    def start_random(self, seed: int, backend: Backend) -> dict[str, Any]:
        """Return key and step of the random streams; at first those of the seed."""
        if self.random is None:
            xp = host().xp
            words = xp.asarray(key_words(seed), dtype=xp.uint64).view(xp.int64)
            self.random = {"seed": backend.from_host(words), "step": backend.from_host(0, "int64")}
        return self.random

    def start_loss_scale(self, scaling: LossScale | None, backend: Backend) -> None:
        """Make the state of the loss scale where the loss is scaled and there is none."""
        if scaling is None:
            self.loss_scale = None
        elif self.loss_scale is None:
            self.loss_scale = scaling.init(backend)

    def start_optimizer(
        self,
        optimizer: Optimizer,
        trained: Mapping[str, Parameter],
        backend: Backend,
        frozen: Iterable[str] = (),
    ) -> None:
        """Make slots for the parameters that have none yet, and take over a learning rate that was changed.

        The paths of frozen parameters are told so that a pattern for them is not taken for a mistake.
        """
        if self.optimizer is None:
            optimizer.warn_of_unmatched([*trained, *frozen])
            self.optimizer = optimizer.first_state(_arrays_of(trained), backend)
            self._rate = optimizer.learning_rate
            return
        slots, paths = self.optimizer["slots"], trained.keys()
        if not all(paths <= slot.keys() for slot in slots.values()):
            new = {path: p for path, p in trained.items() if any(path not in slot for slot in slots.values())}
            made = optimizer.first_state(_arrays_of(new), backend)["slots"]
            slots = {name: {**made[name], **slot} for name, slot in slots.items()}
            self.optimizer = {**self.optimizer, "slots": slots}
        rate = optimizer.learning_rate
        if rate is not self._rate and not callable(rate):
            if rate != self._rate:
                self.optimizer = {**self.optimizer, "learning_rate": optimizer.learning_rate_array(backend)}
            self._rate = rate

    def learning_rate(self, optimizer: Optimizer) -> float:
        """Return the learning rate of the next step."""
        if self.optimizer is None:
            return optimizer.current_learning_rate(optimizer.first_state({"": host().xp.zeros(())}))
        if optimizer.learning_rate != self._rate and not callable(optimizer.learning_rate):
            backend = backend_of(self.optimizer["step"])
            changed = {"learning_rate": optimizer.learning_rate_array(backend)}
            return optimizer.current_learning_rate({**self.optimizer, **changed})
        return optimizer.current_learning_rate(self.optimizer)

    def averages(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return copies of the moving averages of the weights, by path."""
        if self.optimizer is None:
            raise ValueError("There are no averages before the first training step. Call fit first.")
        averages: dict[str, Any] = optimizer.averages(self.optimizer)
        return averages

    def gather(
        self, trained: Mapping[str, Parameter], fixed: Mapping[str, Parameter], measured: Tree
    ) -> dict[str, Tree]:
        """Return what a training step changes: trained and other parameters, slots, randomness and metrics."""
        assert self.random is not None
        optimizer, slots = self.optimizer, self.optimizer["slots"]
        if any(len(slot) != len(trained) for slot in slots.values()):
            slots = {name: {path: slot[path] for path in trained} for name, slot in slots.items()}
            optimizer = {**optimizer, "slots": slots}
        return {
            "trainable": _arrays_of(trained),
            "fixed": _arrays_of(fixed),
            "optimizer": optimizer,
            **self.random,
            "metrics": measured,
            **({} if self.loss_scale is None else {"loss_scale": self.loss_scale}),
        }

    def keep(self, state: Tree, trained: Mapping[str, Parameter], fixed: Mapping[str, Parameter]) -> Tree:
        """Take over what a training step returned, and return its metrics."""
        for part, parameters in (("trainable", trained), ("fixed", fixed)):
            for path, array in state[part].items():
                parameters[path]._array = array
        held, self.optimizer = self.optimizer["slots"], state["optimizer"]
        slots = self.optimizer["slots"]
        if any(len(slot) != len(held[name]) for name, slot in slots.items()):
            # those of frozen parameters are kept for their thawing
            slots = {name: {**held[name], **slot} for name, slot in slots.items()}
            self.optimizer = {**self.optimizer, "slots": slots}
        self.random = {"seed": state["seed"], "step": state["step"]}
        self.loss_scale = state.get("loss_scale")
        measured: Tree = state["metrics"]
        return measured

    def expect(self, last: Last) -> None:
        """Remember what the last step left, which was kept, for a step that goes on from it."""
        last.random = self.random
        self._last = last

    def last(self, optimizer: Optimizer) -> Last | None:
        """Return what the last step left, if all of it but the metrics is as it was; None else."""
        last = self._last
        if (
            last is None
            or self.random is not last.random
            or self.optimizer is not last.state["optimizer"]
            or self.loss_scale is not None
            or optimizer.learning_rate is not self._rate
            or not all(map(operator.is_, map(_array_of, last.parameters), last.arrays))
        ):
            return None
        return last

    def go_on(self, state: Tree) -> Tree:
        """Take over what a step returned that went on from the `last` one, and return its metrics."""
        last = self._last
        assert last is not None
        if state["trainable"] is not last.state["trainable"] or state["fixed"] is not last.state["fixed"]:
            last.arrays = _parameters_of(state)
            for parameter, array in zip(last.parameters, last.arrays, strict=True):
                parameter._array = array
        self.optimizer = state["optimizer"]
        self.random = last.random = {"seed": state["seed"], "step": state["step"]}
        last.state = state
        measured: Tree = state["metrics"]
        return measured

    def forget(self, paths: Iterable[str]) -> None:
        """Drop the slots of parameters that are no more."""
        if self.optimizer is not None:
            gone = set(paths)
            slots = {
                name: {path: array for path, array in slot.items() if path not in gone}
                for name, slot in self.optimizer["slots"].items()
            }
            self.optimizer = {**self.optimizer, "slots": slots}

    def move(self, target: Backend) -> None:
        """Move all of it to another backend."""
        self._last = None
        self.optimizer, self.random, self.loss_scale = tree.map(
            lambda array: target.from_host(to_numpy(array)), [self.optimizer, self.random, self.loss_scale]
        )


def _arrays_of(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the arrays that parameters hold between steps, by path."""
    return {path: parameter._array for path, parameter in parameters.items()}


class Snapshot:
    """Copies, on the device, of all that training steps change, to bring a model back to where it was.

    Parameters
    ----------
    model : Model
        A model that is built.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._arrays = {path: copy_of(handle._array) for path, handle in model.handles().items()}
        training = model._training
        self._training = tree.map(copy_of, [training.optimizer, training.random, training.loss_scale])
        self._rate = training._rate

    def restore(self) -> None:
        """Bring the model back; as often as is wanted."""
        handles = self._model.handles()
        for path, array in self._arrays.items():
            handles[path]._array = copy_of(array)
        training = self._model._training
        training.optimizer, training.random, training.loss_scale = tree.map(copy_of, self._training)
        training._rate = self._rate
