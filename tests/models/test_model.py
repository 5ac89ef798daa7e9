"""Models: structure, inputs of all kinds, own layers and models, weights in and out, summary."""

import gc
import types

import numpy as np
import pytest

import nnbackend as nn

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = np.arange(8) % 2


def small(backend, **options):
    model = nn.Sequential(
        [nn.Dense(4, activation="tanh"), nn.Dense(2)], backend=backend, **({"seed": 0} | options)
    )
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def forward(model, x):
    """A network of tanh and a linear layer by NumPy."""
    w1, b1, w2, b2 = model.get_weights()
    return np.tanh(x @ w1 + b1) @ w2 + b2


class Normalize(nn.Layer):
    """Running mean and variance, as batch normalization keeps them."""

    def build(self, input_shape):
        self.mean = self.add_weight("mean", (input_shape[-1],), "zeros", trainable=False)
        self.shift = self.add_weight("shift", (input_shape[-1],), "zeros")

    def forward(self, x, *, training=False):
        if training:
            mean = nn.functional.mean(x, axis=0)
            self.mean.assign(0.5 * self.mean + 0.5 * mean)
            return x - mean + self.shift
        return x - self.mean + self.shift


class Weights(nn.Layer):
    """Weights in a list, a dict, and under a private name."""

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.listed = [self.add_weight(f"listed_{n}", shape, "ones") for n in range(2)]
        self.named = {"a": self.add_weight("a", shape, "ones")}
        self._private = self.add_weight("private", shape, "ones")

    def forward(self, x):
        return x * self.listed[0] * self.listed[1] * self.named["a"] * self._private


def test_predict_is_the_networks_formula(backend, dtype):
    model = small(backend, dtype=dtype)
    output = model.predict(X)
    assert output.dtype == dtype
    np.testing.assert_allclose(output, forward(model, X), rtol=1e-12 if dtype == "float64" else 1e-5)


def test_predict_does_not_depend_on_the_batch_size(backend):
    model = small(backend, dtype="float64")
    whole = model.predict(X)
    np.testing.assert_allclose(model.predict(X, batch_size=3), whole, rtol=1e-12)
    np.testing.assert_allclose(model.predict_on_batch(X), whole, rtol=1e-12)


def test_predict_answers_in_the_library_of_its_input(backend):
    model = small(backend)
    assert type(model.predict(X)) is np.ndarray
    assert type(model.predict(X.tolist())) is np.ndarray
    own = model.predict(backend.from_host(X))
    assert backend.owns(own)
    np.testing.assert_array_equal(nn.to_numpy(own), model.predict(X))


def test_a_model_takes_arrays_of_other_libraries_and_answers_in_theirs(backend):
    model = small("numpy")
    model.fit(backend.from_host(X), backend.from_host(Y), verbose=0)
    output = model.predict(backend.from_host(X))
    assert backend.owns(output)
    np.testing.assert_array_equal(nn.to_numpy(output), model.predict(X))


def test_lists_integers_and_tables_are_inputs(backend):
    pandas = pytest.importorskip("pandas")
    model = small(backend)
    frame, labels = pandas.DataFrame(X, columns=list("abc")), pandas.Series(Y)
    expected = model.evaluate(X, Y)
    assert model.evaluate(X.tolist(), Y.tolist()) == expected
    assert model.evaluate(frame, labels) == expected
    assert model.evaluate(X, Y[:, None]) == expected
    np.testing.assert_array_equal(model.predict(frame), model.predict(X))
    whole = np.arange(24, dtype="uint8").reshape(8, 3)
    np.testing.assert_array_equal(model.predict(whole), model.predict(whole.astype("float32")))


def test_a_model_called_moves_its_input_to_its_backend(backend):
    model = small(backend)
    for x in (X, X.tolist(), backend.from_host(X)):
        output = model(x)
        assert backend.owns(output)
        np.testing.assert_allclose(nn.to_numpy(output), model.predict(X), rtol=1e-6, atol=1e-7)


