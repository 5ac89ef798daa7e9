"""Attention: every position takes a mean of all others, weighted by how well they match."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.functional.activations import _softmax_gradient
from nnbackend.functional.dropout import dropout
from nnbackend.functional.rules import sum_to, zeros
from nnbackend.typing import Array, Backward, Shape

__all__ = ["additive_attention", "masked_softmax", "scaled_dot_product_attention"]

#: Probabilities are kept for backward where they are at most this many times the inputs and the output, and are
#: computed again where they are more: memory stays linear in the length.
KEPT = 2


def _shares(x: Array) -> Any:
    """Softmax in which a row of minus infinities has no share at all."""
    xp = namespace(x)
    highest = xp.max(x, axis=-1, keepdims=True)
    e = xp.exp(x - xp.where(highest == float("-inf"), 0.0, highest))
    total = xp.sum(e, axis=-1, keepdims=True)
    return e / xp.where(total == 0, 1.0, total)


@rowwise
def _softmax_of_finite(x: Array) -> Any:
    return _shares(x)


@rowwise
def _softmax_of_allowed(x: Array, mask: Array) -> Any:
    return _shares(namespace(x).where(mask, x, float("-inf")))


@differentiable
def masked_softmax(x: Array, mask: Array | None = None) -> tuple[Array, Backward]:
    r"""Probabilities from the logits that a mask allows.

    .. math:: y_i = \frac{m_i\, e^{x_i}}{\sum_j m_j\, e^{x_j}}, \qquad
              \frac{\partial L}{\partial x_i} = y_i \left(\frac{\partial L}{\partial y_i}
              - \sum_j \frac{\partial L}{\partial y_j} y_j\right)

    Parameters
    ----------
    x : array of shape (..., k)
        The logits; floating. Minus infinity is not allowed either, mask or no mask.
    mask : boolean array whose shape broadcasts to that of `x`, optional
        True where a logit is allowed.

    Returns
    -------
    array of the shape of `x`
        Non-negative, with sum 1 along the last axis; all zeros where nothing is allowed.

    Raises
    ------
    TypeError
        If `mask` is not boolean.

    Notes
    -----
    A row in which nothing is allowed has no softmax: 0/0. Libraries that add a large negative number instead give it
    even probabilities, those that add minus infinity NaN; zeros leave what is not there out of every sum.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> mask = xp.asarray([[True, True, False], [False, False, False]])
    >>> nn.functional.masked_softmax(xp.zeros((2, 3)), mask)
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]])
    """
    if x.shape[-1] == 0:
        y = x
    elif mask is None:
        y = _softmax_of_finite(x)
    else:
        _check_boolean("masked_softmax", "mask", mask)
        y = _softmax_of_allowed(x, mask)
    return y, lambda dy, needs: (_softmax_gradient(y, dy), None)


_softmax_of_finite.is_value_of(masked_softmax)
_softmax_of_allowed.is_value_of(masked_softmax)


def _check_boolean(owner: str, name: str, mask: Any) -> None:
    if "bool" not in str(mask.dtype):
        raise TypeError(
            f"{owner} expects {name} to be boolean, True where something is kept, got {mask.dtype}. Compare it first: "
            "mask != 0; numbers that are added to the scores are a bias."
        )


def _check_spread(owner: str, name: str, array: Any, shape: Shape) -> None:
    """Refuse an array that does not broadcast to the shape of the scores."""
    given = (1,) * (len(shape) - array.ndim) + tuple(array.shape)
    if len(given) != len(shape) or any(a not in (1, b) for a, b in zip(given, shape, strict=True)):
        raise ValueError(
            f"{owner} expects {name} of a shape that broadcasts to that of the scores, {shape}, got "
            f"{tuple(array.shape)}."
        )


def _check_chunk(owner: str, chunk_size: int | None) -> None:
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"{owner} expects a chunk_size of at least 1, or None, got {chunk_size}.")


class _Span(NamedTuple):
    """Queries that are worked on together, from `start` to `stop`, and how many of the first keys they may see."""

    start: int
    stop: int
    end: int


def _spans(queries: int, keys: int, causal: bool, chunk_size: int | None) -> list[_Span]:
    """Cut the queries into spans of at most `chunk_size`; there is at least one."""
    step = chunk_size or max(queries, 1)
    stops = [(start, min(start + step, queries)) for start in range(0, max(queries, 1), step)]
    return [_Span(start, stop, min(stop, keys) if causal else keys) for start, stop in stops]


def _wide(array: Any, ndim: int) -> Any:
    """Give an array leading axes of length one."""
    lead = (1,) * (ndim - array.ndim)
    return namespace(array).reshape(array, (*lead, *array.shape)) if lead else array


def _tile(array: Any, span: _Span) -> Any:
    """Cut the span's queries and keys out of what broadcasts to the scores."""
    rows = slice(None) if array.shape[-2] == 1 else slice(span.start, span.stop)
    columns = slice(None) if array.shape[-1] == 1 else slice(span.end)
    return array[(..., rows, columns)]


