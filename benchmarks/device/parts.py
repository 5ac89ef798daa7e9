"""The parts of the command: what each one runs, and how long it may take."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks import machine
from benchmarks.case import PRECISIONS

__all__ = ["PARTS", "Options", "Part", "slug"]

#: One program after the other: what stands behind ``python``.
Commands: TypeAlias = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Options:
    """What the command was asked for.

    Attributes
    ----------
    backend : str
        What is looked at; "cupy" on a GPU.
    out : Path
        The folder of all results.
    dry : bool
        Whether little of everything will do.
    workers : int
        How many processes run the whole suite.
    tests : tuple of str
        Files and folders instead of the whole suite, or of one short file in a dry run.
    rounds : int
        Of the benchmark.
    minutes : float
        What is left of the time.
    """

    backend: str
    out: Path
    dry: bool = False
    workers: int = 1
    tests: tuple[str, ...] = ()
    rounds: int = 7
    minutes: float = 60.0

    @property
    def device(self) -> str:
        """Where the benchmark has its arrays."""
        return "cuda" if self.backend == "cupy" else "cpu"


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes
    ----------
    name, words : str
        What it is called, and what it finds out.
    minutes : float
        How long it may take.
    commands : callable
        Returns its programs.
    """

    name: str
    words: str
    minutes: float
    commands: Callable[[Options], Commands]


def slug(words: str) -> str:
    """Write words so that they can name a file: ``"NVIDIA H200"`` becomes ``"nvidia-h200"``."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def record_name(options: Options) -> str:
    """Return what records of this machine are called: the backend and its device."""
    found = machine.accelerator() if options.backend == "cupy" else ""
    return "-".join(filter(None, (options.backend, slug(found.partition(",")[0]))))


def _facts(options: Options) -> Commands:
    dry = ["--dry"] if options.dry else []
    return [
        ["-m", "nnbackend", "info"],
        [
            "-m",
            "benchmarks.device.facts",
            "--backend",
            options.backend,
            "--out",
            str(options.out / "facts.json"),
            *dry,
        ],
    ]


def _pytest(options: Options, name: str, *arguments: str) -> list[str]:
    junit = f"--junitxml={options.out / name}.xml"
    shown = ("-v", "--tb=short", "--durations=30", "-p", "no:cacheprovider", junit)
    return ["-m", "pytest", "--backend", options.backend, *shown, *arguments]


def _device_tests(options: Options) -> Commands:
    return [_pytest(options, "device-tests", "tests/backends/test_cupy_device.py")]


def _tests(options: Options) -> Commands:
    together = ["-n", str(options.workers), "--dist", "loadgroup"]
    if options.workers < 2 or importlib.util.find_spec("xdist") is None:
        together = []
    tests = options.tests or (("tests/test_tree.py",) if options.dry else ("tests",))
    return [_pytest(options, "tests", *together, *tests)]


def _agreement(options: Options) -> Commands:
    program = ["-m", "benchmarks.device.agreeing", "--out", str(options.out / "records")]
    program += ["--dry"] if options.dry else []
    name = record_name(options)
    return [
        [*program, "--backend", options.backend, "--name", name],
        [*program, "--backend", options.backend, "--name", f"{name}-tf32", "--precision", "high"],
    ]


def _peers(options: Options) -> Commands:
    program = ["-m", "benchmarks.device.agreeing", "--out", str(options.out / "records")]
    name = record_name(options).partition("-")[2]
    return [
        [*program, "--backend", "torch", "--device", "cuda", "--name", f"torch-{name}"],
        [*program, "--backend", "jax", "--name", f"jax-{name}"],
    ]


def _training(options: Options) -> Commands:
    program = ["-m", "benchmarks.device.training", "--backend", options.backend]
    return [[*program, "--out", str(options.out / "training.json"), *(["--dry"] if options.dry else [])]]


def _benchmark(options: Options) -> Commands:
    program = ["-m", "benchmarks", "--device", options.device, "--append", "--missing"]
    # a workload that is begun is to be finished
    program += ["--output", str(options.out / "benchmark"), "--minutes", f"{0.9 * options.minutes:.2f}"]
    if options.dry:
        few = ["W8-1", "--only", "nnbackend numpy", "plain NumPy", "--rounds", "1", "--seconds", "0.01"]
        return [[*program, *few, "--threads", "1"]]
    turns = ["--rounds", str(options.rounds), "--seconds", "0.2"]
    return [[*program, *turns, "--precision", *PRECISIONS]]


def _profile(options: Options) -> Commands:
    program = ["-m", "benchmarks.device.tracing", "--backend", options.backend]
    wanted = ["--steps", "3"] if options.dry else ["--workloads", "W2", "W1", "W3", "W4", "W5", "W6", "W7"]
    return [[*program, "--out", str(options.out / "profile.txt"), *wanted]]


#: In order: what is short and decides about the rest comes first.
PARTS = {
    part.name: part
    for part in (
        Part("facts", "versions, bandwidth, rates of products, what can be captured", 4, _facts),
        Part("device-tests", "the tests of what only a device can show", 8, _device_tests),
        Part(
            "agreement", "records in every dtype, TF32 off and on, against NumPy in float64", 15, _agreement
        ),
        Part("training", "100 steps in float64 against NumPy, to 1e-9", 8, _training),
        Part("benchmark", "this library beside its peers", 60, _benchmark),
        Part("profile", "where the time of steps goes, captured and run eagerly", 8, _profile),
        Part("tests", "the whole test suite", 60, _tests),
        Part("peers", "records of PyTorch and JAX on the same device", 15, _peers),
    )
}
