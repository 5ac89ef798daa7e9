"""The rooms of the house stay apart: who imports whom, read from the source.

Amend the tables, not the tests. An entry that nothing uses any more fails too.
"""

import ast
import graphlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_lazy import PACKAGES

ROOT = Path(__file__).resolve().parents[1]

#: What the packages are made of: their ``__init__`` says what they offer, and where it is.
LAZY = {"lazy"}
#: What the rooms of the mathematics may import.
MATHEMATICS = LAZY | {
    "arguments",
    "autodiff",
    "backend",
    "elementwise",
    "placement",
    "random",
    "tree",
    "typing",
}
#: What the rooms between mathematics and models may import: each other, too.
PARTS = MATHEMATICS | {
    "activations",
    "config",
    "constraints",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "policies",
    "regularizers",
}

#: room -> the rooms it may import besides itself; the rooms are the modules and packages right under nnbackend/.
MAY_IMPORT = {
    "typing": set(),
    "lazy": set(),
    "arguments": {"backend"},
    "tree": {"typing"},
    "philox": {"typing"},
    "backend": {"philox", "typing"},
    "elementwise": {"arguments", "backend", "typing"},
    "placement": {"backend", "typing"},
    "compiling": set(),
    "precision": {"backend"},
    "policies": {"backend", "config", "elementwise", "tree", "typing"},
    "random": {"backend", "elementwise", "tree", "typing"},
    "autodiff": {"arguments", "backend", "elementwise", "tree", "typing"},
    "checking": {"autodiff", "backend", "random", "tree", "typing"},
    "functional": MATHEMATICS,
    "activations": PARTS,
    "config": LAZY | {"backend", "typing"},
    "constraints": PARTS,
    "initializers": PARTS,
    "layers": PARTS,
    "losses": PARTS,
    "metrics": PARTS,
    "optimizers": PARTS,
    "regularizers": PARTS,
    "data": MATHEMATICS,
    "datasets": {"arguments", "backend", "random"},
    "models": PARTS | {"callbacks", "data", "interop", "plotting"},
    "callbacks": PARTS | {"data", "interop", "models", "plotting"},
    "interop": PARTS | {"models"},
    "nnfs": PARTS | {"datasets", "interop"},
    "plotting": PARTS | {"data", "models"},
}
#: The face and the commands stand above all rooms and may import any of them.
ABOVE = {"__init__", "__main__", "agreement", "benchmarking", "cases", "trajectories"}

#: library -> the rooms that may import it.
THIRD_PARTY = {
    "PIL": {"datasets"},
    "array_api_compat": {"backend"},
    "matplotlib": {"plotting"},
    "ml_dtypes": {"interop"},
    "pooch": {"datasets"},
    "safetensors": {"interop"},
    "sklearn": {"datasets"},
    "tensorboard": {"callbacks"},
    "tqdm": {"callbacks"},
}

#: Never under nnbackend/, in any part of a module's name, except at the edges named below.
ARRAY_LIBRARIES = {
    "array_api_strict",
    "cupy",
    "cupyx",
    "jax",
    "jaxlib",
    "numba",
    "numpy",
    "scipy",
    "tensorflow",
    "torch",
}
#: file -> {module: the reason why this file on the host's edge may import it}
HOST_EDGES = {
    "nnbackend/datasets/book.py": {
        "numpy": "the book's data sets own a private generator of NumPy's old kind, and are bit-equal to NumPy's sine",
    },
    "nnbackend/datasets/files.py": {
        "numpy": "IDX, npz and image files are read into the host's memory",
    },
    "nnbackend/interop/safetensors.py": {
        "safetensors.numpy": "a file is written from, and read into, the host's memory",
    },
    "nnbackend/nnfs/settings.py": {
        "numpy": "the book's programs draw from NumPy's global generator of old, and call it themselves in between",
    },
}

#: backend package -> the libraries it knows.
OWN_LIBRARIES = {
    "nnbackend_numpy": {"array_api_compat", "llvmlite", "numba", "numpy", "scipy", "threadpoolctl"},
    "nnbackend_cupy": {
        "array_api_compat",
        "cuda",
        "cudnn",
        "cupy",
        "cupy_backends",
        "cupyx",
        "ml_dtypes",
        "numpy",
    },
    "nnbackend_torch": {"array_api_compat", "ml_dtypes", "numpy", "torch"},
    "nnbackend_jax": {"array_api_compat", "jax", "jaxlib", "numpy"},
    "nnbackend_strict": {"array_api_compat", "array_api_strict", "numpy"},
}
#: All that a backend package knows of this library: the protocol, what its programs and types are made of, and the
#: random generator's definition.
PROTOCOL = {
    "nnbackend.backend",
    "nnbackend.elementwise",
    "nnbackend.compiling",  # what recorded and captured steps share
    "nnbackend.philox",
    "nnbackend.precision",  # how exactly products are wanted
    "nnbackend.tree",  # what a step that is compiled takes and gives
    "nnbackend.typing",
}

