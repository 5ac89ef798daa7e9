"""What `import nnbackend` brings into a fresh interpreter, and what it leaves alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = {"array_api_strict", "cupy", "cupyx", "jax", "jaxlib", "numba", "torch"}

#: All that `import nnbackend` may load besides the standard library.
LOADED = {"array_api_compat", "nnbackend", "nnbackend_numpy", "numpy"}
#: Modules inside these, or inside the standard library, that cost more than they are worth before first use.
LATER = {"array_api_compat.numpy", "importlib.metadata", "numpy.f2py", "numpy.testing"}

REPORT_MODULES = """
import json, sys
before = set(sys.modules)
import nnbackend
print(json.dumps(sorted(set(sys.modules) - before)))
"""

#: Makes packages look as if they were not installed.
HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_the_rest(name, path=None, target=None):
    return None if name.partition(".")[0] in %r else find(name, path, target)
PathFinder.find_spec = find_the_rest
"""


def run(program: str, **environment: str) -> str:
    """Run a program in a fresh interpreter that sees this checkout."""
    mine = {name: value for name, value in os.environ.items() if name not in ("NNBACKEND", "EAGER_IMPORT")}
    environment = mine | environment
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return set(json.loads(run(REPORT_MODULES)))


def test_import_loads_no_package_but_the_pinned_ones(loaded):
    packages = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    # NumPy's compiled parts leave top-level modules of Cython's behind, and Python one of its build
    packages = {name for name in packages if not name.startswith(("_cython", "cython_", "_sysconfigdata"))}
    assert packages <= LOADED


def test_import_leaves_for_first_use_what_is_slow(loaded):
    assert not loaded & LATER


def test_import_and_detection_work_where_no_optional_package_is_installed():
    program = HIDE % OPTIONAL + "import nnbackend as nn; print(*nn.available_backends())"
    assert run(program).split() == ["numpy"]


@pytest.mark.parametrize("backend", ["cupy", "torch", "jax", "strict"])
def test_asking_for_a_missing_library_says_what_brings_it(backend):
    program = (
        HIDE % OPTIONAL
        + f"""
import nnbackend as nn
try:
    nn.get_backend({backend!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    )
    answer = run(program)
    assert answer.startswith("BackendUnavailableError")
    assert "pip install" in answer


def test_import_leaves_models_and_layers_for_first_use(loaded):
    inner = {name for name in loaded if name.count(".") > 1 and name.startswith("nnbackend.")}
    assert {name.rpartition(".")[0] for name in inner} <= {"nnbackend.functional"}
    assert len([name for name in loaded if name.partition(".")[0] == "nnbackend"]) < 30


def test_the_face_offers_these_rooms():
    import nnbackend as nn

    rooms = {name for name in nn.__all__ if isinstance(getattr(nn, name), ModuleType)}
    assert rooms == {
        "activations",
        "callbacks",
        "constraints",
        "data",
        "datasets",
        "functional",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "nnfs",
        "optimizers",
        "plotting",
        "random",
        "regularizers",
    }
