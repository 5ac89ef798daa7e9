"""Neural networks written once against the Python array API standard, on NumPy, CuPy, PyTorch and JAX.

>>> import nnbackend as nn
>>> model = nn.Sequential([nn.Dense(16, activation="relu"), nn.Dense(3)], seed=0)
>>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
"""

from __future__ import annotations

import typing as _typing  # the room of that name takes its place here

from nnbackend import functional as _functional  # noqa: F401 - what tensors compute with
from nnbackend import layers as _layers
from nnbackend.elementwise import elementwise as elementwise  # after the module of that name
from nnbackend.elementwise import rowwise as rowwise
from nnbackend.lazy import lazily as _lazily

if _typing.TYPE_CHECKING:
    from nnbackend import activations as activations
    from nnbackend import callbacks as callbacks
    from nnbackend import constraints as constraints
    from nnbackend import data as data
    from nnbackend import datasets as datasets
    from nnbackend import functional as functional
    from nnbackend import initializers as initializers
    from nnbackend import layers as layers
    from nnbackend import losses as losses
    from nnbackend import metrics as metrics
    from nnbackend import nnfs as nnfs
    from nnbackend import optimizers as optimizers
    from nnbackend import plotting as plotting
    from nnbackend import random as random
    from nnbackend import regularizers as regularizers
    from nnbackend.autodiff import GradientError as GradientError
    from nnbackend.autodiff import Tensor as Tensor
    from nnbackend.autodiff import differentiable as differentiable
    from nnbackend.autodiff import grad as grad
    from nnbackend.autodiff import no_grad as no_grad
    from nnbackend.autodiff import value_and_grad as value_and_grad
    from nnbackend.autodiff import vjp as vjp
    from nnbackend.backend import BackendUnavailableError as BackendUnavailableError
    from nnbackend.backend import available_backends as available_backends
    from nnbackend.backend import get_backend as get_backend
    from nnbackend.backend import set_backend as set_backend
    from nnbackend.backend import to_numpy as to_numpy
    from nnbackend.backend import use_backend as use_backend
    from nnbackend.callbacks import History as History
    from nnbackend.checking import gradcheck as gradcheck
    from nnbackend.config import register as register
    from nnbackend.layers import *
    from nnbackend.models import Model as Model
    from nnbackend.models import Sequential as Sequential
    from nnbackend.models import load_model as load_model
    from nnbackend.models import lr_find as lr_find
    from nnbackend.models import lsuv as lsuv
    from nnbackend.policies import DTypePolicy as DTypePolicy
    from nnbackend.policies import LossScale as LossScale
    from nnbackend.precision import get_matmul_precision as get_matmul_precision
    from nnbackend.precision import set_matmul_precision as set_matmul_precision
    from nnbackend.precision import use_matmul_precision as use_matmul_precision

__version__ = "0.1.0"

_lazily(
    __name__,
    {
        "autodiff": ["GradientError", "Tensor", "differentiable", "grad", "no_grad", "value_and_grad", "vjp"],
        "backend": [
            "BackendUnavailableError",
            "available_backends",
            "get_backend",
            "set_backend",
            "to_numpy",
            "use_backend",
        ],
        "callbacks.history": ["History"],
        "checking": ["gradcheck"],
        "config": ["register"],
        "elementwise": ["elementwise", "rowwise"],
        "layers": vars(_layers)["__all__"],
        "models.model": ["Model"],
        "models.rates": ["lr_find"],
        "models.saving": ["load_model"],
        "models.sequential": ["Sequential"],
        "models.variance": ["lsuv"],
        "policies": ["DTypePolicy", "LossScale"],
        "precision": ["get_matmul_precision", "set_matmul_precision", "use_matmul_precision"],
    },
    others=[
        "activations",
        "callbacks",
        "constraints",
        "data",
        "datasets",
        "functional",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "nnfs",
        "optimizers",
        "plotting",
        "random",
        "regularizers",
    ],
)
