"""MNIST, Fashion-MNIST and CIFAR-10 in small: fetched from this machine, and read from files of one's own."""

import gzip
import hashlib
import io
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from nnbackend import datasets
from nnbackend.datasets import images
from tests.datasets.small_files import archive, cifar, cifar_files, idx, save_image

GREY = np.random.default_rng(0).integers(0, 256, (7, 28, 28)).astype("uint8")
LABELS = np.arange(7, dtype="uint8")
IDX = {
    "train-images-idx3-ubyte.gz": gzip.compress(idx(GREY[:5])),
    "train-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS[:5])),
    "t10k-images-idx3-ubyte.gz": gzip.compress(idx(GREY[5:])),
    "t10k-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS[5:])),
}


def npz():
    stream = io.BytesIO()
    np.savez(stream, x_train=GREY[:5], y_train=LABELS[:5], x_test=GREY[5:], y_test=LABELS[5:])
    return stream.getvalue()


def check_grey(parts):
    (x_train, y_train), (x_test, y_test) = parts
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), GREY)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), LABELS)
    assert (len(x_train), y_train.dtype, y_test.dtype) == (5, np.int64, np.int64)


def check_colored(parts, made):
    (x_train, y_train), (x_test, y_test) = parts
    train = [made[f"data_batch_{i}.bin"] for i in range(1, 6)]
    np.testing.assert_array_equal(x_train, np.concatenate([x for x, _ in train]))
    np.testing.assert_array_equal(y_train, np.concatenate([y for _, y in train]))
    np.testing.assert_array_equal(x_test, made["test_batch.bin"][0])
    np.testing.assert_array_equal(y_test, made["test_batch.bin"][1])


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve files on this machine in place of those on the network; return what was asked for."""
    pytest.importorskip("pooch")
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv(images.ENVIRONMENT_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def put(name, files, sha256=None):
        remote = {}
        for file, raw in files.items():
            (folder / file).write_bytes(raw)
            url = f"http://127.0.0.1:{server.server_port}/{file}"
            remote[file] = images.Remote(url, sha256 or hashlib.sha256(raw).hexdigest())
        monkeypatch.setitem(images.REMOTE, name, remote)
        return asked

    yield put
    server.shutdown()
    server.server_close()
    thread.join()


def test_mnist_is_fetched_once(served, tmp_path):
    asked = served("mnist", {"mnist.npz": npz()})
    check_grey(datasets.mnist())
    check_grey(datasets.mnist())
    assert asked == ["/mnist.npz"]
    assert (tmp_path / "cache" / "mnist" / "mnist.npz").is_file()


def test_fashion_mnist_is_fetched_from_four_files(served):
    asked = served("fashion_mnist", IDX)
    check_grey(datasets.fashion_mnist())
    assert sorted(asked) == sorted(f"/{name}" for name in IDX)


def test_cifar_is_fetched_and_read_from_its_archive(served, rng):
    made = cifar_files(rng)
    served(
        "cifar10", {"cifar-10-binary.tar.gz": archive({name: cifar(*pair) for name, pair in made.items()})}
    )
    check_colored(datasets.cifar10(), made)


def test_a_bar_is_shown_when_asked_for(served, capfd):
    served("mnist", {"mnist.npz": npz()})
    datasets.mnist(progress=True)
    assert "100%" in capfd.readouterr().err


def test_a_file_with_another_checksum_is_refused_and_not_kept(served, tmp_path):
    served("mnist", {"mnist.npz": npz()}, sha256="0" * 64)
    with pytest.raises(ConnectionError, match=r"cannot be fetched: .*its SHA-256 is 0000"):
        datasets.mnist()
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_a_torn_file_in_the_cache_is_fetched_again(served, tmp_path):
    asked = served("mnist", {"mnist.npz": npz()})
    path = tmp_path / "cache" / "mnist" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(npz()[:100])
    check_grey(datasets.mnist())
    assert asked == ["/mnist.npz"]


def test_without_a_network_the_message_says_where_to_put_the_file(served, tmp_path, monkeypatch):
    served("mnist", {"mnist.npz": npz()})
    remote = images.REMOTE["mnist"]["mnist.npz"]
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/mnist.npz"
    monkeypatch.setitem(images.REMOTE, "mnist", {"mnist.npz": images.Remote(url, remote.sha256)})
    path = tmp_path / "cache" / "mnist" / "mnist.npz"
    with pytest.raises(ConnectionError) as caught:
        datasets.mnist()
    assert f"put it at {path}; its SHA-256 is {remote.sha256}" in str(caught.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(npz())
    check_grey(datasets.mnist())


def test_without_pooch_the_message_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError, match=r'pip install "nnbackend\[data\]", or give the path of files of your own'
    ):
        datasets.mnist()


def test_the_places_of_the_network_are_complete():
    for files in images.REMOTE.values():
        for name, remote in files.items():
            assert remote.url.startswith("https://")
            assert remote.url.endswith(f"/{name}")
            assert len(bytes.fromhex(remote.sha256)) == 32
    assert (len(datasets.CIFAR10_CLASSES), len(datasets.FASHION_MNIST_CLASSES)) == (10, 10)


# Files of one's own


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files_may_lie_in_a_folder(tmp_path, compressed):
    for name, raw in IDX.items():
        (tmp_path / (name if compressed else name.removesuffix(".gz"))).write_bytes(
            raw if compressed else gzip.decompress(raw)
        )
    check_grey(datasets.mnist(tmp_path))


def test_npz_files_are_named_or_lie_alone_in_a_folder(tmp_path):
    (tmp_path / "mine.npz").write_bytes(npz())
    check_grey(datasets.mnist(tmp_path / "mine.npz"))
    check_grey(datasets.fashion_mnist(str(tmp_path)))


def test_images_may_lie_in_folders_of_their_classes(tmp_path):
    for part, rows in (("train", range(5)), ("test", range(5, 7))):
        for i in rows:
            save_image(tmp_path / part / str(i) / "1.png", GREY[i])
            (tmp_path / "train" / str(i)).mkdir(exist_ok=True)  # a class may have no image to train on
    check_grey(datasets.mnist(tmp_path))


def test_color_images_keep_their_channels(tmp_path, rng):
    pixels = rng.integers(0, 256, (4, 6, 6, 3)).astype("uint8")
    for i, part in enumerate(["train", "train", "test", "test"]):
        save_image(tmp_path / part / "ab"[i % 2] / "1.png", pixels[i])
    (x_train, y_train), (x_test, y_test) = datasets.cifar10(tmp_path)
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), pixels)
    assert [*y_train, *y_test] == [0, 1, 0, 1]


def test_cifars_files_may_lie_in_a_folder(tmp_path, rng):
    made = cifar_files(rng)
    for name, pair in made.items():
        (tmp_path / name).write_bytes(cifar(*pair))
    check_colored(datasets.cifar10(tmp_path), made)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        datasets.mnist(tmp_path / "nowhere")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(GREY))
    with pytest.raises(ValueError, match="has no train-labels file; the four IDX files belong together"):
        datasets.mnist(tmp_path)
    np.savez(tmp_path / "part.npz", x_train=GREY, y_train=LABELS)
    with pytest.raises(ValueError, match="has no array 'x_test'; it holds x_train, y_train"):
        datasets.mnist(tmp_path / "part.npz")
    np.savez(tmp_path / "bad.npz", x_train=GREY, y_train=LABELS, x_test=GREY, y_test=LABELS[1:])
    with pytest.raises(ValueError, match="6 labels.*They do not belong together"):
        datasets.mnist(tmp_path / "bad.npz")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "data_batch_1.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="needs data_batch_1.bin and so on, and test_batch.bin"):
        datasets.cifar10(tmp_path / "more")
