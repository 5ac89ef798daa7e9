"""The learning-rate range test finds the rates that a model learns with, and leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import tree

X = np.sin(np.arange(96.0)).reshape(32, 3).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5]] + 3.0).astype("float32")


def make(backend, optimizer, layers=None):
    layers = layers or [nn.Dense(8, activation="tanh"), nn.BatchNormalization(), nn.Dropout(0.2), nn.Dense(1)]
    model = nn.Sequential(layers, backend=backend, seed=2)
    model.compile(optimizer, "mse", ["mae"])
    return model


def everything(model):
    training = model._training
    leaves = tree.leaves([training.optimizer, training.random])
    return [*model.get_weights(), *map(nn.to_numpy, leaves)]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(
    "rate", [0.05, nn.optimizers.schedules.CosineDecay(0.05, decay_steps=50)], ids=["number", "schedule"]
)
def test_it_leaves_no_trace(backend, trained, rate):
    if backend.name == "jax" and not trained:
        pytest.skip("each case compiles for half a minute: with a state there is more to leave")
    model, other = (make(backend, nn.optimizers.Adam(rate, use_ema=True)) for _ in range(2))
    for each in (model, other):
        each.build((3,))
        if trained:
            each.fit(X, Y, batch_size=8, verbose=0)
    optimizer = model.optimizer
    nn.lr_find(model, X, Y, batch_size=8, steps=20)
    assert model.optimizer is optimizer
    if trained:
        for a, b in zip(everything(model), everything(other), strict=True):
            np.testing.assert_array_equal(a, b)
    history, expected = (each.fit(X, Y, batch_size=8, epochs=2, verbose=0).history for each in (model, other))
    assert history == expected
    for a, b in zip(everything(model), everything(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rates_rise_by_equal_factors_and_the_first_loss_is_that_of_the_first_batch(light):
    model = make(light, "sgd", [nn.Dense(1)])
    found = nn.lr_find(model, X, Y, batch_size=32, start=1e-6, stop=1e-2, steps=5)
    np.testing.assert_allclose(found.rates, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
    assert not found.diverged
    assert found.losses[0] == pytest.approx(model.evaluate(X, Y)["loss"], rel=1e-6)
    # by hand: an average of 0.9, corrected for its beginning at zero
    average = 0.0
    for i, loss in enumerate(found.losses):
        average = 0.9 * average + 0.1 * loss
        assert found.smoothed[i] == pytest.approx(average / (1 - 0.9 ** (i + 1)))


def test_a_quadratic_diverges_above_its_bound_and_the_suggestion_is_below(light):
    """Gradient descent on a quadratic diverges above 2 over the largest eigenvalue of its Hessian."""
    model = make(light, "sgd", [nn.Dense(1)])
    design = np.concatenate([X, np.ones((32, 1))], axis=1)
    bound = 2.0 / np.linalg.eigvalsh(2.0 * design.T @ design / 32).max()
    found = nn.lr_find(model, X, Y, batch_size=32, start=1e-5, stop=1e3, steps=120)
    assert found.diverged
    assert found.rates[-1] < 1e3
    assert 0.001 * bound < found.suggestion < bound
    assert found.suggestion < found.at_minimum < 10 * bound


def test_a_model_that_diverges_to_nan_ends_the_test(light):
    found = nn.lr_find(
        make(light, "sgd", [nn.Dense(1)]), X, Y, start=1.0, stop=1e30, steps=30, divergence=1e300
    )
    assert found.diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 30
    assert np.isfinite(found.losses).all()


def test_a_loader_stands_where_it_stood(light):
    loader = nn.data.DataLoader(X, Y, batch_size=8, shuffle=True, seed=1)
    model = make(light, "adam")
    before = loader.state()
    nn.lr_find(model, loader, steps=11)
    assert loader.state() == before


@pytest.mark.parametrize(
    "options",
    [{"start": 0.0}, {"start": 1.0, "stop": 0.5}, {"steps": 0}, {"smoothing": 1.0}, {"divergence": 0.0}],
)
def test_arguments_out_of_range_are_refused(light, options):
    with pytest.raises(ValueError, match="lr_find expects"):
        nn.lr_find(make(light, "sgd"), X, Y, **options)


def test_a_loss_that_is_never_finite_is_said(light):
    with pytest.raises(ValueError, match="a loss that is finite at first"):
        nn.lr_find(make(light, "sgd"), X, np.full_like(Y, np.nan))
    with pytest.raises(RuntimeError, match="lr_find needs a loss and an optimizer"):
        nn.lr_find(nn.Sequential([nn.Dense(1)], backend=light), X, Y)


def test_the_plot_shows_rates_losses_and_the_suggestion():
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "nnbackend[plot]"')
    found = nn.lr_find(make("numpy", "sgd", [nn.Dense(1)]), X, Y, steps=50)
    ax = found.plot()
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.losses)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), found.smoothed)
    assert ax.lines[2].get_xdata()[0] == found.suggestion
    assert found.plot(ax) is ax


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_suggestion_is_no_accident_of_the_first_batches(optimizer, backend, rng):
    x = rng.normal(size=(256, 8))
    y = x @ rng.normal(size=(8, 1))
    model = nn.Sequential([nn.Dense(16, "tanh"), nn.Dense(1)], backend=backend, seed=0)
    model.compile(optimizer, "mean_squared_error")
    found = nn.lr_find(model, x, y, batch_size=32)
    assert found.at_minimum / 1000 < found.suggestion < found.at_minimum
