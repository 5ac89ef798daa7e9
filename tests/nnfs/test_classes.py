"""Every class: its gradient, its attributes, its errors, and the book's peculiarities."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import nnfs
from nnbackend.nnfs import settings


def as_rule(layer, inputs="inputs"):
    """Make a differentiable function of a layer: `forward` its value, `backward` its gradient."""

    @nn.differentiable
    def rule(x):
        layer.forward(x)

        def backward(dy, needs):
            layer.backward(dy)
            return (layer.dinputs,)

        return layer.output, backward

    return rule


def loss_rule(loss, targets):
    """Make a differentiable function of a loss: the mean over the samples, and its gradient."""

    @nn.differentiable
    def rule(predictions):
        def backward(dy, needs):
            loss.backward(predictions, targets)
            return (loss.dinputs * dy,)

        return nn.functional.mean(loss.forward(predictions, targets)), backward

    return rule


def probabilities(rng, *shape):
    raw = rng.uniform(0.2, 1.0, shape)
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "make",
    [
        nnfs.Activation_ReLU,
        nnfs.Activation_Softmax,
        nnfs.Activation_Sigmoid,
        nnfs.Activation_Linear,
        lambda: nnfs.Layer_Dense(3, 4),
    ],
    ids=["relu", "softmax", "sigmoid", "linear", "dense"],
)
def test_the_gradient_of_the_inputs_is_that_of_central_differences(make, wide, put, rng):
    nn.gradcheck(as_rule(make()), put(rng.normal(size=(5, 3))))


def test_dropout_passes_gradients_where_it_passed_inputs(wide, put, rng):
    dropout = nnfs.Layer_Dropout(0.4)
    x = put(rng.normal(size=(6, 5)))
    dropout.forward(x)
    dropout.backward(nn.functional.ones_like(x))
    mask = nn.to_numpy(dropout.binary_mask)
    np.random.seed(0)
    np.testing.assert_array_equal(mask, np.random.binomial(1, 0.6, size=(6, 5)) / 0.6)
    np.testing.assert_array_equal(nn.to_numpy(dropout.output), nn.to_numpy(x) * mask)
    np.testing.assert_array_equal(nn.to_numpy(dropout.dinputs), mask)


def test_dropout_passes_everything_outside_of_training(wide, put, rng):
    dropout = nnfs.Layer_Dropout(0.4)
    x = put(rng.normal(size=(6, 5)))
    dropout.forward(x, training=False)
    np.testing.assert_array_equal(nn.to_numpy(dropout.output), nn.to_numpy(x))
    dropout.backward(x)
    np.testing.assert_array_equal(nn.to_numpy(dropout.dinputs), nn.to_numpy(x))


def test_the_rate_of_dropout_is_what_is_kept():
    assert nnfs.Layer_Dropout(0.1).rate == 0.9
    with pytest.raises(ValueError, match="Layer_Dropout expects a rate from 0 to below 1"):
        nnfs.Layer_Dropout(1.0)


def test_the_gradients_of_losses_are_those_of_central_differences(wide, put, rng):
    p = put(probabilities(rng, 6, 3))
    nn.gradcheck(loss_rule(nnfs.Loss_CategoricalCrossentropy(), put([0, 1, 2, 2, 1, 0])), p)
    nn.gradcheck(loss_rule(nnfs.Loss_CategoricalCrossentropy(), put(np.eye(3)[[0, 1, 2, 2, 1, 0]])), p)
    nn.gradcheck(loss_rule(nnfs.Loss_BinaryCrossentropy(), put(rng.integers(0, 2, (6, 3)))), p)
    nn.gradcheck(loss_rule(nnfs.Loss_MeanSquaredError(), put(rng.normal(size=(6, 3)))), p)
    nn.gradcheck(loss_rule(nnfs.Loss_MeanAbsoluteError(), put(rng.normal(size=(6, 3)))), p)


def test_softmax_with_its_loss_has_the_gradient_of_one_after_the_other(wide, put, rng):
    logits, y = put(rng.normal(size=(6, 3))), put([0, 1, 2, 2, 1, 0])
    together, apart = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy(), nnfs.Activation_Softmax()
    value = together.forward(logits, y)
    together.backward(together.output, y)
    apart.forward(logits)
    loss = nnfs.Loss_CategoricalCrossentropy()
    assert loss.calculate(apart.output, y) == pytest.approx(value, rel=1e-14)
    loss.backward(apart.output, y)
    apart.backward(loss.dinputs)
    np.testing.assert_allclose(
        nn.to_numpy(together.dinputs), nn.to_numpy(apart.dinputs), rtol=1e-12, atol=1e-16
    )
    one_hot = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    one_hot.backward(together.output, put(np.eye(3)[[0, 1, 2, 2, 1, 0]]))
    np.testing.assert_array_equal(nn.to_numpy(one_hot.dinputs), nn.to_numpy(together.dinputs))


def test_the_gradients_of_weights_are_those_of_central_differences(wide, put, rng):
    dense = nnfs.Layer_Dense(
        3, 4, weight_regularizer_l1=0.1, weight_regularizer_l2=0.2, bias_regularizer_l2=0.3
    )
    dense.biases = rng.normal(size=(1, 4))
    x, dy = put(rng.normal(size=(5, 3))), rng.normal(size=(5, 4))
    dense.forward(x)
    dense.backward(dy)
    loss = nnfs.Loss_MeanSquaredError()

    def total(weights, biases):
        dense.weights, dense.biases = weights, biases
        dense.forward(x)
        return float((nn.to_numpy(dense.output) * dy).sum() + loss.regularization_loss(dense))

    weights, biases = (nn.to_numpy(array) for array in dense.get_parameters())
    for array, slope in ((weights, dense.dweights), (biases, dense.dbiases)):
        numeric = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            there = array[place]
            array[place] = there + 1e-6
            above = total(weights, biases)
            array[place] = there - 1e-6
            numeric[place] = (above - total(weights, biases)) / 2e-6
            array[place] = there
        np.testing.assert_allclose(nn.to_numpy(slope), numeric, rtol=1e-6, atol=1e-8)


def test_the_penalty_is_the_sum_of_four(wide, put):
    dense = nnfs.Layer_Dense(2, 2, 0.1, 0.2, 0.3, 0.4)
    dense.set_parameters([[1.0, -2.0], [0.0, 3.0]], [[-1.0, 2.0]])
    loss = nnfs.Loss_MeanSquaredError()
    expected = 0.1 * 6 + 0.2 * 14 + 0.3 * 3 + 0.4 * 5
    assert loss.regularization_loss(dense) == pytest.approx(expected)
    loss.remember_trainable_layers([dense, nnfs.Layer_Dense(2, 2)])
    assert loss.regularization_loss() == pytest.approx(expected)
    data, penalty = loss.calculate([[1.0]], [[3.0]], include_regularization=True)
    assert (data, penalty) == (4.0, pytest.approx(expected))


def test_the_slope_of_an_absolute_value_at_zero_is_one(wide):
    dense = nnfs.Layer_Dense(1, 3, weight_regularizer_l1=0.5)
    dense.weights = [[-1.0, 0.0, 1.0]]
    dense.forward([[0.0]])
    dense.backward([[0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(nn.to_numpy(dense.dweights), [[-0.5, 0.5, 0.5]])


def test_probabilities_are_bounded_for_the_loss_on_both_sides(wide, put):
    loss = nnfs.Loss_CategoricalCrossentropy()
    got = nn.to_numpy(loss.forward(put([[0.0, 1.0], [0.0, 1.0]]), [0, 1]))
    np.testing.assert_allclose(got, [-np.log(1e-7), -np.log(1 - 1e-7)])
    binary = nnfs.Loss_BinaryCrossentropy()
    np.testing.assert_allclose(
        nn.to_numpy(binary.forward(put([[0.0], [1.0]]), [[1], [1]])),
        [-np.log(1e-7), -np.log(1 - 1e-7)],
        rtol=1e-8,
    )


def test_the_gradient_of_the_crossentropy_is_not_bounded(wide, put):
    loss = nnfs.Loss_CategoricalCrossentropy()
    loss.backward(put([[1e-9, 1.0]]), [0])
    np.testing.assert_allclose(nn.to_numpy(loss.dinputs), [[-1e9, 0.0]])
    binary = nnfs.Loss_BinaryCrossentropy()
    binary.backward(put([[1e-9], [1.0]]), [[1], [0]])
    np.testing.assert_allclose(nn.to_numpy(binary.dinputs), [[-0.5e7], [0.5e7]], rtol=1e-8)


def test_a_gradient_follows_the_attributes_that_a_program_sets(wide, put):
    """Chapter 9 gives softmax an output by hand."""
    softmax, loss = nnfs.Activation_Softmax(), nnfs.Loss_CategoricalCrossentropy()
    outputs, targets = put([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]]), put([0, 1, 1])
    loss.backward(outputs, targets)
    softmax.output = outputs
    softmax.backward(loss.dinputs)
    both = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    both.backward(outputs, targets)
    np.testing.assert_allclose(nn.to_numpy(softmax.dinputs), nn.to_numpy(both.dinputs), atol=1e-15)
    assert nn.to_numpy(both.dinputs)[0, 0] == pytest.approx(-0.1)


def test_a_dense_layer_is_pulled_back_as_often_as_asked_for_and_with_new_weights(wide, put, rng):
    dense = nnfs.Layer_Dense(2, 3)
    dense.forward(put(rng.normal(size=(4, 2))))
    dense.backward(np.ones((4, 3)))
    first = nn.to_numpy(dense.dinputs), nn.to_numpy(dense.dweights)
    dense.backward(np.ones((4, 3)))
    np.testing.assert_array_equal(nn.to_numpy(dense.dinputs), first[0])
    dense.weights = 2.0 * nn.to_numpy(dense.weights)
    dense.backward(np.ones((4, 3)))
    np.testing.assert_allclose(nn.to_numpy(dense.dinputs), 2.0 * first[0])
    np.testing.assert_allclose(nn.to_numpy(dense.dweights), first[1])


def test_elements_assigned_between_forward_and_backward_count(book, rng, backend):
    """The book's arrays are live: its backward takes inputs and weights as they are then."""
    if not backend.writable:
        pytest.skip("elements of its arrays cannot be assigned")
    dense = nnfs.Layer_Dense(2, 3, weight_regularizer_l1=0.5, bias_regularizer_l2=0.5)
    dense.forward(rng.normal(size=(4, 2)).tolist())
    dense.weights[0, 0] = -5.0
    dense.biases[0, 1] = 3.0
    dense.inputs[1, 0] = 7.0
    dense.backward(np.ones((4, 3)))
    x, w, b = (nn.to_numpy(array) for array in (dense.inputs, dense.weights, dense.biases))
    assert w[0, 0] == -5.0
    np.testing.assert_allclose(nn.to_numpy(dense.dinputs), np.ones((4, 3)) @ w.T, rtol=1e-6)
    slope = np.where(w < 0, -0.5, 0.5)
    np.testing.assert_allclose(nn.to_numpy(dense.dweights), x.T @ np.ones((4, 3)) + slope, rtol=1e-5)
    np.testing.assert_allclose(nn.to_numpy(dense.dbiases), 4.0 + b, rtol=1e-6)


