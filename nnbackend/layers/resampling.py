"""Layers that make grids finer, or put on and cut off borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nnbackend import functional
from nnbackend.backend import nearest
from nnbackend.functional.rules import borders, sizes
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]

Borders = int | Sequence[int | Sequence[int]]


class _UpSampling(Layer):
    """A finer grid along as many axes of space as the subclass says."""

    ndim: ClassVar[int]
    interpolation = "nearest"

    def __init__(self, size: int | Sequence[int] = 2, **options: Any) -> None:
        super().__init__(**options)
        self.size = sizes(type(self).__name__, "size", size, self.ndim)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths times the factors."""
        return (*(n * s for n, s in zip(input_shape, self.size, strict=False)), input_shape[-1])

    def forward(self, x: Any) -> Any:
        """Make the grid finer."""
        kind = "linear" if self.interpolation == "bilinear" else self.interpolation
        return functional.upsample(x, size=self.size, interpolation=kind)


class UpSampling1D(_UpSampling):
    """Repeat every step of a sequence:  (n, t, c) -> (n, t size, c).

    Parameters
    ----------
    size : int
        How often.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.UpSampling1D(3)(nn.get_backend("numpy").xp.ones((2, 4, 5))).shape
    (2, 12, 5)
    """

    expects = "t c"
    ndim = 1

    def __init__(self, size: int = 2, **options: Any) -> None:
        super().__init__(size, **options)


class UpSampling2D(_UpSampling):
    """Enlarge images by repetition or interpolation:  (n, h, w, c) -> (n, h size, w size, c).

    The formulas are those of `nnbackend.functional.upsample`.

    Parameters
    ----------
    size : int or pair of int
        By how much, along both axes or each.
    interpolation : {"nearest", "bilinear"}
        "nearest" repeats pixels; "bilinear" takes, for the centre of each new pixel, the mean of the centres around
        it, weighted by how near they are.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `interpolation` is neither.

    Notes
    -----
    Pixels' centres are halves, and the corners' centres do not meet: PyTorch's ``align_corners=False``. Of Keras's
    interpolations "bicubic" and the two of Lanczos are not offered.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.UpSampling2D((2, 3))(nn.get_backend("numpy").xp.ones((2, 4, 4, 5))).shape
    (2, 8, 12, 5)
    """

    expects = "h w c"
    ndim = 2
    interpolations: ClassVar[tuple[str, ...]] = ("nearest", "bilinear")

    def __init__(self, size: int | Sequence[int] = 2, interpolation: str = "nearest", **options: Any) -> None:
        super().__init__(size, **options)
        if interpolation not in self.interpolations:
            raise ValueError(
                f"UpSampling2D expects interpolation to be 'nearest' or 'bilinear', got {interpolation!r}."
                f"{nearest(str(interpolation), self.interpolations)}"
            )
        self.interpolation = interpolation


class UpSampling3D(_UpSampling):  # numpydoc ignore=PR02
    """Enlarge volumes by repetition:  (n, d, h, w, c) -> (n, d size, h size, w size, c).

    Parameters
    ----------
    size : int or sequence of three int
        How often each cell is repeated, along all axes or each.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.UpSampling3D(2)(nn.get_backend("numpy").xp.ones((1, 2, 3, 4, 5))).shape
    (1, 4, 6, 8, 5)
    """

    expects = "d h w c"
    ndim = 3


