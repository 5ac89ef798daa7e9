"""Toy problems: what defines them, and pinned numbers."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import datasets


def test_xor_is_one_where_the_coordinates_differ():
    x, y = datasets.xor(3)
    assert (x.shape, x.dtype, y.dtype) == ((12, 2), np.float32, np.int64)
    np.testing.assert_array_equal(y, x[:, 0] != x[:, 1])


def test_a_linear_model_learns_nothing_of_xor(backend):
    x, y = datasets.xor()
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(1.0), "binary_crossentropy")
    model.fit(x, y, batch_size=4, epochs=200, verbose=0)
    assert model.evaluate(x, y)["loss"] == pytest.approx(np.log(2.0), abs=1e-4)


@pytest.mark.parametrize("samples", [100, 101])
def test_moons_without_noise_are_scikit_learns(samples):
    oracle = pytest.importorskip("sklearn.datasets")
    x, y = datasets.moons(samples)
    expected_x, expected_y = oracle.make_moons(samples, shuffle=False)
    np.testing.assert_allclose(x, expected_x, atol=1e-7)
    np.testing.assert_array_equal(y, expected_y)


def test_noise_has_its_deviation_and_comes_from_the_seed():
    still, noisy = datasets.moons(2000)[0], datasets.moons(2000, noise=0.1, seed=4)[0]
    assert (noisy - still).std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(noisy, datasets.moons(2000, noise=0.1, seed=4)[0])
    assert not np.array_equal(noisy, datasets.moons(2000, noise=0.1, seed=5)[0])


def test_adding_marks_one_number_in_each_half():
    x, y = datasets.adding(500, 11, seed=1)
    values, marks = x[..., 0], x[..., 1]
    np.testing.assert_array_equal(marks[:, :5].sum(axis=1), np.ones(500))
    np.testing.assert_array_equal(marks[:, 5:].sum(axis=1), np.ones(500))
    np.testing.assert_allclose(y[:, 0], (values * marks).sum(axis=1), rtol=1e-6)
    assert ((values >= 0.0) & (values < 1.0)).all()
    assert marks.any(axis=0).all()  # every place is marked sometimes
    assert ((y - 1.0) ** 2).mean() == pytest.approx(1 / 6, rel=0.15)


def test_copying_asks_for_the_symbols_after_the_delay():
    x, y = datasets.copying(50, 7, length=4, symbols=3, seed=2)
    assert x.shape == y.shape == (50, 15)
    np.testing.assert_array_equal(y[:, 11:], x[:, :4])
    assert set(np.unique(x[:, :4])) == {1, 2, 3}
    assert (y[:, :11] == 0).all()
    np.testing.assert_array_equal((x == 4).sum(axis=1), np.ones(50))
    assert (x[:, 10] == 4).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.moons(0), "samples to be at least 1"),
        (lambda: datasets.xor(noise=-1.0), "noise of zero or more, got -1.0"),
        (lambda: datasets.adding(1, 1), "a length of at least 2, got 1"),
        (lambda: datasets.copying(1, 0), "delay to be at least 1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
