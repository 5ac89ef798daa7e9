"""Attention: every position takes a mean of all others, weighted by how well they match."""

from __future__ import annotations

import math
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.functional._rules import sum_to, zeros
from nnbackend.functional.activations import _softmax_gradient
from nnbackend.functional.dropout import dropout
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


def _spans(length: int, chunk_size: int | None) -> list[tuple[int, int]]:
    """Cut 0 to `length` into spans of at most `chunk_size`; there is at least one."""
    step = chunk_size or max(length, 1)
    return [(start, min(start + step, length)) for start in range(0, max(length, 1), step)]


def _wide(array: Any, ndim: int) -> Any:
    """Give an array leading axes of length one."""
    lead = (1,) * (ndim - array.ndim)
    return namespace(array).reshape(array, (*lead, *array.shape)) if lead else array


def _tile(array: Any, start: int, stop: int, end: int) -> Any:
    """Cut the rows `start` to `stop` and the first `end` columns out of what broadcasts to the scores."""
    rows = slice(None) if array.shape[-2] == 1 else slice(start, stop)
    columns = slice(None) if array.shape[-1] == 1 else slice(end)
    return array[(..., rows, columns)]


def _until(start: int, stop: int, end: int, like: Any) -> Any:
    """Return which of the first `end` keys the queries from `start` to `stop` may see: those up to themselves."""
    array = plain(like)
    backend = backend_of(array)
    xp, device = backend.xp, backend.device(array)
    queries = xp.expand_dims(xp.arange(start, stop, device=device), axis=1)
    return xp.expand_dims(xp.arange(end, device=device), axis=0) <= queries


def _allowed(mask: Any, causal: bool, start: int, stop: int, end: int, like: Any) -> Any:
    """Return the mask of a tile of the scores, or None where all is allowed."""
    tile = None if mask is None else _tile(mask, start, stop, end)
    if not causal:
        return tile
    seen = _until(start, stop, end, like)
    return seen if tile is None else namespace(tile).logical_and(tile, seen)


def _padded(part: Any, length: int, axis: int) -> Any:
    """Put zeros behind what a span did not reach."""
    missing = length - part.shape[axis]
    if not missing:
        return part
    shape = list(part.shape)
    shape[axis] = missing
    return namespace(part).concat([part, zeros(tuple(shape), part)], axis=axis)


