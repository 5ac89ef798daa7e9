"""Attention layers: plain, additive, with several heads, and with heads that share keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackend import constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.layers.base import Layer
from nnbackend.layers.einsum import EinsumDense
from nnbackend.layers.masks import checked_mask, checked_pairs
from nnbackend.typing import Shape

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]


def _share_dropped(owner: str, dropout: float) -> float:
    if not 0.0 <= dropout < 1.0:
        raise ValueError(
            f"{owner} expects dropout from 0 to below 1, the share that is dropped, got {dropout}."
        )
    return float(dropout)


def _shown(shape: Any) -> str:
    return "none" if shape is None else f"({', '.join(['n', *map(str, shape)])})"


def _all_of(parts: Sequence[Any]) -> Any:
    """Return where all masks allow, or None where there are none."""
    allowed = None
    for part in parts:
        if part is not None:
            allowed = part if allowed is None else functional.logical_and(allowed, part)
    return allowed


def _along(mask: Any, axis: int) -> Any:
    """Lay a mask of positions out along an axis of the scores."""
    return None if mask is None else functional.expand_dims(mask, axis=axis)


class _ListedAttention(Layer):
    """What Attention and AdditiveAttention share: they are called on a list, [query, value] or [query, value, key]."""

    dropout: float

    def check_input(self, input_shape: Any) -> None:
        """Refuse what is not a list of two or three sequences that belong together."""
        shapes = list(input_shape) if isinstance(input_shape, list) else []
        if len(shapes) in (2, 3) and all(len(shape) == 2 for shape in shapes):
            (_, d), (s, _), (s_key, d_key) = shapes[0], shapes[1], shapes[-1]
            if s == s_key and d == d_key:
                return
        raise ValueError(
            f"{type(self).__name__} {self.path!r} expects a list [query, value] or [query, value, key] of shapes "
            f"(n, t, d), (n, s, v) and (n, s, d), with v = d without a key, got "
            f"{', '.join(map(_shown, shapes)) if shapes else _shown(input_shape)}."
        )

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return the query's length and the value's features."""
        return (input_shape[0][0], input_shape[1][1])

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the mask of the query."""
        return mask[0] if isinstance(mask, (list, tuple)) else None

    def _attend(
        self, x: Sequence[Any], mask: Any, training: bool, return_attention_scores: bool, causal: bool
    ) -> Any:
        query, value = x[0], x[1]
        key = x[2] if len(x) > 2 else value
        _check_samples(self, query, value, key)
        masks = [*mask, None, None] if isinstance(mask, (list, tuple)) else [None, mask]
        of_query = checked_mask(self, "mask[0]", masks[0], tuple(query.shape[:2]))
        of_value = checked_mask(self, "mask[1]", masks[1], tuple(value.shape[:2]), "n, s")
        allowed = _all_of([_along(of_query, 2), _along(of_value, 1)])
        kept = None
        if training and self.dropout:
            kept = self.random("mask").keep((query.shape[0], query.shape[1], key.shape[1]), self.dropout)
        options = {
            "causal": causal,
            "dropout_rate": self.dropout if kept is not None else 0.0,
            "return_scores": return_attention_scores,
        }
        return self._compute(query, key, value, allowed, kept, options)

    def _compute(self, query: Any, key: Any, value: Any, allowed: Any, kept: Any, options: Any) -> Any:
        raise NotImplementedError  # pragma: no cover - both define it


class Attention(_ListedAttention):
    r"""Let every position of one sequence take a mean of another, weighted by inner products (Luong's attention).

    .. math:: S = a\, Q K^\top \quad \text{or} \quad S_{ij} = w \sum_c \tanh(a (q_{ic} + k_{jc})), \qquad
              O = \operatorname{softmax}(S) V

    The derivatives are those of `nnbackend.functional.scaled_dot_product_attention` and
    `nnbackend.functional.additive_attention`.

    Parameters
    ----------
    use_scale : bool
        Whether the number :math:`a` is learned; it is 1 otherwise.
    score_mode : {"dot", "concat"}
        Inner products, or the sum of hyperbolic tangents with the learned number :math:`w`.
    dropout : float
        The share of the weights that is dropped in training.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    scale : Parameter of shape (), or None
        :math:`a`, first 1.
    concat_score_weight : Parameter of shape (), or None
        :math:`w`, first 1.

    Raises
    ------
    ValueError
        If `score_mode` or `dropout` is none of these, or the inputs do not belong together.

    Notes
    -----
    It is called on a list, ``layer([query, value])`` or ``layer([query, value, key])``, of shapes (n, t, d), (n, s, v)
    and (n, s, d); without a key the value is the key, too. ``mask=[query_mask, value_mask]`` are masks of shapes (n, t)
    and (n, s); where the query's is False the output is zero. ``use_causal_mask=True`` lets position i see 0 to i, and
    ``return_attention_scores=True`` returns the weights (n, t, s) as well. As in Keras scores are not divided by
    :math:`\sqrt d`.

    References
    ----------
    M.-T. Luong, H. Pham and C. D. Manning, "Effective approaches to attention-based neural machine translation", 2015,
    https://arxiv.org/abs/1508.04025

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.Attention()([xp.zeros((1, 1, 2)), xp.asarray([[[1.0, 2.0], [3.0, 4.0]]])])
    array([[[2., 3.]]], dtype=float32)
    """

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"Attention knows the score modes 'dot' and 'concat', got {score_mode!r}.")
        self.use_scale = use_scale
        self.score_mode = score_mode
        self.dropout = _share_dropped("Attention", dropout)

    def build(self, input_shape: list[Shape]) -> None:
        """Make the numbers that are learned, if any."""
        self.scale = self.add_weight("scale", (), "ones") if self.use_scale else None
        concat = self.score_mode == "concat"
        self.concat_score_weight = self.add_weight("concat_score_weight", (), "ones") if concat else None

    def forward(
        self,
        x: Sequence[Any],
        *,
        training: bool = False,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Compute the weighted means."""
        return self._attend(x, mask, training, return_attention_scores, use_causal_mask)

    def _compute(self, query: Any, key: Any, value: Any, allowed: Any, kept: Any, options: Any) -> Any:
        if self.scale is not None:
            query = query * self.scale
        if self.concat_score_weight is not None:
            if self.scale is not None:
                key = key * self.scale
            weight = functional.broadcast_to(self.concat_score_weight, (query.shape[2],))
            return functional.additive_attention(query, key, value, weight, allowed, kept, **options)
        one_head = [functional.expand_dims(array, axis=2) for array in (query, key, value)]
        wide = [None if m is None else functional.expand_dims(m, axis=1) for m in (allowed, kept)]
        result = functional.scaled_dot_product_attention(
            *one_head, wide[0], None, wide[1], scale=1.0, **options
        )
        if not options["return_scores"]:
            return functional.squeeze(result, axis=2)
        return functional.squeeze(result[0], axis=2), functional.squeeze(result[1], axis=1)


class AdditiveAttention(_ListedAttention):
    r"""Let every position of one sequence take a mean of another, weighted by a small network (Bahdanau's attention).

    .. math:: S_{ij} = \sum_c a_c \tanh(q_{ic} + k_{jc}), \qquad O = \operatorname{softmax}(S) V

    The derivatives are those of `nnbackend.functional.additive_attention`.

    Parameters
    ----------
    use_scale : bool
        Whether the vector :math:`a` is learned; it is ones otherwise.
    dropout : float
        The share of the weights that is dropped in training.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    scale : Parameter of shape (d,), or None
        :math:`a`, first drawn from Glorot's uniform.

    Raises
    ------
    ValueError
        If `dropout` is outside of [0, 1), or the inputs do not belong together.

    Notes
    -----
    It is called as `Attention` is: on ``[query, value]`` or ``[query, value, key]``.

    References
    ----------
    D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate", 2015,
    https://arxiv.org/abs/1409.0473

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.AdditiveAttention()([xp.zeros((1, 1, 2)), xp.ones((1, 3, 2))])
    array([[[1., 1.]]], dtype=float32)
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.use_scale = use_scale
        self.dropout = _share_dropped("AdditiveAttention", dropout)

    def build(self, input_shape: list[Shape]) -> None:
        """Make the vector that is learned, if there is one."""
        width = input_shape[0][1]
        self.scale = self.add_weight("scale", (width,), "glorot_uniform") if self.use_scale else None

    def forward(
        self,
        x: Sequence[Any],
        *,
        training: bool = False,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Compute the weighted means."""
        return self._attend(x, mask, training, return_attention_scores, use_causal_mask)

    def _compute(self, query: Any, key: Any, value: Any, allowed: Any, kept: Any, options: Any) -> Any:
        return functional.additive_attention(query, key, value, self.scale, allowed, kept, **options)


def _check_samples(layer: Layer, query: Any, value: Any, key: Any) -> None:
    """Refuse sequences of different numbers of samples."""
    if len({x.shape[0] for x in (query, value, key)}) > 1:
        raise ValueError(
            f"{type(layer).__name__} {layer.path!r} expects as many samples of the query as of value and key, got "
            f"{query.shape[0]}, {value.shape[0]} and {key.shape[0]}. Repeat the one that serves for all: "
            "functional.repeat(x, n, axis=0)."
        )


class _HeadedAttention(Layer):
    """What layers with heads share: four projections around `scaled_dot_product_attention`."""

    passes_mask = True
    dropout: float
    chunk_size: int | None

    def _set_weights_options(
        self,
        use_bias: bool,
        kernel_initializer: str | initializers.Initializer,
        bias_initializer: str | initializers.Initializer,
        kernel_regularizer: str | regularizers.Regularizer | None,
        bias_regularizer: str | regularizers.Regularizer | None,
        kernel_constraint: str | constraints.Constraint | None,
        bias_constraint: str | constraints.Constraint | None,
    ) -> None:
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def _projection(
        self, name: str, equation: str, shape: Sequence[int | None], bias_axes: str
    ) -> EinsumDense:
        return EinsumDense(
            equation,
            shape,
            bias_axes=bias_axes if self.use_bias else None,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            kernel_constraint=self.kernel_constraint,
            bias_constraint=self.bias_constraint,
            name=name,
        )

    def _sizes(self) -> tuple[int, int, int, int]:
        """Return the numbers of query heads and of key heads, and the features of a key and of a value."""
        raise NotImplementedError  # pragma: no cover - both define it

    def _output_size(self, query_shape: Shape) -> Shape:
        return query_shape[-1:]

    def _check_shapes(self, query: Shape, value: Shape | None, key: Shape | None) -> None:
        key = value if key is None else key
        fits = all(shape is not None and len(shape) == 2 for shape in (query, value, key))
        if not fits or value[0] != key[0]:  # type: ignore[index]
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects query, value and key of shapes (n, t, c), (n, s, c) and "
                f"(n, s, c), got {_shown(query)}, {_shown(value)} and {_shown(key)}. Call it on two or three "
                "sequences: layer(query, value)."
            )

    def build(
        self, query_shape: Shape, value_shape: Shape | None = None, key_shape: Shape | None = None
    ) -> None:
        """Make the projections of query, key and value, and that of what comes out."""
        self._check_shapes(query_shape, value_shape, key_shape)
        assert value_shape is not None
        heads, groups, key_dim, value_dim = self._sizes()
        output = self._output_size(query_shape)
        self.query_dense = self._projection("query", "abc,cde->abde", (None, heads, key_dim), "de")
        self.key_dense = self._projection("key", "abc,cde->abde", (None, groups, key_dim), "de")
        self.value_dense = self._projection("value", "abc,cde->abde", (None, groups, value_dim), "de")
        letters = "efgh"[: len(output)]
        self.output_dense = self._projection(
            "attention_output", f"abcd,cd{letters}->ab{letters}", (None, *output), letters
        )
        self.query_dense.build(query_shape)
        self.key_dense.build(value_shape if key_shape is None else key_shape)
        self.value_dense.build(value_shape)
        self.output_dense.build((query_shape[0], heads, value_dim))

    def compute_output_shape(
        self, query_shape: Shape, value_shape: Shape | None = None, key_shape: Shape | None = None
    ) -> Shape:
        """Return the query's length and the features of the output."""
        self._check_shapes(query_shape, value_shape, key_shape)
        return (query_shape[0], *self._output_size(query_shape))

    def forward(
        self,
        query: Any,
        value: Any = None,
        key: Any = None,
        *,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Compute attention, and the weights as well if they are asked for."""
        key = value if key is None else key
        shapes = [None if x is None else tuple(x.shape[1:]) for x in (query, value, key)]
        self._check_shapes(*shapes)  # type: ignore[arg-type]
        _check_samples(self, query, value, key)
        heads, _, _, _ = self._sizes()
        shape = (query.shape[0], heads, query.shape[1], key.shape[1])
        of_query = checked_mask(self, "query_mask", query_mask, tuple(query.shape[:2]))
        of_value = checked_mask(self, "value_mask", value_mask, tuple(value.shape[:2]), "n, s")
        of_key = checked_mask(self, "key_mask", key_mask, tuple(key.shape[:2]), "n, s")
        of_pairs = checked_pairs(self, "attention_mask", attention_mask, shape)
        allowed = _all_of([_along(of_query, 2), _along(of_value, 1), _along(of_key, 1)])
        allowed = _all_of([_along(allowed, 1), of_pairs])
        kept = None
        if training and self.dropout:
            kept = self.random("mask").keep(shape, self.dropout)
        result = functional.scaled_dot_product_attention(
            self.query_dense(query),
            self.key_dense(key),
            self.value_dense(value),
            allowed,
            None,
            kept,
            causal=use_causal_mask,
            dropout_rate=self.dropout if kept is not None else 0.0,
            chunk_size=self.chunk_size,
            return_scores=return_attention_scores,
        )
        if return_attention_scores:
            return self.output_dense(result[0]), result[1]
        return self.output_dense(result)


class MultiHeadAttention(_HeadedAttention):
    r"""Attention of several heads, each on projections of its own, whose answers are put together.

    .. math:: O = \sum_h \operatorname{softmax}\Big(\frac{Q_h K_h^\top}{\sqrt{d}}\Big) V_h W^O_h + b^O, \qquad
              Q_h = q W^Q_h + b^Q_h, \quad K_h = k W^K_h + b^K_h, \quad V_h = v W^V_h + b^V_h

    The derivatives are those of `nnbackend.functional.scaled_dot_product_attention` and
    `nnbackend.functional.einsum`.

    Parameters
    ----------
    num_heads : int
        How many heads.
    key_dim : int
        Features d of each head's queries and keys.
    value_dim : int, optional
        Features of each head's values; `key_dim` without it.
    dropout : float
        The share of the attention weights that is dropped in training.
    use_bias : bool
        Whether the projections have a bias.
    output_shape : int or sequence of int, optional
        The features of the output; those of the query without it.
    attention_axes : int or sequence of int, optional
        The axes attended over. Only that of time, 1, is supported: lay other axes out along it first.
    kernel_initializer, bias_initializer : str or Initializer
        First values of the four kernels and biases.
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    kernel_constraint, bias_constraint : str or Constraint, optional
        Where they must stay.
    chunk_size : int, optional
        How many queries are worked on at a time, to save memory; the numbers are the same. With `dropout`, training
        still draws the mask of all weights, and keeps one byte for each of the n heads t s of them.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    query_dense, key_dense, value_dense : EinsumDense
        The projections ``query``, ``key`` and ``value``: kernels (c, heads, d) and biases (heads, d).
    output_dense : EinsumDense
        The projection ``attention_output``: kernel (heads, value_dim, out) and bias (out,).

    Raises
    ------
    ValueError
        If an argument is out of its range, or the inputs do not belong together.

    Notes
    -----
    It is called as ``layer(query, value, key=None)``, with shapes (n, t, c), (n, s, c) and (n, s, c); without a key the
    value is the key, too, and ``layer(x, x)`` is self-attention. Further arguments of the call are those of Keras:
    ``query_mask`` (n, t), ``value_mask`` and ``key_mask`` (n, s), ``attention_mask`` (n, t, s) or (n, heads, t, s), all
    True where something counts, ``use_causal_mask`` and ``return_attention_scores``, for the weights (n, heads, t, s).
    Numbers in a mask count where they are not zero. An ``attention_mask`` with two axes is refused, since it may be
    meant as (t, s) or as the mask of padding (n, s): say ``attention_mask[None, ...]`` or ``value_mask``.

    The weights have Keras's names, shapes and order. A query that may attend to nothing gets zeros here before the last
    projection, the mean of all values in Keras, NaN in PyTorch. PyTorch's ``in_proj_weight`` is the three kernels,
    transposed, one below the other.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.ones((2, 5, 8))
    >>> layer = nn.MultiHeadAttention(num_heads=2, key_dim=4)
    >>> layer(x, x, use_causal_mask=True).shape
    (2, 5, 8)
    >>> layer.query_dense.kernel.shape
    (8, 2, 4)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        *,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        bias_regularizer: str | regularizers.Regularizer | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        chunk_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_heads = positive_integer("MultiHeadAttention", "num_heads", num_heads)
        self.key_dim = positive_integer("MultiHeadAttention", "key_dim", key_dim)
        self.value_dim = positive_integer("MultiHeadAttention", "value_dim", value_dim or key_dim)
        self.dropout = _share_dropped("MultiHeadAttention", dropout)
        shape = (output_shape,) if isinstance(output_shape, int) else output_shape
        self.wanted_shape = None if shape is None else tuple(shape)
        if attention_axes is not None and attention_axes != 1 and tuple(attention_axes) != (1,):  # type: ignore[arg-type]
            raise ValueError(
                f"MultiHeadAttention attends over the axis of time, attention_axes=1, got {attention_axes}. Reshape "
                "the input to (n, t, c) first."
            )
        if self.wanted_shape is not None and not 1 <= len(self.wanted_shape) <= 4:
            raise ValueError(
                f"MultiHeadAttention expects an output_shape of 1 to 4 numbers, got {output_shape}."
            )
        self.attention_axes = attention_axes
        self.chunk_size = chunk_size
        self._set_weights_options(
            use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            kernel_constraint, bias_constraint,
        )  # fmt: skip

    def _sizes(self) -> tuple[int, int, int, int]:
        return self.num_heads, self.num_heads, self.key_dim, self.value_dim

    def _output_size(self, query_shape: Shape) -> Shape:
        return query_shape[-1:] if self.wanted_shape is None else self.wanted_shape


class GroupQueryAttention(_HeadedAttention):
    r"""Attention of several heads of which some in a row share one projection of keys and of values.

    It is `MultiHeadAttention` with smaller kernels for key and value; with one key-value head it is multi-query
    attention. Keys and values are not copied for the heads that share them.

    Parameters
    ----------
    head_dim : int
        Features d of each head's queries, keys and values.
    num_query_heads : int
        How many heads.
    num_key_value_heads : int
        How many heads of keys and values; divides `num_query_heads`.
    dropout : float
        The share of the attention weights that is dropped in training.
    use_bias : bool
        Whether the projections have a bias.
    kernel_initializer, bias_initializer : str or Initializer
        First values of the four kernels and biases.
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    kernel_constraint, bias_constraint : str or Constraint, optional
        Where they must stay.
    chunk_size : int, optional
        How many queries are worked on at a time, to save memory; the numbers are the same. With `dropout`, training
        still draws the mask of all weights, and keeps one byte for each of the n heads t s of them.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    query_dense, key_dense, value_dense : EinsumDense
        The projections ``query``, ``key`` and ``value``: kernels (c, heads, d) and biases (heads, d).
    output_dense : EinsumDense
        The projection ``attention_output``: kernel (heads, d, c) and bias (c,).

    Raises
    ------
    ValueError
        If `num_key_value_heads` does not divide `num_query_heads`, or the inputs do not belong together.

    Notes
    -----
    It is called as `MultiHeadAttention` is. Query head h uses the keys of head ``h // (query heads / key heads)``, as
    in Keras and in Llama.

    References
    ----------
    J. Ainslie et al., "GQA: training generalized multi-query transformer models", 2023,
    https://arxiv.org/abs/2305.13245

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.ones((2, 5, 8))
    >>> layer = nn.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)
    >>> layer(x, x).shape
    (2, 5, 8)
    >>> layer.key_dense.kernel.shape
    (8, 2, 4)
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        *,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        bias_regularizer: str | regularizers.Regularizer | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        chunk_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.head_dim = positive_integer("GroupQueryAttention", "head_dim", head_dim)
        self.num_query_heads = positive_integer("GroupQueryAttention", "num_query_heads", num_query_heads)
        self.num_key_value_heads = positive_integer(
            "GroupQueryAttention", "num_key_value_heads", num_key_value_heads
        )
        if self.num_query_heads % self.num_key_value_heads:
            raise ValueError(
                "GroupQueryAttention expects num_key_value_heads to divide num_query_heads, got "
                f"{num_key_value_heads} and {num_query_heads}."
            )
        self.dropout = _share_dropped("GroupQueryAttention", dropout)
        self.chunk_size = chunk_size
        self._set_weights_options(
            use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            kernel_constraint, bias_constraint,
        )  # fmt: skip

    def _sizes(self) -> tuple[int, int, int, int]:
        return self.num_query_heads, self.num_key_value_heads, self.head_dim, self.head_dim
