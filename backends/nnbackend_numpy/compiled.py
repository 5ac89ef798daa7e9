"""Steps that are recorded once and replayed from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnbackend.compiling import KEPT, NOTED, LearnedStep
from nnbackend.tree import Outline, flatten, leaves, unflatten
from nnbackend_numpy.blocks import Evaluator
from nnbackend_numpy.layout import Arena
from nnbackend_numpy.recording import NotRecordableError, Recorded, Recording
from nnbackend_numpy.replay import Replay

__all__ = ["CompiledStep", "Prepared"]


class CompiledStep(LearnedStep["_Known"]):
    """A step that is run as it is for the first batch of each shape, recorded with the next two, and replayed then.

    The two recordings must say the same: a step that draws random numbers of its own, or counts, does not.

    The bits are the same each way. A step that cannot be recorded, because it looks at values, is run as it is; the
    reason is logged once, to the logger ``nnbackend.numpy``.

    Attributes
    ----------
    count : int
        For how many sets of shapes the step was recorded and is replayed.
    reason : str or None
        Why it is not recorded, if it cannot be.
    """

    deed = "recorded"
    log = logging.getLogger("nnbackend.numpy")

    def __init__(self, step: Callable[..., Any], evaluator: Evaluator) -> None:
        super().__init__(step)
        self.count = 0
        self._evaluator = evaluator
        self._arena = Arena()
        self._trials: dict[Any, tuple[Recording, list[Any]] | None] = {}

    def prepared(self, given: Any) -> Prepared | None:
        """Return a function of `x` with the results of the step on no state and ``(given, x)``, once it is replayed."""
        return Prepared(self, given) if self._known else None

    def again(self, state: Any, name: str, part: Any, *rest: Any) -> Any:
        """Do the step on the state that it returned last, in which one part was exchanged.

        That is done in less time than by going through all of the state to see that it is the one.

        Parameters
        ----------
        state : dict of tree of array
            The very dict that the step returned last. No dict or list in it may have been changed in place.
        name : str
            The part's key.
        part : tree of array
            What stands in its place.
        *rest : tree of array
            What else the step is given.

        Returns
        -------
        dict of tree of array or None
            The new state, which shares with those before it what the step left as it was; the step's other results are
            left out. None, and nothing is done, where `state` or the arrays are not such: call the step then.
        """
        if self.reason is not None or not self._known or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._known[0].again(state, name, part, rest) if self._known else None
        finally:
            self._lock.release()

    def _run(self, state: Any, rest: tuple[Any, ...]) -> Any:
        given, shape = flatten(rest)
        held, outline = flatten(state)
        if not all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in (*held, *given)):
            return self._step(state, *rest)
        structure = (outline, shape)
        for index, known in enumerate(self._known):
            if known.structure == structure and known.replay.fits(held, given):
                self._came_forward(index)
                if not known.replay.goes_on(held):
                    known.replay.bind(held)
                return known.run(held, given)
        if len(self._known) >= KEPT:  # steps run in between as they are would have each replay bound anew
            self._give_up(f"batches of more than {KEPT} shapes come")
            self._known.clear()
            return self._step(state, *rest)
        key = (repr(structure), *((leaf.shape, leaf.dtype.str, leaf.strides) for leaf in (*held, *given)))
        if key not in self._trials:
            if len(self._trials) >= NOTED:
                self._trials.clear()
            self._trials[key] = None
            return self._step(state, *rest)
        try:
            return self._record(held, given, structure, key)
        except Exception as error:
            # an error of the step itself comes again; in what only recording cannot do, it goes on without
            outcome = self._step(state, *rest)
            self._give_up(
                str(error) if isinstance(error, NotRecordableError) else f"{type(error).__name__}: {error}"
            )
            return outcome

    def _record(self, held: list[Any], given: list[Any], structure: Any, key: Any) -> Any:
        """Run the step on recorded arrays, and keep the recording once a second one has said the same."""
        recording = Recording()
        state = [recording.new(np.asarray(leaf)) for leaf in held]
        inputs = [recording.new(np.asarray(leaf)) for leaf in given]
        outline, shape = structure
        try:
            outcome = self._step(unflatten(outline, state), *unflatten(shape, inputs))
        finally:
            recording.closed = True
        found, result = flatten(outcome)
        outputs = [leaf.place if isinstance(leaf, Recorded) else leaf for leaf in found]
        after = [_of_its_own(leaf, given) for leaf in found]
        before = self._trials[key]
        if before is None:
            self._trials[key] = recording, outputs
            return unflatten(result, after)
        if not before[0].says_the_same(recording, before[1], outputs):
            raise NotRecordableError(
                "it computes with other numbers, or does other things, from one call to the next"
            )
        replay = Replay(
            recording,
            [leaf.place for leaf in state],
            [leaf.place for leaf in inputs],
            outputs,
            renews=isinstance(outcome, tuple) and flatten(outcome[0])[1] == outline,
            evaluator=self._evaluator,
            arena=self._arena,
        )
        if replay.renewed:
            after[: replay.renewed] = replay.bind(after[: replay.renewed])
        del self._trials[key]
        self.count += 1
        self._known.insert(0, _Known(structure, result, replay))
        return unflatten(result, after)


class Prepared:
    """A step without state of which all is known but one array, `x`: what else it is given stays as it is.

    Calls for arrays like those that were recorded begin without a look at the trees around them.

    Parameters
    ----------
    step : CompiledStep
        The step; it is called on a state and a pair ``(given, x)``.
    given : tree of array
        The first half of the pair.
    """

    def __init__(self, step: CompiledStep, given: Any) -> None:
        self._step, self._given = step, given
        self._lock = step._lock
        self._ways: dict[Any, tuple[Replay, list[Any]]] = {}

    def __call__(self, x: Any) -> list[Any] | None:
        """Return the results in memory of their own, or None where the step is not replayed as things are."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            form = x.shape, x.strides, x.dtype
            way = self._ways.get(form)
            if way is None:
                way = self._find(x)
                if way is None:
                    return None
                self._ways[form] = way
            replay, given = way
            return replay.repeat([*given, x])
        finally:
            self._lock.release()

    def _find(self, x: Any) -> tuple[Replay, list[Any]] | None:
        """Return the replay for such an array, and what else it is given."""
        leaves, shape = flatten(((self._given, x),))
        for known in self._step._known:
            if known.structure == ({}, shape) and known.replay.fits((), leaves):
                return known.replay, leaves[:-1]
        return None


