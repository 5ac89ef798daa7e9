"""The face of `nnbackend.functional`, and that it serves as the namespace of tensors."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import agreement
from nnbackend import functional as fn

NAMES = """
EPSILON abs absolute_error acos acosh adaptive_average_pool adaptive_max_pool add additive_attention all alpha_dropout
any argmax argmin argsort asin asinh astype atan atan2 atanh average_pool batch_norm batch_norm_inference bfloat16
binary_crossentropy binary_focal_crossentropy bool broadcast_arrays broadcast_to categorical_crossentropy
categorical_focal_crossentropy categorical_hinge ceil celu circle clip concat contrastive conv conv1d conv2d conv3d
conv_kernel_gradient conv_transpose copysign cos cosh cosine_similarity count_nonzero ctc cumulative_sum dense
depthwise_conv divide dropout einsum elu embedding equal erf erfc exp expand_dims expm1 finfo flip float16 float32
float64 floor floor_divide full_like gelu generalized_crossentropy getitem global_average_pool global_max_pool glu
greater greater_equal group_norm gru hard_shrink hard_sigmoid hard_silu hard_tanh hardest_triplet hinge huber hypot
iinfo instance_norm int16 int32 int64 int8 isdtype isfinite isinf isnan kl_divergence layer_norm leaky_relu less
less_equal linear log log10 log1p log2 log_cosh log_sigmoid log_softmax logaddexp logical_and logical_not logical_or
logical_xor logsumexp lstm masked_softmax matmul matrix_transpose max max_pool maximum mean mean_absolute_error
mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error min minimum mish moveaxis multiply
negative negative_log_likelihood not_equal ones_like outer pad permute_dims poisson pooled_shape positive pow
power_iteration prelu prod reciprocal relu relu6 remainder repeat reshape rms_norm roll rotary_embedding round
scaled_dot_product_attention scatter_add searchsorted selu separable_conv sigmoid sigmoid_binary_crossentropy
sigmoid_focal_crossentropy sign signbit silu simple_rnn sin sinh sinusoidal_positions soft_shrink softmax
softmax_crossentropy softmax_focal_crossentropy softmin softplus softsign sort sparse_categorical_crossentropy
sparse_softmax_crossentropy spectral_norm sqrt square squared_error squared_hinge squeeze stack standardize std step
subtract sum take take_along_axis tan tanh tanh_shrink tensordot threshold tile tril triplet triu trunc tversky uint16
uint32 uint64 uint8 unit_norm unstack upsample var vecdot where zeros_like
""".split()


def test_the_face_is_exactly_this():
    assert sorted(fn.__all__) == sorted(NAMES)


def test_every_name_is_there_and_every_function_says_what_it_does():
    for name in fn.__all__:
        value = getattr(fn, name)
        assert not callable(value) or isinstance(value, str) or value.__doc__, name


def test_every_rule_is_public():
    assert set(agreement.rules()) <= set(fn.__all__)


def array_api_code(x):
    """A user's function, written against the standard alone."""
    xp = x.__array_namespace__()
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    scaled = centred / xp.sqrt(xp.var(x, axis=-1, keepdims=True) + 1e-3)
    gated = xp.where(scaled > 0, xp.tanh(scaled), xp.expm1(xp.minimum(scaled, xp.zeros_like(scaled))))
    joined = xp.concat([gated, xp.flip(gated, axis=1)], axis=1)
    scores = xp.matmul(joined, xp.matrix_transpose(joined))
    kept = xp.astype(xp.tril(scores), xp.float64)
    return (
        xp.sum(xp.stack(xp.unstack(kept)), axis=None)
        + xp.max(abs(kept)) * kept[0, -1]
        + xp.sum(kept[:, None, 1])
    )


def test_ordinary_array_api_code_differentiates(put, rng):
    nn.gradcheck(
        lambda x: array_api_code(fn.add(x, 0.0) if isinstance(x, nn.Tensor) else nn.Tensor(x)),
        put(rng.normal(size=(3, 4))),
    )


