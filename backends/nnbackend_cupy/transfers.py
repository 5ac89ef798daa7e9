"""Batches on their way to the device, while the step before is computed.

The order of things is decided here without CuPy: `Lanes` copies, and `nnbackend_cupy.lanes` does so on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Feeder", "Lanes", "Lease", "Slot"]

#: Every array begins at a multiple of so many bytes.
ALIGNMENT = 256
#: Memory for so many batches lets one be computed with, one travel, and one wait for what was told of it.
SLOTS = 3


class Lanes(Protocol):
    """A device with a stream for copies beside the one for computing."""

    def reserve(self, size: int) -> tuple[Any, Any]:
        """Return memory of the host, as an array of bytes, and of the device."""

    def mark(self) -> Any:
        """Return an event after all that computing was told so far."""

    def send(self, source: Any, target: Any, size: int, after: Any) -> Any:
        """Copy from host to device, beside computing, after an event; return the event of its end."""

    def join(self, event: Any) -> None:
        """Let computing wait for an event."""

    def wait(self, event: Any) -> None:
        """Let the host wait for an event."""

    def array(self, target: Any, offset: int, shape: tuple[int, ...], dtype: Any, lease: Lease) -> Any:
        """Return an array in memory of the device, which keeps the lease."""


class Lease:
    """What arrays hold for as long as they lie in a slot."""

    __slots__ = ("__weakref__",)


class Slot:
    """Memory for a batch on the host and on the device.

    Attributes
    ----------
    free : event or None
        After it nobody reads the memory of the device; None while somebody may.
    since : int
        The number of the batch before which it was found free.
    sent : event or None
        After it the memory of the host was copied.
    """

    def __init__(self, size: int, lanes: Lanes, free: Any, since: int) -> None:
        self.size = size
        self.source, self.target = lanes.reserve(size)
        self.free, self.since = free, since
        self.sent: Any = None
        self.lease: weakref.ref[Lease] | None = None


class Feeder:
    """Brings batches of host arrays to a device, one at a time, without waiting for it.

    A batch travels on the stream for copies as soon as it is asked for, so beside the step that computes with the one
    before. The memory of a batch is written again only when its arrays are gone, and after all that computing was told
    until then; that of the host when it was copied.

    Parameters
    ----------
    lanes : Lanes
        The device.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._slots: list[Slot] = []
        self._number = 0

    def __call__(self, batch: Sequence[Any]) -> list[Any]:
        """Return arrays on the device for arrays on the host."""
        arrays = [np.asarray(array, order="C") for array in batch]
        offsets, size = _laid_out(arrays)
        slot = self._slot(size)
        if slot.sent is not None:
            self._lanes.wait(slot.sent)
        for array, offset in zip(arrays, offsets, strict=True):
            slot.source[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
        slot.sent = self._lanes.send(slot.source, slot.target, size, slot.free)
        self._lanes.join(slot.sent)
        lease = Lease()
        slot.lease, slot.free = weakref.ref(lease), None
        return [
            self._lanes.array(slot.target, offset, array.shape, array.dtype, lease)
            for array, offset in zip(arrays, offsets, strict=True)
        ]

    def _slot(self, size: int) -> Slot:
        """Return memory that is free, if it can be since the batch before: then its copy need not wait for a step."""
        self._number += 1
        now = self._lanes.mark()
        for slot in self._slots:
            if slot.free is None and (slot.lease is None or slot.lease() is None):
                slot.free, slot.since = now, self._number
        self._slots = [slot for slot in self._slots if slot.free is None or slot.size >= size]
        free = sorted((slot for slot in self._slots if slot.free is not None), key=lambda slot: slot.since)
        if free and (free[0].since < self._number or len(self._slots) >= SLOTS):
            return free[0]
        slot = Slot(size, self._lanes, now, self._number)
        self._slots.append(slot)
        return slot


def _laid_out(arrays: Sequence[Any]) -> tuple[list[int], int]:
    """Return where arrays begin, and how many bytes they take."""
    offsets, end = [], 0
    for array in arrays:
        offsets.append(end)
        end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return offsets, max(end, ALIGNMENT)
