"""Flatten, Reshape, Permute, RepeatVector, Identity and Lambda."""

import json

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.config import describe, restore


def doubled(x, factor=2.0):
    return x * factor


@pytest.mark.parametrize(("shape", "flat"), [((2, 3, 4), (2, 12)), ((2, 3), (2, 3)), ((2,), (2, 1))])
def test_flatten_lays_each_sample_out_in_one_row(put, shape, flat):
    x = np.arange(float(np.prod(shape))).reshape(shape)
    layer = nn.Flatten()
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x))), x.reshape(flat))
    assert layer.compute_output_shape(shape[1:]) == flat[1:]


@pytest.mark.parametrize(
    ("target", "shape", "output"),
    [
        ((6, 2), (3, 4), (6, 2)),
        ((-1,), (3, 4), (12,)),
        ((2, -1, 3), (3, 4), (2, 2, 3)),
        ((), (1,), ()),
        ((-1, 3), (0,), (0, 3)),
    ],
)
def test_reshape_gives_samples_another_shape(target, shape, output, put):
    x = np.arange(2.0 * np.prod(shape)).reshape(2, *shape)
    layer = nn.Reshape(target)
    assert layer.compute_output_shape(shape) == output
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x))), x.reshape(2, *output))


@pytest.mark.parametrize("target", [(5, 2), (-1, 5), (-1, 0), (13,)])
def test_a_shape_that_samples_do_not_fill_is_refused(target, put):
    layer = nn.Reshape(target)
    message = (
        r"Reshape 'reshape' expects samples whose elements fill the shape .* got \(n, 3, 4\), which has 12"
    )
    with pytest.raises(ValueError, match=message):
        layer.compute_output_shape((3, 4))
    with pytest.raises(ValueError, match=message):
        layer(put(np.ones((2, 3, 4))))


@pytest.mark.parametrize("target", [(-1, -1), (2, -3)])
def test_a_shape_that_says_nothing_is_refused(target):
    with pytest.raises(
        ValueError, match="Reshape expects lengths that are at least 0, one of them perhaps -1"
    ):
        nn.Reshape(target)


def test_permute_counts_axes_from_one(put, rng):
    x = rng.normal(size=(2, 3, 4, 5))
    layer = nn.Permute((3, 1, 2), dtype="float64")
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x))), np.transpose(x, (0, 3, 1, 2)))
    assert layer.compute_output_shape((3, 4, 5)) == (5, 3, 4)


@pytest.mark.parametrize("dims", [(0, 1), (1, 3), (1, 1)])
def test_an_order_that_is_none_is_refused(dims):
    with pytest.raises(ValueError, match=r"Permute expects an order of the axes 1 to 2, got"):
        nn.Permute(dims)


def test_permute_refuses_inputs_of_another_rank():
    with pytest.raises(ValueError, match=r"Permute 'permute' expects inputs of 3 axes .* got shape \(n, 3\)"):
        nn.Permute((2, 1)).build((3,))


def test_repeat_vector_repeats(put, rng):
    x = rng.normal(size=(2, 4))
    y = nn.to_numpy(nn.RepeatVector(3, dtype="float64")(put(x)))
    np.testing.assert_array_equal(y, np.repeat(x[:, None, :], 3, axis=1))
    with pytest.raises(ValueError, match=r"RepeatVector 'repeat_vector' expects inputs of shape \(n, c\)"):
        nn.RepeatVector(3).build((4, 5))
    with pytest.raises(ValueError, match="RepeatVector expects n to be at least 1, got 0"):
        nn.RepeatVector(0)


def test_the_gradient_of_a_repeated_vector_adds_up(put):
    layer = nn.RepeatVector(3, dtype="float64")
    gradient = nn.grad(lambda x: fn.sum(layer(x)))(put(np.ones((2, 4))))
    np.testing.assert_array_equal(nn.to_numpy(gradient), np.full((2, 4), 3.0))


def test_identity_passes_its_input(put, rng):
    x = rng.normal(size=(2, 3))
    np.testing.assert_array_equal(nn.to_numpy(nn.Identity(dtype="float64")(put(x))), x)


def test_lambda_calls_its_function(put):
    x = put(np.ones((2, 3)))
    np.testing.assert_array_equal(nn.to_numpy(nn.Lambda(doubled)(x)), np.full((2, 3), 2.0))
    np.testing.assert_array_equal(nn.to_numpy(nn.Lambda(doubled, {"factor": 5.0})(x)), np.full((2, 3), 5.0))
    assert nn.Lambda(lambda x: fn.sum(x, axis=1)).compute_output_shape((3, 4)) == (4,)


def test_lambda_takes_several_inputs(put):
    layer = nn.Lambda(lambda inputs: inputs[0] - inputs[1])
    a, b = put(np.full((2, 3), 3.0)), put(np.ones((2, 3)))
    np.testing.assert_array_equal(nn.to_numpy(layer([a, b])), np.full((2, 3), 2.0))


def test_a_lambda_is_saved_if_its_function_is_registered(put):
    with pytest.raises(TypeError, match=r"'doubled' is not registered.*@nn.register"):
        describe(nn.Lambda(doubled))
    with pytest.raises(TypeError, match="a lambda needs to become a named function"):
        describe(nn.Lambda(lambda x: x))
    nn.register("tests_of_lambda")(doubled)
    layer = restore(json.loads(json.dumps(describe(nn.Lambda(doubled, {"factor": 3.0})))))
    np.testing.assert_array_equal(nn.to_numpy(layer(put(np.ones((1, 2))))), [[3.0, 3.0]])


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="Lambda expects a function of arrays, got int"):
        nn.Lambda(3)
    with pytest.raises(TypeError, match="got a layer. Use the layer itself"):
        nn.Lambda(nn.Dense(3))
