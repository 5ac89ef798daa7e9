"""Keras, by its own training loop; the environment says on which backend."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.case import Case, Run


def _threads(case: Case) -> None:
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(case.threads)


def _optimizer(case: Case) -> Any:
    given = case.optimizer
    if "momentum" in given:
        return keras.optimizers.SGD(given["learning_rate"], given["momentum"])
    return keras.optimizers.Adam(given["learning_rate"], given["beta_1"], given["beta_2"], given["epsilon"])


def _compiled(model: Any, case: Case, loss: Any = None) -> Any:
    _threads(case)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(_optimizer(case), loss)
    return model


def _trains(model: Any, case: Case, loss: Any = None) -> Run:
    _compiled(model, case, loss)

    def run(steps: int) -> float:
        for _ in range(steps):
            model.reset_metrics()  # so that the loss is that of the batch
            loss = model.train_on_batch(case.x, case.y)
        return float(loss)

    return run


def _network(case: Case) -> Any:
    *hidden, last = [layers.Dense(len(bias), activation="relu") for _, bias in case.layers]
    model = keras.Sequential([layers.Input(case.sizes[:1]), *hidden, layers.Dense(last.units)])
    model.set_weights(list(case.weights.values()))
    return model


def mlp(case: Case) -> Run:
    return _trains(_network(case), case)


def cnn(case: Case) -> Run:
    parts = [
        layers.Input(case.sizes),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10),
    ]
    model = keras.Sequential(parts)
    model.set_weights(list(case.weights.values()))
    return _trains(model, case)


def lstm(case: Case) -> Run:
    model = keras.Sequential([layers.Input(case.sizes), layers.LSTM(128), layers.Dense(10)])
    model.set_weights(list(case.weights.values()))
    return _trains(model, case)


def transformer(case: Case) -> Run:
    given = {path.partition("/")[2]: array for path, array in case.weights.items()}
    x = layers.Input(case.sizes)
    attention = layers.MultiHeadAttention(4, case.sizes[-1] // 4)
    first, second = (layers.LayerNormalization(epsilon=1e-5) for _ in range(2))
    inner, outer = layers.Dense(512, activation="relu"), layers.Dense(case.sizes[-1])
    z = first(layers.Add()([x, attention(x, x)]))
    model = keras.Model(x, second(layers.Add()([z, outer(inner(z))])))
    parts = ("query", "key", "value", "attention_output")
    attention.set_weights(
        [given[f"self_attention_layer/{part}/{weight}"] for part in parts for weight in ("kernel", "bias")]
    )
    for layer, name in (
        (inner, "feedforward_intermediate_dense"),
        (outer, "feedforward_output_dense"),
    ):
        layer.set_weights([given[f"{name}/kernel"], given[f"{name}/bias"]])
    return _trains(model, case, "mean_squared_error")


def residual(case: Case) -> Run:
    x = y = layers.Input(case.sizes)
    for number in (1, 2):
        convolution = layers.Conv2D(case.sizes[-1], 3, padding="same", use_bias=False)
        y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(convolution(y))
        convolution.set_weights([case.weights[f"conv_{number}/kernel"]])
        if number == 1:
            y = layers.ReLU()(y)
    model = keras.Model(x, layers.ReLU()(layers.Add()([x, y])))
    return _trains(model, case, "mean_squared_error")


def inference(case: Case) -> Run:
    model = _compiled(_network(case), case)

    def run(steps: int) -> float:
        for _ in range(steps):
            output = model.predict_on_batch(case.x)
        return float(output[0, 0] - output[0, 1])

    return run


def update(case: Case) -> Run:
    _threads(case)
    optimizer = _optimizer(case)
    variable = keras.Variable(case.x)
    gradient = keras.ops.convert_to_tensor(case.y)
    optimizer.build([variable])

    def run(steps: int) -> float:
        for _ in range(steps):
            optimizer.apply([gradient], [variable])
        return float(variable.value[0])

    return run


def fit(case: Case) -> Run:
    keras.utils.set_random_seed(0)
    model, kept = _compiled(_network(case), case), case.validation

    def run(steps: int) -> float:
        for _ in range(steps):
            history = model.fit(
                case.x[:-kept],
                case.y[:-kept],
                case.batch,
                case.epochs,
                validation_data=(case.x[-kept:], case.y[-kept:]),
                validation_batch_size=case.batch,
                verbose=0,
            )
        return float(np.asarray(history.history["val_loss"])[-1])

    return run


KINDS = {
    "mlp": mlp,
    "cnn": cnn,
    "lstm": lstm,
    "transformer": transformer,
    "residual": residual,
    "inference": inference,
    "update": update,
    "fit": fit,
}
