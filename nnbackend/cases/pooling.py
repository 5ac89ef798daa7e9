"""Pooling."""

from __future__ import annotations

from nnbackend.cases.base import Case, flag, real

__all__ = ["CASES"]

_LINE = real(2, 7, 3)
_PLANE = real(2, 6, 7, 2)
_BOX = real(1, 3, 4, 5, 2)

CASES = (
    Case("adaptive_average_pool", (_PLANE,), {"output_size": (3, 5)}),
    Case("adaptive_average_pool", (_LINE,), {"output_size": 9}, "finer"),
    Case("adaptive_max_pool", (_PLANE,), {"output_size": (4, 3)}),
    Case("adaptive_max_pool", (_LINE,), {"output_size": 9}, "finer"),
    Case("average_pool", (_LINE,), {"pool_size": 2}, "1d"),
    Case("average_pool", (_PLANE,), {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}, "same"),
    Case("average_pool", (_BOX,), {"pool_size": 2, "strides": 1}, "3d"),
    Case("global_average_pool", (_PLANE,)),
    Case("global_average_pool", (_LINE, flag(2, 7)), {"keepdims": True}, "masked"),
    Case("global_max_pool", (_PLANE,), {"keepdims": True}),
    Case("max_pool", (_LINE,), {"pool_size": 2}, "1d"),
    Case("max_pool", (_PLANE,), {"pool_size": 3, "strides": 2, "padding": "same"}, "same"),
    Case("max_pool", (_PLANE,), {"pool_size": 2, "strides": 3}, "apart"),
    Case("max_pool", (_BOX,), {"pool_size": 2, "strides": 1}, "3d"),
)
