"""DataLoader: which batches, in which order, and where it is."""

import itertools
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend.data import Batch, DataLoader, balanced_order, order
from nnbackend.data import sources as source_room

X, Y = np.arange(22.0).reshape(11, 2), np.arange(11) % 3


def stream(count=7):
    for number in range(count):
        yield np.full((2, 3), float(number)), np.array([number, number])


def firsts(batches):
    """The number that says which row or batch came first in each batch."""
    return [float(np.ravel(batch.x)[0]) for batch in batches]


# Batches


@given(
    count=st.integers(1, 40),
    size=st.integers(1, 12),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    ahead=st.sampled_from([0, 2]),
)
@settings(deadline=None, max_examples=60)
def test_batches_partition_the_epoch(count, size, shuffle, drop_last, ahead):
    rows = np.arange(count)
    drop_last = drop_last and count >= size
    loader = DataLoader(
        rows[:, None], rows, batch_size=size, shuffle=shuffle, drop_last=drop_last, seed=3, prefetch=ahead
    )
    batches = list(loader)
    assert len(batches) == len(loader)
    assert {len(batch.y) for batch in batches[:-1]} <= {size}
    seen = np.concatenate([batch.y for batch in batches])
    assert len(set(seen.tolist())) == len(seen) == (loader.samples or 0)
    assert len(seen) == (count - count % size if drop_last else count)
    for batch in batches:
        np.testing.assert_array_equal(batch.x[:, 0], batch.y)


def test_the_order_is_that_of_the_seed_and_the_epoch():
    loader = DataLoader(X, batch_size=4, shuffle=True, seed=1234)
    for epoch in range(3):
        got = np.concatenate([batch.x for batch in loader])
        np.testing.assert_array_equal(got, X[order(1234, epoch, 11)])


def test_each_of_several_inputs_and_targets_is_cut():
    x = {"a": X, "b": [[i] for i in range(11)]}
    batch = next(iter(DataLoader(x, [Y, X], Y / 2, batch_size=3)))
    np.testing.assert_array_equal(batch.x["b"], [[0], [1], [2]])
    np.testing.assert_array_equal(batch.y[1], X[:3])
    np.testing.assert_array_equal(batch.weight, [0.0, 0.5, 1.0])


def test_arrays_of_any_library_are_taken(backend):
    batches = list(DataLoader(backend.from_host(X), backend.from_host(Y), batch_size=4))
    assert all(type(part) is np.ndarray for batch in batches for part in batch[:2])
    np.testing.assert_array_equal(np.concatenate([batch.x for batch in batches]), X)


def test_a_batch_is_a_copy():
    x = X.copy()
    for batch in DataLoader(x, batch_size=4):
        batch.x[:] = -1.0
    np.testing.assert_array_equal(x, X)


# Files


class Rows:
    """A data set in a file, of which rows are read in increasing order, each once, as h5py demands."""

    chunks = None

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.reads = array, array.shape, array.dtype, []

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self.array)))
        assert np.all(np.diff(rows) > 0)
        self.reads.append(len(rows))
        return self.array[rows]


@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_in_files_are_read_batch_by_batch_in_increasing_order(shuffle):
    rows = Rows(X)
    got = list(DataLoader(rows, Y, batch_size=4, shuffle=shuffle, seed=0))
    plain = list(DataLoader(X, Y, batch_size=4, shuffle=shuffle, seed=0))
    assert rows.reads == [4, 4, 3]
    for a, b in zip(got, plain, strict=True):
        np.testing.assert_array_equal(a.x, b.x)


def test_balanced_rows_that_come_twice_are_read_once():
    labels = np.array([0] * 10 + [1])
    rows = Rows(X)
    got = list(DataLoader(rows, labels, batch_size=11, balanced=True, seed=0))
    plain = list(DataLoader(X, labels, batch_size=11, balanced=True, seed=0))
    np.testing.assert_array_equal(got[0].x, plain[0].x)
    assert rows.reads[0] < 11


