"""Layers: parameters, shapes and names around the mathematics of `nnbackend.functional`."""

from nnbackend.layers.base import Binding, Layer, Parameter
from nnbackend.layers.core import Activation, Dense, Dropout, Flatten
from nnbackend.layers.graph import Input

__all__ = [
    "Activation",
    "Binding",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "Layer",
    "Parameter",
]
