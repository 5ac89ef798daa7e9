"""Logs: a table of text that keeps every bit, and TensorBoard's event files."""

from __future__ import annotations

import csv
import importlib.util

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import Callback, CSVLogger, LambdaCallback, TensorBoard

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = X[:, :1]


def make(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", "mse", ["mae"])
    return model


def fit(backend, *callbacks, epochs=3, **options):
    return (
        make(backend)
        .fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks, **options)
        .history
    )


def rows(path, **options):
    with open(path, newline="") as file:
        return list(csv.reader(file, **options))


def test_a_line_for_each_epoch_keeps_every_bit(backend, tmp_path):
    history = fit(backend, CSVLogger(tmp_path / "log.csv"), validation_data=(X, Y))
    header, *lines = rows(tmp_path / "log.csv")
    assert header == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    for column, name in enumerate(header[1:], 1):
        assert [float(line[column]) for line in lines] == history[name]


def test_a_file_is_replaced_or_gone_on_with(light, tmp_path):
    path = tmp_path / "log.csv"
    fit(light, CSVLogger(path, separator=";"))
    assert len(rows(path, delimiter=";")) == 4
    fit(light, CSVLogger(path, separator=";", append=True), initial_epoch=1)
    found = rows(path, delimiter=";")
    assert [line[0] for line in found] == ["epoch", "0", "1", "2", "1", "2"]
    fit(light, CSVLogger(path))
    assert len(rows(path)) == 4


def test_numbers_that_come_later_or_not_always_have_their_place(light, tmp_path):
    later = LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            logs.update(new=1.0) if epoch else logs.update(first=2.0, m=np.eye(2))
        )
    )
    fit(light, later, CSVLogger(tmp_path / "log.csv"), epochs=2)
    header, first, second = rows(tmp_path / "log.csv")
    assert header[3:] == ["first", "m"]
    assert first[3:] == ["2.0", "[[1.0, 0.0], [0.0, 1.0]]"]
    assert second[3:] == ["NA", "NA"]


def test_a_file_of_something_else_is_not_gone_on_with(light, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("name,age\n")
    with pytest.raises(ValueError, match=r"to begin with the column 'epoch', got \['name', 'age'\]"):
        fit(light, CSVLogger(path, append=True))
    assert path.read_text() == "name,age\n"


def test_each_line_is_there_as_soon_as_its_epoch_has_ended(light, tmp_path):
    class Look(Callback):
        def on_epoch_end(self, epoch, logs):
            assert len(rows(tmp_path / "log.csv")) == epoch + 2

    fit(light, CSVLogger(tmp_path / "log.csv"), Look())


# TensorBoard


def events(folder):
    found = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return found.EventAccumulator(str(folder), purge_orphaned_data=False).Reload()


def scalars(folder, tag):
    tensors = pytest.importorskip("tensorboard.util.tensor_util")
    return [
        (event.step, float(tensors.make_ndarray(event.tensor_proto))) for event in events(folder).Tensors(tag)
    ]


def test_tensorboard_reads_what_was_written(light, tmp_path):
    pytest.importorskip("tensorboard", reason="an optional package")
    history = fit(light, TensorBoard(tmp_path, histogram_freq=2, update_freq=2), validation_data=(X, Y))
    for folder, name, tag in (
        ("train", "loss", "epoch_loss"),
        ("train", "mae", "epoch_mae"),
        ("validation", "val_loss", "epoch_loss"),
    ):
        expected = [(epoch, np.float32(value)) for epoch, value in enumerate(history[name])]
        assert scalars(tmp_path / folder, tag) == expected
    assert [step for step, _ in scalars(tmp_path / "train", "batch_loss")] == [0, 2, 4]
    assert [rate for _, rate in scalars(tmp_path / "train", "epoch_learning_rate")] == [np.float32(0.01)] * 3
    written = events(tmp_path / "train").Tensors("dense/kernel/histogram")
    assert [event.step for event in written] == [0, 2]


def test_what_a_run_wrote_after_its_backup_is_cut_off(light, tmp_path):
    pytest.importorskip("tensorboard", reason="an optional package")

    class Break(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                raise InterruptedError

    def train(folder, *others):
        backup = nn.callbacks.BackupAndRestore(folder / "backup")
        board = TensorBoard(folder / "logs", update_freq="batch")
        return fit(light, board, *others, backup)

    with pytest.raises(InterruptedError):
        train(tmp_path, Break())
    assert len(scalars(tmp_path / "logs" / "train", "epoch_loss")) == 2
    history = train(tmp_path)
    assert [step for step, _ in scalars(tmp_path / "logs" / "train", "batch_loss")] == [0, 1, 2, 3, 4, 5]
    found = scalars(tmp_path / "logs" / "train", "epoch_loss")
    assert found == [(epoch, np.float32(value)) for epoch, value in enumerate(history["loss"])]


def test_without_the_package_it_says_how_to_bring_it(light, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'nnbackend\[tensorboard\]'"):
        fit(light, TensorBoard(tmp_path))


@pytest.mark.parametrize("update_freq", ["sometimes", 0])
def test_a_frequency_that_is_none_is_refused(update_freq):
    with pytest.raises(ValueError, match="TensorBoard expects update_freq"):
        TensorBoard(update_freq=update_freq)
