"""Any cell carried through time as one rule, for libraries that compile the body of a loop once.

Recorded step by step, a cell is compiled as often as there are steps, which takes minutes for a hundred. Here the loop
forwards keeps the states before each step, and the loop backwards runs each step again to pull its gradients back.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from nnbackend import functional
from nnbackend.autodiff import Operators, Tensor, differentiable, is_floating, vjp
from nnbackend.backend import backend_of, is_array, plain
from nnbackend.functional.scanning import joined, scan, shifted
from nnbackend.layers.base import Binding, Layer
from nnbackend.layers.recurrent_cells import take_step
from nnbackend.random import Stream
from nnbackend.typing import Backward

__all__ = ["broad", "looped", "masked_step"]


def broad(mask: Any, array: Any) -> Any:
    """Give a mask axes of length one, so that it broadcasts against an array of more axes."""
    return functional.reshape(mask, (*mask.shape, *(1 for _ in range(array.ndim - mask.ndim))))


def masked_step(
    cell: Layer, x: Any, valid: Any, before: Any, states: list[Any], keeps: Any
) -> tuple[Any, list[Any]]:
    """Return output and states after one step; where it is not valid, those before it."""
    output, new = take_step(cell, x, states, keeps)
    if valid is None:
        return output, new
    if before is None:  # no output was there yet
        before = functional.zeros_like(output)
    chosen = [functional.where(broad(valid, old), state, old) for state, old in zip(new, states, strict=True)]
    return functional.where(broad(valid, output), output, before), chosen


class _Run(Binding):
    """A run that tells whether random numbers were drawn in it."""

    draws = False

    def stream(self, path: str) -> Stream:
        """Return the random stream of that path."""
        self.draws = True
        return super().stream(path)


class _Body:
    """One step of a cell as a pure function of its inputs, what came before, and the cell's weights."""

    def __init__(self, cell: Layer, keeps: Any) -> None:
        self.cell = cell
        self.keeps = keeps
        pairs = [(parameter, parameter.__nnbackend_value__()) for parameter in cell.parameters]
        self.trained = [id(parameter) for parameter, value in pairs if is_floating(value)]
        self.weights = [value for _, value in pairs if is_floating(value)]
        self.others = {id(parameter): value for parameter, value in pairs if not is_floating(value)}
        self.context = copy_context()  # on the way back the layers around are no longer being called

    def run(self, x: Any, valid: Any, carried: Any, weights: Any) -> tuple[_Run, tuple[Any, ...]]:
        """Return the run, and the output and the states after the step."""
        bound = dict(zip(self.trained, weights, strict=True))
        binding = _Run(self.others | bound, 0, 0, backend_of(plain(x)))
        binding.losses = []
        before, *states = map(_tensor, carried)

        def step() -> tuple[Any, list[Any]]:
            with binding.bound():
                return masked_step(self.cell, _tensor(x), valid, before, states, self.keeps)

        output, new = self.context.copy().run(step)
        return binding, tuple(map(_bare, (output, *new)))

    def forwards(self, carried: Any, inputs: Any, weights: Any) -> tuple[Any, Any]:
        """Take one step; what it leaves is what it carries on."""
        x, valid = inputs
        _, after = self.run(x, valid, carried, weights)
        return after, after

    def backwards(self, gradients: Any, inputs: Any, weights: Any) -> tuple[Any, Any]:
        """Pull the gradients of a step back, and add up those of the weights."""
        (doutput, *dstates), dweights = gradients
        dy, x, valid, *before = inputs

        def step(x: Any, carried: Any, weights: Any) -> tuple[Any, ...]:
            return self.run(x, valid, carried, weights)[1]

        _, pullback = vjp(step, x, tuple(before), tuple(weights))
        dx, dbefore, more = pullback((functional.add(doutput, dy), *dstates))
        return (dbefore, tuple(map(functional.add, dweights, more))), (dx,)


def _tensor(value: Any) -> Any:
    return Tensor(value) if is_array(value) and not isinstance(value, Operators) else value


def _bare(value: Any) -> Any:
    return plain(value) if isinstance(value, Tensor) and value.constant else value


@differentiable
def _loop(*arrays: Any, body: _Body, count: int) -> tuple[Any, Backward]:
    x, mask, *rest = arrays
    first, weights = tuple(rest[:count]), tuple(rest[count:])
    last, histories = scan(body.forwards, first, (x, mask), weights)

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        doutputs, *dlast = dy
        before = [shifted(start, history) for start, history in zip(first, histories, strict=True)]
        nothing = tuple(functional.zeros_like(weight) for weight in weights)
        (dfirst, dweights), (dx,) = scan(
            body.backwards, (tuple(dlast), nothing), (doutputs, x, mask, *before), weights, reverse=True
        )
        return (joined(dx) if needs[0] else None, None, *dfirst, *dweights)

    return (joined(histories[0]), *last), backward


def looped(
    cell: Layer, x: Any, mask: Any, before: Any, states: list[Any], keeps: Any
) -> tuple[Any, Any, list[Any]] | None:
    """Carry a cell through time as one rule.

    Parameters
    ----------
    cell : Layer
        The cell, built.
    x : array of shape (n, t, ...)
        The inputs.
    mask : boolean array of shape (n, t), or None
        Which steps are valid.
    before : array, or None
        The output that a first step repeats which is masked; zeros without one.
    states : list of array
        What the first step starts from.
    keeps : tree of array
        Where the cell's dropout keeps.

    Returns
    -------
    tuple, or None
        The outputs of all steps, the last one and the states after it. None where the library does not compile the
        loop now, or the cell is no function of inputs, states and weights alone: it draws random numbers, assigns to
        its parameters, adds to the loss, or uses what is differentiated outside of it.
    """
    array = plain(x)
    backend = backend_of(array)
    if (
        "scan" not in backend.native_rules or backend.device(array) is not None
    ):  # a compiler's values have no device
        return None
    body = _Body(cell, keeps)
    bare = [plain(state) for state in states]
    tried, (output, *new) = body.run(array[:, 0, ...], None, (None, *bare), map(plain, body.weights))
    pure = not (tried.assigned or tried.losses or tried.draws)
    if not pure or any(isinstance(part, Tensor) for part in (output, *new)):
        return None
    if [(s.shape, s.dtype) for s in new] != [(s.shape, s.dtype) for s in bare]:
        return None
    start = functional.zeros_like(output) if before is None else before
    outputs, last, *after = _loop(x, mask, start, *states, *body.weights, body=body, count=1 + len(states))
    return outputs, last, after
