"""Who has the threads in a recorded step: BLAS, or work that is spread in pieces (`nnbackend_numpy.threads`).

The two get in each other's way: after their part of a product OpenBLAS's threads wait for the next one without giving
their cores back, for 2**26 cycles, on which pieces are to be worked on meanwhile. So one of the two has the threads for
a whole step, by what the step is made of.
"""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from nnbackend_numpy.grouped import conv, conv_kernel_gradient, conv_transpose
from nnbackend_numpy.recording import Form, Operation, Place
from nnbackend_numpy.threads import all_for_pieces, allowed, none_for_pieces, spread

__all__ = ["Holder", "holder_of", "is_large_product", "product"]

#: Two matrices and the memory of their product.
Factors: TypeAlias = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

#: Rules that spend their time in pieces.
_IN_PIECES = frozenset({conv, conv_kernel_gradient, conv_transpose})
#: Multiplications from which OpenBLAS takes a product to several threads.
_BY_BLAS = 1 << 18
#: Multiplications of a product from which it is spread: a third of a millisecond of float32 on one thread.
_LARGE = 1 << 24
#: Rows or columns of a product are cut at multiples of this number, which are whole steps of BLAS's routines.
_CUT = 16


class Holder(enum.Enum):
    """Who has the threads."""

    PIECES = enum.auto()
    """Work in pieces: BLAS has one thread, and large products are cut and spread as well."""
    BLAS = enum.auto()
    """BLAS: nothing is spread."""
    ANYONE = enum.auto()
    """Nobody: the step has no products that BLAS would take to several threads."""

    def has_threads(self) -> contextlib.AbstractContextManager[None]:
        """Return what keeps to it in a ``with`` block."""
        if self is Holder.PIECES:
            return all_for_pieces()
        return none_for_pieces() if self is Holder.BLAS else contextlib.nullcontext()


def holder_of(operations: Sequence[Operation], forms: Sequence[Form]) -> Holder:
    """Return who is to have the threads in a step of these operations."""
    if any(op.kind == "rule" and op.function in _IN_PIECES for op in operations):
        return Holder.PIECES
    if any(op.function is np.matmul and _multiplications(op, forms) >= _BY_BLAS for op in operations):
        return Holder.BLAS
    return Holder.ANYONE


def is_large_product(op: Operation, forms: Sequence[Form]) -> bool:
    """Tell whether an operation is a product of two matrices that is worth spreading."""
    return (
        op.function is np.matmul
        and all(isinstance(a, Place) and len(forms[a].shape) == 2 for a in op.arguments)
        and _multiplications(op, forms) >= _LARGE
    )


def product(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
    """Multiply two matrices, rows or columns spread over the threads.

    Each element is a sum in the order that BLAS has for the product in one piece: cuts do not go through sums.
    """
    spread(_parts(a, b, out, allowed()), _multiply)


def _parts(
    a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], out: np.ndarray[Any, Any], count: int
) -> list[Factors]:
    """Cut the longer side of a product into so many parts, or fewer."""
    rows, columns = out.shape
    length = max(rows, columns)
    step = -(-length // (count * _CUT)) * _CUT
    cuts = [slice(start, start + step) for start in range(0, length, step)]
    if columns >= rows:
        return [(a, b[:, cut], out[:, cut]) for cut in cuts]
    return [(a[cut], b, out[cut]) for cut in cuts]


def _multiply(parts: Iterable[Factors]) -> None:
    for a, b, out in parts:
        np.matmul(a, b, out)


def _multiplications(op: Operation, forms: Sequence[Form]) -> int:
    """How many multiplications a product of matrices takes; of a stack, one of them."""
    first, second = (forms[a].shape if isinstance(a, Place) else np.shape(a) for a in op.arguments)
    return math.prod(first[-2:]) * (second[-1] if len(second) > 1 else 1)
