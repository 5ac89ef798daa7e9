"""Programs in the book's style give what a plain NumPy program gives, written down here on its own."""

import io
import itertools
import re
from contextlib import redirect_stdout

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import nnfs

STEPS = 25


class Plain:
    """A network of two dense layers trained by Adam in plain NumPy: the numbers that the book's rules give."""

    def __init__(self, random, widths, *, head, rate, decay, l2=0.0, drop=0.0):
        self.random, self.head, self.rate, self.decay, self.l2, self.drop = (
            random,
            head,
            rate,
            decay,
            l2,
            drop,
        )
        self.parameters = []
        for before, after in itertools.pairwise(widths):
            self.parameters += [0.01 * random.randn(before, after), np.zeros((1, after))]
        self.moments = [np.zeros_like(p) for p in self.parameters]
        self.squares = [np.zeros_like(p) for p in self.parameters]
        self.steps = 0

    def step(self, X, y):
        W1, b1, W2, b2 = self.parameters
        z = X @ W1 + b1
        h = np.where(z > 0, z, 0.0)
        mask = self.random.binomial(1, 1 - self.drop, size=h.shape) / (1 - self.drop) if self.drop else 1.0
        o = (h * mask) @ W2 + b2
        n = len(X)
        if self.head == "softmax":
            e = np.exp(o - o.max(axis=1, keepdims=True))
            p, t = e / e.sum(axis=1, keepdims=True), np.eye(o.shape[1])[y]
            loss, d = -np.log((p * t).sum(axis=1)).mean(), (p - t) / n
        elif self.head == "sigmoid":
            p = 1 / (1 + np.exp(-o))
            loss, d = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), (p - y) / n
        else:
            loss, d = ((o - y) ** 2).mean(), 2 * (o - y) / n
        penalty = self.l2 * ((W1**2).sum() + (b1**2).sum())
        dh = d @ W2.T * mask * (z > 0)
        slopes = [X.T @ dh + 2 * self.l2 * W1, dh.sum(axis=0, keepdims=True) + 2 * self.l2 * b1]
        slopes += [(h * mask).T @ d, d.sum(axis=0, keepdims=True)]
        rate = self.rate / (1 + self.decay * self.steps)
        self.steps += 1
        for k, g in enumerate(slopes):
            self.moments[k] = 0.9 * self.moments[k] + 0.1 * g
            self.squares[k] = 0.999 * self.squares[k] + 0.001 * g * g
            m, v = self.moments[k] / (1 - 0.9**self.steps), self.squares[k] / (1 - 0.999**self.steps)
            self.parameters[k] = self.parameters[k] - rate * m / (np.sqrt(v) + 1e-7)
        return loss, penalty


def plain(kind, options, widths):
    random = np.random.RandomState(0)
    if kind == "sine":
        X, y = nn.datasets.sine_data()
    else:
        X, y = nn.datasets.spiral_data(
            100, widths[-1] if kind == "spiral" else 2, random=random, dtype="float64"
        )
        y = y.reshape(-1, 1) if kind == "two arms" else y
    network = Plain(random, widths, **options)
    return np.asarray([network.step(X, y) for _ in range(STEPS)])


def run(dense1, between, dense2, last, loss, optimizer, X, y):
    """Train as the book's loops do before it has a model."""
    losses = []
    for _ in range(STEPS):
        dense1.forward(X)
        output = dense1.output
        for layer in between:
            layer.forward(output)
            output = layer.output
        dense2.forward(output)
        last.forward(dense2.output)
        data_loss = loss.calculate(last.output, y)
        losses.append((data_loss, loss.regularization_loss(dense1) + loss.regularization_loss(dense2)))
        loss.backward(last.output, y)
        last.backward(loss.dinputs)
        dense2.backward(last.dinputs)
        gradient = dense2.dinputs
        for layer in reversed(between):
            layer.backward(gradient)
            gradient = layer.dinputs
        dense1.backward(gradient)
        optimizer.pre_update_params()
        optimizer.update_params(dense1)
        optimizer.update_params(dense2)
        optimizer.post_update_params()
    return np.asarray(losses, dtype="float64")


def test_penalties_as_in_chapter_14(wide):
    X, y = nnfs.spiral_data(samples=100, classes=3)
    dense1 = nnfs.Layer_Dense(2, 16, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4)
    layers = dense1, [nnfs.Activation_ReLU()], nnfs.Layer_Dense(16, 3), nnfs.Activation_Softmax()
    ours = run(*layers, nnfs.Loss_CategoricalCrossentropy(), nnfs.Optimizer_Adam(0.02, 5e-7), X, y)
    options = {"head": "softmax", "rate": 0.02, "decay": 5e-7, "l2": 5e-4}
    np.testing.assert_allclose(ours, plain("spiral", options, (2, 16, 3)), rtol=1e-9, atol=1e-13)


