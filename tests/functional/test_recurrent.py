"""Recurrent rules: PyTorch's answers, the paper's equations, and what masks, states and lengths must do."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.autodiff import counting_multiply_adds

N, T, C, U = 3, 5, 4, 6
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
#: Where PyTorch's blocks of rows stand among Keras's.
ORDER = {"simple_rnn": [0], "lstm": [0, 1, 2, 3], "gru": [1, 0, 2]}
RULES = pytest.mark.parametrize("name", GATES)
VARIANTS = [("simple_rnn", {}), ("lstm", {}), ("gru", {}), ("gru", {"reset_after": False})]
EVERY = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=["simple", "lstm", "gru", "gru before"])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights_of(name, rng, reset_after=True):
    wide = GATES[name] * U
    rows = (2, wide) if name == "gru" and reset_after else (wide,)
    kernels = rng.normal(size=(C, wide)) * 0.5, rng.normal(size=(U, wide)) * 0.5
    return [*kernels, rng.normal(size=rows) * 0.5]


def states_of(name, rng, n=N):
    return [rng.normal(size=(n, U)) for _ in range(2 if name == "lstm" else 1)]


def reordered(array, name, axis=-1):
    return np.concatenate([np.split(array, GATES[name], axis=axis)[k] for k in ORDER[name]], axis=axis)


def torch_module(torch, name, weights, dtype):
    kind = {"simple_rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name]
    module = kind(C, U, batch_first=True, dtype=getattr(torch, dtype))
    kernel, recurrent, bias = (reordered(w, name) for w in weights)
    outer, inner = bias if name == "gru" else (bias, np.zeros_like(bias))
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), (kernel.T, recurrent.T, outer, inner), strict=True):
            parameter.copy_(torch.tensor(value))
    return module


@RULES
@pytest.mark.parametrize("lengths", [None, (5, 2, 3)], ids=["whole", "packed"])
@pytest.mark.parametrize("steps", [1, T])
def test_values_and_gradients_are_pytorch_s(name, lengths, steps, put, rng, dtype):
    torch = pytest.importorskip("torch")
    x, weights, states = rng.normal(size=(N, steps, C)), weights_of(name, rng), states_of(name, rng)
    lengths = None if lengths is None else np.minimum(lengths, steps)
    mask = np.ones((N, steps), bool) if lengths is None else np.arange(steps) < lengths[:, None]
    dy = rng.normal(size=(N, steps, U)) * mask[:, :, None]  # PyTorch's outputs end with their sequences
    dstates = [rng.normal(size=(N, U)) for _ in states]

    module = torch_module(torch, name, weights, dtype)
    kind = getattr(torch, dtype)
    theirs = torch.tensor(x, dtype=kind, requires_grad=True)
    first = [torch.tensor(s[None], dtype=kind, requires_grad=True) for s in states]
    given = theirs
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            theirs, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
    output, last = module(given, tuple(first) if name == "lstm" else first[0])
    if lengths is not None:
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=steps)
    last = last if name == "lstm" else (last,)
    total = (output * torch.tensor(dy, dtype=kind)).sum()
    total = total + sum(
        (s[0] * torch.tensor(d, dtype=kind)).sum() for s, d in zip(last, dstates, strict=True)
    )
    total.backward()

    def run(*arrays):
        return getattr(fn, name)(*arrays, mask=None if lengths is None else put(mask))

    arrays = [put(a, dtype) for a in (x, *weights, *states)]
    (outputs, *new), pullback = nn.vjp(run, *arrays)
    dx, dkernel, drecurrent, dbias, *dfirst = pullback(tuple(put(d, dtype) for d in (dy, *dstates)))

    tolerance = {"rtol": 1e-5, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-12}

    def agree(ours, their, **more):
        np.testing.assert_allclose(nn.to_numpy(ours), their.detach().numpy(), **tolerance, **more)

    np.testing.assert_allclose(
        nn.to_numpy(outputs) * mask[:, :, None], output.detach().numpy() * mask[:, :, None], **tolerance
    )
    for ours, their in zip(new, last, strict=True):
        agree(ours, their[0])
    agree(dx, theirs.grad)
    gradients = [reordered(nn.to_numpy(d), name) for d in (dkernel, drecurrent, dbias)]
    wanted = [parameter.grad for parameter in module.parameters()]
    agree(gradients[0].T, wanted[0])
    agree(gradients[1].T, wanted[1])
    for ours, their in zip(gradients[2] if name == "gru" else [gradients[2]], wanted[2:], strict=False):
        agree(ours, their)
    for ours, their in zip(dfirst, first, strict=True):
        agree(ours, their.grad[0])


def test_the_gru_that_resets_before_is_the_paper_s(put, rng):
    x, (w, r, b), (h,) = rng.normal(size=(N, T, C)), weights_of("gru", rng, False), states_of("gru", rng)
    wz, wr, wh = np.split(w, 3, axis=1)
    uz, ur, uh = np.split(r, 3, axis=1)
    bz, br, bh = np.split(b, 3)
    expected, state = [], h
    for t in range(T):  # Cho et al., equations (5) to (8)
        z = sigmoid(x[:, t] @ wz + state @ uz + bz)
        reset = sigmoid(x[:, t] @ wr + state @ ur + br)
        candidate = np.tanh(x[:, t] @ wh + (reset * state) @ uh + bh)
        state = z * state + (1 - z) * candidate
        expected.append(state)
    outputs, last = fn.gru(*(put(a) for a in (x, w, r, b, h)), reset_after=False)
    np.testing.assert_allclose(nn.to_numpy(outputs), np.stack(expected, axis=1), rtol=1e-12)
    np.testing.assert_allclose(nn.to_numpy(last), state, rtol=1e-12)


@EVERY
def test_gradients_are_those_of_central_differences_with_mask_and_dropout(name, options, backend, put, rng):
    arrays = [rng.normal(size=(N, T, C)), *weights_of(name, rng, **options), *states_of(name, rng)]
    mask, keep = put(rng.random((N, T)) > 0.4), put(rng.random((N, U)) > 0.4)

    def run(*given):
        return getattr(fn, name)(*given, mask, keep, recurrent_dropout=0.4, **options)

    nn.gradcheck(run, *map(put, arrays), projections=1 if backend.name == "jax" else 3)


@EVERY
def test_a_mask_leaves_steps_out_as_if_they_were_not_there(name, options, put, rng):
    x, weights = rng.normal(size=(1, T, C)), [put(w) for w in weights_of(name, rng, **options)]
    mask = np.array([[False, True, False, True, True]])
    states = [put(s) for s in states_of(name, rng, 1)]
    outputs, *last = getattr(fn, name)(put(x), *weights, *states, mask=put(mask), **options)
    short, *expected = getattr(fn, name)(put(x[:, mask[0]]), *weights, *states, **options)
    outputs, short = nn.to_numpy(outputs), nn.to_numpy(short)
    np.testing.assert_allclose(outputs[:, mask[0]], short, rtol=1e-12)
    np.testing.assert_array_equal(outputs[:, 0], nn.to_numpy(states[0]))  # nothing was seen so far
    np.testing.assert_array_equal(outputs[:, 2], outputs[:, 1])
    for one, other in zip(last, expected, strict=True):
        np.testing.assert_allclose(nn.to_numpy(one), nn.to_numpy(other), rtol=1e-12)


@EVERY
def test_a_sequence_in_two_pieces_is_the_sequence(name, options, put, rng):
    x, weights = put(rng.normal(size=(N, T, C))), [put(w) for w in weights_of(name, rng, **options)]
    rule = getattr(fn, name)
    outputs, *last = rule(x, *weights, **options)
    first, *states = rule(x[:, :2, :], *weights, **options)
    second, *end = rule(x[:, 2:, :], *weights, *states, **options)
    np.testing.assert_allclose(
        nn.to_numpy(outputs), np.concatenate([nn.to_numpy(first), nn.to_numpy(second)], axis=1), rtol=1e-12
    )
    for one, other in zip(last, end, strict=True):
        np.testing.assert_allclose(nn.to_numpy(one), nn.to_numpy(other), rtol=1e-12)


@EVERY
def test_dropping_all_of_the_state_forgets_it(name, options, put, rng):
    x, weights = put(rng.normal(size=(N, T, C))), weights_of(name, rng, **options)
    nothing = put(np.zeros((N, U), bool))
    dropped = getattr(fn, name)(
        x, *map(put, weights), recurrent_keep=nothing, recurrent_dropout=0.5, **options
    )
    without = getattr(fn, name)(x, put(weights[0]), put(0 * weights[1]), put(weights[2]), **options)
    for one, other in zip(dropped, without, strict=True):
        np.testing.assert_allclose(nn.to_numpy(one), nn.to_numpy(other), rtol=1e-12)


@EVERY
@pytest.mark.parametrize("n", [0, 1])
def test_batches_of_one_and_of_none(name, options, n, put, rng):
    x, weights = put(rng.normal(size=(n, T, C))), [put(w) for w in weights_of(name, rng, **options)]
    value, pullback = nn.vjp(lambda *a: getattr(fn, name)(*a, **options), x, *weights)
    assert [tuple(part.shape) for part in value] == [(n, T, U)] + [(n, U)] * (len(value) - 1)
    gradients = pullback(value)
    assert all(np.isfinite(nn.to_numpy(g)).all() for g in gradients)


@EVERY
def test_large_inputs_saturate_and_stay_finite(name, options, put, rng, dtype):
    x = put(1e4 * rng.normal(size=(N, T, C)), dtype)
    weights = [put(w, dtype) for w in weights_of(name, rng, **options)]
    value, pullback = nn.vjp(lambda *a: getattr(fn, name)(*a, **options), x, *weights)
    for part in (*value, *pullback(value)):
        assert np.isfinite(nn.to_numpy(part)).all()


@RULES
def test_products_are_counted(name, put, rng):
    found = []
    with counting_multiply_adds(found.append):
        getattr(fn, name)(put(rng.normal(size=(N, T, C))), *map(put, weights_of(name, rng)))
    assert sum(found) == N * T * (C + U) * GATES[name] * U


def test_what_is_kept_for_the_way_back_is_a_small_multiple_of_inputs_and_outputs(backend, rng):
    if backend.name != "numpy":
        pytest.skip("only NumPy's memory is seen by tracemalloc")
    import tracemalloc

    n, t, c, u = 16, 100, 32, 32
    x = rng.normal(size=(n, t, c)).astype("float32")
    for name, gates in GATES.items():
        rows = (2, gates * u) if name == "gru" else (gates * u,)
        weights = [
            (rng.normal(size=s) * 0.1).astype("float32") for s in ((c, gates * u), (u, gates * u), rows)
        ]
        tracemalloc.start()
        value, pullback = nn.vjp(getattr(fn, name), x, *weights)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        outputs = sum(part.nbytes for part in value)
        assert kept < 1.1 * (gates + 3) * outputs, name  # gates and states at each step, and the outputs
        del value, pullback


def test_a_long_lstm_is_compiled_in_reasonable_time(backend, rng):
    if backend.name != "jax":
        pytest.skip("only JAX compiles the loop")
    import time

    shapes = (8, 100, 2), (2, 64), (16, 64)
    batch = tuple(backend.from_host(rng.normal(size=s).astype("float32")) for s in shapes)

    def step(state, batch):
        value, pullback = nn.vjp(fn.lstm, *batch)
        return state, pullback(value)

    begin = time.perf_counter()
    backend.compile(step)((), batch)
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: (N, C)}, r"lstm expects x of shape \(n, t, c\) and a kernel of shape \(c, 24\)"),
        ({1: (C + 1, 4 * U)}, r"lstm expects x of shape \(n, t, c\)"),
        (
            {2: (U, 4 * U + 1)},
            r"lstm expects a recurrent kernel of shape \(units, 4 \* units\), got \(6, 25\)",
        ),
        ({3: (U,)}, r"lstm expects a bias of shape \(24,\), got \(6,\)"),
        ({4: (N, U + 1)}, r"lstm expects initial states of shape \(n, units\) = \(3, 6\), got \(3, 7\)"),
        ({0: (N, 0, C)}, r"sequences of at least one step"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changed, message, put):
    shapes = [(N, T, C), (C, 4 * U), (U, 4 * U), (4 * U,), (N, U)]
    arrays = [put(np.zeros(changed.get(index, shape))) for index, shape in enumerate(shapes)]
    with pytest.raises(ValueError, match=message):
        fn.lstm(*arrays)


def test_masks_and_rates_that_do_not_fit_are_refused(put, rng):
    arrays = [put(rng.normal(size=(N, T, C))), *map(put, weights_of("gru", rng))]
    with pytest.raises(ValueError, match=r"gru expects a boolean mask of shape \(n, t\) = \(3, 5\), got"):
        fn.gru(*arrays, mask=put(np.ones((N, T + 1), bool)))
    with pytest.raises(ValueError, match="gru expects a boolean mask"):
        fn.gru(*arrays, mask=put(np.ones((N, T))))
    with pytest.raises(
        ValueError, match=r"gru expects a boolean recurrent_keep of shape \(n, units\) = \(3, 6\)"
    ):
        fn.gru(*arrays, recurrent_keep=put(np.ones((N, T), bool)))
    with pytest.raises(ValueError, match="gru expects 0 <= recurrent_dropout < 1, got 1"):
        fn.gru(*arrays, recurrent_dropout=1)
    with pytest.raises(ValueError, match=r"gru expects a bias of shape \(18,\), got \(2, 18\)"):
        fn.gru(*arrays, reset_after=False)
