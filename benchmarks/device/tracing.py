"""Where the time of a step goes: a workload compiled and run eagerly, on the host and, by kernel, on the device."""

from __future__ import annotations

import argparse
import collections
import cProfile
import importlib.util
import io
import logging
import pstats
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nnbackend.backend import Backend, get_backend
from nnbackend.benchmarking import Run, Workload, in_words, look_up, start

#: How many lines a listing has.
LINES = 25


def on_the_host(run: Run, steps: int) -> str:
    """Return the functions that Python spent most time in."""
    profiler = cProfile.Profile()
    profiler.runcall(run, steps)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return text.getvalue()


def on_the_device(run: Run, steps: int) -> Iterator[str]:
    """Yield what the device did in a step: each kernel and copy, how often, and for how long.

    PyTorch's profiler sees all that the process asks of the device, CuPy's kernels among it.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        begin = time.perf_counter()
        run(steps)
        wall = time.perf_counter() - begin
    counts: collections.Counter[str] = collections.Counter()
    microseconds: collections.Counter[str] = collections.Counter()
    for event in seen.events():
        if "CUDA" in str(event.device_type):
            counts[event.name] += 1
            microseconds[event.name] += event.time_range.elapsed_us()
    busy = sum(microseconds.values()) / 1e6
    yield (
        f"{sum(counts.values()) / steps:.1f} kernels and copies a step; the device is busy {in_words(busy / steps)} "
        f"of {in_words(wall / steps)} under the profiler"
    )
    for name, taken in microseconds.most_common(LINES):
        yield f"{taken / steps:10.2f} us a step, {counts[name] / steps:6.1f} times  {name[:150]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, print the times, and write the listings to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device.tracing", description=__doc__)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a file for the listings")
    parser.add_argument("--workloads", nargs="+", default=["W2"])
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args(arguments)
    # a backend says there why a step is not captured or recorded
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
    backend = get_backend(given.backend)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        given.out.write_text("\n".join(lines) + "\n")

    gains, broken = {}, []
    for name in given.workloads:
        try:
            gains[name] = _profiled(look_up(name), backend, given.steps, say)
        except Exception:  # the others are to be seen, too
            broken.append(name)
            say(f"{name} failed:\n{traceback.format_exc()}")
    say("times as fast compiled as run eagerly: " + ", ".join(f"{n} {gain:.1f}" for n, gain in gains.items()))
    if broken:
        say(f"failed: {', '.join(broken)}")
    return int(bool(broken))


def _profiled(workload: Workload, backend: Backend, steps: int, say: Callable[[str], None]) -> float:
    """Profile one workload; return how many times as fast it is compiled as run eagerly."""
    runs = {
        "compiled": start(workload, backend),
        "run eagerly": start(workload, backend, run_eagerly=True),
    }
    medians = {words: _median(run, steps) for words, run in runs.items()}
    for words, run in runs.items():
        say(f"{workload.name} {words} on {backend}: {in_words(medians[words])} a step")
        say(f"on the host, {steps} steps:\n{on_the_host(run, steps)}")
        if backend.name == "cupy" and importlib.util.find_spec("torch"):
            for line in on_the_device(run, steps):
                say(line)
    return medians["run eagerly"] / medians["compiled"]


def _median(run: Run, steps: int) -> float:
    """Return the seconds of a step, after some that are not counted."""
    run(10)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        run(steps)
        times.append((time.perf_counter() - begin) / steps)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
