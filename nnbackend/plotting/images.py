"""Weights and outputs of layers as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nnbackend.autodiff import Tensor
from nnbackend.backend import host, plain
from nnbackend.layers.base import Binding, Layer, observing
from nnbackend.plotting.figure import axes_for, color_of, host_array

if TYPE_CHECKING:
    from nnbackend.models import Model

__all__ = ["activations", "filters", "weights"]


def weights(layer: Any, name: str = "kernel", *, ax: Any = None) -> Any:
    """Draw a weight as a picture of its numbers: blue below zero, red above.

    Parameters
    ----------
    layer : Layer or array
        A layer that has been built, or the weight itself; of one with more than two axes all but the last are rows.
    name : str
        Which weight of the layer.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        With one image and its colour bar.

    Raises
    ------
    ValueError
        If the layer has no such weight.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Dense(3)
    >>> layer.build((5,))
    >>> nn.plotting.weights(layer).images[0].get_array().shape
    (5, 3)
    """
    values = _weight(layer, name)
    rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    shape = rows.shape
    high = max(2.6, min(9.0, 1.5 + 4.5 * min(1.0, shape[0] / max(shape))))
    ax = axes_for(ax, max(4.0, min(9.0, 2.2 + 4.5 * min(1.0, shape[1] / max(shape)))), high)
    most = _most(rows)
    image = ax.imshow(
        rows, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest", aspect=_aspect(shape)
    )
    ax.figure.colorbar(image, ax=ax)
    whole = isinstance(layer, Layer)
    ax.set(
        xlabel="output" if values.ndim > 1 else "number",
        ylabel="input" if values.ndim > 1 else "",
        title=f"{layer.path}/{name}" if whole else "",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if values.ndim < 2:
        ax.set_yticks([])
    return ax


def _aspect(shape: tuple[int, ...]) -> str:
    """Return square pixels where these give a picture of good shape."""
    return "equal" if max(shape) <= 3 * min(shape) else "auto"


def _most(values: Any) -> float:
    return float(abs(values).max()) if values.size and float(abs(values).max()) else 1.0


def _weight(layer: Any, name: str) -> Any:
    """Return a layer's weight on the host."""
    if not isinstance(layer, Layer):
        return host_array(layer)
    layer._require_built("plotting")
    own = {parameter.path.rpartition("/")[2]: parameter for parameter in layer.own_parameters()}
    if name not in own:
        raise ValueError(
            f"{type(layer).__name__} {layer.path!r} has no weight {name!r}; it has {', '.join(own) or 'none'}."
        )
    return own[name].numpy()


def filters(
    layer: Any,
    name: str = "kernel",
    *,
    shape: tuple[int, ...] | None = None,
    channel: int | None = None,
    limit: int = 64,
    ax: Any = None,
) -> Any:
    """Draw the filters of a layer, each a small image, in rows.

    Parameters
    ----------
    layer : Layer or array
        A convolution that has been built, or its kernel of shape (h, w, c, m) or (t, c, m); with `shape` a dense layer
        on images, too.
    name : str
        Which weight of the layer.
    shape : tuple of int, optional
        The shape (h, w) or (h, w, c) of the images that a dense layer was given flat.
    channel : int, optional
        The channel of the inputs that is drawn; without it three channels are drawn as colours, and of others their
        mean is drawn.
    limit : int
        At most how many filters.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        With one image of all filters; each is scaled to its own largest weight, and zero is white or mid-grey.

    Raises
    ------
    ValueError
        If the weight is no kernel of images, or has no such channel.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Conv2D(8, 3)
    >>> layer.build((28, 28, 1))
    >>> nn.plotting.filters(layer).get_title()
    'conv2d/kernel: 8 filters of 3 x 3 x 1'
    """
    kernel = _weight(layer, name)
    if shape is not None and kernel.ndim == 2:
        if math.prod(shape) != kernel.shape[0]:
            raise ValueError(
                f"Images of shape {tuple(shape)} are not what a kernel of shape {kernel.shape} takes."
            )
        kernel = kernel.reshape(*shape, *((1,) if len(shape) == 2 else ()), kernel.shape[1])
    if kernel.ndim == 3:  # over time: a row for each channel
        kernel = kernel.swapaxes(0, 1)[:, :, None, :]
    if kernel.ndim != 4:
        raise ValueError(
            f"filters expects a kernel of shape (h, w, c, m) or (t, c, m), got {tuple(kernel.shape)}. Draw others with "
            "weights, and those of dense layers on images with shape=(h, w)."
        )
    channels, count = kernel.shape[2:]
    if channel is not None and not 0 <= channel < channels:
        raise ValueError(f"The kernel has the channels 0 to {channels - 1}, got channel={channel}.")
    tiles = [kernel[..., number] for number in range(min(count, limit))]
    if channel is None and channels == 3:
        tiles = [0.5 + 0.5 * tile / _most(tile) for tile in tiles]
    else:
        tiles = [tile[..., channel] if channel is not None else tile.mean(axis=-1) for tile in tiles]
        tiles = [tile / _most(tile) for tile in tiles]
    ax = _mosaic(tiles, ax, cmap="RdBu_r", low=-1.0, high=1.0)
    size = " x ".join(map(str, kernel.shape[:3]))
    title = f"{layer.path}/{name}: " if isinstance(layer, Layer) else ""
    shown = f"{count} filters" if count <= limit else f"{limit} of {count} filters"
    ax.set_title(f"{title}{shown} of {size}", fontsize="medium")
    return ax


