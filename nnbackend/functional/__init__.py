"""The mathematics: differentiable functions of arrays and tensors, by the array API standard's names.

Given arrays they return arrays, of the same library; given tensors they return tensors and are recorded. It is the
namespace of `Tensor`, so that ordinary array API code differentiates.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nnbackend import autodiff
from nnbackend.functional import linear as _linear  # noqa: F401 - before the activation of that name is bound
from nnbackend.functional.activations import linear as linear
from nnbackend.functional.dropout import *
from nnbackend.functional.dtypes import *
from nnbackend.functional.einsum import einsum as einsum
from nnbackend.functional.embedding import embedding as embedding
from nnbackend.functional.losses import TABLE as _OF_LOSSES
from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.functional.activations import *
    from nnbackend.functional.attention import *
    from nnbackend.functional.convolution import *
    from nnbackend.functional.elementary import *
    from nnbackend.functional.gates import *
    from nnbackend.functional.indexing import *
    from nnbackend.functional.linear import *
    from nnbackend.functional.logic import *
    from nnbackend.functional.losses._shared import *
    from nnbackend.functional.losses.alignment import *
    from nnbackend.functional.losses.crossentropy import *
    from nnbackend.functional.losses.embeddings import *
    from nnbackend.functional.losses.errors import *
    from nnbackend.functional.losses.overlap import *
    from nnbackend.functional.normalization import *
    from nnbackend.functional.pooling import *
    from nnbackend.functional.positions import *
    from nnbackend.functional.rectifiers import *
    from nnbackend.functional.recurrent import *
    from nnbackend.functional.reduction import *
    from nnbackend.functional.resampling import *
    from nnbackend.functional.shaping import *
    from nnbackend.functional.special import *

lazily(
    __name__,
    {
        "activations": [
            "linear",
            "log_sigmoid",
            "log_softmax",
            "sigmoid",
            "softmax",
            "softmin",
            "softplus",
            "softsign",
            "step",
        ],
        "attention": ["additive_attention", "masked_softmax", "scaled_dot_product_attention"],
        "convolution": [
            "conv",
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_kernel_gradient",
            "conv_transpose",
            "depthwise_conv",
            "separable_conv",
        ],
        "dropout": ["alpha_dropout", "dropout"],
        "dtypes": [
            "bfloat16",
            "bool",
            "finfo",
            "float16",
            "float32",
            "float64",
            "iinfo",
            "int16",
            "int32",
            "int64",
            "int8",
            "isdtype",
            "uint16",
            "uint32",
            "uint64",
            "uint8",
        ],
        "einsum": ["einsum"],
        "elementary": [
            "abs",
            "acos",
            "acosh",
            "add",
            "asin",
            "asinh",
            "atan",
            "atan2",
            "atanh",
            "clip",
            "copysign",
            "cos",
            "cosh",
            "divide",
            "exp",
            "expm1",
            "hypot",
            "log",
            "log10",
            "log1p",
            "log2",
            "logaddexp",
            "maximum",
            "minimum",
            "multiply",
            "negative",
            "positive",
            "pow",
            "reciprocal",
            "remainder",
            "sin",
            "sinh",
            "sqrt",
            "square",
            "subtract",
            "tan",
            "tanh",
            "where",
        ],
        "embedding": ["embedding"],
        "gates": ["gelu", "glu", "hard_silu", "mish", "silu"],
        "indexing": ["getitem", "scatter_add", "sort", "take", "take_along_axis"],
        "linear": ["dense", "matmul", "outer", "tensordot", "vecdot"],
        "logic": [
            "all",
            "any",
            "argmax",
            "argmin",
            "argsort",
            "ceil",
            "count_nonzero",
            "equal",
            "floor",
            "floor_divide",
            "full_like",
            "greater",
            "greater_equal",
            "isfinite",
            "isinf",
            "isnan",
            "less",
            "less_equal",
            "logical_and",
            "logical_not",
            "logical_or",
            "logical_xor",
            "not_equal",
            "ones_like",
            "round",
            "searchsorted",
            "sign",
            "signbit",
            "trunc",
            "zeros_like",
        ],
        **{f"losses.{module}": names for module, names in _OF_LOSSES.items()},
        "normalization": [
            "batch_norm",
            "batch_norm_inference",
            "group_norm",
            "instance_norm",
            "layer_norm",
            "power_iteration",
            "rms_norm",
            "spectral_norm",
            "standardize",
            "unit_norm",
        ],
        "pooling": [
            "adaptive_average_pool",
            "adaptive_max_pool",
            "average_pool",
            "global_average_pool",
            "global_max_pool",
            "max_pool",
            "pooled_shape",
        ],
        "positions": ["rotary_embedding", "sinusoidal_positions"],
        "rectifiers": [
            "celu",
            "elu",
            "hard_shrink",
            "hard_sigmoid",
            "hard_tanh",
            "leaky_relu",
            "prelu",
            "relu",
            "relu6",
            "selu",
            "soft_shrink",
            "tanh_shrink",
            "threshold",
        ],
        "recurrent": ["gru", "lstm", "simple_rnn"],
        "reduction": ["cumulative_sum", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var"],
        "resampling": ["pad", "upsample"],
        "shaping": [
            "astype",
            "broadcast_arrays",
            "broadcast_to",
            "concat",
            "expand_dims",
            "flip",
            "matrix_transpose",
            "moveaxis",
            "permute_dims",
            "repeat",
            "reshape",
            "roll",
            "squeeze",
            "stack",
            "tile",
            "tril",
            "triu",
            "unstack",
        ],
        "special": ["erf", "erfc"],
    },
)

autodiff.set_namespace(sys.modules[__name__])
