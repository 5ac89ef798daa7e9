"""Splits of data into parts to train on and parts to test on, from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from nnbackend.arguments import positive_integer
from nnbackend.backend import backend_of, host, is_array, to_numpy
from nnbackend.data.arrays import require_equal_lengths, to_array
from nnbackend.data.sources import is_mapped, take_rows
from nnbackend.random import Stream

__all__ = ["k_fold", "stratified_k_fold", "train_test_split"]


def train_test_split(
    *arrays: Any, test_size: float | int = 0.25, seed: int = 0, shuffle: bool = True, stratify: Any = None
) -> list[Any]:
    r"""Split arrays by rows into a part to train on and a part to test on.

    With `stratify` each class of :math:`n_c` out of :math:`n` rows has :math:`\lfloor n_c m / n \rfloor` rows among
    the :math:`m` to test on, or one more where the remainder is largest.

    Parameters
    ----------
    *arrays : array, list or table of shape (n, ...)
        What belongs together, such as `x` and `y`.
    test_size : float or int
        The share of rows to test on, rounded up, or their number.
    seed : int
        Where the order comes from; it is the same on every backend.
    shuffle : bool
        Whether to draw the rows. If not, the last ones are to test on.
    stratify : array of shape (n,), optional
        The class of each row, of numbers or words, whose shares both parts are to have.

    Returns
    -------
    list of array
        For each array its rows to train on and those to test on: ``x_train, x_test, y_train, y_test``. Arrays stay in
        their library; lists and tables become NumPy arrays.

    Raises
    ------
    ValueError
        If lengths differ, or a part would be empty.
    TypeError
        If there is no array, or `stratify` comes with ``shuffle=False``.

    Notes
    -----
    The rows are others than scikit-learn's for the same seed.

    Examples
    --------
    >>> x_train, x_test, y_train, y_test = train_test_split(
    ...     [[1], [2], [3], [4]], [0, 1, 0, 1], stratify=[0, 1, 0, 1], test_size=0.5
    ... )
    >>> sorted(y_test.tolist())
    [0, 1]
    """
    if not arrays:
        raise TypeError("train_test_split expects at least one array.")
    given = [a if is_mapped(a) else to_array(a, f"train_test_split: array {i}") for i, a in enumerate(arrays)]
    names = [(f"array {i}", array) for i, array in enumerate(given)]
    count = require_equal_lengths("train_test_split", names)
    tested = _test_count(count, test_size)
    xp = host().xp
    if stratify is not None:
        if not shuffle:
            raise TypeError("train_test_split draws the rows of each class: stratify needs shuffle=True.")
        labels = _labels("train_test_split", stratify, count)
        train, test = _stratified(labels, tested, seed)
    else:
        rows = Stream(seed, "split").permutation(count) if shuffle else xp.arange(count)
        train, test = rows[: count - tested], rows[count - tested :]
    return [_rows(array, part) for array in given for part in (train, test)]


def k_fold(count: int, folds: int = 5, *, seed: int = 0, shuffle: bool = True) -> Iterator[tuple[Any, Any]]:
    """Yield rows to train on and rows to test on, so that each row is tested on once.

    Parameters
    ----------
    count : int
        How many rows there are.
    folds : int
        Into how many parts they are cut; their sizes differ by one at most.
    seed : int
        Where the order comes from.
    shuffle : bool
        Whether rows are drawn. If not, each part is of neighbours.

    Yields
    ------
    train, test : array of int64
        Host indices, in increasing order.

    Raises
    ------
    ValueError
        If there are fewer than 2 folds, or fewer rows than folds.

    Examples
    --------
    >>> [test.tolist() for train, test in k_fold(5, 2, shuffle=False)]
    [[0, 1, 2], [3, 4]]
    """
    _check_folds("k_fold", folds, positive_integer("k_fold", "count", count))
    rows = Stream(seed, "folds").permutation(count) if shuffle else host().xp.arange(count)
    edges = [-(-count * fold // folds) for fold in range(folds + 1)]
    return _folds(count, [rows[low:high] for low, high in itertools.pairwise(edges)])


def stratified_k_fold(
    labels: Any, folds: int = 5, *, seed: int = 0, shuffle: bool = True
) -> Iterator[tuple[Any, Any]]:
    """Yield rows to train on and rows to test on as `k_fold` does, with each class spread over all parts.

    Parameters
    ----------
    labels : array of shape (n,)
        The class of each row, of numbers or words.
    folds : int
        Into how many parts they are cut. Their sizes, and the numbers of rows of each class in them, differ by one at
        most.
    seed : int
        Where the order comes from.
    shuffle : bool
        Whether the rows of a class are drawn. If not, they go to the parts in turn.

    Yields
    ------
    train, test : array of int64
        Host indices, in increasing order.

    Raises
    ------
    ValueError
        If there are fewer than 2 folds, or every class has fewer rows than folds.

    Examples
    --------
    >>> [test.tolist() for train, test in stratified_k_fold([0, 0, 1, 1], 2, shuffle=False)]
    [[0, 2], [1, 3]]
    """
    numbers = _labels("stratified_k_fold", labels, None)
    count = int(numbers.shape[0])
    _check_folds("stratified_k_fold", folds, count)
    xp = host().xp
    most = int(xp.max(xp.unique_counts(numbers).counts))
    if most < folds:
        raise ValueError(
            f"stratified_k_fold expects a class of at least {folds} rows for {folds} folds, the largest has {most}. "
            "Take fewer folds, or k_fold."
        )
    by_class = _by_class(numbers, Stream(seed, "folds").permutation(count) if shuffle else xp.arange(count))
    return _folds(count, [by_class[fold::folds] for fold in range(folds)])


def _folds(count: int, parts: list[Any]) -> Iterator[tuple[Any, Any]]:
    xp = host().xp
    for test in parts:
        tested = xp.zeros(count, dtype=xp.bool)
        tested[test] = True
        yield xp.nonzero(~tested)[0], xp.nonzero(tested)[0]


def _by_class(labels: Any, rows: Any) -> Any:
    """Return these rows sorted by their class, and within one in the order in which they stand."""
    xp = host().xp
    return xp.take(rows, xp.argsort(xp.take(labels, rows, axis=0), stable=True), axis=0)


def _stratified(labels: Any, tested: int, seed: int) -> tuple[Any, Any]:
    """Draw `tested` rows with each class's share among them; return the others and them, each shuffled."""
    xp = host().xp
    count = int(labels.shape[0])
    rows = _by_class(labels, Stream(seed, "split").permutation(count))
    sizes = [int(size) for size in to_numpy(xp.unique_counts(labels).counts)]
    exact = [size * tested / count for size in sizes]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: tested - sum(shares)]:
        shares[i] += 1
    train, test, start = [], [], 0
    for size, share in zip(sizes, shares, strict=True):
        test.append(rows[start : start + share])
        train.append(rows[start + share : start + size])
        start += size
    parts = xp.concat(train), xp.concat(test)
    mixed = [
        xp.take(part, Stream(seed, "split", call=call).permutation(int(part.shape[0])), axis=0)
        for call, part in enumerate(parts, 1)
    ]
    return mixed[0], mixed[1]