def test_dropout_as_in_chapter_15(wide):
    X, y = nnfs.spiral_data(samples=100, classes=3)
    dense1, dense2 = nnfs.Layer_Dense(2, 16), nnfs.Layer_Dense(16, 3)
    between = [nnfs.Activation_ReLU(), nnfs.Layer_Dropout(0.1)]
    ours = run(
        dense1,
        between,
        dense2,
        nnfs.Activation_Softmax(),
        nnfs.Loss_CategoricalCrossentropy(),
        nnfs.Optimizer_Adam(0.05, 5e-5),
        X,
        y,
    )
    options = {"head": "softmax", "rate": 0.05, "decay": 5e-5, "drop": 0.1}
    np.testing.assert_allclose(ours, plain("spiral", options, (2, 16, 3)), rtol=1e-9)


def test_two_classes_as_in_chapter_16(wide):
    X, y = nnfs.spiral_data(samples=100, classes=2)
    y = nn.functional.reshape(y, (-1, 1))
    layers = (
        nnfs.Layer_Dense(2, 16),
        [nnfs.Activation_ReLU()],
        nnfs.Layer_Dense(16, 1),
        nnfs.Activation_Sigmoid(),
    )
    ours = run(*layers, nnfs.Loss_BinaryCrossentropy(), nnfs.Optimizer_Adam(decay=5e-7), X, y)
    options = {"head": "sigmoid", "rate": 0.001, "decay": 5e-7}
    np.testing.assert_allclose(ours, plain("two arms", options, (2, 16, 1)), rtol=1e-9)


def test_regression_as_in_chapter_17(wide):
    X, y = nnfs.sine_data()
    layers = (
        nnfs.Layer_Dense(1, 16),
        [nnfs.Activation_ReLU()],
        nnfs.Layer_Dense(16, 1),
        nnfs.Activation_Linear(),
    )
    ours = run(*layers, nnfs.Loss_MeanSquaredError(), nnfs.Optimizer_Adam(0.005, 1e-3), X, y)
    options = {"head": "linear", "rate": 0.005, "decay": 1e-3}
    np.testing.assert_allclose(ours, plain("sine", options, (1, 16, 1)), rtol=1e-9)


def model_and_data(optimizer):
    X, y = nnfs.spiral_data(samples=40, classes=3)
    model = nnfs.Model()
    model.add(nnfs.Layer_Dense(2, 16, weight_regularizer_l1=1e-4, weight_regularizer_l2=5e-4))
    model.add(nnfs.Activation_ReLU())
    model.add(nnfs.Layer_Dropout(0.1))
    model.add(nnfs.Layer_Dense(16, 3, bias_regularizer_l1=1e-4))
    model.add(nnfs.Activation_Softmax())
    model.set(
        loss=nnfs.Loss_CategoricalCrossentropy(), optimizer=optimizer, accuracy=nnfs.Accuracy_Categorical()
    )
    model.finalize()
    return model, X, y


@pytest.mark.parametrize("batch_size", [None, 50])
def test_a_loop_in_the_books_style_equals_the_model(batch_size, book, backend, capsys):
    model, X, y = model_and_data(nnfs.Optimizer_SGD(decay=1e-2, momentum=0.9))
    model.train(X, y, epochs=3, batch_size=batch_size)

    nnfs.init(backend=backend)
    X, y = nnfs.spiral_data(samples=40, classes=3)
    dense1 = nnfs.Layer_Dense(2, 16, weight_regularizer_l1=1e-4, weight_regularizer_l2=5e-4)
    activation1, dropout1 = nnfs.Activation_ReLU(), nnfs.Layer_Dropout(0.1)
    dense2 = nnfs.Layer_Dense(16, 3, bias_regularizer_l1=1e-4)
    loss_activation = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    optimizer = nnfs.Optimizer_SGD(decay=1e-2, momentum=0.9)
    size = batch_size or 120
    for _ in range(3):
        for start in range(0, 120, size):
            part = slice(start, min(start + size, 120))
            dense1.forward(nn.functional.getitem(X, (part, ...)))
            activation1.forward(dense1.output)
            dropout1.forward(activation1.output)
            dense2.forward(dropout1.output)
            classes = nn.functional.getitem(y, (part, ...))
            loss_activation.forward(dense2.output, classes)
            loss_activation.backward(loss_activation.output, classes)
            dense2.backward(loss_activation.dinputs)
            dropout1.backward(dense2.dinputs)
            activation1.backward(dropout1.dinputs)
            dense1.backward(activation1.dinputs)
            optimizer.pre_update_params()
            optimizer.update_params(dense1)
            optimizer.update_params(dense2)
            optimizer.post_update_params()
    for ours, loops in zip(model.trainable_layers, (dense1, dense2), strict=True):
        for name in ("weights", "biases", "weight_momentums", "dweights"):
            np.testing.assert_array_equal(nn.to_numpy(getattr(ours, name)), nn.to_numpy(getattr(loops, name)))
            assert nn.to_numpy(getattr(ours, name)).dtype == np.float32


