"""How much ``import nnbackend`` costs over ``import numpy``: fresh interpreters, interleaved, medians.

Rooms are imported at first use, so what a first model brings with it is told as well, and what of that are the parts of
NumPy that array-api-compat imports. Run it as ``python benchmarks/import_time.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "nnbackend": "import nnbackend",
    "numpy, nnbackend": "import numpy, nnbackend",
    "array-api-compat": "import numpy, array_api_compat.numpy",
    "a first model": (
        "import numpy, nnbackend as nn; nn.Sequential([nn.Dense(3)]).compile('adam', 'mean_squared_error')"
    ),
}
#: What the library promises, in milliseconds over NumPy.
LIMIT = 60.0


def seconds(program: str, cache: str) -> float:
    """Return how long a fresh interpreter takes; like an installed package it finds compiled files, in `cache`."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")]),
        "PYTHONPYCACHEPREFIX": cache,
        "PYTHONDONTWRITEBYTECODE": "",
    }
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return time.perf_counter() - begin


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the medians; the exit status says whether the promise holds here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args(arguments).rounds
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as cache:
        for program in PROGRAMS.values():
            seconds(program, cache)  # compiles what is not compiled yet
        for _ in range(rounds):
            for name, program in PROGRAMS.items():
                times[name].append(1000 * seconds(program, cache))
    for name, values in times.items():
        print(f"{name:18} {statistics.median(values):7.1f} ms")
    over = {
        name: statistics.median(more - alone for more, alone in zip(times[name], times["numpy"], strict=True))
        for name in PROGRAMS
    }
    promised = over["numpy, nnbackend"]
    print(f"over numpy         {promised:7.1f} ms (promised: at most {LIMIT:.0f})")
    print(f"  a first model    {over['a first model']:7.1f} ms")
    print(f"  of these         {over['array-api-compat']:7.1f} ms are array_api_compat.numpy")
    return int(promised > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
