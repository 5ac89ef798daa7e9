"""Losses: means, weights, forms of targets, logits or probabilities."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import losses

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]])
LABELS = np.array([0, 1, 1])
ONE_HOT = np.eye(3)[LABELS]
CROSS = -np.log(P[np.arange(3), LABELS])


def number(value):
    return float(nn.to_numpy(value))


@pytest.mark.parametrize(
    ("loss", "y", "outputs", "expected"),
    [
        (losses.CategoricalCrossentropy(from_logits=False), ONE_HOT, P, CROSS),
        (losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, np.log(P) + 5.0, CROSS),
        (losses.CategoricalCrossentropy(), ONE_HOT, np.log(P), CROSS),
        (losses.SparseCategoricalCrossentropy(from_logits=False), LABELS, P, CROSS),
        (losses.SparseCategoricalCrossentropy(), LABELS, np.log(P) - 3.0, CROSS),
        (losses.BinaryCrossentropy(from_logits=False), ONE_HOT, P, None),
        (losses.BinaryCrossentropy(), ONE_HOT, np.log(P / (1 - P)), None),
        (losses.MeanSquaredError(), ONE_HOT, P, ((P - ONE_HOT) ** 2).mean(axis=1)),
        (losses.MeanAbsoluteError(), ONE_HOT, P, np.abs(P - ONE_HOT).mean(axis=1)),
    ],
)
def test_values_are_those_of_the_formula_and_their_weighted_mean(put, loss, y, outputs, expected):
    if expected is None:
        expected = -(ONE_HOT * np.log(P) + (1 - ONE_HOT) * np.log(1 - P)).mean(axis=1)
    given = put(y), put(outputs)
    np.testing.assert_allclose(nn.to_numpy(loss.per_sample(*given)), expected, rtol=1e-12)
    assert number(loss(*given)) == pytest.approx(expected.mean(), rel=1e-12)
    weight = np.array([1.0, 0.0, 3.0])
    weighted = number(loss(*given, put(weight)))
    assert weighted == pytest.approx((weight * expected).sum() / 4.0, rel=1e-12)


def test_a_mean_of_weights_that_are_all_zero_is_zero(put):
    loss = losses.MeanSquaredError()
    assert number(loss(put(np.ones(3)), put(np.zeros(3)), put(np.zeros(3)))) == 0.0


def test_losses_of_more_axes_are_means_over_all_but_the_samples(put):
    y, outputs = np.stack([LABELS, LABELS[::-1]], axis=1), np.stack([P, P], axis=1)
    loss = losses.SparseCategoricalCrossentropy(from_logits=False)
    per_sample = -np.log(np.take_along_axis(outputs, y[..., None], axis=-1))[..., 0].mean(axis=1)
    weight = np.array([1.0, 2.0, 5.0])
    expected = (weight * per_sample).sum() / 8.0
    assert number(loss(put(y), put(outputs), put(weight))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "kind", [losses.MeanSquaredError, losses.MeanAbsoluteError, losses.BinaryCrossentropy]
)
def test_one_number_per_sample_keeps_one_loss_per_sample(put, kind):
    values = nn.to_numpy(kind().per_sample(put(np.zeros(3)), put(np.array([0.5, 1.0, 2.0]))))
    assert values.shape == (3,)
    assert len(set(values)) == 3


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_the_loss_looks_at_what_made_the_output(put, link):
    logits = nn.Tensor(put(np.array([[800.0, -800.0]])))
    output = getattr(nn.functional, link)(logits)
    kind = losses.CategoricalCrossentropy if link == "softmax" else losses.BinaryCrossentropy
    y = put(np.array([[0.0, 1.0]]))
    by_itself, told = kind(), kind(from_logits=False)
    assert number(by_itself(y, output)) == pytest.approx(1600.0 if link == "softmax" else 800.0)
    assert number(told(y, output)) < 20.0  # a bounded logarithm
    assert not by_itself.outputs_logits(output)
    assert by_itself.outputs_logits(logits)
    assert not told.outputs_logits(logits)
    assert by_itself.describe(output) == f"{by_itself.name} on the logits that the last {link} is given"


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (losses.BinaryCrossentropy, "softmax"),
        (losses.CategoricalCrossentropy, "sigmoid"),
        (losses.SparseCategoricalCrossentropy, "sigmoid"),
    ],
)
def test_the_other_losses_link_is_refused_since_its_output_is_no_logits(put, kind, link):
    output = getattr(nn.functional, link)(nn.Tensor(put(np.array([[1.0, 2.0]]))))
    for call in (kind().outputs_logits, kind().describe):
        with pytest.raises(ValueError, match=rf"got the output of {link}\. Change the activation, or say"):
            call(output)
    assert not kind(from_logits=False).outputs_logits(output)
    assert kind(from_logits=True).outputs_logits(output)


@pytest.mark.parametrize("options", [(), ({},), ({"axis": -1},), ({"axis": 2},)])
def test_softmax_over_the_last_axis_gives_its_logits(put, options):
    logits = nn.Tensor(put(np.ones((2, 3, 4))))
    output = nn.functional.softmax(logits)
    output.origin = ("softmax", (logits,), *options)
    assert losses.CategoricalCrossentropy().logits(output) is logits


def test_softmax_over_another_axis_is_refused(put):
    logits = nn.Tensor(put(np.ones((2, 3, 4))))
    output = nn.functional.softmax(logits, axis=1)
    output.origin = ("softmax", (logits,), {"axis": 1})
    with pytest.raises(ValueError, match=r"softmax over the last axis, or logits.*softmax over axis 1"):
        losses.CategoricalCrossentropy().logits(output)


def test_targets_take_the_outputs_dtype_and_last_axis(put):
    outputs = put(np.zeros((3, 1)), "float32")
    targets = losses.MeanSquaredError().cast_targets(put(LABELS), outputs)
    assert targets.shape == (3, 1)
    assert targets.dtype == outputs.dtype


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_stay_whole_numbers_without_a_last_axis(backend, put, shape):
    labels = put(LABELS.reshape(shape).astype(float))
    with backend.scope():
        targets = losses.SparseCategoricalCrossentropy().cast_targets(labels, put(P))
    assert targets.shape == (3,)
    assert str(nn.to_numpy(targets).dtype) == "int64"


@pytest.mark.parametrize(
    ("loss", "y", "outputs"),
    [
        (losses.MeanSquaredError(), np.zeros((3, 1)), (1,)),
        (losses.MeanSquaredError(), np.zeros(3), ()),
        (losses.SparseCategoricalCrossentropy(), LABELS, (3,)),
        (losses.SparseCategoricalCrossentropy(), LABELS.astype("uint8")[:, None], (3,)),
        (losses.SparseCategoricalCrossentropy(), LABELS.astype(float), (2,)),
        (losses.CategoricalCrossentropy(), ONE_HOT, (3,)),
        (losses.CategoricalCrossentropy(), ONE_HOT.astype(bool), (3,)),
        (losses.CategoricalCrossentropy(), P.astype("float32"), (3,)),
        (losses.BinaryCrossentropy(), LABELS.astype(bool), (1,)),
    ],
)
def test_targets_that_fit_pass(put, loss, y, outputs):
    loss.check_targets(put(y), outputs)


@pytest.mark.parametrize(
    ("loss", "y", "outputs", "message"),
    [
        (losses.SparseCategoricalCrossentropy(), LABELS, (), "one unit per class"),
        (
            losses.SparseCategoricalCrossentropy(),
            LABELS * 0,
            (1,),
            "one output for each of two or more classes",
        ),
        (losses.CategoricalCrossentropy(), 2 * ONE_HOT, (3,), "sum to 1 in each row, got sums from 2 to 2"),
        (losses.CategoricalCrossentropy(), ONE_HOT * np.nan, (3,), "Divide each row by its sum"),
        (losses.CategoricalCrossentropy(), np.array([[2.0, -1.0]]), (2,), "the least target -1"),
        (losses.SparseCategoricalCrossentropy(), LABELS + 1, (2,), "or give the last layer 3 units"),
        (losses.SparseCategoricalCrossentropy(), np.array([np.nan]), (2,), "whole-number labels"),
        (losses.BinaryCrossentropy(), np.array([np.nan, 1.0]), (), "expects targets from 0 to 1"),
        (losses.MeanSquaredError(), np.zeros((3, 2)), (3,), "Give the last layer 2 units"),
    ],
)
def test_targets_that_do_not_fit_are_refused(put, loss, y, outputs, message):
    with pytest.raises(ValueError, match=message):
        loss.check_targets(put(y), outputs)


def test_short_names_and_functions_are_losses():
    assert isinstance(losses.get("mse"), losses.MeanSquaredError)
    assert isinstance(losses.get("mae"), losses.MeanAbsoluteError)
    given = losses.MeanSquaredError(name="mine")
    assert losses.get(given) is given
    assert given.name == "mine"

    def error(y_true, y_pred):
        return y_pred

    assert losses.get(error).name == "error"


def test_a_function_that_returns_no_array_is_refused(put):
    with pytest.raises(TypeError, match="The loss <lambda> must return an array, got float"):
        losses.get(lambda y_true, y_pred: 1.0)(put(P), put(P))


class Offset(losses.Loss):
    """A loss of one's own whose targets stand on the left."""

    def per_sample(self, y_true, y_pred):
        return nn.functional.mean(nn.functional.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize("loss", [Offset(), losses.get(Offset().per_sample)])
def test_an_own_loss_may_have_the_targets_on_the_left_of_an_operator(put, loss):
    y, outputs = put(ONE_HOT), put(P)
    value, gradient = nn.value_and_grad(lambda p: loss(y, p))(outputs)
    assert number(value) == pytest.approx(((ONE_HOT - P) ** 2).mean())
    np.testing.assert_allclose(nn.to_numpy(gradient), 2 * (P - ONE_HOT) / 9, rtol=1e-12)


def test_columns_of_targets_do_not_spread_over_outputs_of_one_number_per_sample(backend, put):
    loss = losses.get(lambda y_true, y_pred: nn.functional.square(y_true - y_pred))
    outputs = put(np.arange(3.0))
    with backend.scope():
        targets = loss.cast_targets(put(np.arange(3.0)[:, None]), outputs)
    assert targets.shape == (3,)
    assert number(loss(targets, outputs)) == 0.0


def test_an_output_taken_for_logits_is_described_with_the_cure(put):
    output = nn.functional.sigmoid(nn.Tensor(put(P)))[:, 0]
    assert "if the output holds probabilities, say from_logits=False" in losses.BinaryCrossentropy().describe(
        output
    )
    assert (
        losses.BinaryCrossentropy(from_logits=True).describe(output).endswith("on logits (from_logits=True)")
    )


@pytest.mark.parametrize(
    ("loss", "y", "outputs"),
    [
        (losses.CategoricalCrossentropy(), ONE_HOT, P),
        (losses.CategoricalFocalCrossentropy(), ONE_HOT, P),
        (losses.SparseCategoricalCrossentropy(), LABELS, P),
        (losses.SparseCategoricalCrossentropy(), LABELS, np.round(P, 2)),
        (losses.BinaryCrossentropy(), ONE_HOT, P[::-1]),
        (losses.BinaryCrossentropy(), ONE_HOT[:, 0], P[:, 0]),
    ],
)
def test_by_hand_what_looks_like_probabilities_gives_a_warning_with_the_cure(loss, y, outputs):
    kind = type(loss)
    with pytest.warns(UserWarning, match="takes these outputs for logits.*Say from_logits=False") as caught:
        found = loss(y, outputs)
    assert caught[0].filename == __file__
    assert found == kind(from_logits=True)(y, outputs)  # told, both are silent
    assert found != kind(from_logits=False)(y, outputs)


def test_what_does_not_look_like_probabilities_gives_no_warning(put):
    zeros = np.zeros_like(P)
    for outputs in (zeros, 2 * P, P - 1, np.where(P > 0.5, np.nan, P)):
        losses.CategoricalCrossentropy()(ONE_HOT, outputs)
    for outputs in (zeros, 2 * P + 1, P - 1):
        losses.BinaryCrossentropy()(ONE_HOT, outputs)
    losses.CategoricalCrossentropy()(put(ONE_HOT), nn.Tensor(put(P)))  # as in a step


def test_a_step_that_is_compiled_by_hand_may_call_a_loss(backend, put):
    loss = losses.CategoricalCrossentropy()
    step = backend.compile(lambda state, batch: ([state[0] + loss(*batch)], {}))
    state = [put(0.0)]
    with backend.scope():
        for _ in range(3):
            state, _ = step(state, (put(ONE_HOT), put(np.log(P))))
    assert float(nn.to_numpy(state[0])) == pytest.approx(-3 * np.log(P)[ONE_HOT == 1].mean())
    if backend.name == "numpy":
        assert (step.count, step.reason) == (1, None)


@pytest.mark.parametrize(
    ("loss", "link", "y"),
    [
        (losses.SparseCategoricalCrossentropy, nn.functional.softmax, LABELS),
        (losses.BinaryCrossentropy, nn.functional.sigmoid, ONE_HOT),
    ],
)
def test_from_logits_of_what_softmax_or_sigmoid_made_gives_one_warning(put, loss, link, y):
    told = loss(from_logits=True)
    output = link(nn.Tensor(put(np.log(P))))
    with pytest.warns(UserWarning, match=f"has from_logits=True, but gets the output of {link.__name__}"):
        told(put(y), output)
    told(put(y), output)
