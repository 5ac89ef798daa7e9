"""Ctrl-C between steps: a step that updates weights in place is never left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["WholeSteps", "whole_steps"]


class WholeSteps:
    """A block in which Ctrl-C waits for the end of the block; elsewhere it takes effect at once."""

    def __init__(self) -> None:
        self._depth = 0
        self._pending = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note that Ctrl-C was pressed, or let it take effect; a handler of signals."""
        if not self._depth:
            signal.default_int_handler(number, frame)
        self._pending = True

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._pending and not self._depth:
            self._pending = False
            raise KeyboardInterrupt


@contextmanager
def whole_steps() -> Iterator[WholeSteps]:
    """Return what makes steps whole, for as long as the ``with`` block lasts: ``with step: ...``.

    Only Python's own handler in the main thread is replaced, once for all steps; anyone else's is left alone. Steps of
    another model, in a callback, are as whole.
    """
    main = threading.current_thread() is threading.main_thread()
    present = signal.getsignal(signal.SIGINT) if main else None
    around = getattr(present, "__self__", None)
    if isinstance(around, WholeSteps):
        yield around
        return
    steps = WholeSteps()
    ours = present is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, steps.receive)
    try:
        yield steps
    finally:
        if ours and signal.getsignal(signal.SIGINT) == steps.receive:  # unless somebody else has taken over
            signal.signal(signal.SIGINT, signal.default_int_handler)
