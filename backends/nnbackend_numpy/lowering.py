"""The calls of NumPy that write the result of a recorded operation into given memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnbackend_numpy.blocks import is_zero, reduces, reduction, select
from nnbackend_numpy.recording import Form, Operation, Place, astype, copied, in_rows
from nnbackend_numpy.shortcuts import Call

__all__ = ["CHOSEN_BY_BITS", "lowered"]

#: Elements from which a choice is made on the bits: below, two copies take less time than three calls.
CHOSEN_BY_BITS = 1 << 11

#: Functions that write their result where ``out=`` says, besides the universal ones.
_WITH_OUT = frozenset({np.concatenate, np.stack})


def lowered(op: Operation, forms: Sequence[Form], out: Any) -> list[Call]:
    """Return calls that write the result of an operation into `out`."""
    function, arguments, options = op.function, op.arguments, op.options
    if isinstance(function, np.ufunc) and not options:
        if function in (np.maximum, np.minimum):  # which want it by name
            return [(functools.partial(function, out=out), [*arguments])]
        return [(function, [*arguments, out])]
    dtype = options.get("dtype")
    plain = len(arguments) == 1 and set(options) <= {"axis", "dtype", "keepdims"}
    if plain and reduces(function, out.dtype) and (dtype is None or function is not np.mean):
        count = math.prod(forms[arguments[0]].shape) // max(1, out.size)
        axis, kept = options.get("axis"), bool(options.get("keepdims"))
        return reduction(function, arguments[0], axis, out, kept, dtype=dtype, count=count)
    if function in (np.argmax, np.argmin) and len(arguments) == 1 and set(options) == {"axis"}:
        return [(getattr(np.ndarray, function.__name__), [arguments[0], options["axis"], out])]
    if function is np.reshape and isinstance(arguments[0], Place) and out.flags.c_contiguous:
        return [(np.copyto, [out.reshape(forms[arguments[0]].shape), arguments[0]])]
    if function in _WITH_OUT and options.keys() <= {"axis"}:
        return [(functools.partial(function, **options, out=out), list(arguments))]
    if function in (copied, in_rows):
        return [(np.copyto, [out, arguments[0]])]
    if function is astype:
        return [(np.copyto, [out, arguments[0], "unsafe"])]
    if function is np.where and _chooses(arguments, forms, out):
        if out.size >= CHOSEN_BY_BITS or is_zero(arguments[2]):
            return [(select, [*arguments, out])]
        condition, chosen, otherwise = arguments
        return [(np.copyto, [out, otherwise]), (np.copyto, [out, chosen, "same_kind", condition])]
    return [(functools.partial(_copy_result, function), [out, options, *arguments])]


def _chooses(arguments: Sequence[Any], forms: Sequence[Form], out: Any) -> bool:
    """Tell whether a choice is one between floating numbers of the result's dtype."""
    if len(arguments) != 3:
        return False
    condition, *branches = ((forms[a] if isinstance(a, Place) else a) for a in arguments)
    if getattr(condition, "dtype", None) != np.bool_ or out.dtype.kind != "f":
        return False
    return all(isinstance(b, (int, float)) or getattr(b, "dtype", None) == out.dtype for b in branches)


def _copy_result(function: Callable[..., Any], out: Any, options: dict[str, Any], *arguments: Any) -> None:
    np.copyto(out, function(*arguments, **options))
