"""Metrics against scikit-learn, with and without weights, and against Keras's published formulas."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import metrics

sklearn = pytest.importorskip("sklearn.metrics")

ROWS, CLASSES = 40, 3


@pytest.fixture(params=[False, True], ids=["alike", "weighted"])
def weight(request, rng):
    return rng.uniform(0.1, 2.0, ROWS) if request.param else None


@pytest.fixture
def classes(rng):
    labels = rng.integers(0, CLASSES, ROWS)
    z = rng.normal(size=(ROWS, CLASSES)) + np.eye(CLASSES)[labels]
    return labels, np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.fixture
def binary(rng):
    truth = rng.integers(0, 2, ROWS)
    return truth, np.clip(0.25 * truth + 0.75 * rng.uniform(size=ROWS), 0, 1)


@pytest.fixture
def ask(measure, weight):
    def answer(metric, y, outputs):
        return measure(metric, y, outputs, weight)

    return answer


def close(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-12)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", None])
def test_precision_recall_and_f_of_classes(ask, classes, weight, average):
    labels, p = classes
    said = p.argmax(-1)
    options = {"average": average, "sample_weight": weight, "zero_division": 0}
    close(
        ask(metrics.Precision(average=average), labels, p), sklearn.precision_score(labels, said, **options)
    )
    close(ask(metrics.Recall(average=average), labels, p), sklearn.recall_score(labels, said, **options))
    one_hot = np.eye(CLASSES)[labels]
    for y in (labels, one_hot):
        close(ask(metrics.F1Score(average), y, p), sklearn.f1_score(labels, said, **options))
        close(
            ask(metrics.FBetaScore(average, 2.0), y, p), sklearn.fbeta_score(labels, said, beta=2, **options)
        )


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", None])
def test_several_labels_for_each_sample(ask, rng, weight, average):
    truth, p = rng.integers(0, 2, (ROWS, 4)), rng.uniform(size=(ROWS, 4))
    said = p > 0.4
    options = {"average": average, "sample_weight": weight, "zero_division": 0}
    for metric, theirs in (
        (metrics.Precision(thresholds=0.4, average=average), sklearn.precision_score),
        (metrics.Recall(thresholds=0.4, average=average), sklearn.recall_score),
        (metrics.F1Score(average, threshold=0.4), sklearn.f1_score),
    ):
        close(ask(metric, truth, p), theirs(truth, said, **options))


def test_yes_or_no(ask, binary, weight):
    truth, p = binary
    said = p > 0.5
    close(ask(metrics.Precision(), truth, p), sklearn.precision_score(truth, said, sample_weight=weight))
    close(
        ask(metrics.Recall(), truth[:, None], p[:, None]),
        sklearn.recall_score(truth, said, sample_weight=weight),
    )
    close(ask(metrics.F1Score(), truth, p), sklearn.f1_score(truth, said, sample_weight=weight))
    close(ask(metrics.BinaryAccuracy(), truth, p), sklearn.accuracy_score(truth, said, sample_weight=weight))
    tn, fp, fn, tp = sklearn.confusion_matrix(truth, said, sample_weight=weight).ravel()
    for kind, expected in (
        (metrics.TrueNegatives, tn),
        (metrics.FalsePositives, fp),
        (metrics.FalseNegatives, fn),
        (metrics.TruePositives, tp),
    ):
        close(ask(kind(), truth, p), expected)


def test_thresholds_classes_and_the_largest(ask, classes, weight):
    labels, p = classes
    one_hot = np.eye(CLASSES, dtype=int)[labels]
    found = ask(metrics.Precision(thresholds=[0.2, 0.5], class_id=1), one_hot, p)
    expected = [
        sklearn.precision_score(one_hot[:, 1], p[:, 1] > threshold, sample_weight=weight)
        for threshold in (0.2, 0.5)
    ]
    close(found, expected)
    among = np.argsort(np.argsort(-p, axis=-1), axis=-1) < 2
    expected = sklearn.recall_score(one_hot.ravel(), among.ravel(), sample_weight=None if weight is None else
                                    np.repeat(weight, CLASSES))  # fmt: skip
    close(ask(metrics.Recall(top_k=2), one_hot, p), expected)


def test_top_k_accuracy(ask, rng, weight):
    labels, z = rng.integers(0, 6, ROWS), rng.normal(size=(ROWS, 6))
    for k in (1, 2, 5):
        expected = sklearn.top_k_accuracy_score(labels, z, k=k, sample_weight=weight, labels=range(6))
        close(ask(metrics.SparseTopKCategoricalAccuracy(k=k), labels, z), expected)
        close(ask(metrics.TopKCategoricalAccuracy(k=k), np.eye(6)[labels], z), expected)


@pytest.mark.parametrize(
    ("metric", "one_hot"),
    [
        (metrics.Accuracy(), False),
        (metrics.CategoricalAccuracy(), True),
        (metrics.SparseCategoricalAccuracy(), False),
        (metrics.SparseTopKCategoricalAccuracy(k=2), False),
        (metrics.TopKCategoricalAccuracy(k=2), True),
        (metrics.Precision(class_id=0), True),
        (metrics.ConfusionMatrix(), False),
        (metrics.AUC(), True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_one_output_of_several_that_is_nan_is_enough(put, metric, one_hot):
    labels, z = np.array([0, 2]), np.array([[0.9, 0.05, 0.05], [0.2, np.nan, 0.7]])
    assert np.isnan(metric(put(np.eye(3)[labels] if one_hot else labels), put(z))).all()


@pytest.mark.parametrize("kind", [metrics.SparseCategoricalAccuracy, metrics.SparseTopKCategoricalAccuracy])
def test_labels_that_are_no_classes_are_wrong_or_ignored(put, measure, kind):
    options = {} if kind is metrics.SparseCategoricalAccuracy else {"k": 1}
    labels, z = np.array([0, -1, 1, 7]), np.log([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.1, 0.9]])
    assert measure(kind(**options), labels, z) == 1 / 4
    assert kind(**options)(put(labels), put(z), mask=put(labels != -1)) == 1 / 3
    metric = kind(**options, ignore_class=-1)
    for sizes in (None, (1, 3)):
        assert measure(metric, labels, z, sizes=sizes) == 1 / 3
        assert measure(metric, labels[:, None], z, np.array([3.0, 9.0, 1.0, 0.0]), sizes) == 3 / 4
    assert metric(put([[0, -1], [-1, 0]]), put(z.reshape(2, 2, 2))) == 1 / 2
    assert kind.from_config(metric.get_config()).ignore_class == -1


def test_outputs_of_other_classes_than_said_are_refused_with_the_cure(put):
    for metric in (metrics.ConfusionMatrix(2), metrics.MeanIoU(4)):
        with pytest.raises(
            ValueError, match=r"expects [24] outputs.* got 3. Make num_classes 3, or leave it out"
        ):
            metric(put([0, 1, 2]), put(np.eye(3)))


def test_matrix_and_what_is_made_of_it(ask, classes, weight):
    labels, p = classes
    said = p.argmax(-1)
    options = {"sample_weight": weight}
    for normalize in (None, "true", "pred", "all"):
        expected = sklearn.confusion_matrix(labels, said, normalize=normalize, **options)
        found = ask(metrics.ConfusionMatrix(normalize=normalize), labels, p)
        assert isinstance(found, np.ndarray)
        close(found, expected)
    close(ask(metrics.ConfusionMatrix(3), labels, said), sklearn.confusion_matrix(labels, said, **options))
    close(ask(metrics.MatthewsCorrelation(), labels, p), sklearn.matthews_corrcoef(labels, said, **options))
    for weightage in (None, "linear", "quadratic"):
        expected = sklearn.cohen_kappa_score(labels, said, weights=weightage, **options)
        close(ask(metrics.CohenKappa(weightage=weightage), labels, p), expected)
    each = sklearn.jaccard_score(labels, said, average=None, **options)
    one_hot = np.eye(CLASSES)[labels]
    close(ask(metrics.MeanIoU(), labels, p), each.mean())
    close(ask(metrics.OneHotMeanIoU(), one_hot, p), each.mean())
    close(ask(metrics.IoU(3, [0, 2]), labels, p), each[[0, 2]].mean())
    close(ask(metrics.OneHotIoU(3, [1]), one_hot, p), each[1])


def test_yes_or_no_matrices(ask, binary, weight):
    truth, p = binary
    said = (p > 0.6).astype(int)
    expected = sklearn.jaccard_score(truth, said, average=None, sample_weight=weight)
    close(ask(metrics.BinaryIoU(threshold=0.6), truth, p), expected.mean())
    close(ask(metrics.BinaryIoU((1,), 0.6), truth[:, None], p[:, None]), expected[1])
    said = (p > 0.5).astype(int)
    close(
        ask(metrics.ConfusionMatrix(), truth, p), sklearn.confusion_matrix(truth, said, sample_weight=weight)
    )


def test_classes_that_never_occur_are_left_out_of_the_mean(put):
    metric = metrics.MeanIoU(num_classes=5)
    assert metric(put([0, 1, 1]), put([0, 1, 0])) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_labels_that_are_no_classes_do_not_count(put):
    metric = metrics.ConfusionMatrix(num_classes=2, ignore_class=1)
    np.testing.assert_array_equal(metric(put([0, -1, 255, 1, 0]), put([0, 0, 0, 0, 1])), [[1, 1], [0, 0]])


def test_regression(ask, rng, weight):
    y, outputs = rng.normal(size=(ROWS, 3)) + 50, rng.normal(size=(ROWS, 3)) + 50
    options = {"sample_weight": weight}
    close(ask(metrics.MeanSquaredError(), y, outputs), sklearn.mean_squared_error(y, outputs, **options))
    close(ask(metrics.MeanAbsoluteError(), y, outputs), sklearn.mean_absolute_error(y, outputs, **options))
    expected = np.sqrt(sklearn.mean_squared_error(y, outputs, **options))
    close(ask(metrics.RootMeanSquaredError(), y, outputs), expected)
    expected = 100 * sklearn.mean_absolute_percentage_error(y, outputs, **options)
    close(ask(metrics.MeanAbsolutePercentageError(), y, outputs), expected)
    expected = sklearn.mean_squared_log_error(y, outputs, **options)
    close(ask(metrics.MeanSquaredLogarithmicError(), y, outputs), expected)
    for ours, theirs in (
        ("uniform_average", "uniform_average"),
        ("variance_weighted_average", "variance_weighted"),
        (None, "raw_values"),
    ):
        expected = sklearn.r2_score(y, outputs, multioutput=theirs, **options)
        close(ask(metrics.R2Score(ours), y, outputs), expected)
    close(ask(metrics.R2Score(), y[:, 0], outputs[:, 0]), sklearn.r2_score(y[:, 0], outputs[:, 0], **options))


def test_r2_of_targets_far_from_zero_loses_no_digits(backend, put, rng):
    y = rng.normal(size=(60, 1)) * 1e-3 + 1e6
    outputs = y + rng.normal(size=(60, 1)) * 5e-4
    metric = metrics.R2Score()
    metric.build((1,))
    state = metric.init(backend)
    with backend.scope():
        for start in range(0, 60, 7):
            state = metric.update(state, put(y[start : start + 7]), put(outputs[start : start + 7]), None)
    assert metric.result(state) == pytest.approx(sklearn.r2_score(y, outputs), rel=1e-6)


def test_r2_of_constant_targets(put):
    metric, same = metrics.R2Score(), put(np.ones((3, 1)))
    assert metric(same, same) == 1.0
    assert metric(same, put(np.zeros((3, 1)))) == 0.0
    assert np.isnan(metric(same, same, put(np.zeros(3))))


def test_r2_adjusted_for_the_number_of_regressors(put, rng):
    y, outputs = rng.normal(size=(10, 1)), rng.normal(size=(10, 1))
    plain = sklearn.r2_score(y, outputs)
    found = metrics.R2Score(num_regressors=2)(put(y), put(outputs))
    assert found == pytest.approx(1 - (1 - plain) * 9 / 7)


def test_crossentropies_and_perplexity(ask, classes, weight):
    labels, p = classes
    expected = sklearn.log_loss(labels, p, sample_weight=weight)
    close(ask(metrics.SparseCategoricalCrossentropy(), labels, p), expected)
    close(ask(metrics.CategoricalCrossentropy(), np.eye(CLASSES)[labels], p), expected)
    close(ask(metrics.SparseCategoricalCrossentropy(from_logits=True), labels, np.log(p)), expected)
    close(ask(metrics.Perplexity(), labels, p), np.exp(expected))
    assert metrics.Perplexity(from_logits=True)(*(nn.get_backend("numpy").xp.asarray(a) for a in (
        np.array([1]), np.array([[1e4, 0.0]])))) == np.inf  # fmt: skip


def test_hinges_and_cosines(ask, binary, classes, weight):
    truth, p = binary
    expected = sklearn.hinge_loss(truth, 4 * p - 2, sample_weight=weight)
    close(ask(metrics.Hinge(), truth, 4 * p - 2), expected)
    labels, q = classes
    one_hot = np.eye(CLASSES)[labels]
    pairs = 1 - np.diag(sklearn.pairwise.cosine_distances(one_hot, q))
    close(ask(metrics.CosineSimilarity(), one_hot, q), np.average(pairs, weights=weight))


def test_exact_areas(binary, weight, put):
    truth, p = binary
    p = np.round(p, 1)  # ties
    given = put(truth), put(p), None if weight is None else put(weight)
    close(metrics.roc_auc(*given), sklearn.roc_auc_score(truth, p, sample_weight=weight))
    close(metrics.average_precision(*given), sklearn.average_precision_score(truth, p, sample_weight=weight))


@pytest.mark.parametrize("truth", [0, 1])
def test_areas_of_one_class_alone_are_not_defined(backend, put, truth):
    y, p = put([truth, truth]), put([0.1, 0.2])
    with backend.scope():
        metric = metrics.AUC()
        state = metric.update(metric.init(backend), y, p, None)
    assert np.isnan([metrics.AUC()(y, p), metrics.roc_auc(y, p), metric.error_bound(state)]).all()
    both = metrics.SensitivityAtSpecificity(0.5), metrics.SpecificityAtSensitivity(0.5)
    assert np.isnan([metric(y, p) for metric in both]).all()
    found = metrics.AUC(curve="PR"), metrics.PrecisionAtRecall(0.5), metrics.RecallAtPrecision(0.5)
    for value in [metric(y, p) for metric in found] + [metrics.average_precision(y, p)]:
        assert np.isnan(value) if truth == 0 else value == pytest.approx(1.0)


def test_labels_of_one_class_alone_are_left_out_of_the_mean_of_areas(put):
    y, p = put([[0, 0, 1], [1, 0, 1], [0, 0, 1]]), put([[0.1, 0.4, 0.5], [0.9, 0.2, 0.3], [0.95, 0.2, 0.3]])
    assert metrics.AUC(multi_label=True)(y, p) == 0.5
    assert metrics.AUC(curve="PR", multi_label=True)(y[:, 2:], p[:, 2:]) == pytest.approx(1.0)
    assert np.isnan(metrics.AUC(multi_label=True)(y[:, 1:], p[:, 1:]))


def test_exact_areas_of_scores_that_are_nan_are_nan(put):
    y, p = put([1, 0, 1]), put([0.9, np.nan, 0.2])
    for area in (metrics.roc_auc, metrics.average_precision):
        assert np.isnan(area(y, p))
        assert area(y, p, put([1.0, 0.0, 1.0])) == area(y[::2], p[::2]) or area is metrics.roc_auc


def test_scores_between_two_thresholds_have_the_bound_of_a_half_and_an_exact_area(backend, put, rng):
    truth = rng.integers(0, 2, 500)
    p = np.clip(0.5 + 1e-4 * rng.normal(0.4 * truth - 0.2, 0.3), 0.4999, 0.5001)
    exact = sklearn.roc_auc_score(truth, p)
    assert exact > 0.7
    fine = metrics.AUC(thresholds=np.linspace(0.4999, 0.5001, 200).tolist())
    for metric, least, most in ((metrics.AUC(), 0.2, 0.5), (fine, 0.0, 0.01)):
        with backend.scope():
            state = metric.update(metric.init(backend), put(truth), put(p), None)
        error, bound = abs(metric.result(state) - exact), metric.error_bound(state)
        assert least <= error <= bound + 1e-12
        assert bound <= most
    assert metrics.roc_auc(put(truth), put(p)) == pytest.approx(exact, rel=1e-12)


def test_what_does_not_fit_a_score_each_is_refused(put):
    with pytest.raises(ValueError, match="one score for each target, got 1 for 2"):
        metrics.roc_auc(put([1, 0]), put([0.1]))
    with pytest.raises(ValueError, match="one weight for each score, got 1 for 2"):
        metrics.roc_auc(put([1, 0]), put([0.1, 0.2]), put([1.0]))


@pytest.mark.parametrize("count", [2, 10, 200])
def test_the_area_is_within_its_bound_of_the_exact_one(backend, put, rng, count):
    for _ in range(5):
        truth = rng.integers(0, 2, 60)
        p = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
        metric = metrics.AUC(num_thresholds=count)
        with backend.scope():
            state = metric.update(metric.init(backend), put(truth), put(p), None)
        bound = metric.error_bound(state)
        assert 0 <= bound <= 0.5
        assert abs(metric.result(state) - sklearn.roc_auc_score(truth, p)) <= bound + 1e-12


def test_thresholds_between_all_scores_make_the_area_exact(ask, put, binary, weight):
    truth, p = binary
    levels = np.unique(p)
    metric = metrics.AUC(thresholds=((levels[1:] + levels[:-1]) / 2).tolist())
    close(ask(metric, truth, p), sklearn.roc_auc_score(truth, p, sample_weight=weight))


def keras_auc(truth, p, weight, count, curve, method):
    """Keras's algorithm, by its definition: counts at each threshold, then sums."""
    edges = np.array([-1e-7] + [(i + 1) / (count - 1) for i in range(count - 2)] + [1 + 1e-7])
    said = p[None] > edges[:, None]
    tp, fp = (said * truth * weight).sum(1), (said * (1 - truth) * weight).sum(1)
    fn, tn = (~said * truth * weight).sum(1), (~said * (1 - truth) * weight).sum(1)

    def divide(a, b):
        return np.divide(a, b, out=np.zeros_like(a), where=b != 0)

    if curve == "PR" and method == "interpolation":
        dtp, q = tp[:-1] - tp[1:], tp + fp
        slope = divide(dtp, np.maximum(q[:-1] - q[1:], 0))
        intercept = tp[1:] - slope * q[1:]
        ratio = np.where((q[:-1] > 0) & (q[1:] > 0), divide(q[:-1], np.maximum(q[1:], 0)), 1.0)
        ratio = np.where(ratio == 0, 1.0, ratio)
        return divide(slope * (dtp + intercept * np.log(ratio)), tp[1:] + fn[1:]).sum()
    recall = divide(tp, tp + fn)
    x, y = (divide(fp, fp + tn), recall) if curve == "ROC" else (recall, divide(tp, tp + fp))
    heights = {
        "interpolation": (y[:-1] + y[1:]) / 2,
        "minoring": np.minimum(y[:-1], y[1:]),
        "majoring": np.maximum(y[:-1], y[1:]),
    }[method]
    return ((x[:-1] - x[1:]) * heights).sum()