def test_elements_assigned_between_steps_count(book, backend):
    if not backend.writable:
        pytest.skip("elements of its arrays cannot be assigned")
    dense, optimizer = nnfs.Layer_Dense(1, 2), nnfs.Optimizer_SGD(0.5, momentum=0.5)
    for _ in range(2):
        dense.forward([[1.0]])
        dense.backward([[1.0, 1.0]])
        dense.weights[0, 1] = 4.0
        if hasattr(dense, "weight_momentums"):
            dense.weight_momentums[0, 1] = 2.0
        optimizer.update_params(dense)
        optimizer.post_update_params()
    np.testing.assert_allclose(nn.to_numpy(dense.weights)[0, 1], 4.0 + (0.5 * 2.0 - 0.5), rtol=1e-6)
    dense.forward([[1.0]])
    np.testing.assert_allclose(
        nn.to_numpy(dense.output), nn.to_numpy(dense.weights + dense.biases), rtol=1e-6
    )


def test_arrays_of_the_host_and_lists_are_taken_on_every_backend(book, backend):
    dense, relu = nnfs.Layer_Dense(2, 3), nnfs.Activation_ReLU()
    dense.forward(np.ones((4, 2)))
    relu.forward(dense.output)
    assert backend.owns(relu.output)
    assert str(relu.output.dtype).endswith("float32")
    dense.forward([[1, 2], [3, 4]])
    assert tuple(dense.output.shape) == (2, 3)
    dense.weights = np.zeros((2, 3))
    assert backend.owns(dense.weights)
    assert str(dense.weights.dtype).endswith("float32")


