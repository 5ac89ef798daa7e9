"""Cells of somebody's own in compiled steps: run as one loop where they are pure, step by step where they are not."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.layers import recurrent_loop

N, T, C, U = 4, 6, 3, 5


class Gated(nn.Layer):
    """A minimal gated unit, with weights of its own and a dense layer inside."""

    state_size = U

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = nn.Dense(U, "tanh")

    def build(self, input_shape):
        self.inner.build((input_shape[-1] + U,))
        self.gate = self.add_weight("gate", (input_shape[-1], U), "glorot_uniform")

    def forward(self, inputs, states):
        z = fn.sigmoid(inputs @ self.gate)
        new = z * states[0] + (1.0 - z) * self.inner(fn.concat([inputs, states[0]], axis=1))
        return 2.0 * new, [new]


class Noisy(Gated):
    """One that drops other inputs at each step."""

    def forward(self, inputs, states, *, training=False):
        if training:
            inputs = fn.dropout(inputs, self.random("each").keep(inputs.shape, 0.5), rate=0.5)
        return super().forward(inputs, states)


class Writing(Gated):
    """One that counts its steps."""

    def build(self, input_shape):
        super().build(input_shape)
        self.count = self.add_weight("count", (), "zeros", trainable=False)

    def forward(self, inputs, states):
        self.count.assign(self.count + 1.0)
        return super().forward(inputs, states)


class Penalized(Gated):
    """One that adds to the loss at each step."""

    def forward(self, inputs, states):
        self.add_loss(fn.mean(states[0] ** 2))
        return super().forward(inputs, states)


class Looking(Gated):
    """One that uses what was computed outside of it."""

    memory = 0.0

    def forward(self, inputs, states):
        output, new = super().forward(inputs, states)
        return output + self.memory, new


class Remembered(nn.Layer):
    """A layer that shows its cell the whole sequence."""

    def __init__(self, **options):
        super().__init__(**options)
        self.project = nn.Dense(U)
        self.rnn = nn.RNN(Looking(), return_sequences=True)

    def forward(self, x):
        self.rnn.cell.memory = fn.mean(self.project(x), axis=1)
        return self.rnn(x)


def trained(layer, backend, steps=3):
    """Losses and last weights of a short training, with masked steps."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(N, T, C)), rng.normal(size=(N, 1))
    x[1, 3:] = 0.0
    flatten = [nn.Flatten()] if layer.compute_output_shape((T, C))[:-1] else []
    model = nn.Sequential(
        [nn.Masking(), layer, *flatten, nn.Dense(1)], backend=backend, seed=0, dtype="float64"
    )
    model.compile(nn.optimizers.SGD(0.1), loss="mean_squared_error")
    losses = [model.train_on_batch(x, y)["loss"] for _ in range(steps)]
    return losses, model.get_weights(), model.predict(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.RNN(Gated()),
        lambda: nn.RNN([Gated(), nn.GRUCell(2, "softmax", recurrent_dropout=0.5)], go_backwards=True),
        lambda: nn.RNN(Noisy()),
        lambda: nn.RNN(Writing()),
        lambda: nn.RNN(Penalized()),
        lambda: Remembered(),
        lambda: nn.Bidirectional(nn.RNN(nn.LSTMCell(U, "sigmoid"))),
    ],
    ids=["pure", "stack", "random", "writing", "penalized", "looking", "both ways"],
)
def test_any_cell_trains_alike_on_every_backend(make, backend):
    if backend.name == "numpy":
        pytest.skip("it is what the others are compared with")
    for ours, theirs in zip(trained(make(), backend), trained(make(), "numpy"), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


def test_gradients_flow_into_inputs_and_initial_states_of_any_cell(backend, rng):
    x, state, mask = rng.normal(size=(N, T, C)), rng.normal(size=(N, U)), rng.random((N, T)) > 0.3

    def gradients(backend):
        layer = nn.RNN(Gated(), return_sequences=True, return_state=True, dtype="float64")
        with nn.use_backend(backend):
            layer.build((T, C))

        def step(empty, given):
            def total(x, state):
                outputs, last = layer(x, initial_state=state, mask=given[2])
                return fn.sum(outputs**2) + fn.sum(last)

            return empty, nn.grad(total, argnums=(0, 1))(given[0], given[1])

        given = tuple(backend.from_host(a) for a in (x, state, mask))
        return [nn.to_numpy(g) for g in backend.compile(step)((), given)[1]]

    for ours, theirs in zip(gradients(backend), gradients(nn.get_backend("numpy")), strict=True):
        assert np.abs(ours).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("cell", "one_rule"), [(Gated, True), (Noisy, False), (Writing, False), (Looking, False)]
)
def test_only_a_cell_that_is_a_function_of_its_arguments_is_one_rule(cell, one_rule, backend, monkeypatch):
    if "scan" not in backend.native_rules:
        pytest.skip("its loops are Python's")
    found = []

    def watched(*arguments):
        found.append(recurrent_loop.looped(*arguments))
        return found[-1]

    monkeypatch.setattr("nnbackend.layers.recurrent.looped", watched)
    trained(Remembered() if cell is Looking else nn.RNN(cell()), backend, steps=1)
    assert (found[0] is not None) == one_rule


def test_a_hundred_steps_of_any_cell_are_compiled_in_reasonable_time(backend, rng):
    if backend.name != "jax":
        pytest.skip("only JAX compiles the loop")
    import time

    model = nn.Sequential([nn.RNN(Gated()), nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", loss="mean_squared_error")
    x = rng.normal(size=(8, 100, C))
    begin = time.perf_counter()
    model.train_on_batch(x, x[:, 0, :1])
    assert time.perf_counter() - begin < 20