def _until(span: _Span, like: Any) -> Any:
    """Return which of the span's keys each of its queries may see: those up to itself."""
    array = plain(like)
    backend = backend_of(array)
    xp, device = backend.xp, backend.device(array)
    queries = xp.expand_dims(xp.arange(span.start, span.stop, device=device), axis=1)
    return xp.expand_dims(xp.arange(span.end, device=device), axis=0) <= queries


def _padded(part: Any, length: int, axis: int) -> Any:
    """Put zeros behind what a span did not reach."""
    missing = length - part.shape[axis]
    if not missing:
        return part
    shape = list(part.shape)
    shape[axis] = missing
    return namespace(part).concat([part, zeros(tuple(shape), part)], axis=axis)


def _common(*gradients: Any) -> Any:
    """Return the namespace in which gradients are computed with: that of tensors where one of them is."""
    return namespace(next((g for g in gradients if hasattr(g, "__nnbackend_value__")), gradients[0]))


class _Rows:
    """What comes span by span, side by side along an axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.parts: list[Any] = []

    def add(self, part: Any) -> None:
        self.parts.append(part)

    def whole(self) -> Any:
        """Return all parts as one array, or None if there were none."""
        if len(self.parts) < 2:
            return self.parts[0] if self.parts else None
        return namespace(self.parts[0]).concat(self.parts, axis=self.axis)


class _Sum:
    """The sum of what comes span by span, of which only the sum is kept: each reaches at least as far as the last."""

    def __init__(self, axis: int, length: int) -> None:
        self.axis, self.length = axis, length
        self.total: Any = None

    def add(self, part: Any) -> None:
        if self.total is None:
            self.total = part
        else:
            self.total = _padded(self.total, part.shape[self.axis], self.axis) + part

    def whole(self) -> Any:
        """Return the sum with zeros where no part reached, or None if there were none."""
        return None if self.total is None else _padded(self.total, self.length, self.axis)


class _Bias:
    """The gradient of what was added to the scores, from those of the scores of one span after the other."""

    def __init__(self, bias: Any) -> None:
        self.shape, self.dtype = tuple(bias.shape), bias.dtype
        self.wide = (1,) * (4 - len(self.shape)) + self.shape
        self.parts = _Sum(3, self.wide[3]) if self.wide[2] == 1 else _Rows(2)

    def add(self, slope: Any) -> None:
        lengths = [1 if own == 1 else given for own, given in zip(self.wide, slope.shape, strict=True)]
        part = sum_to(slope, tuple(lengths), self.dtype)
        self.parts.add(_padded(part, self.wide[3], 3))

    def whole(self) -> Any:
        """Return the gradient, of the bias's shape."""
        found = self.parts.whole()
        return namespace(found).reshape(found, self.shape)


