"""A run of `Model.fit`: where it stands, and all that it goes on from, as one state."""

from __future__ import annotations

import numbers
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnbackend import config, tree
from nnbackend.backend import host, installed_version, is_array, to_numpy
from nnbackend.callbacks.base import Callback
from nnbackend.data import Batch, Feed
from nnbackend.data.arrays import named_parts
from nnbackend.typing import Json, Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["Run", "pack", "unpack"]

#: How many samples data are told by.
SAMPLED = 32


class Run:
    """What `Model.fit` is doing; while it runs, the model has it as ``model.run``.

    Between any two steps `state` tells, together with the model's own state, all that the rest of the run depends on:
    where it stands in epochs and in the data, the sums behind the metrics, the rate, and what the callbacks remember,
    the history among them.

    Parameters
    ----------
    model : Model
        What is trained.
    feed : Feed
        Where the batches come from.
    callbacks : sequence of Callback
        All that are told, the history among them.
    epochs, first_epoch : int
        The number of the last epoch and of the first.
    options : mapping
        What else `Model.fit` was asked for, in words that can be compared.
    replays_validation : bool
        Whether what it is validated on gives the same each time, also in another process.
    validation : callable, optional
        Returns the batches that it is validated on.

    Attributes
    ----------
    epoch : int
        The number of the present epoch, or of the next one between epochs.
    within : bool
        Whether an epoch has begun and not ended.
    measured : tree of array, or None
        The sums behind the epoch's metrics so far.
    finished : bool
        Whether training has come to its end, rather than being broken off.
    """

    def __init__(
        self,
        model: Model,
        feed: Feed,
        callbacks: Sequence[Callback],
        *,
        epochs: int,
        first_epoch: int = 0,
        options: Mapping[str, Any] | None = None,
        replays_validation: bool = True,
        validation: Callable[[], Iterable[Batch]] | None = None,
    ) -> None:
        self.model = model
        self.feed = feed
        self.callbacks = list(callbacks)
        self.epochs = epochs
        self.epoch = first_epoch
        self.trained_before = model.epochs_trained
        self.options = dict(options or {})
        self.replays_validation = replays_validation
        self._validation = validation
        self.within = False
        self.measured: Tree = None
        self.finished = False

    @property
    def goes_on(self) -> bool:
        """Whether there is an epoch to train, or the rest of one."""
        return self.within or (self.epoch < self.epochs and not self.model.stop_training)

    def require_replayable(self, owner: str) -> None:
        """Refuse data that another process cannot take up where this one stopped.

        Raises
        ------
        ValueError
            With the cure.
        """
        for what, replayable in (
            ("data", self.feed.positionable),
            ("validation data", self.replays_validation),
        ):
            if not replayable:
                raise ValueError(
                    f"{owner} cannot bring a run back whose {what} can be read only once. Give a function that returns "
                    "a new iterator, and they are replayed up to where the run stopped."
                )

    def state(self) -> dict[str, Any]:
        """Return where the run stands: plain numbers, text, lists and dicts of them, and host arrays."""
        optimizer = self.model.optimizer
        assert optimizer is not None
        rate = optimizer.learning_rate
        return {
            "epoch": self.epoch,
            "within": self.within,
            "stopped": self.model.stop_training,
            "position": self.feed.state(),
            "learning_rate": None if callable(rate) else rate,
            "measured": None if self.measured is None else [to_numpy(a) for a in tree.leaves(self.measured)],
            "callbacks": [[type(one).__name__, state] for one, state in self._told()],
        }

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        """Go to where another run stood; the model's own state is brought back by itself, before.

        Returns
        -------
        list of str
            What callbacks here and there have not in common, in words.
        """
        model = self.model
        assert model.optimizer is not None
        self.epoch, self.within = state["epoch"], state["within"]
        model.stop_training = state["stopped"]
        if state["learning_rate"] is not None and not callable(model.optimizer.learning_rate):
            model.optimizer.learning_rate = state["learning_rate"]
        self.measured = None
        if state["measured"] is not None:
            places = tree.flatten(model._no_metrics())[1]
            held = [model.backend.from_host(array) for array in state["measured"]]
            self.measured = tree.unflatten(places, held)
        if self.feed.seed is not None:
            self.feed.seed = model.seed
        self.feed.restore(state["position"])
        return self._restore_callbacks(state["callbacks"])

    def _told(self) -> list[tuple[Callback, Any]]:
        """Return the callbacks that remember something, with what."""
        states = [(callback, callback.get_state()) for callback in self.callbacks]
        return [(callback, state) for callback, state in states if state is not None]

    def _restore_callbacks(self, states: Sequence[Any]) -> list[str]:
        left = [(name, state) for name, state in states]
        alone = []
        for callback, _ in self._told():
            name = type(callback).__name__
            at = next((i for i, (other, _) in enumerate(left) if other == name), None)
            if at is None:
                alone.append(f"callback {name}: not there before")
            else:
                callback.set_state(left.pop(at)[1])
        return [*alone, *(f"callback {name}: not there any more" for name, _ in left)]

    def surroundings(self) -> dict[str, Any]:
        """Return what a run's numbers depend on beside its state: machine, versions, backend, options and data.

        Data are told by some of their samples, a hidden change of others is not seen.
        """
        model = self.model
        assert model.optimizer is not None
        assert model.objective is not None
        found = type(model.backend).probe()
        arguments = model.objective.arguments()
        return {
            "system": platform.system(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": {
                name: os.environ[name]
                for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
                if name in os.environ
            },
            "Python": platform.python_version(),
            "nnbackend": installed_version("nnbackend"),
            "NumPy": host().xp.__version__,
            "backend": model.backend.name,
            "backend's library": found.version,
            "devices": list(found.devices),
            "dtype": model.dtype or "float32",
            "model": described(model),
            "optimizer": described(model.optimizer),
            **{name: described(argument) for name, argument in arguments.items()},
            "loss scale": described(model.loss_scaling),
            "epochs trained before": self.trained_before,
            "steps": self.feed.steps,
            "samples": self.feed.samples,
            "data": fingerprint(self.feed.sample(SAMPLED)),
            "validation data": fingerprint(self._first_validation()),
            **self.options,
        }

    def _first_validation(self) -> Batch | None:
        """Return the first batch to validate on, where reading it takes nothing away."""
        if self._validation is None or not self.replays_validation:
            return None
        return next(iter(self._validation()), None)


