"""Neural networks written once against the Python array API standard, on NumPy, CuPy, PyTorch and JAX.

>>> import nnbackend as nn
>>> model = nn.Sequential([nn.Dense(16, activation="relu"), nn.Dense(3)], seed=0)
>>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
"""

from __future__ import annotations

import importlib as _importlib
import typing as _typing  # the room of that name takes its place here

from nnbackend import (
    activations,
    callbacks,
    constraints,
    data,
    functional,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    random,
    regularizers,
)
from nnbackend.autodiff import (
    GradientError,
    Tensor,
    differentiable,
    grad,
    no_grad,
    value_and_grad,
    vjp,
)
from nnbackend.backend import (
    BackendUnavailableError,
    available_backends,
    get_backend,
    set_backend,
    to_numpy,
    use_backend,
)
from nnbackend.callbacks import History
from nnbackend.checking import gradcheck
from nnbackend.config import register
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.layers import (
    Activation,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    Parameter,
)
from nnbackend.models import Model, Sequential, load_model

if _typing.TYPE_CHECKING:
    from nnbackend import datasets

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "BackendUnavailableError",
    "Dense",
    "Dropout",
    "Flatten",
    "GradientError",
    "History",
    "Input",
    "Layer",
    "Model",
    "Parameter",
    "Sequential",
    "Tensor",
    "activations",
    "available_backends",
    "callbacks",
    "constraints",
    "data",
    "datasets",
    "differentiable",
    "elementwise",
    "functional",
    "get_backend",
    "grad",
    "gradcheck",
    "initializers",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "no_grad",
    "optimizers",
    "random",
    "register",
    "regularizers",
    "rowwise",
    "set_backend",
    "to_numpy",
    "use_backend",
    "value_and_grad",
    "vjp",
]


def __getattr__(name: str) -> _typing.Any:
    """Import at first use what few programs need."""
    if name == "datasets":
        return _importlib.import_module("nnbackend.datasets")
    raise AttributeError(f"module 'nnbackend' has no attribute {name!r}")
