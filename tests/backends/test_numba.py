"""Programs compiled by Numba give the bits of NumPy, whatever becomes of them: kernels, blocks, steps, replays."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional
from nnbackend import optimizers as optimizers_room
from nnbackend.backend import Backend, BackendUnavailableError, backend_of, chosen, namespace
from nnbackend.benchmarking import look_up, start
from nnbackend.cases import CASES
from nnbackend.elementwise import Elementwise, elementwise, rowwise
from nnbackend.optimizers.adam import adam_update
from nnbackend_numpy import NumpyBackend, blocks

with_numba = pytest.mark.skipif(find_spec("numba") is None, reason="Numba is not installed")


@pytest.fixture(autouse=True)
def on_numpy_alone(backend: Backend) -> None:
    if backend.name != "numpy":
        pytest.skip("the option is NumPy's")


@pytest.fixture
def plain() -> Backend:
    return nn.get_backend("numpy")


@pytest.fixture
def compiled() -> Iterator[Backend]:
    """Return the backend with the option, in force."""
    with nn.use_backend("numpy", compiler="numba") as backend:
        yield backend


@pytest.fixture
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small arrays go through programs as large ones do."""
    monkeypatch.setattr(blocks.is_large, "__defaults__", (2,))
    monkeypatch.setattr("nnbackend_numpy.fusion.COMPILED_FROM", 2)


@pytest.fixture(autouse=True)
def compiles_from_the_size_of_blocks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("numba") is not None:
        monkeypatch.setattr("nnbackend_numpy.fusion.COMPILED_FROM", blocks.THRESHOLD)


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in nn.tree.flatten(tree)[0]]


# Asking for it


def test_without_numba_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnbackend_numpy.installed_version", lambda module: None)
    with pytest.raises(
        BackendUnavailableError, match=r'"numba" is not installed. Cure: pip install "nnbackend\[numba\]"'
    ):
        NumpyBackend(compiler="numba")


def test_a_numba_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnbackend_numpy.installed_version", lambda module: "0.1")
    monkeypatch.setitem(sys.modules, "nnbackend_numpy.fusion", None)
    with pytest.raises(
        BackendUnavailableError, match="installed but cannot be imported: .*fusion.*--upgrade"
    ):
        NumpyBackend(compiler="numba")


def test_an_unknown_compiler_names_the_known_one() -> None:
    with pytest.raises(ValueError, match="one compiler, 'numba', got 'nmba'. Did you mean 'numba'?"):
        nn.get_backend("numpy", compiler="nmba")


@with_numba
def test_it_is_shown_and_is_one_instance(compiled: Backend, plain: Backend) -> None:
    assert repr(compiled) == "<numpy backend, compiler='numba'>"
    assert str(compiled) == "numpy"
    assert repr(plain) == "<numpy backend>"
    assert nn.get_backend("numpy", compiler="numba") is compiled is not plain


def test_numba_is_not_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, nnbackend as nn; nn.functional.gelu(nn.get_backend('numpy').xp.ones(100000)); "
        "print('numba' in sys.modules, 'nnbackend_numpy.fusion' in sys.modules)"
    )
    root = Path(nn.__file__).parents[1]
    path = os.pathsep.join(str(folder) for folder in (root, root / "backends"))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


# The same bits


@with_numba
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.usefixtures("small_ones_too")
def test_every_rule_gives_the_bits_of_numpy(case: Any, plain: Backend) -> None:
    for dtype in ("float32", "float64"):
        expected = case.compute(plain, dtype)
        with nn.use_backend("numpy", compiler="numba") as compiled:
            found = case.compute(compiled, dtype)
        for part, array in expected.items():
            assert np.asarray(found[part]).tobytes() == np.asarray(array).tobytes(), (dtype, part)


