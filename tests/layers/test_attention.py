"""Attention layers: PyTorch's answers with the same weights, masks from everywhere, and Keras's names and shapes."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.random import Stream

TOLERANCE = {"float32": 3e-5, "float64": 1e-11}


def gradients(layer, inputs, dy, put, dtype, **options):
    """Return value, input gradients, and parameter gradients by path, of a built layer."""
    handles = {path: parameter for path, parameter, _ in layer.named_parameters()}

    def run(weights, *arrays):
        values = {id(handles[path]): w for path, w in weights.items()}
        binding = nn.layers.base.Binding(values, (0, 0), 0, layer.query_dense.kernel.backend)
        with binding.bound():
            return layer(*arrays, **options)

    weights = {path: put(p.numpy(), dtype) for path, p in handles.items()}
    value, pullback = nn.vjp(run, weights, *(put(x, dtype) for x in inputs))
    by_weight, *by_input = pullback(put(dy, dtype))
    return (
        nn.to_numpy(value),
        [nn.to_numpy(g) for g in by_input],
        {path: nn.to_numpy(g) for path, g in by_weight.items()},
    )


@pytest.fixture
def built(backend, rng):
    """Build a layer on the backend under test, with weights that are not its first."""

    def build(layer, *shapes, dtype="float64"):
        layer.dtype = dtype
        with nn.use_backend(backend):
            layer.build(*shapes)
        layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
        return layer

    return build


def pytorch_twin(torch, layer, dtype, key_size):
    """nn.MultiheadAttention with the weights of a layer."""
    query, output = layer.query_dense.kernel.numpy(), layer.output_dense.kernel.numpy()
    size, heads, _ = query.shape
    theirs = torch.nn.MultiheadAttention(
        size, heads, batch_first=True, kdim=key_size, vdim=key_size, dtype=getattr(torch, dtype)
    )
    flat = [
        torch.tensor(d.kernel.numpy().reshape(d.kernel.shape[0], -1).T.copy())
        for d in (layer.query_dense, layer.key_dense, layer.value_dense)
    ]
    biases = [d.bias.numpy().reshape(-1) for d in (layer.query_dense, layer.key_dense, layer.value_dense)]
    with torch.no_grad():
        if theirs.in_proj_weight is not None:
            theirs.in_proj_weight.copy_(torch.cat(flat))
        else:
            for name, weight in zip("qkv", flat, strict=True):
                getattr(theirs, f"{name}_proj_weight").copy_(weight)
        theirs.in_proj_bias.copy_(torch.tensor(np.concatenate(biases)))
        theirs.out_proj.weight.copy_(torch.tensor(output.reshape(-1, output.shape[-1]).T.copy()))
        theirs.out_proj.bias.copy_(torch.tensor(layer.output_dense.bias.numpy()))
    return theirs


def their_gradients(theirs, layer):
    """The gradients of PyTorch's weights, as ours."""
    if theirs.in_proj_weight is not None:
        kernels = theirs.in_proj_weight.grad.chunk(3)
    else:
        kernels = [getattr(theirs, f"{name}_proj_weight").grad for name in "qkv"]
    biases = theirs.in_proj_bias.grad.chunk(3)
    found = {}
    for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
        dense = getattr(layer, f"{name}_dense")
        found[f"{name}/kernel"] = kernel.numpy().T.reshape(dense.kernel.shape)
        found[f"{name}/bias"] = bias.numpy().reshape(dense.bias.shape)
    found["attention_output/kernel"] = theirs.out_proj.weight.grad.numpy().T.reshape(
        layer.output_dense.kernel.shape
    )
    found["attention_output/bias"] = theirs.out_proj.bias.grad.numpy()
    return found


