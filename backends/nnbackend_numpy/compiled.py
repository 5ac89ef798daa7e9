"""Steps that are recorded once and replayed from then on."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from nnbackend import tree
from nnbackend_numpy.blocks import Evaluator
from nnbackend_numpy.recording import NotRecordable, Place, Recorded, Recording
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
        self._replays: list[tuple[Any, Any, Replay]] = []
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
        held, outline = tree.flatten(state)
        given, shape = tree.flatten(rest)
        structure = (outline, shape)
        for index, (known, result, replay) in enumerate(self._replays):
            if known == structure and replay.fits(held, given):
                if index:
                    self._replays.insert(0, self._replays.pop(index))
                return tree.unflatten(result, replay.run(held, given))
        if not all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in (*held, *given)):
            return self._step(state, *rest)
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
            self.reason = str(error) if isinstance(error, NotRecordable) else f"{type(error).__name__}: {error}"
            _log.info("%s runs as it is written, not recorded: %s.", self._step.__name__, self.reason)
            return outcome

    def _record(self, held: list[Any], given: list[Any], structure: Any) -> Any:
        """Run the step on recorded arrays, and keep the recording."""
        recording = Recording()
        state = [recording.new(leaf) for leaf in held]
        inputs = [recording.new(leaf) for leaf in given]
        outline, shape = structure
        outcome = self._step(tree.unflatten(outline, state), *tree.unflatten(shape, inputs))
        leaves, result = tree.flatten(outcome)
        first = tree.leaves(outcome[0]) if isinstance(outcome, tuple) else []
        replay = Replay(
            recording,
            [leaf.place for leaf in state],
            [leaf.place for leaf in inputs],
            [leaf.place if isinstance(leaf, Recorded) else leaf for leaf in leaves],
            renews=tree.flatten(outcome[0])[1] == outline and len(first) == len(state),
            evaluator=self._evaluator,
            arena=self._arena,
        )
        self.count += 1
        self._replays.insert(0, (structure, result, replay))
        del self._replays[KEPT:]
        return tree.unflatten(result, [leaf.value if isinstance(leaf, Recorded) else leaf for leaf in leaves])
