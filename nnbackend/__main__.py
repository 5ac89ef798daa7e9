"""``python -m nnbackend info | agree | bench | layers``: what is here, whether backends agree, how fast they are."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from nnbackend import __version__, layers
from nnbackend.agreement import agree
from nnbackend.backend import Availability, Backend, BackendUnavailableError, get_backend, probe_backends
from nnbackend.precision import MatmulPrecision, use_matmul_precision


def info() -> list[str]:
    """Return the lines of ``info``: each backend, whether it can run here and why not, and what brings it."""
    lines = [f"nnbackend {__version__}, Python {platform.python_version()}, {platform.platform()}", ""]
    probed = probe_backends()
    for name, (cls, found) in probed.items():
        if found.available:
            found = _with_devices(name, cls, found)
        lines += [f"{name:8}{'available' if found.available else 'not available'} {found.version}".rstrip()]
        if found.available:
            memory = found.memory or f"{probed['numpy'][1].memory} (the host's)"
            facts = [
                *(("device", device) for device in found.devices),
                ("memory", memory),
                ("dtypes", ", ".join(cls.dtypes)),
            ]
        else:
            facts = [("why", found.reason)]
        lines += [f"{'':8}{fact}: {text}" for fact, text in [*facts, ("brought by", cls.install)]]
    return lines


def _with_devices(name: str, cls: type[Backend], found: Availability) -> Availability:
    """Probe again with the library loaded, when some know more of their devices."""
    try:
        backend = get_backend(name)
    except BackendUnavailableError as error:
        return Availability(False, str(error), found.version)
    found = cls.probe()
    return replace(found, memory=backend.memory_report() or found.memory)


def layer_table() -> list[str]:
    """Return a Markdown table of all layers: by topic, each with the first line of its docstring."""
    topics: dict[str, list[tuple[str, str]]] = {}
    for name in vars(layers)["__all__"]:
        layer = getattr(layers, name)
        if isinstance(layer, type) and issubclass(layer, layers.Layer) and layer is not layers.Layer:
            topic = layer.__module__.rpartition(".")[2].replace("_", " ")
            words = (layer.__doc__ or "").strip().partition("\n")[0].replace("``", "`").replace("|", "\\|")
            topics.setdefault(topic, []).append((name, words))
    lines = ["| topic | layer | what it does |", "|---|---|---|"]
    for topic, found in sorted(topics.items()):
        lines += [f"| {topic} | `{name}` | {words} |" for name, words in found]
    return lines


def _bench(workloads: Sequence[str], backends: Sequence[str] | None, seconds: float) -> int:
    from nnbackend.benchmarking import QUICK, bench

    try:
        for line in bench(workloads or QUICK, backends or [get_backend().name], seconds):
            print(line, flush=True)
    except (BackendUnavailableError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nnbackend", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="list the backends: available or not, why not, devices, memory")
    commands.add_parser("layers", help="list the layers, as a Markdown table")
    comparing = commands.add_parser("agree", help="compare a backend with NumPy in float64, rule by rule")
    comparing.add_argument("--backend", help="record this backend here and now, and compare it")
    comparing.add_argument("--device", help="the device that this backend uses, such as cuda:0")
    comparing.add_argument(
        "--precision",
        default="highest",
        choices=get_args(MatmulPrecision),
        help="of its matrix products (default: highest)",
    )
    comparing.add_argument(
        "--compare", nargs="+", type=Path, default=[], metavar="PATH", help="records, or folders of them"
    )
    comparing.add_argument("--record", type=Path, metavar="DIR", help="keep the record in this folder")
    comparing.add_argument(
        "--summary", action="store_true", help="print the worst errors by topic, as Markdown"
    )
    timing = commands.add_parser("bench", help="measure how long steps of some models take")
    timing.add_argument(
        "workloads", nargs="*", help="such as W1; with a wrong name the known ones are listed"
    )
    timing.add_argument("--backend", nargs="+", help="backends that take turns (default: the one in force)")
    timing.add_argument("--seconds", type=float, default=1.0, help="about how long each one runs")
    given = parser.parse_args(arguments)
    if given.command == "bench":
        return _bench(given.workloads, given.backend, given.seconds)
    if given.command in ("info", "layers"):
        print("\n".join(info() if given.command == "info" else layer_table()))
        return 0
    if given.backend is None and not given.compare:
        comparing.error("name a backend to record with --backend, or records to compare with --compare")
    if given.backend is None and given.device is not None:
        comparing.error("--device goes with --backend, which is recorded there")
    options = {} if given.device is None else {"device": given.device}
    try:
        chosen = None if given.backend is None else get_backend(given.backend, **options)
    except TypeError as error:  # some have no device to choose
        comparing.error(str(error))
    except (BackendUnavailableError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        with use_matmul_precision(given.precision):
            report = agree(chosen, given.compare, given.record)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report.summary if given.summary else report.text)
    return 1 if report.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
