"""Layers that disturb their input in training, and pass it as it is otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.layers.base import Layer, cast
from nnbackend.random import Stream
from nnbackend.typing import Array, Shape

__all__ = [
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]


def _share(owner: str, rate: float) -> float:
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"{owner} expects a rate from 0 to below 1, the share that is dropped, got {rate}.")
    return float(rate)


class _Noise(Layer):
    """A layer of the input's shape that does nothing outside of training."""

    passes_mask = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape


class _Dropping(_Noise):
    """A layer that draws a mask of what is kept."""

    def __init__(self, rate: float, noise_shape: Sequence[int | None] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate = _share(type(self).__name__, rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs to which the noise's shape does not broadcast."""
        super().check_input(input_shape)
        if self.noise_shape is None:
            return
        fits = len(self.noise_shape) == len(input_shape) + 1 and all(
            wanted in (None, 1, size) for wanted, size in zip(self.noise_shape[1:], input_shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects inputs that noise of shape {self.noise_shape} fits, got "
                f"{shown(input_shape)}. Write None for the axes that are the input's, 1 for those that share one draw."
            )

    def draw_mask(self, x: Any) -> Array:
        """Return a boolean mask for an input: True with probability 1 - rate."""
        shape = tuple(x.shape)
        if self.noise_shape is not None:
            shape = tuple(
                size if wanted is None else wanted
                for wanted, size in zip(self.noise_shape, shape, strict=True)
            )
        return self.random("mask").keep(shape, self.rate)


class Dropout(_Dropping):  # numpydoc ignore=PR02
    r"""Set a random share of the inputs to zero in training, and scale up the rest.

    .. math:: y = \frac{m \odot x}{1 - r}, \qquad m_i \sim \mathrm{Bernoulli}(1 - r), \qquad
              \frac{\partial L}{\partial x} = \frac{m}{1 - r} \odot \frac{\partial L}{\partial y}

    Outside of training the input passes as it is.

    Parameters
    ----------
    rate : float
        :math:`r`, the share dropped; from 0 to below 1. (The book's rate is the share kept at one point; here it is
        always the share dropped.)
    noise_shape : sequence of int or None, optional
        The shape of the mask, the axis of samples included: None where it is the input's, 1 where one draw serves a
        whole axis. (None, 1, None) drops whole features of a sequence.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1), or the noise's shape does not fit the input's.

    Notes
    -----
    The mask has the same bits on every backend: it is drawn from the model's seed, so there is no ``seed`` argument.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.Dropout(0.5)(nn.get_backend("numpy").xp.ones((1, 4)), training=True)
    array([[2., 2., 0., 0.]], dtype=float32)
    """

    def forward(self, x: Any, *, training: bool = False) -> Any:
        """Drop, in training."""
        if not training or self.rate == 0.0:
            return x
        return functional.dropout(x, self.draw_mask(x), rate=self.rate)


class _SpatialDropout(Dropout):
    def __init__(self, rate: float, **options: Any) -> None:
        if "noise_shape" in options:
            raise TypeError(
                f"{type(self).__name__} has no argument 'noise_shape': all places of a channel share one draw. For "
                "other shapes take nn.Dropout(rate, noise_shape)."
            )
        space = len(self.expects.split()) - 1
        super().__init__(rate, (None, *(1,) * space, None), **options)


class SpatialDropout1D(_SpatialDropout):  # numpydoc ignore=PR02
    """Drop whole features of a sequence in training:  one draw for all steps of a channel.

    Neighbouring steps are alike, so that dropping single ones would take little away.

    Parameters
    ----------
    rate : float
        The share of channels dropped; the others are scaled up by 1 / (1 - rate).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1), or inputs are not of shape (n, t, c).

    Notes
    -----
    PyTorch's ``Dropout1d`` does the same with channels first.

    References
    ----------
    J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, arXiv:1411.4280.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.SpatialDropout1D(0.5)(nn.get_backend("numpy").xp.ones((1, 2, 3)), training=True)
    array([[[2., 0., 0.],
            [2., 0., 0.]]], dtype=float32)
    """

    expects = "t c"


class SpatialDropout2D(_SpatialDropout):  # numpydoc ignore=PR02
    """Drop whole channels of images in training:  one draw for all places of a channel.

    Parameters
    ----------
    rate : float
        The share of channels dropped; the others are scaled up by 1 / (1 - rate).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1), or inputs are not of shape (n, h, w, c).

    Notes
    -----
    PyTorch's ``Dropout2d`` does the same with channels first.

    References
    ----------
    J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, arXiv:1411.4280.

    Examples
    --------
    >>> import nnbackend as nn
    >>> y = nn.SpatialDropout2D(0.5)(nn.get_backend("numpy").xp.ones((1, 4, 4, 3)), training=True)
    >>> y[0, :, :, 1]
    array([[2., 2., 2., 2.],
           [2., 2., 2., 2.],
           [2., 2., 2., 2.],
           [2., 2., 2., 2.]], dtype=float32)
    """

    expects = "h w c"


class SpatialDropout3D(_SpatialDropout):  # numpydoc ignore=PR02
    """Drop whole channels of volumes in training:  one draw for all places of a channel.

    Parameters
    ----------
    rate : float
        The share of channels dropped; the others are scaled up by 1 / (1 - rate).
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1), or inputs are not of shape (n, d, h, w, c).

    Notes
    -----
    PyTorch's ``Dropout3d`` does the same with channels first.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.SpatialDropout3D(0.5)(nn.get_backend("numpy").xp.ones((1, 4, 4, 4, 3)), training=True).shape
    (1, 4, 4, 4, 3)
    """

    expects = "d h w c"


class AlphaDropout(_Dropping):  # numpydoc ignore=PR02
    r"""Set a random share of the inputs to what SELU gives far below zero, and keep mean and variance.

    .. math:: y = a\, (x\, m + \alpha' (1 - m)) + b, \qquad m_i \sim \mathrm{Bernoulli}(1 - r), \qquad
              a = \left((1 - r)(1 + r\, \alpha'^2)\right)^{-1/2}, \quad b = -a\, r\, \alpha'

    with :math:`\alpha' = -1.7581`: inputs of mean 0 and variance 1 keep both. Outside of training the input passes as
    it is. The derivative is that of `nnbackend.functional.alpha_dropout`.

    Parameters
    ----------
    rate : float
        :math:`r`, the share dropped; from 0 to below 1.
    noise_shape : sequence of int or None, optional
        The shape of the mask, as in `Dropout`.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1), or the noise's shape does not fit the input's.

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.AlphaDropout(0.5)(nn.get_backend("numpy").xp.zeros((1, 4)), training=True)
    array([[ 0.77919394,  0.77919394,  0.77919394, -0.7791938 ]],
          dtype=float32)
    """

    def forward(self, x: Any, *, training: bool = False) -> Any:
        """Drop, in training."""
        if not training or self.rate == 0.0:
            return x
        return functional.alpha_dropout(x, self.draw_mask(x), rate=self.rate)


class GaussianNoise(_Noise):
    r"""Add normal noise in training.

    .. math:: y = x + \sigma\, \epsilon, \qquad \epsilon_i \sim \mathcal N(0, 1), \qquad
              \frac{\partial y}{\partial x} = 1

    Parameters
    ----------
    stddev : float
        :math:`\sigma`, the standard deviation of the noise; not negative.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `stddev` is negative.

    Notes
    -----
    The noise is the same on every backend, but for the last digits that libraries' logarithms and cosines differ in.

    References
    ----------
    C. M. Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7 (1995).

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GaussianNoise(0.1)(nn.get_backend("numpy").xp.ones((1, 2)), training=True).shape
    (1, 2)
    """

    def __init__(self, stddev: float, **options: Any) -> None:
        super().__init__(**options)
        if not stddev >= 0.0:
            raise ValueError(f"GaussianNoise expects stddev to be at least 0, got {stddev}.")
        self.stddev = float(stddev)

    def forward(self, x: Any, *, training: bool = False) -> Any:
        """Add noise, in training."""
        if not training or self.stddev == 0.0:
            return x
        return x + _normal(self.random("noise"), x, 0.0, self.stddev)


class GaussianDropout(_Noise):
    r"""Multiply by normal noise around 1 in training.

    .. math:: y = x \odot \epsilon, \qquad \epsilon_i \sim \mathcal N\left(1, \frac{r}{1 - r}\right), \qquad
              \frac{\partial y}{\partial x} = \epsilon

    Mean and variance are those of dropout with the rate r.

    Parameters
    ----------
    rate : float
        :math:`r`, the share that dropout would drop; from 0 to below 1.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If `rate` is outside of [0, 1).

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), 10.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GaussianDropout(0.5)(nn.get_backend("numpy").xp.ones((1, 2)), training=True).shape
    (1, 2)
    """

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate = _share("GaussianDropout", rate)

    def forward(self, x: Any, *, training: bool = False) -> Any:
        """Multiply by noise, in training."""
        if not training or self.rate == 0.0:
            return x
        deviation = math.sqrt(self.rate / (1.0 - self.rate))
        return x * _normal(self.random("noise"), x, 1.0, deviation)


def _normal(stream: Stream, x: Any, mean: float, deviation: float) -> Any:
    """Draw a normal number for each element, in its dtype."""
    dtype = str(x.dtype).rpartition(".")[2]
    drawn = stream.normal(tuple(x.shape), mean, deviation, "float64" if dtype == "float64" else "float32")
    return cast(drawn, dtype)
