"""What every optimizer can be asked for: weight decay, clipping, accumulation, averages, rates of one's own."""

import numpy as np
import pytest

import nnbackend as nn

SGD, Adam = nn.optimizers.SGD, nn.optimizers.Adam
START = {"dense": {"bias": [1.0, -1.0], "kernel": [[1.0, 2.0], [3.0, -4.0]]}, "norm": {"gamma": [2.0]}}
SLOPE = {"dense": {"bias": [3.0, 4.0], "kernel": [[0.0, 12.0], [0.0, 0.0]]}, "norm": {"gamma": [-0.5]}}


def tree(put, values, dtype="float64", factor=1.0):
    return nn.tree.map(lambda leaf: put(np.asarray(leaf) * factor, dtype), arrays(values))


def arrays(values):
    return {key: arrays(v) if isinstance(v, dict) else np.asarray(v) for key, v in values.items()}


def flat(parameters):
    return {
        f"{layer}/{name}": nn.to_numpy(leaf)
        for layer, inside in sorted(parameters.items())
        for name, leaf in sorted(inside.items())
    }


def step(put, optimizer, times=1, slopes=None):
    parameters = tree(put, START)
    state = optimizer.init(parameters)
    for number in range(times):
        parameters, state = optimizer.update(
            tree(put, SLOPE, factor=(slopes or [1.0] * times)[number]), state, parameters
        )
    return flat(parameters), state


def expect(found, wanted):
    assert found.keys() == wanted.keys()
    for path, values in wanted.items():
        np.testing.assert_allclose(found[path], values, rtol=1e-12, atol=1e-15, err_msg=path)


W, G = flat(arrays(START)), flat(arrays(SLOPE))


def test_decoupled_decay_shrinks_the_weights_before_the_step(put):
    found, _ = step(put, SGD(0.1, weight_decay=0.5))
    expect(found, {path: 0.95 * w - 0.1 * G[path] for path, w in W.items()})


def test_coupled_decay_is_another_term_of_the_gradient(put):
    found, _ = step(put, SGD(0.1, weight_decay=0.5, decoupled_weight_decay=False))
    expect(found, {path: w - 0.1 * (G[path] + 0.5 * w) for path, w in W.items()})


@pytest.mark.parametrize(
    ("which", "spared"),
    [
        (["bias", "norm/"], {"dense/bias", "norm/gamma"}),
        ("gamma$", {"norm/gamma"}),
        (lambda path: path.startswith("dense"), {"dense/bias", "dense/kernel"}),
        ([], set()),
    ],
)
@pytest.mark.parametrize("decoupled", [True, False])
def test_decay_spares_what_is_excluded(put, which, spared, decoupled):
    optimizer = SGD(0.1, weight_decay=0.5, decoupled_weight_decay=decoupled, exclude_from_weight_decay=which)
    found, _ = step(put, optimizer)
    expect(
        found,
        {path: w - 0.1 * (G[path] + (0.0 if path in spared else 0.5) * w) for path, w in W.items()},
    )


@pytest.mark.parametrize("kind", ["AdamW", "LAMB"])
def test_optimizers_that_decay_by_themselves_spare_what_is_excluded(put, kind):
    make = getattr(nn.optimizers, kind)
    without, _ = step(put, make(0.1, weight_decay=0.0), 3)
    spared, _ = step(put, make(0.1, weight_decay=0.5, exclude_from_weight_decay=["bias"]), 3)
    np.testing.assert_array_equal(spared["dense/bias"], without["dense/bias"])
    assert not np.allclose(spared["dense/kernel"], without["dense/kernel"], rtol=1e-3)


def test_adamw_is_adam_with_decoupled_decay(put):
    ours, _ = step(put, nn.optimizers.AdamW(0.1, 0.3), 4)
    same, _ = step(put, Adam(0.1, weight_decay=0.3), 4)
    expect(ours, same)
    largest, _ = step(put, nn.optimizers.AdamW(0.1, 0.3, amsgrad=True), 4)
    expect(largest, step(put, Adam(0.1, weight_decay=0.3, amsgrad=True), 4)[0])


def test_each_gradient_is_shortened_to_clipnorm(put):
    found, _ = step(put, SGD(1.0, clipnorm=2.0))
    expect(
        found,
        {
            "dense/bias": W["dense/bias"] - G["dense/bias"] * 2 / 5,
            "dense/kernel": W["dense/kernel"] - G["dense/kernel"] / 6,
            "norm/gamma": W["norm/gamma"] - G["norm/gamma"],
        },
    )