#: file of a backend -> {module: the reason why its native rules may call that module's generic ones}
RULE_EDGES = {
    "backends/nnbackend_cupy/attention.py": {
        "nnbackend.functional.attention": "what cuDNN does not take, and gradients of gradients, are generic",
    },
    "backends/nnbackend_cupy/convolution.py": {
        "nnbackend.functional.convolution": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_cupy/cudnn_convolution.py": {
        "nnbackend.functional.convolution": "what a convolution's plan says is that module's",
    },
    "backends/nnbackend_cupy/matmul.py": {
        "nnbackend.functional.linear": "what has no faster form, and gradients, are generic",
    },
    "backends/nnbackend_cupy/normalization.py": {
        "nnbackend.functional.normalization": "the programs over rows, and what has no faster form, are generic",
        "nnbackend.functional.rules": "axes are counted as generic rules count them",
    },
    "backends/nnbackend_cupy/pooling.py": {
        "nnbackend.functional.pooling": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_cupy/scatter.py": {
        "nnbackend.functional.embedding": "what has no faster form, and gradients of gradients, are generic",
        "nnbackend.functional.indexing": "what has no faster form is generic",
    },
    "backends/nnbackend_numpy/attention.py": {
        "nnbackend.functional.attention": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_numpy/convolution.py": {
        "nnbackend.functional.convolution": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_numpy/grouped.py": {
        "nnbackend.functional.convolution": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_numpy/layer_norm.py": {
        "nnbackend.functional.normalization": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_numpy/normalization.py": {
        "nnbackend.functional.normalization": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_numpy/numba_normalization.py": {
        "nnbackend.functional.normalization": "its elementwise programs are compiled",
    },
    "backends/nnbackend_numpy/pooling.py": {
        "nnbackend.functional.pooling": "what has no faster form, and gradients of gradients, are generic",
    },
    "backends/nnbackend_numpy/recurrent.py": {
        "nnbackend.functional.recurrent": "what has no faster form, and gradients of gradients, are generic",
    },
}

#: Ways to run what a file says; calls by bare name, and modules.
CALLS_THAT_RUN_DATA = {"__import__", "compile", "eval", "exec"}
MODULES_THAT_RUN_DATA = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "runpy", "shelve"}


#: lazy package -> the module of each name that it offers
OFFERED: dict[str, dict[str, str]] = {
    name: vars(importlib.import_module(name))["_homes"] for name in PACKAGES
}


@dataclass(frozen=True)
class Import:
    """One module named by one import statement."""

    module: str
    line: int
    #: At module level: it happens while the file itself is being imported.
    eager: bool
    #: Under ``if TYPE_CHECKING``: it never happens.
    typing_only: bool


def imports_of(tree: ast.Module, package: str, modules: set[str]) -> list[Import]:
    """List what a file imports.

    `package` is the package it lies in, for relative imports; `modules` are the known modules, which tells
    ``from nnbackend import functional``, a module, from ``from nnbackend import Tensor``, a name in the face.
    """
    found = []

    def visit(node: ast.AST, eager: bool, typing_only: bool) -> None:
        for module in named_modules(node, package, modules):
            found.append(Import(module, node.lineno, eager, typing_only))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, eager, True)
            for child in node.orelse:
                visit(child, eager, typing_only)
            return
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, eager and not inside, typing_only)

    visit(tree, True, False)
    return found


