"""Steps that are captured: the bits of the step as it is written, on a device that computes only what is launched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import tree
from nnbackend.models.state import Snapshot
from nnbackend_cupy import capture
from nnbackend_cupy.capture import CapturedStep, NotCapturableError
from tests.backends.fake_device import FakeArray, FakeBackend, FakeRecorder, installed, machine, xp


@pytest.fixture(autouse=True)
def _only_once(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--backend") != "numpy":
        pytest.skip("these tests have a device of their own, and run with --backend numpy")


@pytest.fixture
def device() -> Iterator[FakeBackend]:
    with installed() as backend:
        yield backend


def put(values: Any, dtype: str | None = None) -> FakeArray:
    return FakeArray(np.array(values, dtype=dtype))


def values(node: Any) -> Any:
    """Return a tree with copies of its arrays, on the host."""
    return tree.map(lambda leaf: np.array(leaf.host), node)


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
    parameters = {path: handle._array for path, handle in model.handles().items()}
    return values({"parameters": parameters, "training": [model._training.optimizer, model._training.random]})


def steps(model: Any, kind: str = "train") -> list[Any]:
    return [step for (name, _), step in model._compiled.items() if name == kind]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


X, Y = normal(50, 5), np.random.default_rng(3).integers(0, 3, 50)


def network(backend: Any, optimizer: Any = None, *layers: Any, **options: Any) -> Any:
    """Return a compiled model with random layers, running statistics, and weights of several sizes."""
    chosen = layers or (
        nn.Dense(40, activation="relu"),
        nn.BatchNormalization(),
        nn.Dropout(0.3),
        nn.Dense(40, activation="tanh"),
        nn.Dense(3, activation="softmax"),
    )
    model = nn.Sequential(list(chosen), backend=backend, seed=1)
    model.compile(
        optimizer or nn.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **options,
    )
    return model


def both(work: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return what work gives on the device as it is written, and captured."""
    found = []
    for captures in (False, True):
        with installed(captures) as backend:
            found.append(work(backend))
    return found[0], found[1]


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: nn.optimizers.SGD(0.05),
    "momentum": lambda: nn.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: nn.optimizers.Adam(0.01, weight_decay=0.01),
    "rmsprop": lambda: nn.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "ema": lambda: nn.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulated": lambda: nn.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
    "clipped": lambda: nn.optimizers.SGD(0.5, global_clipnorm=0.1),
    "cosine": lambda: nn.optimizers.Adam(nn.optimizers.schedules.CosineDecay(0.05, 6)),
    "adafactor": lambda: nn.optimizers.Adafactor(0.01),
    "muon": lambda: nn.optimizers.Muon(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_captured_fit_has_the_bits_of_the_step_as_it_is_written(name: str) -> None:
    def work(backend: Any) -> Any:
        model = network(backend, OPTIMIZERS[name]())
        history = model.fit(X, Y, batch_size=16, epochs=3, verbose=0, validation_data=(X[:20], Y[:20]))
        predicted = values(model.predict(put(X), batch_size=16))
        if backend._captures:
            assert [(step.count, step.reason) for step in steps(model)] == [(2, None)]
            assert [len(step._states) for step in steps(model)] == [1]  # both graphs update the same
            assert [step.reason for step in steps(model, "test")] == [None]
        return history.history, of(model), predicted

    written, captured = both(work)
    assert_same(captured[1:], written[1:])
    assert captured[0] == written[0]


LAYERS: dict[str, tuple[Callable[[], list[Any]], np.ndarray]] = {
    "convolution": (
        lambda: [nn.Conv2D(4, 3, activation="relu"), nn.MaxPooling2D(2), nn.Flatten(), nn.Dense(3)],
        normal(24, 6, 6, 2),
    ),
    "stateful": (lambda: [nn.LSTM(4, stateful=True, batch_size=8), nn.Dense(3)], normal(24, 4, 3)),
    "masked": (
        lambda: [nn.Embedding(11, 4, mask_zero=True), nn.Bidirectional(nn.SimpleRNN(3)), nn.Dense(3)],
        np.random.default_rng(0).integers(0, 11, (24, 6)),
    ),
    "transformer": (
        lambda: [nn.Dense(8), nn.TransformerEncoder(12, 2, dropout=0.1), nn.GlobalAveragePooling1D()],
        normal(24, 4, 6),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_is_captured(name: str) -> None:
    make, x = LAYERS[name]
    y = np.random.default_rng(1).integers(0, 3, 24)

    def work(backend: Any) -> Any:
        model = network(backend, None, *make())
        history = model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        model.evaluate(x, y, batch_size=8)
        if backend._captures:
            assert [(step.count, step.reason) for step in steps(model)] == [(1, None)]
        return history.history, of(model), values(model.predict(put(x), batch_size=8))

    written, captured = both(work)
    assert captured[0] == written[0]
    assert_same(captured[1:], written[1:])


def test_what_is_set_between_steps_takes_effect(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"

    def work(backend: Any) -> Any:
        model = network(backend)
        found = []

        def train(times: int = 3) -> None:
            for _ in range(times):
                model.train_on_batch(X[:16], Y[:16])
            found.append(of(model))

        train()
        snapshot = Snapshot(model)
        first = model.get_weights()
        train()
        model.set_weights(first)
        train()
        model.optimizer.learning_rate = 0.1
        train()
        snapshot.restore()
        train()
        model.save_weights(path)
        train()
        model.load_weights(path)
        train(1)
        if backend._captures:
            assert [(step.count, step.reason) for step in steps(model)] == [(1, None)]
        return found

    written, captured = both(work)
    for one, other in zip(captured, written, strict=True):
        assert_same(one, other)


def test_averages_are_measured_and_training_goes_on_from_the_weights() -> None:
    def work(backend: Any) -> Any:
        model = network(backend, nn.optimizers.Adam(0.01, use_ema=True))
        found = []
        for _ in range(4):
            model.fit(X[:48], Y[:48], batch_size=16, verbose=0)
            found.append(model.evaluate(X[:48], Y[:48], batch_size=16))
            with model.averaged_weights():
                found.append(model.evaluate(X[:48], Y[:48], batch_size=16))
                found.append(values(model.predict(put(X[:48]), batch_size=16)))
        return found, of(model)

    written, captured = both(work)
    assert_same(captured, written)


def test_the_best_weights_are_brought_back(device: FakeBackend) -> None:
    model = network(device, nn.optimizers.SGD(0.5))
    seen: list[Any] = []

    class Remember(nn.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            seen.append((logs["val_loss"], model.get_weights()))

    stopping = nn.callbacks.EarlyStopping(
        monitor="val_loss", patience=9, restore_best_weights=True, start_from_epoch=0
    )
    data = {"batch_size": 16, "epochs": 8, "verbose": 0, "validation_data": (X[:20], Y[:20])}
    model.fit(X, Y, callbacks=[stopping, Remember()], **data)
    best = min(seen, key=lambda pair: pair[0])[1]
    assert_same(model.get_weights(), best)


def test_running_eagerly_captures_nothing(device: FakeBackend) -> None:
    model = network(device, run_eagerly=True)
    model.fit(X, Y, batch_size=16, epochs=3, verbose=0)
    assert machine.launches == 0


class Reads(nn.Layer):
    """Looks at a value."""

    def forward(self, x: Any) -> Any:
        return x if float(nn.backend.plain(x)[0, 0]) > 1e9 else x * 0.5


def test_a_step_that_looks_at_values_goes_on_as_it_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")

    def work(backend: Any) -> Any:
        model = network(backend, None, nn.Dense(4), Reads(), nn.Dense(3))
        history = model.fit(X, Y, batch_size=16, epochs=3, verbose=0)
        if backend._captures:
            (step,) = steps(model)
            assert step.count == 0
            assert step.reason == (
                "RuntimeError: the current stream is capturing, so __float__ is disallowed"
            )
            assert machine.work is None
        return history.history, of(model)

    written, captured = both(work)
    assert captured[0] == written[0]
    assert_same(captured[1], written[1])
    (line,) = [record.message for record in caplog.records if "train_step" in record.message]
    assert line.startswith("train_step runs as it is written, not captured: RuntimeError: the current stream")


def test_numbers_that_python_draws_anew_are_found_out(device: FakeBackend) -> None:
    draw = np.random.default_rng(0)

    def step(state: Any, x: Any) -> Any:
        return {"w": state["w"] + device.from_host(draw.random(3))}, {}

    captured = CapturedStep(step, FakeRecorder)
    state = {"w": put(np.zeros(3))}
    for _ in range(4):
        state, _ = captured(state, put(np.zeros(2)))
    wanted = np.random.default_rng(0).random((5, 3))
    assert captured.reason == "it computes with other numbers from one call to the next"
    np.testing.assert_allclose(
        state["w"].host, wanted[[0, 2, 3, 4]].sum(axis=0)
    )  # one draw went into the capture


def test_constants_are_part_of_a_graph(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {"w": state["w"] + x * xp.asarray([1.0, 2.0])}, {}

    captured = CapturedStep(step, FakeRecorder)
    state = {"w": put(np.zeros(2))}
    for number in range(4):
        state, _ = captured(state, put([number, 1.0]))
    assert captured.count == 1
    np.testing.assert_array_equal(state["w"].host, [6.0, 8.0])


def test_results_stay_what_they_are(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        new = state["w"] + x
        return {"w": new}, {"loss": new * 2.0, "weight": new, "old": state["w"], "input": x, "part": new[1:]}

    captured = CapturedStep(step, FakeRecorder)
    state, kept = {"w": put(np.zeros(3))}, []
    for number in range(5):
        state, results = captured(state, put(np.full(3, float(number))))
        kept.append((results, values(results)))
    assert captured.count == 1
    for results, then in kept:
        assert_same(values(results), then)
    totals = np.cumsum(range(5))
    for number, (results, _) in enumerate(kept):
        assert results["loss"].host.tolist() == [2.0 * totals[number]] * 3
        assert results["old"].host.tolist() == [totals[number] - number] * 3
        assert results["part"].host.tolist() == [totals[number]] * 2


@pytest.mark.parametrize("size", [3, 5000])
def test_a_state_may_change_places(size: int, device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {"a": state["b"], "b": state["c"], "c": state["a"] + x}, {}

    captured = CapturedStep(step, FakeRecorder)
    state = {name: put(np.full(size, float(value))) for value, name in enumerate("abc")}
    wanted = [0.0, 1.0, 2.0]
    for _ in range(7):
        state, _ = captured(state, put(np.ones(size)))
        wanted = [wanted[1], wanted[2], wanted[0] + 1.0]
    assert captured.count == 1
    assert [state[name].host[-1] for name in "abc"] == wanted
    # handed back in other places, each must find its way
    state = {"a": state["c"], "b": state["a"], "c": state["b"]}
    state, _ = captured(state, put(np.ones(size)))
    assert [state[name].host[-1] for name in "abc"] == [wanted[0], wanted[1], wanted[2] + 1.0]


def test_pieces_of_a_flat_array_stay_together(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        flat = xp.concat([state["a"], state["b"]]) + x
        return {"a": flat[:2], "b": flat[2:]}, {}

    recorder = FakeRecorder()
    captured = CapturedStep(step, lambda: recorder)
    state = {"a": put(np.zeros(2)), "b": put(np.zeros(3))}
    for _ in range(4):
        state, _ = captured(state, put(np.ones(5)))
    assert captured.count == 1
    assert recorder.block(state["a"]) == recorder.block(state["b"])
    assert state["b"].host.tolist() == [4.0] * 3


def test_views_of_the_state_are_known_again(device: FakeBackend) -> None:
    recorder = FakeRecorder()
    captured = CapturedStep(lambda state, x: ({"w": state["w"] + x}, {}), lambda: recorder)
    state = {"w": put(np.zeros(5000))}
    for number in range(6):
        before = recorder.copies
        state, _ = captured({"w": FakeArray(state["w"].host[:])}, put(1.0))
        assert recorder.copies - before == (number > 0)  # the batch alone
    assert state["w"].host[-1] == 6.0


def test_small_arrays_of_the_caller_are_left_alone(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {"sum": state["sum"] + x}, {}

    zero = put(0.0)  # somebody begins each time with the same one
    captured = CapturedStep(step, FakeRecorder)
    for _ in range(3):
        state = {"sum": zero}
        for _ in range(3):
            state, _ = captured(state, put(1.0))
        assert float(state["sum"].host) == 3.0
    assert float(zero.host) == 0.0


def test_weights_are_read_where_they_are(device: FakeBackend) -> None:
    model = network(device)
    model.fit(X[:48], Y[:48], batch_size=16, epochs=2, verbose=0)
    first = values(model.predict(put(X[:48]), batch_size=16))
    (step,) = steps(model, "predict")
    recorder = device.recorders[-1]
    copied = recorder.copies
    model.predict(put(X[:48]), batch_size=16)
    assert step.count == 1
    assert recorder.copies - copied == 6  # each batch goes in, and what comes of it out
    model.fit(X[:48], Y[:48], batch_size=16, verbose=0)
    assert not np.array_equal(values(model.predict(put(X[:48]), batch_size=16)), first)
    assert recorder.captures == 1


def test_arrays_that_change_again_and_again_are_copied_in_the_end(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {}, x["weight"] * x["batch"]

    recorder = FakeRecorder()
    captured = CapturedStep(step, lambda: recorder)
    for number in range(40):
        weight = put(np.full(3, float(number)))
        for _ in range(3):
            _, result = captured({}, {"weight": weight, "batch": put(np.arange(3.0))})
            assert result.host.tolist() == [0.0, number, 2.0 * number]
    assert recorder.captures == capture.REBOUND + 1


def test_a_batch_that_lies_in_the_state_is_copied(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        new = device.run(nn.optimizers.base.added.program(), (state["w"], x), (0,))
        return {"w": new}, {"x": x * 1.0}

    captured = CapturedStep(step, FakeRecorder)
    state = {"w": put(np.ones(5000))}
    for _ in range(2):
        state, _ = captured(state, put(np.ones(5000)))
    before = state["w"].host.copy()
    for _ in range(3):
        state, _ = captured(state, state["w"])
    np.testing.assert_array_equal(state["w"].host, before * 8.0)


def test_no_more_graphs_are_made_than_are_kept(device: FakeBackend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")

    def step(state: Any, x: Any) -> Any:
        return {"w": state["w"] + xp.sum(x)}, {}

    captured = CapturedStep(step, FakeRecorder)
    state, total = {"w": put(0.0)}, 0.0
    for _ in range(3):
        for size in range(1, capture.KEPT + 5):
            state, _ = captured(state, put(np.ones(size)))
            total += size
    assert captured.count == capture.KEPT
    assert float(state["w"].host) == total
    assert [record.message for record in caplog.records] == [
        "step is captured for 16 sets of shapes; for further ones it runs as it is written."
    ]


def test_shapes_that_come_once_are_run_once(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {}, xp.sum(x)

    captured = CapturedStep(step, FakeRecorder)
    for size in range(1, 200):
        assert float(captured({}, put(np.ones(size)))[1].host) == size
    assert captured.count == 0
    assert len(captured._trials) <= capture.NOTED
    assert sum(bool(trial.held) for trial in captured._trials.values()) <= capture.HELD


def test_a_graph_is_not_used_under_another_precision(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {"w": state["w"] + (x if nn.get_matmul_precision() == "highest" else 2.0 * x)}, {}

    captured = CapturedStep(step, FakeRecorder)
    state = {"w": put(0.0)}
    for precision in ("highest", "high", "highest"):
        with nn.use_matmul_precision(precision):
            for _ in range(3):
                state, _ = captured(state, put(1.0))
    assert float(state["w"].host) == 12.0
    assert captured.count == 2


def test_arrays_with_gaps_are_left_to_the_step(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        return {}, x + 1.0

    captured = CapturedStep(step, FakeRecorder)
    for _ in range(3):
        whole = put(np.arange(12.0).reshape(3, 4))
        assert captured({}, whole[:, ::2])[1].host.tolist() == (whole.host[:, ::2] + 1.0).tolist()
        transposed = captured({}, whole.T)[1]
        np.testing.assert_array_equal(transposed.host, whole.host.T + 1.0)
    assert captured.count == 1
    assert captured.reason is None


def test_arrays_of_other_libraries_and_numbers_are_left_to_the_step(device: FakeBackend) -> None:
    captured = CapturedStep(lambda state, x: (state, x), FakeRecorder)
    for _ in range(3):
        assert captured({}, 3.0) == ({}, 3.0)
        assert captured({"w": put(1.0)}, 3.0)[1] == 3.0
        assert captured({}, None) == ({}, None)
    assert captured.count == 0
    assert captured.reason is None


def test_what_is_no_array_cannot_be_handed_out_by_a_graph(device: FakeBackend) -> None:
    captured = CapturedStep(lambda state, x: ({"w": state["w"] + x}, {"n": 3}), FakeRecorder)
    state = {"w": put(1.0)}
    for _ in range(3):
        state, result = captured(state, put(1.0))
        assert result == {"n": 3}
    assert float(state["w"].host) == 4.0
    assert captured.reason == "it returns a int, which is no array of the device"


def test_a_state_that_changes_its_shape_is_not_captured(device: FakeBackend) -> None:
    captured = CapturedStep(lambda state, x: ({"w": xp.concat([state["w"], x])}, {}), FakeRecorder)
    state = {"w": put([1.0])}
    for _ in range(3):
        state, _ = captured(state, put([2.0]))
    assert state["w"].host.tolist() == [1.0, 2.0, 2.0, 2.0]
    assert captured.count == 0


def test_an_error_of_the_step_comes_out_and_leaves_all_as_it_was(device: FakeBackend) -> None:
    fails = []

    def step(state: Any, x: Any) -> Any:
        new = state["w"] + x
        if fails:
            raise ValueError("labels out of range")
        return {"w": new}, {}

    captured = CapturedStep(step, FakeRecorder)
    state, _ = captured({"w": put(np.zeros(5000))}, put(1.0))
    fails.append(True)
    for _ in range(2):
        with pytest.raises(ValueError, match="labels out of range"):
            captured(state, put(1.0))
        assert machine.work is None
    fails.clear()
    for _ in range(3):
        state, _ = captured(state, put(1.0))
    assert state["w"].host[0] == 4.0
    assert captured.count == 1
    assert captured.reason is None


def test_an_interruption_ends_the_capture(device: FakeBackend) -> None:
    def step(state: Any, x: Any) -> Any:
        new = device.run(nn.optimizers.base.added.program(), (state["w"], x), (0,))
        if machine.work is not None and not done:
            done.append(True)
            raise KeyboardInterrupt
        return {"w": new}, {}

    done: list[bool] = []
    captured = CapturedStep(step, FakeRecorder)
    state, _ = captured({"w": put(np.zeros(5000))}, put(np.ones(5000)))
    with pytest.raises(KeyboardInterrupt):
        captured(state, put(np.ones(5000)))
    assert machine.work is None
    assert state["w"].host[0] == 1.0
    for _ in range(3):
        state, _ = captured(state, put(np.ones(5000)))
    assert state["w"].host[0] == 4.0
    assert captured.count == 1


def test_running_out_of_memory_leaves_the_state_as_it_was(
    device: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(state: Any, x: Any) -> Any:
        return {"w": state["w"] + x}, {"loss": x * 2.0}

    captured = CapturedStep(step, FakeRecorder)
    state, _ = captured({"w": put(np.zeros(5000))}, put(1.0))

    def full(self: Any, array: Any) -> Any:
        raise MemoryError("Out of memory allocating 512 bytes (allocated so far: 1).")

    monkeypatch.setattr(FakeRecorder, "empty_like", full)
    for _ in range(2):
        state, logs = captured(state, put(1.0))
    assert state["w"].host[0] == 3.0
    assert float(logs["loss"].host) == 2.0
    assert captured.reason == "MemoryError: Out of memory allocating 512 bytes (allocated so far: 1)"


def test_two_models_take_turns() -> None:
    def work(backend: Any) -> Any:
        models = [network(backend), network(backend, nn.optimizers.SGD(0.1, momentum=0.9))]
        for start in (0, 16, 0, 16, 32, 0):
            for model in models:
                model.train_on_batch(X[start : start + 16], Y[start : start + 16])
                model.test_on_batch(X[:16], Y[:16])
        return [of(model) for model in models]

    written, captured = both(work)
    assert_same(captured, written)


def test_freezing_layers_goes_over_to_another_step() -> None:
    def work(backend: Any) -> Any:
        model = network(backend)
        for trainable in (True, False, True, False):
            model.layers[0].trainable = trainable
            for _ in range(3):
                model.train_on_batch(X[:16], Y[:16])
        return of(model)

    written, captured = both(work)
    assert_same(captured, written)


def test_a_step_within_a_capture_is_captured_with_it(device: FakeBackend) -> None:
    inner = CapturedStep(lambda state, x: (state, x * 2.0), FakeRecorder)
    outer = CapturedStep(lambda state, x: ({}, inner({}, x)[1] + 1.0), FakeRecorder)
    for number in range(4):
        assert float(outer({}, put(float(number)))[1].host) == 2.0 * number + 1.0
    assert outer.count == 1
    assert inner.count <= 1


def test_another_thread_runs_the_step_as_it_is(device: FakeBackend) -> None:
    inside, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def step(state: Any, x: Any) -> Any:
        name = threading.current_thread().name
        calls.append(name)
        if name == "first":
            inside.set()
            go_on.wait(10)
        return {}, x + 1.0

    captured = CapturedStep(step, FakeRecorder)
    first = threading.Thread(target=lambda: captured({}, put(1.0)), name="first")
    first.start()
    assert inside.wait(10)
    assert float(captured({}, put(2.0))[1].host) == 3.0
    go_on.set()
    first.join()
    assert len(calls) == 2


def test_nothing_is_computed_while_capturing(device: FakeBackend) -> None:
    recorder = FakeRecorder()
    w = put(np.ones(5000))

    def work() -> Any:
        return device.run(nn.optimizers.base.added.program(), (w, w), (0,))

    result, graph = recorder.capture(work, [w])
    assert result is w
    assert w.host[0] == 1.0
    graph.launch()
    assert w.host[0] == 2.0
    assert issubclass(NotCapturableError, RuntimeError)
