"""The protocol of backends, the table of them, and how one is chosen."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import backend as room
from nnbackend.backend import Availability, Backend, BackendUnavailableError, backend_of, is_array, namespace
from nnbackend.elementwise import elementwise

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend chosen, none remembered."""
    monkeypatch.setattr(room, "_chosen", None)
    monkeypatch.setattr(room, "_instances", {})
    monkeypatch.setattr(room, "_by_type", {})
    monkeypatch.setattr(room, "_namespaces", {})
    monkeypatch.delenv("NNBACKEND", raising=False)


class Pretended(Backend):
    """A backend whose library is missing, or present, as a test wants it."""

    name = "pretended"
    install = 'pip install "pretended-backend"'
    roots = frozenset({"pretended"})
    found = Availability(True)

    def __init__(self, device: str = "cpu") -> None:
        self.place = device

    @classmethod
    def probe(cls) -> Availability:
        return cls.found

    def owns(self, value: object) -> bool:
        return False

    def from_host(self, array: Any, dtype: str | None = None) -> Any:
        raise NotImplementedError

    def to_host(self, array: Any) -> Any:
        raise NotImplementedError

    def random_words(self, count: int, bits: int, **counter: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def foreign(fresh: None, monkeypatch: pytest.MonkeyPatch) -> type[Pretended]:
    """Somebody else's package announces its backend."""
    point = SimpleNamespace(name="pretended", load=lambda: Pretended)

    def entry_points(*, group: str) -> list[Any]:
        return [point] if group == "nnbackend.backends" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return Pretended


def test_an_array_from_the_host_is_a_copy(backend: Backend) -> None:
    values = np.arange(64.0)  # enough for libraries that share large, aligned memory
    array = backend.from_host(values)
    values[:] = -1.0
    assert nn.to_numpy(array).tolist() == list(range(64))


def test_an_array_to_the_host_is_a_writable_copy(backend: Backend) -> None:
    array = backend.from_host(np.zeros(3))
    copied = backend.to_host(array)
    copied[:] = 7.0
    assert isinstance(copied, np.ndarray)
    assert backend.to_host(array).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dtypes_and_shapes_survive_the_way_there_and_back(
    backend: Backend, dtype: str, shape: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    array = backend.from_host(values)
    assert backend.owns(array)
    assert str(array.dtype).endswith(dtype)
    assert tuple(array.shape) == shape
    back = backend.to_host(array)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


def test_values_are_cast_on_the_host(backend: Backend) -> None:
    third = backend.from_host([1.0, 1 / 3], "float32")
    assert backend.to_host(third).tolist() == np.asarray([1.0, 1 / 3], np.float32).tolist()
    assert backend.to_host(backend.from_host([1, 2], "float64")).dtype == np.float64


def test_strided_and_byteswapped_arrays_arrive_as_they_look(backend: Backend) -> None:
    values = np.arange(12.0).reshape(3, 4)
    for view in (values.T, values[::-1, ::2], values.astype(">f8"), np.broadcast_to(values[0], (5, 4))):
        np.testing.assert_array_equal(backend.to_host(backend.from_host(view)), view)


def test_an_array_knows_its_backend_and_namespace(backend: Backend) -> None:
    array = backend.from_host([1.0, 2.0])
    assert backend_of(array) is backend
    assert namespace(array) is backend.xp
    with backend.scope():
        made = backend.xp.zeros((2,), dtype=array.dtype, device=backend.device(array))
        assert backend.to_host(made + array).tolist() == [1.0, 2.0]


def test_compiled_steps_return_the_new_state(backend: Backend) -> None:
    step = backend.compile(lambda state, batch: ({"t": state["t"] + batch}, {"twice": batch * 2}))
    state = {"t": backend.from_host(1, "int64")}
    for _ in range(3):
        state, metrics = step(state, backend.from_host(5, "int64"))
    assert int(nn.to_numpy(state["t"])) == 16
    assert int(nn.to_numpy(metrics["twice"])) == 10


def test_it_waits_and_counts_its_memory(backend: Backend) -> None:
    held = backend.from_host(np.zeros(1000))
    backend.synchronize()
    used = backend.memory_in_use()
    assert used is None or used >= 8000
    del held


def test_a_backend_is_named(backend: Backend) -> None:
    assert str(backend) == backend.name
    assert repr(backend) == f"<{backend.name} backend>"


def test_numpy_is_the_default(fresh: None) -> None:
    assert nn.get_backend().name == "numpy"


def test_the_environment_variable_chooses(foreign: type[Pretended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNBACKEND", "pretended")
    assert nn.get_backend().name == "pretended"


def test_an_empty_environment_variable_chooses_nothing(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNBACKEND", "")
    assert nn.get_backend().name == "numpy"


def test_set_backend_beats_the_environment(foreign: type[Pretended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNBACKEND", "pretended")
    nn.set_backend("numpy")
    assert nn.get_backend().name == "numpy"


def test_use_backend_beats_set_backend_and_ends(foreign: type[Pretended]) -> None:
    nn.set_backend("numpy")
    with nn.use_backend("pretended") as inside:
        assert nn.get_backend() is inside
        assert inside.name == "pretended"
        with nn.use_backend("numpy"):
            assert nn.get_backend().name == "numpy"
        assert nn.get_backend() is inside
    assert nn.get_backend().name == "numpy"


def test_use_backend_ends_after_an_error(foreign: type[Pretended]) -> None:
    with pytest.raises(KeyError), nn.use_backend("pretended"):
        raise KeyError
    assert nn.get_backend().name == "numpy"


def test_a_name_beats_everything(foreign: type[Pretended]) -> None:
    with nn.use_backend("pretended"):
        assert nn.get_backend("numpy").name == "numpy"


def test_one_set_of_options_is_one_instance(foreign: type[Pretended]) -> None:
    assert nn.get_backend("pretended") is nn.get_backend("pretended")
    other: Any = nn.get_backend("pretended", device="far")
    assert other is nn.get_backend("pretended", device="far")
    assert other is not nn.get_backend("pretended")
    assert other.place == "far"


def test_options_without_a_name_go_to_the_backend_in_force(foreign: type[Pretended]) -> None:
    nn.set_backend("pretended")
    found: Any = nn.get_backend(device="far")
    assert (found.name, found.place) == ("pretended", "far")


def test_an_instance_is_its_own_choice_and_takes_no_options(foreign: type[Pretended]) -> None:
    made = Pretended("mine")
    assert nn.get_backend(made) is made
    assert nn.set_backend(made) is nn.get_backend()
    with pytest.raises(TypeError, match="Options \\(device\\) go with a backend's name"):
        nn.get_backend(made, device="far")


def test_the_block_holds_for_its_own_thread(foreign: type[Pretended]) -> None:
    seen: dict[str, str] = {}

    def look(where: str) -> None:
        seen[where] = nn.get_backend().name

    with nn.use_backend("pretended"):
        plain = threading.Thread(target=look, args=("new thread",))
        carried = threading.Thread(target=copy_context().run, args=(look, "copied context"))
        for thread in (plain, carried):
            thread.start()
            thread.join()
    assert seen == {"new thread": "numpy", "copied context": "pretended"}


def test_set_backend_holds_for_every_thread(foreign: type[Pretended]) -> None:
    seen: list[str] = []
    nn.set_backend("pretended")
    thread = threading.Thread(target=lambda: seen.append(nn.get_backend().name))
    thread.start()
    thread.join()
    assert seen == ["pretended"]


def test_an_unknown_name_names_the_nearest(fresh: None) -> None:
    with pytest.raises(
        ValueError, match=r"Unknown backend 'cuppy'; the known ones are numpy, .*Did you mean 'cupy'?"
    ):
        nn.get_backend("cuppy")
    with pytest.raises(ValueError, match="Unknown backend 'xyzzy'") as caught:
        nn.set_backend("xyzzy")
    assert "Did you mean" not in str(caught.value)


def test_an_unknown_option_names_those_there_are(foreign: type[Pretended]) -> None:
    with pytest.raises(
        TypeError, match=r"'numpy' has no option 'thread'; it takes threads.*Did you mean 'threads'?"
    ):
        nn.set_backend("numpy", thread=2)
    with pytest.raises(TypeError, match=r"'pretended' has no option 'xyzzy'; it takes device\.$"):
        nn.get_backend("pretended", xyzzy=1)


def test_something_else_than_a_name_is_refused(fresh: None) -> None:
    wrong: Any = np
    with pytest.raises(TypeError, match="A backend is a name or a Backend, got module"):
        nn.get_backend(wrong)


def test_a_missing_library_says_why_and_how_to_get_it(
    foreign: type[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretended, "found", Availability(False, "its library is not installed."))
    with pytest.raises(BackendUnavailableError, match="its library is not installed") as caught:
        nn.get_backend("pretended")
    assert 'pip install "pretended-backend"' in str(caught.value)
    assert "pretended" not in nn.available_backends()


def test_a_library_that_fails_to_import_says_so(
    foreign: type[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Pretended) -> None:
        raise ImportError("libmissing.so: cannot open")

    monkeypatch.setattr(Pretended, "__init__", broken)
    with pytest.raises(
        BackendUnavailableError, match=r"installed but cannot be imported: libmissing.so"
    ) as caught:
        nn.get_backend("pretended")
    assert 'pip install "pretended-backend"' in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module"), [("torch", "torch"), ("jax", "jax"), ("strict", "array_api_strict")]
)
def test_each_optional_backend_carries_its_pip_line(
    fresh: None, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    def find(wanted: str) -> None:
        raise ImportError(wanted)

    monkeypatch.setattr("importlib.util.find_spec", find)
    with pytest.raises(BackendUnavailableError, match=r"is not installed. Cure: pip install .*") as caught:
        nn.get_backend(name)
    assert name in str(caught.value)
    assert module not in nn.available_backends()


def test_a_folder_of_the_librarys_name_is_not_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_mere_folder").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert room.installed_version("a_mere_folder") is None
    assert room.installed_version("pytest") == pytest.__version__


def test_entry_points_join_the_table(foreign: type[Pretended]) -> None:
    assert isinstance(nn.get_backend("pretended"), Pretended)
    assert "pretended" in nn.available_backends()
    with pytest.raises(ValueError, match=r"Did you mean 'pretended'?"):
        nn.get_backend("pretendet")


def test_entry_points_recognise_their_arrays(
    foreign: type[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type("Theirs", (), {"__module__": "pretended.arrays"})
    monkeypatch.setattr(Pretended, "owns", lambda self, value: isinstance(value, kind))
    assert backend_of(kind()) is nn.get_backend("pretended")


def test_a_broken_entry_point_harms_nobody_else(
    foreign: type[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise RuntimeError("built for another version")

    point = SimpleNamespace(name="pretended", load=load)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [point])
    assert "numpy" in nn.available_backends()
    assert not room.probe_backends()["pretended"][1].available
    with pytest.raises(TypeError, match="Expected an array"):
        backend_of(object())
    with pytest.raises(
        BackendUnavailableError, match="'pretended' is installed but cannot be loaded: RuntimeError"
    ):
        nn.get_backend("pretended")


def test_a_library_nobody_knows_runs_the_plain_mathematics(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    xp = pytest.importorskip("array_api_strict")
    known = {name: where for name, where in room._BUILT_IN.items() if name != "strict"}
    monkeypatch.setattr(room, "_BUILT_IN", known)
    x = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
    backend = backend_of(x)
    assert backend.name == "standard"
    assert backend_of(xp.asarray(1)) is backend
    gradient = nn.grad(lambda x: nn.functional.sum(nn.functional.tanh(x) * x))(x)
    expected = nn.grad(lambda x: nn.functional.sum(nn.functional.tanh(x) * x))(
        np.asarray([[1.0, 2.0], [3.0, 4.0]])
    )
    np.testing.assert_allclose(nn.to_numpy(gradient), expected, rtol=1e-14)
    copied = nn.to_numpy(x)
    copied[:] = 0.0
    assert float(x[0, 0]) == 1.0
    assert nn.to_numpy(backend.from_host([1, 2], "float32")).dtype == np.float32
    words = {"key": (1, 2), "step": 3, "stream": 4, "call": 5}
    expected_words = nn.get_backend("numpy").random_words(5, 32, **words).tolist()
    assert nn.to_numpy(backend.random_words(5, 32, **words)).tolist() == expected_words
    words |= {"key": xp.asarray([1, 2]), "step": xp.asarray(3)}
    assert nn.to_numpy(backend.random_words(5, 32, **words)).tolist() == expected_words


@pytest.mark.parametrize("value", [None, 1, 1.5, "x", [1.0], (1.0,), {"a": 1.0}, object(), np, np.ndarray])
def test_what_is_not_an_array(value: Any) -> None:
    assert not room.is_array(value)
    with pytest.raises(
        TypeError, match="Expected an array of a library that speaks the array API standard, got "
    ):
        backend_of(value)


def test_mixing_libraries_is_refused(put: Callable[..., Any], backend: Backend) -> None:
    other = "strict" if backend.name == "numpy" else "numpy"
    if other not in nn.available_backends():
        pytest.skip("array-api-strict, the second library of this test, is not installed")
    theirs = nn.get_backend(other).from_host([1.0, 2.0])
    with pytest.raises(
        TypeError, match=f"add got arrays of two libraries, {backend.name} and {other}. Move one"
    ):
        nn.functional.add(put([1.0, 2.0]), theirs)


def run(code: str, **environment: str) -> str:
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


def test_asking_what_is_there_imports_no_array_library() -> None:
    loaded = run(
        "import sys, json, nnbackend as nn; nn.get_backend(); nn.get_backend('numpy').from_host([1.0]);"
        "[nn.backend._class_of(name).probe() for name in ('numpy', 'torch', 'jax', 'strict')];"
        "print(json.dumps([m for m in ('torch', 'jax', 'array_api_strict', 'safetensors', 'tqdm') "
        "if m in sys.modules]))"
    )
    assert json.loads(loaded) == []


def test_the_variable_is_read_in_a_fresh_interpreter(backend: Backend) -> None:
    assert run("import nnbackend as nn; print(nn.get_backend())", NNBACKEND=backend.name) == backend.name
    assert (
        run(
            "import nnbackend as nn; nn.set_backend('numpy'); print(nn.get_backend())", NNBACKEND=backend.name
        )
        == "numpy"
    )


def test_tensors_and_symbols_belong_to_no_library(put: Callable[..., Any], backend: Backend) -> None:
    class Own(nn.Tensor):
        """A subclass in somebody else's module."""

    seen: list[bool] = []

    @elementwise
    def body(x: Any) -> Any:
        seen.append(is_array(x))
        return x + 1.0

    tensor = Own(put([1.0]))
    assert not is_array(tensor)
    assert not is_array(nn.Tensor(put([1.0])))
    body(put([1.0]))
    assert seen[0] is False
    assert namespace(tensor) is nn.functional
    assert isinstance(body(tensor), nn.Tensor)
    with pytest.raises(TypeError, match=r"Expected an array, got Own, which stands for one.*plain\(x\)"):
        backend_of(tensor)


def test_memory_is_told_apart(backend: Backend) -> None:
    if not backend.writable:
        pytest.skip("its arrays cannot be written to")
    xp = backend.xp
    x, y = backend.from_host(np.ones((2, 3))), backend.from_host(np.ones((2, 3)))
    assert backend.memory(x) == backend.memory(x[1, ...]) == backend.memory(x.mT)
    assert backend.memory(x) != backend.memory(y)
    assert backend.memory(xp.broadcast_to(x, (4, 2, 3))) is None


def test_the_nearest_backend_is_found_whatever_its_capitals():
    with pytest.raises(ValueError, match="Did you mean 'numpy'"):
        nn.get_backend("NUMPY")
