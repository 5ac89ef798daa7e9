"""Embedding: rows by number, whose gradients add up, and numbers that are no row's."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0, 3), (1, 1, 1)], ids=str)
def test_embedding_is_pytorch_s(shape, put, rng, dtype):
    torch = pytest.importorskip("torch")
    indices, table = rng.integers(0, 5, shape), rng.normal(size=(5, 3)).astype(dtype)
    theirs = torch.tensor(table, requires_grad=True)
    output = torch.nn.functional.embedding(torch.tensor(indices), theirs)
    dy = rng.normal(size=(*shape, 3)).astype(dtype)
    output.backward(torch.tensor(dy))
    value, pullback = nn.vjp(lambda table: fn.embedding(put(indices), table), put(table, dtype))
    np.testing.assert_array_equal(nn.to_numpy(value), output.detach().numpy())
    np.testing.assert_allclose(nn.to_numpy(pullback(put(dy, dtype))[0]), theirs.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
def test_indices_are_integers_of_any_width(kind, put, rng):
    table = rng.normal(size=(300, 2)) if kind == "int64" else rng.normal(size=(100, 2))
    indices = np.asarray([0, 99, 99, 7])
    value, pullback = nn.vjp(lambda table: fn.embedding(put(indices, kind), table), put(table))
    np.testing.assert_array_equal(nn.to_numpy(value), table[indices])
    expected = np.zeros_like(table)
    np.add.at(expected, indices, table[indices])
    np.testing.assert_allclose(nn.to_numpy(pullback(value)[0]), expected, rtol=1e-15)


def test_gradients_at_every_order(put, rng, backend):
    table, indices = put(rng.normal(size=(4, 3))), put([[1, 0], [1, 1]])
    nn.gradcheck(lambda table: fn.embedding(indices, table), table, projections=1)
    if backend.name != "jax":  # the mathematics is the same, and each operation is compiled on its own here
        slope = nn.grad(lambda table: fn.sum(fn.embedding(indices, table) ** 3))
        nn.gradcheck(slope, table, projections=1, tolerance=1e-5)


@pytest.mark.parametrize("wrong", [5, -1, 1000, -6])
def test_what_is_no_row_s_number_is_refused_or_nan(wrong, put, backend):
    table, indices = put(np.ones((5, 2))), put([[1, wrong], [4, 0]])
    if backend.name == "numpy":
        with pytest.raises(IndexError, match=f"indices from 0 to 4, got {wrong}"):
            fn.embedding(indices, table)
        return
    value, pullback = nn.vjp(lambda table: fn.embedding(indices, table), table)
    expected = np.ones((2, 2, 2))
    expected[0, 1] = np.nan
    np.testing.assert_array_equal(nn.to_numpy(value), expected)
    gradient = nn.to_numpy(pullback(put(np.ones((2, 2, 2))))[0])
    np.testing.assert_array_equal(gradient[:, 0], [1.0, 1.0, 0.0, 0.0, 1.0])


def test_the_rule_without_a_look_at_values_gives_nan_on_numpy_too():
    value, _ = fn.embedding.function(np.asarray([0, 3]), np.ones((2, 1)))
    np.testing.assert_array_equal(value, [[1.0], [np.nan]])


def test_what_does_not_fit_is_refused(put):
    with pytest.raises(TypeError, match="integer indices, got"):
        fn.embedding(put([1.0]), put(np.ones((2, 2))))
    for shape in ((2,), (0, 2), (2, 2, 2)):
        with pytest.raises(ValueError, match=r"table of shape \(v, d\)"):
            fn.embedding(put([0]), put(np.ones(shape)))
