"""Nested structures of arrays: dicts, lists, tuples, named tuples and None.

Dicts are walked in the order of their sorted keys, so that a tree means the same after a library has rebuilt it.

The walks are plain recursive functions: a closure that called itself would be a reference cycle, and would hold the
arrays of every training step until the garbage collector came by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend.typing import Tree

__all__ = ["flatten", "leaves", "map", "unflatten"]


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
