"""Random numbers: the definition, held by numbers computed elsewhere, and the same bits on every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import Backend
from nnbackend.philox import philox_words
from nnbackend.random import Stream, key_words, new_seed, stream_number

SEED = (0xFEDCBA9876543210 << 64) | 0x8123456789ABCDEF  # both halves have their sign bit set


def reference_block(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """One block of Philox4x64-10 in Python's integers, from the paper."""
    mask = 2**64 - 1
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        p, q = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (q >> 64) ^ b ^ k, q & mask, (p >> 64) ^ d ^ m, p & mask
        k, m = (k + 0x9E3779B97F4A7C15) & mask, (m + 0xBB67AE8584CAA73B) & mask
    return a, b, c, d


def reference_words(count: int, seed: int, path: str, step: int, call: int = 0) -> list[int]:
    """64-bit words of a stream, from the definition in the documentation."""
    key = (seed % 2**64, seed >> 64)
    words: list[int] = []
    while len(words) < count:
        words += reference_block((len(words) // 4 + 1, step, stream_number(path), call), key)
    return words[:count]


def device_seed(backend: Backend, seed: int) -> Any:
    return backend.from_host(np.asarray(key_words(seed), np.uint64).view(np.int64))


def draw_all(stream: Callable[[], Stream]) -> dict[str, Any]:
    """Draw once from every distribution, each from a stream of its own."""
    return {
        "float32": stream().uniform((3, 5)),
        "float64": stream().uniform((7,), dtype="float64"),
        "scaled": stream().uniform((64,), -0.1, 0.6),
        "keep": stream().keep((4, 9), rate=0.3),
        "integers": stream().integers((33,), 1000),
        "permutation": stream().permutation(31),
        "normal32": stream().normal((21,)),
        "normal64": stream().normal((2, 3), mean=1.0, deviation=0.5, dtype="float64"),
    }


def assert_same_numbers(drawn: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in drawn.items():
        found = nn.to_numpy(value)
        assert found.dtype == expected[name].dtype, name
        assert found.shape == expected[name].shape, name
        if name.startswith("normal"):
            np.testing.assert_array_max_ulp(found, expected[name], maxulp=8)
        elif name == "scaled":  # a compiler may round once where others round twice
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=2**-24)
        else:
            np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_the_reference_is_the_published_philox() -> None:
    # known answers of the authors' library Random123: philox4x64-10 of zeros, of ones, and of the digits of pi
    assert reference_block((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )
    ones = 2**64 - 1
    assert reference_block((ones,) * 4, (ones,) * 2) == (
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    )


def test_the_definition_is_held_by_numbers() -> None:
    stream = Stream(1234, "dense/kernel", step=3, call=1)
    assert stream_number("dense/kernel") == 9315575407479093609
    assert stream_number("shuffle") == int.from_bytes(bytes.fromhex("8f30a852b76d3f05"), "little")
    assert stream.words(6).tolist() == reference_words(6, 1234, "dense/kernel", 3, 1)
    assert Stream(0, "dense/kernel").words(2).tolist() == [9356843356191882711, 1683505464005102949]


@pytest.mark.parametrize("step", [0, 5, 2**31 + 7])
@pytest.mark.parametrize("seed", [0, 1, SEED])
def test_words_are_those_of_the_definition(backend: Backend, seed: int, step: int) -> None:
    expected = reference_words(9, seed, "a/b", step)
    wide = nn.to_numpy(Stream(seed, "a/b", step, backend).words(9)).astype(np.uint64)
    assert wide.tolist() == expected
    narrow = nn.to_numpy(Stream(seed, "a/b", step, backend).words(11, bits=32)).astype(np.uint32)
    halves = [half for word in expected for half in (word % 2**32, word >> 32)]
    assert narrow.tolist() == halves[:11]


def test_numbers_are_those_of_the_definition() -> None:
    words = reference_words(8, SEED, "x", 2)
    halves = [half for word in words for half in (word % 2**32, word >> 32)]

    def stream() -> Stream:
        return Stream(SEED, "x", step=2)

    assert stream().uniform((8,)).tolist() == [(half >> 8) * 2.0**-24 for half in halves[:8]]
    assert stream().uniform((8,), dtype="float64").tolist() == [(word >> 11) * 2.0**-53 for word in words]
    assert stream().keep((8,), rate=0.4).tolist() == [half >= round(0.4 * 2**32) for half in halves[:8]]
    assert stream().integers((8,), 10).tolist() == [word * 10 >> 64 for word in words]
    assert stream().integers((8,), 2**31).tolist() == [word * 2**31 >> 64 for word in words]
    assert stream().permutation(8).tolist() == sorted(range(8), key=words.__getitem__)
    units = [(word >> 11) * 2.0**-53 for word in words]
    normals = [
        math.sqrt(-2 * math.log(1 - u)) * f(2 * math.pi * v)
        for u, v in zip(units[::2], units[1::2], strict=True)
        for f in (math.cos, math.sin)
    ]
    np.testing.assert_allclose(stream().normal((8,), dtype="float64"), normals, rtol=1e-14)
    np.testing.assert_allclose(stream().normal((7,), 3.0, 2.0), np.asarray(normals[:7]) * 2 + 3, rtol=1e-6)


def test_every_backend_draws_the_hosts_numbers(backend: Backend) -> None:
    drawn = draw_all(lambda: Stream(SEED, "dropout/mask", step=5, backend=backend))
    assert_same_numbers(drawn, draw_all(lambda: Stream(SEED, "dropout/mask", step=5)))


def test_a_seed_and_a_step_on_the_device_draw_the_same(backend: Backend) -> None:
    seed, step = device_seed(backend, SEED), backend.from_host(5, "int64")
    drawn = draw_all(lambda: Stream(seed, "dropout/mask", step, backend))
    assert_same_numbers(drawn, draw_all(lambda: Stream(SEED, "dropout/mask", step=5)))


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_a_compiled_step_draws_the_same(backend: Backend, kind: str) -> None:
    def step(state: dict[str, Any], batch: Any) -> Any:
        drawn = draw_all(lambda: Stream(state["seed"], "dropout/mask", state["t"], backend))
        return {**state, "t": state["t"] + 1}, drawn

    compiled = backend.compile(step)
    state = {"seed": device_seed(backend, SEED), "t": backend.from_host(5, kind)}
    for number in (5, 6, 7):
        state, drawn = compiled(state, backend.from_host(0.0))
        assert_same_numbers(drawn, draw_all(lambda number=number: Stream(SEED, "dropout/mask", step=number)))


def test_the_array_formulation_wraps_without_a_warning() -> None:
    # as other libraries run it, with the key and the step as arrays or as numbers
    xp = nn.get_backend("numpy").xp
    expected = reference_words(5, SEED, "x", 9)
    key = np.asarray(key_words(SEED), np.uint64).view(np.int64)
    for given_key, step in ((key, np.asarray(9)), (key_words(SEED), 9)):
        words = philox_words(xp, 5, 64, key=given_key, step=step, stream=stream_number("x"), call=0)
        assert words.tolist() == expected


def test_draws_from_one_stream_differ_and_are_numbered(backend: Backend) -> None:
    stream = Stream(1, "noise", backend=backend)
    first, second = nn.to_numpy(stream.uniform((8,))), nn.to_numpy(stream.uniform((8,)))
    assert stream.call == 2
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, Stream(1, "noise", call=1).uniform((8,)))


def test_seeds_steps_and_paths_are_independent() -> None:
    drawn = {
        tuple(Stream(seed, path, step).words(2).tolist())
        for seed in (0, 1, 2**64, 2**127)
        for path in ("a", "b", "a/b")
        for step in (0, 1, 2**40)
    }
    assert len(drawn) == 4 * 3 * 3


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), ()])
def test_empty_and_single_shapes(backend: Backend, shape: tuple[int, ...]) -> None:
    stream = Stream(1, "shape", backend=backend)
    for drawn in (
        stream.uniform(shape),
        stream.keep(shape, 0.5),
        stream.integers(shape, 5),
        stream.normal(shape),
    ):
        assert tuple(drawn.shape) == shape


