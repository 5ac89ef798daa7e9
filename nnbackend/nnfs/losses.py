"""The book's losses: the loss of each sample, its mean, penalties, and sums over the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnbackend import functional, regularizers
from nnbackend.autodiff import vjp
from nnbackend.backend import backend_of
from nnbackend.config import Configurable
from nnbackend.functional.losses._shared import EPSILON
from nnbackend.nnfs.settings import dtype_name, number, place, real

__all__ = [
    "Loss",
    "Loss_BinaryCrossentropy",
    "Loss_CategoricalCrossentropy",
    "Loss_MeanAbsoluteError",
    "Loss_MeanSquaredError",
]


class Loss(Configurable):
    """What the losses share; subclasses give `forward`, the loss of each sample, and `backward`.

    Attributes
    ----------
    dinputs : array
        The gradient of the mean loss by the predictions, of the last `backward`.
    trainable_layers : list
        The layers whose penalties count.
    accumulated_sum, accumulated_count : number
        The losses of samples added up since `new_pass`, and how many they are.
    """

    dinputs: Any
    trainable_layers: list[Any]
    accumulated_sum: Any
    accumulated_count: int

    def __init__(self) -> None:
        self.trainable_layers = []
        self.new_pass()

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return the loss of each sample.

        Parameters
        ----------
        y_pred, y_true : array
            Predictions and targets.

        Returns
        -------
        array of shape (n,)
            The losses.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(y_pred, y_true).")

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues, y_true : array
            Predictions and targets.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(dvalues, y_true).")

    def remember_trainable_layers(self, trainable_layers: Iterable[Any]) -> None:
        """Remember whose penalties count.

        Parameters
        ----------
        trainable_layers : iterable of layer
            The layers with weights.
        """
        self.trainable_layers = list(trainable_layers)

    def regularization_loss(self, layer: Any = None) -> Any:
        """Return the sum of the penalties.

        Parameters
        ----------
        layer : Layer_Dense, optional
            The layer whose penalties are meant; without it all that are remembered.

        Returns
        -------
        number
            0 where there are none.
        """
        total: Any = 0
        for each in self.trainable_layers if layer is None else [layer]:
            for single, name in (("weight", "weights"), ("bias", "biases")):
                # a layer of the reader's own may have no penalties
                l1, l2 = (getattr(each, f"{single}_regularizer_{kind}", 0) for kind in ("l1", "l2"))
                if l1 > 0 or l2 > 0:
                    total = total + number(regularizers.L1L2(l1, l2)(place(getattr(each, name))))
        return total

    def calculate(self, output: Any, y: Any, *, include_regularization: bool = False) -> Any:
        """Return the mean loss of a batch, and add it to those of the epoch.

        Parameters
        ----------
        output, y : array
            Predictions and targets.
        include_regularization : bool
            Whether to return the penalties as well.

        Returns
        -------
        number, or pair of numbers
            The mean loss; with `include_regularization` also `regularization_loss()`.
        """
        losses = self.forward(output, y)
        total = number(functional.sum(losses))
        self.accumulated_sum = self.accumulated_sum + total
        self.accumulated_count += losses.shape[0]
        return self._with_penalties(total / losses.shape[0], include_regularization)

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Return the mean loss of all samples since `new_pass`.

        Parameters
        ----------
        include_regularization : bool
            Whether to return the penalties as well.

        Returns
        -------
        number, or pair of numbers
            As of `calculate`.
        """
        return self._with_penalties(self.accumulated_sum / self.accumulated_count, include_regularization)

    def _with_penalties(self, data_loss: Any, include_regularization: bool) -> Any:
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def new_pass(self) -> None:
        """Begin to add up from nothing."""
        self.accumulated_sum = 0
        self.accumulated_count = 0


def one_hot_like(probabilities: Any, y_true: Any) -> Any:
    """Return targets as one-hot rows, in the library and dtype of the probabilities; such rows as they are."""
    backend = backend_of(probabilities)
    y = place(y_true, backend)
    if y.ndim == 2:
        return real(y, backend, dtype_name(probabilities))
    classes = backend.from_host([list(range(probabilities.shape[-1]))], "int64")
    column = functional.reshape(functional.astype(y, "int64"), (-1, 1))
    return functional.astype(functional.equal(column, classes), dtype_name(probabilities))


def _bounded(probabilities: Any) -> Any:
    """Return probabilities from 1e-7 to 1 - 1e-7."""
    return functional.minimum(functional.maximum(probabilities, EPSILON), 1.0 - EPSILON)


