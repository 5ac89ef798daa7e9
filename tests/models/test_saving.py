"""Model files: what is in them, what comes back, and what is refused."""

import json

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.config import describe
from nnbackend.interop.safetensors import ModelFileError, read, write

X = np.sin(np.arange(36.0)).reshape(12, 3)
Y = np.arange(12) % 2


@nn.register("tests")
class Scale(nn.Layer):
    """A layer of one's own with a running statistic."""

    def __init__(self, momentum=0.5, **options):
        super().__init__(**options)
        self.momentum = momentum

    def build(self, input_shape):
        self.scale = self.add_weight("scale", (input_shape[-1],), "ones")
        self.mean = self.add_weight("mean", (input_shape[-1],), "zeros", trainable=False)

    def forward(self, x, *, training=False):
        if training:
            self.mean.assign(self.momentum * self.mean + (1 - self.momentum) * nn.functional.mean(x, axis=0))
        return (x - self.mean) * self.scale


@nn.register("tests")
def squared(y_true, y_pred):
    return nn.functional.mean(nn.functional.square(y_pred - y_true), axis=-1)


@nn.register("tests")
def double(x):
    return 2.0 * x


@nn.register("tests")
class Branches(nn.Model):
    """Layers in a list and a dict, one of them used twice, and a model inside."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.width = width
        self.hidden = [nn.Dense(width, activation="tanh"), nn.Dense(width, activation=double)]
        self.ends = {"mean": nn.Dense(2), "drop": nn.Dropout(0.3)}
        self.inner = nn.Sequential([nn.Dense(width), Scale()])

    def forward(self, x):
        x = self.hidden[1](self.hidden[0](x))
        x = self.hidden[1](x)
        return self.ends["mean"](self.ends["drop"](self.inner(x)))


def small(backend, **options):
    layers = [nn.Dense(4, activation="relu"), nn.Dropout(0.25), Scale(), nn.Dense(2)]
    model = nn.Sequential(layers, backend=backend, **({"seed": 5} | options))
    model.compile(nn.optimizers.Adam(0.01, decay=0.1), "sparse_categorical_crossentropy", ["acc"])
    return model


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same_training(model, other):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_predicts_the_same_on_its_own_backend(backend, file, dtype):
    model = small(backend, dtype=dtype)
    model.fit(X, Y, verbose=0, batch_size=12)
    model.save(file)
    loaded = nn.load_model(file, backend=backend)
    assert loaded.backend is backend
    assert str(loaded.predict(X).dtype) == dtype
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.evaluate(X, Y) == model.evaluate(X, Y)
    assert list(loaded.evaluate(X, Y)) == ["loss", "acc"]


def test_a_model_saved_on_one_backend_predicts_the_same_on_numpy(backend, file):
    model = small(backend, dtype="float64")
    model.fit(X, Y, verbose=0, batch_size=12)
    model.save(file)
    loaded = nn.load_model(file, backend="numpy")
    assert loaded.backend.name == "numpy"
    np.testing.assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-12, atol=1e-15)


def test_without_a_backend_a_model_is_loaded_onto_the_one_in_force(backend, file):
    model = nn.Sequential([nn.Dense(1)], backend="numpy")
    model.build((1,))
    model.save(file)
    with nn.use_backend(backend):
        assert nn.load_model(file).backend is backend


def test_training_resumed_from_a_file_is_the_training_uninterrupted(backend, file):
    whole, halves = small(backend), small(backend)
    expected = whole.fit(X, Y, epochs=4, batch_size=5, verbose=0).history["loss"]
    first = halves.fit(X, Y, epochs=2, batch_size=5, verbose=0).history["loss"]
    halves.save(file)
    loaded = nn.load_model(file, backend=backend)
    rest = loaded.fit(X, Y, epochs=2, batch_size=5, verbose=0).history["loss"]
    assert first + rest == expected
    assert_same_training(loaded, whole)


def test_a_changed_learning_rate_is_saved(backend, file):
    model = small(backend)
    model.build((3,))
    model.optimizer.learning_rate = 0.125
    model.save(file)
    assert nn.load_model(file, backend=backend).optimizer.learning_rate == 0.125


def test_training_resumed_after_a_changed_learning_rate_is_the_training_uninterrupted(backend, file):
    model = small(backend)
    model.train_on_batch(X, Y)
    model.optimizer.learning_rate = 0.5
    model.save(file)
    loaded = nn.load_model(file, backend=backend)
    for each in (model, loaded):
        each.train_on_batch(X, Y)
    assert_same_training(model, loaded)


@pytest.mark.parametrize("train", [False, True])
def test_frozen_layers_are_frozen_in_the_loaded_model(backend, file, train):
    model = small(backend)
    if train:
        model.train_on_batch(X, Y)
    model.build((3,))
    model.layers[0].trainable = False
    if train:
        model.train_on_batch(X, Y)
    model.save(file)
    loaded = nn.load_model(file, backend=backend)
    assert [layer.trainable for layer in loaded.layers] == [False, True, True, True]
    for each in (model, loaded):
        each.train_on_batch(X, Y)
        each.layers[0].trainable = True
        each.train_on_batch(X, Y)
    assert_same_training(model, loaded)


def test_subclassed_models_with_lists_dicts_and_models_inside_are_saved(backend, file):
    model = Branches(3, backend=backend, seed=1)
    model.compile("sgd", squared, [squared])
    y = np.ones((12, 2))
    model.fit(X, y, verbose=0, batch_size=12)
    model.save(file)
    loaded = nn.load_model(file, backend=backend)
    assert isinstance(loaded, Branches)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.evaluate(X, y) == model.evaluate(X, y)


def test_a_layer_that_stands_twice_is_loaded_as_one(backend, file):
    dense = nn.Dense(3)
    model = nn.Sequential([dense, nn.Activation("tanh"), dense], backend=backend, seed=0)
    before = model.predict(X)
    model.save(file)
    loaded = nn.load_model(file, backend=backend)
    assert loaded.layers[0] is loaded.layers[2]
    np.testing.assert_array_equal(loaded.predict(X), before)


def test_an_unbuilt_model_is_saved_with_its_seed(backend, file):
    model = small(backend, seed=123456789)
    model.save(file)
    loaded = nn.load_model(file, backend=backend)
    assert not loaded.built
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_the_same_model_gives_the_same_bytes(backend, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for path in paths[:2]:
        model = small(backend)
        model.train_on_batch(X, Y)
        model.save(path)
    model.predict(X)
    model.save(paths[2])
    assert len({path.read_bytes() for path in paths}) == 1


def test_the_file_says_what_it_is_in_json_and_names_tensors_by_path(file):
    model = small("numpy")
    model.train_on_batch(X, Y)
    model.save(file)
    metadata, tensors = read(file)
    assert metadata["seed"] == "5"
    assert metadata["model"]["class"] == "nnbackend.models>Sequential"
    assert {"parameters/dense/kernel", "optimizer/step", "random/step"} <= set(tensors)
    assert tensors["optimizer/slots/first_moment/dense_1/kernel"].shape == (4, 2)
    np.testing.assert_array_equal(tensors["random/step"], 1)


def test_saving_over_a_file_replaces_it(backend, file):
    file.write_text("something else")
    model = small(backend)
    model.save(file)
    assert nn.load_model(file, backend=backend).seed == 5


class Unknown(nn.Layer):
    def forward(self, x):
        return x


def unknown(x):
    return x


@pytest.mark.parametrize(
    "thing",
    [
        lambda: nn.Sequential([Unknown()]),
        lambda: nn.Sequential([nn.Activation(unknown)]),
        lambda: nn.Sequential([nn.Dense(1, activation=lambda x: x)]),
    ],
    ids=["class", "function", "lambda"],
)
def test_what_is_not_registered_is_refused_when_saving_with_the_cure(file, thing):
    with pytest.raises(TypeError, match=r"is not registered.*@nn\.register"):
        thing().save(file)
    assert not file.exists()


@pytest.mark.parametrize("where", ["loss", "metric"])
def test_an_own_loss_or_metric_that_is_not_registered_is_refused(file, where):
    model = nn.Sequential([nn.Dense(1)])
    model.compile("adam", *(("mse", [unknown]) if where == "metric" else (unknown,)))
    with pytest.raises(TypeError, match="'unknown' is not registered"):
        model.save(file)


def test_a_file_of_objects_not_registered_here_needs_custom_objects(file):
    class Shift(nn.Layer):
        def build(self, input_shape):
            self.shift = self.add_weight("shift", (1,), "ones")

        def forward(self, x):
            return x + self.shift

    nn.register("elsewhere")(Shift)
    model = nn.Sequential([Shift()], dtype="float64", backend="numpy")
    before = model.predict(X)
    model.save(file)
    metadata, tensors = read(file)
    write(file, tensors, json.loads(json.dumps(metadata).replace("elsewhere>Shift", "elsewhere>Shaft")))
    with pytest.raises(ValueError, match=r"not registered here.*Did you mean 'elsewhere>Shift'"):
        nn.load_model(file, backend="numpy")
    for name in ("Shaft", "elsewhere>Shaft"):
        loaded = nn.load_model(file, backend="numpy", custom_objects={name: Shift})
        np.testing.assert_array_equal(loaded.predict(X), before)


def test_numbers_of_numpy_are_saved_and_other_objects_refused(file):
    model = nn.Sequential([nn.Dense(np.int64(2)), nn.Dropout(np.float32(0.5))], backend="numpy")
    model.save(file)
    assert nn.load_model(file, backend="numpy").layers[0].units == 2
    with pytest.raises(TypeError, match="cannot hold a ndarray"):
        describe(nn.Dense(2, kernel_initializer=nn.initializers.Constant(np.ones(3))))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(file, keep):
    small("numpy").save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelFileError, match="truncated"):
        nn.load_model(file)


def test_a_foreign_file_is_refused(file):
    file.write_text("PK\x03\x04 this is a zip")
    with pytest.raises(ModelFileError, match="expected a whole safetensors file"):
        nn.load_model(file)
    from safetensors.numpy import save_file

    save_file({"weight": np.ones(2)}, file)
    with pytest.raises(ModelFileError, match="nnbackend"):
        nn.load_model(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        nn.load_model(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: m.pop("seed"), "holds no model"),
        (
            lambda m, t: m.update(
                model={"class": "nnbackend.layers>Dense", "config": {"units": 1}, "number": 0}
            ),
            "Dense",
        ),
        (lambda m, t: m.update(model={"function": "nnbackend>relu"}), "where a Model belongs"),
        (lambda m, t: t.pop("parameters/dense/kernel"), "lacks the tensor 'parameters/dense/kernel'"),
        (lambda m, t: t.pop("random/step"), "lacks the tensor 'random/step'"),
        (lambda m, t: t.update({"parameters/dense/bias": np.ones(7)}), r"has shape \(7,\)"),
        (lambda m, t: t.update(surplus=np.ones(7)), "no place for: surplus"),
        (lambda m, t: m.update(seed="x"), "hold no valid seed, but 'x'"),
        (lambda m, t: m.update(input_shape="ab"), "no valid input_shape"),
        (lambda m, t: m.update(input_shape=None), "no place for"),
        (lambda m, t: m.update(frozen=None), "no valid frozen"),
        (lambda m, t: m.update(frozen=[99]), r"freezes the layers \[99\], but its architecture has 5"),
        (lambda m, t: m.update(training={}), "no valid training"),
        (lambda m, t: m.update(epochs_trained="a"), "no valid epochs_trained"),
        (lambda m, t: m.update(dtype="float16"), "no valid dtype, but 'float16'"),
        (lambda m, t: m.update(dtype="float64"), "and dtype float32, its architecture needs .* and float64"),
        (lambda m, t: m["model"]["config"].update(surplus=1), r"cannot be made here \(TypeError\).*surplus"),
        (lambda m, t: m["model"].pop("config"), r"cannot be made here \(KeyError\)"),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused(file, change, message):
    model = small("numpy")
    model.train_on_batch(X, Y)
    model.save(file)
    metadata, tensors = read(file)
    change(metadata, tensors)
    write(file, tensors, metadata)
    with pytest.raises(ModelFileError, match=message):
        nn.load_model(file)


@pytest.mark.parametrize(
    ("name", "format_"),
    [("a.h5", "HDF5"), ("a.keras", "Keras"), ("a.PT", "PyTorch"), ("a.pkl", "pickle"), ("b.npz", "NumPy")],
)
def test_names_of_other_formats_are_refused(name, format_, tmp_path):
    model = nn.Sequential([nn.Dense(1)], seed=0, input_shape=(2,))
    model.build((2,))
    for save in (model.save, model.save_weights):
        with pytest.raises(
            ValueError, match=rf"writes safetensors, .* says {format_}. Name it '.\.safetensors'"
        ):
            save(tmp_path / name)
    assert not list(tmp_path.iterdir())
