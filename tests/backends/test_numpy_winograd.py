"""NumPy's 3x3 convolutions where fewer digits will do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend_numpy import winograd

#: Of the largest number: a few times what normally distributed numbers give, and less than the usual points do.
BOUND = 5e-6


@pytest.fixture
def counted(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of what Winograd's filtering has made."""
    made: list[tuple[int, ...]] = []
    evaluate = winograd.evaluate

    def spied(*arguments: Any) -> Any:
        y = evaluate(*arguments)
        made.append(y.shape)
        return y

    monkeypatch.setattr(winograd, "evaluate", spied)
    return made


def _all(x: Any, kernel: Any, bias: Any, **options: Any) -> list[Any]:
    y, pullback = nn.vjp(lambda *a: fn.conv(*a, **options), x, kernel, bias)
    dy = np.sin(np.arange(y.size, dtype=x.dtype)).reshape(y.shape)
    return [y, *pullback(dy)]


def _problem(rng: Any, size: tuple[int, int], width: int, made: int, samples: int = 3) -> list[Any]:
    shapes = (samples, *size, width), (3, 3, width, made), (made,)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def _assert_near(mine: Any, expected: Any, bound: float = BOUND) -> None:
    assert mine.dtype == expected.dtype
    assert mine.shape == expected.shape
    np.testing.assert_allclose(mine, expected, rtol=0, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((8, 12), "same"),
        ((16, 16), "valid"),
        ((15, 17), "same"),
        ((13, 14), 2),
        ((12, 13), ((0, 2), (1, 0))),
        ((18, 18), "valid"),
    ],
    ids=str,
)
def test_it_is_the_exact_convolution_within_its_bound(size, padding, piece, rng, counted, monkeypatch):
    monkeypatch.setattr(winograd, "WORTH", 9.0)  # whatever is wasted at the edges
    monkeypatch.setattr(winograd, "PIECE", piece)
    monkeypatch.setattr(winograd, "TILES", 1)
    given = _problem(rng, size, 32, 40)
    with nn.use_matmul_precision("high"):
        mine = _all(*given, padding=padding)
    assert counted == [mine[0].shape, mine[1].shape]  # the value, and the input's gradient
    exact = _all(*(array.astype("float64") for array in given), padding=padding)
    for value, expected in zip(mine, exact, strict=True):
        _assert_near(value, expected.astype("float32"))


def test_it_is_pytorch_s_convolution_within_its_bound(rng, counted):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, kernel, bias = _problem(rng, (28, 28), 64, 64, samples=1)
    with nn.use_matmul_precision("medium"):
        mine = fn.conv(x, kernel, bias, padding="same")
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()),
        torch.from_numpy(bias),
        padding="same",
    )
    _assert_near(mine, theirs.numpy().transpose(0, 2, 3, 1))
    assert len(counted) == 1


def test_its_error_is_what_is_said(rng):
    x, kernel, _ = _problem(rng, (32, 32), 256, 256, samples=1)
    exact = fn.conv(x.astype("float64"), kernel.astype("float64"), padding="same")
    with nn.use_matmul_precision("high"):
        mine = fn.conv(x, kernel, padding="same")
    assert np.abs(mine - exact).max() < 4e-6 * np.abs(exact).max()


def test_without_being_asked_the_direct_sum_gives_its_bits(rng, counted):
    given = _problem(rng, (16, 16), 64, 64)
    before = _all(*given, padding="same")
    with nn.use_matmul_precision("high"):
        fast = _all(*given, padding="same")
    assert len(counted) == 2
    for first, again, other in zip(before, _all(*given, padding="same"), fast, strict=True):
        np.testing.assert_array_equal(first, again)
        assert other.dtype == first.dtype
    assert len(counted) == 2
    assert (before[0] != fast[0]).any()
    np.testing.assert_array_equal(
        before[2], fast[2]
    )  # the kernel's gradient is a sum over positions, as ever


@pytest.mark.parametrize(
    ("shape", "kernel", "options", "dtype"),
    [
        ((1, 16, 16, 64), (3, 3, 64, 64), {"padding": "same"}, "float64"),
        ((1, 16, 16, 64), (3, 3, 64, 64), {"padding": "same", "strides": 2}, "float32"),
        ((1, 32, 32, 64), (3, 3, 64, 64), {"dilation_rate": 2}, "float32"),
        ((1, 16, 16, 64), (5, 5, 64, 64), {"padding": "same"}, "float32"),
        ((1, 16, 16, 16), (3, 3, 16, 64), {"padding": "same"}, "float32"),
        ((1, 3, 3, 64), (3, 3, 64, 64), {}, "float32"),
        ((1, 9, 64), (9, 64, 64), {}, "float32"),
    ],
    ids=["float64", "strides", "dilation", "5x5", "narrow", "one position", "one axis"],
)
def test_others_are_computed_exactly_in_every_precision(shape, kernel, options, dtype, rng, counted):
    given = [rng.normal(size=s).astype(dtype) for s in (shape, kernel, kernel[-1:])]
    exact = _all(*given, **options)
    with nn.use_matmul_precision("medium"):
        for mine, expected in zip(_all(*given, **options), exact, strict=True):
            np.testing.assert_array_equal(mine, expected)
    assert not counted


def test_a_recorded_step_computes_in_the_precision_of_its_call(rng, counted):
    x, kernel, _ = _problem(rng, (8, 8), 64, 64)
    step = nn.get_backend("numpy").compile(lambda state, x: (state, fn.conv(x, state, padding="same")))
    exact = [step(kernel, x)[1] for _ in range(4)][-1]
    assert step.count == 1
    with nn.use_matmul_precision("high"):
        fast = step(kernel, x)[1]
    assert step.count == 1
    assert len(counted) == 1
    assert (fast != exact).any()
    np.testing.assert_array_equal(step(kernel, x)[1], exact)


def test_a_model_trains_in_the_precision_of_each_fit(rng, counted):
    def trained(*precisions: str) -> Any:
        model = nn.Sequential([nn.Conv2D(32, 3, padding="same"), nn.Conv2D(32, 3, padding="same")], seed=0)
        model.compile("sgd", "mse")
        for precision in precisions:
            with nn.use_matmul_precision(precision):
                model.fit(x, x, batch_size=2, epochs=1, verbose=0)
        return nn.to_numpy(model.layers[1].kernel)

    x = rng.normal(size=(8, 8, 8, 32)).astype("float32")
    exact = trained("highest", "highest")
    assert not counted
    mixed = trained("highest", "high")
    assert counted
    assert (exact != mixed).any()
    np.testing.assert_allclose(mixed, exact, rtol=0, atol=1e-5)


def test_groups_go_this_way_put_together_to_dense_kernels(rng, counted):
    given = [rng.normal(size=s).astype("float32") for s in ((1, 16, 16, 64), (3, 3, 32, 64), (64,))]
    exact = _all(*given, padding="same", groups=2)
    assert not counted
    with nn.use_matmul_precision("medium"):
        fast = _all(*given, padding="same", groups=2)
    assert counted
    for mine, expected in zip(fast, exact, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
