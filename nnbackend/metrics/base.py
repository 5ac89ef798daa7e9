"""What a metric is: a state, what a batch adds to it, and what is read from it at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from nnbackend import functional
from nnbackend.backend import Backend, backend_of, host, namespace, plain, to_numpy
from nnbackend.config import Configurable, snake_case
from nnbackend.losses.base import Loss, check_returned, combine_weights, match_targets
from nnbackend.typing import Shape, Tree

__all__ = [
    "FunctionMetric",
    "Logits",
    "LossMetric",
    "Mean",
    "MeanMetric",
    "Metric",
    "Sum",
    "add_mean",
    "nan_of_rows",
    "probabilities_of",
    "ratio",
    "require_whole",
    "row_weights",
    "where_known",
    "zero",
]

#: Whether outputs are logits; where it is known, the name of what makes probabilities of them.
Logits: TypeAlias = bool | str


def zero(backend: Backend) -> Any:
    """Return a float64 zero on the backend's device."""
    return backend.from_host(0.0, "float64")


class Metric(Configurable):
    """What a metric is; subclasses define `init`, `update` and `result`.

    Parameters
    ----------
    name : str, optional
        Its name in tables and in History.

    Notes
    -----
    An output that is NaN makes a metric NaN, however many others there are, unless its weight is 0; a loss as a metric
    looks at no more outputs than the loss does, such as those of the labels.

    Examples
    --------
    The largest error of all batches; a mean over samples is less work as a `MeanMetric`, or as a function.

    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> class LargestError(nn.metrics.Metric):
    ...     def init(self, backend):
    ...         return {"most": backend.from_host(0.0, "float64")}
    ...
    ...     def update(self, state, y_true, y_pred, weight, *, logits=False):
    ...         errors = nn.functional.abs(y_pred - y_true)
    ...         return {"most": nn.functional.maximum(state["most"], nn.functional.max(errors))}
    ...
    ...     def result(self, state):
    ...         return float(nn.to_numpy(state["most"]))
    >>> LargestError()(xp.asarray([1.0, 2.0]), xp.asarray([1.5, 1.0]))
    1.0
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def build(self, output_shape: Shape) -> None:
        """Learn the shape of the outputs, without the axis of samples; called before `init`.

        A metric whose state has a place for each class finds here how many there are.
        """

    def init(self, backend: Backend) -> Tree:
        """Return the state before any sample."""
        raise NotImplementedError(f"{type(self).__name__} must define init(backend).")

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Return the state after one more batch; array code without Python branches on values.

        Parameters
        ----------
        state : tree of array
            The state before.
        y_true, y_pred : array
            Targets and outputs.
        weight : array of shape (n,) or (n, t, ...), or None
            The weight of each sample, or of each step of a sequence; a mask is one of zeros and ones.
        logits : bool or str
            Whether the outputs are logits rather than probabilities; the name of the function that makes
            probabilities of them, ``"sigmoid"`` or ``"softmax"``, where it is known.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(state, y_true, y_pred, weight).")

    def result(self, state: Tree) -> Any:
        """Read the state and return the metric: a float, or a host array of them."""
        raise NotImplementedError(f"{type(self).__name__} must define result(state).")

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that do not fit outputs of this shape (without the axis of samples).

        Raises
        ------
        ValueError
            With what was expected, what came, and the cure.
        """

    def check_outputs(self, y_true: Any, y_pred: Any, weight: Any | None) -> None:
        """Refuse outputs by their values, which only a call by hand can do.

        Raises
        ------
        ValueError
            With what was expected, what came, and the cure.
        """

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any | None = None, mask: Any | None = None
    ) -> Any:
        """Return the metric of one set of targets and outputs; outputs are taken for probabilities, not logits.

        Raises
        ------
        ValueError
            If outputs that are to be compared with thresholds are no probabilities.
        """
        y_pred = plain(y_pred)
        backend = backend_of(y_pred)
        with backend.scope():
            self.build(tuple(y_pred.shape[1:]))
            weight = combine_weights(sample_weight, mask)
            self.check_outputs(plain(y_true), y_pred, weight)
            return self.result(self.update(self.init(backend), plain(y_true), y_pred, weight))


