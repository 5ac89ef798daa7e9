"""Dropout with a given mask."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.random import Stream


def test_what_is_kept_is_scaled_up_and_the_rest_is_zero(put, dtype, backend):
    x, mask = put([1.0, 2.0, float("nan")], dtype), put([True, True, False])
    y = fn.dropout(x, mask, rate=0.75)
    np.testing.assert_array_equal(nn.to_numpy(y), [4.0, 8.0, 0.0])
    assert y.dtype == getattr(backend.xp, dtype)


def test_the_gradient_goes_through_what_was_kept(put):
    mask = put([[True], [False]])
    gradient = nn.grad(lambda x: fn.sum(fn.dropout(x, mask, rate=0.5)))(put(np.ones((2, 3))))
    np.testing.assert_array_equal(nn.to_numpy(gradient), [[2.0] * 3, [0.0] * 3])


def test_the_mean_stays(backend):
    x = backend.from_host(np.ones(10_000))
    y = fn.dropout(x, Stream(0, "dropout/mask", backend=backend).keep((10_000,), 0.3), rate=0.3)
    assert abs(float(np.mean(nn.to_numpy(y))) - 1.0) < 0.02


def test_rate_zero_changes_nothing(put):
    np.testing.assert_array_equal(nn.to_numpy(fn.dropout(put([1.5]), put([True]), rate=0)), [1.5])


@pytest.mark.parametrize("rate", [1, 1.5, -0.1])
def test_impossible_rates_are_refused(rate, put):
    with pytest.raises(ValueError, match=f"0 <= rate < 1, got {rate}"):
        fn.dropout(put([1.0]), put([True]), rate=rate)


def test_a_mask_of_numbers_is_refused(put):
    with pytest.raises(TypeError, match="expects a boolean mask, got"):
        fn.dropout(put([1.0]), put([1.0]), rate=0.5)
