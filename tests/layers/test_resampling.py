"""Layers that make grids finer, and put on and cut off borders."""

import numpy as np
import pytest

import nnbackend as nn

SHAPE = (2, 4, 5, 6, 3)  # samples, up to three axes of space, channels


def sample(ndim):
    shape = (SHAPE[0], *SHAPE[1 : 1 + ndim], SHAPE[-1])
    return np.arange(float(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("layer", "widths"),
    [
        (lambda: nn.ZeroPadding1D(), [(1, 1)]),
        (lambda: nn.ZeroPadding1D(2), [(2, 2)]),
        (lambda: nn.ZeroPadding1D((2, 0)), [(2, 0)]),
        (lambda: nn.ZeroPadding2D(), [(1, 1), (1, 1)]),
        (lambda: nn.ZeroPadding2D((2, 1)), [(2, 2), (1, 1)]),
        (lambda: nn.ZeroPadding2D(((2, 1), (0, 3))), [(2, 1), (0, 3)]),
        (lambda: nn.ZeroPadding3D(), [(1, 1), (1, 1), (1, 1)]),
        (lambda: nn.ZeroPadding3D((2, 0, 1)), [(2, 2), (0, 0), (1, 1)]),
        (lambda: nn.ZeroPadding3D(((2, 0), (0, 1), (3, 3))), [(2, 0), (0, 1), (3, 3)]),
    ],
)
def test_padding_and_cropping_take_widths_as_keras_does_and_undo_each_other(layer, widths, put):
    x = sample(len(widths))
    y = nn.to_numpy(layer()(put(x)))
    np.testing.assert_array_equal(y, np.pad(x, [(0, 0), *widths, (0, 0)]))
    crop = getattr(nn, type(layer()).__name__.replace("ZeroPadding", "Cropping"))
    np.testing.assert_array_equal(nn.to_numpy(crop(layer().padding)(put(y))), x)


def test_croppings_defaults_are_keras(put):
    assert nn.to_numpy(nn.Cropping1D()(put(sample(1)))).shape == (2, 2, 3)
    assert nn.to_numpy(nn.Cropping2D()(put(sample(2)))).shape == (2, 4, 5, 3)
    assert nn.to_numpy(nn.Cropping3D()(put(sample(3)))).shape == (2, 2, 3, 4, 3)


@pytest.mark.parametrize(
    ("layer", "factors"),
    [
        (lambda: nn.UpSampling1D(), (2,)),
        (lambda: nn.UpSampling2D((1, 3)), (1, 3)),
        (lambda: nn.UpSampling3D((2, 1, 3)), (2, 1, 3)),
    ],
)
def test_upsampling_repeats_along_each_axis(layer, factors, put):
    x = expected = sample(len(factors))
    for axis, factor in enumerate(factors, 1):
        expected = np.repeat(expected, factor, axis=axis)
    np.testing.assert_array_equal(nn.to_numpy(layer()(put(x))), expected)


def test_bilinear_upsampling_as_worked_by_hand(put):
    x = put(np.array([[0.0, 4.0], [8.0, 12.0]]).reshape(1, 2, 2, 1))
    y = nn.to_numpy(nn.UpSampling2D(2, "bilinear")(x))[0, :, :, 0]
    np.testing.assert_array_equal(
        y, [[0.0, 1.0, 3.0, 4.0], [2.0, 3.0, 5.0, 6.0], [6.0, 7.0, 9.0, 10.0], [8.0, 9.0, 11.0, 12.0]]
    )


def test_what_leaves_nothing_is_refused_with_the_layers_name(put):
    layer = nn.Cropping2D((2, 0), name="inside")
    with pytest.raises(
        ValueError, match=r"Cropping2D 'inside' would cut .* off an input of shape \(n, 4, 5, 3\)"
    ):
        layer.compute_output_shape((4, 5, 3))
    with pytest.raises(ValueError, match="leave nothing"):
        layer(put(np.ones((1, 4, 5, 3))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.UpSampling2D(2, "cubic"),
            "UpSampling2D expects interpolation to be 'nearest' or 'bilinear'",
        ),
        (lambda: nn.UpSampling3D((1, 2)), "UpSampling3D expects size to be a whole number or 3 of them"),
        (lambda: nn.ZeroPadding2D((1, 2, 3)), "ZeroPadding2D expects padding .* each of the 2 axes"),
        (lambda: nn.Cropping1D(-1), "Cropping1D expects cropping to be at least 0, got -1"),
    ],
)
def test_wrong_arguments_are_refused_when_a_layer_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()
