"""Descriptions of objects: what is saved of them, and how they come back."""

import json
import math

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.config import Configurable, describe, find, register, restore, snake_case


@register("tests.config")
class Thing(Configurable):
    def __init__(self, value=None, *, other=None, **rest):
        self.value = value
        self.other = other
        self.rest = rest


@register("tests.config", name="named")
def function(x):
    return x


def there_and_back(thing):
    return restore(json.loads(json.dumps(describe(thing), allow_nan=False)))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2.5,
        math.inf,
        "text",
        [1, [2, "x"]],
        (1, (2,)),
        {"a": 1, "float": 2, "class": {"tuple": [3]}},
        [(), {}, []],
    ],
)
def test_values_come_back_as_they_were(value):
    back = there_and_back(Thing(value)).value
    assert back == value
    assert type(back) is type(value)


def test_numbers_of_numpy_come_back_as_pythons():
    back = there_and_back([np.int32(3), np.float64(0.1), np.float32("nan")])
    assert back[:2] == [3, 0.1]
    assert math.isnan(back[2])
    assert [type(item) for item in back] == [int, float, float]


def test_an_object_is_described_by_the_arguments_it_was_made_with():
    thing = Thing(1, other=[2], extra=3)
    thing.value = 99
    assert thing.get_config() == {"value": 1, "other": [2], "extra": 3}
    back = there_and_back(thing)
    assert (back.value, back.other, back.rest) == (1, [2], {"extra": 3})


def test_an_object_that_stands_twice_comes_back_as_one():
    inner = Thing(1)
    back = there_and_back(Thing([inner, inner], other={"again": inner, "equal": Thing(1)}))
    assert back.value[0] is back.value[1] is back.other["again"]
    assert back.other["equal"] is not back.value[0]


def test_functions_come_back_by_their_registered_name():
    assert describe(function) == {"function": "tests.config>named"}
    assert there_and_back(function) is function
    assert there_and_back(nn.functional.relu) is nn.functional.relu


def test_a_loss_and_a_metric_of_one_name_stay_apart():
    for thing in (nn.losses.MeanSquaredError(), nn.metrics.MeanSquaredError()):
        assert type(there_and_back(thing)) is type(thing)


def test_two_things_of_one_name_are_refused_but_a_cell_may_run_again():
    def make():
        @register("tests.again")
        class Cell(Configurable):
            pass

        return Cell

    make()
    latest = make()
    assert type(there_and_back(latest())) is latest
    with pytest.raises(ValueError, match=r"is registered already.*Choose another name="):
        register("tests.again", name="Cell")(function)


def test_names_not_registered_are_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"'tests.config>nmaed', which is not registered.*'tests.config>named'"
    ):
        restore({"function": "tests.config>nmaed"})


@pytest.mark.parametrize("name", ["elsewhere>Thing", "Thing"])
def test_custom_objects_serve_for_names_not_registered(name):
    description = {"class": "elsewhere>Thing", "config": {"value": 5}, "number": 0}
    assert restore(description, {name: Thing}).value == 5


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (object(), "A saved model cannot hold a object"),
        ({1: 2}, "dicts with text keys only"),
        (lambda x: x, "a lambda needs to become a named function"),
        (np.ones(2), "cannot hold a ndarray"),
    ],
)
def test_what_cannot_be_described_is_refused(thing, message):
    with pytest.raises(TypeError, match=message):
        describe(Thing(thing))


def test_arguments_without_names_are_refused():
    class Many(Configurable):
        def __init__(self, *values):
            self.values = values

    with pytest.raises(TypeError, match=r"Many takes \*values, which get_config cannot name"):
        Many(1, 2).get_config()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Dense", "dense"),
        ("LayerNormalization", "layer_normalization"),
        ("LSTM", "lstm"),
        ("L1L2", "l1_l2"),
        ("Top5Accuracy", "top5_accuracy"),
        ("Conv2D", "conv2d"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("GlobalMaxPooling1D", "global_max_pooling1d"),
        ("HTTPServer", "http_server"),
        ("_Private", "private"),
    ],
)
def test_class_names_are_written_as_the_field_writes_them(name, words):
    assert snake_case(name) == words


def test_a_name_is_found_however_it_is_capitalized_or_the_nearest_is_named():
    table = {"relu": 1, "tanh": 2}
    assert find("activation", "ReLU", table) == 1
    with pytest.raises(
        ValueError, match="Unknown activation 'rely'; the known ones are relu, tanh. Did you mean 'relu'"
    ):
        find("activation", "rely", table)
    with pytest.raises(ValueError, match="Unknown loss 3; the known ones"):
        find("loss", 3, table)
    with pytest.raises(TypeError, match=r"Expected an activation, got the class Thing. Make one: Thing\(\)"):
        find("activation", Thing, table)


def test_the_nearest_name_is_found_however_the_word_is_capitalized():
    with pytest.raises(ValueError, match="Unknown activation 'RELUU'.*Did you mean 'relu'"):
        find("activation", "RELUU", {"relu": 1, "tanh": 2})


def test_a_class_is_no_activation():
    with pytest.raises(TypeError, match=r"Expected an activation, got the class Dense\. Make one"):
        nn.Dense(1, activation=nn.Dense)