UNARY = (
    "abs ceil floor negative positive reciprocal round sign sqrt square trunc isnan isinf isfinite".split()
)
BINARY = "add subtract multiply divide maximum minimum copysign less greater_equal equal not_equal".split()
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    np.inf,
    -np.inf,
    np.nan,
    3e-39,
    1e-45,
    3e38,
    1e15,
    1 / 3,
]


def run_both(program: Elementwise, *arrays: Any, **options: Any) -> tuple[Any, Any]:
    """Return what a program gives without and with the compiler, of which the latter does compile."""
    expected = program(*(a.copy() for a in arrays), **options)
    with nn.use_backend("numpy", compiler="numba"):
        found = program(*(a.copy() for a in arrays), **options)
    return expected, found


@with_numba
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy warns of infinities and NaNs
def test_operations_give_the_bits_of_numpy(name: str, dtype: str) -> None:
    def of_one(x: Any) -> Any:
        return getattr(namespace(x), name)(x)

    def of_two(x: Any, y: Any) -> Any:
        return getattr(namespace(x), name)(x, y)

    special = np.asarray(SPECIAL, dtype)
    if name in ("maximum", "minimum"):  # which of two zeros is chosen differs between processors
        special = special[~np.signbit(special) | (special != 0)]
    first, second = np.tile(special, 40 * len(special)), np.repeat(special, 40 * len(special))
    arrays, body = ((first,), of_one) if name in UNARY else ((first, second), of_two)
    expected, found = run_both(elementwise(body), *arrays)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if expected.dtype != np.bool_:
        assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()


@with_numba
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64"])
def test_integers_wrap_and_compare_as_in_numpy(dtype: str, rng: np.random.Generator) -> None:
    @elementwise
    def program(x: Any, y: Any) -> Any:
        xp = namespace(x)
        larger = xp.maximum(x, y) * y + xp.minimum(x, y) - 3
        return xp.where((x >= y) | (x == 5) | ~(y != 7), larger, x), x < y

    info = np.iinfo(dtype)
    arrays = [rng.integers(info.min, info.max, 40_000, dtype=dtype, endpoint=True) for _ in range(2)]
    for expected, found in zip(*run_both(program, *arrays), strict=True):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


@with_numba
def test_constants_are_rounded_once_and_dtypes_meet(rng: np.random.Generator) -> None:
    @elementwise
    def program(x: Any, y: Any) -> Any:
        return x * 0.1 + (1.0 - 0.9), x * y + 1, namespace(x).where(x > y, x, 0.1)

    arrays = rng.standard_normal(40_000).astype("float32"), rng.standard_normal(40_000)
    for expected, found in zip(*run_both(program, *arrays), strict=True):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


@with_numba
def test_products_are_not_contracted_into_sums(rng: np.random.Generator) -> None:
    @elementwise
    def program(x: Any, y: Any, z: Any) -> Any:
        return x * y + z

    x, y = (rng.standard_normal(40_000).astype("float32") for _ in range(2))
    _, found = run_both(program, x, y, -(x * y))
    assert not found.any()  # a fused multiply-add leaves the rounding error


SHAPES = {
    "flat": [(40_000,), (40_000,)],
    "bias": [(50, 20, 40), (40,)],
    "rows": [(200, 200), (200, 1)],
    "planes": [(40, 30, 8, 8), (40, 30, 1, 1)],
    "middle": [(40, 30, 40), (40, 1, 40)],  # which are no rows and columns
    "outer": [(200, 1), (1, 200)],
    "scalar": [(200, 200), ()],
    "empty": [(0, 20_000), (20_000,)],
}


@with_numba
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("rows", [False, True], ids=["elementwise", "rowwise"])
def test_shapes_broadcast(shapes: Any, rows: bool, rng: np.random.Generator) -> None:
    def body(x: Any, y: Any) -> Any:
        xp = namespace(x)
        total = xp.sum(x * y, axis=-1, keepdims=True) if rows else xp.tanh(x)
        return (x - y) * 2.0 + xp.exp(y) * total, total * x / (y * y + 1.0)

    program = rowwise(body) if rows else elementwise(body)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    for expected, found in zip(*run_both(program, *arrays), strict=True):
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