def test_weights_are_copied_out_and_in(backend):
    model = small(backend)
    model.build((3,))
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(3, 4), (4,), (4, 2), (2,)]
    kept = [w.copy() for w in weights]
    weights[0][:] = 7.0
    np.testing.assert_array_equal(model.get_weights()[0], kept[0])
    model.train_on_batch(X, Y)
    model.set_weights(kept)
    kept[0][:] = 9.0
    assert not np.any(model.get_weights()[0] == 9.0)
    other = small(backend, seed=9)
    other.build((3,))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_initial_weights_are_the_same_bits_on_every_backend(backend):
    ours, hosts = small(backend), small("numpy")
    ours.build((3,))
    hosts.build((3,))
    for a, b in zip(ours.get_weights(), hosts.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(ours.get_weights()[0].ravel()[:8], ours.get_weights()[2].ravel())


def test_a_model_moves_with_its_training(backend):
    model, stays = small("numpy", dtype="float64"), small("numpy", dtype="float64")
    model.optimizer = nn.optimizers.Adam(0.1)
    stays.optimizer = nn.optimizers.Adam(0.1)
    model.train_on_batch(X, Y)
    stays.train_on_batch(X, Y)
    assert model.to(backend) is model
    assert model.backend is backend
    model.train_on_batch(X, Y)
    stays.train_on_batch(X, Y)
    np.testing.assert_allclose(model.predict(X), stays.predict(X), rtol=1e-12)


def test_models_inside_move_along(backend):
    inner = nn.Sequential([nn.Dense(2)])
    model = nn.Sequential([inner, nn.Dense(1)], backend="numpy", seed=0)
    before = model.predict(X)
    hidden = inner.predict(X)
    model.to(backend)
    assert inner.backend is backend
    np.testing.assert_allclose(inner.predict(X), hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-5, atol=1e-6)


def test_the_same_layer_twice_shares_its_weights_and_its_gradient_is_the_sum(backend):
    dense = nn.Dense(1, use_bias=False, kernel_initializer=nn.initializers.Constant(3.0))
    model = nn.Sequential([dense, dense], backend=backend, dtype="float64")
    model.compile(nn.optimizers.SGD(0.01), "mse")
    model.train_on_batch([[1.0]], [0.0])  # (w^2)^2 has the slope 4 w^3
    assert len(model.get_weights()) == 1
    assert model.count_params() == 1
    assert model.get_weights()[0][0, 0] == pytest.approx(3.0 - 0.01 * 4 * 27)


def test_two_models_share_a_layer_and_each_trains_it(backend):
    shared = nn.Dense(2)
    first = nn.Sequential([shared], backend=backend, seed=0)
    second = nn.Sequential([nn.Activation("tanh"), shared], backend=backend, seed=1)
    for model in (first, second):
        model.compile(nn.optimizers.SGD(0.5, momentum=0.9), "sparse_categorical_crossentropy")
        model.build((3,))
    for _ in range(2):
        for model in (first, second):
            before = shared.get_weights()[0]
            model.train_on_batch(X, Y)
            assert not np.array_equal(shared.get_weights()[0], before)
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])


def test_models_stand_inside_models_and_work_alone(backend, dtype):
    encoder = nn.Sequential([nn.Dense(4, activation="tanh")])
    model = nn.Sequential([encoder, nn.Dense(2)], backend=backend, seed=0, dtype=dtype)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(X, Y)
    assert list(model.handles()) == [
        "sequential/dense/kernel",
        "sequential/dense/bias",
        "dense/kernel",
        "dense/bias",
    ]
    assert encoder.backend is backend
    hidden = encoder.predict(X)
    assert hidden.dtype == dtype
    kernel, bias = model.get_weights()[2:]
    np.testing.assert_allclose(hidden @ kernel + bias, model.predict(X), rtol=1e-4, atol=1e-6)
    x = backend.from_host(X)  # a layer called alone computes in the dtype that it was built in
    assert str(nn.to_numpy(model.layers[1](model.layers[0](x))).dtype) == dtype


