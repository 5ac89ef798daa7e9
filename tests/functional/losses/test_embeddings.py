"""Losses of embeddings and margins: PyTorch's answers, Keras's formulas, batches without pairs."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def close(found, expected, tolerance=1e-11):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=tolerance, atol=1e-13)


def test_cosines_and_triplets_are_pytorch_s(put, dtype, rng):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    arrays = [rng.normal(size=(5, 4)) for _ in range(3)]
    dy = rng.normal(size=5)
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    for ours, theirs, count in (
        (fn.cosine_similarity, functional.cosine_similarity, 2),
        (
            lambda a, p, n: fn.triplet(a, p, n, margin=0.5),
            lambda a, p, n: functional.triplet_margin_loss(a, p, n, margin=0.5, eps=0.0, reduction="none"),
            3,
        ),
    ):
        tensors = [torch.tensor(array.astype(dtype), requires_grad=True) for array in arrays[:count]]
        loss = theirs(*tensors)
        loss.backward(torch.tensor(dy.astype(dtype)))
        value, pullback = nn.vjp(ours, *(put(array, dtype) for array in arrays[:count]))
        np.testing.assert_allclose(nn.to_numpy(value), loss.detach().numpy(), rtol=tolerance, atol=tolerance)
        for gradient, tensor in zip(pullback(put(dy, dtype)), tensors, strict=True):
            np.testing.assert_allclose(
                nn.to_numpy(gradient), tensor.grad.numpy(), rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_cosines_do_not_change_with_the_length_however_large(put, dtype, scale, rng):
    y, t = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    expected = (y * t).sum(-1) / np.linalg.norm(y, axis=-1) / np.linalg.norm(t, axis=-1)
    value, pullback = nn.vjp(fn.cosine_similarity, put(y * scale, dtype), put(t, dtype))
    close(value, expected, 1e-5 if dtype == "float32" else 1e-12)
    gradient = nn.to_numpy(pullback(put(np.ones(3), dtype))[0])
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose((gradient * y).sum(-1) * scale, 0.0, atol=1e-5)  # at right angles


def test_rows_of_zeros_have_no_direction(put):
    value, pullback = nn.vjp(fn.cosine_similarity, put(np.zeros((1, 3))), put(np.ones((1, 3))))
    close(value, [0.0])
    for gradient in pullback(put([1.0])):
        close(gradient, np.zeros((1, 3)))


def test_categorical_hinge_is_keras_s_formula(put, rng):
    y, t = rng.normal(size=(6, 4)), np.eye(4)[rng.integers(0, 4, 6)]
    expected = np.maximum(((1 - t) * y).max(-1) - (t * y).sum(-1) + 1, 0)
    close(fn.categorical_hinge(put(y), put(t)), expected)


def test_points_that_are_one_have_no_gradient_of_their_distance(put):
    a, n = put(np.ones((1, 2))), put(np.zeros((1, 2)))
    value, pullback = nn.vjp(lambda a, p, n: fn.triplet(a, p, n, margin=2.0), a, a, n)
    close(value, [2 - np.sqrt(2)])
    for gradient in pullback(put([1.0])):
        assert np.isfinite(nn.to_numpy(gradient)).all()


def test_the_hardest_triplets_are_found_by_search(put, rng):
    x, labels = rng.normal(size=(8, 3)), np.array([0, 0, 1, 1, 1, 2, 3, 3])
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    expected = []
    for i in range(8):
        same = [distances[i, j] for j in range(8) if j != i and labels[j] == labels[i]]
        other = [distances[i, j] for j in range(8) if labels[j] != labels[i]]
        expected.append(max(max(same) - min(other) + 0.5, 0.0) if same else 0.0)
    close(fn.hardest_triplet(put(x), put(labels), margin=0.5), expected)


def test_a_shift_of_all_embeddings_changes_no_triplet(put, dtype, rng):
    x, labels = rng.normal(size=(6, 3)), put([0, 1, 0, 1, 2, 2])
    near = nn.to_numpy(fn.hardest_triplet(put(x, dtype), labels))
    far = nn.to_numpy(fn.hardest_triplet(put(x + 1000.0, dtype), labels))
    np.testing.assert_allclose(near, far, rtol=1e-3 if dtype == "float32" else 1e-9)


def keras_circle(labels, x, gamma, margin):
    d = np.maximum(1 - x @ x.T, 0)
    same = labels[:, None] == labels[None]
    positive, negative = same & ~np.eye(len(x), dtype=bool), ~same
    pos = -gamma * np.maximum((margin + d) * positive, 0) * (margin - d)
    neg = gamma * np.maximum((1 + margin - d) * negative, 0) * (1 - margin - d)
    found = []
    for i in range(len(x)):
        p, n = pos[i][positive[i]], neg[i][negative[i]]
        total = np.log(np.exp(p).sum()) + np.log(np.exp(n).sum()) if len(p) and len(n) else -np.inf
        found.append(np.logaddexp(total, 0))
    return found


def test_circle_is_keras_s_formula(put, rng):
    x, labels = rng.normal(size=(7, 3)), np.array([0, 0, 1, 1, 1, 2, 0])
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    close(fn.circle(put(x), put(labels), gamma=8.0, margin=0.3), keras_circle(labels, x, 8.0, 0.3))


@pytest.mark.parametrize("rule", [fn.circle, fn.hardest_triplet])
@pytest.mark.parametrize("labels", [[0, 1, 2], [1, 1, 1]])
def test_batches_without_pairs_cost_nothing(put, dtype, rule, labels):
    x = put(np.eye(3), dtype)
    value, pullback = nn.vjp(lambda x: rule(x, put(labels)), x)
    close(value, np.zeros(3))
    close(pullback(put(np.ones(3), dtype))[0], np.zeros((3, 3)))


def test_labels_and_embeddings_that_do_not_fit_are_refused(put):
    with pytest.raises(
        ValueError, match=r"embeddings of shape \(n, k\) and labels of shape \(n,\), got \(2, 3\)"
    ):
        fn.circle(put(np.zeros((2, 3))), put([0]))
    with pytest.raises(TypeError, match="expects integer labels"):
        fn.hardest_triplet(put(np.zeros((2, 3))), put([0.0, 1.0]))
    with pytest.raises(ValueError, match="triplet expects predictions and targets of one shape"):
        fn.triplet(put(np.zeros((2, 3))), put(np.zeros((2, 3))), put(np.zeros((2, 2))))
