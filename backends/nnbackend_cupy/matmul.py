"""Products of CuPy arrays: `matmul`, `tensordot` and `vecdot` of the namespace, and the rule of a dense layer.

All of the library's mathematics asks the namespace for its products, so these reach every rule, forwards and backwards,
and each can be captured in a CUDA graph. What cuBLASLt does not multiply, whole numbers and complex ones, is left to
CuPy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import array_api_compat.cupy
import cupy

from nnbackend.backend import namespace
from nnbackend.elementwise import rowwise
from nnbackend.functional.linear import dense as generic_dense
from nnbackend.functional.linear import dense_backward
from nnbackend.precision import get_matmul_precision
from nnbackend.typing import Backward
from nnbackend_cupy import cublas, products
from nnbackend_cupy.cublas import DTYPES, CublasLt, Plan, Product
from nnbackend_cupy.options import in_force

__all__ = [
    "FUNCTIONS",
    "bias_gradients",
    "dense",
    "matmul",
    "multiplies",
    "prepare",
    "product",
    "product_and_sums",
    "tensordot",
    "vecdot",
]

#: Products whose arrangement and plans are kept; ever new shapes must not fill the memory with them.
_KEPT = 4096


class _Launch(NamedTuple):
    """What a product of arrays launches.

    Attributes
    ----------
    copies : pair of bool
        Which of the factors are laid out anew first.
    plans : tuple of (Plan, int, int, int)
        The products, and where each starts in the factors and in the result, in bytes.
    bias_after : bool
        Whether the bias is added afterwards, since no algorithm does it on the way.
    """

    copies: tuple[bool, bool]
    plans: tuple[tuple[Plan, int, int, int], ...]
    bias_after: bool


_compat: Any = array_api_compat.cupy
_launches: dict[tuple[Any, ...], _Launch] = {}


def place() -> tuple[int, int]:
    """Return the current device, and the address of the current stream."""
    return cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr


@functools.cache
def handle(device: int) -> CublasLt:
    """Return the handle for a device. Its workspaces come from CUDA itself, not from a pool that may be given back."""
    return CublasLt(cublas.load(), cupy.cuda.Memory)


def prepare() -> None:
    """Make the handle of the current device and the workspace of the current stream: before a stream is captured."""
    device, stream = place()
    handle(device).reserve(stream)


def multiplies(*arrays: Any) -> bool:
    """Tell whether cuBLASLt multiplies these arrays: all of one floating dtype."""
    first = arrays[0].dtype
    return first.name in DTYPES and all(array.dtype == first for array in arrays[1:])


def matmul(x1: Any, x2: Any, /, **options: Any) -> Any:
    """Matrix product of the last two axes, as the standard defines it."""
    if options or not (x1.ndim and x2.ndim):
        return _compat.matmul(x1, x2, **options)
    if x1.dtype != x2.dtype:
        common = cupy.result_type(x1, x2)
        if common.name in DTYPES:
            x1, x2 = x1.astype(common, copy=False), x2.astype(common, copy=False)
    if not multiplies(x1, x2):
        return _compat.matmul(x1, x2)
    first = x1.reshape((1, -1)) if x1.ndim == 1 else x1
    second = x2.reshape((-1, 1)) if x2.ndim == 1 else x2
    y = product(first, second)
    if x1.ndim > 1 and x2.ndim > 1:
        return y
    shape = y.shape[: -2 if x1.ndim == 1 else -1] + (() if x2.ndim == 1 else y.shape[-1:])
    return y.reshape(shape)


def product(first: Any, second: Any, *, bias: Any = None, out: Any = None) -> Any:
    """Multiply arrays of one floating dtype and of two axes or more.

    Parameters
    ----------
    first, second : cupy.ndarray of shapes (..., n, k) and (..., k, m)
        The factors, however they lie in memory; leading axes broadcast.
    bias : cupy.ndarray of shape (m,), optional
        Added to each row of the product.
    out : cupy.ndarray of shape (..., n, m), optional
        Where the product goes: rows must lie in one piece each, and may lie apart.

    Returns
    -------
    cupy.ndarray of shape (..., n, m)
        The product, `out` where it was given.
    """
    shape = products.stacked_shape(first.shape, second.shape)
    if out is None:
        out = cupy.empty(shape, first.dtype)
    if not math.prod(shape):
        return out
    if not first.shape[-1]:
        out.fill(0.0)
        return out if bias is None else cupy.add(out, bias, out=out)
    if bias is not None and bias.strides[0] != bias.itemsize:
        bias = cupy.ascontiguousarray(bias)
    device, stream = place()
    addresses = first.data.ptr, second.data.ptr, out.data.ptr
    # the result and the bias are looked at together: both are said to be aligned like the worse of them
    aligned = _alignment(addresses[0]), _alignment(addresses[1]), _alignment(addresses[2] | _address(bias))
    key = (
        device, first.dtype.name, get_matmul_precision(), bias is not None, aligned,
        first.shape, first.strides, second.shape, second.strides, out.strides,
    )  # fmt: skip
    launch = _launches.get(key)
    if launch is None:
        if len(_launches) >= _KEPT:
            _launches.clear()
        launch = _launches[key] = _prepared(device, first, second, out, bias, aligned)
    if any(launch.copies):
        lead = shape[:-2]
        first, second = (
            _laid_anew(array, lead) if copied else array
            for array, copied in zip((first, second), launch.copies, strict=True)
        )
        return product(first, second, bias=bias, out=out)
    own = handle(device)
    for plan, a, b, c in launch.plans:
        own.multiply(
            plan, addresses[0] + a, addresses[1] + b, addresses[2] + c, stream=stream, bias=_address(bias)
        )
    return cupy.add(out, bias, out=out) if launch.bias_after else out


def _prepared(
    device: int, first: Any, second: Any, out: Any, bias: Any, aligned: tuple[int, int, int]
) -> _Launch:
    size = first.itemsize
    laid = [
        products.Laid(array.shape, tuple(step // size for step in array.strides))
        for array in (first, second, out)
    ]
    odd = [any(step % size for step in array.strides) for array in (first, second)]
    found = (odd[0], odd[1]) if any(odd) else products.arrange(*laid)
    if not isinstance(found, products.Arrangement):
        return _Launch(found, (), False)
    own, plans = handle(device), []
    fused = bias is not None
    for a, b, c in found.offsets:
        left, right, made = (
            matrix._replace(alignment=_alignment(offset * size, most))
            for matrix, offset, most in zip(
                (found.first, found.second, found.out), (a, b, c), aligned, strict=True
            )
        )
        wanted = Product(
            found.rows, found.columns, found.summed, found.batch, left, right, made,
            dtype=first.dtype.name, precision=get_matmul_precision(), bias=fused,
        )  # fmt: skip
        plan = own.plan(wanted)
        if plan is None and fused:
            fused = False
            plan = own.plan(wanted._replace(bias=False))
        if plan is None:
            raise RuntimeError(f"cuBLASLt has no algorithm for {wanted} on this device.")
        plans.append((plan, a * size, b * size, c * size))
    return _Launch((False, False), tuple(plans), bias is not None and not fused)


def _alignment(address: int, most: int = cublas.ALIGNMENT) -> int:
    """Return the largest power of two that an address is a multiple of, up to `most`."""
    return min(address & -address, most) if address else most


def _address(array: Any) -> int:
    return 0 if array is None else array.data.ptr


def _laid_anew(array: Any, lead: tuple[int, ...]) -> Any:
    """Copy a factor into one piece: over the whole stack where it is the same in a part of it only."""
    shared = all(size == 1 for size in array.shape[:-2])
    if not shared and array.shape[:-2] != lead:
        array = cupy.broadcast_to(array, (*lead, *array.shape[-2:]))
    return cupy.ascontiguousarray(array)


def product_and_sums(first: Any, second: Any) -> tuple[Any, Any] | None:
    """Multiply two matrices of one floating dtype, and sum the columns of the second one on the way.

    Returns
    -------
    pair of cupy.ndarray of shapes (n, m) and (m,), or None
        The product and the sums; None where no algorithm gives both.
    """
    if not (first.size and second.size):
        return None
    left, right = (
        products.Laid(each.shape, tuple(step // each.itemsize for step in each.strides))
        for each in (first, second)
    )
    out = products.contiguous((first.shape[0], second.shape[1]))
    found = products.arrange(left, right, out)
    if not isinstance(found, products.Arrangement):
        return None
    made, sums = cupy.empty(out.shape, first.dtype), cupy.empty(out.shape[1:], first.dtype)
    device, stream = place()
    addresses = [first.data.ptr, second.data.ptr, made.data.ptr]
    aligned = (*map(_alignment, addresses[:2]), _alignment(addresses[2] | sums.data.ptr))
    matrices = [
        matrix._replace(alignment=most)
        for matrix, most in zip((found.first, found.second, found.out), aligned, strict=True)
    ]
    wanted = Product(
        found.rows, found.columns, found.summed, found.batch, matrices[0], matrices[1], matrices[2],
        dtype=first.dtype.name, precision=get_matmul_precision(), sums=True,
    )  # fmt: skip
    own = handle(device)
    plan = own.plan(wanted)
    if plan is None:
        return None
    own.multiply(plan, *addresses, stream=stream, bias=sums.data.ptr)
    return made, sums


def tensordot(x1: Any, x2: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Any:
    """Contract axes of one array with axes of another, as the standard defines it."""
    if isinstance(axes, int):
        axes = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    summed1, summed2 = (
        tuple(axis % array.ndim for axis in own) for own, array in zip(axes, (x1, x2), strict=True)
    )
    kept1 = tuple(axis for axis in range(x1.ndim) if axis not in summed1)
    kept2 = tuple(axis for axis in range(x2.ndim) if axis not in summed2)
    if tuple(x1.shape[axis] for axis in summed1) != tuple(x2.shape[axis] for axis in summed2):
        raise ValueError(
            f"tensordot expects axes of the same lengths, got {x1.shape} along {summed1} and {x2.shape} along "
            f"{summed2}."
        )
    shape = (*(x1.shape[axis] for axis in kept1), *(x2.shape[axis] for axis in kept2))
    if not summed1:
        return x1.reshape((*x1.shape, *(1,) * x2.ndim)) * x2
    length = math.prod(x1.shape[axis] for axis in summed1)
    first = x1.transpose((*kept1, *summed1)).reshape((math.prod(shape[: len(kept1)]), length))
    second = x2.transpose((*summed2, *kept2)).reshape((length, math.prod(shape[len(kept1) :])))
    return matmul(first, second).reshape(shape)


@rowwise
def _inner(x: Any, y: Any) -> Any:
    return namespace(x).sum(x * y, axis=-1, keepdims=True)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Inner products along an axis, as the standard defines it: one pass over both, not products of matrices."""
    if not multiplies(x1, x2):
        return _compat.vecdot(x1, x2, axis=axis)
    if x1.shape[axis] != x2.shape[axis]:
        raise ValueError(
            f"vecdot expects arrays of the same length along axis {axis}, got {x1.shape} and {x2.shape}."
        )
    first, second = cupy.moveaxis(x1, axis, -1), cupy.moveaxis(x2, axis, -1)
    return _inner(first, second)[..., 0]


