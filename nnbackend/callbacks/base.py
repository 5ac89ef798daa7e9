"""What a callback is, and the list that calls them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

from nnbackend.data import Batch

__all__ = ["Callback", "Callbacks", "Logs"]


class Logs(Protocol):
    """The numbers of a run so far; reading them waits for the device, so read them seldom."""

    def __call__(self) -> dict[str, float]:
        """Read loss and metrics, by name."""
        ...


class Callback:
    """Something to be told how training goes; override what is needed.

    A callback that remembers something from one call to the next gives it as `get_state`, so that a run that was broken
    off goes on as if it had not been (`BackupAndRestore`).

    Attributes
    ----------
    model : Model
        The model that is trained. While `Model.fit` runs, ``model.run`` says where it stands.

    Examples
    --------
    >>> import nnbackend as nn
    >>> class Best(nn.callbacks.Callback):
    ...     def __init__(self):
    ...         self.loss = float("inf")
    ...
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.loss = min(self.loss, logs["loss"])
    ...
    ...     def get_state(self):
    ...         return {"loss": self.loss}
    ...
    ...     def set_state(self, state):
    ...         self.loss = state["loss"]
    >>> best = Best()
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=3, verbose=0, callbacks=[best])
    >>> best.loss == min(history.history["loss"])
    True
    """

    model: Any
    #: Whether it is told after all that are not, because it looks at what the others made of the news.
    told_last: ClassVar[bool] = False

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Hear that training begins; `parameters` holds ``epochs``, ``steps``, ``samples`` and ``first_epoch``.

        Steps and samples of an epoch are None where a stream does not tell them.
        """

    def on_train_end(self) -> None:
        """Hear that training has ended, or was broken off."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Hear that an epoch begins; they count from 0."""

    def on_resume(self, epoch: int, batch: int) -> None:
        """Hear, in place of an epoch's beginning, that one which another process began goes on with this batch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Hear that an epoch has ended; `logs` holds its numbers, also those of validation."""

    def on_batch_begin(self, batch: int, data: Batch) -> None:
        """Hear that a batch is about to be trained on; they count from 0 in each epoch.

        `data` holds its ``x``, ``y`` and ``weight`` as the step gets them: arrays of the backend, only to be read.
        """

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Hear that a batch has ended; ``logs()`` reads the numbers of the epoch so far from the device."""

    def get_state(self) -> Any:
        """Return what it remembers: numbers, text, arrays, and lists and dicts of them; None where that is nothing."""
        return None

    def set_state(self, state: Any) -> None:
        """Take over what `get_state` returned, perhaps in another process; called after `on_train_begin`."""


class Callbacks:
    """Calls each callback of a list in order; those that are told last come after the others."""

    def __init__(self, callbacks: Sequence[Callback], model: Any) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks expects objects of nn.callbacks.Callback, got {type(callback).__name__}."
                )
            callback.model = model
        self._callbacks = sorted(callbacks, key=lambda callback: callback.told_last)
        self._at_batches = {
            name: [one for one in self._callbacks if getattr(type(one), name) is not getattr(Callback, name)]
            for name in ("on_batch_begin", "on_batch_end")
        }

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._callbacks)

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

    def resume(self, epoch: int, batch: int) -> None:
        """Tell that an epoch goes on that another process began."""
        for callback in self._callbacks:
            callback.on_resume(epoch, batch)

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Tell that an epoch has ended."""
        for callback in self._callbacks:
            callback.on_epoch_end(epoch, logs)

    def batch_begin(self, batch: int, data: Batch) -> None:
        """Tell that a batch is about to be trained on."""
        for callback in self._at_batches["on_batch_begin"]:
            callback.on_batch_begin(batch, data)

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Tell that a batch has ended."""
        for callback in self._at_batches["on_batch_end"]:
            callback.on_batch_end(batch, logs)
