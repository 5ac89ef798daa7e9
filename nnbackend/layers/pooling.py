"""Pooling layers: the largest element or the mean of windows of the axes of space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nnbackend import functional
from nnbackend.functional.pooling import _whole_numbers
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
]


class _Pooling(Layer):
    """What pools windows of one length at equal distances; subclasses name the axes and the rule."""

    _rule: ClassVar[str]

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner, axes = type(self).__name__, len(self.expects.split()) - 1
        self.pool_size = _whole_numbers(owner, "pool_size", pool_size, axes)
        self.strides = self.pool_size if strides is None else _whole_numbers(owner, "strides", strides, axes)
        if padding not in ("valid", "same"):
            raise ValueError(f"{owner} expects padding 'valid' or 'same', got {padding!r}.")
        self.padding = padding

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs of another rank, and those smaller than a window."""
        super().check_input(input_shape)
        self._pooled(input_shape)

    def _pooled(self, input_shape: Shape) -> Shape:
        owner = f"{type(self).__name__} {self.path!r}"
        return functional.pooled_shape(
            owner, tuple(input_shape[:-1]), self.pool_size, self.strides, self.padding
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the numbers of windows, and the channels."""
        return (*self._pooled(input_shape), input_shape[-1])

    def forward(self, x: Any) -> Any:
        """Pool."""
        rule = getattr(functional, self._rule)
        return rule(x, pool_size=self.pool_size, strides=self.strides, padding=self.padding)


class _GlobalPooling(Layer):
    """What pools all of space; subclasses name the axes and the rule."""

    _rule: ClassVar[str]

    def __init__(self, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.keepdims = bool(keepdims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the channels, with axes of length one before them where those are kept."""
        return (*(1 for _ in input_shape[:-1] if self.keepdims), input_shape[-1])

    def forward(self, x: Any) -> Any:
        """Pool."""
        return getattr(functional, self._rule)(x, keepdims=self.keepdims)


class _AdaptivePooling(Layer):
    """What pools a given number of windows; subclasses name the axes and the rule."""

    _rule: ClassVar[str]

    def __init__(self, output_size: int | Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        axes = len(self.expects.split()) - 1
        self.output_size = _whole_numbers(type(self).__name__, "output_size", output_size, axes)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the numbers of windows, and the channels."""
        return (*self.output_size, input_shape[-1])

    def forward(self, x: Any) -> Any:
        """Pool."""
        return getattr(functional, self._rule)(x, output_size=self.output_size)


class AveragePooling1D(_Pooling):  # numpydoc ignore=PR02
    """Mean of each window of sequences.

    Inputs have the shape (n, t, c), outputs (n, t', c). The mathematics is that of `nnbackend.functional.average_pool`.

    Parameters
    ----------
    pool_size : int or sequence of int
        The length of a window.
    strides : int or sequence of int, optional
        The step from window to window; the window's length without it.
    padding : {"valid", "same"}
        Whether windows lie inside (``"valid"``) or reach over the edges.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an argument does not fit, or an input is smaller than a window.

    Notes
    -----
    With ``"same"`` the mean is that of the real elements, as in Keras; PyTorch counts its padding.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AveragePooling1D(2)(nn.get_backend("numpy").xp.ones((1, 6, 3))).shape
    (1, 3, 3)
    """

    expects = "t c"
    _rule = "average_pool"


class AveragePooling2D(_Pooling):  # numpydoc ignore=PR02
    """Mean of each window of images.

    Inputs have the shape (n, h, w, c), outputs (n, h', w', c).
    The mathematics is that of `nnbackend.functional.average_pool`.

    Parameters
    ----------
    pool_size : int or sequence of int
        The length of a window along each axis.
    strides : int or sequence of int, optional
        The step from window to window; the window's length without it.
    padding : {"valid", "same"}
        Whether windows lie inside (``"valid"``) or reach over the edges.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an argument does not fit, or an input is smaller than a window.

    Notes
    -----
    With ``"same"`` the mean is that of the real elements, as in Keras; PyTorch counts its padding.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AveragePooling2D(2)(nn.get_backend("numpy").xp.ones((1, 6, 6, 3))).shape
    (1, 3, 3, 3)
    """

    expects = "h w c"
    _rule = "average_pool"


class AveragePooling3D(_Pooling):  # numpydoc ignore=PR02
    """Mean of each window of volumes.

    Inputs have the shape (n, d, h, w, c), outputs (n, d', h', w', c).
    The mathematics is that of `nnbackend.functional.average_pool`.

    Parameters
    ----------
    pool_size : int or sequence of int
        The length of a window along each axis.
    strides : int or sequence of int, optional
        The step from window to window; the window's length without it.
    padding : {"valid", "same"}
        Whether windows lie inside (``"valid"``) or reach over the edges.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an argument does not fit, or an input is smaller than a window.

    Notes
    -----
    With ``"same"`` the mean is that of the real elements, as in Keras; PyTorch counts its padding.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AveragePooling3D(2)(nn.get_backend("numpy").xp.ones((1, 4, 6, 6, 3))).shape
    (1, 2, 3, 3, 3)
    """

    expects = "d h w c"
    _rule = "average_pool"


class MaxPooling1D(_Pooling):  # numpydoc ignore=PR02
    """Largest element of each window of sequences.

    Inputs have the shape (n, t, c), outputs (n, t', c). The mathematics is that of `nnbackend.functional.max_pool`.

    Parameters
    ----------
    pool_size : int or sequence of int
        The length of a window.
    strides : int or sequence of int, optional
        The step from window to window; the window's length without it.
    padding : {"valid", "same"}
        Whether windows lie inside (``"valid"``) or reach over the edges.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an argument does not fit, or an input is smaller than a window.

    Notes
    -----
    Of equal maxima the first, in row-major order, gets the gradient; NaN is the maximum.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.MaxPooling1D(2)(nn.get_backend("numpy").xp.ones((1, 6, 3))).shape
    (1, 3, 3)
    """

    expects = "t c"
    _rule = "max_pool"


class MaxPooling2D(_Pooling):  # numpydoc ignore=PR02
    """Largest element of each window of images.

    Inputs have the shape (n, h, w, c), outputs (n, h', w', c).
    The mathematics is that of `nnbackend.functional.max_pool`.

    Parameters
    ----------
    pool_size : int or sequence of int
        The length of a window along each axis.
    strides : int or sequence of int, optional
        The step from window to window; the window's length without it.
    padding : {"valid", "same"}
        Whether windows lie inside (``"valid"``) or reach over the edges.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an argument does not fit, or an input is smaller than a window.

    Notes
    -----
    Of equal maxima the first, in row-major order, gets the gradient; NaN is the maximum.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.MaxPooling2D(2)(nn.get_backend("numpy").xp.ones((1, 6, 6, 3))).shape
    (1, 3, 3, 3)
    """

    expects = "h w c"
    _rule = "max_pool"


class MaxPooling3D(_Pooling):  # numpydoc ignore=PR02
    """Largest element of each window of volumes.

    Inputs have the shape (n, d, h, w, c), outputs (n, d', h', w', c).
    The mathematics is that of `nnbackend.functional.max_pool`.

    Parameters
    ----------
    pool_size : int or sequence of int
        The length of a window along each axis.
    strides : int or sequence of int, optional
        The step from window to window; the window's length without it.
    padding : {"valid", "same"}
        Whether windows lie inside (``"valid"``) or reach over the edges.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an argument does not fit, or an input is smaller than a window.

    Notes
    -----
    Of equal maxima the first, in row-major order, gets the gradient; NaN is the maximum.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.MaxPooling3D(2)(nn.get_backend("numpy").xp.ones((1, 4, 6, 6, 3))).shape
    (1, 2, 3, 3, 3)
    """

    expects = "d h w c"
    _rule = "max_pool"


class GlobalAveragePooling1D(_GlobalPooling):  # numpydoc ignore=PR02
    """Mean of all steps of sequences.

    Inputs have the shape (n, t, c), outputs (n, c).
    The mathematics is that of `nnbackend.functional.global_average_pool`.

    A ``mask`` of shape (n, t) says which steps count; a sample without any gives zeros, where Keras divides by zero.

    Parameters
    ----------
    keepdims : bool
        Keep the axes of space with length one.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GlobalAveragePooling1D()(nn.get_backend("numpy").xp.ones((1, 6, 3))).shape
    (1, 3)
    """

    expects = "t c"
    _rule = "global_average_pool"

    def forward(self, x: Any, *, mask: Any = None) -> Any:
        """Take the mean of the steps that count."""
        return functional.global_average_pool(x, mask, keepdims=self.keepdims)


class GlobalAveragePooling2D(_GlobalPooling):  # numpydoc ignore=PR02
    """Mean of all places of images.

    Inputs have the shape (n, h, w, c), outputs (n, c).
    The mathematics is that of `nnbackend.functional.global_average_pool`.

    Parameters
    ----------
    keepdims : bool
        Keep the axes of space with length one.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GlobalAveragePooling2D()(nn.get_backend("numpy").xp.ones((1, 6, 6, 3))).shape
    (1, 3)
    """

    expects = "h w c"
    _rule = "global_average_pool"


class GlobalAveragePooling3D(_GlobalPooling):  # numpydoc ignore=PR02
    """Mean of all places of volumes.

    Inputs have the shape (n, d, h, w, c), outputs (n, c).
    The mathematics is that of `nnbackend.functional.global_average_pool`.

    Parameters
    ----------
    keepdims : bool
        Keep the axes of space with length one.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GlobalAveragePooling3D()(nn.get_backend("numpy").xp.ones((1, 4, 6, 6, 3))).shape
    (1, 3)
    """

    expects = "d h w c"
    _rule = "global_average_pool"


class GlobalMaxPooling1D(_GlobalPooling):  # numpydoc ignore=PR02
    """Largest element of all steps of sequences.

    Inputs have the shape (n, t, c), outputs (n, c). The mathematics is that of `nnbackend.functional.global_max_pool`.

    Parameters
    ----------
    keepdims : bool
        Keep the axes of space with length one.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GlobalMaxPooling1D()(nn.get_backend("numpy").xp.ones((1, 6, 3))).shape
    (1, 3)
    """

    expects = "t c"
    _rule = "global_max_pool"


class GlobalMaxPooling2D(_GlobalPooling):  # numpydoc ignore=PR02
    """Largest element of all places of images.

    Inputs have the shape (n, h, w, c), outputs (n, c).
    The mathematics is that of `nnbackend.functional.global_max_pool`.

    Parameters
    ----------
    keepdims : bool
        Keep the axes of space with length one.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GlobalMaxPooling2D()(nn.get_backend("numpy").xp.ones((1, 6, 6, 3))).shape
    (1, 3)
    """

    expects = "h w c"
    _rule = "global_max_pool"


class GlobalMaxPooling3D(_GlobalPooling):  # numpydoc ignore=PR02
    """Largest element of all places of volumes.

    Inputs have the shape (n, d, h, w, c), outputs (n, c).
    The mathematics is that of `nnbackend.functional.global_max_pool`.

    Parameters
    ----------
    keepdims : bool
        Keep the axes of space with length one.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GlobalMaxPooling3D()(nn.get_backend("numpy").xp.ones((1, 4, 6, 6, 3))).shape
    (1, 3)
    """

    expects = "d h w c"
    _rule = "global_max_pool"


class AdaptiveAveragePooling1D(_AdaptivePooling):  # numpydoc ignore=PR02
    """Mean of each of a given number of windows of sequences.

    Inputs have the shape (n, t, c), outputs (n, t', c) whatever the input's lengths. The
    mathematics is that of `nnbackend.functional.adaptive_average_pool`; the windows are PyTorch's.

    Parameters
    ----------
    output_size : int or sequence of int
        How many windows.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `output_size` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AdaptiveAveragePooling1D(2)(nn.get_backend("numpy").xp.ones((1, 6, 3))).shape
    (1, 2, 3)
    """

    expects = "t c"
    _rule = "adaptive_average_pool"


class AdaptiveAveragePooling2D(_AdaptivePooling):  # numpydoc ignore=PR02
    """Mean of each of a given number of windows of images.

    Inputs have the shape (n, h, w, c), outputs (n, h', w', c) whatever the input's lengths. The
    mathematics is that of `nnbackend.functional.adaptive_average_pool`; the windows are PyTorch's.

    Parameters
    ----------
    output_size : int or sequence of int
        How many windows along each axis.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `output_size` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AdaptiveAveragePooling2D(2)(nn.get_backend("numpy").xp.ones((1, 6, 6, 3))).shape
    (1, 2, 2, 3)
    """

    expects = "h w c"
    _rule = "adaptive_average_pool"


class AdaptiveAveragePooling3D(_AdaptivePooling):  # numpydoc ignore=PR02
    """Mean of each of a given number of windows of volumes.

    Inputs have the shape (n, d, h, w, c), outputs (n, d', h', w', c) whatever the input's lengths. The
    mathematics is that of `nnbackend.functional.adaptive_average_pool`; the windows are PyTorch's.

    Parameters
    ----------
    output_size : int or sequence of int
        How many windows along each axis.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `output_size` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AdaptiveAveragePooling3D(2)(nn.get_backend("numpy").xp.ones((1, 4, 6, 6, 3))).shape
    (1, 2, 2, 2, 3)
    """

    expects = "d h w c"
    _rule = "adaptive_average_pool"


class AdaptiveMaxPooling1D(_AdaptivePooling):  # numpydoc ignore=PR02
    """Largest element of each of a given number of windows of sequences.

    Inputs have the shape (n, t, c), outputs (n, t', c) whatever the input's lengths. The
    mathematics is that of `nnbackend.functional.adaptive_max_pool`; the windows are PyTorch's.

    Parameters
    ----------
    output_size : int or sequence of int
        How many windows.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `output_size` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AdaptiveMaxPooling1D(2)(nn.get_backend("numpy").xp.ones((1, 6, 3))).shape
    (1, 2, 3)
    """

    expects = "t c"
    _rule = "adaptive_max_pool"


class AdaptiveMaxPooling2D(_AdaptivePooling):  # numpydoc ignore=PR02
    """Largest element of each of a given number of windows of images.

    Inputs have the shape (n, h, w, c), outputs (n, h', w', c) whatever the input's lengths. The
    mathematics is that of `nnbackend.functional.adaptive_max_pool`; the windows are PyTorch's.

    Parameters
    ----------
    output_size : int or sequence of int
        How many windows along each axis.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `output_size` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AdaptiveMaxPooling2D(2)(nn.get_backend("numpy").xp.ones((1, 6, 6, 3))).shape
    (1, 2, 2, 3)
    """

    expects = "h w c"
    _rule = "adaptive_max_pool"


class AdaptiveMaxPooling3D(_AdaptivePooling):  # numpydoc ignore=PR02
    """Largest element of each of a given number of windows of volumes.

    Inputs have the shape (n, d, h, w, c), outputs (n, d', h', w', c) whatever the input's lengths. The
    mathematics is that of `nnbackend.functional.adaptive_max_pool`; the windows are PyTorch's.

    Parameters
    ----------
    output_size : int or sequence of int
        How many windows along each axis.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `output_size` does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AdaptiveMaxPooling3D(2)(nn.get_backend("numpy").xp.ones((1, 4, 6, 6, 3))).shape
    (1, 2, 2, 2, 3)
    """

    expects = "d h w c"
    _rule = "adaptive_max_pool"
