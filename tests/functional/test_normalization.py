"""Normalisation: PyTorch's answers, large means, masks and what the functions have in common."""

import tracemalloc

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def first(function):
    """Leave the statistics of batch_norm and standardize away."""
    return lambda *arguments, **options: function(*arguments, **options)[0]


def compare(torch, ours, theirs, arrays, rng, put, dtype):
    """Compare values and all gradients."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    output = theirs(*tensors)
    dy = rng.normal(size=tuple(output.shape)).astype(dtype)
    output.backward(torch.tensor(dy))
    value, pullback = nn.vjp(ours, *(put(array, dtype) for array in arrays))
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(
        nn.to_numpy(value), output.detach().numpy(), rtol=tolerance, atol=0.1 * tolerance
    )
    for gradient, tensor in zip(pullback(put(dy, dtype)), tensors, strict=True):
        scale = max(1.0, float(tensor.grad.abs().max()))
        np.testing.assert_allclose(
            nn.to_numpy(gradient), tensor.grad.numpy(), rtol=tolerance, atol=tolerance * scale
        )


def arrays_of(rng, dtype, *shapes):
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (2, 5, 4, 3), (1, 3, 3, 3)])
def test_batch_norm_is_pytorch_s(shape, put, rng, dtype):
    torch = pytest.importorskip("torch")

    def theirs(x, gamma, beta):
        moved = torch.movedim(x, -1, 1)
        y = torch.nn.functional.batch_norm(moved, None, None, gamma, beta, training=True, eps=1e-3)
        return torch.movedim(y, 1, -1)

    compare(torch, first(fn.batch_norm), theirs, arrays_of(rng, dtype, shape, (3,), (3,)), rng, put, dtype)


def test_batch_norm_by_given_statistics_is_pytorch_s(put, rng, dtype):
    torch = pytest.importorskip("torch")
    x, gamma, beta, mean = arrays_of(rng, dtype, (4, 3, 5), (3,), (3,), (3,))
    variance = rng.uniform(0.5, 2.0, 3).astype(dtype)
    theirs = torch.tensor(x, requires_grad=True)
    parameters = [torch.tensor(a, requires_grad=True) for a in (gamma, beta)]
    output = torch.nn.functional.batch_norm(
        theirs, torch.tensor(mean), torch.tensor(variance), *parameters, eps=1e-3
    )
    dy = rng.normal(size=x.shape).astype(dtype)
    output.backward(torch.tensor(dy))
    value, pullback = nn.vjp(
        lambda *a: fn.batch_norm_inference(*a, axis=1),
        *(put(a, dtype) for a in (x, mean, variance, gamma, beta)),
    )
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), rtol=tolerance, atol=tolerance)
    gradients = pullback(put(dy, dtype))
    for index, tensor in ((0, theirs), (3, parameters[0]), (4, parameters[1])):
        np.testing.assert_allclose(
            nn.to_numpy(gradients[index]), tensor.grad.numpy(), rtol=10 * tolerance, atol=10 * tolerance
        )


@pytest.mark.parametrize("shape", [(7,), (6, 3), (4, 5, 1)])
def test_layer_norm_is_pytorch_s(shape, put, rng, dtype):
    torch = pytest.importorskip("torch")
    last = (shape[-1],)
    compare(
        torch,
        fn.layer_norm,
        lambda x, g, b: torch.nn.functional.layer_norm(x, last, g, b, eps=1e-3),
        arrays_of(rng, dtype, shape, last, last),
        *(rng, put, dtype),
    )


def test_layer_norm_over_several_axes_is_pytorch_s(put, rng, dtype):
    torch = pytest.importorskip("torch")
    compare(
        torch,
        lambda x, g, b: fn.layer_norm(x, g, b, axis=(-2, -1)),
        lambda x, g, b: torch.nn.functional.layer_norm(x, (3, 4), g, b, eps=1e-3),
        arrays_of(rng, dtype, (2, 5, 3, 4), (3, 4), (3, 4)),
        *(rng, put, dtype),
    )


def test_layer_norm_over_axes_apart_moves_them(put, rng):
    x, gamma, beta = arrays_of(rng, "float64", (2, 3, 5, 4), (3, 4), (3, 4))
    y = fn.layer_norm(put(x), put(gamma), put(beta), axis=(3, 1))
    moved = np.ascontiguousarray(np.moveaxis(x, 1, 2))
    expected = fn.layer_norm(put(moved), put(gamma), put(beta), axis=(2, 3))
    np.testing.assert_allclose(nn.to_numpy(y), np.moveaxis(nn.to_numpy(expected), 2, 1), rtol=1e-14)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("space", [(), (5,), (3, 4)])
def test_group_norm_is_pytorch_s(groups, space, put, rng, dtype):
    torch = pytest.importorskip("torch")
    if not space and groups == 6:
        pytest.skip("PyTorch refuses groups of one element")
    compare(
        torch,
        lambda x, g, b: fn.group_norm(x, g, b, groups=groups, axis=1),
        lambda x, g, b: torch.nn.functional.group_norm(x, groups, g, b, eps=1e-3),
        arrays_of(rng, dtype, (2, 6, *space), (6,), (6,)),
        *(rng, put, dtype),
    )


def test_the_axis_of_channels_may_be_any(put, rng):
    x, gamma, beta = arrays_of(rng, "float64", (2, 6, 5, 3), (6,), (6,))
    given = [put(a) for a in (gamma, beta)]
    last = put(np.ascontiguousarray(np.moveaxis(x, 1, -1)))
    for function in (
        first(fn.batch_norm),
        fn.instance_norm,
        lambda *a, axis: fn.group_norm(*a, groups=3, axis=axis),
    ):
        y, other = function(put(x), *given, axis=1), function(last, *given, axis=-1)
        np.testing.assert_allclose(nn.to_numpy(y), np.moveaxis(nn.to_numpy(other), -1, 1), rtol=1e-12)


def test_instance_norm_is_pytorch_s(put, rng, dtype):
    torch = pytest.importorskip("torch")
    compare(
        torch,
        lambda x, g, b: fn.instance_norm(x, g, b, axis=1),
        lambda x, g, b: torch.nn.functional.instance_norm(x, weight=g, bias=b, eps=1e-3),
        arrays_of(rng, dtype, (2, 3, 5, 4), (3,), (3,)),
        *(rng, put, dtype),
    )


def test_rms_norm_is_pytorch_s(put, rng, dtype):
    torch = pytest.importorskip("torch")
    for axis, shape in ((-1, (4,)), ((1, 2), (3, 4))):
        compare(
            torch,
            lambda x, g, axis=axis: fn.rms_norm(x, g, axis=axis),
            lambda x, g, shape=shape: torch.nn.functional.rms_norm(x, shape, g, eps=1e-6),
            arrays_of(rng, dtype, (2, 3, 4), shape),
            *(rng, put, dtype),
        )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unit_norm_is_pytorch_s(axis, put, rng, dtype):
    torch = pytest.importorskip("torch")
    compare(
        torch,
        lambda x: fn.unit_norm(x, axis=axis),
        lambda x: torch.nn.functional.normalize(x, dim=axis),
        arrays_of(rng, dtype, (2, 3, 4)),
        *(rng, put, dtype),
    )


def reference(x, mean):
    """Mean, variance and normal values along axis 0, wider than float64 where the machine can."""
    shifted = x.astype(np.longdouble) - mean  # exact, so that nothing is lost in the sums
    rest = shifted.mean(axis=0)
    centred = shifted - rest
    variance = np.square(centred).mean(axis=0)
    return mean + rest, variance, centred / np.sqrt(variance + np.longdouble(1e-12))


@pytest.mark.parametrize(("mean", "deviation"), [(1e4, 1.0), (1e4, 0.01), (-1e4, 100.0), (0.0, 1.0)])
@pytest.mark.parametrize("by_rows", [False, True])
def test_statistics_are_right_for_large_batches_and_means(mean, deviation, by_rows, put, rng, dtype):
    x = (rng.normal(size=(100_000, 3)) * deviation + mean).astype(dtype)
    dy = rng.normal(size=x.shape).astype(dtype)
    expected_mean, expected_variance, z = reference(x, mean)
    g = dy.astype(np.longdouble)
    r = 1 / np.sqrt(expected_variance + np.longdouble(1e-12))
    expected_dx = r * (g - g.mean(axis=0) - z * (g * z).mean(axis=0))
    turned = (lambda a: np.ascontiguousarray(a.T)) if by_rows else (lambda a: a)
    axis = 1 if by_rows else 0
    (y, found_mean, variance), pullback = nn.vjp(
        lambda x: fn.standardize(x, axis=axis, epsilon=1e-12), put(turned(x), dtype)
    )
    nothing = [put(np.zeros(tuple(part.shape)), dtype) for part in (found_mean, variance)]
    (dx,) = pullback((put(turned(dy), dtype), *nothing))
    units = 4.0 if dtype == "float32" else 400.0  # sums of 100,000 numbers in float64 itself lose some
    one = np.finfo(dtype).eps

    def within(actual, expected, least=0.0):
        error = np.abs(nn.to_numpy(actual).astype(np.longdouble) - turned(expected).reshape(actual.shape))
        assert float(error.max()) <= units * one * max(least, float(np.abs(expected).max()))

    within(y, z)
    within(dx, expected_dx)
    within(found_mean, expected_mean, least=deviation)
    within(variance, expected_variance)


def test_a_mask_takes_the_statistics_of_what_it_holds(put, rng):
    x = rng.normal(size=(4, 5, 3))
    mask = rng.random((4, 5)) < 0.6
    y, mean, variance = fn.batch_norm(put(x), mask=put(mask))
    held = x[mask]
    np.testing.assert_allclose(nn.to_numpy(mean), held.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(nn.to_numpy(variance), held.var(axis=0), rtol=1e-12)
    expected = (x - held.mean(axis=0)) / np.sqrt(held.var(axis=0) + 1e-3)
    np.testing.assert_allclose(nn.to_numpy(y), expected, rtol=1e-12, atol=1e-13)


def test_masked_steps_do_not_touch_the_others_whatever_they_hold(put, rng):
    x = rng.normal(size=(2, 4, 3))
    mask = np.asarray([[True, True, True, False], [True, True, False, False]])
    wild = np.where(mask[..., None], x, 1e30)
    for part, other in zip(
        fn.batch_norm(put(x), mask=put(mask)), fn.batch_norm(put(wild), mask=put(mask)), strict=True
    ):
        held = [nn.to_numpy(p)[mask] if p.ndim == 3 else nn.to_numpy(p) for p in (part, other)]
        np.testing.assert_array_equal(*held)


def test_nothing_to_take_statistics_of_gives_zeros(put):
    x = put(np.ones((2, 3, 4)))
    _, mean, variance = fn.batch_norm(x, mask=put(np.zeros((2, 3), bool)))
    _, empty_mean, empty_variance = fn.batch_norm(put(np.ones((0, 4))))
    for part in (mean, variance, empty_mean, empty_variance):
        np.testing.assert_array_equal(nn.to_numpy(part), np.zeros(4))


def test_groups_lead_from_layer_to_instance_normalisation(put, rng):
    x = put(rng.normal(size=(2, 5, 4)))
    np.testing.assert_allclose(
        nn.to_numpy(fn.group_norm(x, groups=1)), nn.to_numpy(fn.layer_norm(x, axis=(1, 2))), rtol=1e-12
    )
    np.testing.assert_array_equal(nn.to_numpy(fn.group_norm(x, groups=4)), nn.to_numpy(fn.instance_norm(x)))


def test_scale_and_shift_of_the_input_change_nothing(put, rng):
    x = rng.normal(size=(6, 8))
    for function in (first(fn.batch_norm), fn.layer_norm, lambda x, **o: fn.group_norm(x, groups=2, **o)):
        y = nn.to_numpy(function(put(x), epsilon=0.0))
        moved = nn.to_numpy(function(put(8.0 * x + 32.0), epsilon=0.0))
        np.testing.assert_allclose(moved, y, rtol=1e-12, atol=1e-13)


def test_lengths_of_any_size_become_one(put, dtype):
    sizes = [1e30, 1e-30] if dtype == "float32" else [1e300, 1e-300]
    for size in sizes:
        x = put(np.asarray([[3.0, 4.0]]) * size, dtype)
        y = nn.to_numpy(fn.unit_norm(x, epsilon=0.0))
        np.testing.assert_allclose(y, [[0.6, 0.8]], rtol=1e-6)


def test_below_the_least_length_it_is_divided_by_that(put):
    value, pullback = nn.vjp(lambda x: fn.unit_norm(x, epsilon=0.5), put([[0.3, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(nn.to_numpy(value), [[0.6, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(nn.to_numpy(pullback(value)[0]), [[1.2, 0.0], [0.0, 0.0]])


def test_power_iteration_finds_the_singular_vector_and_spectral_norm_the_value(put, rng):
    kernel = rng.normal(size=(3, 2, 4))
    matrix = kernel.reshape(-1, 4)
    u = fn.power_iteration(put(kernel), put(rng.normal(size=4)), iterations=300)
    right = np.linalg.svd(matrix)[2][0]
    np.testing.assert_allclose(np.abs(nn.to_numpy(u)), np.abs(right), rtol=1e-8)
    y = nn.to_numpy(fn.spectral_norm(put(kernel), u))
    np.testing.assert_allclose(np.linalg.svd(y.reshape(-1, 4))[1][0], 1.0, rtol=1e-12)


def test_a_kernel_of_zeros_stays(put):
    zero, u = put(np.zeros((3, 2))), put([1.0, 0.0])
    np.testing.assert_array_equal(nn.to_numpy(fn.spectral_norm(zero, u)), np.zeros((3, 2)))
    assert np.isfinite(nn.to_numpy(fn.power_iteration(zero, u))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, v: fn.batch_norm(x, v), r"batch_norm expects gamma of shape \(3,\)"),
        (lambda x, v: fn.batch_norm(x, mask=fn.isnan(v)), "a mask of the first axes of x"),
        (lambda x, v: fn.batch_norm(x, axis=5), "axis 5 does not exist"),
        (lambda x, v: fn.batch_norm_inference(x, v, v), r"expects mean of shape \(3,\)"),
        (lambda x, v: fn.layer_norm(x, v), r"layer_norm expects gamma of shape \(3,\)"),
        (lambda x, v: fn.layer_norm(x, axis=(1, -1)), "several different ones"),
        (lambda x, v: fn.layer_norm(x[:, :0]), "axes that are not empty"),
        (lambda x, v: fn.group_norm(x, groups=2), "divides the 3 channels, got 2"),
        (lambda x, v: fn.group_norm(x, groups=1, axis=0), "got axis 0"),
        (lambda x, v: fn.rms_norm(x, v), r"rms_norm expects gamma of shape \(3,\)"),
        (lambda x, v: fn.standardize(x, v), "a gamma that broadcasts to the shape of x"),
        (lambda x, v: fn.spectral_norm(x, v), r"a kernel of shape \(..., m\) and u of shape \(m,\)"),
        (lambda x, v: fn.power_iteration(v, v), "power_iteration expects a kernel"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, put):
    with pytest.raises(ValueError, match=message):
        call(put(np.ones((4, 3))), put(np.ones(5)))


@pytest.mark.parametrize("axis", [0, 1])
def test_little_is_kept_besides_the_input(axis, put, backend):
    if backend.name != "numpy":
        pytest.skip("memory is measured by Python's allocator")
    x = put(np.random.default_rng(0).normal(size=(1000, 1000)))
    nn.vjp(lambda x: fn.standardize(x, axis=axis), x)  # what is imported and made once
    tracemalloc.start()
    try:
        (y, _, _), _pullback = nn.vjp(lambda x: fn.standardize(x, axis=axis), x)
        assert tracemalloc.get_traced_memory()[0] < 1.1 * y.nbytes
    finally:
        tracemalloc.stop()
