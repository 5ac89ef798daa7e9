"""What arguments must be, said in one wording."""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["positive_integer"]


def positive_integer(owner: str, name: str, value: Any) -> int:
    """Return `value` as a whole number above zero.

    Raises
    ------
    TypeError, ValueError
        If it is none; the message names the owner and the argument.
    """
    try:
        number = operator.index(value)
        if isinstance(value, bool):
            raise TypeError
    except TypeError:
        raise TypeError(f"{owner} expects {name} to be a whole number, got {value!r}.") from None
    if number < 1:
        raise ValueError(f"{owner} expects {name} to be at least 1, got {number}.")
    return number
