"""MNIST, Fashion-MNIST and CIFAR-10: fetched once, checked, and kept; or read from files of one's own."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from nnbackend.backend import host
from nnbackend.datasets.files import image_folder, read_cifar, read_idx, read_npz

__all__ = ["CIFAR10_CLASSES", "FASHION_MNIST_CLASSES", "cifar10", "fashion_mnist", "mnist"]

CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
FASHION_MNIST_CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]

#: Images and labels to train on, and those to test on.
Parts: TypeAlias = tuple[tuple[Any, Any], tuple[Any, Any]]

#: Where fetched files are kept, if not where the system keeps such things.
ENVIRONMENT_VARIABLE = "NNBACKEND_DATA"


@dataclass(frozen=True)
class Remote:
    """A file on the network: where it is, and the SHA-256 of its bytes."""

    url: str
    sha256: str


_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
#: folder -> name of the file -> where it comes from
REMOTE: dict[str, dict[str, Remote]] = {
    "mnist": {
        "mnist.npz": Remote(
            _KERAS + "mnist.npz", "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": Remote(
            _KERAS + "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        "train-labels-idx1-ubyte.gz": Remote(
            _KERAS + "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        "t10k-images-idx3-ubyte.gz": Remote(
            _KERAS + "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        "t10k-labels-idx1-ubyte.gz": Remote(
            _KERAS + "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    },
    "cifar10": {
        "cifar-10-binary.tar.gz": Remote(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    },
}


def mnist(path: str | PathLike[str] | None = None, *, progress: bool | None = None) -> Parts:
    """Return 70,000 images of handwritten digits of 28 by 28 pixels.

    Parameters
    ----------
    path : path, optional
        Files of one's own: an npz file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``; a folder with the four
        IDX files, compressed or not; or a folder with folders ``train`` and ``test`` of images, a folder for each class
        in them. Without it the file is fetched once from where Keras gets it.
    progress : bool, optional
        Whether to show a bar while fetching; without it, if a terminal looks on.

    Returns
    -------
    tuple of tuple of array
        ``(x_train, y_train), (x_test, y_test)``: images, uint8 of shape (n, 28, 28), 60,000 and
        10,000, and their digits, int64 of shape (n,). `nn.data.scale_images` brings pixels to numbers from 0 to 1.

    Raises
    ------
    ImportError
        If pooch, which fetches files, is not installed.
    ConnectionError
        If the file cannot be fetched; the message says where to put it by hand.
    ValueError
        If a file is not what it should be.

    Notes
    -----
    Fetched files are kept where pooch keeps such (``pooch.os_cache("nnbackend")``), or in the folder that the
    environment variable ``NNBACKEND_DATA`` names, and checked by their SHA-256.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (1998), https://doi.org/10.1109/5.726791

    Examples
    --------
    >>> import nnbackend as nn
    >>> (x_train, y_train), (x_test, y_test) = nn.datasets.mnist()  # doctest: +SKIP
    >>> x_train.shape, y_train.shape  # doctest: +SKIP
    ((60000, 28, 28), (60000,))
    """
    return _parts_of(_fetched("mnist", progress) if path is None else Path(path))


def fashion_mnist(path: str | PathLike[str] | None = None, *, progress: bool | None = None) -> Parts:
    """Return 70,000 images of clothes of 28 by 28 pixels; `FASHION_MNIST_CLASSES` names the classes.

    Parameters
    ----------
    path : path, optional
        Files of one's own, as of `mnist`. Without it four IDX files are fetched once.
    progress : bool, optional
        Whether to show a bar while fetching; without it, if a terminal looks on.

    Returns
    -------
    tuple of tuple of array
        ``(x_train, y_train), (x_test, y_test)``: images, uint8 of shape (n, 28, 28), 60,000 and
        10,000, and their classes, int64 of shape (n,).

    Raises
    ------
    ImportError, ConnectionError, ValueError
        As of `mnist`.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, https://arxiv.org/abs/1708.07747

    Examples
    --------
    >>> import nnbackend as nn
    >>> (x_train, y_train), (x_test, y_test) = nn.datasets.fashion_mnist()  # doctest: +SKIP
    >>> x_train.shape, y_train.shape  # doctest: +SKIP
    ((60000, 28, 28), (60000,))
    """
    return _parts_of(_fetched("fashion_mnist", progress) if path is None else Path(path))


def cifar10(path: str | PathLike[str] | None = None, *, progress: bool | None = None) -> Parts:
    """Return 60,000 colour images of 32 by 32 pixels; `CIFAR10_CLASSES` names the classes.

    Parameters
    ----------
    path : path, optional
        Files of one's own: ``cifar-10-binary.tar.gz``, a folder with its ``.bin`` files, or npz and image folders as of
        `mnist`. Without it the archive is fetched once.
    progress : bool, optional
        Whether to show a bar while fetching; without it, if a terminal looks on.

    Returns
    -------
    tuple of tuple of array
        ``(x_train, y_train), (x_test, y_test)``: images, uint8 of shape (n, 32, 32, 3), 50,000 and
        10,000, and their classes, int64 of shape (n,).

    Raises
    ------
    ImportError, ConnectionError, ValueError
        As of `mnist`.

    Notes
    -----
    The binary version is read, since the Python version is a pickle, which would run what is in it. Keras gives labels
    of shape (n, 1).

    References
    ----------
    A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> import nnbackend as nn
    >>> (x_train, y_train), (x_test, y_test) = nn.datasets.cifar10()  # doctest: +SKIP
    >>> x_train.shape, y_train.shape  # doctest: +SKIP
    ((50000, 32, 32, 3), (50000,))
    """
    return _parts_of(_fetched("cifar10", progress) if path is None else Path(path))


def _fetched(name: str, progress: bool | None) -> Path:
    """Fetch the files of a data set that are not there yet; return the file, or the folder of several."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f'Fetching {name} needs pooch, which is not installed. Cure: pip install "nnbackend[data]", or give the '
            "path of files of your own."
        ) from error
    folder = Path(os.environ.get(ENVIRONMENT_VARIABLE) or pooch.os_cache("nnbackend")) / name
    progress = sys.stderr is not None and sys.stderr.isatty() if progress is None else progress
    for file, remote in REMOTE[name].items():
        try:
            pooch.retrieve(
                remote.url,
                f"sha256:{remote.sha256}",
                fname=file,
                path=folder,
                downloader=pooch.HTTPDownloader(progressbar=progress),
            )
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"{remote.url} cannot be fetched: {error}. Get it elsewhere and put it at {folder / file}; its "
                f"SHA-256 is {remote.sha256}."
            ) from error
    return folder / file if len(REMOTE[name]) == 1 else folder


