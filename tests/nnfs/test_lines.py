"""The book's model prints the lines, and ends with the weights, of a plain NumPy program that is written down here."""

import itertools

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import nnfs

EPOCHS = 12
PENALTIES = {
    "weight_regularizer_l1": 1e-4,
    "weight_regularizer_l2": 5e-4,
    "bias_regularizer_l1": 2e-4,
    "bias_regularizer_l2": 5e-4,
}


def sgd(w, g, memory, rate, t):
    memory["v"] = 0.9 * memory.get("v", 0.0) - rate * g
    return w + memory["v"]


def adagrad(w, g, memory, rate, t):
    memory["c"] = memory.get("c", 0.0) + g**2
    return w - rate * g / (np.sqrt(memory["c"]) + 1e-7)


def rmsprop(w, g, memory, rate, t):
    memory["c"] = 0.9 * memory.get("c", 0.0) + 0.1 * g**2
    return w - rate * g / (np.sqrt(memory["c"]) + 1e-7)


def adam(w, g, memory, rate, t):
    memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    memory["c"] = 0.999 * memory.get("c", 0.0) + 0.001 * g**2
    return w - rate * (memory["m"] / (1 - 0.9**t)) / (np.sqrt(memory["c"] / (1 - 0.999**t)) + 1e-7)


#: name -> the rule, the learning rate, its decay, and the book's optimizer.
OPTIMIZERS = {
    "sgd": (sgd, 0.5, 1e-3, lambda: nnfs.Optimizer_SGD(0.5, decay=1e-3, momentum=0.9)),
    "adagrad": (adagrad, 0.1, 1e-4, lambda: nnfs.Optimizer_Adagrad(0.1, decay=1e-4)),
    "rmsprop": (rmsprop, 0.02, 1e-5, lambda: nnfs.Optimizer_RMSprop(0.02, decay=1e-5)),
    "adam": (adam, 0.05, 5e-7, lambda: nnfs.Optimizer_Adam(0.05, decay=5e-7)),
}


class Plain:
    """Chapters 14 to 20 in NumPy: dense, ReLU, dropout and dense, with a head, penalties and an optimizer."""

    def __init__(self, head, widths, drop, optimizer):
        self.head, self.drop = head, drop
        self.rule, self.start, self.decay, _ = OPTIMIZERS[optimizer]
        self.parameters = []
        for before, after in itertools.pairwise(widths):
            self.parameters += [0.01 * np.random.randn(before, after), np.zeros((1, after))]
        self.memories = [{} for _ in self.parameters]
        self.steps, self.lines = 0, []

    def forward(self, X, training):
        W1, b1, W2, b2 = self.parameters
        z = X @ W1 + b1
        mask = 1.0
        if self.drop and training:
            mask = np.random.binomial(1, 1 - self.drop, size=z.shape) / (1 - self.drop)
        hidden = np.maximum(0, z) * mask
        o = hidden @ W2 + b2
        if self.head == "softmax":
            e = np.exp(o - o.max(axis=1, keepdims=True))
            o = e / e.sum(axis=1, keepdims=True)
        elif self.head == "sigmoid":
            o = 1 / (1 + np.exp(-o))
        return z, mask, hidden, o

    def measures(self, o, y):
        """Return the loss of each sample, whether each answer is right, and the gradient of the mean loss."""
        n = len(o)
        if self.head == "softmax":
            t = np.eye(o.shape[1])[y]
            losses = -np.log((np.clip(o, 1e-7, 1 - 1e-7) * t).sum(axis=1))
            return losses, o.argmax(axis=1) == y, (o - t) / n
        if self.head == "sigmoid":
            p = np.clip(o, 1e-7, 1 - 1e-7)
            losses = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=1)
            return losses, (o > 0.5) == y, -(y / p - (1 - y) / (1 - p)) * o * (1 - o) / n
        return ((o - y) ** 2).mean(axis=1), abs(o - y) < self.precision, 2 * (o - y) / n

    def penalty(self):
        W, b = self.parameters[:2]
        return 1e-4 * abs(W).sum() + 5e-4 * (W**2).sum() + 2e-4 * abs(b).sum() + 5e-4 * (b**2).sum()

    def step(self, X, y):
        z, mask, hidden, o = self.forward(X, True)
        losses, right, d = self.measures(o, y)
        penalty = self.penalty()
        W1, b1, W2, _ = self.parameters
        dz = d @ W2.T * mask * (z > 0)
        slopes = [X.T @ dz, dz.sum(axis=0, keepdims=True), hidden.T @ d, d.sum(axis=0, keepdims=True)]
        slopes[0] = slopes[0] + 1e-4 * np.where(W1 < 0, -1, 1) + 1e-3 * W1
        slopes[1] = slopes[1] + 2e-4 * np.where(b1 < 0, -1, 1) + 1e-3 * b1
        self.rate = self.start * (1.0 / (1.0 + self.decay * self.steps))
        self.steps += 1
        for k, (w, g) in enumerate(zip(self.parameters, slopes, strict=True)):
            self.parameters[k] = self.rule(w, g, self.memories[k], self.rate, self.steps)
        return losses, right, penalty

    def line(self, start, losses, right, penalty):
        mean = losses.mean()
        self.lines.append(
            f"{start}, acc: {right.mean():.3f}, loss: {mean + penalty:.3f} (data_loss: {mean:.3f}, "
            f"reg_loss: {penalty:.3f}), lr: {self.rate}"
        )

    def train(self, X, y, batch_size, print_every):
        self.precision = np.std(y) / 250
        for epoch in range(1, EPOCHS + 1):
            if batch_size is None:
                measured = self.step(X, y)
                if epoch % print_every == 0:
                    self.line(f"epoch: {epoch}", *measured)
                continue
            self.lines.append(f"epoch: {epoch}")
            cuts, seen = range(0, len(X), batch_size), []
            for number, cut in enumerate(cuts):
                seen.append(self.step(X[cut : cut + batch_size], y[cut : cut + batch_size]))
                if number % print_every == 0 or number == len(cuts) - 1:
                    self.line(f"step: {number}", *seen[-1])
            losses, right, _ = zip(*seen, strict=True)
            self.line("training", np.concatenate(losses), np.concatenate(right), self.penalty())
        losses, right, _ = self.measures(self.forward(X, False)[-1], y)
        self.lines.append(f"validation, acc: {right.mean():.3f}, loss: {losses.mean():.3f}")


