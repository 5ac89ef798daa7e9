"""The book's accuracies: the share of predictions that are right, of a batch and of an epoch."""

from __future__ import annotations

import math
from typing import Any

from nnbackend import functional
from nnbackend.backend import backend_of
from nnbackend.config import Configurable
from nnbackend.nnfs.settings import number, place, real

__all__ = ["Accuracy", "Accuracy_Categorical", "Accuracy_Regression"]


class Accuracy(Configurable):
    """What the accuracies share; subclasses say in `compare` which predictions are right.

    Attributes
    ----------
    accumulated_sum, accumulated_count : int
        How many were right since `new_pass`, and how many there were.
    """

    accumulated_sum: int
    accumulated_count: int

    def __init__(self) -> None:
        self.new_pass()

    def init(self, y: Any) -> None:
        """Look at the targets before training.

        Parameters
        ----------
        y : array
            All targets.
        """

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return where predictions are right.

        Parameters
        ----------
        predictions, y : array
            Predictions and targets.

        Returns
        -------
        boolean array
            Where.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compare(predictions, y).")

    def calculate(self, predictions: Any, y: Any) -> float:
        """Return the share of a batch that is right, and add it to those of the epoch.

        Parameters
        ----------
        predictions, y : array
            Predictions and targets.

        Returns
        -------
        float
            From 0 to 1.
        """
        right = self.compare(predictions, y)
        hits, count = int(number(functional.count_nonzero(right))), math.prod(right.shape)
        self.accumulated_sum += hits
        self.accumulated_count += count
        return hits / count

    def calculate_accumulated(self) -> float:
        """Return the share of all since `new_pass` that is right."""
        return self.accumulated_sum / self.accumulated_count

    def new_pass(self) -> None:
        """Begin to count from nothing."""
        self.accumulated_sum = 0
        self.accumulated_count = 0


class Accuracy_Categorical(Accuracy):
    """Share of predictions that are the target's class.

    Parameters
    ----------
    binary : bool
        Whether targets of two axes are numbers to be met one by one, instead of one-hot rows.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.Accuracy_Categorical().calculate([0, 1], [0, 2])
    0.5
    >>> nnfs.Accuracy_Categorical(binary=True).calculate([[0], [1]], [[0], [1]])
    1.0
    """

    def __init__(self, *, binary: bool = False) -> None:
        super().__init__()
        self.binary = binary

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return where predictions are right.

        Parameters
        ----------
        predictions : array of int, shape (n,)
            Classes; with `binary` of shape (n, k).
        y : array of shape (n,) or (n, k)
            Classes, or one-hot rows.

        Returns
        -------
        boolean array
            Of the shape of the predictions.
        """
        classes = place(predictions)
        targets = place(y, backend_of(classes))
        if not self.binary and targets.ndim == 2:
            targets = functional.argmax(targets, axis=1)
        return functional.equal(functional.astype(classes, "int64"), functional.astype(targets, "int64"))


class Accuracy_Regression(Accuracy):
    """Share of predictions that are near the target: nearer than a 250th of the targets' standard deviation.

    Attributes
    ----------
    precision : float or None
        How near; None before `init`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> accuracy = nnfs.Accuracy_Regression()
    >>> accuracy.init([[0.0], [500.0]])
    >>> accuracy.precision, accuracy.calculate([[0.9], [502.0]], [[0.0], [500.0]])
    (1.0, 0.5)
    """

    def __init__(self) -> None:
        super().__init__()
        self.precision: float | None = None

    def init(self, y: Any, reinit: bool = False) -> None:
        """Set `precision`.

        Parameters
        ----------
        y : array
            All targets.
        reinit : bool
            Whether to set it again.
        """
        if self.precision is None or reinit:
            self.precision = float(number(functional.std(real(y)))) / 250

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return where predictions are near their targets.

        Parameters
        ----------
        predictions, y : array
            Of one shape.

        Returns
        -------
        boolean array
            Of that shape.

        Raises
        ------
        RuntimeError
            If `init` has not been called.
        """
        if self.precision is None:
            raise RuntimeError(
                "Accuracy_Regression does not know yet how near is right. Call init(y) with the targets first."
            )
        outputs = real(predictions)
        targets = real(y, backend_of(outputs))
        limit: Any = self.precision
        return functional.less(functional.abs(functional.subtract(outputs, targets)), limit)
