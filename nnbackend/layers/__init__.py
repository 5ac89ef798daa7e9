"""Layers: parameters, shapes and names around the mathematics of `nnbackend.functional`."""

from nnbackend.layers.attention import (
    AdditiveAttention,
    Attention,
    GroupQueryAttention,
    MultiHeadAttention,
)
from nnbackend.layers.base import Binding, Layer, Parameter
from nnbackend.layers.core import Activation, Dense, Dropout, Flatten
from nnbackend.layers.einsum import Bilinear, EinsumDense
from nnbackend.layers.embedding import (
    Embedding,
    PositionEmbedding,
    RotaryEmbedding,
    SinusoidalPositionEncoding,
    TokenAndPositionEmbedding,
)
from nnbackend.layers.graph import Input

__all__ = [
    "Activation",
    "AdditiveAttention",
    "Attention",
    "Bilinear",
    "Binding",
    "Dense",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GroupQueryAttention",
    "Input",
    "Layer",
    "MultiHeadAttention",
    "Parameter",
    "PositionEmbedding",
    "RotaryEmbedding",
    "SinusoidalPositionEncoding",
    "TokenAndPositionEmbedding",
]
