"""Reductions, weights, masks and the weight of a batch, of every loss alike."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import losses


def number(value):
    return float(nn.to_numpy(value))


@pytest.fixture
def sequences(rng):
    """Outputs (n, t, k), labels (n, t) and a mask (n, t), each row with steps that count."""
    outputs, labels = rng.normal(size=(4, 5, 3)), rng.integers(0, 3, (4, 5))
    mask = np.arange(5) < np.array([[5], [2], [3], [1]])
    return outputs, labels, mask


def crossentropies(outputs, labels):
    logs = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    return -np.take_along_axis(logs, labels[..., None], axis=-1)[..., 0]


def test_each_reduction_is_what_its_name_says(put, rng):
    y, outputs, weight = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), np.array([1.0, 0.0, 2.0, 0.5])
    values = ((y - outputs) ** 2).mean(-1)
    expected = {
        "mean_with_sample_weight": (weight * values).sum() / weight.sum(),
        "sum_over_batch_size": (weight * values).mean(),
        "mean": (weight * values).mean(),
        "sum": (weight * values).sum(),
        "none": weight * values,
        None: weight * values,
    }
    for reduction, wanted in expected.items():
        loss = losses.MeanSquaredError(reduction=reduction)
        found = nn.to_numpy(loss(put(y), put(outputs), put(weight)))
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=str(reduction))
    for reduction in ("mean_with_sample_weight", "sum_over_batch_size", "mean"):
        loss = losses.MeanSquaredError(reduction=reduction)
        assert number(loss(put(y), put(outputs))) == pytest.approx(values.mean(), rel=1e-12)


def test_reductions_of_steps(put, sequences):
    outputs, labels, mask = sequences
    values = crossentropies(outputs, labels)
    weight = mask * 2.0
    for reduction, wanted in {
        "mean_with_sample_weight": values[mask].mean(),
        "sum_over_batch_size": (values * weight).mean(),
        "sum": (values * weight).sum(),
        "none": values * weight,
    }.items():
        loss = losses.SparseCategoricalCrossentropy(reduction=reduction)
        found = nn.to_numpy(loss(put(labels), put(outputs), put(weight)))
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=reduction)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="The loss huber expects reduction to be one of .* got 'average'"):
        losses.Huber(reduction="average")


def test_sample_weights_and_masks_multiply(put, sequences):
    outputs, labels, mask = sequences
    sample = np.array([1.0, 3.0, 0.0, 2.0])
    weight = sample[:, None] * mask
    expected = (crossentropies(outputs, labels) * weight).sum() / weight.sum()
    loss = losses.SparseCategoricalCrossentropy()
    y, given = put(labels), put(outputs)
    for arguments in (
        {"sample_weight": put(sample), "mask": put(mask)},
        {"sample_weight": put(weight)},
        {"sample_weight": losses.combine_weights(put(sample), put(mask))},
        {"sample_weight": put(weight), "mask": put(mask)},
    ):
        assert number(loss(y, given, **arguments)) == pytest.approx(expected, rel=1e-12)
    assert losses.combine_weights(None, None) is None


@pytest.mark.parametrize("what", ["labels", "numbers", "probabilities"])
def test_what_has_weight_zero_may_be_anything_and_reaches_no_gradient(put, sequences, what):
    outputs, labels, mask = sequences
    loss, y = {
        "labels": (losses.SparseCategoricalCrossentropy(), np.where(mask, labels, -1)),
        "numbers": (losses.MeanSquaredError(), np.where(mask[..., None], outputs * 2, np.nan)),
        "probabilities": (losses.CategoricalCrossentropy(), np.where(mask[..., None], np.eye(3)[labels], np.nan)),
    }[what]  # fmt: skip
    value, gradient = nn.value_and_grad(lambda o: loss(put(y), o, mask=put(mask)))(put(outputs))
    gradient = nn.to_numpy(gradient)
    assert np.isfinite(number(value))
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).any()


def test_an_infinite_value_of_weight_zero_does_not_count(put):
    loss = losses.CTC()
    outputs, labels = put(np.zeros((2, 2, 3))), put([[1, 1], [1, 2]])  # the first does not fit
    value, gradient = nn.value_and_grad(lambda o: loss(labels, o, put([0.0, 1.0])))(outputs)
    assert number(value) == pytest.approx(np.log(9))
    assert np.isfinite(nn.to_numpy(gradient)).all()


def test_a_class_to_ignore_does_not_count(backend, put, sequences):
    outputs, labels, mask = sequences
    expected = crossentropies(outputs, labels)[mask].mean()
    for ignored in (-1, 255):
        y = put(np.where(mask, labels, ignored))
        loss = losses.SparseCategoricalCrossentropy(ignore_class=ignored)
        loss.check_targets(y, (5, 3))
        value, gradient = nn.value_and_grad(lambda o, loss=loss, y=y: loss(y, o))(put(outputs))
        assert number(value) == pytest.approx(expected, rel=1e-12)
        assert (nn.to_numpy(gradient)[~mask] == 0).all()
        with backend.scope():
            values = nn.to_numpy(loss.per_sample(y, put(outputs)))
            assert number(loss.batch_weight(y, put(outputs))) == mask.sum()
        np.testing.assert_array_equal(values == 0, ~mask)
    logs = put(outputs)
    likelihood = losses.NegativeLogLikelihood(ignore_class=-1)(put(np.where(mask, labels, -1)), logs)
    picked = -np.take_along_axis(outputs, labels[..., None], -1)[..., 0]
    assert number(likelihood) == pytest.approx(picked[mask].mean(), rel=1e-12)


def test_a_label_out_of_range_names_the_cure(put):
    with pytest.raises(
        ValueError, match=r"labels from -1 to 1.*say ignore_class=-1, or put .* sample_weight of 0"
    ):
        losses.SparseCategoricalCrossentropy().check_targets(put([-1, 1]), (3,))
    with pytest.raises(ValueError, match="labels from 0 to 7"):
        losses.SparseCategoricalCrossentropy(ignore_class=-1).check_targets(put([-1, 7]), (3,))


@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum_over_batch_size"])
def test_uneven_batches_weigh_what_the_whole_weighs(backend, put, sequences, reduction):
    outputs, labels, mask = sequences
    loss = losses.SparseCategoricalCrossentropy(reduction=reduction)
    whole = number(loss(put(labels), put(outputs), put(mask * 0.5)))
    total = weight = 0.0
    with backend.scope():
        for rows in (slice(0, 3), slice(3, 4)):
            batch = put(labels[rows]), put(outputs[rows]), put(mask[rows] * 0.5)
            share = float(loss.batch_weight(*batch))
            total, weight = total + share * number(loss(*batch)), weight + share
    assert total / weight == pytest.approx(whole, rel=1e-12)


def test_weights_that_do_not_fit_are_refused(put):
    loss = losses.Dice()
    with pytest.raises(
        ValueError, match=r"The loss dice gives values of shape \(2,\), which weights of shape \(2, 3\)"
    ):
        loss(put(np.zeros((2, 3, 4))), put(np.zeros((2, 3, 4))), put(np.ones((2, 3))))
    column = losses.MeanSquaredError()(put(np.zeros((2, 1))), put(np.ones((2, 1))), put([[1.0], [3.0]]))
    assert number(column) == 1.0


@pytest.mark.parametrize(
    ("loss", "hard"),
    [
        (losses.CategoricalCrossentropy(label_smoothing=0.1), None),
        (losses.SparseCategoricalCrossentropy(label_smoothing=0.1), "labels"),
        (losses.BinaryCrossentropy(label_smoothing=0.1), None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_label_smoothing_is_pytorch_s(put, rng, loss, hard):
    torch = pytest.importorskip("torch")
    z, labels = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    one_hot = np.eye(4)[labels]
    if loss.name == "binary_crossentropy":
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.tensor(z), torch.tensor(one_hot * 0.9 + 0.05)
        )
    else:
        expected = torch.nn.functional.cross_entropy(
            torch.tensor(z), torch.tensor(labels), label_smoothing=0.1
        )
    y = put(labels if hard else one_hot)
    assert number(loss(y, put(z))) == pytest.approx(float(expected), rel=1e-10)
    told = type(loss)(from_logits=False, label_smoothing=0.1)
    link = nn.functional.sigmoid if loss.name == "binary_crossentropy" else nn.functional.softmax
    assert number(told(y, link(put(z)))) == pytest.approx(float(expected), rel=1e-6)


def test_label_smoothing_takes_labels_of_whole_numbers_and_booleans(put):
    z, t = put(np.zeros((2, 2))), np.eye(2)
    for kind in ("int64", "bool", "float64"):
        loss = losses.CategoricalCrossentropy(label_smoothing=0.2)
        assert number(loss(put(t.astype(kind)), z)) == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="label_smoothing from 0 to 1, got 1.5"):
        losses.BinaryCrossentropy(label_smoothing=1.5)


@pytest.mark.parametrize(
    "loss", [losses.Triplet(margin=0.7), losses.Circle(gamma=3.0)], ids=["triplet", "circle"]
)
@pytest.mark.parametrize("given", ["weight", "mask"])
def test_a_sample_of_weight_zero_is_compared_with_none(put, rng, loss, given):
    x = rng.normal(size=(8, 3))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    labels, kept = np.array([0, 0, 1, 1, 0, 1, 0, 1]), np.array([1, 1, 1, 1, 0, 1, 0, 1], dtype=bool)
    x[4], x[6] = x[3], np.nan  # a partner as hard as can be, and what must reach no gradient
    weights = kept if given == "mask" else kept * 2.0
    options = {"mask": put(weights)} if given == "mask" else {"sample_weight": put(weights)}
    value, gradient = nn.value_and_grad(lambda o: loss(put(labels), o, **options))(put(x))
    alone, slope = nn.value_and_grad(lambda o: loss(put(labels[kept]), o))(put(x[kept]))
    assert float(nn.to_numpy(value)) == pytest.approx(float(nn.to_numpy(alone)), rel=1e-6)
    found = nn.to_numpy(gradient)
    np.testing.assert_allclose(found[kept], nn.to_numpy(slope), rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(found[~kept], 0.0)


def test_who_is_present_is_said_in_booleans_of_the_labels_shape(put):
    x, labels = put(np.eye(3)), put([0, 0, 1])
    for rule in (nn.functional.hardest_triplet, nn.functional.circle):
        with pytest.raises(ValueError, match=r"expects present to be booleans of shape \(3,\)"):
            rule(x, labels, put([1.0, 0.0, 1.0]))
        with pytest.raises(ValueError, match=r"expects present to be booleans of shape \(3,\)"):
            rule(x, labels, put([True, False]))


def test_dice_is_of_each_sample_and_with_all_axes_keras_s_of_the_whole_batch(put, rng):
    p, t = rng.uniform(size=(3, 4, 4, 2)), rng.integers(0, 2, (3, 4, 4, 2)).astype(float)
    t[1] = 0.0
    t[1, 0, 0, 0] = 1.0  # a small region

    def dice(axis):
        return 1 - 2 * (p * t).sum(axis) / (p.sum(axis) + t.sum(axis))

    assert abs(dice((1, 2, 3)).mean() - dice(None)) > 1e-2
    for axis, expected in ((None, dice((1, 2, 3))), ((1, 2), dice((1, 2))), ((0, 1, 2, 3), dice(None))):
        for loss in (losses.Dice(axis=axis), losses.Tversky(axis=axis)):
            assert float(nn.to_numpy(loss(put(t), put(p)))) == pytest.approx(expected.mean(), rel=1e-6)


def test_by_hand_a_label_that_is_no_class_gives_nan_unless_it_does_not_count(put):
    labels, z = put([1, -1]), put([[0.3, 1.2], [0.1, -0.4]])
    for kind, outputs in (
        (losses.SparseCategoricalCrossentropy, z),
        (losses.NegativeLogLikelihood, nn.functional.log_softmax(z)),
    ):
        first = float(nn.to_numpy(kind()(labels[:1], outputs[:1, :])))
        assert np.isnan(float(nn.to_numpy(kind()(labels, outputs))))
        assert float(nn.to_numpy(kind()(labels, outputs, put([1.0, 0.0])))) == pytest.approx(first)
        assert float(nn.to_numpy(kind(ignore_class=-1)(labels, outputs))) == pytest.approx(first)


@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum", "none"])
def test_weights_of_classes_and_the_class_to_ignore_are_pytorch_s(put, rng, reduction):
    torch = pytest.importorskip("torch")
    z, labels = rng.normal(size=(6, 4)), np.array([0, 3, 1, 3, -100, 2])
    of_classes = np.array([0.5, 2.0, 1.0, 0.25])
    weights = of_classes[np.maximum(labels, 0)]
    theirs = torch.nn.CrossEntropyLoss(
        torch.tensor(of_classes), ignore_index=-100, reduction=reduction.partition("_")[0]
    )
    tensor = torch.tensor(z, requires_grad=True)
    expected = theirs(tensor, torch.tensor(labels))
    expected.sum().backward()
    loss = losses.SparseCategoricalCrossentropy(True, ignore_class=-100, reduction=reduction)
    found, slope = nn.value_and_grad(lambda o: nn.functional.sum(loss(put(labels), o, put(weights))))(put(z))
    np.testing.assert_allclose(nn.to_numpy(found), expected.sum().item(), rtol=1e-6)
    np.testing.assert_allclose(nn.to_numpy(slope), tensor.grad.numpy(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("steps", [False, True])
def test_sample_weights_of_yes_or_no_are_pytorch_s(put, rng, steps):
    torch = pytest.importorskip("torch")
    shape = (4, 5) if steps else (4, 1)
    z, y, weights = rng.normal(size=shape), rng.integers(0, 2, shape).astype(float), rng.uniform(size=shape)
    theirs = torch.nn.BCEWithLogitsLoss(torch.tensor(weights), reduction="sum")
    expected = theirs(torch.tensor(z), torch.tensor(y)).item()
    loss = losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    given = put(y[..., None]), put(z[..., None]), put(weights)
    assert number(loss(*given)) == pytest.approx(expected, rel=1e-6)


def test_weights_that_are_all_zero_are_refused(light):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    x, y, zero = np.ones((4, 3)), np.ones(4), np.zeros(4)
    match = (
        "expects a weight above zero for some sample, got 0 for all 4.*Look at sample_weight and class_weight"
    )
    with pytest.raises(ValueError, match=f"^fit {match}"):
        model.fit(x, y, sample_weight=zero, verbose=0)
    with pytest.raises(ValueError, match=f"^fit {match}"):
        model.fit(x, np.ones(4, dtype=int), class_weight={1: 0.0}, verbose=0)
    with pytest.raises(ValueError, match=f"^evaluate {match}"):
        model.evaluate(x, y, sample_weight=zero)
    with pytest.raises(ValueError, match=f"^validation_data {match}"):
        model.fit(x, y, validation_data=(x, y, zero), verbose=0)
    zero[1] = 1.0
    model.fit(x, y, sample_weight=zero, verbose=0)


def test_an_epoch_without_any_weight_is_told(light):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    batch = np.ones((4, 3)), np.ones(4), np.zeros(4)
    with pytest.warns(
        RuntimeWarning, match=r"^epoch 1: every sample has weight 0.*the loss is NaN. Look at the"
    ):
        model.fit(lambda: iter([batch]), verbose=0)
    with pytest.warns(RuntimeWarning, match=r"^the batch: every sample has weight 0"):
        model.train_on_batch(*batch)
