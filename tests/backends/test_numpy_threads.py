"""NumPy's rules on several threads: the same bits, errors that come back, and BLAS as it was before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend_numpy import sharing, threads
from nnbackend_numpy.replay import Replay

threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")


def _of_blas() -> list[int]:
    found = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    own = [library for library in found if "numpy" in library["filepath"]]  # SciPy brings another one
    return [library["num_threads"] for library in own or found]


def _many(work: Any, count: int = 64, on: int = 3) -> None:
    with threads.limited(on):
        threads.spread(range(count), work)


def test_each_piece_is_worked_on_once_and_by_several_threads():
    done: list[int] = []
    names = set()
    meeting = threading.Barrier(3)

    def work(some: Any) -> None:
        names.add(threading.get_ident())
        meeting.wait(10)  # each of the three has begun
        done.extend(some)

    _many(work)
    assert sorted(done) == list(range(64))
    assert len(names) == 3


def test_blas_has_one_thread_meanwhile_and_its_own_number_after():
    before = _of_blas()
    seen: list[list[int]] = []

    def work(some: Any) -> None:
        seen.extend(_of_blas() for _ in some)

    _many(work, 4, 2)
    assert all(set(numbers) == {1} for numbers in seen)
    assert len(seen) == 4
    assert _of_blas() == before


def test_a_number_of_threads_is_blas_s_as_well():
    before = _of_blas()
    with threads.limited(2):
        assert threads.allowed() == 2
        assert set(_of_blas()) == {2}
        with threads.limited(1):
            assert threads.allowed() == 1
            assert set(_of_blas()) == {1}
        assert set(_of_blas()) == {2}
    assert _of_blas() == before


def test_any_thread_holds_blas_down_though_another_one_did_before():
    before = _of_blas()
    with threads.limited(1):
        pass
    seen: list[list[int]] = []

    def work() -> None:
        with threads.limited(2):
            seen.append(_of_blas())
        seen.append(_of_blas())

    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert set(seen[0]) == {2}
    assert seen[1] == before


def test_without_a_number_it_is_that_of_blas():
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        assert threads.allowed() == 3
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert threads.allowed() == 1


@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_ends_the_work_and_comes_back(where, error):
    before = _of_blas()
    here = threading.get_ident()
    meeting = threading.Barrier(3)

    def work(some: Any) -> None:
        meeting.wait(10)
        if (threading.get_ident() == here) == (where == "here"):
            raise error
        for _ in some:
            pass

    with pytest.raises(error):
        _many(work)
    assert _of_blas() == before
    done: list[int] = []
    _many(done.extend)
    assert sorted(done) == list(range(64))


def test_nothing_runs_any_more_when_an_error_comes_back():
    running = set()

    def work(some: Any) -> None:
        for piece in some:
            running.add(piece)
            if piece == 5:
                running.remove(piece)
                raise ValueError("5")
            np.sin(np.ones(100_000))
            running.remove(piece)

    with pytest.raises(ValueError, match="5"):
        _many(work)
    assert not running


def test_work_within_work_stays_in_its_thread():
    def inner(some: Any) -> None:
        own.add(threading.get_ident())
        list(some)

    def work(some: Any) -> None:
        nonlocal own
        for _ in some:
            own = set()
            threads.spread(range(9), inner)
            assert own == {threading.get_ident()}

    own: set[int] = set()
    with threads.limited(2):
        threads.spread([0, 1], lambda some: [threads.spread(range(9), lambda s: list(s)) for _ in some])
        assert threads.allowed() == 2
    with threads.limited(1):
        work([0])


def test_helpers_compute_in_the_surroundings_of_who_asks():
    def work(some: Any) -> None:
        for _ in some:
            assert np.geterr()["divide"] == "raise"
            assert nn.get_matmul_precision() == "medium"

    with np.errstate(divide="raise"), nn.use_matmul_precision("medium"):
        _many(work)


def test_two_who_spread_at_a_time_do_not_wait_for_each_other():
    results: dict[int, list[int]] = {0: [], 1: []}

    def run(number: int) -> None:
        for _ in range(20):
            _many(results[number].extend, 8, 4)

    others = [threading.Thread(target=run, args=(number,)) for number in results]
    before = _of_blas()
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert [sorted(found) for found in results.values()] == [sorted([*range(8)] * 20)] * 2
    assert _of_blas() == before


def test_a_helper_that_comes_late_is_not_waited_for():
    done: list[str] = []
    task = threads._Task(lambda: done.append("late"), copy_context())
    task.end()
    task.end()  # once more, after an interruption
    task.do()
    assert not done
    begun = threading.Event()
    task = threads._Task(lambda: (begun.set(), done.append("begun")), copy_context())
    helper = threading.Thread(target=task.do)
    helper.start()
    begun.wait(10)
    task.end()
    assert done == ["begun"]
    helper.join(10)


def test_an_interruption_waits_for_those_who_have_begun():
    ends: list[str] = []

    class Interrupted(threads._Task):
        def end(self) -> None:
            ends.append("end")
            if len(ends) == 2:
                raise KeyboardInterrupt
            super().end()

    with pytest.raises(KeyboardInterrupt):
        threads._end([Interrupted(lambda: None, copy_context()) for _ in range(3)])
    assert len(ends) == 4  # the second one once more, and the third


def test_who_waits_again_does_not_wait_for_what_is_over():
    class Interrupted:
        """A lock, and an interruption just when it is had for the first time."""

        def __init__(self, lock: Any) -> None:
            self._lock, self.asked = lock, 0
            self.release = lock.release

        def acquire(self) -> bool:
            self.asked += 1
            had: bool = self._lock.acquire(timeout=5)
            if self.asked == 1:
                raise KeyboardInterrupt
            return had

    begun, go = threading.Event(), threading.Event()
    task = threads._Task(lambda: (begun.set(), go.wait(10)), copy_context())
    task._over = lock = Interrupted(task._over)
    helper = threading.Thread(target=task.do)
    helper.start()
    begun.wait(10)
    go.set()
    with pytest.raises(KeyboardInterrupt):
        threads._end([task])
    assert lock.asked == 1
    helper.join(10)


def test_helpers_are_brought_back_after_an_interruption(monkeypatch):
    def interrupted(tasks: Any) -> None:
        ended(tasks)
        raise KeyboardInterrupt

    ended = threads._end
    _many(list, 8, 3)
    idle = len(threads._helpers._idle)
    with monkeypatch.context() as patched:
        patched.setattr(threads, "_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _many(list, 8, 3)
    assert len(threads._helpers._idle) == idle


def test_blas_is_let_go_after_an_interruption_on_the_way_out():
    before = _of_blas()
    with threads.limited(3):
        held = threads._Held(1)
        held.__enter__()  # and nothing comes after it
        assert set(_of_blas()) == {1}
        del held
        assert set(_of_blas()) == {3}
    assert _of_blas() == before


def test_blas_is_let_go_after_an_interruption_while_it_is_told(monkeypatch):
    before = _of_blas()
    (library, *_) = threads._blas._found()
    name = "_real_set_num_threads" if hasattr(library, "_real_set_num_threads") else "set_num_threads"
    tell = getattr(library, name)

    def interrupted(count: int) -> None:
        tell(count)
        monkeypatch.setattr(library, name, tell)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads._Held(max(before) + 1).__enter__()
    with threads._Held(max(before) + 2):
        pass
    assert _of_blas() == before


def test_nothing_says_that_work_is_spread_after_an_interruption(monkeypatch):
    def interrupt(count: int) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(threads._helpers, "taken", interrupt)
    with threads.limited(2):
        with pytest.raises(KeyboardInterrupt):
            threads.spread(range(4), list)
        assert threads.allowed() == 2


def test_helpers_that_sleep_hold_nothing():
    class Work:
        def __call__(self, some: Any) -> None:
            list(some)

    work = Work()
    kept = weakref.ref(work)
    _many(work)
    del work
    for _ in range(100):  # a helper that came late is not waited for
        if kept() is None:
            break
        time.sleep(0.05)
    assert kept() is None


def test_helpers_are_used_again():
    before = threads._helpers._count
    for _ in range(50):
        _many(list, 8, 3)
    assert threads._helpers._count <= max(before, 2)


_FORKS = """
import os, threading
from nnbackend_numpy import threads

