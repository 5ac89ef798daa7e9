r"""Pooling: the largest element or the mean of each window of the axes of space.

Inputs have the axes of samples first and of channels last, with any number of axes of space between them. A window of
several axes is taken one axis after the other, the last one first: the largest element of a box is the largest of the
largest of its rows, and its mean is the mean of theirs. That costs the sum of a window's lengths, not their product,
and of equal maxima it finds the first in row-major order.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.elementwise import elementwise
from nnbackend.functional.rules import zeros
from nnbackend.typing import Array, Backward, Shape

__all__ = [
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "global_average_pool",
    "global_max_pool",
    "max_pool",
    "pooled_shape",
]


def _along(axis: int, *index: Any) -> tuple[Any, ...]:
    """Return the key that takes `index` along one axis and all of the others."""
    return (*(slice(None),) * axis, *index, ...)


def _on_axis(values: Any, axis: int, ndim: int) -> Any:
    """Give a row of numbers the shape in which it broadcasts along one axis."""
    return namespace(values).reshape(values, (1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


def _numbers(count: int, like: Any) -> Any:
    """Return the whole numbers below `count`, where `like` lies."""
    array = plain(like)
    backend = backend_of(array)
    return backend.xp.arange(count, dtype=backend.xp.int64, device=backend.device(array))


class _Windows(ABC):
    """The windows along one axis: tap j of all windows at once, and the way back of what was done to each tap."""

    #: How long the axis is, how many windows there are, and how many elements the longest has.
    length: int
    count: int
    size: int

    @abstractmethod
    def taps(self, x: Any, axis: int, *, edge: bool) -> list[Any]:
        """Return element j of every window, for every j.

        Beyond its end a window repeats an element of its own where `edge`, and has zeros otherwise.
        """

    @abstractmethod
    def spread(self, gradients: Sequence[Any], axis: int, *, edge: bool) -> Any:
        """Add the gradients of the taps up where the taps were taken."""

    @abstractmethod
    def counts(self, like: Any, axis: int, ndim: int) -> Any:
        """Return how many elements each window has: one number where all have the same."""


@dataclass(frozen=True)
class _Sliding(_Windows):
    """Windows of one length at equal distances: views of strided slices."""

    length: int
    count: int
    size: int
    stride: int
    before: int  # how far the first window reaches beyond the start

    @property
    def _after(self) -> int:
        return max(0, (self.count - 1) * self.stride + self.size - self.before - self.length)

    def taps(self, x: Any, axis: int, *, edge: bool) -> list[Any]:
        x = self._padded(x, axis, edge)
        reach = (self.count - 1) * self.stride + 1
        return [x[_along(axis, slice(j, j + reach, self.stride))] for j in range(self.size)]

    def _padded(self, x: Any, axis: int, edge: bool) -> Any:
        if not (self.before or self._after):
            return x
        xp = namespace(x)
        shape = tuple(x.shape)

        def margin(width: int, at: int) -> list[Any]:
            if width == 0:
                return []
            wide = (*shape[:axis], width, *shape[axis + 1 :])
            if not edge:
                return [zeros(wide, x)]
            return [xp.broadcast_to(x[_along(axis, slice(at, at + 1))], wide)]

        return xp.concat([*margin(self.before, 0), x, *margin(self._after, self.length - 1)], axis=axis)

    def spread(self, gradients: Sequence[Any], axis: int, *, edge: bool) -> Any:
        # position p = i s + r lies in window i - m as tap m s + r: each remainder r is a sum of shifted gradients,
        # and the sums interleave
        xp = namespace(gradients[0])
        shape = tuple(gradients[0].shape)
        shifts = -(-self.size // self.stride)
        steps = self.count + shifts - 1

        def shifted(gradient: Any, by: int) -> Any:
            ends = [zeros((*shape[:axis], n, *shape[axis + 1 :]), gradient) for n in (by, shifts - 1 - by)]
            return gradient if shifts == 1 else xp.concat([ends[0], gradient, ends[1]], axis=axis)

        phases = []
        for r in range(self.stride):
            parts = [shifted(gradients[j], j // self.stride) for j in range(r, self.size, self.stride)]
            total = parts[0] if parts else zeros((*shape[:axis], steps, *shape[axis + 1 :]), gradients[0])
            for part in parts[1:]:
                total = total + part
            phases.append(total)
        dx = phases[0]
        if self.stride > 1:
            woven = (*shape[:axis], steps * self.stride, *shape[axis + 1 :])
            dx = xp.reshape(xp.stack(phases, axis=axis + 1), woven)
        return self._cropped(dx, axis, edge)

    def _cropped(self, dx: Any, axis: int, edge: bool) -> Any:
        """Take the margins away; where they repeated the edge, their gradients are the edge's."""
        xp = namespace(dx)
        start, stop = self.before, self.before + self.length
        missing = stop - dx.shape[axis]
        if missing > 0:  # no window reaches the end
            wide = (*dx.shape[:axis], missing, *dx.shape[axis + 1 :])
            dx = xp.concat([dx, zeros(wide, dx)], axis=axis)
        if not edge or not (self.before or self._after):
            whole = start == 0 and stop == dx.shape[axis]
            return dx if whole else dx[_along(axis, slice(start, stop))]
        stop = start + self.length
        if self.length == 1:
            return xp.sum(dx, axis=axis, keepdims=True)
        first = xp.sum(dx[_along(axis, slice(None, start + 1))], axis=axis, keepdims=True)
        last = xp.sum(dx[_along(axis, slice(stop - 1, stop + self._after))], axis=axis, keepdims=True)
        return xp.concat([first, dx[_along(axis, slice(start + 1, stop - 1))], last], axis=axis)

    def counts(self, like: Any, axis: int, ndim: int) -> Any:
        if not (self.before or self._after):
            return float(self.size)
        xp = namespace(plain(like))
        start = _numbers(self.count, like) * self.stride - self.before
        inside = xp.minimum(start + self.size, xp.full_like(start, self.length))
        inside = inside - xp.maximum(start, xp.zeros_like(start))
        return _on_axis(xp.astype(inside, plain(like).dtype), axis, ndim)


