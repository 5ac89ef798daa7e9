"""The data sets of the book "Neural Networks from Scratch", bit by bit those of the package ``nnfs`` 0.5.1.

The book calls ``nnfs.init()``, which seeds NumPy's global generator of old (MT19937) with 0, and from then on every
draw follows the one before: first the data, then the weights of each layer, in the order of the lines. Here nothing is
global. A function that draws takes ``random``: a seed, 0 without it, for what the book draws right after
``nnfs.init()``; or a generator that several calls go on with, as a whole program of the book gets its numbers:

>>> random = legacy_random(0)
>>> x, y = spiral_data(100, 3, random=random)
>>> weights = 0.01 * random.randn(2, 3).astype("float32")  # as Layer_Dense(2, 3), made in the next line
>>> x_test, y_test = spiral_data(100, 3, random=random)  # other points than x

The data sets with random numbers of this library's own stand in `nnbackend.datasets.toy`.
"""

from __future__ import annotations

from typing import Any

from nnbackend.arguments import positive_integer

__all__ = ["legacy_random", "sine_data", "spiral_data", "vertical_data"]


def legacy_random(seed: int = 0) -> Any:
    """Return a private generator with the numbers that ``numpy.random.seed(seed)`` gives the book's programs.

    Parameters
    ----------
    seed : int
        The seed; 0 in ``nnfs.init()``.

    Returns
    -------
    numpy.random.RandomState
        Its ``randn``, ``binomial`` and ``shuffle`` are the book's ``np.random.randn`` and so on. The numbers are
        frozen: NumPy does not change this generator any more.

    Examples
    --------
    >>> legacy_random(0).randn(2).round(6)
    array([1.764052, 0.400157])
    """
    import numpy

    return numpy.random.RandomState(seed)


def spiral_data(samples: int, classes: int, *, random: Any = 0, dtype: str = "float32") -> tuple[Any, Any]:
    r"""Draw points on arms of a spiral, one arm for each class.

    .. math:: x = (r \sin 2.5 t,\; r \cos 2.5 t), \qquad
              r \in [0, 1], \quad t = 4 (c + r) + 0.2\, z, \quad z \sim N(0, 1)

    Parameters
    ----------
    samples, classes : int
        Points of each arm, and arms.
    random : int or RandomState
        A seed, or a generator to go on with.
    dtype : {"float32", "float64"}
        What ``nnfs.init`` was given as ``default_dtype``; it also rounds the random numbers.

    Returns
    -------
    x : array of shape (samples * classes, 2)
        The points, arm by arm.
    y : array of uint8, shape (samples * classes,)
        Their arms.

    References
    ----------
    A. Karpathy, CS231n, https://cs231n.github.io/neural-networks-case-study/

    Examples
    --------
    >>> x, y = spiral_data(100, 3)
    >>> x[1], int(y[-1])
    (array([0.00299556, 0.00964661], dtype=float32), 2)
    """
    import numpy as np

    x, y, random = _start("spiral_data", samples, classes, random, dtype)
    radius = np.linspace(0.0, 1.0, samples)
    for arm in range(classes):
        noise = random.randn(samples).astype(dtype) * 0.2
        angle = np.linspace(arm * 4, (arm + 1) * 4, samples) + noise
        points = np.stack([radius * np.sin(angle * 2.5), radius * np.cos(angle * 2.5)], axis=1)
        x[arm * samples : (arm + 1) * samples] = points
        y[arm * samples : (arm + 1) * samples] = arm
    return x, y


def vertical_data(samples: int, classes: int, *, random: Any = 0, dtype: str = "float32") -> tuple[Any, Any]:
    r"""Draw points in upright clouds side by side, one cloud for each class.

    .. math:: x = (c / 3 + 0.1\, z_1,\; 0.5 + 0.1\, z_2), \qquad z_1, z_2 \sim N(0, 1)

    Parameters
    ----------
    samples, classes : int
        Points of each cloud, and clouds.
    random : int or RandomState
        A seed, or a generator to go on with.
    dtype : {"float32", "float64"}
        What ``nnfs.init`` was given as ``default_dtype``; it also rounds the random numbers.

    Returns
    -------
    x : array of shape (samples * classes, 2)
        The points, cloud by cloud.
    y : array of uint8, shape (samples * classes,)
        Their clouds.

    Examples
    --------
    >>> x, y = vertical_data(100, 3)
    >>> x.shape, y[::100].tolist()
    ((300, 2), [0, 1, 2])
    """
    import numpy as np

    x, y, random = _start("vertical_data", samples, classes, random, dtype)
    for cloud in range(classes):
        across = random.randn(samples).astype(dtype) * 0.1 + cloud / 3
        up = random.randn(samples).astype(dtype) * 0.1 + 0.5
        x[cloud * samples : (cloud + 1) * samples] = np.stack([across, up], axis=1)
        y[cloud * samples : (cloud + 1) * samples] = cloud
    return x, y


def sine_data(samples: int = 1000) -> tuple[Any, Any]:
    r"""Return one period of a sine, without noise: :math:`y = \sin 2 \pi x` for x from 0 to 1.

    Parameters
    ----------
    samples : int
        How many points.

    Returns
    -------
    x : array of float64, shape (samples, 1)
        Where; float64 in the book, too, whatever ``nnfs.init`` was given.
    y : array of float64, shape (samples, 1)
        The sine there.

    Examples
    --------
    >>> x, y = sine_data(4)
    >>> x[:, 0].tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    import numpy as np

    samples = positive_integer("sine_data", "samples", samples)
    x = np.arange(samples).reshape(-1, 1) / samples
    return x, np.sin(2 * np.pi * x).reshape(-1, 1)


def _start(owner: str, samples: int, classes: int, random: Any, dtype: str) -> tuple[Any, Any, Any]:
    """Return empty points and classes, and the generator."""
    import numpy as np

    positive_integer(owner, "samples", samples)
    positive_integer(owner, "classes", classes)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"{owner} draws float32 or float64, got {dtype!r}.")
    generator = random if hasattr(random, "randn") else legacy_random(random)
    return np.zeros((samples * classes, 2), dtype), np.zeros(samples * classes, "uint8"), generator
