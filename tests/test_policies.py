"""Dtype policies and the loss scale by themselves."""

from __future__ import annotations

import re

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import known_dtypes
from nnbackend.policies import POLICIES


def test_each_policy_says_what_is_computed_in_and_what_weights_are_kept_in():
    found = {name: (p.compute_dtype, p.variable_dtype, p.scales_loss) for name, p in POLICIES.items()}
    assert found == {
        "float32": ("float32", "float32", False),
        "float64": ("float64", "float64", False),
        "mixed_float16": ("float16", "float32", True),
        "mixed_bfloat16": ("bfloat16", "float32", False),
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.DTypePolicy("bfloat16"),
            "DTypePolicy expects dtype 'float32', 'float64', 'mixed_float16' or 'mixed_bfloat16', got 'bfloat16'. "
            "'mixed_bfloat16' computes in bfloat16 and keeps weights in float32.",
        ),
        (lambda: nn.Dense(1, dtype="mixed_flaot16"), "got 'mixed_flaot16'. Did you mean 'mixed_float16'?"),
        (lambda: nn.LossScale(initial=0.5), "LossScale expects initial from 1 to 2**126, got 0.5."),
        (lambda: nn.LossScale("dynamic"), "LossScale expects initial from 1 to 2**126, got 'dynamic'."),
        (
            lambda: nn.LossScale(growth_interval=0),
            "growth_interval to be a whole number of 1 or more, got 0.",
        ),
    ],
)
def test_what_is_no_policy_or_scale_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_layer_takes_a_policy_or_its_name():
    layer = nn.Dense(1, dtype=nn.DTypePolicy("mixed_float16"))
    assert (layer.dtype, layer.compute_dtype, layer.variable_dtype) == ("mixed_float16", "float16", "float32")
    assert layer.get_config() == nn.Dense(1, dtype="mixed_float16").get_config()


def test_a_backend_says_which_dtypes_it_has(backend):
    assert backend.dtypes == known_dtypes()[backend.name]
    for dtype in backend.dtypes:
        array = backend.from_host([1.0, 2.0], dtype)
        assert array.dtype == backend.dtype(dtype)
        assert nn.to_numpy(backend.xp.astype(array + array, backend.xp.float32)).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_dtype_that_a_backend_lacks_is_refused_with_the_backends_that_have_it(backend, dtype):
    if dtype in backend.dtypes:
        pytest.skip(f"{backend.name} has {dtype}")
    having = {"float16": "numpy, cupy, torch, jax", "bfloat16": "cupy, torch, jax"}[dtype]
    message = (
        rf"which computes in {dtype}; the backend '{backend.name}' has .*float32, float64\. Choose a backend "
    )
    message += rf"that has {dtype} \({having}\), or dtype='float32' or 'float64'"
    with pytest.raises(ValueError, match=f"^Sequential has the dtype 'mixed_{dtype}', {message}"):
        nn.Sequential([nn.Dense(1)], dtype=f"mixed_{dtype}", backend=backend)
    model = nn.Sequential([nn.Dense(1, dtype=f"mixed_{dtype}")], backend=backend)
    with pytest.raises(ValueError, match=f"^Dense 'dense' has the dtype 'mixed_{dtype}', {message}"):
        model.build((2,))


def test_a_model_does_not_move_to_a_backend_that_lacks_its_dtype():
    model = nn.Sequential([nn.Dense(1, dtype="mixed_float16")], backend="numpy")
    model.build((2,))
    with pytest.raises(ValueError, match="computes in float16; the backend 'strict' has float32, float64"):
        model.to("strict")
    assert model.backend.name == "numpy"


def test_the_scale_doubles_after_good_steps_in_a_row_and_halves_after_a_bad_one(backend):
    scaling = nn.LossScale(initial=8.0, growth_interval=3)
    assert repr(scaling) == "LossScale(initial=8.0, growth_interval=3)"
    state = scaling.init(backend)
    seen = []
    for good in (True, True, True, True, False, True, True, True, False, False, False, False, False, False):
        state = scaling.updated(state, backend.from_host(good))
        seen.append((float(state["scale"]), int(state["good_steps"])))
    assert seen[:8] == [(8, 1), (8, 2), (16, 0), (16, 1), (8, 0), (8, 1), (8, 2), (16, 0)]
    assert seen[8:] == [(8, 0), (4, 0), (2, 0), (1, 0), (1, 0), (1, 0)]  # it is never less
    state = {**nn.LossScale(2.0**126, 1).init(backend)}
    assert float(nn.LossScale(growth_interval=1).updated(state, backend.from_host(True))["scale"]) == 2.0**126


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_gradients_are_unscaled_or_all_zero_where_one_is_not_finite(backend, put, bad):
    scaling = nn.LossScale(initial=4.0)
    state = scaling.init(backend)
    given = {"a": put([8.0, 2.0], "float32"), "b": put([[1.0]], "float64")}
    found, finite = scaling.unscaled(given, state)
    assert bool(finite)
    assert nn.to_numpy(found["a"]).tolist() == [2.0, 0.5]
    assert nn.to_numpy(found["b"]).tolist() == [[0.25]]
    assert [found[key].dtype for key in given] == [given[key].dtype for key in given]
    with np.errstate(invalid="ignore"):
        found, finite = scaling.unscaled({**given, "c": put([1.0, bad], "float32")}, state)
    assert not bool(finite)
    assert not any(nn.to_numpy(gradient).any() for gradient in found.values())
