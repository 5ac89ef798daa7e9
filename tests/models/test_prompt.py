"""Predictions one after the other: what was found out for the last is used for the next, and only while it is true."""

import sys
import threading

import numpy as np
import pytest

import nnbackend as nn

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


class Branching(nn.Model):
    """A model whose layers stand in a list, which may change."""

    def __init__(self, **options):
        super().__init__(**options)
        self.parts = [nn.Dense(5, activation="relu"), nn.Dense(5)]
        self.factor = 1.0

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x * self.factor


def asked(backend, make=None, times=5):
    """Return a model that has predicted so often that steps are replayed, and its inputs there."""
    model = make() if make else Branching(backend=backend, seed=1)
    x = backend.from_host(X)
    for _ in range(times):
        model.predict(x)
    return model, x


def assert_right(model, x, bits=True):
    """Compare a prediction with what the layers compute when they are called."""
    found, expected = nn.to_numpy(model.predict(x)), nn.to_numpy(model(x))
    if bits and model.backend.name == "numpy":
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def no_closer_look(monkeypatch):
    """Let a model fail that looks at layers and inputs more closely than the short way does."""

    def refused(*arguments, **options):
        raise AssertionError("a closer look was taken")

    monkeypatch.setattr(nn.Model, "_takes_as_it_is", refused)
    monkeypatch.setattr(nn.Model, "_prepare", refused)


def only_numpy(backend):
    if backend.name != "numpy":
        pytest.skip("only NumPy repeats steps so")


class Constant(nn.Layer):
    """A layer that answers with its weight."""

    def build(self, input_shape):
        self.answer = self.add_weight("answer", (6, 2))

    def forward(self, x):
        return nn.functional.reshape(self.answer, (6, 2))


