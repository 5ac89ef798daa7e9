"""What the losses share: their targets' shapes and dtypes, and columns of one number for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackend.backend import backend_of, namespace, plain
from nnbackend.functional.rules import floating_like

__all__ = ["EPSILON"]

#: The least probability that a loss takes the logarithm of.
EPSILON = 1e-7


def _targets_like(name: str, predictions: Any, targets: Any) -> Any:
    """Check that targets have the shape of predictions, and give them their dtype."""
    if tuple(predictions.shape) != tuple(targets.shape) or predictions.ndim == 0:
        raise ValueError(
            f"{name} expects predictions and targets of one shape (..., k), got {tuple(predictions.shape)} and "
            f"{tuple(targets.shape)}."
        )
    return floating_like(targets, predictions)


def _labels_like(name: str, predictions: Any, labels: Any) -> tuple[Any, Any]:
    """Check labels; return them with a last axis of length one, and the numbers of the classes."""
    if predictions.ndim == 0 or tuple(labels.shape) != tuple(predictions.shape[:-1]):
        raise ValueError(
            f"{name} expects predictions of shape (..., k) and labels of shape (...), got {tuple(predictions.shape)} "
            f"and {tuple(labels.shape)}."
        )
    labels = plain(labels)
    if "float" in str(labels.dtype):
        raise TypeError(
            f"{name} expects integer labels, got {labels.dtype}. Cast them, or pass one-hot targets."
        )
    backend = backend_of(labels)
    xp = backend.xp
    with backend.scope():
        column = xp.expand_dims(xp.astype(labels, xp.int64), axis=-1)
        return column, xp.arange(predictions.shape[-1], dtype=xp.int64, device=backend.device(labels))


def _per_sample(column: Any) -> Any:
    """Drop the last axis, which a rowwise program has reduced to length one."""
    return namespace(column).reshape(column, tuple(column.shape[:-1]))


def _column(dy: Any) -> Any:
    return namespace(dy).expand_dims(dy, axis=-1)


def _vector(values: Sequence[float], like: Any) -> Any:
    """Return numbers as an array beside `like`, in its dtype."""
    array = plain(like)
    backend = backend_of(array)
    with backend.scope():
        return backend.xp.asarray(list(values), dtype=array.dtype, device=backend.device(array))


def _whole_numbers(name: str, labels: Any) -> Any:
    """Return labels as int64, refusing floating ones."""
    labels = plain(labels)
    if "float" in str(labels.dtype):
        raise TypeError(f"{name} expects integer labels, got {labels.dtype}. Cast them.")
    backend = backend_of(labels)
    with backend.scope():
        return backend.xp.astype(labels, backend.xp.int64)


def _count_up(count: int, like: Any) -> Any:
    """Return 0, 1, ..., count - 1 as int64, beside an array."""
    array = plain(like)
    backend = backend_of(array)
    with backend.scope():
        return backend.xp.arange(count, dtype=backend.xp.int64, device=backend.device(array))
