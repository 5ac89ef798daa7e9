"""What the layers of normalisation add to their rules: statistics, states, data and errors that name them."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import backend_of


@pytest.fixture(autouse=True)
def in_force(backend):
    """Layers that are built before they see data live on the backend under test."""
    with nn.use_backend(backend):
        yield


def test_running_statistics_follow_those_of_the_batches(put, rng):
    layer = nn.BatchNormalization(momentum=0.75, dtype="float64")
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.normal(size=(5, 4, 3)) * 2.0 + 1.0
        layer(put(x), training=True)
        mean = 0.75 * mean + 0.25 * x.mean(axis=(0, 1))
        variance = 0.75 * variance + 0.25 * x.var(axis=(0, 1))  # divided by n
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-13)
    np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-13)
    x = rng.normal(size=(2, 4, 3))
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(nn.to_numpy(layer(put(x))), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-13)  # seen, not learned from


def test_batch_normalization_is_pytorch_s_through_several_steps(put, rng, dtype):
    torch = pytest.importorskip("torch")
    layer = nn.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
    theirs = torch.nn.BatchNorm2d(3, momentum=0.1, dtype=getattr(torch, dtype))
    count = 4 * 5 * 6
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for training in (True, True, False):
        x = rng.normal(size=(4, 5, 6, 3)).astype(dtype)
        theirs.train(training)
        expected = theirs(torch.tensor(np.moveaxis(x, -1, 1))).detach().numpy()
        if training:
            y = layer(put(x, dtype), training=True)
        else:  # their running variance is divided by n - 1
            unbiased = theirs.running_var.numpy()
            first = 0.9**2
            ours = (unbiased - first) * (count - 1) / count + first
            np.testing.assert_allclose(layer.moving_variance.numpy(), ours, rtol=10 * tolerance)
            np.testing.assert_allclose(
                layer.moving_mean.numpy(),
                theirs.running_mean.numpy(),
                rtol=tolerance,
                atol=0.1 * tolerance,
            )
            layer.moving_variance.assign(put(unbiased, dtype))
            y = layer(put(x, dtype))
        np.testing.assert_allclose(
            np.moveaxis(nn.to_numpy(y), -1, 1), expected, rtol=10 * tolerance, atol=tolerance
        )


def test_a_frozen_batch_normalization_infers_in_training_too(put, rng):
    layer = nn.BatchNormalization(dtype="float64")
    x = put(rng.normal(size=(6, 2)) + 3.0)
    layer.build((2,))
    layer.trainable = False
    np.testing.assert_array_equal(nn.to_numpy(layer(x, training=True)), nn.to_numpy(layer(x)))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(2))


@pytest.mark.parametrize("scaled", [True, False])
def test_freezing_takes_effect_on_a_step_that_was_compiled(scaled, backend, rng):
    norm = nn.BatchNormalization(center=scaled, scale=scaled)
    model = nn.Sequential([norm, nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", "mean_squared_error")
    x, y = rng.normal(size=(8, 2)) + 5.0, rng.normal(size=(8, 1))
    model.train_on_batch(x, y)
    after_one = norm.moving_mean.numpy()
    assert (after_one != 0.0).all()
    norm.trainable = False
    model.train_on_batch(x, y)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), after_one)
    norm.trainable = True
    model.train_on_batch(x, y)
    assert (norm.moving_mean.numpy() != after_one).all()


def test_statistics_stay_where_there_is_nothing_to_learn_from(put, rng):
    layer = nn.BatchNormalization(momentum=0.5, dtype="float64")
    layer(put(rng.normal(size=(3, 4, 2))), training=True)
    before = layer.get_weights()
    assert tuple(layer(put(np.ones((0, 4, 2))), training=True).shape) == (0, 4, 2)
    nothing = put(np.zeros((3, 4), bool))
    y = layer(put(rng.normal(size=(3, 4, 2))), training=True, mask=nothing)
    assert np.isfinite(nn.to_numpy(y)).all()
    for one, other in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_masked_steps_are_left_out_of_running_statistics(put, rng):
    layer = nn.BatchNormalization(momentum=0.0, dtype="float64")
    x, mask = rng.normal(size=(3, 4, 2)), rng.random((3, 4)) < 0.5
    layer(put(x), training=True, mask=put(mask))
    np.testing.assert_allclose(layer.moving_mean.numpy(), x[mask].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance.numpy(), x[mask].var(axis=0), rtol=1e-12)


def test_batch_normalization_learns_and_is_saved_with_its_statistics(tmp_path, backend, rng):
    x = rng.normal(size=(64, 3)) * [1.0, 10.0, 0.1] + [0.0, 100.0, -3.0]
    y = (x - x.mean(axis=0)) / x.std(axis=0) @ np.asarray([[1.0], [-2.0], [0.5]])
    layers = [nn.BatchNormalization(momentum=0.5), nn.Dense(1)]
    model = nn.Sequential(layers, backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.1), "mean_squared_error")
    history = model.fit(x, y, epochs=12, batch_size=32, verbose=0)
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
    names = [p.path.rpartition("/")[2] for p in layers[0].parameters]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]
    model.save(tmp_path / "model.safetensors")
    loaded = nn.load_model(tmp_path / "model.safetensors", backend=backend)
    np.testing.assert_array_equal(nn.to_numpy(loaded.predict(x)), nn.to_numpy(model.predict(x)))
    assert (loaded.layers[0].moving_mean.numpy() != 0.0).all()


def test_constraints_and_penalties_reach_gamma_and_beta(put):
    layer = nn.LayerNormalization(gamma_constraint="non_neg", beta_regularizer="l2")
    layer.build((3,))
    assert type(layer.gamma.constraint).__name__ == "NonNeg"
    assert type(layer.beta.regularizer).__name__ == "L2"
    layer = nn.GroupNormalization(1, gamma_regularizer="l1", beta_constraint="non_neg")
    layer.build((3,))
    assert type(layer.gamma.regularizer).__name__ == "L1"
    assert type(layer.beta.constraint).__name__ == "NonNeg"


def test_group_normalization_of_minus_one_is_instance_normalization(put, rng):
    x = put(rng.normal(size=(2, 5, 4)))
    each, instance = nn.GroupNormalization(groups=-1), nn.InstanceNormalization()
    np.testing.assert_array_equal(nn.to_numpy(each(x)), nn.to_numpy(instance(x)))


def test_parameters_have_the_lengths_of_the_axes(put):
    layer = nn.LayerNormalization(axis=(-1, 1))
    layer.build((5, 4, 3))
    assert layer.gamma.shape == (5, 3)
    layer = nn.RMSNormalization()
    layer.build((5, 3))
    assert layer.scale.shape == (3,)
    assert layer.scale.path == "rms_normalization/scale"


@pytest.mark.parametrize(
    ("make", "built", "shape", "message"),
    [
        (
            nn.BatchNormalization,
            (4, 3),
            (4, 2),
            r"'batch_normalization' was built for inputs of \(3,\) on the axis",
        ),
        (lambda: nn.BatchNormalization(axis=3), None, (4, 3), "expects inputs that have the axis 3"),
        (lambda: nn.LayerNormalization(axis=0), None, (4, 3), "besides that of samples"),
        (lambda: nn.LayerNormalization(axis=(1, -2)), None, (4, 3), r"the axis \(1, -2\)"),
        (lambda: nn.GroupNormalization(2), None, (4, 3), "that 2 groups divide, got 3"),
        (nn.UnitNormalization, None, (), "expects inputs that have the axis -1"),
        (nn.RMSNormalization, (3,), (4,), "was built for inputs of"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(make, built, shape, message):
    layer = make()
    if built is not None:
        layer.build(built)
    with pytest.raises(ValueError, match=message):
        layer.compute_output_shape(shape)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.BatchNormalization(momentum=1.5), ValueError, "a momentum from 0 to 1, got 1.5"),
        (lambda: nn.BatchNormalization(axis=(1, 2)), TypeError, "one axis of channels"),
        (lambda: nn.LayerNormalization(epsilon=-1.0), ValueError, "an epsilon of zero or more, got -1.0"),
        (lambda: nn.LayerNormalization(axis="last"), TypeError, "axis to be a whole number or several"),
        (lambda: nn.GroupNormalization(groups=0), ValueError, "groups to be at least 1, got 0"),
        (lambda: nn.SpectralNormalization("dense"), TypeError, "expects a layer, got str"),
        (lambda: nn.SpectralNormalization(nn.Dense(1), 0), ValueError, "power_iterations to be at least 1"),
        (lambda: nn.Normalization(mean=1.0), ValueError, "both mean and variance or none"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Spectral normalisation


def test_the_kernel_in_use_has_spectral_norm_one(put, rng):
    layer = nn.SpectralNormalization(nn.Dense(4, use_bias=False), power_iterations=50, dtype="float64")
    y = nn.to_numpy(layer(put(np.eye(6)), training=True))
    np.testing.assert_allclose(np.linalg.svd(y)[1][0], 1.0, rtol=1e-10)
    np.testing.assert_allclose(
        y, layer.layer.kernel.numpy() / np.linalg.svd(layer.layer.kernel.numpy())[1][0], rtol=1e-8
    )


def test_the_first_vector_is_near_the_singular_one(put):
    layer = nn.SpectralNormalization(nn.Dense(8))
    y = nn.to_numpy(layer(put(np.eye(16))))
    assert 1.0 <= np.linalg.svd(y)[1][0] < 1.05


@pytest.mark.parametrize("training", [True, False])
def test_spectral_normalization_is_pytorch_s(training, put, rng, dtype):
    torch = pytest.importorskip("torch")
    x, kernel = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    u = rng.normal(size=4)
    u = (u / np.linalg.norm(u)).astype(dtype)
    theirs = torch.nn.Linear(3, 4, bias=False, dtype=getattr(torch, dtype))
    torch.nn.utils.parametrizations.spectral_norm(theirs)
    inner = theirs.parametrizations.weight
    v = kernel @ u
    with torch.no_grad():
        inner.original.copy_(torch.tensor(kernel.T))
        inner[0]._u.copy_(torch.tensor(u))
        inner[0]._v.copy_(torch.tensor(v / np.linalg.norm(v)))
    theirs.train(training)
    given = torch.tensor(x, requires_grad=True)
    expected = theirs(given)
    dy = rng.normal(size=(5, 4)).astype(dtype)
    expected.backward(torch.tensor(dy))
    layer = nn.SpectralNormalization(nn.Dense(4, use_bias=False), dtype=dtype)
    layer.build((3,))
    layer.layer.kernel.assign(put(kernel, dtype))
    layer.vector_u.assign(put(u[None], dtype))

    run = nn.layers.base.Binding({}, 0, 0, layer.layer.kernel.backend)

    def of(kernel, x):
        run.values[id(layer.layer.kernel)] = kernel
        with run.bound():
            return layer(x, training=training)

    value, pullback = nn.vjp(of, put(kernel, dtype), put(x, dtype))
    dkernel, dx = pullback(put(dy, dtype))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(nn.to_numpy(value), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(nn.to_numpy(dx), given.grad.numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        nn.to_numpy(dkernel), inner.original.grad.numpy().T, rtol=10 * tolerance, atol=10 * tolerance
    )
    new = run.assigned.get(id(layer.vector_u))
    expected_u = inner[0]._u.numpy() if training else u
    np.testing.assert_allclose(
        u if new is None else nn.to_numpy(new)[0], expected_u, rtol=tolerance, atol=tolerance
    )
    assert (new is None) is not training


def test_the_vector_stays_outside_of_training_and_where_it_is_frozen(put, rng):
    x = put(rng.normal(size=(2, 3)))
    layer = nn.SpectralNormalization(nn.Dense(4))
    layer(x)
    layer.vector_u.assign(np.full((1, 4), 0.5))
    layer(x)
    np.testing.assert_array_equal(layer.vector_u.numpy(), np.full((1, 4), 0.5))
    layer.trainable = False
    layer(x, training=True)
    np.testing.assert_array_equal(layer.vector_u.numpy(), np.full((1, 4), 0.5))
    layer.trainable = True
    layer(x, training=True)
    assert (layer.vector_u.numpy() != 0.5).any()


def test_the_kernel_itself_is_trained_and_saved(tmp_path, backend, rng):
    layer = nn.SpectralNormalization(nn.Dense(4, kernel_initializer=nn.initializers.RandomNormal(stddev=2.0)))
    model = nn.Sequential([layer, nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.05), "mean_squared_error")
    x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 1))
    model.build((3,))
    before = layer.layer.kernel.numpy()
    vector = layer.vector_u.numpy()
    first = model.evaluate(x, y)["loss"]
    model.fit(x, y, epochs=10, batch_size=16, verbose=0)
    assert model.evaluate(x, y)["loss"] < first
    assert np.linalg.svd(layer.layer.kernel.numpy())[1][0] > 2.0  # it was not overwritten by its quotient
    assert (layer.layer.kernel.numpy() != before).any()
    assert (layer.vector_u.numpy() != vector).any()
    assert "spectral_normalization/dense/kernel" in model.handles()
    assert "spectral_normalization/vector_u" in model.handles()
    model.save(tmp_path / "model.safetensors")
    loaded = nn.load_model(tmp_path / "model.safetensors", backend=backend)
    np.testing.assert_array_equal(nn.to_numpy(loaded.predict(x)), nn.to_numpy(model.predict(x)))


def test_alone_the_layer_inside_keeps_its_state_and_its_randomness(put):
    class Inside(nn.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight("kernel", (input_shape[-1], 2))
            self.calls = self.add_weight("calls", (), "zeros", trainable=False)

        def forward(self, x):
            self.calls.assign(self.calls + 1.0)
            return nn.functional.dense(x, self.kernel) + self.random("noise").uniform((1, 2))

    layer = nn.SpectralNormalization(Inside())
    x = put(np.ones((1, 3)))
    one, other = nn.to_numpy(layer(x)), nn.to_numpy(layer(x))
    assert float(layer.layer.calls.numpy()) == 2.0
    assert (one != other).any()


def test_a_layer_without_a_kernel_is_refused(put):
    with pytest.raises(TypeError, match="a layer with a kernel or embeddings.*got Flatten"):
        nn.SpectralNormalization(nn.Flatten())(put(np.ones((2, 3))))


# Normalization


def test_adapting_is_scikit_learn_s_standard_scaler(put, rng, dtype):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = rng.normal(size=(1000, 3)) * [1.0, 20.0, 0.5] + [1e4, -3.0, 0.0]
    scaler = preprocessing.StandardScaler().fit(x)
    layer = nn.Normalization(dtype=dtype)
    layer.adapt(x)
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(layer.mean.numpy(), scaler.mean_, rtol=tolerance)
    np.testing.assert_allclose(layer.variance.numpy(), scaler.var_, rtol=tolerance)
    assert float(layer.count.numpy()) == 1000.0
    y = nn.to_numpy(layer(put(x)))
    largest = 2e-3 if dtype == "float32" else 1e-10  # in float32 the data themselves are that coarse
    np.testing.assert_allclose(y, scaler.transform(x), rtol=1e-4, atol=largest)


def test_batches_give_what_the_whole_gives(put, rng):
    x = rng.normal(size=(1003, 4)) + 1e4
    whole, parts = nn.Normalization(dtype="float64"), nn.Normalization(dtype="float64")
    whole.adapt(x)
    parts.adapt((put(x[start : start + 100]), None) for start in range(0, 1003, 100))
    np.testing.assert_allclose(parts.mean.numpy(), whole.mean.numpy(), rtol=1e-15)
    np.testing.assert_allclose(parts.variance.numpy(), whole.variance.numpy(), rtol=1e-12)
    listed = nn.Normalization(dtype="float64")
    listed.adapt([x[:500], x[500:]])
    np.testing.assert_allclose(listed.variance.numpy(), whole.variance.numpy(), rtol=1e-12)


def test_large_data_are_taken_in_blocks(rng, monkeypatch):
    from nnbackend.layers.normalization import _Seen

    x = (rng.normal(size=(997, 6)) + 1e4).astype("float32")
    monkeypatch.setattr(_Seen, "BLOCK", 64)
    layer = nn.Normalization(dtype="float64")
    layer.adapt(x)
    wide = x.astype("float64") - 1e4
    np.testing.assert_allclose(layer.variance.numpy(), wide.var(axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.mean.numpy(), wide.mean(axis=0) + 1e4, rtol=1e-15)


@pytest.mark.parametrize(
    ("axis", "kept"), [(-1, (3,)), (1, (1,)), ((1, 3), (1, 3)), ([-1, 2], (2, 3)), (None, ())]
)
def test_statistics_are_taken_for_each_index_of_the_axes(axis, kept, put, rng):
    x = rng.normal(size=(10, 2, 3, 4))
    layer = nn.Normalization(axis=axis, dtype="float64")
    layer.adapt(x)
    others = tuple(number for number in range(4) if number not in kept)
    np.testing.assert_allclose(layer.mean.numpy(), x.mean(axis=others), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(layer.variance.numpy(), x.var(axis=others), rtol=1e-12)
    y = nn.to_numpy(layer(put(x)))
    np.testing.assert_allclose(y.mean(axis=others), np.zeros(y.mean(axis=others).shape), atol=1e-13)
    np.testing.assert_allclose(y.std(axis=others), np.ones(y.mean(axis=others).shape), rtol=1e-12)
    back = nn.Normalization(axis, layer.mean.numpy(), layer.variance.numpy(), invert=True, dtype="float64")
    np.testing.assert_allclose(nn.to_numpy(back(put(y))), x, rtol=1e-12, atol=1e-13)


def test_a_layer_that_adapts_is_built_where_the_data_lie(put, rng):
    x = put(rng.normal(size=(4, 2)))
    layer = nn.Normalization(dtype="float64")
    with nn.use_backend("numpy"):
        layer.adapt(x)
        assert backend_of(layer(x)) is backend_of(x)


def test_what_was_taken_before_is_forgotten(rng):
    layer = nn.Normalization()
    layer.adapt(rng.normal(size=(10, 2)) + 50.0)
    layer.adapt([[1.0, 2.0], [3.0, 2.0]])
    np.testing.assert_array_equal(layer.mean.numpy(), [2.0, 2.0])
    np.testing.assert_array_equal(layer.variance.numpy(), [1.0, 0.0])


def test_a_feature_without_deviation_stays_finite(put):
    layer = nn.Normalization()
    layer.adapt([[1.0], [1.0]])
    np.testing.assert_array_equal(nn.to_numpy(layer(put([[1.0]]))), [[0.0]])


def test_an_adapted_layer_is_part_of_a_model_and_of_its_file(tmp_path, backend, rng):
    x = rng.normal(size=(50, 3)) * 7.0 + 100.0
    layer = nn.Normalization()
    layer.adapt(x)
    model = nn.Sequential([layer, nn.Dense(1)], backend=backend, seed=0)
    predicted = nn.to_numpy(model.predict(x))
    w, b = model.layers[1].kernel.numpy(), model.layers[1].bias.numpy()
    expected = (x - x.mean(axis=0)) / x.std(axis=0) @ w + b
    np.testing.assert_allclose(predicted, expected, rtol=1e-3, atol=1e-5)
    model.save(tmp_path / "model.safetensors")
    loaded = nn.load_model(tmp_path / "model.safetensors", backend=backend)
    np.testing.assert_array_equal(nn.to_numpy(loaded.predict(x)), predicted)
    assert float(loaded.layers[0].count.numpy()) == 50.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Normalization(mean=0.0, variance=1.0).adapt([[1.0]]), ValueError, "does not adapt"),
        (lambda: nn.Normalization().adapt(np.ones((0, 3))), ValueError, "expects data to adapt to, got none"),
        (lambda: nn.Normalization().adapt(iter([])), ValueError, "got none"),
        (lambda: nn.Normalization().adapt(3.0), TypeError, "an array or an iterable of arrays, got float"),
        (lambda: nn.Normalization().adapt([np.ones((2, 3)), np.ones((2, 4))]), ValueError, "was built for"),
        (lambda: nn.Normalization(mean=[1.0, 2.0], variance=1.0).build((3,)), ValueError, "do not fit"),
    ],
)
def test_data_that_do_not_fit_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_frozen_layer_around_it_holds_the_statistics_too(backend, rng):
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    inner = nn.Sequential([nn.BatchNormalization(center=False, scale=False)])
    model = nn.Sequential([inner, nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", "mean_squared_error")
    model.fit(x, y, epochs=1, verbose=0)
    before = inner.get_weights()
    inner.trainable = False
    model.fit(x, y, epochs=1, verbose=0)
    for one, other in zip(before, inner.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    inner.trainable = True
    model.fit(x, y, epochs=1, verbose=0)
    assert not np.array_equal(before[0], inner.get_weights()[0])
