"""Memory that native rules write into again and again: fresh pages cost more than what is computed in them."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

__all__ = ["Workspaces"]


class Workspaces(threading.local):
    """Named pieces of memory of one thread, which live on from call to call and grow to what was asked for."""

    def __init__(self) -> None:
        self._pieces: dict[str, np.ndarray[Any, Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """Return an array of whatever the memory of that name holds; the next call of the name takes it back."""
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        piece = self._pieces.get(name)
        if piece is None or piece.size < needed:
            piece = self._pieces[name] = np.empty(needed, np.uint8)
        return piece[:needed].view(dtype).reshape(shape)
