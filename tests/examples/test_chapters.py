"""The walk through the book runs on every backend, chapter by chapter, and its data may be one's own files."""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nnbackend.backend import Backend
from nnbackend.nnfs import settings

CHAPTERS = Path(__file__).resolve().parents[2] / "examples" / "nnfs"

Load = Callable[[str], ModuleType]

#: What each chapter that is quick enough promises to print.
PROMISES = {
    "02": "All ways give the same: yes",
    "03": "These are the book's numbers: yes",
    "04": "An untrained network finds each class as probable as the others",
    "05": "A probability of 0 for what is right costs 16.12, not infinity",
    "06": "Accuracy on the clouds: ",
    "07": "By the rules of derivatives, 6x - 1: 11.000000",
    "08": "by hand [3750.0, -5625.0, 468.75]",
    "09": "The library's gradient of the whole network is the same: yes",
    "10": "After 60 epochs:",
    "11": "Test accuracy: ",
    "13": "Accuracy on standardised data: ",
    "14": "Test accuracy with the penalty: ",
    "16": "Test accuracy: ",
    "21": "All predict the same: yes",
    "22": "Prepared as the training data were, it is read as the original: yes",
}
#: These take longer: nox runs them.
LONGER = {"12", "15", "17", "18", "19", "20"}
PICTURES = {"19", "20", "21", "22"}
#: Those that take many small steps, each of which JAX runs op by op.
STEPS = {"06", "10", "11", "13", "14", "16", "21", "22"}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Load]:
    """Import a chapter as if it were run as a script; what it writes goes to `tmp_path`."""
    monkeypatch.syspath_prepend(CHAPTERS)  # where _book.py is
    monkeypatch.setattr(settings, "_settings", settings.Settings())
    before = np.random.get_state()

    def import_chapter(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", CHAPTERS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if hasattr(module, "OUTPUT"):
            monkeypatch.setattr(module, "OUTPUT", tmp_path)
        return module

    yield import_chapter
    np.random.set_state(before)


@pytest.mark.parametrize("chapter", PROMISES)
def test_a_chapter_reaches_what_it_promises(
    chapter: str, load: Load, backend: Backend, capsys: pytest.CaptureFixture[str]
):
    if chapter in PICTURES:
        pytest.importorskip("sklearn", reason='needs scikit-learn: pip install "nnbackend[examples]"')
    if backend.name == "jax" and chapter in STEPS:
        pytest.skip("JAX runs op by op here: nox runs this chapter on it")
    status = load(f"chapter_{chapter}").main(["--backend", backend.name, "--quick"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert PROMISES[chapter] in printed


def test_there_is_a_script_for_every_chapter():
    names = {path.stem for path in CHAPTERS.glob("[!_]*.py")}
    assert names == {f"chapter_{number:02}" for number in range(2, 23)}
    assert {name.removeprefix("chapter_") for name in names} == PROMISES.keys() | LONGER


def test_the_pictures_may_be_fashion_mnists_own_files(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    random = np.random.RandomState(0)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels, labels = random.randint(0, 256, (count, 28, 28)), np.arange(count) % 10
        pixels[:, 0, :2] = [0, 255]
        heads = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28), struct.pack(">BBBBI", 0, 0, 8, 1, count)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(heads[0] + pixels.astype("uint8").tobytes())
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(heads[1] + labels.astype("uint8").tobytes())
    book = load("_book")
    book.begin(None, ["--backend", "numpy"])
    images = book.Images(str(tmp_path), quick=True)
    assert capsys.readouterr().out == f"Fashion-MNIST, from {tmp_path}\n"
    assert (images.X.shape, images.X_test.shape) == ((40, 784), (20, 784))
    assert (images.X.min(), images.X.max(), images.X.dtype) == (-1.0, 1.0, np.float32)
    assert sorted(images.y) == sorted(np.arange(40) % 10)
    assert images.names[9] == "Ankle boot"


def test_without_scikit_learn_a_chapter_says_how_to_get_it(load: Load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SystemExit, match=r'pip install "nnbackend\[examples\]"'):
        load("chapter_21").main(["--backend", "numpy", "--quick"])


def test_an_unknown_backend_is_refused_with_the_nearest_known_one(
    load: Load, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stopped:
        load("chapter_02").main(["--backend", "cuppy"])
    assert stopped.value.code == 2
    assert "Did you mean 'cupy'?" in capsys.readouterr().err
