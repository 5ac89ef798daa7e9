"""Find out on a machine with a GPU all that can be found out only there, and keep it in one folder.

It needs Python, CuPy, pytest and this checkout, no network; PyTorch and JAX are compared with where they are there. A
package that is missing is taken from a wheel in the folder of wheels. Parts go on after failures, and what each one
found is in the folder as soon as it ends: the logs, the records, the benchmark's table. Run it again into the same
folder for parts that are missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.device.parts import PARTS, Options
from benchmarks.device.running import Outcome, environment, keep, kept, run, table, unpack
from benchmarks.machine import ROOT

#: Parts that a dry run leaves out, since a processor has no second device.
ONLY_ON_A_DEVICE = ("peers",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; the exit status says whether all of them passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of all results")
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="how long all of it may take")
    parser.add_argument("--backend", default="cupy", help="what is looked at (default: cupy)")
    parser.add_argument("--dry", action="store_true", help="little of everything, to try the command itself")
    parser.add_argument("--workers", type=int, default=_workers(), help="processes of the whole test suite")
    parser.add_argument(
        "--tests",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files and folders instead of the whole test suite",
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each competitor in the benchmark")
    parser.add_argument(
        "--wheels",
        type=Path,
        default=ROOT / ".wheels",
        metavar="DIR",
        help="where wheels of missing packages are",
    )
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    packages = out / "packages"
    if unpacked := unpack(given.wheels, packages):
        print(f"Unpacked {', '.join(unpacked)}.", flush=True)
    variables = environment([packages, given.wheels.resolve()])
    options = Options(
        given.backend, out, given.dry, given.workers, tuple(given.tests), given.rounds, given.minutes
    )
    signal.signal(signal.SIGTERM, _interrupt)  # so that what runs is ended, too, and the table is printed
    names = given.parts or [name for name in PARTS if not (given.dry and name in ONLY_ON_A_DEVICE)]
    outcomes = _run_all(names, options, variables)
    print("\n".join(table(kept(out))))
    print(f"Written to {out}.")
    return int(any(outcome.status != "passed" for outcome in outcomes))


def _run_all(names: Sequence[str], options: Options, variables: dict[str, str]) -> list[Outcome]:
    """Run parts in their order; each one's outcome is kept as soon as it is known."""
    end = time.monotonic() + 60 * options.minutes
    outcomes = []
    for name, part in PARTS.items():
        if name not in names:
            continue
        left = min(part.minutes, (end - time.monotonic()) / 60)
        print(f"{name}: {part.words} ...", flush=True)
        try:
            if left <= 0:
                outcome = Outcome(name, "left out", words="no time was left")
            else:
                commands = part.commands(dataclasses.replace(options, minutes=left))
                outcome = run(name, commands, variables, options.out / f"{name}.log", 60 * left)
        except KeyboardInterrupt:
            outcome = Outcome(name, "out of time", words="interrupted")
            end = -math.inf
        outcomes.append(outcome)
        keep(options.out, kept(options.out) | {name: outcome})
        print(f"{name}: {outcome.status} after {outcome.seconds:.0f} s; {outcome.words}", flush=True)
    return outcomes


def _workers() -> int:
    """Return how many processes share one GPU well: most of a test is the host's work."""
    return max(1, min(8, (os.cpu_count() or 2) // 2))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
