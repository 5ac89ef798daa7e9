"""What a callback is, and the list that calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from nnbackend.data import Batch

__all__ = ["Callback", "Callbacks", "Logs"]


class Logs(Protocol):
    """The numbers of a run so far; reading them waits for the device, so read them seldom."""

    def __call__(self) -> dict[str, float]:
        """Read loss and metrics, by name."""
        ...


class Callback:
    """Something to be told how training goes; override what is needed.

    Attributes
    ----------
    model : Model
        The model that is trained.
    """

    model: Any

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Hear that training begins; `parameters` holds ``epochs``, ``steps``, ``samples`` and ``first_epoch``.

        Steps and samples of an epoch are None where a stream does not tell them.
        """

    def on_train_end(self) -> None:
        """Hear that training has ended, or was broken off."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Hear that an epoch begins; they count from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Hear that an epoch has ended; `logs` holds its numbers, also those of validation."""

    def on_batch_begin(self, batch: int, data: Batch) -> None:
        """Hear that a batch is about to be trained on; they count from 0 in each epoch.

        `data` holds its ``x``, ``y`` and ``weight`` as the step gets them: arrays of the backend, only to be read.
        """

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Hear that a batch has ended; ``logs()`` reads the numbers of the epoch so far from the device."""


class Callbacks:
    """Calls each callback of a list in order."""

    def __init__(self, callbacks: Sequence[Callback], model: Any) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks expects objects of nn.callbacks.Callback, got {type(callback).__name__}."
                )
            callback.model = model
        self._callbacks = list(callbacks)

    def train_begin(self, parameters: dict[str, Any]) -> None:
        """Tell that training begins."""
        for callback in self._callbacks:
            callback.on_train_begin(parameters)

    def train_end(self) -> None:
        """Tell that training has ended."""
        for callback in self._callbacks:
            callback.on_train_end()

    def epoch_begin(self, epoch: int) -> None:
        """Tell that an epoch begins."""
        for callback in self._callbacks:
            callback.on_epoch_begin(epoch)

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Tell that an epoch has ended."""
        for callback in self._callbacks:
            callback.on_epoch_end(epoch, logs)

    def batch_begin(self, batch: int, data: Batch) -> None:
        """Tell that a batch is about to be trained on."""
        for callback in self._callbacks:
            callback.on_batch_begin(batch, data)

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Tell that a batch has ended."""
        for callback in self._callbacks:
            callback.on_batch_end(batch, logs)
