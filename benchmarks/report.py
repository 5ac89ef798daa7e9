"""The tables in words, and the numbers with versions and machine as JSON."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.case import Setting
from benchmarks.competitors import COMPETITORS
from benchmarks.harness import Result, fastest, ratios
from benchmarks.targets import CAPTURED, OF_COPY, target
from nnbackend.benchmarking import Workload, in_words, look_up

__all__ = ["Measured", "Measurement", "Results", "read", "render", "summary", "table", "write"]

Results: TypeAlias = Mapping[str, Result]


@dataclass(frozen=True)
class Measurement:
    """One workload in one setting: by competitor what was found, and when and how it was measured."""

    results: Results
    date: str = ""
    commit: str = ""
    rounds: int = 0
    seconds: float = 0.0


#: By name of the workload and setting.
Measured: TypeAlias = Mapping[tuple[str, Setting], Measurement]

COMPILED = [competitor.name for competitor in COMPETITORS.values() if competitor.compiled]
COPY = next(competitor.name for competitor in COMPETITORS.values() if competitor.yardstick)
CUPY, EAGERLY = "nnbackend cupy", "nnbackend cupy, run eagerly"
#: Whose targets there are.
OURS = {"cpu": "nnbackend numpy", "cuda": CUPY}
#: Names of the table, the numbers and the words written by hand, by device.
FILES = {
    "cpu": ("table.md", "numbers.json", "explanations.md"),
    "cuda": ("gpu.md", "gpu.json", "gpu_explanations.md"),
}
ABOUT = {
    "cpu": "In turns, each in a process of its own, in float32 and from the same weights. *Ratio*: of the median step "
    "to that of the fastest of PyTorch, JAX and Keras (bold); *of rounds*: the median of the ratios of each round, "
    "which a change in the machine's load hurts less; *processor*: the median time on all processors, and where it "
    "is far below the step on one thread, others used the machine, so that what several threads took says "
    "nothing; *first step*: with making the model and compiling it; *memory*: the peak over imports and data; "
    "*loss*: after the same number of steps.",
    "cuda": "In turns, each in a process of its own, from the same weights, with the data on the device; a turn ends "
    "when the device has done its work. *float32* is without TF32 for all, *TF32* with it for all. *Ratio*: of the "
    "median step to that of the fastest of PyTorch and JAX (bold); *of rounds*: the median of the ratios of rounds; "
    "*processor*: the time that the host's processors were busy; *first step*: with making the model and compiling "
    "it, while the others did the same; *memory*: the most that the library took from the device, with the data; "
    "*loss*: after the same number of steps.",
}


def table(workload: Workload, setting: Setting, results: Results, explanation: str = "") -> Iterator[str]:
    """Return the lines of the table of one workload, as Markdown."""
    base = fastest(results, COMPILED)
    found = ratios(results, base)
    yield f"### {workload.name}: {workload.words}; {setting.words}"
    yield ""
    yield "| | step | ratio | of rounds | processor | ratio | first step | memory | loss |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, result in results.items():
        if result.reason:
            yield f"| {name} | left out: {' '.join(result.reason.split()).replace('|', '/')} | | | | | | | |"
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
            "" if name == COPY else f"{result.losses[-1]:.5f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for line in (_of_the_bandwidth(workload, results), _of_capturing(workload, results), explanation):
        if line:
            yield from (line, "")


def _of_the_bandwidth(workload: Workload, results: Results) -> str:
    """Say what part of the bandwidth of a copy each update reaches; Adam moves seven arrays."""
    copy = results.get(COPY)
    if copy is None or copy.reason:
        return ""
    rate = 28 * workload.sizes[0] / copy.median / 1e9
    parts = [
        f"{name} {100 * copy.median / result.median:.0f} %"
        for name, result in results.items()
        if name != COPY and not result.reason
    ]
    wanted = f" (target: {100 / OF_COPY[workload.name]:.0f} %)" if workload.name in OF_COPY else ""
    return f"Of the {rate:.0f} GB/s of a copy: {', '.join(parts)}{wanted}."


def _of_capturing(workload: Workload, results: Results) -> str:
    """Say how much faster a captured step is than the same step run eagerly."""
    found = [results.get(name) for name in (CUPY, EAGERLY)]
    if any(result is None or result.reason for result in found):
        return ""
    captured, eager = (result.median for result in found if result is not None)
    wanted = f" (target: {CAPTURED[workload.name]:.0f})" if workload.name in CAPTURED else ""
    return f"Captured, a step is {eager / captured:.1f} times as fast as run eagerly{wanted}."


def summary(measured: Measured) -> Iterator[str]:
    """Return one table of ratios: a row for each workload and setting, a column for each competitor."""
    found = {key: ratios(m.results, fastest(m.results, COMPILED)) for key, m in measured.items()}
    names = [name for name in COMPETITORS if name != COPY and any(name in found[key] for key in measured)]
    yield f"| | | target | {' | '.join(names)} |"
    yield f"|---|---|---|{'---|' * len(names)}"
    for (workload, setting), row in found.items():
        wanted = target(workload, setting)
        cells = [f"{row[name].of_medians:.2f}" if name in row else "" for name in names]
        yield f"| {workload} | {setting.words} | {wanted or ''} | {' | '.join(cells)} |"
    yield ""


def missed(measured: Measured) -> Iterator[str]:
    """Say which targets were not reached."""
    for (workload, setting), measurement in measured.items():
        wanted = target(workload, setting)
        found = ratios(measurement.results, fastest(measurement.results, COMPILED)).get(OURS[setting.device])
        if wanted is not None and found is not None and found.of_medians > wanted:
            yield f"{workload}, {setting.words}: {found.of_medians:.2f}, the target is {wanted}"


def read(folder: Path, device: str, where: Mapping[str, Any]) -> dict[tuple[str, Setting], Measurement]:
    """Return what was measured before on this machine and kept in a folder.

    Raises
    ------
    ValueError
        If it was measured on another machine or with other versions, which one table cannot show.
    """
    path = folder / FILES[device][1]
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text())
    if kept["machine"] != where:
        differs = [key for key in where if kept["machine"].get(key) != where[key]]
        raise ValueError(
            f"{path} was measured on another machine or with other versions ({', '.join(differs)} differ). Write to "
            "another folder with --output, or measure all anew."
        )
    return _measured(kept)


def _measured(kept: Mapping[str, Any]) -> dict[tuple[str, Setting], Measurement]:
    found = {}
    for entry in kept["measured"]:
        results = {name: Result.from_json(result) for name, result in entry["results"].items()}
        words = {key: entry[key] for key in ("date", "commit", "rounds", "seconds")}
        found[entry["workload"], Setting(**entry["setting"])] = Measurement(results, **words)
    return found


def write(folder: Path, device: str, measured: Measured, where: Mapping[str, Any]) -> Path:
    """Write the numbers and the table to a folder; return the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {
        "machine": where,
        "measured": [
            {
                "workload": name,
                "setting": asdict(setting),
                "date": measurement.date,
                "commit": measurement.commit,
                "rounds": measurement.rounds,
                "seconds": measurement.seconds,
                "results": {
                    competitor: result.as_json() for competitor, result in measurement.results.items()
                },
            }
            for (name, setting), measurement in measured.items()
        ],
    }
    path = folder / FILES[device][1]
    partial = path.with_suffix(".part")  # a run that is ended while it writes leaves the last numbers whole
    partial.write_text(json.dumps(numbers, indent=1) + "\n")
    partial.replace(path)
    return render(folder, device)


