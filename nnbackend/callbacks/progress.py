"""What `Model.fit` shows: a line for each epoch, and while it runs a bar, in terminals and notebooks."""

from __future__ import annotations

import time
from typing import Any

from nnbackend.callbacks.base import Callback, Logs

__all__ = ["EpochLines", "ProgressBar"]


def _text(logs: dict[str, Any]) -> str:
    return "  ".join(f"{name} {_number(value)}" for name, value in logs.items())


def _number(value: Any) -> str:
    """Return a number, or a row of few; of what is larger, such as a confusion matrix, the shape alone."""
    shape = getattr(value, "shape", ())
    if not shape:
        return f"{float(value):#.4g}"
    if len(shape) > 1 or shape[0] > _FEW:
        return " x ".join(map(str, shape)) + " numbers"
    return f"[{' '.join(f'{float(each):#.4g}' for each in value)}]"


#: How many numbers of one metric a line has room for.
_FEW = 6


class EpochLines(Callback):
    """One line for each epoch, for logs that are kept."""

    def __init__(self) -> None:
        self._epochs = 1
        self._begin = 0.0

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Note how many epochs there are."""
        self._epochs = parameters["epochs"]

    def on_epoch_begin(self, epoch: int) -> None:
        """Look at the clock."""
        self._begin = time.monotonic()

    def on_resume(self, epoch: int, batch: int) -> None:
        """Look at the clock."""
        self.on_epoch_begin(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Print the line."""
        print(f"{self._title(epoch)}  {time.monotonic() - self._begin:.1f} s  {_text(logs)}")

    def _title(self, epoch: int) -> str:
        return f"Epoch {epoch + 1:{len(str(self._epochs))}}/{self._epochs}"


class ProgressBar(EpochLines):
    """A bar with loss and metrics while an epoch runs; its line once it has ended.

    It reads the device at most five times a second.
    """

    #: Seconds between two looks at the device.
    interval = 0.2

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._steps = 0
        self._last_look = 0.0

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Note how many epochs and steps there are."""
        super().on_train_begin(parameters)
        self._steps = parameters["steps"]

    def on_epoch_begin(self, epoch: int) -> None:
        """Open the epoch's bar."""
        from tqdm.auto import tqdm

        super().on_epoch_begin(epoch)
        self._bar = tqdm(
            total=self._steps,
            desc=self._title(epoch),
            bar_format="{desc} {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            mininterval=self.interval,
            leave=False,
        )
        self._last_look = self._begin

    def on_resume(self, epoch: int, batch: int) -> None:
        """Open the epoch's bar where the epoch stands."""
        self.on_epoch_begin(epoch)
        self._bar.update(batch)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar; now and then read the numbers."""
        now = time.monotonic()
        if now - self._last_look >= self.interval:
            self._last_look = now
            self._bar.set_postfix_str(_text(logs()), refresh=False)
        self._bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Put the epoch's line in place of the bar."""
        self._close()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self) -> None:
        """Close a bar that was broken off."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
