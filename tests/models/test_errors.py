"""Bad input gets an error that says where, what was expected, what came, and the cure."""

import re

import numpy as np
import pytest

import nnbackend as nn

X = np.ones((6, 3))
Y = np.array([0, 1, 2, 0, 1, 2])


def built(backend, units=3, loss="sparse_categorical_crossentropy", **options):
    model = nn.Sequential([nn.Dense(4, name="hidden"), nn.Dense(units, **options)], backend=backend)
    model.compile("sgd", loss)
    model.build((3,))
    return model


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "predict"])
def test_a_wrong_width_names_the_layer(backend, call):
    model = built(backend)
    wrong = [np.ones((6, 5)), Y] if call != "predict" else [np.ones((6, 5))]
    with pytest.raises(
        ValueError, match=r"Dense 'hidden' expects inputs whose last axis is 3, got shape \(.*, 5\)"
    ):
        getattr(model, call)(*wrong)


def test_a_wrong_width_between_layers_names_the_layer(backend):
    shared = nn.Dense(2, name="shared")
    model = nn.Sequential([shared, nn.Dense(3), shared], backend=backend)
    with pytest.raises(
        ValueError, match=r"Dense 'shared' expects inputs whose last axis is 4.*Check the layer"
    ):
        model.build((4,))


def test_one_number_per_sample_is_told_of_the_missing_axis(backend):
    with pytest.raises(
        ValueError, match=r"Dense 'dense' expects inputs of shape \(samples, n\).*x\[:, None\]"
    ):
        nn.Sequential([nn.Dense(1)], backend=backend).predict([1.0, 2.0])


@pytest.mark.parametrize(("low", "high"), [(0, 3), (-1, 2)])
def test_labels_out_of_range_are_refused(backend, low, high):
    y = np.array([low, 1, 2, 0, 1, high])
    for call in ("fit", "evaluate", "train_on_batch"):
        with pytest.raises(ValueError, match=f"expects labels from 0 to 2.*got labels from {low} to {high}"):
            getattr(built(backend), call)(X, y)


def test_labels_that_are_fractions_are_refused(backend):
    with pytest.raises(ValueError, match="expects whole-number labels, got fractions"):
        built(backend).fit(X, Y + 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_when_asked(backend, bad):
    x = X.copy()
    x[4, 1] = bad
    model = built(backend)
    for call in (
        lambda: model.fit(x, Y, check_finite=True),
        lambda: model.evaluate(x, Y, check_finite=True),
        lambda: model.predict(x, check_finite=True),
        lambda: model.fit(X, Y, validation_data=(x, Y), check_finite=True),
    ):
        with pytest.raises(ValueError, match="x holds NaN or infinite values, first in row 4"):
            call()
    with pytest.raises(ValueError, match="y holds NaN or infinite values, first in row 2"):
        built(backend, 1, "mse").fit(X, [0, 1, bad, 1, 1, 1], check_finite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y[:5]}, "expects y with one row for each row of x, got 5 rows of y for 6 of x"),
        ({"sample_weight": np.ones(4)}, "expects sample_weight with one row for each row of x, got 4 rows"),
        ({"sample_weight": np.ones((6, 2))}, r"expects sample_weight of shape \(6,\)"),
        ({"sample_weight": -np.ones(6)}, "expects weights that are zero or more"),
        ({"class_weight": {0: -1.0}}, "expects weights that are zero or more"),
        ({"x": np.ones((0, 3)), "y": np.ones(0)}, "fit expects at least one sample"),
        ({"x": 1.0}, "fit expects x with one row for each sample"),
        ({"validation_data": (X, Y[:2])}, "validation_data expects y with one row for each row of x"),
        ({"validation_split": 0.99}, "leaves one part empty"),
        ({"validation_split": 1.5}, "expects validation_split between 0 and 1"),
        ({"batch_size": 0}, "fit expects batch_size to be at least 1"),
        ({"epochs": 0}, "fit expects epochs to be at least 1"),
        ({"verbose": 3}, "expects verbose to be"),
    ],
)
def test_fit_refuses_what_does_not_belong_together(backend, arguments, message):
    with pytest.raises(ValueError, match=message):
        built(backend).fit(**({"x": X, "y": Y, "verbose": 0} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": [["a", "b", "c"]] * 6}, "fit: x must hold numbers, got dtype .*Encode text"),
        ({"y": ["a"] * 6}, "fit: y must hold numbers"),
        ({"x": [[1.0], [1.0, 2.0]]}, r"[^.]\. Its rows must have equal lengths"),
        ({"x": X * 1j}, "fit: x must hold numbers, got dtype complex"),
        ({"y": None}, r"fit expects targets: fit\(x, y\)"),
        ({"batch_size": 2.5}, "fit expects batch_size to be a whole number, got 2.5"),
        ({"validation_data": X}, r"fit expects validation_data=\(x, y\)"),
        ({"callbacks": [print]}, "callbacks expects objects of nn.callbacks.Callback"),
    ],
)
def test_fit_refuses_the_wrong_kinds(backend, arguments, message):
    with pytest.raises(TypeError, match=message):
        built(backend).fit(**({"x": X, "y": Y, "verbose": 0} | arguments))


