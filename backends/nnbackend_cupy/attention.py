"""Attention by cuDNN where the user asks for it: ``nn.set_backend("cupy", attention="cudnn")``.

Query, key and value are read where they lie, and one number for each query is kept instead of its scores. The sums
have another order than those of products of matrices, and so other last bits: which of the two is used is never a
matter of what happens to be installed. What cuDNN does not take is left to the generic rule, with the reason told once.

Masks and biases become one array in float32 that cuDNN adds to the scores. What is not allowed gets a number there of
which no softmax is left, but no infinity, which a kernel that goes over the keys piece by piece might subtract from
another. A row in which nothing is allowed has no softmax, and zeros for a result; there it sees all keys, and its
result and the gradient that comes back to it are replaced by zeros. The gradient of a bias is left to the generic rule.
"""

from __future__ import annotations

import functools
import logging
import math
from typing import Any

import cupy
import numpy as np

import nnbackend.functional.attention as generic
from nnbackend.typing import Backward, Shape
from nnbackend_cupy import cudnn, cudnn_launch
from nnbackend_cupy.cudnn import Attention
from nnbackend_cupy.options import in_force

__all__ = ["scaled_dot_product_attention"]

#: Strides, in elements of 16 bits, must be multiples of this for addresses to be so of `cudnn.ALIGNMENT`.
_STEP = cudnn.ALIGNMENT // 2
_DTYPES = ("float16", "bfloat16")
#: What is added to scores that are not allowed: beside it, no score of 16-bit numbers changes a sum in float32.
_NEVER = np.float32(-1e30)

_log = logging.getLogger("nnbackend.cupy")


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    bias: Any = None,
    dropout_mask: Any = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    chunk_size: int | None = None,
    return_scores: bool = False,
) -> tuple[Any, Backward]:
    """Attend without keeping scores, which is what `chunk_size` is for; it then changes nothing."""

    def rule() -> tuple[Any, Backward]:
        return generic.scaled_dot_product_attention.function(
            query, key, value, mask, bias, dropout_mask, causal=causal, scale=scale, dropout_rate=dropout_rate,
            chunk_size=chunk_size, return_scores=return_scores,
        )  # fmt: skip

    options = in_force()
    if options.attention != "cudnn" or not _one_half(query, key, value):
        return rule()
    n, t, heads, d, s, groups, width = generic._attention_sizes(query, key, value)
    factor = generic._attention_scale(scale, d)
    reasons = {
        "a bias of another dtype than the query's": bias is not None and bias.dtype != query.dtype,
        "dropout of probabilities": dropout_mask is not None,
        "scores that are returned": return_scores,
        "a scale that is not a positive number": not 0.0 < factor < math.inf,
        f"heads of {d} and {width} numbers, which should be multiples of {_STEP},": d % _STEP
        or width % _STEP,
    }
    reason = next((words for words, holds in reasons.items() if holds), None)
    if reason is not None:
        _tell(reason)
        return rule()
    if (chunk_size is not None and chunk_size < 1) or not (query.size and key.size and value.size):
        return rule()
    added, seen = _added(mask, bias, (n, heads, t, s), causal)
    given = [_ready(array) for array in (query, key, value)]
    more = [] if added is None else [added]
    job = Attention(
        "value",
        n,
        heads,
        groups,
        t,
        s,
        d,
        width,
        tuple(map(_steps, given)),
        bool(causal),
        factor,
        query.dtype.name,
        options.deterministic,
        None if added is None else added.shape,
    )
    plan = cudnn_launch.plan(job)
    if plan is None:
        return rule()
    out = cupy.empty((n, t, heads, width), query.dtype)
    logarithms = cupy.empty((n, heads, t, 1), cupy.float32)
    cudnn_launch.launch(plan, *given, *more, out, logarithms)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        # tensors have gradients of their own
        if not isinstance(dy, cupy.ndarray) or dy.dtype != query.dtype or needs[4]:
            way_back: tuple[Any, ...] = rule()[1](dy, needs)
            return way_back
        slopes = _ready(_zeros_where_unseen(dy, seen))
        plan = cudnn_launch.plan(job._replace(kind="gradients", steps=(*job.steps, _steps(slopes))))
        if plan is None:
            return tuple(rule()[1](dy, needs))
        gradients = [cupy.empty(array.shape, query.dtype) for array in (query, key, value)]
        cudnn_launch.launch(plan, *given, out, slopes, logarithms, *more, *gradients)
        wanted = (made if need else None for made, need in zip(gradients, needs, strict=False))
        return (*wanted, None, None, None)

    return _zeros_where_unseen(out, seen), backward


