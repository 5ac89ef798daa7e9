"""Models: layers that can be trained, measured, asked and saved."""

from nnbackend.models.model import Model
from nnbackend.models.rates import RateRange, lr_find
from nnbackend.models.saving import load_model
from nnbackend.models.sequential import Sequential
from nnbackend.models.variance import lsuv

__all__ = ["Model", "RateRange", "Sequential", "load_model", "lr_find", "lsuv"]
