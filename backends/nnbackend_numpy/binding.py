"""A laid out step bound to arrays: views are cut once and for all, and what is left is a list of calls.

The functions, their order and the layout of what they read are those of the step as it is written, and so are the bits.
Some arrays are others in every step: the batch, and what native rules make. They are *fed* into the argument lists.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnbackend.elementwise import Program
from nnbackend_numpy.blocks import Evaluator, select, selection
from nnbackend_numpy.chains import chained
from nnbackend_numpy.layout import STAGGERED, Arena, Layout, argument_at
from nnbackend_numpy.lowering import lowered
from nnbackend_numpy.recording import Form, NotRecordableError, Operation, Place, apart, map_nested, walk
from nnbackend_numpy.sharing import Holder, is_large_product, product
from nnbackend_numpy.shortcuts import Call, shortcut_of_others, shortcuts
from nnbackend_numpy.workspaces import ALIGNMENT, aligned

__all__ = ["COPIED", "Binding"]

#: Arrays of the state of at most as many bytes are copied in and out of a replay. Others stay where they are from step
#: to step, and for other ones the replay is bound anew, which takes milliseconds: metrics are new in every epoch.
COPIED = 1 << 12
#: Elements of a block of a program here, where blocks cost no Python: five arrays of a step of Adam and one buffer fit
#: into a second level of cache of 1 MiB.
UNROLLED = 1 << 15


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


class Binding:
    """The calls of a step, on the arrays of one state.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    state : sequence of array
        The state; its arrays are given up, where they are not `copied`.
    copied : collection of int
        The numbers of those that are copied in any case.
    evaluator : Evaluator
        Runs elementwise programs.
    arena : Arena
        The memory of the results, which is long enough.

    Attributes
    ----------
    state : list of array
        The arrays that the calls read and write over.
    calls : list of Call
        What is to be done in a step.
    """

    def __init__(
        self,
        layout: Layout,
        state: Sequence[Any],
        copied: Collection[int],
        evaluator: Evaluator,
        arena: Arena,
    ) -> None:
        self._layout, self._forms, self._root, self._over = layout, layout.forms, layout.root, layout.over
        self._evaluator, self._arena = evaluator, arena
        forms = [self._forms[place] for place in layout.state]
        self.state = _own(state, forms, [place in layout.packed for place in layout.state], copied)
        self._arrays: list[Any] = [None] * len(self._forms)
        for whole, members in layout.groups.items():
            self._join(whole, members, self.state)
        for place, array in zip(layout.state, self.state, strict=True):
            self._arrays[place] = array
        self._feeds = {place: _Feed(place) for place in layout.inputs}
        self.calls: list[Call] = []
        self._pulls: dict[int, _Pull] = {}
        self._held: dict[Place, Any] = {}
        released: dict[int, list[Place]] = {}
        for place in layout.fed.difference(layout.inputs):
            released.setdefault(layout.last.get(place, -1), []).append(place)
        for number, op in enumerate(layout.operations):
            getattr(self, f"_bind_{op.kind}")(op)
            self.calls.extend((self._release, [self._feeds[place]]) for place in released.get(number, ()))
        self._bind_new_state()
        fed = {id(arguments) for feed in self._feeds.values() for arguments, _ in feed.targets}
        # a list would be made a tuple in every call
        self.calls = [
            (function, arguments if id(arguments) in fed else tuple(arguments))
            for function, arguments in chained(self.calls)
        ]

    def feed(self, place: Place, array: Any) -> None:
        """Let the calls read another array where one comes from outside."""
        self._feed(self._feeds[place], array)

    def result(self, output: Any) -> Any:
        """Return an output of the step, in memory of its own."""
        if not isinstance(output, Place):
            return np.array(output) if isinstance(output, np.ndarray) else output
        array = self._held.get(output, self._arrays[output])
        if self._forms[output].number:
            return array[()]
        return array if self._root[output] in self._layout.fed else array.copy(order="K")

    def copy_of(self, output: Any) -> Callable[[str], Any] | None:
        """Return what copies an output that lies at the same place in every step; None for others."""
        if (
            not isinstance(output, Place)
            or self._forms[output].number
            or self._root[output] in self._layout.fed
        ):
            return None
        copy: Callable[[str], Any] = self._held.get(output, self._arrays[output]).copy
        return copy

    def _join(self, whole: Place, members: Sequence[Place], bound: list[Any]) -> None:
        """Make arrays of the state pieces of one flat array, unless they are already."""
        at = {place: index for index, place in enumerate(self._layout.state)}
        arrays = [bound[at[member]] for member in members]
        form, begin = self._forms[whole], arrays[0].ctypes.data
        bases = {id(_base_of(array)) for array in arrays}
        if len(bases) == 1 and all(
            array.ctypes.data - begin == self._layout.packed[member][1]
            for member, array in zip(members, arrays, strict=True)
        ):
            self._arrays[whole] = np.lib.stride_tricks.as_strided(
                arrays[0].reshape(-1), form.shape, form.strides
            )
            return
        flat = self._arrays[whole] = aligned(form.size, len(self._layout.groups)).view(form.dtype)
        start = 0
        for member, array in zip(members, arrays, strict=True):
            piece = flat[start : start + array.size].reshape(array.shape)
            np.copyto(piece, array)
            bound[at[member]] = piece
            start += array.size

    def _bind_packed(self, op: Operation) -> None:
        whole = op.results[0]
        assert whole is not None
        if whole not in self._layout.groups:
            self._arrays[whole] = self._arena.array(self._forms[whole], self._layout.offsets[whole])

    def _cut(self, place: Place) -> Any:
        """Return the memory of a result."""
        old = self._over.get(place)
        if old is not None:
            array = self._arrays[old]
        elif self._forms[place].dense:
            array = self._arena.array(self._forms[place], self._layout.offsets[place])
        else:
            array = np.ndarray(
                self._forms[place].shape,
                self._forms[place].dtype,
                self._arena.memory,
                self._layout.offsets[place],
            )
        self._arrays[place] = array
        return array

    def _bind_view(self, op: Operation) -> None:
        source, place = op.arguments[0], op.results[0]
        assert place is not None
        if self._root[source] in self._layout.fed:
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
        for function, arguments in lowered(op, self._forms, self._cut(place)):
            if function is select and not any(map(self._is_fed, arguments)):
                self.calls.extend(selection(*_filled(arguments, self._arrays)))
            elif self._layout.holder is Holder.PIECES and is_large_product(op, self._forms):
                self._add(product, list(arguments))
            else:
                self._add(function, list(arguments))

    def _bind_program(self, op: Operation) -> None:
        targets = [self._cut(place) for place in op.results if place is not None]
        donate = tuple(
            argument_at(op, self._over[place]) if place in self._over else None for place in op.results
        )
        fed = [place for place in op.arguments if self._is_fed(place)]
        spreads = self._evaluator.spreads(op.function, max(target.size for target in targets))
        if not spreads and all(self._forms[place].size <= COPIED for place in fed):
            arguments = [self._to_stay(argument) for argument in op.arguments]
            calls = self._unrolled(op.function, arguments, donate, targets)
            if calls is not None:
                self.calls.extend(calls)
                return
        stays = not spreads and bool(fed) and all(self._root[place] in self._layout.inputs for place in fed)
        run = _Kept(self._unrolled, self._run_program) if stays else self._run_program
        self._add(run, [op.function, list(op.arguments), donate, targets])

    def _unrolled(
        self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None], targets: list[Any]
    ) -> list[Call] | None:
        """Return the calls of all blocks of a program, if they will do whenever the arguments change in their place."""
        arrays = [np.asarray(a) for a in arguments]
        if not self._evaluator.takes_in_place(program, arrays):
            return None
        into = _in_order(donate, targets)
        found = self._evaluator.calls(program, arrays, donate, UNROLLED, into, self._arena.buffer)
        if found is None:
            return None
        results, calls = found
        pairs = zip(results, targets, strict=True)
        copies = ((np.copyto, [target, result]) for result, target in pairs if result is not target)
        return [*itertools.chain.from_iterable(itertools.starmap(shortcuts, calls)), *copies]

    def _to_stay(self, argument: Any) -> Any:
        """Return an argument's array; of one that is fed, a small one, what it is copied to in every step."""
        if not self._is_fed(argument):
            return _filled(argument, self._arrays)
        held = np.empty(self._forms[argument].shape, self._forms[argument].dtype)
        self._add(np.copyto, [held, argument])
        return held

    def _run_program(
        self, program: Program, arguments: Sequence[Any], donate: Sequence[int | None], targets: list[Any]
    ) -> None:
        arrays = [np.asarray(a) for a in arguments]
        into = _in_order(donate, targets)
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
            for old, new in zip(
                self._layout.state, self._layout.outputs[: self._layout.renewed], strict=False
            )
            if not (isinstance(new, Place) and (new == old or self._is_over(new, old)))
        ]
        states = {self._root[place] for place in self._layout.state}
        for place in self._layout.outputs[self._layout.renewed :] if pairs else ():
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
        return over is not None and over in (old, self._layout.packed.get(old, (None,))[0])

    def _add(self, function: Callable[..., Any], arguments: list[Any]) -> None:
        """Put a call at the end of the list."""
        late = [number for number, argument in enumerate(arguments) if self._is_fed(argument)]
        if any(not isinstance(arguments[number], Place) for number in late):
            self.calls.append((self._call_late, [function, arguments]))
            return
        filled = [None if n in late else _filled(a, self._arrays) for n, a in enumerate(arguments)]
        for number in late:
            self._feeds[arguments[number]].targets.append((filled, number))
        if not late:
            self.calls.extend(shortcuts(function, filled))
            return
        if all(self._root[arguments[number]] in self._layout.inputs for number in late):
            alike = [_like(self._forms[arguments[n]]) if n in late else a for n, a in enumerate(filled)]
            function = shortcut_of_others(function, alike)
        self.calls.append((function, filled))

    def _is_fed(self, argument: Any) -> bool:
        found: list[Place] = []
        walk(argument, found.append)
        return any(self._root[place] in self._layout.fed for place in found)

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


