"""Elementwise programs: what is traced, what is refused, and the block evaluator's bits."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import nnbackend as nn
from nnbackend.backend import Backend, namespace
from nnbackend.elementwise import (
    KEPT,
    Elementwise,
    Instruction,
    Program,
    Value,
    elementwise,
    promote,
    rowwise,
)
from nnbackend.optimizers.adam import adam_update
from nnbackend_numpy import blocks
from nnbackend_numpy.blocks import Evaluator


@elementwise
def leaky(x: Any, *, slope: float) -> Any:
    xp = namespace(x)
    return xp.where(x > 0, x, slope * x)


@elementwise
def adam(p: Any, g: Any, m: Any, v: Any, scale: Any, *, beta_1: float = 0.9, beta_2: float = 0.999) -> Any:
    xp = namespace(p)
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * xp.square(g)
    return p - scale * m / (xp.sqrt(v) + 1e-7), m, v


@rowwise
def log_softmax(x: Any) -> Any:
    xp = namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


@rowwise
def layer_norm(x: Any, gamma: Any, beta: Any) -> Any:
    xp = namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    inverse = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)
    return centred * inverse * gamma + beta, inverse


def numbers(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def in_blocks(function: Elementwise, *arrays: Any, block: int, donate: Any = (), **static: Any) -> Any:
    return Evaluator().blocked(function.program(**static), list(arrays), donate, block)


def assert_bits(found: Any, expected: Any) -> None:
    """Assert equality of type, shape and every bit, for one array or several."""
    founds, expecteds = (value if isinstance(value, tuple) else (value,) for value in (found, expected))
    assert len(founds) == len(expecteds)
    for one, other in zip(founds, expecteds, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        np.testing.assert_array_equal(one, other, strict=True)
        if "float" in one.dtype.name:
            np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


def test_the_trace_is_a_straight_line() -> None:
    program = leaky.program(slope=0.5)
    assert program.instructions == (
        Instruction("greater", (Value(0), 0)),
        Instruction("multiply", (0.5, Value(0))),
        Instruction("where", (Value(1), Value(0), Value(2))),
    )
    assert program.outputs == (Value(3),)
    assert (program.name, program.arity, program.rowwise) == ("leaky", 1, False)


def test_each_set_of_static_arguments_is_traced_once() -> None:
    calls = []

    @elementwise
    def f(x: Any, *, a: float) -> Any:
        calls.append(a)
        return x * a

    for a in (1.0, 2.0, 1.0, 1, 0.0, -0.0, 0.0):
        f.program(a=a)
    assert [repr(a) for a in calls] == ["1.0", "2.0", "1", "0.0", "-0.0"]


def test_a_subexpression_is_computed_once() -> None:
    @elementwise
    def f(x: Any) -> Any:
        xp = namespace(x)
        return xp.exp(x) / (1.0 + xp.exp(x))

    assert [i.operation for i in f.program().instructions] == ["exp", "add", "divide"]


def test_constants_that_python_calls_equal_stay_apart() -> None:
    @elementwise
    def f(x: Any) -> Any:
        return x * 0.0, x * -0.0, x + 1, x + 1.0

    assert len(f.program().instructions) == 4
    assert_bits(f(np.ones(2)), f.function(np.ones(2)))


def test_squares_and_roots_are_what_libraries_make_of_them() -> None:
    @elementwise
    def f(x: Any) -> Any:
        return x**2, x**0.5, x**3, 2.0**x

    assert [i.operation for i in f.program().instructions] == ["square", "sqrt", "pow", "pow"]


def test_operators_trace_to_the_standards_functions() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        flag = (x < y) & (x <= 1) | ~(x != y) ^ (x == y)
        return namespace(x).where(flag, +x - -y, abs(1 - x) / (2.0 / y))

    x, y = numbers((50,)), numbers((50,), seed=1)
    assert_bits(in_blocks(f, x, y, block=7), f.function(x, y))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "if": (lambda x: x if x > 0 else -x, r"refused: a Python branch on an array's value .* use xp.where"),
    "and": (lambda x: (x > 0) and (x < 1), "a Python branch on an array's value"),
    "float": (lambda x: x * float(x), r"float\(\) of an array inside an elementwise function"),
    "int": (lambda x: x * int(x), r"int\(\) of an array"),
    "index": (lambda x: [1.0, 2.0][x], "an array used as an index"),
    "iteration": (lambda x: sum(x), "iteration over an array"),
    "item": (lambda x: x[0], "indexing inside"),
    "assignment": (lambda x: x.__setitem__(0, 1.0), "assignment to elements"),
    "another function": (lambda x: namespace(x).matmul(x, x), "cannot use xp.matmul"),
    "reduction": (
        lambda x: x - namespace(x).max(x, axis=-1, keepdims=True),
        "needs the function to be marked @roww",
    ),
    "an array inside": (
        lambda x: x * np.ones(3),
        "expected an argument of the function or a Python number, got nda",
    ),
    "a NumPy number": (
        lambda x: namespace(x).add(x, np.float32(2.0)),
        r"got float32. .* convert other numbers with",
    ),
    "text": (lambda x: x + "1", "got str"),
}


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_traced_is_refused(body: Callable[[Any], Any], message: str) -> None:
    def refused(x: Any) -> Any:
        return body(x)

    with pytest.raises((TypeError, AttributeError), match=message):
        elementwise(refused)(np.ones(3))


def test_an_assignment_that_would_overwrite_the_argument_is_refused() -> None:
    @elementwise
    def f(x: Any) -> Any:
        x += 1.0
        return x

    x = np.ones(3)
    with pytest.raises(
        TypeError, match=r"f: an assignment such as x \+= y would overwrite the caller's array"
    ):
        f(x)
    assert x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("options", [{}, {"axis": 0, "keepdims": True}, {"axis": -1}])
def test_rows_are_reduced_one_way_only(options: dict[str, Any]) -> None:
    @rowwise
    def f(x: Any) -> Any:
        return namespace(x).sum(x, **options)

    with pytest.raises(TypeError, match="a rowwise program reduces with axis=-1, keepdims=True only"):
        f(np.ones((2, 3)))


def test_arguments_that_are_no_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match="leaky expects arrays, got float"):
        leaky(1.0, slope=0.5)


@pytest.mark.parametrize(
    ("dtypes", "meet"),
    [
        (("float32", "float64"), "float64"),
        (("int32", "uint8", "int8"), "int32"),
        (("int8", "uint8"), "int16"),
        (("float16", "bfloat16"), "float32"),
        (("bool",), "bool"),
    ],
)
def test_dtypes_meet_as_in_the_standard(dtypes: tuple[str, ...], meet: str) -> None:
    assert promote(*dtypes) == promote(*reversed(dtypes)) == meet


@pytest.mark.parametrize(
    "dtypes", [("float32", "int32"), ("bool", "float32"), ("complex64",), ("<U3", "float32")]
)
def test_dtypes_that_do_not_meet_are_refused(dtypes: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="An elementwise program "):
        promote(*dtypes)


def test_a_program_knows_its_dtypes() -> None:
    assert leaky.program(slope=0.5).dtypes(["float32"]) == ("float32", "bool", "float32", "float32")
    with pytest.raises(TypeError, match="leaky: multiply mixes int64 and a Python float"):
        leaky.program(slope=0.5).dtypes(["int64"])

    @elementwise
    def gate(x: Any) -> Any:
        return x * (x > 0)

    with pytest.raises(TypeError, match="cannot mix the dtypes bool, float32"):
        gate.program().dtypes(["float32"])


def test_every_backend_computes_the_expression(put: Callable[..., Any], dtype: str) -> None:
    x = numbers((5, 7), dtype)
    gamma, beta = numbers((7,), dtype, 1), numbers((7,), dtype, 2)
    close = {"rtol": 1e-5 if dtype == "float32" else 1e-13, "atol": 1e-6 if dtype == "float32" else 1e-13}
    cases: list[tuple[Elementwise, tuple[Any, ...], dict[str, Any]]] = [
        (leaky, (x,), {"slope": 0.1}),
        (log_softmax, (x,), {}),
        (layer_norm, (x, gamma, beta), {}),
    ]
    for function, arrays, static in cases:
        found = function(*(put(a, dtype) for a in arrays), **static)
        expected = function.function(*arrays, **static)
        pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
        for one, other in pairs:
            assert nn.to_numpy(one).dtype == other.dtype
            np.testing.assert_allclose(nn.to_numpy(one), other, **close)


def test_donated_memory_does_not_change_the_result(backend: Backend, dtype: str) -> None:
    arrays = [np.abs(numbers((40,), dtype, seed)) for seed in range(4)]
    scale = np.asarray(0.01, dtype)
    moved = [backend.from_host(a) for a in (*arrays, scale)]
    found = adam(*moved, donate=(0, 2, 3))
    expected = adam.function(*arrays, scale)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(nn.to_numpy(one), other, rtol=2e-6 if dtype == "float32" else 1e-14)


def test_tensors_run_the_rules() -> None:
    @elementwise
    def cube(x: Any) -> Any:
        return x * x * x

    assert nn.grad(lambda x: nn.functional.sum(cube(x)))(np.asarray([1.0, 2.0])).tolist() == [3.0, 12.0]


BLOCK = 16


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 3])
def test_blocks_give_the_bits_of_the_expression(size: int, dtype: str) -> None:
    arrays = [np.abs(numbers((size,), dtype, seed)) for seed in range(4)]
    scale = np.asarray(0.01, dtype)
    assert_bits(in_blocks(adam, *arrays, scale, block=BLOCK), adam.function(*arrays, scale))


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (3, 0), (4, 1, 5), (7, 9), (1, 50), (2, 3, 2, 5)])
def test_blocks_have_the_shape_of_the_expression(shape: tuple[int, ...]) -> None:
    x = numbers(shape)
    assert_bits(in_blocks(leaky, x, block=8, slope=0.1), np.asarray(leaky.function(x, slope=0.1)))


@pytest.mark.parametrize("block", [1, 3, 8, 1000])
@pytest.mark.parametrize(
    "shapes",
    [
        ((7, 5), (5,)),
        ((7, 1), (1, 5)),
        ((7, 5), ()),
        ((7, 5), (1, 1)),
        ((1, 6), (9, 1)),
        ((4, 3, 5), (3, 1)),
        ((4, 1, 5), (3, 1)),
        ((1,), (17,)),
        ((1, 1, 1), (5,)),
    ],
)
def test_arguments_broadcast_in_blocks(shapes: tuple[tuple[int, ...], ...], block: int) -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        xp = namespace(x)
        return xp.where(x > y, xp.exp(x) * y, x - y), (x + y) * 0.5

    x, y = numbers(shapes[0]), numbers(shapes[1], seed=1)
    assert_bits(in_blocks(f, x, y, block=block), f.function(x, y))
    assert_bits(in_blocks(f, y, x, block=block), f.function(y, x))


def test_strided_arguments_in_blocks() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        return namespace(x).maximum(x * y, x) - y / 3.0

    base, other = numbers((12, 10)), numbers((10, 12), seed=1)
    for x, y in (
        (base[:, ::2], other[::2].T[:12]),
        (base.T, other),
        (base[::-1], other.T),
        (np.broadcast_to(base[0], (12, 10)), base),
        (np.asfortranarray(base), np.asfortranarray(other.T)),
    ):
        assert_bits(in_blocks(f, x, y, block=16), f.function(x, y))


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (9, 5), (9, 1), (2, 3, 5), (3, 300), (0, 4)])
def test_rows_give_the_bits_of_the_expression(shape: tuple[int, ...], block: int, dtype: str) -> None:
    x = numbers(shape, dtype)
    gamma, beta = numbers(shape[-1:], dtype, 1), numbers((1,) * (len(shape) - 1) + shape[-1:], dtype, 2)
    assert_bits(in_blocks(log_softmax, x, block=block), log_softmax.function(x))
    assert_bits(in_blocks(layer_norm, x, gamma, beta, block=block), layer_norm.function(x, gamma, beta))


def test_rows_do_not_depend_on_the_memory_order() -> None:
    x = numbers((40, 300), "float32")
    expected = log_softmax.function(x)
    for same in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], np.repeat(x, 2, axis=0)[::2]):
        assert_bits(in_blocks(log_softmax, same, block=1000), expected)
        assert_bits(log_softmax(same), expected)


def test_arguments_of_one_number_for_each_row() -> None:
    @rowwise
    def f(x: Any, weight: Any, row: Any) -> Any:
        xp = namespace(x)
        scaled = xp.exp(x) * weight
        return scaled / xp.sum(row, axis=-1, keepdims=True), xp.sum(scaled, axis=-1, keepdims=True) + weight

    x, weight, row = numbers((11, 6)), numbers((11, 1), seed=1), numbers((6,), seed=2)
    for weights in (weight, weight[:1], weight[0, 0:1]):
        assert_bits(in_blocks(f, x, weights, row, block=20), f.function(x, weights, row))
    cube = numbers((2, 11, 6))
    assert_bits(in_blocks(f, cube, weight, row, block=20), f.function(cube, weight, row))


def test_an_output_of_its_own_shape_keeps_it_at_every_size() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        return x * y, y + 1.0

    x, y = numbers((30, 4)), numbers((4,), seed=1)
    assert_bits(in_blocks(f, x, y, block=8), f.function(x, y))


def test_outputs_that_are_arguments_are_copies() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        return y, x, x + y

    x, y = numbers((40,)), numbers((40,), seed=1)
    found = in_blocks(f, x, y, block=8)
    assert_bits(found, (y, x, x + y))
    assert not np.shares_memory(found[0], y)


def test_dtypes_that_only_numpy_lets_meet_give_numpys_answer() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        xp = namespace(x)
        return xp.exp(x) + y, x / 2

    x, y = np.arange(40), numbers((40,))
    assert_bits(in_blocks(f, x, y, block=8), f.function(x, y))


def test_integers_in_blocks() -> None:
    @rowwise
    def f(x: Any, y: Any) -> Any:
        xp = namespace(x)
        total = xp.sum(x, axis=-1, keepdims=True)
        return xp.where(x > y, xp.floor(x) * 2, xp.round(y) - total), xp.max(x + 1, axis=-1, keepdims=True)

    x, y = np.arange(60).reshape(12, 5) % 7, np.arange(5)
    for kind in ("int64", "int32", "uint8"):
        assert_bits(
            in_blocks(f, x.astype(kind), y.astype(kind), block=11), f.function(x.astype(kind), y.astype(kind))
        )


def test_bitwise_operators_on_integers_give_numpys_answer() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        return x & y, x | y, ~x

    x, y = np.arange(40), np.arange(40)[::-1].copy()
    assert_bits(in_blocks(f, x, y, block=8), f.function(x, y))


@pytest.mark.parametrize("size", [40, 50000])
def test_16_bits_are_computed_with_in_float32_and_rounded_once(size: int) -> None:
    @rowwise
    def f(x: Any, weight: Any) -> Any:
        xp = namespace(x)
        mean = xp.mean(x, axis=-1, keepdims=True)
        return xp.square(x - mean) * weight, mean, x > mean

    x = numbers((3, size), "float16") * np.float16(100) + np.float16(1000)
    for weight in (np.full(size, 1e-3, "float16"), np.full(size, 1e-3, "float32")):
        squares, mean, above = f(x, weight)  # a square and a sum are beyond the largest number of float16
        wanted = f(x.astype("float32"), weight.astype("float32"))
        assert_bits(squares, wanted[0].astype(weight.dtype))  # it meets a float32 weight in float32
        assert_bits(mean, wanted[1].astype("float16"))
        assert_bits(above, wanted[2])


@pytest.mark.parametrize("donate", [(), (0,), (1,)])
def test_a_power_of_a_single_element_has_the_bits_of_others(donate: tuple[int, ...]) -> None:
    @elementwise
    def power(x: Any, y: Any) -> Any:
        return namespace(x).pow(x, abs(y))

    x, y = (
        np.abs(numbers((64,))),
        np.full(64, -0.5, "float32"),
    )  # NumPy's roots round otherwise than its powers
    expected = x ** abs(y)
    found = in_blocks(power, x.copy(), y.copy(), block=1, donate=donate)
    assert_bits(found, expected)


def test_donated_memory_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [np.abs(numbers((100,), seed=seed)) for seed in range(4)]
    scale = np.asarray(0.01, "float32")
    expected = adam.function(*arrays, scale)
    for block in (7, 1000):
        p, g, m, v = (a.copy() for a in arrays)
        found = in_blocks(adam, p, g, m, v, scale, block=block, donate=(0, 2, 3))
        assert_bits(found, expected)
        assert [one is other for one, other in zip(found, (p, m, v), strict=True)] == [True] * 3
        assert_bits(g, arrays[1])
    p, g, m, v = (a.copy() for a in arrays)  # below the size where blocks pay it is the same
    found = adam(p, g, m, v, scale, donate=(0, 2, 3))
    assert_bits(found, expected)
    assert found[0] is p


def test_memory_that_does_not_fit_is_left_alone() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        return x + y

    y = numbers((10, 4), "float64")
    frozen = numbers((10, 4), "float64", 1)
    frozen.flags.writeable = False
    for x in (numbers((4,), "float64"), numbers((10, 4), "float32"), np.asfortranarray(y + 1), frozen):
        before = x.copy()
        assert_bits(in_blocks(f, x, y, block=8, donate=(0,)), f.function(before, y))
        assert_bits(x, before)
        assert_bits(f(x.copy(), y, donate=(0,)), f.function(before, y))


def test_donated_memory_that_is_read_later_is_read_first() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        xp = namespace(x)
        total = x + y
        return total, xp.where(total > 0, x, y) * x

    @elementwise
    def swap(x: Any, y: Any) -> Any:
        return y, x

    @elementwise
    def shift(x: Any, y: Any) -> Any:
        return x * 2.0, y, x

    for function, donate in (
        (f, (0, 1)),
        (f, (1, 0)),
        (swap, (0, 1)),
        (shift, (0, 1, None)),
        (shift, (1, 0, None)),
    ):
        x, y = numbers((50,)), numbers((50,), seed=1)
        expected = tuple(part.copy() for part in function.function(x, y))
        assert_bits(in_blocks(function, x.copy(), y.copy(), block=8, donate=donate), expected)
        assert_bits(function(x.copy(), y.copy(), donate=donate), expected)


def test_memory_shared_by_two_arguments_is_read_before_it_is_written() -> None:
    @elementwise
    def f(x: Any, y: Any) -> Any:
        return x * 2.0, y + 1.0

    memory = numbers((60,))
    for x, y in ((memory, memory), (memory[:50], memory[10:])):
        expected = f.function(x.copy(), y.copy())
        assert_bits(in_blocks(f, x, y, block=8, donate=(0, None)), expected)


def test_threads_do_not_share_buffers() -> None:
    evaluator, program = Evaluator(), log_softmax.program()
    inputs = [numbers((200, 50), seed=seed) for seed in range(4)]
    expected = [log_softmax.function(x) for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            found = evaluator.blocked(program, [inputs[number]], (), 500)
            if not np.array_equal(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_large_arrays_go_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = Evaluator.blocked

    def noted(self: Evaluator, program: Program, arguments: Any, donate: Any, block: int) -> Any:
        sizes.append(arguments[0].size)
        return original(self, program, arguments, donate, block)

    monkeypatch.setattr(Evaluator, "blocked", noted)
    for size in (blocks.THRESHOLD - 1, blocks.THRESHOLD, 2 * blocks.BLOCK + 5):
        x = numbers((size,))
        assert_bits(leaky(x, slope=0.3), leaky.function(x, slope=0.3))
    assert sizes == [blocks.THRESHOLD, 2 * blocks.BLOCK + 5]


ONE = (
    "abs",
    "exp",
    "expm1",
    "negative",
    "sign",
    "sin",
    "sqrt",
    "square",
    "tanh",
    "floor",
    "round",
    "reciprocal",
)
TWO = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "pow", "copysign")
ROWS = ("sum", "mean", "max", "min")


@st.composite
def bodies(draw: Any, rows: bool) -> Callable[..., Any]:
    """Random straight-line functions of three arrays with one to three outputs."""
    kinds = ["one", "two", "constant", "where"] + (["row"] if rows else [])
    lines: list[tuple[Any, ...]] = []
    for number in range(draw(st.integers(1, 12))):
        earlier = st.integers(0, 2 + number)
        kind = draw(st.sampled_from(kinds))
        names = {"one": ONE, "two": TWO, "constant": TWO[:4], "where": ("where",), "row": ROWS}[kind]
        constant = draw(st.sampled_from([-1.5, 0.0, 0.5, 2.0, 3]))
        lines.append(
            (kind, draw(st.sampled_from(names)), draw(earlier), draw(earlier), draw(earlier), constant)
        )
    outputs = draw(st.lists(st.integers(0, 2 + len(lines)), min_size=1, max_size=3))

    def body(a: Any, b: Any, c: Any) -> Any:
        xp = namespace(a)
        values = [a, b, c]
        for kind, name, i, j, k, constant in lines:
            function = getattr(xp, name)
            if kind == "one":
                values.append(function(values[i]))
            elif kind == "two":
                values.append(function(values[i], values[j]))
            elif kind == "constant":
                values.append(function(constant, values[i]))
            elif kind == "where":
                values.append(xp.where(values[i] > values[j], values[k], constant))
            else:
                values.append(function(values[i], axis=-1, keepdims=True))
        found = tuple(values[i] for i in outputs)
        return found if len(found) > 1 else found[0]

    note(f"{lines}, {outputs}")
    return body


SHAPES = [
    ((23,), (23,), (23,)),
    ((7, 5), (7, 5), (7, 5)),
    ((7, 5), (5,), (7, 1)),
    ((7, 5), (1, 5), ()),
    ((3, 4, 5), (4, 1), (3, 1, 5)),
    ((1, 5), (6, 1), (6, 5)),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=300, deadline=None)
@given(
    data=st.data(), rows=st.booleans(), shapes=st.sampled_from(SHAPES), block=st.sampled_from([1, 8, 13, 100])
)
def test_random_programs_give_the_bits_of_the_expression(
    data: Any, rows: bool, shapes: Any, block: int
) -> None:
    body = data.draw(bodies(rows and all(shapes)))
    dtypes = data.draw(
        st.sampled_from([("float32",) * 3, ("float64",) * 3, ("float32", "float64", "float32")])
    )
    arrays = [
        numbers(shape, kind, seed) for seed, (shape, kind) in enumerate(zip(shapes, dtypes, strict=True))
    ]
    function = rowwise(body) if rows else elementwise(body)
    expected = body(*arrays)
    expected = tuple(map(np.array, expected)) if isinstance(expected, tuple) else np.array(expected)
    assert_bits(in_blocks(function, *arrays, block=block), expected)
    count = len(expected) if isinstance(expected, tuple) else 1
    donate = data.draw(st.permutations([0, 1, 2, None]))[:count]
    for run in (
        lambda given: in_blocks(function, *given, block=block, donate=donate),
        lambda given: function(*given, donate=donate),
    ):
        found = run([a.copy() for a in arrays])
        assert_bits(
            tuple(map(np.asarray, found)) if isinstance(found, tuple) else np.asarray(found), expected
        )


def test_what_is_compiled_goes_with_its_program() -> None:
    function = elementwise(lambda x, *, slope: x * slope)
    before, after = function.program(slope=1), function.program(slope=1.0)
    assert before is function.program(slope=1)
    assert before is not after  # Python calls the two equal, and so would a table of programs
    x = numbers((blocks.THRESHOLD,))
    function(x, slope=0.5)
    program = weakref.ref(function.program(slope=0.5))
    kept = weakref.ref(next(iter(program()._kept.values())))
    gc.disable()
    try:
        assert kept() is not None
        del function, before, after
        assert program() is None
        assert kept() is None
    finally:
        gc.enable()


def test_ever_new_static_arguments_do_not_fill_the_memory() -> None:
    x = numbers((3,))
    function = elementwise(lambda x, *, slope: x * slope)
    for number in range(3 * KEPT):
        function(x, slope=float(number))
    assert len(function._programs) <= KEPT
    program = function.program(slope=1.0)
    for number in range(3 * KEPT):
        assert program.keep(number, lambda: "made") == "made"
    assert len(program._kept) <= KEPT


def test_what_is_kept_is_made_once() -> None:
    program = leaky.program(slope=0.25)
    made: list[int] = []
    for _ in range(2):
        assert program.keep("what", lambda: made.append(1) or "it") == "it"
    assert made == [1]


def test_a_program_knows_what_varies_along_a_row() -> None:
    @rowwise
    def f(x: Any, w: Any) -> Any:
        xp = namespace(x)
        total = xp.sum(x, axis=-1, keepdims=True)
        rest = x - total * w
        return rest, w * 2.0, xp.max(rest, axis=-1, keepdims=True), xp.sum(w, axis=-1, keepdims=True)

    program = f.program()
    # x, w; then total, total * w, rest, w * 2, max of rest, sum of w
    assert program.per_row((1,)) == {1: 0, 2: 1, 3: 1, 5: 0, 6: 2, 7: 0}
    assert program.per_row(()) == {2: 1, 6: 2, 7: 1}
    assert set(program.per_row((0, 1)).values()) == {0}
    assert program.sources == (frozenset({0, 1}), frozenset({1}), frozenset({0, 1}), frozenset({1}))


def test_what_leads_to_an_output_is_written_in_its_memory() -> None:
    options = {"beta_1": 0.9, "beta_2": 0.999}
    plan = blocks._make_plan(adam_update.program(**options), ("float32",) * 6, (0, 2, 3), (4, 5))
    buffers = {step.buffer for step in plan.steps if step.buffer >= 0 and step.result not in plan.thin}
    assert len(buffers) == 1
