"""What training, measuring and predicting show while they run, as ``verbose`` says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nnbackend.callbacks import Callback, EpochLines, ProgressBar

__all__ = ["reporter", "watched", "watcher_of"]


def _level(owner: str, verbose: str | int) -> int:
    """Return 0 for silence, 1 for a bar, 2 for lines."""
    if verbose == "auto":
        shown = "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
        return 1 if shown else 2
    if verbose not in (0, 1, 2):
        raise ValueError(f"{owner} expects verbose to be 'auto', 0, 1 or 2, got {verbose!r}.")
    return int(verbose)


def reporter(verbose: str | int) -> list[Callback]:
    """Return the callbacks that show how `Model.fit` goes on."""
    level = _level("fit", verbose)
    return [] if level == 0 else [ProgressBar() if level == 1 else EpochLines()]


class _Lines(EpochLines):
    def __init__(self, title: str) -> None:
        super().__init__()
        self._words = title

    def _title(self, epoch: int) -> str:
        return self._words


class _Bar(ProgressBar):
    def __init__(self, title: str) -> None:
        super().__init__()
        self._words = title

    def _title(self, epoch: int) -> str:
        return self._words


def watcher_of(owner: str, verbose: str | int) -> EpochLines | None:
    """Return what shows one pass over data, under the name of the method that makes it."""
    level = _level(owner, verbose)
    return None if level == 0 else _Bar(owner) if level == 1 else _Lines(owner)


@contextmanager
def watched(
    watcher: EpochLines | None, batches: int | None, numbers: Callable[[], dict[str, Any]]
) -> Iterator[Callable[[], None]]:
    """Show a pass over data within the block; it gets a function to call after each batch.

    Parameters
    ----------
    watcher : EpochLines or None
        What shows it; None for silence.
    batches : int or None
        How many batches there are, where that is known.
    numbers : callable
        Reads the numbers so far from the device.
    """
    if watcher is None:
        yield lambda: None
        return
    done = 0

    def took_one() -> None:
        nonlocal done
        watcher.on_batch_end(done, numbers)
        done += 1

    watcher.on_train_begin({"epochs": 1, "steps": batches})
    watcher.on_epoch_begin(0)
    try:
        yield took_one
        if done:
            watcher.on_epoch_end(0, numbers())
    finally:
        watcher.on_train_end()
