"""The steps of a model as pure functions of trees of arrays.

``train_step(state, batch) -> (state, metrics)``: nothing in it waits for the device, branches on an array's value or
remembers a Python number that changes, so a backend may compile or capture it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from nnbackend import tree
from nnbackend.autodiff import Tensor, value_and_grad
from nnbackend.backend import plain
from nnbackend.data import Batch
from nnbackend.layers import Binding, Parameter
from nnbackend.models.objective import Objective
from nnbackend.optimizers import Optimizer
from nnbackend.placement import copy_of
from nnbackend.typing import Tree

if TYPE_CHECKING:
    from nnbackend.models.model import Model

#: The model's parameters by path.
Handles: TypeAlias = Mapping[str, Parameter]

__all__ = ["make_objective_step", "make_predict_step", "make_test_step", "make_train_step"]


def _bind(model: Model, handles: Handles, arrays: Tree, seed: Any, step: Any) -> Binding:
    """Bind the model's parameters to the arrays of a tree, by path."""
    values = {id(handles[path]): value for path, value in arrays.items()}
    return Binding(values, seed, step, model.backend)


def _run(model: Model, x: Any, training: bool) -> tuple[Any, Any]:
    """Return the model's output, or several, and the mask of the output."""
    output, mask = model.call_masked((), tree.map(Tensor, x), training=training)
    return output, tree.map(plain, mask)


def _penalties(handles: Handles, value: Any, added: list[Any]) -> Any:
    """Add the penalties of the weights, and what layers added, to a loss."""
    for parameter in handles.values():
        if parameter.regularizer is not None:
            value = value + parameter.regularizer(parameter)
    for penalty in added:
        value = value + penalty
    return value


def _constrained(handles: Handles, arrays: Tree) -> Tree:
    """Bring the weights that have constraints back to where they must stay."""
    constraints = {path: handles[path].constraint for path in arrays}
    return {
        path: array if (constraint := constraints[path]) is None else constraint(array)
        for path, array in arrays.items()
    }


def make_train_step(
    model: Model, handles: Handles, objective: Objective, optimizer: Optimizer
) -> Callable[[Tree, Batch], tuple[Tree, Tree]]:
    """Return the training step of a model."""

    def train_step(state: Tree, batch: Batch) -> tuple[Tree, Tree]:
        logits: list[bool] = []

        def loss_of(trainable: Tree) -> Any:
            binding = _bind(model, handles, {**trainable, **state["fixed"]}, state["seed"], state["step"])
            binding.losses = []
            with binding.bound():
                output, mask = _run(model, batch.x, True)
                weights = objective.weights_of(batch.weight, mask)
                value, parts = objective.value(batch.y, output, weights)
                value = _penalties(handles, value, binding.losses)
            logits[:] = objective.logits(output)
            for handle in map(handles.__getitem__, trainable):
                if id(handle) in binding.assigned:
                    raise TypeError(
                        f"{handle.path} was assigned to in a training step, but it is trained by its gradient. Make it "
                        "with add_weight(..., trainable=False)."
                    )
            assigned = {
                path: binding.assigned[id(handles[path])]
                for path in state["fixed"]
                if id(handles[path]) in binding.assigned
            }
            return value, (output, parts, weights, assigned)

        found = value_and_grad(loss_of, has_aux=True)(state["trainable"])
        (value, (output, parts, weights, assigned)), gradients = found
        measured = objective.update(state["metrics"], batch.y, output, value, parts, weights, logits)
        # copied: they may be views of the batch, or of weights whose memory the optimizer is about to take over
        fixed = {**state["fixed"], **{path: copy_of(array) for path, array in assigned.items()}}
        trainable, optimizer_state = optimizer.update(
            gradients,
            state["optimizer"],
            state["trainable"],
            donate=True,
            constrain=lambda arrays: _constrained(handles, arrays),
        )
        new_state = {
            "trainable": trainable,
            "fixed": fixed,
            "optimizer": optimizer_state,
            "seed": state["seed"],
            "step": state["step"] + 1,
            "metrics": measured,
        }
        return new_state, {"loss": value}

    return train_step


def make_objective_step(
    model: Model, handles: Handles, objective: Objective
) -> Callable[[Tree, tuple[Tree, Batch]], tuple[Tree, tuple[Any, Tree]]]:
    """Return the step that computes the loss of a batch and its gradient, and changes nothing."""

    def objective_step(state: Tree, given: tuple[Tree, Batch]) -> tuple[Tree, tuple[Any, Tree]]:
        arrays, batch = given

        def loss_of(trainable: Tree) -> Any:
            binding = _bind(model, handles, {**trainable, **arrays["fixed"]}, arrays["seed"], arrays["step"])
            binding.losses = []
            with binding.bound():
                output, mask = _run(model, batch.x, True)
                weights = objective.weights_of(batch.weight, mask)
                value, _ = objective.value(batch.y, output, weights)
                return _penalties(handles, value, binding.losses)

        return state, value_and_grad(loss_of)(arrays["trainable"])

    return objective_step


def make_test_step(
    model: Model, handles: Handles, objective: Objective
) -> Callable[[Tree, tuple[Tree, Batch]], tuple[Tree, Tree]]:
    """Return the step that measures a model on a batch."""

    def test_step(state: Tree, given: tuple[Tree, Batch]) -> tuple[Tree, Tree]:
        arrays, batch = given
        binding = _bind(model, handles, arrays["parameters"], arrays["seed"], arrays["step"])
        binding.losses = []
        with binding.bound():
            output, mask = _run(model, batch.x, False)
            weights = objective.weights_of(batch.weight, mask)
            value, parts = objective.value(batch.y, output, weights)
            value = _penalties(handles, value, binding.losses)
        logits = objective.logits(output)
        values, parts, outputs = plain(value), tree.map(plain, parts), tree.map(plain, output)
        return objective.update(state, batch.y, outputs, values, parts, weights, logits), {}

    return test_step


def make_predict_step(model: Model, handles: Handles) -> Callable[[Tree, tuple[Tree, Any]], tuple[Tree, Any]]:
    """Return the step that computes a model's output."""

    def predict_step(state: Tree, given: tuple[Tree, Any]) -> tuple[Tree, Any]:
        arrays, x = given
        with _bind(model, handles, arrays["parameters"], arrays["seed"], arrays["step"]).bound():
            return state, tree.map(plain, _run(model, x, False)[0])

    return predict_step