def draw(head):
    if head == "linear":
        return map(nn.to_numpy, nnfs.sine_data(samples=200))
    X, y = map(nn.to_numpy, nnfs.spiral_data(samples=60, classes=3 if head == "softmax" else 2))
    return X, y.reshape(-1, 1) if head == "sigmoid" else y


def ours(head, drop, optimizer, X, batch_size):
    outputs = {"softmax": nnfs.Activation_Softmax, "sigmoid": nnfs.Activation_Sigmoid}
    losses = {"softmax": nnfs.Loss_CategoricalCrossentropy, "sigmoid": nnfs.Loss_BinaryCrossentropy}
    model = nnfs.Model()
    model.add(nnfs.Layer_Dense(X.shape[1], 16, **PENALTIES))
    model.add(nnfs.Activation_ReLU())
    if drop:
        model.add(nnfs.Layer_Dropout(drop))
    model.add(nnfs.Layer_Dense(16, 3 if head == "softmax" else 1))
    model.add(outputs.get(head, nnfs.Activation_Linear)())
    accuracy = (
        nnfs.Accuracy_Regression()
        if head == "linear"
        else nnfs.Accuracy_Categorical(binary=head == "sigmoid")
    )
    loss = losses.get(head, nnfs.Loss_MeanSquaredError)()
    model.set(loss=loss, optimizer=OPTIMIZERS[optimizer][-1](), accuracy=accuracy)
    model.finalize()
    return model


@pytest.mark.parametrize("batch_size", [None, 50])
@pytest.mark.parametrize(
    ("head", "drop", "optimizer"),
    [
        ("softmax", 0.0, "sgd"),
        ("softmax", 0.1, "adam"),
        ("sigmoid", 0.0, "rmsprop"),
        ("sigmoid", 0.2, "adagrad"),
        ("linear", 0.0, "adam"),
    ],
)
def test_a_model_prints_the_lines_of_a_plain_program(
    head, drop, optimizer, batch_size, wide, backend, capsys
):
    if backend.name == "jax" and (head, batch_size) != ("softmax", None):
        pytest.skip("op by op it takes long: two runs are enough")
    X, y = draw(head)
    plain = Plain(head, (X.shape[1], 16, 3 if head == "softmax" else 1), drop, optimizer)
    plain.train(X, y, batch_size, 3)

    nnfs.init(dot_precision_workaround=False, default_dtype="float64", backend=backend)
    X, y = draw(head)
    model = ours(head, drop, optimizer, X, batch_size)
    model.train(X, y, epochs=EPOCHS, batch_size=batch_size, print_every=3)
    model.evaluate(X, y)
    assert capsys.readouterr().out.splitlines() == plain.lines
    found = [nn.to_numpy(array) for pair in model.get_parameters() for array in pair]
    for array, expected in zip(found, plain.parameters, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-8, atol=1e-12)
