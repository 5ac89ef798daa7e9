"""Attention by cuDNN without a GPU: a package that is a fake carries out what is described, on host memory."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.functional import attention as generic
from tests.backends import test_cupy_cudnn as shared
from tests.backends.cublas_on_cpu import from_bfloat16, to_bfloat16
from tests.backends.cudnn_on_cpu import CudnnOnCpu, NotSupportedError

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

from nnbackend_cupy import CupyBackend, attention, cudnn, graphs  # noqa: E402
from nnbackend_cupy.cudnn import Attention, Cudnn  # noqa: E402
from nnbackend_cupy.options import Options, in_force  # noqa: E402

library, pool, backend, contents = shared.library, shared.pool, shared.backend, shared.contents
_Pool = shared._Pool
_RULE = generic.scaled_dot_product_attention.function


@pytest.fixture
def attending(backend: CupyBackend, pool: _Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[CupyBackend]:
    """A backend that attends by the fake; it is in force."""
    monkeypatch.setattr(cupy, "copy", lambda a: _copied(a))
    attention._tell.cache_clear()
    for name in (
        "arange broadcast_to expand_dims less_equal logical_and max maximum not_equal subtract where".split()
    ):
        monkeypatch.setattr(cupy, name, _on_cpu(getattr(np, name), pool))
    monkeypatch.setattr(attention, "_float32", lambda a: pool.given(contents(a).astype(np.float32)))
    made = CupyBackend(attention="cudnn")
    with nn.use_backend(made):
        yield made


def _on_cpu(function: Any, pool: _Pool) -> Any:
    """Let a function of NumPy's compute what one of CuPy's would; broadcasting is kept."""

    def call(*arguments: Any, **options: Any) -> Any:
        given = [contents(each) if isinstance(each, cupy.ndarray) else each for each in arguments]
        with np.errstate(invalid="ignore", over="ignore"):
            return pool.given(function(*given, **options))

    return call


def _copied(array: Any) -> Any:
    made = cupy.empty(array.shape, array.dtype)
    contents(made)[...] = contents(array)
    return made


#: samples, queries, heads, d, keys, groups, v, options
_CASES = {
    "plain": ((2, 6, 3, 8, 6, 3, 8), {}),
    "causal": ((2, 7, 2, 16, 7, 2, 16), {"causal": True}),
    "odd lengths": ((2, 5, 3, 8, 11, 3, 24), {"scale": 0.3}),
    "causal with fewer keys": ((1, 9, 2, 8, 5, 2, 8), {"causal": True, "scale": 1.0}),
    "causal with fewer queries": ((1, 5, 2, 8, 9, 2, 8), {"causal": True}),
    "groups": ((2, 5, 6, 8, 4, 2, 16), {"causal": True}),
    "one head": ((3, 4, 1, 8, 3, 1, 8), {}),
    "one query": ((3, 1, 2, 8, 6, 2, 8), {"chunk_size": 2}),
}


def _arranged(sizes: tuple[int, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """Return query, key, value and the gradient of the output, in float16."""
    n, t, heads, d, s, groups, v = sizes
    shapes = (n, t, heads, d), (n, s, groups, d), (n, s, groups, v), (n, t, heads, v)
    return [rng.standard_normal(shape).astype(np.float16) for shape in shapes]


def _assert_close(actual: Any, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-3 * max(1.0, float(np.max(np.abs(wanted)))))


@pytest.mark.parametrize("name", list(_CASES))
def test_what_is_described_is_the_generic_rule(
    name: str, attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    sizes, options = _CASES[name]
    given = _arranged(sizes, rng)
    *arrays, dy = map(pool.given, given)
    out, backward = attention.scaled_dot_product_attention(*arrays, **options)
    gradients = backward(dy, (True, True, True, False, False, False))
    exact = [array.astype(np.float64) for array in given]
    wanted, way_back = _RULE(*exact[:3], **options)
    assert [graph.operation["kind"] for graph in library.graphs] == ["sdpa", "sdpa_backward"]
    assert library.graphs[1].operation["deterministic"] is True
    assert out.flags.c_contiguous
    _assert_close(contents(out), wanted)
    expected = way_back(exact[3], (True, True, True, False, False, False))
    for actual, theirs in zip(gradients[:3], expected[:3], strict=True):
        assert contents(actual).dtype == np.float16
        _assert_close(contents(actual), theirs)
    assert gradients[3:] == (None, None, None)
    assert [part is None for part in backward(dy, (False, True, False, False, False, False))[:3]] == [
        True, False, True,
    ]  # fmt: skip


def _inf(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a bias with minus infinities, and with rows far from zero."""
    bias = rng.standard_normal(shape).astype(np.float16)
    bias[rng.random(shape) < 0.3] = -np.inf
    bias[..., :1, :] -= np.float16(30000.0)
    return bias


