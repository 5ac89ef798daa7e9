"""Model: a layer that can be trained, measured, asked and saved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from math import isfinite
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from nnbackend import losses, optimizers, tree
from nnbackend import metrics as measures
from nnbackend.arguments import named_arguments, positive_integer
from nnbackend.autodiff import Operators
from nnbackend.backend import Backend, backend_of, get_backend, host, is_array, nearest, plain, to_numpy
from nnbackend.callbacks import Callback, Callbacks, EpochLines, History
from nnbackend.config import Configurable
from nnbackend.data import (
    ArrayFeed,
    Batch,
    DataLoader,
    Dataset,
    Feed,
    LoaderFeed,
    as_dataset,
    is_stream,
    loader_of,
    move,
    place,
    require_finite,
    require_weight,
    sent,
    split,
    to_array,
    weigh_classes,
)
from nnbackend.layers.base import (
    Layer,
    Parameter,
    alterations,
    changes,
    containers,
    contents,
    holds_tensors,
    revision,
    sample_shape,
    still_holds,
    structure,
)
from nnbackend.models.interrupts import whole_steps
from nnbackend.models.objective import Objective
from nnbackend.models.overflow import warn_of_overflow, warn_of_weights
from nnbackend.models.prompt import Prompt
from nnbackend.models.reporting import reporter, watched, watcher_of
from nnbackend.models.run import Run
from nnbackend.models.state import Last, TrainingState
from nnbackend.models.steps import (
    make_objective_step,
    make_predict_step,
    make_test_step,
    make_train_step,
)
from nnbackend.placement import copy_of, is_at_home
from nnbackend.policies import POLICIES, DTypePolicy, LossScale, portable, require
from nnbackend.random import key_words, new_seed
from nnbackend.typing import Tree

if TYPE_CHECKING:
    from nnbackend.models.profiling import Profile

__all__ = ["Model"]

#: Samples of a batch where nothing else is said.
TRAINED_AT_ONCE, MEASURED_AT_ONCE = 32, 128


class Model(Layer):
    """A network: a layer with a backend, a seed and a training loop.

    Subclass it, make layers in ``__init__`` and use them in ``forward``; or use `Sequential`; or call layers on
    what `Input` returns, and make a model of the graph: ``nn.Model(inputs, outputs)``.

    Parameters
    ----------
    inputs, outputs : Symbol, or list or dict of Symbol, optional
        For a graph: what goes in and what comes out.
    backend : str or Backend, optional
        Where it lives: ``"numpy"``, ``"cupy"``, ...; without it the backend in force (`nnbackend.get_backend`).
    seed : int, optional
        From it come first weights, shuffles and dropout masks, the same on every backend; without it a new one from
        the operating system.
    name, dtype, trainable
        As of `Layer`; `dtype` is ``"float32"`` without it. With ``"mixed_float16"`` and ``"mixed_bfloat16"`` layers
        compute in 16 bits, and so does `predict` unless the last layer has ``dtype="float32"``; weights, the loss and
        metrics are float32, and with float16 training scales the loss (`loss_scale`).

    Attributes
    ----------
    backend : Backend
        Where it lives; `to` moves it.
    seed : int
        The seed in use.
    optimizer : Optimizer or None
        What `compile` was given.
    loss_scaling : LossScale
        How the loss is scaled where layers compute in float16.
    stop_training : bool
        A callback sets it to end `fit`: after the epoch, whose other batches are left out if a batch was at hand.
    run : Run or None
        Where `fit` stands, while it runs.
    feed : Feed or None
        While `fit` runs, where its batches come from and the position in them.

    Examples
    --------
    >>> import nnbackend as nn
    >>> class Residual(nn.Model):
    ...     def __init__(self, **options):
    ...         super().__init__(**options)
    ...         self.hidden = nn.Dense(2, activation="relu")
    ...         self.out = nn.Dense(1)
    ...
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x) + x)
    >>> model = Residual(seed=0)
    >>> model.predict([[1.0, 2.0]]).shape
    (1, 1)
    """

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Make a graph where inputs and outputs are given."""
        if cls is Model and (arguments or "inputs" in options):
            from nnbackend.models.graph import Graph

            return super().__new__(Graph, *arguments, **options)
        return super().__new__(cls, *arguments, **options)

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        *,
        backend: str | Backend | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: str | DTypePolicy | None = None,
        trainable: bool = True,
        **unknown: Any,
    ) -> None:
        self._refuse_unknown(unknown, {*self._configured, "trainable", "backend"} - {"activity_regularizer"})
        if inputs is not None or outputs is not None:
            raise TypeError(
                f"{type(self).__name__} got inputs and outputs, which nnbackend.Model itself makes a graph of. A class "
                "of your own says what it computes in forward(self, x)."
            )
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.backend = get_backend(backend)
        if self.dtype is not None:
            require(type(self).__name__, POLICIES[self.dtype], self.backend)
        self.seed = new_seed() if seed is None else seed
        key_words(self.seed)  # refuses what is no seed
        self.optimizer: optimizers.Optimizer | None = None
        self.objective: Objective | None = None
        self.loss_scaling = LossScale()
        self.epochs_trained = 0
        self._output_sample: Any = None
        self._training = TrainingState()
        self._eager = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget what was made for steps, and where `fit` stands."""
        self.stop_training = False
        self.feed: Feed | None = None
        self.run: Run | None = None
        self._averaged = False
        self._told_of_overflow = False
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._compiled_at = (0, 0)
        self._members: tuple[Layer, ...] = ()
        self._scales_loss = False
        self._alters = False  # whether its layers set attributes while they compute
        self._taken: Any = None  # what inputs were like that a step could take as they are
        self._prompt: Prompt | None = None
        # what `_prepare` found; steps rely on it, and nothing else does
        self._handles: dict[str, Parameter] = {}
        self._placed: list[tuple[str, Parameter, tuple[Layer, ...]]] = []
        self._switches: list[Parameter | Layer] = []
        self._parts: (
            tuple[list[bool], dict[str, Parameter], dict[str, Parameter], tuple[str | None, ...]] | None
        ) = None
        self._prepared: tuple[int, str | None, list[tuple[Any, list[Any]]]] | None = None
        self._never_called: list[Layer] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy that predicts the same, and trains on by itself from where this one stands.

        It has copies of layers, weights, optimizer and the state of training, and the same seed, on the same backend.
        Where this one is within `fit`, the copy is not; within `averaged_weights`, the averages are the copy's weights.
        """
        made = super().__deepcopy__(memo)
        made._begin_anew()
        return made

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make a model like this one; where it lives is not among them."""
        return {
            name: value for name, value in super().get_config().items() if name not in ("backend", "seed")
        }

    passes_inputs = True  # indices among them would not survive 16 bits: each layer inside casts for itself

    # Structure

    _not_searched = Layer._not_searched | {
        "_compiled",
        "_compiled_at",
        "_handles",
        "_members",
        "feed",
        "_never_called",
        "_parts",
        "_placed",
        "_prepared",
        "_prompt",
        "_switches",
        "_taken",
    }
    _not_copied = Layer._not_copied | {  # what `_begin_anew` sets
        "_alters",
        "_averaged",
        "_compiled",
        "_compiled_at",
        "_handles",
        "_members",
        "_never_called",
        "_parts",
        "_placed",
        "_prepared",
        "_prompt",
        "_scales_loss",
        "_switches",
        "_taken",
        "_told_of_overflow",
        "feed",
        "run",
        "stop_training",
    }
    _kept_here = (
        Layer._kept_here
        | _not_searched
        | {
            "_alters",
            "_averaged",
            "_scales_loss",
            "_declared",
            "_eager",
            "_output_sample",
            "_told_of_overflow",
            "_training",
        }
        | {"epochs_trained", "objective", "optimizer", "run", "stop_training"}
    )

    def _root_path(self) -> str:
        return ""

    def _root_seed(self) -> int:
        return self.seed

    def _root_backend(self, x: Any) -> Backend:
        return self.backend

    def _receive(self, x: Any) -> Any:
        """Bring what the model is called on to its backend."""
        if self._takes_several(x) or (isinstance(x, (list, tuple)) and holds_tensors(x)):
            pairs = x.items() if isinstance(x, dict) else enumerate(x)
            moved = {key: self._receive_one(value) for key, value in pairs}
            return moved if isinstance(x, dict) else list(moved.values())
        return self._receive_one(x)

    def _receive_one(self, x: Any) -> Any:
        if isinstance(x, Operators) or is_at_home(x, self.backend):
            return x
        return move(to_array(x, f"{type(self).__name__} {self.path!r}: x"), self.backend, None)

    def _settle(self, frame: Any) -> None:
        super()._settle(frame)
        self.backend = frame.backend  # inside another model: where its parameters are

    @property
    def output_names(self) -> list[str] | None:
        """The names of its outputs, where it has several and they are known."""
        return None

    def build(self, input_shape: Any) -> None:
        """Make the parameters for samples of this shape, by running `forward` on one sample of zeros."""
        self._output_sample = sample_shape(self._try_out(input_shape))

    def compute_output_shape(self, input_shape: Any, *others: Any) -> Any:
        """Return the output's shape for this input shape, both without the axis of samples."""
        if self._output_sample is not None and input_shape == self.input_shape:
            return self._output_sample
        return super().compute_output_shape(input_shape, *others)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return one of its layers.

        Parameters
        ----------
        name : str, optional
            Its name in the model, as `summary` shows it; that of a layer inside of others with their names before:
            ``"encoder/dense_1"``.
        index : int, optional
            Instead of its name, its place among ``layers``; for a model of one's own, in the order of its attributes.

        Raises
        ------
        TypeError
            If there is not one of both.
        ValueError, IndexError
            If there is none.

        Examples
        --------
        >>> import nnbackend as nn
        >>> model = nn.Sequential([nn.Dense(4, name="hidden"), nn.Dense(2)])
        >>> model.get_layer("hidden") is model.get_layer(index=0)
        True
        """
        if (name is None) == (index is None):
            raise TypeError("get_layer expects a name or an index: get_layer('dense'), get_layer(index=0).")
        if index is not None:
            own = isinstance(getattr(type(self), "layers", None), property)
            layers = self.layers if own else self.sublayers()
            if index not in range(-len(layers), len(layers)):
                raise IndexError(
                    f"{self.path!r} has the layers 0 to {len(layers) - 1}, got the index {index!r}."
                )
            found: Layer = layers[index]
            return found
        layer: Layer = self
        for part in str(name).split("/"):
            inside = {layer.child_name(child): child for child in layer.sublayers()}
            if part not in inside:
                raise ValueError(
                    f"{layer.path!r} has no layer {part!r}; it has {', '.join(inside) or 'none'}."
                    f"{nearest(part, inside)}"
                )
            layer = inside[part]
        return layer

    def declared_shape(self) -> Any:
        """Return the shape of the inputs where it is known before there are data, else None."""
        return None

    @property
    def takes_any_length(self) -> bool:
        """Whether an axis of its inputs was declared to have any length."""
        return False

    def _require_built(self, what: str) -> None:
        declared = self.declared_shape()
        if not self.built and declared is not None:
            self.build(declared)
        super()._require_built(what)

    def handles(self) -> dict[str, Parameter]:
        """Return its parameters by their path in this model.

        Raises
        ------
        ValueError
            If two have the same path.
        """
        return _by_path(self._placed_parameters())

    def _prepare(self, x: Any) -> None:
        """Make ready for steps on inputs like `x`: build what is not built, and look up all parameters.

        Layers may have been added, replaced or called alone since the last time.
        """
        shape = sample_shape(x)
        single = isinstance(self.input_shape, tuple) and isinstance(shape, tuple)
        if single and len(shape) < len(self.input_shape) and self.declared_shape() is None:
            wanted = f"({', '.join(['n', *map(str, self.input_shape)])})"
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects inputs of shape {wanted}, got {tuple(x.shape)}. One "
                "sample alone is x[None]."
            )
        if self._is_as_prepared():
            return
        if not self.built:
            declared = self.declared_shape()
            self.build(shape if declared is None else declared)
        unbuilt = [layer for layer in self.family() if not layer.built]
        if unbuilt and unbuilt != self._never_called:
            self._output_sample = sample_shape(self._try_out(shape))
            self._never_called = [layer for layer in unbuilt if not layer.built]
        self._placed, self._parts = self._placed_parameters(), None
        switches: dict[Parameter | Layer, None] = {}
        for _, parameter, around in self._placed:
            switches |= dict.fromkeys((parameter, *around))
        self._switches = list(switches)
        before, self._handles = self._handles, _by_path(self._placed)
        if [(path, id(parameter)) for path, parameter in before.items()] != [
            (path, id(parameter)) for path, parameter in self._handles.items()
        ]:
            self._compiled = {}
            self._training.forget(
                path for path, parameter in before.items() if self._handles.get(path) is not parameter
            )
        self._members = tuple(self.family())
        self._scales_loss = _scales_loss(self._members)
        held = [(container, contents(container)) for container in containers(self)]
        self._prepared = (structure(), self._path, held)

    def _is_as_prepared(self) -> bool:
        """Tell whether the layers and parameters are those that were looked up last."""
        if self._prepared is None:
            return False
        number, path, held = self._prepared
        if number != structure() or path != self._path:
            return False
        return all([still_holds(*pair) for pair in held])  # noqa: C419 - which takes less time

    def to(self, backend: str | Backend) -> Model:
        """Move the model, with all that training it goes on from, to another backend.

        Parameters
        ----------
        backend : str or Backend
            Where to.

        Returns
        -------
        Model
            Itself.
        """
        target = get_backend(backend)
        for layer in self.family():
            require(f"{type(layer).__name__} {layer.path!r}", POLICIES[layer.dtype or "float32"], target)
        for parameter in self.parameters:
            parameter.move(target)
        self._training.move(target)
        for layer in self.family():
            if isinstance(layer, Model):
                layer.backend = target
                layer._compiled = {}
        return self

    # Training

    @named_arguments
    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "adam",
        loss: Any = None,
        metrics: Any = (),
        *,
        loss_weights: Any = None,
        loss_scale: LossScale | None = None,
        run_eagerly: bool = False,
    ) -> None:
        """Say how the model is trained and measured.

        Parameters
        ----------
        optimizer : str or Optimizer
            Its state starts afresh.
        loss : str, Loss or callable; for several outputs a list or dict of them
            What is made small. A dict goes by the names of the outputs; what it leaves out has no loss.
        metrics : str, Metric or callable, or a sequence of them; for several outputs a list or dict of such sequences
            What is reported beside the loss; with several outputs under ``"<output>_<metric>"``, where one metric, or a
            sequence of metrics alone, is for each of them.
        loss_weights : list or dict of float, optional
            For several outputs, how much each loss counts in the sum that is made small.
        loss_scale : LossScale, optional
            How the loss is scaled where layers compute in float16; elsewhere it is not.
        run_eagerly : bool
            Whether every step runs as the Python that it is written in, so that one may print in it and look into it.
            Otherwise the backend may repeat what it did in the first steps: NumPy records the second and third step
            for batches of one shape and replays them, CuPy captures the second as a CUDA graph, JAX compiles. The
            numbers are the same on NumPy and CuPy.

        Raises
        ------
        ValueError
            If a name is unknown, or two metrics have one name.
        TypeError
            If there is no loss.

        Notes
        -----
        A learning rate that is set, and attributes of layers that are set (``dropout.rate = 0.2``), take effect at the
        next step. All else that Python computes without the arrays is read while a step is recorded or compiled, on
        NumPy as on JAX: global variables, closures, items of lists and dicts. Changes of these take effect with the
        next `compile`, or at once with ``run_eagerly=True``. Options of the optimizer, the loss, the metrics, penalties
        and constraints stay what they are once a step was taken: to set another one is a TypeError. Random numbers come
        from ``self.random`` of a layer; a step that draws from another generator is found out by NumPy, which records
        twice and compares, and runs as it is written, and not by JAX. So does a model whose layers set attributes while
        they compute.
        """
        if loss is None:
            raise TypeError("compile expects a loss, such as loss='mean_squared_error'.")
        if not isinstance(loss_scale, LossScale | None):
            raise TypeError(
                "compile expects loss_scale to be a LossScale, such as nn.LossScale(initial=1024.0), got "
                f"{loss_scale!r}."
            )
        objective = Objective(loss, metrics, loss_weights, self.output_names)
        self.optimizer = optimizers.get(optimizer)
        self.objective = objective
        self.loss_scaling = loss_scale or LossScale()
        self._training.optimizer = self._training.loss_scale = None
        self._compiled, self._eager, self._alters = {}, bool(run_eagerly), False
        self._told_of_overflow = False

    @property
    def loss(self) -> losses.Loss | None:
        """What is made small; None before `compile`, and where there are several outputs."""
        return None if self.objective is None else self.objective.loss

    @property
    def metrics(self) -> list[measures.Metric]:
        """What is reported beside the loss."""
        return [] if self.objective is None else [m for chosen in self.objective.metrics for m in chosen]

    def _require_compiled(self, what: str) -> tuple[Objective, optimizers.Optimizer]:
        if self.objective is None or self.optimizer is None:
            raise RuntimeError(
                f"{what} needs a loss and an optimizer: call model.compile(optimizer='adam', loss=...) first."
            )
        return self.objective, self.optimizer

    def _step(self, kind: str, fixed: tuple[str | None, ...] = ()) -> Callable[..., Any]:
        """Return a compiled step; the paths that training leaves as they are make another step of it."""
        now = revision(), alterations(self._members)
        if self._compiled_at != now:  # a layer computes something else since
            self._compiled, self._compiled_at = {}, now
        if (kind, fixed) not in self._compiled:
            if kind == "predict":
                step: Callable[..., Any] = make_predict_step(self, self._handles)
            else:
                objective, optimizer = self._require_compiled(kind)
                step = (
                    make_train_step(self, self._handles, objective, optimizer)
                    if kind == "train"
                    else make_test_step(self, self._handles, objective)
                )
            self._put_to_use()
            compiled = self._compile(step)
            overflows = self._scales_loss and kind == "train"  # which is what the loss scale is found by
            self._compiled[kind, fixed] = self.backend.overflowing(compiled) if overflows else compiled
        return self._compiled[kind, fixed]

    def _put_to_use(self) -> None:
        """Let what steps are made of keep its options."""
        used: list[Any] = [self.optimizer, self.loss_scaling]
        if self.objective is not None:
            used += [*self.objective.losses, *(m for chosen in self.objective.metrics for m in chosen)]
        used += [layer.activity_regularizer for layer in self._members]
        used += [
            part for handle in self._handles.values() for part in (handle.regularizer, handle.constraint)
        ]
        for part in used:
            if isinstance(part, Configurable):
                part.put_to_use()

    def _compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a compiled step, or the step itself where it is to run as Python each time."""
        eager = self._eager or self._alters
        return self.backend.uncompiled(step) if eager else self.backend.compile(step)

    def _take(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Take a step; if layers set attributes in it, which compiled steps would not, it is not compiled again."""
        before = alterations(self._members)
        outcome = step(*arguments)
        if alterations(self._members) != before:
            self._compiled_at = (revision(), alterations(self._members))
            if self.backend.runs_uncompiled and not self._alters:
                self._alters, self._compiled = True, {}
        return outcome

    def _given(self) -> Tree:
        """Return what measuring and predicting read: all parameters, and the random streams."""
        parameters = {path: parameter._array for path, parameter in self._handles.items()}
        return {"parameters": parameters, **self._training.start_random(self.seed, self.backend)}

    def _no_metrics(self) -> Tree:
        return self._require_compiled("Measuring")[0].init(self.backend)

    def _numbers(self, measured: Tree) -> dict[str, float]:
        """Read loss and metrics from the device."""
        return self._require_compiled("Measuring")[0].numbers(measured)

    def _takes_several(self, x: Any) -> bool:
        """Tell whether these inputs are several, rather than the rows of one."""
        return isinstance(x, dict) or (_lists_arrays(x) and not self._are_rows(x))

    def _are_rows(self, x: Sequence[Any]) -> bool:
        """Tell whether arrays are samples of one input: where the model takes one, and they have as many axes."""
        axes = self._sample_axes()
        return axes is not None and all(len(item.shape) == axes for item in x)

    def _sample_axes(self) -> int | None:
        """Return how many axes a sample has; None where there are several inputs, or it is not known yet."""
        shape = self.input_shape if self.built else self.declared_shape()
        return len(shape) if isinstance(shape, tuple) else None

    def _input_dtypes(self) -> Any:
        """Return what inputs are cast to: a dtype, None to leave integers, or a list or dict of them."""
        return self._root_dtype() if self.casts_input else None

    def _dataset(
        self,
        owner: str,
        x: Any,
        y: Any = None,
        weight: Any = None,
        *,
        on: Backend | None = None,
        streamed: bool = False,
    ) -> Dataset:
        """Return data on a backend; in what a stream yields, a list of arrays is several inputs and never rows."""
        return as_dataset(
            x,
            y,
            weight,
            backend=on or self.backend,
            input_dtype=self._input_dtypes(),
            dtype=self._root_dtype(),
            owner=owner,
            several_inputs=self._takes_several(x) or (streamed and _lists_arrays(x)),
            several_outputs=self.objective is not None and self.objective.names is not None,
        )

    def _checked(self, owner: str, data: Dataset, finite: bool, prepare: bool = True) -> Dataset:
        """Build the model for a data set, and check that its targets fit the outputs."""
        if data.y is None:
            listed = isinstance(data.x, list) and len(data.x) in (2, 3)
            raise TypeError(
                f"{owner} expects targets: {owner}(x, y), or batches (x, y) from a loader or stream."
                + (_LISTED if listed else "")
            )
        if finite:
            require_finite(data, owner)
        objective, _ = self._require_compiled(owner)
        if prepare:
            self._prepare(data.x)
        self.check_values(data.x)
        with self.backend.scope():
            output_shape = self.compute_output_shape(sample_shape(data.x))
            objective.check_targets(data.y, output_shape)
            objective.check_weights(owner, data.weight, output_shape)
        return data

    def _receiver(self, owner: str, finite: bool, class_weight: Any = None) -> Callable[[Batch], Batch]:
        """Return what checks a loader's batches on the host."""
        seen = False

        def receive(batch: Batch) -> Batch:
            nonlocal seen
            data = self._checked(
                owner, self._dataset(owner, *batch, on=host(), streamed=True), finite, prepare=not seen
            )
            seen = True
            if class_weight is not None:
                shape = self.compute_output_shape(sample_shape(data.x))
                data = weigh_classes(data, class_weight, self._root_dtype(), owner, shape)
            return data.on(host())

        return receive

    def _measurable(
        self,
        owner: str,
        given: tuple[Any, Any, Any],
        batch_size: int | None,
        steps: int | None,
        finite: bool,
    ) -> _Measurable:
        """Return what gives the batches to measure the model on, as often as it is called."""
        loader = loader_of(owner, *given, batch_size, MEASURED_AT_ONCE)
        if loader is not None:
            return self._pass_over(loader, owner, steps, finite)
        data = self._checked(owner, self._dataset(owner, *given, on=place(self.backend, *given)), finite)
        require_weight(data, owner)
        size = batch_size or MEASURED_AT_ONCE
        return _Measurable(
            partial(self._first_batches, data, size, steps), length=_count(len(data), size, steps)
        )

    def _pass_over(self, loader: DataLoader, owner: str, steps: int | None, finite: bool) -> _Measurable:
        """Return what gives each of a loader's samples once, on the backend, as often as it is called."""
        receive = self._receiver(owner, finite)
        count = _least(loader.steps, steps)
        return _Measurable(
            lambda: sent(map(receive, loader.in_order(steps)), self.backend), loader.positionable, count
        )

    def _first_batches(self, data: Dataset, size: int, steps: int | None) -> Iterator[Batch]:
        batches = itertools.islice(data.batches(size), steps)
        return sent(batches, None if data.backend is self.backend else self.backend)

    @named_arguments
    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        check_finite: bool = False,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x, y : array, list or table of shape (n, ...)
            Inputs and targets, one row for each sample; arrays of any backend. A list of arrays is several inputs,
            unless each is of the shape of one sample: then it is the rows of one. Memory-mapped arrays stay in their
            files, and only the rows of a batch are read. Instead of both, a `nnbackend.data.DataLoader`, or a stream of
            batches ``(x, y)`` or ``(x, y, sample_weight)``: an iterable, a function that returns an iterator, or an
            iterator such as a generator. Batches are tuples.
        batch_size : int, optional
            Samples of a step, 32 without it; the last batch of an epoch has what is left. Loaders and streams have
            their own.
        epochs : int
            How often to go through the samples; training ends after epoch number `epochs`.
        verbose : {"auto", 0, 1, 2}
            0 is silent, 1 a progress bar, 2 a line for each epoch; "auto" is 1 in terminals and notebooks, else 2.
        callbacks : sequence of Callback, optional
            Who is told.
        validation_split : float
            The last share of the samples is kept for validation, with its sample weights.
        validation_data : tuple of (x, y) or (x, y, sample_weight), DataLoader or stream, optional
            What to validate on after each epoch.
        shuffle : bool
            Whether each epoch has an order of its own, from the model's seed; loaders and streams have theirs.
        class_weight : mapping of int to float, optional
            How much the samples of each class weigh in training; classes not named weigh 1.
        sample_weight : array of shape (n,), optional
            How much each sample weighs.
        initial_epoch : int
            The number of the first epoch, for continued training.
        steps_per_epoch : int, optional
            Batches of an epoch, for data without end. Without it an epoch is one pass; with it the next epoch goes on
            in the data, and what can begin again does so wherever it ends.
        validation_steps : int, optional
            At most how many batches to validate on; what can begin again begins again each time.
        validation_batch_size : int, optional
            Samples at a time when validating on arrays; `batch_size` without it.
        check_finite : bool
            Whether to refuse NaN and infinite inputs and targets.

        Returns
        -------
        History
            The numbers of each epoch. The loss is the mean over the epoch's samples, weighted as they are, and
            includes the penalties of regularizers.

        Raises
        ------
        RuntimeError
            If the model was not compiled.
        ValueError, TypeError
            If the data are empty, of different lengths, not numbers, or do not fit the model or the loss.

        Warns
        -----
        RuntimeWarning
            After an epoch, where no sample had any weight; and once, where layers compute in float16 and numbers past
            its largest, 65504, keep steps from changing anything.
        """
        batch_size = _optional_count("fit", "batch_size", batch_size)
        epochs = positive_integer("fit", "epochs", epochs)
        steps_per_epoch = _optional_count("fit", "steps_per_epoch", steps_per_epoch)
        validation_steps = _optional_count("fit", "validation_steps", validation_steps)
        validation_size = _optional_count("fit", "validation_batch_size", validation_batch_size)
        if initial_epoch not in range(epochs):
            raise ValueError(
                f"fit expects initial_epoch from 0 to epochs - 1 = {epochs - 1}, got {initial_epoch!r}. `epochs` is "
                "the number of the last epoch, not how many follow."
            )
        if not isinstance(shuffle, bool):
            raise TypeError(f"fit expects shuffle to be True or False, got {shuffle!r}.")
        self._require_compiled("fit")
        validation_size = validation_size or batch_size or TRAINED_AT_ONCE
        share = validation_split if validation_data is None else 0.0
        feed, validation = self._feed(
            (x, y, sample_weight),
            batch_size,
            shuffle=shuffle,
            steps=steps_per_epoch,
            share=share,
            validation_size=validation_size,
            validation_steps=validation_steps,
            class_weight=class_weight,
            finite=check_finite,
        )
        if validation_data is not None:
            validation = self._validation(validation_data, validation_size, validation_steps, check_finite)
        self._told_of_overflow = False
        history = History()
        watchers = Callbacks([*reporter(verbose), *_listed(callbacks), history], self)
        self.stop_training = False
        self.feed = feed
        self.run = run = Run(
            self,
            feed,
            list(watchers),
            epochs=epochs,
            first_epoch=initial_epoch,
            options={
                "batch_size": batch_size,
                "shuffle": shuffle,
                "steps_per_epoch": steps_per_epoch,
                "validation_split": validation_split,
                "validation_steps": validation_steps,
                "initial_epoch": initial_epoch,
                "sample_weight": "given" if sample_weight is not None else None,
                "class_weight": None
                if class_weight is None
                else {str(k): v for k, v in class_weight.items()},
            },
            replays_validation=validation is None or validation.replayable,
            validation=None if validation is None else validation.batches,
        )
        begin = {"epochs": epochs, "steps": feed.steps, "samples": feed.samples, "first_epoch": initial_epoch}
        try:
            watchers.train_begin(begin)  # here a run that was broken off comes back
            try:
                while run.goes_on:
                    self._train_epoch(run, watchers, validation)
                run.finished = True
            finally:
                watchers.train_end()
        finally:
            self.feed = self.run = None
        return history

    def _train_epoch(self, run: Run, watchers: Callbacks, validation: _Measurable | None) -> None:
        """Train one epoch, or the rest of one that another process began."""
        stopped = run.within and self.stop_training
        if run.within:
            watchers.resume(run.epoch, run.feed.state()["batch"])
        else:
            run.measured, run.within = self._no_metrics(), True
            watchers.epoch_begin(run.epoch)
        batches, batch = iter(() if stopped else run.feed), None
        with whole_steps() as whole:
            for number, batch in enumerate(batches, run.feed.state()["batch"]):
                watchers.batch_begin(number, batch)
                with whole:
                    run.measured = self._train(batch, run.measured)
                watchers.batch_end(number, lambda now=run.measured: self._numbers(now))
                if self.stop_training:
                    break
        self.epochs_trained += 1
        logs = self._numbers(run.measured)
        self._look_at(f"epoch {run.epoch + 1}", logs["loss"], run.measured, batch)
        if validation is not None:
            watchers.test_begin()
            numbers = self._measure_all(validation.batches())
            watchers.test_end(numbers)
            logs |= {f"val_{name}": value for name, value in numbers.items()}
        epoch, run.epoch, run.within, run.measured = run.epoch, run.epoch + 1, False, None
        watchers.epoch_end(epoch, logs)

    def _look_at(self, when: str, loss: float, measured: Tree, batch: Batch | None) -> None:
        """Warn where there is nothing to learn from, and once where float16 is too narrow."""
        if not isfinite(loss):
            warn_of_weights(when, loss, measured)
        if self._scales_loss and not self._told_of_overflow and batch is not None:
            self._told_of_overflow = warn_of_overflow(self, when, loss, batch)

    def _feed(
        self,
        given: tuple[Any, Any, Any],
        batch_size: int | None,
        *,
        shuffle: bool,
        steps: int | None,
        share: float,
        validation_size: int,
        validation_steps: int | None,
        class_weight: Any,
        finite: bool,
    ) -> tuple[Feed, _Measurable | None]:
        """Return where the batches to train on come from, and those of the last share to validate on."""
        loader = loader_of("fit", *given, batch_size, TRAINED_AT_ONCE, shuffle=shuffle)
        validation: _Measurable | None = None
        if loader is None:  # arrays in memory: on the backend from here on, unless they are too large
            data = self._checked("fit", self._dataset("fit", *given, on=place(self.backend, *given)), finite)
            if share:
                data, held = split(data, share, "fit")
                validation = _Measurable(
                    partial(self._first_batches, held, validation_size, validation_steps)
                )
            if class_weight is not None:
                shape = self.compute_output_shape(sample_shape(data.x))
                data = weigh_classes(data, class_weight, self._root_dtype(), "fit", shape, complete=True)
            require_weight(data, "fit")
            seed = self.seed if shuffle else None
            size = batch_size or TRAINED_AT_ONCE
            return ArrayFeed(data, size, seed, self.epochs_trained, steps, self.backend), validation
        if share:
            loader, kept = loader.split(share, "fit: validation_split")
            validation = self._pass_over(kept, "fit", validation_steps, finite)
        receive = self._receiver("fit", finite, class_weight)
        feed = LoaderFeed(loader, receive, self.seed, steps, self.backend)
        feed.first()  # builds the model
        return feed, validation

    def _validation(self, given: Any, batch_size: int, steps: int | None, finite: bool) -> _Measurable:
        if isinstance(given, (tuple, list)) and len(given) in (2, 3):
            parts = (given[0], given[1], given[2] if len(given) == 3 else None)
            return self._measurable("validation_data", parts, batch_size, steps, finite)
        if isinstance(given, (str, bytes, tuple, list)) or not (
            isinstance(given, DataLoader) or is_stream(given)
        ):
            raise TypeError(
                "fit expects validation_data=(x, y) or (x, y, sample_weight), a DataLoader or a stream of batches."
            )
        return self._measurable("validation_data", (given, None, None), None, steps, finite)

    def _train(self, batch: Batch, measured: Tree) -> Tree:
        """Take one training step and return the sums behind the metrics."""
        trained, fixed, frozen = self._parted()
        if not trained:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} has no trainable parameters, so fit has nothing to do."
            )
        if self._averaged:
            raise RuntimeError(
                f"{type(self).__name__} {self.path!r} would train the averages of its weights, which are put back at "
                "the end of averaged_weights(). Train it outside of that block."
            )
        assert self.optimizer is not None
        last = self._training.last(self.optimizer)
        if last is not None and last.at == changes() and self._compiled.get(("train", frozen)) is last.step:
            state = last.again(last.state, "metrics", measured, batch)
            if state is not None:
                return self._training.go_on(state)
        step, at = self._step("train", frozen), changes()
        self._training.start_random(self.seed, self.backend)
        self._training.start_loss_scale(self.loss_scaling if self._scales_loss else None, self.backend)
        self._training.start_optimizer(self.optimizer, trained, self.backend, fixed)
        state, _ = self._take(step, self._training.gather(trained, fixed, measured), batch)
        kept = self._training.keep(state, trained, fixed)
        if hasattr(step, "again"):  # it can be taken without a look at all of the state
            self._training.expect(Last(step, at, state, trained, fixed))
        return kept

    def _parted(self) -> tuple[dict[str, Parameter], dict[str, Parameter], tuple[str | None, ...]]:
        """Return the parameters to train and the others, by path, and what tells the steps for them apart."""
        trainable = [switch.trainable for switch in self._switches]
        if self._parts is None or self._parts[0] != trainable:
            trained: dict[str, Parameter] = {}
            fixed: dict[str, Parameter] = {}
            frozen = []  # what a frozen layer computes may differ: its statistics stay
            for path, parameter, around in self._placed:
                thawed = all(layer.trainable for layer in around)
                (trained if parameter.trainable and thawed else fixed)[path] = parameter
                if not thawed:
                    frozen.append(path)
            self._parts = trainable, trained, fixed, (*fixed, None, *frozen)
        return self._parts[1:]

    def _measure_all(
        self, batches: Iterable[Batch], count: int | None = None, watcher: EpochLines | None = None
    ) -> dict[str, float]:
        measured, given = self._no_metrics(), None
        with watched(watcher, count, lambda: self._numbers(measured)) as took_one:
            for batch in batches:
                given = given or self._given()  # the first batch of a stream may have built the model
                measured, carried = self._take(self._step("test"), measured, (given, batch))
                given = self._carry(given, carried)
                took_one()
        if given is None:
            raise ValueError(
                "Measuring needs at least one batch, the data gave none. Can they be read only once?"
            )
        return self._numbers(measured)

    def _carry(self, given: Tree, carried: Tree) -> Tree:
        """Keep what layers carry from batch to batch, such as states; return what the next batch reads."""
        for path, array in carried.items():
            self._handles[path]._array = array
        return {**given, "parameters": {**given["parameters"], **carried}} if carried else given

    @named_arguments
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        *,
        verbose: str | int = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        check_finite: bool = False,
    ) -> dict[str, float]:
        """Measure the model on data.

        Parameters
        ----------
        x, y : array, list or table of shape (n, ...)
            Inputs and targets, as of `fit`; or a loader or stream, which gives each sample once, as they stand.
        batch_size : int, optional
            Samples at a time, 128 without it; it does not change the result.
        verbose : {0, 1, 2, "auto"}
            0 is silent, 1 a progress bar, 2 a line at the end; "auto" is 1 in terminals and notebooks, else 2.
        sample_weight : array of shape (n,), optional
            How much each sample weighs.
        steps : int, optional
            At most how many batches.
        check_finite : bool
            Whether to refuse NaN and infinite inputs and targets.

        Returns
        -------
        dict of str to float
            ``"loss"`` and the metrics.
        """
        batch_size = _optional_count("evaluate", "batch_size", batch_size)
        steps = _optional_count("evaluate", "steps", steps)
        self._require_compiled("evaluate")
        given = (x, y, sample_weight)
        watcher = watcher_of("evaluate", verbose)
        data = self._measurable("evaluate", given, batch_size, steps, check_finite)
        return self._measure_all(data.batches(), data.length, watcher)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        *,
        verbose: str | int = 0,
        steps: int | None = None,
        check_finite: bool = False,
    ) -> Any:
        """Compute the model's outputs.

        Parameters
        ----------
        x : array, list or table of shape (n, ...)
            Inputs, one row for each sample; or a loader or stream, of whose batches ``(x, y)`` only the inputs count.
        batch_size : int, optional
            Samples at a time, 128 without it; it does not change the result.
        verbose : {0, 1, 2, "auto"}
            0 is silent, 1 a progress bar, 2 a line at the end; "auto" is 1 in terminals and notebooks, else 2.
        steps : int, optional
            At most how many batches.
        check_finite : bool
            Whether to refuse NaN and infinite inputs.

        Returns
        -------
        array of shape (n, ...)
            In the library of `x`; a NumPy array for lists, tables, loaders and streams. Its dtype is what the last
            layer computes in; bfloat16, which NumPy has not, goes to another library as float32.
        """
        if self._prompt is not None and verbose == 0 and steps is None and not check_finite:
            answer = self._prompt(self, x, MEASURED_AT_ONCE if batch_size is None else batch_size)
            if answer is not None:
                return answer
        batch_size = _optional_count("predict", "batch_size", batch_size)
        steps = _optional_count("predict", "steps", steps)
        watcher = watcher_of("predict", verbose)
        count: int | None
        if watcher is None and steps is None and not check_finite and self._takes_as_it_is(x, batch_size):
            self.check_values(x)
            return self._asked(x)
        loader = loader_of("predict", x, None, None, batch_size, MEASURED_AT_ONCE)
        if loader is None:
            data = self._dataset("predict", x, on=place(self.backend, x))
            if check_finite:
                require_finite(data, "predict")
            self._prepare(data.x)
            self.check_values(data.x)
            batches = self._first_batches(data, batch_size or MEASURED_AT_ONCE, steps)
            count = _count(len(data), batch_size or MEASURED_AT_ONCE, steps)
        else:
            batches = sent(map(self._asked_receiver(check_finite), loader.in_order(steps)), self.backend)
            count = _least(loader.steps, steps)
        parts, given = [], None
        with watched(watcher, count, dict) as took_one:
            for batch in batches:
                given = given or self._given()  # the first batch of a stream may have built the model
                _, (output, carried) = self._take(self._step("predict"), {}, (given, batch.x))
                given = self._carry(given, carried)
                parts.append(output)
                took_one()
        if not parts:
            raise ValueError(
                "predict needs at least one batch, the data gave none. Can they be read only once?"
            )
        with self.backend.scope():
            output = tree.map(lambda *pieces: self._joined(pieces), *parts)
        return tree.map(to_numpy, portable(output)) if loader is not None else self._answer(output, x)

    def _asked(self, x: Any) -> Tree:
        """Return the outputs for inputs that a step may take as they are, and remember what that took."""
        now, given, step = changes(), self._given(), self._step("predict")
        _, (output, carried) = self._take(step, {}, (given, x))
        self._carry(given, carried)
        self._prompt = None if carried else Prompt.of(self, step, given, x, output, now)
        return tree.map(copy_of, output)  # it may be the input, or a weight

    def _takes_as_it_is(self, x: Any, batch_size: int | None) -> bool:
        """Tell whether inputs are one batch, on this backend and in its dtype, so that a step may take them.

        If they are, the model is made ready for them. What came last is remembered, since a single sample takes less
        time than to look at all that again.
        """
        its_own: bool = type(x) is _class_of_arrays(self.backend)
        if not its_own:
            return False
        kind = x.shape, x.dtype, batch_size, self.backend, self.casts_input, revision()
        if kind == self._taken and self._is_as_prepared() and is_at_home(x, self.backend):
            return True
        if self._input_dtypes() != self._root_dtype():
            return False
        fits = len(x.shape) > 1 and 0 < x.shape[0] <= (batch_size or MEASURED_AT_ONCE)
        if not (
            fits and is_at_home(x, self.backend) and x.dtype == getattr(self.backend.xp, self._root_dtype())
        ):
            return False
        self._prepare(x)
        self._taken = x.shape, x.dtype, batch_size, self.backend, self.casts_input, revision()
        return True

    def _answer(self, output: Any, x: Any) -> Any:
        """Return the output in the library of the inputs; NumPy's for lists and tables."""
        asked = x
        while isinstance(asked, (list, tuple, dict)) and self._takes_several(x):
            asked = next(iter(asked.values() if isinstance(asked, dict) else asked))
        asked = plain(asked) if isinstance(asked, Operators) else asked
        if not is_array(asked):
            return tree.map(to_numpy, portable(output))
        if is_at_home(asked, self.backend):
            return output
        return tree.map(lambda part: backend_of(asked).from_host(to_numpy(part)), portable(output))

    def _asked_receiver(self, finite: bool) -> Callable[[Batch], Batch]:
        """Return what checks the inputs of a loader's batches on the host."""
        seen = False

        def receive(batch: Batch) -> Batch:
            nonlocal seen
            data = self._dataset("predict", batch.x, on=host(), streamed=True)
            if finite:
                require_finite(data, "predict")
            if not seen:
                self._prepare(data.x)
            seen = True
            self.check_values(data.x)
            return data.on(host())

        return receive

    def _joined(self, pieces: tuple[Any, ...]) -> Any:
        """Put the outputs of batches together; one alone is copied, since it may be a layer's weight."""
        return copy_of(pieces[0]) if len(pieces) == 1 else self.backend.xp.concat(list(pieces), axis=0)

    @named_arguments
    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None
    ) -> dict[str, float]:
        """Take one training step on these samples and return loss and metrics of the batch, from before the step."""
        self._require_compiled("train_on_batch")
        # what comes from the host is checked there: a look at the device would wait for the step before
        where = None if _on_a_device(x) or _on_a_device(y) else host()
        given = self._dataset("train_on_batch", x, y, sample_weight, on=where)
        data = self._checked("train_on_batch", given, False)
        if class_weight is not None:
            data = weigh_classes(
                data,
                class_weight,
                self._root_dtype(),
                "train_on_batch",
                self.compute_output_shape(sample_shape(data.x)),
            )
        batch = data.on(self.backend)
        with whole_steps() as whole, whole:
            measured = self._train(batch, self._no_metrics())
        numbers = self._numbers(measured)
        self._look_at("the batch", numbers["loss"], measured, batch)
        return numbers

    @named_arguments
    def minimize(
        self,
        x: Any,
        y: Any,
        optimizer: optimizers.LBFGS | None = None,
        *,
        sample_weight: Any = None,
        check_finite: bool = False,
    ) -> optimizers.Minimum:
        """Train a small model on all samples at once, until its loss has a minimum.

        Parameters
        ----------
        x, y : array, list or table of shape (n, ...)
            Inputs and targets, as of `fit`.
        optimizer : LBFGS, optional
            How to look for the minimum.
        sample_weight : array of shape (n,), optional
            How much each sample weighs.
        check_finite : bool
            Whether to refuse NaN and infinite inputs and targets.

        Returns
        -------
        Minimum
            The loss reached, and how; its parameters are the model's trainable ones.

        Notes
        -----
        Layers compute as in training; what is random is drawn once, so that the loss is one function of the weights,
        and running statistics are left as they are. Constraints are not looked at, and the state of the optimizer that
        the model was compiled with is not touched.

        Examples
        --------
        >>> import nnbackend as nn
        >>> model = nn.Sequential([nn.Dense(1)], seed=0, dtype="float64")
        >>> model.compile(loss="mse")
        >>> found = model.minimize([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]])
        >>> found.converged, [round(float(w.squeeze()), 6) for w in model.get_weights()]
        (True, [2.0, 1.0])
        """
        objective, _ = self._require_compiled("minimize")
        if _scales_loss(self.family()):
            raise ValueError(
                "minimize searches for a point where the gradient is zero, which float16 cannot tell, but "
                f"{type(self).__name__} {self.path!r} computes in it. Make it with dtype='float32', or 'float64'."
            )
        data = self._checked("minimize", self._dataset("minimize", x, y, sample_weight), check_finite)
        arrays = {"trainable": {}, "fixed": {}, **self._training.start_random(self.seed, self.backend)}
        for path, parameter, around in self._placed:
            trains = parameter.trainable and all(layer.trainable for layer in around)
            arrays["trainable" if trains else "fixed"][path] = parameter._array
        batch = Batch(data.x, data.y, data.weight)
        step = self._compile(make_objective_step(self, self._handles, objective))
        found = (optimizer or optimizers.LBFGS()).minimize(
            lambda trainable: step({}, ({**arrays, "trainable": trainable}, batch))[1], arrays["trainable"]
        )
        for path, array in found.parameters.items():
            self._handles[path].assign(array)
        return found

    def _count_rows(self, x: Any) -> int:
        """Return how many samples these inputs are."""
        while isinstance(x, (list, tuple, dict)) and self._takes_several(x):
            x = next(iter(x.values() if isinstance(x, dict) else x))
        return int(x.shape[0]) if hasattr(x, "shape") and len(x.shape) else len(x)

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Return loss and metrics of these samples."""
        return self.evaluate(x, y, sample_weight=sample_weight, batch_size=max(1, self._count_rows(x)))

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs for these samples, computed at once."""
        return self.predict(x, batch_size=max(1, self._count_rows(x)))

    @property
    def current_learning_rate(self) -> float:
        """The learning rate of the next training step: with decay, or as the schedule says.

        Raises
        ------
        RuntimeError
            If the model was not compiled.
        """
        _, optimizer = self._require_compiled("current_learning_rate")
        return self._training.learning_rate(optimizer)

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied by in the next training step; None where no layer computes in float16.

        It begins at 32768. A step whose gradients are not all finite changes nothing but halves it, and 2000 good
        steps in a row double it, unless `compile` was given another `nnbackend.LossScale`. Reading it waits for the
        device.
        """
        held = self._training.loss_scale
        if held is not None:
            return float(to_numpy(held["scale"]))
        return self.loss_scaling.initial if _scales_loss(self.family()) else None

    @contextmanager
    def averaged_weights(self) -> Iterator[Model]:
        """Put the moving averages of the weights in their place, within a ``with`` block.

        In the block the model measures, predicts, hands out weights and is saved with the averages; afterwards it has
        its own weights again and trains on from them. To keep the averages, take ``get_weights()`` in the block.

        Raises
        ------
        ValueError
            If the optimizer keeps no averages (``use_ema=True``), or no step has been taken.

        Examples
        --------
        >>> import nnbackend as nn
        >>> model = nn.Sequential([nn.Dense(1)], seed=0)
        >>> model.compile(nn.optimizers.Adam(use_ema=True), "mse")
        >>> history = model.fit([[1.0], [2.0]], [[1.0], [2.0]], verbose=0)
        >>> with model.averaged_weights():
        ...     loss = model.evaluate([[1.0], [2.0]], [[1.0], [2.0]])["loss"]
        """
        _, optimizer = self._require_compiled("averaged_weights")
        averages = self._training.averages(optimizer)
        handles = self.handles()
        before = {path: handles[path]._array for path in averages}
        for path, array in averages.items():
            handles[path]._array = array
        self._averaged = True
        try:
            yield self
        finally:
            self._averaged = False
            for path, array in before.items():
                handles[path]._array = array

    # As a function of its parameters

    def get_parameters(self) -> dict[str, Any]:
        """Return copies of the values that training changes by gradients, by path, on the model's device.

        Returns
        -------
        dict of str to array
            A tree for `nnbackend.value_and_grad`, the ``init`` and ``update`` of an optimizer, and `apply`.

        Raises
        ------
        RuntimeError
            If the model has not been built.
        """
        from nnbackend.models.applying import parameter_values

        return parameter_values(self, "get_parameters", trained=True)

    def get_state(self) -> dict[str, Any]:
        """Return copies of the values that gradients do not train, by path: running statistics and frozen weights.

        Returns
        -------
        dict of str to array
            For the `state` of `apply`. With `get_parameters` it is all that the model has.

        Raises
        ------
        RuntimeError
            If the model has not been built.
        """
        from nnbackend.models.applying import parameter_values

        return parameter_values(self, "get_state", trained=False)

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Give parameters copies of new values; those of other paths stay.

        Parameters
        ----------
        values : mapping of str to array
            By path, as of `get_parameters` and `get_state`; arrays of any backend.

        Raises
        ------
        RuntimeError
            If the model has not been built.
        ValueError, TypeError
            If a path is unknown, a shape differs, or a value is being differentiated; then nothing is changed.
        """
        from nnbackend.models.applying import set_parameters

        set_parameters(self, values)

    def set_state(self, values: Mapping[str, Any]) -> None:
        """Give running statistics and frozen weights copies of new values; those of other paths stay.

        Parameters
        ----------
        values : mapping of str to array
            By path, as of `get_state`, and as `apply` returns them; arrays of any backend.

        Raises
        ------
        RuntimeError
            If the model has not been built.
        ValueError, TypeError
            If a path is unknown, a shape differs, or a value is being differentiated; then nothing is changed.

        Examples
        --------
        >>> import nnbackend as nn
        >>> model = nn.Sequential([nn.BatchNormalization()], seed=0, input_shape=(1,))
        >>> x = nn.get_backend("numpy").xp.asarray([[1.0], [3.0]])
        >>> model.build((1,))
        >>> y, state = model.apply(model.get_parameters(), x, state=model.get_state(), training=True)
        >>> model.set_state(state)
        >>> [value.shape for value in model.get_state().values()]
        [(1,), (1,)]
        """
        from nnbackend.models.applying import set_parameters

        set_parameters(self, values, "set_state")

    def apply(
        self,
        parameters: Mapping[str, Any],
        x: Any,
        *,
        state: Mapping[str, Any] | None = None,
        training: bool = False,
        step: Any = None,
    ) -> Any:
        """Compute the output as a pure function of parameters, for gradients and training loops written by hand.

        Parameters
        ----------
        parameters : mapping of str to array or Tensor
            Values by path, as of `get_parameters`; for those left out the model's own are read.
        x : array, list or Tensor of shape (n, ...)
            The inputs.
        state : mapping of str to array, optional
            Values by path, as of `get_state`. Needed where layers compute new ones, such as the running statistics of
            batch normalization in training.
        training : bool
            Whether layers compute as in training.
        step : int or 0-d integer array, optional
            The number of the step, from which with the model's seed random numbers come. Needed where some are drawn,
            such as dropout's in training.

        Returns
        -------
        output : array or Tensor
            A tensor where `parameters` or `x` hold one.
        state : dict of str to array, only with `state`
            The new state. Return it beside the loss, with ``has_aux=True``.

        Raises
        ------
        RuntimeError
            If the model has not been built.
        ValueError, TypeError
            If a path is unknown, a shape, dtype or backend differs, or new state or random numbers come up that
            nothing was said of.

        Notes
        -----
        The model itself is left as it is. Penalties of regularizers are not in the output, and constraints are not
        looked at: both belong to the loss and the update, which here are yours.

        Examples
        --------
        >>> import nnbackend as nn
        >>> x, y = (
        ...     nn.get_backend("numpy").xp.asarray([[0.0], [1.0]]),
        ...     nn.get_backend("numpy").xp.asarray([[1.0], [3.0]]),
        ... )
        >>> model = nn.Sequential([nn.Dense(1)], seed=0, input_shape=(1,))
        >>> optimizer = nn.optimizers.SGD(0.5)
        >>> def loss(parameters):
        ...     return nn.functional.mean((model.apply(parameters, x, training=True) - y) ** 2)
        >>> parameters = model.get_parameters()
        >>> slots = optimizer.init(parameters)
        >>> for step in range(100):
        ...     value, gradients = nn.value_and_grad(loss)(parameters)
        ...     parameters, slots = optimizer.update(gradients, slots, parameters)
        >>> model.set_parameters(parameters)
        >>> model.predict([[2.0]]).round(3)
        array([[5.]], dtype=float32)
        """
        from nnbackend.models.applying import apply

        return apply(self, parameters, x, state=state, training=training, step=step)

    # Words and files

    def summary(self, print_fn: Callable[[str], None] = print) -> None:
        """Print the layers with their output shapes, parameters and multiply-adds, and how the model is trained.

        The row of a layer that holds others includes what these have; the sums at the end count everything once.

        Parameters
        ----------
        print_fn : callable
            What to print with, line by line.
        """
        from nnbackend.models.summary import summarize

        for line in summarize(self):
            print_fn(line)

    def profile(
        self, x: Any, y: Any, *, repeats: int = 5, print_fn: Callable[[str], None] = print
    ) -> Profile:
        """Measure time and memory of each layer, forward and backward, on these samples as one batch.

        Nothing of the model changes. It runs uncompiled, layer by layer: where the backend compiles steps, these take
        less time than the sum, and what is fused has no time of its own.

        Parameters
        ----------
        x, y : array, list or table of shape (n, ...)
            Inputs and targets, as of `fit`.
        repeats : int
            How often it runs; the times are medians.
        print_fn : callable
            What to print the table with, line by line.

        Returns
        -------
        Profile
            The same as numbers: the layers in the order of `summary`, and the loss.

        Raises
        ------
        RuntimeError
            If the model was not compiled: there is no loss to go back from.

        Examples
        --------
        >>> import nnbackend as nn
        >>> model = nn.Sequential([nn.Dense(8, activation="relu"), nn.Dense(1)], seed=0)
        >>> model.compile("sgd", "mse")
        >>> profile = model.profile([[1.0, 2.0]], [[3.0]], print_fn=lambda line: None)
        >>> [layer.path for layer in profile.layers], profile.layers[0].forward > 0.0
        (['dense', 'dense_1', 'loss'], True)
        """
        from nnbackend.models.profiling import profile_of

        profile = profile_of(self, x, y, positive_integer("profile", "repeats", repeats))
        for line in profile.lines():
            print_fn(line)
        return profile

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to one file: architecture, weights, and the state of training.

        Parameters
        ----------
        path : path
            The file, such as ``"digits.safetensors"``; what was there is replaced, all or nothing.

        Raises
        ------
        ValueError
            If the name ends as those of another format do, such as ``".h5"``.
        TypeError
            If it uses a class or function that is not registered (`nnbackend.register`).
        """
        from nnbackend.models.saving import save_model

        save_model(self, path)

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Write parameters and running statistics to a file.

        Parameters
        ----------
        path : path
            The file; what was there is replaced, all or nothing.

        Raises
        ------
        ValueError
            If the name ends as those of another format do, such as ``".pt"``.
        RuntimeError
            If the model has not been built.
        """
        from nnbackend.models.saving import save_weights

        save_weights(self, path)

    def load_weights(self, path: str | PathLike[str]) -> None:
        """Take parameters and running statistics from a file that `save_weights` or `save` wrote.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        RuntimeError
            If the model has not been built.
        ModelFileError
            If the file is damaged, or its weights are not those of this model; then nothing is changed.
        """
        from nnbackend.models.saving import load_weights

        load_weights(self, path)