def _labels(owner: str, given: Any, count: int | None) -> Any:
    """Return the classes as numbers from 0, of labels that may be words."""
    xp = host().xp
    labels = to_numpy(given) if is_array(given) else host().from_host(given)
    if labels.ndim != 1 or (count is not None and int(labels.shape[0]) != count):
        expected = "one label for each row" if count is None else f"one label for each of {count} rows"
        raise ValueError(f"{owner} expects {expected}, got labels of shape {tuple(labels.shape)}.")
    return xp.unique_inverse(labels).inverse_indices


def _test_count(count: int, size: float | int) -> int:
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        raise TypeError(
            f"train_test_split expects test_size to be a share or a number of rows, got {size!r}."
        )
    tested = size if isinstance(size, int) else -int(-size * count // 1)
    if not 0 < tested < count or (isinstance(size, float) and not 0.0 < size < 1.0):
        raise ValueError(
            f"train_test_split: test_size={size} of {count} rows leaves one part empty. Give a share between 0 and 1, "
            "or a number of rows."
        )
    return tested


def _check_folds(owner: str, folds: int, count: int) -> None:
    if not 2 <= positive_integer(owner, "folds", folds) <= count:
        raise ValueError(f"{owner} expects from 2 folds to as many as there are rows, {count}, got {folds}.")


def _rows(array: Any, rows: Any) -> Any:
    """Return these rows (host indices) in the array's own library."""
    if is_mapped(array):
        return take_rows(array, rows)
    backend = backend_of(array)
    with backend.scope():
        return backend.xp.take(array, backend.from_host(rows, "int64"), axis=0)
