"""What the CuPy backend gives a device to do: ``python -m tests.backends.counted_work`` prints it as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.backends import counting_device
from tests.backends.counting_device import graphs, noted

BACKEND = counting_device.install()

import nnbackend as nn  # noqa: E402 - after what takes CuPy's place
from nnbackend import benchmarking  # noqa: E402
from nnbackend import functional as fn  # noqa: E402
from nnbackend.random import Stream  # noqa: E402
from nnbackend_cupy.normalization import LONGEST  # noqa: E402

RNG = np.random.default_rng(0)


def _real(*shape: int, dtype: str = "float32") -> Any:
    return BACKEND.from_host(RNG.standard_normal(shape).astype(dtype))


def _both_ways(function: Callable[..., Any], *arrays: Any) -> dict[str, list[str]]:
    """Return what a function launches for its value and for its gradient."""
    nn.vjp(function, *arrays)  # what is made at first use
    noted.clear()
    value, pull = nn.vjp(function, *arrays)
    forward = list(noted)
    gradient = _real(*value.shape)
    noted.clear()
    pull(gradient)
    return {"forward": forward, "backward": list(noted)}


def operations() -> dict[str, dict[str, list[str]]]:
    """Return what operations launch."""
    x, kernel, bias, row, column = _real(8, 16), _real(16, 4), _real(4), _real(16), _real(16)
    shares = BACKEND.from_host(np.eye(16, dtype=np.float32)[:8])
    labels = BACKEND.from_host(RNG.integers(0, 16, 8))
    seed, step = BACKEND.from_host(np.asarray([1, 2], np.uint64)), BACKEND.from_host(np.asarray(3))
    found = {
        name: _both_ways(lambda x, rule=getattr(fn, name): rule(x), x)
        for name in "relu sigmoid tanh gelu silu elu selu softplus mish softmax log_softmax".split()
    }
    stream = Stream(seed, "dropout", step, BACKEND)
    noted.clear()
    mask = stream.keep(x.shape, 0.5)
    drawn = list(noted)
    return found | {
        "dense": _both_ways(fn.dense, x, kernel, bias),
        "dense and relu": _both_ways(lambda *given: fn.relu(fn.dense(*given)), x, kernel, bias),
        "mask": {"forward": drawn},
        "dropout": _both_ways(lambda x: fn.dropout(x, mask, rate=0.5), x),
        "crossentropy": _both_ways(lambda x: fn.softmax_crossentropy(x, shares), x),
        "sparse crossentropy": _both_ways(lambda x: fn.sparse_softmax_crossentropy(x, labels), x),
        "layer norm": _both_ways(fn.layer_norm, x, row, column),
        "rms norm": _both_ways(fn.rms_norm, x, row),
        "batch norm": _both_ways(lambda *given: fn.batch_norm(*given)[0], x, row, column),
        "batch norm of long channels": _both_ways(
            lambda *given: fn.batch_norm(*given)[0], _real(LONGEST + 1, 4), bias, bias
        ),
    }


def steps() -> dict[str, list[str]]:
    """Return what a captured training step of each workload launches."""
    found = {name: _captured(name, BACKEND) for name in ("W1", "W2", "W4", "W6")}
    return found | {"W2, sums on the way": _captured("W2", type(BACKEND)(bias_gradient="product"))}


def _captured(name: str, backend: Any) -> list[str]:
    graphs.clear()
    benchmarking.start(benchmarking.look_up(name), backend)(3)
    return max(graphs, key=len, default=[])


def losses() -> dict[str, list[float]]:
    """Return the loss after two steps on the device, uncaptured, and on the host."""
    return {
        name: [
            benchmarking.start(benchmarking.look_up(name), backend, run_eagerly=True)(2)
            for backend in (BACKEND, "numpy")
        ]
        for name in ("W1", "W2")
    }


if __name__ == "__main__":
    print(json.dumps({"losses": losses(), "operations": operations(), "steps": steps()}))
