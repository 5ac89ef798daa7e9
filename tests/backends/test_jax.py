"""JAX computes with the dtypes it is given, whatever its setting, and compiles each step once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import random
from nnbackend.backend import Backend

jax = pytest.importorskip("jax", reason="JAX is not installed")
jnp = jax.numpy


@pytest.fixture
def backend() -> Backend:
    return nn.get_backend("jax")


def loss(weights: Any, x: Any) -> Any:
    # weights are used twice, so that gradients are added up between rules
    return nn.functional.mean(nn.functional.tanh(x @ weights) ** 2) + nn.functional.sum(weights * weights)


def make_step(backend: Backend) -> Any:
    def step(state: dict[str, Any], x: Any) -> Any:
        value, gradient = nn.value_and_grad(loss)(state["w"], x)
        keep = random.Stream(state["seed"], "dropout/mask", step=state["t"], backend=backend).keep(
            (4,), rate=0.5
        )
        return {**state, "w": state["w"] - 0.1 * gradient, "t": state["t"] + 1}, (value, keep)

    return backend.compile(step)


def make_state(backend: Backend, dtype: str) -> dict[str, Any]:
    return {
        "w": backend.from_host([[0.5, -0.25], [1 / 3, 2.0]], dtype),
        "t": backend.from_host(0, "int64"),
        "seed": backend.from_host([11, -5], "int64"),
    }


def test_the_users_setting_is_untouched(backend: Backend) -> None:
    assert not jax.config.jax_enable_x64
    step, state = make_step(backend), make_state(backend, "float64")
    step(state, backend.from_host(np.ones((3, 2))))
    nn.grad(loss)(backend.from_host(np.ones((2, 2))), backend.from_host(np.ones((3, 2))))
    assert not jax.config.jax_enable_x64
    assert jnp.ones(3).dtype == jnp.float32
    assert jnp.arange(3).dtype == jnp.int32


def test_float64_is_float64_outside_a_step(backend: Backend) -> None:
    w, x = np.asarray([[0.5, -0.25], [1 / 3, 2.0]]), np.linspace(-1, 1, 6).reshape(3, 2)
    expected_value, expected = nn.value_and_grad(loss)(w, x)
    value, gradient = nn.value_and_grad(loss)(backend.from_host(w), backend.from_host(x))
    assert value.dtype == gradient.dtype == jnp.float64
    np.testing.assert_allclose(nn.to_numpy(value), expected_value, rtol=1e-14)
    np.testing.assert_allclose(nn.to_numpy(gradient), expected, rtol=1e-13)


def test_float64_is_float64_in_an_elementwise_program(backend: Backend) -> None:
    @nn.elementwise
    def third(x: Any) -> Any:
        return x / 3.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nn.to_numpy(third(backend.from_host([1.0]))).tolist() == [1 / 3]


def test_gradcheck_runs_in_float64(backend: Backend) -> None:
    x = backend.from_host([[0.3, -1.2], [0.5, 2.0]])
    nn.gradcheck(lambda x: nn.functional.tanh(x) * nn.functional.exp(x) + x, x)


def test_zeros_for_unused_arguments_keep_their_dtype(backend: Backend) -> None:
    used, unused = backend.from_host([1.0]), backend.from_host([1.0, 2.0])
    gradients = nn.grad(lambda a, b: nn.functional.sum(a * a), argnums=(0, 1))(used, unused)
    assert [g.dtype for g in gradients] == [jnp.float64, jnp.float64]
    assert nn.to_numpy(gradients[1]).tolist() == [0.0, 0.0]


def test_float64_is_float64_in_a_nested_gradient(backend: Backend) -> None:
    def slope(x: Any) -> Any:
        return nn.functional.sum(nn.grad(lambda y: nn.functional.sum(nn.functional.exp(y * y)))(x))

    x = np.asarray([0.3, 0.7])
    np.testing.assert_allclose(
        nn.to_numpy(nn.grad(slope)(backend.from_host(x))), nn.grad(slope)(x), rtol=1e-13
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_compiled_once_for_each_shape(backend: Backend, dtype: str) -> None:
    step, state = make_step(backend), make_state(backend, dtype)
    whole, last = (backend.from_host(np.ones((rows, 2)), dtype) for rows in (4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a donated buffer that cannot be reused warns
        for _ in range(3):
            for batch in (whole, whole, last):
                state, (value, _) = step(state, batch)
    assert step.count == 2
    assert value.dtype == state["w"].dtype == dtype
    assert int(state["t"]) == 9


@pytest.mark.parametrize("chosen", ["device", "sharding"])
def test_a_step_is_compiled_once_if_any_of_its_arguments_is_committed(backend: Backend, chosen: str) -> None:
    place: Any = jax.devices()[0]
    if chosen == "sharding":
        mesh = jax.sharding.Mesh(np.asarray([place]), ("rows",))
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    step, x = make_step(backend), backend.from_host(np.ones((3, 2)), "float32")
    state = make_state(backend, "float32")
    after, _ = step(state, jax.device_put(x, place))  # the batch alone is
    assert state["w"].is_deleted()  # what was committed first is given up no less
    assert after["w"].committed
    step(after, jax.device_put(x, place))  # all are
    step({**make_state(backend, "float32")}, jax.device_put(x, place))
    assert step.count == 1


def test_an_array_is_filled_like_another_and_as_committed_as_that(backend: Backend) -> None:
    for device in (None, jax.devices()[0]):
        array = jax.device_put(np.ones((3, 2), np.float32), device)
        made = backend.full_like(array, 0.5, (2,))
        assert made.dtype == jnp.float32
        assert made.tolist() == [0.5, 0.5]
        assert made.committed == array.committed == (device is not None)


def test_a_step_under_the_users_x64_setting_gives_the_same(backend: Backend) -> None:
    x = backend.from_host(np.ones((3, 2)), "float32")
    step = make_step(backend)
    outside, _ = step(make_state(backend, "float32"), x)
    with jax.enable_x64(True):
        inside, _ = step(make_state(backend, "float32"), x)
    assert step.count == 1
    assert outside["w"].dtype == inside["w"].dtype == jnp.float32
    np.testing.assert_array_equal(nn.to_numpy(outside["w"]), nn.to_numpy(inside["w"]))


def test_the_state_is_given_up(backend: Backend) -> None:
    step, state = make_step(backend), make_state(backend, "float32")
    new, _ = step(state, backend.from_host(np.ones((3, 2)), "float32"))
    assert state["w"].is_deleted()
    assert not new["w"].is_deleted()


def test_the_hosts_memory_is_not_the_states(backend: Backend) -> None:
    weights = np.ones((2, 2), np.float64)
    state = {**make_state(backend, "float64"), "w": backend.from_host(weights)}
    make_step(backend)(state, backend.from_host(np.ones((3, 2))))
    assert weights.tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rules_run_under_the_users_own_jit(backend: Backend, dtype: str) -> None:
    traces = []

    def both(w: Any, x: Any) -> Any:
        traces.append(type(w))
        return nn.value_and_grad(loss)(w, x)

    w = np.asarray([[0.5, -0.25], [1 / 3, 2.0]], dtype)
    x = np.linspace(-1, 1, 6).reshape(3, 2).astype(dtype)
    ours = backend.from_host(w), backend.from_host(x)
    compiled = jax.jit(both)
    for _ in range(2):
        value, gradient = compiled(*ours)
    assert len(traces) == 1
    assert value.dtype == gradient.dtype == dtype
    expected_value, expected = nn.value_and_grad(loss)(w, x)
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(nn.to_numpy(value), expected_value, rtol=tolerance)
    np.testing.assert_allclose(nn.to_numpy(gradient), expected, rtol=tolerance, atol=tolerance)


def test_the_users_own_grad_goes_through_a_rule(backend: Backend) -> None:
    w, x = jnp.asarray([[0.5, -0.25], [0.3, 2.0]]), jnp.ones((3, 2))
    np.testing.assert_allclose(jax.grad(loss)(w, x), nn.grad(loss)(w, x), rtol=1e-5)


def test_a_tracer_has_the_default_device(backend: Backend) -> None:
    devices = []
    jax.jit(lambda x: devices.append(backend.device(x)) or x)(jnp.ones(2))
    assert devices == [None]


def test_words_are_drawn_inside_a_step(backend: Backend) -> None:
    step, state = make_step(backend), make_state(backend, "float32")
    x = backend.from_host(np.ones((3, 2)), "float32")
    masks = []
    for _ in range(3):
        state, (_, keep) = step(state, x)
        masks.append(nn.to_numpy(keep).tolist())
    seed = 11 + ((2**64 - 5) << 64)
    assert masks == [
        random.Stream(seed, "dropout/mask", step=t).keep((4,), rate=0.5).tolist() for t in range(3)
    ]
    assert step.count == 1


def test_a_device_is_chosen_by_name() -> None:
    array: Any = nn.get_backend("jax", device="cpu").from_host([1.0])
    assert array.device.platform == "cpu"
    with pytest.raises(ValueError, match="JAX has no device 'cpu:99'; it has "):
        nn.get_backend("jax", device="cpu:99")


def test_bfloat16_survives(backend: Backend) -> None:
    array = backend.from_host([1.5, 1 / 3], "bfloat16")
    back = nn.to_numpy(array)
    assert back.dtype.name == "bfloat16"
    assert back.astype("float32").tolist() == [1.5, 0.333984375]
    assert backend.from_host(back).dtype == jnp.bfloat16
