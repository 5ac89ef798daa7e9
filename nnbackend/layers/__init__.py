"""Layers: parameters, shapes and names around the mathematics of `nnbackend.functional`."""

from nnbackend.layers.activations import (
    ELU,
    GLU,
    Activation,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
)
from nnbackend.layers.base import (
    Binding,
    Layer,
    Parameter,
)
from nnbackend.layers.core import (
    Dense,
)
from nnbackend.layers.graph import (
    Input,
)
from nnbackend.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from nnbackend.layers.noise import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from nnbackend.layers.structure import (
    Flatten,
    Identity,
    Lambda,
    Permute,
    RepeatVector,
    Reshape,
)

__all__ = [
    "ELU",
    "GLU",
    "Activation",
    "Add",
    "AlphaDropout",
    "Average",
    "Binding",
    "Concatenate",
    "Dense",
    "Dot",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "Input",
    "Lambda",
    "Layer",
    "LeakyReLU",
    "Maximum",
    "Minimum",
    "Multiply",
    "PReLU",
    "Parameter",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Subtract",
]
