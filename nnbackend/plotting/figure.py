"""What all pictures share: figures that belong to nobody else, colours, and values on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from nnbackend.autodiff import Operators
from nnbackend.backend import host, is_array, to_numpy

__all__ = ["COLORS", "axes_for", "color_of", "host_array", "new_figure", "several_axes"]

#: Okabe and Ito's colours, told apart by colour-blind eyes, too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#555555")


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Any:
    """Return a figure of this size in inches that pyplot does not know of.

    Raises
    ------
    ImportError
        If matplotlib is not installed, with the line that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'nn.plotting needs matplotlib. Install it: pip install "nnbackend[plot]"'
        ) from error
    return Figure(figsize=(width, height), layout=layout)


def axes_for(ax: Any, width: float = 6.4, height: float = 4.2) -> Any:
    """Return the axes given, or those of a new figure of this size."""
    return new_figure(width, height).subplots() if ax is None else ax


def several_axes(ax: Any, count: int, owner: str, width: float = 5.2, height: float = 3.8) -> list[Any]:
    """Return this many axes: those given, or new ones side by side.

    Raises
    ------
    ValueError
        If others than so many were given.
    """
    if ax is None:
        return list(new_figure(width * count, height).subplots(1, count, squeeze=False)[0])
    given = list(ax.flat) if hasattr(ax, "flat") else list(ax) if isinstance(ax, Sequence) else [ax]
    if len(given) != count:
        raise ValueError(f"{owner} draws {count} pictures, got {len(given)} axes. Give ax one for each.")
    return given


def color_of(number: int) -> str:
    """Return the colour of a class or a line."""
    return COLORS[number % len(COLORS)]


def host_array(values: Any) -> Any:
    """Return an array of any library, a tensor, a parameter or a list as a host array."""
    if is_array(values) or isinstance(values, Operators):
        return to_numpy(values)
    return host().from_host(values)
