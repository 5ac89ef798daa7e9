"""Layers that make one of several inputs: ``Add()([a, b])``."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.functional.rules import zeros
from nnbackend.layers.axes import check_axis, sample_axis
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = ["Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"]


class _Merging(Layer):
    """A layer that is called on a list of arrays."""

    #: How many inputs it takes; None for any number.
    count: int | None = None

    def check_input(self, input_shape: Any) -> None:
        """Refuse what is not a list of as many inputs as the layer takes."""
        name = f"{type(self).__name__} {self.path!r}"
        if not isinstance(input_shape, list):
            raise ValueError(
                f"{name} expects a list of inputs, got one of shape {shown(input_shape)}. Call it on [a, b]."
            )
        if self.count is None and not input_shape:
            raise ValueError(f"{name} expects a list of at least one input, got none.")
        if self.count is not None and len(input_shape) != self.count:
            raise ValueError(
                f"{name} expects a list of exactly {self.count} inputs, got {len(input_shape)} of shapes "
                f"{_all_shown(input_shape)}."
            )


class _Elementwise(_Merging):
    """A layer that combines its inputs element by element; samples broadcast against each other."""

    def check_input(self, input_shape: Any) -> None:
        """Refuse samples whose shapes do not broadcast."""
        super().check_input(input_shape)
        if _broadcast(input_shape) is None:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects inputs of equal shapes, or such that broadcast against "
                f"each other, got {_all_shown(input_shape)}."
            )

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return the shape to which the samples broadcast."""
        shape = _broadcast(input_shape)
        assert shape is not None  # check_input saw to it
        return shape

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return where all masks hold, or None without any."""
        masks = [one for one in mask or () if one is not None]
        return functools.reduce(functional.logical_and, masks) if masks else None

    def forward(self, x: Any) -> Any:
        """Combine."""
        rank = max(len(one.shape) for one in x)
        return self.combine([_with_rank(one, rank) for one in x])

    def combine(self, inputs: list[Any]) -> Any:
        """Combine inputs of equal rank."""
        raise NotImplementedError


class Add(_Elementwise):  # numpydoc ignore=PR02
    """Sum of the inputs:  y = a + b + ...

    Each input gets the gradient as it is. Samples broadcast against each other, as in Keras; masks are combined by
    logical and.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list, or the samples' shapes do not broadcast.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Add()([xp.ones((1, 2)), xp.ones((1, 2)), xp.ones((1, 2))])
    array([[3., 3.]], dtype=float32)
    """

    def combine(self, inputs: list[Any]) -> Any:
        """Add up."""
        return functools.reduce(functional.add, inputs)


class Subtract(_Elementwise):  # numpydoc ignore=PR02
    """Difference of two inputs:  y = a - b.

    Samples broadcast against each other; masks are combined by logical and.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list of two, or the samples' shapes do not broadcast.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Subtract()([xp.ones((1, 2)), xp.ones((1, 2))])
    array([[0., 0.]], dtype=float32)
    """

    count = 2

    def combine(self, inputs: list[Any]) -> Any:
        """Subtract the second from the first."""
        return functional.subtract(*inputs)


class Multiply(_Elementwise):  # numpydoc ignore=PR02
    """Product of the inputs, element by element:  y = a b ...

    Samples broadcast against each other; masks are combined by logical and.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list, or the samples' shapes do not broadcast.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Multiply()([2.0 * xp.ones((1, 2)), 3.0 * xp.ones((1, 2))])
    array([[6., 6.]], dtype=float32)
    """

    def combine(self, inputs: list[Any]) -> Any:
        """Multiply."""
        return functools.reduce(functional.multiply, inputs)


class Average(_Elementwise):  # numpydoc ignore=PR02
    """Mean of the inputs, element by element:  y = (a + b + ...) / k.

    Samples broadcast against each other; masks are combined by logical and.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list, or the samples' shapes do not broadcast.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Average()([xp.ones((1, 2)), xp.zeros((1, 2))])
    array([[0.5, 0.5]], dtype=float32)
    """

    def combine(self, inputs: list[Any]) -> Any:
        """Take the mean."""
        return functools.reduce(functional.add, inputs) / float(len(inputs))


class Maximum(_Elementwise):  # numpydoc ignore=PR02
    """Largest of the inputs, element by element:  y = max(a, b, ...).

    The gradient goes to the largest, to the first of equals. Samples broadcast against each other; masks are combined
    by logical and.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list, or the samples' shapes do not broadcast.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Maximum()([xp.ones((1, 2)), xp.zeros((1, 2))])
    array([[1., 1.]], dtype=float32)
    """

    def combine(self, inputs: list[Any]) -> Any:
        """Take the largest."""
        return functools.reduce(functional.maximum, inputs)


class Minimum(_Elementwise):  # numpydoc ignore=PR02
    """Smallest of the inputs, element by element:  y = min(a, b, ...).

    The gradient goes to the smallest, to the first of equals. Samples broadcast against each other; masks are combined
    by logical and.

    Parameters
    ----------
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list, or the samples' shapes do not broadcast.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Minimum()([xp.ones((1, 2)), xp.zeros((1, 2))])
    array([[0., 0.]], dtype=float32)
    """

    def combine(self, inputs: list[Any]) -> Any:
        """Take the smallest."""
        return functools.reduce(functional.minimum, inputs)


class Concatenate(_Merging):
    """Inputs one behind the other along an axis.

    Parameters
    ----------
    axis : int
        The axis, counted with that of samples; the last without a word.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list, the axis is that of samples or does not exist, or the inputs differ along
        another one.

    Notes
    -----
    Along the axis of steps masks are put one behind the other, with True for inputs without one; along others a step
    counts where it counts for any input, and everywhere if one has no mask, as in Keras.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Concatenate()([xp.ones((1, 2)), xp.zeros((1, 1))])
    array([[1., 1., 0.]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = check_axis("Concatenate", axis)

    def check_input(self, input_shape: Any) -> None:
        """Refuse inputs that differ along another axis."""
        super().check_input(input_shape)
        place = sample_axis(self, self.axis, input_shape[0])
        others = {(*shape[:place], None, *shape[place + 1 :]) for shape in input_shape}
        if len(others) > 1:
            raise ValueError(
                f"Concatenate {self.path!r} expects inputs whose shapes are equal but along axis {self.axis}, got "
                f"{_all_shown(input_shape)}."
            )

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return the shape with the lengths along the axis added up."""
        first = input_shape[0]
        place = sample_axis(self, self.axis, first)
        return (*first[:place], sum(shape[place] for shape in input_shape), *first[place + 1 :])

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the masks one behind the other, or where any holds; None without any."""
        if not mask or all(one is None for one in mask):
            return None
        if sample_axis(self, self.axis, tuple(x[0].shape[1:])) != 0:
            if any(one is None for one in mask):
                return None
            return functools.reduce(functional.logical_or, mask)
        given = next(one for one in mask if one is not None)
        masks = [
            _all_true(given, (one.shape[0], one.shape[1])) if its is None else its
            for one, its in zip(x, mask, strict=True)
        ]
        return functional.concat(masks, axis=1)

    def forward(self, x: Any) -> Any:
        """Concatenate."""
        return functional.concat(list(x), axis=self.axis)


class Dot(_Merging):
    r"""Scalar products of two inputs along an axis of each.

    .. math:: y_{n,\ldots,\ldots} = \sum_k a_{n,\ldots,k,\ldots}\, b_{n,\ldots,k,\ldots}

    The output has the axes of the first input that are left, then those of the second; (n, 1) where none is.

    Parameters
    ----------
    axes : int or pair of int
        The axis of each input that is summed over, counted with that of samples; one number holds for both.
    normalize : bool
        Whether to divide by the lengths of the vectors first, which gives the cosine of their angle.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If it is not called on a list of two, an axis is that of samples or does not exist, or the two lengths differ.

    Notes
    -----
    Lengths below 1e-12 count as 1e-12, so that vectors of zeros give 0.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Dot(axes=1)([xp.asarray([[1.0, 2.0]]), xp.asarray([[3.0, 4.0]])])
    array([[11.]], dtype=float32)
    """

    count = 2

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        both = (axes, axes) if isinstance(axes, int) else tuple(axes)
        if len(both) != 2:
            raise ValueError(f"Dot expects one axis or an axis for each of two inputs, got {axes!r}.")
        self.axes = tuple(check_axis("Dot", axis) for axis in both)
        self.normalize = bool(normalize)

    def _places(self, shapes: Any) -> list[int]:
        return [sample_axis(self, axis, shape) for axis, shape in zip(self.axes, shapes, strict=True)]

    def check_input(self, input_shape: Any) -> None:
        """Refuse inputs whose lengths along the axes differ."""
        super().check_input(input_shape)
        lengths = [shape[place] for shape, place in zip(input_shape, self._places(input_shape), strict=True)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"Dot {self.path!r} expects inputs of equal length along the axes {self.axes}, got "
                f"{_all_shown(input_shape)}."
            )

    def _rests(self, shapes: Any) -> list[Shape]:
        """Return the shapes of the samples without the axes that are summed over."""
        places = self._places(shapes)
        return [(*shape[:place], *shape[place + 1 :]) for shape, place in zip(shapes, places, strict=True)]

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return the lengths that are left."""
        first, second = self._rests(input_shape)
        return (*first, *second) or (1,)

    def forward(self, x: Any) -> Any:
        """Multiply and add up."""
        shapes = [tuple(one.shape[1:]) for one in x]
        count = x[0].shape[0]
        rows = []
        for one, place, rest in zip(x, self._places(shapes), self._rests(shapes), strict=True):
            length = one.shape[place + 1]
            moved = one if place == len(rest) else functional.moveaxis(one, place + 1, -1)
            flat = functional.reshape(moved, (count, math.prod(rest), length))
            rows.append(_unit(flat) if self.normalize else flat)
        products = functional.matmul(rows[0], functional.matrix_transpose(rows[1]))
        return functional.reshape(products, (count, *self.compute_output_shape(shapes)))


def _unit(rows: Any) -> Any:
    """Divide rows by their lengths, those of almost nothing by 1e-12."""
    squares = functional.sum(functional.square(rows), axis=-1, keepdims=True)
    return rows / functional.sqrt(functional.maximum(squares, 1e-24))


def _all_shown(shapes: Sequence[Shape]) -> str:
    return ", ".join(shown(shape) for shape in shapes)


def _broadcast(shapes: Sequence[Shape]) -> Shape | None:
    """Return the shape to which all broadcast, or None where they do not."""
    rank = max(len(shape) for shape in shapes)
    found = []
    for lengths in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        others = set(lengths) - {1}
        if len(others) > 1:
            return None
        found.append(others.pop() if others else 1)
    return tuple(found)


def _with_rank(x: Any, rank: int) -> Any:
    """Give samples leading axes of length one until the array has that rank."""
    missing = rank - len(x.shape)
    return x if not missing else functional.reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:]))


def _all_true(like: Any, shape: Shape) -> Any:
    """Return a mask of that shape, in the library and on the device of another, that excludes nothing."""
    return functional.logical_not(zeros(shape, like))
