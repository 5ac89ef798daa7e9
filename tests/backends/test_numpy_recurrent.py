"""Long short-term memory on NumPy: the generic rule, by numbers."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend_numpy import recurrent
from nnbackend_numpy.recording import Recording, recordable


def arrays(rng, dtype, n=9, t=6, c=5, units=7, *, bias=True, states=True):
    shapes = [(n, t, c), (c, 4 * units), (units, 4 * units)]
    shapes += [(4 * units,) if bias else None, *[(n, units) if states else None] * 2]
    return [None if shape is None else rng.normal(size=shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"n": 64, "t": 3, "c": 33, "units": 24}, {"t": 1, "c": 1}], ids=str)
def test_lstm_is_that_of_the_generic_rule(bias, states, sizes, dtype, rng):
    given = arrays(rng, dtype, bias=bias, states=states, **sizes)
    assert recurrent.lstm.takes(*given)
    before = [None if array is None else array.copy() for array in given]
    values, pull = recurrent.lstm(*given)
    wide = [None if array is None else array.astype("float64") for array in given]
    expected, exact = fn.lstm.function(*wide)
    needs = (*(array is not None for array in given), False, False)
    dy = tuple(rng.normal(size=value.shape).astype(dtype) for value in values)
    found = (*values, *pull(dy, needs))
    wanted = (*expected, *exact(tuple(part.astype("float64") for part in dy), needs))
    for number, (mine, true) in enumerate(zip(found, wanted, strict=True)):
        assert (mine is None) == (true is None), number
        if true is not None:
            assert mine.dtype == dtype
            assert mine.shape == true.shape
            bound = (3e-6 if dtype == "float32" else 1e-14) * max(1.0, np.abs(true).max())
            np.testing.assert_allclose(mine, true, rtol=0, atol=bound, err_msg=str(number))
    for array, was in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, was)


@pytest.mark.parametrize("place", range(6))
def test_lstm_gives_the_gradients_that_are_needed(place, rng):
    given = arrays(rng, "float64")
    needs = tuple(number == place for number in range(8))
    values, pull = recurrent.lstm(*given)
    _, generic = fn.lstm.function(*given)
    dy = np.zeros_like(values[0]), *(rng.normal(size=value.shape) for value in values[1:])
    for mine, true in zip(pull(dy, needs), generic(dy, needs), strict=True):
        assert (mine is None) == (true is None)
        if true is not None:
            np.testing.assert_allclose(mine, true, rtol=0, atol=1e-12)


def test_what_lstm_returns_stays_as_it_is_when_its_memory_is_lent_again(rng):
    given = arrays(rng, "float64")
    values, pull = recurrent.lstm(*given)
    dy = tuple(np.ones_like(value) for value in values)
    gradients = pull(dy, (True,) * 6 + (False,) * 2)[:6]
    kept = [array.copy() for array in (*values, *gradients)]
    del pull
    for _ in range(2):
        recurrent.lstm(*(array * 0.5 for array in given))[1](dy, (True,) * 6 + (False,) * 2)
    for array, was in zip((*values, *gradients), kept, strict=True):
        np.testing.assert_array_equal(array, was)


def test_second_gradients_through_lstm_are_the_generic_ones(rng, monkeypatch):
    given = arrays(rng, "float64", n=8, t=3, c=2, units=3)

    def second(x):
        def slope(x):
            return nn.grad(lambda x: fn.sum(fn.square(fn.lstm(x, *given[1:])[0])))(x)

        return nn.grad(lambda x: fn.sum(fn.square(slope(x))))(x)

    found = second(given[0])
    monkeypatch.setattr(nn.get_backend("numpy"), "native_rules", {})
    expected = second(given[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("steps", [2, 40])
def test_a_recorded_lstm_is_one_call_however_long_it_is(steps, rng):
    recording = Recording()
    given = [recording.new(array) for array in arrays(rng, "float32", t=steps)]
    recordable(recurrent.lstm)(*given)
    assert [operation.kind for operation in recording.operations] == ["rule"]


def test_masked_sequences_and_few_samples_are_left_to_the_generic_rule(rng):
    given = arrays(rng, "float32")
    mask = np.ones((9, 6), bool)
    assert not recurrent.lstm.takes(*given, mask)
    assert not recurrent.lstm.takes(*arrays(rng, "float32", n=2))
    outputs = fn.lstm(*given, mask)[0]
    np.testing.assert_allclose(outputs, fn.lstm(*given)[0], rtol=0, atol=1e-6)
