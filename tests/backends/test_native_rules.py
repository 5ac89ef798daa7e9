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


#: space, kernel, channels in and out, options: each way in which NumPy's pieces are computed
PIECES = {
    "one tap": ((5, 9), (1, 1), (3, 6), {}),
    "one tap strided": ((9, 17), (1, 1), (12, 6), {"strides": 2}),
    "one channel": ((9, 8), (3, 2), (1, 4), {"padding": "same"}),
    "few channels": ((9, 8), (3, 2), (3, 4), {"strides": 2, "padding": 1}),
    "lines": ((7, 9), (3, 3), (10, 12), {}),
    "padded lines": ((7, 9), (3, 2), (10, 12), {"padding": ((2, 0), (1, 3))}),
    "strided lines": ((12, 25), (3, 4), (10, 11), {"strides": (2, 3), "padding": 2}),
    "dilated lines": ((12, 19), (3, 2), (50, 11), {"dilation_rate": (2, 3), "padding": 1}),
    "strides beyond the kernel": ((12, 25), (2, 1), (10, 11), {"strides": (3, 2)}),
    "short lines": ((5, 4), (3, 3), (10, 12), {"padding": 1}),
    "large weights": ((6, 9), (2, 3), (130, 140), {"padding": 1}),
    "wider than needed": ((6, 20), (2, 2), (9, 9), {"strides": 3, "padding": ((0, 0), (0, 2))}),
    "few made of many": ((8, 9), (3, 3), (12, 2), {"padding": 1}),
    "groups": ((6, 9), (3, 3), (4, 6), {"groups": 2}),
    "depthwise": ((6, 9), (3, 3), (4, 4), {"groups": 4}),
    "groups of many": ((6, 9), (3, 3), (72, 36), {"groups": 2, "padding": 1}),
    "many groups": ((5, 7), (2, 3), (24, 48), {"groups": 12, "strides": 2, "padding": 1}),
    "groups of one tap": ((5, 7), (1, 1), (8, 12), {"groups": 4}),
    "groups of a signal": ((40,), (3,), (6, 4), {"groups": 2, "dilation_rate": 3}),
    "groups of a volume": ((4, 5, 6), (2, 3, 2), (6, 6), {"groups": 3, "padding": 1}),
    "depthwise strided": ((9, 12), (3, 4), (5, 5), {"groups": 5, "strides": (1, 2), "padding": 1}),
    "depthwise by two": ((6, 9), (3, 2), (4, 8), {"groups": 4, "padding": ((2, 0), (1, 3))}),
    "depthwise dilated": ((12, 19), (3, 2), (3, 3), {"groups": 3, "dilation_rate": (2, 3), "strides": 2}),
    "depthwise beyond the kernel": ((12, 25), (2, 1), (3, 6), {"groups": 3, "strides": (3, 2)}),
    "depthwise one tap": ((5, 7), (1, 1), (3, 3), {"groups": 3}),
    "depthwise signal": ((40,), (5,), (6, 12), {"groups": 6, "padding": "causal", "strides": 2}),
    "depthwise volume": ((4, 5, 9), (2, 3, 2), (4, 4), {"groups": 4, "padding": 1, "strides": (1, 2, 1)}),
    "signal": ((40,), (5,), (9, 10), {"padding": "causal", "strides": 2}),
    "volume": ((4, 5, 9), (2, 3, 2), (9, 10), {"padding": 1, "strides": (1, 2, 1)}),
}


