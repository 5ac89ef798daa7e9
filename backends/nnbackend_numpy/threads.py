"""Pieces of work spread over a few threads, while BLAS is held to one.

Two matters make this faster than BLAS's own threads where work comes in pieces: a piece stays in one core's cache from
its first operation to its last, and the operations between products are spread as well. NumPy lets go of Python's lock
while it computes.

Who spreads work here makes sure that its bits do not depend on the number of threads: pieces depend on shapes alone,
each writes to places of its own, and sums over them are taken in their order when all are there.

BLAS is told how many threads it has through ``threadpoolctl``, an optional extra. Without it all work stays on one
thread, and only BLAS has its own: two sets of threads on the same cores take longer than one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from typing import Any, Generic, TypeVar

from nnbackend.backend import BackendUnavailableError

__all__ = ["Limited", "all_for_pieces", "allowed", "check", "limited", "none_for_pieces", "spread"]

Piece = TypeVar("Piece")

#: As many threads as anyone may ask for.
MOST = 256

_limit: ContextVar[int | None] = ContextVar("nnbackend_numpy_threads", default=None)
#: Whether the work at hand is a piece of some already.
_inside: ContextVar[bool] = ContextVar("nnbackend_numpy_inside", default=False)


class _Blas:
    """The numbers of threads of the BLAS libraries in this process, which several callers may hold down at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[int] = []
        self._before: list[int] = []
        self._libraries: list[Any] | None = None

    def _found(self) -> list[Any]:
        if self._libraries is None:
            try:
                import threadpoolctl
            except ImportError:
                self._libraries = []
            else:
                found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
                own = [library for library in found if "numpy" in (library.filepath or "")]
                self._libraries = own or found
        return self._libraries

    @property
    def known(self) -> bool:
        """Whether there is a BLAS here that can be told how many threads to use."""
        with self._lock:
            return bool(self._found())

    def threads(self) -> int:
        """Return how many threads BLAS uses while nobody holds it down; 1 where that is not known."""
        with self._lock:
            numbers = self._before if self._held else [library.num_threads for library in self._found()]
            return min((number for number in numbers if number), default=1)

    @contextlib.contextmanager
    def held(self, count: int) -> Iterator[None]:
        """Let BLAS have at most so many threads, until the last one of those who hold it lets go."""
        with self._lock:
            if not self._held:
                self._before = [library.num_threads for library in self._found()]
            self._held.append(count)
            self._set()
        try:
            yield
        finally:
            with self._lock:
                if self._held:  # not in a process that was forked meanwhile
                    self._held.remove(count)
                    self._set()

    def _set(self) -> None:
        for library, before in zip(self._found(), self._before, strict=True):
            # threadpoolctl (3.8) leaves OpenBLAS alone for all but the first thread that asks, so that threads
            # do not undo what others want; here they agree, and the lock is held
            set_threads = getattr(library, "_real_set_num_threads", library.set_num_threads)
            set_threads(min(self._held, default=before))

    def forked(self) -> None:
        """Begin anew in the child of a fork, where the threads that held BLAS down are not."""
        held, self._held, self._lock = self._held, [], threading.Lock()
        if held:
            self._set()


class _Pool:
    """Threads that wait for work, made when they are needed."""

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        """Begin anew in the child of a fork, which has none of its parent's threads."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, count: int, work: Callable[[], None]) -> list[Future[None]]:
        """Let up to `count` threads begin; fewer where the system or an interpreter that ends gives no more."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MOST, thread_name_prefix="nnbackend-numpy")
        begun = []
        for _ in range(count):
            try:
                begun.append(self._executor.submit(copy_context().run, work))
            except RuntimeError:
                break
        return begun


_blas, _pool = _Blas(), _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blas.forked)
    os.register_at_fork(after_in_child=_pool.forked)


