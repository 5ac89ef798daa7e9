"""What a layer is: names, shapes and parameters around the mathematics of `nnbackend.functional`.

A `Parameter` is a handle. Within a step it stands for the value in the state tree that the step was given
(`Binding`); outside it stands for its current value. So one `forward` serves training, compiled steps, shared layers
and plain use, and no layer has a special case.
"""

from __future__ import annotations

import copy
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeAlias, TypeVar

from nnbackend import constraints, initializers, regularizers, tree
from nnbackend.arguments import parameters_of
from nnbackend.autodiff import Deferred, Operators, Reference, Tensor, is_floating
from nnbackend.backend import Backend, backend_of, get_backend, host, is_array, plain, to_numpy
from nnbackend.config import Configurable, arguments_of, snake_case
from nnbackend.elementwise import is_half
from nnbackend.placement import copy_of, is_at_home
from nnbackend.policies import POLICIES, DTypePolicy, policy_of, portable, require
from nnbackend.random import Stream
from nnbackend.typing import Array, DType, Shape

__all__ = ["Binding", "Layer", "Masked", "Parameter"]

_Kind = TypeVar("_Kind")

_creation = itertools.count()
_revision = 0
_structure = 0
_alterations = 0


def revision() -> int:
    """Return a number that grows whenever a built layer is given another argument: what was compiled is out of date."""
    return _revision


def structure() -> int:
    """Return a number that grows whenever an attribute of a layer that may hold layers is set, or one is built.

    Lists and dicts may change without it; see `containers`.
    """
    return _structure


def alterations(layers: Iterable[Layer]) -> int:
    """Return a number that grows whenever an attribute of one of these layers, once built, is set to something else."""
    return sum([layer._altered for layer in layers])


def changes() -> int:
    """Return a number that grows whenever `revision`, `structure` or the `alterations` of any layer do."""
    return _revision + _structure + _alterations


