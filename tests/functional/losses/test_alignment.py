"""Connectionist temporal classification: PyTorch's answers, paths counted one by one, lengths, what is impossible."""

import itertools

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def by_paths(logs, labels, blank):
    """Add up the likelihoods of all paths that give the labels."""
    total = -np.inf
    for path in itertools.product(range(logs.shape[1]), repeat=logs.shape[0]):
        merged = [k for k, _ in itertools.groupby(path) if k != blank]
        if merged == list(labels):
            total = np.logaddexp(total, sum(logs[time, k] for time, k in enumerate(path)))
    return -total


@pytest.mark.parametrize("blank", [0, 1, -1])
def test_the_likelihood_is_the_sum_over_all_paths(put, rng, blank):
    logs = rng.normal(size=(4, 5, 3))
    others = [k for k in range(3) if k != blank % 3]
    a, b = others
    labels = np.array([[a, b], [a, a], [b, blank % 3], [blank % 3, blank % 3]])
    expected = [by_paths(logs[i], [k for k in labels[i] if k != blank % 3], blank % 3) for i in range(4)]
    found = fn.ctc(put(logs), put(labels), blank=blank)
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=1e-12)


def test_values_and_gradients_are_pytorch_s(put, dtype, rng):
    torch = pytest.importorskip("torch")
    z, labels = rng.normal(size=(5, 8, 6)), rng.integers(1, 6, (5, 3))
    labels[1] = 2  # two repetitions
    times, lengths, dy = np.array([8, 7, 5, 4, 8]), np.array([3, 3, 2, 1, 0]), rng.normal(size=5)
    tensor = torch.tensor(z.astype(dtype), requires_grad=True)
    logs = torch.log_softmax(tensor, -1).transpose(0, 1)
    loss = torch.nn.functional.ctc_loss(
        logs, torch.tensor(labels), torch.tensor(times), torch.tensor(lengths), reduction="none"
    )
    loss.backward(torch.tensor(dy.astype(dtype)))
    value, pullback = nn.vjp(
        lambda z: fn.ctc(fn.log_softmax(z), put(labels), put(times), put(lengths)), put(z, dtype)
    )
    tolerance = 1e-10 if dtype == "float64" else 3e-5
    np.testing.assert_allclose(nn.to_numpy(value), loss.detach().numpy(), rtol=tolerance)
    found = nn.to_numpy(pullback(put(dy, dtype))[0])
    np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_what_stands_behind_the_lengths_changes_nothing(put, rng):
    z, labels = rng.normal(size=(2, 6, 4)), np.array([[1, 2, 3], [3, 1, 2]])
    times, lengths = put([4, 5]), put([2, 1])
    other, others = z.copy(), labels.copy()
    other[0, 4:], other[1, 5:] = np.nan, 1e4
    others[0, 2:], others[1, 1:] = -7, 2
    results = []
    for logits, targets in ((z, labels), (np.nan_to_num(other, nan=-1e4), others)):
        value, pullback = nn.vjp(lambda z, t=targets: fn.ctc(z, put(t), times, lengths), put(logits))
        results.append((nn.to_numpy(value), nn.to_numpy(pullback(put(np.ones(2)))[0])))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert (results[0][1][0, 4:] == 0).all()
    assert (results[0][1][1, 5:] == 0).all()


def test_labels_that_do_not_fit_cost_infinity_without_a_gradient(put, dtype, rng):
    logs = put(rng.normal(size=(2, 2, 3)), dtype)
    value, pullback = nn.vjp(lambda z: fn.ctc(z, put([[1, 1], [1, 2]])), logs)
    assert np.isinf(nn.to_numpy(value)).tolist() == [True, False]  # a blank is needed between the two
    gradient = nn.to_numpy(pullback(put(np.ones(2), dtype))[0])
    assert (gradient[0] == 0).all()
    assert np.isfinite(gradient).all()


def test_impossible_classes_are_no_numbers_to_trip_over(put):
    logs = np.log(np.full((1, 3, 3), 1 / 3))
    logs[0, 1, 2] = -np.inf
    value, pullback = nn.vjp(lambda z: fn.ctc(z, put([[1, 2]])), put(logs))
    expected = by_paths(np.where(np.isinf(logs[0]), -1e9, logs[0]), [1, 2], 0)
    np.testing.assert_allclose(nn.to_numpy(value), [expected], rtol=1e-12)
    assert np.isfinite(nn.to_numpy(pullback(put([1.0]))[0])).all()


def test_long_sequences_of_large_logits_stay_finite(put):
    z = np.zeros((1, 60, 3))
    z[:, :, 1] = 1e4
    value, pullback = nn.vjp(lambda z: fn.ctc(fn.log_softmax(z), put([[2, 1]])), put(z, "float32"))
    assert float(nn.to_numpy(value)[0]) == pytest.approx(1e4, rel=1e-4)
    assert np.isfinite(nn.to_numpy(pullback(put([1.0], "float32"))[0])).all()


def test_no_labels_at_all_leave_one_path(put, rng):
    logs = rng.normal(size=(2, 3, 4))
    found = fn.ctc(put(logs), put(np.zeros((2, 0), "int64")))
    np.testing.assert_allclose(nn.to_numpy(found), -logs[:, :, 0].sum(1), rtol=1e-12)


def test_shapes_that_do_not_fit_are_refused_in_words(put):
    z = put(np.zeros((2, 3, 4)))
    with pytest.raises(
        ValueError, match=r"shape \(n, t, k\) and labels of shape \(n, m\), got \(2, 3, 4\) and \(3, 1\)"
    ):
        fn.ctc(z, put([[1], [1], [1]]))
    with pytest.raises(ValueError, match=r"input_lengths of shape \(2,\), got \(1,\)"):
        fn.ctc(z, put([[1], [1]]), put([3]))
    with pytest.raises(ValueError, match="one of the 4 classes, got 4"):
        fn.ctc(z, put([[1], [1]]), blank=4)
    with pytest.raises(TypeError, match="expects integer labels"):
        fn.ctc(z, put([[1.0], [1.0]]))
