"""Activations by name, and with options of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nnbackend.backend import nearest
from nnbackend.config import Configurable, find, register
from nnbackend.functional import activations, elementary, gates, rectifiers

__all__ = ["WithOptions", "get"]

_NAMES = {
    activations: "linear log_sigmoid log_softmax sigmoid softmax softmin softplus softsign step",
    elementary: "tanh",
    gates: "gelu glu hard_silu mish silu",
    rectifiers: (
        "celu elu hard_shrink hard_sigmoid hard_tanh leaky_relu relu relu6 selu soft_shrink tanh_shrink threshold"
    ),
}
_BY_NAME: dict[str, Callable[..., Any]] = {
    name: register("nnbackend", name=name)(getattr(module, name))
    for name, module in sorted((name, module) for module, names in _NAMES.items() for name in names.split())
}
_BY_NAME |= {"swish": _BY_NAME["silu"], "hard_swish": _BY_NAME["hard_silu"]}


class WithOptions(Configurable):
    """An activation with options that are not its defaults; `get` makes them.

    Parameters
    ----------
    function : str or callable
        The activation.
    **options
        Its options, such as ``negative_slope=0.1``.

    Raises
    ------
    TypeError
        If the function has no such option.

    Examples
    --------
    >>> import nnbackend as nn
    >>> leaky = nn.activations.get("leaky_relu", negative_slope=0.5)
    >>> leaky(nn.get_backend("numpy").xp.asarray([-2.0, 1.0]))
    array([-1.,  1.])
    """

    def __init__(self, function: str | Callable[..., Any], **options: Any) -> None:
        self.function = get(function)
        self.options = options
        parameters = inspect.signature(self.function).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        name = getattr(self.function, "__name__", repr(self.function))
        for option in options:
            if option not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise TypeError(
                    f"The activation {name} has no option {option!r}; {has}.{nearest(option, known)}"
                )

    def __call__(self, x: Any) -> Any:
        """Apply the function with its options."""
        return self.function(x, **self.options)


def get(which: str | Callable[..., Any] | None, **options: Any) -> Callable[..., Any]:
    """Return an activation by its name, such as ``"relu"``; a function or layer as it is; the identity for None.

    Parameters
    ----------
    which : str or callable, optional
        The name or the function.
    **options
        Options of the function, such as ``alpha=0.5`` for ``"elu"``.

    Returns
    -------
    callable
        The function; with options a `WithOptions`, which a saved model can hold.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class, or the function has no such option.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.activations.get("elu", alpha=0.5)(nn.get_backend("numpy").xp.asarray([-1e4, 1.0]))
    array([-0.5,  1. ])
    """
    if options:
        return WithOptions("linear" if which is None else which, **options)
    if which is None:
        return _BY_NAME["linear"]
    if callable(which) and not isinstance(which, type):
        return which
    return find("activation", which, _BY_NAME)
