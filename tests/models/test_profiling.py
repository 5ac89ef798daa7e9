"""`Model.profile`: which layers it lists, what it counts, and that it changes nothing. No time decides a test."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import to_numpy


@pytest.fixture
def data(rng):
    return rng.normal(size=(6, 4)).astype("float32"), rng.integers(0, 3, 6)


@pytest.fixture
def model(light):
    model = nn.Sequential(
        [nn.Dense(5, name="first"), nn.Dropout(0.5), nn.BatchNormalization(), nn.Dense(3, name="last")],
        backend=light,
        seed=0,
    )
    model.compile(nn.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    return model


def silent(line):
    pass


def test_layers_come_in_the_order_of_the_summary_and_the_loss_last(model, data):
    profile = model.profile(*data, repeats=1, print_fn=silent)
    assert [layer.path for layer in profile.layers] == [
        "first",
        "dropout",
        "batch_normalization",
        "last",
        "loss",
    ]
    assert [layer.kind for layer in profile.layers][:2] == ["Dense", "Dropout"]
    assert profile.samples == 6
    assert profile.backend == model.backend.name


def test_it_counts_the_bytes_of_results_and_of_gradients(model, data):
    first, *_, last, _ = model.profile(*data, repeats=1, print_fn=silent).layers
    assert first.forward_bytes == 4 * 6 * 5
    assert last.forward_bytes == 4 * 6 * 3
    assert first.backward_bytes == 4 * (4 * 5 + 5)  # of kernel and bias: the data need no gradient
    assert last.backward_bytes == 4 * (6 * 5 + 5 * 3 + 3)


def test_every_layer_that_is_gone_back_through_has_times(model, data):
    profile = model.profile(*data, repeats=2, print_fn=silent)
    assert all(layer.forward > 0.0 and layer.backward > 0.0 for layer in profile.layers)
    assert profile.forward == pytest.approx(sum(layer.forward for layer in profile.layers))
    assert profile.backward == pytest.approx(sum(layer.backward for layer in profile.layers))


def test_layers_within_layers_have_rows_of_their_own(light, rng):
    model = nn.Sequential([nn.TransformerEncoder(8, 2, name="block")], backend=light, seed=0)
    model.compile("sgd", "mse")
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    found = {layer.path: layer for layer in model.profile(x, x, repeats=1, print_fn=silent).layers}
    inner = found["block/feedforward_intermediate_dense"]
    assert inner.forward_bytes >= 4 * 2 * 3 * 8
    assert inner.kind == "Dense"


def test_the_model_trains_on_as_if_nothing_had_been(model, data):
    x, y = data
    other = nn.Sequential(
        [nn.Dense(5, name="first"), nn.Dropout(0.5), nn.BatchNormalization(), nn.Dense(3, name="last")],
        backend=model.backend,
        seed=0,
    )
    other.compile(nn.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    model.train_on_batch(x, y)
    other.train_on_batch(x, y)
    model.profile(x, y, repeats=2, print_fn=silent)
    assert model.train_on_batch(x, y) == other.train_on_batch(x, y)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


def test_it_prints_a_row_for_each_layer_and_a_sum(model, data):
    lines = []
    profile = model.profile(*data, repeats=1, print_fn=lines.append)
    assert lines == list(profile.lines())
    assert "6 samples" in lines[0]
    assert "uncompiled" in lines[0]
    assert [line.split()[0] for line in lines[3:-1]] == [layer.path for layer in profile.layers] + ["all"]


def test_without_a_loss_there_is_nothing_to_go_back_from(light, data):
    model = nn.Sequential([nn.Dense(3)], backend=light)
    with pytest.raises(RuntimeError, match=r"profile needs a loss and an optimizer"):
        model.profile(*data)


def test_repeats_is_a_positive_number(model, data):
    with pytest.raises(ValueError, match="repeats"):
        model.profile(*data, repeats=0)
