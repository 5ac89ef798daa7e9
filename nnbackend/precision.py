"""How exactly matrix products and convolutions of float32 are computed: speed for digits, where one asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final, Literal, TypeAlias, get_args

from nnbackend.backend import nearest

__all__ = ["MatmulPrecision", "get_matmul_precision", "set_matmul_precision", "use_matmul_precision"]

#: The three words, the most exact one first.
MatmulPrecision: TypeAlias = Literal["highest", "high", "medium"]

_KNOWN: Final = get_args(MatmulPrecision)

_chosen: MatmulPrecision = "highest"
_scoped: ContextVar[MatmulPrecision | None] = ContextVar("nnbackend_use_matmul_precision", default=None)


def _checked(precision: object) -> MatmulPrecision:
    if precision in _KNOWN:
        return precision  # type: ignore[return-value]
    hint = nearest(precision, _KNOWN) if isinstance(precision, str) else ""
    raise ValueError(
        f"The precision of matrix products is 'highest', 'high' or 'medium', got {precision!r}.{hint}"
    )


def get_matmul_precision() -> MatmulPrecision:
    """Return the precision in force: that of `use_matmul_precision`, else of `set_matmul_precision`.

    Returns
    -------
    {"highest", "high", "medium"}
        What each means is said at `set_matmul_precision`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.get_matmul_precision()
    'highest'
    """
    return _scoped.get() or _chosen


def set_matmul_precision(precision: MatmulPrecision) -> None:
    """Choose how exactly products of matrices and convolutions of float32 are computed from here on.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        "highest", the default, is float32 throughout, so that the backends agree. The others allow a backend what its
        hardware or a cleverer sum does faster, at the cost of digits:

        ========  ===============  ==========================================  ======================================
        backend   "highest"        "high"                                      "medium"
        ========  ===============  ==========================================  ======================================
        NumPy     float32          Winograd F(4x4, 3x3) for 3x3 convolutions   as "high"
                                   without strides; products as "highest"
        CuPy      float32          TF32: 10 bits of mantissa                   bfloat16, 7 bits, where there is
                                                                               such a product, else TF32
        PyTorch   "highest"        "high" of                                   "medium" of
                                   ``torch.set_float32_matmul_precision``      ``torch.set_float32_matmul_precision``
        JAX       "highest"        "high" of                                   "bfloat16" of
                                   ``jax.default_matmul_precision``            ``jax.default_matmul_precision``
        strict    float32          as "highest"                                as "highest"
        ========  ===============  ==========================================  ======================================

    Raises
    ------
    ValueError
        If it is none of the three.

    Notes
    -----
    Other dtypes are never changed, and sums stay in float32 or better everywhere. The error of NumPy's Winograd sums,
    for normally distributed numbers and relative to the largest result, is 1.2e-6 with 32 channels and 2.8e-6 with 256,
    where the direct sum's is 1.6e-7 and 3.6e-7. It is taken where it saves a third of the multiplications: from 32
    channels on, and where tiles of 4x4 waste little at the edges.

    What is in force when a step, or a function of arrays, runs is what it is computed with, forwards and backwards. A
    step that was compiled, recorded or captured under one precision is not used under another: a backend compiles it
    again, or reads the precision each time, as NumPy does.

    PyTorch and JAX on a GPU compute in TF32 where their own settings say so, JAX by default. Here only this setting
    counts: within this library's functions theirs is replaced, and as before after them. PyTorch's is one for the
    whole process, so that its threads should ask for one precision at a time; who has set
    ``torch.backends.cuda.matmul.fp32_precision`` or its like has chosen for himself, and that is left as it is.

    References
    ----------
    A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, https://arxiv.org/abs/1509.09308

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.set_matmul_precision("high")
    >>> nn.get_matmul_precision()
    'high'
    >>> nn.set_matmul_precision("highest")
    """
    global _chosen
    _chosen = _checked(precision)


@contextlib.contextmanager
def use_matmul_precision(precision: MatmulPrecision) -> Iterator[None]:
    """Choose the precision within a ``with`` block; words and errors are those of `set_matmul_precision`.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        For this thread, and for what is called in the block.

    Examples
    --------
    >>> import nnbackend as nn
    >>> with nn.use_matmul_precision("medium"):
    ...     nn.get_matmul_precision()
    'medium'
    """
    token = _scoped.set(_checked(precision))
    try:
        yield
    finally:
        _scoped.reset(token)
