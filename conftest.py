"""The options of the tests: here, so that they are known whichever folder pytest is given."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

#: The examples in the docstrings of the pictures need what draws them.
collect_ignore_glob = [] if find_spec("matplotlib") else ["nnbackend/plotting/*.py"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="numpy", help="the backend that the tests run on (default: numpy)")
    parser.addoption(
        "--compiler", default=None, help="what compiles programs on NumPy: numba (default: nothing)"
    )
    parser.addoption(
        "--record", default=None, metavar="DIR", help="write this backend's agreement record to DIR"
    )
