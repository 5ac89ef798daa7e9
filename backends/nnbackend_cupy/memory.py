"""Devices and amounts of memory, as people write them."""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["MemoryUse", "bytes_of", "device_number"]

_UNITS = {"": 1} | {
    name: base**power
    for power, letter in enumerate("kmgt", start=1)
    for name, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


class MemoryUse(NamedTuple):
    """Memory of a device, in bytes.

    Attributes
    ----------
    in_use : int
        What arrays and graphs hold.
    held : int
        What CuPy's pool has taken from the device, in use or not.
    peak : int
        The most that the pool has been seen to hold.
    limit : int
        How much the pool may take; 0 for no limit.
    free, total : int
        What the device has, for all processes.
    """

    in_use: int
    held: int
    peak: int
    limit: int
    free: int
    total: int

    def __str__(self) -> str:
        words = f"{in_words(self.total)}, {in_words(self.free)} free; pool: {in_words(self.in_use)} in use"
        words += f", {in_words(self.held)} held, {in_words(self.peak)} at most"
        return words + (f", limit {in_words(self.limit)}" if self.limit else "")


def in_words(count: int) -> str:
    """Return an amount of memory in words.

    Examples
    --------
    >>> in_words(3 * 2**29), in_words(5 * 2**20)
    ('1.5 GiB', '5.0 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def bytes_of(amount: float | str, total: int) -> int:
    """Return a limit in bytes.

    Parameters
    ----------
    amount : int, float or str
        Bytes; ``"8 GiB"``, ``"500 MB"``; a fraction between 0 and 1 of the total.
    total : int
        The memory of the device.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> bytes_of("2 KiB", 0), bytes_of(0.25, 1000), bytes_of(4096, 0)
    (2048, 250, 4096)
    """
    if isinstance(amount, str):
        found = _AMOUNT.fullmatch(amount)
        unit = _UNITS.get(found[2].lower()) if found else None
        size = float(found[1]) * unit if found and unit else 0.0
    elif isinstance(amount, bool) or not isinstance(amount, numbers.Real):
        size = 0.0
    else:
        size = float(amount) * (total if amount < 1 or (amount == 1 and isinstance(amount, float)) else 1)
    if not 1 <= size < float("inf"):
        raise ValueError(
            "The cupy backend expects memory_limit in bytes, in words such as '8 GiB', or as a fraction of the "
            f"device's memory between 0 and 1, got {amount!r}."
        )
    return int(size)


def device_number(device: int | str, there: Sequence[str]) -> int:
    """Return the number of a device, given as ``1`` or ``"cuda:1"``.

    Parameters
    ----------
    device : int or str
        Which one.
    there : sequence of str
        The devices of this machine, in words, in the order of their numbers.

    Raises
    ------
    ValueError
        If it is not there; the message names those that are.
    """
    number = device
    if isinstance(device, str):
        digits = device.removeprefix("cuda:")
        number = 0 if device == "cuda" else int(digits) if digits.isdecimal() else -1
    whole = isinstance(number, int) and not isinstance(number, bool)
    if not whole or int(number) not in range(len(there)):
        known = ", ".join(there) or "none"
        raise ValueError(
            f"CuPy has no device {device!r}; it has {known}. Ask for one by its number, such as device=0."
        )
    return int(number)