@with_numba
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[:, ::2],
        lambda a: a[:, :150],
        lambda a: a.T,
        lambda a: a[::-1],
        lambda a: np.broadcast_to(a[0], a.shape),
        lambda a: a.astype(">f4"),
        lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(a.shape),
    ],
    ids=["every second", "part of rows", "transposed", "reversed", "repeated", "byte-swapped", "unaligned"],
)
@pytest.mark.parametrize("rows", [False, True], ids=["elementwise", "rowwise"])
def test_views_are_read_where_they_lie(view: Any, rows: bool, rng: np.random.Generator) -> None:
    def body(x: Any, y: Any) -> Any:
        xp = namespace(x)
        return x * y + (xp.mean(x, axis=-1, keepdims=True) if rows else 1.0), x - y * y

    program = rowwise(body) if rows else elementwise(body)
    x, y = (rng.standard_normal((300, 300)).astype("float32") for _ in range(2))
    expected = program(view(x), view(y))
    with nn.use_backend("numpy", compiler="numba"):
        found = program(view(x), view(y))
    for one, other in zip(expected, found, strict=True):
        assert one.tobytes() == other.tobytes()


@with_numba
def test_sums_of_rows_are_numpys(rng: np.random.Generator) -> None:
    x = rng.standard_normal((70, 1000)).astype("float32")
    for rule in (functional.softmax, functional.log_softmax):
        assert len(set(bits(run_both(rule, x)))) == 1  # type: ignore[arg-type]


# Memory


@with_numba
def test_donated_memory_is_written_over_once_it_is_read(rng: np.random.Generator) -> None:
    arrays = [rng.random(600_000).astype("float32") for _ in range(4)]  # several pieces
    scalars = [np.asarray(0.01, "float32")] * 2
    static = {"beta_1": 0.9, "beta_2": 0.999}
    expected = adam_update(*arrays, *scalars, **static)
    with nn.use_backend("numpy", compiler="numba"):
        given = [a.copy() for a in arrays]
        found = adam_update(*given, *scalars, donate=(0, 2, 3), **static)
    assert [found[0] is given[0], found[1] is given[2], found[2] is given[3]] == [True] * 3
    assert bits(found) == bits(expected)
    assert given[1].tobytes() == arrays[1].tobytes()


@with_numba
def test_memory_that_is_read_later_is_not_written_early(rng: np.random.Generator) -> None:
    @elementwise
    def program(x: Any, y: Any) -> Any:
        first = x * 2.0 + y
        return first, namespace(x).exp(first) * x - y, x

    x, y = (rng.standard_normal(100_000).astype("float32") for _ in range(2))
    expected = program(x.copy(), y.copy())
    for donate in [(0, 1), (1, 0), (None, 0), (0, None), (1, None, None), (None, None, 1)]:
        with nn.use_backend("numpy", compiler="numba"):
            assert bits(program(x.copy(), y.copy(), donate=donate)) == bits(expected)


@with_numba
def test_arguments_that_share_memory_are_left_alone(compiled: Backend, rng: np.random.Generator) -> None:
    @elementwise
    def program(x: Any, y: Any) -> Any:
        return x + y * 2.0

    memory = rng.standard_normal(50_001)
    expected = memory[1:] + memory[:-1] * 2.0
    assert bits(program(memory[1:], memory[:-1], donate=(0,))) == bits(expected)


