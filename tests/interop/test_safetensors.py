"""Model files: whole or not at all, the same bytes for the same content, and nothing believed that is read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackend.backend import Backend
from nnbackend.interop import safetensors as room
from nnbackend.interop.safetensors import ModelFileError, read, write

CONTENT: dict[str, Any] = {
    "layers": [{"name": "dense", "units": 3, "rate": 0.1}],
    "note": "größer",
    "empty": None,
}


@pytest.fixture
def tensors() -> dict[str, Any]:
    values = np.random.default_rng(0).normal(size=(3, 4))
    return {
        "dense/kernel": values.astype("float32"),
        "dense/bias": values[0],
        "counter": np.asarray(7),
        "mask": values > 0,
        "none": np.zeros((0, 2), "float32"),
        "seed": np.asarray([1, -2], "int64"),
    }


def save_raw(path: Path, metadata: dict[str, str] | None) -> None:
    numpy_side = pytest.importorskip("safetensors.numpy")
    numpy_side.save_file({"x": np.ones(2)}, path, metadata=metadata)


def test_what_is_written_is_read(tmp_path: Path, tensors: dict[str, Any]) -> None:
    write(tmp_path / "model", tensors, CONTENT)
    metadata, found = read(tmp_path / "model")
    assert metadata == CONTENT
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


def test_a_backends_arrays_come_back(tmp_path: Path, backend: Backend) -> None:
    host = np.linspace(0, 1, 6, dtype="float32").reshape(2, 3)
    write(tmp_path / "model", {"x": backend.to_host(backend.from_host(host))}, {})
    found = backend.from_host(read(tmp_path / "model")[1]["x"])
    np.testing.assert_array_equal(backend.to_host(found), host)


@pytest.mark.parametrize("content", [None, True, 0, 1.5, "text", [], {}, {"a": [1, {"b": None}]}])
def test_any_json_is_kept(tmp_path: Path, content: Any) -> None:
    write(tmp_path / "model", {}, content)
    assert read(tmp_path / "model") == (content, {})


def test_strided_arrays_are_written_as_they_look(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(4, 6)
    views = {
        "transposed": values.T,
        "reversed": values[::-1],
        "every second": values[:, ::2],
        "broadcast": np.broadcast_to(values[0], (3, 6)),
        "fortran": np.asfortranarray(values),
        "big-endian": values.astype(">f8"),
        "column of one": values[:, :1],
    }
    write(tmp_path / "model", views, None)
    for name, found in read(tmp_path / "model")[1].items():
        np.testing.assert_array_equal(found, views[name], err_msg=name)


def test_bfloat16_is_kept_as_its_bits(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 without ml_dtypes")
    values = np.asarray([[1.5, 1 / 3], [-0.0, np.nan]]).astype(ml_dtypes.bfloat16)
    write(tmp_path / "model", {"x": values.T}, None)
    found = read(tmp_path / "model")[1]["x"]
    assert found.dtype == ml_dtypes.bfloat16
    assert found.view("uint16").tolist() == values.T.copy().view("uint16").tolist()


def test_bfloat16_without_its_dtype_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = np.ones(2, "uint16")
    save_raw(tmp_path / "model", {"nnbackend": '{"content":null,"format_version":1}'})
    data = (tmp_path / "model").read_bytes()
    header = data.replace(b'"F64"', b'"BF16"').replace(b"[0,16]", b"[0,4]")
    length = int.from_bytes(data[:8], "little") + len(header) - len(data)
    (tmp_path / "model").write_bytes(length.to_bytes(8, "little") + header[8 : 8 + length] + bits.tobytes())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match=r"tensor 'x' is bfloat16, .* pip install ml_dtypes"):
        read(tmp_path / "model")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, tensors: dict[str, Any]) -> None:
    backwards = dict(reversed(tensors.items()))
    content = dict(reversed(CONTENT.items()))
    for number, (arrays, metadata) in enumerate([(tensors, CONTENT), (backwards, content)] * 3):
        write(tmp_path / str(number), arrays, metadata)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(6)}) == 1


def test_the_metadata_is_one_key_of_canonical_json(tmp_path: Path) -> None:
    write(tmp_path / "model", {"x": np.ones(2)}, {"b": 1, "a": [1.0, "ü"]})
    data = (tmp_path / "model").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    digest = "c89f8cf90bf594892781da14e782ed30dda3f69a80e04ea2f6fcc9aa64f70442"
    assert header["__metadata__"] == {
        "nnbackend": f'{{"content":{{"a":[1.0,"ü"],"b":1}},"digest":"{digest}","format_version":1}}'
    }


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = tmp_path / "model"
    write(path, tensors, CONTENT)
    good = path.read_bytes()
    places = np.random.default_rng(1).integers(0, len(good) * 8, 200)
    for place in map(int, places):
        damaged = bytearray(good)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            metadata, found = read(path)
        except ModelFileError:
            continue
        # white space, or the digest's own name
        assert metadata == CONTENT, place
        assert {name: array.tobytes() for name, array in found.items()} == {
            name: array.tobytes() for name, array in tensors.items()
        }, place


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write(path, {"x": np.ones(2)}, "old")
    write(os.fspath(path), {"x": np.zeros(3)}, "new")
    metadata, found = read(os.fspath(path))
    assert (metadata, found["x"].tolist()) == ("new", [0.0, 0.0, 0.0])
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("moment", ["save_file", "_bring_to_disk", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, error: BaseException
) -> None:
    path = tmp_path / "model"
    write(path, {"x": np.ones(2)}, "old")
    before = path.read_bytes()

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    target = {"save_file": "safetensors.numpy.save_file", "replace": "os.replace"}
    with monkeypatch.context() as patched:
        if moment in target:
            patched.setattr(target[moment], fail)
        else:
            patched.setattr(room, moment, fail)
        with pytest.raises(type(error)):
            write(path, {"x": np.zeros(3)}, "new")
        with pytest.raises(type(error)):
            write(tmp_path / "another", {"x": np.zeros(3)}, "new")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write(path, {"x": np.ones(2)}, "old")
    code = (
        "import os, sys, numpy as np\n"
        "from nnbackend.interop.safetensors import write\n"
        "os.replace = lambda *names: os._exit(9)\n"
        "write(sys.argv[1], {'x': np.zeros(2)}, 'new')"
    )
    root = Path(__file__).parents[2]
    search = os.pathsep.join([str(root), str(root / "backends")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env={**os.environ, "PYTHONPATH": search}, timeout=60
    )
    assert done.returncode == 9
    assert read(path)[0] == "old"


def test_it_is_on_the_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(source: Any, target: Any) -> None:
        order.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write(tmp_path / "model", {"x": np.ones(2)}, None)
    assert order[-3:] == ["file", "rename", "directory"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_the_file_has_the_usual_rights_or_those_of_the_old_one(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    path = tmp_path / "model"
    write(path, {}, None)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    path.chmod(0o640)
    write(path, {}, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_keeps_pointing_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "deep" / "model")
    write(link, {}, "through the link")
    assert link.is_symlink()
    assert read(tmp_path / "deep" / "model")[0] == "through the link"


def test_a_truncated_file_is_refused(tmp_path: Path, tensors: dict[str, Any]) -> None:
    write(tmp_path / "model", tensors, CONTENT)
    data = (tmp_path / "model").read_bytes()
    for length in (0, 5, 8, 60, len(data) // 2, len(data) - 1):
        (tmp_path / "model").write_bytes(data[:length])
        with pytest.raises(
            ModelFileError, match=r"model': expected a whole safetensors file, got one that is trunc"
        ):
            read(tmp_path / "model")


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04 a zip file, such as torch.save writes", b"\x80\x04\x95pickle", b"{}" * 9]
)
def test_another_kind_of_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model").write_bytes(data)
    with pytest.raises(ModelFileError, match="truncated or of another kind"):
        read(tmp_path / "model")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_another_programs_tensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_raw(tmp_path / "model", metadata)
    with pytest.raises(
        ModelFileError, match=r"without the metadata key 'nnbackend'. It holds another program's"
    ):
        read(tmp_path / "model")


@pytest.mark.parametrize("text", ["", "{", "not json", "[" * 100_000])
def test_damaged_json_is_refused(tmp_path: Path, text: str) -> None:
    save_raw(tmp_path / "model", {"nnbackend": text})
    with pytest.raises(ModelFileError, match="expected JSON under the metadata key 'nnbackend'"):
        read(tmp_path / "model")


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "3", *(f'{{"format_version":{version}}}' for version in ('"1"', "true", "0", "1"))],
)
def test_metadata_without_a_version_or_content_is_refused(tmp_path: Path, text: str) -> None:
    save_raw(tmp_path / "model", {"nnbackend": text})
    with pytest.raises(ModelFileError, match="expected a format version from 1 to 1 and a content"):
        read(tmp_path / "model")


def test_a_newer_format_asks_for_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(room, "FORMAT_VERSION", 2)
        write(tmp_path / "model", {}, None)
    with pytest.raises(ModelFileError, match=r"up to 1, got 2: .* pip install --upgrade nnbackend"):
        read(tmp_path / "model")


def test_a_missing_file_and_a_missing_directory_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no model file .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="There is no model file"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"The directory .*nowhere' does not exist. Make it first"):
        write(tmp_path / "nowhere" / "model", {}, None)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("x", [1.0], TypeError, "Tensor 'x': expected a NumPy array, got list"),
        ("x", np.asarray(["a"]), TypeError, "Tensor 'x': expected one of .*float32.*, got <U1"),
        ("x", np.asarray([object()]), TypeError, "Tensor 'x': expected one of .*, got object"),
        ("x", np.ones(1, complex), TypeError, "Tensor 'x': expected one of .*, got complex128"),
        ("__metadata__", np.ones(1), ValueError, "cannot be named '__metadata__'"),
    ],
)
def test_tensors_that_cannot_be_stored_are_refused(
    tmp_path: Path, name: str, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write(tmp_path / "model", {name: value}, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [{"f": print}, {"x": np.ones(1)}, {"x": float("nan")}, [float("inf")], {1, 2}]
)
def test_metadata_that_is_not_json_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="The metadata of a model file must be JSON"):
        write(tmp_path / "model", {}, content)
    assert not list(tmp_path.iterdir())


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"got the directory .*Name a file in it"):
        write(tmp_path, {}, {})
    assert not list(tmp_path.parent.glob(".*.tmp"))
