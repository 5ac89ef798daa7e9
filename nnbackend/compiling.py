"""Steps that are run as they are until they are known, and done by what was learned from then on.

What a backend learns of a step, a recording or a graph, is its own; here is what all of them share: who may use it,
when it is used again, and how it is given up.
"""

from __future__ import annotations

import functools
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

__all__ = ["KEPT", "NOTED", "Known", "LearnedStep"]

#: How many sets of shapes a step is known for; with further ones it runs as it is.
KEPT = 16
#: How many sets of shapes are remembered to have come before.
NOTED = 64


class Known(Protocol):
    """A step, known for arrays of certain forms."""

    def leaves_of(self, state: Any, rest: Any) -> tuple[Sequence[Any], Sequence[Any]] | None:
        """Return the leaves of the arguments, if they are such as it is known for; None else."""

    def run(self, held: Sequence[Any], given: Sequence[Any]) -> Any:
        """Do the step."""


_Known = TypeVar("_Known", bound=Known)


class LearnedStep(ABC, Generic[_Known]):
    """A step that a backend learns by running it; subclasses say how.

    Attributes
    ----------
    reason : str or None
        Why it is not learned, if it cannot be; it runs as it is written then.
    """

    #: What becomes of a step, for the log.
    deed: ClassVar[str]
    #: Where the reason is told.
    log: ClassVar[logging.Logger]

    def __init__(self, step: Callable[..., Any]) -> None:
        functools.update_wrapper(self, step)
        self.reason: str | None = None
        self._step = step
        self._known: list[_Known] = []
        self._lock = threading.Lock()  # another thread runs the step as it is, in memory of its own

    def __call__(self, state: Any, *rest: Any) -> Any:
        """Do the step."""
        if self.reason is not None or not self._lock.acquire(blocking=False):
            return self._step(state, *rest)
        try:
            if self._known:
                again = self._known[0].leaves_of(state, rest)
                if again is not None:
                    return self._repeat(*again)
            return self._run(state, rest)
        finally:
            self._lock.release()

    def _repeat(self, held: Sequence[Any], given: Sequence[Any]) -> Any:
        """Do the step as it was done last."""
        return self._known[0].run(held, given)

    @abstractmethod
    def _run(self, state: Any, rest: tuple[Any, ...]) -> Any:
        """Do the step by what is known of it for other arrays than the last, or learn it."""

    def _came_forward(self, index: int) -> _Known:
        """Return what is known at this place, which is looked at first from now on."""
        if index:
            self._known.insert(0, self._known.pop(index))
        return self._known[0]

    def _give_up(self, reason: str) -> None:
        """Run the step as it is from now on."""
        self.reason = reason
        self.log.info("%s runs as it is written, not %s: %s.", self._step.__name__, self.deed, reason)
