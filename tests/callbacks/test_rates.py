"""Learning rates that callbacks set."""

from __future__ import annotations

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import Callback, LearningRateScheduler, ReduceLROnPlateau

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = X[:, :1]


class Numbers(Callback):
    def __init__(self, values):
        self.values = list(values)

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.values[epoch]


def run(backend, values, *callbacks, rate=1e-3):
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(rate), "mse")
    told = [Numbers(values), *callbacks]
    history = model.fit(X, Y, epochs=len(values), verbose=0, callbacks=told)
    return history.history["learning_rate"], model


def test_a_function_of_epoch_and_rate_sets_the_rate_before_the_epoch(light):
    rates, model = run(
        light, [0] * 3, LearningRateScheduler(lambda epoch, rate: rate / (epoch + 1)), rate=6.0
    )
    assert rates == [6.0, 3.0, 1.0]
    # the device has it, too
    assert model._training.learning_rate(model.optimizer) == 1.0


def test_a_function_of_the_epoch_alone_is_taken(light):
    assert run(light, [0] * 3, LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1)))[0] == [
        0.1,
        0.2,
        0.1 * 3,
    ]
    assert run(light, [0] * 2, LearningRateScheduler(abs))[0] == [0.0, 1.0]


def test_the_rate_takes_effect_in_the_epoch(backend):
    weights = []
    for schedule in (lambda epoch: 0.0, lambda epoch: 0.1):
        weights.append(run(backend, [0], LearningRateScheduler(schedule))[1].get_weights()[0])
    fresh = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    fresh.build((3,))
    np.testing.assert_array_equal(weights[0], fresh.get_weights()[0])
    assert not np.array_equal(weights[1], weights[0])


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 1}, [1, 1, 1, 0.5, 0.5], [1, 1, 0.5, 0.25, 0.25]),
        ({"patience": 2}, [1, 1, 1, 1, 1, 1], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 2, "cooldown": 2}, [1] * 8, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.4}, [1] * 5, [1, 1, 0.5, 0.4, 0.4]),
        ({"patience": 1, "min_delta": 0.2}, [1, 0.9, 0.7, 0.65], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 1, 3], [1, 1, 1, 0.5]),
    ],
)
def test_the_rate_falls_where_nothing_gets_better(light, options, values, rates):
    assert run(light, values, ReduceLROnPlateau(factor=0.5, **options), rate=1.0)[0] == rates


def test_keras_reduces_in_the_same_epochs():
    """Worked by hand along Keras 3's code: patience 2, cooldown 1, min_delta 1e-4."""
    values = [1.0, 0.8, 0.8, 0.80005, 0.8, 0.8, 0.8, 0.5, 0.5, 0.5]
    rates = [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]
    found = run("numpy", values, ReduceLROnPlateau(patience=2, cooldown=1), rate=1.0)[0]
    np.testing.assert_allclose(found, rates)


@pytest.mark.parametrize("make", [lambda: LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau])
def test_two_who_set_the_rate_are_refused(light, make):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile(nn.optimizers.SGD(nn.optimizers.schedules.Constant(0.1)), "mse")
    with pytest.raises(TypeError, match=r"sets the learning rate, which Constant\(.*gives already"):
        model.fit(X, Y, verbose=0, callbacks=[make()])


def test_a_rate_that_is_none_is_refused(light):
    with pytest.raises(ValueError, match="expects learning_rate to be zero or more"):
        run(light, [0], LearningRateScheduler(lambda epoch: -1.0))
    with pytest.raises(TypeError, match="expects a function of epoch"):
        LearningRateScheduler(0.1)


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"patience": -1}, {"cooldown": -1}, {"min_lr": -1.0}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="ReduceLROnPlateau expects"):
        ReduceLROnPlateau(**options)


def test_words_are_printed_where_asked_for(light, capsys):
    run(
        light,
        [1, 1],
        ReduceLROnPlateau(patience=1, verbose=1),
        LearningRateScheduler(lambda e, r: r, verbose=1),
    )
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: learning rate 0.001000",
        "Epoch 2: learning rate 0.001000",
        "Epoch 2: learning rate 0.0001000, val_loss stays at 1.000",
    ]