class Parameter(Reference):
    """A weight or a running statistic: a handle that reads and writes the state a step is given.

    Within layers it reads as a tensor, since libraries need not know how to add one to an array. It has the
    operators of arrays, and rules take it as an argument. Layers make parameters with `Layer.add_weight`.

    Attributes
    ----------
    path : str
        Where it was made, such as ``"dense_1/kernel"``; names its random stream.
    trainable : bool
        Whether gradients change it. Running statistics are not trainable.
    regularizer : Regularizer or None
        Its penalty in the loss.
    constraint : Constraint or None
        What brings it back to where it must stay, after each update.
    backend : Backend
        Where it lives; `move` moves it.
    """

    __slots__ = (
        "_array",
        "_constraint",
        "_dtype",
        "_regularizer",
        "_shape",
        "backend",
        "order",
        "path",
        "trainable",
    )

    def __init__(
        self,
        path: str,
        array: Array,
        dtype: str,
        backend: Backend,
        *,
        trainable: bool = True,
        regularizer: regularizers.Regularizer | None = None,
        constraint: constraints.Constraint | None = None,
    ) -> None:
        self.path = path
        self.trainable = trainable
        self._regularizer = regularizer
        self._constraint = constraint
        self.backend = backend  # an array knows its library, but not which device new values belong on
        self.order = next(_creation)  # only compared: the order of creation within a model
        self._array = array
        self._shape = tuple(array.shape)
        self._dtype = dtype

    @property
    def regularizer(self) -> regularizers.Regularizer | None:
        """The penalty on its values."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, regularizer: regularizers.Regularizer | None) -> None:
        global _revision
        _revision += 1
        self._regularizer = regularizer

    @property
    def constraint(self) -> constraints.Constraint | None:
        """Where its values must stay."""
        return self._constraint

    @constraint.setter
    def constraint(self, constraint: constraints.Constraint | None) -> None:
        global _revision
        _revision += 1
        self._constraint = constraint

    @property
    def shape(self) -> Shape:
        """Its shape, which never changes."""
        return self._shape

    @property
    def dtype_name(self) -> str:
        """The name of its dtype, such as ``"float32"``."""
        return self._dtype

    @property
    def no_gradient(self) -> str:
        """Why no gradient is taken with respect to it, and what to do."""
        return (
            f"No gradient is taken with respect to the handle of {self.path!r}: layers would go on reading its own "
            "value, which does not depend on the argument. Take the values, and give them to the model: parameters = "
            "model.get_parameters(); nn.value_and_grad(lambda p: loss(model.apply(p, x), y))(parameters)."
        )

    def __nnbackend_value__(self) -> Any:
        binding, frame = _binding.get(), _frame.get()
        if binding is not None:
            value = binding.read(self)
        elif frame is not None:
            value = Tensor(self._array)
        else:
            return copy_of(self._array)
        narrows = frame is not None and frame.narrows and is_floating(value)
        return cast(value, frame.compute_dtype) if narrows else value  # type: ignore[union-attr]

    @property
    def dtype(self) -> DType:
        """Its dtype, as its library knows it; a layer that computes in 16 bits reads its value in these."""
        return self._array.dtype

    def assign(self, value: Any) -> None:
        """Give it a copy of a new value, an array or a list: in the step's new state within a step, for good outside.

        The present array is left as it is, since a gradient that is being computed may still need it.

        Raises
        ------
        ValueError
            If the shape differs.
        """
        if not hasattr(value, "shape"):
            value = host().from_host(value)
        if tuple(value.shape) != self._shape:
            raise ValueError(
                f"{self.path} has shape {self._shape}, got a value of shape {tuple(value.shape)}."
            )
        binding = _binding.get()
        if binding is not None:
            binding.assign(self, cast(value, self._dtype))
        else:
            self._array = self.backend.from_host(to_numpy(portable(plain(value))), self._dtype)

    def numpy(self) -> Any:
        """Return a copy of its current value on the host."""
        return to_numpy(self if _binding.get() is not None else self._array)

    def move(self, backend: Backend) -> None:
        """Move its current value to another backend."""
        self._array = backend.from_host(to_numpy(self._array), self._dtype)
        self.backend = backend

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """Return another parameter, of the same place in the order of creation, with a copy of its value."""
        made = Parameter(
            self.path,
            copy_of(self._array),
            self._dtype,
            self.backend,
            trainable=self.trainable,
            regularizer=copy.deepcopy(self._regularizer, memo),
            constraint=copy.deepcopy(self._constraint, memo),
        )
        made.order = self.order
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"The weight {self.path!r} is not pickled. Its value is: weight.numpy(). A model goes into a file, or to "
            "another process, by model.save(path) and nn.load_model(path)."
        )

    def __repr__(self) -> str:
        return f"<Parameter {self.path!r} {self._shape} {self._dtype}>"


class Binding:
    """One run of layers on a state tree: what their parameters stand for, and where their randomness comes from.

    Parameters
    ----------
    values : mapping of int to array
        The value of each parameter, by the parameter's ``id``.
    seed, step : int or array
        The key and the step of the random streams drawn from in this run; without a step none is drawn from.
    backend : Backend
        Where the run takes place.
    builds : bool
        Whether layers may make their parameters in this run. In a step they may not: it trains those of its state.

    Attributes
    ----------
    losses : list of 0-d tensor, or None
        What layers added to the loss in this run (`Layer.add_loss`); None where there is no loss to add to.
    """

    def __init__(
        self, values: Mapping[int, Any], seed: Any, step: Any, backend: Backend, *, builds: bool = False
    ) -> None:
        self.values = dict(values)
        self.assigned: dict[int, Any] = {}
        self.seed = seed
        self.step = step
        self.backend = backend
        self.builds = builds
        self.losses: list[Any] | None = None
        self._streams: dict[str, Stream] = {}

    def read(self, parameter: Parameter) -> Any:
        """Return what the parameter stands for in this run, as a tensor."""
        value = self.values.get(id(parameter), parameter._array)
        return value if isinstance(value, Operators) else Tensor(value)

    def assign(self, parameter: Parameter, value: Any) -> None:
        """Give the parameter a new value from here on in this run."""
        self.values[id(parameter)] = self.assigned[id(parameter)] = value

    def stream(self, path: str) -> Stream:
        """Return the random stream of that path; its draws are numbered through the run."""
        if self.step is None:
            raise ValueError(
                f"{path} draws random numbers, which would be the same at each call. Say which step it is: "
                "model.apply(parameters, x, training=True, step=number)."
            )
        if path not in self._streams:
            self._streams[path] = Stream(self.seed, path, self.step, self.backend)
        return self._streams[path]

    @contextmanager
    def bound(self) -> Iterator[Binding]:
        """Make this the run that parameters read, within a ``with`` block."""
        token = _binding.set(self)
        try:
            yield self
        finally:
            _binding.reset(token)


class Masked(NamedTuple):
    """What a layer that runs others may return from ``forward``: its output, and the mask that belongs to it."""

    value: Any
    mask: Any


_binding: ContextVar[Binding | None] = ContextVar("nnbackend_binding", default=None)


def current_binding() -> Binding | None:
    """Return the run that parameters read from here and now; None outside of steps."""
    return _binding.get()


@contextmanager
def unbound() -> Iterator[None]:
    """Let parameters stand for their own values within the block."""
    token = _binding.set(None)
    try:
        yield
    finally:
        _binding.reset(token)


@dataclass(frozen=True)
class _Frame:
    """A layer that is being called or built: where it stands and what holds for the layers inside it."""

    layer: Layer
    path: str
    training: bool
    backend: Backend
    dtype: str
    compute_dtype: str
    narrows: bool  # whether weights are read in another dtype than they are kept in
    seed: int
    trained: bool


_frame: ContextVar[_Frame | None] = ContextVar("nnbackend_frame", default=None)


#: Hears of each call of a layer: the layer, its path, what it was called on, and its output.
Observer: TypeAlias = "Callable[[Layer, str, tuple[Any, ...], Any], None]"

_observer: ContextVar[Observer | None] = ContextVar("nnbackend_observer", default=None)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Let `observer` hear of each call of a layer that ends within the block, the innermost first.

    It gets the layer, its path, the tuple of tensors that it was called on, and its output: a tensor, or several. With
    `nnbackend.autodiff.watch` it hears of the gradients that arrive at them. It changes nothing; where a step is
    compiled it sees what a compiler puts in the place of arrays, so that observed steps are run uncompiled.

    Examples
    --------
    >>> import nnbackend as nn
    >>> from nnbackend.layers.base import observing
    >>> model = nn.Sequential([nn.Dense(4), nn.ReLU()], seed=0)
    >>> with observing(lambda layer, path, inputs, output: print(path or "the model", output.shape)):
    ...     y = model(nn.get_backend("numpy").xp.ones((1, 2)))
    dense (1, 4)
    re_lu (1, 4)
    the model (1, 4)
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def current_layer() -> Layer | None:
    """Return the layer that is being called or built, the innermost."""
    frame = _frame.get()
    return None if frame is None else frame.layer


_FIRST = "The shape of the data is said by what comes first: nn.Sequential([nn.Input(shape), layer])."
#: What Keras's layers are told, and layers here are not.
_SAID_ELSEWHERE = {
    "input_shape": _FIRST,
    "input_dim": _FIRST,
    "batch_input_shape": _FIRST,
    "data_format": "Channels are the last axis; images that have them first are moveaxis(x, 1, -1).",
}


class Layer(Configurable):
    """A piece of a network: parameters, and the function that uses them.

    Subclasses make their parameters in ``build(self, input_shape)`` with `add_weight` and compute in
    ``forward(self, x)``, or ``forward(self, x, *, training=False)`` where training differs. Layers that stand as
    attributes of a layer, also in lists and dicts, belong to it.

    Parameters
    ----------
    name : str, optional
        Its name in the model; without it the class's name in lower case, numbered where it is not the only one.
    dtype : {"float32", "float64", "mixed_float16", "mixed_bfloat16"} or DTypePolicy, optional
        The dtype of its parameters and of what it computes in; the model's without it. The mixed ones compute in 16
        bits and keep the parameters in float32.
    trainable : bool
        Whether training changes its parameters.
    activity_regularizer : str or Regularizer, optional
        A penalty on its output, divided by the number of samples and added to the loss.

    Examples
    --------
    >>> import nnbackend as nn
    >>> class Affine(nn.Layer):
    ...     def build(self, input_shape):
    ...         self.scale = self.add_weight("scale", (input_shape[-1],), "ones")
    ...         self.shift = self.add_weight("shift", (input_shape[-1],), "zeros")
    ...
    ...     def forward(self, x):
    ...         return x * self.scale + self.shift
    >>> Affine()(nn.get_backend("numpy").xp.ones((1, 2)))
    array([[1., 1.]], dtype=float32)
    """

    #: False for layers that take integers as they are, such as indices.
    casts_input = True
    #: Whether a list of arrays of one axis is the rows of its one input, also before it is built.
    takes_rows: ClassVar[bool] = False
    #: The axes of a sample by name, such as ``"h w c"``; inputs of another rank are refused. Empty where any will do.
    expects: ClassVar[str] = ""
    #: Those of these axes whose lengths stay what they were when the layer was built.
    fixed: ClassVar[tuple[str, ...]] = ()
    #: Whether it computes in the dtype of its parameters also where others compute in 16 bits, as those do that keep
    #: statistics: what it is called on is cast to that, and what comes out is cast back.
    computes_wide: ClassVar[bool] = False
    #: Whether it leaves it to the layers inside to cast floating inputs to 16 bits.
    passes_inputs: ClassVar[bool] = False
    #: Whether the mask of its input is that of its output, too.
    passes_mask: ClassVar[bool] = False
    #: How often an attribute was set to something else since the layer was built.
    _altered: int = 0

    #: Attributes in which no layer or parameter of its own stands.
    _not_searched: ClassVar[frozenset[str]] = frozenset({"_arguments", "_child_names", "_set_since"})
    #: Attributes that this library sets on built layers, and which are no part of what a layer computes.
    _kept_here: ClassVar[frozenset[str]] = frozenset(
        {"_child_names", "_path", "built", "input_shape", "output_shape", "trainable"}
    )
    _takes_training: bool
    #: The arguments of ``forward`` that take masks, each with the position of the input that it is the mask of.
    _mask_arguments: ClassVar[Mapping[str, int]] = {}
    #: The names of the inputs of ``forward``.
    _input_names: ClassVar[tuple[str, ...]] = ()
    #: How many shapes ``build`` takes; None for as many as there are inputs.
    _built_from: ClassVar[int | None] = 1
    #: Names of the arguments it is made with: an attribute of that name says what it computes.
    _configured: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: str | DTypePolicy | None = None,
        trainable: bool = True,
        activity_regularizer: str | regularizers.Regularizer | None = None,
        **unknown: Any,
    ) -> None:
        self._refuse_unknown(unknown, {*self._configured, "trainable"})
        if name is not None and (not name or "/" in name):
            raise ValueError(f"A layer's name is not empty and has no '/', got {name!r}.")
        self._name = name
        self.dtype = None if dtype is None else policy_of(type(self).__name__, dtype).name
        self.trainable = trainable
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self.input_shape: Any = None  # without the axis of samples; a list of shapes for a list of inputs
        self.output_shape: Any = None
        self._path: str | None = None
        self._child_names: dict[Layer, str] = {}
        self._draws = 0  # the calls outside of steps that drew random numbers

    @classmethod
    def _refuse_unknown(cls, unknown: Iterable[str], known: Iterable[str]) -> None:
        """Refuse arguments that the class has not; those that Keras's layers take are told where they went."""
        names = list(unknown)
        for name in names:
            if name in _SAID_ELSEWHERE and name not in known:
                raise TypeError(f"{cls.__name__} has no argument {name!r}. {_SAID_ELSEWHERE[name]}")
        super()._refuse_unknown(names, known)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._takes_training = "training" in parameters_of(cls.forward).names
        cls._input_names = _input_names_of(cls.forward)
        cls._mask_arguments = _mask_arguments_of(cls.forward)
        cls._configured = frozenset(
            name
            for base in cls.__mro__
            if "__init__" in vars(base)
            for name in _arguments_of(getattr(base, "__init__", None))
        ) - {"self", "backend", "trainable"}  # a step knows by itself where it runs and what it trains
        if "build" in cls.__dict__:
            cls._built_from = _count_of_shapes(cls.build)
            cls.build = _building(cls.build)  # type: ignore[method-assign]
        if "compute_output_shape" in cls.__dict__:
            cls.compute_output_shape = _checking(cls.compute_output_shape)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        self._keep_weight(name, value)
        if vars(self).get("built") and name not in self._kept_here and _differ(vars(self).get(name), value):
            global _revision, _alterations
            _alterations += 1
            vars(self)["_altered"] = self._altered + 1
            if name in self._configured:
                _revision += 1
        holds = isinstance(value, _HOLDERS) or isinstance(vars(self).get(name), _HOLDERS)
        if name == "built" or (holds and name not in self._not_searched):
            global _structure
            _structure += 1
        super().__setattr__(name, value)

    def _keep_weight(self, name: str, value: Any) -> None:
        """Refuse anything but a weight in the place of one: it would be neither trained nor saved."""
        held = vars(self).get(name)
        if vars(self).get("built") and isinstance(held, Parameter) and not isinstance(value, Parameter):
            raise TypeError(
                f"{type(self).__name__} {self.path!r}: {name} is a weight, and {type(value).__name__} in its place "
                f"would be neither trained nor saved. Give the weight a new value: layer.{name}.assign(value)."
            )

    def _is_option(self, name: str) -> bool:
        """Tell whether an attribute is an argument; what a layer sets while it is built or called is its own affair."""
        frame = _frame.get()
        inside = frame is not None and frame.layer is self
        if inside or name in self._kept_here:
            return False
        return name in arguments_of(type(self))  # type: ignore[arg-type]

    def __copy__(self) -> NoReturn:
        raise TypeError(
            f"copy.copy of {type(self).__name__} {self.path!r} would share its weights. copy.deepcopy makes a copy "
            "with weights of its own."
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} {self.path!r} is not pickled, since reading a pickle runs what is in it. A model "
            "goes into a file, or to another process, by model.save(path) and nn.load_model(path); copy.deepcopy makes "
            "a copy in this one."
        )

    def __delattr__(self, name: str) -> None:
        global _structure
        _structure += 1
        super().__delattr__(name)

    def __getattr__(self, name: str) -> Any:
        """Explain what is missing where a subclass forgot the ``__init__`` of this class."""
        if "built" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}: its __init__ must call super().__init__(**options) first."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make a layer like this one."""
        config = super().get_config()
        if isinstance(config.get("dtype"), DTypePolicy):
            config["dtype"] = config["dtype"].name
        return config

    # What subclasses define

    def build(self, input_shape: Any) -> None:
        """Make the parameters for inputs of this shape; the first axis, of samples, is left out.

        A layer that is called on a list gets a list of shapes. One that is called on several arrays may take a
        shape for each: ``build(self, query_shape, value_shape)``.
        """

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output; `x` and the output carry the axis of samples first."""
        raise NotImplementedError(
            f"{type(self).__name__} must define forward(self, x), or forward(self, x, *, training=False)."
        )

    def compute_output_shape(self, input_shape: Any, *others: Any) -> Any:
        """Return the output's shape for this input shape, both without the axis of samples.

        Without a definition of its own, a layer is tried on an array of zeros; one that is not built is left so.
        """
        return self.try_shapes((input_shape, *others))

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the mask of the output, or None, for an input (a list of them for a list of inputs) and its mask.

        A mask is a boolean array of shape (n, t), True where a step of a sequence counts.
        """
        return mask if self.passes_mask and not isinstance(mask, (list, dict)) else None

    def check_input(self, input_shape: Any) -> None:
        """Refuse inputs of a shape that the layer does not take; shapes have no axis of samples.

        Raises
        ------
        ValueError
            With the layer's name, the shape that is expected and the one that came.
        """
        if not self.expects:
            return
        axes = self.expects.split()
        self._require_one(input_shape, ", ".join(["n", *axes]))
        came = ", ".join(["n", *map(str, input_shape)])
        if len(input_shape) != len(axes):
            cure = "Check the layer before it."
            if len(input_shape) == len(axes) - 1:
                cure = f"One sample is x[None]. {cure}"
                if axes[-1] == "c":
                    cure = "Where data have one channel, give them an axis for it: x[..., None]; one sample is x[None]."
                if axes == ["t", "c"]:
                    cure += " A recurrent layer before it needs return_sequences=True."
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects inputs of shape ({', '.join(['n', *axes])}), got "
                f"({came}). {cure}"
            )
        if self.built and self.input_shape is not None:
            held = [name in self.fixed for name in axes]
            wanted = [
                str(size) if keep else name
                for name, size, keep in zip(axes, self.input_shape, held, strict=True)
            ]
            if any(
                keep and size != built
                for size, built, keep in zip(input_shape, self.input_shape, held, strict=True)
            ):
                raise ValueError(
                    f"{type(self).__name__} {self.path!r} was built for inputs of shape ({', '.join(['n', *wanted])}), "
                    f"got ({came}). Check the layer before it."
                )

    def _require_one(self, input_shape: Any, wanted: str) -> None:
        """Refuse several inputs where one is taken."""
        if isinstance(input_shape, (list, dict)):
            raise TypeError(
                f"{type(self).__name__} {self.path!r} expects one input of shape ({wanted}), got a "
                f"{type(input_shape).__name__} of {len(input_shape)}. Give the array itself; where arrays are the rows "
                "of one, put them together: numpy.stack(rows)."
            )

    def check_values(self, x: Any) -> None:
        """Refuse inputs whose numbers the layer does not take; asked on the host, before data go into steps.

        Raises
        ------
        ValueError
            With the layer's name, what is expected and what came.
        """

    @property
    def mask_arguments(self) -> Mapping[str, int]:
        """The arguments of ``forward`` that take masks, each with the position of the input that it belongs to."""
        return self._mask_arguments

    def try_shapes(self, shapes: Sequence[Any], options: Mapping[str, Any] | None = None) -> Any:
        """Return the shapes that it answers with, found on one sample of zeros; one that is not built is left so."""
        if self.built:
            return sample_shape(self._try_out(*shapes, options=options))
        before = _attributes_of(self)
        try:
            self.build(*shapes[: self._built_from])
            return sample_shape(self._try_out(*shapes, options=options))
        finally:
            _reset(before)

    @property
    def takes_several_shapes(self) -> bool:
        """Whether ``build`` and ``compute_output_shape`` take a shape for each of several inputs."""
        return self._built_from != 1

    def _try_out(self, *shapes: Any, options: Mapping[str, Any] | None = None) -> Any:
        """Run it on one sample of zeros, changing nothing."""
        frame = self._current_frame()
        kind = frame.compute_dtype if self.casts_input else "int64"
        count = next((layer.batch_size for layer in self.family() if getattr(layer, "stateful", False)), 1)
        zeros = [
            map_shapes(
                lambda shape: Tensor(frame.backend.from_host(host().xp.zeros((count, *shape)), kind)), shape
            )
            for shape in shapes
        ]
        token = _frame.set(frame)
        try:
            with frame.backend.scope(), Binding({}, frame.seed, 0, frame.backend, builds=True).bound():
                given = dict(options or {}) | ({"training": False} if self._takes_training else {})
                return self._returned(self.forward(*zeros, **given))[0]
        except Exception as error:
            self._note(error, zeros[0])
            raise
        finally:
            _frame.reset(token)

    # Names

    @property
    def name(self) -> str:
        """Its name: the one given, or its class's."""
        return self._name or snake_case(type(self).__name__)

    @property
    def path(self) -> str:
        """Where it stands in its model, such as ``"encoder/dense_1"``."""
        return self._path or self.name

    def sublayers(self) -> list[Layer]:
        """Return the layers that belong to it directly, in the order of its attributes."""
        return self._attributes(Layer)

    def _attributes(self, kind: type[_Kind]) -> list[_Kind]:
        """Return what stands as an attribute of it, also in lists and dicts, and is of this kind; each once."""
        found: dict[int, _Kind] = {}
        for name, value in vars(self).items():
            if name not in self._not_searched:
                _search(value, kind, found)
        return list(found.values())

    def family(self) -> Iterator[Layer]:
        """Yield it and all layers inside it, each once."""
        return _walk(self, set())

    def child_name(self, child: Layer) -> str:
        """Return the name of a layer inside this one: its own, numbered where several would be equal.

        Raises
        ------
        ValueError
            If two layers were given the same name.
        """
        if child not in self._child_names:
            self._name_children()
        if child not in self._child_names:
            if child.built:
                return child.name
            raise ValueError(
                f"{type(self).__name__} {self.path!r} calls a {type(child).__name__} that is not an attribute of it. "
                "Make layers in __init__ and keep them on self, so that their weights are trained and saved."
            )
        return self._child_names[child]

    def _name_children(self) -> None:
        """Name the layers inside that have no name yet; those no longer inside lose theirs."""
        children = self.sublayers()
        given = [child._name for child in children if child._name is not None]
        for name in given:
            if given.count(name) > 1:
                raise ValueError(f"Two layers of {self.path!r} have the name {name!r}. Give each its own.")
        self._child_names = {
            child: self._child_names[child] for child in children if child in self._child_names
        }
        taken = set(given) | set(self._child_names.values())
        for child in children:
            if child in self._child_names:
                continue
            name = child.name
            if child._name is None:
                name = next(n for n in _numbered(name) if n not in taken)
                taken.add(name)
            self._child_names[child] = name

    # Parameters

    def add_weight(
        self,
        name: str,
        shape: Shape,
        initializer: str | initializers.Initializer = "glorot_uniform",
        *,
        trainable: bool = True,
        regularizer: str | regularizers.Regularizer | None = None,
        constraint: str | constraints.Constraint | None = None,
    ) -> Parameter:
        """Make a parameter; for use in ``build``.

        Parameters
        ----------
        name : str
            Its name within the layer; the random stream of its first value is ``path/name``.
        shape : tuple of int
            Its shape.
        initializer : str or Initializer
            What makes the first value, on the host.
        trainable : bool
            False for running statistics and the like.
        regularizer : str or Regularizer, optional
            A penalty on it.
        constraint : str or Constraint, optional
            Where it must stay: applied to it after each update.

        Returns
        -------
        Parameter
            Keep it as an attribute of the layer.

        Raises
        ------
        RuntimeError
            Outside of ``build``, or within a step, which could not train it.
        """
        if not name or "/" in name:
            raise ValueError(f"A weight's name is not empty and has no '/', got {name!r} in {self.path!r}.")
        frame = _frame.get()
        if frame is None or frame.layer is not self:
            raise RuntimeError(
                f"{type(self).__name__} calls add_weight outside of its build, where backend, dtype and seed of the "
                "model are not known. Move the call to build(self, input_shape)."
            )
        dtype = POLICIES[self.dtype or frame.dtype].variable_dtype
        path = f"{frame.path}/{name}" if frame.path else name
        binding = _binding.get()
        if binding is not None and not binding.builds:
            raise RuntimeError(
                f"{type(self).__name__} {frame.path!r} would make its weight {name!r} inside a step, where it could "
                "not be trained. Build it first: call it in forward without training=True too, or call its "
                "build(input_shape) in the build of the layer around it."
            )
        shape = tuple(shape)
        value = initializers.get(initializer)(shape, Stream(frame.seed, path), dtype)
        if tuple(value.shape) != shape:
            raise ValueError(
                f"The initializer of {path} made a value of shape {tuple(value.shape)}, expected {shape}."
            )
        array = frame.backend.from_host(to_numpy(value), dtype)
        return Parameter(
            path,
            array,
            dtype,
            frame.backend,
            trainable=trainable,
            regularizer=regularizers.get(regularizer),
            constraint=constraints.get(constraint),
        )

    def own_parameters(self) -> list[Parameter]:
        """Return the parameters that stand as attributes of this layer itself, also in lists and dicts."""
        return self._attributes(Parameter)

    def named_parameters(self) -> Iterator[tuple[str, Parameter, bool]]:
        """Yield path within this layer, parameter and whether training changes it; each parameter once."""
        for path, parameter, around in self._placed_parameters():
            yield path, parameter, parameter.trainable and all(layer.trainable for layer in around)

    def _placed_parameters(self) -> list[tuple[str, Parameter, tuple[Layer, ...]]]:
        """Return path within this layer, parameter and the layers that it stands in; each parameter once."""
        found: list[tuple[str, Parameter, tuple[Layer, ...]]] = []
        _place(self, "", (), found, set())
        return found

    @property
    def parameters(self) -> list[Parameter]:
        """All its parameters and those of the layers inside, in the order of creation."""
        return sorted((p for _, p, _ in self.named_parameters()), key=lambda p: p.order)

    def count_params(self) -> int:
        """Return how many numbers its parameters hold.

        Raises
        ------
        RuntimeError
            If it has not been built.
        """
        self._require_built("count_params")
        return sum(p.size for p in self.parameters)

    def get_weights(self) -> list[Any]:
        """Return copies of its parameters' values as NumPy arrays, in the order of creation.

        Raises
        ------
        RuntimeError
            If it has not been built.
        """
        self._require_built("get_weights")
        return [p.numpy() for p in self.parameters]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set its parameters to copies of these values, in the order of `get_weights`.

        Raises
        ------
        RuntimeError
            If it has not been built.
        ValueError, TypeError
            If the number of arrays or a shape does not fit, or it is no list; then nothing is changed.
        """
        self._require_built("set_weights")
        parameters = self.parameters
        if not isinstance(weights, (list, tuple)):
            raise TypeError(
                f"set_weights of {self.path!r} expects a list of arrays, as get_weights returns, got "
                f"{type(weights).__name__}. Values by path are for model.set_parameters."
            )
        if len(weights) != len(parameters):
            raise ValueError(f"{self.path!r} has {len(parameters)} weights, got {len(weights)} arrays.")
        if any(isinstance(w, Tensor) and not w.constant for w in weights):
            raise TypeError(
                f"set_weights of {self.path!r} got a tensor that is being differentiated, whose gradient would be "
                "lost: weights are kept as numbers. Pass w.detach() where that is meant."
            )
        values = [w if is_array(w) or isinstance(w, Operators) else host().from_host(w) for w in weights]
        for parameter, value in zip(parameters, values, strict=True):
            if tuple(value.shape) != parameter.shape:
                raise ValueError(
                    f"{parameter.path} has shape {parameter.shape}, got an array of shape {tuple(value.shape)}. "
                    "Nothing was changed."
                )
        for parameter, value in zip(parameters, values, strict=True):
            parameter.assign(value)

    def _require_built(self, what: str) -> None:
        if not self.built:
            raise RuntimeError(
                f"{type(self).__name__} {self.path!r} has no weights yet, so {what} has nothing to work on. Build "
                "it with build(input_shape), or call it on data once."
            )

    @property
    def is_trained(self) -> bool:
        """Whether training may change it: it and the layers around it, as it is being called, are trainable."""
        frame = _frame.get()
        return frame.trained if frame is not None and frame.layer is self else self.trainable

    # Randomness

    def random(self, name: str) -> Stream:
        """Return the random stream ``path/name`` of the step that is being run.

        Outside of a step, each call of the layer is a step of its own.
        """
        path = f"{self.path}/{name}"
        binding = _binding.get()
        if binding is not None:
            return binding.stream(path)
        frame = self._current_frame()
        return Stream(frame.seed, path, self.next_draw(), frame.backend)

    def next_draw(self) -> int:
        """Return the number of a call outside of steps, each of which draws other random numbers."""
        number = self._draws
        vars(self)["_draws"] = number + 1
        return number

    # Calls

    def _current_frame(self) -> _Frame:
        """Return the frame of this layer, where it is being called or built, or one for standing alone."""
        frame = _frame.get()
        if frame is not None and frame.layer is self:
            return frame
        return self._frame_under(frame, None, None)

    def _frame_under(self, parent: _Frame | None, x: Any, training: bool | None) -> _Frame:
        if parent is None:
            backend = self._root_backend(x)
            dtype = self.dtype or "float32"
            return _Frame(
                self,
                self._root_path(),
                bool(training),
                backend,
                dtype,
                *self._computes_in(dtype),
                self._root_seed(),
                self.trainable,
            )
        name = parent.layer.child_name(self)
        path = f"{parent.path}/{name}" if parent.path else name
        dtype = self.dtype or parent.dtype
        inherited = parent.training if training is None else training
        trained = parent.trained and self.trainable
        narrows = self._computes_in(dtype)
        return _Frame(self, path, inherited, parent.backend, dtype, *narrows, parent.seed, trained)

    def _computes_in(self, dtype: str) -> tuple[str, bool]:
        """Return the dtype that it computes in under a policy, and whether that is not the one of its parameters."""
        policy = POLICIES[dtype]
        if self.computes_wide or not policy.mixed:
            return policy.variable_dtype, False
        return policy.compute_dtype, True

    def _root_path(self) -> str:
        return self.name

    def _root_dtype(self) -> str:
        return self.variable_dtype

    @property
    def compute_dtype(self) -> str:
        """The dtype that it computes in and answers with; once it is built that of its model, unless it has its own."""
        return POLICIES[self.dtype or "float32"].compute_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of its parameters."""
        return POLICIES[self.dtype or "float32"].variable_dtype

    def _root_seed(self) -> int:
        return 0

    def _root_backend(self, x: Any) -> Backend:
        if x is None:
            return get_backend()
        array = plain(_first_of(x))
        found = backend_of(array)
        if is_at_home(array, found):
            return found
        current = get_backend()  # the same library on another device
        return current if is_at_home(array, current) else found

    def __call__(self, *inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """Compute the layer's output; the first call builds it.

        Parameters
        ----------
        *inputs : array or Tensor of shape (n, ...), or a list or dict of them
            The inputs, by position or by the names that ``forward`` has for them. What `nnbackend.Input` returns is
            taken as well: the call becomes a part of a graph.
        training : bool, optional
            Whether this is training; that of the layer around it without a word, False at the outermost.
        **options
            What else ``forward`` takes, such as ``mask``.

        Returns
        -------
        array or Tensor
            Of the kind of the first input.
        """
        if options and not options.keys().isdisjoint(self._input_names):
            inputs = self._bind_inputs(inputs, options)
        if not inputs:
            raise TypeError(f"{type(self).__name__} {self.path!r} is called on an array, got none.")
        return self._call(inputs, training, options)[0]

    def _bind_inputs(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """Put inputs that were given by name behind those by position, and take them out of the options."""
        names = self._input_names
        for name in names[: len(inputs)]:
            if name in options:
                raise TypeError(f"{type(self).__name__} {self.path!r} got its input {name!r} twice.")
        named = {name: options.pop(name) for name in names[len(inputs) :] if name in options}
        last = max(names.index(name) for name in named)
        return (*inputs, *(named.get(name) for name in names[len(inputs) : last + 1]))

    def call_masked(
        self, masks: Sequence[Any], *inputs: Any, training: bool | None = None, **options: Any
    ) -> tuple[Any, Any]:
        """Call the layer on inputs that may have masks, and return its output and the output's mask.

        Parameters
        ----------
        masks : sequence of array or None
            The mask of each input; a list for an input that is one.
        *inputs : array or Tensor
            What the layer is called on.
        training : bool, optional
            Whether this is training.
        **options
            What else ``forward`` takes; a mask given here goes before that of an input.

        Returns
        -------
        output, mask
            The mask is None where there is none.
        """
        for name, position in self._mask_arguments.items():
            if name not in options and position < len(masks) and masks[position] is not None:
                options[name] = masks[position]
        output, mask, known = self._call(inputs, training, options)
        if known:
            return output, mask
        of_first = next(
            (options[name] for name, at in self._mask_arguments.items() if at == 0 and name in options), None
        )
        return output, self.compute_mask(inputs[0], masks[0] if of_first is None and masks else of_first)

    def _call(
        self, inputs: tuple[Any, ...], training: bool | None, options: dict[str, Any]
    ) -> tuple[Any, Any, bool]:
        """Return the output, its mask, and whether the mask is known."""
        x = inputs[0]
        if isinstance(x, (list, tuple)) and len(inputs) == 1 < len(self._input_names):
            raise TypeError(
                f"{type(self).__name__} {self.path!r} takes its inputs one by one, layer("
                f"{', '.join(self._input_names)}), got a {type(x).__name__}. Write a star before it: layer(*inputs)."
            )
        deferred = _find_deferred([*inputs, *options.values()])
        if deferred is not None:
            if training is not None:
                options = {**options, "training": training}
            return deferred.__nnbackend_defer__(self, inputs, options), None, True
        parent = _frame.get()
        if parent is None:
            x = self._receive(x)
            if not holds_tensors(x):  # given plain arrays, a layer answers with them
                with backend_of(_first_of(x)).scope():
                    given = (tree.map(Tensor, x), *inputs[1:])
                    output, mask, known = self._call(given, training, options)
                    return tree.map(_without_tape, output), mask, known
        frame = self._frame_under(parent, x, training)
        token = _frame.set(frame)
        try:
            shapes = _shapes_of((x, *inputs[1:]))
            self.check_input(shapes[0])
            if not self.built:
                self.build(*shapes[: self._built_from])
            x, *others = self._cast_inputs(frame, (x, *inputs[1:]))
            if self._takes_training:
                options = {**options, "training": frame.training}
            y, mask, known = self._returned(self.forward(x, *others, **options))
            if self.computes_wide and POLICIES[frame.dtype].mixed:
                y = _cast_floating(y, POLICIES[frame.dtype].compute_dtype)
            if self.output_shape is None:
                self.output_shape = sample_shape(y)
            if self.activity_regularizer is not None:
                self._penalize(y)
            observer = _observer.get()
            if observer is not None:
                observer(self, frame.path, (x, *inputs[1:]), y)
            return y, mask, known
        except Exception as error:
            self._note(error, x)
            raise
        finally:
            _frame.reset(token)

    def _cast_inputs(self, frame: _Frame, inputs: tuple[Any, ...]) -> Iterator[Any]:
        """Yield the inputs in the dtype that it computes in; further ones only where they are floating."""
        x, *others = inputs
        if self.passes_inputs and frame.narrows:
            dtype = POLICIES[frame.dtype].variable_dtype
            yield _cast_whole(x, dtype) if self.casts_input else x
            yield from others
            return
        if self.casts_input:
            yield _cast_all(x, frame.compute_dtype, self)
        else:
            yield x
        for other in others:
            yield _cast_floating(other, frame.compute_dtype)

    def _returned(self, y: Any) -> tuple[Any, Any, bool]:
        """Return what ``forward`` returned: the output, its mask, and whether it said anything of a mask."""
        value, mask, known = (y.value, y.mask, True) if isinstance(y, Masked) else (y, None, False)
        if value is None:
            raise TypeError(
                f"The forward of {type(self).__name__} {self.path!r} returned None. End it with return."
            )
        return value, mask, known

    def add_loss(self, value: Any) -> None:
        """Add a number to the loss of the step that is being run; for use in ``forward``.

        Parameters
        ----------
        value : 0-d tensor
            What is added; for a penalty on what was computed for each sample, its mean over the samples, so that the
            size of batches does not matter.

        Notes
        -----
        Where no loss is computed, as in `predict` and outside of steps, nothing happens.
        """
        binding = _binding.get()
        if binding is not None and binding.losses is not None:
            binding.losses.append(value)

    def _penalize(self, y: Any) -> None:
        """Add the penalty on the layer's output, or outputs, to the loss."""
        binding = _binding.get()
        if binding is None or binding.losses is None:
            return
        assert self.activity_regularizer is not None
        for output in tree.leaves(y):
            if is_floating(output):  # sums of squares would soon be too large for 16 bits
                output = cast(output, self.variable_dtype)
            self.add_loss(self.activity_regularizer(output) * (1.0 / max(output.shape[0], 1)))

    def _note(self, error: Exception, x: Any) -> None:
        """Add to an error in which layer it arose; the innermost speaks."""
        if not getattr(error, "__notes__", None):
            shapes = map_arrays(lambda array: shown_shape(array) if hasattr(array, "shape") else "()", x)
            shown = shapes if isinstance(shapes, str) else str(shapes).replace("'", "")
            error.add_note(f"in {type(self).__name__} {self.path!r}, called on shape {shown}")

    def _receive(self, x: Any) -> Any:
        """Make arrays of what the outermost layer is called on."""
        return (
            x if _is_structure(x) or isinstance(x, Operators) or is_array(x) else get_backend().from_host(x)
        )

    def _settle(self, frame: _Frame) -> None:
        """Remember what it was built with, so that it computes in the same way when called alone."""
        vars(self)["dtype"] = frame.dtype  # found, not asked for: a file goes on without it


def _without_tape(y: Any) -> Any:
    return plain(y) if isinstance(y, Tensor) and y.constant else y


def _is_structure(x: Any) -> bool:
    """Tell a list or dict of arrays, which is several inputs, from data in lists."""
    if isinstance(x, dict):
        return True
    return (
        isinstance(x, (list, tuple))
        and len(x) > 0
        and all(isinstance(item, Operators) or is_array(item) or _is_structure(item) for item in x)
    )


def map_arrays(function: Callable[[Any], Any], x: Any) -> Any:
    """Apply a function to an input, or to each of a list or dict of them; lists come back for tuples."""
    if isinstance(x, dict):
        return {name: map_arrays(function, item) for name, item in x.items()}
    if isinstance(x, (list, tuple)):
        return [map_arrays(function, item) for item in x]
    return function(x)


def map_shapes(function: Callable[[Shape], Any], shapes: Any) -> Any:
    """Apply a function to a shape, or to each of a list or dict of them."""
    if isinstance(shapes, dict):
        return {name: map_shapes(function, shape) for name, shape in shapes.items()}
    if isinstance(shapes, list):
        return [map_shapes(function, shape) for shape in shapes]
    return function(tuple(shapes))


def sample_shape(y: Any) -> Any:
    """Return the shape of an output without the axis of samples; a list of them for several outputs."""
    return map_arrays(lambda array: tuple(getattr(array, "shape", ()))[1:], y)


def shown_shape(x: Any) -> str:
    """Return an input's shape in words: where a layer is tried on one sample of zeros, n stands for its data."""
    shape, binding = tuple(x.shape), _binding.get()
    if binding is not None and binding.builds:
        return f"({', '.join(['n', *map(str, shape[1:])])})"
    return str(shape)


def _shapes_of(inputs: Sequence[Any]) -> list[Any]:
    """Return the shapes of a layer's inputs, None for those that are no arrays."""
    return [sample_shape(x) if hasattr(x, "shape") or _is_structure(x) else None for x in inputs]


def _first_of(x: Any) -> Any:
    """Return the first array of an input that may be several."""
    return x if hasattr(x, "shape") else tree.flatten(x)[0][0]


def holds_tensors(x: Any) -> bool:
    return isinstance(x, Operators) or (
        isinstance(x, (list, tuple, dict)) and any(isinstance(leaf, Operators) for leaf in tree.flatten(x)[0])
    )


def _find_deferred(inputs: Sequence[Any]) -> Deferred | None:
    """Return the first of the inputs, also in lists and dicts, whose value is not known yet."""
    for x in inputs:
        if isinstance(x, Deferred):
            return x
        if isinstance(x, (list, tuple, dict)):
            found = _find_deferred(list(x.values()) if isinstance(x, dict) else x)
            if found is not None:
                return found
    return None


def _input_names_of(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of what ``forward`` takes by position."""
    return tuple(
        name for name in list(parameters_of(forward).positional)[1:] if name not in ("mask", "training")
    )


def _mask_arguments_of(forward: Callable[..., Any]) -> dict[str, int]:
    """Return which arguments take masks: ``mask`` that of the first input, ``value_mask`` that of ``value``."""
    names = parameters_of(forward).names[1:]
    found = {"mask": 0} if "mask" in names else {}
    for position, name in enumerate(names):
        if f"{name}_mask" in names:
            found[f"{name}_mask"] = position
    return found


def _count_of_shapes(build: Callable[..., Any]) -> int | None:
    """Return how many shapes a ``build`` takes; None for any number."""
    takes = parameters_of(build)
    return None if takes.more else len(takes.positional) - 1


def _attributes_of(layer: Layer) -> list[tuple[Layer, dict[str, Any]]]:
    """Remember the attributes of a layer and of those inside it that have no weights yet."""
    return [(inner, dict(vars(inner))) for inner in layer.family() if not inner.built]


def _reset(before: list[tuple[Layer, dict[str, Any]]]) -> None:
    for layer, attributes in before:
        vars(layer).clear()
        vars(layer).update(attributes)


def _arguments_of(make: Any) -> list[str]:
    try:
        takes = parameters_of(make)
    except (TypeError, ValueError):  # a base written in C that does not tell, or one that is not to be made
        return []
    return [*takes.positional, *takes.named]


#: What may hold layers or parameters as an attribute.
_HOLDERS = (Layer, Parameter, list, tuple, dict)


def containers(layer: Layer) -> list[Any]:
    """Return the lists and dicts among the attributes of a layer and of those inside it, and what is in them."""
    return [
        container
        for member in layer.family()
        for name, value in vars(member).items()
        if name not in member._not_searched
        for container in _containers(value)
    ]


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, dict)):
        yield value
    if isinstance(value, (list, tuple, dict)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _containers(child)


def contents(container: Any) -> list[Any]:
    """Return what is in a list or dict, for `still_holds`."""
    return list(container.values() if isinstance(container, dict) else container)


def still_holds(container: Any, things: list[Any]) -> bool:
    """Tell whether there are the same things in a list or dict, in the same order."""
    now = container.values() if isinstance(container, dict) else container
    return len(now) == len(things) and all(map(operator.is_, now, things))


def _differ(before: Any, after: Any) -> bool:
    """Tell whether two values of an argument mean something else; objects do unless they are the same one."""
    plain_value = isinstance(after, (bool, float, int, str))
    return before is not after and not (plain_value and type(before) is type(after) and before == after)


def _search(value: Any, kind: type[_Kind], found: dict[int, _Kind]) -> None:
    """Collect what is of this kind, also in lists and dicts; each once."""
    if isinstance(value, kind):
        found.setdefault(id(value), value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _search(item, kind, found)
    elif isinstance(value, dict):
        for item in value.values():
            _search(item, kind, found)


def _walk(layer: Layer, seen: set[int]) -> Iterator[Layer]:
    if id(layer) not in seen:
        seen.add(id(layer))
        yield layer
        for child in layer.sublayers():
            yield from _walk(child, seen)


def _place(
    layer: Layer,
    prefix: str,
    around: tuple[Layer, ...],
    found: list[tuple[str, Parameter, tuple[Layer, ...]]],
    seen: set[int],
) -> None:
    """Collect the parameters in a layer with their paths and the layers that they stand in; each once."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    around = (*around, layer)
    for parameter in layer.own_parameters():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            found.append((prefix + parameter.path.rpartition("/")[2], parameter, around))
    for child in layer.sublayers():
        _place(child, f"{prefix}{layer.child_name(child)}/", around, found, seen)


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(1):
        yield f"{name}_{number}"


def cast(x: Any, dtype: str) -> Any:
    """Cast real numbers to the layer's dtype, where they are not of it already."""
    if str(x.dtype).rpartition(".")[2] == dtype:
        return x
    from nnbackend import functional

    return functional.astype(x, backend_of(plain(x)).dtype(dtype))


def widened(y: Any) -> Any:
    """Cast what a layer computed in 16 bits to float32, for losses and metrics; the logits behind it as well."""
    if not is_half(y):
        return y
    wide = cast(y, "float32")
    if isinstance(y, Tensor) and y.origin is not None:
        rule, arguments, options = y.origin
        wide.origin = (rule, tuple(map(_widened_argument, arguments)), options)
    return wide


def _widened_argument(argument: Any) -> Any:
    return widened(argument) if hasattr(argument, "dtype") else argument


def _cast_all(x: Any, dtype: str, layer: Layer) -> Any:
    """Cast an input, or each of several; none stays as it is for its own ``casts_input``."""
    return cast(x, dtype) if hasattr(x, "dtype") else map_arrays(lambda array: cast(array, dtype), x)


def _cast_whole(x: Any, dtype: str) -> Any:
    """Cast an input, or each of several, that is not floating."""
    if hasattr(x, "dtype"):
        return x if is_floating(x) else cast(x, dtype)
    return map_arrays(lambda array: _cast_whole(array, dtype), x)


def _cast_floating(x: Any, dtype: str) -> Any:
    """Cast a further input where it is floating; masks, indices and what is no array stay as they are."""
    if isinstance(x, (list, tuple)):
        return [_cast_floating(item, dtype) for item in x]
    if isinstance(x, dict):
        return {name: _cast_floating(item, dtype) for name, item in x.items()}
    return cast(x, dtype) if hasattr(x, "dtype") and is_floating(x) else x


def _checking(compute_output_shape: Callable[..., Any]) -> Callable[..., Any]:
    """Make a layer's ``compute_output_shape`` refuse what the layer refuses."""
    if hasattr(compute_output_shape, "_nnbackend_checking"):
        return compute_output_shape

    @functools.wraps(compute_output_shape)
    def wrapped(self: Layer, input_shape: Any, *others: Any) -> Any:
        self.check_input(input_shape)
        return compute_output_shape(self, input_shape, *others)

    wrapped._nnbackend_checking = True  # type: ignore[attr-defined]
    return wrapped


def _building(build: Callable[..., None]) -> Callable[..., None]:
    """Make a layer's ``build`` run once, in its own frame, and leave nothing behind where it fails."""
    if hasattr(build, "_nnbackend_building"):
        return build

    def wrapped(self: Layer, input_shape: Any, *others: Any) -> None:
        if self.built:
            return
        frame = _frame.get()
        inside = frame is not None and frame.layer is self
        if not inside:
            frame = self._frame_under(frame, None, None)
        assert frame is not None
        before = _attributes_of(self)
        self._path = frame.path
        input_shape = map_shapes(tuple, input_shape)
        token = _frame.set(frame)
        try:
            self.check_input(input_shape)
            require(f"{type(self).__name__} {self.path!r}", POLICIES[frame.dtype], frame.backend)
            build(self, input_shape, *others)
        except BaseException:
            _reset(before)  # a second try may come with data of another shape
            raise
        finally:
            _frame.reset(token)
        self.input_shape = input_shape
        self._settle(frame)
        self.built = True

    wrapped.__doc__ = build.__doc__
    wrapped.__wrapped__ = build  # type: ignore[attr-defined]
    wrapped._nnbackend_building = True  # type: ignore[attr-defined]
    return wrapped


Layer.build = _building(Layer.build)  # type: ignore[method-assign]
