"""Training that ends by itself: when nothing gets better, and when numbers are none any more."""

from __future__ import annotations

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import Callback, EarlyStopping, LambdaCallback, TerminateOnNaN

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = X[:, :1]


class Numbers(Callback):
    """Reports these numbers in place of what was measured."""

    def __init__(self, name, values):
        self.name, self.values = name, list(values)

    def on_epoch_end(self, epoch, logs):
        logs[self.name] = self.values[epoch]


def run(backend, stop, values, name="val_loss", before=()):
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", "mse")
    told = [Numbers(name, values), *before, stop]
    history = model.fit(X, Y, batch_size=4, epochs=len(values), verbose=0, callbacks=told)
    return model, history


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [3, 2, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6),
        ({"patience": 2}, [3, 2, 4, 5, 0], 4),
        ({"min_delta": 0.5, "patience": 2}, [3, 2.6, 2.4, 2.3, 2.2, 0], 5),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 3, 2, 4, 0], 6),
        ({"baseline": 1.5, "patience": 2}, [3, 2.9, 2.8, 2.7, 2.7, 0], 5),
        ({"baseline": 2.5, "patience": 2}, [3, 2.0, 2.8, 2.7, 0], 4),
        ({"mode": "max", "patience": 1}, [1, 2, 3, 2, 9], 4),
        ({"patience": 1}, [float("nan"), 3, float("nan"), 0], 3),
    ],
)
def test_it_stops_when_nothing_gets_better(light, options, values, epochs):
    _, history = run(light, EarlyStopping(**options), values)
    assert len(history.epoch) == epochs


def test_accuracies_are_the_better_the_greater_they_are(light):
    stop = EarlyStopping("val_accuracy")
    assert len(run(light, stop, [0.1, 0.2, 0.3, 0.2, 0.9], "val_accuracy")[1].epoch) == 4
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (0.3, 2, 3)


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        *[
            ("loss", -1),
            ("val_loss", -1),
            ("accuracy_loss", -1),
            ("val_mean_squared_error", -1),
            ("perplexity", -1),
        ],
        *[("acc", 1), ("val_sparse_categorical_accuracy", 1), ("auc_1", 1), ("mean_iou", 1), ("r2_score", 1)],
        *[
            ("previous", -1),
            ("false_positives", -1),
            ("val_true_positives", 1),
            ("out_precision_at_recall", 1),
        ],
    ],
)
def test_a_number_rises_or_falls_by_its_name(name, sign):
    assert EarlyStopping(name)._monitor.sign == sign
    assert EarlyStopping(name, mode="max")._monitor.sign == 1
    assert EarlyStopping(name, mode="min")._monitor.sign == -1