@pytest.mark.parametrize("case", ["self", "cross", "causal", "value mask", "attention mask", "one step"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_multi_head_attention_is_pytorch_s(case, chunk_size, put, rng, dtype, built):
    torch = pytest.importorskip("torch")
    t, s, key_size = {"cross": (5, 7, 4), "one step": (1, 1, 6)}.get(case, (5, 5, 6))
    layer = nn.MultiHeadAttention(2, 3, chunk_size=chunk_size)
    built(layer, (t, 6), (s, key_size), dtype=dtype)
    theirs = pytorch_twin(torch, layer, dtype, key_size)
    query, value = rng.normal(size=(3, t, 6)), rng.normal(size=(3, s, key_size))
    options, their_options = {}, {}
    if case == "causal":
        options["use_causal_mask"] = True
        their_options["attn_mask"] = torch.tensor(~np.tri(t, s, dtype=bool))
    if case == "value mask":
        mask = np.arange(s) < np.asarray([[5], [2], [1]])
        options["value_mask"] = put(mask)
        their_options["key_padding_mask"] = torch.tensor(~mask)
    if case == "attention mask":
        mask = rng.random((3, t, s)) > 0.5
        mask[:, :, 0] = True
        options["attention_mask"] = put(mask)
        their_options["attn_mask"] = torch.tensor(~np.repeat(mask, 2, axis=0))
    q, v = (torch.tensor(x.astype(dtype), requires_grad=True) for x in (query, value))
    output, shares = theirs(q, v, v, average_attn_weights=False, **their_options)
    dy = rng.normal(size=tuple(output.shape))
    output.backward(torch.tensor(dy.astype(dtype)))
    found, by_input, by_weight = gradients(layer, (query, value), dy, put, dtype, **options)
    tolerance = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    np.testing.assert_allclose(found, output.detach().numpy(), **tolerance)
    for gradient, their in zip(by_input, (q, v), strict=True):
        np.testing.assert_allclose(gradient, their.grad.numpy(), **tolerance)
    expected = their_gradients(theirs, layer)
    assert set(by_weight) == set(expected)
    for path, gradient in by_weight.items():
        np.testing.assert_allclose(gradient, expected[path], err_msg=path, **tolerance)
    both = layer(put(query, dtype), put(value, dtype), return_attention_scores=True, **options)
    np.testing.assert_allclose(nn.to_numpy(both[1]), shares.detach().numpy(), **tolerance)


def test_weights_have_keras_s_names_shapes_and_order(backend):
    with nn.use_backend(backend):
        layer = nn.MultiHeadAttention(2, 3, value_dim=4, output_shape=5)
        layer.build((7, 6), (8, 9))
    shapes = [(path, parameter.shape) for path, parameter, _ in layer.named_parameters()]
    assert shapes == [
        ("query/kernel", (6, 2, 3)), ("query/bias", (2, 3)), ("key/kernel", (9, 2, 3)), ("key/bias", (2, 3)),
        ("value/kernel", (9, 2, 4)), ("value/bias", (2, 4)), ("attention_output/kernel", (2, 4, 5)),
        ("attention_output/bias", (5,)),
    ]  # fmt: skip
    assert [w.shape for w in layer.get_weights()] == [shape for _, shape in shapes]
    assert layer.compute_output_shape((7, 6), (8, 9)) == (7, 5)


def test_regularizers_and_constraints_reach_every_projection(backend):
    with nn.use_backend(backend):
        layer = nn.MultiHeadAttention(
            2, 3, kernel_regularizer="l2", bias_regularizer="l1", kernel_constraint="max_norm"
        )
        layer.build((7, 6), (7, 6))
    kinds = {}
    for path, parameter, _ in layer.named_parameters():
        kinds.setdefault(path.partition("/")[2], set()).add(
            (type(parameter.regularizer).__name__, type(parameter.constraint).__name__)
        )
    assert kinds == {"kernel": {("L2", "MaxNorm")}, "bias": {("L1", "NoneType")}}


def test_heads_that_share_keys_are_as_heads_with_equal_keys(put, rng, built):
    grouped = built(nn.GroupQueryAttention(3, 4, 2), (5, 6), (7, 6))
    full = built(nn.MultiHeadAttention(4, 3), (5, 6), (7, 6))
    for name in ("key_dense", "value_dense"):
        few, many = getattr(grouped, name), getattr(full, name)
        many.kernel.assign(np.repeat(few.kernel.numpy(), 2, axis=1))
        many.bias.assign(np.repeat(few.bias.numpy(), 2, axis=0))
    for name in ("query_dense", "output_dense"):
        getattr(full, name).set_weights(getattr(grouped, name).get_weights())
    q, v = put(rng.normal(size=(2, 5, 6))), put(rng.normal(size=(2, 7, 6)))
    np.testing.assert_allclose(nn.to_numpy(grouped(q, v)), nn.to_numpy(full(q, v)), atol=1e-13)
    assert [p.shape for p in grouped.parameters][2] == (6, 2, 3)


def test_every_mask_forbids(put, rng, built):
    layer = built(nn.MultiHeadAttention(2, 3), (4, 6), (5, 6))
    q, v = put(rng.normal(size=(2, 4, 6))), put(rng.normal(size=(2, 5, 6)))
    masks = {
        "query_mask": rng.random((2, 4)) > 0.3,
        "value_mask": rng.random((2, 5)) > 0.3,
        "key_mask": rng.random((2, 5)) > 0.3,
        "attention_mask": rng.random((2, 4, 5)) > 0.3,
    }
    _, shares = layer(
        q,
        v,
        **{name: put(mask) for name, mask in masks.items()},
        use_causal_mask=True,
        return_attention_scores=True,
    )
    allowed = masks["query_mask"][:, :, None] & (masks["value_mask"] & masks["key_mask"])[:, None]
    allowed = allowed & masks["attention_mask"] & np.tri(4, 5, dtype=bool)
    found = nn.to_numpy(shares) > 0
    np.testing.assert_array_equal(found, np.broadcast_to(allowed[:, None], (2, 2, 4, 5)))
    for mask in (
        masks["attention_mask"][:1],
        masks["attention_mask"][:, None],
        masks["attention_mask"].astype("int64"),
    ):
        found = layer(q, v, attention_mask=put(mask), return_attention_scores=True)[1]
        wide = np.broadcast_to(mask if mask.ndim == 4 else mask[..., None, :, :] != 0, (2, 2, 4, 5))
        np.testing.assert_array_equal(nn.to_numpy(found) > 0, wide)


def test_a_mask_from_the_embedding_reaches_attention(put, backend):
    tokens = np.asarray([[3, 1, 0, 0], [2, 2, 2, 0]])
    x = nn.Input((4,), dtype="int64")
    embedded = nn.Embedding(5, 6, mask_zero=True)(x)
    attention = nn.MultiHeadAttention(2, 3)
    model = nn.Model(x, attention(embedded, embedded), backend=backend, seed=0)
    answer = model.predict(tokens)
    vectors, mask = put(model.get_weights()[0][tokens], "float32"), put(tokens != 0)
    alone = attention(vectors, vectors, query_mask=mask, value_mask=mask)
    np.testing.assert_allclose(nn.to_numpy(answer), nn.to_numpy(alone), atol=1e-6)
    assert np.abs(nn.to_numpy(attention(vectors, vectors)) - nn.to_numpy(alone)).max() > 1e-4


def test_dropped_weights_are_those_of_the_stream(put, rng, built):
    layer = built(nn.MultiHeadAttention(2, 3, dropout=0.5), (4, 6), (4, 6))
    x = put(rng.normal(size=(2, 4, 6)))
    value, shares = layer(x, x, training=True, return_attention_scores=True)
    kept = Stream(0, "multi_head_attention/mask", step=0).keep((2, 2, 4, 4), 0.5)
    v = (
        np.einsum("ntc,chd->nthd", nn.to_numpy(x), layer.value_dense.kernel.numpy())
        + layer.value_dense.bias.numpy()
    )
    o = np.einsum("nhij,njhd->nihd", nn.to_numpy(shares) * kept * 2, v)
    expected = (
        np.einsum("nihd,hdc->nic", o, layer.output_dense.kernel.numpy()) + layer.output_dense.bias.numpy()
    )
    np.testing.assert_allclose(nn.to_numpy(value), expected, atol=1e-12)
    np.testing.assert_array_equal(nn.to_numpy(layer(x, x)), nn.to_numpy(layer(x, x)))


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("use_scale", [False, True])
@pytest.mark.parametrize("score_mode", ["dot", "concat"])
def test_attention_of_a_list_is_its_formula(use_scale, score_mode, put, rng, backend):
    query, value, key = (rng.normal(size=shape) for shape in ((2, 4, 3), (2, 5, 6), (2, 5, 3)))
    layer = nn.Attention(use_scale=use_scale, score_mode=score_mode, dtype="float64")
    with nn.use_backend(backend):
        layer.build([(4, 3), (5, 6), (5, 3)])
    layer.set_weights([np.asarray(v) for v in (0.7, 1.3)[: len(layer.get_weights())]])
    a = 0.7 if use_scale else 1.0
    w = (1.3 if use_scale else 0.7) if score_mode == "concat" else 1.0
    if score_mode == "dot":
        scores = a * query @ key.swapaxes(1, 2)
    else:
        scores = w * np.tanh(a * (query[:, :, None] + key[:, None])).sum(-1)
    inputs = [put(x) for x in (query, value, key)]
    out, shares = layer(inputs, return_attention_scores=True)
    np.testing.assert_allclose(nn.to_numpy(shares), softmax(scores), atol=1e-13)
    np.testing.assert_allclose(nn.to_numpy(out), softmax(scores) @ value, atol=1e-13)
    mask = [rng.random((2, 4)) > 0.3, np.asarray([[True] * 5, [True, True, False, False, True]])]
    masked = nn.to_numpy(layer(inputs, mask=[put(m) for m in mask], use_causal_mask=True))
    allowed = mask[0][:, :, None] & mask[1][:, None] & np.tri(4, 5, dtype=bool)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(softmax(np.where(allowed, scores, -np.inf))) @ value
    np.testing.assert_allclose(masked, expected, atol=1e-13)


def test_additive_attention_of_a_list_is_its_formula(put, rng):
    query, value = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 5, 3))
    layer = nn.AdditiveAttention(dtype="float64")
    out = layer([put(query), put(value)])
    scores = (layer.scale.numpy() * np.tanh(query[:, :, None] + value[:, None])).sum(-1)
    np.testing.assert_allclose(nn.to_numpy(out), softmax(scores) @ value, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "call", "words"),
    [
        (lambda: nn.Attention(), lambda l, x: l(x), r"'attention' expects a list \[query, value\]"),
        (lambda: nn.Attention(), lambda l, x: l([x]), r"expects a list .* got \(n, 4, 6\)"),
        (lambda: nn.Attention(score_mode="sum"), lambda l, x: l, "score modes 'dot' and 'concat', got 'sum'"),
        (lambda: nn.AdditiveAttention(dropout=1.0), lambda l, x: l, "dropout from 0 to below 1"),
        (lambda: nn.MultiHeadAttention(2, 3), lambda l, x: l(x), "query, value and key of shapes"),
        (lambda: nn.MultiHeadAttention(2, 3), lambda l, x: l(x[:, 0, ...], x), r"got \(n, 6\), \(n, 4, 6\)"),
        (lambda: nn.MultiHeadAttention(2, 3, attention_axes=(1, 2)), lambda l, x: l, "over the axis of time"),
        (
            lambda: nn.MultiHeadAttention(2, 3, output_shape=()),
            lambda l, x: l,
            "output_shape of 1 to 4 numbers",
        ),
        (lambda: nn.MultiHeadAttention(0, 3), lambda l, x: l, "num_heads to be at least 1"),
        (lambda: nn.GroupQueryAttention(3, 4, 3), lambda l, x: l, "to divide num_query_heads, got 3 and 4"),
    ],
)
def test_what_does_not_fit_is_refused(make, call, words, put):
    x = put(np.ones((2, 4, 6)))
    with pytest.raises(ValueError, match=words):
        call(make(), x)


