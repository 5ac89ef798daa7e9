"""Steps that are recorded once and replayed from then on."""

from __future__ import annotations

import functools
import logging
import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from nnbackend.tree import flatten, unflatten
from nnbackend_numpy.blocks import Evaluator
from nnbackend_numpy.recording import NotRecordableError, Recorded, Recording
from nnbackend_numpy.replay import Arena, Replay

__all__ = ["CompiledStep"]

#: How many recordings a step keeps, one for each set of shapes, those used last.
KEPT = 8
#: How many sets of shapes are remembered to have come once.
NOTED = 256

_log = logging.getLogger("nnbackend.numpy")


class CompiledStep:
    """A step that is run as it is for the first batch of each shape, recorded with the second, and replayed then.

    The bits are the same each way. A step that cannot be recorded, because it looks at values, is run as it is; the
    reason is logged once, to the logger ``nnbackend.numpy``.

    Attributes
    ----------
    count : int
        How often the step was recorded.
    reason : str or None
        Why it is not recorded, if it cannot be.
    """

    def __init__(self, step: Callable[..., Any], evaluator: Evaluator) -> None:
        functools.update_wrapper(self, step)
        self.count = 0
        self.reason: str | None = None
        self._step = step
        self._evaluator = evaluator
        self._arena = Arena()
        self._known: list[_Known] = []
        self._noted: set[Any] = set()
        self._lock = threading.Lock()  # another thread runs the step as it is, in memory of its own

    def __call__(self, state: Any, *rest: Any) -> Any:
        if self.reason is not None or not self._lock.acquire(blocking=False):
            return self._step(state, *rest)
        try:
            return self._run(state, rest)
        finally:
            self._lock.release()

    def _run(self, state: Any, rest: tuple[Any, ...]) -> Any:
        given, shape = flatten(rest)
        if self._known and self._known[0].goes_on(state, shape, given):
            return self._known[0].repeat(given)
        held, outline = flatten(state)
        if not all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in (*held, *given)):
            return self._step(state, *rest)
        structure = (outline, shape)
        for index, known in enumerate(self._known):
            if known.structure == structure and known.replay.fits(held, given):
                if index:
                    self._known.insert(0, self._known.pop(index))
                return known.run(held, given)
        key = (repr(structure), *((leaf.shape, leaf.dtype.str, leaf.strides) for leaf in (*held, *given)))
        if key not in self._noted:
            if len(self._noted) >= NOTED:
                self._noted.clear()
            self._noted.add(key)
            return self._step(state, *rest)
        try:
            return self._record(held, given, structure)
        except Exception as error:
            # an error of the step itself comes again; in what only recording cannot do, it goes on without
            outcome = self._step(state, *rest)
            self.reason = (
                str(error) if isinstance(error, NotRecordableError) else f"{type(error).__name__}: {error}"
            )
            _log.info("%s runs as it is written, not recorded: %s.", self._step.__name__, self.reason)
            return outcome

    def _record(self, held: list[Any], given: list[Any], structure: Any) -> Any:
        """Run the step on recorded arrays, and keep the recording."""
        recording = Recording()
        state = [recording.new(leaf) for leaf in held]
        inputs = [recording.new(leaf) for leaf in given]
        outline, shape = structure
        outcome = self._step(unflatten(outline, state), *unflatten(shape, inputs))
        found, result = flatten(outcome)
        replay = Replay(
            recording,
            [leaf.place for leaf in state],
            [leaf.place for leaf in inputs],
            [leaf.place if isinstance(leaf, Recorded) else leaf for leaf in found],
            renews=isinstance(outcome, tuple) and flatten(outcome[0])[1] == outline,
            evaluator=self._evaluator,
            arena=self._arena,
        )
        after = [_of_its_own(leaf, given) for leaf in found]
        if replay.renews:
            after[: replay.renews] = replay.bind(after[: replay.renews])
        self.count += 1
        self._known.insert(0, _Known(structure, result, replay))
        del self._known[KEPT:]
        return unflatten(result, after)


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
        self._reader = _Reader(structure[0])
        self._result = result
        self._state: tuple[Any, Any] = (
            None,
            None,
        )  # the arrays that the replay is bound to, and the tree of them

    def goes_on(self, state: Any, shape: Any, given: list[Any]) -> bool:
        """Tell whether the state is what the last step has returned, and the rest is such as was recorded."""
        bound = self.replay.bound
        return (
            bound is not None
            and shape == self.structure[1]
            and self.replay.takes(given)
            and self._reader.finds(state, bound)
        )

    def repeat(self, given: list[Any]) -> Any:
        """Run the step on the state of the step before."""
        return self._made(self.replay.repeat(given))

    def run(self, held: list[Any], given: list[Any]) -> Any:
        """Run the step on another state."""
        return self._made(self.replay.run(held, given))

    def _made(self, results: list[Any]) -> Any:
        if not self.replay.renews:
            return unflatten(self._result, results)
        bound = self.replay.bound
        if self._state[0] is not bound:
            assert bound is not None
            self._state = (bound, unflatten(self.structure[0], bound))
        rest = unflatten((None, *self._result[1:]), [None] * self.replay.renews + results)
        return (_another(self._state[1]), *rest[1:])


def _another(node: Any) -> Any:
    """Copy a tree of dicts, but not its leaves."""
    if type(node) is dict:
        return {key: _another(child) if type(child) is dict else child for key, child in node.items()}
    return node


class _Reader:
    """Compares the leaves of a tree with given ones, faster than by flattening it, where it is made of dicts."""

    def __init__(self, structure: Any) -> None:
        self._nodes: list[tuple[tuple[str, ...], Callable[[Any], Any], int, list[int]]] = []
        self._simple = self._read(structure, ())

    def _read(self, node: Any, path: tuple[str, ...]) -> bool:
        if not isinstance(node, dict):
            return False
        leaves = [key for key, child in node.items() if isinstance(child, int)]
        getter = operator.itemgetter(*leaves) if len(leaves) > 1 else _one_of(leaves)
        self._nodes.append((path, getter, len(node), [node[key] for key in leaves]))
        return all(
            self._read(child, (*path, key)) for key, child in node.items() if not isinstance(child, int)
        )

    def finds(self, tree: Any, leaves: list[Any]) -> bool:
        """Tell whether these are the leaves of a tree, and it has the structure."""
        if not self._simple:
            return False
        try:
            for path, getter, count, places in self._nodes:
                node = tree
                for key in path:
                    node = node[key]
                if len(node) != count:
                    return False
                for array, place in zip(getter(node), places, strict=True):
                    if array is not leaves[place]:
                        return False
        except (KeyError, TypeError):
            return False
        return True


def _one_of(keys: list[str]) -> Callable[[Any], Any]:
    return lambda node: [node[key] for key in keys]
