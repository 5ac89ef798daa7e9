"""DataLoader: batches of arrays in memory, of arrays in files, and of what is made as it is needed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nnbackend.arguments import positive_integer
from nnbackend.data.arrays import Batch, split_at
from nnbackend.data.passes import Passes
from nnbackend.data.sampling import balanced_order, class_labels, order, spread
from nnbackend.data.sources import ArraySource, StreamSource, as_batch, dropped_all, is_stream
from nnbackend.random import Stream, key_words, new_seed

__all__ = ["DataLoader"]


class _Usual(int):
    """A number that nobody chose: `is` tells it from the same one given."""


#: How many samples a batch has where nobody says so.
USUAL_SIZE = _Usual(32)

#: What changes a batch: it gets the batch and random numbers of its own.
Transform = Callable[[Batch, Stream], Any]


class DataLoader:
    """Batches for training, in an order that the seed alone decides.

    The same seed gives the same batches on every backend and machine, with or without reading ahead.

    Parameters
    ----------
    x : array, list or table, or a list or dict of arrays; or an iterable, an iterator or a function that returns one
        Inputs with one row for each sample. Memory-mapped arrays (``numpy.load(path, mmap_mode="r")``) and data sets of
        h5py or zarr may be larger than memory: only the rows of a batch are read, in the order in which they lie.
        Or a *stream* of samples or batches ``x``, ``(x, y)`` or ``(x, y, sample_weight)``: an iterable that can begin
        again, a function that returns an iterator, or an iterator such as a generator, which can be read only once.
    y, sample_weight : array, list or table, or a list or dict of arrays, optional
        Targets and weights, one row for each sample; with a stream they are part of it.
    batch_size : int or None
        Samples of a batch. **None says that a stream gives batches**, not samples, which would be put together to
        batches of batches; a warning comes where they look like that.
    shuffle : bool
        Whether each epoch has an order of its own; arrays only.
    seed : int, optional
        Where order and random numbers come from. Without it a model that is trained lends its own, and a loader that is
        used alone draws one.
    drop_last : bool
        Whether to leave out a last batch that has fewer samples; where that would leave none it is refused.
    balanced : bool
        Whether all classes come equally often in an epoch of as many samples as there are; it brings an order of its
        own. `y` holds whole numbers or one-hot rows.
    transform : callable, optional
        ``transform(batch, random)`` returns what to put in place of a batch on the host, for instance
        ``batch._replace(x=...)``. `random` is a `nnbackend.random.Stream` of this batch alone: augmentation comes out
        the same whatever came before.
    prefetch : int, optional
        How many batches a thread prepares in advance; 0 for none. Without it 2, or 0 for arrays in memory without
        a `transform`, which a thread would not make faster.
    steps_per_epoch : int, optional
        Batches of an epoch. Without it an epoch is one pass; with it epochs follow one another in the stream, and what
        can begin again does so wherever it ends.

    Attributes
    ----------
    samples : int or None
        The samples of an epoch, where they are known.
    positionable : bool
        Whether `restore` can go to any position: always but for an iterator that can be read only once.

    Raises
    ------
    ValueError, TypeError
        If parts have different lengths, do not hold numbers, or an option does not fit the data.

    Notes
    -----
    Iterating gives the batches of an epoch as `Batch` tuples ``(x, y, weight)`` of NumPy arrays, and the next loop
    those of the next epoch. A loop that is broken off counts for nothing: the next one begins where it began. Only what
    can be read once goes on after the last batch that was handed out. A loader has one position: iterate over it in one
    place at a time.

    *The position* is `state()`, a dict of whole numbers, fit for JSON: ``epoch`` and ``batch`` say how many epochs have
    ended and how many batches of the present one were handed out, batches read ahead not counted; ``pass`` and
    ``taken`` say the same of passes over the data, which differ from epochs where there are ``steps_per_epoch``;
    ``seed`` is there if the loader has one of its own. After ``restore(state)`` the next loop of a loader that was made
    in the same way, in another process, too, gives exactly the batches that followed: arrays are picked by their rows,
    a stream that can begin again is replayed up to there (so it must give the same each time). For one that cannot
    `positionable` is False and `restore` raises, so that whoever plans to resume can refuse it in time. In `Model.fit`
    the loader stands behind ``model.feed``, which has the same three.

    An error in a stream or in `transform` is raised where the batch is asked for, with its traceback, after the
    batches before it. The thread ends with the loop, however that ends.

    Keras shuffles by default and `tf.data` through a buffer; PyTorch's loader does not shuffle by default either, and
    its order depends on the version and on the workers.

    Examples
    --------
    >>> import nnbackend as nn
    >>> loader = nn.data.DataLoader([[0.0], [1.0], [2.0], [3.0], [4.0]], batch_size=2, shuffle=True, seed=0)
    >>> [batch.x[:, 0].tolist() for batch in loader]
    [[0.0, 4.0], [2.0, 1.0], [3.0]]
    >>> first = next(iter(loader))
    >>> loader.state()
    {'epoch': 1, 'batch': 1, 'pass': 1, 'taken': 1, 'seed': 0}

    A function that returns a generator of samples, put together to batches, and one of batches, which come as they are:

    >>> def samples():
    ...     return ((xp.asarray([float(i)]), i % 2) for i in range(5))
    >>> def batches():
    ...     return ((xp.ones((size, 1)), xp.zeros((size,))) for size in (4, 3))
    >>> xp = nn.get_backend("numpy").xp
    >>> [batch.x.shape for batch in DataLoader(samples, batch_size=2)]
    [(2, 1), (2, 1), (1, 1)]
    >>> [batch.x.shape for batch in DataLoader(batches, batch_size=None)]
    [(4, 1), (3, 1)]
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int | None = USUAL_SIZE,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        balanced: bool = False,
        transform: Transform | None = None,
        prefetch: int | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        self.batch_size = (
            None if batch_size is None else int(positive_integer("DataLoader", "batch_size", batch_size))
        )
        self.steps_per_epoch = (
            None
            if steps_per_epoch is None
            else positive_integer("DataLoader", "steps_per_epoch", steps_per_epoch)
        )
        if seed is not None:
            key_words(seed)  # refuses what is no seed
        for name, value in (("shuffle", shuffle), ("drop_last", drop_last), ("balanced", balanced)):
            if not isinstance(value, bool):
                raise TypeError(f"DataLoader expects {name} to be True or False, got {value!r}.")
        if transform is not None and not callable(transform):
            raise TypeError(f"DataLoader expects transform to be a function, got {type(transform).__name__}.")
        if prefetch is not None and prefetch != 0:
            positive_integer("DataLoader", "prefetch", prefetch)
        self.seed = seed
        self.drop_last, self.transform = drop_last, transform
        self._source = _source(x, y, sample_weight, self.batch_size, shuffle or balanced)
        if isinstance(self._source, StreamSource):
            self._source.size_is_given = batch_size is not USUAL_SIZE
        elif drop_last:
            self._refuse_to_drop_all(self._source.samples)
        self._labels: Any = None
        if balanced:
            self._labels = _labels(self._source)
        self.shuffle, self.balanced = shuffle, balanced
        in_memory = isinstance(self._source, ArraySource) and not self._source.mapped
        self.prefetch = prefetch if prefetch is not None else 0 if in_memory and transform is None else 2
        self._drawn: int | None = None
        self._seed_in_use: int | None = None
        self._passes = self._start()

    def _start(self) -> Passes[Batch]:
        return Passes(self._begin, restartable=self.positionable, ahead=self.prefetch)

    # What is known

    @property
    def positionable(self) -> bool:
        """Whether `restore` can go to any position."""
        return self._source.restartable

    @property
    def samples(self) -> int | None:
        """The samples of an epoch, where they are known."""
        count = self._source.samples
        if count is None or self.steps_per_epoch is not None:
            return None
        assert self.batch_size is not None
        return count - count % self.batch_size if self.drop_last else count

    @property
    def steps(self) -> int | None:
        """The batches of an epoch, where they are known."""
        if self.steps_per_epoch is not None or self.samples is None:
            return self.steps_per_epoch
        assert self.batch_size is not None
        return -(-self.samples // self.batch_size)

    def __len__(self) -> int:
        steps = self.steps
        if steps is None:
            raise TypeError(
                "This DataLoader does not know how many batches its stream has. Give steps_per_epoch."
            )
        return steps

    # The position

    def state(self) -> dict[str, int]:
        """Return the position, as the notes above tell."""
        own = self._drawn if self.seed is None and self._seed_in_use == self._drawn else self.seed
        return self._passes.state() | ({} if own is None else {"seed": own})

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position that `state` told.

        Raises
        ------
        ValueError
            If `state` is no position, or the loader is not `positionable` and elsewhere.
        """
        self._passes.restore(state)
        if "seed" in state:
            self.seed = state["seed"]

    # Batches

    def __iter__(self) -> Iterator[Batch]:
        if self._drawn is None:
            self._drawn = new_seed()
        return self.rest_of_epoch(self._drawn, self.steps_per_epoch)

    def rest_of_epoch(self, seed: int, steps: int | None = None) -> Iterator[Batch]:
        """Return an iterator of the epoch's batches from where the loader is, which goes on to the next epoch.

        Parameters
        ----------
        seed : int
            The seed where the loader has none of its own.
        steps : int, optional
            How many batches an epoch has; one pass without it.
        """
        self._use(seed)
        return self._passes.rest_of_epoch(steps)

    def peek(self, seed: int) -> Batch:
        """Return the batch that comes next without going on.

        Raises
        ------
        ValueError
            If there is none.
        """
        self._use(seed)
        batch = self._passes.peek()
        if batch is None and self.positionable:  # at the end of a pass: one like it
            batch = next(self.in_order(), None)
        if batch is None:
            raise ValueError(
                "DataLoader expects at least one batch, the data gave none. Check what they are made of."
            )
        return batch

    def sample(self, count: int) -> Batch | None:
        """Return some samples as they come from the source, to tell data by; the position stays.

        Parameters
        ----------
        count : int
            At most how many rows of arrays, spread from the first to the last; of a stream it is the first batch.

        Returns
        -------
        Batch or None
            Nothing is taken from what can be read only once.
        """
        if isinstance(self._source, ArraySource):
            return self._source.take(spread(self._source.samples, count))
        if not self.positionable:
            return None
        batches = self._source.batches(self.batch_size, 0, False)
        try:
            return next(batches, None)
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def in_order(self, steps: int | None = None) -> Iterator[Batch]:
        """Yield each sample once, as they stand: neither shuffled nor balanced, none dropped; the position stays.

        This is how a model is measured and asked. What can be read only once goes on where it is.

        Parameters
        ----------
        steps : int, optional
            At most how many batches; without it `steps_per_epoch`, or all.
        """
        steps = self.steps_per_epoch if steps is None else steps
        if not self.positionable:
            self._use(0)
            try:
                for _ in itertools.count() if steps is None else range(steps):
                    batch = self._passes.next()
                    if batch is None:
                        return
                    yield batch
            finally:
                self._passes.pause()
            return
        aside = copy.copy(self)
        aside.shuffle, aside.balanced, aside.drop_last = False, False, False
        aside._passes = aside._start()
        aside._use(0)
        yield from itertools.islice(aside._passes.rest_of_epoch(), steps)

    def split(self, share: float, owner: str = "DataLoader") -> tuple[DataLoader, DataLoader]:
        """Cut the last share of an array's rows off, without reading them; both loaders begin at the start.

        Raises
        ------
        TypeError
            If the samples are a stream.
        ValueError
            If `share` is not between 0 and 1, or one part would be empty.
        """
        if not isinstance(self._source, ArraySource):
            raise TypeError(f"{owner} can split arrays only, not a stream. Make two streams.")
        halves = []
        for source in self._source.split(split_at(self._source.samples, share, owner)):
            half = copy.copy(self)
            half._source = source
            half._labels = _labels(source) if self.balanced else None
            half._passes = half._start()
            halves.append(half)
        return halves[0], halves[1]

    def _use(self, seed: int) -> None:
        """Take on a seed; what was read ahead under another is read again."""
        seed = seed if self.seed is None else self.seed
        if seed != self._seed_in_use:
            self._seed_in_use = seed
            self._passes.forget()

    def _begin(self, number: int, first: int) -> Iterator[Batch]:
        """Return the batches of a pass from number `first` on."""
        assert self._seed_in_use is not None
        if isinstance(self._source, StreamSource):
            batches = self._source.batches(self.batch_size, first, self.drop_last)
        else:
            assert self.batch_size is not None
            if self.drop_last:
                self._refuse_to_drop_all(self._source.samples)
            rows = self._rows(self._source.samples, self._seed_in_use, number)
            batches = self._source.batches(rows, self.batch_size, first, self.drop_last)
        if self.transform is None:
            return batches
        return self._transformed(self.transform, batches, self._seed_in_use, (number << 32) + first)

    def _refuse_to_drop_all(self, count: int) -> None:
        assert self.batch_size is not None
        if count < self.batch_size:
            raise dropped_all(count, self.batch_size)

    def _rows(self, count: int, seed: int, number: int) -> Any:
        if self.balanced:
            return balanced_order(seed, number, self._labels)
        return order(seed, number, count) if self.shuffle else None

    @staticmethod
    def _transformed(
        transform: Transform, batches: Iterator[Batch], seed: int, first: int
    ) -> Iterator[Batch]:
        for number, batch in enumerate(batches, first):
            yield as_batch(transform(batch, Stream(seed, "transform", step=number)))


def _source(x: Any, y: Any, weight: Any, batch_size: int | None, ordered: bool) -> ArraySource | StreamSource:
    if not is_stream(x):
        if batch_size is None:
            raise TypeError("DataLoader expects a batch_size for arrays; None is for streams of batches.")
        return ArraySource(x, y, weight)
    if y is not None or weight is not None:
        raise TypeError(
            "DataLoader takes targets and weights from the stream: let it give (x, y, sample_weight)."
        )
    if ordered:
        raise TypeError(
            "DataLoader can shuffle and balance arrays, whose rows it can pick, not a stream. Let the stream draw them."
        )
    return StreamSource(x)


def _labels(source: ArraySource | StreamSource) -> Any:
    """Return the class of each row."""
    assert isinstance(source, ArraySource)
    if source.parts.y is None:
        raise TypeError("DataLoader balances classes by y: give it.")
    return class_labels(source.parts.y, "DataLoader takes balanced=True", "Draw the rows yourself.")
