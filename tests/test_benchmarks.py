"""The benchmark's harness, with contestants whose times are made up. No time decides a test."""

import importlib
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import __main__ as benchmark
from benchmarks import report
from benchmarks.__main__ import MIXED, ON_A_DEVICE, measure, plan, settings
from benchmarks.case import Setting, read_case, write_case
from benchmarks.competitors import COMPETITORS, Competitor, ours, plain_numpy
from benchmarks.harness import LeftOutError, Process, Result, compete, environment, fastest, ratios, same
from benchmarks.machine import machine
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
    compete({"a": steady}, rounds=1, seconds=0.011)
    assert steady.heard[-1] == (1, 1)  # what the others left in the caches is gone before time is taken


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
    results = measure(benchmarking.WORKLOADS["W8-1"], [missing], Setting(), rounds=1, seconds=0.0)
    assert results["missing"].reason == "not installed: no_such_library"
    measured = {("W8-1", Setting()): report.Measurement(results, "2026-01-01")}
    assert "| missing | left out: not installed: no_such_library |" in "\n".join(
        report.table(benchmarking.WORKLOADS["W8-1"], Setting(), results)
    )
    report.write(tmp_path, "cpu", measured, machine())
    (found,) = json.loads((tmp_path / "numbers.json").read_text())["measured"]
    assert found["results"]["missing"]["reason"] == "not installed: no_such_library"


def test_processes_take_turns_and_what_they_cannot_do_is_a_reason(monkeypatch, tmp_path):
    path = tmp_path / "case.npz"
    write_case("W8-1", Setting(), path)
    process = Process(COMPETITORS["plain NumPy"], path, Setting())
    try:
        process.ready()
        wall, cpu = process.turn(3, warm=1)
        assert wall > 0.0
        assert cpu >= 0.0
        assert len(process.losses) == 4
        assert len(set(process.losses)) == 1  # inference changes nothing
    finally:
        process.close()
    small(monkeypatch, "W6", sizes=(3, 8), batch=2)
    write_case("W6", Setting(), path)
    with pytest.raises(LeftOutError, match="has no transformer"):
        Process(COMPETITORS["plain NumPy"], path, Setting()).ready()


@pytest.mark.parametrize("name", SMALL)
def test_plain_numpy_and_this_library_compute_the_same(name, monkeypatch, tmp_path):
    workload = small(monkeypatch, name, **SMALL[name])
    path = tmp_path / "case.npz"
    write_case(name, Setting(), path)
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
    write_case("W1", Setting(2, "cuda", "high"), path)
    case = read_case(path)
    assert case.threads == 2
    assert case.setting == Setting(2, "cuda", "high")
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


def some_results(step=1.0, peer=2.0):
    return {
        "nnbackend numpy": Result(losses=[0.5], wall=[step], cpu=[step]),
        "PyTorch eager": Result(losses=[0.5], wall=[peer], cpu=[peer]),
    }


@pytest.fixture
def quick(monkeypatch):
    """Let measuring take no time; tells what was measured."""
    heard = []

    def pretend(workload, competitors, setting, *rest):
        heard.append((workload.name, setting.words))
        return some_results(len(heard))

    monkeypatch.setattr(benchmark, "measure", pretend)
    return heard


def test_a_run_in_pieces_keeps_what_it_has_and_measures_what_is_missing(quick, tmp_path, capsys):
    options = ["--threads", "1", "--output", str(tmp_path)]
    assert benchmark.main(["W1", *options]) == 0
    assert benchmark.main(["W1", "W2", *options, "--append", "--missing"]) == 0
    assert quick == [("W1", "1 thread"), ("W2", "1 thread")]
    text = (tmp_path / "table.md").read_text()
    assert "| W1 | 1 thread | 1.2 | 0.50 | 1.00 |" in text
    assert "| W2 | 1 thread | 1.15 | 1.00 | 1.00 |" in text
    assert benchmark.main(["W1", *options, "--append"]) == 0  # measured anew
    assert "| W1 | 1 thread | 1.2 | 1.50 | 1.00 |" in (tmp_path / "table.md").read_text()
    assert (
        "Targets not reached: W1, 1 thread: 1.50, the target is 1.2." in (tmp_path / "table.md").read_text()
    )
    assert benchmark.main(["W5", *options]) == 0
    assert "| W1 |" not in (tmp_path / "table.md").read_text()
    capsys.readouterr()
    assert benchmark.main(["W3", *options, "--append", "--minutes", "0"]) == 0
    assert "No time was left for W3, 1 thread." in capsys.readouterr().out


def test_numbers_of_another_machine_are_not_mixed_in(quick, tmp_path, capsys):
    options = ["W1", "--threads", "1", "--output", str(tmp_path), "--append"]
    assert benchmark.main(options) == 0
    path = tmp_path / "numbers.json"
    kept = json.loads(path.read_text())
    kept["machine"]["processor"] = "another"
    path.write_text(json.dumps(kept))
    assert benchmark.main(options) == 2
    assert (
        "was measured on another machine or with other versions (processor differ)" in capsys.readouterr().err
    )
    assert len(quick) == 1


