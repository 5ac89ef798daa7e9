"""Arrays as data sets."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.data import as_dataset, move, order, split, weigh_classes

X, Y, WEIGHT = np.arange(14.0).reshape(7, 2), np.arange(7) % 3, np.linspace(0.0, 1.0, 7)


def make(backend, x=X, y=Y, weight=None, dtype="float32", input_dtype="float32"):
    return as_dataset(x, y, weight, backend=backend, input_dtype=input_dtype, dtype=dtype, owner="test")


def test_batches_hold_all_samples_in_order_and_the_last_what_is_left(backend):
    batches = list(make(backend, weight=WEIGHT).batches(3))
    assert [batch.x.shape[0] for batch in batches] == [3, 3, 1]
    for part, expected in enumerate((X, Y, WEIGHT)):
        got = np.concatenate([nn.to_numpy(batch[part]) for batch in batches])
        np.testing.assert_array_equal(got, expected.astype(got.dtype))


def test_batches_follow_the_rows_given(backend):
    rows = order(0, 0, 7)
    got = np.concatenate([nn.to_numpy(batch.x) for batch in make(backend).batches(4, rows)])
    np.testing.assert_array_equal(got, X[rows])


def test_what_is_not_given_is_none(backend):
    (batch,) = make(backend, y=None).batches(7)
    assert batch.y is None
    assert batch.weight is None


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (Y.astype("uint8"), "int64"),
        (Y.astype("uint32"), "int64"),
        (Y > 0, "int64"),
        (Y.astype("float32"), "float64"),
        (Y.tolist(), "int64"),
    ],
)
def test_targets_are_int64_or_the_models_dtype(backend, y, expected):
    data = make(backend, y=y, dtype="float64", input_dtype=None)
    assert str(nn.to_numpy(data.y).dtype) == expected


def test_inputs_are_cast_or_left_as_they_are(backend):
    whole = np.arange(6, dtype="int32").reshape(3, 2)
    assert str(nn.to_numpy(make(backend, whole, None).x).dtype) == "float32"
    assert str(nn.to_numpy(make(backend, whole, None, input_dtype=None).x).dtype) == "int32"


@pytest.mark.parametrize("kind", [np.ma.asarray, lambda a: a.astype(a.dtype.newbyteorder(">"))])
def test_arrays_of_other_byte_orders_and_subclasses_are_inputs(backend, kind):
    data = make(backend, kind(X), kind(X))
    assert data.backend.owns(data.x)
    assert type(nn.to_numpy(data.x)) is np.ndarray
    for got in (data.x, data.y):
        np.testing.assert_array_equal(nn.to_numpy(got), X.astype("float32"))


def test_an_array_of_the_backend_itself_is_not_copied(backend):
    x = backend.from_host(X, "float32")
    assert make(backend, x).x is x


def test_a_split_keeps_the_last_share(backend):
    first, last = split(make(backend, weight=WEIGHT), 0.4, "test")
    assert (len(first), len(last)) == (4, 3)
    np.testing.assert_array_equal(nn.to_numpy(last.y), Y[4:])
    np.testing.assert_array_equal(nn.to_numpy(last.weight), WEIGHT[4:].astype("float32"))


@pytest.mark.parametrize("y", [Y, Y[:, None], np.eye(3)[Y]])
def test_weights_of_classes_multiply_those_of_samples(backend, y):
    data = weigh_classes(
        make(backend, y=y, weight=WEIGHT, dtype="float64"), {1: 2.0, 2: 0.5}, "float64", "test"
    )
    np.testing.assert_allclose(nn.to_numpy(data.weight), WEIGHT * np.array([1.0, 2.0, 0.5])[Y], rtol=1e-15)


def test_weights_of_classes_need_one_label_for_each_sample(backend):
    data = make(backend, y=np.zeros((7, 2, 3)))
    with pytest.raises(ValueError, match=r"one label for each sample, got y of shape \(7, 2, 3\)"):
        weigh_classes(data, {0: 1.0}, "float32", "test")


@pytest.mark.parametrize(("count", "share", "first"), [(21, 0.25, 15), (10, 0.05, 9), (3, 0.5, 1)])
def test_a_split_is_made_at_a_whole_sample_below_as_in_keras(backend, count, share, first):
    data = make(backend, np.ones((count, 2)), np.arange(count))
    assert [len(part) for part in split(data, share, "fit")] == [first, count - first]


def test_an_array_on_another_device_of_its_library_is_moved(backend):
    if backend.name not in ("numpy", "strict"):
        pytest.skip("array-api-strict has several devices everywhere: two sessions are enough")
    pytest.importorskip("array_api_strict")
    here, there = nn.get_backend("strict"), nn.get_backend("strict", device="device2")
    array = there.from_host(X, "float32")
    assert move(array, there, "float32") is array
    moved = move(array, here, "float32")
    assert moved.device == here.from_host(0.0).device
    np.testing.assert_array_equal(nn.to_numpy(moved), nn.to_numpy(array))


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("balanced", TypeError, r"to be a dict of label and weight.*got 'balanced'"),
        ([1.0, 2.0], TypeError, "to be a dict of label and weight"),
        ({"a": 9.0}, TypeError, "to be a dict of label and weight"),
        ({0: "heavy"}, TypeError, "to be a dict of label and weight"),
        ({0: 1.0, 5: 2.0}, ValueError, "for the class 5, which no target is of; they are from 0 to 2"),
    ],
)
def test_weights_of_no_class_are_refused(backend, class_weight, error, message):
    for y in (Y, np.eye(3)[Y]):
        with pytest.raises(error, match=message):
            weigh_classes(make(backend, y=y), class_weight, "float32", "fit", complete=True)


def test_a_batch_may_lack_a_class_that_has_a_weight(backend):
    data = weigh_classes(make(backend), {1: 2.0, 5: 2.0}, "float32", "train_on_batch")
    np.testing.assert_array_equal(nn.to_numpy(data.weight), 1.0 + (Y == 1))


def test_weights_of_classes_need_whole_number_labels(backend):
    with pytest.raises(ValueError, match="got fractions in y. Use sample_weight"):
        weigh_classes(make(backend, y=Y / 2), {0: 1.0}, "float32", "fit")


def test_masked_entries_are_refused(backend):
    with pytest.raises(TypeError, match=r"test: x is a masked array with masked entries.*x\.filled"):
        make(backend, np.ma.masked_less(X, 3.0))


class Table:
    """What NumPy makes an array of objects of, as of a table whose columns have several dtypes."""

    def __init__(self, rows):
        self.rows = rows

    def __array__(self, dtype=None, copy=None):
        return np.array(self.rows, dtype=object)


@pytest.mark.parametrize("rows", [[[1.5, True], [2.0, False]], [[1, 0.5], [np.int8(2), np.float32(1.0)]]])
def test_tables_of_mixed_numbers_are_inputs(backend, rows):
    np.testing.assert_array_equal(nn.to_numpy(make(backend, Table(rows), None).x), np.array(rows, "float32"))


def test_frames_of_mixed_numbers_are_inputs(backend):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.5, 2.5], "b": [True, False], "c": pandas.array([3, 4], dtype="Int64")})
    np.testing.assert_array_equal(
        nn.to_numpy(make(backend, frame, None).x), [[1.5, 1.0, 3.0], [2.5, 0.0, 4.0]]
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, "x must be an array, a list of rows or a table, got NoneType"),
        ({1.0, 2.0}, "a list of rows or a table, got set"),
        ({"a": [1.0]}, "a list of rows or a table, got dict"),
        ((row for row in X), "a list of rows or a table, got generator"),
        (X * 1j, "Pass real and imaginary parts as two columns"),
        (Table([[1.5, "2.5"]]), "Encode text and categories as numbers"),
        (Table([[1.5, None]]), "and fill missing values"),
    ],
)
def test_what_holds_no_numbers_is_refused_with_the_cure(backend, x, message):
    with pytest.raises(TypeError, match=message):
        make(backend, x, None)


def test_a_single_number_is_no_targets(backend):
    with pytest.raises(ValueError, match="expects y with one row for each row of x, got a single number"):
        make(backend, X, 1.0)
