"""Cases of convolutions: rules and layers."""

from __future__ import annotations

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
)
