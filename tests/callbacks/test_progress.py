"""What `fit` shows while it runs, and what stays when it has ended."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import Backend
from nnbackend.callbacks import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fit(backend: Backend, epochs: int = 10, **options: object) -> nn.History:
    model = nn.Sequential([nn.Dense(2)], backend=backend, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(np.eye(4, 3), [0, 1, 0, 1], epochs=epochs, batch_size=2, **options)


def test_each_epoch_leaves_one_line(backend: Backend, capsys: pytest.CaptureFixture[str]):
    history = fit(backend, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("Epoch  1/10  ")
    assert lines[-1].endswith(
        f"loss {history.history['loss'][-1]:#.4g}  accuracy {history.history['accuracy'][-1]:#.4g}"
    )


def test_the_bar_gives_way_to_the_line(
    backend: Backend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(backend, epochs=2)  # verbose="auto" sees a terminal
    shown = terminal.getvalue()
    assert "Epoch 1/2" in shown
    assert "0/2 [" in shown
    assert shown.rpartition("\r")[2].strip() == ""
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_silence_is_silent(
    backend: Backend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(backend, verbose=0)
    assert capsys.readouterr().out == ""
    assert sys.stderr.getvalue() == ""


def test_the_bar_reads_the_device_at_most_five_times_a_second(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stderr", Terminal())
    clock = iter(range(1000))
    monkeypatch.setattr("nnbackend.callbacks.progress.time.monotonic", lambda: next(clock) / 16)
    bar, looks = ProgressBar(), []
    bar.on_train_begin({"epochs": 1, "steps": 40})
    bar.on_epoch_begin(0)
    for number in range(40):  # two and a half seconds
        bar.on_batch_end(number, lambda: looks.append(1) or {"loss": 1.0})
    bar.on_train_end()
    assert len(looks) == 10


def test_a_broken_off_bar_is_closed(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    class Stop(nn.callbacks.Callback):
        def on_batch_end(self, batch: int, logs: nn.callbacks.Logs) -> None:
            raise KeyboardInterrupt

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(KeyboardInterrupt):
        fit(backend, callbacks=[Stop()])
    assert terminal.getvalue().rpartition("\r")[2].strip() == ""
