"""Programs of every kind, by which the CUDA sources are tested, and what they should compute."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnbackend.backend import namespace
from nnbackend.elementwise import Elementwise, Program, elementwise, rowwise
from nnbackend_cupy import kernels


@dataclass(frozen=True)
class Given:
    """What a program of the library is tested with, where nothing static and float32 throughout will not do."""

    static: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    kinds: tuple[kernels.Kind, ...] = ()


#: Schedules run on float64 steps.
_STEP = ("float64",)
_MOMENTS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
_BETAS = {"beta_1": 0.9, "beta_2": 0.999}
_MEAN_SQUARE = {"rho": 0.9, "epsilon": 1e-7}

_LABELS: tuple[kernels.Kind, ...] = ("full", "row", "column")
_LABELLED = ("float32", "int64", "int64")

#: The library's programs, by name, that need to be told their arguments.
LIBRARY_ARGUMENTS = {
    "adadelta_update": Given(_MEAN_SQUARE),
    "adagrad_update": Given({"epsilon": 1e-7}),
    "adam_update": Given(_BETAS),
    "adamax_update": Given(_MOMENTS),
    "adamw_update": Given(_BETAS),
    "amsgrad_update": Given(_BETAS),
    "annealed": Given({"begin": 0.0, "end": 1.5, "start": 0.1, "stop": 1.0, "straight": False}, _STEP),
    "beyond": Given({"boundary": 1.0, "value": 0.5}, ("float64", "float64")),
    "chosen": Given({}, ("bool", "float32", "float32")),
    "clipped": Given({"limit": 0.5}),
    "corrected": Given({"log_beta_1": -0.1, "log_beta_2": -0.001, "epsilon": 1e-7}),
    "correction": Given({"log_beta": -0.1}),
    "cosine": Given({"initial": 0.1, "steps": 1.5, "alpha": 0.1}, _STEP),
    "cosine_restarts": Given({"initial": 0.1, "steps": 0.5, "t_mul": 2.0, "m_mul": 0.9, "alpha": 0.1}, _STEP),
    "cyclic": Given(
        {"low": 0.1, "high": 1.0, "up": 0.3, "down": 0.4, "halves": True, "log_gamma": -0.1}, _STEP
    ),
    "decayed": Given({"decay": 0.01}),
    "divided": Given({"divisor": 3.0}),
    "floored_square": Given({"epsilon": 1e-30}),
    "weighted_sum": Given({"first": -4.775, "second": 2.0315}),
    "exponential": Given({"initial": 0.1, "steps": 0.5, "log_factor": -0.7, "staircase": True}, _STEP),
    "inverse_time": Given({"initial": 0.1, "steps": 0.5, "factor": 0.7, "staircase": True}, _STEP),
    "lamb_direction": Given(_MOMENTS),
    "lion_update": Given({"beta_1": 0.9, "beta_2": 0.99}),
    "momentum_update": Given({"momentum": 0.9, "nesterov": True}),
    "alpha_dropout": Given({"scale": 0.9, "shift": 0.4}, ("float32", "bool")),
    "alpha_dropout_gradient": Given({"scale": 0.9}, ("float32", "bool")),
    "bent": Given({"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.3}),
    "bent_gradient": Given({"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.3}),
    "erf": Given({"single": False}, ("float64",)),
    "erfc": Given({"single": True}),
    "exponential_unit": Given({"scale": 1.05, "alpha": 1.67, "rate": 2.0}),
    "exponential_unit_gradient": Given({"scale": 1.05, "alpha": 1.67, "rate": 2.0}),
    "gelu": Given({"single": True}),
    "hard_shrink": Given({"threshold": 0.5}),
    "shrink_gradient": Given({"threshold": 0.5}),
    "soft_shrink": Given({"threshold": 0.5}),
    "threshold": Given({"threshold": 0.5, "default_value": -1.0}),
    "threshold_gradient": Given({"threshold": 0.5}),
    "within": Given({"bound": 1.0, "slope": 0.5}),
    "nadam_update": Given(_MOMENTS),
    "nesterov_direction": Given({"beta": 0.95, "nesterov": True}),
    "noam": Given({"scale": 0.1, "warmup": 2.0}, _STEP),
    "polynomial": Given({"initial": 1.0, "end": 0.1, "steps": 1.5, "power": 2.0, "cycle": True}, _STEP),
    "radam_update": Given(_MOMENTS),
    "rmsprop_centered_momentum_update": Given({**_MEAN_SQUARE, "momentum": 0.9}),
    "rmsprop_centered_update": Given(_MEAN_SQUARE),
    "rmsprop_momentum_update": Given({**_MEAN_SQUARE, "momentum": 0.9}),
    "rmsprop_update": Given(_MEAN_SQUARE),
    "warmed_up": Given({"steps": 1.5, "start": 0.1, "end": 1.0}, ("float64", "float64")),
    "dropout": Given({"rate": 0.25}, ("float32", "bool")),
    "sparse_softmax_crossentropy": Given({"count": 33}, _LABELLED, _LABELS),
    "sparse_softmax_crossentropy_gradient": Given({"count": 33}, (*_LABELLED, "float32"), (*_LABELS, "row")),
    "sparse_categorical_crossentropy": Given({"count": 33}, _LABELLED, _LABELS),
    "contrastive": Given({"margin": 1.0}),
    "contrastive_error": Given({"margin": 1.0}),
    "contrastive_gradient": Given({"margin": 1.0}),
    "contrastive_target_gradient": Given({"margin": 1.0}),
    "huber": Given({"delta": 1.0}),
    "huber_error": Given({"delta": 1.0}),
    "huber_gradient": Given({"delta": 1.0}),
    "negative_log_likelihood": Given({"count": 33}, _LABELLED, _LABELS),
    "negative_log_likelihood_gradient": Given({"count": 33}, ("int64", "int64", "float32")),
    "ctc_step": Given({}, (*("float32",) * 5, "bool", "bool")),
    "sparse_categorical_crossentropy_gradient": Given(
        {"count": 33}, (*_LABELLED, "float32"), (*_LABELS, "row")
    ),
    "combined_where": Given(dtypes=("bool", *("float32",) * 5)),
    "softmax_of_allowed": Given(dtypes=("float32", "bool")),
    "standardized_rows": Given({"epsilon": 1e-3}, kinds=("full", "column", "column")),
    "standardized_rows_gradient": Given({"epsilon": 1e-3}, kinds=("full", "column", "full", "row", "row")),
    "standardized_rows_gradients": Given({"epsilon": 1e-3}, kinds=("full", "row", "full", "row", "row")),
    "rms_rows": Given({"epsilon": 1e-6}, kinds=("full", "column")),
    "rms_rows_gradient": Given({"epsilon": 1e-6}, kinds=("full", "column", "full")),
    "unit_rows": Given({"epsilon": 1e-12}),
    "unit_rows_gradient": Given({"epsilon": 1e-12}, kinds=("full", "row", "full")),
}


@elementwise
def relu(x):
    return namespace(x).maximum(x, 0.0)


@elementwise
def sigmoid(x):
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


@elementwise
def gelu_tanh(x):
    xp = namespace(x)
    return 0.5 * x * (1.0 + xp.tanh(0.7978845608028654 * (x + 0.044715 * x**2 * x)))


@elementwise
def adam(p, g, m, v, rate, correction, *, beta_1, beta_2, epsilon):
    xp = namespace(p)
    m = beta_1 * m + (1.0 - beta_1) * g
    v = beta_2 * v + (1.0 - beta_2) * xp.square(g)
    return p - rate * m / (xp.sqrt(v * correction) + epsilon), m, v


@elementwise
def momentum(p, g, velocity, *, rate, momentum):
    velocity = momentum * velocity - rate * g
    return p + velocity, velocity


@elementwise
def dropout(x, keep, *, scale):
    return namespace(x).where(keep, x * scale, 0.0)


@elementwise
def step_masked(x, mask):
    xp = namespace(x)
    return (
        xp.logical_and(x > 0, ~mask),
        xp.where(xp.isfinite(x) | xp.isnan(x), xp.sign(x), float("inf")),
        mask,
    )


@elementwise
def count(a, b):
    xp = namespace(a)
    return a + 2 * b - 1, xp.maximum(a, -b), xp.where(a == b, xp.abs(a), xp.sign(b)), xp.square(a)


@elementwise
def every_function(x, y):
    xp = namespace(x)
    return (
        xp.ceil(x) + xp.floor(y) + xp.round(x * 3.0) + xp.trunc(y),
        xp.cos(x) * xp.sin(y) + xp.tan(x * 0.3),
        xp.cosh(x) + xp.sinh(y) - xp.tanh(x),
        xp.expm1(x) + xp.log1p(xp.abs(y)) + xp.log(xp.abs(x) + 0.1),
        xp.atan2(x, y) + xp.copysign(x, y) + xp.hypot(x, y),
        xp.pow(xp.abs(x) + 0.1, y) + xp.reciprocal(y) + xp.minimum(x, y) / xp.positive(y),
    )


@elementwise
def extremes(x, y):
    xp = namespace(x)
    return xp.maximum(x, y), xp.minimum(x, y), xp.isnan(x), xp.isinf(x), xp.isfinite(x), xp.sign(x), 1.0


@rowwise
def softmax(x):
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


@rowwise
def cross_entropy(logits, target, weight):
    xp = namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    logs = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    return -weight * xp.sum(target * logs, axis=-1, keepdims=True), (xp.exp(logs) - target) * weight


@rowwise
def sparse_cross_entropy(logits, label, column):
    xp = namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    logs = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    return xp.sum(xp.where(label == column, -logs, 0.0), axis=-1, keepdims=True)


@rowwise
def layer_norm(x, gain, bias, epsilon):
    xp = namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    scale = 1.0 / xp.sqrt(xp.mean(xp.square(centred), axis=-1, keepdims=True) + epsilon)
    return centred * scale * gain + bias, scale


@rowwise
def ranges(x, y):
    xp = namespace(x)
    low, high = xp.min(x, axis=-1, keepdims=True), xp.max(x, axis=-1, keepdims=True)
    return (x - low) / (high - low) * y, xp.sum(y, axis=-1, keepdims=True), high


@rowwise
def whole_numbers(x):
    xp = namespace(x)
    return xp.max(x, axis=-1, keepdims=True) - x, xp.sum(x, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Case:
    """A program, and its arguments: each a dtype and, for rowwise ones, how it varies."""

    name: str
    program: Program
    dtypes: tuple[str, ...]
    kinds: tuple[kernels.Kind, ...] = ()

    @property
    def outputs(self) -> range:
        return range(len(self.program.outputs))


def _floating(name: str, program: Program, *others: str, floats: int | None = None) -> list[Case]:
    """One case for each floating dtype: so many arguments of that dtype, then the others."""
    count = program.arity - len(others) if floats is None else floats
    return [
        Case(f"{name}_{dtype}", program, (dtype,) * count + others)
        for dtype in ("float32", "float64", "float16")
    ]


def _rows(name: str, program: Program, *kinds: kernels.Kind, dtypes: Sequence[str] = ()) -> list[Case]:
    return [
        Case(f"{name}_{dtype}", program, tuple(d or dtype for d in dtypes) or (dtype,) * len(kinds), kinds)
        for dtype in ("float32", "float64", "float16")
    ]


FULL: kernels.Kind = "full"
ELEMENTWISE = [
    *_floating("relu", relu.program()),
    *_floating("sigmoid", sigmoid.program()),
    *_floating("gelu_tanh", gelu_tanh.program()),
    *_floating("adam", adam.program(beta_1=0.9, beta_2=0.999, epsilon=1e-7)),
    *_floating("momentum", momentum.program(rate=0.1, momentum=0.9)),
    *_floating("dropout", dropout.program(scale=1.25), "bool"),
    *_floating("step_masked", step_masked.program(), "bool"),
    *_floating("every_function", every_function.program()),
    *_floating("extremes", extremes.program()),
    Case("mixed", momentum.program(rate=0.1, momentum=0.9), ("float64", "float32", "float16")),
    *(
        Case(f"count_{dtype}", count.program(), (dtype, dtype))
        for dtype in ("int8", "int16", "int32", "int64")
    ),
    Case("count_mixed", count.program(), ("int32", "int64")),
]
ROWWISE = [
    *_rows("softmax", softmax.program(), FULL),
    *_rows("softmax_of_columns", softmax.program(), "column"),
    *_rows("cross_entropy", cross_entropy.program(), FULL, FULL, "row"),
    *_rows("cross_entropy_weighted", cross_entropy.program(), FULL, FULL, "scalar"),
    *_rows("sparse", sparse_cross_entropy.program(), FULL, "row", "column", dtypes=("", "int32", "int64")),
    *_rows("layer_norm", layer_norm.program(), FULL, "column", "column", "scalar"),
    *_rows("ranges", ranges.program(), FULL, "row"),
    Case("whole_numbers", whole_numbers.program(), ("int64",), (FULL,)),
]


def _library_cases() -> tuple[list[Case], list[str]]:
    """Return a case for every program of the library, and the names of those whose static arguments are unknown."""
    found: dict[str, Elementwise] = {}
    for package in ("nnbackend.functional", "nnbackend.optimizers"):
        if importlib.util.find_spec(package) is None:
            continue
        root = importlib.import_module(package)
        names = [info.name for info in pkgutil.walk_packages(getattr(root, "__path__", []), package + ".")]
        for module in (root, *map(importlib.import_module, names)):
            for value in vars(module).values():
                if isinstance(value, Elementwise):
                    found[f"{value.function.__module__}.{value.name}"] = value
    cases, unknown = [], []
    for name, value in sorted(found.items()):
        given = LIBRARY_ARGUMENTS.get(value.name, Given())
        keywords = {
            parameter.name
            for parameter in inspect.signature(value.function).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        }
        if keywords - set(given.static):
            unknown.append(name)
            continue
        program = value.program(**given.static)
        dtypes = given.dtypes or ("float32",) * program.arity
        kinds = given.kinds or (FULL,) * program.arity
        cases.append(Case(f"library_{value.name}", program, dtypes, kinds if program.rowwise else ()))
    return cases, unknown


LIBRARY, UNKNOWN = _library_cases()
CASES = [*ELEMENTWISE, *ROWWISE, *LIBRARY]


def random_values(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if "int" in dtype:
        return rng.integers(0, 7, shape).astype(dtype)
    return rng.uniform(0.05, 2.0, shape).astype(dtype) * rng.choice(np.asarray([-1, 1], dtype), shape)


def row_arguments(case: Case, rows: int, width: int, rng: np.random.Generator) -> list[np.ndarray]:
    shapes = {"full": (rows, width), "row": (rows, 1), "column": (width,), "scalar": ()}
    arguments = [random_values(d, shapes[k], rng) for d, k in zip(case.dtypes, case.kinds, strict=True)]
    if case.kinds[:3] == ("full", "row", "column") and case.dtypes[1].startswith("int"):  # labels
        arguments[1] %= width
        arguments[2] = np.arange(width, dtype=case.dtypes[2])
    if case.name.startswith("layer_norm"):
        arguments[3] = np.abs(arguments[3])
    return arguments


def expected_results(case: Case, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Evaluate the plain expression with 16-bit numbers held in 32 bits, as the kernels do."""
    wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in arguments]
    with np.errstate(all="ignore"):
        result = case.program.plain(*wide)
    results = result if isinstance(result, tuple) else (result,)
    dtypes = [kernels.output_dtype(case.program, case.dtypes, number) for number in case.outputs]
    return [np.asarray(value).astype(dtype) for value, dtype in zip(results, dtypes, strict=True)]


def assert_within(actual: np.ndarray, expected: np.ndarray, units: float, scale: float = 0.0) -> None:
    """Compare to so many units in the last place of the value or, where terms cancel, of `scale`."""
    assert actual.dtype == expected.dtype
    expected = np.broadcast_to(expected, actual.shape)
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    precision = float(np.finfo(actual.dtype).eps)
    np.testing.assert_allclose(
        actual.astype(np.float64),
        expected.astype(np.float64),
        rtol=units * precision,
        atol=units * precision * scale,
    )
