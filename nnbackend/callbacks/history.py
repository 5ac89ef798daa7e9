"""The record of a run."""

from __future__ import annotations

from typing import Any

from nnbackend.callbacks.base import Callback

__all__ = ["History"]


class History(Callback):
    """The numbers of each epoch; `Model.fit` returns one.

    Attributes
    ----------
    history : dict of str to list
        One list for each number: ``"loss"``, the metrics, and with ``val_`` in front those of validation. They are
        floats, and host arrays where a metric gives several numbers, such as a confusion matrix.
    epoch : list of int
        The epochs, from 0.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Append the epoch's numbers."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def get_state(self) -> dict[str, Any]:
        """Return the numbers."""
        return {"epoch": self.epoch, "history": self.history}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the numbers of the epochs before."""
        self.epoch, self.history = list(state["epoch"]), dict(state["history"])

    def __repr__(self) -> str:
        last: dict[str, Any] = {
            name: values[-1].tolist() if hasattr(values[-1], "tolist") else round(values[-1], 6)
            for name, values in self.history.items()
        }
        return f"<History of {len(self.epoch)} epochs, last {last}>"
