"""Cells of recurrent networks: what happens at one step. `nnbackend.layers.RNN` carries one through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

from nnbackend import activations, constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.autodiff import Operators, Tensor
from nnbackend.backend import host
from nnbackend.layers.base import Layer
from nnbackend.random import Stream
from nnbackend.typing import Array, Shape

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]

#: Where dropout keeps the inputs and the state of a cell through a sequence; None where it does nothing.
Keeps: TypeAlias = Any


def flat(states: Any) -> list[Any]:
    """Return states as a flat list of tensors: one may be given alone, several as a list."""
    if isinstance(states, (list, tuple)):
        return [state for part in states for state in flat(part)]
    if states is None:
        return []
    return [states if isinstance(states, Operators) else Tensor(states)]


def state_shapes(cell: Layer) -> list[Shape]:
    """Return the shapes of a cell's states without the axis of samples.

    Raises
    ------
    TypeError
        If the cell does not say them.
    """
    sizes = getattr(cell, "state_size", None)
    if sizes is None:
        raise TypeError(
            f"{type(cell).__name__} is no cell of a recurrent network: it has no state_size. Give it one, the number "
            "of units of its state or a list of them, and a forward(inputs, states) that returns the output and the "
            "new states."
        )
    each = sizes if isinstance(sizes, (list, tuple)) else [sizes]
    return [tuple(size) if isinstance(size, (list, tuple)) else (size,) for size in each]


def output_shape(cell: Layer) -> Shape:
    """Return the shape of a cell's output: its ``output_size``, or that of its first state."""
    size = getattr(cell, "output_size", None)
    if size is None:
        return state_shapes(cell)[0]
    return tuple(size) if isinstance(size, (list, tuple)) else (size,)


def know_output(cell: Layer) -> None:
    """Tell a cell, which a run over a sequence does not call, what it would return, for summaries."""
    cell.output_shape = [output_shape(cell), state_shapes(cell)]


class Cell(Layer):
    """What the cells of the library have beside ``forward``: dropout that stays the same through a sequence."""

    def keeps(self, count: int, width: int, training: bool) -> Keeps:
        """Draw where dropout keeps inputs and state: once for a sequence, the same at all of its steps.

        Parameters
        ----------
        count, width : int
            How many samples there are, and how many inputs each has at a step.
        training : bool
            Without it nothing is dropped.
        """
        raise NotImplementedError

    def step(self, x: Any, states: list[Any], keeps: Keeps) -> tuple[Any, list[Any]]:
        """Return the output and the new states of one step."""
        raise NotImplementedError

    @property
    def runs(self) -> bool:
        """Whether `run` can do a whole sequence."""
        raise NotImplementedError

    def run(self, x: Any, states: list[Any], mask: Any, keeps: Keeps) -> tuple[Any, list[Any]]:
        """Return the outputs of all steps of a sequence and the states after the last."""
        raise NotImplementedError


def draw_keeps(cell: Layer, count: int, width: int, training: bool) -> Keeps:
    """Draw where a cell's dropout keeps; a cell of somebody's own draws by itself."""
    return cell.keeps(count, width, training) if isinstance(cell, Cell) else None


def take_step(cell: Layer, x: Any, states: list[Any], keeps: Keeps) -> tuple[Any, list[Any]]:
    """Return the output and the new states of one step of any cell."""
    if isinstance(cell, Cell):
        return cell.step(x, states, keeps)
    output, new = cell(x, states)
    return output, flat(new)


class _WithForgetBias(initializers.Initializer):
    """The first bias of an LSTM: ones where it forgets, so that it begins by remembering."""

    def __init__(self, others: initializers.Initializer) -> None:
        self.others = others

    def __call__(self, shape: Shape, stream: Stream, dtype: str = "float32") -> Array:
        """Return a host array of this shape, drawn from `stream`."""
        units = shape[0] // 4
        drawn = self.others(shape, stream, dtype)
        xp = host().xp
        ones = xp.ones((units,), dtype=drawn.dtype)
        bias: Array = xp.concat([drawn[:units], ones, drawn[2 * units :]])
        return bias


