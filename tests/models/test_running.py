"""What a model computes with is what its layers are, however often a step was compiled, recorded or replayed."""

import numpy as np
import pytest

import nnbackend as nn

X = np.random.default_rng(0).normal(size=(24, 3))
Y = np.random.default_rng(1).normal(size=(24, 2))


class Scaled(nn.Layer):
    """A layer with an attribute that is no argument of its constructor."""

    def build(self, input_shape):
        self.scale = 1.0

    def forward(self, x):
        return x * self.scale


def with_scale(backend, **options):
    layer = Scaled()
    model = nn.Sequential([layer, nn.Dense(2)], backend=backend, seed=0)
    model.compile("sgd", "mse", **options)
    return model, layer


def test_an_attribute_that_is_set_takes_effect_in_steps_that_were_taken_before(backend):
    model, layer = with_scale(backend)
    for _ in range(4):
        model.predict(X)
        model.train_on_batch(X, Y)
    before = model.get_weights()
    layer.scale = 0.0
    bias = nn.to_numpy(model.get_weights()[1])
    np.testing.assert_allclose(model.predict(X), np.broadcast_to(bias, (24, 2)), rtol=1e-6)
    model.train_on_batch(X, Y)
    after = model.get_weights()
    np.testing.assert_array_equal(nn.to_numpy(before[0]), nn.to_numpy(after[0]))  # no gradient gets through
    assert not np.array_equal(nn.to_numpy(before[1]), nn.to_numpy(after[1]))


class Remembering(nn.Layer):
    """A layer that keeps what it has seen, as one writes it to look inside."""

    def forward(self, x):
        self.seen = x
        self.calls = getattr(self, "calls", 0) + 1
        return x


def test_a_layer_that_remembers_what_it_saw_sees_every_batch(backend):
    layer = Remembering()
    model = nn.Sequential([layer, nn.Dense(2)], backend=backend, seed=0)
    model.compile("sgd", "mse")
    model.predict(X)  # builds, which calls it as well
    if backend.name == "jax":
        pytest.skip("under a compiler a layer is run when a step is traced")
    before = layer.calls
    for number in range(1, 6):
        model.predict(number * X)
        np.testing.assert_allclose(nn.to_numpy(layer.seen), number * X, rtol=1e-6)
    assert layer.calls == before + 5


def test_run_eagerly_runs_every_step_as_it_is_written(backend):
    calls = []

    def noted(y_true, y_pred):
        calls.append(1)
        return nn.functional.mean(nn.functional.square(y_true - y_pred), axis=-1)

    losses = []
    for eager in (True, False):
        calls.clear()
        model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
        model.compile("adam", noted, run_eagerly=eager)
        losses.append(model.fit(X, Y, epochs=4, batch_size=8, verbose=0).history["loss"])
        if eager:
            assert len(calls) == 12
        elif backend.name == "numpy":
            assert len(calls) == 3  # as it is, and recorded twice
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    if backend.name != "jax":
        assert losses[0] == losses[1]