class _Chunks:
    """Attention of one span of queries after the other, however the scores are made.

    ``made_of(span)`` gives what the span's scores are made of, ``scores(made, span)`` the scores, (n, heads, c, end).
    The rest, softmax, dropout and the product with the values, (n, s, groups, v), is here, forward and backward.
    """

    def __init__(
        self,
        value: Any,
        heads: int,
        spans: list[_Span],
        made_of: Callable[[_Span], Any],
        scores: Callable[[Any, _Span], Any],
        *,
        mask: Any,
        dropout_mask: Any,
        dropout_rate: float,
        causal: bool,
        remember: bool = False,
    ) -> None:
        self.values = _heads_first(value)
        self.heads, self.groups = heads, value.shape[2]
        self.spans, self.made_of, self.scores = spans, made_of, scores
        self.mask, self.dropout_mask, self.dropout_rate = mask, dropout_mask, dropout_rate
        self.causal = causal
        self.remember = remember
        self.remembered: dict[_Span, Any] = {}

    def shares(self, made: Any, span: _Span) -> Any:
        """Return the span's probabilities."""
        allowed = None if self.mask is None else _tile(self.mask, span)
        if self.causal:
            seen = _until(span, self.values)
            allowed = seen if allowed is None else namespace(allowed).logical_and(allowed, seen)
        return masked_softmax(self.scores(made, span), allowed)

    def dropped(self, shares: Any, span: _Span) -> Any:
        """Drop probabilities, or the gradient by them, where the mask of dropout says so."""
        if self.dropout_mask is None:
            return shares
        return dropout(shares, _tile(self.dropout_mask, span), rate=self.dropout_rate)

    def weights(self, shares: Any, span: _Span) -> Any:
        """Return what the values are multiplied by, a row for each query of the heads that share them."""
        return _folded(self.dropped(shares, span), self.groups)

    def attended(self, return_scores: bool) -> tuple[Any, Any]:
        """Return the means of the values, (n, t, heads, v), and the probabilities if they are asked for."""
        rows, shown = _Rows(1), _Rows(2)
        for span in self.spans:
            shares = self.shares(self.made_of(span), span)
            weights, values = self.weights(shares, span), self.values[:, :, : span.end, :]
            rows.add(_heads_last(_unfolded(_common(weights, values).matmul(weights, values), self.heads)))
            if return_scores:
                shown.add(_padded(shares, self.values.shape[2], 3))
            if self.remember:
                self.remembered[span] = shares
        return rows.whole(), shown.whole()

    def slopes(
        self, dy: Any, dshown: Any, by_value: _Sum | None, wanted: bool
    ) -> Iterator[tuple[_Span, Any, Any]]:
        """Give each span with what its scores are made of and their gradient; sum that of the values on the way."""
        xp = _common(*(g for g in (dy, dshown) if g is not None))
        for span in self.spans:
            made = self.made_of(span)
            shares = self.remembered[span] if span in self.remembered else self.shares(made, span)
            dout = _folded(_heads_first(dy[:, span.start : span.stop, ...]), self.groups)
            if by_value is not None:
                by_value.add(xp.matmul(self.weights(shares, span).mT, dout))
            if wanted:
                product = xp.matmul(dout, self.values[:, :, : span.end, :].mT)
                dshares = self.dropped(_unfolded(product, self.heads), span)
                if dshown is not None:
                    dshares = xp.add(dshares, _tile(dshown, span))
                yield span, made, _softmax_gradient(shares, dshares)


def _check_masks(owner: str, wanted: Shape, **arrays: Any) -> list[Any]:
    """Return the arrays with as many axes as the scores, if they broadcast to them and masks are boolean."""
    for name, array in arrays.items():
        if array is not None:
            _check_spread(owner, name, array, wanted)
            if name != "bias":
                _check_boolean(owner, name, array)
    return [None if array is None else _wide(array, len(wanted)) for array in arrays.values()]


