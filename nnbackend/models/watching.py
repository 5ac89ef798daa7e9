"""Looking at what layers compute while a model runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nnbackend.layers import Layer

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["watching"]


@contextmanager
def watching(model: Model, see: Callable[[Layer, Any], Any]) -> Iterator[None]:
    """Show each layer's output to a function while the block lasts.

    Parameters
    ----------
    model : Model
        Whose layers; itself it is one of them.
    see : callable
        ``see(layer, output)`` is called when a layer has computed its output, inner layers before those around them.
        What it returns is passed on in place of the output. A step that is compiled shows its outputs once, while it is
        traced: run the model itself.
    """
    watched = list(model.family())
    for layer in watched:
        vars(layer)["forward"] = _seen(layer, layer.forward, see)
    try:
        yield
    finally:
        for layer in watched:
            del vars(layer)["forward"]


def _seen(layer: Layer, forward: Callable[..., Any], see: Callable[[Layer, Any], Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(*inputs: Any, **options: Any) -> Any:
        return see(layer, forward(*inputs, **options))

    return run
