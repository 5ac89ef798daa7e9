"""Windows over texts and series, and padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbackend.data import Alphabet, pad_sequences, sequence_windows, text_windows


@given(st.text(min_size=1))
def test_an_alphabet_reads_what_it_wrote(text):
    alphabet = Alphabet(text)
    numbers = alphabet.encode(text)
    assert numbers.dtype == np.int64
    assert alphabet.decode(numbers) == text
    assert set(numbers.tolist()) == set(range(len(alphabet)))


def test_an_alphabet_reads_arrays_of_any_library(backend):
    assert Alphabet("abc").decode(backend.from_host([2, 0, 1])) == "cab"


def test_a_character_that_is_missing_is_named():
    with pytest.raises(ValueError, match="has no 'z'"):
        Alphabet("abc").encode("az")


@given(count=st.integers(1, 30), length=st.integers(1, 8), stride=st.integers(1, 5))
@settings(deadline=None)
def test_text_windows_are_followed_by_their_targets(count, length, stride):
    ids = np.arange(count) * 3
    if count <= length:
        with pytest.raises(ValueError, match=f"at least {length + 1} rows for a window, got {count}"):
            text_windows(ids, length)
        return
    x, y = text_windows(ids, length, stride=stride)
    starts = range(0, count - length, stride)
    np.testing.assert_array_equal(x, [ids[i : i + length] for i in starts])
    np.testing.assert_array_equal(y, [ids[i + 1 : i + length + 1] for i in starts])
    following = text_windows(ids, length, stride=stride, target="next")
    np.testing.assert_array_equal(following[0], x)
    np.testing.assert_array_equal(following[1], [ids[i + length] for i in starts])


def by_definition(data, targets, length, stride, rate):
    """What Keras's timeseries_dataset_from_array is documented to give."""
    starts = [i for i in range(0, len(data), stride) if i + (length - 1) * rate < len(data)]
    return [[data[i + j * rate] for j in range(length)] for i in starts], [targets[i] for i in starts]


@given(count=st.integers(1, 25), length=st.integers(1, 5), stride=st.integers(1, 4), rate=st.integers(1, 4))
@settings(deadline=None)
def test_sequence_windows_are_those_of_the_definition(count, length, stride, rate):
    data = np.arange(count * 2.0).reshape(count, 2)
    targets = np.arange(count) * 10
    x, y = by_definition(data, targets, length, stride, rate)
    if not x:
        with pytest.raises(ValueError, match="rows for a window"):
            sequence_windows(data, length=length, stride=stride, rate=rate)
        return
    got = sequence_windows(data, targets, length=length, stride=stride, rate=rate)
    np.testing.assert_array_equal(got[0], x)
    np.testing.assert_array_equal(got[1], y)
    np.testing.assert_array_equal(sequence_windows(data, length=length, stride=stride, rate=rate), x)


@given(length=st.integers(1, 5), stride=st.integers(1, 4), rate=st.integers(1, 3), ahead=st.integers(1, 4))
@settings(deadline=None)
def test_targets_ahead_lie_after_the_last_moment(length, stride, rate, ahead):
    data = np.arange(30)
    x, y = sequence_windows(data, data, length=length, stride=stride, rate=rate, ahead=ahead)
    np.testing.assert_array_equal(y, x[:, -1] + ahead)
    assert 30 - stride <= y[-1] < 30


def test_windows_may_come_from_any_backend(backend):
    x = sequence_windows(backend.from_host(np.arange(4.0)), length=3)
    np.testing.assert_array_equal(x, [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: text_windows("hello", 2), TypeError, r"Alphabet\(text\)\.encode"),
        (lambda: text_windows([1, 2, 3], 2, target="last"), ValueError, "'sequence' or 'next', got 'last'"),
        (lambda: sequence_windows([1.0], length=0), ValueError, "length to be at least 1"),
        (lambda: sequence_windows([1.0, 2.0], length=1, ahead=1), TypeError, "takes ahead with targets"),
        (lambda: sequence_windows([1.0, 2.0], [1.0], length=1), ValueError, "for each of 2 moments, got 1"),
        (lambda: sequence_windows([1.0] * 3, [1.0] * 3, length=2, ahead=2), ValueError, "at least 2 rows"),
    ],
)
def test_bad_windows_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


