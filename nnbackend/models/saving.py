"""Models in files: one safetensors file holds architecture, weights and the state of training.

The file is data: its metadata describe the architecture as JSON by registered names, and loading runs no code of
the file's. It is written on one backend and read on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from nnbackend import config, losses, metrics, optimizers, tree
from nnbackend.backend import Backend, get_backend, to_numpy, use_backend
from nnbackend.interop.safetensors import ModelFileError, read, write
from nnbackend.random import key_words
from nnbackend.typing import Json, Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["load_model", "save_model"]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_shape(value: Any) -> bool:
    """Tell whether this is a shape, or a list or dict of them, as JSON has them."""
    if isinstance(value, dict):
        return bool(value) and all(map(_is_shape, value.values()))
    return _are_counts(value) or (isinstance(value, list) and all(map(_is_shape, value)))


def _shape_of(value: Any) -> Any:
    """Return a shape, or a list or dict of them, from JSON."""
    if isinstance(value, dict):
        return {name: _shape_of(item) for name, item in value.items()}
    return tuple(value) if all(map(_is_count, value)) else [_shape_of(item) for item in value]


#: What the metadata of a model say; the version of the format stands beside them (`nnbackend.interop.safetensors`).
_METADATA: dict[str, Callable[[Any], bool]] = {
    "dtype": lambda value: value in ("float32", "float64"),
    "epochs_trained": _is_count,
    "frozen": _are_counts,
    "input_shape": lambda value: value is None or _is_shape(value),
    "model": lambda value: isinstance(value, dict),
    "seed": lambda value: isinstance(value, str) and value.lstrip("-").isdecimal(),
    "training": lambda value: (
        value is None
        or (
            isinstance(value, dict)
            and {"optimizer", "loss", "metrics"} <= value.keys()
            and isinstance(value["metrics"], (list, dict))
        )
    ),
}


def save_model(model: Model, path: str | PathLike[str]) -> None:
    """Write a model to a file; see `Model.save`."""
    metadata: dict[str, Json] = {
        "model": config.describe(model),
        "seed": str(model.seed),
        "dtype": model.dtype or "float32",
        "input_shape": model.input_shape,
        "epochs_trained": model.epochs_trained,
        "frozen": [number for number, layer in enumerate(model.family()) if not layer.trainable],
        "training": None,
    }
    if model.objective is not None and model.optimizer is not None:
        metadata["training"] = {
            "optimizer": config.describe(model.optimizer),
            **{name: config.describe(argument) for name, argument in model.objective.arguments().items()},
        }
    tensors = {f"parameters/{name}": parameter.numpy() for name, parameter in model.handles().items()}
    tensors |= {
        f"random/{name}": to_numpy(value)
        for name, value in model._training.start_random(model.seed, model.backend).items()
    }
    if model._training.optimizer is not None:
        tensors |= {name: to_numpy(value) for name, value in _named(model._training.optimizer, "optimizer")}
    write(path, tensors, metadata)


def _named(node: Tree, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a tree of dicts with their paths."""
    if not isinstance(node, dict):
        yield prefix, node
        return
    for key in sorted(node):
        yield from _named(node[key], f"{prefix}/{key}")


def load_model(
    path: str | PathLike[str],
    *,
    backend: str | Backend | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> Model:
    """Read a model that `Model.save` wrote, on any backend.

    Parameters
    ----------
    path : path
        The file.
    backend : str or Backend, optional
        Where the model is to live; without it the backend in force.
    custom_objects : mapping of str to class or function, optional
        The file's own classes and functions that are not registered here, by name.

    Returns
    -------
    Model
        As it was saved: it predicts the same, and training goes on from where it stood.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is truncated, foreign, of a newer format, does not fit its own architecture, or uses a class or
        function that is not registered here.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(1)], seed=0)
    >>> before = model.predict([[1.0, 2.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(pathlib.Path(folder) / "model.safetensors")
    ...     loaded = nn.load_model(pathlib.Path(folder) / "model.safetensors")
    >>> bool((loaded.predict([[1.0, 2.0]]) == before).all())
    True
    """
    metadata, tensors = read(path)
    missing = _METADATA.keys() - set(metadata if isinstance(metadata, dict) else ())
    if not isinstance(metadata, dict) or missing:
        raise ModelFileError(
            f"{path} holds no model of nnbackend: its metadata lack {', '.join(sorted(missing))}. Write one with "
            "Model.save."
        )
    for name, fits in _METADATA.items():
        if not fits(metadata[name]):
            raise ModelFileError(
                f"{path}: its metadata hold no valid {name}, but {metadata[name]!r}. The file is damaged: save "
                "it again."
            )
    target = get_backend(backend)
    try:
        model = _restore(metadata, target, custom_objects, path)
        _fill(model, tensors, path)
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{path}: what it describes cannot be made here ({type(error).__name__}): {error}"
        ) from error
    return model


