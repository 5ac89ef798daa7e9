"""What the rules share: functions without a gradient, undoing broadcasts, and shapes of reductions."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from nnbackend.autodiff import Deferred, Operators, Tensor
from nnbackend.backend import backend_of, is_array, namespace, plain
from nnbackend.elementwise import is_half
from nnbackend.tree import map as tree_map
from nnbackend.typing import Array, Axis, DType, Namespace, Shape

__all__ = [
    "added_up",
    "borders",
    "common_namespace",
    "composed",
    "dtype_of",
    "floating_like",
    "library",
    "like",
    "normalize_axes",
    "normalize_axis",
    "reduced_size",
    "restore_axes",
    "sizes",
    "sum_of_rows",
    "sum_to",
    "unbroadcast",
    "without_gradient",
    "zeros",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def without_gradient(function: Function) -> Function:
    """Mark a function of arrays whose derivative is zero or does not exist: it sees arrays, never tensors.

    Given tensors it returns tensors, which are constants to any gradient.
    """

    @functools.wraps(function)
    def on_arrays(*arguments: Any, **options: Any) -> Any:
        tensors = any(isinstance(argument, Operators) for argument in arguments)
        for argument in arguments:
            if isinstance(argument, Deferred):
                return argument.__nnbackend_defer__(on_arrays, arguments, options)
        values = [plain(argument) for argument in arguments]
        owner = next((value for value in values if is_array(value)), None)
        if owner is None:
            kinds = ", ".join(type(value).__name__ for value in values) or "nothing"
            raise TypeError(f"{function.__name__} expects at least one array, got {kinds}.")
        backend = backend_of(owner)
        for value in values:
            if is_array(value) and backend_of(value) is not backend:
                raise TypeError(
                    f"{function.__name__} got arrays of two libraries, {backend.name} and {backend_of(value).name}. "
                    "Move one first: backend.from_host(nn.to_numpy(x))."
                )
        with backend.scope():
            result = function(*values, **options)
        return tree_map(Tensor, result) if tensors else result

    return on_arrays  # type: ignore[return-value]


def composed(function: Function) -> Function:
    """Mark a function that is made of rules and has their derivatives: its arrays reach it as tensors.

    So its body is the same for arrays and tensors, and each of its operators is a rule. Given arrays it returns arrays.
    In a graph it is one call, made again for each shape.
    """

    @functools.wraps(function)
    def on_tensors(*arguments: Any, **options: Any) -> Any:
        for argument in (*arguments, *options.values()):
            if isinstance(argument, Deferred):
                return argument.__nnbackend_defer__(on_tensors, arguments, options)
        tensors = any(isinstance(argument, Operators) for argument in (*arguments, *options.values()))
        result = function(*(Tensor(a) if is_array(a) else a for a in arguments), **options)
        return result if tensors else tree_map(plain, result)

    return on_tensors  # type: ignore[return-value]


def common_namespace(*arguments: Any) -> Namespace:
    """Return the namespace of the first argument that is not a Python number."""
    return namespace(next((a for a in arguments if not isinstance(a, (bool, int, float))), arguments[0]))


def library(array: Any) -> Namespace:
    """Return the namespace of the library that holds `array`, also for a tensor."""
    return backend_of(plain(array)).xp


def zeros(shape: Shape, like: Any) -> Any:
    """Return zeros of that shape, in the library, dtype and device of `like`."""
    array = plain(like)
    backend = backend_of(array)
    return backend.xp.zeros(shape, dtype=array.dtype, device=backend.device(array))


def dtype_of(dtype: DType | str, like: Any) -> DType:
    """Return a dtype given by name as that of the library that holds `like`."""
    return getattr(library(like), str(dtype)) if isinstance(dtype, str) else dtype


def floating_like(values: Any, like: Any) -> Any:
    """Cast integers, booleans and other precisions to the dtype of `like`."""
    return values if values.dtype == like.dtype else namespace(values).astype(values, like.dtype)


def unbroadcast(argument: Any) -> Callable[[Any], Any]:
    """Return what sums a gradient to the shape and dtype of an argument, without keeping the argument itself."""
    if not hasattr(argument, "shape"):  # a Python number has no gradient, so this is never asked for one
        return lambda gradient: gradient
    shape, dtype = tuple(argument.shape), argument.dtype
    return lambda gradient: sum_to(gradient, shape, dtype)


def added_up(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Sum floating numbers over axes, in their own dtype; those of 16 bits are added up in float32."""
    xp = namespace(x)
    if is_half(x):
        return xp.astype(xp.sum(x, axis=axis, keepdims=keepdims, dtype=xp.float32), x.dtype)
    return xp.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def sum_to(gradient: Any, shape: Shape, dtype: DType) -> Any:
    """Sum a gradient over the axes along which an argument of this shape was broadcast, and cast it back."""
    xp = namespace(gradient)
    if tuple(gradient.shape) != tuple(shape):
        lead = len(gradient.shape) - len(shape)
        axes = tuple(range(lead)) + tuple(
            axis + lead for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis + lead] != 1
        )
        gradient = added_up(gradient, axes, keepdims=True) if axes else gradient
        gradient = xp.reshape(gradient, tuple(shape))
    return gradient if gradient.dtype == dtype else xp.astype(gradient, dtype)


