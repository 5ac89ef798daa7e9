"""Layers: parameters, shapes and names around the mathematics of `nnbackend.functional`."""

from nnbackend.layers.base import Binding, Layer, Parameter
from nnbackend.layers.core import Activation, Dense, Dropout, Flatten

__all__ = ["Activation", "Binding", "Dense", "Dropout", "Flatten", "Layer", "Parameter"]
