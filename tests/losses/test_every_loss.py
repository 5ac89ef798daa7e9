"""What every loss promises: a name, a description in JSON, float32 kept, a mean of its values, extremes."""

import json

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import losses
from nnbackend.config import describe, restore

LABELS = np.array([0, 2, 1, 2])
ONE_HOT = np.eye(3)[LABELS]
Z = np.array([[0.3, -1.1, 0.8], [0.1, 0.2, 1.5], [-0.4, 0.9, -0.2], [1.2, 0.0, 0.1]])
P = np.exp(Z) / np.exp(Z).sum(-1, keepdims=True)
UNIT = Z / np.linalg.norm(Z, axis=-1, keepdims=True)
FRAMES = np.stack([Z, Z[::-1], -Z], axis=1)

#: A loss with arguments that are not the defaults, targets and outputs.
CASES = [
    (losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), ONE_HOT, Z),
    (losses.BinaryFocalCrossentropy(True, alpha=0.3, gamma=1.5), ONE_HOT, Z),
    (losses.CTC(blank=-1), np.array([[0, 2], [1, 0], [2, 2], [0, 1]]), FRAMES),
    (losses.CategoricalCrossentropy(label_smoothing=0.1), ONE_HOT, Z),
    (losses.CategoricalFocalCrossentropy(alpha=[0.2, 0.3, 0.5], gamma=1.0), ONE_HOT, Z),
    (losses.CategoricalGeneralizedCrossEntropy(q=0.7), LABELS, Z),
    (losses.CategoricalHinge(), ONE_HOT, Z),
    (losses.Circle(gamma=4.0, margin=0.3), np.array([0, 1, 0, 1]), UNIT),
    (losses.Contrastive(margin=0.7), ONE_HOT, np.abs(Z)),
    (losses.CosineSimilarity(), ONE_HOT, Z),
    (losses.Dice(axis=-1), ONE_HOT, P),
    (losses.Hinge(), ONE_HOT, Z),
    (losses.Huber(delta=0.3), ONE_HOT, Z),
    (losses.KLDivergence(), P[::-1].copy(), P),
    (losses.LogCosh(), ONE_HOT, Z),
    (losses.MeanAbsoluteError(), ONE_HOT, Z),
    (losses.MeanAbsolutePercentageError(), ONE_HOT + 1, Z),
    (losses.MeanSquaredError(), ONE_HOT, Z),
    (losses.MeanSquaredLogarithmicError(), ONE_HOT, P),
    (losses.NegativeLogLikelihood(ignore_class=2), LABELS, np.log(P)),
    (losses.Poisson(), ONE_HOT, P),
    (losses.SparseCategoricalCrossentropy(ignore_class=2, label_smoothing=0.1), LABELS, Z),
    (losses.SquaredHinge(), ONE_HOT, Z),
    (losses.Triplet(margin=0.6), np.array([0, 1, 0, 1]), Z),
    (losses.Tversky(alpha=0.3, beta=0.7, axis=(1,)), ONE_HOT, P),
]
NAMES = [type(case[0]).__name__ for case in CASES]


def number(value):
    return float(nn.to_numpy(value))


def test_every_loss_is_here():
    kinds = {n for n in losses.__all__ if isinstance(getattr(losses, n), type)}
    assert set(NAMES) == kinds - {"Loss", "FunctionLoss"}


@pytest.mark.parametrize(("loss", "y", "outputs"), CASES, ids=NAMES)
def test_a_loss_is_the_mean_of_its_values_and_survives_json(backend, put, loss, y, outputs):
    y, outputs = put(y), put(outputs)
    loss.check_targets(y, tuple(outputs.shape[1:]))
    with backend.scope():
        values, counted = nn.to_numpy(loss.per_sample(y, outputs)), loss.counted(y)
    assert values.shape[0] == 4
    kept = values if counted is None else values[nn.to_numpy(counted)]
    assert number(loss(y, outputs)) == pytest.approx(kept.mean(), rel=1e-12)
    again = restore(json.loads(json.dumps(describe(loss))))
    assert type(again) is type(loss)
    assert again.name == loss.name
    np.testing.assert_array_equal(nn.to_numpy(again(y, outputs)), nn.to_numpy(loss(y, outputs)))


@pytest.mark.parametrize(("loss", "y", "outputs"), CASES, ids=NAMES)
def test_gradients_are_those_of_differences(backend, put, loss, y, outputs):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    y = put(y)
    nn.gradcheck(lambda o: loss(y, o), put(outputs), projections=1)


@pytest.mark.parametrize(("loss", "y", "outputs"), CASES, ids=NAMES)
def test_float32_stays_float32_and_large_outputs_stay_finite(backend, put, loss, y, outputs):
    for scale in (1.0, 1e4):
        given = put(outputs if outputs.min() >= 0 and outputs.max() <= 1 else outputs * scale, "float32")
        with backend.scope():
            targets = loss.cast_targets(put(y), given)
        value, gradient = nn.value_and_grad(lambda o, t=targets: loss(t, o))(given)
        assert value.dtype == gradient.dtype == backend.xp.float32
        assert np.isfinite(nn.to_numpy(value))
        assert np.isfinite(nn.to_numpy(gradient)).all()


