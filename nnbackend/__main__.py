"""``python -m nnbackend info | agree``: what this machine has, and whether its backends agree."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from nnbackend import __version__
from nnbackend.agreement import agree
from nnbackend.backend import BackendUnavailableError, probe_backends


def info() -> list[str]:
    """Return the lines of ``info``: each backend, whether it can run here and why not, and what brings it."""
    lines = [f"nnbackend {__version__}, Python {platform.python_version()}, {platform.platform()}", ""]
    for name, (cls, found) in probe_backends().items():
        version = f" {found.version}" if found.version else ""
        lines.append(f"{name:8}{'available' if found.available else 'not available'}{version}")
        if not found.available:
            lines.append(f"{'':8}why: {found.reason}")
            lines.append(f"{'':8}cure: {cls.install}")
        else:
            lines.extend(f"{'':8}device: {device}" for device in found.devices)
            if found.memory:
                lines.append(f"{'':8}memory: {found.memory}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nnbackend", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="list the backends: available or not, why not, devices, memory")
    comparing = commands.add_parser("agree", help="compare a backend with NumPy in float64, rule by rule")
    comparing.add_argument("--backend", help="record this backend here and now, and compare it")
    comparing.add_argument(
        "--compare", nargs="+", type=Path, default=[], metavar="PATH", help="records, or folders of them"
    )
    comparing.add_argument("--record", type=Path, metavar="DIR", help="keep the record in this folder")
    comparing.add_argument(
        "--summary", action="store_true", help="print the worst errors by topic, as Markdown"
    )
    given = parser.parse_args(arguments)
    if given.command == "info":
        print("\n".join(info()))
        return 0
    if given.backend is None and not given.compare:
        comparing.error("name a backend to record with --backend, or records to compare with --compare")
    try:
        report = agree(given.backend, given.compare, given.record)
    except BackendUnavailableError as error:
        print(error, file=sys.stderr)
        return 2
    print(report.summary if given.summary else report.text)
    return 1 if report.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
