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
    assert thing.get_config() == {"value": 1, "other": [2], "extra": 3}
    back = there_and_back(thing)
    assert (back.value, back.other, back.rest) == (1, [2], {"extra": 3})


def test_an_argument_that_was_set_since_is_told_as_it_is_now():
    thing = Thing(1, other=[2], extra=3)
    thing.value, thing.note = 99, "no argument"
    assert thing.get_config() == {"value": 99, "other": [2], "extra": 3}
    assert there_and_back(thing).value == 99
    assert repr(thing) == "Thing(value=99, other=[2], extra=3)"
    thing.value = 1
    assert thing.get_config()["value"] == 1


def test_what_an_init_makes_of_its_arguments_is_not_told():
    class Twice(Thing):
        def __init__(self, value):
            super().__init__(value=value)
            self.value = 2 * value

    thing = Twice(4)
    assert thing.get_config() == {"value": 4}
    assert type(thing).from_config(thing.get_config()).value == 8


def test_an_argument_of_a_base_that_the_class_does_not_take_cannot_be_set():
    class One(Thing):
        def __init__(self):
            super().__init__(1)

    with pytest.raises(
        TypeError, match=r"^One keeps value=1, which is no argument of its own.*Make another One; its arg"
    ):
        One().value = 2


@pytest.mark.parametrize(
    ("thing", "name", "value"),
    [
        (nn.optimizers.Adam(0.1), "beta_1", 0.5),
        (nn.optimizers.Adam(0.1), "learning_rate", 0.2),
        (nn.optimizers.SGD(0.1), "weight_decay", 0.25),
        (nn.losses.Huber(), "delta", 3.0),
        (nn.losses.MeanSquaredError(), "reduction", "sum"),
        (nn.metrics.BinaryAccuracy(), "threshold", 0.25),
        (nn.regularizers.L2(), "l2", 0.5),
        (nn.Dropout(0.5), "rate", 0.25),
        (nn.Dense(3), "activation", nn.functional.tanh),
    ],
)
def test_options_of_the_library_that_are_set_are_told(thing, name, value):
    setattr(thing, name, value)
    assert thing.get_config()[name] == value
    assert getattr(there_and_back(thing), name) == value


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


@pytest.mark.parametrize("package", ["nnbackend", "nnbackend.layers"])
def test_the_librarys_own_packages_are_not_for_others(package):
    with pytest.raises(
        ValueError, match=f"The package {package!r} is this library's own.*Choose a name of yours"
    ):

        @nn.register(package)
        def relu(x):
            return x
