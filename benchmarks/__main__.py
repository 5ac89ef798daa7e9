"""Measure this library and its peers: ``python -m benchmarks W1 W2 --threads 1 --rounds 20``.

Without names all workloads are measured but those of scaling; ``scaling`` stands for these.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.case import write_case
from benchmarks.competitors import COMPETITORS, Competitor
from benchmarks.harness import LeftOutError, Process, Result, compete, same
from nnbackend.benchmarking import SCALING, WORKLOADS, Workload, look_up

RESULTS = Path(__file__).parent / "results"
#: Rest between turns on several threads: OpenBLAS and OpenMP let idle threads spin for a while.
PAUSE = 0.05
#: A whole fit takes seconds, so that few rounds must do.
FEW_ROUNDS = 3


def measure(
    workload: Workload, competitors: Iterable[Competitor], threads: int, rounds: int, seconds: float
) -> dict[str, Result]:
    """Let competitors do one workload; who cannot is listed with the reason."""
    results: dict[str, Result] = {}
    contestants: dict[str, Process] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.npz"
        write_case(workload.name, threads, path)
        try:
            for competitor in competitors:
                if competitor.only and workload.kind not in competitor.only:
                    continue
                try:
                    contestant = Process(competitor, path, threads)
                except LeftOutError as error:
                    results[competitor.name] = Result(reason=str(error))
                    continue
                reference = next(iter(contestants.values()), contestant).losses
                # shuffles differ, so that what a whole fit leads to is near, not the same
                if workload.kind != "fit" and not same(contestant.losses, reference):
                    contestant.close()
                    words = f"computes another thing: losses {contestant.losses}, expected {reference}"
                    results[competitor.name] = Result(reason=words)
                    continue
                contestants[competitor.name] = contestant
            turns = (min(rounds, FEW_ROUNDS), 0.0) if workload.kind == "fit" else (rounds, seconds)
            results |= compete(contestants, *turns, pause=PAUSE if threads > 1 else 0.0)
        finally:
            for contestant in contestants.values():
                contestant.close()
    return {name: results[name] for name in COMPETITORS if name in results}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables as they come, and write them to a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", help=f"{', '.join(WORKLOADS)}, one of scaling, or 'scaling'")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each competitor")
    parser.add_argument("--seconds", type=float, default=0.1, help="about how long a turn takes")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="competitors whose names contain one of these"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="the folder for the table and the numbers"
    )
    given = parser.parse_args(arguments)
    names = [
        name for word in given.workloads or WORKLOADS for name in (SCALING if word == "scaling" else [word])
    ]
    workloads = [look_up(name) for name in names]
    competitors = [
        competitor
        for competitor in COMPETITORS.values()
        if not given.only or any(word.lower() in competitor.name.lower() for word in given.only)
    ]
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    measured: dict[tuple[str, int], dict[str, Result]] = {}
    for threads in given.threads:
        if threads > allowed:
            print(f"{threads} threads are left out: {allowed} processors are allowed.", file=sys.stderr)
            continue
        for workload in workloads:
            results = measure(workload, competitors, threads, given.rounds, given.seconds)
            measured[workload.name, threads] = results
            print("\n".join(report.table(workload, threads, results)), flush=True)
            report.write(given.output, measured, vars(given))  # after each, so that none is lost
    print(f"Written to {given.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