def test_programs_draw_from_numpys_global_generator(wide):
    """Chapter 6 calls numpy.random.randn between the layers."""
    np.random.seed(0)
    expected = [np.random.randn(2, 3), np.random.randn(3), np.random.randn(2, 2)]
    nnfs.init(default_dtype="float64")
    first = nnfs.Layer_Dense(2, 3)
    np.testing.assert_array_equal(nn.to_numpy(first.weights), 0.01 * expected[0])
    np.testing.assert_array_equal(np.random.randn(3), expected[1])
    np.testing.assert_array_equal(nn.to_numpy(nnfs.randn(2, 2)), expected[2])


def test_a_private_generator_leaves_numpys_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    nnfs.init(private=True)
    weights = nn.to_numpy(nnfs.Layer_Dense(2, 3).weights)
    nnfs.init(random_seed=None, private=True)  # goes on
    assert not np.array_equal(nn.to_numpy(nnfs.Layer_Dense(2, 3).weights), weights)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    nnfs.init(random_seed=0, private=True)
    np.testing.assert_array_equal(nn.to_numpy(nnfs.Layer_Dense(2, 3).weights), weights)


def test_without_init_weights_are_float64_as_in_the_first_chapters():
    np.random.seed(0)
    assert nn.to_numpy(nnfs.Layer_Dense(2, 3).weights).dtype == np.float64
    assert not settings.current().wide_products


