"""Every option of every layer goes through JSON: a layer that is read from its description is the same one."""

import inspect
import json
from itertools import chain

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import layers, tree
from nnbackend.config import describe, restore

SEQUENCE, IMAGE, VOLUME = (2, 6, 4), (2, 6, 6, 4), (2, 4, 4, 4, 4)
#: Where the arguments go that a layer takes as ``**options`` but for those of the classes it is made from.
PASSED_ON = {
    "SimpleRNN": (layers.SimpleRNNCell, layers.RNN),
    "LSTM": (layers.LSTMCell, layers.RNN),
    "GRU": (layers.GRUCell, layers.RNN),
}
#: What is no argument of theirs: those of the helper between, and the cell, which they make.
NOT_PASSED_ON = {"kind", "options", "cell"}
#: What classes between take, and these do not: the shape follows from the rank.
FIXED = {f"SpatialDropout{rank}D": {"noise_shape"} for rank in (1, 2, 3)}
#: Values for arguments of these names, or of names that end so, that no row of the table gives.
VALUES = {
    "name": "mine",
    "dtype": "float64",
    "trainable": False,
    "activity_regularizer": nn.regularizers.L2(0.2),
    "initializer": nn.initializers.RandomUniform(0.2, 0.7),
    "regularizer": nn.regularizers.L1L2(0.1, 0.3),
    "constraint": nn.constraints.MaxNorm(1.5),
}


@nn.register("test_options")
def shifted(x, by=0.0):
    return x + by


def stack():
    return [layers.LSTMCell(3), layers.GRUCell(2)]


