"""The namespace of CuPy in the array API standard, with functions that can be captured in a CUDA graph."""

from __future__ import annotations

import types

import array_api_compat.cupy as compat

from nnbackend_cupy.joining import FUNCTIONS

__all__ = ["xp"]

xp = types.ModuleType(compat.__name__, compat.__doc__)
xp.__dict__.update(vars(compat))
xp.__dict__.update(FUNCTIONS)