class _Shared(Generic[Piece]):
    """Pieces, each for the thread that asks next; none once one of them has failed."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = iter(pieces)
        self._lock = threading.Lock()
        self._over = False

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        with self._lock:
            if self._over:
                raise StopIteration
            return next(self._pieces)

    def stop(self) -> None:
        """Hand out no more."""
        self._over = True


def check(count: object) -> int:
    """Return a number of threads that somebody asks for.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number of at least 1.
    BackendUnavailableError
        If BLAS cannot be told about it.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"threads is a whole number, got {count!r}.")
    if not 1 <= count <= MOST:
        raise ValueError(f"threads is a number from 1 to {MOST}, got {count}.")
    if not _blas.known:
        raise BackendUnavailableError(
            f"threads={count} on NumPy needs threadpoolctl, and a BLAS that it knows, so that this many are all. Cure: "
            'pip install "nnbackend[threads]"; or leave the option out and set OPENBLAS_NUM_THREADS.'
        )
    return count


def allowed() -> int:
    """Return how many threads work may be spread over: as `limited` says, else as many as BLAS uses."""
    if _inside.get():
        return 1
    return _limit.get() or _blas.threads()


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Let what is computed in a ``with`` block use so many threads, in BLAS and here."""
    token = _limit.set(count)
    try:
        with _blas.held(count):
            yield
    finally:
        _limit.reset(token)


@contextlib.contextmanager
def all_for_pieces() -> Iterator[None]:
    """Let pieces have all threads in a ``with`` block, and BLAS one."""
    token = _limit.set(allowed())
    try:
        with _blas.held(1):
            yield
    finally:
        _limit.reset(token)


class none_for_pieces:  # noqa: N801  # a context manager, in a tenth of the time that a generator takes
    """Spread nothing in a ``with`` block, so that BLAS has all threads."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _inside.set(True)

    def __exit__(self, *error: object) -> None:
        _inside.reset(self._token)


class Limited:
    """A step that has so many threads.

    Parameters
    ----------
    step : callable
        The step; its attributes are this one's.
    count : int
        How many.
    """

    def __init__(self, step: Callable[..., Any], count: int) -> None:
        functools.update_wrapper(self, step, updated=())
        self._step, self._count = step, count

    def __call__(self, *arguments: Any) -> Any:
        with limited(self._count):
            return self._step(*arguments)

    def prepared(self, *arguments: Any) -> Limited | None:
        """Return what the step has prepared for its next calls, with so many threads as well."""
        found = self._step.prepared(*arguments)  # type: ignore[attr-defined]
        return None if found is None else Limited(found, self._count)

    def again(self, *arguments: Any) -> Any:
        """Go on from the step's last state, with so many threads as well."""
        with limited(self._count):
            return self._step.again(*arguments)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)


def spread(pieces: Sequence[Piece], work: Callable[[Iterable[Piece]], None]) -> None:
    """Work on pieces, on as many threads as are allowed.

    Parameters
    ----------
    pieces : sequence
        In the order in which they are begun.
    work : callable
        Called once in each thread, this one among them, with an iterator over the pieces that fall to it. What it
        writes for a piece must not depend on the others. Work spread within work stays in its thread.

    Raises
    ------
    BaseException
        What `work` has raised. No piece is begun after that, and those begun are over when it is raised here.
    """
    count = min(len(pieces), allowed()) if len(pieces) > 1 else 1
    if count == 1:
        work(iter(pieces))
        return
    shared = _Shared(pieces)

    def take_part() -> None:
        try:
            work(shared)
        except BaseException:
            shared.stop()
            raise

    token = _inside.set(True)  # the others get it with the context
    helpers: list[Future[None]] = []
    try:
        with _blas.held(1):
            try:
                helpers = _pool.submit(count - 1, take_part)
                take_part()
            finally:
                shared.stop()
                helpers = [helper for helper in helpers if not helper.cancel()]  # without those not begun
                wait(helpers)
    finally:
        _inside.reset(token)
    for helper in helpers:
        helper.result()
