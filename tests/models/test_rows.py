"""Lists of arrays: several inputs, or the rows of one, and errors that say which they were taken for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnbackend as nn

X = np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(4, 3)
Y = np.array([0.0, 1.0, 1.0, 0.0])


class Own(nn.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = nn.Dense(1)

    def forward(self, x: Any) -> Any:
        return self.dense(x)


def graph(backend: Any) -> Any:
    x = nn.Input((3,))
    return nn.Model(x, nn.Dense(1)(x), backend=backend, seed=0)


MAKE = {
    "sequential": lambda backend: nn.Sequential([nn.Dense(1)], backend=backend, seed=0),
    "declared": lambda backend: nn.Sequential([nn.Dense(1)], backend=backend, seed=0, input_shape=(3,)),
    "normalised": lambda backend: nn.Sequential(
        [nn.BatchNormalization(), nn.Dense(1)], backend=backend, seed=0
    ),
    "graph": graph,
    "own": lambda backend: Own(backend=backend, seed=0),
}


@pytest.mark.parametrize("kind", MAKE)
def test_rows_in_a_list_are_samples(kind, light, put):
    model, same = MAKE[kind](light), MAKE[kind](light)
    if kind == "own":  # which may take several inputs, as long as it has seen none
        for each in (model, same):
            each.build((3,))
    for each in (model, same):
        each.compile("sgd", "mse", metrics=["mae"])
    rows = list(X)
    np.testing.assert_array_equal(model.predict(rows), same.predict(X))
    history = model.fit(rows, list(Y[:, None]), batch_size=2, epochs=2, verbose=0).history
    assert same.fit(X, Y, batch_size=2, epochs=2, verbose=0).history == history
    assert model.evaluate(tuple(rows), Y) == same.evaluate(X, Y)
    assert model.train_on_batch(rows, Y) == same.train_on_batch(X, Y)
    np.testing.assert_array_equal(model.predict_on_batch(rows), same.predict_on_batch(X))
    np.testing.assert_array_equal(model.predict([row.tolist() for row in X]), same.predict(X))
    np.testing.assert_array_equal(model.predict(rows[:1]), same.predict(X[:1]))
    of_the_backend = [put(row, "float32") for row in X]
    np.testing.assert_array_equal(nn.to_numpy(model.predict(of_the_backend)), same.predict(X))
    np.testing.assert_array_equal(nn.to_numpy(model(rows)), nn.to_numpy(same(X)))


def test_images_in_a_list_are_samples_of_a_layer_that_says_how_many_axes_it_takes(light):
    images = np.linspace(0.0, 1.0, 50).reshape(2, 5, 5, 1)
    model = nn.Sequential([nn.Conv2D(2, 3)], backend=light, seed=0)
    np.testing.assert_array_equal(model.predict(list(images)), model.predict(images))


def test_columns_in_a_list_stay_several_inputs(light):
    a, b = nn.Input((1,), name="a"), nn.Input((1,), name="b")
    two = nn.Model([a, b], nn.Dense(1)(a + b), backend=light, seed=0)
    assert two.predict([X[:, :1], X[:, :1]]).shape == (4, 1)
    merging = nn.Sequential([nn.Add(), nn.Dense(1)], backend=light, seed=0)
    assert merging.predict([X, X]).shape == (4, 1)
    assert merging.predict([X, X]).shape == (4, 1)  # built, too


@pytest.mark.parametrize("kind", ["sequential", "own"])
def test_several_arrays_for_one_input_are_told_of_stacking(kind, light):
    with pytest.raises(TypeError, match=r"numpy\.stack\(rows\)"):
        MAKE[kind](light).predict([X, X])
    built = MAKE[kind](light)
    built.build((3,))
    with pytest.raises(
        TypeError,
        match=r"^Dense 'dense' expects one input of shape \(n, ..., c\), got a list of 1. Give the array",
    ):
        built.predict([X])


def test_rows_that_are_taken_for_inputs_are_told_of_stacking(light):
    model = MAKE["own"](light)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"got 4 rows of y for 3 of x\[0\].*rows of one are numpy\.stack"):
        model.fit(list(X), Y, verbose=0)


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "validation"])
def test_a_wrong_width_is_told_with_n_for_the_samples(call, light):
    model = MAKE["declared" if call == "validation" else "sequential"](light)
    model.compile("sgd", "mse")
    model.build((3,))
    wrong = (np.ones((6, 5)), np.ones(6))
    calls = {"validation": lambda: model.fit(X, Y, validation_data=wrong, verbose=0)}
    with pytest.raises(ValueError, match=r"got (shape )?\(n, 5\)") as caught:
        calls.get(call, lambda: getattr(model, call)(*wrong))()
    assert all("(1, 5)" not in note for note in getattr(caught.value, "__notes__", ()))