class Loss_CategoricalCrossentropy(Loss):
    r"""Categorical cross-entropy of probabilities, `nnbackend.functional.categorical_crossentropy`.

    .. math:: L = -\sum_j t_j \ln p_j, \qquad \frac{\partial \bar L}{\partial p_j} = -\frac{t_j}{n\, p_j}

    for the mean  :math:`\bar L`  of `n` samples. Targets are classes of shape (n,) or one-hot rows of shape (n, k).

    Notes
    -----
    As in the book, probabilities are brought into [1e-7, 1 - 1e-7] for the loss, and are taken as they are for the
    gradient, which the library's own rule has 0 outside.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> loss = nnfs.Loss_CategoricalCrossentropy()
    >>> print(loss.calculate([[0.25, 0.75], [0.5, 0.5]], [1, 0]))
    0.49041462
    >>> loss.backward([[0.25, 0.75], [0.5, 0.5]], [1, 0])
    >>> loss.dinputs
    array([[-0.       , -0.6666667],
           [-1.       , -0.       ]], dtype=float32)
    """

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return the loss of each sample.

        Parameters
        ----------
        y_pred : array of shape (n, k)
            Probabilities.
        y_true : array of shape (n,) or (n, k)
            Classes, or one-hot rows.

        Returns
        -------
        array of shape (n,)
            The losses.
        """
        p = _bounded(real(y_pred))
        y = place(y_true, backend_of(p))
        if y.ndim == 2:
            return functional.categorical_crossentropy(p, y)
        return functional.sparse_categorical_crossentropy(p, functional.astype(y, "int64"))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues : array of shape (n, k)
            Probabilities.
        y_true : array of shape (n,) or (n, k)
            Classes, or one-hot rows.
        """
        p = real(dvalues)
        slope = functional.divide(functional.negative(one_hot_like(p, y_true)), p)
        self.dinputs = functional.divide(slope, p.shape[0])


class Loss_BinaryCrossentropy(Loss):
    r"""Binary cross-entropy of probabilities, `nnbackend.functional.binary_crossentropy`.

    .. math:: L = -\frac1k \sum_j t_j \ln p_j + (1 - t_j) \ln (1 - p_j), \qquad
              \frac{\partial \bar L}{\partial p_j} = -\frac{1}{n k}
              \left(\frac{t_j}{p_j} - \frac{1 - t_j}{1 - p_j}\right)

    for the mean  :math:`\bar L`  of `n` samples of `k` outputs each.

    Notes
    -----
    As in the book, probabilities are brought into [1e-7, 1 - 1e-7] for the loss and for the gradient, so that a sample
    that is wrong beyond the bound is still corrected; the library's own rule has the gradient 0 there.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> loss = nnfs.Loss_BinaryCrossentropy()
    >>> print(loss.calculate([[0.25], [0.75]], [[0], [1]]))
    0.2876821
    """

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return the loss of each sample.

        Parameters
        ----------
        y_pred, y_true : array of shape (n, k)
            Probabilities, and 0 or 1.

        Returns
        -------
        array of shape (n,)
            The losses.
        """
        p = _bounded(real(y_pred))
        return functional.binary_crossentropy(p, place(y_true, backend_of(p)))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues, y_true : array of shape (n, k)
            Probabilities, and 0 or 1.
        """
        p = _bounded(real(dvalues))
        t = real(y_true, backend_of(p), dtype_name(p))
        with backend_of(p).scope():
            self.dinputs = -(t / p - (1.0 - t) / (1.0 - p)) / p.shape[-1] / p.shape[0]


class _Error(Loss):
    """A loss whose gradient is that of a rule of the library, the error of each sample."""

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return the loss of each sample.

        Parameters
        ----------
        y_pred, y_true : array of shape (n, k)
            Predictions and targets.

        Returns
        -------
        array of shape (n,)
            The losses.
        """
        predictions = real(y_pred)
        return self._error(predictions, place(y_true, backend_of(predictions)))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues, y_true : array of shape (n, k)
            Predictions and targets.
        """
        predictions = real(dvalues)
        targets = place(y_true, backend_of(predictions))
        losses, pullback = vjp(lambda values: self._error(values, targets), predictions)
        (self.dinputs,) = pullback(functional.full_like(losses, 1.0 / losses.shape[0]))

    def _error(self, predictions: Any, targets: Any) -> Any:
        raise NotImplementedError


class Loss_MeanSquaredError(_Error):
    """Mean squared error, `nnbackend.functional.mean_squared_error`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> loss = nnfs.Loss_MeanSquaredError()
    >>> print(loss.calculate([[1.0], [3.0]], [[1.0], [1.0]]))
    2.0
    >>> loss.backward([[1.0], [3.0]], [[1.0], [1.0]])
    >>> loss.dinputs
    array([[0.],
           [2.]], dtype=float32)
    """

    def _error(self, predictions: Any, targets: Any) -> Any:
        return functional.mean_squared_error(predictions, targets)


class Loss_MeanAbsoluteError(_Error):
    """Mean absolute error, `nnbackend.functional.mean_absolute_error`.

    Notes
    -----
    The gradient is that of the loss. The book's code has the other sign, with which training moves away from the
    targets.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> loss = nnfs.Loss_MeanAbsoluteError()
    >>> print(loss.calculate([[1.0], [3.0]], [[1.0], [1.0]]))
    1.0
    """

    def _error(self, predictions: Any, targets: Any) -> Any:
        return functional.mean_absolute_error(predictions, targets)
