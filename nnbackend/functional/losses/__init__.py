r"""Losses: how far predictions are from targets, one number for each sample.

Predictions come first, targets second. The last axis holds the classes or outputs and is reduced; means over
samples are left to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.functional.losses._shared import *
    from nnbackend.functional.losses.alignment import *
    from nnbackend.functional.losses.crossentropy import *
    from nnbackend.functional.losses.embeddings import *
    from nnbackend.functional.losses.errors import *
    from nnbackend.functional.losses.overlap import *

TABLE = {
    "_shared": ["EPSILON"],
    "alignment": ["ctc"],
    "crossentropy": [
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "generalized_crossentropy",
        "kl_divergence",
        "negative_log_likelihood",
        "sigmoid_binary_crossentropy",
        "sigmoid_focal_crossentropy",
        "softmax_crossentropy",
        "softmax_focal_crossentropy",
        "sparse_categorical_crossentropy",
        "sparse_softmax_crossentropy",
    ],
    "embeddings": [
        "categorical_hinge",
        "circle",
        "cosine_similarity",
        "hardest_triplet",
        "triplet",
    ],
    "errors": [
        "absolute_error",
        "contrastive",
        "hinge",
        "huber",
        "log_cosh",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
        "squared_error",
        "squared_hinge",
    ],
    "overlap": ["tversky"],
}

lazily(__name__, TABLE)
