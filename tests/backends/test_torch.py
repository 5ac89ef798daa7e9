"""PyTorch: its tensors hold the data, its autograd stays out of the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import random
from nnbackend.backend import Backend

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def backend() -> Backend:
    return nn.get_backend("torch")


def test_a_step_is_not_recorded_by_autograd(backend: Backend) -> None:
    weight = torch.ones(2, requires_grad=True)

    def step(state: Any, x: Any) -> Any:
        value, gradient = nn.value_and_grad(lambda w: nn.functional.sum(w * x))(state)
        return state - gradient, value

    state, value = backend.compile(step)(weight, torch.ones(2))
    assert not state.requires_grad
    assert not value.requires_grad
    assert torch.is_grad_enabled()


def test_what_comes_from_the_host_requires_no_grad(backend: Backend) -> None:
    array: Any = backend.from_host([1.0])
    assert not array.requires_grad


def test_outside_a_step_autograd_goes_through_rules() -> None:
    x = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    nn.functional.sum(nn.functional.tanh(x)).backward()
    ours = nn.grad(lambda x: nn.functional.sum(nn.functional.tanh(x)))(x.detach())
    np.testing.assert_allclose(x.grad.numpy(), nn.to_numpy(ours), rtol=1e-14)


def test_a_tensor_that_requires_grad_goes_to_the_host() -> None:
    assert nn.to_numpy(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]


def test_a_parameter_is_an_array(backend: Backend) -> None:
    assert nn.backend.backend_of(torch.nn.Parameter(torch.ones(2))) is backend


def test_bfloat16_survives(backend: Backend) -> None:
    array: Any = backend.from_host([1.5, 1 / 3], "bfloat16")
    assert array.dtype == torch.bfloat16
    pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 without ml_dtypes")
    back = nn.to_numpy(array)
    assert back.astype("float32").tolist() == [1.5, 0.333984375]
    again: Any = backend.from_host(back)
    assert again.dtype == torch.bfloat16


def test_words_are_int64_of_the_same_bits(backend: Backend) -> None:
    counter: dict[str, Any] = {"key": (1, 2), "step": 3, "stream": 4, "call": 5}
    host = nn.get_backend("numpy")
    narrow, wide = (nn.to_numpy(backend.random_words(9, bits, **counter)) for bits in (32, 64))
    assert narrow.dtype == wide.dtype == np.int64
    assert narrow.tolist() == host.random_words(9, 32, **counter).tolist()
    np.testing.assert_array_equal(wide.view(np.uint64), nn.to_numpy(host.random_words(9, 64, **counter)))


def test_a_seed_on_the_device_is_the_same_seed(backend: Backend) -> None:
    words = torch.tensor([7, -1]), torch.tensor(3)
    drawn = random.Stream(words[0], "a", step=words[1], backend=backend).permutation(20)
    assert drawn.dtype == torch.int64
    assert drawn.tolist() == random.Stream(7 + ((2**64 - 1) << 64), "a", step=3).permutation(20).tolist()


def test_a_device_is_chosen_by_name() -> None:
    array: Any = nn.get_backend("torch", device="meta").from_host([1.0])
    assert array.device.type == "meta"


def test_without_its_library_loaded_the_probe_names_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(nn.get_backend("torch"))
    assert kind.probe().devices[0] == "cpu"
    monkeypatch.delitem(__import__("sys").modules, "torch")
    found = kind.probe()
    assert found.available
    assert found.version == torch.__version__
    assert found.devices == ()