NUMBERS = r"acc: \d\.\d{3}, loss: \d+\.\d{3} \(data_loss: \d+\.\d{3}, reg_loss: \d+\.\d{3}\), lr: [\d.]+"


def test_without_batches_the_lines_are_those_of_chapter_18(book, capsys):
    model, X, y = model_and_data(nnfs.Optimizer_Adam(learning_rate=0.05, decay=5e-5))
    model.train(X, y, epochs=4, print_every=2, validation_data=(X, y))
    lines = capsys.readouterr().out.splitlines()
    patterns = [
        rf"epoch: 2, {NUMBERS}",
        rf"epoch: 4, {NUMBERS}",
        r"validation, acc: \d\.\d{3}, loss: \d+\.\d{3}",
    ]
    assert len(lines) == len(patterns)
    assert all(map(re.fullmatch, patterns, lines))
    assert lines[1].endswith(f"lr: {0.05 * (1 / (1 + 5e-5 * 3))}")


def test_with_batches_the_lines_are_those_of_chapter_19(book, capsys):
    model, X, y = model_and_data(nnfs.Optimizer_Adam(decay=5e-5))
    model.train(X, y, epochs=2, batch_size=32, print_every=3, validation_data=(X, y))
    lines = capsys.readouterr().out.splitlines()
    steps = [
        rf"step: 0, {NUMBERS}",
        rf"step: 3, {NUMBERS}",
    ]  # 120 samples are 4 batches; the last is always shown
    ends = [rf"training, {NUMBERS}", r"validation, acc: \d\.\d{3}, loss: \d+\.\d{3}"]
    patterns = ["epoch: 1", *steps, *ends, "epoch: 2", *steps, *ends]
    assert len(lines) == len(patterns)
    assert all(map(re.fullmatch, patterns, lines))


def test_the_line_of_an_epoch_counts_uneven_batches_by_their_samples(wide, capsys):
    model, X, y = model_and_data(nnfs.Optimizer_SGD(learning_rate=0.0))
    model.layers.pop(2)  # without dropout and with a rate of 0 nothing changes from batch to batch
    model.finalize()
    model.train(X, y, epochs=1, batch_size=50)
    training = [line for line in capsys.readouterr().out.splitlines() if line.startswith("training")]
    model.evaluate(X, y)
    accuracy, loss = re.findall(r"(?:acc|loss): ([\d.]+)", capsys.readouterr().out)
    assert training[0].startswith(f"training, acc: {accuracy}, ")
    assert f"(data_loss: {loss}," in training[0]


def test_evaluation_and_prediction_in_batches_are_those_of_all_at_once(book, capsys):
    model, X, y = model_and_data(nnfs.Optimizer_Adam())
    model.train(X, y, epochs=2)
    capsys.readouterr()
    model.evaluate(X, y)
    model.evaluate(X, y, batch_size=50)
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    at_once, in_parts = nn.to_numpy(model.predict(X)), nn.to_numpy(model.predict(X, batch_size=50))
    assert at_once.shape == in_parts.shape == (120, 3)
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-6)


def test_a_regression_is_trained_and_its_accuracy_told(book, capsys):
    X, y = nnfs.sine_data(samples=100)
    model = nnfs.Model()
    for layer in (
        nnfs.Layer_Dense(1, 32),
        nnfs.Activation_ReLU(),
        nnfs.Layer_Dense(32, 1),
        nnfs.Activation_Linear(),
    ):
        model.add(layer)
    model.set(
        loss=nnfs.Loss_MeanSquaredError(),
        optimizer=nnfs.Optimizer_Adam(learning_rate=0.02, decay=1e-3),
        accuracy=nnfs.Accuracy_Regression(),
    )
    model.finalize()
    model.train(X, y, epochs=60, print_every=60)
    assert model.accuracy.precision == pytest.approx(float(np.std(nn.to_numpy(y))) / 250)
    (line,) = capsys.readouterr().out.splitlines()
    assert float(re.search(r"data_loss: ([\d.]+)", line)[1]) < 0.5 * float(np.var(nn.to_numpy(y)))


