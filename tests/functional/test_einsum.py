"""einsum: NumPy's and PyTorch's answers, and gradients that are sums of the same kind."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn

SIZES = {"i": 2, "j": 3, "k": 4, "l": 5, "m": 1}
#: Products, transpositions, sums over what stands alone, diagonals, outer products, and several arrays.
SUBSCRIPTS = [
    "ij,jk->ik", "ij,kj->ki", "ij,jk", "ji", "ij->ji", "ijk->j", "ij->", "ii->i", "ii", "iij->j", "iji,j->i",
    "i,j->ij", "i,j->ji", "ij,ij->ij", "ij,ij->i", "ij,ij->", "ijk,ilk->ijl", "ijk,ikl->lij", "ijk,l->il",
    "ij,jk,kl->il", "i,ij,j->", "ij,ij,ij->ij", "abc,cde->abde", "abc,dbe->ade", "ijm,mk->ik", "im,mj->ij",
    "ik,jk,ij->k", "i,i,j->ij",
]  # fmt: skip


def arrays_for(subscripts, rng):
    words = subscripts.partition("->")[0].split(",")
    return [rng.normal(size=[SIZES.get(x, 2 + ord(x) % 3) for x in word]) for word in words]


@pytest.mark.parametrize("subscripts", SUBSCRIPTS)
def test_einsum_is_numpy_s_with_the_gradients_of_central_differences(subscripts, put, rng):
    arrays = arrays_for(subscripts, rng)
    value = fn.einsum(subscripts, *map(put, arrays))
    expected = np.einsum(subscripts, *arrays)
    assert tuple(value.shape) == expected.shape
    np.testing.assert_allclose(nn.to_numpy(value), expected, atol=1e-13)
    nn.gradcheck(lambda *given: fn.einsum(subscripts, *given), *map(put, arrays), projections=1)


@pytest.mark.parametrize("subscripts", ["ij,jk,kl->il", "iij,jk->k", "ijk,ilk->ijl", "i,j->ji"])
def test_einsum_and_its_gradients_are_pytorch_s(subscripts, put, rng, dtype):
    torch = pytest.importorskip("torch")
    arrays = [array.astype(dtype) for array in arrays_for(subscripts, rng)]
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    output = torch.einsum(subscripts, *theirs)
    dy = rng.normal(size=tuple(output.shape)).astype(dtype)
    output.backward(torch.tensor(dy))
    value, pullback = nn.vjp(lambda *given: fn.einsum(subscripts, *given), *(put(a, dtype) for a in arrays))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), atol=tolerance)
    for gradient, their in zip(pullback(put(dy, dtype)), theirs, strict=True):
        np.testing.assert_allclose(nn.to_numpy(gradient), their.grad.numpy(), atol=tolerance)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,jk->...ik", [(6, 2, 3, 4), (4, 5)]),
        ("...ij,...jk->...ik", [(6, 1, 3, 4), (2, 4, 5)]),
        ("i...,i...", [(3, 2), (3, 1)]),
        ("...a,...a->...", [(2, 3), (3,)]),
        ("...", [(2, 3)]),
        (" i j , j -> i ", [(2, 3), (3,)]),
    ],
)
def test_three_dots_stand_for_axes_that_broadcast(subscripts, shapes, put, rng):
    arrays = [rng.normal(size=shape) for shape in shapes]
    value = fn.einsum(subscripts, *map(put, arrays))
    np.testing.assert_allclose(nn.to_numpy(value), np.einsum(subscripts, *arrays), atol=1e-13)
    nn.gradcheck(lambda *given: fn.einsum(subscripts, *given), *map(put, arrays), projections=1)


@pytest.mark.parametrize("size", [0, 1])
def test_axes_of_length_none_and_one(size, put, rng):
    a, b = rng.normal(size=(size, 3)), rng.normal(size=(3, 2))
    for subscripts, arrays in (("ij,jk->ik", (a, b)), ("ji,jk->ik", (a, a)), ("ij,ij->", (a, a))):
        value, pullback = nn.vjp(lambda *given, s=subscripts: fn.einsum(s, *given), *map(put, arrays))
        np.testing.assert_allclose(nn.to_numpy(value), np.einsum(subscripts, *arrays), atol=1e-14)
        assert [tuple(g.shape) for g in pullback(value)] == [array.shape for array in arrays]


def test_a_diagonal_leaves_what_is_beside_it_alone(put):
    """The product with an identity matrix would make NaN of 0 times infinity."""
    x = np.asarray([[1.0, np.inf], [np.nan, 2.0]])
    np.testing.assert_array_equal(nn.to_numpy(fn.einsum("ii->i", put(x))), [1.0, 2.0])
    gradient = nn.grad(lambda x: fn.einsum("ii->", x * 3.0))(put(np.ones((2, 2))))
    np.testing.assert_array_equal(nn.to_numpy(gradient), [[3.0, 0.0], [0.0, 3.0]])


def test_the_cheapest_pair_is_first(put):
    """(matrix @ matrix) @ vector would make a matrix of a million numbers."""
    matrix, vector = put(np.ones((1000, 1)), "float32"), put(np.ones((1000,)), "float32")
    value = fn.einsum("ij,kj,k->i", matrix, matrix, vector)
    np.testing.assert_array_equal(nn.to_numpy(value), np.full(1000, 1000.0))
    from nnbackend.functional.einsum import _einsum_work

    assert _einsum_work(matrix, matrix, vector, subscripts="ij,kj,k->i") == 2000


def test_the_rule_keeps_its_arguments_alone(rng):
    from nnbackend.functional.einsum import _einsum

    a, b = rng.normal(size=(30, 40)), rng.normal(size=(40, 50))
    _, backward = _einsum.function(a, b, subscripts="ij,jk->ki")
    held = [cell.cell_contents for cell in backward.__closure__]
    held += [item for content in held if isinstance(content, tuple) for item in content]
    assert {id(item) for item in held if isinstance(item, np.ndarray)} == {id(a), id(b)}


@pytest.mark.parametrize(
    ("subscripts", "words"),
    [
        ("ij->ij", "names 1 arrays, got 2"),
        ("ij,jkl->ik", "names 3 axes of array 1"),
        ("ij,j->i", "names 1 axes of array 1"),
        ("ij,ik->jk", "the axis 'i' has length 2 in one place and 3 in another"),
        ("ij,jk->iz", "the output's axis 'z' is in no array"),
        ("ij,jk->ii", "has the axis 'i' twice"),
        ("i1,1k->ik", "named by letters, got '1'"),
        ("...j,jk->k", "three dots before the arrow"),
    ],
)
def test_subscripts_that_do_not_fit_are_refused(subscripts, words, put):
    with pytest.raises(ValueError, match=words):
        fn.einsum(subscripts, put(np.ones((2, 3))), put(np.ones((3, 4))))


def test_no_axis_is_stretched_by_its_name(put):
    with pytest.raises(ValueError, match="length 1 in one place and 3 in another"):
        fn.einsum("ij,jk->ik", put(np.ones((2, 1))), put(np.ones((3, 4))))


def test_subscripts_stand_first_or_by_name(put):
    x = put(np.ones((2, 3)))
    np.testing.assert_array_equal(nn.to_numpy(fn.einsum(x, subscripts="ij->j")), [2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="expects subscripts first"):
        fn.einsum(x)
