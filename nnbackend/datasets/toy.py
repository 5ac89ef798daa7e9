"""Small problems made on the spot, from a seed; the same on every backend."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.arguments import positive_integer
from nnbackend.backend import host
from nnbackend.random import Stream

__all__ = ["adding", "copying", "moons", "xor"]


def xor(repeats: int = 1, *, noise: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    """Return the four corners of a square and whether their coordinates differ.

    No straight line parts the classes, so a linear model stays at a loss of ln 2.

    Parameters
    ----------
    repeats : int
        How often each corner comes.
    noise : float
        The standard deviation of what is added to the points.
    seed : int
        Where the noise comes from.

    Returns
    -------
    x : array of float32, shape (4 * repeats, 2)
        The points.
    y : array of int64, shape (4 * repeats,)
        1 where exactly one coordinate is 1.

    References
    ----------
    M. Minsky and S. Papert, "Perceptrons", MIT Press, 1969

    Examples
    --------
    >>> x, y = xor()
    >>> x.tolist(), y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    xp = host().xp
    corners = xp.tile(
        host().from_host([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
        (positive_integer("xor", "repeats", repeats), 1),
    )
    labels = xp.astype(corners[:, 0] != corners[:, 1], xp.int64)
    return _with_noise("xor", corners, noise, seed), labels


def moons(samples: int = 100, *, noise: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    r"""Return points on two half circles that reach into each other.

    .. math:: (\cos \varphi, \sin \varphi) \quad\text{and}\quad (1 - \cos \varphi,\; \tfrac{1}{2} - \sin \varphi),
              \qquad \varphi \in [0, \pi]

    Parameters
    ----------
    samples : int
        How many points; the first half lies on the first circle.
    noise : float
        The standard deviation of what is added to the points.
    seed : int
        Where the noise comes from.

    Returns
    -------
    x : array of float32, shape (samples, 2)
        The points.
    y : array of int64, shape (samples,)
        Their half circles.

    Notes
    -----
    Without noise these are the points of scikit-learn's ``make_moons(samples, shuffle=False)``.

    Examples
    --------
    >>> x, y = moons(4)
    >>> x.round(6).tolist(), y.tolist()
    ([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [2.0, 0.5]], [0, 0, 1, 1])
    """
    xp = host().xp
    first = positive_integer("moons", "samples", samples) // 2
    outer, inner = xp.linspace(0.0, math.pi, first), xp.linspace(0.0, math.pi, samples - first)
    x = xp.concat(
        [
            xp.stack([xp.cos(outer), xp.sin(outer)], axis=1),
            xp.stack([1.0 - xp.cos(inner), 0.5 - xp.sin(inner)], axis=1),
        ]
    )
    return _with_noise("moons", x, noise, seed), xp.astype(xp.arange(samples) >= first, xp.int64)


def adding(samples: int, length: int, *, seed: int = 0) -> tuple[Any, Any]:
    r"""Draw sequences of numbers of which two are marked, and the sum of these two.

    To add them a recurrent network must remember the first until the second comes. Who always answers 1 has a mean
    squared error of 1/6.

    Parameters
    ----------
    samples, length : int
        How many sequences, and their length `t`, at least 2.
    seed : int
        Where they come from.

    Returns
    -------
    x : array of float32, shape (samples, t, 2)
        Numbers from 0 to 1, and beside each 1 where it is marked, once in each half, else 0.
    y : array of float32, shape (samples, 1)
        The sums.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997),
    https://doi.org/10.1162/neco.1997.9.8.1735

    Examples
    --------
    >>> x, y = adding(1, 4)
    >>> marked = x[0, :, 1] == 1.0
    >>> bool(x[0, marked, 0].sum() == y[0, 0])
    True
    """
    xp = host().xp
    samples = positive_integer("adding", "samples", samples)
    if positive_integer("adding", "length", length) < 2:
        raise ValueError(f"adding expects a length of at least 2, got {length}.")
    half = length // 2
    numbers = Stream(seed, "adding/numbers").uniform((samples, length))
    drawn = Stream(seed, "adding/marks")
    marks = xp.zeros((samples, length), dtype=xp.float32)
    rows = xp.arange(samples)
    marks[rows, drawn.integers((samples,), half)] = 1.0
    marks[rows, half + drawn.integers((samples,), length - half)] = 1.0
    sums = xp.sum(numbers * marks, axis=1, keepdims=True, dtype=xp.float32)
    return xp.stack([numbers, marks], axis=2), sums


def copying(
    samples: int, delay: int, *, length: int = 10, symbols: int = 8, seed: int = 0
) -> tuple[Any, Any]:
    r"""Draw sequences of symbols that are to be repeated after a delay.

    A sequence is the symbols, blanks, a sign to begin, and blanks for the answer; the answer is blank until the sign
    and then the symbols. Who remembers nothing has a cross-entropy of :math:`l \ln k / (d + 2 l)`.

    Parameters
    ----------
    samples : int
        How many sequences.
    delay : int
        How many places, `d`, lie between the symbols and the answer; the last of them has the sign.
    length : int
        How many symbols, `l`, are to be remembered.
    symbols : int
        How many kinds, `k`, there are.
    seed : int
        Where they come from.

    Returns
    -------
    x : array of int64, shape (samples, d + 2 l)
        0 is blank, 1 to `k` are symbols, `k` + 1 is the sign.
    y : array of int64, shape (samples, d + 2 l)
        The answers, of the same numbers.

    References
    ----------
    S. Hochreiter and J. Schmidhuber (1997), as of `adding`. M. Arjovsky, A. Shah and Y. Bengio, "Unitary evolution
    recurrent neural networks", ICML 2016, https://arxiv.org/abs/1511.06464

    Examples
    --------
    >>> x, y = copying(1, 3, length=2, symbols=5)
    >>> x.tolist(), y.tolist()
    ([[2, 2, 0, 0, 6, 0, 0]], [[0, 0, 0, 0, 0, 2, 2]])
    """
    for name, value in (("samples", samples), ("delay", delay), ("length", length), ("symbols", symbols)):
        positive_integer("copying", name, value)
    xp = host().xp
    drawn = Stream(seed, "copying").integers((samples, length), symbols) + 1
    x = xp.zeros((samples, delay + 2 * length), dtype=xp.int64)
    y = xp.zeros((samples, delay + 2 * length), dtype=xp.int64)
    x[:, :length] = drawn
    x[:, length + delay - 1] = symbols + 1
    y[:, length + delay :] = drawn
    return x, y


def _with_noise(owner: str, x: Any, noise: float, seed: int) -> Any:
    if noise < 0.0:
        raise ValueError(f"{owner} expects noise of zero or more, got {noise}.")
    if noise:
        x = x + Stream(seed, owner).normal(tuple(x.shape), 0.0, noise, dtype="float64")
    return host().xp.astype(x, host().xp.float32)
