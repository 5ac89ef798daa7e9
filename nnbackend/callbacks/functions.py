"""Functions as callbacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from nnbackend.callbacks.base import Callback, Logs
from nnbackend.data import Batch

__all__ = ["LambdaCallback"]


class LambdaCallback(Callback):
    """Calls functions when training begins and ends, and with each epoch and batch.

    Parameters
    ----------
    on_epoch_begin : callable, optional
        Called as ``on_epoch_begin(epoch)``; with Keras's empty logs as well, where it takes them.
    on_epoch_end : callable, optional
        Called as ``on_epoch_end(epoch, logs)``; what it puts into `logs` is in the history, too.
    on_train_begin : callable, optional
        Called as ``on_train_begin(parameters)``.
    on_train_end : callable, optional
        Called without arguments; with Keras's empty logs, where it takes them.
    on_batch_begin : callable, optional
        Called as ``on_batch_begin(batch, data)``.
    on_batch_end : callable, optional
        Called as ``on_batch_end(batch, logs)``; ``logs()`` reads the numbers from the device.
    on_train_batch_begin, on_train_batch_end : callable, optional
        Called as ``on_train_batch_end(batch, logs)``, as in Keras.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> model.compile(nn.optimizers.SGD(0.0), "mse")
    >>> tell = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))
    >>> history = model.fit([[0.0]], [[3.0]], epochs=2, verbose=0, callbacks=[tell])
    0 {'loss': 9.0}
    1 {'loss': 9.0}
    """

    def __init__(
        self,
        on_epoch_begin: Callable[[int], Any] | None = None,
        on_epoch_end: Callable[[int, dict[str, Any]], Any] | None = None,
        on_train_begin: Callable[[dict[str, Any]], Any] | None = None,
        on_train_end: Callable[[], Any] | None = None,
        on_batch_begin: Callable[[int, Batch], Any] | None = None,
        on_batch_end: Callable[[int, Logs], Any] | None = None,
        on_train_batch_begin: Callable[[int, Mapping[str, float]], Any] | None = None,
        on_train_batch_end: Callable[[int, Mapping[str, float]], Any] | None = None,
    ) -> None:
        self._functions = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_batch_begin": on_batch_begin,
            "on_batch_end": on_batch_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for name, function in self._functions.items():
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback expects {name} to be a function, got {function!r}.")
        self._with_logs = {
            name
            for name, count in (("on_epoch_begin", 1), ("on_train_end", 0))
            if not _takes(self._functions[name], count) and _takes(self._functions[name], count + 1)
        }

    def _call(self, name: str, *arguments: Any) -> None:
        function = self._functions[name]
        if function is not None:
            function(*arguments, *([{}] if name in self._with_logs else ()))

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Call the function."""
        self._call("on_train_begin", parameters)

    def on_train_end(self) -> None:
        """Call the function."""
        self._call("on_train_end")

    def on_epoch_begin(self, epoch: int) -> None:
        """Call the function."""
        self._call("on_epoch_begin", epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Call the function."""
        self._call("on_epoch_end", epoch, logs)

    def on_batch_begin(self, batch: int, data: Batch) -> None:
        """Call the function."""
        self._call("on_batch_begin", batch, data)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Call the function."""
        self._call("on_batch_end", batch, logs)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float]) -> None:
        """Call the function."""
        self._call("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Call the function."""
        self._call("on_train_batch_end", batch, logs)


def _takes(function: Any, count: int) -> bool:
    """Tell whether a function can be called with so many arguments; one that does not tell takes any."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
