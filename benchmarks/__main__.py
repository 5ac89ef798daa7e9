"""Measure this library and its peers: ``python -m benchmarks W1 W2 --threads 1 --rounds 20``.

Without names all workloads are measured but those of scaling; ``scaling`` stands for these. A long run may be done in
pieces: ``--append --missing --minutes 30``, again and again until nothing is missing. ``--device cuda`` measures on a
GPU.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import report
from benchmarks.case import PRECISIONS, Setting, write_case
from benchmarks.competitors import COMPETITORS, Competitor
from benchmarks.harness import (
    TOLERANCE,
    TOLERANCES,
    LeftOutError,
    Process,
    Result,
    compete,
    same,
)
from benchmarks.machine import machine
from nnbackend import agreement
from nnbackend.benchmarking import SCALING, WORKLOADS, Workload, look_up

RESULTS = Path(__file__).parent / "results"
#: Rest between turns on several threads: OpenBLAS and OpenMP let idle threads spin for a while.
PAUSE = 0.05
#: A whole fit takes seconds, so that few rounds must do.
FEW_ROUNDS = 3
#: What a GPU is measured on, and of these what mixed precision pays for.
ON_A_DEVICE = ("W1", "W2", "W3", "W3-4096-4096", "W4", "W5", "W6", "W7", "W8-1", "W8-4096", "W9-large")
MIXED = ("W3", "W3-4096-4096", "W6")


def measure(
    workload: Workload,
    competitors: Iterable[Competitor],
    setting: Setting,
    rounds: int,
    seconds: float,
    until: float = math.inf,
) -> dict[str, Result]:
    """Let competitors do one workload; who cannot is listed with the reason."""
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.npz"
        write_case(workload.name, setting, path)
        taking_part = [c for c in competitors if c.takes_part(workload.kind, setting.device)]
        started: dict[str, Process] = {}
        try:
            for competitor, process in _started(taking_part, path, setting):
                if isinstance(process, LeftOutError):
                    results[competitor.name] = Result(reason=str(process))
                else:
                    started[competitor.name] = process
            contestants = dict(started)
            for name, words in _strangers(workload, setting, contestants):
                results[name] = Result(reason=words)
                del contestants[name]
            turns = (min(rounds, FEW_ROUNDS), 0.0) if workload.kind == "fit" else (rounds, seconds)
            rests = setting.device == "cpu" and setting.threads > 1
            results |= compete(contestants, *turns, pause=PAUSE if rests else 0.0, until=until)
        finally:
            for contestant in started.values():
                contestant.close()
    return {name: results[name] for name in COMPETITORS if name in results}


def _started(
    competitors: Sequence[Competitor], path: Path, setting: Setting
) -> Iterator[tuple[Competitor, Process | LeftOutError]]:
    """Start processes that have taken their first steps: one by one, or together where a device does the work."""

    def start(competitor: Competitor) -> Process | LeftOutError:
        try:
            process = Process(competitor, path, setting)
            process.ready()
        except LeftOutError as error:
            return error
        return process

    if setting.device == "cpu":
        yield from ((competitor, start(competitor)) for competitor in competitors)
    else:
        with ThreadPoolExecutor(max(1, len(competitors))) as pool:
            yield from zip(competitors, pool.map(start, competitors), strict=True)


def _strangers(
    workload: Workload, setting: Setting, contestants: dict[str, Process]
) -> Iterator[tuple[str, str]]:
    """Find those that compute another thing than the first peer, or the first of all where there is no peer."""
    if workload.kind == "fit":  # shuffles differ, so that what a whole fit leads to is near, not the same
        return
    tolerance = TOLERANCES.get(setting.precision, TOLERANCE)
    compared = {name: c for name, c in contestants.items() if not COMPETITORS[name].yardstick}
    peers = [name for name in compared if COMPETITORS[name].compiled]
    reference = compared[next(iter(peers or compared))].losses if compared else []
    for name, contestant in compared.items():
        if not same(contestant.losses, reference, tolerance):
            yield name, f"computes another thing: losses {contestant.losses}, expected {reference}"


def settings(device: str, threads: Sequence[int], precisions: Sequence[str]) -> Iterator[Setting]:
    """Return the settings asked for; numbers of threads that the machine does not allow are left out."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device != "cpu":
        yield from (Setting(allowed, device, precision) for precision in precisions)
        return
    for number in threads:
        if number <= allowed:
            yield Setting(number)
        else:
            print(f"{number} threads are left out: {allowed} processors are allowed.", file=sys.stderr)


