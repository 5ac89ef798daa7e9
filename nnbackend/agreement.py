r"""Whether backends agree: every rule's value and gradients, and short trainings, against NumPy in float64.

A *record* is what one backend computed: one safetensors file with the results of all cases in float32 and float64, of
some also in float16 and bfloat16 where the backend has them, and the digests of what the cases are. `compare` sets
records against a reference that is computed here and now, in float64 on NumPy, from the same float32 inputs, rounded to
16 bits where the record's are. Its measure is

.. math:: \frac{\max_i |y_i - r_i|}{\varepsilon \max_i |r_i|}

with result y, reference r and the spacing :math:`\varepsilon` of the record's dtype at 1: the error in units in the
last place of the largest element, since a sum's smaller neighbours carry no less error than the largest.

The inputs are uniform numbers of `nnbackend.random`, whose bits are the same on every machine. So a record made on
a GPU is compared anywhere. A case that was changed since is reported as stale and does not fail.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nnbackend import functional
from nnbackend.autodiff import Rule
from nnbackend.backend import Backend, get_backend, host
from nnbackend.cases import CASES, Case, Input, LayerCase
from nnbackend.elementwise import HALVES
from nnbackend.interop import safetensors
from nnbackend.lazy import import_all
from nnbackend.precision import get_matmul_precision
from nnbackend.trajectories import TRAJECTORIES
from nnbackend.typing import Json

__all__ = [
    "CASES",
    "Case",
    "Input",
    "LayerCase",
    "Report",
    "Result",
    "agree",
    "compare",
    "record",
    "rules",
]

#: What every backend computes every case in; of those of 16 bits that it has, it computes some in each (`HALVES`).
DTYPES = ("float32", "float64")
#: The error allowed in 16 bits, whatever the case's bound: rules round their results once, or a few times.
HALF_BOUND = 4.0
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
_log = logging.getLogger("nnbackend.agreement")
STALE = "stale: re-record on a GPU"
SUFFIX = ".safetensors"
#: The error allowed to what has matrix products in it, as a part of the largest element, where
#: `nnbackend.set_matmul_precision` was below "highest": 16 units in the last place of TF32, 64 of bfloat16. Factors cut
#: off to 10 bits, as GPUs do it, cost up to 13 units here, rounded ones 3; 7 bits up to 32, where Lion takes signs.
COARSE = {"high": 16 * 2.0**-10, "medium": 64 * 2.0**-7}
#: What has: these topics, layers that are made of them, and trainings.
PRODUCTS = frozenset(
    "alignment attention convolution einsum embeddings linear normalization recurrent recurrent_cells sequences core "
    "merging transformer".split()
)


def rules() -> dict[str, Rule]:
    """Return every rule of `nnbackend.functional`, by name."""
    found = {}
    for module in import_all(functional):
        for value in vars(module).values():
            if isinstance(value, Rule) and value.function.__module__ == module.__name__:
                found[value.name] = value
    return found


def record(
    backend: str | Backend | None,
    directory: str | Path,
    name: str | None = None,
    failed: Callable[[str, Exception], None] | None = None,
) -> Path:
    """Compute every case on a backend and write its record.

    Matrix products have the precision in force, and the record says which.

    Parameters
    ----------
    backend : str or Backend, optional
        Which backend; the one in force without it.
    directory : path
        Where the record goes; made if it is not there.
    name : str, optional
        What it is called; after the backend without it, and after a precision below "highest", as in ``"cupy-high"``.
    failed : callable, optional
        Is told of each case that raises an error, by ``failed("exp in float32", error)``, and the others are computed;
        its results are missing in the record then. Without it the first error ends all.

    Returns
    -------
    Path
        The file.
    """
    backend = get_backend(backend)
    tensors: dict[str, Any] = {}
    digests: dict[str, Any] = {}
    halves = tuple(dtype for dtype in HALVES if dtype in backend.dtypes)

    def compute(name: str, dtype: str, function: Callable[[Backend, str], Mapping[str, Any]]) -> None:
        try:
            parts = function(backend, dtype)
        except Exception as error:
            if failed is None:
                raise
            failed(f"{name} in {dtype}", error)
            return
        tensors.update({f"{name}/{dtype}/{part}": array for part, array in parts.items()})

    for case in CASES:
        digests[case.name] = {"definition": case.definition, "inputs": _digest(case.arguments())}
        for dtype in (*DTYPES, *halves) if case.halves else DTYPES:
            compute(case.name, dtype, functools.partial(_computed, case))
    for long in TRAJECTORIES.values():
        digests[long.name] = {"definition": long.definition, "inputs": ""}
        for dtype in long.bounds:
            compute(long.name, dtype, long.function)
    probed = backend.probe()
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    precision = get_matmul_precision()
    usual = backend.name if precision == "highest" else f"{backend.name}-{precision}"
    path = folder / f"{name or usual}{SUFFIX}"
    metadata: Json = {
        "kind": "agreement",
        "backend": backend.name,
        "device": _device(backend, probed.devices),
        "precision": precision,
        "versions": {backend.name: probed.version, "python": platform.python_version()},
        "commit": _commit(),
        "dtypes": [*DTYPES, *halves],
        "cases": digests,
    }
    safetensors.write(path, tensors, metadata)
    return path


def _device(backend: Backend, devices: Sequence[str]) -> str:
    """Return the device of a backend's arrays, in the words of its library where it has any for it."""
    name = str(backend.device(backend.from_host([0.0])))
    named = [words for words in devices if words.partition(" ")[0] in (name, f"{name}:0")]
    return ", ".join((named or list(devices))[:1])


