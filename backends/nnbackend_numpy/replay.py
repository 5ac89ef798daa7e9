"""A recorded step, run again: the same calls on the same layout of memory, without the Python between them.

What a recording holds is laid out once. Calls that nothing depends on are left out. Each result gets its place in one
stretch of memory, the *arena*, which later results take over as soon as nobody reads the earlier ones; views are cut
out of it once and for all; a result that is a new weight, slot or counter is written over the old one where nothing
reads that any more. What is left to do in a step is a list of ``function(*arguments)``. The functions, their order and
the layout of what they read are those of the step as it is written, and so are the bits.

Some arrays are others in every step: the batch, and what native rules make. They are *fed* into the argument lists.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnbackend_numpy.blocks import Evaluator, reduces, reduction, select, selection
from nnbackend_numpy.recording import (
    Form,
    NotRecordableError,
    Operation,
    Place,
    Recording,
    apart,
    astype,
    copied,
    in_rows,
    map_nested,
    walk,
)
from nnbackend_numpy.workspaces import ALIGNMENT, STAGGER, aligned

__all__ = ["Arena", "Replay"]

#: Arrays of at least as many bytes do not begin at the same place of a page as the one before.
STAGGERED = 1 << 13
#: Arrays of the state of at most as many bytes are copied in and out of a replay. Others stay where they are from step
#: to step, and for other ones the replay is bound anew, which takes milliseconds: metrics are new in every epoch.
COPIED = 1 << 12
#: Elements of a block of a program here, where blocks cost no Python.
UNROLLED = 1 << 14
#: Elements from which a choice is made on the bits: below, ``numpy.where`` and a copy take less time than three calls.
CHOSEN_BY_BITS = 1 << 11

#: Functions that write their result where ``out=`` says, besides the universal ones.
_WITH_OUT = frozenset({np.concatenate, np.stack})


class Arena:
    """One stretch of memory, which the recordings of a step share, since they run one at a time."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self._buffers: dict[int, np.ndarray[Any, Any]] = {}

    def reserve(self, count: int) -> None:
        """Make it at least `count` bytes long; what was cut out of it before lies elsewhere then."""
        if self.memory.size < count:
            self.memory = aligned(count)

    def buffer(self, number: int, dtype: Any, elements: int) -> np.ndarray[Any, Any]:
        """Return memory for an intermediate result within one operation."""
        needed = elements * dtype.itemsize
        if number not in self._buffers or self._buffers[number].size < needed:
            self._buffers[number] = aligned(needed, number)
        return self._buffers[number][:needed].view(dtype)

    def array(self, form: Form, offset: int) -> np.ndarray[Any, Any]:
        """Cut an array out."""
        return np.ndarray(form.shape, form.dtype, self.memory, offset, form.strides)


@dataclass(eq=False)
class _Feed:
    """Where an array goes that is another one in every step: into argument lists, and into views of it."""

    place: Place
    targets: list[tuple[list[Any], int]] = field(default_factory=list)
    views: list[tuple[Operation, _Feed]] = field(default_factory=list)


