"""Pieces of work spread over a few threads, while BLAS is held to one.

Two matters make this faster than BLAS's own threads where work comes in pieces: a piece stays in one core's cache from
its first operation to its last, and the operations between products are spread as well. NumPy lets go of Python's lock
while it computes.

Who spreads work here makes sure that its bits do not depend on the number of threads: pieces depend on shapes alone,
each writes to places of its own, and sums over them are taken in their order when all are there.

BLAS is told how many threads it has through ``threadpoolctl``. Where that is missing, or does not know this BLAS, all
work stays on one thread, and only BLAS has its own: two sets of threads on the same cores take longer than one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context, ContextVar, copy_context
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
        self._lock = threading.RLock()  # who lets go in a destructor may be called while this thread has it
        self._held: dict[int, int] = {}
        self._before: list[int] = []
        self._told = 0
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

    def hold(self, who: object, count: int) -> None:
        """Let BLAS have at most so many threads, until the last one of those who hold it lets go."""
        with self._lock:
            if not self._held:
                self._before = [library.num_threads for library in self._found()]
            self._held[id(who)] = count
            self._tell()

    def let_go(self, who: object) -> None:
        """Let go, where `who` holds it."""
        with self._lock:
            self._held.pop(id(who), None)
            self._tell()

    def _tell(self) -> None:
        """Tell BLAS how many threads it has, where that is another number than before; 0 stands for its own."""
        count = min(self._held.values(), default=0)
        if count == self._told:
            return
        self._told = -1  # until all know it: an interruption may come
        for library, before in zip(self._found(), self._before, strict=True):
            # threadpoolctl (3.8) leaves OpenBLAS alone for all but the first thread that asks, so that threads
            # do not undo what others want; here they agree, and the lock is held
            set_threads = getattr(library, "_real_set_num_threads", library.set_num_threads)
            set_threads(count or before)
        self._told = count

    def forked(self) -> None:
        """Begin anew in the child of a fork, where the threads that held BLAS down are not."""
        self._held, self._lock = {}, threading.RLock()
        self._tell()


class _Held:
    """Holds BLAS down in a ``with`` block, in less time than a generator does.

    After an interruption on the way into the block or out of it, it lets go when it is collected.
    """

    __slots__ = ("_count",)

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        _blas.hold(self, self._count)

    def __exit__(self, *error: object) -> None:
        _blas.let_go(self)

    def __del__(self) -> None:
        _blas.let_go(self)


class _Task:
    """Work that a helper is asked for, and that who asks may take back until the helper has begun."""

    __slots__ = ("_context", "_is_over", "_over", "_owner", "_work", "error")

    def __init__(self, work: Callable[[], None], context: Context) -> None:
        self._work, self._context = work, context
        self._owner: dict[str, str] = {}
        self._over, self._is_over = threading.Lock(), False
        self._over.acquire()
        self.error: BaseException | None = None

    def _belongs_to(self, who: str) -> bool:
        """Tell whether it belongs to this one, as it does to who asks first; asking again changes nothing."""
        return self._owner.setdefault("", who) == who

    def do(self) -> None:
        """Do it, unless it was taken back."""
        if not self._belongs_to("helper"):
            return
        try:
            self._context.run(self._work)
        except BaseException as error:  # it belongs to who asked
            self.error = error
        finally:
            self._is_over = True
            self._over.release()

    def end(self) -> None:
        """Take it back if it has not begun, and wait for its end otherwise."""
        if self._belongs_to("asker"):
            return
        while (
            not self._is_over
        ):  # an interruption may come just when the lock is had: who waits again does not wait
            self._over.acquire()


class _Helper:
    """A thread that sleeps until it is given a task.

    Two locks do it in half of the time of an executor's queue and futures (50 instead of 105 to 150 us).
    """

    def __init__(self, number: int) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._task: _Task | None = None
        # a daemon: at the end it is asleep, and nobody is to wait for it
        threading.Thread(target=self._work, name=f"nnbackend-numpy_{number}", daemon=True).start()

    def give(self, task: _Task) -> None:
        """Wake it for a task; one that it has not begun is forgotten."""
        self._task = task
        with contextlib.suppress(RuntimeError):  # it is being woken for a task that was taken back
            self._asleep.release()

    def _work(self) -> None:
        while True:
            self._asleep.acquire()
            task, self._task = self._task, None
            if task is not None:
                task.do()
            del task  # and with it what it works on, while this thread sleeps


class _Helpers:
    """Threads that wait for work, made when they are needed."""

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        """Begin anew in the child of a fork, which has none of its parent's threads."""
        self._idle: list[_Helper] = []
        self._lock = threading.Lock()
        self._count = 0

    def taken(self, count: int) -> list[_Helper]:
        """Return up to `count` helpers, fewer where there are no more; who takes them brings them back."""
        taken: list[_Helper] = []
        with self._lock:
            while len(taken) < count:
                if self._idle:
                    taken.append(self._idle.pop())
                    continue
                if self._count >= MOST:
                    break
                try:
                    taken.append(_Helper(self._count))
                except RuntimeError:  # the system, or an interpreter that ends, gives no more
                    break
                self._count += 1
        return taken

    def bring_back(self, helpers: list[_Helper]) -> None:
        """Let others take these helpers."""
        self._idle.extend(helpers)


def _end(tasks: Sequence[_Task]) -> None:
    """Wait until none of these tasks goes on, through interruptions, of which the last one is raised then."""
    interruption: BaseException | None = None
    for task in tasks:
        while True:
            try:
                task.end()
                break
            except BaseException as error:
                interruption = error
    if interruption is not None:
        raise interruption


_blas, _helpers = _Blas(), _Helpers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blas.forked)
    os.register_at_fork(after_in_child=_helpers.forked)


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
            "pip install threadpoolctl; or leave the option out and set OPENBLAS_NUM_THREADS."
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
        with _Held(count):
            yield
    finally:
        _limit.reset(token)


@contextlib.contextmanager
def all_for_pieces() -> Iterator[None]:
    """Let pieces have all threads in a ``with`` block, and BLAS one."""
    token = _limit.set(allowed())
    try:
        with _Held(1):
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

    inside = copy_context()  # which nothing is left of, wherever an interruption comes
    inside.run(_inside.set, True)
    with _Held(1):
        helpers = _helpers.taken(count - 1)
        tasks = [_Task(take_part, inside.copy()) for _ in helpers]
        try:
            for helper, task in zip(helpers, tasks, strict=True):
                helper.give(task)
            inside.run(take_part)
        finally:
            shared.stop()
            try:
                _end(tasks)
            except BaseException:
                _end(tasks)  # an interruption may come before it begins
                raise
            finally:  # after an interruption too: whom nobody brings back, nobody wakes again
                _helpers.bring_back(helpers)
    for task in tasks:
        if task.error is not None:
            raise task.error