def test_layers_in_lists_dicts_and_private_attributes_are_trained(backend):
    class Net(nn.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.hidden = [nn.Dense(3), nn.Dense(3)]
            self.ends = {"out": nn.Dense(1)}
            self._skip = nn.Dense(3)

        def forward(self, x):
            y = self.hidden[1](self.hidden[0](x)) + self._skip(x)
            return self.ends["out"](y)

    model = Net(backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.1), "mse")
    model.build((3,))
    before = model.get_weights()
    model.train_on_batch(X, np.ones(8))
    assert len(before) == 8
    assert not any(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_weights_in_lists_dicts_and_private_attributes_are_trained(backend):
    model = nn.Sequential([Weights()], backend=backend)
    model.compile(nn.optimizers.SGD(0.1), "mse")
    model.train_on_batch(X, np.zeros((8, 3)))
    assert len(model.get_weights()) == 4
    assert all(np.all(w != 1.0) for w in model.get_weights())


def test_two_weights_of_one_name_are_refused(backend):
    class Twice(nn.Layer):
        def build(self, input_shape):
            self.a = self.add_weight("w", (1,))
            self.b = self.add_weight("w", (1,))

        def forward(self, x):
            return x * self.a * self.b

    with pytest.raises(ValueError, match="Two weights have the path 'twice/w'"):
        nn.Sequential([Twice()], backend=backend).predict(X)


def test_running_statistics_follow_training_and_serve_in_prediction(backend):
    layer = Normalize()
    model = nn.Sequential([layer], backend=backend, dtype="float64")
    model.compile(nn.optimizers.SGD(0.0), "mse")
    model.build((3,))
    np.testing.assert_array_equal(layer.mean.numpy(), np.zeros(3))  # trying shapes counts for nothing
    model.fit(X, X, batch_size=4, epochs=1, shuffle=False, verbose=0)
    mean = 0.5 * (0.5 * X[:4].mean(axis=0)) + 0.5 * X[4:].mean(axis=0)
    np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(model.predict(X), X - mean, rtol=1e-12)
    model.evaluate(X, X)
    np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-12)
    outside = X.mean(axis=0)
    layer(backend.from_host(X), training=True)  # outside of a step for good
    np.testing.assert_allclose(layer.mean.numpy(), 0.5 * mean + 0.5 * outside, rtol=1e-12)


def test_a_step_that_assigns_to_a_trained_weight_is_refused(backend):
    class Clip(nn.Layer):
        def build(self, input_shape):
            self.w = self.add_weight("w", (1,), "ones")

        def forward(self, x, *, training=False):
            if training:
                self.w.assign(0.5 * self.w)
            return x * self.w

    model = nn.Sequential([Clip()], backend=backend)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"clip/w was assigned to in a training step.*trainable=False"):
        model.train_on_batch(X, X)


def test_own_functions_serve_as_loss_metric_and_activation(backend):
    def cube(x):
        return x * x * x

    def error(y_true, y_pred):
        return nn.functional.mean(nn.functional.square(y_pred - y_true), axis=-1)

    model = nn.Sequential([nn.Activation(cube)], backend=backend, dtype="float64")
    model.compile("sgd", error, [error, nn.metrics.MeanAbsoluteError(name="absolute")])
    numbers = model.evaluate([[1.0], [2.0]], [0, 0])
    assert numbers == {
        "loss": pytest.approx(32.5),
        "error": pytest.approx(32.5),
        "absolute": pytest.approx(4.5),
    }


def test_dropout_drops_in_training_only_and_differs_from_step_to_step(backend):
    model = nn.Sequential([nn.Dropout(0.5), nn.Dense(1, kernel_initializer="ones")], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.0), "mse")
    x, y = np.ones((1, 64)), [0.0]
    assert model.evaluate(x, y)["loss"] == 64.0**2
    losses = [model.train_on_batch(x, y)["loss"] for _ in range(3)]
    assert len(set(losses)) == 3


def test_a_build_that_failed_leaves_a_model_as_new(backend):
    class Picky(nn.Layer):
        def forward(self, x):
            if len(x.shape) != 2:
                raise ValueError("Picky wants rows.")
            return x

    model = nn.Sequential([nn.Dense(2), Picky()], backend=backend, seed=0)
    with pytest.raises(ValueError, match="Picky wants rows"):
        model.predict(np.ones((2, 5, 4)))
    assert not model.built
    assert not model.layers[0].built
    assert model.predict(X).shape == (8, 2)