def _mosaic(tiles: list[Any], ax: Any, *, cmap: str, low: float | None, high: float | None) -> Any:
    """Draw images of one size in rows, as one image with gaps between them."""
    xp = host().xp
    height, width, *colors = tiles[0].shape
    columns = min(len(tiles), max(1, round(math.sqrt(len(tiles) * 1.4 * height / width))))
    rows = -(-len(tiles) // columns)
    gap = max(1, round(0.12 * max(height, width)))
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap)
    picture = xp.full((*size, *colors), 1.0 if colors else math.nan)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        picture[top : top + height, left : left + width] = tile
    scale = 6.0 / max(size)
    ax = axes_for(ax, max(2.8, size[1] * scale + 0.3), max(1.4, size[0] * scale + 0.6))
    ax.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()
    return ax


def activations(model: Model, layer: Layer | str, x: Any, *, limit: int = 64, ax: Any = None) -> Any:
    """Draw what a layer of a model answers to one sample.

    Parameters
    ----------
    model : Model
        The model; nothing in it changes.
    layer : Layer or str
        One of its layers, or the path of one, such as ``"encoder/dense_1"``.
    x : array
        One sample, or a batch of which the first is taken.
    limit : int
        At most how many channels of images.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        Images have a picture of each channel, sequences one of steps and channels, vectors a bar for each unit.

    Raises
    ------
    ValueError
        If the model has no such layer, or does not call it on this sample.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(4, activation="relu"), nn.Dense(2)], seed=0)
    >>> ax = nn.plotting.activations(model, "dense", [[1.0, 2.0]])
    >>> len(ax.patches)
    4
    """
    values, path = _answer(model, layer, x)
    if values.ndim > 2:
        channels = values.reshape(*values.shape[:2], -1)
        tiles = [channels[..., number] for number in range(min(limit, channels.shape[-1]))]
        ax = _mosaic(tiles, ax, cmap="viridis", low=float(values.min()), high=float(values.max()))
        size = " x ".join(map(str, values.shape[:2]))
        count = channels.shape[-1]
        shown = f"{count} channels" if count <= limit else f"{limit} of {count} channels"
        ax.set_title(f"{path}: {shown} of {size}", fontsize="medium")
        return ax
    ax = axes_for(ax)
    if values.ndim == 2:
        image = ax.imshow(values.T, aspect="auto", interpolation="nearest", cmap="viridis")
        ax.figure.colorbar(image, ax=ax, label="output")
        ax.set(xlabel="step", ylabel="channel", title=path)
    else:
        flat = values.reshape(-1)
        ax.bar(range(len(flat)), flat, color=color_of(0), width=0.8 if len(flat) <= 100 else 1.0)
        ax.axhline(0.0, color="black", linewidth=0.6)
        ax.set(xlabel="unit", ylabel="output", title=path)
    for axis in (ax.xaxis, ax.yaxis) if values.ndim == 2 else (ax.xaxis,):
        axis.get_major_locator().set_params(integer=True)
    return ax


def _answer(model: Model, layer: Layer | str, x: Any) -> tuple[Any, str]:
    """Return what a layer gives for the first sample, on the host, and its path."""
    data = model._dataset("activations", x)
    if model.built and isinstance(model.input_shape, tuple) and data.x.ndim == len(model.input_shape):
        data = model._dataset("activations", host_array(x)[None])
    model._prepare(data.x)
    found: dict[str, Any] = {}
    names: dict[int, str] = {}

    def observe(called: Layer, path: str, inputs: tuple[Any, ...], output: Any) -> None:
        name = names.setdefault(id(called), path or called.name)
        if isinstance(output, Tensor):
            found[name] = plain(output)

    given = model._given()
    values = {id(model._handles[path]): array for path, array in given["parameters"].items()}
    binding = Binding(values, given["seed"], given["step"], model.backend)
    with model.backend.scope(), binding.bound(), observing(observe):
        model(next(iter(data.batches(1))).x)
    path = layer if isinstance(layer, str) else names.get(id(layer), "")
    if path not in found:
        asked = layer if isinstance(layer, str) else layer.path
        raise ValueError(f"The model called no layer {asked!r} on this sample; it called {', '.join(found)}.")
    return host_array(found[path])[0], path
