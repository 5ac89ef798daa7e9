"""A model as a pure function of its parameters, for training loops and derivatives written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.autodiff import Operators, Tensor
from nnbackend.backend import backend_of, is_array, nearest, plain
from nnbackend.layers.base import Binding, Parameter
from nnbackend.placement import copy_of

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["apply", "parameter_values", "set_parameters"]


def parameter_values(model: Model, what: str, *, trained: bool) -> dict[str, Any]:
    """Return copies of the values that training changes by gradients, or of the others, by path."""
    model._require_built(what)
    model.handles()  # refuses two of one path
    return {
        path: copy_of(parameter._array)
        for path, parameter, trains in model.named_parameters()
        if trains is trained
    }


def set_parameters(model: Model, values: Mapping[str, Any], what: str = "set_parameters") -> None:
    """Give parameters copies of new values, by path, or change nothing; see `Model.set_parameters`."""
    model._require_built(what)
    handles = model.handles()
    _require_fit(what, model, handles, values)
    if any(isinstance(value, Tensor) and not value.constant for value in values.values()):
        raise TypeError(
            f"{what} of {model.path!r} got a tensor that is being differentiated, whose gradient would be "
            "lost: parameters are kept as numbers. Call it outside of the function that is differentiated."
        )
    for path, value in values.items():
        handles[path].assign(value)


def apply(
    model: Model,
    parameters: Mapping[str, Any],
    x: Any,
    *,
    state: Mapping[str, Any] | None,
    training: bool,
    step: Any,
) -> Any:
    """Compute a model's output from parameters that are given; see `Model.apply`."""
    model._require_built("apply")
    handles = model.handles()
    _require_fit("apply", model, handles, parameters)
    _require_fit("apply", model, handles, state or {})
    given = {**parameters, **(state or {})}
    if state is not None and (twice := parameters.keys() & state.keys()):
        raise ValueError(
            f"apply got {sorted(twice)[0]!r} both among the parameters and in state. Give it once."
        )
    values = {id(handles[path]): value for path, value in given.items()}
    binding = Binding(values, model.seed, step, model.backend)
    recorded = _hold_tensors([*given.values(), *tree.leaves(x)])
    with model.backend.scope(), binding.bound():
        output, _ = model.call_masked((), tree.map(_tensor, model._receive(x)), training=training)
    assigned = {
        path: binding.assigned[id(handle)]
        for path, handle in handles.items()
        if id(handle) in binding.assigned
    }
    if state is None:
        _refuse_lost(assigned)
    answer = output if recorded else tree.map(plain, output)
    if state is None:
        return answer
    for path in assigned.keys() & parameters.keys():
        raise TypeError(
            f"{path} was assigned to, but it is among the parameters, which gradients train. Make it with "
            "add_weight(..., trainable=False)."
        )
    # copied: a layer may have assigned a view of the batch
    new = {
        path: copy_of(plain(assigned[path])) if path in assigned else plain(a) for path, a in state.items()
    }
    _refuse_lost(assigned.keys() - new.keys())
    return answer, new


def _tensor(value: Any) -> Any:
    return value if isinstance(value, Operators) else Tensor(value)


def _hold_tensors(values: Iterable[Any]) -> bool:
    return any(isinstance(value, Operators) for value in values)


def _refuse_lost(assigned: Iterable[str]) -> None:
    for path in assigned:
        raise ValueError(
            f"apply computed a new {path}, which would be lost. Give all that gradients do not train, and take the new "
            "values: y, state = model.apply(parameters, x, state=state), where state = model.get_state() at first."
        )


def _require_fit(
    what: str, model: Model, handles: Mapping[str, Parameter], values: Mapping[str, Any]
) -> None:
    """Refuse values that are no parameters of the model's, of another shape or dtype, or of another backend."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"{what} expects a dict of arrays by path, as model.get_parameters() returns, got "
            f"{type(values).__name__}."
        )
    for path, value in values.items():
        if path not in handles:
            raise ValueError(
                f"{what} got a value for {path!r}, which {type(model).__name__} {model.path!r} has not."
                f"{nearest(path, handles)}"
            )
        handle = handles[path]
        if not isinstance(value, Operators) and not is_array(value):
            raise TypeError(f"{what} expects an array for {path!r}, got {type(value).__name__}.")
        if tuple(value.shape) != handle.shape:
            raise ValueError(f"{what} expects {path!r} of shape {handle.shape}, got {tuple(value.shape)}.")
        if what == "apply" and backend_of(plain(value)) is not backend_of(handle._array):
            raise TypeError(
                f"apply expects {path!r} as an array of {backend_of(handle._array).name}, where the model is, got one "
                f"of {backend_of(plain(value)).name}. Bring it there: model.backend.from_host(nn.to_numpy(value))."
            )
        if what == "apply" and value.dtype != handle.dtype:
            raise TypeError(
                f"apply expects {path!r} of {handle.dtype_name}, got {value.dtype}. Make the model with dtype= to "
                "compute in another."
            )