def test_uniform_numbers_are_uniform() -> None:
    drawn = Stream(3, "statistics").uniform((100_000,), dtype="float64")
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    counts, _ = np.histogram(drawn, bins=100, range=(0, 1))
    chi_square = float(((counts - 1000) ** 2 / 1000).sum())
    assert abs(chi_square - 99) < 4 * math.sqrt(2 * 99)


def test_normal_numbers_are_normal() -> None:
    drawn = Stream(3, "statistics").normal((100_000,), mean=2.0, deviation=3.0, dtype="float64")
    z = (drawn - 2.0) / 3.0
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * math.sqrt(variance / z.size)
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_masks_keep_what_the_rate_leaves(rate: float) -> None:
    kept = Stream(3, "statistics").keep((100_000,), rate)
    assert abs(kept.mean() - (1 - rate)) <= 4 * math.sqrt(rate * (1 - rate) / kept.size) + 1e-9


def test_integers_reach_every_number_below() -> None:
    drawn = Stream(3, "statistics").integers((10_000,), 7)
    assert sorted(set(drawn.tolist())) == list(range(7))
    assert Stream(3, "statistics").integers((100,), 1).tolist() == [0] * 100


def test_a_permutation_has_each_number_once(backend: Backend) -> None:
    order = nn.to_numpy(Stream(3, "shuffle", backend=backend).permutation(1000))
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))


def test_new_seeds_differ_and_fit() -> None:
    seeds = {new_seed() for _ in range(10)}
    assert len(seeds) == 10
    assert all(key_words(seed) for seed in seeds)


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"A seed lies between 0 and 2\*\*128 - 1, got"):
        Stream(seed, "a")


@pytest.mark.parametrize("seed", [1.0, "1", None])
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(TypeError, match="A seed is a whole number, got"):
        Stream(seed, "a")


@pytest.mark.parametrize("below", [0, -3, 2**31 + 1])
def test_integers_out_of_range_are_refused(below: int) -> None:
    with pytest.raises(ValueError, match=r"integers expects 1 <= below <= 2\*\*31, got"):
        Stream(0, "a").integers((2,), below)


def test_a_numpy_integer_is_a_seed() -> None:
    # the interface takes whatever Python counts as a whole number
    assert Stream(np.int64(5), "a").words(1).tolist() == Stream(5, "a").words(1).tolist()


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="keep expects a rate from 0 to 1, got"):
        Stream(0, "a").keep((2,), rate)


@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_another_dtype_is_refused(draw: str) -> None:
    with pytest.raises(ValueError, match=f"{draw} draws float32 or float64, got 'float16'"):
        getattr(Stream(0, "a"), draw)((2,), dtype="float16")
