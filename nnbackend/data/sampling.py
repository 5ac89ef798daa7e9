"""Which rows an epoch takes, in which order: from the seed alone, the same on every backend."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import host, to_numpy
from nnbackend.random import Stream

__all__ = ["balanced_order", "class_labels", "order", "spread"]


def order(seed: int, epoch: int, count: int) -> Any:
    """Return the order of the samples in an epoch, the same on every backend, as host indices."""
    return Stream(seed, "shuffle", step=epoch).permutation(count)


def spread(total: int, count: int) -> Any:
    """Return at most `count` rows of `total`, evenly spread from the first to the last, as host indices."""
    xp = host().xp
    return xp.arange(total) if total <= count else xp.arange(count) * (total - 1) // (count - 1)


def balanced_order(seed: int, epoch: int, labels: Any) -> Any:
    r"""Return rows for an epoch in which all classes come equally often.

    Of :math:`n` rows in :math:`k` classes each class gets :math:`\lfloor n / k \rfloor` places or one more, drawn by
    lot. A class with more rows than places shows some of them, others in each epoch; one with fewer shows all, again
    and again, none more than once oftener than another. Then all places are shuffled.

    Parameters
    ----------
    seed, epoch : int
        What the draw depends on.
    labels : array of int, shape (n,)
        The class of each row, on the host.

    Returns
    -------
    array of int64, shape (n,)
        Host indices.

    Examples
    --------
    >>> from nnbackend.backend import host
    >>> labels = host().from_host([0, 0, 0, 0, 0, 1])
    >>> sorted(int(labels[row]) for row in balanced_order(0, 0, labels))
    [0, 0, 0, 1, 1, 1]
    """
    xp = host().xp
    stream = Stream(seed, "balance", step=epoch)
    count = int(labels.shape[0])
    classes = xp.unique_values(labels)
    places = _shares(count, to_numpy(stream.permutation(int(classes.shape[0]))).tolist())
    drawn = []
    for number, places_of_class in enumerate(places):
        rows = xp.nonzero(labels == classes[number])[0]
        size = int(rows.shape[0])
        turns = [xp.take(rows, stream.permutation(size), axis=0) for _ in range(-(-places_of_class // size))]
        drawn.append(xp.concat(turns)[:places_of_class] if turns else rows[:0])
    return xp.take(xp.concat(drawn), order(seed, epoch, count), axis=0)


def _shares(count: int, lots: list[int]) -> list[int]:
    """Cut `count` into whole shares as equal as can be; those with the first lots get one more."""
    least, more = divmod(count, len(lots))
    return [least + (lot < more) for lot in lots]


def class_labels(y: Any, owner: str, cure: str = "Use sample_weight.", *, steps: tuple[int, ...] = ()) -> Any:
    """Return the class of each sample on the host, of whole numbers, one column of them, or one-hot rows.

    Where samples are sequences of `steps`, each step may have a class.

    Raises
    ------
    ValueError
        If there is not one whole-number label for each sample.
    """
    xp = host().xp
    if not hasattr(y, "shape"):
        raise ValueError(f"{owner} with one output, got several. {cure}")
    labels = to_numpy(y)
    if labels.ndim > 1 and not (steps and labels.shape[1:] == steps):
        labels = xp.argmax(labels, axis=-1) if labels.shape[-1] > 1 else labels[..., 0]
    if labels.shape[1:] not in ((), steps):
        raise ValueError(f"{owner} with one label for each sample, got y of shape {tuple(y.shape)}.")
    if not bool(xp.all(xp.floor(labels) == labels)):
        raise ValueError(f"{owner} with whole-number labels, got fractions in y. {cure}")
    return labels