def _heads_first(x: Any) -> Any:
    return namespace(x).permute_dims(x, (0, 2, 1, 3))


_heads_last = _heads_first  # the same swap takes it back


def _folded(x: Any, groups: int) -> Any:
    """Lay the rows of the heads that share a key one after the other: (n, heads, c, _) -> (n, groups, _, _)."""
    n, heads, rows, columns = x.shape
    return namespace(x).reshape(x, (n, groups, heads // groups * rows, columns))


def _unfolded(x: Any, heads: int) -> Any:
    """Undo `_folded`."""
    n, groups, rows, columns = x.shape
    return namespace(x).reshape(x, (n, heads, rows // (heads // groups), columns))


def _attention_multiply_adds(query: Any, key: Any, value: Any, *others: Any, **options: Any) -> int:
    """Return those of the two products of matrices; what a causal mask spares is not taken off."""
    n, t, heads, d = query.shape
    return n * t * heads * key.shape[1] * (d + value.shape[3])


@differentiable(multiply_adds=_attention_multiply_adds)
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    bias: Array | None = None,
    dropout_mask: Array | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    chunk_size: int | None = None,
    return_scores: bool = False,
) -> tuple[Any, Backward]:
    r"""Attention by inner products, for each head on its own.

    .. math:: S = \lambda\, Q K^\top + B, \qquad P = \operatorname{softmax}(S \text{ where allowed}), \qquad O = P V

    .. math:: \frac{\partial L}{\partial V} = P^\top \frac{\partial L}{\partial O}, \qquad
              \frac{\partial L}{\partial P} = \frac{\partial L}{\partial O} V^\top, \qquad
              \frac{\partial L}{\partial S_{ij}} = P_{ij} \Big(\frac{\partial L}{\partial P_{ij}}
              - \sum_l P_{il} \frac{\partial L}{\partial P_{il}}\Big), \qquad
              \frac{\partial L}{\partial Q} = \lambda \frac{\partial L}{\partial S} K, \quad
              \frac{\partial L}{\partial K} = \lambda \frac{\partial L}{\partial S}^\top Q

    Parameters
    ----------
    query : array of shape (n, t, heads, d)
        Q, one row for each position that asks; floating.
    key : array of shape (n, s, groups, d)
        K, one row for each position that answers. `groups` divides `heads`: with fewer of them than heads, the
        queries of ``heads / groups`` heads in a row share one (grouped-query attention; with one group, multi-query).
    value : array of shape (n, s, groups, v)
        V, what each position answers.
    mask : boolean array whose shape broadcasts to (n, heads, t, s), optional
        True where a query may attend to a key.
    bias : array whose shape broadcasts to (n, heads, t, s), optional
        B, added to the scores; minus infinity forbids.
    dropout_mask : boolean array whose shape broadcasts to (n, heads, t, s), optional
        Which probabilities are kept, with `dropout_rate`; the kept ones are scaled up by 1 / (1 - rate).
    causal : bool
        Whether query i sees the keys 0 to i only.
    scale : float, optional
        :math:`\lambda`; :math:`1/\sqrt d` without it.
    dropout_rate : float
        The share of probabilities that `dropout_mask` drops.
    chunk_size : int, optional
        How many queries are worked on at a time. The scores then need memory for `chunk_size` times s numbers for
        each head instead of t times s, and backward computes them again, chunk by chunk. The numbers are the same:
        each row of the softmax is whole.
    return_scores : bool
        Whether the probabilities P, before dropout, are returned as well.

    Returns
    -------
    array of shape (n, t, heads, v), or pair of this and an array of shape (n, heads, t, s)
        O, and P if it was asked for. A query that may attend to nothing gets zeros.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or `heads` is no multiple of `groups`.
    TypeError
        If a mask is not boolean.

    Notes
    -----
    Heads stand after time, as the projections of `nnbackend.layers.MultiHeadAttention` give them and as in Keras and
    JAX: nothing is transposed in memory, since matrix products take the stride between positions. PyTorch's function
    of this name has (n, heads, t, d). As there and in Keras, `causal` counts queries and keys from the first; rows in
    which nothing is allowed give zeros where a large negative number for what is forbidden, as Keras adds it, gives
    the mean of all values.

    Backward keeps the arguments, and the probabilities only where they are not many more numbers than those; else it
    computes them again. With `causal`, a chunk works on the keys up to its last query alone, which saves half the
    products where there are many chunks.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762
    J. Ainslie et al., "GQA: training generalized multi-query transformer models", 2023,
    https://arxiv.org/abs/2305.13245
    M. N. Rabe and C. Staats, "Self-attention does not need O(n^2) memory", 2021, https://arxiv.org/abs/2112.05682

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> value = xp.reshape(xp.asarray([1.0, 2.0, 6.0]), (1, 3, 1, 1))
    >>> equal = xp.zeros((1, 3, 1, 2))
    >>> attended = nn.functional.scaled_dot_product_attention(equal, equal, value, causal=True)
    >>> xp.reshape(attended, (3,))
    array([1. , 1.5, 3. ])
    """
    n, t, heads, d, s, groups, width = _attention_sizes(query, key, value)
    owner = "scaled_dot_product_attention"
    allowed, offset, kept = _check_masks(
        owner, (n, heads, t, s), mask=mask, bias=bias, dropout_mask=dropout_mask
    )
    _check_chunk(owner, chunk_size)
    factor = _attention_scale(scale, d)
    keys = _heads_first(key)
    given = n * t * heads * (d + width) + math.prod(key.shape) + math.prod(value.shape)

    def queries(span: _Span) -> Any:
        return _folded(_heads_first(query[:, span.start : span.stop, ...]), groups) * factor

    def scores(rows: Any, span: _Span) -> Any:
        found = _unfolded(namespace(query).matmul(rows, keys[:, :, : span.end, :].mT), heads)
        return found if offset is None else found + _tile(offset, span)

    chunks = _Chunks(
        value, heads, _spans(t, s, causal, chunk_size), queries, scores,
        mask=allowed, dropout_mask=kept, dropout_rate=dropout_rate, causal=causal,
        remember=chunk_size is None and n * heads * t * s <= KEPT * given,
    )  # fmt: skip
    out, shown = chunks.attended(return_scores)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, dshown = dy if return_scores else (dy, None)
        xp = _common(*(g for g in (dy, dshown) if g is not None))
        by_query, by_key, by_value = _Rows(1), _Sum(2, s), _Sum(2, s)
        by_bias = _Bias(bias) if needs[4] else None
        wanted = needs[0] or needs[1] or needs[4]
        for span, rows, slope in chunks.slopes(dy, dshown, by_value if needs[2] else None, wanted):
            folded = _folded(slope, groups)
            if needs[0]:
                product = xp.matmul(folded, keys[:, :, : span.end, :])
                by_query.add(_heads_last(_unfolded(product, heads)) * factor)
            if needs[1]:
                by_key.add(xp.matmul(folded.mT, rows))
            if by_bias is not None:
                by_bias.add(slope)
        return (
            by_query.whole(),
            _heads_last(by_key.whole()) if needs[1] else None,
            _heads_last(by_value.whole()) if needs[2] else None,
            None,
            None if by_bias is None else by_bias.whole(),
            None,
        )

    return ((out, shown) if return_scores else out), backward


def _attention_scale(scale: float | None, d: int) -> float:
    """Return what scores are multiplied by."""
    return float(d) ** -0.5 if scale is None else float(scale)


def _attention_sizes(query: Any, key: Any, value: Any) -> tuple[int, int, int, int, int, int, int]:
    """Return n, t, heads, d, s, groups and v, if the three belong together."""
    shapes = [tuple(array.shape) for array in (query, key, value)]
    if all(len(shape) == 4 for shape in shapes):
        (n, t, heads, d), (n_key, s, groups, d_key), (n_value, s_value, groups_value, width) = shapes
        if (n, n, s, groups, d) == (n_key, n_value, s_value, groups_value, d_key):
            if groups and heads % groups == 0:
                return n, t, heads, d, s, groups, width
            raise ValueError(
                "scaled_dot_product_attention expects as many heads of the query as of key and value, or a multiple, "
                f"got {heads} and {groups}."
            )
    raise ValueError(
        "scaled_dot_product_attention expects a query of shape (n, t, heads, d), a key of shape (n, s, groups, d) and "
        f"a value of shape (n, s, groups, v), got {shapes[0]}, {shapes[1]} and {shapes[2]}. A single head is an axis "
        "of length one: xp.expand_dims(x, axis=2)."
    )


@elementwise
def _tanh_of_sum(query: Array, key: Array) -> Any:
    return namespace(query).tanh(query + key)


@elementwise
def _tanh_slope(y: Array, dy: Array) -> Any:
    return dy * (1.0 - y * y)


def _additive_multiply_adds(query: Any, key: Any, value: Any, *others: Any, **options: Any) -> int:
    n, t, d = query.shape
    return n * t * key.shape[1] * (d + value.shape[2])


@differentiable(multiply_adds=_additive_multiply_adds)
def additive_attention(
    query: Array,
    key: Array,
    value: Array,
    scale: Array | None = None,
    mask: Array | None = None,
    dropout_mask: Array | None = None,
    *,
    causal: bool = False,
    dropout_rate: float = 0.0,
    chunk_size: int | None = None,
    return_scores: bool = False,
) -> tuple[Any, Backward]:
    r"""Attention by a small network instead of inner products, after Bahdanau.

    .. math:: S_{ij} = \sum_c a_c \tanh(q_{ic} + k_{jc}), \qquad P = \operatorname{softmax}(S \text{ where allowed}),
              \qquad O = P V

    .. math:: \frac{\partial L}{\partial q_{ic}} = \sum_j D_{ijc}, \quad
              \frac{\partial L}{\partial k_{jc}} = \sum_i D_{ijc}, \quad
              \frac{\partial L}{\partial a_c} = \sum_{ij} \frac{\partial L}{\partial S_{ij}} \tanh(q_{ic} + k_{jc}),
              \qquad D_{ijc} = \frac{\partial L}{\partial S_{ij}}\, a_c \big(1 - \tanh^2(q_{ic} + k_{jc})\big)

    with the gradients of S and V those of `scaled_dot_product_attention`.

    Parameters
    ----------
    query : array of shape (n, t, d)
        q, one row for each position that asks; floating.
    key : array of shape (n, s, d)
        k, one row for each position that answers.
    value : array of shape (n, s, v)
        V, what each position answers.
    scale : array of shape (d,), optional
        a; ones without it.
    mask : boolean array whose shape broadcasts to (n, t, s), optional
        True where a query may attend to a key.
    dropout_mask : boolean array whose shape broadcasts to (n, t, s), optional
        Which probabilities are kept, with `dropout_rate`.
    causal : bool
        Whether query i sees the keys 0 to i only.
    dropout_rate : float
        The share of probabilities that `dropout_mask` drops.
    chunk_size : int, optional
        How many queries are worked on at a time: memory for ``chunk_size s d`` numbers instead of ``t s d``.
    return_scores : bool
        Whether the probabilities P, before dropout, are returned as well.

    Returns
    -------
    array of shape (n, t, v), or pair of this and an array of shape (n, t, s)
        O, and P if it was asked for. A query that may attend to nothing gets zeros.

    Raises
    ------
    ValueError
        If shapes do not fit each other.
    TypeError
        If a mask is not boolean.

    Notes
    -----
    Backward keeps the arguments and computes the hyperbolic tangents, which are the larger part, again.

    References
    ----------
    D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate", 2015,
    https://arxiv.org/abs/1409.0473

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> equal, value = xp.zeros((1, 2, 4)), xp.asarray([[[1.0], [3.0]]])
    >>> nn.functional.additive_attention(equal, equal, value)
    array([[[2.],
            [2.]]])
    """
    n, t, d, s = _additive_sizes(query, key, value, scale)
    xp, owner = namespace(query), "additive_attention"
    allowed, kept = (
        None if array is None else namespace(array).expand_dims(array, axis=1)
        for array in _check_masks(owner, (n, t, s), mask=mask, dropout_mask=dropout_mask)
    )
    _check_chunk(owner, chunk_size)

    def tangents(span: _Span) -> Any:
        own = xp.expand_dims(query[:, span.start : span.stop, :], axis=2)
        return _tanh_of_sum(own, xp.expand_dims(key[:, : span.end, :], axis=1))

    def scores(y: Any, span: _Span) -> Any:
        return xp.expand_dims(xp.sum(y, axis=-1) if scale is None else xp.matmul(y, scale), axis=1)

    chunks = _Chunks(
        namespace(value).expand_dims(value, axis=2), 1, _spans(t, s, causal, chunk_size), tangents, scores,
        mask=allowed, dropout_mask=kept, dropout_rate=dropout_rate, causal=causal,
    )  # fmt: skip
    out, shown = chunks.attended(return_scores)
    out = xp.squeeze(out, axis=2)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, dshown = dy if return_scores else (dy, None)
        xp = _common(*(g for g in (dy, dshown) if g is not None))
        dy, dshown = xp.expand_dims(dy, axis=2), None if dshown is None else xp.expand_dims(dshown, axis=1)
        by_query, by_key, by_value, by_scale = _Rows(1), _Sum(1, s), _Sum(2, s), _Sum(0, d)
        wanted = needs[0] or needs[1] or needs[3]
        for _, y, slope in chunks.slopes(dy, dshown, by_value if needs[2] else None, wanted):
            if needs[3]:
                flat = math.prod(slope.shape)
                product = xp.matmul(xp.reshape(slope, (1, flat)), xp.reshape(y, (flat, d)))
                by_scale.add(xp.reshape(product, (d,)))
            spread = xp.expand_dims(xp.squeeze(slope, axis=1), axis=3)
            inner = _tanh_slope(y, spread if scale is None else xp.multiply(spread, scale))
            if needs[0]:
                by_query.add(xp.sum(inner, axis=2))
            if needs[1]:
                by_key.add(xp.sum(inner, axis=1))
        dvalue = xp.squeeze(by_value.whole(), axis=1) if needs[2] else None
        return by_query.whole(), by_key.whole(), dvalue, by_scale.whole(), None, None

    return ((out, xp.squeeze(shown, axis=1)) if return_scores else out), backward


def _additive_sizes(query: Any, key: Any, value: Any, scale: Any) -> tuple[int, int, int, int]:
    """Return n, t, d and s, if the arrays belong together."""
    shapes = [tuple(array.shape) for array in (query, key, value)]
    if all(len(shape) == 3 for shape in shapes):
        (n, t, d), (n_key, s, d_key), (n_value, s_value, _) = shapes
        if (n, n, d, s) == (n_key, n_value, d_key, s_value) and (scale is None or tuple(scale.shape) == (d,)):
            return n, t, d, s
    raise ValueError(
        "additive_attention expects a query of shape (n, t, d), a key of shape (n, s, d), a value of shape "
        f"(n, s, v) and a scale of shape (d,), got {shapes[0]}, {shapes[1]}, {shapes[2]} and "
        f"{None if scale is None else tuple(scale.shape)}."
    )