def test_all_gradients_are_shortened_to_global_clipnorm(put):
    length = np.sqrt(25 + 144 + 0.25)
    found, _ = step(put, SGD(1.0, global_clipnorm=2.0))
    expect(found, {path: w - G[path] * 2 / length for path, w in W.items()})
    unchanged, _ = step(put, SGD(1.0, global_clipnorm=20.0))
    expect(unchanged, {path: w - G[path] for path, w in W.items()})


def test_each_element_is_limited_to_clipvalue(put):
    found, _ = step(put, SGD(1.0, clipvalue=0.4))
    expect(found, {path: w - np.clip(G[path], -0.4, 0.4) for path, w in W.items()})


@pytest.mark.parametrize("option", ["clipnorm", "global_clipnorm"])
def test_clipping_stands_gradients_whose_squares_overflow(put, option):
    w = {"w": put([0.0, 0.0], "float32")}
    optimizer = SGD(1.0, **{option: 1.0})
    new, _ = optimizer.update({"w": put([3e30, 4e30], "float32")}, optimizer.init(w), w)
    np.testing.assert_allclose(nn.to_numpy(new["w"]), [-0.6, -0.8], rtol=1e-6)


def test_clipping_is_pytorchs(backend, put):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own function: two backends are enough")
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(w, requires_grad=True) for w in W.values()]
    for leaf, path in zip(leaves, W, strict=True):
        leaf.grad = torch.tensor(G[path])
    torch.nn.utils.clip_grad_norm_(leaves, 2.0)
    found, _ = step(put, SGD(1.0, global_clipnorm=2.0))
    for leaf, path in zip(leaves, W, strict=True):  # PyTorch adds 1e-6 to the norm
        np.testing.assert_allclose(found[path], W[path] - leaf.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("make", [lambda **o: SGD(0.1, 0.9, **o), lambda **o: nn.optimizers.Nadam(0.1, **o)])
def test_accumulated_gradients_make_one_step_of_their_mean(put, make):
    slopes = [1.0, -2.0, 4.0, 0.5, 0.25, 3.0, 100.0]
    found, state = step(put, make(gradient_accumulation_steps=3), 7, slopes)
    wanted, _ = step(put, make(), 2, [1.0, 3.75 / 3])
    expect(found, wanted)
    assert int(nn.to_numpy(state["step"])) == 2
    assert int(nn.to_numpy(state["waiting"])) == 1


def test_nothing_moves_before_enough_gradients_are_there(put):
    found, state = step(put, Adam(gradient_accumulation_steps=4, weight_decay=0.1, use_ema=True), 3)
    expect(found, W)
    expect(flat(state["slots"]["average"]), W)
    assert int(nn.to_numpy(state["step"])) == 0


def test_a_schedule_counts_updates_not_batches(put):
    schedule = nn.optimizers.schedules.InverseTimeDecay(1.0, 1, 1.0)
    optimizer = SGD(schedule, gradient_accumulation_steps=2)
    found, state = step(put, optimizer, 4)
    expect(found, {path: w - 1.5 * G[path] for path, w in W.items()})
    assert optimizer.current_learning_rate(state) == pytest.approx(1 / 3)


def test_the_average_of_the_weights_moves_slowly(put):
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.75)
    found, state = step(put, optimizer, 3)
    expect(found, {path: w - 3 * G[path] for path, w in W.items()})
    steps = [0.75 * 0.75 * 1 + 0.75 * 0.25 * 2 + 0.25 * 3]  # the first average is the first updated weight
    expect(flat(optimizer.averages(state)), {path: w - steps[0] * G[path] for path, w in W.items()})


def test_the_average_takes_the_place_of_the_weights_when_it_is_its_turn(put):
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    found, state = step(put, optimizer, 2)
    expect(found, {path: w - 1.5 * G[path] for path, w in W.items()})
    expect(flat(optimizer.averages(state)), found)


def test_averages_are_pytorchs(backend, put):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own average: two backends are enough")
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[1.0, -2.0]])
    average = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    oracle = torch.optim.SGD(module.parameters(), lr=0.1)
    optimizer = SGD(0.1, use_ema=True, ema_momentum=0.9)
    parameters = {"w": put([[1.0, -2.0]])}
    state = optimizer.init(parameters)
    for number in range(5):
        slope = np.array([[number - 2.0, 1.0]])
        module.weight.grad = torch.from_numpy(slope)
        oracle.step()
        average.update_parameters(module)
        parameters, state = optimizer.update({"w": put(slope)}, state, parameters)
        np.testing.assert_allclose(
            nn.to_numpy(optimizer.averages(state)["w"]), average.module.weight.detach().numpy(), rtol=1e-13
        )


