"""Model files: one safetensors file with the tensors, and what they mean as JSON.

The JSON stands under the one metadata key ``nnbackend`` (several keys would come in any order), canonical: keys
sorted, no white space. So the same content gives the same bytes. A digest of tensors and content stands beside it, so
that damage is noticed. Reading runs no code.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import platform
import re
import secrets
import stat
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnbackend.backend import host
from nnbackend.typing import Json

__all__ = ["FORMAT_VERSION", "ModelFileError", "clear_abandoned", "read", "write"]

FORMAT_VERSION = 1
_KEY = "nnbackend"
_DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64".split()
)


class ModelFileError(ValueError):
    """A file that is not a model file, or not one that this version can read."""


def write(path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Json) -> None:
    """Write a model file, whole or not at all.

    The file is written beside its place, brought to the disk and renamed: whatever happens meanwhile, `path` holds
    the old file or the new one.

    Parameters
    ----------
    path : path
        Where the file shall be; one that is there is replaced.
    tensors : mapping of str to NumPy array
        The tensors by name, in any memory order; a bfloat16 one (of `ml_dtypes`) is stored as its bits.
    metadata : JSON
        What `read` shall return beside them.

    Raises
    ------
    FileNotFoundError
        If the directory does not exist.
    IsADirectoryError
        If `path` is a directory.
    TypeError, ValueError
        If a tensor is not a NumPy array of numbers, or `metadata` is not JSON.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from nnbackend.backend import host
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write(place, {"kernel": host().xp.ones((2, 1))}, {"layers": ["dense"]})
    >>> read(place)
    ({'layers': ['dense']}, {'kernel': array([[1.],
           [1.]])})
    """
    from safetensors.numpy import save_file

    place = Path(os.path.realpath(path))  # a link keeps pointing where it points
    arrays = {name: _checked(name, tensors[name]) for name in sorted(tensors)}
    text = _canonical(
        {"format_version": FORMAT_VERSION, "content": metadata, "digest": _digest(arrays, metadata)}
    )
    if not place.parent.is_dir():
        raise FileNotFoundError(f"The directory {str(place.parent)!r} does not exist. Make it first.")
    if place.is_dir():
        raise IsADirectoryError(
            f"Expected the path of a file, got the directory {str(place)!r}. Name a file in it, such as "
            f"{str(place / 'model.safetensors')!r}."
        )
    beside = place.with_name(f".{place.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    _being_written.add(beside.name)
    try:
        mode = _create(beside, place)
        save_file(arrays, beside, metadata={_KEY: text})
        beside.chmod(mode)  # safetensors gives nobody else a right to read
        _bring_to_disk(beside)
        os.replace(beside, place)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        raise
    finally:
        _being_written.discard(beside.name)
    if os.name != "nt":  # Windows has no handles of directories
        _bring_to_disk(place.parent)


#: The temporary files that this process writes to at present.
_being_written: set[str] = set()


def clear_abandoned(folder: str | os.PathLike[str], names: re.Pattern[str]) -> None:
    """Delete the temporary files that killed processes left beside the files they were writing.

    Parameters
    ----------
    folder : path
        Where.
    names : pattern
        What the whole name of the file must match that was being written.

    Notes
    -----
    A temporary file is left alone while its process lives, where another machine wrote it, and on Windows, which does
    not tell whether a process lives.
    """
    for path in Path(folder).glob(".*.tmp"):
        found = re.fullmatch(r"\.(.+)\.([0-9a-f]{8})-(\d+)-[0-9a-f]{16}\.tmp", path.name)
        if not found or not names.fullmatch(found[1]) or found[2] != _machine():
            continue
        process = int(found[3])
        written = path.name in _being_written if process == os.getpid() else _lives(process)
        if not written:
            with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile: no reason not to train
                path.unlink()


def _machine() -> str:
    """Return eight letters for this machine, so that the process numbers of several are not mixed up."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _lives(process: int) -> bool:
    if os.name == "nt":  # a signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _checked(name: str, array: Any) -> Any:
    """Return a tensor as safetensors takes it: it writes the memory of a strided view as if it were none."""
    if not host().owns(array):
        raise TypeError(
            f"Tensor {name!r}: expected a NumPy array, got {type(array).__name__}. Bring it to the host with "
            "nn.to_numpy."
        )
    if array.dtype.name not in _DTYPES:
        raise TypeError(f"Tensor {name!r}: expected one of {', '.join(sorted(_DTYPES))}, got {array.dtype}.")
    if name == "__metadata__":
        raise ValueError("A tensor cannot be named '__metadata__': safetensors keeps that name for itself.")
    return host().xp.require(array, requirements="C")


