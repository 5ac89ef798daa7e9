"""One `backend` fixture, chosen by ``--backend``: the same tests run on every array library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import Backend, BackendUnavailableError

#: It takes CuPy's place in the process that imports it.
collect_ignore = ["backends/counted_work.py"]


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--backend")
    try:
        backend = chosen_backend(config)
    except (BackendUnavailableError, TypeError, ValueError) as error:
        raise pytest.UsageError(str(error)) from error
    if config.getoption("--compiler"):  # also for tests that name NumPy, and for the work on the host
        nn.backend._instances["numpy", ()] = backend
        nn.backend._by_type.clear()
    if name == "strict":
        import array_api_strict

        # process-wide: results may not depend on values in their shape, and there are no extensions
        array_api_strict.set_array_api_strict_flags(
            boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
        )


def chosen_backend(config: pytest.Config) -> Backend:
    """Return the backend that the command line names, with its options."""
    compiler = config.getoption("--compiler")
    return nn.get_backend(config.getoption("--backend"), **({"compiler": compiler} if compiler else {}))


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> Backend:
    """The backend under test."""
    return chosen_backend(pytestconfig)


@pytest.fixture(scope="session")
def light(backend: Backend) -> Backend:
    """The backend under test, or NumPy where each step takes seconds to compile: for what does not depend on it."""
    return nn.get_backend("numpy") if backend.name == "jax" else backend


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Each floating dtype that rules are tested in."""
    return str(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Host random numbers for test inputs, the same in every test."""
    return np.random.default_rng(0)


@pytest.fixture
def put(backend: Backend) -> Callable[..., Any]:
    """Move host values to the backend under test: ``put([1.0, 2.0])``, ``put(array, "float32")``."""

    def move(values: Any, dtype: str | None = None) -> Any:
        host = np.asarray(values)
        if dtype is None and host.dtype == np.float64:
            dtype = "float64"
        array = backend.from_host(host, dtype)
        if backend.name == "numpy":
            array.flags.writeable = False  # no rule may write into what it is given
        return array

    return move


@pytest.fixture(scope="session")
def record_directory(pytestconfig: pytest.Config) -> Path | None:
    """Where the agreement record goes, if one is wanted."""
    directory = pytestconfig.getoption("--record")
    return None if directory is None else Path(directory)
