"""Rules for which CuPy has kernels of its own, or products with more than a product to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nnbackend_cupy.attention import scaled_dot_product_attention
from nnbackend_cupy.convolution import conv, conv_kernel_gradient, conv_transpose
from nnbackend_cupy.matmul import dense
from nnbackend_cupy.normalization import standardize
from nnbackend_cupy.pooling import average_pool, max_pool
from nnbackend_cupy.scatter import embedding, scatter_add

__all__ = ["NATIVE_RULES"]

NATIVE_RULES: Mapping[str, Callable[..., Any]] = {
    "average_pool": average_pool,
    "conv": conv,
    "conv_kernel_gradient": conv_kernel_gradient,
    "conv_transpose": conv_transpose,
    "dense": dense,
    "embedding": embedding,
    "max_pool": max_pool,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "scatter_add": scatter_add,
    "standardize": standardize,
}
