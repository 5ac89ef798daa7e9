"""What the chapters share: their options, how they print, a network's step, and pictures of clothes or digits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nnbackend as nn
from nnbackend import nnfs

OUTPUT = Path(__file__).resolve().parents[1] / "output"


def begin(description: str | None, argv: Sequence[str] | None, *, images: bool = False) -> argparse.Namespace:
    """Read the options and initialise as the book's programs do, on the backend asked for."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="numpy, cupy, torch, jax or strict; without it NNBACKEND, or numpy",
    )
    parser.add_argument("--quick", action="store_true", help="train briefly and ask for less")
    if images:
        parser.add_argument(
            "--data", metavar="FOLDER", help="Fashion-MNIST's files; without it scikit-learn's digits"
        )
    options = parser.parse_args(argv)
    try:
        nnfs.init(backend=options.backend)
        options.backend = nn.get_backend(options.backend)
    except (nn.BackendUnavailableError, ValueError) as error:
        parser.error(str(error))
    return options


def put(values: Any) -> Any:
    """Return numbers as a float32 array of the backend."""
    return nnfs.settings.real(values, nnfs.settings.chosen_backend(), "float32")


def show(what: str, array: Any) -> None:
    """Print an array under its name."""
    print(f"{what}:\n{nn.to_numpy(array)}")


def verdict(what: str, reached: float, goal: float) -> int:
    """Print what was reached and what was asked for; return the exit status."""
    print(f"{what}: {reached:.3f} (at least {goal:.3f} expected)")
    return 0 if reached >= goal else 1


class Classifier:
    """Two dense layers, ReLU between them and softmax behind, trained in a loop as the book's before its model."""

    def __init__(
        self,
        inputs: int,
        neurons: int,
        classes: int,
        *,
        penalty: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        self.dense1 = nnfs.Layer_Dense(
            inputs, neurons, weight_regularizer_l2=penalty, bias_regularizer_l2=penalty
        )
        self.activation1 = nnfs.Activation_ReLU()
        self.dropout1 = nnfs.Layer_Dropout(dropout) if dropout else None
        self.dense2 = nnfs.Layer_Dense(neurons, classes)
        self.loss_activation = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
        self.accuracy = nnfs.Accuracy_Categorical()

    def forward(self, X: Any, y: Any, *, training: bool) -> tuple[float, float, float]:
        """Return accuracy, loss of the data and penalty."""
        self.dense1.forward(X)
        self.activation1.forward(self.dense1.output)
        hidden = self.activation1.output
        if self.dropout1 is not None:
            self.dropout1.forward(hidden, training)
            hidden = self.dropout1.output
        self.dense2.forward(hidden)
        data_loss = self.loss_activation.forward(self.dense2.output, y)
        loss = self.loss_activation.loss
        penalty = loss.regularization_loss(self.dense1) + loss.regularization_loss(self.dense2)
        predictions = self.loss_activation.activation.predictions(self.loss_activation.output)
        return self.accuracy.calculate(predictions, y), float(data_loss), float(penalty)

    def backward(self, y: Any) -> None:
        """Pass the gradient back to the first layer."""
        self.loss_activation.backward(self.loss_activation.output, y)
        self.dense2.backward(self.loss_activation.dinputs)
        gradient = self.dense2.dinputs
        if self.dropout1 is not None:
            self.dropout1.backward(gradient)
            gradient = self.dropout1.dinputs
        self.activation1.backward(gradient)
        self.dense1.backward(self.activation1.dinputs)

    def train(self, X: Any, y: Any, optimizer: Any, epochs: int, print_every: int) -> None:
        """Take full-batch steps, and print a line now and then."""
        for epoch in range(epochs + 1):
            accuracy, data_loss, penalty = self.forward(X, y, training=True)
            if not epoch % print_every:
                print(
                    f"epoch: {epoch}, acc: {accuracy:.3f}, loss: {data_loss + penalty:.3f} (data_loss: "
                    f"{data_loss:.3f}, reg_loss: {penalty:.3f}), lr: {optimizer.current_learning_rate}"
                )
            self.backward(y)
            optimizer.pre_update_params()
            optimizer.update_params(self.dense1)
            optimizer.update_params(self.dense2)
            optimizer.post_update_params()

    def test(self, X: Any, y: Any) -> float:
        """Print a line for data that were kept back, and return the accuracy."""
        accuracy, loss, _ = self.forward(X, y, training=False)
        print(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")
        return accuracy


class Images:
    """Pictures in grey, to train and to test on: Fashion-MNIST from local files, or else scikit-learn's digits."""

    def __init__(self, folder: str | None, quick: bool) -> None:
        if folder is not None:
            (x, y), (x_test, y_test) = nn.datasets.fashion_mnist(folder)
            self.names = nn.datasets.FASHION_MNIST_CLASSES
            self.brightest, self.shape = 255, (28, 28)
            print(f"Fashion-MNIST, from {folder}")
        else:
            try:
                x, y = nn.datasets.digits()
            except ImportError:
                sys.exit('This chapter needs scikit-learn. Install it: pip install "nnbackend[examples]"')
            order = np.random.RandomState(1).permutation(len(x))
            test, train = order[:360], order[360:]
            x, y, x_test, y_test = x[train], y[train], x[test], y[test]
            self.names = [f"digit {number}" for number in range(10)]
            self.brightest, self.shape = 16, (8, 8)
            print(
                "The book's Fashion-MNIST is not fetched here: these are scikit-learn's 1,797 scans of digits. For the "
                "clothes, give the folder of their four files: --data FOLDER"
            )
        if quick:
            x, y, x_test, y_test = x[:4000], y[:4000], x_test[:1000], y_test[:1000]
        keys = np.arange(len(x))
        np.random.shuffle(keys)  # the book's order: from the generator that nnfs.init seeded
        self.X, self.y = self.prepare(x[keys]), y[keys]
        self.X_test, self.y_test = self.prepare(x_test), y_test

    def prepare(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures as rows of numbers from -1 to 1."""
        half = self.brightest / 2
        return (pictures.reshape(len(pictures), -1).astype(np.float32) - half) / half

    def model(self, neurons: int) -> nnfs.Model:
        """Return a model of two hidden layers for these pictures."""
        model = nnfs.Model()
        model.add(nnfs.Layer_Dense(self.X.shape[1], neurons))
        model.add(nnfs.Activation_ReLU())
        model.add(nnfs.Layer_Dense(neurons, neurons))
        model.add(nnfs.Activation_ReLU())
        model.add(nnfs.Layer_Dense(neurons, 10))
        model.add(nnfs.Activation_Softmax())
        model.set(
            loss=nnfs.Loss_CategoricalCrossentropy(),
            optimizer=nnfs.Optimizer_Adam(learning_rate=0.005, decay=1e-4),
            accuracy=nnfs.Accuracy_Categorical(),
        )
        model.finalize()
        return model


def share_right(model: nnfs.Model, X: Any, y: Any) -> float:
    """Return the accuracy of a model on data, without a printed line."""
    output = model.predict(X, batch_size=128)
    predictions = nn.to_numpy(model.output_layer_activation.predictions(output))
    return float(np.mean(predictions == y))