def fingerprint(batch: Batch | None) -> Json:
    """Return what samples are told by: dtype, shape and a digest of inputs, targets and weights."""
    if batch is None:
        return None
    import hashlib  # slow to import: at first use

    told: dict[str, Json] = {}
    for name, part in zip(("x", "y", "sample_weight"), batch, strict=True):
        for path, array in () if part is None else named_parts(part, name):
            held = to_numpy(array)
            told[path] = {
                "dtype": str(held.dtype),
                "shape of a sample": list(held.shape[1:]),
                "content": hashlib.sha256(held.tobytes()).hexdigest()[:16],
            }
    return told


def _processor() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def described(thing: Any) -> Json:
    """Describe an object in JSON, or by its class alone where it or a part of it is not registered."""
    try:
        return config.describe(thing)
    except TypeError:
        return type(thing).__qualname__


def pack(value: Any, name: str, tensors: dict[str, Any]) -> Json:
    """Return plain data as JSON that keeps dicts in order; arrays go to `tensors`, under names that begin with `name`.

    Raises
    ------
    TypeError
        If there is something else among them.
    """
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name}: expected a dict with text keys, got the keys {list(value)}.")
        return {"pairs": [[key, pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items: Json = [pack(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if is_array(value) and not isinstance(value, numbers.Number):
        tensors[name] = to_numpy(value)
        return {"tensor": name}
    if value is None or isinstance(value, (bool, str, numbers.Real)):
        return config.describe(value)
    raise TypeError(
        f"{name}: expected numbers, text, arrays, and lists and dicts of them, got a {type(value).__name__}."
    )


def unpack(packed: Any, tensors: Mapping[str, Any]) -> Any:
    """Return what `pack` was given."""
    if isinstance(packed, list):
        return [unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "pairs" in packed:
        return {key: unpack(item, tensors) for key, item in packed["pairs"]}
    if "tuple" in packed:
        return tuple(unpack(item, tensors) for item in packed["tuple"])
    return tensors[packed["tensor"]] if "tensor" in packed else config.restore(packed)