def explanations(path: Path) -> dict[str, str]:
    """Return what was written by hand, by heading: ``## W4`` stands below the tables of W4, ``## All`` above them."""
    if not path.is_file():
        return {}
    parts = re.split(r"^## +(.+?) *$", path.read_text(), flags=re.MULTILINE)
    return {heading: text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def render(folder: Path, device: str) -> Path:
    """Write the table from the numbers and explanations that are in a folder; return its path.

    Raises
    ------
    FileNotFoundError
        If there are no numbers.
    ValueError
        If an explanation belongs to no workload.
    """
    table_name, numbers_name, explanations_name = FILES[device]
    kept = json.loads((folder / numbers_name).read_text())
    words = explanations(folder / explanations_name)
    for heading in words:
        if heading != "All":
            look_up(heading)
    measured, where = _measured(kept), kept["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    place = [where["device"]] if where.get("device") else []
    place += [where["processor"], f"{where['cores']} cores", where["system"]]
    dates = sorted({m.date for m in measured.values()})
    turns = dict.fromkeys(f"{m.rounds} rounds of {m.seconds} s" for m in measured.values())
    lines = [
        "# This library and its peers" + ("" if device == "cpu" else ", on a GPU"),
        "",
        f"{', '.join(place)}. {versions}. {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}; {', '.join(turns)}.",
        "",
        ABOUT[device],
        "",
        "## Ratios",
        "",
        *summary(measured),
    ]
    short = list(missed(measured))
    lines += [f"Targets not reached: {'; '.join(short)}." if short else "All targets set are reached.", ""]
    if words.get("All"):
        lines += [words["All"], ""]
    lines += ["## Workloads", ""]
    last = dict(measured.keys())  # an explanation stands once, below the last table of its workload
    for (name, setting), measurement in measured.items():
        explanation = words.get(name, "") if last[name] == setting else ""
        lines += table(look_up(name), setting, measurement.results, explanation)
    path = folder / table_name
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path
