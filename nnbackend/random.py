r"""Random numbers that are the same on every backend.

A word is drawn by saying which one: the generator is counter-based, so nothing is remembered but a few integers.
It is NumPy's own ``Philox`` bit stream (Philox4x64-10) with

* key: the 128-bit seed,
* counter: ``[block, step, stream, call]``, where ``step`` is the training step or the epoch, ``stream`` the first
  8 bytes (little-endian) of the SHA-256 of the variable's path, such as ``dense_1/kernel``, and ``call`` numbers
  the draws from one stream within a step.

NumPy increments the counter before each block of four 64-bit words; a 64-bit word gives its low half first. From
words w the distributions are

====================  =====================================================================
float32 uniform       :math:`(w_{32} \gg 8)\, 2^{-24}`
float64 uniform       :math:`(w_{64} \gg 11)\, 2^{-53}`
keep mask             :math:`w_{32} \ge \mathrm{round}(rate \cdot 2^{32})`
integers below n      :math:`\lfloor w_{64}\, n / 2^{64} \rfloor`
permutation           the stable argsort of 64-bit words
normal                Box-Muller on pairs of float64 uniforms :math:`u, v`:
                      :math:`\sqrt{-2 \ln(1-u)}\,(\cos 2\pi v, \sin 2\pi v)`, rounded last
====================  =====================================================================

Words, uniforms, masks, integers and permutations have the same bits everywhere; normals drawn on a device agree to
a few units in the last place, since libraries' logarithms and cosines differ there.

Changing any of this is a breaking change; the test vectors hold it in place:

>>> stream_number("dense/kernel")
9315575407479093609
>>> [int(word) for word in Stream(0, "dense/kernel").words(2, bits=64)]
[9356843356191882711, 1683505464005102949]
>>> Stream(1234, "dropout/mask", step=5).uniform((3,), dtype="float32")
array([0.79436034, 0.5713032 , 0.05581766], dtype=float32)
>>> Stream(1234, "shuffle", step=1).permutation(8)
array([6, 5, 2, 0, 4, 3, 1, 7])

References
----------
J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11,
https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

from nnbackend.backend import Backend, host
from nnbackend.typing import Array, Shape

__all__ = ["Stream", "key_words", "new_seed", "stream_number"]

SEED_BITS = 128
_MASK_64 = 2**64 - 1


def new_seed() -> int:
    """Return a 128-bit seed from the operating system's entropy."""
    import secrets  # at first use, as hashlib below: both are slow to import

    return secrets.randbits(SEED_BITS)


@functools.cache
def stream_number(path: str) -> int:
    """Return the 64-bit number of the stream of a variable's path."""
    import hashlib

    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")


def key_words(seed: int) -> tuple[int, int]:
    """Return the two 64-bit words of a seed, low word first.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not a whole number from 0 to 2**128 - 1.
    """
    try:
        seed = operator.index(seed)
    except TypeError:
        raise TypeError(f"A seed is a whole number, got {type(seed).__name__}.") from None
    if not 0 <= seed < 2**SEED_BITS:
        raise ValueError(f"A seed lies between 0 and 2**128 - 1, got {seed}.")
    return seed & _MASK_64, seed >> 64


