"""Files of data: read right, and refused where they are torn or would run something."""

import gzip

import numpy as np
import pytest

from nnbackend import datasets
from tests.datasets.small_files import archive, cifar, cifar_files, idx, save_image


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_idx_files_are_read(tmp_path, rng, dtype, compressed):
    array = rng.normal(scale=50.0, size=(4, 3, 2)).astype(dtype)
    raw = idx(array)
    (tmp_path / "file").write_bytes(gzip.compress(raw, mtime=0) if compressed else raw)
    got = datasets.read_idx(tmp_path / "file")
    assert got.dtype == array.dtype
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is no IDX file"),
        (b"PK\3\4rest", "is no IDX file: it begins with"),
        (b"\0\0\7\1\0\0\0\0", "is no IDX file"),
        (idx(np.zeros((2, 2), "uint8"))[:-1], r"is torn: 16 bytes belong to shape \(2, 2\), it has 15"),
        (idx(np.zeros(2, "uint8")) + b"x", "is torn: 10 bytes"),
        (gzip.compress(idx(np.zeros(99, "uint8")), mtime=0)[:-9], "is torn: .*Get it again"),
    ],
)
def test_idx_files_that_are_none_are_refused(tmp_path, raw, message):
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        datasets.read_idx(tmp_path / "file")


def test_npz_files_are_read_and_objects_in_them_refused(tmp_path):
    np.savez(tmp_path / "good.npz", a=np.arange(3), b=np.ones((2, 2)))
    good = datasets.read_npz(tmp_path / "good.npz")
    assert sorted(good) == ["a", "b"]
    np.testing.assert_array_equal(good["a"], [0, 1, 2])
    np.savez(tmp_path / "bad.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        datasets.read_npz(tmp_path / "bad.npz")


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_is_read_from_a_folder_or_its_archive(tmp_path, rng, packed):
    made = cifar_files(rng)
    raw = {name: cifar(*pair) for name, pair in made.items()}
    path = tmp_path / "cifar-10-binary.tar.gz"
    if packed:
        path.write_bytes(archive(raw))
    else:
        path = tmp_path
        for name, content in raw.items():
            (tmp_path / name).write_bytes(content)
    got = datasets.read_cifar(path)
    assert sorted(got) == sorted(made)
    for name, (images, labels) in made.items():
        np.testing.assert_array_equal(got[name][0], images)
        np.testing.assert_array_equal(got[name][1], labels)


def test_cifar_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no .bin files. The binary version is wanted"):
        datasets.read_cifar(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 3000)
    with pytest.raises(
        ValueError, match=r"test_batch.bin is torn: 3000 bytes are no whole number of records of 3073"
    ):
        datasets.read_cifar(tmp_path)


def test_folders_of_images_are_read_class_by_class(tmp_path, rng):
    pictures = rng.integers(0, 256, (3, 4, 5, 3)).astype("uint8")
    save_image(tmp_path / "dog" / "b.png", pictures[2])
    save_image(tmp_path / "cat" / "2.png", pictures[1])
    save_image(tmp_path / "cat" / "1.PNG", pictures[0])
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    x, y, names = datasets.image_folder(tmp_path)
    np.testing.assert_array_equal(x, pictures)
    assert (y.tolist(), names) == ([0, 0, 1], ["cat", "dog"])
    assert datasets.image_folder(tmp_path, color=False)[0].shape == (3, 4, 5, 1)
    assert datasets.image_folder(tmp_path, classes=["dog", "cat"])[1].tolist() == [0, 1, 1]
    assert datasets.image_folder(tmp_path, classes=["ape", "cat", "dog"])[1].tolist() == [1, 1, 2]
    assert datasets.image_folder(tmp_path, size=(2, 3))[0].shape == (3, 2, 3, 3)
    with pytest.raises(ValueError, match="has a folder 'cat', which is none of the classes dog"):
        datasets.image_folder(tmp_path, classes=["dog"])


def test_images_of_several_sizes_need_one(tmp_path):
    save_image(tmp_path / "a" / "1.png", np.zeros((2, 2, 3), "uint8"))
    save_image(tmp_path / "a" / "2.png", np.full((4, 6, 3), 9, "uint8"))
    with pytest.raises(ValueError, match=r"2.png has 4 by 6 pixels, the images before it 2 by 2. Say size="):
        datasets.image_folder(tmp_path)
    x, _, _ = datasets.image_folder(tmp_path, size=(2, 2))
    assert (x[1] == 9).all()


def test_a_folder_without_images_is_refused(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(ValueError, match="has no images: a folder for each class is expected"):
        datasets.image_folder(tmp_path)
