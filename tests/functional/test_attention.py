"""Attention: PyTorch's answers, a transcription of the formula, and what masks, groups and chunks must not change."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.backend import host

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def softmax_where(scores, allowed):
    """The formula, in NumPy: rows in which nothing is allowed are zero."""
    with np.errstate(invalid="ignore"):
        scores = np.where(allowed, scores, -np.inf)
        e = np.exp(
            scores - np.where(np.isneginf(scores.max(-1, keepdims=True)), 0, scores.max(-1, keepdims=True))
        )
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def attend(query, key, value, mask=True, bias=0.0, causal=False, scale=None):
    """The formula, in NumPy, with keys and values repeated for the heads that share them."""
    repeats = query.shape[2] // key.shape[2]
    key, value = np.repeat(key, repeats, axis=2), np.repeat(value, repeats, axis=2)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = np.einsum("nihd,njhd->nhij", query, key) * scale + bias
    allowed = np.broadcast_to(mask, scores.shape)
    if causal:
        allowed = allowed & np.tri(*scores.shape[-2:], dtype=bool)
    shares = softmax_where(scores, allowed)
    return np.einsum("nhij,njhd->nihd", shares, value), shares


def draw(rng, n=2, t=5, s=7, heads=4, groups=2, d=3, width=6):
    return (
        rng.normal(size=(n, t, heads, d)),
        rng.normal(size=(n, s, groups, d)),
        rng.normal(size=(n, s, groups, width)),
    )


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 100])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_is_its_formula(chunk_size, causal, groups, put, rng):
    arrays = draw(rng, groups=groups)
    mask = rng.random((2, 1, 5, 7)) > 0.3
    bias = rng.normal(size=(4, 1, 7))
    expected, shares = attend(*arrays, mask, bias, causal)
    options = {"causal": causal, "chunk_size": chunk_size}
    put_arrays = (*map(put, arrays), put(mask), put(bias))
    np.testing.assert_allclose(
        nn.to_numpy(fn.scaled_dot_product_attention(*put_arrays, **options)), expected, atol=1e-13
    )
    both = fn.scaled_dot_product_attention(*put_arrays, **options, return_scores=True)
    np.testing.assert_allclose(nn.to_numpy(both[0]), expected, atol=1e-13)
    np.testing.assert_allclose(nn.to_numpy(both[1]), shares, atol=1e-14)


@pytest.mark.parametrize(("t", "s"), [(1, 1), (1, 4), (4, 1), (3, 5), (5, 3)], ids=lambda length: str(length))
@pytest.mark.parametrize("causal", [False, True])
def test_any_two_lengths_meet(t, s, causal, put, rng):
    arrays = draw(rng, t=t, s=s)
    value = fn.scaled_dot_product_attention(*map(put, arrays), causal=causal)
    np.testing.assert_allclose(nn.to_numpy(value), attend(*arrays, causal=causal)[0], atol=1e-13)


@pytest.mark.parametrize("empty", ["n", "t", "s"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_nothing_attends_to_nothing(empty, chunk_size, put, rng):
    arrays = draw(rng, **{empty: 0})
    value, pullback = nn.vjp(
        lambda *qkv: fn.scaled_dot_product_attention(*qkv, chunk_size=chunk_size), *map(put, arrays)
    )
    assert value.shape == (*arrays[0].shape[:3], 6)
    np.testing.assert_array_equal(nn.to_numpy(value), np.zeros(value.shape))
    for gradient, array in zip(pullback(value), arrays, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(gradient), np.zeros(array.shape))


def gradients_of(arrays, dy, put, dtype, **options):
    def attention(*floating):
        return fn.scaled_dot_product_attention(*floating[:3], mask, *floating[3:], **options)

    mask = options.pop("mask", None)
    mask = None if mask is None else put(mask)
    value, pullback = nn.vjp(attention, *(put(array, dtype) for array in arrays))
    return nn.to_numpy(value), [nn.to_numpy(gradient) for gradient in pullback(put(dy, dtype))]


@pytest.mark.parametrize("case", ["plain", "causal", "mask", "bias", "grouped", "scaled", "single"])
def test_attention_is_pytorch_s(case, put, rng, dtype):
    torch = pytest.importorskip("torch")
    t, s = (1, 1) if case == "single" else (6, 6) if case == "causal" else (5, 7)
    arrays = list(draw(rng, t=t, s=s, groups=2 if case == "grouped" else 4))
    options, theirs_options = {}, {}
    if case == "causal":
        options["causal"] = theirs_options["is_causal"] = True
    if case == "mask":
        mask = rng.random((2, 4, t, s)) > 0.4
        mask[..., 0] = True  # PyTorch's row without a key is NaN in some of its kernels
        options["mask"], theirs_options["attn_mask"] = mask, torch.tensor(mask)
    if case == "grouped":
        theirs_options["enable_gqa"] = True
    if case == "scaled":
        options["scale"] = theirs_options["scale"] = 0.3
    if case == "bias":
        arrays.append(rng.normal(size=(2, 4, t, s)))
    theirs = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    if case == "bias":
        theirs_options["attn_mask"] = theirs[3]
    output = torch.nn.functional.scaled_dot_product_attention(
        *(a.transpose(1, 2) for a in theirs[:3]), **theirs_options
    ).transpose(1, 2)
    dy = rng.normal(size=tuple(output.shape))
    output.backward(torch.tensor(dy.astype(dtype)))
    for chunk_size in (None, 2):
        value, gradients = gradients_of(arrays, dy, put, dtype, **options, chunk_size=chunk_size)
        np.testing.assert_allclose(value, output.detach().numpy(), atol=TOLERANCE[dtype])
        for gradient, their in zip(gradients, theirs, strict=True):
            np.testing.assert_allclose(gradient, their.grad.numpy(), atol=TOLERANCE[dtype])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (4, 1, 7), (2, 1, 5, 1), (5, 7), (1, 1), ()], ids=str)
def test_chunks_change_no_gradient(causal, shape, put, rng):
    arrays = [*draw(rng), rng.normal(size=shape)]
    dy, mask = rng.normal(size=(2, 5, 4, 6)), rng.random((5, 7)) > 0.3
    whole = gradients_of(arrays, dy, put, "float64", mask=mask, causal=causal)
    for chunk_size in (1, 2, 4):
        value, gradients = gradients_of(
            arrays, dy, put, "float64", mask=mask, causal=causal, chunk_size=chunk_size
        )
        np.testing.assert_allclose(value, whole[0], atol=1e-14)
        for gradient, expected in zip(gradients, whole[1], strict=True):
            np.testing.assert_allclose(gradient, expected, atol=1e-13)


def test_what_is_kept_and_what_is_computed_again_are_the_same(put, rng, monkeypatch):
    from nnbackend.functional import attention

    arrays, dy = draw(rng), rng.normal(size=(2, 5, 4, 6))
    kept = gradients_of(arrays, dy, put, "float64", causal=True)[1]
    monkeypatch.setattr(attention, "KEPT", 0)
    for gradient, expected in zip(
        gradients_of(arrays, dy, put, "float64", causal=True)[1], kept, strict=True
    ):
        np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_gradients_are_those_of_central_differences(chunk_size, put, rng):
    arrays = draw(rng, n=1, t=3, s=4)
    mask, kept, bias = rng.random((3, 4)) > 0.3, rng.random((1, 4, 3, 4)) > 0.4, rng.normal(size=(4, 3, 1))

    def attention(query, key, value, bias):
        return fn.scaled_dot_product_attention(
            query, key, value, put(mask), bias, put(kept),
            causal=True, dropout_rate=0.4, chunk_size=chunk_size, return_scores=True,
        )  # fmt: skip

    nn.gradcheck(attention, *map(put, arrays), put(bias), projections=1)


def test_second_derivatives_are_those_of_central_differences(put, rng, backend):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    arrays = draw(rng, n=1, t=3, s=4)
    mask = np.asarray([[True, False, True, True], [False] * 4, [True] * 4])

    def total(*qkv):
        return fn.sum(fn.scaled_dot_product_attention(*qkv, put(mask), causal=True, chunk_size=2) ** 2)

    nn.gradcheck(nn.grad(total, argnums=(0, 1, 2)), *map(put, arrays), projections=1, tolerance=1e-5)


@pytest.mark.parametrize("how", ["mask", "bias", "causal mask"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_query_that_may_attend_to_nothing_gets_zeros_and_sends_none_back(how, chunk_size, put, rng, dtype):
    query, key, value = (put(a, dtype) for a in draw(rng, n=1))
    mask = np.ones((5, 7), bool)
    mask[2] = False
    if how == "causal mask":
        mask[0, 0] = False
    bias = put(np.where(mask, 0.0, -np.inf), dtype) if how == "bias" else None
    given = None if how == "bias" else put(mask)

    def attention(query, key, value):
        return fn.scaled_dot_product_attention(
            query, key, value, given, bias, causal=how == "causal mask", chunk_size=chunk_size
        )

    answer, pullback = nn.vjp(attention, query, key, value)
    empty = [0, 2] if how == "causal mask" else [2]
    answer = nn.to_numpy(answer)
    np.testing.assert_array_equal(answer[:, empty], np.zeros_like(answer[:, empty]))
    assert np.isfinite(answer).all()
    assert (np.abs(answer).max(axis=(0, 2, 3)) > 0).sum() == 5 - len(empty)
    gradients = [nn.to_numpy(g) for g in pullback(put(np.ones(answer.shape), dtype))]
    assert all(np.isfinite(g).all() for g in gradients)
    np.testing.assert_array_equal(gradients[0][:, empty], np.zeros_like(gradients[0][:, empty]))


def test_what_is_forbidden_is_as_if_it_were_not_there(put, rng):
    query, key, value = draw(rng)
    there = np.asarray([0, 2, 3, 6])
    mask = np.isin(np.arange(7), there)
    expected = fn.scaled_dot_product_attention(put(query), put(key[:, there]), put(value[:, there]))
    key[:, ~mask], value[:, ~mask] = 1e4, -1e4
    masked = fn.scaled_dot_product_attention(put(query), put(key), put(value), put(mask))
    np.testing.assert_allclose(nn.to_numpy(masked), nn.to_numpy(expected), atol=1e-12)


def test_causal_attention_does_not_look_ahead(put, rng):
    query, key, value = draw(rng, t=6, s=6)
    before = nn.to_numpy(fn.scaled_dot_product_attention(*map(put, (query, key, value)), causal=True))
    key[:, 4:], value[:, 4:] = rng.normal(size=key[:, 4:].shape), rng.normal(size=value[:, 4:].shape)
    after = nn.to_numpy(fn.scaled_dot_product_attention(*map(put, (query, key, value)), causal=True))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).all()


def test_equal_scores_give_the_mean_and_large_ones_the_value_itself(put, rng, dtype):
    query, key, value = draw(rng, groups=4)
    even = fn.scaled_dot_product_attention(put(query * 0, dtype), put(key, dtype), put(value, dtype))
    mean = np.broadcast_to(value.mean(axis=1, keepdims=True), (2, 5, 4, 6))
    np.testing.assert_allclose(nn.to_numpy(even), mean, atol=1e-6)
    sharp = fn.scaled_dot_product_attention(put(query * 1e4, dtype), put(key, dtype), put(value, dtype))
    best = np.einsum("nihd,njhd->nihj", query, key).argmax(-1)
    expected = np.stack([np.stack([value[n, best[n, :, h], h] for h in range(4)], 1) for n in range(2)])
    np.testing.assert_allclose(nn.to_numpy(sharp), expected, atol=1e-6)


def test_dropped_probabilities_are_left_out_and_the_others_scaled_up(put, rng):
    arrays = draw(rng, groups=4)
    kept = rng.random((2, 4, 5, 7)) > 0.25
    _, shares = attend(*arrays)
    expected = np.einsum("nhij,njhd->nihd", shares * kept / 0.75, arrays[2])
    for chunk_size in (None, 2):
        value = fn.scaled_dot_product_attention(
            *map(put, arrays), dropout_mask=put(kept), dropout_rate=0.25, chunk_size=chunk_size
        )
        np.testing.assert_allclose(nn.to_numpy(value), expected, atol=1e-13)


def kept_by(content, arrays=None, visited=None):
    """Bytes of the arrays that a function or an object of the library holds, each piece of memory once."""
    arrays, visited = {} if arrays is None else arrays, set() if visited is None else visited
    if isinstance(content, np.ndarray):
        while isinstance(content.base, np.ndarray):
            content = content.base
        arrays[id(content)] = content.nbytes
    elif id(content) not in visited:
        visited.add(id(content))
        inside = []
        if isinstance(content, (list, tuple)):
            inside = content
        elif isinstance(content, dict):
            inside = content.values()
        elif "nnbackend" in str(getattr(content, "__module__", "")) and not isinstance(content, type):
            cells = getattr(content, "__closure__", None) or ()
            inside = [*vars(content).values(), *(cell.cell_contents for cell in cells)]
        for item in inside:
            kept_by(item, arrays, visited)
    return sum(arrays.values())


def test_what_is_kept_goes_with_backward_without_a_collection(rng):
    arrays = [rng.normal(size=(1, 8, 1, 4)).astype("float32") for _ in range(3)]
    backward = fn.scaled_dot_product_attention.function(*arrays)[1]
    chunks = next(c.cell_contents for c in backward.__closure__ if hasattr(c.cell_contents, "remembered"))
    assert kept_by(backward) > kept_by(arrays)
    gone = weakref.ref(chunks)
    gc.disable()
    try:
        del chunks, backward
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("chunk_size", [None, 64])
def test_backward_keeps_a_small_multiple_of_what_it_was_given(chunk_size, rng):
    arrays = [rng.normal(size=(1, 1024, 2, 4)).astype("float32") for _ in range(3)]
    given = sum(array.nbytes for array in arrays)
    rule = fn.scaled_dot_product_attention.function
    out, backward = rule(*arrays, causal=True, chunk_size=chunk_size)
    assert kept_by(backward) <= 2 * (given + out.nbytes)
    assert 30 * given < 1024 * 1024 * 2 * 4  # the scores would be far beyond


def peak_of(attention, arrays):
    """The peak of memory of a value and its gradients, and of backward alone, in bytes."""

    def measured():
        gc.collect()
        tracemalloc.start()
        value, pullback = nn.vjp(attention, *arrays)
        forward = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        pullback(value)
        backward = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return max(forward, backward), backward - before

    measured()  # buffers of elementwise programs are made once
    return measured()


@pytest.mark.parametrize("causal", [False, True])
def test_chunks_keep_the_peak_of_memory_down(causal, rng):
    host()
    arrays = [rng.normal(size=(1, 1024, 1, 64)).astype("float32") for _ in range(3)]
    scores = 1024 * 1024 * 4

    def peak(chunk_size):
        return peak_of(
            lambda *qkv: fn.scaled_dot_product_attention(*qkv, causal=causal, chunk_size=chunk_size), arrays
        )

    whole, by_many, by_few = peak(None), peak(256), peak(16)
    assert whole[0] > 2 * scores
    assert by_many[0] < whole[0]
    assert by_few[0] < by_many[0]
    assert by_few[1] < 8 * arrays[0].nbytes + 8 * scores // 64


def test_chunks_keep_the_peak_of_memory_of_additive_attention_down(rng):
    host()
    arrays = [rng.normal(size=(1, 256, 64)).astype("float32") for _ in range(3)]
    tangents = 256 * 256 * 64 * 4
    found = {
        chunk_size: peak_of(lambda *qkv, c=chunk_size: fn.additive_attention(*qkv, chunk_size=c), arrays)[1]
        for chunk_size in (None, 16, 2)
    }
    assert found[None] > tangents
    assert found[2] < found[16] < found[None]
    assert found[2] < 8 * arrays[0].nbytes + 8 * tangents // 128


@pytest.mark.parametrize("shape", [(1, 1024), (1, 1, 1024, 1)], ids=str)
def test_the_gradient_of_a_small_bias_keeps_no_scores(shape, rng):
    host()
    arrays = [rng.normal(size=(1, 1024, 2, 4)).astype("float32") for _ in range(3)]
    bias = rng.normal(size=shape).astype("float32")
    _, backward = peak_of(
        lambda q, k, v, b: fn.scaled_dot_product_attention(q, k, v, None, b, chunk_size=16), [*arrays, bias]
    )
    assert backward < 1024 * 1024 * 2 * 4 // 4


def test_masked_softmax_of_allowed_logits_is_softmax(put, rng, dtype):
    x, mask = rng.normal(size=(3, 5)).astype(dtype), rng.random((3, 5)) > 0.4
    mask[1] = False
    y = fn.masked_softmax(put(x, dtype), put(mask))
    np.testing.assert_allclose(nn.to_numpy(y), softmax_where(x, mask), atol=1e-7)
    plain = fn.masked_softmax(put(x, dtype))
    np.testing.assert_allclose(nn.to_numpy(plain), nn.to_numpy(fn.softmax(put(x, dtype))), atol=1e-7)
    np.testing.assert_array_equal(nn.to_numpy(fn.masked_softmax(put([-np.inf, -np.inf]))), [0.0, 0.0])
    np.testing.assert_array_equal(nn.to_numpy(fn.masked_softmax(put([1e4, -1e4]))), [1.0, 0.0])
    assert np.isnan(nn.to_numpy(fn.masked_softmax(put([np.nan, 1.0])))).all()


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_additive_attention_is_its_formula(chunk_size, causal, put, rng):
    query, key, value = (rng.normal(size=shape) for shape in ((2, 5, 3), (2, 4, 3), (2, 4, 6)))
    scale, mask, kept = rng.normal(size=3), rng.random((2, 1, 4)) > 0.3, rng.random((2, 5, 4)) > 0.5
    scores = (scale * np.tanh(query[:, :, None] + key[:, None])).sum(-1)
    allowed = mask & np.tri(5, 4, dtype=bool) if causal else np.broadcast_to(mask, scores.shape)
    shares = softmax_where(scores, allowed)
    options = {"causal": causal, "dropout_rate": 0.5, "chunk_size": chunk_size, "return_scores": True}

    def attention(query, key, value, scale):
        return fn.additive_attention(query, key, value, scale, put(mask), put(kept), **options)

    arrays = [put(array) for array in (query, key, value, scale)]
    out, found = attention(*arrays)
    np.testing.assert_allclose(nn.to_numpy(found), shares, atol=1e-14)
    np.testing.assert_allclose(nn.to_numpy(out), (shares * kept * 2) @ value, atol=1e-13)
    nn.gradcheck(attention, *arrays, projections=1)
    nn.gradcheck(lambda *qkv: fn.additive_attention(*qkv), *arrays[:3], projections=1)


def test_additive_attention_keeps_no_tangents(rng):
    arrays = [rng.normal(size=(1, 64, 16)).astype("float32") for _ in range(3)]
    out, backward = fn.additive_attention.function(*arrays)
    assert kept_by(backward) <= 2 * (sum(array.nbytes for array in arrays) + out.nbytes)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (((2, 5, 3), (2, 7, 2, 3), (2, 7, 2, 6)), {}, ValueError, r"query of shape \(n, t, heads, d\)"),
        (((2, 5, 4, 3), (2, 7, 2, 2), (2, 7, 2, 6)), {}, ValueError, r"key of shape \(n, s, groups, d\)"),
        (((2, 5, 4, 3), (2, 7, 2, 3), (2, 6, 2, 6)), {}, ValueError, r"value of shape \(n, s, groups, v\)"),
        (((2, 5, 4, 3), (2, 7, 3, 3), (2, 7, 3, 6)), {}, ValueError, "or a multiple, got 4 and 3"),
        (
            ((2, 5, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6)),
            {"mask": (2, 5, 7)},
            ValueError,
            r"mask of a shape that broadcasts to that of the scores, \(2, 4, 5, 7\), got \(2, 5, 7\)",
        ),
        (((2, 5, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6)), {"mask": None}, TypeError, "mask to be boolean"),
        (
            ((2, 5, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6)),
            {"chunk_size": 0},
            ValueError,
            "chunk_size of at least 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, error, words, put):
    options = dict(options)
    if options.get("mask", ()) is None:
        options["mask"] = put(np.ones((5, 7)))
    elif "mask" in options:
        options["mask"] = put(np.ones(options["mask"], bool))
    with pytest.raises(error, match=words):
        fn.scaled_dot_product_attention(*(put(np.ones(shape)) for shape in arguments), **options)


def test_additive_attention_refuses_what_does_not_fit(put):
    x = put(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"scale of shape \(d,\)"):
        fn.additive_attention(x, x, x, put(np.ones(4)))
    with pytest.raises(ValueError, match=r"key of shape \(n, s, d\)"):
        fn.additive_attention(x, put(np.ones((2, 5, 4))), x)
