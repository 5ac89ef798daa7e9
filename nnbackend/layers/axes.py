"""What layers that take axes, rates and masks share: how they count, and what they refuse."""

from __future__ import annotations

import operator
from typing import Any

from nnbackend.arguments import shown
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = ["check_axis", "sample_axis"]


def check_axis(owner: str, axis: Any) -> int:
    """Return an axis as an integer.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is 0, the axis of samples.
    """
    try:
        number = operator.index(axis)
    except TypeError:
        raise TypeError(f"{owner} expects axis to be a whole number, got {axis!r}.") from None
    if number == 0:
        raise ValueError(
            f"{owner} cannot work along axis 0, the axis of samples. Axes of a sample count from 1."
        )
    return number


def sample_axis(layer: Layer, axis: int, sample_shape: Shape) -> int:
    """Return the place of an axis within a sample's shape; `axis` counts the axis of samples, as arrays do.

    Raises
    ------
    ValueError
        If there is no such axis in a sample.
    """
    rank = len(sample_shape) + 1
    number = axis + rank if axis < 0 else axis
    if not 1 <= number < rank:
        raise ValueError(
            f"{type(layer).__name__} {layer.path!r} expects inputs that have an axis {axis} besides that of samples, "
            f"got shape {shown(sample_shape)}."
        )
    return number - 1