def named_modules(node: ast.AST, package: str, modules: set[str]) -> Iterator[str]:
    """Give the modules that this one node imports by name."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*parents, *filter(None, [node.module])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in modules or alias.name in ARRAY_LIBRARIES else base
            if inner not in modules and alias.name in OFFERED.get(base, {}):
                yield OFFERED[base][alias.name]  # which the package imports now
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, its module name, its syntax and its imports."""

    path: str
    module: str
    tree: ast.Module
    imports: list[Import]

    @property
    def room(self) -> str:
        """The room of nnbackend that it stands in."""
        return room_of(self.module)

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def read(folder: Path) -> list[Source]:
    """Read every package right under `folder`."""
    paths = {}
    for path in sorted(folder.glob("nnbackend*/**/*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    sources = []
    for module, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = imports_of(tree, package, set(paths))
        sources.append(Source(path.relative_to(ROOT).as_posix(), module, tree, found))
    return sources


LIBRARY = read(ROOT)
BACKENDS = read(ROOT / "backends")
KNOWN = {source.module for source in LIBRARY}


def top(module: str) -> str:
    return module.partition(".")[0]


def is_standard(module: str) -> bool:
    return top(module) in sys.stdlib_module_names


def test_every_room_stands_in_the_table():
    rooms = {source.room for source in LIBRARY}
    assert rooms - ABOVE <= set(MAY_IMPORT)


def test_rooms_import_only_the_rooms_below_them():
    trespasses = [
        f"{source.at(found.line)}: {source.room} imports {found.module}"
        for source in LIBRARY
        if source.room not in ABOVE
        for found in source.imports
        if top(found.module) == "nnbackend" and not found.typing_only
        if room_of(found.module) not in {source.room, *MAY_IMPORT[source.room]}
    ]
    assert not trespasses


def test_no_module_imports_itself_in_a_circle():
    graph = {
        source.module: {
            found.module
            for found in source.imports
            if found.module in KNOWN and found.eager and not found.typing_only
        }
        for source in LIBRARY
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def is_array_library(module: str) -> bool:
    """Tell whether a name such as ``numpy`` or ``safetensors.numpy`` brings an array library."""
    return bool(ARRAY_LIBRARIES & set(module.split("."))) and top(module) != "nnbackend"


def test_no_array_library_is_imported_but_at_the_named_edges():
    trespasses = [
        f"{source.at(found.line)}: {found.module}"
        for source in LIBRARY
        for found in source.imports
        if is_array_library(found.module) and found.module not in HOST_EDGES.get(source.path, {})
    ]
    assert not trespasses


def test_every_named_edge_is_there():
    present = {source.path: {found.module for found in source.imports} for source in LIBRARY + BACKENDS}
    idle = [
        f"{path}: {module}"
        for path, modules in (HOST_EDGES | RULE_EDGES).items()
        for module in modules
        if module not in present.get(path, set())
    ]
    assert not idle


def test_other_libraries_are_imported_only_in_their_rooms():
    trespasses = [
        f"{source.at(found.line)}: {found.module}"
        for source in LIBRARY
        for found in source.imports
        if not is_standard(found.module) and not is_array_library(found.module)
        if top(found.module) != "nnbackend" and source.room not in THIRD_PARTY.get(top(found.module), set())
    ]
    assert not trespasses


def test_backends_know_the_protocol_and_their_own_library_only():
    trespasses = [
        f"{source.at(found.line)}: {found.module}"
        for source in BACKENDS
        for found in source.imports
        if not is_standard(found.module)
        if found.module not in PROTOCOL
        if found.module not in RULE_EDGES.get(source.path, {})
        if top(found.module) not in {top(source.module), *OWN_LIBRARIES[top(source.module)]}
    ]
    assert not trespasses


def test_nothing_runs_what_a_file_says():
    trespasses = [
        f"{source.at(found.line)}: import {found.module}"
        for source in LIBRARY + BACKENDS
        for found in source.imports
        if top(found.module) in MODULES_THAT_RUN_DATA
    ]
    trespasses += [
        f"{source.at(node.lineno)}: {ast.unparse(node)}"
        for source in LIBRARY + BACKENDS
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and runs_data(node)
    ]
    assert not trespasses


def runs_data(call: ast.Call) -> bool:
    """Tell whether a call evaluates text, or unpickles."""
    if isinstance(call.func, ast.Name):
        return call.func.id in CALLS_THAT_RUN_DATA
    unpickles = {keyword.arg for keyword in call.keywords} & {"allow_pickle", "weights_only"}
    return bool(unpickles) or ast.unparse(call.func) in {"torch.load", "torch.save"}


EXAMPLE = """
import numpy.linalg
from . import linear
from .linear import dense
from nnbackend import functional, Tensor
if TYPE_CHECKING:
    import torch
else:
    import json
def later():
    import tqdm
    importlib.import_module("jax")
class C:
    import os
from safetensors import numpy
"""


def test_the_reader_sees_every_kind_of_import():
    modules = {"nnbackend", "nnbackend.functional", "nnbackend.functional.linear"}
    found = imports_of(ast.parse(EXAMPLE), "nnbackend.functional", modules)
    assert found == [
        Import("numpy.linalg", 2, True, False),
        Import("nnbackend.functional.linear", 3, True, False),
        Import("nnbackend.functional.linear", 4, True, False),
        Import("nnbackend.functional", 5, True, False),
        Import("nnbackend", 5, True, False),
        Import("nnbackend.autodiff", 5, True, False),  # where Tensor is
        Import("torch", 7, True, True),
        Import("json", 9, True, False),
        Import("tqdm", 11, False, False),
        Import("jax", 12, False, False),
        Import("os", 14, True, False),
        Import("safetensors.numpy", 15, True, False),
    ]


@pytest.mark.parametrize(
    "call", ["eval(text)", "exec(text)", "np.load(file, allow_pickle=True)", "torch.load(file)"]
)
def test_the_reader_sees_calls_that_run_data(call):
    assert runs_data(ast.parse(call).body[0].value)


def test_compiling_a_step_is_not_running_data():
    assert not runs_data(ast.parse("backend.compile(step)").body[0].value)
