"""Recurrent layers: cells carried through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnbackend import functional
from nnbackend.arguments import positive_integer
from nnbackend.autodiff import Tensor
from nnbackend.backend import host
from nnbackend.functional.rules import floating_like, zeros
from nnbackend.layers.base import Layer, Parameter
from nnbackend.layers.masks import mask_as_booleans
from nnbackend.layers.recurrent_cells import (
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    draw_keeps,
    flat,
    know_output,
    output_shape,
    state_shapes,
)
from nnbackend.layers.recurrent_loop import broad, looped, masked_step
from nnbackend.typing import Shape

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


class RNN(Layer):
    r"""Carry a cell, any layer that has states, through the steps of a sequence.

    .. math:: y_t, s_t = \mathrm{cell}(x_t, s_{t-1})

    Parameters
    ----------
    cell : Layer, or list of Layer
        The cell, or several on top of each other (`StackedRNNCells`). A cell of one's own is a layer with a
        ``state_size`` (a number of units, a shape, or a list of these), perhaps an ``output_size`` (that of the
        first state without one), and a ``forward(inputs, states)`` that takes the inputs of one step and a list of
        states, and returns the output and the new states.
    return_sequences : bool
        Whether to return the outputs of all steps, (n, t, units), or that of the last, (n, units).
    return_state : bool
        Whether to return the states after the last step, too: ``outputs, *states``.
    go_backwards : bool
        Whether to take the steps from the last to the first. The outputs then stand in that order, as in Keras.
    stateful : bool
        Whether the states after a batch are those that the next one starts from, in training and prediction, until
        `reset_states`.
    batch_size : int, optional
        How many samples each batch has; needed where `stateful`.
    zero_output_for_mask : bool
        Whether outputs at masked steps are zero; without it they repeat the one before. Where only the last output
        is returned it makes no difference.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    cell : Layer
        The cell; it holds the weights.
    states : list of Parameter
        What a stateful layer carries from batch to batch.

    Raises
    ------
    TypeError
        If `cell` is no cell.
    ValueError
        If `stateful` comes without `batch_size`, or a batch is of another size; if there is no step; or if initial
        states or the mask do not fit.

    Notes
    -----
    Inputs have the shape (n, t, ...). Called as ``layer(x, mask=mask)`` with a boolean mask of shape (n, t), steps
    where it is False, or zero in a mask of numbers, leave the states as they are. ``layer(x, initial_state=states)``,
    one state or a list, or ``layer(x, *states)``, starts from these; gradients flow into them. Before the first step
    that is not masked the output that is repeated is the initial state; where the cell has an output of its own,
    zeros.

    The library's cells with their usual activations are run as one rule over the whole sequence
    (`nnbackend.functional.lstm` and the like); any others step by step.

    Examples
    --------
    >>> import nnbackend as nn
    >>> class Sum(nn.Layer):
    ...     state_size = 1
    ...
    ...     def forward(self, inputs, states):
    ...         total = states[0] + inputs
    ...         return total, [total]
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0], [2.0], [3.0]]])
    >>> nn.RNN(Sum(), return_sequences=True)(x)
    array([[[1.],
            [3.],
            [6.]]], dtype=float32)
    """

    def __init__(
        self,
        cell: Layer | Sequence[Layer],
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        batch_size: int | None = None,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        made: Any = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        if not isinstance(made, Layer):
            raise TypeError(f"{owner} expects a cell, which is a layer, got {type(made).__name__}.")
        self.cell: Layer = made
        self._shapes = state_shapes(made)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        if stateful and batch_size is None:
            raise ValueError(
                f"{owner} with stateful=True carries the states of each sample to the next batch. Say how many "
                "samples a batch has: batch_size=32."
            )
        self.batch_size = None if batch_size is None else positive_integer(owner, "batch_size", batch_size)
        self.zero_output_for_mask = zero_output_for_mask
        self.states: list[Parameter] = []

    def check_input(self, input_shape: Any) -> None:
        """Refuse what is no sequence, or not one that the cell takes."""
        super().check_input(input_shape)
        if len(input_shape) < 2 or input_shape[0] == 0:
            came = ", ".join(["n", *map(str, input_shape)])
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects sequences of at least one step, inputs of shape "
                f"(n, t, c), got ({came}). Check the layer before it."
            )

    def build(self, input_shape: Shape, *shapes: Any) -> None:
        """Build the cell for the inputs of one step, and make the states that are carried from batch to batch."""
        self.cell.build(tuple(input_shape[1:]))
        know_output(self.cell)
        if self.stateful and self.batch_size is not None:
            self.states = [
                self.add_weight(f"state_{number}", (self.batch_size, *shape), "zeros", trainable=False)
                for number, shape in enumerate(self._shapes)
            ]

    def compute_output_shape(self, input_shape: Shape, *shapes: Any) -> Any:
        """Return the shape of the outputs, and with `return_state` a list of it and those of the states."""
        shape = output_shape(self.cell)
        if self.return_sequences:
            shape = (input_shape[0], *shape)
        return [shape, *self._shapes] if self.return_state else shape

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the mask where all outputs are returned; the last one and the states have none."""
        own = mask_as_booleans(mask) if self.return_sequences and mask is not None else None
        if own is not None and self.go_backwards:
            own = functional.flip(own, axis=1)
        return [own, *(None for _ in self._shapes)] if self.return_state else own

    def forward(
        self, x: Any, *states: Any, initial_state: Any = None, training: bool = False, mask: Any = None
    ) -> Any:
        """Return the outputs, and the states after the last step where they are asked for."""
        if self.stateful and x.shape[0] != self.batch_size:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} carries the states of {self.batch_size} samples from batch to "
                f"batch, got a batch of {x.shape[0]}. Leave out the last, smaller batch, or pass stateful=False."
            )
        mask = self._checked(mask, x)
        if self.go_backwards:
            x = functional.flip(x, axis=1)
            mask = None if mask is None else functional.flip(mask, axis=1)
        keeps = draw_keeps(self.cell, x.shape[0], x.shape[-1], training)
        run = self._run if isinstance(self.cell, Cell) and self.cell.runs else self._run_by_steps
        outputs, last, new = run(x, self._first_states(x, flat(states) or flat(initial_state)), mask, keeps)
        for carried, state in zip(self.states, new, strict=False):
            carried.assign(state.detach() if isinstance(state, Tensor) else state)
        if self.return_sequences and self.zero_output_for_mask and mask is not None:
            outputs = functional.where(broad(mask, outputs), outputs, 0.0)
        y = outputs if self.return_sequences else last
        return (y, *new) if self.return_state else y

    def _checked(self, mask: Any, x: Any) -> Any:
        """Return a mask as booleans; refuse one that is not of the shape of the steps, which might broadcast."""
        wanted = tuple(x.shape[:2])
        came = wanted if mask is None else tuple(mask.shape)
        if came != wanted:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects a mask of shape (n, t) = {wanted}, got {came}. It says "
                "of each step of each sample whether it counts."
            )
        return None if mask is None else mask_as_booleans(mask)

    def _first_states(self, x: Any, given: list[Any]) -> list[Any]:
        """Return the states that the first step starts from: those given, those carried, or zeros."""
        count = x.shape[0]
        if not given:
            return list(self.states) or [Tensor(zeros((count, *shape), x)) for shape in self._shapes]
        wanted = [(count, *shape) for shape in self._shapes]
        came = [tuple(state.shape) for state in given]
        if came != wanted:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects initial states of shapes {wanted}, got {came}. Pass one "
                "for each state of the cell, in a list."
            )
        return [floating_like(state, x) for state in given]

    def _run(self, x: Any, states: list[Any], mask: Any, keeps: Any) -> tuple[Any, Any, list[Any]]:
        """Run the whole sequence as one rule; return all outputs, the last one, and the states after it."""
        assert isinstance(self.cell, Cell)
        outputs, new = self.cell.run(x, states, mask, keeps)
        return outputs, new[-len(state_shapes(_highest(self.cell)))], new

    def _run_by_steps(self, x: Any, states: list[Any], mask: Any, keeps: Any) -> tuple[Any, Any, list[Any]]:
        """Take one step after the other; return all outputs, the last one, and the states after it."""
        highest = _highest(self.cell)
        # what a first step repeats that is masked: the state that the cells of the library show, else zeros
        before = states[-len(state_shapes(highest))] if isinstance(highest, Cell) else None
        found = looped(self.cell, x, mask, before, states, keeps)
        if found is not None:
            return found
        outputs: list[Any] = []
        valid = None if mask is None else functional.unstack(mask, axis=1)
        for t, inputs in enumerate(functional.unstack(x, axis=1)):
            now = None if valid is None else valid[t]
            before, states = masked_step(self.cell, inputs, now, before, states, keeps)
            outputs.append(before)
        sequence = functional.stack(outputs, axis=1) if self.return_sequences else None
        return sequence, before, states

    def reset_states(self) -> None:
        """Set the states that are carried from batch to batch back to zero.

        Raises
        ------
        ValueError
            If the layer is not stateful.
        """
        if not self.stateful:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} carries no states from batch to batch. Make it with "
                "stateful=True."
            )
        for state in self.states:
            state.assign(host().xp.zeros(state.shape))


