"""First values of weights, drawn on the host from the weight's own random stream: the same on every backend."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nnbackend.backend import host, nearest
from nnbackend.config import Configurable, find, snake_case
from nnbackend.random import Stream
from nnbackend.typing import Array, Shape

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "Sparse",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
]


class Initializer(Configurable):
    """What makes first values; subclasses say how in ``__call__``."""

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, stream, dtype).")


def _full(shape: Shape, value: float, dtype: str) -> Array:
    xp = host().xp
    filled: Array = xp.full(shape, value, dtype=getattr(xp, dtype))
    return filled


class Zeros(Initializer):
    """All zeros: the usual first bias."""

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        return _full(shape, 0.0, dtype)


class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        return _full(shape, 1.0, dtype)


class Constant(Initializer):
    """The same number everywhere.

    Parameters
    ----------
    value : float
        The number.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        return _full(shape, self.value, dtype)


class RandomNormal(Initializer):
    r"""Normal numbers,  :math:`w \sim N(\mu, \sigma^2)`.

    Parameters
    ----------
    mean, stddev : float
        :math:`\mu` and :math:`\sigma`.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        return stream.normal(shape, self.mean, self.stddev, dtype)


class RandomUniform(Initializer):
    r"""Even numbers,  :math:`w \sim U[a, b)`.

    Parameters
    ----------
    minval, maxval : float
        :math:`a` and :math:`b`.
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05) -> None:
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        return _uniform(shape, self.minval, self.maxval, stream, dtype)


class TruncatedNormal(Initializer):
    r"""Normal numbers cut off at two deviations,  :math:`w \sim N(\mu, \sigma^2)` where  :math:`|w - \mu| \le 2\sigma`.

    Parameters
    ----------
    mean, stddev : float
        :math:`\mu` and :math:`\sigma`, those of the normal distribution before it is cut.

    Notes
    -----
    A number that falls outside is drawn again. What is left has the deviation :math:`0.8796\,\sigma`, as in Keras;
    `VarianceScaling` makes up for it. PyTorch's ``trunc_normal_`` cuts at -2 and 2, whatever the deviation.

    Examples
    --------
    >>> from nnbackend.random import Stream
    >>> weights = TruncatedNormal(stddev=1.0)((100,), Stream(0, "w"))
    >>> bool(abs(weights).max() <= 2.0)
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        xp = host().xp
        values: Array = xp.astype(_cut_normal(shape, stream) * self.stddev + self.mean, getattr(xp, dtype))
        return values


class Orthogonal(Initializer):
    r"""An orthogonal matrix, drawn evenly from all of them: signals keep their length,  :math:`W^T W = g^2 I`.

    A kernel of shape ``(..., in, out)`` is taken as a matrix of ``out`` columns. Where it has more columns than rows,
    its rows are orthogonal instead:  :math:`W W^T = g^2 I`.

    Parameters
    ----------
    gain : float
        :math:`g`;  :math:`\sqrt 2` for ReLU.

    Raises
    ------
    ValueError
        If the shape has fewer than two axes.

    Notes
    -----
    It is the Q of a QR decomposition of normal numbers, with the signs of R's diagonal, which makes it even. That is
    computed in float64 on the host, hence the same on every backend of a machine; another machine's LAPACK may differ
    in the last places.

    References
    ----------
    A. Saxe, J. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", 2014, https://arxiv.org/abs/1312.6120

    F. Mezzadri, "How to generate random matrices from the classical compact groups", 2007,
    https://arxiv.org/abs/math-ph/0609050

    Examples
    --------
    >>> from nnbackend.random import Stream
    >>> w = Orthogonal()((3, 3), Stream(0, "w"), "float64")
    >>> abs(w.T @ w).round(6)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        _require_matrix("Orthogonal", shape)
        xp = host().xp
        rows, columns = math.prod(shape[:-1]), shape[-1]
        short, long = sorted((rows, columns))
        q, r = xp.linalg.qr(stream.normal((long, short), dtype="float64"))
        q = q * xp.where(xp.linalg.diagonal(r) < 0.0, -1.0, 1.0)
        if rows < columns:
            q = xp.matrix_transpose(q)
        values: Array = xp.astype(xp.reshape(q * self.gain, shape), getattr(xp, dtype))
        return values