@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[::2], np.asarray])
def test_memory_mapped_arrays_are_never_read_as_a_whole(tmp_path, monkeypatch, view):
    np.save(tmp_path / "x.npy", X)
    mapped = view(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert source_room.is_mapped(mapped)
    taken = []
    plain_take = source_room.take_rows
    monkeypatch.setattr(
        source_room, "take_rows", lambda array, rows: taken.append((array, rows)) or plain_take(array, rows)
    )
    batches = list(DataLoader(mapped, batch_size=3, shuffle=True, seed=0))
    assert all(array is mapped for array, _ in taken)
    assert all(type(batch.x) is np.ndarray and not source_room.is_mapped(batch.x) for batch in batches)
    np.testing.assert_array_equal(
        np.concatenate([batch.x for batch in batches]), mapped[order(0, 0, len(mapped))]
    )


def test_a_file_far_larger_than_memory_can_be_trained_on(tmp_path, backend):
    """A sparse file of 2 TiB: whoever reads it as a whole, or makes an array of its size, fails."""
    path = tmp_path / "x.dat"
    try:
        with open(path, "wb") as file:
            file.truncate(2**37 * 4 * 4)
        mapped = np.memmap(path, dtype="float32", mode="r", shape=(2**37, 4))
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    loader = DataLoader(mapped, batch_size=8, prefetch=1)
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    assert model.predict(loader, steps=2).shape == (16, 1)
    assert loader.samples == 2**37


# Streams


@pytest.mark.parametrize("ahead", [0, 2])
def test_streams_of_batches_come_as_they_are(ahead):
    loader = DataLoader(stream, batch_size=None, prefetch=ahead)
    for _ in range(2):
        assert firsts(loader) == [0, 1, 2, 3, 4, 5, 6]


def test_streams_of_samples_are_collected():
    class Samples:
        def __iter__(self):
            return ((X[i], Y[i], 0.5) for i in range(11))

    for drop_last, sizes in ((False, [4, 4, 3]), (True, [4, 4])):
        batches = list(DataLoader(Samples(), batch_size=4, drop_last=drop_last))
        assert [len(batch.y) for batch in batches] == sizes
        np.testing.assert_array_equal(np.concatenate([b.x for b in batches]), X[: sum(sizes)])
        np.testing.assert_array_equal(batches[0].weight, [0.5] * 4)


def test_samples_may_be_trees():
    samples = ({"a": X[i], "b": i} for i in range(4))
    (batch,) = DataLoader(samples, batch_size=4)
    np.testing.assert_array_equal(batch.x["b"], range(4))
    assert batch.y is None


def test_samples_of_several_shapes_are_refused_with_the_cure():
    samples = (np.zeros(n) for n in (2, 3))
    with pytest.raises(ValueError, match=r"cannot stack samples.*nn\.data\.pad_sequences"):
        list(DataLoader(samples, batch_size=2))


def test_a_stream_may_use_its_memory_again():
    def reusing():
        x = np.zeros((2, 1))
        for number in range(6):
            x[:] = number
            yield x

    assert firsts(list(DataLoader(reusing, batch_size=None, prefetch=3))) == [0, 1, 2, 3, 4, 5]


def test_an_iterator_can_be_read_once():
    loader = DataLoader(stream(), batch_size=None)
    assert not loader.positionable
    assert firsts(loader) == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(
        ValueError, match=r"at least one batch for epoch 1.*give a function that returns a new iter"
    ):
        list(loader)


def test_epochs_of_a_number_of_steps_follow_one_another():
    loader = DataLoader(itertools.cycle([0.0, 1.0, 2.0]), batch_size=2, steps_per_epoch=2)
    assert [[batch.x.tolist() for batch in loader] for _ in range(2)] == [
        [[0.0, 1.0], [2.0, 0.0]],
        [[1.0, 2.0], [0.0, 1.0]],
    ]
    assert (len(loader), loader.samples) == (2, None)


@pytest.mark.parametrize("ahead", [0, 2])
def test_what_can_begin_again_does_so_within_an_epoch(ahead):
    loader = DataLoader(lambda: stream(3), batch_size=None, steps_per_epoch=5, prefetch=ahead)
    assert [firsts(loader) for _ in range(2)] == [[0, 1, 2, 0, 1], [2, 0, 1, 2, 0]]
    arrays = DataLoader(X, batch_size=6, shuffle=True, seed=0, steps_per_epoch=3, prefetch=ahead)
    got = np.concatenate([batch.x for batch in arrays] + [batch.x for batch in arrays])
    expected = np.concatenate([X[order(0, number, 11)] for number in range(3)])
    np.testing.assert_array_equal(got, expected)


def test_a_stream_that_ends_within_an_epoch_says_after_how_many_batches():
    loader = DataLoader(stream(3), batch_size=None, steps_per_epoch=5)
    with pytest.raises(ValueError, match="expects 5 batches for epoch 0, the data ended after 3"):
        list(loader)


def test_a_stream_without_batches_is_refused():
    with pytest.raises(ValueError, match="at least one batch for epoch 0, the data ended after 0. Check"):
        list(DataLoader(lambda: iter(()), batch_size=None))


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_of_the_stream_is_raised_after_the_batches_before_it(ahead):
    def broken():
        yield from stream(2)
        raise ZeroDivisionError("in the stream")

    loader = DataLoader(broken, batch_size=None, prefetch=ahead)
    for _ in range(2):  # a second loop begins again
        batches = iter(loader)
        assert firsts([next(batches), next(batches)]) == [0, 1]
        with pytest.raises(ZeroDivisionError, match="in the stream"):
            next(batches)
        assert loader.state()["batch"] == 2


def test_what_can_be_read_once_loses_nothing_when_a_loop_is_broken_off():
    loader = DataLoader(stream(), batch_size=None, prefetch=3)
    before = set(threading.enumerate())
    first = next(iter(loader))
    for thread in set(threading.enumerate()) - before:
        thread.join(30.0)
        assert not thread.is_alive()
    assert firsts([first, *loader]) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("steps", [None, 5])
@pytest.mark.parametrize("kind", ["arrays", "transformed", "batches"])
def test_a_loop_that_is_broken_off_counts_for_nothing(kind, steps):
    loader, untouched = (make(kind, steps_per_epoch=steps) for _ in range(2))
    for _ in range(3):
        for _ in loader:
            break
        for _ in zip(loader, range(3), strict=False):
            pass
        expected = list(untouched)
        for a, b in zip(loader, expected, strict=True):
            np.testing.assert_array_equal(a.x, b.x)
    assert loader.state() == untouched.state()


def test_looking_at_a_loader_does_not_choose_its_seed():
    looked_at, untouched = (DataLoader(X, batch_size=4, shuffle=True) for _ in range(2))
    next(iter(looked_at))
    assert "seed" in looked_at.state()
    for a, b in zip(looked_at.rest_of_epoch(7), untouched.rest_of_epoch(7), strict=True):
        np.testing.assert_array_equal(a.x, b.x)
    assert looked_at.seed is None
    assert "seed" not in looked_at.state()


# The position


def make(kind, **options):
    options = {"seed": 5} | options
    if kind == "arrays":
        return DataLoader(X, Y, batch_size=2, shuffle=True, **options)
    if kind == "balanced":
        return DataLoader(X, Y, batch_size=2, balanced=True, **options)
    if kind == "transformed":
        return DataLoader(X, Y, batch_size=2, shuffle=True, transform=jitter, **options)
    if kind == "samples":
        return DataLoader(lambda: iter(X), batch_size=2, transform=jitter, **options)
    return DataLoader(stream, batch_size=None, **options)


def jitter(batch, random):
    return batch._replace(x=batch.x + random.uniform(batch.x.shape, dtype="float64"))


KINDS = ["arrays", "balanced", "transformed", "samples", "batches"]


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("kind", KINDS)
@given(consumed=st.integers(0, 13))
@settings(deadline=None, max_examples=14)
def test_a_restored_loader_goes_on_as_the_first_one(kind, steps, ahead, consumed):
    def forever(loader):
        while True:
            yield from loader

    whole = make(kind, steps_per_epoch=steps, prefetch=ahead)
    batches = forever(whole)
    for _ in range(consumed):
        next(batches)
    state = json.loads(json.dumps(whole.state()))
    expected = list(itertools.islice(batches, 9))
    resumed = make(kind, steps_per_epoch=steps, prefetch=ahead)
    resumed.restore(state)
    for a, b in zip(itertools.islice(forever(resumed), 9), expected, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
    assert resumed.state() == whole.state()


def test_the_position_counts_batches_that_were_handed_out_not_those_read_ahead():
    loader = make("batches", prefetch=3)
    batches = iter(loader)
    next(batches)
    next(batches)
    assert loader.state() == {"epoch": 0, "batch": 2, "pass": 0, "taken": 2, "seed": 5}
    loader.peek(0)
    assert loader.state()["taken"] == 2
    assert firsts(batches) == [2, 3, 4, 5, 6]
    assert loader.state() == {"epoch": 1, "batch": 0, "pass": 1, "taken": 0, "seed": 5}


def test_a_restored_loader_takes_on_the_seed_that_was_drawn():
    first = DataLoader(X, batch_size=4, shuffle=True)
    expected = [batch.x for batch in first]
    second = DataLoader(X, batch_size=4, shuffle=True)
    second.restore(first.state() | {"epoch": 0, "pass": 0})
    for batch, x in zip(second, expected, strict=True):
        np.testing.assert_array_equal(batch.x, x)


def test_what_can_be_read_once_cannot_be_positioned():
    loader = DataLoader(stream(), batch_size=None)
    next(iter(loader))
    loader.restore(loader.state())
    with pytest.raises(ValueError, match=r"cannot go to another position.*a function that returns a new one"):
        loader.restore({"epoch": 0, "batch": 3, "pass": 0, "taken": 3})


def test_a_state_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expects a position with the numbers epoch, batch, pass, taken"):
        make("arrays").restore({"epoch": 1})


# Transforms


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_transform_has_random_numbers_of_its_own_in_each_batch(ahead):
    loader = DataLoader(np.zeros((6, 1)), batch_size=2, transform=jitter, seed=9, prefetch=ahead)
    first, second = ([batch.x[:, 0].tolist() for batch in loader] for _ in range(2))
    drawn = [
        nn.random.Stream(9, "transform", step=step).uniform((2, 1), dtype="float64")[:, 0].tolist()
        for step in (0, 1, 2, (1 << 32), (1 << 32) + 1, (1 << 32) + 2)
    ]
    assert first + second == drawn


def test_a_transform_may_return_a_tuple():
    loader = DataLoader(X, Y, batch_size=4, transform=lambda batch, random: (batch.x * 2, batch.y))
    batch = next(iter(loader))
    assert isinstance(batch, Batch)
    np.testing.assert_array_equal(batch.x, 2 * X[:4])


# Balance


@given(
    labels=st.lists(st.integers(-2, 3), min_size=1, max_size=40).map(np.array),
    seed=st.integers(0, 2**128 - 1),
    epoch=st.integers(0, 3),
)
@settings(deadline=None, max_examples=60)
def test_balanced_epochs_show_all_classes_equally_often_and_no_row_twice_oftener(labels, seed, epoch):
    rows = balanced_order(seed, epoch, labels)
    assert len(rows) == len(labels)
    classes, counts = np.unique(labels[rows], return_counts=True)
    assert counts.max() - counts.min() <= 1 or len(labels) < len(np.unique(labels))
    for label in classes:
        of_class = np.flatnonzero(labels == label)
        times = np.array([(rows == row).sum() for row in of_class])
        assert times.max() - times.min() <= 1


def test_balanced_epochs_differ():
    labels = np.array([0] * 30 + [1] * 3)
    assert balanced_order(0, 0, labels).tolist() != balanced_order(0, 1, labels).tolist()
    assert (labels[balanced_order(0, 0, labels)] == 1).sum() in (16, 17)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, Y[:5]), {}, ValueError, "expects y with one row for each row of x, got 5 rows of y for 11 of x"),
        ((X[:0],), {}, ValueError, r"at least one sample, got x of shape \(0, 2\)"),
        ((X, np.array(["a"] * 11)), {}, TypeError, "Encode text and categories as numbers"),
        ((X,), {"batch_size": 0}, ValueError, "batch_size to be at least 1, got 0"),
        (
            (X,),
            {"batch_size": 12, "drop_last": True},
            ValueError,
            "drops all 11 samples.*batch_size=12. Make",
        ),
        ((X,), {"batch_size": None}, TypeError, "expects a batch_size for arrays"),
        ((X,), {"shuffle": 1}, TypeError, "expects shuffle to be True or False, got 1"),
        ((X,), {"seed": -1}, ValueError, "A seed lies between"),
        ((X,), {"prefetch": -1}, ValueError, "prefetch to be at least 1, got -1"),
        ((X,), {"transform": 3}, TypeError, "expects transform to be a function, got int"),
        ((X,), {"balanced": True}, TypeError, "balances classes by y: give it"),
        ((X, Y / 2), {"balanced": True}, ValueError, "whole-number labels, got fractions in y"),
        ((stream, Y), {}, TypeError, "takes targets and weights from the stream"),
        ((stream,), {"shuffle": True}, TypeError, "can shuffle and balance arrays.*not a stream"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(*arguments, **options)


def test_a_half_or_a_stream_of_which_all_would_be_dropped_is_refused():
    message = "at least one batch, but drop_last=True drops all {} samples, fewer than batch_size=8. Make"
    first, last = DataLoader(X, batch_size=8, drop_last=True).split(0.5)
    with pytest.raises(ValueError, match=message.format(5)):
        list(first)
    assert [len(batch.x) for batch in last.in_order()] == [6]  # measured, none is dropped
    for prefetch in (0, 2):
        loader = DataLoader(lambda: iter(X), batch_size=8, drop_last=True, prefetch=prefetch)
        assert len(list(loader)) == 1
        with pytest.raises(ValueError, match=message.format(5)):
            list(DataLoader(lambda: iter(X[:5]), batch_size=8, drop_last=True, prefetch=prefetch))


@pytest.mark.parametrize("ahead", [0, 2])
def test_batches_that_are_taken_for_samples_give_a_warning_with_the_cure(ahead):
    def batches():
        return ((np.zeros((4, 2)), np.zeros(4), np.ones(4)) for _ in range(3))

    message = (
        r"x of shape \(4, 2\) with y of shape \(4,\), for one sample each.*Say batch_size=None if they are"
    )
    for options in ({}, {"batch_size": 4}):
        loader = DataLoader(batches, prefetch=ahead, **options)
        with pytest.warns(UserWarning, match=message):
            list(loader)
        list(loader)  # once
    list(DataLoader(batches, batch_size=None, prefetch=ahead))
    list(DataLoader(batches, batch_size=32, prefetch=ahead))  # said: sequences with a target for each step


def test_samples_do_not_look_like_batches():
    ids = ((np.arange(4), np.arange(4)) for _ in range(3))  # windows of a text
    images = ((np.zeros((4, 4, 1)), 1) for _ in range(3))
    single = ((np.zeros((1, 4)), np.zeros(1)) for _ in range(3))
    other = ((np.zeros((4, 2)), np.zeros(2)) for _ in range(3))
    for samples in (ids, images, single, other, (np.zeros((4, 2)) for _ in range(3))):
        assert len(list(DataLoader(samples))) == 1


def test_a_function_that_gives_no_iterator_is_refused():
    with pytest.raises(TypeError, match="a function that returns an iterator, got one that returns int"):
        list(DataLoader(lambda: 3, batch_size=None))


def test_a_stream_does_not_know_its_length():
    with pytest.raises(TypeError, match="does not know how many batches.*Give steps_per_epoch"):
        len(DataLoader(stream, batch_size=None))


def test_items_that_are_no_batches_are_refused():
    with pytest.raises(
        ValueError, match=r"A batch is x, \(x, y\) or \(x, y, sample_weight\), got a tuple of 4"
    ):
        list(DataLoader([(X, X, X, X)].__iter__, batch_size=None))


def test_a_loop_inside_a_loop_over_the_same_loader_is_refused():
    loader = DataLoader(np.arange(10.0)[:, None], batch_size=2)
    with pytest.raises(RuntimeError, match="Another loop over the same loader began before this one ended"):
        [list(loader) for _ in loader]
