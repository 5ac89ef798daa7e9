r"""Losses: how far predictions are from targets, one number for each sample.

Predictions come first, targets second. The last axis holds the classes or outputs and is reduced; means over
samples are left to the caller.
"""

from nnbackend.functional.losses._shared import (
    EPSILON,
)
from nnbackend.functional.losses.alignment import (
    ctc,
)
from nnbackend.functional.losses.crossentropy import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    generalized_crossentropy,
    kl_divergence,
    negative_log_likelihood,
    sigmoid_binary_crossentropy,
    sigmoid_focal_crossentropy,
    softmax_crossentropy,
    softmax_focal_crossentropy,
    sparse_categorical_crossentropy,
    sparse_softmax_crossentropy,
)
from nnbackend.functional.losses.embeddings import (
    categorical_hinge,
    circle,
    cosine_similarity,
    hardest_triplet,
    triplet,
)
from nnbackend.functional.losses.errors import (
    absolute_error,
    contrastive,
    hinge,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    squared_error,
    squared_hinge,
)
from nnbackend.functional.losses.overlap import (
    tversky,
)

__all__ = [
    "EPSILON",
    "absolute_error",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "circle",
    "contrastive",
    "cosine_similarity",
    "ctc",
    "generalized_crossentropy",
    "hardest_triplet",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "negative_log_likelihood",
    "poisson",
    "sigmoid_binary_crossentropy",
    "sigmoid_focal_crossentropy",
    "softmax_crossentropy",
    "softmax_focal_crossentropy",
    "sparse_categorical_crossentropy",
    "sparse_softmax_crossentropy",
    "squared_error",
    "squared_hinge",
    "triplet",
    "tversky",
]
