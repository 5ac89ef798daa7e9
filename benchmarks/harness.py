"""Competitors take turns, so that all meet the same moods of a machine; medians and ratios say who is how fast."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from benchmarks.case import Setting
from benchmarks.competitors import Competitor
from benchmarks.machine import ROOT

#: Losses may differ by so much of themselves; more says that a competitor computes another thing.
TOLERANCE = 2e-3
#: The same for products of fewer digits than float32 has.
TOLERANCES = {"high": 1e-2, "mixed_bfloat16": 5e-2, "mixed_float16": 2e-2}


#: Seconds after which a competitor that does not answer is ended.
PATIENCE = 600.0


class LeftOutError(Exception):
    """A competitor cannot take part; the message says why."""


class Contestant(Protocol):
    """What takes turns."""

    first: float
    losses: list[float]
    memory: int

    def turn(self, steps: int, warm: int = 0) -> tuple[float, float]:
        """Take `steps` steps, after `warm` that do not count; return wall and processor seconds."""

    def close(self) -> None:
        """End."""


@dataclass
class Result:
    """What one competitor took for one workload.

    Attributes
    ----------
    reason : str
        Why it was left out; empty where it took part.
    first : float
        Seconds to make the model, compile it and take the first step.
    memory : int
        Bytes at the peak, over what was in use after the imports and with the data.
    losses : list of float
        From the same weights, before any time was taken.
    wall, cpu : list of float
        Seconds of a step, one number a round.
    """

    reason: str = ""
    first: float = 0.0
    memory: int = 0
    losses: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of wall seconds of a step."""
        return statistics.median(self.wall)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Result:
        """Return what `as_json` wrote."""
        return cls(**found)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it, with six digits."""
        return {
            key: [float(f"{v:.6g}") for v in value] if isinstance(value, list) else value
            for key, value in asdict(self).items()
        }


def environment(setting: Setting) -> dict[str, str]:
    """Return what holds every library to so many threads; JAX and others also look at the processors allowed.

    On a device JAX takes memory as it needs it, since all competitors share it, and falls back to no processor.
    """
    threads = setting.threads
    names = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA", "VECLIB_MAXIMUM")
    flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    held = {f"{name}_NUM_THREADS": str(threads) for name in names} | {"PYTHONHASHSEED": "0"}
    if setting.device == "cuda":
        return held | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PLATFORMS": "cuda"}
    return held | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}


class Process:
    """A competitor in a process of its own (see `benchmarks.worker`)."""

    first: float
    losses: list[float]
    memory: int

    def __init__(self, competitor: Competitor, path: Path, setting: Setting) -> None:
        reason = competitor.missing()
        if reason:
            raise LeftOutError(reason)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `close` closes it
        folders = [str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", competitor.name, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={
                **os.environ,
                **environment(setting),
                **competitor.environment,
                "TORCHINDUCTOR_CACHE_DIR": str(path.parent / "inductor"),  # so that its first step compiles
                "PYTHONPATH": os.pathsep.join(filter(None, folders)),
            },
        )
        if setting.device == "cpu" and hasattr(
            os, "sched_setaffinity"
        ):  # before it starts threads, which inherit it
            allowed = sorted(os.sched_getaffinity(0))[: setting.threads]
            os.sched_setaffinity(self._process.pid, set(allowed))

    def ready(self) -> None:
        """Wait until it has taken its first steps."""
        found = self._answer()
        if "reason" in found:
            self.close()
            raise LeftOutError(found["reason"])
        self.first, self.losses, self.memory = found["first"], found["losses"], found["memory"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Timer(PATIENCE, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        if late.is_alive():
            late.cancel()
        elif not line:
            raise LeftOutError(f"no answer within {PATIENCE:.0f} s")
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            raise LeftOutError(lines[-1] if lines else f"ended with status {self._process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def turn(self, steps: int, warm: int = 0) -> tuple[float, float]:
        """Take `steps` steps, after `warm` that do not count; return wall and processor seconds."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; what it says of that is read below
            print(json.dumps({"steps": steps, "warm": warm}), file=self._process.stdin, flush=True)
        answer = self._answer()
        self.memory = answer["memory"]
        return answer["wall"], answer["cpu"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()


def same(losses: Sequence[float], reference: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    """Tell whether two competitors compute the same thing."""
    return len(losses) == len(reference) and all(
        abs(a - b) <= tolerance * max(abs(b), 1e-3) for a, b in zip(losses, reference, strict=True)
    )


def compete(
    contestants: Mapping[str, Contestant],
    rounds: int,
    seconds: float,
    pause: float = 0.0,
    until: float = math.inf,
) -> dict[str, Result]:
    """Let contestants take turns of about `seconds`, `rounds` times.

    `pause` is the rest between turns, in which idle threads of the last one, which may spin for a while, go to sleep.
    No round but the first begins after the time `until`, as `time.monotonic` counts.
    """
    results = {name: Result(first=c.first, losses=c.losses) for name, c in contestants.items()}
    steps: dict[str, int] = {}
    for name, contestant in contestants.items():
        try:
            steps[name] = _steps(contestant, seconds)
        except LeftOutError as error:
            results[name] = Result(reason=str(error))
    for round_ in range(rounds):
        if round_ and time.monotonic() > until:
            break
        names = list(steps)
        start = round_ % max(1, len(names))  # so that nobody is always the first
        for name in names[start:] + names[:start]:
            count = steps[name]
            try:
                wall, cpu = contestants[name].turn(count, warm=-(-count // 4) if seconds else 0)
            except LeftOutError as error:
                results[name] = Result(reason=str(error))
                del steps[name]
                continue
            results[name].wall.append(wall / count)
            results[name].cpu.append(cpu / count)
            time.sleep(pause)
    for name in steps:
        results[name].memory = contestants[name].memory
    return results


def _steps(contestant: Contestant, seconds: float) -> int:
    """Return how many steps fill a turn."""
    if not seconds:
        return 1
    contestant.turn(2)  # some compile again for a step that follows another one
    wall, steps = contestant.turn(1)[0], 1
    while wall < seconds / 4 and steps < 10**6:
        steps = max(steps * 2, int(steps * seconds / 2 / max(wall, 1e-7)))
        wall = contestant.turn(steps)[0]
    return max(1, round(steps * seconds / max(wall, 1e-9)))


def fastest(results: Mapping[str, Result], among: Sequence[str]) -> str | None:
    """Return the name of the fastest of `among`, by the median; None where none took part."""
    took_part = [name for name in among if name in results and not results[name].reason]
    return min(took_part, key=lambda name: results[name].median, default=None)


class Ratio(NamedTuple):
    """How many times as long as another one takes: by the medians, round by round, and by processor time."""

    of_medians: float
    of_rounds: float
    of_processor: float


def ratios(results: Mapping[str, Result], to: str | None) -> dict[str, Ratio]:
    """Return, by competitor, the ratios to what `to` took."""
    if to is None:
        return {}
    base = results[to]
    return {
        name: Ratio(
            result.median / base.median,
            statistics.median(a / b for a, b in zip(result.wall, base.wall, strict=True)),
            statistics.median(result.cpu) / statistics.median(base.cpu),
        )
        for name, result in results.items()
        if not result.reason
    }
