"""Layer norm and attention on NumPy, row by row and sample by sample: the generic rules, by numbers."""

import contextlib
import gc
import itertools
import sys
import threading
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend_numpy import attention, layer_norm
from nnbackend_numpy.recording import Recording, recordable


def compare(native, generic, arrays, options, rng, needs, bounds):
    """Compare values and gradients with those of the generic rule in float64."""
    dtype = arrays[0].dtype
    value, pull = native(*arrays, **options)
    wide = [a if a is None or a.dtype == bool else a.astype("float64") for a in arrays]
    expected, exact = generic.function(*wide, **options)
    values = value if isinstance(value, tuple) else (value,)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    dy = tuple(rng.normal(size=v.shape).astype(dtype) for v in values)
    wide_dy = tuple(d.astype("float64") for d in dy)
    several = isinstance(value, tuple)
    found = (*values, *pull(dy if several else dy[0], needs))
    exact_all = (*wanted, *exact(wide_dy if several else wide_dy[0], needs))
    for number, (mine, true) in enumerate(zip(found, exact_all, strict=True)):
        assert (mine is None) == (true is None), number
        if mine is not None:
            assert mine.dtype == dtype
            assert mine.shape == true.shape
            scale = max(np.abs(true).max(), 1e-30)
            np.testing.assert_allclose(
                mine, true, rtol=0, atol=bounds[str(dtype)] * scale, err_msg=str(number)
            )


@pytest.mark.parametrize("mean", [0.0, 0.7, 1e4])
@pytest.mark.parametrize("affine", ["both", "gamma", "neither"])
@pytest.mark.parametrize("shape", [(300, 64), (7, 33, 250), (5, 4096)], ids=str)
def test_rows_are_standardised_as_by_the_generic_rule(mean, affine, shape, dtype, rng):
    x = (rng.normal(size=shape) + mean).astype(dtype)
    x[1] = 3.0  # no deviation at all
    gamma = None if affine == "neither" else rng.normal(size=shape[-1]).astype(dtype)
    beta = rng.normal(size=shape[-1]).astype(dtype) if affine == "both" else None
    arrays = (x, gamma, beta, None)
    assert layer_norm.standardize.takes(*arrays)
    needs = (True, gamma is not None, beta is not None, False)
    y, pull = layer_norm.standardize(*arrays)
    same, generic_pull = fn.standardize.function(*arrays)
    dy = tuple(rng.normal(size=part.shape).astype(dtype) for part in y)
    for mine, true in zip((*y, *pull(dy, needs)), (*same, *generic_pull(dy, needs)), strict=True):
        if true is not None:
            scale = np.abs(true).max()
            np.testing.assert_allclose(
                mine, true, rtol=0, atol=(3e-6 if dtype == "float32" else 1e-11) * scale
            )


