"""The examples run on every backend, reach what they promise, and say in words what is missing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from nnbackend.backend import Backend

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Import an example as if it were run as a script; what it writes goes to `tmp_path`."""
    monkeypatch.syspath_prepend(EXAMPLES)  # where _common.py is

    def import_example(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if hasattr(module, "OUTPUT"):
            monkeypatch.setattr(module, "OUTPUT", tmp_path)
        return module

    return import_example


@pytest.mark.parametrize(
    ("name", "promises"),
    [
        ("binary", ["Test accuracy on {backend}", "Malignant taken for benign"]),
        ("digits", ["the loss of the first batch was", "reads 360 of 360 test scans the same"]),
        ("gradients", ["to 'hidden_21' (21 layers) vanish", "Networks judged rightly, on {backend}: 100.0%"]),
        ("regression", ["R2 of a straight line", "R2 of the network on {backend}"]),
        ("spiral", ["Accuracy on another spiral, on {backend}"]),
    ],
)
def test_an_example_reaches_what_it_promises(
    name: str, promises: list[str], load: Load, backend: Backend, capsys: pytest.CaptureFixture[str]
):
    if name not in ("gradients", "spiral"):
        pytest.importorskip("sklearn", reason='needs scikit-learn: pip install "nnbackend[examples]"')
    status = load(name).main(["--backend", backend.name, "--quick"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    for promise in promises:
        assert promise.format(backend=backend.name) in printed


def test_an_example_that_falls_short_says_so_with_its_status(load: Load, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("sklearn", reason='needs scikit-learn: pip install "nnbackend[examples]"')
    assert load("digits").main(["--backend", "numpy", "--epochs", "1"]) == 1
    assert "(at least 97.0% expected)" in capsys.readouterr().out


def test_every_example_is_tested():
    names = {path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith("_")}
    tested = {"binary", "digits", "gradients", "regression", "spiral"}
    assert names == tested | {
        "adding",
        "lenet",
        "resnet",
        "sorting",
        "tagger",
    }  # these take longer: nox runs them


@pytest.mark.parametrize("name", ["gradients", "spiral"])
def test_what_has_a_picture_is_painted(name: str, load: Load, tmp_path: Path):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "nnbackend[plot]"')
    assert load(name).main(["--backend", "numpy", "--quick"]) == 0
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["gradients", "spiral"])
def test_without_matplotlib_an_example_says_how_to_get_it(
    name: str, load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert load(name).main(["--backend", "numpy", "--quick"]) == 0
    assert 'pip install "nnbackend[plot]"' in capsys.readouterr().out


def test_without_scikit_learn_an_example_says_how_to_get_it(load: Load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SystemExit, match=r'pip install "nnbackend\[examples\]"'):
        load("binary").main(["--backend", "numpy"])


def test_an_unknown_backend_is_refused_with_the_nearest_known_one(
    load: Load, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stopped:
        load("binary").main(["--backend", "cuppy"])
    assert stopped.value.code == 2
    assert "Did you mean 'cupy'?" in capsys.readouterr().err
