"""What every metric promises: two epochs of uneven batches are exactly the whole, names, JSON, weights and masks."""

import json

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import losses, metrics
from nnbackend.config import describe, restore

RNG = np.random.default_rng(7)
ROWS, CLASSES = 23, 4
LABELS = RNG.integers(0, CLASSES, ROWS)
ONE_HOT = np.eye(CLASSES)[LABELS]
Z = RNG.normal(size=(ROWS, CLASSES)) + 2 * ONE_HOT * (RNG.uniform(size=(ROWS, 1)) < 0.6)
P = np.exp(Z) / np.exp(Z).sum(-1, keepdims=True)
YES = RNG.integers(0, 2, ROWS)
SCORE = np.clip(0.3 * YES + 0.7 * RNG.uniform(size=ROWS), 0, 1)
WEIGHT = RNG.integers(0, 4, ROWS) / 2.0

#: A metric, targets and outputs.
CASES = [
    (metrics.AUC(num_thresholds=50), YES, SCORE),
    (metrics.AUC(curve="PR", multi_label=True), LABELS, P),
    (metrics.Accuracy(), LABELS, P),
    (metrics.BinaryAccuracy(threshold=0.4), YES, SCORE),
    (metrics.BinaryCrossentropy(label_smoothing=0.1), ONE_HOT, P),
    (metrics.BinaryIoU(threshold=0.6), YES, SCORE),
    (metrics.CategoricalAccuracy(), ONE_HOT, P),
    (metrics.CategoricalCrossentropy(from_logits=True), ONE_HOT, Z),
    (metrics.CategoricalHinge(), ONE_HOT, Z),
    (metrics.CohenKappa(weightage="quadratic"), LABELS, P),
    (metrics.ConfusionMatrix(normalize="pred"), LABELS, P),
    (metrics.CosineSimilarity(), ONE_HOT, Z),
    (metrics.F1Score(average="macro"), LABELS, P),
    (metrics.FBetaScore(beta=2.0, threshold=0.3), ONE_HOT, P),
    (metrics.FalseNegatives(thresholds=(0.3, 0.6)), YES, SCORE),
    (metrics.FalsePositives(), YES, SCORE),
    (metrics.Hinge(), ONE_HOT, Z),
    (metrics.IoU(target_class_ids=(0, 2)), LABELS, P),
    (metrics.KLDivergence(), P[::-1].copy(), P),
    (metrics.LogCoshError(), ONE_HOT, Z),
    (metrics.LossMetric(losses.Huber(delta=0.4)), ONE_HOT, Z),
    (metrics.MatthewsCorrelation(), LABELS, P),
    (metrics.Mean(), YES, SCORE),
    (metrics.MeanAbsoluteError(), ONE_HOT, Z),
    (metrics.MeanAbsolutePercentageError(), ONE_HOT + 1, Z),
    (metrics.MeanIoU(ignore_class=1), LABELS, P),
    (metrics.MeanSquaredError(), ONE_HOT, Z),
    (metrics.MeanSquaredLogarithmicError(), ONE_HOT, P),
    (metrics.OneHotIoU(), ONE_HOT, P),
    (metrics.OneHotMeanIoU(), ONE_HOT, P),
    (metrics.Perplexity(ignore_class=3), LABELS, P),
    (metrics.Poisson(), ONE_HOT, P),
    (metrics.Precision(top_k=2, average=None), LABELS, P),
    (metrics.PrecisionAtRecall(0.6), YES, SCORE),
    (metrics.R2Score(class_aggregation="variance_weighted_average"), ONE_HOT + 1000.0, Z + 1000.0),
    (metrics.Recall(class_id=1, thresholds=0.3), ONE_HOT, P),
    (metrics.RecallAtPrecision(0.6), YES, SCORE),
    (metrics.RegressionAccuracy(0.5), ONE_HOT, Z),
    (metrics.RootMeanSquaredError(), ONE_HOT, Z),
    (metrics.SensitivityAtSpecificity(0.6), YES, SCORE),
    (metrics.SparseCategoricalAccuracy(), LABELS, P),
    (metrics.SparseCategoricalCrossentropy(ignore_class=2), LABELS, P),
    (metrics.SparseTopKCategoricalAccuracy(k=2), LABELS, P),
    (metrics.SpecificityAtSensitivity(0.6), YES, SCORE),
    (metrics.SquaredHinge(), ONE_HOT, Z),
    (metrics.Sum(), YES, SCORE),
    (metrics.TopKCategoricalAccuracy(k=3), ONE_HOT, P),
    (metrics.TrueNegatives(), YES, SCORE),
    (metrics.TruePositives(thresholds=0.4), YES, SCORE),
]
NAMES = [f"{type(case[0]).__name__}" for case in CASES]