def _of_its_own(leaf: Any, given: list[Any]) -> Any:
    """Return a result in memory that is neither a constant's, which is read again, nor that of the batch."""
    value = leaf.value if isinstance(leaf, Recorded) else leaf
    if not isinstance(value, np.ndarray):
        return value
    shared = not isinstance(leaf, Recorded) or any(np.may_share_memory(value, array) for array in given)
    return np.array(value) if shared else value


class _Known:
    """A recording of a step, with the trees that it takes and gives."""

    def __init__(self, structure: Any, result: Any, replay: Replay) -> None:
        self.structure = structure
        self.replay = replay
        self._state = Outline(structure[0])
        self._rest = Outline(structure[1])
        self._others = Outline(tuple(result[1:])) if replay.renewed else Outline(result)
        self._new_state: Callable[[Sequence[Any]], Any] | None = None
        self._next_state: Callable[[Sequence[Any]], Any] | None = None
        self._bindings = 0
        self._last: Any = None
        self._parts: dict[str, tuple[Outline, slice] | None] = {}

    def leaves_of(self, state: Any, rest: Any) -> tuple[Sequence[Any], Sequence[Any]] | None:
        """Return the leaves of a state that goes on from the step before and of the rest, if such were recorded."""
        given = self._rest.leaves(rest)
        if given is None or not self.replay.takes(given):
            return None
        held = self._state.leaves(state)
        return None if held is None or not self.replay.goes_on(held) else (held, given)

    def run(self, held: Sequence[Any], given: Sequence[Any]) -> Any:
        """Run the step."""
        small, results = self.replay.run(held, given)
        if not self.replay.renewed:
            return self._others.tree(results)
        if self._new_state is None or self._bindings != self.replay.bindings:
            self._new_state, self._bindings = self.replay.filler(self.structure[0]), self.replay.bindings
            self._next_state = None
        self._last = self._new_state(small)
        return (self._last, *self._others.tree(results))

    def again(self, state: Any, name: str, part: Any, rest: Any) -> Any:
        """Return the next state, where `state` is the one that was returned last; None where it is not."""
        replay = self.replay
        if state is None or state is not self._last or self._bindings != replay.bindings:
            return None
        given = self._rest.leaves(rest)
        if given is None or not replay.takes(given):
            return None
        if name not in self._parts:
            self._parts[name] = self._part(name)
        known = self._parts[name]
        if known is None:
            return None
        outline, numbers = known
        arrays = outline.leaves(part)
        small = None if arrays is None else replay.exchanged(numbers, arrays)
        if small is None:
            return None
        if self._next_state is None:
            self._next_state = replay.filler(self.structure[0], shares=True)
        self._last = self._next_state(replay.go_on(small, given))
        return self._last

    def _part(self, name: str) -> tuple[Outline, slice] | None:
        """Return the outline of a part of the state, and where its arrays are among the small ones, if all are."""
        branch = self.structure[0][name]
        places, small = leaves(branch), self.replay.small
        if not set(places) <= set(small):
            return None
        first = small.index(places[0]) if places else 0
        return Outline(branch), slice(first, first + len(places))