def sum_of_rows(matrix: Any) -> Any:
    """Sum a matrix over its rows: as a product with ones, where the backend says that this is faster."""
    xp, array = namespace(matrix), plain(matrix)
    backend = backend_of(array)
    if backend.sums_by_products and matrix.dtype in (xp.float32, xp.float64):
        return xp.matmul(backend.full_like(array, 1.0, matrix.shape[:1]), matrix)
    return xp.sum(matrix, axis=0)


def like(gradient: Any, argument: Any) -> Any:
    """Sum a gradient to the shape and dtype of the argument that it belongs to."""
    return sum_to(gradient, argument.shape, argument.dtype)


def normalize_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return axes as a tuple of non-negative numbers; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for number in axes:
        if not -ndim <= number < ndim:
            raise ValueError(f"The axis {number} does not exist in an array of {ndim} dimensions.")
    return tuple(number % ndim for number in axes)


def normalize_axis(axis: int, ndim: int) -> int:
    """Return an axis as a non-negative number."""
    return normalize_axes(axis, ndim)[0]


def reduced_size(shape: Shape, axes: tuple[int, ...]) -> int:
    """Return how many elements a reduction over `axes` takes together."""
    return math.prod(shape[axis] for axis in axes)


def restore_axes(reduced: Any, shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Put back, with length one, the axes that a reduction took away."""
    if keepdims:
        return reduced
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    result: Array = namespace(reduced).reshape(reduced, kept)
    return result


def sizes(owner: str, name: str, value: Any, ndim: int, least: int = 1) -> Shape:
    """Return an argument as one whole number for each axis of space.

    Parameters
    ----------
    owner, name : str
        Whose argument it is and what it is called, for messages.
    value : int or sequence of int
        One number for all axes, or one for each.
    ndim : int
        How many axes of space there are.
    least : int
        The smallest number allowed.

    Returns
    -------
    tuple of int
        Of length `ndim`.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number or sequence of `ndim` of them, or one is too small.
    """
    given = list(value) if isinstance(value, (list, tuple)) else [value] * ndim
    if len(given) != ndim:
        raise ValueError(
            f"{owner} expects {name} to be a whole number or {ndim} of them, got {value!r}. Give one for each axis "
            "of space."
        )
    numbers = []
    for each in given:
        if isinstance(each, bool) or not hasattr(each, "__index__"):
            raise TypeError(f"{owner} expects {name} to be whole numbers, got {value!r}.")
        numbers.append(operator.index(each))
    if min(numbers, default=least) < least:
        raise ValueError(f"{owner} expects {name} to be at least {least}, got {value!r}.")
    return tuple(numbers)


def borders(owner: str, name: str, value: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """Return widths of a border as a pair (before, after) for each axis of space.

    Parameters
    ----------
    owner, name : str
        Whose argument it is and what it is called, for messages.
    value : int, or sequence of int or of pairs of int
        The same on every side, the same on both sides of each axis, or each side of each axis. With one axis of
        space, two numbers are its two sides.
    ndim : int
        How many axes of space there are.

    Returns
    -------
    tuple of pairs of int
        Of length `ndim`.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or a number is negative.
    """
    given = list(value) if isinstance(value, (list, tuple)) else [value] * ndim
    if ndim == 1 and len(given) == 2:
        given = [given]
    if len(given) != ndim:
        raise ValueError(
            f"{owner} expects {name} to be a whole number, or for each of the {ndim} axes of space one or a pair "
            f"(before, after), got {value!r}."
        )
    pairs = [sizes(owner, name, each, 2, least=0) for each in given]
    return tuple((before, after) for before, after in pairs)