def _highest(cell: Layer) -> Layer:
    """Return the cell whose output is the output: the highest of a stack."""
    return _highest(cell.cells[-1]) if isinstance(cell, StackedRNNCells) else cell


#: The arguments of `RNN` and `Layer`; the others are the cell's.
_OF_THE_LAYER = frozenset(
    "return_sequences return_state go_backwards stateful batch_size zero_output_for_mask "
    "name dtype trainable activity_regularizer".split()
)


class _OfUnits(RNN):
    """What the layers share that are made with the arguments of their cell."""

    expects = "t c"
    fixed = ("c",)

    def __init__(self, kind: type[Layer], options: dict[str, Any]) -> None:
        known = kind._configured | _OF_THE_LAYER
        self._refuse_unknown([name for name in options if name not in known], known)
        of_the_cell = {name: value for name, value in options.items() if name not in _OF_THE_LAYER}
        own = {name: value for name, value in options.items() if name in _OF_THE_LAYER}
        super().__init__(kind(**of_the_cell), **own)

    @property
    def units(self) -> int:
        """The number of units of the output."""
        assert isinstance(self.cell, (SimpleRNNCell, LSTMCell, GRUCell))
        return self.cell.units


class SimpleRNN(_OfUnits):
    r"""Elman's recurrent network: the next state is a function of the inputs and the present one.

    .. math:: h_t = f(x_t W + h_{t-1} R + b)

    Parameters
    ----------
    units : int
        How many numbers the state h has.
    activation : str or callable, optional
        :math:`f`; none leaves it linear. With tanh the sequence is run by one rule, `nnbackend.functional.simple_rnn`.
    **options
        The other arguments of `SimpleRNNCell` (``use_bias``, initializers, regularizers, constraints,
        ``dropout``, ``recurrent_dropout``), those of `RNN` (``return_sequences``, ``return_state``, ``go_backwards``,
        ``stateful``, ``batch_size``, ``zero_output_for_mask``), and ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    cell : SimpleRNNCell
        It holds kernel (c, units), recurrent_kernel (units, units) and bias (units,).

    Notes
    -----
    Inputs have the shape (n, t, c), outputs (n, units), or (n, t, units) with ``return_sequences=True``. Masks and
    initial states are those of `RNN`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.SimpleRNN(4, return_sequences=True)(nn.get_backend("numpy").xp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    def __init__(
        self, units: int, activation: str | Callable[..., Any] | None = "tanh", **options: Any
    ) -> None:
        super().__init__(SimpleRNNCell, {"units": units, "activation": activation, **options})


class LSTM(_OfUnits):
    r"""Long short-term memory: gates decide what the state takes in, keeps and shows.

    .. math::

        i_t &= \sigma(x_t W_i + h_{t-1} R_i + b_i), \qquad f_t = \sigma(x_t W_f + h_{t-1} R_f + b_f) \\
        g_t &= a(x_t W_c + h_{t-1} R_c + b_c), \qquad\; o_t = \sigma(x_t W_o + h_{t-1} R_o + b_o) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t, \qquad\;\; h_t = o_t \odot a(c_t)

    Parameters
    ----------
    units : int
        How many numbers each of the states h and c has.
    activation : str or callable, optional
        :math:`a`; none leaves it linear.
    recurrent_activation : str or callable, optional
        :math:`\sigma`, that of the gates. With tanh and sigmoid the sequence is run by one rule,
        `nnbackend.functional.lstm`, which has the derivatives, too.
    **options
        The other arguments of `LSTMCell` (``unit_forget_bias``, ``use_bias``, initializers, regularizers, constraints,
        ``dropout``, ``recurrent_dropout``), those of `RNN` (``return_sequences``, ``return_state``,
        ``go_backwards``, ``stateful``, ``batch_size``, ``zero_output_for_mask``), and ``name``, ``dtype`` and
        ``trainable`` of `Layer`.

    Attributes
    ----------
    cell : LSTMCell
        It holds kernel (c, 4 * units), recurrent_kernel (units, 4 * units) and bias (4 * units,), their columns in
        Keras's order of the gates: i, f, c, o.

    Notes
    -----
    Inputs have the shape (n, t, c), outputs (n, units), or (n, t, units) with ``return_sequences=True``; with
    ``return_state=True`` the states h and c follow. Masks and initial states are those of `RNN`. The first kernel is
    Glorot's uniform, the first recurrent kernel orthogonal, the first bias zero but for the forget gate's, which is
    one, as in Keras; PyTorch draws all from :math:`U(-1/\sqrt{units}, 1/\sqrt{units})` and has two biases, which add
    up.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997),
    https://doi.org/10.1162/neco.1997.9.8.1735

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.ones((2, 5, 3))
    >>> outputs, h, c = nn.LSTM(4, return_sequences=True, return_state=True)(x)
    >>> outputs.shape, h.shape, c.shape
    ((2, 5, 4), (2, 4), (2, 4))
    """

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = "tanh",
        recurrent_activation: str | Callable[..., Any] | None = "sigmoid",
        **options: Any,
    ) -> None:
        functions = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(LSTMCell, {"units": units, **functions, **options})


class GRU(_OfUnits):
    r"""Gated recurrent unit: gates decide how much of the state to look at, and how much to keep.

    .. math::

        z_t &= \sigma(x_t W_z + h_{t-1} R_z + b_z + b'_z), \qquad
        r_t = \sigma(x_t W_r + h_{t-1} R_r + b_r + b'_r) \\
        g_t &= a(x_t W_h + r_t \odot (h_{t-1} R_h + b'_h) + b_h)
        \quad\text{or}\quad a(x_t W_h + (r_t \odot h_{t-1}) R_h + b_h) \\
        h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot g_t

    Parameters
    ----------
    units : int
        How many numbers the state h has.
    activation : str or callable, optional
        :math:`a`; none leaves it linear.
    recurrent_activation : str or callable, optional
        :math:`\sigma`, that of the gates. With tanh and sigmoid the sequence is run by one rule,
        `nnbackend.functional.gru`, which has the derivatives, too.
    **options
        The other arguments of `GRUCell` (``reset_after``, ``use_bias``, initializers, regularizers, constraints,
        ``dropout``, ``recurrent_dropout``), those of `RNN` (``return_sequences``, ``return_state``, ``go_backwards``,
        ``stateful``, ``batch_size``, ``zero_output_for_mask``), and ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    cell : GRUCell
        It holds kernel (c, 3 * units), recurrent_kernel (units, 3 * units) and bias (2, 3 * units), or (3 * units,)
        with ``reset_after=False``, their columns in Keras's order of the gates: z, r, h.

    Notes
    -----
    Inputs have the shape (n, t, c), outputs (n, units), or (n, t, units) with ``return_sequences=True``. Masks and
    initial states are those of `RNN`. With ``reset_after=True``, the default as in Keras, cuDNN and PyTorch, the
    reset gate acts after the product with the state; False is the paper's.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014,
    https://arxiv.org/abs/1406.1078

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.GRU(4, reset_after=False)(nn.get_backend("numpy").xp.ones((2, 5, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = "tanh",
        recurrent_activation: str | Callable[..., Any] | None = "sigmoid",
        **options: Any,
    ) -> None:
        functions = {"activation": activation, "recurrent_activation": recurrent_activation}
        super().__init__(GRUCell, {"units": units, **functions, **options})