def test_rows_with_a_mean_far_from_zero_are_centred_where_others_are_not(rng):
    x = rng.normal(size=(2000, 64)).astype("float32")
    x[::7] += np.float32(1e4)
    (y, mean, variance), _ = layer_norm.standardize(x)
    exact = fn.standardize.function(x.astype("float64"))[0]
    np.testing.assert_allclose(y, exact[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(mean, exact[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, exact[2], rtol=1e-5)


@pytest.mark.parametrize("size", [1.0, 6.0, 40.0])
@pytest.mark.parametrize("given", ["all", "causal", "padding", "pairs", "both"])
def test_attention_is_that_of_the_generic_rule(size, given, dtype, rng):
    n, t, s, heads, d, width = 3, 50, 61, 4, 16, 24
    query, key, value = (
        rng.normal(size=shape).astype(dtype)
        for shape in ((n, t, heads, d), (n, s, heads, d), (n, s, heads, width))
    )
    mask = None
    if given == "padding":
        mask = rng.random((n, 1, 1, s)) > 0.3
    elif given in ("pairs", "both"):
        mask = rng.random((1, heads, t, s)) > 0.5
        mask[:, 1, 3] = False  # a query that sees nothing
    options = {"causal": given in ("causal", "both"), "scale": None if size == 1.0 else 0.3}
    query *= np.asarray(size, dtype)
    arrays = (query, key, value, mask, None, None)
    assert attention.scaled_dot_product_attention.takes(*arrays, **options)
    bounds = {"float32": 4e-6 * max(size, 2.0), "float64": 1e-13 * max(size, 1.0)}
    needs = (True, True, True, False, False, False)
    generic = fn.scaled_dot_product_attention
    compare(attention.scaled_dot_product_attention, generic, arrays, options, rng, needs, bounds)
    if mask is not None and given != "padding":
        assert not attention.scaled_dot_product_attention(*arrays, **options)[0][:, 3, 1].any()


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)], ids=str)
def test_attention_gives_the_gradients_that_are_needed(needs, rng):
    query, key, value = rng.normal(size=(3, 4, 64, 2, 32))
    dy = rng.normal(size=query.shape)
    _, pull = attention.scaled_dot_product_attention(query, key, value)
    _, generic = fn.scaled_dot_product_attention.function(query, key, value)
    others = (False, False, False)
    for mine, true in zip(pull(dy, needs + others), generic(dy, needs + others), strict=True):
        assert (mine is None) == (true is None)
        if true is not None:
            np.testing.assert_allclose(mine, true, rtol=0, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_and_heads_have_the_same_bits_on_any_number_of_threads(threads, rng):
    from nnbackend_numpy.threads import limited

    x = rng.normal(size=(4, 100, 256)).astype("float32")
    heads = rng.normal(size=(3, 6, 80, 4, 16)).astype("float32")

    def both():
        (y, *_), pull = layer_norm.standardize(x)
        nothing = np.zeros((4, 100, 1), "float32")
        out, pull_out = attention.scaled_dot_product_attention(*heads)
        slopes = pull_out(np.sin(out), (True, True, True, False, False, False))[:3]
        return y, pull((np.sin(y), nothing, nothing), (True, False, False, False))[0], out, *slopes

    expected = both()
    pytest.importorskip("threadpoolctl")
    with limited(threads):
        for mine, true in zip(both(), expected, strict=True):
            np.testing.assert_array_equal(mine, true)


def test_what_a_native_rule_does_not_take_is_recorded_call_by_call(rng):
    """So that it is laid out with the other calls of a step, and not run by the Python of a rule."""
    kinds = {}
    for rows in (2, 2000):
        recording = Recording()
        x = recording.new(rng.normal(size=(rows, 16)))
        recordable(layer_norm.standardize)(x)
        kinds[rows] = {operation.kind for operation in recording.operations}
    assert "rule" not in kinds[2]
    assert kinds[2]
    assert kinds[2000] == {"rule"}


def test_second_gradients_through_layer_norm_and_attention_are_the_generic_ones(rng, monkeypatch):
    x = rng.normal(size=(40, 6, 80))

    def loss(x):
        y = fn.layer_norm(x)
        heads = fn.reshape(y, (40, 6, 8, 10))
        return fn.sum(fn.square(fn.scaled_dot_product_attention(heads, heads, heads, causal=True)))

    def second(x):
        return nn.grad(lambda x: fn.sum(fn.square(nn.grad(loss)(x))))(x)

    assert attention.SMALLEST > 0
    monkeypatch.setattr(attention, "SMALLEST", 0)
    found = second(x)
    backend = nn.get_backend("numpy")
    monkeypatch.setattr(backend, "native_rules", {})
    expected = second(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_memory_is_lent_again_once_it_came_back():
    from nnbackend_numpy.leases import WAITING, Lender

    lender = Lender()
    first = lender.lend((100, 10), np.float32)
    place = first.array.ctypes.data
    other = lender.lend((100, 10), np.float32)
    assert other.array.ctypes.data != place
    del first
    assert lender.lend((90, 10), np.float32).array.ctypes.data == place
    assert lender.lend((4, 4), np.float64).array.shape == (4, 4)
    large = lender.lend((WAITING,), np.float64)
    del large
    assert not any(piece.size > WAITING for piece in lender._free)


def test_memory_of_a_result_comes_again_only_when_no_view_of_it_is_left():
    from nnbackend_numpy.leases import Lender

    lender = Lender()
    first = lender.lend_array((100, 1000), np.float32, 3)
    place, row = first.ctypes.data, first[7, ::2]
    row[...] = 5.0
    del first
    other = lender.lend_array((100, 1000), np.float32)
    assert not np.may_share_memory(other, row)
    del row
    again = lender.lend_array((50, 2, 1000), np.float32, 3)
    assert again.ctypes.data == place
    again.flags.writeable = False
    again.flags.writeable = True  # it is memory of its own, as from NumPy


def test_memory_that_comes_back_while_some_is_lent_waits_for_the_next(monkeypatch):
    """The garbage collector gives memory back in the midst of anything, in the same thread, too."""
    from nnbackend_numpy import leases

    def collected(count: int) -> np.ndarray:
        arrays.clear()
        return aligned(count)

    aligned, lender = leases.aligned, leases.Lender()
    arrays = [lender.lend_array((1000,), np.float64)]
    place = arrays[0].ctypes.data
    monkeypatch.setattr(leases, "aligned", collected)
    lender.lend_array((100_000,), np.float64)
    assert not arrays
    assert lender.lend_array((1000,), np.float64).ctypes.data == place


@pytest.mark.parametrize("number", range(6))
def test_an_interruption_while_memory_comes_back_keeps_nobody_waiting(number):
    from nnbackend_numpy.leases import Lender

    def interrupt(frame: Any, event: str, argument: object) -> None:
        if event == "c_return" and frame.f_code is Lender.take_back.__code__ and next(calls) == number:
            raise KeyboardInterrupt

    lender, memory, calls = Lender(), np.empty(4000, np.uint8), itertools.count()
    sys.setprofile(interrupt)  # an error of it comes just when a function has returned, as one of a signal
    try:
        with contextlib.suppress(KeyboardInterrupt):
            lender.take_back(memory)
    finally:
        sys.setprofile(None)
    other = threading.Thread(target=lender.lend, args=((1000,), np.float32), daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()


def test_large_results_of_rules_take_the_memory_of_those_that_are_gone():
    gc.collect()  # or memory of tests before comes back in between
    x = np.ones((16, 32, 32, 8), "float32")
    for rule in (
        lambda: fn.batch_norm(x)[0],
        lambda: fn.conv(x, np.ones((3, 3, 8, 8), "float32"), padding=1),
    ):
        places = {rule().ctypes.data // 4096 for _ in range(5)}
        others = [
            np.ones((16, 32, 32, 8), "float32") for _ in range(3)
        ]  # what the system's allocator would give
        assert {rule().ctypes.data // 4096 for _ in range(5)} <= places
        del others
