r"""What is done to data before training: one-hot rows, standardised columns, pixels between 0 and 1.

What is learnt of the data is learnt of the part to train on and applied to the others:

>>> import nnbackend as nn
>>> scaler = nn.data.Standardizer().fit([[1.0, 10.0], [3.0, 10.0]])
>>> scaler.transform([[1.0, 10.0], [5.0, 11.0]])
array([[-1.,  0.],
       [ 3.,  1.]])
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

from nnbackend.arguments import positive_integer
from nnbackend.backend import backend_of, device, host, is_array, namespace, to_numpy
from nnbackend.data.arrays import require_equal_lengths, to_array
from nnbackend.data.sources import is_mapped

__all__ = ["MinMaxScaler", "Standardizer", "one_hot", "scale_images"]

#: Rows that are looked at together, so that data in files are not read as a whole.
BLOCK = 4096


def one_hot(labels: Any, classes: int | None = None, *, dtype: str = "float32") -> Any:
    r"""Return a row for each label, 1 at the place of its class and 0 elsewhere.

    .. math:: y_{i j} = [\, l_i = j \,]

    Parameters
    ----------
    labels : array of int, shape (...)
        Classes from 0; of any library.
    classes : int, optional
        How many classes there are; one more than the largest label without it.
    dtype : str
        That of the result.

    Returns
    -------
    array of shape (..., k)
        In the library of `labels`; a NumPy array for lists.

    Raises
    ------
    ValueError
        If labels are fractions, negative, or not below `classes`; -1 is no class, here as elsewhere.

    Examples
    --------
    >>> one_hot([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = to_array(labels, "one_hot: labels")
    on_host = to_numpy(labels)
    if on_host.size == 0 and classes is None:
        raise ValueError("one_hot expects classes= where there are no labels.")
    if classes is not None:
        positive_integer("one_hot", "classes", classes)
    if not bool((host().xp.floor(on_host) == on_host).all()):  # NaN as well
        raise ValueError(f"one_hot expects whole-number labels, got fractions or NaN in {on_host.dtype}.")
    low, high = (int(on_host.min()), int(on_host.max())) if on_host.size else (0, 0)
    if low < 0:
        raise ValueError(
            f"one_hot expects labels from 0 on, got {low}. Number the classes from 0. What such a label marks, padding "
            "or nothing known, has no row: leave it out, or keep whole-number labels for a loss with ignore_class= or "
            "a sample_weight of 0."
        )
    classes = high + 1 if classes is None else classes
    if on_host.size and high >= classes:
        raise ValueError(
            f"one_hot expects labels from 0 to {classes - 1}, for classes={classes}, got {high}. Say classes="
            f"{high + 1}, or number the classes from 0."
        )
    backend = backend_of(labels)
    with backend.scope():
        xp = backend.xp
        places = xp.arange(classes, dtype=xp.int64, device=device(labels))
        hot = xp.astype(xp.expand_dims(labels, axis=-1), xp.int64) == places
        return xp.astype(hot, getattr(xp, dtype))


def scale_images(x: Any, low: float = 0.0, high: float = 1.0, *, dtype: str = "float32") -> Any:
    r"""Return pixels of whole numbers from 0 to 255 as numbers from `low` to `high`.

    .. math:: y = low + (high - low)\, x / 255

    Parameters
    ----------
    x : array of uint8, shape (n, h, w) or (n, h, w, c)
        Images; of any library. Other integers are taken as pixels from 0 to 255, too.
    low, high : float
        Where 0 and 255 go: ``-1.0, 1.0`` for networks that want means of zero.
    dtype : str
        That of the result.

    Returns
    -------
    array of the shape of `x`
        In its library.

    Raises
    ------
    TypeError
        If `x` holds floating numbers, which may be scaled already.

    Examples
    --------
    >>> scale_images([[0, 51, 255]])
    array([[0. , 0.2, 1. ]], dtype=float32)
    """
    x = to_array(x, "scale_images: x")
    if "int" not in str(x.dtype):
        raise TypeError(
            f"scale_images expects pixels of whole numbers from 0 to 255, got dtype {x.dtype}. Scaled "
            "images need no scaling."
        )
    backend = backend_of(x)
    with backend.scope():
        unit = backend.xp.astype(x, getattr(backend.xp, dtype)) / 255.0
        return unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low


class _Scaler:
    """Learns numbers for each column and moves and stretches the columns by them.

    Attributes
    ----------
    shift, scale : array of float64, or None
        What is subtracted from each column and what it is then divided by, on the host; None before `fit`.
    """

    def __init__(self) -> None:
        self.shift: Any = None
        self.scale: Any = None

    def fit(self, x: Any) -> Self:
        """Learn from the rows of `x`, of shape (n, ...); data in files are read in blocks. Return itself."""
        self._learn(_blocks(x, type(self).__name__))
        return self

    def _learn(self, blocks: Iterator[Any]) -> None:
        raise NotImplementedError

    def transform(self, x: Any) -> Any:
        """Return data with the columns that it was fitted on moved and stretched; whole numbers become float32.

        Raises
        ------
        RuntimeError
            If it was not fitted.
        ValueError
            If the rows have another shape than those it was fitted on.
        """
        x, shift, scale = self._for(x)
        return (x - shift) / scale

    def inverse_transform(self, x: Any) -> Any:
        """Return what `transform` would make `x` of; errors are those of `transform`."""
        x, shift, scale = self._for(x)
        return x * scale + shift

    def fit_transform(self, x: Any) -> Any:
        """Learn from the rows of `x` and transform them."""
        return self.fit(x).transform(x)

    def _for(self, x: Any) -> tuple[Any, Any, Any]:
        """Return data and numbers in one library and dtype."""
        name = type(self).__name__
        if self.shift is None:
            raise RuntimeError(f"{name} has not seen data yet: call fit(x) with those to train on.")
        x = to_array(x, f"{name}: x")
        if tuple(x.shape[1:]) != tuple(self.shift.shape):
            wanted = ", ".join(["n", *map(str, self.shift.shape)])
            raise ValueError(f"{name} was fitted on data of shape ({wanted}), got {tuple(x.shape)}.")
        backend = backend_of(x)
        dtype = str(x.dtype).rpartition(".")[2] if "float" in str(x.dtype) else "float32"
        with backend.scope():
            x = backend.xp.astype(x, getattr(backend.xp, dtype))
        return x, backend.from_host(self.shift, dtype), backend.from_host(self.scale, dtype)


class Standardizer(_Scaler):
    r"""Moves each column to mean 0 and stretches it to standard deviation 1.

    .. math:: y = (x - \mu) / \sigma, \qquad \sigma^2 = \tfrac{1}{n} \sum_i (x_i - \mu)^2

    A column that is constant is moved only. The numbers are computed in float64, in one pass over blocks of rows,
    whose means and sums of squares are put together by Chan's formula.

    Attributes
    ----------
    shift, scale : array of float64, or None
        Mean and standard deviation of each column, on the host; None before `fit`.

    Notes
    -----
    The same as scikit-learn's StandardScaler.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance", The American Statistician
    37 (1983), https://doi.org/10.1080/00031305.1983.10483115

    Examples
    --------
    >>> Standardizer().fit_transform([[1.0], [3.0]])
    array([[-1.],
           [ 1.]])
    """

    def _learn(self, blocks: Iterator[Any]) -> None:
        xp = host().xp
        count, mean, squares = 0, 0.0, 0.0
        for block in blocks:
            size = int(block.shape[0])
            own = xp.mean(block, axis=0)
            step = own - mean
            total = count + size
            squares = squares + xp.sum((block - own) ** 2, axis=0) + step**2 * (count * size / total)
            mean = mean + step * (size / total)
            count = total
        deviation = xp.sqrt(squares / count)
        self.shift, self.scale = mean, xp.where(deviation > 0.0, deviation, 1.0)


class MinMaxScaler(_Scaler):
    r"""Moves and stretches each column to lie between `low` and `high`.

    .. math:: y = low + (high - low)\, \frac{x - \min x}{\max x - \min x}

    A column that is constant becomes `low`. Data that were not fitted on may lie outside.

    Parameters
    ----------
    low, high : float
        Where the smallest and the largest value of a column go.

    Attributes
    ----------
    shift, scale : array of float64, or None
        What is subtracted and then divided by, on the host; None before `fit`.

    Raises
    ------
    ValueError
        If `low` is not below `high`.

    Examples
    --------
    >>> MinMaxScaler().fit_transform([[1.0], [3.0], [2.0]])
    array([[0. ],
           [1. ],
           [0.5]])
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        if not low < high:
            raise ValueError(f"MinMaxScaler expects low < high, got {low} and {high}.")
        super().__init__()
        self.low, self.high = float(low), float(high)

    def _learn(self, blocks: Iterator[Any]) -> None:
        xp = host().xp
        least, most = math.inf, -math.inf
        for block in blocks:
            least = xp.minimum(xp.min(block, axis=0), least)
            most = xp.maximum(xp.max(block, axis=0), most)
        width = most - least
        self.scale = xp.where(width > 0.0, width, 1.0) / (self.high - self.low)
        self.shift = least - self.low * self.scale


def _blocks(x: Any, name: str) -> Iterator[Any]:
    """Yield the rows of data in float64 on the host, some at a time."""
    array = x if is_mapped(x) else to_array(x, f"{name}: x")
    count = require_equal_lengths(name, [("x", array)])
    for start in range(0, count, BLOCK):
        rows = array[start : start + BLOCK, ...]
        block = host().from_host(to_numpy(rows) if is_array(rows) else rows, "float64")
        if not bool(namespace(block).all(namespace(block).isfinite(block))):
            raise ValueError(f"{name} expects finite numbers, got NaN or infinite ones. Remove or fill them.")
        yield block