class Stream:
    """The random numbers of one variable at one step.

    Parameters
    ----------
    seed : int, or int64 array of shape (2,)
        The 128-bit seed; as an array its two words, low word first, in two's complement.
    path : str
        The variable's path, such as ``"dropout/mask"``.
    step : int, or 0-d integer array
        The training step or epoch.
    backend : Backend, optional
        Where the numbers are wanted; the host without it.
    call : int
        How many draws were made from this stream at this step before.

    Examples
    --------
    >>> Stream(0, "dropout/mask").keep((2, 4), rate=0.5).shape
    (2, 4)
    """

    def __init__(
        self, seed: Any, path: str, step: Any = 0, backend: Backend | None = None, call: int = 0
    ) -> None:
        self.key = key_words(seed) if not hasattr(seed, "shape") else seed
        self.number = stream_number(path)
        self.path = path
        self.step = step
        self.backend = backend or host()
        self.call = call

    def words(self, count: int, bits: int = 64) -> Array:
        """Draw `count` words of 32 or 64 bits (uint32 or uint64; int64 where the library lacks those)."""
        with self.backend.scope():
            words = self.backend.random_words(
                count, bits, key=self.key, step=self.step, stream=self.number, call=self.call
            )
        self.call += 1
        return words

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: str = "float32") -> Array:
        """Draw numbers evenly from [`low`, `high`), as float32 or float64.

        From 0 to 1 they have the same bits everywhere. Inside a step that a compiler rewrites, another range may cost
        the last bit: the compiler may round ``unit * (high - low) + low`` once instead of twice.
        """
        _require_floating("uniform", dtype)
        backend, size = self.backend, math.prod(shape)
        wide = dtype == "float64"
        words = self.words(size, bits=64 if wide else 32)
        with backend.scope():
            unit = _unit_float64(backend, words) if wide else _unit_float32(backend, words)
            unit = backend.xp.reshape(unit, shape)
            return unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low

    def keep(self, shape: Shape, rate: float) -> Array:
        """Draw a boolean mask that is False with probability `rate`.

        Raises
        ------
        ValueError
            If `rate` is not between 0 and 1.
        """
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"keep expects a rate from 0 to 1, got {rate}.")
        words = self.words(math.prod(shape), bits=32)
        threshold = round(rate * 2**32)
        with self.backend.scope():
            kept = words >= threshold if threshold < 2**32 else words < 0  # no 32-bit word reaches 2**32
            return self.backend.xp.reshape(kept, shape)

    def integers(self, shape: Shape, below: int) -> Array:
        """Draw whole numbers from 0 to `below` - 1, as int64; `below` is at most 2**31.

        Raises
        ------
        ValueError
            If `below` is not between 1 and 2**31.
        """
        if not 1 <= below <= 2**31:
            raise ValueError(f"integers expects 1 <= below <= 2**31, got {below}.")
        words = self.words(math.prod(shape), bits=64)
        with self.backend.scope():
            xp = self.backend.xp
            high, low = (words >> 32) & 0xFFFFFFFF, words & 0xFFFFFFFF
            product = (high * below + ((low * below) >> 32)) >> 32  # the high word of a 64 by 64 bit product
            return xp.reshape(xp.astype(product, xp.int64), shape)

    def permutation(self, count: int) -> Array:
        """Draw an order of `count` things: an int64 array of the numbers 0 to `count` - 1."""
        words = self.words(count, bits=64)
        with self.backend.scope():
            xp = self.backend.xp
            if words.dtype == xp.int64:  # two's complement sorts as unsigned once its sign bit is flipped
                words = words ^ -(2**63)
            return xp.astype(xp.argsort(words, stable=True), xp.int64)

    def normal(
        self, shape: Shape, mean: float = 0.0, deviation: float = 1.0, dtype: str = "float32"
    ) -> Array:
        """Draw from the normal distribution; computed in float64 and rounded to `dtype` last."""
        _require_floating("normal", dtype)
        size = math.prod(shape)
        pairs = (size + 1) // 2
        words = self.words(2 * pairs, bits=64)
        with self.backend.scope():
            xp = self.backend.xp
            unit = xp.reshape(_unit_float64(self.backend, words), (pairs, 2))
            radius = xp.sqrt(-2.0 * xp.log(1.0 - unit[:, 0]))
            angle = (2.0 * math.pi) * unit[:, 1]
            both = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)
            normal = xp.reshape(xp.reshape(both, (2 * pairs,))[:size], shape)
            return xp.astype(normal * deviation + mean, getattr(xp, dtype))


def _require_floating(what: str, dtype: str) -> None:
    if dtype not in ("float32", "float64"):
        raise ValueError(f"{what} draws float32 or float64, got {dtype!r}. Cast the result with astype.")


def _unit_float32(backend: Backend, words: Array) -> Array:
    xp = backend.xp
    unit: Array = xp.astype(words >> 8, xp.float32) * 2.0**-24
    return unit


def _unit_float64(backend: Backend, words: Array) -> Array:
    xp = backend.xp
    unit: Array = xp.astype((words >> 11) & (2**53 - 1), xp.float64) * 2.0**-53
    return unit
