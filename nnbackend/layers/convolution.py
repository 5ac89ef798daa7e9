"""Convolutions in one, two and three dimensions: plain, depthwise, separable and transposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from nnbackend import activations, constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.functional.convolution import (
    Geometry,
    Padding,
    check_padding,
    geometry,
    paddings,
    transposed_geometry,
)
from nnbackend.functional.rules import sizes
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = [
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
]

Size = int | Sequence[int]
Initializer = str | initializers.Initializer
Regularizer = str | regularizers.Regularizer | None
Constraint = str | constraints.Constraint | None


class _Windowed(Layer):
    """What the layers share: a kernel that moves over the axes of space, a bias and an activation."""

    fixed = ("c",)
    #: How many axes of space there are.
    ndim: ClassVar[int]

    def __init__(
        self,
        kernel_size: Size,
        strides: Size,
        padding: Padding,
        dilation_rate: Size,
        activation: str | Callable[..., Any] | None,
        use_bias: bool,
        bias_initializer: Initializer,
        bias_regularizer: Regularizer,
        bias_constraint: Constraint,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.kernel_size = sizes(owner, "kernel_size", kernel_size, self.ndim)
        self.strides = sizes(owner, "strides", strides, self.ndim)
        self.dilation_rate = sizes(owner, "dilation_rate", dilation_rate, self.ndim)
        check_padding(owner, padding, self.ndim, self._paddings())
        self.padding = padding
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)

    def _paddings(self) -> tuple[str, ...]:
        return paddings(self.ndim)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs of another rank or number of channels, and those that the kernel does not fit into."""
        super().check_input(input_shape)
        self._geometry(input_shape)

    def _geometry(self, input_shape: Shape) -> Geometry:
        return geometry(
            f"{type(self).__name__} {self.path!r}",
            tuple(input_shape[:-1]),
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
        )

    def _add_kernel(self, name: str, shape: Shape, role: str) -> Any:
        """Make a kernel, by the initializer, regularizer and constraint of its role."""
        return self.add_weight(
            name,
            shape,
            getattr(self, f"{role}_initializer"),
            regularizer=getattr(self, f"{role}_regularizer"),
            constraint=getattr(self, f"{role}_constraint"),
        )

    def _add_bias(self, channels: int) -> Any:
        return self._add_kernel("bias", (channels,), "bias") if self.use_bias else None

    def _activated(self, y: Any) -> Any:
        return y if self.activation is functional.linear else self.activation(y)


