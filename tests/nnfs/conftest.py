"""Programs of the book, on the backend under test, without a trace in NumPy's global generator."""

from __future__ import annotations

import numpy as np
import pytest

from nnbackend import nnfs
from nnbackend.nnfs import settings


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """Begin each test as a program begins, and leave the generator and the settings as they were."""
    monkeypatch.setattr(settings, "_settings", settings.Settings())
    before = np.random.get_state()
    yield
    np.random.set_state(before)


@pytest.fixture
def wide(backend):
    """Initialise as the golden runs were: float64 everywhere."""
    nnfs.init(dot_precision_workaround=False, default_dtype="float64", backend=backend)


@pytest.fixture
def book(backend):
    """Initialise as the book's programs do."""
    nnfs.init(backend=backend)
