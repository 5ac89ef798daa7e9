"""The Philox generator in array operations, for libraries that hold key and counter on a device.

NumPy has it built in and CuPy a kernel; what the words mean stands in `nnbackend.random`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend.typing import Array, Device, Namespace

__all__ = ["philox_words"]

_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_INCREMENTS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF


def _apply(times: int, body: Callable[[Any], Any], state: Any) -> Any:
    for _ in range(times):
        state = body(state)
    return state


def philox_words(
    xp: Namespace,
    count: int,
    bits: int,
    *,
    key: Any,
    step: Any,
    stream: int,
    call: int,
    device: Device = None,
    repeat: Callable[[int, Callable[[Any], Any], Any], Any] = _apply,
) -> Array:
    r"""Draw words of the stream with array operations on unsigned integers, without passing through the host.

    One round of Philox4x64 turns a counter :math:`(a, b, c, d)` under a key :math:`(k, l)` into

    .. math:: (\mathrm{hi}(M_1 c) \oplus b \oplus k,\; \mathrm{lo}(M_1 c),\;
               \mathrm{hi}(M_0 a) \oplus d \oplus l,\; \mathrm{lo}(M_0 a)), \qquad
              (k, l) \leftarrow (k + W_0,\, l + W_1)

    A backend serves `Backend.random_words` with it where key and step are arrays on its device.

    Parameters
    ----------
    xp : namespace
        Of a library with arithmetic and shifts on uint64.
    count, bits, key, step, stream, call
        As for `Backend.random_words`.
    device : device, optional
        Where the words are wanted.
    repeat : callable
        ``repeat(times, body, state)`` applies `body` to `state` again and again: the library's own loop, if need be.

    Returns
    -------
    array of shape (count,), uint32 or uint64
        The words.
    """

    def word(value: Any) -> Any:  # of shape (1,): NumPy warns when a scalar overflows, an array wraps
        if hasattr(value, "shape"):
            return xp.reshape(xp.astype(value, xp.uint64), (1,))
        return xp.asarray([value], dtype=xp.uint64, device=device)

    increments = [word(increment) for increment in _INCREMENTS]
    total = (count * bits + 63) // 64
    blocks = (total + 3) // 4
    block = xp.arange(1, blocks + 1, dtype=xp.uint64, device=device)  # incremented before its use
    zero = xp.zeros((blocks,), dtype=xp.uint64, device=device)

    def one_round(state: tuple[Any, ...]) -> tuple[Any, ...]:
        a, b, c, d, k, l = state  # noqa: E741 - the formula's letters
        high_0, low_0 = _product(_MULTIPLIERS[0], a)
        high_1, low_1 = _product(_MULTIPLIERS[1], c)
        return high_1 ^ b ^ k, low_1, high_0 ^ d ^ l, low_0, k + increments[0], l + increments[1]

    start = (block, zero + word(step), zero + word(stream), zero + word(call), word(key[0]), word(key[1]))
    words = xp.reshape(xp.stack(repeat(_ROUNDS, one_round, start)[:4], axis=1), (4 * blocks,))[:total]
    if bits == 64:
        return words
    halves = xp.reshape(xp.stack([words & _LOW, words >> 32], axis=1), (2 * total,))
    return xp.astype(halves, xp.uint32)[:count]


def _product(multiplier: int, x: Any) -> tuple[Any, Any]:
    """Return the high and the low word of a product of 64-bit words, by way of 32-bit halves."""
    m_high, m_low = multiplier >> 32, multiplier & _LOW
    x_high, x_low = x >> 32, x & _LOW
    low = x_low * m_low
    cross = x_low * m_high
    middle = (low >> 32) + (cross & _LOW) + x_high * m_low
    high = x_high * m_high + (cross >> 32) + (middle >> 32)
    return high, (middle << 32) | (low & _LOW)
