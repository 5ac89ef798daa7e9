"""Graph: a model of layers that were called on symbols, with any number of inputs and outputs."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from nnbackend import functional
from nnbackend.backend import Backend, plain
from nnbackend.layers.base import Layer, Masked, cast
from nnbackend.layers.graph import Node, Symbol, library_functions, replace_symbols, require_declared
from nnbackend.models.listing import CURE, LayerTuple
from nnbackend.models.model import Model
from nnbackend.models.objective import in_order

__all__ = ["Graph", "in_order_of_use"]

#: Files of `nnbackend.functional` whose functions leave every element in its place: masks hold for their results.
_IN_PLACE = ("elementary.", "activations.", "dropout.", "logic.", "dtypes.")


class Graph(Model):
    """A model that runs a graph of calls; ``nnbackend.Model(inputs, outputs)`` makes one.

    Parameters
    ----------
    inputs : Symbol, or list or dict of Symbol
        What `Input` returned.
    outputs : Symbol, or list or dict of Symbol
        What comes out; all of it must be computed from the inputs.
    **options
        ``backend``, ``seed``, ``name``, ``dtype`` and ``trainable`` of `Model`.

    Raises
    ------
    TypeError
        If inputs or outputs are not symbols, or there are none.
    ValueError
        If outputs need an input that is not among the inputs.

    Examples
    --------
    >>> import nnbackend as nn
    >>> a, b = nn.Input((3,), name="a"), nn.Input((2,), name="b")
    >>> shared = nn.Dense(4)
    >>> model = nn.Model([a, b], shared(a) * nn.Dense(4, "tanh")(b), seed=0)
    >>> model.predict({"a": [[1.0, 2.0, 3.0]], "b": [[1.0, 2.0]]}).shape
    (1, 4)
    """

    casts_input = False  # each layer inside casts what it is called on

    def __init__(self, inputs: Any, outputs: Any, **options: Any) -> None:
        super().__init__(**options)
        self._inputs, keys = _symbols("inputs", inputs)
        for symbol in self._inputs:
            if symbol.node is not None:
                raise TypeError(
                    f"Model expects what nn.Input returned as inputs, got the result of a call, {symbol!r}."
                )
        self._outputs, self._output_keys = _symbols("outputs", outputs)
        self._nodes = in_order_of_use(self._inputs, self._outputs)
        found = {id(node.function): node.function for node in self._nodes if isinstance(node.function, Layer)}
        self._layers: list[Any] = list(found.values())
        self._input_keys = keys
        names = [symbol.name or f"input_{number}" for number, symbol in enumerate(self._inputs)]
        self.input_names: list[str] = _distinct(names) if keys is None else keys
        self._count_uses()

    def _count_uses(self) -> None:
        self._uses = Counter(id(source) for node in self._nodes for source in node.sources())
        self._uses.update(id(symbol) for symbol in self._outputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        """Return a copy with layers, weights and calls of its own."""
        for node in self._nodes:  # each after those that it needs: graphs may be deeper than Python's stack
            copy.deepcopy(node, memo)
        made = super().__deepcopy__(memo)
        made._count_uses()
        return made

    # Description

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order in which they are called first."""
        return LayerTuple(self._layers)

    @layers.setter
    def layers(self, value: object) -> NoReturn:
        raise AttributeError(CURE)

    @property
    def output_names(self) -> list[str] | None:
        """The names of several outputs: the keys of a dict, or the layers that they come from."""
        if self._output_keys is not None:
            return list(self._output_keys)
        if len(self._outputs) == 1:
            return None
        return _distinct([self._name_of(symbol) for symbol in self._outputs])

    def _name_of(self, symbol: Symbol) -> str:
        if symbol.node is None:
            return symbol.name or "input"
        if isinstance(symbol.node.function, Layer):
            return self.child_name(symbol.node.function)
        return str(getattr(symbol.node.function, "__name__", "output")).strip("_")

    def get_config(self) -> dict[str, Any]:
        """Return the calls of the graph in order, and the arguments of the model."""
        places: dict[int, list[Any]] = {id(symbol): ["input", i] for i, symbol in enumerate(self._inputs)}
        for number, node in enumerate(self._nodes):
            for key, symbol in _named(node.outputs):
                places[id(symbol)] = [number, key]

        def place(symbol: Symbol) -> dict[str, Any]:
            return {"symbol": places[id(symbol)]}

        names = {id(function): name for name, function in library_functions().items()}
        rest = {n: v for n, v in super().get_config().items() if n not in ("inputs", "outputs")}
        return {
            **rest,
            "inputs": [{"shape": s.declared, "dtype": s.input_dtype, "name": s.name} for s in self._inputs],
            "input_keys": self._input_keys,
            "calls": [
                {
                    "function": {"library": names[id(node.function)]}
                    if id(node.function) in names
                    else {"object": node.function},
                    "arguments": replace_symbols(node.arguments, place),
                    "options": replace_symbols(node.options, place),
                }
                for node in self._nodes
            ],
            "outputs": [place(symbol) for symbol in self._outputs],
            "output_keys": self._output_keys,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Graph:
        """Make the graph again, call by call."""
        config = dict(config)
        known = library_functions()
        inputs = [Symbol(tuple(i["shape"]), None, i["name"], i["dtype"]) for i in config.pop("inputs")]
        results: list[dict[Any, Symbol]] = []

        def symbol_at(place: Sequence[Any]) -> Symbol:
            return inputs[place[1]] if place[0] == "input" else results[place[0]][place[1]]

        for call in config.pop("calls"):
            given = call["function"]
            function = known[given["library"]] if "library" in given else given["object"]
            node = Node(
                function,
                _put_symbols(call["arguments"], symbol_at),
                _put_symbols(call["options"], symbol_at),
            )
            results.append(dict(_named(node.outputs)))
        outputs = _put_symbols(config.pop("outputs"), symbol_at)
        keys, output_keys = config.pop("input_keys"), config.pop("output_keys")
        return cls(_arranged(inputs, keys), _arranged(outputs, output_keys), **config)

    # Data

    @property
    def _single(self) -> bool:
        return len(self._inputs) == 1 and self._input_keys is None

    def _takes_several(self, x: Any) -> bool:
        if not self._single:
            return True
        listed = isinstance(x, (list, tuple)) and len(x) == 1 and hasattr(x[0], "shape")
        return listed and not self._are_rows(x)

    def _dataset(
        self,
        owner: str,
        x: Any,
        y: Any = None,
        weight: Any = None,
        *,
        on: Backend | None = None,
        streamed: bool = False,
    ) -> Any:
        return super()._dataset(owner, self._in_order(x), y, weight, on=on, streamed=streamed)

    def _in_order(self, x: Any) -> Any:
        """Return data as they are taken: one array, or a list in the order of the inputs."""
        if self._single:
            return x[0] if self._takes_several(x) else x
        return in_order("inputs", x, self.input_names)

    def _receive(self, x: Any) -> Any:
        return super()._receive(self._in_order(x))

    def _input_dtypes(self) -> Any:
        kinds = [self._input_dtype(symbol) for symbol in self._inputs]
        return kinds[0] if self._single else kinds

    def _input_dtype(self, symbol: Symbol) -> str | None:
        """Return what an input is cast to; None where only layers that take integers as they are use it."""
        if symbol.input_dtype is not None:
            return None if "int" in symbol.input_dtype or symbol.input_dtype == "bool" else self._root_dtype()
        users = [node.function for node in self._nodes if any(s is symbol for s in node.sources())]
        whole = bool(users) and all(isinstance(f, Layer) and not f.casts_input for f in users)
        return None if whole else self._root_dtype()

    def declared_shape(self) -> Any:
        """Return the shapes that `Input` was given: what it is built for before there are data."""
        shapes = [symbol.sample_shape for symbol in self._inputs]
        return shapes[0] if self._single else shapes

    @property
    def takes_any_length(self) -> bool:
        """Whether None stands in the shape of an `Input`."""
        return any(None in symbol.declared for symbol in self._inputs)

    def check_input(self, input_shape: Any) -> None:
        """Refuse data whose samples have another shape than `Input` was given."""
        shapes = [input_shape] if self._single else in_order("inputs", input_shape, self.input_names)
        for name, symbol, shape in zip(self.input_names, self._inputs, shapes, strict=True):
            require_declared(f"Model {self.path!r} expects {name}", symbol.declared, shape)

    def check_values(self, x: Any) -> None:
        """Refuse data whose numbers the layers that take them refuse."""
        given = [x] if self._single else in_order("inputs", x, self.input_names)
        values = {id(symbol): value for symbol, value in zip(self._inputs, given, strict=True)}
        for node in self._nodes:
            first = node.arguments[0] if node.arguments else None
            if isinstance(node.function, Layer) and isinstance(first, Symbol) and id(first) in values:
                node.function.check_values(values[id(first)])

    # Computation

    def forward(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """Make the calls in order, and pass masks on to those that take them."""
        given = [x] if self._single else in_order("inputs", x, self.input_names)
        masks_given = [mask] if self._single or mask is None else in_order("masks", mask, self.input_names)
        masks_given = masks_given * len(given) if mask is None else masks_given
        kinds = map(self._input_dtype, self._inputs)
        given = [v if kind is None else cast(v, kind) for v, kind in zip(given, kinds, strict=True)]
        values: dict[int, Any] = {id(s): v for s, v in zip(self._inputs, given, strict=True)}
        masks: dict[int, Any] = {id(s): m for s, m in zip(self._inputs, masks_given, strict=True)}
        left = Counter(self._uses)
        for node in self._nodes:
            arguments = replace_symbols(node.arguments, lambda s: values[id(s)])
            options = replace_symbols(node.options, lambda s: values[id(s)])
            if isinstance(node.function, Layer):
                of_arguments = [_mask_of(argument, masks) for argument in node.arguments]
                result, mask = node.function.call_masked(of_arguments, *arguments, **options)
            else:
                result = node.function(*arguments, **options)
                mask = _kept_mask(node, result, masks)
            results = dict(_named(result))
            for number, (key, symbol) in enumerate(_named(node.outputs)):
                values[id(symbol)] = results[key]
                several = isinstance(mask, (list, tuple))
                masks[id(symbol)] = mask[number] if several else mask if number == 0 else None
            for source in node.sources():
                left[id(source)] -= 1
                if not left[id(source)]:
                    del values[id(source)]  # large, and used no more
        return Masked(
            _arranged([values[id(s)] for s in self._outputs], self._output_keys),
            _arranged([masks[id(s)] for s in self._outputs], self._output_keys),
        )


def _symbols(what: str, given: Any) -> tuple[list[Symbol], list[str] | None]:
    """Return symbols as a list, and the keys of a dict of them."""
    keys = list(given) if isinstance(given, dict) else None
    found = list(given.values()) if isinstance(given, dict) else given
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    if not found or not all(isinstance(symbol, Symbol) for symbol in found):
        raise TypeError(
            f"Model expects {what} from nn.Input and from layers called on it, got {given!r}. To compute in a way of "
            "your own, write a class with forward(self, x)."
        )
    return found, keys


def _arranged(values: list[Any], keys: Sequence[str] | None) -> Any:
    """Return a dict of values where there are keys, else one value alone or the list of several."""
    if keys is not None:
        return dict(zip(keys, values, strict=True))
    return values[0] if len(values) == 1 else values


def in_order_of_use(inputs: Sequence[Symbol], outputs: Sequence[Symbol]) -> list[Node]:
    """Return the calls that outputs need, each after those that it needs itself."""
    known = {id(symbol) for symbol in inputs}
    done: dict[int, Node] = {}
    waiting = [(symbol, False) for symbol in reversed(outputs)]
    while waiting:  # not recursive: graphs may be deeper than Python's stack
        symbol, ready = waiting.pop()
        node = symbol.node
        if id(symbol) in known or (node is not None and id(node) in done):
            continue
        if node is None:
            raise ValueError(
                f"Model's outputs need the input {symbol.name or repr(symbol)}, which is not among its inputs. Add it: "
                "nn.Model([..., it], outputs)."
            )
        if ready:
            done[id(node)] = node
        else:
            waiting.append((symbol, True))
            waiting.extend((source, False) for source in reversed(node.sources()))
    return list(done.values())


def _named(outputs: Any) -> list[tuple[Any, Any]]:
    """Return the results of a call with their keys."""
    if isinstance(outputs, dict):
        return list(outputs.items())
    if isinstance(outputs, (list, tuple)):
        return list(enumerate(outputs))
    return [(0, outputs)]


def _put_symbols(value: Any, symbol_at: Any) -> Any:
    """Put symbols back where their places stand."""
    if isinstance(value, dict):
        if set(value) == {"symbol"}:
            return symbol_at(value["symbol"])
        return {key: _put_symbols(item, symbol_at) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_put_symbols(item, symbol_at) for item in value)
    return value


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, numbered where one stands twice."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        found.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def _mask_of(argument: Any, masks: Mapping[int, Any]) -> Any:
    """Return the mask of an argument; a list of them for a list, None where no item has one."""
    if isinstance(argument, Symbol):
        return masks[id(argument)]
    if isinstance(argument, (list, tuple)):
        found = [_mask_of(item, masks) for item in argument]
        return found if any(mask is not None for mask in found) else None
    return None


def _kept_mask(node: Node, result: Any, masks: Mapping[int, Any]) -> Any:
    """Return the mask of what a function gives that leaves steps in their places: where all of its arguments count."""
    name = next((n for n, f in library_functions().items() if f is node.function), "")
    kept = name.startswith(_IN_PLACE) or (name == "shaping._concat" and _along_features(node, result))
    found = {id(m): m for m in (masks[id(source)] for source in node.sources()) if m is not None}
    if not found or not kept:
        return None
    shapes = {tuple(plain(mask).shape) for mask in found.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or tuple(getattr(result, "shape", ()))[: len(shape)] != shape:
        return None
    return functools.reduce(functional.logical_and, found.values())


def _along_features(node: Node, result: Any) -> bool:
    """Tell whether arrays of sequences are put together along an axis behind that of the steps."""
    axis = node.options.get("axis", 0)
    return isinstance(axis, int) and axis % result.ndim > 1