def _total(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _common(*gradients: Any) -> Any:
    """Return the namespace in which gradients are computed with: that of tensors where one of them is."""
    return namespace(next((g for g in gradients if hasattr(g, "__nnbackend_value__")), gradients[0]))


def _joined(parts: list[Any], axis: int) -> Any:
    return namespace(parts[0]).concat(parts, axis=axis) if len(parts) > 1 else parts[0]


def _spread_gradient(parts: list[Any], argument: Any, keys: int) -> Any:
    """Return the gradient of what was added to the scores, from those of the spans' scores."""
    shape = (1,) * (parts[0].ndim - argument.ndim) + tuple(argument.shape)
    rows = shape[-2] != 1
    pieces = []
    for part in parts:
        piece = part if shape[-1] == 1 else _padded(part, keys, part.ndim - 1)
        wanted = (*shape[:-2], piece.shape[-2] if rows else 1, shape[-1])
        pieces.append(sum_to(piece, wanted, argument.dtype))
    joined = _joined(pieces, len(shape) - 2) if rows else _total(pieces)
    return namespace(joined).reshape(joined, tuple(argument.shape))


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
    owner, wanted = "scaled_dot_product_attention", (n, heads, t, s)
    spread = {"mask": mask, "bias": bias, "dropout_mask": dropout_mask}
    for name, array in spread.items():
        if array is not None:
            _check_spread(owner, name, array, wanted)
            if name != "bias":
                _check_boolean(owner, name, array)
    _check_chunk(owner, chunk_size)
    factor = float(d) ** -0.5 if scale is None else float(scale)
    mask, offset, kept = (None if array is None else _wide(array, 4) for array in spread.values())
    spans = _spans(t, chunk_size)
    xp = namespace(query)
    values, keys = _heads_first(value), _heads_first(key)

    def folded(x: Any) -> Any:
        """Lay the rows of the heads that share a key one after the other: (n, heads, c, _) -> (n, groups, _, _)."""
        return namespace(x).reshape(x, (n, groups, heads // groups * x.shape[2], x.shape[3]))

    def unfolded(x: Any) -> Any:
        return namespace(x).reshape(x, (n, heads, x.shape[2] // (heads // groups), x.shape[3]))

    def end_of(stop: int) -> int:
        return min(stop, s) if causal else s

    def queries(start: int, stop: int) -> Any:
        return folded(_heads_first(query[:, start:stop, ...])) * factor

    def probabilities(start: int, stop: int) -> Any:
        end = end_of(stop)
        scores = unfolded(xp.matmul(queries(start, stop), keys[:, :, :end, :].mT))
        if offset is not None:
            scores = scores + _tile(offset, start, stop, end)
        return masked_softmax(scores, _allowed(mask, causal, start, stop, end, query))

    def dropped(shares: Any, start: int, stop: int) -> Any:
        if kept is None:
            return shares
        return dropout(shares, _tile(kept, start, stop, end_of(stop)), rate=dropout_rate)

    rows, shown, remembered = [], [], {}
    small = n * heads * t * s <= KEPT * (
        n * t * heads * (d + width) + math.prod(key.shape) + math.prod(value.shape)
    )
    for start, stop in spans:
        shares = probabilities(start, stop)
        weights = folded(dropped(shares, start, stop))
        rows.append(_heads_last(unfolded(xp.matmul(weights, values[:, :, : end_of(stop), :]))))
        if return_scores:
            shown.append(_padded(shares, s, 3))
        if chunk_size is None and small:
            remembered[start] = shares

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, dscores = dy if return_scores else (dy, None)
        xp = _common(dy, dscores)
        by_query, by_key, by_value, by_score = [], [], [], []
        for start, stop in spans:
            end = end_of(stop)
            shares = remembered[start] if start in remembered else probabilities(start, stop)
            dout = folded(_heads_first(dy[:, start:stop, ...]))
            if needs[2]:
                weights = folded(dropped(shares, start, stop))
                by_value.append(_padded(xp.matmul(weights.mT, dout), s, 2))
            if not (needs[0] or needs[1] or needs[4]):
                continue
            dshares = dropped(unfolded(xp.matmul(dout, values[:, :, :end, :].mT)), start, stop)
            if dscores is not None:
                dshares = xp.add(dshares, _tile(dscores, start, stop, end))
            slope = _softmax_gradient(shares, dshares)
            by_score.append(slope)
            if needs[0]:
                product = xp.matmul(folded(slope), keys[:, :, :end, :])
                by_query.append(_heads_last(unfolded(product)) * factor)
            if needs[1]:
                by_key.append(_padded(xp.matmul(folded(slope).mT, queries(start, stop)), s, 2))
            if not needs[4]:
                by_score.clear()
        return (
            _joined(by_query, 1) if needs[0] else None,
            _heads_last(_total(by_key)) if needs[1] else None,
            _heads_last(_total(by_value)) if needs[2] else None,
            None,
            _spread_gradient(by_score, bias, s) if needs[4] else None,
            None,
        )

    out = _joined(rows, 1)
    return ((out, _joined(shown, 2)) if return_scores else out), backward


def _heads_first(x: Any) -> Any:
    return namespace(x).permute_dims(x, (0, 2, 1, 3))


_heads_last = _heads_first  # the same swap takes it back


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
    shapes = [tuple(array.shape) for array in (query, key, value)]
    fits = (
        all(len(shape) == 3 for shape in shapes)
        and shapes[0][0] == shapes[1][0] == shapes[2][0]
        and shapes[0][2] == shapes[1][2]
        and shapes[1][1] == shapes[2][1]
    )
    if not fits or (scale is not None and tuple(scale.shape) != shapes[0][2:]):
        raise ValueError(
            "additive_attention expects a query of shape (n, t, d), a key of shape (n, s, d), a value of shape "
            f"(n, s, v) and a scale of shape (d,), got {shapes[0]}, {shapes[1]}, {shapes[2]} and "
            f"{None if scale is None else tuple(scale.shape)}."
        )
    (n, t, d), s = shapes[0], shapes[1][1]
    for name, array in (("mask", mask), ("dropout_mask", dropout_mask)):
        if array is not None:
            _check_spread("additive_attention", name, array, (n, t, s))
            _check_boolean("additive_attention", name, array)
    _check_chunk("additive_attention", chunk_size)
    allowed, kept = (None if array is None else _wide(array, 3) for array in (mask, dropout_mask))
    spans = _spans(t, chunk_size)
    xp = namespace(query)

    def end_of(stop: int) -> int:
        return min(stop, s) if causal else s

    def tangents(start: int, stop: int) -> Any:
        own = xp.expand_dims(query[:, start:stop, :], axis=2)
        return _tanh_of_sum(own, xp.expand_dims(key[:, : end_of(stop), :], axis=1))

    def probabilities(y: Any, start: int, stop: int) -> Any:
        scores = xp.sum(y, axis=-1) if scale is None else xp.matmul(y, scale)
        return masked_softmax(scores, _allowed(allowed, causal, start, stop, end_of(stop), query))

    def dropped(shares: Any, start: int, stop: int) -> Any:
        if kept is None:
            return shares
        return dropout(shares, _tile(kept, start, stop, end_of(stop)), rate=dropout_rate)

    rows, shown = [], []
    for start, stop in spans:
        shares = probabilities(tangents(start, stop), start, stop)
        rows.append(xp.matmul(dropped(shares, start, stop), value[:, : end_of(stop), :]))
        if return_scores:
            shown.append(_padded(shares, s, 2))

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, dscores = dy if return_scores else (dy, None)
        xp = _common(dy, dscores)
        by_query, by_key, by_value, by_scale = [], [], [], []
        for start, stop in spans:
            end = end_of(stop)
            y = tangents(start, stop)
            shares = probabilities(y, start, stop)
            dout = dy[:, start:stop, :]
            if needs[2]:
                by_value.append(_padded(xp.matmul(dropped(shares, start, stop).mT, dout), s, 1))
            if not (needs[0] or needs[1] or needs[3]):
                continue
            dshares = dropped(xp.matmul(dout, value[:, :end, :].mT), start, stop)
            if dscores is not None:
                dshares = xp.add(dshares, _tile(dscores, start, stop, end))
            slope = _softmax_gradient(shares, dshares)
            if needs[3]:
                flat = xp.reshape(slope, (1, n * (stop - start) * end))
                product = xp.matmul(flat, xp.reshape(y, (n * (stop - start) * end, d)))
                by_scale.append(xp.reshape(product, (d,)))
            spread = xp.expand_dims(slope, axis=3)
            inner = _tanh_slope(y, spread if scale is None else xp.multiply(spread, scale))
            if needs[0]:
                by_query.append(xp.sum(inner, axis=2))
            if needs[1]:
                by_key.append(_padded(xp.sum(inner, axis=1), s, 1))
        return (
            _joined(by_query, 1) if needs[0] else None,
            _total(by_key) if needs[1] else None,
            _total(by_value) if needs[2] else None,
            _total(by_scale) if needs[3] else None,
            None,
            None,
        )

    out = _joined(rows, 1)
    return ((out, _joined(shown, 1)) if return_scores else out), backward
