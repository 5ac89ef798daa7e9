"""Batch normalisation of not too many numbers: its channels become rows, and a kernel each way goes over them.

Over all axes but the last, the generic rule takes a pass for each sum and a kernel for each operation on the statistics
between, which for a small layer is all that it takes. With a row for each channel it is the rule of rows, its formulas
and its accuracy; the gradients of scale and offset, which have one number for each row there, are sums on the way. What
has long channels is left to the generic rule: there a block for each channel would leave most of the device idle, and
passes over memory count instead of launches.
"""

from __future__ import annotations

from typing import Any

import cupy

import nnbackend.functional.normalization as generic
from nnbackend.functional.rules import normalize_axes
from nnbackend.typing import Backward, Shape

__all__ = ["LONGEST", "MOST", "standardize"]

#: Numbers of a channel up to which it becomes a row, which one block goes over several times; and numbers of all
#: channels, which are copied on the way in and out. (Reckoned, not measured.)
LONGEST, MOST = 1 << 14, 1 << 20


def standardize(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    mask: Any = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> tuple[tuple[Any, Any, Any], Backward]:
    """Standardise channels, the last axis, as rows; and whatever else as the generic rule does."""

    def rule() -> tuple[tuple[Any, Any, Any], Backward]:
        result: tuple[tuple[Any, Any, Any], Backward] = generic.standardize.function(
            x, gamma, beta, mask, axis=axis, epsilon=epsilon
        )
        return result

    if mask is not None or not _takes(x, gamma, beta, axis):
        return rule()
    shape, rows, epsilon = x.shape, _rows(x), float(epsilon)
    scale = cupy.ones((1, 1), x.dtype) if gamma is None else gamma.reshape((-1, 1))
    offset = cupy.zeros((1, 1), x.dtype) if beta is None else beta.reshape((-1, 1))
    y, mean, variance = generic._standardized_rows(rows, scale, offset, epsilon=epsilon)
    thin = (*(1,) * (x.ndim - 1), shape[-1])

    def backward(gradients: tuple[Any, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not all(isinstance(each, cupy.ndarray) and each.dtype == x.dtype for each in gradients):
            return tuple(rule()[1](gradients, needs))
        dy, by_mean, by_variance = gradients
        shares = generic._shares(by_mean.reshape((-1, 1)), by_variance.reshape((-1, 1)), rows.shape[1])
        dx, dgamma, dbeta = generic._standardized_rows_gradients(
            rows, scale, _rows(dy), *shares, epsilon=epsilon
        )
        return (
            _channels_last(dx, shape) if needs[0] else None,
            dgamma.reshape(gamma.shape) if needs[1] else None,
            dbeta.reshape(beta.shape) if needs[2] else None,
            None,
        )

    return (_channels_last(y, shape), mean.reshape(thin), variance.reshape(thin)), backward


def _takes(x: Any, gamma: Any, beta: Any, axis: int | tuple[int, ...]) -> bool:
    """Tell whether it is channels that are standardised, few enough numbers, with parameters of one for each."""
    channels = x.shape[-1] if x.ndim else 0
    return (
        x.ndim > 1
        and tuple(sorted(normalize_axes(axis, x.ndim))) == tuple(range(x.ndim - 1))
        and 0 < x.size <= min(MOST, LONGEST * channels)
        and all(
            parameter.dtype == x.dtype
            and 0 < parameter.ndim <= x.ndim
            and parameter.size == parameter.shape[-1] == channels
            for parameter in (gamma, beta)
            if parameter is not None
        )
    )


def _rows(x: Any) -> Any:
    """Lay channels out as rows."""
    return cupy.ascontiguousarray(x.reshape((-1, x.shape[-1])).T)


def _channels_last(rows: Any, shape: Shape) -> Any:
    """Lay rows out as channels."""
    return cupy.ascontiguousarray(rows.T).reshape(shape)
