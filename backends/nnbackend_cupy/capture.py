"""Steps that are captured once as a CUDA graph and launched from then on.

What is decided here knows nothing of CuPy: a `Recorder` makes buffers, copies and captures; `nnbackend_cupy.graphs` is
the one for a GPU.
"""

from __future__ import annotations

import logging
from bisect import bisect
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from nnbackend.compiling import KEPT, NOTED, LearnedStep
from nnbackend.tree import Outline, flatten, unflatten

__all__ = ["CapturedStep", "Graph", "NotCapturableError", "Recorder"]

T = TypeVar("T")

#: Of how many sets of shapes that have come once the arrays are held.
HELD = 4
#: How often a graph is captured anew because an array that it read in place was replaced; then they are copied in.
REBOUND = 8
#: Arrays of the state of at most as many bytes get memory of the graph's own: who made them may still have them.
SMALL = 1 << 12


class NotCapturableError(RuntimeError):
    """A step that does what a graph cannot repeat; it runs as it is written instead."""


class Graph(Protocol):
    """The captured work of a step."""

    def launch(self) -> None:
        """Do the work, on the current stream, without waiting for it."""


class Recorder(Protocol):
    """What captures the work of a device."""

    def form(self, array: Any) -> Hashable | None:
        """Return device, dtype, shape and strides; None for what is no array, or does not fill a stretch of memory."""

    def extent(self, array: Any) -> tuple[int, int]:
        """Return the addresses at which an array of that kind begins and ends."""

    def block(self, array: Any) -> Hashable:
        """Return what is the same for arrays that were cut out of one allocation."""

    def empty_like(self, array: Any) -> Any:
        """Return an array of the same form in memory of its own."""

    def copy(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Copy into the first array of each pair what is in the second; they share no memory."""

    def on(self, array: Any) -> AbstractContextManager[Any]:
        """Work on the device of an array."""

    @property
    def capturing(self) -> bool:
        """Whether this thread is capturing."""

    def choices(self) -> Hashable:
        """Return what else the work depends on, such as how exactly matrices are multiplied."""

    def watch(self) -> AbstractContextManager[list[bytes]]:
        """Return a list that gets a digest of all numbers that this thread brings to the device."""

    def capture(self, work: Callable[[], T], state: Sequence[Any]) -> tuple[T, Graph]:
        """Return what `work` returns, and a graph of what it tells the device; nothing of it is done.

        The memory that `work` takes lives as long as the graph. What it joins of neighbours among the arrays of the
        `state` it may get in place.

        Raises
        ------
        Exception
            If something cannot be captured; the stream captures no more then.
        """


class CapturedStep(LearnedStep["_Known"]):
    """A step that is run as it is for the first batch of each shape, captured with the second, and launched then.

    The first run compiles kernels, chooses algorithms and fills the memory pools. The bits are the same each way. The
    state lives in buffers that each launch updates in place, the same for all shapes of a batch; what is handed in as
    state and does not lie there, such as weights that were set or a learning rate that was changed, is copied there
    first. Other arrays are copied into buffers of the graph, but for those that come again with each call, such as the
    weights when a model is measured: they are read where they are.

    A step that cannot be captured, because it waits for the device, is run as it is; the reason is logged once, to the
    logger ``nnbackend.cupy``.

    Parameters
    ----------
    step : callable
        ``step(state, *rest) -> (state, results)``; what it returns may be something else, too.
    recorder : callable
        Returns a recorder for this step alone.

    Attributes
    ----------
    count : int
        How many graphs there are.
    reason : str or None
        Why the step is not captured, if it cannot be.
    """

    deed = "captured"
    log = logging.getLogger("nnbackend.cupy")

    def __init__(self, step: Callable[..., Any], recorder: Callable[[], Recorder]) -> None:
        super().__init__(step)
        self._recorder = recorder()
        self._states: list[_State] = []
        self._trials: dict[Hashable, _Trial] = {}
        self._rebound: dict[Hashable, int] = {}
        self._full = False

    @property
    def count(self) -> int:
        return len(self._known)

    def __call__(self, state: Any, *rest: Any) -> Any:
        return self._step(state, *rest) if self._recorder.capturing else super().__call__(state, *rest)

    def _repeat(self, held: Sequence[Any], given: Sequence[Any]) -> Any:
        with self._recorder.on((held or given)[0]):
            return super()._repeat(held, given)

    def _run(self, state: Any, rest: tuple[Any, ...]) -> Any:
        (held, outline), (given, shape) = flatten(state), flatten(rest)
        leaves = held or given
        if not leaves or self._recorder.form(leaves[0]) is None:
            return self._step(state, *rest)
        with self._recorder.on(leaves[0]):
            known = self._find((outline, shape), held, given)
            if known is not None:
                return known.run(held, given)
            return self._learn(state, rest, (outline, shape), held, given)

    def _find(self, structure: Any, held: list[Any], given: list[Any]) -> _Known | None:
        """Return the graph for arrays of these forms; one that reads others in place is given up."""
        choices = self._recorder.choices()
        for index, known in enumerate(self._known):
            if known.structure != structure or known.choices != choices or not known.fits(held, given):
                continue
            if not known.reads(given):
                del self._known[index]
                self._rebound[known.key] = self._rebound.get(known.key, 0) + 1
                return None
            return self._came_forward(index)
        return None

    def _learn(
        self, state: Any, rest: tuple[Any, ...], structure: Any, held: list[Any], given: list[Any]
    ) -> Any:
        """Run the step as it is the first time, and capture it the second time."""
        forms = [self._recorder.form(array) for array in (*held, *given)]
        if None in forms:
            return self._step(state, *rest)
        if len(self._known) >= KEPT:
            if not self._full:
                self._full = True
                words = "%s is captured for %d sets of shapes; for further ones it runs as it is written."
                self.log.info(words, self._step.__name__, KEPT)
            return self._step(state, *rest)
        key = (repr(structure), self._recorder.choices(), *forms)
        trial = self._trials.pop(key, None)
        if trial is None:
            with self._recorder.watch() as constants:
                outcome = self._step(state, *rest)
            self._note(key, _Trial(given, constants))
            return outcome
        try:
            known = self._capture(structure, held, given, key, trial)
            outcome = known.run(held, given)
        except Exception as error:
            # an error of the step itself comes again; in what only capturing cannot do, it goes on without
            outcome = self._step(state, *rest)
            self._fail(error)
            return outcome
        self._known.insert(0, known)
        return outcome

    def _note(self, key: Hashable, trial: _Trial) -> None:
        """Remember that these shapes have come, and with which arrays."""
        while len(self._trials) >= NOTED:
            del self._trials[next(iter(self._trials))]
        self._trials[key] = trial
        for trial in list(self._trials.values())[:-HELD]:
            trial.held = []

    def _fail(self, error: Exception) -> None:
        words = str(error).partition("\n")[0].rstrip(".")
        self._known, self._states, self._trials = [], [], {}
        self._give_up(words if isinstance(error, NotCapturableError) else f"{type(error).__name__}: {words}")

    def _capture(
        self, structure: Any, held: list[Any], given: list[Any], key: Hashable, trial: _Trial
    ) -> _Known:
        recorder, (outline, shape) = self._recorder, structure
        state = self._state_like(held)
        may_bind = self._rebound.get(key, 0) < REBOUND
        bound = [may_bind and trial.had(index, array) for index, array in enumerate(given)]
        inputs = [
            array if stays else recorder.empty_like(array) for array, stays in zip(given, bound, strict=True)
        ]

        def work() -> tuple[list[Any], Any, int]:
            outcome = self._step(unflatten(outline, state.buffers), *unflatten(shape, inputs))
            found, result = flatten(outcome)
            renews = isinstance(outcome, tuple) and len(outcome) > 0 and flatten(outcome[0])[1] == outline
            renewed = len(held) if renews else 0
            return state.renew(found, renewed), result, renewed

        with recorder.watch() as constants:
            (outputs, result, renewed), graph = recorder.capture(work, state.buffers)
        if constants != trial.constants:
            raise NotCapturableError("it computes with other numbers from one call to the next")
        return _Known(recorder, graph, structure, key, state, inputs, bound, outputs, result, renewed)

    def _state_like(self, held: list[Any]) -> _State:
        """Return the buffers for a state of these forms."""
        for state in self._states:
            if state.fits(held):
                return state
        state = _State(self._recorder, held)
        self._states.append(state)
        return state


class _Trial:
    """What a step was once called with: arrays, of which the identities alone are left once they are let go.

    Attributes
    ----------
    constants : list of bytes
        What tells the numbers that the step brought from the host.
    """

    def __init__(self, given: list[Any], constants: list[bytes]) -> None:
        self.held = given
        self.constants = constants
        self._ids = [id(array) for array in given]

    def had(self, index: int, array: Any) -> bool:
        """Tell whether an array stood there then. A wrong answer costs time, nothing else."""
        return self._ids[index] == id(array)


class _Stretches:
    """Stretches of memory that are in use, none within another."""

    def __init__(self) -> None:
        self._ends: list[tuple[int, int]] = []

    def touch(self, extent: tuple[int, int]) -> bool:
        """Tell whether some of a stretch is in use."""
        begin, end = extent
        index = bisect(self._ends, (begin, end))
        before = self._ends[index - 1][1] if index else begin
        after = self._ends[index][0] if index < len(self._ends) else end
        return begin < end and (before > begin or after < end)

    def add(self, extent: tuple[int, int]) -> bool:
        """Note a stretch, unless some of it is in use already; tell whether it was noted."""
        if self.touch(extent):
            return False
        self._ends.insert(bisect(self._ends, extent), extent)
        return True


class _State:
    """The buffers in which a state lives, for all graphs that update it."""

    def __init__(self, recorder: Recorder, held: Sequence[Any]) -> None:
        self._recorder = recorder
        self.forms = [recorder.form(array) for array in held]
        self._stretches = _Stretches()
        self.buffers = self._adopt(held)

    def _adopt(self, held: Sequence[Any]) -> list[Any]:
        """Take arrays over, which are given up, or make others in their place.

        Small ones are taken over only where they are pieces of a flat array, as an optimizer leaves them.
        """
        recorder = self._recorder
        members: dict[Hashable, int] = {}
        for array in held:
            members[recorder.block(array)] = members.get(recorder.block(array), 0) + 1
        buffers = []
        for array in held:
            extent = recorder.extent(array)
            ours = extent[1] - extent[0] > SMALL or members[recorder.block(array)] > 1
            if not (ours and self._stretches.add(extent)):
                array = recorder.empty_like(array)
                self._stretches.add(recorder.extent(array))
            buffers.append(array)
        return buffers

    def fits(self, held: Sequence[Any]) -> bool:
        """Tell whether arrays have the forms of the buffers, in the same order."""
        if len(held) != len(self.buffers):
            return False
        for array, buffer, form in zip(held, self.buffers, self.forms, strict=True):
            if array is not buffer and self._recorder.form(array) != form:
                return False
        return True

    def take(self, held: Sequence[Any]) -> None:
        """Copy into the buffers what is not there."""
        pairs = [
            (buffer, array) for buffer, array in zip(self.buffers, held, strict=True) if array is not buffer
        ]
        if pairs:
            self._write(pairs)

    def renew(self, found: list[Any], renewed: int) -> list[Any]:
        """Write the new state over the old one; return the other results, where they stay what they are."""
        recorder = self._recorder
        new, outputs = found[:renewed], found[renewed:]
        if any(recorder.form(array) is None for array in outputs):
            outputs = [self._filled(array) for array in outputs]
        if [recorder.form(array) for array in new] != self.forms[:renewed]:
            raise NotCapturableError("its new state has other shapes, dtypes or strides than the old one")
        if renewed:
            outputs = [self._apart(array) for array in outputs]
            self.take(new)
        return outputs

    def _filled(self, array: Any) -> Any:
        if self._recorder.form(array) is not None:
            return array
        if not hasattr(array, "shape") or not hasattr(array, "copy"):
            raise NotCapturableError(f"it returns a {type(array).__name__}, which is no array of the device")
        copied = array.copy()  # a view with gaps, or one in which elements share a place
        if self._recorder.form(copied) is None:
            raise NotCapturableError(f"it returns a {type(array).__name__}, which is no array of the device")
        return copied

    def _apart(self, array: Any) -> Any:
        """Return an array, as a copy where it lies in the buffers."""
        if not self._stretches.touch(self._recorder.extent(array)):
            return array
        copied = self._recorder.empty_like(array)
        self._recorder.copy([(copied, array)])
        return copied

    def _write(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Copy arrays into buffers; those that lie in other buffers are copied out of the way first."""
        extent = self._recorder.extent
        moved = [
            (buffer, array)
            for buffer, array in pairs
            if extent(buffer) != extent(array)  # another view of the same memory
        ]
        apart = [(buffer, self._apart(array)) for buffer, array in moved]
        self._recorder.copy(apart)


@dataclass(eq=False)
class _Known:
    """A graph, with the trees that the step takes and gives."""

    recorder: Recorder
    graph: Graph
    structure: Any
    key: Hashable
    state: _State
    inputs: list[Any]
    bound: list[bool]
    outputs: list[Any]
    result: Any
    renewed: int

    def __post_init__(self) -> None:
        self._forms = [self.recorder.form(array) for array in self.inputs]
        self._state, self._rest = map(Outline, self.structure)
        self._results = Outline(self.result)
        self.choices = self.recorder.choices()

    def leaves_of(self, state: Any, rest: Any) -> tuple[Sequence[Any], Sequence[Any]] | None:
        """Return the leaves of state and other arguments, if they are such as the graph was captured with."""
        if self.choices != self.recorder.choices():
            return None
        held, given = self._state.leaves(state), self._rest.leaves(rest)
        if held is None or given is None or not self.fits(held, given) or not self.reads(given):
            return None
        return held, given

    def fits(self, held: Sequence[Any], given: Sequence[Any]) -> bool:
        """Tell whether arrays are such as the graph was captured with."""
        for array, own, form in zip(given, self.inputs, self._forms, strict=True):
            if array is not own and self.recorder.form(array) != form:
                return False
        return self.state.fits(held)

    def reads(self, given: Sequence[Any]) -> bool:
        """Tell whether what it reads in place is still given."""
        return all(
            array is own for array, own, bound in zip(given, self.inputs, self.bound, strict=True) if bound
        )

    def run(self, held: Sequence[Any], given: Sequence[Any]) -> Any:
        """Run the step; the state that is returned lies in the buffers, other results are the caller's."""
        copies = [self.recorder.empty_like(array) for array in self.outputs]  # while nothing is done yet
        fed = [
            (own, array)
            for own, array, bound in zip(self.inputs, given, self.bound, strict=True)
            if not bound
        ]
        if fed:
            self.recorder.copy(fed)
        self.state.take(held)
        self.graph.launch()
        if copies:
            self.recorder.copy(list(zip(copies, self.outputs, strict=True)))
        return self._results.tree(self.state.buffers[: self.renewed] + copies)