def _restore(
    metadata: dict[str, Any], target: Backend, custom_objects: Mapping[str, Any] | None, path: Any
) -> Model:
    """Make the model that the metadata describe, without its weights."""
    from nnbackend.models.model import Model

    with use_backend(target):
        model: Model = _expect(Model, config.restore(metadata["model"], custom_objects), path)
    model.backend = target
    model.dtype = metadata["dtype"]
    model.seed = int(metadata["seed"])
    key_words(model.seed)  # refuses what is no seed
    model.epochs_trained = metadata["epochs_trained"]
    if metadata["input_shape"] is not None:
        model.build(_shape_of(metadata["input_shape"]))
    layers = list(model.family())
    if any(number >= len(layers) for number in metadata["frozen"]):
        raise ModelFileError(
            f"{path} freezes the layers {metadata['frozen']}, but its architecture has {len(layers)}. The file is "
            "damaged: save it again."
        )
    for number, layer in enumerate(layers):
        layer.trainable = number not in metadata["frozen"]
    training = metadata["training"]
    if training is not None:
        parts = {name: config.restore(part, custom_objects) for name, part in training.items()}
        for loss in tree.leaves(parts["loss"]):
            _expect(losses.Loss, loss, path)
        for metric in tree.leaves(parts["metrics"]):
            _expect(metrics.Metric, metric, path)
        model.compile(
            _expect(optimizers.Optimizer, parts["optimizer"], path),
            parts["loss"],
            parts["metrics"],
            loss_weights=parts.get("loss_weights"),
        )
    return model


def _expect(kind: type, thing: Any, path: Any) -> Any:
    if not isinstance(thing, kind):
        raise ModelFileError(f"{path} names a {type(thing).__name__} where a {kind.__name__} belongs.")
    return thing


def _fill(model: Model, tensors: Mapping[str, Any], path: Any) -> None:
    """Put the file's tensors in their places; every one must have one, and every place its tensor."""
    left = dict(tensors)

    def take(name: str, shape: tuple[int, ...], dtype: str) -> Any:
        if name not in left:
            raise ModelFileError(
                f"{path} lacks the tensor {name!r}, which its architecture has. It is incomplete."
            )
        value = left.pop(name)
        if tuple(value.shape) != shape or str(value.dtype) != dtype:
            raise ModelFileError(
                f"{path}: {name} has shape {tuple(value.shape)} and dtype {value.dtype}, its architecture needs "
                f"{shape} and {dtype}."
            )
        return value

    handles = model.handles()
    for name, parameter in handles.items():
        parameter.assign(take(f"parameters/{name}", parameter.shape, parameter.dtype_name))
    model._training.random = {
        name: model.backend.from_host(take(f"random/{name}", shape, "int64"))
        for name, shape in (("seed", (2,)), ("step", ()))
    }
    optimized = handles and any(name.startswith("optimizer/") for name in left)
    if optimized and model.optimizer is not None:
        slots = model.optimizer.slot_names
        trained = {
            name: p._array
            for name, p in handles.items()
            if not slots or any(f"optimizer/slots/{slot}/{name}" in left for slot in slots)
        }
        empty = model.optimizer.init(trained, model.backend)
        named = dict(_named(empty, "optimizer"))
        filled = iter(
            [take(name, tuple(a.shape), str(a.dtype).rpartition(".")[2]) for name, a in named.items()]
        )
        model._training.optimizer = tree.map(lambda _: model.backend.from_host(next(filled)), empty)
    if left:
        raise ModelFileError(
            f"{path} holds tensors that its architecture has no place for: {', '.join(sorted(left))}."
        )
