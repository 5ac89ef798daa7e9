"""Pooling."""

from __future__ import annotations

from nnbackend import layers
from nnbackend.cases.base import Case, LayerCase, flag, real

__all__ = ["CASES"]

_LINE = real(2, 7, 3)
_PLANE = real(2, 6, 7, 2)
_BOX = real(2, 3, 4, 5, 2)
_AXES = {1: _LINE, 2: _PLANE, 3: _BOX}

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
    LayerCase(lambda: layers.AdaptiveAveragePooling1D(3), (_AXES[1],)),
    LayerCase(lambda: layers.AdaptiveAveragePooling2D(3), (_AXES[2],)),
    LayerCase(lambda: layers.AdaptiveAveragePooling3D(3), (_AXES[3],)),
    LayerCase(lambda: layers.AdaptiveMaxPooling1D(3), (_AXES[1],)),
    LayerCase(lambda: layers.AdaptiveMaxPooling2D(3), (_AXES[2],)),
    LayerCase(lambda: layers.AdaptiveMaxPooling3D(3), (_AXES[3],)),
    LayerCase(lambda: layers.AveragePooling1D(2), (_AXES[1],)),
    LayerCase(lambda: layers.AveragePooling2D(2), (_AXES[2],)),
    LayerCase(lambda: layers.AveragePooling3D(2), (_AXES[3],)),
    LayerCase(lambda: layers.MaxPooling1D(2), (_AXES[1],)),
    LayerCase(lambda: layers.MaxPooling2D(2), (_AXES[2],)),
    LayerCase(lambda: layers.MaxPooling3D(2), (_AXES[3],)),
    LayerCase(lambda: layers.GlobalAveragePooling1D(), (_AXES[1],)),
    LayerCase(lambda: layers.GlobalAveragePooling2D(), (_AXES[2],)),
    LayerCase(lambda: layers.GlobalAveragePooling3D(), (_AXES[3],)),
    LayerCase(lambda: layers.GlobalMaxPooling1D(), (_AXES[1],)),
    LayerCase(lambda: layers.GlobalMaxPooling2D(), (_AXES[2],)),
    LayerCase(lambda: layers.GlobalMaxPooling3D(), (_AXES[3],)),
    LayerCase(lambda: layers.AveragePooling1D(3, 2, "same"), (_LINE,), "same"),
    LayerCase(lambda: layers.AveragePooling2D((3, 2), (1, 2), "same"), (_PLANE,), "same"),
    LayerCase(lambda: layers.GlobalAveragePooling1D(keepdims=True), (_LINE,), "masked", mask=flag(2, 7)),
    LayerCase(lambda: layers.GlobalMaxPooling2D(keepdims=True), (_PLANE,), "kept"),
    LayerCase(lambda: layers.MaxPooling1D(2, padding="same"), (_LINE,), "same"),
    LayerCase(lambda: layers.MaxPooling2D(3, (2, 1), "same"), (_PLANE,), "same"),
    LayerCase(lambda: layers.MaxPooling3D(2, 1), (_BOX,), "overlapping"),
)
