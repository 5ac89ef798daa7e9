"""Batches on their way to the device: right whatever the device does first, and beside the step before."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnbackend_cupy.transfers import SLOTS, Feeder, Lease


class Event:
    """A point in the work of a stream."""

    def __init__(self, stream: Stream, place: int) -> None:
        self.stream, self.place = stream, place

    @property
    def done(self) -> bool:
        return self.stream.done >= self.place


class Stream:
    """Work in order, each piece after the events that it waits for."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], None] | None, Event | None]] = []
        self.done = 0

    def ready(self) -> bool:
        if self.done == len(self.work):
            return False
        after = self.work[self.done][1]
        return after is None or after.done

    def advance(self) -> None:
        function, _ = self.work[self.done]
        if function is not None:
            function()
        self.done += 1


class FakeLanes:
    """Two streams whose work is done in an order of somebody's choice, as late or as early as that allows."""

    def __init__(self, first: str) -> None:
        self.computing, self.copying = Stream(), Stream()
        self.choice = random.Random(0)
        self.first = first
        self.reserved = 0

    def push(self, stream: Stream, function: Callable[[], None] | None, after: Event | None = None) -> Event:
        stream.work.append((function, after))
        self.go()
        return Event(stream, len(stream.work))

    def go(self) -> None:
        """Do what a device might have done by now."""
        order = {"copying": [self.copying], "computing": [self.computing], "nothing": []}.get(self.first)
        if order is None:
            order = [self.choice.choice([self.copying, self.computing]) for _ in range(3)]
        for stream in order:
            while stream.ready() and (self.first != "anything" or self.choice.random() < 0.5):
                stream.advance()

    def finish(self) -> None:
        while self.computing.ready() or self.copying.ready():
            for stream in (self.computing, self.copying):
                if stream.ready():
                    stream.advance()

    def reserve(self, size: int) -> tuple[Any, Any]:
        self.reserved += 1
        return np.zeros(size, np.uint8), np.zeros(size, np.uint8)

    def mark(self) -> Event:
        return Event(self.computing, len(self.computing.work))

    def send(self, source: Any, target: Any, size: int, after: Event) -> Event:
        self.push(self.copying, None, after)
        return self.push(self.copying, lambda: np.copyto(target[:size], source[:size]))

    def join(self, event: Event) -> None:
        self.push(self.computing, None, event)

    def wait(self, event: Event) -> None:
        while not event.done:
            for stream in (self.copying, self.computing):
                if stream.ready():
                    stream.advance()

    def array(self, target: Any, offset: int, shape: Any, dtype: Any, lease: Lease) -> Any:
        size = int(np.prod(shape, dtype=int)) * dtype.itemsize
        return Held(target[offset : offset + size].view(dtype).reshape(shape), lease)


class Held:
    """An array that keeps its lease."""

    def __init__(self, host: np.ndarray, lease: Lease) -> None:
        self.host, self.lease = host, lease


def batches(sizes: list[int]) -> list[Any]:
    made = np.random.default_rng(0)
    return [[made.normal(size=(size, 3)).astype("float32"), made.integers(0, 9, size)] for size in sizes]


@pytest.mark.parametrize("first", ["copying", "computing", "nothing", "anything"])
@pytest.mark.parametrize("kept", [0, 2])
def test_computing_sees_each_batch_whatever_the_device_does_first(first: str, kept: int) -> None:
    lanes = FakeLanes(first)
    feeder = Feeder(lanes)
    given = batches([8, 8, 8, 8, 5, 8, 8, 20, 8, 8, 8, 1])
    seen: list[Any] = [None] * len(given)
    held: list[Any] = []
    for number, batch in enumerate(given):
        sent = feeder(batch)

        def read(number: int = number, x: Any = sent[0].host, y: Any = sent[1].host) -> None:
            seen[number] = (x.copy(), y.copy())

        lanes.push(lanes.computing, read)
        held = [*held, (sent, batch)]
        for late, its_own in held[: -kept - 1 or None]:  # who keeps a batch may compute with it later
            lanes.push(
                lanes.computing,
                lambda x=late[0].host, wanted=its_own[0]: np.testing.assert_array_equal(x, wanted),
            )
        held = held[len(held) - kept :]
        del sent, read
        late = its_own = None
    lanes.finish()
    for (x, y), batch in zip(seen, given, strict=True):
        np.testing.assert_array_equal(x, batch[0])
        np.testing.assert_array_equal(y, batch[1])
        assert (x.dtype, y.dtype) == (np.float32, np.int64)


def test_a_batch_travels_while_the_one_before_is_computed() -> None:
    lanes = FakeLanes("copying")
    feeder = Feeder(lanes)
    given = batches([8] * 6)
    for batch in given[:-1]:
        lanes.finish()  # all but the step with this one
        sent = feeder(batch)
        lanes.push(lanes.computing, lambda: None)
    pending = lanes.computing.done
    sent = feeder(given[-1])
    assert lanes.computing.done == pending < len(lanes.computing.work)
    np.testing.assert_array_equal(sent[0].host, given[-1][0])


def test_memory_is_used_again() -> None:
    lanes = FakeLanes("anything")
    feeder = Feeder(lanes)
    for batch in batches([8] * 50):
        sent = feeder(batch)
        lanes.push(lanes.computing, lambda: None)
    assert lanes.reserved == SLOTS
    assert sent is not None


def test_batches_that_are_kept_stay_what_they_are() -> None:
    lanes = FakeLanes("copying")
    feeder = Feeder(lanes)
    given = batches([8] * 10)
    kept = [feeder(batch) for batch in given]
    lanes.finish()
    for sent, batch in zip(kept, given, strict=True):
        np.testing.assert_array_equal(sent[0].host, batch[0])
    assert lanes.reserved == 10


def test_arrays_of_every_shape_travel() -> None:
    lanes = FakeLanes("copying")
    batch = [np.ones((0, 3)), np.asarray(2.5), np.ones((2, 3), bool).T, np.arange(5, dtype=np.int8)[::2]]
    for sent, array in zip(Feeder(lanes)(batch), batch, strict=True):
        np.testing.assert_array_equal(sent.host, array)
        assert (sent.host.shape, sent.host.dtype) == (array.shape, array.dtype)
