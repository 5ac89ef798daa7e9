"""GradientMonitor: what it measures, that it disturbs nothing, and that it names the right layers."""

import json
import math

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import GradientMonitor

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 8)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")
TINY = nn.initializers.RandomNormal(stddev=0.05)


def watched(
    backend, layers, *, x=X, y=Y, loss="sparse_categorical_crossentropy", rate=0.01, epochs=1, **options
):
    """Return the monitor of a short training of these layers."""
    model = nn.Sequential(layers, backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(rate), loss)
    monitor = GradientMonitor(**options)
    model.fit(x, y, batch_size=len(x), epochs=epochs, callbacks=[monitor], verbose=0)
    return monitor


def deep(backend, activation, initializer, depth=12, **options):
    layers = [
        nn.Dense(32, activation=activation, kernel_initializer=initializer, name=f"hidden_{number}")
        for number in range(depth)
    ]
    return watched(backend, [*layers, nn.Dense(2, activation="softmax", name="last")], **options)


def kinds(monitor):
    return {finding.kind: finding.layers for finding in monitor.findings()}


def hidden(first, last):
    return tuple(f"hidden_{number}" for number in range(first, last + 1))


# It names the right layers


def test_too_small_weights_vanish_the_more_the_earlier(backend):
    monitor = deep(backend, "tanh", TINY)
    ((kind, layers, text),) = monitor.findings()
    assert kind == "vanishing"
    assert layers == hidden(0, len(layers) - 1)  # from the first on
    assert 4 <= len(layers) <= 8
    norms = [monitor.history[f"hidden_{number}"]["gradient_norm"][0] for number in range(12)]
    assert norms == sorted(norms)
    share = norms[0] / monitor.history["last"]["gradient_norm"][0]
    assert f"the gradient falls to {share:.0e} of that of the last layer, 'last'" in text
    assert "Glorot" in text


@pytest.mark.parametrize(("activation", "initializer"), [("tanh", "glorot_uniform"), ("relu", "he_normal")])
def test_weights_that_fit_the_activation_are_sound(activation, initializer, backend):
    monitor = deep(backend, activation, initializer)
    assert monitor.findings() == []
    assert monitor.report().endswith("All layers are sound.")


def test_too_large_weights_explode_and_saturate(backend):
    monitor = deep(backend, "tanh", nn.initializers.RandomNormal(stddev=1.0), depth=24)
    found = kinds(monitor)
    assert found["exploding"] == hidden(0, len(found["exploding"]) - 1)
    assert set(found) == {"exploding", "saturated"}
    assert found["saturated"] == hidden(1, 23)  # the first has fewer inputs
    texts = {finding.kind: finding.text for finding in monitor.findings()}
    assert "global_clipnorm" in texts["exploding"]
    assert "at the ends of tanh" in texts["saturated"]


def test_a_relu_with_a_large_negative_bias_is_dying_and_blamed_for_what_is_before_it(backend):
    layers = [
        nn.Dense(16, activation="relu", name="first"),
        nn.Dense(16, activation="relu", bias_initializer=nn.initializers.Constant(-50.0), name="dead"),
        nn.Dense(16, activation="relu", name="after"),
        nn.Dense(2, activation="softmax", name="last"),
    ]
    monitor = watched(backend, layers)
    found = {finding.kind: finding for finding in monitor.findings()}
    assert found["dying"].layers == ("dead",)
    assert "LeakyReLU" in found["dying"].text
    assert found["vanishing"].layers == ("first",)
    assert "It is lost in 'dead', which is dying: cure that first." in found["vanishing"].text
    assert set(found) == {"dying", "vanishing"}  # "after" gets nothing but zeros, which is not its fault
    assert [monitor.history[name]["dead"][0] for name in ("dead", "after", "last")] == [1.0, 1.0, None]


def test_an_activation_of_its_own_is_not_blamed_for_the_units_that_died_before(backend):
    layers = [
        nn.Dense(16, activation="relu", bias_initializer=nn.initializers.Constant(-50.0), name="dead"),
        nn.BatchNormalization(name="norm"),
        nn.ReLU(name="relu"),
        nn.Dense(2, name="last"),
    ]
    assert kinds(watched(backend, layers, loss="mse", y=np.eye(2)[Y]))["dying"] == ("dead",)