def done():
    seen, both = [], threading.Barrier(2)

    def work(some):
        both.wait(10)  # for another thread, which must take part
        seen.extend(some)

    with threads.limited(2):
        threads.spread(range(64), work)
    return sorted(seen) == list(range(64))

assert done()
child = os.fork()
if child == 0:
    status = 1
    try:
        status = 0 if done() else 2
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_child_of_a_fork_has_threads_of_its_own():
    # in a process without libraries that have threads of their own, which do not bear it
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKS], env=environment, check=True, timeout=60)


def test_without_threadpoolctl_there_is_one_thread_and_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr(threads, "_blas", threads._Blas())
    monkeypatch.setattr(nn.backend, "_instances", {})
    assert threads.allowed() == 1
    with pytest.raises(nn.BackendUnavailableError, match=r"threads=2 .*pip install threadpoolctl"):
        nn.get_backend("numpy", threads=2)


@pytest.mark.parametrize(
    ("count", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (1.0, TypeError), ("2", TypeError)],
)
def test_what_is_no_number_of_threads_is_refused(count, error):
    with pytest.raises(error, match="threads is a"):
        nn.get_backend("numpy", threads=count)


#: What goes in pieces: a function of arrays, and the shapes that it is given.
PIECES = {
    "conv": (lambda *a: fn.conv(*a, padding="same"), [(5, 33, 32, 32), (3, 3, 32, 40), (40,)]),
    "strided conv": (lambda *a: fn.conv(*a, strides=2), [(6, 33, 64, 32), (3, 3, 32, 33), (33,)]),
    "thin conv": (lambda *a: fn.conv(*a), [(64, 28, 28, 1), (3, 3, 1, 32), (32,)]),
    "heavy conv": (lambda *a: fn.conv(*a), [(128, 7, 7, 130), (3, 3, 130, 140)]),
    "conv_transpose": (lambda *a: fn.conv_transpose(*a, strides=2), [(6, 20, 20, 32), (3, 3, 34, 32)]),
    "max_pool": (lambda x: fn.max_pool(x, pool_size=2), [(16, 32, 32, 32)]),
    "standardize": (lambda *a: fn.standardize(*a, axis=(0, 1, 2))[0], [(16, 32, 32, 24), (24,), (24,)]),
    "elementwise": (fn.gelu, [(64, 100, 100)]),
    "broadcast": (lambda *a: fn.silu(fn.add(*a)), [(2000, 300), (300,)]),
    "rowwise": (fn.softmax, [(30_000, 40)]),
}


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("name", PIECES)
def test_the_bits_do_not_depend_on_the_number_of_threads(name, precision, rng):
    function, shapes = PIECES[name]
    given = [rng.normal(size=shape).astype("float32") for shape in shapes]

    def results(count: int) -> list[Any]:
        with threads.limited(count), nn.use_matmul_precision(precision):
            y, pullback = nn.vjp(function, *given)
            return [y, *pullback(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape))]

    alone = results(1)
    for count in (2, 3, 7):
        for mine, expected in zip(results(count), alone, strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("name", PIECES)
def test_work_in_pieces_is_spread(name, rng, monkeypatch):
    function, shapes = PIECES[name]
    given = [rng.normal(size=shape).astype("float32") for shape in shapes]
    begun: list[int] = []
    taken = threads._helpers.taken
    monkeypatch.setattr(threads._helpers, "taken", lambda count: begun.append(count) or taken(count))
    with threads.limited(2):
        y, pullback = nn.vjp(function, *given)
        forwards = len(begun)
        pullback(np.ones_like(y))
    assert forwards
    assert len(begun) > forwards


def test_a_model_of_pieces_trains_to_the_same_bits_on_any_number_of_threads(rng):
    x = rng.normal(size=(48, 16, 16, 32)).astype("float32")
    y = rng.integers(0, 10, 48)

    def trained(**options: Any) -> list[Any]:
        model = nn.Sequential(
            [
                nn.Conv2D(32, 3, padding="same"),
                nn.BatchNormalization(),
                nn.ReLU(),
                nn.MaxPooling2D(2),
                nn.Flatten(),
                nn.Dense(10),
            ],
            backend=nn.get_backend("numpy", **options),
            seed=0,
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=16, epochs=2, verbose=0)  # three steps each: as it is, recorded, replayed
        return [nn.to_numpy(weight) for weight in model.parameters]

    before = _of_blas()
    for mine, expected in zip(trained(threads=3), trained(threads=1), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert _of_blas() == before


def test_a_step_has_the_threads_of_its_backend():
    seen: list[int] = []

    def step(state: Any, x: Any) -> Any:
        seen.append(threads.allowed())
        return state, x + 1

    backend = nn.get_backend("numpy", threads=2)
    backend.compile(step)(np.ones(2), np.ones(2))
    backend.uncompiled(step)(np.ones(2), np.ones(2))
    with backend.scope():
        seen.append(threads.allowed())
    assert seen == [2, 2, 2]


def test_a_number_of_threads_holds_in_every_step_of_training(rng, monkeypatch):
    seen: list[int | None] = []
    compute = Replay._compute
    monkeypatch.setattr(
        Replay, "_compute", lambda *given: (seen.append(threads._limit.get()), compute(*given))[1]
    )
    model = nn.Sequential([nn.Dense(3)], backend=nn.get_backend("numpy", threads=2), seed=0)
    model.compile("adam", "mse")
    x, y = rng.normal(size=(8, 4)).astype("float32"), rng.normal(size=(8, 3)).astype("float32")
    for _ in range(8):  # of which the last ones go on from the state before
        model.train_on_batch(x, y)
    assert len(seen) >= 4
    assert set(seen) == {2}


def test_large_programs_of_a_recorded_step_are_spread(rng, monkeypatch):
    x = rng.normal(size=1 << 19).astype("float32")
    begun: list[int] = []
    taken = threads._helpers.taken
    monkeypatch.setattr(threads._helpers, "taken", lambda count: begun.append(count) or taken(count))

    def results(count: int) -> Any:
        step = nn.get_backend("numpy", threads=count).compile(
            lambda state, x: (state, fn.gelu(fn.gelu(x) + x))
        )
        for _ in range(3):
            step((), x)
        begun.clear()
        outcome = step((), x)[1]
        assert step.count == 1
        return outcome

    alone = results(1)
    assert not begun
    np.testing.assert_array_equal(results(2), alone)
    assert begun


#: Products whose sides are cut: by rows or by columns, in any layout, into parts that are not alike.
PRODUCTS = {
    "rows": ((700, 200), (200, 500)),
    "columns": ((130, 300), (300, 2001)),
    "few rows": ((3, 9000), (9000, 2500)),
    "few columns": ((3000, 9000), (9000, 3)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["CC", "CF", "FC", "FF"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_that_is_cut_is_that_in_one_piece(name, order, dtype, rng):
    a, b = (
        np.asarray(rng.normal(size=shape), dtype=dtype, order=way)
        for shape, way in zip(PRODUCTS[name], order, strict=True)
    )
    with threads.limited(1):
        whole = a @ b
    for count in (2, 3, 7):
        out = np.full_like(whole, np.nan)
        with threads.limited(count), threads.all_for_pieces():
            sharing.product(a, b, out)
        np.testing.assert_allclose(out, whole, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(whole).max())


def _encoder() -> list[Any]:
    return [
        nn.Flatten(),
        nn.Dense(128 * 64),
        nn.Reshape((128, 64)),
        nn.TransformerEncoder(128, 2),
        nn.Flatten(),
    ]


@pytest.mark.parametrize(
    ("layers", "holds"),
    [
        pytest.param(_encoder, False, id="attention between large products"),
        pytest.param(lambda: [nn.Flatten(), nn.Dense(512), nn.ReLU()], False, id="products"),
        pytest.param(lambda: [nn.Conv2D(16, 3), nn.Flatten(), nn.Dense(320)], True, id="sums over taps"),
    ],
)
def test_blas_or_pieces_have_the_threads_of_a_whole_step(layers, holds, rng, monkeypatch):
    x, y = rng.normal(size=(64, 18, 18, 8)).astype("float32"), rng.integers(0, 10, 64)
    model = nn.Sequential([*layers(), nn.Dense(10)], backend=nn.get_backend("numpy", threads=2), seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    for _ in range(3):  # as it is, and recorded twice
        model.train_on_batch(x, y)

    seen: list[tuple[int, int]] = []
    products: list[Any] = []
    multiply = sharing._multiply
    begun: list[int] = []
    taken = threads._helpers.taken
    monkeypatch.setattr(threads._helpers, "taken", lambda count: begun.append(count) or taken(count))
    monkeypatch.setattr(sharing, "_multiply", lambda some: (products.append(some), multiply(some)))
    has_threads = sharing.Holder.has_threads

    class Watched:
        def __init__(self, holder: Any) -> None:
            self._keep = has_threads(holder)

        def __enter__(self) -> None:
            self._keep.__enter__()
            seen.append((min(_of_blas()), threads.allowed()))

        def __exit__(self, *error: Any) -> None:
            self._keep.__exit__(*error)

    monkeypatch.setattr(sharing.Holder, "has_threads", lambda holder: Watched(holder))
    before = _of_blas()
    model.train_on_batch(x, y)
    assert seen == [(1, 2) if holds else (2, 1)]
    assert bool(begun) == bool(products) == holds
    assert _of_blas() == before
