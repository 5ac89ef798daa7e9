"""Losses."""

from __future__ import annotations

from nnbackend.cases.base import Case, flag, real, whole

__all__ = ["CASES"]

_REAL = real(4, 5)
_LOGITS = real(6, 10, low=-8.0, high=8.0)
_LARGE = real(6, 10, low=-1e4, high=1e4)
_SHARE = real(6, 10, low=0.01, high=0.99)
_LABELS = whole(6, below=10)

_POSITIVE = real(4, 5, low=0.1, high=3.0)
_TARGETS = real(4, 5, low=0.5, high=3.0)
_FLAGS = flag(6, 10)
_EMBEDDINGS = real(6, 3, low=-0.6, high=0.6)
_GROUPS = whole(6, below=2)
_FRAMES = real(3, 6, 4, low=-2.0, high=2.0)

CASES = (
    Case("absolute_error", (_REAL, _REAL)),
    Case("binary_crossentropy", (_SHARE, _SHARE)),
    Case("binary_focal_crossentropy", (_SHARE, _SHARE), {"alpha": 0.25}),
    Case("categorical_crossentropy", (_SHARE, _SHARE)),
    Case("categorical_focal_crossentropy", (_SHARE, _SHARE)),
    Case("categorical_hinge", (_LOGITS, _FLAGS)),
    Case("circle", (_EMBEDDINGS, _GROUPS), {"gamma": 4.0}),
    Case("contrastive", (_POSITIVE, flag(4, 5)), {"margin": 2.0}),
    Case("contrastive", (_POSITIVE, real(4, 5, low=0.0, high=1.0)), {"margin": 2.0}, "soft"),
    Case("cosine_similarity", (_REAL, _REAL)),
    Case("ctc", (_FRAMES, whole(3, 2, below=3)), {"blank": 3}, bound=16.0),
    Case(
        "ctc",
        (_FRAMES, whole(3, 2, below=4), whole(3, below=7), whole(3, below=3)),
        variant="uneven",
        bound=16.0,
    ),
    Case("generalized_crossentropy", (_POSITIVE,), {"q": 0.7}),
    Case("hardest_triplet", (_EMBEDDINGS, _GROUPS)),
    Case("hinge", (_REAL, _REAL)),
    Case("huber", (_REAL, _REAL), {"delta": 0.5}),
    Case("kl_divergence", (_SHARE, _SHARE)),
    Case("log_cosh", (_REAL, _REAL)),
    Case("mean_absolute_error", (_REAL, _REAL)),
    Case("mean_absolute_percentage_error", (_REAL, _TARGETS)),
    Case("mean_squared_error", (_REAL, _REAL)),
    Case("mean_squared_logarithmic_error", (_REAL, _TARGETS)),
    Case("negative_log_likelihood", (_LOGITS, _LABELS)),
    Case("poisson", (_POSITIVE, _TARGETS)),
    Case("sigmoid_binary_crossentropy", (_LOGITS, _SHARE)),
    Case("sigmoid_binary_crossentropy", (_LARGE, _SHARE), variant="large"),
    Case("sigmoid_focal_crossentropy", (_LOGITS, _SHARE), {"gamma": 1.5}),
    Case("softmax_crossentropy", (_LOGITS, _SHARE)),
    Case("softmax_crossentropy", (_LARGE, _SHARE), variant="large"),
    Case("softmax_focal_crossentropy", (_LOGITS, _SHARE)),
    Case("sparse_categorical_crossentropy", (_SHARE, _LABELS)),
    Case("sparse_softmax_crossentropy", (_LOGITS, _LABELS)),
    Case("sparse_softmax_crossentropy", (_LARGE, _LABELS), variant="large"),
    Case("squared_error", (_REAL, _REAL)),
    Case("squared_hinge", (_REAL, _REAL)),
    Case("triplet", (_REAL, _REAL, _REAL)),
    Case("tversky", (_SHARE, _FLAGS), {"alpha": 0.3, "beta": 0.7}),
)
