"""The error function and its complement, against the C library's in double precision."""

import math

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.backend import namespace

POINTS = np.unique(
    np.concatenate([np.linspace(-6, 26, 3001), np.logspace(-300, 1, 400), -np.logspace(-8, 1, 200)])
)
#: Units in the last place, of the result itself; also of the libraries' own where those are used.
BOUND = 6.0


def errors(name, x):
    found = nn.to_numpy(getattr(fn, name)(x)).astype("float64")
    given = nn.to_numpy(x)
    expected = np.array([getattr(math, name)(float(value)) for value in given])
    spacing = np.spacing(np.abs(expected).astype(given.dtype)).astype("float64")
    return np.abs(found - expected) / spacing


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_the_result_is_right_to_a_few_units_in_its_own_last_place(name, put, dtype):
    points = POINTS[np.abs(POINTS) > 1e-37] if dtype == "float32" else POINTS
    found = errors(name, put(points[points < (9.0 if dtype == "float32" else 26.0)], dtype))
    assert found.max() <= BOUND


def test_ends_signs_and_nan(put):
    x = put([-math.inf, -1e4, -0.0, 0.0, 1e4, math.inf, math.nan])
    np.testing.assert_array_equal(nn.to_numpy(fn.erf(x)), [-1.0, -1.0, 0.0, 0.0, 1.0, 1.0, math.nan])
    np.testing.assert_array_equal(nn.to_numpy(fn.erfc(x)), [2.0, 2.0, 1.0, 1.0, 0.0, 0.0, math.nan])
    assert np.signbit(nn.to_numpy(fn.erf(x))[2])


def test_the_error_function_is_odd_and_grows(put):
    x = np.linspace(0.0, 6.0, 2001)
    up, down = nn.to_numpy(fn.erf(put(x))), nn.to_numpy(fn.erf(put(-x)))
    np.testing.assert_array_equal(up, -down)
    assert (np.diff(up) >= -2e-16).all()


def test_derivatives_are_right_at_the_seams_at_every_order(put):
    x = put([-1.0, 0.0, 1.0])

    def thrice(function):
        for _ in range(3):
            function = (lambda inner: lambda x: nn.grad(lambda y: fn.sum(inner(y)))(x))(function)
        return function

    points = nn.to_numpy(x)
    expected = 2 / math.sqrt(math.pi) * np.exp(-(points**2)) * (4 * points**2 - 2)
    np.testing.assert_allclose(nn.to_numpy(thrice(fn.erf)(x)), expected, rtol=1e-13)
    np.testing.assert_allclose(nn.to_numpy(thrice(fn.erfc)(x)), -expected, rtol=1e-13)


def test_a_library_s_own_is_used_on_its_arrays(put, backend, monkeypatch):
    monkeypatch.setattr(backend, "native_functions", {"erf": lambda x: namespace(x).full_like(x, 7.0)})
    np.testing.assert_array_equal(nn.to_numpy(fn.erf(put([1.0]))), [7.0])
    assert float(nn.to_numpy(fn.erfc(put([0.0])))[0]) == 1.0
