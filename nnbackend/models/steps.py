"""The steps of a model as pure functions of trees of arrays.

``train_step(state, batch) -> (state, metrics)``: nothing in it waits for the device, branches on an array's value or
remembers a Python number that changes, so a backend may compile or capture it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from nnbackend import tree
from nnbackend.autodiff import Tensor, value_and_grad
from nnbackend.backend import plain
from nnbackend.data import Batch
from nnbackend.layers.base import Binding, Parameter, widened
from nnbackend.metrics.base import Logits
from nnbackend.models.objective import Objective
from nnbackend.optimizers import Optimizer
from nnbackend.optimizers.base import chosen
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


class _Evaluated(NamedTuple):
    """What a batch gives: the loss, that of each output, the outputs, and the weights that they were taken with."""

    value: Any
    parts: list[Any]
    output: Any
    weights: list[Any]


def _evaluate(
    model: Model, handles: Handles, objective: Objective, binding: Binding, batch: Batch, *, training: bool
) -> _Evaluated:
    """Run the model on a batch and compute its loss, with all penalties."""
    binding.losses = []
    with binding.bound():
        output, mask = _run(model, batch.x, training)
        output = tree.map(widened, output)
        weights = objective.weights_of(batch.weight, mask)
        value, parts = objective.value(batch.y, output, weights)
        return _Evaluated(_penalties(handles, value, binding.losses), parts, output, weights)


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


def _carried(handles: Handles, binding: Binding) -> Tree:
    """Return copies of what layers assigned to, by path: outside of training, what they carry to the next batch."""
    return {
        path: copy_of(plain(binding.assigned[id(handle)]))
        for path, handle in handles.items()
        if id(handle) in binding.assigned
    }


def make_train_step(
    model: Model, handles: Handles, objective: Objective, optimizer: Optimizer
) -> Callable[[Tree, Batch], tuple[Tree, Tree]]:
    """Return the training step of a model."""
    scaling = model.loss_scaling

    def train_step(state: Tree, batch: Batch) -> tuple[Tree, Tree]:
        logits: list[Logits] = []
        loss_scale = state.get("loss_scale")

        def loss_of(trainable: Tree) -> Any:
            binding = _bind(model, handles, {**trainable, **state["fixed"]}, state["seed"], state["step"])
            found = _evaluate(model, handles, objective, binding, batch, training=True)
            logits[:] = objective.logits(found.output)
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
            value = found.value if loss_scale is None else scaling.scaled(found.value, loss_scale)
            return value, (found.value, found.output, found.parts, found.weights, assigned)

        outcome, gradients = value_and_grad(loss_of, has_aux=True)(state["trainable"])
        _, (value, output, parts, weights, assigned) = outcome
        finite: Any = None
        if loss_scale is not None:
            gradients, finite = scaling.unscaled(gradients, loss_scale)
        measured = objective.update(state["metrics"], batch.y, output, value, parts, weights, logits)
        # copied: they may be views of the batch, or of weights whose memory the optimizer is about to take over
        fixed = {**state["fixed"], **{path: copy_of(array) for path, array in assigned.items()}}
        trainable, optimizer_state = optimizer.update(
            gradients,
            state["optimizer"],
            state["trainable"],
            donate=loss_scale is None,
            constrain=lambda arrays: _constrained(handles, arrays),
        )
        new = {"trainable": trainable, "fixed": fixed, "optimizer": optimizer_state}
        scaled = {}
        if loss_scale is not None:  # where a gradient was not finite, the step is as if it had not been
            old = {name: state[name] for name in new}
            new = tree.map(
                lambda after, before: after if after is before else chosen(finite, after, before), new, old
            )
            scaled = {"loss_scale": scaling.updated(loss_scale, finite)}
        new_state = {
            **new,
            **scaled,
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
            return _evaluate(model, handles, objective, binding, batch, training=True).value

        return state, value_and_grad(loss_of)(arrays["trainable"])

    return objective_step


def make_test_step(
    model: Model, handles: Handles, objective: Objective
) -> Callable[[Tree, tuple[Tree, Batch]], tuple[Tree, Tree]]:
    """Return the step that measures a model on a batch; its second result is what layers carry to the next."""

    def test_step(state: Tree, given: tuple[Tree, Batch]) -> tuple[Tree, Tree]:
        arrays, batch = given
        binding = _bind(model, handles, arrays["parameters"], arrays["seed"], arrays["step"])
        found = _evaluate(model, handles, objective, binding, batch, training=False)
        logits = objective.logits(found.output)
        value, parts, output = (tree.map(plain, part) for part in (found.value, found.parts, found.output))
        measured = objective.update(state, batch.y, output, value, parts, found.weights, logits)
        return measured, _carried(handles, binding)

    return test_step


def make_predict_step(model: Model, handles: Handles) -> Callable[[Tree, tuple[Tree, Any]], tuple[Tree, Any]]:
    """Return the step that computes a model's output, and what layers carry to the next batch."""

    def predict_step(state: Tree, given: tuple[Tree, Any]) -> tuple[Tree, Any]:
        arrays, x = given
        binding = _bind(model, handles, arrays["parameters"], arrays["seed"], arrays["step"])
        with binding.bound():
            output = tree.map(plain, _run(model, x, False)[0])
        return state, (output, _carried(handles, binding))

    return predict_step
