"""Recurrent layers: weights, states, masks, and what they share with their cells."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.random import Stream

N, T, C, U = 3, 5, 4, 6
LAYERS = [nn.SimpleRNN, nn.LSTM, nn.GRU]
every_layer = pytest.mark.parametrize("kind", LAYERS)


def built(layer, put, n=N):
    """The layer with its first weights moved off their special values."""
    rng = np.random.default_rng(1)
    layer(put(np.zeros((n, T, C))))
    layer.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def hosted(value):
    return [nn.to_numpy(part) for part in value] if isinstance(value, (list, tuple)) else nn.to_numpy(value)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (lambda: nn.SimpleRNN(U), [(C, U), (U, U), (U,)]),
        (lambda: nn.LSTM(U), [(C, 4 * U), (U, 4 * U), (4 * U,)]),
        (lambda: nn.GRU(U), [(C, 3 * U), (U, 3 * U), (2, 3 * U)]),
        (lambda: nn.GRU(U, reset_after=False), [(C, 3 * U), (U, 3 * U), (3 * U,)]),
        (lambda: nn.LSTM(U, use_bias=False), [(C, 4 * U), (U, 4 * U)]),
    ],
)
def test_weights_have_the_names_shapes_and_order_of_keras(layer, shapes, backend):
    with nn.use_backend(backend):
        layer = layer()
        layer.build((T, C))
    assert [w.shape for w in layer.get_weights()] == shapes
    names = [path.rpartition("/")[2] for path, _, _ in layer.named_parameters()]
    assert names == ["kernel", "recurrent_kernel", "bias"][: len(shapes)]


def test_the_first_weights_of_an_lstm(backend):
    with nn.use_backend(backend):
        layer = nn.LSTM(U, dtype="float64")
        layer.build((T, C))
        kernel, recurrent, bias = layer.get_weights()
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(U), atol=1e-12)
        assert np.abs(kernel).max() <= np.sqrt(6 / (C + 4 * U))
        np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], U))
        other = nn.LSTM(U, unit_forget_bias=False, bias_initializer=nn.initializers.Constant(0.5))
        other.build((T, C))
        np.testing.assert_array_equal(other.get_weights()[2], np.full(4 * U, 0.5, "float32"))
        both = nn.LSTM(U, bias_initializer=nn.initializers.Constant(0.5))
        both.build((T, C))
        np.testing.assert_array_equal(both.get_weights()[2], np.repeat([0.5, 1.0, 0.5, 0.5], U))


@every_layer
def test_a_layer_is_its_cell_carried_through_time(kind, put, rng):
    x = rng.normal(size=(N, T, C))
    layer = built(kind(U, return_sequences=True, return_state=True, dtype="float64"), put)
    outputs, *last = hosted(layer(put(x)))
    states = [put(np.zeros((N, U))) for _ in last]
    for t in range(T):
        output, states = layer.cell(put(x[:, t]), states)
        np.testing.assert_allclose(outputs[:, t], nn.to_numpy(output), rtol=1e-10, atol=1e-12)
    for one, other in zip(last, states, strict=True):
        np.testing.assert_allclose(one, nn.to_numpy(other), rtol=1e-10, atol=1e-12)


@every_layer
@pytest.mark.parametrize("masked", [False, True])
def test_the_rule_and_the_steps_compute_the_same(kind, masked, put, rng):
    def plain_tanh(x):
        return fn.tanh(x)  # the same function under another name is not known to the rule

    x = put(rng.normal(size=(N, T, C)))
    mask = put(rng.random((N, T)) > 0.4) if masked else None
    options = {"return_sequences": True, "return_state": True, "dtype": "float64"}
    for more in [{}, {"zero_output_for_mask": True, "go_backwards": True}, {"return_sequences": False}]:
        fused = built(kind(U, **(options | more)), put)
        steps = built(kind(U, plain_tanh, **(options | more)), put)
        assert fused.cell.runs
        assert not steps.cell.runs
        for one, other in zip(hosted(fused(x, mask=mask)), hosted(steps(x, mask=mask)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@every_layer
def test_the_last_output_is_that_of_the_sequence(kind, put, rng):
    x, mask = put(rng.normal(size=(N, T, C))), put(np.arange(T) < np.array([[5], [2], [0]]))
    whole, last = (built(kind(U, return_sequences=s, dtype="float64"), put) for s in (True, False))
    np.testing.assert_allclose(
        nn.to_numpy(last(x, mask=mask)), nn.to_numpy(whole(x, mask=mask))[:, -1], rtol=1e-12
    )


@every_layer
def test_backwards_is_forwards_on_the_reversed_sequence(kind, put, rng):
    x, mask = rng.normal(size=(N, T, C)), rng.random((N, T)) > 0.3
    ahead, back = (
        built(kind(U, return_sequences=True, go_backwards=b, dtype="float64"), put) for b in (0, 1)
    )
    np.testing.assert_allclose(
        nn.to_numpy(back(put(x), mask=put(mask))),
        nn.to_numpy(ahead(put(x[:, ::-1]), mask=put(mask[:, ::-1]))),
        rtol=1e-12,
    )


def test_masked_outputs_repeat_or_are_zero_and_the_mask_is_passed_on(put, rng):
    x, mask = put(rng.normal(size=(1, 3, C))), put(np.array([[True, False, True]]))
    repeats = built(nn.GRU(U, return_sequences=True), put, 1)
    zeros = built(nn.GRU(U, return_sequences=True, zero_output_for_mask=True), put, 1)
    y, z = nn.to_numpy(repeats(x, mask=mask))[0], nn.to_numpy(zeros(x, mask=mask))[0]
    np.testing.assert_array_equal(y[1], y[0])
    np.testing.assert_array_equal(z[1], np.zeros(U))
    np.testing.assert_array_equal(z[[0, 2]], y[[0, 2]])
    assert repeats.compute_mask(x, mask) is mask
    assert nn.GRU(U).compute_mask(x, mask) is None
    back = nn.GRU(U, return_sequences=True, return_state=True, go_backwards=True)
    turned, state = back.compute_mask(x, put(np.array([[True, False, False]])))
    np.testing.assert_array_equal(nn.to_numpy(turned), [[False, False, True]])
    assert state is None


def test_initial_states_are_given_by_name_in_a_list_or_one_by_one(put, rng):
    x, h, c = (put(rng.normal(size=s)) for s in ((N, T, C), (N, U), (N, U)))
    layer = built(nn.LSTM(U, dtype="float64"), put)
    expected = fn.lstm(x, layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias, h, c)[1]
    for y in (layer(x, initial_state=[h, c]), layer(x, h, c), layer(x, [h, c])):
        np.testing.assert_allclose(nn.to_numpy(y), nn.to_numpy(expected), rtol=1e-12)
    single = built(nn.GRU(U), put)
    np.testing.assert_array_equal(nn.to_numpy(single(x, initial_state=h)), nn.to_numpy(single(x, [h])))
    gradient = nn.grad(lambda h: fn.sum(layer(x, initial_state=[h, c])))(h)
    assert np.abs(nn.to_numpy(gradient)).max() > 0


def test_initial_states_that_do_not_fit_are_refused(put, rng):
    x, h = put(rng.normal(size=(N, T, C))), put(rng.normal(size=(N, U)))
    with pytest.raises(
        ValueError, match=r"LSTM 'memory' expects initial states of shapes \[\(3, 6\), \(3, 6\)\], got"
    ):
        nn.LSTM(U, name="memory")(x, initial_state=h)
    with pytest.raises(ValueError, match=r"GRU 'gru' expects initial states of shapes \[\(3, 7\)\]"):
        nn.GRU(U + 1)(x, h)


def test_a_stateful_layer_goes_on_where_it_was(put, rng):
    x = rng.normal(size=(N, 2 * T, C))
    whole = built(nn.LSTM(U, dtype="float64"), put)
    layer = nn.LSTM(U, stateful=True, batch_size=N, dtype="float64")
    layer(put(x[:, :T]))
    layer.set_weights([*whole.get_weights(), *[np.zeros((N, U))] * 2])
    layer(put(x[:, :T]))
    np.testing.assert_allclose(nn.to_numpy(layer(put(x[:, T:]))), nn.to_numpy(whole(put(x))), rtol=1e-12)
    layer.reset_states()
    first = nn.to_numpy(whole(put(x[:, :T])))
    np.testing.assert_allclose(nn.to_numpy(layer(put(x[:, :T]))), first, rtol=1e-12)
    assert [state.trainable for state in layer.states] == [False, False]


def test_a_stateful_model_carries_states_through_prediction_evaluation_and_training(backend, rng):
    x = rng.normal(size=(4, T, C)).astype("float32")
    layer = nn.GRU(U, stateful=True, batch_size=2)
    model = nn.Sequential([layer], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.0), loss="mean_squared_error")
    plain = nn.Sequential([nn.GRU(U)], backend=backend, seed=0)
    whole = plain.predict(np.concatenate([x[:2], x[2:]], axis=1))  # the second batch goes on from the first

    def check():
        np.testing.assert_allclose(layer.states[0].numpy(), whole, rtol=1e-5, atol=1e-6)
        layer.reset_states()
        np.testing.assert_array_equal(layer.states[0].numpy(), np.zeros((2, U)))

    predicted = model.predict(x, batch_size=2)
    np.testing.assert_allclose(predicted[2:], whole, rtol=1e-5, atol=1e-6)
    check()
    y = np.zeros((4, U), "float32")
    model.evaluate(x, y, batch_size=2)
    check()
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    check()


def test_stateful_layers_take_batches_of_their_size_only(put, rng):
    with pytest.raises(ValueError, match=r"LSTM with stateful=True .* batch_size=32"):
        nn.LSTM(U, stateful=True)
    layer = nn.LSTM(U, stateful=True, batch_size=2)
    with pytest.raises(ValueError, match=r"LSTM 'lstm' carries the states of 2 samples .* got a batch of 3"):
        layer(put(rng.normal(size=(3, T, C))))
    with pytest.raises(ValueError, match="GRU 'gru' carries no states from batch to batch"):
        nn.GRU(U).reset_states()


@every_layer
@pytest.mark.parametrize("activation", ["tanh", lambda x: fn.tanh(x)], ids=["rule", "steps"])
def test_dropout_drops_the_same_at_every_step_and_nothing_outside_of_training(kind, activation, put, rng):
    x = rng.normal(size=(N, T, C))
    plain = built(kind(U, return_sequences=True, dtype="float64"), put)
    inputs = built(kind(U, activation, dropout=0.5, return_sequences=True, dtype="float64"), put)
    np.testing.assert_allclose(nn.to_numpy(inputs(put(x))), nn.to_numpy(plain(put(x))), rtol=1e-10)
    kept = Stream(0, f"{inputs.cell.path}/dropout").keep((N, C), 0.5)
    np.testing.assert_allclose(
        nn.to_numpy(inputs(put(x), training=True)), nn.to_numpy(plain(put(2 * x * kept[:, None]))), rtol=1e-10
    )
    states = built(kind(U, activation, recurrent_dropout=0.5, return_sequences=True, dtype="float64"), put)
    kept = Stream(0, f"{states.cell.path}/recurrent_dropout").keep((N, U), 0.5)
    rule = {nn.SimpleRNN: fn.simple_rnn, nn.LSTM: fn.lstm, nn.GRU: fn.gru}[kind]
    weights = (plain.cell.kernel, plain.cell.recurrent_kernel, plain.cell.bias)
    expected = rule(put(x), *weights, recurrent_keep=put(kept), recurrent_dropout=0.5)[0]
    np.testing.assert_allclose(nn.to_numpy(states(put(x), training=True)), nn.to_numpy(expected), rtol=1e-10)


class Counter(nn.Layer):
    """A cell of somebody's own: it counts, and shows what it was given beside the count."""

    state_size = 1
    output_size = 3

    def forward(self, inputs, states):
        count = states[0] + 1.0
        return fn.concat([inputs, count], axis=-1), [count]