@pytest.mark.parametrize("budget", [1, 20_000, 1 << 20])
@pytest.mark.parametrize("samples", [0, 1, 5])
@pytest.mark.parametrize("name", PIECES)
def test_numpy_s_convolution_in_pieces_is_the_generic_one(name, samples, budget, rng, dtype, monkeypatch):
    from nnbackend_numpy import convolution, grouped

    for constant in ("PIECE", "LARGE_PIECE", "NEAR"):
        monkeypatch.setattr(convolution, constant, budget)
    monkeypatch.setattr(convolution, "ROWS", 128 if budget > 1 else 6)
    monkeypatch.setattr(grouped, "PIECE", budget)
    space, kernel_size, (width, made), options = PIECES[name]
    x = rng.normal(size=(samples, width, *space)).astype(dtype)
    x = np.moveaxis(x, 1, -1)  # not in one piece of memory
    kernel = rng.normal(size=(*kernel_size, width // options.get("groups", 1), made)).astype(dtype)
    bias = rng.normal(size=made).astype(dtype)
    backend = nn.get_backend("numpy")

    def both(x):
        y, pullback = nn.vjp(lambda *a: fn.conv(*a, **options), x, kernel, bias)
        dy = np.sin(np.arange(y.size, dtype=dtype)).reshape(y.shape)
        if options.get("padding") in (
            "causal",
            "same",
        ):  # a transposed convolution has its own meaning of them
            return y, *pullback(dy)
        return y, *pullback(dy), fn.conv_transpose(dy, kernel, np.ones(width, dtype), **options)

    native = both(x)
    again = both(x)
    monkeypatch.setattr(backend, "native_rules", {})
    for mine, same, expected in zip(native, again, both(x), strict=True):
        assert mine.dtype == expected.dtype
        assert mine.shape == expected.shape
        np.testing.assert_array_equal(mine, same)
        scale = max(1.0, np.max(np.abs(expected), initial=0.0))
        np.testing.assert_allclose(
            mine, expected, rtol=0, atol=(1e-5 if dtype == "float32" else 1e-13) * scale
        )


@pytest.mark.parametrize(
    ("size", "rows"),
    [((6, 200), 120), ((8, 36), 144), ((3, 131), 131), ((2, 10), 20), ((9, 50), 90)],
    ids=str,
)
def test_products_of_numpy_s_convolution_are_of_a_size_that_blas_does_fast(size, rows, rng, monkeypatch):
    """So many positions divide all of them and are at most ROWS; lines stay whole where only few would do."""
    from nnbackend_numpy import convolution

    found, add_up = set(), convolution._add_up
    monkeypatch.setattr(
        convolution,
        "_add_up",
        lambda seen, *rest: (found.update(a.shape[-2] for a in seen), add_up(seen, *rest)),
    )
    fn.conv(rng.normal(size=(2, *size, 32)), np.ones((3, 3, 32, 16)), padding="same")
    assert found == {rows}


def test_memory_asked_for_again_is_the_same_and_no_other_s():
    from nnbackend_numpy.workspaces import Workspaces

    memory = Workspaces()
    first = memory.array("a", (2, 3), np.float32)
    assert memory.array("a", (2, 3), np.float32) is first
    assert not np.may_share_memory(memory.array("b", (2, 3), np.float32), first)
    other = memory.array("a", (3,), np.float64)
    assert (other.shape, other.dtype) == ((3,), np.float64)
    assert memory.array("a", (6, 1), np.float32).shape == (6, 1)


def test_large_results_of_numpy_s_pieces_begin_at_a_line_of_the_cache(rng, dtype):
    x, kernel = rng.normal(size=(9, 40, 41, 5)).astype(dtype), rng.normal(size=(3, 3, 5, 7)).astype(dtype)
    y, pullback = nn.vjp(lambda x: fn.conv(x, kernel, padding=1), x)
    normal, back = nn.vjp(lambda x: fn.batch_norm(x)[0], x.astype("float32"))
    for result in (y, *pullback(y), normal, *back(normal)):
        assert result.ctypes.data % 64 == 0
        assert result.flags.c_contiguous


@pytest.mark.parametrize("groups", [3, 6])
def test_numpy_s_convolution_in_groups_does_not_depend_on_the_number_of_threads(groups, rng):
    pytest.importorskip("threadpoolctl")
    x, kernel = rng.normal(size=(7, 20, 20, 6)).astype("float32"), rng.normal(size=(3, 3, 6 // groups, 12))
    kernel = kernel.astype("float32")

    def both():
        y, pullback = nn.vjp(lambda *a: fn.conv(*a, groups=groups, padding="same"), x, kernel)
        return y, *pullback(np.sin(y))

    found = []
    for threads in (1, 2):
        with nn.use_backend("numpy", threads=threads):
            found.append(both())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("groups", [4, 8])
def test_numpy_has_native_convolution_of_groups_and_channels(groups, rng, monkeypatch):
    import nnbackend.functional.convolution as mathematics

    def refuse(*arguments):
        raise LookupError("the generic rule")

    for name in ("correlate", "spread", "meet"):
        monkeypatch.setattr(mathematics, name, refuse)
    x, kernel = rng.normal(size=(2, 5, 6, 8)), rng.normal(size=(3, 2, 8 // groups, 8))
    y, pullback = nn.vjp(lambda *a: fn.conv(*a, groups=groups), x, kernel)
    assert [gradient.shape for gradient in pullback(y)] == [x.shape, kernel.shape]


def test_numpy_s_convolution_leaves_other_dtypes_to_the_generic_one(rng):
    x, kernel = rng.normal(size=(2, 9, 3)), rng.normal(size=(2, 3, 4)).astype("float32")
    y = fn.conv(x, kernel)
    assert y.dtype == "float64"
    np.testing.assert_allclose(y, fn.conv(x, kernel.astype("float64")), rtol=1e-12)


def test_numpy_s_convolution_in_two_threads_is_that_in_one(rng):
    """Each thread writes into workspaces of its own."""
    from concurrent.futures import ThreadPoolExecutor

    x, kernel = rng.normal(size=(16, 8, 12, 12, 10)), rng.normal(size=(3, 3, 10, 12))
    expected = [fn.conv(some, kernel, padding="same") for some in x]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda some: fn.conv(some, kernel, padding="same"), x))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(32, 64, 64, 16), (1, 1024, 128, 16)], ids=["many images", "a large one"])
def test_numpy_s_convolution_takes_no_more_memory_than_its_result_and_a_piece(shape, rng, monkeypatch):
    import tracemalloc

    from nnbackend_numpy import convolution
    from nnbackend_numpy.workspaces import Workspaces

    x, kernel = rng.normal(size=shape).astype("float32"), np.ones((3, 3, 16, 16), "float32")
    monkeypatch.setattr(convolution, "_workspaces", Workspaces())
    tracemalloc.start()
    try:
        y = fn.conv(x, kernel, padding="same")
        assert tracemalloc.get_traced_memory()[1] < y.nbytes + 2 * convolution.PIECE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("parameters", [(), (5,), (1, 1, 5)], ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 5), (64, 64, 5), (0, 4, 5)], ids=str)
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_numpy_s_batch_normalisation_is_the_generic_one(shape, parameters, mean, rng, dtype, generic):
    x = (rng.normal(size=(shape[1], shape[0], shape[2])) + mean).astype(dtype).swapaxes(0, 1)
    given = [x, *(rng.normal(size=parameters).astype(dtype) for _ in range(2) if parameters)]
    # the sum that a sum of 10,000 is rounded to moves the statistics, and they move y by as much
    weights = [rng.normal(size=size).astype(dtype) for size in (shape, (1, 1, 5), (1, 1, 5))]

    def both():
        value, pullback = nn.vjp(lambda *a: fn.standardize(*a, axis=(0, 1)), *given)
        return *value, *pullback(tuple(weights))

    native = both()
    np.testing.assert_array_equal(native[0], both()[0])
    for mine, expected in zip(native, generic(both), strict=True):
        assert mine.dtype == expected.dtype
        assert mine.shape == expected.shape
        scale = max(1.0, np.max(np.abs(expected), initial=0.0))
        np.testing.assert_allclose(
            mine, expected, rtol=0, atol=(1e-5 if dtype == "float32" else 1e-12) * scale
        )


