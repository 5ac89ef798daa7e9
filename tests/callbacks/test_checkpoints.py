"""Checkpoints: which files there are, what is in them, and that they are whole."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import Callback, ModelCheckpoint
from nnbackend.interop.safetensors import ModelFileError, clear_abandoned

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = X[:, :1]


class Numbers(Callback):
    def __init__(self, values):
        self.values = list(values)

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.values[epoch]


def make(backend):
    model = nn.Sequential([nn.Dense(2, activation="tanh"), nn.Dense(1)], backend=backend, seed=0)
    model.compile("adam", "mse")
    return model


def run(backend, save, values=(4, 2, 3, 1)):
    model = make(backend)
    model.fit(X, Y, batch_size=4, epochs=len(values), verbose=0, callbacks=[Numbers(values), save])
    return model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fields_are_filled(light, tmp_path):
    run(light, ModelCheckpoint(tmp_path / "deep" / "{epoch:02d}-{val_loss:.2f}.safetensors"))
    expected = [f"{e:02d}-{v:.2f}.safetensors" for e, v in ((1, 4), (2, 2), (3, 3), (4, 1))]
    assert names(tmp_path / "deep") == expected


def test_only_the_best_are_saved(light, tmp_path):
    run(light, ModelCheckpoint(tmp_path / "{epoch}", save_best_only=True))
    assert names(tmp_path) == ["1", "2", "4"]


def test_a_threshold_keeps_the_first_ones_out(light, tmp_path):
    run(light, ModelCheckpoint(tmp_path / "{epoch}", save_best_only=True, initial_value_threshold=2.5))
    assert names(tmp_path) == ["2", "4"]


@pytest.mark.parametrize(("keep", "left"), [(1, ["4"]), (3, ["2", "3", "4"])])
def test_the_last_ones_are_kept(light, tmp_path, keep, left):
    run(light, ModelCheckpoint(tmp_path / "{epoch}", keep=keep))
    assert names(tmp_path) == left


def test_after_batches(light, tmp_path):
    run(light, ModelCheckpoint(tmp_path / "{epoch}-{batch}-{loss:.0f}", save_freq=3))
    assert [name[:4] for name in names(tmp_path)] == ["2-1-", "3-2-"]
    assert run(light, ModelCheckpoint(tmp_path / "one", save_freq=8)).epochs_trained == 4
    assert nn.load_model(tmp_path / "one", backend=light).epochs_trained == 3  # within the fourth


def test_training_goes_on_from_a_checkpoint(backend, tmp_path):
    whole = run(backend, ModelCheckpoint(tmp_path / "{epoch}"))
    half = nn.load_model(tmp_path / "2", backend=backend)
    half.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    for a, b in zip(whole.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_alone_are_taken_by_a_model_like_it(backend, tmp_path):
    model = run(backend, ModelCheckpoint(tmp_path / "w", save_weights_only=True))
    other = make(backend)
    with pytest.raises(RuntimeError, match="load_weights"):
        other.load_weights(tmp_path / "w")
    other.build((3,))
    other.load_weights(tmp_path / "w")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    with pytest.raises(ModelFileError, match="lack"):
        nn.load_model(tmp_path / "w")
    model.save(tmp_path / "all")
    third = make(backend)
    third.build((3,))
    third.load_weights(tmp_path / "all")
    np.testing.assert_array_equal(third.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Dense(2), nn.Dense(2)], r"'dense_1/kernel' of shape \(2, 2\), got one of shape \(2, 1\)"),
        ([nn.Dense(2), nn.Dense(1), nn.Dense(1)], r"'dense_2/kernel' of shape \(1, 1\), got none"),
        ([nn.Dense(2)], "weights that the model has not: dense_1/bias, dense_1/kernel"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_changed(light, tmp_path, layers, message):
    run(light, ModelCheckpoint(tmp_path / "w", save_weights_only=True))
    other = nn.Sequential([nn.Dense(layer.units) for layer in layers], backend=light, seed=9)
    other.build((3,))
    before = other.get_weights()
    with pytest.raises(ModelFileError, match=message):
        other.load_weights(tmp_path / "w")
    for a, b in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_write_that_fails_leaves_the_old_file(light, tmp_path, monkeypatch):
    from nnbackend.interop import safetensors

    def full(path):
        raise OSError("no space left")

    model = run(light, ModelCheckpoint(tmp_path / "m", save_weights_only=True), values=[1])
    before = (tmp_path / "m").read_bytes()
    monkeypatch.setattr(safetensors, "_bring_to_disk", full)
    with pytest.raises(OSError, match="no space"):
        model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "m", save_weights_only=True)])
    assert names(tmp_path) == ["m"]
    assert (tmp_path / "m").read_bytes() == before


#: Trains, and stops in the middle of writing its second checkpoint, until it is killed.
WRITER = """
import pathlib, signal, sys
import safetensors.numpy
import nnbackend as nn