@dataclass(frozen=True)
class _Adaptive(_Windows):
    """A given number of windows that cover an axis: window i from floor(i n / m) to ceil((i + 1) n / m)."""

    length: int
    count: int

    @property
    def size(self) -> int:  # type: ignore[override]
        n, m = self.length, self.count
        return max(-(-(i + 1) * n // m) - i * n // m for i in range(m))

    def _bounds(self, like: Any) -> tuple[Any, Any]:
        i = _numbers(self.count, like)
        n, m = self.length, self.count
        return i * n // m, ((i + 1) * n + m - 1) // m

    def taps(self, x: Any, axis: int, *, edge: bool) -> list[Any]:
        xp, own = namespace(x), namespace(plain(x))
        start, stop = self._bounds(x)
        taps = []
        for j in range(self.size):
            tap = xp.take(x, own.minimum(start + j, stop - 1), axis=axis)
            taps.append(tap if edge else self._where(start + j < stop, tap, axis))
        return taps

    @staticmethod
    def _where(condition: Any, values: Any, axis: int) -> Any:
        return namespace(values).where(_on_axis(condition, axis, values.ndim), values, 0.0)

    def spread(self, gradients: Sequence[Any], axis: int, *, edge: bool) -> Any:
        # position p lies in the windows from floor(p m / n) to ceil((p + 1) m / n) - 1; the gradient of a repeated
        # tap is zero, and is not looked up
        xp, own = namespace(gradients[0]), namespace(plain(gradients[0]))
        n, m = self.length, self.count
        flat = xp.concat(list(gradients), axis=axis)  # tap j of window i is at j m + i
        start, _ = self._bounds(gradients[0])
        p = _numbers(n, gradients[0])
        first, end = p * m // n, ((p + 1) * m + n - 1) // n
        dx: Any = 0.0
        for b in range(max(-(-(p + 1) * m // n) - p * m // n for p in range(n))):
            window = own.minimum(first + b, end - 1)
            place = (p - own.take(start, window, axis=0)) * m + window
            part = xp.take(flat, place, axis=axis)
            dx = dx + (part if b == 0 else self._where(first + b < end, part, axis))
        return dx

    def counts(self, like: Any, axis: int, ndim: int) -> Any:
        start, stop = self._bounds(like)
        return _on_axis(namespace(start).astype(stop - start, plain(like).dtype), axis, ndim)


def _whole_numbers(owner: str, name: str, value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Return a positive whole number for each axis of space."""
    given: tuple[Any, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    try:
        numbers = tuple(operator.index(number) for number in given)
        if any(isinstance(number, bool) for number in given):
            raise TypeError
    except TypeError:
        raise TypeError(f"{owner} expects {name} to hold whole numbers, got {value!r}.") from None
    if len(numbers) != axes:
        raise ValueError(
            f"{owner} expects one {name} for all axes of space or one for each of the {axes}, got {value!r}."
        )
    if any(number < 1 for number in numbers):
        raise ValueError(f"{owner} expects {name} of at least 1, got {value!r}.")
    return numbers


def _space(owner: str, shape: Shape) -> Shape:
    if len(shape) < 3:
        raise ValueError(
            f"{owner} expects x of shape (n, ..., c), with axes of space between samples and channels, got "
            f"{tuple(shape)}."
        )
    return tuple(shape[1:-1])


def _sliding(owner: str, space: Shape, pool_size: Any, strides: Any, padding: str) -> list[_Sliding]:
    """Return the windows along each axis of space, as TensorFlow and Keras lay them out."""
    sizes = _whole_numbers(owner, "pool_size", pool_size, len(space))
    steps = sizes if strides is None else _whole_numbers(owner, "strides", strides, len(space))
    if padding not in ("valid", "same"):
        raise ValueError(f"{owner} expects padding 'valid' or 'same', got {padding!r}.")
    windows = []
    for length, size, stride in zip(space, sizes, steps, strict=True):
        if length < (size if padding == "valid" else 1):
            raise ValueError(
                f"{owner} expects axes of space that hold a window of {sizes} with padding {padding!r}, got {space}. "
                "Make the windows smaller, or let them reach over the edges with padding='same'."
            )
        if padding == "valid":
            windows.append(_Sliding(length, (length - size) // stride + 1, size, stride, 0))
        else:
            count = -(-length // stride)
            beyond = max(0, (count - 1) * stride + size - length)
            windows.append(_Sliding(length, count, size, stride, beyond // 2))
    return windows


def pooled_shape(
    owner: str,
    space: Shape,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> Shape:
    r"""Return the lengths of the axes of space after pooling.

    .. math:: \lfloor (h - k) / s \rfloor + 1 \text{ for "valid"}, \qquad \lceil h / s \rceil \text{ for "same"}

    Parameters
    ----------
    owner : str
        Who asks; named in errors.
    space : tuple of int
        The lengths h before.
    pool_size : int or sequence of int
        The lengths k of a window.
    strides : int or sequence of int, optional
        The steps s; those of the windows' lengths without it.
    padding : {"valid", "same"}
        Whether windows reach over the edges.

    Returns
    -------
    tuple of int
        As many as in `space`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.pooled_shape("pool", (7, 8), 3, 2, "same")
    (4, 4)
    """
    return tuple(w.count for w in _sliding(owner, tuple(space), pool_size, strides, padding))


def _adaptive(owner: str, shape: Shape, output_size: Any) -> list[_Windows]:
    space = _space(owner, shape)
    counts = _whole_numbers(owner, "output_size", output_size, len(space))
    if 0 in space:
        raise ValueError(f"{owner} expects axes of space that are not empty, got shape {tuple(shape)}.")
    return [
        _Sliding(n, m, n // m, n // m, 0) if n % m == 0 else _Adaptive(n, m)
        for n, m in zip(space, counts, strict=True)
    ]


def _largest(x: Any, windows: Sequence[_Windows], down_to: int = 1) -> list[Any]:
    """Return `x`, and what is left of it after each axis from the last one down to a given one."""
    stages = [x]
    for axis in range(len(windows), down_to - 1, -1):
        first, *others = windows[axis - 1].taps(stages[-1], axis, edge=True)
        for tap in others:
            first = namespace(first).maximum(first, tap)
        stages.append(first)
    return stages


@elementwise
def _claimed(tap: Array, y: Array, left: Array) -> Any:
    """Return what this tap takes of the gradient that is left, and what it leaves to later ones."""
    xp = namespace(left)
    hit = (tap == y) | (tap != tap)  # a NaN is the maximum
    return xp.where(hit, left, 0.0), xp.where(hit, 0.0, left)


def _max_over(x: Any, windows: Sequence[_Windows]) -> tuple[Any, Backward]:
    """Return the largest element of each window, and the way back to the first of equals."""
    y = _largest(x, windows)[-1]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        # which element is the largest does not change with x: the stages are constants to gradients of this one
        stages = [*_largest(plain(x), windows, down_to=2), plain(y)]
        for axis, window in enumerate(windows, start=1):
            *taps, _ = window.taps(stages[-axis - 1], axis, edge=True)
            gradients, left = [], dy
            for tap in taps:
                gradient, left = _claimed(tap, stages[-axis], left)
                gradients.append(gradient)
            dy = window.spread([*gradients, left], axis, edge=True)
        return (dy,)

    return y, backward


def _average_over(x: Any, windows: Sequence[_Windows]) -> tuple[Any, Backward]:
    """Return the mean of the elements of each window, and the way back."""
    ndim, y = x.ndim, x
    shape: Any = 1.0
    for axis in range(len(windows), 0, -1):
        window = windows[axis - 1]
        total, *others = window.taps(y, axis, edge=False)
        for tap in others:
            total = total + tap
        y, shape = total, shape * window.counts(x, axis, ndim)
    counts = shape

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy = dy / counts
        for axis, window in enumerate(windows, start=1):
            dy = window.spread([dy] * window.size, axis, edge=False)
        return (dy,)

    return y / counts, backward


@differentiable
def max_pool(
    x: Array,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Array, Backward]:
    r"""Largest element of each window of the axes of space; for any number of them.

    .. math:: y_i = \max_{0 \le j < k} x_{s i + j - p}, \qquad
              \frac{\partial L}{\partial x_q} = \sum_{i:\, q \text{ is the first maximum of window } i}
              \frac{\partial L}{\partial y_i}

    Parameters
    ----------
    x : array of shape (n, h, w, c), or with any other number of axes of space
        Floating.
    pool_size : int or sequence of int
        The lengths k of a window.
    strides : int or sequence of int, optional
        The steps s between windows; the windows' lengths without it.
    padding : {"valid", "same"}
        With ``"valid"`` windows lie inside; with ``"same"`` there are :math:`\lceil h/s \rceil` of them, which reach
        over the edges evenly, one more at the end. What lies outside is no element.

    Returns
    -------
    array of shape (n, h', w', c)
        The lengths are those of `pooled_shape`. A window with NaN gives NaN.

    Raises
    ------
    ValueError
        If a window does not fit, `padding` is unknown, or a number is missing or not positive.
    TypeError
        If `pool_size` or `strides` are not whole numbers.

    Notes
    -----
    Of equal maxima the first in row-major order gets the whole gradient, on every backend; where a window has NaN, its
    first NaN does. PyTorch does the same for numbers and takes the last NaN. PyTorch's padding is given in numbers and
    even on both sides; ``"same"`` is TensorFlow's and Keras's.

    Kept for the gradient are x and y alone.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0], [3.0], [2.0], [4.0], [0.0]]])
    >>> nn.functional.max_pool(x, pool_size=2)[0, :, 0]
    array([3., 4.])
    >>> nn.functional.max_pool(x, pool_size=3, strides=2, padding="same")[0, :, 0]
    array([3., 4., 4.])
    """
    space = _space("max_pool", tuple(x.shape))
    return _max_over(x, _sliding("max_pool", space, pool_size, strides, padding))


@differentiable(wide=True)
def average_pool(
    x: Array,
    *,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> tuple[Array, Backward]:
    r"""Mean of each window of the axes of space; for any number of them.

    .. math:: y_i = \frac{1}{k_i} \sum_j x_{s i + j - p}, \qquad
              \frac{\partial L}{\partial x_q} = \sum_{i:\, q \text{ in window } i}
              \frac{1}{k_i} \frac{\partial L}{\partial y_i}

    with the number :math:`k_i` of elements of window i.

    Parameters
    ----------
    x : array of shape (n, h, w, c), or with any other number of axes of space
        Floating.
    pool_size : int or sequence of int
        The lengths of a window.
    strides : int or sequence of int, optional
        The steps s between windows; the windows' lengths without it.
    padding : {"valid", "same"}
        As for `max_pool`. What lies outside is not counted.

    Returns
    -------
    array of shape (n, h', w', c)
        The lengths are those of `pooled_shape`.

    Raises
    ------
    ValueError
        If a window does not fit, `padding` is unknown, or a number is missing or not positive.
    TypeError
        If `pool_size` or `strides` are not whole numbers.

    Notes
    -----
    With padding the mean is that of the real elements, as in Keras and TensorFlow; PyTorch counts the padding unless
    told ``count_include_pad=False``.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0], [3.0], [2.0], [4.0], [6.0]]])
    >>> nn.functional.average_pool(x, pool_size=2, padding="same")[0, :, 0]
    array([2., 3., 6.])
    """
    space = _space("average_pool", tuple(x.shape))
    return _average_over(x, _sliding("average_pool", space, pool_size, strides, padding))


@differentiable
def adaptive_max_pool(x: Array, *, output_size: int | Sequence[int]) -> tuple[Array, Backward]:
    r"""Largest element of each of a given number of windows that cover the axes of space.

    .. math:: y_i = \max x_{\lfloor i h / m \rfloor \ldots \lceil (i + 1) h / m \rceil - 1}

    for m windows on h elements; the gradient goes to the first maximum of each, as in `max_pool`.

    Parameters
    ----------
    x : array of shape (n, h, w, c), or with any other number of axes of space
        Floating.
    output_size : int or sequence of int
        How many windows m there are on each axis; more than elements are allowed.

    Returns
    -------
    array of shape (n, m, m', c)
        A window with NaN gives NaN.

    Raises
    ------
    ValueError
        If `output_size` does not fit, or an axis of space is empty.
    TypeError
        If it does not hold whole numbers.

    Notes
    -----
    The windows are PyTorch's: they differ in length by at most one and overlap where h is no multiple of m. Where it is
    one, this is `max_pool` with windows of h/m.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0], [3.0], [2.0], [4.0], [0.0]]])
    >>> nn.functional.adaptive_max_pool(x, output_size=3)[0, :, 0]
    array([3., 4., 4.])
    """
    return _max_over(x, _adaptive("adaptive_max_pool", tuple(x.shape), output_size))


@differentiable(wide=True)
def adaptive_average_pool(x: Array, *, output_size: int | Sequence[int]) -> tuple[Array, Backward]:
    r"""Mean of each of a given number of windows that cover the axes of space.

    .. math:: y_i = \frac{1}{b_i - a_i} \sum_{q = a_i}^{b_i - 1} x_q, \quad a_i = \lfloor i h / m \rfloor,
              \; b_i = \lceil (i + 1) h / m \rceil, \qquad
              \frac{\partial L}{\partial x_q} = \sum_{i:\, a_i \le q < b_i}
              \frac{1}{b_i - a_i} \frac{\partial L}{\partial y_i}

    Parameters
    ----------
    x : array of shape (n, h, w, c), or with any other number of axes of space
        Floating.
    output_size : int or sequence of int
        How many windows m there are on each axis; more than elements are allowed.

    Returns
    -------
    array of shape (n, m, m', c)
        The means.

    Raises
    ------
    ValueError
        If `output_size` does not fit, or an axis of space is empty.
    TypeError
        If it does not hold whole numbers.

    Notes
    -----
    The windows are those of `adaptive_max_pool`, which are PyTorch's.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0], [3.0], [2.0], [4.0], [0.0]]])
    >>> nn.functional.adaptive_average_pool(x, output_size=3)[0, :, 0]
    array([2., 3., 2.])
    """
    return _average_over(x, _adaptive("adaptive_average_pool", tuple(x.shape), output_size))


def _flat_space(owner: str, x: Any) -> tuple[Any, int]:
    """Lay the axes of space out in one, and return how long it is."""
    size = math.prod(_space(owner, tuple(x.shape)))
    if size == 0:
        raise ValueError(f"{owner} expects axes of space that are not empty, got shape {tuple(x.shape)}.")
    return namespace(x).reshape(x, (x.shape[0], size, x.shape[-1])), size


@differentiable
def global_max_pool(x: Array, *, keepdims: bool = False) -> tuple[Array, Backward]:
    r"""Largest element of all axes of space; the gradient goes to the first maximum, as in `max_pool`.

    .. math:: y = \max_q x_q

    Parameters
    ----------
    x : array of shape (n, h, w, c), or with any other number of axes of space
        Floating.
    keepdims : bool
        Keep the axes of space with length one.

    Returns
    -------
    array of shape (n, c), or (n, 1, 1, c)
        NaN where there is one.

    Raises
    ------
    ValueError
        If there is no axis of space, or an empty one.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0], [3.0], [2.0]]])
    >>> nn.functional.global_max_pool(x)
    array([[3.]])
    """
    shape = tuple(x.shape)
    flat, size = _flat_space("global_max_pool", x)
    xp = namespace(x)
    y = xp.max(flat, axis=1, keepdims=True)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        values, top = plain(flat), plain(y)
        own = namespace(values)
        hit = own.astype((values == top) | (values != values), own.int8)
        first = own.argmax(hit, axis=1, keepdims=True)
        chosen = _on_axis(_numbers(size, values), 1, 3) == first
        dx = xp.where(chosen, xp.reshape(dy, top.shape), 0.0)
        return (xp.reshape(dx, shape),)

    return xp.reshape(y, _global_shape(shape, keepdims)), backward


def _global_shape(shape: Shape, keepdims: bool) -> Shape:
    space = (1,) * (len(shape) - 2) if keepdims else ()
    return (shape[0], *space, shape[-1])


@differentiable(wide=True)
def global_average_pool(
    x: Array, mask: Array | None = None, *, keepdims: bool = False
) -> tuple[Array, Backward]:
    r"""Mean over all axes of space, of those elements that a mask holds.

    .. math:: y = \frac{1}{\sum_q m_q} \sum_q m_q x_q, \qquad
              \frac{\partial L}{\partial x_q} = \frac{m_q}{\sum_q m_q} \frac{\partial L}{\partial y}

    Parameters
    ----------
    x : array of shape (n, h, w, c), or with any other number of axes of space
        Floating.
    mask : boolean array of shape (n, h, w), optional
        Which elements count; all without it. For sequences (n, t), the steps that are no padding.
    keepdims : bool
        Keep the axes of space with length one.

    Returns
    -------
    array of shape (n, c), or (n, 1, 1, c)
        Zero where the mask holds nothing of a sample.

    Raises
    ------
    ValueError
        If there is no axis of space, or an empty one, or the mask has another shape.

    Notes
    -----
    Sums are taken in float64. Keras divides by zero where a mask holds nothing. What is masked may be NaN or infinite.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> x = xp.asarray([[[1.0], [3.0], [8.0]]])
    >>> nn.functional.global_average_pool(x)
    array([[4.]])
    >>> nn.functional.global_average_pool(x, xp.asarray([[True, True, False]]))
    array([[2.]])
    """
    shape = tuple(x.shape)
    flat, size = _flat_space("global_average_pool", x)
    xp = namespace(x)
    held: Any = None
    count: Any = float(size)
    if mask is not None:
        if tuple(mask.shape) != shape[:-1]:
            raise ValueError(
                f"global_average_pool expects a mask of shape {shape[:-1]} for x of shape {shape}, got "
                f"{tuple(mask.shape)}."
            )
        values = plain(mask)
        own = namespace(values)
        held = own.reshape(values, (shape[0], size, 1))
        count = own.sum(own.astype(held, plain(x).dtype), axis=1, keepdims=True)
        count = own.maximum(count, own.ones_like(count))
        flat = xp.where(held, flat, 0.0)
    total = xp.sum(flat, axis=1, keepdims=True, dtype=xp.float64)
    y = xp.astype(total, x.dtype) / count

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        share = xp.broadcast_to(xp.reshape(dy, (shape[0], 1, shape[-1])) / count, (shape[0], size, shape[-1]))
        if held is not None:
            share = xp.where(held, share, 0.0)
        return (xp.reshape(share, shape), None)

    return xp.reshape(y, _global_shape(shape, keepdims)), backward
