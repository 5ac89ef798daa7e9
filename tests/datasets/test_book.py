"""The book's data sets, bit by bit those of the package nnfs."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from nnbackend import datasets

#: SHA-256 of the points, drawn right after ``nnfs.init()``.
PINNED = {
    "spiral_data": "ce93f1d0d63e477e04d5e149c49fa550a73cb87f5404c6e9977bf5c90a383e5e",
    "vertical_data": "223606dae4955350e468b87347f0672b62dbfd4a83d771ab9321b981b6c37bfb",
}


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("name", ["spiral_data", "vertical_data"])
def test_the_books_first_data_have_the_pinned_bits(name):
    x, y = getattr(datasets, name)(100, 3)
    assert (x.dtype, x.shape, y.dtype) == (np.float32, (300, 2), np.uint8)
    assert digest(x) == PINNED[name]
    np.testing.assert_array_equal(y, np.repeat([0, 1, 2], 100))


def test_the_books_sine_has_the_pinned_bits():
    x, y = datasets.sine_data()
    assert (x.dtype, x.shape, y.shape) == (np.float64, (1000, 1), (1000, 1))
    assert digest(y) == "42bd923beeb646080ad6957de6dd3a08ae0da3e219938559133526d024372f10"
    np.testing.assert_array_equal(x[:, 0], np.arange(1000) / 1000)


def test_a_program_goes_on_with_one_generator():
    """The printed first weights of the book follow its spiral: chapter 3, rows 2 and 5 of the dense layer's output."""
    random = datasets.legacy_random(0)
    x, _ = datasets.spiral_data(100, 3, random=random)
    weights = (0.01 * random.randn(2, 3)).astype("float32")
    output = x @ weights
    np.testing.assert_allclose(output[1], [-1.0475188e-04, 1.1395361e-04, -4.7983500e-05], rtol=2e-6)
    np.testing.assert_allclose(output[4], [-5.7707680e-04, 7.1401405e-04, -8.9430439e-05], rtol=2e-6)
    again, _ = datasets.spiral_data(100, 3, random=random)
    assert not np.array_equal(again, x)


def test_nothing_global_is_drawn_from_or_seeded():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    datasets.spiral_data(10, 2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


THEIRS = """
import hashlib, json, sys
import numpy as np
import nnfs
from nnfs import datasets
nnfs.init(dot_precision_workaround=False, default_dtype={dtype!r})
def digest(array):
    return [str(array.dtype), list(array.shape), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]
drawn = [*datasets.spiral_data(samples=100, classes=3), *datasets.vertical_data(samples=50, classes=4)]
drawn += [np.random.randn(3, 4), *datasets.spiral_data(samples=7, classes=2), *datasets.sine_data()]
print(json.dumps([digest(array) for array in drawn]))
"""


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_program_of_several_draws_equals_nnfs(kind):
    pytest.importorskip("nnfs")
    # in a process of its own: nnfs.init replaces functions of NumPy
    done = subprocess.run(
        [sys.executable, "-c", THEIRS.format(dtype=kind)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    random = datasets.legacy_random(0)
    ours = [*datasets.spiral_data(100, 3, random=random, dtype=kind)]
    ours += datasets.vertical_data(50, 4, random=random, dtype=kind)
    ours.append(random.randn(3, 4).astype(kind))
    ours += datasets.spiral_data(7, 2, random=random, dtype=kind)
    ours += datasets.sine_data()
    assert [[str(a.dtype), list(a.shape), digest(a)] for a in ours] == json.loads(done.stdout)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="spiral_data expects classes to be at least 1, got 0"):
        datasets.spiral_data(10, 0)
    with pytest.raises(ValueError, match="vertical_data draws float32 or float64, got 'int8'"):
        datasets.vertical_data(10, 2, dtype="int8")
    with pytest.raises(TypeError, match="sine_data expects samples to be a whole number"):
        datasets.sine_data(1.5)