def plan(names: Sequence[str], chosen: Iterable[Setting]) -> Iterator[tuple[Workload, Setting]]:
    """Return what is to be measured, in order; mixed precision only where it pays, unless it is asked for."""
    for setting in chosen:
        usual: Iterable[str] = WORKLOADS if setting.device == "cpu" else ON_A_DEVICE
        if setting.precision.startswith("mixed"):
            usual = MIXED
        words = names or usual
        for name in itertools.chain.from_iterable(SCALING if word == "scaling" else [word] for word in words):
            workload = look_up(name)
            if names or workload.kind != "update" or setting.precision == "highest":  # which has no products
                yield workload, setting


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables as they come, and write them to a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", help=f"{', '.join(WORKLOADS)}, one of scaling, or 'scaling'")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the arrays are")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=list(PRECISIONS),
        default=["highest", "high"],
        help="on a device: float32, TF32, or a policy of mixed precision",
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns of each competitor")
    parser.add_argument("--seconds", type=float, default=0.1, help="about how long a turn takes")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="competitors whose names contain one of these"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="the folder for the table and the numbers"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after so long")
    parser.add_argument(
        "--append", action="store_true", help="keep what the folder holds of other workloads and settings"
    )
    parser.add_argument("--missing", action="store_true", help="with --append: measure only what it lacks")
    parser.add_argument(
        "--write", action="store_true", help="measure nothing; write the table from the numbers kept"
    )
    given = parser.parse_args(arguments)
    if given.write:
        print(f"Written to {report.render(given.output, given.device)}.")
        return 0
    until = time.monotonic() + 60 * given.minutes
    where = machine(given.device)
    try:
        measured = report.read(given.output, given.device, where) if given.append else {}
        planned = list(plan(given.workloads, settings(given.device, given.threads, given.precision)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    competitors = [
        competitor
        for competitor in COMPETITORS.values()
        if not given.only or any(word.lower() in competitor.name.lower() for word in given.only)
    ]
    left = [(w.name, s) for w, s in planned if not (given.missing and (w.name, s) in measured)]
    while left and time.monotonic() < until:
        key = name, setting = left.pop(0)
        workload = look_up(name)
        results = measure(workload, competitors, setting, given.rounds, given.seconds, until)
        measured[key] = report.Measurement(
            results, time.strftime("%Y-%m-%d"), agreement._commit()[:12], given.rounds, given.seconds
        )
        print("\n".join(report.table(workload, setting, results)), flush=True)
        report.write(given.output, given.device, measured, where)  # after each, so that none is lost
    print(f"Written to {given.output}.")
    if left:
        words = "; ".join(f"{name}, {setting.words}" for name, setting in left)
        print(f"No time was left for {words}. Measure these with --append --missing.")
    broken = _broken(measured)
    for words in broken:
        print(words)
    return int(bool(broken))


def _broken(measured: report.Measured) -> list[str]:
    """Say where this library was left out of a table of its own device, but not by who asked for others only."""
    found = []
    for (name, setting), measurement in measured.items():
        result = measurement.results.get(report.OURS[setting.device])
        if result is not None and result.reason:
            found.append(
                f"{report.OURS[setting.device]} is left out of {name}, {setting.words}: {result.reason}"
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
