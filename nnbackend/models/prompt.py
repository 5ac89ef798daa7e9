"""The short way from `Model.predict` to a step that its backend repeats: what was found out is not looked up again."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.layers.base import alterations, changes, revision, still_holds
from nnbackend.typing import Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["Prompt"]

_array_of = operator.attrgetter("_array")


class Prompt:
    """What `Model.predict` found out about a model, and inputs that its step could take as they are.

    A small network computes its answer for a sample in less time than it takes to look up layers, options and
    parameters, and to make of them what a step is given. All of it is kept here and compared, by which objects they
    are, with what there is now.

    Parameters
    ----------
    model : Model
        A model that has taken the step.
    repeat : callable
        Takes the step again on other inputs; see `nnbackend.backend.Backend.compile`.
    given : tree of array
        What the step was given beside the inputs.
    x : array
        The inputs.
    output : tree of array
        What came out.
    changes : int
        What `nnbackend.layers.base.changes` told before the step.
    """

    __slots__ = (
        "_arrays",
        "_changes",
        "_compiled",
        "_containers",
        "_kind",
        "_parameters",
        "_path",
        "_places",
        "_random",
        "_repeat",
    )

    def __init__(
        self,
        model: Model,
        repeat: Callable[[Any], list[Any] | None],
        given: Tree,
        x: Any,
        output: Tree,
        changes: int,
    ) -> None:
        assert model._prepared is not None
        self._repeat = repeat
        self._kind = type(x)
        self._places = tree.flatten(output)[1]
        self._compiled, self._random = model._compiled, model._training.random
        self._parameters = list(model._handles.values())
        self._arrays = list(given["parameters"].values())
        self._changes = changes
        _, self._path, self._containers = model._prepared

    @classmethod
    def of(cls, model: Model, step: Any, given: Tree, x: Any, output: Tree, changes: int) -> Prompt | None:
        """Return what is known after a step; None if the backend does not repeat it, or the model has changed since."""
        random = model._training.random
        prepare = getattr(step, "prepared", None)
        if prepare is None or model._compiled.get(("predict", ())) is not step:
            return None
        if random is None or random["step"] is not given["step"] or random["seed"] is not given["seed"]:
            return None
        repeat = prepare(given)
        return None if repeat is None else cls(model, repeat, given, x, output, changes)

    def __call__(self, model: Model, x: Any, most: Any) -> Tree:
        """Return the outputs for at most so many samples, or None where it has to be looked at more closely."""
        if type(x) is not self._kind or type(most) is not int:
            return None
        shape = x.shape
        if not (len(shape) > 1 and 0 < shape[0] <= most and self._holds(model)):
            return None
        model.check_values(x)
        leaves = self._repeat(x)
        if leaves is None:
            return None
        return leaves[0] if self._places == 0 else tree.unflatten(self._places, leaves)

    def _holds(self, model: Model) -> bool:
        """Tell whether layers, their options, weights and compiled steps are what they were."""
        if (
            model._compiled is not self._compiled
            or model._training.random is not self._random
            or model._path != self._path
            or not all(map(operator.is_, map(_array_of, self._parameters), self._arrays))
        ):
            return False
        for container, things in self._containers:
            if not still_holds(container, things):
                return False
        if self._changes != changes():  # maybe of other models
            now = changes()
            if model._compiled_at != (revision(), alterations(model._members)) or not model._is_as_prepared():
                return False
            self._changes = now
        return True
