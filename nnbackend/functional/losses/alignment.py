r"""Connectionist temporal classification: the likelihood of a labelling, over all ways to spread it in time."""

from __future__ import annotations

from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import backend_of, namespace, plain
from nnbackend.elementwise import elementwise
from nnbackend.functional.elementary import exp, multiply, where
from nnbackend.functional.linear import matmul
from nnbackend.functional.losses._shared import _count_up, _whole_numbers
from nnbackend.functional.rules import zeros
from nnbackend.functional.shaping import concat, reshape, stack
from nnbackend.typing import Array, Backward

__all__ = ["ctc"]

_NEVER = float("-inf")


@elementwise
def _ctc_step(
    stay: Array, advance: Array, skip: Array, before: Array, emission: Array, may_skip: Array, active: Array
) -> Any:
    """Return ln(e^stay + e^advance + e^skip) + emission, without the last term where it may not be skipped.

    Where the sample has ended the value before is kept. All exponents may be minus infinity.
    """
    xp = namespace(stay)
    skip = xp.where(may_skip, skip, _NEVER)
    most = xp.maximum(xp.maximum(stay, advance), skip)
    never = most == _NEVER
    base = xp.where(never, 0.0, most)
    total = xp.exp(stay - base) + xp.exp(advance - base) + xp.exp(skip - base)
    return xp.where(
        active, xp.where(never, _NEVER, base + xp.log(xp.where(never, 1.0, total)) + emission), before
    )


def _check(log_probabilities: Any, labels: Any, lengths: tuple[Any, Any]) -> None:
    shape, given = tuple(log_probabilities.shape), tuple(labels.shape)
    if len(shape) != 3 or len(given) != 2 or shape[0] != given[0]:
        raise ValueError(
            f"ctc expects log_probabilities of shape (n, t, k) and labels of shape (n, m), got {shape} and {given}."
        )
    for name, length in zip(("input_lengths", "label_lengths"), lengths, strict=True):
        if length is not None and tuple(length.shape) != shape[:1]:
            raise ValueError(f"ctc expects {name} of shape ({shape[0]},), got {tuple(length.shape)}.")


@differentiable(wide=True)
def ctc(
    log_probabilities: Array,
    labels: Array,
    input_lengths: Array | None = None,
    label_lengths: Array | None = None,
    *,
    blank: int = 0,
) -> tuple[Array, Backward]:
    r"""Negative log-likelihood of label sequences that are shorter than the outputs and not aligned with them.

    A path names a class, or the blank, at each time; repeated classes are merged and blanks dropped. With the
    labels and blanks around each of them, :math:`l'` of length 2m + 1, the paths are counted by

    .. math:: \alpha_t(s) &= \left(\alpha_{t-1}(s) + \alpha_{t-1}(s-1) + \alpha_{t-1}(s-2)\,
              [l'_s \ne \text{blank},\ l'_s \ne l'_{s-2}]\right) p_t(l'_s) \\
              L &= -\ln Z, \quad Z = \alpha_T(2m) + \alpha_T(2m - 1), \qquad
              \frac{\partial L}{\partial \ln p_t(k)} = -\frac1Z \sum_{s: l'_s = k} \alpha_t(s)\, \beta_t(s)

    with :math:`\beta_t(s)` the likelihood of what follows t. All of it is computed with logarithms, a step for each
    time over all samples and places at once.

    Parameters
    ----------
    log_probabilities : array of shape (n, t, k)
        Logarithms of class probabilities, such as the output of log_softmax, the blank among them; floating.
    labels : integer array of shape (n, m)
        The labels, padded at the end; none is the blank.
    input_lengths : integer array of shape (n,), optional
        How many times each sample has; all t without it.
    label_lengths : integer array of shape (n,), optional
        How many labels each sample has; without it, as many as are not the blank.
    blank : int
        The class that stands for no label; -1 for the last.

    Returns
    -------
    array of shape (n,)
        The loss of each sample; infinite, with a gradient of zero, where the labels do not fit into the times.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the blank is no class.
    TypeError
        If labels or lengths are floating.

    Notes
    -----
    The gradient is that of the logarithms themselves. PyTorch's ctc_loss gives the gradient of the logits behind a
    log_softmax in their place, which is the same once both are pulled back to the logits. Its gradients of impossible
    samples are NaN unless it is told ``zero_infinity=True``. Keras takes logits, and 0 as the blank and the padding.

    References
    ----------
    Graves et al., Connectionist temporal classification, 2006. DOI 10.1145/1143844.1143891.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> uniform = xp.log(xp.full((1, 2, 3), 1 / 3))
    >>> nn.functional.ctc(uniform, xp.asarray([[1]])).round(6)  # three of nine paths: 01, 10 and 11
    array([1.098612])
    """
    _check(log_probabilities, labels, (input_lengths, label_lengths))
    count, times, classes = log_probabilities.shape
    if not -classes <= blank < classes:
        raise ValueError(f"ctc expects the blank to be one of the {classes} classes, got {blank}.")
    blank = blank % classes
    xp = namespace(log_probabilities)
    grid = _Grid(_whole_numbers("ctc", labels), input_lengths, label_lengths, times, classes, blank)
    emissions = xp.take_along_axis(log_probabilities, grid.index, axis=2)
    never = zeros((count, 2), log_probabilities) + _NEVER
    start = xp.concat(
        [never[:, :1], zeros((count, 1), log_probabilities)], axis=1
    )  # a virtual place before the first
    forward = []
    alpha = zeros((count, grid.places), log_probabilities) + _NEVER
    for time in range(times):
        wide = xp.concat([never if time else start, alpha], axis=1)
        alpha = _ctc_step(
            alpha, wide[:, 1:-1], wide[:, :-2], alpha, emissions[:, time, :], grid.may_skip, grid.active[time]
        )
        forward.append(alpha)
    total = _logsumexp(xp.where(grid.last, alpha, _NEVER)) if times else never[:, :1]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        base = where(total == _NEVER, 0.0, total)
        ends = where(grid.last, zeros((count, grid.places), log_probabilities), _NEVER)
        beta, shares = ends, []
        for time in range(times - 1, -1, -1):
            if time + 1 < times:
                follows = concat([emissions[:, time + 1, :] + beta, never], axis=1)
                beta = _ctc_step(
                    follows[:, :-2],
                    follows[:, 1:-1],
                    follows[:, 2:],
                    ends,
                    0.0 * base,
                    grid.is_skipped_to,
                    grid.active[time + 1],
                )
            shares.append(where(grid.active[time], exp(forward[time] + beta - base), 0.0))
        if not shares:
            return zeros((count, times, classes), log_probabilities), None, None, None
        weights = multiply(stack(shares[::-1], axis=1), reshape(-dy, (count, 1, 1)))
        return matmul(weights, grid.one_hot(log_probabilities)), None, None, None

    return xp.reshape(-total, (count,)), backward


