"""Layers: names, paths, parameters, calls alone and inside others."""

import copy

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.layers.base import Binding, observing


class Pair(nn.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.first = nn.Dense(2)
        self.second = nn.Dense(2)

    def forward(self, x):
        return self.second(self.first(x))


class Scale(nn.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight("scale", (input_shape[-1],), nn.initializers.Constant(2.0))

    def forward(self, x):
        return x * self.scale


def test_names_are_numbered_within_a_model_and_never_per_process(backend):
    for _ in range(2):
        layers = [nn.Dense(2), nn.Dense(2), nn.Dense(2, name="dense_1"), Pair()]
        model = nn.Sequential(layers, backend=backend)
        model.build((3,))
        assert [layer.path for layer in model.layers] == ["dense", "dense_2", "dense_1", "pair"]
        assert list(model.handles())[-2:] == ["pair/dense_1/kernel", "pair/dense_1/bias"]
        assert [p.path for p in model.parameters] == list(model.handles())


def test_class_names_become_words():
    class LSTMCell2D(nn.Layer):
        pass

    assert LSTMCell2D().name == "lstm_cell2d"
    assert nn.layers.Layer(name="mine").name == "mine"


def test_a_weights_first_value_depends_on_seed_and_path_alone(backend):
    alone = nn.Sequential([nn.Dense(2, name="last")], backend=backend, seed=3)
    after = nn.Sequential([nn.Activation("relu"), nn.Dense(2, name="last")], backend=backend, seed=3)
    other = nn.Sequential([nn.Dense(2, name="other")], backend=backend, seed=3)
    for model in (alone, after, other):
        model.build((3,))
    np.testing.assert_array_equal(alone.get_weights()[0], after.get_weights()[0])
    assert not np.array_equal(alone.get_weights()[0], other.get_weights()[0])


def test_a_layer_alone_follows_its_arrays(put, backend):
    layer = Scale()
    y = layer(put(np.ones((2, 3))))
    assert backend.owns(y)
    np.testing.assert_array_equal(nn.to_numpy(y), np.full((2, 3), 2.0))
    assert layer.built
    assert layer.input_shape == (3,)
    assert layer.output_shape == (3,)


def test_a_layer_alone_takes_lists_on_the_backend_in_force(backend):
    with nn.use_backend(backend):
        assert backend.owns(Scale()([[1.0, 2.0]]))


def test_a_layer_given_a_tensor_answers_with_one(put):
    assert isinstance(Scale()(nn.Tensor(put(np.ones((2, 3))))), nn.Tensor)


@pytest.mark.parametrize("given", ["float32", "float64", "int32"])
def test_inputs_are_cast_to_the_layers_dtype(put, dtype, given):
    y = Scale(dtype=dtype)(put(np.ones((2, 3)), given))
    assert str(nn.to_numpy(y).dtype) == dtype


def test_a_layer_of_another_dtype_inside_a_model_casts(backend):
    layers = [nn.Dense(2, dtype="float64"), nn.Dense(2)]
    model = nn.Sequential(layers, backend=backend)
    assert model.predict(np.ones((1, 3))).dtype == "float32"
    assert [w.dtype for w in model.get_weights()] == ["float64", "float64", "float32", "float32"]


def test_training_is_passed_to_the_layers_inside(put):
    seen = []

    class Look(nn.Layer):
        def forward(self, x, *, training=False):
            seen.append(training)
            return x

    class Around(nn.Layer):
        def __init__(self):
            super().__init__()
            self.look = Look()

        def forward(self, x):
            return self.look(self.look(x, training=False))

    layer = Around()
    layer.build((1,))
    seen.clear()
    layer(put(np.ones((1, 1))), training=True)
    assert seen == [False, True]
    seen.clear()
    layer(put(np.ones((1, 1))))
    assert seen == [False, False]


def test_parameters_have_the_operators_of_arrays(put):
    layer = Scale(dtype="float64")
    layer(put(np.ones((1, 3))))
    assert layer.scale.shape == (3,)
    assert layer.scale.dtype_name == "float64"
    np.testing.assert_array_equal(nn.to_numpy(1.0 - layer.scale), np.full(3, -1.0))
    assert repr(layer.scale) == "<Parameter 'scale/scale' (3,) float64>"


def test_a_parameter_is_assigned_a_copy_in_its_dtype(put, backend):
    layer = Scale()
    layer(put(np.ones((1, 3))))
    value = np.arange(3.0)
    layer.scale.assign(value)
    value[:] = 9.0
    np.testing.assert_array_equal(layer.scale.numpy(), [0.0, 1.0, 2.0])
    assert layer.scale.numpy().dtype == "float32"
    layer.scale.assign([1.0, 2, 3])
    np.testing.assert_array_equal(layer.scale.numpy(), [1.0, 2.0, 3.0])
    for wrong, came in ((np.ones(2), r"\(2,\)"), (4.0, r"\(\)")):
        with pytest.raises(ValueError, match=rf"scale/scale has shape \(3,\), got a value of shape {came}"):
            layer.scale.assign(wrong)


def test_a_weight_is_not_replaced_by_what_would_be_neither_trained_nor_saved(put):
    layer, other = Scale(), Scale()
    for each in (layer, other):
        each(put(np.ones((1, 3))))
    for value in (np.ones(3), None, put(np.ones(3))):
        with pytest.raises(
            TypeError, match=r"^Scale 'scale': scale is a weight.*layer\.scale\.assign\(value\)"
        ):
            layer.scale = value
    np.testing.assert_array_equal(layer.scale.numpy(), np.full(3, 2.0))
    layer.scale = other.scale  # tied
    assert layer.scale is other.scale


def test_within_a_run_parameters_read_and_write_its_tree(put, backend):
    layer = Scale()
    layer(put(np.ones((1, 3))))
    run = Binding({id(layer.scale): put(np.full(3, 5.0), "float32")}, 0, 0, backend)
    with run.bound():
        np.testing.assert_array_equal(nn.to_numpy(layer(put(np.ones((1, 3))))), np.full((1, 3), 5.0))
        layer.scale.assign(put(np.full(3, 7.0)))  # float64, kept in the parameter's dtype
        np.testing.assert_array_equal(nn.to_numpy(layer.scale), np.full(3, 7.0))
    np.testing.assert_array_equal(layer.scale.numpy(), np.full(3, 2.0))
    (assigned,) = run.assigned.values()
    assert nn.to_numpy(assigned).dtype == "float32"


def test_streams_of_a_run_are_numbered_by_call(backend):
    class Noise(nn.Layer):
        def forward(self, x):
            return x + self.random("noise").uniform(tuple(x.shape))

    layer = Noise()
    model = nn.Sequential([layer, layer], backend=backend, seed=1)
    output = model.predict(np.zeros((1, 4)))
    streams = [nn.random.Stream(1, "noise/noise", 0, call=call).uniform((1, 4)) for call in range(2)]
    np.testing.assert_allclose(output, streams[0] + streams[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_names_of_weights_are_checked(put, name):
    class Wrong(nn.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(name, (1,))

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="A weight's name is not empty and has no '/'"):
        Wrong()(put(np.ones((1, 1))))


def test_an_initializer_of_the_wrong_shape_is_refused(put):
    class Wrong(nn.initializers.Initializer):
        def __call__(self, shape, stream, dtype="float32"):
            return np.ones(7, dtype)

    with pytest.raises(ValueError, match=r"The initializer of dense/kernel made a value of shape \(7,\)"):
        nn.Dense(1, kernel_initializer=Wrong())(put(np.ones((1, 1))))


def test_the_family_of_a_layer_is_walked_once_even_in_circles():
    pair = Pair()
    pair.first.parent = pair
    assert list(pair.family()) == [pair, pair.first, pair.second]
    pair.first.parent = None


def test_layers_say_how_they_were_made():
    assert repr(nn.Dense(3, activation="relu", name="a")) == "Dense(units=3, activation='relu', name='a')"


def test_weights_are_made_in_build_only():
    class Early(nn.Layer):
        def __init__(self):
            super().__init__()
            self.w = self.add_weight("w", (2,))

    with pytest.raises(
        RuntimeError, match="Early calls add_weight outside of its build.*Move the call to build"
    ):
        Early()


def test_a_layer_that_forgot_its_base_class_is_told(put):
    class Forgetful(nn.Layer):
        def __init__(self):
            self.units = 3

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"its __init__ must call super\(\).__init__"):
        Forgetful()(put([[1.0]]))


def test_a_forward_without_return_is_named(put):
    class Silent(nn.Layer):
        def forward(self, x):
            x * 2.0

    with pytest.raises(TypeError, match="The forward of Silent 'silent' returned None"):
        Silent()(put([[1.0]]))


def test_an_error_inside_a_layer_says_which_and_on_what(put):
    class Broken(nn.Layer):
        def forward(self, x):
            raise ValueError("no")

    model = nn.Sequential([nn.Activation("relu"), Broken()], backend=nn.get_backend("numpy"))
    with pytest.raises(ValueError, match="no") as caught:
        model(np.ones((2, 3)))
    assert caught.value.__notes__ == ["in Broken 'broken', called on shape (1, 3)"]


def test_an_observer_hears_of_each_call_the_innermost_first(backend, put):
    model = nn.Sequential([nn.Dense(3), nn.Dense(2)], backend=backend, seed=0)
    x, seen = put(np.ones((2, 4)), "float32"), []
    before = nn.to_numpy(model(x))
    with observing(
        lambda layer, path, inputs, output: seen.append((layer, path, inputs[0].shape, output.shape))
    ):
        after = nn.to_numpy(model(x))
    model(x)  # outside: nobody hears
    assert seen == [
        (model.layers[0], "dense", (2, 4), (2, 3)),
        (model.layers[1], "dense_1", (2, 3), (2, 2)),
        (model, "", (2, 4), (2, 2)),
    ]
    assert np.array_equal(before, after)


def test_weights_that_are_being_differentiated_are_not_taken_as_numbers(put):
    layer = nn.Dense(1)
    x = put(np.ones((2, 3)), "float32")
    layer(x)

    def loss(weights):
        layer.set_weights(weights)
        return nn.functional.sum(layer(x))

    with pytest.raises(TypeError, match="whose gradient would be lost"):
        nn.grad(loss)(layer.get_weights())


class Forgets(nn.Layer):
    def forward(self, x):
        x * 2.0


@pytest.mark.parametrize("call", ["fit", "predict", "build"])
def test_a_forward_without_return_is_named_by_every_call(call, backend):
    model = nn.Sequential([nn.Dense(3), Forgets(name="twice"), nn.Dense(1)], backend=backend)
    model.compile("sgd", "mse")
    x = np.ones((4, 2))
    with pytest.raises(TypeError, match="The forward of Forgets 'twice' returned None. End it with return."):
        {
            "fit": lambda: model.fit(x, x[:, :1]),
            "predict": lambda: model.predict(x),
            "build": lambda: model.build((2,)),
        }[call]()


def test_a_model_without_return_is_named_before_its_targets_are(backend):
    class Network(nn.Model):
        def forward(self, x):
            x * 2.0

    model = Network(backend=backend)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="The forward of Network 'network' returned None"):
        model.fit(np.ones((4, 2)), np.ones((4, 2)))


@pytest.mark.parametrize(
    ("layer", "x", "cure"),
    [
        (lambda: nn.Dense(2), np.ones(4), r"Dense 'dense' .* x\[:, None\]. One sample alone is x\[None\]"),
        (lambda: nn.LSTM(2), np.ones((5, 3)), r"LSTM 'lstm' .* got \(n, 3\).*one sample is x\[None\]"),
        (
            lambda: nn.Conv2D(2, 3),
            np.ones((8, 8, 3)),
            r"Conv2D 'conv2d' .* got \(n, 8, 3\).*one sample is x\[None\]",
        ),
    ],
)
def test_one_sample_alone_gets_the_cure_also_before_a_model_is_built(layer, x, cure, backend):
    with pytest.raises(ValueError, match=cure):
        nn.Sequential([layer()], backend=backend).predict(x)


class Narrow(nn.Layer):
    def __init__(self, units):
        super().__init__()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nn.LSTM(3, unit=4), r"^LSTM has no argument 'unit'. Did you mean 'units'\?$"),
        (lambda: nn.LSTM(3, return_sequence=True), r"^LSTM has .* Did you mean 'return_sequences'\?$"),
        (lambda: nn.GRU(3, dropuot=0.1), r"^GRU has no argument 'dropuot'. Did you mean 'dropout'\?$"),
        (lambda: nn.SimpleRNN(3, nmae="a"), r"^SimpleRNN has no argument 'nmae'. Did you mean 'name'\?$"),
        (
            lambda: nn.TransformerEncoder(3),
            r"^TransformerEncoder: missing a required argument: 'num_heads'. Its arguments are intermediate_dim, num_h",
        ),
        (
            lambda: nn.Dense(3, "relu", True, 4),
            r"^Dense: too many positional arguments. Its arguments are units, act",
        ),
        (
            lambda: nn.SpatialDropout1D(0.5, noise_shape=(None, 1, None)),
            r"^SpatialDropout1D has no argument 'noise_shape'.*nn.Dropout\(rate, noise_shape\)",
        ),
        (
            lambda: nn.SpatialDropout2D(0.5, (None, 1)),
            r"^SpatialDropout2D: too many .* Its arguments are rate.$",
        ),
        (lambda: nn.Sequential([], sede=0), r"^Sequential has no argument 'sede'. Did you mean 'seed'\?$"),
        (lambda: nn.Sequential([], backnd="numpy"), r"Did you mean 'backend'\?$"),
        (lambda: Narrow(unit=3), r"^Narrow has no argument 'unit'. Did you mean 'units'\?$"),
        (lambda: Narrow(3, name="a"), r"^Narrow has no argument 'name'.$"),
    ],
)
def test_a_wrong_argument_is_laid_to_the_class_that_was_called(make, match):
    with pytest.raises(TypeError, match=match):
        make()


def test_layers_may_be_copied():
    layer = copy.deepcopy(nn.Dense(3, "relu"))
    assert layer.units == 3