@pytest.mark.usefixtures("quick")
def test_words_written_by_hand_stand_below_the_last_table_of_their_workload(tmp_path):
    assert benchmark.main(["W1", "W2", "--threads", "1", "--output", str(tmp_path)]) == 0
    words = "# Explanations\n\n## All\n\nA quiet machine.\n\n## W1\n\nCalls bound it.\n"
    (tmp_path / "explanations.md").write_text(words)
    assert benchmark.main(["--write", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "table.md").read_text()
    assert text.index("A quiet machine.") < text.index("### W1")
    assert text.index("### W1") < text.index("Calls bound it.") < text.index("### W2")
    (tmp_path / "explanations.md").write_text("## W99\n\nNothing.\n")
    with pytest.raises(ValueError, match="Unknown workload 'W99'"):
        benchmark.main(["--write", "--output", str(tmp_path)])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_tables_kept_are_those_of_the_numbers_kept(device, tmp_path):
    table, numbers, explanations = report.FILES[device]
    if not (benchmark.RESULTS / numbers).is_file():
        pytest.skip(f"nothing was measured on {device} yet")
    for name in (numbers, explanations):
        if (benchmark.RESULTS / name).is_file():
            (tmp_path / name).write_bytes((benchmark.RESULTS / name).read_bytes())
    assert report.render(tmp_path, device).read_text() == (benchmark.RESULTS / table).read_text()


def test_a_contestant_that_ends_is_left_out_and_the_others_go_on():
    class Ends(Toy):
        def turn(self, steps, warm=0):
            raise LeftOutError("ended with status 1")

    results = compete({"a": Ends(), "b": Toy(1.0, 1.0)}, rounds=2, seconds=0.0)
    assert results["a"].reason == "ended with status 1"
    assert results["b"].wall == [1.0, 1.0]


def test_no_round_but_the_first_begins_when_time_is_up():
    assert compete({"a": Toy(1.0, 1.0)}, rounds=2, seconds=0.0, until=0.0)["a"].wall == [1.0]


def test_on_a_device_precisions_take_the_place_of_threads():
    chosen = list(settings("cuda", [1, 2], ["highest", "high", "mixed_bfloat16"]))
    assert [setting.words for setting in chosen] == ["float32", "TF32", "bfloat16"]
    planned = [(workload.name, setting.words) for workload, setting in plan([], chosen)]
    assert planned[: len(ON_A_DEVICE)] == [(name, "float32") for name in ON_A_DEVICE]
    assert ("W9-large", "TF32") not in planned  # an update has no products
    assert planned[-len(MIXED) :] == [(name, "bfloat16") for name in MIXED]
    assert [setting.words for setting in settings("cpu", [1], ["high"])] == ["1 thread"]


def test_competitors_take_part_where_they_can_run():
    def names(kind, device):
        return {name for name, c in COMPETITORS.items() if c.takes_part(kind, device)}

    assert {"nnbackend cupy", "nnbackend cupy, run eagerly", "torch.compile, reduce-overhead"} <= names(
        "mlp", "cuda"
    )
    assert not {"nnbackend numpy", "plain NumPy", "Keras on JAX", "PyTorch DataLoader"} & names("mlp", "cuda")
    assert "nnbackend cupy, cuDNN" in names("residual", "cuda") - names("mlp", "cuda")
    assert not {"nnbackend cupy", "torch.compile, reduce-overhead", report.COPY} & names("update", "cpu")
    assert report.COPY in names("update", "cuda")
    assert report.COPY not in names("mlp", "cuda")


def test_a_gpu_table_says_bandwidth_and_what_capturing_gains(tmp_path):
    def result(step):
        return Result(losses=[0.5], wall=[step], cpu=[step], memory=2**20)

    update = {
        name: result(step)
        for name, step in (("nnbackend cupy", 2e-3), ("PyTorch eager", 4e-3), (report.COPY, 1e-3))
    }
    steps = {
        "nnbackend cupy": result(1.0),
        "nnbackend cupy, run eagerly": result(6.0),
        "JAX jit, optax": result(2.0),
    }
    measured = {
        ("W2", Setting(1, "cuda")): report.Measurement(steps, "2026-01-01"),
        ("W9-large", Setting(1, "cuda", "high")): report.Measurement(update, "2026-01-02"),
    }
    report.write(tmp_path, "cuda", measured, machine("cuda") | {"device": "a GPU"})
    text = (tmp_path / "gpu.md").read_text()
    assert "a GPU, " in text
    assert "### W2: MLP 784-128-128-10, batch 128, Adam; float32" in text
    assert "Captured, a step is 6.0 times as fast as run eagerly (target: 5)." in text
    assert "Of the 2800 GB/s of a copy: nnbackend cupy 50 %, PyTorch eager 25 % (target: 80 %)." in text
    assert "| W9-large | TF32 |  | 0.50 |  | 1.00 |  |" in text


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("name", ["W1", "W9"])
def test_steps_are_the_same_compiled_and_run_eagerly(name, run_eagerly, light, monkeypatch):
    workload = small(monkeypatch, name, **SMALL[name])
    run, usual = (benchmarking.start(workload, light, eager) for eager in (run_eagerly, False))
    assert [run(1) for _ in range(4)] == pytest.approx([usual(1) for _ in range(4)], rel=1e-5)


class Pretended(Toy):
    """Takes the place of a process; `ready` of all must be called before one of them returns."""

    reasons, values = {}, {}
    barrier = None

    def __init__(self, competitor, path, setting):
        super().__init__(*[1.0] * 9)
        self.name, self.losses = competitor.name, [self.values.get(competitor.name, 0.5)]

    def ready(self):
        if self.barrier is not None:
            self.barrier.wait(60)
        if self.name in self.reasons:
            raise LeftOutError(self.reasons[self.name])


def pretended_on_a_gpu(monkeypatch, **changes):
    chosen = [
        COMPETITORS[name] for name in ("nnbackend cupy", "PyTorch eager", "JAX jit, optax", report.COPY)
    ]
    for name, value in changes.items():
        monkeypatch.setattr(Pretended, name, value)
    monkeypatch.setattr(benchmark, "Process", Pretended)
    monkeypatch.setattr(benchmark, "write_case", lambda *arguments: None)
    return measure(benchmarking.WORKLOADS["W9"], chosen, Setting(1, "cuda"), rounds=1, seconds=0.0)


def test_on_a_device_all_make_ready_at_the_same_time(monkeypatch):
    results = pretended_on_a_gpu(
        monkeypatch, barrier=threading.Barrier(4), reasons={"nnbackend cupy": "no capture"}
    )
    assert {name: result.reason for name, result in results.items() if result.reason} == {
        "nnbackend cupy": "no capture"
    }
    assert results[report.COPY].wall == [1.0]


def test_who_differs_from_the_first_peer_computes_another_thing(monkeypatch):
    results = pretended_on_a_gpu(monkeypatch, values={"nnbackend cupy": 0.6, report.COPY: 0.0})
    assert "computes another thing: losses [0.6], expected [0.5]" in results["nnbackend cupy"].reason
    assert not any(results[name].reason for name in ("PyTorch eager", "JAX jit, optax", report.COPY))


def test_a_run_without_this_library_fails_and_says_why(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        benchmark, "measure", lambda *rest: some_results() | {"nnbackend numpy": Result(reason="broken")}
    )
    assert benchmark.main(["W1", "--threads", "1", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().out.endswith("nnbackend numpy is left out of W1, 1 thread: broken\n")


def test_jax_does_not_fall_back_to_the_processor():
    assert environment(Setting(4, "cuda"))["JAX_PLATFORMS"] == "cuda"
    assert "CUDA_VISIBLE_DEVICES" not in environment(Setting(4, "cuda"))
    assert environment(Setting(1))["CUDA_VISIBLE_DEVICES"] == "-1"


PEERS = {"torch": ("pytorch", "mode"), "jax": ("jax_optax", None)}


def losses_of(library, case, **options):
    module, _ = PEERS[library]
    run = importlib.import_module(f"benchmarks.competitors.{module}").KINDS[case.kind](case, **options)
    return [run(1) for _ in range(3)]


@pytest.fixture
def peer(backend):
    """The peer whose library is under test: the code that runs on a GPU runs on a processor here."""
    if backend.name not in PEERS:
        pytest.skip("for --backend torch and --backend jax")
    if backend.name == "torch":
        import torch

        before = torch.get_num_threads(), torch.get_float32_matmul_precision()
        yield backend.name
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, False
    else:
        import jax

        yield backend.name
        jax.config.update("jax_default_matmul_precision", None)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("highest", 1e-4), ("high", 1e-4), ("mixed_bfloat16", 3e-2), ("mixed_float16", 1e-2)],
)
def test_peers_compute_the_same_in_every_precision(precision, tolerance, peer, monkeypatch, tmp_path):
    small(monkeypatch, "W1", **SMALL["W1"])
    path = tmp_path / "case.npz"
    write_case("W1", Setting(1, "cpu", precision), path)
    case = read_case(path)
    options = {"mode": "eager"} if peer == "torch" else {}
    expected = plain_numpy.KINDS["mlp"](case)
    assert losses_of(peer, case, **options) == pytest.approx([expected(1) for _ in range(3)], rel=tolerance)


@pytest.mark.parametrize("name", ["W1", "W4"])
def test_optimizers_by_hand_are_those_of_the_others(name, peer, monkeypatch, tmp_path):
    if peer != "jax":
        pytest.skip("for --backend jax")
    from benchmarks.competitors import jax_optax, jax_optimizers

    monkeypatch.setattr(jax_optax, "optax", jax_optimizers)
    workload = small(monkeypatch, name, **SMALL[name])
    path = tmp_path / "case.npz"
    write_case(name, Setting(), path)
    case = read_case(path)
    expected = plain_numpy.KINDS[workload.kind](case)
    assert losses_of("jax", case) == pytest.approx([expected(1) for _ in range(3)], rel=1e-4)
