"""The CUDA sources that are written by hand compile for real architectures."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nnbackend_cupy import kernels, programs

ARCHITECTURES = ("sm_80", "sm_90")

_WINDOWS = {
    **programs.axes("SIZE", (28, 28)),
    **programs.axes("COUNT", (14, 14)),
    **programs.axes("STRIDE", (2, 2)),
    **programs.axes("BEFORE", (1, 1), missing=0),
}
#: topic -> what its kernels are told, and the dtypes that they are made for
TOPICS = {
    "convolution": (
        {
            **_WINDOWS,
            **programs.axes("KERNEL", (3, 3)),
            **programs.axes("DILATION", (1, 1)),
            "GROUPS": 2,
            "WIDTH": 3,
            "ROW": 28,
        },
        ("float16", "bfloat16", "float32", "float64"),
    ),
    "embedding": ({}, ("float16", "bfloat16", "float32", "float64")),
    **dict.fromkeys(
        ("average_pooling", "max_pooling", "max_pooling_atomic"),
        ({**_WINDOWS, **programs.axes("WINDOW", (3, 3))}, ("float16", "bfloat16", "float32", "float64")),
    ),
    "rounding": ({}, ("float16", "bfloat16")),
    "scatter": ({"CHUNK": 128}, tuple(programs.DTYPES)),
    "scatter_atomic": ({}, tuple(programs.DTYPES)),
    "sorting": ({}, ("int64",)),
}


def test_every_source_is_compiled_here() -> None:
    folder = Path(programs.__file__).parent / "cuda"
    assert {path.stem for path in folder.glob("*.cu")} == set(TOPICS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("topic", TOPICS)
def test_sources_compile_for_a_real_architecture_with_nvcc(
    topic: str, architecture: str, tmp_path: Path
) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    constants, dtypes = TOPICS[topic]
    for dtype in dtypes:
        (tmp_path / f"{dtype}.cu").write_text(programs.source(topic, dtype, constants))
        command = [nvcc, "-cubin", f"-arch={architecture}", *kernels.OPTIONS, str(tmp_path / f"{dtype}.cu")]
        built = subprocess.run(
            [*command, "-o", str(tmp_path / "out.cubin")], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr[:4000]
        assert "warning" not in built.stderr
