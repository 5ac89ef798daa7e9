"""Layers: parameters, shapes and names around the mathematics of `nnbackend.functional`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.layers.activations import *
    from nnbackend.layers.attention import *
    from nnbackend.layers.base import Layer as Layer
    from nnbackend.layers.base import Parameter as Parameter
    from nnbackend.layers.convolution import *
    from nnbackend.layers.core import *
    from nnbackend.layers.einsum import *
    from nnbackend.layers.embedding import *
    from nnbackend.layers.graph import Input as Input
    from nnbackend.layers.merging import *
    from nnbackend.layers.noise import *
    from nnbackend.layers.normalization import *
    from nnbackend.layers.pooling import *
    from nnbackend.layers.recurrent import *
    from nnbackend.layers.recurrent_cells import *
    from nnbackend.layers.resampling import *
    from nnbackend.layers.sequences import *
    from nnbackend.layers.structure import *
    from nnbackend.layers.transformer import *

lazily(
    __name__,
    {
        "activations": ["ELU", "GLU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax"],
        "attention": ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"],
        "base": ["Layer", "Parameter"],
        "convolution": [
            "Conv1D",
            "Conv1DTranspose",
            "Conv2D",
            "Conv2DTranspose",
            "Conv3D",
            "Conv3DTranspose",
            "DepthwiseConv1D",
            "DepthwiseConv2D",
            "SeparableConv1D",
            "SeparableConv2D",
        ],
        "core": ["Dense"],
        "einsum": ["Bilinear", "EinsumDense"],
        "embedding": [
            "Embedding",
            "PositionEmbedding",
            "RotaryEmbedding",
            "SinusoidalPositionEncoding",
            "TokenAndPositionEmbedding",
        ],
        "graph": ["Input"],
        "merging": ["Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"],
        "noise": [
            "AlphaDropout",
            "Dropout",
            "GaussianDropout",
            "GaussianNoise",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "SpatialDropout3D",
        ],
        "normalization": [
            "BatchNormalization",
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "Normalization",
            "RMSNormalization",
            "SpectralNormalization",
            "UnitNormalization",
        ],
        "pooling": [
            "AdaptiveAveragePooling1D",
            "AdaptiveAveragePooling2D",
            "AdaptiveAveragePooling3D",
            "AdaptiveMaxPooling1D",
            "AdaptiveMaxPooling2D",
            "AdaptiveMaxPooling3D",
            "AveragePooling1D",
            "AveragePooling2D",
            "AveragePooling3D",
            "GlobalAveragePooling1D",
            "GlobalAveragePooling2D",
            "GlobalAveragePooling3D",
            "GlobalMaxPooling1D",
            "GlobalMaxPooling2D",
            "GlobalMaxPooling3D",
            "MaxPooling1D",
            "MaxPooling2D",
            "MaxPooling3D",
        ],
        "recurrent": ["GRU", "LSTM", "RNN", "SimpleRNN"],
        "recurrent_cells": ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"],
        "resampling": [
            "Cropping1D",
            "Cropping2D",
            "Cropping3D",
            "UpSampling1D",
            "UpSampling2D",
            "UpSampling3D",
            "ZeroPadding1D",
            "ZeroPadding2D",
            "ZeroPadding3D",
        ],
        "sequences": ["Bidirectional", "Masking", "TimeDistributed"],
        "structure": ["Flatten", "Identity", "Lambda", "Permute", "RepeatVector", "Reshape"],
        "transformer": ["TransformerDecoder", "TransformerEncoder"],
    },
)