def test_another_width_than_it_was_built_for_is_refused_by_name(put):
    layer = nn.MultiHeadAttention(2, 3)
    layer(put(np.ones((2, 4, 6))), put(np.ones((2, 4, 6))))
    with pytest.raises(ValueError, match=r"kernel of shape \(6, 2, 3\), got an input of shape \(n, 4, 5\)"):
        layer(put(np.ones((2, 4, 6))), put(np.ones((2, 4, 5))))
    with pytest.raises(
        ValueError, match=r"attention_mask of shape \(n, t, s\) = \(2, 4, 4\) or .*, got \(4,\)"
    ):
        layer(put(np.ones((2, 4, 6))), put(np.ones((2, 4, 6))), attention_mask=put(np.ones(4, bool)))


def test_an_attention_mask_with_two_axes_is_refused(put):
    """It may be meant as (t, s) or as padding, (n, s): with n = t both would fit."""
    x = put(np.ones((4, 4, 6)))
    words = (
        r"'multi_head_attention' expects attention_mask of shape \(n, t, s\) = \(4, 4, 4\) or \(n, heads, t, s\) = "
        r"\(4, 2, 4, 4\), got \(4, 4\)\. .*value_mask=.*attention_mask\[None, \.\.\.\]"
    )
    with pytest.raises(ValueError, match=words):
        nn.MultiHeadAttention(2, 3)(x, x, attention_mask=put(np.ones((4, 4), bool)))
    with pytest.raises(ValueError, match=r"'group_query_attention' expects attention_mask .*got \(4, 4\)"):
        nn.GroupQueryAttention(3, 2, 1)(x, x, attention_mask=put(np.ones((4, 4), bool)))
    with pytest.raises(ValueError, match=r"attention_mask of shape .*got \(4, 3, 4\)\."):
        nn.MultiHeadAttention(2, 3)(x, x, attention_mask=put(np.ones((4, 3, 4), bool)))


