"""Activations as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnbackend import activations, constraints, functional, initializers, regularizers
from nnbackend.arguments import shown
from nnbackend.layers.axes import check_axis, sample_axis
from nnbackend.layers.base import Layer
from nnbackend.layers.masks import mask_as_booleans
from nnbackend.typing import Shape

__all__ = ["ELU", "GLU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax"]

_OF_LAYERS = ("name", "dtype", "trainable", "activity_regularizer")


class Activation(Layer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : str or callable
        Its name, or a function of arrays.
    **options
        Options of the activation, such as ``negative_slope=0.1`` for ``"leaky_relu"``; ``name`` and ``dtype`` of
        `Layer`.

    Raises
    ------
    TypeError
        If the activation has no such option.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Activation("relu")(nn.get_backend("numpy").xp.asarray([[-1.0, 2.0]]))
    array([[0., 2.]], dtype=float32)
    >>> nn.Activation("elu", alpha=0.5)(nn.get_backend("numpy").xp.asarray([[-1e4, 2.0]]))
    array([[-0.5,  2. ]], dtype=float32)
    """

    passes_mask = True

    def __init__(self, activation: str | Callable[..., Any], **options: Any) -> None:
        of_layer = {name: options.pop(name) for name in _OF_LAYERS if name in options}
        super().__init__(**of_layer)
        self.activation = activations.get(activation, **options)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape; where the function is not one of ours, that of trying it out."""
        function = getattr(self.activation, "function", self.activation)
        if (
            function is functional.glu
            or getattr(functional, getattr(function, "__name__", ""), None) is not function
        ):
            shape: Shape = super().compute_output_shape(input_shape)
            return shape
        return input_shape

    def forward(self, x: Any) -> Any:
        """Apply the activation."""
        return self.activation(x)


class ReLU(Layer):
    r"""Rectified linear unit, with an upper bound, a slope below and a threshold.

    .. math:: y = \min(b,\; x \text{ for } x > t, \text{ else } s (x - t))

    Parameters
    ----------
    max_value : float, optional
        The upper bound :math:`b`; none without it.
    negative_slope : float
        :math:`s`, the slope below the threshold.
    threshold : float
        :math:`t`, from where on the input passes.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If one of them is negative.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.ReLU(max_value=4.0)(nn.get_backend("numpy").xp.asarray([[-1.0, 2.0, 9.0]]))
    array([[0., 2., 4.]], dtype=float32)
    """

    passes_mask = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else _not_negative("ReLU", "max_value", max_value)
        self.negative_slope = _not_negative("ReLU", "negative_slope", negative_slope)
        self.threshold = _not_negative("ReLU", "threshold", threshold)
        if self.max_value is not None and self.max_value < self.threshold:
            raise ValueError(
                f"ReLU expects max_value to be at least the threshold {self.threshold}, got {self.max_value}."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any) -> Any:
        """Rectify."""
        return functional.relu(
            x, negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )


class LeakyReLU(Layer):
    r"""Rectified linear unit that leaks:  y = x above zero, else s x.

    Parameters
    ----------
    negative_slope : float
        :math:`s`.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `negative_slope` is negative.

    Notes
    -----
    The slope is 0.3 without a word, as in Keras's layer; ``"leaky_relu"`` by name takes 0.2, and PyTorch 0.01.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.LeakyReLU(0.5)(nn.get_backend("numpy").xp.asarray([[-1.0, 2.0]]))
    array([[-0.5,  2. ]], dtype=float32)
    """

    passes_mask = True

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = _not_negative("LeakyReLU", "negative_slope", negative_slope)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any) -> Any:
        """Rectify."""
        return functional.leaky_relu(x, negative_slope=self.negative_slope)


class PReLU(Layer):
    r"""Rectified linear unit whose slopes below zero are learned:  y = x above zero, else alpha x.

    Parameters
    ----------
    alpha_initializer : str or Initializer
        First values of :math:`\alpha`.
    alpha_regularizer : str or Regularizer, optional
        A penalty on it.
    alpha_constraint : str or Constraint, optional
        What holds after each training step, such as ``"non_neg"``.
    shared_axes : int or sequence of int, optional
        Axes along which one slope serves all, such as (1, 2) for images, where each channel then has one; counted
        with the axis of samples.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    alpha : Parameter
        Shaped like a sample, with length one along the shared axes.

    Raises
    ------
    ValueError
        If a shared axis is that of samples or does not exist, or an input has another shape than the first.

    Notes
    -----
    The first slope is 0 and each element has its own, as in Keras; PyTorch begins with 0.25 and one slope for all.

    References
    ----------
    K. He et al., "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.PReLU(nn.initializers.Constant(0.25))
    >>> layer(nn.get_backend("numpy").xp.asarray([[-1.0, 2.0]]))
    array([[-0.25,  2.  ]], dtype=float32)
    """

    passes_mask = True

    def __init__(
        self,
        alpha_initializer: str | initializers.Initializer = "zeros",
        alpha_regularizer: str | regularizers.Regularizer | None = None,
        alpha_constraint: str | constraints.Constraint | None = None,
        shared_axes: int | Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        axes = () if shared_axes is None else (shared_axes,) if isinstance(shared_axes, int) else shared_axes
        self.shared_axes = tuple(check_axis("PReLU", axis) for axis in axes)

    def _shared(self, input_shape: Shape) -> set[int]:
        return {sample_axis(self, axis, input_shape) for axis in self.shared_axes}

    def check_input(self, input_shape: Shape) -> None:
        """Refuse samples of another shape than that of the slopes, but along shared axes."""
        super().check_input(input_shape)
        shared = self._shared(input_shape)
        if not self.built:
            return
        first: Shape = self.input_shape
        fits = len(first) == len(input_shape) and all(
            axis in shared or size == input_shape[axis] for axis, size in enumerate(first)
        )
        if not fits:
            raise ValueError(
                f"PReLU {self.path!r} was built for inputs of shape {shown(first)}, got {shown(input_shape)}. Name "
                "the axes whose length may vary in shared_axes."
            )

    def build(self, input_shape: Shape) -> None:
        """Make the slopes."""
        shared = self._shared(input_shape)
        shape = tuple(1 if axis in shared else size for axis, size in enumerate(input_shape))
        self.alpha = self.add_weight(
            "alpha",
            shape,
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any) -> Any:
        """Rectify."""
        return functional.prelu(x, self.alpha)


class ELU(Layer):
    r"""Exponential linear unit:  y = x above zero, else alpha (exp(x) - 1).

    Parameters
    ----------
    alpha : float
        :math:`\alpha`, minus the limit far below zero.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.ELU(0.5)(nn.get_backend("numpy").xp.asarray([[-1e4, 2.0]]))
    array([[-0.5,  2. ]], dtype=float32)
    """

    passes_mask = True

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = float(alpha)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any) -> Any:
        """Apply the function."""
        return functional.elu(x, alpha=self.alpha)


class GLU(Layer):
    r"""Gated linear unit:  the first half of an axis times the logistic function of the second.

    Parameters
    ----------
    axis : int
        The axis that is halved, counted with the axis of samples.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If the axis is that of samples, does not exist, or has an odd length.

    References
    ----------
    Y. N. Dauphin et al., "Language modeling with gated convolutional networks", ICML 2017, arXiv:1612.08083.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GLU()(nn.get_backend("numpy").xp.asarray([[1.0, 2.0, 0.0, 1e4]]))
    array([[0.5, 2. ]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = check_axis("GLU", axis)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse an axis of odd length."""
        super().check_input(input_shape)
        place = sample_axis(self, self.axis, input_shape)
        if input_shape[place] % 2:
            raise ValueError(
                f"GLU {self.path!r} expects inputs whose axis {self.axis} has an even length, got "
                f"{shown(input_shape)}. Make the layer before it twice as wide as the output."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with the axis halved."""
        place = sample_axis(self, self.axis, input_shape)
        return (*input_shape[:place], input_shape[place] // 2, *input_shape[place + 1 :])

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Pass the mask on where the axis of steps is not the one that is halved."""
        return None if mask is None or sample_axis(self, self.axis, tuple(x.shape[1:])) == 0 else mask

    def forward(self, x: Any) -> Any:
        """Gate."""
        return functional.glu(x, axis=self.axis)


class Softmax(Layer):
    r"""Probabilities from logits, with zeros where a mask says so.

    .. math:: y_i = \frac{m_i e^{x_i}}{\sum_j m_j e^{x_j}}

    Parameters
    ----------
    axis : int
        The axis along which the sum is 1, counted with the axis of samples.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If the axis is that of samples or does not exist, or a mask does not fit.

    Notes
    -----
    Called with ``mask=``, an array of the input's shape or of its first axes, as the mask (n, t) of a sequence is,
    boolean or of numbers, which count where they are not zero: what it excludes has probability 0, and all have where
    it excludes all. (Keras adds a large negative number there, so that a row without anything valid is spread over
    what is not.)

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Softmax()(xp.asarray([[0.0, 0.0, 1e4]]), mask=xp.asarray([[True, True, False]]))
    array([[0.5, 0.5, 0. ]], dtype=float32)
    """

    passes_mask = True

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = check_axis("Softmax", axis)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs without that axis."""
        super().check_input(input_shape)
        sample_axis(self, self.axis, input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any, *, mask: Any = None) -> Any:
        """Apply the function."""
        if mask is None:
            return functional.softmax(x, axis=self.axis)
        lead = tuple(mask.shape)
        if lead != tuple(x.shape[: len(lead)]):
            raise ValueError(
                f"Softmax {self.path!r} expects a mask of the shape of its input or of its first axes, for an input of "
                f"shape {tuple(x.shape)}, got {lead}."
            )
        valid = functional.reshape(mask_as_booleans(mask), (*lead, *(1,) * (x.ndim - len(lead))))
        last = functional.moveaxis(functional.broadcast_to(valid, tuple(x.shape)), self.axis, -1)
        y = functional.masked_softmax(functional.moveaxis(x, self.axis, -1), last)
        return functional.moveaxis(y, -1, self.axis)


def _not_negative(owner: str, name: str, value: float) -> float:
    if not value >= 0.0:
        raise ValueError(f"{owner} expects {name} to be at least 0, got {value}.")
    return float(value)