@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("method", ["interpolation", "minoring", "majoring"])
def test_areas_are_keras_s(ask, binary, weight, curve, method):
    truth, p = binary
    p = p.copy()
    p[:4] = [0.0, 1.0, 0.5, 3 / 20]  # on thresholds
    each = np.ones(ROWS) if weight is None else weight
    for count in (3, 21, 200):
        metric = metrics.AUC(count, curve, method)
        close(ask(metric, truth, p), keras_auc(truth, p, each, count, curve, method))


def test_areas_of_several_labels_are_their_mean(ask, classes, weight):
    labels, p = classes
    one_hot = np.eye(CLASSES)[labels]
    each = np.ones(ROWS) if weight is None else weight
    expected = np.mean(
        [keras_auc(one_hot[:, k], p[:, k], each, 50, "ROC", "interpolation") for k in range(CLASSES)]
    )
    for y in (labels, one_hot):
        close(ask(metrics.AUC(50, multi_label=True), y, p), expected)
    together = keras_auc(one_hot.ravel(), p.ravel(), np.repeat(each, CLASSES), 50, "ROC", "interpolation")
    close(ask(metrics.AUC(50), one_hot, p), together)


def test_points_on_the_curves(ask, binary, weight):
    truth, p = binary
    each = np.ones(ROWS) if weight is None else weight
    edges = np.linspace(0, 1, 51)[1:-1]
    said = p[None] > np.concatenate([[-1], edges, [2]])[:, None]
    tp, fp = (said * truth * each).sum(1), (said * (1 - truth) * each).sum(1)
    recall, specificity = tp / (truth * each).sum(), 1 - fp / ((1 - truth) * each).sum()
    precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp + fp > 0)
    for metric, measured, other in (
        (metrics.PrecisionAtRecall(0.6, 51), precision, recall),
        (metrics.RecallAtPrecision(0.7, 51), recall, precision),
        (metrics.SensitivityAtSpecificity(0.6, 51), recall, specificity),
        (metrics.SpecificityAtSensitivity(0.6, 51), specificity, recall),
    ):
        wanted = 0.7 if metric.name == "recall_at_precision" else 0.6
        close(ask(metric, truth, p), np.max(np.where(other >= wanted, measured, 0.0)))


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_logits_are_made_probabilities(backend, put, rng, link):
    z, labels = rng.normal(size=(ROWS, CLASSES)), rng.integers(0, CLASSES, ROWS)
    one_hot = put(np.eye(CLASSES)[labels])
    p = getattr(nn.functional, link)(put(z))
    for metric in (
        metrics.Precision(),
        metrics.AUC(),
        metrics.Recall(thresholds=0.3),
        metrics.F1Score(threshold=0.4),
    ):
        metric.build((CLASSES,))
        with backend.scope():
            state = metric.update(metric.init(backend), one_hot, put(z), None, logits=link)
        np.testing.assert_allclose(metric.result(state), metric(one_hot, p), rtol=1e-12)


def test_the_book_s_regression_accuracy(put):
    y, outputs = np.sin(np.linspace(0, 6, 50))[:, None], np.sin(np.linspace(0, 6, 50))[:, None]
    outputs = outputs + np.linspace(0, 0.01, 50)[:, None]
    metric = metrics.RegressionAccuracy.of(y)
    assert metric.precision == np.std(y) / 250
    assert metric(put(y), put(outputs)) == np.mean(np.absolute(outputs - y) < np.std(y) / 250)
    assert 0 < metric(put(y), put(outputs)) < 1
    loose = metrics.RegressionAccuracy.of(put(y), share=1.0, name="near")
    assert loose.name == "near"
    assert loose(put(y[:, 0]), put(outputs)) == 1.0