def test_the_best_weights_come_back(backend):
    seen = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(note.model.get_weights()))
    for values in ([5, 1, 2, 3, 0], [5, 1, 2, 3]):  # stopped, and at the end of all epochs
        seen.clear()
        stop = EarlyStopping(patience=2 if len(values) == 5 else 9, restore_best_weights=True)
        model, _ = run(backend, stop, values, before=[note])
        assert len(seen) == 4
        for a, b in zip(model.get_weights(), seen[1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_that_is_broken_off_keeps_its_last_weights(light):
    seen = []

    class Break(Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(self.model.get_weights())
            if epoch == 2:
                raise KeyboardInterrupt

    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    stop = EarlyStopping(restore_best_weights=True, patience=9)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[Numbers("val_loss", [1, 2, 3, 4]), stop, Break()])
    np.testing.assert_array_equal(model.get_weights()[0], seen[2][0])


def test_what_is_not_reported_is_said_with_the_cure(light):
    with pytest.raises(ValueError, match="monitors 'val_loss'.* It reports loss. Give fit validation_data"):
        run(light, EarlyStopping(), [1.0], "loss")
    with pytest.raises(ValueError, match="monitors 'lost'.*Did you mean 'loss'"):
        run(light, EarlyStopping("lost"), [1.0], "loss")
    with pytest.raises(ValueError, match=r"monitors 'matrix', which is not one number but .*\(2, 2\)"):
        run(light, EarlyStopping("matrix"), [np.ones((2, 2))], "matrix")


@pytest.mark.parametrize("options", [{"mode": "least"}, {"min_delta": -1.0}, {"patience": -1}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="EarlyStopping expects"):
        EarlyStopping(**options)


# TerminateOnNaN


def spoilt(backend, layers, optimizer="sgd", loss="mse", x=X, y=Y, epochs=3, every=3, **options):
    model = nn.Sequential(layers, backend=backend, seed=0)
    model.compile(optimizer, loss)
    stop = TerminateOnNaN(every=every)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="TerminateOnNaN ends training"):
        history = model.fit(
            x, y, batch_size=2, epochs=epochs, shuffle=False, verbose=0, callbacks=[stop], **options
        )
    return model, stop, history


@nn.register("tests")
def root(x):
    return nn.functional.sqrt(x * 0.0)


@nn.register("tests")
def logarithm(x):
    return nn.functional.log(nn.functional.minimum(x, 0.0 * x))


@pytest.mark.parametrize("every", [1, 3, 100])
def test_the_layer_whose_output_went_first_is_named(light, every):
    layers = [nn.Dense(2, name="first"), nn.Lambda(logarithm, name="culprit"), nn.Dense(1, name="last")]
    _, stop, history = spoilt(light, layers, every=every)
    assert (stop.found.kind, stop.found.layer, stop.batch) == ("activations", "culprit", 0)
    assert history.epoch == [0]


def test_a_slope_without_bound_is_found_in_the_gradient(backend):
    layers = [nn.Dense(2, name="first"), nn.Lambda(root, name="root"), nn.Dense(1, name="last")]
    model, stop, _ = spoilt(backend, layers)
    assert (stop.found.kind, stop.found.layer) == ("gradients", "first")
    assert "the output of Dense 'first'" in str(stop.found)
    assert np.isfinite(model.get_weights()[0]).all()


def test_the_bad_batch_is_found_and_the_weights_from_before_it_are_kept(backend):
    x = X.copy()
    x[5] = np.inf  # in the third batch
    model, stop, history = spoilt(backend, [nn.Dense(1)], x=x, every=4)
    assert (stop.found.kind, stop.found.where, stop.batch) == ("data", "x", 2)
    assert history.epoch == [0]
    good = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    good.compile("sgd", "mse")
    good.fit(X[:4], Y[:4], batch_size=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), good.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_that_is_too_large_is_found_in_the_update(light):
    _, stop, _ = spoilt(light, [nn.Dense(1)], optimizer=nn.optimizers.SGD(3e38), y=1e4 * Y, epochs=1)
    assert (stop.found.kind, stop.found.layer, stop.batch) == ("update", "dense", 0)


def test_a_loss_that_is_not_finite_is_told_from_outputs_that_are(light):
    def loss(y_true, y_pred):
        return nn.functional.log(nn.functional.mean(0.0 * y_pred, axis=-1))

    _, stop, _ = spoilt(light, [nn.Dense(1)], loss=loss)
    assert stop.found.kind == "loss"


def test_weights_that_were_not_finite_from_the_start_are_named(light):
    model = nn.Sequential([nn.Dense(1, name="only")], backend=light, seed=0)
    model.compile("sgd", "mse")
    model.build((3,))
    model.set_weights([np.full((3, 1), np.nan), np.zeros(1)])
    stop = TerminateOnNaN()
    with pytest.warns(RuntimeWarning, match="the weight 'only/kernel', before the step"):
        model.fit(X, Y, verbose=0, callbacks=[stop])
    assert stop.found.layer == "only"


def test_a_run_that_is_watched_gives_the_same_numbers(backend):
    def train(*callbacks):
        layers = [nn.Dense(4, activation="tanh"), nn.BatchNormalization(), nn.Dropout(0.3), nn.Dense(1)]
        model = nn.Sequential(layers, backend=backend, seed=1)
        model.compile("adam", "mse")
        return model.fit(X, Y, batch_size=3, epochs=3, verbose=0, callbacks=callbacks).history, model

    watched, model = train(TerminateOnNaN(every=2))
    plain, other = train()
    assert watched == plain
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_callback_that_stops_within_an_epoch_ends_it(light):
    class Stop(Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = batch == 1

    batches = []
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    count = LambdaCallback(on_batch_end=lambda batch, logs: batches.append(batch))
    history = model.fit(X, Y, batch_size=2, epochs=5, verbose=0, callbacks=[Stop(), count])
    assert batches == [0, 1]
    assert history.epoch == [0]
