"""Models in files: one safetensors file holds architecture, weights and the state of training.

The file is data: its metadata describe the architecture as JSON by registered names, and loading runs no code of
the file's. It is written on one backend and read on another. The backup of a run of `Model.fit` is such a file, with
the state of the run beside that of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnbackend import config, losses, metrics, optimizers, tree
from nnbackend.backend import Backend, get_backend, host, to_numpy, use_backend
from nnbackend.interop.safetensors import ModelFileError, read, write
from nnbackend.models.run import Run, pack, unpack
from nnbackend.models.state import TrainingState
from nnbackend.policies import POLICIES, LossScale
from nnbackend.random import key_words
from nnbackend.typing import Json, Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = [
    "load_model",
    "load_weights",
    "read_backup",
    "require_own_name",
    "resume",
    "save_backup",
    "save_model",
    "save_weights",
]


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
    "dtype": lambda value: value in POLICIES,
    "epochs_trained": _is_count,
    "frozen": _are_counts,
    "input_shape": lambda value: value is None or _is_shape(value),
    "model": lambda value: value is None or isinstance(value, dict),
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


#: Names of files that other programs would take for theirs, and whose format that is.
_OTHERS = {
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".keras": "Keras",
    ".npy": "NumPy",
    ".npz": "NumPy",
    ".onnx": "ONNX",
    ".pb": "TensorFlow",
    ".pickle": "pickle",
    ".pkl": "pickle",
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".tflite": "TensorFlow",
}


def require_own_name(owner: str, path: str | PathLike[str]) -> None:
    """Refuse a file's name that says another format than the one it is written in.

    Raises
    ------
    ValueError
        With the name that is right.
    """
    place = Path(path)
    other = _OTHERS.get(place.suffix.lower())
    if other is not None:
        raise ValueError(
            f"{owner} writes safetensors, but a name that ends in {place.suffix!r} says {other}. Name it "
            f"{place.with_suffix('.safetensors').name!r}."
        )


def save_model(model: Model, path: str | PathLike[str]) -> None:
    """Write a model to a file; see `Model.save`."""
    require_own_name("save", path)
    write(path, _tensors(model), _numbers(model) | _description(model))


def save_backup(run: Run, path: str | PathLike[str], surroundings: Json) -> None:
    """Write where a run of `Model.fit` stands, and its model, to a file.

    It is a file of the model as well, where all classes and functions of the model are registered.
    """
    tensors = _tensors(run.model)
    state = pack(run.state(), "run", tensors)
    try:
        description = _description(run.model)
    except TypeError:  # who goes on with the run makes the model with the same code
        description = {"model": None, "training": None}
    metadata = _numbers(run.model) | description | {"run": state, "surroundings": surroundings}
    write(path, tensors, metadata)


def save_weights(model: Model, path: str | PathLike[str]) -> None:
    """Write a model's parameters and statistics to a file; see `Model.save_weights`."""
    require_own_name("save_weights", path)
    model._require_built("save_weights")
    write(path, _parameters(model), {"weights": True})


def load_weights(model: Model, path: str | PathLike[str]) -> None:
    """Read parameters and statistics from a file; see `Model.load_weights`."""
    model._require_built("load_weights")
    found = {
        name.removeprefix("parameters/"): array
        for name, array in read(path)[1].items()
        if name.startswith("parameters/")
    }
    handles = model.handles()
    for name, parameter in handles.items():
        came = None if name not in found else tuple(found[name].shape)
        if came != parameter.shape:
            raise ModelFileError(
                f"{path}: expected a weight {name!r} of shape {parameter.shape}, got "
                f"{'none' if came is None else f'one of shape {came}'}. Nothing was changed."
            )
    if found.keys() - handles.keys():
        names = ", ".join(sorted(found.keys() - handles.keys()))
        raise ModelFileError(f"{path} holds weights that the model has not: {names}. Nothing was changed.")
    for name, parameter in handles.items():
        parameter.assign(found[name])


def _description(model: Model) -> dict[str, Json]:
    """Return architecture and training in JSON."""
    training: Json = None
    if model.objective is not None and model.optimizer is not None:
        training = {
            "optimizer": config.describe(model.optimizer),
            **{name: config.describe(argument) for name, argument in model.objective.arguments().items()},
            "loss_scale": config.describe(model.loss_scaling),
        }
    return {"model": config.describe(model), "training": training}


def _numbers(model: Model) -> dict[str, Json]:
    """Return the numbers of a model's state that are no tensors."""
    return {
        "seed": str(model.seed),
        "dtype": model.dtype or "float32",
        "input_shape": model.input_shape,
        "epochs_trained": model.epochs_trained,
        "frozen": [number for number, layer in enumerate(model.family()) if not layer.trainable],
    }


def _tensors(model: Model) -> dict[str, Any]:
    """Return a model's state on the host: parameters, random streams and the optimizer's state."""
    tensors = _parameters(model)
    tensors |= {
        f"random/{name}": to_numpy(value)
        for name, value in model._training.start_random(model.seed, model.backend).items()
    }
    if model._training.optimizer is not None:
        tensors |= {name: to_numpy(value) for name, value in _named(model._training.optimizer, "optimizer")}
    if model._training.loss_scale is not None:
        tensors |= {name: to_numpy(value) for name, value in _named(model._training.loss_scale, "loss_scale")}
    return tensors


