"""Where everything of a recorded step lies when it is run again.

What a recording holds is laid out once. Calls that nothing depends on are left out. Each result gets its place in one
stretch of memory, the *arena*, which later results take over as soon as nobody reads the earlier ones; a result that is
a new weight, slot or counter is written over the old one where nothing reads that any more.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnbackend_numpy.chains import brought_together
from nnbackend_numpy.lowering import CHOSEN_BY_BITS
from nnbackend_numpy.recording import (
    Form,
    Operation,
    Place,
    Recording,
    astype,
    copied,
    in_rows,
    map_nested,
)
from nnbackend_numpy.sharing import holder_of
from nnbackend_numpy.workspaces import ALIGNMENT, STAGGER, aligned

__all__ = ["STAGGERED", "Arena", "Layout", "argument_at"]

#: Arrays of at least as many bytes do not begin at the same place of a page as the one before.
STAGGERED = 1 << 13


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


class Layout:
    """A recording without what is not needed, and the place of each of its values.

    Parameters
    ----------
    recording : Recording
        What was recorded.
    state, inputs : sequence of Place
        Where the arrays of the state and the other arrays stand.
    outputs : sequence of Place or array
        What the step returns. The first ones, as many as `state`, are the new state where `renews` is true.
    renews : bool
        Whether the step returns a new state in the place of the old one.

    Attributes
    ----------
    forms : list of Form
        What stands at each place.
    state, inputs, outputs : list
        As given, and the outputs without repetition.
    renewed : int
        How many of the outputs are the new state.
    operations : list of Operation
        What is left to do, in order.
    root : dict of Place to Place
        For each place the one whose memory it is cut out of.
    fed : set of Place
        Those whose arrays are others in every step.
    packed : dict of Place to (Place, int)
        Pieces of flat arrays: which one, and the byte that they begin at.
    groups : dict of Place to list of Place
        The flat arrays that are made of arrays of the state, and these.
    last : dict of Place to int
        For each root the number of the last operation that reads it.
    over : dict of Place to Place
        The results that are written straight over an array of the state, and which one.
    holder : Holder
        Who has the threads in the step.
    offsets : dict of Place to int
        Where in the arena each of the other results begins.
    size : int
        How many bytes the arena must have.
    """

    def __init__(
        self,
        recording: Recording,
        state: Sequence[Place],
        inputs: Sequence[Place],
        outputs: Sequence[Any],
        renews: bool,
    ) -> None:
        self.forms = recording.forms
        self.state, self.inputs = list(state), list(inputs)
        self.renewed = len(state) if renews else 0
        operations, self.outputs = _without_repetition(recording, list(outputs))
        self.operations = brought_together(_needed(operations, self.outputs), self.forms)
        self.holder = holder_of(self.operations, self.forms)
        self.packed: dict[Place, tuple[Place, int]] = {}
        self.groups: dict[Place, list[Place]] = {}
        self.root = self._roots()
        self.fed = set(self.inputs) | {
            place
            for op in self.operations
            if op.kind in ("rule", "backward")
            for place in op.results
            if place
        }
        self._makers = {place: op for op in self.operations for place in op.results if place}
        self._pack()
        self.last = self._last_reads()
        self.over = self._written_over()
        self.offsets, self.size = self._lay_out()

    def _roots(self) -> dict[Place, Place]:
        """Return for each place the one whose memory it is cut out of."""
        root = {place: place for place in (*self.state, *self.inputs)}
        for op in self.operations:
            for place in op.results:
                if place is not None:
                    root[place] = root[op.arguments[0]] if op.kind == "view" else place
        return root

    def _pack(self) -> None:
        """Let arrays that are joined into a flat one be pieces of it from the start, so that nothing is to be joined.

        An optimizer joins small weights, and their slots and gradients, to update them together.
        """
        states = set(self.state)
        for op in self.operations:
            if op.function is not np.concatenate or op.options.get("axis", 0) != 0:
                continue
            whole = op.results[0]
            parts = op.arguments[0]
            assert whole is not None
            if not all(isinstance(part, Place) and self._is_whole(part) for part in parts):
                continue
            roots = [self.root[part] for part in parts]
            held = sum(root in states for root in roots)
            if (
                len(set(roots)) < len(roots)
                or held not in (0, len(roots))
                or not self.packed.keys().isdisjoint(roots)
            ):
                continue
            offset = 0
            for root in roots:
                self.packed[root] = (whole, offset)
                offset += self.forms[root].size
            if held:
                self.groups[whole] = roots
            op.kind = "packed"
        for place, root in self.root.items():
            if root in self.packed:
                self.root[place] = self.packed[root][0]

    def _is_whole(self, place: Place) -> bool:
        """Tell whether a flat array is all of another one's memory, in order, and lies where this class says."""
        root = self.root[place]
        form, source = self.forms[place], self.forms[root]
        return (
            root not in self.fed
            and len(form.shape) == 1
            and form.size == source.size > 0
            and form.contiguous
            and source.contiguous
        )

    def _last_reads(self) -> dict[Place, int]:
        """Return for each root the number of the last operation that reads it."""
        last: dict[Place, int] = {}
        for number, op in enumerate(self.operations):
            if op.kind != "view":  # reading a view is reading its root
                last.update((self.root[place], number) for place in op.reads())
            if op.kind == "backward":  # a pullback may hold what its rule was given
                last.update((self.root[place], number) for place in op.function.reads())
        end = len(self.operations)
        last.update((self.root[place], end) for place in self.outputs if isinstance(place, Place))
        return last

    def _written_over(self) -> dict[Place, Place]:
        """Return the results that are written straight over an array of the state, and which one."""
        over: dict[Place, Place] = {}
        makers = {place: number for number, op in enumerate(self.operations) for place in op.results if place}
        returned = {place for place in self.outputs if isinstance(place, Place)}
        risky = max(
            (n for n, op in enumerate(self.operations) if op.kind in ("rule", "backward")), default=-1
        )
        for old, new in zip(self.state, self.outputs[: self.renewed], strict=False):
            if not isinstance(new, Place) or new not in makers or new in over or self.root[new] != new:
                continue
            number = makers[new]
            op = self.operations[number]
            alike = _alike(self.forms[old], self.forms[new])
            # who refuses what it gets must find the state as it was
            if not alike or number < risky or old in returned:
                continue
            read = self.last.get(self.root[old], -1)
            if read < number or (read == number and self._may_overwrite(op, old)):
                over[new] = old
        for whole, members in self.groups.items():
            new_whole = self._pieces_of(members)
            if new_whole is None or makers.get(new_whole, -1) < risky or not self._outputs_once(members):
                continue
            number, read = makers[new_whole], self.last.get(whole, -1)
            if read < number or (read == number and self._may_overwrite(self.operations[number], whole)):
                over[new_whole] = whole
        return over

    def _outputs_once(self, members: Sequence[Place]) -> bool:
        """Tell whether none of these arrays of the state is itself, or in part, a result of the step."""
        whole = self.root[members[0]]
        return not any(isinstance(place, Place) and self.root[place] == whole for place in self.outputs)

    def _pieces_of(self, members: Sequence[Place]) -> Place | None:
        """Return the flat result of which these arrays' successors are the pieces, each where its array is."""
        new = dict(zip(self.state, self.outputs[: self.renewed], strict=False))
        pieces = [new.get(member) for member in members]
        roots = {self.root[piece] if isinstance(piece, Place) else None for piece in pieces}
        (root,) = roots if len(roots) == 1 else (None,)
        whole = self.packed[members[0]][0]
        if root is None or root in self.fed or root in self.state or root in self.groups:
            return None
        if not _alike(self.forms[root], self.forms[whole]):
            return None
        trial = np.empty(self.forms[root].shape, self.forms[root].dtype)
        for member, piece in zip(members, pieces, strict=True):
            view = self._view_of(piece, root, trial)
            place = view.ctypes.data - trial.ctypes.data
            if place != self.packed[member][1] or not _alike(Form.of(view), self.forms[member]):
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
        return _is_pointwise(op) or (op.kind == "program" and argument_at(op, old) is not None)

    def _lay_out(self) -> tuple[dict[Place, int], int]:
        """Return where in the arena each result stands, and how long the arena must be."""
        offsets: dict[Place, int] = {}
        free = _Gaps()
        ends: dict[int, list[Place]] = {}
        for number, op in enumerate(self.operations):
            if op.kind in ("view", "packed"):
                continue
            for place in op.results:
                if place is None or place in self.fed or place in self.over:
                    continue
                form = self.forms[place]
                if place in self.packed:
                    whole, offset = self.packed[place]
                    if whole not in offsets:
                        offsets[whole] = free.take(self.forms[whole].size)
                        ends.setdefault(self.last.get(whole, number), []).append(whole)
                    offsets[place] = offsets[whole] + offset
                    continue
                heir = self._heir_of(op, number, form, offsets) if form.dense else None
                if heir is not None:
                    offsets[place] = offsets[heir]
                    ends[number].remove(heir)
                else:
                    offsets[place] = free.take(form.size)
                ends.setdefault(self.last.get(place, number), []).append(place)
            for place in ends.pop(number, ()):
                free.give(offsets[place], self.forms[place].size)
        return offsets, free.end

    def _heir_of(self, op: Operation, number: int, form: Form, offsets: dict[Place, int]) -> Place | None:
        """Return an operand that is read for the last time here and whose memory the result may take over."""
        if op.kind == "call" and op.function is np.where and math.prod(form.shape) < CHOSEN_BY_BITS:
            candidates = self._kept_by_choice(op)
        else:
            candidates = op.arguments if _is_pointwise(op) else ()
        for place in candidates:
            if not isinstance(place, Place) or place not in offsets or self.last.get(place) != number:
                continue
            if _alike(self.forms[place], form):
                return place
        return None

    def _kept_by_choice(self, op: Operation) -> Sequence[Any]:
        """Return the array that the others of a choice are copied into, if they lie elsewhere."""
        *others, kept = op.arguments
        if not isinstance(kept, Place) or any(
            isinstance(a, Place) and self.root[a] == self.root[kept] for a in others
        ):
            return ()
        return (kept,)


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


def argument_at(op: Operation, place: Place) -> int | None:
    """Return which argument of an operation stands at a place; None if none does. Others may be constant arrays."""
    places = (index for index, a in enumerate(op.arguments) if isinstance(a, Place) and a == place)
    return next(places, None)


def _is_pointwise(op: Operation) -> bool:
    """Tell whether an operation reads each element before it writes the result at its place."""
    function = op.function
    return (
        op.kind == "call"
        and isinstance(function, np.ufunc)
        and function.signature is None
        and function is not np.power  # see `nnbackend_numpy.blocks`
        and not op.options
    )
