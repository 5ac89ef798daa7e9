"""Short trainings, and random numbers drawn in a step, that `nnbackend.agreement` compares from backend to backend.

Training is chaotic in float32: two correct exponentials diverge within tens of steps of Adam. So the runs are long in
float64 and short in float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nnbackend import constraints, layers, losses, optimizers, regularizers
from nnbackend.backend import Backend, host
from nnbackend.models import Model, Sequential
from nnbackend.random import Stream

__all__ = ["TRAJECTORIES", "Trajectory", "trajectory"]

Run: TypeAlias = Callable[[Backend, str], Mapping[str, Any]]

#: How many steps are taken in each dtype.
STEPS = {"float32": 8, "float64": 100}


@dataclass(frozen=True)
class Trajectory:
    """A short training, or any longer computation, compared as a whole; see `trajectory`.

    Attributes
    ----------
    name : str
        What it is called in the table.
    function : callable
        Computes it on a backend in a dtype and returns host arrays by name.
    bounds : mapping of str to float
        For each dtype in which it runs, the error allowed in units in the last place of the largest element.
    version : int
        Raised when the function computes something else.
    """

    name: str
    function: Run
    bounds: Mapping[str, float]
    version: int

    @property
    def definition(self) -> str:
        """A digest of name and version."""
        return hashlib.sha256(f"{self.name} {self.version}".encode()).hexdigest()


#: The trainings that are compared, by name; `trajectory` adds one.
TRAJECTORIES: dict[str, Trajectory] = {}


def trajectory(name: str, *, bounds: Mapping[str, float], version: int = 1) -> Callable[[Run], Run]:
    """Add a training to the table: a function of backend and dtype that returns host arrays by name.

    It is compared with the same function on NumPy in the same dtype, since first weights differ between dtypes.

    Parameters
    ----------
    name : str
        What it is called in the table.
    bounds : mapping of str to float
        For each dtype in which it runs, the error allowed in units in the last place of the largest element.
    version : int
        To be raised when the function computes something else.

    Returns
    -------
    callable
        A decorator that returns the function it is given.
    """

    def add(function: Run) -> Run:
        TRAJECTORIES[name] = Trajectory(name, function, bounds, version)
        return function

    return add


def _draw(name: str, *shape: int) -> Any:
    return Stream(0, f"trajectory/{name}").uniform(shape, -1.0, 1.0, "float64")


def _train(model: Model, x: Any, y: Any, dtype: str) -> dict[str, Any]:
    """Take steps over batches of 16 in turn; return the losses and the last weights."""
    values = []
    for number in range(STEPS[dtype]):
        rows = slice(16 * (number % 4), 16 * (number % 4 + 1))
        values.append(model.train_on_batch(x[rows], y[rows])["loss"])
    found = {"losses": host().from_host(values, "float64")}
    for path, parameter in model.handles().items():
        found[path] = parameter.numpy()
    return found


@trajectory("training with Adam, dropout and L2", bounds={"float32": 64, "float64": 1024})
def _classifier(backend: Backend, dtype: str) -> Mapping[str, Any]:
    x = _draw("classifier", 64, 8)
    xp = host().xp
    y = xp.astype(x[:, 0] > 0, xp.int64) + xp.astype(x[:, 1] > 0, xp.int64)
    model = Sequential(
        [
            layers.Dense(16, activation="relu", kernel_regularizer=regularizers.L2(1e-3)),
            layers.Dropout(0.25),
            layers.Dense(3, activation="softmax"),
        ],
        backend=backend,
        seed=1,
        dtype=dtype,
    )
    model.compile(optimizers.Adam(0.01, decay=1e-2), losses.SparseCategoricalCrossentropy())
    return _train(model, x, y, dtype)


@trajectory("training with Nesterov momentum and L1", bounds={"float32": 64, "float64": 1024})
def _regressor(backend: Backend, dtype: str) -> Mapping[str, Any]:
    x = _draw("regressor", 64, 4)
    model = Sequential(
        [layers.Dense(12, activation="tanh", kernel_regularizer=regularizers.L1(1e-3)), layers.Dense(2)],
        backend=backend,
        seed=2,
        dtype=dtype,
    )
    model.compile(optimizers.SGD(0.05, momentum=0.9, nesterov=True), losses.MeanSquaredError())
    return _train(model, x, x[:, :2] * x[:, 2:], dtype)


@trajectory("training with plain SGD on yes or no", bounds={"float32": 64, "float64": 1024})
def _binary(backend: Backend, dtype: str) -> Mapping[str, Any]:
    x = _draw("binary", 64, 6)
    model = Sequential(
        [layers.Dense(10, activation="sigmoid"), layers.Dense(1, activation="sigmoid")],
        backend=backend,
        seed=3,
        dtype=dtype,
    )
    model.compile(optimizers.SGD(0.5), losses.BinaryCrossentropy())
    return _train(model, x, x[:, 0] * x[:, 1] > 0, dtype)


#: Every optimizer with a learning rate that suits it; some take the options on their way.
_OPTIMIZERS: dict[str, Callable[[], optimizers.Optimizer]] = {
    "Adadelta": lambda: optimizers.Adadelta(epsilon=1e-4, clipvalue=0.5),
    "Adafactor": lambda: optimizers.Adafactor(0.05, weight_decay=1e-3),
    "Adagrad": lambda: optimizers.Adagrad(0.1, initial_accumulator_value=0.1),
    "AMSGrad": lambda: optimizers.Adam(optimizers.schedules.Noam(8, 20, 0.2), amsgrad=True),
    "Adamax": lambda: optimizers.Adamax(optimizers.schedules.CosineDecay(0.02, 100, alpha=0.1)),
    "AdamW": lambda: optimizers.AdamW(0.01, exclude_from_weight_decay=["bias"], use_ema=True),
    "LAMB": lambda: optimizers.LAMB(0.01, weight_decay=1e-2, global_clipnorm=1.0),
    "Lion": lambda: optimizers.Lion(optimizers.schedules.LinearWarmup(0.003, 10)),
    "Muon": lambda: optimizers.Muon(0.02, exclude=["dense_1"], clipnorm=1.0),
    "Nadam": lambda: optimizers.Nadam(0.01, gradient_accumulation_steps=2),
    "RAdam": lambda: optimizers.RAdam(0.01, beta_2=0.9),
    "RMSprop": lambda: optimizers.RMSprop(0.005, momentum=0.5, epsilon=1e-3, centered=True),
    "damped SGD": lambda: optimizers.SGD(
        optimizers.schedules.Cyclic(0.02, 0.1, 10),
        0.9,
        dampening=0.5,
        learning_rate_multipliers={"bias": 2.0},
    ),
}


def _train_by(name: str) -> Run:
    def run(backend: Backend, dtype: str) -> Mapping[str, Any]:
        x = _draw("optimizers", 64, 5)
        model = Sequential(
            [
                layers.Dense(8, activation="tanh", kernel_constraint=constraints.MaxNorm(1.5)),
                layers.Dense(2, activity_regularizer=regularizers.L2(1e-3)),
            ],
            backend=backend,
            seed=4,
            dtype=dtype,
        )
        model.compile(_OPTIMIZERS[name](), losses.MeanSquaredError())
        return _train(model, x, x[:, :2] * x[:, 2:4], dtype)

    return run


for _name in _OPTIMIZERS:
    trajectory(f"training with {_name}", bounds={"float32": 64, "float64": 1024})(_train_by(_name))


def _draw_in_step(backend: Backend, draw: Callable[[Stream], Any]) -> Any:
    """Draw from a stream as a compiled step does: its key and step are arrays on the device."""

    def step(state: Any, batch: Any) -> Any:
        return state, draw(Stream(state["seed"], "trajectory/draw", state["step"], backend))

    state = {"seed": backend.from_host([12345, -6789], "int64"), "step": backend.from_host(7, "int64")}
    return backend.to_host(backend.compile(step)(state, ())[1])


@trajectory("normals drawn in a step", bounds={"float32": 2, "float64": 8})
def _normals(backend: Backend, dtype: str) -> Mapping[str, Any]:
    return {"normal": _draw_in_step(backend, lambda stream: stream.normal((999,), 0.0, 1.0, dtype))}


@trajectory("words, uniforms and choices drawn in a step", bounds={"float32": 0, "float64": 0})
def _choices(backend: Backend, dtype: str) -> Mapping[str, Any]:
    draws: dict[str, Callable[[Stream], Any]] = {
        "uniform": lambda stream: stream.uniform((999,), dtype=dtype),
        "keep": lambda stream: stream.keep((999,), 0.3),
        "integers": lambda stream: stream.integers((999,), 1000),
        "permutation": lambda stream: stream.permutation(999),
    }
    return {name: _draw_in_step(backend, draw) for name, draw in draws.items()}