class _ZeroPadding(Layer):
    """A border of zeros around as many axes of space as the subclass says."""

    ndim: ClassVar[int]

    def __init__(self, padding: Borders = 1, **options: Any) -> None:
        super().__init__(**options)
        self.padding = borders(type(self).__name__, "padding", padding, self.ndim)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths and the borders together."""
        longer = (n + low + high for n, (low, high) in zip(input_shape, self.padding, strict=False))
        return (*longer, input_shape[-1])

    def forward(self, x: Any) -> Any:
        """Pad."""
        return functional.pad(x, padding=((0, 0), *self.padding, (0, 0)))


class ZeroPadding1D(_ZeroPadding):  # numpydoc ignore=PR02
    """Put zeros before and after sequences:  (n, t, c) -> (n, t', c).

    Parameters
    ----------
    padding : int or pair of int
        How many steps, on both sides or as (before, after).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.ZeroPadding1D((2, 0))(nn.get_backend("numpy").xp.ones((2, 4, 5))).shape
    (2, 6, 5)
    """

    expects = "t c"
    ndim = 1


class ZeroPadding2D(_ZeroPadding):  # numpydoc ignore=PR02
    """Put a border of zeros around images:  (n, h, w, c) -> (n, h', w', c).

    Parameters
    ----------
    padding : int, pair of int, or pair of pairs of int
        How wide: on all sides, above and below and beside, or ((top, bottom), (left, right)).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.ZeroPadding2D(((1, 0), (2, 2)))(nn.get_backend("numpy").xp.ones((2, 4, 4, 5))).shape
    (2, 5, 8, 5)
    """

    expects = "h w c"
    ndim = 2


class ZeroPadding3D(_ZeroPadding):  # numpydoc ignore=PR02
    """Put a border of zeros around volumes:  (n, d, h, w, c) -> (n, d', h', w', c).

    Parameters
    ----------
    padding : int, or sequence of three int or pairs of int
        How wide: on all sides, along each axis, or (before, after) along each.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.ZeroPadding3D((1, 0, 2))(nn.get_backend("numpy").xp.ones((1, 2, 3, 4, 5))).shape
    (1, 4, 3, 8, 5)
    """

    expects = "d h w c"
    ndim = 3


class _Cropping(Layer):
    """The inside of as many axes of space as the subclass says."""

    ndim: ClassVar[int]

    def __init__(self, cropping: Borders, **options: Any) -> None:
        super().__init__(**options)
        self.cropping = borders(type(self).__name__, "cropping", cropping, self.ndim)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs of which nothing would be left."""
        super().check_input(input_shape)
        if any(low + high >= n for n, (low, high) in zip(input_shape, self.cropping, strict=False)):
            raise ValueError(
                f"{type(self).__name__} {self.path!r} would cut {self.cropping} off an input of shape "
                f"({', '.join(['n', *map(str, input_shape)])}) and leave nothing. Crop less."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths without what is cut off."""
        shorter = (n - low - high for n, (low, high) in zip(input_shape, self.cropping, strict=False))
        return (*shorter, input_shape[-1])

    def forward(self, x: Any) -> Any:
        """Cut the borders off."""
        inside = (slice(low, n - high) for n, (low, high) in zip(x.shape[1:], self.cropping, strict=False))
        return functional.getitem(x, (slice(None), *inside, slice(None)))


class Cropping1D(_Cropping):
    """Cut steps off both ends of sequences:  (n, t, c) -> (n, t', c).

    Parameters
    ----------
    cropping : int or pair of int
        How many, at both ends or as (before, after).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Cropping1D((2, 1))(nn.get_backend("numpy").xp.ones((2, 8, 5))).shape
    (2, 5, 5)
    """

    expects = "t c"
    ndim = 1

    def __init__(self, cropping: int | Sequence[int] = 1, **options: Any) -> None:
        super().__init__(cropping, **options)


class Cropping2D(_Cropping):
    """Cut the border off images:  (n, h, w, c) -> (n, h', w', c).

    Parameters
    ----------
    cropping : int, pair of int, or pair of pairs of int
        How much: on all sides, above and below and beside, or ((top, bottom), (left, right)).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Cropping2D(((1, 0), (2, 2)))(nn.get_backend("numpy").xp.ones((2, 8, 8, 5))).shape
    (2, 7, 4, 5)
    """

    expects = "h w c"
    ndim = 2

    def __init__(self, cropping: Borders = 0, **options: Any) -> None:
        super().__init__(cropping, **options)


class Cropping3D(_Cropping):
    """Cut the border off volumes:  (n, d, h, w, c) -> (n, d', h', w', c).

    Parameters
    ----------
    cropping : int, or sequence of three int or pairs of int
        How much: on all sides, along each axis, or (before, after) along each.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Cropping3D((1, 0, 2))(nn.get_backend("numpy").xp.ones((1, 5, 5, 5, 2))).shape
    (1, 3, 5, 1, 2)
    """

    expects = "d h w c"
    ndim = 3

    def __init__(self, cropping: Borders = 1, **options: Any) -> None:
        super().__init__(cropping, **options)