def _parts_of(path: Path) -> Parts:
    """Read the parts to train on and to test on from a file or folder of any kind that is known."""
    if path.is_file():
        return _from_npz(path) if path.suffix == ".npz" else _from_cifar(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    idx = {word: sorted(path.glob(f"{word}*ubyte*")) for word in _IDX_NAMES}
    if any(idx.values()):
        return _from_idx(path, idx)
    if (path / "train").is_dir() and (path / "test").is_dir():
        return _from_images(path)
    archives = sorted(path.glob("*.npz"))
    return _from_npz(archives[0]) if len(archives) == 1 else _from_cifar(path)


_IDX_NAMES = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def _from_idx(path: Path, files: dict[str, list[Path]]) -> Parts:
    missing = [name for name, found in files.items() if not found]
    if missing:
        raise ValueError(f"{path} has no {missing[0]} file; the four IDX files belong together.")
    train, train_labels, test, test_labels = (read_idx(files[name][0]) for name in _IDX_NAMES)
    return _checked(path, (train, train_labels), (test, test_labels))


def _from_npz(path: Path) -> Parts:
    arrays = read_npz(path)
    names = ("x_train", "y_train", "x_test", "y_test")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {missing[0]!r}; it holds {', '.join(arrays)}.")
    train, train_labels, test, test_labels = (arrays[name] for name in names)
    return _checked(path, (train, train_labels), (test, test_labels))


def _from_cifar(path: Path) -> Parts:
    parts = read_cifar(path)
    train = [part for name, part in parts.items() if name.startswith("data_batch")]
    if not train or "test_batch.bin" not in parts:
        raise ValueError(
            f"{path} needs data_batch_1.bin and so on, and test_batch.bin; it has {', '.join(parts)}."
        )
    xp = host().xp
    images, labels = (xp.concat(list(pieces)) for pieces in zip(*train, strict=True))
    return _checked(path, (images, labels), parts["test_batch.bin"])


def _from_images(path: Path) -> Parts:
    x_train, y_train, names = image_folder(path / "train")
    x_test, y_test, _ = image_folder(path / "test", classes=names)
    if bool((x_train == x_train[..., :1]).all()) and bool((x_test == x_test[..., :1]).all()):  # grey
        x_train, x_test = x_train[..., 0], x_test[..., 0]
    return _checked(path, (x_train, y_train), (x_test, y_test))


def _checked(path: Path, *parts: tuple[Any, Any]) -> Parts:
    """Refuse images and labels that do not belong together; labels become int64 of shape (n,)."""
    checked = []
    for images, labels in parts:
        labels = labels.reshape(-1).astype("int64")
        if images.shape[0] != labels.shape[0] or images.shape[1:] != parts[0][0].shape[1:]:
            raise ValueError(
                f"{path} has images of shape {images.shape} beside {labels.shape[0]} labels, and others of shape "
                f"{parts[0][0].shape}. They do not belong together."
            )
        checked.append((images, labels))
    return checked[0], checked[1]