def test_any_layer_with_states_is_a_cell(put):
    x = put(np.ones((2, 4, 2)))
    layer = nn.RNN(Counter(), return_sequences=True, return_state=True)
    assert layer.compute_output_shape((4, 2)) == [(4, 3), (1,)]
    outputs, count = hosted(layer(x))
    np.testing.assert_array_equal(outputs[0, :, 2], [1, 2, 3, 4])
    np.testing.assert_array_equal(count, [[4], [4]])
    mask = put(np.array([[False, True, False, True]] * 2))
    outputs, count = hosted(layer(x, mask=mask))
    np.testing.assert_array_equal(outputs[0, :, 2], [0, 1, 1, 2])  # before the first step there is no output
    np.testing.assert_array_equal(count, [[2], [2]])


class Plane(nn.Layer):
    """A cell whose state is a picture."""

    state_size = ((2, 2),)

    def forward(self, inputs, states):
        return inputs + states[0], inputs + states[0]


def test_states_may_have_any_shape(put):
    x = np.arange(24.0).reshape(1, 6, 2, 2)
    mask = put(np.array([[True] * 3 + [False] * 3]))
    y = nn.RNN(Plane(), dtype="float64")(put(x), mask=mask)
    np.testing.assert_array_equal(nn.to_numpy(y), x[:, :3].sum(axis=1))