save, count = safetensors.numpy.save_file, 0

def save_file(tensors, path, metadata=None):
    global count
    save(tensors, path, metadata=metadata)
    count += 1
    if count == 2:
        path.write_bytes(path.read_bytes()[:100])
        print("writing", flush=True)
        sys.stdin.readline()

safetensors.numpy.save_file = save_file
model = nn.Sequential([nn.Dense(1)], backend="numpy", seed=0)
model.compile("sgd", "mse")
save_model = nn.callbacks.ModelCheckpoint(sys.argv[1])
model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=3, verbose=0, callbacks=[save_model])
"""


@pytest.mark.skipif(
    os.name == "nt", reason="Windows has no SIGKILL, and does not tell whether a process lives"
)
@pytest.mark.parametrize("place", ["m-{epoch:02d}-{loss:.2f}", "{epoch}/m", "m"])
def test_what_killed_processes_left_is_deleted_and_nothing_else(light, tmp_path, place):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    (left,) = tmp_path.rglob(".*.tmp")
    (stranger := left.with_name(left.name.replace(".m", ".other", 1))).write_bytes(b"somebody else's")

    def train():
        model = make(light)
        model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / place)])

    train()
    assert left.exists()  # its process lives
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert left.exists()
    train()
    assert sorted(tmp_path.rglob(".*.tmp")) == [stranger]


def test_what_this_process_writes_or_another_machine_is_left_alone(tmp_path, monkeypatch):
    from nnbackend.interop import safetensors

    own = tmp_path / f".m.{safetensors._machine()}-{os.getpid()}-0123456789abcdef.tmp"
    other = tmp_path / f".m.{'0' * 8}-{os.getpid()}-0123456789abcdef.tmp"
    for path in (own, other):
        path.write_bytes(b"half")
    monkeypatch.setattr(safetensors, "_being_written", {own.name})
    clear_abandoned(tmp_path, re.compile("m"))
    assert names(tmp_path) == sorted([own.name, other.name])
    monkeypatch.setattr(safetensors, "_being_written", set())
    clear_abandoned(tmp_path, re.compile("m"))  # of a killed process that had this one's number
    assert names(tmp_path) == [other.name]


def test_what_cannot_be_deleted_is_no_reason_not_to_train(light, tmp_path, monkeypatch):
    from nnbackend.interop import safetensors

    def refuse(path):
        raise PermissionError("somebody else's")

    left = f".m.{safetensors._machine()}-{os.getpid()}-0123456789abcdef.tmp"
    (tmp_path / left).write_bytes(b"half")
    monkeypatch.setattr(safetensors.Path, "unlink", refuse)
    run(light, ModelCheckpoint(tmp_path / "m"), values=[1])
    assert names(tmp_path) == [left, "m"]


def test_what_cannot_be_filled_or_monitored_is_said(light, tmp_path):
    with pytest.raises(
        ValueError, match="cannot fill 'val_mae' of .*: there are epoch, batch, loss, val_loss"
    ):
        run(light, ModelCheckpoint(tmp_path / "{val_mae:.1f}"))
    with pytest.raises(ValueError, match="monitors 'val_lost'"):
        run(light, ModelCheckpoint(tmp_path / "x", "val_lost", save_best_only=True))
    with pytest.raises(ValueError, match="'epoch' or a number of batches, got 'batch'"):
        ModelCheckpoint("x", save_freq="batch")
    with pytest.raises(ValueError, match="keep to be at least 1"):
        ModelCheckpoint("x", keep=0)
