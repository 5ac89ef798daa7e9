"""Arrays as data sets: brought to the backend once, handed out in batches."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nnbackend.autodiff import Operators
from nnbackend.backend import Backend, host, is_array, plain, to_numpy
from nnbackend.placement import is_at_home
from nnbackend.random import Stream

__all__ = [
    "Batch",
    "Dataset",
    "as_dataset",
    "move",
    "order",
    "require_finite",
    "split",
    "to_array",
    "weigh_classes",
]


class Batch(NamedTuple):
    """What one step gets: inputs, targets and weights of the samples (None where not given)."""

    x: Any
    y: Any
    weight: Any


@dataclass(frozen=True)
class Dataset:
    """Inputs, targets and weights on a backend's device, one row for each sample."""

    x: Any
    y: Any
    weight: Any
    backend: Backend

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def batches(self, size: int, rows: Any | None = None) -> Iterator[Batch]:
        """Yield batches of `size` samples, in the order of `rows` (host indices) or as they stand.

        The last batch has what is left: it is neither padded nor dropped.
        """
        rows = host().xp.arange(len(self)) if rows is None else rows
        for start in range(0, len(self), size):
            yield self._take(rows[start : start + size])

    def rows(self, rows: Any) -> Dataset:
        """Return the data set of these rows (host indices)."""
        return Dataset(*self._take(rows), self.backend)

    def _take(self, rows: Any) -> Batch:
        with self.backend.scope():  # left before anything is yielded: it is this thread's, not a generator's
            index = self.backend.from_host(rows, "int64")
            return Batch(
                *(
                    None if array is None else self.backend.xp.take(array, index, axis=0)
                    for array in (self.x, self.y, self.weight)
                )
            )


def order(seed: int, epoch: int, count: int) -> Any:
    """Return the order of the samples in an epoch, the same on every backend, as host indices."""
    return Stream(seed, "shuffle", step=epoch).permutation(count)


def to_array(values: Any, name: str) -> Any:
    """Return `values` as an array of some library: arrays stay, lists and tables become host arrays.

    Raises
    ------
    TypeError
        If they are not numbers.
    """
    if isinstance(values, Operators):
        return plain(values)
    array: Any
    if is_array(values) and not host().owns(values):
        array = values
    elif is_array(values):
        array = _native(values, name)
    else:
        try:
            array = host().from_host(values)
            if str(array.dtype) == "object":  # columns of several dtypes: lists have the common one
                array = host().from_host(array.tolist())
        except ValueError as error:
            raise TypeError(
                f"{name} cannot be made an array: {error}. Its rows must have equal lengths."
            ) from error
    kind = str(array.dtype)
    if kind == "object" and not array.shape:
        raise TypeError(
            f"{name} must be an array, a list of rows or a table, got {type(values).__name__}. Put the "
            "numbers in a list."
        )
    if not any(word in kind for word in ("float", "int", "bool")):
        cure = (
            "Pass real and imaginary parts as two columns."
            if "complex" in kind
            else "Encode text and categories as numbers, and fill missing values, first."
        )
        raise TypeError(f"{name} must hold numbers, got dtype {kind}. {cure}")
    return array


def _native(array: Any, name: str) -> Any:
    """Return a host array as a plain one, not masked, in the machine's order of bytes."""
    if hasattr(array, "filled") and bool(host().xp.any(array.mask)):
        raise TypeError(
            f"{name} is a masked array with masked entries, which would be taken for numbers. Fill them: x.filled(0)."
        )
    plain_class = type(array) is type(host().xp.empty(0))
    return (
        array
        if plain_class and array.dtype.isnative
        else host().from_host(array, array.dtype.newbyteorder("="))
    )


def move(array: Any, backend: Backend, dtype: str | None) -> Any:
    """Bring an array to the backend, as `dtype`; what is there already is not copied."""
    if is_at_home(array, backend):
        if dtype is None or str(array.dtype).rpartition(".")[2] == dtype:
            return array
        with backend.scope():
            return backend.xp.astype(array, getattr(backend.xp, dtype))
    return backend.from_host(to_numpy(array), dtype)


