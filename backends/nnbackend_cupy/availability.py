"""Whether CuPy can run on this machine, and in words why not.

`import cupy` succeeds on machines without a GPU, and asking CUDA for devices can take long (a laptop's GPU that is
powered off) or, with a broken driver, never return. So the driver is asked first, in a thread that is not waited for
beyond a limit; CuPy is asked only once the driver has answered; and the answer is remembered.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import sys
import threading
from dataclasses import dataclass
from typing import Any

from nnbackend.backend import Availability

__all__ = ["Driver", "driver", "explain", "install_line", "missing_libraries", "probe"]

#: Seconds after which the driver counts as hung.
PATIENCE = 30.0
_DRIVERS = "https://www.nvidia.com/drivers"


@dataclass(frozen=True)
class Driver:
    """What the NVIDIA driver says.

    Attributes
    ----------
    cuda : tuple of int
        The newest CUDA version it supports, such as ``(13, 0)``; ``(0, 0)`` where there is no driver.
    answered : bool
        False where it was still busy when our patience ended.
    """

    cuda: tuple[int, int] = (0, 0)
    answered: bool = True


@functools.cache
def driver() -> Driver:
    """Ask the driver for its version and let it find the devices, for `PATIENCE` seconds at most."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int()
        library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return Driver()
    cuda = (version.value // 1000, version.value % 1000 // 10)
    search = threading.Thread(target=library.cuInit, args=(0,), daemon=True)
    search.start()
    search.join(PATIENCE)
    return Driver(cuda, answered=not search.is_alive())


def install_line(found: Driver) -> str:
    """Return the line that brings CuPy with its CUDA libraries, in the version that the driver can run."""
    extra = "cuda12" if found.cuda[0] == 12 else "cuda13"
    return f'pip install "nnbackend[{extra}]"'


@functools.cache
def probe() -> Availability:
    """Tell whether CuPy can run here; never raises."""
    try:
        return _probe()
    except Exception as error:  # whatever is broken in the installation: the user is told, nothing fails
        return Availability(False, f"CuPy could not be asked: {type(error).__name__}: {_sentence(error)}")


def _probe() -> Availability:
    if importlib.util.find_spec("cupy") is None:
        return Availability(False, "CuPy is not installed.")
    try:
        import cupy
    except Exception as error:  # an ImportError, or what a version that does not fit NumPy's raises
        return Availability(False, f"CuPy is installed, but cannot be imported: {_sentence(error)}")
    version = str(cupy.__version__)
    found = driver()
    if not found.answered:
        reason = f"the NVIDIA driver did not answer within {PATIENCE:.0f} seconds. Does nvidia-smi answer?"
        return Availability(False, f"CuPy {version} is installed, but {reason}", version)
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        built_for = runtime.runtimeGetVersion() // 1000
        return Availability(False, explain(version, _sentence(error), found, built_for), version)
    if count == 0:
        return Availability(False, explain(version, "cudaErrorNoDevice", found, 0), version)
    devices, memory = _devices(runtime, count)
    if missing := missing_libraries():
        reason = f"CuPy {version} and a GPU are here, but CUDA libraries are missing: {', '.join(missing)}."
        return Availability(False, reason, version, devices, memory)
    return Availability(True, "", version, devices, memory)


def explain(version: str, error: str, found: Driver, built_for: int) -> str:
    """Say in words why CuPy sees no device.

    Parameters
    ----------
    version : str
        CuPy's version.
    error : str
        CUDA's error, by name and perhaps with its text.
    found : Driver
        What the driver said.
    built_for : int
        The major version of CUDA that CuPy was built for.
    """
    name = error.partition(":")[0]
    start = f"CuPy {version} is installed, but"
    if name == "cudaErrorNoDevice":
        return (
            f"{start} the NVIDIA driver finds no GPU ({name}). Is there one, and does CUDA_VISIBLE_DEVICES or the "
            "container hide it?"
        )
    if name != "cudaErrorInsufficientDriver":
        return f"{start} the GPU cannot be used ({error.rstrip('.')})."
    if found.cuda == (0, 0):
        return (
            f"{start} there is no NVIDIA driver ({name}). It needs an NVIDIA GPU and its driver, which comes first: "
            f"{_DRIVERS}."
        )
    supported = ".".join(map(str, found.cuda))
    cure = "Update the driver" if found.cuda[0] < 12 else f"Update the driver or remove cupy-cuda{built_for}x"
    return (
        f"{start} it is built for CUDA {built_for}, and the NVIDIA driver supports CUDA {supported} ({name}). "
        f"{cure}: {_DRIVERS}."
    )


def missing_libraries() -> list[str]:
    """Return the names of the CUDA libraries that this backend needs and CuPy cannot load."""
    missing = []
    try:
        importlib.import_module("cupy").cuda.nvrtc.getVersion()
    except (ImportError, RuntimeError, OSError):
        missing.append("nvrtc")
    try:
        importlib.import_module("cupy_backends.cuda.libs.cublas")
    except (ImportError, RuntimeError, OSError):
        missing.append("cublas")
    return missing


def _devices(runtime: Any, count: int) -> tuple[tuple[str, ...], str]:
    """Return the devices, each in words, and their memory."""
    names, sizes = [], []
    for index in range(count):
        properties = runtime.getDeviceProperties(index)
        name = properties["name"].decode()
        names.append(f"cuda:{index} {name} (compute capability {properties['major']}.{properties['minor']})")
        sizes.append(f"{properties['totalGlobalMem'] / 2**30:.1f} GiB")
    return tuple(names), ", ".join(sizes)


def _sentence(error: Exception) -> str:
    """Return the first line of an error's text, as a sentence."""
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{text or type(error).__name__}."
