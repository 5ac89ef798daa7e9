"""Callbacks that change the learning rate, epoch by epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nnbackend.callbacks.base import Callback
from nnbackend.callbacks.watched import Monitor

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class _SetsRate(Callback):
    """What sets the optimizer's learning rate."""

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Refuse an optimizer whose learning rate has a schedule of its own.

        Raises
        ------
        TypeError
            With the cure.
        """
        if callable(self.model.optimizer.learning_rate):
            raise TypeError(
                f"{type(self).__name__} sets the learning rate, which {self.model.optimizer.learning_rate!r} of the "
                "optimizer gives already. Use one of them: make the optimizer with a number."
            )

    @property
    def _rate(self) -> float:
        return float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Report the learning rate of the epoch."""
        logs["learning_rate"] = self._rate


class LearningRateScheduler(_SetsRate):
    """Sets the learning rate of each epoch by a function; it is reported as ``"learning_rate"``.

    Where the rate is to change with every step, give the optimizer one of `nnbackend.optimizers.schedules` instead.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate)``, or ``schedule(epoch)``, returns the learning rate of the epoch, given its
        number from 0 and the learning rate so far.
    verbose : int
        1 prints a line for each epoch.

    Raises
    ------
    TypeError
        When training begins, if the optimizer has a schedule.
    ValueError
        If the function returns no number of zero or more.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile(nn.optimizers.SGD(0.1), "mse")
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate if epoch < 2 else rate / 2)
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=4, verbose=0, callbacks=[halve])
    >>> history.history["learning_rate"]
    [0.1, 0.1, 0.05, 0.025]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(
                f"LearningRateScheduler expects a function of epoch and learning rate, got {schedule!r}."
            )
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes(schedule, 2)

    def on_epoch_begin(self, epoch: int) -> None:
        """Set the learning rate."""
        rate = self.schedule(epoch, self._rate) if self._takes_rate else self.schedule(epoch)
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(rate):#.4g}")


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Tell whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # no signature is known
        return True
    return True


class ReduceLROnPlateau(_SetsRate):
    r"""Reduces the learning rate when a number has not become better for some epochs.

    .. math:: \eta := \max(f\, \eta,\ \eta_{\min})

    The learning rate of each epoch is reported as ``"learning_rate"``.

    Parameters
    ----------
    monitor : str
        The number's name.
    factor : float
        :math:`f`, below 1.
    patience : int
        After how many epochs without the number's becoming better it is reduced.
    verbose : int
        1 prints a line when it is.
    mode : {"auto", "min", "max"}
        Which is better; "auto" goes by the name.
    min_delta : float
        By how much the number must become better to count.
    cooldown : int
        How many epochs after a reduction are left out of account.
    min_lr : float
        :math:`\eta_{\min}`.

    Raises
    ------
    TypeError
        When training begins, if the optimizer has a schedule.
    ValueError
        If an argument is out of its range; after the first epoch, if the number is not reported.

    Notes
    -----
    As in Keras, `min_delta` is absolute; PyTorch's scheduler of this name has a relative threshold, and reduces after
    one bad epoch more.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1, kernel_constraint="non_neg")], seed=0)
    >>> model.compile(nn.optimizers.SGD(4.0), "mse")  # far too much
    >>> reduce = ReduceLROnPlateau("loss", factor=0.1, patience=1)
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=3, verbose=0, callbacks=[reduce])
    >>> history.history["learning_rate"], round(model.optimizer.learning_rate, 4)
    ([4.0, 4.0, 0.4], 0.04)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self._monitor = Monitor("ReduceLROnPlateau", monitor, mode, min_delta)
        if not 0.0 <= factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau expects a factor from 0 to below 1, got {factor}.")
        for name, value in (("patience", patience), ("cooldown", cooldown), ("min_lr", min_lr)):
            if not value >= 0:
                raise ValueError(f"ReduceLROnPlateau expects {name} to be zero or more, got {value}.")
        self.factor, self.patience, self.verbose = float(factor), patience, verbose
        self.cooldown, self.min_lr = cooldown, float(min_lr)
        self._reset()

    def _reset(self) -> None:
        self.best = self._monitor.worst
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Forget an earlier run."""
        super().on_train_begin(parameters)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Look at the number, and report and set the learning rate."""
        super().on_epoch_end(epoch, logs)
        value = self._monitor.read(logs)
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._monitor.better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def on_train_end(self) -> None:
        """Warn where the number never was one."""
        super().on_train_end()
        self._monitor.warn_of_nan(self.best)

    def _reduce(self, epoch: int) -> None:
        if self._rate > self.min_lr:
            rate = max(self._rate * self.factor, self.min_lr)
            self.model.optimizer.learning_rate = rate
            self.cooldown_counter, self.wait = self.cooldown, 0
            if self.verbose:
                print(
                    f"Epoch {epoch + 1}: learning rate {rate:#.4g}, {self._monitor.name} stays at {self.best:#.4g}"
                )

    def get_state(self) -> dict[str, Any]:
        """Return the best so far and how long it has waited."""
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what another process saw."""
        self.best, self.wait = state["best"], state["wait"]
        self.cooldown_counter = state["cooldown_counter"]
