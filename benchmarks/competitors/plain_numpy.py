"""Plain NumPy as books write it: one class for each layer, fresh arrays for each result, nothing tuned.

Written afresh in the manner of "Neural Networks from Scratch"; convolution and LSTM as textbooks have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Run
from benchmarks.competitors.fitting import fits


class Dense:
    def __init__(self, weights: Any, biases: Any) -> None:
        self.weights, self.biases = weights.copy(), biases.copy()

    def forward(self, inputs: Any) -> Any:
        self.inputs = inputs
        return np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues: Any) -> Any:
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0)
        return np.dot(dvalues, self.weights.T)


class ReLU:
    def forward(self, inputs: Any) -> Any:
        self.inputs = inputs
        return np.maximum(0, inputs)

    def backward(self, dvalues: Any) -> Any:
        dinputs = dvalues.copy()
        dinputs[self.inputs <= 0] = 0
        return dinputs


class Flatten:
    def forward(self, inputs: Any) -> Any:
        self.shape = inputs.shape
        return inputs.reshape(len(inputs), -1)

    def backward(self, dvalues: Any) -> Any:
        return dvalues.reshape(self.shape)


class Convolution:
    """Columns of all windows, and one product."""

    def __init__(self, weights: Any, biases: Any) -> None:
        self.weights, self.biases = weights.copy(), biases.copy()

    def forward(self, inputs: Any) -> Any:
        size, _, channels, filters = self.weights.shape
        self.shape = inputs.shape
        n, rows, columns = len(inputs), inputs.shape[1] - size + 1, inputs.shape[2] - size + 1
        windows = np.empty((n, rows, columns, size, size, channels), inputs.dtype)
        for i in range(size):
            for j in range(size):
                windows[:, :, :, i, j] = inputs[:, i : i + rows, j : j + columns]
        self.windows = windows.reshape(n * rows * columns, -1)
        output = np.dot(self.windows, self.weights.reshape(-1, filters)) + self.biases
        return output.reshape(n, rows, columns, filters)

    def backward(self, dvalues: Any) -> Any:
        size, _, channels, filters = self.weights.shape
        n, rows, columns = dvalues.shape[:3]
        flat = dvalues.reshape(-1, filters)
        self.dweights = np.dot(self.windows.T, flat).reshape(self.weights.shape)
        self.dbiases = np.sum(flat, axis=0)
        dwindows = np.dot(flat, self.weights.reshape(-1, filters).T)
        dwindows = dwindows.reshape(n, rows, columns, size, size, channels)
        dinputs = np.zeros(self.shape, dvalues.dtype)
        for i in range(size):
            for j in range(size):
                dinputs[:, i : i + rows, j : j + columns] += dwindows[:, :, :, i, j]
        return dinputs


class MaxPooling:
    def forward(self, inputs: Any) -> Any:
        n, rows, columns, channels = self.shape = inputs.shape
        blocks = inputs.reshape(n, rows // 2, 2, columns // 2, 2, channels)
        blocks = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, rows // 2, columns // 2, channels, 4)
        self.chosen = np.argmax(blocks, axis=-1)[..., None]
        return np.take_along_axis(blocks, self.chosen, axis=-1)[..., 0]

    def backward(self, dvalues: Any) -> Any:
        n, rows, columns, channels = self.shape
        blocks = np.zeros((*dvalues.shape, 4), dvalues.dtype)
        np.put_along_axis(blocks, self.chosen, dvalues[..., None], axis=-1)
        blocks = blocks.reshape(n, rows // 2, columns // 2, channels, 2, 2)
        return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(self.shape)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class LSTM:
    """Step by step; the gates in the order i, f, g, o."""

    def __init__(self, weights: Any, recurrent: Any, biases: Any) -> None:
        self.weights, self.biases = np.vstack([weights, recurrent]), biases.copy()

    def forward(self, inputs: Any) -> Any:
        n, steps, self.features = inputs.shape
        units = len(self.biases) // 4
        h, c = np.zeros((n, units), inputs.dtype), np.zeros((n, units), inputs.dtype)
        self.kept = []
        for t in range(steps):
            both = np.hstack([inputs[:, t], h])
            z = np.dot(both, self.weights) + self.biases
            i, f = sigmoid(z[:, :units]), sigmoid(z[:, units : 2 * units])
            g, o = np.tanh(z[:, 2 * units : 3 * units]), sigmoid(z[:, 3 * units :])
            before, c = c, f * c + i * g
            h = o * np.tanh(c)
            self.kept.append((both, i, f, g, o, before, c))
        return h

    def backward(self, dvalues: Any) -> Any:
        self.dweights, self.dbiases = np.zeros_like(self.weights), np.zeros_like(self.biases)
        dh, dc = dvalues, np.zeros_like(dvalues)
        dinputs = []
        for both, i, f, g, o, before, c in reversed(self.kept):
            squashed = np.tanh(c)
            dc = dc + dh * o * (1 - squashed**2)
            dz = np.hstack(
                [
                    dc * g * i * (1 - i),
                    dc * before * f * (1 - f),
                    dc * i * (1 - g**2),
                    dh * squashed * o * (1 - o),
                ]
            )
            self.dweights += np.dot(both.T, dz)
            self.dbiases += np.sum(dz, axis=0)
            dboth = np.dot(dz, self.weights.T)
            dinputs.append(dboth[:, : self.features])
            dh, dc = dboth[:, self.features :], dc * f
        return np.stack(dinputs[::-1], axis=1)


class SoftmaxCrossEntropy:
    def forward(self, inputs: Any, y: Any) -> float:
        exponents = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        self.output = exponents / np.sum(exponents, axis=1, keepdims=True)
        confidences = np.clip(self.output, 1e-7, 1 - 1e-7)[range(len(inputs)), y]
        return float(np.mean(-np.log(confidences)))

    def backward(self, y: Any) -> Any:
        dinputs = self.output.copy()
        dinputs[range(len(dinputs)), y] -= 1
        return dinputs / len(dinputs)


class Adam:
    def __init__(self, learning_rate: float, beta_1: float, beta_2: float, epsilon: float) -> None:
        self.rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.iterations = 0

    def pre_update(self) -> None:
        self.iterations += 1

    def update(self, layer: Any) -> None:
        if not hasattr(layer, "weight_momentums"):
            layer.weight_momentums, layer.weight_cache = (
                np.zeros_like(layer.weights),
                np.zeros_like(layer.weights),
            )
            layer.bias_momentums, layer.bias_cache = np.zeros_like(layer.biases), np.zeros_like(layer.biases)
        b1, b2 = self.beta_1, self.beta_2
        layer.weight_momentums = b1 * layer.weight_momentums + (1 - b1) * layer.dweights
        layer.bias_momentums = b1 * layer.bias_momentums + (1 - b1) * layer.dbiases
        weight_momentums = layer.weight_momentums / (1 - b1**self.iterations)
        bias_momentums = layer.bias_momentums / (1 - b1**self.iterations)
        layer.weight_cache = b2 * layer.weight_cache + (1 - b2) * layer.dweights**2
        layer.bias_cache = b2 * layer.bias_cache + (1 - b2) * layer.dbiases**2
        weight_cache = layer.weight_cache / (1 - b2**self.iterations)
        bias_cache = layer.bias_cache / (1 - b2**self.iterations)
        layer.weights += -self.rate * weight_momentums / (np.sqrt(weight_cache) + self.epsilon)
        layer.biases += -self.rate * bias_momentums / (np.sqrt(bias_cache) + self.epsilon)


class SGD:
    def __init__(self, learning_rate: float, momentum: float) -> None:
        self.rate, self.momentum = learning_rate, momentum

    def pre_update(self) -> None:
        pass

    def update(self, layer: Any) -> None:
        if not hasattr(layer, "weight_momentums"):
            layer.weight_momentums = np.zeros_like(layer.weights)
            layer.bias_momentums = np.zeros_like(layer.biases)
        weight_updates = self.momentum * layer.weight_momentums - self.rate * layer.dweights
        layer.weight_momentums = weight_updates
        bias_updates = self.momentum * layer.bias_momentums - self.rate * layer.dbiases
        layer.bias_momentums = bias_updates
        layer.weights += weight_updates
        layer.biases += bias_updates


class Network:
    """Layers in a row, with softmax and cross-entropy at the end."""

    def __init__(self, layers: list[Any], optimizer: Any) -> None:
        self.layers, self.optimizer, self.loss = layers, optimizer, SoftmaxCrossEntropy()

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def train(self, x: Any, y: Any) -> float:
        loss = self.loss.forward(self.forward(x), y)
        dvalues = self.loss.backward(y)
        for layer in reversed(self.layers):
            dvalues = layer.backward(dvalues)
        self.optimizer.pre_update()
        for layer in self.layers:
            if hasattr(layer, "weights"):
                self.optimizer.update(layer)
        return loss


def dense_network(case: Case) -> Network:
    layers: list[Any] = []
    for weights, biases in case.layers:
        layers += [Dense(weights, biases), ReLU()]
    return Network(layers[:-1], Adam(**case.optimizer))


def trains(network: Network, case: Case) -> Run:
    def run(steps: int) -> float:
        for _ in range(steps):
            loss = network.train(case.x, case.y)
        return loss

    return run


def mlp(case: Case) -> Run:
    return trains(dense_network(case), case)


def cnn(case: Case) -> Run:
    (k1, b1), (k2, b2), (w3, b3), (w4, b4) = case.layers
    layers = [
        *(Convolution(k1, b1), ReLU(), Convolution(k2, b2), ReLU(), MaxPooling(), Flatten()),
        *(Dense(w3, b3), ReLU(), Dense(w4, b4)),
    ]
    return trains(Network(layers, SGD(**case.optimizer)), case)


def lstm(case: Case) -> Run:
    *lstm_weights, weights, biases = case.weights.values()
    return trains(Network([LSTM(*lstm_weights), Dense(weights, biases)], Adam(**case.optimizer)), case)


def inference(case: Case) -> Run:
    network = dense_network(case)

    def run(steps: int) -> float:
        for _ in range(steps):
            output = network.forward(case.x)
        return float(output[0, 0] - output[0, 1])

    return run


def update(case: Case) -> Run:
    optimizer = Adam(**case.optimizer)
    layer = Dense(case.x, np.zeros(1, case.x.dtype))
    layer.dweights, layer.dbiases = case.y, np.zeros(1, case.x.dtype)

    def run(steps: int) -> float:
        for _ in range(steps):
            optimizer.pre_update()
            optimizer.update(layer)
        return float(layer.weights[0])

    return run


def fit(case: Case) -> Run:
    network = dense_network(case)

    def measure(x: Any, y: Any) -> float:
        return network.loss.forward(network.forward(x), y)

    return fits(case, network.train, measure)


KINDS = {"mlp": mlp, "cnn": cnn, "lstm": lstm, "inference": inference, "update": update, "fit": fit}