def _logsumexp(x: Any) -> Any:
    """Return ln of the sum of exponentials over the last axis, kept; minus infinity where all are."""
    xp = namespace(x)
    most = xp.max(x, axis=-1, keepdims=True)
    never = most == _NEVER
    base = xp.where(never, 0.0, most)
    total = xp.sum(xp.exp(x - base), axis=-1, keepdims=True)
    return xp.where(never, _NEVER, base + xp.log(xp.where(never, 1.0, total)))


class _Grid:
    """The labels with blanks around them, and which places of them are reached from where."""

    def __init__(
        self, labels: Any, input_lengths: Any, label_lengths: Any, times: int, classes: int, blank: int
    ) -> None:
        backend = backend_of(labels)
        xp = backend.xp
        count, longest = labels.shape
        self.places = 2 * longest + 1
        self.classes = classes
        with backend.scope():
            blanks = xp.full((count, longest + 1), blank, dtype=xp.int64, device=backend.device(labels))
            if label_lengths is None:
                lengths = xp.sum(xp.astype(labels != blank, xp.int64), axis=1)
            else:
                lengths = _whole_numbers("ctc", label_lengths)
            lengths = xp.expand_dims(lengths, axis=1)
            labels = xp.where(_count_up(longest, labels) < lengths, labels, blanks[:, :longest])
            pairs = xp.reshape(xp.stack([blanks[:, :longest], labels], axis=2), (count, 2 * longest))
            self._classes = xp.concat([pairs, blanks[:, longest:]], axis=1)
            self.index = xp.broadcast_to(xp.expand_dims(self._classes, axis=1), (count, times, self.places))
            no = xp.zeros((count, 2), dtype=xp.bool, device=backend.device(labels))
            skips = no[:, :0]
            if longest:
                here, before = self._classes[:, 2:], self._classes[:, :-2]
                skips = (here != before) & (here != blank)
            first = ~no[:, :1] if longest else no[:, :0]  # the first label may follow the virtual start
            self.may_skip = xp.concat([no[:, :1], first, skips], axis=1)
            self.is_skipped_to = xp.concat([skips, no], axis=1)[:, : self.places]
            place = _count_up(self.places, labels)
            self.last = (place == 2 * lengths) | (place == 2 * lengths - 1)
            if input_lengths is None:
                self.active = [~no[:, :1]] * times
            else:
                ends = xp.expand_dims(_whole_numbers("ctc", input_lengths), axis=1)
                self.active = [ends > time for time in range(times)]

    def one_hot(self, like: Any) -> Any:
        """Return, for each place, a row with a one at its class, in the dtype of `like`."""
        labels = self._classes
        backend = backend_of(labels)
        with backend.scope():
            equal = backend.xp.expand_dims(labels, axis=2) == _count_up(self.classes, labels)
            return backend.xp.astype(equal, plain(like).dtype)
