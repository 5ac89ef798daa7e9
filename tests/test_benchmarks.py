"""The benchmark's harness, with contestants whose times are made up. No time decides a test."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import report
from benchmarks.__main__ import measure
from benchmarks.case import read_case, write_case
from benchmarks.competitors import COMPETITORS, Competitor, ours, plain_numpy
from benchmarks.harness import LeftOutError, Process, Result, compete, fastest, ratios, same
from nnbackend import __main__ as command
from nnbackend import benchmarking


class Toy:
    """A contestant that says how long it took."""

    def __init__(self, *seconds, heard=None, name=""):
        self.seconds, self.heard, self.name = list(seconds), heard if heard is not None else [], name
        self.first, self.losses, self.memory = 1.0, [0.5], 7

    def turn(self, steps, warm=0):
        self.heard.append(self.name)
        wall = self.seconds.pop(0)
        return wall * steps, 2.0 * wall * steps

    def close(self):
        pass


def small(monkeypatch, name, **changes):
    """Make the workload of that name small."""
    workload = replace(benchmarking.WORKLOADS[name], **changes)
    monkeypatch.setitem(benchmarking.WORKLOADS, name, workload)
    return workload


SMALL = {
    "W1": {"batch": 8},
    "W4": {"sizes": (8, 8, 1), "batch": 2},
    "W5": {"sizes": (3, 4), "batch": 2},
    "W8-1": {"sizes": (5, 4, 3)},
    "W9": {"sizes": (10,)},
    "E1": {"sizes": (5, 4, 3), "batch": 8, "samples": 20, "validation": 6, "epochs": 1},
}


def test_medians_and_ratios_are_those_of_the_rounds():
    results = compete({"a": Toy(1.0, 6.0, 2.0), "b": Toy(2.0, 3.0, 10.0)}, rounds=3, seconds=0.0)
    assert results["a"].wall == [1.0, 6.0, 2.0]
    assert results["a"].cpu == [2.0, 12.0, 4.0]
    assert (results["a"].median, results["b"].median) == (2.0, 3.0)
    assert fastest(results, ["a", "b"]) == "a"
    assert ratios(results, "a")["b"] == (1.5, 2.0, 1.5)  # of rounds: the median of 2, 0.5 and 5
    assert (results["a"].first, results["a"].losses, results["a"].memory) == (1.0, [0.5], 7)


def test_each_round_begins_with_another_contestant():
    heard = []
    compete({name: Toy(1.0, 1.0, name=name, heard=heard) for name in "ab"}, rounds=2, seconds=0.0)
    assert heard == ["a", "b", "b", "a"]


def test_a_turn_has_as_many_steps_as_fill_it():
    class Steady(Toy):
        def turn(self, steps, warm=0):
            self.heard.append((steps, warm))
            return 0.01 * steps, 0.0

    steady = Steady()
    compete({"a": steady}, rounds=1, seconds=0.2)
    assert steady.heard[-1] == (20, 5)


def test_the_fastest_is_one_of_those_asked_for_that_took_part():
    results = {"ours": Result(wall=[1.0]), "gone": Result(reason="not installed"), "peer": Result(wall=[2.0])}
    assert fastest(results, ["gone", "peer"]) == "peer"
    assert fastest(results, ["gone"]) is None
    assert ratios(results, None) == {}


def test_same_means_the_same_losses():
    assert same([1.0, 0.5], [1.0005, 0.5])
    assert not same([1.0, 0.6], [1.0, 0.5])
    assert not same([1.0], [1.0, 0.5])


def test_a_peer_that_is_not_installed_is_listed_with_its_reason(monkeypatch, tmp_path):
    missing = Competitor("missing", "nowhere", ("no_such_library",), compiled=True)
    monkeypatch.setitem(COMPETITORS, "missing", missing)
    results = measure(benchmarking.WORKLOADS["W8-1"], [missing], 1, rounds=1, seconds=0.0)
    assert results["missing"].reason == "not installed: no_such_library"
    measured = {("W8-1", 1): results}
    assert "| missing | left out: not installed: no_such_library |" in "\n".join(
        report.table(benchmarking.WORKLOADS["W8-1"], 1, results)
    )
    report.write(tmp_path, measured, {"rounds": 1, "seconds": 0.0})
    (found,) = json.loads((tmp_path / "numbers.json").read_text())["measured"]
    assert found["results"]["missing"]["reason"] == "not installed: no_such_library"


def test_processes_take_turns_and_what_they_cannot_do_is_a_reason(monkeypatch, tmp_path):
    path = tmp_path / "case.npz"
    write_case("W8-1", 1, path)
    process = Process(COMPETITORS["plain NumPy"], path, 1)
    try:
        wall, cpu = process.turn(3, warm=1)
        assert wall > 0.0
        assert cpu >= 0.0
        assert len(process.losses) == 4
        assert len(set(process.losses)) == 1  # inference changes nothing
    finally:
        process.close()
    small(monkeypatch, "W6", sizes=(3, 8), batch=2)
    write_case("W6", 1, path)
    with pytest.raises(LeftOutError, match="has no transformer"):
        Process(COMPETITORS["plain NumPy"], path, 1)


@pytest.mark.parametrize("name", SMALL)
def test_plain_numpy_and_this_library_compute_the_same(name, monkeypatch, tmp_path):
    workload = small(monkeypatch, name, **SMALL[name])
    path = tmp_path / "case.npz"
    write_case(name, 1, path)
    case = read_case(path)
    plain = plain_numpy.KINDS[workload.kind](case)
    run = ours.KINDS[workload.kind](case, backend="numpy")
    steps = 1 if name == "E1" else 3  # shuffles differ
    tolerance = 0.1 if name == "E1" else 1e-4
    assert [run(1) for _ in range(steps)] == pytest.approx([plain(1) for _ in range(steps)], rel=tolerance)


@pytest.mark.parametrize("name", ["W6", "W7"])
def test_blocks_learn(name, monkeypatch):
    sizes = {"W6": {"sizes": (3, 8), "batch": 2}, "W7": {"sizes": (4, 4, 2), "batch": 2}}
    run = benchmarking.start(small(monkeypatch, name, **sizes[name]), "numpy")
    losses = [run(1) for _ in range(5)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_a_case_tells_competitors_all_they_need(tmp_path):
    path = tmp_path / "case.npz"
    write_case("W1", 2, path)
    case = read_case(path)
    assert case.threads == 2
    assert case.x.shape == (100, 2)
    assert case.optimizer == benchmarking.ADAM
    assert [kernel.shape for kernel, _ in case.layers] == [(2, 64), (64, 64), (64, 3)]


def test_the_short_form_prints_a_row_for_each_workload_and_backend(light, capsys, monkeypatch):
    small(monkeypatch, "W1", batch=8)
    assert command.main(["bench", "W1", "--backend", light.name, "--seconds", "0"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "Workload"
    assert row.split()[:2] == ["W1", light.name]


def test_an_unknown_workload_is_refused_with_the_nearest_name(capsys):
    assert command.main(["bench", "W3-256-31"]) == 2
    assert "Did you mean 'W3-256-32'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 us"), (5e-9, "5 ns")]
)
def test_times_are_written_in_the_unit_that_suits_them(seconds, words):
    assert benchmarking.in_words(seconds) == words
