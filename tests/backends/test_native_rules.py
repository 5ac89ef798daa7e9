"""What libraries do better themselves: the same rule, by signature and by numbers."""

import inspect

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import agreement
from nnbackend import functional as fn


def test_native_rules_are_called_like_the_generic_ones(backend):
    rules = agreement.rules()
    for name, native in backend.native_rules.items():
        if name not in rules:
            continue  # a part of other rules, tested with them
        generic = inspect.signature(rules[name].function).parameters
        given = inspect.signature(native).parameters
        assert [(p.name, p.kind, p.default) for p in given.values()] == [
            (p.name, p.kind, p.default) for p in generic.values()
        ], name


@pytest.fixture
def generic(backend, monkeypatch):
    """Run a function with the mathematics alone."""

    def run(function, *arguments):
        with monkeypatch.context() as without:
            without.setattr(backend, "native_rules", {}, raising=False)
            return function(*arguments)

    return run


@pytest.mark.parametrize("shape", [(40, 3), (40,), (40, 2, 3), (1, 5), (0, 4), (5, 0)], ids=str)
def test_scatter_add_is_the_generic_one(shape, put, rng, dtype, generic):
    x, indices = rng.normal(size=shape), rng.integers(-7, 7, shape[0])

    def both(x, indices):
        value, pullback = nn.vjp(lambda x: fn.scatter_add(x, indices, length=7), x)
        return nn.to_numpy(value), nn.to_numpy(pullback(value)[0])

    given = put(x, dtype), put(indices)
    for native, expected in zip(both(*given), generic(both, *given), strict=True):
        assert native.dtype == expected.dtype
        np.testing.assert_allclose(native, expected, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-6)


def test_scatter_add_of_many_rows_to_one_place_is_accurate(put, rng):
    x = rng.normal(size=(20000, 2)).astype("float32") + np.float32(1)
    sums = nn.to_numpy(fn.scatter_add(put(x, "float32"), put(np.zeros(20000, np.int64)), length=1))
    np.testing.assert_allclose(sums[0], x.astype("float64").sum(axis=0), rtol=3e-7)


def test_scatter_add_gives_the_same_bits_every_time(put, rng):
    x, indices = put(rng.normal(size=(5000, 9)), "float32"), put(rng.integers(0, 11, 5000))
    first = nn.to_numpy(fn.scatter_add(x, indices, length=11))
    for _ in range(3):
        np.testing.assert_array_equal(nn.to_numpy(fn.scatter_add(x, indices, length=11)), first)


def test_numpy_s_scatter_add_in_blocks_of_columns_is_that_of_all(rng, monkeypatch):
    from nnbackend_numpy import rules

    x, indices = rng.normal(size=(30, 7)), rng.integers(0, 5, 30)
    whole = rules.scatter_add(x, indices, length=5)[0]
    monkeypatch.setattr(rules, "BLOCK", 60)  # two columns at a time, and one is left
    np.testing.assert_array_equal(rules.scatter_add(x, indices, length=5)[0], whole)


def test_numpy_s_scatter_add_refuses_indices_out_of_range():
    for index in (5, -6):
        with pytest.raises(IndexError, match="expects indices from -5 to 4"):
            fn.scatter_add(np.ones((1, 2)), np.asarray([index]), length=5)


def test_numpy_s_scatter_add_of_whole_numbers_is_exact():
    x = np.asarray([2**60 + 1, 3, 1])
    np.testing.assert_array_equal(fn.scatter_add(x, np.asarray([1, 0, 1]), length=2), [3, 2**60 + 2])


def test_second_derivatives_go_through_the_generic_rule(put, rng):
    x, indices = put(rng.normal(size=(4, 2))), put([1, 0, 1, 1])
    nn.gradcheck(
        nn.grad(lambda x: fn.sum(fn.scatter_add(x, indices, length=3) ** 3)), x, projections=1, tolerance=1e-5
    )
