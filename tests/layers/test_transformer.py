"""Transformer blocks: PyTorch's answers with the same weights, and what masks and dropout do."""

import numpy as np
import pytest

import nnbackend as nn

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
CASES = [(first, activation) for first in (False, True) for activation in ("relu", "tanh")]


def their_attention(theirs, layer, name):
    """Pairs of our path and (their parameter, how it becomes ours) of one attention."""
    attention = getattr(layer, name)
    width = attention.query_dense.kernel.shape[0]
    pairs = {}
    for number, part in enumerate(("query", "key", "value")):
        dense = getattr(attention, f"{part}_dense")
        rows = slice(number * width, (number + 1) * width)
        pairs[f"{name}/{part}/kernel"] = (
            theirs.in_proj_weight, lambda w, r=rows, s=dense.kernel.shape: w[r].T.reshape(s)
        )  # fmt: skip
        pairs[f"{name}/{part}/bias"] = (
            theirs.in_proj_bias, lambda w, r=rows, s=dense.bias.shape: w[r].reshape(s)
        )  # fmt: skip
    shape = attention.output_dense.kernel.shape
    pairs[f"{name}/attention_output/kernel"] = theirs.out_proj.weight, lambda w: w.T.reshape(shape)
    pairs[f"{name}/attention_output/bias"] = theirs.out_proj.bias, lambda w: w
    return pairs


def their_parameters(theirs, layer):
    cross = hasattr(theirs, "multihead_attn")
    own = "self_attention" if isinstance(layer, nn.TransformerDecoder) else "self_attention_layer"
    pairs = their_attention(theirs.self_attn, layer, own)
    norms = {"self_attention_layer_norm": theirs.norm1}
    if cross:
        pairs |= their_attention(theirs.multihead_attn, layer, "cross_attention")
        norms |= {"cross_attention_layer_norm": theirs.norm2, "feedforward_layer_norm": theirs.norm3}
    else:
        norms["feedforward_layer_norm"] = theirs.norm2
    for name, norm in norms.items():
        pairs[f"{name}/gamma"] = norm.weight, lambda w: w
        pairs[f"{name}/beta"] = norm.bias, lambda w: w
    for name, dense in (("intermediate", theirs.linear1), ("output", theirs.linear2)):
        pairs[f"feedforward_{name}_dense/kernel"] = dense.weight, lambda w: w.T
        pairs[f"feedforward_{name}_dense/bias"] = dense.bias, lambda w: w
    return pairs


def compare(layer, theirs, shapes, options, their_options, put, rng, dtype, backend):
    torch = pytest.importorskip("torch")
    theirs = theirs.to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=tuple(parameter.shape)) * 0.5))
    layer.dtype = dtype
    with nn.use_backend(backend):
        layer.build(*(shape[1:] for shape in shapes))
    pairs = their_parameters(theirs, layer)
    handles = {path: parameter for path, parameter, _ in layer.named_parameters()}
    assert set(handles) == set(pairs)
    weights = {path: put(ours(w.detach().numpy()).copy(), dtype) for path, (w, ours) in pairs.items()}
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    output = theirs(*tensors, **their_options)
    dy = rng.normal(size=tuple(output.shape)).astype(dtype)
    output.backward(torch.tensor(dy))

    def run(weights, *arrays):
        values = {id(handles[path]): weight for path, weight in weights.items()}
        with nn.layers.base.Binding(values, (0, 0), 0, backend).bound():
            return layer(*arrays, **options)

    value, pullback = nn.vjp(run, weights, *(put(array, dtype) for array in arrays))
    by_weight, *by_input = pullback(put(dy, dtype))
    tolerance = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    np.testing.assert_allclose(nn.to_numpy(value), output.detach().numpy(), **tolerance)
    for gradient, tensor in zip(by_input, tensors, strict=True):
        np.testing.assert_allclose(nn.to_numpy(gradient), tensor.grad.numpy(), **tolerance)
    for path, (parameter, ours) in pairs.items():
        their = ours(parameter.grad.numpy())
        np.testing.assert_allclose(nn.to_numpy(by_weight[path]), their, err_msg=path, **tolerance)


