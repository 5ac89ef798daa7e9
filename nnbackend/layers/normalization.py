"""Normalisation layers: batch, layer, group, instance, RMS, unit and spectral, and one that adapts to data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nnbackend import constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.autodiff import Operators
from nnbackend.backend import Backend, backend_of, get_backend, host, is_array, plain, to_numpy, use_backend
from nnbackend.layers.base import Binding, Layer, Masked, Parameter, current_binding, unbound
from nnbackend.random import Stream
from nnbackend.typing import Array, Shape

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Normalization",
    "RMSNormalization",
    "SpectralNormalization",
    "UnitNormalization",
]


class _OverAxes(Layer):
    """What treats some axes of its inputs apart, whose lengths stay what they were when it was built."""

    passes_mask = True
    computes_wide = True
    takes_rows = True
    axis: Any

    def _axes(self, input_shape: Shape) -> tuple[int, ...]:
        """Return the axes in order, counted with that of samples."""
        ndim = len(input_shape) + 1
        given = tuple(self.axis) if isinstance(self.axis, (list, tuple)) else (self.axis,)
        axes = tuple(sorted({number % ndim for number in given if -ndim <= number < ndim}))
        if not axes or len(axes) != len(given) or axes[0] == 0:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects inputs that have the axis {self.axis} besides that of "
                f"samples, got shape ({', '.join(['n', *map(str, input_shape)])}). Check the layer before it."
            )
        return axes

    def _lengths(self, input_shape: Shape) -> Shape:
        return tuple(input_shape[axis - 1] for axis in self._axes(input_shape))

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs without the axes, or with other lengths on them than before."""
        super().check_input(input_shape)
        lengths = self._lengths(input_shape)
        if self.built and self.input_shape is not None and lengths != self._lengths(self.input_shape):
            raise ValueError(
                f"{type(self).__name__} {self.path!r} was built for inputs of {self._lengths(self.input_shape)} on the "
                f"axis {self.axis}, got shape ({', '.join(['n', *map(str, input_shape)])}). Check the layer before it."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)


def _axis_of(owner: str, axis: Any) -> int | tuple[int, ...]:
    """Return an axis as a number, several as a tuple."""
    given = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if not given or any(isinstance(number, bool) or not isinstance(number, int) for number in given):
        raise TypeError(f"{owner} expects axis to be a whole number or several, got {axis!r}.")
    return given if isinstance(axis, (list, tuple)) else given[0]


def _epsilon_of(owner: str, epsilon: float) -> float:
    if not 0.0 <= epsilon < math.inf:
        raise ValueError(f"{owner} expects an epsilon of zero or more, got {epsilon}.")
    return float(epsilon)


class _Scaled(_OverAxes):
    """What is scaled by gamma and shifted by beta after it is normalised."""

    gamma: Any
    beta: Any

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: str | regularizers.Regularizer | None = None,
        gamma_regularizer: str | regularizers.Regularizer | None = None,
        beta_constraint: str | constraints.Constraint | None = None,
        gamma_constraint: str | constraints.Constraint | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.axis = _axis_of(owner, axis)
        self.epsilon = _epsilon_of(owner, epsilon)
        self.center = bool(center)
        self.scale = bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def build(self, input_shape: Shape) -> None:
        """Make gamma and beta, of the lengths of the axes."""
        shape = self._lengths(input_shape)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                "gamma",
                shape,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = self.add_weight(
                "beta",
                shape,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )


class _OverOneAxis(_Scaled):
    """What has one axis of channels."""

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(axis, epsilon, center, scale, **options)
        if not isinstance(self.axis, int):
            raise TypeError(f"{type(self).__name__} expects one axis of channels, got {axis!r}.")