@with_numba
@pytest.mark.skipif(find_spec("threadpoolctl") is None, reason="threadpoolctl is not installed")
def test_large_programs_are_spread_over_threads_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, plain: Backend, rng: np.random.Generator
) -> None:
    from nnbackend_numpy import fusion, threads

    spread: list[int] = []

    def note(pieces: Any, work: Any) -> None:
        spread.append(len(pieces))
        threads.spread(pieces, work)

    monkeypatch.setattr(fusion, "spread", note)
    arrays = [rng.random(600_000).astype("float32") for _ in range(4)]
    scalars = [np.asarray(0.01, "float32")] * 2
    static = {"beta_1": 0.9, "beta_2": 0.999}
    expected = bits(adam_update(*arrays, *scalars, **static))
    for count in (1, 2):
        with nn.get_backend("numpy", threads=count, compiler="numba").scope():
            assert bits(adam_update(*arrays, *scalars, **static)) == expected
    assert spread == [3, 3]


# Pooling

WINDOWS = [
    ((3, 6, 8, 5), 2),
    ((3, 7, 8, 5), (3, 2)),
    ((2, 9, 3), 4),
    ((2, 4, 7, 4, 3), (2, 3, 1)),
    ((1, 5, 5, 2), 1),
    ((0, 4, 4, 2), 2),
]


@with_numba
@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(("shape", "pool_size"), WINDOWS)
def test_maxima_have_the_bits_of_numpy(
    shape: Any, pool_size: Any, piece: int, dtype: str, rng: np.random.Generator, monkeypatch: Any
) -> None:
    monkeypatch.setattr("nnbackend_numpy.pooling.PIECE", piece)
    x = np.moveaxis(rng.integers(0, 3, (shape[-1], *shape[:-1])).astype(dtype), 0, -1)  # full of ties
    if x.size:
        x[0, 1, ..., 0] = np.nan
        x[-1, -1, ..., -1] = -np.inf

    def both() -> list[bytes]:
        y, pullback = nn.vjp(lambda x: functional.max_pool(x, pool_size=pool_size), x)
        dy = np.sin(np.arange(y.size, dtype=dtype)).reshape(y.shape)
        dy.reshape(-1)[:1] = np.inf
        return bits([y, *pullback(dy)])

    expected = both()
    with nn.use_backend("numpy", compiler="numba"):
        assert both() == expected


@with_numba
@pytest.mark.skipif(find_spec("threadpoolctl") is None, reason="threadpoolctl is not installed")
def test_maxima_in_threads_have_the_same_bits(rng: np.random.Generator, monkeypatch: Any) -> None:
    monkeypatch.setattr("nnbackend_numpy.pooling.PIECE", 1)
    x = rng.standard_normal((9, 8, 8, 4)).astype("float32")
    found = []
    for threads in (1, 2):
        with nn.use_backend("numpy", threads=threads, compiler="numba"):
            y, pullback = nn.vjp(lambda x: functional.max_pool(x, pool_size=2), x)
            found.append(bits([y, *pullback(y)]))
    assert found[0] == found[1]


