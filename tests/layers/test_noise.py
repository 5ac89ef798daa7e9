"""Noise: what is drawn, what is done with it, and what stays on average."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.random import Stream

LAYERS = [
    nn.Dropout(0.5),
    nn.AlphaDropout(0.5),
    nn.GaussianNoise(0.5),
    nn.GaussianDropout(0.5),
    nn.SpatialDropout1D(0.5),
]


def kept(path, shape, rate):
    return Stream(0, path).keep(shape, rate)


def test_dropout_drops_its_share_and_keeps_the_mean(put):
    x = put(np.ones((100, 100)))
    y = nn.to_numpy(nn.Dropout(0.25)(x, training=True))
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert y.mean() == pytest.approx(1.0, abs=0.03)


def test_dropouts_mask_is_that_of_its_stream(put):
    x = put(np.ones((4, 5)))
    layer = nn.Dropout(0.5)
    for call in range(2):  # outside of a model each call is a step of its own
        kept = Stream(0, "dropout/mask", step=call).keep((4, 5), 0.5)
        np.testing.assert_array_equal(nn.to_numpy(layer(x, training=True)) != 0, kept)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_outside_of_training_the_input_passes(layer, put, rng):
    x = rng.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(nn.to_numpy(type(layer)(0.5, dtype="float64")(put(x))), x)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_rate_of_zero_changes_nothing(layer, put, rng):
    x = rng.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(nn.to_numpy(type(layer)(0.0, dtype="float64")(put(x), training=True)), x)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout, nn.GaussianDropout, nn.SpatialDropout2D])
@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_impossible_rates_are_refused(kind, rate):
    with pytest.raises(ValueError, match=f"{kind.__name__} expects a rate from 0 to below 1"):
        kind(rate)


def test_a_negative_deviation_is_refused():
    with pytest.raises(ValueError, match="GaussianNoise expects stddev to be at least 0, got -1.0"):
        nn.GaussianNoise(-1.0)


def test_axes_of_the_noise_may_share_a_draw(put):
    x = put(np.ones((3, 4, 5)))
    y = nn.to_numpy(nn.Dropout(0.5, noise_shape=(None, 1, 5))(x, training=True))
    np.testing.assert_array_equal(y != 0, np.broadcast_to(kept("dropout/mask", (3, 1, 5), 0.5), y.shape))
    one_for_all = nn.to_numpy(nn.Dropout(0.5, noise_shape=(1, None, None))(x, training=True))
    np.testing.assert_array_equal(one_for_all, np.broadcast_to(one_for_all[:1], (3, 4, 5)))


@pytest.mark.parametrize("noise_shape", [(None, 2, None), (None, 1), (None, 1, None, None)])
def test_noise_that_does_not_fit_is_refused(noise_shape, put):
    layer = nn.Dropout(0.5, noise_shape=noise_shape)
    with pytest.raises(
        ValueError, match=r"Dropout 'dropout' expects inputs that noise of shape .* got \(n, 4, 5\)"
    ):
        layer(put(np.ones((3, 4, 5))), training=True)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.SpatialDropout1D, (6, 4, 5)),
        (nn.SpatialDropout2D, (6, 3, 4, 5)),
        (nn.SpatialDropout3D, (6, 2, 3, 4, 5)),
    ],
)
def test_spatial_dropout_drops_whole_channels(kind, shape, put):
    layer = kind(0.4, dtype="float64")
    y = nn.to_numpy(layer(put(np.ones(shape)), training=True))
    flat = y.reshape(shape[0], -1, shape[-1])
    mask = kept(f"{layer.name}/mask", (shape[0], shape[-1]), 0.4)
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(flat, np.broadcast_to(mask[:, None, :] / 0.6, flat.shape))
    with pytest.raises(ValueError, match=f"{kind.__name__} .* expects inputs of shape"):
        layer(put(np.ones((2, 3))))


def test_alpha_dropout_is_its_formula(put, rng):
    x, rate = rng.normal(size=(6, 7)), 0.3
    y = nn.to_numpy(nn.AlphaDropout(rate, dtype="float64")(put(x), training=True))
    low = -1.0507009873554805 * 1.6732632423543772
    a = ((1 - rate) * (1 + rate * low**2)) ** -0.5
    mask = kept("alpha_dropout/mask", (6, 7), rate)
    np.testing.assert_allclose(y, a * np.where(mask, x, low) - a * rate * low, rtol=1e-14)


def test_alpha_dropout_keeps_mean_and_variance(put, rng):
    x = rng.normal(size=(200, 500))
    y = nn.to_numpy(nn.AlphaDropout(0.4, dtype="float64")(put(x), training=True))
    assert y.mean() == pytest.approx(0.0, abs=0.02)
    assert y.var() == pytest.approx(1.0, abs=0.03)


def test_gaussian_noise_is_added(put, dtype):
    x = np.full((50, 100), 3.0)
    y = nn.to_numpy(nn.GaussianNoise(0.5, dtype=dtype)(put(x), training=True))
    drawn = Stream(0, "gaussian_noise/noise").normal((50, 100), 0.0, 0.5, dtype)
    np.testing.assert_allclose(y, x + drawn, rtol=1e-6 if dtype == "float32" else 1e-14)
    assert (y - x).std() == pytest.approx(0.5, rel=0.05)
    assert str(y.dtype) == dtype


def test_gaussian_dropout_multiplies_by_noise_of_the_variance_of_dropout(put):
    rate, x = 0.2, np.full((100, 100), 2.0)
    layer = nn.GaussianDropout(rate, dtype="float64")
    y = nn.to_numpy(layer(put(x), training=True))
    drawn = Stream(0, "gaussian_dropout/noise").normal((100, 100), 1.0, np.sqrt(rate / (1 - rate)), "float64")
    np.testing.assert_allclose(y, x * drawn, rtol=1e-13, atol=1e-14)
    dropped = nn.to_numpy(nn.Dropout(rate, dtype="float64")(put(x), training=True))
    assert y.mean() == pytest.approx(2.0, rel=0.02)
    assert y.var() == pytest.approx(dropped.var(), rel=0.1)


def test_each_call_draws_anew_and_a_seed_draws_the_same(put):
    x = put(np.ones((4, 8)))
    layer = nn.Dropout(0.5)
    first, second = (nn.to_numpy(layer(x, training=True)) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(nn.to_numpy(nn.Dropout(0.5)(x, training=True)), first)


def test_the_gradient_goes_where_the_mask_lets_it(put):
    layer = nn.SpatialDropout1D(0.5, dtype="float64")
    gradient = nn.grad(lambda x: fn.sum(layer(x, training=True)))(put(np.ones((2, 3, 4))))
    mask = kept("spatial_dropout1d/mask", (2, 1, 4), 0.5)
    np.testing.assert_array_equal(nn.to_numpy(gradient), np.broadcast_to(mask * 2.0, (2, 3, 4)))
