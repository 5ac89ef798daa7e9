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
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "RandomNormal",
    "RandomUniform",
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
