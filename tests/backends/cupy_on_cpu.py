"""CuPy on a machine without a GPU: arrays over host memory, and kernels that g++ compiles."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import cupy
import numpy as np


def fake(host: np.ndarray) -> Any:
    """Return a CuPy array whose memory is a NumPy array's: its shape is real, its values out of CuPy's reach."""
    assert host.flags.c_contiguous
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, device_id=0)
    return cupy.ndarray(host.shape, host.dtype, cupy.cuda.MemoryPointer(memory, 0))


def contents(array: Any) -> np.ndarray:
    """View the memory of an array that `fake` made, or of a view of it."""
    interface = {
        "data": (array.data.ptr, False),
        "shape": array.shape,
        "strides": array.strides,
        "typestr": array.dtype.str,
        "version": 3,
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface, owner=array))


class KernelOnCpu:
    """Stands for CuPy's ``RawKernel``: the same source, compiled by g++ and run on arrays in host memory."""

    folder = Path()
    compiled: ClassVar[dict[str, ctypes.CDLL]] = {}

    def __init__(self, code: str, name: str, options: tuple[str, ...]) -> None:
        if code not in self.compiled:
            self.compiled[code] = self._compile(code)
        self.run = self.compiled[code][f"run_{name}"]

    def _compile(self, code: str) -> ctypes.CDLL:
        """Compile all kernels of a source, each with a function that launches it."""
        launchers = ""
        for name, parameters in re.findall(r"__global__ void (\w+)\(([^)]*)\)", code):
            types = [
                " ".join(each.split()[:-1]).replace("const long", "long") for each in parameters.split(",")
            ]
            values = ", ".join(f"*({kind}*)given[{index}]" for index, kind in enumerate(types))
            launchers += (
                f'extern "C" void run_{name}(unsigned blocks, unsigned columns, unsigned rows, void** given) {{\n'
                f"    launch(blocks, columns, rows, [=] {{ {name}({values}); }});\n}}\n"
            )
        source = self.folder / f"kernels_{len(self.compiled)}.cpp"
        source.write_text(f'#include "{Path(__file__).with_name("cuda_on_cpu.h")}"\n{code}{launchers}')
        flags = ["-std=c++20", "-fno-strict-aliasing", "-w", "-shared", "-fPIC", "-pthread"]
        library = source.with_suffix(".so")
        subprocess.run(["g++", *flags, str(source), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        held = [
            ctypes.c_uint64(int(a.data.ptr if isinstance(a, cupy.ndarray) else a) % 2**64) for a in arguments
        ]
        given = (ctypes.c_void_p * len(held))(*(ctypes.addressof(value) for value in held))
        self.run(*grid, *(*block, 1)[:2], given)
