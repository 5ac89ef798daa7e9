"""Embedding and positions as layers."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


def test_embedding_takes_rows_and_adds_up_their_gradients(put, dtype, backend):
    layer = nn.Embedding(5, 3, dtype=dtype)
    tokens = np.asarray([[4, 4], [0, 2]])
    y = layer(put(tokens))
    table = layer.embeddings.numpy()
    assert table.shape == (5, 3)
    assert np.abs(table).max() <= 0.05
    np.testing.assert_array_equal(nn.to_numpy(y), table[tokens])

    def run(weights):
        with nn.layers.base.Binding({id(layer.embeddings): weights}, (0, 0), 0, backend).bound():
            return layer(put(tokens))

    _, pullback = nn.vjp(run, put(table, dtype))
    gradient = nn.to_numpy(pullback(put(np.ones((2, 2, 3)), dtype))[0])
    np.testing.assert_array_equal(gradient[:, 0], [1, 0, 1, 0, 2])


def test_real_indices_are_cast(put):
    layer = nn.Embedding(5, 3)
    np.testing.assert_array_equal(nn.to_numpy(layer(put([[4.0, 1.0]]))), nn.to_numpy(layer(put([[4, 1]]))))


def test_numbers_outside_are_refused_by_name_or_nan(put, backend):
    layer = nn.Embedding(5, 3, name="words")
    if backend.name == "numpy":
        with pytest.raises(ValueError, match="Embedding .* expects indices from 0 to 4, got 5") as caught:
            layer(put([[1, 5]]))
        assert "in Embedding 'words'" in caught.value.__notes__[0]
    else:
        y = nn.to_numpy(layer(put([[1, 5, -1]])))
        assert np.isnan(y[0, 1:]).all()
        assert np.isfinite(y[0, 0]).all()


def test_zero_is_masked_where_it_stands_for_nothing(put):
    tokens = put([[3, 0, 1]])
    assert nn.Embedding(5, 3).compute_mask(tokens) is None
    mask = nn.Embedding(5, 3, mask_zero=True).compute_mask(tokens)
    np.testing.assert_array_equal(nn.to_numpy(mask), [[True, False, True]])
    both = nn.TokenAndPositionEmbedding(5, 4, 3, mask_zero=True)
    np.testing.assert_array_equal(nn.to_numpy(both.compute_mask(tokens)), [[True, False, True]])


def test_position_embedding_is_the_first_rows_of_its_table(put, rng):
    x = rng.normal(size=(2, 3, 4))
    layer = nn.PositionEmbedding(6, dtype="float64")
    y = nn.to_numpy(layer(put(x)))
    table = layer.position_embeddings.numpy()
    assert table.shape == (6, 4)
    np.testing.assert_array_equal(y, np.broadcast_to(table[:3], x.shape))
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x), start_index=2))[0], table[2:5])
    added = nn.PositionEmbedding(6, add=True, dtype="float64")
    added(put(x))
    added.set_weights([table])
    np.testing.assert_array_equal(nn.to_numpy(added(put(x))), x + table[:3])


def test_sequences_longer_than_the_table_are_refused(put):
    layer = nn.PositionEmbedding(6, name="places")
    with pytest.raises(ValueError, match="'places' has vectors for 6 positions, got a sequence of 7"):
        layer(put(np.ones((2, 7, 4))))
    with pytest.raises(ValueError, match="positions 0 to 5, got a sequence from 4 to 6"):
        layer(put(np.ones((2, 3, 4))), start_index=4)


def test_sinusoidal_encoding_starts_where_it_is_told(put):
    x = put(np.zeros((2, 3, 5)), "float32")
    layer = nn.SinusoidalPositionEncoding(100.0)
    y = nn.to_numpy(layer(x, start_index=7))
    expected = fn.sinusoidal_positions(np.arange(7, 10), size=5, max_wavelength=100.0)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.broadcast_to(expected, (2, 3, 5)), atol=1e-7)


def test_rotary_layer_turns_by_scaled_positions(put, rng):
    x = rng.normal(size=(2, 3, 4, 6))
    for scaling in (1.0, 2.5):
        layer = nn.RotaryEmbedding(100.0, scaling, dtype="float64")
        for start, positions in ((0, None), (4, None), (1, np.asarray([3, 1, 2]))):
            places = (np.arange(3) if positions is None else positions) + start
            expected = fn.rotary_embedding(x, places / scaling, max_wavelength=100.0)
            given = None if positions is None else put(positions)
            y = layer(put(x), start_index=start, positions=given)
            np.testing.assert_allclose(nn.to_numpy(y), expected, atol=1e-13)
    with pytest.raises(ValueError, match=r"'rotary_embedding' expects inputs of shape \(n, t, ..., d\)"):
        nn.RotaryEmbedding()(put(np.ones((2, 3, 5))))
    with pytest.raises(ValueError, match="scaling_factor above zero, got 0"):
        nn.RotaryEmbedding(scaling_factor=0)


def test_token_and_position_embedding_is_the_sum_of_both(put):
    layer = nn.TokenAndPositionEmbedding(5, 4, 3, dtype="float64")
    tokens = np.asarray([[4, 0, 4], [1, 2, 3]])
    y = nn.to_numpy(layer(put(tokens)))
    tokens_table, positions_table = layer.get_weights()
    np.testing.assert_array_equal(y, tokens_table[tokens] + positions_table[:3])
    assert [path for path, _, _ in layer.named_parameters()] == [
        "token_embedding/embeddings",
        "position_embedding/embeddings",
    ]


@pytest.mark.parametrize("kind", ["row", "graph", "tokens"])
def test_indices_outside_of_the_table_are_refused_before_they_go_into_steps(kind, backend):
    if kind == "graph":
        x = nn.Input((3,), dtype="int64", name="words")
        model = nn.Model(x, nn.Embedding(5, 2)(x), backend=backend, seed=0)
    else:
        first = nn.Embedding(5, 2) if kind == "row" else nn.TokenAndPositionEmbedding(5, 3, 2)
        model = nn.Sequential([first], backend=backend, seed=0)
    model.compile("sgd", "mean_squared_error")
    for wrong in (5, -1):
        words = np.asarray([[0, 1, 4], [0, wrong, 2]])
        for call in (model.predict, lambda x: model.fit(x, np.zeros((2, 3, 2)), verbose=0)):
            with pytest.raises(ValueError, match=f"embedding.* expects indices from 0 to 4, got {wrong}"):
                call(words)
