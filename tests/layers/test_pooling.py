"""What the layers of pooling add to their rules: arguments, shapes, masks and errors that name them."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

SPACES = {1: (6,), 2: (6, 7), 3: (4, 6, 5)}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("kind", "rule"), [("Max", "max_pool"), ("Average", "average_pool")])
def test_layers_are_their_rules(ndim, kind, rule, put, rng):
    x = put(rng.normal(size=(2, *SPACES[ndim], 3)))
    for options in ({}, {"pool_size": 3, "strides": 2}, {"pool_size": 3, "padding": "same"}):
        layer = getattr(nn, f"{kind}Pooling{ndim}D")(**options, dtype="float64")
        expected = getattr(fn, rule)(x, **{"pool_size": 2, **options})
        np.testing.assert_array_equal(nn.to_numpy(layer(x)), nn.to_numpy(expected))
    layer = getattr(nn, f"Global{kind}Pooling{ndim}D")(dtype="float64")
    expected = getattr(fn, f"global_{rule}")(x)
    np.testing.assert_array_equal(nn.to_numpy(layer(x)), nn.to_numpy(expected))
    layer = getattr(nn, f"Adaptive{kind}Pooling{ndim}D")(4, dtype="float64")
    expected = getattr(fn, f"adaptive_{rule}")(x, output_size=4)
    np.testing.assert_array_equal(nn.to_numpy(layer(x)), nn.to_numpy(expected))


def test_windows_follow_each_other_without_strides():
    layer = nn.MaxPooling2D((2, 3))
    assert layer.strides == (2, 3)
    assert layer.compute_output_shape((7, 7, 4)) == (3, 2, 4)


def test_the_mean_over_time_leaves_masked_steps_out(put):
    x = put(np.asarray([[[1.0], [3.0], [100.0]]]))
    layer = nn.GlobalAveragePooling1D(dtype="float64")
    mask = put(np.asarray([[True, True, False]]))
    np.testing.assert_array_equal(nn.to_numpy(layer(x, mask=mask)), [[2.0]])
    y, rest = layer.call_masked([mask], x)
    np.testing.assert_array_equal(nn.to_numpy(y), [[2.0]])
    assert rest is None  # the steps are gone, and their mask with them


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: nn.MaxPooling2D(5), (4, 8, 3), r"MaxPooling2D 'max_pooling2d' expects.*got \(4, 8\)"),
        (lambda: nn.MaxPooling2D(2), (8, 3), r"expects inputs of shape \(n, h, w, c\), got \(n, 8, 3\)"),
        (lambda: nn.AveragePooling1D(2), (1, 3), r"AveragePooling1D 'average_pooling1d'.*got \(1,\)"),
        (lambda: nn.GlobalMaxPooling3D(), (3, 3), r"\(n, d, h, w, c\), got \(n, 3, 3\)"),
        (lambda: nn.AdaptiveAveragePooling2D(2), (5,), r"\(n, h, w, c\), got \(n, 5\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_anything_is_built(make, shape, message):
    layer = make()
    for refuse in (layer.compute_output_shape, layer.build):
        with pytest.raises(ValueError, match=message):
            refuse(shape)
    assert not layer.built


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.MaxPooling1D(0), ValueError, "MaxPooling1D expects pool_size of at least 1, got 0"),
        (lambda: nn.MaxPooling1D(2, strides=1.5), TypeError, "strides to hold whole numbers, got 1.5"),
        (lambda: nn.AveragePooling2D((2, 2, 2)), ValueError, "one for each of the 2"),
        (lambda: nn.AveragePooling2D(2, padding="causal"), ValueError, "'valid' or 'same', got 'causal'"),
        (lambda: nn.AdaptiveMaxPooling3D((1, 2)), ValueError, "AdaptiveMaxPooling3D expects one output_size"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