@pytest.mark.parametrize(
    ("name", "axes"), [("query_mask", "n, t"), ("value_mask", "n, s"), ("key_mask", "n, s")]
)
def test_a_mask_of_other_positions_is_refused_by_its_name(name, axes, put):
    x, y = put(np.ones((2, 4, 6))), put(np.ones((2, 5, 6)))
    length = 4 if name == "query_mask" else 5
    words = rf"'multi_head_attention' expects {name} of shape \({axes}\) = \(2, {length}\), .*got \(2, 3\)"
    with pytest.raises(ValueError, match=words):
        nn.MultiHeadAttention(2, 3)(x, y, **{name: put(np.ones((2, 3), bool))})
    masks = [None, put(np.ones((2, 4), bool))]
    with pytest.raises(ValueError, match=r"'attention' expects mask\[1\] of shape \(n, s\) = \(2, 5\)"):
        nn.Attention()([x, y], mask=masks)


def test_the_mask_of_dropout_is_one_byte_for_each_weight(put, monkeypatch):
    drawn = []
    keep = Stream.keep
    monkeypatch.setattr(Stream, "keep", lambda self, *a: drawn.append(keep(self, *a)) or drawn[-1])
    x = put(np.ones((2, 4, 6)))
    nn.MultiHeadAttention(3, 2, dropout=0.5, chunk_size=2)(x, x, training=True)
    assert [mask.shape for mask in drawn] == [(2, 3, 4, 4)]
    assert nn.to_numpy(drawn[0]).nbytes == 2 * 3 * 4 * 4


