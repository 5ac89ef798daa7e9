"""What a training loop is fed with: batches on the backend, from arrays that lie there or from a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from nnbackend import tree
from nnbackend.backend import Backend, host, is_array
from nnbackend.data.arrays import Batch, Dataset
from nnbackend.data.loader import DataLoader
from nnbackend.data.passes import Passes
from nnbackend.data.sampling import order, spread
from nnbackend.data.sources import is_mapped, is_stream
from nnbackend.placement import is_at_home

__all__ = ["ArrayFeed", "Feed", "LoaderFeed", "loader_of", "place", "sent"]


class Feed(Protocol):
    """Batches for training, epoch by epoch, and the position in them, as `DataLoader` describes it.

    Iterating gives the batches of the present epoch, from its beginning or from the position that was restored. While
    `Model.fit` runs, the model has its feed as ``model.feed``: a callback may save ``model.feed.state()`` after a batch
    or an epoch, and in another run ``model.feed.restore(state)`` in ``on_train_begin`` or ``on_epoch_begin`` makes the
    batches follow that came after.
    """

    @property
    def samples(self) -> int | None:
        """The samples of an epoch, where they are known."""

    @property
    def steps(self) -> int | None:
        """The batches of an epoch, where they are known."""

    @property
    def positionable(self) -> bool:
        """Whether `restore` can go to any position."""

    def __iter__(self) -> Iterator[Batch]:
        """Return an iterator of the batches; the position is where it begins as soon as it is made."""

    #: Where the order comes from; None where it is fixed.
    seed: int | None

    def sample(self, count: int) -> Batch | None:
        """Return some samples as they stand, the same in each process, to tell data by; None where that costs some."""

    def state(self) -> dict[str, int]:
        """Return the position."""

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""


class ArrayFeed:
    """Batches taken from a data set that lies as a whole on the device, or on the host.

    Parameters
    ----------
    data : Dataset
        The samples.
    batch_size : int
        Samples of a batch; the last of a pass has what is left.
    seed : int or None
        Where the order of each pass comes from; None leaves the samples as they stand.
    epoch : int
        The number of the first epoch.
    steps : int, optional
        Batches of an epoch; without it an epoch is one pass.
    backend : Backend, optional
        Where batches are brought, each when it is asked for; without it they stay where the data are.
    """

    positionable = True

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        seed: int | None,
        epoch: int = 0,
        steps: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._data, self._size, self.seed, self._steps = data, batch_size, seed, steps
        self._backend = None if backend is data.backend else backend
        self._passes = Passes(self._begin, owner="fit")
        self._passes.restore({"epoch": epoch, "batch": 0, "pass": epoch, "taken": 0})
        self.samples = len(data) if steps is None else None
        self.steps = -(-len(data) // batch_size) if steps is None else steps

    def _begin(self, number: int, first: int) -> Iterator[Batch]:
        rows = None if self.seed is None else order(self.seed, number, len(self._data))
        return self._data.batches(self._size, rows, first)

    def __iter__(self) -> Iterator[Batch]:
        return sent(self._passes.rest_of_epoch(self._steps), self._backend)

    def sample(self, count: int) -> Batch:
        """Return at most so many samples, spread from the first to the last."""
        return self._data.take(spread(len(self._data), count))

    def state(self) -> dict[str, int]:
        """Return the position."""
        return self._passes.state()

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        self._passes.restore(state)


class LoaderFeed:
    """Batches of a loader, each brought to the backend when its turn comes.

    Parameters
    ----------
    loader : DataLoader
        Where they come from; its position is that of the feed.
    receive : callable
        Checks a batch of host arrays.
    seed : int
        The model's seed, for a loader without one.
    steps : int, optional
        Batches of an epoch, in place of what the loader says.
    backend : Backend, optional
        Where batches are brought, each when it is asked for; without it they stay on the host.
    """

    def __init__(
        self,
        loader: DataLoader,
        receive: Callable[[Batch], Batch],
        seed: int,
        steps: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._loader, self._receive, self._backend = loader, receive, backend
        self.seed: int | None = seed
        self._limit = loader.steps_per_epoch if steps is None else steps
        self.samples = loader.samples if steps is None else None
        self.steps = loader.steps if steps is None else steps
        self.positionable = loader.positionable

    def __iter__(self) -> Iterator[Batch]:
        batches = self._loader.rest_of_epoch(self.seed or 0, self._limit)
        return sent(map(self._receive, batches), self._backend)

    def first(self) -> Batch:
        """Return the batch that comes next, on the host, without going on."""
        return self._receive(self._loader.peek(self.seed or 0))

    def sample(self, count: int) -> Batch | None:
        """Return some samples of the loader's source."""
        return self._loader.sample(count)

    def state(self) -> dict[str, int]:
        """Return the position of the loader."""
        return self._loader.state()

    def restore(self, state: Mapping[str, int]) -> None:
        """Bring the loader to a position."""
        self._loader.restore(state)


def place(backend: Backend, *given: Any) -> Backend:
    """Return where arrays in memory are brought as a whole: to the backend, or to the host if they are too large."""
    arrays = [part for each in given for part in _parts(each) if is_array(part)]
    count = sum(int(getattr(array, "nbytes", 0)) for array in arrays if not is_at_home(array, backend))
    return backend if backend.holds(count) else host()


def sent(batches: Iterable[Batch], backend: Backend | None) -> Iterator[Batch]:
    """Return the batches on a backend, each brought there when it is asked for; as they are where it is None."""
    if backend is None:
        return iter(batches)
    send = backend.sender()

    def bring(batch: Batch) -> Batch:
        arrays, structure = tree.flatten(batch)
        brought: Batch = tree.unflatten(structure, send(arrays))
        return brought

    return map(bring, batches)


def loader_of(
    owner: str,
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: int | None,
    default_size: int,
    *,
    shuffle: bool = False,
) -> DataLoader | None:
    """Return a loader of what a model was given, or None for arrays in memory, which are better moved as a whole.

    Raises
    ------
    TypeError
        If a loader or stream comes with what it has itself.
    """
    if not (isinstance(x, DataLoader) or is_stream(x)):
        parts = [part for given in (x, y, sample_weight) for part in _parts(given)]
        if not any(is_mapped(part) for part in parts):
            return None
        size = default_size if batch_size is None else batch_size
        return DataLoader(x, y, sample_weight, batch_size=size, shuffle=shuffle)
    for name, value in (("y", y), ("sample_weight", sample_weight), ("batch_size", batch_size)):
        if value is not None:
            raise TypeError(
                f"{owner} takes {name} from the {type(x).__name__}, which gives batches (x, y) or (x, y, "
                "sample_weight). Leave it out."
            )
    if isinstance(x, DataLoader):
        return x
    # of somebody's own iterator nothing is taken that is not used
    return DataLoader(x, batch_size=None, prefetch=0 if hasattr(x, "__next__") else None)


def _parts(given: Any) -> list[Any]:
    """Return one array, or those of a list or dict; a list of rows is one."""
    if isinstance(given, Mapping):
        return list(given.values())
    several = isinstance(given, (list, tuple)) and given and (is_array(given[0]) or is_mapped(given[0]))
    return list(given) if several else [given]
