"""Copies of models, layers and what training is made of; and what is not pickled."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import nnbackend as nn

X = np.linspace(-1.0, 1.0, 36, dtype="float32").reshape(12, 3)
Y = np.arange(12) % 3


def stack(backend: Any, **options: Any) -> Any:
    layers = [nn.Dense(5, activation="relu"), nn.BatchNormalization(), nn.Dropout(0.3), nn.Dense(3)]
    return nn.Sequential(layers, backend=backend, seed=3, **options)


def graph(backend: Any, **options: Any) -> Any:
    x = nn.Input((3,))
    shared = nn.Dense(3, activation="tanh", name="shared")
    hidden = shared(shared(x) + x)
    return nn.Model(x, nn.Dense(3)(nn.Dropout(0.3)(hidden)), backend=backend, seed=3, **options)


class Residual(nn.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.blocks = {"a": [nn.Dense(3, kernel_regularizer="l2"), nn.Dropout(0.3)], "b": nn.Dense(3)}

    def forward(self, x: Any) -> Any:
        for layer in self.blocks["a"]:
            x = x + layer(x)
        return self.blocks["b"](x)


def residual(backend: Any, **options: Any) -> Any:
    return Residual(backend=backend, seed=3, **options)


def trained(make: Any, backend: Any, **options: Any) -> Any:
    model = make(backend, **options)
    model.compile(
        nn.optimizers.Adam(0.01, use_ema=True), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    return model


def assert_same(one: Any, other: Any) -> None:
    for found, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", [stack, graph, residual])
def test_a_copy_trains_on_by_itself_as_the_original_would_have(make, light):
    model = trained(make, light)
    before = model.get_weights()
    copied = copy.deepcopy(model)
    assert type(copied) is type(model)
    np.testing.assert_array_equal(copied.predict(X), model.predict(X))
    history = copied.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    for found, expected in zip(model.get_weights(), before, strict=True):  # nothing is shared
        np.testing.assert_array_equal(found, expected)
    assert model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history == history
    assert_same(copied, model)
    assert copied.epochs_trained == model.epochs_trained == 4
    assert list(copied.handles()) == list(model.handles())
    assert copied.evaluate(X, Y) == model.evaluate(X, Y)


def test_a_copy_shares_nothing_but_the_backend(backend):
    model = stack(backend)
    model.compile("adam", "mse")
    model.build((3,))
    copied = copy.deepcopy(model)
    assert copied.backend is model.backend
    assert (copied.seed, copied.optimizer.get_config()) == (model.seed, model.optimizer.get_config())
    assert not {id(layer) for layer in model.family()} & {id(layer) for layer in copied.family()}
    assert not {id(p) for p in model.parameters} & {id(p) for p in copied.parameters}
    assert copied.optimizer is not model.optimizer
    assert copied.loss is not model.loss
    copied.set_weights([0.0 * w for w in copied.get_weights()])
    assert np.any(model.get_weights()[0])


def test_layers_that_are_shared_are_shared_in_the_copy(backend):
    copied = copy.deepcopy(graph(backend))
    assert [layer.name for layer in copied.layers] == ["shared", "dropout", "dense"]
    assert len(copied.get_weights()) == 4


def test_a_copy_that_was_not_built_makes_the_same_weights(backend):
    model = stack(backend)
    copied = copy.deepcopy(model)
    for each in (model, copied):
        each.build((3,))
    assert_same(copied, model)


def test_a_deep_graph_is_copied(light):
    x = y = nn.Input((1,))
    for _ in range(500):
        y = y + 1.0
    np.testing.assert_array_equal(copy.deepcopy(nn.Model(x, y, backend=light)).predict([[1.0]]), [[501.0]])


def test_a_copy_of_a_copy_is_saved_and_loaded(light, tmp_path):
    copied = copy.deepcopy(copy.deepcopy(trained(stack, light)))
    copied.save(tmp_path / "copied.safetensors")
    loaded = nn.load_model(tmp_path / "copied.safetensors", backend=light)
    for each in (copied, loaded):
        each.fit(X, Y, verbose=0)
    assert_same(copied, loaded)


def test_a_callback_may_copy_the_model_within_fit(light):
    copies = []

    class Keep(nn.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            copies.append(copy.deepcopy(self.model))

    model = stack(light)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Keep()])
    assert (copies[0].run, copies[0].feed) == (None, None)
    copies[0].fit(X, Y, epochs=1, verbose=0)
    assert_same(copies[0], model)


def test_within_averaged_weights_the_averages_are_the_copys_own(light):
    model = trained(stack, light)
    with model.averaged_weights():
        copied = copy.deepcopy(model)
        averages = model.get_weights()
    for found, expected in zip(copied.get_weights(), averages, strict=True):
        np.testing.assert_array_equal(found, expected)
    copied.fit(X, Y, verbose=0)  # which the model within the block refuses


def test_options_of_a_copied_optimizer_may_be_set_and_take_effect(light):
    model = trained(stack, light)
    with pytest.raises(TypeError, match="Adam keeps beta_1=0.9: a compiled model has read it"):
        model.optimizer.beta_1 = 0.5
    copied, same = copy.deepcopy(model), copy.deepcopy(model)
    copied.optimizer.beta_1 = 0.5
    assert copied.optimizer.get_config()["beta_1"] == 0.5
    for each in (copied, same):
        each.fit(X, Y, verbose=0)
    assert np.any(copied.get_weights()[0] != same.get_weights()[0])


def test_a_layer_alone_is_copied_with_its_weights(backend, put):
    x = put(X, "float32")
    layer = nn.Dense(2, activation="relu")
    y = nn.to_numpy(layer(x))
    copied = copy.deepcopy(layer)
    np.testing.assert_array_equal(nn.to_numpy(copied(x)), y)
    assert copied.kernel is not layer.kernel
    layer.set_weights([w + 1.0 for w in layer.get_weights()])
    np.testing.assert_array_equal(nn.to_numpy(copied(x)), y)


def test_rules_and_backends_are_copied_as_functions_are(backend):
    held = {"rule": nn.functional.softmax, "backend": backend}
    copied = copy.deepcopy(held)
    assert copied["rule"] is held["rule"]
    assert copied["backend"] is copy.copy(backend) is backend


def test_a_shallow_copy_is_refused():
    with pytest.raises(
        TypeError, match=r"^copy.copy of Sequential 'stack' would share its weights. copy.deepcopy"
    ):
        copy.copy(stack("numpy", name="stack"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: stack("numpy"),
            r"^Sequential 'sequential' is not pickled.*model.save\(path\) and nn.load_model\(path\).*copy.deepcopy",
        ),
        (lambda: nn.Dense(3, activation="relu"), r"^Dense 'dense' is not pickled"),
        (lambda: nn.Parameter("w", np.ones(2), "float64", nn.get_backend("numpy")), "^The weight 'w' is not"),
        (
            lambda: nn.get_backend("numpy"),
            r"^The backend 'numpy' is not pickled.*nn.get_backend\('numpy'\)\.$",
        ),
    ],
)
def test_what_is_not_pickled_says_what_to_do(make, message):
    with pytest.raises(TypeError, match=message):
        pickle.dumps(make())


def test_optimizers_losses_and_metrics_are_pickled():
    made = [nn.optimizers.SGD(0.5, weight_decay=0.1, exclude_from_weight_decay="bias"), nn.losses.Huber(2.0)]
    made += [nn.metrics.AUC(), nn.callbacks.EarlyStopping("loss")]
    back = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own, of this line
    for thing, came in zip(made, back, strict=True):
        assert type(came) is type(thing)
        if not isinstance(thing, nn.callbacks.Callback):
            assert came.get_config() == thing.get_config()
