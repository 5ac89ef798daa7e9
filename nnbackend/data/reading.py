"""Reading ahead: a thread fetches the next batches while a step is taken."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Reader"]

T = TypeVar("T")


class Reader(Generic[T]):
    """Hands out what an iterator gives, and fetches up to `ahead` items in advance, in a thread.

    The thread works between the first `next` after a `pause` and the following `pause`. What it had fetched by then
    is kept and handed out first when reading goes on, so nothing is lost or comes twice, and the order is that of
    the iterator. Nobody waits for the thread at a pause: it ends after the item that it is fetching.

    Parameters
    ----------
    items : iterator
        What to read.
    ahead : int
        How many items may wait; 0 reads without a thread.
    """

    def __init__(self, items: Iterator[T], ahead: int = 0) -> None:
        self._items = items
        self._ahead = ahead
        self._ready: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def next(self) -> T | None:
        """Return the next item, or None at the end.

        Raises
        ------
        BaseException
            What the iterator raised, with its traceback, after all items before it.
        """
        if not self._ahead:
            return self._ready.popleft() if self._ready else next(self._items, None)
        with self._changed:
            self._wanted = True
            if self._thread is None and not self._ended:
                work = (
                    contextvars.copy_context().run
                )  # what is in force here, such as the backend, is there, too
                self._thread = threading.Thread(
                    target=work, args=(self._fetch,), daemon=True, name="nnbackend-reader"
                )
                self._thread.start()
            while not self._ready and not self._ended:
                self._changed.wait()
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def peek(self) -> T | None:
        """Return the next item, or None at the end, and keep it for `next`."""
        item = self.next()
        if item is not None:
            with self._changed:
                self._ready.appendleft(item)
        return item

    def pause(self) -> None:
        """Let the thread end; `next` goes on where reading stopped."""
        with self._changed:
            self._wanted = False
            self._changed.notify_all()

    def _fetch(self) -> None:
        """Fetch items until there are enough, nobody wants them, or there are no more."""
        while True:
            with self._changed:
                while self._wanted and len(self._ready) >= self._ahead:
                    self._changed.wait()
                if not self._wanted:
                    self._thread = None
                    return
            item, error = None, None
            try:
                item = next(self._items, None)
            except BaseException as raised:  # it is the reader's to hear of
                error = raised
            with self._changed:
                if item is None:
                    self._ended, self._error, self._thread = True, error, None
                else:
                    self._ready.append(item)
                self._changed.notify_all()
                if self._ended:
                    return