def test_stacked_cells_are_layers_on_top_of_each_other(put, rng):
    x = put(rng.normal(size=(N, T, C)))
    low, high = nn.LSTM(U, return_sequences=True), nn.GRU(2, return_sequences=True)
    expected = high(low(x))
    layer = nn.RNN([nn.LSTMCell(U), nn.GRUCell(2)], return_sequences=True, return_state=True)
    layer(x)
    layer.set_weights([*low.get_weights(), *high.get_weights()])
    outputs, *states = hosted(layer(x))
    np.testing.assert_allclose(outputs, nn.to_numpy(expected), rtol=1e-6)
    assert [state.shape for state in states] == [(N, U), (N, U), (N, 2)]
    mixed = nn.RNN([nn.LSTMCell(U), Counter()])  # step by step, since one cell is of somebody's own
    assert nn.to_numpy(mixed(x)).shape == (N, U + 1)
    assert mixed.compute_output_shape((T, C)) == (3,)


def test_what_is_no_cell_is_refused(put):
    with pytest.raises(TypeError, match=r"Dense is no cell of a recurrent network: it has no state_size"):
        nn.RNN(nn.Dense(3))
    with pytest.raises(TypeError, match="RNN expects a cell, which is a layer, got int"):
        nn.RNN(3)
    with pytest.raises(ValueError, match="StackedRNNCells expects a list of at least one cell"):
        nn.RNN([])
    with pytest.raises(ValueError, match=r"LSTMCell 'lstm_cell' expects 2 states of shape \(n, 6\), got 1"):
        nn.LSTMCell(U)(put(np.zeros((N, C))), put(np.zeros((N, U))))
    with pytest.raises(ValueError, match=r"StackedRNNCells 'stacked_rnn_cells' expects 3 states, got 0"):
        nn.StackedRNNCells([nn.LSTMCell(U), nn.GRUCell(U)])(put(np.zeros((N, C))))


