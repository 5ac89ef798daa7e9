"""The command for machines with a GPU: it is tried here without one, little of everything."""

import dataclasses
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from benchmarks import machine
from benchmarks.device import __main__ as command
from benchmarks.device import agreeing, parts, running, tracing, training
from benchmarks.device.parts import PARTS, Options
from benchmarks.device.running import Outcome
from nnbackend import agreement, benchmarking

pytestmark = pytest.mark.xdist_group("device")  # one of them starts many processes


@pytest.fixture(autouse=True)
def _only_once(backend):
    if backend.name != "numpy":
        pytest.skip("the command chooses its backends itself")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "part.log"


def run(log, *programs, seconds=60.0):
    commands = [["-c", program] for program in programs]
    return running.run("part", commands, running.environment([]), log, seconds)


@pytest.mark.slow
def test_a_dry_run_goes_through_all_parts_and_keeps_what_it_finds(tmp_path, capsys):
    out = tmp_path / "results"
    asked = [
        "--dry",
        "--backend",
        "numpy",
        "--workers",
        "1",
        "--out",
        str(out),
    ]
    assert command.main([*asked, "--wheels", str(tmp_path)]) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    outcomes = running.kept(out)
    assert [o.status for o in outcomes.values()] == ["passed"] * (len(PARTS) - len(command.ONLY_ON_A_DEVICE))
    for name in outcomes:
        assert f"| {name} | passed |" in printed
        assert (out / f"{name}.log").read_text().startswith("$ python -m ")
    assert (out / "summary.md").read_text() in printed
    facts = json.loads((out / "facts.json").read_text())
    assert facts["bandwidth of a copy"].endswith("GB/s")
    assert facts["products"]["float32, highest of a batch"].endswith("TFLOP/s")
    names = sorted(path.name for path in (out / "records").glob("*.safetensors"))
    assert names == ["numpy-tf32.safetensors", "numpy.safetensors"]
    assert "products of 'high' precision" in (out / "records" / "numpy-tf32.txt").read_text()
    assert json.loads((out / "training.json").read_text()) == {"W1": 0.0}
    assert "| plain NumPy |" in (out / "benchmark" / "table.md").read_text()
    assert "W2 compiled on numpy: " in (out / "profile.txt").read_text()
    assert " passed" in outcomes["tests"].words
    assert "skipped" in outcomes["device-tests"].words


def test_a_part_goes_on_after_a_failure_and_says_what_failed(log):
    outcome = run(log, "print('one'); raise SystemExit(3)", "print('two')", "raise ValueError('three')")
    assert outcome.status == "failed"
    assert outcome.words == "one (exit status 3); ValueError: three (exit status 1)"
    assert [line for line in log.read_text().splitlines() if line in ("one", "two")] == ["one", "two"]
    assert run(log, "print('fine')") == Outcome("part", "passed", pytest.approx(0, abs=60), "fine")


@pytest.fixture
def time_is_up(log, monkeypatch):
    """Let the time of a program be up as soon as it has said something."""

    class Program(subprocess.Popen):
        asked = 0

        def wait(self, timeout=None):
            self.asked += 1
            while self.asked == 1 and not log.read_text().endswith(("\nbegins\n", "\ndeaf\n")):
                time.sleep(0.01)
            if self.asked == 1:
                raise subprocess.TimeoutExpired("program", timeout)
            return super().wait(timeout)

    monkeypatch.setattr(running.subprocess, "Popen", Program)


WAITS = """
import time
try:
    print("begins", flush=True)
    while True:
        time.sleep(0.01)  # one long wait would not see a signal that comes just before it
except KeyboardInterrupt:
    print("so far")
"""


@pytest.mark.usefixtures("time_is_up")
def test_a_part_that_takes_too_long_is_asked_to_end_and_may_say_what_it_has(log):
    outcome = run(log, WAITS, "print('never')")
    assert (outcome.status, outcome.words) == ("out of time", "ended after 60 s: so far")
    assert "never" not in log.read_text().splitlines()


@pytest.mark.usefixtures("time_is_up")
def test_a_part_that_does_not_end_when_asked_is_ended(log, monkeypatch):
    monkeypatch.setattr(running, "GRACE", 0.1)
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    assert run(log, deaf).words == "ended after 60 s: deaf"


