"""Sequential: layers one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from nnbackend.layers.base import Layer, Masked
from nnbackend.layers.graph import Input, Symbol, require_declared, typical_shape
from nnbackend.models.listing import CURE, LayerTuple
from nnbackend.models.model import Model

__all__ = ["Sequential"]


class Sequential(Model):
    """A model whose layers stand in a row.

    Parameters
    ----------
    layers : sequence of Layer
        In order; the same layer may stand twice and then shares its weights. What `Input` returns may stand first.
    input_shape : tuple of int or None, optional
        The shape of one sample, where it is to be known before there are data; the same as an `Input` at first.
    **options
        ``backend``, ``seed``, ``name``, ``dtype`` and ``trainable`` of `Model`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(16, activation="relu"), nn.Dense(1)], seed=0)
    >>> model.compile(optimizer=nn.optimizers.Adam(0.05), loss="mean_squared_error")
    >>> history = model.fit([[0.0], [1.0]], [0.0, 1.0], epochs=100, verbose=0)
    >>> history.history["loss"][-1] < 1e-2
    True
    """

    def __init__(
        self,
        layers: Sequence[Layer | Symbol] = (),
        *,
        input_shape: Sequence[int | None] | int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._declared: tuple[int | None, ...] | None = (
            None if input_shape is None else Input(input_shape).declared
        )
        if isinstance(layers, Layer):
            raise TypeError(
                "Sequential expects a list of layers: nn.Sequential([nn.Dense(3), ...]), got one layer."
            )
        self._layers: list[Layer] = []
        for layer in layers:
            self.add(layer)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order; `add` adds one, before the model is built."""
        return LayerTuple(self._layers)

    @layers.setter
    def layers(self, value: object) -> NoReturn:
        raise AttributeError(CURE)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make a model like this one, with the layers it has now."""
        return super().get_config() | {"layers": list(self._layers), "input_shape": self._declared}

    def declared_shape(self) -> Any:
        """Return the shape of one sample, where it was given."""
        return None if self._declared is None else typical_shape(self._declared)

    @property
    def takes_any_length(self) -> bool:
        """Whether None stands in the shape that was given."""
        return self._declared is not None and None in self._declared

    def check_input(self, input_shape: Any) -> None:
        """Refuse data whose samples have another shape than was declared."""
        if self._declared is not None and isinstance(input_shape, tuple):
            require_declared(
                f"{type(self).__name__} {self.path!r} expects inputs", self._declared, input_shape
            )

    def add(self, layer: Layer | Symbol) -> None:
        """Put a layer at the end; what `Input` returns may come first.

        Raises
        ------
        TypeError
            If it is not a layer.
        RuntimeError
            If the model has been built.
        """
        if isinstance(layer, Symbol) and layer.node is None and not self._layers and self._declared is None:
            self._declared = layer.declared
            return
        if not isinstance(layer, Layer):
            cure = "A function goes into nn.Lambda, the name of an activation into nn.Activation."
            if isinstance(layer, type) and issubclass(layer, Layer):
                cure = f"Make one: {layer.__name__}(...)."
            raise TypeError(f"Sequential expects layers, got {type(layer).__name__}. {cure}")
        if self.built:
            raise RuntimeError(
                "A layer cannot be added to a model that has its weights. Make a new Sequential."
            )
        self._layers.append(layer)

    @property
    def casts_input(self) -> bool:  # type: ignore[override]
        """Whether inputs are cast, as its first layer says."""
        return self._layers[0].casts_input if self._layers else True

    def build(self, input_shape: Any) -> None:
        """Make all parameters, for samples of this shape."""
        if not self._layers:
            raise ValueError("A Sequential model needs at least one layer.")
        shape: Any = input_shape if isinstance(input_shape, (list, dict)) else tuple(input_shape)
        for layer in self._layers:
            try:
                layer.build(shape)
                layer.output_shape = layer.compute_output_shape(shape)
            except TypeError as error:
                if not isinstance(shape, (list, dict)):
                    raise
                raise TypeError(
                    f"{type(self).__name__} {self.path!r} got {len(shape)} inputs, of which {type(layer).__name__} "
                    f"{layer.path!r} takes one. Give the array itself; where arrays are the rows of one, put them "
                    "together: numpy.stack(rows). Where a stream yields lists [x, y], yield tuples: (x, y)."
                ) from error
            shape = layer.output_shape
        self._output_sample = shape

    def _sample_axes(self) -> int | None:
        known = super()._sample_axes()
        if known is not None or self.built or not self._layers:
            return known
        first = self._layers[0]
        return len(first.expects.split()) if first.expects else 1 if first.takes_rows else None

    def check_values(self, x: Any) -> None:
        """Refuse data whose numbers the first layer does not take."""
        if self._layers:
            self._layers[0].check_values(x)

    def forward(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """Run the layers in order, and pass masks on to those that take them."""
        for layer in self._layers:
            x, mask = layer.call_masked((mask,), x)
        return Masked(x, mask)
