"""Blocks of a transformer: attention and a small network at every position, each added to what came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend import activations, initializers
from nnbackend.arguments import positive_integer
from nnbackend.layers.attention import MultiHeadAttention, _share_dropped, _shown
from nnbackend.layers.base import Layer
from nnbackend.layers.core import Dense
from nnbackend.layers.masks import checked_mask, checked_pairs
from nnbackend.layers.noise import Dropout
from nnbackend.layers.normalization import LayerNormalization
from nnbackend.typing import Shape

__all__ = ["TransformerDecoder", "TransformerEncoder"]


class _Block(Layer):
    """What encoder and decoder share: attention and the network at every position, with what is around them."""

    expects = "t c"
    fixed = ("c",)
    passes_mask = True
    feedforward_layer_norm: LayerNormalization

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        activation: str | Callable[..., Any] | None = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        normalize_first: bool = False,
        *,
        chunk_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.intermediate_dim = positive_integer(owner, "intermediate_dim", intermediate_dim)
        self.num_heads = positive_integer(owner, "num_heads", num_heads)
        self.dropout = _share_dropped(owner, dropout)
        self.activation = activations.get(activation)
        self.layer_norm_epsilon = float(layer_norm_epsilon)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.normalize_first = normalize_first
        self.chunk_size = chunk_size

    def check_input(self, input_shape: Shape) -> None:
        """Refuse a number of features that the heads cannot share, too."""
        super().check_input(input_shape)
        if input_shape[-1] % self.num_heads:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} shares the features of its input among {self.num_heads} heads, "
                f"got an input of shape {_shown(input_shape)}. Choose num_heads so that it divides {input_shape[-1]}."
            )

    def _attention(self, width: int, name: str) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.num_heads,
            width // self.num_heads,
            dropout=self.dropout,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            chunk_size=self.chunk_size,
            name=name,
        )

    def _norm(self, name: str, shape: Shape) -> None:
        layer = LayerNormalization(epsilon=self.layer_norm_epsilon, name=name)
        setattr(self, name, layer)
        layer.build(shape)

    def _dense(self, units: int, activation: Any, name: str) -> Dense:
        return Dense(
            units,
            activation,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            name=name,
        )

    def _build_attention(self, kind: str, name: str, shape: Shape, other: Shape) -> None:
        """Make attention of that name, its normalisation and its dropout, as attributes."""
        layer = self._attention(shape[-1], name)
        setattr(self, name, layer)
        layer.build(shape, other)
        self._norm(f"{kind}_layer_norm", shape)
        setattr(self, f"{kind}_dropout", Dropout(self.dropout, name=f"{kind}_dropout"))

    def _build_feedforward(self, shape: Shape) -> None:
        self._norm("feedforward_layer_norm", shape)
        self.feedforward_intermediate_dense = self._dense(
            self.intermediate_dim, self.activation, "feedforward_intermediate_dense"
        )
        self.feedforward_intermediate_dense.build(shape)
        self.feedforward_output_dense = self._dense(shape[-1], None, "feedforward_output_dense")
        self.feedforward_output_dense.build((*shape[:-1], self.intermediate_dim))
        self.feedforward_dropout = Dropout(self.dropout, name="feedforward_dropout")

    def _around(self, x: Any, norm: Layer, dropout: Layer, inner: Callable[[Any], Any]) -> Any:
        """Add what comes out to what came in, with the normalisation before or behind."""
        y = x + dropout(inner(norm(x) if self.normalize_first else x))
        return y if self.normalize_first else norm(y)

    def _feedforward(self, x: Any) -> Any:
        return self._around(
            x,
            self.feedforward_layer_norm,
            self.feedforward_dropout,
            lambda z: self.feedforward_output_dense(self.feedforward_intermediate_dense(z)),
        )


class TransformerEncoder(_Block):  # numpydoc ignore=PR02
    r"""A block in which every position attends to all others, and then computes by itself.

    .. math:: z = \operatorname{norm}(x + \operatorname{attention}(x, x)), \qquad
              y = \operatorname{norm}(z + W_2 f(W_1 z + b_1) + b_2)

    or, with `normalize_first`,

    .. math:: z = x + \operatorname{attention}(\operatorname{norm}(x), \operatorname{norm}(x)), \qquad
              y = z + W_2 f(W_1 \operatorname{norm}(z) + b_1) + b_2

    Parameters
    ----------
    intermediate_dim : int
        Features between the two dense layers.
    num_heads : int
        Heads of attention; divides the features of the input, which they share.
    dropout : float
        The share dropped in training: of the attention weights, and of what attention and network give.
    activation : str or callable
        :math:`f`.
    layer_norm_epsilon : float
        Epsilon of both normalisations.
    kernel_initializer, bias_initializer : str or Initializer
        First values of all kernels and biases.
    normalize_first : bool
        Whether what goes in is normalised, instead of the sum that comes out: deep stacks then train without warming
        up, and need a normalisation after the last block.
    chunk_size : int, optional
        How many queries attention works on at a time, to save memory; the numbers are the same. With `dropout`,
        training still draws the mask of all weights, and keeps one byte for each of the n heads t s of them.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    self_attention_layer : MultiHeadAttention
        Attention; after it ``self_attention_layer_norm`` and ``self_attention_dropout``.
    feedforward_intermediate_dense, feedforward_output_dense : Dense
        The network; beside it ``feedforward_layer_norm`` and ``feedforward_dropout``.

    Raises
    ------
    ValueError
        If `num_heads` does not divide the features, an argument is out of its range, or a mask does not fit.

    Notes
    -----
    Inputs and outputs have the shape (n, t, c). The call takes ``padding_mask`` (n, t), True where a position counts,
    which is else the mask that comes with the input, ``attention_mask`` (n, t, t), and ``return_attention_scores``.
    Names and defaults are those of KerasHub. PyTorch drops between the two dense layers as well; its epsilon is the
    same, 1e-5.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762
    R. Xiong et al., "On layer normalization in the transformer architecture", 2020, https://arxiv.org/abs/2002.04745

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.ones((2, 5, 8))
    >>> nn.TransformerEncoder(intermediate_dim=16, num_heads=2)(x).shape
    (2, 5, 8)
    """

    self_attention_layer: MultiHeadAttention
    self_attention_layer_norm: LayerNormalization
    self_attention_dropout: Dropout

    def build(self, input_shape: Shape) -> None:
        """Make the layers inside for inputs of shape (t, c)."""
        self._build_attention("self_attention", "self_attention_layer", input_shape, input_shape)
        self._build_feedforward(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(
        self,
        x: Any,
        *,
        padding_mask: Any = None,
        attention_mask: Any = None,
        mask: Any = None,
        return_attention_scores: bool = False,
    ) -> Any:
        """Attend and compute; what is padding is not attended to."""
        n, t = x.shape[:2]
        given = ("mask", mask) if padding_mask is None else ("padding_mask", padding_mask)
        positions = checked_mask(self, *given, (n, t))
        pairs = checked_pairs(self, "attention_mask", attention_mask, (n, self.num_heads, t, t), "t, t")
        scores = None

        def attend(z: Any) -> Any:
            nonlocal scores
            found = self.self_attention_layer(
                z,
                z,
                value_mask=positions,
                attention_mask=pairs,
                return_attention_scores=return_attention_scores,
            )
            if return_attention_scores:
                found, scores = found
            return found

        z = self._around(x, self.self_attention_layer_norm, self.self_attention_dropout, attend)
        y = self._feedforward(z)
        return (y, scores) if return_attention_scores else y


class TransformerDecoder(_Block):  # numpydoc ignore=PR02
    r"""A block in which every position attends to those before it, then to another sequence, and computes by itself.

    .. math:: u = \operatorname{norm}(x + \operatorname{attention}_{\text{causal}}(x, x)), \quad
              z = \operatorname{norm}(u + \operatorname{attention}(u, e)), \quad
              y = \operatorname{norm}(z + W_2 f(W_1 z + b_1) + b_2)

    With `normalize_first` what goes in is normalised instead, as in `TransformerEncoder`. Called on one sequence alone,
    it has no second attention: the block of a language model.

    Parameters
    ----------
    intermediate_dim : int
        Features between the two dense layers.
    num_heads : int
        Heads of attention; divides the features of the input, which they share.
    dropout : float
        The share dropped in training: of the attention weights, and of what attention and network give.
    activation : str or callable
        :math:`f`.
    layer_norm_epsilon : float
        Epsilon of the normalisations.
    kernel_initializer, bias_initializer : str or Initializer
        First values of all kernels and biases.
    normalize_first : bool
        Whether what goes in is normalised, instead of the sum that comes out.
    chunk_size : int, optional
        How many queries attention works on at a time, to save memory; the numbers are the same. With `dropout`,
        training still draws the mask of all weights, and keeps one byte for each of the n heads t s of them.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    self_attention, cross_attention : MultiHeadAttention
        Attention to the sequence itself and to the other one, if it is called on one; each with a ``..._layer_norm``
        and a ``..._dropout``.
    feedforward_intermediate_dense, feedforward_output_dense : Dense
        The network; beside it ``feedforward_layer_norm`` and ``feedforward_dropout``.

    Raises
    ------
    ValueError
        If `num_heads` does not divide the features, an argument is out of its range, a mask does not fit, or the second
        sequence is there in one call and not in another.

    Notes
    -----
    It is called as ``layer(decoder_sequence, encoder_sequence=None)``, on shapes (n, t, c) and (n, s, e), and gives
    (n, t, c). Further arguments of the call: ``decoder_padding_mask`` (n, t) and ``encoder_padding_mask`` (n, s), which
    are else the masks that come with the sequences, ``decoder_attention_mask`` (n, t, t) and ``encoder_attention_mask``
    (n, t, s), and ``use_causal_mask=True``. Names and defaults are those of KerasHub.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.TransformerDecoder(intermediate_dim=16, num_heads=2)(xp.ones((2, 5, 8)), xp.ones((2, 7, 8))).shape
    (2, 5, 8)
    """

    self_attention: MultiHeadAttention
    self_attention_layer_norm: LayerNormalization
    self_attention_dropout: Dropout
    cross_attention: MultiHeadAttention | None
    cross_attention_layer_norm: LayerNormalization
    cross_attention_dropout: Dropout

    def build(self, decoder_shape: Shape, encoder_shape: Shape | None = None) -> None:
        """Make the layers inside for sequences of shapes (t, c) and (s, e), or for the first alone."""
        self._build_attention("self_attention", "self_attention", decoder_shape, decoder_shape)
        self.cross_attention = None
        if encoder_shape is not None:
            self._build_attention("cross_attention", "cross_attention", decoder_shape, encoder_shape)
        self._build_feedforward(decoder_shape)

    def compute_output_shape(self, decoder_shape: Shape, encoder_shape: Shape | None = None) -> Shape:
        """Return the first sequence's shape."""
        return decoder_shape

    def forward(
        self,
        decoder_sequence: Any,
        encoder_sequence: Any = None,
        *,
        decoder_padding_mask: Any = None,
        decoder_attention_mask: Any = None,
        encoder_padding_mask: Any = None,
        encoder_attention_mask: Any = None,
        mask: Any = None,
        encoder_sequence_mask: Any = None,
        use_causal_mask: bool = True,
    ) -> Any:
        """Attend to the sequence itself and to the other one, and compute; padding is not attended to."""
        if (encoder_sequence is None) != (self.cross_attention is None):
            was, came = ("one sequence", "two") if self.cross_attention is None else ("two sequences", "one")
            raise ValueError(
                f"TransformerDecoder {self.path!r} was built for {was}, got {came}. Call it alike every time, with the "
                "encoder's sequence as second argument: layer(x, encoded)."
            )
        n, t = decoder_sequence.shape[:2]
        given = ("mask", mask)
        if decoder_padding_mask is not None:
            given = ("decoder_padding_mask", decoder_padding_mask)
        own_mask = checked_mask(self, *given, (n, t))
        own_pairs = checked_pairs(
            self, "decoder_attention_mask", decoder_attention_mask, (n, self.num_heads, t, t), "t, t"
        )
        x = self._around(
            decoder_sequence,
            self.self_attention_layer_norm,
            self.self_attention_dropout,
            lambda z: self.self_attention(
                z,
                z,
                value_mask=own_mask,
                attention_mask=own_pairs,
                use_causal_mask=use_causal_mask,
            ),
        )
        attention = self.cross_attention
        if attention is not None:
            n_other, s = encoder_sequence.shape[:2]
            given = ("encoder_sequence_mask", encoder_sequence_mask)
            if encoder_padding_mask is not None:
                given = ("encoder_padding_mask", encoder_padding_mask)
            other_mask = checked_mask(self, *given, (n_other, s), "n, s")
            other_pairs = checked_pairs(
                self, "encoder_attention_mask", encoder_attention_mask, (n, self.num_heads, t, s)
            )
            x = self._around(
                x,
                self.cross_attention_layer_norm,
                self.cross_attention_dropout,
                lambda z: attention(z, encoder_sequence, value_mask=other_mask, attention_mask=other_pairs),
            )
        return self._feedforward(x)