class _Conv(_Windowed):
    """Convolution in as many axes of space as the subclass says."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        *,
        dilation_rate: Size = 1,
        groups: int = 1,
        activation: str | Callable[..., Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
            **options,
        )
        owner = type(self).__name__
        self.filters = positive_integer(owner, "filters", filters)
        self.groups = positive_integer(owner, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"{owner} expects groups to divide filters without rest, got {groups} and {filters}."
            )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse what the kernel does not fit, and channels that the groups do not divide."""
        super().check_input(input_shape)
        if input_shape[-1] % self.groups:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} has {self.groups} groups, which do not divide the "
                f"{input_shape[-1]} channels of an input of shape ({', '.join(['n', *map(str, input_shape)])}) "
                "without rest."
            )

    def build(self, input_shape: Shape) -> None:
        """Make kernel and bias for inputs of this many channels."""
        shape = (*self.kernel_size, input_shape[-1] // self.groups, self.filters)
        self.kernel = self._add_kernel("kernel", shape, "kernel")
        self.bias = self._add_bias(self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths that the windows leave, and the filters."""
        return (*self._geometry(input_shape).output, self.filters)

    def forward(self, x: Any) -> Any:
        """Convolve."""
        y = functional.conv(
            x,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )
        return self._activated(y)


class Conv1D(_Conv):  # numpydoc ignore=PR02
    r"""Convolution along time:  (n, t, c) -> (n, t', filters).

    .. math:: y_{n, o, j} = f\Bigl(b_j + \sum_{\tau, i} x_{n,\, s o + d \tau - p,\, i}\; W_{\tau, i, j}\Bigr)

    Parameters
    ----------
    filters, kernel_size, strides
        As in `Conv2D`, with one axis of space.
    padding : {"valid", "same", "causal"}, int or pair of int
        As in `Conv2D`. "causal" pads before the sequence alone, so that no output sees what comes after it.
    **options
        All other arguments of `Conv2D`.

    Attributes
    ----------
    kernel : Parameter of shape (kernel_size, c / groups, filters)
        W.
    bias : Parameter of shape (filters,), or None
        b.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Conv1D(4, 3, padding="causal")
    >>> layer(nn.get_backend("numpy").xp.ones((2, 10, 8))).shape
    (2, 10, 4)
    """

    expects = "t c"
    ndim = 1


class Conv2D(_Conv):  # numpydoc ignore=PR02
    r"""Convolution of images:  (n, h, w, c) -> (n, h', w', filters).

    .. math:: y_{n, o, j} = f\Bigl(b_j + \sum_{t, i} x_{n,\, s o + d t - p,\, i}\; W_{t, i, j}\Bigr)

    over the taps t of the kernel, with strides s, dilation d and padding p. The derivatives are those of
    `nnbackend.functional.conv` and of the activation.

    Parameters
    ----------
    filters : int
        How many channels come out.
    kernel_size : int or pair of int
        How many taps the kernel has, along both axes or each.
    strides : int or pair of int
        How far apart windows are.
    padding : {"valid", "same"}, int, or pair of int or of pairs of int
        "valid" pads nothing. "same" pads with zeros so that the output has length :math:`\lceil h / s \rceil`.
        Numbers are widths of the border: on all sides, for each axis, or as (before, after) for each.
    dilation_rate : int or pair of int
        How far apart the taps are.
    groups : int
        Into how many parts the channels are divided, each with filters of its own.
    activation : str or callable, optional
        :math:`f`; none leaves the output linear.
    use_bias : bool
        Whether there is a b.
    kernel_initializer, bias_initializer : str or Initializer
        First values of W and b.
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    kernel_constraint, bias_constraint : str or Constraint, optional
        Where they are put back to after each step.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    kernel : Parameter of shape (kh, kw, c / groups, filters)
        W, in Keras's order (..., in, out).
    bias : Parameter of shape (filters,), or None
        b.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be, `groups` does not divide filters and channels, or an input is smaller
        than the kernel and is not padded.

    Notes
    -----
    The first kernel is Glorot's uniform and the first bias zero, as in Keras; PyTorch draws both from
    :math:`U(-1/\sqrt n, 1/\sqrt n)` with n the number of inputs of one output. "same" with strides above 1 pads as
    TensorFlow and Keras do, the odd position at the end. Keras refuses strides together with dilation; here they are
    defined like anything else.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Conv2D(8, 3, strides=2, padding="same", activation="relu")
    >>> layer(nn.get_backend("numpy").xp.ones((2, 28, 28, 1))).shape
    (2, 14, 14, 8)
    """

    expects = "h w c"
    ndim = 2


class Conv3D(_Conv):  # numpydoc ignore=PR02
    r"""Convolution of volumes:  (n, d, h, w, c) -> (n, d', h', w', filters).

    .. math:: y_{n, o, j} = f\Bigl(b_j + \sum_{t, i} x_{n,\, s o + d t - p,\, i}\; W_{t, i, j}\Bigr)

    Parameters
    ----------
    filters, kernel_size, strides, padding
        As in `Conv2D`, with three axes of space.
    **options
        All other arguments of `Conv2D`.

    Attributes
    ----------
    kernel : Parameter of shape (kd, kh, kw, c / groups, filters)
        W.
    bias : Parameter of shape (filters,), or None
        b.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Conv3D(2, 3)(nn.get_backend("numpy").xp.ones((1, 5, 6, 7, 3))).shape
    (1, 3, 4, 5, 2)
    """

    expects = "d h w c"
    ndim = 3


class _DepthwiseConv(_Windowed):
    """Convolution of each channel on its own."""

    def __init__(
        self,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        depth_multiplier: int = 1,
        *,
        dilation_rate: Size = 1,
        activation: str | Callable[..., Any] | None = None,
        use_bias: bool = True,
        depthwise_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        depthwise_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        depthwise_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
            **options,
        )
        self.depth_multiplier = positive_integer(type(self).__name__, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)

    def build(self, input_shape: Shape) -> None:
        """Make kernel and bias for inputs of this many channels."""
        channels = input_shape[-1]
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self._add_kernel("kernel", shape, "depthwise")
        self.bias = self._add_bias(channels * self.depth_multiplier)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths that the windows leave, and what the multiplier makes of the channels."""
        return (*self._geometry(input_shape).output, input_shape[-1] * self.depth_multiplier)

    def forward(self, x: Any) -> Any:
        """Convolve channel by channel."""
        y = functional.depthwise_conv(
            x,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return self._activated(y)


class DepthwiseConv1D(_DepthwiseConv):  # numpydoc ignore=PR02
    r"""Convolution along time of each channel on its own:  (n, t, c) -> (n, t', c depth_multiplier).

    .. math:: y_{n, o, m i + q} = f\Bigl(b_{m i + q} + \sum_\tau x_{n,\, s o + d \tau - p,\, i}\; W_{\tau, i, q}\Bigr)

    Parameters
    ----------
    kernel_size, strides
        As in `DepthwiseConv2D`, with one axis of space.
    padding : {"valid", "same", "causal"}, int or pair of int
        As in `Conv1D`.
    **options
        All other arguments of `DepthwiseConv2D`.

    Attributes
    ----------
    kernel : Parameter of shape (kernel_size, c, depth_multiplier)
        W.
    bias : Parameter of shape (c depth_multiplier,), or None
        b.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.DepthwiseConv1D(3)(nn.get_backend("numpy").xp.ones((2, 10, 4))).shape
    (2, 8, 4)
    """

    expects = "t c"
    ndim = 1


class DepthwiseConv2D(_DepthwiseConv):  # numpydoc ignore=PR02
    r"""Convolution of each channel of images on its own:  (n, h, w, c) -> (n, h', w', c depth_multiplier).

    .. math:: y_{n, o, m i + q} = f\Bigl(b_{m i + q} + \sum_t x_{n,\, s o + d t - p,\, i}\; W_{t, i, q}\Bigr)

    Parameters
    ----------
    kernel_size, strides, padding
        As in `Conv2D`.
    depth_multiplier : int
        m, how many channels are made of each; they lie together.
    dilation_rate, activation, use_bias
        As in `Conv2D`.
    depthwise_initializer, bias_initializer : str or Initializer
        First values of W and b.
    depthwise_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    depthwise_constraint, bias_constraint : str or Constraint, optional
        Where they are put back to after each step.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    kernel : Parameter of shape (kh, kw, c, depth_multiplier)
        W, in Keras's order (..., in, multiplier).
    bias : Parameter of shape (c depth_multiplier,), or None
        b.

    Notes
    -----
    As in Keras the first kernel is Glorot's uniform for c kh kw inputs, though every output has only kh kw of them.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
    >>> layer(nn.get_backend("numpy").xp.ones((2, 8, 8, 4))).shape
    (2, 8, 8, 8)
    """

    expects = "h w c"
    ndim = 2


class _SeparableConv(_Windowed):
    """A depthwise convolution, then one over channels alone."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        *,
        dilation_rate: Size = 1,
        depth_multiplier: int = 1,
        activation: str | Callable[..., Any] | None = None,
        use_bias: bool = True,
        depthwise_initializer: Initializer = "glorot_uniform",
        pointwise_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        depthwise_regularizer: Regularizer = None,
        pointwise_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        depthwise_constraint: Constraint = None,
        pointwise_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
            **options,
        )
        owner = type(self).__name__
        self.filters = positive_integer(owner, "filters", filters)
        self.depth_multiplier = positive_integer(owner, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.pointwise_constraint = constraints.get(pointwise_constraint)

    def build(self, input_shape: Shape) -> None:
        """Make both kernels and the bias for inputs of this many channels."""
        channels = input_shape[-1]
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        pointwise = (*(1,) * self.ndim, channels * self.depth_multiplier, self.filters)
        self.depthwise_kernel = self._add_kernel("depthwise_kernel", depthwise, "depthwise")
        self.pointwise_kernel = self._add_kernel("pointwise_kernel", pointwise, "pointwise")
        self.bias = self._add_bias(self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths that the windows leave, and the filters."""
        return (*self._geometry(input_shape).output, self.filters)

    def forward(self, x: Any) -> Any:
        """Convolve in space, then over channels."""
        y = functional.separable_conv(
            x,
            self.depthwise_kernel,
            self.pointwise_kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return self._activated(y)


class SeparableConv1D(_SeparableConv):  # numpydoc ignore=PR02
    r"""Convolution along time in two steps, time and channels:  (n, t, c) -> (n, t', filters).

    .. math:: y = f(\operatorname{depthwise}(x, D)\, P + b)

    Parameters
    ----------
    filters, kernel_size, strides
        As in `SeparableConv2D`, with one axis of space.
    padding : {"valid", "same", "causal"}, int or pair of int
        As in `Conv1D`.
    **options
        All other arguments of `SeparableConv2D`.

    Attributes
    ----------
    depthwise_kernel : Parameter of shape (kernel_size, c, depth_multiplier)
        D.
    pointwise_kernel : Parameter of shape (1, c depth_multiplier, filters)
        P.
    bias : Parameter of shape (filters,), or None
        b.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.SeparableConv1D(5, 3)(nn.get_backend("numpy").xp.ones((2, 10, 4))).shape
    (2, 8, 5)
    """

    expects = "t c"
    ndim = 1


class SeparableConv2D(_SeparableConv):  # numpydoc ignore=PR02
    r"""Convolution of images in two steps, space and channels:  (n, h, w, c) -> (n, h', w', filters).

    .. math:: y = f(\operatorname{depthwise}(x, D)\, P + b)

    Parameters
    ----------
    filters : int
        How many channels come out.
    kernel_size, strides, padding, dilation_rate
        Those of the first step, as in `Conv2D`.
    depth_multiplier : int
        How many channels the first step makes of each.
    activation, use_bias
        As in `Conv2D`.
    depthwise_initializer, pointwise_initializer, bias_initializer : str or Initializer
        First values of D, P and b.
    depthwise_regularizer, pointwise_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    depthwise_constraint, pointwise_constraint, bias_constraint : str or Constraint, optional
        Where they are put back to after each step.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    depthwise_kernel : Parameter of shape (kh, kw, c, depth_multiplier)
        D.
    pointwise_kernel : Parameter of shape (1, 1, c depth_multiplier, filters)
        P.
    bias : Parameter of shape (filters,), or None
        b.

    References
    ----------
    F. Chollet, "Xception: deep learning with depthwise separable convolutions", 2016,
    https://arxiv.org/abs/1610.02357

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.SeparableConv2D(5, 3, padding="same")(nn.get_backend("numpy").xp.ones((2, 8, 8, 4))).shape
    (2, 8, 8, 5)
    """

    expects = "h w c"
    ndim = 2


class _ConvTranspose(_Windowed):
    """Transposed convolution in as many axes of space as the subclass says."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        output_padding: Size | None = None,
        *,
        dilation_rate: Size = 1,
        activation: str | Callable[..., Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
            **options,
        )
        owner = type(self).__name__
        self.filters = positive_integer(owner, "filters", filters)
        self.output_padding = output_padding
        # what is wrong with its options whatever the input
        transposed_geometry(
            owner,
            (1 << 30,) * self.ndim,
            self.kernel_size,
            self.strides,
            padding,
            output_padding,
            self.dilation_rate,
        )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def _paddings(self) -> tuple[str, ...]:
        return ("valid", "same")

    def _geometry(self, input_shape: Shape) -> Geometry:
        return transposed_geometry(
            f"{type(self).__name__} {self.path!r}",
            tuple(input_shape[:-1]),
            self.kernel_size,
            self.strides,
            self.padding,
            self.output_padding,
            self.dilation_rate,
        )

    def build(self, input_shape: Shape) -> None:
        """Make kernel and bias for inputs of this many channels."""
        self.kernel = self._add_kernel("kernel", (*self.kernel_size, self.filters, input_shape[-1]), "kernel")
        self.bias = self._add_bias(self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the lengths that strides and windows make, and the filters."""
        return (*self._geometry(input_shape).size, self.filters)

    def forward(self, x: Any) -> Any:
        """Convolve transposed."""
        y = functional.conv_transpose(
            x,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
        )
        return self._activated(y)


class Conv1DTranspose(_ConvTranspose):  # numpydoc ignore=PR02
    r"""Transposed convolution along time, which lengthens sequences:  (n, t, c) -> (n, t', filters).

    Parameters
    ----------
    filters, kernel_size, strides, padding, output_padding
        As in `Conv2DTranspose`, with one axis of space.
    **options
        All other arguments of `Conv2DTranspose`.

    Attributes
    ----------
    kernel : Parameter of shape (kernel_size, filters, c)
        W.
    bias : Parameter of shape (filters,), or None
        b.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Conv1DTranspose(3, 4, strides=2)(nn.get_backend("numpy").xp.ones((2, 5, 8))).shape
    (2, 12, 3)
    """

    expects = "t c"
    ndim = 1


class Conv2DTranspose(_ConvTranspose):  # numpydoc ignore=PR02
    r"""Transposed convolution of images, which enlarges them:  (n, h, w, c) -> (n, h', w', filters).

    .. math:: y_{n, q, i} = f\Bigl(b_i + \sum_{o, t:\, s o + d t - p = q} \; \sum_j x_{n, o, j}\; W_{t, i, j}\Bigr)

    It is the gradient of a `Conv2D` with respect to its input, and leads from its output's shape to its input's.

    Parameters
    ----------
    filters : int
        How many channels come out.
    kernel_size : int or pair of int
        How many taps the kernel has, along both axes or each.
    strides : int or pair of int
        By how much the output is longer than the input.
    padding : {"valid", "same"}, int, or pair of int or of pairs of int
        "valid" cuts nothing off, "same" makes the output s times as long as the input. Numbers are the widths that are
        cut off, as in `nnbackend.functional.conv_transpose`.
    output_padding : int or pair of int, optional
        How much longer than the shortest the output is; below the strides.
    dilation_rate : int or pair of int
        How far apart the taps are.
    activation, use_bias
        As in `Conv2D`.
    kernel_initializer, bias_initializer : str or Initializer
        First values of W and b.
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    kernel_constraint, bias_constraint : str or Constraint, optional
        Where they are put back to after each step.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    kernel : Parameter of shape (kh, kw, filters, c)
        W, in Keras's order (..., out, in): the kernel of the convolution that this is the transpose of.
    bias : Parameter of shape (filters,), or None
        b.

    Notes
    -----
    Lengths are Keras's: without `output_padding` they are :math:`(h - 1) s + \max(r, s)` for "valid" and
    :math:`h s` for "same", with the kernel's reach :math:`r = d (k - 1) + 1`; PyTorch takes 0 for it. Keras refuses
    strides together with dilation, which is allowed here.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Conv2DTranspose(3, 4, strides=2, padding="same")
    >>> layer(nn.get_backend("numpy").xp.ones((2, 7, 7, 8))).shape
    (2, 14, 14, 3)
    """

    expects = "h w c"
    ndim = 2


class Conv3DTranspose(_ConvTranspose):  # numpydoc ignore=PR02
    r"""Transposed convolution of volumes, which enlarges them:  (n, d, h, w, c) -> (n, d', h', w', filters).

    Parameters
    ----------
    filters, kernel_size, strides, padding, output_padding
        As in `Conv2DTranspose`, with three axes of space.
    **options
        All other arguments of `Conv2DTranspose`.

    Attributes
    ----------
    kernel : Parameter of shape (kd, kh, kw, filters, c)
        W.
    bias : Parameter of shape (filters,), or None
        b.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Conv3DTranspose(2, 2, strides=2)(nn.get_backend("numpy").xp.ones((1, 2, 3, 4, 3))).shape
    (1, 4, 6, 8, 2)
    """

    expects = "d h w c"
    ndim = 3
