"""Bidirectional, TimeDistributed and Masking."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

N, T, C, U = 3, 5, 4, 6


def sequences(rng, put):
    return put(rng.normal(size=(N, T, C))), put(np.arange(T) < np.array([[5], [2], [3]]))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("lengths", [None, (5, 2, 3)], ids=["whole", "packed"])
def test_both_directions_are_pytorch_s(kind, lengths, put, rng, dtype):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(N, T, C))
    mask = None if lengths is None else np.arange(T) < np.array(lengths)[:, None]
    layer = nn.Bidirectional(getattr(nn, kind)(U, return_sequences=True, return_state=True), dtype=dtype)
    layer(put(x, dtype))
    module = getattr(torch.nn, kind)(C, U, batch_first=True, bidirectional=True, dtype=getattr(torch, dtype))
    order = [0, 1, 2, 3] if kind == "LSTM" else [1, 0, 2]
    parameters = iter(module.parameters())
    weights = layer.get_weights()
    with torch.no_grad():
        for kernel, recurrent, bias in (weights[:3], weights[3:]):
            blocks = [
                np.concatenate([np.split(w, len(order), axis=-1)[k] for k in order], axis=-1)
                for w in (kernel, recurrent, bias)
            ]
            outer, inner = blocks[2] if kind == "GRU" else (blocks[2], np.zeros_like(blocks[2]))
            for value in (blocks[0].T, blocks[1].T, outer, inner):
                next(parameters).copy_(torch.tensor(value))
    theirs = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
    given = theirs
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            theirs, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
    output, last = module(given)
    if lengths is not None:
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=T)
    last = last if kind == "LSTM" else (last,)
    dy = rng.normal(size=(N, T, 2 * U)) * (1 if mask is None else mask[:, :, None])
    (output * torch.tensor(dy, dtype=output.dtype)).sum().backward()

    def run(x):
        return layer(x, mask=None if mask is None else put(mask))

    (y, *states), pullback = nn.vjp(run, put(x, dtype))
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    valid = np.ones((N, T, 1)) if mask is None else mask[:, :, None]
    np.testing.assert_allclose(nn.to_numpy(y) * valid, output.detach().numpy() * valid, **tolerance)
    wanted = [s[direction].detach().numpy() for direction in (0, 1) for s in last]
    for one, other in zip(states, wanted, strict=True):
        np.testing.assert_allclose(nn.to_numpy(one), other, **tolerance)
    zeros = [put(np.zeros((N, U)), dtype) for _ in states]
    np.testing.assert_allclose(
        nn.to_numpy(pullback((put(dy, dtype), *zeros))[0]), theirs.grad.numpy(), **tolerance
    )


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_outputs_of_both_directions_are_merged(mode, return_sequences, put, rng):
    x, mask = sequences(rng, put)
    layer = nn.Bidirectional(nn.GRU(U, return_sequences=return_sequences), mode, dtype="float64")
    y = layer(x, mask=mask)
    ahead = nn.to_numpy(layer.forward_layer(x, mask=mask))
    back = nn.to_numpy(layer.backward_layer(x, mask=mask))
    back = back[:, ::-1] if return_sequences else back
    assert not np.allclose(layer.forward_layer.get_weights()[0], layer.backward_layer.get_weights()[0])
    if mode is None:
        for one, other in zip(y, (ahead, back), strict=True):
            np.testing.assert_array_equal(nn.to_numpy(one), other)
        return
    expected = {
        "concat": np.concatenate([ahead, back], axis=-1),
        "sum": ahead + back,
        "mul": ahead * back,
        "ave": (ahead + back) / 2,
    }[mode]
    np.testing.assert_allclose(nn.to_numpy(y), expected, rtol=1e-14)


def test_states_of_both_directions_come_and_go_in_one_order(put, rng):
    x, _ = sequences(rng, put)
    states = [put(rng.normal(size=(N, U))) for _ in range(4)]
    layer = nn.Bidirectional(nn.LSTM(U, return_state=True), "sum", dtype="float64")
    y, *new = layer(x, initial_state=states)
    ahead, back = layer.forward_layer(x, *states[:2]), layer.backward_layer(x, *states[2:])
    for one, other in zip(new, [*ahead[1:], *back[1:]], strict=True):
        np.testing.assert_array_equal(nn.to_numpy(one), nn.to_numpy(other))
    np.testing.assert_allclose(nn.to_numpy(y), nn.to_numpy(ahead[0]) + nn.to_numpy(back[0]), rtol=1e-14)
    with pytest.raises(
        ValueError, match="expects initial states for both layers, those of the forward layer first"
    ):
        layer(x, *states[:3])


def test_the_mask_goes_with_the_outputs_of_both_directions(put, rng):
    x, mask = sequences(rng, put)
    assert nn.Bidirectional(nn.LSTM(U, return_sequences=True)).compute_mask(x, mask) is mask
    assert nn.Bidirectional(nn.LSTM(U)).compute_mask(x, mask) is None
    both = nn.Bidirectional(nn.LSTM(U, return_sequences=True, return_state=True), None)
    assert both.compute_mask(x, mask) == [mask, mask, None, None, None, None]


def test_a_bidirectional_layer_that_is_stateful_goes_on_and_forgets(put, rng):
    x, _ = sequences(rng, put)
    layer = nn.Bidirectional(nn.GRU(U, stateful=True, batch_size=N), dtype="float64")
    first, second = nn.to_numpy(layer(x)), nn.to_numpy(layer(x))
    assert np.abs(first - second).max() > 1e-3
    layer.reset_states()
    np.testing.assert_array_equal(nn.to_numpy(layer(x)), first)


def test_the_backward_layer_is_made_anew_with_cells_of_its_own(put, rng):
    x, _ = sequences(rng, put)
    cells = [nn.LSTMCell(U), nn.GRUCell(2, reset_after=False)]
    layer = nn.Bidirectional(nn.RNN(cells, name="stack"), dtype="float64")
    assert nn.to_numpy(layer(x)).shape == (N, 4)
    assert layer.backward_layer.name == "backward_stack"
    assert layer.backward_layer.cell.cells[1].reset_after is False
    ours = {id(p) for p in layer.forward_layer.parameters}
    assert not ours & {id(p) for p in layer.backward_layer.parameters}
    assert len(layer.parameters) == 12


def test_layers_that_do_not_belong_together_are_refused():
    with pytest.raises(TypeError, match="Bidirectional expects recurrent layers, such as LSTM, got Dense"):
        nn.Bidirectional(nn.Dense(2))
    with pytest.raises(TypeError, match="Bidirectional expects recurrent layers, such as LSTM, got LSTMCell"):
        nn.Bidirectional(nn.LSTM(2), backward_layer=nn.LSTMCell(2))
    with pytest.raises(ValueError, match="Bidirectional expects merge_mode 'concat', .* got 'add'"):
        nn.Bidirectional(nn.LSTM(2), "add")
    with pytest.raises(
        ValueError, match="expects its two layers to differ in go_backwards, got False forwards"
    ):
        nn.Bidirectional(nn.LSTM(2), backward_layer=nn.LSTM(2))
    with pytest.raises(ValueError, match="expects its two layers to agree in return_sequences"):
        nn.Bidirectional(nn.LSTM(2), backward_layer=nn.LSTM(2, go_backwards=True, return_sequences=True))
    with pytest.raises(ValueError, match=r"LSTM 'lstm' expects inputs of shape \(n, t, c\)"):
        nn.Bidirectional(nn.LSTM(2)).compute_output_shape((4,))


def test_time_distributed_applies_a_layer_to_each_step(put, rng):
    x, mask = sequences(rng, put)
    layer = nn.TimeDistributed(nn.Dense(2, "tanh"), dtype="float64")
    y = nn.to_numpy(layer(x))
    for t in range(T):
        np.testing.assert_allclose(y[:, t], nn.to_numpy(layer.layer(x[:, t, :])), rtol=1e-12)
    assert layer.compute_mask(x, mask) is mask
    assert layer.compute_output_shape((7, C)) == (7, 2)
    several = nn.TimeDistributed(nn.LSTM(U, return_state=True))
    assert several.compute_output_shape((7, 3, C)) == [(7, U)] * 3
    assert [part.shape for part in several(put(np.zeros((2, 7, 3, C))))] == [(2, 7, U)] * 3


def test_time_distributed_wants_a_layer_and_steps(put):
    with pytest.raises(TypeError, match="TimeDistributed expects a layer, got int"):
        nn.TimeDistributed(3)
    with pytest.raises(ValueError, match=r"'time_distributed' expects inputs of shape \(n, t, \.\.\.\)"):
        nn.TimeDistributed(nn.Dense(2))(put(np.zeros(3)))


def test_masking_leaves_out_steps_of_one_value(put):
    x = np.array([[[1.0, 2.0], [-1.0, 5.0], [-1.0, -1.0]], [[-1.0, -1.0], [0.0, 0.0], [3.0, -1.0]]])
    layer = nn.Masking(-1.0, dtype="float64")
    mask = np.array([[True, True, False], [False, True, True]])
    np.testing.assert_array_equal(nn.to_numpy(layer.compute_mask(put(x))), mask)
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x))), x * mask[:, :, None])
    other = np.array([[True, False, True], [True, True, True]])
    np.testing.assert_array_equal(nn.to_numpy(layer.compute_mask(put(x), put(other))), mask & other)
    gradient = nn.grad(lambda x: fn.sum(layer(x)))(put(x))
    np.testing.assert_array_equal(nn.to_numpy(gradient), mask[:, :, None] * np.ones((2, 3, 2)))
    with pytest.raises(
        ValueError, match=r"Masking 'masking' expects inputs of shape \(n, t, \.\.\.\), got \(n, 3\)"
    ):
        layer(put(np.zeros((2, 3))))


def test_masks_go_through_a_model_to_those_who_take_them(backend, rng):
    x = rng.normal(size=(N, T, C)).astype("float32")
    x[1, 2:] = 0.0
    model = nn.Sequential(
        [
            nn.Masking(),
            nn.TimeDistributed(nn.Dense(3)),
            nn.Bidirectional(nn.LSTM(U, return_sequences=True)),
            nn.GRU(2),
        ],
        backend=backend,
        seed=0,
    )
    whole = model.predict(x)
    short = model.predict(np.ascontiguousarray(x[1:2, :2]))
    np.testing.assert_allclose(whole[1:2], short, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
def test_outputs_of_different_widths_are_not_merged_number_by_number(mode, put):
    for units in (4, 1):  # one would broadcast
        layer = nn.Bidirectional(
            nn.LSTM(3), mode, backward_layer=nn.LSTM(units, go_backwards=True), name="both"
        )
        message = (
            rf"Bidirectional 'both' with merge_mode='{mode}' expects two layers with outputs of the same shape, got "
            rf"\(n, 3\) forwards and \(n, {units}\) backwards"
        )
        with pytest.raises(ValueError, match=message):
            layer.compute_output_shape((5, 2))
        with pytest.raises(ValueError, match=message):
            layer(put(np.zeros((2, 5, 2))))
        assert not layer.built
    beside = nn.Bidirectional(nn.LSTM(3), backward_layer=nn.LSTM(4, go_backwards=True))
    assert beside(put(np.zeros((2, 5, 2)))).shape == (2, 7) == (2, *beside.compute_output_shape((5, 2)))


def test_masks_of_numbers_are_booleans(put, rng):
    x, mask = put(rng.normal(size=(2, 3, 2))), np.array([[True, False, True], [True, True, False]])
    numbers = put(3 * mask.astype("int32"))
    layer = nn.Bidirectional(nn.GRU(3, return_sequences=True))
    np.testing.assert_array_equal(nn.to_numpy(layer(x, mask=numbers)), nn.to_numpy(layer(x, mask=put(mask))))
    for each in (layer, nn.Masking(0.0)):
        np.testing.assert_array_equal(nn.to_numpy(each.compute_mask(x, numbers)), mask)
