"""The library measured, on any of its backends."""

from __future__ import annotations

import nnbackend as nn
from benchmarks.case import Case, Run
from nnbackend import benchmarking


def start(case: Case, backend: str, **options: str) -> Run:
    # from the workload's own definition, which the case was written from
    chosen = nn.get_backend(backend, **options)
    return benchmarking.start(benchmarking.look_up(case.name), chosen)


KINDS = dict.fromkeys(("mlp", "cnn", "lstm", "transformer", "residual", "inference", "update", "fit"), start)