def test_the_seed_is_a_whole_number(backend):
    with pytest.raises(TypeError, match="A seed is a whole number"):
        nn.Sequential(backend=backend, seed=1.5)
    with pytest.raises(ValueError, match="A seed lies between 0"):
        nn.Sequential(backend=backend, seed=-1)
    assert nn.Sequential(backend=backend).seed != nn.Sequential(backend=backend).seed


def lines(model):
    printed = []
    model.summary(printed.append)
    return "\n".join(printed)


def test_summary_of_a_model_that_is_new_says_what_is_missing(backend):
    text = lines(nn.Sequential([nn.Dense(2)], backend=backend))
    assert f"Sequential on {backend.name}, float32" in text
    assert "Not built" in text
    assert "Not compiled" in text


@pytest.mark.parametrize(
    ("end", "loss", "words"),
    [
        (None, "sparse_categorical_crossentropy", "on logits (no softmax or sigmoid at the end)"),
        ("softmax", "categorical_crossentropy", "on the logits that the last softmax is given"),
        ("sigmoid", "binary_crossentropy", "on the logits that the last sigmoid is given"),
        (
            "softmax",
            nn.losses.CategoricalCrossentropy(from_logits=False),
            "on probabilities (from_logits=False)",
        ),
        (None, nn.losses.CategoricalCrossentropy(from_logits=True), "on logits (from_logits=True)"),
        (None, "mse", "Loss: mean_squared_error"),
    ],
)
def test_summary_says_layers_parameters_and_what_the_loss_works_on(backend, end, loss, words):
    model = nn.Sequential([nn.Dense(4), nn.Dense(3, activation=end)], backend=backend, dtype="float64")
    model.compile("adam", loss, ["accuracy"])
    model.build((5,))
    model.layers[0].trainable = False
    text = lines(model)
    assert words in text
    assert "(n, 3)" in text
    assert "Parameters: 39 (15 trained, 24 not)" in text
    assert "Optimizer: Adam(learning_rate=0.001)" in text
    assert "Metrics: accuracy" in text


def test_summary_shows_layers_inside(backend):
    text = lines(nn.Sequential([nn.Sequential([nn.Dense(2, name="inner")])], backend=backend))
    assert "  inner" in text


def test_summary_shows_what_layers_inside_hold_and_counts_it_once(backend):
    shared = nn.Dense(2)
    inner = nn.Sequential([shared, nn.Dense(3)])
    model = nn.Sequential([nn.Bidirectional(nn.LSTM(2)), inner], backend=backend, input_shape=(5, 4))
    rows = {row.split()[0]: row.split() for row in lines(model).splitlines() if "(n" in row}
    assert rows["bidirectional"][-2:] == ["112", str(2 * 5 * (4 * 4 * 2 + 4 * 2 * 2))]
    assert rows["sequential"][-2:] == [str(10 + 9), str(4 * 2 + 2 * 3)]
    assert f"Parameters: {112 + 19} (" in lines(model)
    assert model.count_params() == 112 + 19
    assert "The rows of layers that hold others include these" in lines(model)
    assert "hold others" not in lines(small(backend))


def test_get_layer_finds_by_name_path_and_index(backend):
    inner = nn.Sequential([nn.Dense(2), nn.Dense(3)], name="encoder")
    model = nn.Sequential([inner, nn.Dense(1, name="head")], backend=backend)
    assert model.get_layer("head") is model.get_layer(index=1) is model.get_layer(index=-1) is model.layers[1]
    assert model.get_layer("encoder/dense_1") is inner.layers[1]

    class Own(nn.Model):
        def __init__(self):
            super().__init__()
            self.layers = {"a": nn.Dense(1), "b": nn.Dense(1)}

    own = Own()
    assert own.get_layer(index=1) is own.get_layer("dense_1") is own.layers["b"]
    with pytest.raises(ValueError, match=r"has no layer 'haed'; it has encoder, head. Did you mean 'head'\?"):
        model.get_layer("haed")
    with pytest.raises(ValueError, match="'encoder' has no layer 'x'"):
        model.get_layer("encoder/x")
    with pytest.raises(IndexError, match="has the layers 0 to 1, got the index 2"):
        model.get_layer(index=2)
    with pytest.raises(TypeError, match="a name or an index"):
        model.get_layer()


