"""Symbols: what layers are called on before there are data, so that their calls become a graph.

A `Symbol` stands for an array. A layer or rule that is given one does not run; it leaves a `Node`, which says what
is to be called on what, and answers with symbols for its outputs. `nnbackend.Model` runs such graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from nnbackend import functional, tree
from nnbackend.autodiff import Deferred, Rule
from nnbackend.backend import host, is_array, to_numpy, use_backend
from nnbackend.layers.base import Layer, map_arrays, map_shapes, sample_shape
from nnbackend.lazy import import_all
from nnbackend.typing import Shape

__all__ = [
    "Input",
    "Node",
    "Symbol",
    "library_functions",
    "replace_symbols",
    "require_declared",
    "typical_shape",
]


#: The length for which shapes are worked out where an input may have any.
TYPICAL_LENGTH = 32


class Node:
    """One call in a graph.

    Attributes
    ----------
    function : Layer, Rule or callable
        What is called.
    arguments : tuple
        What it is called on; symbols among them, also in lists and dicts, stand for arrays.
    options : dict
        Its arguments by name.
    outputs : Symbol, or list or dict of Symbol
        What stands for its results.
    """

    __slots__ = ("arguments", "function", "options", "outputs")

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.options = dict(options)
        shapes = _output_shapes(function, arguments, self.options)
        self.outputs: Any = map_shapes(lambda shape: Symbol(shape, self), shapes)

    def sources(self) -> list[Symbol]:
        """Return the symbols that it is called on."""
        return [leaf for leaf in _leaves((self.arguments, self.options)) if isinstance(leaf, Symbol)]


class Symbol(Deferred):
    """Stands for an array in a graph; made by `Input`, and by calling layers and rules on one.

    Attributes
    ----------
    sample_shape : tuple of int
        Its shape without the axis of samples; `TYPICAL_LENGTH` stands where an input may have any length.
    declared : tuple of int or None
        The same, with None where an input may have any length.
    node : Node or None
        The call that it is a result of; None for an input.
    name : str or None
        The name of an input.
    input_dtype : str or None
        What an input is cast to; None for the model's dtype.
    """

    __slots__ = ("__weakref__", "declared", "input_dtype", "name", "node", "sample_shape")

    def __init__(
        self,
        sample_shape: Sequence[int | None],
        node: Node | None = None,
        name: str | None = None,
        input_dtype: str | None = None,
    ) -> None:
        self.declared = tuple(sample_shape)
        self.sample_shape: Shape = typical_shape(self.declared)
        self.node = node
        self.name = name
        self.input_dtype = input_dtype

    @property
    def shape(self) -> Any:
        """Its shape, None standing for the number of samples."""
        return (None, *self.declared)

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.sample_shape) + 1

    def __nnbackend_value__(self) -> NoReturn:
        raise TypeError(
            "This stands for an array that is not known yet. Build graphs from layers and functions of "
            "nn.functional, and make a model of it: nn.Model(inputs, outputs)."
        )

    def __nnbackend_defer__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        return Node(function, arguments, options).outputs

    def __len__(self) -> int:
        raise TypeError("The number of samples is not known in a graph, so its arrays have no len().")

    def __repr__(self) -> str:
        shown = ", ".join(["n", *map(str, self.declared)])
        return f"<Symbol {self.name or ''}({shown})>"


def Input(  # noqa: N802 - Keras's name
    shape: Sequence[int | None] | int | None, *, dtype: str | None = None, name: str | None = None
) -> Symbol:
    """Stand for the data that a graph of layers will be given.

    Parameters
    ----------
    shape : tuple of int or None, or one of these
        The shape of one sample; data of another are refused. None where any length will do, as that of sequences or the
        size of images. Shapes behind it are worked out for a length of 32 there, so that a layer whose weights depend
        on the length takes no other.
    dtype : str, optional
        ``"int64"`` for indices, which are not to be made reals; without it the model's dtype.
    name : str, optional
        Its name, by which a dict of data may call it.

    Returns
    -------
    Symbol
        Call layers on it, then `nnbackend.Model` on inputs and outputs.

    Raises
    ------
    TypeError, ValueError
        If the shape is not made of whole numbers above zero and None.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.Input((4,))
    >>> hidden = nn.Dense(4, "relu")(x)
    >>> model = nn.Model(x, nn.Dense(2)(x + hidden), seed=0)
    >>> model.predict([[1.0, 2.0, 3.0, 4.0]]).shape
    (1, 2)
    """
    sizes: tuple[Any, ...] = (shape,) if isinstance(shape, int) or shape is None else tuple(shape)
    for size in sizes:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(f"Input expects whole numbers above zero, or None for any length, got {sizes}.")
    if dtype not in (None, "float32", "float64", "int32", "int64", "bool"):
        raise ValueError(
            f"Input expects dtype 'float32', 'float64', 'int32', 'int64' or 'bool', got {dtype!r}."
        )
    return Symbol(sizes, name=name, input_dtype=dtype)


def typical_shape(declared: Sequence[int | None]) -> Shape:
    """Return a shape with a length in the place of each None."""
    return tuple(TYPICAL_LENGTH if size is None else size for size in declared)


def require_declared(owner: str, declared: Sequence[int | None], came: Sequence[int]) -> None:
    """Refuse samples of another shape than was declared.

    Raises
    ------
    ValueError
        With the shape that is expected and the one that came.
    """
    if len(came) != len(declared) or any(w not in (None, c) for w, c in zip(declared, came, strict=True)):
        wanted = ", ".join(["n", *map(str, declared)])
        cure = ""
        if len(came) < len(declared):
            cure = " One sample alone is x[None]."
        elif len(came) == len(declared) and came[-1:] == tuple(declared)[-1:]:
            cure = " Write None in nn.Input for an axis that may have any length."
        raise ValueError(f"{owner} of shape ({wanted}), got ({', '.join(['n', *map(str, came)])}).{cure}")


def library_functions() -> dict[str, Callable[..., Any]]:
    """Return the rules and the functions without a gradient of `nnbackend.functional`, by file and name."""
    found: dict[str, Callable[..., Any]] = {}
    prefix = f"{functional.__name__}."
    for module in import_all(functional):
        for name, value in vars(module).items():
            inner = value.function if isinstance(value, Rule) else getattr(value, "__wrapped__", None)
            if inner is not None and getattr(inner, "__module__", None) == module.__name__:
                found[f"{module.__name__.removeprefix(prefix)}.{name}"] = value
    return found


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def replace_symbols(value: Any, function: Callable[[Symbol], Any]) -> Any:
    """Put something in the place of each symbol, also in lists, tuples and dicts."""
    if isinstance(value, Symbol):
        return function(value)
    if isinstance(value, dict):
        return {key: replace_symbols(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_symbols(item, function) for item in value]
    if isinstance(value, tuple):
        return tuple(replace_symbols(item, function) for item in value)
    return value


def _output_shapes(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> Any:
    """Return the shapes of what a call gives, without the axis of samples."""
    if not isinstance(function, Layer):
        made = tree.map(_on_the_host, replace_symbols((arguments, dict(options)), _one_sample))
        return sample_shape(tree.map(_require_array(function), function(*made[0], **made[1])))
    shapes = [
        map_arrays(lambda symbol: symbol.sample_shape, argument)
        for argument in arguments
        if argument is not None
    ]
    known = {"training", "mask", *function.mask_arguments}
    if set(options) <= known:
        return function.compute_output_shape(*shapes)
    tried = {name: option for name, option in options.items() if name not in known}
    with use_backend(host()):
        return function.try_shapes(shapes, replace_symbols(tried, _one_sample))


def _one_sample(symbol: Symbol) -> Any:
    xp = host().xp
    return xp.ones((1, *symbol.sample_shape), dtype=getattr(xp, symbol.input_dtype or "float32"))


def _on_the_host(value: Any) -> Any:
    """Bring arrays that stand in a call, such as weights, to where it is tried."""
    return to_numpy(value) if is_array(value) else value


def _require_array(function: Callable[..., Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not getattr(value, "shape", ()):
            name = getattr(function, "__name__", repr(function))
            raise ValueError(
                f"{name} on an array of a graph gives a result without an axis of samples. Keep the first axis."
            )
        return value

    return check
