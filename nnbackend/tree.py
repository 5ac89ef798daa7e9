"""Nested structures of arrays: dicts, lists, tuples, named tuples and None.

Dicts are walked in the order of their sorted keys, so that a tree means the same after a library has rebuilt it.

The walks are plain recursive functions: a closure that called itself would be a reference cycle, and would hold the
arrays of every training step until the garbage collector came by.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nnbackend.typing import Tree

__all__ = ["Outline", "filler", "flatten", "items", "leaves", "map", "unflatten"]


def flatten(tree: Tree) -> tuple[list[Any], Tree]:
    """Return the leaves of `tree` and its structure, which `unflatten` fills again.

    Examples
    --------
    >>> flatten({"b": [1, 2], "a": None})
    ([1, 2], {'a': None, 'b': [0, 1]})
    """
    found: list[Any] = []
    return found, _number(tree, found)


def _number(node: Tree, found: list[Any]) -> Tree:
    """Append the leaves of `node` to `found`; return its structure, with their places there."""
    if isinstance(node, dict):
        return {key: _number(node[key], found) for key in sorted(node)}
    if isinstance(node, (list, tuple)):
        return _sequence_like(node, [_number(child, found) for child in node])
    if node is None:
        return None
    found.append(node)
    return len(found) - 1


def unflatten(structure: Tree, values: list[Any]) -> Tree:
    """Put `values` at the places that `flatten` found."""
    return map(values.__getitem__, structure)


def leaves(tree: Tree) -> list[Any]:
    """Return the leaves of `tree`, in the order of `flatten`."""
    found: list[Any] = []
    _number(tree, found)
    return found


def map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to the leaves of `tree`, and of `others` that have the same structure.

    Lists and tuples may stand for each other.

    Raises
    ------
    ValueError
        If one of `others` has other keys, another length, or no branch where `tree` has one.

    Examples
    --------
    >>> map(lambda x, y: x + y, {"a": (1, 2)}, {"a": (10, 20)})
    {'a': (11, 22)}
    """
    if others:
        return _map_all(function, tree, others, ())
    if isinstance(tree, dict):
        return {key: map(function, tree[key]) for key in sorted(tree)}
    if isinstance(tree, (list, tuple)):
        return _sequence_like(tree, [map(function, child) for child in tree])
    return None if tree is None else function(tree)


class Outline:
    """The structure of a tree, made ready to take apart many trees like it, and to put them together.

    A tree is gone through branch by branch, from its root on. What stands in a branch has consecutive places among all
    that is found.

    Parameters
    ----------
    structure : tree of int
        As `flatten` returns it, or a part of that.

    Examples
    --------
    >>> outline = Outline(flatten({"a": 1, "b": {"c": 2, "d": None}})[1])
    >>> outline.leaves({"b": {"d": None, "c": 4}, "a": 3}), outline.leaves({"a": 3})
    ((3, 4), None)
    >>> outline.tree([5, 6])
    {'a': 5, 'b': {'c': 6, 'd': None}}
    """

    def __init__(self, structure: Tree) -> None:
        self._branches: list[_Branch] = []
        self._nothing: list[int] = []
        places: dict[int, int] = {}
        found = [structure]
        for number, node in enumerate(found):  # which grows
            if node is None:
                self._nothing.append(number)
            elif type(node) is int:
                places[node] = number
            else:
                self._branches.append(_Branch.of(node, number, len(found)))
                found += self._branches[-1].children(node)
        ranks = {places[leaf]: rank for rank, leaf in enumerate(sorted(places))}
        self._leaves = items(list(ranks))
        self._spread = items([ranks.get(number, len(ranks)) for number in range(len(found))])
        self._makers = [
            (branch.place, branch.first, branch.first + branch.length, branch.made)
            for branch in reversed(self._branches)
        ]

    def leaves(self, tree: Tree) -> tuple[Any, ...] | None:
        """Return the leaves of a tree in the order of `flatten`, or None if it has other branches.

        What stands at the place of a leaf may still be a branch, or None.
        """
        found: list[Any] = [tree]
        try:
            for place, _, kind, length, children, _ in self._branches:
                node = found[place]
                if len(node) != length or type(node) is not kind:
                    return None
                found += children(node)
        except (KeyError, TypeError):
            return None
        for place in self._nothing:
            if found[place] is not None:
                return None
        return self._leaves(found)

    def tree(self, values: Sequence[Any]) -> Tree:
        """Return a tree with these leaves, as `unflatten` does."""
        nodes = list(self._spread((*values, None)))
        for place, first, stop, made in self._makers:
            nodes[place] = made(nodes[first:stop])
        return nodes[0]


