"""Metrics: exact over batches of any size, weighted, in every form of targets."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import metrics

OUTPUTS = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
LABELS = np.array([0, 1, 1, 0])
COLUMN = np.array([[0.9], [0.2], [0.6], [-0.4]])
YES = np.array([1, 0, 0, 0])

CASES = [
    (metrics.Accuracy(), LABELS, OUTPUTS, [1, 0, 1, 1]),
    (metrics.Accuracy(), LABELS[:, None], OUTPUTS, [1, 0, 1, 1]),
    (metrics.Accuracy(), np.eye(3)[LABELS], OUTPUTS, [1, 0, 1, 1]),
    (metrics.Accuracy(), YES, COLUMN, [1, 1, 0, 1]),
    (metrics.Accuracy(), YES[:, None].astype(float), COLUMN, [1, 1, 0, 1]),
    (metrics.Accuracy(), YES.astype(bool), COLUMN[:, 0], [1, 1, 0, 1]),
    (metrics.SparseCategoricalAccuracy(), LABELS.astype(float), OUTPUTS, [1, 0, 1, 1]),
    (metrics.CategoricalAccuracy(), np.eye(3)[LABELS], OUTPUTS, [1, 0, 1, 1]),
    (metrics.BinaryAccuracy(), YES, COLUMN, [1, 1, 0, 1]),
    (metrics.BinaryAccuracy(threshold=0.7), YES, COLUMN, [1, 1, 1, 1]),
    (metrics.BinaryAccuracy(), np.eye(3)[LABELS], OUTPUTS, [1, 1 / 3, 2 / 3, 1]),
    (metrics.MeanSquaredError(), YES, COLUMN, (COLUMN[:, 0] - YES) ** 2),
    (metrics.MeanAbsoluteError(), YES, COLUMN, np.abs(COLUMN[:, 0] - YES)),
    (metrics.MeanAbsoluteError(), YES, COLUMN[:, 0], np.abs(COLUMN[:, 0] - YES)),
    (metrics.get(lambda y, p: nn.functional.abs(p - y)), YES, COLUMN, np.abs(COLUMN[:, 0] - YES)),
]
NAMES = [f"{type(case[0]).__name__}-{number}" for number, case in enumerate(CASES)]


@pytest.mark.parametrize(("metric", "y", "outputs", "values"), CASES, ids=NAMES)
def test_a_metric_is_the_mean_over_samples_however_they_are_batched(backend, put, metric, y, outputs, values):
    if metric.name == "<lambda>":
        values = np.asarray(values)
    weight = np.array([1.0, 2.0, 0.0, 0.5])
    assert metric(put(y), put(outputs)) == pytest.approx(np.mean(values), rel=1e-12)
    weighted = (weight * values).sum() / weight.sum()
    assert metric(put(y), put(outputs), put(weight)) == pytest.approx(weighted, rel=1e-12)
    state = metric.init(backend)
    with backend.scope():
        for rows in (slice(0, 3), slice(3, 4)):
            state = metric.update(state, put(y[rows]), put(outputs[rows]), put(weight[rows]))
    assert metric.result(state) == pytest.approx(weighted, rel=1e-12)


@pytest.mark.parametrize("metric", [metrics.Accuracy(), metrics.BinaryAccuracy()])
def test_logits_have_their_threshold_at_zero(backend, put, metric):
    with backend.scope():
        state = metric.update(metric.init(backend), put(YES), put(COLUMN - 0.5), None, logits=True)
    assert metric.result(state) == 0.75


def test_before_any_sample_a_mean_is_nan(backend):
    metric = metrics.Accuracy()
    assert np.isnan(metric.result(metric.init(backend)))


def test_sums_are_kept_in_float64(backend, put):
    metric = metrics.MeanAbsoluteError()
    y, outputs = put(np.zeros(1), "float32"), put(np.ones((1, 1)), "float32")
    with backend.scope():
        state = metric.init(backend)
        state["total"] = state["total"] + 2.0**24  # where float32 would stop to count
        state = metric.update(state, y, outputs, None)
    assert float(nn.to_numpy(state["total"])) == 2.0**24 + 1


def test_short_names_stay_as_they_were_written():
    for short, kind in (
        ("acc", metrics.Accuracy),
        ("mse", metrics.MeanSquaredError),
        ("f1", metrics.F1Score),
    ):
        metric = metrics.get(short)
        assert isinstance(metric, kind)
        assert metric.name == short
        assert kind.from_config(metric.get_config()).name == short
    assert metrics.get("binary_accuracy").name == "binary_accuracy"


@pytest.mark.parametrize("tensor", [nn.Tensor, lambda array: array])
def test_an_own_metric_may_have_the_targets_on_the_left_of_an_operator(put, tensor):
    metric = metrics.get(lambda y, p: nn.functional.abs(y - p))
    assert metric(put(YES[:, None]), tensor(put(COLUMN))) == pytest.approx(np.abs(YES - COLUMN[:, 0]).mean())


def test_a_function_that_returns_no_array_is_refused(put):
    with pytest.raises(TypeError, match="The metric <lambda> must return an array, got float"):
        metrics.get(lambda y, p: 1.0)(put(YES), put(COLUMN))


def test_a_function_that_takes_the_mean_itself_is_refused(put):
    metric = metrics.get(lambda y, p: nn.functional.mean(nn.functional.abs(y - p)))
    with pytest.raises(
        ValueError, match=r"<lambda> must return one value for each of 4 samples, got shape \(\)"
    ):
        metric(put(YES), put(COLUMN))


def test_one_output_is_refused_where_classes_are_compared(put):
    with pytest.raises(ValueError, match=r"one output for each of two or more classes.*'binary_accuracy'"):
        metrics.SparseCategoricalAccuracy().check_targets(put(YES), (1,))


@pytest.mark.parametrize(
    "metric",
    [
        metrics.AUC(),
        metrics.Precision(),
        metrics.F1Score(),
        metrics.TruePositives(),
        metrics.RecallAtPrecision(0.5),
    ],
    ids=lambda metric: metric.name,
)
def test_by_hand_logits_are_refused_where_they_would_be_compared_with_thresholds(put, metric):
    y, z = put([0, 1, 1]), np.array([-2.0, 0.4, 3.0])
    with pytest.raises(
        ValueError, match=r"expects probabilities, got outputs below 0.*nn\.functional\.sigmoid"
    ):
        metric(y, put(z))
    metric(y, put(z / 3), mask=put([False, True, True]))
    metric(y, put(np.array([0.0, np.nan, 1.0 + 1e-6])))
    metric(y, put(np.array([0, 1, 1])))


def test_by_hand_logits_are_taken_where_the_largest_decides(put):
    z = put([[-1.0, 2.0], [3.0, -4.0]])
    assert metrics.Precision()(put([1, 0]), z) == 1.0
    assert metrics.Recall(top_k=1)(put([[0, 1], [1, 0]]), z) == 1.0
    np.testing.assert_array_equal(metrics.F1Score()(put([[0, 1], [1, 0]]), z), [1.0, 1.0])


@pytest.mark.parametrize("name", ["auc", "f1_score", "precision", "recall", "true_positives"])
@pytest.mark.parametrize(
    ("units", "y", "message"),
    [
        (
            1,
            [-1, 1, 1, -1],
            r"expects targets from 0 to 1, got values from -1 to 1. For labels -1 and 1 use \(y \+",
        ),
        (
            1,
            [0, 7, 1, 1],
            "expects targets from 0 to 1, got values from 0 to 7. For several classes give the last",
        ),
        (
            3,
            [0, 7, 1, 1],
            "expects labels from 0 to 2, since .* got labels from 0 to 7. Number .* last layer 8 units",
        ),
        (3, [0.0, 0.5, 1.0, 1.0], "expects whole-number labels, got fractions in .*float"),
        (3, [[0.0, 2.0, 1.0]] * 4, "expects targets from 0 to 1, got values from 0 to 2"),
    ],
)
def test_targets_out_of_range_are_refused(name, units, y, message, light):
    def loss(y_true, y_pred):
        return nn.functional.sum(y_pred, axis=-1)

    model = nn.Sequential([nn.Dense(units, activation="sigmoid")], backend=light, seed=0)
    model.compile("sgd", loss, metrics=[name])
    x, targets = np.ones((4, 2)), np.asarray(y)
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=f"^The metric {name} {message}"):
            call(x, targets)
    with pytest.raises(ValueError, match=message):
        metrics.get(name)(targets, np.full((4, units), 0.5))


def test_labels_of_padding_are_nobodys(light):
    outputs = np.eye(3)[[0, 1, 2, 2]]
    weights = np.asarray([1.0, 1.0, 1.0, 0.0])
    assert metrics.Precision()(np.asarray([0, 1, 2, -1]), outputs, weights) == 1.0
