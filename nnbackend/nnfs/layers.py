"""The book's layers: dense, dropout, and the one that a model puts in front."""

from __future__ import annotations

from typing import Any

from nnbackend import functional, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.autodiff import grad
from nnbackend.backend import backend_of
from nnbackend.config import Configurable
from nnbackend.nnfs import settings
from nnbackend.nnfs.settings import dtype_name, place, real

__all__ = ["Layer_Dense", "Layer_Dropout", "Layer_Input"]


class Layer_Input:
    """What a model puts in front of its layers: its output is the model's input.

    Attributes
    ----------
    output : array
        What `forward` was given.
    next : layer
        The first layer.
    """

    output: Any
    next: Any

    def forward(self, inputs: Any, training: bool = False) -> None:
        """Keep the inputs as `output`.

        Parameters
        ----------
        inputs : array
            The data.
        training : bool
            Without meaning here.
        """
        self.output = inputs


class Layer_Dense(Configurable):
    r"""A dense layer:  :math:`y = x W + b`; see `nnbackend.functional.dense`.

    Parameters
    ----------
    n_inputs, n_neurons : int
        How many numbers come in, and go out.
    weight_regularizer_l1, weight_regularizer_l2 : float
        :math:`\lambda_1` and :math:`\lambda_2` of the penalty
        :math:`\lambda_1 \sum |w| + \lambda_2 \sum w^2` on the weights.
    bias_regularizer_l1, bias_regularizer_l2 : float
        The same for the biases.

    Attributes
    ----------
    weights : array of shape (n_inputs, n_neurons)
        :math:`W`, at first 0.01 times normal numbers. What it is set to is brought to the layer's backend and dtype.
    biases : array of shape (1, n_neurons)
        :math:`b`, at first 0.
    inputs, output : array
        Of the last `forward`.
    dweights, dbiases, dinputs : array
        The gradients of the last `backward`, those of the penalties included.

    Raises
    ------
    TypeError, ValueError
        If `n_inputs` or `n_neurons` is no whole number above zero.

    Notes
    -----
    As in the book, the gradient of :math:`|w|` is +1 at 0 (`nnbackend.regularizers` has 0 there), and `backward` takes
    inputs and weights as they are then, also where single elements were assigned since `forward`. On JAX arrays cannot
    be changed: ``dense.weights = dense.weights.at[0, 0].set(1.0)``.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> dense = nnfs.Layer_Dense(2, 3)
    >>> dense.forward([[1.0, 0.0]])
    >>> dense.output
    array([[0.01764052, 0.00400157, 0.00978738]], dtype=float32)
    >>> dense.backward([[1.0, 1.0, 1.0]])
    >>> dense.dbiases
    array([[1., 1., 1.]], dtype=float32)
    """

    inputs: Any
    output: Any
    dinputs: Any
    dweights: Any
    dbiases: Any

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        weight_regularizer_l1: float = 0,
        weight_regularizer_l2: float = 0,
        bias_regularizer_l1: float = 0,
        bias_regularizer_l2: float = 0,
    ) -> None:
        n_inputs = positive_integer("Layer_Dense", "n_inputs", n_inputs)
        n_neurons = positive_integer("Layer_Dense", "n_neurons", n_neurons)
        self._backend = settings.chosen_backend()
        self._dtype = settings.current().dtype
        self.weights = functional.multiply(settings.randn(n_inputs, n_neurons), 0.01)
        self.biases = self._backend.from_host([[0.0] * n_neurons])
        self.weight_regularizer_l1 = weight_regularizer_l1
        self.weight_regularizer_l2 = weight_regularizer_l2
        self.bias_regularizer_l1 = bias_regularizer_l1
        self.bias_regularizer_l2 = bias_regularizer_l2

    @property
    def weights(self) -> Any:
        """The weights."""
        return self._weights

    @weights.setter
    def weights(self, values: Any) -> None:
        self._weights = real(values, self._backend, self._dtype)

    @property
    def biases(self) -> Any:
        """The biases."""
        return self._biases

    @biases.setter
    def biases(self, values: Any) -> None:
        self._biases = real(values, self._backend, self._dtype)

    def forward(self, inputs: Any, training: bool = False) -> None:
        """Compute `output`.

        Parameters
        ----------
        inputs : array of shape (n, n_inputs)
            Of any library.
        training : bool
            Without meaning here.
        """
        self.inputs = real(inputs, self._backend)
        self.output = functional.add(self._product(self.inputs, self.weights), self.biases)

    def backward(self, dvalues: Any) -> None:
        """Compute `dweights`, `dbiases` and `dinputs`.

        Parameters
        ----------
        dvalues : array of shape (n, n_neurons)
            The gradient of the output.
        """
        self.inputs = real(self.inputs, self._backend)
        dvalues = real(dvalues, self._backend, self._dtype)
        dweights = self._product(functional.matrix_transpose(self.inputs), dvalues)
        dbiases = functional.sum(dvalues, axis=0, keepdims=True)
        self.dweights = _with_penalty(
            dweights, self.weights, self.weight_regularizer_l1, self.weight_regularizer_l2
        )
        self.dbiases = _with_penalty(dbiases, self.biases, self.bias_regularizer_l1, self.bias_regularizer_l2)
        dinputs = self._product(dvalues, functional.matrix_transpose(self.weights))
        self.dinputs = real(dinputs, dtype=dtype_name(self.inputs))

    def _product(self, one: Any, other: Any) -> Any:
        """Return a matrix product in the layer's dtype; a wide one is computed in float64 and rounded once."""
        inner = "float64" if settings.current().wide_products else self._dtype
        return functional.astype(
            functional.matmul(functional.astype(one, inner), functional.astype(other, inner)), self._dtype
        )

    def get_parameters(self) -> tuple[Any, Any]:
        """Return weights and biases."""
        return self.weights, self.biases

    def set_parameters(self, weights: Any, biases: Any) -> None:
        """Put others in their place.

        Parameters
        ----------
        weights, biases : array
            Of any library, of the shapes of those that are there.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        for name, old, new in (("weights", self.weights, weights), ("biases", self.biases, biases)):
            if tuple(place(new).shape) != tuple(old.shape):
                raise ValueError(
                    f"Layer_Dense.set_parameters expects {name} of shape {tuple(old.shape)}, got "
                    f"{tuple(place(new).shape)}. Take them from a model of the same layers."
                )
        self.weights, self.biases = weights, biases

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make a layer like this one."""
        names = [f"{of}_regularizer_{kind}" for of in ("weight", "bias") for kind in ("l1", "l2")]
        n_inputs, n_neurons = map(int, self.weights.shape)
        return {"n_inputs": n_inputs, "n_neurons": n_neurons} | {name: getattr(self, name) for name in names}