class _Branch(NamedTuple):
    """A dict, list or tuple in a tree: its place and that of its first child among all nodes."""

    place: int
    first: int
    kind: type
    length: int
    children: Callable[[Any], Sequence[Any]]
    made: Callable[[list[Any]], Any]

    @classmethod
    def of(cls, node: Any, place: int, first: int) -> _Branch:
        """Describe a branch of a structure."""
        if not isinstance(node, dict):
            made = type(node)._make if hasattr(node, "_fields") else type(node)
            return cls(place, first, type(node), len(node), tuple, made)
        keys = sorted(node)
        return cls(place, first, dict, len(keys), items(keys), lambda values: dict(zip(keys, values)))  # noqa: B905


def filler(
    structure: Tree, values: Sequence[Any], places: Sequence[int], *, shares: bool = False
) -> Callable[[Sequence[Any]], Tree]:
    """Return a function that makes trees which differ in a few leaves, in less time than by going through all leaves.

    Parameters
    ----------
    structure : tree of int
        As `flatten` returns it.
    values : sequence
        The leaves, in the order of `flatten`.
    places : sequence of int
        The numbers of the leaves that the function is given, in its order.
    shares : bool
        Whether a branch in which no leaf differs is one and the same in all trees.

    Returns
    -------
    callable
        Of these leaves; without `shares`, each tree has dicts and lists of its own.

    Examples
    --------
    >>> fill = filler({"a": 0, "b": [1, 2]}, "xyz", [2])
    >>> fill([3]), fill([4])
    ({'a': 'x', 'b': ['y', 3]}, {'a': 'x', 'b': ['y', 4]})
    """
    return _filler(structure, values, {place: number for number, place in enumerate(places)}, shares)


def _filler(
    node: Tree, values: Sequence[Any], numbers: dict[int, int], shares: bool
) -> Callable[[Sequence[Any]], Tree]:
    if not isinstance(node, (dict, list, tuple)):
        if node in numbers:
            return operator.itemgetter(numbers[node])
        leaf = None if node is None else values[node]
        return lambda given: leaf
    kept: Any = {} if isinstance(node, dict) else [None] * len(node)
    branches, leaves = [], []
    for key in sorted(node) if isinstance(node, dict) else range(len(node)):
        child = node[key]
        if isinstance(child, (dict, list, tuple)):
            if shares and numbers.keys().isdisjoint(flatten(child)[0]):
                kept[key] = unflatten(child, list(values))
                continue
            kept[key] = None  # so that keys stay in order
            branches.append((key, _filler(child, values, numbers, shares)))
        elif child in numbers:
            kept[key] = None
            leaves.append((key, numbers[child]))
        else:
            kept[key] = None if child is None else values[child]

    def fill(given: Sequence[Any]) -> Any:
        made = kept.copy()
        for key, number in leaves:
            made[key] = given[number]
        for key, branch in branches:
            made[key] = branch(given)
        return made

    return (lambda given: _sequence_like(node, fill(given))) if isinstance(node, tuple) else fill


def items(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that takes several items out of a container at once.

    Examples
    --------
    >>> items(["a", "c"])({"a": 1, "b": 2, "c": 3}), items([0])("xyz"), items([])("xyz")
    ((1, 3), ('x',), ())
    """
    if len(keys) > 1:
        return operator.itemgetter(*keys)
    if not keys:
        return lambda container: ()
    (key,) = keys
    return lambda container: (container[key],)


def _map_all(
    function: Callable[..., Any], node: Tree, others: tuple[Tree, ...], path: tuple[Any, ...]
) -> Tree:
    if node is not None and not isinstance(node, (dict, list, tuple)):
        return function(node, *others)
    expected = _children(node)
    for other in others:
        if _children(other) != expected:
            raise ValueError(
                f"Two trees that belong together differ{_at(path)}: expected {_describe(node)}, got "
                f"{_describe(other)}. Give both the same keys and lengths."
            )
    if node is None:
        return None
    made = [
        _map_all(function, node[key], tuple(other[key] for other in others), (*path, key))
        for key in expected or ()
    ]
    return (
        dict(zip(expected or (), made, strict=True)) if isinstance(node, dict) else _sequence_like(node, made)
    )


def _children(node: Tree) -> list[Any] | None:
    """Return the keys of a branch, in order, or None where `node` is none."""
    if isinstance(node, dict):
        return sorted(node)
    return list(range(len(node))) if isinstance(node, (list, tuple)) else None


def _sequence_like(node: Any, children: list[Any]) -> Tree:
    if isinstance(node, list):
        return children
    return type(node)(*children) if hasattr(node, "_fields") else tuple(children)


def _at(path: tuple[Any, ...]) -> str:
    return f" at {'/'.join(str(key) for key in path)}" if path else ""


def _describe(node: Tree) -> str:
    if isinstance(node, dict):
        return f"a dict of {', '.join(repr(key) for key in sorted(node)) or 'nothing'}"
    kind = type(node).__name__
    return f"a {kind} of {len(node)}" if isinstance(node, (list, tuple)) else "None" if node is None else kind