LAYERS = {
    "dense": lambda: [nn.Dense(7, activation="tanh"), nn.Dense(2, activation="softmax")],
    "statistics": lambda: [nn.Dense(4), nn.BatchNormalization(), nn.LayerNormalization()],
    "convolution": lambda: [nn.Reshape((5, 1)), nn.Conv1D(3, 3, padding="same"), nn.GlobalMaxPooling1D()],
    "recurrence": lambda: [nn.Reshape((5, 1)), nn.GRU(3)],
    "the input itself": lambda: [nn.Dropout(0.5)],
    "a part of the input": lambda: [nn.Lambda(lambda x: x[:, 1:3])],
    "a weight": lambda: [Constant()],
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_prediction_like_the_last_takes_no_closer_look(name, backend, monkeypatch):
    only_numpy(backend)
    model, x = asked(backend, lambda: nn.Sequential(LAYERS[name](), backend=backend, seed=2))
    others = [x, x * 2.0, x[::-1].copy()]
    expected = [model(one) for one in others]
    no_closer_look(monkeypatch)
    found = [model.predict(one, batch_size=6) for one in others]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    for one in found:
        assert one.base is None
        assert not any(np.shares_memory(one, other) for other in (*found, *others) if other is not one)
    kept = [one.copy() for one in found]
    for one in found:
        one += 1.0  # whose memory it is
    np.testing.assert_array_equal(model.predict(x), kept[0])


def test_several_outputs_take_no_closer_look(backend, monkeypatch):
    only_numpy(backend)
    given = nn.Input((5,))
    hidden = nn.Dense(4)(given)
    outputs = [nn.Dense(1)(hidden), hidden, nn.ReLU()(given)]
    model, x = asked(backend, lambda: nn.Model(given, outputs, backend=backend, seed=0))
    expected = model(x * 3.0)
    no_closer_look(monkeypatch)
    found = model.predict(x * 3.0)
    assert type(found) is type(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_of_several_sizes_take_no_closer_look(backend, monkeypatch):
    only_numpy(backend)
    model, x = asked(backend)
    sizes = [x[:1].copy(), x[:3].copy(), x]
    for one in sizes * 3:
        model.predict(one)
    no_closer_look(monkeypatch)
    for one in sizes:
        np.testing.assert_array_equal(model.predict(one), model(one))


def replaced(model, folder):
    layer = nn.Dense(5)
    layer(model.backend.from_host(X))
    model.parts[1] = layer


def loaded(model, folder):
    other = Branching(backend=model.backend, seed=9)
    other.predict(X)
    other.save_weights(folder / "weights")
    model.load_weights(folder / "weights")


def trained(model, folder):
    model.compile("sgd", "mse")
    model.fit(X, X, epochs=2, verbose=0)


CHANGES = {
    "assign": lambda model, folder: model.parts[0].bias.assign(np.full(5, 3.0, "float32")),
    "set_weights": lambda model, folder: model.set_weights([2.0 * w for w in model.get_weights()]),
    "load_weights": loaded,
    "fit": trained,
    "train_on_batch": lambda model, folder: (model.compile("adam", "mse"), model.train_on_batch(X, X)),
    "attribute": lambda model, folder: setattr(model, "factor", -2.0),
    "option": lambda model, folder: setattr(model.parts[1], "activation", nn.activations.get("tanh")),
    "layer in a list": replaced,
    "layer taken out": lambda model, folder: model.parts.pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_predictions_takes_effect(change, backend, tmp_path):
    model, x = asked(backend)
    before = nn.to_numpy(model.predict(x))
    CHANGES[change](model, tmp_path)
    after = nn.to_numpy(model.predict(x))
    assert not np.allclose(before, after)
    for _ in range(4):
        assert_right(model, x)
        np.testing.assert_allclose(nn.to_numpy(model.predict(x)), after, rtol=1e-5, atol=1e-6)


def test_averaged_weights_are_predicted_with_in_their_block_only(backend):
    model, x = asked(backend)
    model.compile(nn.optimizers.Adam(0.1, use_ema=True), "mse")
    model.fit(X, X, epochs=3, verbose=0)
    own = [nn.to_numpy(model.predict(x)) for _ in range(4)][-1]
    with model.averaged_weights():
        assert not np.allclose(nn.to_numpy(model.predict(x)), own)
        assert_right(model, x)
    np.testing.assert_array_equal(nn.to_numpy(model.predict(x)), own)


INPUTS = {
    "a list": lambda x: x.tolist(),
    "another dtype": lambda x: x.astype("float64"),
    "whole numbers": lambda x: np.round(x).astype("int32"),
    "another byte order": lambda x: x.astype(">f4"),
    "columns first": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "turned around": lambda x: x[::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "one row for all": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_of_another_kind_are_predicted_for_as_ever(name, backend):
    model, x = asked(backend)
    given = INPUTS[name](X)
    expected = nn.to_numpy(model(backend.from_host(np.asarray(given), "float32")))
    for _ in range(5):
        np.testing.assert_allclose(nn.to_numpy(model.predict(given)), expected, rtol=1e-5, atol=1e-6)
    assert_right(model, x)


def test_arguments_are_looked_at_as_ever(backend):
    model, x = asked(backend)
    for wrong in (True, 0, -1, 2.5, "6"):
        with pytest.raises((TypeError, ValueError), match="batch_size"):
            model.predict(x, batch_size=wrong)
    with pytest.raises(ValueError, match="verbose"):
        model.predict(x, verbose=3)
    with pytest.raises(ValueError, match="finite|NaN"):
        model.predict(x * float("nan"), check_finite=True)
    whole = nn.to_numpy(model.predict(x))
    np.testing.assert_allclose(nn.to_numpy(model.predict(x, batch_size=4)), whole, rtol=1e-5, atol=1e-6)
    assert model.predict(x, batch_size=4, steps=1).shape[0] == 4


class Positive(nn.Layer):
    """A layer that does not take every number."""

    def check_values(self, x):
        if float(nn.to_numpy(x).min()) < 0.0:
            raise ValueError("expects positive numbers")

    def forward(self, x):
        return x


def test_values_are_checked_in_every_prediction(backend):
    model = nn.Sequential([Positive(), nn.Dense(2)], backend=backend, seed=0)
    x = backend.from_host(np.abs(X))
    for _ in range(5):
        model.predict(x)
    with pytest.raises(ValueError, match="positive"):
        model.predict(-x)


def test_a_state_is_carried_from_prediction_to_prediction(backend):
    def made():
        return nn.Sequential(
            [nn.Reshape((5, 1)), nn.LSTM(3, stateful=True, batch_size=6)], backend=backend, seed=0
        )

    model, other = made(), made()
    other.compile("sgd", "mse", run_eagerly=True)
    x = backend.from_host(X)
    found = [nn.to_numpy(model.predict(x)) for _ in range(6)]
    expected = [nn.to_numpy(other.predict(x)) for _ in range(6)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found[-1], found[-2])


class Counting(nn.Layer):
    """A layer that keeps what it saw from its third call on."""

    def forward(self, x):
        if calls_of[self] >= 3:
            self.seen = calls_of[self]
        calls_of[self] += 1
        return x


calls_of: dict[nn.Layer, int] = {}


def test_a_layer_that_begins_to_set_attributes_sees_every_batch(backend):
    if not backend.runs_uncompiled or backend.name == "jax":
        pytest.skip("under a compiler a layer is run when a step is traced")
    layer = Counting()
    calls_of[layer] = 0
    model = nn.Sequential([layer], backend=backend, seed=0)
    x = backend.from_host(X)
    for _ in range(4):
        model.predict(x)
    before = calls_of[layer]
    for _ in range(5):
        model.predict(x)
    assert calls_of[layer] == before + 5
    assert layer.seen == before + 4


def test_compile_may_say_that_every_prediction_runs_as_it_is_written(backend):
    calls = []
    model = nn.Sequential([nn.Lambda(lambda x: calls.append(1) or x)], backend=backend, seed=0)
    x = backend.from_host(X)
    for _ in range(5):
        model.predict(x)
    model.compile("sgd", "mse", run_eagerly=True)
    calls.clear()
    for _ in range(3):
        model.predict(x)
    assert len(calls) == 3


def test_another_model_that_changes_takes_no_prompt_away(backend, monkeypatch):
    only_numpy(backend)
    other, _ = asked(backend)
    model, x = asked(backend)
    other.factor = 3.0
    other.predict(x)
    no_closer_look(monkeypatch)
    np.testing.assert_array_equal(model.predict(x), model(x))


def test_a_number_of_threads_holds_in_every_prediction(backend, monkeypatch):
    only_numpy(backend)
    pytest.importorskip("threadpoolctl")
    from nnbackend_numpy import threads

    limits = []
    limited = threads.limited
    monkeypatch.setattr(threads, "limited", lambda count: limits.append(count) or limited(count))
    model, x = asked(type(backend)(threads=2))
    limits.clear()
    no_closer_look(monkeypatch)
    for _ in range(3):
        model.predict(x)
    assert limits == [2, 2, 2]


def test_a_precision_holds_for_the_predictions_within(backend):
    only_numpy(backend)

    def made():
        return nn.Sequential([nn.Conv2D(32, 3, padding="same")], backend=backend, seed=0)

    x = np.random.default_rng(0).normal(size=(2, 16, 16, 32)).astype("float32")
    model = made()
    for _ in range(5):
        model.predict(x)
    with nn.use_matmul_precision("high"):
        within = model.predict(x)
        np.testing.assert_array_equal(within, model(x))
    assert not np.array_equal(within, model.predict(x))
    np.testing.assert_array_equal(model.predict(x), model(x))


def test_threads_that_predict_at_once_get_their_own_answers(backend):
    only_numpy(backend)
    model, x = asked(backend)
    inputs = [x * float(number) for number in range(1, 5)]
    expected = [model(one) for one in inputs]
    wrong, interval = [], sys.getswitchinterval()

    def ask(one, answer):
        for _ in range(200):
            if not np.array_equal(model.predict(one), answer):
                wrong.append(one)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=pair) for pair in zip(inputs, expected, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_a_model_that_moves_predicts_where_it_is():
    model, x = asked(nn.get_backend("numpy"))
    expected = model.predict(x)
    model.to(nn.get_backend("strict"))
    found = model.predict(x)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    model.to("numpy")
    for _ in range(5):
        np.testing.assert_array_equal(model.predict(x), expected)