def rows():
    """Each class with shapes of its inputs, and sets of options that together have every argument."""
    yield layers.ELU, SEQUENCE, {"alpha": 0.4}
    yield layers.GLU, SEQUENCE, {"axis": 1}
    yield layers.Activation, SEQUENCE, {"activation": "gelu", "approximate": True}
    yield layers.LeakyReLU, SEQUENCE, {"negative_slope": 0.1}
    yield layers.PReLU, SEQUENCE, {"shared_axes": [1]}
    yield layers.ReLU, SEQUENCE, {"max_value": 0.8, "negative_slope": 0.1, "threshold": 0.2}
    yield layers.Softmax, SEQUENCE, {"axis": 1}
    for rank, shape in enumerate((SEQUENCE, IMAGE, VOLUME), 1):
        for kind in ("Average", "Max"):
            adaptive = {"output_size": 2 if rank == 1 else tuple(range(1, rank + 1))}
            yield getattr(layers, f"Adaptive{kind}Pooling{rank}D"), shape, adaptive
            plain = {"pool_size": 3, "strides": 1, "padding": "same"}
            yield getattr(layers, f"{kind}Pooling{rank}D"), shape, plain
            yield getattr(layers, f"Global{kind}Pooling{rank}D"), shape, {"keepdims": True}
        pairs = (1, 2) if rank == 1 else tuple((1, number) for number in range(rank))
        yield getattr(layers, f"Cropping{rank}D"), shape, {"cropping": pairs}
        yield getattr(layers, f"ZeroPadding{rank}D"), shape, {"padding": pairs}
        more = {"interpolation": "bilinear"} if rank == 2 else {}
        yield getattr(layers, f"UpSampling{rank}D"), shape, {"size": 3, **more}
        yield getattr(layers, f"SpatialDropout{rank}D"), shape, {"rate": 0.4}
        windows = {"kernel_size": 3, "padding": "same", "activation": "relu"}
        strided, spread = {"strides": 2, **windows}, {"dilation_rate": 2, "use_bias": False, **windows}
        filters = {"filters": 6}
        yield getattr(layers, f"Conv{rank}D"), shape, {"groups": 2, **filters, **strided}, filters | spread
        transposed = {"output_padding": 1, **filters, **strided}
        yield getattr(layers, f"Conv{rank}DTranspose"), shape, transposed, filters | spread
        if rank < 3:
            deep = {"depth_multiplier": 2}
            yield getattr(layers, f"DepthwiseConv{rank}D"), shape, deep | strided, spread
            yield getattr(layers, f"SeparableConv{rank}D"), shape, deep | filters | strided, filters | spread
    for name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"):
        yield getattr(layers, name), [SEQUENCE, SEQUENCE], {}
    yield layers.Concatenate, [SEQUENCE, (2, 3, 4)], {"axis": 1}
    yield layers.Dot, [SEQUENCE, (2, 3, 4)], {"axes": (2, 2), "normalize": True}
    yield layers.AlphaDropout, SEQUENCE, {"rate": 0.4, "noise_shape": (None, 1, 4)}
    yield layers.Dropout, SEQUENCE, {"rate": 0.4, "noise_shape": (None, 1, 4)}
    yield layers.GaussianDropout, SEQUENCE, {"rate": 0.4}
    yield layers.GaussianNoise, SEQUENCE, {"stddev": 0.4}
    yield layers.Flatten, SEQUENCE, {}
    yield layers.Identity, SEQUENCE, {}
    yield layers.Lambda, SEQUENCE, {"function": shifted, "arguments": {"by": 0.5}}
    yield layers.Permute, SEQUENCE, {"dims": (2, 1)}
    yield layers.RepeatVector, (2, 3), {"n": 2}
    yield layers.Reshape, SEQUENCE, {"target_shape": (3, -1)}
    yield (
        layers.Dense,
        SEQUENCE,
        {"units": 3, "activation": nn.functional.gelu},
        {"units": 3, "use_bias": False},
    )
    equation = {"equation": "abc,cd->abd", "output_shape": (None, 3), "activation": "tanh", "bias_axes": "d"}
    yield layers.EinsumDense, SEQUENCE, equation
    bilinear = {"units": 3, "activation": "tanh"}
    yield layers.Bilinear, ((2, 3), (2, 4)), bilinear, {**bilinear, "use_bias": False}
    yield layers.Embedding, "tokens", {"input_dim": 5, "output_dim": 3, "mask_zero": True}
    tokens = {"vocabulary_size": 5, "sequence_length": 7, "embedding_dim": 3, "mask_zero": True}
    yield layers.TokenAndPositionEmbedding, "tokens", tokens
    yield layers.PositionEmbedding, SEQUENCE, {"sequence_length": 7, "add": True}
    yield layers.SinusoidalPositionEncoding, SEQUENCE, {"max_wavelength": 50.0, "add": True}
    rotary = {"max_wavelength": 50.0, "scaling_factor": 2.0, "interleaved": True}
    yield layers.RotaryEmbedding, SEQUENCE, rotary
    scaled = {"axis": 1, "epsilon": 0.2, "center": False}, {"scale": False}
    yield layers.BatchNormalization, SEQUENCE, {"momentum": 0.6, **scaled[0]}, scaled[1]
    yield layers.LayerNormalization, SEQUENCE, *scaled
    yield layers.InstanceNormalization, SEQUENCE, *scaled
    yield layers.GroupNormalization, SEQUENCE, {"groups": 3, **scaled[0]}, {"groups": 2, **scaled[1]}
    yield layers.RMSNormalization, SEQUENCE, {"axis": 1, "epsilon": 0.2}
    yield layers.UnitNormalization, SEQUENCE, {"axis": 1}
    known = {"axis": 2, "mean": [0.1, 0.2, 0.3, 0.4], "variance": [1.0, 2.0, 3.0, 4.0], "invert": True}
    yield layers.Normalization, SEQUENCE, known
    yield layers.SpectralNormalization, SEQUENCE, {"layer": layers.Dense(3), "power_iterations": 2}
    yield layers.Attention, [SEQUENCE, (2, 3, 4)], {"use_scale": True, "score_mode": "concat", "dropout": 0.3}
    yield layers.AdditiveAttention, [SEQUENCE, (2, 3, 4)], {"use_scale": False, "dropout": 0.3}
    heads = {"num_heads": 2, "key_dim": 3, "value_dim": 5, "dropout": 0.3, "output_shape": 7}
    heads["attention_axes"] = (1,)
    chunks = {"num_heads": 2, "key_dim": 3, "use_bias": False, "chunk_size": 2}
    yield layers.MultiHeadAttention, ((2, 6, 4), (2, 3, 4)), heads, chunks
    groups = {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2}
    yield (
        layers.GroupQueryAttention,
        ((2, 6, 4), (2, 3, 4)),
        {"dropout": 0.3, **groups},
        {
            "use_bias": False,
            "chunk_size": 2,
            **groups,
        },
    )
    block = {"intermediate_dim": 5, "num_heads": 2, "activation": "gelu", "layer_norm_epsilon": 0.1}
    for kind in (layers.TransformerEncoder, layers.TransformerDecoder):
        yield kind, SEQUENCE, {"dropout": 0.3, "normalize_first": True, **block}, {"chunk_size": 2, **block}
    dropped = {"units": 3, "activation": "sigmoid", "dropout": 0.3, "recurrent_dropout": 0.2}
    linear = {"units": 3, "activation": None, "use_bias": False}
    cells = {
        "SimpleRNN": {},
        "LSTM": {"recurrent_activation": "tanh", "unit_forget_bias": False},
        "GRU": {"recurrent_activation": "tanh", "reset_after": False},
    }
    carried = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "zero_output_for_mask": True,
    }
    stateful = {"stateful": True, "batch_size": 2}
    for name, more in cells.items():
        states = [(2, 3)] * (2 if name == "LSTM" else 1)
        yield getattr(layers, f"{name}Cell"), ((2, 4), *states), dropped | more, linear
        yield getattr(layers, name), SEQUENCE, dropped | more | carried, linear | stateful
    yield layers.StackedRNNCells, ((2, 4), (2, 3), (2, 3), (2, 2)), {"cells": stack()}
    yield (
        layers.RNN,
        SEQUENCE,
        {"cell": stack(), **carried},
        {
            "cell": layers.StackedRNNCells(stack()),
            **stateful,
        },
    )
    back = layers.LSTM(3, use_bias=False, go_backwards=True)
    yield (
        layers.Bidirectional,
        SEQUENCE,
        {"layer": layers.LSTM(3), "merge_mode": "sum", "backward_layer": back},
    )
    yield layers.TimeDistributed, IMAGE, {"layer": layers.Dense(3, "tanh")}
    yield layers.Masking, SEQUENCE, {"mask_value": 0.5}


