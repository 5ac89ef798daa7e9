"""What a competitor is given: the work in words, the data, and the weights that all begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

#: ``run(steps)`` takes so many steps and returns the loss of the last one as a float; for "inference" the difference of
#: the first two logits, for "update" the first parameter, for "fit" the loss on the validation data.
Run: TypeAlias = Callable[[int], float]


#: What float32 products are computed in, or the floating type of what is computed, and the word for it in tables.
PRECISIONS = {"highest": "float32", "high": "TF32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}


@dataclass(frozen=True)
class Setting:
    """Where and how a workload is done.

    Attributes
    ----------
    threads : int
        Of the processor; on a device all may be used.
    device : {"cpu", "cuda"}
        Where the arrays are.
    precision : {"highest", "high", "mixed_bfloat16", "mixed_float16"}
        As `nnbackend.set_matmul_precision` says it, or as a policy of mixed precision.
    """

    threads: int = 1
    device: str = "cpu"
    precision: str = "highest"

    @property
    def words(self) -> str:
        """How a table names it: threads on a processor, the precision on a device."""
        if self.device == "cpu":
            return f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return PRECISIONS[self.precision]


@dataclass(frozen=True)
class Case:
    """One workload for one competitor; what `nnbackend.benchmarking.Workload` says, and the arrays."""

    name: str
    kind: str
    sizes: tuple[int, ...]
    batch: int
    validation: int
    epochs: int
    optimizer: dict[str, float]
    setting: Setting
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    weights: dict[str, np.ndarray[Any, Any]]

    @property
    def threads(self) -> int:
        """How many threads may be used."""
        return self.setting.threads

    @property
    def layers(self) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Kernel and bias of each dense layer of an MLP."""
        arrays = list(self.weights.values())
        return list(zip(arrays[::2], arrays[1::2], strict=True))


def write_case(name: str, setting: Setting, path: Path) -> None:
    """Write a workload to a file; competitors in processes of their own read it."""
    from nnbackend import benchmarking  # not where competitors read: see read_case

    workload = benchmarking.look_up(name)
    x, y = workload.data()
    words = {
        "name": workload.name,
        "kind": workload.kind,
        "sizes": workload.sizes,
        "batch": workload.batch,
        "validation": workload.validation,
        "epochs": workload.epochs,
        "optimizer": benchmarking.SGD if workload.optimizer == "sgd" else benchmarking.ADAM,
        "setting": asdict(setting),
    }
    weights = {}
    if workload.kind != "update":
        model = workload.model("numpy")
        parameters = zip(model.parameters, model.get_weights(), strict=True)
        weights = {f"weights/{parameter.path}": array for parameter, array in parameters}
    np.savez(path, words=json.dumps(words), x=x, y=y, **weights)


def read_case(path: Path) -> Case:
    """Read what `write_case` wrote. It does not import this library: what it sets up is not lent to its peers."""
    with np.load(path) as file:
        words = json.loads(str(file["words"]))
        weights = {
            key.removeprefix("weights/"): file[key] for key in file.files if key.startswith("weights/")
        }
        words |= {"sizes": tuple(words["sizes"]), "setting": Setting(**words["setting"])}
        return Case(**words, x=file["x"], y=file["y"], weights=weights)
