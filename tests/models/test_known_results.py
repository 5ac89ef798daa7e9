"""Tasks whose answer is known: theorems, closed forms, published results."""

import math

import numpy as np
import pytest

import nnbackend as nn


def on_one_backend(backend, reason):
    if backend.name != "numpy":
        pytest.skip(reason)


def test_one_neuron_finds_the_line_of_least_squares(backend):
    """Scikit-learn's example plot_ols: coefficient 938.238, error 2548.07."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_diabetes(return_X_y=True)
    x, y = x[:, [2]], y[:, None]
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0, dtype="float64")
    model.compile(loss="mse")
    model.minimize(x[:-20], y[:-20])
    kernel, _ = model.get_weights()
    assert kernel[0, 0] == pytest.approx(938.238, abs=1e-3)
    assert model.evaluate(x[-20:], y[-20:])["loss"] == pytest.approx(2548.07, abs=0.01)


def test_plain_gradient_descent_finds_it_too(backend):
    on_one_backend(backend, "thousands of steps: one backend is enough")
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_diabetes(return_X_y=True)
    x, y = x[:-20, [2]], y[:-20, None]
    scale = x.std()  # a slope of 938 is reached in standard units
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0, dtype="float64")
    model.compile(nn.optimizers.SGD(0.4), "mse")
    model.fit(x / scale, y, epochs=100, batch_size=len(x), shuffle=False, verbose=0)
    assert model.get_weights()[0][0, 0] / scale == pytest.approx(938.238, abs=1e-3)


def test_a_linear_layer_with_l2_is_ridge_regression(backend):
    random = np.random.default_rng(0)
    x, strength = random.normal(size=(50, 6)), 0.3
    y = x @ random.normal(size=(6, 2)) + random.normal(size=(50, 2))
    layer = nn.Dense(2, use_bias=False, kernel_regularizer=nn.regularizers.L2(strength))
    model = nn.Sequential([layer], backend=backend, seed=0, dtype="float64")
    model.compile(loss="mse")
    model.minimize(x, y, nn.optimizers.LBFGS(gradient_tolerance=1e-9))
    # the loss is the mean over samples and outputs
    closed = np.linalg.solve(x.T @ x + strength * y.size * np.eye(6), x.T @ y)
    np.testing.assert_allclose(layer.kernel.numpy(), closed, rtol=1e-6)


def test_one_softmax_layer_with_l2_is_logistic_regression(backend):
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = datasets.load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    c = 0.5
    theirs = linear_model.LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, y).predict_proba(x)
    penalty = nn.regularizers.L2(1.0 / (2.0 * c * len(x)))  # scikit-learn sums, and halves the square
    model = nn.Sequential(
        [nn.Dense(3, "softmax", kernel_regularizer=penalty)], backend=backend, seed=0, dtype="float64"
    )
    model.compile(loss="sparse_categorical_crossentropy")
    model.minimize(x, y)
    np.testing.assert_allclose(model.predict(x), theirs, atol=1e-4)


XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([[0.0], [1.0], [1.0], [0.0]])


def test_a_linear_model_of_xor_stays_at_ln_2(backend):
    model = nn.Sequential([nn.Dense(1, "sigmoid")], backend=backend, seed=0, dtype="float64")
    model.compile(loss="binary_crossentropy")
    found = model.minimize(*XOR)
    assert found.value == pytest.approx(math.log(2), rel=1e-9)
    np.testing.assert_allclose(model.predict(XOR[0]), 0.5, atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_two_layers_solve_xor(backend, seed):
    on_one_backend(backend, "first weights are the same on every backend, and so is the way from there")
    model = nn.Sequential([nn.Dense(8, "tanh"), nn.Dense(1, "sigmoid")], backend=backend, seed=seed)
    model.compile(nn.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    model.fit(*XOR, epochs=200, batch_size=4, verbose=0)
    measured = model.evaluate(*XOR)
    assert measured["accuracy"] == 1.0
    assert measured["loss"] < 0.05


@pytest.mark.parametrize(
    ("initializer", "activation", "moment"), [("he_normal", "relu", 1.0), ("small", None, (1 / 3) ** 100)]
)
def test_second_moments_through_100_layers(backend, initializer, activation, moment):
    """He keeps 1 with ReLU; plain uniform(-1/sqrt(n), 1/sqrt(n)) shrinks by 3 in each linear layer."""
    on_one_backend(backend, "a property of the first weights, which are the same on every backend")
    width = 128
    if initializer == "small":
        initializer = nn.initializers.RandomUniform(-(width**-0.5), width**-0.5)
    layers = [nn.Dense(width, activation, use_bias=False, kernel_initializer=initializer) for _ in range(100)]
    model = nn.Sequential(layers, backend=backend, seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(64, width))
    y = np.asarray(model.predict(x))
    # He speaks of what goes into an activation: half of its second moment comes out
    found = (y**2).mean() * (2.0 if activation else 1.0)
    # the logarithm walks at random, about (5 / n)^(1/2) in a layer; LeCun's weights would end at -69 with ReLU
    assert abs(math.log(found / moment)) < 6.0


@pytest.mark.parametrize(("initializer", "learns"), [("he_normal", True), ("glorot_normal", False)])
def test_a_30_layer_relu_network_learns_with_he_alone(backend, initializer, learns):
    """Figure 3 of He et al. 2015: with Glorot's weights such a network stays where it begins, at ln 10."""
    on_one_backend(backend, "30 layers: one backend is enough")
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    layers = [nn.Dense(64, "relu", kernel_initializer=initializer) for _ in range(30)]
    head = nn.Dense(10, "softmax", kernel_initializer=initializer)
    model = nn.Sequential([*layers, head], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.005), "sparse_categorical_crossentropy")
    seen = model.fit(x, y, epochs=4, batch_size=32, verbose=0).history["loss"]
    if learns:
        assert seen[-1] < 2.0 < seen[0]
    else:
        assert seen == pytest.approx([math.log(10)] * 4, abs=1e-3)