class Identity(Initializer):
    """The identity: a layer that at first passes on what it gets.

    A matrix has `gain` on its diagonal, whether or not it is square. A convolution's kernel ``(..., in, out)`` is such
    a matrix at the middle of its leading axes, as PyTorch's ``dirac_``, and zero around it.

    Parameters
    ----------
    gain : float
        What stands on the diagonal.

    Raises
    ------
    ValueError
        If the shape has fewer than two axes.

    References
    ----------
    Q. Le, N. Jaitly and G. Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015,
    https://arxiv.org/abs/1504.00941

    Examples
    --------
    >>> from nnbackend.random import Stream
    >>> Identity()((2, 3), Stream(0, "w"))
    array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        _require_matrix("Identity", shape)
        values: Any = _full(shape, 0.0, dtype)
        middle = tuple(length // 2 for length in shape[:-2])
        for number in range(min(shape[-2:])):
            values[(*middle, number, number)] = self.gain
        return values


class Sparse(Initializer):
    r"""Normal numbers on a few connections, zeros on all others: every output sees the same number of inputs.

    Parameters
    ----------
    sparsity : float
        The share of zeros among the inputs of each output, rounded up to whole connections; from 0 to 1.
    stddev : float
        :math:`\sigma` of the others,  :math:`N(0, \sigma^2)`.

    Raises
    ------
    ValueError
        If `sparsity` is not from 0 to 1, or the shape has fewer than two axes.

    Notes
    -----
    As in the paper, the count is exact for each output: each column of a kernel ``(..., in, out)``. PyTorch's
    ``sparse_`` zeroes columns of a weight in the order (out, in), which makes it exact for each input.

    References
    ----------
    J. Martens, "Deep learning via Hessian-free optimization", ICML 2010.

    Examples
    --------
    >>> from nnbackend.random import Stream
    >>> (Sparse(0.75)((8, 3), Stream(0, "w")) != 0.0).sum(axis=0)
    array([2, 2, 2])
    """

    def __init__(self, sparsity: float = 0.9, stddev: float = 0.01) -> None:
        if not 0.0 <= sparsity <= 1.0:
            raise ValueError(f"Sparse expects a sparsity from 0 to 1, got {sparsity}.")
        self.sparsity = sparsity
        self.stddev = stddev

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        _require_matrix("Sparse", shape)
        xp = host().xp
        inputs = math.prod(shape[:-1])
        normal = stream.normal((inputs, shape[-1]), 0.0, self.stddev, "float64")
        order = xp.argsort(stream.uniform((inputs, shape[-1]), dtype="float64"), axis=0, stable=True)
        rank = xp.argsort(order, axis=0, stable=True)  # where each connection stands in a random order
        zeros = math.ceil(round(self.sparsity * inputs, 9))  # 0.7 of 10 is 7, though 0.7 * 10 is a bit more
        values: Array = xp.astype(xp.reshape(xp.where(rank < zeros, 0.0, normal), shape), getattr(xp, dtype))
        return values


def _require_matrix(owner: str, shape: Shape) -> None:
    if len(shape) < 2:
        raise ValueError(
            f"{owner} expects a weight with axes (..., in, out), got shape {shape}. It is for kernels; give biases "
            "'zeros'."
        )


def _uniform(shape: Shape, low: float, high: float, stream: Stream, dtype: str) -> Array:
    """Draw in float64 and round last, so that a float32 weight is the float64 one rounded."""
    xp = host().xp
    values: Array = xp.astype(stream.uniform(shape, low, high, "float64"), getattr(xp, dtype))
    return values


#: The standard deviation of a normal number cut off at two.
_CUT_DEVIATION = 0.87962566103423978


class VarianceScaling(Initializer):
    r"""Numbers whose variance keeps signals at one size:  :math:`\operatorname{Var} w = s / n`.

    A kernel has the shape ``(..., in, out)``; its fans are ``in`` and ``out`` times the product of the leading axes.

    Parameters
    ----------
    scale : float
        :math:`s`.
    mode : {"fan_in", "fan_out", "fan_avg"}
        What :math:`n` is.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        Normal cut off at two deviations (drawn again where it falls outside), normal, or
        :math:`U[-\sqrt{3s/n}, \sqrt{3s/n})`.

    Raises
    ------
    ValueError
        If `mode` or `distribution` is none of these, or `scale` is not positive.

    References
    ----------
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    K. He et al., "Delving deep into rectifiers", 2015, https://arxiv.org/abs/1502.01852
    """

    modes: ClassVar[tuple[str, ...]] = ("fan_in", "fan_out", "fan_avg")
    distributions: ClassVar[tuple[str, ...]] = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
    ) -> None:
        if scale <= 0.0:
            raise ValueError(f"VarianceScaling expects a positive scale, got {scale}.")
        for given, known in ((mode, self.modes), (distribution, self.distributions)):
            if given not in known:
                raise ValueError(
                    f"VarianceScaling knows {', '.join(known)}, got {given!r}.{nearest(given, known)}"
                )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        fan_in, fan_out = fans(shape)
        count = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(count, 1)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return _uniform(shape, -limit, limit, stream, dtype)
        if self.distribution == "untruncated_normal":
            return stream.normal(shape, 0.0, math.sqrt(variance), dtype)
        xp = host().xp
        unit = _cut_normal(shape, stream) * (math.sqrt(variance) / _CUT_DEVIATION)
        values: Array = xp.astype(unit, getattr(xp, dtype))
        return values


def _cut_normal(shape: Shape, stream: Stream) -> Any:
    """Draw normal numbers within two deviations: those outside are drawn again, all at once."""
    xp = host().xp
    values = stream.normal(shape, dtype="float64")
    while xp.any(outside := xp.abs(values) > 2.0):
        values = xp.where(outside, stream.normal(shape, dtype="float64"), values)
    return values


def fans(shape: Shape) -> tuple[int, int]:
    """Return how many inputs and outputs a weight of shape ``(..., in, out)`` joins."""
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


class GlorotUniform(VarianceScaling):
    r"""Glorot's uniform,  :math:`U[-a, a)` with :math:`a = \sqrt{6 / (n_{in} + n_{out})}`: for tanh and softmax."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_avg", "uniform")