def test_numpy_s_batch_normalisation_of_drifting_numbers_is_accurate(rng):
    """The first block's mean is far from that of all."""
    x = (rng.normal(size=(4096, 64)) + np.linspace(-1e3, 1e3, 4096)[:, np.newaxis]).astype("float32")
    y, mean, variance = fn.standardize(x, axis=0, epsilon=0.0)
    exact = x.astype("float64")
    np.testing.assert_allclose(mean[0], exact.mean(axis=0), rtol=0, atol=1e-4)
    np.testing.assert_allclose(variance[0], exact.var(axis=0), rtol=1e-6)
    np.testing.assert_allclose(y, (exact - exact.mean(axis=0)) / exact.std(axis=0), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mean", [0.0, 1.0, 1.7, 1.8, 30.0])
def test_numpy_s_batch_normalisation_is_accurate_whether_or_not_sums_are_shifted(mean, rng):
    """Up to 1.73 deviations from zero, squares are summed as they are."""
    x = (rng.normal(size=(4096, 64)) + mean).astype("float32")
    (y, center, variance), pullback = nn.vjp(lambda x: fn.standardize(x, axis=0, epsilon=0.0), x)
    exact = x.astype("float64")
    np.testing.assert_allclose(center[0], exact.mean(axis=0), rtol=0, atol=2e-7 * max(mean, 1.0))
    np.testing.assert_allclose(variance[0], exact.var(axis=0), rtol=2e-6)
    expected, back = nn.vjp(lambda x: fn.standardize(x, axis=0, epsilon=0.0), exact)
    np.testing.assert_allclose(y, expected[0], rtol=0, atol=4e-6)
    weights = [np.sin(x), np.ones_like(center), np.ones_like(variance)]
    dx = back(tuple(weight.astype("float64") for weight in weights))[0]
    np.testing.assert_allclose(pullback(tuple(weights))[0], dx, rtol=0, atol=4e-6)


def test_numpy_s_batch_normalisation_takes_numbers_whose_squares_are_none(rng):
    x = (1e20 * (1.0 + 0.001 * rng.normal(size=(512, 8)))).astype("float32")
    y, mean, variance = fn.standardize(x, axis=0)
    exact = x.astype("float64")
    np.testing.assert_allclose(mean[0], exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(y, (exact - exact.mean(axis=0)) / exact.std(axis=0), rtol=0, atol=2e-4)
    assert np.isfinite(variance).all()


def test_second_derivatives_of_batch_normalisation_go_through_the_generic_rule(rng):
    x = rng.normal(size=(6, 2)).astype("float32")

    def slope(x):
        return fn.sum(nn.grad(lambda x: fn.sum(fn.standardize(x, axis=0)[0] ** 3))(x) ** 2)

    exact = nn.grad(slope)(x.astype("float64"))
    np.testing.assert_allclose(nn.grad(slope)(x), exact, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 6, 8, 5), {"pool_size": 2}),
        ((3, 7, 8, 5), {"pool_size": (3, 2)}),
        ((2, 9, 3), {"pool_size": 4}),
        ((2, 4, 6, 4, 3), {"pool_size": (2, 3, 1)}),
        ((1, 5, 5, 2), {"pool_size": 1}),
        ((0, 4, 4, 2), {"pool_size": 2}),
        ((2, 7, 7, 2), {"pool_size": 3, "strides": 2}),
        ((2, 7, 7, 2), {"pool_size": 2, "padding": "same"}),
    ],
)
def test_numpy_s_maxima_are_the_generic_ones(shape, options, piece, rng, dtype, generic, monkeypatch):
    from nnbackend_numpy import pooling

    monkeypatch.setattr(pooling, "PIECE", piece)
    x = np.moveaxis(rng.integers(0, 3, (shape[-1], *shape[:-1])).astype(dtype), 0, -1)  # full of ties
    if x.size:
        x[0, 1, ..., 0] = np.nan
        x[-1, -1, ..., -1] = -np.inf

    def both():
        y, pullback = nn.vjp(lambda x: fn.max_pool(x, **options), x)
        dy = rng.permutation(np.arange(y.size, dtype=dtype)).reshape(y.shape)
        dy.reshape(-1)[:1] = np.inf
        return y, dy, pullback(dy)[0]

    y, dy, dx = both()
    expected, back = generic(lambda: nn.vjp(lambda x: fn.max_pool(x, **options), x))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, generic(lambda: back(dy)[0]))
    assert dx.dtype == dtype


