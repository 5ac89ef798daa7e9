"""Record what a backend computes, compare it with NumPy, and say how far 100 steps in float64 went apart."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import nnbackend as nn
from nnbackend import agreement
from nnbackend.trajectories import TRAJECTORIES

#: What trainings in float64 may be off after 100 steps, relative to the largest element.
TRAINING = 1e-9


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, compare with float64 on NumPy beside NumPy's own record, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device.agreeing", description=__doc__)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--device", help="the device, for backends that take one")
    parser.add_argument("--precision", default="highest", choices=["highest", "high", "medium"])
    parser.add_argument("--name", required=True, help="what the record is called")
    parser.add_argument("--out", type=Path, required=True, help="the folder of records")
    parser.add_argument("--dry", action="store_true", help="few cases will do")
    given = parser.parse_args(arguments)
    if given.dry:
        agreement.CASES = agreement.CASES[::100]
        for name in list(TRAJECTORIES)[1:]:
            del TRAJECTORIES[name]
    options = {} if given.device is None else {"device": given.device}
    backend = nn.get_backend(given.backend, **options)
    with nn.use_matmul_precision(given.precision):
        fresh = agreement.record(backend, given.out, given.name, _say)
    beside = (
        [agreement.record("numpy", given.out / "beside", "numpy")] if given.precision == "highest" else []
    )
    report = agreement.compare([fresh, *beside])
    (given.out / f"{given.name}.txt").write_text(report.text + "\n")
    print(report.text)
    print(report.summary)
    worst = max(
        (
            max(result.errors.values()) * agreement.EPSILON["float64"]
            for result in report.results
            if result.record == given.name
            and result.dtype == "float64"
            and result.case.startswith("training ")
            if result.errors
        ),
        default=0.0,
    )
    apart = worst > TRAINING
    bounds = "past their bounds" if report.failed else "all within their bounds"
    print(f"{given.name}: {bounds}; trainings in float64 off by {worst:.1e} (target: {TRAINING:.0e})")
    return int(report.failed or apart)


def _say(name: str, error: Exception) -> None:
    """Print where a case failed; what the others compute is wanted all the same."""
    print(f"{name} failed:", flush=True)
    traceback.print_exception(error, file=sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
