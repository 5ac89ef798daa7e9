"""The work that speed is measured on, and the short form of the measurement: ``python -m nnbackend bench``.

What other libraries take for the same work is measured by ``benchmarks/`` in the sources (``nox -s bench``).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nnbackend import layers, optimizers
from nnbackend.backend import Backend, get_backend, nearest
from nnbackend.data import Batch
from nnbackend.models import Model, Sequential
from nnbackend.models.interrupts import whole_steps
from nnbackend.random import Stream

__all__ = ["LARGE", "QUICK", "SCALING", "WORKLOADS", "Run", "Workload", "bench", "look_up", "start"]

#: ``run(steps)`` takes so many steps and returns a number that all of them lead to, which makes it wait for the device:
#: the loss (of the last step, or the mean over the steps), the difference of two outputs, or a parameter.
Run: TypeAlias = Callable[[int], float]

#: Of the optimizers, the same for all.
ADAM: dict[str, Any] = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
SGD: dict[str, Any] = {"learning_rate": 1e-2, "momentum": 0.9}
CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """One piece of work.

    Attributes
    ----------
    name : str
        Such as ``"W1"``.
    kind : {"mlp", "cnn", "lstm", "transformer", "residual", "inference", "update", "fit"}
        What is computed; "inference" is the forward pass of an MLP, "update" an optimizer's step alone, "fit" five
        epochs over an MLP with shuffling and validation.
    words : str
        The same in words.
    sizes : tuple of int
        The features of an MLP from inputs to logits; else the shape of one sample, and for "update" the parameters.
    batch : int
        Samples of a step.
    samples : int
        Samples of the data; those of a batch without it.
    validation : int
        Of them, the last ones that are kept for validation.
    epochs : int
        How often `fit` goes through the data.
    dtype : str
        Of the model, or its policy of mixed precision.
    """

    name: str
    kind: str
    words: str
    sizes: tuple[int, ...]
    batch: int
    samples: int = 0
    validation: int = 0
    epochs: int = 1
    dtype: str = "float32"

    @property
    def optimizer(self) -> str:
        """The optimizer: SGD with momentum for convolutions, else Adam."""
        return "sgd" if self.kind in ("cnn", "residual") else "adam"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.sizes[:1] if self.kind in _MLPS else self.sizes

    def data(self) -> tuple[Any, Any]:
        """Return inputs and targets on the host: numbers from -1 to 1, and classes or numbers."""
        shape = (self.samples or self.batch, *self.input_shape)
        if self.kind == "update":
            shape = self.sizes
        x = Stream(0, f"{self.kind}/x").uniform(shape, -1.0, 1.0)
        if self.kind in ("transformer", "residual", "update"):
            return x, Stream(0, f"{self.kind}/y").uniform(shape, -1.0, 1.0)
        classes = self.sizes[-1] if self.kind in _MLPS else CLASSES
        return x, Stream(0, f"{self.kind}/y").integers(shape[:1], classes)

    def model(self, backend: str | Backend | None = None, run_eagerly: bool = False) -> Model:
        """Return the model, built and ready for training; there is none for "update"."""
        model = _MODELS[self.kind](self, backend)
        classifies = self.kind not in ("transformer", "residual")
        loss = "sparse_categorical_crossentropy" if classifies else "mean_squared_error"
        model.compile(self.make_optimizer(), loss, run_eagerly=run_eagerly)
        model.build(self.input_shape)
        return model

    def make_optimizer(self) -> optimizers.Optimizer:
        """Return the optimizer, made anew."""
        return optimizers.SGD(**SGD) if self.optimizer == "sgd" else optimizers.Adam(**ADAM)


def _mlp(workload: Workload, backend: str | Backend | None) -> Model:
    *hidden, classes = workload.sizes[1:]
    inner = [layers.Dense(units, activation="relu") for units in hidden]
    return Sequential([*inner, layers.Dense(classes)], backend=backend, seed=0, dtype=workload.dtype)


def _cnn(workload: Workload, backend: str | Backend | None) -> Model:
    parts = [
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(CLASSES),
    ]
    return Sequential(parts, backend=backend, seed=0, dtype=workload.dtype)


def _lstm(workload: Workload, backend: str | Backend | None) -> Model:
    parts = [layers.LSTM(128), layers.Dense(CLASSES)]
    return Sequential(parts, backend=backend, seed=0, dtype=workload.dtype)


def _transformer(workload: Workload, backend: str | Backend | None) -> Model:
    block = layers.TransformerEncoder(512, 4, name="block")
    return Sequential([block], backend=backend, seed=0, dtype=workload.dtype)


def _residual(workload: Workload, backend: str | Backend | None) -> Model:
    x = layers.Input(workload.sizes)
    y = x
    for number in (1, 2):
        convolution = layers.Conv2D(
            workload.sizes[-1], 3, padding="same", use_bias=False, name=f"conv_{number}"
        )
        y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{number}")(convolution(y))
        if number == 1:
            y = layers.ReLU()(y)
    y = layers.ReLU()(layers.Add()([x, y]))
    return Model(x, y, backend=backend, seed=0, dtype=workload.dtype)


_MLPS = ("mlp", "inference", "fit")
_MODELS: dict[str, Callable[[Workload, str | Backend | None], Model]] = {
    **dict.fromkeys(_MLPS, _mlp),
    "cnn": _cnn,
    "lstm": _lstm,
    "transformer": _transformer,
    "residual": _residual,
}

_DIGITS = (784, 128, 128, 10)
_ALL = (
    Workload("W1", "mlp", "spiral MLP 2-64-64-3, batch 100, Adam", (2, 64, 64, 3), 100),
    Workload("W2", "mlp", "MLP 784-128-128-10, batch 128, Adam", _DIGITS, 128),
    Workload("W3", "mlp", "MLP 784-1024-1024-10, batch 512, Adam", (784, 1024, 1024, 10), 512),
    Workload(
        "W4",
        "cnn",
        "CNN conv 3x3x32, ReLU, conv 3x3x64, ReLU, max-pool, dense 128, ReLU, dense 10 on 28x28x1, batch 64, "
        "SGD with momentum",
        (28, 28, 1),
        64,
    ),
    Workload("W5", "lstm", "LSTM of 128 units over 50 x 32, dense 10, batch 64, Adam", (50, 32), 64),
    Workload(
        "W6",
        "transformer",
        "transformer encoder 128 x 128, 4 heads, 512 inside, batch 16, Adam",
        (128, 128),
        16,
    ),
    Workload(
        "W7",
        "residual",
        "residual block on 32x32x32, two 3x3 convolutions with batch norm, batch 32, SGD with momentum",
        (32, 32, 32),
        32,
    ),
    Workload("W8-1", "inference", "inference of W2, batch 1", _DIGITS, 1),
    Workload("W8-4096", "inference", "inference of W2, batch 4096", _DIGITS, 4096),
    Workload("W9", "update", "Adam on 10 million parameters", (10_000_000,), 1),
    Workload(
        "E1",
        "fit",
        "fit of W2's MLP: 60,000 images 28x28, 10,000 for validation, batch 128, 5 epochs",
        _DIGITS,
        128,
        70_000,
        10_000,
        5,
    ),
)
#: What is measured, by name.
WORKLOADS = {workload.name: workload for workload in _ALL}
#: W3 over widths and batches.
SCALING = {
    (name := f"W3-{width}-{batch}"): Workload(
        name, "mlp", f"MLP 784-{width}-{width}-10, batch {batch}, Adam", (784, width, width, 10), batch
    )
    for width in (256, 1024, 4096)
    for batch in (32, 512, 4096)
}
#: What only a GPU has the memory bandwidth for.
LARGE = {"W9-large": Workload("W9-large", "update", "Adam on 100 million parameters", (100_000_000,), 1)}
#: What the short form measures without being told.
QUICK = ("W1", "W2", "W4", "W5", "W6", "W8-1")


def look_up(name: str) -> Workload:
    """Return the workload of that name.

    Raises
    ------
    ValueError
        If there is none; the nearest known one is named.
    """
    known = WORKLOADS | SCALING | LARGE
    if name not in known:
        raise ValueError(
            f"Unknown workload {name!r}; the known ones are {', '.join(known)}.{nearest(name, known)}"
        )
    return known[name]


def start(
    workload: Workload,
    backend: str | Backend | None = None,
    run_eagerly: bool = False,
    data: tuple[Any, Any] | None = None,
) -> Run:
    """Return what takes steps of a workload on a backend, compiled or as they are written; none is taken yet.

    `data` are the workload's, where they are at hand.
    """
    chosen = get_backend(backend)
    x, y = workload.data() if data is None else data
    if workload.kind == "update":
        return _updates(workload, chosen, x, y, run_eagerly)
    model = workload.model(chosen, run_eagerly)
    if workload.kind == "fit":
        return _fits(workload, model, x, y)
    if workload.kind == "inference":
        return _predictions(model, chosen.from_host(x))
    return _steps(model, x, y)


def _steps(model: Model, x: Any, y: Any) -> Run:
    """Take training steps on one batch, as `Model.fit` takes them."""
    data = model._checked("bench", model._dataset("bench", x, y), False)
    batch = Batch(data.x, data.y, data.weight)

    def run(steps: int) -> float:
        measured = model._no_metrics()
        with whole_steps() as whole:
            for _ in range(steps):
                with whole:
                    measured = model._train(batch, measured)
        return model._numbers(measured)["loss"]

    return run


def _predictions(model: Model, x: Any) -> Run:
    samples = x.shape[0]

    def run(steps: int) -> float:
        for _ in range(steps):
            output = model.predict(x, batch_size=samples)
            model.backend.synchronize()  # each answer is waited for
        return float(output[0, 0] - output[0, 1])

    return run


def _updates(workload: Workload, backend: Backend, x: Any, y: Any, run_eagerly: bool) -> Run:
    optimizer = workload.make_optimizer()
    gradients = {"parameters": backend.from_host(y)}
    parameters = {"parameters": backend.from_host(x)}
    state = (parameters, optimizer.init(parameters, backend))

    def update(state: Any, gradients: Any) -> tuple[Any, None]:
        parameters, slots = state
        return optimizer.update(gradients, slots, parameters, donate=True), None

    step = backend.uncompiled(update) if run_eagerly else backend.compile(update)

    def run(steps: int) -> float:
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, gradients)
        return float(state[0]["parameters"][0])

    return run


def _fits(workload: Workload, model: Model, x: Any, y: Any) -> Run:
    kept = workload.validation

    def run(steps: int) -> float:
        for _ in range(steps):
            history = model.fit(
                x[:-kept],
                y[:-kept],
                workload.batch,
                workload.epochs,
                validation_data=(x[-kept:], y[-kept:]),
                validation_batch_size=workload.batch,
                verbose=0,
            )
        return float(history.history["val_loss"][-1])

    return run


def bench(
    names: Sequence[str] = QUICK, backends: Sequence[str] = ("numpy",), seconds: float = 1.0
) -> Iterator[str]:
    """Measure workloads on backends, in turns, and yield the lines of a table as they come.

    Parameters
    ----------
    names : sequence of str
        Names of workloads.
    backends : sequence of str
        Names of backends.
    seconds : float
        About how long each of them runs.

    Yields
    ------
    str
        For each workload and backend the first step, the median of the others, and samples a second.

    Raises
    ------
    ValueError
        If there is no such workload or backend.
    BackendUnavailableError
        If a backend cannot run here.

    Examples
    --------
    >>> import nnbackend.benchmarking
    >>> lines = list(nnbackend.benchmarking.bench(["W1"], ["numpy"], seconds=0.01))
    >>> lines[0].split()
    ['Workload', 'Backend', 'First', 'step', 'Step', 'Samples/s']
    """
    workloads = [look_up(name) for name in names]
    chosen = {name: get_backend(name) for name in backends}
    yield f"{'Workload':10}{'Backend':10}{'First step':>12}{'Step':>12}{'Samples/s':>12}"
    for workload in workloads:
        for name, (first, step) in _measure(workload, chosen, seconds).items():
            rate = (workload.samples or workload.batch) * workload.epochs / step
            per_second = "" if workload.kind == "update" else f"{rate:,.0f}"
            yield f"{workload.name:10}{name:10}{in_words(first):>12}{in_words(step):>12}{per_second:>12}"


def _measure(
    workload: Workload, chosen: dict[str, Backend], seconds: float
) -> dict[str, tuple[float, float]]:
    """Return the seconds of the first step and the median of the others, by backend."""
    runs, first = {}, {}
    for name, backend in chosen.items():
        runs[name] = start(workload, backend)
        first[name] = _seconds(runs[name], 1)
    turns = 7
    steps = {
        name: max(1, math.floor(seconds / turns / max(_seconds(run, 1), 1e-9))) for name, run in runs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            times[name].append(_seconds(run, steps[name]) / steps[name])
    return {name: (first[name], statistics.median(values)) for name, values in times.items()}


def _seconds(run: Run, steps: int) -> float:
    begin = time.perf_counter()
    run(steps)
    return time.perf_counter() - begin


def in_words(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
