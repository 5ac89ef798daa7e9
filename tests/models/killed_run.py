"""A small training that kills itself: ``python killed_run.py FOLDER BACKEND KIND TICKS``, run by test_resume.py.

Everything that happens is a tick: what callbacks are told, and the steps of each write to the disk, in the middle of
the bytes, too. After so many ticks the process kills itself, wherever it is; with 0 it runs to the end and writes what
came out to ``FOLDER/result.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import nnbackend as nn
from nnbackend import callbacks as cb
from nnbackend.interop import safetensors as room

X = np.sin(np.arange(44.0)).reshape(22, 2).astype("float32")
Y = (np.arange(22) % 3 == 0).astype("int64")


class Clock:
    def __init__(self, limit: int) -> None:
        self.limit, self.seen, self.names = limit, 0, Counter()

    def tick(self, name: str) -> None:
        self.seen += 1
        self.names[name] += 1
        if self.seen == self.limit:
            os.kill(os.getpid(), signal.SIGKILL)


class Ticks(cb.Callback):
    def __init__(self, clock: Clock, *, last: bool) -> None:
        self.clock = clock
        self.told_last = last
        self.place = "after" if last else "before"

    def on_train_begin(self, parameters: Any) -> None:
        self.clock.tick(f"train begin {self.place}")

    def on_train_end(self) -> None:
        self.clock.tick(f"train end {self.place}")

    def on_epoch_begin(self, epoch: int) -> None:
        self.clock.tick(f"epoch begin {self.place}")

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.clock.tick(f"epoch end {self.place}")

    def on_batch_begin(self, batch: int, data: Any) -> None:
        self.clock.tick(f"batch begin {self.place}")

    def on_batch_end(self, batch: int, logs: Any) -> None:
        self.clock.tick(f"batch end {self.place}")
        if os.environ.get("NNBACKEND_TELL"):
            print("batch", flush=True)


def around(clock: Clock, name: str, function: Any) -> Any:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        clock.tick(f"before {name}")
        result = function(*arguments, **options)
        clock.tick(f"after {name}")
        return result

    return wrapped


def tick_in_writes(clock: Clock) -> None:
    save = safetensors.numpy.save_file

    def save_file(tensors: Any, path: Any, metadata: Any = None) -> None:
        clock.tick("before save_file")
        save(tensors, path, metadata=metadata)
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])
        clock.tick("half of save_file")
        Path(path).write_bytes(whole)
        clock.tick("after save_file")

    safetensors.numpy.save_file = save_file
    room._bring_to_disk = around(clock, "fsync", room._bring_to_disk)
    os.replace = around(clock, "replace", os.replace)
    Path.unlink = around(clock, "unlink", Path.unlink)


def small(kind: str, backend: str) -> nn.Model:
    layers = [
        nn.Dense(6, activation="tanh", kernel_regularizer="l2"),
        nn.BatchNormalization(),
        nn.Dropout(0.3),
        nn.Dense(1, activation="sigmoid"),
    ]
    model = nn.Sequential(layers, backend=backend, seed=3)
    rate: Any = 0.05
    if kind == "loader":
        rate = nn.optimizers.schedules.CosineDecay(0.05, decay_steps=20)
    optimizer = nn.optimizers.Adam(rate, use_ema=kind == "loader", gradient_accumulation_steps=2)
    model.compile(optimizer, "binary_crossentropy", ["accuracy", "auc", "mse"])
    return model


def data(kind: str) -> Any:
    if kind == "array":
        return (X, Y), {"batch_size": 5, "validation_split": 0.2}
    if kind == "loader":

        def noisy(batch: Any, random: Any) -> Any:
            return batch._replace(x=batch.x + random.normal(batch.x.shape))

        loader = nn.data.DataLoader(X, Y, batch_size=5, shuffle=True, transform=noisy)
        return (loader,), {"validation_data": (X, Y)}

    def stream() -> Any:
        for start in range(0, 20, 5):
            yield X[start : start + 5], Y[start : start + 5]

    return (stream,), {"steps_per_epoch": 3, "validation_data": stream, "validation_steps": 2}


def watchers(folder: Path, kind: str) -> list[cb.Callback]:
    found: list[cb.Callback] = [
        cb.ModelCheckpoint(folder / "model-{epoch:02d}-{loss:.2f}.safetensors", keep=2),
        cb.CSVLogger(folder / "log.csv"),
        cb.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
    ]
    if kind != "loader":
        found.insert(0, cb.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.02))
    if kind == "stream":
        found.insert(0, cb.LearningRateScheduler(lambda epoch, rate: 0.95 * rate))
    return found


def main(folder: Path, backend: str, kind: str, ticks: int) -> None:
    clock = Clock(ticks)
    clock.tick("start")
    frequency: Any = {"array": 1, "loader": 2, "stream": "epoch"}[kind]
    model = small(kind, backend)
    given, options = data(kind)
    backup = cb.BackupAndRestore(folder / "backup", frequency)
    told = [Ticks(clock, last=False), *watchers(folder, kind), backup, Ticks(clock, last=True)]
    tick_in_writes(clock)
    history = model.fit(*given, epochs=4, verbose=0, callbacks=told, **options)
    clock.tick("end")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".safetensors"))
    optimizer = nn.tree.leaves(model._training.optimizer)
    result = {
        "weights": [np.asarray(nn.to_numpy(w)).tobytes().hex() for w in model.get_weights()],
        "optimizer": [nn.to_numpy(array).tobytes().hex() for array in optimizer],
        "random": [nn.to_numpy(model._training.random[name]).tolist() for name in ("seed", "step")],
        "rate": repr(model._training.learning_rate(model.optimizer)),
        "history": repr(history.history),
        "epochs": history.epoch,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "predictions": repr(model.predict(X[:4])),
        "left": (folder / "backup").exists(),
    }
    (folder / "result.json").write_text(json.dumps({"result": result, "ticks": clock.names}))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
