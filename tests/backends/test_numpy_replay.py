"""Steps that NumPy records and replays: the bits of the step as it is written, and nobody else's memory."""

from __future__ import annotations

import functools
import itertools
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend import tree
from nnbackend.backend import namespace
from nnbackend.elementwise import rowwise
from nnbackend_numpy import compiled
from nnbackend_numpy.blocks import Evaluator, select, selection
from nnbackend_numpy.chains import chained
from nnbackend_numpy.layout import Arena
from nnbackend_numpy.recording import Recording
from nnbackend_numpy.replay import Replay
from nnbackend_numpy.shortcuts import shortcut, shortcuts

schedules = nn.optimizers.schedules


@pytest.fixture(autouse=True)
def only_on_numpy(pytestconfig):
    if pytestconfig.getoption("--backend") != "numpy":
        pytest.skip("these tests are for --backend numpy")


@contextmanager
def as_written(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run steps as they are: what is compiled here is the step itself."""
    with monkeypatch.context() as patched:
        patched.setattr(type(nn.get_backend("numpy")), "compile", lambda self, step: step)
        yield


def copies(node: Any) -> Any:
    """Return a tree with copies of its arrays."""
    return tree.map(np.array, node)


def assert_same(found: Any, expected: Any) -> None:
    """Compare two trees bit for bit."""
    leaves, structure = tree.flatten(found)
    others, outline = tree.flatten(expected)
    assert structure == outline
    for index, (one, other) in enumerate(zip(leaves, others, strict=True)):
        one, other = np.asarray(one), np.asarray(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype), index
        assert one.tobytes() == other.tobytes(), f"leaf {index} differs"


def of(model: Any) -> Any:
    """Return copies of all that training changes."""
    parameters = {path: handle.numpy() for path, handle in model.handles().items()}
    return copies({"parameters": parameters, "training": [model._training.optimizer, model._training.random]})


def steps(model: Any, kind: str = "train") -> list[Any]:
    return [step for (name, _), step in model._compiled.items() if name == kind]


def assert_replayed(model: Any, kind: str, count: int) -> None:
    (step,) = steps(model, kind)
    assert (step.reason, step.count) == (None, count)


# Models, each with a batch of eight samples


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


def whole(high: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(high).integers(0, high, shape)


def sequential(*layers: Any, **options: Any) -> Any:
    return nn.Sequential(list(layers), backend="numpy", seed=4, **options)


def graph() -> Any:
    first, second = nn.Input((5,), name="a"), nn.Input((5,), name="b")
    shared = nn.Dense(6, activation="tanh", name="shared")
    joined = nn.Concatenate()([shared(first), shared(second)])
    outputs = [nn.Dense(3, name="c")(joined), nn.Dense(1, name="d")(shared(first))]
    return nn.Model([first, second], outputs, backend="numpy", seed=4)


class Penalty(nn.Layer):
    """Adds a penalty on what passes through."""

    def forward(self, x):
        self.add_loss(fn.mean(fn.square(x)) * 0.01)
        return x


LSTM_STATE = {"stateful": True, "batch_size": 8}
MODELS: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "dense": (
        lambda: sequential(nn.Dense(16, activation="relu"), nn.Dense(3, activation="softmax")),
        normal(8, 5),
        whole(3, 8),
    ),
    "large": (  # programs that go in blocks
        lambda: sequential(nn.Dense(130, activation="gelu"), nn.Dense(130, activation="relu"), nn.Dense(3)),
        normal(8, 140),
        normal(8, 3),
    ),
    "noise": (
        lambda: sequential(nn.GaussianNoise(0.3), nn.Dense(9), nn.Dropout(0.4), nn.Dense(3)),
        normal(8, 5),
        normal(8, 3),
    ),
    "batch norm": (
        lambda: sequential(nn.Dense(9), nn.BatchNormalization(), nn.ReLU(), nn.Dense(3)),
        normal(8, 5),
        normal(8, 3),
    ),
    "layer norm": (
        lambda: sequential(nn.Dense(9), nn.LayerNormalization(), nn.Dense(3)),
        normal(8, 5),
        normal(8, 3),
    ),
    "convolution": (
        lambda: sequential(
            nn.Conv2D(4, 3, activation="relu", padding="same"), nn.MaxPooling2D(2), nn.Flatten(), nn.Dense(3)
        ),
        normal(8, 6, 6, 2),
        whole(3, 8),
    ),
    "depthwise": (
        lambda: sequential(
            nn.DepthwiseConv2D(3, strides=2), nn.Conv2DTranspose(2, 3, strides=2), nn.GlobalAveragePooling2D()
        ),
        normal(8, 7, 7, 2),
        normal(8, 2),
    ),
    "lstm": (
        lambda: sequential(nn.Embedding(11, 4), nn.LSTM(5), nn.Dense(3, activation="softmax")),
        whole(11, 8, 6),
        whole(3, 8),
    ),
    "gru": (
        lambda: sequential(nn.GRU(5, return_sequences=True), nn.Dense(2)),
        normal(8, 4, 3),
        normal(8, 4, 2),
    ),
    "masked": (
        lambda: sequential(
            nn.Embedding(11, 4, mask_zero=True), nn.Bidirectional(nn.SimpleRNN(3)), nn.Dense(2)
        ),
        whole(11, 8, 6) * (np.arange(6) < 4),
        normal(8, 2),
    ),
    "stateful": (
        lambda: sequential(nn.LSTM(4, **LSTM_STATE), nn.Dense(2)),
        normal(8, 4, 3),
        normal(8, 2),
    ),
    "transformer": (
        lambda: sequential(
            nn.Dense(8), nn.TransformerEncoder(12, 2, dropout=0.1), nn.GlobalAveragePooling1D(), nn.Dense(3)
        ),
        normal(8, 4, 6),
        normal(8, 3),
    ),
    "graph": (graph, [normal(8, 5), normal(8, 5) * 2], [normal(8, 3), normal(8, 1)]),
    "penalties": (
        lambda: sequential(
            nn.Dense(9, kernel_regularizer="l2", kernel_constraint=nn.constraints.MaxNorm(0.7)),
            Penalty(),
            nn.Dense(3, kernel_constraint="non_neg", bias_regularizer="l1"),
        ),
        normal(8, 5),
        normal(8, 3),
    ),
    "float64": (
        lambda: sequential(
            nn.Dense(9, dtype="float64", activation="tanh"), nn.Dense(3, dtype="float32"), dtype="float64"
        ),
        normal(8, 5).astype("float64"),
        normal(8, 3).astype("float64"),
    ),
}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: nn.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: nn.optimizers.Adam(0.01, weight_decay=0.01),
    "amsgrad": lambda: nn.optimizers.Adam(0.01, amsgrad=True, clipnorm=0.5),
    "rmsprop": lambda: nn.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "lion": lambda: nn.optimizers.Lion(0.01, weight_decay=0.1),
    "lamb": lambda: nn.optimizers.LAMB(0.01),
    "adafactor": lambda: nn.optimizers.Adafactor(0.01),
    "muon": lambda: nn.optimizers.Muon(0.01),
    "ema": lambda: nn.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulated": lambda: nn.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
    "clipped": lambda: nn.optimizers.SGD(0.5, global_clipnorm=0.1),
    "cosine": lambda: nn.optimizers.Adam(schedules.CosineDecay(0.05, 6)),
    "pieces": lambda: nn.optimizers.SGD(schedules.PiecewiseConstantDecay([3, 5], [0.1, 0.05, 0.01])),
}
#: Each model with two optimizers, and each optimizer with two models.
PAIRS = [(model, "adam") for model in MODELS]
PAIRS += [(model, list(OPTIMIZERS)[index % 13]) for index, model in enumerate(MODELS)]
PAIRS += [("batch norm", name) for name in OPTIMIZERS]


def ready(model: str, optimizer: str = "adam") -> tuple[Any, Any, Any]:
    """Return a compiled model of the table, inputs and targets."""
    make, x, y = MODELS[model]
    made = make()
    made.compile(OPTIMIZERS[optimizer](), _loss_of(y))
    return made, x, y


def _loss_of(y: Any) -> Any:
    if isinstance(y, list):
        return ["mse", "mae"]
    return "sparse_categorical_crossentropy" if y.dtype.kind == "i" else "mse"


def batches(x: Any, y: Any, sizes: Sequence[int], *, order: str = "C") -> list[tuple[Any, Any]]:
    """Return batches of these sizes, each of other rows."""
    rows = np.random.default_rng(7)
    made = []
    for size in sizes:
        chosen = rows.permutation(8)[:size]
        made.append(tree.map(lambda a, chosen=chosen: np.array(a[chosen], order=order), (x, y)))
    return made


def train(model: Any, given: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Take a step on each batch; return its numbers and all that training changes."""
    found = []
    for x, y in given:
        numbers = model.train_on_batch(x, y)
        found.append((numbers, of(model)))
    return found


def assert_trains_as_written(model: str, optimizer: str, sizes: Sequence[int], monkeypatch: Any) -> Any:
    """Train twice, compare every step; return the model whose steps were compiled."""
    with as_written(monkeypatch):
        plain, x, y = ready(model, optimizer)
        expected = train(plain, batches(x, y, sizes))
    replayed, x, y = ready(model, optimizer)
    assert_same(train(replayed, batches(x, y, sizes)), expected)
    return replayed


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [(model, optimizer) for model, optimizer in sorted(set(PAIRS))],
)
def test_replayed_training_has_the_bits_of_the_step_as_written(model, optimizer, monkeypatch):
    sizes = [8] * 6 if model == "stateful" else [8, 8, 8, 3, 3, 8, 3, 8, 3, 3]
    replayed = assert_trains_as_written(model, optimizer, sizes, monkeypatch)
    assert_replayed(replayed, "train", 1 if model == "stateful" else 2)