def test_parts_that_fail_or_find_no_time_do_not_end_the_others(tmp_path, capsys, monkeypatch):
    def part(name, program):
        return parts.Part(name, "a part", 1.0, lambda options: [["-c", program]])

    known = {"a": part("a", "raise SystemExit('broken')"), "b": part("b", "print('done')")}
    monkeypatch.setattr(command, "PARTS", known)
    asked = ["--out", str(tmp_path), "--wheels", str(tmp_path)]
    assert command.main(asked) == 1
    assert "| a | failed |" in capsys.readouterr().out
    assert running.kept(tmp_path)["b"].words == "done"
    assert command.main([*asked, "--parts", "b"]) == 0
    assert "| a | failed |" in capsys.readouterr().out  # of the run before
    assert command.main([*asked, "--parts", "b", "--minutes", "0"]) == 1
    assert "| b | left out | 0 s | no time was left |" in capsys.readouterr().out


def test_what_interrupts_a_part_is_written_and_the_rest_is_left_out(tmp_path, capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupt)
    assert (
        command.main(["--out", str(tmp_path), "--wheels", str(tmp_path), "--parts", "facts", "profile"]) == 1
    )
    found = running.kept(tmp_path)
    assert (found["facts"].words, found["profile"].words) == ("interrupted", "no time was left")


def test_wheels_of_what_is_missing_are_unpacked(tmp_path):
    for name in ("not_installed_anywhere", "numpy"):
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
    to = tmp_path / "packages"
    assert running.unpack(tmp_path, to) == ["not_installed_anywhere"]
    assert [path.name for path in to.iterdir()] == ["not_installed_anywhere"]
    assert str(to) in running.environment([to])["PYTHONPATH"]
    assert running.unpack(tmp_path / "nowhere", to) == []


def test_the_command_itself_needs_nothing_that_a_wheel_may_bring(log):
    program = "import sys, benchmarks.device.__main__; print(sorted({'nnbackend', 'cupy', 'torch'} & set(sys.modules)))"
    assert run(log, program).words == "[]"


def test_on_a_gpu_records_are_named_after_it_and_the_benchmark_runs_there(monkeypatch):
    monkeypatch.setattr(machine, "accelerator", lambda: "NVIDIA H200, 143771 MiB, 580.159.04")
    options = Options("cupy", Path("/out"), workers=4)
    exact, tf32 = PARTS["agreement"].commands(options)
    assert exact[exact.index("--name") + 1] == "cupy-nvidia-h200"
    assert tf32[tf32.index("--name") + 1] == "cupy-nvidia-h200-tf32"
    assert tf32[-2:] == ["--precision", "high"]
    torch, jax = PARTS["peers"].commands(options)
    assert {"torch-nvidia-h200", "cuda"} <= set(torch)
    assert "jax-nvidia-h200" in jax
    (benchmark,) = PARTS["benchmark"].commands(options)
    assert benchmark[benchmark.index("--device") + 1] == "cuda"
    assert "mixed_bfloat16" in benchmark
    (tests,) = PARTS["tests"].commands(options)
    assert tests[tests.index("--backend") + 1] == "cupy"
    assert tests[-1] == "tests"
    (few,) = PARTS["tests"].commands(dataclasses.replace(options, dry=True))
    assert few[-1] == "tests/test_tree.py"


@pytest.mark.parametrize(
    ("found", "worst"), [([1.0, -2.0], 0.0), ([1.0, -2.0 + 2e-8], 1e-8), ([1.0, np.nan], np.inf)]
)
def test_trainings_are_apart_by_a_part_of_the_largest(found, worst):
    assert training.apart({"a": np.asarray(found)}, {"a": np.asarray([1.0, -2.0])}) == pytest.approx(worst)


def test_what_is_compared_of_a_training_is_determined_by_it():
    changes = training.SMALL["W6"] | {"sizes": (3, 8), "batch": 2}
    workload = dataclasses.replace(benchmarking.look_up("W6"), dtype="float64", **changes)
    found = training.trained(workload, "numpy", 2)
    assert found["losses"].shape == (2,)
    assert found["outputs"].shape == (2, 3, 8)
    assert any(path.endswith("query/bias") for path in found)
    assert not any(path.endswith("key/bias") for path in found)


