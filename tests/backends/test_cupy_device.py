"""CuPy on a GPU: generated kernels, random words and transfers. Runs with ``--backend cupy``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend import random, tree
from nnbackend.backend import Backend, host, namespace
from nnbackend.data import Batch
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.precision import use_matmul_precision
from tests.backends.cuda_programs import (
    CASES,
    Case,
    adam,
    assert_within,
    expected_results,
    random_values,
    row_arguments,
    softmax,
)


@pytest.fixture(autouse=True)
def _only_on_cupy(backend: Backend) -> None:
    if backend.name != "cupy":
        pytest.skip("these tests are for --backend cupy")


def _run(
    backend: Backend, case: Case, arguments: list[np.ndarray], donate: tuple[int | None, ...] = ()
) -> Any:
    result = backend.run(case.program, [backend.from_host(a) for a in arguments], donate)
    return [backend.to_host(r) for r in (result if isinstance(result, tuple) else (result,))]


def _named(name: str) -> Case:
    (case,) = [case for case in CASES if case.name == name]
    return case


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_programs_compute_what_the_plain_expression_does(
    case: Case, backend: Backend, rng: np.random.Generator
) -> None:
    if case.program.rowwise:
        arguments = row_arguments(case, 37, 33, rng)
    else:
        arguments = [random_values(dtype, (1000,), rng) for dtype in case.dtypes]
    if case.name.startswith(("adam", "library_adam")):
        arguments[3:] = [np.abs(a) for a in arguments[3:]]
    results = _run(backend, case, arguments)
    for actual, wanted in zip(results, expected_results(case, arguments), strict=True):
        assert_within(actual, wanted, units=32, scale=4.0)


@pytest.mark.parametrize("unit", [1, 2, 4, 8])
def test_many_pieces_of_memory_are_copied(unit: int, backend: Backend, rng: np.random.Generator) -> None:
    from nnbackend_cupy import moving

    counts = [unit * count for count in (*range(1, 20), 3000, 100_001)]
    sources = [backend.from_host(np.frombuffer(rng.bytes(count + 8), np.uint8)) for count in counts]
    targets = [backend.from_host(np.zeros(count + 8, np.uint8)) for count in counts]
    moving.move(
        (target.data.ptr + 8 - unit, source.data.ptr + 8 - unit, count)
        for target, source, count in zip(targets, sources, counts, strict=True)
    )
    for target, source, count in zip(targets, sources, counts, strict=True):
        moved, wanted = backend.to_host(target), backend.to_host(source)
        np.testing.assert_array_equal(moved[8 - unit : 8 - unit + count], wanted[8 - unit : 8 - unit + count])
        assert not moved[: 8 - unit].any()
        assert not moved[8 - unit + count :].any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_product_that_sums_the_gradient_of_a_bias_agrees_with_the_sum(
    dtype: str, backend: Backend, rng: np.random.Generator
) -> None:
    from nnbackend_cupy import matmul

    for rows, width, units in ((128, 784, 128), (100, 64, 3), (7, 5, 3), (512, 1024, 1024)):
        x, dy = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, width), (rows, units)))
        found = matmul.product_and_sums(backend.from_host(x).T, backend.from_host(dy))
        if found is None:
            continue  # the rule goes on by itself
        wanted = dy.astype(np.float64).sum(axis=0)
        unit = float(np.finfo(dtype).eps) * np.abs(dy.astype(np.float64)).sum(axis=0).max()
        np.testing.assert_allclose(
            backend.to_host(found[1]).astype(np.float64), wanted, rtol=0, atol=2 * unit
        )
        again = matmul.product_and_sums(backend.from_host(x).T, backend.from_host(dy))
        for one, other in zip(found, again, strict=True):
            np.testing.assert_array_equal(backend.to_host(one), backend.to_host(other))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_products_quotients_and_roots_have_the_bits_of_numpy(
    dtype: str, backend: Backend, rng: np.random.Generator
) -> None:
    case = _named(f"adam_{dtype}")
    arguments = [np.abs(random_values(dtype, (10_000,), rng)) for _ in case.dtypes]
    for actual, wanted in zip(_run(backend, case, arguments), expected_results(case, arguments), strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("width", [1, 2, 31, 33, 1000, 5000, 50_257])
def test_rows_of_any_width_are_reduced(width: int, backend: Backend, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, width)).astype(np.float32)
    actual = backend.to_host(softmax(backend.from_host(x)))
    assert_within(actual, softmax.function(x.astype(np.float64)).astype(np.float32), units=64)
    again = backend.to_host(softmax(backend.from_host(x)))
    np.testing.assert_array_equal(actual, again)


@elementwise
def _two(x, y):
    return x * y, y + 1.0


@rowwise
def _weighted(x, mask, bias):
    xp = namespace(x)
    return xp.sum(xp.where(mask, x, 0.0), axis=-1, keepdims=True) + bias, x + bias


def test_arguments_broadcast_and_may_be_strided(backend: Backend, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 1, 7)), rng.standard_normal((3, 1))
    first, second = _two(backend.from_host(x.T).T, backend.from_host(y))
    np.testing.assert_array_equal(backend.to_host(first), x * y)
    np.testing.assert_array_equal(backend.to_host(second), y + 1.0)
    scores, mask = rng.standard_normal((2, 3, 4, 6)), rng.random((2, 1, 1, 6)) < 0.5
    bias = rng.standard_normal((3, 1, 1))
    scores_there = namespace(first).permute_dims(
        backend.from_host(scores.transpose(3, 1, 0, 2)), (2, 1, 3, 0)
    )
    total, moved = _weighted(scores_there, backend.from_host(mask), backend.from_host(bias))
    wanted = np.where(mask, scores, 0.0).sum(axis=-1, keepdims=True) + bias
    np.testing.assert_allclose(backend.to_host(total), wanted, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(backend.to_host(moved), scores + bias)


def test_donated_memory_is_taken_over(backend: Backend, rng: np.random.Generator) -> None:
    arguments = [np.abs(random_values("float32", (1000,), rng)) for _ in range(4)]
    arguments += [np.abs(random_values("float32", (), rng)) for _ in range(2)]
    static = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    there = [backend.from_host(a) for a in arguments]
    updated = adam(*there, donate=(0, 2, 3), **static)
    assert [new is old for new, old in zip(updated, (there[0], there[2], there[3]), strict=True)] == [
        True
    ] * 3
    for actual, wanted in zip(updated, adam.function(*arguments, **static), strict=True):
        np.testing.assert_array_equal(backend.to_host(actual), wanted)


def test_an_empty_array_stays_empty(backend: Backend) -> None:
    assert _two(backend.from_host(np.ones((0, 3))), backend.from_host(np.ones(3)))[0].shape == (0, 3)
    assert softmax(backend.from_host(np.ones((0, 3)))).shape == (0, 3)


def _captured(backend: Backend, function: Callable[[], Any]) -> Any:
    """Run a function while its stream is captured, where anything that would wait raises; then do its work."""
    import cupy

    function()  # compiles
    stream = cupy.cuda.Stream(non_blocking=True)
    backend.synchronize()
    with stream:
        function()  # fills this stream's memory pool
        stream.synchronize()
        stream.begin_capture()
        result = function()
        graph = stream.end_capture()
        graph.launch()
        stream.synchronize()
    return result


def test_running_a_program_waits_for_nothing(backend: Backend, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((4, 100)), rng.standard_normal(100)
    x_there, y_there = backend.from_host(x), backend.from_host(y)
    first, second = _captured(backend, lambda: _two(x_there, y_there))
    np.testing.assert_array_equal(backend.to_host(first), x * y)
    np.testing.assert_array_equal(backend.to_host(second), y + 1.0)
    rows = _captured(backend, lambda: softmax(x_there))
    np.testing.assert_allclose(backend.to_host(rows), softmax.function(x), rtol=1e-13)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 100_003])
def test_random_words_are_those_of_the_host(bits: int, count: int, backend: Backend) -> None:
    state: dict[str, Any] = {"stream": 2**64 - 1, "call": 3}
    wanted = host().random_words(count, bits, key=(2**64 - 1, 5), step=7, **state)
    drawn = backend.random_words(count, bits, key=(2**64 - 1, 5), step=7, **state)
    np.testing.assert_array_equal(backend.to_host(drawn), wanted)
    key, step = backend.from_host(np.asarray([-1, 5], np.int64)), backend.from_host(np.asarray(7, np.int32))
    drawn = backend.random_words(count, bits, key=key, step=step, **state)
    assert str(drawn.dtype) == f"uint{bits}"
    np.testing.assert_array_equal(backend.to_host(drawn), wanted)


def test_drawing_waits_for_nothing(backend: Backend) -> None:
    key, step = backend.from_host(np.asarray([1, 2], np.int64)), backend.from_host(np.asarray(3, np.int64))
    drawn = _captured(
        backend, lambda: random.Stream(key, "dropout/mask", step, backend).keep((100, 10), rate=0.3)
    )
    wanted = random.Stream(1 + (2 << 64), "dropout/mask", 3).keep((100, 10), rate=0.3)
    np.testing.assert_array_equal(backend.to_host(drawn), wanted)


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "float16", "float32", "float64"])
def test_values_travel_unchanged(dtype: str, backend: Backend, rng: np.random.Generator) -> None:
    values = random_values(dtype, (5, 6), rng).T
    there = backend.from_host(values)
    back = backend.to_host(there)
    np.testing.assert_array_equal(back, values)
    assert back.dtype == values.dtype
    assert back.flags.writeable
    assert backend.to_host(backend.from_host(values[0, 0])).shape == ()
    assert backend.owns(there)
    assert namespace(there).zeros(3, device=backend.device(there)).device == there.device


def test_values_are_cast_on_their_way(backend: Backend) -> None:
    there = backend.from_host([1.0, 0.1], "float32")
    assert backend.to_host(there).tolist() == [1.0, float(np.float32(0.1))]


def test_memory_in_use_grows_with_an_array(backend: Backend) -> None:
    before = backend.memory_in_use()
    held = backend.from_host(np.zeros(1 << 20))
    after = backend.memory_in_use()
    assert before is not None
    assert after is not None
    assert after - before >= held.nbytes


# Captured steps


def _classifier(backend: Backend, **options: Any) -> Any:
    layers = [
        nn.Dense(40, activation="relu"),
        nn.BatchNormalization(),
        nn.Dropout(0.3),
        nn.Dense(40, activation="tanh"),
        nn.Dense(40, activation="gelu"),
        nn.LayerNormalization(),
        nn.Dense(3, activation="softmax"),
    ]
    model = nn.Sequential(layers, backend=backend, seed=1)
    optimizer = options.pop("optimizer", None) or nn.optimizers.Adam(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


X = np.random.default_rng(0).normal(size=(50, 5)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 50)


def _of(model: Any) -> list[np.ndarray]:
    """Return all that training changes, on the host."""
    parameters = {path: handle._array for path, handle in model.handles().items()}
    held = [parameters, model._training.optimizer, model._training.random]
    return [nn.to_numpy(array) for array in tree.leaves(held)]


def _captured_steps(model: Any, kind: str = "train") -> list[Any]:
    return [step for (name, _), step in model._compiled.items() if name == kind]


def _both(backend: Backend, work: Callable[[Any], Any], **options: Any) -> Any:
    """Do work with a model whose steps are captured, and compare it with one whose steps run as written."""
    found = []
    for eager in (True, False):
        model = _classifier(backend, run_eagerly=eager, **options)
        found.append((work(model), _of(model)))
    (expected, weights), (outcome, others) = found
    for one, other in zip(others, weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert outcome == expected
    return model


@pytest.mark.parametrize("name", ["sgd", "adam", "ema", "clipped"])
def test_a_captured_fit_has_the_bits_of_the_step_as_it_is_written(name: str, backend: Backend) -> None:
    optimizers = {
        "sgd": nn.optimizers.SGD(0.05, momentum=0.9),
        "adam": nn.optimizers.Adam(0.01, weight_decay=0.01),
        "ema": nn.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
        "clipped": nn.optimizers.SGD(0.5, global_clipnorm=0.1),
    }

    def work(model: Any) -> Any:  # the last batch of an epoch has 2 samples
        data = {"batch_size": 16, "epochs": 4, "verbose": 0}
        history = model.fit(X, Y, validation_data=(X[:20], Y[:20]), **data).history
        return history, model.evaluate(X, Y, 16), model.predict(X, 16).tolist()

    model = _both(backend, work, optimizer=optimizers[name])
    assert [(step.count, step.reason) for step in _captured_steps(model)] == [(2, None)]
    assert [step.reason for step in _captured_steps(model, "test")] == [None]
    assert [step.reason for step in _captured_steps(model, "predict")] == [None]


def test_what_is_set_between_captured_steps_takes_effect(backend: Backend, tmp_path: Path) -> None:
    def work(model: Any) -> Any:
        found = []

        def train() -> None:
            found.extend(model.train_on_batch(X[:16], Y[:16]) for _ in range(3))

        train()
        first = model.get_weights()
        model.save_weights(tmp_path / "weights.safetensors")
        train()
        model.set_weights(first)
        train()
        model.optimizer.learning_rate = 0.1
        train()
        model.load_weights(tmp_path / "weights.safetensors")
        train()
        return found

    model = _both(backend, work)
    assert [(step.count, step.reason) for step in _captured_steps(model)] == [(1, None)]


def test_a_convolution_and_a_recurrence_are_captured(backend: Backend) -> None:
    images = np.random.default_rng(2).normal(size=(32, 8, 8, 2)).astype("float32")
    words = np.random.default_rng(3).integers(0, 11, (32, 6))
    for x, layers in (
        (images, [nn.Conv2D(4, 3, activation="relu"), nn.MaxPooling2D(2), nn.Flatten(), nn.Dense(3)]),
        (words, [nn.Embedding(11, 4), nn.LSTM(5), nn.Dense(3)]),
        (images.reshape(32, 16, 8), [nn.TransformerEncoder(12, 2), nn.GlobalAveragePooling1D()]),
    ):
        model = nn.Sequential(layers, backend=backend, seed=1)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, Y[:32], batch_size=8, epochs=2, verbose=0)
        assert [(step.count, step.reason) for step in _captured_steps(model)] == [(1, None)]


class _Reads(nn.Layer):
    """Looks at a value."""

    def forward(self, x: Any) -> Any:
        return x if float(nn.to_numpy(x).max()) > 1e9 else x * 0.5


def test_a_step_that_waits_for_the_device_goes_on_as_it_is_written(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    model = nn.Sequential([nn.Dense(4), _Reads(), nn.Dense(3)], backend=backend, seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, batch_size=16, epochs=3, verbose=0)
    (step,) = _captured_steps(model)
    assert (step.count, step.reason) == (0, "an array is copied to the host in it")
    assert len(caplog.records) == 1
    assert not namespace(backend.from_host([1.0])).any(backend.from_host([0.0]))  # the device goes on
    other = _classifier(backend)
    other.fit(X, Y, batch_size=16, epochs=2, verbose=0)  # and captures
    assert [step.reason for step in _captured_steps(other)] == [None]


def test_constants_of_a_step_are_part_of_its_graph(backend: Backend) -> None:
    xp = backend.xp

    def step(state: Any, x: Any) -> Any:
        parts = [x * float(number) for number in range(12)]  # more than CuPy joins without a table
        total = xp.sum(xp.concat(parts)) + xp.sum(xp.stack(parts))
        return {"w": state["w"] + x * xp.asarray([1.0, 2.0])}, {"total": total}

    captured = backend.compile(step)
    state = {"w": backend.from_host(np.zeros(2))}
    for number in range(5):
        state, results = captured(state, backend.from_host(np.asarray([number, 1.0])))
        assert float(results["total"]) == 2.0 * 66.0 * (number + 1.0)
        backend.from_host(np.ones(1000))  # takes what pinned memory is free
    assert (captured.count, captured.reason) == (1, None)
    np.testing.assert_array_equal(backend.to_host(state["w"]), [10.0, 10.0])


def test_a_captured_step_waits_for_nothing(backend: Backend) -> None:
    import cupy

    model = _classifier(backend)
    for _ in range(3):
        model.train_on_batch(X[:16], Y[:16])
    (step,) = _captured_steps(model)
    x, y = backend.from_host(X[:16]), backend.from_host(Y[:16])
    source = 'extern "C" __global__ void slow() { for (int i = 0; i < 2000; ++i) __nanosleep(1000000); }'
    slow = cupy.RawKernel(source, "slow")
    slow((1,), (1,), ())  # two seconds
    before = cupy.cuda.get_current_stream()
    model._train(Batch(x, y, None), model._no_metrics())
    assert not before.done
    assert step.count == 1


def test_batches_that_travel_are_those_of_the_host(backend: Backend) -> None:
    send = backend.sender()
    given = [[np.random.default_rng(n).normal(size=(1000, 100)), np.arange(n + 1)] for n in range(12)]
    total = backend.from_host(np.zeros((1000, 100)))
    kept = []
    for batch in given:
        x, y = send(batch)
        for _ in range(20):
            total = total + x
        kept = [*kept[-1:], y]
    expected = 20.0 * np.sum([batch[0] for batch in given], axis=0)
    np.testing.assert_allclose(backend.to_host(total), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(backend.to_host(kept[-1]), given[-1][1])
    np.testing.assert_array_equal(backend.to_host(kept[-2]), given[-2][1])


def test_data_that_stay_on_the_host_train_the_same(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def history() -> Any:
        return _classifier(backend).fit(X, Y, batch_size=16, epochs=3, verbose=0).history

    expected = history()
    monkeypatch.setattr(type(backend), "holds", lambda self, count: False)
    assert history() == expected


def test_memory_is_reported_limited_and_given_back(backend: Backend) -> None:
    held = backend.from_host(np.zeros(1 << 20))
    use = backend.memory_use()
    assert use.in_use >= held.nbytes
    assert use.held >= use.in_use
    assert use.peak >= use.held
    assert 0 < use.free < use.total
    del held
    backend.release_memory()
    assert backend.memory_use().held <= use.held
    assert "GiB" in backend.memory_report()
    limited = nn.get_backend("cupy", memory_limit=0.9)
    try:
        assert limited.memory_use().limit == int(0.9 * use.total)
    finally:
        import cupy

        cupy.get_default_memory_pool().set_limit(size=0)


def test_a_device_is_asked_for_by_its_number(backend: Backend) -> None:
    first = nn.get_backend("cupy", device=0)
    assert first.from_host([1.0]).device.id == 0
    assert (
        _classifier(first).fit(X, Y, verbose=0).history == _classifier(backend).fit(X, Y, verbose=0).history
    )
    with pytest.raises(ValueError, match="CuPy has no device 99; it has cuda:0 "):
        nn.get_backend("cupy", device=99)


def test_another_device_takes_the_same_steps(backend: Backend) -> None:
    if len(type(backend).probe().devices) < 2:
        pytest.skip("there is one device")
    other = nn.get_backend("cupy", device=1)
    assert other.from_host([1.0]).device.id == 1
    model = _classifier(other)
    history = model.fit(X, Y, batch_size=16, epochs=3, verbose=0).history
    assert {handle._array.device.id for handle in model.handles().values()} == {1}
    assert history == _classifier(backend).fit(X, Y, batch_size=16, epochs=3, verbose=0).history


def test_the_device_is_described(backend: Backend) -> None:
    found = type(backend).probe()
    assert found.available
    assert found.devices[0].startswith("cuda:0 ")
    assert "GiB" in found.memory


_PRODUCTS = [
    ((64, 48), (48, 80)),
    ((1, 7), (7, 1)),
    ((33, 17), (17, 9)),
    ((5, 4, 6), (6, 3)),
    ((2, 3, 4, 5), (2, 3, 5, 7)),
    ((2, 1, 4, 5), (3, 5, 7)),
]
_PRECISE = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}


def _assert_near(actual: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
    np.testing.assert_allclose(actual.astype(np.float64), wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("swapped", [(False, False), (True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize(("first", "second"), _PRODUCTS, ids=str)
@pytest.mark.parametrize("dtype", list(_PRECISE))
def test_products_are_those_of_numpy(
    dtype: str, first: tuple[int, ...], second: tuple[int, ...], swapped: tuple[bool, bool],
    backend: Backend, rng: np.random.Generator,
) -> None:  # fmt: skip
    factors = [rng.standard_normal(shape).astype(dtype) for shape in (first, second)]
    there = [
        backend.from_host(np.ascontiguousarray(f.swapaxes(-1, -2))).swapaxes(-1, -2)
        if swap
        else backend.from_host(f)
        for f, swap in zip(factors, swapped, strict=True)
    ]
    wanted = np.matmul(*(f.astype(np.float64) for f in factors))
    product = _captured(backend, lambda: namespace(there[0]).matmul(*there))
    assert backend.to_host(product).dtype == dtype
    _assert_near(backend.to_host(product), wanted, _PRECISE[dtype])
    again = namespace(there[0]).matmul(*there)
    np.testing.assert_array_equal(backend.to_host(product), backend.to_host(again))


def test_products_of_bfloat16_are_rounded_once(backend: Backend, rng: np.random.Generator) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x, y = (rng.standard_normal((3, 40, 40)).astype(bfloat16) for _ in range(2))
    product = namespace(backend.from_host(x)).matmul(backend.from_host(x), backend.from_host(y))
    assert product.dtype == bfloat16
    wanted = np.matmul(x.astype(np.float64), y.astype(np.float64))
    _assert_near(backend.to_host(product), wanted, 1e-2)


@pytest.mark.parametrize(("precision", "least", "most"), [("highest", 0.0, 1e-6), ("high", 1e-6, 3e-3)])
def test_float32_is_multiplied_as_exactly_as_is_asked_for(
    precision: Any, least: float, most: float, backend: Backend, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((512, 512)).astype(np.float32)
    there = backend.from_host(x)
    with use_matmul_precision(precision):
        product = backend.to_host(namespace(there).matmul(there, there))
    wanted = x.astype(np.float64) @ x.astype(np.float64)
    error = np.max(np.abs(product - wanted)) / np.max(np.abs(wanted))
    assert least <= error <= most


def _rule_cases(rng: np.random.Generator) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Functions of the library with native rules, and their arguments; the first one is differentiated by."""
    x = rng.standard_normal((8, 9, 10, 6)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 6, 12)).astype(np.float32)
    bias, rows = (
        rng.standard_normal(12).astype(np.float32),
        rng.standard_normal((5000, 33)).astype(np.float32),
    )
    numbers = rng.integers(0, 40, 5000)
    query = rng.standard_normal((4, 16, 2, 8)).astype(np.float32)
    return {
        "dense": (lambda x, w, b: fn.dense(x, w, b), [x, kernel[0, 0], bias]),
        "conv": (lambda x, w, b: fn.conv(x, w, b, strides=2, padding="same"), [x, kernel, bias]),
        "conv of groups": (lambda x, w: fn.conv(x, w, groups=2), [x, kernel[:, :, :3]]),
        "conv_transpose": (lambda x, w: fn.conv_transpose(x, w, strides=2), [x, kernel.swapaxes(2, 3)]),
        "max_pool": (lambda x: fn.max_pool(x, pool_size=3, strides=2), [x]),
        "average_pool": (lambda x: fn.average_pool(x, pool_size=3, strides=1, padding="same"), [x]),
        "batch_norm": (lambda x, gamma, beta: fn.batch_norm(x, gamma, beta)[0], [x, x[0, 0, 0], x[0, 0, 1]]),
        "embedding": (lambda table, i: fn.embedding(i, table), [rows[:40], numbers]),
        "scatter_add": (lambda x, i: fn.scatter_add(x, i, length=50), [rows, numbers]),
        "vecdot": (lambda x, y: fn.vecdot(x, y), [rows, rows[:1]]),
        "tensordot": (lambda x, y: fn.tensordot(x, y, axes=2), [x, x[0, 0, :, :][:, :, None]]),
        "attention": (
            lambda q, k: fn.scaled_dot_product_attention(q, k, k, causal=True), [query, query[:, ::-1].copy()]
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(_rule_cases(np.random.default_rng(0))))
def test_native_rules_and_their_gradients_wait_for_nothing(
    name: str, backend: Backend, rng: np.random.Generator
) -> None:
    function, arguments = _rule_cases(rng)[name]

    def both(*given: Any) -> tuple[Any, Any]:
        value, pullback = nn.vjp(lambda first: function(first, *given[1:]), given[0])
        return value, pullback(value)[0]

    there = [backend.from_host(argument) for argument in arguments]
    captured = [backend.to_host(result) for result in _captured(backend, lambda: both(*there))]
    for actual, same in zip(captured, both(*there), strict=True):
        np.testing.assert_array_equal(actual, backend.to_host(same))
    exact = both(*(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arguments))
    for actual, wanted in zip(captured, exact, strict=True):
        _assert_near(actual, np.asarray(wanted), 5e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["max_pool", "embedding", "scatter_add"])
def test_sums_by_atomics_are_right_but_for_the_last_bits(
    name: str, dtype: str, backend: Backend, rng: np.random.Generator
) -> None:
    function, (first, *others) = _rule_cases(rng)[name]
    first = first.astype(dtype)

    def gradient(*given: Any) -> Any:
        value, pullback = nn.vjp(lambda x: function(x, *given[1:]), given[0])
        return pullback(value)[0] if name != "scatter_add" else value

    atomic = nn.get_backend("cupy", deterministic=False)
    there = [atomic.from_host(array) for array in (first, *others)]
    with atomic.scope():
        found = atomic.to_host(_captured(atomic, lambda: gradient(*there)))
    exact = np.asarray(gradient(first.astype(np.float64), *others))
    assert found.dtype == dtype
    _assert_near(found, exact, {"float16": 2e-3, "float32": 5e-6, "float64": 1e-13}[dtype])


def test_whole_numbers_are_added_up_exactly_by_atomics(backend: Backend, rng: np.random.Generator) -> None:
    x, indices = rng.integers(-(2**62), 2**62, (5000, 3)), rng.integers(0, 40, 5000)
    wanted = np.zeros((40, 3), np.int64)
    with np.errstate(over="ignore"):
        np.add.at(wanted, indices, x)
    atomic = nn.get_backend("cupy", deterministic=False)
    with atomic.scope():
        sums = fn.scatter_add(atomic.from_host(x), atomic.from_host(indices), length=40)
    np.testing.assert_array_equal(atomic.to_host(sums), wanted)


#: space, taps, channels in and out, options
_CONVOLUTIONS = {
    "same": ((14, 15), (3, 3), (16, 24), {"padding": "same"}),
    "same and strided": ((14, 15), (3, 3), (16, 24), {"padding": "same", "strides": 2}),
    "wider before": ((9, 8), (3, 2), (8, 16), {"padding": ((2, 0), (3, 1)), "strides": (1, 3)}),
    "wider after": ((9, 8), (3, 2), (8, 16), {"padding": ((0, 2), (1, 3)), "strides": (2, 1)}),
    "a rest": ((14, 15), (3, 3), (8, 16), {"padding": 1, "strides": 2}),
    "one tap": ((9, 9), (1, 1), (32, 8), {}),
    "odd channels": ((9, 11), (3, 2), (3, 5), {"padding": "same"}),
    "one channel": ((28, 28), (5, 5), (1, 8), {}),
    "dilated": ((17, 13), (3, 3), (8, 8), {"dilation_rate": 2}),
    "groups": ((9, 10), (3, 3), (16, 32), {"groups": 4}),
    "depthwise": ((9, 10), (3, 3), (16, 32), {"groups": 16, "padding": "same"}),
    "signal": ((50,), (5,), (8, 16), {"padding": "causal"}),
    "volume": ((6, 8, 8), (3, 3, 3), (4, 8), {"padding": "same"}),
}  # fmt: skip


@pytest.fixture
def convolving(backend: Backend) -> Backend:
    """The backend whose convolutions are cuDNN's."""
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    return nn.get_backend("cupy", convolution="cudnn")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", list(_CONVOLUTIONS))
def test_cudnn_convolves_as_the_generic_rule_does(
    name: str, dtype: str, convolving: Backend, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    """Values and both gradients, captured and not, to the same bits each time, without a plan that is missing."""
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    space, taps, (width, made), options = _CONVOLUTIONS[name]
    shapes = (4, *space, width), (*taps, width // options.get("groups", 1), made)
    rounded = dtype if dtype != "bfloat16" else pytest.importorskip("ml_dtypes").bfloat16
    given = [rng.standard_normal(shape).astype(rounded) for shape in shapes]

    def all_three(x: Any, kernel: Any) -> tuple[Any, Any, Any]:
        value, pullback = nn.vjp(lambda a, b: fn.conv(a, b, **options), x, kernel)
        return value, *pullback(value)

    there = [convolving.from_host(array) for array in given]
    with convolving.scope():
        captured = [convolving.to_host(y) for y in _captured(convolving, lambda: all_three(*there))]
        again = [convolving.to_host(y) for y in all_three(*there)]
    assert [record.getMessage() for record in caplog.records] == []
    bound = {"float32": 2e-6, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    for actual, same in zip(captured, again, strict=True):
        np.testing.assert_array_equal(actual, same)
    value, *gradients = all_three(*(array.astype(np.float64) for array in given))
    for actual, wanted in zip(captured, (value, *gradients), strict=True):
        assert actual.dtype == rounded
        _assert_near(actual, np.asarray(wanted), bound)


@pytest.mark.parametrize(("precision", "least", "most"), [("highest", 0.0, 1e-6), ("high", 1e-6, 3e-3)])
def test_cudnn_multiplies_float32_as_exactly_as_is_asked_for(
    precision: Any, least: float, most: float, convolving: Backend, rng: np.random.Generator
) -> None:
    x, kernel = rng.standard_normal((8, 16, 16, 64)), rng.standard_normal((3, 3, 64, 64))
    x, kernel = x.astype(np.float32), kernel.astype(np.float32)

    def all_three(x: Any, kernel: Any) -> tuple[Any, Any, Any]:
        value, pullback = nn.vjp(lambda a, b: fn.conv(a, b, padding="same"), x, kernel)
        return value, *pullback(value)

    with use_matmul_precision(precision), convolving.scope():
        found = all_three(convolving.from_host(x), convolving.from_host(kernel))
    exact = all_three(x.astype(np.float64), kernel.astype(np.float64))
    errors = [
        np.max(np.abs(convolving.to_host(actual) - wanted)) / np.max(np.abs(wanted))
        for actual, wanted in zip(found, exact, strict=True)
    ]
    assert least <= max(errors) <= most


def test_a_step_with_cudnn_is_captured_with_the_bits_of_the_step_as_it_is_written(
    convolving: Backend,
) -> None:
    images = np.random.default_rng(2).normal(size=(40, 12, 12, 3)).astype("float32")
    found = []
    for eager in (True, False, False):
        layers = [
            nn.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            nn.DepthwiseConv2D(3),
            nn.Conv2DTranspose(8, 3, strides=2),
            nn.GlobalAveragePooling2D(),
            nn.Dense(3),
        ]
        model = nn.Sequential(layers, backend=convolving, seed=1)
        model.compile("adam", "mean_squared_error", run_eagerly=eager)
        targets = np.eye(3, dtype="float32")[Y[:40]]
        history = model.fit(images, targets, batch_size=16, epochs=4, verbose=0).history
        found.append((history, _of(model)))
        if not eager:
            (step,) = _captured_steps(model)
            captured = inspect.getclosurevars(step).nonlocals["step"]
            assert (captured.count, captured.reason) == (2, None)
    (history, weights), *others = found
    for other, theirs in others:
        assert other == history
        for one, same in zip(theirs, weights, strict=True):
            np.testing.assert_array_equal(one, same)


#: samples, queries, heads, d, keys, groups, v, options
_ATTENTIONS = {
    "plain": ((2, 64, 4, 64, 64, 4, 64), {}),
    "causal": ((2, 256, 8, 64, 256, 8, 64), {"causal": True}),
    "odd lengths": ((2, 37, 3, 32, 53, 3, 24), {"scale": 0.3}),
    "causal with fewer keys": ((2, 53, 3, 32, 37, 3, 32), {"causal": True}),
    "causal with fewer queries": ((2, 37, 3, 32, 53, 3, 32), {"causal": True}),
    "wide heads": ((2, 128, 4, 128, 128, 4, 128), {"causal": True}),
    "groups": ((2, 128, 8, 64, 128, 2, 64), {"causal": True}),
}


@pytest.fixture
def attending(backend: Backend) -> Backend:
    """The backend whose attention is cuDNN's."""
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    return nn.get_backend("cupy", attention="cudnn")


@pytest.mark.parametrize("heads_first", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", list(_ATTENTIONS))
def test_cudnn_attends_as_the_generic_rule_does(
    name: str,
    dtype: str,
    heads_first: bool,
    attending: Backend,
    rng: np.random.Generator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Values and all gradients, captured and not, to the same bits each time, without a plan that is missing."""
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    (n, t, heads, d, s, groups, v), options = _ATTENTIONS[name]
    rounded = dtype if dtype != "bfloat16" else pytest.importorskip("ml_dtypes").bfloat16
    shapes = (n, t, heads, d), (n, s, groups, d), (n, s, groups, v)
    given = [rng.standard_normal(shape).astype(rounded) for shape in shapes]

    def all_four(*arrays: Any) -> tuple[Any, ...]:
        value, pullback = nn.vjp(lambda *a: fn.scaled_dot_product_attention(*a, **options), *arrays)
        return value, *pullback(value)

    there = [attending.from_host(array) for array in given]
    if heads_first:
        turned = [attending.from_host(np.ascontiguousarray(array.swapaxes(1, 2))) for array in given]
        there = [attending.xp.permute_dims(array, (0, 2, 1, 3)) for array in turned]
    with attending.scope():
        captured = [attending.to_host(y) for y in _captured(attending, lambda: all_four(*there))]
        again = [attending.to_host(y) for y in all_four(*there)]
    assert [record.getMessage() for record in caplog.records] == []
    bound = {"float16": 4e-3, "bfloat16": 3e-2}[dtype]
    for actual, same in zip(captured, again, strict=True):
        np.testing.assert_array_equal(actual, same)
    exact = all_four(*(array.astype(np.float64) for array in given))
    for actual, wanted in zip(captured, exact, strict=True):
        assert actual.dtype == rounded
        _assert_near(actual, np.asarray(wanted), bound)


#: as in `_ATTENTIONS`, with the shapes of a mask and a bias
_MASKED = {
    "padding": ((3, 70, 4, 64, 90, 4, 64), (3, 1, 1, 90), None, {}),
    "padding and causal": ((3, 128, 4, 64, 128, 2, 64), (3, 1, 1, 128), None, {"causal": True}),
    "whole": ((2, 37, 4, 32, 53, 4, 32), (2, 4, 37, 53), None, {}),
    "tiles in which nothing is allowed": ((1, 512, 2, 64, 512, 2, 64), (512, 512), None, {}),
    "bias": ((2, 128, 4, 64, 128, 4, 64), None, (4, 128, 128), {}),
    "both": ((2, 64, 4, 64, 96, 4, 64), (2, 1, 64, 96), (1, 4, 1, 96), {"causal": True}),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", list(_MASKED))
def test_cudnn_attends_under_masks_and_biases_as_the_generic_rule_does(
    name: str, dtype: str, attending: Backend, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows in which nothing is allowed among them, and biases of minus infinity and far from zero."""
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    (n, t, heads, d, s, groups, v), masked, biased, options = _MASKED[name]
    rounded = dtype if dtype != "bfloat16" else pytest.importorskip("ml_dtypes").bfloat16
    shapes = (n, t, heads, d), (n, s, groups, d), (n, s, groups, v)
    given = [rng.standard_normal(shape).astype(rounded) for shape in shapes]
    mask = None if masked is None else rng.random(masked) < 0.5
    if mask is not None:
        mask[0] = False
        if "tiles" in name:
            mask[:, :300] = (
                False  # the first tiles of keys; and all of them for the queries that see none behind
            )
            mask[100:200] = False
    bias = None if biased is None else rng.standard_normal(biased)
    if bias is not None:
        bias[rng.random(biased) < 0.2] = -np.inf
        bias[..., : biased[-2] // 2, :] -= 30000.0
        bias = bias.astype(rounded)

    def all_four(*arrays: Any, mask: Any, bias: Any) -> tuple[Any, ...]:
        def attend(*a: Any) -> Any:
            return fn.scaled_dot_product_attention(*a, mask, bias, **options)

        value, pullback = nn.vjp(attend, *arrays)
        return value, *pullback(value)

    there = [attending.from_host(array) for array in given]
    extra = {
        key: None if each is None else attending.from_host(each)
        for key, each in (("mask", mask), ("bias", bias))
    }
    with attending.scope():
        captured = [attending.to_host(y) for y in _captured(attending, lambda: all_four(*there, **extra))]
        again = [attending.to_host(y) for y in all_four(*there, **extra)]
    assert [record.getMessage() for record in caplog.records] == []
    wide = None if bias is None else bias.astype(np.float64)
    exact = all_four(*(array.astype(np.float64) for array in given), mask=mask, bias=wide)
    bound = {"float16": 4e-3, "bfloat16": 3e-2}[dtype]
    for actual, same, wanted in zip(captured, again, exact, strict=True):
        np.testing.assert_array_equal(actual, same)
        assert actual.dtype == rounded
        _assert_near(actual, np.asarray(wanted), bound)


def _network(backend: Backend) -> nn.Model:
    """Return a network with most kinds of layers."""
    inputs = nn.Input((12,), dtype="int64")
    x = nn.Embedding(30, 8)(inputs)
    x = nn.MultiHeadAttention(2, 4)(x, x)
    for layer in (
        nn.LayerNormalization(),
        nn.Conv1D(6, 3, padding="same", activation="relu"),
        nn.BatchNormalization(),
        nn.MaxPooling1D(2),
        nn.GRU(5),
        nn.Dropout(0.3),
        nn.Dense(4, activation="softmax"),
    ):
        x = layer(x)
    model = nn.Model(inputs, x, seed=0, backend=backend)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_training_step_waits_for_nothing(
    backend: Backend, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole step is captured, where anything that would wait for the device raises."""
    taken: list[Callable[[], Any]] = []

    def compile_nothing(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any) -> Any:
            taken[:] = [lambda: step(*arguments)]
            return step(*arguments)

        return take

    monkeypatch.setattr(backend, "compile", compile_nothing)
    _network(backend).train_on_batch(rng.integers(0, 30, (16, 12)), rng.integers(0, 4, 16))
    _captured(backend, taken[0])
