"""Where a loader's samples come from: arrays whose rows can be picked, or a stream that is read in order."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nnbackend import tree
from nnbackend.backend import host, is_array, to_numpy
from nnbackend.data.arrays import Batch, named_parts, require_equal_lengths, require_numbers, to_array

__all__ = [
    "ArraySource",
    "StreamSource",
    "as_batch",
    "dropped_all",
    "is_mapped",
    "is_stream",
    "map_arrays",
    "take_rows",
]


def is_mapped(array: Any) -> bool:
    """Tell whether an array lies in a file and only the rows that are asked for are read.

    Such are NumPy's memory-mapped arrays and their views, and data sets of h5py and zarr.
    """
    if not is_array(array):
        return all(hasattr(array, name) for name in ("shape", "dtype", "chunks", "__getitem__"))
    kind = host().xp.memmap
    while array is not None:
        if isinstance(array, kind):
            return True
        array = getattr(array, "base", None)
    return False


def is_stream(values: Any) -> bool:
    """Tell whether `values` are to be read in order: an iterator, an iterable that is no table, or a factory of one."""
    if isinstance(values, (str, bytes, list, tuple, Mapping, set, frozenset, range)):
        return False
    if any(hasattr(values, name) for name in ("shape", "__array__", "__dataframe__", "__nnbackend_value__")):
        return False
    return callable(values) or hasattr(values, "__iter__") or hasattr(values, "__next__")


def map_arrays(function: Callable[[Any, str], Any], values: Any, name: str) -> Any:
    """Apply a function to one array, or to each of a dict or of a list of arrays, with names for messages."""
    if isinstance(values, Mapping):
        return {key: function(value, f"{name}[{key!r}]") for key, value in values.items()}
    several = isinstance(values, (list, tuple)) and len(values) > 0
    if several and all(is_array(value) or is_mapped(value) for value in values):
        return [function(value, f"{name}[{i}]") for i, value in enumerate(values)]
    return function(values, name)


class ArraySource:
    """Arrays with one row for each sample, in the host's memory or in files.

    Parameters
    ----------
    x, y, weight : array, list or table, or a list or dict of arrays
        `y` and `weight` may be None.
    owner : str
        Who asks, for messages.
    """

    restartable = True

    def __init__(self, x: Any, y: Any = None, weight: Any = None, owner: str = "DataLoader") -> None:
        given = Batch(x, y, weight)
        self.parts = Batch(
            *(
                None if part is None else map_arrays(_rows_of, part, f"{owner}: {name}")
                for name, part in zip(("x", "y", "sample_weight"), given, strict=True)
            )
        )
        parts = [
            pair
            for name, part in zip(("x", "y", "sample_weight"), self.parts, strict=True)
            if part is not None
            for pair in named_parts(part, name)
        ]
        self.samples = require_equal_lengths(owner, parts)
        self.mapped = any(is_mapped(part) for part in tree.leaves(self.parts))

    def batches(self, rows: Any | None, size: int, first: int, drop_last: bool) -> Iterator[Batch]:
        """Yield batches from number `first` on, of these rows in this order, or of all as they stand."""
        stop = self.samples - self.samples % size if drop_last else self.samples
        for start in range(first * size, stop, size):
            yield self.take(
                slice(start, min(start + size, stop)) if rows is None else rows[start : start + size]
            )

    def take(self, rows: Any) -> Batch:
        """Return these rows in the host's memory."""
        return Batch(*tree.map(lambda array: take_rows(array, rows), self.parts))

    def split(self, first: int) -> tuple[ArraySource, ArraySource]:
        """Return the first rows and the others, without reading them."""
        halves = [
            tree.map(lambda array, cut=cut: array[cut], self.parts)
            for cut in (slice(first), slice(first, None))
        ]
        return ArraySource(*halves[0]), ArraySource(*halves[1])


def _rows_of(values: Any, name: str) -> Any:
    """Return an array of which rows can be taken on the host; what is mapped stays in its file."""
    if is_mapped(values):
        require_numbers(values, name)
        return values
    array = to_array(values, name)
    return array if host().owns(array) else to_numpy(array)


def take_rows(array: Any, rows: Any) -> Any:
    """Return rows of an array, read in the order in which they lie in a file, each once."""
    xp = host().xp
    if isinstance(rows, slice):
        return host().from_host(array[rows])
    if not is_mapped(array):
        return xp.take(array, rows, axis=0)
    found = xp.unique_inverse(rows)
    return xp.take(host().from_host(array[found.values]), found.inverse_indices, axis=0)


