"""What the tests of single backends share."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests of CuPy's backend with NumPy or CuPy alone: they take minutes, and ask no other for anything."""
    if config.getoption("--backend") in ("numpy", "cupy"):
        return
    elsewhere = pytest.mark.skip(reason="tests of CuPy's backend are for --backend numpy and cupy")
    for item in items:
        if item.path.name.startswith("test_cupy_"):
            item.add_marker(elsewhere)
