"""Normalisation."""

from __future__ import annotations

from nnbackend import layers
from nnbackend.cases.base import Case, LayerCase, flag, real

__all__ = ["CASES"]

_ROWS = real(6, 5)
_PLANE = real(2, 3, 2, 4)
_CHANNELS = real(4)
_STEPS = real(3, 4, 2)
_LARGE = real(64, 3, low=9998.0, high=10002.0)

CASES = (
    Case("batch_norm", (_PLANE, _CHANNELS, _CHANNELS)),
    Case("batch_norm", (_PLANE, real(3), real(3)), {"axis": 1}, "axis 1"),
    Case("batch_norm", (real(3, 4, 2), real(2), real(2), flag(3, 4)), variant="masked"),
    Case("batch_norm", (_LARGE,), variant="large"),
    Case(
        "batch_norm_inference",
        (_PLANE, _CHANNELS, real(4, low=0.5, high=2.0), _CHANNELS, _CHANNELS),
    ),
    Case("group_norm", (_PLANE, _CHANNELS, _CHANNELS), {"groups": 2}, bound=16),
    Case("instance_norm", (_PLANE, _CHANNELS, _CHANNELS)),
    Case("layer_norm", (_ROWS, real(5), real(5))),
    Case("layer_norm", (_PLANE, real(3, 4), real(3, 4)), {"axis": (1, 3)}, "axes"),
    Case("layer_norm", (real(6, 64, low=9998.0, high=10002.0),), variant="large"),
    Case("rms_norm", (_ROWS, real(5))),
    Case("rms_norm", (_PLANE, real(3)), {"axis": 1}, "axis 1"),
    Case("spectral_norm", (real(3, 2, 4), real(4))),
    Case("standardize", (_PLANE, real(1, 2, 1), real(3, 1, 4)), {"axis": (0, 2)}, bound=16),
    Case("unit_norm", (_ROWS,)),
    Case("unit_norm", (_PLANE,), {"axis": (1, 2)}, "axes"),
    LayerCase(layers.BatchNormalization, (_PLANE,)),
    LayerCase(layers.BatchNormalization, (_PLANE,), "training", training=True),
    LayerCase(
        lambda: layers.BatchNormalization(momentum=0.5), (_STEPS,), "masked", training=True, mask=flag(3, 4)
    ),
    LayerCase(
        lambda: layers.BatchNormalization(1, center=False, scale=False), (_PLANE,), "bare", training=True
    ),
    LayerCase(lambda: layers.BatchNormalization(trainable=False), (_PLANE,), "frozen", training=True),
    LayerCase(lambda: layers.GroupNormalization(2), (_PLANE,)),
    LayerCase(lambda: layers.GroupNormalization(-1, 1, scale=False), (_PLANE,), "each"),
    LayerCase(layers.InstanceNormalization, (_PLANE,)),
    LayerCase(lambda: layers.InstanceNormalization(1, center=False), (_PLANE,), "axis 1"),
    LayerCase(layers.LayerNormalization, (_STEPS,)),
    LayerCase(lambda: layers.LayerNormalization((1, -1), center=False), (_PLANE,), "axes"),
    LayerCase(layers.Normalization, (_STEPS,)),
    LayerCase(
        lambda: layers.Normalization((1, 2), [[1.0], [2.0], [3.0], [0.0]], 0.25, invert=True),
        (_STEPS,),
        "inverted",
    ),
    LayerCase(lambda: layers.Normalization(None, 1.5, 4.0), (_STEPS,), "one"),
    LayerCase(layers.RMSNormalization, (_STEPS,)),
    LayerCase(lambda: layers.RMSNormalization([1, 2]), (_PLANE,), "axes"),
    LayerCase(lambda: layers.SpectralNormalization(layers.Dense(3)), (_STEPS,)),
    LayerCase(
        lambda: layers.SpectralNormalization(layers.Dense(3, "tanh"), 2),
        (_STEPS,),
        "training",
        training=True,
        smooth=False,  # the gradient takes the singular vector as given, differences do not
    ),
    LayerCase(layers.UnitNormalization, (_STEPS,)),
    LayerCase(lambda: layers.UnitNormalization((1, 3)), (_PLANE,), "axes"),
)