#: The cure where a stream gave a list.
_LISTED = " A list stands for several inputs, so a stream that yields [x, y] gives no targets: yield a tuple, (x, y)."


class _Measurable(NamedTuple):
    """What gives batches to measure a model on, whether another process can give them again, and how many there are."""

    batches: Callable[[], Iterable[Batch]]
    replayable: bool = True
    length: int | None = None


def _count(samples: int, size: int, steps: int | None) -> int:
    whole = -(-samples // size)
    return whole if steps is None else min(whole, steps)


def _least(known: int | None, steps: int | None) -> int | None:
    return steps if known is None else known if steps is None else min(known, steps)


def _by_path(placed: list[tuple[str, Parameter, tuple[Layer, ...]]]) -> dict[str, Parameter]:
    handles: dict[str, Parameter] = {}
    for path, parameter, _ in placed:
        if path in handles:
            raise ValueError(f"Two weights have the path {path!r}. Give add_weight another name for one.")
        handles[path] = parameter
    return handles


def _scales_loss(layers: Iterable[Layer]) -> bool:
    """Tell whether some layer's gradients need a scaled loss."""
    return any(POLICIES[layer.dtype or "float32"].scales_loss for layer in layers)


def _listed(callbacks: Sequence[Callback] | Callback | None) -> Sequence[Callback]:
    if callbacks is None:
        return ()
    return (callbacks,) if isinstance(callbacks, Callback) else callbacks


def _lists_arrays(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and len(x) > 0 and all(is_array(item) for item in x)


def _on_a_device(given: Any) -> bool:
    """Tell whether data, or the first of several arrays, are in another library than the host's."""
    while isinstance(given, (list, tuple, dict)) and given:
        given = next(iter(given.values() if isinstance(given, dict) else given))
    given = plain(given)
    return is_array(given) and not host().owns(given)


@lru_cache(maxsize=64)
def _class_of_arrays(backend: Backend) -> type:
    """Return the class of a backend's own arrays; others of its library, as masked ones, are looked at more closely."""
    return type(backend.from_host([0.0], "float32"))


def _optional_count(owner: str, name: str, value: Any) -> int | None:
    return None if value is None else positive_integer(owner, name, value)
