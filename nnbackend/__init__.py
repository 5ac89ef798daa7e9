"""Neural networks written once against the Python array API standard, on NumPy, CuPy, PyTorch and JAX."""

from __future__ import annotations

from nnbackend import functional, random
from nnbackend.autodiff import GradientError, Tensor, differentiable, grad, gradcheck, no_grad, value_and_grad, vjp
from nnbackend.backend import available_backends, get_backend, set_backend, to_numpy, use_backend
from nnbackend.elementwise import elementwise, rowwise
