"""Long short-term memory with one product and few calls on whole blocks of memory at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

import nnbackend.functional.recurrent as generic
from nnbackend.typing import Backward
from nnbackend_numpy.leases import Lease, lender
from nnbackend_numpy.recording import native_where
from nnbackend_numpy.workspaces import Workspaces

__all__ = ["lstm"]

#: Samples from which the product with the inputs loses nothing by being taken step by step.
FEWEST = 8
#: Where the gates i, f, o and g, which lie in this order here, stand among the columns of the kernels.
COLUMNS = (0, 1, 3, 2)
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

_workspaces = Workspaces()

Floats = np.ndarray[Any, Any]


def _takes(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    initial_h: Any = None,
    initial_c: Any = None,
    mask: Any = None,
    recurrent_keep: Any = None,
    *,
    recurrent_dropout: float = 0.0,
) -> bool:
    """Tell whether there is a better way than the generic rule; it refuses what does not fit."""
    if mask is not None or recurrent_keep is not None or recurrent_dropout or x.ndim != 3:
        return False
    (n, t, c), units = x.shape, recurrent_kernel.shape[0] if recurrent_kernel.ndim else 0
    shapes = [
        (kernel, (c, 4 * units)),
        (recurrent_kernel, (units, 4 * units)),
        (bias, (4 * units,)),
        (initial_h, (n, units)),
        (initial_c, (n, units)),
    ]
    given = [(array, shape) for array, shape in shapes if array is not None]
    alike = all(array.dtype == x.dtype and array.shape == shape for array, shape in given)
    return alike and x.dtype in _FLOATS and n >= FEWEST and min(t, c, units) > 0


@native_where(_takes, generic.lstm.function)
def lstm(
    x: Floats,
    kernel: Floats,
    recurrent_kernel: Floats,
    bias: Floats | None = None,
    initial_h: Floats | None = None,
    initial_c: Floats | None = None,
    mask: Floats | None = None,
    recurrent_keep: Floats | None = None,
    *,
    recurrent_dropout: float = 0.0,
) -> tuple[tuple[Floats, Floats, Floats], Backward]:
    """Carry h and c through time, and their gradients back.

    The state, the inputs and a one for the bias are one row for each sample, so that one product gives what enters the
    gates, gate by gate, and one product over all steps the gradients of all three weights. One tanh serves all gates.
    Kept are the outputs, the gates, c and tanh(c), in memory that is lent again after the way back.
    """
    cells = _Cells(x, kernel, recurrent_kernel, bias, initial_h, initial_c)

    def backward(dy: tuple[Any, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not all(isinstance(part, np.ndarray) and part.dtype == x.dtype for part in dy):
            rule = generic.lstm.function(x, kernel, recurrent_kernel, bias, initial_h, initial_c)
            way_back: tuple[Any, ...] = rule[1](dy, needs)
            return way_back
        found = cells.gradients(*dy, of_x=needs[0])
        return *(g if needed else None for g, needed in zip(found, needs, strict=False)), None, None

    return cells.run(), backward


class _Cells:
    """The cells of all steps, with what is kept of them for the way back."""

    def __init__(
        self,
        x: Floats,
        kernel: Floats,
        recurrent_kernel: Floats,
        bias: Floats | None,
        initial_h: Floats | None,
        initial_c: Floats | None,
    ) -> None:
        n, t, c = x.shape
        units = recurrent_kernel.shape[0]
        self._sizes, self._dtype = (n, t, c, units), x.dtype
        self._x, self._first = x, initial_h
        self._kernel, self._recurrent_kernel, self._bias = kernel, recurrent_kernel, bias
        self._outputs = np.empty((n, t, units), x.dtype)
        self._leases: list[Lease] = []
        self._gates = self._kept(t, 4, n, units)  # i, f, o and g
        self._cells, self._tangents = self._kept(t + 1, n, units), self._kept(t, n, units)  # c and tanh(c)
        self._cells[0] = 0.0 if initial_c is None else initial_c

    def _kept(self, *shape: int) -> Floats:
        self._leases.append(lender.lend(shape, self._dtype))
        return self._leases[-1].array

    def _rows(self) -> Floats:
        """Return what each step is given, a row for each sample: room for h, x, and a one where there is a bias."""
        n, t, c, units = self._sizes
        rows = np.empty((t + 1, n, units + c + (self._bias is not None)), self._dtype)
        rows[0, :, :units] = 0.0 if self._first is None else self._first
        rows[:t, :, units : units + c] = self._x.transpose(1, 0, 2)
        rows[:, :, units + c :] = 1.0
        return rows

    def _weights(self) -> Floats:
        """Return all weights, gate by gate; those of the logistic gates halved, which takes no bit of them."""
        _, _, c, units = self._sizes
        weights = np.empty((4, units + c + (self._bias is not None), units), self._dtype)
        for gate, column in enumerate(COLUMNS):
            columns = slice(column * units, (column + 1) * units)
            weights[gate, :units] = self._recurrent_kernel[:, columns]
            weights[gate, units : units + c] = self._kernel[:, columns]
            if self._bias is not None:
                weights[gate, units + c] = self._bias[columns]
        weights[:3] *= 0.5
        return weights

    def run(self) -> tuple[Floats, Floats, Floats]:
        """Return the outputs of all steps, and the states after the last."""
        n, t, _, units = self._sizes
        weights, rows = self._weights(), self._rows()
        new = _workspaces.array("new", (n, units), self._dtype)
        for step in range(t):
            gates, cell, tangent = self._gates[step], self._cells[step + 1], self._tangents[step]
            i, f, o, g = gates
            np.tanh(np.matmul(rows[step], weights, out=gates), out=gates)
            logistic = gates[:3]  # 0.5 tanh(z / 2) + 0.5
            np.multiply(logistic, 0.5, out=logistic)
            np.add(logistic, 0.5, out=logistic)
            np.multiply(f, self._cells[step], out=cell)
            np.add(cell, np.multiply(i, g, out=new), out=cell)
            np.multiply(o, np.tanh(cell, out=tangent), out=rows[step + 1, :, :units])
        self._outputs[...] = rows[1:, :, :units].transpose(1, 0, 2)
        return self._outputs, rows[t, :, :units].copy(), self._cells[t].copy()

    def gradients(
        self, dy: Floats, dh_last: Floats, dc_last: Floats, *, of_x: bool
    ) -> tuple[Floats | None, ...]:
        """Return the gradients of x, of the three weights and of the two states at the start."""
        n, t, c, units = self._sizes
        lease = lender.lend((t, n, 4 * units), self._dtype)
        slopes = lease.array  # of what enters the gates, in the order of the kernels' columns
        by_gate = [slopes[:, :, column * units : (column + 1) * units] for column in COLUMNS]
        back = np.ascontiguousarray(self._recurrent_kernel.T)  # saves a quarter of the time of each product
        dh, dc = dh_last.copy(), dc_last.copy()
        inner = _workspaces.array("inner", (4, n, units), self._dtype)  # derivatives of the gates
        new, part = _workspaces.array("new", (n, units), self._dtype), inner[3]
        has_outputs = bool(dy.any())
        for step in reversed(range(t)):
            gates, tangent = self._gates[step], self._tangents[step]
            i, f, o, g = gates
            if has_outputs:
                np.add(dh, dy[:, step], out=dh)
            np.subtract(1.0, np.multiply(tangent, tangent, out=new), out=new)
            np.multiply(np.multiply(new, o, out=new), dh, out=new)
            np.add(dc, new, out=dc)
            np.subtract(1.0, gates[:3], out=inner[:3])
            np.multiply(inner[:3], gates[:3], out=inner[:3])
            np.subtract(1.0, np.multiply(g, g, out=part), out=part)
            factors = (dc, g), (dc, self._cells[step]), (dh, tangent), (dc, i)
            for (first, second), derivative, slope in zip(factors, inner, by_gate, strict=True):
                np.multiply(np.multiply(first, second, out=new), derivative, out=slope[step])
            np.multiply(dc, f, out=dc)
            np.dot(slopes[step], back, out=dh)
        flat, rows = slopes.reshape(t * n, -1), self._rows()[:t]
        rows[1:, :, :units] = self._outputs[:, :-1].transpose(1, 0, 2)
        dweights = np.dot(rows.reshape(t * n, -1).T, flat)
        dx = np.dot(flat, self._kernel.T).reshape(t, n, c).transpose(1, 0, 2) if of_x else None
        dbias = None if self._bias is None else dweights[-1].copy()
        return dx, dweights[units : units + c].copy(), dweights[:units].copy(), dbias, dh, dc