class GlorotNormal(VarianceScaling):
    r"""Glorot's normal, of variance :math:`2 / (n_{in} + n_{out})`, cut off at two deviations."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal")


class HeUniform(VarianceScaling):
    r"""He's uniform,  :math:`U[-a, a)` with :math:`a = \sqrt{6 / n_{in}}`: for ReLU."""

    def __init__(self) -> None:
        super().__init__(2.0, "fan_in", "uniform")


class HeNormal(VarianceScaling):
    r"""He's normal, of variance :math:`2 / n_{in}`, cut off at two deviations: for ReLU."""

    def __init__(self) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal")


class LecunUniform(VarianceScaling):
    r"""LeCun's uniform,  :math:`U[-a, a)` with :math:`a = \sqrt{3 / n_{in}}`: for SELU."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "uniform")


class LecunNormal(VarianceScaling):
    r"""LeCun's normal, of variance :math:`1 / n_{in}`, cut off at two deviations: for SELU."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal")


_CLASSES: tuple[type[Initializer], ...] = (
    Zeros,
    Ones,
    Constant,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    Orthogonal,
    Identity,
    Sparse,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
)
_BY_NAME = {snake_case(cls.__name__): cls for cls in _CLASSES} | {
    "normal": RandomNormal,
    "uniform": RandomUniform,
}


def get(which: str | Initializer) -> Initializer:
    """Return an initializer by its name, such as ``"he_normal"``, or the one given.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if isinstance(which, Initializer):
        return which
    return find("initializer", which, _BY_NAME)()
