"""Nested structures of arrays: dicts, lists, tuples, named tuples and None.

Dicts are walked in the order of their sorted keys, so that a tree means the same after a library has rebuilt it.

The walks are plain recursive functions: a closure that called itself would be a reference cycle, and would hold the
arrays of every training step until the garbage collector came by.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from nnbackend.typing import Tree

__all__ = ["Outline", "flatten", "leaves", "map", "unflatten"]


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

    Parameters
    ----------
    structure : tree of int
        As `flatten` returns it.

    Examples
    --------
    >>> outline = Outline(flatten({"a": 1, "b": {"c": 2, "d": None}})[1])
    >>> outline.leaves({"b": {"d": None, "c": 4}, "a": 3}), outline.leaves({"a": 3})
    ([3, 4], None)
    >>> outline.tree([5, 6])
    {'a': 5, 'b': {'c': 6, 'd': None}}
    """

    def __init__(self, structure: Tree) -> None:
        self.structure = structure
        self._branches: list[tuple[tuple[str, ...], int, Callable[[Any], Any], list[int], list[str]]] = []
        self._count = len(leaves(structure))
        self._of_dicts = self._read(structure, ())

    def _read(self, node: Tree, path: tuple[str, ...]) -> bool:
        """Note how the leaves of a branch are read; tell whether there are only dicts in it."""
        if not isinstance(node, dict):
            return False
        held = [key for key, child in node.items() if isinstance(child, int)]
        empty = [key for key, child in node.items() if child is None]
        getter = operator.itemgetter(*held) if len(held) > 1 else _several(held)
        self._branches.append((path, len(node), getter, [node[key] for key in held], empty))
        branches = [(key, child) for key, child in node.items() if key not in held and key not in empty]
        return all(self._read(child, (*path, key)) for key, child in branches)

    def leaves(self, tree: Tree) -> list[Any] | None:
        """Return the leaves of a tree in the order of `flatten`, or None if it has another structure.

        What stands at the place of a leaf may still be a branch.
        """
        if not self._of_dicts:
            found, structure = flatten(tree)
            return found if structure == self.structure else None
        held = [None] * self._count
        try:
            for path, count, getter, places, empty in self._branches:
                node = tree
                for key in path:
                    node = node[key]
                if type(node) is not dict or len(node) != count:
                    return None
                for place, leaf in zip(places, getter(node), strict=True):
                    held[place] = leaf
                for key in empty:
                    if node[key] is not None:
                        return None
        except (KeyError, TypeError):
            return None
        return held

    def tree(self, values: list[Any]) -> Tree:
        """Return a tree with these leaves."""
        return _filled(self.structure, values)


def _several(keys: list[str]) -> Callable[[Any], Any]:
    """Return what reads none or one item of a dict, as a list."""
    return lambda node: [node[key] for key in keys]


def _filled(node: Tree, values: list[Any]) -> Tree:
    """Put values where their places stand."""
    kind = type(node)
    if kind is int:
        return values[node]
    if kind is dict:
        return {
            key: values[child] if type(child) is int else _filled(child, values)
            for key, child in node.items()
        }
    return None if node is None else _sequence_like(node, [_filled(child, values) for child in node])


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