def test_each_parameter_may_have_a_rate_of_its_own(put):
    optimizer = SGD(0.1, learning_rate_multipliers={"^dense/bias": 0.0, "dense": 2.0}, weight_decay=0.5)
    found, _ = step(put, optimizer)
    factors = {"dense/bias": 0.0, "dense/kernel": 2.0, "norm/gamma": 1.0}
    expect(found, {path: w - 0.1 * factors[path] * (G[path] + 0.5 * w) for path, w in W.items()})


@pytest.mark.parametrize(
    ("make", "option", "pattern"),
    [
        (lambda: SGD(0.1, learning_rate_multipliers={"dens/": 0.0, "norm": 2.0}), "learning_rate_m", "dens/"),
        (
            lambda: SGD(0.1, weight_decay=0.5, exclude_from_weight_decay=["bias", "nrom"]),
            "exclude_from",
            "nrom",
        ),
        (lambda: nn.optimizers.AdamW(exclude_from_weight_decay="gama$"), "exclude_from", r"gama\$"),
        (lambda: nn.optimizers.Muon(exclude="embedding"), "exclude", "embedding"),
    ],
)
def test_a_pattern_that_is_found_in_no_path_is_warned_about(put, make, option, pattern):
    paths = "The paths are dense/bias, dense/kernel, norm/gamma"
    with pytest.warns(
        UserWarning, match=f"got {option}.* with '{pattern}', which is found in no.*{paths}"
    ) as said:
        step(put, make())
    assert len(said) == 1


def test_a_pattern_of_weights_that_do_not_decay_is_not_warned_about(put):
    step(put, SGD(0.1, exclude_from_weight_decay=["nowhere"]))


def test_a_model_warns_of_a_pattern_at_its_first_step_and_only_then(backend):
    def model(pattern):
        layers = [nn.Dense(2, name="first"), nn.Dense(1, name="last")]
        made = nn.Sequential(layers, backend=backend, seed=0)
        made.compile(SGD(0.1, learning_rate_multipliers={pattern: 0.5}), "mse")
        return made

    wrong = model("lats/")
    assert wrong.current_learning_rate == 0.1  # before there are parameters
    with pytest.warns(UserWarning, match="'lats/'.* first/kernel.*Did you mean 'last'"):
        wrong.train_on_batch([[1.0]], [[1.0]])
    wrong.train_on_batch([[1.0]], [[1.0]])
    frozen = model("first/")
    frozen.layers[0].trainable = False
    frozen.train_on_batch([[1.0]], [[1.0]])
    frozen.layers[0].trainable = True
    frozen.layers[1].trainable = False
    frozen.train_on_batch([[1.0]], [[1.0]])


def test_constraints_hold_before_the_average_is_taken(put):
    optimizer = SGD(1.0, use_ema=True)
    parameters = {"w": put([1.0, 1.0])}
    parameters, state = optimizer.update(
        {"w": put([3.0, -1.0])},
        optimizer.init(parameters),
        parameters,
        constrain=lambda new: {"w": nn.constraints.NonNeg()(new["w"])},
    )
    np.testing.assert_array_equal(nn.to_numpy(parameters["w"]), [0.0, 2.0])
    np.testing.assert_array_equal(nn.to_numpy(state["slots"]["average"]["w"]), [0.0, 2.0])