def _computed(case: Case | LayerCase, backend: Backend, dtype: str) -> Mapping[str, Any]:
    """Compute a case; one that a library fails at in 16 bits is left out, which the comparison reports as missing."""
    try:
        return case.compute(backend, dtype)
    except Exception as error:
        if dtype not in HALVES:
            raise
        _log.warning("%s on %s in %s: %s: %s", case.name, backend.name, dtype, type(error).__name__, error)
        return {}


def _digest(arrays: Sequence[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _commit() -> str:
    """Return the commit of the source tree, or an empty string where there is none."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


@dataclass(frozen=True)
class Result:
    """One case on one record in one dtype.

    Attributes
    ----------
    case, topic : str
        What was computed, and the file of `nnbackend.functional` that its rule stands in (or "trainings and draws").
    record, dtype : str
        Where, and in which dtype.
    bound : float
        The error allowed, in units in the last place of the largest element.
    errors : mapping of str to float
        The error of each part, ``"value0"``, ``"gradient0"``, ...; empty for a stale case.
    missing : tuple of str
        What the record should hold and does not.
    """

    case: str
    topic: str
    record: str
    dtype: str
    bound: float
    errors: Mapping[str, float]
    missing: tuple[str, ...] = ()

    @property
    def stale(self) -> bool:
        """Whether the case was changed since it was recorded."""
        return not self.errors and not self.missing

    @property
    def failed(self) -> bool:
        """Whether an error passes the bound, or something is missing."""
        return bool(self.missing) or not all(error <= self.bound for error in self.errors.values())

    def __str__(self) -> str:
        if self.stale:
            return "stale"
        gradients = [error for part, error in self.errors.items() if part.startswith("gradient")]
        values = [error for part, error in self.errors.items() if not part.startswith("gradient")]
        text = " ".join(f"{max(errors):.1f}" for errors in (values, gradients) if errors)
        return f"{text} !" if self.failed else text

    @property
    def problem(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        if not self.failed:
            return ""
        parts = [
            f"{part} is off by {error:.3g} units"
            for part, error in self.errors.items()
            if not error <= self.bound
        ]
        parts += [f"{part} is missing" for part in self.missing]
        return (
            f"{self.case} on {self.record} in {self.dtype}: {', '.join(parts)}, the bound is {self.bound:g}"
        )


@dataclass(frozen=True)
class Report:
    """What a comparison found.

    Attributes
    ----------
    results : tuple of Result
        One for each case, record and dtype.
    origins : tuple of str
        What each record was made on.
    """

    results: tuple[Result, ...]
    origins: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether any error passed its bound."""
        return any(result.failed for result in self.results)

    @property
    def text(self) -> str:
        """The table, a row for each case; then the stale cases and those past their bounds, in words."""
        columns = list(dict.fromkeys((result.record, result.dtype) for result in self.results))
        rows: dict[str, dict[tuple[str, str], Result]] = {}
        for result in self.results:
            rows.setdefault(result.case, {})[result.record, result.dtype] = result
        table = [["case", *(f"{record} {dtype.replace('float', 'f')}" for record, dtype in columns), "bound"]]
        for case, cells in rows.items():
            bounds = dict.fromkeys(f"{result.bound:g}" for result in cells.values())
            table.append([case, *(str(cells.get(column, "")) for column in columns), " ".join(bounds)])
        notes = [f"{r.case} on {r.record}: {STALE}" for r in self.results if r.stale]
        notes += [result.problem for result in self.results if result.failed]
        failures = sum(result.failed for result in self.results)
        return "\n".join(
            [
                *self._heading(),
                "",
                *_table(table),
                *([""] if notes else []),
                *dict.fromkeys(notes),
                "",
                f"{len(rows)} cases, {len(self.origins)} record{'s' * (len(self.origins) != 1)}: "
                + (f"{failures} past their bounds." if failures else "all within their bounds."),
            ]
        )

    @property
    def summary(self) -> str:
        """A Markdown table of the worst errors, a row for each topic."""
        columns = list(dict.fromkeys((result.record, result.dtype) for result in self.results))
        topics: dict[str, dict[tuple[str, str], list[float]]] = {}
        for result in self.results:
            errors = topics.setdefault(result.topic, {}).setdefault((result.record, result.dtype), [])
            errors.extend(result.errors.values())
        table = [["topic", *(f"{record} {dtype}" for record, dtype in columns)], ["---"] * (len(columns) + 1)]
        for topic, worst in topics.items():
            cells = (f"{max(worst[c]):.1f}" if worst.get(c) else "" for c in columns)
            table.append([topic, *cells])
        return "\n".join([*self._heading(), "", *(f"| {' | '.join(row)} |" for row in table)])

    def _heading(self) -> list[str]:
        return [
            "Errors of value and gradients against NumPy in float64, in units in the last place of the largest "
            "element.",
            *self.origins,
        ]


class _Record(NamedTuple):
    label: str
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Any]


def agree(
    backend: str | Backend | None = None,
    paths: Sequence[str | Path] = (),
    directory: str | Path | None = None,
) -> Report:
    """Record a backend, if one is named, and compare its record and those at `paths`.

    Parameters
    ----------
    backend : str or Backend, optional
        What to record here and now.
    paths : sequence of path
        Records, or folders of them.
    directory : path, optional
        Where to keep the fresh record; nowhere without it.

    Returns
    -------
    Report
        Its ``text`` is to be printed; ``failed`` tells whether a bound was passed.
    """
    if backend is None:
        return compare(paths)
    with tempfile.TemporaryDirectory() as temporary:
        fresh = record(backend, directory or temporary)
        return compare([fresh, *paths])


def compare(paths: Sequence[str | Path]) -> Report:
    """Compare records with the float64 NumPy reference.

    Parameters
    ----------
    paths : sequence of path
        Records, or folders of them.

    Returns
    -------
    Report
        Its table has a row for each case and a column for each record and dtype, with the errors of value and
        gradients in units in the last place.

    Raises
    ------
    FileNotFoundError
        If there is no record at `paths`.
    """
    records = _read(paths)
    results: list[Result] = []
    for item in _items():
        references = {dtype: item.reference(dtype) for dtype in item.bounds}
        for found in records:
            fresh = found.metadata["cases"].get(item.name) == item.digests
            recorded = found.metadata.get("dtypes", DTYPES)  # older records tell of these two alone
            for dtype, usual in item.bounds.items():
                if dtype not in recorded:
                    continue
                bound = item.exceptions.get((found.metadata["backend"], dtype), usual)
                bound = max(bound, _coarse_bound(found, item, dtype))
                errors, missing = _errors(found, item.name, dtype, references[dtype]) if fresh else ({}, [])
                results.append(
                    Result(item.name, item.topic, found.label, dtype, bound, errors, tuple(missing))
                )
    return Report(tuple(results), tuple(_origin(found) for found in records))


class _Item(NamedTuple):
    """What is compared, be it a case or a training."""

    name: str
    topic: str
    digests: Mapping[str, str]
    bounds: Mapping[str, float]
    exceptions: Mapping[tuple[str, str], float]
    reference: Callable[[str], Mapping[str, Any]]


def _items() -> Iterator[_Item]:
    for case in CASES:
        halves = dict.fromkeys(HALVES, HALF_BOUND) if case.halves else {}
        yield _Item(
            case.name,
            case.topic,
            {"definition": case.definition, "inputs": _digest(case.arguments())},
            dict.fromkeys(DTYPES, case.bound) | halves,
            case.exceptions,
            _references(case),
        )
    for long in TRAJECTORIES.values():
        yield _Item(
            long.name,
            "trainings and draws",
            {"definition": long.definition, "inputs": ""},
            long.bounds,
            {},
            functools.partial(long.function, host()),
        )


def _references(case: Case | LayerCase) -> Callable[[str], Mapping[str, Any]]:
    """Return what computes a case in float64, from inputs as a dtype has them."""
    exact = case.compute(host(), "float64")

    def reference(dtype: str) -> Mapping[str, Any]:
        if isinstance(case, Case) and dtype in HALVES:
            return case.compute(host(), "float64", rounded=dtype)
        return exact

    return reference


def _errors(
    found: _Record, name: str, dtype: str, reference: Mapping[str, Any]
) -> tuple[dict[str, float], list[str]]:
    """Return the error of each part, and the parts that the record lacks."""
    errors: dict[str, float] = {}
    missing = []
    for part, expected in reference.items():
        computed = found.tensors.get(f"{name}/{dtype}/{part}")
        if computed is None:
            missing.append(part)
        else:
            errors[part] = _error(computed, expected, EPSILON[dtype])
    return errors, missing


def _error(computed: Any, expected: Any, epsilon: float) -> float:
    """Return the largest error in units in the last place of the largest finite element; inf where NaNs differ."""
    xp = host().xp
    if computed.shape != expected.shape:
        return math.inf
    computed, expected = xp.astype(computed, xp.float64), xp.astype(expected, xp.float64)
    finite = xp.isfinite(expected)
    same = (computed == expected) | (xp.isnan(computed) & xp.isnan(expected))
    if bool(xp.any(~same & ~(finite & xp.isfinite(computed)))):
        return math.inf
    difference = xp.where(same, 0.0, xp.abs(xp.where(same, 0.0, computed) - xp.where(same, 0.0, expected)))
    largest = float(xp.max(difference)) if difference.size else 0.0
    if largest == 0.0:
        return 0.0
    scale = float(xp.max(xp.where(finite, xp.abs(xp.where(finite, expected, 0.0)), 0.0)))
    return largest / (epsilon * scale) if scale else math.inf


def _read(paths: Sequence[str | Path]) -> list[_Record]:
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        places = ", ".join(map(str, paths)) or "no path"
        raise FileNotFoundError(
            f"No agreement record at {places}. Make one: python -m nnbackend agree --backend numpy"
        )
    found = []
    for file in files:
        metadata, tensors = safetensors.read(file)
        if not isinstance(metadata, dict) or metadata.get("kind") != "agreement":
            raise ValueError(f"{file} is not an agreement record.")
        found.append(_Record(file.name.removesuffix(SUFFIX), metadata, tensors))
    return found


def _coarse_bound(found: _Record, item: _Item, dtype: str) -> float:
    """Return the error allowed by the precision of a record's products, in the units of its dtype; 0 without one."""
    coarse = COARSE.get(found.metadata.get("precision", "highest"))
    has_products = item.topic.rpartition(".")[2] in PRODUCTS or item.name.startswith("training ")
    if coarse is None or dtype != "float32" or not has_products:
        return 0.0
    return coarse / EPSILON[dtype]


def _origin(found: _Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found.metadata["versions"].items())
    commit = found.metadata["commit"]
    precision = found.metadata.get("precision", "highest")
    return (
        f"{found.label}: {found.metadata['device']}; {versions}"
        + (f"; commit {commit[:12]}" if commit else "")
        + (f"; products of {precision!r} precision" if precision != "highest" else "")
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
