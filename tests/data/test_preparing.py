"""One-hot rows, scalers and pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend.data import MinMaxScaler, Standardizer, one_hot, preparing, scale_images

X = np.random.default_rng(0).normal(3.0, 2.0, size=(50, 4))


def test_one_hot_rows_are_of_the_labels_library(backend):
    hot = one_hot(backend.from_host(np.array([[2, 0], [1, 1]])), 4, dtype="float64")
    assert backend.owns(hot)
    np.testing.assert_array_equal(nn.to_numpy(hot), np.eye(4)[[[2, 0], [1, 1]]])
    assert nn.to_numpy(hot).dtype == np.float64


def test_one_hot_of_no_labels_needs_the_number_of_classes():
    assert one_hot(np.zeros(0, int), 3).shape == (0, 3)
    with pytest.raises(ValueError, match="expects classes="):
        one_hot(np.zeros(0, int))


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, -1], None, "expects labels from 0 on, got -1. Number.*ignore_class= or a sample_weight of 0"),
        ([0, -1], 3, "expects labels from 0 on, got -1"),
        ([0, 3], 3, "expects labels from 0 to 2, for classes=3, got 3. Say classes=4"),
        ([0.5, 1.0], 3, "expects whole-number labels, got fractions or NaN in float64"),
        ([0.0, np.nan], None, "expects whole-number labels, got fractions or NaN in float64"),
        ([0], 0, "expects classes to be at least 1, got 0"),
    ],
)
def test_labels_that_are_none_are_refused_with_the_cure(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        one_hot(labels, classes)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Standardizer(), "StandardScaler"), (MinMaxScaler(-1.0, 2.0), "MinMaxScaler")]
)
def test_scalers_agree_with_scikit_learn(backend, ours, theirs):
    sklearn = pytest.importorskip("sklearn.preprocessing")
    options = {"feature_range": (-1.0, 2.0)} if theirs == "MinMaxScaler" else {}
    oracle = getattr(sklearn, theirs)(**options).fit(X)
    scaled = ours.fit(X).transform(backend.from_host(X, "float64"))
    assert backend.owns(scaled)
    np.testing.assert_allclose(nn.to_numpy(scaled), oracle.transform(X), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(nn.to_numpy(ours.inverse_transform(scaled)), X, rtol=1e-12)


@given(
    rows=st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=30),
    block=st.integers(1, 7),
)
@settings(deadline=None)
def test_numbers_do_not_depend_on_the_blocks(rows, block):
    x = np.array(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "BLOCK", block)
        standard, scaler = Standardizer().fit(x), MinMaxScaler().fit(x)
    np.testing.assert_allclose(standard.shift, x.mean(axis=0), rtol=1e-10, atol=1e-10)
    spread = x.std(axis=0)
    np.testing.assert_allclose(standard.scale[spread > 1e-6], spread[spread > 1e-6], rtol=1e-7)
    np.testing.assert_array_equal(scaler.shift, x.min(axis=0))


def test_a_large_mean_does_not_hide_a_small_spread():
    x = 1e8 + np.arange(10000.0)[:, None] % 2
    np.testing.assert_allclose(Standardizer().fit(x).scale, [0.5], rtol=1e-9)


def test_constant_columns_are_moved_only():
    np.testing.assert_array_equal(Standardizer().fit_transform([[3.0], [3.0]]), [[0.0], [0.0]])
    np.testing.assert_array_equal(MinMaxScaler(0.5, 1.0).fit_transform([[3.0], [3.0]]), [[0.5], [0.5]])


def test_what_is_learnt_is_of_the_data_fitted_on():
    scaler = MinMaxScaler().fit([[0.0], [2.0]])
    np.testing.assert_array_equal(scaler.transform([[4.0], [-1.0]]), [[2.0], [-0.5]])


@pytest.mark.parametrize(
    ("given", "expected"), [("float32", "float32"), ("float64", "float64"), ("uint8", "float32")]
)
def test_scalers_keep_floating_dtypes(given, expected):
    assert Standardizer().fit([[0.0], [2.0]]).transform(np.ones((3, 1), given)).dtype == expected


def test_scalers_read_files_in_blocks(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(preparing, "BLOCK", 16)
    np.testing.assert_allclose(Standardizer().fit(mapped).shift, X.mean(axis=0), rtol=1e-12)


def test_scalers_refuse_what_they_cannot_use():
    with pytest.raises(RuntimeError, match=r"Standardizer has not seen data yet: call fit\(x\)"):
        Standardizer().transform(X)
    with pytest.raises(ValueError, match=r"fitted on data of shape \(n, 4\), got \(50, 3\)"):
        Standardizer().fit(X).transform(X[:, :3])
    with pytest.raises(ValueError, match="expects finite numbers"):
        MinMaxScaler().fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="expects low < high, got 1.0 and 1.0"):
        MinMaxScaler(1.0, 1.0)
    with pytest.raises(ValueError, match="at least one sample"):
        Standardizer().fit(X[:0])


def test_pixels_are_scaled(backend):
    pixels = backend.from_host(np.arange(256, dtype="uint8").reshape(1, 16, 16))
    unit = scale_images(pixels, dtype="float64")
    assert backend.owns(unit)
    np.testing.assert_allclose(
        nn.to_numpy(unit)[0].ravel(), np.arange(256) / 255.0, rtol=1e-15
    )  # XLA's division
    both = nn.to_numpy(scale_images(pixels, -1.0, 1.0)).ravel()
    assert both.dtype == np.float32
    np.testing.assert_allclose(both, np.linspace(-1.0, 1.0, 256), atol=1e-6)
    assert (both[0], both[-1]) == (-1.0, 1.0)


def test_scaled_images_are_not_scaled_again():
    with pytest.raises(TypeError, match="expects pixels of whole numbers from 0 to 255, got dtype float32"):
        scale_images(scale_images(np.ones((1, 2, 2), "uint8")))