def test_second_derivatives_of_maxima_go_through_the_generic_rule(rng):
    x = rng.normal(size=(1, 4, 4, 2))
    nn.gradcheck(
        nn.grad(lambda x: fn.sum(fn.max_pool(x, pool_size=2) ** 3)), x, projections=2, tolerance=1e-5
    )


#: Shapes and options: windows that tile, leave out, overlap and reach over the edges; one, two and three axes of space.
MEANS = [
    ((3, 6, 8, 5), {"pool_size": 2}),
    ((3, 7, 8, 5), {"pool_size": (3, 2)}),
    ((2, 9, 3), {"pool_size": 4}),
    ((2, 9, 3), {"pool_size": 2, "strides": 5}),
    ((2, 9, 3), {"pool_size": 5, "strides": 2}),
    ((2, 4, 6, 4, 3), {"pool_size": (2, 3, 1)}),
    ((2, 5, 6, 4, 3), {"pool_size": (3, 2, 2), "strides": (2, 1, 3), "padding": "same"}),
    ((1, 5, 5, 2), {"pool_size": 1}),
    ((0, 4, 4, 2), {"pool_size": 2}),
    ((2, 7, 7, 2), {"pool_size": 3, "strides": 2}),
    ((2, 7, 7, 2), {"pool_size": 2, "padding": "same"}),
    ((2, 7, 8, 2), {"pool_size": 3, "strides": (1, 2), "padding": "same"}),
    ((2, 7, 8, 2), {"pool_size": 2, "strides": 3, "padding": "same"}),
    ((2, 3, 1, 2), {"pool_size": 9, "strides": 1, "padding": "same"}),
    ((2, 3, 2, 1), {"pool_size": 4, "strides": 5, "padding": "same"}),
]


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(("shape", "options"), MEANS)
def test_numpy_s_means_are_the_generic_ones(shape, options, piece, rng, dtype, generic, monkeypatch):
    from nnbackend_numpy import pooling

    x = np.moveaxis(rng.normal(size=(shape[-1], *shape[:-1])).astype(dtype), 0, -1)

    def both():
        y, pullback = nn.vjp(lambda x: fn.average_pool(x, **options), x)
        return y, pullback(np.sin(np.arange(y.size, dtype=dtype)).reshape(y.shape))[0]

    expected = generic(both)
    with monkeypatch.context() as changed:
        for name in ("_add_up", "_give_back"):  # what is not called is not native
            changed.setattr(pooling, name, lambda *arguments: (_ for _ in ()).throw(LookupError))
        if x.size:
            with pytest.raises(LookupError):
                both()
    monkeypatch.setattr(pooling, "PIECE", piece)
    native = both()
    for mine, again, other in zip(native, both(), expected, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, again)
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6 if dtype == "float32" else 1e-15)