@pytest.mark.parametrize(
    ("loss", "units", "y", "message"),
    [
        (
            "mse",
            2,
            Y,
            r"expects targets shaped like the outputs, \(n, 2\), got \(6,\)\. Give the last layer 1 unit, or",
        ),
        ("mae", 1, np.ones((6, 2)), "Give the last layer 2 units"),
        ("categorical_crossentropy", 3, Y, "For whole-number labels use|Give the last layer"),
        ("categorical_crossentropy", 3, np.eye(4)[Y], "Give the last layer 4 units|whole-number labels"),
        ("categorical_crossentropy", 1, Y[:, None], "two or more classes.*'binary_crossentropy'"),
        ("sparse_categorical_crossentropy", 3, np.eye(3)[Y], "For one-hot targets use the loss 'categorical"),
        (
            "sparse_categorical_crossentropy",
            3,
            Y[:, None, None],
            r"of shape \(n,\), got \(6, 1, 1\).*put Flatten before",
        ),
        ("binary_crossentropy", 1, Y, "expects targets from 0 to 1, got values from 0 to 2"),
        ("binary_crossentropy", 1, Y % 2 * 2 - 1, r"For labels -1 and 1 use \(y \+ 1\) / 2"),
        ("binary_crossentropy", 2, Y % 2, "expects targets shaped like the outputs"),
    ],
)
def test_a_loss_that_does_not_fit_the_outputs_says_so(backend, loss, units, y, message):
    with pytest.raises(ValueError, match=message):
        built(backend, units, loss).fit(X, y, verbose=0)


@pytest.mark.parametrize(
    ("metric", "units", "loss", "y", "message"),
    [
        ("categorical_accuracy", 3, "sparse_categorical_crossentropy", Y, "'sparse_categorical_accuracy'"),
        ("binary_accuracy", 3, "sparse_categorical_crossentropy", Y, "For several classes use 'accuracy'"),
        ("sparse_categorical_accuracy", 1, "mse", Y, "two or more classes.*'binary_accuracy'"),
        (
            "sparse_categorical_accuracy",
            3,
            "categorical_crossentropy",
            np.eye(3)[Y],
            "'categorical_accuracy'",
        ),
        ("mae", 3, "sparse_categorical_crossentropy", Y, "The metric mae expects targets shaped like"),
        (
            "accuracy",
            3,
            lambda y, p: nn.functional.sum(p, axis=-1),
            np.ones((6, 2)),
            "expects whole-number labels",
        ),
    ],
)
def test_a_metric_that_does_not_fit_the_outputs_says_so(backend, metric, units, loss, y, message):
    model = built(backend, units)
    model.compile("sgd", loss, [metric])
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=message):
            call(X, y)


