"""Trees: nested dicts, lists, tuples, named tuples and None."""

import gc
from typing import NamedTuple

import pytest

from nnbackend import tree


class Pair(NamedTuple):
    first: object
    second: object


def test_a_tree_is_walked_in_the_order_of_its_keys_and_filled_again():
    nested = {"b": [1, (2, None)], "a": Pair(3, {"z": 4, "y": 5})}
    leaves, structure = tree.flatten(nested)
    assert leaves == [3, 5, 4, 1, 2] == tree.leaves(nested)
    assert tree.unflatten(structure, leaves) == nested
    assert isinstance(tree.unflatten(structure, leaves)["a"], Pair)


def test_trees_are_mapped_together():
    assert tree.map(lambda a, b: a + b, {"x": [1, 2], "n": None}, {"n": None, "x": (10, 20)}) == {
        "n": None,
        "x": [11, 22],
    }


@pytest.mark.parametrize(
    ("other", "wording"),
    [
        ({"a": {"x": 1, "z": 2}}, "differ at a: expected a dict of 'x', got a dict of 'x', 'z'"),
        ({"a": {"y": 1}}, "differ at a: expected a dict of 'x', got a dict of 'y'"),
        ({"a": [1]}, "differ at a: expected a dict of 'x', got a list of 1"),
        ({"a": 1}, "differ at a: expected a dict of 'x', got int"),
        ({"a": None}, "differ at a: expected a dict of 'x', got None"),
        ({}, "differ: expected a dict of 'a', got a dict of nothing"),
    ],
)
def test_trees_of_other_structure_are_refused(other, wording):
    with pytest.raises(ValueError, match=wording):
        tree.map(lambda a, b: a, {"a": {"x": 1}}, other)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="expected a list of 1, got a tuple of 2"):
        tree.map(lambda a, b: a, [1], (1, 2))


def test_trees_that_differ_in_a_few_leaves_are_made_apart():
    nested = {"b": [1, (2, None)], "a": Pair(3, {"z": 4, "y": 5}), "c": {}}
    leaves, structure = tree.flatten(nested)
    fill = tree.filler(structure, leaves, [leaves.index(4), leaves.index(2)])
    first, second = fill([40, 20]), fill([41, 21])
    assert first == {"b": [1, (20, None)], "a": Pair(3, {"z": 40, "y": 5}), "c": {}}
    assert second == {"b": [1, (21, None)], "a": Pair(3, {"z": 41, "y": 5}), "c": {}}
    assert isinstance(first["a"], Pair)
    assert list(first["a"].second) == ["y", "z"]
    first["b"].append(0)
    first["c"]["more"] = 0
    assert fill([41, 21]) == second


def test_trees_may_share_the_branches_in_which_they_do_not_differ():
    fill = tree.filler({"a": {"b": [0], "c": 1}, "d": {"e": 2, "f": {}}}, "xyz", [1], shares=True)
    first, second = fill([4]), fill([5])
    assert first == {"a": {"b": ["x"], "c": 4}, "d": {"e": "z", "f": {}}}
    assert second == {"a": {"b": ["x"], "c": 5}, "d": {"e": "z", "f": {}}}
    assert first["d"] is second["d"]
    assert first["a"]["b"] is second["a"]["b"]


def test_walking_a_tree_leaves_nothing_to_the_garbage_collector():
    nested = {"a": [object(), (object(),)]}
    gc.collect()
    gc.disable()
    try:
        leaves, structure = tree.flatten(nested)
        tree.map(lambda a, b: a, tree.unflatten(structure, leaves), nested)
        assert gc.collect() == 0
    finally:
        gc.enable()


ODD = [
    {},
    {"a": 1},
    {"b": 2, "a": {"d": 3, "c": {}, "e": None}},
    {"a": [1, (2, None), {"x": 3}], "b": Pair(4, {"y": 5})},
    (1, 2),
    None,
    7,
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_an_outline_takes_trees_apart_and_puts_them_together(number):
    node = ODD[number]
    found, structure = tree.flatten(node)
    outline = tree.Outline(structure)
    assert outline.leaves(node) == tuple(found)
    assert outline.tree(found) == node
    assert tree.flatten(outline.tree(found))[1] == structure
    for other in (other for other in ODD if other != node):
        leaves = outline.leaves(other)
        assert leaves is None or any(isinstance(leaf, (dict, list, tuple, type(None))) for leaf in leaves)


def test_an_outline_of_a_part_counts_its_own_leaves():
    found, structure = tree.flatten([{"a": 1, "b": 2}, (3, {"d": 5, "c": 4})])
    outline = tree.Outline(structure[1])
    assert outline.leaves((6, {"c": 7, "d": 8})) == (6, 7, 8)
    assert outline.tree(found[2:]) == (3, {"c": 4, "d": 5})


def test_an_outline_refuses_what_has_other_branches():
    outline = tree.Outline(tree.flatten({"a": {"b": 1, "c": None}, "d": {}})[1])
    assert outline.leaves({"a": {"b": 1, "c": None}, "d": {}}) == (1,)
    for other in (
        {"a": {"b": 1, "c": 2}, "d": {}},
        {"a": {"b": 1, "c": None}, "d": {"e": 1}},
        {"a": {"b": 1}, "d": {}},
        {"a": {"b": 1, "c": None}},
        {"a": [1, None], "d": {}},
        {"a": {"b": 1, "c": None, "f": 1}, "d": {}},
        None,
    ):
        assert outline.leaves(other) is None
