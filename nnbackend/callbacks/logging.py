"""Callbacks that write the numbers of a run down: as a table of text, and for TensorBoard."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import os
import time
from pathlib import Path
from typing import IO, Any

from nnbackend.arguments import positive_integer
from nnbackend.backend import to_numpy
from nnbackend.callbacks.base import Callback, Logs

__all__ = ["CSVLogger", "TensorBoard"]


class CSVLogger(Callback):
    """Writes a line for each epoch to a file that spreadsheets read.

    The first column is ``epoch``, from 0; the others are the numbers of the first epoch, under their names. Numbers are
    written so that reading gives the same bits; a metric of several numbers is a list in one cell.

    Parameters
    ----------
    filename : path
        The file; its folder must be there.
    separator : str
        What stands between the columns, one character.
    append : bool
        Whether to go on with a file that is there; otherwise it is replaced.

    Raises
    ------
    ValueError
        If the file to go on with has other columns.

    Notes
    -----
    A run that `BackupAndRestore` brings back goes on with its file, from where the backup was written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile(nn.optimizers.SGD(0.0), "mse")
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> history = model.fit([[0.0]], [[3.0]], epochs=2, verbose=0, callbacks=[CSVLogger(file)])
    >>> print(file.read_text())
    epoch,loss
    0,9.0
    1,9.0
    <BLANKLINE>
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append
        self.columns: list[str] | None = None
        self._size = 0
        self._file: IO[str] | None = None

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Look at the file; it is opened with the first line, so that a run that comes back finds it as it was."""
        self.columns = None
        self._size = self.filename.stat().st_size if self.append and self.filename.exists() else 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write the line."""
        if self._file is None:
            self._open()
        assert self._file is not None
        writer = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")
        if self.columns is None:
            self.columns = list(logs)
            if self._size == 0:
                writer.writerow(["epoch", *self.columns])
        writer.writerow([epoch, *(_cell(logs.get(name)) for name in self.columns)])
        self._file.flush()
        self._size = self._file.tell()

    def _open(self) -> None:
        """Open the file at the end of what is to be kept of it."""
        kept = min(self._size, self.filename.stat().st_size if self.filename.exists() else 0)
        if not kept:
            self.columns = None
        self._file = open(self.filename, "r+" if kept else "w", encoding="utf-8", newline="")  # noqa: SIM115
        if kept and self.columns is None:
            header = next(csv.reader(self._file, delimiter=self.separator), [])
            if header[:1] != ["epoch"]:
                self._file.close()
                raise ValueError(
                    f"CSVLogger expects {str(self.filename)!r} to begin with the column 'epoch', got {header}. Give "
                    "another file, or append=False."
                )
            self.columns = header[1:]
        self._size = kept
        self._file.seek(kept)
        self._file.truncate()

    def on_train_end(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def get_state(self) -> dict[str, Any]:
        """Return how long the file is, and its columns."""
        return {"size": self._size, "columns": self.columns}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after what the other process had written by then."""
        self._size, self.columns = state["size"], state["columns"]


def _cell(value: Any) -> Any:
    if value is None:
        return "NA"
    return value.tolist() if getattr(value, "shape", ()) else repr(float(value))


class TensorBoard(Callback):
    """Writes the numbers of a run for TensorBoard: ``tensorboard --logdir logs`` shows them.

    As with Keras, training goes to the folder ``train`` and validation to ``validation``, under ``epoch_<name>`` and
    ``batch_<name>``.

    Parameters
    ----------
    log_dir : path
        The folder; one for each run.
    histogram_freq : int
        After how many epochs to write histograms of the weights; 0 for never.
    update_freq : {"epoch", "batch"} or int
        Whether loss and metrics are written after batches, too: after each, or after so many. Reading them waits for
        the device.

    Raises
    ------
    ModuleNotFoundError
        When training begins, if the package `tensorboard` is not installed.
    ValueError
        If `update_freq` is something else.

    Notes
    -----
    It uses the writer of the package `tensorboard`, an optional one. What a run that `BackupAndRestore` brings back had
    written after its backup is cut off its files.

    Examples
    --------
    >>> board = TensorBoard("logs/first", update_freq=100)
    >>> board.update_freq
    100
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        update_freq: str | int = "epoch",
    ) -> None:
        if update_freq not in ("epoch", "batch"):
            if isinstance(update_freq, str):
                raise ValueError(
                    f"TensorBoard expects update_freq to be 'epoch', 'batch' or a number, got {update_freq!r}."
                )
            positive_integer("TensorBoard", "update_freq", update_freq)
        self.log_dir = Path(log_dir)
        self.histogram_freq = histogram_freq
        self.update_freq = update_freq
        self.batches = 0
        self._writers: dict[str, Any] = {}
        self._others: set[str] = set()

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """See that the package is there."""
        if importlib.util.find_spec("tensorboard") is None:
            raise ModuleNotFoundError(
                "TensorBoard needs the package 'tensorboard', which is not installed. Bring it with: pip install "
                "'nnbackend[tensorboard]'",
                name="tensorboard",
            )
        self.batches, self._others = 0, set(self._files())

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Write the numbers of the epoch so far, if it is time."""
        every = 1 if self.update_freq == "batch" else self.update_freq
        if not isinstance(every, str):
            if self.batches % every == 0:
                for name, value in logs().items():
                    self._scalar("train", f"batch_{name}", value, self.batches)
            self.batches += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write the numbers of the epoch, and histograms, if it is time."""
        optimizer = self.model.optimizer
        rate = self.model._training.learning_rate(optimizer)
        for name, value in {"learning_rate": rate, **logs}.items():
            folder = "validation" if name.startswith("val_") else "train"
            self._scalar(folder, f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            histogram = importlib.import_module("tensorboard.plugins.histogram.summary_v2").histogram_pb
            for path, parameter in self.model.handles().items():
                self._write("train", histogram(f"{path}/histogram", parameter.numpy()), epoch)
        for writer in self._writers.values():
            writer.flush()

    def _scalar(self, folder: str, tag: str, value: Any, step: int) -> None:
        if not getattr(value, "shape", ()):
            scalar = importlib.import_module("tensorboard.plugins.scalar.summary_v2").scalar_pb
            self._write(
                folder, scalar(tag, float(to_numpy(value) if hasattr(value, "shape") else value)), step
            )

    def _write(self, folder: str, summary: Any, step: int) -> None:
        events = importlib.import_module("tensorboard.compat.proto.event_pb2")
        if folder not in self._writers:
            writing = importlib.import_module("tensorboard.summary.writer.event_file_writer")
            self._writers[folder] = writing.EventFileWriter(str(self.log_dir / folder))
        self._writers[folder].add_event(events.Event(wall_time=time.time(), step=step, summary=summary))

    def on_train_end(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _files(self) -> dict[str, Path]:
        """Return the event files of the folder."""
        found = self.log_dir.glob("*/events.out.tfevents.*")
        return {str(path.relative_to(self.log_dir)): path for path in found}

    def get_state(self) -> dict[str, Any]:
        """Return the batches seen, and how long the files of this run are."""
        for writer in self._writers.values():
            writer.flush()
        own = {name: path for name, path in self._files().items() if name not in self._others}
        return {
            "batches": self.batches,
            "others": sorted(self._others),
            "sizes": {name: path.stat().st_size for name, path in own.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after what the other process had written by then; what it wrote later is cut off."""
        self.batches, self._others = state["batches"], set(state["others"])
        for name, path in self._files().items():
            if name in state["sizes"]:
                os.truncate(path, min(state["sizes"][name], path.stat().st_size))
            elif name not in self._others:
                path.unlink()