@pytest.mark.parametrize(("normalize_first", "activation"), CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_encoder_is_pytorch_s(normalize_first, activation, masked, put, rng, dtype, backend):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.TransformerEncoderLayer(
        6,
        2,
        5,
        dropout=0.0,
        activation=getattr(torch, activation),
        batch_first=True,
        norm_first=normalize_first,
    )
    layer = nn.TransformerEncoder(5, 2, activation=activation, normalize_first=normalize_first)
    mask = np.arange(4) < np.asarray([[4], [2], [1]])
    options = {"padding_mask": put(mask)} if masked else {}
    their_options = {"src_key_padding_mask": torch.tensor(~mask)} if masked else {}
    compare(layer, theirs, [(3, 4, 6)], options, their_options, put, rng, dtype, backend)


@pytest.mark.parametrize(("normalize_first", "activation"), CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_decoder_is_pytorch_s(normalize_first, activation, masked, put, rng, dtype, backend):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.TransformerDecoderLayer(
        6,
        2,
        5,
        dropout=0.0,
        activation=getattr(torch, activation),
        batch_first=True,
        norm_first=normalize_first,
    )
    layer = nn.TransformerDecoder(5, 2, activation=activation, normalize_first=normalize_first, chunk_size=3)
    own, other = np.arange(4) < np.asarray([[4], [2], [1]]), np.arange(5) < np.asarray([[5], [1], [3]])
    options, their_options = {}, {"tgt_mask": torch.tensor(~np.tri(4, dtype=bool))}
    if masked:
        options = {"decoder_padding_mask": put(own), "encoder_padding_mask": put(other)}
        their_options |= {
            "tgt_key_padding_mask": torch.tensor(~own),
            "memory_key_padding_mask": torch.tensor(~other),
        }
    compare(layer, theirs, [(3, 4, 6), (3, 5, 6)], options, their_options, put, rng, dtype, backend)


@pytest.mark.parametrize("normalize_first", [False, True])
def test_decoder_of_one_sequence_is_pytorch_s_causal_encoder(normalize_first, put, rng, dtype, backend):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.TransformerEncoderLayer(
        6, 3, 5, dropout=0.0, batch_first=True, norm_first=normalize_first
    )
    layer = nn.TransformerDecoder(5, 3, normalize_first=normalize_first)
    their_options = {"src_mask": torch.tensor(~np.tri(4, dtype=bool))}
    compare(layer, theirs, [(3, 4, 6)], {}, their_options, put, rng, dtype, backend)


def test_the_mask_that_comes_with_the_input_is_the_padding_mask(put, rng):
    x, mask = put(rng.normal(size=(2, 4, 6)), "float32"), put([[True, True, False, False], [True] * 4])
    layer = nn.TransformerEncoder(5, 2)
    given = layer(x, padding_mask=mask)
    output, carried = layer.call_masked([mask], x)
    np.testing.assert_array_equal(nn.to_numpy(output), nn.to_numpy(given))
    np.testing.assert_array_equal(nn.to_numpy(carried), nn.to_numpy(mask))
    assert np.abs(nn.to_numpy(layer(x)) - nn.to_numpy(given)).max() > 1e-3
    decoder = nn.TransformerDecoder(5, 2)
    given = decoder(x, x, decoder_padding_mask=mask, encoder_padding_mask=mask)
    output, carried = decoder.call_masked([mask, mask], x, x)
    np.testing.assert_array_equal(nn.to_numpy(output), nn.to_numpy(given))
    np.testing.assert_array_equal(nn.to_numpy(carried), nn.to_numpy(mask))


def test_a_decoder_does_not_look_ahead_unless_told(put, rng):
    x = rng.normal(size=(1, 5, 6))
    layer = nn.TransformerDecoder(5, 2, dtype="float64", normalize_first=True)
    before = nn.to_numpy(layer(put(x)))
    x[:, 3:] += 1.0
    np.testing.assert_array_equal(nn.to_numpy(layer(put(x)))[:, :3], before[:, :3])
    assert (nn.to_numpy(layer(put(x), use_causal_mask=False))[:, :3] != before[:, :3]).all()


def test_scores_are_returned_on_demand(put, rng):
    x = put(rng.normal(size=(2, 4, 6)))
    layer = nn.TransformerEncoder(5, 2)
    y, scores = layer(x, return_attention_scores=True)
    assert scores.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(nn.to_numpy(scores).sum(-1), np.ones((2, 2, 4)), rtol=1e-6)
    np.testing.assert_array_equal(nn.to_numpy(layer(x)), nn.to_numpy(y))


def test_dropout_is_for_training_alone(put, rng):
    x = put(rng.normal(size=(2, 4, 6)))
    for layer in (nn.TransformerEncoder(5, 2, dropout=0.5), nn.TransformerDecoder(5, 2, dropout=0.5)):
        plain = nn.to_numpy(layer(x))
        np.testing.assert_array_equal(nn.to_numpy(layer(x, training=False)), plain)
        trained = nn.to_numpy(layer(x, training=True))
        assert (trained != plain).any()
        assert (nn.to_numpy(layer(x, training=True)) != trained).any()


def test_what_does_not_fit_is_refused(put):
    x = put(np.ones((2, 4, 6)))
    with pytest.raises(ValueError, match=r"among 4 heads, got an input of shape \(n, 4, 6\)"):
        nn.TransformerEncoder(5, 4)(x)
    with pytest.raises(ValueError, match=r"'transformer_encoder' expects inputs of shape \(n, t, c\)"):
        nn.TransformerEncoder(5, 2)(x[:, 0, :])
    with pytest.raises(ValueError, match="dropout from 0 to below 1"):
        nn.TransformerDecoder(5, 2, dropout=1.0)
    alone, paired = nn.TransformerDecoder(5, 2), nn.TransformerDecoder(5, 2)
    alone(x)
    paired(x, x)
    with pytest.raises(ValueError, match="was built for one sequence, got two"):
        alone(x, x)
    with pytest.raises(ValueError, match="was built for two sequences, got one"):
        paired(x)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("padding_mask", (2, 3), r"padding_mask of shape \(n, t\) = \(2, 4\), .*got \(2, 3\)"),
        ("mask", (4,), r"mask of shape \(n, t\) = \(2, 4\), .*got \(4,\)"),
        ("attention_mask", (2, 4), r"attention_mask of shape \(n, t, t\) = \(2, 4, 4\) .*got \(2, 4\)"),
        (
            "decoder_padding_mask",
            (2, 5),
            r"decoder_padding_mask of shape \(n, t\) = \(2, 4\), .*got \(2, 5\)",
        ),
        ("decoder_attention_mask", (2, 4, 5), r"mask of shape \(n, t, t\) = \(2, 4, 4\) .*got \(2, 4, 5\)"),
        (
            "encoder_padding_mask",
            (2, 4),
            r"encoder_padding_mask of shape \(n, s\) = \(2, 5\), .*got \(2, 4\)",
        ),
        ("encoder_attention_mask", (4, 5), r"mask of shape \(n, t, s\) = \(2, 4, 5\) .*got \(4, 5\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_at_the_door(name, given, words, put):
    x, other, mask = put(np.ones((2, 4, 6))), put(np.ones((2, 5, 6))), put(np.ones(given, bool))
    coder = name.startswith(("decoder", "encoder"))
    layer = nn.TransformerDecoder(5, 2) if coder else nn.TransformerEncoder(5, 2)
    kind = "decoder" if coder else "encoder"
    with pytest.raises(ValueError, match=f"^Transformer.* 'transformer_{kind}' expects .*{words}"):
        layer(*((x, other) if coder else (x,)), **{name: mask})


def test_numbers_are_masks_where_they_are_not_zero(put, rng):
    x, mask = put(rng.normal(size=(2, 4, 6))), np.array([[1, 1, 0, 0], [2, 1, 1, 0]])
    pairs = rng.integers(0, 2, size=(2, 4, 4))
    encoder, decoder = nn.TransformerEncoder(5, 2), nn.TransformerDecoder(5, 2)
    for layer, inputs, names in (
        (encoder, (x,), ("padding_mask", "attention_mask")),
        (encoder, (x,), ("mask", "attention_mask")),
        (decoder, (x, x), ("decoder_padding_mask", "decoder_attention_mask")),
        (decoder, (x, x), ("encoder_padding_mask", "encoder_attention_mask")),
    ):
        numbers = layer(*inputs, **dict(zip(names, (put(mask), put(pairs)), strict=True)))
        booleans = layer(*inputs, **dict(zip(names, (put(mask != 0), put(pairs != 0)), strict=True)))
        np.testing.assert_array_equal(nn.to_numpy(numbers), nn.to_numpy(booleans))
