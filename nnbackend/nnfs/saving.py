"""Models of the book in files: tensors, and a description in JSON. Reading runs no code of the file's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from nnbackend import config
from nnbackend.backend import to_numpy
from nnbackend.interop.safetensors import ModelFileError, read, write
from nnbackend.nnfs import settings
from nnbackend.nnfs.accuracies import Accuracy
from nnbackend.nnfs.layers import Layer_Dense
from nnbackend.nnfs.losses import Loss
from nnbackend.nnfs.optimizers import _Optimizer

if TYPE_CHECKING:
    from nnbackend.nnfs.model import Model

__all__ = ["load_model", "load_parameters", "save_model", "save_parameters"]

_MODEL, _PARAMETERS = "nnbackend.nnfs model", "nnbackend.nnfs parameters"
#: The arrays of a layer, and those that optimizers leave there.
_ARRAYS = ("weights", "biases")
_LEFT = ("weight_momentums", "bias_momentums", "weight_cache", "bias_cache")
#: The objects of a model beside its layers.
_PARTS: dict[str, type] = {"loss": Loss, "optimizer": _Optimizer, "accuracy": Accuracy}


def save_parameters(parameters: Sequence[tuple[Any, Any]], path: str | PathLike[str]) -> None:
    """Write pairs of weights and biases."""
    tensors = {
        f"{place}/{name}": to_numpy(array)
        for place, pair in enumerate(parameters)
        for name, array in zip(_ARRAYS, pair, strict=True)
    }
    write(path, tensors, {"kind": _PARAMETERS, "count": len(parameters)})


def load_parameters(path: str | PathLike[str]) -> list[tuple[Any, Any]]:
    """Read pairs of weights and biases, as NumPy arrays."""
    metadata, tensors = _read(path, _PARAMETERS)
    count = metadata.get("count")
    wanted = {f"{place}/{name}" for place in range(len(tensors) // 2) for name in _ARRAYS}
    if not isinstance(count, int) or 2 * count != len(tensors) or wanted != set(tensors):
        raise ModelFileError(
            f"{path} does not hold the parameters that it says. It is damaged: save it again."
        )
    return [(tensors[f"{place}/weights"], tensors[f"{place}/biases"]) for place in range(count)]


def save_model(model: Model, path: str | PathLike[str]) -> None:
    """Write a model; see `nnbackend.nnfs.Model.save`."""
    tensors = {
        f"{place}/{name}": to_numpy(getattr(layer, name))
        for place, layer in enumerate(model.layers)
        for name in (*_ARRAYS, *_LEFT)
        if getattr(layer, name, None) is not None
    }
    optimizer = model.optimizer
    write(
        path,
        tensors,
        {
            "kind": _MODEL,
            "layers": [config.describe(layer) for layer in model.layers],
            **{name: config.describe(getattr(model, name)) for name in _PARTS},
            "steps": None
            if optimizer is None
            else [optimizer.iterations, float(optimizer.current_learning_rate)],
            "precision": getattr(model.accuracy, "precision", None),
            "finalized": hasattr(model, "input_layer"),
        },
    )


def load_model(model: Model, path: str | PathLike[str]) -> Model:
    """Fill an empty model from a file; see `nnbackend.nnfs.Model.load`."""
    metadata, tensors = _read(path, _MODEL)
    try:
        _restore(model, metadata, tensors)
    except Exception as error:
        raise ModelFileError(
            f"{path}: what it describes cannot be made here ({type(error).__name__}): {error}"
        ) from error
    return model


def _restore(model: Model, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    from nnbackend.datasets.book import legacy_random

    left = dict(tensors)
    for place, description in enumerate(metadata["layers"]):
        # first weights, which are replaced at once, must not shift the program's random numbers
        dtype = str(left[f"{place}/weights"].dtype) if f"{place}/weights" in left else "float32"
        with settings.changed(random=legacy_random(), dtype=dtype):
            layer = config.restore(description)
        model.add(layer)
        if isinstance(layer, Layer_Dense):
            layer.set_parameters(*(left.pop(f"{place}/{name}") for name in _ARRAYS))
        for name in _LEFT:
            if f"{place}/{name}" in left:
                setattr(layer, name, settings.place(left.pop(f"{place}/{name}"), settings.chosen_backend()))
    if left:
        raise ValueError(f"It holds tensors that no layer has: {', '.join(sorted(left))}.")
    parts = {name: config.restore(metadata[name]) for name in _PARTS}
    for name, kind in _PARTS.items():
        if not isinstance(parts[name], (kind, type(None))):
            raise TypeError(f"It names a {type(parts[name]).__name__} as its {name}.")
    model.set(**parts)
    if model.optimizer is not None:
        iterations, rate = metadata["steps"]
        model.optimizer.iterations, model.optimizer.current_learning_rate = int(iterations), float(rate)
    if metadata["precision"] is not None:
        model.accuracy.precision = float(metadata["precision"])
    if metadata["finalized"]:
        model.finalize()


def _read(path: str | PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    metadata, tensors = read(path)
    if not isinstance(metadata, dict) or metadata.get("kind") != kind:
        writer = "Model.save" if kind == _MODEL else "Model.save_parameters"
        raise ModelFileError(
            f"{path} holds no {kind.rpartition(' ')[2]} of nnbackend.nnfs. Write one with {writer}."
        )
    return metadata, tensors