def test_a_model_with_attention_learns(backend, rng):
    """Copy the first token to every place: only attention can."""
    x = nn.Input((4, 8))
    attended = nn.MultiHeadAttention(1, 8)(x, x)
    model = nn.Model(x, nn.Dense(3)(attended), backend=backend, seed=1)
    model.compile(nn.optimizers.Adam(0.02), "mean_squared_error")
    data = rng.normal(size=(64, 4, 8)).astype("float32")
    data[:, :, 3:] = np.eye(8, dtype="float32")[:4, :5]
    y = np.repeat(data[:, :1, :3], 4, axis=1)
    epochs = 10 if backend.name in ("jax", "strict") else 80
    history = model.fit(data, y, epochs=epochs, batch_size=64, verbose=0).history["loss"]
    assert history[-1] < (0.9 if epochs == 10 else 0.3) * history[0]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda q, v: nn.MultiHeadAttention(2, 4)(q, v), "MultiHeadAttention 'multi_head_attention'"),
        (lambda q, v: nn.Attention()([q, v]), "Attention 'attention'"),
    ],
)
def test_query_and_value_of_different_numbers_of_samples_are_refused(call, name, put):
    with pytest.raises(
        ValueError, match=rf"{name} expects as many samples .*, got 2, 3 and 3. Repeat the one"
    ):
        call(put(np.ones((2, 4, 5))), put(np.ones((3, 4, 5))))
