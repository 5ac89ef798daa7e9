"""Where a position stands, told to a network that would not see it: sines and cosines, and rotations."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.elementwise import elementwise
from nnbackend.functional.rules import without_gradient
from nnbackend.typing import Array, Backward

__all__ = ["rotary_embedding", "sinusoidal_positions"]


def _angles(positions: Any, pairs: int, size: int, wavelength: float) -> Any:
    """Return position times frequency, one frequency for each pair of features: (..., pairs), in float64."""
    backend = backend_of(positions)
    xp = backend.xp
    numbers = xp.arange(pairs, dtype=xp.float64, device=backend.device(positions))
    frequencies = xp.exp(numbers * (-2.0 * math.log(wavelength) / size))
    return xp.expand_dims(xp.astype(positions, xp.float64), axis=-1) * frequencies


def _check_wavelength(owner: str, name: str, wavelength: float) -> None:
    if not wavelength > 0:
        raise ValueError(f"{owner} expects {name} to be above zero, got {wavelength}.")


@without_gradient
def sinusoidal_positions(positions: Array, *, size: int, max_wavelength: float = 10000.0) -> Array:
    r"""Sines and cosines of positions, at wavelengths from :math:`2\pi` to nearly :math:`2\pi\lambda`.

    .. math:: y_{p,\,2i} = \sin(p\, \lambda^{-2i/d}), \qquad y_{p,\,2i+1} = \cos(p\, \lambda^{-2i/d})

    Parameters
    ----------
    positions : integer or floating array of shape (...)
        p.
    size : int
        The number of features d.
    max_wavelength : float
        :math:`\lambda`.

    Returns
    -------
    array of shape (..., size)
        Float64 for integer positions, else in their dtype; computed in float64. It has no gradient.

    Raises
    ------
    ValueError
        If `size` is not at least 1, or `max_wavelength` is not above zero.

    Notes
    -----
    Sines and cosines alternate, as in the paper and in KerasHub; some implementations put all sines first.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.sinusoidal_positions(nn.get_backend("numpy").xp.asarray([0, 1]), size=2)
    array([[0.        , 1.        ],
           [0.84147098, 0.54030231]])
    """
    if size < 1:
        raise ValueError(f"sinusoidal_positions expects a size of at least 1, got {size}.")
    _check_wavelength("sinusoidal_positions", "max_wavelength", max_wavelength)
    xp = namespace(positions)
    angles = _angles(positions, (size + 1) // 2, size, max_wavelength)
    both = xp.stack([xp.sin(angles), xp.cos(angles)], axis=-1)
    waves = xp.reshape(both, (*positions.shape, 2 * ((size + 1) // 2)))[..., :size]
    return xp.astype(waves, positions.dtype) if "float" in str(positions.dtype) else waves


@elementwise
def _rotate(x1: Array, x2: Array, cosine: Array, sine: Array) -> Any:
    return x1 * cosine - x2 * sine, x2 * cosine + x1 * sine


@elementwise
def _rotate_back(y1: Array, y2: Array, cosine: Array, sine: Array) -> Any:
    return y1 * cosine + y2 * sine, y2 * cosine - y1 * sine


@differentiable
def rotary_embedding(
    x: Array,
    positions: Array | None = None,
    *,
    offset: int = 0,
    max_wavelength: float = 10000.0,
    interleaved: bool = False,
) -> tuple[Array, Backward]:
    r"""Turn each pair of features by an angle that grows with the position.

    .. math:: y_{p,a} + \mathrm{i}\, y_{p,b} = (x_{p,a} + \mathrm{i}\, x_{p,b})\, e^{\mathrm{i} p \theta_j}, \qquad
              \theta_j = \lambda^{-2j/d}, \qquad
              \frac{\partial L}{\partial x_{p,a}} + \mathrm{i} \frac{\partial L}{\partial x_{p,b}}
              = \Big(\frac{\partial L}{\partial y_{p,a}} + \mathrm{i} \frac{\partial L}{\partial y_{p,b}}\Big)
              e^{-\mathrm{i} p \theta_j}

    Inner products of a query and a key that were both turned depend on the difference of their positions alone.

    Parameters
    ----------
    x : array of shape (n, t, ..., d)
        Queries or keys, before attention, with an even number d of features; floating.
    positions : integer array of shape (t,) or (n, t), optional
        p; 0 to t - 1 without it.
    offset : int
        Added to the positions. It is static: where it changes from step to step, as in generating, pass `positions`.
    max_wavelength : float
        :math:`\lambda`.
    interleaved : bool
        Which two features make pair j. False: j and ``j + d/2``, the halves, as in KerasHub, GPT-NeoX and the common
        form of Llama's weights. True: ``2j`` and ``2j + 1``, neighbours, as in the paper and GPT-J. Weights trained
        with one do not fit the other.

    Returns
    -------
    array of the shape of `x`
        Of the same length in each pair.

    Raises
    ------
    ValueError
        If d is odd, `x` has no axis of time, or `positions` does not fit.

    Notes
    -----
    Angles, sines and cosines are computed in float64: in float32 an angle of 10000 would be off by 0.0005.

    References
    ----------
    J. Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021,
    https://arxiv.org/abs/2104.09864

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0, 0.0], [1.0, 0.0]]])
    >>> nn.functional.rotary_embedding(x)
    array([[[1.        , 0.        ],
            [0.54030231, 0.84147098]]])
    """
    if x.ndim < 3 or x.shape[-1] % 2 or not x.shape[-1]:
        raise ValueError(
            "rotary_embedding expects x of shape (n, t, ..., d) with an even number d of features, got "
            f"{tuple(x.shape)}."
        )
    _check_wavelength("rotary_embedding", "max_wavelength", max_wavelength)
    n, t, size = x.shape[0], x.shape[1], x.shape[-1]
    array = plain(x)
    backend = backend_of(array)
    own = backend.xp
    if positions is None:
        places = own.arange(offset, offset + t, device=backend.device(array))
    else:
        places = plain(positions) + offset
        if tuple(places.shape) not in ((t,), (n, t), (1, t)):
            raise ValueError(
                f"rotary_embedding expects positions of shape {(t,)} or {(n, t)}, got {tuple(places.shape)}."
            )
    angles = _angles(places, size // 2, size, max_wavelength)
    between = (1,) * (x.ndim - 3)
    angles = own.reshape(angles, (*((1,) if places.ndim == 1 else ()), *places.shape, *between, size // 2))
    cosine, sine = own.astype(own.cos(angles), array.dtype), own.astype(own.sin(angles), array.dtype)

    def turned(values: Any, turn: Any) -> Any:
        xp = namespace(values)
        if not interleaved:
            half = size // 2
            return xp.concat(list(turn(values[..., :half], values[..., half:], cosine, sine)), axis=-1)
        both = turn(values[..., 0::2], values[..., 1::2], cosine, sine)
        return xp.reshape(xp.stack(list(both), axis=-1), tuple(values.shape))

    return turned(x, _rotate), lambda dy, needs: (turned(dy, _rotate_back), None)
