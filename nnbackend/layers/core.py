"""Dense, Dropout, Flatten and Activation."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from nnbackend import activations, constraints, functional, initializers, regularizers
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = ["Activation", "Dense", "Dropout", "Flatten"]


def positive_integer(owner: str, name: str, value: Any) -> int:
    """Return `value` as a whole number above zero.

    Raises
    ------
    TypeError, ValueError
        If it is none; the message names the owner and the argument.
    """
    try:
        number = operator.index(value)
        if isinstance(value, bool):
            raise TypeError
    except TypeError:
        raise TypeError(f"{owner} expects {name} to be a whole number, got {value!r}.") from None
    if number < 1:
        raise ValueError(f"{owner} expects {name} to be at least 1, got {number}.")
    return number


class Dense(Layer):
    r"""A layer in which every output sees every input.

    .. math:: y = f(x W + b)

    The derivatives are those of `nnbackend.functional.dense` and of the activation.

    Parameters
    ----------
    units : int
        How many outputs, `m`.
    activation : str or callable, optional
        :math:`f`; none leaves the output linear.
    use_bias : bool
        Whether there is a :math:`b`.
    kernel_initializer, bias_initializer : str or Initializer
        First values of :math:`W` and :math:`b`.
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    kernel_constraint, bias_constraint : str or Constraint, optional
        Where they must stay.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    kernel : Parameter of shape (n, m)
        :math:`W`, in Keras's order (in, out).
    bias : Parameter of shape (m,), or None
        :math:`b`.

    Raises
    ------
    ValueError
        If `units` is not positive, or an input's last axis is not the one it was built for.

    Notes
    -----
    Inputs have the shape (..., n), outputs (..., m). The first kernel is Glorot's uniform and the first bias zero, as
    in Keras; PyTorch draws both from :math:`U(-1/\sqrt n, 1/\sqrt n)`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Dense(2, kernel_initializer="ones")
    >>> layer(nn.get_backend("numpy").xp.asarray([[1.0, 2.0, 3.0]]))
    array([[6., 6.]], dtype=float32)
    """

    passes_mask = True

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = None,
        *,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        bias_regularizer: str | regularizers.Regularizer | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = positive_integer("Dense", "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: Shape) -> None:
        """Make kernel and bias for inputs of shape (..., n)."""
        if not input_shape:
            raise ValueError(
                f"Dense {self.path!r} expects inputs of shape (samples, n), got one number per sample. Give the data a "
                "last axis: x[:, None]."
            )
        width = input_shape[-1]
        self.kernel = self.add_weight(
            "kernel",
            (width, self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = (
            self.add_weight(
                "bias",
                (self.units,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
            if self.use_bias
            else None
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with the last axis replaced by `units`."""
        self._check(input_shape, f"({', '.join(['samples', *map(str, input_shape)])})")
        return (*input_shape[:-1], self.units)

    def forward(self, x: Any) -> Any:
        """Compute :math:`f(x W + b)`."""
        self._check(tuple(x.shape[1:]), str(tuple(x.shape)))
        y = functional.dense(x, self.kernel, self.bias)
        return y if self.activation is functional.linear else self.activation(y)

    def _check(self, sample_shape: Shape, shown: str) -> None:
        width = self.input_shape[-1] if self.input_shape else None  # None until it is built
        if not sample_shape or width not in (None, sample_shape[-1]):
            raise ValueError(
                f"Dense {self.path!r} expects inputs whose last axis is {width}, got shape {shown}. Check the layer "
                "before it."
            )


class Activation(Layer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : str or callable
        Its name, or a function of arrays.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Activation("relu")(nn.get_backend("numpy").xp.asarray([[-1.0, 2.0]]))
    array([[0., 2.]], dtype=float32)
    """

    passes_mask = True

    def __init__(self, activation: str | Callable[..., Any], **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def forward(self, x: Any) -> Any:
        """Apply the activation."""
        return self.activation(x)


class Flatten(Layer):  # numpydoc ignore=PR02
    """Lay each sample out in one row:  (n, a, b, ...) -> (n, a b ...).

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Flatten()(nn.get_backend("numpy").xp.ones((2, 3, 4))).shape
    (2, 12)
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the number of elements of a sample, as a shape."""
        return (math.prod(input_shape),)

    def forward(self, x: Any) -> Any:
        """Reshape."""
        return functional.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Dropout(Layer):
    r"""Set a random share of the inputs to zero in training, and scale up the rest.

    .. math:: y = \frac{m \odot x}{1 - r}, \qquad m_i \sim \mathrm{Bernoulli}(1 - r), \qquad
              \frac{\partial L}{\partial x} = \frac{m}{1 - r} \odot \frac{\partial L}{\partial y}

    Outside of training the input passes as it is.

    Parameters
    ----------
    rate : float
        :math:`r`, the share dropped; from 0 to below 1. (The book's rate is the share kept at one point; here it is
        always the share dropped.)
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1).

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Dropout(0.5)(nn.get_backend("numpy").xp.ones((1, 4)), training=True)
    array([[2., 2., 0., 0.]], dtype=float32)
    """

    passes_mask = True

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        if not 0.0 <= rate < 1.0:
            raise ValueError(
                f"Dropout expects a rate from 0 to below 1, the share that is dropped, got {rate}."
            )
        self.rate = float(rate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any, *, training: bool = False) -> Any:
        """Drop, in training."""
        if not training or self.rate == 0.0:
            return x
        mask = self.random("mask").keep(tuple(x.shape), self.rate)
        return functional.dropout(x, mask, rate=self.rate)