def test_numbers_to_print_have_the_digits_of_their_dtype(book):
    loss = nnfs.Loss_MeanSquaredError().calculate(nnfs.randn(4, 1), nnfs.randn(4, 1))
    assert loss.dtype == np.float32
    with redirect_stdout(io.StringIO()) as printed:
        print(loss)
    assert len(printed.getvalue()) < 13


def test_the_random_search_of_chapter_6_with_numpys_own_functions():
    """Weights are moved in place by the reader's own draws, copied, and put back."""
    nnfs.init(dot_precision_workaround=False, default_dtype="float64", backend="numpy")
    X, y = nnfs.vertical_data(samples=30, classes=3)
    dense1, activation1 = nnfs.Layer_Dense(2, 3), nnfs.Activation_ReLU()
    dense2, activation2 = nnfs.Layer_Dense(3, 3), nnfs.Activation_Softmax()
    loss_function, lowest, history = nnfs.Loss_CategoricalCrossentropy(), 9999999, []
    best = [array.copy() for layer in (dense1, dense2) for array in layer.get_parameters()]
    for _ in range(60):
        dense1.weights += 0.05 * np.random.randn(2, 3)
        dense1.biases += 0.05 * np.random.randn(1, 3)
        dense2.weights += 0.05 * np.random.randn(3, 3)
        dense2.biases += 0.05 * np.random.randn(1, 3)
        dense1.forward(X)
        activation1.forward(dense1.output)
        dense2.forward(activation1.output)
        activation2.forward(dense2.output)
        loss = loss_function.calculate(activation2.output, y)
        accuracy = np.mean(np.argmax(activation2.output, axis=1) == y)
        if loss < lowest:
            best = [array.copy() for layer in (dense1, dense2) for array in layer.get_parameters()]
            lowest = loss
        else:
            dense1.weights, dense1.biases, dense2.weights, dense2.biases = (array.copy() for array in best)
        history.append((loss, accuracy))

    random = np.random.RandomState(0)
    X, y = nn.datasets.vertical_data(30, 3, random=random, dtype="float64")
    kept = [0.01 * random.randn(2, 3), np.zeros((1, 3)), 0.01 * random.randn(3, 3), np.zeros((1, 3))]
    lowest, expected = 9999999, []
    for _ in range(60):
        tried = [array + 0.05 * random.randn(*array.shape) for array in kept]
        z = np.maximum(X @ tried[0] + tried[1], 0) @ tried[2] + tried[3]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        expected.append((loss, np.mean(p.argmax(axis=1) == y)))
        if loss < lowest:
            kept, lowest = tried, loss
    np.testing.assert_allclose(history, expected, rtol=1e-12)


def test_layers_and_optimizers_of_the_readers_own_fit_in(wide):
    """The book has its readers write them: they need its attributes only."""

    class Own:
        weight_regularizer_l2 = 0.5

        def __init__(self):
            self.weights, self.biases = np.full((2, 1), 2.0), np.zeros((1, 1))

        def forward(self, inputs, training):
            self.inputs = nn.to_numpy(inputs)
            self.output = self.inputs @ self.weights + self.biases

        def backward(self, dvalues):
            dvalues = nn.to_numpy(dvalues)
            self.dweights, self.dbiases = self.inputs.T @ dvalues, dvalues.sum(axis=0, keepdims=True)
            self.dinputs = dvalues @ self.weights.T

    class Descent:
        current_learning_rate = 0.1

        def pre_update_params(self):
            pass

        def update_params(self, layer):
            layer.weights = layer.weights - 0.1 * layer.dweights
            layer.biases = layer.biases - 0.1 * layer.dbiases

        post_update_params = pre_update_params

    own = Own()
    assert nnfs.Loss_MeanSquaredError().regularization_loss(own) == 0.5 * 8.0
    for optimizer in (Descent(), nnfs.Optimizer_SGD(learning_rate=0.1)):
        own = Own()
        model = nnfs.Model()
        model.add(own)
        model.add(nnfs.Activation_Linear())
        model.set(loss=nnfs.Loss_MeanSquaredError(), optimizer=optimizer, accuracy=nnfs.Accuracy_Regression())
        model.finalize()
        model.train([[1.0, 0.0]], [[0.0]], epochs=1)
        np.testing.assert_allclose(nn.to_numpy(own.weights), [[2.0 - 0.1 * 4.0], [2.0]])