def test_weights_of_zero_are_not_taken_for_dead_units(backend):
    layers = [nn.Dense(4, name="first"), nn.Dense(2, kernel_initializer="zeros", name="last")]
    monitor = watched(backend, layers, loss="mse", y=np.eye(2)[Y])
    assert "dying" not in kinds(monitor)


def test_a_confident_output_is_not_said_to_be_saturated_where_the_loss_takes_its_logits(backend):
    def last(loss):
        layers = [
            nn.Dense(1, activation="sigmoid", kernel_initializer=nn.initializers.Constant(20.0), name="last")
        ]
        return watched(backend, layers, x=np.ones((4, 2)), y=[0, 1, 0, 1], loss=loss)

    assert kinds(last("binary_crossentropy")) == {}
    assert kinds(last("mse")) == {"saturated": ("last",)}


def test_what_is_not_finite_is_named_where_it_begins(backend):
    class Overflow(nn.Layer):
        def forward(self, x):
            return x + float("nan")

    layers = [nn.Dense(4, name="first"), Overflow(name="bad"), nn.Dense(1, name="last")]
    monitor = watched(backend, layers, loss="mse", x=np.ones((2, 3)), y=[0.0, 1.0], epochs=1)
    (finding,) = (finding for finding in monitor.findings() if finding.kind == "not finite")
    assert "begins in the activations of 'bad'" in finding.text
    assert math.isnan(monitor.history["bad"]["activation_norm"][0])


# What it measures


def test_the_numbers_are_those_of_a_network_worked_by_hand(backend):
    """Worked by hand: y = x W, loss mean((y - t)^2)."""
    kernel = np.asarray([[1.0, -2.0], [0.5, 3.0]])
    x, t = np.asarray([[1.0, 2.0], [3.0, -1.0]]), np.asarray([[0.0, 1.0], [1.0, 1.0]])
    layer = nn.Dense(2, use_bias=False, dtype="float64")
    model = nn.Sequential([layer], backend=backend, seed=0, dtype="float64")
    model.compile(nn.optimizers.SGD(0.1), "mse")
    model.build((2,))
    layer.set_weights([kernel])
    monitor = GradientMonitor()
    model.fit(x, t, shuffle=False, callbacks=[monitor], verbose=0)
    y = x @ kernel
    dy = 2.0 * (y - t) / 4.0
    expected = {
        "activation_norm": np.linalg.norm(y),
        "activation_spread": y.std(),
        "gradient_norm": np.linalg.norm(dy),
        "gradient_spread": dy.std(),
        "update_ratio": 0.1 * np.linalg.norm(x.T @ dy) / np.linalg.norm(kernel),
    }
    measured = {name: values[0] for name, values in monitor.history["dense"].items() if values[0] is not None}
    assert measured == pytest.approx(expected, rel=1e-9, abs=0.0)
    assert monitor.loss == pytest.approx([np.mean((y - t) ** 2)])


def test_the_gradient_behind_a_fused_softmax_is_that_at_the_logits(backend):
    model = nn.Sequential([nn.Dense(3, activation="softmax")], backend=backend, seed=0, dtype="float64")
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = RANDOM.normal(size=(5, 4)), np.asarray([0, 1, 2, 0, 1])
    probabilities = nn.to_numpy(model.predict(x))
    monitor = GradientMonitor(data=(x, y))
    model.fit(x, y, callbacks=[monitor], verbose=0)
    expected = np.linalg.norm((probabilities - np.eye(3)[y]) / 5)
    assert monitor.history["dense"]["gradient_norm"] == pytest.approx([expected], rel=1e-9, abs=0.0)


