"""Reading data sets from files: IDX, npz, CIFAR's records and folders of images. Nothing in a file is run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["image_folder", "read_cifar", "read_idx", "read_npz"]

#: The types of IDX files, all with the large end first.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CIFAR_SHAPE = (3, 32, 32)
IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read_idx(path: str | PathLike[str]) -> Any:
    """Read an array from an IDX file, such as those of MNIST, compressed by gzip or not.

    Parameters
    ----------
    path : path
        The file; whether it is compressed is seen from its first bytes.

    Returns
    -------
    array
        A NumPy array of the type and shape that the file says.

    Raises
    ------
    ValueError
        If it is no IDX file, or too short or too long.

    References
    ----------
    Y. LeCun, C. Cortes and C. Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = file.write_bytes(
    ...         bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4])
    ...     )  # of uint8, one axis, three numbers
    ...     read_idx(file)
    array([5, 0, 4], dtype=uint8)
    """
    import gzip  # at first use, as tarfile below: both are slow to import

    import numpy as np

    raw = Path(path).read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError) as error:
        raise ValueError(f"{path} is torn: {error}. Get it again.") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in IDX_TYPES:
        raise ValueError(f"{path} is no IDX file: it begins with {raw[:4]!r}.")
    dtype, axes = np.dtype(IDX_TYPES[raw[2]]), raw[3]
    head = 4 + 4 * axes
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    expected = head + dtype.itemsize * math.prod(shape)
    if len(raw) != expected:
        raise ValueError(
            f"{path} is torn: {expected} bytes belong to shape {shape}, it has {len(raw)}. Get it again."
        )
    array = np.frombuffer(raw, dtype, offset=head).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def read_npz(path: str | PathLike[str]) -> dict[str, Any]:
    """Read all arrays of an npz file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict of str to array
        NumPy arrays by name.

    Raises
    ------
    ValueError
        If it holds Python objects, which only running what the file says could restore.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(pathlib.Path(folder, "digits.npz"), x=[1.0, 2.0], y=[0, 1])
    ...     read_npz(pathlib.Path(folder, "digits.npz"))
    {'x': array([1., 2.]), 'y': array([0, 1])}
    """
    import numpy as np

    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def read_cifar(path: str | PathLike[str]) -> dict[str, tuple[Any, Any]]:
    """Read the binary version of CIFAR-10.

    Parameters
    ----------
    path : path
        ``cifar-10-binary.tar.gz``, which is read without unpacking it, or a folder with its ``.bin`` files.

    Returns
    -------
    dict of str to tuple
        Images, uint8 of shape (n, 32, 32, 3), and labels, int64 of shape (n,), by the names of the files.

    Raises
    ------
    ValueError
        If a file is torn, or there is none.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "test_batch.bin").write_bytes(
    ...         bytes([7] + [255] * 3072)
    ...     )  # a label, an image
    ...     images, labels = read_cifar(folder)["test_batch.bin"]
    >>> images.shape, labels
    ((1, 32, 32, 3), array([7]))
    """
    import tarfile

    path = Path(path)
    if path.is_dir():
        parts = {file.name: file.read_bytes() for file in path.rglob("*.bin")}
    else:
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(".bin")]
            files = {Path(member.name).name: archive.extractfile(member) for member in members}
            parts = {name: file.read() for name, file in files.items() if file is not None}
    if not parts:
        raise ValueError(f"{path} has no .bin files. The binary version is wanted: cifar-10-binary.tar.gz.")
    return {name: _cifar_records(name, raw) for name, raw in sorted(parts.items())}


def _cifar_records(name: str, raw: bytes) -> tuple[Any, Any]:
    import numpy as np

    size = 1 + math.prod(CIFAR_SHAPE)
    if len(raw) % size:
        raise ValueError(
            f"{name} is torn: {len(raw)} bytes are no whole number of records of {size}. Get it again."
        )
    records = np.frombuffer(raw, "uint8").reshape(-1, size)
    images = records[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype("int64")


def image_folder(
    path: str | PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    color: bool = True,
    classes: Iterable[str] | None = None,
) -> tuple[Any, Any, list[str]]:
    """Read images from a folder that has one folder for each class.

    Parameters
    ----------
    path : path
        The folder.
    size : tuple of int, optional
        Height and width that all images are brought to; without it they must have one size.
    color : bool
        Whether to return red, green and blue, or one channel of grey.
    classes : sequence of str, optional
        The names of the folders in the order of the labels; sorted without it. Some may be missing.

    Returns
    -------
    x : array of uint8, shape (n, h, w, 3) or (n, h, w, 1)
        The images, class by class, by name within one.
    y : array of int64, shape (n,)
        Their classes.
    names : list of str
        The classes' names.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError
        If there is no image, they differ in size, or a folder is none of `classes`.

    Examples
    --------
    Of a folder with ``cats/tom.png`` and ``dogs/rex.png``:

    >>> x, y, names = image_folder("pets", size=(64, 64))  # doctest: +SKIP
    >>> x.shape, y, names  # doctest: +SKIP
    ((2, 64, 64, 3), array([0, 1]), ['cats', 'dogs'])
    """
    import numpy as np

    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'Reading images needs Pillow, which is not installed. Cure: pip install "nnbackend[data]"'
        ) from error
    folder = Path(path)
    found = sorted(p.name for p in folder.iterdir() if p.is_dir())
    names = found if classes is None else list(classes)
    strange = [name for name in found if name not in names]
    if strange:
        raise ValueError(
            f"{folder} has a folder {strange[0]!r}, which is none of the classes {', '.join(names)}."
        )
    images: list[Any] = []
    labels = []
    for label, name in enumerate(names):
        for file in sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
            with Image.open(file) as image:
                picture = image.convert("RGB" if color else "L")
            if size is not None:
                picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(picture, dtype="uint8").reshape(picture.height, picture.width, -1)
            if images and pixels.shape != images[0].shape:
                raise ValueError(
                    f"{file} has {pixels.shape[0]} by {pixels.shape[1]} pixels, the images before it "
                    f"{images[0].shape[0]} by {images[0].shape[1]}. Say size=(height, width)."
                )
            images.append(pixels)
            labels.append(label)
    if not images:
        raise ValueError(f"{folder} has no images: a folder for each class is expected, with images in it.")
    return np.stack(images), np.array(labels, dtype="int64"), names
