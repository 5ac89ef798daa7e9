"""The table in words, and the numbers with versions and machine as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.competitors import COMPETITORS
from benchmarks.harness import Result, fastest, ratios
from nnbackend.benchmarking import Workload, in_words, look_up

#: By name of the workload and number of threads: by competitor what was found.
Measured: TypeAlias = Mapping[tuple[str, int], Mapping[str, Result]]

COMPILED = [competitor.name for competitor in COMPETITORS.values() if competitor.compiled]
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "optax", "keras", "scikit-learn", "thinc")


def table(workload: Workload, threads: int, results: Mapping[str, Result]) -> Iterator[str]:
    """Return the lines of the table of one workload, as Markdown."""
    base = fastest(results, COMPILED)
    found = ratios(results, base)
    yield f"### {workload.name}: {workload.words}; {threads} thread{'s' if threads > 1 else ''}"
    yield ""
    yield "| | step | ratio | of rounds | processor | ratio | first step | memory | loss |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, result in results.items():
        if result.reason:
            yield f"| {name} | left out: {result.reason} | | | | | | | |"
            continue
        shown = [f"{ratio:.2f}" for ratio in found[name]] if name in found else [""] * 3
        cells = [
            f"**{name}**" if name == base else name,
            in_words(result.median),
            *shown[:2],
            in_words(statistics.median(result.cpu)),
            shown[2],
            in_words(result.first),
            f"{result.memory / 2**20:.0f} MiB",
            f"{result.losses[-1]:.5f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def summary(measured: Measured) -> Iterator[str]:
    """Return one table of ratios: a row for each competitor, a column for each workload and number of threads."""
    columns = list(measured)
    found = {column: ratios(measured[column], fastest(measured[column], COMPILED)) for column in columns}
    names = [name for name in COMPETITORS if any(name in found[column] for column in columns)]
    yield f"| | {' | '.join(f'{name}, {threads}' for name, threads in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name in names:
        cells = [
            f"{found[column][name].of_medians:.2f}" if name in found[column] else "" for column in columns
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, system and versions."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform(), "versions": versions}


def write(folder: Path, measured: Measured, options: Mapping[str, Any]) -> Path:
    """Write ``table.md`` and ``numbers.json`` to a folder; return the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    where = machine()
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    lines = [
        "# This library and its peers",
        "",
        f"{where['processor']}, {where['cores']} cores, {where['system']}. {versions}. {time.strftime('%Y-%m-%d')}; "
        f"{options['rounds']} rounds of {options['seconds']} s.",
        "",
        "In turns, each in a process of its own, in float32 and from the same weights. *Ratio*: of the median step to "
        "that of the fastest of PyTorch, JAX and Keras (bold); *of rounds*: the median of the ratios of each round, "
        "which a change in the machine's load hurts less; *processor*: the median time on all processors, and where it "
        "is far below the step on one thread, others used the machine, so that what several threads took says "
        "nothing; *first step*: with making the model and compiling it; *memory*: the peak over imports and data; "
        "*loss*: after the same number of steps.",
        "",
        "## Ratios",
        "",
        *summary(measured),
        "## Workloads",
        "",
    ]
    for (name, threads), results in measured.items():
        lines += table(look_up(name), threads, results)
    path = folder / "table.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    numbers = {
        "machine": where,
        "rounds": options["rounds"],
        "seconds": options["seconds"],
        "measured": [
            {
                "workload": name,
                "threads": threads,
                "results": {competitor: result.as_json() for competitor, result in results.items()},
            }
            for (name, threads), results in measured.items()
        ],
    }
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return path
