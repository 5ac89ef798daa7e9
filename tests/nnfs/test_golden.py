"""The book's runs of chapter 10, in float64, and what it prints."""

import hashlib

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import nnfs

EPOCHS = (0, 1, 10, 50, 100)
#: optimizer, losses at these epochs to ten decimals, accuracies at 10 and 100 to four
RUNS = {
    "sgd": (
        lambda: nnfs.Optimizer_SGD(),
        (1.0985942613, 1.0985744533, 1.0984524501, 1.0970588357, 1.0869206255),
        (0.4133, 0.4000),
    ),
    "sgd fast decay": (
        lambda: nnfs.Optimizer_SGD(decay=1e-2),
        (1.0985942613, 1.0985744533, 1.0984586001, 1.0976440213, 1.0945835223),
        (0.4133, 0.4033),
    ),
    "sgd decay": (
        lambda: nnfs.Optimizer_SGD(decay=1e-3),
        (1.0985942613, 1.0985744533, 1.0984530397, 1.0971483623, 1.0882050448),
        (0.4133, 0.4000),
    ),
    "some momentum": (
        lambda: nnfs.Optimizer_SGD(decay=1e-3, momentum=0.5),
        (1.0985942613, 1.0985744533, 1.0983489603, 1.0894281746, 1.0776474683),
        (0.4267, 0.4267),
    ),
    "momentum": (
        lambda: nnfs.Optimizer_SGD(decay=1e-3, momentum=0.9),
        (1.0985942613, 1.0985744533, 1.0979965111, 1.0761854879, 1.0534933345),
        (0.4067, 0.4567),
    ),
    "adagrad": (
        lambda: nnfs.Optimizer_Adagrad(decay=1e-4),
        (1.0985942613, 6.2611998315, 1.1330458013, 1.0463970153, 1.0119316735),
        (0.3600, 0.4567),
    ),
    "rmsprop": (
        lambda: nnfs.Optimizer_RMSprop(decay=1e-4),
        (1.0985942613, 1.0984418862, 1.0967060571, 1.0857246008, 1.0774559649),
        (0.4133, 0.4233),
    ),
    "rmsprop slow": (
        lambda: nnfs.Optimizer_RMSprop(learning_rate=0.02, decay=1e-5, rho=0.999),
        (1.0985942613, 2.8221136098, 1.2318288815, 1.0435975567, 1.0157384320),
        (0.3300, 0.4500),
    ),
    "adam": (
        lambda: nnfs.Optimizer_Adam(learning_rate=0.02, decay=1e-5),
        (1.0985942613, 1.0977643891, 1.0790051161, 0.9792097358, 0.7689432799),
        (0.4067, 0.6767),
    ),
    "adam fast": (
        lambda: nnfs.Optimizer_Adam(learning_rate=0.05, decay=5e-7),
        (1.0985942613, 1.0962066829, 1.0687317649, 0.8706493071, 0.6750893277),
        (0.4133, 0.7167),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_runs_of_chapter_10_give_the_golden_losses(name, wide, backend):
    if backend.name == "jax" and name not in ("momentum", "adagrad", "rmsprop", "adam fast"):
        pytest.skip("JAX runs op by op here: one run of each optimizer is enough")
    make, losses, accuracies = RUNS[name]
    X, y = nnfs.spiral_data(samples=100, classes=3)
    dense1, activation1, dense2 = nnfs.Layer_Dense(2, 64), nnfs.Activation_ReLU(), nnfs.Layer_Dense(64, 3)
    loss_activation, accuracy = (
        nnfs.Activation_Softmax_Loss_CategoricalCrossentropy(),
        nnfs.Accuracy_Categorical(),
    )
    optimizer = make()
    got, right = [], []
    for epoch in range(101):
        dense1.forward(X)
        activation1.forward(dense1.output)
        dense2.forward(activation1.output)
        loss = loss_activation.forward(dense2.output, y)
        if epoch in EPOCHS:
            got.append(float(loss))
            predictions = loss_activation.activation.predictions(loss_activation.output)
            right.append(accuracy.calculate(predictions, y))
        loss_activation.backward(loss_activation.output, y)
        dense2.backward(loss_activation.dinputs)
        activation1.backward(dense2.dinputs)
        dense1.backward(activation1.dinputs)
        optimizer.pre_update_params()
        optimizer.update_params(dense1)
        optimizer.update_params(dense2)
        optimizer.post_update_params()
    np.testing.assert_allclose(got, losses, rtol=1e-8)
    np.testing.assert_allclose([right[2], right[4]], accuracies, atol=5e-5)


def first_network():
    """Draw the data and the layers of the book's first programs, in its order."""
    X, y = nnfs.spiral_data(samples=100, classes=3)
    return X, y, nnfs.Layer_Dense(2, 3), nnfs.Activation_ReLU(), nnfs.Layer_Dense(3, 3)


def test_chapter_3_prints_its_output(book, backend):
    X, _, dense1, *_ = first_network()
    dense1.forward(X)
    output = nn.to_numpy(dense1.output)
    assert output.dtype == np.float32
    # every digit: products are rounded once, from float64
    printed = [
        "[-1.0475188e-04  1.1395361e-04 -4.7983500e-05]",
        "[-5.7707680e-04  7.1401405e-04 -8.9430439e-05]",
    ]
    for row, text in zip((1, 4), printed, strict=True):
        assert str(output[row]) == text


def test_chapter_5_prints_its_loss_and_accuracy(book, backend):
    X, y, dense1, activation1, dense2 = first_network()
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    softmax, loss = nnfs.Activation_Softmax(), nnfs.Loss_CategoricalCrossentropy()
    softmax.forward(dense2.output)
    value = loss.calculate(softmax.output, y)
    assert value == pytest.approx(1.0986104, rel=3e-7)
    accuracy = nnfs.Accuracy_Categorical().calculate(softmax.predictions(softmax.output), y)
    if backend.name == "numpy":
        assert (str(value), accuracy) == ("1.0986104", 0.34)
    assert accuracy == pytest.approx(0.34, abs=5e-3)  # near ties go either way


def test_chapter_10_prints_its_last_learning_rate():
    optimizer = nnfs.Optimizer_Adam(learning_rate=0.05, decay=5e-7)
    for _ in range(10000):  # the line of epoch 10,000 shows what epoch 9,999 was trained with
        optimizer.iterations += 1
    optimizer.iterations -= 1
    optimizer.pre_update_params()
    assert str(optimizer.current_learning_rate) == "0.04975126853296942"


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("spiral_data", "ce93f1d0d63e477e04d5e149c49fa550a73cb87f5404c6e9977bf5c90a383e5e"),
        ("vertical_data", "223606dae4955350e468b87347f0672b62dbfd4a83d771ab9321b981b6c37bfb"),
    ],
)
def test_the_data_have_the_books_bits_on_every_backend(name, digest, book, backend):
    X, y = getattr(nnfs, name)(samples=100, classes=3)
    assert backend.owns(X)
    assert backend.owns(y)
    assert hashlib.sha256(np.ascontiguousarray(nn.to_numpy(X)).tobytes()).hexdigest() == digest


def test_the_sine_has_the_books_bits_on_every_backend(book, backend):
    _, y = nnfs.sine_data()
    digest = "42bd923beeb646080ad6957de6dd3a08ae0da3e219938559133526d024372f10"
    assert hashlib.sha256(np.ascontiguousarray(nn.to_numpy(y)).tobytes()).hexdigest() == digest
