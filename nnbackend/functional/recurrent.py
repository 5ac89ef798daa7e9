r"""Recurrent networks over whole sequences: simple, LSTM and GRU.

The product with the inputs is one product over all steps, before the loop. Within the loop there are the product with
the state, for all gates at once, and one elementwise program for the gates and the new state. Going back, the loop
leaves the gradients :math:`\delta_t` of what enters the gates, and those of the weights are one product over all
steps,

.. math:: \frac{\partial L}{\partial W} = \sum_t x_t^\top \delta_t, \qquad
          \frac{\partial L}{\partial R} = \sum_t h_{t-1}^\top \delta_t, \qquad
          \frac{\partial L}{\partial b} = \sum_t \delta_t, \qquad
          \frac{\partial L}{\partial x_t} = \delta_t W^\top.

What is kept for it are gates and states: at most six times the outputs. The sequences are (n, t, ...): n samples of t
steps. Sequences of different lengths are marked by a mask; at a step that is masked the state stays as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.functional.rules import like, zeros
from nnbackend.functional.scanning import History, joined, scan, shifted
from nnbackend.typing import Array, Backward

__all__ = ["gru", "lstm", "simple_rnn"]


# What the rules share


def _check(
    rule: str,
    gates: int,
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: tuple[Array | None, tuple[int, ...]],
    states: tuple[Array | None, ...],
    mask: Array | None,
    keep: Array | None,
    rate: float,
) -> None:
    """Refuse arguments that do not fit each other."""
    units = recurrent_kernel.shape[0] if recurrent_kernel.ndim else 0
    wide = gates * units
    if x.ndim != 3 or kernel.ndim != 2 or x.shape[2] != kernel.shape[0] or kernel.shape[1] != wide:
        raise ValueError(
            f"{rule} expects x of shape (n, t, c) and a kernel of shape (c, {wide}) beside a recurrent kernel of "
            f"{units} units, got {tuple(x.shape)} and {tuple(kernel.shape)}."
        )
    if tuple(recurrent_kernel.shape) != (units, wide):
        raise ValueError(
            f"{rule} expects a recurrent kernel of shape (units, {gates} * units), got "
            f"{tuple(recurrent_kernel.shape)}."
        )
    if x.shape[1] == 0:
        raise ValueError(f"{rule} expects sequences of at least one step, got x of shape {tuple(x.shape)}.")
    if bias[0] is not None and tuple(bias[0].shape) != bias[1]:
        raise ValueError(f"{rule} expects a bias of shape {bias[1]}, got {tuple(bias[0].shape)}.")
    for state in states:
        if state is not None and tuple(state.shape) != (x.shape[0], units):
            raise ValueError(
                f"{rule} expects initial states of shape (n, units) = {(x.shape[0], units)}, got {tuple(state.shape)}."
            )
    if mask is not None and (tuple(mask.shape) != tuple(x.shape[:2]) or "bool" not in str(mask.dtype)):
        raise ValueError(
            f"{rule} expects a boolean mask of shape (n, t) = {tuple(x.shape[:2])}, got {mask.dtype} of shape "
            f"{tuple(mask.shape)}."
        )
    if keep is not None and (tuple(keep.shape) != (x.shape[0], units) or "bool" not in str(keep.dtype)):
        raise ValueError(
            f"{rule} expects a boolean recurrent_keep of shape (n, units) = {(x.shape[0], units)}, got {keep.dtype} "
            f"of shape {tuple(keep.shape)}."
        )
    if not 0 <= rate < 1:
        raise ValueError(f"{rule} expects 0 <= recurrent_dropout < 1, got {rate}.")


def _multiply_adds(x: Array, kernel: Array, recurrent_kernel: Array, *others: Any, **options: Any) -> int:
    """Return how many products with an addition it takes: with the inputs, and with the states."""
    n, t, c = x.shape
    return int(n * t * (c + recurrent_kernel.shape[0]) * kernel.shape[1])


@elementwise
def _plus(y: Array, bias: Array) -> Any:
    return y + bias


def _projected(x: Array, kernel: Array, bias: Array | None) -> Array:
    """Return x W + b for all steps at once."""
    n, t, c = x.shape
    xp = namespace(x)
    y = xp.matmul(xp.reshape(x, (n * t, c)), kernel)
    if bias is not None:
        y = _plus(y, bias, donate=(0,))  # into the product's own memory: it is the largest array here
    return xp.reshape(y, (n, t, kernel.shape[1]))


def _rows(sequence: Array) -> Array:
    """Lay all steps of all samples under each other: (n, t, c) -> (n t, c)."""
    n, t, c = sequence.shape
    return namespace(sequence).reshape(sequence, (n * t, c))


def _input_gradient(dz: Array, kernel: Array, x: Array) -> Array:
    return like(_projected(dz, kernel.T, None), x)


def _kernel_gradient(inputs: Array, dz: Array, kernel: Array) -> Array:
    """Return the sum over all steps of (what went in) times (the gradient of what came out), as one product."""
    return like(namespace(dz).matmul(_rows(inputs).T, _rows(dz)), kernel)


def _started(state: Array | None, x: Array, units: int) -> Array:
    return zeros((x.shape[0], units), x) if state is None else state


def _columns(mask: Array | None) -> Array | None:
    """Return a mask (n, t) as (n, t, 1), which broadcasts against states at each step."""
    return None if mask is None else namespace(mask).expand_dims(mask, axis=2)


def _scale(keep: Array | None, rate: float, x: Array) -> Array | None:
    """Return what the state is multiplied by before the recurrent product: 0 where dropped, else 1 / (1 - p)."""
    if keep is None:
        return None
    xp = namespace(x)
    none = zeros(tuple(keep.shape), x)
    return xp.where(keep, none + 1.0 / (1.0 - rate), none)


def _scaled(state: Array, scale: Array | None) -> Array:
    return state if scale is None else state * scale


def _scaled_sequence(states: Array, scale: Array | None) -> Array:
    return states if scale is None else states * namespace(scale).expand_dims(scale, axis=1)


def _chosen(valid: Array | None, new: Array, old: Array) -> Array:
    """Return the new state where the step is valid, and the old one where it is masked."""
    return new if valid is None else namespace(new).where(valid, new, old)


class _Split(NamedTuple):
    """The gradient of a state after a step: the part that went through the step, and the part that passed by it."""

    through: Array
    past: Array | None

    def plus(self, before: Array) -> Array:
        """Return the gradient of the state before the step."""
        return before if self.past is None else before + self.past


def _split(valid: Array | None, gradient: Array) -> _Split:
    if valid is None:
        return _Split(gradient, None)
    xp = namespace(gradient)
    return _Split(xp.where(valid, gradient, 0.0), xp.where(valid, 0.0, gradient))


def _gates(z: Array, count: int) -> list[Array]:
    """Cut the columns of all gates into those of each."""
    units = z.shape[1] // count
    return [z[:, gate * units : (gate + 1) * units] for gate in range(count)]


def _logistic(x: Any) -> Any:
    """Return the logistic function in the form of one call that neither overflows nor branches."""
    return 0.5 * namespace(x).tanh(0.5 * x) + 0.5


# Simple


@elementwise
def _simple_cell(z: Array, r: Array) -> Any:
    return namespace(z).tanh(z + r)


@elementwise
def _simple_cell_gradient(dh: Array, h: Array) -> Any:
    return dh * (1.0 - h * h)


def _simple_step(states: Any, inputs: Any, constants: Any) -> Any:
    (h,), (z, valid), (kernel, scale) = states, inputs, constants
    new = _simple_cell(z, namespace(z).matmul(_scaled(h, scale), kernel))
    h = _chosen(valid, new, h)
    return (h,), (h,)


def _simple_step_back(gradients: Any, inputs: Any, constants: Any) -> Any:
    (dh,), (dy, h, valid), (kernel, scale) = gradients, inputs, constants
    after = _split(valid, dh + dy)
    dz = _simple_cell_gradient(after.through, h)
    dh = _scaled(namespace(dz).matmul(dz, kernel.T), scale)
    return (after.plus(dh),), (dz,)


@differentiable(multiply_adds=_multiply_adds)
def simple_rnn(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    initial_state: Array | None = None,
    mask: Array | None = None,
    recurrent_keep: Array | None = None,
    *,
    recurrent_dropout: float = 0.0,
) -> tuple[tuple[Array, Array], Backward]:
    r"""Elman's network over whole sequences.

    .. math:: h_t = \tanh(x_t W + h_{t-1} R + b)

    Its gradient goes back through time, from the last step to the first, with
    :math:`\partial_t` the gradient of :math:`h_t` from everything after it:

    .. math:: \delta_t = \partial_t \odot (1 - h_t^2), \qquad
              \partial_{t-1} = \frac{\partial L}{\partial y_{t-1}} + \delta_t R^\top, \qquad
              \frac{\partial L}{\partial W} = \sum_t x_t^\top \delta_t, \quad
              \frac{\partial L}{\partial R} = \sum_t h_{t-1}^\top \delta_t, \quad
              \frac{\partial L}{\partial b} = \sum_t \delta_t

    Parameters
    ----------
    x : array of shape (n, t, c)
        n sequences of t steps; floating.
    kernel : array of shape (c, units)
        W.
    recurrent_kernel : array of shape (units, units)
        R.
    bias : array of shape (units,), optional
        b.
    initial_state : array of shape (n, units), optional
        :math:`h_0`; zeros without it.
    mask : boolean array of shape (n, t), optional
        True where a step is valid; at the others the state stays as it is.
    recurrent_keep : boolean array of shape (n, units), optional
        Dropout of the state on its way into the product with R, the same at every step: where to keep it.
    recurrent_dropout : float
        The probability p with which `recurrent_keep` was drawn False; what is kept is scaled by 1 / (1 - p).

    Returns
    -------
    outputs : array of shape (n, t, units)
        :math:`h_t` after each step.
    state : array of shape (n, units)
        :math:`h` after the last one.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit each other, or there is no step.

    References
    ----------
    J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990), https://doi.org/10.1207/s15516709cog1402_1

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> one = xp.ones((1, 1))
    >>> outputs, state = nn.functional.simple_rnn(xp.zeros((1, 3, 1)), one, one, initial_state=one)
    >>> outputs[0, :, 0].round(4)
    array([0.7616, 0.642 , 0.5663])
    """
    rate, units = float(recurrent_dropout), recurrent_kernel.shape[0]
    given = (initial_state,)
    _check("simple_rnn", 1, x, kernel, recurrent_kernel, (bias, (units,)), given, mask, recurrent_keep, rate)
    valid, scale = _columns(mask), _scale(recurrent_keep, rate, x)
    first = _started(initial_state, x, units)
    projected = _projected(x, kernel, bias)
    (state,), (states,) = scan(_simple_step, (first,), (projected, valid), (recurrent_kernel, scale))

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        outputs, last = dy
        (dfirst,), (steps,) = scan(
            _simple_step_back, (last,), (outputs, states, valid), (recurrent_kernel, scale), reverse=True
        )
        dz = joined(steps)
        before = _scaled_sequence(joined(shifted(first, states)), scale) if needs[2] else None
        return (
            _input_gradient(dz, kernel, x) if needs[0] else None,
            _kernel_gradient(x, dz, kernel) if needs[1] else None,
            _kernel_gradient(before, dz, recurrent_kernel) if before is not None else None,
            like(_rows(dz), bias) if needs[3] else None,
            like(dfirst, initial_state) if needs[4] else None,
            None,
            None,
        )

    return (joined(states), state), backward


# LSTM


@elementwise
def _lstm_cell(
    zi: Array, zf: Array, zg: Array, zo: Array, ri: Array, rf: Array, rg: Array, ro: Array, c: Array
) -> Any:
    xp = namespace(c)
    i, f, o = _logistic(zi + ri), _logistic(zf + rf), _logistic(zo + ro)
    g = xp.tanh(zg + rg)
    new = f * c + i * g
    return o * xp.tanh(new), new, i, f, g, o


@elementwise
def _lstm_cell_gradient(
    dh: Array, dc: Array, i: Array, f: Array, g: Array, o: Array, before: Array, c: Array
) -> Any:
    a = namespace(c).tanh(c)
    dc = dc + dh * o * (1.0 - a * a)
    di = dc * g * (i * (1.0 - i))
    df = dc * before * (f * (1.0 - f))
    dg = dc * i * (1.0 - g * g)
    do = dh * a * (o * (1.0 - o))
    return di, df, dg, do, dc * f


def _lstm_step(states: Any, inputs: Any, constants: Any) -> Any:
    (h, c), (z, valid), (kernel, scale) = states, inputs, constants
    r = namespace(z).matmul(_scaled(h, scale), kernel)
    new_h, new_c, i, f, g, o = _lstm_cell(*_gates(z, 4), *_gates(r, 4), c)
    h, c = _chosen(valid, new_h, h), _chosen(valid, new_c, c)
    return (h, c), (h, c, i, f, g, o)


def _lstm_step_back(gradients: Any, inputs: Any, constants: Any) -> Any:
    (dh, dc), (dy, before, c, i, f, g, o, valid), (kernel, scale) = gradients, inputs, constants
    after_h, after_c = _split(valid, dh + dy), _split(valid, dc)
    *parts, dc = _lstm_cell_gradient(after_h.through, after_c.through, i, f, g, o, before, c)
    xp = namespace(dc)
    dz = xp.concat(parts, axis=1)
    dh = _scaled(xp.matmul(dz, kernel.T), scale)
    return (after_h.plus(dh), after_c.plus(dc)), (dz,)


@differentiable(multiply_adds=_multiply_adds)
def lstm(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    mask: Array | None = None,
    recurrent_keep: Array | None = None,
    *,
    recurrent_dropout: float = 0.0,
) -> tuple[tuple[Array, Array, Array], Backward]:
    r"""Long short-term memory over whole sequences.

    .. math::

        i_t &= \sigma(x_t W_i + h_{t-1} R_i + b_i) && \text{what to take in} \\
        f_t &= \sigma(x_t W_f + h_{t-1} R_f + b_f) && \text{what to keep} \\
        g_t &= \tanh(x_t W_c + h_{t-1} R_c + b_c) && \text{the candidate} \\
        o_t &= \sigma(x_t W_o + h_{t-1} R_o + b_o) && \text{what to show} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh c_t

    Going back, with :math:`\partial h_t` and :math:`\partial c_t` the gradients from everything after step t,

    .. math::

        \partial c_t &\mathrel{+}= \partial h_t \odot o_t \odot (1 - \tanh^2 c_t) \\
        \delta_i &= \partial c_t \odot g_t \odot i_t (1 - i_t), \qquad
        \delta_f = \partial c_t \odot c_{t-1} \odot f_t (1 - f_t) \\
        \delta_c &= \partial c_t \odot i_t \odot (1 - g_t^2), \qquad
        \delta_o = \partial h_t \odot \tanh c_t \odot o_t (1 - o_t) \\
        \partial c_{t-1} &= \partial c_t \odot f_t, \qquad
        \partial h_{t-1} = \frac{\partial L}{\partial y_{t-1}} + \delta_t R^\top

    with :math:`\delta_t = (\delta_i, \delta_f, \delta_c, \delta_o)`, and the weights' gradients are sums over all
    steps, :math:`\sum_t x_t^\top \delta_t`, :math:`\sum_t h_{t-1}^\top \delta_t` and :math:`\sum_t \delta_t`.

    Parameters
    ----------
    x : array of shape (n, t, c)
        n sequences of t steps; floating.
    kernel : array of shape (c, 4 * units)
        :math:`W`, its columns in Keras's order of the gates: i, f, c, o.
    recurrent_kernel : array of shape (units, 4 * units)
        :math:`R`, in the same order.
    bias : array of shape (4 * units,), optional
        :math:`b`, in the same order.
    initial_h, initial_c : array of shape (n, units), optional
        :math:`h_0` and :math:`c_0`; zeros without them.
    mask : boolean array of shape (n, t), optional
        True where a step is valid; at the others both states stay as they are.
    recurrent_keep : boolean array of shape (n, units), optional
        Dropout of :math:`h` on its way into the product with R, the same at every step and for all gates: where to
        keep it.
    recurrent_dropout : float
        The probability p with which `recurrent_keep` was drawn False; what is kept is scaled by 1 / (1 - p).

    Returns
    -------
    outputs : array of shape (n, t, units)
        :math:`h_t` after each step.
    h, c : array of shape (n, units)
        The states after the last one.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit each other, or there is no step.

    Notes
    -----
    PyTorch has the gates in the order i, f, g, o, the same with another letter, but kernels transposed and two
    biases, whose sum is this one. The logistic function is computed as :math:`(1 + \tanh(x / 2)) / 2`.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997),
    https://doi.org/10.1162/neco.1997.9.8.1735

    F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000),
    https://doi.org/10.1162/089976600300015015

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> outputs, h, c = nn.functional.lstm(xp.ones((1, 3, 1)), xp.ones((1, 4)), xp.ones((1, 4)))
    >>> outputs[0, :, 0].round(4), c.round(4)
    (array([0.3696, 0.6505, 0.7888]), array([[1.7395]]))
    """
    rate, units = float(recurrent_dropout), recurrent_kernel.shape[0]
    given = (initial_h, initial_c)
    _check("lstm", 4, x, kernel, recurrent_kernel, (bias, (4 * units,)), given, mask, recurrent_keep, rate)
    valid, scale = _columns(mask), _scale(recurrent_keep, rate, x)
    h0, c0 = _started(initial_h, x, units), _started(initial_c, x, units)
    projected = _projected(x, kernel, bias)
    (h, c), (hs, cs, *gates) = scan(_lstm_step, (h0, c0), (projected, valid), (recurrent_kernel, scale))

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        outputs, *last = dy
        (dh, dc), (steps,) = scan(
            _lstm_step_back,
            tuple(last),
            (outputs, shifted(c0, cs), cs, *gates, valid),
            (recurrent_kernel, scale),
            reverse=True,
        )
        dz = joined(steps)
        before = _scaled_sequence(joined(shifted(h0, hs)), scale) if needs[2] else None
        return (
            _input_gradient(dz, kernel, x) if needs[0] else None,
            _kernel_gradient(x, dz, kernel) if needs[1] else None,
            _kernel_gradient(before, dz, recurrent_kernel) if before is not None else None,
            like(_rows(dz), bias) if needs[3] else None,
            like(dh, initial_h) if needs[4] else None,
            like(dc, initial_c) if needs[5] else None,
            None,
            None,
        )

    return (joined(hs), h, c), backward


# GRU


@elementwise
def _gru_after_cell(
    zz: Array, zr: Array, zg: Array, rz: Array, rr: Array, rg: Array, b: Array, h: Array
) -> Any:
    xp = namespace(h)
    z, r = _logistic(zz + rz), _logistic(zr + rr)
    inner = rg + b
    g = xp.tanh(zg + r * inner)
    return z * h + (1.0 - z) * g, z, r, g, inner


@elementwise
def _gru_after_cell_gradient(dh: Array, z: Array, r: Array, g: Array, inner: Array, before: Array) -> Any:
    dg = dh * (1.0 - z) * (1.0 - g * g)
    dr = dg * inner * (r * (1.0 - r))
    dz = dh * (before - g) * (z * (1.0 - z))
    return dz, dr, dg, dg * r, dh * z


def _gru_after_step(states: Any, inputs: Any, constants: Any) -> Any:
    (h,), (x, valid), (kernel, b, scale) = states, inputs, constants
    product = namespace(x).matmul(_scaled(h, scale), kernel)
    new, z, r, g, inner = _gru_after_cell(*_gates(x, 3), *_gates(product, 3), b, h)
    h = _chosen(valid, new, h)
    return (h,), (h, z, r, g, inner)


def _gru_after_step_back(gradients: Any, inputs: Any, constants: Any) -> Any:
    (dh,), (dy, before, z, r, g, inner, valid), (kernel, scale) = gradients, inputs, constants
    after = _split(valid, dh + dy)
    dz, dr, dg, dinner, past = _gru_after_cell_gradient(after.through, z, r, g, inner, before)
    xp = namespace(dz)
    dproduct = xp.concat([dz, dr, dinner], axis=1)
    dh = past + _scaled(xp.matmul(dproduct, kernel.T), scale)
    return (after.plus(dh),), (xp.concat([dz, dr, dg], axis=1), dproduct)


@elementwise
def _gru_reset(zz: Array, zr: Array, rz: Array, rr: Array, h: Array) -> Any:
    r = _logistic(zr + rr)
    return _logistic(zz + rz), r, r * h


@elementwise
def _gru_update(zg: Array, rg: Array, z: Array, h: Array) -> Any:
    g = namespace(h).tanh(zg + rg)
    return z * h + (1.0 - z) * g, g


@elementwise
def _gru_update_gradient(dh: Array, z: Array, g: Array, before: Array) -> Any:
    return dh * (before - g) * (z * (1.0 - z)), dh * (1.0 - z) * (1.0 - g * g), dh * z


@elementwise
def _gru_reset_gradient(dreset: Array, r: Array, seen: Array) -> Any:
    return dreset * seen * (r * (1.0 - r)), dreset * r


def _gru_before_step(states: Any, inputs: Any, constants: Any) -> Any:
    (h,), (x, valid), (gates, candidate, scale) = states, inputs, constants
    xp = namespace(x)
    seen = _scaled(h, scale)
    zz, zr, zg = _gates(x, 3)
    z, r, reset = _gru_reset(zz, zr, *_gates(xp.matmul(seen, gates), 2), seen)
    new, g = _gru_update(zg, xp.matmul(reset, candidate), z, h)
    h = _chosen(valid, new, h)
    return (h,), (h, z, r, g)


def _gru_before_step_back(gradients: Any, inputs: Any, constants: Any) -> Any:
    (dh,), (dy, before, z, r, g, valid), (gates, candidate, scale) = gradients, inputs, constants
    after = _split(valid, dh + dy)
    dz, dg, past = _gru_update_gradient(after.through, z, g, before)
    xp = namespace(dz)
    dr, dseen = _gru_reset_gradient(xp.matmul(dg, candidate.T), r, _scaled(before, scale))
    dseen = dseen + xp.matmul(xp.concat([dz, dr], axis=1), gates.T)
    return (after.plus(past + _scaled(dseen, scale)),), (xp.concat([dz, dr, dg], axis=1),)


@differentiable(multiply_adds=_multiply_adds)
def gru(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    initial_state: Array | None = None,
    mask: Array | None = None,
    recurrent_keep: Array | None = None,
    *,
    reset_after: bool = True,
    recurrent_dropout: float = 0.0,
) -> tuple[tuple[Array, Array], Backward]:
    r"""Gated recurrent unit over whole sequences.

    .. math::

        z_t &= \sigma(x_t W_z + h_{t-1} R_z + b_z + b'_z) && \text{how much to keep} \\
        r_t &= \sigma(x_t W_r + h_{t-1} R_r + b_r + b'_r) && \text{how much of the state to look at} \\
        g_t &= \tanh(x_t W_h + r_t \odot (h_{t-1} R_h + b'_h) + b_h) && \text{the candidate, reset after} \\
        g_t &= \tanh(x_t W_h + (r_t \odot h_{t-1}) R_h + b_h) && \text{or reset before the product} \\
        h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot g_t

    Going back, with :math:`\partial h_t` the gradient from everything after step t,

    .. math::

        \delta_z &= \partial h_t \odot (h_{t-1} - g_t) \odot z_t (1 - z_t), \qquad
        \delta_h = \partial h_t \odot (1 - z_t) \odot (1 - g_t^2) \\
        \delta_r &= \delta_h \odot (h_{t-1} R_h + b'_h) \odot r_t (1 - r_t)
        \quad\text{or}\quad \delta_h R_h^\top \odot h_{t-1} \odot r_t (1 - r_t)

    and :math:`\partial h_{t-1}` is what came in at step t - 1, plus :math:`\partial h_t \odot z_t`, plus what comes
    back through the products with R. The weights' gradients are sums over all steps, as in `lstm`.

    Parameters
    ----------
    x : array of shape (n, t, c)
        n sequences of t steps; floating.
    kernel : array of shape (c, 3 * units)
        :math:`W`, its columns in Keras's order of the gates: z, r, h.
    recurrent_kernel : array of shape (units, 3 * units)
        :math:`R`, in the same order.
    bias : array of shape (2, 3 * units), or (3 * units,) with ``reset_after=False``, optional
        :math:`b` in the first row and :math:`b'`, that of the product with the state, in the second; or :math:`b`
        alone.
    initial_state : array of shape (n, units), optional
        :math:`h_0`; zeros without it.
    mask : boolean array of shape (n, t), optional
        True where a step is valid; at the others the state stays as it is.
    recurrent_keep : boolean array of shape (n, units), optional
        Dropout of :math:`h` on its way into the products with R, the same at every step and for all gates: where to
        keep it.
    reset_after : bool
        Whether the reset gate acts after the product with the state, as in cuDNN, or before it, as in the paper.
    recurrent_dropout : float
        The probability p with which `recurrent_keep` was drawn False; what is kept is scaled by 1 / (1 - p).

    Returns
    -------
    outputs : array of shape (n, t, units)
        :math:`h_t` after each step.
    state : array of shape (n, units)
        :math:`h` after the last one.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit each other, or there is no step.

    Notes
    -----
    PyTorch resets after the product, and has the gates in the order r, z, n. In the first version of the paper, and
    in some texts, :math:`z` and :math:`1 - z` change places.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014,
    https://arxiv.org/abs/1406.1078

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> outputs, state = nn.functional.gru(xp.ones((1, 3, 1)), xp.ones((1, 3)), xp.ones((1, 3)))
    >>> outputs[0, :, 0].round(4)
    array([0.2048, 0.3468, 0.4517])
    """
    rate, units = float(recurrent_dropout), recurrent_kernel.shape[0]
    shape = (2, 3 * units) if reset_after else (3 * units,)
    given = (initial_state,)
    _check("gru", 3, x, kernel, recurrent_kernel, (bias, shape), given, mask, recurrent_keep, rate)
    valid, scale = _columns(mask), _scale(recurrent_keep, rate, x)
    first = _started(initial_state, x, units)
    run = _gru_reset_after if reset_after else _gru_reset_before
    return run(x, kernel, recurrent_kernel, bias, first, valid, scale)


def _gru_reset_after(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    first: Array,
    valid: Array | None,
    scale: Array | None,
) -> tuple[Any, Backward]:
    units = recurrent_kernel.shape[0]
    xp = namespace(x)
    if bias is None:
        outside, inside = None, zeros((units,), x)
    else:  # what the reset gate does not touch goes into the one product over all steps
        below = bias[1, ...]
        inside = below[2 * units :]
        outside = bias[0, ...] + xp.concat([below[: 2 * units], zeros((units,), x)])
    projected = _projected(x, kernel, outside)
    (state,), (states, *gates) = scan(
        _gru_after_step, (first,), (projected, valid), (recurrent_kernel, inside, scale)
    )

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        outputs, last = dy
        before = shifted(first, states)
        (dfirst,), (steps, products) = scan(
            _gru_after_step_back,
            (last,),
            (outputs, before, *gates, valid),
            (recurrent_kernel, scale),
            reverse=True,
        )
        dz, dproduct = joined(steps), joined(products)
        seen = _scaled_sequence(joined(before), scale) if needs[2] else None
        dbias = None
        if needs[3]:
            xp = namespace(dz)
            dbias = like(xp.stack([xp.sum(_rows(dz), axis=0), xp.sum(_rows(dproduct), axis=0)]), bias)
        return (
            _input_gradient(dz, kernel, x) if needs[0] else None,
            _kernel_gradient(x, dz, kernel) if needs[1] else None,
            _kernel_gradient(seen, dproduct, recurrent_kernel) if seen is not None else None,
            dbias,
            like(dfirst, first) if needs[4] else None,
            None,
            None,
        )

    return (joined(states), state), backward


def _gru_reset_before(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    first: Array,
    valid: Array | None,
    scale: Array | None,
) -> tuple[Any, Backward]:
    units = recurrent_kernel.shape[0]
    parts = (recurrent_kernel[:, : 2 * units], recurrent_kernel[:, 2 * units :], scale)
    (state,), (states, z, r, g) = scan(
        _gru_before_step, (first,), (_projected(x, kernel, bias), valid), parts
    )

    def backward(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        outputs, last = dy
        before: History = shifted(first, states)
        (dfirst,), (steps,) = scan(
            _gru_before_step_back, (last,), (outputs, before, z, r, g, valid), parts, reverse=True
        )
        dz = joined(steps)
        drecurrent = None
        if needs[2]:
            xp = namespace(dz)
            seen = _scaled_sequence(joined(before), scale)
            gates = xp.matmul(_rows(seen).T, _rows(dz[:, :, : 2 * units]))
            candidate = xp.matmul(_rows(seen * joined(r)).T, _rows(dz[:, :, 2 * units :]))
            drecurrent = like(xp.concat([gates, candidate], axis=1), recurrent_kernel)
        return (
            _input_gradient(dz, kernel, x) if needs[0] else None,
            _kernel_gradient(x, dz, kernel) if needs[1] else None,
            drecurrent,
            like(_rows(dz), bias) if needs[3] else None,
            like(dfirst, first) if needs[4] else None,
            None,
            None,
        )

    return (joined(states), state), backward