class BatchNormalization(_OverOneAxis):
    r"""Normalise each channel over the batch in training, and by running statistics otherwise.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad
              \bar\mu \leftarrow m \bar\mu + (1 - m) \mu, \quad
              \bar\sigma^2 \leftarrow m \bar\sigma^2 + (1 - m) \sigma^2

    In training :math:`\mu` and :math:`\sigma^2` are the batch's, of all axes but that of the channels; otherwise the
    running ones, :math:`\bar\mu` and :math:`\bar\sigma^2`, stand for them. The derivatives are those of
    `nnbackend.functional.standardize`.

    Parameters
    ----------
    axis : int
        The axis of the channels.
    momentum : float
        m, the weight of the old value in the running statistics. (PyTorch's momentum is the weight of the new one.)
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a :math:`\beta`, and a :math:`\gamma`.
    beta_initializer, gamma_initializer : str or Initializer
        Their first values.
    moving_mean_initializer, moving_variance_initializer : str or Initializer
        First values of the running statistics.
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
        Penalties on :math:`\beta` and :math:`\gamma`.
    beta_constraint, gamma_constraint : str or Constraint, optional
        What brings them back to what is allowed after each update.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    gamma, beta : Parameter of shape (c,), or None
        Scale and offset.
    moving_mean, moving_variance : Parameter of shape (c,)
        The running statistics, which no gradient changes.

    Raises
    ------
    ValueError
        If an argument or the shape of an input does not fit.

    Notes
    -----
    As in Keras, the running variance is that of the batch, divided by n (PyTorch divides by n - 1), and epsilon and
    momentum are 1e-3 and 0.99 (PyTorch's 1e-5 and 0.1, which is 0.9 here). With ``trainable=False`` on the layer, or on
    one around it, it computes as outside of training and its statistics stay as they are.

    A ``mask`` of shape (n, t) leaves steps out of the statistics; all steps are normalised. Where it holds nothing, or
    the batch is empty, the running statistics stay.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015, arXiv:1502.03167.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.BatchNormalization(momentum=0.5, epsilon=0.0)
    >>> layer(nn.get_backend("numpy").xp.asarray([[1.0], [3.0]]), training=True)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.moving_mean.numpy()
    array([1.], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        moving_mean_initializer: str | initializers.Initializer = "zeros",
        moving_variance_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: str | regularizers.Regularizer | None = None,
        gamma_regularizer: str | regularizers.Regularizer | None = None,
        beta_constraint: str | constraints.Constraint | None = None,
        gamma_constraint: str | constraints.Constraint | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            axis,
            epsilon,
            center,
            scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **options,
        )
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"BatchNormalization expects a momentum from 0 to 1, got {momentum}.")
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Shape) -> None:
        """Make gamma, beta and the running statistics, one number for each channel."""
        super().build(input_shape)
        shape = self._lengths(input_shape)
        self.moving_mean = self.add_weight(
            "moving_mean", shape, self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", shape, self.moving_variance_initializer, trainable=False
        )

    def forward(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """Normalise; in training, take the batch's statistics and let the running ones follow."""
        if not (training and self.is_trained):
            return functional.batch_norm_inference(
                x,
                self.moving_mean,
                self.moving_variance,
                self.gamma,
                self.beta,
                axis=self.axis,
                epsilon=self.epsilon,
            )
        y, mean, variance = functional.batch_norm(
            x, self.gamma, self.beta, mask, axis=self.axis, epsilon=self.epsilon
        )
        if x.size:
            self._follow(self.moving_mean, mean, mask)
            self._follow(self.moving_variance, variance, mask)
        return y

    def _follow(self, running: Parameter, value: Any, mask: Any) -> None:
        """Bring a running statistic nearer to that of the batch."""
        new = running + (value.detach() - running) * (1.0 - self.momentum)
        running.assign(new if mask is None else functional.where(functional.any(mask), new, running))


