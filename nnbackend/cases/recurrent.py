"""Recurrent rules and layers."""

from __future__ import annotations

from typing import Any

from nnbackend.cases.base import Case, Input, LayerCase, flag, real
from nnbackend.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    GRUCell,
    LSTMCell,
    Masking,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    TimeDistributed,
)

__all__ = ["CASES"]

_N, _T, _C, _U = 3, 4, 2, 5
_X = real(_N, _T, _C)
_STATE = real(_N, _U, low=-1.0, high=1.0)
_MASK = flag(_N, _T)
_KEEP = flag(_N, _U)


def _weights(gates: int, *rows: int) -> tuple[Input, ...]:
    """Kernel, recurrent kernel and bias."""
    wide = gates * _U
    return real(_C, wide, low=-1.0, high=1.0), real(_U, wide, low=-0.5, high=0.5), real(*rows, wide)


def _rule(name: str, weights: tuple[Input, ...], states: int, **options: Any) -> tuple[Case, ...]:
    """Return a rule's cases: as it is, without initial states, and with mask and recurrent dropout."""
    arguments = (_X, *weights, *[_STATE] * states)
    variant = "reset before" if options else ""
    return (
        Case(name, arguments, options, variant),
        Case(name, (_X, *weights), options, f"{variant} from zeros".strip()),
        Case(
            name,
            (*arguments, _MASK, _KEEP),
            {**options, "recurrent_dropout": 0.4},
            f"{variant} masked".strip(),
        ),
    )


_SEQUENCES: dict[str, Any] = {"return_sequences": True, "return_state": True}

CASES: tuple[Case | LayerCase, ...] = (
    *_rule("simple_rnn", _weights(1), 1),
    *_rule("lstm", _weights(4), 2),
    *_rule("gru", _weights(3, 2), 1),
    *_rule("gru", _weights(3), 1, reset_after=False),
    LayerCase(lambda: SimpleRNNCell(5), (real(3, 2), _STATE)),
    LayerCase(lambda: SimpleRNNCell(5, use_bias=False), (real(3, 2), _STATE), "without bias"),
    LayerCase(lambda: LSTMCell(5), (real(3, 2), _STATE, _STATE)),
    LayerCase(
        lambda: LSTMCell(5, "sigmoid", "tanh", unit_forget_bias=False),
        (real(3, 2), _STATE, _STATE),
        "other activations",
    ),
    LayerCase(lambda: GRUCell(5), (real(3, 2), _STATE)),
    LayerCase(lambda: GRUCell(5, reset_after=False), (real(3, 2), _STATE), "reset before"),
    LayerCase(
        lambda: GRUCell(5, use_bias=False, dropout=0.3, recurrent_dropout=0.3),
        (real(3, 2), _STATE),
        "dropout",
        training=True,
    ),
    LayerCase(
        lambda: StackedRNNCells([LSTMCell(5), GRUCell(4)]),
        (real(3, 2), _STATE, _STATE, real(3, 4, low=-1.0, high=1.0)),
    ),
    LayerCase(lambda: RNN(GRUCell(5, "sigmoid"), **_SEQUENCES), (_X,), "by steps", mask=_MASK),
    LayerCase(
        lambda: RNN([LSTMCell(5), SimpleRNNCell(4)], **_SEQUENCES, go_backwards=True), (_X,), "of a stack"
    ),
    LayerCase(lambda: RNN([LSTMCell(5), LSTMCell(4, "sigmoid")]), (_X,), "of a stack by steps", mask=_MASK),
    LayerCase(lambda: SimpleRNN(5), (_X,)),
    LayerCase(lambda: SimpleRNN(5, None, **_SEQUENCES), (_X, _STATE), "linear from a state"),
    LayerCase(lambda: LSTM(5), (_X,)),
    LayerCase(lambda: LSTM(5, **_SEQUENCES), (_X, _STATE, _STATE), "from states", mask=_MASK),
    LayerCase(
        lambda: LSTM(5, return_sequences=True, go_backwards=True, zero_output_for_mask=True),
        (_X,),
        "backwards",
        mask=_MASK,
    ),
    LayerCase(
        lambda: LSTM(5, dropout=0.3, recurrent_dropout=0.4, use_bias=False), (_X,), "dropout", training=True
    ),
    LayerCase(
        lambda: LSTM(5, stateful=True, batch_size=3), (_X,), "stateful", training=True, fixed_batch=True
    ),
    LayerCase(
        lambda: LSTM(
            5,
            kernel_initializer="he_normal",
            recurrent_initializer="lecun_uniform",
            bias_initializer="ones",
            kernel_regularizer="l2",
            recurrent_regularizer="l2",
            bias_regularizer="l1",
            kernel_constraint="non_neg",
            recurrent_constraint="unit_norm",
            bias_constraint="max_norm",
            unit_forget_bias=False,
        ),
        (_X,),
        "initializers",
    ),
    LayerCase(lambda: GRU(5), (_X,)),
    LayerCase(lambda: GRU(5, reset_after=False, **_SEQUENCES), (_X,), "reset before", mask=_MASK),
    LayerCase(lambda: GRU(5, recurrent_dropout=0.4, return_sequences=True), (_X,), "dropout", training=True),
    LayerCase(lambda: Bidirectional(LSTM(5, **_SEQUENCES)), (_X,), mask=_MASK),
    LayerCase(lambda: Bidirectional(GRU(5), "sum"), (_X, _STATE, _STATE), "sum from states"),
    LayerCase(
        lambda: Bidirectional(
            SimpleRNN(5), "mul", backward_layer=SimpleRNN(5, use_bias=False, go_backwards=True)
        ),
        (_X,),
        "mul of two",
    ),
    LayerCase(lambda: Bidirectional(SimpleRNN(5), "ave"), (_X,), "ave"),
    LayerCase(lambda: Bidirectional(SimpleRNN(5), None), (_X,), "both"),
    LayerCase(lambda: TimeDistributed(Dense(3, "tanh")), (_X,)),
    LayerCase(lambda: Masking(0.5), (_X,)),
)