def arguments_of(kind):
    """The arguments a class takes and their defaults, with those that it passes on."""
    found = {}
    classes = chain(kind.__mro__, *(each.__mro__ for each in PASSED_ON.get(kind.__name__, ())))
    passing = True
    for base in classes:
        if base in PASSED_ON.get(kind.__name__, ()):
            passing = True
        if not passing or "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        kinds = {each.kind for each in parameters}
        for each in parameters:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                found.setdefault(each.name, each.default)
        passing = inspect.Parameter.VAR_KEYWORD in kinds
    if kind.__name__ in PASSED_ON:
        found = {name: default for name, default in found.items() if name not in NOT_PASSED_ON}
    return {name: default for name, default in found.items() if name not in FIXED.get(kind.__name__, ())}


def with_common(kind, options):
    """The options of a row, and the common values of what else the class takes."""
    common = {}
    for name in arguments_of(kind):
        value = VALUES.get(name, VALUES.get(name.rpartition("_")[2]))
        if value is not None:
            common[name] = value
    return common | options


TABLE = [(kind, shapes, with_common(kind, each)) for kind, shapes, *sets in rows() for each in sets]
CLASSES = {
    name: thing
    for name in layers.__all__
    if isinstance(thing := getattr(layers, name), type)
    and issubclass(thing, nn.Layer)
    and thing is not nn.Layer
}


def inputs_of(shapes, rng):
    """What a layer is called on: arrays one by one, or one list of them."""
    if shapes == "tokens":
        return [rng.integers(0, 5, (2, 6))]
    if isinstance(shapes, list):
        return [[rng.normal(size=shape) for shape in shapes]]
    several = shapes if isinstance(shapes[0], tuple) else (shapes,)
    return [rng.normal(size=shape) for shape in several]


def hosted(value):
    return [nn.to_numpy(part) for part in tree.flatten(value)[0]]


def test_the_table_has_every_argument_of_every_layer_with_another_value():
    missing = []
    for name, kind in CLASSES.items():
        given = [options for each, _, options in TABLE if each is kind]
        for argument, default in arguments_of(kind).items():
            values = [options[argument] for options in given if argument in options]
            if all(type(value) is type(default) and value == default for value in values):
                missing.append(f"{name}({argument}=)")
    assert not missing


@pytest.mark.parametrize("name", FIXED)
def test_what_is_fixed_is_no_argument(name):
    for argument in FIXED[name]:
        with pytest.raises(TypeError, match=argument):
            CLASSES[name](0.5, **{argument: None})


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_every_argument_has_a_name(kind):
    """One without could not be described."""
    kinds = {each.kind for each in inspect.signature(kind).parameters.values()}
    assert inspect.Parameter.VAR_POSITIONAL not in kinds


@pytest.mark.parametrize(
    ("kind", "shapes", "options"), TABLE, ids=[f"{kind.__name__}-{n}" for n, (kind, *_) in enumerate(TABLE)]
)
def test_a_layer_with_all_its_options_is_read_from_json(kind, shapes, options, backend, rng):
    if backend.name != "numpy":
        pytest.skip("descriptions have no arrays of a library")
    layer = kind(**options)
    description = describe(layer)
    assert set(description["config"]) == set(options)
    made = restore(json.loads(json.dumps(description)))
    assert type(made) is kind
    assert describe(made) == description
    inputs = inputs_of(shapes, rng)
    for training in (
        True,
        False,
    ):  # the first draws weights and what is dropped, the second uses new statistics
        expected = hosted(layer(*inputs, training=training))
        for one, other in zip(expected, hosted(made(*inputs, training=training)), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    places = list(zip(layer.named_parameters(), made.named_parameters(), strict=True))
    for (path, parameter, trains), (other_path, other, other_trains) in places:
        assert (path, parameter.shape, trains) == (other_path, other.shape, other_trains)
        assert describe(parameter.regularizer) == describe(other.regularizer)
        assert describe(parameter.constraint) == describe(other.constraint)
