"""What ``model.layers`` is: the layers to look at, which is not where they are added or taken away."""

from __future__ import annotations

from typing import Any, NoReturn

from nnbackend.layers.base import Layer

__all__ = ["CURE", "LayerTuple"]


class LayerTuple(tuple[Layer, ...]):
    """The layers of a model, in order: a tuple whose errors say how layers are added.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(4), nn.ReLU()])
    >>> [layer.name for layer in model.layers]
    ['dense', 're_lu']
    >>> model.layers.append(nn.Dense(2))
    Traceback (most recent call last):
        ...
    AttributeError: model.layers cannot be changed. Make another model: nn.Sequential([*model.layers, layer]), ...
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(CURE if name in _OF_LISTS else f"A tuple of layers has no attribute {name!r}.")

    def __setitem__(self, place: Any, value: Any) -> NoReturn:
        raise TypeError(CURE)

    def __delitem__(self, place: Any) -> NoReturn:
        raise TypeError(CURE)

    def __iadd__(self, other: Any) -> NoReturn:  # type: ignore[misc]
        raise TypeError(CURE)


#: What lists are changed by.
_OF_LISTS = frozenset({"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"})

#: How a model comes to have other layers.
CURE = (
    "model.layers cannot be changed. Make another model: nn.Sequential([*model.layers, layer]), which shares the "
    "weights that are there; a Sequential that is not built takes one more by model.add(layer)."
)
