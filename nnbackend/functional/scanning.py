"""A loop over time, written once: a loop of Python, or the library's own where it compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from nnbackend.autodiff import Operators
from nnbackend.backend import backend_of, namespace
from nnbackend.tree import leaves
from nnbackend.typing import Array

__all__ = ["History", "joined", "scan", "shifted"]

#: What a loop has left at each of its steps: a list of arrays (n, ...), or all of them as one array (n, t, ...).
History: TypeAlias = Any

#: ``step(states, inputs, constants) -> (states, outputs)``, each a tuple of arrays (n, ...) or None.
Step: TypeAlias = Callable[[Any, Any, Any], tuple[Any, Any]]


def scan(
    step: Step,
    states: tuple[Any, ...],
    sequences: tuple[Any, ...],
    constants: Any = (),
    *,
    reverse: bool = False,
) -> tuple[Any, tuple[History, ...]]:
    r"""Carry states through time:  :math:`(s_t, y_t) = f(s_{t-1}, x_t)`, from the first step to the last.

    Parameters
    ----------
    step : callable
        :math:`f`, as ``step(states, inputs, constants) -> (states, outputs)``. A function of a module, so that a
        library that compiles the loop finds what it compiled before.
    states : tuple of array of shape (n, ...)
        What the first step starts from.
    sequences : tuple of History or None
        What the steps take, each its own slice; None stays None.
    constants : tree of array
        What every step takes as it is.
    reverse : bool
        From the last step to the first. The outputs stand in the order of time all the same.

    Returns
    -------
    states : tuple of array
        After the last step.
    outputs : tuple of History
        What the steps have left.

    Notes
    -----
    A backend may bring its own among its ``native_rules``, under the name ``scan``: JAX compiles one step instead of
    all of them. It is for arrays; a loop over tensors is recorded step by step.
    """
    arrays = leaves((states, sequences, constants))
    if not any(isinstance(array, Operators) for array in arrays):
        native = backend_of(arrays[0]).native_rules.get("scan")
        if native is not None:
            found: tuple[Any, tuple[History, ...]] = native(
                step, states, sequences, constants, reverse=reverse
            )
            return found
    columns = [None if sequence is None else _slices(sequence) for sequence in sequences]
    length = next(len(column) for column in columns if column is not None)
    outputs: list[Any] = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        inputs = tuple(None if column is None else column[t] for column in columns)
        states, outputs[t] = step(states, inputs, constants)
    return states, tuple(list(output) for output in zip(*outputs, strict=True))


def _slices(sequence: History) -> Any:
    """Return the slices of a sequence, in the order of time."""
    return sequence if isinstance(sequence, list) else namespace(sequence).unstack(sequence, axis=1)


def joined(history: History) -> Array:
    """Return what the steps have left as one array of shape (n, t, ...)."""
    if not isinstance(history, list):
        array: Array = history
        return array
    # the first state may be plain zeros before the tensors that the steps have left
    chosen = next((part for part in history if isinstance(part, Operators)), history[0])
    array = namespace(chosen).stack(history, axis=1)
    return array


def shifted(first: Array, history: History) -> History:
    """Return what there was before each step: `first`, then what each step but the last has left."""
    if isinstance(history, list):
        return [first, *history[:-1]]
    xp = namespace(history)
    return xp.concat([xp.expand_dims(first, axis=1), history[:, :-1, ...]], axis=1)
