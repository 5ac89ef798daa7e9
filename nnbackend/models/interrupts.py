"""Ctrl-C between steps: a step that updates weights in place is never left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupts", "deferred_interrupts"]


class Interrupts:
    """Remembers a Ctrl-C until it may take effect."""

    def __init__(self) -> None:
        self.pending = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note that Ctrl-C was pressed; a handler of signals."""
        self.pending = True

    def check(self) -> None:
        """Let a Ctrl-C that was pressed take effect."""
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Within the block, Ctrl-C takes effect where `Interrupts.check` is called, and at the end.

    Only Python's own handler in the main thread is replaced; anyone else's is left alone.
    """
    interrupts = Interrupts()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts.receive)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts.check()
