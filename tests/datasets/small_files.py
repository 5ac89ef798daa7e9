"""Small files in the formats of the well-known data sets, written as the definitions of these formats say."""

import io
import tarfile

import pytest


def idx(array):
    """The bytes of an IDX file, as the definition of the format says."""
    kinds = {"uint8": 8, "int8": 9, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
    head = bytes([0, 0, kinds[str(array.dtype)], array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def cifar(images, labels):
    """The bytes of a CIFAR file: label, red, green, blue, record by record."""
    return b"".join(bytes([y]) + x.transpose(2, 0, 1).tobytes() for x, y in zip(images, labels, strict=True))


def cifar_files(rng):
    """Six small files and what is in them."""
    made = {}
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        images = rng.integers(0, 256, (3, 32, 32, 3)).astype("uint8")
        made[name] = images, rng.integers(0, 10, 3)
    return made


def archive(files):
    """The bytes of a compressed archive like that of CIFAR-10."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, raw in {**files, "readme.html": b"<html>"}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return stream.getvalue()


def save_image(path, pixels):
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)
