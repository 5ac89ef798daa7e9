"""Losses: worked values, scikit-learn's and PyTorch's answers, extreme predictions, and wrong targets."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

NAN, INF = float("nan"), float("inf")


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=tolerance, atol=1e-15)


@pytest.fixture
def logits(rng):
    return rng.normal(size=(6, 4)) * 3


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, 6)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_crossentropies_are_scikit_learn_s(put, logits, labels):
    metrics = pytest.importorskip("sklearn.metrics")
    p, one_hot = softmax(logits), np.eye(4)[labels]
    expected = metrics.log_loss(labels, p, labels=range(4))
    for found in (
        fn.softmax_crossentropy(put(logits), put(one_hot)),
        fn.sparse_softmax_crossentropy(put(logits), put(labels)),
        fn.categorical_crossentropy(put(p), put(one_hot)),
        fn.sparse_categorical_crossentropy(put(p), put(labels)),
    ):
        assert tuple(found.shape) == (6,)
        assert float(np.mean(nn.to_numpy(found))) == pytest.approx(expected, rel=1e-10)


def test_binary_crossentropies_are_scikit_learn_s(put, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, t = rng.normal(size=(6, 1)), np.asarray([[0], [1], [1], [0], [1], [0]])
    expected = metrics.log_loss(t[:, 0], 1 / (1 + np.exp(-z[:, 0])))
    for found in (
        fn.sigmoid_binary_crossentropy(put(z), put(t)),
        fn.binary_crossentropy(put(1 / (1 + np.exp(-z))), put(t)),
    ):
        assert float(np.mean(nn.to_numpy(found))) == pytest.approx(expected, rel=1e-10)


def test_errors_are_means_over_the_last_axis(put):
    y, t = put([[1.0, 2.0], [3.0, 4.0]]), put([[1.0, 4.0], [0.0, 0.0]])
    close(fn.mean_squared_error(y, t), [2.0, 12.5])
    close(fn.mean_absolute_error(y, t), [1.0, 3.5])
    close(fn.squared_error(y, t), [[0.0, 4.0], [9.0, 16.0]])
    close(fn.absolute_error(y, t), [[0.0, 2.0], [3.0, 4.0]])


def test_errors_broadcast_and_sum_their_gradients_back(put):
    y, t = put(np.ones((3, 2))), put([[0.0, 2.0]])
    for rule in (fn.squared_error, fn.absolute_error):
        dy, dt = nn.grad(lambda y, t, rule=rule: fn.sum(rule(y, t)), argnums=(0, 1))(y, t)
        assert tuple(dy.shape) == (3, 2)
        close(dt, -nn.to_numpy(dy).sum(0, keepdims=True))


def test_equal_logits_cost_the_logarithm_of_the_count(put):
    close(fn.sparse_softmax_crossentropy(put(np.full((1, 7), 3.0)), put([2])), [np.log(7)])
    close(fn.sigmoid_binary_crossentropy(put([[0.0]]), put([[1]])), [np.log(2)])


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_losses_of_logits_are_finite_for_any_size(scale, put, dtype):
    z = put([[scale, 0.0], [0.0, scale]], dtype)
    labels, t = put([0, 0]), put([[1, 0], [1, 0]])
    for rule, targets, expected in [
        (fn.sparse_softmax_crossentropy, labels, [0.0, scale]),
        (fn.softmax_crossentropy, t, [0.0, scale]),
    ]:
        value, pullback = nn.vjp(rule, z, targets)
        close(value, expected, 1e-6)
        close(pullback(put(np.ones(2), dtype))[0], [[0.0, 0.0], [-1.0, 1.0]], 1e-6)
    value, pullback = nn.vjp(fn.sigmoid_binary_crossentropy, z, t)
    close(value, [np.log(2) / 2, (np.log(4) / 2 + scale) / 2], 1e-6)
    close(pullback(put(np.ones(2), dtype))[0], [[0.0, 0.25], [-0.25, 0.5]], 1e-6)


def test_impossible_classes_may_have_infinite_logits(put):
    z, t = put([[0.0, -INF, 0.0]]), put([[1.0, 0.0, 0.0]])
    value, pullback = nn.vjp(lambda z: fn.softmax_crossentropy(z, t), z)
    close(value, [np.log(2)])
    close(pullback(put([1.0]))[0], [[-0.5, 0.0, 0.5]])


def test_probabilities_are_bounded_below(put, dtype):
    p, t = put([[0.0, 1.0], [1e-3, 1.0 - 1e-3]], dtype), put([[1, 0], [1, 0]])
    bound = -np.log(fn.EPSILON)
    for rule, targets in (
        (fn.categorical_crossentropy, t),
        (fn.sparse_categorical_crossentropy, put([0, 0])),
    ):
        value, pullback = nn.vjp(rule, p, targets)
        close(value, [bound, -np.log(1e-3)], 1e-6)
        close(pullback(put(np.ones(2), dtype))[0], [[0.0, 0.0], [-1e3, 0.0]], 1e-5)
    value, pullback = nn.vjp(fn.binary_crossentropy, put([[0.0], [1.0]], dtype), put([[1], [0]]))
    close(value, [bound, bound], 1e-6)
    close(pullback(put(np.ones(2), dtype))[0], [[0.0], [0.0]])


@pytest.mark.parametrize("rule", [fn.sparse_softmax_crossentropy, fn.sparse_categorical_crossentropy])
@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
def test_a_label_out_of_range_makes_its_row_nan_and_no_other(rule, kind, put):
    wrong = 3 if kind == "uint8" else -1
    labels = put(np.asarray([0, wrong, 2, 3]), kind)
    value, pullback = nn.vjp(rule, put(np.full((4, 3), 1 / 3)), labels)
    close(value, [np.log(3), NAN, np.log(3), NAN])
    gradient = nn.to_numpy(pullback(put(np.ones(4)))[0])
    assert np.isnan(gradient).all(axis=1).tolist() == [False, True, False, True]
    assert np.isfinite(gradient[[0, 2]]).all()


@pytest.mark.parametrize("rule", [fn.sparse_softmax_crossentropy, fn.sparse_categorical_crossentropy])
def test_labels_fit_many_classes_in_a_small_dtype(rule, put):
    labels = put(np.asarray([100]), "int8")
    assert np.isfinite(nn.to_numpy(rule(put(np.full((1, 300), 1 / 300)), labels))).all()


@pytest.mark.parametrize(
    "rule",
    [fn.softmax_crossentropy, fn.categorical_crossentropy, fn.binary_crossentropy, fn.sigmoid_binary_crossentropy,
     fn.mean_squared_error, fn.mean_absolute_error],
)  # fmt: skip
def test_targets_of_other_dtypes_are_cast(rule, put, dtype, backend):
    predictions = put([[0.25, 0.75], [0.5, 0.5]], dtype)
    hard = [[0, 1], [1, 0]]
    expected = nn.to_numpy(rule(predictions, put(hard, dtype)))
    for kind in ("bool", "int32", "int64", "float64", "float32"):
        value = rule(predictions, put(np.asarray(hard), kind))
        assert value.dtype == getattr(backend.xp, dtype)
        np.testing.assert_array_equal(nn.to_numpy(value), expected)


@pytest.mark.parametrize("lead", [(), (2, 3), (0,)])
def test_any_number_of_leading_axes(lead, put, rng):
    z, t = put(rng.normal(size=(*lead, 4))), put(rng.uniform(0.1, 0.9, (*lead, 4)))
    for rule in (
        fn.softmax_crossentropy,
        fn.sigmoid_binary_crossentropy,
        fn.mean_squared_error,
        fn.mean_absolute_error,
    ):
        value, pullback = nn.vjp(rule, z, t)
        assert tuple(value.shape) == lead
        assert [tuple(gradient.shape) for gradient in pullback(value)] == [(*lead, 4)] * 2
    labels = put(np.zeros(lead, dtype="int64"))
    assert tuple(fn.sparse_softmax_crossentropy(z, labels).shape) == lead


def test_shapes_that_do_not_fit_are_refused_in_words(put):
    z = put(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"one shape \(..., k\), got \(2, 3\) and \(2,\)"):
        fn.softmax_crossentropy(z, put([0, 1]))
    with pytest.raises(ValueError, match=r"labels of shape \(...\), got \(2, 3\) and \(2, 1\)"):
        fn.sparse_softmax_crossentropy(z, put([[0], [1]]))
    with pytest.raises(TypeError, match="expects integer labels, got"):
        fn.sparse_softmax_crossentropy(z, put([0.0, 1.0]))


def test_nan_predictions_give_nan(put):
    z, t = put([[NAN, 0.0]]), put([[0.5, 0.5]])
    for rule in (fn.softmax_crossentropy, fn.categorical_crossentropy, fn.binary_crossentropy,
                 fn.sigmoid_binary_crossentropy, fn.mean_squared_error, fn.mean_absolute_error):  # fmt: skip
        assert np.isnan(nn.to_numpy(rule(z, t))).all(), rule


def test_kinks_in_the_bodies_do_not_show_in_nested_gradients(put):
    """At a logit or target of zero the stable formulas switch; the loss does not."""
    z, t = put([[0.0, 1.0]]), put([[0.0, 1.0]])
    for rule in (fn.sigmoid_binary_crossentropy, fn.softmax_crossentropy):
        nn.gradcheck(
            nn.grad(lambda z, t, rule=rule: fn.sum(rule(z, t) ** 2), argnums=(0, 1)), z, t, tolerance=1e-5
        )


def test_a_bounded_probability_is_no_trap_for_nested_gradients(put):
    p, t = put([[0.0, 0.5]]), put([[1.0, 0.5]])
    for rule in (fn.categorical_crossentropy, fn.binary_crossentropy):
        gradient = nn.grad(lambda p, rule=rule: fn.sum(nn.grad(lambda q: fn.sum(rule(q, t)))(p)))(p)
        assert np.isfinite(nn.to_numpy(gradient)).all(), rule


def test_values_and_gradients_are_pytorch_s(put, logits, labels, rng):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    soft, hard = softmax(rng.normal(size=(6, 4))), rng.integers(0, 2, (6, 4)) * 1.0
    p = 1 / (1 + np.exp(-logits))
    dy = rng.normal(size=6)
    for ours, predictions, targets, theirs in [
        (fn.softmax_crossentropy, logits, soft, functional.cross_entropy),
        (fn.sparse_softmax_crossentropy, logits, labels, functional.cross_entropy),
        (fn.sigmoid_binary_crossentropy, logits, hard, functional.binary_cross_entropy_with_logits),
        (fn.binary_crossentropy, p, hard, functional.binary_cross_entropy),
        (fn.mean_squared_error, logits, soft, functional.mse_loss),
        (fn.mean_absolute_error, logits, soft, functional.l1_loss),
    ]:
        tensor = torch.tensor(predictions, requires_grad=True)
        loss = theirs(tensor, torch.tensor(targets), reduction="none")
        loss = loss.mean(-1) if loss.ndim == 2 else loss
        loss.backward(torch.tensor(dy))
        value, pullback = nn.vjp(ours, put(predictions), put(targets))
        close(value, loss.detach().numpy(), 1e-10)
        np.testing.assert_allclose(
            nn.to_numpy(pullback(put(dy))[0]), tensor.grad.numpy(), rtol=1e-10, atol=1e-13
        )
