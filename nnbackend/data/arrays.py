"""Arrays as data sets: brought to the backend once, handed out in batches."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nnbackend import tree
from nnbackend.autodiff import Operators
from nnbackend.backend import Backend, host, is_array, plain, to_numpy
from nnbackend.data.sampling import class_labels
from nnbackend.placement import is_at_home

__all__ = [
    "Batch",
    "Dataset",
    "as_dataset",
    "move",
    "named_parts",
    "require_equal_lengths",
    "require_finite",
    "require_numbers",
    "require_weight",
    "split",
    "split_at",
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
    """Inputs, targets and weights on a backend's device, one row for each sample; each may be a tree of arrays."""

    x: Any
    y: Any
    weight: Any
    backend: Backend

    def __len__(self) -> int:
        return int(tree.leaves(self.x)[0].shape[0])

    def batches(self, size: int, rows: Any | None = None, first: int = 0) -> Iterator[Batch]:
        """Yield batches of `size` samples, in the order of `rows` (host indices) or as they stand.

        They begin with number `first`. The last batch has what is left: it is neither padded nor dropped.
        """
        rows = host().xp.arange(len(self)) if rows is None else rows
        for start in range(first * size, len(self), size):
            yield self.take(rows[start : start + size])

    def rows(self, rows: Any) -> Dataset:
        """Return the data set of these rows (host indices)."""
        return Dataset(*self.take(rows), self.backend)

    def on(self, backend: Backend) -> Batch:
        """Return all of it as one batch on a backend."""
        parts = (self.x, self.y, self.weight)
        return Batch(*tree.map(lambda array: move(array, backend, None), parts))

    def take(self, rows: Any) -> Batch:
        """Return these rows (host indices) as a batch."""
        with self.backend.scope():  # left before anything is yielded: it is this thread's, not a generator's
            index = self.backend.from_host(rows, "int64")
            xp = self.backend.xp
            parts = (self.x, self.y, self.weight)
            return Batch(*tree.map(lambda array: xp.take(array, index, axis=0), parts))


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
        if isinstance(values, (list, tuple)) and any(
            is_array(row) and not host().owns(row) for row in values
        ):
            values = [to_numpy(row) if is_array(row) else row for row in values]
        try:
            array = host().from_host(values)
            if str(array.dtype) == "object":  # columns of several dtypes: lists have the common one
                array = host().from_host(array.tolist())
        except ValueError as error:
            raise TypeError(
                f"{name} cannot be made an array: {str(error).rstrip('.')}. Its rows must have equal lengths."
            ) from error
    if str(array.dtype) == "object" and not array.shape:
        raise TypeError(
            f"{name} must be an array, a list of rows or a table, got {type(values).__name__}. Put the "
            "numbers in a list."
        )
    require_numbers(array, name)
    return array


def require_numbers(array: Any, name: str) -> None:
    """Refuse an array of text, objects or complex numbers.

    Raises
    ------
    TypeError
        With the cure.
    """
    kind = str(array.dtype)
    if not any(word in kind for word in ("float", "int", "bool")):
        cure = (
            "Pass real and imaginary parts as two columns."
            if "complex" in kind
            else "Encode text and categories as numbers, and fill missing values, first."
        )
        raise TypeError(f"{name} must hold numbers, got dtype {kind}. {cure}")


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


def named_parts(values: Any, name: str) -> list[tuple[str, Any]]:
    """Return the arrays of a tree with names for messages: ``y``, ``y[0]``, ``y['mask']``."""
    if isinstance(values, Mapping):
        return [pair for key in sorted(values) for pair in named_parts(values[key], f"{name}[{key!r}]")]
    if isinstance(values, (list, tuple)):
        return [pair for i, value in enumerate(values) for pair in named_parts(value, f"{name}[{i}]")]
    return [(name, values)]


def as_dataset(
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    backend: Backend,
    input_dtype: Any,
    dtype: str,
    owner: str,
    several_inputs: bool = False,
    several_outputs: bool = False,
) -> Dataset:
    """Bring inputs, targets and weights to the backend, and refuse what does not belong together.

    Parameters
    ----------
    x, y, sample_weight : array, list or table, or None
        One row for each sample; `y` and `sample_weight` may be None.
    backend : Backend
        Where to.
    input_dtype : str or None, or a tree of them like `x`
        What inputs are cast to; None leaves integers as they are.
    dtype : str
        What floating targets and weights are cast to; targets of whole numbers or truth values become int64.
    owner : str
        Who asks, for messages.
    several_inputs, several_outputs : bool
        Whether `x` is a list or dict of inputs; whether `y` is one of targets, and `sample_weight` may be one.

    Raises
    ------
    ValueError
        If lengths differ, there is no sample, or weights are negative.
    TypeError
        If something does not hold numbers.
    """
    x = _to_arrays(x, f"{owner}: x", several_inputs)
    parts = named_parts(x, "x")
    if y is not None:
        y = _to_arrays(y, f"{owner}: y", several_outputs)
        parts += named_parts(y, "y")
    weight = None
    if sample_weight is not None:
        several = several_outputs and isinstance(sample_weight, (list, tuple, dict))
        given = _to_arrays(sample_weight, f"{owner}: sample_weight", several)
        parts += named_parts(given, "sample_weight")
        weight = tree.map(to_numpy, given)
        for part in tree.leaves(weight):
            _check_weights(owner, part)
    require_equal_lengths(owner, parts)
    casts = input_dtype if isinstance(input_dtype, (list, dict)) else tree.map(lambda _: input_dtype, x)
    return Dataset(
        _move_each(x, backend, casts),
        tree.map(lambda part: move(part, backend, dtype if "float" in str(part.dtype) else "int64"), y),
        tree.map(lambda part: backend.from_host(part, dtype), weight),
        backend,
    )


