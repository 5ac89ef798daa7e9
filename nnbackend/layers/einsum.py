"""EinsumDense and Bilinear: affine maps of more than one axis, and of two inputs."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nnbackend import activations, constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = ["Bilinear", "EinsumDense"]


class _Plan(NamedTuple):
    """What an equation says once the input's shape is known."""

    subscripts: str
    kernel: Shape
    bias: Shape | None
    output: Shape  # without the axis of samples


class EinsumDense(Layer):
    r"""A dense layer whose product is a sum by Einstein's rule, so that it may map several axes at once.

    .. math:: y = f(\operatorname{einsum}(x, W) + b)

    The derivatives are those of `nnbackend.functional.einsum` and of the activation.

    Parameters
    ----------
    equation : str
        Letters for the axes of input, kernel and output, such as ``"abc,cd->abd"``. The first letter of input and
        output is the axis of samples; three dots stand for axes that stay, as in ``"...x,xy->...y"``.
    output_shape : int or sequence of int or None
        The lengths of the output's axes without that of samples (nor those that three dots stand for); None for an
        axis that has the input's length.
    activation : str or callable, optional
        :math:`f`; none leaves the output linear.
    bias_axes : str, optional
        The letters of the output's axes along which the bias differs; no bias without it.
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
    kernel : Parameter
        :math:`W`, with an axis for each of its letters.
    bias : Parameter, or None
        :math:`b`, with an axis for each letter of the output from the first of `bias_axes` on; of length one where it
        does not differ.

    Raises
    ------
    ValueError
        If the equation does not have this form, or does not fit the input or `output_shape`.

    Notes
    -----
    As in Keras a kernel of more than two axes is drawn as that of a convolution, whose leading axes are the field: the
    query kernel (dim, heads, key_dim) of attention starts smaller than as one matrix (dim, heads key_dim).

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de")
    >>> layer(nn.get_backend("numpy").xp.ones((5, 3, 8))).shape
    (5, 3, 2, 4)
    >>> layer.kernel.shape, layer.bias.shape
    ((8, 2, 4), (2, 4))
    """

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: str | Callable[..., Any] | None = None,
        bias_axes: str | None = None,
        *,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        bias_regularizer: str | regularizers.Regularizer | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.equation = equation
        self.wanted_shape: tuple[int | None, ...] = (
            (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        )
        self.activation = activations.get(activation)
        self.bias_axes = bias_axes
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        _letters(self)  # refuses an equation of another form

    @property
    def passes_mask(self) -> bool:  # type: ignore[override]
        """Whether the axis after that of samples, of time, is kept where it is."""
        source, _, output = _letters(self)
        return source[1:2] == output[1:2] or source.startswith("...")

    def build(self, input_shape: Shape) -> None:
        """Make kernel and bias for inputs of this shape."""
        plan = _plan(self, input_shape)
        self._subscripts = plan.subscripts
        self.kernel = self.add_weight(
            "kernel",
            plan.kernel,
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = (
            None
            if plan.bias is None
            else self.add_weight(
                "bias",
                plan.bias,
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        )

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs of another rank, or of another length along an axis that the kernel has."""
        plan = _plan(self, input_shape)
        if self.built and plan.kernel != self.kernel.shape:
            came = ", ".join(["n", *map(str, input_shape)])
            raise ValueError(
                f"EinsumDense {self.path!r} ({self.equation}) has a kernel of shape {self.kernel.shape}, got an input "
                f"of shape ({came}), which needs {plan.kernel}. Check the layer before it."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths of the output's axes."""
        return _plan(self, input_shape).output

    def forward(self, x: Any) -> Any:
        r"""Compute :math:`f(\operatorname{einsum}(x, W) + b)`."""
        y = functional.einsum(self._subscripts, x, self.kernel)
        if self.bias is not None:
            y = y + self.bias
        return y if self.activation is functional.linear else self.activation(y)


def _letters(layer: EinsumDense) -> tuple[str, str, str]:
    """Return the letters of input, kernel and output."""
    text = layer.equation.replace(" ", "")
    left, arrow, output = text.partition("->")
    words = left.split(",")
    dots = [word.startswith("...") for word in (words[0], output)]
    bare = [word.removeprefix("...") for word in (words[0], *words[1:2], output)]
    if (
        not arrow
        or len(words) != 2
        or dots[0] != dots[1]
        or not all(word.isalpha() for word in bare)
        or not (dots[0] or (bare[0][0] == bare[2][0] and bare[0][0] not in bare[1]))
        or any(len(set(word)) != len(word) for word in bare)
        or not set(bare[0]) <= set(bare[1]) | set(bare[2])
        or not set(bare[1]) <= set(bare[0]) | set(bare[2])
        or not set(bare[2]) <= set(bare[0]) | set(bare[1])
    ):
        raise ValueError(
            f"EinsumDense expects an equation such as 'abc,cd->abd' or '...x,xy->...y', in which input and output "
            f"start with the axis of samples and the kernel has no axis of its own, got {layer.equation!r}."
        )
    return words[0], words[1], output


def _plan(layer: EinsumDense, input_shape: Shape) -> _Plan:
    """Fit the equation to an input's shape, which has no axis of samples."""
    source, kernel, output = _letters(layer)
    came = f"({', '.join(['n', *map(str, input_shape)])})"
    dots = ""
    if source.startswith("..."):
        missing = len(input_shape) + 1 - len(source) + 3
        free = [letter for letter in string.ascii_letters if letter not in layer.equation]
        dots = "".join(free[: max(missing, 0)])
        source, output = dots + source[3:], dots + output[3:]
        if missing < 1:
            raise ValueError(f"EinsumDense {layer.path!r} ({layer.equation}) got an input of shape {came}.")
    if len(source) != len(input_shape) + 1:
        raise ValueError(
            f"EinsumDense {layer.path!r} ({layer.equation}) expects inputs of {len(source)} axes with that of samples, "
            f"got shape {came}. Check the layer before it."
        )
    sizes = dict(zip(source[1:], input_shape, strict=True))
    wanted: tuple[int | None, ...] = layer.wanted_shape
    if dots and len(wanted) == len(output) - len(dots):
        wanted = (None,) * (len(dots) - 1) + wanted
    if len(wanted) != len(output) - 1:
        raise ValueError(
            f"EinsumDense {layer.path!r} ({layer.equation}) expects an output_shape of {len(output) - 1} numbers, "
            f"without the axis of samples, got {layer.wanted_shape}."
        )
    for letter, size in zip(output[1:], wanted, strict=True):
        known = sizes.get(letter)
        length = known if size is None else size
        if length is None:
            raise ValueError(
                f"EinsumDense {layer.path!r} ({layer.equation}) needs the length of the axis {letter!r} in "
                "output_shape, got None."
            )
        if known not in (None, length):
            raise ValueError(
                f"EinsumDense {layer.path!r} ({layer.equation}) is to give an axis {letter!r} of length {size}, got an "
                f"input of shape {came}, in which it has {known}."
            )
        sizes[letter] = length
    bias = None
    if layer.bias_axes:
        unknown = [letter for letter in layer.bias_axes if letter not in output[1:]]
        if unknown:
            raise ValueError(
                f"EinsumDense {layer.path!r} expects bias_axes among {output[1:]!r}, got {layer.bias_axes!r}."
            )
        first = min(output.index(letter) for letter in layer.bias_axes)
        bias = tuple(sizes[letter] if letter in layer.bias_axes else 1 for letter in output[first:])
    return _Plan(
        f"{source},{kernel}->{output}",
        tuple(sizes[letter] for letter in kernel),
        bias,
        tuple(sizes[letter] for letter in output[1:]),
    )


class Bilinear(Layer):
    r"""Map two inputs to products of each pair of their elements, weighted:  y = x1 W x2 + b.

    .. math:: y_k = f\Big(\sum_{ij} x_i\, W_{ijk}\, z_j + b_k\Big)

    The derivatives are those of `nnbackend.functional.einsum` and of the activation.

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
    kernel : Parameter of shape (n1, n2, m)
        :math:`W`, in the order (first in, second in, out).
    bias : Parameter of shape (m,), or None
        :math:`b`.

    Raises
    ------
    ValueError
        If the inputs differ in an axis before the last, or are not what it was built for.

    Notes
    -----
    It is called on two inputs, ``layer(x, z)``, of shapes (..., n1) and (..., n2). PyTorch's weight has the shape
    (m, n1, n2) and is drawn, as the bias, from :math:`U(-1/\sqrt{n_1}, 1/\sqrt{n_1})`; here they are Glorot's and zero
    as in the other layers.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> layer = nn.Bilinear(1, kernel_initializer="ones")
    >>> layer(xp.asarray([[1.0, 2.0]]), xp.asarray([[3.0, 4.0, 5.0]]))
    array([[36.]], dtype=float32)
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
        self.units = positive_integer("Bilinear", "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, first_shape: Shape, second_shape: Shape | None = None) -> None:
        """Make kernel and bias for inputs of shapes (..., n1) and (..., n2)."""
        self._check(first_shape, second_shape)
        assert second_shape is not None
        self.kernel = self.add_weight(
            "kernel",
            (first_shape[-1], second_shape[-1], self.units),
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

    def compute_output_shape(self, first_shape: Shape, second_shape: Shape | None = None) -> Shape:
        """Return the first input's shape with the last axis replaced by `units`."""
        self._check(first_shape, second_shape)
        return (*first_shape[:-1], self.units)

    def forward(self, x: Any, second: Any = None) -> Any:
        """Compute :math:`f(x W z + b)`."""
        self._check(tuple(x.shape[1:]), None if second is None else tuple(second.shape[1:]))
        y = functional.einsum("...i,...j,ijk->...k", x, second, self.kernel)
        if self.bias is not None:
            y = y + self.bias
        return y if self.activation is functional.linear else self.activation(y)

    def _check(self, first: Shape, second: Shape | None) -> None:
        fits = bool(first and second) and tuple(first[:-1]) == tuple(second[:-1])  # type: ignore[index]
        if fits and self.built:
            fits = self.kernel.shape[:2] == (first[-1], second[-1])  # type: ignore[index]
        if not fits:
            shown = [
                None if shape is None else f"({', '.join(['n', *map(str, shape)])})"
                for shape in (first, second)
            ]
            sizes = self.kernel.shape[:2] if self.built else ("n1", "n2")
            raise ValueError(
                f"Bilinear {self.path!r} expects two inputs of shapes (n, ..., {sizes[0]}) and (n, ..., {sizes[1]}), "
                f"equal but for the last axis, got {shown[0]} and {shown[1]}."
            )
