"""One competitor in a process of its own: it makes ready, then takes turns when the coordinator says so.

Libraries in one process would share what they set up (threads, allocators, flags), and memory could not be told apart.
The coordinator writes a line of JSON, ``{"steps": k}``, and gets one back with the seconds that k steps took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from benchmarks.case import read_case
from benchmarks.competitors import COMPETITORS

#: Losses compared before any time is taken: the first, and those after some steps.
COMPARED = 4


def _answers() -> TextIO:
    """Return where answers go; what libraries print goes to the errors."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _bytes_of(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell {field}")


def start_counting_memory() -> int:
    """Return the memory in use, in bytes, and let the peak begin here where the system can do so."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _bytes_of("VmRSS")
    except OSError:
        return peak_memory()


def peak_memory() -> int:
    """Return the most memory that was in use, in bytes."""
    try:
        return _bytes_of("VmHWM")  # unlike ru_maxrss not inherited from the process that started this one
    except OSError:
        import resource  # which Windows has not

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _timed(run: Any, steps: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run(steps)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main(name: str, path: str) -> None:
    """Make ready, answer with what was found, and take turns until the input ends."""
    answers = _answers()

    def answer(**facts: Any) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    competitor = COMPETITORS[name]
    begin = time.perf_counter()
    kinds = competitor.load().KINDS
    imported = time.perf_counter() - begin
    case = read_case(Path(path))
    if case.kind not in kinds:
        return answer(reason=f"has no {case.kind}")
    baseline = start_counting_memory()

    def memory() -> int:
        if case.setting.device == "cpu":
            return peak_memory() - baseline
        return int(competitor.load().peak_device_memory())

    begin = time.perf_counter()
    try:
        run = kinds[case.kind](case, **competitor.options)
    except NotImplementedError as error:
        return answer(reason=str(error))
    losses = [run(1)]
    first = time.perf_counter() - begin
    if case.kind != "fit":
        losses += [run(1) for _ in range(COMPARED - 1)]
    answer(imported=imported, first=first, losses=losses, memory=memory())
    for line in sys.stdin:
        turn = json.loads(line)
        if turn["warm"]:
            run(turn["warm"])  # the others have had the caches
        answer(**_timed(run, turn["steps"]), memory=memory())


if __name__ == "__main__":
    main(*sys.argv[1:])