def test_init_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="expects default_dtype float32 or float64, got 'float16'"):
        nnfs.init(default_dtype="float16")
    with pytest.raises(ValueError, match="Did you mean 'numpy'"):
        nnfs.init(backend="numpi")


def test_products_are_rounded_once_where_it_is_asked_for(backend, rng):
    x, w = rng.normal(size=(20, 300)).astype("float32"), rng.normal(size=(300, 5)).astype("float32")
    nnfs.init(backend=backend)
    dense = nnfs.Layer_Dense(300, 5)
    dense.weights = w
    dense.forward(x)
    exact = (x.astype("float64") @ w.astype("float64")).astype("float32")
    np.testing.assert_array_equal(nn.to_numpy(dense.output), exact)


def test_the_state_of_optimizers_stands_on_the_layers(book, backend):
    for make, names in (
        (lambda: nnfs.Optimizer_SGD(momentum=0.9), ["momentums"]),
        (nnfs.Optimizer_Adagrad, ["cache"]),
        (nnfs.Optimizer_RMSprop, ["cache"]),
        (nnfs.Optimizer_Adam, ["momentums", "cache"]),
        (nnfs.Optimizer_SGD, []),
    ):
        dense, optimizer = nnfs.Layer_Dense(2, 3), make()
        dense.dweights, dense.dbiases = np.ones((2, 3)), np.ones((1, 3))
        optimizer.pre_update_params()
        optimizer.update_params(dense)
        optimizer.post_update_params()
        left = {
            name
            for name in vars(dense)
            if name.startswith(("weight_", "bias_")) and "regularizer" not in name
        }
        assert left == {f"{single}_{name}" for single in ("weight", "bias") for name in names}
        assert all(backend.owns(getattr(dense, name)) for name in left)
        assert optimizer.iterations == 1
        assert nn.to_numpy(dense.weights).dtype == np.float32


