"""Focal, bounded and divergent kin of the cross-entropy: PyTorch's answers, Keras's formulas, limits."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def close(found, expected, tolerance=1e-11):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=tolerance, atol=1e-14)


@pytest.fixture
def z(rng):
    return rng.normal(size=(6, 4)) * 2


def test_focal_losses_are_keras_s_formula(put, z, rng):
    t = rng.uniform(size=(6, 4))
    p = 1 / (1 + np.exp(-z))
    bce = -t * np.log(p) - (1 - t) * np.log(1 - p)
    factor = (1 - (t * p + (1 - t) * (1 - p))) ** 1.5
    plain, balanced = (factor * bce).mean(-1), ((t * 0.3 + (1 - t) * 0.7) * factor * bce).mean(-1)
    for alpha, expected in ((None, plain), (0.3, balanced)):
        close(fn.sigmoid_focal_crossentropy(put(z), put(t), gamma=1.5, alpha=alpha), expected)
        close(fn.binary_focal_crossentropy(put(p), put(t), gamma=1.5, alpha=alpha), expected)
    q = softmax(z)
    alphas = np.array([0.1, 0.2, 0.3, 0.4])
    expected = -(alphas * (1 - q) ** 1.5 * t * np.log(q)).sum(-1)
    close(fn.softmax_focal_crossentropy(put(z), put(t), gamma=1.5, alpha=tuple(alphas)), expected)
    close(fn.categorical_focal_crossentropy(put(q), put(t), gamma=1.5, alpha=tuple(alphas)), expected)


def test_without_looking_away_focal_losses_are_cross_entropies(put, z, rng):
    t = rng.uniform(size=(6, 4))
    for focal, plain, options in (
        (fn.sigmoid_focal_crossentropy, fn.sigmoid_binary_crossentropy, {}),
        (fn.softmax_focal_crossentropy, fn.softmax_crossentropy, {"alpha": 1.0}),
    ):
        first, pull = nn.vjp(lambda z, focal=focal, o=options: focal(z, put(t), gamma=0.0, **o), put(z))
        second, other = nn.vjp(lambda z, plain=plain: plain(z, put(t)), put(z))
        close(first, nn.to_numpy(second))
        close(pull(put(np.ones(6)))[0], nn.to_numpy(other(put(np.ones(6)))[0]))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_losses_of_large_logits_are_finite(put, dtype, gamma):
    z, t = put([[1e4, -1e4], [-1e4, 1e4]], dtype), put([[1, 0], [1, 0]])
    for rule, expected in (
        (fn.sigmoid_focal_crossentropy, [0.0, 1e4]),
        (lambda z, t, gamma: fn.softmax_focal_crossentropy(z, t, gamma=gamma, alpha=1.0), [0.0, 2e4]),
    ):
        value, pullback = nn.vjp(lambda z, rule=rule: rule(z, t, gamma=gamma), z)
        close(value, expected, 1e-6)
        assert np.isfinite(nn.to_numpy(pullback(put(np.ones(2), dtype))[0])).all()


def test_impossible_classes_may_have_infinite_logits(put):
    z, t = put([[0.0, -np.inf, 0.0]]), put([[1.0, 0.0, 0.0]])
    close(fn.softmax_focal_crossentropy(z, t, alpha=1.0), [0.25 * np.log(2)])


def test_alphas_must_be_one_for_each_class(put, z):
    with pytest.raises(ValueError, match="one alpha for each of 4 classes, got 2"):
        fn.softmax_focal_crossentropy(put(z), put(np.zeros((6, 4))), alpha=(0.1, 0.2))


def test_kl_divergence_and_likelihood_are_pytorch_s(put, dtype, z, rng):
    torch = pytest.importorskip("torch")
    t, dy, labels = softmax(rng.normal(size=(6, 4))), rng.normal(size=6), rng.integers(0, 4, 6)
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    p = torch.tensor(softmax(z).astype(dtype), requires_grad=True)
    loss = torch.nn.functional.kl_div(torch.log(p), torch.tensor(t.astype(dtype)), reduction="none").sum(-1)
    loss.backward(torch.tensor(dy.astype(dtype)))
    value, pullback = nn.vjp(fn.kl_divergence, put(softmax(z), dtype), put(t, dtype))
    np.testing.assert_allclose(nn.to_numpy(value), loss.detach().numpy(), rtol=tolerance, atol=tolerance)
    found = nn.to_numpy(pullback(put(dy, dtype))[0])
    np.testing.assert_allclose(found, p.grad.numpy(), rtol=tolerance, atol=tolerance)
    logs = torch.tensor(z.astype(dtype), requires_grad=True)
    loss = torch.nn.functional.nll_loss(logs, torch.tensor(labels), reduction="none")
    loss.backward(torch.tensor(dy.astype(dtype)))
    value, pullback = nn.vjp(fn.negative_log_likelihood, put(z, dtype), put(labels))
    close(value, loss.detach().numpy(), tolerance)
    close(pullback(put(dy, dtype))[0], logs.grad.numpy(), tolerance)


def test_kl_divergence_is_zero_for_equal_distributions_and_takes_zeros(put, rng):
    p = softmax(rng.normal(size=(4, 5)))
    np.testing.assert_allclose(nn.to_numpy(fn.kl_divergence(put(p), put(p))), 0.0, atol=1e-16)
    value, pullback = nn.vjp(fn.kl_divergence, put([[0.25, 0.75], [0.0, 1.0]]), put([[0.0, 1.0], [1.0, 0.0]]))
    close(value, [-np.log(0.75), -np.log(1e-7)])
    assert all(np.isfinite(nn.to_numpy(gradient)).all() for gradient in pullback(put(np.ones(2))))


def test_a_label_out_of_range_makes_its_likelihood_nan(put):
    value, pullback = nn.vjp(fn.negative_log_likelihood, put(np.zeros((3, 2))), put([0, -1, 2]))
    assert np.isnan(nn.to_numpy(value)).tolist() == [False, True, True]
    assert np.isnan(nn.to_numpy(pullback(put(np.ones(3)))[0])).all(axis=1).tolist() == [False, True, True]


def test_the_generalized_cross_entropy_stands_between_two_losses(put, z, rng):
    labels = rng.integers(0, 4, 6)
    p = softmax(z)[np.arange(6), labels]
    crossentropy = fn.sparse_softmax_crossentropy(put(z), put(labels))
    close(fn.generalized_crossentropy(crossentropy, q=0.7), (1 - p**0.7) / 0.7)  # Keras's formula
    close(fn.generalized_crossentropy(crossentropy, q=1.0), 1 - p)
    close(fn.generalized_crossentropy(crossentropy, q=1e-9), -np.log(p), 1e-6)
    with pytest.raises(ValueError, match=r"expects q above 0 and at most 1, got 0\.0"):
        fn.generalized_crossentropy(crossentropy, q=0.0)


def test_composed_losses_answer_arrays_for_arrays_and_tensors_for_tensors(put, backend):
    z, t = put([[0.5, 1.0]]), put([[1, 0]])
    assert not isinstance(fn.softmax_focal_crossentropy(z, t), nn.Tensor)
    assert isinstance(fn.softmax_focal_crossentropy(nn.Tensor(z), t), nn.Tensor)
    assert fn.softmax_focal_crossentropy(z, t).dtype == backend.xp.float64