def _to_arrays(values: Any, name: str, several: bool) -> Any:
    """Return a tree of arrays where there are to be several, else one array."""
    if not several:
        return to_array(values, name)
    if isinstance(values, Mapping):
        return {key: _to_arrays(value, f"{name}[{key!r}]", False) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_to_arrays(value, f"{name}[{i}]", False) for i, value in enumerate(values)]
    raise TypeError(f"{name} must be a list or dict of several arrays, got {type(values).__name__}.")


def _move_each(x: Any, backend: Backend, dtypes: Any) -> Any:
    if isinstance(x, dict):
        return {key: move(value, backend, dtypes[key]) for key, value in x.items()}
    if isinstance(x, list):
        return [move(value, backend, kind) for value, kind in zip(x, dtypes, strict=True)]
    return move(x, backend, dtypes)


def require_equal_lengths(owner: str, parts: list[tuple[str, Any]]) -> int:
    """Return how many rows the named arrays have, which is to be the same for all, and above zero.

    Raises
    ------
    ValueError
        If there is none, or one array has more or fewer rows than the first.
    """
    first, array = parts[0]
    if not array.shape:
        raise ValueError(f"{owner} expects {first} with one row for each sample, got a single number.")
    count = int(array.shape[0])
    if count == 0:
        raise ValueError(f"{owner} expects at least one sample, got {first} of shape {tuple(array.shape)}.")
    for name, array in parts[1:]:
        if not array.shape:
            raise ValueError(
                f"{owner} expects {name} with one row for each row of {first}, got a single number for {count} rows "
                f"of {first}. Put one for each row in a list."
            )
        if int(array.shape[0]) != count:
            cure = (
                " A list of arrays is several inputs; rows of one are numpy.stack(rows)."
                if "[0]" in first
                else ""
            )
            raise ValueError(
                f"{owner} expects {name} with one row for each row of {first}, got {int(array.shape[0])} rows of "
                f"{name} for {count} of {first}.{cure}"
            )
    return count


def _check_weights(owner: str, weight: Any) -> None:
    if not bool(host().xp.all(weight >= 0)):
        raise ValueError(f"{owner} expects weights that are zero or more, got negative ones or NaN.")


def require_weight(data: Dataset, owner: str) -> None:
    """Refuse data of which no sample has any weight.

    Raises
    ------
    ValueError
        With the cure.
    """
    parts = tree.leaves(data.weight)
    if parts and not any(bool(host().xp.any(to_numpy(part) > 0.0)) for part in parts):
        raise ValueError(
            f"{owner} expects a weight above zero for some sample, got 0 for all {len(data)}: there is nothing to "
            "learn from or to measure. Look at sample_weight and class_weight."
        )


def weigh_classes(
    data: Dataset,
    class_weight: Any,
    dtype: str,
    owner: str,
    output_shape: Any = None,
    *,
    complete: bool = False,
) -> Dataset:
    """Multiply the samples' weights by those of their classes; classes not named weigh 1.

    Parameters
    ----------
    data : Dataset
        With one label for each sample, or for each step of each.
    class_weight : mapping of int to float
        The weights.
    dtype : str
        That of the weights that come out.
    owner : str
        Who asks, for messages.
    output_shape : tuple of int, optional
        That of the model's output, without the axis of samples: where outputs are sequences, each step has the weight
        of its class.
    complete : bool
        Whether these are all samples, so that each class that is named must have some; a single batch may lack one.

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
    steps = tuple(output_shape[:-1]) if isinstance(output_shape, tuple) else ()
    labels = class_labels(data.y, f"{owner} takes class_weight", steps=steps)
    absent = [label for label in class_weight if not bool(xp.any(labels == label))]
    if absent and complete:
        raise ValueError(
            f"{owner} got class_weight for the class {absent[0]!r}, which no target is of; they are from "
            f"{xp.min(labels):g} to {xp.max(labels):g}. Leave it out, or number the classes as in y."
        )
    weight = xp.ones(labels.shape, dtype=xp.float64) if data.weight is None else to_numpy(data.weight)
    if weight.ndim < labels.ndim:
        weight = xp.reshape(weight, (*weight.shape, *(1,) * (labels.ndim - weight.ndim)))
    weight = xp.broadcast_to(weight, labels.shape)
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
    first = split_at(len(data), share, owner)
    rows = host().xp.arange(len(data))
    return data.rows(rows[:first]), data.rows(rows[first:])


def split_at(count: int, share: float, owner: str) -> int:
    """Return how many of `count` samples stay where the last `share` of them is cut off.

    Raises
    ------
    ValueError
        If `share` is not between 0 and 1, or one part would be empty.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"{owner} expects validation_split between 0 and 1, got {share}.")
    first = math.floor(count * (1.0 - share))
    if first in (0, count):
        raise ValueError(f"{owner}: validation_split={share} of {count} samples leaves one part empty.")
    return first


def require_finite(data: Dataset, owner: str) -> None:
    """Refuse NaN and infinite inputs and targets, naming the first row that has one.

    Raises
    ------
    ValueError
        With the row.
    """
    for name, array in named_parts(data.x, "x") + named_parts(data.y, "y"):
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
