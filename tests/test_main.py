"""The commands: ``python -m nnbackend info`` and ``agree``."""

import pytest

import nnbackend as nn
from nnbackend import __main__ as command
from nnbackend import agreement, trajectories
from nnbackend.backend import Availability


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(agreement, "CASES", agreement.CASES[:1])
    monkeypatch.setattr(agreement, "TRAJECTORIES", {})
    monkeypatch.setattr(trajectories, "TRAJECTORIES", agreement.TRAJECTORIES)


def block(lines, name):
    """Return the lines of a backend."""
    start = next(i for i, line in enumerate(lines) if line.startswith(name))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    return [line.strip() for line in lines[start:end]]


def test_info_lists_the_backend_under_test_with_version_device_memory_and_what_brings_it(backend, capsys):
    assert command.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = block(lines, backend.name)
    assert found[0].split()[:2] == [backend.name, "available"]
    assert len(found[0].split()) > 2  # the version
    assert any(line.startswith("device: ") for line in found)
    assert any(line.startswith("memory: ") and "GiB" in line for line in found)
    assert f"brought by: {type(backend).install}" in found


def test_info_says_why_a_backend_cannot_run_and_what_brings_it(monkeypatch):
    class Missing(type(nn.get_backend("numpy"))):
        install = "pip install it"

        @classmethod
        def probe(cls):
            return Availability(False, "It is not installed.")

    known = {"numpy": (type(nn.get_backend("numpy")), Availability(True, memory="1 GiB")), "missing": None}
    known["missing"] = (Missing, Missing.probe())
    monkeypatch.setattr(command, "probe_backends", lambda: known)
    assert block(command.info(), "missing") == [
        "missing not available",
        "why: It is not installed.",
        "brought by: pip install it",
    ]


@pytest.mark.usefixtures("small")
def test_agree_prints_the_table_and_its_status_says_whether_bounds_hold(
    backend, capsys, tmp_path, monkeypatch
):
    assert command.main(["agree", "--backend", backend.name, "--record", str(tmp_path)]) == 0
    assert "all within their bounds" in capsys.readouterr().out
    assert command.main(["agree", "--compare", str(tmp_path), "--summary"]) == 0
    assert f"\n| {agreement.CASES[0].topic} | " in capsys.readouterr().out
    monkeypatch.setattr(agreement, "_error", lambda *arguments: 1e9)
    assert command.main(["agree", "--compare", str(tmp_path)]) == 1
    assert "past their bounds" in capsys.readouterr().out


def test_agree_says_what_is_wrong_with_its_arguments(capsys, tmp_path):
    assert command.main(["agree", "--backend", "nunpy"]) == 2
    assert "Did you mean 'numpy'?" in capsys.readouterr().err
    assert command.main(["agree", "--compare", str(tmp_path)]) == 2
    assert "No agreement record at" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["agree"])
    assert "name a backend to record" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["agree", "--compare", str(tmp_path), "--device", "cuda:0"])
    assert "--device goes with --backend" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["agree", "--backend", "numpy", "--device", "cuda:0"])
    assert "'numpy' has no option 'device'; it takes threads, compiler." in capsys.readouterr().err