class TrainingOnly(nn.Model):
    """A branch that runs in training alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.main, self.extra = nn.Dense(2), nn.Dense(2)

    def forward(self, x, *, training=False):
        y = self.main(x)
        return y + self.extra(x) if training else y


def test_weights_that_would_be_made_inside_a_step_are_refused(backend):
    model = TrainingOnly(backend=backend)
    model.compile("sgd", "mse")
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"'dense_1' would make its weight 'kernel' inside a step.*Build it"
        ):
            model.fit(X, np.ones((6, 2)), verbose=0)

    class Cured(TrainingOnly):
        def build(self, input_shape):
            self.extra.build(input_shape)
            super().build(input_shape)

    model = Cured(backend=backend)
    model.compile("sgd", "mse")
    model.build((3,))
    before = model.extra.get_weights()[0]
    model.fit(X, np.ones((6, 2)), verbose=0)
    assert not np.array_equal(model.extra.get_weights()[0], before)


def test_a_model_that_was_not_compiled_says_how(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend)
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(RuntimeError, match=r"needs a loss and an optimizer: call model\.compile"):
            call(X, Y)


def test_a_model_that_was_not_built_says_how(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend)
    for call in (model.get_weights, model.count_params, lambda: model.set_weights([])):
        with pytest.raises(RuntimeError, match=r"has no weights yet.*build\(input_shape\)"):
            call()


def test_weights_that_do_not_fit_change_nothing(backend):
    model = built(backend)
    before = model.get_weights()
    with pytest.raises(ValueError, match="has 4 weights, got 1 arrays"):
        model.set_weights(before[:1])
    with pytest.raises(ValueError, match=r"dense/bias has shape \(3,\), got an array of shape \(2,\)"):
        model.set_weights([before[0] + 1, *before[1:3], np.ones(2)])
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Dense(1, activation="rely"), "Unknown activation 'rely'.*Did you mean 'relu'"),
        (
            lambda: nn.Dense(1, kernel_initializer="he_norml"),
            "Unknown initializer .*Did you mean 'he_normal'",
        ),
        (lambda: nn.Dense(1, kernel_regularizer="l1l2"), "Unknown regularizer 'l1l2'.*Did you mean 'l1_l2'"),
        (lambda: compiled(optimizer="adm"), "Unknown optimizer 'adm'.*Did you mean 'adam'"),
        (lambda: compiled(loss="mean_square_error"), "Unknown loss .*Did you mean 'mean_squared_error'"),
        (lambda: compiled(metrics=["acuracy"]), "Unknown metric 'acuracy'.*Did you mean 'accuracy'"),
        (lambda: nn.Sequential(backend="nunpy"), "Unknown backend 'nunpy'.*Did you mean 'numpy'"),
        (lambda: compiled(metrics=["accuracy", "accuracy"]), "Two numbers would be reported as 'accuracy'"),
        (lambda: compiled(metrics=[nn.metrics.Accuracy(name="loss")]), "reported as 'loss'"),
        (lambda: nn.Dense(1, dtype="float16"), "'mixed_float16' computes in float16 and keeps weights in"),
        (lambda: nn.Sequential(dtype="double"), "'mixed_float16' or 'mixed_bfloat16', got 'double'"),
        (lambda: nn.Dense(0), "Dense expects units to be at least 1, got 0"),
        (lambda: nn.Dropout(1.0), "expects a rate from 0 to below 1"),
        (lambda: nn.Dense(1, name="a/b"), "has no '/'"),
        (lambda: nn.Sequential([]).build((3,)), "needs at least one layer"),
        (lambda: nn.Sequential([nn.Dense(1, name="a"), nn.Dense(1, name="a")]).build((3,)), "the name 'a'"),
        (
            lambda: nn.optimizers.SGD(-1.0),
            "SGD expects learning_rate to be zero or more, and finite, got -1.0",
        ),
        (lambda: nn.optimizers.SGD(0.1, nesterov=True), "expects momentum above 0 with nesterov=True"),
        (lambda: nn.optimizers.Adam(beta_1=1.0), "Adam expects beta_1 from 0 to below 1, got 1.0"),
        (
            lambda: nn.optimizers.Adam(float("nan")),
            "expects learning_rate to be zero or more, and finite, got nan",
        ),
    ],
)
def test_bad_arguments_are_named_with_the_nearest_known(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def compiled(optimizer="sgd", loss="mse", metrics=()):
    nn.Sequential([nn.Dense(1)]).compile(optimizer, loss, metrics)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Dense(1.5), "Dense expects units to be a whole number, got 1.5"),
        (lambda: compiled(loss=None), "compile expects a loss"),
        (lambda: compiled(loss=nn.losses.MeanSquaredError), r"Make one: MeanSquaredError\(\)"),
        (lambda: compiled(optimizer=nn.optimizers.Adam), r"Make one: Adam\(\)"),
        (lambda: compiled(metrics=[nn.metrics.Accuracy]), r"Expected a metric.*Make one: Accuracy\(\)"),
        (lambda: nn.initializers.get(nn.initializers.Zeros), r"Expected an initializer.*Make one: Zeros\(\)"),
        (lambda: nn.regularizers.get(nn.regularizers.L2), r"Expected a regularizer.*Make one: L2\(\)"),
        (
            lambda: nn.Sequential([nn.Dense]),
            r"Sequential expects layers, got type\. Make one: Dense\(\.\.\.\)",
        ),
        (
            lambda: nn.Sequential([np.tanh]),
            "Sequential expects layers, got ufunc. A function goes into nn.Lambda",
        ),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_layers_are_not_added_to_a_model_with_weights(backend):
    with pytest.raises(RuntimeError, match="cannot be added to a model that has its weights"):
        built(backend).add(nn.Dense(1))


def test_a_layer_made_in_forward_is_refused(backend):
    class Wrong(nn.Model):
        def forward(self, x):
            return nn.Dense(1)(x)

    with pytest.raises(ValueError, match=r"calls a Dense that is not an attribute.*keep them on self"):
        Wrong(backend=backend).predict(X)


def test_a_model_without_trainable_weights_is_not_fitted(backend):
    model = nn.Sequential([nn.Flatten()], backend=backend)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no trainable parameters"):
        model.fit(X, X, verbose=0)


def test_a_loss_of_ones_own_that_ignores_samples_refuses_weights(backend):
    def total(y_true, y_pred):
        return nn.functional.mean(nn.functional.square(y_pred - y_true))

    model = built(backend, 1, total)
    model.train_on_batch(X, Y)
    with pytest.raises(ValueError, match="Return one value for each sample"):
        model.train_on_batch(X, Y, sample_weight=np.ones(6))


def test_layers_and_models_without_forward_say_so(backend):
    class Empty(nn.Layer):
        pass

    with pytest.raises(NotImplementedError, match=re.escape("Empty must define forward(self, x)")):
        nn.Sequential([Empty()], backend=backend).predict(X)


def test_initial_epoch_and_shuffle_are_checked(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend)
    model.compile("sgd", "mse")
    for wrong in (-1, 2, 0.5):
        with pytest.raises(ValueError, match="fit expects initial_epoch from 0 to epochs - 1 = 1"):
            model.fit([[1.0]], [1.0], epochs=2, initial_epoch=wrong, verbose=0)
    with pytest.raises(TypeError, match="expects shuffle to be True or False, got 'batch'"):
        model.fit([[1.0]], [1.0], shuffle="batch", verbose=0)


def test_sequential_wants_a_list():
    with pytest.raises(TypeError, match="Sequential expects a list of layers"):
        nn.Sequential(nn.Dense(3))


def test_true_is_no_number_of_units():
    with pytest.raises(TypeError, match="Dense expects units to be a whole number, got True"):
        nn.Dense(True)


def test_a_rate_in_words_is_refused():
    with pytest.raises(TypeError, match="SGD expects learning_rate to be a number, got 'fast'"):
        nn.optimizers.SGD("fast")


def test_a_single_callback_needs_no_list(backend):
    class Count(nn.callbacks.Callback):
        batches = 0

        def on_batch_end(self, batch, logs):
            self.batches += 1

    model, count = nn.Sequential([nn.Dense(1)], backend=backend), Count()
    model.compile("sgd", "mse")
    model.fit([[1.0], [2.0]], [1.0, 2.0], 1, 2, verbose=0, callbacks=count)
    model.fit([[1.0]], [1.0], verbose=0, callbacks=None)
    assert count.batches == 4


def test_one_sample_without_its_axis_is_told_apart(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend)
    model.predict([[1.0, 2.0]])
    with pytest.raises(
        ValueError, match=r"inputs of shape \(n, 2\), got \(2,\). One sample alone is x\[None\]"
    ):
        model.predict([1.0, 2.0])


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("optimizer", "momentum", 0.1),
        ("optimizer", "weight_decay", 0.5),
        ("loss", "delta", 2.0),
        ("metric", "threshold", 0.7),
        ("penalty", "l2", 0.5),
        ("constraint", "max_value", 3.0),
        ("activity", "l1", 0.5),
    ],
)
def test_options_that_compiled_steps_have_read_stay_what_they_are(part, name, value, backend):
    parts = {
        "optimizer": nn.optimizers.SGD(0.1, momentum=0.9),
        "loss": nn.losses.Huber(),
        "metric": nn.metrics.BinaryAccuracy(0.5),
        "penalty": nn.regularizers.L2(0.1),
        "constraint": nn.constraints.MaxNorm(2.0),
        "activity": nn.regularizers.L1(0.1),
    }
    layer = nn.Dense(
        1,
        kernel_regularizer=parts["penalty"],
        kernel_constraint=parts["constraint"],
        activity_regularizer=parts["activity"],
    )
    model = nn.Sequential([layer], backend=backend, seed=0)
    model.compile(parts["optimizer"], parts["loss"], [parts["metric"]])
    setattr(parts[part], name, getattr(parts[part], name) * 0.5)  # nobody has read it yet
    model.fit([[1.0]], [[1.0]], verbose=0)
    kept, kind = getattr(parts[part], name), type(parts[part]).__name__
    words = rf"{kind} keeps {name}={kept}: a compiled model has read it. Make another {kind} with {name}={value}, and "
    with pytest.raises(TypeError, match=words + "compile the model with it; the weights stay."):
        setattr(parts[part], name, value)
    setattr(parts[part], name, kept)
    parts["optimizer"].learning_rate = 0.2
    assert getattr(parts[part], name) == kept


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(X, Y, epoch=3), r"^fit has no argument 'epoch'\. Did you mean 'epochs'\?$"),
        (
            lambda m: m.compile("sgd", "mse", metric=["mae"]),
            r"^compile has no argument 'metric'\. Did you mean 'metrics'",
        ),
        (
            lambda m: m.evaluate(X, Y, batchsize=2),
            "^evaluate has no argument 'batchsize'. Did you mean 'batch_size'",
        ),
        (
            lambda m: m.fit(X, Y, zzz=3),
            "^fit has no argument 'zzz'. Its arguments are x, y, batch_size, epochs, verb",
        ),
        (lambda m: nn.losses.Huber(detla=3.0), r"^Huber has no argument 'detla'\. Did you mean 'delta'\?$"),
        (
            lambda m: nn.metrics.AUC(num_treshold=3),
            "^AUC has no argument 'num_treshold'. Did you mean 'num_thresholds'",
        ),
        (
            lambda m: nn.LossScale(1.0, 2, 3),
            "^LossScale: too many positional arguments. Its arguments are initial, gro",
        ),
        (
            lambda m: m.set_weights(None),
            r"^set_weights of 'sequential' expects a list of arrays, .* got NoneType.*set_param",
        ),
        (
            lambda m: m.set_weights(np.ones(4)),
            "^set_weights of 'sequential' expects a list of arrays, as get_weights returns, got nd",
        ),
        (
            lambda m: nn.get_backend("numpy", device="cuda:0"),
            r"no option 'device'.*those that choose theirs are cupy, to",
        ),
    ],
)
def test_arguments_that_are_misspelt_or_of_the_wrong_kind_say_what_was_meant(call, message):
    with pytest.raises(TypeError, match=message):
        call(built("numpy"))


def test_an_environment_that_names_no_backend_says_so(monkeypatch):
    monkeypatch.setenv("NNBACKEND", "nunpy")
    with pytest.raises(
        ValueError,
        match=r"^The environment variable NNBACKEND names the unknown .*Did you mean 'numpy'\? Unset",
    ):
        nn.get_backend()