def _added(mask: Any, bias: Any, shape: Shape, causal: bool) -> tuple[Any, Any]:
    """Return what is added to the scores, and which of their rows allow anything; nothing where all is allowed.

    Both have axes of the length of the scores or of one, but the keys, which cuDNN wants all.
    """
    mask, bias = generic._check_masks("scaled_dot_product_attention", shape, mask=mask, bias=bias)
    if mask is None and bias is None:
        return None, None
    none, zero = np.float32(-math.inf), np.float32(0)
    numbers = zero if bias is None else _float32(bias)
    allowed = mask if bias is None else cupy.not_equal(numbers, none)
    if mask is not None and bias is not None:
        allowed = cupy.logical_and(mask, allowed)
    reached = allowed
    if causal:
        t, s = shape[2:]
        until = cupy.less_equal(cupy.arange(s), cupy.expand_dims(cupy.arange(t), 1))
        reached = cupy.logical_and(allowed, until)
    # a row of one number more or less has the same softmax; numbers far from zero would swallow the scores
    highest = cupy.max(cupy.where(reached, numbers, none), axis=-1, keepdims=True)
    seen = cupy.not_equal(highest, none)
    lowered = cupy.subtract(numbers, cupy.where(seen, highest, zero))
    added = cupy.where(allowed, cupy.maximum(lowered, _NEVER), cupy.where(seen, _NEVER, zero))
    if added.shape[3] != shape[3]:
        added = cupy.broadcast_to(added, (*added.shape[:3], shape[3]))
    return _aligned(cupy.ascontiguousarray(_float32(added))), seen


def _float32(array: Any) -> Any:
    return array.astype(cupy.float32, copy=False)


def _zeros_where_unseen(x: Any, seen: Any) -> Any:
    """Replace the rows, of (n, t, heads, numbers), of queries that see nothing by zeros, whatever is in them."""
    if seen is None:
        return x
    bits = cupy.where(seen.transpose((0, 2, 1, 3)), x.view(cupy.uint16), np.uint16(0))
    return bits.view(x.dtype)


@functools.cache
def _tell(reason: str) -> None:
    """Say once why the option has no effect."""
    _log.info("cuDNN does not attend with %s; it runs as products of matrices.", reason.rstrip(","))


def _one_half(*arrays: Any) -> bool:
    """Tell whether arrays have one dtype, of 16 bits."""
    return arrays[0].dtype.name in _DTYPES and all(array.dtype == arrays[0].dtype for array in arrays)


def _steps(array: Any) -> Shape:
    """Return strides in elements, of axes (samples, heads, positions, numbers); an only element is followed by none."""
    usual = array.shape[1] * array.shape[2] * array.shape[3]
    n, t, h, d = (
        step // array.itemsize if count > 1 else usual
        for step, count in zip(array.strides, array.shape, strict=True)
    )
    return n, h, t, 1 if array.shape[3] == 1 else d


def _ready(array: Any) -> Any:
    """Return an array as it lies if cuDNN takes it, else a copy in one piece."""
    *outer, last = _steps(array)
    if last != 1 or any(step <= 0 or step % _STEP for step in outer):
        array = cupy.ascontiguousarray(array)
    return _aligned(array)


def _aligned(array: Any) -> Any:
    """Return an array, or a copy of it, at an address that cuDNN takes."""
    return cupy.copy(array) if array.data.ptr % cudnn.ALIGNMENT else array