class LayerNormalization(_Scaled):  # numpydoc ignore=PR02
    r"""Normalise each sample over its features.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with mean and variance over the axes. The derivatives are those of `nnbackend.functional.standardize`.

    Parameters
    ----------
    axis : int or sequence of int
        The axes of the features.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a :math:`\beta`, and a :math:`\gamma`.
    beta_initializer, gamma_initializer : str or Initializer
        Their first values.
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
        Penalties on them.
    beta_constraint, gamma_constraint : str or Constraint, optional
        What brings them back to what is allowed after each update.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    gamma, beta : Parameter of shape (c,), or the lengths of the axes, or None
        Scale and offset.

    Raises
    ------
    ValueError
        If an argument or the shape of an input does not fit.

    Notes
    -----
    Epsilon is 1e-3, as in Keras; PyTorch's is 1e-5.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.LayerNormalization(epsilon=0.0)(nn.get_backend("numpy").xp.asarray([[1.0, 3.0]]))
    array([[-1.,  1.]], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        """Normalise over the axes."""
        return functional.layer_norm(x, self.gamma, self.beta, axis=self.axis, epsilon=self.epsilon)


class GroupNormalization(_OverOneAxis):
    r"""Normalise each sample over groups of channels and all places.

    .. math:: y = \gamma \frac{x - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}} + \beta

    The derivatives are those of `nnbackend.functional.standardize`.

    Parameters
    ----------
    groups : int
        How many groups; it divides the number of channels. 1 takes all channels together, -1 each alone, which is
        `InstanceNormalization`.
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a :math:`\beta`, and a :math:`\gamma`.
    **options
        Initializers, regularizers and constraints of :math:`\beta` and :math:`\gamma` as for `LayerNormalization`;
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    gamma, beta : Parameter of shape (c,), or None
        Scale and offset.

    Raises
    ------
    ValueError
        If `groups` does not divide the number of channels, or another argument does not fit.

    Notes
    -----
    Epsilon is 1e-3, as in Keras; PyTorch's is 1e-5.

    References
    ----------
    Y. Wu, K. He, "Group normalization", ECCV 2018, arXiv:1803.08494.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.GroupNormalization(groups=2, epsilon=0.0)
    >>> layer(nn.get_backend("numpy").xp.asarray([[1.0, 3.0, 10.0, 30.0]]))
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(axis, epsilon, center, scale, **options)
        self.groups = groups if groups == -1 else positive_integer("GroupNormalization", "groups", groups)

    def check_input(self, input_shape: Shape) -> None:
        """Refuse channels that the groups do not divide."""
        super().check_input(input_shape)
        (channels,) = self._lengths(input_shape)
        if self.groups != -1 and channels % self.groups:
            raise ValueError(
                f"GroupNormalization {self.path!r} expects a number of channels that {self.groups} groups divide, got "
                f"{channels} in shape ({', '.join(['n', *map(str, input_shape)])}). Choose other groups."
            )

    def forward(self, x: Any) -> Any:
        """Normalise over groups."""
        groups = x.shape[self.axis] if self.groups == -1 else self.groups
        return functional.group_norm(
            x, self.gamma, self.beta, groups=groups, axis=self.axis, epsilon=self.epsilon
        )


class InstanceNormalization(_OverOneAxis):  # numpydoc ignore=PR02
    r"""Normalise each channel of each sample over its places.

    .. math:: y = \gamma \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta

    The derivatives are those of `nnbackend.functional.standardize`.

    Parameters
    ----------
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance.
    **options
        ``center``, ``scale``, initializers, regularizers and constraints of :math:`\beta` and :math:`\gamma` as for
        `LayerNormalization`; ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    gamma, beta : Parameter of shape (c,), or None
        Scale and offset.

    Raises
    ------
    ValueError
        If an argument or the shape of an input does not fit.

    Notes
    -----
    It is `GroupNormalization` with one channel in a group. PyTorch's has no scale and offset unless told
    ``affine=True``, and an epsilon of 1e-5.

    References
    ----------
    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization: the missing ingredient for fast stylization", 2016,
    arXiv:1607.08022.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0, 10.0], [3.0, 30.0]]])
    >>> nn.InstanceNormalization(epsilon=0.0)(x)
    array([[[-1., -1.],
            [ 1.,  1.]]], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        """Normalise each channel."""
        return functional.instance_norm(x, self.gamma, self.beta, axis=self.axis, epsilon=self.epsilon)


class RMSNormalization(_OverAxes):
    r"""Divide each sample by the root mean square of its features.

    .. math:: y = \gamma \frac{x}{\sqrt{\frac1n \sum_i x_i^2 + \epsilon}}

    The derivatives are those of `nnbackend.functional.rms_norm`.

    Parameters
    ----------
    axis : int or sequence of int
        The axes of the features.
    epsilon : float
        Added to the mean square.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    scale : Parameter of shape (c,), or the lengths of the axes
        :math:`\gamma`, by Keras's name; ones at first.

    Raises
    ------
    ValueError
        If an argument or the shape of an input does not fit.

    Notes
    -----
    Epsilon is 1e-6, as in Keras; PyTorch's is the spacing of the dtype at 1.

    References
    ----------
    B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019, arXiv:1910.07467.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.RMSNormalization(epsilon=0.0)(nn.get_backend("numpy").xp.asarray([[1.0, 7.0]]))
    array([[0.2, 1.4]], dtype=float32)
    """

    scale: Any

    def __init__(self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(**options)
        self.axis = _axis_of("RMSNormalization", axis)
        self.epsilon = _epsilon_of("RMSNormalization", epsilon)

    def build(self, input_shape: Shape) -> None:
        """Make the scale, of the lengths of the axes."""
        self.scale = self.add_weight("scale", self._lengths(input_shape), "ones")

    def forward(self, x: Any) -> Any:
        """Divide, and scale."""
        return functional.rms_norm(x, self.scale, axis=self.axis, epsilon=self.epsilon)


class UnitNormalization(_OverAxes):
    r"""Divide each sample by the Euclidean length of its features.

    .. math:: y = \frac{x}{\max(\lVert x \rVert, 10^{-12})}

    The derivative is that of `nnbackend.functional.unit_norm`.

    Parameters
    ----------
    axis : int or sequence of int
        The axes over which the length is taken.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If an input has no such axis.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.UnitNormalization()(nn.get_backend("numpy").xp.asarray([[3.0, 4.0]]))
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = _axis_of("UnitNormalization", axis)

    def forward(self, x: Any) -> Any:
        """Divide."""
        return functional.unit_norm(x, axis=self.axis)


