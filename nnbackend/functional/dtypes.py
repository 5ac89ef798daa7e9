"""Dtypes by name: they stand for whatever dtype the library that holds an array has of that name."""

from __future__ import annotations

from typing import Any

from nnbackend.backend import host
from nnbackend.typing import DType

__all__ = [
    "bfloat16",
    "bool",
    "finfo",
    "float16",
    "float32",
    "float64",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


def _name(dtype: DType) -> str:
    """Return the name of any library's dtype: ``float32`` for ``torch.float32``."""
    return str(getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype).rpartition(".")[2]


class DTypeName(str):
    """The name of a dtype, equal to every library's dtype of that name."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> Any:
        return str.__eq__(self, _name(other))

    def __ne__(self, other: object) -> Any:
        return not self == other


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> Any:
    """Tell whether a dtype, of any library, is of a kind: the standard's words, dtypes, or a tuple of them.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.isdtype(nn.get_backend("numpy").xp.float32, "real floating")
    True
    """
    xp = host().xp
    if _name(dtype) == "bfloat16":  # which NumPy has not
        words = kind if isinstance(kind, tuple) else (kind,)
        return any(str(k) in ("real floating", "numeric") or _name(k) == "bfloat16" for k in words)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    own = {
        "bool",
        "signed integer",
        "unsigned integer",
        "integral",
        "real floating",
        "complex floating",
        "numeric",
    }
    words = tuple(
        k if isinstance(k, str) and str(k) in own - {"bool"} else getattr(xp, _name(k)) for k in kinds
    )
    return xp.isdtype(getattr(xp, _name(dtype)), words)


def _dtype(x: Any) -> Any:
    """Return an array's dtype, or a dtype as it is; NumPy's scalar types are both class and dtype."""
    return x if isinstance(x, type) else getattr(x, "dtype", x)


def finfo(x: Any, /) -> Any:
    """Return the limits of a floating dtype, or of an array's."""
    xp = host().xp
    return xp.finfo(getattr(xp, _name(_dtype(x))))


def iinfo(x: Any, /) -> Any:
    """Return the limits of an integer dtype, or of an array's."""
    xp = host().xp
    return xp.iinfo(getattr(xp, _name(_dtype(x))))


bool = DTypeName("bool")
int8, int16, int32, int64 = (DTypeName(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (DTypeName(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, bfloat16 = DTypeName("float16"), DTypeName("bfloat16")
float32, float64 = DTypeName("float32"), DTypeName("float64")
