"""The checks of this project: ``nox`` runs those that this machine can, ``nox -l`` lists them all."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "lint",
    "types",
    "tests(backend='numpy')",
    "tests(backend='strict')",
    "tests(backend='cupy')",
    "agreement",
]

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
#: Each requirement is written once, in pyproject.toml; sessions name the packages they want of them.
REQUIREMENTS = {
    Requirement(line).name: line for lines in PROJECT["optional-dependencies"].values() for line in lines
}
TEST_TOOLS = [
    REQUIREMENTS[name]
    for name in (
        "array-api-strict",
        "hypothesis",
        "matplotlib",
        "nnfs",
        "pillow",
        "pooch",
        "pytest",
        "pytest-xdist",
        "scikit-learn",
    )
]
#: Give pip another build of PyTorch, for instance one without CUDA (see CONTRIBUTING.md).
TORCH = os.environ.get("NNBACKEND_TORCH", "torch==2.13.0")

#: What the benchmark measures beside this library and PyTorch; JAX comes with an extra.
PEERS = [REQUIREMENTS[name] for name in ("keras", "optax", "scikit-learn", "thinc")]

#: Two tests at a time; those of one group stay together.
WORKERS = ("-n", "2", "--dist", "loadgroup")
#: JAX compiles each operation on its own outside of steps: the tests of single rules and layers take it half an hour.
#: The agreement record runs every one of them as a compiled step. `nox -s "tests(backend='jax')" -- tests` runs all.
NOT_OP_BY_OP = [
    *(
        f"tests/{room}"
        for room in ("backends", "callbacks", "data", "datasets", "examples", "interop", "models")
    ),
    *("tests/nnfs", "tests/optimizers", "tests/layers/test_base.py"),
    *map(str, sorted(Path("tests").glob("test_*.py"))),
]
#: Tests of what is made of elementwise programs.
OF_PROGRAMS = [
    "tests/backends/test_numpy_replay.py",
    "tests/functional/test_activations.py",
    "tests/functional/test_normalization.py",
    "tests/functional/test_pooling.py",
    "tests/optimizers",
    "tests/test_elementwise.py",
]
BACKENDS = ["numpy", "strict", "cupy", "torch", "jax"]
FRESH_RECORDS = Path(".agreement")
COMMITTED_RECORDS = Path("agreement/records")

#: One thread, so that sums are taken in the same order everywhere; and no backend but the one asked for.
ENVIRONMENT: dict[str, str | None] = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "PYTHONHASHSEED": "0",  # both processes of a session must see the tests in one order
    "NNBACKEND": None,
    "PYTHONPATH": None,
}

#: Prints the CUDA version of the driver and the number of devices, or a sentence that says what is missing.
ASK_THE_DRIVER = """
import ctypes, sys
try:
    cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
except OSError:
    sys.exit("no NVIDIA driver is installed")
version, count = ctypes.c_int(), ctypes.c_int()
if error := cuda.cuInit(0):
    sys.exit("the NVIDIA driver finds no device" if error == 100 else f"the NVIDIA driver fails: CUDA error {error}")
cuda.cuDriverGetVersion(ctypes.byref(version))
cuda.cuDeviceGetCount(ctypes.byref(count))
if not count.value:
    sys.exit("the NVIDIA driver finds no device")
print(version.value // 1000, count.value)
"""


def find_cuda(timeout: float = 60) -> tuple[int, str]:
    """Return the CUDA major version of the driver, or 0 and the reason why no device can be used.

    Another process asks, since a driver can hang, or crash whoever loads it.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ASK_THE_DRIVER], capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return 0, f"the NVIDIA driver did not answer within {timeout:.0f} seconds"
    if answer.returncode:
        return (
            0,
            answer.stderr.strip() or f"asking the NVIDIA driver ended with {answer.returncode}",
        )
    major = int(answer.stdout.split()[0])
    if major < 12:
        return 0, f"the NVIDIA driver speaks CUDA {major}, CuPy needs 12 or newer"
    return major, ""


def install(session: nox.Session, backend: str, *requirements: str, extras: tuple[str, ...] = ()) -> None:
    """Install the checkout with `backend` and what else is asked for; skip where the backend cannot run."""
    if backend == "cupy":
        major, reason = find_cuda()
        if not major:
            session.skip(f"CuPy needs an NVIDIA GPU: {reason}")
        extras = (*extras, "cuda12" if major == 12 else "cuda13")
    elif backend == "torch":
        session.install(*shlex.split(TORCH))
    elif backend == "jax":
        extras = (*extras, "jax")
    elif backend == "strict":
        requirements = (*requirements, REQUIREMENTS["array-api-strict"])
    session.install("-e", f".[{','.join(extras)}]" if extras else ".", *requirements)


