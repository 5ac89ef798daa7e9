"""Callbacks that write the model to files: to keep the best or the last ones, and to come back after a crash."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import string
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from nnbackend.arguments import positive_integer
from nnbackend.callbacks.base import Callback, Logs
from nnbackend.callbacks.watched import Monitor

__all__ = ["BackupAndRestore", "ModelCheckpoint"]


def _checked_frequency(owner: str, save_freq: str | int) -> int | None:
    """Return after how many batches to save; None for after each epoch."""
    if save_freq == "epoch":
        return None
    if isinstance(save_freq, str):
        raise ValueError(
            f"{owner} expects save_freq to be 'epoch' or a number of batches, got {save_freq!r}."
        )
    return positive_integer(owner, "save_freq", save_freq)


class ModelCheckpoint(Callback):
    """Saves the model after epochs, or after some batches, all of it or the weights, each time or when it is best.

    Each file is written beside its place, brought to the disk and renamed: it is whole, or it is not there. What a
    process that was killed left beside it, ``.<name>.<letters>.tmp``, is deleted when training begins.

    Parameters
    ----------
    filepath : path
        Where to. It may have fields: ``{epoch:02d}``, counted from 1, ``{batch}``, counted from 1 within the epoch, and
        the numbers of the epoch, such as ``{val_loss:.2f}``. Folders are made.
    monitor : str
        What "best" goes by.
    verbose : int
        1 prints a line for each file.
    save_best_only : bool
        Whether to save only what is better than all before, in a file without fields the best.
    save_weights_only : bool
        Whether to save the weights alone, for `nnbackend.Model.load_weights`; otherwise the model with its state of
        training, for `nnbackend.load_model`.
    mode : {"auto", "min", "max"}
        Which is better; "auto" goes by the name.
    save_freq : "epoch" or int
        After each epoch, or after so many batches, counted over epochs.
    initial_value_threshold : float, optional
        What the first one must be better than.
    keep : int, optional
        How many files of this run to keep: of those that were written, the last ones.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or a field or the monitored number is not reported.

    Notes
    -----
    Names and meanings are Keras's; `keep` is not among them.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> save = ModelCheckpoint(folder / "{epoch:02d}-{loss:.2f}.safetensors", keep=2)
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=4, verbose=0, callbacks=[save])
    >>> sorted(path.name[:3] for path in folder.iterdir())
    ['03-', '04-']
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        keep: int | None = None,
    ) -> None:
        self.filepath = os.fspath(filepath)
        self._monitor = Monitor("ModelCheckpoint", monitor, mode)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self._every = _checked_frequency("ModelCheckpoint", save_freq)
        self.initial_value_threshold = initial_value_threshold
        self.keep = None if keep is None else positive_integer("ModelCheckpoint", "keep", keep)
        self._fields = set(re.findall(r"\{(\w+)", self.filepath))
        self._epoch = 0
        self._reset()

    def _reset(self) -> None:
        first = self.initial_value_threshold
        self.best = self._monitor.worst if first is None else float(first)
        self.batches = 0
        self.files: list[str] = []

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Forget an earlier run, and clear away what killed processes left of files of this name."""
        from nnbackend.interop.safetensors import clear_abandoned

        self._reset()
        folders, names = _places(self.filepath if self._fields else os.path.realpath(self.filepath))
        for folder in folders:
            clear_abandoned(folder, names)

    def on_epoch_begin(self, epoch: int) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_resume(self, epoch: int, batch: int) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Save, if it is time."""
        if self._every is not None:
            self.batches += 1
            if self.batches % self._every == 0:
                wants_numbers = self.save_best_only or self._fields - {"epoch", "batch"}
                self._save(logs() if wants_numbers else {}, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Save, if it is time."""
        if self._every is None:
            self._save(logs, max(0, (self.model.run.feed.steps or 0) - 1))

    def on_train_end(self) -> None:
        """Warn where the number that "best" goes by never was one."""
        if self.save_best_only:
            self._monitor.warn_of_nan(self.best)

    def _save(self, logs: dict[str, float], batch: int) -> None:
        if self.save_best_only:
            value = self._monitor.read(logs)
            if not self._monitor.better(value, self.best):
                return
            self.best = value
        place = Path(self._name(logs, batch))
        place.parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(place)
        else:
            self.model.save(place)
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saved {place}")
        self._tidy(str(place))

    def _name(self, logs: dict[str, float], batch: int) -> str:
        try:
            return self.filepath.format(epoch=self._epoch + 1, batch=batch + 1, **logs)
        except KeyError as error:
            known = ", ".join(["epoch", "batch", *logs])
            raise ValueError(
                f"ModelCheckpoint cannot fill {error} of {self.filepath!r}: there are {known}."
            ) from None

    def _tidy(self, place: str) -> None:
        """Note a file, and delete the oldest ones that are too many."""
        self.files = [*(name for name in self.files if name != place), place]
        while self.keep is not None and len(self.files) > self.keep:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.files.pop(0))

    def get_state(self) -> dict[str, Any]:
        """Return the best so far, the files written and the batches seen."""
        return {"best": self.best, "batches": self.batches, "files": self.files}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what another process did."""
        self.best, self.batches, self.files = state["best"], state["batches"], list(state["files"])


class BackupAndRestore(Callback):
    """Backs the run up while it goes, so that a process that was killed is started again and goes on.

    Start the same program again: `nnbackend.Model.fit` finds the backup, goes to where it was written, and ends with
    the same weights and the same history, bit by bit, as if nothing had happened. A backup holds parameters and
    statistics, the optimizer's state and learning rate, the sums behind the metrics, key and counter of randomness, the
    position in the shuffled epoch, the history, and what other callbacks remember (`Callback.get_state`).

    Parameters
    ----------
    backup_dir : path
        A folder for the backups of this run alone; it is made.
    save_freq : "epoch" or int
        After each epoch, or after so many batches, counted over epochs. One more is written before the first step.
    delete_checkpoint : bool
        Whether the backups are deleted when training has come to its end. If not, the same program started again finds
        that it is done and returns the history, or trains on where there are more `epochs` now.

    Raises
    ------
    ValueError
        When training begins: if data or validation data can be read only once, so that another process cannot take up
        where this one stopped; or if the backup is of another model.

    Warns
    -----
    UserWarning
        If a backup is torn or damaged, which is skipped for the one before it; and if machine, versions, backend,
        options or data are others than those that the backup was written with, since then the numbers may differ. Data
        are told by their number, dtype and shape and the content of some samples: 32 that are spread over arrays, the
        first batch of a stream and of what is validated on.

    Notes
    -----
    The two newest backups are kept. Each is one file, written beside its place, brought to the disk and renamed, with a
    digest of its content. Where the classes of a model are registered (`nnbackend.register`), `nnbackend.load_model`
    reads it, too. In an epoch that goes on in its middle callbacks are told `Callback.on_resume` in place of
    ``on_epoch_begin``.

    "The same" holds on the same machine with the same versions and options. What the program itself does between
    epochs, such as to draw random numbers of its own, has to come out the same, too.

    Examples
    --------
    >>> import tempfile
    >>> import nnbackend as nn
    >>> def train(backup_dir, callbacks=()):
    ...     model = nn.Sequential([nn.Dense(4, activation="tanh"), nn.Dropout(0.5), nn.Dense(1)], seed=0)
    ...     model.compile("adam", "mse")
    ...     backup = BackupAndRestore(backup_dir, save_freq=1)
    ...     x, y = [[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]]
    ...     return model.fit(x, y, batch_size=1, epochs=3, verbose=0, callbacks=[backup, *callbacks])
    >>> class PowerCut(nn.callbacks.Callback):
    ...     def on_batch_end(self, batch, logs):
    ...         if self.model.run.epoch == 1:
    ...             raise SystemError
    >>> folder = tempfile.mkdtemp()
    >>> train(folder, [PowerCut()])
    Traceback (most recent call last):
    SystemError
    >>> train(folder).history == train(tempfile.mkdtemp()).history
    True
    """

    told_last: ClassVar[bool] = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        self.backup_dir = Path(backup_dir)
        self._every = _checked_frequency("BackupAndRestore", save_freq)
        self.delete_checkpoint = delete_checkpoint
        self.batches = 0
        self._number = 0
        self._good: list[Path] = []
        self._surroundings: Any = None

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Go to where the newest good backup was written, or write the first."""
        from nnbackend.interop.safetensors import clear_abandoned

        run = self.model.run
        run.require_replayable("BackupAndRestore")
        self.batches, self._good = 0, []
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        clear_abandoned(self.backup_dir, _BACKUP)
        self._surroundings = run.surroundings()
        self._number = max((_number(path) for path in self._backups()), default=-1) + 1
        if not self._restore(run):
            self._save()

    def _backups(self) -> list[Path]:
        """Return the backups, oldest first."""
        found = (path for path in self.backup_dir.glob("backup-*.safetensors") if _number(path) >= 0)
        return sorted(found, key=_number)

    def _restore(self, run: Any) -> bool:
        from nnbackend.interop.safetensors import ModelFileError
        from nnbackend.models import saving

        for path in reversed(self._backups()):
            try:
                metadata, tensors = saving.read_backup(path)
            except (ModelFileError, OSError) as error:
                warnings.warn(f"BackupAndRestore skips a backup: {error}", UserWarning, stacklevel=2)
                continue
            try:
                differences = saving.resume(run, metadata, tensors, path, self._surroundings)
            except ModelFileError as error:
                raise ValueError(
                    f"BackupAndRestore found the backup of another model: {error} Give another backup_dir, or delete "
                    f"{str(self.backup_dir)!r} to begin anew."
                ) from error
            if differences:
                warnings.warn(
                    f"BackupAndRestore goes on with {path}, but not all is as it was, so the numbers may differ from "
                    f"those of a run without a break: {'; '.join(differences)}.",
                    UserWarning,
                    stacklevel=2,
                )
            self._good = [path]
            return True
        return False

    def _save(self) -> None:
        from nnbackend.models import saving

        path = self.backup_dir / f"backup-{self._number:08d}.safetensors"
        saving.save_backup(self.model.run, path, self._surroundings)
        self._number += 1
        self._good = [*self._good, path][-2:]
        for other in self._backups():
            if other not in self._good:
                other.unlink(missing_ok=True)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Save, if it is time."""
        if self._every is not None:
            self.batches += 1
            if self.batches % self._every == 0:
                self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Save, if it is time."""
        if self._every is None or not self.model.run.goes_on:
            self._save()

    def on_train_end(self) -> None:
        """Delete the backups of a run that has come to its end."""
        if self.delete_checkpoint and self.model.run.finished:
            for path in reversed(self._backups()):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something of somebody else's is in it
                self.backup_dir.rmdir()

    def get_state(self) -> dict[str, int]:
        """Return the batches seen."""
        return {"batches": self.batches}

    def set_state(self, state: dict[str, int]) -> None:
        """Take over what another process counted."""
        self.batches = state["batches"]


_BACKUP = re.compile(r"backup-(\d+)\.safetensors")


def _places(template: str) -> tuple[list[str], re.Pattern[str]]:
    """Return the folders that a path with fields stands for and that are there, and what its files' names match."""
    folder, name = os.path.split(template)

    def filled(text: str, escape: Callable[[str], str], anything: str) -> str:
        pieces = string.Formatter().parse(text)
        return "".join(escape(said) + ("" if field is None else anything) for said, field, *_ in pieces)

    folders = filter(os.path.isdir, glob.glob(filled(folder, glob.escape, "*") or "."))
    return list(folders), re.compile(filled(name, re.escape, ".+"))


def _number(path: Path) -> int:
    """Return the number of a backup, or -1."""
    match = _BACKUP.fullmatch(path.name)
    return int(match[1]) if match else -1
