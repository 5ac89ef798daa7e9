"""Nested structures of arrays: dicts, lists, tuples, named tuples and None.

Dicts are walked in the order of their sorted keys, so that a tree means the same after a library has rebuilt it.
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

    def visit(node: Tree) -> Tree:
        if node is None or isinstance(node, (dict, list, tuple)):
            return _rebuild(node, visit)
        found.append(node)
        return len(found) - 1

    return found, visit(tree)


def unflatten(structure: Tree, values: list[Any]) -> Tree:
    """Put `values` at the places that `flatten` found."""
    return map(values.__getitem__, structure)


def leaves(tree: Tree) -> list[Any]:
    """Return the leaves of `tree`, in the order of `flatten`."""
    return flatten(tree)[0]


def map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to the leaves of `tree`, and of `others` that have the same structure.

    Examples
    --------
    >>> map(lambda x, y: x + y, {"a": (1, 2)}, {"a": (10, 20)})
    {'a': (11, 22)}
    """
    if tree is None or isinstance(tree, (dict, list, tuple)):
        return _rebuild(tree, lambda node, *rest: map(function, node, *rest), *others)
    return function(tree, *others)


def _rebuild(node: Tree, visit: Callable[..., Any], *others: Tree) -> Tree:
    """Return a structure like `node` whose children are what `visit` makes of them."""
    if node is None:
        return None
    if isinstance(node, dict):
        return {key: visit(node[key], *(other[key] for other in others)) for key in sorted(node)}
    children = [visit(*parts) for parts in zip(node, *others, strict=True)]
    if isinstance(node, list):
        return children
    return type(node)(*children) if hasattr(node, "_fields") else tuple(children)
