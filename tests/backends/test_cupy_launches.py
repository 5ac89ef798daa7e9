"""How many kernels the CuPy backend launches, counted by a device that does nothing else: no CuPy, no GPU.

A graph of a small network's step is bound by its launches, so each of these numbers is a promise. Where one is an upper
bound, fewer are welcome: lower it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
#: Rules of one array: one kernel each way.
_ACTIVATIONS = "relu sigmoid tanh gelu silu elu selu softplus mish softmax log_softmax".split()


@pytest.fixture(scope="module")
def work() -> Any:
    """What was launched, by `tests.backends.counted_work` in a process in which nothing of CuPy is."""
    paths = os.pathsep.join([str(_ROOT), str(_ROOT / "backends"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.backends.counted_work"],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["W1", "W2"])
def test_the_device_that_counts_trains_as_the_host_does(name: str, work: Any) -> None:
    on_device, on_host = work["losses"][name]
    assert on_device == pytest.approx(on_host, rel=1e-5)


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_an_activation_and_its_derivative_are_a_kernel_each(name: str, work: Any) -> None:
    counts = {way: len(launched) for way, launched in work["operations"][name].items()}
    assert counts == {"forward": 1, "backward": 1}


@pytest.mark.parametrize("name", ["crossentropy", "sparse crossentropy"])
def test_a_crossentropy_is_one_kernel_of_rows_each_way(name: str, work: Any) -> None:
    found = work["operations"][name]
    made = [launch for launch in found["forward"] if launch not in ("astype", "arange")]  # of the labels
    assert [len(made), len(found["backward"])] == [1, 1]
    assert all(launch.startswith("program_") for launch in (*made, *found["backward"]))


def test_a_dense_layer_with_its_activation_is_a_product_and_a_kernel(work: Any) -> None:
    found = work["operations"]["dense and relu"]
    assert found["forward"] == ["matmul", "program_relu"]  # the product adds the bias
    assert found["backward"] == ["program_relu_gradient", "matmul", "matmul", "sum"]


def test_dropout_is_a_kernel_each_way(work: Any) -> None:
    assert work["operations"]["dropout"] == {"forward": ["program_dropout"], "backward": ["program_dropout"]}


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("layer norm", 1, 9),
        ("rms norm", 1, 3),
        ("batch norm", 3, 7),
        ("batch norm of long channels", 23, 22),
    ],
)
def test_a_norm_launches_no_more_than_this(name: str, forward: int, backward: int, work: Any) -> None:
    found = work["operations"][name]
    assert len(found["forward"]) <= forward
    assert len(found["backward"]) <= backward


@pytest.mark.parametrize("name", ["W1", "W2"])
def test_all_of_a_small_network_is_updated_by_one_kernel(name: str, work: Any) -> None:
    found = Counter(work["steps"][name])
    assert found["program_adam_update"] == 1
    assert sum(found[launch] for launch in found if launch.startswith("nn_move")) == 2  # gradients, new state
    assert not found["copy"]
    assert not found["setitem"]


def test_products_that_sum_gradients_of_biases_save_a_launch_for_each_dense_layer(work: Any) -> None:
    usual, saving = (Counter(work["steps"][name]) for name in ("W2", "W2, sums on the way"))
    assert usual - saving == Counter({"sum": 3})
    assert not saving - usual


@pytest.mark.parametrize(("name", "most"), [("W1", 37), ("W2", 37), ("W4", 51), ("W6", 107)])
def test_a_captured_step_launches_no_more_than_this(name: str, most: int, work: Any) -> None:
    found = work["steps"][name]
    assert found, "the step was not captured"
    assert len(found) <= most, Counter(found)


@pytest.mark.parametrize("name", ["W1", "W2", "W4", "W6"])
def test_a_captured_step_waits_for_nothing_and_brings_nothing(name: str, work: Any) -> None:
    assert not [launch for launch in work["steps"][name] if launch.startswith("WAITS") or "host" in launch]
