"""Cases of convolutions: rules and layers."""

from __future__ import annotations

from nnbackend import layers
from nnbackend.cases.base import Case, LayerCase, real

__all__ = ["CASES"]

CASES: tuple[Case | LayerCase, ...] = (
    Case("conv", (real(2, 5, 6, 3), real(3, 2, 3, 4), real(4))),
    Case("conv", (real(2, 7, 6, 9), real(3, 2, 9, 2)), {"strides": (2, 3), "padding": "same"}, "strided"),
    Case(
        "conv",
        (real(2, 7, 6, 4), real(2, 3, 2, 4), real(4)),
        {"padding": ((2, 1), (0, 3)), "dilation_rate": 2, "groups": 2},
        "grouped",
    ),
    Case("conv1d", (real(2, 9, 3), real(3, 3, 2)), {"padding": "causal", "strides": 2}, "causal"),
    Case("conv2d", (real(2, 5, 6, 3), real(3, 3, 3, 4), real(4)), {"strides": (2, 1)}, "strided"),
    Case("conv3d", (real(1, 4, 3, 5, 2), real(2, 2, 3, 2, 3)), {"padding": "same"}),
    Case("conv_kernel_gradient", (real(2, 5, 6, 3), real(2, 2, 3, 4)), {"kernel_size": 2, "strides": 2}),
    Case("conv_transpose", (real(2, 3, 4, 3), real(3, 2, 2, 3), real(2))),
    Case(
        "conv_transpose",
        (real(2, 3, 4, 3), real(3, 4, 2, 3)),
        {"strides": (2, 3), "padding": "same", "output_padding": (0, 2)},
        "strided",
    ),
    Case(
        "conv_transpose",
        (real(2, 5, 4), real(3, 3, 4)),
        {"dilation_rate": 2, "groups": 2, "padding": (1, 2)},
        "grouped",
    ),
    Case("depthwise_conv", (real(2, 6, 5, 3), real(3, 2, 3, 2), real(6)), {"padding": "same"}),
    Case("depthwise_conv", (real(2, 9, 4), real(3, 4, 1)), {"strides": 2, "dilation_rate": 2}, "strided"),
    Case("separable_conv", (real(2, 6, 5, 3), real(3, 2, 3, 2), real(1, 1, 6, 4), real(4)), {"strides": 2}),
    LayerCase(lambda: layers.Conv1D(4, 3, activation="tanh"), (real(2, 7, 3),)),
    LayerCase(lambda: layers.Conv1D(2, 3, 2, "causal", dilation_rate=2), (real(2, 9, 3),), "causal"),
    LayerCase(lambda: layers.Conv2D(4, 3, padding="same"), (real(2, 5, 6, 3),)),
    LayerCase(lambda: layers.Conv2D(4, (3, 2), (2, 3), use_bias=False), (real(2, 7, 8, 2),), "strided"),
    LayerCase(
        lambda: layers.Conv2D(6, 3, padding=((2, 1), (0, 2)), dilation_rate=(1, 2), groups=2),
        (real(2, 5, 6, 4),),
        "grouped",
    ),
    LayerCase(lambda: layers.Conv3D(2, (2, 3, 1), padding="same", strides=2), (real(1, 3, 4, 5, 2),)),
    LayerCase(lambda: layers.DepthwiseConv1D(3, 2, "same"), (real(2, 8, 3),)),
    LayerCase(
        lambda: layers.DepthwiseConv2D(3, 2, depth_multiplier=2, activation="sigmoid"),
        (real(2, 6, 7, 2),),
        "multiplied",
    ),
    LayerCase(lambda: layers.SeparableConv1D(4, 3, padding="causal"), (real(2, 6, 3),)),
    LayerCase(
        lambda: layers.SeparableConv2D(
            3, (2, 3), strides=2, padding="same", depth_multiplier=2, use_bias=False
        ),
        (real(2, 5, 6, 2),),
        "multiplied",
    ),
    LayerCase(lambda: layers.Conv1DTranspose(3, 3, 2, output_padding=1), (real(2, 4, 2),)),
    LayerCase(lambda: layers.Conv2DTranspose(3, (4, 3), 2, "same", activation="tanh"), (real(2, 3, 4, 2),)),
    LayerCase(
        lambda: layers.Conv2DTranspose(2, 3, padding=1, dilation_rate=2, use_bias=False),
        (real(2, 3, 4, 3),),
        "dilated",
    ),
    LayerCase(lambda: layers.Conv3DTranspose(2, (2, 1, 3), (2, 1, 2)), (real(1, 2, 3, 2, 2),)),
)