def test_array_api_code_computes_the_same_on_arrays_and_tensors(put, rng, backend):
    if not hasattr(put([1.0]), "__array_namespace__"):
        pytest.skip(f"{backend.name}'s arrays do not carry their namespace")
    values = rng.normal(size=(3, 4))
    if backend.name == "numpy":
        plain = float(array_api_code(put(values)))
        assert float(array_api_code(nn.Tensor(put(values)))) == pytest.approx(plain, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("equal", 2),
        ("not_equal", 2),
        ("less", 2),
        ("less_equal", 2),
        ("greater", 2),
        ("greater_equal", 2),
        ("isnan", 1),
        ("isinf", 1),
        ("isfinite", 1),
        ("signbit", 1),
        ("sign", 1),
        ("floor", 1),
        ("ceil", 1),
        ("trunc", 1),
        ("round", 1),
        ("floor_divide", 2),
        ("count_nonzero", 1),
        ("argmax", 1),
        ("argmin", 1),
        ("argsort", 1),
        ("zeros_like", 1),
        ("ones_like", 1),
    ],
)
def test_functions_without_a_gradient_are_the_library_s(name, arguments, put, rng):
    given = [rng.normal(size=(3, 4)) * 2, np.round(rng.normal(size=(3, 4)) * 2) + 0.5][:arguments]
    expected = getattr(np, name)(*given)
    plain = getattr(fn, name)(*map(put, given))
    wrapped = getattr(fn, name)(*(nn.Tensor(put(array)) for array in given))
    assert not isinstance(plain, nn.Tensor)
    assert isinstance(wrapped, nn.Tensor)
    np.testing.assert_array_equal(nn.to_numpy(plain), expected)
    np.testing.assert_array_equal(nn.to_numpy(wrapped), expected)


def test_logic_of_booleans(put):
    a, b = put([True, True, False]), put([True, False, False])
    for name in ("logical_and", "logical_or", "logical_xor"):
        expected = getattr(np, name)(nn.to_numpy(a), nn.to_numpy(b))
        np.testing.assert_array_equal(nn.to_numpy(getattr(fn, name)(nn.Tensor(a), b)), expected)
        np.testing.assert_array_equal(nn.to_numpy(getattr(fn, name)(a, nn.Tensor(b))), expected)
    np.testing.assert_array_equal(nn.to_numpy(~nn.Tensor(a) | nn.Tensor(b)), [True, False, True])
    assert bool(nn.to_numpy(fn.any(nn.Tensor(a))))
    assert not bool(nn.to_numpy(fn.all(nn.Tensor(a))))


def test_a_step_has_gradient_zero(put):
    gradient = nn.grad(lambda x: fn.sum(fn.floor(x) * x + fn.sign(x)))(put([1.5, -0.5]))
    np.testing.assert_array_equal(nn.to_numpy(gradient), [1.0, -1.0])


def test_functions_without_a_gradient_refuse_what_is_no_array():
    with pytest.raises(TypeError, match="floor expects at least one array, got float"):
        fn.floor(1.5)


def test_dtype_names_stand_for_every_library_s_dtypes(put, backend):
    x = nn.Tensor(put([1.0], "float32"))
    assert x.dtype == fn.float32 or backend.name == "strict"  # strict compares with its own dtypes only
    assert fn.float32 == backend.xp.float32
    assert fn.float32 != backend.xp.float64
    assert fn.isdtype(backend.xp.float64, "real floating")
    assert fn.isdtype(backend.xp.int32, ("integral", "bool"))
    assert not fn.isdtype(backend.xp.bool, fn.float32)
    assert fn.finfo(x).eps == 2.0**-23
    assert fn.iinfo(backend.xp.int8).max == 127
    for wanted in (fn.float64, "float64", backend.xp.float64):
        assert fn.astype(x, wanted).dtype == backend.xp.float64


def test_like_creation_follows_the_array_and_takes_dtype_names(put, backend):
    x = nn.Tensor(put([[1.0, 2.0]], "float32"))
    assert fn.full_like(x, 3).dtype == backend.xp.float32
    made = fn.ones_like(x, dtype="int64")
    assert made.dtype == backend.xp.int64
    np.testing.assert_array_equal(nn.to_numpy(made), [[1, 1]])


def test_searchsorted(put):
    found = fn.searchsorted(put([1.0, 2.0, 2.0, 3.0]), put([2.0, 0.0]), side="right")
    np.testing.assert_array_equal(nn.to_numpy(found), [3, 0])
