"""The benchmark's models, small and in float64: 100 steps on a backend and on NumPy, and how far they went apart."""

from __future__ import annotations

import argparse
import json
import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnbackend.backend import host
from nnbackend.benchmarking import Workload, look_up

STEPS = 100
#: What losses and weights may be off, relative to the largest.
BOUND = 1e-9
#: Softmax does not change with what is added to all scores of a row, so that this one's gradient is zero but for
#: rounding, of which Adam makes whole steps.
UNDETERMINED = "key/bias"
#: Workloads, with what makes them small enough for NumPy.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "W1": {},
    "W2": {"batch": 32},
    "W4": {"sizes": (12, 12, 1), "batch": 8},
    "W5": {"sizes": (12, 8), "batch": 8},
    "W6": {"sizes": (16, 32), "batch": 4},
    "W7": {"sizes": (8, 8, 8), "batch": 4},
}


def trained(workload: Workload, backend: str, steps: int) -> dict[str, Any]:
    """Return the losses of all steps, and after them the outputs and the weights."""
    model = workload.model(backend)
    x, y = workload.data()
    losses = [model.train_on_batch(x, y)["loss"] for _ in range(steps)]
    weights = zip(model.parameters, model.get_weights(), strict=True)
    found = {parameter.path: array for parameter, array in weights if UNDETERMINED not in parameter.path}
    return found | {"losses": host().from_host(losses, "float64"), "outputs": model.predict(x)}


def apart(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Return the largest difference of any array, relative to its largest element; infinite where one is no number."""
    xp = host().xp
    worst = 0.0
    for name, wanted in expected.items():
        difference = float(xp.max(xp.abs(found[name] - wanted)))
        part = difference / max(float(xp.max(xp.abs(wanted))), sys.float_info.min)
        worst = max(worst, part if math.isfinite(part) else math.inf)
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare, and print a line for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device.training", description=__doc__)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a file for the numbers")
    parser.add_argument("--dry", action="store_true", help="few steps of one model will do")
    given = parser.parse_args(arguments)
    found: dict[str, float] = {}
    for name, changes in SMALL.items():
        if given.dry and found:
            break
        workload = replace(look_up(name), dtype="float64", **changes)
        steps = 3 if given.dry else STEPS
        try:
            found[name] = apart(*(trained(workload, backend, steps) for backend in (given.backend, "numpy")))
        except Exception:  # the other models are to be seen, too
            traceback.print_exc(file=sys.stdout)
            found[name] = math.inf
        print(f"{name}: {workload.words}, small: off by {found[name]:.1e}", flush=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    worst = max(found.values())
    print(f"at most {worst:.1e} (target: {BOUND:.0e})")
    return int(not worst <= BOUND)


if __name__ == "__main__":
    sys.exit(main())