def test_what_a_program_sets_on_an_optimizer_holds_at_the_next_step(wide):
    dense, optimizer = nnfs.Layer_Dense(1, 1), nnfs.Optimizer_SGD(learning_rate=1.0, momentum=0.5)
    dense.dweights, dense.dbiases = np.zeros((1, 1)), np.ones((1, 1))
    optimizer.update_params(dense)
    optimizer.current_learning_rate, optimizer.momentum = 0.5, 0.9
    optimizer.update_params(dense)
    assert float(nn.to_numpy(dense.biases)[0, 0]) == pytest.approx(-1.0 + (0.9 * -1.0 - 0.5))


def test_accuracies(wide, put):
    categorical = nnfs.Accuracy_Categorical()
    assert categorical.calculate(put([0, 1, 2]), put([0, 1, 1])) == pytest.approx(2 / 3)
    assert categorical.calculate(put([0]), put([[1, 0]])) == 1.0
    assert categorical.calculate_accumulated() == pytest.approx(3 / 4)
    categorical.new_pass()
    categorical.calculate(put([0]), put([1]))
    assert categorical.calculate_accumulated() == 0.0
    binary = nnfs.Accuracy_Categorical(binary=True)
    assert binary.calculate(put([[1], [0]]), put([[1], [1]])) == 0.5
    with pytest.raises(RuntimeError, match=r"Call init\(y\)"):
        nnfs.Accuracy_Regression().calculate(put([[1.0]]), put([[1.0]]))


def test_a_regressions_precision_is_set_once(wide, put):
    accuracy = nnfs.Accuracy_Regression()
    accuracy.init(put([[0.0], [500.0]]))
    accuracy.init(put([[0.0], [5.0]]))
    assert accuracy.precision == 1.0
    accuracy.init(put([[0.0], [5.0]]), reinit=True)
    assert accuracy.precision == pytest.approx(0.01)


def test_the_base_classes_say_what_is_missing():
    with pytest.raises(NotImplementedError, match="Loss must define forward"):
        nnfs.Loss().calculate([[1.0]], [[1.0]])
    with pytest.raises(NotImplementedError, match="Loss must define backward"):
        nnfs.Loss().backward([[1.0]], [[1.0]])
    with pytest.raises(NotImplementedError, match="Accuracy must define compare"):
        nnfs.Accuracy().calculate([1], [1])


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expects weights of shape \(2, 3\), got \(3, 2\)"):
        nnfs.Layer_Dense(2, 3).set_parameters(np.zeros((3, 2)), np.zeros((1, 3)))


def test_every_name_of_the_book_is_there():
    assert set(nnfs.__all__) == {
        *(f"Layer_{name}" for name in ("Dense", "Dropout", "Input")),
        *(f"Activation_{name}" for name in ("ReLU", "Softmax", "Sigmoid", "Linear")),
        "Activation_Softmax_Loss_CategoricalCrossentropy",
        "Loss",
        *(
            f"Loss_{name}"
            for name in (
                "CategoricalCrossentropy",
                "BinaryCrossentropy",
                "MeanSquaredError",
                "MeanAbsoluteError",
            )
        ),
        *(f"Optimizer_{name}" for name in ("SGD", "Adagrad", "RMSprop", "Adam")),
        "Accuracy",
        "Accuracy_Categorical",
        "Accuracy_Regression",
        "Model",
        *("init", "randn", "sine_data", "spiral_data", "vertical_data"),
    }
    assert nn.nnfs is nnfs