def test_every_metric_is_here():
    kinds = {n for n in metrics.__all__ if isinstance(getattr(metrics, n), type)}
    assert set(NAMES) == kinds - {"FunctionMetric", "MeanMetric", "Metric"}


@pytest.mark.parametrize(("metric", "y", "outputs"), CASES, ids=NAMES)
def test_two_epochs_of_uneven_batches_are_the_whole(backend, put, measure, metric, y, outputs):
    metric.check_targets(put(y), outputs.shape[1:])
    for weight in (WEIGHT,) if backend.name == "jax" else (None, WEIGHT):
        whole = measure(metric, y, outputs, weight)
        for sizes in ((10, 10, 3), (3, 10, 10)):  # each epoch begins anew
            found = measure(metric, y, outputs, weight, sizes)
            np.testing.assert_allclose(found, whole, rtol=1e-12, atol=1e-15)
        assert type(found) is type(whole)
        assert np.isfinite(whole).all()


@pytest.mark.parametrize(("metric", "y", "outputs"), CASES, ids=NAMES)
def test_whole_weights_count_samples_several_times(backend, put, metric, y, outputs):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    times = (WEIGHT * 2).astype(int)
    weighted = metric(put(y), put(outputs), put(times.astype(float)))
    repeated = metric(put(np.repeat(y, times, axis=0)), put(np.repeat(outputs, times, axis=0)))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("metric", "y", "outputs"), CASES, ids=NAMES)
def test_masked_steps_of_sequences_are_as_if_they_were_not_there(backend, put, metric, y, outputs):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    steps = ROWS // 2
    y, outputs = y[: 2 * steps], outputs[: 2 * steps]
    mask = np.arange(2 * steps) % 3 != 0
    short = metric(put(y[mask]), put(outputs[mask]))
    fold = (2, steps)
    dirty = y.astype(float)
    if not isinstance(metric, metrics.Sum | metrics.Mean) and "float" in str(y.dtype):
        dirty[~mask] = np.nan
    wide = dirty.reshape(*fold, *y.shape[1:]), outputs.reshape(*fold, *outputs.shape[1:])
    single = outputs.ndim == 1
    given = [put(wide[0].astype(y.dtype)), put(wide[1])]
    if single:  # one output for each step has an axis of its own
        given = [put(wide[0].astype(y.dtype)[..., None]), put(wide[1][..., None])]
    found = metric(*given, mask=put(mask.reshape(fold)))
    np.testing.assert_allclose(found, short, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("metric", "y", "outputs"), CASES, ids=NAMES)
def test_an_output_that_is_nan_makes_it_nan_unless_its_weight_is_zero(
    backend, put, measure, metric, y, outputs
):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    row = next(i for i in range(ROWS) if LABELS[i] == 0 and WEIGHT[i] > 0)  # none of the classes to ignore
    broken, weight = outputs.copy(), WEIGHT.copy()
    broken[row] = np.nan
    for sizes in ((ROWS,), (3, 10, 10)):
        assert np.isnan(measure(metric, y, broken, WEIGHT, sizes)).all()
    weight[row] = 0.0
    np.testing.assert_array_equal(measure(metric, y, broken, weight), measure(metric, y, outputs, weight))


@pytest.mark.parametrize(("metric", "y", "outputs"), CASES, ids=NAMES)
def test_a_metric_survives_json(backend, put, metric, y, outputs):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    again = restore(json.loads(json.dumps(describe(metric))))
    assert type(again) is type(metric)
    assert again.name == metric.name
    np.testing.assert_array_equal(again(put(y), put(outputs)), metric(put(y), put(outputs)))


@pytest.mark.parametrize(("metric", "y", "outputs"), CASES, ids=NAMES)
def test_float32_outputs_are_summed_in_float64(backend, put, metric, y, outputs):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    metric.build(outputs.shape[1:])
    with backend.scope():
        state = metric.update(metric.init(backend), put(y), put(outputs, "float32"), None)
    for array in state.values():
        assert str(nn.to_numpy(array).dtype) == "float64"


def test_kerass_names_are_known():
    for name in """accuracy binary_accuracy categorical_accuracy sparse_categorical_accuracy top_k_categorical_accuracy
        sparse_top_k_categorical_accuracy precision recall auc f1_score fbeta_score true_positives true_negatives
        false_positives false_negatives mean_iou binary_iou iou one_hot_iou one_hot_mean_iou r2_score
        root_mean_squared_error mean_squared_error mean_absolute_error mean_absolute_percentage_error
        mean_squared_logarithmic_error log_cosh_error cosine_similarity kl_divergence poisson hinge squared_hinge
        categorical_hinge binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy mean sum
        perplexity confusion_matrix matthews_correlation cohen_kappa acc mse mae mape msle rmse kld bce""".split():
        metric = metrics.get(name)
        assert isinstance(metric, metrics.Metric)
        assert metric.name == name
        assert restore(describe(metric)).name == name


