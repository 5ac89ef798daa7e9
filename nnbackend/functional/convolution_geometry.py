"""Where the taps of a convolution fall: borders, strides, dilation and groups, worked out once for all rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from nnbackend.backend import nearest
from nnbackend.functional.rules import borders, sizes
from nnbackend.typing import Shape

__all__ = ["Geometry", "Padding", "check_padding", "geometry", "paddings", "transposed_geometry"]

#: How wide the border is: by name, the same on every side, or (before, after) for each axis of space.
Padding = str | int | Sequence[int | Sequence[int]]


class Geometry(NamedTuple):
    """Where each tap of a kernel falls: output position o and tap t meet input position s o + d t - p.

    Attributes
    ----------
    size, output : tuple of int
        Lengths of the axes of space of the input and of the output.
    kernel, strides, dilation, before : tuple of int
        Taps, s, d and p along each of these axes.
    groups : int
        Into how many parts, convolved on their own, the channels are divided.
    """

    size: Shape
    output: Shape
    kernel: Shape
    strides: Shape
    dilation: Shape
    before: Shape
    groups: int

    @property
    def after(self) -> Shape:
        """How far the last window reaches beyond the input along each axis; negative where it falls short."""
        return tuple(
            (o - 1) * s + (k - 1) * d + 1 - p - n
            for n, o, k, s, d, p in zip(
                self.size, self.output, self.kernel, self.strides, self.dilation, self.before, strict=True
            )
        )

    @property
    def taps(self) -> int:
        """How many taps a kernel has."""
        return math.prod(self.kernel)


# What arguments mean


def _named(owner: str, padding: Any, known: Sequence[str]) -> str | None:
    """Return the padding's name in lower case, or None where it is given in numbers."""
    if not isinstance(padding, str):
        return None
    if padding.lower() not in known:
        words = ", ".join(repr(word) for word in known)
        raise ValueError(
            f"{owner} expects padding to be {words} or widths in numbers, got {padding!r}."
            f"{nearest(padding, known)}"
        )
    return padding.lower()


def check_padding(owner: str, padding: Any, ndim: int, known: Sequence[str]) -> None:
    """Refuse what is no padding for that many axes of space.

    Raises
    ------
    TypeError, ValueError
        If it is neither one of the known names nor widths in numbers.
    """
    if _named(owner, padding, known) is None:
        borders(owner, "padding", padding, ndim)


def paddings(ndim: int) -> tuple[str, ...]:
    """Return the names of padding that a convolution of that many axes of space knows."""
    return ("valid", "same", "causal") if ndim == 1 else ("valid", "same")


def geometry(
    owner: str,
    size: Shape,
    kernel: Shape,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
) -> Geometry:
    """Return what a convolution's options mean for an input of this size.

    Parameters
    ----------
    owner : str
        Whose they are, for messages.
    size, kernel : tuple of int
        Lengths of the axes of space of the input, and taps of the kernel along them.
    strides, padding, dilation_rate, groups
        As in `conv`.

    Returns
    -------
    Geometry
        With the size of the output.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it should be, or the kernel does not fit into the padded input.
    """
    ndim = len(kernel)
    strides = sizes(owner, "strides", strides, ndim)
    dilation = sizes(owner, "dilation_rate", dilation_rate, ndim)
    name = _named(owner, padding, paddings(ndim))
    pairs = borders(owner, "padding", padding, ndim) if name is None else None
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    before, output = [], []
    for axis, (n, r, s) in enumerate(zip(size, reach, strides, strict=True)):
        if pairs is not None:
            low, total = pairs[axis][0], sum(pairs[axis])
        elif name == "causal":
            low = total = r - 1
        elif name == "same":
            total = max((-(-n // s) - 1) * s + r - n, 0)
            low = total // 2
        else:
            low = total = 0
        before.append(low)
        output.append((n + total - r) // s + 1)
    if min(output, default=1) < 1 or min(size, default=1) < 1:
        widened = f" (with its dilation, {reach})" if reach != kernel else ""
        raise ValueError(
            f"{owner} has a kernel of {kernel}{widened}, which does not fit into an input of {size} with "
            f"padding={padding!r}: the output would be empty. Make the kernel smaller, or pad with padding='same'."
        )
    return Geometry(tuple(size), tuple(output), tuple(kernel), strides, dilation, tuple(before), groups)


def transposed_geometry(
    owner: str,
    size: Shape,
    kernel: Shape,
    strides: Any = 1,
    padding: Padding = "valid",
    output_padding: Any = None,
    dilation_rate: Any = 1,
    groups: int = 1,
) -> Geometry:
    """Return the geometry of the convolution that a transposed one is the transpose of.

    Parameters
    ----------
    owner : str
        Whose the options are, for messages.
    size, kernel : tuple of int
        Lengths of the axes of space of the transposed convolution's input, and taps of the kernel along them.
    strides, padding, output_padding, dilation_rate, groups
        As in `conv_transpose`.

    Returns
    -------
    Geometry
        Its ``output`` is `size`, and its ``size`` that of the transposed convolution's output.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it should be, or the output would be empty.
    """
    ndim = len(kernel)
    strides = sizes(owner, "strides", strides, ndim)
    dilation = sizes(owner, "dilation_rate", dilation_rate, ndim)
    extra = None if output_padding is None else sizes(owner, "output_padding", output_padding, ndim, least=0)
    if extra is not None and any(more >= s for more, s in zip(extra, strides, strict=True)):
        raise ValueError(
            f"{owner} expects output_padding to be smaller than strides, got {output_padding!r} and {strides}."
        )
    name = _named(owner, padding, ("valid", "same"))
    pairs = borders(owner, "padding", padding, ndim) if name is None else None
    before, made = [], []
    for axis, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilation, strict=True)):
        reach = (k - 1) * d + 1
        full = (n - 1) * s + reach
        if pairs is not None:
            low, length = pairs[axis][0], full - sum(pairs[axis]) + (extra[axis] if extra else 0)
        elif name == "valid":
            low, length = 0, full + (max(s - reach, 0) if extra is None else extra[axis])
        else:
            length = n * s if extra is None else (n - 1) * s + reach % 2 + extra[axis]
            low = max(full - length, 0) // 2
        before.append(low)
        made.append(length)
    if min(made, default=1) < 1 or min(size, default=1) < 1:
        raise ValueError(
            f"{owner} with a kernel of {kernel} would make an empty output of an input of {size} with "
            f"padding={padding!r}. Pad less."
        )
    return Geometry(tuple(made), tuple(size), tuple(kernel), strides, dilation, tuple(before), groups)
