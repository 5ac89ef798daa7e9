"""Models that compute in 16 bits and keep their weights in float32."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import nnbackend as nn

X = np.sin(np.arange(48.0)).reshape(16, 3).astype("float32")
Y = np.arange(16) % 3


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def every_policy(request: pytest.FixtureRequest, backend: Any) -> str:
    """Each mixed policy whose dtype the backend has."""
    half = nn.DTypePolicy(request.param).compute_dtype
    if half not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {half}")
    return str(request.param)


@pytest.fixture
def policy(every_policy: str, backend: Any) -> str:
    """Each mixed policy; one of them where each step takes seconds to compile."""
    if backend.name == "jax" and every_policy != "mixed_float16":
        pytest.skip("one policy will do: each is compiled")
    return every_policy


@pytest.fixture
def float16(backend: Any) -> str:
    """The policy that scales the loss."""
    if "float16" not in backend.dtypes:
        pytest.skip(f"{backend.name} has no float16")
    return "mixed_float16"


def classifier(backend: Any, policy: str, *more: Any, optimizer: Any = None, **options: Any) -> Any:
    layers = [nn.Dense(8, activation="tanh"), *more, nn.Dense(3, activation="softmax")]
    model = nn.Sequential(layers, backend=backend, dtype=policy, seed=0)
    given = optimizer or nn.optimizers.SGD(0.1, momentum=0.9)
    model.compile(given, "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def regression(backend: Any, optimizer: Any = None, **options: Any) -> Any:
    model = nn.Sequential([nn.Dense(1, **options)], backend=backend, dtype="mixed_float16", seed=0)
    model.compile(optimizer or nn.optimizers.SGD(0.5), "mse")
    return model


def slots(model: Any) -> dict[str, Any]:
    return {
        name: nn.to_numpy(a)
        for slot in model._training.optimizer["slots"].values()
        for name, a in slot.items()
    }


def assert_same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_slots_loss_and_metrics_are_float32_and_the_output_is_in_16_bits(backend, every_policy, put):
    model = classifier(backend, every_policy, nn.BatchNormalization())
    model.fit(X, Y, batch_size=8, verbose=0)
    half = nn.DTypePolicy(every_policy).compute_dtype
    assert {str(w.dtype) for w in model.get_weights()} == {"float32"}
    assert {str(a.dtype) for a in slots(model).values()} == {"float32"}
    assert model.predict(put(X, "float32")).dtype == backend.dtype(half)
    handed = model.predict(X)
    assert handed.dtype == ("float16" if half == "float16" else "float32")  # NumPy has no bfloat16
    assert model.loss_scale == (2.0**15 if half == "float16" else None)
    measured = model.evaluate(X, Y)
    probabilities = nn.to_numpy(handed).astype(float)
    assert measured["accuracy"] == np.mean(probabilities.argmax(axis=1) == Y)
    assert measured["loss"] == pytest.approx(-np.log(probabilities[np.arange(16), Y]).mean(), rel=0.02)


def test_losses_see_float32_and_the_logits_behind_an_activation_too(backend, policy):
    seen: list[str] = []

    def squares(y_true: Any, y_pred: Any) -> Any:
        assert y_pred.origin[0] == "softmax"
        seen.extend(str(part.dtype).rpartition(".")[2] for part in (y_true, y_pred, y_pred.origin[1][0]))
        return nn.functional.mean((y_pred - y_true) ** 2, axis=-1)

    model = nn.Sequential([nn.Dense(3, activation="softmax")], backend=backend, dtype=policy, seed=0)
    model.compile("sgd", squares)
    model.train_on_batch(X, X)
    assert set(seen) == {"float32"}


def test_a_layer_of_its_own_dtype_computes_in_that(backend, policy, put):
    model = nn.Sequential(
        [nn.Dense(4), nn.Dense(2, dtype="float32")], backend=backend, dtype=policy, seed=0, input_shape=(3,)
    )
    assert model.predict(put(X, "float32")).dtype == backend.xp.float32
    assert [layer.compute_dtype for layer in model.layers][1] == "float32"
    alone = nn.Sequential([nn.Dense(4, dtype=policy), nn.Dense(2)], backend=backend, seed=0)
    alone.compile("sgd", "mse")
    alone.fit(X, X[:, :2], verbose=0)
    assert alone.predict(put(X, "float32")).dtype == backend.xp.float32
    assert alone.loss_scale == (2.0**15 if policy == "mixed_float16" else None)


def test_it_learns_digits_as_well_as_in_float32(backend, policy):
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits are scikit-learn's")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16.0).astype("float32")
    scores = {}
    for kind in ("float32", policy):
        model = nn.Sequential(
            [nn.Dense(32, activation="relu"), nn.LayerNormalization(), nn.Dense(10, activation="softmax")],
            backend=backend,
            dtype=kind,
            seed=0,
        )
        model.compile(nn.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x[:1200], y[:1200], batch_size=48, epochs=5, verbose=0)
        scores[kind] = model.evaluate(x[1200:], y[1200:])["accuracy"]
    assert scores["float32"] > 0.88
    assert scores[policy] > scores["float32"] - 0.03


def test_overflow_is_found_skipped_and_recovered_from(backend, float16):
    model = regression(backend, nn.optimizers.Adam(0.1))
    targets = np.full((16, 1), 3e3)
    model.train_on_batch(X, targets)
    before = model.get_weights()
    held = slots(model)
    assert model.loss_scale == 2.0**14  # 3000 times 2**15 is no float16
    assert not np.any(before[1])
    assert all(not slot.any() for slot in held.values())
    assert int(nn.to_numpy(model._training.optimizer["step"])) == 0
    skipped = 1
    while not np.any(model.get_weights()[1]):
        skipped += 1
        assert_same(model.get_weights(), before)
        model.train_on_batch(X, targets)
    state = model._training
    assert int(nn.to_numpy(state.optimizer["step"])) == 1
    assert int(nn.to_numpy(state.loss_scale["good_steps"])) == 1
    assert model.loss_scale == 2.0 ** (16 - skipped)
    assert 6 < skipped < 14
    assert int(nn.to_numpy(state.random["step"])) == skipped  # what is random is drawn anew
    assert np.isfinite(model.train_on_batch(X, targets)["loss"])


def test_statistics_of_a_skipped_step_are_not_kept(backend, float16):
    model = nn.Sequential([nn.BatchNormalization(), nn.Dense(1)], backend=backend, dtype=float16, seed=0)
    model.compile("sgd", "mse")
    model.build((3,))
    before = model.get_weights()
    model.train_on_batch(X, np.full((16, 1), 1e5))
    assert_same(model.get_weights(), before)
    assert model.loss_scale == 2.0**14


OPTIONS = [
    {"gradient_accumulation_steps": 2},
    {"use_ema": True, "ema_momentum": 0.5},
    {"weight_decay": 0.1},
    {"global_clipnorm": 0.1},
    {"decay": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_with_every_option_a_skipped_step_is_as_if_it_had_not_been(options, backend, float16):
    if backend.name == "jax" and "use_ema" not in options:
        pytest.skip("each case is compiled")
    y = 0.25 * X[:, :1]  # whose gradients are finite with the first scale
    trained = []
    for targets in ([y, y, y, y], [y, y + 1e5, y, y + 1e5, y, y]):
        model = regression(
            backend, nn.optimizers.SGD(0.1, momentum=0.9, **options), kernel_initializer="zeros"
        )
        for each in targets:
            model.train_on_batch(X, each)
        trained.append(model)
    one, other = trained
    assert other.loss_scale == 2.0**13
    assert one.loss_scale == 2.0**15
    for found, expected in zip(other.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # scales are powers of two
    for name, slot in slots(one).items():
        np.testing.assert_allclose(slots(other)[name], slot, rtol=1e-5, atol=1e-6)
    assert other.current_learning_rate == one.current_learning_rate


def test_gradients_are_clipped_once_they_are_unscaled(backend, float16):
    model = regression(backend, nn.optimizers.SGD(1.0, global_clipnorm=0.25))
    model.build((3,))
    before = model.get_weights()
    model.train_on_batch(X, np.full((16, 1), 0.5))
    change = np.concatenate([(a - b).reshape(-1) for a, b in zip(model.get_weights(), before, strict=True)])
    assert np.linalg.norm(change) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("cut", [1, 3])
def test_training_goes_on_exactly_in_a_loaded_model(cut, backend, policy, tmp_path):
    if backend.name == "jax" and cut == 1:
        pytest.skip("each case is compiled")

    def take(model: Any, numbers: range) -> None:
        for number in numbers:
            heavy = np.full(16, 1e6 if number == 2 else 1.0) * (1.0 + np.arange(16))
            model.train_on_batch(X, Y, sample_weight=heavy / heavy.mean() if number != 2 else heavy)

    whole = classifier(backend, policy, nn.Dropout(0.2), nn.BatchNormalization())
    take(whole, range(5))
    half = classifier(backend, policy, nn.Dropout(0.2), nn.BatchNormalization())
    take(half, range(cut))
    half.save(tmp_path / "half.safetensors")
    loaded = nn.load_model(tmp_path / "half.safetensors", backend=backend)
    assert (loaded.dtype, loaded.loss_scale) == (policy, half.loss_scale)
    assert [layer.compute_dtype for layer in loaded.layers] == [layer.compute_dtype for layer in half.layers]
    take(loaded, range(cut, 5))
    assert_same(loaded.get_weights(), whole.get_weights())
    assert_same(slots(loaded).values(), slots(whole).values())
    assert loaded.loss_scale == whole.loss_scale


def test_a_scale_that_has_moved_is_saved_with_its_count(backend, float16, tmp_path):
    model = regression(backend)
    model.train_on_batch(X, np.full((16, 1), 1e5))
    model.train_on_batch(X, X[:, :1])
    model.save(tmp_path / "model.safetensors")
    held = nn.load_model(tmp_path / "model.safetensors", backend=backend)._training.loss_scale
    assert float(nn.to_numpy(held["scale"])) == 2.0**14
    assert int(nn.to_numpy(held["good_steps"])) == 1
    model.compile("sgd", "mse")  # begins anew
    assert model.loss_scale == 2.0**15


def test_compile_says_how_the_loss_is_scaled(backend, float16, tmp_path):
    model = regression(backend)
    model.compile("sgd", "mse", loss_scale=nn.LossScale(initial=8.0, growth_interval=2))
    assert model.loss_scale == 8.0
    seen = []
    for _ in range(4):
        model.train_on_batch(X, X[:, :1])
        seen.append(model.loss_scale)
    assert seen == [8.0, 16.0, 16.0, 32.0]
    with pytest.raises(TypeError, match="LossScale keeps growth_interval=2: a compiled model has read it"):
        model.loss_scaling.growth_interval = 3
    model.save(tmp_path / "model.safetensors")
    loaded = nn.load_model(tmp_path / "model.safetensors", backend=backend)
    for each in (model, loaded, copy.deepcopy(model)):
        assert each.loss_scaling.get_config() == {"initial": 8.0, "growth_interval": 2}
        for _ in range(2):
            each.train_on_batch(X, X[:, :1])
        assert each.loss_scale == 64.0
    model.compile("sgd", "mse")
    assert model.loss_scale == 2.0**15


def test_a_model_in_float32_has_no_scale_whatever_compile_was_told(light):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse", loss_scale=nn.LossScale(8.0))
    model.train_on_batch(X, X[:, :1])
    assert model.loss_scale is None


@pytest.mark.parametrize("wrong", [1024.0, nn.LossScale])
def test_a_loss_scale_that_is_none_is_refused(wrong):
    with pytest.raises(
        TypeError, match=r"expects loss_scale to be a LossScale, such as nn.LossScale\(initial="
    ):
        nn.Sequential([nn.Dense(1)]).compile("sgd", "mse", loss_scale=wrong)


def test_a_moved_model_takes_its_scale_along(backend, float16):
    model = regression(backend)
    model.train_on_batch(X, np.full((16, 1), 1e5))
    model.to("numpy")
    assert model.loss_scale == 2.0**14
    model.train_on_batch(X, X[:, :1])
    assert model.loss_scale == 2.0**14


def test_the_summary_shows_the_policy(backend, policy):
    lines: list[str] = []
    model = classifier(backend, policy)
    model.build((3,))
    model.summary(print_fn=lines.append)
    assert lines[0] == f"Sequential on {backend.name}, {policy}"


def test_masks_class_weights_and_sequences_train(backend, policy):
    if backend.name == "jax":
        pytest.skip("each case is compiled")
    model = nn.Sequential(
        [nn.Embedding(3000, 4, mask_zero=True), nn.LSTM(5), nn.Dropout(0.1), nn.Dense(2)],
        backend=backend,
        dtype=policy,
        seed=0,
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = (np.arange(64).reshape(16, 4) * 97) % 3000
    x[:, 3] = 0
    history = model.fit(
        x, np.arange(16) % 2, epochs=2, batch_size=8, class_weight={0: 1.0, 1: 3.0}, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    assert model.loss_scale in (None, 2.0**15)


def test_a_graph_of_several_outputs_trains(backend, policy):
    if backend.name == "jax":
        pytest.skip("each case is compiled")
    a = nn.Input((3,), name="a")
    hidden = nn.Dense(4, activation="gelu")(a)
    outputs = {"mean": nn.Dense(1)(hidden), "class": nn.Dense(3, activation="softmax")(hidden)}
    model = nn.Model(a, outputs, backend=backend, dtype=policy, seed=0)
    model.compile("adam", {"mean": "mse", "class": "sparse_categorical_crossentropy"})
    logs = model.train_on_batch(X, {"mean": X[:, :1], "class": Y})
    assert np.isfinite(list(logs.values())).all()


def test_it_is_pytorchs_autocast_within_rounding(backend, every_policy):
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch")
    kind = {"mixed_float16": torch.float16, "mixed_bfloat16": torch.bfloat16}[every_policy]
    model = nn.Sequential(
        [nn.Dense(8, activation="relu"), nn.Dense(3)], backend=backend, dtype=every_policy, seed=0
    )
    model.compile(nn.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    model.build((3,))
    start = model.get_weights()
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        for parameter, weight in zip(theirs.parameters(), start, strict=True):
            parameter.copy_(torch.from_numpy(weight.T.copy()))
    optimizer = torch.optim.SGD(theirs.parameters(), 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15, enabled=every_policy == "mixed_float16")
    with torch.autocast("cpu", dtype=kind):
        loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(X)).float(), torch.from_numpy(Y))
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    value = model.train_on_batch(X, Y)["loss"]
    unit = 2.0**-10 if every_policy == "mixed_float16" else 2.0**-7
    assert value == pytest.approx(loss.item(), rel=4 * unit)
    for before, found, parameter in zip(start, model.get_weights(), theirs.parameters(), strict=True):
        step = parameter.detach().numpy().T - before
        assert np.abs(found - before - step).max() <= 4 * unit * np.abs(step).max()


def test_a_search_for_the_minimum_is_refused_in_float16(backend, float16):
    with pytest.raises(
        ValueError, match="cannot tell, but Sequential 'sequential' computes in it. Make it with dtype="
    ):
        regression(backend).minimize(X, X[:, :1])


def test_a_loop_by_hand_scales_the_loss_itself(backend, float16, put):
    model = regression(backend, kernel_initializer="zeros")
    model.build((3,))
    x, y = put(X, "float32"), put(0.25 * X[:, :1], "float32")
    optimizer, scaling = nn.optimizers.SGD(0.5), nn.LossScale()
    parameters = model.get_parameters()
    held, scale = optimizer.init(parameters), scaling.init(backend)

    def loss(parameters: Any) -> Any:
        error = nn.functional.astype(model.apply(parameters, x), "float32") - y
        return scaling.scaled(nn.functional.mean(error**2), scale)

    gradients, finite = scaling.unscaled(nn.grad(loss)(parameters), scale)
    assert bool(finite)
    parameters, held = optimizer.update(gradients, held, parameters)
    same = regression(backend, kernel_initializer="zeros")
    same.train_on_batch(X, 0.25 * X[:, :1])
    for path, array in parameters.items():
        np.testing.assert_allclose(
            nn.to_numpy(array), nn.to_numpy(same.get_parameters()[path]), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("eager", [False, True])
def test_replayed_steps_have_the_bits_of_the_step_as_written(eager, backend, float16):
    if backend.name != "numpy":
        pytest.skip("NumPy records and replays steps")
    model = classifier(backend, float16, nn.BatchNormalization(), nn.Dropout(0.1), run_eagerly=eager)
    written = classifier(backend, float16, nn.BatchNormalization(), nn.Dropout(0.1), run_eagerly=True)
    for number in range(8):
        heavy = np.full(16, 1e9 if number in (4, 5) else 1.0) * np.arange(16)
        for one in (model, written):
            one.train_on_batch(X, Y, sample_weight=heavy if number in (4, 5) else None)
    (step,) = [step for (kind, _), step in model._compiled.items() if kind == "train"]
    assert eager or (step.args[0].reason, step.args[0].count) == (None, 1)
    assert_same(model.get_weights(), written.get_weights())
    assert_same(slots(model).values(), slots(written).values())
    assert model.loss_scale == written.loss_scale


def too_large(backend: Any, where: str) -> tuple[Any, Any, Any]:
    """Return a model in float16, inputs and targets, of which something passes the largest number."""
    hidden = nn.Dense(4, kernel_initializer="ones", name="hidden")
    model = nn.Sequential([hidden, nn.Dense(1)], backend=backend, dtype="mixed_float16", seed=0)
    model.compile("sgd", "mse", loss_scale=nn.LossScale(2.0))
    x = np.full((8, 3), {"inputs": 1e6, "outputs": 6e4, "data": np.nan}.get(where, 1.0))
    return model, x, np.full(8, 1e9 if where == "gradients" else 1.0)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "inputs",
            r"the loss of epoch 1 is (nan|inf)\. Steps .*Inputs reach 1e\+06: bring them to about 1, as nn",
        ),
        (
            "outputs",
            r"first are in the output of Dense 'hidden'\. Make inputs and targets smaller, give the layer d",
        ),
        ("data", r"The first are in the data: x holds NaN or infinite values\. Remove or fill them\.$"),
        (
            "gradients",
            r"its gradients are not finite even with a loss scale of 1\. .*in the gradient of the output of Dense",
        ),
    ],
)
def test_fit_says_once_what_passes_the_largest_number(where, message, backend, float16):
    if backend.name == "jax" and where != "outputs":
        pytest.skip("each case is compiled")
    model, x, y = too_large(backend, where)
    model.build((3,))
    before = model.get_weights()
    head = r"^Sequential 'sequential' computes in float16, whose largest number is 65504, and .*"
    with pytest.warns(RuntimeWarning, match=head + message) as caught:
        model.fit(x, y, epochs=3, batch_size=4, verbose=0)
    assert len(caught) == 1
    assert_same(model.get_weights(), before)
    state = model._training
    assert int(nn.to_numpy(state.random["step"])) == 6  # the step that was looked into is forgotten
    assert int(nn.to_numpy(state.optimizer["step"])) == 0
    with pytest.warns(RuntimeWarning, match=head):
        model.fit(x, y, verbose=0)


def test_train_on_batch_says_so_too(backend, float16):
    model, x, y = too_large(backend, "inputs")
    with pytest.warns(RuntimeWarning, match=r"and the loss of the batch is nan.*Inputs reach 1e\+06"):
        model.train_on_batch(x, y)
    assert np.isnan(model.train_on_batch(x, y)["loss"])


def test_a_scale_that_only_came_down_is_no_reason_to_warn(backend, float16):
    model = regression(backend)
    model.fit(X, np.full((16, 1), 3e3), batch_size=4, epochs=2, verbose=0)  # warnings are errors
    assert model.loss_scale < 2.0**15
