"""The agreement of backends: this one's record, and what a comparison says of records that are off."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import agreement, trajectories
from nnbackend.backend import host
from nnbackend.cases.base import Case, in_16_bits
from nnbackend.interop import safetensors

pytestmark = pytest.mark.xdist_group("agreement")  # they share what is costly to make


@pytest.fixture(scope="module")
def recorded(backend, record_directory, tmp_path_factory):
    """The record of the backend under test; kept where --record says."""
    return agreement.record(backend, record_directory or tmp_path_factory.mktemp("agreement"))


@pytest.fixture
def small(monkeypatch):
    """Two cases, so that what is compared can be tampered with."""
    cases = tuple(case for case in agreement.CASES if case.name in ("exp", "sparse_softmax_crossentropy"))
    monkeypatch.setattr(agreement, "CASES", cases)
    monkeypatch.setattr(agreement, "TRAJECTORIES", {})
    monkeypatch.setattr(trajectories, "TRAJECTORIES", agreement.TRAJECTORIES)


def tamper(path, change):
    metadata, tensors = safetensors.read(path)
    change(metadata, tensors)
    safetensors.write(path, tensors, metadata)
    return agreement.compare([path])


def test_this_backend_agrees_with_numpy_in_float64(recorded):
    report = agreement.compare([recorded])
    assert not report.failed, report.text
    assert "stale" not in report.text


def test_the_record_says_what_made_it(recorded, backend):
    metadata, tensors = safetensors.read(recorded)
    assert recorded.name == f"{backend.name}.safetensors"
    assert metadata["backend"] == backend.name
    assert metadata["versions"][backend.name]
    assert metadata["device"]
    assert tensors["exp/float32/value0"].dtype == np.float32
    assert tensors["exp/float64/gradient0"].dtype == np.float64


def test_the_table_has_a_row_for_each_case_and_a_column_for_each_dtype(recorded, backend):
    lines = agreement.compare([recorded]).text.splitlines()
    header = next(line for line in lines if line.startswith("case"))
    assert f"{backend.name} f32" in header
    assert f"{backend.name} f64" in header
    for case in agreement.CASES:
        assert any(line.startswith(case.name) for line in lines), case.name


FIRST_INPUTS = np.asarray([-0.7366406917572021, 1.9157931804656982, -1.1760897636413574], np.float32)


def test_inputs_are_the_same_on_every_machine():
    case = next(case for case in agreement.CASES if case.name == "exp")
    (x,) = case.arguments()
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, case.arguments()[0])
    np.testing.assert_array_equal(x[0, :3], FIRST_INPUTS)  # another would make all records stale


@pytest.mark.usefixtures("small")
def test_an_error_past_its_bound_fails_and_is_named(backend, tmp_path):
    path = agreement.record(backend, tmp_path)

    def change(metadata, tensors):
        tensors["exp/float32/gradient0"] = tensors["exp/float32/gradient0"] * (1 + 2.0**-18)

    report = tamper(path, change)
    assert report.failed
    assert "exp on " in report.text
    assert "in float32: gradient0 is off by" in report.text
    assert "1 past their bounds" in report.text


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_fail(value, backend, tmp_path):
    path = agreement.record(backend, tmp_path)

    def change(metadata, tensors):
        tensors["exp/float64/value0"] = np.full((4, 5), value)

    assert tamper(path, change).failed


@pytest.mark.usefixtures("small")
def test_a_missing_result_fails(backend, tmp_path):
    path = agreement.record(backend, tmp_path)
    report = tamper(path, lambda metadata, tensors: tensors.pop("exp/float32/value0"))
    assert report.failed
    assert "value0 is missing" in report.text


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("key", ["definition", "inputs"])
def test_a_changed_case_is_stale_and_does_not_fail(key, backend, tmp_path):
    path = agreement.record(backend, tmp_path)

    def change(metadata, tensors):
        metadata["cases"]["exp"][key] = "of another day"
        tensors["exp/float32/value0"] = tensors["exp/float32/value0"] * 2

    report = tamper(path, change)
    assert not report.failed
    assert f"exp on {backend.name}: stale: re-record on a GPU" in report.text


@pytest.mark.usefixtures("small")
def test_a_new_case_is_stale_in_old_records(backend, tmp_path):
    path = agreement.record(backend, tmp_path)
    report = tamper(path, lambda metadata, tensors: metadata["cases"].pop("exp"))
    assert not report.failed
    assert "stale" in report.text


@pytest.mark.usefixtures("small")
def test_a_trajectory_is_recorded_and_compared_in_its_own_dtypes(backend, tmp_path):
    @trajectories.trajectory("doubling", bounds={"float64": 4.0})
    def doubling(where, dtype):
        x = where.from_host(np.asarray([1.0, 2.0]), dtype)
        return {"loss": nn.to_numpy(nn.functional.multiply(x, 2.0))}

    path = agreement.record(backend, tmp_path)
    report = agreement.compare([path])
    assert not report.failed
    assert any(line.startswith("doubling") for line in report.text.splitlines())

    def change(metadata, tensors):
        tensors["doubling/float64/loss"] = tensors["doubling/float64/loss"] + 1e-9

    assert tamper(path, change).failed
    trajectories.trajectory("doubling", bounds={"float64": 4.0}, version=2)(doubling)
    assert not agreement.compare([path]).failed


@pytest.mark.usefixtures("small")
def test_agree_records_and_compares_beside_given_records(backend, tmp_path):
    other = agreement.record(backend, tmp_path / "others")
    report = agreement.agree(backend.name, [other.parent], tmp_path / "mine")
    assert not report.failed
    assert (tmp_path / "mine" / other.name).is_file()
    assert "2 records" in report.text
    assert "cases, 1 record: " in agreement.agree(backend).text


def test_records_of_real_gpus_are_within_their_bounds(backend):
    if backend.name != "numpy":
        pytest.skip("they are compared with NumPy once")
    folder = Path(__file__).resolve().parents[1] / "agreement" / "records"
    if not list(folder.glob("*.safetensors")):
        pytest.skip("there are none yet: see CONTRIBUTING.md, On a GPU machine")
    report = agreement.compare([folder])
    assert not report.failed, report.text


def test_the_device_of_a_record_is_that_of_the_arrays(backend):
    name = str(backend.device(backend.from_host([0.0])))
    assert agreement._device(backend, ("another", f"{name} (mine)")) == f"{name} (mine)"
    assert agreement._device(backend, ("first", "second")) == "first"
    assert agreement._device(backend, ()) == ""


def test_no_records_are_refused_with_the_cure(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"No agreement record at .*python -m nnbackend agree --backend numpy"
    ):
        agreement.compare([tmp_path])


def test_another_model_file_is_no_record(tmp_path):
    safetensors.write(tmp_path / "model.safetensors", {"x": host().xp.ones(1)}, {"layers": []})
    with pytest.raises(ValueError, match="is not an agreement record"):
        agreement.compare([tmp_path])


@pytest.mark.parametrize(
    ("computed", "expected", "units"),
    [([1.0, 2.0], [1.0, 2.0], 0.0), ([1.0, 2.0 + 2**-22], [1.0, 2.0], 1.0), ([2**-23, 1.0], [0.0, 1.0], 1.0),
     ([0.0], [0.0], 0.0), ([1e-30], [0.0], np.inf), ([np.nan, 1.0], [np.nan, 1.0], 0.0), ([np.inf], [np.inf], 0.0),
     ([-np.inf], [np.inf], np.inf), ([np.nan], [1.0], np.inf), ([1.0], [np.nan], np.inf)],
)  # fmt: skip
def test_errors_are_counted_in_units_of_the_largest_element(computed, expected, units):
    assert agreement._error(np.asarray(computed), np.asarray(expected), 2.0**-23) == pytest.approx(units)


@pytest.mark.usefixtures("small")
def test_an_exception_widens_the_bound_of_its_backend_and_dtype_only(backend, monkeypatch, tmp_path):
    path = agreement.record(backend, tmp_path)

    def change(metadata, tensors):
        for dtype in agreement.DTYPES:
            part = f"exp/{dtype}/value0"
            tensors[part] = tensors[part] * (1 + 20 * agreement.EPSILON[dtype])

    assert tamper(path, change).failed
    known = {(backend.name, "float64"): 80.0}
    cases = tuple(dataclasses.replace(case, exceptions=known) for case in agreement.CASES)
    monkeypatch.setattr(agreement, "CASES", cases)
    failed = [result for result in agreement.compare([path]).results if result.failed]
    assert [(result.case, result.dtype) for result in failed] == [("exp", "float32")]


@pytest.mark.usefixtures("small")
def test_a_record_says_the_precision_of_its_products_and_is_named_after_it(backend, tmp_path):
    with nn.use_matmul_precision("high"):
        path = agreement.record(backend, tmp_path)
        named = agreement.record(backend, tmp_path, "a-name-of-my-own")
    assert path.name == f"{backend.name}-high.safetensors"
    assert named.name == "a-name-of-my-own.safetensors"
    assert safetensors.read(path)[0]["precision"] == "high"
    assert "products of 'high' precision" in agreement.compare([path]).text
    assert safetensors.read(agreement.record(backend, tmp_path))[0]["precision"] == "highest"


@pytest.mark.parametrize(
    ("precision", "allowed"), [("highest", ()), ("high", ("matmul",)), ("medium", ("matmul",)), (None, ())]
)
def test_coarse_products_widen_the_bound_of_what_has_products_in_float32(
    precision, allowed, backend, tmp_path, monkeypatch
):
    cases = tuple(case for case in agreement.CASES if case.name in ("exp", "matmul"))
    monkeypatch.setattr(agreement, "CASES", cases)
    monkeypatch.setattr(agreement, "TRAJECTORIES", {})

    def change(metadata, tensors):
        metadata["precision"] = precision
        if precision is None:  # as old records are
            del metadata["precision"]
        for case in cases:
            for dtype in agreement.DTYPES:
                part = f"{case.name}/{dtype}/value0"
                tensors[part] = tensors[part] * (1 + 1000 * agreement.EPSILON[dtype])

    report = tamper(agreement.record(backend, tmp_path), change)
    full = [result for result in report.results if result.dtype in agreement.DTYPES]
    within = {(result.case, result.dtype) for result in full if not result.failed}
    assert within == {(name, "float32") for name in allowed}


def test_tf32_keeps_its_bounds(backend, tmp_path, monkeypatch):
    """What a GPU's TF32 units do is done here by cutting the factors of every product off: 10 bits of mantissa."""
    if backend.name != "torch":
        pytest.skip("PyTorch can be asked to cut its factors off")
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    def cut(x):
        return (x.contiguous().view(torch.int32) & ~((1 << 13) - 1)).view(torch.float32)

    aten, seen = torch.ops.aten, []

    class Tf32(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function in (aten.mm.default, aten.bmm.default, aten.mv.default):
                seen.append(function)
                args = [cut(x) if x.dtype == torch.float32 else x for x in args]
            return function(*args, **(kwargs or {}))

    first = {case.topic: case for case in reversed(agreement.CASES)}  # one of each topic
    monkeypatch.setattr(agreement, "CASES", tuple(first.values()))
    shortest = {"training with Nadam": agreement.TRAJECTORIES["training with Nadam"]}
    monkeypatch.setattr(agreement, "TRAJECTORIES", shortest)
    with nn.use_matmul_precision("high"), Tf32():
        path = agreement.record(backend, tmp_path)
    assert seen
    report = agreement.compare([path])
    assert not report.failed, report.text
    assert tamper(path, lambda metadata, tensors: metadata.pop("precision")).failed


@pytest.fixture
def in_halves(monkeypatch):
    """Two cases of which one is compared in 16 bits, too, and no training."""
    cases = tuple(case for case in agreement.CASES if case.name in ("exp", "softmax"))
    assert [case.halves for case in sorted(cases, key=lambda case: case.name)] == [False, True]
    monkeypatch.setattr(agreement, "CASES", cases)
    monkeypatch.setattr(agreement, "TRAJECTORIES", {})


@pytest.mark.usefixtures("in_halves")
def test_rules_are_recorded_in_the_16_bits_that_the_backend_has(backend, tmp_path):
    path = agreement.record(backend, tmp_path)
    _, tensors = safetensors.read(path)
    wanted = set(backend.dtypes)
    assert {name.split("/")[1] for name in tensors if name.startswith("softmax")} == wanted
    assert {name.split("/")[1] for name in tensors if name.startswith("exp")} == {"float32", "float64"}
    report = agreement.compare([path])
    assert not report.failed
    assert {result.dtype for result in report.results if result.case == "softmax"} == wanted
    assert ("f16" in report.text) == ("float16" in wanted)

    def change(metadata, tensors):
        tensors["softmax/float16/value0"] = tensors["softmax/float16/value0"] * 1.01

    if "float16" in wanted:
        assert "softmax on " in tamper(path, change).text
        assert "in float16: value0 is off by" in tamper(path, change).text


@pytest.mark.usefixtures("in_halves")
def test_what_a_library_fails_at_in_16_bits_is_missing_and_the_rest_is_recorded(
    backend, tmp_path, monkeypatch, caplog
):
    if "float16" not in backend.dtypes:
        pytest.skip(f"{backend.name} has no float16")
    compute = Case.compute

    def failing(case, where, dtype, rounded=""):
        if dtype == "float16":
            raise NotImplementedError("no kernel")
        return compute(case, where, dtype, rounded)

    monkeypatch.setattr(Case, "compute", failing)
    report = agreement.compare([agreement.record(backend, tmp_path)])
    assert f"softmax on {backend.name} in float16: value0 is missing, gradient0 is missing" in report.text
    assert [result.dtype for result in report.results if result.failed] == ["float16"]
    assert f"softmax on {backend.name} in float16: NotImplementedError: no kernel" in caplog.text


@pytest.mark.usefixtures("in_halves")
def test_records_from_before_16_bits_are_compared_in_what_they_hold(backend, tmp_path):
    path = agreement.record(backend, tmp_path)

    def as_it_was(metadata, tensors):
        del metadata["dtypes"]
        for name in [name for name in tensors if name.split("/")[1] in ("float16", "bfloat16")]:
            del tensors[name]

    report = tamper(path, as_it_was)
    assert not report.failed
    assert {result.dtype for result in report.results} == {"float32", "float64"}


@pytest.mark.parametrize(
    ("dtype", "value", "rounded"),
    [("float16", 1 / 3, 0.333251953125), ("bfloat16", 1 / 3, 0.333984375), ("bfloat16", 1.00390625, 1.0),
     ("bfloat16", 1.01171875, 1.015625), ("bfloat16", -2.5, -2.5), ("", 0.1, np.float32(0.1))],
)  # fmt: skip
def test_inputs_are_rounded_to_the_nearest_number_of_16_bits(dtype, value, rounded):
    assert in_16_bits(np.asarray([value], np.float32), dtype).tolist() == [rounded]