@pytest.mark.parametrize("model", MODELS)
def test_replayed_predictions_and_measurements_have_the_bits_of_the_step_as_written(model, monkeypatch):
    def measured():
        made, x, y = ready(model)
        found = []
        for one, other in batches(x, y, [8] * 4):
            found += [made.predict(one), made.evaluate(one, other)]
        return made, found

    with as_written(monkeypatch):
        expected = measured()[1]
    made, found = measured()
    assert_same(found, expected)
    assert_replayed(made, "predict", 1)
    assert_replayed(made, "test", 1)


def test_metrics_are_summed_over_replayed_steps(monkeypatch):
    def history():
        model = sequential(nn.Dense(9, activation="relu"), nn.Dense(3, activation="softmax"))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        x, y = normal(43, 5), whole(3, 43)
        logs = model.fit(x, y, batch_size=8, epochs=4, verbose=0, validation_data=(x[:20], y[:20])).history
        return model, logs

    with as_written(monkeypatch):
        expected = history()[1]
    model, found = history()
    assert found == expected
    assert_replayed(model, "train", 2)
    assert_replayed(model, "test", 2)


# What belongs to others


def test_an_earlier_prediction_does_not_change_later():
    model, x, y = ready("dense")
    given = batches(x, y, [8] * 5)
    found = [model.predict(one) for one, _ in given]
    kept = copies(found)
    model.fit(x, y, verbose=0)
    for one, _ in given:
        model.predict(one + 1)
    assert_same(found, kept)
    assert not any(np.shares_memory(a, b) for a in found for b in found if a is not b)


def test_batches_and_copies_of_weights_are_not_written_to():
    model, x, y = ready("batch norm")
    given = batches(x, y, [8] * 6)
    kept, weights = copies(given), []
    for one, other in given:
        model.train_on_batch(one, other)
        held = model.get_weights()
        weights.append((held, copies(held)))
    assert_same(given, kept)
    for held, before in weights:
        assert_same(held, before)
    assert_replayed(model, "train", 1)


