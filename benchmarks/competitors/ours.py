"""The library measured, on any of its backends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nnbackend as nn
from benchmarks.case import Case, Run
from nnbackend import benchmarking
from nnbackend.backend import Backend

_chosen: list[Backend] = []


def start(case: Case, backend: str, run_eagerly: bool = False, **options: Any) -> Run:
    # from the workload's own definition, which the case was written from
    workload, setting = benchmarking.look_up(case.name), case.setting
    if setting.precision.startswith("mixed"):
        workload = replace(workload, dtype=setting.precision)
    else:
        nn.set_matmul_precision(setting.precision)  # type: ignore[arg-type]
    if backend == "torch":
        options["device"] = setting.device
    chosen = nn.get_backend(backend, **options)
    _chosen[:] = [chosen]
    return benchmarking.start(workload, chosen, run_eagerly, (case.x, case.y))


def peak_device_memory() -> int:
    """Return the most bytes taken from the device, as far as the array library tells."""
    (chosen,) = _chosen
    if chosen.name == "cupy":
        import cupy

        return int(cupy.get_default_memory_pool().total_bytes())
    if chosen.name == "torch":
        import torch

        return int(torch.cuda.max_memory_reserved())
    from benchmarks.competitors import jax_optax

    return jax_optax.peak_device_memory()


KINDS = dict.fromkeys(("mlp", "cnn", "lstm", "transformer", "residual", "inference", "update", "fit"), start)