def test_squares_of_small_gradients_do_not_become_zero(backend):
    tiny = nn.initializers.Constant(1e-12)
    layers = [
        nn.Dense(2, kernel_initializer=tiny, name="first"),
        nn.Dense(1, kernel_initializer=tiny, name="last"),
    ]
    layers.insert(1, nn.Dense(2, kernel_initializer=tiny, name="second"))
    monitor = watched(backend, layers, loss="mse", x=np.ones((2, 2)), y=[1.0, 1.0])
    norm = monitor.history["first"]["gradient_norm"][0]  # 2e-24 times what arrives; its square is no float32
    assert norm == pytest.approx(
        2e-24 * monitor.history["last"]["gradient_norm"][0] * math.sqrt(2), rel=1e-5, abs=0.0
    )


def test_dead_and_saturated_are_shares_of_units_and_outputs(backend):
    half_dead = nn.Dense(4, activation="relu", name="relu")
    outer = nn.Dense(2, activation="tanh", name="tanh")
    model = nn.Sequential([half_dead, outer], backend=backend, seed=0)
    model.compile("sgd", "mse")
    model.build((1,))
    half_dead.set_weights([np.asarray([[1.0, -1.0, -2.0, 1.0]]), np.asarray([0.0, 0.0, 0.0, -9.0])])
    outer.set_weights([np.asarray([[1.0, 0.0]] * 4), np.zeros(2)])
    monitor = GradientMonitor()
    model.fit([[1.0], [5.0]], [[0.0, 0.0]] * 2, shuffle=False, callbacks=[monitor], verbose=0)
    assert monitor.history["relu"]["dead"] == [0.75]
    assert monitor.history["tanh"]["saturated"] == [0.25]  # tanh 5, and neither tanh 1 nor tanh 0
    assert monitor.history["relu"]["saturated"] == [None]
    assert monitor.history["tanh"]["dead"] == [None]


def test_each_epoch_and_layer_has_its_numbers_and_they_are_plain(backend):
    monitor = deep(backend, "tanh", "glorot_uniform", depth=2, epochs=3)
    assert monitor.epoch == [0, 1, 2]
    assert list(monitor.history) == ["hidden_0", "hidden_1", "last"]
    assert {len(values) for lists in monitor.history.values() for values in lists.values()} == {3}
    assert json.loads(json.dumps(monitor.history)) == monitor.history


def test_it_looks_every_so_many_epochs(backend):
    monitor = deep(backend, "tanh", "glorot_uniform", depth=1, epochs=5, every=2)
    assert monitor.epoch == [0, 2, 4]
    assert "Epoch 3, probed with 64 samples" in monitor.report(2)
    with pytest.raises(ValueError, match="looked at the epochs 0, 2, 4, got 1"):
        monitor.findings(1)


# It disturbs nothing


