"""Attention by cuDNN where the user asks for it: ``nn.set_backend("cupy", attention="cudnn")``.

Query, key and value are read where they lie, and one number for each query is kept instead of its scores. The sums
have another order than those of products of matrices, and so other last bits: which of the two is used is never a
matter of what happens to be installed. What cuDNN does not take is left to the generic rule, with the reason told once;
masks and biases too, as a row in which nothing is allowed gives zeros here and has no softmax there.
"""

from __future__ import annotations

import functools
import logging
import math
from typing import Any

import cupy

import nnbackend.functional.attention as generic
from nnbackend.typing import Backward, Shape
from nnbackend_cupy import cudnn, cudnn_launch
from nnbackend_cupy.cudnn import Attention
from nnbackend_cupy.options import in_force

__all__ = ["scaled_dot_product_attention"]

#: Strides, in elements of 16 bits, must be multiples of this for addresses to be so of `cudnn.ALIGNMENT`.
_STEP = cudnn.ALIGNMENT // 2
_DTYPES = ("float16", "bfloat16")

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
        "a mask": mask is not None,
        "a bias": bias is not None,
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
    given = [_ready(array) for array in (query, key, value)]
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
    )
    plan = cudnn_launch.plan(job)
    if plan is None:
        return rule()
    out = cupy.empty((n, t, heads, width), query.dtype)
    logarithms = cupy.empty((n, heads, t, 1), cupy.float32)
    cudnn_launch.launch(plan, *given, out, logarithms)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not isinstance(dy, cupy.ndarray) or dy.dtype != query.dtype:  # tensors have gradients of their own
            way_back: tuple[Any, ...] = rule()[1](dy, needs)
            return way_back
        slopes = _ready(dy)
        plan = cudnn_launch.plan(job._replace(kind="gradients", steps=(*job.steps, _steps(slopes))))
        if plan is None:
            return tuple(rule()[1](dy, needs))
        gradients = [cupy.empty(array.shape, query.dtype) for array in (query, key, value)]
        cudnn_launch.launch(plan, *given, out, slopes, logarithms, *gradients)
        wanted = (made if need else None for made, need in zip(gradients, needs, strict=False))
        return (*wanted, None, None, None)

    return out, backward


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
    return cupy.copy(array) if array.data.ptr % cudnn.ALIGNMENT else array
