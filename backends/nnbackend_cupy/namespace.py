"""The namespace of CuPy in the array API standard, with functions that can be captured in a CUDA graph.

The library's rules ask the namespace of their arrays for everything they compute, so what is replaced here reaches all
of them; only ``@`` between bare CuPy arrays, which no rule writes, is still CuPy's own.
"""

from __future__ import annotations

import types

import array_api_compat.cupy as compat

from nnbackend_cupy import joining, matmul

__all__ = ["xp"]

xp = types.ModuleType(compat.__name__, compat.__doc__)
xp.__dict__.update(vars(compat))
xp.__dict__.update(joining.FUNCTIONS | matmul.FUNCTIONS)