def run(backend, callbacks):
    """Train what has randomness, running statistics, momentum and uneven batches."""
    layers = [nn.Dense(8, activation="relu"), nn.BatchNormalization(), nn.Dropout(0.3), nn.Dense(2)]
    model = nn.Sequential(layers, backend=backend, seed=3)
    model.compile("adam", nn.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    history = model.fit(
        X[:50], Y[:50], 16, 3, callbacks=callbacks, validation_data=(X[50:], Y[50:]), verbose=0
    )
    return history.history, [*map(nn.to_numpy, model.get_weights()), nn.to_numpy(model.predict(X))]


def test_a_monitored_run_is_bit_identical_to_one_that_is_not(backend):
    plain, arrays = run(backend, [])
    for monitor in (GradientMonitor(), GradientMonitor(data=(X[50:], Y[50:]))):
        watched, watched_arrays = run(backend, [monitor])
        assert watched == plain
        assert all(np.array_equal(a, b) for a, b in zip(arrays, watched_arrays, strict=True))
        assert len(monitor.epoch) == 3


def test_the_probe_sees_the_dropout_masks_of_the_step_that_follows(backend):
    model = nn.Sequential([nn.Dropout(0.5), nn.Dense(1)], backend=backend, seed=1)
    model.compile("sgd", "mse")
    losses = []

    class First(nn.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            losses.append(logs()["loss"])

    monitor = GradientMonitor()
    model.fit(X, Y, len(X), 2, callbacks=[monitor, First()], verbose=0)
    assert monitor.loss == pytest.approx(losses, rel=1e-6)


# Every kind of model


def test_layers_of_graphs_and_own_models_are_listed_by_their_paths(backend):
    class Block(nn.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = nn.Dense(8, activation="tanh")

        def forward(self, x):
            return x + self.inner(x)

    class Own(nn.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.blocks = [Block(), Block()]
            self.shared = nn.Dense(8)
            self.tail = nn.Sequential([nn.Dense(4), nn.Dense(2)])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.tail(self.shared(self.shared(x)))

    own = Own(backend=backend, seed=0)
    own.compile("sgd", nn.losses.SparseCategoricalCrossentropy(from_logits=True))
    monitor = GradientMonitor()
    own.fit(X, Y, callbacks=monitor, verbose=0)
    assert list(monitor.history) == [  # a block adds to what is inside it; the tail and the model do not
        "block/dense",
        "block",
        "block_1/dense",
        "block_1",
        "dense",
        "sequential/dense",
        "sequential/dense_1",
    ]
    assert all(lists["gradient_norm"][0] > 0.0 for lists in monitor.history.values())
    assert [lists["update_ratio"][0] is None for lists in monitor.history.values()] == [
        False,
        True,
        False,
        True,
        False,
        False,
        False,
    ]

    a, b = nn.Input((8,), name="a"), nn.Input((3,), dtype="int64", name="b")
    words = nn.Flatten(name="flat")(nn.Embedding(5, 4, name="words")(b))
    graph = nn.Model(
        [a, b], nn.Dense(2, name="out")(nn.Concatenate(name="join")([a, words])), backend=backend
    )
    graph.compile("sgd", nn.losses.SparseCategoricalCrossentropy(from_logits=True))
    monitor = GradientMonitor()
    graph.fit([X, np.ones((64, 3), "int64")], Y, callbacks=monitor, verbose=0)
    assert list(monitor.history) == ["words", "flat", "join", "out"]


def test_recurrent_and_attention_layers_are_measured(backend):
    layers = [
        nn.Embedding(6, 4, name="words"),
        nn.LSTM(4, return_sequences=True, name="lstm"),
        nn.GlobalAveragePooling1D(name="mean"),
        nn.Dense(2, name="out"),
    ]
    monitor = watched(
        backend, layers, x=RANDOM.integers(0, 6, (4, 3)), y=[[0.0, 1.0]] * 4, loss="mse", epochs=2
    )
    for name in ("words", "lstm", "mean", "out"):
        assert all(value > 0.0 for value in monitor.history[name]["gradient_norm"])


# Words and state


def test_the_report_has_a_row_for_each_layer_and_the_findings(backend):
    monitor = deep(backend, "tanh", TINY)
    lines = monitor.report().splitlines()
    assert lines[0].startswith("Epoch 1, probed with 64 samples, loss 0.69")
    assert (
        lines[1].split()
        == "Layer Activation norm Spread Gradient norm Spread Update/weight Dead Saturated".split()
    )
    assert [line.split()[0] for line in lines[3:16]] == [*hidden(0, 11), "last"]
    assert lines[-1] == f"VANISHING: {monitor.findings()[0].text}"


def test_it_speaks_up_once_where_it_is_asked_to(backend, capsys):
    deep(backend, "tanh", TINY, epochs=2, verbose=True)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith("Epoch 1, vanishing: 'hidden_0' to ")


def test_its_state_is_all_that_it_knows(backend):
    monitor, other = deep(backend, "tanh", TINY), GradientMonitor()
    other.set_state(json.loads(json.dumps(monitor.get_state())))
    assert other.report() == monitor.report()
    assert other.findings() == monitor.findings()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ([1.0],)}, r"expects data=\(x, y\)"),
        ({"every": 0}, "expects every to be"),
        ({"vanishing": 2.0}, "vanishing below 1"),
        ({"dying": 1.5}, "dying between 0 and 1"),
        ({"saturated": -0.5}, "saturated between 0 and 1"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        GradientMonitor(**options)


def test_a_report_before_training_is_refused():
    with pytest.raises(ValueError, match=r"callbacks=\[monitor\]"):
        GradientMonitor().report()