KINDS = sorted(
    name
    for name, value in ((name, getattr(nn.optimizers, name)) for name in nn.optimizers.__all__)
    if isinstance(value, type)
    and issubclass(value, nn.optimizers.Optimizer)
    and value is not nn.optimizers.Optimizer
)
OPTIONS = {
    "weight_decay": 0.01,
    "exclude_from_weight_decay": ["bias"],
    "global_clipnorm": 1.0,
    "gradient_accumulation_steps": 2,
    "use_ema": True,
    "ema_overwrite_frequency": 3,
    "learning_rate_multipliers": {"kernel": 0.5},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_takes_all_options_in_one_compiled_step(backend, kind):
    optimizer = getattr(nn.optimizers, kind)(0.01, **OPTIONS)

    def train(state, gradients):
        parameters, inner = optimizer.update(gradients, state["inner"], state["w"], donate=True)
        return {"w": parameters, "inner": inner}, None

    parameters = {
        "bias": backend.from_host([1.0, 2.0], "float32"),
        "kernel": backend.from_host(np.ones((2, 3)), "float32"),
    }
    compiled, state = backend.compile(train), {"w": parameters, "inner": optimizer.init(parameters)}
    slope = {
        "bias": backend.from_host([0.5, -0.5], "float32"),
        "kernel": backend.from_host(np.ones((2, 3)), "float32"),
    }
    for _ in range(6):
        state, _ = compiled(state, slope)
    assert getattr(compiled, "count", 1) == 1
    assert int(nn.to_numpy(state["inner"]["step"])) == 3
    kernel = nn.to_numpy(state["w"]["kernel"])
    assert kernel.dtype == "float32"
    assert (kernel < 1.0).all()
    np.testing.assert_array_equal(kernel, nn.to_numpy(state["inner"]["slots"]["average"]["kernel"]))


@pytest.mark.parametrize("kind", KINDS)
def test_training_with_all_options_goes_on_from_a_file(tmp_path, kind):
    x = np.random.default_rng(0).normal(size=(48, 3)).astype("float32")
    y = np.tanh(x @ np.ones((3, 2), "float32"))

    def make():
        model = nn.Sequential([nn.Dense(4, "tanh", kernel_constraint="max_norm"), nn.Dense(2)], seed=0)
        options = {**OPTIONS, "gradient_accumulation_steps": 4}
        model.compile(getattr(nn.optimizers, kind)(0.05, **options), "mse")
        return model

    whole, half = make(), make()
    whole.fit(x, y, epochs=4, batch_size=16, verbose=0)
    half.fit(x, y, epochs=2, batch_size=16, verbose=0)  # in the middle of an accumulation
    half.save(tmp_path / "half.safetensors")
    loaded = nn.load_model(tmp_path / "half.safetensors")
    assert loaded.optimizer.get_config() == half.optimizer.get_config()
    loaded.fit(x, y, epochs=4, initial_epoch=2, batch_size=16, verbose=0)
    for a, b in zip(whole.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with whole.averaged_weights(), loaded.averaged_weights():
        assert whole.evaluate(x, y) == loaded.evaluate(x, y)


def test_layers_frozen_and_thawed_keep_their_slots_and_averages(backend):
    x = np.random.default_rng(0).normal(size=(32, 3))
    model = nn.Sequential([nn.Dense(3), nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.Adafactor(0.1, use_ema=True, gradient_accumulation_steps=2), "mse")
    first = model.layers[0]
    first.trainable = False
    model.fit(x, x[:, :1], batch_size=8, verbose=0)
    frozen = first.kernel.numpy()
    first.trainable = True
    model.fit(x, x[:, :1], batch_size=8, verbose=0)
    assert not np.array_equal(first.kernel.numpy(), frozen)
    with model.averaged_weights():
        assert not np.array_equal(first.kernel.numpy(), frozen)


def test_a_model_measures_with_averages_and_trains_on_with_its_own_weights(backend):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    y = x @ np.ones((3, 1), "float32") + np.random.default_rng(1).normal(size=(64, 1)).astype("float32")
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile(nn.optimizers.SGD(0.4, use_ema=True, ema_momentum=0.95), "mse")
    with (
        pytest.raises(ValueError, match="no averages before the first training step"),
        model.averaged_weights(),
    ):
        pass
    model.fit(x, y, epochs=10, batch_size=4, verbose=0)
    own, loss = model.get_weights(), model.evaluate(x, y)["loss"]
    with model.averaged_weights():
        averaged = model.evaluate(x, y)["loss"]
        assert not np.array_equal(model.get_weights()[0], own[0])
        with pytest.raises(RuntimeError, match="would train the averages"):
            model.fit(x, y, verbose=0)
    assert averaged < loss  # a large rate keeps the weights jumping around the minimum
    for a, b in zip(model.get_weights(), own, strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, verbose=0)


def test_averages_have_to_be_asked_for():
    model = nn.Sequential([nn.Dense(1)], seed=0)
    model.compile("adam", "mse")
    model.fit([[1.0]], [[1.0]], verbose=0)
    with pytest.raises(ValueError, match="make it with use_ema=True"), model.averaged_weights():
        pass


def test_the_rate_of_the_next_step_can_be_read(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile(SGD(0.5, decay=1.0), "mse")
    assert model.current_learning_rate == 0.5
    model.fit([[1.0], [2.0]], [[1.0], [2.0]], batch_size=1, verbose=0)
    assert model.current_learning_rate == pytest.approx(0.5 / 3)
    model.optimizer.learning_rate = 0.25
    assert model.current_learning_rate == pytest.approx(0.25 / 3)
    model.compile(SGD(nn.optimizers.schedules.CosineDecay(0.5, 4)), "mse")
    assert model.current_learning_rate == 0.5
    model.fit([[1.0], [2.0]], [[1.0], [2.0]], batch_size=1, verbose=0)
    assert model.current_learning_rate == pytest.approx(0.25)


@pytest.mark.parametrize("small", [0, 4, 1 << 12])
def test_small_parameters_updated_together_have_the_same_bits(put, monkeypatch, dtype, small):
    def train():
        optimizer = Adam(0.1, weight_decay=0.1, exclude_from_weight_decay=["bias"], clipnorm=1.0)
        parameters = tree(put, START, dtype)
        state = optimizer.init(parameters)
        for number in range(4):
            slopes = tree(put, SLOPE, dtype, factor=number - 1.5)
            parameters, state = optimizer.update(slopes, state, parameters, donate=number > 0)
        return flat(parameters), flat(state["slots"]["second_moment"])

    together = train()
    monkeypatch.setattr(type(nn.get_backend()), "joins_below", small)
    for a, b in zip(together, train(), strict=True):
        for path in a:
            np.testing.assert_array_equal(a[path], b[path])


def test_parameters_of_two_dtypes_are_updated_in_their_own(put):
    parameters = {"a": put([1.0], "float32"), "b": put([1.0], "float64"), "c": put([[2.0]], "float32")}
    optimizer = Adam(0.1)
    new, _ = optimizer.update(parameters, optimizer.init(parameters), parameters)
    assert [str(nn.to_numpy(new[name]).dtype) for name in "abc"] == ["float32", "float64", "float32"]
    np.testing.assert_allclose(nn.to_numpy(new["c"]), [[1.9]], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clipnorm": 1.0, "clipvalue": 1.0}, ValueError, "clips in one way, got clipnorm and clipvalue"),
        ({"clipnorm": 0.0}, ValueError, "expects clipnorm above zero"),
        ({"weight_decay": -1.0}, ValueError, "expects weight_decay to be zero or more"),
        ({"weight_decay": None}, TypeError, "expects weight_decay to be a number"),
        ({"gradient_accumulation_steps": 0}, ValueError, "whole number of 1 or more, got 0"),
        ({"ema_overwrite_frequency": 2.5}, ValueError, "whole number of 1 or more, got 2.5"),
        ({"ema_momentum": 1.0}, ValueError, "expects ema_momentum from 0 to below 1"),
        ({"exclude_from_weight_decay": [3]}, TypeError, "patterns of paths or a function"),
        ({"learning_rate_multipliers": {"a": -1.0}}, ValueError, "expects learning_rate_multipliers"),
        ({"learning_rate": "fast"}, TypeError, "expects learning_rate to be a number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Adam(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Adam(lr=0.1),
            "Adam has no option 'lr'; it has learning_rate, .*Did you mean 'learning_rate'",
        ),
        (lambda: SGD(0.1, nestrov=True), "SGD has no option 'nestrov'.*Did you mean 'nesterov'"),
        (lambda: nn.optimizers.AdamW(eps=1e-8), "AdamW has no option 'eps'.*Did you mean 'epsilon'"),
        (
            lambda: nn.optimizers.Muon(clip_norm=1.0),
            "Muon has no option 'clip_norm'.*Did you mean 'clipnorm'",
        ),
    ],
)
def test_an_option_that_there_is_not_is_refused_by_the_optimizers_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.1, dampening=0.5), "dampening with momentum"),
        (lambda: SGD(0.1, 0.9, nesterov=True, dampening=0.5), "without nesterov"),
        (lambda: nn.optimizers.AdamW(decoupled_weight_decay=False), "AdamW decouples"),
        (lambda: nn.optimizers.Adafactor(beta_2_decay=0.5), "from -1 to 0"),
        (lambda: nn.optimizers.RMSprop(rho=1.0), "expects rho from 0 to below 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clipping_that_is_set_takes_effect_and_is_told(backend, put):
    optimizer = nn.optimizers.SGD(1.0)
    optimizer.clipnorm = 0.5
    assert optimizer.get_config() == {"learning_rate": 1.0, "clipnorm": 0.5}
    parameters = {"w": put([0.0, 0.0])}
    found, _ = optimizer.update({"w": put([3.0, 4.0])}, optimizer.init(parameters), parameters)
    np.testing.assert_allclose(nn.to_numpy(found["w"]), [-0.3, -0.4])


def test_classes_that_are_set_are_counted():
    metric = nn.metrics.MeanIoU(num_classes=2)
    metric.num_classes = 3
    assert metric.init(nn.get_backend("numpy"))["matrix"].shape == (3, 3)
