"""Layers that change the form of what passes and not its numbers, and any function as a layer."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnbackend import functional
from nnbackend.arguments import positive_integer, shown
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = ["Flatten", "Identity", "Lambda", "Permute", "RepeatVector", "Reshape"]


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


class Reshape(Layer):
    """Give each sample another shape of as many elements:  (n, a, b) -> (n, c, d, e), where a b = c d e.

    Parameters
    ----------
    target_shape : sequence of int
        A sample's new shape; one length may be -1, which is then what is left.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If a sample has another number of elements.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Reshape((3, -1))(nn.get_backend("numpy").xp.ones((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.target_shape = tuple(operator.index(size) for size in target_shape)
        if self.target_shape.count(-1) > 1 or any(size < -1 for size in self.target_shape):
            raise ValueError(
                f"Reshape expects lengths that are at least 0, one of them perhaps -1, got {self.target_shape}."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the new shape, with what is left in place of -1."""
        size = math.prod(input_shape)
        known = math.prod(length for length in self.target_shape if length != -1)
        open_ended = -1 in self.target_shape
        if (size % known if known else size or open_ended) if open_ended else size != known:
            raise ValueError(
                f"Reshape {self.path!r} expects samples whose elements fill the shape {self.target_shape}, got "
                f"{shown(input_shape)}, which has {size}."
            )
        return tuple(size // known if length == -1 else length for length in self.target_shape)

    def forward(self, x: Any) -> Any:
        """Reshape."""
        sample = self.compute_output_shape(tuple(x.shape[1:]))
        return functional.reshape(x, (x.shape[0], *sample))


class Permute(Layer):
    """Put the axes of each sample in another order.

    Parameters
    ----------
    dims : sequence of int
        Which axis comes first, second, ...; they count from 1, since axis 0 is that of samples. (2, 1) swaps the
        axes of a matrix.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `dims` is not an order of the numbers from 1 on, or inputs have another number of axes.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Permute((2, 1))(nn.get_backend("numpy").xp.ones((2, 3, 4))).shape
    (2, 4, 3)
    """

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(operator.index(axis) for axis in dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute expects an order of the axes 1 to {len(self.dims)}, got {self.dims}.")

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs of another number of axes."""
        super().check_input(input_shape)
        if len(input_shape) != len(self.dims):
            raise ValueError(
                f"Permute {self.path!r} expects inputs of {len(self.dims) + 1} axes for dims={self.dims}, got shape "
                f"{shown(input_shape)}."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths in the new order."""
        return tuple(input_shape[axis - 1] for axis in self.dims)

    def forward(self, x: Any) -> Any:
        """Permute."""
        return functional.permute_dims(x, (0, *self.dims))


class RepeatVector(Layer):
    """Make a sequence of one vector:  (n, c) -> (n, t, c), the same at each step.

    Parameters
    ----------
    n : int
        The number of steps, t.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `n` is not positive, or inputs are not of shape (n, c).

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.RepeatVector(3)(nn.get_backend("numpy").xp.ones((2, 4))).shape
    (2, 3, 4)
    """

    expects = "c"

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = positive_integer("RepeatVector", "n", n)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (t, c)."""
        return (self.n, *input_shape)

    def forward(self, x: Any) -> Any:
        """Repeat."""
        return functional.broadcast_to(functional.expand_dims(x, axis=1), (x.shape[0], self.n, x.shape[1]))


class Identity(Layer):  # numpydoc ignore=PR02
    """Pass the input as it is.

    It stands where a network has a choice of layers and one choice is none.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Identity()(nn.get_backend("numpy").xp.ones((1, 2)))
    array([[1., 1.]], dtype=float32)
    """

    passes_mask = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any) -> Any:
        """Return the input."""
        return x


class Lambda(Layer):
    """Compute any function of arrays as a layer.

    Parameters
    ----------
    function : callable
        Takes what the layer is called on, an array or a list of arrays, and returns an array: ordinary array API code,
        or functions of `nnbackend.functional`.
    arguments : mapping of str to object, optional
        Further arguments of the function, by name.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    TypeError
        If `function` cannot be called; when a model is saved, if the function is not registered with
        ``@nn.register("my_package")``, since a file cannot hold code.

    Notes
    -----
    The output's shape is found by trying the function on zeros, so there is no ``output_shape`` as in Keras. It can
    have no weights: layers that have some are subclasses of `nnbackend.Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Lambda(lambda x: 2.0 * x)(nn.get_backend("numpy").xp.ones((1, 2)))
    array([[2., 2.]], dtype=float32)
    """

    def __init__(
        self, function: Callable[..., Any], arguments: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not callable(function):
            raise TypeError(f"Lambda expects a function of arrays, got {type(function).__name__}.")
        if isinstance(function, Layer):
            raise TypeError("Lambda expects a function without weights, got a layer. Use the layer itself.")
        self.function = function
        self.arguments = dict(arguments or {})

    def forward(self, x: Any) -> Any:
        """Call the function."""
        return self.function(x, **self.arguments)
