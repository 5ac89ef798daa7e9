"""Dense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend import activations, constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.layers.base import Layer, shown_shape
from nnbackend.typing import Shape

__all__ = ["Dense"]


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

    takes_rows = True

    def check_input(self, input_shape: Any) -> None:
        """Refuse several inputs."""
        self._require_one(input_shape, "n, ..., c")

    def build(self, input_shape: Shape) -> None:
        """Make kernel and bias for inputs of shape (..., n)."""
        if not input_shape:
            raise ValueError(
                f"Dense {self.path!r} expects inputs of shape (samples, n), got one number per sample. Give the data a "
                "last axis: x[:, None]. One sample alone is x[None]."
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
        self._check(tuple(x.shape[1:]), shown_shape(x))
        y = functional.dense(x, self.kernel, self.bias)
        return y if self.activation is functional.linear else self.activation(y)

    def _check(self, sample_shape: Shape, shown: str) -> None:
        width = self.input_shape[-1] if self.input_shape else None  # None until it is built
        if not sample_shape or width not in (None, sample_shape[-1]):
            raise ValueError(
                f"Dense {self.path!r} expects inputs whose last axis is {width}, got shape {shown}. Check the layer "
                "before it."
            )