class _Pull:
    """The pullback that a native rule has left in this step, and what the rule was given."""

    __slots__ = ("function", "given")

    def __init__(self) -> None:
        self.function: Callable[..., Any] | None = None
        self.given: tuple[Any, ...] = ()

    def free(self) -> None:
        self.function, self.given = None, ()


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
        self._forms = recording.forms
        self._state, self._inputs, self._outputs = list(state), list(inputs), list(outputs)
        self.renewed = len(state) if renews else 0
        self._evaluator, self._arena = evaluator, arena
        operations, self._outputs = _without_repetition(recording, self._outputs)
        self._operations = _needed(operations, self._outputs)
        self._packed: dict[Place, tuple[Place, int]] = {}
        self._groups: dict[Place, list[Place]] = {}
        self._root = self._roots()
        self._fed = set(self._inputs) | {
            place
            for op in self._operations
            if op.kind in ("rule", "backward")
            for place in op.results
            if place
        }
        self._makers = {place: op for op in self._operations for place in op.results if place}
        self._pack()
        self._last = self._last_reads()
        self._over = self._written_over()
        small = [self._forms[p].size <= COPIED and p not in self._packed for p in self._state]
        self._small = [index for index, is_small in enumerate(small) if is_small]
        self._large = [index for index, is_small in enumerate(small) if not is_small]
        self._offsets, self.size = self._lay_out()
        self._memory: Any = None
        self._bound: list[Any] | None = None
        self._given: list[Any] = []

    # Layout

    def _roots(self) -> dict[Place, Place]:
        """Return for each place the one whose memory it is cut out of."""
        root = {place: place for place in (*self._state, *self._inputs)}
        for op in self._operations:
            for place in op.results:
                if place is not None:
                    root[place] = root[op.arguments[0]] if op.kind == "view" else place
        return root

    def _pack(self) -> None:
        """Let arrays that are joined into a flat one be pieces of it from the start, so that nothing is to be joined.

        An optimizer joins small weights, and their slots and gradients, to update them together.
        """
        states = set(self._state)
        for op in self._operations:
            if op.function is not np.concatenate or op.options.get("axis", 0) != 0:
                continue
            whole = op.results[0]
            parts = op.arguments[0]
            assert whole is not None
            if not all(isinstance(part, Place) and self._is_whole(part) for part in parts):
                continue
            roots = [self._root[part] for part in parts]
            held = sum(root in states for root in roots)
            if (
                len(set(roots)) < len(roots)
                or held not in (0, len(roots))
                or not self._packed.keys().isdisjoint(roots)
            ):
                continue
            offset = 0
            for root in roots:
                self._packed[root] = (whole, offset)
                offset += self._forms[root].size
            if held:
                self._groups[whole] = roots
            op.kind = "packed"
        for place, root in self._root.items():
            if root in self._packed:
                self._root[place] = self._packed[root][0]

    def _is_whole(self, place: Place) -> bool:
        """Tell whether a flat array is all of another one's memory, in order, and lies where this class says."""
        root = self._root[place]
        form, source = self._forms[place], self._forms[root]
        return (
            root not in self._fed
            and len(form.shape) == 1
            and form.size == source.size > 0
            and form.contiguous
            and source.contiguous
        )

    def _last_reads(self) -> dict[Place, int]:
        """Return for each root the number of the last operation that reads it."""
        last: dict[Place, int] = {}
        for number, op in enumerate(self._operations):
            if op.kind != "view":  # reading a view is reading its root
                last.update((self._root[place], number) for place in op.reads())
            if op.kind == "backward":  # a pullback may hold what its rule was given
                last.update((self._root[place], number) for place in op.function.reads())
        end = len(self._operations)
        last.update((self._root[place], end) for place in self._outputs if isinstance(place, Place))
        return last

    def _written_over(self) -> dict[Place, Place]:
        """Return the results that are written straight over an array of the state, and which one."""
        over: dict[Place, Place] = {}
        makers = {
            place: number for number, op in enumerate(self._operations) for place in op.results if place
        }
        returned = {place for place in self._outputs if isinstance(place, Place)}
        risky = max(
            (n for n, op in enumerate(self._operations) if op.kind in ("rule", "backward")), default=-1
        )
        for old, new in zip(self._state, self._outputs[: self.renewed], strict=False):
            if not isinstance(new, Place) or new not in makers or new in over or self._root[new] != new:
                continue
            number = makers[new]
            op = self._operations[number]
            alike = _alike(self._forms[old], self._forms[new])
            # who refuses what it gets must find the state as it was
            if not alike or number < risky or old in returned:
                continue
            read = self._last.get(self._root[old], -1)
            if read < number or (read == number and self._may_overwrite(op, old)):
                over[new] = old
        for whole, members in self._groups.items():
            new_whole = self._pieces_of(members)
            if new_whole is None or makers.get(new_whole, -1) < risky or not self._outputs_once(members):
                continue
            number, read = makers[new_whole], self._last.get(whole, -1)
            if read < number or (read == number and self._may_overwrite(self._operations[number], whole)):
                over[new_whole] = whole
        return over

    def _outputs_once(self, members: Sequence[Place]) -> bool:
        """Tell whether none of these arrays of the state is itself, or in part, a result of the step."""
        whole = self._root[members[0]]
        return not any(isinstance(place, Place) and self._root[place] == whole for place in self._outputs)

    def _pieces_of(self, members: Sequence[Place]) -> Place | None:
        """Return the flat result of which these arrays' successors are the pieces, each where its array is."""
        new = dict(zip(self._state, self._outputs[: self.renewed], strict=False))
        pieces = [new.get(member) for member in members]
        roots = {self._root[piece] if isinstance(piece, Place) else None for piece in pieces}
        (root,) = roots if len(roots) == 1 else (None,)
        whole = self._packed[members[0]][0]
        if root is None or root in self._fed or root in self._state or root in self._groups:
            return None
        if not _alike(self._forms[root], self._forms[whole]):
            return None
        trial = np.empty(self._forms[root].shape, self._forms[root].dtype)
        for member, piece in zip(members, pieces, strict=True):
            view = self._view_of(piece, root, trial)
            place = view.ctypes.data - trial.ctypes.data
            if place != self._packed[member][1] or not _alike(Form.of(view), self._forms[member]):
                return None
        return root

    def _view_of(self, place: Any, root: Place, array: Any) -> Any:
        """Cut a view of a root out of an array that stands for the root."""
        if place == root:
            return array
        op = self._makers[place]
        source = self._view_of(op.arguments[0], root, array)
        return op.function(source, *op.arguments[1:], **op.options)

    def _may_overwrite(self, op: Operation, old: Place) -> bool:
        """Tell whether an operation may write its result over one of the arrays that it reads."""
        return _is_pointwise(op) or (op.kind == "program" and old in op.arguments)

    def _lay_out(self) -> tuple[dict[Place, int], int]:
        """Return where in the arena each result stands, and how long the arena must be."""
        offsets: dict[Place, int] = {}
        free = _Gaps()
        ends: dict[int, list[Place]] = {}
        for number, op in enumerate(self._operations):
            if op.kind in ("view", "packed"):
                continue
            for place in op.results:
                if place is None or place in self._fed or place in self._over:
                    continue
                form = self._forms[place]
                if place in self._packed:
                    whole, offset = self._packed[place]
                    if whole not in offsets:
                        offsets[whole] = free.take(self._forms[whole].size)
                        ends.setdefault(self._last.get(whole, number), []).append(whole)
                    offsets[place] = offsets[whole] + offset
                    continue
                heir = self._heir_of(op, number, form, offsets) if form.dense else None
                if heir is not None:
                    offsets[place] = offsets[heir]
                    ends[number].remove(heir)
                else:
                    offsets[place] = free.take(form.size)
                ends.setdefault(self._last.get(place, number), []).append(place)
            for place in ends.pop(number, ()):
                free.give(offsets[place], self._forms[place].size)
        return offsets, free.end

    def _heir_of(self, op: Operation, number: int, form: Form, offsets: dict[Place, int]) -> Place | None:
        """Return an operand that is read for the last time here and whose memory the result may take over."""
        if not _is_pointwise(op):
            return None
        for place in op.arguments:
            if not isinstance(place, Place) or place not in offsets or self._last.get(place) != number:
                continue
            if _alike(self._forms[place], form):
                return place
        return None

    # Binding

    def takes(self, inputs: Sequence[Any]) -> bool:
        """Tell whether the arrays beside the state are such as were recorded."""
        for index, (array, place) in enumerate(zip(inputs, self._inputs, strict=True)):
            if self._bound is not None and array is self._given[index]:
                continue
            form = self._forms[place]
            if not isinstance(array, (np.ndarray, np.generic)):
                return False
            if array.shape != form.shape or array.dtype != form.dtype or array.strides != form.strides:
                return False
        return True

    def fits(self, state: Sequence[Any], inputs: Sequence[Any]) -> bool:
        """Tell whether all arrays are such as were recorded."""
        alike = all(
            array.shape == self._forms[place].shape and array.dtype == self._forms[place].dtype
            for array, place in zip(state, self._state, strict=True)
        )
        return alike and self.takes(inputs)

    def goes_on(self, state: Sequence[Any]) -> bool:
        """Tell whether the large arrays of a state are those that the step is bound to, and the others are alike."""
        bound = self._bound
        if bound is None or self._memory is not self._arena.memory:
            return False
        for index in self._large:
            if state[index] is not bound[index]:
                return False
        for index in self._small:
            array, form = state[index], self._forms[self._state[index]]
            if not isinstance(array, (np.ndarray, np.generic)):
                return False
            if array.shape != form.shape or array.dtype != form.dtype:
                return False
        return True

    def run(self, state: Sequence[Any], inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Run the step; the arrays of the state are given up.

        Returns
        -------
        state : list of array
            The new state; large arrays are the old ones, written over.
        outputs : list
            The other outputs.
        """
        if not self.goes_on(state):
            self.bind(state)
        bound = self._bound
        assert bound is not None
        for index in self._small:
            np.copyto(bound[index], state[index])
        given = self._given
        for index, array in enumerate(inputs):
            if array is not given[index]:
                self._feed(self._feeds[self._inputs[index]], array)
                given[index] = array
        for function, arguments in self._calls:
            function(*arguments)
        new = list(bound)
        for index in self._small:  # these are nobody else's, so that what was handed out stays as it is
            new[index] = bound[index].copy(order="K")
        return new, [self._result(output) for output in self._outputs[self.renewed :]]

    def _result(self, output: Any) -> Any:
        if not isinstance(output, Place):
            return np.array(output) if isinstance(output, np.ndarray) else output
        array = self._held.get(output, self._arrays[output])
        if self._forms[output].number:
            return array[()]
        return array if self._root[output] in self._fed else array.copy(order="K")

    def bind(self, state: Sequence[Any]) -> list[Any]:
        """Cut all arrays out of their memory, make the list of calls, and return arrays that hold the state."""
        self._bound = None
        self._arena.reserve(self.size)
        memory = self._arena.memory
        forms = [self._forms[place] for place in self._state]
        bound = _own(state, forms, [place in self._packed for place in self._state], set(self._small))
        self._arrays: list[Any] = [None] * len(self._forms)
        for whole, members in self._groups.items():
            self._join(whole, members, bound)
        for place, array in zip(self._state, bound, strict=True):
            self._arrays[place] = array
        self._feeds = {place: _Feed(place) for place in self._inputs}
        self._given = [None] * len(self._inputs)
        self._calls: list[tuple[Callable[..., Any], list[Any]]] = []
        self._pulls: dict[int, _Pull] = {}
        self._held: dict[Place, Any] = {}
        released: dict[int, list[Place]] = {}
        for place in self._fed.difference(self._inputs):
            released.setdefault(self._last.get(place, -1), []).append(place)
        for number, op in enumerate(self._operations):
            getattr(self, f"_bind_{op.kind}")(op)
            self._calls.extend((self._release, [self._feeds[place]]) for place in released.get(number, ()))
        self._bind_new_state()
        self._memory, self._bound = memory, bound
        small = set(self._small)
        return [np.array(a, order="K") if index in small else a for index, a in enumerate(bound)]

    def _join(self, whole: Place, members: Sequence[Place], bound: list[Any]) -> None:
        """Make arrays of the state pieces of one flat array, unless they are already."""
        at = {place: index for index, place in enumerate(self._state)}
        arrays = [bound[at[member]] for member in members]
        form, begin = self._forms[whole], arrays[0].ctypes.data
        bases = {id(_base_of(array)) for array in arrays}
        if len(bases) == 1 and all(
            array.ctypes.data - begin == self._packed[member][1]
            for member, array in zip(members, arrays, strict=True)
        ):
            self._arrays[whole] = np.lib.stride_tricks.as_strided(
                arrays[0].reshape(-1), form.shape, form.strides
            )
            return
        flat = self._arrays[whole] = aligned(form.size, len(self._groups)).view(form.dtype)
        start = 0
        for member, array in zip(members, arrays, strict=True):
            piece = flat[start : start + array.size].reshape(array.shape)
            np.copyto(piece, array)
            bound[at[member]] = piece
            start += array.size

    def _bind_packed(self, op: Operation) -> None:
        whole = op.results[0]
        assert whole is not None
        if whole not in self._groups:
            self._arrays[whole] = self._arena.array(self._forms[whole], self._offsets[whole])

    def _cut(self, place: Place) -> Any:
        """Return the memory of a result."""
        old = self._over.get(place)
        if old is not None:
            array = self._arrays[old]
        elif self._forms[place].dense:
            array = self._arena.array(self._forms[place], self._offsets[place])
        else:
            array = np.ndarray(
                self._forms[place].shape, self._forms[place].dtype, self._arena.memory, self._offsets[place]
            )
        self._arrays[place] = array
        return array

    def _bind_view(self, op: Operation) -> None:
        source, place = op.arguments[0], op.results[0]
        assert place is not None
        if self._root[source] in self._fed:
            feed = self._feeds[place] = _Feed(place)
            self._feeds[source].views.append((op, feed))
            return
        array = op.function(*_filled(op.arguments, self._arrays), **_filled(op.options, self._arrays))
        if array.strides != self._forms[place].strides or not np.may_share_memory(
            array, self._arrays[source]
        ):
            raise NotRecordableError(f"{op.function} gives no view of other memory")
        self._arrays[place] = array

    def _bind_call(self, op: Operation) -> None:
        place = op.results[0]
        assert place is not None
        for function, arguments in _lowered(op, self._forms, self._cut(place)):
            if function is select and not any(map(self._is_fed, arguments)):
                self._calls.extend(selection(*_filled(arguments, self._arrays)))
            else:
                self._add(function, arguments)

    def _bind_program(self, op: Operation) -> None:
        targets = [self._cut(place) for place in op.results if place is not None]
        donate = tuple(
            op.arguments.index(self._over[place])
            if place in self._over and self._over[place] in op.arguments
            else None
            for place in op.results
        )
        spread = self._evaluator.spreads(op.function, max(target.size for target in targets))
        if not (spread or any(map(self._is_fed, op.arguments))) and self._unroll(op, donate, targets):
            return
        self._add(self._run_program, [op.function, list(op.arguments), donate, targets])

    def _unroll(self, op: Operation, donate: Sequence[int | None], targets: list[Any]) -> bool:
        """Put the calls of all blocks of a program on the list; tell whether that can be."""
        arrays = [np.asarray(a) for a in _filled(op.arguments, self._arrays)]
        if op.function.rowwise and not all(a.flags.c_contiguous for a in arrays):
            return False
        into = [None if source is not None else t for source, t in zip(donate, targets, strict=True)]
        found = self._evaluator.calls(op.function, arrays, donate, UNROLLED, into, self._arena.buffer)
        if found is None:
            return False
        results, calls = found
        self._calls.extend(calls)
        for result, target in zip(results, targets, strict=True):
            if result is not target:
                self._calls.append((np.copyto, [target, result]))
        return True

    def _run_program(self, program: Any, arguments: Any, donate: Any, targets: list[Any]) -> None:
        arrays = [np.asarray(a) for a in arguments]
        into = [None if source is not None else t for source, t in zip(donate, targets, strict=True)]
        results = self._evaluator.blocked(program, arrays, donate, into=into)
        for result, target in zip(
            results if isinstance(results, tuple) else (results,), targets, strict=True
        ):
            if result is not target:
                np.copyto(target, result)

    def _bind_rule(self, op: Operation) -> None:
        feeds = self._new_feeds(op)
        pull = self._pulls[id(op)] = _Pull()

        def run(*arguments: Any) -> None:
            value, pull.function = op.function(*arguments, **op.options)
            pull.given = arguments
            for feed, part in zip(feeds, value if isinstance(value, tuple) else (value,), strict=True):
                if feed is not None:
                    self._feed(feed, apart(part, arguments))

        self._add(run, list(op.arguments))

    def _bind_backward(self, op: Operation) -> None:
        feeds = self._new_feeds(op)
        pull = self._pulls[id(op.function)]

        def run(dy: Any, needs: Any) -> None:
            assert pull.function is not None
            gradients = pull.function(dy, needs)
            held = (*pull.given, *(dy if isinstance(dy, tuple) else (dy,)))
            pull.free()
            for feed, gradient in zip(feeds, gradients, strict=True):
                if feed is not None:
                    self._feed(feed, apart(gradient, held))

        self._add(run, list(op.arguments))

    def _new_feeds(self, op: Operation) -> list[_Feed | None]:
        feeds = [None if place is None else _Feed(place) for place in op.results]
        self._feeds |= {feed.place: feed for feed in feeds if feed is not None}
        return feeds

    def _bind_new_state(self) -> None:
        """Bring what is not written over the old state yet to its place there."""
        pairs = [
            (old, new)
            for old, new in zip(self._state, self._outputs[: self.renewed], strict=False)
            if not (isinstance(new, Place) and (new == old or self._is_over(new, old)))
        ]
        states = {self._root[place] for place in self._state}
        for place in self._outputs[self.renewed :] if pairs else ():
            if (
                isinstance(place, Place) and self._root[place] in states
            ):  # it is read after the new state is there
                held = self._held[place] = np.empty_like(self._arrays[place])
                self._add(np.copyto, [held, place])
        sources = []
        for old, new in pairs:
            source: Any = new
            if isinstance(new, Place) and self._root[new] in states:  # another one may be written over it
                source = np.empty(self._forms[old].shape, self._forms[old].dtype)
                self._add(np.copyto, [source, new])
            sources.append(source)
        for (old, _), source in zip(pairs, sources, strict=True):
            self._add(np.copyto, [self._arrays[old], source])

    def _is_over(self, new: Place, old: Place) -> bool:
        """Tell whether a result lies where an array of the state was."""
        over = self._over.get(self._root[new])
        return over is not None and over in (old, self._packed.get(old, (None,))[0])

    def _add(self, function: Callable[..., Any], arguments: list[Any]) -> None:
        """Put a call at the end of the list."""
        late = [number for number, argument in enumerate(arguments) if self._is_fed(argument)]
        if any(not isinstance(arguments[number], Place) for number in late):
            self._calls.append((self._call_late, [function, arguments]))
            return
        filled = [None if n in late else _filled(a, self._arrays) for n, a in enumerate(arguments)]
        for number in late:
            self._feeds[arguments[number]].targets.append((filled, number))
        self._calls.append((function, filled))

    def _is_fed(self, argument: Any) -> bool:
        found: list[Place] = []
        walk(argument, found.append)
        return any(self._root[place] in self._fed for place in found)

    def _call_late(self, function: Callable[..., Any], arguments: list[Any]) -> None:
        function(*_filled(arguments, self._arrays))

    def _feed(self, feed: _Feed, array: Any) -> None:
        self._arrays[feed.place] = array
        for arguments, number in feed.targets:
            arguments[number] = array
        for op, view in feed.views:
            self._feed(view, op.function(array, *op.arguments[1:], **op.options))

    def _release(self, feed: _Feed) -> None:
        """Let go of an array that is read no more in this step."""
        self._arrays[feed.place] = None
        for arguments, number in feed.targets:
            arguments[number] = None
        for _, view in feed.views:
            self._release(view)


class _Gaps:
    """Hands out stretches of an arena, those given back first."""

    def __init__(self) -> None:
        self.end = 0
        self._free: list[tuple[int, int]] = []  # (begin, end), in order, none touching the next

    def take(self, count: int) -> int:
        count = _padded(count)
        fitting = [
            (end - begin, index) for index, (begin, end) in enumerate(self._free) if end - begin >= count
        ]
        if fitting:
            _, index = min(fitting)
            begin, end = self._free.pop(index)
            if end - begin > count:
                self._free.insert(index, (begin + count, end))
            return begin
        if self._free and self._free[-1][1] == self.end:
            begin, _ = self._free.pop()
        else:
            begin = self.end
        self.end = begin + count
        return begin

    def give(self, begin: int, count: int) -> None:
        end = begin + _padded(count)
        index = bisect.bisect(self._free, (begin, end))
        if index < len(self._free) and self._free[index][0] == end:
            end = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == begin:
            index -= 1
            begin = self._free.pop(index)[0]
        self._free.insert(index, (begin, end))


def _alike(one: Form, other: Form) -> bool:
    """Tell whether two values have the same layout."""
    return (one.shape, one.dtype, one.strides) == (other.shape, other.dtype, other.strides)


def _without_repetition(recording: Recording, outputs: Sequence[Any]) -> tuple[list[Operation], list[Any]]:
    """Leave out copies, since values do not change, and what was computed before."""
    same: dict[Place, Place] = {}
    known: dict[Any, Place] = {}
    rules: dict[int, Operation] = {}
    kept = []
    returned = {place for place in outputs if isinstance(place, Place)}
    for recorded in recording.operations:
        arguments, options = _renamed(recorded.arguments, same), _renamed(recorded.options, same)
        function = rules[id(recorded.function)] if recorded.kind == "backward" else recorded.function
        op = rules[id(recorded)] = Operation(recorded.kind, function, arguments, options, recorded.results)
        if op.kind in ("call", "view"):
            (place,) = op.results
            assert place is not None
            source = op.arguments[0]
            copies = op.function in (copied, in_rows, astype) and isinstance(source, Place)
            if copies and place not in returned and _alike(recording.forms[source], recording.forms[place]):
                same[place] = source
                continue
            key = (op.function, _key(op.arguments), _key(op.options))
            if key in known and place not in returned:
                same[place] = known[key]
                continue
            known[key] = place
        kept.append(op)
    return kept, [same.get(place, place) if isinstance(place, Place) else place for place in outputs]


def _renamed(node: Any, same: dict[Place, Place]) -> Any:
    return map_nested(node, lambda leaf: same.get(leaf, leaf) if isinstance(leaf, Place) else leaf)


def _key(node: Any) -> Any:
    """Return what tells arguments apart; arrays that are constants by which they are."""
    if isinstance(node, (list, tuple)):
        return tuple(map(_key, node))
    if isinstance(node, dict):
        return tuple((name, _key(node[name])) for name in sorted(node))
    if isinstance(node, slice):
        return slice, _key((node.start, node.stop, node.step))
    if isinstance(node, (np.ndarray, np.generic)):
        return id(node)
    return type(node), repr(node) if isinstance(node, (float, complex)) else node


def _padded(count: int) -> int:
    """Return how many bytes an array of so many takes, with the distance to the next one."""
    lines = max(1, -(-count // ALIGNMENT))
    return lines * ALIGNMENT + (STAGGER if count >= STAGGERED else 0)


def _needed(operations: Sequence[Operation], outputs: Sequence[Any]) -> list[Operation]:
    """Return the operations that the outputs depend on."""
    wanted = {place for place in outputs if isinstance(place, Place)}
    pulled: set[int] = set()
    kept = []
    for op in reversed(operations):
        if wanted.isdisjoint(op.results) and id(op) not in pulled:
            continue
        kept.append(op)
        wanted.update(op.reads())
        if op.kind == "backward":
            pulled.add(id(op.function))
    return kept[::-1]


def _is_pointwise(op: Operation) -> bool:
    """Tell whether an operation reads each element before it writes the result at its place."""
    function = op.function
    return (
        op.kind == "call" and isinstance(function, np.ufunc) and function.signature is None and not op.options
    )


def _may_refuse(op: Operation) -> bool:
    """Tell whether an operation may raise an error at what values it gets."""
    if op.kind != "call":
        return op.kind in ("rule", "backward")
    known = (
        copied,
        in_rows,
        astype,
        np.where,
        np.reshape,
        np.concatenate,
        np.stack,
        np.mean,
        np.broadcast_to,
    )
    return not (isinstance(op.function, np.ufunc) or op.function in known or reduces(op.function, None))


def _lowered(op: Operation, forms: Sequence[Form], out: Any) -> list[tuple[Callable[..., Any], list[Any]]]:
    """Return calls that write the result of an operation into `out`."""
    function, arguments, options = op.function, op.arguments, op.options
    if isinstance(function, np.ufunc) and not options:
        if function in (np.maximum, np.minimum):  # which want it by name
            return [(functools.partial(function, out=out), [*arguments])]
        return [(function, [*arguments, out])]
    dtype = options.get("dtype")
    plain = len(arguments) == 1 and set(options) <= {"axis", "dtype", "keepdims"}
    if plain and reduces(function, out.dtype) and (dtype is None or function is not np.mean):
        count = math.prod(forms[arguments[0]].shape) // max(1, out.size)
        axis, kept = options.get("axis"), bool(options.get("keepdims"))
        return reduction(function, arguments[0], axis, out, kept, dtype=dtype, count=count)
    if function in (np.argmax, np.argmin) and len(arguments) == 1 and set(options) == {"axis"}:
        return [(getattr(np.ndarray, function.__name__), [arguments[0], options["axis"], out])]
    if function is np.reshape and isinstance(arguments[0], Place) and out.flags.c_contiguous:
        return [(np.copyto, [out.reshape(forms[arguments[0]].shape), arguments[0]])]
    if function in _WITH_OUT and options.keys() <= {"axis"}:
        return [(functools.partial(function, **options, out=out), list(arguments))]
    if function in (copied, in_rows):
        return [(np.copyto, [out, arguments[0]])]
    if function is astype:
        return [(np.copyto, [out, arguments[0], "unsafe"])]
    if function is np.where and _chooses(arguments, forms, out):
        if out.size >= CHOSEN_BY_BITS:
            return [(select, [*arguments, out])]
        condition, chosen, otherwise = arguments
        return [(np.copyto, [out, otherwise]), (np.copyto, [out, chosen, "same_kind", condition])]
    return [(functools.partial(_copy_result, function), [out, options, *arguments])]


def _places_in(node: Any) -> bool:
    found: list[Place] = []
    walk(node, found.append)
    return bool(found)


def _chooses(arguments: Sequence[Any], forms: Sequence[Form], out: Any) -> bool:
    """Tell whether a choice is one between floating numbers of the result's dtype."""
    if len(arguments) != 3:
        return False
    condition, *branches = ((forms[a] if isinstance(a, Place) else a) for a in arguments)
    if getattr(condition, "dtype", None) != np.bool_ or out.dtype.kind != "f":
        return False
    return all(isinstance(b, (int, float)) or getattr(b, "dtype", None) == out.dtype for b in branches)


def _copy_result(function: Callable[..., Any], out: Any, options: dict[str, Any], *arguments: Any) -> None:
    np.copyto(out, function(*arguments, **options))


def _own(
    state: Sequence[Any], forms: Sequence[Form], pieces: Sequence[bool], copied: Collection[int]
) -> list[Any]:
    """Return the arrays of the state where they may be written to, each for itself; otherwise copies of them.

    Those whose numbers are `copied` are copied in any case, and large ones that do not begin at a line of the cache,
    but for `pieces` of a flat array.
    """
    owned, taken, large = [], _Stretches(), 0
    for index, (array, form, piece) in enumerate(zip(state, forms, pieces, strict=True)):
        staggered = form.dense and form.size >= STAGGERED and not piece
        if not (
            index not in copied
            and isinstance(array, np.ndarray)
            and array.flags.writeable
            and array.strides == form.strides
            and form.dense
            and not (staggered and array.ctypes.data % ALIGNMENT)
            and taken.add(array)
        ):
            memory = aligned(form.size, large) if staggered else np.empty(form.size, np.uint8)
            copy = np.ndarray(form.shape, form.dtype, memory, 0, form.strides if form.dense else None)
            np.copyto(copy, array)
            array = copy
            taken.add(array)
        large += staggered
        owned.append(array)
    return owned


def _base_of(array: np.ndarray[Any, Any]) -> Any:
    """Return what holds the memory of an array."""
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return base


class _Stretches:
    """Stretches of memory that are in use."""

    def __init__(self) -> None:
        self._ends: list[tuple[int, int]] = []

    def add(self, array: np.ndarray[Any, Any]) -> bool:
        """Note the memory of an array, unless some of it is in use already; tell whether it was noted."""
        begin, end = np.lib.array_utils.byte_bounds(array)
        index = bisect.bisect(self._ends, (begin, end))
        before = self._ends[index - 1][1] if index else begin
        after = self._ends[index][0] if index < len(self._ends) else end
        if array.nbytes and (before > begin or after < end):
            return False
        self._ends.insert(index, (begin, end))
        return True


def _filled(node: Any, arrays: Sequence[Any]) -> Any:
    """Put arrays where places stand."""
    return map_nested(node, lambda leaf: arrays[leaf] if isinstance(leaf, Place) else leaf)