def _parameters(model: Model) -> dict[str, Any]:
    return {f"parameters/{name}": parameter.numpy() for name, parameter in model.handles().items()}


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
    metadata, tensors = _read(path)
    if metadata["model"] is None:
        raise ModelFileError(
            f"{path} is the backup of a run whose model uses classes or functions that are not registered, so it tells "
            "the state of training alone. Train on with the same code and BackupAndRestore, or register them "
            "(nn.register) and save the model."
        )
    target = get_backend(backend)
    try:
        model = _restore(metadata, target, custom_objects, path)
        _fill(model, _without_run(tensors), path)
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{path}: what it describes cannot be made here ({type(error).__name__}): {error}"
        ) from error
    return model


def _without_run(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in tensors.items() if not name.startswith("run/")}


def _read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file and check that its metadata are those of a model."""
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
    return metadata, tensors


def read_backup(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save_backup` wrote.

    Raises
    ------
    ModelFileError
        If the file is torn, damaged, or no backup.
    """
    metadata, tensors = _read(path)
    if "run" not in metadata or "surroundings" not in metadata:
        raise ModelFileError(f"{path} is a model, not the backup of a run.")
    return metadata, tensors


def resume(
    run: Run, metadata: Mapping[str, Any], tensors: Mapping[str, Any], path: Any, surroundings: Json
) -> list[str]:
    """Bring a model and its run to where a backup stood.

    Parameters
    ----------
    run : Run
        A run that is about to begin.
    metadata, tensors : mapping
        What `read_backup` returned.
    path : path
        Of what file, for messages.
    surroundings : JSON
        Those of this run.

    Returns
    -------
    list of str
        What was different then, in words: the numbers that follow may be different, too.

    Raises
    ------
    ModelFileError
        If it is the backup of another model; then nothing is changed.
    """
    model = run.model
    if metadata["dtype"] != (model.dtype or "float32"):
        raise ModelFileError(f"{path} is of {metadata['dtype']}, the model of {model.dtype or 'float32'}.")
    _fill(model, _without_run(tensors), path)
    _apply(model, metadata, path)
    return [
        *_differences("", metadata["surroundings"], surroundings),
        *run.restore(unpack(metadata["run"], tensors)),
    ]


def _differences(name: str, before: Json, now: Json) -> Iterator[str]:
    """Say where two descriptions differ."""
    if before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict) and before.get("class") == now.get("class"):
        for key in sorted(before.keys() | now.keys()):
            inner = name if key in ("config", "dict") else f"{name}.{key}".lstrip(".")
            yield from _differences(inner, before.get(key, _NOT_GIVEN), now.get(key, _NOT_GIVEN))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{name}[{i}]", old, new)
    else:
        yield f"{name}: {_short(before)} then, {_short(now)} now"


#: Stands for an argument that has its default.
_NOT_GIVEN = {"class": "not given"}


def _short(value: Json) -> str:
    if value is _NOT_GIVEN:
        return "not given"
    text = repr(value["class"] if isinstance(value, dict) and "class" in value else value)
    return text if len(text) <= 80 else f"{text[:60]}..."


def _restore(
    metadata: dict[str, Any], target: Backend, custom_objects: Mapping[str, Any] | None, path: Any
) -> Model:
    """Make the model that the metadata describe, without its weights."""
    from nnbackend.models.model import Model

    with use_backend(target):
        model: Model = _expect(Model, config.restore(metadata["model"], custom_objects), path)
    model.backend = target
    vars(model)["dtype"] = metadata["dtype"]  # told beside the arguments that it was made with
    model.seed = int(metadata["seed"])
    if metadata["input_shape"] is not None:
        model.build(_shape_of(metadata["input_shape"]))
    _apply(model, metadata, path)
    training = metadata["training"]
    if training is not None:
        parts = {name: config.restore(part, custom_objects) for name, part in training.items()}
        for loss in tree.leaves(parts["loss"]):
            _expect(losses.Loss, loss, path)
        for metric in tree.leaves(parts["metrics"]):
            _expect(metrics.Metric, metric, path)
        scaling = parts.get("loss_scale")
        model.compile(
            _expect(optimizers.Optimizer, parts["optimizer"], path),
            parts["loss"],
            parts["metrics"],
            loss_weights=parts.get("loss_weights"),
            loss_scale=None if scaling is None else _expect(LossScale, scaling, path),
        )
    return model


def _apply(model: Model, metadata: Mapping[str, Any], path: Any) -> None:
    """Give a model the numbers of its state."""
    model.seed = int(metadata["seed"])
    key_words(model.seed)  # refuses what is no seed
    model.epochs_trained = metadata["epochs_trained"]
    layers = list(model.family())
    if any(number >= len(layers) for number in metadata["frozen"]):
        raise ModelFileError(
            f"{path} freezes the layers {metadata['frozen']}, but its architecture has {len(layers)}. The file is "
            "damaged: save it again."
        )
    for number, layer in enumerate(layers):
        layer.trainable = number not in metadata["frozen"]


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
    values = {
        name: take(f"parameters/{name}", parameter.shape, parameter.dtype_name)
        for name, parameter in handles.items()
    }
    training = TrainingState()
    training.random = {
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
        empty = model.optimizer.first_state(trained, model.backend)
        named = dict(_named(empty, "optimizer"))
        filled = iter(
            [take(name, tuple(a.shape), str(a.dtype).rpartition(".")[2]) for name, a in named.items()]
        )
        training.optimizer = tree.map(lambda _: model.backend.from_host(next(filled)), empty)
    if any(name.startswith("loss_scale/") for name in left):
        training.loss_scale = {
            name: model.backend.from_host(take(f"loss_scale/{name}", (), str(value.dtype)))
            for name, value in LossScale().init(host()).items()
        }
    if left:
        raise ModelFileError(
            f"{path} holds tensors that its architecture has no place for: {', '.join(sorted(left))}."
        )
    for name, value in values.items():
        handles[name].assign(value)
    model._training = training
