"""Callbacks: what they are told, and how training is broken off."""

import io
import signal
import threading

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import progress
from nnbackend.models.interrupts import whole_steps

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = np.arange(8) % 2


@pytest.fixture
def interruptible():
    """Let Ctrl-C reach Python, also where this process was started in the background and ignores it."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def small(backend):
    model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


class Recorder(nn.callbacks.Callback):
    def __init__(self):
        self.events = []

    def on_train_begin(self, parameters):
        self.events.append(parameters)

    def on_train_end(self):
        self.events.append("train end")

    def on_epoch_begin(self, epoch):
        self.events.append(f"epoch {epoch}")

    def on_epoch_end(self, epoch, logs):
        self.events.append((epoch, sorted(logs)))

    def on_batch_end(self, batch, logs):
        self.events.append(batch)


def test_callbacks_are_told_in_order(backend):
    recorder = Recorder()
    model = small(backend)
    model.fit(X, Y, batch_size=5, epochs=2, validation_data=(X, Y), verbose=0, callbacks=[recorder])
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert recorder.model is model
    assert recorder.events == [
        {"epochs": 2, "steps": 2, "samples": 8, "first_epoch": 0},
        *["epoch 0", 0, 1, (0, names)],
        *["epoch 1", 0, 1, (1, names)],
        "train end",
    ]


def test_a_callback_written_for_keras_is_told_what_it_expects(backend):
    told = []

    class Keras(nn.callbacks.Callback):
        def on_train_begin(self, logs=None):
            told.append("train")

        def on_train_batch_begin(self, batch, logs=None):
            told.append(("begin", batch, logs))

        def on_train_batch_end(self, batch, logs=None):
            told.append(("end", batch, sorted(logs), logs["loss"] == logs.get("loss")))

        def on_batch_end(self, batch, logs=None):
            told.append({**logs} == logs())

        def on_test_begin(self, logs=None):
            told.append(("test", logs))

        def on_test_end(self, logs=None):
            told.append(("test", sorted(logs)))

        def on_epoch_end(self, epoch, logs=None):
            told.append(sorted(logs))

        def on_train_end(self, logs=None):
            told.append("end")

    small(backend).fit(X, Y, batch_size=5, validation_data=(X, Y), verbose=0, callbacks=[Keras()])
    names = ["accuracy", "loss"]
    batches = [(("begin", i, {}), True, ("end", i, names, True)) for i in (0, 1)]
    validation = ("test", {}), ("test", names), [*names, "val_accuracy", "val_loss"]
    assert told == ["train", *batches[0], *batches[1], *validation, "end"]


def test_numbers_are_read_from_the_device_only_where_they_are_looked_at(light):
    kept = []
    model = small(light)
    keep = nn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: kept.append(logs))
    read, reads = model._numbers, []
    model._numbers = lambda measured: reads.append(1) or read(measured)
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[keep])
    assert len(reads) == 1  # at the end of the epoch
    assert kept[1]["loss"] == kept[1]["loss"]
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("on_epoch_ends", "Wrong.on_epoch_ends is never called: .*Did you mean 'on_epoch_end'"),
        ("on_test_batch_end", "on_test_batch_end is never called: .*only begin and end are told"),
        ("on_predict_begin", "on_predict_begin is never called: .*predict take no callbacks"),
    ],
)
def test_a_method_that_nothing_calls_is_warned_about(light, name, message):
    wrong = type("Wrong", (nn.callbacks.Callback,), {name: lambda self, *given: None})()
    with pytest.warns(UserWarning, match=message):
        small(light).fit(X, Y, verbose=0, callbacks=[wrong])


def test_numbers_of_the_epoch_so_far_can_be_read_after_each_batch(backend):
    seen = []

    class Read(nn.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            seen.append(logs())

    model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.fit(X, Y, batch_size=5, verbose=0, shuffle=False, callbacks=[Read()])
    assert seen[0]["loss"] == pytest.approx(model.evaluate(X[:5], Y[:5])["loss"], rel=1e-6)
    assert seen[1]["loss"] == pytest.approx(model.evaluate(X, Y)["loss"], rel=1e-6)


def test_stop_training_ends_fit_after_the_epoch(backend):
    class Stop(nn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = epoch == 1

    model = small(backend)
    assert model.fit(X, Y, epochs=9, verbose=0, callbacks=[Stop()]).epoch == [0, 1]
    assert model.fit(X, Y, epochs=1, verbose=0).epoch == [0]


@pytest.mark.parametrize(("terminal", "kind"), [(True, progress.ProgressBar), (False, progress.EpochLines)])
def test_auto_is_a_bar_in_terminals_and_lines_in_files(monkeypatch, terminal, kind):
    from nnbackend.models import reporting

    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(reporting.sys, "stderr", stream)
    monkeypatch.delitem(reporting.sys.modules, "ipykernel", raising=False)
    assert [type(callback) for callback in reporting.reporter("auto")] == [kind]


def test_history_says_its_last_numbers(backend):
    history = small(backend).fit(X, Y, epochs=2, verbose=0)
    assert repr(history).startswith("<History of 2 epochs, last {'loss': ")


@pytest.mark.parametrize("how", ["raised", "signal"])
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_a_whole_step_behind_and_training_can_go_on(backend, how):
    class Break(nn.callbacks.Callback):
        def __init__(self):
            self.after = []

        def on_batch_end(self, batch, logs):
            if batch == 1 and how == "raised":
                raise KeyboardInterrupt
            if batch == 1:
                signal.raise_signal(signal.SIGINT)
                self.after.append(batch)  # a callback is broken off at once

    broken, whole, steps = small(backend), small(backend), Break()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X, Y, batch_size=2, shuffle=False, verbose=0, callbacks=[steps])
    assert signal.getsignal(signal.SIGINT) is before
    assert steps.after == []
    for start in (0, 2):
        whole.train_on_batch(X[start : start + 2], Y[start : start + 2])
    for model in (broken, whole):
        model.train_on_batch(X[4:6], Y[4:6])
    for a, b in zip(broken.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_within_a_step_waits_for_its_end(backend):
    def interrupting(y_true, y_pred):
        signal.raise_signal(signal.SIGINT)
        return nn.functional.mean(nn.functional.square(y_pred), axis=-1)

    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.1), interrupting)
    model.build((3,))
    before = model.get_weights()[0]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, verbose=0)
    assert not np.array_equal(model.get_weights()[0], before)
    assert int(nn.to_numpy(model._training.optimizer["step"])) == 1


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_takes_effect_within_validation(backend):
    steps = []

    def counting(y_true, y_pred):
        steps.append(1)
        if len(steps) == 2:  # the first is the training step
            signal.raise_signal(signal.SIGINT)
        return nn.functional.mean(nn.functional.square(y_pred), axis=-1)

    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", counting)
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, validation_data=(X, Y), verbose=0, callbacks=[recorder])
    assert recorder.events[-2:] == [0, "train end"]


def test_a_handler_of_ones_own_is_left_alone():
    mine = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with whole_steps() as whole, whole:
            signal.raise_signal(signal.SIGINT)  # nothing is raised, now or at the end
    finally:
        signal.signal(signal.SIGINT, mine)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_the_end_of_a_step_only():
    with whole_steps() as whole:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        done = []

        def step():
            with whole:
                signal.raise_signal(signal.SIGINT)
                done.append("the rest of the step")

        with pytest.raises(KeyboardInterrupt):
            step()
        assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_step_of_another_model_within_a_callback_is_whole_as_well():
    done = []

    def callback():
        with whole_steps() as inner, inner:
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of its step")

    with whole_steps(), pytest.raises(KeyboardInterrupt):
        callback()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_handler_that_a_callback_sets_stays():
    def mine(number, frame):
        pass

    try:
        with whole_steps():
            signal.signal(signal.SIGINT, mine)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_fit_works_in_a_thread(backend):
    losses = []
    thread = threading.Thread(
        target=lambda: losses.extend(small(backend).fit(X, Y, verbose=0).history["loss"])
    )
    thread.start()
    thread.join()
    assert losses == small(backend).fit(X, Y, verbose=0).history["loss"]


def test_a_callback_hears_of_the_batch_before_it_is_trained_on(backend):
    class Batches(nn.callbacks.Callback):
        def __init__(self):
            self.heard = []

        def on_batch_begin(self, batch, data):
            steps = int(nn.to_numpy(self.model._training.start_random(0, self.model.backend)["step"]))
            self.heard.append((batch, steps, nn.to_numpy(data.x).tolist(), nn.to_numpy(data.y).tolist()))

    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", "mse")
    batches = Batches()
    model.fit([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0], 2, 2, shuffle=False, callbacks=batches, verbose=0)
    assert [heard[:2] for heard in batches.heard] == [(0, 0), (1, 1), (0, 2), (1, 3)]
    assert batches.heard[0][2:] == ([[1.0], [2.0]], [1.0, 2.0])
    assert batches.heard[1][2:] == ([[3.0]], [3.0])
