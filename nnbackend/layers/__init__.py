"""Layers: parameters, shapes and names around the mathematics of `nnbackend.functional`."""

from nnbackend.layers.base import Binding, Layer, Parameter
from nnbackend.layers.core import Activation, Dense, Dropout, Flatten
from nnbackend.layers.graph import Input
from nnbackend.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from nnbackend.layers.recurrent_cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from nnbackend.layers.sequences import Bidirectional, Masking, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Bidirectional",
    "Binding",
    "Dense",
    "Dropout",
    "Flatten",
    "GRUCell",
    "Input",
    "LSTMCell",
    "Layer",
    "Masking",
    "Parameter",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "TimeDistributed",
]