@pytest.mark.parametrize("output_size", [(3, 4), (2, 4), 1])
def test_numpy_s_adaptive_means_are_the_generic_ones(output_size, rng, dtype, generic):
    x = rng.normal(size=(2, 6, 8, 3)).astype(dtype)

    def both():
        y, pullback = nn.vjp(lambda x: fn.adaptive_average_pool(x, output_size=output_size), x)
        return y, pullback(np.sin(y))[0]

    for mine, other in zip(both(), generic(both), strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6 if dtype == "float32" else 1e-15)


def test_numpy_s_means_do_not_spill_over_windows(rng):
    """An infinite or missing number is in the windows that it lies in alone."""
    x = np.zeros((1, 4, 4, 1), "float32")
    x[0, 0, 0, 0], x[0, 3, 3, 0] = np.inf, np.nan
    y = fn.average_pool(x, pool_size=2)[0, :, :, 0]
    np.testing.assert_array_equal(y, [[np.inf, 0.0], [0.0, np.nan]])


def test_numpy_s_means_do_not_depend_on_the_number_of_threads(rng, monkeypatch):
    pytest.importorskip("threadpoolctl")
    from nnbackend_numpy import pooling

    monkeypatch.setattr(pooling, "PIECE", 1)
    x = rng.normal(size=(7, 9, 9, 3)).astype("float32")
    found = []
    for threads in (1, 2):
        with nn.use_backend("numpy", threads=threads):
            y, pullback = nn.vjp(lambda x: fn.average_pool(x, pool_size=3, strides=2, padding="same"), x)
            found.append((y, pullback(y)[0]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_second_derivatives_of_means_go_through_the_generic_rule(rng):
    x = rng.normal(size=(1, 4, 5, 2))
    nn.gradcheck(
        nn.grad(lambda x: fn.sum(fn.average_pool(x, pool_size=2, strides=1) ** 3)),
        x,
        projections=2,
        tolerance=1e-5,
    )
