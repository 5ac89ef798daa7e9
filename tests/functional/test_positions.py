"""Positions: the papers' formulas, transcribed with complex numbers."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def turned(x, positions, wavelength=10000.0, interleaved=False):
    """RoPE with complex numbers: pairs times exp(i p theta)."""
    size = x.shape[-1]
    theta = wavelength ** (-2 * np.arange(size // 2) / size)
    turn = np.exp(1j * positions[..., None] * theta)
    lead = (1,) if positions.ndim == 1 else ()
    turn = turn.reshape(*lead, *positions.shape, *(1,) * (x.ndim - 3), size // 2)
    if interleaved:
        z = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)
    z = (x[..., : size // 2] + 1j * x[..., size // 2 :]) * turn
    return np.concatenate([z.real, z.imag], axis=-1)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 3, 6), (1, 1, 1, 2), (0, 5, 3, 4)], ids=str)
def test_rotary_embedding_is_a_product_of_complex_numbers(interleaved, shape, put, rng, dtype):
    x, t = rng.normal(size=shape), shape[1]
    for positions, offset in (
        (None, 0),
        (None, 3),
        (rng.integers(0, 50, (t,)), 0),
        (rng.integers(0, 50, shape[:2]), 1),
    ):
        expected = turned(x, (np.arange(t) if positions is None else positions) + offset, 100.0, interleaved)
        value = fn.rotary_embedding(
            put(x, dtype),
            None if positions is None else put(positions),
            offset=offset,
            max_wavelength=100.0,
            interleaved=interleaved,
        )
        assert str(nn.to_numpy(value).dtype) == dtype
        np.testing.assert_allclose(nn.to_numpy(value), expected, atol=1e-6 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("interleaved", [False, True])
def test_inner_products_depend_on_the_distance_alone(interleaved, put, rng):
    q, k = rng.normal(size=(2, 1, 1, 8))
    products = [
        float(np.sum([
            nn.to_numpy(fn.rotary_embedding(put(q[None]), put([p]), interleaved=interleaved))
            * nn.to_numpy(fn.rotary_embedding(put(k[None]), put([p + 7]), interleaved=interleaved))
        ]))
        for p in (0, 3, 1000)
    ]  # fmt: skip
    np.testing.assert_allclose(products, products[0], rtol=1e-10)


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_gradient_is_turned_back(interleaved, put, rng):
    x, dy = rng.normal(size=(2, 4, 3, 6)), rng.normal(size=(2, 4, 3, 6))
    value, pullback = nn.vjp(lambda x: fn.rotary_embedding(x, interleaved=interleaved), put(x))
    np.testing.assert_allclose(nn.to_numpy(pullback(value)[0]), x, atol=1e-14)  # a rotation's inverse
    _, pullback = nn.vjp(lambda x: fn.rotary_embedding(x, interleaved=interleaved), put(x))
    expected = turned(dy, -np.arange(4), interleaved=interleaved)
    np.testing.assert_allclose(nn.to_numpy(pullback(put(dy))[0]), expected, atol=1e-14)
    nn.gradcheck(lambda x: fn.rotary_embedding(x, offset=2, interleaved=interleaved), put(x), projections=1)


def test_large_positions_lose_no_digits_in_float32(put):
    x = np.ones((1, 1, 2))
    value = fn.rotary_embedding(put(x, "float32"), put([123456]))
    np.testing.assert_allclose(nn.to_numpy(value), turned(x, np.asarray([123456])), atol=2e-7)


def test_positions_may_be_known_only_inside_a_compiled_step(put, backend):
    step = backend.compile(lambda state, batch: (state, fn.rotary_embedding(batch[0], batch[1])))
    x = np.ones((1, 2, 4))
    _, value = step((), (put(x), put([5, 6])))
    np.testing.assert_allclose(nn.to_numpy(value), turned(x, np.asarray([5, 6])), atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "positions", "words"),
    [
        ((2, 5), None, r"expects x of shape \(n, t, ..., d\)"),
        ((2, 5, 3), None, "with an even number d of features"),
        ((2, 5, 4), (4,), r"positions of shape \(5,\) or \(2, 5\), got \(4,\)"),
    ],
)
def test_rotary_embedding_refuses_what_does_not_fit(shape, positions, words, put):
    given = None if positions is None else put(np.zeros(positions, np.int64))
    with pytest.raises(ValueError, match=words):
        fn.rotary_embedding(put(np.ones(shape)), given)


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_sinusoidal_positions_are_the_paper_s(size, put):
    positions = np.asarray([[0, 1, 2], [50, 7, 100]])
    expected = np.zeros((2, 3, size))
    for i in range(size):
        angle = positions / 1000.0 ** (2 * (i // 2) / size)
        expected[..., i] = np.sin(angle) if i % 2 == 0 else np.cos(angle)
    value = fn.sinusoidal_positions(put(positions), size=size, max_wavelength=1000.0)
    np.testing.assert_allclose(nn.to_numpy(value), expected, atol=1e-13)
    single = nn.to_numpy(fn.sinusoidal_positions(put(positions, "float32"), size=size, max_wavelength=1000.0))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-7)


def test_sinusoidal_positions_refuse_what_does_not_fit(put):
    with pytest.raises(ValueError, match="size of at least 1, got 0"):
        fn.sinusoidal_positions(put([0]), size=0)
    with pytest.raises(ValueError, match="max_wavelength to be above zero, got -1"):
        fn.sinusoidal_positions(put([0]), size=2, max_wavelength=-1)
