"""The book's data, drawn from the random numbers that `nnbackend.nnfs.init` seeded.

They are those of `nnbackend.datasets`, as arrays of the backend in force.
"""

from __future__ import annotations

from typing import Any

from nnbackend.datasets import book
from nnbackend.nnfs import settings

__all__ = ["sine_data", "spiral_data", "vertical_data"]


def spiral_data(samples: int, classes: int) -> tuple[Any, Any]:
    """Draw points on arms of a spiral, one arm for each class; see `nnbackend.datasets.spiral_data`.

    Parameters
    ----------
    samples, classes : int
        Points of each arm, and arms.

    Returns
    -------
    X : array of shape (samples * classes, 2)
        The points, arm by arm.
    y : array of uint8, shape (samples * classes,)
        Their arms.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> X, y = nnfs.spiral_data(samples=100, classes=3)
    >>> X[1]
    array([0.00299556, 0.00964661], dtype=float32)
    """
    return _placed(book.spiral_data(samples, classes, random=settings.generator(), dtype=_dtype()))


def vertical_data(samples: int, classes: int) -> tuple[Any, Any]:
    """Draw points in upright clouds, one for each class; see `nnbackend.datasets.vertical_data`.

    Parameters
    ----------
    samples, classes : int
        Points of each cloud, and clouds.

    Returns
    -------
    X : array of shape (samples * classes, 2)
        The points, cloud by cloud.
    y : array of uint8, shape (samples * classes,)
        Their clouds.
    """
    return _placed(book.vertical_data(samples, classes, random=settings.generator(), dtype=_dtype()))


def sine_data(samples: int = 1000) -> tuple[Any, Any]:
    """Return one period of a sine; see `nnbackend.datasets.sine_data`.

    Parameters
    ----------
    samples : int
        How many points.

    Returns
    -------
    X : array of float64, shape (samples, 1)
        Where.
    y : array of float64, shape (samples, 1)
        The sine there.
    """
    return _placed(book.sine_data(samples))


def _dtype() -> str:
    return settings.current().dtype


def _placed(parts: tuple[Any, Any]) -> tuple[Any, Any]:
    backend = settings.chosen_backend()
    return backend.from_host(parts[0]), backend.from_host(parts[1])
