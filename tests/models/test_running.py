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


def test_models_whose_layers_set_attributes_leave_others_alone(backend):
    if backend.name != "numpy":
        pytest.skip("looks at NumPy's recordings")
    ordinary = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    remembering = nn.Sequential([Remembering(), nn.Dense(2)], backend=backend, seed=0)
    for model in (ordinary, remembering):
        model.compile("sgd", "mse")
    for _ in range(6):
        for model in (ordinary, remembering):
            model.train_on_batch(X, Y)
    (step,) = ordinary._compiled.values()
    assert step.count == 1


def test_a_penalty_that_is_set_on_a_parameter_takes_effect(backend):
    model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    model.compile("sgd", "mse")
    for _ in range(4):
        without = model.train_on_batch(X, Y)["loss"]
    model.parameters[0].regularizer = nn.regularizers.L2(100.0)
    assert model.train_on_batch(X, Y)["loss"] > without + 1.0


def test_predict_looks_closely_at_masked_arrays(backend):
    model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    model.predict(X)
    masked = np.ma.masked_less(X.astype("float32"), 0.0)
    with pytest.raises(TypeError, match="masked"):
        model.predict(masked)


def test_an_embedding_refuses_fractions(backend):
    model = nn.Sequential([nn.Embedding(10, 3)], backend=backend, seed=0)
    with pytest.raises(ValueError, match="expects whole numbers"):
        model.predict(np.asarray([[0.5, 1.0]]))
    assert model.predict(np.asarray([[2.0, 1.0]])).shape == (1, 2, 3)


def test_adafactor_stays_finite_where_units_are_dead_and_inputs_zero(backend):
    optimizer = nn.optimizers.Adafactor()
    w = {"w": backend.from_host(np.ones((200, 200)), "float32")}
    gradient = np.ones((200, 200))
    gradient[0, :] = gradient[:, 0] = 0.0
    state = optimizer.init(w)
    for _ in range(3):
        w, state = optimizer.update({"w": backend.from_host(gradient, "float32")}, state, w)
    assert np.isfinite(nn.to_numpy(w["w"])).all()


@pytest.mark.parametrize("eager", [True, False])
def test_no_other_tape_is_kept_in_a_step(backend, eager):
    if backend.name != "torch":
        pytest.skip("only PyTorch's arrays have a tape of their own")
    x = backend.from_host(X, "float32").requires_grad_()
    model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    model.compile("sgd", "mse", run_eagerly=eager)
    model.train_on_batch(x, Y)
    assert not any(parameter._array.requires_grad for parameter in model.parameters)