def test_adams_steps_are_as_long_as_the_learning_rate_whatever_the_scale(backend):
    """Kingma and Ba: |step| is about the rate where gradients keep their sign, and scaling them changes nothing."""
    moved = []
    for scale in (1e-3, 1.0, 1e3):
        w = {"w": backend.from_host([0.0], "float64")}
        optimizer = nn.optimizers.Adam(0.01, epsilon=0.0)
        state = optimizer.init(w)
        for _ in range(10):
            w, state = optimizer.update({"w": backend.from_host([scale], "float64")}, state, w)
        moved.append(float(nn.to_numpy(w["w"])[0]))
    np.testing.assert_allclose(moved, -0.1, rtol=1e-12)


def test_a_linear_autoencoder_finds_the_principal_components(backend):
    """P. Baldi and K. Hornik, 1989: its least error is that of principal component analysis, 1.5304 for 8 of 64."""
    on_one_backend(backend, "hundreds of evaluations: one backend is enough")
    datasets = pytest.importorskip("sklearn.datasets")
    x = datasets.load_digits().data / 16
    x = x - x.mean(axis=0)
    principal = np.sum(np.linalg.svd(x, compute_uv=False)[8:] ** 2) / len(x)
    assert principal == pytest.approx(1.5304, abs=1e-4)
    model = nn.Sequential([nn.Dense(8), nn.Dense(64)], backend=backend, seed=0, dtype="float64")
    model.compile(loss="mse")
    model.minimize(x, x)
    error = 64 * model.evaluate(x, x)["loss"]  # of all pixels of a scan together
    assert principal * (1 - 1e-9) <= error <= principal * 1.005


@pytest.mark.parametrize("split", range(3))
def test_a_dense_network_reads_digits_on_three_splits(backend, split):
    """Scikit-learn's MLPClassifier is right in 0.989, 0.969 and 0.967 of the tests."""
    on_one_backend(backend, "a training of seconds: one backend is enough")
    datasets = pytest.importorskip("sklearn.datasets")
    selection = pytest.importorskip("sklearn.model_selection")
    x, y = datasets.load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = selection.train_test_split(
        x / 16, y, test_size=0.2, stratify=y, random_state=split
    )
    model = nn.Sequential(
        [nn.Dense(100, "relu", kernel_initializer="he_normal"), nn.Dense(10)], backend=backend, seed=split
    )
    model.compile(nn.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=30, batch_size=64, verbose=0)
    assert model.evaluate(x_test, y_test)["accuracy"] > 0.96
