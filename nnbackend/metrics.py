"""Metrics: what is reported beside the loss, exact over batches of any size.

A metric's state is a tree of 0-d float64 arrays on the device; it is part of the training state, so that counting
needs no transfer to the host. `Metric.result` is read when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend import functional
from nnbackend.backend import Backend, namespace, nearest, to_numpy
from nnbackend.config import Configurable, snake_case
from nnbackend.losses import as_columns, match_targets
from nnbackend.typing import Tree

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "get",
]


def zero(backend: Backend) -> Any:
    """Return a float64 zero on the backend's device."""
    return backend.from_host(0.0, "float64")


class Metric(Configurable):
    """What a metric is; subclasses define `init`, `update` and `result`.

    Parameters
    ----------
    name : str, optional
        Its name in tables and in History.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def init(self, backend: Backend) -> Tree:
        """Return the state before any sample."""
        raise NotImplementedError(f"{type(self).__name__} must define init(backend).")

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: bool = False
    ) -> Tree:
        """Return the state after one more batch; array code without Python branches on values.

        Parameters
        ----------
        state : tree of array
            The state before.
        y_true, y_pred : array
            Targets and outputs.
        weight : array of shape (n,), or None
            The samples' weights.
        logits : bool
            Whether the outputs are logits rather than probabilities.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(state, y_true, y_pred, weight).")

    def result(self, state: Tree) -> float:
        """Read the state and return the metric as a number."""
        raise NotImplementedError(f"{type(self).__name__} must define result(state).")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any | None = None) -> float:
        """Return the metric of one set of targets and outputs."""
        from nnbackend.backend import backend_of, plain

        backend = backend_of(plain(y_pred))
        with backend.scope():
            return self.result(self.update(self.init(backend), y_true, y_pred, sample_weight))


class MeanMetric(Metric):
    """The weighted mean of a value for each sample; subclasses define `per_sample`."""

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return the value of each sample, of shape (n,) or (n, ...)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define per_sample(y_true, y_pred, logits=...)."
        )

    def init(self, backend: Backend) -> Tree:
        """Return sums of zero."""
        return {"total": zero(backend), "weight": zero(backend)}

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: bool = False
    ) -> Tree:
        """Add the batch to the sums."""
        return add_mean(state, self.per_sample(y_true, y_pred, logits=logits), weight)

    def result(self, state: Tree) -> float:
        """Return the mean so far, or nan before any sample."""
        weight = float(to_numpy(state["weight"]))
        return float(to_numpy(state["total"])) / weight if weight else float("nan")


def add_mean(state: Tree, values: Any, weight: Any | None) -> Tree:
    """Add values of each sample to the sums of a mean."""
    xp = namespace(values)
    values = xp.astype(values, xp.float64)
    if len(values.shape) > 1:
        values = xp.mean(values, axis=tuple(range(1, len(values.shape))))
    if weight is None:
        return {"total": state["total"] + xp.sum(values), "weight": state["weight"] + float(values.shape[0])}
    weight = xp.astype(weight, xp.float64)
    return {"total": state["total"] + xp.sum(values * weight), "weight": state["weight"] + xp.sum(weight)}


class BinaryAccuracy(MeanMetric):
    """Share of outputs on the target's side of a threshold.

    Parameters
    ----------
    threshold : float, optional
        Above it an output means 1. Without it, 0.5, or 0 where the outputs are logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.BinaryAccuracy()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.9], [0.8]]))
    0.5
    """

    def __init__(self, threshold: float | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.threshold = threshold

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where output and target agree."""
        threshold = self.threshold if self.threshold is not None else 0.0 if logits else 0.5
        xp = namespace(y_pred)
        if len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = xp.expand_dims(y_true, axis=-1)
        wanted = y_true if "bool" in str(y_true.dtype) else y_true > _half(y_true)
        return xp.astype((y_pred > threshold) == wanted, xp.float64)


def _half(y: Any) -> float | int:
    return 0.5 if "float" in str(y.dtype) else 0


class CategoricalAccuracy(MeanMetric):
    """Share of samples whose largest output stands where the one-hot target is largest.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.CategoricalAccuracy()(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.2, 0.8]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where the sample is right."""
        xp = namespace(y_pred)
        return xp.astype(xp.argmax(y_pred, axis=-1) == xp.argmax(y_true, axis=-1), xp.float64)


class SparseCategoricalAccuracy(MeanMetric):
    """Share of samples whose largest output is that of the label.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.SparseCategoricalAccuracy()(xp.asarray([1]), xp.asarray([[0.2, 0.8]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where the sample is right."""
        xp = namespace(y_pred)
        if len(y_true.shape) == len(y_pred.shape):
            y_true = xp.squeeze(y_true, axis=-1)
        best = xp.argmax(y_pred, axis=-1)
        return xp.astype(best == xp.astype(y_true, best.dtype), xp.float64)


class Accuracy(MeanMetric):
    """Share of right answers, whatever form the targets have.

    One output: `BinaryAccuracy`. One-hot targets: `CategoricalAccuracy`. Labels: `SparseCategoricalAccuracy`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Accuracy()(xp.asarray([1, 1]), xp.asarray([[0.2, 0.8], [0.9, 0.1]]))
    0.5
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where the sample is right."""
        if len(y_pred.shape) == 1 or y_pred.shape[-1] == 1:
            kind: MeanMetric = BinaryAccuracy()
        elif tuple(y_true.shape) == tuple(y_pred.shape):
            kind = CategoricalAccuracy()
        else:
            kind = SparseCategoricalAccuracy()
        return kind.per_sample(y_true, y_pred, logits=logits)


class MeanSquaredError(MeanMetric):
    """Mean squared error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanSquaredError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    2.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return the squared error of each sample."""
        return functional.mean_squared_error(as_columns(y_pred), as_columns(match_targets(y_true, y_pred)))


class MeanAbsoluteError(MeanMetric):
    """Mean absolute error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanAbsoluteError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return the absolute error of each sample."""
        return functional.mean_absolute_error(as_columns(y_pred), as_columns(match_targets(y_true, y_pred)))


class FunctionMetric(MeanMetric):
    """A metric of one's own: the mean of a function of targets and outputs.

    Parameters
    ----------
    function : callable
        Takes ``(y_true, y_pred)``, the targets in the outputs' dtype as a loss gets them; returns a value for each
        sample.
    name : str, optional
        Its name in tables.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", "metric"))
        self.function = function

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return what the function returns."""
        return self.function(match_targets(y_true, y_pred), y_pred)


_BY_NAME: dict[str, Callable[..., Metric]] = {
    snake_case(cls.__name__): cls
    for cls in (
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        MeanAbsoluteError,
        MeanSquaredError,
        SparseCategoricalAccuracy,
    )
}
_SHORT = {"acc": "accuracy", "mse": "mean_squared_error", "mae": "mean_absolute_error"}


def get(which: str | Metric | Callable[..., Any]) -> Metric:
    """Return a metric by its name, such as ``"accuracy"``; a Metric as it is; a function as a metric.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    """
    if isinstance(which, Metric):
        return which
    if isinstance(which, type):
        raise TypeError(f"Expected a metric, got the class {which.__name__}. Make one: {which.__name__}().")
    if callable(which):
        return FunctionMetric(which)
    name = _SHORT.get(which, which)
    if name in _BY_NAME:
        return _BY_NAME[name](name=which)
    known = [*_BY_NAME, *_SHORT]
    raise ValueError(
        f"Unknown metric {which!r}; the known ones are {', '.join(known)}.{nearest(str(which), known)}"
    )