def as_dataset(
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    backend: Backend,
    input_dtype: str | None,
    dtype: str,
    owner: str,
) -> Dataset:
    """Bring inputs, targets and weights to the backend, and refuse what does not belong together.

    Parameters
    ----------
    x, y, sample_weight : array, list or table, or None
        One row for each sample; `y` and `sample_weight` may be None.
    backend : Backend
        Where to.
    input_dtype : str or None
        What inputs are cast to; None leaves integers as they are.
    dtype : str
        What floating targets and weights are cast to; targets of whole numbers or truth values become int64.
    owner : str
        Who asks, for messages.

    Raises
    ------
    ValueError
        If lengths differ, there is no sample, or weights are negative.
    TypeError
        If something does not hold numbers.
    """
    x = to_array(x, f"{owner}: x")
    if len(x.shape) == 0:
        raise ValueError(f"{owner} expects x with one row for each sample, got a single number.")
    count = int(x.shape[0])
    if count == 0:
        raise ValueError(f"{owner} expects at least one sample, got x of shape {tuple(x.shape)}.")
    if y is not None:
        y = to_array(y, f"{owner}: y")
        _check_length(owner, "y", y, count)
    weight = None
    if sample_weight is not None:
        weight = to_array(sample_weight, f"{owner}: sample_weight")
        _check_length(owner, "sample_weight", weight, count)
        if len(weight.shape) != 1:
            raise ValueError(
                f"{owner} expects sample_weight of shape ({count},), one number for each sample, got "
                f"{tuple(weight.shape)}."
            )
        weight = to_numpy(weight)
        _check_weights(owner, weight)
    y_dtype = dtype if y is not None and "float" in str(y.dtype) else "int64"
    return Dataset(
        move(x, backend, input_dtype),
        None if y is None else move(y, backend, y_dtype),
        None if weight is None else backend.from_host(weight, dtype),
        backend,
    )


def _check_length(owner: str, name: str, array: Any, count: int) -> None:
    if not array.shape:
        raise ValueError(
            f"{owner} expects {name} with one row for each row of x, got a single number for {count} rows of x. Put "
            "one for each row in a list."
        )
    length = int(array.shape[0])
    if length != count:
        raise ValueError(
            f"{owner} expects {name} with one row for each row of x, got {length} rows of {name} for {count} of x."
        )


def _check_weights(owner: str, weight: Any) -> None:
    if not bool(host().xp.all(weight >= 0)):
        raise ValueError(f"{owner} expects weights that are zero or more, got negative ones or NaN.")


def weigh_classes(data: Dataset, class_weight: Any, dtype: str, owner: str) -> Dataset:
    """Multiply the samples' weights by those of their classes; classes not named weigh 1.

    Raises
    ------
    TypeError
        If `class_weight` is no mapping of numbers to numbers.
    ValueError
        If there is not one whole-number label for each sample, a weight is negative, or all of the data have no sample
        of a class that is named.
    """
    if not isinstance(class_weight, Mapping) or not all(
        isinstance(number, numbers.Real) for pair in class_weight.items() for number in pair
    ):
        raise TypeError(
            f"{owner} expects class_weight to be a dict of label and weight, such as {{0: 1.0, 1: 5.0}}, got "
            f"{class_weight!r}."
        )
    xp = host().xp
    labels = to_numpy(data.y)
    if labels.ndim > 1:
        labels = xp.argmax(labels, axis=-1) if labels.shape[-1] > 1 else labels[..., 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{owner} takes class_weight with one label for each sample, got y of shape {tuple(data.y.shape)}."
        )
    if not bool(xp.all(xp.floor(labels) == labels)):
        raise ValueError(
            f"{owner} takes class_weight with whole-number labels, got fractions in y. Use sample_weight."
        )
    absent = [label for label in class_weight if not bool(xp.any(labels == label))]
    if absent and owner == "fit":  # a single batch may lack a class
        raise ValueError(
            f"{owner} got class_weight for the class {absent[0]!r}, which no target is of; they are from "
            f"{xp.min(labels):g} to {xp.max(labels):g}. Leave it out, or number the classes as in y."
        )
    weight = xp.ones(labels.shape, dtype=xp.float64) if data.weight is None else to_numpy(data.weight)
    for label, value in class_weight.items():
        weight = xp.where(labels == label, float(value) * weight, weight)
    _check_weights(owner, weight)
    return replace(data, weight=data.backend.from_host(weight, dtype))


def split(data: Dataset, share: float, owner: str) -> tuple[Dataset, Dataset]:
    """Cut the last share of the samples off for validation, before any shuffling; as in Keras, at a whole sample below.

    Raises
    ------
    ValueError
        If `share` is not between 0 and 1, or one part would be empty.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"{owner} expects validation_split between 0 and 1, got {share}.")
    first = math.floor(len(data) * (1.0 - share))
    if first in (0, len(data)):
        raise ValueError(f"{owner}: validation_split={share} of {len(data)} samples leaves one part empty.")
    rows = host().xp.arange(len(data))
    return data.rows(rows[:first]), data.rows(rows[first:])


def require_finite(data: Dataset, owner: str) -> None:
    """Refuse NaN and infinite inputs and targets, naming the first row that has one.

    Raises
    ------
    ValueError
        With the row.
    """
    for name, array in (("x", data.x), ("y", data.y)):
        if array is None or "float" not in str(array.dtype):
            continue
        values = to_numpy(array)
        xp = host().xp
        bad = ~xp.isfinite(values)
        if bool(xp.any(bad)):
            rows = xp.any(xp.reshape(bad, (values.shape[0], -1)), axis=1)
            first = int(xp.argmax(xp.astype(rows, xp.int64)))
            raise ValueError(
                f"{owner}: {name} holds NaN or infinite values, first in row {first}. Remove or fill them."
            )
