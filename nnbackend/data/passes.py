"""Epochs over a source that is gone through again and again, and the position in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from nnbackend.data.reading import Reader

__all__ = ["Passes"]

T = TypeVar("T")

#: The numbers of a position.
NUMBERS = ("epoch", "batch", "pass", "taken")


class Passes(Generic[T]):
    """Cuts passes over a source into epochs.

    Without a number of steps an epoch is one pass. With one, epochs follow one another within a pass, and the source
    begins again wherever it ends. An epoch that is broken off begins again where it began, if the source can: at its
    first batch, or at the position that was restored.

    Parameters
    ----------
    begin : callable
        ``begin(number, first)`` returns an iterator of the pass with this number from batch number `first` on.
    restartable : bool
        Whether a pass can begin again; if not, there is a single one, and `begin` returns what is left of it.
    ahead : int
        How many batches a thread fetches in advance; 0 for none.
    owner : str
        Who asks, for messages.

    Attributes
    ----------
    epoch, batch : int
        How many epochs have ended, and how many batches of the present one were handed out.
    number, taken : int
        How many passes have ended, and how many batches of the present one were handed out.
    """

    def __init__(
        self,
        begin: Callable[[int, int], Iterator[T]],
        *,
        restartable: bool = True,
        ahead: int = 0,
        owner: str = "DataLoader",
    ) -> None:
        self.epoch = self.batch = self.number = self.taken = 0
        self._turn = 0  # which loop is the latest: all of them share this position
        self._home = self.state()
        self.restartable = restartable
        self._begin = begin
        self._ahead = ahead
        self._owner = owner
        self._reader: Reader[T] | None = None

    def state(self) -> dict[str, int]:
        """Return the position."""
        return dict(zip(NUMBERS, (self.epoch, self.batch, self.number, self.taken), strict=True))

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position.

        Raises
        ------
        ValueError
            If `state` is no position, or the source can be read only once and is not there already.
        """
        if not all(isinstance(state.get(name), int) and state[name] >= 0 for name in NUMBERS):
            raise ValueError(
                f"{self._owner} expects a position with the numbers {', '.join(NUMBERS)}, got {state!r}."
            )
        wanted = {name: state[name] for name in NUMBERS}
        if wanted != self.state() and not self.restartable:
            raise ValueError(
                f"{self._owner} cannot go to another position: its iterator can be read only once. Give a function "
                "that returns a new one, and it is replayed up to there."
            )
        if wanted != self.state():
            self.forget()
            self.epoch, self.batch, self.number, self.taken = (wanted[name] for name in NUMBERS)
        self._home = wanted

    def forget(self) -> None:
        """Drop what was fetched in advance, and read it again at the next use, if it can be."""
        if self._reader is not None and self.restartable:
            self._reader.pause()
            self._reader = None

    def pause(self) -> None:
        """Let the thread end that fetches in advance; nothing is lost."""
        if self._reader is not None:
            self._reader.pause()

    def peek(self) -> T | None:
        """Return the next batch of the present pass without going on, or None at its end."""
        try:
            return self._open().peek()
        finally:
            self.pause()

    def rest_of_epoch(self, steps: int | None = None) -> Iterator[T]:
        """Return an iterator of what is left of the present epoch, which then goes on to the next epoch.

        Raises
        ------
        ValueError
            While iterating, if the source gives no batch, or ends before there are `steps` and cannot begin again.
        RuntimeError
            While iterating, if another loop has begun since.
        """
        if self.restartable:
            self.restore(self._home)
        self._turn += 1
        return self._rest(steps, self._turn)

    def _rest(self, steps: int | None, turn: int) -> Iterator[T]:
        try:
            while steps is None or self.batch < steps:
                if turn != self._turn:
                    raise RuntimeError(
                        "Another loop over the same loader began before this one ended, and they share one position. "
                        "Make a loader for each loop."
                    )
                item = self.next()
                if item is not None:
                    self.batch += 1
                    yield item
                    continue
                self._require_some(steps)
                if steps is None:
                    break
                self._end_pass()
            self.epoch, self.batch = self.epoch + 1, 0
            if steps is None:
                self._end_pass()
            self._home = self.state()
        finally:
            self.pause()

    def next(self) -> T | None:
        """Return the next batch of the present pass, or None at its end."""
        try:
            item = self._open().next()
        except BaseException:
            self._reader = None  # broken; what can be read again is read from the position
            raise
        self.taken += item is not None
        return item

    def _open(self) -> Reader[T]:
        if self._reader is None:
            self._reader = Reader(self._begin(self.number, self.taken), self._ahead)
        return self._reader

    def _end_pass(self) -> None:
        self.number, self.taken = self.number + 1, 0
        self.forget()

    def _require_some(self, steps: int | None) -> None:
        if self.taken == 0 or (steps is not None and not self.restartable):
            wanted = "at least one batch" if steps is None else f"{steps} batches"
            cure = (
                "Check what it is made of."
                if self.restartable
                else "It can be read only once: give a function that returns a new iterator."
            )
            raise ValueError(
                f"{self._owner} expects {wanted} for epoch {self.epoch}, the data ended after {self.batch}. {cure}"
            )