#: What the namespace has of this.
FUNCTIONS: dict[str, Any] = {"matmul": matmul, "tensordot": tensordot, "vecdot": vecdot}


def dense(x: Any, kernel: Any, bias: Any = None) -> tuple[Any, Backward]:
    """Affine map of the last axis, the bias being added while the product is still at hand."""
    fits = bias is not None and kernel.ndim == 2 and x.ndim > 0 and x.shape[-1] == kernel.shape[0]
    fits = fits and bias.shape == kernel.shape[1:] and multiplies(x, kernel, bias)
    if not fits:
        return generic_dense.function(x, kernel, bias)
    rows = x if x.ndim == 2 else x.reshape((-1, x.shape[-1]))
    y = product(rows, kernel, bias=bias)
    if x.ndim != 2:
        y = y.reshape((*x.shape[:-1], kernel.shape[1]))
    generic = dense_backward(x, rows, kernel, bias)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        both = needs[1] and needs[2] and bias_gradients() == "product"
        fits = both and isinstance(dy, cupy.ndarray) and multiplies(dy, kernel)
        found = product_and_sums(rows.T, dy.reshape((-1, dy.shape[-1]))) if fits else None
        if found is None:
            return generic(dy, needs)
        return generic(dy, (needs[0], False, False))[0], *found

    return y, backward


def bias_gradients() -> str | None:
    """Return what sums the gradients of biases, an option of the backend in force."""
    return in_force().bias_gradient