def test_trainings_that_went_apart_fail(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(training, "apart", lambda found, expected: 2e-9)
    assert training.main(["--backend", "numpy", "--dry", "--out", str(tmp_path / "training.json")]) == 1
    assert "at most 2.0e-09 (target: 1e-09)" in capsys.readouterr().out


def test_a_record_past_its_bounds_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(agreement, "CASES", agreement.CASES)
    monkeypatch.setattr(agreement, "TRAJECTORIES", few := dict(agreement.TRAJECTORIES))
    monkeypatch.setattr(agreeing, "TRAJECTORIES", few)
    monkeypatch.setattr(agreement, "_error", lambda *arguments: 1e9)
    asked = ["--backend", "numpy", "--dry", "--name", "mine", "--out", str(tmp_path)]
    assert agreeing.main(asked) == 1
    assert "mine: past their bounds; trainings in float64 off by 2.2e-07" in capsys.readouterr().out


def test_a_case_that_raises_leaves_the_others(monkeypatch, tmp_path, capsys):
    cases = [case for case in agreement.CASES if case.name in ("exp", "log")]
    monkeypatch.setattr(agreement, "CASES", cases)
    monkeypatch.setattr(agreement, "TRAJECTORIES", {})
    compute = type(cases[0]).compute

    def broken(case, backend, dtype):
        if case.name == "exp" and dtype == "float32":
            raise RuntimeError("no algorithm")
        return compute(case, backend, dtype)

    monkeypatch.setattr(type(cases[0]), "compute", broken)
    with pytest.raises(RuntimeError, match="no algorithm"):
        agreement.record("numpy", tmp_path)
    asked = ["--backend", "numpy", "--name", "mine", "--precision", "high", "--out", str(tmp_path)]
    assert agreeing.main(asked) == 1
    printed = capsys.readouterr().out
    assert "exp in float32 failed:\nTraceback" in printed
    assert "exp on mine in float32: value0 is missing" in printed
    assert "1 past their bounds" in printed


@pytest.mark.parametrize("program", [training, tracing])
def test_a_workload_that_raises_leaves_the_others(program, monkeypatch, tmp_path, capsys):
    def broken(workload, *arguments):
        if workload.name == "W1":
            raise RuntimeError("no algorithm")
        return 0.5

    monkeypatch.setattr(training, "trained", lambda workload, *_: {"losses": np.full(1, broken(workload))})
    monkeypatch.setattr(training, "SMALL", {"W1": {}, "W2": {}})
    monkeypatch.setattr(tracing, "_profiled", broken)
    more = ["--workloads", "W1", "W2"] if program is tracing else []
    assert program.main(["--backend", "numpy", "--out", str(tmp_path / "found"), *more]) == 1
    printed = capsys.readouterr().out
    assert "RuntimeError: no algorithm" in printed
    assert ("W2 0.5" if program is tracing else "small: off by 0.0e+00") in printed


def test_a_profile_names_the_functions_that_take_the_time():
    def busy(steps):
        return float(sum(range(steps)))

    assert "busy" in tracing.on_the_host(busy, 10)


def test_a_profile_counts_what_the_device_did_in_a_step(monkeypatch):
    def event(name, microseconds, device="DeviceType.CUDA"):
        return SimpleNamespace(
            name=name, device_type=device, time_range=SimpleNamespace(elapsed_us=lambda: microseconds)
        )

    class Profile:
        def __init__(self, activities):
            assert activities == ["the device"]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def events(self):
            return [
                event("gemm", 30.0),
                event("adam", 10.0),
                event("gemm", 30.0),
                event("launch", 9.0, "CPU"),
            ]

    profiler = ModuleType("torch.profiler")
    profiler.ProfilerActivity, profiler.profile = SimpleNamespace(CUDA="the device"), Profile
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "torch.profiler", profiler)
    first, *rows = tracing.on_the_device(lambda steps: 0.0, 2)
    assert first.startswith("1.5 kernels and copies a step; the device is busy 35 us of ")
    assert rows == ["     30.00 us a step,    1.0 times  gemm", "      5.00 us a step,    0.5 times  adam"]
