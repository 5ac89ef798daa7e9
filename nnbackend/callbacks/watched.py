"""What callbacks that watch one number of a run have in common."""

from __future__ import annotations

import math
import warnings
from typing import Any

from nnbackend.backend import nearest

__all__ = ["Monitor"]

#: Words in the names of metrics that are the better the greater they are.
_GREATER = frozenset(
    "acc accuracy auc correlation f1 fbeta iou kappa precision r2 recall score sensitivity similarity specificity "
    "true".split()
)


def _rises(name: str) -> bool:
    """Tell from its name whether a number is the better the greater it is; a loss never is."""
    words = name.lower().split("_")
    return "loss" not in words and not _GREATER.isdisjoint(words)


class Monitor:
    """A number of the epoch, and what it means for it to be better.

    Parameters
    ----------
    owner : str
        Who asks, for messages.
    monitor : str
        The number's name, such as ``"val_loss"``.
    mode : {"auto", "min", "max"}
        Which is better; "auto" goes by the name: accuracies and the like are the better the greater they are.
    min_delta : float
        By how much it must be better to count.

    Raises
    ------
    ValueError
        If `mode` is another word, or `min_delta` is negative.
    """

    def __init__(self, owner: str, monitor: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{owner} expects mode to be 'auto', 'min' or 'max', got {mode!r}.")
        if not min_delta >= 0.0:
            raise ValueError(f"{owner} expects min_delta to be zero or more, got {min_delta}.")
        self.owner, self.name, self.min_delta = owner, monitor, float(min_delta)
        self._last = 0.0
        rises = mode == "max" or (mode == "auto" and _rises(monitor))
        self.sign = 1.0 if rises else -1.0

    @property
    def worst(self) -> float:
        """What anything is better than."""
        return -self.sign * math.inf

    def read(self, logs: dict[str, Any]) -> float:
        """Return the number of this epoch.

        Raises
        ------
        ValueError
            If it is not reported, or is not one number.
        """
        if self.name not in logs:
            validates = any(name.startswith("val_") for name in logs)
            cure = (
                " Give fit validation_data or validation_split."
                if self.name.startswith("val_") and not validates
                else nearest(self.name, logs)
            )
            raise ValueError(
                f"{self.owner} monitors {self.name!r}, which this run does not report. It reports "
                f"{', '.join(logs)}.{cure}"
            )
        value = logs[self.name]
        if getattr(value, "shape", ()):
            raise ValueError(
                f"{self.owner} monitors {self.name!r}, which is not one number but an array of shape {value.shape}."
            )
        self._last = float(value)
        return self._last

    def warn_of_nan(self, best: float) -> None:
        """Warn at the end of training where the number was NaN throughout, so that nothing was the best.

        Parameters
        ----------
        best : float
            The best that was seen.
        """
        if math.isnan(self._last) and best == self.worst:
            warnings.warn(
                f"{self.owner} monitors {self.name!r}, which was NaN in every epoch, so that none was better than "
                "another. Look for NaN in the data by fit(..., check_finite=True); nn.callbacks.TerminateOnNaN() names "
                "the layer where it begins.",
                RuntimeWarning,
                stacklevel=3,
            )

    def better(self, value: float, best: float) -> bool:
        """Tell whether one number is better than another, by more than `min_delta`; NaN never is."""
        return (
            self.sign * (value - best) > self.min_delta if math.isfinite(best) else self._beats(value, best)
        )

    def _beats(self, value: float, best: float) -> bool:
        return not math.isnan(value) and (math.isnan(best) or self.sign * value > self.sign * best)