class _Kept:
    """Runs a program on arrays that are fed, and keeps the calls of its blocks until others are fed."""

    def __init__(self, unrolled: Callable[..., list[Call] | None], run: Callable[..., None]) -> None:
        self._unrolled, self._run = unrolled, run
        self._arguments: list[Any] = []
        self._calls: list[Call] | None = None

    def __call__(
        self, program: Program, arguments: list[Any], donate: Sequence[int | None], targets: list[Any]
    ) -> None:
        if len(arguments) != len(self._arguments) or any(map(operator.is_not, arguments, self._arguments)):
            self._arguments, self._calls = arguments, self._unrolled(program, arguments, donate, targets)
        if self._calls is None:
            self._run(program, arguments, donate, targets)
            return
        for function, operands in self._calls:
            function(*operands)


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


def _like(form: Form) -> Any:
    """Return an array of this form that takes no memory, to look at alone."""
    return np.lib.stride_tricks.as_strided(np.empty((), form.dtype), form.shape, form.strides)


def _in_order(donate: Sequence[int | None], targets: Sequence[Any]) -> list[Any]:
    """Return the memory that a program may write its results to: its own, in C order; others are copied to it."""
    return [
        target if source is None and target.flags.c_contiguous else None
        for source, target in zip(donate, targets, strict=True)
    ]


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