CHANGES: dict[str, Callable[[Any, Any], None]] = {
    "set_weights": lambda model, folder: model.set_weights([w * 0.5 for w in model.get_weights()]),
    "assign": lambda model, folder: next(iter(model.handles().values())).assign(
        np.full((5, 9), 0.1, "float32")
    ),
    "load": lambda model, folder: model.load_weights(folder / "weights"),
    "learning rate": lambda model, folder: setattr(model.optimizer, "learning_rate", 0.2),
    "trainable": lambda model, folder: setattr(model.layers[0], "trainable", False),
    "option": lambda model, folder: setattr(model.layers[1], "momentum", 0.5),
    "trainable weight": lambda model, folder: setattr(model.layers[0].kernel, "trainable", False),
    "penalty": lambda model, folder: setattr(model.layers[0].kernel, "regularizer", nn.regularizers.L2(0.3)),
    "optimizer's state": lambda model, folder: setattr(
        model._training,
        "optimizer",
        tree.map(lambda a: a * 0.5 if a.dtype.kind == "f" else a + 3, model._training.optimizer),
    ),
    "a statistic": lambda model, folder: model.set_state(
        {path: np.asarray(value) * 2 for path, value in model.get_state().items()}
    ),
    "compile": lambda model, folder: model.compile("sgd", "mse"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_between_steps_takes_effect(change, monkeypatch, tmp_path):
    def trained():
        model, x, y = ready("batch norm")
        found = [model.predict(x)]
        model.save_weights(tmp_path / "weights")
        given = batches(x, y, [8] * 14)
        found += train(model, given[:6])  # the last ones without a look at all of the state
        without = copies(found[-1])
        CHANGES[change](model, tmp_path)
        found += [model.predict(x), *train(model, given[6:])]
        CHANGES[change](model, tmp_path)
        return model, [found, model.predict(x), model.evaluate(x, y), without]

    def untouched():
        model, x, y = ready("batch norm")
        model.predict(x)
        return train(model, batches(x, y, [8] * 14)[:7])[-1][1]

    with as_written(monkeypatch):
        expected = trained()[1]
    model, found = trained()
    assert_same(found, expected)
    assert all(step.reason is None and step.count for step in steps(model)[-1:])
    after, before = found[0][8][1]["parameters"], untouched()["parameters"]
    assert any(after[path].tobytes() != before[path].tobytes() for path in after)


@pytest.mark.parametrize("change", ["option", "penalty"])
def test_what_is_changed_right_between_two_steps_takes_effect(change, monkeypatch, tmp_path):
    def trained():
        model, x, y = ready("batch norm")
        given = batches(x, y, [8] * 9)
        found = train(model, given[:6])
        CHANGES[change](model, tmp_path)
        return found + train(model, given[6:])

    with as_written(monkeypatch):
        expected = trained()
    assert_same(trained(), expected)


def test_large_weights_that_are_set_are_taken_over_and_not_written_through(monkeypatch):
    values: list[Any] = []

    def trained():
        model, x, y = ready("large", "sgd")
        given = batches(x, y, [8] * 7)
        found = train(model, given[:4])
        values[:] = [w * np.float32(0.5) for w in model.get_weights()]
        kept = copies(values)
        model.set_weights(values)
        found += train(model, given[4:])
        assert_same(values, kept)
        return found

    with as_written(monkeypatch):
        expected = trained()
    assert_same(trained(), expected)


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_training_goes_on_exactly_in_a_loaded_model(cut, tmp_path):
    whole_run, x, y = ready("batch norm", "ema")
    given = batches(x, y, [8] * 10)
    expected = train(whole_run, given)
    first, _, _ = ready("batch norm", "ema")
    train(first, given[:cut])
    first.save(tmp_path / "model")
    second = nn.load_model(tmp_path / "model", backend="numpy")
    assert_same(train(second, given[cut:]), expected[cut:])
    assert_replayed(second, "train", 1)


# What cannot be recorded


def test_a_branch_on_a_value_runs_as_written_and_the_reason_is_logged_once(monkeypatch, caplog):
    def trained():
        model = sequential(nn.Lambda(_branch), nn.Dense(3))
        model.compile("adam", "mse")
        return model, train(model, batches(normal(8, 5), normal(8, 3), [8] * 6))

    with as_written(monkeypatch):
        expected = trained()[1]
    with caplog.at_level(logging.INFO, "nnbackend.numpy"):
        model, found = trained()
    assert_same(found, expected)
    (step,) = steps(model)
    assert step.count == 0
    assert "__float__" in step.reason
    (record,) = [one for one in caplog.records if one.name == "nnbackend.numpy"]
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"train_step runs as it is written, not recorded: {step.reason}."


def _branch(x: Any) -> Any:
    total = nn.backend.plain(fn.sum(x))
    return x * 2.0 if float(total) > 0 else x


class Broken(nn.Layer):
    """Fails when it is told to."""

    fails = False

    def forward(self, x):
        if Broken.fails:
            raise RuntimeError("told to fail")
        return x * 1.5


@pytest.mark.parametrize("at", [0, 1, 2, 3, 6])
def test_an_error_of_a_layer_reaches_the_user_and_changes_nothing(at, monkeypatch):
    def trained(fails):
        model = sequential(nn.Dense(5), Broken(), nn.Dense(3))
        model.compile("adam", "mse")
        found = []
        for number, (x, y) in enumerate(batches(normal(8, 5), normal(8, 3), [8] * 8)):
            if fails and number == at:
                before = of(model) if number else None
                model._compiled.clear() if at > 1 else None  # replayed steps do not come by the layer
                monkeypatch.setattr(Broken, "fails", True)
                with pytest.raises(RuntimeError, match="told to fail"):
                    model.train_on_batch(x, y)
                monkeypatch.setattr(Broken, "fails", False)
                if before:
                    assert_same(of(model), before)
            found += train(model, [(x, y)])
        return model, found

    with as_written(monkeypatch):
        expected = trained(False)[1]
    model, found = trained(True)
    assert_same(found, expected)
    assert_replayed(model, "train", 1)


def test_an_index_out_of_range_in_a_replayed_step_is_refused_and_changes_nothing(monkeypatch):
    model, x, y = ready("lstm")
    given = batches(x, y, [8] * 10)
    found = train(model, given[:6])
    assert_replayed(model, "train", 1)
    before = of(model)
    (step,) = steps(model)
    wrong = given[6][0].copy()
    wrong[2, 3] = 11
    batch = nn.data.Batch(wrong, given[6][1], None)
    with pytest.raises(IndexError, match="from 0 to 10"):
        model._train(batch, model._no_metrics())
    assert_same(of(model), before)
    state = model._training.gather(model.handles(), {}, model._no_metrics())
    with pytest.raises(IndexError, match="from 0 to 10"):
        step(state, batch)
    assert_same(of(model), before)
    found += train(model, given[6:])
    with as_written(monkeypatch):
        plain, _, _ = ready("lstm")
        assert_same(found, train(plain, given))


# Threads


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run functions at once; return their results, or raise what one raised."""
    results: list[Any] = [None] * len(functions)

    def run(index: int) -> None:
        try:
            results[index] = functions[index]()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.fixture
def often_switched():
    import sys

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_two_threads_may_predict_with_one_model(often_switched):
    model, x, _ = ready("dense")
    inputs = [x, x[::-1].copy()]
    expected = [model.predict(one) for one in inputs]
    found = in_threads(*(lambda one=one: [model.predict(one) for _ in range(300)] for one in inputs))
    for results, one in zip(found, expected, strict=True):
        assert all(np.array_equal(result, one) for result in results)


def test_two_models_train_in_two_threads(often_switched):
    def trained(name):
        model, x, y = ready(name, "adam")
        return train(model, batches(x, y, [8] * 40))[-1]

    expected = [trained("dense"), trained("large")]
    assert_same(in_threads(lambda: trained("dense"), lambda: trained("large")), expected)


def test_a_model_may_be_measured_while_it_is_being_measured(monkeypatch):
    def measured():
        model, x, y = ready("dense")
        model.evaluate(x, y)
        inner = []

        def stream():
            for one, other in batches(x, y, [8] * 5):
                yield one, other
                inner.append(model.evaluate(one * 2, other))

        return model.evaluate(stream()), inner

    with as_written(monkeypatch):
        expected = measured()
    assert measured() == expected


def test_a_callback_may_take_a_step_of_its_own(monkeypatch):
    def trained():
        model, x, y = ready("dense")

        class Step(nn.callbacks.Callback):
            def on_batch_end(self, batch, logs):
                model.train_on_batch(x * 2, y)

        rows = np.arange(32) % 8
        return model.fit(x[rows], y[rows], 8, 3, verbose=0, callbacks=[Step()]).history, of(model)

    with as_written(monkeypatch):
        expected = trained()
    history, found = trained()
    assert_same(found, expected[1])
    assert history == expected[0]


# Shapes and layouts


@pytest.mark.parametrize(
    "layout",
    [
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a[::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a.astype("float64"),
        lambda a: (a * 10).astype("int64"),
        lambda a: a[:1],
    ],
    ids=["fortran", "every second", "reversed", "broadcast", "float64", "integers", "one sample"],
)
def test_batches_of_any_layout_give_the_bits_of_the_step_as_written(layout, monkeypatch):
    def changed():
        model, x, y = ready("batch norm")
        step_of = model.train_on_batch
        found = [step_of(x, y)]  # builds the model
        for number in range(5):
            one, other = layout(x * (number + 1)), y[: len(layout(x))]
            one.flags.writeable = False
            found += [step_of(one, other), model.predict(one), of(model)]
        return found

    with as_written(monkeypatch):
        expected = changed()
    assert_same(changed(), expected)


def run_step(step: Callable[..., Any], given: Sequence[Any], state: Any, count: int | None = 1) -> Any:
    """Run a step as it is and compiled on these inputs, compare, and return the compiled one."""
    made = nn.get_backend("numpy").compile(step)
    plain, replayed = copies(state), copies(state)
    for one in given:
        inputs = tree.map(lambda a: np.array(a, order="K"), one)
        plain, expected = step(plain, inputs)
        replayed, found = made(replayed, one)
        assert_same((replayed, found), (plain, expected))
        assert_same(one, inputs)
    if count is not None:
        assert (made.reason, made.count) == (None, count)
    return made


def numbers(count: int, *shape: int) -> list[Any]:
    rng = np.random.default_rng(3)
    return [np.asarray(rng.normal(size=shape)) for _ in range(count)]


@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only"])
def test_a_step_takes_inputs_in_any_memory_order(order):
    given = numbers(6, 6, 4)
    if order == "F":
        given = [np.asfortranarray(x) for x in given]
    elif order == "strided":
        given = [np.repeat(x, 3, axis=1)[:, ::3] for x in given]
    elif order == "read-only":
        for x in given:
            x.flags.writeable = False
    run_step(
        lambda s, x: ({"a": s["a"] + x}, (x.T @ s["a"], np.sum(x, axis=0), x + 1)), given, {"a": given[0] * 2}
    )


def test_a_layout_that_changes_between_steps_is_recorded_anew():
    given = [x if n % 3 else np.asfortranarray(x) for n, x in enumerate(numbers(12, 6, 4))]
    run_step(lambda s, x: ({"a": s["a"] * 0.5 + np.sum(x)}, x.T + 1), given, {"a": np.ones(2)}, count=2)


def test_numbers_without_axes_are_taken_and_given():
    run_step(
        lambda s, x: ({"a": s["a"] * x}, (x + 1, s["a"] ** 2, np.float32(3) * x)),
        numbers(6),
        {"a": np.array(2.0)},
    )


def test_more_sets_of_shapes_than_are_kept_stay_right():
    sizes = [1 + n % (compiled.KEPT + 3) for n in range(5 * (compiled.KEPT + 3))]
    given = [np.arange(size, dtype="float64") + n for n, size in enumerate(sizes)]
    made = run_step(
        lambda s, x: ({"a": s["a"] + np.sum(x)}, x * 2 + s["a"][0]), given, {"a": np.zeros(3)}, count=None
    )
    assert made.reason == f"batches of more than {compiled.KEPT} shapes come"
    assert made.count == compiled.KEPT


def test_as_many_shapes_as_are_kept_may_alternate():
    sizes = [1 + n % compiled.KEPT for n in range(5 * compiled.KEPT)]
    given = [np.arange(size, dtype="float64") + n for n, size in enumerate(sizes)]
    made = run_step(lambda s, x: ({"a": s["a"] + np.sum(x)}, x * 2), given, {"a": np.zeros(3)}, count=None)
    assert (made.reason, made.count) == (None, compiled.KEPT)


# States


STATES: dict[str, tuple[Callable[..., Any], Any]] = {
    "swapped": (lambda s, x: ({"a": s["b"], "b": s["a"]}, s["a"] + x), {"a": np.ones(3), "b": np.zeros(3)}),
    "swapped and changed": (
        lambda s, x: ({"a": s["b"] * x, "b": s["a"] + 1}, s["a"] - s["b"]),
        {"a": np.ones(3), "b": np.zeros(3)},
    ),
    "passed on": (lambda s, x: ({"a": s["a"], "b": s["b"] + s["a"]}, x), {"a": np.ones(3), "b": np.zeros(3)}),
    "twice the same": (
        lambda s, x: ({"a": (c := s["a"] + x), "b": c}, s["b"] * 2),
        {"a": np.ones(3), "b": np.zeros(3)},
    ),
    "read after": (lambda s, x: ({"a": (new := s["a"] + x)}, (new * 2, s["a"] * 3)), {"a": np.ones(3)}),
    "old and new returned": (lambda s, x: ({"a": s["a"] + x}, s["a"]), {"a": np.ones(3)}),
    "a view of another": (
        lambda s, x: ({"a": s["b"][:3] + x, "b": s["b"] * 0.5}, s["a"]),
        {"a": np.ones(3), "b": np.arange(6.0)},
    ),
    "a view of itself": (lambda s, x: ({"a": s["a"][::-1]}, s["a"] + x), {"a": np.arange(3.0)}),
    "reversed and added": (lambda s, x: ({"a": s["a"] + s["a"][::-1] * x}, x), {"a": np.arange(3.0)}),
    "replaced by views of one": (
        lambda s, x: (
            dict(zip("ab", np.split(np.concatenate([s["b"], s["a"]]) * 0.5, 2), strict=True)),
            x + s["a"],
        ),
        {"a": np.ones(3), "b": np.arange(3.0)},
    ),
    "reduced": (
        lambda s, x: ({"a": s["a"] + np.mean(x)}, (np.sum(x), np.max(x, axis=0))),
        {"a": np.zeros(())},
    ),
    "none": (lambda s, x: (s, (x * 2, x)), {}),
    "a view as output": (
        lambda s, x: ({"a": s["a"] + x}, ((s["a"] * 2)[::2], x[1:], s["a"][:2])),
        {"a": np.ones(3)},
    ),
    "a constant as output": (lambda s, x: ({"a": s["a"] + x}, (np.arange(3), x)), {"a": np.ones(3)}),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_goes_where_the_step_says(name):
    step, state = STATES[name]
    run_step(step, numbers(7, 3), state)


def _counted(state, x):
    weights = state["weights"] * 0.5 + x[:, None]
    total = {"total": state["metrics"]["total"] + np.sum(x), "count": state["metrics"]["count"] + 1}
    kept = {"rate": state["kept"]["rate"], "step": state["kept"]["step"] + 1}
    return {"weights": weights, "metrics": total, "kept": kept}, np.max(weights)


def _counting() -> dict[str, Any]:
    return {
        "weights": np.zeros((3, 400)),
        "metrics": {"total": np.zeros(()), "count": np.zeros((), "int64")},
        "kept": {"rate": np.ones(()), "step": np.zeros((), "int64")},
    }


@pytest.fixture
def counting():
    """Return a step that is replayed, what it returned last, and the state that it should be."""
    step, state, plain = nn.get_backend("numpy").compile(_counted), _counting(), _counting()
    for x in numbers(4, 3):
        state, _ = step(state, x)
        plain, _ = _counted(plain, x)
    assert step.count == 1
    return step, state, plain


def test_a_step_goes_on_from_what_it_returned_last_with_one_part_exchanged(counting):
    step, state, plain = counting
    states = []
    for number, x in enumerate(numbers(6, 3)):
        if number == 3:
            fresh = {"total": np.float64(5), "count": np.asarray(7)}
            plain, measured = {**plain, "metrics": fresh}, copies(fresh)
        else:
            measured = state["metrics"]
        state = step.again(state, "metrics", measured, x)
        plain, _ = _counted(plain, x)
        assert_same(state, plain)
        small = [state["metrics"], state["kept"]]
        states.append((small, copies(small)))
    for small, before in states:
        assert_same(small, before)
    x = numbers(7, 3)[0]
    assert_same(step(state, x), _counted(plain, x))


def _bound_anew(step: Any, state: Any, x: Any) -> Any:
    step(_counting(), x)
    return step.again(state, "metrics", state["metrics"], x)


def _bound_anew_in_vain(step: Any, state: Any, x: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step._known[0].replay, "_compute", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            step(_counting(), x)
    return step.again(state, "metrics", state["metrics"], x)


def _busy(step: Any, state: Any, x: Any) -> Any:
    with step._lock:
        return step.again(state, "metrics", state["metrics"], x)


NOT_AGAIN: dict[str, Callable[[Any, Any, Any], Any]] = {
    "a copy of the dict": lambda step, s, x: step.again(dict(s), "metrics", s["metrics"], x),
    "a batch of another shape": lambda step, s, x: step.again(s, "metrics", s["metrics"], np.ones(1)),
    "a batch of another dtype": lambda step, s, x: step.again(
        s, "metrics", s["metrics"], x.astype("float32")
    ),
    "more than a batch": lambda step, s, x: step.again(s, "metrics", s["metrics"], x, x),
    "another key": lambda step, s, x: step.again(s, "metrics", {**s["metrics"], "more": x}, x),
    "another shape": lambda step, s, x: step.again(s, "metrics", {**s["metrics"], "total": np.ones(2)}, x),
    "another dtype": lambda step, s, x: step.again(s, "metrics", {**s["metrics"], "total": np.asarray(1)}, x),
    "a Python number": lambda step, s, x: step.again(s, "metrics", {**s["metrics"], "total": 1.0}, x),
    "a part that stays where it is": lambda step, s, x: step.again(s, "weights", s["weights"], x),
    "another state since": _bound_anew,
    "an error with another state since": _bound_anew_in_vain,
    "another thread": _busy,
    "nothing": lambda step, s, x: step.again(None, "metrics", s["metrics"], x),
}


@pytest.mark.parametrize("name", NOT_AGAIN)
def test_a_step_goes_on_from_nothing_else(name, counting):
    step, state, plain = counting
    (x,) = numbers(1, 3)
    assert NOT_AGAIN[name](step, state, x) is None
    assert_same(step(state, x), _counted(plain, x))


def test_a_step_does_not_go_on_from_a_state_before_the_last(counting):
    step, state, _ = counting
    one, other = numbers(2, 3)
    after = step.again(state, "metrics", state["metrics"], one)
    assert step.again(state, "metrics", state["metrics"], other) is None
    assert step.again(after, "metrics", after["metrics"], other) is not None
    assert nn.get_backend("numpy").compile(_counted).again(state, "metrics", state["metrics"], one) is None


def test_fit_goes_on_without_a_look_at_all_of_the_state(monkeypatch):
    found = []

    def again(self, *given):
        found.append(known(self, *given))
        return found[-1]

    known = compiled.CompiledStep.again
    monkeypatch.setattr(compiled.CompiledStep, "again", again)
    model, x, y = ready("batch norm", "adam")
    model.fit(x, y, batch_size=2, epochs=3, verbose=0)
    assert [state is not None for state in found[-8:]] == [
        True
    ] * 8  # but 4 of 12: once as it is, recorded, looked at


def test_two_states_may_take_turns():
    def step(state, x):
        return {"a": state["a"] + x}, np.sum(state["a"])

    made = nn.get_backend("numpy").compile(step)
    plain: list[Any] = [{"a": np.zeros(3)}, {"a": np.ones(3)}]
    states: list[Any] = copies(plain)
    for number, x in enumerate(numbers(8, 3)):
        which = number % 2
        plain[which], expected = step(plain[which], x)
        states[which], found = made(states[which], x)
        assert_same((states, found), (plain, expected))


def test_arrays_of_a_state_that_share_memory_are_parted():
    def step(state, x):
        return {"a": state["a"] + x, "b": state["b"] * x}, state["a"] + state["b"]

    made, array = nn.get_backend("numpy").compile(step), np.arange(6.0)
    plain: Any = {"a": array.copy(), "b": array.copy()}
    state: Any = {"a": array, "b": array}
    given = numbers(7, 6)
    for number, x in enumerate(given):
        plain, expected = step(plain, x)
        if number == 3:  # again one array for both, in a replayed step
            state = {"a": (shared := np.array(state["a"])), "b": shared}
            plain = {"a": shared.copy(), "b": shared.copy()}
            plain, expected = step(plain, x)
        state, found = made(state, x)
        assert_same((state, found), (plain, expected))
    assert (made.reason, made.count) == (None, 1)


def test_new_state_is_written_over_the_old():
    def step(state, x):
        given = state["a"] * 2, np.sum(state["a"])  # read for the last time before the new state is there
        return {"a": state["a"] * 0.5 + x, "b": state["b"] + 1}, given

    made = nn.get_backend("numpy").compile(step)
    state: Any = {"a": np.ones(5000), "b": np.zeros(3)}
    seen = []
    for x in numbers(6, 5000):
        state, (double, _) = made(state, x)
        seen.append(state)
        assert not np.shares_memory(double, state["a"])
    assert all(np.shares_memory(state["a"], one["a"]) for one in seen[4:])
    assert not any(np.shares_memory(state["b"], one["b"]) for one in seen[:-1])  # small: copied in and out
    (known,) = made._known
    assert len(known.replay._layout.over) == 2
    assert not any(function is np.copyto for function, _ in known.replay._bound.calls)


def test_results_lie_outside_of_the_memory_that_steps_share():
    made = nn.get_backend("numpy").compile(
        lambda s, x: (s, (y := x * 2, y.T, y[1:], np.sum(y, axis=0), np.sum(y)))
    )
    found = [made({}, x)[1] for x in numbers(5, 4, 3)]
    memory = made._arena.memory
    assert memory.size
    assert not any(np.shares_memory(leaf, memory) for leaf in tree.leaves(found))


def test_a_constant_new_state_stays_what_it_is():
    state, zeros = {"a": np.ones(3)}, {"a": np.zeros(3)}
    made = nn.get_backend("numpy").compile(lambda s: ({"a": np.zeros(3)}, np.sum(s["a"])))
    new: Any = None
    for number in range(8):
        new, total = made(copies(state) if number % 3 == 0 else new)
        assert_same((new, total), (zeros, np.float64(3.0 if number % 3 == 0 else 0.0)))


def test_a_constant_that_was_handed_out_is_not_read_again():
    made = nn.get_backend("numpy").compile(lambda s, x: (s, (c := np.zeros(3), c + x)))
    for x in numbers(5, 3):
        _, (constant, result) = made({}, x)
        assert_same((constant, result), (np.zeros(3), x))
        constant += 1


def test_a_batch_that_becomes_state_is_not_written_to():
    run_step(lambda s, x: ({"a": x}, np.sum(s["a"])), (given := numbers(6, 3)), {"a": np.zeros(3)})
    assert_same(given, numbers(6, 3))


def test_a_python_number_in_the_place_of_an_array_runs_as_written():
    made = nn.get_backend("numpy").compile(lambda s, x: ({"a": s["a"] + x}, s["a"] * x))
    state: Any = {"a": np.zeros(3)}
    for x in [np.float64(2), np.float64(2), np.float64(2), 2.0, np.float64(2)]:
        state, _ = made(state, x)
    assert_same(state, {"a": np.full(3, 10.0)})


def _by_add_at(s, x):
    total = np.zeros(3)
    np.add.at(total, np.asarray([0, 2, 2, 1, 0]), x)
    return s, total


def _by_copyto(s, x):
    copy = np.zeros(5)
    np.copyto(copy, x)
    return s, copy


def _by_out(s, x):
    buffer = np.zeros(5)
    np.take(x, np.arange(5)[::-1], out=buffer)
    return s, buffer + 1


#: What a list of calls of fixed shapes cannot say, or would say wrongly.
VALUES: dict[str, Callable[..., Any]] = {
    "chosen by a mask": lambda s, x: (s, np.sum(x[x > 0])),
    "nonzero": lambda s, x: (s, np.sum(np.nonzero(x > 0)[0])),
    "unique": lambda s, x: (s, np.sum(np.unique(np.floor(x)))),
    "added in place": _by_add_at,
    "copied in place": _by_copyto,
    "written with out": _by_out,
    "allclose": lambda s, x: (s, x if np.allclose(np.sum(x), np.sum(numbers(7, 5)[1])) else -x),
    "array_equal": lambda s, x: (s, x if np.array_equal(x, numbers(7, 5)[1]) else -x),
    "a row by number": lambda s, x: ({"a": s["a"] + 1}, (np.reshape(x, (5, 1)) * 2)[s["a"] % 5]),
    "a row of the batch by number": lambda s, x: ({"a": s["a"] + 1}, np.reshape(x, (5, 1))[s["a"] % 5] * 2),
    "rows from a number on": lambda s, x: ({"a": s["a"] + 1}, (x * 2)[s["a"] % 5 :][:1]),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_depends_on_values_is_never_taken_from_the_recording(name):
    run_step(VALUES[name], numbers(7, 5), {"a": np.asarray(0)}, count=None)


def test_a_result_that_is_also_the_new_state_is_that_of_the_state_that_came():
    compiled = nn.get_backend("numpy").compile(
        lambda state, x: ({"rate": state["rate"] * 0.5, "n": state["n"] + 1}, (state["rate"] * 0.5) + 0.0 * x)
    )
    also = nn.get_backend("numpy").compile(
        lambda state, x: (made := {"rate": state["rate"] * 0.5}, made["rate"])
    )
    x = np.zeros(())
    for rate in (8.0, 4.0, 2.0, 6.0, 3.0):  # each a state of its own
        _, out = compiled({"rate": np.asarray(rate), "n": np.asarray(0)}, x)
        state, same = also({"rate": np.asarray(rate)}, x)
        assert float(out) == float(same) == float(state["rate"]) == rate / 2


# Found by review: each went wrong once


def outcome_of(make: Callable[[], Any], batches: Any, **options: Any) -> list[Any]:
    model = make()
    model.compile(**options)
    losses = [model.train_on_batch(x, y)["loss"] for x, y in batches]
    return [losses, *map(nn.to_numpy, model.get_weights())]


def assert_as_eager(make: Callable[[], Any], batches: Any, options: Callable[[], dict[str, Any]]) -> None:
    eager = outcome_of(make, batches, run_eagerly=True, **options())
    assert_same(outcome_of(make, batches, **options()), eager)


def batches_of(sizes: Any, *shape: int) -> list[Any]:
    draw = np.random.default_rng(5)
    return [(draw.normal(size=(n, *shape)).astype("float32"), draw.normal(size=(n, 1))) for n in sizes]


BY_NAME = ("sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamax", "nadam", "radam", "lion", "lamb")


@pytest.mark.parametrize("optimizer", [*BY_NAME, "adamw", "adafactor", "muon"])
def test_batches_of_two_sizes_in_turn_train_as_written(optimizer):
    def make():
        return sequential(nn.Dense(5, activation="relu"), nn.Dense(1))

    batches = batches_of([16, 16, 16, 8, 16, 8, 8, 16, 16, 8, 8, 16], 4)
    assert_as_eager(make, batches, lambda: {"optimizer": optimizer, "loss": "mse"})


ENDS = {
    "convolution": (lambda: nn.Conv2D(1, 3), (6, 6, 2)),
    "max pooling": (lambda: nn.MaxPooling2D(2), (6, 6, 2)),
    "max pooling of single places": (lambda: nn.MaxPooling2D(1, strides=2), (6, 6, 2)),
    "batch norm": (lambda: nn.BatchNormalization(), (6, 6, 2)),
    "transposed convolution": (lambda: nn.Conv2DTranspose(1, 3), (6, 6, 2)),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_mean_of_what_a_native_rule_gives_has_the_gradient_of_this_batch(name):
    layer, shape = ENDS[name]

    def make():
        return sequential(nn.Conv2D(2, 3, padding="same"), layer(), nn.GlobalAveragePooling2D(keepdims=True))

    def loss(y_true, y_pred):
        return fn.mean(y_pred)

    assert_as_eager(make, batches_of([4] * 8, *shape), lambda: {"optimizer": "adam", "loss": loss})


def test_a_result_that_is_a_view_of_what_a_native_rule_was_given_keeps_its_memory():
    def step(state, x):
        pooled = fn.max_pool(x * 2.0, pool_size=1, strides=2)
        return state, (pooled + 1.0) * pooled

    run_step(step, numbers(8, 1, 4, 4, 2), {"n": np.zeros(3)})


MORE = {
    "where zero is a state": lambda s, x: ({"a": s["a"] + 1}, np.where(x > 0, x, s["a"])),
    "where zero is a sum": lambda s, x: ({"a": s["a"] + 1}, np.where(x > 0, x, np.sum(x * 0.0) + s["a"])),
    "joined in another dtype": lambda s, x: (
        {"a": s["a"] + 1},
        np.concatenate([x, x + 1], axis=0, dtype=np.float32),
    ),
    "a view of the new state": lambda s, x: ({"a": (new := s["a"] + np.sum(x))}, np.expand_dims(new, 0) * 2),
    "in place by another name": lambda s, x: ({"a": s["a"] + 1}, _doubled_in_place(x)),
    "out by position": lambda s, x: ({"a": s["a"] + 1}, np.sum(np.stack([x, x]), 0, None, np.empty(x.shape))),
    "no numbers": lambda s, x: ({"a": s["a"] + 1}, np.nan_to_num(x * 1.0, copy=False)),
    "words": lambda s, x: ({"a": s["a"] + 1}, x + len(np.array2string(x + s["a"]))),
    "counted": lambda s, x: ({"a": s["a"] + 1}, x * np.count_nonzero(x > 0)),
}


def _doubled_in_place(x: Any) -> Any:
    b = x * 2.0
    c = b
    c += 1.0
    return b


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("size", [5, 4000])
def test_steps_with_a_trap_are_those_that_are_written(name, size):
    run_step(MORE[name], numbers(9, size), {"a": np.asarray(0.0)}, count=None)


def test_a_step_with_random_numbers_of_its_own_is_run_as_it_is_written():
    draw = np.random.default_rng(0)
    made = nn.get_backend("numpy").compile(lambda s, x: (s, x + draw.normal(size=x.shape)))
    results = [made({}, np.zeros(3))[1] for _ in range(8)]
    assert len({result.tobytes() for result in results}) == 8
    assert "from one call to the next" in made.reason


def test_an_index_that_is_refused_leaves_the_state_as_it_was():
    made = nn.get_backend("numpy").compile(
        lambda s, x: ({"n": s["n"] + 1, "w": s["w"] * 2.0}, np.take(s["w"], x, axis=0))
    )
    state: Any = {"n": np.asarray(0), "w": np.ones(2000)}
    for _ in range(6):
        state, _ = made(state, np.asarray([1, 2]))
    assert made.count == 1
    before = copies(state)
    with pytest.raises(IndexError):
        made(state, np.asarray([1, 9000]))
    assert_same(state, before)


def test_arrays_that_were_kept_from_a_recording_are_arrays():
    kept: list[Any] = []

    def step(state, x):
        kept.append(x * 2.0)
        return state, x

    made = nn.get_backend("numpy").compile(step)
    for number in range(5):
        made({}, np.full(3, float(number)))
    assert [np.asarray(value).tolist() for value in kept] == [[2.0 * n] * 3 for n in range(3)]
    assert float(np.sum(kept[1])) == 6.0
    assert (kept[2] + 1.0).tolist() == [5.0] * 3


# The pieces: recordings, layouts


def recorded(step: Callable[..., Any], *given: Any, state: int = 0) -> Replay:
    """Record a function of arrays, of which the first ones are the state, and lay it out."""
    recording = Recording()
    arrays = [recording.new(array) for array in given]
    results = tree.leaves(step(*arrays))
    places = [array.place for array in arrays]
    return Replay(
        recording,
        places[:state],
        places[state:],
        [result.place for result in results],
        renews=bool(state),
        evaluator=Evaluator(),
        arena=Arena(),
    )


def kinds(replay: Replay) -> list[Any]:
    return [op.function if op.kind == "call" else op.kind for op in replay._layout.operations]


def test_what_was_computed_before_is_not_computed_again():
    replay = recorded(lambda x: (np.exp(x) + np.exp(x)) * (x + 1.0) - (x + 1), np.ones(3))
    assert kinds(replay).count(np.exp) == 1
    assert kinds(replay).count(np.add) == 3  # x + 1.0 and x + 1 have other dtypes where x is whole numbers


def test_copies_and_what_nobody_needs_are_left_out():
    backend = nn.get_backend("numpy")

    def step(x):
        np.sin(x) * 3
        return np.exp(backend.copy(x)) + 1

    assert kinds(recorded(step, np.ones(3))) == [np.exp, np.add]


@pytest.mark.parametrize("depth", [5, 60])
def test_a_deep_chain_needs_the_memory_of_few_results(depth):
    def chain(x):
        for _ in range(depth):
            x = np.tanh(x @ np.eye(32))
        return x

    x = np.ones((32, 32))
    replay = recorded(chain, x)
    assert len(kinds(replay)) == 2 * depth
    assert x.nbytes <= replay._layout.size <= 3 * x.nbytes


def test_results_that_live_at_once_lie_apart():
    def step(x):
        parts = [x * float(n) for n in range(2, 7)]
        return parts[0] - parts[1] * parts[2] + parts[3] / parts[4], parts[0]

    x = np.linspace(1, 2, 40)
    replay = recorded(step, x)
    assert_same(replay.run([], [x])[1], list(step(x)))
    assert_same(replay.run([], [x + 1])[1], list(step(x + 1)))


# Flat updates of many small weights: names of weights -> what the parts of one array are, and whether it is laid out so
Flat = tuple[Callable[..., Any], bool]


def _flat(a: Any, b: Any, x: Any, order: str = "ab") -> Any:
    at = {"a": a, "b": b}
    flat = np.concatenate([np.reshape(at[name], (-1,)) for name in order]) * 0.5 + x
    sizes = {"a": 4, "b": 6}
    parts, start = {}, 0
    for name in order:
        parts[name] = flat[start : start + sizes[name]]
        start += sizes[name]
    return np.reshape(parts["a"], (2, 2)), np.reshape(parts["b"], (6,)), np.sum(flat)


def _doubled(a: Any, b: Any, x: Any) -> Any:
    flat = np.concatenate([np.reshape(a, (-1,)), np.reshape(a, (-1,))])
    return a + x, b * x, np.sum(flat)


def _partial(a: Any, b: Any, x: Any) -> Any:
    flat = np.concatenate([np.reshape(a, (-1,))[:3], b]) + x
    return a * x, b + x, np.sum(flat)


def _transposed(a: Any, b: Any, x: Any) -> Any:
    flat = np.concatenate([np.reshape(a.T, (-1,)), b]) + x
    return np.reshape(flat[:4], (2, 2)).T, flat[4:], np.sum(flat)


def _crossed(a: Any, b: Any, x: Any) -> Any:
    flat = np.concatenate([np.reshape(a, (-1,)), b]) + x
    return np.reshape(flat[6:], (2, 2)), flat[:6], np.sum(flat)


def _mixed(a: Any, b: Any, x: Any) -> Any:
    flat = np.concatenate([np.reshape(a, (-1,)), b * 1.5]) + x
    return a + x, b + flat[4:], np.sum(flat)


FLAT: dict[str, Flat] = {
    "in order": (_flat, True),
    "reversed": (lambda a, b, x: _flat(a, b, x, "ba"), True),
    "twice the same": (_doubled, False),
    "a part only": (_partial, False),
    "transposed": (_transposed, False),
    "crossed": (_crossed, True),
    "state and result": (_mixed, False),
}


@pytest.mark.parametrize("name", FLAT)
def test_weights_that_are_joined_for_an_update_are_pieces_of_one_array(name):
    function, joined = FLAT[name]
    a, b = np.arange(4.0).reshape(2, 2), np.arange(6.0)

    def step(state, x):
        new_a, new_b, total = function(state["a"], state["b"], x)
        return {"a": new_a, "b": new_b}, total

    made = run_step(step, numbers(7), {"a": a, "b": b})
    (known,) = made._known
    bound = known.replay._bound.state
    assert any(op.kind == "packed" for op in known.replay._layout.operations) == joined
    if joined:
        assert bound[0].base is not None
        assert bound[0].base is bound[1].base
    if name in ("in order", "reversed"):  # nothing is joined or copied: the flat array is updated in place
        assert not {np.copyto, np.concatenate} & {
            getattr(call[0], "func", call[0]) for call in known.replay._bound.calls
        }


def test_rows_that_are_repeated_are_new_in_every_step():
    @rowwise
    def program(x, y):
        return x * y - namespace(x).sum(x, axis=-1, keepdims=True)

    def step(state, x):
        return {"w": state["w"] + 1.0}, program(state["w"], x * 2.0)

    run_step(step, [np.full((4, 1, 600), float(n)) for n in range(6)], {"w": np.ones((4, 30, 600))})


def test_joined_weights_may_be_given_anew():
    def step(state, x):
        new_a, new_b, total = _flat(state["a"], state["b"], x)
        return {"a": new_a, "b": new_b}, total

    made = nn.get_backend("numpy").compile(step)
    plain: Any = {"a": np.ones((2, 2)), "b": np.ones(6)}
    state: Any = copies(plain)
    for number, x in enumerate(numbers(10)):
        if number % 3 == 0:
            plain = {"a": plain["a"] + 1, "b": plain["b"].copy()}
            state = {"a": state["a"] + 1, "b": state["b"]}
        elif number == 7:
            state = copies(state)
        plain, expected = step(plain, x)
        state, found = made(state, x)
        assert_same((state, found), (plain, expected))
    assert (made.reason, made.count) == (None, 1)


# Shortcuts


@pytest.mark.parametrize("shape", [(8,), (5, 3), (64, 128), (4097,), (3, 4099)])
@pytest.mark.parametrize("function", [np.maximum, np.minimum])
def test_an_extremum_with_a_number_has_the_same_bits_beside_an_array(function, shape):
    special = np.array([-0.0, 0.0, np.nan, -np.nan, -1.0, 1.0, -np.inf, np.inf], "float32")
    x = np.resize(special, shape)
    out = np.empty_like(x)
    call, operands = shortcut(functools.partial(function, out=out), [x, 0.0])
    call(*operands)
    assert out.tobytes() == function(x, 0.0).tobytes()


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("n", "k", "m"), [(100, 2, 64), (64, 64, 3), (128, 784, 10), (1, 5, 7), (3, 1, 4)])
def test_a_product_has_the_same_bits_by_dot(n, k, m, turned):
    a, b = normal(*((k, n) if turned[0] else (n, k))), normal(*((m, k) if turned[1] else (k, m)))
    a, b = a.T if turned[0] else a, b.T if turned[1] else b
    out = np.empty((n, m), "float32")
    call, operands = shortcut(np.matmul, [a, b, out])
    assert call is not np.matmul
    with np.errstate(all="ignore"):  # some BLAS compute beside the matrices, and matmul looks at the flags
        call(*operands)
        assert out.tobytes() == np.matmul(a, b).tobytes()


@pytest.mark.parametrize("turned", [False, True])
def test_a_product_with_a_batch_goes_by_dot_where_it_lies_as_blas_takes_it(turned):
    def step(state, x):
        return {"w": state["w"] + 1.0}, np.matmul(x.T if turned else x, state["w"])

    def bound(batches):
        (known,) = run_step(step, batches, {"w": normal(4, 3)})._known
        return [call for call, _ in known.replay._bound.calls if call in (np.dot, np.matmul)]

    shape = (4, 5) if turned else (5, 4)
    whole_ones = [normal(*shape) * number for number in range(5)]
    assert bound(whole_ones) == [np.dot]
    assert bound([np.repeat(one, 2, axis=1)[:, ::2] for one in whole_ones]) == [np.matmul]


@pytest.mark.parametrize("number", [0.1, 3, 1e-8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_is_taken_in_the_dtype_of_the_arrays_beside_it(number, dtype):
    x = normal(50).astype(dtype)
    out = np.empty_like(x)
    call, operands = shortcut(np.multiply, [number, x, out])
    call(*operands)
    assert out.tobytes() == (number * x).tobytes()


@pytest.mark.parametrize("number", [0, -1, 3, (1 << 63) - 1, 1 << 63, 1 << 70, -(1 << 63), 2.5, np.inf])
@pytest.mark.parametrize("function", [np.greater_equal, np.less, np.equal, np.not_equal])
def test_integers_are_compared_with_a_number_as_they_are_written(function, number):
    labels = np.array([[-1], [0], [2], [3], [(1 << 63) - 1], [-(1 << 63)]])
    out = np.empty(labels.shape, bool)
    call, operands = shortcut(function, [labels, number, out])
    call(*operands)
    np.testing.assert_array_equal(out, function(labels, number))
    assert isinstance(operands[1], np.ndarray) == (type(number) is int and abs(number) < 1 << 63)


def test_a_counter_is_advanced_by_a_number_as_it_is_written():
    count = np.array([5])
    assert shortcut(np.add, [count, 1, count])[1][1] == 1
    assert type(shortcut(np.add, [count, 1, count])[1][1]) is int


SHAPES = [
    ((1, 10), (10,), (1, 10)),
    ((10,), (1, 1, 10), (1, 1, 10)),
    ((7, 3), (1,), (7, 3)),
    ((1, 1), (4, 5), (4, 5)),
    ((1,), (1, 1), (1, 1)),
    ((1,), (0, 3), (0, 3)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("function", [np.add, np.divide, np.less_equal])
def test_arrays_that_differ_in_axes_of_length_one_alone_are_taken_as_of_one_shape(function, shapes, dtype):
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 1.5, 1e-42, -3.0, 0.1, 7.0, -np.inf], dtype)
    a, b = np.resize(special, shapes[0]), np.resize(special[::-1], shapes[1])
    with np.errstate(all="ignore"):
        expected = function(a, b)
        out = np.empty(shapes[2], expected.dtype)
        call, operands = shortcut(function, [a, b, out])
        call(*operands)
    assert {operand.shape for operand in operands} <= {(), (out.size,)}
    assert out.tobytes() == expected.tobytes()


def test_arrays_that_are_spread_or_lie_in_other_orders_are_taken_as_they_are():
    out = np.empty((4, 3))
    for a, b in [(np.ones((4, 3)), np.ones(3)), (np.ones((4, 3)).T.copy().T, np.ones(1)), (out[:, ::1], 2.0)]:
        operands = shortcut(np.add, [a, b, out])[1]
        assert operands[0] is a
        assert operands[-1] is out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [2, 3, 4])
@pytest.mark.parametrize("function", [np.add, np.maximum, np.minimum])
def test_rows_of_a_few_elements_are_reduced_by_columns_to_the_same_bits(function, columns, dtype):
    special = [0.0, -0.0, 1.5, -1.5, np.nan, np.inf, -np.inf, 1e-42]
    x = np.array(list(itertools.product(special, repeat=columns)), dtype)
    x = np.concatenate([x, normal(501, columns).astype(dtype)])
    out = np.empty((len(x), 1), dtype)
    calls = shortcuts(function.reduce, [x, -1, None, out, True])
    assert function.reduce not in [call for call, _ in calls]
    with np.errstate(invalid="ignore"):
        for call, operands in calls:
            call(*operands)
        assert out.tobytes() == function.reduce(x, -1, None, None, True).tobytes()


def test_rows_of_many_elements_are_reduced_as_they_are():
    x, out = normal(100, 8), np.empty(100, "float32")
    assert shortcuts(np.add.reduce, [x, -1, None, out, False]) == [(np.add.reduce, [x, -1, None, out, False])]


def test_functions_without_a_hash_are_called_as_they_are():
    class Compiled:
        __hash__ = None

        def __call__(self, *operands):
            pass

    call = Compiled()
    assert shortcuts(call, [1]) == [(call, [1])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", [((9,), (9,)), ((7, 9), (7, 9)), ((7, 1), (7, 9)), ((7, 9), ())])
@pytest.mark.parametrize("other", [0.0, -0.0, 1.5, np.nan, None])
def test_a_choice_by_bits_is_that_between_the_numbers(other, shapes, dtype):
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-42, -3.0, 0.1], dtype)
    shape = np.broadcast_shapes(*shapes)
    condition = np.resize([True, False, False, True, True], shapes[0])
    values = np.resize(special, shapes[1])
    beside = np.resize(special[::-1], shape) if other is None else other
    for branches in [(values, beside), (beside, values)]:
        out = np.empty(shape, dtype)
        select(condition, *branches, out)
        assert out.tobytes() == np.where(condition, *branches).astype(dtype).tobytes()


def test_a_choice_of_zero_multiplies_no_integers_with_conditions():
    x, out = normal(10), np.empty(10, "float32")
    functions = [function for function, _ in selection(x > 0.0, 0.0, x, out)]
    assert functions == [np.copyto, np.subtract, np.bitwise_and]


def test_a_choice_takes_over_the_memory_of_what_it_keeps():
    def step(x):
        y = np.exp(x)
        return np.where(x > 1.0, y - 1.0, y)

    x = normal(100, 3)
    replay = recorded(step, x)
    assert_same(replay.run([], [x])[1], [step(x)])
    copies_made = [call for call, _ in replay._bound.calls if call is np.copyto]
    assert len(copies_made) == 1


@pytest.mark.parametrize("kept", [lambda x, y: x.T, lambda x, y: y[:, 0:1] + y])
def test_a_choice_whose_operands_share_memory_has_the_bits_of_the_step_as_written(kept):
    def step(x):
        y = np.exp(x)
        return np.where(y > 1.0, y.T, kept(x, y)), np.where(y > 1.0, y.T, y)

    x = normal(7, 7)
    assert_same(recorded(step, x).run([], [x])[1], list(step(x)))


# Numbers


def test_operations_on_numbers_are_one_call():
    def step(rate, count, x):
        size = (rate / -np.expm1((count.astype("float64") + 1.0) * -0.1)).astype("float32")
        total = np.sum(x)
        return rate * 0.5, count + 1, x * size, rate + total.astype("float64") * 3.0

    state = [np.asarray(0.25), np.asarray(7)]
    x = normal(50)
    replay = recorded(step, *state, x, state=2)
    small, (scaled, total) = replay.run(state, [x])
    expected = step(*state, x)
    assert_same([*small, scaled, total], list(expected))
    # the sum, the numbers, the product
    assert len([call for call, _ in replay._bound.calls if isinstance(call, np.ufunc)]) == 1
    assert len(replay._bound.calls) <= 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chained_numbers_have_the_bits_and_the_warnings_of_arrays(dtype):
    values = np.array([0.0, -0.0, 1.0, -2.5, 1e-42, 3e38, np.inf, -np.inf, np.nan], dtype)

    def calls(a, b, out):
        made = [np.empty((), dtype) for _ in range(4)]
        cast = np.empty((), "float32")
        return [
            (np.add, [a, b, made[0]]),
            (np.multiply, [made[0], 1e10, made[1]]),
            (np.divide, [made[1], b, made[2]]),
            (np.negative, [made[2], made[3]]),
            (np.copyto, [cast, made[3], "unsafe"]),
            (np.sqrt, [a, made[0]]),  # written again
            (np.copyto, [out, cast]),
        ], made

    for first, second in itertools.product(values, repeat=2):
        a, b = np.array(first), np.array(second)
        outcomes = []
        for arrange in (list, chained):
            out = np.empty((), dtype)
            made, held = calls(a, b, out)
            arranged = arrange(made)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for call, operands in arranged:
                    call(*operands)
            told = {re.sub("scalar ", "", str(one.message)) for one in caught}
            outcomes.append([out.tobytes(), held[0].tobytes(), told])
        assert outcomes[0] == outcomes[1], (first, second)
        assert len(arranged) == 1


def test_chained_numbers_are_read_where_a_view_may_only_be_read():
    number, made, out = np.array(1.0), np.empty(()), np.empty(())
    ((call, _),) = chained(
        [(np.add, [np.broadcast_to(number, (1, 1)), 1.0, made]), (np.multiply, [made, 2.0, out])]
    )
    number[()] = 3.0
    call()
    assert out == 8.0


def test_single_samples_with_weights_train_as_written():
    draw = np.random.default_rng(6)
    weights = [draw.uniform(size=1) for _ in range(8)]
    batches = [(x, np.full((1, 1), n % 2)) for n, (x, _) in enumerate(batches_of([1] * 8, 4))]

    def outcome(**options):
        model = sequential(nn.Dense(1, activation="sigmoid"))
        model.compile("sgd", "binary_focal_crossentropy", **options)
        given = zip(batches, weights, strict=True)
        losses = [model.train_on_batch(x, y, weight)["loss"] for (x, y), weight in given]
        return [losses, *map(nn.to_numpy, model.get_weights())]

    assert_same(outcome(), outcome(run_eagerly=True))


def test_whole_numbers_wrap_around_in_silence():
    count = np.array(2**62)
    out = [np.empty((), np.int64) for _ in range(2)]
    calls = [(np.multiply, [count, 3, out[0]]), (np.add, [out[0], count, out[1]])]
    assert chained(calls) == calls


def test_numbers_that_wait_are_computed_before_they_are_read():
    def step(a, b, x):
        first = a + 1.0
        second = np.exp(x) * first
        third = first * b
        return first, np.sum(second * third) + b

    state, x = [np.asarray(2.0), np.asarray(3.0)], normal(20).astype("float64")
    replay = recorded(step, *state, x, state=2)
    assert_same([*replay.run(state, [x])[0]], list(step(*state, x)))


def test_what_is_written_into_a_small_array_that_was_handed_out_is_read():
    def step(state, x):
        return {"count": state["count"] + 1, "sum": state["sum"] + x}, None

    compiled_step = nn.get_backend("numpy").compile(step)
    state: Any = {"count": np.asarray(0), "sum": np.zeros(2000)}
    for _ in range(5):
        state, _ = compiled_step(state, np.ones(2000))
    held = state
    state["count"][...] = 40
    state, _ = compiled_step(state, np.ones(2000))
    assert (int(state["count"]), float(state["sum"][0])) == (41, 6.0)
    assert state is not held
    state["count"] = np.asarray(7)  # the tree is the caller's own
    assert int(compiled_step(state, np.ones(2000))[0]["count"]) == 8
    assert compiled_step.count == 1


def test_a_program_on_what_a_step_is_given_reads_it_anew_in_each_step():
    @nn.elementwise
    def squared_and_shifted(x, offset):
        return x * x + offset

    def step(state, x):
        return {"total": squared_and_shifted(x, state["total"])}, None

    compiled_step = nn.get_backend("numpy").compile(step)
    first, second = normal(40_000), normal(40_000) + 1.0
    state, expected = {"total": np.zeros(40_000, "float32")}, {"total": np.zeros(40_000, "float32")}
    for x in (first, first, first, first, second, second, first, first):
        x += 0.5  # in its place
        state, expected = compiled_step(state, x)[0], step(expected, x)[0]
        assert_same(state, expected)
    assert compiled_step.count == 1


def test_an_array_that_is_left_out_is_not_taken_for_one_that_has_not_come_yet():
    def outcomes(**options: Any) -> list[Any]:
        model = sequential(nn.Dense(3))
        model.compile("adam", "mae", ["mae"], **options)
        x, y, weight = normal(8, 2), normal(8, 3), np.linspace(0.0, 1.0, 8).astype("float32")
        given = [weight, weight, weight, None, None, None, None, weight, None]
        return [model.train_on_batch(x, y, sample_weight=each) for each in given] + [of(model)]

    assert_same(outcomes(), outcomes(run_eagerly=True))


@pytest.mark.parametrize("function", [np.logical_and, np.logical_or, np.bitwise_xor, np.maximum])
def test_a_truth_value_that_equals_an_operand_is_computed_in_each_step(function):
    def step(state, x):
        first, second = np.all(x[0] > 0.0), np.all(x[1] > 0.0)
        return {"agree": function(first, second)}, function(np.True_, second)

    compiled_step = nn.get_backend("numpy").compile(step)
    state = expected = {"agree": np.asarray(False)}
    for x in np.asarray([(1, 1), (1, 1), (1, 1), (1, -1), (-1, 1), (-1, -1), (1, -1)], "float32"):
        found, expected = compiled_step(state, x), step(expected, x)
        assert_same(found, expected)
        state, expected = found[0], expected[0]
    assert (compiled_step.reason, compiled_step.count) == (None, 1)


@pytest.mark.parametrize(("rows", "is_small"), [(128, True), (129, False)])
def test_large_products_are_not_filled_with_zeros_first(rows, is_small):
    a, b, out = np.ones((rows, 8), "f4"), np.ones((8, 128), "f4"), np.empty((rows, 128), "f4")
    function, operands = shortcut(np.matmul, [a, b, out])
    assert (function is not np.matmul) == is_small
    function(*operands)
    np.testing.assert_array_equal(out, a @ b)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (), (5,)])
def test_replayed_powers_have_the_bits_of_the_step_as_written(shape):
    # NumPy rounds roots of one number otherwise than powers of an array, also of one that is written over
    def step(state: Any, given: Any) -> Any:
        x, exponent = given
        xp = namespace(x)
        return state, (xp.pow(x * 1.0, exponent * 1.0), xp.pow(x * 1.0, exponent), xp.pow(x, exponent * 1.0))

    compiled = nn.get_backend("numpy").compile(step)
    for seed in range(40):
        x = np.asarray(np.abs(np.random.default_rng(seed).normal(size=shape)), "float32")
        given = x, np.full(shape, 0.5, "float32")
        assert_same(compiled((), given)[1], step((), given)[1])
    assert (compiled.reason, compiled.count) == (None, 1)
