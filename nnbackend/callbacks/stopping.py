"""Callbacks that end training: when nothing gets better any more, and when numbers are none any more."""

from __future__ import annotations

from typing import Any

from nnbackend.callbacks.base import Callback
from nnbackend.callbacks.monitor import Monitor

__all__ = ["EarlyStopping"]


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
        """Bring the best weights back."""
        if self.best_weights is not None and self.model.run.finished:
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        """Return the best so far, with its weights, and how long it has waited."""
        names = ("best", "best_epoch", "wait", "stopped_epoch", "best_weights")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what another process saw."""
        vars(self).update(state)
