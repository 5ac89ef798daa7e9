"""Models and parameters in files: they come back as they were, and a file runs nothing."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import nnfs
from nnbackend.interop.safetensors import ModelFileError, read, write


@pytest.fixture
def trained(book, capsys):
    X, y = nnfs.spiral_data(samples=20, classes=3)
    model = make()
    model.train(X, y, epochs=3)
    return model, X, y


def make():
    model = nnfs.Model()
    model.add(nnfs.Layer_Dense(2, 8, weight_regularizer_l2=5e-4))
    model.add(nnfs.Activation_ReLU())
    model.add(nnfs.Layer_Dropout(0.1))
    model.add(nnfs.Layer_Dense(8, 3))
    model.add(nnfs.Activation_Softmax())
    model.set(
        loss=nnfs.Loss_CategoricalCrossentropy(),
        optimizer=nnfs.Optimizer_Adam(learning_rate=0.05, decay=5e-5),
        accuracy=nnfs.Accuracy_Categorical(),
    )
    model.finalize()
    return model


def test_parameters_come_back_from_a_file(trained, tmp_path):
    model, X, _ = trained
    model.save_parameters(tmp_path / "fashion_mnist.parms")
    other = make()
    assert not np.array_equal(nn.to_numpy(other.predict(X)), nn.to_numpy(model.predict(X)))
    other.load_parameters(tmp_path / "fashion_mnist.parms")
    np.testing.assert_array_equal(nn.to_numpy(other.predict(X)), nn.to_numpy(model.predict(X)))


def test_parameters_pass_from_model_to_model(trained):
    model, X, _ = trained
    other = make()
    other.set_parameters(model.get_parameters())
    np.testing.assert_array_equal(nn.to_numpy(other.predict(X)), nn.to_numpy(model.predict(X)))
    with pytest.raises(ValueError, match="each of its 2 layers, got 1"):
        other.set_parameters(model.get_parameters()[:1])


def test_a_loaded_model_goes_on_as_if_it_had_not_been_saved(trained, tmp_path, capsys):
    model, X, y = trained
    model.save(tmp_path / "fashion_mnist.model")
    state = np.random.get_state()
    capsys.readouterr()
    model.train(X, y, epochs=2)
    printed = capsys.readouterr().out

    np.random.set_state(state)
    loaded = nnfs.Model.load(tmp_path / "fashion_mnist.model")
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # loading draws nothing
    loaded.train(X, y, epochs=2)
    assert capsys.readouterr().out == printed
    for ours, theirs in zip(loaded.get_parameters(), model.get_parameters(), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))
    assert loaded.optimizer.iterations == 5
    assert loaded.layers[2].rate == 0.9
    assert loaded.layers[0].weight_regularizer_l2 == 5e-4


def test_a_model_saved_here_is_loaded_on_numpy(trained, tmp_path):
    model, X, _ = trained
    model.save(tmp_path / "model")
    nnfs.init(backend="numpy")
    loaded = nnfs.Model.load(tmp_path / "model")
    got = loaded.predict(nn.to_numpy(X))
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, nn.to_numpy(model.predict(X)), rtol=2e-6)


def test_a_model_for_numbers_keeps_its_precision_and_its_changed_rate(wide, tmp_path, capsys):
    X, y = nnfs.sine_data(samples=20)
    model = nnfs.Model()
    for layer in (
        nnfs.Layer_Dense(1, 4),
        nnfs.Activation_Sigmoid(),
        nnfs.Layer_Dense(4, 1),
        nnfs.Activation_Linear(),
    ):
        model.add(layer)
    model.set(
        loss=nnfs.Loss_MeanAbsoluteError(),
        optimizer=nnfs.Optimizer_SGD(momentum=0.5),
        accuracy=nnfs.Accuracy_Regression(),
    )
    model.finalize()
    model.train(X, y, epochs=1)
    model.optimizer.learning_rate = 0.25
    model.save(tmp_path / "model")
    loaded = nnfs.Model.load(tmp_path / "model")
    assert loaded.accuracy.precision == model.accuracy.precision
    assert (loaded.optimizer.learning_rate, loaded.optimizer.momentum) == (0.25, 0.5)
    assert nn.to_numpy(loaded.layers[0].weights).dtype == np.float64
    np.testing.assert_array_equal(
        nn.to_numpy(loaded.layers[0].weight_momentums), nn.to_numpy(model.layers[0].weight_momentums)
    )


def test_a_model_that_is_only_layers_is_saved_too(book, tmp_path):
    model = nnfs.Model()
    model.add(nnfs.Layer_Dense(2, 3))
    model.save(tmp_path / "model")
    loaded = nnfs.Model.load(tmp_path / "model")
    assert (loaded.loss, loaded.optimizer, loaded.accuracy) == (None, None, None)
    with pytest.raises(
        RuntimeError, match=r"Model.predict needs the layers tied together. Call finalize\(\) first"
    ):
        loaded.predict([[1.0, 2.0]])


def test_files_of_another_kind_are_refused(trained, tmp_path):
    model, _, _ = trained
    model.save(tmp_path / "model")
    model.save_parameters(tmp_path / "parameters")
    with pytest.raises(ModelFileError, match=r"holds no model of nnbackend.nnfs. Write one with Model.save"):
        nnfs.Model.load(tmp_path / "parameters")
    with pytest.raises(ModelFileError, match=r"holds no parameters of nnbackend.nnfs"):
        model.load_parameters(tmp_path / "model")
    (tmp_path / "torn").write_bytes((tmp_path / "model").read_bytes()[:100])
    with pytest.raises(ModelFileError):
        nnfs.Model.load(tmp_path / "torn")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda metadata, tensors: metadata.pop("layers"), "KeyError"),
        (lambda metadata, tensors: tensors.pop("0/biases"), "0/biases"),
        (
            lambda metadata, tensors: tensors.update({"9/weights": np.zeros((1, 1))}),
            "tensors that no layer has",
        ),
        (
            lambda metadata, tensors: metadata.update(loss=metadata["accuracy"]),
            "names a Accuracy_Categorical as its loss",
        ),
        (lambda metadata, tensors: metadata["layers"][0].update({"class": "os>system"}), "not registered"),
        (
            lambda metadata, tensors: tensors.update({"0/weights": np.zeros((5, 5))}),
            "expects weights of shape",
        ),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused(change, words, trained, tmp_path):
    model, _, _ = trained
    model.save(tmp_path / "model")
    metadata, tensors = read(tmp_path / "model")
    change(metadata, tensors)
    write(tmp_path / "changed", tensors, metadata)
    with pytest.raises(ModelFileError, match=words):
        nnfs.Model.load(tmp_path / "changed")


def test_parameters_that_do_not_fit_their_count_are_refused(trained, tmp_path):
    model, _, _ = trained
    model.save_parameters(tmp_path / "parameters")
    metadata, tensors = read(tmp_path / "parameters")
    tensors.pop("1/biases")
    write(tmp_path / "parameters", tensors, metadata)
    with pytest.raises(ModelFileError, match="does not hold the parameters that it says"):
        model.load_parameters(tmp_path / "parameters")


def test_a_class_of_ones_own_must_be_registered(book, tmp_path):
    class Square:
        def forward(self, inputs, training):
            self.output = inputs * inputs

        def backward(self, dvalues):
            self.dinputs = dvalues

    model = nnfs.Model()
    model.add(Square())
    with pytest.raises(TypeError, match="cannot hold a Square"):
        model.save(tmp_path / "model")


def test_a_model_says_what_it_lacks(book):
    model = nnfs.Model()
    with pytest.raises(RuntimeError, match=r"found no layers. Give it some with add first"):
        model.finalize()
    with pytest.raises(TypeError, match="expects a layer or an activation, with forward and backward"):
        model.add(nnfs.Layer_Dense)
    model.add(nnfs.Layer_Dense(2, 3))
    with pytest.raises(RuntimeError, match="Model.train needs loss and optimizer and accuracy"):
        model.train([[1.0, 2.0]], [0])
    model.set(loss=nnfs.Loss_CategoricalCrossentropy(), accuracy=nnfs.Accuracy_Categorical())
    with pytest.raises(RuntimeError, match=r"Model.evaluate needs the layers tied together"):
        model.evaluate([[1.0, 2.0]], [0])


def test_counts_must_be_whole_numbers_above_zero(trained):
    model, X, y = trained
    with pytest.raises(ValueError, match="Model.train expects print_every to be at least 1, got 0"):
        model.train(X, y, print_every=0)
    with pytest.raises(ValueError, match="Model expects batch_size to be at least 1, got 0"):
        model.predict(X, batch_size=0)
    with pytest.raises(TypeError, match="Layer_Dense expects n_neurons to be a whole number, got 2.5"):
        nnfs.Layer_Dense(2, 2.5)
