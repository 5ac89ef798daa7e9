"""Layers for sequences: in both directions, step by step, and with steps left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.layers.base import Layer
from nnbackend.layers.masks import mask_as_booleans
from nnbackend.layers.recurrent import RNN
from nnbackend.layers.recurrent_cells import flat
from nnbackend.typing import Shape

__all__ = ["Bidirectional", "Masking", "TimeDistributed"]

_MERGES: dict[str | None, Callable[[Any, Any], Any]] = {
    "sum": lambda ahead, back: ahead + back,
    "mul": lambda ahead, back: ahead * back,
    "ave": lambda ahead, back: (ahead + back) * 0.5,
    "concat": lambda ahead, back: functional.concat([ahead, back], axis=-1),
    None: lambda ahead, back: (ahead, back),
}


class Bidirectional(Layer):
    """Run a recurrent layer forwards and one like it backwards, and merge what they say.

    Parameters
    ----------
    layer : Layer
        A recurrent layer, such as `LSTM`.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        Whether their outputs are put side by side, added, multiplied or averaged; None returns both.
    backward_layer : Layer, optional
        The layer that goes backwards. Without one it is made with the arguments of `layer`, and has weights of its
        own.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    forward_layer, backward_layer : Layer
        The two layers.

    Raises
    ------
    ValueError
        If `merge_mode` is none of these, or the two layers do not belong together.
    TypeError
        If `layer` is no recurrent layer.

    Notes
    -----
    With ``return_sequences=True`` the backward layer's outputs are turned around, so that those of each step stand
    together. With ``return_state=True`` the states of the forward layer follow, then those of the backward one; the
    same order is that of ``initial_state=``. A mask given to it is given to both. At the last step the backward
    layer has seen that step alone; without ``return_sequences`` its output is the one at the first step, as in Keras.

    References
    ----------
    M. Schuster and K. K. Paliwal, "Bidirectional recurrent neural networks", 1997,
    https://doi.org/10.1109/78.650093

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Bidirectional(nn.LSTM(4, return_sequences=True))
    >>> layer(nn.get_backend("numpy").xp.ones((2, 5, 3))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        layer: Layer,
        merge_mode: str | None = "concat",
        *,
        backward_layer: Layer | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for each in (layer, backward_layer):
            if each is not None and not isinstance(each, RNN):
                raise TypeError(
                    f"Bidirectional expects recurrent layers, such as LSTM, got {type(each).__name__}. Put what each "
                    "step needs beside them in a TimeDistributed before or after."
                )
        if merge_mode not in _MERGES:
            raise ValueError(
                f"Bidirectional expects merge_mode 'concat', 'sum', 'mul', 'ave' or None, got {merge_mode!r}."
            )
        self.merge_mode = merge_mode
        self.forward_layer: Any = layer
        self.backward_layer: Any = _reversed(layer) if backward_layer is None else backward_layer
        for name in ("return_sequences", "return_state", "stateful", "go_backwards"):
            ahead, back = (getattr(each, name, None) for each in (layer, self.backward_layer))
            if ahead is (not back) if name != "go_backwards" else ahead == back:
                wanted = "differ in" if name == "go_backwards" else "agree in"
                raise ValueError(
                    f"Bidirectional expects its two layers to {wanted} {name}, got {ahead} forwards and {back} "
                    "backwards."
                )

    @property
    def stateful(self) -> bool:
        """Whether the layers carry their states from batch to batch."""
        return bool(self.forward_layer.stateful)

    @property
    def batch_size(self) -> int | None:
        """How many samples each batch has, where `stateful`."""
        size: int | None = self.forward_layer.batch_size
        return size

    def check_input(self, input_shape: Any) -> None:
        """Refuse what the layers refuse."""
        self.forward_layer.check_input(input_shape)

    def build(self, input_shape: Shape, *shapes: Any) -> None:
        """Build both layers, where their outputs can be merged."""
        self.compute_output_shape(input_shape)
        self.forward_layer.build(input_shape)
        self.backward_layer.build(input_shape)

    def compute_output_shape(self, input_shape: Shape, *shapes: Any) -> Any:
        """Return the shape of the merged outputs, or a list with those of both and of the states."""
        ahead, back = (
            each.compute_output_shape(input_shape) for each in (self.forward_layer, self.backward_layer)
        )
        states: list[Any] = []
        if self.forward_layer.return_state:
            (ahead, *first), (back, *second) = ahead, back
            states = [*first, *second]
        if self.merge_mode is None:
            return [ahead, back, *states]
        lead = (
            -1 if self.merge_mode == "concat" else None
        )  # side by side they may have other numbers of units
        if ahead[:lead] != back[:lead]:
            raise ValueError(
                f"Bidirectional {self.path!r} with merge_mode={self.merge_mode!r} expects two layers with outputs of "
                f"the same shape, got {shown(ahead)} forwards and {shown(back)} backwards. Give both the same "
                "number of units, or take merge_mode='concat' or None."
            )
        merged = (*ahead[:-1], ahead[-1] + back[-1]) if self.merge_mode == "concat" else ahead
        return [merged, *states] if states else merged

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the mask for all that is returned: that of the inputs, where the outputs are sequences."""
        own = mask_as_booleans(mask) if self.forward_layer.return_sequences and mask is not None else None
        outputs = [own] if self.merge_mode is not None else [own, own]
        states = [None] * (2 * self._count_states() if self.forward_layer.return_state else 0)
        return own if len(outputs) + len(states) == 1 else [*outputs, *states]

    def _count_states(self) -> int:
        return len(self.forward_layer._shapes)

    def forward(self, x: Any, *states: Any, initial_state: Any = None, mask: Any = None) -> Any:
        """Run both layers and merge their outputs."""
        given = flat(states) or flat(initial_state)
        half = len(given) // 2
        if len(given) % 2:
            raise ValueError(
                f"Bidirectional {self.path!r} expects initial states for both layers, those of the forward layer "
                f"first, got {len(given)}."
            )
        layer = self.forward_layer
        ahead = layer(x, *given[:half], mask=mask)
        back = self.backward_layer(x, *given[half:], mask=mask)
        new: list[Any] = []
        if layer.return_state:
            (ahead, *first), (back, *second) = ahead, back
            new = [*first, *second]
        if layer.return_sequences:
            ahead, back = (
                functional.flip(y, axis=1) if each.go_backwards else y
                for y, each in ((ahead, layer), (back, self.backward_layer))
            )
        merged = _MERGES[self.merge_mode](ahead, back)
        parts = [*merged, *new] if self.merge_mode is None else [merged, *new]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def reset_states(self) -> None:
        """Set the states that are carried from batch to batch back to zero."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()


def _anew(thing: Any) -> Any:
    """Return something like it with weights of its own: layers are made again, also in lists."""
    if isinstance(thing, Layer):
        return type(thing).from_config({name: _anew(value) for name, value in thing.get_config().items()})
    if isinstance(thing, (list, tuple)):
        return type(thing)(_anew(item) for item in thing)
    return thing


def _reversed(layer: Any) -> Any:
    """Return a layer like this one that goes the other way, with weights of its own."""
    config = {name: _anew(value) for name, value in layer.get_config().items()}
    config |= {"go_backwards": not layer.go_backwards, "name": f"backward_{layer.name}"}
    return type(layer).from_config(config)


class TimeDistributed(Layer):
    """Apply a layer to each step of a sequence on its own.

    Parameters
    ----------
    layer : Layer
        The layer for one step.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    layer : Layer
        That layer.

    Notes
    -----
    Inputs (n, t, ...) are laid out as n t samples (n t, ...), so that the layer runs once, with the same weights at
    each step; a batch normalization inside sees all steps as samples. The mask of the steps is passed on, the layer
    inside sees none.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.TimeDistributed(nn.Dense(4))(nn.get_backend("numpy").xp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    passes_mask = True

    def __init__(self, layer: Layer, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise TypeError(f"TimeDistributed expects a layer, got {type(layer).__name__}.")
        self.layer = layer
        self.casts_input = layer.casts_input

    def check_input(self, input_shape: Any) -> None:
        """Refuse what has no steps, or steps that the layer does not take."""
        if not input_shape:
            raise ValueError(
                f"TimeDistributed {self.path!r} expects inputs of shape (n, t, ...), got (n). Check the layer before "
                "it."
            )

    def build(self, input_shape: Shape) -> None:
        """Build the layer for one step."""
        self.layer.build(tuple(input_shape[1:]))

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Return the layer's output shape, with the axis of time before it."""
        return _after_time(input_shape[0], self.layer.compute_output_shape(tuple(input_shape[1:])))

    def forward(self, x: Any) -> Any:
        """Lay the steps out as samples, run the layer, and put them together again."""
        lead = tuple(x.shape[:2])
        y = self.layer(functional.reshape(x, (math.prod(lead), *x.shape[2:])))
        if isinstance(y, (list, tuple)):
            return tuple(functional.reshape(part, (*lead, *part.shape[1:])) for part in y)
        return functional.reshape(y, (*lead, *y.shape[1:]))


def _after_time(steps: int, shape: Any) -> Any:
    """Put the axis of time before a shape, or before each of a list of them."""
    return [_after_time(steps, each) for each in shape] if isinstance(shape, list) else (steps, *shape)


class Masking(Layer):
    r"""Leave out the steps whose numbers are all equal to one that stands for nothing.

    .. math:: m_t = \text{any}(x_t \ne v), \qquad y_t = m_t\, x_t

    The layers after it get the mask m: recurrent ones keep their states where it is False.

    Parameters
    ----------
    mask_value : float
        :math:`v`.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Notes
    -----
    Inputs have the shape (n, t, ...). A mask that comes in is kept: a step counts where both say so.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0, 0.0], [-1.0, -1.0]]])
    >>> layer = nn.Masking(mask_value=-1.0)
    >>> layer(x), layer.compute_mask(x)
    (array([[[1., 0.],
            [0., 0.]]], dtype=float32), array([[ True, False]]))
    """

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = float(mask_value)

    def check_input(self, input_shape: Any) -> None:
        """Refuse what is no sequence."""
        if len(input_shape) < 2:
            came = ", ".join(["n", *map(str, input_shape)])
            raise ValueError(
                f"Masking {self.path!r} expects inputs of shape (n, t, ...), got ({came}). Check the layer before it."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return where a step has a number that is not the mask value."""
        axes = tuple(range(2, x.ndim))
        own = functional.any(self._stands_for_something(x), axis=axes)
        return own if mask is None else functional.logical_and(own, mask_as_booleans(mask))

    def forward(self, x: Any) -> Any:
        """Set the steps to zero that are left out."""
        kept = functional.any(self._stands_for_something(x), axis=tuple(range(2, x.ndim)), keepdims=True)
        return functional.where(kept, x, 0.0)

    def _stands_for_something(self, x: Any) -> Any:
        value: Any = self.mask_value
        return functional.not_equal(x, value)
