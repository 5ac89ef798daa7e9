"""Penalties and their gradients."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import regularizers

W = np.array([[1.5, -2.0], [0.0, 0.5]])


@pytest.mark.parametrize(
    ("which", "value", "slope"),
    [
        (regularizers.L1(0.1), 0.4, 0.1 * np.sign(W)),
        (regularizers.L2(0.1), 0.65, 0.2 * W),
        (regularizers.L1L2(0.1, 0.01), 0.465, 0.1 * np.sign(W) + 0.02 * W),
        (regularizers.get("l1"), 0.04, 0.01 * np.sign(W)),
        (regularizers.get("l2"), 0.065, 0.02 * W),
    ],
)
def test_penalties_and_slopes_are_those_of_the_formula(put, which, value, slope):
    w = put(W)
    assert float(nn.to_numpy(which(w))) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(nn.to_numpy(nn.grad(which)(w)), slope, rtol=1e-12)


def test_a_penalty_of_nothing_is_zero(put):
    assert float(regularizers.L1L2()(put(W))) == 0.0


def test_penalties_are_added_once_for_a_shared_layer(backend):
    dense = nn.Dense(2, use_bias=False, kernel_initializer="ones", kernel_regularizer=regularizers.L2(0.5))
    model = nn.Sequential([dense, dense], backend=backend)
    model.compile("sgd", "mse")
    assert model.evaluate(np.zeros((1, 2)), np.zeros((1, 2)))["loss"] == 2.0


def test_penalties_of_ones_own_and_on_any_weight_are_added(backend):
    class Shrink(regularizers.Regularizer):
        def __call__(self, weight):
            return 3.0 * nn.functional.sum(weight)

    class Layer(nn.Layer):
        def build(self, input_shape):
            self.w = self.add_weight("w", input_shape, "ones", regularizer=Shrink())

        def forward(self, x):
            return x * self.w

    model = nn.Sequential([Layer()], backend=backend)
    model.compile("sgd", "mse")
    assert model.evaluate(np.zeros((1, 2)), np.zeros((1, 2)))["loss"] == 6.0


@pytest.mark.parametrize("arguments", [{"l1": -1.0}, {"l2": -1.0}])
def test_negative_factors_are_refused(arguments):
    with pytest.raises(ValueError, match="expects factors that are not negative"):
        regularizers.L1L2(**arguments)


def test_none_is_no_penalty():
    assert regularizers.get(None) is None


def off_diagonal(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T)
    count = len(rows)
    return (cosines.sum() - count) / (count * (count - 1))


@pytest.mark.parametrize(
    ("mode", "shape"), [("rows", (3, 5)), ("columns", (5, 3)), ("columns", (2, 2, 3, 4))]
)
def test_the_orthogonal_penalty_is_the_mean_absolute_cosine(put, rng, mode, shape):
    w = rng.normal(size=shape)
    matrix = w.reshape(-1, shape[-1])
    which = regularizers.OrthogonalRegularizer(0.5, mode)
    expected = 0.5 * off_diagonal(matrix if mode == "rows" else matrix.T)
    assert float(nn.to_numpy(which(put(w)))) == pytest.approx(expected, rel=1e-12)
    nn.gradcheck(which, put(w))


def test_the_orthogonal_penalty_draws_weights_apart(backend, put):
    which, w = regularizers.OrthogonalRegularizer(1.0), put([[1.0, 0.2], [1.0, -0.1]])
    before = float(nn.to_numpy(which(w)))
    with backend.scope():
        for _ in range(200):
            w = w - 0.05 * nn.grad(which)(w)
    assert float(nn.to_numpy(which(w))) < 0.05 < before


def test_one_row_alone_and_zeros_have_no_orthogonal_penalty(put):
    assert float(nn.to_numpy(regularizers.OrthogonalRegularizer()(put(np.ones((1, 3)))))) == 0.0
    zeros = put(np.zeros((2, 3)))
    assert float(nn.to_numpy(regularizers.OrthogonalRegularizer()(zeros))) == 0.0
    np.testing.assert_array_equal(
        nn.to_numpy(nn.grad(regularizers.OrthogonalRegularizer())(zeros)), np.zeros((2, 3))
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regularizers.OrthogonalRegularizer(-1.0), "not negative"),
        (lambda: regularizers.OrthogonalRegularizer(1.0, "row"), "Did you mean 'rows'"),
        (lambda: regularizers.OrthogonalRegularizer()(np.ones(3)), "two or more axes"),
    ],
)
def test_orthogonal_penalties_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_penalties_on_activities_are_means_over_the_samples(backend):
    layer = nn.Dense(2, kernel_initializer="ones", activity_regularizer=regularizers.L2(0.01))
    model = nn.Sequential([layer], backend=backend)
    model.compile("sgd", "mse")
    for count in (1, 5):  # the example of Keras's documentation: 5 x 2 outputs of 2 * 2
        x = np.full((count, 2), 2.0)
        loss = model.evaluate(x, np.full((count, 2), 4.0))["loss"]
        assert loss == pytest.approx(0.01 * 2 * 16.0, rel=1e-6)


def test_penalties_on_activities_are_part_of_the_gradient(backend):
    x = np.random.default_rng(0).normal(size=(8, 3))
    layer = nn.Dense(2, use_bias=False, activity_regularizer=regularizers.L2(0.5))
    model = nn.Sequential([layer], backend=backend, seed=0, dtype="float64")
    model.compile(nn.optimizers.SGD(0.1), "mse")
    model.build((3,))
    before = layer.kernel.numpy()
    target = x @ before  # the loss itself is flat here
    model.train_on_batch(x, target)
    slope = 2 * 0.5 * x.T @ (x @ before) / len(x)
    np.testing.assert_allclose(layer.kernel.numpy(), before - 0.1 * slope, rtol=1e-12)


def test_a_layer_adds_to_the_loss_where_there_is_one(backend):
    class Watched(nn.Layer):
        def forward(self, x):
            self.add_loss(nn.functional.mean(x))
            return x

    model = nn.Sequential([Watched(), nn.Dense(1, kernel_initializer="zeros")], backend=backend)
    model.compile("sgd", "mse")
    x = np.full((4, 2), 3.0)
    assert model.evaluate(x, np.zeros((4, 1)))["loss"] == pytest.approx(3.0)
    assert model.train_on_batch(x, np.zeros((4, 1)))["loss"] == pytest.approx(3.0)
    np.testing.assert_array_equal(model.predict(x), np.zeros((4, 1)))


def test_penalties_on_activities_are_saved(tmp_path):
    model = nn.Sequential([nn.Dense(2, activity_regularizer="l1")], seed=0)
    model.compile("sgd", "mse")
    x, y = np.ones((3, 2)), np.zeros((3, 2))
    before = model.evaluate(x, y)
    model.save(tmp_path / "model.safetensors")
    assert nn.load_model(tmp_path / "model.safetensors").evaluate(x, y) == before
