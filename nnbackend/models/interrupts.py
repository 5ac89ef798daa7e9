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
        self._inside = False
        self._pending = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note that Ctrl-C was pressed, or let it take effect; a handler of signals."""
        if not self._inside:
            signal.default_int_handler(number, frame)
        self._pending = True

    def __enter__(self) -> None:
        self._inside = True

    def __exit__(self, *error: object) -> None:
        self._inside = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt


@contextmanager
def whole_steps() -> Iterator[WholeSteps]:
    """Return what makes steps whole, for as long as the ``with`` block lasts: ``with step: ...``.

    Only Python's own handler in the main thread is replaced, once for all steps; anyone else's is left alone.
    """
    steps = WholeSteps()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, steps.receive)
    try:
        yield steps
    finally:
        if ours and signal.getsignal(signal.SIGINT) == steps.receive:  # unless somebody else has taken over
            signal.signal(signal.SIGINT, signal.default_int_handler)