class Layer_Dropout(Configurable):
    r"""Dropout in training; see `nnbackend.functional.dropout`.

    Parameters
    ----------
    rate : float
        The share that is dropped, from 0 to below 1.

    Attributes
    ----------
    rate : float
        The share that is *kept*, one minus the argument, as in the book.
    binary_mask : array
        Of the last `forward` in training: 0 where dropped, 1 / `rate` elsewhere.
    inputs, output, dinputs : array
        Of the last `forward` and `backward`.

    Raises
    ------
    ValueError
        If the argument is not from 0 to below 1.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> dropout = nnfs.Layer_Dropout(0.5)
    >>> dropout.forward([[1.0, 2.0, 3.0]], training=True)
    >>> dropout.output
    array([[2., 4., 6.]], dtype=float32)
    >>> dropout.rate
    0.5
    """

    inputs: Any
    output: Any
    dinputs: Any
    binary_mask: Any = None

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(
                f"Layer_Dropout expects a rate from 0 to below 1, the share that is dropped, got {rate}."
            )
        self.rate = 1 - rate

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Compute `output`: in training with a mask from the book's binomial numbers, else the inputs.

        Parameters
        ----------
        inputs : array
            Of any shape.
        training : bool
            Whether to drop.
        """
        self.inputs = real(inputs)
        if not training:
            self.binary_mask = None
            self.output = self.inputs
            return
        drawn = settings.generator().binomial(1, self.rate, size=tuple(self.inputs.shape))
        keep = backend_of(self.inputs).from_host(drawn, "bool")
        self.binary_mask = functional.dropout(functional.ones_like(self.inputs), keep, rate=1 - self.rate)
        self.output = functional.multiply(self.inputs, self.binary_mask)

    def backward(self, dvalues: Any) -> None:
        """Compute `dinputs`.

        Parameters
        ----------
        dvalues : array
            The gradient of the output.
        """
        dvalues = real(dvalues, backend_of(self.inputs), dtype_name(self.inputs))
        self.dinputs = dvalues if self.binary_mask is None else functional.multiply(dvalues, self.binary_mask)


def _with_penalty(gradient: Any, array: Any, l1: float, l2: float) -> Any:
    """Add the gradients of the penalties on an array."""
    if l1 > 0:
        below = functional.less(array, functional.zeros_like(array))
        # the book's slope at 0 is +1
        slope = functional.where(below, -l1, functional.full_like(array, l1))
        gradient = functional.add(gradient, slope)
    if l2 > 0:
        gradient = functional.add(gradient, grad(regularizers.L2(l2))(array))
    return gradient