def test_inputs_of_a_wrong_shape_are_refused(put):
    with pytest.raises(ValueError, match=r"LSTM 'first' expects inputs of shape \(n, t, c\), got \(n, 4\)"):
        nn.LSTM(U, name="first").compute_output_shape((4,))
    with pytest.raises(ValueError, match=r"GRU 'gru' expects sequences of at least one step"):
        nn.GRU(U)(put(np.zeros((2, 0, 4))))
    layer = nn.GRU(U)
    layer(put(np.zeros((2, 3, 4))))
    with pytest.raises(
        ValueError, match=r"GRU 'gru' was built for inputs of shape \(n, t, 4\), got \(n, 3, 5\)"
    ):
        layer(put(np.zeros((2, 3, 5))))
    layer(put(np.zeros((2, 7, 4))))  # any number of steps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTM(0), "units"),
        (lambda: nn.GRU(2, dropout=1.0), "GRUCell expects dropout from 0 to below 1"),
        (lambda: nn.GRU(2, recurrent_dropout=-0.1), "GRUCell expects recurrent_dropout from 0 to below 1"),
        (lambda: nn.LSTM(2, stateful=True, batch_size=0), "batch_size"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_penalties_and_constraints_belong_to_their_weights(put):
    layer = nn.LSTM(
        U,
        kernel_regularizer="l2",
        bias_regularizer="l1",
        recurrent_constraint="unit_norm",
        bias_constraint="non_neg",
    )
    layer(put(np.zeros((N, T, C))))
    cell = layer.cell
    assert cell.kernel.regularizer is cell.kernel_regularizer is not None
    assert cell.bias.regularizer is cell.bias_regularizer is not None
    assert cell.recurrent_kernel.regularizer is None
    assert cell.recurrent_kernel.constraint is not None
    assert cell.bias.constraint is not None
    assert cell.kernel.constraint is None


def test_a_model_masks_learns_and_is_read_again(backend, rng, tmp_path):
    x = rng.normal(size=(32, T, 1)).astype("float32")
    lengths = rng.integers(1, T + 1, size=32)
    x[np.arange(T) >= lengths[:, None]] = 0.0
    y = x.sum(axis=1)
    model = nn.Sequential([nn.Masking(), nn.LSTM(8), nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.Adam(0.02), loss="mean_squared_error")
    history = model.fit(x, y, epochs=15, batch_size=16, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    padded = np.concatenate([x, np.zeros((32, 3, 1), "float32")], axis=1)
    np.testing.assert_allclose(model.predict(padded), model.predict(x), rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.safetensors")
    again = nn.load_model(tmp_path / "model.safetensors", backend=backend)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def adding_problem(count, length, rng):
    """Hochreiter and Schmidhuber's: the sum of two marked numbers, one in each half of a sequence of them."""
    marks = np.zeros((count, length), "float32")
    samples = np.arange(count)
    marks[samples, rng.integers(0, length // 2, count)] = 1.0
    marks[samples, rng.integers(length // 2, length, count)] = 1.0
    numbers = rng.random((count, length), dtype="float32")
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("kind", "steps"), [(nn.LSTM, 800), (nn.GRU, 400)])
def test_gates_remember_over_forty_steps(kind, steps, backend, rng):
    if backend.name != "numpy":
        pytest.skip("hundreds of steps are for the fastest backend of this machine")
    x, y = adding_problem(32 * steps, 40, rng)
    model = nn.Sequential([kind(32), nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.Adam(0.01), loss="mean_squared_error")
    model.fit(x, y, batch_size=32, verbose=0)
    fresh, sums = adding_problem(1000, 40, rng)
    assert float(np.var(sums)) == pytest.approx(1 / 6, rel=0.1)  # what the best constant answer leaves
    assert model.evaluate(fresh, sums)["loss"] < 0.01


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"], ids=["as one rule", "by steps"])
@every_layer
def test_a_mask_of_another_shape_is_refused_and_numbers_are_booleans(kind, activation, put, rng):
    x = put(rng.normal(size=(N, T, C)))
    layer = kind(U, activation, return_sequences=True, zero_output_for_mask=True, name="here")
    for shape in [(N, T + 1), (N, T - 1), (1, T), (N, T, 1), (T,)]:
        message = (
            rf"{kind.__name__} 'here' expects a mask of shape \(n, t\) = \({N}, {T}\), got \({shape[0]},"
        )
        with pytest.raises(ValueError, match=message):
            layer(x, mask=put(np.ones(shape, bool)))
    mask = rng.random((N, T)) < 0.5
    expected = nn.to_numpy(layer(x, mask=put(mask)))
    numbers = put(2 * mask.astype("int32"))
    np.testing.assert_array_equal(nn.to_numpy(layer(x, mask=numbers)), expected)
    np.testing.assert_array_equal(nn.to_numpy(layer.compute_mask(x, numbers)), mask)


def test_the_mask_of_a_cell_of_ones_own_is_checked(put):
    class Sum(nn.Layer):
        state_size = 1

        def forward(self, inputs, states):
            total = states[0] + inputs
            return total, [total]

    layer, x = nn.RNN(Sum()), put(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]))
    with pytest.raises(
        ValueError, match=r"RNN 'rnn' expects a mask of shape \(n, t\) = \(2, 2\), got \(1, 2\)"
    ):
        layer(x, mask=put(np.ones((1, 2), bool)))
    np.testing.assert_array_equal(
        nn.to_numpy(layer(x, mask=put(np.array([[1, 1], [0, 3]], "int32")))), [[3.0], [4.0]]
    )


def test_a_summary_shows_what_cells_return_that_no_run_calls(backend):
    layers = [
        nn.LSTM(3, return_sequences=True),
        nn.RNN([nn.GRUCell(2), nn.LSTMCell(4)], return_sequences=True),
        nn.Bidirectional(nn.SimpleRNN(5, "relu")),
    ]
    with nn.use_backend(backend):
        model = nn.Sequential([nn.Input((T, C)), *layers])
    lines = []
    model.summary(lines.append)
    shown = [(line.split()[1], line[line.index("(") :]) for line in lines if "Cell" in line]
    expected = {
        "LSTMCell": ["(n, 3), (n, 3), (n, 3) ", "(n, 4), (n, 4), (n, 4) "],
        "StackedRNNCells": ["(n, 4), (n, 2), (n, 4), (n, 4) "],
        "GRUCell": ["(n, 2), (n, 2) "],
        "SimpleRNNCell": ["(n, 5), (n, 5) ", "(n, 5), (n, 5) "],
    }
    for kind, shapes in expected.items():
        rows = [rest for name, rest in shown if name == kind]
        assert len(rows) == len(shapes)
        assert all(row.startswith(shape) for row, shape in zip(rows, shapes, strict=True)), rows
    assert not [line for line in lines if "?" in line]


def test_a_recurrent_layer_on_the_last_state_of_another_says_what_that_one_needs(backend):
    model = nn.Sequential([nn.LSTM(3), nn.LSTM(3)], seed=0, backend=backend)
    with pytest.raises(ValueError, match=r"'lstm_1' expects .* got \(n, 3\).*return_sequences=True"):
        model.predict(np.ones((2, 5, 3)))
