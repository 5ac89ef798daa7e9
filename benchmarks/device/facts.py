"""What a machine is and can do at best: versions, bandwidth, rates of products, overheads, what can be captured."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import nnbackend as nn
from benchmarks.machine import machine
from nnbackend import functional
from nnbackend.backend import Backend
from nnbackend.random import Stream

#: Distributions that results may depend on.
PACKAGES = (
    "array-api-compat array-api-strict cuda-bindings cuda-python cupy-cuda12x cupy-cuda13x hypothesis jax "
    "jax-cuda12-plugin jax-cuda13-plugin jaxlib ml-dtypes numpy nvidia-cublas nvidia-cublas-cu12 nvidia-cuda-nvrtc "
    "nvidia-cudnn-cu12 nvidia-cudnn-cu13 nvidia-cudnn-frontend nvmath-python optax pytest pytest-xdist safetensors "
    "torch triton"
).split()
#: What is asked of the driver's own tool.
QUERY = (
    "name,driver_version,compute_cap,memory.total,memory.used,clocks.max.sm,clocks.max.mem,power.limit,"
    "pstate,temperature.gpu,utilization.gpu"
)


def versions(backend: Backend, dry: bool) -> dict[str, str]:
    """Return the versions of what is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def driver(backend: Backend, dry: bool) -> list[str]:
    """Return what the driver says of its devices."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def libraries(backend: Backend, dry: bool) -> dict[str, str]:
    """Return which of CUDA's optional libraries can be imported, and their versions."""
    found = {}
    for name in ("cudnn", "nvmath", "nvmath.bindings.cublasLt", "cupy_backends.cuda.libs.cublas"):
        try:
            module = import_module(name)
            found[name] = str(getattr(module, "__version__", "there"))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def bandwidth(backend: Backend, dry: bool) -> str:
    """Measure a copy of a gigabyte: bytes read and written."""
    values = backend.xp.zeros(1000 if dry else 2**28, dtype=backend.xp.float32)
    seconds = _seconds(backend, lambda: backend.xp.asarray(values, copy=True))
    return f"{2 * 4 * values.shape[0] / seconds / 1e9:.0f} GB/s"


def products(backend: Backend, dry: bool) -> dict[str, str]:
    """Measure products of square matrices, and of a batch of them, in each dtype and precision."""
    size, found = 32 if dry else 4096, {}
    host: Any = Stream(0, "products").uniform((size * size,), -1.0, 1.0)
    for dtype, precision in (
        ("float32", "highest"),
        ("float32", "high"),
        ("float64", "highest"),
        ("float16", "highest"),
        ("bfloat16", "highest"),
    ):
        for words, shape in (("", (size, size)), (" of a batch", (16, size // 4, size // 4))):
            name = f"{dtype}, {precision}{words}"
            try:
                x = backend.from_host(host[: math.prod(shape)].reshape(shape), dtype)
                with nn.use_matmul_precision(precision):  # type: ignore[arg-type]
                    seconds = _seconds(backend, lambda x=x: functional.matmul(x, x))  # type: ignore[misc]
                operations = 2 * math.prod(shape) * shape[-1]
                found[name] = f"{operations / seconds / 1e12:.2f} TFLOP/s"
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


def overheads(backend: Backend, dry: bool) -> dict[str, str]:
    """Measure what the host takes to ask for small work, which the device does meanwhile."""
    x = backend.from_host(Stream(0, "overheads").uniform((64, 64), -1.0, 1.0))
    calls: dict[str, Callable[[], Any]] = {
        "namespace's add": lambda: backend.xp.add(x, x),
        "add": lambda: functional.add(x, x),
        "matmul": lambda: functional.matmul(x, x),
        "softmax": lambda: functional.softmax(x),
    }
    found = {}
    for name, call in calls.items():
        for _ in range(20):
            call()
        backend.synchronize()
        count = 10 if dry else 2000
        begin = time.perf_counter()
        for _ in range(count):
            call()
        found[name] = f"{1e6 * (time.perf_counter() - begin) / count:.1f} us"
        backend.synchronize()
    return found


def captured_products(backend: Backend, dry: bool) -> dict[str, str]:
    """Try whether products can be part of a CUDA graph, and whether the graph computes the same."""
    if backend.name != "cupy":
        return {"": "only CuPy captures"}
    found = {}
    for words, shapes, dtype in (
        ("two matrices", ((64, 32), (32, 48)), "float32"),
        ("a matrix and a transposed one", ((64, 32), (48, 32)), "float32"),
        ("a batch", ((4, 64, 32), (4, 32, 48)), "float32"),
        ("two matrices", ((64, 32), (32, 48)), "float64"),
        ("two matrices", ((64, 32), (32, 48)), "float16"),
        ("two matrices", ((64, 32), (32, 48)), "bfloat16"),
        ("a batch", ((4, 64, 32), (4, 32, 48)), "bfloat16"),
    ):
        draw = Stream(0, "captured")
        x, y = (backend.from_host(draw.uniform(shape, -1.0, 1.0), dtype) for shape in shapes)
        if "transposed" in words:
            y = y.T
        try:
            found[f"{words}, {dtype}"] = _captured(backend, lambda x=x, y=y: functional.matmul(x, y))  # type: ignore[misc]
        except Exception as error:
            found[f"{words}, {dtype}"] = f"{type(error).__name__}: {error}"
    return found


def _captured(backend: Backend, function: Callable[[], Any]) -> str:
    import cupy

    expected = backend.to_host(function())
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        function()  # fills the stream's memory pool, and makes what is made once
        stream.synchronize()
        stream.begin_capture()
        try:
            result = function()
        finally:
            graph = stream.end_capture()
        graph.launch()
        stream.synchronize()
        return "the same" if (backend.to_host(result) == expected).all() else "another result"


def _seconds(backend: Backend, call: Callable[[], Any], turns: int = 5) -> float:
    """Return the shortest time of a call, of several in a row."""
    call()
    backend.synchronize()
    times = []
    for _ in range(turns):
        begin = time.perf_counter()
        for _ in range(4):
            call()
        backend.synchronize()
        times.append((time.perf_counter() - begin) / 4)
    return min(times)


FACTS: dict[str, Callable[[Backend, bool], Any]] = {
    "versions": versions,
    "driver": driver,
    "libraries": libraries,
    "bandwidth of a copy": bandwidth,
    "products": products,
    "overheads of the host": overheads,
    "captured products": captured_products,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Find facts out one by one; one that cannot be had is a reason, not an end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device.facts", description=__doc__)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a file")
    parser.add_argument("--dry", action="store_true", help="small arrays will do")
    given = parser.parse_args(arguments)
    backend = nn.get_backend(given.backend)
    found: dict[str, Any] = {"machine": machine("cuda")}
    for name, fact in FACTS.items():
        try:
            found[name] = fact(backend, given.dry)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
        print(f"{name}: {json.dumps(found[name], indent=1)}", flush=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{backend} on {', '.join(type(backend).probe().devices)}; a copy: {found['bandwidth of a copy']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
