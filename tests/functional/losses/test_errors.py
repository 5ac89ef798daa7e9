"""Errors of numbers: PyTorch's and scikit-learn's answers, published formulas, kinks and extremes."""

from functools import partial

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

EPSILON = 1e-7


@pytest.fixture
def y(rng):
    return rng.normal(size=(5, 3)) * 2


@pytest.fixture
def t(rng):
    return rng.normal(size=(5, 3)) * 2


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=tolerance, atol=1e-14)


#: rule, options, the predictions' and the targets' domain, and Keras's definition of one number's error
FORMULAS = [
    (fn.mean_absolute_percentage_error, {}, lambda y, t: 100 * np.abs((t - y) / np.maximum(np.abs(t), EPSILON))),
    (fn.huber, {"delta": 0.7}, lambda y, t: np.where(np.abs(y - t) <= 0.7, 0.5 * (y - t) ** 2,
                                                     0.7 * np.abs(y - t) - 0.5 * 0.49)),
    (fn.log_cosh, {}, lambda y, t: np.log(np.cosh(y - t))),
    (fn.hinge, {}, lambda y, t: np.maximum(1 - t * y, 0)),
    (fn.squared_hinge, {}, lambda y, t: np.maximum(1 - t * y, 0) ** 2),
    (fn.contrastive, {"margin": 1.5}, lambda y, t: t * y**2 + (1 - t) * np.maximum(1.5 - y, 0) ** 2),
]  # fmt: skip
POSITIVE = [
    (fn.mean_squared_logarithmic_error, {}, lambda y, t: (np.log(y + 1) - np.log(t + 1)) ** 2),
    (fn.poisson, {}, lambda y, t: y - t * np.log(y)),
]


@pytest.mark.parametrize(("rule", "options", "formula"), FORMULAS, ids=lambda v: getattr(v, "name", ""))
def test_values_are_the_published_formula_s(rule, options, formula, put, y, t):
    close(rule(put(y), put(t), **options), formula(y, t).mean(-1))


@pytest.mark.parametrize(("rule", "options", "formula"), POSITIVE, ids=lambda v: getattr(v, "name", ""))
def test_values_of_positive_numbers_are_the_published_formula_s(rule, options, formula, put, y, t):
    y, t = np.abs(y) + 0.1, np.abs(t)
    close(rule(put(y), put(t), **options), formula(y, t).mean(-1))


def test_errors_of_growth_are_scikit_learn_s(put, y, t):
    metrics = pytest.importorskip("sklearn.metrics")
    y, t = np.abs(y), np.abs(t) + 0.1
    for rule, theirs in (
        (fn.mean_squared_logarithmic_error, metrics.mean_squared_log_error),
        (fn.mean_absolute_percentage_error, lambda t, y: 100 * metrics.mean_absolute_percentage_error(t, y)),
    ):
        assert float(np.mean(nn.to_numpy(rule(put(y), put(t))))) == pytest.approx(theirs(t, y), rel=1e-12)


def test_values_and_gradients_are_pytorch_s(put, dtype, y, t, rng):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    dy = rng.normal(size=5)
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    for ours, theirs, predictions in (
        (partial(fn.huber, delta=0.7), partial(functional.huber_loss, reduction="none", delta=0.7), y),
        (fn.poisson, partial(functional.poisson_nll_loss, log_input=False, eps=0.0, reduction="none"), np.abs(y) + 0.2),
        (fn.hinge, lambda y, t: torch.clamp(1 - y * t, min=0), y),
        (fn.log_cosh, lambda y, t: torch.log(torch.cosh(y - t)), y),
        (fn.mean_squared_logarithmic_error, lambda y, t: (torch.log1p(y) - torch.log1p(t)) ** 2, np.abs(y) + 0.2),
    ):  # fmt: skip
        targets = np.abs(t) + 0.2
        first = torch.tensor(predictions.astype(dtype), requires_grad=True)
        second = torch.tensor(targets.astype(dtype), requires_grad=True)
        loss = theirs(first, second).mean(-1)
        loss.backward(torch.tensor(dy.astype(dtype)))
        value, pullback = nn.vjp(ours, put(predictions, dtype), put(targets, dtype))
        close(value, loss.detach().numpy(), tolerance)
        gradients = pullback(put(dy, dtype))
        for gradient, tensor in zip(gradients, (first, second), strict=True):
            np.testing.assert_allclose(
                nn.to_numpy(gradient), tensor.grad.numpy(), rtol=tolerance, atol=tolerance
            )


ALL = [rule for rule, *_ in FORMULAS + POSITIVE]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_values_and_gradients_are_finite_for_numbers_of_any_size(rule, put, dtype):
    y = put([[1e4, -1e4], [0.0, 1e9], [1e-30, -1e-30]], dtype)
    t = put([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]], dtype)
    value, pullback = nn.vjp(rule, y, t)
    assert np.isfinite(nn.to_numpy(value)).all()
    assert all(np.isfinite(nn.to_numpy(gradient)).all() for gradient in pullback(put(np.ones(3), dtype)))


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_nan_stays_nan(rule, put):
    assert np.isnan(nn.to_numpy(rule(put([[float("nan"), 0.5]]), put([[0.5, 0.5]])))).all()


def test_small_differences_keep_their_digits(put):
    y, t = put([[1e-8], [3e-4]]), put([[0.0], [0.0]])
    close(fn.log_cosh(y, t), [5e-17, np.log1p(2 * np.sinh(1.5e-4) ** 2)], 1e-12)


def test_huber_s_pieces_meet(put):
    y, t = put([[0.5], [0.5 - 1e-9], [0.5 + 1e-9]]), put(np.zeros((3, 1)))
    value, pullback = nn.vjp(lambda y, t: fn.huber(y, t, delta=0.5), y, t)
    np.testing.assert_allclose(nn.to_numpy(value), 0.125, atol=1e-9)
    np.testing.assert_allclose(nn.to_numpy(pullback(put(np.ones(3)))[0]), 0.5, atol=1e-8)
    with pytest.raises(ValueError, match=r"huber expects delta above 0, got 0\.0"):
        fn.huber(y, t, delta=0.0)


@pytest.mark.parametrize("rule", [fn.huber, fn.log_cosh, fn.squared_hinge], ids=lambda rule: rule.name)
def test_nested_gradients_are_right_where_the_body_switches(rule, put):
    """At a difference of 0, or a margin of 0, the stable formulas switch; the loss is smooth."""
    y, t = put([[0.0, 0.3]]), put([[0.0, 1.0]])
    nn.gradcheck(nn.grad(lambda y, t: fn.sum(rule(y, t) ** 2), argnums=(0, 1)), y, t, tolerance=1e-5)


def test_a_hinge_costs_nothing_beyond_its_margin(put):
    value, pullback = nn.vjp(fn.hinge, put([[1.5], [-2.0]]), put([[1], [-1]]))
    close(value, [0.0, 0.0])
    close(pullback(put(np.ones(2)))[0], [[0.0], [0.0]])


def test_numbers_below_zero_have_no_logarithmic_gradient(put):
    value, pullback = nn.vjp(fn.mean_squared_logarithmic_error, put([[-3.0]]), put([[1.0]]))
    close(value, [np.log(2) ** 2])
    close(pullback(put([1.0]))[0], [[0.0]])