class MeanMetric(Metric):
    """The weighted mean of a value for each sample; subclasses define `per_sample`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> class Bias(nn.metrics.MeanMetric):
    ...     def per_sample(self, y_true, y_pred, *, logits):
    ...         return y_pred - y_true
    >>> Bias()(xp.asarray([1.0, 2.0]), xp.asarray([1.5, 4.0]), sample_weight=xp.asarray([2.0, 1.0]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return the value of each sample, of shape (n,) or (n, ...)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define per_sample(y_true, y_pred, logits=...)."
        )

    def init(self, backend: Backend) -> Tree:
        """Return sums of zero."""
        return {"total": zero(backend), "weight": zero(backend)}

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Add the batch to the sums."""
        return add_mean(state, self.per_sample(y_true, y_pred, logits=logits), weight)

    def result(self, state: Tree) -> Any:
        """Return the mean so far, or nan before any sample."""
        return ratio(state["total"], state["weight"], float("nan"))


def add_mean(state: Tree, values: Any, weight: Any | None) -> Tree:
    """Add values of each sample, or of each step, to the sums of a mean; what has weight 0 may be anything."""
    xp = namespace(values)
    values = xp.astype(values, xp.float64)
    kept = 1 if weight is None else len(weight.shape)
    if len(values.shape) > kept:
        values = xp.mean(values, axis=tuple(range(kept, len(values.shape))))
    if weight is None:
        return {"total": state["total"] + xp.sum(values), "weight": state["weight"] + float(values.shape[0])}
    weight = xp.astype(weight, xp.float64)
    if tuple(weight.shape) != tuple(values.shape):
        raise ValueError(
            f"Weights of shape {tuple(weight.shape)} do not fit values of shape {tuple(values.shape)}. Give one for "
            "each sample, or for each step where there is a value for each step."
        )
    values = xp.where(weight == 0.0, 0.0, values)
    return {"total": state["total"] + xp.sum(values * weight), "weight": state["weight"] + xp.sum(weight)}


def row_weights(steps: Shape, weight: Any | None, like: Any) -> Any:
    """Return a float64 weight for each of all steps in one row: its own, or that of its sample."""
    xp = namespace(like)
    if weight is None:
        return xp.ones((math.prod(steps),), dtype=xp.float64, device=backend_of(like).device(like))
    if tuple(weight.shape) != tuple(steps)[: len(weight.shape)]:
        raise ValueError(
            f"Weights of shape {tuple(weight.shape)} do not fit outputs whose steps are of shape {tuple(steps)}. Give "
            "one for each sample, or for each step."
        )
    wide = (*weight.shape, *(1,) * (len(steps) - len(weight.shape)))
    return xp.reshape(xp.broadcast_to(xp.reshape(xp.astype(weight, xp.float64), wide), tuple(steps)), (-1,))


def where_known(values: Any, outputs: Any) -> Any:
    """Return the values of outputs, or of rows of them, with NaN where an output is NaN."""
    if "float" not in str(outputs.dtype):
        return values
    xp = namespace(values)
    unknown = xp.isnan(outputs)
    if len(unknown.shape) > len(values.shape):
        unknown = xp.any(unknown, axis=-1)
    return xp.where(unknown, math.nan, values)


def nan_of_rows(outputs: Any, weights: Any) -> Any:
    """Return what to add to counts: NaN if an output is NaN in a row whose weight is not 0, else 0."""
    if "float" not in str(outputs.dtype):
        return 0.0
    xp = namespace(weights)
    unknown = xp.any(xp.isnan(outputs), axis=-1) & (weights != 0.0)
    return xp.sum(xp.where(unknown, math.nan, xp.zeros_like(weights)))


def probabilities_of(y_pred: Any, logits: Logits) -> Any:
    """Return outputs as probabilities."""
    if not logits:
        return y_pred
    return functional.softmax(y_pred) if logits == "softmax" else functional.sigmoid(y_pred)


