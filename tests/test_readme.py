"""What the README says to paste works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnbackend.__main__ import layer_table
from nnbackend.backend import Backend

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_code_in_the_readme_runs(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sklearn", reason='needs scikit-learn: pip install "nnbackend[examples]"')
    if backend.name != "numpy":
        pytest.skip("the README shows NumPy")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks("python"), start=1):
        exec(compile(block, f"README.md, block {number}", "exec"), names)  # noqa: S102 - our own text
    assert names["history"].history["val_accuracy"][-1] > 0.8
    assert (tmp_path / "model.safetensors").exists()


def test_the_lines_to_paste_are_complete_lines():
    """Each makes its environment, and names scripts and files that are there."""
    digits, tests = blocks("sh")
    for line in (digits, tests):
        assert line.count("\n") == 1
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert (README.parent / digits.split()[-1]).is_file()
    assert tests.rstrip().endswith(".venv/bin/nox")


def test_the_map_names_rooms_that_are_there():
    map_of_rooms = README.read_text(encoding="utf-8").partition("## The rooms")[2]
    listing = re.search(r"^```\n(.*?)^```$", map_of_rooms, re.DOTALL | re.MULTILINE)
    assert listing is not None
    for line in listing[1].splitlines():
        folder = README.parent / "nnbackend" if line.startswith("  ") else README.parent
        for name in re.findall(r"(?:^|(?<=  ))[a-z_]+(?:/|\.py)(?=\s|$)", line.strip()):
            assert (folder / name).exists(), f"{name} is on the map, but not in {folder.name}/"


def test_the_table_of_layers_is_what_the_code_says():
    text = README.read_text(encoding="utf-8")
    table = re.search(r"<!-- layer-table: .*? -->\n(.*?)\n<!-- end of layer-table -->", text, re.DOTALL)
    assert table is not None
    assert table[1].splitlines() == layer_table(), "paste what `python -m nnbackend layers` prints"
