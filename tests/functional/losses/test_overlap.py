"""Overlap: worked values, the paper's formula, axes."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def test_false_positives_and_false_negatives_have_their_own_weight(put):
    p, t = put([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]), put([[1, 0, 0, 0], [1, 1, 1, 0]])
    many, few = nn.to_numpy(fn.tversky(p, t, alpha=0.9, beta=0.1))
    assert many == pytest.approx(1 - 1 / (1 + 0.9 * 2), rel=1e-6)  # two false positives
    assert few == pytest.approx(1 - 1 / (1 + 0.1 * 2), rel=1e-6)  # two false negatives


def test_with_halves_it_is_the_dice_loss_of_each_sample(put, rng):
    p, t = rng.uniform(size=(3, 4, 5, 2)), rng.integers(0, 2, (3, 4, 5, 2))
    dice = 1 - 2 * (p * t).sum((1, 2, 3)) / (p.sum((1, 2, 3)) + t.sum((1, 2, 3)))
    np.testing.assert_allclose(nn.to_numpy(fn.tversky(put(p), put(t))), dice, rtol=1e-7)
    dice = 1 - 2 * (p * t).sum((1, 2)) / (p.sum((1, 2)) + t.sum((1, 2)))
    np.testing.assert_allclose(nn.to_numpy(fn.tversky(put(p), put(t), axis=(1, 2))), dice, rtol=1e-7)


def test_a_region_that_is_neither_there_nor_said_costs_one_and_stays_finite(put):
    value, pullback = nn.vjp(lambda p: fn.tversky(p, put([[0, 0]])), put([[0.0, 0.0]]))
    assert float(nn.to_numpy(value)[0]) == 1.0
    assert np.isfinite(nn.to_numpy(pullback(put([1.0]))[0])).all()


def test_single_numbers_have_no_region(put):
    with pytest.raises(ValueError, match=r"predictions of shape \(n, ...\), got \(3,\)"):
        fn.tversky(put(np.zeros(3)), put(np.zeros(3)))
