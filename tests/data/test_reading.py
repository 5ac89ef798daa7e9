"""Reading ahead: nothing lost, nothing twice, nothing left behind."""

import threading
import traceback

import pytest

from nnbackend.data.reading import Reader

#: No test waits longer: one that would hang fails.
LONG = 30.0


def read_all(reader):
    items = []
    while (item := reader.next()) is not None:
        items.append(item)
    return items


@pytest.mark.parametrize("ahead", [0, 1, 2, 100])
def test_items_come_in_order_each_once(ahead):
    assert read_all(Reader(iter(range(50)), ahead)) == list(range(50))


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_pause_loses_nothing(ahead):
    reader = Reader(iter(range(20)), ahead)
    items = []
    while (item := reader.next()) is not None:
        items.append(item)
        reader.pause()
    assert items == list(range(20))


@pytest.mark.parametrize("ahead", [0, 3])
def test_what_was_peeked_at_comes_next(ahead):
    reader = Reader(iter(range(3)), ahead)
    assert [reader.peek(), reader.peek(), reader.next(), reader.peek(), reader.next()] == [0, 0, 0, 1, 1]
    assert read_all(reader) == [2]
    assert reader.peek() is None


def test_the_thread_fetches_no_more_than_may_wait():
    fetched, third = [], threading.Event()

    def items():
        for number in range(10):
            fetched.append(number)
            if number == 2:
                third.set()
            yield number

    reader = Reader(items(), 2)
    assert reader.next() == 0
    assert third.wait(LONG)  # 1 and 2 wait now
    thread = reader._thread
    reader.pause()
    thread.join(LONG)
    assert fetched == [0, 1, 2]
    assert read_all(reader) == list(range(1, 10))


def test_the_thread_ends_at_a_pause_and_at_the_end():
    reader = Reader(iter(range(10)), 1)
    reader.next()
    thread = reader._thread
    reader.pause()
    thread.join(LONG)
    assert not thread.is_alive()
    reader.next()
    thread = reader._thread
    read_all(reader)
    thread.join(LONG)
    assert not thread.is_alive()


def test_a_pause_does_not_wait_for_an_item_that_takes_long():
    entered, go = threading.Event(), threading.Event()

    def items():
        yield 0
        entered.set()
        go.wait(LONG)
        yield 1

    reader = Reader(items(), 1)
    assert reader.next() == 0
    assert entered.wait(LONG)
    reader.pause()  # returns although the thread is in the middle of an item
    assert not go.is_set()
    go.set()
    assert reader.next() == 1
    assert reader.next() is None


@pytest.mark.parametrize("ahead", [0, 2])
def test_errors_are_raised_after_the_items_before_them_with_their_traceback(ahead):
    def broken_source():
        yield 0
        yield 1
        raise ZeroDivisionError("in the source")

    reader = Reader(broken_source(), ahead)
    assert [reader.next(), reader.next()] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="in the source") as caught:
        reader.next()
    assert "broken_source" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert reader.next() is None


def test_the_thread_sees_the_readers_context():
    import nnbackend as nn

    def backends():
        yield nn.get_backend().name

    nn.get_backend("numpy")
    pytest.importorskip("array_api_strict")
    with nn.use_backend("strict"):
        assert Reader(backends(), 1).next() == "strict"
