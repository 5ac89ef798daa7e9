"""Convolution layers: weights, shapes, options and errors; the mathematics is tested in tests/functional."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

LAYERS = {
    "Conv1D": (lambda **o: nn.Conv1D(4, 3, **o), (7, 2), {"kernel": (3, 2, 4), "bias": (4,)}),
    "Conv2D": (lambda **o: nn.Conv2D(4, (3, 2), **o), (5, 6, 2), {"kernel": (3, 2, 2, 4), "bias": (4,)}),
    "Conv2D grouped": (
        lambda **o: nn.Conv2D(4, 3, groups=2, **o),
        (5, 6, 6),
        {"kernel": (3, 3, 3, 4), "bias": (4,)},
    ),
    "Conv3D": (lambda **o: nn.Conv3D(4, 2, **o), (3, 3, 3, 2), {"kernel": (2, 2, 2, 2, 4), "bias": (4,)}),
    "DepthwiseConv1D": (lambda **o: nn.DepthwiseConv1D(3, **o), (7, 2), {"kernel": (3, 2, 1), "bias": (2,)}),
    "DepthwiseConv2D": (
        lambda **o: nn.DepthwiseConv2D(3, depth_multiplier=3, **o),
        (5, 5, 2),
        {"kernel": (3, 3, 2, 3), "bias": (6,)},
    ),
    "SeparableConv1D": (
        lambda **o: nn.SeparableConv1D(4, 3, **o),
        (7, 2),
        {"depthwise_kernel": (3, 2, 1), "pointwise_kernel": (1, 2, 4), "bias": (4,)},
    ),
    "SeparableConv2D": (
        lambda **o: nn.SeparableConv2D(4, 3, depth_multiplier=2, **o),
        (5, 5, 2),
        {"depthwise_kernel": (3, 3, 2, 2), "pointwise_kernel": (1, 1, 4, 4), "bias": (4,)},
    ),
    "Conv1DTranspose": (
        lambda **o: nn.Conv1DTranspose(4, 3, **o),
        (7, 2),
        {"kernel": (3, 4, 2), "bias": (4,)},
    ),
    "Conv2DTranspose": (
        lambda **o: nn.Conv2DTranspose(4, (3, 2), **o),
        (5, 6, 2),
        {"kernel": (3, 2, 4, 2), "bias": (4,)},
    ),
    "Conv3DTranspose": (
        lambda **o: nn.Conv3DTranspose(4, 2, **o),
        (3, 3, 3, 2),
        {"kernel": (2, 2, 2, 4, 2), "bias": (4,)},
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_have_keras_names_shapes_and_order(name, backend):
    make, shape, weights = LAYERS[name]
    with nn.use_backend(backend):
        layer = make()
        layer.build(shape)
        assert {path: parameter.shape for path, parameter, _ in layer.named_parameters()} == weights
        assert [weight.shape for weight in layer.get_weights()] == list(weights.values())
        bare = make(use_bias=False)
        bare.build(shape)
    assert bare.bias is None
    assert len(bare.get_weights()) == len(weights) - 1


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_named_as_keras_names_them(name):
    make, _, _ = LAYERS[name]
    kind = name.partition(" ")[0]
    words = {"DepthwiseConv": "depthwise_conv", "SeparableConv": "separable_conv", "Conv": "conv"}
    stem, dimensions = kind.removesuffix("Transpose")[:-2], kind.removesuffix("Transpose")[-2].lower() + "d"
    assert make().name == words[stem] + dimensions + ("_transpose" if kind.endswith("Transpose") else "")


@pytest.mark.parametrize("name", LAYERS)
def test_the_activation_comes_last(name, put, rng):
    make, shape, _ = LAYERS[name]
    x = put(rng.normal(size=(2, *shape)))
    plain = make(dtype="float64", bias_initializer=nn.initializers.Constant(0.3))
    active = make(dtype="float64", bias_initializer=nn.initializers.Constant(0.3), activation="relu")
    y = nn.to_numpy(plain(x))
    active(x)
    active.set_weights(plain.get_weights())
    assert (y < 0).any()
    np.testing.assert_array_equal(nn.to_numpy(active(x)), np.maximum(y, 0.0))


@pytest.mark.parametrize("name", LAYERS)
def test_roles_have_their_initializers_regularizers_and_constraints(name, backend):
    make, shape, weights = LAYERS[name]
    roles = ["depthwise", "pointwise", "bias"] if "Separable" in name else ["kernel", "bias"]
    if "Depthwise" in name:
        roles = ["depthwise", "bias"]
    options = {f"{role}_initializer": nn.initializers.Constant(k + 1.0) for k, role in enumerate(roles)}
    options |= {f"{role}_regularizer": nn.regularizers.L2(k + 1.0) for k, role in enumerate(roles)}
    options |= {f"{role}_constraint": nn.constraints.MaxNorm(k + 1.0) for k, role in enumerate(roles)}
    with nn.use_backend(backend):
        layer = make(**options)
        layer.build(shape)
    for k, (parameter, weight) in enumerate(zip(layer.parameters, weights, strict=True)):
        assert parameter.path.endswith(weight)
        np.testing.assert_array_equal(parameter.numpy(), np.full(parameter.shape, k + 1.0))
        assert parameter.regularizer is options[f"{roles[k]}_regularizer"]
        assert parameter.constraint is options[f"{roles[k]}_constraint"]


def test_options_reach_the_rule(put, rng):
    x = rng.normal(size=(2, 9, 8, 4))
    options = {"strides": (2, 1), "padding": "same", "dilation_rate": (1, 2), "groups": 2}
    layer = nn.Conv2D(6, 3, dtype="float64", bias_initializer="ones", **options)
    y = nn.to_numpy(layer(put(x)))
    expected = fn.conv(put(x), put(layer.kernel.numpy()), put(np.ones(6)), **options)
    np.testing.assert_array_equal(y, nn.to_numpy(expected))
    layer = nn.Conv2DTranspose(3, 3, 2, "same", 1, dtype="float64")
    y = nn.to_numpy(layer(put(x)))
    expected = fn.conv_transpose(
        put(x), put(layer.kernel.numpy()), strides=2, padding="same", output_padding=1
    )
    np.testing.assert_array_equal(y, nn.to_numpy(expected))


def test_a_strided_convolution_may_be_dilated(put):
    """Keras refuses this; there is nothing wrong with it."""
    layer = nn.Conv1D(1, 2, strides=3, dilation_rate=2, kernel_initializer="ones", dtype="float64")
    y = layer(put(np.arange(8.0).reshape(1, 8, 1)))
    np.testing.assert_array_equal(nn.to_numpy(y)[0, :, 0], [0.0 + 2.0, 3.0 + 5.0])


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            lambda: nn.Conv2D(4, 5, name="eyes"),
            (4, 9, 3),
            r"Conv2D 'eyes' has a kernel of \(5, 5\), which does not fit",
        ),
        (lambda: nn.Conv2D(4, 3), (9, 3), r"inputs of shape \(n, h, w, c\), got \(n, 9, 3\).*one channel"),
        (lambda: nn.Conv1D(4, 3), (9, 3, 1), r"inputs of shape \(n, t, c\), got \(n, 9, 3, 1\)"),
        (lambda: nn.Conv2D(4, 3, groups=2), (9, 9, 3), r"has 2 groups, which do not divide the 3 channels"),
        (lambda: nn.Conv2DTranspose(4, 3, padding=3), (2, 2, 3), "would make an empty output"),
        (lambda: nn.SeparableConv2D(4, 3), (2, 2, 3), "SeparableConv2D 'separable_conv2d' has a kernel"),
        (lambda: nn.DepthwiseConv1D(9), (8, 3), "DepthwiseConv1D 'depthwise_conv1d' has a kernel"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(layer, shape, message, put):
    with pytest.raises(ValueError, match=message):
        layer().compute_output_shape(shape)
    with pytest.raises(ValueError, match=message):
        layer()(put(np.ones((1, *shape))))


def test_a_change_of_channels_is_refused_and_one_of_size_is_not(put):
    layer = nn.Conv2D(4, 3)
    layer(put(np.ones((1, 6, 6, 3))))
    assert layer(put(np.ones((1, 9, 7, 3)))).shape == (1, 7, 5, 4)
    with pytest.raises(ValueError, match=r"was built for inputs of shape \(n, h, w, 3\), got \(n, 6, 6, 2\)"):
        layer(put(np.ones((1, 6, 6, 2))))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2D(0, 3), ValueError, "Conv2D expects filters to be at least 1, got 0"),
        (lambda: nn.Conv2D(4, 0), ValueError, "Conv2D expects kernel_size to be at least 1, got 0"),
        (lambda: nn.Conv2D(4, (3, 3, 3)), ValueError, "kernel_size to be a whole number or 2 of them"),
        (lambda: nn.Conv2D(4, 3, strides=0), ValueError, "Conv2D expects strides to be at least 1"),
        (lambda: nn.Conv2D(4, 3, dilation_rate="x"), TypeError, "dilation_rate to be whole numbers"),
        (lambda: nn.Conv2D(4, 3, padding="causal"), ValueError, "padding to be 'valid', 'same' or widths"),
        (lambda: nn.Conv1D(4, 3, padding="casual"), ValueError, "Did you mean 'causal'?"),
        (lambda: nn.Conv2D(4, 3, groups=3), ValueError, "groups to divide filters without rest, got 3 and 4"),
        (lambda: nn.DepthwiseConv2D(3, depth_multiplier=0), ValueError, "depth_multiplier to be at least 1"),
        (
            lambda: nn.Conv2DTranspose(4, 3, 2, output_padding=2),
            ValueError,
            "output_padding to be smaller than",
        ),
        (lambda: nn.Conv1DTranspose(4, 3, padding="causal"), ValueError, "padding to be 'valid', 'same' or"),
    ],
)
def test_wrong_arguments_are_refused_when_a_layer_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_summary_counts_parameters_and_multiply_adds(capsys):
    model = nn.Sequential([nn.Conv2D(8, 3, padding="same"), nn.SeparableConv2D(4, 3, strides=2)], seed=0)
    model.build((10, 10, 2))
    model.summary()
    shown = capsys.readouterr().out
    assert "(n, 10, 10, 8)" in shown or "10, 10, 8" in shown
    assert f"{10 * 10 * 9 * 2 * 8:,}" in shown
    assert f"{4 * 4 * (9 * 8 + 8 * 4):,}" in shown


def test_a_network_of_convolutions_learns(backend):
    """Which quarter of a picture is bright is a question of place that a strided convolution answers."""
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 4
    x = rng.normal(scale=0.3, size=(32, 8, 8, 1)).astype("float32")
    for image, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.0
    model = nn.Sequential(
        [nn.Conv2D(4, 4, strides=4, activation="relu"), nn.Flatten(), nn.Dense(4)], backend=backend, seed=0
    )
    model.compile(
        optimizer=nn.optimizers.Adam(0.03), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    history = model.fit(x, labels, epochs=15, batch_size=16, verbose=0)
    assert history.history["accuracy"][-1] == 1.0


def test_functions_of_space_are_one_call_of_a_graph_whatever_the_size(rng):
    kernel = rng.normal(size=(3, 3, 2, 4)).astype("float32")
    images = nn.Input((None, None, 2))
    features = fn.conv2d(images, kernel, padding="same", strides=2)
    model = nn.Model(images, fn.upsample(features, size=2, interpolation="linear"), backend="numpy")
    for size in ((6, 5), (9, 12)):  # the second was never seen before
        x = rng.normal(size=(2, *size, 2)).astype("float32")
        expected = fn.upsample(
            fn.conv2d(x, kernel, padding="same", strides=2), size=2, interpolation="linear"
        )
        np.testing.assert_array_equal(model(x), expected)