def dropped_all(count: int, size: int, owner: str = "DataLoader") -> ValueError:
    """Return the error that says that no batch is left."""
    return ValueError(
        f"{owner} expects at least one batch, but drop_last=True drops all {count} samples, fewer than batch_size="
        f"{size}. Make batch_size smaller, or leave out drop_last."
    )


class StreamSource:
    """Batches or samples that come one after the other.

    Parameters
    ----------
    given : iterator, iterable, or callable that returns one
        An iterator, such as a generator, is read once; the others begin again with each pass.
    owner : str
        Who asks, for messages.
    """

    samples = None
    mapped = False
    #: Whether somebody said how many samples a batch has.
    size_is_given = True

    def __init__(self, given: Any, owner: str = "DataLoader") -> None:
        if not is_stream(given):
            raise TypeError(
                f"{owner} expects arrays, an iterable, or a function that returns one, got {type(given).__name__}."
            )
        self._given = given
        self._owner = owner
        self.restartable = not hasattr(given, "__next__")
        self._has_warned = False

    def batches(self, size: int | None, first: int, drop_last: bool) -> Iterator[Batch]:
        """Yield batches from number `first` on; of `size` samples, or as they come where it is None.

        What can be read only once goes on where it is.
        """
        items = self._items()
        if self.restartable:
            items = itertools.islice(items, first * (size or 1), None)
        return map(as_batch, items) if size is None else self._collect(items, size, drop_last, first)

    def _items(self) -> Iterator[Any]:
        made = self._given
        if not hasattr(made, "__iter__") and not hasattr(made, "__next__"):
            made = made()
            if not hasattr(made, "__iter__") and not hasattr(made, "__next__"):
                raise TypeError(
                    f"{self._owner} expects a function that returns an iterator, got one that returns "
                    f"{type(made).__name__}. Write it with yield."
                )
        return iter(made) if hasattr(made, "__iter__") else made

    def _collect(self, items: Iterator[Any], size: int, drop_last: bool, first: int) -> Iterator[Batch]:
        for number in itertools.count(first):
            samples = [_as_parts(sample) for sample in itertools.islice(items, size)]
            if number == 0:
                self._warn_of_batches(samples, size)
            if len(samples) < size and drop_last:
                if number == 0 and samples:
                    raise dropped_all(len(samples), size, self._owner)
                return
            if not samples:
                return
            yield self._stack(samples)

    def _warn_of_batches(self, samples: list[Batch], size: int) -> None:
        """Warn, once, where what is taken for samples looks like batches."""
        rows = {_rows_of_batch(sample) for sample in samples}
        if None in rows or not rows or self._has_warned or (self.size_is_given and rows != {size}):
            return
        self._has_warned = True
        x, y = samples[0].x.shape, samples[0].y.shape
        warnings.warn(
            f"{self._owner} takes what the stream gives, x of shape {tuple(x)} with y of shape {tuple(y)}, for one "
            f"sample each, but it looks like batches. Say batch_size=None if they are; batch_size={size} if they are "
            "samples, such as sequences with a target for each step.",
            UserWarning,
            stacklevel=2,
        )

    def _stack(self, samples: list[Batch]) -> Batch:
        xp = host().xp
        try:
            return Batch(*tree.map(lambda *rows: xp.stack([_on_host(row) for row in rows]), *samples))
        except ValueError as error:
            raise ValueError(
                f"{self._owner} cannot stack samples to a batch: {error}. Give all the same shape, for instance with "
                "nn.data.pad_sequences, or yield batches and say batch_size=None."
            ) from error


def _rows_of_batch(item: Batch) -> int | None:
    """Return how many rows inputs and targets share, if they look like those of several samples."""
    x, y = (tuple(getattr(part, "shape", ())) for part in (item.x, item.y))
    return x[0] if len(x) > 1 and y[:1] == x[:1] and x[0] > 1 else None


def _as_parts(item: Any) -> Batch:
    """Return inputs, targets and weights of what a stream gave."""
    if isinstance(item, Batch):
        return item
    parts = item if isinstance(item, tuple) else (item,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"A batch is x, (x, y) or (x, y, sample_weight), got a tuple of {len(parts)}.")
    return Batch(*parts, *(None,) * (3 - len(parts)))


def as_batch(item: Any) -> Batch:
    """Return a batch of copies on the host: who made it may use the memory for the next."""
    return Batch(
        *(
            None
            if part is None
            else map_arrays(lambda values, name: _on_host(to_array(values, name)), part, name)
            for name, part in zip(("x", "y", "sample_weight"), _as_parts(item), strict=True)
        )
    )


def _on_host(values: Any) -> Any:
    return to_numpy(values) if is_array(values) else host().from_host(values)