class _UnitsCell(Cell):
    """What the cells share whose state is a vector of units: their weights, and dropout.

    Subclasses say how many `gates` stand beside each other in the kernels, and define `_step`, one step by any
    activations, and `_run`, a whole sequence by the rule for the usual ones.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    expects = "c"
    fixed = ("c",)

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = "tanh",
        *,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        recurrent_regularizer: str | regularizers.Regularizer | None = None,
        bias_regularizer: str | regularizers.Regularizer | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        recurrent_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.units = positive_integer(owner, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = _rate(owner, "dropout", dropout)
        self.recurrent_dropout = _rate(owner, "recurrent_dropout", recurrent_dropout)

    @property
    def state_size(self) -> int | list[int]:
        """The number of units of the state, or a list of them."""
        return self.units if self.states == 1 else [self.units] * self.states

    @property
    def output_size(self) -> int:
        """The number of units of the output."""
        return self.units

    def build(self, input_shape: Shape, *shapes: Any) -> None:
        """Make the kernels and the bias for inputs of shape (c,)."""
        wide = self.gates * self.units
        self.kernel = self.add_weight(
            "kernel",
            (input_shape[-1], wide),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel",
            (self.units, wide),
            self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                self._bias_shape(),
                self._first_bias(),
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def _bias_shape(self) -> Shape:
        return (self.gates * self.units,)

    def _first_bias(self) -> initializers.Initializer:
        return self.bias_initializer

    def compute_output_shape(self, input_shape: Shape, *shapes: Any) -> list[Any]:
        """Return the shape of the output, and a list of those of the states."""
        return [(self.units,), [(self.units,)] * self.states]

    def forward(self, x: Any, *states: Any, training: bool = False) -> Any:
        """Return the output and a list of the new states."""
        given = flat(states)
        if len(given) != self.states:
            raise ValueError(
                f"{type(self).__name__} {self.path!r} expects {self.states} states of shape (n, {self.units}), got "
                f"{len(given)}. Pass them after the inputs: cell(x, states)."
            )
        return self.step(x, given, self.keeps(x.shape[0], x.shape[-1], training))

    def keeps(self, count: int, width: int, training: bool) -> Keeps:
        """Draw two boolean arrays, (count, width) and (count, units); None where nothing is dropped."""
        wanted = ("dropout", width), ("recurrent_dropout", self.units)
        return tuple(
            self.random(name).keep((count, size), getattr(self, name))
            if training and getattr(self, name)
            else None
            for name, size in wanted
        )

    def step(self, x: Any, states: list[Any], keeps: Keeps) -> tuple[Any, list[Any]]:
        """Return the output and the new states of one step."""
        keep, recurrent_keep = keeps
        seen = states[0]
        if keep is not None:
            x = functional.dropout(x, keep, rate=self.dropout)
        if recurrent_keep is not None:
            seen = functional.dropout(seen, recurrent_keep, rate=self.recurrent_dropout)
        new = self._step(x, seen, states)
        return new[0], new

    def _step(self, x: Any, seen: Any, states: list[Any]) -> list[Any]:
        """Return the new states, the output first; `seen` is the output before, as the products see it."""
        raise NotImplementedError

    @property
    def runs(self) -> bool:
        """Whether a whole sequence can be run by one rule, which has tanh and the logistic function built in."""
        return self.activation is functional.tanh

    def run(self, x: Any, states: list[Any], mask: Any, keeps: Keeps) -> tuple[Any, list[Any]]:
        """Return the outputs of all steps of a sequence and the states after the last."""
        keep, recurrent_keep = keeps
        if keep is not None:
            x = functional.dropout(x, functional.expand_dims(keep, axis=1), rate=self.dropout)
        rate = self.recurrent_dropout if recurrent_keep is not None else 0.0
        arguments = (x, self.kernel, self.recurrent_kernel, self.bias, *states, mask, recurrent_keep)
        outputs, *new = self._run(*arguments, recurrent_dropout=rate)
        return outputs, new

    def _run(self, *arguments: Any, recurrent_dropout: float) -> tuple[Any, ...]:
        """Run the rule."""
        raise NotImplementedError


def _rate(owner: str, name: str, rate: float) -> float:
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"{owner} expects {name} from 0 to below 1, the share that is dropped, got {rate}.")
    return float(rate)


class SimpleRNNCell(_UnitsCell):  # numpydoc ignore=PR02
    r"""One step of Elman's network.

    .. math:: h' = f(x W + h R + b)

    Parameters
    ----------
    units : int
        How many numbers the state h has.
    activation : str or callable, optional
        :math:`f`; none leaves it linear.
    use_bias : bool
        Whether there is a :math:`b`.
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        First values of :math:`W`, :math:`R` and :math:`b`.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on them.
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
        What they are held to after each step of training.
    dropout, recurrent_dropout : float
        The shares of the inputs, and of the state on its way into the product with R, that are dropped in training:
        from 0 to below 1. In a sequence the same ones are dropped at every step.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    kernel : Parameter of shape (c, units)
        :math:`W`.
    recurrent_kernel : Parameter of shape (units, units)
        :math:`R`.
    bias : Parameter of shape (units,), or None
        :math:`b`.
    state_size, output_size : int
        `units`.

    Notes
    -----
    Called on inputs (n, c) and a state (n, units), alone or in a list, it returns the output and a list of the new
    state, which here are the same.

    References
    ----------
    J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990), https://doi.org/10.1207/s15516709cog1402_1

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> cell = nn.SimpleRNNCell(2, activation=None, kernel_initializer="ones", recurrent_initializer="zeros")
    >>> output, states = cell(xp.ones((1, 3)), xp.zeros((1, 2)))
    >>> output
    array([[3., 3.]], dtype=float32)
    """

    gates = 1

    def _step(self, x: Any, seen: Any, states: list[Any]) -> list[Any]:
        return [self.activation(functional.dense(x, self.kernel, self.bias) + seen @ self.recurrent_kernel)]

    def _run(self, *arguments: Any, recurrent_dropout: float) -> tuple[Any, ...]:
        found: tuple[Any, ...] = functional.simple_rnn(*arguments, recurrent_dropout=recurrent_dropout)
        return found


class LSTMCell(_UnitsCell):
    r"""One step of a long short-term memory.

    .. math::

        i &= \sigma(x W_i + h R_i + b_i), \qquad f = \sigma(x W_f + h R_f + b_f) \\
        g &= a(x W_c + h R_c + b_c), \qquad\; o = \sigma(x W_o + h R_o + b_o) \\
        c' &= f \odot c + i \odot g, \qquad\quad\;\; h' = o \odot a(c')

    Parameters
    ----------
    units : int
        How many numbers each of the states h and c has.
    activation : str or callable, optional
        :math:`a`; none leaves it linear.
    recurrent_activation : str or callable, optional
        :math:`\sigma`, that of the gates.
    unit_forget_bias : bool
        Whether the first :math:`b_f` is one, so that the cell begins by remembering.
    **options
        The rest of `SimpleRNNCell`'s arguments, the same here.

    Attributes
    ----------
    kernel : Parameter of shape (c, 4 * units)
        :math:`W`, its columns in Keras's order of the gates: i, f, c, o.
    recurrent_kernel : Parameter of shape (units, 4 * units)
        :math:`R`, in the same order.
    bias : Parameter of shape (4 * units,), or None
        :math:`b`, in the same order.
    state_size : list of int
        ``[units, units]``.
    output_size : int
        `units`.

    Notes
    -----
    Called on inputs (n, c) and a list of the states h and c, (n, units), it returns the output, which is h', and a
    list of the new states. Dropout drops the same inputs for all gates, as in Keras.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997),
    https://doi.org/10.1162/neco.1997.9.8.1735

    R. Jozefowicz, W. Zaremba and I. Sutskever, "An empirical exploration of recurrent network architectures", 2015
    (the forget bias of one).

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> output, (h, c) = nn.LSTMCell(4)(xp.ones((1, 3)), [xp.zeros((1, 4)), xp.zeros((1, 4))])
    >>> output.shape, c.shape
    ((1, 4), (1, 4))
    """

    gates = 4
    states = 2

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = "tanh",
        recurrent_activation: str | Callable[..., Any] | None = "sigmoid",
        *,
        unit_forget_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _first_bias(self) -> initializers.Initializer:
        return _WithForgetBias(self.bias_initializer) if self.unit_forget_bias else self.bias_initializer

    def _step(self, x: Any, seen: Any, states: list[Any]) -> list[Any]:
        z = functional.dense(x, self.kernel, self.bias) + seen @ self.recurrent_kernel
        i, f, g, o = _columns(z, 4)
        gate = self.recurrent_activation
        c = gate(f) * states[1] + gate(i) * self.activation(g)
        return [gate(o) * self.activation(c), c]

    @property
    def runs(self) -> bool:
        """Whether a whole sequence can be run by the rule `functional.lstm`."""
        return super().runs and self.recurrent_activation is functional.sigmoid

    def _run(self, *arguments: Any, recurrent_dropout: float) -> tuple[Any, ...]:
        found: tuple[Any, ...] = functional.lstm(*arguments, recurrent_dropout=recurrent_dropout)
        return found


class GRUCell(_UnitsCell):
    r"""One step of a gated recurrent unit.

    .. math::

        z &= \sigma(x W_z + h R_z + b_z + b'_z), \qquad r = \sigma(x W_r + h R_r + b_r + b'_r) \\
        g &= a(x W_h + r \odot (h R_h + b'_h) + b_h)
        \quad\text{or, with reset before,}\quad g = a(x W_h + (r \odot h) R_h + b_h) \\
        h' &= z \odot h + (1 - z) \odot g

    Parameters
    ----------
    units : int
        How many numbers the state h has.
    activation : str or callable, optional
        :math:`a`; none leaves it linear.
    recurrent_activation : str or callable, optional
        :math:`\sigma`, that of the gates.
    reset_after : bool
        Whether the reset gate acts after the product with the state, as in cuDNN and by default in Keras, or before
        it, as in the paper.
    **options
        The rest of `SimpleRNNCell`'s arguments, the same here.

    Attributes
    ----------
    kernel : Parameter of shape (c, 3 * units)
        :math:`W`, its columns in Keras's order of the gates: z, r, h.
    recurrent_kernel : Parameter of shape (units, 3 * units)
        :math:`R`, in the same order.
    bias : Parameter of shape (2, 3 * units), or (3 * units,) with ``reset_after=False``, or None
        :math:`b`, and in a second row :math:`b'`.
    state_size, output_size : int
        `units`.

    Notes
    -----
    Called on inputs (n, c) and a state (n, units), alone or in a list, it returns the output and a list of the new
    state, which here are the same. Dropout drops the same inputs for all gates; Keras draws a mask for each gate of
    a GRU.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014,
    https://arxiv.org/abs/1406.1078

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> output, states = nn.GRUCell(4)(xp.ones((1, 3)), xp.zeros((1, 4)))
    >>> output.shape
    (1, 4)
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = "tanh",
        recurrent_activation: str | Callable[..., Any] | None = "sigmoid",
        *,
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _bias_shape(self) -> Shape:
        wide = 3 * self.units
        return (2, wide) if self.reset_after else (wide,)

    def _step(self, x: Any, seen: Any, states: list[Any]) -> list[Any]:
        outer, inner = self.bias, None
        if self.bias is not None and self.reset_after:
            outer, inner = functional.unstack(self.bias, axis=0)
        gate, units = self.recurrent_activation, self.units
        zx, rx, gx = _columns(functional.dense(x, self.kernel, outer), 3)
        if self.reset_after:
            zh, rh, gh = _columns(functional.dense(seen, self.recurrent_kernel, inner), 3)
            candidate = gx + gate(rx + rh) * gh
        else:
            zh, rh = _columns(seen @ self.recurrent_kernel[:, : 2 * units], 2)
            candidate = gx + (gate(rx + rh) * seen) @ self.recurrent_kernel[:, 2 * units :]
        z = gate(zx + zh)
        return [z * states[0] + (1.0 - z) * self.activation(candidate)]

    @property
    def runs(self) -> bool:
        """Whether a whole sequence can be run by the rule `functional.gru`."""
        return super().runs and self.recurrent_activation is functional.sigmoid

    def _run(self, *arguments: Any, recurrent_dropout: float) -> tuple[Any, ...]:
        options = {"reset_after": self.reset_after, "recurrent_dropout": recurrent_dropout}
        found: tuple[Any, ...] = functional.gru(*arguments, **options)
        return found


def _columns(z: Any, count: int) -> list[Any]:
    """Cut the columns of all gates into those of each."""
    n, wide = z.shape
    return list(functional.unstack(functional.reshape(z, (n, count, wide // count)), axis=1))


class StackedRNNCells(Cell):
    """Cells on top of each other: each takes the output of the one below.

    Parameters
    ----------
    cells : list of Layer
        The cells, the lowest first.
    **options
        ``name``, ``dtype`` and ``trainable`` of `Layer`.

    Attributes
    ----------
    state_size : list
        The sizes of all states, those of the lowest cell first, in one list.
    output_size : int
        That of the highest cell.

    Raises
    ------
    ValueError
        If there is no cell.
    TypeError
        If one is no cell.

    Notes
    -----
    Its states are one flat list; Keras nests a list for each cell.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> layer = nn.RNN(nn.StackedRNNCells([nn.LSTMCell(8), nn.GRUCell(4)]))
    >>> layer(xp.ones((2, 5, 3))).shape
    (2, 4)
    """

    def __init__(self, cells: Sequence[Layer], **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(cells, (list, tuple)) or not cells:
            raise ValueError("StackedRNNCells expects a list of at least one cell.")
        self.cells = list(cells)
        self._counts = [len(state_shapes(cell)) for cell in self.cells]

    @property
    def state_size(self) -> list[Any]:
        """The sizes of the states of all cells."""
        return [size for cell in self.cells for size in state_shapes(cell)]

    @property
    def output_size(self) -> Shape:
        """The size of the output of the highest cell."""
        return output_shape(self.cells[-1])

    def check_input(self, input_shape: Any) -> None:
        """Refuse what the lowest cell refuses."""
        self.cells[0].check_input(input_shape)

    def build(self, input_shape: Shape, *shapes: Any) -> None:
        """Build each cell for the output of the one below."""
        for cell in self.cells:
            cell.build(input_shape)
            know_output(cell)
            input_shape = output_shape(cell)

    def compute_output_shape(self, input_shape: Shape, *shapes: Any) -> list[Any]:
        """Return the shape of the output, and a list of those of the states."""
        return [self.output_size, [shape for cell in self.cells for shape in state_shapes(cell)]]

    def forward(self, x: Any, *states: Any, training: bool = False) -> Any:
        """Return the output of the highest cell and a list of all new states."""
        given = flat(states)
        if len(given) != sum(self._counts):
            raise ValueError(
                f"StackedRNNCells {self.path!r} expects {sum(self._counts)} states, got {len(given)}. Pass them in one "
                "list, those of the lowest cell first."
            )
        return self.step(x, given, self.keeps(x.shape[0], x.shape[-1], training))

    def keeps(self, count: int, width: int, training: bool) -> Keeps:
        """Draw where dropout keeps, for each cell."""
        widths = [width, *(output_shape(cell)[-1] for cell in self.cells[:-1])]
        return [
            draw_keeps(cell, count, size, training) for cell, size in zip(self.cells, widths, strict=True)
        ]

    def step(self, x: Any, states: list[Any], keeps: Keeps) -> tuple[Any, list[Any]]:
        """Return the output of the highest cell and all new states."""
        return self._climb(take_step, x, states, keeps)

    @property
    def runs(self) -> bool:
        """Whether each cell can do a whole sequence: then they are run one after the other, not step by step."""
        return all(isinstance(cell, Cell) and cell.runs for cell in self.cells)

    def run(self, x: Any, states: list[Any], mask: Any, keeps: Keeps) -> tuple[Any, list[Any]]:
        """Return the outputs of the highest cell at all steps and all states after the last."""
        return self._climb(lambda cell, x, own, keep: cell.run(x, own, mask, keep), x, states, keeps)

    def _climb(
        self,
        up: Callable[[Any, Any, list[Any], Keeps], tuple[Any, list[Any]]],
        x: Any,
        states: list[Any],
        keeps: Keeps,
    ) -> tuple[Any, list[Any]]:
        """Go from cell to cell, each with its own states, and collect the new ones."""
        new: list[Any] = []
        start = 0
        for cell, keep, count in zip(self.cells, keeps, self._counts, strict=True):
            x, own = up(cell, x, states[start : start + count], keep)
            new += own
            start += count
        return x, new