CHANGES = {
    "append": lambda model: model.layers.append(nn.Dense(1)),
    "insert": lambda model: model.layers.insert(0, nn.Dense(1)),
    "pop": lambda model: model.layers.pop(),
    "set": lambda model: model.layers.__setitem__(0, nn.Dense(1)),
    "delete": lambda model: model.layers.__delitem__(0),
    "assign": lambda model: setattr(model, "layers", [nn.Dense(1)]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["sequential", "graph"])
def test_the_layers_of_a_model_cannot_be_changed_in_silence(change, kind):
    x = nn.Input((3,))
    model = nn.Sequential([nn.Dense(2)]) if kind == "sequential" else nn.Model(x, nn.Dense(2)(x))
    with pytest.raises(
        (AttributeError, TypeError),
        match=r"^model.layers cannot be changed. Make another model: nn.Seq.*model.add",
    ):
        CHANGES[change](model)
    with pytest.raises(TypeError, match=r"^model.layers cannot be changed"):
        model.layers += [nn.Dense(1)]
    assert len(model.layers) == 1
    assert not hasattr(model.layers, "append")


def test_another_model_of_the_layers_shares_their_weights(backend):
    model = nn.Sequential([nn.Dense(2)], backend=backend, input_shape=(3,))
    model.build((3,))
    longer = nn.Sequential([*model.layers, nn.Dense(1)], backend=backend)
    longer.build((3,))
    assert longer.layers[0].kernel is model.layers[0].kernel
    assert model.layers == (longer.layers[0],)


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_measuring_and_predicting_show_what_verbose_says(call, backend, capsys):
    model = small(backend)
    given = (X, Y) if call == "evaluate" else (X,)
    quiet = getattr(model, call)(*given, batch_size=3)
    assert capsys.readouterr() == ("", "")
    for verbose in (1, 2, "auto"):
        shown = getattr(model, call)(*given, batch_size=3, verbose=verbose)
        np.testing.assert_equal(shown, quiet)
        out, err = capsys.readouterr()
        assert out.startswith(f"{call}  ")
        assert ("loss " in out) is (call == "evaluate")
        assert ("/3 [" in err) is (verbose == 1)
    loader = nn.data.DataLoader(*given, batch_size=4)
    getattr(model, call)(loader, verbose=1)
    assert "/2 [" in capsys.readouterr().err
    with pytest.raises(ValueError, match=f"{call} expects verbose to be 'auto', 0, 1 or 2, got 3"):
        getattr(model, call)(*given, verbose=3)


def test_one_metric_needs_no_list(backend):
    model = small(backend)
    model.compile("sgd", "mse", "mae")
    assert set(model.evaluate(X, np.zeros((8, 2)))) == {"loss", "mae"}
    x = nn.Input((3,))
    two = nn.Model(x, {"a": nn.Dense(1)(x), "b": nn.Dense(1)(x)}, backend=backend)
    two.compile("sgd", "mse", "mae")
    zeros = np.zeros((8, 1))
    assert {"a_mae", "b_mae"} < set(two.evaluate(X, {"a": zeros, "b": zeros}))


@pytest.mark.parametrize(
    ("loss", "metrics", "words"),
    [
        ("mean_square_error", (), "Unknown loss .* Did you mean 'mean_squared_error'"),
        ("mse", "acuracy", "Unknown metric .* Did you mean 'accuracy'"),
    ],
)
def test_misspelt_losses_and_metrics_get_the_nearest_name(loss, metrics, words):
    with pytest.raises(ValueError, match=words):
        nn.Sequential([nn.Dense(1)]).compile("sgd", loss, metrics)


def test_logits_that_are_probabilities_are_warned_of_at_the_first_fit(backend):
    loss = nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    right, wrong = (nn.Sequential([nn.Dense(2, end)], backend=backend) for end in (None, "softmax"))
    right.compile("sgd", loss)
    right.fit(X, Y, verbose=0)
    wrong.compile("sgd", loss)
    with pytest.warns(UserWarning, match="has from_logits=True, but gets the output of softmax"):
        wrong.fit(X, Y, epochs=2, verbose=0)


def test_a_list_of_inputs_goes_to_a_first_layer_that_takes_it_and_is_no_batch_elsewhere(backend):
    model = nn.Sequential([nn.Concatenate(), nn.Dense(1)], backend=backend)
    assert model.predict([X, X]).shape == (8, 1)
    model = nn.Sequential([nn.Dense(1)], backend=backend)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"A list stands for several inputs, .*yield a tuple, \(x, y\)"):
        model.fit(iter([[X, X]]))
    for layer in (nn.Dense(1), nn.Flatten(), nn.LSTM(2)):
        with pytest.raises(TypeError, match=r"got 2 inputs, of which .* takes one.*yield tuples: \(x, y\)"):
            nn.Sequential([layer], backend=backend).predict(iter([[X, X]]))


