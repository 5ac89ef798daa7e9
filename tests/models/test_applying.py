"""A model as a function of its parameters: gradients and training loops that are written by hand."""

import numpy as np
import pytest

import nnbackend as nn

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = np.cos(np.arange(8.0)).reshape(8, 1)


def small(backend, *layers, **options):
    given = {"backend": backend, "seed": 0, "dtype": "float64", "input_shape": (3,)} | options
    return nn.Sequential([nn.Dense(4, "tanh"), *layers, nn.Dense(1)], **given)


def mean_squared_error(model, x, y):
    return lambda parameters: nn.functional.mean((model.apply(parameters, x, training=True) - y) ** 2)


def test_a_loop_by_hand_takes_the_steps_of_fit(backend):
    model, by_hand = small(backend), small(backend)
    optimizer = nn.optimizers.Adam(0.01)
    model.compile(nn.optimizers.Adam(0.01), "mse")
    model.fit(X, Y, epochs=5, batch_size=8, shuffle=False, verbose=0)
    loss = mean_squared_error(by_hand, backend.from_host(X), backend.from_host(Y))
    parameters = by_hand.get_parameters()
    slots = optimizer.init(parameters)
    for _ in range(5):
        _, gradients = nn.value_and_grad(loss)(parameters)
        parameters, slots = optimizer.update(gradients, slots, parameters)
    by_hand.set_parameters(parameters)
    for mine, theirs in zip(by_hand.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_the_gradient_by_parameters_is_that_of_central_differences(backend):
    model = small(backend)
    nn.gradcheck(
        mean_squared_error(model, backend.from_host(X), backend.from_host(Y)), model.get_parameters()
    )


def test_gradients_by_the_input_and_of_second_order_go_through_apply(backend):
    model = small(backend)
    parameters = model.get_parameters()

    def slope(x, parameters):
        return nn.grad(lambda x: nn.functional.sum(model.apply(parameters, x)))(x)

    nn.gradcheck(slope, backend.from_host(X), parameters, tolerance=1e-5)


def test_apply_is_pure_and_answers_in_the_kind_that_it_is_given(backend):
    model = small(backend)
    before, parameters = model.get_weights(), model.get_parameters()
    with backend.scope():
        zeros = {path: array * 0.0 for path, array in parameters.items()}
    output = model.apply(zeros, X.tolist())
    assert backend.owns(output)
    np.testing.assert_array_equal(nn.to_numpy(output), 0.0)
    np.testing.assert_array_equal(nn.to_numpy(model.apply({}, X)), model.predict(X))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_several_inputs_and_outputs_go_by_their_names(backend):
    a, b = nn.Input((3,), name="a"), nn.Input((1,), name="b")
    outputs = {"s": nn.Dense(1)(a), "t": nn.Dense(2)(b)}
    model = nn.Model([a, b], outputs, backend=backend, seed=0)
    x = {"b": Y, "a": X}
    applied, expected = model.apply(model.get_parameters(), x), model.predict(x)
    assert applied.keys() == expected.keys()
    for name, output in expected.items():
        np.testing.assert_array_equal(nn.to_numpy(applied[name]), output)


def test_running_statistics_go_in_and_come_out(backend):
    model, trained = (small(backend, nn.BatchNormalization(momentum=0.5)) for _ in range(2))
    parameters, state = model.get_parameters(), model.get_state()
    assert not parameters.keys() & state.keys()
    assert parameters.keys() | state.keys() == model.handles().keys()

    def loss(parameters, state):
        y, state = model.apply(parameters, X, state=state, training=True)
        return nn.functional.mean(y**2), state

    before = model.get_weights()
    (_, new), _ = nn.value_and_grad(loss, has_aux=True)(parameters, state)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    trained.compile(nn.optimizers.SGD(1.0), "mse")
    trained.train_on_batch(X, 0.0 * Y)
    for path, array in trained.get_state().items():
        np.testing.assert_allclose(nn.to_numpy(new[path]), nn.to_numpy(array), rtol=1e-12)
    model.set_parameters({**parameters, **new})
    assert not np.array_equal(model.get_weights()[4], before[4])


def test_new_statistics_are_not_lost_in_silence(backend):
    model = small(backend, nn.BatchNormalization())
    with pytest.raises(
        ValueError, match=r"apply computed a new batch_normalization/moving_mean, which would be"
    ):
        model.apply(model.get_parameters(), X, training=True)
    with pytest.raises(ValueError, match="which would be lost"):
        model.apply(model.get_parameters(), X, state={}, training=True)


def test_random_numbers_are_those_of_the_step(backend):
    model = small(backend, nn.Dropout(0.5))
    parameters = model.get_parameters()
    first, again, second = (nn.to_numpy(model.apply(parameters, X, training=True, step=s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    with pytest.raises(
        ValueError, match=r"dropout/mask draws random numbers, which would be the same at each call"
    ):
        model.apply(parameters, X, training=True)


def test_frozen_weights_are_state(backend):
    model = small(backend)
    model.layers[0].trainable = False
    assert sorted(model.get_parameters()) == ["dense_1/bias", "dense_1/kernel"]
    assert sorted(model.get_state()) == ["dense/bias", "dense/kernel"]


def test_what_is_handed_out_is_a_copy(backend):
    model = small(backend)
    before = model.get_weights()
    model.compile(nn.optimizers.SGD(1.0), "mse")
    parameters = model.get_parameters()
    model.train_on_batch(X, Y)
    np.testing.assert_array_equal(nn.to_numpy(parameters["dense/kernel"]), before[0])


def test_a_compiled_step_may_apply_a_model(backend):
    model = small(backend, nn.Dropout(0.5))
    parameters = model.get_parameters()

    def step(parameters, given):
        return parameters, model.apply(parameters, given["x"], training=True, step=given["step"])

    expected = nn.to_numpy(model.apply(parameters, X, training=True, step=3))
    given = {"x": backend.from_host(X), "step": backend.from_host(3, "int64")}
    _, output = backend.compile(step)(parameters, given)
    np.testing.assert_allclose(nn.to_numpy(output), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda m, p: m.apply(m.parameters, X), TypeError, "apply expects a dict of arrays by path"),
        (
            lambda m, p: m.apply({"dense/kernle": p["dense/kernel"]}, X),
            ValueError,
            r"got a value for 'dense/kernle', which .* has not. Did you mean 'dense/kernel'\?",
        ),
        (lambda m, p: m.apply({"dense/bias": 1.0}, X), TypeError, "an array for 'dense/bias', got float"),
        (
            lambda m, p: m.set_parameters({**p, "dense/bias": p["dense_1/bias"]}),
            ValueError,
            r"set_parameters expects 'dense/bias' of shape \(4,\), got \(1,\)",
        ),
        (lambda m, p: m.apply(p, X, state=p), ValueError, "both among the parameters and in state"),
        (
            lambda m, p: nn.grad(lambda p: (m.set_parameters(p), nn.functional.sum(m.apply(p, X)))[1])(p),
            TypeError,
            "set_parameters of 'sequential' got a tensor that is being differentiated",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, match, backend):
    model = small(backend)
    before = model.get_weights()
    with pytest.raises(error, match=match):
        call(model, model.get_parameters())
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_values_of_another_dtype_or_library_are_refused(backend):
    model = small(backend, dtype="float32")
    wide = {path: backend.from_host(nn.to_numpy(a), "float64") for path, a in model.get_parameters().items()}
    with pytest.raises(TypeError, match="of float32, got"):
        model.apply(wide, X)
    if backend.name != "numpy":
        hosted = {path: nn.to_numpy(a) for path, a in model.get_parameters().items()}
        with pytest.raises(TypeError, match="where the model is, got one of numpy"):
            model.apply(hosted, X)
        model.set_parameters(hosted)


@pytest.mark.parametrize("of", [nn.grad, nn.value_and_grad, lambda f: lambda p: nn.vjp(f, p)])
def test_a_gradient_by_handles_is_refused(of, backend):
    model = small(backend)
    model.build((3,))
    with pytest.raises(TypeError, match=r"handle of 'dense/kernel'.*Take the values.*model.apply\(p, x\)"):
        of(lambda parameters: nn.functional.sum(model(X)))(model.parameters)
    with pytest.raises(TypeError, match="handle of 'dense/kernel'"):
        nn.gradcheck(lambda parameters: nn.functional.sum(model(X)), model.parameters)


def test_state_is_set_as_it_was_got(light):
    model = nn.Sequential([nn.BatchNormalization(), nn.Dense(1)], backend=light, seed=0)
    model.build((2,))
    state = model.get_state()
    model.set_state({path: value + 1.0 for path, value in state.items()})
    for path, value in model.get_state().items():
        np.testing.assert_array_equal(nn.to_numpy(value), nn.to_numpy(state[path]) + 1.0)
    with pytest.raises(ValueError, match="^set_state got a value for 'other', which Sequential"):
        model.set_state({"other": state["batch_normalization/moving_mean"]})
    with pytest.raises(TypeError, match=r"^set_state expects a dict of arrays by path"):
        model.set_state([1.0])
