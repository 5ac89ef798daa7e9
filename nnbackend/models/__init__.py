"""Models: layers that can be trained, measured, asked and saved."""

from nnbackend.models.model import Model
from nnbackend.models.saving import load_model
from nnbackend.models.sequential import Sequential

__all__ = ["Model", "Sequential", "load_model"]