SEQUENCES = st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=5)
WORDS = st.sampled_from(["pre", "post"])


@given(sequences=SEQUENCES, length=st.none() | st.integers(1, 8), padding=WORDS, truncating=WORDS)
@settings(deadline=None)
def test_padded_rows_hold_their_sequences_where_the_mask_is_true(sequences, length, padding, truncating):
    padded, mask = pad_sequences(sequences, length, value=-1, padding=padding, truncating=truncating)
    width = length or max(map(len, sequences))
    assert padded.shape == mask.shape == (len(sequences), width)
    assert padded.dtype == (np.int64 if any(sequences) else padded.dtype)
    for row, valid, sequence in zip(padded, mask, sequences, strict=True):
        kept = sequence[max(0, len(sequence) - width) :] if truncating == "pre" else sequence[:width]
        assert row[valid].tolist() == kept
        assert (row[~valid] == -1).all()
        gap = width - len(kept)
        assert valid.tolist() == (
            [False] * gap + [True] * len(kept) if padding == "pre" else [True] * len(kept) + [False] * gap
        )


def test_padded_rows_are_those_of_keras_s_documentation():
    """The examples at keras.io of pad_sequences."""
    sequence = [[1], [2, 3], [4, 5, 6]]
    for options, expected in (
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]]),
        ({"value": -1}, [[-1, -1, 1], [-1, 2, 3], [4, 5, 6]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6]]),
    ):
        assert pad_sequences(sequence, **options)[0].tolist() == expected
    assert pad_sequences(sequence, 2)[0].tolist() == [[0, 1], [2, 3], [5, 6]]


def test_fractions_are_kept_unless_the_dtype_is_said():
    for sequences, value in (([[1.5], [2, 3]], 0.0), ([[1], [2, 3]], 0.5), ([[1], [2, 3]], np.nan)):
        padded, _ = pad_sequences(sequences, value=value)
        assert padded.dtype == np.float32
        np.testing.assert_array_equal(padded[0], [value, sequences[0][0]])
    assert pad_sequences([[1.5], [2, 3]], dtype="int32")[0].tolist() == [[0, 1], [2, 3]]


def test_steps_may_have_a_shape_and_arrays_any_library(backend):
    sequences = [backend.from_host(np.ones((2, 3)), "float64"), np.zeros((0, 3)), np.full((1, 3), 2.0)]
    padded, mask = pad_sequences(sequences, padding="post", dtype="float64")
    np.testing.assert_array_equal(padded[:, :, 0], [[1.0, 1.0], [0.0, 0.0], [2.0, 0.0]])
    np.testing.assert_array_equal(mask, [[True, True], [False, False], [True, False]])
    assert padded.dtype == np.float64


@pytest.mark.parametrize(
    ("sequences", "options", "error", "message"),
    [
        ([], {}, ValueError, "at least one sequence"),
        ([[1], 2], {}, ValueError, "got a single number as sequence 1"),
        ([[[1]], [[1, 2]]], {}, ValueError, r"one shape, got \(1,\) in sequence 0 and \(2,\) in sequence 1"),
        ([[1]], {"padding": "left"}, ValueError, "expects padding to be 'pre' or 'post', got 'left'"),
        ([["a"]], {}, TypeError, "sequence 0 must hold numbers"),
        ([[1]], {"maxlen": 0}, ValueError, "maxlen to be at least 1"),
    ],
)
def test_bad_sequences_are_refused(sequences, options, error, message):
    with pytest.raises(error, match=message):
        pad_sequences(sequences, **options)
