"""Splits: every row in one part, classes spread evenly, the same on every backend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend.data import k_fold, stratified_k_fold, train_test_split

LABELS = st.lists(st.integers(0, 3), min_size=2, max_size=60).map(np.array)
SEEDS = st.integers(0, 2**128 - 1)


@given(count=st.integers(2, 60), share=st.floats(0.01, 0.99), seed=SEEDS, shuffle=st.booleans())
@settings(deadline=None)
def test_a_split_parts_the_rows(count, share, seed, shuffle):
    tested = int(np.ceil(share * count))
    if tested == count:
        with pytest.raises(ValueError, match="leaves one part empty"):
            train_test_split(np.arange(count), test_size=share)
        return
    x = np.arange(count) * 10
    x_train, x_test, train, test = train_test_split(
        x, range(count), test_size=share, seed=seed, shuffle=shuffle
    )
    assert len(test) == tested
    assert sorted([*train, *test]) == list(range(count))
    np.testing.assert_array_equal(x_train, x[train])
    np.testing.assert_array_equal(x_test, x[test])
    if not shuffle:
        assert [*train, *test] == list(range(count))


@given(labels=LABELS, seed=SEEDS, data=st.data())
@settings(deadline=None)
def test_a_stratified_split_gives_each_class_its_share(labels, seed, data):
    tested = data.draw(st.integers(1, len(labels) - 1))
    rows = np.arange(len(labels))
    train, test = train_test_split(rows, test_size=tested, seed=seed, stratify=labels)
    assert len(test) == tested
    assert sorted([*train, *test]) == rows.tolist()
    for label in np.unique(labels):
        exact = (labels == label).sum() * tested / len(labels)
        assert abs((labels[test] == label).sum() - exact) < 1


def test_splits_are_the_same_everywhere_and_stay_in_the_arrays_library(backend):
    x = np.arange(12.0).reshape(6, 2)
    expected = train_test_split(x, test_size=2, seed=7)
    got = train_test_split(backend.from_host(x), test_size=2, seed=7)
    for a, b in zip(got, expected, strict=True):
        assert backend.owns(a)
        np.testing.assert_array_equal(nn.to_numpy(a), b)
    assert [row[0] for row in expected[1].tolist()] == [4.0, 6.0]  # pinned: a change breaks saved seeds


def test_rows_of_files_are_split(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(8))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for a, b in zip(train_test_split(mapped), train_test_split(np.arange(8)), strict=True):
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, b)


@given(count=st.integers(2, 60), folds=st.integers(2, 10), seed=SEEDS, shuffle=st.booleans())
@settings(deadline=None)
def test_folds_part_the_rows(count, folds, seed, shuffle):
    if folds > count:
        with pytest.raises(ValueError, match=f"as there are rows, {count}, got {folds}"):
            k_fold(count, folds)
        return
    parts = list(k_fold(count, folds, seed=seed, shuffle=shuffle))
    check_parts(parts, count, folds)
    if not shuffle:
        assert np.concatenate([test for _, test in parts]).tolist() == list(range(count))


@given(labels=LABELS, folds=st.integers(2, 6), seed=SEEDS, shuffle=st.booleans())
@settings(deadline=None)
def test_stratified_folds_spread_every_class(labels, folds, seed, shuffle):
    most = np.bincount(labels).max()
    if folds > len(labels) or most < folds:
        with pytest.raises(ValueError, match="stratified_k_fold expects"):
            stratified_k_fold(labels, folds)
        return
    parts = list(stratified_k_fold(labels, folds, seed=seed, shuffle=shuffle))
    check_parts(parts, len(labels), folds)
    for label in np.unique(labels):
        counts = [(labels[test] == label).sum() for _, test in parts]
        assert max(counts) - min(counts) <= 1


def check_parts(parts, count, folds):
    assert len(parts) == folds
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(count))
    sizes = [len(test) for _, test in parts]
    assert max(sizes) - min(sizes) <= 1
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(count))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()


def test_classes_may_have_names():
    words = ["a", "b", "a", "b"]
    assert [sorted(words[i] for i in test) for _, test in stratified_k_fold(words, 2)] == [["a", "b"]] * 2
    _, test = train_test_split(np.arange(4), test_size=2, stratify=words)
    assert sorted(words[i] for i in test) == ["a", "b"]


def test_another_seed_draws_other_rows():
    assert (
        train_test_split(np.arange(50), seed=0)[1].tolist()
        != train_test_split(np.arange(50), seed=1)[1].tolist()
    )
    folds = [[test.tolist() for _, test in k_fold(50, seed=seed)] for seed in (0, 1)]
    assert folds[0] != folds[1]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {}, TypeError, "expects at least one array"),
        (([1, 2], [1]), {}, ValueError, "array 1 with one row for each row of array 0, got 1 rows"),
        (([1, 2],), {"test_size": 2}, ValueError, "leaves one part empty"),
        (([1, 2],), {"test_size": 1.0}, ValueError, "leaves one part empty"),
        (([1, 2],), {"test_size": True}, TypeError, "a share or a number of rows, got True"),
        (([1, 2],), {"stratify": [0, 1], "shuffle": False}, TypeError, "stratify needs shuffle=True"),
        (
            ([1, 2],),
            {"stratify": [0]},
            ValueError,
            r"one label for each of 2 rows, got labels of shape \(1,\)",
        ),
    ],
)
def test_bad_splits_are_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        train_test_split(*arguments, **options)


def test_bad_folds_are_refused():
    with pytest.raises(ValueError, match="from 2 folds to as many as there are rows, 9, got 1"):
        k_fold(9, 1)
    with pytest.raises(ValueError, match="the largest has 2. Take fewer folds"):
        stratified_k_fold([0, 0, 1, 1, 2], 3)
    with pytest.raises(ValueError, match=r"one label for each row, got labels of shape \(2, 1\)"):
        stratified_k_fold([[0], [1]], 2)
