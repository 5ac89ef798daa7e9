"""Attention, positions, embedding and sums by Einstein's rule."""

from __future__ import annotations

from nnbackend.cases.base import Case, LayerCase, flag, real, whole
from nnbackend.layers import (
    AdditiveAttention,
    Attention,
    Bilinear,
    EinsumDense,
    Embedding,
    GroupQueryAttention,
    MultiHeadAttention,
    PositionEmbedding,
    RotaryEmbedding,
    SinusoidalPositionEncoding,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
)

__all__ = ["CASES"]

_QUERY, _KEY, _VALUE = real(2, 4, 4, 3), real(2, 5, 2, 3), real(2, 5, 2, 2)
_X, _OTHER = real(2, 4, 6), real(2, 5, 6)
#: So small that the softmax has more than one winner.
_SMALL = real(2, 4, 6, low=-0.5, high=0.5)
#: The gradient of a single number is a sum whose terms cancel but for a small share.
_CANCELLING = 64.0
#: What is added to every key shifts all scores of a query alike, which a softmax does not see.
_SHIFT = ("key/bias",)

CASES = (
    Case("masked_softmax", (real(4, 5), flag(4, 5))),
    Case("scaled_dot_product_attention", (_QUERY, _KEY, _VALUE)),
    Case(
        "scaled_dot_product_attention",
        (_QUERY, _KEY, _VALUE, flag(2, 1, 4, 5), real(4, 4, 5), flag(2, 4, 4, 5)),
        {"causal": True, "dropout_rate": 0.25, "scale": 0.5, "chunk_size": 3, "return_scores": True},
        "in chunks",
    ),
    Case("additive_attention", (real(2, 4, 3), real(2, 5, 3), real(2, 5, 2), real(3))),
    Case(
        "additive_attention",
        (real(2, 4, 3), real(2, 5, 3), real(2, 5, 2), real(3), flag(2, 4, 5)),
        {"causal": True, "chunk_size": 3},
        "in chunks",
    ),
    Case("rotary_embedding", (real(2, 3, 2, 6),)),
    Case("rotary_embedding", (real(2, 3, 6), whole(2, 3, below=50)), {"interleaved": True}, "interleaved"),
    Case("embedding", (whole(3, 4, below=5), real(5, 3))),
    Case("einsum", (real(3, 4, 2), real(2, 5, 3)), {"subscripts": "abc,cde->abde"}),
    Case("einsum", (real(3, 3), real(4, 3), real(4)), {"subscripts": "ii,ji,j->ij"}, "of three"),
    LayerCase(lambda: EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), (_X,)),
    LayerCase(lambda: EinsumDense("...x,xy->...y", 3, "tanh"), (_X,), "with dots"),
    LayerCase(
        lambda: EinsumDense("abcd,cde->abe", (None, 3), bias_axes="e"), (real(2, 3, 2, 2),), "of two axes"
    ),
    LayerCase(lambda: Bilinear(3), (real(4, 2), real(4, 5))),
    LayerCase(lambda: Bilinear(3, "tanh", use_bias=False), (real(2, 3, 2), real(2, 3, 4)), "of sequences"),
    LayerCase(lambda: Embedding(5, 3), (whole(2, 4, below=5),)),
    LayerCase(lambda: PositionEmbedding(6), (_X,)),
    LayerCase(lambda: PositionEmbedding(6, add=True), (_X,), "added"),
    LayerCase(lambda: SinusoidalPositionEncoding(), (_X,)),
    LayerCase(lambda: SinusoidalPositionEncoding(100.0, add=True), (_X,), "added"),
    LayerCase(lambda: RotaryEmbedding(), (real(2, 3, 2, 4),)),
    LayerCase(lambda: RotaryEmbedding(100.0, 2.0, interleaved=True), (_X,), "interleaved"),
    LayerCase(lambda: TokenAndPositionEmbedding(5, 6, 3), (whole(2, 4, below=5),)),
    LayerCase(lambda: Attention(), (_X, _OTHER), listed=True),
    LayerCase(
        lambda: Attention(use_scale=True),
        (_SMALL, real(2, 5, 3), real(2, 5, 6)),
        "scaled",
        bound=_CANCELLING,
        listed=True,
    ),
    LayerCase(
        lambda: Attention(use_scale=True, score_mode="concat", dropout=0.3),
        (_X, _OTHER),
        "of sums, training",
        training=True,
        bound=_CANCELLING,
        listed=True,
    ),
    LayerCase(lambda: AdditiveAttention(), (_X, _OTHER), listed=True),
    LayerCase(lambda: AdditiveAttention(use_scale=False), (_X, _OTHER), "not scaled", listed=True),
    LayerCase(lambda: MultiHeadAttention(2, 3), (_X, _OTHER), vanishing=_SHIFT),
    LayerCase(
        lambda: MultiHeadAttention(2, 3, 4, dropout=0.3, output_shape=5),
        (_X, _OTHER, real(2, 5, 4)),
        "training",
        training=True,
        vanishing=_SHIFT,
    ),
    LayerCase(lambda: MultiHeadAttention(2, 3, use_bias=False, chunk_size=3), (_X, _OTHER), "in chunks"),
    LayerCase(lambda: GroupQueryAttention(3, 4, 2), (_X, _OTHER), vanishing=_SHIFT),
    LayerCase(lambda: TransformerEncoder(5, 2), (_X,), vanishing=("self_attention_layer/key/bias",)),
    LayerCase(
        lambda: TransformerEncoder(5, 2, dropout=0.3, normalize_first=True),
        (_X,),
        "training",
        training=True,
        mask=flag(2, 4),
        vanishing=("self_attention_layer/key/bias",),
    ),
    LayerCase(
        lambda: TransformerDecoder(5, 2, activation="tanh"),
        (_X, _OTHER),
        vanishing=("self_attention/key/bias", "cross_attention/key/bias"),
    ),
    LayerCase(
        lambda: TransformerDecoder(5, 3, activation="tanh", normalize_first=True),
        (_X,),
        "of one sequence",
        vanishing=("self_attention/key/bias",),
    ),
)
