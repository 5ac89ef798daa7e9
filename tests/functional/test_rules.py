"""What every rule promises, on the inputs of its agreement case."""

import gc

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import agreement
from nnbackend import functional as fn
from nnbackend.backend import Backend, backend_of

RULE_CASES = [case for case in agreement.CASES if isinstance(case, agreement.Case)]
CASES = {case.name: case for case in RULE_CASES}
#: Numbers so large that differences drown in their rounding, and a cast that rounds on purpose.
WITHOUT_DIFFERENCES = {name for name in CASES if "large" in name or "wide" in name} | {"astype"}
GRADCHECKED = sorted(set(CASES) - WITHOUT_DIFFERENCES)


@pytest.fixture
def one_dtype(backend, dtype):
    """Leave float64 to the agreement record where each operation is compiled on its own, for each dtype."""
    if backend.name == "jax" and dtype == "float64":
        pytest.skip(
            "compiled op by op it takes minutes; the agreement record runs both dtypes as compiled steps"
        )


def arrays_of(case, put, dtype):
    return [
        put(array, dtype if given.kind == "real" else None)
        for given, array in zip(case.inputs, case.arguments(), strict=True)
    ]


#: Losses between all pairs of the samples of a batch.
ALL_PAIRS = {"circle", "hardest_triplet"}


def parts_of(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", GRADCHECKED)
def test_gradients_are_those_of_central_differences(name, backend, put):
    if backend.name == "jax":
        pytest.skip(
            "compiled op by op it takes minutes; the agreement record compares gradients as compiled steps"
        )
    nn.gradcheck(CASES[name].function, *arrays_of(CASES[name], put, "float64"))


@pytest.mark.parametrize("name", GRADCHECKED)
def test_second_derivatives_are_those_of_central_differences(name, backend, put):
    if backend.name == "jax":
        pytest.skip("the mathematics is the same, and each operation is compiled on its own here: minutes")
    case = CASES[name]
    arrays = arrays_of(case, put, "float64")
    floating = tuple(index for index, given in enumerate(case.inputs) if given.kind == "real")

    def total(*values):
        return sum(fn.sum(part * part) for part in parts_of(case.function(*values)))

    nn.gradcheck(nn.grad(total, argnums=floating), *arrays, projections=1, tolerance=1e-5)


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.usefixtures("one_dtype")
def test_results_stay_in_the_library_dtype_and_place_of_the_arguments(name, backend, put, dtype):
    case = CASES[name]
    arrays = arrays_of(case, put, dtype)
    value, pullback = nn.vjp(case.function, *arrays)
    wanted = "float32" if name == "astype" else dtype
    for part in parts_of(value):
        assert backend_of(part) is backend
        assert part.dtype == getattr(backend.xp, wanted)
        assert backend.device(part) == backend.device(arrays[0])
    for gradient, array in zip(pullback(value), arrays, strict=True):
        if gradient is None:
            assert "float" not in str(array.dtype)
            continue
        assert backend_of(gradient) is backend
        assert tuple(gradient.shape) == tuple(array.shape)
        assert gradient.dtype == getattr(backend.xp, dtype)


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.usefixtures("one_dtype")
def test_tensors_and_arrays_give_the_same_bits(name, backend, put, dtype):
    case = CASES[name]
    arrays = arrays_of(case, put, dtype)
    plain = case.function(*arrays)
    recorded, _ = nn.vjp(case.function, *arrays)
    constant = case.function(*(nn.Tensor(array) for array in arrays))
    for part, other, third in zip(*map(parts_of, (plain, recorded, constant)), strict=True):
        assert isinstance(third, nn.Tensor)
        np.testing.assert_array_equal(nn.to_numpy(part), nn.to_numpy(other))
        np.testing.assert_array_equal(nn.to_numpy(part), nn.to_numpy(third))


def test_every_rule_has_an_agreement_case():
    covered = {case.rule for case in RULE_CASES}
    assert set(agreement.rules()) - covered == set()


def test_case_names_are_unique():
    assert len({case.name for case in agreement.CASES}) == len(agreement.CASES)


def kept_bytes(pullback):
    """How many bytes of arrays are held by what will pull a gradient back."""
    seen, waiting, buffers = set(), [pullback], {}
    while waiting:
        thing = waiting.pop()
        # a backend's buffers are its own, and live on whatever is kept
        if id(thing) in seen or isinstance(thing, (type, type(np), Backend)):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            buffers[id(thing)] = thing.nbytes
        elif not callable(thing) or hasattr(thing, "__closure__"):
            cells = getattr(thing, "__closure__", None)
            waiting.extend([cell.cell_contents for cell in cells] if cells is not None else [])
            waiting.extend(() if callable(thing) else gc.get_referents(thing))
    return sum(buffers.values())


@pytest.mark.parametrize("name", sorted(CASES))
def test_no_more_than_a_few_times_input_and_output_is_kept_for_the_gradient(name, backend, put):
    if backend.name != "numpy":
        pytest.skip("the mathematics is the same, and other libraries' arrays hide their memory")
    if name in ALL_PAIRS:
        pytest.skip("a number for each pair of samples, where input and output have one for each sample")
    case = CASES[name]
    arrays = arrays_of(case, put, "float64")
    value, pullback = nn.vjp(case.function, *arrays)
    given = sum(part.nbytes for part in [*arrays, *parts_of(value)])
    assert 0 < kept_bytes(pullback) <= 6 * given + 64


def test_what_is_kept_is_seen(put):
    x = put(np.ones(1000))

    @nn.differentiable
    def hoard(x):
        copies = [x + float(number) for number in range(20)]
        return x + 1.0, lambda dy, needs: (dy + 0.0 * copies[0],)

    _, pullback = nn.vjp(hoard, x)
    if isinstance(x, np.ndarray):
        assert kept_bytes(pullback) > 20 * x.nbytes
