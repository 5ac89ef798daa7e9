"""A recorded step, run again: the same calls on the same layout of memory, without the Python between them.

What a recording holds is laid out once (`nnbackend_numpy.layout`) and bound to the arrays of the state
(`nnbackend_numpy.binding`). What is left to do in a step is a list of ``function(*arguments)``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnbackend.tree import filler, items
from nnbackend_numpy.binding import COPIED, Binding
from nnbackend_numpy.blocks import Evaluator
from nnbackend_numpy.layout import Arena, Layout
from nnbackend_numpy.recording import Place, Recording
from nnbackend_numpy.sharing import Holder

__all__ = ["Replay"]

_ARRAYS = (np.ndarray, np.generic)


class Replay:
    """A recording, laid out and bound to memory.

    Parameters
    ----------
    recording : Recording
        What was recorded.
    state, inputs : sequence of Place
        Where the arrays of the state and the other arrays stand, in the order in which `run` gets them.
    outputs : sequence of Place or array
        What the step returns. The first ones, as many as `state`, are the new state where `renews` is true.
    renews : bool
        Whether the step returns a new state in the place of the old one.
    evaluator : Evaluator
        Runs elementwise programs.
    arena : Arena
        The memory of the results.

    Attributes
    ----------
    renewed : int
        How many of the outputs are the new state.
    small : list of int
        The numbers of the arrays of the state that are new ones after each step.
    bindings : int
        How often it was bound to a state.
    """

    def __init__(
        self,
        recording: Recording,
        state: Sequence[Place],
        inputs: Sequence[Place],
        outputs: Sequence[Any],
        *,
        renews: bool,
        evaluator: Evaluator,
        arena: Arena,
    ) -> None:
        self._layout = Layout(recording, state, inputs, outputs, renews)
        self.renewed = self._layout.renewed
        self._evaluator, self._arena = evaluator, arena
        self._state_forms = [recording.forms[place] for place in state]
        self._taken = [
            (form.shape, form.dtype, form.strides) for form in map(recording.forms.__getitem__, inputs)
        ]
        small = [
            form.size <= COPIED and place not in self._layout.packed
            for form, place in zip(self._state_forms, state, strict=True)
        ]
        self.small = [index for index, is_small in enumerate(small) if is_small]
        self._small_forms = [self._state_forms[index] for index in self.small]
        self._changing = [
            number
            for number, index in enumerate(self.small)
            if self.renewed and not _is_at(self._layout.outputs[index], self._layout.state[index])
        ]
        self._small_of = items(self.small)
        self._large_of = items([index for index, is_small in enumerate(small) if not is_small])
        self.bindings = 0
        self._memory: Any = None
        self._bound: Binding | None = None
        self._bound_small: Sequence[Any] = ()
        self._bound_large: Sequence[Any] = ()
        self._copies: list[Callable[[], Any]] = []
        self._handed: Sequence[Any] = [None] * len(self.small)
        self._given: list[Any] = []
        self._results: list[tuple[Any, Callable[[str], Any] | None]] = []

    def takes(self, inputs: Sequence[Any]) -> bool:
        """Tell whether the arrays beside the state are such as were recorded."""
        for array, (shape, dtype, strides) in zip(inputs, self._taken, strict=True):
            if not isinstance(array, _ARRAYS):
                return False
            if array.shape != shape or array.dtype != dtype or array.strides != strides:
                return False
        return True

    def fits(self, state: Sequence[Any], inputs: Sequence[Any]) -> bool:
        """Tell whether all arrays are such as were recorded."""
        alike = all(
            array.shape == form.shape and array.dtype == form.dtype
            for array, form in zip(state, self._state_forms, strict=True)
        )
        return alike and self.takes(inputs)

    def goes_on(self, state: Sequence[Any]) -> bool:
        """Tell whether the large arrays of a state are those that the step is bound to, and the others are alike."""
        if self._bound is None or self._memory is not self._arena.memory:
            return False
        if any(map(operator.is_not, self._large_of(state), self._bound_large)):
            return False
        return self._are_alike(self._small_of(state), slice(None))

    def exchanged(self, numbers: slice, arrays: Sequence[Any]) -> list[Any] | None:
        """Return the small arrays that were handed out last, with others in the place of some.

        None where the step is not bound to the state any more, or where such arrays were not recorded.
        """
        if self._bound is None or self._memory is not self._arena.memory:
            return None
        if not self._are_alike(arrays, numbers):
            return None
        small = list(self._handed)
        small[numbers] = arrays
        return small

    def _are_alike(self, arrays: Sequence[Any], numbers: slice) -> bool:
        """Tell whether small arrays are such as were recorded at these places."""
        for array, handed, form in zip(
            arrays, self._handed[numbers], self._small_forms[numbers], strict=True
        ):
            if array is handed:
                continue
            if not isinstance(array, _ARRAYS):
                return False
            if array.shape != form.shape or array.dtype != form.dtype:
                return False
        return True

    def run(self, state: Sequence[Any], inputs: Sequence[Any]) -> tuple[Sequence[Any], list[Any]]:
        """Run the step, which was bound to a state that this one goes on from; its arrays are given up.

        Returns
        -------
        small : list of array
            Of the new state the `small` arrays; the others are those of `state`, written over.
        outputs : list
            The other outputs.
        """
        if self._bound is None:
            self.bind(state)
        bound = self._bound
        assert bound is not None
        self._take_in(self._small_of(state))
        self._compute(bound, inputs)
        if self.renewed:
            self._hand_out()
        return self._handed, [bound.result(output) for output in self._layout.outputs[self.renewed :]]

    def go_on(self, small: list[Any], inputs: Sequence[Any]) -> Sequence[Any]:
        """Run the step on the state that it left, with these `small` arrays; return the `small` ones of the new state.

        Those that the step leaves as they are, are those that were given.
        """
        bound = self._bound
        assert bound is not None
        self._take_in(small)
        self._compute(bound, inputs)
        for number in self._changing:
            small[number] = self._copies[number]()
        self._handed = small
        return small

    def _take_in(self, small: Sequence[Any]) -> None:
        for target, array in zip(self._bound_small, small, strict=True):
            target[...] = array

    def repeat(self, inputs: Sequence[Any]) -> list[Any]:
        """Run a step without state; return its outputs in memory of their own."""
        if self._bound is None or self._memory is not self._arena.memory:
            self.bind(())
        bound = self._bound
        assert bound is not None
        self._compute(bound, inputs)
        return [copy("K") if copy else np.array(bound.result(output)) for output, copy in self._results]

    def _compute(self, bound: Binding, inputs: Sequence[Any]) -> None:
        given = self._given
        if not all(map(operator.is_, inputs, given)):
            for index, array in enumerate(inputs):
                if array is not given[index]:
                    bound.feed(self._layout.inputs[index], array)
                    given[index] = array
        if self._layout.holder is Holder.ANYONE:  # an empty context takes as long as a call of NumPy
            for function, arguments in bound.calls:
                function(*arguments)
            return
        with self._layout.holder.has_threads():
            for function, arguments in bound.calls:
                function(*arguments)

    def bind(self, state: Sequence[Any]) -> list[Any]:
        """Cut all arrays out of their memory, make the list of calls, and return arrays that hold the state."""
        if self._bound is not None:
            self._bound.calls.clear()  # they refer to each other, and would hold arrays until the collector comes by
            self._bound = None
        self._arena.reserve(self._layout.size)
        self._given = [None] * len(self._layout.inputs)
        with self._layout.holder.has_threads():
            bound = self._bound = Binding(
                self._layout, state, frozenset(self.small), self._evaluator, self._arena
            )
        self._memory = self._arena.memory
        self.bindings += 1
        self._bound_small, self._bound_large = self._small_of(bound.state), self._large_of(bound.state)
        self._copies = [
            array.copy if array.flags.c_contiguous else functools.partial(array.copy, "K")
            for array in self._bound_small
        ]
        self._results = [(output, bound.copy_of(output)) for output in self._layout.outputs[self.renewed :]]
        self._hand_out()
        new = list(bound.state)
        for index, array in zip(self.small, self._handed, strict=True):
            new[index] = array
        return new

    def filler(self, structure: Any, *, shares: bool = False) -> Callable[[Sequence[Any]], Any]:
        """Return what makes a state of the `small` arrays that `run` returns, for as long as nothing is bound anew.

        With `shares`, branches without small arrays are the same in all states.
        """
        assert self._bound is not None
        return filler(structure, self._bound.state, self.small, shares=shares)

    def _hand_out(self) -> None:
        """Copy the small arrays of the state: the copies are nobody else's, so that they stay as they are."""
        self._handed = [copy() for copy in self._copies]


def _is_at(output: Any, place: Place) -> bool:
    """Tell whether an output, which may be a constant array, is what stands at a place."""
    return isinstance(output, Place) and output == place
