"""What a competitor is given: the work in words, the data, and the weights that all begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

#: ``run(steps)`` takes so many steps and returns the loss of the last one as a float; for "inference" the difference of
#: the first two logits, for "update" the first parameter, for "fit" the loss on the validation data.
Run: TypeAlias = Callable[[int], float]


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
    threads: int
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    weights: dict[str, np.ndarray[Any, Any]]

    @property
    def layers(self) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Kernel and bias of each dense layer of an MLP."""
        arrays = list(self.weights.values())
        return list(zip(arrays[::2], arrays[1::2], strict=True))


def write_case(name: str, threads: int, path: Path) -> None:
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
        "threads": threads,
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
        return Case(**words | {"sizes": tuple(words["sizes"])}, x=file["x"], y=file["y"], weights=weights)
