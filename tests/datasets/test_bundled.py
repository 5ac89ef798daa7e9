"""scikit-learn's data sets."""

import sys

import numpy as np
import pytest

from nnbackend import datasets


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), 10),
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
        ("diabetes", (442, 10), None),
    ],
)
def test_they_are_as_scikit_learn_gives_them(name, shape, classes):
    pytest.importorskip("sklearn.datasets")
    x, y = getattr(datasets, name)()
    assert (x.shape, x.dtype, y.shape) == (shape, np.float64, shape[:1])
    if classes is None:
        assert (y.min(), y.max(), y.dtype) == (25.0, 346.0, np.float64)
    else:
        np.testing.assert_array_equal(np.unique(y), range(classes))


def test_where_scikit_learn_is_missing_the_message_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "nnbackend\[data\]"'):
        datasets.iris()