def test_the_summary_knows_all_before_there_are_data_and_wrong_shapes_are_refused_at_build(backend):
    """What summary knows without data, for layers of all kinds, and what is refused before there are any."""
    model = nn.Sequential(
        [
            nn.Conv2D(4, 3, padding="same"),
            nn.BatchNormalization(),
            nn.MaxPooling2D(2),
            nn.Reshape((9, 4)),
            nn.GRU(5, return_sequences=True),
            nn.TransformerEncoder(8, 1),
            nn.GlobalAveragePooling1D(),
            nn.Dense(2),
        ],
        backend=backend,
        input_shape=(6, 6, 1),
    )
    rows = [row for row in lines(model).splitlines() if "  (n" in row]
    assert len(rows) >= len(model.layers)
    assert not any("?" in row for row in rows)
    row = next(row.split() for row in rows if row.startswith("conv2d "))
    assert row == ["conv2d", "Conv2D", "(n,", "6,", "6,", "4)", "40", "1,296"]
    wrong = nn.Sequential([nn.Dense(4), nn.Conv2D(4, 3, name="second")], backend=backend, input_shape=(6,))
    with pytest.raises(
        ValueError, match=r"Conv2D 'second' expects inputs of shape \(n, h, w, c\), got \(n, 4\)"
    ):
        wrong.summary()


def test_a_model_looked_at_before_it_was_built_trains(backend, tmp_path):
    model = small(backend)
    model.save(tmp_path / "new")
    lines(model)
    model.build((3,))
    before = model.get_weights()[0]
    model.train_on_batch(X, Y)
    assert not np.array_equal(model.get_weights()[0], before)


def test_the_flags_precedence_holds_for_models(backend):
    with nn.use_backend(backend):
        assert nn.Sequential().backend is backend
        assert nn.Sequential(backend="numpy").backend.name == "numpy"


def weights_change(model, call):
    """Tell for each weight whether a call changes it."""
    before = model.get_weights()
    call()
    return [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]