@with_numba
def test_maxima_are_compiled_where_the_option_holds(monkeypatch: Any, rng: np.random.Generator) -> None:
    """In steps as they are written and in replays; and nowhere else."""
    from nnbackend_numpy import numba_pooling

    calls: list[str] = []
    for name in ("_maxima", "_gradients"):
        kernel = getattr(numba_pooling, name)
        monkeypatch.setattr(
            numba_pooling, name, lambda *a, name=name, kernel=kernel: (calls.append(name), kernel(*a))
        )
    x, labels = rng.standard_normal((8, 6, 6, 2)).astype("float32"), np.zeros(8, int)
    weights = []
    for compiler in (None, "numba"):
        assert not calls
        model = nn.Sequential(
            [nn.Conv2D(3, 1), nn.MaxPooling2D(2), nn.Flatten(), nn.Dense(2)],
            backend=nn.get_backend("numpy", compiler=compiler),
            seed=0,
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        for _ in range(6):
            model.train_on_batch(x, labels)
        weights.append(bits(model.get_weights()))
    assert calls == ["_maxima", "_gradients"] * 6
    assert weights[0] == weights[1]


# Batch normalisation


@with_numba
@pytest.mark.parametrize("mean", [0.0, 50.0])
@pytest.mark.parametrize("shape", [(40, 30, 64), (7, 5), (3, 40_000, 1)])
def test_batch_normalisation_has_the_bits_of_numpy(
    shape: Any, mean: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnbackend_numpy import numba_normalization

    compiled: list[str] = []
    run = numba_normalization._evaluator.run

    def note(program: Any, *arguments: Any) -> Any:
        compiled.append(program.name)
        return run(program, *arguments)

    monkeypatch.setattr(numba_normalization._evaluator, "run", note)
    x = (rng.standard_normal(shape) + mean).astype("float32")
    gamma, beta = (rng.standard_normal(shape[-1]).astype("float32") for _ in range(2))
    statistics = (*(1,) * (len(shape) - 1), shape[-1])
    weights = tuple(rng.standard_normal(size).astype("float32") for size in (shape, statistics, statistics))
    axes = tuple(range(len(shape) - 1))

    def both() -> list[bytes]:
        value, pullback = nn.vjp(lambda *a: functional.standardize(*a, axis=axes), x, gamma, beta)
        return bits([*value, *pullback(weights)])

    expected = both()
    assert not compiled
    with nn.use_backend("numpy", compiler="numba"):
        assert both() == expected
    assert compiled == (["scaled", "combined"] if x.size > 1000 else [])


# Whose options hold


@with_numba
def test_arrays_follow_the_backend_in_force(monkeypatch: pytest.MonkeyPatch, plain: Backend) -> None:
    seen: list[str | None] = []
    run = NumpyBackend._with_options

    def note(self: NumpyBackend) -> NumpyBackend:
        found = run(self)
        seen.append(found.compiler)
        return found

    monkeypatch.setattr(NumpyBackend, "_with_options", note)
    monkeypatch.setattr("nnbackend.backend._chosen", None)
    x = np.ones(3)
    functional.relu(x)
    with nn.use_backend("numpy", compiler="numba") as compiled:
        functional.relu(x)
        with nn.use_backend("numpy"):
            functional.relu(x)
    assert seen == [None, "numba", None]
    assert backend_of(x) is plain
    assert chosen() is not compiled


@with_numba
def test_both_instances_take_arrays_of_numpy(plain: Backend) -> None:
    compiled = nn.get_backend("numpy", compiler="numba")
    assert compiled.owns(np.ones(1))
    assert bits(functional.add(plain.from_host([1.0]), compiled.from_host([2.0]))) == bits(np.asarray([3.0]))


def trained(backend: Any, steps: int = 6, **options: Any) -> nn.Sequential:
    """Return a small model after a few steps, of which the last ones are replays."""
    layers = [
        nn.Dense(32, activation="gelu"),
        nn.BatchNormalization(),
        nn.Dropout(0.2),
        nn.LayerNormalization(),
        nn.Dense(3),
    ]
    model = nn.Sequential(layers, backend=backend, seed=0)
    model.compile(
        optimizer=nn.optimizers.AdamW(0.01, clipnorm=1.0), loss="sparse_categorical_crossentropy", **options
    )
    rng = np.random.default_rng(1)
    for _ in range(steps):
        model.train_on_batch(rng.standard_normal((40, 20)).astype("float32"), rng.integers(0, 3, 40))
    return model


@with_numba
def test_a_model_trains_to_the_bits_of_numpy_however_its_steps_run(plain: Backend) -> None:
    compiled = nn.get_backend("numpy", compiler="numba")
    x = np.linspace(-1.0, 1.0, 800, dtype="float32").reshape(40, 20)
    reference = trained(plain)
    for model in (trained(compiled), trained(compiled, run_eagerly=True)):
        assert model.backend is compiled
        assert bits(model.get_weights()) == bits(reference.get_weights())
        assert bits(model.predict(x)) == bits(reference.predict(x))


@with_numba
def test_replayed_programs_take_arrays_in_another_order(plain: Backend, rng: np.random.Generator) -> None:
    models = [
        nn.Sequential([nn.BatchNormalization(), nn.Dense(3, "swish")], backend=backend, seed=0)
        for backend in (nn.get_backend("numpy", compiler="numba"), plain)
    ]
    for _ in range(5):
        x = np.asfortranarray(rng.standard_normal((5, 30)).astype("float32"))
        found, expected = (model.predict(x) for model in models)
        assert bits(found) == bits(expected)


@with_numba
def test_a_step_runs_with_the_options_of_its_model(plain: Backend) -> None:
    seen = []

    @nn.register(name="test_numba_noted")
    class Noted(nn.Layer):
        def forward(self, x: Any, *, training: bool = False) -> Any:
            seen.append(nn.get_backend())
            return x

    compiled = nn.get_backend("numpy", compiler="numba")
    for backend, other in ((compiled, plain), (plain, compiled)):
        seen.clear()
        with nn.use_backend(other):
            model = nn.Sequential([Noted(), nn.Dense(1)], backend=backend, seed=0)
            model.compile("sgd", "mse")
            model.fit(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), epochs=1, verbose=0)
        assert seen[-1] is backend


@with_numba
def test_models_move_save_and_load(tmp_path: Path, plain: Backend) -> None:
    compiled = nn.get_backend("numpy", compiler="numba")
    model = trained(plain, 4)
    path = tmp_path / "model.safetensors"
    model.save(path)
    moved = trained(plain, 4).to(compiled)
    assert moved.backend is compiled
    loaded = nn.load_model(path, backend=compiled)
    assert loaded.backend is compiled
    x = np.ones((40, 20), "float32")
    for other in (moved, loaded):
        other.train_on_batch(x, np.zeros(40, int))
    model.train_on_batch(x, np.zeros(40, int))
    assert bits(moved.get_weights()) == bits(loaded.get_weights()) == bits(model.get_weights())


@with_numba
@pytest.mark.parametrize(
    "name", [name for name in optimizers_room.__all__ if name in ("Adam", "Lion", "RMSprop", "SGD")]
)
def test_optimizers_alone_give_the_bits_of_numpy(name: str, plain: Backend, rng: np.random.Generator) -> None:
    weights = {"w": rng.standard_normal((200, 300)).astype("float32")}
    gradients = {"w": rng.standard_normal((200, 300)).astype("float32")}

    def after(backend: Backend) -> Any:
        with nn.use_backend(backend):
            optimizer = getattr(nn.optimizers, name)(0.01)
            now, state = copy.deepcopy(weights), optimizer.init(weights)
            for _ in range(3):
                now, state = optimizer.update(gradients, state, now, donate=True)
        return now, state

    assert bits(after(nn.get_backend("numpy", compiler="numba"))) == bits(after(plain))


@with_numba
@pytest.mark.parametrize("name", ["W1", "W5"])
def test_replayed_steps_give_the_bits_of_numpy(name: str, plain: Backend) -> None:
    runs = [start(look_up(name), backend) for backend in (plain, nn.get_backend("numpy", compiler="numba"))]
    assert len({run(5) for run in runs}) == 1


@with_numba
def test_a_program_is_compiled_once(monkeypatch: pytest.MonkeyPatch, compiled: Backend) -> None:
    from nnbackend_numpy import fusion

    made: list[str] = []
    compile_kernel = fusion.compile_kernel

    def note(name: str, *arguments: Any) -> Any:
        made.append(name)
        return compile_kernel(name, *arguments)

    monkeypatch.setattr(fusion, "compile_kernel", note)

    @elementwise
    def shift(x: Any) -> Any:
        return x * 2.0 + 1.0

    for length in (20_000, 30_000):
        shift(np.ones(length, "float32"))
    assert made == ["shift"]
    shift(np.ones(20_000))
    assert made == ["shift"] * 2
