"""Cases of borders and finer grids: rules and layers."""

from __future__ import annotations

from nnbackend import layers
from nnbackend.cases.base import Case, LayerCase, real

__all__ = ["CASES"]

CASES: tuple[Case | LayerCase, ...] = (
    Case("pad", (real(3, 4),), {"padding": ((1, 0), 2), "value": 0.5}),
    Case("upsample", (real(2, 3, 4, 2),), {"size": (2, 3)}),
    Case("upsample", (real(2, 3, 4, 2),), {"size": (2, 3), "interpolation": "linear"}, "linear"),
    LayerCase(lambda: layers.Cropping1D((1, 2)), (real(2, 6, 3),)),
    LayerCase(lambda: layers.Cropping2D(((0, 1), (2, 0))), (real(2, 4, 5, 2),)),
    LayerCase(lambda: layers.Cropping3D((1, 0, 1)), (real(1, 3, 2, 4, 2),)),
    LayerCase(lambda: layers.UpSampling1D(3), (real(2, 4, 2),)),
    LayerCase(lambda: layers.UpSampling2D((2, 1)), (real(2, 3, 4, 2),)),
    LayerCase(lambda: layers.UpSampling2D((2, 3), "bilinear"), (real(2, 3, 4, 2),), "bilinear"),
    LayerCase(lambda: layers.UpSampling3D((2, 1, 2)), (real(1, 2, 3, 2, 2),)),
    LayerCase(lambda: layers.ZeroPadding1D((2, 1)), (real(2, 4, 3),)),
    LayerCase(lambda: layers.ZeroPadding2D(((0, 1), (2, 0))), (real(2, 3, 4, 2),)),
    LayerCase(lambda: layers.ZeroPadding3D((1, 0, 2)), (real(1, 2, 3, 2, 2),)),
)
