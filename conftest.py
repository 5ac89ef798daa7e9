"""The options of the tests: here, so that they are known whichever folder pytest is given."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

#: What is imported for the examples in its docstrings, and needs a library that may be missing.
_NEEDS = {"nnbackend/plotting/*.py": "matplotlib", "tests/backends/cupy_on_cpu.py": "cupy"}
collect_ignore_glob = [pattern for pattern, library in _NEEDS.items() if not find_spec(library)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="numpy", help="the backend that the tests run on (default: numpy)")
    parser.addoption(
        "--compiler", default=None, help="what compiles programs on NumPy: numba (default: nothing)"
    )
    parser.addoption(
        "--record", default=None, metavar="DIR", help="write this backend's agreement record to DIR"
    )