class Mean(MeanMetric):
    """Weighted mean of the outputs themselves, whatever the targets are.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Mean()(None, xp.asarray([1.0, 3.0, 5.0]), xp.asarray([1.0, 1.0, 2.0]))
    3.5
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return the outputs."""
        return y_pred


class Sum(Metric):
    """Weighted sum of the outputs themselves, whatever the targets are.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Sum()(None, xp.asarray([1.0, 3.0, 5.0]), xp.asarray([1.0, 1.0, 2.0]))
    14.0
    """

    def init(self, backend: Backend) -> Tree:
        """Return a sum of zero."""
        return {"total": zero(backend)}

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Add the batch to the sum."""
        xp = namespace(y_pred)
        values = xp.reshape(xp.astype(y_pred, xp.float64), (-1,))
        weights = row_weights(tuple(y_pred.shape), weight, y_pred)
        return {"total": state["total"] + xp.sum(xp.where(weights == 0.0, 0.0, values) * weights)}

    def result(self, state: Tree) -> Any:
        """Return the sum so far."""
        return float(to_numpy(state["total"]))


class LossMetric(MeanMetric):
    """A loss as a metric: its mean over all samples.

    Parameters
    ----------
    loss : Loss
        Its values for each sample are measured; its reduction makes no difference.
    name : str, optional
        Its name in tables; the loss's without it.

    Notes
    -----
    A cross-entropy that is not told ``from_logits`` takes outputs as the loss of the training does: for logits where
    that takes the outputs themselves for logits, else for probabilities.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.LossMetric(nn.losses.Huber(delta=0.5))(xp.asarray([[0.0]]), xp.asarray([[1.0]]))
    0.375
    """

    def __init__(self, loss: Loss, name: str | None = None) -> None:
        super().__init__(name or loss.name)
        self.loss = loss

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Add the batch to the sums."""
        loss = self._resolved(bool(logits))
        values, weights = loss.weighted_values(loss.cast_targets(y_true, y_pred), y_pred, weight)
        return add_mean(state, plain(values), weights)

    def _resolved(self, logits: bool) -> Loss:
        """Return the loss, told what the outputs are if it would have to look."""
        if getattr(self.loss, "from_logits", True) is not None:
            return self.loss
        told = type(self.loss).from_config({**self.loss.get_config(), "from_logits": logits})
        told.name, told.kind = self.name, "metric"
        return told

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that the loss refuses."""
        told = type(self.loss).from_config(self.loss.get_config())
        told.name, told.kind = self.name, "metric"
        told.check_targets(y, output_shape)


def require_whole(owner: str, name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or one below `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{owner} expects {name} to be a whole number from {least} on, got {value!r}.")


def ratio(numerator: Any, denominator: Any, empty: float) -> Any:
    """Return a quotient as a float or host array, `empty` where the denominator is 0."""
    xp = host().xp
    above, below = to_numpy(numerator), to_numpy(denominator)
    value = xp.where(below == 0.0, empty, above / xp.where(below == 0.0, 1.0, below))
    return float(value) if value.ndim == 0 else value


class FunctionMetric(MeanMetric):
    """A metric of one's own: the mean of a function of targets and outputs.

    Parameters
    ----------
    function : callable
        Takes ``(y_true, y_pred)``, the targets in the outputs' dtype as a loss gets them; returns a value for each
        sample.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> metric = nn.metrics.FunctionMetric(lambda y, outputs: nn.functional.abs(outputs - y), name="error")
    >>> metric(xp.asarray([1.0, 2.0]), xp.asarray([1.5, 4.0]))
    1.25
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", "metric"))
        self.function = function

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return what the function returns."""
        values = self.function(match_targets(y_true, y_pred), y_pred)
        check_returned(f"The metric {self.name}", values)
        if tuple(values.shape[:1]) != tuple(y_pred.shape[:1]):
            raise ValueError(
                f"The metric {self.name} must return one value for each of {y_pred.shape[0]} samples, got shape "
                f"{tuple(values.shape)}. Leave out the mean over samples: the metric takes it over all batches."
            )
        return values