@pytest.mark.parametrize("name", sorted(losses.BY_NAME))
def test_every_name_gives_a_loss_of_that_kind(name):
    loss = losses.get(name)
    assert type(loss).__name__ == losses.BY_NAME[name]
    assert losses.get(loss.name.upper()).name == loss.name


def test_kerass_names_are_known():
    for name in """binary_crossentropy binary_focal_crossentropy categorical_crossentropy
        categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge circle
        cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error
        mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
        sparse_categorical_crossentropy squared_hinge tversky bce kld mae mape mse msle logcosh""".split():
        assert isinstance(losses.get(name), losses.Loss)


def test_hinges_take_zeros_and_ones_or_signs(put):
    z = put(Z)
    for kind in (losses.Hinge, losses.SquaredHinge):
        assert number(kind()(put(ONE_HOT), z)) == number(kind()(put(2 * ONE_HOT - 1), z))


def test_focal_losses_look_at_what_made_the_output(put):
    for kind, link in (
        (losses.CategoricalFocalCrossentropy, nn.functional.softmax),
        (losses.BinaryFocalCrossentropy, nn.functional.sigmoid),
    ):
        z = nn.Tensor(put([[800.0, -800.0]]))
        assert number(kind()(put([[0.0, 1.0]]), link(z))) == pytest.approx(
            number(kind(from_logits=True)(put([[0.0, 1.0]]), z))
        )
        told = kind(from_logits=False)
        p = put([[0.25, 0.75]])
        logits = put(np.log([[0.25, 0.75]]) if link is nn.functional.softmax else np.log([[1 / 3, 3.0]]))
        assert number(told(put([[0.0, 1.0]]), p)) == pytest.approx(
            number(kind(from_logits=True)(put([[0.0, 1.0]]), logits)), rel=1e-6
        )


def test_step_weights_of_ctc_are_the_lengths_of_its_outputs(backend, put, rng):
    z, labels = rng.normal(size=(2, 6, 4)), put([[1, 2], [3, 0]])
    mask = np.arange(6) < np.array([[6], [3]])
    loss, plain = losses.CTC(), nn.functional.ctc(nn.functional.log_softmax(put(z)), labels, put([6, 3]))
    plain = nn.to_numpy(plain)
    assert number(loss(labels, put(z), mask=put(mask))) == pytest.approx(plain.mean(), rel=1e-12)
    weighted = number(loss(labels, put(z), put([1.0, 3.0]), put(mask)))
    assert weighted == pytest.approx((plain * [1, 3]).sum() / 4, rel=1e-12)
    with backend.scope():
        assert number(loss.batch_weight(labels, put(z), put(mask * 2.0))) == 4.0


def test_ctc_of_probabilities(put):
    z = put(FRAMES)
    y = put(CASES[2][1])
    expected = number(losses.CTC(blank=-1)(y, z))
    assert number(losses.CTC(-1, from_logits=False)(y, nn.functional.softmax(z))) == pytest.approx(expected)
    made = nn.functional.softmax(nn.Tensor(z))
    assert number(losses.CTC(blank=-1)(y, made)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "y", "shape", "message"),
    [
        (losses.CTC(), np.array([[1, 2, 3]]), (2, 5), "no more labels than the outputs have steps, 2, got 3"),
        (
            losses.CTC(),
            np.array([[1, 7]]),
            (4, 5),
            "labels from 0 to 4, got labels from 1 to 7. Pad with the blank, 0",
        ),
        (losses.CTC(blank=9), np.array([[1]]), (4, 5), "one of the 5 classes, got 9"),
        (losses.CTC(), np.array([1]), (4, 5), r"labels of shape \(n, m\)"),
        (losses.Circle(), np.array([[1, 0]]), (4,), "an embedding of each sample"),
        (losses.Triplet(), np.array([1]), (4, 2), "an embedding of each sample"),
        (losses.Dice(), np.zeros((1, 3)), (4,), "The loss dice expects targets shaped like the outputs"),
        (losses.CategoricalHinge(), np.zeros((1, 1)), (1,), "use 'hinge'"),
        (losses.NegativeLogLikelihood(), np.array([3]), (3,), "expects labels from 0 to 2"),
        (losses.Huber(), np.zeros((1, 2)), (3,), "The loss huber expects targets shaped like the outputs"),
    ],
)
def test_targets_that_do_not_fit_are_refused(put, loss, y, shape, message):
    with pytest.raises(ValueError, match=message):
        loss.check_targets(put(y), shape)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="huber expects delta above 0, got -1"):
        losses.Huber(delta=-1)
    with pytest.raises(ValueError, match="expects q above 0 and at most 1, got 2"):
        losses.CategoricalGeneralizedCrossEntropy(q=2)