@nox.session(tags=["all"])
def lint(session: nox.Session) -> None:
    """Check style, format and docstrings."""
    session.install(REQUIREMENTS["ruff"], REQUIREMENTS["numpydoc"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    documented = [path for room in ("nnbackend", "backends") for path in sorted(Path(room).rglob("*.py"))]
    session.run("numpydoc", "lint", *map(str, documented))


@nox.session(tags=["all"])
def types(session: nox.Session) -> None:
    """Check the types, strictly."""
    session.install(*PROJECT["dependencies"], *(REQUIREMENTS[name] for name in ("mypy", "nox", "packaging")))
    session.run("mypy")


@nox.session(tags=["all"])
@nox.parametrize("backend", BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests on one backend and record what it computes; arguments go to pytest (then no record)."""
    install(session, backend, *TEST_TOOLS)
    arguments = session.posargs
    if not arguments:
        for name in (
            f"{backend}.*",
            f"{backend}-*",
        ):  # a failed session leaves no record of earlier code
            for record in FRESH_RECORDS.glob(name):
                record.unlink()
        arguments = ["--record", str(FRESH_RECORDS)]
        if backend == "jax":
            arguments += NOT_OP_BY_OP
        elif backend != "numpy":  # the examples in the docstrings show NumPy's arrays
            arguments.append("tests")
    session.run("pytest", *WORKERS, "--backend", backend, *arguments, env=ENVIRONMENT)


@nox.session(tags=["all"])
def numba(session: nox.Session) -> None:
    """Test that programs compiled by Numba give NumPy's bits, and run tests of what is made of them compiled."""
    session.install("-e", ".[numba,threads]", *TEST_TOOLS)
    session.run("pytest", *WORKERS, *(session.posargs or ["tests/backends/test_numba.py"]), env=ENVIRONMENT)
    if not session.posargs:
        session.run("pytest", *WORKERS, "--compiler", "numba", *OF_PROGRAMS, env=ENVIRONMENT)


@nox.session(tags=["all"])
def agreement(session: nox.Session) -> None:
    """Compare the records of all backends at hand, and those of real GPUs, against NumPy in float64."""
    if not any(FRESH_RECORDS.glob("*.safetensors")):
        session.error(f"There are no records in {FRESH_RECORDS}/. Run the tests first: nox -s tests")
    session.install("-e", ".")
    records = [str(folder) for folder in (FRESH_RECORDS, COMMITTED_RECORDS) if folder.is_dir()]
    session.run("python", "-m", "nnbackend", "agree", "--compare", *records, env=ENVIRONMENT)


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example, briefly, on NumPy or on the backend named after ``--``."""
    backend = session.posargs[0] if session.posargs else "numpy"
    install(session, backend, extras=("examples",))
    scripts = [script for folder in ("examples", "examples/nnfs") for script in Path(folder).glob("[!_]*.py")]
    for script in sorted(scripts):
        session.run("python", str(script), "--backend", backend, "--quick", env=ENVIRONMENT)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure this library and its peers side by side; what follows ``--`` chooses: W1 W2 --threads 1."""
    install(session, "torch", *PEERS, extras=("jax", "numba"))
    session.run("python", "-m", "benchmarks", *session.posargs, env={"NNBACKEND": None, "PYTHONPATH": None})


@nox.session
def cupy_no_device(session: nox.Session) -> None:
    """Test what a machine with CuPy, but without a GPU and CUDA's libraries, gets to see."""
    session.install("-e", ".", *TEST_TOOLS, REQUIREMENTS["cupy-cuda13x"].replace("[ctk]", ""))
    session.install("--no-deps", REQUIREMENTS["nvidia-cudnn-frontend"])  # its signatures are looked at
    session.run(
        "pytest",
        "--backend",
        "numpy",
        *(session.posargs or sorted(map(str, Path("tests/backends").glob("test_cupy_*.py")))),
        env={**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "-1"},
    )


@nox.session
def build(session: nox.Session) -> None:
    """Build a wheel from the sdist, install it in a fresh environment and try it outside this tree."""
    session.install(REQUIREMENTS["build"])
    script = Path("tests/installed.py").resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session.run("python", "-m", "build", "--outdir", str(folder / "dist"))
        session.run("python", "-m", "venv", str(folder / "venv"))
        python = shutil.which("python", path=str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin")))
        assert python is not None
        (wheel,) = (folder / "dist").glob("*.whl")
        with session.chdir(folder):
            session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
            # -I: neither this folder nor the environment's variables can lend it the checkout
            session.run(python, "-I", str(script), external=True, env=ENVIRONMENT)
            session.run(python, "-I", "-m", "nnbackend", "info", external=True, env=ENVIRONMENT)