def _canonical(value: Json) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"The metadata of a model file must be JSON: {error}.") from None
    except TypeError as error:
        raise TypeError(f"The metadata of a model file must be JSON: {error}.") from None


def _digest(arrays: Mapping[str, Any], content: Json) -> str:
    """Return the SHA-256 of names, dtypes, shapes and bytes of the tensors, and of the content."""
    import hashlib  # slow to import: at first use

    digest = hashlib.sha256(_canonical(content).encode())
    for name in sorted(arrays):
        array = arrays[name]
        if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big"):
            array = array.astype(array.dtype.newbyteorder("<"))  # as it stands in the file
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view("uint8").data)
    return digest.hexdigest()


def _create(beside: Path, place: Path) -> int:
    """Create the file and return the rights that it shall have: those of the one it replaces, or the usual ones."""
    descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        usual = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    return stat.S_IMODE(place.stat().st_mode if place.exists() else usual)


def _bring_to_disk(path: Path) -> None:
    # Windows flushes only what is open for writing
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: str | os.PathLike[str]) -> tuple[Json, dict[str, Any]]:
    """Read a model file that `write` wrote.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    metadata : JSON
        As it was written.
    tensors : dict of str to NumPy array
        The tensors by name, writable copies.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ModelFileError
        If it is truncated or otherwise damaged, not a model file, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no model file {os.fspath(path)!r}.")
    try:
        with safe_open(path, framework="np") as file:
            metadata, digest = _content(path, (file.metadata() or {}).get(_KEY))
            names = sorted(file.keys())
            for name in names:
                _require_dtype(path, name, file.get_slice(name).get_dtype())
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ModelFileError(
            f"{os.fspath(path)!r}: expected a whole safetensors file, got one that is truncated or of another kind "
            f"({error}). Copy or save it again."
        ) from error

    if digest is not None and digest != _digest(tensors, metadata):
        raise ModelFileError(
            f"{os.fspath(path)!r}: expected a file as it was written, got one whose content does not fit its digest. "
            "The file is damaged: copy or save it again."
        )
    return metadata, tensors


def _content(path: str | os.PathLike[str], text: str | None) -> tuple[Json, Json]:
    """Check the metadata and return what the caller of `write` put there, and the digest of all, if there is one."""
    where = repr(os.fspath(path))
    if text is None:
        raise ModelFileError(
            f"{where}: expected a model saved by nnbackend, got a safetensors file without the metadata key "
            f"{_KEY!r}. It holds another program's tensors: read it with safetensors.numpy.load_file."
        )
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{where}: expected JSON under the metadata key {_KEY!r}, got something else ({error}). The file is "
            "damaged: save it again."
        ) from error
    version = found.get("format_version") if isinstance(found, dict) else None
    if type(version) is not int or version < 1 or (version <= FORMAT_VERSION and "content" not in found):
        raise ModelFileError(
            f"{where}: expected a format version from 1 to {FORMAT_VERSION} and a content under the metadata key "
            f"{_KEY!r}, got the version {version!r}. The file is damaged: save it again."
        )
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{where}: expected a format version up to {FORMAT_VERSION}, got {version}: a newer nnbackend wrote "
            "it. Update with: pip install --upgrade nnbackend"
        )
    return found["content"], found.get("digest")


def _require_dtype(path: str | os.PathLike[str], name: str, dtype: str) -> None:
    if dtype == "BF16" and importlib.util.find_spec("ml_dtypes") is None:
        raise ModelFileError(
            f"{os.fspath(path)!r}: tensor {name!r} is bfloat16, which NumPy does not have on its own. "
            "Install its dtype with: pip install ml_dtypes"
        )
    if dtype == "BF16":
        importlib.import_module("ml_dtypes")  # tells NumPy of the dtype
