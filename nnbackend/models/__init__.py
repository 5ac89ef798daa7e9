"""Models: layers that can be trained, measured, asked and saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.models.model import *
    from nnbackend.models.rates import *
    from nnbackend.models.saving import load_model as load_model
    from nnbackend.models.sequential import *
    from nnbackend.models.variance import *

lazily(
    __name__,
    {
        "model": ["Model"],
        "rates": ["RateRange", "lr_find"],
        "saving": ["load_model"],
        "sequential": ["Sequential"],
        "variance": ["lsuv"],
    },
)
