"""Where numbers were measured. It imports nothing that a bare machine may lack."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "accelerator", "machine"]

#: The checkout.
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "optax", "keras", "scikit-learn", "thinc")
ON_A_DEVICE = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "triton", "jax", "jaxlib", "optax")


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return what the numbers depend on: processor or device, system and versions."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {"python": platform.python_version()}
    for package in PACKAGES if device == "cpu" else ON_A_DEVICE:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    found = {"processor": model, "cores": os.cpu_count(), "system": platform.platform(), "versions": versions}
    return found | ({} if device == "cpu" else {"device": accelerator()})


def accelerator() -> str:
    """Return name, memory and driver of the GPUs, as the driver's own tool says it; empty where there is none."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(answer.stdout.strip().splitlines())