def test_every_loss_is_a_metric_by_its_name(put):
    for name in losses.BY_NAME:
        assert metrics.get(name).name == name
    metric = metrics.get("huber")
    assert metric(put([[0.0], [0.0]]), put([[1.0], [3.0]])) == 1.5
    given = metrics.get(losses.Huber(delta=0.5))
    assert given(put([[0.0]]), put([[1.0]])) == 0.375
    assert given.name == "huber"


def test_a_metric_of_a_loss_speaks_of_itself(put):
    with pytest.raises(ValueError, match="The metric hinge expects targets shaped like the outputs"):
        metrics.get("hinge").check_targets(put(np.zeros((2, 3))), (4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds to be a whole number from 2 on, got 1"),
        (lambda: metrics.AUC(curve="roc"), "curve to be 'ROC' or 'PR', got 'roc'"),
        (lambda: metrics.AUC(summation_method="sum"), "summation_method to be 'interpolation'"),
        (lambda: metrics.AUC(thresholds=[1.5]), "thresholds from 0 to 1"),
        (
            lambda: metrics.Precision(average="mean"),
            "average to be 'micro', 'macro', 'weighted' or None, got 'mean'",
        ),
        (lambda: metrics.Precision(thresholds=2.0), "thresholds from 0 to 1, got 2.0"),
        (lambda: metrics.Recall(top_k=0), "top_k to be a whole number from 1 on, got 0"),
        (lambda: metrics.Recall(thresholds=0.5, top_k=1), "either thresholds or top_k"),
        (lambda: metrics.FBetaScore(beta=0.0), "beta above 0"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k to be a whole number from 1 on, got 0"),
        (lambda: metrics.R2Score(class_aggregation="mean"), "class_aggregation"),
        (lambda: metrics.RegressionAccuracy(0.0), "a precision above 0, got 0.0"),
        (lambda: metrics.ConfusionMatrix(num_classes=1), "num_classes to be a whole number from 2 on, got 1"),
        (lambda: metrics.ConfusionMatrix(normalize="rows"), "normalize to be 'true', 'pred', 'all' or None"),
        (lambda: metrics.CohenKappa(weightage="cubic"), "weightage to be 'linear', 'quadratic' or None"),
        (lambda: metrics.PrecisionAtRecall(1.5), "expects recall from 0 to 1, got 1.5"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "y", "shape", "message"),
    [
        (
            metrics.Precision(),
            np.zeros((2, 3)),
            (4,),
            r"or whole-number labels of shape \(n,\), got \(2, 3\)",
        ),
        (metrics.AUC(), np.zeros((2, 3)), (4,), "The metric auc expects targets shaped like the outputs"),
        (metrics.ConfusionMatrix(), np.zeros((2, 2)), (4,), r"expects labels of shape \(n,\), or one-hot"),
        (
            metrics.ConfusionMatrix(num_classes=3),
            np.zeros(2),
            (4,),
            "expects 3 outputs, one for each class, got 4",
        ),
        (metrics.R2Score(), np.zeros((2, 2)), (4,), "The metric r2_score expects targets shaped"),
        (metrics.RegressionAccuracy(1.0), np.zeros((2, 2)), (4,), "The metric regression_accuracy expects"),
        (metrics.CosineSimilarity(), np.zeros((2, 2)), (4,), "The metric cosine_similarity expects"),
        (metrics.SparseTopKCategoricalAccuracy(), np.zeros((2, 4)), (4,), "use 'top_k_categorical_accuracy'"),
        (metrics.TopKCategoricalAccuracy(), np.zeros(2), (4,), "use 'sparse_top_k_categorical_accuracy'"),
    ],
)
def test_targets_that_do_not_fit_are_refused(put, metric, y, shape, message):
    with pytest.raises(ValueError, match=message):
        metric.check_targets(put(y), shape)


def test_a_class_that_is_none_is_refused():
    with pytest.raises(ValueError, match="class_id to be one of 3 classes, got 5"):
        metrics.Recall(class_id=5).build((3,))


@pytest.mark.parametrize(
    "metric", [metrics.R2Score(), metrics.F1Score(), metrics.ConfusionMatrix(), metrics.AUC(multi_label=True)]
)
def test_a_state_with_a_place_for_each_class_needs_to_know_them(backend, metric):
    fresh = restore(describe(metric))
    with pytest.raises(ValueError, match="build"):
        fresh.init(backend)


def test_weights_that_do_not_fit_are_refused(put):
    for metric in (metrics.Precision(), metrics.MeanSquaredError()):
        with pytest.raises(ValueError, match=r"Weights of shape \(2, 3\) do not fit"):
            metric(put(np.zeros((2, 1))), put(np.zeros((2, 1))), put(np.ones((2, 3))))
