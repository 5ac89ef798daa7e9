"""Programs that may fail, hang or be too long: each with its log and its time, and a table of how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.machine import ROOT

__all__ = ["Outcome", "environment", "kept", "run", "table", "unpack"]

#: Seconds that a program has to end by itself once it is asked to: pytest then says what failed so far.
GRACE = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a part ended.

    Attributes
    ----------
    name : str
        The part.
    status : {"passed", "failed", "out of time", "left out"}
        How it ended.
    seconds : float
        What it took.
    words : str
        What it said last, or why it did not run.
    """

    name: str
    status: str
    seconds: float = 0.0
    words: str = ""


def unpack(wheels: Path, to: Path) -> list[str]:
    """Unpack wheels of what is not installed; return the names of what was unpacked."""
    found = []
    for wheel in sorted(wheels.glob("*.whl")):
        name = wheel.name.partition("-")[0]
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(to)
            found.append(name)
    return found


def environment(packages: Sequence[Path]) -> dict[str, str]:
    """Return what all parts run with: the checkout on the path, one thread for sums, one order of sets."""
    path = [str(ROOT), str(ROOT / "backends"), *map(str, packages), os.environ.get("PYTHONPATH", "")]
    held = {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # else JAX takes most of the device for itself
        "CUPY_NVRTC_USE_PCH": "1",  # CuPy's headers are read once a process, for two fifths of the time
    }
    return {key: value for key, value in os.environ.items() if key != "NNBACKEND"} | held


def run(
    name: str, commands: Sequence[Sequence[str]], variables: Mapping[str, str], log: Path, seconds: float
) -> Outcome:
    """Run programs one after the other, all of them, within a time, and write what they say to a file."""
    begin = time.monotonic()
    status, words = "passed", ""
    with log.open("w") as file:
        for command in commands:
            left = seconds - (time.monotonic() - begin)
            print(f"$ python {' '.join(command)}", file=file, flush=True)
            code = _run(command, variables, file.fileno(), max(left, 0.0))
            said = _last_line(log)
            if code is None:
                status, words = "out of time", f"ended after {seconds:.0f} s: {said}"
                break
            if code:
                status = "failed"
                words = f"{words + '; ' if words else ''}{said} (exit status {code})"
            elif status == "passed":
                words = said
    return Outcome(name, status, time.monotonic() - begin, words)


def _run(command: Sequence[str], variables: Mapping[str, str], output: int, seconds: float) -> int | None:
    """Return the exit status, or None where there was too little time."""
    with _interruptible():
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that all of it can be ended
        )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # where nothing of the group is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let programs that are started hear when they are asked to end, also by one in the background, which is deaf."""
    heard = signal.getsignal(signal.SIGINT)
    deaf = heard == signal.SIG_IGN and threading.current_thread() is threading.main_thread()
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if deaf:
            signal.signal(signal.SIGINT, heard)


def _last_line(log: Path) -> str:
    lines = [line.strip(" =\n") for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith("$ python ")]
    return said[-1][:300] if said else "it said nothing"


def kept(out: Path) -> dict[str, Outcome]:
    """Return how parts of earlier runs into this folder ended."""
    path = out / "outcomes.json"
    if not path.is_file():
        return {}
    return {name: Outcome(**outcome) for name, outcome in json.loads(path.read_text()).items()}


def keep(out: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write how parts ended, as JSON and as a table."""
    found = {name: asdict(outcome) for name, outcome in outcomes.items()}
    (out / "outcomes.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "summary.md").write_text("\n".join(table(outcomes)) + "\n")


def table(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Return the lines of a table, a row for each part."""
    yield "| part | | time | |"
    yield "|---|---|---|---|"
    for outcome in outcomes.values():
        words = outcome.words.replace("|", "/")
        yield f"| {outcome.name} | {outcome.status} | {outcome.seconds:.0f} s | {words} |"
