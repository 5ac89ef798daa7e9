"""Masks at the door of a layer: their shapes, by the layer's own names, and numbers as booleans."""

from __future__ import annotations

from typing import Any

from nnbackend import functional
from nnbackend.backend import plain
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = ["checked_mask", "checked_pairs", "mask_as_booleans"]


def mask_as_booleans(mask: Any) -> Any:
    """Return a mask as booleans; numbers stand for True where they are not zero."""
    return mask if "bool" in str(plain(mask).dtype) else mask != 0


def checked_mask(layer: Layer, name: str, mask: Any, shape: Shape, axes: str = "n, t") -> Any:
    """Return a mask of positions as booleans, or None where there is none.

    Raises
    ------
    ValueError
        If its shape is not that.
    """
    if mask is None or tuple(mask.shape) == tuple(shape):
        return None if mask is None else mask_as_booleans(mask)
    raise ValueError(
        f"{type(layer).__name__} {layer.path!r} expects {name} of shape ({axes}) = {tuple(shape)}, True where a "
        f"position counts, got {tuple(mask.shape)}."
    )


def checked_pairs(layer: Layer, name: str, mask: Any, shape: Shape, axes: str = "t, s") -> Any:
    """Return a mask of pairs of positions as booleans with an axis for heads, or None where there is none.

    Parameters
    ----------
    layer : Layer
        Whose mask it is.
    name : str
        The argument.
    mask : array of shape (n, t, s) or (n, heads, t, s), or None
        Any axis may have length one instead.
    shape : tuple of int
        The lengths n, heads, t and s.
    axes : str
        The last two axes, as the layer names them.

    Raises
    ------
    ValueError
        If it has other axes, or their lengths do not fit.
    """
    if mask is None:
        return None
    given = tuple(mask.shape)
    wide = (given[0], 1, *given[1:]) if len(given) == 3 else given
    if len(wide) == 4 and all(own in (1, length) for own, length in zip(wide, shape, strict=True)):
        booleans = mask_as_booleans(mask)
        return booleans if wide == given else functional.expand_dims(booleans, axis=1)
    samples, _, *lengths = shape
    cure = ""
    if len(given) == 2:
        cure = (
            " With two axes it could mean either of two things: give padding, (n, t) or (n, s), as the padding mask or "
            f"value_mask=, and one mask of pairs for all samples as {name}[None, ...]."
        )
    raise ValueError(
        f"{type(layer).__name__} {layer.path!r} expects {name} of shape (n, {axes}) = {(samples, *lengths)} or "
        f"(n, heads, {axes}) = {tuple(shape)}, got {given}.{cure}"
    )
