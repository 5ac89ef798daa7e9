"""Graphs of layers: several inputs and outputs, shared layers, functions, masks, saving, and what is refused."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend import tree


def two_inputs_two_outputs(**options):
    a, b = nn.Input((3,), name="a"), nn.Input((2,), name="b")
    shared = nn.Dense(4, name="shared")
    hidden = fn.relu(shared(a) * nn.Dense(4, "tanh")(b) + shared(fn.negative(a)))[:, 1:]
    outputs = [nn.Dense(1, name="size")(hidden), nn.Dense(3, name="kind")(hidden)]
    return nn.Model([a, b], outputs, seed=0, **options)


@pytest.fixture
def data(rng):
    x = [rng.normal(size=(12, 3)), rng.normal(size=(12, 2))]
    y = {"size": rng.normal(size=12), "kind": np.arange(12) % 3}
    return x, y


LOSSES = {"size": "mean_squared_error", "kind": "sparse_categorical_crossentropy"}


def test_a_graph_computes_what_its_calls_say(backend, rng):
    x = rng.normal(size=(5, 4))
    inputs = nn.Input((4,))
    hidden = nn.Dense(4, "tanh", name="hidden")
    model = nn.Model(inputs, hidden(inputs) + inputs, backend=backend, seed=0, dtype="float64")
    y = model.predict(x)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(nn.to_numpy(y), np.tanh(x @ kernel + bias) + x, rtol=1e-12)


def test_weights_of_a_shared_layer_stand_once_and_get_both_gradients(backend, data):
    model = two_inputs_two_outputs(backend=backend)
    model.compile("sgd", loss=LOSSES)
    before = model.get_weights()
    assert [w.shape for w in before] == [(3, 4), (4,), (2, 4), (4,), (3, 1), (1,), (3, 3), (3,)]
    model.fit(*data, epochs=1, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_each_output_has_its_loss_its_metrics_and_its_weight(backend, data):
    x, y = data
    model = two_inputs_two_outputs(backend=backend, dtype="float64")
    model.compile("sgd", loss=LOSSES, metrics={"kind": ["accuracy"]}, loss_weights={"kind": 0.25})
    numbers = model.evaluate(x, y)
    assert list(numbers) == ["loss", "size_loss", "kind_loss", "kind_accuracy"]
    assert numbers["loss"] == pytest.approx(numbers["size_loss"] + 0.25 * numbers["kind_loss"], rel=1e-12)
    size, kind = model.predict(x)
    assert numbers["size_loss"] == pytest.approx(
        np.mean((nn.to_numpy(size)[:, 0] - y["size"]) ** 2), rel=1e-12
    )
    right = np.argmax(nn.to_numpy(kind), axis=1) == y["kind"]
    assert numbers["kind_accuracy"] == pytest.approx(np.mean(right))
    history = model.fit(x, y, epochs=2, batch_size=5, verbose=0, validation_data=(x, y)).history
    assert set(history) == set(numbers) | {f"val_{name}" for name in numbers}


def test_losses_may_stand_in_the_order_of_the_outputs_and_an_output_may_have_none(backend, data):
    x, y = data
    model = two_inputs_two_outputs(backend=backend)
    model.compile("sgd", loss=[None, "sparse_categorical_crossentropy"])
    numbers = model.evaluate(x, [y["size"], y["kind"]])
    assert numbers["loss"] == numbers["kind_loss"]
    assert "size_loss" not in numbers


def test_data_may_come_by_the_names_of_the_inputs(backend, data):
    x, _ = data
    model = two_inputs_two_outputs(backend=backend)
    for one, other in zip(model.predict(x), model.predict({"b": x[1], "a": x[0]}), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(one), nn.to_numpy(other))


def test_outputs_may_be_a_dict(backend, rng):
    x = nn.Input((3,))
    model = nn.Model(x, {"double": x * 2.0, "sum": nn.Dense(1)(x)}, backend=backend, seed=0)
    found = model.predict(rng.normal(size=(2, 3)))
    assert {name: tuple(part.shape) for name, part in found.items()} == {"double": (2, 3), "sum": (2, 1)}
    assert model.output_names == ["double", "sum"]


def test_a_saved_graph_computes_and_trains_the_same(backend, data, tmp_path):
    x, y = data
    model = two_inputs_two_outputs(backend=backend)
    model.compile("adam", loss=LOSSES, metrics={"kind": ["accuracy"]}, loss_weights={"kind": 0.5})
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "graph.safetensors")
    again = nn.load_model(tmp_path / "graph.safetensors", backend=backend)
    for one, other in zip(model.predict(x), again.predict(x), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(one), nn.to_numpy(other))
    assert model.fit(x, y, epochs=1, verbose=0).history == again.fit(x, y, epochs=1, verbose=0).history
    again.save(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").stat().st_size > 0


def test_graphs_nest_with_weights_from_the_outer_seed(backend, rng):
    def encoder():
        x = nn.Input((3,))
        return nn.Model(x, nn.Dropout(0.5)(nn.Dense(4, "relu")(x)), name="encoder")

    x = nn.Input((3,))
    models = [nn.Model(x, nn.Dense(1)(inner(x)), backend=backend, seed=3) for inner in (encoder(), encoder())]
    values = rng.normal(size=(4, 3))
    first, second = (nn.to_numpy(model.predict(values)) for model in models)
    np.testing.assert_array_equal(first, second)
    assert next(path for path, _, _ in models[0].named_parameters()) == "encoder/dense/kernel"
    row = nn.Sequential([encoder(), nn.Dense(1)], backend=backend, seed=3)
    np.testing.assert_array_equal(nn.to_numpy(row.predict(values)), first)


def test_the_summary_is_known_before_there_are_data(backend):
    model = two_inputs_two_outputs(backend=backend)
    printed = []
    model.summary(printed.append)
    text = "\n".join(printed)
    row = next(line.split() for line in printed if line.startswith("shared"))
    assert row == ["shared", "Dense", "(n,", "4)", "16", "24"]  # called twice
    assert "Parameters: 44 (44 trained, 0 not)" in text
    assert "Multiply-adds: 44 for one sample" in text
    assert model.count_params() == 44


def test_a_sequential_model_may_begin_with_an_input(backend):
    model = nn.Sequential([nn.Input((5,)), nn.Dense(3), nn.Dense(1)], backend=backend, seed=0)
    assert model.count_params() == 22
    other = nn.Sequential([nn.Dense(3), nn.Dense(1)], input_shape=(5,), backend=backend, seed=0)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match=r"'sequential' expects inputs of shape \(n, 5\), got \(n, 4\)"):
        model.predict(np.ones((2, 4)))


class StepsBelow(nn.Layer):
    """Makes a mask: steps whose first number is below a limit count."""

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_mask(self, x, mask=None):
        return x[:, :, 0] < 0.5

    def forward(self, x):
        return x


class MaskedMean(nn.Layer):
    """Takes a mask: the mean over the steps that count."""

    def compute_output_shape(self, input_shape):
        return input_shape[1:]

    def forward(self, x, *, mask=None):
        if mask is None:
            return fn.mean(x, axis=1)
        weights = fn.expand_dims(fn.astype(mask, x.dtype), axis=-1)
        return fn.sum(x * weights, axis=1) / fn.sum(weights, axis=1)


@pytest.mark.parametrize("kind", ["graph", "row", "nested"])
def test_masks_go_from_those_that_make_them_to_those_that_take_them(kind, backend, rng):
    x = rng.uniform(size=(3, 6, 2))
    layers = [StepsBelow(), nn.Activation("relu"), MaskedMean()]
    if kind == "row":
        model = nn.Sequential(layers, backend=backend, seed=0, dtype="float64")
    elif kind == "nested":
        inner = nn.Sequential(layers[:2])
        model = nn.Sequential([inner, layers[2]], backend=backend, seed=0, dtype="float64")
    else:
        symbol = nn.Input((6, 2))
        made = layers[0](symbol)
        model = nn.Model(symbol, layers[2](layers[1](made) + made), backend=backend, seed=0, dtype="float64")
    keep = x[:, :, 0] < 0.5
    expected = np.stack([row[k].mean(axis=0) for row, k in zip(x, keep, strict=True)])
    factor = 2 if kind == "graph" else 1
    np.testing.assert_allclose(nn.to_numpy(model.predict(x)), factor * expected, rtol=1e-12)


def test_a_mask_that_reaches_the_output_weighs_loss_and_metrics(backend, rng):
    x, y = rng.uniform(size=(4, 6, 2)), rng.normal(size=(4, 6, 1))
    model = nn.Sequential([StepsBelow(), nn.Dense(1)], backend=backend, seed=0, dtype="float64")
    model.compile("sgd", "mean_squared_error")
    keep = x[:, :, 0] < 0.5
    weights = np.asarray([1.0, 2.0, 0.0, 1.0])
    errors = (nn.to_numpy(model.predict(x)) - y)[..., 0] ** 2
    assert model.evaluate(x, y)["loss"] == pytest.approx(np.mean(errors[keep]), rel=1e-12)
    weighted = keep * weights[:, None]
    assert model.evaluate(x, y, sample_weight=weights)["loss"] == pytest.approx(
        np.sum(errors * weighted) / np.sum(weighted), rel=1e-12
    )
    assert model.evaluate(x, y, batch_size=3)["loss"] == pytest.approx(np.mean(errors[keep]), rel=1e-12)


def test_a_symbol_has_no_value_and_says_so():
    x = nn.Input((3,))
    assert x.shape == (None, 3)
    assert x.ndim == 2
    with pytest.raises(TypeError, match="stands for an array that is not known yet"):
        nn.to_numpy(x)
    with pytest.raises(TypeError, match=r"so its arrays have no len\(\)"):
        len(x)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: nn.Input((3, 0)),
            ValueError,
            r"whole numbers above zero, or None for any length, got \(3, 0\)",
        ),
        (
            lambda: nn.Input((2.0,)),
            ValueError,
            r"whole numbers above zero, or None for any length, got \(2.0,\)",
        ),
        (lambda: nn.Input((3,), dtype="text"), ValueError, "expects dtype 'float32'"),
        (lambda: nn.Model(nn.Input((3,)), nn.Input((3,))), ValueError, "which is not among its inputs"),
        (
            lambda: nn.Model(nn.Input((3,)), np.ones(3)),
            TypeError,
            "expects outputs from nn.Input and from layers",
        ),
        (lambda: nn.Model(nn.Input((3,)), None), TypeError, "expects outputs from nn.Input"),
        (lambda: fn.sum(nn.Input((3,))), ValueError, "without an axis of samples"),
        (lambda: nn.Sequential([nn.Dense(1)], 3), TypeError, "positional"),
    ],
)
def test_what_makes_no_graph_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_model_class_does_not_take_inputs_and_outputs():
    class Own(nn.Model):
        pass

    with pytest.raises(TypeError, match=r"Own got inputs and outputs"):
        Own(nn.Input((3,)), nn.Input((3,)))


def test_data_that_do_not_fit_the_inputs_are_refused(backend, data):
    x, y = data
    model = two_inputs_two_outputs(backend=backend)
    with pytest.raises(ValueError, match=r"a list or dict of 2 inputs \(a, b\), got one"):
        model.predict(x[0])
    with pytest.raises(ValueError, match="inputs by the names a, b, got a, c"):
        model.predict({"a": x[0], "c": x[1]})
    with pytest.raises(ValueError, match=r"expects b of shape \(n, 2\), got \(n\)"):
        model.predict([x[0], x[1][:, 0]])
    with pytest.raises(ValueError, match=r"got 11 rows of x\[1\] for 12 of x\[0\]"):
        model.predict([x[0], x[1][:11]])
    model.compile("sgd", loss=LOSSES)
    with pytest.raises(ValueError, match="targets by the names size, kind, got size"):
        model.evaluate(x, {"size": y["size"]})
    with pytest.raises(ValueError, match="loss for the output 'weight'; the outputs are size, kind"):
        model.compile("sgd", loss={"weight": "mean_squared_error"})


def test_a_deep_graph_needs_no_deep_stack(backend):
    x = nn.Input((2,))
    y = x
    for _ in range(1500):
        y = y + 0.001
    model = nn.Model(x, y, backend=backend, seed=0)
    assert len(tree.leaves(model.get_config()["calls"])) > 1500
    np.testing.assert_allclose(nn.to_numpy(model.predict(np.zeros((1, 2)))), 1.5, rtol=1e-3)


def masked_pair(backend, combine):
    a, b = nn.Input((None,), dtype="int64"), nn.Input(None, dtype="int64")
    first, second = (nn.Embedding(9, 3, mask_zero=True)(x) for x in (a, b))
    model = nn.Model([a, b], nn.LSTM(2)(combine(first, second)), backend=backend, seed=0, dtype="float64")
    x, y = np.asarray([[1, 2, 3, 0, 0]]), np.asarray([[4, 5, 6, 7, 0]])
    return nn.to_numpy(model.predict([x, y])), nn.to_numpy(model.predict([x[:, :3], y[:, :3]]))


@pytest.mark.parametrize(
    "combine",
    [
        lambda a, b: a + b,
        lambda a, b: nn.Add()([a, b]),
        lambda a, b: fn.concat([a, b], axis=-1),
        lambda a, b: nn.Concatenate()([a, b]),
    ],
)
def test_steps_count_where_all_that_is_put_together_counts(combine, backend):
    padded, cut = masked_pair(backend, combine)
    if combine.__code__.co_names[-1:] == ("Concatenate",):
        pytest.skip("as in Keras, what is padding in one alone is kept")
    np.testing.assert_allclose(padded, cut, rtol=1e-12)


def test_inputs_by_name_bring_their_masks(backend, rng):
    words = nn.Input((None,), dtype="int64")
    queries = nn.Input((2, 4))
    made = nn.Embedding(10, 4, mask_zero=True)(words)
    attention = nn.MultiHeadAttention(2, 3)
    models = [
        nn.Model([queries, words], output, backend=backend, seed=0, dtype="float64")
        for output in (
            attention(queries, made),
            attention(queries, value=made),
            attention(query=queries, value=made),
        )
    ]
    x = [rng.normal(size=(1, 2, 4)), np.asarray([[1, 2, 3, 0, 0, 0]])]
    first, *others = [nn.to_numpy(model.predict(x)) for model in models]
    for other in others:
        np.testing.assert_array_equal(first, other)
    np.testing.assert_allclose(first, nn.to_numpy(models[1].predict([x[0], x[1][:, :3]])), rtol=1e-12)
    with pytest.raises(TypeError, match="got its input 'query' twice"):
        attention(queries, made, query=queries)
    with pytest.raises(TypeError, match="is called on an array, got none"):
        attention()
    with pytest.raises(TypeError, match=r"one by one, layer\(query, value, key\), got a list"):
        attention([queries, made])


def test_another_number_of_features_than_declared_is_refused(backend):
    a, b = nn.Input((4,), name="a"), nn.Input((3,), name="b")
    model = nn.Model([a, b], nn.Concatenate()([a, b]), backend=backend, seed=0)
    with pytest.raises(ValueError, match=r"expects b of shape \(n, 3\), got \(n, 4\)"):
        model.predict([np.ones((2, 4)), np.ones((2, 4))])


def by_graph(shape, *layers, **options):
    x = made = nn.Input(shape, name="steps")
    for layer in layers:
        made = layer(made)
    return nn.Model(x, made, **options)


def in_a_row(shape, *layers, **options):
    return nn.Sequential([nn.Input(shape), *layers], **options)


def by_argument(shape, *layers, **options):
    return nn.Sequential(layers, input_shape=shape, **options)


@pytest.mark.parametrize("make", [by_graph, in_a_row, by_argument])
def test_every_declared_axis_is_held_and_none_is_any_length(make, backend, tmp_path):
    def layers():
        return nn.LSTM(3, return_sequences=True), nn.Dense(2)

    fixed = make((5, 4), *layers(), backend=backend, seed=0)
    words = r" of shape \(n, 5, 4\), got \(n, 7, 4\). Write None in nn.Input"
    for call in (lambda x: fixed.build(x.shape[1:]), fixed.predict, fixed):
        with pytest.raises(ValueError, match=words):
            call(np.ones((2, 7, 4), "float32"))
    with pytest.raises(
        ValueError, match=r"of shape \(n, 5, 4\), got \(n, 4\). One sample alone is x\[None\]"
    ):
        fixed.predict(np.ones((5, 4)))
    free = make((None, 4), *layers(), backend=backend, seed=0)
    assert fixed.predict(np.ones((2, 5, 4))).shape == (2, 5, 2)
    assert [free.predict(np.ones((2, steps, 4))).shape for steps in (7, 5, 1)] == [
        (2, 7, 2),
        (2, 5, 2),
        (2, 1, 2),
    ]
    with pytest.raises(ValueError, match=r"of shape \(n, None, 4\), got \(n, 7, 3\)"):
        free.predict(np.ones((2, 7, 3)))
    np.testing.assert_array_equal(free.predict(np.ones((2, 5, 4))), fixed.predict(np.ones((2, 5, 4))))
    printed = []
    free.summary(printed.append)
    assert "Where Input says None, shapes and multiply-adds are those for a length of 32." in printed
    free.save(tmp_path / "free")
    loaded = nn.load_model(tmp_path / "free", backend=backend)
    np.testing.assert_array_equal(loaded.predict(np.ones((2, 9, 4))), free.predict(np.ones((2, 9, 4))))
    with pytest.raises(ValueError, match=r"\(n, None, 4\)"):
        loaded.predict(np.ones((2, 7, 3)))


def test_a_symbol_of_any_length_says_so():
    assert nn.Input((None, 4)).shape == (None, None, 4)
    assert repr(nn.Input((None, 4), name="x")) == "<Symbol x(n, None, 4)>"


def test_an_unknown_argument_of_a_layer_is_named_with_the_nearest_known_one():
    with pytest.raises(TypeError, match=r"Dense has no argument 'use_bais'.* 'use_bias'"):
        nn.Dense(2, use_bais=False)
    with pytest.raises(TypeError, match="Dense has no argument 'data_format'. Channels are the last axis"):
        nn.Dense(2, data_format="channels_last")
    with pytest.raises(
        TypeError, match=r"LSTM has no argument 'input_shape'. The shape .* nn.Sequential\(\[nn.Input"
    ):
        nn.LSTM(2, input_shape=(5, 3))
