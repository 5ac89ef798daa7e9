"""What every layer promises, on the inputs of its agreement cases."""

import json

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import cases, layers, tree
from nnbackend.autodiff import is_floating
from nnbackend.config import describe, restore

CASES = {case.name: case for case in cases.CASES if isinstance(case, cases.LayerCase)}
#: What has no mathematics of its own to be checked on fixed inputs, with the reason.
WITHOUT_CASE = {
    "Input": "makes a symbol",
    "Layer": "what layers are made from",
    "Parameter": "a handle",
}
every_case = pytest.mark.parametrize("name", sorted(CASES))


@pytest.fixture
def not_op_by_op(backend):
    """Skip where each operation is compiled on its own."""
    if backend.name == "jax":
        pytest.skip(
            "compiled op by op it takes minutes; the agreement record runs each case as one compiled step"
        )


def arrays_of(case, put, dtype="float64"):
    return [
        put(array, dtype if given.kind == "real" else None)
        for given, array in zip(case.all_inputs, case.arguments(), strict=True)
    ]


def parts_of(value):
    return tree.flatten(value)[0]


def shapes_in(shapes):
    """A shape, or those of a list, which may hold lists: all in a row."""
    return (
        [shape for part in shapes for shape in shapes_in(part)]
        if isinstance(shapes, list)
        else [tuple(shapes)]
    )


def hosted(value):
    return [nn.to_numpy(part) for part in parts_of(value)]


def with_weights(case, backend, dtype):
    """The layer of a case with the case's weights."""
    layer = case.build(backend, dtype)
    weights = case.weights()
    for path, parameter, _ in layer.named_parameters():
        parameter.assign(weights[path])
    return layer


def first_samples(case, arrays, count):
    return [array[:count, ...] for array in arrays]


def test_every_layer_has_a_case():
    covered = {case.kind.__name__ for case in CASES.values()}
    assert set(layers.__all__) - covered == set(WITHOUT_CASE)


@every_case
@pytest.mark.usefixtures("not_op_by_op")
def test_gradients_are_those_of_central_differences(name, backend, put):
    case = CASES[name]
    if not case.smooth:
        pytest.skip("differences say nothing here")
    layer = case.build(backend, "float64")
    run = case.function(layer, backend)
    trained = {path for path, _, trains in layer.named_parameters() if trains}
    weights = case.put_weights(backend, "float64")
    fixed = {path: weight for path, weight in weights.items() if path not in trained}
    trainable = {path: weight for path, weight in weights.items() if path in trained}

    def outputs(*arguments):
        if trainable:
            weights, *arrays = arguments
            return tuple(parts_of(run({**weights, **fixed}, *arrays)[0]))
        return tuple(parts_of(run(fixed, *arguments)[0]))

    arguments = [*([trainable] if trainable else []), *arrays_of(case, put)]
    if not any(is_floating(leaf) for leaf in parts_of(arguments)):
        pytest.skip("it has nothing with a gradient")
    nn.gradcheck(outputs, *arguments, projections=1, tolerance=2e-6)


@every_case
@pytest.mark.usefixtures("not_op_by_op")
def test_a_layer_read_from_its_description_computes_the_same(name, backend, put):
    case = CASES[name]
    layer = with_weights(case, backend, "float32")
    made = restore(json.loads(json.dumps(describe(layer))))
    assert describe(made) == describe(layer)
    made.dtype = "float32"
    with nn.use_backend(backend):
        made.build(case.sample_shapes) if case.listed else made.build(*case.sample_shapes)
    made.set_weights(layer.get_weights())
    arrays = arrays_of(case, put, "float32")
    for one, other in zip(hosted(case.call(layer, *arrays)), hosted(case.call(made, *arrays)), strict=True):
        np.testing.assert_array_equal(one, other)


@every_case
def test_the_output_shape_is_known_before_anything_is_built(name, backend, put):
    case = CASES[name]
    layer = case.make()
    shapes = [case.sample_shapes] if case.listed else case.sample_shapes
    expected = layer.compute_output_shape(*shapes[: 1 if not layer.takes_several_shapes else None])
    assert not layer.built
    assert not list(layer.named_parameters())
    outputs = case.call(with_weights(case, backend, "float32"), *arrays_of(case, put, "float32"))
    assert shapes_in(expected) == [tuple(part.shape[1:]) for part in parts_of(outputs)]


@every_case
def test_outputs_have_the_layers_dtype(name, backend, put, dtype):
    case = CASES[name]
    for part in parts_of(case.call(case.build(backend, dtype), *arrays_of(case, put, "float32"))):
        if is_floating(part):
            assert part.dtype == getattr(backend.xp, dtype)


@every_case
@pytest.mark.usefixtures("not_op_by_op")
def test_one_sample_alone_and_no_sample_at_all(name, backend, put):
    case = CASES[name]
    layer = with_weights(case, backend, "float64")
    if case.fixed_batch:
        pytest.skip("its state belongs to a batch of one size")
    arrays = arrays_of(case, put)
    whole = hosted(case.call(layer, *arrays))
    for count in (1, 0):
        parts = hosted(case.call(layer, *first_samples(case, arrays, count)))
        for part, all_samples in zip(parts, whole, strict=True):
            assert part.shape == (count, *all_samples.shape[1:])
            if not case.training:  # statistics and masks of a batch are its own
                np.testing.assert_allclose(part, all_samples[:count], rtol=1e-12, atol=1e-12)


@every_case
def test_inputs_need_not_lie_in_one_piece(name, backend, put):
    case = CASES[name]
    if backend.name != "numpy":
        pytest.skip("strides are NumPy's own")
    arrays = case.arguments()
    spread = [np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0) for a in arrays]
    layer = with_weights(case, backend, "float32")
    plain = hosted(case.call(layer, *arrays))
    layer = with_weights(case, backend, "float32")
    for one, other in zip(plain, hosted(case.call(layer, *spread)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
