"""First weights from data: layer-sequential unit variance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nnbackend import functional, initializers
from nnbackend.arguments import positive_integer
from nnbackend.backend import host, plain, to_numpy
from nnbackend.layers import Layer, Parameter
from nnbackend.layers.base import observing
from nnbackend.layers.recurrent_cells import Cell
from nnbackend.random import Stream

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["lsuv"]


class _Seen(BaseException):
    """Ends a run of the model once the layer in question has been seen."""


def lsuv(
    model: Model,
    x: Any,
    *,
    tolerance: float = 0.1,
    iterations: int = 10,
    orthogonal: bool = True,
) -> dict[str, float]:
    r"""Set first weights so that each layer's output has unit variance on a batch of data.

    Layers with a ``kernel`` are gone through in the order in which the model calls them. Each kernel is made orthogonal
    and then scaled until the variance of the layer's output, before its activation, is 1:

    .. math:: W := W / \sqrt{\operatorname{Var}(x W + b)}
        \quad\text{while}\quad |\operatorname{Var}(x W + b) - 1| \ge \varepsilon

    So signals neither vanish nor explode in deep networks, whatever their activations are. It costs a few forward
    passes for each layer, once.

    Parameters
    ----------
    model : Model
        Its kernels are set; biases are left as they are. It need not be compiled.
    x : array, list or table of shape (n, ...)
        Some inputs, such as a few hundred samples of those to train on.
    tolerance : float
        :math:`\varepsilon`.
    iterations : int
        How often a kernel is scaled at most; layers that are linear need one.
    orthogonal : bool
        Whether kernels become orthogonal first. Otherwise those that are there are scaled.

    Returns
    -------
    dict of str to float
        The variance reached, by the layer's path.

    Raises
    ------
    ValueError
        If a layer's output is the same for all samples and units, or not finite, or no layer has a kernel to set.

    Notes
    -----
    Frozen layers, and recurrent ones, whose kernels work on many steps, are left as they are. Layers run as they do
    outside of training: nothing is dropped.

    References
    ----------
    D. Mishkin and J. Matas, "All you need is a good init", ICLR 2016, https://arxiv.org/abs/1511.06422

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(32, activation="relu") for _ in range(20)], seed=0)
    >>> x = nn.random.Stream(0, "x").normal((256, 16))
    >>> before = float(model.predict(x).var())
    >>> found = nn.lsuv(model, x)
    >>> bool(before < 0.01 < 0.2 < model.predict(x).var() < 1.0)
    True
    >>> all(abs(variance - 1.0) < 0.1 for variance in found.values())
    True
    """
    positive_integer("lsuv", "iterations", iterations)
    if not tolerance > 0.0:
        raise ValueError(f"lsuv expects a tolerance above zero, got {tolerance}.")
    data = model._dataset("lsuv", x)
    model._prepare(data.x)
    found: dict[str, float] = {}
    for layer, path in _with_kernels(model, data.x):
        kernel: Parameter = layer.kernel
        if orthogonal:
            stream = Stream(model.seed, f"{path}/kernel/lsuv")
            kernel.assign(initializers.Orthogonal()(kernel.shape, stream, kernel.dtype_name))
        variance = _variance(model, data.x, layer, path)
        for _ in range(iterations):
            if abs(variance - 1.0) < tolerance:
                break
            kernel.assign(kernel.numpy() / variance**0.5)
            variance = _variance(model, data.x, layer, path)
        found[path] = variance
    if not found:
        raise ValueError(
            f"lsuv found no layer with a kernel to set in {type(model).__name__} {model.path!r}. Are they frozen?"
        )
    return found


def _with_kernels(model: Model, x: Any) -> list[tuple[Layer, str]]:
    """Return the layers whose kernels are to be set, with their paths, in the order in which they are called."""
    frozen = {id(parameter) for _, parameter, trained in model.named_parameters() if not trained}
    inside_cells = {
        id(inner) for layer in model.family() if isinstance(layer, Cell) for inner in layer.family()
    }
    called: dict[int, tuple[Layer, str]] = {}

    def observe(layer: Layer, path: str, inputs: tuple[Any, ...], output: Any) -> None:
        kernel = getattr(layer, "kernel", None)
        sets = isinstance(kernel, Parameter) and len(kernel.shape) >= 2 and id(kernel) not in frozen
        if sets and id(layer) not in inside_cells:
            called.setdefault(id(layer), (layer, path))

    with observing(observe):
        model(x)
    return list(called.values())


def _variance(model: Model, x: Any, layer: Layer, path: str) -> float:
    """Return the variance of a layer's output before its activation, over samples and units."""
    outputs: list[Any] = []

    def observe(seen: Layer, path: str, inputs: tuple[Any, ...], output: Any) -> None:
        if seen is layer:
            outputs.append(to_numpy(plain(output)))
            raise _Seen

    with _linear(layer), observing(observe), suppress(_Seen):
        model(x)
    xp = host().xp
    variance = float(xp.var(xp.astype(outputs[0], xp.float64)))
    if not 0.0 < variance < float("inf"):
        raise ValueError(
            f"lsuv expects outputs of {type(layer).__name__} {path!r} that differ and are finite; their variance is "
            f"{variance}. Look at the data, and at the layers before it."
        )
    return variance


@contextmanager
def _linear(layer: Layer) -> Iterator[None]:
    """Leave a layer's activation out while the block lasts, past what watches over compiled steps."""
    before = vars(layer).get("activation")
    if before is None:
        yield
        return
    vars(layer)["activation"] = functional.linear
    try:
        yield
    finally:
        vars(layer)["activation"] = before