#: as in `_CASES`, with the shapes of a mask and a bias
_MASKED = {
    "padding": ((3, 5, 2, 8, 6, 2, 8), (3, 1, 1, 6), None, {}),
    "padding and causal": ((3, 7, 2, 8, 7, 2, 8), (3, 1, 1, 7), None, {"causal": True}),
    "whole": ((2, 5, 2, 8, 6, 2, 8), (2, 2, 5, 6), None, {}),
    "queries": ((2, 5, 4, 8, 6, 2, 8), (5, 1), None, {"causal": True}),
    "bias": ((2, 5, 2, 8, 6, 2, 8), None, (2, 5, 6), {"scale": 0.4}),
    "bias of a number a query": ((2, 5, 2, 8, 6, 2, 8), None, (5, 1), {}),
    "bias and causal": ((2, 6, 4, 8, 5, 2, 8), None, (2, 4, 6, 5), {"causal": True}),
    "both": ((2, 5, 2, 16, 6, 2, 8), (2, 1, 5, 6), (1, 2, 1, 6), {"causal": True}),
}


@pytest.mark.parametrize("name", list(_MASKED))
def test_masks_and_biases_are_those_of_the_generic_rule(
    name: str, attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    """Also of rows in which nothing is allowed, which there always are."""
    sizes, masked, biased, options = _MASKED[name]
    *given, dy = _arranged(sizes, rng)
    mask = None if masked is None else rng.random(masked) < 0.4
    if mask is not None:
        mask[..., :1, :] = False  # nothing is allowed to the first query, or to all of them
        if masked[0] > 2:
            mask[1:] = True
            mask[1, ..., :2] = False  # with a causal mask, to the first two queries
    bias = None if biased is None else _inf(biased, rng)
    if bias is not None:
        bias[..., -1:, :] = -np.inf if biased[-2] > 1 else bias[..., -1:, :]
    extra = [None if each is None else pool.given(each) for each in (mask, bias)]
    out, backward = attention.scaled_dot_product_attention(*map(pool.given, given), *extra, **options)
    exact = [array.astype(np.float64) for array in given]
    wide = None if bias is None else bias.astype(np.float64)
    wanted, way_back = _RULE(*exact, mask, wide, **options)
    _assert_close(contents(out), wanted)
    unseen = np.all(wanted == 0, axis=-1)
    assert np.any(unseen)
    np.testing.assert_array_equal(contents(out)[unseen], 0)
    needs = (True, True, True, False, False, False)
    gradients = backward(pool.given(dy), needs)
    for actual, theirs in zip(gradients[:3], way_back(dy.astype(np.float64), needs), strict=False):
        _assert_close(contents(actual), theirs)
    assert [graph.operation["kind"] for graph in library.graphs] == ["sdpa", "sdpa_backward"]
    added = library.graphs[0].operation["operands"]["bias"]
    assert added.data_type == "FLOAT"


def test_a_mask_of_keys_stays_as_small_as_it_is(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    arrays = map(pool.given, _arranged((3, 5, 2, 8, 6, 2, 8), rng)[:3])
    attention.scaled_dot_product_attention(*arrays, pool.given(np.ones((3, 1, 1, 6), bool)))
    assert library.graphs[0].operation["operands"]["bias"].dim == [3, 1, 1, 6]


def test_what_is_nowhere_seen_may_be_infinite(
    attending: CupyBackend, pool: _Pool, rng: np.random.Generator
) -> None:
    """A row without a result has zeros, not the product of a zero and what stands in the values."""
    query, key, value, _ = _arranged((1, 2, 1, 8, 3, 1, 8), rng)
    value[0, 1] = np.inf
    mask = pool.given(np.asarray([[True, False, True], [False, False, False]]))
    out, _ = attention.scaled_dot_product_attention(*map(pool.given, (query, key, value)), mask)
    np.testing.assert_array_equal(contents(out)[0, 1], 0)


def test_the_gradient_of_a_bias_is_generic(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [pool.given(_numbers((2, 5, 3, 8))) for _ in range(3)]
    _, backward = attention.scaled_dot_product_attention(*arrays, None, pool.given(_numbers((5, 5))))
    calls = _rules(monkeypatch)
    dy, needs = pool.given(_numbers((2, 5, 3, 8))), (True, True, True, False, True, False)
    assert backward(dy, needs) == ("gradients", dy, needs)
    assert (len(calls), len(library.graphs)) == (1, 1)


def test_bfloat16_is_described_as_what_it_is(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    given = [to_bfloat16(array.astype(np.float32)) for array in _arranged(_CASES["causal"][0], rng)]
    arrays = [pool.given(array.view(bfloat16)) for array in given[:3]]
    out, _ = attention.scaled_dot_product_attention(*arrays, causal=True)
    wanted, _ = _RULE(*(from_bfloat16(array).astype(np.float64) for array in given[:3]), causal=True)
    np.testing.assert_array_equal(contents(out).view(np.uint16), to_bfloat16(wanted))
    assert library.graphs[-1].tensors[0].data_type == "BFLOAT16"


def test_strides_are_told_and_nothing_is_copied(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    """Parts of one projection, and heads before time, are read where they lie."""
    n, t, h, d = 2, 5, 3, 8
    whole = rng.standard_normal((n, t, h, 3 * d)).astype(np.float16)
    there = pool.given(whole)
    parts = [there[..., i * d : (i + 1) * d] for i in range(2)]
    value = rng.standard_normal((n, h, t, d)).astype(np.float16)
    arrays = [*parts, pool.given(value).transpose((0, 2, 1, 3))]
    pool.asked.clear()
    out, backward = attention.scaled_dot_product_attention(*arrays)
    assert sorted(pool.asked) == sorted(
        [((n, t, h, d), "float16"), ((n, h, t, 1), "float32"), ((library.workspace,), "uint8")]
    )
    strides = [tensor.stride for tensor in library.graphs[0].tensors]
    assert strides == [[360, 24, 72, 1]] * 2 + [[120, 40, 8, 1]]
    exact = [
        a.astype(np.float64) for a in (whole[..., :d], whole[..., d : 2 * d], value.transpose((0, 2, 1, 3)))
    ]
    wanted, way_back = _RULE(*exact)
    _assert_close(contents(out), wanted)
    dy = rng.standard_normal((n, h, t, d)).astype(np.float16)
    needs = (True, True, True, False, False, False)
    gradients = backward(pool.given(dy).transpose((0, 2, 1, 3)), needs)
    for actual, theirs in zip(
        gradients[:3], way_back(dy.transpose((0, 2, 1, 3)).astype(float), needs), strict=False
    ):
        _assert_close(contents(actual), theirs)
    assert library.graphs[1].tensors[4].stride == [120, 40, 8, 1]


def test_what_cudnn_cannot_read_is_copied(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    query, key, value, _ = _arranged((2, 5, 3, 8, 5, 3, 8), rng)
    wanted, _ = _RULE(*(array.astype(np.float64) for array in (query, key, value)))
    shifted = pool.given(np.concatenate([np.zeros(1, np.float16), query.ravel()]))[1:].reshape(query.shape)
    turned = pool.given(np.ascontiguousarray(key.swapaxes(1, 3))).swapaxes(1, 3)
    apart = pool.given(np.concatenate([value, value], axis=3)[..., :12])[..., :8]
    out, _ = attention.scaled_dot_product_attention(shifted, turned, apart)
    _assert_close(contents(out), wanted)


def test_it_is_what_the_rule_of_this_name_runs_in_16_bits(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    """The rule reaches it with arrays as they are, not widened."""
    assert inspect.signature(attention.scaled_dot_product_attention).parameters.keys() == (
        inspect.signature(_RULE).parameters.keys()
    )
    arrays = _arranged(_CASES["causal"][0], rng)[:3]
    out = nn.functional.scaled_dot_product_attention(*map(pool.given, arrays), causal=True)
    _assert_close(contents(out), _RULE(*(array.astype(np.float64) for array in arrays), causal=True)[0])
    assert [graph.operation["kind"] for graph in library.graphs] == ["sdpa"]


def test_a_graph_is_built_once_for_what_it_depends_on(library: CudnnOnCpu) -> None:
    steps = ((192, 8, 24, 1),) * 3
    job = Attention("value", 2, 3, 3, 8, 8, 8, 8, steps, False, 0.5, "float16")
    others = [
        job._replace(samples=3), job._replace(heads=6, groups=3), job._replace(queries=4), job._replace(keys=4),
        job._replace(width=16), job._replace(made=16), job._replace(steps=((192, 64, 8, 1),) * 3),
        job._replace(causal=True), job._replace(scale=0.25), job._replace(dtype="bfloat16"),
        job._replace(deterministic=False), job._replace(bias=(1, 1, 8, 8)), job._replace(bias=(2, 1, 1, 8)),
        job._replace(kind="gradients", steps=(*steps, steps[0])),
    ]  # fmt: skip
    own = Cudnn(library)
    plans = [own.plan(each) for each in (job, *others)]
    assert len(library.graphs) == len(plans) == len({id(plan) for plan in plans})
    assert [own.plan(each) for each in (job, *others)] == plans
    assert len(library.graphs) == len(plans)


def test_an_order_is_given_up_where_it_is_asked_for(
    backend: CupyBackend, library: CudnnOnCpu, pool: _Pool, rng: np.random.Generator
) -> None:
    library.plans = [{"NONDETERMINISTIC"}]
    *arrays, dy = map(pool.given, _arranged(_CASES["causal"][0], rng))
    with nn.use_backend(CupyBackend(attention="cudnn", deterministic=False)):
        _, backward = attention.scaled_dot_product_attention(*arrays, causal=True)
        backward(dy, (True, True, True, False, False, False))
    assert [graph.operation["kind"] for graph in library.graphs] == ["sdpa", "sdpa_backward"]
    assert library.graphs[1].operation["deterministic"] is False


@pytest.mark.parametrize("note", ["NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION"])
def test_plans_that_add_up_otherwise_are_refused(note: str, library: CudnnOnCpu) -> None:
    job = Attention("value", 2, 3, 3, 8, 8, 8, 8, ((192, 8, 24, 1),) * 3, False, 0.5, "float16")
    library.plans = [{note}]
    assert Cudnn(library).plan(job) is None


def _rules(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Take calls of the generic rule, and their options, instead of computing on a device that is not there."""
    calls: list[dict[str, Any]] = []

    def rule(*arrays: Any, **options: Any) -> Any:
        calls.append({"arrays": arrays, **options})
        return "value", lambda dy, needs: ("gradients", dy, needs)

    monkeypatch.setattr(generic.scaled_dot_product_attention, "function", rule)
    return calls


def _numbers(shape: tuple[int, ...], dtype: Any = np.float16) -> np.ndarray:
    return np.ones(shape, dtype)


@pytest.mark.parametrize(
    ("reason", "width", "extra"),
    [
        (
            "a bias of another dtype than the query's",
            8,
            {
                "mask": _numbers((5, 5), bool),
                "bias": _numbers((5, 5), np.float32),
                "causal": True,
                "scale": 0.5,
                "chunk_size": 2,
            },
        ),
        ("dropout of probabilities", 8, {"dropout_mask": _numbers((5, 5), bool), "dropout_rate": 0.5}),
        ("scores that are returned", 8, {"return_scores": True}),
        ("a scale that is not a positive number", 8, {"scale": -1.0}),
        ("heads of 12 and 12 numbers, which should be multiples of 8", 12, {}),
    ],
)
def test_what_cudnn_does_not_take_is_generic_with_one_reason(
    reason: str,
    width: int,
    extra: dict[str, Any],
    attending: CupyBackend,
    library: CudnnOnCpu,
    pool: _Pool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    calls = _rules(monkeypatch)
    arrays = [pool.given(_numbers((2, 5, 3, width))) for _ in range(3)]
    options = {name: pool.given(v) if isinstance(v, np.ndarray) else v for name, v in extra.items()}
    for _ in range(2):
        assert attention.scaled_dot_product_attention(*arrays, **options)[0] == "value"
    words = f"cuDNN does not attend with {reason}; it runs as products of matrices."
    assert [record.getMessage() for record in caplog.records] == [words]
    names = ("mask", "bias", "dropout_mask")
    found = dict(zip(names, calls[0]["arrays"][3:], strict=True)) | calls[0]
    assert all(found[name] is value for name, value in options.items())
    assert library.graphs == []


@pytest.mark.parametrize(
    "dtypes", [("float32",) * 3, ("float64",) * 3, ("float16", "float16", "float32")], ids="-".join
)
def test_other_dtypes_are_generic_without_a_word(
    dtypes: tuple[str, ...], attending: CupyBackend, library: CudnnOnCpu, pool: _Pool,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    calls = _rules(monkeypatch)
    attention.scaled_dot_product_attention(*(pool.given(_numbers((2, 5, 3, 8), dtype)) for dtype in dtypes))
    assert (len(calls), library.graphs, caplog.records) == (1, [], [])


def test_empty_arrays_and_what_has_no_plan_are_generic(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO, "nnbackend.cupy")
    calls = _rules(monkeypatch)
    attention.scaled_dot_product_attention(*(pool.given(_numbers((0, 5, 3, 8))) for _ in range(3)))
    assert (len(calls), library.graphs) == (1, [])
    library.refused = NotSupportedError("No valid engine configs")
    for _ in range(2):
        attention.scaled_dot_product_attention(*(pool.given(_numbers((2, 5, 3, 8))) for _ in range(3)))
    assert (len(calls), len(library.graphs), len(caplog.records)) == (3, 1, 1)
    words = caplog.records[0].getMessage()
    assert words.startswith("cuDNN has no plan for Attention(kind='value', samples=2, heads=3, ")


def test_the_way_back_is_generic_where_it_must_be(
    attending: CupyBackend, library: CudnnOnCpu, pool: _Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients that are tensors, of another dtype, or without a plan."""
    arrays = [pool.given(_numbers((2, 5, 3, 8))) for _ in range(3)]
    _, backward = attention.scaled_dot_product_attention(*arrays)
    calls = _rules(monkeypatch)
    needs = (True,) * 3 + (False,) * 3
    tensor, other = object(), pool.given(_numbers((2, 5, 3, 8), np.float32))
    assert [backward(dy, needs) for dy in (tensor, other)] == [
        ("gradients", dy, needs) for dy in (tensor, other)
    ]
    library.refused = NotSupportedError("none")
    dy = pool.given(_numbers((2, 5, 3, 8)))
    assert backward(dy, needs) == ("gradients", dy, needs)
    assert len(calls) == 3


def test_arguments_that_do_not_fit_are_refused_as_ever(attending: CupyBackend, pool: _Pool) -> None:
    query, key = (pool.given(_numbers((2, 5, 3, width))) for width in (8, 16))
    with pytest.raises(ValueError, match="scaled_dot_product_attention expects a query of shape"):
        attention.scaled_dot_product_attention(query, key, key)
    with pytest.raises(ValueError, match="expects mask of a shape that broadcasts to that of the scores"):
        attention.scaled_dot_product_attention(query, query, query, pool.given(_numbers((5, 4), bool)))
    with pytest.raises(TypeError, match="expects mask to be boolean"):
        attention.scaled_dot_product_attention(query, query, query, pool.given(_numbers((5, 5))))
    with pytest.raises(ValueError, match="expects a chunk_size of at least 1"):
        attention.scaled_dot_product_attention(query, query, query, chunk_size=0)


def test_a_workspace_has_a_limit(library: CudnnOnCpu) -> None:
    job = Attention("value", 2, 3, 3, 8, 8, 8, 8, ((192, 8, 24, 1),) * 3, False, 0.5, "float16")
    library.workspace = cudnn.ATTENTION_WORKSPACE
    assert Cudnn(library).plan(job) is not None
    library.workspace += 1
    assert Cudnn(library).plan(job) is None


# The choice


def test_it_is_used_where_it_is_asked_for_alone(backend: CupyBackend) -> None:
    made = CupyBackend(attention="cudnn")
    assert (backend.options.attention, made.options, made.scoped) == (None, Options(attention="cudnn"), True)
    recorder = graphs.CudaRecorder()
    with nn.use_backend(nn.get_backend("cupy")):
        assert in_force().attention is None
        choices = recorder.choices()
        with made.scope():
            assert in_force() == Options(attention="cudnn")
            assert recorder.choices() != choices  # graphs of the one are not used for the other
    with nn.use_backend("numpy"):
        assert in_force().attention is None


def test_the_option_is_shown_and_another_word_refused(backend: CupyBackend) -> None:
    all_three = CupyBackend(convolution="cudnn", attention="cudnn", deterministic=False)
    assert repr(all_three) == "<cupy backend, convolution='cudnn', attention='cudnn', deterministic=False>"
    with pytest.raises(ValueError, match=r"knows one library that attends, 'cudnn', got 'flash'\."):
        CupyBackend(attention="flash")


def test_what_is_missing_is_named_with_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "installed_version", lambda module: None)
    words = r'attention="cudnn" needs nvidia-cudnn-frontend\. Cure: pip install "nnbackend\[cuda13,cudnn\]"'
    with pytest.raises(nn.backend.BackendUnavailableError, match=words):
        CupyBackend(attention="cudnn")


# The package itself


@pytest.mark.parametrize("bias", [None, (2, 1, 5, 7)])
@pytest.mark.parametrize("kind", ["value", "gradients"])
def test_the_package_takes_the_graphs_as_they_are_described(kind: Any, bias: tuple[int, ...] | None) -> None:
    package = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    steps = ((240, 8, 48, 1), (112, 8, 16, 1), (224, 16, 32, 1), (480, 16, 96, 1))
    own_steps = steps[: 3 if kind == "value" else 4]
    job = Attention(kind, 2, 6, 2, 5, 7, 8, 16, own_steps, True, 0.5, "bfloat16", True, bias)
    more = int(bias is not None)
    own = object.__new__(Cudnn)
    own._library = package
    graph = package.pygraph(
        io_data_type=package.data_type.BFLOAT16,
        intermediate_data_type=package.data_type.FLOAT,
        compute_data_type=package.data_type.FLOAT,
    )
    own._attend(graph, job)
    (node,) = graph.nodes
    made = [(tensor.uid, tuple(tensor.dim)) for tensor in node.outputs.values()]
    assert node.params["attn_scale"] == 0.5
    assert node.params["use_causal_mask"] is True
    if kind == "value":
        assert made == [(4 + more, (2, 6, 5, 16)), (5 + more, (2, 6, 5, 1))]
        inputs = 3
    else:
        assert made == [(7 + more, (2, 6, 5, 8)), (8 + more, (2, 2, 7, 8)), (9 + more, (2, 2, 7, 16))]
        inputs = 6
        assert node.params["use_deterministic_algorithm"] is True
    assert sorted(tensor.uid for tensor in node.inputs.values()) == [*range(1, inputs + more + 1)]
    if bias is not None:
        assert (tuple(node.inputs["bias"].dim), node.inputs["bias"].uid) == (bias, inputs + 1)
