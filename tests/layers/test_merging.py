"""Layers that are called on a list."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

FORMULAS = {
    nn.Add: lambda a, b, c: a + b + c,
    nn.Multiply: lambda a, b, c: a * b * c,
    nn.Average: lambda a, b, c: (a + b + c) / 3,
    nn.Maximum: lambda a, b, c: np.maximum(np.maximum(a, b), c),
    nn.Minimum: lambda a, b, c: np.minimum(np.minimum(a, b), c),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_inputs_are_combined_element_by_element(kind, put, rng):
    arrays = [rng.normal(size=(3, 4, 2)) for _ in range(3)]
    y = kind(dtype="float64")([put(a) for a in arrays])
    np.testing.assert_allclose(nn.to_numpy(y), FORMULAS[kind](*arrays), rtol=1e-15)


@pytest.mark.parametrize("kind", FORMULAS)
def test_samples_broadcast_but_not_the_axis_of_samples(kind, put, rng):
    arrays = [rng.normal(size=shape) for shape in [(3, 3, 2), (3, 2), (3, 3, 1)]]
    layer = kind(dtype="float64")
    y = layer([put(a) for a in arrays])
    expected = FORMULAS[kind](arrays[0], arrays[1][:, None, :], arrays[2])
    np.testing.assert_allclose(nn.to_numpy(y), expected, rtol=1e-15)
    assert layer.compute_output_shape([(3, 2), (2,), (3, 1)]) == (3, 2)


def test_one_input_is_its_own_sum(put):
    np.testing.assert_array_equal(nn.to_numpy(nn.Add()([put(np.ones((1, 2)))])), [[1.0, 1.0]])


def test_a_difference_has_two_inputs(put, rng):
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    np.testing.assert_array_equal(nn.to_numpy(nn.Subtract(dtype="float64")([put(a), put(b)])), a - b)
    with pytest.raises(ValueError, match=r"Subtract 'subtract' expects a list of exactly 2 inputs, got 3"):
        nn.Subtract()([put(a), put(b), put(b)])


def test_the_gradient_of_a_maximum_goes_to_the_first_of_equals(put):
    layer, ones = nn.Maximum(dtype="float64"), put(np.ones((1, 2)))
    first, second = nn.grad(lambda a, b: fn.sum(layer([a, b])), argnums=(0, 1))(ones, ones)
    np.testing.assert_array_equal(nn.to_numpy(first), [[1.0, 1.0]])
    np.testing.assert_array_equal(nn.to_numpy(second), [[0.0, 0.0]])


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_inputs_are_put_one_behind_the_other(axis, put, rng):
    shapes = [(3, 4, 2), (3, 4, 5)] if axis in (2, -1) else [(3, 4, 2), (3, 1, 2)]
    arrays = [rng.normal(size=shape) for shape in shapes]
    layer = nn.Concatenate(axis, dtype="float64")
    expected = np.concatenate(arrays, axis=axis)
    np.testing.assert_array_equal(nn.to_numpy(layer([put(a) for a in arrays])), expected)
    assert layer.compute_output_shape([shape[1:] for shape in shapes]) == expected.shape[1:]


@pytest.mark.parametrize(
    ("axes", "shapes", "subscripts"),
    [
        (1, [(3, 5), (3, 5)], "nk,nk->n"),
        ((2, 1), [(3, 4, 5), (3, 5, 2)], "nak,nkb->nab"),
        ((1, 2), [(3, 4, 5), (3, 6, 4)], "nka,nbk->nab"),
        ((1, -1), [(3, 4), (3, 2, 5, 4)], "nk,nbck->nbc"),
    ],
)
def test_scalar_products_are_einsums(axes, shapes, subscripts, put, rng):
    a, b = (rng.normal(size=shape) for shape in shapes)
    expected = np.einsum(subscripts, a, b)
    y = nn.to_numpy(nn.Dot(axes, dtype="float64")([put(a), put(b)]))
    np.testing.assert_allclose(y, expected.reshape(y.shape), rtol=1e-12, atol=1e-13)
    assert y.ndim == max(expected.ndim, 2)
    assert nn.Dot(axes).compute_output_shape([shape[1:] for shape in shapes]) == y.shape[1:]


def test_a_normalised_scalar_product_is_a_cosine(put):
    a, b = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [-4.0, -4.0], [1.0, 0.0]])
    layer = nn.Dot(1, normalize=True, dtype="float64")
    y = nn.to_numpy(layer([put(a), put(b)]))
    np.testing.assert_allclose(y, [[np.sqrt(0.5)], [-1.0], [0.0]], rtol=1e-15)
    gradient = nn.grad(lambda a: fn.sum(layer([a, put(b)])))(put(a))
    assert np.isfinite(nn.to_numpy(gradient)).all()


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (nn.Add(), [(3,), (4,)], r"Add 'add' expects inputs of equal shapes, .* got \(n, 3\), \(n, 4\)"),
        (
            nn.Concatenate(),
            [(3, 4), (2, 4)],
            r"Concatenate 'concatenate' expects inputs whose shapes are equal but along axis -1, got \(n, 3, 4\)",
        ),
        (nn.Concatenate(1), [(3, 4), (3,)], r"equal but along axis 1, got \(n, 3, 4\), \(n, 3\)"),
        (nn.Concatenate(3), [(3, 4), (3, 4)], r"expects inputs that have an axis 3 besides that of samples"),
        (nn.Dot(1), [(3,), (4,)], r"Dot 'dot' expects inputs of equal length along the axes \(1, 1\), got"),
        (nn.Dot(2), [(3,), (3,)], r"Dot 'dot' expects inputs that have an axis 2 besides that of samples"),
        (nn.Dot(1), [(3,)], r"Dot 'dot' expects a list of exactly 2 inputs, got 1 of shapes \(n, 3\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_layers_name(layer, shapes, message, put):
    with pytest.raises(ValueError, match=message):
        layer.compute_output_shape(shapes)
    with pytest.raises(ValueError, match=message):
        layer.build(shapes)
    with pytest.raises(ValueError, match=message):
        layer([put(np.ones((2, *shape))) for shape in shapes])


def test_one_array_where_a_list_is_due_is_refused(put):
    with pytest.raises(ValueError, match=r"Add 'add' expects a list of inputs, got one of shape \(n, 3\)"):
        nn.Add()(put(np.ones((2, 3))))
    with pytest.raises(ValueError, match="Add 'add' expects a list of at least one input, got none"):
        nn.Add().build([])


@pytest.mark.parametrize("make", [lambda: nn.Concatenate(0), lambda: nn.Dot((1, 0))])
def test_the_axis_of_samples_is_refused(make):
    with pytest.raises(ValueError, match="cannot work along axis 0, the axis of samples"):
        make()


def test_dot_takes_one_or_two_axes():
    with pytest.raises(ValueError, match="Dot expects one axis or an axis for each of two inputs"):
        nn.Dot((1, 2, 3))


MASKS = np.array([[1, 1, 0], [1, 0, 0]], bool), np.array([[1, 0, 1], [1, 0, 0]], bool)


def masks_of(layer, put, masks, shapes=((2, 3, 4), (2, 3, 4))):
    arrays = [put(np.ones(shape)) for shape in shapes]
    mask = layer.compute_mask(arrays, [None if m is None else put(m) for m in masks])
    return None if mask is None else nn.to_numpy(mask)


def test_a_step_counts_where_it_counts_for_all_inputs(put):
    np.testing.assert_array_equal(masks_of(nn.Add(), put, MASKS), MASKS[0] & MASKS[1])
    np.testing.assert_array_equal(masks_of(nn.Add(), put, [None, MASKS[1]]), MASKS[1])
    assert masks_of(nn.Add(), put, [None, None]) is None
    assert nn.Add().compute_mask([put(np.ones((2, 3, 4)))]) is None


def test_masks_of_what_is_put_one_behind_the_other(put):
    assert masks_of(nn.Concatenate(), put, [None, None]) is None
    np.testing.assert_array_equal(masks_of(nn.Concatenate(), put, MASKS), MASKS[0] | MASKS[1])
    assert masks_of(nn.Concatenate(), put, [MASKS[0], None]) is None
    in_time = masks_of(nn.Concatenate(1), put, [MASKS[0], None], [(2, 3, 4), (2, 2, 4)])
    np.testing.assert_array_equal(in_time, np.concatenate([MASKS[0], np.ones((2, 2), bool)], axis=1))
    np.testing.assert_array_equal(masks_of(nn.Concatenate(-2), put, MASKS), np.concatenate(MASKS, axis=1))


def test_scalar_products_have_no_mask(put):
    assert masks_of(nn.Dot(1), put, MASKS) is None


def two_towers(x, kind=nn.Concatenate, **options):
    a = nn.Dense(4, "gelu")(x)
    b = nn.GaussianNoise(0.1)(nn.Dense(4, nn.LeakyReLU(0.1))(x))
    return kind(**options)([a, b])


@pytest.mark.parametrize(
    ("kind", "options", "width"), [(nn.Concatenate, {}, 8), (nn.Add, {}, 4), (nn.Dot, {"axes": 1}, 1)]
)
def test_a_graph_merges_branches_trains_and_is_saved(kind, options, width, backend, rng, tmp_path):
    x = rng.normal(size=(16, 3)).astype("float32")
    y = np.sum(x, axis=1, keepdims=True)
    inputs = nn.Input((3,))
    merged = two_towers(inputs, kind, **options)
    assert merged.shape[1:] == (width,)
    model = nn.Model(inputs, nn.Dense(1)(nn.Activation("softplus")(merged)), backend=backend, seed=0)
    model.compile(optimizer=nn.optimizers.Adam(0.05), loss="mse")
    losses = model.fit(x, y, epochs=5, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "branches.safetensors")
    again = nn.load_model(tmp_path / "branches.safetensors", backend=backend)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
