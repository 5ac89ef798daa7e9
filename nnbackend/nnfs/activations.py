"""The book's activation functions, and softmax together with its loss."""

from __future__ import annotations

from typing import Any

from nnbackend import functional
from nnbackend.backend import backend_of
from nnbackend.config import Configurable
from nnbackend.functional.activations import _sigmoid_gradient, _softmax_gradient
from nnbackend.functional.rectifiers import _relu_gradient
from nnbackend.nnfs.losses import Loss_CategoricalCrossentropy, one_hot_like
from nnbackend.nnfs.settings import dtype_name, real

__all__ = [
    "Activation_Linear",
    "Activation_ReLU",
    "Activation_Sigmoid",
    "Activation_Softmax",
    "Activation_Softmax_Loss_CategoricalCrossentropy",
]


class _Activation(Configurable):
    """What the activations share: from `inputs` to `output`, and from the output's gradient to `dinputs`."""

    inputs: Any
    output: Any
    dinputs: Any

    def forward(self, inputs: Any, training: bool = False) -> None:
        """Compute `output`.

        Parameters
        ----------
        inputs : array
            Of any library.
        training : bool
            Without meaning here.
        """
        self.inputs = real(inputs)
        self.output = self._value(self.inputs)

    def backward(self, dvalues: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues : array
            The gradient of the output.
        """
        self.dinputs = self._slope(dvalues)

    def predictions(self, outputs: Any) -> Any:
        """Return what the outputs say: themselves.

        Parameters
        ----------
        outputs : array
            Of `forward`.

        Returns
        -------
        array
            The predictions.
        """
        return outputs

    def _value(self, inputs: Any) -> Any:
        raise NotImplementedError

    def _slope(self, dvalues: Any) -> Any:
        raise NotImplementedError


def _beside(dvalues: Any, array: Any) -> Any:
    """Return gradients as an array of the library and dtype of another."""
    return real(dvalues, backend_of(array), dtype_name(array))


class Activation_ReLU(_Activation):
    """Rectified linear unit, `nnbackend.functional.relu`; its gradient is taken from `inputs`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> relu = nnfs.Activation_ReLU()
    >>> relu.forward([[-1.0, 2.0]])
    >>> relu.output
    array([[0., 2.]], dtype=float32)
    """

    def _value(self, inputs: Any) -> Any:
        return functional.relu(inputs)

    def _slope(self, dvalues: Any) -> Any:
        self.inputs = real(self.inputs)
        return _relu_gradient(self.inputs, _beside(dvalues, self.inputs))


class Activation_Softmax(_Activation):
    """Softmax over the last axis, `nnbackend.functional.softmax`; its gradient is taken from `output`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> softmax = nnfs.Activation_Softmax()
    >>> softmax.forward([[1.0, 1.0]])
    >>> softmax.output, softmax.predictions(softmax.output)
    (array([[0.5, 0.5]], dtype=float32), array([0]))
    """

    def _value(self, inputs: Any) -> Any:
        return functional.softmax(inputs)

    def _slope(self, dvalues: Any) -> Any:
        self.output = real(self.output)
        return _softmax_gradient(self.output, _beside(dvalues, self.output))

    def predictions(self, outputs: Any) -> Any:
        """Return the most probable classes.

        Parameters
        ----------
        outputs : array of shape (n, k)
            Probabilities.

        Returns
        -------
        array of int, shape (n,)
            The classes.
        """
        return functional.argmax(real(outputs), axis=1)


class Activation_Sigmoid(_Activation):
    """Logistic function, `nnbackend.functional.sigmoid`; its gradient is taken from `output`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> sigmoid = nnfs.Activation_Sigmoid()
    >>> sigmoid.forward([[0.0, 100.0]])
    >>> sigmoid.output, sigmoid.predictions(sigmoid.output)
    (array([[0.5, 1. ]], dtype=float32), array([[0, 1]]))
    """

    def _value(self, inputs: Any) -> Any:
        return functional.sigmoid(inputs)

    def _slope(self, dvalues: Any) -> Any:
        self.output = real(self.output)
        return _sigmoid_gradient(self.output, _beside(dvalues, self.output))

    def predictions(self, outputs: Any) -> Any:
        """Return 1 where an output is above one half, else 0.

        Parameters
        ----------
        outputs : array
            Probabilities.

        Returns
        -------
        array of int
            Of the same shape.
        """
        half: Any = 0.5
        return functional.astype(functional.greater(real(outputs), half), "int64")


class Activation_Linear(_Activation):
    """Identity, `nnbackend.functional.linear`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> linear = nnfs.Activation_Linear()
    >>> linear.forward([[-1.0, 2.0]])
    >>> linear.output
    array([[-1.,  2.]], dtype=float32)
    """

    def _value(self, inputs: Any) -> Any:
        return functional.linear(inputs)

    def _slope(self, dvalues: Any) -> Any:
        return real(dvalues)


class Activation_Softmax_Loss_CategoricalCrossentropy:
    r"""Softmax and the categorical cross-entropy together, whose gradient is short.

    .. math:: \frac{\partial L}{\partial z_j} = \frac{p_j - t_j}{n}

    for the mean over the `n` samples of the loss of  :math:`p = \operatorname{softmax}(z)`.

    Attributes
    ----------
    activation : Activation_Softmax
        The first half.
    loss : Loss_CategoricalCrossentropy
        The second half.
    output : array of shape (n, k)
        The probabilities of the last `forward`.
    dinputs : array of shape (n, k)
        The gradient of the last `backward`.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> both = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    >>> print(both.forward([[0.0, 0.0]], [1]))
    0.6931472
    >>> both.backward(both.output, [1])
    >>> both.dinputs
    array([[ 0.5, -0.5]], dtype=float32)
    """

    output: Any
    dinputs: Any

    def __init__(self) -> None:
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()

    def forward(self, inputs: Any, y_true: Any) -> Any:
        """Compute `output`, and return the mean loss.

        Parameters
        ----------
        inputs : array of shape (n, k)
            What comes before softmax.
        y_true : array of shape (n,) or (n, k)
            Classes, or one-hot rows.

        Returns
        -------
        number
            The loss.
        """
        self.activation.forward(inputs)
        self.output = self.activation.output
        return self.loss.calculate(self.output, y_true)

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues : array of shape (n, k)
            The probabilities, `output`.
        y_true : array of shape (n,) or (n, k)
            Classes, or one-hot rows.
        """
        p = real(dvalues)
        self.dinputs = functional.divide(functional.subtract(p, one_hot_like(p, y_true)), p.shape[0])
