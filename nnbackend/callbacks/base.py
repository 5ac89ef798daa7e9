"""What a callback is, and the list that calls them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from nnbackend.backend import nearest
from nnbackend.data import Batch

__all__ = ["Callback", "Callbacks", "Logs"]


class Logs(Protocol):
    """The numbers of a run so far; reading them waits for the device, so read them seldom."""

    def __call__(self) -> dict[str, float]:
        """Read loss and metrics, by name."""
        ...


class _Numbers(Mapping[str, float]):
    """Numbers that are read from the device when they are looked at, once: a dict to Keras's callbacks."""

    def __init__(self, read: Logs) -> None:
        self._read = read
        self._numbers: dict[str, float] | None = None

    def __call__(self) -> dict[str, float]:
        if self._numbers is None:
            self._numbers = self._read()
        return dict(self._numbers)

    def __getitem__(self, name: str) -> float:
        return self()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self())

    def __len__(self) -> int:
        return len(self())

    def __repr__(self) -> str:
        return repr(self())


class Callback:
    """Something to be told how training goes; override what is needed.

    The names are Keras's. Of validation a callback is told the beginning and the end, not each batch, and
    `nnbackend.Model.evaluate` and ``predict`` take no callbacks: a method whose name begins with ``on_`` and that
    nothing calls is warned about.

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
        """Hear that a batch has ended; ``logs()`` reads the numbers of the epoch so far from the device.

        So does ``logs["loss"]``, as of a dict.
        """

    def on_train_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
        """Hear what `on_batch_begin` hears, as in Keras; `logs` is empty."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Hear what `on_batch_end` hears, as in Keras; looking into `logs` waits for the device."""

    def on_test_begin(self, logs: dict[str, float]) -> None:
        """Hear that validation begins; `logs` is empty."""

    def on_test_end(self, logs: dict[str, float]) -> None:
        """Hear that validation has ended; `logs` holds its numbers."""

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
            _warn_of_unknown(callback)
        self._callbacks = sorted(callbacks, key=lambda callback: callback.told_last)
        self._batch_begins = self._overriding("on_batch_begin", "on_train_batch_begin")
        self._batch_ends = self._overriding("on_batch_end", "on_train_batch_end")

    def _overriding(self, *names: str) -> list[tuple[str, Callable[..., None]]]:
        """Return the methods of these names that callbacks have of their own, with their names."""
        methods = [(name, getattr(one, name)) for one in self._callbacks for name in names]
        return [
            (name, method)
            for name, method in methods
            if getattr(method, "__func__", None) is not getattr(Callback, name)
        ]

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

    def test_begin(self) -> None:
        """Tell that validation begins."""
        for callback in self._callbacks:
            callback.on_test_begin({})

    def test_end(self, numbers: dict[str, float]) -> None:
        """Tell that validation has ended."""
        for callback in self._callbacks:
            callback.on_test_end(dict(numbers))

    def batch_begin(self, batch: int, data: Batch) -> None:
        """Tell that a batch is about to be trained on."""
        for name, tell in self._batch_begins:
            tell(batch, data if name == "on_batch_begin" else {})

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Tell that a batch has ended."""
        if self._batch_ends:
            numbers = _Numbers(logs)
            for _, tell in self._batch_ends:
                tell(batch, numbers)


def _warn_of_unknown(callback: Callback) -> None:
    """Warn of methods that look as if they were called and are not."""
    known = [name for name in vars(Callback) if name.startswith("on_")]
    for name in dir(type(callback)):
        if not name.startswith("on_") or name in known or not callable(getattr(type(callback), name)):
            continue
        if name.startswith(("on_predict_", "on_test_")):
            why = " evaluate and predict take no callbacks, and of validation only begin and end are told."
        else:
            why = nearest(name, known)
        warnings.warn(
            f"{type(callback).__name__}.{name} is never called: callbacks are told {', '.join(known)}.{why}",
            UserWarning,
            stacklevel=4,
        )
