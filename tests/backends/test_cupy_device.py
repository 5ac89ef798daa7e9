"""CuPy on a GPU: generated kernels, random words and transfers. Runs with ``--backend cupy``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnbackend import random
from nnbackend.backend import Backend, host, namespace
from nnbackend.elementwise import elementwise, rowwise
from tests.backends.cuda_programs import (
    CASES,
    Case,
    adam,
    assert_within,
    expected_results,
    random_values,
    row_arguments,
    softmax,
)


@pytest.fixture(autouse=True)
def _only_on_cupy(backend: Backend) -> None:
    if backend.name != "cupy":
        pytest.skip("these tests are for --backend cupy")


def _run(
    backend: Backend, case: Case, arguments: list[np.ndarray], donate: tuple[int | None, ...] = ()
) -> Any:
    result = backend.run(case.program, [backend.from_host(a) for a in arguments], donate)
    return [backend.to_host(r) for r in (result if isinstance(result, tuple) else (result,))]


def _named(name: str) -> Case:
    (case,) = [case for case in CASES if case.name == name]
    return case


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_programs_compute_what_the_plain_expression_does(
    case: Case, backend: Backend, rng: np.random.Generator
) -> None:
    if case.program.rowwise:
        arguments = row_arguments(case, 37, 33, rng)
    else:
        arguments = [random_values(dtype, (1000,), rng) for dtype in case.dtypes]
    if case.name.startswith(("adam", "library_adam")):
        arguments[3:] = [np.abs(a) for a in arguments[3:]]
    results = _run(backend, case, arguments)
    for actual, wanted in zip(results, expected_results(case, arguments), strict=True):
        assert_within(actual, wanted, units=32, scale=4.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_products_quotients_and_roots_have_the_bits_of_numpy(
    dtype: str, backend: Backend, rng: np.random.Generator
) -> None:
    case = _named(f"adam_{dtype}")
    arguments = [np.abs(random_values(dtype, (10_000,), rng)) for _ in case.dtypes]
    for actual, wanted in zip(_run(backend, case, arguments), expected_results(case, arguments), strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("width", [1, 2, 31, 33, 1000, 5000, 50_257])
def test_rows_of_any_width_are_reduced(width: int, backend: Backend, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, width)).astype(np.float32)
    actual = backend.to_host(softmax(backend.from_host(x)))
    assert_within(actual, softmax.function(x.astype(np.float64)).astype(np.float32), units=64)
    again = backend.to_host(softmax(backend.from_host(x)))
    np.testing.assert_array_equal(actual, again)


@elementwise
def _two(x, y):
    return x * y, y + 1.0


@rowwise
def _weighted(x, mask, bias):
    xp = namespace(x)
    return xp.sum(xp.where(mask, x, 0.0), axis=-1, keepdims=True) + bias, x + bias


def test_arguments_broadcast_and_may_be_strided(backend: Backend, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 1, 7)), rng.standard_normal((3, 1))
    first, second = _two(backend.from_host(x.T).T, backend.from_host(y))
    np.testing.assert_array_equal(backend.to_host(first), x * y)
    np.testing.assert_array_equal(backend.to_host(second), y + 1.0)
    scores, mask = rng.standard_normal((2, 3, 4, 6)), rng.random((2, 1, 1, 6)) < 0.5
    bias = rng.standard_normal((3, 1, 1))
    scores_there = namespace(first).permute_dims(
        backend.from_host(scores.transpose(3, 1, 0, 2)), (2, 1, 3, 0)
    )
    total, moved = _weighted(scores_there, backend.from_host(mask), backend.from_host(bias))
    wanted = np.where(mask, scores, 0.0).sum(axis=-1, keepdims=True) + bias
    np.testing.assert_allclose(backend.to_host(total), wanted, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(backend.to_host(moved), scores + bias)


def test_donated_memory_is_taken_over(backend: Backend, rng: np.random.Generator) -> None:
    arguments = [np.abs(random_values("float32", (1000,), rng)) for _ in range(4)]
    arguments += [np.abs(random_values("float32", (), rng)) for _ in range(2)]
    static = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    there = [backend.from_host(a) for a in arguments]
    updated = adam(*there, donate=(0, 2, 3), **static)
    assert [new is old for new, old in zip(updated, (there[0], there[2], there[3]), strict=True)] == [
        True
    ] * 3
    for actual, wanted in zip(updated, adam.function(*arguments, **static), strict=True):
        np.testing.assert_array_equal(backend.to_host(actual), wanted)


def test_an_empty_array_stays_empty(backend: Backend) -> None:
    assert _two(backend.from_host(np.ones((0, 3))), backend.from_host(np.ones(3)))[0].shape == (0, 3)
    assert softmax(backend.from_host(np.ones((0, 3)))).shape == (0, 3)


def _captured(backend: Backend, function: Callable[[], Any]) -> Any:
    """Run a function while its stream is captured, where anything that would wait raises; then do its work."""
    import cupy

    function()  # compiles
    stream = cupy.cuda.Stream(non_blocking=True)
    backend.synchronize()
    with stream:
        function()  # fills this stream's memory pool
        stream.synchronize()
        stream.begin_capture()
        result = function()
        graph = stream.end_capture()
        graph.launch()
        stream.synchronize()
    return result


def test_running_a_program_waits_for_nothing(backend: Backend, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((4, 100)), rng.standard_normal(100)
    x_there, y_there = backend.from_host(x), backend.from_host(y)
    first, second = _captured(backend, lambda: _two(x_there, y_there))
    np.testing.assert_array_equal(backend.to_host(first), x * y)
    np.testing.assert_array_equal(backend.to_host(second), y + 1.0)
    rows = _captured(backend, lambda: softmax(x_there))
    np.testing.assert_allclose(backend.to_host(rows), softmax.function(x), rtol=1e-13)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 100_003])
def test_random_words_are_those_of_the_host(bits: int, count: int, backend: Backend) -> None:
    state: dict[str, Any] = {"stream": 2**64 - 1, "call": 3}
    wanted = host().random_words(count, bits, key=(2**64 - 1, 5), step=7, **state)
    drawn = backend.random_words(count, bits, key=(2**64 - 1, 5), step=7, **state)
    np.testing.assert_array_equal(backend.to_host(drawn), wanted)
    key, step = backend.from_host(np.asarray([-1, 5], np.int64)), backend.from_host(np.asarray(7, np.int32))
    drawn = backend.random_words(count, bits, key=key, step=step, **state)
    assert str(drawn.dtype) == f"uint{bits}"
    np.testing.assert_array_equal(backend.to_host(drawn), wanted)


def test_drawing_waits_for_nothing(backend: Backend) -> None:
    key, step = backend.from_host(np.asarray([1, 2], np.int64)), backend.from_host(np.asarray(3, np.int64))
    drawn = _captured(
        backend, lambda: random.Stream(key, "dropout/mask", step, backend).keep((100, 10), rate=0.3)
    )
    wanted = random.Stream(1 + (2 << 64), "dropout/mask", 3).keep((100, 10), rate=0.3)
    np.testing.assert_array_equal(backend.to_host(drawn), wanted)


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "float16", "float32", "float64"])
def test_values_travel_unchanged(dtype: str, backend: Backend, rng: np.random.Generator) -> None:
    values = random_values(dtype, (5, 6), rng).T
    there = backend.from_host(values)
    back = backend.to_host(there)
    np.testing.assert_array_equal(back, values)
    assert back.dtype == values.dtype
    assert back.flags.writeable
    assert backend.to_host(backend.from_host(values[0, 0])).shape == ()
    assert backend.owns(there)
    assert namespace(there).zeros(3, device=backend.device(there)).device == there.device


def test_values_are_cast_on_their_way(backend: Backend) -> None:
    there = backend.from_host([1.0, 0.1], "float32")
    assert backend.to_host(there).tolist() == [1.0, float(np.float32(0.1))]


def test_memory_in_use_grows_with_an_array(backend: Backend) -> None:
    before = backend.memory_in_use()
    held = backend.from_host(np.zeros(1 << 20))
    after = backend.memory_in_use()
    assert before is not None
    assert after is not None
    assert after - before >= held.nbytes


def test_the_device_is_described(backend: Backend) -> None:
    found = type(backend).probe()
    assert found.available
    assert found.devices[0].startswith("cuda:0 ")
    assert "GiB" in found.memory
