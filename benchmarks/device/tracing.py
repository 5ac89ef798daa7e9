"""Where the time of a step goes: a workload compiled and run eagerly, on the host and, by kernel, on the device."""

from __future__ import annotations

import argparse
import collections
import contextlib
import cProfile
import importlib.util
import io
import pstats
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nnbackend.backend import get_backend
from nnbackend.benchmarking import Run, in_words, look_up, start

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
    parser.add_argument("--workload", default="W2")
    parser.add_argument("--steps", type=int, default=50)
    given = parser.parse_args(arguments)
    workload, backend = look_up(given.workload), get_backend(given.backend)
    lines: list[str] = []
    medians: dict[str, float] = {}

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        given.out.write_text("\n".join(lines) + "\n")

    runs: dict[str, Callable[[int], float]] = {
        words: start(workload, backend, run_eagerly)
        for words, run_eagerly in (("compiled", False), ("eagerly", True))
    }
    for words, run in runs.items():
        run(10)
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            run(given.steps)
            times.append((time.perf_counter() - begin) / given.steps)
        medians[words] = sorted(times)[2]
        say(f"{workload.name} {words} on {backend}: {in_words(medians[words])} a step")
    for words, run in runs.items():
        say(f"\n{words}, on the host, {given.steps} steps:\n{on_the_host(run, given.steps)}")
        if backend.name == "cupy" and importlib.util.find_spec("torch"):
            with contextlib.suppress(ImportError):
                for line in on_the_device(run, given.steps):
                    say(line)
    say(f"compiled, a step is {medians['eagerly'] / medians['compiled']:.1f} times as fast as run eagerly")
    return 0


if __name__ == "__main__":
    sys.exit(main())