class _Alone(Binding):
    """A run of one layer outside of any step, in which one parameter stands for something else."""

    def __init__(self, layer: Layer, values: dict[int, Any]) -> None:
        frame = layer._current_frame()
        super().__init__(values, frame.seed, 0, frame.backend, builds=True)
        self.layer = layer

    def assign(self, parameter: Parameter, value: Any) -> None:
        with unbound():
            parameter.assign(value)

    def stream(self, path: str) -> Stream:
        return Stream(self.seed, path, self.layer.next_draw(), self.backend)


@contextmanager
def _standing_for(layer: Layer, parameter: Parameter, value: Any) -> Iterator[None]:
    """Let a parameter read as another value within the block."""
    binding = current_binding()
    if binding is None:
        with _Alone(layer, {id(parameter): value}).bound():
            yield
        return
    before = dict(binding.values)
    binding.values[id(parameter)] = value
    try:
        yield
    finally:
        if id(parameter) in before:
            binding.values[id(parameter)] = before[id(parameter)]
        else:
            del binding.values[id(parameter)]


class _Direction(initializers.Initializer):
    """Nearly the direction that a kernel stretches most: a random one, improved as often as PyTorch does."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        u = initializers.RandomNormal(stddev=1.0)((shape[-1],), stream, dtype)
        u = functional.power_iteration(self.kernel, u, iterations=15)
        made: Array = functional.reshape(u, shape)
        return made


class SpectralNormalization(Layer):
    r"""Run a layer with its kernel divided by the kernel's largest singular value.

    .. math:: \tilde W = \frac{W}{\sigma}, \quad \sigma = \lVert W u \rVert, \qquad
              v = \frac{W u}{\lVert W u \rVert}, \quad u \leftarrow \frac{W^\top v}{\lVert W^\top v \rVert}

    In training u is first brought nearer to the singular vector, as often as is asked for; otherwise it stays. The
    kernel is taken as a matrix whose last axis is that of columns. The gradient takes u as given, and is that of
    `nnbackend.functional.spectral_norm`.

    Parameters
    ----------
    layer : Layer
        A layer of one input with a ``kernel``, or with ``embeddings``.
    power_iterations : int
        How often u is improved in a step of training.
    **options
        ``name`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    layer : Layer
        The layer; its kernel is W, which is what is trained and saved.
    vector_u : Parameter of shape (1, m)
        u, which no gradient changes.

    Raises
    ------
    TypeError
        If `layer` is no layer, or has no kernel.
    ValueError
        If `power_iterations` is not positive.

    Notes
    -----
    As in PyTorch's parametrization the kernel itself is kept, and the gradient flows through :math:`\sigma`; Keras
    overwrites the kernel with :math:`\tilde W` in each step. From the same u both compute the same numbers as here,
    PyTorch in training and out of it, Keras up to its :math:`\sigma = v^\top W u` with the v of before the last
    half-step. When it is made, u is a random direction that is improved 15 times, as in PyTorch; Keras begins with the
    random one, so that its first steps divide by less than the largest singular value.

    With ``trainable=False`` u stays as it is in training, too.

    References
    ----------
    T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for generative adversarial networks", ICLR
    2018, arXiv:1802.05957.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.SpectralNormalization(nn.Dense(2, kernel_initializer="ones"), power_iterations=3)
    >>> layer(nn.get_backend("numpy").xp.asarray([[1.0, 1.0]]), training=True)
    array([[1., 1.]], dtype=float32)
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise TypeError(f"SpectralNormalization expects a layer, got {type(layer).__name__}.")
        self.layer = layer
        self.power_iterations = positive_integer(
            "SpectralNormalization", "power_iterations", power_iterations
        )

    @property
    def _kernel(self) -> Parameter:
        for name in ("kernel", "embeddings"):
            found = getattr(self.layer, name, None)
            if isinstance(found, Parameter) and found.ndim >= 2:
                return found
        raise TypeError(
            f"SpectralNormalization {self.path!r} expects a layer with a kernel or embeddings of two axes or more, got "
            f"{type(self.layer).__name__}."
        )

    def check_input(self, input_shape: Any) -> None:
        """Refuse what the layer inside refuses."""
        self.layer.check_input(input_shape)

    def build(self, input_shape: Any) -> None:
        """Build the layer, and make u."""
        self.layer.build(input_shape)
        kernel = self._kernel
        first = _Direction(kernel.numpy())
        self.vector_u = self.add_weight("vector_u", (1, kernel.shape[-1]), first, trainable=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape of the layer."""
        return self.layer.compute_output_shape(input_shape)

    computes_wide = True  # the layer inside reads the quotient in its own dtype

    @property
    def casts_input(self) -> bool:  # type: ignore[override]
        """Whether the layer takes real numbers; its own answer."""
        return self.layer.casts_input

    def forward(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """Run the layer with its kernel divided."""
        kernel: Any = self._kernel
        u = functional.reshape(self.vector_u, (kernel.shape[-1],))
        if training and self.is_trained:
            u = functional.power_iteration(kernel, u, iterations=self.power_iterations)
            self.vector_u.assign(functional.reshape(u, (1, -1)))
        with _standing_for(self, kernel, functional.spectral_norm(kernel, u)):
            value, out = self.layer.call_masked([mask], x, training=training)
        return Masked(value, out)


class _Given(initializers.Initializer):
    """Numbers that were given, repeated to the shape that is asked for."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        xp = host().xp
        made: Array = xp.astype(xp.broadcast_to(host().from_host(self.values), shape), getattr(xp, dtype))
        return made


class Normalization(_OverAxes):
    r"""Shift and scale features by the mean and deviation that they have in the data.

    .. math:: y = \frac{x - \mu}{\max(\sigma, 10^{-7})}

    or back, :math:`x = \mu + y \max(\sigma, 10^{-7})`, with ``invert=True``. `adapt` takes :math:`\mu` and
    :math:`\sigma^2` from data; until then they are 0 and 1. The derivatives are :math:`1/\sigma` and :math:`\sigma`.

    Parameters
    ----------
    axis : int, sequence of int, or None
        The axes whose elements have statistics of their own, such as that of the features; None for one of all.
    mean, variance : float or array, optional
        :math:`\mu` and :math:`\sigma^2`, where they are known; both or none.
    invert : bool
        Whether to undo the normalisation.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Attributes
    ----------
    mean, variance : Parameter of the lengths of the axes
        The statistics, which no gradient changes; the variance is divided by n.
    count : Parameter of shape ()
        How many elements each was taken from.

    Raises
    ------
    ValueError
        If one of `mean` and `variance` is missing, or a shape does not fit.

    Notes
    -----
    The statistics are accumulated in float64 and kept in the layer's dtype, so that in float32 a mean of 10,000 is
    right to 0.0005. scikit-learn's StandardScaler computes the same but leaves features of no deviation unscaled.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", COMPSTAT 1982, doi:10.1007/978-3-642-51461-6_3.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Normalization()
    >>> layer.adapt([[1.0, 10.0], [3.0, 30.0]])
    >>> layer(nn.get_backend("numpy").xp.asarray([[1.0, 30.0]]))
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.axis = () if axis is None else _axis_of("Normalization", axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                "Normalization expects both mean and variance or none of them. Give the other one, or call adapt."
            )
        self._given = None if mean is None else (_plain_numbers(mean), _plain_numbers(variance))
        self.invert = bool(invert)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make a layer like this one, with arrays as lists."""
        config = super().get_config()
        for name in ("mean", "variance"):
            if config.get(name) is not None:
                config[name] = _plain_numbers(config[name])
        return config

    def _axes(self, input_shape: Shape) -> tuple[int, ...]:
        return () if self.axis == () else super()._axes(input_shape)

    def build(self, input_shape: Shape) -> None:
        """Make mean, variance and count, of the lengths of the axes."""
        shape = self._lengths(input_shape)
        mean, variance = self._given or (0.0, 1.0)
        try:
            self.mean = self.add_weight("mean", shape, _Given(mean), trainable=False)
            self.variance = self.add_weight("variance", shape, _Given(variance), trainable=False)
        except ValueError as error:
            raise ValueError(
                f"Normalization {self.path!r} was given a mean and a variance that do not fit inputs of {shape} on the "
                f"axis {self.axis}: {error}"
            ) from None
        self.count = self.add_weight("count", (), "zeros", trainable=False)

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data; what was taken before is forgotten.

        A layer that is not built yet is built for them: where they lie; for data on the host, on the backend in force.

        Parameters
        ----------
        data : array of shape (n, ...), nested lists, or iterable of arrays
            The data, in one piece or in batches; of a batch that is a tuple, the first part is taken.

        Raises
        ------
        ValueError
            If the layer was given a mean and variance, the data are empty, or batches differ in shape.
        """
        if self._given is not None:
            raise ValueError(
                f"Normalization {self.path!r} was given its mean and variance, so it does not adapt. Make it without."
            )
        seen = _Seen()
        for batch, home in _batches(data):
            if batch.ndim == 0:
                raise ValueError(f"Normalization {self.path!r} expects data of shape (n, ...), got a number.")
            sample = tuple(batch.shape[1:])
            self.check_input(sample)
            with use_backend(get_backend() if home is host() else home):
                self.build(sample)
            kept = self._axes(sample)
            seen.add(batch, tuple(axis for axis in range(batch.ndim) if axis not in kept))
        if not seen.count:
            raise ValueError(f"Normalization {self.path!r} expects data to adapt to, got none.")
        self.mean.assign(seen.mean)
        self.variance.assign(seen.squares / seen.count)
        self.count.assign(host().from_host(float(seen.count), "float64"))

    def forward(self, x: Any) -> Any:
        """Normalise, or undo it."""
        kept = self._axes(tuple(x.shape[1:]))
        shape = tuple(size if axis in kept else 1 for axis, size in enumerate(x.shape))
        mean = functional.reshape(self.mean, shape)
        deviation = functional.sqrt(functional.reshape(self.variance, shape))
        deviation = functional.maximum(deviation, functional.full_like(deviation, 1e-7))
        return mean + x * deviation if self.invert else (x - mean) / deviation


class _Seen:
    """Mean and sum of squared deviations of what was seen, in float64, by Chan's formulae."""

    #: Elements that are widened to float64 at a time.
    BLOCK = 1 << 20

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, batch: Any, axes: tuple[int, ...]) -> None:
        """Add an array on the host, whose statistics are taken over these axes."""
        xp = host().xp
        rows = max(1, self.BLOCK * batch.shape[0] // max(batch.size, 1))
        for start in range(0, batch.shape[0] if batch.size else 0, rows):
            block = xp.astype(batch[start : start + rows, ...], xp.float64)
            count = math.prod(block.shape[axis] for axis in axes)
            first = xp.mean(block, axis=axes, keepdims=True)
            deviations = block - first
            rest = xp.mean(deviations, axis=axes)
            mean = xp.squeeze(first, axis=axes) + rest
            squares = xp.sum(deviations * deviations, axis=axes) - count * rest * rest
            together, difference = self.count + count, mean - self.mean
            self.mean = self.mean + difference * (count / together)
            self.squares = self.squares + squares + difference * difference * (self.count * count / together)
            self.count = together


def _plain_numbers(values: Any) -> Any:
    """Return numbers as Python has them: a number, or nested lists."""
    return to_numpy(values).tolist() if isinstance(values, Operators) or is_array(values) else values


def _batches(data: Any) -> Iterator[tuple[Any, Backend]]:
    """Yield data as arrays on the host, batch by batch, with the backend that they come from."""
    if isinstance(data, Operators) or is_array(data):
        yield to_numpy(data), backend_of(plain(data))
        return
    listed = isinstance(data, (list, tuple))
    if listed and not all(isinstance(item, Operators) or is_array(item) for item in data):
        yield host().from_host(data), host()
        return
    if not isinstance(data, Iterable):
        raise TypeError(
            f"Normalization adapts to an array or an iterable of arrays, got {type(data).__name__}."
        )
    for batch in data:
        batch = batch[0] if isinstance(batch, tuple) else batch
        array = batch if isinstance(batch, Operators) or is_array(batch) else host().from_host(batch)
        yield to_numpy(array), backend_of(plain(array))
