"""Callbacks that end training: when nothing gets better any more, and when numbers are none any more."""

from __future__ import annotations

import warnings
from typing import Any

from nnbackend.arguments import positive_integer
from nnbackend.backend import host
from nnbackend.callbacks.base import Callback, Logs
from nnbackend.callbacks.watched import Monitor
from nnbackend.data import Batch

__all__ = ["EarlyStopping", "TerminateOnNaN"]


#: What EarlyStopping remembers.
_REMEMBERED = ("best", "best_epoch", "wait", "stopped_epoch", "best_weights")


class EarlyStopping(Callback):
    """Ends training when a number has not become better for some epochs.

    Parameters
    ----------
    monitor : str
        The number's name.
    min_delta : float
        By how much it must become better to count.
    patience : int
        After how many epochs without that training ends.
    verbose : int
        1 prints a line when it ends.
    mode : {"auto", "min", "max"}
        Which is better; "auto" goes by the name.
    baseline : float, optional
        What the number must at least be better than: epochs that are not count as none that became better.
    restore_best_weights : bool
        Whether the model has the weights of the best epoch when training has ended, by whatever; running statistics
        are among them. Otherwise it has those of the last.
    start_from_epoch : int
        How many epochs are left out of account.

    Attributes
    ----------
    best : float
        The best number so far.
    best_epoch : int
        Its epoch.
    stopped_epoch : int
        The epoch after which it ended training; 0 where it did not.

    Raises
    ------
    ValueError
        If `mode`, `min_delta` or `patience` is out of its range; after the first epoch, if the number is not reported.

    Warns
    -----
    RuntimeWarning
        At the end of training, if the number was NaN in every epoch.

    Notes
    -----
    The same as in Keras. Training that is broken off by an error or Ctrl-C leaves the last weights.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile(nn.optimizers.SGD(0.0), "mse")  # learns nothing
    >>> stop = EarlyStopping("loss", patience=2)
    >>> model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=100, verbose=0, callbacks=[stop]).epoch
    [0, 1, 2]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self._monitor = Monitor("EarlyStopping", monitor, mode, min_delta)
        if patience < 0:
            raise ValueError(f"EarlyStopping expects patience to be zero or more, got {patience}.")
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.best = self._monitor.worst
        self.best_epoch = self.wait = self.stopped_epoch = 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Forget an earlier run."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Look at the number."""
        if epoch < self.start_from_epoch:
            return
        value = self._monitor.read(logs)
        improved = self._monitor.better(value, self.best)
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if improved:
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self._monitor.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            if self.verbose:
                print(
                    f"Epoch {epoch + 1}: training ends, {self._monitor.name} has been {self.best:#.4g} at best"
                )

    def on_train_end(self) -> None:
        """Bring the best weights back; warn where the number never was one."""
        self._monitor.warn_of_nan(self.best)
        if self.best_weights is not None and self.model.run.finished:
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        """Return the best so far, with its weights, and how long it has waited."""
        return {name: getattr(self, name) for name in _REMEMBERED}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what another process saw."""
        for name in _REMEMBERED:
            setattr(self, name, state[name])


class TerminateOnNaN(Callback):
    """Ends training when numbers are not finite any more, and says in which layer that began.

    After some batches it looks whether weights, the optimizer's state and the loss are finite. If they are not, it goes
    back to the last look, takes the steps again one by one until the bad one, and takes that one layer by layer: the
    first output, gradient or update that is not finite is reported as a warning and in `found`. The model has the
    weights from before the bad step.

    Parameters
    ----------
    every : int
        After how many batches to look. Each look waits for the device once and copies weights and optimizer state on
        it, so that looking after each batch costs most and gives the same answer.

    Attributes
    ----------
    found : NotFinite or None
        What was not finite, with its ``kind``, ``where`` and ``layer``; None while all is well.
    batch : int or None
        The number of the bad batch within its epoch.

    Warns
    -----
    RuntimeWarning
        When it ends training.

    Notes
    -----
    Keras's callback of this name looks at the loss after each batch, and leaves the weights that are not finite.

    Examples
    --------
    >>> import warnings
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(2), nn.Lambda(nn.functional.log), nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> stop = TerminateOnNaN()
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     history = model.fit([[-1.0, 2.0]], [[0.0]], epochs=5, verbose=0, callbacks=[stop])
    >>> history.epoch, stop.found.kind, stop.found.layer
    ([0], 'activations', 'lambda')
    """

    def __init__(self, every: int = 8) -> None:
        self.every = positive_integer("TerminateOnNaN", "every", every)
        self._reset()

    def _reset(self) -> None:
        self.found: Any = None
        self.batch: int | None = None
        self._epoch = 0
        self._before: Any = None
        self._batches: list[tuple[int, Any]] = []

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Forget an earlier run."""
        self._reset()

    def on_batch_begin(self, batch: int, data: Batch) -> None:
        """Keep what is needed to take the step again."""
        from nnbackend.models.state import Snapshot

        self._epoch = self.model.run.epoch
        if not self._batches:
            self._before = Snapshot(self.model)
        self._batches.append((batch, data))

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Look, if it is time."""
        if len(self._batches) >= self.every:
            self._look(self.model.run.measured["loss"]["total"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Look at the rest of the epoch."""
        if self._batches:
            self._look(host().xp.asarray(logs["loss"]))

    def on_train_end(self) -> None:
        """Let go of what was kept."""
        self._before, self._batches = None, []

    def _look(self, loss: Any) -> None:
        from nnbackend.models.diagnosis import state_is_finite

        if not state_is_finite(self.model, loss):
            self._search()
        self._before, self._batches = None, []

    def _search(self) -> None:
        """Take the steps again until the bad one, and tell what is the matter with it."""
        from nnbackend.models.diagnosis import first_not_finite, state_is_finite
        from nnbackend.models.state import Snapshot

        model = self.model
        model.stop_training = True
        self._before.restore()
        for number, batch in self._batches:
            before = Snapshot(model)
            measured = model._train(batch, model._no_metrics())
            if not state_is_finite(model, measured["loss"]["total"]):
                before.restore()
                self.batch, self.found = number, first_not_finite(model, batch)
                before.restore()
                break
        what = "numbers that are not finite, but not when its steps were taken again"
        if self.found is not None:
            what = f"numbers that are not finite. The first are in {self.found}"
        where = f"batch {self.batch}" if self.batch is not None else "the last batches"
        warnings.warn(
            f"TerminateOnNaN ends training in epoch {self._epoch}: {where} gave {what}. The model has the weights "
            "from before.",
            RuntimeWarning,
            stacklevel=2,
        )
