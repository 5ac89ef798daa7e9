"""The strict backend refuses what would make a GPU wait, or the standard does not promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import random
from nnbackend.backend import Backend

xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
strict = pytest.importorskip("nnbackend_strict")


@pytest.fixture
def backend() -> Backend:
    return nn.get_backend("strict")


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda x: float(x[0]), id="float"),
        pytest.param(lambda x: int(x[0]), id="int"),
        pytest.param(lambda x: complex(x[0]), id="complex"),
        pytest.param(lambda x: bool(x[0] > 0), id="bool"),
        pytest.param(lambda x: 1 if x[0] > 0 else 2, id="if"),
        pytest.param(lambda x: range(xp.astype(x[1], xp.int64)), id="range"),
        pytest.param(lambda x: [1, 2, 3][xp.astype(x[1], xp.int64)], id="index"),
        pytest.param(list, id="iteration"),
        pytest.param(lambda x: max(x), id="max"),
        pytest.param(lambda x: 1.0 in x, id="in"),
        pytest.param(np.from_dlpack, id="dlpack"),
        pytest.param(nn.to_numpy, id="to_numpy"),
        pytest.param(lambda x: x.to_device(xp.Device("CPU_DEVICE")), id="to the CPU"),
        pytest.param(lambda x: x.to_device(xp.Device("device2")), id="to another device"),
        pytest.param(lambda x: float(nn.functional.sum(nn.Tensor(x))), id="tensor"),
    ],
)
def test_a_step_that_looks_at_the_device_is_refused(backend: Backend, look: Callable[[Any], Any]) -> None:
    x = backend.from_host([1.0, 2.0])
    look(x)  # outside a step it is allowed
    step = backend.compile(lambda state, x: (state, look(x)))
    with pytest.raises(
        strict.HostTransferError, match=r"inside a compiled step, at .*[.]py:[0-9]+: the host"
    ):
        step({}, x)
    look(x)  # and so it is after the step has failed


def test_numpy_gets_nothing_from_the_device(backend: Backend) -> None:
    step = backend.compile(lambda state, x: (state, np.asarray(x)))
    with pytest.raises(RuntimeError, match="device1"):
        step({}, backend.from_host([1.0]))


def test_where_it_looked_is_the_callers_line(backend: Backend) -> None:
    def step(state: Any, x: Any) -> Any:
        return state, float(x)

    with pytest.raises(strict.HostTransferError, match=f"test_strict.py:{step.__code__.co_firstlineno + 1}:"):
        backend.compile(step)({}, backend.from_host(1.0))


def test_a_step_on_the_device_runs(backend: Backend) -> None:
    def step(state: Any, x: Any) -> Any:
        value, gradient = nn.value_and_grad(lambda w: nn.functional.mean(nn.functional.tanh(w * x)))(
            state["w"]
        )
        noise = random.Stream(state["seed"], "noise", step=state["t"], backend=backend).normal(
            (2,), dtype="float64"
        )
        moved = x.to_device(x.device)
        return {**state, "w": state["w"] - gradient + 0.0 * noise, "t": state["t"] + 1}, value + 0.0 * moved[
            0
        ]

    state = {
        "w": backend.from_host([0.5, 1.0]),
        "t": backend.from_host(0, "int64"),
        "seed": backend.from_host([1, 2], "int64"),
    }
    compiled = backend.compile(step)
    for _ in range(2):
        state, value = compiled(state, backend.from_host([1.0, 2.0]))
    assert float(value) < 0.87
    assert int(state["t"]) == 2


def test_arrays_on_the_cpu_may_be_looked_at(backend: Backend) -> None:
    step = backend.compile(lambda state, x: (state, float(x)))
    assert step({}, xp.asarray(2.0))[1] == 2.0


def test_a_forgotten_device_is_refused(backend: Backend) -> None:
    with pytest.raises(ValueError, match="device"):
        backend.from_host([1.0]) + xp.zeros(1)


def test_a_device_is_chosen_by_name() -> None:
    narrow = nn.get_backend("strict", device="no_float64")
    assert str(nn.backend.device(narrow.from_host([1.0], "float32"))) == str(xp.Device("no_float64"))
    with pytest.raises(ValueError, match="float64"):
        narrow.from_host([1.0])


def test_the_session_uses_the_strictest_flags(pytestconfig: pytest.Config, backend: Backend) -> None:
    if pytestconfig.getoption("--backend") != "strict":
        pytest.skip("the flags hold for the whole process and are set for --backend strict")
    x = backend.from_host([1.0, 2.0])
    with pytest.raises(RuntimeError, match="boolean_indexing"):
        x[x > 1.0]
    with pytest.raises(RuntimeError, match="data_dependent_shapes"):
        xp.unique_values(x)
    assert not hasattr(xp, "linalg")


@pytest.mark.parametrize("names", [("strict", "numpy"), ("numpy", "strict")])
def test_numpy_and_strict_are_used_side_by_side(names: tuple[str, str]) -> None:
    """Strict dtypes hash like NumPy's and warn when they meet them, for instance as keys of one cache."""
    for name in names:
        x = nn.get_backend(name).from_host([1.0, 2.0])
        gradient = nn.grad(lambda x: nn.functional.sum(x * x))(x)
        assert nn.to_numpy(gradient).tolist() == [2.0, 4.0]