class TwoParts(nn.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.hidden, self.out = nn.Dense(4), nn.Dense(2)

    def forward(self, x):
        return self.out(self.hidden(x))


@pytest.mark.parametrize("again", [True, False], ids=["compiled again", "not compiled again"])
@pytest.mark.parametrize("name", ["out", None])
def test_a_head_that_is_replaced_is_trained_and_keeps_no_slots_of_the_old_one(backend, name, again):
    model = TwoParts(backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    model.out = nn.Dense(3, name=name)
    if again:
        model.compile(nn.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    model.fit(X, Y + 1, verbose=0)
    for _ in range(2):
        assert weights_change(model, lambda: model.fit(X, Y + 1, verbose=0)) == [True] * 4
    assert model.predict(X).shape == (8, 3)
    assert list(model.handles())[-2:] == [f"{name or 'dense_1'}/kernel", f"{name or 'dense_1'}/bias"]


def test_a_layer_that_was_built_elsewhere_and_put_in_place_is_trained(backend):
    model = TwoParts(backend=backend, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    model.out = nn.Dense(2)
    model(X)
    assert weights_change(model, lambda: model.train_on_batch(X, Y)) == [True] * 4


def test_a_layers_argument_that_is_changed_takes_effect_at_the_next_step(backend):
    dropout = nn.Dropout(0.5)
    model = nn.Sequential([dropout, nn.Dense(1, kernel_initializer="ones")], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.0), "mse")
    x, y = np.ones((1, 64)), [0.0]
    assert model.train_on_batch(x, y)["loss"] != 64.0**2
    dropout.rate = 0.0
    assert model.train_on_batch(x, y)["loss"] == 64.0**2
    dropout.rate = 0.5
    assert model.train_on_batch(x, y)["loss"] != 64.0**2


def test_what_reads_a_weight_outside_of_a_step_gets_a_copy(backend):
    model = small(backend)
    model.build((3,))
    kernel = model.layers[0].kernel
    expected = model.get_weights()[0]
    for handed in (
        kernel[0, ...],
        kernel.T,
        kernel.__nnbackend_value__(),
        nn.functional.reshape(kernel, (12,)),
    ):
        if backend.name == "jax":
            pytest.skip("arrays of JAX cannot be written to")
        handed[...] = 7.0
        np.testing.assert_array_equal(model.get_weights()[0], expected)
    assert kernel.dtype == handed.dtype


class Keeper(nn.Layer):
    """Hands out its weight; keeps what it is given."""

    def __init__(self, given=None):
        super().__init__()
        self.given = given

    def build(self, input_shape):
        self.w = self.add_weight("w", (1, 3), "ones")
        self.seen = self.add_weight("seen", (1, 3), "zeros", trainable=False)

    def forward(self, x, *, training=False):
        if training:
            self.seen.assign(self.w if self.given is None else self.given)
        return self.w[0:1, :]


def test_what_predict_hands_out_is_a_copy_even_of_a_weight(backend):
    model = nn.Sequential([Keeper()], backend=backend)
    output = model.predict(backend.from_host(X[:1], "float32"))
    if backend.name == "jax":
        pytest.skip("arrays of JAX cannot be written to")
    output[...] = 7.0
    np.testing.assert_array_equal(model.get_weights()[0], np.ones((1, 3)))


def test_a_statistic_is_a_copy_of_what_it_is_assigned_in_a_step(backend):
    given = backend.from_host(np.full((1, 3), 2.0), "float32")
    for value, expected in ((given, 2.0), (None, 1.0)):
        model = nn.Sequential([Keeper(value)], backend=backend)
        model.compile(nn.optimizers.SGD(0.5), "mse")
        model.train_on_batch(X[:1], np.zeros((1, 3)))
        if backend.name != "jax":
            given[...] = 9.0
        np.testing.assert_array_equal(model.layers[0].seen.numpy(), np.full((1, 3), expected))
        assert not np.any(model.layers[0].w.numpy() == 1.0)  # its memory was taken over by the step


@pytest.mark.parametrize("plain", ["output", "loss"])
def test_what_a_model_or_a_loss_computes_without_tensors_is_measured(backend, plain):
    class Detached(nn.Model):
        def forward(self, x):
            return x.value * 2.0 if plain == "output" else x * 2.0

    def error(y_true, y_pred):
        value = nn.functional.square(y_pred - y_true)[:, 0]
        return nn.backend.plain(value)

    model = Detached(backend=backend, dtype="float64")
    model.compile("sgd", error, ["mae"])
    assert model.evaluate([[1.0], [2.0]], [0, 0]) == {"loss": pytest.approx(10.0), "mae": pytest.approx(3.0)}


@pytest.fixture
def elsewhere(backend):
    """A backend on another device than its library's default one."""
    if backend.name not in ("numpy", "strict"):
        pytest.skip("array-api-strict has several devices everywhere: two sessions are enough")
    pytest.importorskip("array_api_strict")
    return nn.get_backend("strict", device="device2")


def test_a_model_on_another_device_builds_trains_predicts_and_is_saved(elsewhere, tmp_path):
    def make(backend):
        layers = [nn.Dense(4, "relu", kernel_regularizer="l1_l2"), nn.Dropout(0.25), nn.Dense(2, "softmax")]
        model = nn.Sequential(layers, backend=backend, seed=0, dtype="float64")
        model.compile(nn.optimizers.Adam(0.1, decay=0.1), "sparse_categorical_crossentropy", ["accuracy"])
        return model

    model, expected = make(elsewhere), make("numpy")
    for each in (model, expected):
        each.build((3,))
        each.set_weights(each.get_weights())
        each.fit(X, Y, epochs=2, batch_size=3, validation_split=0.25, class_weight={0: 2.0}, verbose=0)
    model.save(tmp_path / "model")
    for each in (model, nn.load_model(tmp_path / "model", backend=elsewhere)):
        np.testing.assert_allclose(each.predict(X), expected.predict(X), rtol=1e-9)
        assert each.evaluate(X, Y) == pytest.approx(expected.evaluate(X, Y), rel=1e-9)
        assert str(each.layers[0].kernel.device) == str(elsewhere.device(elsewhere.from_host(0.0)))
    resumed = nn.load_model(tmp_path / "model", backend=elsewhere)
    for each in (model, expected, resumed):
        each.train_on_batch(X, Y)
    for each in (model, resumed):
        np.testing.assert_allclose(each.get_weights()[0], expected.get_weights()[0], rtol=1e-9)


def test_arrays_of_one_library_move_between_devices(elsewhere):
    default = nn.get_backend("strict")
    model = small(elsewhere)
    here, there = default.from_host(X), elsewhere.from_host(X)
    expected = model.predict(X)
    for x in (here, there):
        output = model.predict(x)
        assert output.device == x.device
        np.testing.assert_array_equal(nn.to_numpy(output), expected)
        assert model(x).device == there.device
    model.fit(here, default.from_host(Y), verbose=0)
    moved = small(default)
    moved.train_on_batch(X, Y)
    weights = moved.get_weights()
    moved.to(elsewhere)
    moved.set_weights(weights)
    assert moved.layers[0].kernel.device == there.device
    moved.train_on_batch(X, Y)


def test_a_layer_alone_follows_its_array_to_the_device_in_force(elsewhere):
    x = elsewhere.from_host(X, "float32")
    with nn.use_backend(elsewhere):
        assert nn.Dense(2)(x).device == x.device


def cyclic_functions(call):
    """Return the functions of layers and models that a call leaves in reference cycles."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        call()
        gc.collect()
        return [
            f"{thing.__module__}.{thing.__qualname__}"
            for thing in gc.garbage
            if isinstance(thing, types.FunctionType)
            and thing.__module__.startswith(("nnbackend.layers", "nnbackend.models", "nnbackend.optimizers"))
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_training_step_leaves_no_cycles_that_would_hold_its_arrays(backend):
    model = small(backend)
    model.train_on_batch(X, Y)
    assert cyclic_functions(lambda: model.train_on_batch(X, Y)) == []
    assert (
        cyclic_functions(lambda: (list(model.family()), model.parameters, model.layers[0].sublayers())) == []
    )


def test_layers_that_come_and_go_between_calls_count(backend):
    class Stack(nn.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.layers = [nn.Dense(3)]
            self.by_name = {"last": nn.Dense(2)}

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.by_name["last"](x)

    x = backend.from_host(np.ones((4, 3)), "float32")
    model = Stack(backend=backend, seed=0)
    assert [model.predict(x).shape for _ in range(3)] == [(4, 2)] * 3
    model.layers.append(nn.Dense(3))
    model.predict(x)
    assert len(model.get_weights()) == 6
    model.by_name["last"] = nn.Dense(5)
    assert model.predict(x).shape == (4, 5)
    del model.layers[0]
    model.predict(x)
    assert len(model.get_weights()) == 4


def test_outputs_stay_when_the_model_goes_on(backend):
    model = nn.Sequential([nn.Dense(3, activation="relu"), nn.Dense(2)], backend=backend, seed=0)
    x = backend.from_host(np.random.default_rng(0).normal(size=(4, 5)), "float32")
    outputs = [model.predict(x) for _ in range(4)]
    kept = [nn.to_numpy(output) for output in outputs]
    model.predict(2.0 * x)
    for output, before in zip(outputs, kept, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(output), before)
        np.testing.assert_array_equal(before, kept[0])
